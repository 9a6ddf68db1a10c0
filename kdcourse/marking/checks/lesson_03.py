"""What a reader of lesson 03 writes by hand, asking half: an attention map, a similarity matrix, a regressor's loss."""

import torch
import torch.nn.functional as F

from kdcourse.core import generator
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case


def maps(seed: int) -> dict[str, Case]:
    """Maps of a few images from a narrow student and from a wider teacher, and a matrix from one width to the other."""
    def case(i: int) -> Case:
        draw = generator(seed, i, 5)
        f_s, f_t = (torch.randn(4 + i, C, 3, 5, generator=draw).relu() + 0.1 for C in (3, 6))
        weight = torch.randn(6, 3, generator=draw)
        return Case(f_s=f_s, f_t=(1.5 + i) * f_t, weight=weight)

    return {name: case(i) for i, name in enumerate(("one", "two", "three"))}


def seen(seed: int) -> dict[str, Case]:
    """The same, with numbers that tell one position from another."""
    return {name: case.with_(probe=torch.rand(len(case.f_s), 15, generator=generator(seed, i, 6)) + 0.5)
            for i, (name, case) in enumerate(maps(seed).items())}


def related(seed: int) -> dict[str, Case]:
    """The same, with numbers that tell one pair of images from another."""
    return {name: case.with_(probe=torch.rand(len(case.f_s), len(case.f_s), generator=generator(seed, i, 7)) + 0.5)
            for i, (name, case) in enumerate(maps(seed).items())}


attention_map = loss(seen, lambda f, c: f(c.f_s), "one", "two", "three", at="")
similarity_matrix = loss(related, lambda f, c: f(c.f_s), "one", "two", "three", at="")
regressor_loss = loss(maps, lambda f, c: f(c.f_s, c.f_t, lambda x: F.conv2d(x, c.weight[:, :, None, None])),
                      "one", "two", "three", at="f_s")
