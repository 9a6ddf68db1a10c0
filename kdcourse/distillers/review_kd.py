"""ReviewKD: each stage of the student is fused with the deeper ones before it is compared."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import (
    Distiller,
    Norm,
    Regressor,
    answer,
    as_feature_teacher,
    as_map,
    channels,
    check_share,
    check_weights,
    hard_labels,
    ramp,
    same_size,
    stage_pairs,
    switched_on,
)
from kdcourse.losses.features import pyramid_loss


class ReviewKD(Distiller):
    """Knowledge review: cross-entropy + beta times the sum of `pyramid_loss`, where each stage of the student is fused
    with all deeper ones before it is compared.

    From the deepest stage to the first: a 1x1 convolution to a common width; what came from the deeper stages,
    enlarged, is mixed in by two learned attention maps; a 3x3 convolution gives the teacher's width. Chen et al. 2021,
    arXiv:2104.09044, section 3; beta is 0.6 to 8 there, and rises from 0 over the first 20 of 240 epochs (`warm_up`).
    The paper adds the pooled embedding as one more stage, which is left out here.

    The released code compares with the teacher's maps before their last ReLU; here with those after it, which every
    network shows. And it draws the convolutions of the fusion (its ABF) by Kaiming's uniform rule with a = 1; here they
    start as torch's do. In the first step the weight of the term is 0 and the fusions have no gradient:
    `DistributedDataParallel` needs `find_unused_parameters=True`.

    Raises as `FitNet` does.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, beta: float = 1.0, warm_up: float = 20 / 240,
        width: int | None = None, stages=None, seed: int = 0,
    ):
        super().__init__(student)
        check_weights(beta=beta)
        check_share("warm_up", warm_up)
        self.teacher = as_feature_teacher(teacher, "ReviewKD", apart_from=student)
        self.beta, self.warm_up = beta, warm_up
        self.stages = stage_pairs(student, self.teacher.network, stages)
        widths_s, widths_t = channels(student), channels(self.teacher.network)
        width = min(512, widths_s[-1]) if width is None else width
        with seeded(seed):
            self.fusions = nn.ModuleList([
                Fusion(widths_s[s], width, widths_t[t], deepest=k == len(self.stages) - 1)
                for k, (s, t) in enumerate(self.stages)
            ])

    def forward(self, batch: Batch) -> dict[str, Term]:
        (z_s, features_s, _), features_t = answer(self.student, batch), self.teacher.answer(batch).features
        values, deeper = [], None
        for fusion, (s, t) in reversed(list(zip(self.fusions, self.stages, strict=True))):
            made, deeper = fusion(as_map(features_s[s]), deeper)
            values.append(pyramid_loss(*same_size(made, features_t[t])))
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "review": Term(self.beta * ramp(batch.progress, self.warm_up), torch.stack(values).sum()),
        })


class Fusion(nn.Module):
    """ReviewKD's attention-based fusion: a stage's map and what came from the deeper ones -> what is compared with the
    teacher, and what goes on to the next shallower stage."""

    def __init__(self, channels_in: int, width: int, channels_out: int, *, deepest: bool):
        super().__init__()
        self.narrow = Regressor(channels_in, width, norm=True)
        self.attention = None if deepest else nn.Conv2d(2 * width, 2, 1)
        self.widen = nn.Sequential(nn.Conv2d(width, channels_out, 3, padding=1, bias=False), Norm(channels_out))

    def forward(self, f: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        f = self.narrow(f)
        if self.attention is not None:
            deeper = F.interpolate(deeper, f.shape[2:], mode="nearest")
            ours, theirs = self.attention(torch.cat([f, deeper], dim=1)).sigmoid().split(1, dim=1)
            f = ours * f + theirs * deeper
        return self.widen(f), f
