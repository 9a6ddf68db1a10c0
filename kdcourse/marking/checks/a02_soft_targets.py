"""Exercise 02, soft targets, asking half: the names are those of the checks in the notebook."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import far, loss
from kdcourse.marking.record import Case

CASES = ("cold", "warm", "hot")


def probed(seed: int) -> dict[str, Case]:
    """Logits and labels at several temperatures, each with a number for every logit, and a second temperature. In
    `far` the student's lie far from 0."""
    found = {name: case.with_(probe=torch.rand(case.z_t.shape, generator=generator(seed, i, 21)) + 0.5, T_rest=1.7 + i)
            for i, (name, case) in enumerate(logits(seed).items())}
    return found | {"far": far(found["warm"], "z_s")}


def audits(seed: int) -> dict[str, Case]:
    """Logits, numbers that make a loss of them whose gradient is no divergence's, and one for each of two answers."""
    return {name: case.with_(bend=torch.rand(case.z_t.shape, generator=generator(seed, i, 22)) + 0.2,
                             probe=torch.rand(2, generator=generator(seed, i, 23)) + 0.5)
            for i, (name, case) in enumerate(logits(seed).items())}


def pair(answer, c: Case):
    """What an audit finds out about a loss: two numbers, in a tensor or in a pair."""
    found = answer(lambda z_s, z_t, T: ((z_s - z_t).square() * c.bend.to(z_s)).sum() / (2 * T), c.z_s, c.z_t, c.T)
    alike = isinstance(found, tuple | list) and len(found) == 2
    return torch.stack([torch.as_tensor(one).detach().double() for one in found]) if alike else found


def alike(seed: int) -> dict[str, Case]:
    """Logits of images of four labels out of seven in any order, one of them with a single image; a number for every
    logit."""
    def case(i: int) -> Case:
        draw = generator(seed, i, 24)
        y = torch.randperm(7, generator=draw)[:4].repeat_interleave(torch.tensor([4, 5, 1, 3 + i]))
        y = y[torch.randperm(len(y), generator=draw)]
        z = 2 * torch.randn(len(y), 7, generator=draw)
        return Case(z_t=z, y=y, probe=torch.rand(z.shape, generator=draw) + 0.5)

    return {name: case(i) for i, name in enumerate(CASES)}


reverse_divergence = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.T), "cold", "warm", "warmer", "hot", "large")
reverse_gradient = loss(probed, lambda f, c: f(c.z_s + getattr(c, "away", 0), c.z_t, c.T), *CASES, "far", at="",
                        own="torch.autograd")
smoothing_teacher = loss(probed, lambda f, c: f(c.y, c.z_t.shape[1], c.T, c.alpha), *CASES, at="")
asymmetric = loss(probed, lambda f, c: f(c.z_t, c.y, c.T, c.T_rest), *CASES, at="")
audit = loss(audits, pair, *CASES, at="")
exchanged = loss(alike, lambda f, c: f(c.z_t, c.y), *CASES, at="")
