"""SimKD: a student that answers through its teacher's classifier."""

from torch import Tensor, nn

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import Distiller, Norm, answer, as_feature_teacher, as_map, channels, same_size
from kdcourse.losses.features import hint_loss
from kdcourse.models.base import ends_in_relu, pooled


class SimKD(Distiller):
    """The teacher's classifier on the student's features: a projector learns the teacher's last map, by `hint_loss`
    alone, without labels or logits; what is deployed is the student's encoder, the projector and the teacher's head.

    Chen et al. 2022, arXiv:2203.14001, section 3. The projector: 1x1 convolution to a `factor`-th of the teacher's
    channels, 3x3, 1x1 to the teacher's, each with batch normalisation and ReLU (the last ReLU is left out where the
    teacher's features may be negative). Its cost counts: `cost.parameters(distiller.deployable())` has all three parts.
    The student's own head learns nothing and is left out of it; it has no gradient, so `DistributedDataParallel` needs
    `find_unused_parameters=True`.

    Where the maps differ in size, the larger one is averaged down to the smaller. Where that is the student's, the
    released code does so before the projector, which is cheaper, and here it is done after it.

    Raises as `FitNet` does, and ValueError for a teacher whose logits are no linear function of its averaged last map.
    Introduced in notebook 03.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, factor: int = 2, seed: int = 0):
        super().__init__(student)
        self.teacher = as_feature_teacher(teacher, "SimKD", apart_from=student)
        network = self.teacher.network
        with seeded(seed):
            self.projector = projector(channels(student)[-1], channels(network)[-1], factor, relu=ends_in_relu(network))
        self.deployable()  # raises for a teacher whose head cannot be used alone

    def forward(self, batch: Batch) -> dict[str, Term]:
        f_s, f_t = answer(self.student, batch).features[-1], self.teacher.answer(batch).features[-1]
        return {"simkd": Term(1.0, hint_loss(*same_size(self.projector(as_map(f_s)), f_t)))}

    def parameter_groups(self) -> list[dict]:
        """The encoder and the projector; the student's own head is not trained."""
        trained = [*self.student.encoder().parameters(), *self.projector.parameters()]
        return [{"params": [parameter for parameter in trained if parameter.requires_grad]}]

    def deployable(self) -> nn.Module:
        """Encoder, projector and the teacher's head as one network, with these very weights."""
        return Reused(self.student.encoder(), self.projector, self.teacher.network.linear)


class Reused(nn.Module):
    """A student that answers through a teacher's head: images (B, C, H, W) to logits (B, K)."""

    def __init__(self, encoder: nn.Module, projector: nn.Module, head: nn.Module):
        super().__init__()
        self.encoder, self.projector, self.head = encoder, projector, head

    def forward(self, x: Tensor) -> Tensor:
        f = pooled(self.projector(as_map(self.encoder(x))))
        return self.head(f.to(next(self.head.parameters()).dtype)).float()  # the teacher may be in half precision


def projector(channels_in: int, channels_out: int, factor: int, *, relu: bool) -> nn.Sequential:
    """SimKD's three convolutions, (B, channels_in, H, W) -> (B, channels_out, H, W)."""
    width = channels_out // factor
    sizes = [(channels_in, width, 1), (width, width, 3), (width, channels_out, 1)]
    layers = []
    for a, b, size in sizes:
        layers += [nn.Conv2d(a, b, size, padding=size // 2, bias=False), Norm(b), nn.ReLU()]
    return nn.Sequential(*(layers if relu else layers[:-1]))
