"""What a reader of lesson 11 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case

NAMES = ("small", "middle", "large")


def pilots(seed: int) -> dict[str, Case]:
    """Paired differences of a pilot, how many seeds are meant, and the smallest difference that is to be seen."""
    def case(i: int, k: int, ratio: float) -> Case:
        draw = generator(seed, i, 111)
        x = torch.randn(k, generator=draw).double()
        spread = 0.004 + 0.01 * torch.rand((), generator=draw).item()
        values = 0.012 + spread * (x - x.mean()) / x.std()
        n = torch.randint(4, 30, (), generator=draw).item()
        return Case(pilot=values, n=n + (n == k), effect=spread / ratio)

    return {name: case(i, k, ratio) for i, (name, k, ratio) in enumerate(
        zip(NAMES, (9, 6, 8), (0.5, 1.8, 2.4), strict=True))}


def believed(seed: int) -> dict[str, Case]:
    """Logits at several temperatures, a teacher that is right about some images, and what a wrong image counts."""
    def case(i: int, one: Case) -> Case:
        y = one.y.clone()
        y[:2] = one.z_t[:2].argmax(dim=1)
        y[2] = (one.z_t[2].argmax() + 1) % one.z_t.shape[1]
        z_s = one.z_s.clone()
        z_s[2, y[2]] = z_s[2].max() + 1     # the student is right where its teacher is wrong
        return one.with_(y=y, z_s=z_s, keep=0.1 + 0.3 * torch.rand((), generator=generator(seed, i, 112)).item())

    return {name: case(i, one) for i, (name, one) in enumerate(logits(seed).items())}


width_at = loss(pilots, lambda f, c: f(c.pilot.tolist(), c.n), *NAMES, at="")
seeds_for = loss(pilots, lambda f, c: f(c.pilot.tolist(), c.effect), *NAMES, at="")
trusted_loss = loss(believed, lambda f, c: f(c.z_s, c.z_t, c.y, c.T, c.keep), "cold", "warm", "hot")
