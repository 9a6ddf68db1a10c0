"""Judging half, question 5: the accuracy of the recorded weights on the test images, computed again."""

from functools import cache

import torch.nn.functional as F
from torch import Tensor

from kdcourse import data
from kdcourse.marking.judges.base import Marks
from kdcourse.marking.record import Record, Verdict, Wrong, stopped

WHERE = "notebook 01, section 7"
FLOORS = {"teacher": 0.95, "student": 0.88}  # of the test accuracy of a network that has learnt
SHAPES = {
    "teacher": ((32, 1, 3, 3), (32,), (32, 32, 3, 3), (32,), (64, 128), (64,), (10, 64), (10,)),
    "student": ((64, 64), (64,), (10, 64), (10,)),
}
NEAR = 0.002  # one image of 597


def trained_pair(inputs: dict, record: Record) -> Verdict:
    if note := record.notes.get("pair error"):
        raise Wrong(stopped(note))
    marks, accuracy = Marks(WHERE), {}
    networks = {name: _network(record, name) for name in SHAPES}
    for name, forward in networks.items():
        accuracy[name] = _accuracy(forward, "test")
        marks.give(0.3, accuracy[name] >= FLOORS[name], f"the {name} reads {accuracy[name]:.1%} of the test images, "
                   f"recomputed from its weights; at least {FLOORS[name]:.0%} is expected of a trained one.")
    if note := record.notes.get("accuracies"):
        marks.give(0.4, False, f'accuracies is {note}, and a dict with the keys "teacher" and "student" is expected.')
        return marks.verdict()
    said = {name: record.number(f"{name} accuracy") for name in SHAPES}
    for name, forward in networks.items():
        learnt, near = accuracy[name] >= FLOORS[name], abs(said[name] - accuracy[name]) < NEAR
        marks.give(0.2, learnt and near, "" if not learnt else
                   f"you report {said[name]:.4g} for the {name}, and its weights give {accuracy[name]:.4f} on the test "
                   f"images: {_misreported(name, said, accuracy, forward)}")
    return marks.verdict()


def _network(record: Record, name: str):
    """The network with the recorded weights; raises `Wrong` where they are those of another one."""
    w = [record.tensors[f"{name} {i}"].double() for i in range(9) if f"{name} {i}" in record.tensors]
    shapes, (other,) = tuple(tuple(part.shape) for part in w), (one for one in SHAPES if one != name)
    if shapes != SHAPES[name]:
        why = f"has the layers of a small_{other}: are they exchanged?" if shapes == SHAPES[other] else (
            f"has other layers than small_{name} gives it: leave them as they are.")
        raise Wrong(f"the {name} {why} Read {WHERE}.")
    return lambda x: (_teacher if name == "teacher" else _student)(w, x)


def _misreported(name: str, said: dict, accuracy: dict, forward) -> str:
    (other,) = (one for one in SHAPES if one != name)
    if abs(said[name] / 100 - accuracy[name]) < NEAR:
        return "it is in percent, and a share in [0, 1] is asked for."
    if abs(said[name] - accuracy[other]) < NEAR and abs(said[other] - accuracy[name]) < NEAR:
        return "the accuracies of teacher and student are exchanged."
    for part, images in (("valid", "validation"), ("train", "training")):
        if abs(said[name] - _accuracy(forward, part)) < 1e-6:
            return f"it was measured on the {images} images."
    return "was it measured in training mode, or before the training?"


@cache
def _images(part: str) -> tuple[Tensor, Tensor]:
    split = getattr(data.load("digits"), part)
    return split.x.double() / 255, split.y


def _accuracy(forward, part: str) -> float:
    x, y = _images(part)
    return (forward(x).argmax(dim=1) == y).double().mean().item()


def _teacher(w: list[Tensor], x: Tensor) -> Tensor:
    """The small teacher of the exercise: two convolutions of stride 2 and two dense layers."""
    f = F.relu(F.conv2d(x, w[0], w[1], stride=2, padding=1))
    f = F.relu(F.conv2d(f, w[2], w[3], stride=2, padding=1))
    return F.linear(F.relu(F.linear(f.flatten(1), w[4], w[5])), w[6], w[7])


def _student(w: list[Tensor], x: Tensor) -> Tensor:
    return F.linear(F.relu(F.linear(x.flatten(1), w[0], w[1])), w[2], w[3])
