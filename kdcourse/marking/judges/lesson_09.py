"""What a reader of notebook 09 writes by hand, judging half: from the definitions, in double precision."""

import torch
import torch.nn.functional as F

from kdcourse.marking.judges.logits import divergence, log_p, p, surprise
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

CASES = ("few", "some", "many")


def _slope(value, at, other):
    [found] = torch.autograd.grad(value, at, retain_graph=True, allow_unused=True)
    return value.new_zeros(()) if found is None else (found * other).sum().detach()


def _both(c, fixed, kl, parts, over):
    """The two losses and their gradients at both networks' logits, summed with random factors."""
    z_a, z_b = (z.double().requires_grad_() for z in (c.z_a, c.z_b))
    pair = [over(parts(surprise(own, c.y), kl(own, fixed(other)))) for own, other in ((z_a, z_b), (z_b, z_a))]
    slopes = [_slope(value, z, c.other.double()) for value in pair for z in (z_a, z_b)]
    return (torch.stack([value.detach() for value in pair] + slopes) * c.probe.double()).sum()


mutual_losses = loss(Formula(_both, fixed={
    "": lambda other: other.detach(),
    "the other network is not detached: each loss also trains its teacher": lambda other: other,
}, kl={
    "": lambda own, other: divergence(own, other),
    "the divergence runs the wrong way: the other network is the target, its probabilities come first":
        lambda own, other: divergence(other, own),
    "the second part is the cross-entropy with the other's probabilities: its own logarithm is missing":
        lambda own, other: -(p(other) * log_p(own)).sum(1),
}, parts={
    "": lambda ce, kl: ce + kl,
    "the labels are not used": lambda ce, kl: kl,
    "the other network is not used": lambda ce, kl: ce,
    "both parts are halved": lambda ce, kl: (ce + kl) / 2,
    "the divergence is subtracted": lambda ce, kl: ce - kl,
}, over={
    "": lambda each: each.mean(),
    "summed over the images, not averaged": lambda each: each.sum(),
}), *CASES, at="", where="notebook 09, section 2", marks=(1, 0), near=2e-5,
    of=lambda c: f"{len(c.y)} images, both losses and their gradients summed with random factors,")


def _bridged(c, small, fixed, kl, scale, over):
    """The loss and its gradients at the student's and the teacher's weights, summed with random factors."""
    w_s, w_t = (w.double().requires_grad_() for w in (c.w_s, c.w_t))
    x = c.x.double()
    z_s, z_t = small(x).flatten(1) @ w_s, fixed(x.flatten(1) @ w_t)
    value = scale(c.T) * over(kl(z_s, z_t, c.T))
    slopes = [_slope(value, w_s, c.other.double()), _slope(value, w_t, c.another.double())]
    return (torch.stack([value.detach(), *slopes]) * c.probe.double()).sum()


bridge_loss = loss(Formula(_bridged, small={
    "": lambda x: F.avg_pool2d(x, 4),
    "the thumbnail is every fourth pixel: take the mean of each 4x4 block": lambda x: x[:, :, ::4, ::4],
    "the thumbnail is the largest pixel of each block: take the mean": lambda x: F.max_pool2d(x, 4),
}, fixed={
    "": lambda z_t: z_t.detach(),
    "the teacher is not fixed: ask it inside torch.no_grad()": lambda z_t: z_t,
}, kl={
    "": divergence,
    "student and teacher are swapped": lambda z_s, z_t, T: divergence(z_t, z_s, T),
    "T is not used: it divides the logits of both": lambda z_s, z_t, T: divergence(z_s, z_t),
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


entropy_term = loss(Formula(lambda c, kind, sign: sign(kind(c.z_t.double())), kind={
    "": lambda z: _entropy(p(z).mean(0)),
    "the entropy is taken image by image, and then averaged: first the mean of the probabilities, then its entropy":
        lambda z: _entropy(p(z)).mean(),
    "the logits are averaged: take the softmax first, then the mean": lambda z: _entropy(p(z.mean(0, keepdim=True))[0]),
    "it is averaged over the classes, not summed": lambda z: _entropy(p(z).mean(0)) / z.shape[1],
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
}), *CASES, at="", where="notebook 09, section 5", marks=(1, 0), near=2e-5, of=lambda c: f"{len(c.z_t)} images,")
