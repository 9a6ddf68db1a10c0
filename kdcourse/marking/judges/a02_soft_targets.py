"""Exercise 02, soft targets, judging half: from the definitions, in double precision."""

import torch

from kdcourse.marking.judges.logits import MEAN, POWER, divergence, log_p, of, p
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

CASES = ("cold", "warm", "hot")
DERIVED, SMOOTHED, ASYMMETRIC, WRONG_WAYS, CONTROLS = (f"notebook 02, section {n}" for n in (3, 7, 8, 5, 7))


def summed(c) -> str:
    return f"{of(c)}, summed with random factors,"


def probed(form):
    return lambda c, **parts: (form(c, **parts) * c.probe).sum()


KIND = {  # one number per image
    "": lambda c: divergence(c.z_t, c.z_s, c.T),
    "this is KL(p_t || p_s), the divergence of the lesson: here the student's probabilities are the weights":
        lambda c: divergence(c.z_s, c.z_t, c.T),
    "this is the cross-entropy of p_s with p_t: log p_s is missing, and here it depends on the student":
        lambda c: -(p(c.z_s / c.T) * log_p(c.z_t / c.T)).sum(1),
    "both directions were added": lambda c: divergence(c.z_t, c.z_s, c.T) + divergence(c.z_s, c.z_t, c.T),
    "both directions were averaged": lambda c: (divergence(c.z_t, c.z_s, c.T) + divergence(c.z_s, c.z_t, c.T)) / 2,
    "the sign is wrong: the divergence is never negative": lambda c: -divergence(c.z_t, c.z_s, c.T),
    "the student's logits are not softened: T divides those of both": lambda c: divergence(c.z_t / c.T, c.z_s),
    "the teacher's logits are not softened: T divides those of both": lambda c: divergence(c.z_t, c.z_s / c.T),
    "the logits are not softened at all": lambda c: divergence(c.z_t, c.z_s),
    "F.kl_div was given the teacher's probabilities where it expects their logarithm":
        lambda c: (p(c.z_s / c.T) * (log_p(c.z_s / c.T) - p(c.z_t / c.T))).sum(1),
    "softmax runs over the images, not over the classes (dim=0)": lambda c: (
        p(c.z_s / c.T, 0) * (log_p(c.z_s / c.T, 0) - log_p(c.z_t / c.T, 0))).sum(1),
}
reverse_divergence = loss(Formula(lambda c, kind, power, mean: power(c) * mean(kind(c), c), kind=KIND, power=POWER,
                                  mean=MEAN), "cold", "warm", "warmer", "hot", where=DERIVED, of=of,
                          depends_on={"T": ("warm", "warmer")})


def softened(c):
    """The student's probabilities, and how much larger their logarithms are than the teacher's."""
    return p(c.z_s / c.T), log_p(c.z_s / c.T) - log_p(c.z_t / c.T)


def around(q, gap):
    return q * (gap - (q * gap).sum(1, keepdim=True))


reverse_gradient = loss(Formula(probed(lambda c, body, scale, over: scale(c) * body(c) / over(c)), body={
    "": lambda c: around(*softened(c)),
    "this is the gradient of KL(p_t || p_s), the divergence of the lesson":
        lambda c: p(c.z_s / c.T) - p(c.z_t / c.T),
    "every probability depends on every logit: what follows from their sum being 1 is missing":
        lambda c: torch.mul(*softened(c)),
    "the weight of the class, its own probability, is missing": lambda c: around(*softened(c)) / p(c.z_s / c.T),
    "the sign is wrong: a class to which the student gives too much is pushed down": lambda c: -around(*softened(c)),
    "the mean that is taken away is that over the classes, each counted alike: weigh them by p_s":
        lambda c: softened(c)[0] * (softened(c)[1] - softened(c)[1].mean(1, keepdim=True)),
    "the teacher's probabilities are the weights: here the student's are":
        lambda c: around(p(c.z_t / c.T), softened(c)[1]),
    "the logits are not softened: T divides those of both": lambda c: around(*softened(c.with_(T=1.0))),
}, scale={
    "": lambda c: c.T, "the factor T² of the loss is missing": lambda c: 1 / c.T,
    "the factor 1/T from the inner derivative is missing": lambda c: c.T**2,
    "both factors of T are missing": lambda c: 1.0,
}, over={
    "": lambda c: len(c.z_s), "it is not divided by the number of images": lambda c: 1,
    "it is divided by the number of classes as well": lambda c: c.z_s.numel(),
}), *CASES, at="", where=DERIVED, marks=(1, 0), near=2e-4, of=summed,
    own="a formula that you derived is asked for, without automatic differentiation", far="far")


def centred(z):
    return z - z.mean(1, keepdim=True)


def smooth(c, label: float, rest: float):
    """Numbers (B, K), one at the label and one at every other class."""
    return torch.full(c.z_t.shape, rest, dtype=torch.double).scatter(1, c.y[:, None], label)


def mixture(c):
    K = c.z_t.shape[1]
    return smooth(c, 1 - c.alpha + c.alpha / K, c.alpha / K)


smoothing_teacher = loss(Formula(probed(lambda c, target, form: form(target(c), c.T)), target={
    "": mixture,
    "epsilon is shared out among the other classes alone: the label gets its part of it too":
        lambda c: smooth(c, 1 - c.alpha, c.alpha / (c.z_t.shape[1] - 1)),
    "epsilon and 1 - epsilon are exchanged": lambda c: mixture(c.with_(alpha=1 - c.alpha)),
    "the label keeps 1 - epsilon alone, so that the probabilities do not sum to 1":
        lambda c: smooth(c, 1 - c.alpha, c.alpha / c.z_t.shape[1]),
}, form={
    "": lambda q, T: T * centred(q.log()),
    "T is not used: divided by T these logits give a flatter answer than the one asked for":
        lambda q, T: centred(q.log()),
    "the logarithms are divided by T: the loss divides by T, so what undoes it is asked for":
        lambda q, T: centred(q.log()) / T,
    "the rows are not centred: their mean is to be 0": lambda q, T: T * q.log(),
    "these are the probabilities: a teacher gives logits": lambda q, T: q,
    "these are the probabilities, centred: a teacher gives logits": lambda q, T: centred(q),
    "these are the probabilities times T: a teacher gives logits": lambda q, T: T * q,
    "each row is divided by its length: its mean is to be 0":
        lambda q, T: T * q.log() / q.log().norm(dim=1, keepdim=True),
}), *CASES, at="", where=SMOOTHED, marks=(1, 0), near=1e-3, of=summed)


def two(z, y, T_label, T_rest):
    """Logits, that of the label divided by T_label and the others by T_rest."""
    return torch.where(torch.arange(z.shape[1]) == y[:, None], z / T_label, z / T_rest)


asymmetric = loss(Formula(probed(lambda c, kind: kind(c.z_t.double(), c.y, c.T, c.T_rest)), kind={
    "": lambda z, y, a, b: p(two(centred(z), y, a, b)),
    "the rows are not centred first: a constant added to all logits then changes the answer":
        lambda z, y, a, b: p(two(z, y, a, b)),
    "log-probabilities are divided, not centred logits": lambda z, y, a, b: p(two(log_p(z), y, a, b)),
    "one mean is taken away from all images: each row has its own": lambda z, y, a, b: p(two(z - z.mean(), y, a, b)),
    "the two temperatures are exchanged": lambda z, y, a, b: p(two(centred(z), y, b, a)),
    "all logits are divided by T_label": lambda z, y, a, b: p(z / a),
    "all logits are divided by T_rest": lambda z, y, a, b: p(z / b),
    "the largest logit was taken for the label": lambda z, y, a, b: p(two(centred(z), z.argmax(1), a, b)),
    "these are logits: probabilities are asked for": lambda z, y, a, b: two(centred(z), y, a, b),
    "the temperatures multiply: they divide": lambda z, y, a, b: p(two(centred(z), y, 1 / a, 1 / b)),
    "the rows do not sum to 1: both temperatures share one softmax":
        lambda z, y, a, b: torch.where(torch.arange(z.shape[1]) == y[:, None], p(z / a), p(z / b)),
    "each row is centred by the mean of its other classes: the label's logit counts, too":
        lambda z, y, a, b: p(two(z - (z.sum(1, keepdim=True) - z.gather(1, y[:, None])) / (z.shape[1] - 1), y, a, b)),
}), *CASES, at="", where=ASYMMETRIC, marks=(1, 0), near=2e-4, of=summed)


def found(c):
    """The gradient of the loss that is audited, derived by hand."""
    return (c.z_s.double() - c.z_t.double()) * c.bend.double() / c.T


audit = loss(Formula(probed(lambda c, target, factor, rest: torch.stack(
        [f := factor(found(c), target(c)), rest(found(c), target(c), f)])), target={
    "": lambda c: c.T * (p(c.z_s / c.T) - p(c.z_t / c.T)) / len(c.z_s),
    "the right gradient has a factor T² too few: it is that of T² times the divergence":
        lambda c: (p(c.z_s / c.T) - p(c.z_t / c.T)) / c.T / len(c.z_s),
    "the right gradient is that of KL(p_s || p_t), the divergence of question 1":
        lambda c: c.T * around(*softened(c)) / len(c.z_s),
    "the right gradient is not divided by the number of images": lambda c: c.T * (p(c.z_s / c.T) - p(c.z_t / c.T)),
    "the right gradient is taken at T = 1": lambda c: (p(c.z_s) - p(c.z_t)) / len(c.z_s),
    "the sign of the right gradient is wrong": lambda c: -c.T * (p(c.z_s / c.T) - p(c.z_t / c.T)) / len(c.z_s),
}, factor={
    "": lambda g, t: (g * t).sum() / (t * t).sum(),
    "the factor is the ratio of the lengths: two gradients of one length may point anywhere":
        lambda g, t: g.norm() / t.norm(),
    "the factor is upside down": lambda g, t: (g * t).sum() / (g * g).sum(),
    "the factor is a cosine: it does not say by how much a loss is too large":
        lambda g, t: (g * t).sum() / g.norm() / t.norm(),
    "the factor is not divided by the square of the right gradient's length": lambda g, t: (g * t).sum(),
}, rest={
    "": lambda g, t, f: (g - f * t).norm() / g.norm(),
    "the remainder is not divided by the length of the gradient": lambda g, t, f: (g - f * t).norm(),
    "the remainder is divided by the length of the right gradient": lambda g, t, f: (g - f * t).norm() / t.norm(),
    "the remainder is squared": lambda g, t, f: ((g - f * t).norm() / g.norm()).square(),
    "the remainder is the distance from the right gradient itself": lambda g, t, f: (g - t).norm() / g.norm(),
}), *CASES, at="", where=WRONG_WAYS, marks=(1, 0), near=2e-4,
    of=lambda c: f"{of(c)}, factor and remainder summed with random factors,")


def turned(c, by: int):
    """Each image with the answer of the one that stands so many places after it among those of its label."""
    z = c.z_t.double().clone()
    for label in c.y.unique():
        rows = (c.y == label).nonzero()[:, 0]
        z[rows] = c.z_t.double()[rows.roll(-by)]
    return z


def last_keeps(c):
    z = turned(c, 1)
    last = [int((c.y == label).nonzero()[-1]) for label in c.y.unique()]
    z[last] = c.z_t.double()[last]
    return z


exchanged = loss(Formula(probed(lambda c, kind: kind(c)), kind={
    "": lambda c: turned(c, 1),
    "every image keeps its own answer: nothing is exchanged": lambda c: c.z_t.double(),
    "each image gets the answer of the one before it: the next one is asked for": lambda c: turned(c, -1),
    "answers go from one label to another: an image gets the answer of the next one of its own label":
        lambda c: c.z_t.double().roll(-1, 0),
    "the last image of a label keeps its own answer: it gets that of the first": last_keeps,
    "every image gets the mean answer of its label: that is the lesson's control, and not this one":
        lambda c: torch.stack([c.z_t.double()[c.y == label].mean(0) for label in c.y]),
    "every image gets the answer of the first image of its label":
        lambda c: torch.stack([c.z_t.double()[(c.y == label).nonzero()[0, 0]] for label in c.y]),
    "the classes of an answer were exchanged: whole answers, rows, change places": lambda c: c.z_t.double().roll(-1, 1),
    "the images come back sorted by their labels: each stays in its own row":
        lambda c: turned(c, 1)[c.y.argsort(stable=True)],
}), *CASES, at="", where=CONTROLS, marks=(1, 0), near=2e-4,
    of=lambda c: f"{len(c.y)} images of the labels {c.y.unique().tolist()}, summed with random factors,")
