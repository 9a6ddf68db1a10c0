"""What a network knows, as functions of its logits, and whether one method is better than another over seeds.

`predict` runs the network once; everything else is computed from the logits it returns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from kdcourse.core import check_output, device_of


@torch.no_grad()
def predict(network: nn.Module, split, *, batch_size: int = 500) -> Tensor:
    """Logits (N, K) of the network about every image of the split, in its order, float32 on the CPU.

    Puts the network in eval mode and leaves it there. Raises TypeError when what it returns are no logits.
    """
    network.eval()
    batches = split.to(device_of(network)).batches(batch_size)
    return torch.cat([check_output(network(batch.x), network).float().cpu() for batch in batches])


def accuracy(z: Tensor, y: Tensor) -> float:
    """The share of images whose largest logit is the label's, in [0, 1]. Shapes (N, K), (N,)."""
    y = _labels(z, y)
    return (z.argmax(dim=1) == y).double().mean().item()


def nll(z: Tensor, y: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats: the cross-entropy. Shapes (N, K), (N,)."""
    return F.cross_entropy(z.double(), _labels(z, y)).item()


def ece(z: Tensor, y: Tensor, *, bins: int = 15) -> float:
    """Expected calibration error, in [0, 1]: the gap between confidence and accuracy, averaged over equal bins of
    confidence that count by their images. Guo et al. 2017, arXiv:1706.04599, equation 3. Shapes (N, K), (N,).

    >>> ece(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))  # 88 % sure, 50 % right
    0.38079...
    """
    return sum(row["share"] * abs(row["accuracy"] - row["confidence"]) for row in reliability(z, y, bins=bins))


def reliability(z: Tensor, y: Tensor, *, bins: int = 15) -> list[dict[str, float]]:
    """Is an answer given with 80 % confidence right 80 % of the time? A row for each of `bins` equal bins of confidence
    that holds images, from low to high: their mean "confidence" and "accuracy", and the "share" of all images they are,
    each in [0, 1]. Guo et al. 2017, arXiv:1706.04599, section 2. Shapes (N, K), (N,). Introduced in notebook 02.

    >>> reliability(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    [{'confidence': 0.88079..., 'accuracy': 0.5, 'share': 1.0}]
    """
    y = _labels(z, y)
    confidence, guess = z.double().softmax(dim=1).max(dim=1)
    right = (guess == y).double()
    bin = (confidence * bins).ceil().long().clamp(1, bins)
    rows = [(bin == number).nonzero()[:, 0] for number in range(1, bins + 1)]
    return [{"confidence": confidence[row].mean().item(), "accuracy": right[row].mean().item(),
             "share": len(row) / len(y)} for row in rows if len(row)]


def agreement(z_a: Tensor, z_b: Tensor) -> float:
    """The share of images to which two networks give the same answer, right or wrong. Stanton et al. 2021,
    arXiv:2106.05945, equation 1 ("fidelity"). Shapes (N, K), (N, K)."""
    if z_a.shape != z_b.shape:
        raise ValueError(f"agreement needs logits of one shape, not {tuple(z_a.shape)} and {tuple(z_b.shape)}")
    return (z_a.argmax(dim=1) == z_b.argmax(dim=1)).double().mean().item()


def confusion(z: Tensor, y: Tensor) -> Tensor:
    """Counts (K, K): row the label, column the answer. Shapes (N, K), (N,)."""
    y, K = _labels(z, y), z.shape[-1]
    return torch.bincount(y * K + z.argmax(dim=1), minlength=K * K).reshape(K, K)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % confidence interval by Student's t, for at least two values."""
    n = len(values)
    if n < 2:
        raise ValueError(f"an interval needs at least two values, and there are {n}: train with more seeds")
    x = torch.tensor(values, dtype=torch.double)
    half = stats.t.ppf(0.975, n - 1) * x.std().item() / math.sqrt(n)
    return x.mean().item(), x.mean().item() - half, x.mean().item() + half


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two methods over seeds: `mean` with its 95 % interval [low, high], in accuracy.

    The interval speaks of other seeds, not of other test images: `images` is printed beside it.
    """

    n: int
    images: int
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """"better" or "worse" if the interval leaves 0 out; else "equal" if all of it lies within one point of 0;
        else "inconclusive"."""
        if self.low > 0:
            return "better"
        if self.high < 0:
            return "worse"
        return "equal" if max(-self.low, self.high) <= 0.01 else "inconclusive"

    def __str__(self) -> str:
        mean, low, high = (f"{100 * value:+.1f}" for value in (self.mean, self.low, self.high))
        return f"{mean} points [{low}, {high}], n = {self.n} seeds, {self.images:,} test images: {self.verdict}"


def compare(ours: Sequence[float], baseline: Sequence[float], *, images: int) -> Comparison:
    """Is `ours` better than `baseline`? Accuracies in [0, 1]; entry i of both comes from the same seed, so that what
    they share (the initial weights, the order of the images) cancels. `images` is the size of the test set.

    Raises ValueError when there are fewer than two pairs or the lengths differ.

    >>> print(compare([0.97, 0.98, 0.99], [0.95, 0.97, 0.96], images=597))
    +2.0 points [-0.5, +4.5], n = 3 seeds, 597 test images: inconclusive
    """
    if len(ours) != len(baseline):
        raise ValueError(f"pairs are needed, seed by seed; there are {len(ours)} results and {len(baseline)} baselines")
    return Comparison(len(ours), images, *interval([a - b for a, b in zip(ours, baseline, strict=True)]))


def _labels(z: Tensor, y: Tensor) -> Tensor:
    if z.ndim != 2 or y.shape != z.shape[:1]:
        raise ValueError(f"logits (N, K) and labels (N,) are needed, not {tuple(z.shape)} and {tuple(y.shape)}")
    if len(y) and not (0 <= y.min() and y.max() < z.shape[1]):
        raise ValueError(f"labels run from {y.min()} to {y.max()}, but {z.shape[1]} logits allow 0 to {z.shape[1] - 1}")
    return y.to(z.device)
