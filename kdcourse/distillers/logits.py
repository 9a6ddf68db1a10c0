"""Methods that need nothing of the teacher but its logits."""

import torch.nn.functional as F
from torch import nn

from kdcourse.core import Batch, Term
from kdcourse.distillers.base import Distiller, check_share
from kdcourse.losses.base import check_temperature
from kdcourse.losses.logits import kd_loss
from kdcourse.teachers import as_teacher


class Supervised(Distiller):
    """Hard labels alone: the cross-entropy. How teachers are made, and the baseline of every comparison."""

    def forward(self, batch: Batch) -> dict[str, Term]:
        return {"ce": Term(1.0, F.cross_entropy(self.student(batch.x), batch.y))}


class KD(Distiller):
    """Knowledge distillation: loss = (1 - alpha) cross-entropy + alpha T^2 KL(teacher || student).

    Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 2. `alpha` weighs the soft term here; papers and code differ
    (in Keras' example it weighs the labels), so read which before you copy a number. `alpha=1` needs no labels: the
    term "ce" is then absent. `teacher` is a network, a `Teacher` or a `LogitBank`.

    Raises ValueError for T <= 0, alpha outside [0, 1], or a teacher that is the student. Introduced in notebook 01.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, T: float = 4.0, alpha: float = 0.9):
        super().__init__(student)
        check_temperature(T)
        check_share("alpha", alpha)
        self.teacher, self.T, self.alpha = as_teacher(teacher, apart_from=student), T, alpha

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        terms = {
            "ce": Term(1 - self.alpha, F.cross_entropy(z_s, batch.y)),
            "kd": Term(self.alpha, kd_loss(z_s, z_t, T=self.T)),
        }
        return {name: term for name, term in terms.items() if term.weight != 0}
