"""What a plan cannot answer, and why: found before anything is trained.

Nothing here looks at a result. Whether a control is the *right* one, no machine can tell.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kdcourse import trained
from kdcourse.core import Choices
from kdcourse.data import SOURCES
from kdcourse.distillers import METHODS
from kdcourse.plan.base import Plan, half_width, seeds_needed

HARD, PLAIN = "hard labels", "kd"
FEWEST = 3          # seeds; with two, Student's t is 12.7
NEEDED = ("epochs", "lr")


class Refusal(NamedTuple):
    """Why a plan cannot be answered: of which kind ("question", "control", "budget", "choosing", "seeds", "margin",
    "power", "family", "material"), and in words, with what to do."""

    kind: str
    text: str


def refusals(plan: Plan) -> list[Refusal]:
    """Everything for which the plan is refused, each with what to do; empty if it can be run. Introduced in notebook
    11."""
    return [Refusal(kind, text) for kind, find in FINDERS.items() for text in find(plan)]


def _question(plan: Plan) -> Iterator[str]:
    for name in ("question", "refuted_by"):
        if not str(getattr(plan, name)).strip():
            yield f"{name} is empty: write it down before you look"
    if not isinstance(plan.prediction, Mapping):
        yield f"prediction is a dict of text, comparison and points, not {plan.prediction!r:.60}"
        return
    wanted, points = plan.prediction.get("comparison"), plan.prediction.get("points")
    if wanted not in plan.comparisons:
        yield (f"the prediction is about {wanted!r}, which is none of the comparisons: prediction['comparison'] is one "
               f"of {list(plan.comparisons)}")
    if not _pair_of_numbers(points):
        yield f"prediction['points'] are the lowest and the highest difference that you expect; they are {points!r}"
    elif plan.margin and points[0] <= -100 * plan.margin and points[1] >= 100 * plan.margin:
        yield (f"a prediction of {points[0]:+g} to {points[1]:+g} points allows better, equal and worse: nothing could "
               "refute it")


def _control(plan: Plan) -> Iterator[str]:
    if len(plan.arms) < 2:
        yield f"there is no control: a comparison needs two arms, and there are {len(plan.arms)}"
        return
    if HARD not in (methods := {name: plan.lesson_of(name)[0] for name in plan.arms}).values():
        yield "there is no control without a teacher: add an arm whose method is 'hard labels'"
    compared = [tuple(pair) for pair in plan.comparisons.values()]
    for ours in dict.fromkeys(pair[0] for pair in compared if len(pair) == 2 and pair[0] in plan.arms):
        against = {methods.get(pair[1]) for pair in compared if pair[0] == ours}
        if methods[ours] not in (HARD, PLAIN) and plan.teacher is not None and PLAIN not in against:
            yield (f"{ours!r} is not compared with plain KD: is it the method, or any lesson of this teacher? Add an "
                   f"arm of method 'kd' and the comparison [{ours!r}, ...]")
        if methods[ours] == PLAIN and against <= {PLAIN}:
            yield f"{ours!r} is not compared with 'hard labels': does the teacher help at all?"
    for one, other in itertools.combinations(plan.arms, 2):
        if plan.arms[one] == plan.arms[other] and plan.grid_of(one) == plan.grid_of(other):
            yield f"the arms {one!r} and {other!r} are the same: change one, or leave it out"


def _budget(plan: Plan) -> Iterator[str]:
    for ours, baseline in _known_pairs(plan):
        a, b = plan.training_of(ours), plan.training_of(baseline)
        if a.get("epochs", 0) > b.get("epochs", 0):
            yield (f"{ours!r} gets {a.get('epochs')} epochs and {baseline!r} {b.get('epochs')}: longer training alone "
                   "may explain the difference; give both the same")
        for key in (a.keys() | b.keys()) - {"epochs"} - plan.grid_of(ours).keys() - plan.grid_of(baseline).keys():
            if a.get(key) != b.get(key):
                yield (f"{ours!r} and {baseline!r} differ in {key} as well, {a.get(key)!r} and {b.get(key)!r}: change "
                       "one thing, or choose it for both")
        tried = [_tried(plan, name) for name in (ours, baseline)]
        if tried[0] > tried[1]:
            yield (f"for {ours!r} {tried[0]} settings are tried and for {baseline!r} {tried[1]}: the best of more is "
                   "better by luck; let the baseline choose as often, hard labels by their lr")
    if plan.minutes is None or not _number(plan.minutes) or plan.minutes <= 0:
        yield f"minutes, the most that it may take, is {plan.minutes!r}: say how long you can wait"


def _choosing(plan: Plan) -> Iterator[str]:
    if not plan.choose.get("grids"):
        return
    if (on := plan.choose.get("on")) != "valid":
        yield (f"settings are chosen on {on!r}: what chose the settings cannot judge them. Say 'valid', and the test "
               "images are looked at once, at the end")
    seeds = plan.choose.get("seeds")
    if not _whole_numbers(seeds) or not seeds:
        yield f"choose['seeds'] are seeds that choose and are never measured, [100, 101] say; they are {seeds!r}"
    elif _whole_numbers(plan.seeds) and (both := sorted(set(seeds) & set(plan.seeds))):
        yield f"seed {both[0]} chooses settings and is measured: the measured ones must be fresh"
    for arm in plan.choose["grids"]:
        if arm not in plan.arms:
            yield f"settings are chosen for {arm!r}, which is no arm: there are {', '.join(plan.arms)}"
        for key, values in plan.grid_of(arm).items():
            if not isinstance(values, list | tuple) or not values:
                yield f"the values of {key} that are tried for {arm!r} are a list, [1.0, 4.0] say; they are {values!r}"


def _seeds(plan: Plan) -> Iterator[str]:
    if not _whole_numbers(plan.seeds):
        yield (f"n is not fixed: seeds is {plan.seeds!r}. Write the list down now; whoever adds seeds until the "
               "interval leaves zero out will find that it does")
        return
    if len(set(plan.seeds)) < len(plan.seeds):
        yield f"a seed is there twice in {list(plan.seeds)}: it would count as evidence twice"
    if len(plan.seeds) == 1:
        yield "one seed has no interval: what luck does cannot be seen; take as many as the pilot says"
    elif len(plan.seeds) < FEWEST:
        yield f"{len(plan.seeds)} seeds give an interval that holds nearly everything; take {FEWEST} at least"


def _margin(plan: Plan) -> Iterator[str]:
    if not _number(plan.margin) or not 0 < plan.margin <= 0.1:
        yield (f"margin, how far from zero still counts as equal, is {plan.margin!r}: a share such as 0.01, chosen "
               "now; without it no result could be called equal")
    elif _number(plan.effect) and plan.effect <= plan.margin:
        yield (f"effect, {plan.effect:g}, lies within the margin, {plan.margin:g}: a difference cannot be worth seeing "
               "and count as none")


def _power(plan: Plan) -> Iterator[str]:
    if not _number(plan.effect) or plan.effect <= 0:
        yield f"effect, the smallest difference that you want to see, is {plan.effect!r}: a share such as 0.02"
    if not _number(plan.spread) or plan.spread <= 0:
        yield (f"spread is {plan.spread!r}: run plan.pilot(folder), and write down the standard deviation of its "
               "differences")
    if not _whole_numbers(plan.seeds) or len(plan.seeds) < 2 or [*_power_numbers(plan)] != [True, True]:
        return
    n, half = len(plan.seeds), half_width(plan.spread, len(plan.seeds))
    if half > plan.effect / 2:
        yield (f"{n} seeds will give an interval of ± {100 * half:.2f} points: too wide to see {100 * plan.effect:g} "
               f"points. {_enough(plan)}")


def _family(plan: Plan) -> Iterator[str]:
    if not plan.comparisons:
        yield "there are no comparisons: name all that you will read, {'KD helps': ['KD', 'hard labels']}, before"
    for name, pair in plan.comparisons.items():
        if isinstance(pair, str) or len(pair) != 2:
            yield f"the comparison {name!r} is {pair!r}: two arms are needed, [ours, baseline]"
        elif lost := [arm for arm in pair if arm not in plan.arms]:
            yield f"the comparison {name!r} names {lost[0]!r}, which is no arm: there are {', '.join(plan.arms)}"
        elif pair[0] == pair[1]:
            yield f"the comparison {name!r} compares {pair[0]!r} with itself"
    pairs = [tuple(pair) for pair in plan.comparisons.values()]
    if unread := [name for name in plan.arms if not any(name in pair for pair in pairs)] if pairs else []:
        yield f"the arm {unread[0]!r} is in no comparison: what is measured is reported"


def _material(plan: Plan) -> Iterator[str]:
    if ("name" in plan.images) == ("folder" in plan.images):
        yield f"images need either a name or a folder: {dict(plan.images)!r}"
    elif plan.images.get("name", "fashion_small") not in SOURCES:
        yield f"there are no images called {plan.images['name']!r}; choose one of: {', '.join(SOURCES)}"
    if not isinstance(plan.images.get("train"), int) or plan.images["train"] < 1:
        yield f"images['train'], how many training images the students get, is {plan.images.get('train')!r}"
    for name in plan.arms:
        yield from _arm(plan, name)
    yield from _teacher(plan)


def _arm(plan: Plan, name: str) -> Iterator[str]:
    method, _ = plan.lesson_of(name)
    if method != HARD and ".py:" not in method:
        try:
            Choices("method", dict.fromkeys([HARD, *METHODS]))[method]
        except ValueError as error:
            yield f"arm {name!r}: {error}; or FILE.py:NAME for one of your own"
    if method != HARD and ".py:" not in method and plan.teacher is None:
        yield f"arm {name!r} needs a teacher, and there is none"
    training = plan.training_of(name)
    if lost := [key for key in NEEDED if key not in training and key not in plan.grid_of(name)]:
        yield f"arm {name!r} has no {lost[0]}: say it in training"


def _teacher(plan: Plan) -> Iterator[str]:
    if plan.teacher is None:
        return
    if kept := plan.teacher.get("kept"):
        if kept not in trained.RECIPES:
            yield f"there is no kept teacher {kept!r}; choose one of: {', '.join(trained.RECIPES)}"
        elif trained.RECIPES[kept].about != plan.images.get("name"):
            yield (f"the teacher {kept} is kept with its answers about {trained.RECIPES[kept].about or 'no images'}, "
                   f"and the images are {plan.images.get('name', 'a folder')}")
    elif lost := [key for key in ("network", "epochs", "lr") if key not in plan.teacher]:
        yield f"the teacher has no {lost[0]}: it needs a network, epochs and lr; or kept, the name of a kept one"


FINDERS = {"question": _question, "control": _control, "budget": _budget, "choosing": _choosing, "seeds": _seeds,
           "margin": _margin, "power": _power, "family": _family, "material": _material}


def _known_pairs(plan: Plan) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in plan.comparisons.values()
            if not isinstance(pair, str) and len(pair) == 2 and all(name in plan.arms for name in pair)]


def _tried(plan: Plan, arm: str) -> int:
    """How many points the grid of an arm has: one where nothing is chosen."""
    points = 1
    for values in plan.grid_of(arm).values():
        points *= len(values) if isinstance(values, list | tuple) else 1
    return points


def _power_numbers(plan: Plan) -> Iterator[bool]:
    for value in (plan.effect, plan.spread):
        yield _number(value) and value > 0


def _enough(plan: Plan) -> str:
    try:
        return f"{seeds_needed(plan.spread, plan.effect)} seeds would do"
    except ValueError as error:
        return str(error)


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _whole_numbers(values) -> bool:
    return isinstance(values, list | tuple | range) and len(values) > 0 and all(
        isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values)


def _pair_of_numbers(values) -> bool:
    return isinstance(values, list | tuple) and len(values) == 2 and all(map(_number, values)) and values[0] < values[1]
