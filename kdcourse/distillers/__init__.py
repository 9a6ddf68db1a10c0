"""Distillers: one class per method. `METHODS[name](student, teacher)` builds one with its defaults."""

from kdcourse.core import Choices
from kdcourse.distillers.base import Distiller as Distiller
from kdcourse.distillers.logits import KD as KD
from kdcourse.distillers.logits import Supervised as Supervised

METHODS = Choices("method", {"kd": KD})
