"""`Distiller`: a student together with whatever helps it learn, as one module that turns a batch into a loss."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.core import Batch, Term
from kdcourse.losses.base import check_number, cross_entropy
from kdcourse.models.base import Answer, check_shows_features, probe
from kdcourse.teachers import FeatureBank, LogitBank, Teacher, as_teacher


class Distiller(nn.Module):
    """Maps a batch to the terms of the student's loss, by name.

    Whatever else a method trains (a regressor, a projector, a temperature) is a submodule, so that the optimiser finds
    it; teachers are submodules too and stay frozen by themselves. A subclass stores its arguments and writes `forward`.
    What its terms are computed from, beside those arguments and a recorded table, is in its `state_dict`.

    `torch.compile(distiller)` has no graph break with the defaults of any method; where SLKD's learners may draw random
    numbers and DGKD drops guides, it breaks there. `fit` is for one process. In a loop of your own
    `nn.parallel.DistributedDataParallel(distiller)` works, but sees what is on its own process: losses that compare the
    images of a batch compare those of its part, and what a method draws is the same on every process unless each is
    given another `seed`. A method with parameters that a step leaves out says so.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        if isinstance(student, Teacher | LogitBank):
            raise TypeError(f"the student comes first, {type(self).__name__}(student, teacher), and a "
                            f"{type(student).__name__} does not learn")
        self.student = student

    def forward(self, batch: Batch) -> dict[str, Term]:
        """The summands of the loss on this batch, each with its weight. `core.total` adds them up."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict]:
        """What the optimiser gets: everything that requires a gradient."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def deployable(self) -> nn.Module:
        """The network that one would ship and measure: the student, unless a method says otherwise."""
        return self.student


class Norm(nn.BatchNorm2d):
    """Batch normalisation that takes its moving statistics where a channel has a single value, which has no variance:
    a vector as a map of one position, in a last batch of one image."""

    def forward(self, f: Tensor) -> Tensor:
        if f[:, 0].numel() > 1:
            return super().forward(f)
        return F.batch_norm(f, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class Regressor(nn.Module):
    """A linear map of channels, the same at every position: what makes a student's features as wide as a teacher's.

    (B, C_in, H, W) -> (B, C_out, H, W), and a vector (B, C_in) counts as a map of one position. `norm` adds a batch
    normalisation after it.
    """

    def __init__(self, channels_in: int, channels_out: int, *, norm: bool = False):
        super().__init__()
        self.linear = nn.Conv2d(channels_in, channels_out, 1, bias=not norm)
        self.norm = Norm(channels_out) if norm else nn.Identity()

    def forward(self, f: Tensor) -> Tensor:
        return self.norm(self.linear(as_map(f)))


def as_map(f: Tensor) -> Tensor:
    """A vector (B, D) as a map of one position (B, D, 1, 1); a map as it is."""
    return f[:, :, None, None] if f.ndim == 2 else f


def same_size(f_s: Tensor, f_t: Tensor) -> tuple[Tensor, Tensor]:
    """Both as maps of one height and width: the larger one is averaged down to the smaller."""
    f_s, f_t = as_map(f_s), as_map(f_t)
    size = tuple(min(pair) for pair in zip(f_s.shape[2:], f_t.shape[2:], strict=True))
    return tuple(f if f.shape[2:] == size else F.adaptive_avg_pool2d(f, size) for f in (f_s, f_t))


def stage_pairs(student: nn.Module, teacher: nn.Module, stages=None) -> list[tuple[int, int]]:
    """Which stage of the student is compared with which of the teacher: the last with the last, and so on towards the
    images, unless `stages`, a list of pairs of indices, says otherwise. Raises ValueError for a stage there is not."""
    counts = [len(probe(network).features) for network in (student, teacher)]
    if stages is None:
        common = min(counts)
        return [(counts[0] - k, counts[1] - k) for k in range(common, 0, -1)]
    pairs = [
        tuple(k % count if -count <= k < count else None for k, count in zip(pair, counts, strict=True))
        for pair in stages
    ]
    if not pairs or any(None in pair for pair in pairs):
        raise ValueError(
            f"stages are pairs (student's, teacher's) of indices; {list(stages)} does not fit a student of {counts[0]} "
            f"and a teacher of {counts[1]} stages"
        )
    return pairs


def channels(network: nn.Module) -> list[int]:
    """The width of every stage: its channels, or the length of its vectors."""
    return [f.shape[1] for f in probe(network).features]


def answer(student: nn.Module, batch: Batch) -> Answer:
    """Logits, features and maps of the student. Raises TypeError for a network that does not show them."""
    check_shows_features(student)
    return student.answer(batch.x)


def as_feature_teacher(teacher: nn.Module, method: str, *, apart_from: nn.Module) -> Teacher | FeatureBank:
    """As `as_teacher`, for a method that needs more than logits. Raises TypeError for a bank of logits."""
    teacher = as_teacher(teacher, apart_from=apart_from)
    if not hasattr(teacher, "answer"):
        raise TypeError(
            f"{method} compares features, and a {type(teacher).__name__} holds logits only: pass the network itself, "
            "or teachers.FeatureBank.record(teacher, split)"
        )
    for network in (apart_from, teacher.network):
        check_layout(network, method)
    return teacher


def check_layout(network: nn.Module, method: str) -> None:
    """Raise ValueError unless the features that a network shows are vectors (B, D) or maps (B, C, H, W)."""
    features = probe(network).features if hasattr(network, "answer") and hasattr(network, "shape") else []
    for stage, f in enumerate(features):
        last = f.ndim == 4 and f.shape[1] == f.shape[2] != f.shape[3] and network.shape[1] == network.shape[2]
        if f.ndim not in (2, 4) or last:
            what = "with the channels last" if last else "neither a vector nor a map"
            raise ValueError(
                f"{method} compares maps (images, channels, height, width), and stage {stage} of "
                f"{type(network).__name__} shows {what}, {tuple(f.shape)}: let its answer(x) permute them, "
                "f.permute(0, 3, 1, 2)"
            )


def several(teachers, *, apart_from: nn.Module) -> nn.ModuleList:
    """One teacher or a list of them, each as `as_teacher` gives it. Raises ValueError for an empty list."""
    found = list(teachers) if isinstance(teachers, list | tuple | nn.ModuleList) else [teachers]
    if not found:
        raise ValueError("a list of teachers needs at least one")
    return nn.ModuleList([as_teacher(teacher, apart_from=apart_from) for teacher in found])


def ramp(progress: float, share: float) -> float:
    """A weight that rises linearly from 0 to 1 over the first `share` of the training."""
    return min(progress / share, 1.0) if share else 1.0


def switched_on(terms: dict[str, Term]) -> dict[str, Term]:
    """The terms whose weight is not 0: one that is switched off is absent. A tensor (in a sweep) is not looked into."""
    return {name: term for name, term in terms.items() if isinstance(term.weight, Tensor) or term.weight != 0}


def hard_labels(weight: float, z: Tensor, y: Tensor) -> Term:
    """The cross-entropy as a term of this weight. With weight 0 no label is read, since a method that needs none may be
    given images without: `switched_on` leaves the term out."""
    off = not isinstance(weight, Tensor) and weight == 0
    return Term(weight, z.new_zeros(()) if off else cross_entropy(z, y))


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless a weight that splits a loss in two lies in [0, 1], TypeError if it is no number."""
    check_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is the share of one of two terms and must lie in [0, 1]; it is {value}")


def check_weights(**weights: float) -> None:
    """Raise ValueError unless every weight of a term is finite and not negative, TypeError if it is no number."""
    for name, value in weights.items():
        check_number(name, value)
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} weighs a term of the loss and must be at least 0 and finite; it is {value}")
