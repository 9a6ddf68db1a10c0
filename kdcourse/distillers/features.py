"""Methods that compare the features of one stage, or of several, with the teacher's. The helpers are thrown away."""

import torch
from torch import Tensor, nn

from kdcourse.core import Batch, Term, draw_key, seeded, uniform
from kdcourse.distillers.base import (
    Distiller,
    Regressor,
    answer,
    as_feature_teacher,
    as_map,
    channels,
    check_share,
    check_weights,
    hard_labels,
    same_size,
    stage_pairs,
    switched_on,
)
from kdcourse.losses.features import attention_loss, cosine_loss, hint_loss, masked_generation_loss


class FitNet(Distiller):
    """Hints: cross-entropy + beta `hint_loss` between one stage of the teacher and a regressor on the student's.

    Romero et al. 2015, arXiv:1412.6550. The paper trains in two stages, the hint alone and then KD; common practice
    adds the two up, as here. `hint_first`, a share of the training, gives the paper's first stage: until then the hint
    alone, after it the cross-entropy alone. Without units by default (`relative`), so that beta = 1 suits every layer;
    RepDistiller has beta = 100 and `relative=False`. `stages`: one pair of indices (student's, teacher's), by default
    the middle one. The regressor is a 1x1 convolution, and maps of two sizes are averaged to the smaller one.
    RepDistiller's is a convolution that fits the sizes itself (3x3, of stride 2 where the student's map is twice as
    wide), batch normalisation and a ReLU.

    With `hint_first`, one of the two terms is off and what only it trains has no gradient:
    `DistributedDataParallel` needs `find_unused_parameters=True`.

    Raises ValueError for a beta below 0, a stage there is not, or a teacher that is the student, TypeError for a bank
    of logits. Introduced in notebook 03.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, beta: float = 1.0, relative: bool = True,
        stages: tuple[int, int] | None = None, hint_first: float = 0.0, seed: int = 0,
    ):
        super().__init__(student)
        check_weights(beta=beta)
        check_share("hint_first", hint_first)
        self.teacher = as_feature_teacher(teacher, "FitNet", apart_from=student)
        self.beta, self.relative, self.hint_first = beta, relative, hint_first
        self.stages = _one_pair(student, self.teacher.network, stages, default="middle")
        self.regressor = _regressor(self, seed)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, f_s, f_t = _stage(self, batch)
        hint = hint_loss(*same_size(self.regressor(f_s), f_t), relative=self.relative)
        first = batch.progress < self.hint_first
        return switched_on({
            "ce": hard_labels(0.0 if first else 1.0, z_s, batch.y),
            "hint": Term(self.beta if first or not self.hint_first else 0.0, hint),
        })


class Cosine(Distiller):
    """The hidden-state loss of the PyTorch tutorial: (1 - alpha) cross-entropy + alpha `cosine_loss` of one stage.

    There the teacher's hidden state is made as long as the student's by averaging neighbours in a flattened map, which
    lays different places and channels against each other. Here a regressor makes the student's channels as many as the
    teacher's (none where they are as many already), and the larger map is averaged down. alpha = 0.25 as there.
    `stages`: one pair of indices (student's, teacher's), by default the last one.

    Raises as `FitNet` does, and ValueError for alpha outside [0, 1]. Introduced in notebook 03.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, alpha: float = 0.25, stages: tuple[int, int] | None = None,
        seed: int = 0,
    ):
        super().__init__(student)
        check_share("alpha", alpha)
        self.teacher, self.alpha = as_feature_teacher(teacher, "Cosine", apart_from=student), alpha
        self.stages = _one_pair(student, self.teacher.network, stages, default="last")
        self.regressor = _regressor(self, seed, unless_equal=True)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, f_s, f_t = _stage(self, batch)
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "cosine": Term(self.alpha, cosine_loss(*same_size(self.regressor(f_s), f_t))),
        })


class AT(Distiller):
    """Attention transfer: cross-entropy + beta times the sum of `attention_loss` over the stages that have positions.

    Zagoruyko & Komodakis 2017, arXiv:1612.03928; beta = 1000 as its code has it. Stages are paired from the last one
    towards the images, or by `stages`, a list of pairs of indices (student's, teacher's).

    Raises as `FitNet` does, and ValueError when no pair of stages has more than one position.
    Introduced in notebook 03.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, beta: float = 1000.0, stages=None):
        super().__init__(student)
        check_weights(beta=beta)
        self.teacher, self.beta = as_feature_teacher(teacher, "AT", apart_from=student), beta
        self.stages = stage_pairs(student, self.teacher.network, stages)

    def forward(self, batch: Batch) -> dict[str, Term]:
        (z_s, features_s, _), features_t = answer(self.student, batch), self.teacher.answer(batch).features
        pairs = [same_size(features_s[s], features_t[t]) for s, t in self.stages]
        values = [attention_loss(f_s, f_t) for f_s, f_t in pairs if f_s.shape[2:].numel() > 1]
        if not values:
            raise ValueError("attention is where a network looks, and no pair of stages here has positions to look at")
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "at": Term(self.beta, torch.stack(values).sum()),
        })


class MGD(Distiller):
    """Masked generative distillation: cross-entropy + alpha `masked_generation_loss` of the last feature map.

    A random share `masked` of the student's channels is hidden, and a small generator (3x3 convolution, ReLU, 3x3
    convolution) makes the teacher's whole map from the rest; `spatial=True` hides positions instead, as in the paper's
    detectors. Yang et al. 2022, arXiv:2205.01529: alpha = 7e-5 and 0.15 for classification. The loss is a sum over the
    map, so a larger map needs a smaller alpha. A regressor comes first where the channels differ.

    Under `DistributedDataParallel` every process draws the same masks unless each is given a `seed` of its own, and
    alpha = 0 leaves the generator without a gradient: `find_unused_parameters=True`.

    Raises as `FitNet` does, and ValueError for a share outside [0, 1]. Introduced in notebook 03.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, alpha: float = 7e-5, masked: float = 0.15,
        spatial: bool = False, stages: tuple[int, int] | None = None, seed: int = 0,
    ):
        super().__init__(student)
        check_weights(alpha=alpha)
        check_share("masked", masked)
        self.teacher = as_feature_teacher(teacher, "MGD", apart_from=student)
        self.alpha, self.masked, self.spatial, self.seed = alpha, masked, spatial, seed
        self.stages = _one_pair(student, self.teacher.network, stages, default="last")
        self.regressor = _regressor(self, seed, unless_equal=True)
        width = channels(self.teacher.network)[self.stages[1]]
        with seeded(seed):
            self.generator = nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            )

    def mask(self, f: Tensor, batch: Batch) -> Tensor:
        """0 with probability `masked`, else 1: (B, C, 1, 1), or (B, 1, H, W). Drawn anew for every batch."""
        B, C, H, W = f.shape
        shape = (B, 1, H, W) if self.spatial else (B, C, 1, 1)
        return (uniform(shape, (self.seed, *draw_key(batch))) >= self.masked).float().to(f.device)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, f_s, f_t = _stage(self, batch)
        f_s, f_t = same_size(self.regressor(f_s), f_t)
        value = masked_generation_loss(f_s, f_t, mask=self.mask(f_s, batch), generate=self.generator)
        return switched_on({"ce": hard_labels(1.0, z_s, batch.y), "mgd": Term(self.alpha, value)})


def _one_pair(student: nn.Module, teacher: nn.Module, stages, *, default: str) -> tuple[int, int]:
    pairs = stage_pairs(student, teacher, None if stages is None else [stages])
    return pairs[len(pairs) // 2 if default == "middle" else -1]


def _regressor(distiller: Distiller, seed: int, *, unless_equal: bool = False) -> nn.Module:
    s, t = distiller.stages
    widths = channels(distiller.student)[s], channels(distiller.teacher.network)[t]
    with seeded(seed):
        return nn.Identity() if unless_equal and widths[0] == widths[1] else Regressor(*widths)


def _stage(distiller: Distiller, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The student's logits, and both networks' features at the chosen stages, as maps."""
    s, t = distiller.stages
    z_s, features, _ = answer(distiller.student, batch)
    return z_s, as_map(features[s]), as_map(distiller.teacher.answer(batch).features[t])
