"""Asking half, questions 5, 6, 7 and 12: toy students that keep a diary, and the weights of trained networks."""

import copy

import torch
from torch import nn

from kdcourse.core import generator
from kdcourse.marking.checks.base import Log
from kdcourse.marking.record import Record, clean

MOST_PARAMETERS = 64


class Student:
    """A toy student: the seed it was made with, and what it was taught since then."""

    def __init__(self, seed: int):
        self.seed, self.lessons = seed, []


def draw_experiment(seed: int) -> dict:
    """Temperatures, seeds and settings, and a table of accuracies."""
    draw = generator(seed, 6)
    seeds = (torch.randperm(50, generator=draw)[:5] + 1).tolist()
    temperatures = ([1.0, 2.0, 4.0, 16.0, 32.0], [1.0, 3.0, 9.0, 27.0], [2.0, 8.0, 64.0])[seed % 3]
    alpha = 0.3 + 0.4 * torch.rand((), generator=draw).item()
    return {"seeds": seeds, "temperatures": temperatures, "alpha": alpha, "T": temperatures[-2],
            "noise": (0.02 * torch.randn(51, 100, generator=draw)).tolist()}


def _world(inputs: dict, log: Log):
    """make, teach and measure as the answer gets them, writing into the log."""
    def make(seed):
        return Student(int(seed))

    def teach(student, T, alpha, seed):
        student.lessons.append((float(T), float(alpha), int(seed)))

    def measure(student):
        T, alpha, seed = student.lessons[-1] if student.lessons else (0.0, -1.0, 0)
        noise = inputs["noise"][student.seed % 51][(int(7 * T) + int(10 * alpha) + seed) % 100]
        accuracy = 0.8 + 0.001 * T + 0.02 * (alpha > 0) + 0.01 * len(student.lessons) + noise
        log.append((student.seed, len(student.lessons), T, alpha, seed, accuracy))
        return accuracy

    return make, teach, measure


def ask_temperature_curve(inputs: dict, temperature_curve) -> Record:
    record, log = Record(), Log()
    temperatures = list(inputs["temperatures"])
    with record.trying("curve"):
        curve = temperature_curve(*_world(inputs, log), temperatures=temperatures, seeds=list(inputs["seeds"]),
                                  alpha=inputs["alpha"])
        pairs = [_pair(curve.get(T)) for T in inputs["temperatures"]] if isinstance(curve, dict) else [None]
        if None not in pairs:
            record.keep("curve", torch.tensor(pairs, dtype=torch.double))
        elif isinstance(curve, dict) and (T := inputs["temperatures"][pairs.index(None)]) in curve:
            record.notes["curve"] = f"for T = {T:g} {_what(curve[T])}"
        else:
            record.notes["curve"] = _what(curve)
    record.keep("measured", torch.tensor(log, dtype=torch.double).reshape(-1, 6))
    return record


def ask_student_alone(inputs: dict, student_alone) -> Record:
    record, log = Record(), Log()
    with record.trying("difference"):
        pair = _pair(student_alone(*_world(inputs, log), seeds=list(inputs["seeds"]), T=inputs["T"],
                                   alpha=inputs["alpha"]))
        record.keep("difference", None if pair is None else torch.tensor(pair, dtype=torch.double))
    record.keep("measured", torch.tensor(log, dtype=torch.double).reshape(-1, 6))
    return record


def _what(value) -> str:
    """What something is, in words."""
    if isinstance(value, dict):
        return clean(f"a dict with the keys {list(value)}")
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return "None" if value is None else f"a {type(value).__name__}{size}"


def _pair(value) -> list[float] | None:
    """Two numbers; None if there are not two."""
    try:
        return [float(value[0]), float(value[1])] if len(value) == 2 else None
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError):
        return None


class Teacher(nn.Module):
    """A toy teacher: its weights say by how many epochs, and by which, it was trained."""

    def __init__(self, start: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(start.clone())
        self.register_buffer("epochs", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        return x.flatten(1)[:, :1] * self.weight


def draw_stops(seed: int) -> dict:
    """The first weights of a toy teacher, what each epoch adds to them, and when to stop."""
    draw = generator(seed, 12)
    stops = sorted((torch.randperm(7, generator=draw)[:3] + 1).tolist())
    return {"start": torch.randn(10, generator=draw), "steps": torch.randn(12, 10, generator=draw), "stops": stops,
            "seed": torch.randint(100, (), generator=draw).item()}


def ask_stopped_teachers(inputs: dict, stopped_teachers) -> Record:
    record, made = Record(), Log()

    def make(seed):
        made.append(int(seed))
        return Teacher(inputs["start"])

    @torch.no_grad()
    def learn(network, epoch):
        network.weight += inputs["steps"][min(int(network.epochs), 11)] + 1e-3 * epoch
        network.epochs += 1

    with record.trying("teachers"):
        kept = stopped_teachers(make, learn, stops=list(inputs["stops"]), seed=inputs["seed"])
        if not isinstance(kept, dict) or any(stop not in kept for stop in inputs["stops"]):
            record.notes["teachers"] = _what(kept)
            kept = {}
        for stop, network in kept.items():
            if isinstance(network, Teacher):
                record.keep(f"after {stop}", network.weight)
            elif stop in inputs["stops"]:
                record.notes[f"after {stop}"] = ("a dict (weights by their names)" if isinstance(network, dict)
                                                 else _what(network))
    record.keep("seeds", torch.tensor(made))
    return record


def draw_nothing(seed: int) -> dict:
    return {}


def ask_trained_pair(inputs: dict, teacher, student, accuracies) -> Record:
    record = Record()
    with record.trying("pair"):
        for name, network in (("teacher", teacher), ("student", student)):
            for i, parameter in enumerate(list(copy.deepcopy(network).parameters())[:MOST_PARAMETERS]):
                record.keep(f"{name} {i}", parameter)
            if isinstance(accuracies, dict) and name in accuracies:
                record.keep(f"{name} accuracy", accuracies[name])
            else:
                record.notes["accuracies"] = _what(accuracies)
    return record
