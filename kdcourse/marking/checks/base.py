"""What the asking modules share: a check, and toy data and toy networks that write down how they are used.

The first pixel of each toy image tells its row, so that a network knows which images it is shown; the last one is
always 0, so that no gradient reaches its weights.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from kdcourse.core import generator, threads
from kdcourse.data import Split
from kdcourse.marking import record as recording
from kdcourse.marking.record import Case, CheckFailed, Record, Verdict, Wrong, clean

SHAPE, CLASSES = (1, 4, 4), 5
MOST_CALLS = 2_000


class Check:
    """One question that is graded automatically: draws cases from a seed, and asks an answer about them. The judging
    half has a judge of the same name."""

    name = ""

    def __init__(self, draw: Callable[[int], dict[str, Case]], ask: Callable[..., Record]):
        self.draw, self.ask = draw, ask

    def __call__(self, *answers) -> None:
        """Ask now. At home: prints one line, or raises CheckFailed with what is wrong. Graded: records."""
        if folder := os.environ.get("KDCOURSE_RECORD"):
            record = self.record(int(os.environ["KDCOURSE_GRADING_SEED"]), *answers)
            recording.write(record, Path(folder) / f"{self.name}.safetensors")
            print(f"{self.name}: recorded")
            return
        seed = secrets.randbelow(2**31)
        verdict = self.verdict(seed, self.record(seed, *answers))
        if verdict.share < 1:
            raise CheckFailed(f"{self.name}: {verdict.message}")
        print(f"{self.name}: right")

    def record(self, seed: int, *answers) -> Record:
        """What these answers do on the inputs of that seed."""
        return self.ask(self.draw(seed), *answers)

    def verdict(self, seed: int, record: Record) -> Verdict:
        """What the judging half says of a record made with that seed. One thread: where hand-ins keep the other cores
        busy, two that wait for each other took twenty times as long for networks as small as these."""
        from kdcourse.marking.judges import JUDGES

        try:
            with threads(1):
                return JUDGES[self.name](self.draw(seed), record)
        except Wrong as wrong:
            return Verdict(0.0, str(wrong))
        except Exception as error:  # a forged record may be anything; it earns nothing and harms nobody
            return Verdict(0.0, f"what was recorded is no answer to this question ({clean(type(error).__name__)}).")


class Log(list):
    """Calls in their order. A copied network writes into the same log."""

    def __deepcopy__(self, memo):
        return self

    def append(self, item) -> None:
        if len(self) < MOST_CALLS:
            super().append(item)


def rows(x: Tensor) -> Tensor:
    """The rows that the images (B, 1, 4, 4), floats in [0, 1], name in their first pixel."""
    return (x.detach().reshape(len(x), -1)[:, 0].double() * 255).round().long()


def flat(network: nn.Module) -> Tensor:
    """All parameters in one vector, copied."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def images(n: int, *key: int) -> Split:
    """n random images that name their rows, with random labels."""
    draw = generator(*key)
    x = torch.randint(256, (n, *SHAPE), generator=draw).byte()
    x[:, 0, 0, 0] = torch.arange(n)
    x[:, 0, -1, -1] = 0
    return Split("toy/train", x, torch.randint(CLASSES, (n,), generator=draw))
