"""What a reader of a lesson writes by hand, judging half."""

import torch.nn.functional as F

from kdcourse.marking.judges.logits import COMBINED, ONE_STEP, SOFT, of, p
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula
from kdcourse.marking.judges.training import training

SOFTENED = Formula(lambda c, kind: (kind(c.z_t, c.T) * c.probe).sum(), kind={
    "": lambda z, T: (z / T).softmax(1), "the logits are multiplied by T: divide them": lambda z, T: (z * T).softmax(1),
    "T is not used: it divides the logits": lambda z, T: z.softmax(1),
    "T divides the probabilities: it belongs inside the softmax, where it divides the logits":
        lambda z, T: z.softmax(1) / T,
    "the softmax runs over the images: it belongs over the classes, dim=1": lambda z, T: (z / T).softmax(0),
    "this is the logarithm of the probabilities": lambda z, T: (z / T).log_softmax(1),
    "the softmax is missing: these are logits, no probabilities": lambda z, T: z / T,
    "this is a sigmoid, and its numbers do not sum to 1: use the softmax": lambda z, T: (z / T).sigmoid(),
})
softened = loss(SOFTENED, "cold", "warm", "hot", at="", where="notebook 00, section 3", marks=(1, 0), near=2e-4,
                of=lambda c: f"{len(c.z_t)} images at T = {c.T:.2g}, summed with random factors,")
SHARE_RIGHT = Formula(lambda c, kind: kind(c.z_s, c.y), kind={
    "": lambda z, y: (z.argmax(1) == y).double().mean(),
    "the smallest logit is taken: the prediction is the largest": lambda z, y: (z.argmin(1) == y).double().mean(),
    "this is the number of images that are right: divide it by how many there are":
        lambda z, y: (z.argmax(1) == y).double().sum(),
    "this is the share of wrong predictions": lambda z, y: (z.argmax(1) != y).double().mean(),
    "this is a percentage: a share lies between 0 and 1": lambda z, y: 100 * (z.argmax(1) == y).double().mean(),
})
share_right = loss(SHARE_RIGHT, "cold", "warm", "hot", at="", where="notebook 00, section 2", marks=(1, 0), near=1e-4,
                   of=lambda c: f"{len(c.y)} images")

soft_loss = loss(SOFT, "cold", "warm", "warmer", "hot", where="notebook 01, section 2", of=of)
student_loss = loss(COMBINED, "cold", "warm", "warmer", "hot", where="notebook 01, section 2", of=of, marks=(0.5, 0.5),
                    large=0)
train_by_hand = training(ONE_STEP, where="notebook 01, section 3", repair="student_loss, section 2",
                         weights={"main": 0.3}, arguments={"other T": "T", "other alpha": "alpha"},
                         other_order="other seed")


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


# notebook 04
def _pairs(tie):
    def share(score, y):
        higher, lower = score[y == 1].double()[:, None], score[y == 0].double()[None]
        return ((higher > lower).double() + tie * (higher == lower)).mean()
    return share


def _f1(called, y, positive=1):
    hit = ((called == positive) & (y == positive)).sum().double()
    return 2 * hit / ((called == positive).sum() + (y == positive).sum())


auc_by_pairs = loss(Formula(lambda c, kind: kind(c.score, c.y), kind={
    "": _pairs(0.5), "a tie counts as nothing: count one half for it": _pairs(0.0),
    "a tie counts as a pair in the right order: count one half for it": _pairs(1.0),
    "positive and negative images are exchanged": lambda score, y: _pairs(0.5)(score, 1 - y),
    "the right pairs are counted and not divided by the number of pairs":
        lambda score, y: _pairs(0.5)(score, y) * (y == 1).sum() * (y == 0).sum(),
}), "one", "two", "three", at="", where="notebook 04, section 2", marks=(1, 0), near=1e-4,
    of=lambda c: f"{len(c.y)} images")
f1_by_counts = loss(Formula(lambda c, kind: kind(c.called, c.y), kind={
    "": _f1, "this is the F1 of class 0: class 1 is positive": lambda called, y: _f1(called, y, 0),
    "this is the accuracy": lambda called, y: (called == y).double().mean(),
    "this is the recall: the precision is missing": lambda called, y: called[y == 1].double().mean(),
    "this is the precision: the recall is missing": lambda called, y: y[called == 1].double().mean(),
    "this is the mean of precision and recall: F1 is 2PR / (P + R)":
        lambda called, y: (called[y == 1].double().mean() + y[called == 1].double().mean()) / 2,
    "the factor 2 is missing": lambda called, y: _f1(called, y) / 2,
}), "one", "two", "three", at="", where="notebook 04, section 2", marks=(1, 0), near=1e-4,
    of=lambda c: f"{len(c.y)} images")
interaction = loss(Formula(lambda c, kind: kind(*c.cells.double()), kind={
    "": lambda r, rd, p, pd: (pd - p) - (rd - r), "its sign is turned round": lambda r, rd, p, pd: (rd - r) - (pd - p),
    "this is the effect of both together": lambda r, rd, p, pd: pd - r,
    "this is the mean effect of the teacher": lambda r, rd, p, pd: ((pd - p) + (rd - r)) / 2,
    "this is the mean effect of transfer": lambda r, rd, p, pd: ((p - r) + (pd - rd)) / 2,
    "it is divided by two": lambda r, rd, p, pd: ((pd - p) - (rd - r)) / 2,
}), "one", "two", "three", at="", where="notebook 04, section 4", marks=(1, 0), near=1e-4,
    of=lambda c: "four cells")
