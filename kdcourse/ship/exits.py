"""Leaving a network early: what each exit costs to reach, and accuracy against multiply-adds over thresholds.

The exits are those of `distillers.BYOT`; which image leaves where says `metrics.first_sure`. Time is not measured here:
the multiply-adds are saved one image at a time, and in a batch only where the images that left are taken out of it.
"""

from collections.abc import Sequence

from torch import Tensor

from kdcourse import cost, metrics
from kdcourse.distillers import BYOT


def reach(network: BYOT) -> list[int]:
    """Multiply-adds for one image that leaves at each exit, the earliest first, the network's own head last. Every exit
    on the way has been computed, so that the last costs more than the network without exits."""
    shape, found, spent = network.student.shape, [], 0
    whole = cost.multiply_adds(network.student, shape)
    for k in range(1, len(network.exits) + 1):
        alone = cost.multiply_adds(network.early(k), shape)
        stages = cost.multiply_adds(network.student.encoder(k), shape)
        found.append(stages + spent + (alone - stages))
        spent += alone - stages
    return [*found, whole + spent]


def curve(answers: Sequence[Tensor], y: Tensor, costs: Sequence[int], thresholds: Sequence[float]) -> list[dict]:
    """For each threshold a row: its "threshold", the "accuracy" in [0, 1], the mean "multiply_adds" of an image, and
    the "shares" of images that leave at each exit.

    `answers` are the logits (N, K) of every exit about the same images with labels `y` (N,), `costs` what `reach` gave.
    Raises ValueError where there is not a cost for each exit, and as `metrics.first_sure` does.
    """
    if len(costs) != len(answers):
        raise ValueError(f"a cost for each exit is needed: {len(costs)} costs, {len(answers)} exits")
    rows = []
    for threshold in thresholds:
        z, place = metrics.first_sure(answers, threshold)
        shares = [(place == k).double().mean().item() for k in range(len(costs))]
        rows.append({"threshold": threshold, "accuracy": metrics.accuracy(z, y), "shares": shares,
                     "multiply_adds": sum(share * each for share, each in zip(shares, costs, strict=True))})
    return rows


def chosen(rows: Sequence[dict], *, lose: float = 0.0) -> dict:
    """The cheapest row of a `curve` whose accuracy is at most `lose` below that of its most expensive row, where all
    images went to the last exit. Choose on validation images. Raises ValueError without rows."""
    if not rows:
        raise ValueError("there is no row to choose from: curve(answers, y, costs, thresholds) makes them")
    whole = max(rows, key=lambda row: row["multiply_adds"])
    good = [row for row in rows if row["accuracy"] >= whole["accuracy"] - lose - 1e-9]
    return min(good, key=lambda row: row["multiply_adds"])
