"""Exercise 10, ship it, asking half: the names are those of the checks in the notebook."""

import torch
from torch import Tensor

from kdcourse.core import generator
from kdcourse.marking.checks.lesson_10 import NAMES
from kdcourse.marking.checks.loss import loss, numbers
from kdcourse.marking.record import Case


def channel(draw: torch.Generator, k: int, steps: int, step: float, n: int) -> tuple[Tensor, Tensor]:
    """Seen values, k + 0.3 steps below 0 and the rest above it, or on one side of 0, and others, none between steps."""
    ends = {0: (0.3 * steps, steps), steps: (-steps, -0.3 * steps)}.get(k, (-k - 0.3, steps - k - 0.3))
    seen = ends[0] + (ends[1] - ends[0]) * torch.rand(7, generator=draw)
    seen[2], seen[5] = ends
    whole = torch.randint(-k - 2, steps - k + 3, (n,), generator=draw)
    return step * seen, step * (whole + 0.8 * torch.rand(n, generator=draw) - 0.4)


def channels(seed: int) -> dict[str, Case]:
    """Values of four channels, and others seen before: on both sides of 0, on one, and once 0 throughout."""
    def case(i: int, n: int, bits: int, dead: bool = False) -> Case:
        draw, steps = generator(seed, i, 1001), 2**bits - 1
        drawn = [channel(draw, k, steps, (0.7 + 0.6 * torch.rand((), generator=draw).item()) * (j + 1) / steps, n)
                 for j, k in enumerate([(steps + 1) // 3, 0, steps, (steps + 1) // 2])]
        seen, x = (torch.stack(each, dim=1) for each in zip(*drawn, strict=True))
        seen[:, 1] *= not dead
        return Case(x=x, seen=seen, bits=bits, probe=torch.rand(n, 4, generator=draw) + 0.5)

    sizes = (6, 3), (8, 4), (11, 8), (5, 5, True)
    return {name: case(i, *size) for i, (name, size) in enumerate(zip((*NAMES, "dead"), sizes, strict=True))}


def layers(seed: int) -> dict[str, Case]:
    """Bytes of images and weights, and scales so that no output lies near a step or the middle of two; the first
    outputs of two images lie beyond both ends."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 1002)
        s_x, s_y = (0.005 + 0.01 * torch.rand((), generator=draw).item() for _ in range(2))
        q_x, q_w = torch.randint(256, (n, 6), generator=draw), torch.randint(-127, 128, (4, 6), generator=draw)
        q_x[:2], q_w[0] = torch.tensor([[250], [5]]), 120
        q_b, steps = torch.randint(-6000, 12000, (4,), generator=draw), torch.tensor([151, 189, 213, 277])
        zero_x = 90 + 20 * i
        while (whole := ((q_x - zero_x) @ q_w.T + q_b).remainder(steps).eq(0).any(dim=0)).any():
            q_b += whole
        return Case(
            q_x=q_x.to(torch.uint8), q_w=q_w.to(torch.int8), q_b=q_b.int(), s_x=s_x, s_w=s_y / s_x / steps,
            zero_x=zero_x, s_y=s_y, zero_y=30 + 11 * i, probe=torch.rand(n, 4, generator=draw) + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (5, 6, 9), strict=True))}


def timed(seed: int) -> dict[str, Case]:
    """Seconds of two networks turn by turn, on a machine whose load changes, with a slow start and interruptions."""
    def case(i: int, n: int, warm: int) -> Case:
        draw = generator(seed, i, 1003)
        load = 1 + 3 * torch.rand(n + warm, 1, generator=draw).double()
        a, b = (load * torch.tensor([0.9, 0.6]) * (1 + 0.3 * torch.rand(n + warm, 2, generator=draw))).T.contiguous()
        a[:warm] *= 3
        a[warm + 2] *= 6
        return Case(a=a, b=b, warm=warm, probe=torch.rand(3, generator=draw) + 0.5)

    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, ((12, 3), (20, 4), (44, 5)), strict=True))}


def exits(seed: int) -> dict[str, Case]:
    """Logits of two, three or four exits, what leaving at each costs, and a threshold for each exit but the last: once
    it is 1, the margin of some images to the last digit."""
    def case(i: int, exits: int, n: int) -> Case:
        draw, places = generator(seed, i, 1004), torch.arange(exits)
        y = torch.randint(4, (n,), generator=draw)
        told = (0.8 + 1.7 * places / (exits - 1))[:, None, None] * torch.eye(4)[y]
        z, thresholds = told + 1.3 * torch.randn(exits, n, 4, generator=draw), 0.55 + 0.03 * i - 0.2 * places[:-1]
        if i == 2:
            z[0, ::3], thresholds[0] = 300 * torch.eye(4)[(y[::3] + torch.arange(len(y[::3])) % 2) % 4], 1.0
        return Case(z=z, y=y, costs=10 * 2.7**places + i, thresholds=thresholds,
                    probe=torch.tensor([40.0, 1.0]) + torch.rand(2, generator=draw))

    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, ((3, 25), (4, 32), (2, 47)), strict=True))}


def systems(seed: int) -> dict[str, Case]:
    """Accuracies and three costs of systems, many of them equal in something, two of the best in everything."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 1005)
        accuracy = torch.randint(70, 80, (n,), generator=draw) / 100
        costs = torch.randint(2, 7, (n, 3), generator=draw).double()
        accuracy[1:6] = torch.tensor([0.81, 0.81, 0.81, 0.5, 0.8])  # twins (1, 3) that throw out 2 by the costs alone
        costs[1:6] = torch.tensor([[3.0, 3, 5], [3, 4, 6], [3, 3, 5], [9, 9, 1], [3, 3, 5]])  # and 5 by the accuracy
        order = torch.randperm(n, generator=draw)
        return Case(accuracy=accuracy[order], costs=costs[order], probe=torch.rand(n, generator=draw) + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (9, 14, 20), strict=True))}


stored_by_channels = loss(channels, lambda f, c: numbers(f(c.x, c.seen, c.bits)), *NAMES, "dead", at="")
layer_in_bytes = loss(layers, lambda f, c: numbers(f(c.q_x, c.q_w, c.q_b, c.s_x, c.s_w, c.zero_x, c.s_y, c.zero_y)),
                      *NAMES, at="")
honest_ratio = loss(timed, lambda f, c: numbers(f(c.a, c.b, c.warm)), *NAMES, at="")
leave_by_margin = loss(exits, lambda f, c: numbers(f(c.z, c.y, c.costs, c.thresholds)), *NAMES, at="")
undominated = loss(systems, lambda f, c: numbers(f(c.accuracy, c.costs)), *NAMES, at="")
