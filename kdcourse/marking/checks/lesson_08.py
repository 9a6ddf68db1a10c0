"""What a reader of lesson 08 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case

NAMES = ("few", "some", "many")


def grams(seed: int) -> dict[str, Case]:
    """Gram matrices of two representations of the same images, not centred."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 81)
        a, b = (torch.randn(n, d, generator=draw).double() + 0.5 for d in (3, 4))
        return Case(K=a @ a.T, L=(a[:, :1] + b) @ (a[:, :1] + b).T)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (5, 7, 11), strict=True))}


def answers(seed: int) -> dict[str, Case]:
    """Logits of two networks that are often right, about images of four labels that are not equally many."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 82)
        y = torch.tensor([0, 1, 2, 3] + [0] * (n // 2) + [1] * (n // 4) + [3] * 5)
        z_a, z_b = (2 * torch.randn(len(y), 4, generator=draw) + 2 * torch.eye(4)[y] for _ in range(2))
        return Case(z_a=z_a, z_b=torch.where(torch.rand(len(y), 1, generator=draw) < 0.4, z_a, z_b), y=y)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (16, 24, 40), strict=True))}


def sure(seed: int) -> dict[str, Case]:
    """Logits and labels, and the logarithm of a temperature."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 83)
        y = torch.randint(5, (n,), generator=draw)
        z = 2 * torch.randn(n, 5, generator=draw) + 2 * torch.eye(5)[y]
        return Case(log_T=0.4 + 0.8 * torch.rand((), generator=draw), z=z, y=y)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (6, 8, 12), strict=True))}


unbiased_hsic = loss(grams, lambda f, c: f(c.K, c.L), *NAMES, at="")
corrected_agreement = loss(answers, lambda f, c: f(c.z_a, c.z_b, c.y), *NAMES, at="")
scaled_loss = loss(sure, lambda f, c: f(c.log_T, c.z, c.y), *NAMES, at="log_T")
