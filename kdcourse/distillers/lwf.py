"""LwF: a network that learns a new task follows what it said before it began, and so keeps the old one."""

import operator
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdcourse.core import Batch, Term
from kdcourse.distillers.base import Distiller, check_weights, hard_labels, switched_on
from kdcourse.losses.base import check_labels, check_temperature, holds
from kdcourse.losses.logits import kd_loss
from kdcourse.teachers import as_teacher


class LwF(Distiller):
    """Learning without forgetting: cross-entropy of the new task + beta `kd_loss` of the old task's logits, from the
    network as it was before. Only images of the new task are seen.

    Li & Hoiem 2017, arXiv:1606.09282, equations 1 to 4; T = 2 and a weight of 1 as there, where the soft term has no
    T^2: the paper's 1 is beta = 0.25 here. `teacher` is a frozen copy of the student, `copy.deepcopy(student)`, made
    before. `old` and `new` list classes by number, None for all of them. `old` are the logits that follow the teacher.
    `new` are those that compete in the cross-entropy: with the new task's classes alone the tasks keep apart, which is
    the paper's setting ("by the task": at the test one is told which task an image is of, and looks at its logits,
    `z[:, old]`); with all of them, the default, the new classes push the old ones down in every step ("by the class":
    nobody tells, and old classes are forgotten all the same). Without either it is `KD` with other weights.

    Raises ValueError for T <= 0, beta below 0, fewer than two classes, a class that is listed twice or is not there, a
    label that is none of `new`, or a teacher that is the student, TypeError for classes that are no integers.
    Introduced in notebook 09.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, old: Sequence[int] | None = None,
        new: Sequence[int] | None = None, T: float = 2.0, beta: float = 1.0,
    ):
        super().__init__(student)
        check_temperature(T)
        check_weights(beta=beta)
        self.teacher, self.T, self.beta = as_teacher(teacher, apart_from=student), T, beta
        self.old, self.new = _classes("old", old), _classes("new", new)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        return switched_on({
            "ce": hard_labels(1.0, self._competing(z_s, batch.y), batch.y),
            "kd": Term(self.beta, kd_loss(_chosen(z_s, self.old), _chosen(z_t, self.old), T=self.T)),
        })

    def _competing(self, z: Tensor, y: Tensor) -> Tensor:
        """The logits (B, K) with the classes that do not compete ruled out."""
        if self.new is None:
            return z
        y = check_labels(z, y)
        _check_there(self.new, z)
        apart = torch.ones(z.shape[1], dtype=torch.bool, device=z.device)
        apart[self.new] = False
        if not holds(~apart[y]):
            raise ValueError(f"labels {sorted(set(y[apart[y]].tolist()))} are none of the new classes {self.new}: "
                             "train on the images of the new task alone, source.with_train(...)")
        return z.masked_fill(apart, -torch.inf)


def _chosen(z: Tensor, classes: list[int] | None) -> Tensor:
    if classes is None:
        return z
    _check_there(classes, z)
    return z[:, classes]


def _check_there(classes: list[int], z: Tensor) -> None:
    if max(classes) >= z.shape[1]:
        raise ValueError(f"class {max(classes)} is not there: {z.shape[1]} logits are of classes 0 to {z.shape[1] - 1}")


def _classes(name: str, classes: Sequence[int] | None) -> list[int] | None:
    if classes is None:
        return None
    try:
        found = [operator.index(each) for each in classes]
    except TypeError:
        message = f"{name} lists classes by number, range(5) say, or is None for all; it is {classes!r}"
        raise TypeError(message) from None
    if len(found) < 2 or len(set(found)) < len(found) or min(found) < 0:
        raise ValueError(f"{name} lists at least two different classes, from 0 up, or is None for all; it is {found}")
    return found
