"""Methods that need nothing of the teacher but its logits, one teacher at a time."""

import math

import torch
from torch import Tensor, nn

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import Distiller, answer, check_share, check_weights, hard_labels, ramp, switched_on
from kdcourse.losses.base import check_ipwd, check_temperature
from kdcourse.losses.correlations import inter_class_loss, intra_class_loss
from kdcourse.losses.logits import (
    ats_loss,
    dkd_loss,
    ipwd_weights,
    kd_loss,
    lskd_loss,
    nkd_loss,
    soft_kl,
    ttm_loss,
    wttm_loss,
)
from kdcourse.models.base import probe
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


class LSKD(Distiller):
    """Logit standardisation: alpha cross-entropy + beta `lskd_loss`.

    Sun et al. 2024, arXiv:2403.01427, which puts it into several methods; this is KD's. T, alpha and beta as in the
    released code: beta = 9 is ten times KD's usual 0.9, so compare with KD at that weight, which is `KD` with
    alpha = 9 / 9.1 (Adam does not see the common factor). alpha weighs the labels here. Standardised logits say nothing
    about how sure the student should be: look at its calibration. Two classes are refused, see `lskd_loss`.

    Raises ValueError for T <= 0, weights below 0, or a teacher that is the student. Introduced in notebook 05.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, T: float = 2.0, alpha: float = 0.1, beta: float = 9.0
    ):
        super().__init__(student)
        check_temperature(T)
        check_weights(alpha=alpha, beta=beta)
        self.teacher, self.T, self.alpha, self.beta = as_teacher(teacher, apart_from=student), T, alpha, beta

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        return switched_on({
            "ce": hard_labels(self.alpha, z_s, batch.y),
            "lskd": Term(self.beta, lskd_loss(z_s, z_t, T=self.T)),
        })


class NKD(Distiller):
    """Normalised KD: cross-entropy + `nkd_loss`.

    Yang et al. 2023, arXiv:2303.13005; gamma and T as there on ImageNet. It is DKD with the label's cross-entropy,
    weighed by the teacher's confidence, for the target part. Two classes are refused, see `non_target_kl`.

    Raises ValueError for T <= 0, gamma below 0, or a teacher that is the student. Introduced in notebook 05.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, T: float = 1.0, gamma: float = 1.5):
        super().__init__(student)
        check_temperature(T)
        check_weights(gamma=gamma)
        self.teacher, self.T, self.gamma = as_teacher(teacher, apart_from=student), T, gamma

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        nkd = nkd_loss(z_s, z_t, batch.y, T=self.T, gamma=self.gamma)
        return {"ce": hard_labels(1.0, z_s, batch.y), "nkd": Term(1.0, nkd)}


class TTM(Distiller):
    """Transformed teacher matching: cross-entropy + beta `ttm_loss`; the student is not softened.

    Zheng & Yang 2024, arXiv:2402.11148; T = 10 and beta = 45 are the released example's, VGG-13 to VGG-8 on CIFAR-100,
    which writes gamma = 0.1 for 1 / T.

    Raises ValueError for T <= 0, beta below 0, or a teacher that is the student. Introduced in notebook 05.
    """

    loss = staticmethod(ttm_loss)

    def __init__(self, student: nn.Module, teacher: nn.Module, *, T: float = 10.0, beta: float = 45.0):
        super().__init__(student)
        check_temperature(T)
        check_weights(beta=beta)
        self.teacher, self.T, self.beta = as_teacher(teacher, apart_from=student), T, beta

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "ttm": Term(self.beta, self.loss(z_s, z_t, T=self.T)),
        })


class WTTM(TTM):
    """Weighted `TTM`: images about which the teacher is in doubt count more, see `wttm_loss`.

    Zheng & Yang 2024, arXiv:2402.11148. T = 5 and beta = 4 are those of the released example, which adds CRD.

    Raises as `TTM` does. Introduced in notebook 05.
    """

    loss = staticmethod(wttm_loss)

    def __init__(self, student: nn.Module, teacher: nn.Module, *, T: float = 5.0, beta: float = 4.0):
        super().__init__(student, teacher, T=T, beta=beta)


class CTKD(Distiller):
    """Curriculum temperature: `KD` whose temperature is learned, against the student.

    T = T_start + T_range sigmoid(theta). The student minimises the loss over its weights while theta, one number, moves
    to raise it: its gradient is reversed, by a factor that rises from 0 to `reversal` over the first `ramp` of the
    training along a cosine. Both the T inside the softmax and the factor T^2 are differentiated, and weight decay does
    not touch theta (in the released code it does). Li et al. 2022, arXiv:2211.16231, section 3 (the global variant; the
    one with a temperature per image is left out). `ramp`: 10 of the paper's 240 epochs. theta starts at 1.

    Raises ValueError for T_start <= 0, alpha outside [0, 1], or a teacher that is the student.
    Introduced in notebook 02.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, alpha: float = 0.9, T_start: float = 1.0,
        T_range: float = 20.0, reversal: float = 1.0, ramp: float = 10 / 240,
    ):
        super().__init__(student)
        check_temperature(T_start)
        check_share("alpha", alpha)
        check_share("ramp", ramp)
        check_weights(T_range=T_range, reversal=reversal)
        self.teacher, self.alpha = as_teacher(teacher, apart_from=student), alpha
        self.T_start, self.T_range, self.reversal, self.ramp = T_start, T_range, reversal, ramp
        self.theta = nn.Parameter(torch.ones(()))

    def temperature(self, theta: Tensor | None = None) -> Tensor:
        """T in (T_start, T_start + T_range), now or for a given theta."""
        return self.T_start + self.T_range * torch.sigmoid(self.theta if theta is None else theta)

    def strength(self, progress: float) -> float:
        """The factor of theta's reversed gradient: 0 at the start, `reversal` after the ramp."""
        return self.reversal * (1 - math.cos(math.pi * ramp(progress, self.ramp))) / 2

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        T = self.temperature(reverse_gradient(self.theta, self.strength(batch.progress)))
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "kd": Term(self.alpha, kd_loss(z_s, z_t, T=T)),
        })

    def parameter_groups(self) -> list[dict]:
        """The student's weights, and theta apart: never decayed."""
        student = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        return [{"params": student}, {"params": [self.theta], "weight_decay": 0.0}]


class IPWD(Distiller):
    """Inverse-probability-weighted distillation: `KD` whose soft term counts each image by `ipwd_weights`.

    A second head, on the same features, learns from the labels alone; an image on which the student's own head is
    behind it is under-represented in what the teacher transfers, and counts more. The second head is thrown away.
    After Niu et al. 2022, arXiv:2210.12787: a reconstruction, see `ipwd_weights`; `favour` and `limit` go there. The
    features are detached for the second head, so that it measures and does not teach; `shapes_features=True` lets it.

    Raises as `KD` does, and TypeError for a student that does not show its features. Introduced in notebook 05.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, T: float = 4.0, alpha: float = 0.9, favour: str = "behind",
        limit: float = 10.0, shapes_features: bool = False, seed: int = 0,
    ):
        super().__init__(student)
        check_temperature(T)
        check_share("alpha", alpha)
        check_ipwd(favour, limit)
        self.teacher, self.T, self.alpha = as_teacher(teacher, apart_from=student), T, alpha
        self.favour, self.limit, self.shapes_features = favour, limit, shapes_features
        z, features, _ = probe(student)
        with seeded(seed):
            self.second_head = nn.Linear(features[-1].shape[1], z.shape[1])

    def forward(self, batch: Batch) -> dict[str, Term]:
        (z_s, features, _), z_t = answer(self.student, batch), self.teacher(batch)
        embedding = self.student.embed(features[-1])
        z_cls = self.second_head(embedding if self.shapes_features else embedding.detach())
        weights = ipwd_weights(z_s, z_cls, batch.y, favour=self.favour, limit=self.limit)
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "kd": Term(self.alpha, self.T**2 * (weights * soft_kl(z_s, z_t, T=self.T)).mean()),
            "second_head": hard_labels(1.0, z_cls, batch.y),
        })


def reverse_gradient(theta: Tensor, strength: float) -> Tensor:
    """theta itself; its gradient comes back times -strength."""
    return theta.detach() - strength * (theta - theta.detach())
