"""Teachers: a network that only answers, and the same answers recorded."""

from kdcourse.teachers.base import CutOff as CutOff
from kdcourse.teachers.base import FromProbabilities as FromProbabilities
from kdcourse.teachers.base import LogitBank as LogitBank
from kdcourse.teachers.base import Teacher as Teacher
from kdcourse.teachers.base import as_teacher as as_teacher
from kdcourse.teachers.base import key_of as key_of
from kdcourse.teachers.features import FeatureBank as FeatureBank
from kdcourse.teachers.trajectory import Trajectory as Trajectory
