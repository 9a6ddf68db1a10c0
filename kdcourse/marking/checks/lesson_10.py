"""What a reader of lesson 10 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case

NAMES = ("few", "some", "many")


def values(seed: int) -> dict[str, Case]:
    """Numbers, most of them between the ends of a grid and some beyond, and how many bits there are."""
    def case(i: int, bits: int) -> Case:
        draw = generator(seed, i, 101)
        low, high = (-1 - torch.rand((), generator=draw)).item(), (2 + torch.rand((), generator=draw)).item()
        x = low + (high - low) * torch.rand(40, generator=draw)
        x[:4] = torch.tensor([low - 1, high + 1, 0.0, high])
        return Case(x=x, low=low, high=high, bits=bits, probe=torch.rand(40, generator=draw) + 0.5)

    return {name: case(i, bits) for i, (name, bits) in enumerate(zip(NAMES, (2, 4, 8), strict=True))}


def layers(seed: int) -> dict[str, Case]:
    """Whole numbers that stand for images and for weights, with their scales and the zero point of the images."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 102)
        q_x = torch.randint(256, (n, 5), generator=draw)
        q_w = torch.randint(-127, 128, (5, 5), generator=draw)
        s_x, s_w = 0.005 + 0.01 * torch.rand((), generator=draw), 0.002 + 0.02 * torch.rand(5, generator=draw)
        return Case(q_x=q_x, q_w=q_w, s_x=s_x, s_w=s_w, zero=40 + 30 * i, probe=torch.rand(n, 5, generator=draw) + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (3, 4, 7), strict=True))}


def rounded(seed: int) -> dict[str, Case]:
    """Weights, and the same rounded."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 103)
        w = torch.randn(n, 4, generator=draw)
        return Case(w_float=w, w_rounded=(w * 2).round() / 2, probe=torch.rand(n, 4, generator=draw) + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (3, 5, 8), strict=True))}


def depending(c: Case) -> torch.Tensor:
    """The rounded weights, with a gradient of their own, as where the scale is the weights': it is not to count."""
    return c.w_rounded + 3 * (c.w_float - c.w_float.detach())


def sure(seed: int) -> dict[str, Case]:
    """How sure two, three or four exits are about some images, what each costs, and a threshold that one of them meets
    exactly."""
    def case(i: int, exits: int, n: int) -> Case:
        draw, places = generator(seed, i, 104), torch.arange(exits)
        confidence = 0.3 + 0.7 * torch.rand(exits, n, generator=draw)
        confidence[:, 0] = 0.4 + 0.05 * places                  # of this image nobody is sure
        confidence[0, 1], confidence[1, 1] = 0.8, 0.99          # of this one the first is just sure enough
        confidence[:, 2] = torch.tensor([0.4, 0.9, 0.99, 0.99])[:exits]
        return Case(confidence=confidence, costs=torch.tensor([10.0, 25.0, 70.0, 180.0])[:exits] + i, threshold=0.8)

    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, ((3, 6), (4, 9), (2, 15)), strict=True))}


stored = loss(values, lambda f, c: f(c.x, c.low, c.high, c.bits), *NAMES, at="")
layer_in_integers = loss(layers, lambda f, c: f(c.q_x, c.q_w, c.s_x, c.s_w, c.zero), *NAMES, at="")
rounded_with_gradient = loss(rounded, lambda f, c: f(c.w_float, depending(c)), *NAMES, at="w_float")
mean_cost = loss(sure, lambda f, c: f(c.confidence, c.costs, c.threshold), *NAMES, at="")
