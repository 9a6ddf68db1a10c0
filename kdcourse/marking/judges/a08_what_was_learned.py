"""Exercise 08, what was learned, judging half: from the definitions, in double precision."""

import math

import torch

from kdcourse.marking.judges.experiment import Column, experiment
from kdcourse.marking.judges.intervals import DEVIATION, MEAN, ROOT, WHOLE, t
from kdcourse.marking.judges.lesson_08 import CASES, _hsic, _parts, _right, _zeroed
from kdcourse.marking.judges.logits import p, surprise
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.record import Wrong

AGREE, SURE, SEE, NEAR = (f"notebook 08, section {n}, and the text of the question" for n in (2, 4, 5, 3))


def _both(c):
    """Whether each network is right about each image."""
    return [(guess == c.y).double() for guess in _right(c)]


error_consistency = loss(Formula(lambda c, seen, chance, form: form(seen(c), chance(*_both(c))), seen={
    "": lambda c: (_both(c)[0] == _both(c)[1]).double().mean(),
    "the predicted classes are compared: two wrong answers need not be the same one to count here":
        lambda c: (_right(c)[0] == _right(c)[1]).double().mean(),
    "only images that both have right are counted: both wrong counts too": lambda c: math.prod(_both(c)).mean(),
}, chance={
    "": lambda a, b: a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()),
    "by chance both can also be wrong: this term is missing": lambda a, b: a.mean() * b.mean(),
    "chance is taken as one half: it follows from the two accuracies": lambda a, b: 0.5,
}, form={
    "": lambda seen, chance: (seen - chance) / (1 - chance),
    "it is not divided by 1 minus the share by chance": lambda seen, chance: seen - chance,
    "this is the share that is seen, not corrected": lambda seen, chance: seen,
}), *CASES, at="", where=AGREE, marks=(1, 0), near=1e-5, of=lambda c: f"{len(c.y)} images,")


def _sorted(c, values):
    return values[c.confidence.argsort()].double().reshape(c.bins, -1)


squared_ece = loss(Formula(lambda c, order, kind: kind(order(c)), order={
    "": lambda c: (_sorted(c, c.confidence) - _sorted(c, c.right)),
    "the images are not sorted by confidence before the bins are filled":
        lambda c: (c.confidence.double() - c.right.double()).reshape(c.bins, -1),
    "confidences are sorted, and right or wrong are not: they must move together":
        lambda c: _sorted(c, c.confidence) - c.right.double().reshape(c.bins, -1),
}, kind={
    "": lambda gap: gap.mean(1).square().mean(),
    "the gaps are absolute, not squared": lambda gap: gap.mean(1).abs().mean(),
    "the gaps keep their sign and cancel: square each first": lambda gap: gap.mean(),
    "the difference is squared for each image, before the mean of the bin is taken": lambda gap: gap.square().mean(),
    "the squares are summed over the bins: take their mean": lambda gap: gap.mean(1).square().sum(),
}), *CASES, at="", where=SURE, marks=(1, 0), near=1e-5, of=lambda c: f"{len(c.right)} images in {c.bins} bins,")
squared_ece_null = loss(Formula(lambda c, kind: kind(_sorted(c, c.confidence)), kind={
    "": lambda q: (q * (1 - q)).mean() / q.shape[1],
    "this is the variance of one answer: the accuracy of a bin is a mean of several": lambda q: (q * (1 - q)).mean(),
    "it is divided by the number of bins, not by the images in a bin": lambda q: (q * (1 - q)).mean() / q.shape[0],
    "every image of a bin is given the bin's mean confidence: each has its own variance":
        lambda q: (q.mean(1) * (1 - q.mean(1))).mean() / q.shape[1],
}), *CASES, at="", where=SURE, marks=(1, 0), near=1e-5,
    of=lambda c: f"{len(c.confidence)} images in {c.bins} bins,")


def _gap(z, y, T):
    """The label's logit minus the mean logit under the probabilities at T, (images,)."""
    return z.gather(1, y[:, None])[:, 0] - (p(z / T) * z).sum(1)


def _slope(c, kind, power, over):
    T = c.log_T.double().exp()
    return over(power(kind(c.z.double(), c.y, T), T))


temperature_slope = loss(Formula(_slope, kind={
    "": _gap, "the sign is turned round": lambda z, y, T: -_gap(z, y, T),
    "the probabilities are not softened: T divides their logits too": lambda z, y, T: _gap(z, y, 1.0),
    "the mean of the logits is unweighted: weigh each by its probability": lambda z, y, T: _gap(z, y, 1e9),
    "the label's logit is missing": lambda z, y, T: -(p(z / T) * z).sum(1),
    "this is the loss itself, not its slope": lambda z, y, T: surprise(z / T, y) * T,
}, power={
    "": lambda v, T: v / T, "this is the slope in T: in log T it is T times that": lambda v, T: v / T**2,
    "the factor 1/T is missing": lambda v, T: v, "it is multiplied by T": lambda v, T: v * T,
}, over={"": lambda v: v.mean(), "summed over the images: take the mean": lambda v: v.sum()}),
    *CASES, at="", where=SURE, marks=(1, 0), near=5e-5, far="far",
    own="the formula by hand is asked for, without automatic differentiation",
    of=lambda c: f"{len(c.y)} images, T = {c.log_T.exp():.2f},")


def _three(a, b, size, diagonal):
    """HSIC of both with each other and each with itself, batch by batch, (3, batches)."""
    def hsics(u, v):
        K, L = diagonal[0](u @ u.T), diagonal[1](v @ v.T)
        return torch.stack([_hsic(len(u), *_parts(*pair)) for pair in ((K, L), (K, K), (L, L))])

    return torch.stack([hsics(*pair) for pair in zip(a.double().split(size), b.double().split(size), strict=True)]).T


def _ratio(h):
    return h[0] / (h[1] * h[2]).sqrt()


batched_cka = loss(Formula(lambda c, diagonal, over: over(c, diagonal), diagonal={
    "": (_zeroed, _zeroed), "the diagonal of the second matrix is still there": (_zeroed, lambda K: K),
    "the diagonals are still there": (lambda K: K, lambda K: K),
}, over={
    "": lambda c, d: _ratio(_three(c.f_a, c.f_b, c.size, d).mean(1)),
    "the CKAs of the batches are averaged: a ratio of small samples is biased. Average the three HSICs first, then "
    "divide once": lambda c, d: _ratio(_three(c.f_a, c.f_b, c.size, d)).mean(),
    "all images are taken at once: the batches are not used":
        lambda c, d: _ratio(_three(c.f_a, c.f_b, len(c.f_a), d).mean(1)),
    "this is the mean HSIC: it is not divided": lambda c, d: _three(c.f_a, c.f_b, c.size, d).mean(1)[0],
}), *CASES, at="", where=SEE, marks=(1, 0), near=1e-5, of=lambda c: f"{len(c.f_a)} images in batches of {c.size},")


def _nearest(c, first=1, last=0, lengths=lambda f: f):
    """For the nearest images, whether each has the label of the image, (images, k); the nearest of all is itself."""
    near = torch.cdist(*2 * [lengths(c.f.double())], compute_mode="donot_use_mm_for_euclid_dist").argsort(1)
    return (c.y[near[:, first : 1 + c.k + last]] == c.y[:, None]).double()


separability = loss(Formula(lambda c, near, chance, form: form(near(c).mean(), chance(c)), near={
    "": _nearest,
    "the image itself is among its neighbours": lambda c: _nearest(c, 0, -1),
    "the image itself was taken away from the k, so that k - 1 are left": lambda c: _nearest(c, 1, -1),
    "directions are compared, not distances": lambda c: _nearest(c, lengths=lambda f: f / f.norm(dim=1)[:, None]),
}, chance={
    "": lambda c: ((c.y.bincount()[c.y] - 1) / (len(c.y) - 1)).double().mean(),
    "chance counts the image itself as one of its label": lambda c: (c.y.bincount()[c.y] / len(c.y)).double().mean(),
    "chance is one over the number of labels: they are not equally many": lambda c: 1 / len(c.y.unique()),
}, form={
    "": lambda share, chance: (share - chance) / (1 - chance),
    "this is the share, not corrected": lambda share, chance: share,
    "it is not divided by 1 minus chance": lambda share, chance: share - chance,
}), *CASES, at="", where=NEAR, marks=(1, 0), near=1e-5, of=lambda c: f"{len(c.y)} images, k = {c.k},")


def _arms(c, rows):
    """What the students of the teacher, and those of the control, were measured as, by their seeds."""
    return [{row.seed: row for row in rows if row.T == c.lessons[lesson]} for lesson in ("teacher", c.control)]


def both_arms(c, rows):
    for lesson, found in zip(("teacher", c.control), _arms(c, rows), strict=True):
        if not found:
            raise Wrong(f'no student was taught by the lesson "{lesson}". Read the text of question 6.')
    if {row.T for row in rows} != {c.lessons["teacher"], c.lessons[c.control]}:
        return f'another lesson than "teacher" and the control, "{c.control}", was measured.'
    return "" if all(row.lessons == 1 for row in rows) else (
        "a student was measured that had been taught more than once: make a fresh one for each lesson.")


def same_seeds(c, rows):
    return "" if [*map(set, _arms(c, rows))] == [set(c.seeds)] * 2 and all(r.seed == r.taught_with for r in rows) else (
        "a pair shares its seed: for every seed given, both students are made and taught with it.")


def paired_values(c, rows):
    """Teacher minus control for each seed, and both groups; None where there are not two pairs."""
    a, b = _arms(c, rows)
    pairs = torch.tensor([(a[seed].accuracy, b[seed].accuracy) for seed in a if seed in b], dtype=torch.double)
    return c.with_(values=(pairs[:, 0] - pairs[:, 1])[None], groups=pairs.T) if len(pairs) > 1 else None


QUANTILE = {
    "": lambda n, m: t(n, 1 - 0.025 / m),
    "this is the interval of a single question: several are asked, and each has a chance of its own to mislead":
        lambda n, m: t(n),
    "0.05 is divided by the number of questions, and not shared out to the two ends": lambda n, m: t(n, 1 - 0.05 / m),
}
WIDTH = Formula(lambda c, group, quantile, deviation, root, whole: group(c, lambda v: whole(
    quantile(v.shape[1], c.questions) * deviation(v) / root(v.shape[1]))), group={
    "": lambda c, half: half(c.values),
    "this is the interval of two unpaired groups: take the differences seed by seed first":
        lambda c, half: half(c.groups).norm()[None],
}, quantile=QUANTILE, deviation=DEVIATION, root=ROOT, whole=WHOLE)
GAIN = Formula(lambda c, mean, turn: turn(mean(c.values)), **MEAN.places, turn={
    "": lambda m: m, "it is teacher minus control": lambda m: -m})
what_teaching_adds = experiment(
    Column(0.2, "the mean difference", GAIN), Column(0.3, "the half-width of the interval", WIDTH, 2e-3),
    where="the text of question 6", values=paired_values, marks={both_arms: 0.3, same_seeds: 0.2},
    expected="a pair (mean difference, half-width)")
