"""Exercise 05, mind the gap, judging half: from the definitions, in double precision."""

import math

import torch
import torch.nn.functional as F

from kdcourse.marking.judges.base import close
from kdcourse.marking.judges.logits import OVER_IMAGES, POWER, divergence, log_p, of, p
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

ASSISTANTS, TIME, PARTS, LOSSES, SIZES = (f"notebook 05, section {n}" for n in (4, 5, 6, 7, 2))


def coded(numbers, size: int):
    numbers = [float(number) for number in numbers][:size]
    return torch.tensor(numbers + [0.0] * (size - len(numbers)), dtype=torch.double)


def told(kind):
    """A row of numbers, times random factors."""
    return lambda c: (coded(kind(c), len(c.probe)) * c.probe).sum()


def lessons(guides, teach=lambda student, guides: [student, *sorted(guides), 0.0]):
    """Each network in its turn, by `guides(those before it, teacher, itself)`."""
    def row(c):
        networks, teacher = c.networks.tolist(), c.teacher.item()
        return [number for i, one in enumerate(networks) for number in teach(one, guides(networks[:i], teacher, one))]

    return row


def everybody(before, teacher, own):
    return [teacher, *before]


def turned(c):
    return lessons(everybody)(c.with_(networks=c.networks.flip(0)))


dense_chain = loss(Formula(lambda c, kind: told(kind)(c), kind={
    "": lessons(everybody),
    "each network learns from the one before it alone: that is TAKD":
        lessons(lambda before, teacher, own: [teacher, *before][-1:]),
    "every network learns from the teacher alone": lessons(lambda before, teacher, own: [teacher]),
    "the teacher is among the guides of the first network alone":
        lessons(lambda before, teacher, own: before or [teacher]),
    "a network is among its own guides: it joins them after it has learned":
        lessons(lambda before, teacher, own: [teacher, *before, own]),
    "each guide gives a lesson of its own: one lesson, with all guides together, is asked for": lessons(
        everybody, lambda student, guides: [number for one in guides for number in (student, one, 0.0)]),
    "the chain runs the wrong way: the list begins with the largest assistant": turned,
    "the last network, the student, is not taught": lambda c: lessons(everybody)(c.with_(networks=c.networks[:-1])),
    "nobody is taught": lambda c: [],
}), "two", "three", "four", at="", where=ASSISTANTS, marks=(1, 0), near=1e-4,
    of=lambda c: f"a teacher and {len(c.networks)} networks, told as a number,")


def others(z, y):
    """The logits without the label's, (B, K - 1)."""
    return z.double()[~F.one_hot(y, z.shape[1]).bool()].reshape(len(z), -1)


def label_or_not(z, y):
    """The logarithms of the probabilities of the label and of the rest, (B, 2)."""
    z = z.double()
    both = torch.stack([z.gather(1, y[:, None])[:, 0], others(z, y).logsumexp(1)], dim=1)
    return both - z.logsumexp(1, keepdim=True)


def target(z_s, z_t, y):
    a, b = label_or_not(z_s, y), label_or_not(z_t, y)
    return (b.exp() * (b - a)).sum(1)


def rest(z_s, z_t, y):
    return divergence(others(z_s, y), others(z_t, y))


DKD = Formula(
    lambda c, order, target, rest, share, power, over: over(power(c) * share(
        c, target(*order(c.z_s / c.T, c.z_t / c.T), c.y), rest(*order(c.z_s / c.T, c.z_t / c.T), c.y)), c), order={
        "": lambda a, b: (a, b),
        "student and teacher are swapped": lambda a, b: (b, a),
    }, target={
        "": target,
        "in the target part the second summand is missing: 'not the label' counts, too": lambda a, b, y: (
            label_or_not(b, y).exp() * (label_or_not(b, y) - label_or_not(a, y)))[:, 0],
        "the whole divergence stands in place of the target part": lambda a, b, y: divergence(a, b),
        "the cross-entropy with the label stands in place of the target part":
            lambda a, b, y: -log_p(a).gather(1, y[:, None])[:, 0],
    }, rest={
        "": rest,
        "the rest part is weighed by 1 - p_t[y], as in KD: that is what DKD takes away":
            lambda a, b, y: label_or_not(b, y)[:, 1].exp() * rest(a, b, y),
        "in the rest part the label's logit was set to 0 and still counts: leave it out": lambda a, b, y: divergence(
            a.scatter(1, y[:, None], 0.0), b.scatter(1, y[:, None], 0.0)),
    }, share={
        "": lambda c, t, r: c.alpha * t + c.beta * r,
        "alpha and beta are exchanged": lambda c, t, r: c.beta * t + c.alpha * r,
        "alpha is not used": lambda c, t, r: t + c.beta * r,
        "beta is not used": lambda c, t, r: c.alpha * t + r,
        "the target part is missing": lambda c, t, r: c.beta * r,
        "the rest part is missing": lambda c, t, r: c.alpha * t,
    }, power=POWER, over=OVER_IMAGES)


def pushed_down(inputs, record):
    """For `also`: says so where a label that leads by more than 1,000 is still among the rest."""
    right = {name: place[""] for name, place in DKD.places.items()}
    wrong = DKD.whole(inputs["large"], **right | {"rest": lambda *z, y=inputs["large"].y: divergence(
        *(each - 1000 * F.one_hot(y, each.shape[1]) for each in z[:2]))})
    found = record.tensors.get("large value")
    return "" if found is None or not close(found, wrong) else (
        "in the rest part the label still counts where it leads by more than the 1,000 that are taken from its logit: "
        "leave its column out.")


decoupled_loss = loss(DKD, "cold", "warm", "hot", where=PARTS, of=of, marks=(0.35, 0.25), large=0.4,
                      also=((0.0, pushed_down),))


def wished(gap=math.sqrt, classes=lambda K: K - 1):
    return lambda c: gap(c.K) / math.log(classes(c.K) * c.p / (1 - c.p))


temperature_for = loss(Formula(lambda c, kind: torch.tensor(kind(c), dtype=torch.double), kind={
    "": wished(),
    "the other logits are taken for 0: after the standardisation they are below it":
        wished(lambda K: (K - 1) / math.sqrt(K)),
    "the standard deviation divides by K: torch's own, with K - 1, is meant":
        wished(lambda K: K / math.sqrt(K - 1)),
    "the largest logit and the others are K apart": wished(lambda K: K),
    "all K classes are counted as wrong ones": wished(classes=lambda K: K),
    "this is 1/T": lambda c: 1 / wished()(c),
}), "ten", "some", "hundred", at="", where=LOSSES, marks=(1, 0), of=lambda c: f"{c.K} classes and p = {c.p:.3f}")


def schedule(index=lambda u, n, e, epochs: int(u * n), T=lambda k, n, T: T ** (1 - k / (n - 1)),
             end=lambda e, soft: e >= soft, first=1, whole=lambda soft: soft):
    def row(c):
        found = []
        for e in range(c.epochs):
            u, n = e / whole(c.soft * c.epochs), c.checkpoints
            k = min(index(u, n, e, c.epochs), n - 1)
            found += [0, 0] if end(e, c.soft * c.epochs) else [k + first, T(k, n, c.T)]
        return found

    return row


checkpoint_plan = loss(Formula(lambda c, kind: told(kind)(c), kind={
    "": schedule(),
    "the temperature falls by equal steps: equal factors are asked for":
        schedule(T=lambda k, n, T: T - (T - 1) * k / (n - 1)),
    "the temperature does not come down to 1: the last checkpoint teaches at T = 1":
        schedule(T=lambda k, n, T: T ** (1 - k / n)),
    "the temperature rises": schedule(T=lambda k, n, T: T ** (k / (n - 1))),
    "the last checkpoint comes first": schedule(index=lambda u, n, e, epochs: max(n - 1 - int(u * n), 0)),
    "the checkpoints are spread over all epochs: they share the soft ones":
        schedule(index=lambda u, n, e, epochs: int(e / epochs * n)),
    "the labels come alone one epoch late: epochs count from 0": schedule(end=lambda e, soft: e > soft),
    "the soft part was cut down to whole epochs: an epoch that begins in it belongs to it":
        schedule(end=lambda e, soft: e >= int(soft)),
    "the soft part was rounded up to whole epochs before the checkpoints shared it": schedule(whole=math.ceil),
    "the labels never come alone": schedule(end=lambda e, soft: False),
    "the checkpoints are counted from 1: count them from 0": schedule(first=2),
    "there are labels alone": schedule(end=lambda e, soft: True),
}), "three", "four", "half", at="", where=TIME, marks=(1, 0), near=1e-3,
    of=lambda c: f"{c.epochs} epochs, {c.checkpoints} checkpoints, soft = {c.soft:g}, told as a number,")


def halved(c, found, low=0.02, high=200.0):
    """The temperature at which `found(z / T)` is what is asked for."""
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if found(c.z.double() / middle) < c.nats else (low, middle)
    return torch.tensor(middle, dtype=torch.double)


def entropy(q):
    return -(q * q.log()).sum(-1)


equal_entropy = loss(Formula(lambda c, kind: kind(c), kind={
    "": lambda c: halved(c, lambda z: entropy(p(z)).mean()),
    "the entropy is in bits: nats, by the natural logarithm, are asked for":
        lambda c: halved(c, lambda z: entropy(p(z)).mean() / math.log(2)),
    "this is 1/T: the temperature divides the logits": lambda c: 1 / halved(c, lambda z: entropy(p(z)).mean()),
    "every image got a temperature of its own, and their mean is returned: one for all images is asked for":
        lambda c: torch.stack([halved(c.with_(z=row[None]), lambda z: entropy(p(z)).mean()) for row in c.z]).mean(),
    "the middle image has this entropy: the mean over the images is asked for":
        lambda c: halved(c, lambda z: entropy(p(z)).median()),
    "the mean surprise of the best guess is set: the entropy counts all classes":
        lambda c: halved(c, lambda z: -p(z).amax(1).log().mean()),
}), "first", "second", "third", at="", where=SIZES, marks=(1, 0), near=0, relative=6e-3,
    of=lambda c: f"{len(c.z)} images and {c.nats:.2f} nats")
