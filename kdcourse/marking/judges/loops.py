"""Judging half, questions 4 and 12: every recorded training is run again in double precision, step by step, on the
images that it saw; where the weights differ, the usual mistakes are tried until one of them gives these weights."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdcourse.marking.judges import base
from kdcourse.marking.judges.base import Marks
from kdcourse.marking.record import Record, Verdict, Wrong, stopped

WHERE, EARLY = "notebook 01, section 3", "notebook 01, section 10, and the text of the task"
CARRIED = 0.75  # of the marks for the weights, where only the loss is wrong: it was paid for in question 3
SAME = 2e-3  # of the way that the weights went: rounding stays far below, every known mistake far above


def train(inputs: dict, record: Record) -> Verdict:
    _ran(record, inputs["runs"])
    marks, settings = Marks(WHERE), inputs["runs"]["main"]
    steps = _steps(record, "main")
    _visits(marks, inputs, settings, steps, weights=(0.2, 0.05))
    main, again, other = (record.tensor(f"{name} rows", None) for name in ("main", "other T", "other seed"))
    marks.give(0.05, torch.equal(main, again) and not torch.equal(main, other), "the order of the images must come "
               "from the seed: the same seed gives the same order, another seed another one.")
    modes = _modes(marks, inputs, record, "main", weights=(0.15, 0.15, 0.1))
    share, problem = _compare(inputs, record, steps, settings, modes, lambda epoch: settings["alpha"],
                              others=("other T", "other alpha"))
    for name, what in () if base.EXCHANGED in problem else (("other T", "T"), ("other alpha", "alpha")):
        if problem and _close(record, "main", record.tensor(f"{name} weights", None), inputs):
            share, problem = 0, f"{what}, the argument, changes nothing: is another one used, a global?"
    marks.give(0.3, share, problem)
    return marks.verdict()


def stopped_distillation(inputs: dict, record: Record) -> Verdict:
    _ran(record, ("main", "never"))
    marks, settings, stop = Marks(EARLY), inputs["stopped"], inputs["stop"]
    epochs, alpha, steps = settings["epochs"], settings["alpha"], _steps(record, "main")
    _visits(marks, inputs, settings, steps, weights=(0.1, 0.05))
    modes = _modes(marks, inputs, record, "main", weights=(0.1, 0.1, 0.05))
    until = round(stop * epochs)
    plans = {
        "": lambda epoch: alpha if epoch < until else 0.0,
        "hard labels come first and the teacher after them: it is the other way round":
            lambda epoch: 0.0 if epoch < until else alpha,
        "the teacher is asked in one epoch too many: counted from 0, epochs below stop * epochs distil":
            lambda epoch: alpha if epoch <= until else 0.0,
        "the teacher is asked in one epoch too few: counted from 0, epochs below stop * epochs distil":
            lambda epoch: alpha if epoch < until - 1 else 0.0,
        "alpha shrinks little by little: it keeps its value until the stop and is 0 after it":
            lambda epoch: alpha * max(0.0, 1 - epoch / until),
        "nothing is distilled": lambda epoch: 0.0,
        "after the stop the teacher alone is left: the labels should be": lambda epoch: alpha if epoch < until else 1.0,
    }
    ends = sum(map(len, steps)) == until * len(inputs["split"])
    if not ends and _replayed(inputs, steps, settings, modes, lambda epoch: alpha)(record, "main"):
        raise Wrong(f"stop = {stop} changes nothing: the distillation goes on to the end. Read {EARLY}.")
    plan = plans.pop("")
    share, problem = _compare(inputs, record, steps, settings, modes, plan, plans)
    renewed = _replayed(inputs, steps, settings, modes, plan, anew=lambda epoch: epoch == until)
    if problem and renewed(record, "main"):
        problem = "a new optimiser takes over: the same one goes on, with what it remembers."
    if ends:
        share, problem = 0, "training ends at the stop: hard labels alone should follow."
    marks.give(0.4, share, f"with stop = {stop} of {epochs} epochs, {problem}")
    share, never = _compare(inputs, record, _steps(record, "never"), settings, modes, lambda epoch: 0.0, name="never")
    marks.give(0.2, share, "" if problem else f"with stop = 0 nothing is distilled: {never}")
    return marks.verdict()


def _ran(record: Record, names) -> None:
    """Raise `Wrong` where a run ended in an error or trained nothing."""
    for name in names:
        if note := record.notes.get(f"{name} error"):
            raise Wrong(stopped(note))
    if not len(record.tensor("main rows", None)):
        raise Wrong("the student was not trained: it was never asked about an image with gradients switched on.")


def _steps(record: Record, name: str) -> list[Tensor]:
    """The rows of the images of each step."""
    sizes = record.tensor(f"{name} sizes", None).long()
    rows = record.tensor(f"{name} rows", None).long()
    if len(rows) > 5_000 or sizes.sum() != len(rows) or (sizes < 1).any():
        raise Wrong("what was recorded is no training.")
    return [step.unique() for step in rows.split(sizes.tolist())]


def _visits(marks: Marks, inputs: dict, settings: dict, steps: list[Tensor], *, weights: tuple[float, float]) -> None:
    n, epochs, size = len(inputs["split"]), settings["epochs"], settings["batch_size"]
    seen = torch.cat(steps)
    if not ((seen >= 0) & (seen < n)).all():
        raise Wrong("the student is shown other images than those of the split: bytes must be divided by 255. "
                    f"Read {WHERE}.")
    whole = len(seen) == epochs * n and all(len(part.unique()) == n for part in seen.split(n))
    if not whole:
        said = f"{n} images, {epochs} epochs: {len(seen)} visits instead of {epochs * n}"
        if len(seen) == epochs * (n - n % size):
            said += "; the last, smaller batch is left out"
        elif len(seen) == n:
            said += "; only one epoch is run"
        elif len(seen) == epochs * n:
            said = "in an epoch some images are seen twice, others not at all"
    marks.give(weights[0], whole, "" if whole else f"{said}. An epoch visits every image once.")
    fit = max(map(len, steps)) <= size
    parts = seen.split(n)
    marks.give(weights[1], fit and not (whole and torch.equal(parts[0], parts[1])),
               f"a step uses {max(map(len, steps))} images, and batch_size is {size}." if not fit else
               "every epoch has the same order: draw a new one for each.")


def _modes(marks: Marks, inputs: dict, record: Record, name: str, *, weights) -> tuple[list[bool], bool]:
    """Give marks for the modes; returns those that were logged: the student's in each step, and the teacher's."""
    modes, always = _logged(record, name)
    teacher = record.tensor(f"{name} teacher modes", None)
    asked = len(teacher) > 0
    per_epoch = -(-len(inputs["split"]) // inputs["runs"]["main"]["batch_size"])
    later = modes[0] and not all(modes[per_epoch:])
    marks.give(weights[0], all(modes), "the student is in training mode in the first epoch only: call student.train() "
               "in every epoch." if later else "the student learns in eval mode: call student.train() before.")
    marks.give(weights[1], asked and not teacher.any(), "the teacher is never asked." if not asked else
               "the teacher is in training mode, so its dropout is on: it answers like another network.")
    weight, bias = inputs["teacher"]
    kept = torch.equal(record.tensor(f"{name} teacher weights", None), torch.cat([weight.flatten(), bias]).double())
    free = record.number(f"{name} teacher gradient") == 0
    marks.give(weights[2], asked and kept and free, "" if not asked else
               "the teacher's weights were changed." if not kept else
               "a gradient runs into the teacher: ask it without gradients.")
    return modes, always


def _logged(record: Record, name: str) -> tuple[list[bool], bool]:
    """Whether the student was in training mode, in each step, and whether the teacher was, always."""
    teacher = record.tensor(f"{name} teacher modes", None)
    return (record.tensor(f"{name} modes", None) > 0).tolist(), len(teacher) > 0 and bool(teacher.all())


def _compare(inputs, record, steps, settings, modes, alpha, plans=None, name="main", others=()) -> tuple[float, str]:
    """The share of the marks for the weights, and the mistake that explains them (none if they are right)."""
    weight, bias = inputs["student"]
    start = torch.cat([weight.flatten(), bias]).double()
    if torch.equal(record.tensor(f"{name} weights", None), start):
        return 0, "the student's weights did not change."
    reached = _replayed(inputs, steps, settings, modes, alpha)
    if reached(record, name):
        return 1, ""
    for text, plan in (plans or {}).items():
        if _replayed(inputs, steps, settings, modes, plan)(record, name):
            return 0, f"the weights tell that {text}."
    for text, changes in base.training_mistakes():
        if _replayed(inputs, steps, settings, modes, alpha, **changes)(record, name) and all(
            _replayed(inputs, _steps(record, other), inputs["runs"][other], _logged(record, other),
                      lambda epoch, other=other: inputs["runs"][other]["alpha"], **changes)(record, other)
            for other in others
        ):
            if changes.keys() <= {"share", "soft", "hard"}:
                return CARRIED, f"the loss of this training is wrong: repair combined_loss, question 3, first: {text}."
            return 0, f"the weights are not those of this loss with Adam: {text}."
    return 0, ("the weights at the end are not those of Adam on the combined loss of each batch, with the T, alpha and "
            "learning rate that were given.")


def _replayed(
    inputs: dict, steps: list[Tensor], settings: dict, modes: tuple[list[bool], bool], alpha: Callable, *,
    clear=True, anew=lambda epoch: False, optimiser=torch.optim.Adam, share=base.SHARES[""], soft=base.soft,
    hard=base.HARD[""], exchanged=False,
) -> Callable[[Record, str], bool]:
    """Train on these steps; returns a function that says whether a record of that name got to the same weights."""
    split, (factor_s, factor_t) = inputs["split"], inputs["factors"]
    x, n = split.x.double().flatten(1) / 255, len(split)
    W, b = (part.double().clone().requires_grad_() for part in inputs["student"])
    W_t, b_t = (part.double() for part in inputs["teacher"])
    z_t = (x @ W_t.T + b_t) * (factor_t if modes[1] else 1)
    rule, seen, epoch = optimiser([W, b], lr=settings["lr"]), 0, 0
    for step, training in zip(steps, modes[0], strict=True):
        if seen // n > epoch and anew(seen // n):
            rule = optimiser([W, b], lr=settings["lr"])
        epoch = seen // n
        seen += len(step)
        z = (x[step] @ W.T + b) * (factor_s if training else 1)
        T = settings["T"]
        first, second = (z_t[step], z) if exchanged else (z, z_t[step])
        loss = share(hard(first, split.y[step], T), soft(first, second, T), T, alpha(epoch))
        if clear:
            rule.zero_grad()
        loss.backward()
        rule.step()
    end = torch.cat([W.detach().flatten(), b.detach()])
    return lambda record, name: _close(record, name, end, inputs)


def _close(record: Record, name: str, end: Tensor, inputs: dict) -> bool:
    weight, bias = inputs["student"]
    start = torch.cat([weight.flatten(), bias]).double()
    found = record.tensor(f"{name} weights", len(start))
    return bool((found - end).norm() <= SAME * (end - start).norm())
