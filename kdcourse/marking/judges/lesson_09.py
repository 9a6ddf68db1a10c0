"""What a reader of lesson 09 writes by hand, judging half: from the definitions, in double precision."""

import torch
import torch.nn.functional as F

from kdcourse.marking.judges.logits import divergence, log_p, p, surprise
from kdcourse.marking.judges.loss import as_one, loss, slopes
from kdcourse.marking.judges.mistakes import Formula

CASES = ("few", "some", "many")


def _both(c, fixed, ce, kl, parts, over, order):
    """The two losses and their gradients at both networks' logits, summed with random factors."""
    z_a, z_b = (z.double().requires_grad_() for z in (c.z_a, c.z_b))
    pair = order([over(parts(ce(own, c.y), kl(own, other, fixed(which)))) for which, own, other in
                  (("a", z_a, z_b), ("b", z_b, z_a))])
    return as_one(c, [*pair, *(slope for value in pair for slope in slopes(value, [z_a, z_b], [c.other] * 2))])


def _same(z):
    return z


mutual_losses = loss(Formula(_both, fixed={
    "": lambda which: torch.detach,
    "the other network is not detached: each loss also trains its teacher": lambda which: _same,
    "in the second loss the other network is not detached: loss_b also trains A":
        lambda which: torch.detach if which == "a" else _same,
    "in the first loss the other network is not detached: loss_a also trains B":
        lambda which: torch.detach if which == "b" else _same,
}, ce={
    "": surprise,
    "F.cross_entropy was given probabilities: it takes the logits": lambda own, y: surprise(p(own), y),
}, kl={
    "": lambda own, other, fix: divergence(own, fix(other)),
    "the divergence runs the wrong way: the other network is the target, its probabilities come first":
        lambda own, other, fix: divergence(fix(other), own),
    "the two divergences are exchanged: in loss_a the network A learns, and B is the fixed target":
        lambda own, other, fix: divergence(other, fix(own)),
    "the second part is the cross-entropy with the other's probabilities: its own logarithm is missing":
        lambda own, other, fix: -(p(fix(other)) * log_p(own)).sum(1),
    "F.kl_div was given probabilities first: it expects their logarithm":
        lambda own, other, fix: (p(fix(other)) * (log_p(fix(other)) - p(own))).sum(1),
    "the divergence is averaged over images and classes: say reduction='batchmean'":
        lambda own, other, fix: divergence(own, fix(other)) / own.shape[1],
    "the divergence is summed over the images: say reduction='batchmean'":
        lambda own, other, fix: divergence(own, fix(other)) * len(own),
}, parts={
    "": lambda ce, kl: ce + kl,
    "the labels are not used": lambda ce, kl: kl,
    "the other network is not used": lambda ce, kl: ce,
    "both parts are halved": lambda ce, kl: (ce + kl) / 2,
    "the divergence is subtracted": lambda ce, kl: ce - kl,
}, over={
    "": lambda each: each.mean(),
    "summed over the images, not averaged": lambda each: each.sum(),
}, order={
    "": lambda pair: pair,
    "the pair is in the wrong order: loss_a comes first, then loss_b": lambda pair: pair[::-1],
}), *CASES, at="", where="notebook 09, section 2", marks=(1, 0), near=2e-5,
    of=lambda c: f"{len(c.y)} images, both losses and their gradients summed with random factors,")


def _bridged(c, small, fixed, learns, kl, scale, over):
    """The loss and its gradients at the student's and the teacher's weights, summed with random factors."""
    w_s, w_t = (w.double().requires_grad_() for w in (c.w_s, c.w_t))
    x = c.x.double()
    z_s, z_t = learns(small(x).flatten(1) @ w_s), fixed(x.flatten(1) @ w_t)
    value = scale(c.T) * over(kl(z_s, z_t, c.T))
    return as_one(c, [value, *slopes(value, [w_s, w_t], [c.other, c.another])])


bridge_loss = loss(Formula(_bridged, small={
    "": lambda x: F.avg_pool2d(x, 4),
    "the thumbnail is every fourth pixel: take the mean of each 4x4 block": lambda x: x[:, :, ::4, ::4],
    "the thumbnail is the largest pixel of each block: take the mean": lambda x: F.max_pool2d(x, 4),
}, fixed={
    "": lambda z_t: z_t.detach(),
    "the teacher is not fixed: ask it inside torch.no_grad()": lambda z_t: z_t,
}, learns={
    "": lambda z_s: z_s,
    "no gradient reaches the student: ask it outside of torch.no_grad(), and do not detach it":
        lambda z_s: z_s.detach(),
}, kl={
    "": divergence,
    "student and teacher are swapped": lambda z_s, z_t, T: divergence(z_t, z_s, T),
    "T is not used: it divides the logits of both": lambda z_s, z_t, T: divergence(z_s, z_t),
    "T divides the student's logits only: it divides those of both": lambda z_s, z_t, T: divergence(z_s / T, z_t),
    "T divides the teacher's logits only: it divides those of both": lambda z_s, z_t, T: divergence(z_s, z_t / T),
    "F.kl_div was given the student's probabilities: it expects their logarithm":
        lambda z_s, z_t, T: (p(z_t / T) * (log_p(z_t / T) - p(z_s / T))).sum(1),
    "this is the cross-entropy: the teacher's logarithm is missing":
        lambda z_s, z_t, T: -(p(z_t / T) * log_p(z_s / T)).sum(1),
}, scale={
    "": lambda T: T**2,
    "T squared is missing": lambda T: 1.0,
    "T multiplies it, not its square": lambda T: T,
}, over={
    "": lambda each: each.mean(),
    "summed over the images, not averaged": lambda each: each.sum(),
    "averaged over images and classes: say reduction='batchmean'": lambda each: each.mean() / 3,
}), *CASES, at="", where="notebook 09, section 4", marks=(1, 0), near=2e-5,
    of=lambda c: f"{len(c.x)} images, T = {c.T:.2f}, the loss and its gradients summed with random factors,")


def _entropy(q):
    return -(q * q.log()).sum(-1)


def _balanced(c, kind, sign, flow):
    """The term and its gradient at the logits, summed with random factors."""
    z = c.z_t.double().requires_grad_()
    value = flow(sign(kind(z)))
    return as_one(c, [value, *slopes(value, [z], [c.other])])


entropy_term = loss(Formula(_balanced, kind={
    "": lambda z: _entropy(p(z).mean(0)),
    "the entropy is taken image by image, and then averaged: first the mean of the probabilities, then its entropy":
        lambda z: _entropy(p(z)).mean(),
    "the logits are averaged: take the softmax first, then the mean": lambda z: _entropy(p(z.mean(0, keepdim=True))[0]),
    "it is averaged over the classes, not summed": lambda z: _entropy(p(z).mean(0)) / z.shape[1],
    "the logarithm is that to base 2": lambda z: _entropy(p(z).mean(0)) / torch.log(torch.tensor(2.0).double()),
    "the logarithm is that to base 10": lambda z: _entropy(p(z).mean(0)) / torch.log(torch.tensor(10.0).double()),
    "the softmax runs over the images: it belongs over the classes, dim=1":
        lambda z: _entropy(p(z, 0).mean(0)),
    "the mean runs over the classes: it belongs over the images, dim=0":
        lambda z: _entropy(p(z).mean(1)),
    "predictions were counted: they have no gradient, so no generator can learn from them":
        lambda z: -torch.special.xlogy(*[z.argmax(1).bincount(minlength=z.shape[1]) / len(z)] * 2).sum().double(),
}, sign={
    "": lambda entropy: -entropy,
    "this is the entropy: a loss is to fall where it rises, so the sign is the other one": lambda entropy: entropy,
}, flow={
    "": lambda value: value,
    "no gradient reaches the logits, so no generator can learn from it: it was detached, or made a number by .item()":
        lambda value: value.detach(),
}), *CASES, at="", where="notebook 09, section 5", marks=(0.8, 0), near=2e-5,
    ends={"sure": (0.2, "where the teacher is quite sure, 0 log 0 counts as 0 in the term and in its gradient (clamp "
                        "the mean before its logarithm is taken)")},
    of=lambda c: f"{len(c.z_t)} images, the term and its gradient summed with random factors,")
