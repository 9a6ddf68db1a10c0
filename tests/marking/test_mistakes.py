"""Every mistake of every formula plays itself: it is handed in as an answer, and is told in its own words.

Two mistakes that cannot be told apart by what they do are one, and one of them has to go.
"""

import random
from functools import cache
from itertools import combinations

import pytest
import torch
from wrong_answers import loops, networks
from wrong_answers.catalogue import RIGHT

from kdcourse.core import generator
from kdcourse.marking import checks
from kdcourse.marking.checks.loss import loss as ask_loss
from kdcourse.marking.judges import JUDGES
from kdcourse.marking.judges.experiment import measured
from kdcourse.marking.judges.loss import loss as judge_loss
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.judges.training import Replays
from kdcourse.marking.record import Case, Record

SEED = 3
DIFFERENTIATED = ("z_s", "f_s", "log_T", "w_float")    # what a loss is differentiated by, as its case names it
FORMULAS = {name: judge.formula for name, judge in JUDGES.items() if hasattr(judge, "formula")}
COLUMNS = {(name, column.name): column for name, judge in JUDGES.items() for column in getattr(judge, "columns", ())}
RIGHT_ANSWERS = {answer.check: answer for answer in reversed(RIGHT)}
RIGHT_ANSWERS["train_by_hand"] = RIGHT_ANSWERS["train"]


def singles(formula: Formula):
    return formula.mistakes(most=1)


def of_loss(name: str, inputs: dict, value) -> Record:
    """What a loss with this value, and its gradient, would have recorded, in single precision."""
    record = Record()
    for key, case in inputs.items():
        found = case
        at = next((name for name in DIFFERENTIATED if hasattr(case, name)), "")
        if at:
            found = case.with_(**{at: getattr(case, at).double().requires_grad_()})
        result = torch.as_tensor(value(found))
        record.keep(f"{key} value", result.float() if result.is_floating_point() else result)
        if result.requires_grad:
            record.keep(f"{key} gradient", torch.autograd.grad(result, getattr(found, at))[0].float())
    for key in ("gradients", "recording afterwards", "unharmed"):
        for case in inputs:
            record.keep(f"{case} {key}", torch.zeros(3) if key == "gradients" else 1.0)
    return record


@cache
def _recorded(name: str, answer) -> Record:
    return checks.CHECKS[name].record(SEED, answer)


def recorded(name: str, answer) -> Record:
    """What an answer does, each time as a record of its own."""
    found = _recorded(name, answer)
    return Record(found.tensors, found.notes)


def of_training(name: str, inputs: dict, value) -> Record:
    """A right training, with the weights at its end exchanged for those of the mistake."""
    record = recorded(name, *RIGHT_ANSWERS[name].arguments)
    replays = Replays(inputs, record)
    for run in inputs:
        record.keep(f"{run} weights", replays.end(replays.run(run), value).float())
        del record.tensors[f"{run} early weights"]  # which are those of the right training
    return record


@pytest.fixture
def repeated_once(monkeypatch):
    """The trainings that a test judges make the same steps: what each mistake makes of them is computed once."""
    kept, end = {}, Replays.end

    def once(replays, run, weights):
        steps = tuple(map(tuple, (step.tolist() for step in run.steps)))
        key = (weights, steps, repr(run.settings), getattr(run, "stop", None))
        return kept[key] if key in kept else kept.setdefault(key, end(replays, run, weights))

    monkeypatch.setattr(Replays, "end", once)


@pytest.mark.parametrize("answer", [loops.loop, loops.teacher_in_training_mode, loops.plain_gradient_descent])
def test_weights_recorded_early_save_time_and_decide_nothing(answer):
    check = checks.train
    record = check.record(SEED, answer)
    without = Record({name: kept for name, kept in record.tensors.items() if " early " not in name}, record.notes)
    assert len(record.tensors) == len(without.tensors) + 8
    assert check.verdict(SEED, record) == check.verdict(SEED, without)
    for name in [name for name in record.tensors if name.endswith("early weights")]:
        record.keep(name, torch.randn(len(record.tensors[name]), generator=torch.Generator().manual_seed(0)))
    assert check.verdict(SEED, record).share <= check.verdict(SEED, without).share
    for odd in (float("nan"), float("inf"), -1.0, 2.5):
        record.keep("main early steps", odd)
        assert check.verdict(SEED, record).share <= check.verdict(SEED, without).share


def of_network(name: str, inputs: dict, value) -> Record:
    """A right network, with its answers exchanged for those of the mistake."""
    case = inputs["main"]
    build = networks.teacher if name == "teacher_network" else networks.student
    record = recorded(name, build)
    w = case.weights([tuple(p.shape) for p in build().parameters()])
    z = value(case.with_(x=case.x.double(), w=[part.double() for part in w], tap=lambda i, f: f)).float()
    for part, answer in {"logits": z, "once more": z, "one image": z[:1]}.items():
        record.keep(part, answer)
    return record


PLAYED = {"teacher_network": of_network, "student_network": of_network, "train": of_training,
          "stopped_distillation": of_training, "train_by_hand": of_training}


def told(name: str, seed: int, value):
    inputs = checks.CHECKS[name].draw(seed)
    record = PLAYED.get(name, of_loss)(name, inputs, value)
    return checks.CHECKS[name].verdict(seed, record)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_mistake_that_is_handed_in_is_told_in_its_own_words(name, repeated_once):
    other = {}
    for mistake in singles(FORMULAS[name]):
        verdict = told(name, SEED, mistake.value)
        assert verdict.share < 1
        if mistake.text not in verdict.message and "infinite or not a number" not in verdict.message:  # it diverged
            other[mistake.text] = verdict.message
    assert other == {}


@pytest.mark.parametrize("name, near", [("wrong_verdicts", 1e-3), ("what_is_left", 2e-6), ("false_alarms", 1e-5),
                                        ("seeds_for_all", 1e-3)])
def test_on_each_draw_of_exercise_11_no_mistake_gives_the_numbers_of_another_or_of_what_is_right(name, near):
    forms = {"": FORMULAS[name].right} | {mistake.text: mistake.value for mistake in singles(FORMULAS[name])}
    for seed in range(40):
        inputs = checks.CHECKS[name].draw(seed).values()
        values = {text: torch.tensor([float(value(case)) for case in inputs]) for text, value in forms.items()}
        same = [(a, b) for a, b in combinations(values, 2) if ((values[a] - values[b]).abs() <= near).all()]
        assert not same, f"draw {seed}"


@pytest.mark.parametrize("name", FORMULAS)
def test_what_is_right_is_told_right(name):
    assert told(name, SEED, FORMULAS[name].right) == (1.0, "right")


@pytest.mark.parametrize("name", ["distillation_loss", "combined_loss", "teacher_loss"])
def test_several_mistakes_are_told_as_no_more_than_they_are(name, seeds):
    formula = FORMULAS[name]
    many = [one for one in formula.mistakes() if one.size > 1]
    known = {one.text: one for one in formula.mistakes()}
    for seed in seeds:
        for mistake in random.Random(seed).sample(many, 12):
            message = told(name, seed, mistake.value).message
            words = message.partition("That is what one gets if: ")[2]
            found = next((one for text, one in known.items() if words.startswith(f"{text}. ")), None)
            assert found or "does not change" in message, (mistake.text, message)
            assert not found or found.size <= mistake.size, (mistake.text, message)


@pytest.mark.parametrize("name, column", COLUMNS, ids=lambda text: text.replace(" ", "_"))
def test_a_wrong_number_of_an_experiment_is_told_in_its_own_words(name, column):
    inputs, position = checks.CHECKS[name].draw(3), [one.name for one in JUDGES[name].columns].index(column)
    right = checks.CHECKS[name].ask(inputs, *RIGHT_ANSWERS[name].arguments)
    other = {}
    for mistake in singles(COLUMNS[name, column].formula):
        record = Record(right.tensors, right.notes)
        for case in inputs:
            values = right.tensors[f"{case} value"].clone()
            values[:, position] = mistake.value(JUDGES[name].values(inputs[case], measured(right, case)))
            record.keep(f"{case} value", values)
        record.tensors["once more value"] = record.tensors["first value"]
        verdict = JUDGES[name](inputs, record)
        assert verdict.share < 1
        if mistake.text not in verdict.message:
            other[mistake.text] = verdict.message
    assert other == {}


def length(a):
    return a.flatten(1).norm(dim=1)[:, None, None]


ATTENTION = Formula(  # Zagoruyko and Komodakis 2017, arXiv:1612.03928, section 3.1 with p = 2
    lambda c, power, channels, scale: (scale(channels(power(c.f_s.double()))) * c.probe).sum(),
    power={"": lambda f: f.square(), "positive and negative values cancel: they are not squared": lambda f: f,
           "this is p = 1": lambda f: f.abs(), "only positive values count": lambda f: f.relu().square()},
    channels={"": lambda a: a.mean(1), "the largest channel is taken": lambda a: a.amax(1)},
    scale={"": lambda a: a / length(a), "the map is not divided by its length": lambda a: a,
           "the map is divided by its sum": lambda a: a / a.sum((1, 2), keepdim=True),
           "one length for the whole batch": lambda a: a / a.norm()})


def maps(seed):
    draw = generator(seed, 3)
    return {name: Case(f_s=torch.randn(*shape, generator=draw), probe=torch.randn(shape[0], *shape[2:], generator=draw))
            for name, shape in {"wide": (3, 4, 5, 6), "narrow": (2, 6, 4, 4)}.items()}


def attention(power=lambda f: f.square(), scale=lambda a: a / length(a)):
    return lambda f: scale(power(f).mean(1))


@pytest.mark.parametrize("answer, share, says", [
    (attention(), 1.0, "right"), (lambda f: torch.nn.functional.normalize(f.pow(2).sum(1).flatten(1)).view(
        len(f), *f.shape[2:]), 1.0, "right"),
    (attention(lambda f: f.abs()), 0.0, "if: this is p = 1."),
    (attention(scale=lambda a: a / a.norm()), 0.0, "if: one length for the whole batch."),
    (attention(lambda f: f.abs(), lambda a: a), 0.0, "if: this is p = 1; the map is not divided by its length."),
    (lambda f: attention()(f.detach()), 0.7, "no gradient reaches the student"),
    (lambda f: attention()(f).flatten(1), 0.0, "a tensor of shape (3, 30) was returned, not (3, 5, 6)"),
])
def test_a_map_of_an_exercise_to_come_is_asked_through_a_probe_and_judged_by_its_formula(answer, share, says):
    check = ask_loss(maps, lambda f, c: f(c.f_s), "wide", "narrow", at="f_s")
    judge = judge_loss(ATTENTION, "wide", "narrow", where="notebook 03", at="f_s", large=0, marks=(0.7, 0.3))
    verdict = judge(maps(SEED), check.record(SEED, answer))
    assert verdict.share == pytest.approx(share) and says in verdict.message, verdict


def test_mistakes_come_in_the_order_of_their_number_and_a_nested_formula_counts_all_of_its_own():
    inner = Formula(lambda c, a, b: a(c) + b(c), a={"": lambda c: c, "a": lambda c: 2 * c},
                    b={"": lambda c: 1, "b": lambda c: 0})
    outer = Formula(lambda c, first, inside: first(c) * inside(c), first={"": lambda c: 3, "x": lambda c: 4},
                    inside=inner.place("inside, ", keep=False))
    assert outer.right(2) == 9
    found = [(one.text, one.size, one.places, one.value(2)) for one in outer.mistakes()]
    assert found == [
        ("x", 1, ("first",), 12), ("inside, a", 1, ("inside",), 15), ("inside, b", 1, ("inside",), 6),
        ("inside, a; b", 2, ("inside",), 12), ("x; inside, a", 2, ("first", "inside"), 20),
        ("x; inside, b", 2, ("first", "inside"), 8), ("x; inside, a; b", 3, ("first", "inside"), 16)]
    assert [one.text for one in outer.mistakes(most=1)] == ["x", "inside, a", "inside, b"]
