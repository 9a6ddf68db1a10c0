"""What a reader of lesson 06 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case


def answered_cases(seed: int) -> dict[str, Case]:
    """Tables of student and teacher for a few images, those of the student with another mean in each row; and random
    factors for each image (`probe`)."""
    def case(i: int, given: Case) -> Case:
        draw = generator(seed, i, 6)
        probe, size = (torch.rand(len(given.z_s), generator=draw) + 0.5 for _ in range(2))
        return Case(p_s=size[:, None] * (given.z_s / given.T).softmax(1), p_t=(given.z_t / given.T).softmax(1),
                    probe=probe)
    return {name: case(i, given) for i, (name, given) in enumerate(logits(seed).items())}


def modest_cases(seed: int) -> dict[str, Case]:
    """Probabilities, a share for each image (images, 1), and a random factor for each number."""
    def case(i: int, given: Case) -> Case:
        draw = generator(seed, i, 66)
        return Case(p=(given.z_t / given.T).softmax(1), a=0.2 + 0.7 * torch.rand(len(given.z_t), 1, generator=draw),
                    probe=torch.rand(given.z_t.shape, generator=draw) + 0.5)
    return {name: case(i, given) for i, (name, given) in enumerate(logits(seed).items())}


correlation = loss(answered_cases, lambda f, c: f(c.p_s, c.p_t), "cold", "warm", "warmer", at="")
dist_by_hand = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.y, c.T), "cold", "warm", "warmer", "hot")
mixed = loss(modest_cases, lambda f, c: f(c.p, c.a), "cold", "warm", "hot", at="")
