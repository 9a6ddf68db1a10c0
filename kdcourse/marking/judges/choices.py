"""A search among settings on validation images: is the best one chosen, does what was tried come out again, and is what
was handed in the student of the chosen one?"""

from collections.abc import Callable

import torch
from torch import Tensor

from kdcourse.marking.record import Record, Wrong

SAME = 0.05  # of the way that weights went: two settings are ten times further apart
ALIKE = "with every pair tried has one accuracy for both seeds: is each student made and taught with its own seed?"
NEAR = 0.0076  # how far an accuracy on 200 images may be off: one image and a half


def choice(grid: tuple[tuple[float, float], ...], start: Callable[[], list[Tensor]], marks: tuple[float, ...]) -> tuple:
    """For `weights`: pairs of marks and problem(record, w), the words for what is wrong, "" for nothing: with `chosen`,
    with `tried`, and with the student, whose weights begin as `start()` does."""
    def named(i: int) -> str:
        return "T = {:g}, alpha = {:g}".format(*grid[i])

    def chosen(record: Record) -> int:
        if "chosen" not in record.tensors or (found := tuple(record.tensors["chosen"].tolist())) not in grid:
            raise Wrong("chosen is none of the pairs (T, alpha) that are to be tried.")
        return grid.index(found)

    def tried(record: Record) -> Tensor:
        if "tried" not in record.tensors or record.tensors["tried"].shape != (len(grid), 2):
            raise Wrong("tried is to be a dict with two accuracies, of the seeds 0 and 1, for each pair (T, alpha).")
        return record.tensors["tried"].double()

    def best(record: Record, w: dict[str, list[Tensor]]) -> str:
        mean, at = tried(record).mean(dim=1), chosen(record)
        return "" if mean[at] >= mean.max() - 1e-9 else (
            f"chosen is {named(at)}, and {named(int(mean.argmax()))} is better on validation images.")

    def again(record: Record, w: dict[str, list[Tensor]]) -> str:
        if torch.equal(*tried(record).T):
            return ALIKE
        found = torch.stack([record.tensor(f"again {i} valid", of="again") for i in range(len(grid))])
        i = int((gap := (found - tried(record)[:, 0]).abs()).nan_to_num(nan=1).argmax())
        return "" if gap[i] < NEAR else (
            f"with {named(i)} and seed 0 your train makes a student that reads {found[i]:.4f} of the validation "
            f"images, and tried says {tried(record)[i, 0]:.4f}.")

    def taught(record: Record, w: dict[str, list[Tensor]]) -> str:
        first, mine = (torch.cat([part.flatten() for part in parts]) for parts in (start(), w["student"]))
        ends = torch.stack([record.tensor(f"again {i}", len(first), of="again") for i in range(len(grid))])
        gap, at = (ends - mine).norm(dim=1) / (ends - first).norm(dim=1), chosen(record)
        if gap[at] <= SAME:
            return ""
        nearest = int(gap.argmin())
        if gap[nearest] <= SAME:
            return f"the student's weights are those of {named(nearest)}, and chosen is {named(at)}."
        return (f"trained once more by your train, with {named(at)} and seed 0, the student ends with other weights: "
                "is it a fresh small_student(0), and are SETTINGS as they were?")

    return tuple(zip(marks, (best, again, taught), strict=True))
