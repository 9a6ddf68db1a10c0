"""Exercise 06, stronger teachers, judging half: each from its definition, in double precision."""

import math
from functools import partial

import torch
import torch.nn.functional as F

from kdcourse.marking.judges.intervals import t
from kdcourse.marking.judges.logits import of, p, surprise
from kdcourse.marking.judges.loss import loss, slope
from kdcourse.marking.judges.mistakes import Formula

DIST, GAINS, TABLES, BREAKS = (f"notebook 06, section {n}, and the text of the task" for n in (2, 5, 6, 7))


def centred(m):
    return m - m.mean(1, keepdim=True)


def correlated(u, v, extra=0.0):
    """Pearson's correlation of each row of u with the same row of v."""
    u, v = centred(u), centred(v)
    return (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1) + extra)


def softened(c, soft=lambda z, T: p(z / T)):
    return soft(c.z_s, c.T), soft(c.z_t, c.T)


def there(c):
    """How many images of each class the batch has."""
    return torch.bincount(c.y, minlength=c.z_s.shape[1]).double()


def distances(c, tables):
    p_s, p_t = tables(c)
    return 1 - correlated(p_s.T, p_t.T)


SOFT = {
    "": softened, "the logits are not softened: T divides both": partial(softened, soft=lambda z, T: p(z)),
    "the logits themselves are correlated: take the softmax first": partial(softened, soft=lambda z, T: z.double() / T),
    "the softmax runs over the images: it runs over the classes": partial(softened, soft=lambda z, T: p(z / T, 0)),
}
PRESENT = Formula(lambda c, tables, mean: mean(c, distances(c, tables)), tables=SOFT, mean={
    "": lambda c, d: d[there(c) > 0].mean(),
    "absent classes are counted, too: this is the mean over all columns": lambda c, d: d.mean(),
    "only absent classes are counted": lambda c, d: d[there(c) == 0].mean(),
    "the sum over the classes that are there is divided by all K": lambda c, d: d[there(c) > 0].sum() / len(d),
    "the distances are summed: take their mean": lambda c, d: d[there(c) > 0].sum(),
    "a class counts as often as it has images: each counts once": lambda c, d: d[c.y].mean(),
    "the correlations are averaged: the distance is 1 minus them": lambda c, d: 1 - d[there(c) > 0].mean(),
    "the classes are those that the teacher finds most likely: the labels say which are there":
        lambda c, d: d[c.z_t.argmax(1).unique()].mean(),
})
present_columns = loss(PRESENT, "cold", "warm", "warmer", "hot", where=BREAKS, of=of, marks=(0.6, 0.4), large=0,
                       depends_on={"T": ("warm", "warmer")})


def in_units(m):
    """Each row in units of its largest entry; a row of zeros stays one."""
    largest = m.amax(1, keepdim=True).detach()
    return m / torch.where(largest > 0, largest, 1.0)


def safely(u, v):
    u, v = (centred(in_units(m)) for m in (u, v))
    squared = u.square().sum(1) * v.square().sum(1)
    return torch.where(squared > 0, (u * v).sum(1) / torch.where(squared > 0, squared, 1.0).sqrt(), 0.0)


COLUMNS = Formula(lambda c, kind: (kind(c.f_s.double().T, c.f_t.double().T) * c.probe).sum(), kind={
    "": safely, "a constant is added to the product of the lengths, and switches small columns off":
        lambda u, v: correlated(u, v, 1e-8),
    "a constant is added to each length, and switches small columns off": lambda u, v: (
        centred(u) * centred(v)).sum(1) / ((centred(u).norm(dim=1) + 1e-8) * (centred(v).norm(dim=1) + 1e-8)),
    "the product of the lengths has a smallest value, which switches small columns off": lambda u, v: (
        centred(u) * centred(v)).sum(1) / (centred(u).norm(dim=1) * centred(v).norm(dim=1)).clamp_min(1e-8),
    "columns that vary by less than a small number are set to 0: their size does not matter": lambda u, v: torch.where(
        (u.std(1) > 1e-9) & (v.std(1) > 1e-9), correlated(u, v), 0.0),
    "the columns keep their means: these are cosines": lambda u, v: (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)),
    "these are distances: the correlation is asked for": lambda u, v: 1 - correlated(u, v),
    "the mean of the whole table is subtracted: each column has its own": lambda u, v: (
        (u - u.mean()) * (v - v.mean())).sum(1) / ((u - u.mean()).norm(dim=1) * (v - v.mean()).norm(dim=1)),
})


column_correlation = loss(
    COLUMNS, "plain", "small", at="f_s", where=BREAKS, marks=(0.4, 0.2), large=0,
    of=lambda c: f"{c.f_s.shape[1]} columns of {len(c.f_s)} numbers, summed with random factors,",
    ends={"flat": (0.2, "a column that does not vary has the correlation 0")}, also=((0.2, slope(
        COLUMNS, "flat", "where a column does not vary the gradient is no number, or a wrong one: nothing comes from "
        "that column.")),))


def absent(c, chance):
    N = sum(c.counts)
    return [chance(N, n, c.B, len(c.counts)) for n in c.counts]


ABSENT = Formula(lambda c, chance, over: torch.tensor(float(over(absent(c, chance)))), chance={
    "": lambda N, n, B, K: math.comb(N - n, B) / math.comb(N, B),
    "each image is drawn from all of them again: a batch holds no image twice": lambda N, n, B, K: (1 - n / N) ** B,
    "all classes are taken to be equally frequent": lambda N, n, B, K: (1 - 1 / K) ** B,
    "this is the chance to be absent from a single draw": lambda N, n, B, K: 1 - n / N,
}, over={
    "": sum, "these are the classes that are there: the absent ones are asked for": lambda a: len(a) - sum(a),
    "this is a share of the classes: their number is asked for": lambda a: sum(a) / len(a),
    "this is the chance that a class is absent, whichever": lambda a: 1 - math.prod(1 - one for one in a),
})
expected_absent = loss(ABSENT, "few", "some", "many", at="", where=BREAKS, marks=(1, 0), near=1e-5,
                       of=lambda c: f"counts {c.counts} and batches of {c.B}")


def apart(p_s, p_t):
    return (1 - correlated(p_s, p_t)).mean()


def others(p, y):
    """(B, K - 1): each row without its label's class."""
    return p[torch.arange(p.shape[1]) != y[:, None]].view(len(p), -1)


def blanked(p, y):
    return p.scatter(1, y[:, None], 0.0)


REPAIRED = Formula(lambda c, hard, weights, rows, columns, tables: c.alpha * hard(c) + weights(
    c, rows(c, *tables(c)), columns(*tables(c))), hard={
    "": lambda c: surprise(c.z_s, c.y).mean(),
    "the labels' term is softened, too: it belongs at T = 1": lambda c: surprise(c.z_s / c.T, c.y).mean(),
}, weights={
    "": lambda c, inter, intra: c.beta * inter + c.gamma * intra,
    "beta and gamma are exchanged: beta weighs rows, gamma columns": lambda c, inter, intra: (
        c.gamma * inter + c.beta * intra),
    "both halves have T² before them: equation 7 has none": lambda c, inter, intra: (
        c.T**2 * (c.beta * inter + c.gamma * intra)),
    "the columns are missing": lambda c, inter, intra: c.beta * inter,
}, rows={
    "": lambda c, p_s, p_t: apart(others(p_s, c.y), others(p_t, c.y)),
    "the label's entry is set to a number, and counts still: take it out of its row":
        lambda c, p_s, p_t: apart(blanked(p_s, c.y), blanked(p_t, c.y)),
    "the label's class is still in its row: this is the lesson's loss": lambda c, p_s, p_t: apart(p_s, p_t),
}, columns={
    "": lambda p_s, p_t: apart(p_s.T, p_t.T),
    "the columns are those of tables whose rows had lost their means: each column has a mean of its own":
        lambda p_s, p_t: (1 - F.cosine_similarity(centred(p_s), centred(p_t), dim=0, eps=1e-30)).mean(),
}, tables=SOFT)
repaired_dist = loss(REPAIRED, "cold", "warm", "warmer", "hot", where=DIST, of=of, marks=(0.6, 0.4), large=0,
                     depends_on={"T": ("warm", "warmer")})


def above(z, y):
    """Of each image, how many other logits are above the label's, and how many are equal to it."""
    of_label = z.gather(1, y[:, None])
    return (z > of_label).sum(1), (z == of_label).sum(1) - 1


TOP = Formula(lambda c, hit, scale: torch.tensor(scale(hit(c, *above(c.z, c.y)).double().mean().item(), c)), hit={
    "": lambda c, more, ties: more + ties < c.k,
    "a label that ties with others counts as found: it has to be among the k for certain":
        lambda c, more, ties: more < c.k,
    "k is 1 here, whatever is given": lambda c, more, ties: more + ties < 1,
    "the k - 1 largest are looked at: the label may be the last of the k":
        lambda c, more, ties: more + ties < c.k - 1,
    "the k + 1 largest are looked at": lambda c, more, ties: more + ties < c.k + 1,
    "the k smallest logits are looked at": lambda c, more, ties: c.z.shape[1] - more <= c.k,
}, scale={
    "": lambda share, c: share, "it is in percent, and a share in [0, 1] is asked for": lambda share, c: 100 * share,
    "this is the number of images, not their share": lambda share, c: len(c.y) * share,
    "this is the share of errors": lambda share, c: 1 - share,
})
top_k_accuracy = loss(TOP, "three of nine", "five of twelve", "one of six", "all of four", at="", where=TABLES,
                      marks=(1, 0), near=1e-4, of=lambda c: f"{len(c.y)} images, {c.z.shape[1]} classes and k = {c.k}")


def gains(c, kd=1):
    """By seed: what the strong teacher brings under DIST, minus what it brings under KD."""
    weak_kd, strong_kd, weak_dist, strong_dist = c.values
    return strong_dist - weak_dist - kd * (strong_kd - weak_kd)


GAIN = Formula(lambda c, gain, quantile, width: (torch.stack([gain(c).mean(), width(
    quantile(len(gain(c))), gain(c), c)]) * c.probe).sum(), gain={
    "": gains, "it is what DIST gains minus what KD gains: the sign is turned": lambda c: -gains(c),
    "KD is left out: this is what the strong teacher brings under DIST": partial(gains, kd=0),
    "the weak teacher is left out": lambda c: c.values[3] - c.values[1],
    "the four are added with a wrong sign": lambda c: c.values[3] - c.values[2] + c.values[1] - c.values[0],
    "the mean over both methods is taken: divide by nothing": lambda c: gains(c) / 2,
}, quantile={
    "": t, "1.96 is for many seeds: with few, Student's t takes its place": lambda n: 1.96,
    "t was taken for n degrees of freedom: they are n - 1": lambda n: t(n + 1),
    "this is the standard error: multiply it by Student's t": lambda n: 1.0,
}, width={
    "": lambda q, g, c: q * g.std() / len(g) ** 0.5,
    "the four arms are taken as unpaired: take the difference of differences seed by seed first":
        lambda q, g, c: q * c.values.var(dim=1).sum().sqrt() / len(g) ** 0.5,
    "the root of n is missing": lambda q, g, c: q * g.std(),
    "divided by n, not by its root": lambda q, g, c: q * g.std() / len(g),
    "the standard deviation divides by n: from few values it divides by n - 1":
        lambda q, g, c: q * g.std(correction=0) / len(g) ** 0.5,
    "this is the whole width: half of it is asked for": lambda q, g, c: 2 * q * g.std() / len(g) ** 0.5,
})
gain_of_the_gain = loss(GAIN, "five seeds", "eight seeds", at="", where=GAINS, marks=(1, 0), near=2e-5,
                        of=lambda c: f"{c.values.shape[1]} seeds, mean and half-width summed with random factors,")
