"""What the recorded weights of trained networks say, computed again: how well they do, and on which images they learnt.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse import data
from kdcourse.data import Split
from kdcourse.marking.judges.base import Marks, ran
from kdcourse.marking.judges.logits import COMBINED
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.judges.training import adam
from kdcourse.marking.record import Case, Record, Verdict, Wrong

NEAR = 0.002  # how far a reported share may be off
TOLD = 2  # standard errors: who learnt from the training images is better on others by 0.4 at most (n = 31)
SAME = 0.05  # of the way that weights went: rounding adds up over a training, and another training is far


class Network(NamedTuple):
    """A network that is expected: its shapes in their order, `forward(w, x)`, and the accuracy on test images of one
    that has learnt."""

    shapes: tuple[tuple[int, ...], ...]
    forward: Callable
    floor: float


@cache
def images(source: str, part: str) -> tuple[Tensor, Tensor]:
    """Images as floats in [0, 1] and labels, of a part (train, valid, test) of a source."""
    split = getattr(data.load(source), part)
    return split.x.double() / 255, split.y


def accuracy(z: Tensor, y: Tensor) -> float:
    return (z.argmax(dim=1) == y).double().mean().item()


def answers(c: Case, name: str, part: str) -> Tensor:
    """The logits of a network about a part of the images; kept in the case."""
    if (name, part) not in c.kept:
        c.kept[name, part] = c.networks[name](images(c.source, part)[0])
    return c.kept[name, part]


def on(part: str) -> Callable:
    return lambda c, name: accuracy(answers(c, name, part), images(c.source, part)[1])


def other(c: Case, name: str) -> str:
    return next(one for one in c.networks if one != name)


REPORTED = Formula(lambda c, of, scale: {name: scale(of(c, name)) for name in c.networks}, of={
    "": on("test"), "the accuracies of the two networks are exchanged": lambda c, name: on("test")(c, other(c, name)),
    "it was measured on the validation images": on("valid"), "it was measured on the training images": on("train"),
}, scale={
    "": lambda a: a, "it is in percent, and a share in [0, 1] is asked for": lambda a: 100 * a,
    "it is the share of wrong answers": lambda a: 1 - a,
})


def retrained(start: list[Tensor], forward: Callable, split: Split, z_t: Tensor, *, T: float, alpha: float, epochs: int,
              lr: float, batch_size: int, seed: int) -> Tensor:
    """The weights at the end of a distillation by Adam with the order of images that (seed, epoch) draws."""
    w, memory = torch.cat([part.flatten() for part in start]).requires_grad_(), {}
    for epoch in range(epochs):
        for batch in split.batches(batch_size, seed=seed, epoch=epoch):
            parts = [part.reshape(one.shape) for part, one in zip(w.split([one.numel() for one in start]), start,
                                                                 strict=True)]
            z_s = forward(parts, batch.x.to(w.dtype))
            loss = COMBINED.right(Case(z_s=z_s, z_t=z_t[batch.index], y=batch.y, T=T, alpha=alpha))
            gradient = torch.autograd.grad(loss, w)[0]
            with torch.no_grad():
                adam(w, gradient, memory, lr)
    return w.detach()


def weights(networks: dict[str, Network], *, source: str, where: str, trained: float, reported: float,
            suspects: Callable = lambda record, networks: (), also: tuple = ()) -> Callable:
    """A judge of networks that were trained on a source: `trained` and `reported` are the marks for each, and `also`
    (marks, problem(record, w) -> words, "" if there is none) what else counts where a network has learnt.

    `suspects(record, w)` gives, of the weights w {name: list} that were recorded, (name, words, start, end) of
    trainings that were not asked for. Who trained in exactly that way is told so, and whoever knows other images
    better than those of training.
    """
    def judge(inputs: dict, record: Record) -> Verdict:
        ran(record, ["networks"])
        found = Marks(where)
        c = Case(source=source, kept={}, networks={
            name: _network(record, name, networks, where) for name in networks})
        w = {name: _weights(record, name) for name in networks}
        recognised = _recognised(record, w, suspects)
        learnt = {name: on("test")(c, name) >= one.floor for name, one in networks.items()}
        for name, one in networks.items():
            known = (recognised.get(name) or better_known(c, name)) if learnt[name] else ""
            found.give(trained, learnt[name] and not known, known or (
                f"the {name} reads {on('test')(c, name):.1%} of the test images, recomputed from its weights; at least "
                f"{one.floor:.0%} is expected of a trained one."))
        _reported(found, record, c, learnt, reported)
        for weight, problem in also if any(learnt.values()) else ():
            said = told(problem, record, w)
            found.give(weight, not said, said)
        return found.verdict()

    return judge


def better_known(c: Case, name: str) -> str:
    """Words for which other images a network knows better than the training images; empty if there are none."""
    loss = {part: F.cross_entropy(answers(c, name, part), images(c.source, part)[1], reduction="none")
            for part in ("train", "valid", "test")}
    mean, error = ({part: of(each).item() for part, each in loss.items()} for of in (
        torch.mean, lambda each: each.var() / len(each)))
    for part, words in ("test", "test"), ("valid", "validation"):
        if mean["train"] - mean[part] > TOLD * (error["train"] + error[part]) ** 0.5:
            return (f"the {name} knows the {words} images better than the training images, from which it was to learn "
                    f"(mean cross-entropy {mean[part]:.3f} there, {mean['train']:.3f} here): which did it see?")
    return ""


def _reported(found: Marks, record: Record, c: Case, learnt: dict[str, bool], marks: float) -> None:
    """Give so many marks for each network about which the right number is told."""
    if note := record.notes.get("reported"):
        names = " and ".join(f'"{name}"' for name in learnt)
        found.give(marks, False, f"accuracies is {note}, and a dict with the keys {names} is expected.")
        return
    said = {name: record.number(f"{name} reported") for name in learnt}
    for name in learnt:
        near = abs(said[name] - REPORTED.right(c)[name]) < NEAR
        found.give(marks, learnt[name] and near, _misreported(c, name, said) if learnt[name] else "")


def told(problem: Callable, record: Record, w: dict[str, list[Tensor]]) -> str:
    """The words for a problem, "" if there is none."""
    try:
        return problem(record, w)
    except Wrong as wrong:
        return str(wrong)


def _network(record: Record, name: str, networks: dict[str, Network], where: str) -> Callable:
    """The network with the recorded weights; raises `Wrong` where they are those of another one."""
    w = _weights(record, name)
    shapes = tuple(tuple(part.shape) for part in w)
    if shapes != networks[name].shapes:
        others = [one for one in networks if networks[one].shapes == shapes]
        raise Wrong(f"the {name} " + (f"has the layers of a small_{others[0]}: are they exchanged?" if others else
                                      f"has other layers than small_{name} gives it: leave them as they are.")
                    + f" Read {where}.")
    return lambda x: networks[name].forward(w, x)


def _misreported(c: Case, name: str, said: dict[str, float]) -> str:
    right = REPORTED.right(c)[name]
    if abs(said[name] - right) < NEAR:
        return ""
    text = next((one.text for one in REPORTED.mistakes()
                 if abs(one.value(c)[name] - said[name]) < NEAR and (
                     "exchanged" not in one.text or abs(one.value(c)[other(c, name)] - said[other(c, name)]) < NEAR)),
                "was it measured in training mode, or before the training?")
    return (f"you report {said[name]:.4g} for the {name}, and its weights give {right:.4f} on the test images: "
            f"{text.rstrip('?')}{'?' if text.endswith('?') else '.'}")


def _weights(record: Record, name: str) -> list[Tensor]:
    return [record.tensors[f"{name} {i}"].double() for i in range(64) if f"{name} {i}" in record.tensors]


def _recognised(record: Record, w: dict[str, list[Tensor]], suspects: Callable) -> dict[str, str]:
    """By the names of networks, which training that was not asked for gives exactly their weights."""
    found = {}
    for name, words, start, end in suspects(record, w):
        recorded = torch.cat([part.flatten() for part in w[name]])
        if (recorded - end).norm() <= SAME * (end - torch.cat([part.flatten() for part in start])).norm():
            found.setdefault(name, f"the {name}'s weights are those of {words}.")
    return found
