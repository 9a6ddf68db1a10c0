"""Methods that learn how to teach beside the student: a temperature (CTKD), the weight of each image (IPWD)."""

import math

import torch
from torch import Tensor, nn

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import Distiller, answer, check_share, check_weights, hard_labels, ramp, switched_on
from kdcourse.losses.base import check_ipwd, check_temperature
from kdcourse.losses.logits import ipwd_weights, kd_loss, soft_kl
from kdcourse.models.base import probe
from kdcourse.teachers import as_teacher


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
