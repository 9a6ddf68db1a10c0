"""Has a search among settings made once more, by the function that made it: what was tried, what was chosen of it, and
what comes of each setting."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from kdcourse import data
from kdcourse.marking.checks.base import flat
from kdcourse.marking.record import Record


def choice(source: str, grid: tuple[tuple[float, float], ...], start: Callable[[], nn.Module], **settings) -> Callable:
    """For `weights`: records `tried` {(T, alpha): accuracies on validation images, one for each seed} and `chosen`, one
    of its keys; and, of each pair of the grid, how a student of `start()` ends that `train` distils with seed 0."""
    def more(record: Record, networks: dict[str, nn.Module], tried, chosen, train) -> None:
        with record.trying("chosen"):
            record.keep("chosen", _numbers(chosen))
        with record.trying("tried"):
            record.keep("tried", torch.stack([_numbers(tried[pair]) for pair in grid]))
        with record.trying("again"):
            splits = data.load(source)
            for i, (T, alpha) in enumerate(grid):
                student, teacher = start(), copy.deepcopy(networks["teacher"])
                train(student, teacher, splits.train, T=T, alpha=alpha, seed=0, **settings)
                with torch.no_grad():
                    guess = student.eval()(splits.valid.x.float() / 255).argmax(dim=1)
                record.keep(f"again {i}", flat(student))
                record.keep(f"again {i} valid", (guess == splits.valid.y).double().mean())

    return more


def _numbers(values) -> torch.Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.double)
