"""The half-width of the 95 % interval of a mean by Student's t, with the usual mistakes.

A case has `values`, lists of one length n, one for each interval; the width is a tensor with one number for each.
"""

import math

from scipy import special
from torch import Tensor

from kdcourse.marking.judges.mistakes import Formula


def deviation(values: Tensor) -> Tensor:
    return values.std(dim=1)


def t(n: int, share: float = 0.975) -> float:
    """The quantile for n values, of n - 1 degrees of freedom."""
    return float(special.stdtrit(n - 1, share))


QUANTILE = {
    "": lambda c, n: t(n),
    "1.96 is for many seeds: with few, Student's t takes its place": lambda c, n: 1.96,
    "2 is for many seeds: with few, Student's t takes its place": lambda c, n: 2.0,
    "t was taken for n degrees of freedom: they are n - 1": lambda c, n: t(n + 1),
    "t was taken at 95 %, which leaves 5 % at each end: take it at 97.5 %": lambda c, n: t(n, 0.95),
    "t was taken for the number of temperatures: n is the number of seeds":
        lambda c, n: t(max(2, len(getattr(c, "temperatures", [0] * n)))),
    "this is the standard error: multiply it by Student's t": lambda c, n: 1.0,
    "t was taken at 99.5 %, for an interval of 99 %: take it at 97.5 %": lambda c, n: t(n, 0.995),
    "2.576 is for 99 %, and for many seeds: Student's t at 97.5 % takes its place": lambda c, n: 2.576,
    "3 is for many seeds, and for 99.7 %: Student's t at 97.5 % takes its place": lambda c, n: 3.0,
    "1.645 is for 90 %, and for many seeds: Student's t at 97.5 % takes its place": lambda c, n: 1.645,
}
DEVIATION = {
    "": deviation,
    "the standard deviation divides by n: from few values it divides by n - 1": lambda v: v.std(dim=1, correction=0),
    "the variance was taken, not its root": lambda v: v.var(dim=1),
}
ROOT = {
    "": lambda n: math.sqrt(n), "the root of n is missing": lambda n: 1.0, "divided by n, not by its root": float,
    "divided by the root of n - 1: the deviation has that already, and here n stands": lambda n: math.sqrt(n - 1),
}
ROUNDED = "it was rounded to two places: return it as it is"
PERCENT = "it is in percent, and a share is asked for"
WHOLE = {"": lambda w: w, "this is the whole width: half of it is asked for": lambda w: 2 * w,
         PERCENT: lambda w: 100 * w, ROUNDED: lambda w: w.round(decimals=2)}
SPREAD = {
    "": lambda c, width: width,
    "this is the standard deviation: an interval of the mean is divided by the root of n and multiplied by t":
        lambda c, width: deviation(c.values),
    "this is the standard deviation with n in place of n - 1, and no interval yet":
        lambda c, width: c.values.std(dim=1, correction=0),
    "this is the variance, and no interval yet": lambda c, width: c.values.var(dim=1),
    "this is the distance from the smallest to the largest": lambda c, width: c.values.amax(1) - c.values.amin(1),
    "this is half the distance from the smallest to the largest":
        lambda c, width: (c.values.amax(1) - c.values.amin(1)) / 2,
    "this is the lower end of the interval: its distance from the mean is asked for":
        lambda c, width: c.values.mean(1) - width,
    "this is the upper end of the interval: its distance from the mean is asked for":
        lambda c, width: c.values.mean(1) + width,
}
HALF = Formula(
    lambda c, spread, quantile, deviation, root, whole: spread(c, whole(
        quantile(c, c.values.shape[1]) * deviation(c.values) / root(c.values.shape[1]))),
    spread=SPREAD, quantile=QUANTILE, deviation=DEVIATION, root=ROOT, whole=WHOLE)
MEAN = Formula(lambda c, mean: mean(c.values), mean={
    "": lambda v: v.mean(1), "this is the best of the seeds": lambda v: v.amax(1),
    "this is the median": lambda v: v.quantile(0.5, dim=1), "this is the last seed": lambda v: v[:, -1],
    "this is the first seed": lambda v: v[:, 0], "this is the sum": lambda v: v.sum(1),
    "this is the lower end of the interval: its middle is asked for":
        lambda v: v.mean(1) - t(v.shape[1]) * deviation(v) / math.sqrt(v.shape[1]),
    "this is 1 minus the mean": lambda v: 1 - v.mean(1), ROUNDED: lambda v: v.mean(1).round(decimals=2),
    PERCENT: lambda v: 100 * v.mean(1), "this is the middle between the smallest and the largest":
        lambda v: (v.amax(1) + v.amin(1)) / 2})
