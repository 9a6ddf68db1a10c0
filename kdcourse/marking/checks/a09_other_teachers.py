"""Exercise 09, other teachers, asking half: the names are those of the checks in the notebook."""

import torch
from torch import Tensor

from kdcourse.core import generator
from kdcourse.marking.checks.loss import loss, number, slope
from kdcourse.marking.record import Case

CASES = ("few", "some", "many")


def with_slopes(found, inputs: list[Tensor], told: Tensor):
    """A loss, and of its gradient on each input a sum with random factors."""
    return None if found is None else torch.stack(
        [number(found), *(slope(found, one, factors) for one, factors in zip(inputs, told, strict=True))])


def asked(case, ask, *names: str, at: str = ""):
    """A check about `case(i, draw)` for each of these names."""
    return loss(lambda seed: {name: case(i, generator(seed, i, 9)) for i, name in enumerate(names)}, ask, *names, at=at)


def cohort(i: int, draw) -> Case:
    """Logits of several networks about the same images (networks, images, classes), and the labels."""
    z, told = (1.5 * torch.randn(3 + i, 5 + 2 * i, 4, generator=draw) for _ in range(2))
    return Case(z=z, told=told[None], y=torch.randint(4, (5 + 2 * i,), generator=draw),
                probe=torch.rand(2, generator=draw) + 0.5)


def images(i: int, draw) -> Case:
    """What a teacher says about drawn images, and the shares of the classes; the last has classes it never says."""
    z, told, q = *torch.randn(2, 6 + 3 * i, 5, generator=draw), torch.rand(5, generator=draw) + 0.2
    return Case(z=2 * z - 400 * (i == 3) * (torch.arange(5) > 1), q=q / q.sum(), told=told[None],
                probe=torch.rand(2, generator=draw) + 0.5)


def in_batches(i: int, draw) -> Case:
    """A teacher's logits about a set, and the sizes of the batches; in the last many probabilities are 0."""
    sizes = [[7, 2], [5, 5, 1], [8, 3, 6, 2], [4, 3]][i]
    z = 2.5 * torch.randn(sum(sizes), 4, generator=draw)
    return Case(z=torch.cat([200 * torch.eye(4)[[0, 0, 0, 1]], z[4:]]) if i == 3 else z, sizes=sizes)


def pairs(i: int, draw) -> Case:
    """Logits of both halves of pairs; some partners and some labels are missing, in two cases all of a kind."""
    z_s, z_t = (2 * torch.randn(8, 5, generator=draw) for _ in range(2))
    paired, labelled = (torch.tensor([mark == "1" for mark in marks]) for marks in (
        ("11100110", "01011000"), ("10111101", "00110101"), ("00000000", "01011000"), ("01101000", "00000000"))[i])
    return Case(z_s=z_s, z_t=z_t, paired=paired, T=2 + torch.rand((), generator=draw).item(), alpha=0.6 + 0.1 * (i % 3),
                y=torch.where(labelled, torch.randint(5, (8,), generator=draw), -1))


def across(answer, c: Case):
    found = answer(c.z_s, c.z_t.masked_fill(~c.paired[:, None], torch.nan), c.y, T=c.T, alpha=c.alpha)
    if isinstance(found, Tensor) and found.isnan().any():
        raise ValueError("the loss is nan: 0 times nan is nan, and so is the mean of nothing")
    return found


def history(i: int, draw) -> Case:
    """Logits of a network after several tasks, now and before the newest, and which columns belong to which task."""
    sizes = [[3, 2, 3], [4, 3, 3], [2, 3, 4, 3]][i]
    *old, new = (part.tolist() for part in torch.randperm(sum(sizes), generator=draw).split(sizes))
    new = sorted(new, reverse=True)
    z, before, *told = (1.5 * torch.randn(6 + i, sum(sizes), generator=draw) for _ in range(4))
    return Case(z=z, before=before, told=torch.stack(told), old=old, new=new, T=1.5 + i, beta=0.5 + 0.7 * i,
                y=torch.tensor(new)[torch.randint(len(new), (6 + i,), generator=draw)],
                probe=torch.rand(3, generator=draw) + 0.5)


cohort_loss = asked(cohort, lambda f, c: with_slopes(f(list(c.z.requires_grad_()), c.y), [c.z], c.told), *CASES)
share_loss = asked(images, lambda f, c: with_slopes(f(c.z.requires_grad_(), c.q), [c.z], c.told), *CASES, "large")
set_information = asked(in_batches, lambda f, c: f(list(c.z.split(c.sizes))), *CASES, "sure")
gapped_bridge = asked(pairs, across, "few", "some", "no pairs", "no labels", at="z_s")
tasks_loss = asked(history, lambda f, c: with_slopes(
    f(c.z.requires_grad_(), c.before.requires_grad_(), c.y, c.old, c.new, T=c.T, beta=c.beta), [c.z, c.before], c.told),
    *CASES)
