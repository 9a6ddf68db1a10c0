"""Is a network the one that was asked for? Its answers are compared with a forward pass that is written out here with
the same weights; what reaches its layers in training, with what should.

The layout of its parameters is its own affair: a convolution may be a matrix, a matrix may stand on its side, and
layers of one size may be defined in any order.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import permutations, product
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.marking.judges.base import Marks, close, ran
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.record import Case, Record, Verdict, Wrong

Shape = tuple[int, ...]
OUTPUT = {  # what may be done to the logits by mistake, and to the images
    "": lambda z: z,
    "it returns probabilities: a network here returns logits": lambda z: z.softmax(1),
    "it returns log-probabilities: a network here returns logits": lambda z: z.log_softmax(1),
    "there is a ReLU after the last layer: logits may be negative": F.relu,
    "there is a sigmoid after the last layer: a network here returns logits": torch.sigmoid,
}
INPUT = {
    "": lambda x: x,
    "images are shifted and scaled by MNIST's mean and deviation inside: they are to be taken as they come":
        lambda x: (x - 0.1307) / 0.3081,
    "images are brought into [-1, 1] inside: they are to be taken as they come": lambda x: 2 * x - 1,
    "images are divided by 255 inside: they lie in [0, 1] as they come": lambda x: x / 255,
}
OTHER = {"tanh": torch.tanh, "leaky ReLUs": F.leaky_relu, "GELUs": F.gelu, "sigmoids": torch.sigmoid, "ELUs": F.elu,
         "SiLUs": F.silu, "ReLU6s": F.relu6}


def straight(relu, f, before):
    return relu(f)


def behind(relu, f, before):
    """A shortcut that ends behind the activation."""
    return relu(f) + before


def inside(relu, f, before):
    """A shortcut that ends before the activation."""
    return relu(f + before)


AROUND = "there is a shortcut around the {}, as in a residual network: none is asked for"
SHORTCUTS = {"": (straight, straight), AROUND.format("second dense layer and its ReLU"): (straight, behind),
             AROUND.format("second dense layer"): (straight, inside),
             AROUND.format("first dense layer and its ReLU"): (behind, straight),
             AROUND.format("first dense layer"): (inside, straight), AROUND.format("dense layers"): (inside, inside),
             AROUND.format("dense layers and their ReLUs"): (behind, behind)}


def other_activations(n: int) -> dict[str, tuple[Callable, ...]]:
    """Networks in which another function stands in the place of all n ReLUs."""
    return {f"its activations are {words}: ReLUs are asked for": (one,) * n for words, one in OTHER.items()}


def none(f: Tensor) -> Tensor:
    """In the place of an activation that is missing."""
    return f


class Dropout(NamedTuple):
    """One that is asked for, of one half: where it belongs, and of how many channels its input is."""

    where: str
    channels: int = 1


class Role(NamedTuple):
    """What a recorded parameter is taken for: its number, its values in the expected shape, and whether it stands on
    its side."""

    number: int
    values: Tensor
    turned: bool


def network(formula: Formula, shapes: tuple[Shape, ...], *, where: str, marks: tuple[float, float, float],
            dropouts: dict[int, Dropout] | None = None, hint: Callable = lambda shapes: "",
            misplaced: dict[str, Callable] | None = None) -> Callable:
    """A judge: `marks` for answers in eval mode, networks of their own, and training mode.

    The formula gets a case with the images `x`, the weights `w` of these shapes, and `tap(i, f)`, which it calls with
    the input f of the i-th weight where one of the `dropouts` {i: ...} belongs. `hint(shapes)` may name the mistake
    behind other shapes; `misplaced` {words: case -> candidates (n, K)} are inputs of the first dropout's layer that
    tell of another place.
    """
    def judge(inputs: dict[str, Case], record: Record) -> Verdict:
        if "network" in record.notes:
            raise Wrong(f"the function returned {record.notes['network']}, not a network (nn.Module).")
        ran(record, ["network"])
        found, case, classes = Marks(where), inputs["main"], shapes[-1][0]
        seen = [tuple(int(n) for n in row if n) for row in record.tensor("shapes", None, 4)]
        record.tensor("logits", len(case.x), classes)
        problem, roles = _sizes(seen, shapes, hint), None
        if not problem:
            problem, roles = _answers(case, record, formula, seen, shapes)
        found.give(marks[0], not problem, problem)
        if not problem:
            found.give(marks[1], not (own := _own(record)), own)
        if dropouts or not problem:
            said = (_training(case, record, formula, roles, dropouts or {}, misplaced or {}, right=not problem) if roles
                    else _drops(record, seen, len(dropouts)))
            found.give(marks[2], not said, "" if problem else said)
        return found.verdict()

    judge.formula = formula
    return judge


def _own(record: Record) -> str:
    if record.number("shared"):
        return "two calls return networks that share their weights: each call must build a new one."
    return "every call gives the same first weights: is a seed set inside?" if record.number("alike") else ""


def _sizes(seen: list[Shape], expected: tuple[Shape, ...], hint: Callable) -> str:
    """What is wrong with the parameters, whatever their layout; empty if they can be those that are expected."""
    found, right = (Counter(map(prod, shapes)) for shapes in (seen, expected))
    if found == right:
        return ""
    missing, more = right - found, found - right
    said = (f"it has {sum(map(prod, seen)):,} parameters, and {sum(map(prod, expected)):,} are right")
    kernels = {shape[2:] for shape in seen if len(shape) == 4} - {shape[2:] for shape in expected if len(shape) == 4}
    vectors = {prod(shape) for shape in seen if len(shape) == 1}
    if kernels:
        why = f"a convolution has a kernel of {' x '.join(map(str, min(kernels)))}, which is not asked for"
    elif more and not missing and set(more) <= vectors:
        why = f"{more.total()} vectors are too many: is there a normalisation? None is asked for"
    elif missing and not more and set(missing) <= {prod(shape) for shape in expected if len(shape) == 1}:
        why = "biases are missing"
    else:
        why = hint(seen) or _layers(seen, expected) or (f"there are {len(seen)} weights and biases, {missing.total()} "
                                                        "of the expected sizes are missing")
    return f"{said}: {why}."


def _layers(seen: list[Shape], expected: tuple[Shape, ...]) -> str:
    """In what the layers with weights differ: in their number, or in how many outputs one has; empty if in neither."""
    found, right = ([shape[0] for shape in shapes if len(shape) > 1] for shapes in (seen, expected))
    if len(found) != len(right):
        return f"there are {len(found)} layers with weights, and {len(right)} are asked for"
    for kind in (4, 2):
        other, wanted = ({shape[0] for shape in shapes if len(shape) == kind} for shapes in (seen, expected))
        if more := sorted(other - wanted):
            channels = "channels" if kind == 4 else "outputs"
            return (f"a layer has {more[0]} {channels}, and layers with {' and '.join(map(str, sorted(wanted)))} are "
                    "asked for")
    return ""


def _roles(case: Case, seen: list[Shape], expected: tuple[Shape, ...]) -> Iterator[list[Role]]:
    """Every way in which the recorded parameters can be the expected ones."""
    values = [part.double() for part in case.weights(seen)]
    groups = {size: [i for i, shape in enumerate(seen) if prod(shape) == size] for size in set(map(prod, expected))}
    places = {size: [i for i, shape in enumerate(expected) if prod(shape) == size] for size in groups}
    for orders in product(*(permutations(group) for group in groups.values())):
        number = {place: i for group, order in zip(places.values(), orders, strict=True)
                  for place, i in zip(group, order, strict=True)}
        yield from (list(roles) for roles in product(*(
            list(_forms(number[place], values[number[place]], shape)) for place, shape in enumerate(expected))))


def _forms(number: int, values: Tensor, shape: Shape) -> Iterator[Role]:
    matrix = (shape[0], prod(shape[1:]))
    if values.ndim != 2 or tuple(values.shape) == matrix:
        yield Role(number, values.reshape(shape), False)
    if values.ndim == 2 and tuple(values.T.shape) == matrix:
        yield Role(number, values.T.reshape(shape), True)


def _answers(case: Case, record: Record, formula: Formula, seen, expected) -> tuple[str, list[Role] | None]:
    """Why the recorded logits are not those of the formula (empty if they are), and which parameter is what."""
    found = record.tensor("logits", *record.tensors["logits"].shape)
    ways = list(_roles(case, seen, expected))
    if not close(record.tensor("once more", *found.shape), found):
        return ("in eval mode it gives two different answers to the same images: dropout must be active in training "
                "alone (F.dropout needs training=self.training)."), ways[0] if ways else None
    cases = [case.with_(x=case.x.double(), w=[role.values for role in roles], tap=lambda i, f: f) for roles in ways]
    for roles, one in zip(ways, cases, strict=True):
        if close(found, formula.right(one), atol=1e-4):
            alone = close(record.tensor("one image", 1, found.shape[1]), found[:1], atol=1e-4)
            return "" if alone else "a single image gets another answer than in a batch.", roles
    for mistake in formula.mistakes(most=2):  # two of them in the usual layout alone, for every way costs its forwards
        for roles, one in list(zip(ways, cases, strict=True))[: None if mistake.size == 1 else 1]:
            if close(found, mistake.value(one), atol=1e-4):
                return f"the weights have the right shapes, but {mistake.text}.", roles
    return ("the weights have the right shapes, but the answers are not those of this network: compare the order of "
            "the layers, the activations and the poolings."), ways[0] if ways else None


def _drops(record: Record, seen: list[Shape], asked: int) -> str:
    """Whether as many dense layers as were asked for see more zeros in training than in eval mode, where no more can be
    said: the network is another one."""
    def zeros(name: str, i: int) -> float:
        part = record.tensors.get(f"{name}, columns {i}", torch.ones(1))
        return (part.abs() <= 1e-6 * part.abs().max()).double().mean().item()

    dense = [i for i, shape in enumerate(seen) if len(shape) == 2]
    more = sum(zeros("in training", i) - zeros("logits", i) > 0.3 * (1 - zeros("logits", i)) for i in dense)
    return "" if more == asked and asked else f"there are {more} dropouts of one half, and {asked} are right."


def _training(case, record, formula, roles, dropouts, misplaced, *, right: bool) -> str:
    """What is wrong with the network in training mode; where its answers are wrong anyway, with its dropouts alone."""
    z, again = (record.tensor(name, *record.tensors["logits"].shape) for name in ("in training", "another training"))
    if right and not close(record.tensor("afterwards", *z.shape), record.tensor("logits", *z.shape)):
        return ("its answers in eval mode are others once it was asked in training mode: there is a batch "
                "normalisation, and none is asked for.")
    if not dropouts:
        return "" if close(z, record.tensor("logits", *z.shape)) else (
            "it answers differently in training mode, and always in the same way: there is a normalisation, and none "
            "is asked for." if close(z, again) else
            "it answers differently in training mode: there is a dropout, and none is asked for.")
    one = case.with_(x=case.x[:1].double(), w=[role.values for role in roles])
    taps = {i: _Tap(record, roles[i], dropout) for i, dropout in dropouts.items()}
    reached = formula.right(one.with_(tap=lambda i, f: taps[i](f)))
    missing = [tap.dropout.where for tap in taps.values() if tap.problem == "missing"]
    if len(missing) == len(taps):
        return f"there is no dropout in training: one of 0.5 belongs {' and one '.join(missing)}."
    if missing:
        place = list(dropouts.values()).index(next(d for d in dropouts.values() if d.where == missing[0]))
        return f"the {('first', 'second', 'third')[place]} dropout is missing: one of 0.5 belongs {missing[0]}."
    for tap in taps.values():
        if tap.problem == "uneven" and right:
            plain = one.with_(tap=lambda i, f: f)
            return next((f"{words}." for words, inputs in misplaced.items() if tap.among(inputs(plain))),
                        "in training something else changes what the dropouts see: another dropout before, one that "
                        "does not double what it keeps, or a normalisation.")
        if tap.problem not in ("", "uneven"):
            return tap.problem
    return "" if not right or close(reached, z[:1], atol=1e-3) else (
        "the dropout in training is not that of one half, with what is kept doubled.")


class _Tap:
    """Reads off the gradient on a layer's weights which part of its input was dropped, and drops the same part.

    For one image that gradient is the outer product of what comes back and what goes in: its columns, added up, are the
    input times one factor. So input by input the ratio to what goes in without dropout is that factor, or 0.
    """

    def __init__(self, record: Record, role: Role, dropout: Dropout):
        side = "rows" if role.turned else "columns"
        self.dropout, self.problem = dropout, ""
        self.found = record.tensors.get(f"in training, {side} {role.number}", torch.zeros(1)).double()

    def __call__(self, f: Tensor) -> Tensor:
        if self.found.shape != f.shape[1:]:
            self.problem = "uneven"
            return f
        live = f[0].abs() > 1e-6 * f.abs().max()
        ratio = torch.where(live, self.found / torch.where(live, f[0], 1.0), 0.0)
        on = ratio.abs() > 1e-4 * ratio.abs().max()
        self.scale = ratio[on].median() if on.any() else torch.tensor(1.0)
        share = 1 - on[live].double().mean().item() if live.any() else 0.0
        if not close(ratio[on], self.scale.expand_as(ratio[on]), rtol=2e-2):
            self.problem = "uneven"
        elif share == 0:
            self.problem = "missing"
            return f
        elif self.dropout.channels > 1 and self._whole(on, live):
            self.problem = "dropout removes whole channels (Dropout2d): it should remove single numbers (Dropout)."
        elif abs(share - 0.5) > 2.5 / live.sum().item() ** 0.5:
            self.problem = (f"the dropout {self.dropout.where} removes {share:.0%} of the numbers: one half is asked "
                            "for.")
        return torch.where(on, 2 * f, 0.0)

    def _whole(self, on: Tensor, live: Tensor) -> bool:
        on, live = (part.reshape(self.dropout.channels, -1) for part in (on, live))
        return bool(((on == live).all(dim=1) | ~on.any(dim=1)).all())

    def among(self, candidates: Tensor) -> bool:
        """Whether everything that came in is 0 or one of these values (n, K), up to a factor."""
        if candidates.shape[-1] != len(self.found):
            return False
        found = self.found / self.found[self.found.abs().argmax()]
        for top in candidates.abs().flatten().topk(min(50, candidates.numel())).values:
            gaps = (found - candidates / top).abs().min(dim=0).values
            if bool((torch.minimum(gaps, found.abs()) < 1e-4).all()):
                return True
        return False
