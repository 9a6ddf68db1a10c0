"""Judging half, question 2: recorded logits against the forward pass, written out with the same weights."""

from collections import Counter
from collections.abc import Iterator
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.marking.judges.base import Marks, close
from kdcourse.marking.record import Record, Verdict, Wrong

WHERE = "notebook 01, section 1"
TEACHER = ((32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (128, 7744), (128,), (10, 128), (10,))
STUDENT = ((784, 784), (784,), (784, 784), (784,), (10, 784), (10,))
FEATURES = {  # what the first dense layer sees if the convolutions and poolings are otherwise
    12544: "28 x 28 stays 28 x 28 until the last pooling: there is no padding here",
    10816: "the convolutions are padded: there is no padding here",
    1600: "both poolings have stride 2: the first one has stride 1",
    6400: "the strides of the two poolings are exchanged: the first one has stride 1",
    30976: "both poolings have stride 1: the second one has stride 2",
    3136: "the convolutions are padded and both poolings have stride 2: no padding here, and the first has stride 1",
    9216: "a pooling is missing: there is one after each convolution",
    7744: "",
}
DROPOUT = {  # the values of the probe: each unit passes on 1, plus 1 that went through the first dropout
    (0.0, 2.0, 6.0): "",
    (2.0,): "there is no dropout in training: one of 0.5 belongs before each dense layer",
    (1.0, 3.0): "the second dropout is missing: one of 0.5 belongs before the last dense layer",
    (0.0, 4.0): "the first dropout is missing: one of 0.5 belongs between flattening and the first dense layer",
}


def teacher_network(inputs: dict, record: Record) -> Verdict:
    marks = Marks(WHERE)
    _forward(marks, inputs, record, TEACHER, _teacher, weights=(0.6, 0.1))
    values = record.tensor("probe", 64, 10, of="network")
    seen = tuple(sorted({round(value, 3) for value in values.flatten().tolist()}))
    problem = DROPOUT.get(seen, "the dropout in training is not two times 0.5, before the first and before the last "
                          "dense layer")
    if not problem and all(len(set(row[row > 0].tolist())) <= 1 for row in values):
        problem = "dropout removes whole channels (Dropout2d): it should remove single numbers (Dropout)"
    marks.give(0.3, not problem, "" if marks.failed and marks.earned < 0.5 else f"{problem}.")
    return marks.verdict()


def student_network(inputs: dict, record: Record) -> Verdict:
    marks = Marks(WHERE)
    _forward(marks, inputs, record, STUDENT, _student, weights=(0.8, 0.1))
    if marks.earned > 0.5:
        same = close(record.tensor("in training", 5, 10, of="network"), record.tensor("logits", 5, 10))
        marks.give(0.1, same, "it answers differently in training mode: the student has no dropout.")
    return marks.verdict()


def _forward(marks: Marks, inputs: dict, record: Record, expected: tuple, reference, *, weights) -> None:
    if "network" in record.notes:
        raise Wrong(f"the function returned {record.notes['network']}, not a network (nn.Module).")
    shapes = [tuple(int(n) for n in row if n) for row in record.tensor("shapes", None, 4, of="network")]
    problem = _shapes(shapes, expected)
    marks.give(weights[0], not problem and not (problem := _logits(inputs, record, expected, reference)), problem)
    if not problem:
        marks.give(weights[1], record.number("shared") == 0,
                   "two calls return networks that share their weights: each call must build a new one.")


def _shapes(shapes: list[tuple], expected: tuple) -> str:
    if Counter(shapes) == Counter(expected):
        return ""
    found, right = (sum(torch.Size(shape).numel() for shape in these) for these in (shapes, expected))
    said = f"it has {found:,} parameters, and {right:,} are right"
    if expected is TEACHER:
        widths = [shape[1] for shape in shapes if len(shape) == 2 and shape[0] == 128]
        hint = FEATURES.get(widths[0], "") if widths else ""
        if hint:
            return f"{said}: {hint}."
    missing = Counter(expected) - Counter(shapes)
    return f"{said}: there are {len(shapes)} weights and biases, {missing.total()} of the expected shapes are missing."


def _logits(inputs: dict, record: Record, expected: tuple, reference) -> str:
    """Empty if the recorded logits are those of the reference with the same weights; else what is wrong."""
    found, x = record.tensor("logits", 5, 10, of="network"), inputs["x"]
    if not close(record.tensor("once more", 5, 10), found):
        return ("in eval mode it gives two different answers to the same images: dropout must be active in training "
                "alone (F.dropout needs training=self.training).")
    occurrences: dict[tuple, count] = {}
    w = [inputs["weight"](shape, next(occurrences.setdefault(shape, count()))) for shape in expected]
    for name, z in reference(x, w):
        if close(found, z, rtol=1e-3, atol=1e-4):
            if name:
                return f"the weights have the right shapes, but {name}."
            one = record.tensor("one image", 1, 10)
            return "" if close(one, z[:1], atol=1e-4) else "a single image gets another answer than in a batch."
    return ("the weights have the right shapes, but the answers are not those of this network: compare the order of "
            "the layers, the activations and the poolings.")


def _outputs(z: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield "", z
    yield "it returns probabilities: a network here returns logits", z.softmax(1)
    yield "it returns log-probabilities: a network here returns logits", z.log_softmax(1)
    yield "there is a ReLU after the last layer: logits may be negative", z.relu()
    yield "there is a sigmoid after the last layer: a network here returns logits", z.sigmoid()


def _teacher(x: Tensor, w: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    def pool(f, stride):
        return F.max_pool2d(f, 2, stride=stride)

    def run(relus=(True, True, True), average=False) -> Tensor:
        a, b, c = (F.relu if on else (lambda f: f) for on in relus)
        pooled = (lambda f, stride: F.avg_pool2d(f, 2, stride=stride)) if average else pool
        f = pooled(a(F.conv2d(x, w[0], w[1])), 1)
        f = pooled(b(F.conv2d(f, w[2], w[3])), 2)
        return F.linear(c(F.linear(f.flatten(1), w[4], w[5])), w[6], w[7])

    yield from _outputs(run())
    yield "the ReLU after the first convolution is missing", run((False, True, True))
    yield "the ReLU after the second convolution is missing", run((True, False, True))
    yield "the ReLU after the first dense layer is missing", run((True, True, False))
    yield "the ReLUs after the convolutions are missing", run((False, False, True))
    yield "there is no ReLU at all", run((False, False, False))
    yield "the poolings take the mean: they should take the maximum", run(average=True)


def _student(x: Tensor, w: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    def run(w, relus=(True, True)) -> Tensor:
        f = F.linear(x.flatten(1), w[0], w[1])
        f = F.linear(f.relu() if relus[0] else f, w[2], w[3])
        return F.linear(f.relu() if relus[1] else f, w[4], w[5])

    yield from _outputs(run(w))
    yield "", run([*w[2:4], *w[:2], *w[4:]])  # layers that were defined in another order than they are used
    yield "there is no ReLU at all: three dense layers without one are a single one", run(w, (False, False))
    yield "the ReLU after the first dense layer is missing", run(w, (False, True))
    yield "the ReLU after the second dense layer is missing", run(w, (True, False))
