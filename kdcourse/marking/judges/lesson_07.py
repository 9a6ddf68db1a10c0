"""What a reader of lesson 07 writes by hand, judging half: the equations of SLKD, in double precision."""

import torch

from kdcourse.marking.judges.logits import divergence, of, p, surprise
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

HARD = {
    "": lambda c: surprise(c.z_s, c.y).mean(),
    "the cross-entropy is softened too: it is taken at T = 1": lambda c: surprise(c.z_s / c.T, c.y).mean(),
    "the cross-entropy is summed over the images: take the mean": lambda c: surprise(c.z_s, c.y).sum(),
    "cross_entropy was given softened probabilities: it takes logits, and does the softmax itself":
        lambda c: surprise(p(c.z_s / c.T), c.y).mean(),
    "cross_entropy was given probabilities at T = 1: it takes logits, and does the softmax itself":
        lambda c: surprise(p(c.z_s), c.y).mean(),
}
POWER = {"": lambda c: c.T**2, "the factor T squared is missing": lambda c: 1.0,
         "the factor is T, not T squared": lambda c: c.T}
SHARE = {
    "": lambda c, hard, soft: c.lam * hard + (1 - c.lam) * soft,
    "lam and 1 - lam are exchanged: lam weighs the labels": lambda c, hard, soft: (1 - c.lam) * hard + c.lam * soft,
    "the soft term has weight 1: it is 1 - lam": lambda c, hard, soft: c.lam * hard + soft,
    "the labels have weight 1: it is lam": lambda c, hard, soft: hard + (1 - c.lam) * soft,
}


def _kl(z_s, z_t, T):
    return divergence(z_s, z_t, T).mean()


SOFT = {
    "": _kl, "student and teacher are swapped: this is KL(p_s || p_t)": lambda z_s, z_t, T: _kl(z_t, z_s, T),
    "the logits are not softened: T divides those of both": lambda z_s, z_t, T: _kl(z_s, z_t, 1.0),
    "the divergence is averaged over the classes too: sum over them":
        lambda z_s, z_t, T: _kl(z_s, z_t, T) / z_s.shape[1],
    "the divergences are summed over the images: take the mean": lambda z_s, z_t, T: _kl(z_s, z_t, T) * len(z_s),
}
bracket = loss(Formula(lambda c, share, hard, power, kl: share(c, hard(c), power(c) * kl(c.z_s, c.z_t, c.T)),
                       share=SHARE, hard=HARD, power=POWER, kl=SOFT),
               "cold", "warm", "warmer", "hot", where="notebook 07, section 2", of=of, marks=(0.5, 0.5), large=0)

fused = loss(Formula(lambda c, kind: (kind(c.z_1.double(), c.z_2.double(), c.w) * c.probe).sum(), kind={
    "": lambda a, b, w: w * a + (1 - w) * b,
    "w is the share of the first learner, and here of the second": lambda a, b, w: (1 - w) * a + w * b,
    "w is not used: this is the plain mean": lambda a, b, w: (a + b) / 2,
    "this is the sum, with no shares": lambda a, b, w: a + b,
    "probabilities were fused: equation 7 fuses logits": lambda a, b, w: w * p(a) + (1 - w) * p(b),
    "the second learner is missing": lambda a, b, w: w * a,
    "both learners have the share w": lambda a, b, w: w * (a + b),
}), "cold", "warm", "hot", at="", where="notebook 07, section 2", marks=(1, 0), near=2e-4,
    of=lambda c: f"{len(c.z_1)} images, {c.z_1.shape[1]} classes, w = {c.w:.2g}, summed with random factors,")


def _one(c, z):
    """A bracket of the student and this guide."""
    return c.lam * surprise(c.z_s, c.y).mean() + (1 - c.lam) * c.T**2 * _kl(c.z_s, z, c.T)


def _reaches_the_learners(inputs, record) -> str:
    """What to say where the loss would move the learners too."""
    pushed = [name for name in inputs if record.tensors.get(f"{name} push", torch.zeros(1)).abs().max() > 0]
    return ("the value is right, but its gradient reaches the learners: the student's loss would train them too, and "
            "in (3) they are a target. Detach their logits: `z_l.detach()`.") if pushed else ""


slkd_by_hand = loss(Formula(lambda c, kind: kind(c), kind={
    "": lambda c: _one(c, c.z_t) + _one(c, c.z_l),
    "the teacher's bracket is missing: the learners alone are followed": lambda c: _one(c, c.z_l),
    "the learners' bracket is missing: this is KD": lambda c: _one(c, c.z_t),
    "the brackets are averaged: with alpha = beta = 1 they are added": lambda c: (_one(c, c.z_t) + _one(c, c.z_l)) / 2,
    "the labels are counted once: each bracket has its own cross-entropy":
        lambda c: _one(c, c.z_t) + _one(c, c.z_l) - c.lam * surprise(c.z_s, c.y).mean(),
    "the logits of teacher and learners were averaged first: each has a bracket of its own":
        lambda c: 2 * _one(c, (c.z_t + c.z_l) / 2),
    "this is the learners' own loss, from the teacher, added to the student's":
        lambda c: _one(c, c.z_t) + _one(c.with_(z_s=c.z_l), c.z_t),
}), "cold", "warm", "warmer", "hot", where="notebook 07, section 2", of=of, marks=(0.4, 0.3), large=0,
    also=((0.3, _reaches_the_learners),))
