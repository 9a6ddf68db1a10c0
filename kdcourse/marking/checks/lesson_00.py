"""What a reader of lesson 00 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case


def softened_cases(seed: int) -> dict[str, Case]:
    """Logits at several temperatures, each with numbers that tell one probability from another."""
    return {name: case.with_(probe=torch.rand(case.z_t.shape, generator=generator(seed, i)) + 0.5)
            for i, (name, case) in enumerate(logits(seed).items())}


softened = loss(softened_cases, lambda f, c: f(c.z_t, c.T), "cold", "warm", "hot", at="")
share_right = loss(logits, lambda f, c: f(c.z_s, c.y), "cold", "warm", "hot", at="")
