"""Has designs of two by two made, with toy students that keep a diary: two starts, two lessons, several seeds."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.experiment import keep_pairs, noise
from kdcourse.marking.record import Case, Record

STARTS, LESSONS = {"random": 1.0, "pretrained": 2.0}, {"labels": 0.0, "distilled": 1.0}


def designs(seed: int) -> dict[str, Case]:
    """The seeds of two designs, which overlap."""
    def case(key: int) -> Case:
        seeds = torch.randperm(50, generator=generator(seed, 446, key))[:8] + 1
        return Case(noise=noise(seed, 445, key), starts=STARTS, seeds=seeds.tolist())

    return {"first": case(0), "second": case(1)}


def designed(answer, world, case: Case):
    """The diary holds the start of a student in the place of a temperature, and its lesson in that of alpha."""
    def make(start, seed):
        student = world.make(seed)
        student.start = STARTS[start]
        return student

    def teach(student, lesson, seed) -> None:
        world.teach(student, student.start, LESSONS[lesson], seed)

    return answer(make, teach, world.measure, seeds=list(case.seeds))


def keep_effects(record: Record, name: str, value, case: Case) -> None:
    """Three pairs of numbers, in one row, (1, 6)."""
    value = value.tolist() if hasattr(value, "tolist") else value  # an array or a tensor
    keep_pairs(record, name, dict(enumerate(value)) if isinstance(value, list | tuple) else value, range(3),
               "effect number ")
    if f"{name} value" in record.tensors:
        record.keep(f"{name} value", record.tensors[f"{name} value"].reshape(1, 6))
