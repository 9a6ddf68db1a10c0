"""Distillers: one class per method. `METHODS[name](student, teacher)` builds one with its defaults.

`Supervised` and `BYOT` have no second network, so they are in no `METHODS`.
"""

from kdcourse.core import Choices
from kdcourse.distillers.adversarial import Adversarial as Adversarial
from kdcourse.distillers.base import Distiller as Distiller
from kdcourse.distillers.byot import BYOT as BYOT
from kdcourse.distillers.cross_arch import CrossArch as CrossArch
from kdcourse.distillers.features import AT as AT
from kdcourse.distillers.features import MGD as MGD
from kdcourse.distillers.features import Cosine as Cosine
from kdcourse.distillers.features import FitNet as FitNet
from kdcourse.distillers.logits import ATS as ATS
from kdcourse.distillers.logits import CTKD as CTKD
from kdcourse.distillers.logits import DIST as DIST
from kdcourse.distillers.logits import DKD as DKD
from kdcourse.distillers.logits import ESKD as ESKD
from kdcourse.distillers.logits import IPWD as IPWD
from kdcourse.distillers.logits import KD as KD
from kdcourse.distillers.logits import LSKD as LSKD
from kdcourse.distillers.logits import NKD as NKD
from kdcourse.distillers.logits import TTM as TTM
from kdcourse.distillers.logits import WTTM as WTTM
from kdcourse.distillers.logits import Supervised as Supervised
from kdcourse.distillers.lwf import LwF as LwF
from kdcourse.distillers.ofd import OFD as OFD
from kdcourse.distillers.relations import CRD as CRD
from kdcourse.distillers.relations import RKD as RKD
from kdcourse.distillers.relations import SP as SP
from kdcourse.distillers.review_kd import ReviewKD as ReviewKD
from kdcourse.distillers.several import DGKD as DGKD
from kdcourse.distillers.several import DML as DML
from kdcourse.distillers.several import MultiTeacher as MultiTeacher
from kdcourse.distillers.several import ProKD as ProKD
from kdcourse.distillers.simkd import SimKD as SimKD
from kdcourse.distillers.slkd import SLKD as SLKD
from kdcourse.distillers.slkd import SelfLearners as SelfLearners

METHODS = Choices("method", {
    "kd": KD,
    "eskd": ESKD,
    "dkd": DKD,
    "ats": ATS,
    "dist": DIST,
    "ctkd": CTKD,
    "ipwd": IPWD,
    "lskd": LSKD,
    "nkd": NKD,
    "ttm": TTM,
    "wttm": WTTM,
    "pro_kd": ProKD,
    "slkd": SLKD,
    "fitnet": FitNet,
    "cosine": Cosine,
    "at": AT,
    "mgd": MGD,
    "ofd": OFD,
    "review_kd": ReviewKD,
    "simkd": SimKD,
    "sp": SP,
    "rkd": RKD,
    "crd": CRD,
    "cross_arch": CrossArch,
    "multi_teacher": MultiTeacher,
    "dgkd": DGKD,
    "dml": DML,
    "lwf": LwF,
    "adversarial": Adversarial,
})
