"""Runs a recorded training again in double precision, on the images it saw; where the weights differ, with mistakes.

A replay costs a fraction of a millisecond for each step. What made far more steps than were asked for is told so, and
not replayed; and no verdict replays more than `MOST_STEPS`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from kdcourse.marking.judges.base import Marks, ran
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.record import Case, Record, Verdict, Wrong

CARRIED = 0.75  # of the marks for the weights, where only the loss is wrong: it was paid for elsewhere
SAME = 5e-6  # of the way that the weights went: single precision stays below 7e-7, every known mistake above 2e-5
ALIKE = 2e-4  # the same, to name a mistake: where its way is short, rounding is a larger part of it
FAR = 2  # times the steps that were asked for are still replayed
MOST_STEPS = 12_000  # of all replays for one verdict


class Marking(NamedTuple):
    """What each property of a training is worth, beside the weights at its end."""

    visits: float = 0.2
    order: float = 0.05
    seed: float = 0.05
    student_mode: float = 0.15
    teacher_mode: float = 0.15
    frozen: float = 0.1


MARKING = Marking()


def adam(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of Adam, Kingma and Ba 2015, arXiv:1412.6980, algorithm 1, with its default settings."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    v = memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    w -= lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)


def amsgrad(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of AMSGrad as torch has it, Reddi, Kale and Kumar 2018, arXiv:1904.09237: Adam whose v never falls."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    v = memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    largest = memory["largest"] = torch.maximum(memory.get("largest", v), v)
    w -= lr * (m / (1 - 0.9**t)) / ((largest / (1 - 0.999**t)).sqrt() + 1e-8)


def descent(w: Tensor, gradient: Tensor, memory: dict, lr: float, momentum: float = 0.0) -> None:
    """One step of stochastic gradient descent."""
    memory["m"] = momentum * memory.get("m", 0) + gradient
    w -= lr * memory["m"]


def rmsprop(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of RMSprop as torch has it."""
    v = memory["v"] = 0.99 * memory.get("v", 0) + 0.01 * gradient**2
    w -= lr * gradient / (v.sqrt() + 1e-8)


def adagrad(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of Adagrad, Duchi, Hazan and Singer 2011, as torch has it."""
    v = memory["v"] = memory.get("v", 0) + gradient**2
    w -= lr * gradient / (v.sqrt() + 1e-10)


def clipped(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of Adam on a gradient that is no longer than 1."""
    adam(w, gradient / gradient.norm().clamp(min=1), memory, lr)


LOOP = {  # what may be wrong with a loop, as changes of `replay`
    "": {},
    "combined_loss was given the teacher's logits first and the student's second: its arguments are exchanged":
        {"exchanged": True},
    "gradients add up from step to step: zero_grad is missing": {"clear": False},
    "the optimiser is not Adam but SGD": {"rule": descent},
    "the optimiser is not Adam but SGD with momentum": {"rule": partial(descent, momentum=0.9)},
    "the optimiser is Adam with amsgrad=True, and its other arguments are to stay as torch has them":
        {"rule": amsgrad},
    "the optimiser is not Adam but RMSprop": {"rule": rmsprop},
    "the optimiser is not Adam but Adagrad": {"rule": adagrad},
    "gradients are clipped to a length of 1, and nothing of the kind is asked for": {"rule": clipped},
    "the sign of the loss is wrong: it grows": {"sign": -1},
    "the learning rate falls along half a cosine: it stays as it was given":
        {"pace": lambda share: (1 + math.cos(math.pi * share)) / 2},
    "the learning rate is multiplied by 0.9 after every epoch: it stays as it was given":
        {"fade": 0.9},
    "the teacher's probabilities were taken for its logits": {"heard": lambda z: z.softmax(dim=1)},
    "the optimiser is made anew in every epoch and forgets": {"anew": lambda epoch: True},
    "the optimiser is made anew in every step and forgets": {"forget": True},
    "the learning rate is Adam's default, 0.001, not the one given": {"lr": 0.001},
    "the learning rate is 0.01, as in the notebook, not the one given": {"lr": 0.01},
}


def replay(run: Case, loss: Callable, *, clear=True, rule=adam, anew=lambda epoch: False, forget=False,
           exchanged=False, lr=None, alpha=None, T=None, sign=1, pace=lambda share: 1, fade=1.0,
           heard=lambda z: z) -> Tensor:
    """The student's weights after these steps, as a vector. `loss(case)` is that of one step; `alpha(epoch)` its alpha,
    and `T(epoch)` its temperature, where they are not those given; `anew(epoch)` whether the optimiser starts anew with
    that epoch. The learning rate is multiplied by `pace(share of the epochs that are over)` and, after each, by `fade`.
    `heard(z)` is what is taken for the teacher's logits."""
    x, n, K = run.split.x.double().flatten(1) / 255, len(run.split), len(run.student[1])
    w = _start(run).requires_grad_()
    W_t, b_t = (part.double() for part in run.teacher)
    z_t = (x @ W_t.T + b_t) * (run.factors[1] if run.teacher_mode else 1)
    memory, seen, total = {}, 0, torch.zeros_like(w)
    for rows, training_mode in zip(run.steps, run.student_modes, strict=True):
        epoch = seen // n
        if forget or (seen % n == 0 and seen and anew(epoch)):
            memory = {}
        seen += len(rows)
        z_s = (x[rows] @ w[:-K].reshape(K, -1).T + w[-K:]) * (run.factors[0] if training_mode else 1)
        first, second = (z_t[rows], z_s) if exchanged else (z_s, heard(z_t[rows]))
        value = sign * loss(Case(z_s=first, z_t=second, y=run.split.y[rows],
                                 T=T(epoch) if T else run.settings["T"],
                                 alpha=alpha(epoch) if alpha else run.settings["alpha"]))
        gradient = torch.autograd.grad(value, w, allow_unused=True)[0]
        total = (0 if clear else total) + (torch.zeros_like(w) if gradient is None else gradient)
        with torch.no_grad():
            rate = fade**epoch * pace(epoch / run.settings["epochs"])
            rule(w, total, memory, rate * (run.settings["lr"] if lr is None else lr))
    return w.detach()


class Replays:
    """Replays a formula's training with a budget, and says which mistake gives the recorded weights."""

    def __init__(self, inputs: dict[str, Case], record: Record):
        self.inputs, self.record, self.left, self.runs = inputs, record, MOST_STEPS, {}

    def run(self, name: str) -> Case:
        """A run with what was logged of it: the images of each step, and the modes."""
        if name not in self.runs:
            teacher = self.record.tensor(f"{name} teacher modes", None)
            self.runs[name] = self.inputs[name].with_(
                steps=steps(self.record, name), teacher_mode=len(teacher) > 0 and bool(teacher.all()),
                student_modes=(self.record.tensor(f"{name} modes", None) > 0).tolist())
        return self.runs[name]

    def reaches(self, name: str, weights: Callable, within: float = ALIKE) -> bool:
        """Whether a training gives the recorded weights; not, where the budget is used up, or would be."""
        run = self.run(name)
        if self.left < len(run.steps) or too_many(run):
            return False
        self.left -= len(run.steps)
        return near(self.record, name, run, self.end(run, weights), within)

    def end(self, run: Case, weights: Callable) -> Tensor:
        """The weights at the end of a training."""
        return weights(run)

    def mistake(self, formula: Formula, names: tuple[str, ...]):
        """The first single mistake that gives the weights of every run."""
        return next((one for one in formula.mistakes(most=1)
                     if all(self.reaches(name, one.value) for name in names)), None)


def training(loss: Formula, *, where: str, repair: str, weights: dict[str, float], marks: Marking = MARKING,
             arguments: dict[str, str] | None = None, other_order: str = "", plans: dict | None = None,
             said: Callable = lambda run: "", before: Callable = lambda replays, name: "") -> Callable:
    """A judge of trainings; the run `main` is looked at first. `weights` {run: marks for the weights at its end}.

    `arguments` {run that differs from main in one: its name}; `other_order` names the run with another seed; `repair`
    says where the loss was asked for. `plans` {place: {words: run -> changes of a replay}} are further places where a
    loop may be wrong; `said(run)` begins what is said of a run's weights; `before(replays, name)` may say why they are
    not looked at, or raise `Wrong`.
    """
    formula = replayed(loss, **plans or {})

    def judge(inputs: dict[str, Case], record: Record) -> Verdict:
        trained(record, inputs)
        found, replays = Marks(where), Replays(inputs, record)
        diary(found, inputs["main"], record, "main", marks)
        if other_order:
            rows = {name: record.tensor(f"{name} rows", None) for name in inputs}
            same = torch.equal(rows["main"], rows[next(iter(arguments))])
            found.give(marks.seed, same and not torch.equal(rows["main"], rows[other_order]),
                       "the order of the images must come from the seed: the same seed gives the same order, another "
                       "seed another one.")
        failed = ""
        for name, weight in weights.items():
            share, problem = 0.0, before(replays, name)
            if not problem:
                others = arguments or {} if name == "main" else {}
                share, problem = reached(replays, formula, loss, name, repair, others, not failed)
            found.give(weight, share, f"{said(inputs[name])}{problem}" if problem and not failed else "")
            failed = failed or problem
        return found.verdict()

    judge.formula = formula
    return judge


def replayed(loss: Formula, **plans: dict[str, Callable]) -> Formula:
    """The weights at the end of a training on this loss; the loop is one more place where something may be wrong."""
    def whole(run, loop, **parts):
        changes = [parts.pop(name)(run) for name in plans]
        return replay(run, lambda c: loss.whole(c, **parts), **dict(item for one in (loop, *changes)
                                                                    for item in one.items()))

    return Formula(whole, **plans, loop=LOOP, **loss.places)


def trained(record: Record, inputs: dict[str, Case]) -> None:
    """Raise `Wrong` where a run ended in an error or trained nothing."""
    ran(record, inputs)
    if not len(record.tensor("main rows", None)):
        weight, bias = inputs["main"].teacher
        kept = torch.equal(record.tensor("main teacher weights", None), torch.cat([weight.flatten(), bias]).double())
        raise Wrong("the student was not trained: no gradient came back from what it answered."
                    + ("" if kept else " The teacher was trained: are student and teacher exchanged?"))


def steps(record: Record, name: str) -> list[Tensor]:
    """The rows of the images of each step."""
    sizes, rows = (record.tensor(f"{name} {what}", None).long() for what in ("sizes", "rows"))
    if len(rows) > 100_000 or sizes.sum() != len(rows) or (sizes < 1).any():
        raise Wrong("what was recorded is no training.")
    return [step.unique() for step in rows.split(sizes.tolist())]


def reached(replays: Replays, formula: Formula, loss: Formula, name: str, repair: str, arguments: dict[str, str],
            explain: bool) -> tuple[float, str]:
    """The share of the marks for the weights at the end of a run, and what explains them, where that is asked."""
    record, run = replays.record, replays.run(name)
    if problem := (unmoved(record, name, run) or too_many(run) or decayed(record, name, run)
                   or halved(record, name, run)):
        return 0.0, problem if explain else ""
    if replays.reaches(name, formula.right, SAME):
        return 1.0, ""
    if not explain:
        return 0.0, ""
    mistake = replays.mistake(formula, (name, *arguments))
    of_loss = mistake and mistake.places[0] in loss.places
    if mistake and mistake.places == ("loop",):
        return 0.0, f"the weights are not those of this loss with Adam: {mistake.text}."
    for other, argument in arguments.items():
        if near(record, name, run, record.tensor(f"{other} weights", None)):
            why = f"{mistake.text}." if mistake else "is another one used, a global?"
            return 0.0, f"{argument}, the argument, changes nothing: {why}"
    if mistake and of_loss:
        return CARRIED, f"the loss of this training is wrong: repair {repair}, first: {mistake.text}."
    if mistake:
        return 0.0, f"the weights tell that {mistake.text}."
    return 0.0, ("the weights at the end are not those of Adam on the loss that is asked for, of each batch, with the "
                 "settings that were given.")


def unmoved(record: Record, name: str, run: Case) -> str:
    """Why the student's weights are those of the start; empty if they are not."""
    if not torch.equal(record.tensor(f"{name} weights", None), _start(run)):
        return ""
    if record.number(f"{name} moved"):
        return ("a copy of the student was trained: the student that was given has its first weights still. It is to "
                "be trained in place.")
    return ("the student's weights did not change: does the optimiser hold its parameters, and are gradients cleared "
            "before backward, not between backward and step?")


def too_many(run: Case) -> str:
    """What to say of far more steps than were asked for, which are not replayed; empty if there are not."""
    size = run.settings["batch_size"]
    asked, largest = run.settings["epochs"] * -(-len(run.split) // size), max(map(len, run.steps))
    smaller = f"a step uses {largest} image{'s' * (largest > 1)}, and batch_size is {size}; " * (largest < size)
    return "" if len(run.steps) <= FAR * asked else (
        f"{smaller}{len(run.steps):,} steps or more were made, and {asked} were asked for: the weights were not looked "
        "at.")


def decayed(record: Record, name: str, run: Case) -> str:
    """What to say where weights moved that no gradient reaches: those of the last pixel, which is always 0."""
    unseen = (run.split.x.flatten(1) == 0).all(dim=0)
    ends, starts = (w[: -len(run.student[1])].reshape(len(run.student[1]), -1)[:, unseen]
                    for w in (record.tensor(f"{name} weights", len(_start(run))), _start(run)))
    return "" if torch.equal(ends, starts) else (
        "weights that no image touches have moved: there is weight decay (an argument, or AdamW), and none is asked "
        "for.")


def halved(record: Record, name: str, run: Case) -> str:
    """What to say where a part of the student kept its first weights; empty if none did."""
    K, end, start = len(run.student[1]), record.tensor(f"{name} weights", len(_start(run))), _start(run)
    kept = [words for words, part in (("weights beside its biases", slice(None, -K)), ("biases", slice(-K, None)))
            if torch.equal(end[part], start[part])]
    return f"the student's {kept[0]} did not change: the optimiser is to hold all of its parameters." if kept else ""


def diary(found: Marks, run: Case, record: Record, name: str, marks: Marking) -> None:
    """Give marks for the visits to the images, the modes, and a teacher that stays as it is."""
    _visits(found, run, record, name, marks)
    modes, teacher = record.tensor(f"{name} modes", None) > 0, record.tensor(f"{name} teacher modes", None)
    asked, per_epoch = len(teacher) > 0, -(-len(run.split) // run.settings["batch_size"])
    later = bool(modes[0]) and not modes[per_epoch:].all()
    found.give(marks.student_mode, bool(modes.all()), "the student is in training mode in the first epoch only: call "
               "student.train() in every epoch." if later else "the student learns in eval mode: call student.train() "
               "before.")
    found.give(marks.teacher_mode, asked and not teacher.any(), "the teacher is never asked." if not asked else
               "the teacher is in training mode, so its dropout is on: it answers like another network.")
    weight, bias = run.teacher
    kept = torch.equal(record.tensor(f"{name} teacher weights", None), torch.cat([weight.flatten(), bias]).double())
    free = record.number(f"{name} teacher gradient") == 0
    found.give(marks.frozen, asked and kept and free, "" if not asked else
               "the teacher's weights were changed." if not kept else
               "a gradient runs into the teacher: ask it without gradients.")


def _visits(found: Marks, run: Case, record: Record, name: str, marks: Marking) -> None:
    n, epochs, size, of_steps = len(run.split), run.settings["epochs"], run.settings["batch_size"], steps(record, name)
    unmoved = len(of_steps) == 1  # nothing tells where a step ends
    seen = record.tensor(f"{name} rows", None).long() if unmoved else torch.cat(of_steps)
    if not ((seen >= 0) & (seen < n)).all():
        raise Wrong("the student is shown other images than those of the split: bytes must be divided by 255. "
                    f"Read {found.where}.")
    whole = len(seen) == epochs * n and all(len(part.unique()) == n for part in seen.split(n))
    said = f"{n} images, {epochs} epochs: {len(seen)} visits instead of {epochs * n}"
    if len(seen) == epochs * (n - n % size):
        said += "; the last, smaller batch is left out"
    elif len(seen) == n:
        said += "; only one epoch is run"
    elif len(seen) == epochs * n:
        said = "in an epoch some images are seen twice, others not at all"
    found.give(marks.visits, whole, f"{said}. An epoch visits every image once.")
    largest = 0 if unmoved else max(map(len, of_steps))
    orders = {tuple(part.tolist()) for part in seen.split(n)} if whole else set()
    again = whole and len(orders) < epochs
    found.give(marks.order, largest <= size and not again, f"a step uses {largest} images, and batch_size is {size}."
               if largest > size else f"{'every epoch has' if len(orders) == 1 else 'several epochs have'} the same "
               "order: draw a new one for each.")


def near(record: Record, name: str, run: Case, end: Tensor, within: float = SAME) -> bool:
    """Whether the recorded weights are these."""
    found = record.tensor(f"{name} weights", len(end))
    return bool((found - end).norm() <= within * (end - _start(run)).norm())


def _start(run: Case) -> Tensor:
    return torch.cat([part.flatten() for part in run.student]).double()
