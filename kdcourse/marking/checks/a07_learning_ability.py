"""Exercise 07, learning ability, asking half: the names are those of the checks in the notebook."""

import torch
from torch import Tensor

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss, slope
from kdcourse.marking.record import Case

CASES = ("cold", "warm", "hot")
NETWORKS = ("z_s", "z_1", "z_2", "z_t")


def steps(seed: int) -> dict[str, Case]:
    """Logits of a student, two learners and a teacher, weights, and numbers by which the gradients of all are told."""
    def case(i: int, one: Case) -> Case:
        draw = generator(seed, i, 71)
        z_1, z_2 = (2.5 * torch.randn(one.z_s.shape, generator=draw) for _ in range(2))
        return Case(z_s=one.z_s, z_t=one.z_t, z_1=z_1, z_2=z_2, y=one.y, T=one.T, lam=one.alpha, w=0.25 + 0.1 * i,
                    told=torch.randn(4, *one.z_s.shape, generator=draw), probe=torch.rand(5, generator=draw) + 0.5)

    return {name: case(i, one) for i, (name, one) in enumerate(logits(seed).items())}


def value_and_gradients(answer, c: Case) -> Tensor:
    """The loss, and of the gradient on each of four networks a sum with random factors: none where it has none."""
    z = [getattr(c, name).clone().requires_grad_() for name in NETWORKS]
    value = answer(*z, c.y, T=c.T, lam=c.lam, w=c.w)
    if not isinstance(value, Tensor | float) or torch.as_tensor(value).numel() != 1:
        return value
    value = torch.as_tensor(value)
    numbers = [value.sum(), *(slope(value.sum(), one, told) for one, told in zip(z, c.told, strict=True))]
    return torch.stack([one.detach().double() for one in numbers])


def plans(seed: int) -> dict[str, Case]:
    """Weights of a student's brackets, and of the two parts of the learners' one."""
    def case(i: int) -> Case:
        alpha, beta, lam, *parts = (0.2 + 0.9 * torch.rand(5, generator=generator(seed, i, 72))).tolist()
        return Case(alpha=alpha, beta=beta, lam=lam / 2, parts=(parts[0], parts[1] + 0.3),
                    probe=torch.rand(2, generator=generator(seed, i, 73)).double() + 0.5)

    return {name: case(i) for i, name in enumerate(CASES)}


def pair(found):
    """Two numbers in a tensor, where they are two numbers."""
    if isinstance(found, tuple | list) and len(found) == 2:
        return torch.stack([torch.as_tensor(one).detach().double() for one in found])
    return found


def recordings(seed: int) -> dict[str, Case]:
    """What a network says while it learns: for each epoch an order of the images, and its answers (E, N, K)."""
    def case(i: int) -> Case:
        draw = generator(seed, i, 74)
        epochs, images, classes = 3 + i, 8 + i, 4
        said = torch.randn(epochs, images, classes, generator=draw)
        order = torch.stack([torch.randperm(images, generator=draw) for _ in range(epochs)])
        return Case(said=said, order=order, probe=torch.rand(said.shape, generator=draw) + 0.5)

    return {name: case(i) for i, name in enumerate(CASES)}


def recorded(answer, c: Case):
    """The table that an answer makes of a training: its logits are overwritten when the next batch comes, and an epoch
    is trained once, after the one before it."""
    epochs, images, classes = c.said.shape
    coming = iter(range(epochs))

    def batches(epoch: int):
        if epoch != (due := next(coming, None)):
            was = "no epoch" if due is None else f"epoch {due}"
            raise ValueError(f"batches({epoch}) was called where {was} was to come: each epoch once, in order, from 0; "
                             "every call trains the network")
        room = torch.zeros(3, classes)
        for index in c.order[epoch].split(3):
            room[: len(index)] = c.said[epoch, index]
            yield index, room[: len(index)]

    return answer(batches, epochs, images, classes)


def lengths(seed: int) -> dict[str, Case]:
    """How many epochs a student has, and how many were recorded."""
    draw = generator(seed, 75)
    return {name: Case(epochs=epochs, recorded=n, probe=torch.rand(24, generator=draw).double() + 0.5)
            for name, (epochs, n) in {"cold": (8, 20), "warm": (20, 8), "hot": (12, 12)}.items()}


def paces(answer, c: Case) -> Tensor:
    found = torch.zeros(24, dtype=torch.double)
    for epoch in range(c.epochs):
        found[epoch] = float(answer(epoch, c.epochs, c.recorded)) + 1
    return found


def paths(seed: int) -> dict[str, Case]:
    """Logits of a student and of a learner over epochs (E, N, K), those of a teacher (N, K); a number an epoch."""
    def case(i: int) -> Case:
        draw = generator(seed, i, 76)
        z_s, z_l = (1.5 * torch.randn(4 + i, 6, 5, generator=draw) for _ in range(2))
        return Case(z_s=z_s, z_l=z_l, z_t=2.5 * torch.randn(6, 5, generator=draw),
                    probe=torch.rand(4 + i, generator=draw) + 0.5)

    return {name: case(i) for i, name in enumerate(CASES)}


whole_step = loss(steps, value_and_gradients, *CASES, at="")
matched_weights = loss(plans, lambda f, c: pair(f(c.alpha, c.beta, c.lam, c.parts)), *CASES, at="")
trajectory_table = loss(recordings, recorded, *CASES, at="")
learner_epoch = loss(lengths, paces, *CASES, at="")
nearer = loss(paths, lambda f, c: f(c.z_s, c.z_t, c.z_l), *CASES, at="")
