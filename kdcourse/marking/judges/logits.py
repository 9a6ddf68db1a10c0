"""The definitions of the losses on logits in double precision, each with the usual mistakes: what several exercises
ask for.

Written from the definitions, without the package's own losses: a mistake there must not hide the same mistake here. A
case has logits `z_s` and `z_t` (B, K), labels `y` (B,), `T` and `alpha`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.marking.judges.mistakes import Formula


def log_p(z: Tensor, dim: int = 1) -> Tensor:
    """log softmax from the definition, in double precision."""
    z = z.double()
    return z - z.logsumexp(dim=dim, keepdim=True)


def p(z: Tensor, dim: int = 1) -> Tensor:
    return log_p(z, dim).exp()


def surprise(z: Tensor, y: Tensor) -> Tensor:
    """-log p of the label of each image, (B,)."""
    return -log_p(z).gather(1, y[:, None])[:, 0]


def divergence(z_s: Tensor, z_t: Tensor, T: float = 1) -> Tensor:
    """KL(p_t || p_s) of each image, (B,)."""
    return (p(z_t / T) * (log_p(z_t / T) - log_p(z_s / T))).sum(dim=1)


def unit(z: Tensor) -> Tensor:
    """Logits with mean 0 and standard deviation 1 for each image."""
    z = z.double()
    return (z - z.mean(dim=1, keepdim=True)) / z.std(dim=1, keepdim=True)


def halfway(z_s: Tensor, z_t: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of each image, (B,): from both to the mean of both."""
    p_s, p_t = p(z_s), p(z_t)
    middle = ((p_s + p_t) / 2).log()
    return ((p_s * (log_p(z_s) - middle)).sum(1) + (p_t * (log_p(z_t) - middle)).sum(1)) / 2


def sigmoids(z: Tensor, y: Tensor) -> Tensor:
    """The binary cross-entropy of every class with whether it is the label, its mean for each image, (B,)."""
    z = z.double()
    return F.binary_cross_entropy_with_logits(z, F.one_hot(y, z.shape[1]).double(), reduction="none").mean(dim=1)


def _label(values: Tensor, y: Tensor) -> Tensor:
    return values.double().gather(1, y[:, None])[:, 0]


KIND = {  # one number per image
    "": lambda c: divergence(c.z_s, c.z_t, c.T),
    "student and teacher are swapped: this is KL(p_s || p_t), not KL(p_t || p_s)":
        lambda c: divergence(c.z_t, c.z_s, c.T),
    "this is the cross-entropy with the teacher's answer, which is larger than KL(p_t || p_s) by the teacher's own "
    "entropy: log p_t is missing": lambda c: -(p(c.z_t / c.T) * log_p(c.z_s / c.T)).sum(1),
    "F.kl_div was given the student's probabilities: it expects their logarithm":
        lambda c: (p(c.z_t / c.T) * (log_p(c.z_t / c.T) - p(c.z_s / c.T))).sum(1),
    "F.kl_div was given its arguments in the wrong order, and probabilities at that":
        lambda c: (p(c.z_s / c.T) * (log_p(c.z_s / c.T) - p(c.z_t / c.T))).sum(1),
    "the sign is wrong: the divergence is never negative": lambda c: -divergence(c.z_s, c.z_t, c.T),
    "the student's logits are not softened: T divides those of both": lambda c: divergence(c.z_s, c.z_t / c.T),
    "the teacher's logits are not softened: T divides those of both": lambda c: divergence(c.z_s / c.T, c.z_t),
    "the logits are not softened at all": lambda c: divergence(c.z_s, c.z_t),
    "the logits are multiplied by T, not divided": lambda c: divergence(c.z_s * c.T, c.z_t * c.T),
    "the probabilities are divided by T, not the logits":
        lambda c: (p(c.z_t) / c.T * (log_p(c.z_t) - log_p(c.z_s))).sum(1),
    "T divides the logits twice: once is asked for": lambda c: divergence(c.z_s, c.z_t, c.T**2),
    "sigmoid instead of softmax": lambda c: (
        torch.sigmoid(c.z_t.double() / c.T) * (F.logsigmoid(c.z_t.double() / c.T) - F.logsigmoid(c.z_s.double() / c.T))
    ).sum(1),
    "sigmoid instead of log-softmax for the student": lambda c: (
        torch.sigmoid(c.z_t.double() / c.T)
        * (F.logsigmoid(c.z_t.double() / c.T) - torch.sigmoid(c.z_s.double() / c.T))).sum(1),
    "softmax runs over the images, not over the classes (dim=0)": lambda c: (
        p(c.z_t / c.T, 0) * (log_p(c.z_t / c.T, 0) - log_p(c.z_s / c.T, 0))).sum(1),
    "softmax is taken twice: the probabilities are softened once more":
        lambda c: divergence(p(c.z_s / c.T), p(c.z_t / c.T)),
    "this is the squared difference of probabilities, not a divergence":
        lambda c: (p(c.z_s / c.T) - p(c.z_t / c.T)).square().sum(1),
    "this is the squared difference of softened logits, not a divergence":
        lambda c: (c.z_s.double() / c.T - c.z_t.double() / c.T).square().sum(1),
    "this is the cross-entropy with the teacher's best guess: what it says of the other classes is lost":
        lambda c: surprise(c.z_s / c.T, c.z_t.argmax(1)),
    "this is the mean of both divergences, KL(p_t || p_s) and KL(p_s || p_t): the first alone is asked for":
        lambda c: (divergence(c.z_s, c.z_t, c.T) + divergence(c.z_t, c.z_s, c.T)) / 2,
    "both divergences are added, KL(p_t || p_s) and KL(p_s || p_t): the first alone is asked for":
        lambda c: divergence(c.z_s, c.z_t, c.T) + divergence(c.z_t, c.z_s, c.T),
    "this is the sum of p_t log p_s, without the minus sign of a cross-entropy, and without log p_t":
        lambda c: (p(c.z_t / c.T) * log_p(c.z_s / c.T)).sum(1),
    "F.kl_div was given the teacher's probabilities with log_target=True, which expects their logarithm":
        lambda c: (p(c.z_t / c.T).exp() * (p(c.z_t / c.T) - log_p(c.z_s / c.T))).sum(1),
    "this is the Jensen-Shannon divergence, not KL(p_t || p_s)": lambda c: halfway(c.z_s / c.T, c.z_t / c.T),
    "this is the distance of probabilities without its square or logarithm, not a divergence":
        lambda c: (p(c.z_s / c.T) - p(c.z_t / c.T)).abs().sum(1),
    "logarithms are to base 2: natural ones are asked for": lambda c: divergence(c.z_s, c.z_t, c.T) / math.log(2),
    "logits are standardised before the softmax: they are to be divided by T alone":
        lambda c: divergence(unit(c.z_s), unit(c.z_t), c.T),
}
POWER = {
    "": lambda c: c.T**2, "T² is missing": lambda c: 1, "multiplied by T, not by T²": lambda c: c.T,
    "T² is there twice": lambda c: c.T**4, "divided by T²": lambda c: c.T**-2,
    "T² is halved": lambda c: c.T**2 / 2,
}
MEAN = {
    "": lambda each, c: each.mean(),
    "mean over images and classes instead of a sum over classes: K times too small (F.kl_div's default)":
        lambda each, c: each.mean() / c.z_s.shape[1],
    "sum over the images, not their mean: it grows with the batch": lambda each, c: each.sum(),
    "sum over the images and mean over the classes: it is the other way round":
        lambda each, c: each.sum() / c.z_s.shape[1],
}
SHARE = {  # how both terms are shared out
    "": lambda c, h, s: (1 - c.alpha) * h + c.alpha * s,
    "alpha weighs the hard term: here it weighs the teacher's": lambda c, h, s: c.alpha * h + (1 - c.alpha) * s,
    "T² multiplies the hard term as well": lambda c, h, s: c.T**2 * (1 - c.alpha) * h + c.alpha * s,
    "T² multiplies the hard term, not the soft one": lambda c, h, s: c.T**2 * (1 - c.alpha) * h + c.alpha * s / c.T**2,
    "T² multiplies the hard term, not the soft one, and alpha weighs the hard term":
        lambda c, h, s: c.T**2 * c.alpha * h + (1 - c.alpha) * s / c.T**2,
    "the hard term is not weighed by 1 - alpha": lambda c, h, s: h + c.alpha * s,
    "the soft term is not weighed by alpha": lambda c, h, s: (1 - c.alpha) * h + s,
    "both terms are added without weights": lambda c, h, s: h + s,
    "the soft term is missing": lambda c, h, s: (1 - c.alpha) * h,
    "the hard term is missing": lambda c, h, s: c.alpha * s,
    "only the hard term is there": lambda c, h, s: h,
    "only the soft term is there": lambda c, h, s: s,
    "alpha is squared away: (1 - alpha) stands on both terms": lambda c, h, s: (1 - c.alpha) * (h + s),
    "both terms are halved: alpha is not used": lambda c, h, s: (h + s) / 2,
    "alpha is there twice in the soft term": lambda c, h, s: (1 - c.alpha) * h + c.alpha**2 * s,
    "T and alpha are exchanged: T was taken for the weight, and alpha for the temperature":
        lambda c, h, s: (1 - c.T) * h + c.T * c.alpha**2 * divergence(c.z_s, c.z_t, c.alpha).mean(),
    "the whole is halved: both terms are added with their weights, which sum to 1":
        lambda c, h, s: ((1 - c.alpha) * h + c.alpha * s) / 2,
    "the whole is divided by T²: T² multiplies the soft term":
        lambda c, h, s: ((1 - c.alpha) * h + c.alpha * s) / c.T**2,
    "labels and the teacher's answer are mixed into one target, so the student is not softened and T² is missing":
        lambda c, h, s: (1 - c.alpha) * h - c.alpha * (p(c.z_t / c.T) * log_p(c.z_s)).sum(1).mean(),
}
HARD = {
    "": lambda c: surprise(c.z_s, c.y).mean(),
    "the hard term is computed at temperature T: it belongs at T = 1": lambda c: surprise(c.z_s / c.T, c.y).mean(),
    "cross_entropy was given probabilities: it takes the softmax itself": lambda c: surprise(p(c.z_s), c.y).mean(),
    "nll_loss was given logits: it expects log-probabilities": lambda c: -_label(c.z_s, c.y).mean(),
    "the hard term is summed over the images, not averaged": lambda c: surprise(c.z_s, c.y).sum(),
    "the hard term is asked of the teacher: it belongs to the student": lambda c: surprise(c.z_t, c.y).mean(),
    "the teacher's best guess takes the label's place": lambda c: surprise(c.z_s, c.z_t.argmax(1)).mean(),
    "labels are smoothed by 0.1: they count as they are":
        lambda c: (0.9 * surprise(c.z_s, c.y) - 0.1 * log_p(c.z_s).mean(1)).mean(),
}
SURPRISE = {  # the label's, of each image
    "": lambda c: surprise(c.z_s, c.y),
    "the sign is wrong": lambda c: -surprise(c.z_s, c.y),
    "cross_entropy was given probabilities: it takes the softmax itself": lambda c: surprise(p(c.z_s), c.y),
    "this is the probability of the label without its logarithm, or its negative": lambda c: -_label(p(c.z_s), c.y),
    "nll_loss was given logits: it expects log-probabilities": lambda c: -_label(c.z_s, c.y),
    "softmax runs over the images, not over the classes (dim=0)": lambda c: -_label(log_p(c.z_s, 0), c.y),
    "the largest logit was taken for the label": lambda c: surprise(c.z_s, c.z_s.argmax(1)),
    "labels are smoothed by 0.1: they count as they are":
        lambda c: 0.9 * surprise(c.z_s, c.y) - 0.1 * log_p(c.z_s).mean(1),
    "this is a binary cross-entropy of every class, with sigmoids: softmax is meant": lambda c: sigmoids(c.z_s, c.y),
    "this is the squared distance of probabilities from the label's, not a cross-entropy":
        lambda c: (p(c.z_s) - F.one_hot(c.y, c.z_s.shape[1])).square().mean(1),
    "cross_entropy was given sigmoids: it takes the softmax itself":
        lambda c: surprise(torch.sigmoid(c.z_s.double()), c.y),
    "logarithms are to base 2: natural ones are asked for": lambda c: surprise(c.z_s, c.y) / math.log(2),
    "this is the squared distance of the logits from the label's one, not a cross-entropy":
        lambda c: (c.z_s.double() - F.one_hot(c.y, c.z_s.shape[1])).square().mean(1),
    "this is 1 minus the probability of the label: its logarithm is asked for":
        lambda c: 1 - _label(p(c.z_s), c.y),
    "this is the hinge loss, a margin between logits, not a cross-entropy":
        lambda c: F.multi_margin_loss(c.z_s.double(), c.y, reduction="none"),
}
OVER_IMAGES = {
    "": lambda each, c: each.mean(), "summed over the images, not averaged": lambda each, c: each.sum(),
    "divided by the number of classes as well": lambda each, c: each.mean() / c.z_s.shape[1],
}

CROSS_ENTROPY = Formula(lambda c, each, over: over(each(c), c), each=SURPRISE, over=OVER_IMAGES)
SOFT = Formula(lambda c, kind, power, mean: power(c) * mean(kind(c), c), kind=KIND, power=POWER, mean=MEAN)


COMBINED = Formula(lambda c, share, hard, soft: share(c, hard(c), soft(c)), share=SHARE, hard=HARD,
                   soft=SOFT.place("in the soft term, "))


def _without(place: dict, *texts: str) -> dict:
    return {text: form for text, form in place.items() if not text.startswith(texts)}


# The loss of a step in a training by Adam. Only its gradient shows there, and not its scale: what cannot be told from
# what is right, or from another mistake, is left out.
_SOFT_STEP = Formula(SOFT.whole, kind=_without(KIND, "this is the cross-entropy with the teacher's answer",
                                                      "this is the sum of p_t log p_s"),
                     power=POWER, mean=MEAN)
ONE_STEP = Formula(
    COMBINED.whole, soft=_SOFT_STEP.place("in the soft term, ", 1, keep=False), share=_without(
        SHARE, "T² multiplies the hard term", "only the", "alpha is squared away", "both terms are halved",
        "the whole is"),
    hard=_without(HARD, "the hard term is asked of the teacher"))


def of(case) -> str:
    """A batch of logits in words."""
    B, K = case.z_s.shape
    return f"{B} images, {K} classes" + (f", T = {case.T:.3g}" if hasattr(case, "T") else "")
