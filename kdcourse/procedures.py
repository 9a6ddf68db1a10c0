"""Methods that are several trainings one after another: TAKD's chain, DGKD's assistants, born-again generations, SLKD*.

Each is a few calls of `train.fit`; what `fit` takes (epochs, lr, ...) is passed on to every one of them, except the
networks: build those yourself, each from its own seed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdcourse import train
from kdcourse.distillers import DGKD, KD, SLKD, SelfLearners
from kdcourse.distillers.base import check_share
from kdcourse.teachers import LogitBank, as_teacher


def takd(
    networks: Sequence[nn.Module], teacher: nn.Module, source, *, T=4.0, alpha=0.9, **training
) -> list[list[dict]]:
    """Teacher-assistant KD: each network of `networks`, the assistants by falling size and then the student, learns
    from the one before it by `KD`, the first from `teacher`. Returns the rows of `fit` of each.

    Mirzadeh et al. 2019, arXiv:1902.03393. Only the neighbour teaches; with one network this is KD. Each finished
    network is recorded, so that every hop costs one training without a teacher; with an `augment` of endless views it
    is asked live. Introduced in notebook 05.
    """
    rows, guide = [], teacher
    for network in networks:
        rows.append(train.fit(KD(network, guide, T=T, alpha=alpha), source, **training))
        guide = _recorded(network, source, training)
    return rows


def dgkd(
    networks: Sequence[nn.Module], teacher: nn.Module, source, *, T=4.0, alpha=0.9, drop=0, **training
) -> list[list[dict]]:
    """Densely guided KD: as `takd`, but each network learns from the teacher and from all before it, by `DGKD`.

    Son et al. 2021, arXiv:2009.08825. `drop` guides are left out of each batch, never all of them.
    Introduced in notebook 05.
    """
    rows, guides = [], [teacher]
    for network in networks:
        distiller = DGKD(network, guides[0], assistants=guides[1:], T=T, alpha=alpha, drop=min(drop, len(guides) - 1))
        rows.append(train.fit(distiller, source, **training))
        guides.append(_recorded(network, source, training))
    return rows


def born_again(networks: Sequence[nn.Module], teacher: nn.Module, source, *, T=1.0, alpha=0.5, **training):
    """Born-again networks: generation after generation of one architecture, each taught by the one before it.

    Furlanello et al. 2018, arXiv:1805.04770. The chain is `takd`'s; what differs is that no network is smaller than its
    teacher, and T = 1. Returns the rows of each generation; average the networks' probabilities for the paper's
    ensemble. Introduced in notebook 09.
    """
    return takd(networks, teacher, source, T=T, alpha=alpha, **training)


def slkd_sequential(
    student: nn.Module, teacher: nn.Module, learners: Sequence[nn.Module], source, *, T=4.0, alpha=1.0, beta=1.0,
    lam=0.1, w=0.5, seed=0, **training,
) -> list[list[dict]]:
    """SLKD*, the paper's ablation: the learners first finish, then the student follows what they have become.

    Liu, Li & Cheng 2023, arXiv:2304.11923: no trajectory, so a finished learner is a born-again teacher. Letters as in
    `SLKD`. Returns the rows of the learners and of the student. Introduced in notebook 07.
    """
    check_share("w", w)
    first = SelfLearners(learners, as_teacher(teacher, apart_from=student), T=T, lam=lam, w=w, seed=seed)
    rows = [train.fit(first, source, seed=seed, **training)]
    finished = _recorded(Fused(learners, w), source, training)
    distiller = SLKD(student, teacher, learners=finished, T=T, alpha=alpha, beta=beta, lam=lam, w=w)
    return [*rows, train.fit(distiller, source, seed=seed, **training)]


class Fused(nn.Module):
    """Two networks as one, whose logits are w z_1 + (1 - w) z_2; a single one as it is. Images to logits (B, K)."""

    def __init__(self, networks: Sequence[nn.Module], w: float):
        super().__init__()
        self.networks, self.w = nn.ModuleList(networks), w

    def forward(self, x: Tensor) -> Tensor:
        answers = [network(x) for network in self.networks]
        return answers[0] if len(answers) == 1 else self.w * answers[0] + (1 - self.w) * answers[1]


def _recorded(network: nn.Module, source, training: dict) -> nn.Module:
    """What `network` says about the training images, recorded once if its views can be; else the network, frozen."""
    augment = training.get("augment")
    if augment is not None and augment.views is None:
        return as_teacher(network)
    return LogitBank.record(network, source.train, augment=augment, dtype=torch.float32)
