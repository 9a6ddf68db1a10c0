"""Asks a function for its value, and where there is one for its gradient, case by case: losses, measures, counts.

The first case is asked once more at the end: what it gives must not depend on the calls before.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from kdcourse.marking.checks.base import Check
from kdcourse.marking.record import Case, Record

AGAIN = "once more"
AWAY = 1e11


def far(case: Case, name: str) -> Case:
    """The case with logits of that name that have the digits which are left of them if `away` is added."""
    return case.with_(**{name: getattr(case, name).double() + AWAY - AWAY}, away=AWAY)


def loss(draw, call, *cases: str, at: str = "z_s", keep: Callable | None = None, own: str = "") -> Check:
    """`call(answer, case)` is asked with fresh copies in each case. The gradient is the one on the input called `at`
    (none where it is empty). A tensor of the shape of the case's `probe` is asked for its sum of products with it; a
    single number where there is a probe is noted.

    `keep(record, name, case)` may record what else the call did. With `own` (kdcourse.metrics, torch.autograd) it is
    noted which functions of that module an answer calls that was to do without them.
    """
    def ask(inputs: dict[str, Case], answer) -> Record:
        record = Record()
        for name, case in {**{name: inputs[name] for name in cases}, AGAIN: inputs[cases[0]]}.items():
            case = deepcopy(case)
            if at:
                getattr(case, at).requires_grad_()
            before = {key: value.detach().clone() for key, value in vars(case).items() if isinstance(value, Tensor)}
            with record.trying(name), _noted(record, own):
                value = call(answer, case)
                if hasattr(case, "probe") and isinstance(value, Tensor | float) and torch.as_tensor(value).ndim == 0:
                    record.notes[f"{name} single"] = "a single number"
                if isinstance(value, Tensor) and value.shape == getattr(case, "probe", value[..., None]).shape:
                    value = (value * case.probe).sum()
                record.keep(f"{name} value", value)
                if at and isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad:
                    value.sum().backward()
                    record.keep(f"{name} gradient", getattr(case, at).grad)
            if changed := [key for key, value in before.items() if not torch.equal(value, getattr(case, key))]:
                record.notes["changed"] = changed[0]
            if keep:
                keep(record, name, case)
        return record

    return Check(draw, ask)


def numbers(value):
    """A list, a tuple or an array of numbers, nested or not, as a tensor, for its sum of products; anything else as it
    is."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return torch.as_tensor(np.asarray(value, dtype=np.float64))
    parts = [numbers(one) for one in value] if isinstance(value, list | tuple) else []
    if not parts or not all(isinstance(one, Tensor | Real) for one in parts):
        return value
    parts = [torch.as_tensor(one, dtype=torch.double).detach() for one in parts]
    if len({part.shape for part in parts}) == 1:
        return torch.stack(parts)
    return torch.cat([part.reshape(1) for part in parts]) if all(part.numel() == 1 for part in parts) else value


def slope(value: Tensor, at: Tensor, other: Tensor) -> Tensor:
    """The gradient of a loss at a tensor, summed with factors; 0 if it does not depend on it."""
    if not value.requires_grad:
        return torch.zeros((), dtype=value.dtype)
    [found] = torch.autograd.grad(value, at, retain_graph=True, allow_unused=True)
    return torch.zeros((), dtype=value.dtype) if found is None else (found * other).sum()


def number(value) -> Tensor:
    """A loss as it is, if it is one number in a tensor; else TypeError or ValueError."""
    if not isinstance(value, Tensor):
        raise TypeError(f"a loss is a tensor with one number, and this is {value!r:.60}")
    if value.ndim:
        raise ValueError(f"a loss is one number, and this has the shape {tuple(value.shape)}: is the mean over the "
                         "images missing?")
    return value


@contextmanager
def _noted(record: Record, module: str) -> Iterator[None]:
    """Inside, the functions of a module that others call are noted, and that derivatives were taken forward."""
    names = module, f"{module}.forward_ad"    # torch.func.jvp and jacfwd call nothing of torch.autograd itself

    def note(frame, event, argument) -> None:
        if event == "call" and (name := frame.f_globals.get("__name__")) in names and (
                frame.f_back and frame.f_back.f_globals.get("__name__") not in names):
            record.notes["used"] = frame.f_code.co_name if name == module else "forward_ad"

    if not module:
        yield
        return
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before if callable(before) else None)  # cProfile cannot be put back: it ends here
