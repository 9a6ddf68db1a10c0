"""Losses that compare feature maps (B, C, H, W) or vectors (B, D) of a student with those of a teacher.

Most want one shape: the distillers bring a regressor for the channels and pool the larger map.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.losses.base import check_images, check_same, full_precision, scaled, size_of, unit


def hint_loss(f_s: Tensor, f_t: Tensor, *, relative: bool = False) -> Tensor:
    """FitNets' hint: the mean squared difference of two features. One shape (B, ...) twice -> scalar.

    Romero et al. 2015, arXiv:1412.6550, equation 3, as a mean over all entries in place of half a sum, so that it does
    not grow with the map. `relative=True` divides by the mean square of the teacher's features: a number without units
    that is 1 for a student that answers 0, whatever the layer; a teacher's below 1e-12 count as that large.
    Raises ValueError when the shapes differ.

    >>> hint_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])).item()
    2.0
    """
    check_same(f_s, f_t)
    f_s, f_t = full_precision(f_s), full_precision(f_t)
    if relative:
        size = size_of(f_t, tuple(range(f_t.ndim))).clamp_min(2.0**-40)
        f_s, f_t = f_s / size, f_t / size
    difference = (f_s - f_t).square().mean()
    return difference / f_t.square().mean().clamp_min(1e-8) if relative else difference


def cosine_loss(f_s: Tensor, f_t: Tensor) -> Tensor:
    """One minus the cosine of student and teacher features, each flattened, mean over the images; in [0, 2].

    One shape (B, ...) twice -> scalar. 0 where the two point the same way, however long they are. The hidden-state loss
    of the PyTorch tutorial on distillation. Raises ValueError when the shapes differ.

    >>> cosine_loss(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 3.0], [5.0, 0.0]])).item()
    0.5
    """
    check_same(f_s, f_t)
    u_s, u_t = (unit(full_precision(f).flatten(1), dim=1) for f in (f_s, f_t))
    return (1 - (u_s * u_t).sum(dim=1)).mean()


def attention_loss(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Attention transfer (AT): where the two look. Maps (B, C_s, H, W), (B, C_t, H, W) -> scalar.

    Attention is the mean square over the channels at each position, its map divided by its length; the loss is the mean
    squared difference. Channels may differ in number; sizes may not. Zagoruyko & Komodakis 2017, arXiv:1612.03928,
    section 3.1 with p = 2; they take the distance without a square, their released code the mean square, as here.

    Raises ValueError when sizes differ, or for maps of one position: all attention is then on it.
    """
    check_images(f_s, f_t)
    if f_s.ndim != 4 or f_t.ndim != 4 or f_s.shape[2:] != f_t.shape[2:] or f_s.shape[2:].numel() < 2:
        raise ValueError(
            f"attention compares positions: it needs two maps (B, C, H, W) of one size above 1x1, not "
            f"{tuple(f_s.shape)} and {tuple(f_t.shape)}"
        )
    f_s, f_t = (scaled(full_precision(f), dim=(1, 2, 3)) for f in (f_s, f_t))
    q_s, q_t = (unit(f.square().mean(dim=1).flatten(1), dim=1) for f in (f_s, f_t))
    return (q_s - q_t).square().mean()


def masked_generation_loss(f_s: Tensor, f_t: Tensor, *, mask: Tensor, generate: Callable[[Tensor], Tensor]) -> Tensor:
    """Masked generative distillation (MGD): the whole teacher map from a part of the student's.

    ||generate(mask f_s) - f_t||^2 / B, a sum over channels and positions: published weights near 1e-5 belong to it.
    `mask` broadcasts with f_s, (B, C, 1, 1) or (B, 1, H, W), 0 where the student is hidden. Maps (B, C, H, W) twice ->
    scalar. Yang et al. 2022, arXiv:2205.01529, section 3. What is left is not scaled up, unlike dropout.

    Raises ValueError when the shapes differ, or the generated map's from the teacher's.
    """
    check_same(f_s, f_t)
    generated = generate(mask.to(f_s.dtype) * f_s)
    check_same(generated, f_t)
    return (full_precision(generated) - full_precision(f_t)).square().sum() / len(f_t)


def negative_mean(mean: Tensor, std: Tensor) -> Tensor:
    """E[x | x < 0] of a normal x with this mean and standard deviation: OFD's margin from a batch normalisation's bias
    and |weight|, channel by channel. Shapes (C,), (C,) -> (C,), always negative. A channel that is hardly ever negative
    has a margin near 0. Heo et al. 2019, arXiv:1904.01866, section 3.

    >>> negative_mean(torch.tensor([0.0]), torch.tensor([1.0]))  # minus the square root of 2 / pi
    tensor([-0.7979])
    """
    std = full_precision(std).clamp_min(1e-6)
    a = full_precision(mean) / std
    hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(a / math.sqrt(2))  # density over tail, without underflow
    return torch.minimum(std * (a - hazard), -1e-6 * std)


def margin_loss(f_s: Tensor, f_t: Tensor, *, margin: Tensor) -> Tensor:
    """Overhaul of feature distillation (OFD): a squared distance that does not care how negative a map is.

    Maps before their ReLU. The target is max(f_t, margin), `margin` (C,) negative; where it is not positive and the
    student is below it, nothing is asked. Sum over channels and positions, mean over the batch: (B, C, H, W) twice ->
    scalar. Heo et al. 2019, arXiv:1904.01866, section 3.

    Raises ValueError when the shapes differ or the margins do not fit the channels.
    """
    check_same(f_s, f_t)
    if margin.shape != f_t.shape[1:2]:
        raise ValueError(f"one margin per channel is needed: {tuple(margin.shape)} does not fit {tuple(f_t.shape)}")
    f_s, f_t = full_precision(f_s), full_precision(f_t)
    target = torch.maximum(f_t, margin.reshape(-1, *[1] * (f_t.ndim - 2)))
    asked = (f_s > target) | (target > 0)
    return ((f_s - target).square() * asked).sum() / len(f_t)


def pyramid_loss(f_s: Tensor, f_t: Tensor, *, sizes: tuple[int, ...] = (4, 2, 1)) -> Tensor:
    """ReviewKD's hierarchical context loss (HCL): squared differences of the maps and of their averages over grids.

    The mean squared difference at full size has weight 1; after pooling to each of `sizes` 1/2, 1/4, 1/8; sizes that
    do not make the map smaller are left out, and the weights are divided by their sum. (B, C, H, W) twice -> scalar.
    Chen et al. 2021, arXiv:2104.09044, section 3. Raises ValueError when the shapes differ.
    """
    check_same(f_s, f_t)
    f_s, f_t = full_precision(f_s), full_precision(f_t)
    pooled = [size for size in sizes if f_s.ndim == 4 and size < min(f_s.shape[2:])]
    values = [(f_s - f_t).square().mean()]
    values += [F.adaptive_avg_pool2d(f_s - f_t, size).square().mean() for size in pooled]
    weights = [0.5**level for level in range(len(values))]
    return sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
