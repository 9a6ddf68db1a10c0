"""Exercise 05, mind the gap, asking half: the names are those of the checks in the notebook."""

import torch
from torch import Tensor

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case

SIZE = 60  # numbers by which a plan or a chain is told


def coded(numbers) -> Tensor:
    """Numbers in a row of fixed length, 0 after the last."""
    found = torch.zeros(SIZE, dtype=torch.double)
    some = [float(number) for number in numbers][:SIZE]
    found[: len(some)] = torch.tensor(some, dtype=torch.double)
    return found


def probe(*key: int) -> Tensor:
    return torch.rand(SIZE, generator=generator(*key)).double() + 0.5


def families(seed: int) -> dict[str, Case]:
    """Numbers that stand for networks: two, three and four that learn, and a teacher."""
    def case(i: int) -> Case:
        names = torch.randperm(90, generator=generator(seed, i, 51))[: i + 3].double() + 10
        return Case(networks=names[1:], teacher=names[0], probe=probe(seed, i, 52))

    return {name: case(i) for i, name in enumerate(("two", "three", "four"))}


def guided(answer, c: Case) -> Tensor:
    """Lesson by lesson: who learned, from whom, in no order, and 0."""
    found = []
    answer(c.networks.tolist(), c.teacher.item(),
           lambda student, guides: found.extend([student, *sorted(guides), 0.0]) if len(found) < SIZE else None)
    return coded(found)


def parts(seed: int) -> dict[str, Case]:
    """Logits with an alpha and a beta; where they are large, one image's label is the class of which a teacher is sure,
    and that of the next one leads by more than 1,000, for the student as well."""
    cases = {name: case.with_(beta=2.0 + i) for i, (name, case) in enumerate(logits(seed).items())}
    large = cases["large"]
    for z in (large.z_s, large.z_t):
        z[1] -= 500
        z[1, large.y[1]] = 990.0
    return cases | {"large": large.with_(y=torch.cat([torch.ones_like(large.y[:1]), large.y[1:]]))}


def wishes(seed: int) -> dict[str, Case]:
    """A number of classes, and the probability that a target is to reach."""
    draw = generator(seed, 53)
    return {name: Case(K=K, p=(0.35 + 0.6 * torch.rand((), generator=draw)).item())
            for name, K in (("ten", 10), ("some", 37), ("hundred", 100))}


def schedules(seed: int) -> dict[str, Case]:
    """Settings of a schedule. A checkpoint may change, and the soft part end, in the middle of an epoch."""
    sizes = {"three": (12, 3, 0.75), "four": (10, 4, 0.6), "half": (15, 3, 0.5)}
    return {name: Case(epochs=epochs, checkpoints=n, soft=soft, probe=probe(seed, i, 54),
                       T=(4 + 5 * torch.rand((), generator=generator(seed, i, 55))).item())
            for i, (name, (epochs, n, soft)) in enumerate(sizes.items())}


def planned(answer, c: Case) -> Tensor:
    """Epoch by epoch: the checkpoint counted from 1 and the temperature, or two zeros for labels alone."""
    found = []
    for epoch in range(c.epochs):
        said = answer(epoch, epochs=c.epochs, checkpoints=c.checkpoints, soft=c.soft, T=c.T)
        said = said.tolist() if hasattr(said, "tolist") else said  # an array or a tensor
        if said is not None and not (isinstance(said, tuple | list) and len(said) == 2 and None not in said):
            raise ValueError(f"in epoch {epoch} of {c.epochs} a pair or None is expected, not {said}")
        found += [0.0, 0.0] if said is None else [said[0] + 1, said[1]]
    return coded(found)


def doubts(seed: int) -> dict[str, Case]:
    """Logits of networks, one of which is hardly sure and one very sure, and the entropy that the softened answers are
    to have: temperatures from about 0.3 to 15."""
    def case(i: int, sure: float) -> Case:
        draw = generator(seed, i, 56)
        z = sure * (2 + 2 * torch.rand(14, 1, generator=draw)) * torch.randn(14, 6, generator=draw)
        return Case(z=z, nats=(0.9 + 0.5 * torch.rand((), generator=draw)).item())

    return {name: case(i, sure) for i, (name, sure) in enumerate((("first", 1.0), ("second", 0.15), ("third", 5.0)))}


dense_chain = loss(families, guided, "two", "three", "four", at="")
decoupled_loss = loss(parts, lambda f, c: f(c.z_s, c.z_t, c.y, T=c.T, alpha=c.alpha, beta=c.beta),
                      "cold", "warm", "hot", "large")
temperature_for = loss(wishes, lambda f, c: f(c.K, c.p), "ten", "some", "hundred", at="")
checkpoint_plan = loss(schedules, planned, "three", "four", "half", at="")
equal_entropy = loss(doubts, lambda f, c: f(c.z, c.nats), "first", "second", "third", at="")
