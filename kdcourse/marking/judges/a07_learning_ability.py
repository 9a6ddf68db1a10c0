"""Exercise 07, learning ability, judging half: from the equations of SLKD, in double precision."""

import torch

from kdcourse.marking.judges.logits import divergence, of, p, surprise
from kdcourse.marking.judges.loss import as_one, loss, slopes
from kdcourse.marking.judges.mistakes import Formula

CASES = ("cold", "warm", "hot")
EQUATIONS, REPLAYED, NEARER, WEIGHTS = (f"notebook 07, section {n}" for n in (2, 3, 4, 5))


def bracket(z, guide, c):
    return c.form(c, surprise(z, c.y).mean(), surprise(z / c.T, c.y).mean(), divergence(z, guide, c.T).mean())


def in_one_number(c, parts, form, fuse, detach, teacher, leaves):
    """The loss, and of the gradient on each of four networks a sum with random factors, (5,)."""
    c = c.with_(form=form)
    z = [getattr(c, name).double().requires_grad_() for name in ("z_s", "z_1", "z_2", "z_t")]
    with torch.enable_grad():
        value = parts(c, *z[:3], teacher(z[3]), detach(fuse(c, *detach.before(*z[1:3]))))
    return as_one(c, [value, *(leaves(one) for one in slopes(value, z, c.told))])


def student(c, s, guide, t):
    return bracket(s, t, c) + bracket(s, guide, c)


def learners(c, a, b, t):
    return bracket(a, t, c) + bracket(b, t, c)


class Held:
    """What the student's bracket does with the learners' logits: `before` they are fused, and after."""

    def __init__(self, after=lambda z: z, before=lambda a, b: (a, b)):
        self.after, self.before = after, before

    def __call__(self, z):
        return self.after(z)


whole_step = loss(Formula(in_one_number, parts={
    "": lambda c, s, a, b, t, guide: student(c, s, guide, t) + learners(c, a, b, t),
    "the learners' own brackets, equations 5 and 6, are missing: nobody teaches them":
        lambda c, s, a, b, t, guide: student(c, s, guide, t),
    "the student's bracket from the teacher is missing":
        lambda c, s, a, b, t, guide: bracket(s, guide, c) + learners(c, a, b, t),
    "the student's bracket from the learners is missing":
        lambda c, s, a, b, t, guide: bracket(s, t, c) + learners(c, a, b, t),
    "the learners follow each other, not the teacher": lambda c, s, a, b, t, guide: student(c, s, guide, t) + bracket(
        a, b.detach(), c) + bracket(b, a.detach(), c),
    "the learners follow the student, not the teacher":
        lambda c, s, a, b, t, guide: student(c, s, guide, t) + learners(c, a, b, s.detach()),
    "the student's two brackets are averaged: they are added":
        lambda c, s, a, b, t, guide: student(c, s, guide, t) / 2 + learners(c, a, b, t),
}, form={
    "": lambda c, ce, warm, kl: c.lam * ce + (1 - c.lam) * c.T**2 * kl,
    "lam and 1 - lam are exchanged: lam is the share of the labels":
        lambda c, ce, warm, kl: (1 - c.lam) * ce + c.lam * c.T**2 * kl,
    "T^2 is missing": lambda c, ce, warm, kl: c.lam * ce + (1 - c.lam) * kl,
    "T stands where T^2 belongs": lambda c, ce, warm, kl: c.lam * ce + (1 - c.lam) * c.T * kl,
    "the KL is averaged over the classes as well":
        lambda c, ce, warm, kl: c.lam * ce + (1 - c.lam) * c.T**2 * kl / c.z_s.shape[1],
    "the cross-entropy has the temperature T: it belongs at 1":
        lambda c, ce, warm, kl: c.lam * warm + (1 - c.lam) * c.T**2 * kl,
}, fuse={
    "": lambda c, a, b: c.w * a + (1 - c.w) * b,
    "w is the share of the first learner, and here of the second": lambda c, a, b: (1 - c.w) * a + c.w * b,
    "w is not used": lambda c, a, b: (a + b) / 2,
    "the learners' logits are added, not shared out": lambda c, a, b: a + b,
}, detach={
    "": Held(torch.Tensor.detach),
    "the fused logits are not detached: the student's loss moves the learners, too": Held(),
    "only the first learner's logits are detached": Held(before=lambda a, b: (a.detach(), b)),
    "only the second learner's logits are detached": Held(before=lambda a, b: (a, b.detach())),
}, teacher={
    "": torch.Tensor.detach,
    "the teacher's logits are not detached: the losses move the teacher, too": lambda t: t,
}, leaves={
    "": lambda slope: slope,
    "no gradient leaves the function: the number itself was detached, or made a plain one": lambda slope: 0 * slope,
}), *CASES, at="", where=EQUATIONS, marks=(1, 0), near=2e-3,
    of=lambda c: f"{of(c)}, the loss and its gradients on four networks in one number,")


def weighed(c, hard=None, soft=None):
    hard = c.alpha * c.lam + c.beta * c.parts[0] if hard is None else hard
    soft = c.alpha * (1 - c.lam) + c.beta * c.parts[1] if soft is None else soft
    return hard, soft


matched_weights = loss(Formula(lambda c, parts, form: (torch.tensor(form(*parts(c)), dtype=torch.double)
                                                       * c.probe).sum(), parts={
    "": weighed,
    "the labels are counted once: the learners' bracket has its own part of them":
        lambda c: weighed(c, hard=c.alpha * c.lam),
    "lam and 1 - lam are exchanged": lambda c: weighed(c.with_(lam=1 - c.lam)),
    "the two parts of the learners' bracket are exchanged: the labels' comes first":
        lambda c: weighed(c.with_(parts=c.parts[::-1])),
    "the learners' parts are multiplied by lam and 1 - lam as well: they stand in their place":
        lambda c: weighed(c.with_(parts=(c.lam * c.parts[0], (1 - c.lam) * c.parts[1]))),
    "the learners' bracket is missing": lambda c: weighed(c.with_(beta=0.0)),
}, form={
    "": lambda hard, soft: (soft / (hard + soft), hard + soft),
    "the share is that of the labels: KD's alpha weighs the teacher": lambda hard, soft: (hard / (hard + soft),
                                                                                         hard + soft),
    "the share is soft by hard: take soft by both together": lambda hard, soft: (soft / hard, hard + soft),
    "the two numbers are exchanged: first the share, then the scale": lambda hard, soft: (hard + soft,
                                                                                         soft / (hard + soft)),
    "these are the two weights themselves": lambda hard, soft: (hard, soft),
    "the scale is 1: KD's weights sum to 1, and this loss's do not": lambda hard, soft: (soft / (hard + soft), 1.0),
}), *CASES, at="", where=WEIGHTS, marks=(1, 0), near=1e-5,
    of=lambda c: f"alpha = {c.alpha:.2f}, beta = {c.beta:.2f}, lam = {c.lam:.2f}, both answers in one number,")


def of_batches(c):
    """What is left in the room of the batches when an epoch is over, at the images of each, (E, N, K)."""
    found = torch.zeros_like(c.said)
    for epoch, order in enumerate(c.order):
        room = torch.zeros(3, c.said.shape[2])
        for index in order.split(3):
            room[: len(index)] = c.said[epoch, index]
        for index in order.split(3):
            found[epoch, index] = room[: len(index)]
    return found


trajectory_table = loss(Formula(lambda c, kind: (kind(c).double() * c.probe).sum(), kind={
    "": lambda c: c.said,
    "the answers stand in the order of the batches: each belongs into the row of its image":
        lambda c: torch.stack([one[order] for one, order in zip(c.said, c.order, strict=True)]),
    "every epoch holds what was said in the last one: the epochs share one table":
        lambda c: c.said[-1:].expand_as(c.said),
    "what was kept is overwritten: keep a copy before the next batch comes": of_batches,
    "rows and images are the wrong way round: index says which image a row of the batch is": lambda c: torch.stack(
        [one[order][order] for one, order in zip(c.said, c.order, strict=True)]),
    "these are probabilities: logits are asked for": lambda c: c.said.softmax(2),
}), *CASES, at="", where=REPLAYED, marks=(1, 0), near=2e-4,
    of=lambda c: "a table of {} epochs, {} images and {} classes, summed with random factors,".format(*c.said.shape))


def paced(pace):
    def told(c):
        found = torch.tensor([pace(e, c.epochs, c.recorded) + 1 for e in range(c.epochs)], dtype=torch.double)
        return (found * c.probe[: c.epochs]).sum()

    return told


learner_epoch = loss(Formula(lambda c, kind: paced(kind)(c), kind={
    "": lambda e, E, n: e * n // E,
    "the recording is played epoch by epoch, whatever its length, and stays at its end": lambda e, E, n: min(e, n - 1),
    "the recording begins anew when it is over": lambda e, E, n: e % n,
    "it is rounded to the nearest epoch: an epoch of the recording begins where the share of it is reached":
        lambda e, E, n: min(round(e * n / E), n - 1),
    "the end comes one epoch early: the share that is over is epoch / epochs": lambda e, E, n: (e + 1) * n // (E + 1),
    "the first epoch of the student is at the last of the recording": lambda e, E, n: n - 1 - e * n // E,
    "the last recorded epoch is played at all times": lambda e, E, n: n - 1,
    "both lengths are exchanged": lambda e, E, n: min(e * E // n, n - 1),
}), *CASES, at="", where=REPLAYED, marks=(1, 0), near=1e-4,
    of=lambda c: f"{c.epochs} epochs and {c.recorded} recorded ones, told as a number,")


def over_time(c, gap):
    return torch.stack([(gap(s, c.z_t) - gap(s, guide)).mean() for s, guide in zip(c.z_s, c.z_l, strict=True)])


nearer = loss(Formula(lambda c, kind: (kind(c) * c.probe).sum(), kind={
    "": lambda c: over_time(c, divergence),
    "the sign is wrong: it is positive where the learner is nearer": lambda c: -over_time(c, divergence),
    "the guides stand in the second place: the divergence of the student from a guide is KL(guide || student)":
        lambda c: over_time(c, lambda s, guide: divergence(guide, s)),
    "the learner's last epoch is compared all the time: the learner moves, too":
        lambda c: over_time(c.with_(z_l=c.z_l[-1:].expand_as(c.z_l)), divergence),
    "the student's last epoch is compared all the time": lambda c: over_time(
        c.with_(z_s=c.z_s[-1:].expand_as(c.z_s)), divergence),
    "averaged over the classes as well: sum over them": lambda c: over_time(c, divergence) / c.z_s.shape[2],
    "the learner's distance is missing": lambda c: torch.stack([divergence(s, c.z_t).mean() for s in c.z_s]),
    "these are squared differences of probabilities": lambda c: over_time(
        c, lambda s, guide: (p(s) - p(guide)).square().sum(1)),
}), *CASES, at="", where=NEARER, marks=(1, 0), near=2e-4,
    of=lambda c: f"{len(c.z_s)} epochs, summed with random factors,")
