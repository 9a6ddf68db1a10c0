"""What a reader of lesson 11 writes by hand, judging half: from the definitions, in double precision."""

import math

import torch

from kdcourse.marking.judges.intervals import t
from kdcourse.marking.judges.logits import divergence
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

CASES = ("small", "middle", "large")
MOST = 2_000
SPREAD = {
    "": lambda c: c.pilot.std().item(),
    "the standard deviation divides by the number of differences: from few values it divides by one less":
        lambda c: c.pilot.std(correction=0).item(),
    "the variance was taken, not its root": lambda c: c.pilot.var().item(),
}


def _of_pilot(c):
    return t(len(c.pilot)) * c.pilot.std().item() / math.sqrt(len(c.pilot))


width_at = loss(Formula(
    lambda c, spread, quantile, root, whole: whole(c, quantile(c) * spread(c) / root(c.n)), spread=SPREAD, quantile={
    "": lambda c: t(c.n),
    "1.96 is for many seeds: with few, Student's t takes its place": lambda c: 1.96,
    "2 is for many seeds: with few, Student's t takes its place": lambda c: 2.0,
    "t was taken for n degrees of freedom: they are n - 1": lambda c: t(c.n + 1),
    "t was taken at 95 %, which leaves 5 % at each end: take it at 97.5 %": lambda c: t(c.n, 0.95),
    "t was taken for the seeds of the pilot: it belongs to the n seeds that you plan": lambda c: t(len(c.pilot)),
    "this is the standard error: multiply it by Student's t": lambda c: 1.0,
}, root={
    "": math.sqrt, "the root of n is missing": lambda n: 1.0, "divided by n, not by its root": float,
}, whole={
    "": lambda c, width: width, "this is the whole width: half of it is asked for": lambda c, width: 2 * width,
    "this is the interval of the pilot itself: n is what you plan": lambda c, width: _of_pilot(c),
    "this is the mean of the pilot's differences: what counts here is how far they spread":
        lambda c, width: c.pilot.mean().item(),
}), *CASES, at="", where="notebook 11, section 3", marks=(1, 0),
    of=lambda c: f"{len(c.pilot)} differences of a pilot, n = {c.n},")


def _first(c, spread, quantile=t, halves=2.0) -> int:
    """The first n whose interval is narrow enough."""
    return next((n for n in range(2, MOST) if quantile(n) * spread(c) / math.sqrt(n) <= c.effect / halves), MOST)


seeds_for = loss(Formula(lambda c, n: float(n(c)), n={
    "": lambda c: _first(c, SPREAD[""]),
    "the interval is only as narrow as the effect: half of the studies would miss it; it is to be narrower than half":
        lambda c: _first(c, SPREAD[""], halves=1.0),
    "the interval is narrower than a quarter of the effect: half of it is asked for":
        lambda c: _first(c, SPREAD[""], halves=4.0),
    "1.96 is for many seeds: width_at with Student's t is asked": lambda c: _first(c, SPREAD[""], lambda n: 1.96),
    "one seed more than is needed": lambda c: _first(c, SPREAD[""]) + 1,
    "one seed fewer than is needed: the interval is still too wide": lambda c: _first(c, SPREAD[""]) - 1,
    "the variance was taken, not its root": lambda c: _first(c, SPREAD["the variance was taken, not its root"]),
    "this is the number of seeds of the pilot": lambda c: len(c.pilot),
    "counting began at the pilot's number of seeds: it begins at 2":
        lambda c: max(len(c.pilot), _first(c, SPREAD[""])),
}), *CASES, at="", where="notebook 11, section 3", marks=(1, 0), near=0.4,
    of=lambda c: f"{len(c.pilot)} differences of a pilot, an effect of {100 * c.effect:.2f} points,")


def _right(c, z):
    return z.argmax(dim=1) == c.y


def _weights(c, right, wrong=None):
    return torch.where(right, 1.0, c.keep if wrong is None else wrong).double()


trusted_loss = loss(Formula(
    lambda c, weight, kl, over, factor: factor(c) * over(weight(c), kl(c)), weight={
    "": lambda c: _weights(c, _right(c, c.z_t)),
    "images about which the teacher is right count `keep`, and the others 1: it is the other way round":
        lambda c: _weights(c, ~_right(c, c.z_t)),
    "it is the *student* that is right or wrong here: ask the teacher": lambda c: _weights(c, _right(c, c.z_s)),
    "`keep` is not used: images about which the teacher is wrong count 0":
        lambda c: _weights(c, _right(c, c.z_t), 0.0),
    "every image counts 1: this is KD": lambda c: torch.ones(len(c.y)).double(),
}, kl={
    "": lambda c: divergence(c.z_s, c.z_t, c.T),
    "student and teacher are swapped": lambda c: divergence(c.z_t, c.z_s, c.T),
    "T does not divide the logits": lambda c: divergence(c.z_s, c.z_t, 1),
}, over={
    "": lambda weight, kl: (weight * kl).mean(),
    "summed over the images, not averaged": lambda weight, kl: (weight * kl).sum(),
    "divided by the sum of the weights: then images that are left out make the others heavier, which is another idea":
        lambda weight, kl: (weight * kl).sum() / weight.sum(),
}, factor={
    "": lambda c: c.T**2, "the factor T squared is missing": lambda c: 1.0, "the factor is T, not T squared":
        lambda c: c.T,
}), "cold", "warm", "hot", where="notebook 11, section 4", marks=(0.5, 0.5), large=0,
    of=lambda c: f"{len(c.y)} images, {int(_right(c, c.z_t).sum())} of which the teacher knows, T = {c.T:.2g}, "
                 f"keep = {c.keep:.2g},")
