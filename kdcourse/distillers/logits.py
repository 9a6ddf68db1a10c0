"""Methods that need nothing of the teacher but its logits, one teacher at a time."""

from torch import nn

from kdcourse.core import Batch, Term
from kdcourse.distillers.base import Distiller, check_share, check_weights, hard_labels, ramp, switched_on
from kdcourse.losses.base import check_temperature
from kdcourse.losses.correlations import inter_class_loss, intra_class_loss
from kdcourse.losses.logits import ats_loss, dkd_loss, kd_loss
from kdcourse.teachers import as_teacher


class Supervised(Distiller):
    """Hard labels alone: the cross-entropy. How teachers are made, and the baseline of every comparison."""

    def forward(self, batch: Batch) -> dict[str, Term]:
        return {"ce": hard_labels(1.0, self.student(batch.x), batch.y)}


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
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "kd": Term(self.alpha, kd_loss(z_s, z_t, T=self.T)),
        })


class ESKD(KD):
    """Early-stopped KD: `KD` until `stop`, a share of the training, and hard labels alone after it.

    Cho & Hariharan 2019, arXiv:1910.01348, whose other half is a teacher that was stopped early:
    train it with a complete schedule of fewer epochs. After the stop the cross-entropy has weight 1 and the teacher is
    not asked. The paper stops where the student's loss turns, on ImageNet near the last drop of the learning rate.

    Raises as `KD` does, and ValueError for a stop outside [0, 1]. Introduced in notebook 05.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, T: float = 4.0, alpha: float = 0.9, stop: float = 0.75
    ):
        super().__init__(student, teacher, T=T, alpha=alpha)
        check_share("stop", stop)
        self.stop = stop

    def forward(self, batch: Batch) -> dict[str, Term]:
        if batch.progress < self.stop:
            return super().forward(batch)
        return {"ce": hard_labels(1.0, self.student(batch.x), batch.y)}


class DKD(Distiller):
    """Decoupled KD: cross-entropy + `dkd_loss`, the latter's weight rising linearly to 1 over `warm_up`.

    Zhao et al. 2022, arXiv:2203.08679. `alpha` weighs the target part and `beta` the rest, as in the paper (neither is
    KD's alpha); beta = 8 for ResNet-32x4 to -8x4, 2 for ResNet-56 to -20, 0.5 on ImageNet with T = 1. The warm-up of
    the released code, 20 of its 240 epochs, is a share of the training here. Two classes are refused, see `dkd_loss`.

    Raises ValueError for T <= 0, weights below 0, or a teacher that is the student. Introduced in notebook 05.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, T: float = 4.0, alpha: float = 1.0, beta: float = 8.0,
        warm_up: float = 20 / 240,
    ):
        super().__init__(student)
        check_temperature(T)
        check_weights(alpha=alpha, beta=beta)
        check_share("warm_up", warm_up)
        self.teacher, self.T, self.alpha, self.beta = as_teacher(teacher, apart_from=student), T, alpha, beta
        self.warm_up = warm_up

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        dkd = dkd_loss(z_s, z_t, batch.y, T=self.T, alpha=self.alpha, beta=self.beta)
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "dkd": Term(ramp(batch.progress, self.warm_up), dkd),
        })


class ATS(Distiller):
    """Asymmetric temperature scaling: (1 - alpha) cross-entropy + alpha `ats_loss`.

    Li et al. 2022, arXiv:2210.04427. The teacher's label is divided by `T_target`, its other logits by the smaller
    `T_rest`; the student by `T_student`, 1 in the paper. The paper searches T_target in 1 to 6 and T_rest in 1 to 5.

    Raises ValueError for temperatures <= 0, alpha outside [0, 1], or a teacher that is the student.
    Introduced in notebook 02.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, T_target: float = 4.0, T_rest: float = 2.0,
        T_student: float = 1.0, alpha: float = 0.5,
    ):
        super().__init__(student)
        for T in (T_target, T_rest, T_student):
            check_temperature(T)
        check_share("alpha", alpha)
        self.teacher, self.alpha = as_teacher(teacher, apart_from=student), alpha
        self.T_target, self.T_rest, self.T_student = T_target, T_rest, T_student

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        temperatures = {"T_target": self.T_target, "T_rest": self.T_rest, "T_student": self.T_student}
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "ats": Term(self.alpha, ats_loss(z_s, z_t, batch.y, **temperatures)),
        })


class DIST(Distiller):
    """Distillation from a stronger teacher: alpha cross-entropy + beta `inter_class_loss` + gamma `intra_class_loss`.

    Huang et al. 2022, arXiv:2205.10536; alpha, beta, gamma and T as there: T = 4 on CIFAR-100, 1 on ImageNet, and 2 on
    CIFAR-10 in the paper this course follows. Here alpha weighs the labels. `times_T_squared` as the released code.
    Two classes are refused, see `inter_class_loss`.

    Raises ValueError for T <= 0, weights below 0, or a teacher that is the student. Introduced in notebook 06.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, T: float = 4.0, alpha: float = 1.0, beta: float = 2.0,
        gamma: float = 2.0, times_T_squared: bool = False,
    ):
        super().__init__(student)
        check_temperature(T)
        check_weights(alpha=alpha, beta=beta, gamma=gamma)
        self.teacher, self.T, self.times_T_squared = as_teacher(teacher, apart_from=student), T, times_T_squared
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        scale = self.T**2 if self.times_T_squared else 1.0
        return switched_on({
            "ce": hard_labels(self.alpha, z_s, batch.y),
            "inter": Term(self.beta * scale, inter_class_loss(z_s, z_t, T=self.T)),
            "intra": Term(self.gamma * scale, intra_class_loss(z_s, z_t, T=self.T)),
        })
