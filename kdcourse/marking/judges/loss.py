"""Is a recorded value, and its gradient, that of the formula, and if not, of which mistake in it?"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kdcourse.marking.judges.base import Marks, close
from kdcourse.marking.judges.mistakes import MOST, Formula
from kdcourse.marking.record import Case, Record, Verdict, Wrong, stopped

AGAIN = "once more"
SINGLE = 1e-6   # how near a number in single precision is to the same number, relatively
EXACT = 3e-5  # how near an answer in single precision is to its own formula, relatively
FAR = ("with 10^11 added to all logits, in double precision, it is another value: there a formula stays what it is, "
       "and a difference of two losses loses its digits, as everything does in single precision.")
FARTHEST = 200  # what is further off than that has overflowed, or summed what does not sum to 1


class Question:
    """What is compared: a formula, in these cases; `at` names the input of the gradient, `of(case)` says in words which
    numbers these are, `near` is how far a value may be off, absolutely (None: as rounding needs it), beside a share of
    it, `relative`, and `most` how many mistakes may explain it together (0: three, and two where `near` is given, since
    three explain nearly every count)."""

    def __init__(self, formula: Formula, cases: tuple[str, ...], at: str, of: Callable, near: float | None,
                 relative: float = SINGLE, most: int = 0):
        self.formula, self.cases, self.at, self.of, self.near, self.relative = formula, cases, at, of, near, relative
        self.most = most or (MOST if near is None else 2)

    def agrees(self, record: Record, name: str, case: Case, value: Callable, *, exactly: bool = False) -> bool:
        found = record.tensors.get(f"{name} value")
        if found is None or found.ndim:
            return False
        found, expected = found.item(), float(value(case))
        gap = abs(found - expected)  # NaN is near nothing
        if self.near is not None:
            return gap <= self.near + self.relative * abs(expected)
        return gap < float("inf") and gap <= (EXACT if exactly else 1e-3) * abs(expected) + (1e-7 if exactly else 1e-5)

    def slope(self, case: Case) -> Tensor:
        student = getattr(case, self.at).double().requires_grad_()
        return torch.autograd.grad(self.formula.right(case.with_(**{self.at: student})), student)[0]

    def slopes(self, record: Record, name: str, case: Case) -> bool:
        found = record.tensors.get(f"{name} gradient")
        return found is not None and close(found, self.slope(case), atol=1e-4)

    def mistake(self, inputs: dict[str, Case], record: Record):
        """The mistake that explains every value: one that does so exactly, before one that is near; None without."""
        near = None
        for one in self.formula.mistakes(self.most):
            if all(self.agrees(record, name, inputs[name], one.value) for name in self.cases):
                near = near or one
                if all(self.agrees(record, name, inputs[name], one.value, exactly=True) for name in self.cases):
                    return one
        return near


def loss(formula: Formula, *cases: str, where: str, at: str = "z_s", of: Callable = lambda c: "", marks=(0.4, 0.4),
         large: float = 0.2, depends_on: dict[str, tuple] | None = None, ends: dict[str, tuple] | None = None,
         shares: dict[str, float] | None = None, also: tuple = (), near: float | None = None,
         relative: float = SINGLE, most: int = 0, own: str = "", far: str = "") -> Callable:
    """A judge: `marks` for value and gradient in these cases (no gradient without `at`), `large` for the case of that
    name, `ends` {case: (marks, what it leaves)}, and `also` (marks, problem(inputs, record) -> words, or "" if there is
    none). `depends_on` {argument: cases that differ in nothing else}. `shares` {place: share of the marks for the value
    that a mistake there costs}, where it is not all. `own` says what is to be written without the package's help.
    `far` names a case that was asked far from 0, where a formula holds and a difference of two losses does not.
    """
    question = Question(formula, cases, at, of, near, relative, most)

    def judge(inputs: dict[str, Case], record: Record) -> Verdict:
        _asked(question, inputs, record, depends_on or {}, where)
        found = Marks(where)
        share, problem = _value(question, inputs, record, shares or {})
        found.give(marks[0], share, problem)
        if at:
            slope = next((name for name in cases if not question.slopes(record, name, inputs[name])), None)
            found.give(marks[1], slope is None,
                       "" if problem or not slope else _gradient(question, slope, inputs[slope], record))
        for name, (weight, what) in (ends or {}).items():
            holds = question.agrees(record, name, inputs[name], formula.right)
            found.give(weight, holds, "" if found.failed else f"{what}: not so here.")
        if at and large and found.earned:
            _large(question, found, large, inputs["large"], record)
        for weight, problem in also if found.earned else ():
            said = problem(inputs, record)
            found.give(weight, not said, said)
        _manners(found, question, record, own)
        if far and found.earned and not found.failed and _loses_digits(question, far, inputs[far], record):
            found.take(0.5, FAR)
        return found.verdict()

    judge.formula = formula
    return judge


def slope(formula: Formula, name: str, said: str, at: str = "f_s") -> Callable:
    """For `also`: says so where the gradient of the case of that name is no number, or not that of the formula."""
    question = Question(formula, (name,), at, lambda case: "", None)
    return lambda inputs, record: "" if question.slopes(record, name, inputs[name]) else said


def _asked(question: Question, inputs: dict, record: Record, depends_on: dict[str, tuple], where: str) -> None:
    """Raise `Wrong` where a call ended in an error, or an argument changes nothing."""
    for name in question.cases:
        if note := record.notes.get(f"{name} error"):
            raise Wrong(stopped(note))
    for argument, names in depends_on.items():
        if _same(record, names):
            mistake = question.mistake(inputs, record)
            why = f"{mistake.text}." if mistake else "is another one used, a global?"
            raise Wrong(f"the value does not change with {argument}, the argument: {why} Read {where}.")


def _value(question: Question, inputs: dict, record: Record, shares: dict[str, float]) -> tuple[float, str]:
    """The share of the marks for the values, and what is wrong with them."""
    wrong = next((name for name in question.cases
                  if not question.agrees(record, name, inputs[name], question.formula.right)), None)
    if wrong is None:
        return 1.0, ""
    case, of = inputs[wrong], question.of(inputs[wrong])
    if (found := record.tensors.get(f"{wrong} value")) is None:
        if record.notes.get(f"{wrong} value") == "None":
            return 0.0, "nothing was returned: the blank is still empty, or its `return` is missing."
        probe = getattr(case, "probe", None)
        wanted = f"a tensor of shape {tuple(probe.shape)}" if getattr(probe, "ndim", 0) else "a number in a tensor"
        return 0.0, f"{record.notes.get(f'{wrong} value', 'nothing')} was returned, not {wanted}."
    if hasattr(case, "probe") and (found.ndim or f"{wrong} single" in record.notes):
        return 0.0, f"on {of} {_other_shape(found, case.probe.shape)}."
    if found.ndim:
        images = len(getattr(case, question.at)) if question.at else len(getattr(case, "split", ()))
        each = found.shape == (images,)
        return 0.0, (f"on {of} a tensor of shape {tuple(found.shape)} was returned, not a single number"
                     f"{': one number per image, so the mean over the images is missing' if each else ''}.")
    said = f"on {of} the value is {unlike(found, question.formula.right(case))} is right"
    if not found.isfinite():
        return 0.0, f"{said}: the logarithm of something that is 0 or negative was taken."
    if stays := _stays(question, record):
        return 0.0, f"{said}: {stays}."
    mistake, same = question.mistake(inputs, record), _same(record, question.cases)
    if mistake and not (same and mistake.size > 1):  # many mistakes together give 0
        lost = min(1.0, sum(shares.get(place, 1.0) for place in mistake.places))
        return 1 - lost, f"{said}. That is what one gets if: {mistake.text}{'' if mistake.text.endswith('?') else '.'}"
    return 0.0, f"{said}: the same value for every input." if same else f"{said}."


def _other_shape(found: Tensor, wanted: torch.Size) -> str:
    """What was returned in place of a tensor of that shape, and how one comes to it."""
    if not found.ndim:
        each = ": one for each of them, so leave out the mean or the sum over them" if len(wanted) == 1 else ""
        return f"a single number was returned, not {math.prod(wanted)} of shape {tuple(wanted)}{each}"
    kept = (": `keepdim=True` has kept a dimension" if found.shape == (*wanted, 1)
            else ": what belongs to one image was summed or averaged over all" if found.shape == wanted[1:]
            else ": what comes after is to be summed, or averaged" if found.shape[:len(wanted)] == wanted
            else ": these are images compared with images" if found.shape == (wanted[0], wanted[0]) else "")
    return f"a tensor of shape {tuple(found.shape)} was returned, not {tuple(wanted)}{kept}"


def _stays(question: Question, record: Record) -> str:
    """What to say where the same arguments give another value the second time; else nothing."""
    pair = [record.tensors.get(f"{name} value") for name in (question.cases[0], AGAIN)]
    if None in pair or close(*pair, rtol=1e-5, atol=1e-6) or not all(one.isfinite().all() for one in pair):
        return ""
    return (f"the first call gave {number(pair[0])}, and with the same arguments the last one {number(pair[1])}, so "
            "something stays from one call to the next, a global or a default value that is changed, or it is drawn at "
            "random")


def _gradient(question: Question, name: str, case: Case, record: Record) -> str:
    if (found := record.tensors.get(f"{name} gradient")) is None:
        return "the value is right, but no gradient reaches the student: was it detached, or made a number?"
    expected = question.slope(case)
    if found.shape != expected.shape:
        return "the value is right, and its gradient has another shape than the student's input."
    if not found.isfinite().all():
        return ("the value is right, but the gradient on the student is not finite: 0 times nan or infinity is nan, on "
                "the way back as well.")
    gap = (found - expected).abs().max().item()
    return f"the value is right, but the gradient on the student is off by up to {gap:.2g}: what was detached?"


def _large(question: Question, found: Marks, share: float, case: Case, record: Record) -> None:
    """Marks for a value and a gradient that stay right where probabilities become 0."""
    value = record.tensors.get("large value")
    finite = value is not None and bool(value.isfinite().all())
    right = question.agrees(record, "large", case, question.formula.right)
    said = f"the value is {number(value)}" if value is not None and value.numel() == 1 else "there is no value"
    why = f"with logits in the hundreds {said}, and {number(question.formula.right(case))} is right: " + (
        "was a small number added before the logarithm was taken, or something clamped?" if finite else
        "a probability became 0 and its logarithm infinite, or an exponential overflowed.")
    if right:
        why = "with logits in the hundreds the value is right, and its gradient is not: something overflows on its way."
    holds = question.slopes(record, "large", case) and (finite if found.failed else right)
    found.give(share, holds, "" if finite and found.failed else why)


def _loses_digits(question: Question, name: str, case: Case, record: Record) -> bool:
    """Whether the value is off as a difference of large numbers is."""
    found = record.tensors.get(f"{name} value")
    if found is None or found.ndim or not abs(found.item() - float(question.formula.right(case))) < FARTHEST:
        return False
    return not question.agrees(record, name, case, question.formula.right)


def _manners(found: Marks, question: Question, record: Record, own: str) -> None:
    """Takes marks where the package's own functions were called, an argument was changed, or the same arguments give
    another value the second time."""
    if not found.earned:
        return
    if own and "used" in record.notes:
        found.take(0.5, f"{own}: {record.notes['used']} does it here.")
    if "changed" in record.notes:
        found.take(0.2, f"{record.notes['changed']}, an argument, is changed in place: whoever calls again gets "
                   "something else.")
    if not found.failed and (stays := _stays(question, record)):
        found.take(0.5, f"{stays}.")


def number(value) -> str:
    """A number as it is told: counts with all of their digits."""
    value = float(value)
    return f"{value:,.0f}" if abs(value) >= 1000 and value.is_integer() else f"{value:.4g}"


def unlike(found, right) -> str:
    """Both numbers, with as many digits as it takes to see that they are not the same."""
    found, right = float(found), float(right)
    if number(found) != number(right) or found == right:
        return f"{number(found)}, and {number(right)}"
    digits = next((n for n in range(5, 16) if f"{found:.{n}g}" != f"{right:.{n}g}"), 16)
    return f"{found:.{digits}g}, and {right:.{digits}g}"


def slopes(value: Tensor, inputs: Sequence[Tensor], factors: Sequence[Tensor]) -> list[Tensor]:
    """Of the gradient of a loss on each input the sum with its random factors; 0 where there is no gradient."""
    found = (torch.autograd.grad(value, inputs, retain_graph=True, allow_unused=True) if value.requires_grad
             else [None] * len(inputs))
    return [value.new_zeros(()) if one is None else (one * factor.double()).sum().detach()
            for one, factor in zip(found, factors, strict=True)]


def as_one(c, numbers: Sequence[Tensor]) -> Tensor:
    """Several numbers as one that tells them all: their sum with the case's random factors, its `probe`."""
    return (torch.stack(list(numbers)).detach() * c.probe.double()).sum()


def _same(record: Record, names) -> bool:
    values = [record.tensors.get(f"{name} value") for name in names]
    return len(values) > 1 and all(value is not None and value.ndim == 0 for value in values) and all(
        close(value, values[0], rtol=1e-6, atol=0) for value in values[1:])
