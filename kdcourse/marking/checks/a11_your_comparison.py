"""Exercise 11, your comparison, asking half: the names are those of the checks in the notebook."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.hand_in import hand_in
from kdcourse.marking.checks.lesson_11 import NAMES
from kdcourse.marking.checks.loss import loss, numbers
from kdcourse.marking.record import Case

VERDICTS = ("better", "worse", "equal", "inconclusive")
SPREADS = {"A": (9.0, 0.004), "B": (3.4, 0.005), "C": (3.0, 0.006), "D": (0.5, 0.003), "E": (1.0, 0.012),
           "F": (9.0, 0.001)}  # t, one SD: F is clear, and lies within most margins
NEAR = {"B": (3.3, 0.005), "C": (3.15, 0.006)}  # C's p value times 3 is below 0.05, B's smaller one times 4 is not
MARGINS = (0.005, 0.002, 0.008)
CLEAR = "clear"  # a pilot of differences that two seeds show
TOLD = (  # of these comparisons the report speaks; "clear" is the direction in which the mean lies
    {"A": "clear", "C": "clear", "D": "equal"}, {"B": "clear", "A": "clear", "C": "clear", "E": "equal"},
    {"B": "inconclusive", "C": "inconclusive", "D": "inconclusive", "E": "inconclusive"})


def families(seed: int) -> dict[str, Case]:
    """Runs of seven arms by seed, six comparisons, and what a report says of some. The baseline has a seed more, and
    the seeds of most arms stand in an order of their own."""
    def case(i: int, told: dict[str, str]) -> Case:
        draw, spreads = generator(seed, i, 1101), SPREADS | (NEAR if i == 2 else {})
        shared, signs = 0.75 + 0.012 * torch.randn(9, generator=draw).double(), {}
        runs = {"baseline": dict(enumerate(shared.tolist()))}
        for name, (t, spread) in spreads.items():
            x = torch.randn(8, generator=draw).double()
            signs[name] = 1 if torch.rand((), generator=draw) < 0.5 else -1
            d = signs[name] * spread * ((x - x.mean()) / x.std() + t / 8**0.5)
            order = range(8) if name == "D" else torch.randperm(8, generator=draw).tolist()
            runs[name] = {at: (shared[at] + d[at]).item() for at in order}
        said = {name: VERDICTS[signs[name] < 0] if word == "clear" else word for name, word in told.items()}
        return Case(runs=runs, comparisons={f"{name} helps": (name, "baseline") for name in SPREADS},
                    margin=MARGINS[i],
                    said={f"{name} helps": word for name, word in said.items()},
                    probe=torch.rand(len(SPREADS), generator=draw) + 0.5)

    return {name: case(i, told) for i, (name, told) in enumerate(zip(NAMES, TOLD, strict=True))}


def coded(value, case: Case):
    """A dict of verdicts as numbers, in the order of the comparisons: 0 where there is none."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TypeError(f"a dict is expected, {{comparison: verdict}}, not a {type(value).__name__}")
    for name, verdict in value.items():
        if name not in case.comparisons:
            raise ValueError(f"{name!r} is none of the comparisons of the plan")
        if verdict not in VERDICTS:
            raise ValueError(f"{verdict!r} is no verdict: {', '.join(VERDICTS[:-1])} or {VERDICTS[-1]} is one")
    return torch.tensor([VERDICTS.index(value[name]) + 1 if name in value else 0 for name in case.comparisons]).double()


def searched(seed: int) -> dict[str, Case]:
    """Accuracy on validation and on test images (settings, 2, seeds): more settings of ours than of the baseline, and
    the best one on validation images is not the best on test images, nor that of the best single seed."""
    def tried(draw: torch.Generator, n: int) -> torch.Tensor:
        means, noise = 0.7 + 0.06 * torch.rand(n, 2, generator=draw), 0.02 * torch.randn(n, 2, 4, generator=draw)
        best = means[:, 0].argmax()
        means[best, 1] = means[torch.arange(n) != best, 1].max() - 0.004 - 0.01 * torch.rand((), generator=draw)
        noise[means[:, 1].argmin(), 1, 2] += 0.2
        return (means[..., None] + noise - noise.mean(2, keepdim=True)).double()

    def case(i: int, n: int, m: int) -> Case:
        draw = generator(seed, i, 1103)
        return Case(ours=tried(draw, n), baseline=tried(draw, m), probe=torch.rand(4, generator=draw).double() + 0.5)

    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, ((6, 2), (7, 3), (9, 4)), strict=True))}


def sequences(seed: int) -> dict[str, Case]:
    """Paired differences in the order in which they were measured, and how many there are when somebody first looks:
    all of one sign, these have a t in a given interval, so that it depends on the quantile whether they are clear. In
    the second case they are, by any quantile. The later ones are larger."""
    def case(i: int, n: int, first: int, low: float, high: float) -> Case:
        draw = generator(seed, i, 1104)
        x, t = torch.rand(n, generator=draw), low + (high - low) * torch.rand((), generator=draw)
        head = x[:first] - x[:first].mean()
        size = 0.004 * torch.cat([1 + head / head.std() * first**0.5 / t, 1.5 + 1.5 * x[first:]])
        return Case(d=(size * torch.where(torch.rand(n, generator=draw) < 0.7, 1, -1)).double(), first=first)

    sizes = ((8, 3, 3.25, 3.45), (9, 4, 30.0, 90.0), (10, 3, 2.1, 2.8))
    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, sizes, strict=True))}


def pilots(seed: int) -> dict[str, Case]:
    """Differences of a pilot in each of several comparisons, and the smallest difference that is to be seen. The means
    lie far apart, so that all differences together spread more than any comparison. The last effect is so large that
    two seeds show it."""
    def case(i: int, k: int, m: int, clear: float) -> Case:
        draw = generator(seed, i, 1105)
        x = torch.randn(m, k, generator=draw).double()
        spread = 0.004 * (1 + torch.arange(m) + torch.rand(m, generator=draw))[torch.randperm(m, generator=draw), None]
        mean = 3 * spread.max() * torch.arange(m)[:, None]
        return Case(pilot=mean + spread * (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True),
                    effect=spread.max().item() * clear * (0.75 + 0.25 * torch.rand((), generator=draw).item()))

    sizes = (5, 3, 1), (6, 4, 1), (8, 2, 1), (4, 3, 90)
    return {name: case(i, *size) for i, (name, size) in enumerate(zip((*NAMES, CLEAR), sizes, strict=True))}


wrong_verdicts = loss(families, lambda f, c: coded(f(c.runs, c.comparisons, c.said, c.margin), c), *NAMES, at="")
what_is_left = loss(searched, lambda f, c: numbers(f(*(
    {f"setting {i}": tuple(one) for i, one in enumerate(tried.tolist())} for tried in (c.ours, c.baseline)))), *NAMES,
    at="")
false_alarms = loss(sequences, lambda f, c: f(c.d.tolist(), c.first), *NAMES, at="")
seeds_for_all = loss(pilots, lambda f, c: f({f"comparison {i}": one.tolist() for i, one in enumerate(c.pilot)},
                                            c.effect), *NAMES, CLEAR, at="")
my_comparison = hand_in("fashion_small", 12)
