"""What a reader of lesson 02 writes by hand, judging half."""

import torch.nn.functional as F

from kdcourse.marking.judges.logits import p
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula


def _others(q, y):
    """q (B, K) with the label's column set to 0."""
    return q * (1 - F.one_hot(y, q.shape[1]))


def _shared(q):
    return q / q.sum(1, keepdim=True)


def _of_probe(c) -> str:
    return (f"{len(c.z_t)} images, {c.z_t.shape[1]} classes, T = {c.T:.2g}, alpha = {c.alpha:.2g}, "
            "summed with random factors,")


WRONG_ANSWERS = Formula(lambda c, kind: (kind(c.z_t, c.y, c.T) * c.probe).sum(), kind={
    "": lambda z, y, T: _shared(_others(p(z / T), y)),
    "the rows do not sum to 1: divide each by its sum": lambda z, y, T: _others(p(z / T), y),
    "the label's probability is still there: set it to 0": lambda z, y, T: p(z / T),
    "T is not used: it divides the logits": lambda z, y, T: _shared(_others(p(z), y)),
    "the largest probability was set to 0, not the label's":
        lambda z, y, T: _shared(_others(p(z / T), z.argmax(1))),
    "everything but the label was set to 0": lambda z, y, T: F.one_hot(y, z.shape[1]).double(),
    "the logits were set to 0 before the softmax: a logit of 0 is no probability of 0":
        lambda z, y, T: p(_others(z, y) / T),
})
wrong_answers = loss(WRONG_ANSWERS, "cold", "warm", "hot", at="", where="notebook 02, section 1", marks=(1, 0),
                     near=2e-4, of=_of_probe)
SOFT_GRADIENT = Formula(lambda c, kind, power, mean: (power(c) * (kind(c) / mean(c)) * c.probe).sum(), kind={
    "": lambda c: p(c.z_s / c.T) - p(c.z_t / c.T),
    "the sign is wrong: the gradient is student minus teacher": lambda c: p(c.z_t / c.T) - p(c.z_s / c.T),
    "the probabilities are not softened: T divides the logits of both": lambda c: p(c.z_s) - p(c.z_t),
    "these are differences of logits: take the softmax of both first": lambda c: (c.z_s - c.z_t).double() / c.T,
}, power={
    "": lambda c: c.T, "T squared stands before it: one of the two factors T is lost in the derivative":
        lambda c: c.T**2,
    "the factor T is missing": lambda c: 1.0, "divided by T, not multiplied: that is the gradient without T squared":
        lambda c: 1 / c.T,
}, mean={"": lambda c: len(c.z_s), "the mean over the images is missing: divide by their number": lambda c: 1})
soft_gradient = loss(SOFT_GRADIENT, "cold", "warm", "hot", at="", where="notebook 02, section 3", marks=(1, 0),
                     near=2e-4, of=_of_probe)
SMOOTHED = Formula(lambda c, kind: (
    kind(F.one_hot(c.y, c.z_t.shape[1]).double(), c.z_t.shape[1], c.alpha) * c.probe).sum(), kind={
    "": lambda y, K, e: (1 - e) * y + e / K,
    "epsilon is not divided by the number of classes": lambda y, K, e: (1 - e) * y + e,
    "the label keeps all of its probability: it gives epsilon away": lambda y, K, e: y + e / K,
    "nothing is smoothed: these are the labels": lambda y, K, e: y,
    "epsilon and 1 - epsilon are exchanged": lambda y, K, e: e * y + (1 - e) / K,
    "epsilon is shared among the wrong classes only: here the label gets its part of it, too":
        lambda y, K, e: (1 - e) * y + e * (1 - y) / (K - 1),
})
smoothed = loss(SMOOTHED, "cold", "warm", "hot", at="", where="notebook 02, section 7", marks=(1, 0), near=2e-4,
                of=_of_probe)
