"""Judging half, question 4: recorded accuracies of looked-up logits against the count, and the usual miscounts."""

from collections.abc import Callable

import torch
from torch import Tensor

from kdcourse.marking.judges.base import Marks, close
from kdcourse.marking.record import Record, Verdict, Wrong

WHERE = "notebook 01, section 3"

# right answers (N,) as booleans and the size of a batch -> what is returned
MISCOUNTS: dict[str, Callable[[Tensor, int], float]] = {
    "": lambda right, size: right.double().mean().item(),
    "this is in percent: a share lies in [0, 1]": lambda right, size: 100 * right.double().mean().item(),
    "this is the number of right answers: divide it by the number of images": lambda right, size: right.sum().item(),
    "this is the share of wrong answers": lambda right, size: 1 - right.double().mean().item(),
    "the accuracies of the batches were averaged, so that the last, smaller one counts too much":
        lambda right, size: sum(part.double().mean().item() for part in right.split(size)) / len(right.split(size)),
    "the last, smaller batch is left out":
        lambda right, size: right[: len(right) // size * size].double().mean().item(),
    "the last, smaller batch is left out, and its images still counted":
        lambda right, size: right[: len(right) // size * size].sum().item() / len(right),
    "divided by batches times batch_size: the last batch is smaller":
        lambda right, size: right.sum().item() / (-(-len(right) // size) * size),
    "the last, smaller batch is counted, and its images are not":
        lambda right, size: right.sum().item() / (len(right) // size * size),
    "this is the accuracy of the last batch": lambda right, size: right.split(size)[-1].double().mean().item(),
    "this is the accuracy of the first batch": lambda right, size: right[:size].double().mean().item(),
}


def evaluate(inputs: dict[str, dict], record: Record) -> Verdict:
    marks = Marks(WHERE)
    values = {name: record.number(f"{name} value", of=name) for name in inputs}
    text, table = _miscount(inputs, values)
    name, case = next(iter(inputs.items()))
    expected = _right(case, table or "answers").double().mean().item()
    said = (f"with {len(case['split'])} images in batches of {case['batch_size']} you return {values[name]:.4g}, and "
            f"{expected:.4g} is right")
    if table is None:
        if len(record.tensor(f"{name} modes", None)) and all(
            close(values[name], _flat(case), rtol=1e-5, atol=1e-6) for name, case in inputs.items()
        ):
            said += ": argmax without dim finds one place among all logits of a batch: it runs over the classes, dim=1"
        raise Wrong(f"{said}. Read {WHERE}.")
    marks.give(0.5, not text, f"{said}: {text}.")
    modes = torch.cat([record.tensor(f"{name} modes", None) for name in inputs])
    marks.give(0.2, table == "answers" and not modes.any(),
               "the network is in training mode while it is evaluated, so its dropout is on: call network.eval().")
    gradients = torch.cat([record.tensor(f"{name} gradients", None) for name in inputs])
    marks.give(0.15, len(gradients) > 0 and not gradients.any(),
               "gradients are recorded while it evaluates: switch them off (torch.no_grad).")
    kept = all(close(record.tensor(f"{name} answers", *case["answers"].shape), case["answers"], rtol=0, atol=0)
               and record.number(f"{name} trainable") == 1 for name, case in inputs.items())
    on = all(record.number(f"{name} recording afterwards") == 1 for name in inputs)
    marks.give(0.15, kept and on, "gradients are still switched off after it returned, for everybody: switch them off "
               "inside a with block." if kept else
               "the network cannot go on learning afterwards: its weights were changed or frozen.")
    return marks.verdict()


def _miscount(inputs: dict[str, dict], values: dict[str, float]) -> tuple[str, str | None]:
    """The miscount that explains the values, and whether the network was in eval mode ("answers") or not."""
    for text, counted in MISCOUNTS.items():
        for table in ("answers", "garbled"):
            if all(close(values[name], counted(_right(case, table), case["batch_size"]), rtol=1e-5, atol=1e-6)
                   for name, case in inputs.items()):
                return text, table
    return "", None


def _flat(case: dict) -> float:
    """The accuracy with argmax over all logits of a batch."""
    batches = zip(case["answers"].split(case["batch_size"]), case["split"].y.split(case["batch_size"]), strict=True)
    return sum((z.argmax() == y).sum().item() for z, y in batches) / len(case["split"])


def _right(case: dict, table: str) -> Tensor:
    return case[table].argmax(dim=1) == case["split"].y
