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


def check_temperature(T) -> None:
    """Raise ValueError unless T is positive and finite. A tensor (learned, or batched) is not looked into."""
    if not isinstance(T, Tensor) and not 0 < T < math.inf:
        raise ValueError(f"the temperature must be greater than 0 (and finite: its limit is logit matching); T is {T}")


def full_precision(z: Tensor) -> Tensor:
    """The same numbers in at least float32: sums of exponentials do not survive half precision."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
