"""What every loss checks before it computes, shapes, precision, labels and hyper-parameters, and what most of them
share: logits softened, lengths that neither vanish nor overflow, the cross-entropy of hard labels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

COOLEST, HOTTEST = 1e-6, 1e6  # temperatures beyond leave float32 nothing to tell probabilities apart with


def check_logits(z_s: Tensor, z_t: Tensor) -> None:
    """Raise ValueError unless both are logits (B, K) of one shape with K >= 2, TypeError unless they are tensors."""
    check_tensors(z_s, z_t)
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
    _check_some(z_s)


def check_tensors(*logits) -> None:
    """Raise TypeError for what is no tensor."""
    for z in logits:
        if not isinstance(z, Tensor):
            raise TypeError(f"logits are a tensor (images, classes), and not a {type(z).__name__}. A network may "
                            "return more while it trains, auxiliary logits say: models.wrap takes the logits out of a "
                            "dictionary or an object that has `logits`; of a tuple a module of yours takes them")


def check_classes(z: Tensor, why: str) -> None:
    """Raise ValueError with two classes, for a loss that can say nothing about them; `why` explains it."""
    if z.shape[1] == 2:
        raise ValueError(
            f"logits {tuple(z.shape)} have two classes: {why}. For a yes/no task use kd_loss, or compare features"
        )


def check_labels(z: Tensor, y: Tensor) -> Tensor:
    """The labels (B,) as int64. Raises ValueError unless there is one integer per row of logits (B, K), from 0 to
    K - 1, and at least one."""
    check_tensors(z)
    what = f"{y.dtype} of {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
    integers = isinstance(y, Tensor) and not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if not integers or y.shape != z.shape[:1]:
        raise ValueError(
            f"labels must be one integer per image: logits {tuple(z.shape)} need labels {tuple(z.shape[:1])}, "
            f"not {what}"
        )
    _check_some(z)
    y = y.long()
    if not holds((y >= 0) & (y < z.shape[1])):
        raise ValueError(
            f"labels run from {y.min()} to {y.max()}, but {z.shape[1]} logits allow 0 to {z.shape[1] - 1}: "
            "leave images without a label out"
        )
    return y


def check_same(f_s: Tensor, f_t: Tensor) -> None:
    """Raise ValueError unless both are features of one shape: (B, C, H, W) or (B, D)."""
    if f_s.shape != f_t.shape or f_s.ndim < 2:
        raise ValueError(
            f"student and teacher features must have one shape, (images, ...): these are {tuple(f_s.shape)} and "
            f"{tuple(f_t.shape)}. A regressor makes channels equal, pooling makes sizes equal"
        )
    _check_some(f_s)


def check_images(f_s: Tensor, f_t: Tensor) -> None:
    """Raise ValueError unless both are features of the same number of images; the rest of their shapes may differ."""
    if f_s.ndim < 2 or f_t.ndim < 2 or len(f_s) != len(f_t):
        raise ValueError(
            f"features of the same images are needed, (images, ...): these are {tuple(f_s.shape)} and "
            f"{tuple(f_t.shape)}"
        )
    _check_some(f_s)


def check_temperature(T) -> None:
    """Raise ValueError unless T, a number or a tensor of them, lies between 1e-6 and 1e6, TypeError if it is none."""
    check_number("T", T)
    right = (T >= COOLEST) & (T <= HOTTEST) if isinstance(T, Tensor) else COOLEST <= T <= HOTTEST
    if not (holds(right.detach()) if isinstance(T, Tensor) else right):
        raise ValueError(
            f"the temperature must be greater than 0 and finite, {COOLEST:g} to {HOTTEST:g} (beyond is its limit, "
            f"logit_matching_loss); T is {T}"
        )


def check_number(name: str, value) -> None:
    """Raise TypeError unless it is a number or a tensor."""
    if hasattr(value, "__float__"):
        return
    hint = f": write {name}={value.strip()}, without quotes" if isinstance(value, str) and value.strip() else ""
    raise TypeError(f"{name} must be a number, not {value!r}{hint}")


def check_ipwd(favour: str, limit: float) -> None:
    """Raise ValueError unless both settings of `ipwd_weights` make sense."""
    if favour not in ("behind", "ahead"):
        raise ValueError(f"favour is 'behind' or 'ahead', not {favour!r}")
    check_number("limit", limit)
    if not limit >= 1:
        raise ValueError(f"limit bounds a ratio and its inverse: it must be at least 1, not {limit}")


SEEN_AT_ONCE = ("cpu",)  # devices whose numbers can be looked at without waiting for them


def holds(truths: Tensor) -> bool:
    """Whether all are true. While torch traces or batches a function they cannot be looked into, and on a GPU a step
    would wait for them: there they count as true, and `fit` has looked at the labels before the first step."""
    if torch.compiler.is_compiling() or truths.device.type not in SEEN_AT_ONCE:
        return True
    try:
        return bool(truths.all())
    except RuntimeError:  # of a vmap, or of tensors without numbers
        return True


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """The loss of hard labels: the mean over the batch of -log softmax(z)[y], in nats. (B, K), (B,) -> scalar.
    Raises as `check_labels` does."""
    return F.cross_entropy(z, check_labels(z, y))


def full_precision(z: Tensor) -> Tensor:
    """The same numbers in at least float32: sums of exponentials do not survive half precision."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def softened(z: Tensor, T) -> Tensor:
    """z / T in at least float32. Minus infinity, the logit of a class that is ruled out, is that at every T, and leads
    no gradient to it or to T."""
    z = full_precision(z)
    ruled_out = z == -torch.inf
    return (z.masked_fill(ruled_out, 0.0) / T).masked_fill(ruled_out, -torch.inf)


def centred(z: Tensor) -> Tensor:
    """Each row of logits (B, K) less its mean over the classes that are not ruled out, in at least float32."""
    z = full_precision(z)
    known = z > -torch.inf
    total = z.masked_fill(~known, 0.0).sum(dim=1, keepdim=True)
    return z - total / known.sum(dim=1, keepdim=True).clamp_min(1)


def divergence(log_p_t: Tensor, log_p_s: Tensor) -> Tensor:
    """KL(p_t || p_s) = sum_k p_t[k] (log p_t[k] - log p_s[k]) of each row, where 0 log 0 = 0. (B, K) twice -> (B,)."""
    p_t = log_p_t.exp()
    return (p_t * torch.where(p_t > 0, log_p_t - log_p_s, 0.0)).sum(dim=1)


def outside_autocast(f: Tensor) -> torch.autocast:
    """A context in which matrix products stay in the precision of their arguments, whatever the training loop chose."""
    return torch.autocast(f.device.type, enabled=False)


def scaled(f: Tensor, dim) -> Tensor:
    """f by a power of two along `dim`, so that its largest entry there lies in [1, 2): squares of it neither vanish nor
    overflow, and no digit changes. 0 stays 0.

    For what does not depend on the scale of f: the factor is a constant to gradients. Where f is so small that its
    gradient could overflow (below 5e-31 in float32) it has none, as at 0.
    """
    size = size_of(f, dim)
    return torch.where(size > torch.finfo(f.dtype).tiny ** 0.8, f, f.detach()) / size


def size_of(f: Tensor, dim) -> Tensor:
    """The power of two just below the largest |f| along `dim`, which is kept, without a gradient; never a denormal
    number, by which one cannot divide everywhere."""
    largest = f.detach().abs().amax(dim=dim, keepdim=True)
    exponent = (torch.frexp(largest).exponent - 1).clamp_min(round(math.log2(torch.finfo(f.dtype).tiny)))
    return torch.ldexp(torch.ones_like(largest), exponent)


def unit(f: Tensor, dim: int) -> Tensor:
    """Scaled to length 1 along `dim`, however small or large f is; 0, without a gradient, where the length is 0."""
    f = scaled(f, dim)
    squared = f.square().sum(dim=dim, keepdim=True)
    return torch.where(squared > 0, f * torch.where(squared > 0, squared, 1.0).rsqrt(), 0.0)


def _check_some(z: Tensor) -> None:
    if not len(z):
        raise ValueError(f"an empty batch, {tuple(z.shape)}, has no mean and so no loss: leave it out")
