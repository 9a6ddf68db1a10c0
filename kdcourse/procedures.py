"""Several trainings one after another: TAKD's chain, DGKD's assistants, born-again generations, SLKD*, trajectories,
and a student without data after DAFL's generator.

Each but `dafl` is a few calls of `train.fit`; what `fit` takes (epochs, lr, ...) is passed on to every one of them,
except the networks: build those yourself, each from its own seed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdcourse import core, train
from kdcourse.core import Term, total
from kdcourse.data import Split
from kdcourse.distillers import DGKD, KD, SLKD, SelfLearners, Supervised
from kdcourse.distillers.base import check_weights
from kdcourse.losses import activation_loss, information_entropy_loss, one_hot_loss
from kdcourse.models.base import check_shows_features
from kdcourse.teachers import LogitBank, Trajectory, as_teacher
from kdcourse.teachers.base import key_of


def takd(
    networks: Sequence[nn.Module], teacher: nn.Module, source, *, T=4.0, alpha=0.9, **training
) -> list[list[dict]]:
    """Teacher-assistant KD: each network of `networks`, the assistants by falling size and then the student, learns
    from the one before it by `KD`, the first from `teacher`. Returns the rows of `fit` of each. Whatever stops it: the
    exception has those of the networks before as `finished`.

    Mirzadeh et al. 2019, arXiv:1902.03393. Only the neighbour teaches; with one network this is KD. Each finished
    network is recorded, so that every hop costs one training without a teacher; with an `augment` of endless views it
    is asked live. The released code averages its `nn.KLDivLoss()` over images and classes, which makes the soft term K
    times smaller than here: its alpha puts more weight on the labels than it says. Introduced in notebook 05.
    """
    _check_different(networks)
    rows = []
    with _finished(rows):
        for k, network in enumerate(networks):
            guide = _recorded(networks[k - 1], source, training) if k else teacher
            rows.append(train.fit(KD(network, guide, T=T, alpha=alpha), source, **training))
    return rows


def dgkd(
    networks: Sequence[nn.Module], teacher: nn.Module, source, *, T=4.0, alpha=0.9, drop=0, **training
) -> list[list[dict]]:
    """Densely guided KD: as `takd`, but each network learns from the teacher and from all before it, by `DGKD`.

    Son et al. 2021, arXiv:2009.08825. `drop` guides are left out of each batch, never all of them.
    Introduced in notebook 05.
    """
    _check_different(networks)
    rows, guides = [], [teacher]
    with _finished(rows):
        for k, network in enumerate(networks):
            if k:
                guides.append(_recorded(networks[k - 1], source, training))
            most = min(drop, len(guides) - 1)
            distiller = DGKD(network, guides[0], assistants=guides[1:], T=T, alpha=alpha, drop=most)
            rows.append(train.fit(distiller, source, **training))
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
    check_weights(beta=beta)
    first = SLKD(student, teacher, learners=learners, T=T, alpha=alpha, lam=lam, w=w, seed=seed).learners
    rows = [train.fit(first, source, seed=seed, **training)]
    with _finished(rows):
        finished = _recorded(Fused(learners, w), source, training)
        distiller = SLKD(student, teacher, learners=finished, T=T, alpha=alpha, beta=beta, lam=lam, w=w)
        return [*rows, train.fit(distiller, source, seed=seed, **training)]


def record_learners(
    learners: Sequence[nn.Module], teacher: nn.Module, source, *, T=4.0, lam=0.1, w=0.5, seed=0, dtype=torch.float32,
    **training,
) -> Trajectory:
    """Train SLKD's self-learning teachers once, without a student, and record what they say on the way.

    `distillers.SLKD(student, teacher, learners=trajectory)` then costs what `KD` from a bank costs. Give `fit` the same
    epochs, batch size, augmentation and seed there as here, and the student is bit for bit the one that learns beside
    them. `dtype=torch.float16` halves the table; a logit below 32 moves by less than 0.01. Whatever stops it: the
    exception has the path of the epochs before as `finished`, if there are any.
    """
    train.check_count("epochs", training.get("epochs"), at_least=0)
    teacher = as_teacher(teacher)
    watched = _Watched(learners, teacher, T=T, lam=lam, w=w, seed=seed)
    watched.said = torch.zeros(training["epochs"], len(source.train), len(source.classes), dtype=dtype)

    def path(epochs: int) -> Trajectory:
        origin = source.train.origin(training.get("augment"))
        return Trajectory(watched.said[:epochs], origin=origin, teacher=_name(teacher))

    try:
        train.fit(watched, source, seed=seed, **training)
    except BaseException as stopped:
        if rows := getattr(stopped, "rows", []):
            stopped.finished = path(len(rows))
        raise
    return path(training["epochs"])


def record_checkpoints(network: nn.Module, source, *, dtype=torch.float16, **training) -> Trajectory:
    """Train `network` on the labels and record, after each epoch, what it says about every training image.

    Its epochs are the checkpoints of `distillers.ProKD(student, [trajectory.at(e) for e in (2, 4, 8)])` and the early
    teachers of ESKD, `trajectory.at(e)`. The images are recorded as they are, so train the student without an
    augmentation, and the network too, unless it is meant to differ. What stops it has the path so far as
    `record_learners` says.
    """
    tables = []

    def record(rows):
        tables.append(LogitBank.record(network, source.train, dtype=dtype).table[0])

    def path() -> Trajectory:
        return Trajectory(torch.stack(tables), origin=source.train.origin(), teacher=key_of(network))

    try:
        train.fit(Supervised(network), source, on_epoch=record, **training)
    except BaseException as stopped:
        if tables:
            stopped.finished = path()
        raise
    return path()


def dafl(
    generator: nn.Module, teacher: nn.Module, *, steps: int, batch_size=128, lr=1e-3, one_hot=1.0, activation=0.1,
    balance=5.0, seed=0,
) -> list[dict]:
    """Train `generator` (a `models.Generator`) against `teacher`, without any image: to draw what the teacher is sure
    of, what excites it, and as much of every class. Returns a row for each step with the three terms.

    Chen et al. 2019, arXiv:1904.01186, section 3.2: one_hot `one_hot_loss` + activation `activation_loss` + balance
    `information_entropy_loss`, by Adam. `transfer_set(generator, n)` then draws what a student learns from, by `fit`
    as from any images. In the paper the student learns beside the generator, from what it draws at the time.

    Raises TypeError for a teacher that does not show its features, ValueError for weights below 0, or images that the
    teacher cannot take. Introduced in notebook 09.
    """
    train.check_count("steps", steps, at_least=0)
    train.check_count("batch_size", batch_size, at_least=2)
    check_weights(one_hot=one_hot, activation=activation, balance=balance)
    network = as_teacher(teacher, apart_from=generator)
    check_shows_features(getattr(network, "network", network))
    network, optimiser, rows = network.network, torch.optim.Adam(generator.parameters(), lr=lr), []
    with _finished(rows):
        for step in range(steps):
            x = generator.train()(_numbers(generator, batch_size, seed, step))
            z, features, _ = network.answer(x)
            terms = {
                "one_hot": Term(one_hot, one_hot_loss(z)), "balance": Term(balance, information_entropy_loss(z)),
                "activation": Term(activation, activation_loss(features[-1])),
            }
            optimiser.zero_grad()
            total(terms).backward()
            optimiser.step()
            rows.append({"step": step + 1, **{name: term.value.item() for name, term in terms.items()}})
    return rows


@contextmanager
def _finished(rows: list) -> Iterator[None]:
    """Whatever stops what is inside: the exception has the rows of what was done before as `finished`."""
    try:
        yield
    except BaseException as stopped:
        stopped.finished = rows
        raise


@torch.no_grad()
def transfer_set(generator: nn.Module, n: int, *, seed=0, batch_size=500) -> Split:
    """n images that `generator` draws, in eval mode, as a split without labels (all are 0): for
    `source.with_train(split)` and a method that reads none, `KD(student, teacher, alpha=1)`."""
    train.check_count("n", n, at_least=1)
    generator.eval()
    parts = [generator(u) for u in _numbers(generator, n, seed, 0).split(batch_size)]
    x = (255 * torch.cat(parts)).round().byte().cpu()
    return Split("drawn", x, torch.zeros(n, dtype=torch.int64))


class Fused(nn.Module):
    """Two networks as one, whose logits are w z_1 + (1 - w) z_2; a single one as it is. Images to logits (B, K)."""

    def __init__(self, networks: Sequence[nn.Module], w: float):
        super().__init__()
        self.networks, self.w = nn.ModuleList(networks), w

    def forward(self, x: Tensor) -> Tensor:
        answers = [network(x) for network in self.networks]
        return answers[0] if len(answers) == 1 else self.w * answers[0] + (1 - self.w) * answers[1]


class _Watched(SelfLearners):
    """Self-learning teachers whose fused logits are written down as they answer."""

    def learn(self, batch):
        terms, fused = super().learn(batch)
        if self.said.device != fused.device:
            self.said = self.said.to(fused.device)
        self.said[batch.epoch, batch.index] = fused.detach().to(self.said.dtype)
        return terms, fused


def _numbers(generator: nn.Module, n: int, seed: int, step: int) -> Tensor:
    """What a generator makes images of, (n, noise) from a normal distribution that (seed, step) draws."""
    return torch.randn(n, generator.noise, generator=core.generator(seed, step)).to(core.device_of(generator))


def _recorded(network: nn.Module, source, training: dict) -> nn.Module:
    """What `network` says about the training images, recorded once if its views can be; else the network, frozen."""
    augment = training.get("augment")
    if augment is not None and augment.views is None:
        return as_teacher(network)
    return LogitBank.record(network, source.train, augment=augment, dtype=torch.float32)


def _check_different(networks: Sequence[nn.Module]) -> None:
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError("a network stands twice in this chain and would be its own teacher: build one for each place")


def _name(teacher: nn.Module) -> str:
    return teacher.teacher if isinstance(teacher, LogitBank) else key_of(teacher)
