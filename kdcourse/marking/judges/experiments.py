"""Judging half, questions 6, 7 and 12: diaries of toy students and moments of a toy teacher."""

import math

from scipy import stats
from torch import Tensor

from kdcourse.marking.judges.base import Marks, close
from kdcourse.marking.record import Record, Verdict, Wrong, stopped

CURVE, ALONE, EARLY = (f"notebook 01, section {number}" for number in (6, 4, 10))


def temperature_curve(inputs: dict, record: Record) -> Verdict:
    marks, measured = Marks(CURVE), _measured(record, "curve")
    temperatures, seeds, alpha = inputs["temperatures"], inputs["seeds"], inputs["alpha"]
    wanted = {(T, seed) for T in temperatures for seed in seeds}
    found = {(row[2], row[0]) for row in measured}
    fresh = all(row[1] == 1 for row in measured)
    most = max(int(row[1]) for row in measured)
    marks.give(0.4, fresh, f"a student was measured that had been taught {most} times: accuracy then depends on the "
               "order of the runs. Make a fresh student for every temperature and seed.")
    lessons = {(row[2], row[4]) for row in measured}
    marks.give(0.1, found == wanted and lessons == wanted, _runs(found, lessons, wanted, seeds))
    marks.give(0.1, all(close(row[3], alpha, rtol=1e-6) for row in measured),
               f"alpha = {alpha:.3g} was given, and another one was used to teach.")
    if note := record.notes.get("curve"):
        raise Wrong(f"{note} was returned, and a dict {{T: (mean, half-width)}} is expected, with the temperatures "
                    f"{temperatures} as its keys. Read {CURVE}.")
    curve = record.tensor("curve", len(temperatures), 2)
    values = [[row[5] for row in measured if row[2] == T] for T in temperatures]
    if min(map(len, values)) < 2:
        return marks.verdict()
    marks.give(0.2, all(close(point[0], sum(v) / len(v), rtol=1e-6) for point, v in zip(curve, values, strict=True)),
               "the first number at a temperature is not the mean of the accuracies that were measured there.")
    marks.give(0.2, *_width([point[1].item() for point in curve], values))
    return marks.verdict()


def student_alone(inputs: dict, record: Record) -> Verdict:
    marks, measured = Marks(ALONE), _measured(record, "difference")
    T, alpha, seeds = inputs["T"], inputs["alpha"], inputs["seeds"]
    alone = {row[0]: row for row in measured if row[3] == 0}
    distilled = {row[0]: row for row in measured if row[3] != 0}
    if not alone:
        raise Wrong(f"no student was taught with alpha = 0, on hard labels alone. Read {ALONE}.")
    marks.give(0.3, all(row[1] == 1 for row in measured),
               "a student was measured that had been taught more than once: both kinds start as fresh students.")
    same = set(alone) == set(distilled) == set(seeds) and all(row[0] == row[4] for row in measured)
    marks.give(0.2, same, "a pair shares its seed: the student alone and the distilled one are made and taught with "
               "the same one, for every seed given.")
    marks.give(0.1, all(close(row[2], T) and close(row[3], alpha) for row in distilled.values()),
               f"the distilled students were to be taught with T = {T:g} and alpha = {alpha:.3g}.")
    mean, half = record.tensor("difference", 2).tolist()
    pairs = [(distilled[seed][5], alone[seed][5]) for seed in alone if seed in distilled]
    if len(pairs) < 2:
        return marks.verdict()
    gaps = [a - b for a, b in pairs]
    expected = sum(gaps) / len(gaps)
    marks.give(0.2, close(mean, expected, rtol=1e-6), f"the mean difference is {expected:+.4f}, and you return "
               f"{mean:+.4f}" + (": it is distilled minus alone." if close(mean, -expected, rtol=1e-6) else "."))
    apart = [_half(list(values)) for values in zip(*pairs, strict=True)]
    unpaired = {"this is the interval of two unpaired groups: take the differences seed by seed first":
                math.hypot(*apart), "two half-widths were added: take the differences seed by seed first": sum(apart)}
    marks.give(0.2, *_width([half], [gaps], unpaired))
    return marks.verdict()


def _measured(record: Record, name: str) -> list[list[float]]:
    if note := record.notes.get(f"{name} error"):
        raise Wrong(stopped(note))
    measured = record.tensor("measured", None, 6).tolist()
    if not any(row[1] for row in measured):
        raise Wrong("no student was taught and measured with the functions that were given.")
    return measured


def _runs(found: set, lessons: set, wanted: set, seeds: list[int]) -> str:
    if missing := {seed for _, seed in wanted} - {seed for _, seed in found}:
        return f"no student was made with seed {min(missing):g}: every temperature gets students of all seeds {seeds}."
    if missing := wanted - found:
        T, seed = min(missing)
        return f"T = {T:g} got no student of seed {seed:g}: every temperature gets students of all seeds."
    if lessons != wanted:
        return "a student of one seed was taught with another: make and teach it with the same seed."
    return "other temperatures or seeds than those given were used."


def _half(values: list[float], quantile: float | None = None, ddof: int = 1, root: bool = True) -> float:
    n = len(values)
    mean = sum(values) / n
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - ddof))
    return (stats.t.ppf(0.975, n - 1) if quantile is None else quantile) * deviation / (math.sqrt(n) if root else 1)


def _width(found: list[float], values: list[list[float]], others: dict[str, float] | None = None) -> tuple[bool, str]:
    """Whether these are the half-widths of the 95 % intervals; and if not, what they are."""
    def all_are(half, rtol: float = 3e-4) -> bool:
        return all(close(a, half(v), rtol=rtol, atol=1e-9) for a, v in zip(found, values, strict=True))

    if all_are(_half, 2e-3):  # a quantile from a table will do
        return True, ""
    n = len(values[0])
    guesses = {text: lambda v, other=other: other for text, other in (others or {}).items()} | {
        "1.96 is for many seeds: with few, Student's t takes its place": lambda v: _half(v, 1.96),
        "2 is for many seeds: with few, Student's t takes its place": lambda v: _half(v, 2.0),
        "this is the standard deviation: an interval of the mean is divided by the root of n and multiplied by t":
            lambda v: _half(v, 1, root=False),
        "this is the standard error: multiply it by Student's t": lambda v: _half(v, 1),
        "the root of n is missing": lambda v: _half(v, root=False),
        "the standard deviation divides by n: from few values it divides by n - 1": lambda v: _half(v, ddof=0),
        "the standard deviation divides by n, and 1.96 is for many seeds": lambda v: _half(v, 1.96, ddof=0),
        "this is the whole width: half of it is asked for": lambda v: 2 * _half(v),
        "this is the distance from the smallest to the largest": lambda v: max(v) - min(v),
        "t was taken for n degrees of freedom: they are n - 1": lambda v: _half(v, stats.t.ppf(0.975, n)),
        "t was taken at 95 %, which leaves 5 % at each end: take it at 97.5 %":
            lambda v: _half(v, stats.t.ppf(0.95, n - 1)),
    }
    reason = next((f": {text}" for text, half in guesses.items() if all_are(half)), "")
    expected = _half(values[0])
    return False, f"the half-width of the 95 % interval is {expected:.4f}, and you return {found[0]:.4f}{reason}."


def stopped_teachers(inputs: dict, record: Record) -> Verdict:
    marks, stops = Marks(EARLY), inputs["stops"]
    if note := record.notes.get("teachers error"):
        raise Wrong(stopped(note))
    expected = f"a dict is expected, with a network that make returned, or a copy of it, for each stop. Read {EARLY}."
    if note := record.notes.get("teachers"):
        raise Wrong(f"with stops {stops} {note} was returned: {expected}")
    if other := [stop for stop in stops if f"after {stop}" in record.notes]:
        raise Wrong(f"for stop {other[0]} {record.notes[f'after {other[0]}']} was returned, not a network: {expected}")
    kept = {stop: record.tensor(f"after {stop}", 10) for stop in stops}
    moments = {stop: _moment(inputs, weights) for stop, weights in kept.items()}
    if None in moments.values():
        raise Wrong("what was kept is none of the moments of one training: learn(network, epoch) for epoch = 0, 1, 2, "
                    f"... on one network, or on a fresh one for each stop. Read {EARLY}.")
    if len(set(moments.values())) == 1:
        raise Wrong(f"all stopped teachers are the same network, after {moments[stops[0]]} epochs: keep a copy at each "
                    f"stop (copy.deepcopy), not the network that goes on learning. Read {EARLY}.")
    marks.give(0.3, len(set(moments.values())) == len(stops), "two stops hold the same teacher.")
    said = ", ".join(f"stop {stop} holds the teacher after {moment} epochs" for stop, moment in moments.items())
    marks.give(0.6, all(stop == moment for stop, moment in moments.items()), f"{said}: after k epochs is meant.")
    marks.give(0.1, set(record.tensor("seeds", None).tolist()) == {inputs["seed"]},
               "the teacher was made with another seed than the one given.")
    return marks.verdict()


def _moment(inputs: dict, weights: Tensor) -> int | None:
    """After how many epochs the toy teacher had these weights."""
    at = inputs["start"].double()
    for epoch, step in enumerate(inputs["steps"].double()):
        if close(weights, at, atol=1e-4):
            return epoch
        at = at + step + 1e-3 * epoch
    return None
