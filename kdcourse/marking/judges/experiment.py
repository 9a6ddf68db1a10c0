"""Was an experiment made as it was asked for, by the diary of its toy networks, and do its numbers follow from what was
measured?"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from kdcourse.marking.judges.base import Marks, close, ran
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.record import Case, Record, Verdict, Wrong

AGAIN = "once more"
EXACT = 3e-4  # how near a mistake's number has to be, relatively
ROUNDED = 1e-6  # how far a number may be off that was computed in single precision from accuracies


class Row(NamedTuple):
    """One measurement of a network: by which seed it was made, how often it was taught, how the last time, the accuracy
    that was found, and which network it was."""

    seed: float
    lessons: float
    T: float
    alpha: float
    taught_with: float
    accuracy: float
    number: float


class Column(NamedTuple):
    """One of the numbers returned: its marks, its name in a sentence, its formula (one number for each interval), and
    how near it has to be, relatively (a quantile from a table will do)."""

    marks: float
    name: str
    formula: Formula
    rtol: float = 1e-6


def experiment(*columns: Column, where: str, marks: dict[Callable, float], values: Callable, expected: str) -> Callable:
    """A judge. `marks` {problem(case, rows) -> words, "" if there is none: what it is worth}; it may raise `Wrong`.

    `values(case, rows)` are the measured numbers (intervals, n) behind those returned, or None if there are too few;
    it may return a case with more for the formulas, too. `expected` says what is to be returned.
    """
    def judge(inputs: dict[str, Case], record: Record) -> Verdict:
        ran(record, inputs)
        found, rows = Marks(where), {name: measured(record, name) for name in inputs}
        for problem, weight in marks.items():
            said = next(filter(None, (problem(case, rows[name]) for name, case in inputs.items())), "")
            found.give(weight, not said, said)
        for name in inputs:
            if note := record.notes.get(f"{name} value"):
                raise Wrong(f"{note} was returned, and {expected} is expected. Read {where}.")
        cases = {name: values(case, rows[name]) for name, case in inputs.items()}
        if None in cases.values():
            return found.verdict()
        returned = {name: record.tensor(f"{name} value", len(case.values), len(columns))
                    for name, case in cases.items()}
        turned = _turned(columns, cases, returned)
        for i, column in enumerate(columns):
            share, said = _column(column, cases, {name: r[:, i] for name, r in returned.items()})
            found.give(column.marks, share, turned or said)
        if _stays(inputs, record):
            found.take(0.2, "with the same arguments a second call returns something else, so something stays from one "
                       "call to the next: a global, or a default value that is changed.")
        return found.verdict()

    judge.columns, judge.values = columns, values
    return judge


def measured(record: Record, name: str) -> list[Row]:
    """The measurements of networks that had been taught, each once, however often it was printed."""
    rows = [Row(*row) for row in record.tensor(f"{name} measured", None, 7).tolist()]
    rows = [row for row in dict.fromkeys(rows) if row.lessons]
    if not rows:
        raise Wrong("no student was taught and measured with the functions that were given.")
    return rows


def fresh(case: Case, rows: list[Row]) -> str:
    most = max(int(row.lessons) for row in rows)
    return "" if most == 1 else (
        f"a student was measured that had been taught {most} times: accuracy then depends on the order of the runs. "
        "Make a fresh student for each run.")


def _column(column: Column, cases: dict[str, Case], returned: dict[str, Tensor]) -> tuple[bool, str]:
    def all_are(value: Callable, rtol: float) -> bool:
        return all(close(returned[name], value(case), rtol=rtol, atol=ROUNDED) for name, case in cases.items())

    right = column.formula.right
    if all_are(right, column.rtol):
        return True, ""
    wrong = next(name for name, case in cases.items()
                 if not close(returned[name], right(case), rtol=column.rtol, atol=ROUNDED))
    mistake = next((one for one in column.formula.mistakes(most=2) if all_are(one.value, min(EXACT, 1e-4))), None)
    mistake = mistake or next((one for one in column.formula.mistakes(most=1) if all_are(one.value, EXACT)), None)
    case = cases[wrong]
    value, mine = right(case)[0].item(), returned[wrong][0].item()
    digits = next((n for n in range(4, 16) if f"{value:.{n}f}" != f"{mine:.{n}f}"), 16)
    said = f"{column.name} is {value:.{digits}f}, and you return {mine:.{digits}f}"
    if mistake:
        return False, f"{said}: {mistake.text}."
    return False, f"{said}."


def _turned(columns: tuple[Column, ...], cases: dict[str, Case], returned: dict[str, Tensor]) -> str:
    """What to say of two numbers that stand in each other's place; empty where they do not."""
    if len(columns) != 2:
        return ""
    turned = {name: found.flip(1) for name, found in returned.items()}
    right = all(_column(column, cases, {name: r[:, i] for name, r in turned.items()})[0]
                for i, column in enumerate(columns))
    return f"{columns[0].name} and {columns[1].name} have changed places." if right else ""


def _stays(inputs: dict[str, Case], record: Record) -> bool:
    """Whether the first case gave something else when it was asked once more, or more was returned than asked for."""
    first, again = (record.tensors.get(f"{name} value") for name in (next(iter(inputs)), AGAIN))
    more = any(record.tensors.get(f"{name} more", torch.zeros(())) > 0 for name in (*inputs, AGAIN))
    return more or (first is not None and again is not None and not close(again, first, rtol=1e-6, atol=ROUNDED))


def moments(*, where: str, marks: tuple[float, float, float, float]) -> Callable:
    """A judge of {k: the network after k epochs}: `marks` for different ones, for the right ones, for the seed, and for
    a single training."""
    def judge(inputs: dict[str, Case], record: Record) -> Verdict:
        ran(record, inputs)
        found = Marks(where)
        after = {name: _moments(record, name, case, where) for name, case in inputs.items()}
        name = next((name for name, case in inputs.items() if list(after[name].values()) != case.stops), None)
        found.give(marks[0], all(len(set(one.values())) == len(one) for one in after.values()),
                   "two stops hold the same network.")
        found.give(marks[1], name is None, "" if name is None else ", ".join(
            f"stop {stop} holds the network after {moment} epochs" for stop, moment in after[name].items())
            + ": after k epochs is meant.")
        found.give(marks[2], all(set(record.tensor(f"{name} made", None).tolist()) == {case.seed}
                                 for name, case in inputs.items()),
                   "the teacher was made with another seed than the one given.")
        once = all((record.tensor(f"{name} taught", None) == 0).sum() == 1 for name in inputs)
        found.give(marks[3], once, "several trainings were begun: train one teacher, and keep a copy at each stop.")
        return found.verdict()

    return judge


def _moments(record: Record, name: str, case: Case, where: str) -> dict[int, int]:
    """After how many epochs the network of each stop was kept; raises `Wrong` where that is no moment of a training."""
    expected = f"a dict is expected, with a network that make returned, or a copy of it, for each stop. Read {where}."
    if note := record.notes.get(f"{name} value"):
        raise Wrong(f"with stops {case.stops} {note} was returned: {expected}")
    if other := [stop for stop in case.stops if f"{name} after {stop}" in record.notes]:
        note = record.notes[f"{name} after {other[0]}"]
        raise Wrong(f"for stop {other[0]} {note} was returned, not a network: {expected}")
    found = {}
    for stop in case.stops:
        lessons = record.tensor(f"{name} after {stop}", case.lessons)
        found[stop] = int((~lessons.isnan()).sum())
        if not found[stop]:
            raise Wrong(f"for stop {stop} a network came back that was never taught. Read {where}.")
        if lessons[: found[stop]].tolist() == list(range(1, found[stop] + 1)):
            raise Wrong(f"epochs count from 0, and the first call was learn(network, 1). Read {where}.")
        if (lessons[: found[stop]] == 0).sum() > 1:
            raise Wrong("a network that had been taught was taught again from epoch 0: go on where it stopped. "
                        f"Read {where}.")
        if lessons[: found[stop]].tolist() != list(range(found[stop])):
            raise Wrong("what was kept is none of the moments of one training: learn(network, epoch) for epoch = 0, 1, "
                        f"2, ... on one network. Read {where}.")
    if len(set(found.values())) == 1:
        raise Wrong(f"all stopped networks are the same one, after {found[case.stops[0]]} epochs: keep a copy at each "
                    f"stop (copy.deepcopy), not the network that goes on learning. Read {where}.")
    return found
