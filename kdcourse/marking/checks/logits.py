"""Draws logits, labels, temperatures and alphas: what losses are asked about."""

import torch

from kdcourse.core import generator
from kdcourse.marking.record import Case


def logits(seed: int) -> dict[str, Case]:
    """Logits and labels of several batches, each with a temperature and an alpha: `cold` (T = 1), `warm`, `hot`;
    `warmer` is warm at another T; `hard` and `soft` are warm with alpha 0 and 1; `large` has logits in the hundreds.
    """
    draw = generator(seed, 3)

    def integer(low: int, high: int) -> int:
        return torch.randint(low, high + 1, (), generator=draw).item()

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=draw).item()

    def batch(T: float, alpha: float) -> Case:
        B, K = integer(3, 6), integer(7, 11)
        z_s, z_t = (2.5 * torch.randn(B, K, generator=draw) for _ in range(2))
        return Case(z_s=z_s, z_t=z_t, y=torch.randint(K, (B,), generator=draw), T=T, alpha=alpha)

    cases = {"cold": batch(1.0, uniform(0.25, 0.4)), "warm": batch(uniform(2, 4), uniform(0.6, 0.75)),
             "hot": batch(uniform(8, 16), uniform(0.25, 0.4)), "large": _large(batch(1.0, 0.5))}
    warm = cases["warm"]
    return cases | {"warmer": warm.with_(T=uniform(5, 7)), "hard": warm.with_(alpha=0.0), "soft": warm.with_(alpha=1.0)}


def _large(case: Case) -> Case:
    """Student and teacher are sure, one of the first class and one of the second; the others are hundreds below: their
    probabilities become 0. So do the labels'."""
    for z, sure in ((case.z_s, 0), (case.z_t, 1)):
        z[:, 2:] -= 300
        z[:, sure] += 60
        z += 400
    return case.with_(y=case.y.clamp(min=2))
