"""What curves over a temperature and paired comparisons are judged by: which runs were made, and what they measured.

A case has `temperatures`, `seeds`, `alpha` and `T`; the rows are what was measured.
"""

import torch

from kdcourse.marking.judges.experiment import Row
from kdcourse.marking.judges.intervals import HALF, MEAN, t
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.record import Case, Wrong


def every_run(c: Case, rows: list[Row]) -> str:
    """Whether each temperature has students of all seeds, made and taught with the same one."""
    wanted = {(T, seed) for T in c.temperatures for seed in c.seeds}
    found, lessons = {(row.T, row.seed) for row in rows}, {(row.T, row.taught_with) for row in rows}
    if missing := {seed for _, seed in wanted} - {seed for _, seed in found}:
        return (f"no student was made with seed {min(missing):g}: every temperature gets students of all seeds "
                f"{c.seeds}.")
    if missing := wanted - found:
        T, seed = min(missing)
        return f"T = {T:g} got no student of seed {seed:g}: every temperature gets students of all seeds."
    if lessons != wanted:
        return "a student of one seed was taught with another: make and teach it with the same seed."
    return "" if found == wanted else "other temperatures or seeds than those given were used."


def same_alpha(c: Case, rows: list[Row]) -> str:
    return "" if all(abs(row.alpha - c.alpha) < 1e-6 for row in rows) else (
        f"alpha = {c.alpha:.3g} was given, and another one was used to teach.")


def by_temperature(c: Case, rows: list[Row]) -> Case | None:
    """The accuracies at each temperature; None where there are not two of each, or not equally many."""
    values = [[row.accuracy for row in rows if row.T == T] for T in c.temperatures]
    even = len(set(map(len, values))) == 1 and len(values[0]) > 1
    return c.with_(values=torch.tensor(values, dtype=torch.double)) if even else None


def alone(rows: list[Row]) -> dict[float, Row]:
    """What students of each seed measured that were taught on labels alone."""
    return {row.seed: row for row in rows if row.alpha == 0}


def distilled(rows: list[Row]) -> dict[float, Row]:
    return {row.seed: row for row in rows if row.alpha != 0}


def both_kinds(c: Case, rows: list[Row]) -> str:
    """Whether both kinds of student are fresh; raises `Wrong` where one kind is missing."""
    if not alone(rows):
        raise Wrong("no student was taught with alpha = 0, on hard labels alone.")
    if not distilled(rows):
        raise Wrong("no student was distilled: all were taught with alpha = 0.")
    return "" if all(row.lessons == 1 for row in rows) else (
        "a student was measured that had been taught more than once: both kinds start as fresh students.")


def paired(c: Case, rows: list[Row]) -> str:
    same = set(alone(rows)) == set(distilled(rows)) == set(c.seeds) and all(r.seed == r.taught_with for r in rows)
    return "" if same else ("a pair shares its seed: the student alone and the distilled one are made and taught with "
                            "the same one, for every seed given.")


def as_given(c: Case, rows: list[Row]) -> str:
    same = all(abs(r.T - c.T) < 1e-3 and abs(r.alpha - c.alpha) < 1e-3 for r in distilled(rows).values())
    return "" if same else f"the distilled students were to be taught with T = {c.T:g} and alpha = {c.alpha:.3g}."


def differences(c: Case, rows: list[Row]) -> Case | None:
    """Distilled minus alone for each seed, and both groups; None where there are not two pairs."""
    a, b = distilled(rows), alone(rows)
    pairs = torch.tensor([(a[seed].accuracy, b[seed].accuracy) for seed in b if seed in a], dtype=torch.double)
    return c.with_(values=(pairs[:, 0] - pairs[:, 1])[None], groups=pairs.T) if len(pairs) > 1 else None


def _apart(c: Case) -> torch.Tensor:
    """The half-width of each group alone."""
    return HALF.right(c.with_(values=c.groups))


OF_ALONE = "it is divided by the accuracy of the students alone: the difference itself is asked for"
DIFFERENCE = Formula(lambda c, of, mean, turn: turn(mean(of(c))), of={
    "": lambda c: c.values, OF_ALONE: lambda c: c.values / c.groups[1],
    "the sign of each pair's difference is lost": lambda c: c.values.abs(),
    "this is the accuracy of the distilled students: that of the students alone is to be taken from it":
        lambda c: c.groups[:1],
    "this is the accuracy of the students alone: it is to be taken from that of the distilled ones":
        lambda c: c.groups[1:],
    "this is the ratio of both: their difference is asked for": lambda c: c.groups[:1] / c.groups[1:],
    "this is the mean of both kinds: their difference is asked for": lambda c: c.groups.mean(0, keepdim=True),
}, **MEAN.places, turn={"": lambda m: m, "it is distilled minus alone": lambda m: -m})
PAIRED = Formula(HALF.whole, **HALF.places | {"spread": HALF.places["spread"] | {
    "this is the interval of two unpaired groups: take the differences seed by seed first":
        lambda c, width: _apart(c).norm()[None],
    "this is the interval of two unpaired groups of one variance: take the differences seed by seed first":
        lambda c, width: (t(2 * c.groups.shape[1] - 1) * (c.groups.var(1).sum() / c.groups.shape[1]).sqrt())[None],
    "this is the interval of the distilled students alone: take the differences seed by seed first":
        lambda c, width: _apart(c)[:1],
    "this is the interval of the students alone: take the differences seed by seed first":
        lambda c, width: _apart(c)[1:],
    "this is the interval of the mean of both kinds: take the differences seed by seed first":
        lambda c, width: HALF.right(c.with_(values=c.groups.mean(0, keepdim=True))),
    OF_ALONE: lambda c, width: HALF.right(c.with_(values=c.values / c.groups[1])),
    "the sign of each pair's difference is lost": lambda c, width: HALF.right(c.with_(values=c.values.abs())),
    "two half-widths were added: take the differences seed by seed first": lambda c, width: _apart(c).sum()[None]}})
