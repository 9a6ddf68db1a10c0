"""Runs a recorded training again in double precision, on the images it saw; where the weights differ, with mistakes.

A replay costs a fraction of a millisecond for each step. What made far more steps than were asked for is told so, and
not replayed; and no verdict replays more than `MOST_STEPS`.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from kdcourse.marking.judges.base import Marks, ran
from kdcourse.marking.judges.logits import log_p, surprise
from kdcourse.marking.judges.mistakes import Formula, Mistake
from kdcourse.marking.record import Case, Record, Verdict, Wrong

CARRIED = 0.75  # of the marks for the weights, where only the loss is wrong: it was paid for elsewhere
SAME = 5e-6  # of the way that the weights went: single precision stays below 7e-7, every known mistake above 2e-5
ALIKE = 2e-4  # the same, to name a mistake: where its way is short, rounding is a larger part of it
FAR = 2  # times the steps that were asked for are still replayed
MOST_STEPS = 12_000  # of all replays for one verdict
ASTRAY = 1e-2  # of the way so far: a replay this far from the weights recorded after a few steps goes no further


class Marking(NamedTuple):
    """What each property of a training is worth, beside the weights at its end; `harm` is taken away where the teacher
    is left otherwise than it came."""

    visits: float = 0.2
    order: float = 0.05
    seed: float = 0.05
    student_mode: float = 0.15
    teacher_mode: float = 0.15
    frozen: float = 0.1
    harm: float = 0.0


MARKING = Marking()


def adam(w: Tensor, gradient: Tensor, memory: dict, lr: float, a: float = 0.9, b: float = 0.999,
         little: float = 1e-8) -> None:
    """One step of Adam, Kingma and Ba 2015, arXiv:1412.6980, algorithm 1, with its default settings."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = a * memory.get("m", 0) + (1 - a) * gradient
    v = memory["v"] = b * memory.get("v", 0) + (1 - b) * gradient**2
    w -= lr * (m / (1 - a**t)) / ((v / (1 - b**t)).sqrt() + little)


def amsgrad(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of AMSGrad as torch has it, Reddi, Kale and Kumar 2018, arXiv:1904.09237: Adam whose v never falls."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    v = memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    largest = memory["largest"] = torch.maximum(memory.get("largest", v), v)
    w -= lr * (m / (1 - 0.9**t)) / ((largest / (1 - 0.999**t)).sqrt() + 1e-8)


def nadam(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of NAdam as torch has it, Dozat 2016: the momentum is taken one step ahead."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    v = memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    now, ahead = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * moment)) for moment in (t, t + 1))
    whole = memory["whole"] = memory.get("whole", 1) * now
    step = (1 - now) / (1 - whole) * gradient + ahead / (1 - whole * ahead) * m
    w -= lr * step / ((v / (1 - 0.999**t)).sqrt() + 1e-8)


def adamax(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of AdaMax as torch has it, Kingma and Ba 2015, algorithm 2: the largest gradient for the root of v."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    most = memory["most"] = torch.maximum(0.999 * memory.get("most", torch.zeros_like(w)), gradient.abs() + 1e-8)
    w -= lr / (1 - 0.9**t) * m / most


def radam(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of RAdam as torch has it, Liu et al. 2020, arXiv:1908.03265: v counts once it can be trusted."""
    t = memory["t"] = memory.get("t", 0) + 1
    m = memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    v = memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    end = 2 / 0.001 - 1
    now = end - 2 * t * 0.999**t / (1 - 0.999**t)
    step = m / (1 - 0.9**t)
    if now > 5:
        trust = math.sqrt((now - 4) * (now - 2) * end / ((end - 4) * (end - 2) * now))
        step = step * trust * math.sqrt(1 - 0.999**t) / (v.sqrt() + 1e-8)
    w -= lr * step


def adadelta(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of Adadelta as torch has it, Zeiler 2012, arXiv:1212.5701."""
    v = memory["v"] = 0.9 * memory.get("v", 0) + 0.1 * gradient**2
    step = (memory.get("steps", 0) + 1e-6 * torch.ones_like(w)).sqrt() / (v + 1e-6).sqrt() * gradient
    memory["steps"] = 0.9 * memory.get("steps", 0) + 0.1 * step**2
    w -= lr * step


def descent(w: Tensor, gradient: Tensor, memory: dict, lr: float, momentum: float = 0.0, ahead: bool = False) -> None:
    """One step of stochastic gradient descent, or of Nesterov's, which looks `ahead`."""
    memory["m"] = momentum * memory.get("m", 0) + gradient
    w -= lr * (gradient + momentum * memory["m"] if ahead else memory["m"])


def rmsprop(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of RMSprop as torch has it."""
    v = memory["v"] = 0.99 * memory.get("v", 0) + 0.01 * gradient**2
    w -= lr * gradient / (v.sqrt() + 1e-8)


def adagrad(w: Tensor, gradient: Tensor, memory: dict, lr: float) -> None:
    """One step of Adagrad, Duchi, Hazan and Singer 2011, as torch has it."""
    v = memory["v"] = memory.get("v", 0) + gradient**2
    w -= lr * gradient / (v.sqrt() + 1e-10)


def clipped(w: Tensor, gradient: Tensor, memory: dict, lr: float, longest: float = 1.0) -> None:
    """One step of Adam on a gradient that is no longer than that."""
    adam(w, gradient * (longest / gradient.norm()).clamp(max=1), memory, lr)


def cut(w: Tensor, gradient: Tensor, memory: dict, lr: float, most: float = 1.0) -> None:
    """One step of Adam on a gradient of which no number is larger than that."""
    adam(w, gradient.clamp(-most, most), memory, lr)


class Asked(NamedTuple):
    """What the teacher said of all images (N, K); the rows that a step sees and where it begins in its epoch; and the
    rows of the first epoch in their order."""

    z_t: Tensor
    rows: Tensor
    place: int
    first: Tensor

    def of(self, rows: Tensor, place: int) -> Tensor:
        """What it said of as many of these rows as the step has, from a place on."""
        return self.z_t[rows[(place + torch.arange(len(self.rows))) % len(rows)]]


LOOP = {  # what may be wrong with a loop, as changes of `replay`
    "": {},
    "combined_loss was given the teacher's logits first and the student's second: its arguments are exchanged":
        {"exchanged": True},
    "gradients add up from step to step: zero_grad is missing": {"clear": False},
    "gradients add up within an epoch: zero_grad belongs into every step, before backward": {"clear": "epoch"},
    "the optimiser is not Adam but SGD": {"rule": descent},
    "the optimiser is not Adam but SGD with momentum": {"rule": partial(descent, momentum=0.9)},
    "the optimiser is Adam with amsgrad=True, and its other arguments are to stay as torch has them":
        {"rule": amsgrad},
    "the optimiser is not Adam but SGD with Nesterov's momentum": {"rule": partial(descent, momentum=0.9, ahead=True)},
    "the optimiser is not Adam but NAdam": {"rule": nadam},
    "the optimiser is not Adam but AdaMax": {"rule": adamax},
    "the optimiser is not Adam but RAdam": {"rule": radam},
    "the optimiser is not Adam but Adadelta": {"rule": adadelta},
    "the optimiser is not Adam but RMSprop": {"rule": rmsprop},
    "the optimiser is not Adam but Adagrad": {"rule": adagrad},
    "gradients are clipped to a length of 1, and nothing of the kind is asked for": {"rule": clipped},
    "the sign of the loss is wrong: it grows": {"sign": -1},
    "the learning rate falls along half a cosine: it stays as it was given":
        {"pace": lambda share: (1 + math.cos(math.pi * share)) / 2},
    "the learning rate is multiplied by 0.9 after every epoch: it stays as it was given":
        {"fade": 0.9},
    "the learning rate falls in a straight line: it stays as it was given": {"pace": lambda share: 1 - share},
    "the learning rate is a tenth from the middle on: it stays as it was given":
        {"pace": lambda share: 1.0 if share < 0.5 else 0.1},
    "every step is made twice: optimiser.step() is called once for each batch": {"times": 2},
    "alpha grows from epoch to epoch: it stays as it was given": {"weigh": lambda epoch, n: (epoch + 1) / n},
    "alpha falls from epoch to epoch: it stays as it was given": {"weigh": lambda epoch, n: 1 - epoch / n},
    "the first epoch is taught by labels alone: the teacher is asked from the beginning":
        {"weigh": lambda epoch, n: float(epoch > 0)},
    "T falls to 1 from epoch to epoch: it stays as it was given":
        {"cool": lambda T, epoch, n: T * (1 - epoch / n) + epoch / n},
    "the teacher's probabilities were taken for its logits": {"heard": lambda z: z.softmax(dim=1)},
    "the teacher's answers are about other images: they are taken by the place in the epoch, and batch.index says "
    "whose they are": {"answers": lambda asked: asked.of(torch.arange(len(asked.z_t)), asked.place)},
    "the teacher's answers are about other images after the first epoch: they are kept in its order, and batch.index "
    "says whose they are": {"answers": lambda asked: asked.of(asked.first, asked.place)},
    "the teacher's answers are about other images: they are always those of the first batch":
        {"answers": lambda asked: asked.of(asked.first, 0)},
    "the teacher's answers are about other images: they are always those of the first images of the split":
        {"answers": lambda asked: asked.z_t[: len(asked.rows)]},
    "the teacher's answers are about other images: within a batch they are moved by one":
        {"answers": lambda asked: asked.z_t[asked.rows].roll(1, 0)},
    "the optimiser is made anew in every epoch and forgets": {"anew": lambda epoch: True},
    "the optimiser is made anew in every step and forgets": {"forget": True},
    "the learning rate is Adam's default, 0.001, not the one given": {"lr": 0.001},
    "the learning rate is 0.01, as in the notebook, not the one given": {"lr": 0.01},
}


def replay(run: Case, loss: Callable, *, clear=True, rule=adam, anew=lambda epoch: False, forget=False,
           exchanged=False, lr=None, alpha=None, T=None, sign=1, pace=lambda share: 1, fade=1.0,
           heard=lambda z: z, answers=lambda asked: asked.z_t[asked.rows], labels=lambda y, z_t, epoch: y,
           weigh=lambda epoch, n: 1, cool=lambda T, epoch, n: T, within=None, times=1) -> Tensor:
    """The student's weights after these steps, as a vector. `loss(case)` is that of one step; `alpha(epoch)` its alpha,
    and `T(epoch)` its temperature, where they are not those given, and `within(epochs)` that alpha, where it changes
    within an epoch; `weigh` and `cool` change both by the epoch and the number of epochs; `anew(epoch)` whether the
    optimiser starts anew with that epoch. The learning rate is multiplied by `pace(share of the epochs that are over)`
    and, after each, by `fade`. `heard(z)` is what is taken for the teacher's logits, `answers` says of which images,
    `labels` what is taken for the labels. Gradients are cleared in every step, never, or with each "epoch"; a step is
    made so many `times`. Where `run.early` says what the weights were after so many steps, and they are others here,
    these are returned."""
    x, n, K = run.split.x.double().flatten(1) / 255, len(run.split), len(run.student[1])
    w = _start(run).requires_grad_()
    W_t, b_t = (part.double() for part in run.teacher)
    z_t = (x @ W_t.T + b_t) * (run.factors[1] if run.teacher_mode else 1)
    memory, seen, total, epochs = {}, 0, torch.zeros_like(w), run.settings["epochs"]
    order = torch.cat([*run.steps, torch.zeros(0, dtype=torch.long)])[:n]
    for made, (rows, training_mode) in enumerate(zip(run.steps, run.student_modes, strict=True)):
        epoch = seen // n
        if run.early and made == run.early.steps and _astray(w.detach(), run):
            break
        if forget or (seen % n == 0 and seen and anew(epoch)):
            memory = {}
        z_s = (x[rows] @ w[:-K].reshape(K, -1).T + w[-K:]) * (run.factors[0] if training_mode else 1)
        said = answers(Asked(z_t, rows, seen % n, order))
        first, second = (said, z_s) if exchanged else (z_s, heard(said))
        share = within(seen / n) if within else alpha(epoch) if alpha else run.settings["alpha"]
        value = sign * loss(Case(z_s=first, z_t=second, y=labels(run.split.y[rows], said, epoch),
                                 T=cool(T(epoch) if T else run.settings["T"], epoch, epochs),
                                 alpha=share * weigh(epoch, epochs)))
        gradient = torch.autograd.grad(value, w, allow_unused=True)[0]
        kept = not clear or (clear == "epoch" and seen % n)
        total = (total if kept else 0) + (torch.zeros_like(w) if gradient is None else gradient)
        seen += len(rows)
        rate = fade**epoch * pace(epoch / epochs) * (run.settings["lr"] if lr is None else lr)
        with torch.no_grad():
            for _ in range(times):
                rule(w, total, memory, rate)
    return w.detach()


class Early(NamedTuple):
    """The student's weights after so many steps, as they were recorded: any number may stand there."""

    steps: float
    weights: Tensor


def _astray(w: Tensor, run: Case) -> bool:
    """Whether these weights are far from those that were recorded early."""
    return bool((w - run.early.weights).norm() > ASTRAY * (w - _start(run)).norm())


class Setting(NamedTuple):
    """A number that may be another than the one asked for: in words (with `value`, and `rate`, which is `value` times
    the `lr` that was given), in which place of a formula, its form there, and with which values the search begins."""

    text: str
    place: str
    form: Callable
    first: tuple[float, ...]


def smoothed(share: float) -> Callable:
    """The cross-entropy with labels of which a share is spread over all classes."""
    return lambda c: ((1 - share) * surprise(c.z_s, c.y) - share * log_p(c.z_s).mean(1)).mean()


SETTINGS = (
    Setting("the learning rate is {rate:.3g}, and lr = {lr:.3g} was given", "loop",
            lambda v: {"pace": lambda share: v}, (0.1, 10.0)),
    Setting("the learning rate is multiplied by {value:.3g} after every epoch: it stays as it was given", "loop",
            lambda v: {"fade": v}, (0.7,)),
    Setting("Adam's second beta is {value:.3g}: torch's own, 0.999, is asked for", "loop",
            lambda v: {"rule": partial(adam, b=v)}, (0.97,)),
    Setting("Adam's first beta is {value:.3g}: torch's own, 0.9, is asked for", "loop",
            lambda v: {"rule": partial(adam, a=v)}, (0.6,)),
    Setting("Adam's eps is {value:.2g}: torch's own, 1e-8, is asked for", "loop",
            lambda v: {"rule": partial(adam, little=v)}, (1e-3,)),
    Setting("labels are smoothed by {value:.3g}: they count as they are", "hard", smoothed, (0.05, 0.01)),
    Setting("the optimiser is not Adam but SGD with a momentum of {value:.3g}", "loop",
            lambda v: {"rule": partial(descent, momentum=v)}, (0.5,)),
    Setting("gradients are clipped to a length of {value:.3g}, and nothing of the kind is asked for", "loop",
            lambda v: {"rule": partial(clipped, longest=v)}, (0.5,)),
    Setting("every number of a gradient is clipped at {value:.3g}, and nothing of the kind is asked for", "loop",
            lambda v: {"rule": partial(cut, most=v)}, (0.1, 0.5)),
)
MOST_FITS = 8  # steps of the search for a number


def until(run) -> int:
    """The number of epochs that distil."""
    return sum(epoch / run.settings["epochs"] < run.stop for epoch in range(run.settings["epochs"]))


def plan(alpha, **changes):
    return lambda run: {"alpha": lambda epoch: run.settings["alpha"] * alpha(epoch, until(run)), **changes}


def guesses(after: bool):
    """The right plan, with the teacher's guesses for labels after the stop, or before it."""
    return lambda run: STOP[""](run) | {
        "labels": lambda y, z_t, epoch: z_t.argmax(1) if (epoch >= until(run)) == after else y}


LEFT = Setting("{value:.2g} of alpha is left after the stop: nothing of it should be", "plan",
               lambda v: plan(lambda epoch, stop: 1 if epoch < stop else v), (0.2,))
STOP = {
    "": plan(lambda epoch, stop: epoch < stop),
    "hard labels come first and the teacher after them: it is the other way round":
        plan(lambda epoch, stop: epoch >= stop),
    "the teacher is asked in one epoch too many: counted from 0, epochs with epoch / epochs < stop distil":
        plan(lambda epoch, stop: epoch <= stop),
    "the teacher is asked in one epoch too few: epochs with epoch / epochs < stop distil, counted from 0, and nothing "
    "is rounded": plan(lambda epoch, stop: epoch < stop - 1),
    "alpha shrinks little by little: it keeps its value until the stop and is 0 after it":
        plan(lambda epoch, stop: max(0.0, 1 - epoch / stop) if stop else 0.0),
    "nothing is distilled": plan(lambda epoch, stop: 0),
    "after the stop the teacher alone is left: the labels should be":
        lambda run: {"alpha": lambda epoch: run.settings["alpha"] if epoch < until(run) else 1.0},
    "T becomes 1 at the stop: alpha should become 0":
        lambda run: {"T": lambda epoch: run.settings["T"] if epoch < until(run) else 1.0},
    "half of alpha is left after the stop: nothing of it should be":
        plan(lambda epoch, stop: 1 if epoch < stop else 0.5),
    "alpha is turned round after the stop, to 1 - alpha: it should become 0":
        lambda run: {"alpha": lambda epoch: abs(run.settings["alpha"] - (epoch >= until(run)))},
    "before the stop the teacher alone is heard: alpha keeps its value": lambda run: {"alpha": lambda epoch:
                                                                                     float(epoch < until(run))},
    "the teacher's best guesses take the labels' place after the stop: the labels should be left": guesses(True),
    "the teacher's best guesses take the labels' place before the stop: both terms keep their own": guesses(False),
    "stop was taken for a number of epochs: it is a share of them":
        lambda run: {"alpha": lambda epoch: run.settings["alpha"] * (epoch < run.stop)},
    "the teacher leaves within an epoch: an epoch that began with it ends with it": lambda run: {
        "within": lambda epochs: run.settings["alpha"] * (epochs / run.settings["epochs"] < run.stop)},
    "a new optimiser takes over: the same one goes on, with what it remembers":
        lambda run: STOP[""](run) | {"anew": lambda epoch: epoch == until(run)},
}


class Replays:
    """Replays a formula's training with a budget, and says which mistake gives the recorded weights."""

    def __init__(self, inputs: dict[str, Case], record: Record):
        self.inputs, self.record, self.left, self.runs = inputs, record, MOST_STEPS, {}

    def run(self, name: str) -> Case:
        """A run with what was logged of it: the images of each step, and the modes."""
        if name not in self.runs:
            teacher = self.record.tensor(f"{name} teacher modes", None)
            self.runs[name] = self.inputs[name].with_(
                steps=steps(self.record, name), early=None, teacher_mode=len(teacher) > 0 and bool(teacher.all()),
                student_modes=(self.record.tensor(f"{name} modes", None) > 0).tolist())
        return self.runs[name]

    def reaches(self, name: str, weights: Callable, within: float = ALIKE) -> bool:
        """Whether a training gives the recorded weights; not, where the budget is used up, or would be."""
        run = self.run(name)
        if self.left < len(run.steps) or too_many(run):
            return False
        self.left -= len(run.steps)
        return near(self.record, name, run, self.end(run.with_(early=self._early(name)), weights), within)

    def _early(self, name: str) -> Early | None:
        """What was recorded early in a run, if it was."""
        number, kept = (self.record.tensors.get(f"{name} {what}") for what in ("early steps", "early weights"))
        whole = kept is not None and kept.shape == _start(self.run(name)).shape
        return Early(number.item(), kept.double()) if whole and number is not None and number.numel() == 1 else None

    def end(self, run: Case, weights: Callable) -> Tensor:
        """The weights at the end of a training."""
        return weights(run)

    def mistake(self, formula: Formula, names: tuple[str, ...]):
        """The first single mistake that gives the weights of every run, where it changes them at all."""
        return next((one for one in formula.mistakes(most=1) if all(self.reaches(name, one.value) for name in names)
                     and not self._equal(formula, one, names[0])), None)

    def _equal(self, formula: Formula, one: Mistake, name: str) -> bool:
        """Whether nothing of a mistake shows in this run."""
        run = self.run(name)
        self.left -= 2 * len(run.steps)
        right, wrong = (self.end(run, weights) for weights in (formula.right, one.value))
        return bool((right - wrong).norm() <= SAME / 2 * (right - _start(run)).norm())

    def setting(self, formula: Formula, one: Setting, names: tuple[str, ...]) -> str:
        """In words, the setting of which some value gives the weights of every run; empty if none does."""
        right = {name: place[""] for name, place in formula.places.items()}

        def weights(value: float) -> Callable:
            return lambda run: formula.whole(run, **right | {one.place: one.form(value)})

        for value in one.first:
            value = self._fitted(names[0], weights, value)
            if value is not None and all(self.reaches(name, weights(value)) for name in names):
                lr = self.run(names[0]).settings["lr"]
                return one.text.format(value=value, rate=value * lr, lr=lr)
        return ""

    def _fitted(self, name: str, weights: Callable, value: float) -> float | None:
        """The value near this one of which a training comes nearest to the recorded weights, by Gauss and Newton."""
        run, gap = self.run(name), math.inf
        found = self.record.tensor(f"{name} weights", len(_start(run)))
        for _ in range(MOST_FITS):
            if self.left < 2 * len(run.steps):
                return None
            self.left -= 2 * len(run.steps)
            end, beside = (self.end(run, weights(one)) for one in (value, value * (1 + 1e-4)))
            slope, before, gap = (beside - end) / (1e-4 * value), gap, (found - end).norm()
            if gap <= ALIKE / 4 * (end - _start(run)).norm():
                return value
            step = ((found - end) @ slope / slope.square().sum()).item()
            if not gap < 0.9 * before or not math.isfinite(step) or not value + step > 0:
                return None
            value += step
        return None


def training(loss: Formula, *, where: str, repair: str, weights: dict[str, float], marks: Marking = MARKING,
             arguments: dict[str, str] | None = None, other_order: str = "", plans: dict | None = None,
             settings: tuple[Setting, ...] = SETTINGS,
             said: Callable = lambda run: "", before: Callable = lambda replays, name: "") -> Callable:
    """A judge of trainings; the run `main` is looked at first. `weights` {run: marks for the weights at its end}.

    `arguments` {run that differs from main in one: its name}; `other_order` names the run with another seed; `repair`
    says where the loss was asked for. `plans` {place: {words: run -> changes of a replay}} are further places where a
    loop may be wrong, `settings` numbers that may be others than those asked for; `said(run)` begins what is said of a
    run's weights; `before(replays, name)` may say why they are not looked at, or raise `Wrong`.
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
                share, problem = reached(replays, formula, loss, name, repair, others, settings if not failed else None)
            found.give(weight, share, f"{said(inputs[name])}{problem}" if problem and not failed else "")
            failed = failed or problem
        if marks.harm and (left := _left(record, inputs)):
            found.take(marks.harm, left)
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
        kept = _kept(record, "main", inputs["main"])
        raise Wrong("the student was not trained: no gradient came back from what it answered."
                    + ("" if kept else " The teacher was trained: are student and teacher exchanged?"))


def steps(record: Record, name: str) -> list[Tensor]:
    """The rows of the images of each step."""
    sizes, rows = (record.tensor(f"{name} {what}", None).long() for what in ("sizes", "rows"))
    if len(rows) > 100_000 or sizes.sum() != len(rows) or (sizes < 1).any():
        raise Wrong("what was recorded is no training.")
    return [torch.tensor([*dict.fromkeys(step.tolist())], dtype=torch.long) for step in rows.split(sizes.tolist())]


def reached(replays: Replays, formula: Formula, loss: Formula, name: str, repair: str, arguments: dict[str, str],
            settings: tuple[Setting, ...] | None) -> tuple[float, str]:
    """The share of the marks for the weights at the end of a run, and what explains them; nothing is explained without
    `settings`, nor where a teacher that learns too explains it already."""
    record, run = replays.record, replays.run(name)
    if problem := (unmoved(record, name, run) or begun(record, name) or too_many(run) or diverged(record, name, run)
                   or decayed(record, name, run) or halved(record, name, run)):
        return 0.0, problem if settings is not None else ""
    if replays.reaches(name, formula.right, SAME):
        return 1.0, ""
    if settings is None or not _kept(record, name, run):
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
    known = (one for one in settings if one.place in formula.places)
    if number := next(filter(None, (replays.setting(formula, one, (name, *arguments)) for one in known)), ""):
        return 0.0, f"the weights are not those of this loss with Adam: {number}."
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


def begun(record: Record, name: str) -> str:
    """What to say where the student had other weights at its first step than those that it came with."""
    return "" if record.tensors.get(f"{name} begun", torch.ones(())) else (
        "the student began with other weights than those that it came with: it is to be trained as it is.")


def too_many(run: Case) -> str:
    """What to say of far more steps than were asked for, which are not replayed; empty if there are not."""
    size = run.settings["batch_size"]
    asked, largest = run.settings["epochs"] * -(-len(run.split) // size), max(map(len, run.steps))
    smaller = f"a step uses {largest} image{'s' * (largest > 1)}, and batch_size is {size}; " * (largest < size)
    return "" if len(run.steps) <= FAR * asked else (
        f"{smaller}{len(run.steps):,} steps or more were made, and {asked} were asked for: the weights were not looked "
        "at.")


def diverged(record: Record, name: str, run: Case) -> str:
    """What to say of weights that are no numbers any more; empty if they are."""
    return "" if record.tensor(f"{name} weights", len(_start(run))).isfinite().all() else (
        "weights are infinite or not a number: the loss has no bound below, or its logarithm is of 0.")


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
    kept = _kept(record, name, run)
    free = record.number(f"{name} teacher gradient") == 0
    found.give(marks.frozen, asked and kept and free, "" if not asked else
               "the teacher's weights were changed." if not kept else
               "a gradient runs into the teacher: ask it without gradients.")


def _left(record: Record, names: Iterable[str]) -> str:
    """What to say of a teacher that nobody can train after this, or that is put into training mode: it came in eval
    mode in the last run."""
    *_, last = names
    if any(record.tensors.get(f"{name} teacher frozen", torch.zeros(())) for name in names):
        return "the teacher is frozen for good: whoever trains it next finds no gradients. Ask it without any instead."
    turned = record.tensors.get(f"{last} teacher training", torch.zeros(()))
    return "the teacher came in eval mode and is left in training mode." if turned and not (
        record.tensor(f"{last} teacher modes", None).any()) else ""


def _visits(found: Marks, run: Case, record: Record, name: str, marks: Marking) -> None:
    n, epochs, size, of_steps = len(run.split), run.settings["epochs"], run.settings["batch_size"], steps(record, name)
    unmoved = len(of_steps) == 1  # nothing tells where a step ends
    seen = record.tensor(f"{name} rows", None).long() if unmoved else torch.cat(of_steps)
    if not ((seen >= 0) & (seen < n)).all():
        raise Wrong("the student is shown other images than those of the split: bytes are to be divided by 255, and "
                    f"nothing else is to be done to them. Read {found.where}.")
    whole = len(seen) == epochs * n and all(len(part.unique()) == n for part in seen.split(n))
    said = f"{n} images, {epochs} epochs: {len(seen)} visits instead of {epochs * n}"
    if len(seen) == epochs * (n - n % size):
        said += "; the last, smaller batch is left out"
    elif len(seen) == n:
        said += "; only one epoch is run"
    elif len(seen) == epochs * n:
        said = "in an epoch some images are seen twice, others not at all"
    found.give(marks.visits, whole, f"{said}. An epoch visits every image once.")
    odd = 0 if unmoved else _odd(list(map(len, of_steps)), n, size, whole)
    orders = {tuple(part.tolist()) for part in seen.split(n)} if whole else set()
    again = whole and len(orders) < epochs
    said = f"{'every epoch has' if len(orders) == 1 else 'several epochs have'} the same order: draw a new one."
    if odd:
        said = (f"a step uses {odd} image{'s' * (odd > 1)}, and batch_size is {size}: of an epoch only the last step "
                "may use fewer.")
    found.give(marks.order, not odd and not again, said)


def _odd(sizes: list[int], n: int, size: int, whole: bool) -> int:
    """How many images a step uses that uses too many, or, where every epoch is `whole`, too few; 0 if none does. That
    all use a single image is told with the number of steps."""
    wanted = [size] * (n // size) + [n % size] * (n % size > 0)
    compared = zip(sizes, itertools.cycle(wanted), strict=False) if whole and max(sizes) > 1 else ()
    fewer = (found for found, right in compared if found != right)
    return next(fewer, 0) or max((found for found in sizes if found > size), default=0)


def near(record: Record, name: str, run: Case, end: Tensor, within: float = SAME) -> bool:
    """Whether the recorded weights are these."""
    found = record.tensor(f"{name} weights", len(end))
    return bool((found - end).norm() <= within * (end - _start(run)).norm())


def _start(run: Case) -> Tensor:
    return torch.cat([part.flatten() for part in run.student]).double()


def _kept(record: Record, name: str, run: Case) -> bool:
    """Whether the teacher's weights are those that it came with."""
    weight, bias = run.teacher
    return torch.equal(record.tensor(f"{name} teacher weights", None), torch.cat([weight.flatten(), bias]).double())
