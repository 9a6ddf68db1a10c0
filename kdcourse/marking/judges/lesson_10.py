"""What a reader of lesson 10 writes by hand, judging half: from the definitions, in double precision."""

import torch

from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

CASES = ("few", "some", "many")


def _scale(c):
    return (c.high - c.low) / (2**c.bits - 1)


def _zero(c, scale):
    return torch.tensor(-c.low / scale, dtype=torch.double).round()


def _clipped(q, c):
    return q.clamp(0, 2**c.bits - 1)


stored = loss(Formula(lambda c, scale, zero, number, ends, back: (
    back(ends(number(c.x.double() / scale(c)) + zero(c, scale(c)), c), scale(c), zero(c, scale(c))) * c.probe).sum(),
    scale={
        "": _scale,
        "the scale is divided by 2^bits: between 2^bits numbers there are 2^bits - 1 steps":
            lambda c: (c.high - c.low) / 2**c.bits,
        "the scale leaves `low` out: the grid spans high - low": lambda c: c.high / (2**c.bits - 1),
    }, zero={
        "": _zero,
        "the zero point is not rounded: it is one of the whole numbers, so that 0 is stored exactly":
            lambda c, scale: -c.low / scale,
        "the zero point has the wrong sign: at x = low, q is to be 0": lambda c, scale: -_zero(c, scale),
    }, number={
        "": lambda x: x.round(),
        "rounded down: to the nearest is asked": lambda x: x.floor(),
        "not rounded": lambda x: x,
    }, ends={
        "": _clipped,
        "what lies beyond the grid is not clamped to its ends": lambda q, c: q,
        "clamped to signed numbers: this grid goes from 0 to 2^bits - 1":
            lambda q, c: q.clamp(-2**(c.bits - 1), 2**(c.bits - 1) - 1),
        "clamped at 2^bits: the highest number is 2^bits - 1": lambda q, c: q.clamp(0, 2**c.bits),
    }, back={
        "": lambda q, scale, zero: scale * (q - zero),
        "the whole numbers were returned: what they stand for is asked, scale * (q - zero)": lambda q, scale, zero: q,
        "the zero point was not taken away again": lambda q, scale, zero: scale * q,
    }), *CASES, at="", where="notebook 10, section 3", marks=(1, 0), of=lambda c: f"{c.bits} bits,")


layer_in_integers = loss(Formula(lambda c, centred, weights, product, steps: (
    product(centred(c), weights(c)) * steps(c) * c.probe).sum(),
    centred={
        "": lambda c: c.q_x.double() - c.zero,
        "the zero point is not subtracted: q stands for scale * (q - zero)": lambda c: c.q_x.double(),
        "the zero point is added": lambda c: c.q_x.double() + c.zero,
    }, weights={
        "": lambda c: c.q_w.double(),
        "the zero point is subtracted from the weights, too: it is that of the inputs":
            lambda c: c.q_w.double() - c.zero,
    }, product={
        "": lambda q_x, q_w: torch.einsum("ni,oi->no", q_x, q_w),
        "the weights are not transposed: q_w has a row for each output":
            lambda q_x, q_w: torch.einsum("ni,io->no", q_x, q_w),
    }, steps={
        "": lambda c: c.s_x.double() * c.s_w.double(),
        "the scale of the images is missing": lambda c: c.s_w.double(),
        "the scales of the weights are missing": lambda c: c.s_x.double(),
        "both scales are missing": lambda c: 1.0,
    }), *CASES, at="", where="notebook 10, section 3", marks=(1, 0), near=2e-3, of=lambda c: f"{len(c.q_x)} images,")


rounded_with_gradient = loss(Formula(lambda c, way: (
    way(c.w_float.double(), c.w_rounded.double()) * c.probe).sum(), way={
    "": lambda w, r: w + (r - w).detach(),
    "these are the weights, not rounded": lambda w, r: w,
    "the sign of the difference is wrong": lambda w, r: w - (r - w).detach(),
    "this is the difference alone": lambda w, r: w + (r - 2 * w).detach(),
}), *CASES, at="w_float", where="notebook 10, section 5", marks=(0.5, 0.5), large=0,
    of=lambda c: f"{len(c.w_float)} rows of weights,")


def _first(c, sure):
    """The first exit that is sure, the last where none is."""
    sure = sure.clone()
    sure[-1] = True
    return sure.int().argmax(dim=0)


mean_cost = loss(Formula(lambda c, place, price, over: over(price(c)[place(c)]), place={
    "": lambda c: _first(c, c.confidence >= c.threshold),
    "an image of which no exit is sure leaves at the first: it leaves at the last":
        lambda c: (c.confidence >= c.threshold).int().argmax(dim=0),
    "an exit with exactly the threshold counts as not sure: `at least` is >=":
        lambda c: _first(c, c.confidence > c.threshold),
    "each image leaves at its surest exit: it leaves at the first that is sure":
        lambda c: c.confidence.argmax(dim=0),
    "each image leaves at the first exit that is *not* sure": lambda c: _first(c, c.confidence < c.threshold),
    "every image leaves at the last exit": lambda c: torch.full_like(c.confidence[0], len(c.costs) - 1).long(),
    "every image leaves at the first exit": lambda c: torch.zeros_like(c.confidence[0]).long(),
}, price={
    "": lambda c: c.costs.double(),
    "the costs were added up: what leaving at an exit costs has the earlier stages and exits in it already":
        lambda c: c.costs.double().cumsum(0),
    "the places of the exits were averaged, not what they cost": lambda c: torch.arange(len(c.costs)).double(),
}, over={
    "": lambda each: each.mean(), "summed over the images, not averaged": lambda each: each.sum(),
}), *CASES, at="", where="notebook 10, section 7", marks=(1, 0), near=1e-3,
    of=lambda c: "{} exits and {} images,".format(*c.confidence.shape))
