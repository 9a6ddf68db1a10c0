"""CrossArch: from a transformer's tokens to a CNN's map, by attention and by neighbourhoods. A reconstruction."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.core import Batch, Term, draw_key, seeded, uniform
from kdcourse.distillers.base import (
    Distiller,
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
from kdcourse.losses.base import full_precision, outside_autocast
from kdcourse.losses.features import hint_loss
from kdcourse.models.base import probe


class CrossArch(Distiller):
    """Cross-architecture distillation: cross-entropy + attention times the partially cross attention of the student's
    map with the teacher's tokens + group times the hint of a group-wise linear projector.

    Partially cross attention: three 3x3 convolutions make queries, keys and values of the student's map; a random share
    `substituted` of their entries is replaced by the teacher's, and `attended` of the mixture is compared with that of
    the teacher alone, and so are the products of all pairs of values. Group-wise linear: `GroupLinear` makes
    the teacher's tokens of the student's map, a share `dropout` of whose entries is hidden while it trains.

    After Liu et al. 2022, arXiv:2207.05273, sections 3.1 and 3.2; the authors released no code, and this is a
    reconstruction. Here the teacher's tokens, each with mean 0 and variance 1, are its queries, keys and values, since
    networks from elsewhere do not show their own. All three distances are relative (`hint_loss`), so that weights of 1
    suit every layer; how often entries are hidden is not recovered either. The third part, multi-view training
    against a discriminator, is left out. A map of one position attends to itself.

    `stages`: one pair of indices (student's, teacher's), by default the last one; `side` is that of a neighbourhood.
    With `substituted` = 1 the queries and keys have no gradient, and without a weight no helper of that part has one:
    `DistributedDataParallel` needs `find_unused_parameters=True`. Raises as `FitNet` does, and ValueError for a share
    outside [0, 1] or a side below 1. Introduced in notebook 03.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, attention: float = 1.0, group: float = 1.0,
        substituted: float = 0.5, dropout: float = 0.1, side: int = 4, stages: tuple[int, int] | None = None,
        seed: int = 0,
    ):
        super().__init__(student)
        check_weights(attention=attention, group=group)
        check_share("substituted", substituted)
        check_share("dropout", dropout)
        self.teacher = as_feature_teacher(teacher, "CrossArch", apart_from=student)
        self.attention, self.group, self.substituted, self.dropout = attention, group, substituted, dropout
        self.seed = seed
        s, t = self.stages = stage_pairs(student, self.teacher.network, None if stages is None else [stages])[-1]
        widths = channels(student)[s], channels(self.teacher.network)[t]
        with seeded(seed):
            self.query, self.key, self.value = (nn.Conv2d(*widths, 3, padding=1) for _ in range(3))
            self.grouped = GroupLinear(*widths, size=_size(student, self.teacher.network, s, t), side=side)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, features, _ = answer(self.student, batch)
        s, t = self.stages
        f_s, f_t = same_size(features[s], self.teacher.answer(batch).features[t])
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "attention": Term(self.attention, self._attention(f_s, f_t, batch)),
            "group": Term(self.group, hint_loss(self.grouped(self._hidden(f_s, batch)), f_t.to(f_s.dtype),
                                                relative=True)),
        })

    def _attention(self, f_s: Tensor, f_t: Tensor, batch: Batch) -> Tensor:
        ours = [full_precision(tokens(layer(f_s))) for layer in (self.query, self.key, self.value)]
        theirs = tokens(full_precision(f_t)).to(ours[0].dtype)
        theirs = F.layer_norm(theirs, theirs.shape[2:])
        mixed = [torch.where(self._draw(part.shape, k, batch, part.device) < self.substituted, theirs, part)
                 for k, part in enumerate(ours)]
        with outside_autocast(f_s):
            products_s, products_t = (v @ v.transpose(1, 2) for v in (ours[2], theirs))
            found, expected = attended(*mixed), attended(theirs, theirs, theirs)
        return hint_loss(found, expected, relative=True) + hint_loss(products_s, products_t, relative=True)

    def _hidden(self, f: Tensor, batch: Batch) -> Tensor:
        """With dropout while it trains, from draws that depend on the batch alone."""
        if not self.training or not self.dropout:
            return f
        kept = self._draw(f.shape, 3, batch, f.device) >= self.dropout
        return f * kept.to(f.dtype) / max(1 - self.dropout, 1e-6)

    def _draw(self, shape, part: int, batch: Batch, device) -> Tensor:
        return uniform(list(shape), (self.seed, part, *draw_key(batch))).to(device)


class GroupLinear(nn.Module):
    """A linear map of channels for each neighbourhood of `side` x `side` positions of a map of `size`, the same at all
    positions of it: (B, channels_in, H, W) -> (B, channels_out, H, W). With one neighbourhood it is a 1x1 convolution.

    Liu et al. 2022, arXiv:2207.05273, section 3.2. Raises ValueError for a side below 1.
    """

    def __init__(self, channels_in: int, channels_out: int, *, size: tuple[int, int], side: int = 4):
        super().__init__()
        if side < 1:
            raise ValueError(f"side is that of a neighbourhood in positions, at least 1; it is {side}")
        groups = [-(-length // side) for length in size]
        self.side, bound = side, 1 / math.sqrt(channels_in)
        self.weight = nn.Parameter(torch.empty(*groups, channels_out, channels_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(*groups, channels_out).uniform_(-bound, bound))

    def forward(self, f: Tensor) -> Tensor:
        (H, W), (rows, columns) = f.shape[2:], self.weight.shape[:2]
        f = F.pad(f, (0, columns * self.side - W, 0, rows * self.side - H))
        blocks = f.unflatten(3, (columns, self.side)).unflatten(2, (rows, self.side))
        made = torch.einsum("bcrsku,rkdc->bdrsku", blocks, self.weight)
        made = made + self.bias.permute(2, 0, 1)[:, :, None, :, None]
        return made.flatten(4, 5).flatten(2, 3)[:, :, :H, :W]


def tokens(f: Tensor) -> Tensor:
    """A map as a sequence of its positions: (B, D, h, w) -> (B, N, D), N = h w, row by row."""
    return f.flatten(2).transpose(1, 2)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt D) v: each position's mean of the values, weighted by how its query fits their keys.
    (B, N, D) three times -> (B, N, D)."""
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(dim=2) @ v


def _size(student: nn.Module, teacher: nn.Module, s: int, t: int) -> tuple[int, int]:
    """Height and width at which the two stages are compared."""
    f_s, _ = same_size(*(as_map(probe(network).features[k]) for network, k in ((student, s), (teacher, t))))
    return tuple(f_s.shape[2:])
