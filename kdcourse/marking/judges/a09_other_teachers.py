"""Exercise 09, other teachers, judging half: from the definitions, in double precision."""

import math

import torch

from kdcourse.marking.judges.logits import divergence, log_p, surprise
from kdcourse.marking.judges.loss import as_one, loss, slope, slopes
from kdcourse.marking.judges.mistakes import Formula

CASES = ("few", "some", "many")
PEERS, SENSES, NOTHING, FORGETTING = (f"notebook 09, section {n}" for n in (2, 4, 5, 8))


def with_slopes(c, value, inputs):
    """A loss and its gradient on each input, in one number."""
    return as_one(c, [value, *slopes(value, inputs, c.told)])


def cohort(c, soft, fixed, parts, over):
    with torch.enable_grad():
        z = c.z.double().requires_grad_()
        each = [parts(surprise(own, c.y).mean(), soft(own, [fixed(z[i]) for i in range(len(z)) if i != k]).mean())
                for k, own in enumerate(z)]
        return with_slopes(c, over(torch.stack(each)), [z])


def apart(own, others):
    """The divergences of the others from one network, summed, (N,)."""
    return sum(divergence(own, one) for one in others)


cohort_loss = loss(Formula(cohort, soft={
    "": lambda own, others: apart(own, others) / len(others),
    "one divergence from the mean of the others' probabilities: take one from each of them, and the mean of these":
        lambda own, others: divergence(own, torch.stack([log_p(one) for one in others]).logsumexp(0)),
    "the divergences from the others are added: take their mean": apart,
    "averaged over the classes as well: sum over them":
        lambda own, others: apart(own, others) / len(others) / own.shape[1],
    "the mean is over all networks: nobody is a peer of its own": lambda own, others: apart(own, others) / (
        len(others) + 1),
    "the divergence runs the wrong way: a peer is the target, its probabilities come first":
        lambda own, others: sum(divergence(one, own) for one in others) / len(others),
}, fixed={
    "": torch.Tensor.detach,
    "the peers are not detached: a network's loss moves its teachers, too": lambda z: z,
}, parts={
    "": lambda a, b: a + b, "the labels are not used": lambda a, b: b, "the peers are not used": lambda a, b: a,
}, over={"": torch.sum, "the losses of the networks are averaged: add them": torch.mean
}), *CASES, at="", where=PEERS, marks=(1, 0), near=2e-4,
    of=lambda c: f"{len(c.z)} networks and {len(c.y)} images, the loss and its gradients in one number,")


def log_mean(z):
    """The logarithm of the mean probabilities, (K,)."""
    return log_p(z).logsumexp(0) - math.log(len(z))


def kl(log_a, log_b):
    return (log_a.exp() * (log_a - log_b)).sum(-1).mean()


def of_drawn(c, kind, flow):
    with torch.enable_grad():
        z = c.z.double().requires_grad_()
        return with_slopes(c, kind(flow(z), c.q.double().log()), [z])


share_loss = loss(Formula(of_drawn, kind={
    "": lambda z, log_q: kl(log_mean(z), log_q),
    "the divergence runs the wrong way: the mean probabilities come first": lambda z, log_q: kl(log_q, log_mean(z)),
    "the divergences of single images are averaged: average the probabilities first":
        lambda z, log_q: kl(log_p(z), log_q),
    "q is not used: this is the lesson's entropy term": lambda z, log_q: kl(log_mean(z), 0 * log_q),
    "this is the cross-entropy with q: the logarithm of the mean probabilities is missing":
        lambda z, log_q: -(log_mean(z).exp() * log_q).sum(),
    "the predictions are counted: a count has no gradient": lambda z, log_q: kl(torch.bincount(
        z.argmax(1), minlength=len(log_q)).double().clamp_min(1e-9).div(len(z)).log(), log_q),
}, flow={"": lambda z: z, "no gradient reaches the images: was it detached, or made a number?": torch.Tensor.detach,
}), *CASES, at="", where=NOTHING, marks=(0.7, 0), near=2e-4, ends={
    "large": (0.3, "with classes that the teacher never says (logits in the hundreds) value and gradient stay right")},
    of=lambda c: f"{len(c.z)} images, the loss and its gradient in one number,")


def information(z):
    return kl(log_p(z), log_mean(z))


set_information = loss(Formula(lambda c, kind: kind(c.z, c.z.split(c.sizes)), kind={
    "": lambda z, parts: information(z),
    "the means of the batches are averaged as if all were equally large: a small batch counts less":
        lambda z, parts: information(torch.cat([one.repeat(5040 // len(one), 1) for one in parts])),
    "it was computed for each batch, and averaged: average the probabilities over the whole set first":
        lambda z, parts: sum(len(one) * information(one) for one in parts) / len(z),
    "this is the entropy of the mean alone: the mean of the entropies is taken from it":
        lambda z, parts: -kl(log_mean(z), 0),
    "it is in bits: nats, by the natural logarithm, are asked for": lambda z, parts: information(z) / math.log(2),
    "the last batch alone is counted": lambda z, parts: information(parts[-1]),
}), *CASES, at="", where=NOTHING, marks=(0.75, 0), near=2e-5, ends={
    "sure": (0.25, "a probability of 0 adds nothing (0 log 0 = 0)")},
    of=lambda c: f"{len(c.z)} images in batches of {', '.join(map(str, c.sizes))},")


def part(each, there, whole=False):
    """The mean over the images that have it, or their sum by all images."""
    return torch.where(there, each, 0.0).sum() / (len(each) if whole else there.sum().clamp_min(1))


def bridge(c, there, whole, order, square, warm, share):
    has_pair, has_label = there(c.paired, c.y >= 0)
    soft = c.T**square * part(divergence(*order(c.z_s, c.z_t), c.T), has_pair, "pairs" in whole)
    return share(c.alpha, part(surprise(warm(c.z_s, c.T), c.y.clamp_min(0)), has_label, "labels" in whole), soft)


BRIDGE = Formula(bridge, there={
    "": lambda pair, label: (pair, label),
    "only images that have both, a label and a pair, are counted": lambda pair, label: (pair & label, pair & label),
    "labels count only where there is a pair: each part has its own images": lambda pair, label: (pair, pair & label),
}, whole={
    "": "", "the pairs' part is divided by all images: by those that have a pair": "pairs",
    "the labels' part is divided by all images: by those that have a label": "labels",
    "both parts are divided by all images: each by its own": "pairs, labels",
}, order={"": lambda s, t: (s, t), "student and teacher are swapped": lambda s, t: (t, s)},
   square={"": 2, "T² is missing": 0, "T stands where T² belongs": 1}, warm={
    "": lambda z, T: z, "the labels' part has the temperature T: it belongs at 1": lambda z, T: z / T,
}, share={
    "": lambda alpha, hard, soft: (1 - alpha) * hard + alpha * soft,
    "alpha and 1 - alpha are exchanged: alpha weighs the pairs": lambda alpha, hard, soft: (
        alpha * hard + (1 - alpha) * soft),
    "the labels are not used": lambda alpha, hard, soft: alpha * soft,
    "the pairs are not used": lambda alpha, hard, soft: (1 - alpha) * hard,
})
WAY_BACK = ("the gradient on the student is no number, or a wrong one: 0 divided by 0 is nan on the way back, even "
            "where `torch.where` leaves it out.")
gapped_bridge = loss(BRIDGE, "few", "some", where=SENSES, marks=(0.3, 0.3), large=0, ends={
    "no pairs": (0.1, "without a pair in the batch the pairs' part is 0"),
    "no labels": (0.1, "without a label in the batch the labels' part is 0")}, also=tuple(
        (0.1, slope(BRIDGE, f"no {what}s", f"without a {what} in the batch {WAY_BACK}", at="z_s"))
        for what in ("pair", "label")),
    of=lambda c: f"8 images, {int(c.paired.sum())} with a pair and {int((c.y >= 0).sum())} with a label,")


def labelled(z, columns, y, order):
    return surprise(z[:, columns], torch.tensor([order.index(k) for k in y.tolist()])).mean()


def by_task(tasks, T, z, before, log=lambda z, columns: log_p(z[:, columns])):
    return sum(T**2 * kl(log(before / T, columns), log(z / T, columns)) for columns in tasks)


def tasks(c, new, old, fixed, share):
    with torch.enable_grad():
        z, before = (one.double().requires_grad_() for one in (c.z, c.before))
        return with_slopes(c, share(c, new(c, z), old(c, z, fixed(before))), [z, before])


tasks_loss = loss(Formula(tasks, new={
    "": lambda c, z: labelled(z, c.new, c.y, c.new),
    "the labels' part has the temperature T: it belongs at 1": lambda c, z: labelled(z / c.T, c.new, c.y, c.new),
    "the labels' part sees all columns: those of the new task only": lambda c, z: surprise(z, c.y).mean(),
    "a label was looked for in the sorted columns, and the logits are in the order of `new`":
        lambda c, z: labelled(z, c.new, c.y, sorted(c.new)),
}, old={
    "": lambda c, z, before: by_task(c.old, c.T, z, before),
    "all old tasks share one softmax: each has its own": lambda c, z, before: by_task(
        [[k for task in c.old for k in task]], c.T, z, before),
    "the softmax is over all columns, and then the task's are taken: take them first": lambda c, z, before: by_task(
        c.old, c.T, z, before, log=lambda z, columns: log_p(z)[:, columns]),
    "the old tasks are averaged: add them": lambda c, z, before: by_task(c.old, c.T, z, before) / len(c.old),
    "now and before are swapped: what was said before is the target": lambda c, z, before: by_task(
        c.old, c.T, before, z),
    "T² is missing": lambda c, z, before: by_task(c.old, c.T, z, before) / c.T**2,
    "T stands where T² belongs": lambda c, z, before: by_task(c.old, c.T, z, before) / c.T,
    "the first old task alone is asked": lambda c, z, before: by_task(c.old[:1], c.T, z, before),
    "the last old task alone is asked": lambda c, z, before: by_task(c.old[-1:], c.T, z, before),
}, fixed={"": torch.Tensor.detach, "the network of before is not detached: it is moved as well": lambda z: z,
}, share={
    "": lambda c, hard, soft: hard + c.beta * soft, "beta is not used": lambda c, hard, soft: hard + soft,
    "beta weighs the labels: it weighs the old tasks": lambda c, hard, soft: c.beta * hard + soft,
    "the labels are not used": lambda c, hard, soft: c.beta * soft,
}), *CASES, at="", where=FORGETTING, marks=(1, 0), near=2e-4,
    of=lambda c: f"{len(c.old)} old tasks and T = {c.T:g}, the loss and its gradients in one number,")
