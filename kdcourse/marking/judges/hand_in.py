"""Can a comparison be believed that was handed in: was it planned, does what was measured follow the plan, do the
numbers follow from what was measured, and does it come out again?"""

import json
import math
from collections.abc import Callable, Iterator
from itertools import product

import torch
from scipy import special

from kdcourse.core import generator
from kdcourse.marking.judges.base import Marks, ran
from kdcourse.marking.judges.intervals import t
from kdcourse.marking.record import Case, Record, Verdict, Wrong, clean

VERDICTS = ("better", "worse", "equal", "inconclusive")
EQUAL, UNCLEAR = VERDICTS[2:]
MOST, FEWEST = 2_000, 3
ROUNDED = 6e-5    # a share with four digits
KNOWN = 5         # standard errors: other images are never so much easier than those of training
SHOWN = range(10)  # the seeds of which the exercise prints test accuracies


def measured(d, error: float | None = None, free: int | None = None) -> tuple[float, float, float]:
    """Mean, half-width of the 95 % interval and p value of differences."""
    error, free = error or d.std().item() / math.sqrt(len(d)), free or len(d) - 1
    return d.mean().item(), t(free + 1) * error, 2 * special.stdtr(free, -abs(d.mean().item()) / error).item()


def holm(p: dict[str, float]) -> dict[str, float]:
    """Holm's p values by name."""
    adjusted, least = {}, 0.0
    for rank, name in enumerate(sorted(p, key=p.get)):
        adjusted[name] = least = max(least, min(1.0, (len(p) - rank) * p[name]))
    return adjusted


def _unclear(mean: float, half: float, margin: float) -> str:
    return EQUAL if abs(mean) + half <= margin else UNCLEAR


def verdict(mean: float, half: float, p: float, margin: float, unclear: Callable = _unclear) -> str:
    return VERDICTS[mean < 0] if abs(mean) > half and p < 0.05 else unclear(mean, half, margin)


def needed(pilot, effect: float, spread: Callable = lambda d: d.std(1).max(),
           quantile: Callable = lambda n, m: t(n, 1 - 0.025 / m), halves: float = 2) -> float:
    """The smallest n at which every interval of a family is narrow enough; pilot (comparisons, seeds)."""
    wide = spread(pilot).item()
    return float(next((n for n in range(2, MOST)
                       if quantile(n, len(pilot)) * wide / math.sqrt(n) <= effect / halves), MOST))


def _empty(study: dict) -> Iterator[str]:
    for name in ("question", "refuted_by"):
        if len(str(study[name]).split()) < 4:
            yield f"{name} is empty, or nearly"


def _words(study: dict, results: dict) -> Iterator[str]:
    """Whether the plan is one that can be answered."""
    arms, pairs, predicted = study["arms"], study["comparisons"], study["prediction"]
    yield from _empty(study)
    if "hard labels" not in [arm["method"] for arm in arms.values()]:
        yield "no arm has the method 'hard labels': does a teacher help at all?"
    if not pairs or any(len(set(pair)) != 2 or not {*pair} <= {*arms} for pair in pairs.values()):
        yield "comparisons are pairs of two arms of the plan, (ours, baseline)"
    if unread := arms.keys() - {arm for pair in pairs.values() for arm in pair}:
        yield f"the arm {min(unread)!r} is in no comparison"
    if predicted["comparison"] not in pairs:
        yield "the prediction is about none of the comparisons"
    low, high = predicted["points"]
    if not low < high:
        yield f"the prediction's points are {low:g} and {high:g}: the lowest comes first, then a higher one"
    if low <= -100 * study["margin"] and high >= 100 * study["margin"]:
        yield (f"a prediction of {low:g} to {high:g} points reaches the margin on both sides of 0: it allows better, "
               "equal and worse")
    if not 0 < study["margin"] < study["effect"]:
        yield "margin lies above 0 and below effect"
    if 100 * study["effect"] > max(abs(low), abs(high)) + 1e-9:
        yield (f"effect is {100 * study['effect']:g} points, and the prediction, {low:g} to {high:g} points, holds "
               "none that is so large")


def _budget(study: dict, results: dict) -> Iterator[str]:
    """Whether both sides of each comparison get the same, and settings are chosen where they may be."""
    for ours, baseline in study["comparisons"].values():
        tried, epochs = ([of(study, arm) for arm in (ours, baseline)] for of in (lambda *at: len(_grid(*at)), _epochs))
        if tried[0] > tried[1]:
            yield f"for {ours!r} {tried[0]} settings are tried, and for {baseline!r}, its baseline, {tried[1]}"
        if epochs[0] > epochs[1]:
            yield f"{ours!r} is trained for more epochs than {baseline!r}, its baseline"
    for arm, grid in study["choose"]["grids"].items():
        if again := [key for key, values in grid.items() if any(values.count(value) > 1 for value in values)]:
            yield f"the grid of {arm!r} has a value of {again[0]} twice: as one setting it counts once"
    if study["choose"]["on"] != "valid":
        yield "settings are chosen on validation images alone: choose['on'] is 'valid'"
    yield from _twice(study, "the submission", study["choose"]["seeds"], results["pilot"]["seeds"])


def _twice(study: dict, shown_by: str, *others: list[int]) -> Iterator[str]:
    """Whether the seeds that are measured are others than those that were looked at before."""
    groups = [study["seeds"], *others]
    if len({seed for group in groups for seed in group}) < sum(map(len, groups)):
        yield "a seed is there twice: those that choose, those of the pilot and those that are measured are others"
    if known := [seed for seed in study["seeds"] if seed in SHOWN]:
        yield f"seed {known[0]} is among those measured, and {shown_by} has shown it: take others than 0 to 9"


def _power(study: dict, results: dict) -> Iterator[str]:
    """Whether the number of seeds follows from the pilot."""
    found = results["pilot"]["differences"]
    pilot = torch.tensor([found[name] for name in study["comparisons"]]).double()
    if pilot.shape[1] != len(results["pilot"]["seeds"]) or pilot.shape[1] < FEWEST:
        yield f"the pilot has a difference for each of its seeds, {FEWEST} at least, in every comparison"
    n = len(study["seeds"])
    if n < FEWEST or n < (least := needed(pilot, study["effect"])):
        family = f" in a family of {len(pilot)}" if len(pilot) > 1 else ""
        yield f"n is {n}, and by the pilot this effect needs {least:g} seeds{family}"


def _spread(study: dict, results: dict) -> Iterator[str]:
    """The same, where the plan tells the spread as well."""
    yield from _power(study, results)
    told = study["spread"]
    spread = torch.tensor(results["pilot"]["differences"][study["prediction"]["comparison"]]).std()
    if not abs(spread.item() - told) < ROUNDED:
        yield f"spread is {told:.4f}, and the pilot's differences in the predicted comparison have {spread:.4f}"


def _epochs(study: dict, arm: str) -> int:
    """The most epochs that a student of this arm may get, wherever the plan says so."""
    own = study["arms"][arm]
    return max(study["choose"]["grids"].get(arm, {}).get("epochs") or
               [{**study["training"], **own.get("training", {}), **own}["epochs"]])


def _grid(study: dict, arm: str) -> list[dict]:
    """The settings that the plan tries for an arm."""
    grid = study["choose"]["grids"].get(arm, {})
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def _rows(study: dict, results: dict) -> Iterator[str]:
    """Whether the arms and the seeds of the plan were measured, and no others."""
    if results["rows"].keys() != study["arms"].keys():
        yield f"measured were {sorted(results['rows'])}, and the arms of the plan are {sorted(study['arms'])}"
    for arm, rows in results["rows"].items():
        if [row["seed"] for row in rows] != study["seeds"]:
            yield f"{arm!r} was not measured with the seeds of the plan, each once and in its order"
        if not all(0 < row["accuracy"] <= 1 for row in rows):
            yield f"accuracies of {arm!r} are no shares in [0, 1]"


def _choice(study: dict, results: dict) -> Iterator[str]:
    """Whether what was chosen is the best on validation images of all that the plan tries."""
    if results["tried"].keys() != study["choose"]["grids"].keys() or not study["choose"]["grids"]:
        yield "tried has every arm of the plan's grids, and there is one at least"
    for arm, tried in results["tried"].items():
        grid, points = _grid(study, arm), [one["point"] for one in tried]
        if len(points) != len(grid) or any(point not in points for point in grid):
            yield f"tried for {arm!r} were other settings than those of the plan"
        if any(len(one["valid_accuracy"]) != len(study["choose"]["seeds"]) for one in tried):
            yield f"each setting of {arm!r} has an accuracy for each seed that chooses"
        mean, chosen = [sum(one["valid_accuracy"]) for one in tried], results["points"][arm]
        if mean[points.index(chosen)] < max(mean) - 1e-9:
            yield (f"for {arm!r} {chosen} was measured, and {points[mean.index(max(mean))]} is better on validation "
                   "images")


def _found(study: dict, results: dict) -> dict[str, tuple[float, float, float]]:
    """Mean, half-width and p value of each comparison."""
    value = {arm: torch.tensor([row["accuracy"] for row in rows]).double() for arm, rows in results["rows"].items()}
    return {name: measured(value[a] - value[b]) for name, (a, b) in study["comparisons"].items()}


def _mistold(told: dict, numbers: dict[str, float], name: str, says: str, alone: float = math.nan) -> Iterator[str]:
    """What is told of a comparison and does not follow; `alone` is its p value without a correction."""
    for key, right in numbers.items():
        if not _near(told[key], right):
            why = ": it is in percent" if _near(told[key], 100 * right) else (
                ": Holm's correction is missing" if key == "holm" and _near(told[key], alone) else "")
            yield f"{key} of {name!r} is {told[key]:.4f}, and the rows give {right:.4f}{why}"
    if told["verdict"] != says:
        yield f"{name!r} is told {told['verdict']!r}, and by its rows it is {says!r}"


def _numbers(study: dict, results: dict) -> Iterator[str]:
    """Whether differences, intervals, p values and verdicts follow from the rows."""
    found = _found(study, results)
    p = holm({name: one[2] for name, one in found.items()})
    for name, (mean, half, alone) in found.items():
        told, says = results["comparisons"][name], verdict(mean, half, p[name], study["margin"])
        numbers = {"mean": mean, "low": mean - half, "high": mean + half, "holm": p[name]}
        yield from _mistold(told, numbers, name, says, alone)


def _near(told: float, right: float) -> bool:
    return abs(told - right) < ROUNDED + 0.002 * abs(right)


PARTS = {"the plan": (0.15, _words), "the budget": (0.15, _budget), "the pilot": (0.15, _spread),
         "the rows": (0.15, _rows), "the choice": (0.15, _choice), "the comparisons": (0.15, _numbers)}
BEFORE = ("the plan", "the budget")    # is worth something even if nothing comes out again
AGAIN = 0.1    # of the marks are for what comes out again


def _design(study: dict, results: dict) -> Iterator[str]:
    """Whether a study of one comparison, without a search, can be answered."""
    arms, pairs = study["arms"], study["comparisons"]
    yield from _empty(study)
    if len(pairs) != 1 or not {*next(iter(pairs.values()))} <= {*arms}:
        yield "one comparison decides: comparisons has a single entry, a pair of arms, [ours, control]"
    ours, control = next(iter(pairs.values()))
    if ours == control or arms[ours] == arms[control]:
        yield f"{ours!r} and {control!r} are the same: what does the control take away?"
    if not 0 < study["effect"] < 0.5:
        yield f"effect is {study['effect']:g}: it is a share, the smallest difference that the idea promises"
    yield from _twice(study, "question 12", results["pilot"]["seeds"])


def _conclusion(study: dict, results: dict) -> Iterator[str]:
    """Whether the interval of the one comparison, and what is concluded, follow from the rows."""
    for name, (mean, half, _) in _found(study, results).items():
        low, high = mean - half, mean + half
        says = "refuted" if high < study["effect"] else "supported" if low > 0 else "not shown"
        yield from _mistold(results["comparisons"][name], {"mean": mean, "low": low, "high": high}, name, says)


SMALL = {"the plan": (0.25, _design), "the pilot": (0.25, _power), "the rows": (0.15, _rows),
         "the comparison": (0.25, _conclusion)}


def hand_in(images: int, classes: int, rows: int, *, where: str, parts: dict = PARTS) -> Callable:
    """A judge of (study, results, learn), with so many test images and classes, and measured rows that were trained
    again. `parts` {name: (marks, problems(study, results))} are what is looked at; `SMALL` without a search. Where
    what was measured does not come out again, only the plan earns marks."""
    def judge(inputs: dict[str, Case], record: Record) -> Verdict:
        ran(record, ["hand-in"])
        study, results = json.loads(bytes(record.tensor("hand-in text", None).int().tolist()))
        found = Marks(where)
        at = inputs["lot"].at
        untrue = _said(lambda: _differs(record, study, results, at, rows, images, classes), "the training")
        for name, (share, problems) in parts.items():
            said = _said(lambda problems=problems: next(problems(study, results), ""), name)
            said = said if name in BEFORE else untrue or said
            found.give(share, not said, _sentence(said))
        found.give(AGAIN, not untrue, _sentence(untrue))
        return found.verdict()

    return judge


def _sentence(said: str) -> str:
    return f"{said}." if said and not said.endswith("?") else said


def _said(problem: Callable[[], str], name: str) -> str:
    try:
        return problem()
    except Wrong as wrong:
        return str(wrong).rstrip(".")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, ZeroDivisionError) as error:
        return f"{name} cannot be read ({clean(type(error).__name__)}: {clean(error)})"


def _drawn(study: dict, results: dict, at: list[int], most: int) -> list[tuple]:
    """(arm, point, seed, split, the accuracy handed in, or None) of the students that were trained again: two of the
    pilot, of which only the difference was handed in, so many of the measured, and one of a choice."""
    pairs, pilot, points = [*study["comparisons"].values()], results["pilot"]["seeds"], results.get("points", {})
    found = [(arm, points.get(arm, {}), pilot[at[5] % len(pilot)], "valid", None) for arm in pairs[at[0] % len(pairs)]]
    told = {(arm, row["seed"]): row["accuracy"] for arm, rows in results["rows"].items() for row in rows}
    every = [(arm, points.get(arm, {}), seed, "test", told.get((arm, seed))) for arm in study["arms"]
             for seed in study["seeds"]]
    found += [every[i] for i in torch.randperm(len(every), generator=generator(at[1])).tolist()[:most]]
    if tried := results.get("tried"):
        arm, place = [*tried][at[2] % len(tried)], at[4] % len(study["choose"]["seeds"])
        one = tried[arm][at[3] % len(tried[arm])]
        found.append((arm, one["point"], study["choose"]["seeds"][place], "valid", one["valid_accuracy"][place]))
    return found


def _differs(record: Record, study: dict, results: dict, at: list[int], rows: int, images: int, classes: int) -> str:
    """What shows that nothing was learned, or that a student who is trained again is another one."""
    ran(record, ["again"])
    for i, (arm, point, seed, name, told) in enumerate(_drawn(study, results, at, rows)):
        who = f"{arm!r} with {point} and seed {seed}" if point else f"{arm!r} with seed {seed}"
        if (found := record.number(f"again {i}")) < 2 / classes:
            return f"{who} is right about {found:.0%} of the images: it learned nothing"
        name = {"valid": "validation"}.get(name, name)
        if record.number(f"again {i} better known") > KNOWN:
            return f"{who} knows the {name} images better than the training images: does learn train on them?"
        if told is not None and not abs(found - told) < 3.5 / images:
            return (f"{who}, trained again, has {found:.4f} on {name} images, and "
                    f"{told:.4f} was handed in: does learn begin afresh each time, and are these numbers its own?")
    if "other" in record.tensors and not record.number("other"):
        return f"{arm!r} comes out the same with {point} and with another setting: does learn use its point?"
    name = [*study["comparisons"]][at[0] % len(study["comparisons"])]
    place = at[5] % len(results["pilot"]["seeds"])
    found, told = record.number("again 0") - record.number("again 1"), results["pilot"]["differences"][name][place]
    if not abs(found - told) < 3.5 / images:
        return (f"the pilot's difference in {name!r} with seed {results['pilot']['seeds'][place]}, trained again, is "
                f"{found:.4f} on validation images, and {told:.4f} was handed in")
    for name, pair in study["comparisons"].items():
        ours, baseline = ([row["accuracy"] for row in results["rows"][arm]] for arm in pair)
        if ours == baseline:
            return f"both sides of {name!r} are the same in every row: does learn do what the arm says?"
    return ""
