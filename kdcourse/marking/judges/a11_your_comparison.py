"""Exercise 11, your comparison, judging half: from the definitions, in double precision."""

import math

import torch

from kdcourse.marking.judges.hand_in import EQUAL, UNCLEAR, VERDICTS, hand_in, holm, measured, needed, verdict
from kdcourse.marking.judges.intervals import DEVIATION, t
from kdcourse.marking.judges.lesson_11 import CASES
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

PLAN, SEEDS, REFEREE = (f"notebook 11, section {n}, and the text of the question" for n in (2, 3, 8))


def _pairs(ours, baseline):
    return torch.tensor([(ours[seed], baseline[seed]) for seed in ours if seed in baseline]).double().T


def _unpaired(ours, baseline):
    a, b = _pairs(ours, baseline)
    return measured(a - b, ((a.var() + b.var()) / len(a)).sqrt().item(), 2 * len(a) - 2)


def _without_maximum(p):
    return {name: (len(p) - rank) * p[name] for rank, name in enumerate(sorted(p, key=p.get))}


def _owed(c, pair, adjust, before, unclear, which, within):
    found = {name: pair(c.runs[ours], c.runs[baseline]) for name, (ours, baseline) in c.comparisons.items()}
    p = adjust({name: one[2] for name, one in found.items()}, c)
    margin = within(c)
    right = {name: EQUAL if before(mean, half, margin) else verdict(mean, half, p[name], margin, unclear)
             for name, (mean, half, _) in found.items() if name in p}
    return sum(weight * (VERDICTS.index(right[name]) + 1) for name, weight in zip(found, c.probe, strict=True)
               if name in p and which(c.said.get(name), right[name]))


wrong_verdicts = loss(Formula(_owed, pair={
    "": lambda a, b: measured(torch.sub(*_pairs(a, b))),
    "the runs are paired in the order in which they stand: their seeds stand in another order in each arm":
        lambda a, b: measured(torch.tensor([x - y for x, y in zip(a.values(), b.values(), strict=False)])),
    "the intervals are those of two unpaired groups: take the differences seed by seed first": _unpaired,
}, adjust={
    "": lambda p, c: holm(p), "each comparison stands alone: Holm's correction for the family is missing":
        lambda p, c: p,
    "every p value is multiplied by the size of the family: with Holm's correction only the smallest is":
        lambda p, c: {name: len(p) * one for name, one in p.items()},
    "only the comparisons that the report tells are a family here: it is the plan's":
        lambda p, c: holm({name: p[name] for name in c.said}),
    "Holm's p values may not fall from one to the next larger one: the running maximum is missing":
        lambda p, c: _without_maximum(p),
}, before={
    "": lambda mean, half, margin: False,
    "a clear difference within the margin counts as equal: it is better or worse, which is asked first":
        lambda mean, half, margin: abs(mean) + half <= margin,
}, unclear={
    "": lambda mean, half, margin: EQUAL if abs(mean) + half <= margin else UNCLEAR,
    "what is not clear counts as equal: for that the whole interval has to lie within the margin":
        lambda mean, half, margin: EQUAL,
    "nothing is equal here: an interval within the margin is": lambda mean, half, margin: UNCLEAR,
    "the mean alone is compared with the margin: the whole interval has to lie within it":
        lambda mean, half, margin: EQUAL if abs(mean) <= margin else UNCLEAR,
}, which={
    "": lambda said, right: said != right,
    "comparisons that the report does not tell are left out: each needs its verdict":
        lambda said, right: said and said != right,
    "verdicts that the report tells rightly are returned, too": lambda said, right: True,
}, within={
    "": lambda c: c.margin, "the margin is 0.005, whatever is given: it is an argument": lambda c: 0.005,
}), *CASES, at="", where=REFEREE, marks=(1, 0), near=1e-3,
    of=lambda c: f"{len(c.comparisons)} comparisons (the verdicts as numbers, added up with random factors)")


def _best(tried, at=0):
    """The setting with the best mean on validation (0) or test images (1)."""
    return tried[tried[:, at].mean(1).argmax()]


def _fair(c, at=0, m=None):
    """Our test accuracy after m of our settings were tried, over all choices of m, minus the baseline's."""
    tried = c.ours.mean(2)[torch.combinations(torch.arange(len(c.ours)), m or len(c.baseline))]
    picked = tried[..., 1].gather(1, tried[..., at].argmax(1, keepdim=True))
    return picked.mean() - _best(c.baseline, at)[1].mean()


def _gap(c, value):
    return value(c.ours) - value(c.baseline)


what_is_left = loss(Formula(lambda c, **places: (torch.stack([one(c) for one in places.values()]) * c.probe).sum(),
                            published={
    "": lambda c: _gap(c, lambda tried: tried[:, 1].max()),
    "first number: this is of validation images; test images were published":
        lambda c: _gap(c, lambda tried: tried[:, 0].max()),
    "first number: the mean over the seeds is taken already; the best seed was published":
        lambda c: _gap(c, lambda tried: _best(tried, 1)[1].mean()),
}, seeds={
    "": lambda c: _gap(c, lambda tried: _best(tried, 1)[1].mean()),
    "second number: the setting is that of the best single seed: it is the one with the best mean on test images":
        lambda c: _gap(c, lambda tried: tried[tried[:, 1].amax(1).argmax(), 1].mean()),
    "second number: validation images choose here already; that is the third": lambda c: _gap(
        c, lambda tried: _best(tried)[1].mean()),
}, chosen={
    "": lambda c: _gap(c, lambda tried: _best(tried)[1].mean()),
    "third number: validation images choose, and test images judge: this is the validation accuracy":
        lambda c: _gap(c, lambda tried: _best(tried)[0].mean()),
    "third number: the baseline is still chosen on test images":
        lambda c: _best(c.ours)[1].mean() - _best(c.baseline, 1)[1].mean(),
}, fair={
    "": _fair, "fourth number: test images choose here": lambda c: _fair(c, 1),
    "fourth number: our side tries one setting: it gets as many as the baseline": lambda c: _fair(c, m=1),
    "fourth number: only our first settings are tried: take the mean over all choices of as many":
        lambda c: _best(c.ours[:len(c.baseline)])[1].mean() - _best(c.baseline)[1].mean(),
}), *CASES, at="", where=REFEREE, marks=(1, 0), near=2e-6,
    shares={"published": 0.25, "seeds": 0.25, "chosen": 0.25, "fair": 0.25},
    of=lambda c: f"{len(c.ours)} and {len(c.baseline)} settings (the four numbers added up with random factors)")


def _looks(c, last, clear, quantile, deviation, count):
    d = c.d * (1 - 2 * torch.cartesian_prod(*[torch.arange(2)] * len(c.d)))
    said = [clear(d[:, :n].mean(1), quantile(n) * deviation(d[:, :n]) / math.sqrt(n)) for n in last(c)]
    return count(torch.stack(said).double())


false_alarms = loss(Formula(_looks, last={
    "": lambda c: range(c.first, len(c.d) + 1), "this looks only once, at the end: the rule looks after every seed":
        lambda c: [len(c.d)],
    "the first look is left out: `first` differences are enough for it": lambda c: range(c.first + 1, len(c.d) + 1),
    "the first look comes after two seeds: it comes after `first`": lambda c: range(2, len(c.d) + 1),
    "the last seed is never looked at": lambda c: range(c.first, len(c.d)),
}, clear={
    "": lambda mean, half: mean.abs() > half,
    "only gains count here: by luck a method can look worse as well": lambda mean, half: mean > half,
}, quantile={
    "": t, "1.96 is for many seeds: with few, Student's t takes its place": lambda n: 1.96,
    "t was taken at 95 %, which leaves 5 % at each end: take it at 97.5 %": lambda n: t(n, 0.95),
    "t was taken for n degrees of freedom: they are n - 1": lambda n: t(n + 1),
}, deviation={text: one for text, one in DEVIATION.items() if "variance" not in text}, count={
    "": lambda said: said.amax(0).mean(),
    "every clear look counts: whoever stops at the first has one": lambda said: said.sum(0).mean(),
    "this is the share of looks: the share of sequences with a clear look is asked for": lambda said: said.mean(),
    "this is the number of sequences, not their share": lambda said: said.amax(0).sum(),
}), *CASES, at="", where=SEEDS, marks=(1, 0), near=1e-5,
    of=lambda c: f"{len(c.d)} differences, looked at from n = {c.first} on,")


seeds_for_all = loss(Formula(lambda c, least, **forms: max(least(c), needed(c.pilot, c.effect, **forms)), spread={
    "": lambda d: d.std(1).max(), "the mean of the spreads is taken: the widest comparison needs the most seeds":
        lambda d: d.std(1).mean(),
    "the smallest spread is taken: the widest comparison needs the most seeds": lambda d: d.std(1).min(),
    "all differences are thrown together: each comparison has a spread of its own": lambda d: d.std(),
    "the standard deviation divides by the number of differences: from few values it divides by one less":
        lambda d: d.std(1, correction=0).max(),
}, quantile={
    "": lambda n, m: t(n, 1 - 0.025 / m),
    "this is for one comparison alone: the 5 % are shared out to the whole family": lambda n, m: t(n),
    "0.05 is divided by the number of comparisons, and not shared out to the two ends": lambda n, m: t(n, 1 - 0.05 / m),
    "1.96 is for many seeds: with few, Student's t takes its place": lambda n, m: 1.96,
}, least={
    "": lambda c: 2, "the pilot's number of seeds is taken for the least: n begins at 2": lambda c: c.pilot.shape[1],
    "n begins at 3, and with two seeds there is a spread as well": lambda c: 3,
}, halves={
    "": 2, "the interval is only as narrow as the effect: it is to be at most half as wide to each side": 1,
}), *CASES, "clear", at="", where=SEEDS, marks=(1, 0), near=1e-3, of=lambda c: f"pilots of {len(c.pilot)} comparisons")
my_comparison = hand_in(2000, 10, 12, where=PLAN)
