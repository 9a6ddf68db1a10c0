"""What every loss checks before it computes: shapes, precision and hyper-parameters."""

import math

import torch
from torch import Tensor


def check_logits(z_s: Tensor, z_t: Tensor) -> None:
    """Raise ValueError unless both are logits (B, K) of one shape with K >= 2."""
    if z_s.shape != z_t.shape:
        raise ValueError(
            f"student and teacher logits differ in shape: {tuple(z_s.shape)} and {tuple(z_t.shape)}; "
            "both must be (images, classes), for the same images and the same classes"
        )
    if z_s.ndim != 2:
        raise ValueError(f"logits must be (images, classes); these are {tuple(z_s.shape)}")
    if z_s.shape[1] < 2:
        raise ValueError(
            f"logits of shape {tuple(z_s.shape)} have one class, and the softmax of one class is always 1: "
            "nothing to distil. For a yes/no network use two logits, z and 0"
        )


def check_classes(z: Tensor, why: str) -> None:
    """Raise ValueError with two classes, for a loss that can say nothing about them; `why` explains it."""
    if z.shape[1] == 2:
        raise ValueError(
            f"logits {tuple(z.shape)} have two classes: {why}. For a yes/no task use kd_loss, or compare features"
        )


def check_labels(z: Tensor, y: Tensor) -> None:
    """Raise ValueError unless there is one integer label per row of logits. The labels are not looked into."""
    if y.shape != z.shape[:1] or y.is_floating_point():
        raise ValueError(
            f"labels must be one integer per image: logits {tuple(z.shape)} need labels {tuple(z.shape[:1])}, "
            f"not {y.dtype} of {tuple(y.shape)}"
        )


def check_same(f_s: Tensor, f_t: Tensor) -> None:
    """Raise ValueError unless both are features of one shape: (B, C, H, W) or (B, D)."""
    if f_s.shape != f_t.shape or f_s.ndim < 2:
        raise ValueError(
            f"student and teacher features must have one shape, (images, ...): these are {tuple(f_s.shape)} and "
            f"{tuple(f_t.shape)}. A regressor makes channels equal, pooling makes sizes equal"
        )


def check_images(f_s: Tensor, f_t: Tensor) -> None:
    """Raise ValueError unless both are features of the same number of images; the rest of their shapes may differ."""
    if f_s.ndim < 2 or f_t.ndim < 2 or len(f_s) != len(f_t):
        raise ValueError(
            f"features of the same images are needed, (images, ...): these are {tuple(f_s.shape)} and "
            f"{tuple(f_t.shape)}"
        )


def check_temperature(T) -> None:
    """Raise ValueError unless T is positive and finite. A tensor (learned, or batched) is not looked into."""
    if not isinstance(T, Tensor) and not 0 < T < math.inf:
        raise ValueError(f"the temperature must be greater than 0 (and finite: its limit is logit matching); T is {T}")


def check_ipwd(favour: str, limit: float) -> None:
    """Raise ValueError unless both settings of `ipwd_weights` make sense."""
    if favour not in ("behind", "ahead"):
        raise ValueError(f"favour is 'behind' or 'ahead', not {favour!r}")
    if not limit >= 1:
        raise ValueError(f"limit bounds a ratio and its inverse: it must be at least 1, not {limit}")


def full_precision(z: Tensor) -> Tensor:
    """The same numbers in at least float32: sums of exponentials do not survive half precision."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def outside_autocast(f: Tensor) -> torch.autocast:
    """A context in which matrix products stay in the precision of their arguments, whatever the training loop chose."""
    return torch.autocast(f.device.type, enabled=False)


def unit(f: Tensor, dim: int) -> Tensor:
    """Scaled to length 1 along `dim`; 0, without a gradient, where the length is 0."""
    squared = f.square().sum(dim=dim, keepdim=True)
    return torch.where(squared > 0, f * torch.where(squared > 0, squared, 1.0).rsqrt(), 0.0)
