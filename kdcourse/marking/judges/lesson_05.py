"""What a reader of lesson 05 writes by hand, judging half."""

import torch

from kdcourse.marking.judges.logits import divergence, p
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula


def _pair(z, y, T):
    """Probabilities of the label and of the rest, (B, 2)."""
    q = p(z / T).gather(1, y[:, None])
    return torch.cat([q, 1 - q], dim=1)


def _rest(z, y):
    """The logits without the label's, (B, K - 1)."""
    return torch.stack([torch.cat([row[:k], row[k + 1:]]) for row, k in zip(z.double(), y.tolist(), strict=True)])


def _kl(q_s, q_t):
    return (q_t * (q_t.log() - q_s.log())).sum(1)


def _target(c):
    return _kl(_pair(c.z_s, c.y, c.T), _pair(c.z_t, c.y, c.T))


def _others(c, T=None):
    return divergence(_rest(c.z_s, c.y), _rest(c.z_t, c.y), c.T if T is None else T)


def _left(c):
    return 1 - p(c.z_t / c.T).gather(1, c.y[:, None])[:, 0]


def _of_images(c) -> str:
    return f"{len(c.y)} images, {c.z_t.shape[1]} classes, T = {c.T:.2g}, summed with random factors,"


target_part = loss(Formula(lambda c, kind: (kind(c) * c.probe).sum(), kind={
    "": _target,
    "student and teacher are swapped": lambda c: _kl(_pair(c.z_t, c.y, c.T), _pair(c.z_s, c.y, c.T)),
    "the second summand is missing: 'not the label' counts too":
        lambda c: _pair(c.z_t, c.y, c.T)[:, 0] * (_pair(c.z_t, c.y, c.T).log() - _pair(c.z_s, c.y, c.T).log())[:, 0],
    "T is not used: it divides the logits of both": lambda c: _kl(_pair(c.z_s, c.y, 1), _pair(c.z_t, c.y, 1)),
    "T squared multiplies it: that comes later": lambda c: c.T**2 * _target(c),
    "this is the whole divergence over all classes": lambda c: divergence(c.z_s, c.z_t, c.T),
    "this is the part of the other classes": _others,
    "this is the cross-entropy of the two probabilities: the teacher's logarithm is missing":
        lambda c: -(_pair(c.z_t, c.y, c.T) * _pair(c.z_s, c.y, c.T).log()).sum(1),
}), "cold", "warm", "hot", at="", where="notebook 05, section 6", marks=(1, 0), near=2e-4, of=_of_images)
rest_part = loss(Formula(lambda c, kind: (kind(c) * c.probe).sum(), kind={
    "": _others,
    "student and teacher are swapped": lambda c: divergence(_rest(c.z_t, c.y), _rest(c.z_s, c.y), c.T),
    "T is not used: it divides the logits of both": lambda c: _others(c, 1),
    "T squared multiplies it: that comes later": lambda c: c.T**2 * _others(c),
    "it is weighed by 1 - p_t[y]: this is what DKD takes away": lambda c: _left(c) * _others(c),
    "the label's logit was set to 0 and still counts: leave it out": lambda c: divergence(
        c.z_s.scatter(1, c.y[:, None], 0.0), c.z_t.scatter(1, c.y[:, None], 0.0), c.T),
    "the probabilities of the rest do not sum to 1: divide each by its sum": lambda c: divergence(
        c.z_s, c.z_t, c.T) - (p(c.z_t / c.T) * (p(c.z_t / c.T) / p(c.z_s / c.T)).log()).gather(1, c.y[:, None])[:, 0],
    "this is the whole divergence over all classes": lambda c: divergence(c.z_s, c.z_t, c.T),
    "this is the part of the label": _target,
}), "cold", "warm", "hot", at="", where="notebook 05, section 6", marks=(1, 0), near=2e-4, of=_of_images)


def _scored(z, dim=1, correction=1):
    z = z.double()
    return (z - z.mean(dim, keepdim=True)) / z.std(dim, keepdim=True, correction=correction)


standardised = loss(Formula(lambda c, kind: (kind(c.z_t) * c.probe).sum(), kind={
    "": _scored,
    "mean and standard deviation run over the images: they belong over the classes, dim=1": lambda z: _scored(z, 0),
    "the mean is not taken away": lambda z: z.double() / z.double().std(1, keepdim=True),
    "it is not divided by the standard deviation": lambda z: z.double() - z.double().mean(1, keepdim=True),
    "divided by the variance: its square root is the standard deviation":
        lambda z: (z.double() - z.double().mean(1, keepdim=True)) / z.double().var(1, keepdim=True),
    "the standard deviation divides by K: torch's own, with K - 1, is asked for": lambda z: _scored(z, 1, 0),
    "one mean and one standard deviation for all images: each row has its own":
        lambda z: (z.double() - z.double().mean()) / z.double().std(),
}), "cold", "warm", "hot", at="", where="notebook 05, section 7", marks=(1, 0), near=2e-4,
    of=lambda c: f"{len(c.z_t)} images, {c.z_t.shape[1]} classes, summed with random factors,")


def _recorded(pairs, size: int) -> torch.Tensor:
    numbers = [float(number) for pair in pairs for number in pair]
    return torch.tensor(numbers + [0.0] * (size - len(numbers)), dtype=torch.double)


NOBODY = -1.0   # how a check codes a teacher that is None


def _from_the_one_before(networks, teacher):
    return list(zip(networks, [teacher, *networks[:-1]], strict=True))


chain = loss(Formula(lambda c, kind: (
        _recorded(kind(c.networks.tolist(), c.teacher.item()), len(c.probe)) * c.probe).sum(), kind={
    "": _from_the_one_before,
    "every network learns from the first teacher: after each lesson the one that learned is the next teacher":
        lambda networks, teacher: [(network, teacher) for network in networks],
    "the chain runs the wrong way: the list begins with the largest assistant":
        lambda networks, teacher: _from_the_one_before(networks[::-1], teacher),
    "student and teacher are exchanged: teach(student, teacher)":
        lambda networks, teacher: [pair[::-1] for pair in _from_the_one_before(networks, teacher)],
    "`teach` returns nothing, so `teacher = teach(...)` is None: the network that has learned is the next teacher":
        lambda networks, teacher: list(zip(networks, [teacher, *[NOBODY] * (len(networks) - 1)], strict=True)),
    "every network is taught by itself: `teacher = network` belongs below the lesson":
        lambda networks, teacher: [(network, network) for network in networks],
    "the last network, the student, is not taught":
        lambda networks, teacher: _from_the_one_before(networks, teacher)[:-1],
    "the first network is not taught: it learns from the teacher":
        lambda networks, teacher: _from_the_one_before(networks, teacher)[1:],
    "nobody is taught": lambda networks, teacher: [],
    "only the last network is taught": lambda networks, teacher: _from_the_one_before(networks, teacher)[-1:],
}), "two", "three", "four", at="", where="notebook 05, section 4", marks=(1, 0), near=1e-4,
    of=lambda c: f"a chain of {len(c.networks)} networks, coded as a number,")
