"""Judging half, question 3: are the recorded values and gradients those of the losses, and if not, of which mistake?"""

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

from kdcourse.marking.judges import base
from kdcourse.marking.judges.base import Marks, close
from kdcourse.marking.record import Record, Verdict, Wrong

WHERE = "notebook 01, section 2"
Loss = Callable[..., Tensor]


def teacher_loss(inputs: dict[str, dict], record: Record) -> Verdict:
    names = ("cold", "warm")

    def right(z, c):
        return base.hard(z, c["y"]).mean()

    variants = {
        "summed over the images, not averaged": lambda z, c: base.hard(z, c["y"]).sum(),
        "the sign is wrong": lambda z, c: -right(z, c),
        "cross_entropy was given probabilities: it takes the softmax itself":
            lambda z, c: base.hard(base.log_p(z).exp(), c["y"]).mean(),
        "this is the mean probability of the label without its logarithm, or its negative":
            lambda z, c: -base.log_p(z).exp().gather(1, c["y"][:, None]).mean(),
        base.NLL: lambda z, c: -z.double().gather(1, c["y"][:, None]).mean(),
        "divided by the number of classes as well": lambda z, c: right(z, c) / z.shape[1],
        "softmax runs over the images, not over the classes (dim=0)":
            lambda z, c: -base.log_p(z, 0).gather(1, c["y"][:, None]).mean(),
        "the largest logit was taken for the label": lambda z, c: base.hard(z, z.argmax(1)).mean(),
    }
    marks = Marks(WHERE)
    _value_and_gradient(marks, inputs, record, names, right, variants.items(), weights=(0.4, 0.4))
    if marks.earned:
        _large(marks, inputs, record, right)
    return marks.verdict()


def distillation_loss(inputs: dict[str, dict], record: Record) -> Verdict:
    names = ("cold", "warm", "warmer", "hot")

    def right(z, c):
        return base.soft(z, c["z_t"], c["T"])

    def variants() -> Iterator[tuple[str, Loss]]:
        for name, loss in base.soft_variants():
            yield name, lambda z, c, loss=loss: loss(z, c["z_t"], c["T"])

    marks = Marks(WHERE)
    if _same(record, "warm value", "warmer value"):
        raise Wrong(f"the value does not change with T, the argument: is another T used, a global? Read {WHERE}.")
    _value_and_gradient(marks, inputs, record, names, right, variants(), weights=(0.4, 0.4))
    if marks.earned:
        _large(marks, inputs, record, right)
    return marks.verdict()


def combined_loss(inputs: dict[str, dict], record: Record) -> Verdict:
    names = ("cold", "warm", "warmer", "hot")

    def right(z, c):
        return base.combined(z, c["z_t"], c["y"], c["T"], c["alpha"])

    if _same(record, "warm value", "hard value", "soft value"):
        raise Wrong(f"the value does not change with alpha, the argument: is another one used, a global? Read {WHERE}.")
    marks = Marks(WHERE)
    _value_and_gradient(marks, inputs, record, names, right, _combined_variants(), weights=(0.3, 0.3))
    for name, weight, what in (("hard", 0.2, "alpha = 0 leaves the cross-entropy with the labels alone"),
                               ("soft", 0.2, "alpha = 1 leaves the distillation loss alone")):
        holds = _agrees(record, name, inputs[name], right)
        marks.give(weight, holds, "" if marks.failed else f"{what}: it does not here.")
    return marks.verdict()


def _combined_variants() -> Iterator[tuple[str, Loss]]:
    """One mistake in any of the three places, then two, then three. Each part is computed once for each case."""
    parts: dict[tuple, Tensor] = {}

    def part(key: tuple, compute) -> Tensor:
        if key not in parts:
            parts[key] = compute()
        return parts[key]

    softs = list(base.soft_variants())
    for mistakes in (1, 2, 3):
        for (s, soft), (h, hard), (m, share) in product(softs, base.HARD.items(), base.SHARES.items()):
            if bool(s) + bool(h) + bool(m) != mistakes:
                continue

            def loss(z, c, s=s, soft=soft, h=h, hard=hard, share=share):
                return share(part((h, id(c)), lambda: hard(z, c["y"], c["T"])),
                             part((s, "soft", id(c)), lambda: soft(z, c["z_t"], c["T"])), c["T"], c["alpha"])

            yield "; ".join(name for name in (m, h, f"in the soft term, {s}" if s else "") if name), loss


def _value_and_gradient(
    marks: Marks, inputs: dict, record: Record, names: tuple[str, ...], right: Loss, variants, *,
    weights: tuple[float, float],
) -> None:
    for name in names:  # an error is an error
        if f"{name} error" in record.notes:
            record.number(f"{name} value", of=name)
    wrong = next((name for name in names if not _agrees(record, name, inputs[name], right)), None)
    marks.give(weights[0], wrong is None, _explain(inputs, record, names, wrong, right, variants) if wrong else "")
    slope = next((name for name in names if not _slopes(record, name, inputs[name], right)), None)
    why = _gradient_message(record, slope, right, inputs) if slope and not wrong else ""
    marks.give(weights[1], slope is None, why)


def _explain(inputs: dict, record: Record, names: tuple[str, ...], wrong: str, right: Loss, variants) -> str:
    """What the value is, what it should be, and which mistake gives it."""
    case = inputs[wrong]
    B, K = case["z_s"].shape
    at = f"{B} images, {K} classes" + (f", T = {case['T']:.3g}" if "T" in case else "")
    if (found := record.tensors.get(f"{wrong} value")) is None:
        return f"{record.notes.get(f'{wrong} value', 'nothing')} was returned, not a tensor."
    expected = right(case["z_s"], case)
    if found.ndim:
        hint = ": one number per image, so the mean over the images is missing" if found.shape == (B,) else ""
        return f"on {at} a tensor of shape {tuple(found.shape)} was returned, not a single number{hint}."
    said = f"on {at} the value is {found.item():.4g}, and {expected.item():.4g} is right"
    if not found.isfinite():
        return f"{said}: the logarithm of something that is 0 or negative was taken."
    if _same(record, *(f"{name} value" for name in names)):
        return f"{said}: the same value for every input."
    for name, loss in variants:
        if name and all(_agrees(record, other, inputs[other], loss) for other in names):
            return f"{said}. That is what one gets if: {name}."
    return f"{said}."


def _gradient_message(record: Record, name: str, right: Loss, inputs: dict) -> str:
    if (found := record.tensors.get(f"{name} gradient")) is None:
        return "the value is right, but no gradient reaches the student's logits: was it detached, or made a number?"
    z = inputs[name]["z_s"].double().requires_grad_()
    expected = torch.autograd.grad(right(z, inputs[name]), z)[0]
    if found.shape != expected.shape:
        return "the value is right, and its gradient has another shape than the logits."
    gap = (found - expected).abs().max().item()
    return f"the value is right, but the gradient on the student's logits is off by up to {gap:.2g}: what was detached?"


def _large(marks: Marks, inputs: dict, record: Record, right: Loss) -> None:
    found = record.tensors.get("large value")
    finite = found is not None and bool(found.isfinite().all())  # all that is asked of a value that is wrong anyway
    holds = _slopes(record, "large", inputs["large"], right) and (
        finite if marks.failed else _agrees(record, "large", inputs["large"], right))
    said = f"the value is {found.item():.4g}" if found is not None and found.numel() == 1 else "there is no value"
    expected = right(inputs["large"]["z_s"], inputs["large"])
    why = (f"with logits in the hundreds {said}, and {expected:.4g} is right: a probability became 0 and its logarithm "
           "infinite, or an exponential overflowed.")
    if finite and _agrees(record, "large", inputs["large"], right):
        why = "with logits in the hundreds the value is right, and its gradient is not: something overflows on its way."
    marks.give(0.2, holds, "" if finite and marks.failed else why)  # what failed before explains this as well


def _agrees(record: Record, name: str, case: dict, loss: Loss) -> bool:
    found = record.tensors.get(f"{name} value")
    return found is not None and found.ndim == 0 and close(found, loss(case["z_s"], case))


def _slopes(record: Record, name: str, case: dict, right: Loss) -> bool:
    found = record.tensors.get(f"{name} gradient")
    z = case["z_s"].double().requires_grad_()
    return found is not None and close(found, torch.autograd.grad(right(z, case), z)[0], atol=1e-4)


def _same(record: Record, *names: str) -> bool:
    values = [record.tensors.get(name) for name in names]
    return all(value is not None and value.ndim == 0 for value in values) and all(
        close(value, values[0], rtol=1e-6, atol=0) for value in values[1:]
    )
