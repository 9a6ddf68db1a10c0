"""Draws what experiments are made with: temperatures, seeds and settings, and when to stop.

There are two cases, whose values overlap: what stays from one call to the next shows.
"""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.experiment import MOST_LESSONS, noise
from kdcourse.marking.record import Case


def experiments(seed: int) -> dict[str, Case]:
    """Two sets of temperatures, of seeds (more than temperatures) and settings; the sets overlap."""
    cases = {}
    for key, name in enumerate(("first", "second")):
        draw = generator(seed, 6, key)
        temperatures = ([1.0, 2.0, 4.0, 16.0, 32.0], [1.0, 4.0, 9.0, 27.0], [2.0, 4.0, 64.0])[(seed + key) % 3]
        cases[name] = Case(seeds=(torch.randperm(50, generator=draw)[:8] + 1).tolist(), temperatures=temperatures,
                           alpha=0.3 + 0.4 * torch.rand((), generator=draw).item(), T=temperatures[-2],
                           noise=noise(seed, 7, key))
    return cases


def stops(seed: int) -> dict[str, Case]:
    """When a teacher is to stop, and the seed it is made with."""
    cases = {}
    for key, name in enumerate(("first", "second")):
        draw = generator(seed, 12, key)
        cases[name] = Case(stops=sorted((torch.randperm(7, generator=draw)[:3] + 2).tolist()), noise=noise(seed, key),
                           seed=torch.randint(100, (), generator=draw).item(), lessons=MOST_LESSONS)
    return cases
