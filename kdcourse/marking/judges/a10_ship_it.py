"""Exercise 10, ship it, judging half: from the definitions, in double precision."""

from math import comb

import torch

from kdcourse.marking.judges.lesson_10 import CASES
from kdcourse.marking.judges.logits import p
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

EIGHT, COSTS, EARLY, FRONTIER = (f"notebook 10, section {n}, and the text of the question" for n in (3, 1, 7, 6))


def _ends(seen, dim=0):
    """Low and high of a grid that holds 0."""
    return seen.double().amin(dim).clamp(max=0), seen.double().amax(dim).clamp(min=0)


def _channels(c, ends, steps, zero, number, clamp, back):
    low, high = ends(c)
    step = ((high - low) / steps(c)).clamp(min=1e-12)
    z = zero(-low / step)
    return (back(clamp(number(c.x.double() / step) + z, 2**c.bits - 1), step, z) * c.probe).sum()


stored_by_channels = loss(Formula(_channels, ends={
    "": lambda c: _ends(c.seen),
    "the grid is that of x itself: low and high come from what was seen before": lambda c: _ends(c.x),
    "one grid for all channels": lambda c: _ends(c.seen, (0, 1)),
    "where all that was seen lies on one side of 0, the grid does not reach to 0":
        lambda c: (c.seen.double().amin(0), c.seen.double().amax(0)),
}, steps={"": lambda c: 2**c.bits - 1, "the scale is divided by 2^bits: one too many": lambda c: 2**c.bits,
}, zero={"": lambda z: z.round(), "the zero point is not rounded": lambda z: z}, number={
    "": lambda x: x.round(), "rounded down: to the nearest is asked": lambda x: x.floor(), "not rounded": lambda x: x,
}, clamp={
    "": lambda q, most: q.clamp(0, most), "what lies beyond the grid is not clamped to its ends": lambda q, most: q,
}, back={
    "": lambda q, step, z: step * (q - z),
    "the whole numbers were returned, not what they stand for": lambda q, step, z: q,
}), *CASES, at="", where=EIGHT, marks=(0.8, 0), near=1e-3, of=lambda c: f"{len(c.x)} images, {c.bits} bits,",
    ends={"dead": (0.2, "a channel that was 0 whenever it was seen has the number 0 alone, and becomes 0")})


def _bytes(c, centred, bias, number, ends):
    total = torch.einsum("ni,oi->no", centred(c), c.q_w.double())
    y = bias(total, c.s_x * c.s_w.double() / c.s_y, c)
    return (ends(number(y), c.zero_y) * c.probe).sum()


layer_in_bytes = loss(Formula(_bytes, centred={
    "": lambda c: c.q_x.double() - c.zero_x,
    "the zero point is subtracted in uint8, where numbers below 0 begin again at 255":
        lambda c: (c.q_x.double() - c.zero_x) % 256,
    "the zero point of the inputs is not subtracted": lambda c: c.q_x.double(),
}, bias={
    "": lambda total, unit, c: unit * (total + c.q_b),
    "the bias is added after the scaling: it counts in steps of s_x * s_w, as the sum does":
        lambda total, unit, c: unit * total + c.q_b,
    "the sum and the bias are rounded each for itself: add first, then scale and round once":
        lambda total, unit, c: (unit * total).round() + (unit * c.q_b).round(),
}, number={"": lambda y: y.round(), "the fraction is cut off: round to the nearest": lambda y: y.trunc()}, ends={
    "": lambda q, zero: (q + zero).clamp(zero, 255),
    "the ReLU is missing: numbers below the one that stands for 0 are left": lambda q, zero: (q + zero).clamp(0, 255),
    "what lies beyond 255 begins again at 0: clamp before a byte is made of it":
        lambda q, zero: (q + zero).clamp(min=zero) % 256,
    "clamped before the zero point was added: what is beyond 255 then begins again at 0":
        lambda q, zero: (q.clamp(0, 255) + zero) % 256,
    "the zero point of the outputs is not added": lambda q, zero: q.clamp(0, 255),
}), *CASES, at="", where=EIGHT, marks=(1, 0), near=0.02, most=3,
    of=lambda c: f"{len(c.q_x)} images,")


def _ranked(r, more=0):
    """The ends for the largest k so that fewer than k of n coins show heads with a probability of at most 2.5 %."""
    n, r = len(r), r.sort().values
    k = max(k for k in range(n // 2) if sum(comb(n, i) for i in range(k)) / 2**n <= 0.025) + more
    return r[k - 1], r[n - k]


def _near_normal(r):
    """The ends whose ranks a normal distribution in the place of the coins would give."""
    n, r = len(r), r.sort().values
    k = round(n / 2 - 0.98 * n**0.5)
    return r[k - 1], r[n - k]


def _ratio(c, kept, turn, centre, ends):
    a, b = turn(kept(c.a, c).double(), kept(c.b, c).double())
    return (torch.stack([centre(a, b), *ends(a / b)]) * c.probe).sum()


honest_ratio = loss(Formula(_ratio, kept={
    "": lambda v, c: v[c.warm:], "the turns of the warm-up are counted": lambda v, c: v,
}, turn={"": lambda a, b: (a, b), "it is b over a": lambda a, b: (b, a)}, centre={
    "": lambda a, b: (a / b).quantile(0.5),
    "of an even number `torch.median` takes the lower of the two in the middle: take their mean":
        lambda a, b: (a / b).median(),
    "the mean of the ratios: one interruption moves it": lambda a, b: (a / b).mean(),
    "the ratio of the medians: the load of a turn cancels only within the turn":
        lambda a, b: a.quantile(0.5) / b.quantile(0.5),
    "the ratio of the means: slow turns outweigh the others, and interruptions": lambda a, b: a.mean() / b.mean(),
}, ends={
    "": _ranked, "the interval is one rank too narrow at each end": lambda r: _ranked(r, 1),
    "the ranks are those of a normal distribution: count the coins": _near_normal,
    "each end is one rank too high: the k-th smallest stands at k - 1":
        lambda r: (_ranked(r, 1)[0], _ranked(r, -1)[1]),
    "these quantiles say where single turns lie, not how sure the median is":
        lambda r: (r.quantile(0.025), r.quantile(0.975)),
}), *CASES, at="", where=COSTS, marks=(1, 0), near=1e-5, shares={"centre": 0.5, "ends": 0.5},
    of=lambda c: f"{len(c.a)} turns,")


def _top(v):
    """The largest minus the second largest, (exits, images)."""
    two = v.topk(2, dim=-1).values
    return two[..., 0] - two[..., 1]


def _first(sure):
    return torch.cat([sure[:-1], torch.ones_like(sure[:1])]).int().argmax(0)


def _left(c, measure, limit, place, answer, price, over):
    limits = torch.cat([limit(c.thresholds.double()), torch.tensor([torch.inf]).double()])[:, None]
    at = place(measure(c.z.double()) >= limits)
    right = (c.z.argmax(-1) == c.y).double()
    return (torch.stack([over(answer(right, at)), over(price(c.costs.double())[at])]) * c.probe).sum()


leave_by_margin = loss(Formula(_left, measure={
    "": lambda z: _top(p(z, -1)),
    "the largest probability alone is compared, not its distance to the second": lambda z: p(z, -1).amax(-1),
    "the margin is one of logits: probabilities are asked": _top,
}, limit={"": lambda v: v, "the first threshold is used for every exit": lambda v: v[:1].expand_as(v),
    "a margin that is the threshold is not enough here: at least the threshold is asked": lambda v: v + 1e-12,
}, place={
    "": _first, "an image of which no exit is sure leaves at the first: the last takes it":
        lambda sure: sure.int().argmax(0),
}, answer={
    "": lambda right, at: right.gather(0, at[None])[0],
    "the last exit answers, even for images that had left": lambda right, at: right[-1],
}, price={"": lambda v: v, "the costs were added up: they hold the earlier stages": lambda v: v.cumsum(0)}, over={
    "": lambda v: v.mean(), "summed over the images: take the mean": lambda v: v.sum()}), *CASES, at="",
    where=EARLY, marks=(1, 0), near=1e-3, shares={"answer": 0.5, "price": 0.5}, of=lambda c: f"{len(c.y)} images,")


def _kept(c, better, costs, beats, kind):
    """`beats` is told how much better j (first) is than i (second)."""
    v = torch.cat([better(c.accuracy.double())[:, None], -costs(c.costs.double())], 1)
    return (kind(beats(v[:, None] - v[None]).any(0)).double() * c.probe).sum()


undominated = loss(Formula(_kept, better={
    "": lambda a: a, "a lower accuracy counts as better": lambda a: -a, "the accuracy is not compared": lambda a: 0 * a,
}, costs={
    "": lambda v: v, "only the first cost is compared": lambda v: v[:, :1],
    "the costs are added up: they have different units": lambda v: v.sum(1, keepdim=True),
}, beats={
    "": lambda d: (d >= 0).all(-1) & (d > 0).any(-1),
    "only who is better in everything throws another out: as good in some, and better in one, is enough":
        lambda d: (d > 0).all(-1),
    "who is as dear and more accurate throws out as well: better in the accuracy is enough": lambda d: (
        (d >= 0).all(-1) & (d[..., 1:] > 0).any(-1)),
    "who is as accurate and cheaper throws out as well: better in one cost is enough": lambda d: (
        (d >= 0).all(-1) & (d[..., 0] > 0)),
    "two systems that are equal in everything throw each other out": lambda d: (
        (d >= 0).all(-1) & ~torch.eye(len(d), dtype=torch.bool)),
    "one lower cost is enough: the other costs have to be at most as high, too": lambda d: (
        (d[..., 0] >= 0) & (d[..., 1:] > 0).any(-1)),
}, kind={"": lambda out: ~out, "these are the systems that are thrown out": lambda out: out}), *CASES, at="",
    where=FRONTIER, marks=(1, 0), near=1e-3, of=lambda c: f"{len(c.accuracy)} systems,")
