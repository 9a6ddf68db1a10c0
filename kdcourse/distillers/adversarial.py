"""A student that learns to be taken for its teacher, against a discriminator that learns to tell them apart."""

from torch import Tensor, nn
from torch.func import functional_call

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import (
    Distiller,
    answer,
    as_feature_teacher,
    channels,
    check_share,
    check_weights,
    hard_labels,
    switched_on,
)
from kdcourse.losses.adversarial import discriminator_loss, fooling_loss
from kdcourse.losses.base import check_temperature, softened
from kdcourse.losses.logits import kd_loss
from kdcourse.models.base import pooled, probe
from kdcourse.teachers import as_teacher

SIGHTS = ("logits", "features")
HIDDEN = 64  # units of the discriminator


class Adversarial(Distiller):
    """`KD` + beta `fooling_loss`, while a discriminator learns by `discriminator_loss` which answers are the teacher's.

    After Xu, Hsu & Huang 2018, arXiv:1709.00513, where the discriminator sees logits; here it is a perceptron that sees
    K softmax(z / T), which no constant added to the logits changes; with `sees="features"` the last features averaged
    over their positions, the student's through a linear layer that makes them as wide as the teacher's. It is told
    neither the image nor the label: a student that gives the right kind of answer to the wrong image is not found out,
    which is what the other two terms are for.

    One step trains both: to the discriminator the answers are fixed, to the student the discriminator is, so neither
    loss moves the other's weights. With beta = 0 the student's training is that of `KD`, and the discriminator looks
    on: how far its loss falls below 1.386 says how well the two are told apart. The helpers are thrown away.

    Raises as `KD` does, and ValueError for beta below 0 or another `sees`, TypeError for a student that does not show
    its features; with features also as `FitNet` does.
    Introduced in notebook 09.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, T: float = 4.0, alpha: float = 0.9, beta: float = 0.1,
        sees: str = "logits", seed: int = 0,
    ):
        super().__init__(student)
        check_temperature(T)
        check_share("alpha", alpha)
        check_weights(beta=beta)
        if sees not in SIGHTS:
            raise ValueError(f"sees is one of: {', '.join(SIGHTS)}; not {sees!r}")
        self.T, self.alpha, self.beta, self.sees = T, alpha, beta, sees
        if sees == "features":
            self.teacher = as_feature_teacher(teacher, "Adversarial", apart_from=student)
            width = channels(self.teacher.network)[-1]
        else:
            self.teacher, width = as_teacher(teacher, apart_from=student), probe(student).z.shape[1]
        with seeded(seed):
            self.regressor = nn.Linear(channels(student)[-1], width) if sees == "features" else nn.Identity()
            self.discriminator = nn.Sequential(nn.Linear(width, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, 1))

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t, a_s, a_t = self._answers(batch)
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "kd": Term(self.alpha, kd_loss(z_s, z_t, T=self.T)),
            "fooling": Term(self.beta, fooling_loss(functional_call(self.discriminator, fixed, a_s))),
            "discriminator": Term(1.0, discriminator_loss(self.discriminator(a_s.detach()), self.discriminator(a_t))),
        })

    def _answers(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits of student and teacher, and what the discriminator sees of both, in its own precision."""
        if self.sees == "features":
            (z_s, f_s, _), (z_t, f_t, _) = answer(self.student, batch), self.teacher.answer(batch)
            a_s, a_t = self.regressor(pooled(f_s[-1])), pooled(f_t[-1])
        else:
            z_s, z_t = self.student(batch.x), self.teacher(batch)
            a_s, a_t = (z.shape[1] * softened(z, self.T).softmax(dim=1) for z in (z_s, z_t))
        dtype = self.discriminator[0].weight.dtype
        return z_s, z_t, a_s.to(dtype), a_t.to(dtype)
