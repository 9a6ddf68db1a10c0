"""What a plan cannot answer, and why: found before anything is trained.

Nothing here looks at a result. Whether a control is the *right* one, no machine can tell.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from kdcourse import trained
from kdcourse.core import Choices
from kdcourse.data import SOURCES, Augment
from kdcourse.distillers import METHODS
from kdcourse.plan.base import TRAINING, Plan, half_width, seeds_needed
from kdcourse.sweep import ROW
from kdcourse.train import SCHEDULES

HARD, PLAIN = "hard labels", "kd"
FEWEST = 3          # seeds; with two, Student's t is 12.7
NEEDED = ("epochs", "lr")
TEACHER = ("network", "epochs", "lr", "batch_size", "seed")     # what is said of one that is trained first


class Refusal(NamedTuple):
    """Why a plan cannot be answered: of which kind ("form", "question", "control", "budget", "choosing", "seeds",
    "margin", "power", "family", "material"), and in words, with what to do."""

    kind: str
    text: str


def refusals(plan: Plan) -> list[Refusal]:
    """Everything for which the plan is refused, each with what to do; empty if it can be run. Where an entry has not
    the form of one, such as a word in the place of a dict, that alone is said. Introduced in notebook 11."""
    found = [Refusal("form", text) for text in _form(plan)]
    return found or [Refusal(kind, text) for kind, find in FINDERS.items() for text in find(plan)]


def _form(plan: Plan) -> Iterator[str]:
    for name, (right, example) in FORMS.items():
        if not right(value := getattr(plan, name)):
            yield f"{name} is {value!r:.80}, and is to look so: {example}"


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
        yield (f"a prediction of {points[0]:+g} to {points[1]:+g} points allows better, equal and worse: no verdict "
               "could refute it; let it reach the margin on one side of 0 at most")


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
    if plan.minutes is None or not plan.minutes > 0:
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
    for name in ("effect", "spread"):
        if _number(value := getattr(plan, name)) and value >= 1:
            yield (f"{name} is {value:g}: it is a share of the test images, below 1, and not points; {value:g} points "
                   f"are {value / 100:g}")
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
    if not _whole(plan.images.get("train"), 1):
        yield f"images['train'], how many training images the students get, is {plan.images.get('train')!r}"
    yield from (f"training: {text}" for text in _training(plan.training))
    for name in plan.arms:
        yield from _arm(plan, name)
    for name in ("arm", "equals") if plan.identity else ():
        yield from (f"identity[{name!r}]{text}" for text in _lesson(plan, plan.identity[name]))
    yield from _teacher(plan)


def _arm(plan: Plan, name: str) -> Iterator[str]:
    arm, grid = plan.arms[name], plan.grid_of(name)
    yield from (f"arm {name!r}{text}" for text in _lesson(plan, arm))
    yield from (f"arm {name!r}: training: {text}" for text in _training(arm.get("training", {})))
    training = plan.training_of(name)
    if lost := [key for key in NEEDED if key not in training and key not in grid]:
        yield f"arm {name!r} has no {lost[0]}: say it in training"
    for key, values in grid.items():
        if key in ROW:
            yield (f"{key} is no setting that could be chosen for {name!r}: " + (
                "the seeds that choose stand in choose['seeds']" if key == "seed" else
                "every result has a number of this name; call the setting otherwise"))
        elif key in TRAINING and isinstance(values, list | tuple):
            yield from (f"tried for {name!r}: {text}" for value in values for text in _training({key: value}))
        elif key not in TRAINING and arm["method"] == HARD:
            yield (f"{key} is to be chosen for {name!r}, whose method {HARD!r} does not take it: every value would "
                   f"give the same. What can be chosen for it is one of: {', '.join(TRAINING)}")


def _lesson(plan: Plan, arm: Mapping) -> Iterator[str]:
    """What is wrong with the method of an arm, its settings or its teacher."""
    method = arm["method"]
    if method == HARD:
        if own := [key for key in arm if key not in ("method", "training")]:
            hint = "it belongs into training" if own[0] in TRAINING else (
                "leave it out, or define a distiller of your own, FILE.py:NAME, that does")
            yield f": the method {HARD!r} takes no {own[0]!r}: {hint}"
    elif ".py:" not in method:
        try:
            Choices("method", dict.fromkeys([HARD, *METHODS]))[method]
        except ValueError as error:
            yield f": {error}; or FILE.py:NAME for one of your own"
        if plan.teacher is None:
            yield " needs a teacher, and there is none"


def _training(settings: Mapping) -> Iterator[str]:
    """What is wrong with how an arm or the teacher is trained: each entry that there is."""
    for key, value in settings.items():
        if key not in (*TRAINING, "device", "batched"):
            yield f"there is no setting {key!r}; choose from: {', '.join(TRAINING)}"
        elif key in ("epochs", "batch_size") and not _whole(value, 1):
            yield f"{key} is a whole number of at least 1; it is {value!r}"
        elif key == "lr" and not (_number(value) and value > 0):
            yield f"lr is the learning rate, a number above 0 such as 0.002; it is {value!r}"
        elif key == "schedule" and not (isinstance(value, str) and value in SCHEDULES):
            yield f"schedule is one of: {', '.join(SCHEDULES)}; it is {value!r}"
        elif key == "augment" and value:
            yield from _augment(value)


def _augment(settings) -> Iterator[str]:
    try:
        Augment(**settings)
    except (TypeError, ValueError) as error:
        yield f"augment is a dict of the settings of data.Augment, {{'pad': 2}} say; it is {settings!r} ({error})"


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
    elif lost := [key for key in plan.teacher if key not in TEACHER]:
        yield f"the teacher's {lost[0]!r} is no setting of one that is trained; they are: {', '.join(TEACHER)}"
    else:
        given = {key: value for key, value in plan.teacher.items() if key in ("epochs", "lr", "batch_size")}
        yield from (f"the teacher: {text}" for text in _training(given))
        if not _whole(seed := plan.teacher.get("seed", 0), 0):
            yield f"the teacher: a seed is a whole number of at least 0; it is {seed!r}"


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
        yield _number(value) and 0 < value < 1


def _enough(plan: Plan) -> str:
    try:
        return f"{seeds_needed(plan.spread, plan.effect)} seeds would do"
    except ValueError as error:
        return str(error)


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def _whole(value, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _whole_numbers(values) -> bool:
    return isinstance(values, list | tuple | range) and len(values) > 0 and all(_whole(value, 0) for value in values)


def _pair_of_numbers(values) -> bool:
    return isinstance(values, list | tuple) and len(values) == 2 and all(map(_number, values)) and values[0] < values[1]


def _words(value) -> bool:
    return isinstance(value, str)


def _dict(value, of: Callable = lambda value: True, **known: Callable) -> bool:
    """Whether it is a dict by names whose values are all right, those of `known` names if they are there."""
    return isinstance(value, Mapping) and all(
        _words(key) and of(entry) and (key not in known or known[key](entry)) for key, entry in value.items())


def _an_arm(value) -> bool:
    return _dict(value, method=_words, training=_a_training) and "method" in value


def _a_network(value) -> bool:
    return _dict(value, name=_words) and "name" in value


def _a_pair(value) -> bool:
    return _words(value) or (isinstance(value, list | tuple) and all(map(_words, value)))


def _prediction(value) -> bool:
    return not isinstance(value, Mapping) or _dict(
        value, text=_words, comparison=lambda name: name is None or _words(name))


def _an_identity(value) -> bool:
    known = {"arm": _an_arm, "equals": _an_arm, "says": _words}
    return not value or (_dict(value, **known) and known.keys() <= value.keys())


def _a_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _a_number_or_none(value) -> bool:
    return value is None or _a_number(value)


def _a_training(value) -> bool:
    return _dict(value, epochs=_a_number, lr=_a_number, batch_size=_a_number)


FORMS = {   # of each entry of a plan: whether it has the right form, and an example
    "name": (_words, '"Does KD help?"'),
    "question": (_words, '"Does KD help a perceptron?"'),
    "refuted_by": (_words, '"an interval below 0"'),
    "prediction": (_prediction, '{"text": "A little.", "comparison": "KD helps", "points": [0.5, 2]}'),
    "images": (lambda value: _dict(value, name=_words, folder=_words), '{"name": "fashion_small", "train": 500}'),
    "teacher": (lambda value: value is None or _dict(value, kept=_words, network=_a_network),
                '{"kept": "fashion_cnn"}, or {"network": {"name": "cnn"}, "epochs": 6, "lr": 0.002}, or null'),
    "student": (_a_network, '{"name": "mlp", "hidden": [64]}'),
    "training": (_a_training, '{"epochs": 40, "lr": 0.002, "batch_size": 100}'),
    "arms": (lambda value: _dict(value, _an_arm), '{"hard labels": {"method": "hard labels"}, "KD": {"method": "kd", '
             '"T": 4.0, "training": {"lr": 0.004}}}'),
    "choose": (lambda value: _dict(value, grids=lambda grids: _dict(grids, _dict)),
               '{"on": "valid", "seeds": [100, 101], "grids": {"KD": {"T": [1.0, 4.0]}}}, or {}'),
    "comparisons": (lambda value: _dict(value, _a_pair), '{"KD helps": ["KD", "hard labels"]}'),
    "margin": (_a_number_or_none, "0.01"),
    "effect": (_a_number_or_none, "0.02"),
    "spread": (_a_number_or_none, "0.006"),
    "minutes": (_a_number_or_none, "60"),
    "identity": (_an_identity, '{"says": "KD with alpha = 0 is hard labels", "arm": {"method": "kd", "alpha": 0.0}, '
                 '"equals": {"method": "hard labels"}}, or null'),
}
