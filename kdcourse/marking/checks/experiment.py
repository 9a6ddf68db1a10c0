"""Has experiments made with toy networks that keep a diary: what was made, taught and measured, and what came of it.

Every case is one call of the answer, and the first is asked once more at the end: what comes of it must not depend on
the calls before.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdcourse.core import generator
from kdcourse.marking.checks.base import Check, Log
from kdcourse.marking.record import Case, Record, clean

MOST_LESSONS = 40
AGAIN = "once more"


class Pupil(nn.Module):
    """A toy network whose buffers say by which seed it was made and what it was taught, lesson by lesson. Copies, and
    networks that load its state, know the same."""

    def __init__(self, seed: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("seed", torch.tensor(float(seed)))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("lessons", torch.zeros(MOST_LESSONS, 3, dtype=torch.double))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :1] * self.weight

    @torch.no_grad()
    def learn(self, *lesson: float) -> None:
        """Write down a lesson of three numbers."""
        self.lessons[int(self.count) % MOST_LESSONS] = torch.tensor(lesson, dtype=torch.double)
        self.count += 1
        self.weight += 0.01


class World:
    """What an answer is given: functions that make, teach and measure pupils. They write into `made`, `taught`
    (the epochs that were learnt) and `measured`."""

    def __init__(self, noise: Tensor):
        self.noise, self.made, self.measured, self.pupils, self.taught = noise, Log(), Log(), [], Log()

    def make(self, seed) -> Pupil:
        self.made.append(int(seed))
        return Pupil(int(seed))

    def teach(self, student, T, alpha, seed) -> None:
        student.learn(float(T), float(alpha), int(seed))

    def learn(self, network, epoch) -> None:
        self.taught.append(float(epoch))
        network.learn(float(epoch), 0, 0)

    def measure(self, student) -> float:
        """An accuracy; it depends on how often the student was taught, and on the last lesson."""
        lessons = int(student.count)
        T, alpha, seed = student.lessons[(lessons - 1) % MOST_LESSONS].tolist()
        noise = self.noise[int(student.seed) % 51, (int(7 * T) + int(10 * alpha) + int(seed)) % 100].item()
        accuracy = 0.8 + 0.001 * T + 0.02 * (alpha > 0) + 0.01 * lessons + noise
        if not any(one is student for one in self.pupils):
            self.pupils.append(student)
        number = next(i for i, one in enumerate(self.pupils) if one is student)
        self.measured.append((student.seed.item(), lessons, T, alpha, seed, accuracy, number))
        return accuracy


def experiment(draw: Callable, call: Callable, keep: Callable) -> Check:
    """`call(answer, world, case)` makes the experiment; `keep(record, name, value, case)` records what it returned."""
    def ask(inputs: dict[str, Case], answer) -> Record:
        record, first = Record(), next(iter(inputs.values()))
        for name, case in {**inputs, AGAIN: first}.items():
            world = World(case.noise)
            with record.trying(name):
                keep(record, name, call(answer, world, case), case)
            record.keep(f"{name} made", torch.tensor(world.made, dtype=torch.double))
            record.keep(f"{name} taught", torch.tensor(world.taught, dtype=torch.double))
            record.keep(f"{name} measured", torch.tensor(world.measured, dtype=torch.double).reshape(-1, 7))
        return record

    return Check(draw, ask)


def keep_pairs(record: Record, name: str, value, keys, label: str = "") -> None:
    """A dict with a pair of numbers for each of the keys, (len(keys), 2); without keys one pair, (1, 2)."""
    found = [value] if keys is None else [value.get(key) for key in keys] if isinstance(value, dict) else [None]
    pairs = [_pair(one) for one in found]
    if None not in pairs:
        record.keep(f"{name} value", torch.tensor(pairs, dtype=torch.double))
        record.keep(f"{name} more", len(value) - len(keys) if keys is not None else 0)
    elif keys is not None and isinstance(value, dict) and (key := keys[pairs.index(None)]) in value:
        record.notes[f"{name} value"] = f"for {label}{key:g} {what(value[key])}"
    else:
        record.notes[f"{name} value"] = what(value)


def keep_pupils(record: Record, name: str, value, keys) -> None:
    """A dict with a pupil for each of the keys: the first numbers of their lessons, NaN after the last."""
    if not isinstance(value, dict) or any(key not in value for key in keys):
        record.notes[f"{name} value"] = what(value)
        return
    for key in keys:
        if isinstance(value[key], Pupil):
            lessons = value[key].lessons[:, 0].clone()
            lessons[int(value[key].count):] = torch.nan
            record.keep(f"{name} after {key}", lessons)
        else:
            record.notes[f"{name} after {key}"] = ("a dict (weights by their names)" if isinstance(value[key], dict)
                                                   else what(value[key]))


def what(value) -> str:
    """What was returned, in words that fit into a sentence."""
    if isinstance(value, dict):
        return clean(f"a dict with the keys {list(value)[:8]}")
    size = f" of {len(value)}" if isinstance(value, list | tuple) else ""
    return "None" if value is None else f"a {type(value).__name__}{size}"


def _pair(value) -> list[float] | None:
    """Two numbers; None if there are not two."""
    try:
        return [float(value[0]), float(value[1])] if len(value) == 2 else None
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError):
        return None


def noise(*key: int) -> Tensor:
    """What chance adds to accuracies, by seed and lesson."""
    return 0.02 * torch.randn(51, 100, generator=generator(*key))
