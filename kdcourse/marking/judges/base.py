"""What all judges share: marks for properties, and when two numbers agree."""

from collections.abc import Iterable

import torch

from kdcourse.marking.record import Record, Verdict, Wrong, stopped


class Marks:
    """The properties of an answer, each with its weight (together 1); `verdict` adds up those that hold and names those
    that fail."""

    def __init__(self, where: str):
        self.where, self.earned, self.failed = where, 0.0, []

    def give(self, weight: float, holds: bool | float, message: str) -> None:
        """Give the weight, or a share of it; `message` says why it is not all of it."""
        self.earned += weight * holds
        if holds < 1:
            self.say(message)

    def take(self, weight: float, message: str) -> None:
        """Take marks away for what no answer should do."""
        self.earned = max(0.0, self.earned - weight)
        self.say(message)

    def say(self, message: str) -> None:
        if message and message not in self.failed:
            self.failed.append(message)

    def verdict(self) -> Verdict:
        if not self.failed and self.earned > 0.999:
            return Verdict(1.0, "right")
        return Verdict(round(self.earned, 4), f"{' Also: '.join(self.failed)} Read {self.where}.")


def ran(record: Record, names: Iterable[str]) -> None:
    """Raise `Wrong` where one of these attempts ended in an error."""
    for name in names:
        if note := record.notes.get(f"{name} error"):
            raise Wrong(stopped(note))


def close(found, expected, *, rtol: float = 1e-3, atol: float = 1e-5) -> bool:
    """Whether numbers or tensors agree; never where one of them is not finite."""
    found, expected = (torch.as_tensor(value, dtype=torch.double) for value in (found, expected))
    return found.shape == expected.shape and bool(torch.allclose(found, expected, rtol=rtol, atol=atol))
