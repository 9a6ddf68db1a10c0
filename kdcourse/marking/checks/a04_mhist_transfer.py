"""Exercise 04, transfer and distillation on tissue, asking half: the names are those of the checks in the notebook."""

import torch
from torch import nn

from kdcourse.core import generator, seeded
from kdcourse.marking.checks.blocks import block, blocks
from kdcourse.marking.checks.designs import designed, designs, keep_effects
from kdcourse.marking.checks.experiment import experiment
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case

NAMES = ("first", "second", "third")


def bodies(seed: int) -> dict[str, Case]:
    """Networks of three stages and a head, images, and how many stages are to be frozen."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 441)
        with seeded(seed + i):
            stages = [nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
                      for a, b in ((2, 3), (3, 4), (4, 3))]
            network = nn.Sequential(*stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)))
        return Case(network=network, n=n, observed=observed, x=torch.rand(5, 2, 6, 6, generator=draw),
                    probe=torch.rand(12, generator=draw) + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, (2, 1, 2), strict=True))}


def observed(network: nn.Module, case: Case) -> torch.Tensor:
    """A step of the second epoch, in training mode: the sum of the answers, which stages a gradient reaches, whose
    statistics move; whether anything is in training mode after `eval()`, how many of the frozen stages' modules are
    after `train()`, in the first epoch and in the second, and whether `train()` returns the module, (12,)."""
    stages = list(case.network)
    before = [stage[1].running_mean.clone() for stage in stages[:3]]
    busy, itself = [], True
    for _ in range(2):
        itself = network.train() is network
        busy.append(sum(part.training for stage in stages[: case.n] for part in stage.modules()))
        network.eval()  # as whoever measures between two epochs does
    network.train()
    z = network(case.x)
    (z * torch.tensor([1.0, -2.0])).sum().backward()
    reached = [any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in stage.parameters()) for stage in stages]
    moved = [not torch.equal(stage[1].running_mean, mean) for stage, mean in zip(stages, before, strict=False)]
    network.eval()
    still = any(part.training for stage in stages for part in stage.modules())
    return torch.tensor([z.detach().square().sum().item(), *map(float, [*reached, *moved, still, *busy, itself])])


def tables(seed: int) -> dict[str, Case]:
    """Confusion matrices of two and of three classes, and images by the level that was given to them."""
    def case(i: int, K: int, levels: int) -> Case:
        draw = generator(seed, i, 443)
        counts = torch.randint(2, 30, (K, K), generator=draw) + 25 * torch.eye(K).long()
        positive, negative = (torch.randint(1, 20, (levels,), generator=draw) for _ in range(2))
        return Case(counts=counts, positive=positive + 3 * torch.arange(levels), negative=negative)

    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, ((2, 8), (3, 5), (2, 3)), strict=True))}


def curves(seed: int) -> dict[str, Case]:
    """Validation scores after 0, 1, ... epochs, which rise for a drawn time, fall, tie and rise again, some of them
    negative, as a loss with its sign turned is, and some by very little; a patience. The last ones are never as good as
    before the first epoch, which is no candidate."""
    def case(i: int, curve: tuple, patience: int, most: int, step: float = 0.015) -> Case:
        draw = generator(seed, i, 444)
        rise, rest = (torch.randint(n, (), generator=draw).item() for n in (5, most))
        steps = [*range(rise), *(rise + step for step in curve), *rest * [0]]
        return Case(curve=[0.55 - i + step * one for one in steps], patience=patience, epochs=len(steps) - 1,
                    probe=torch.tensor([1.0, 100.0, 0.01]))

    third = case(2, (0, 2, 1, 3, 2, 4, 5, 3), 4, 1, step=0.0004)
    return {"first": case(0, (0, 3, 5, 4, 6, 5, 6, 5, 9, 1), 3, 5), "second": case(1, (0, 6, 4, 5, 3, 7, 8, 1), 2, 5),
            "third": third.with_(curve=[third.curve[0] + 1, *third.curve[1:]])}


class Clock(nn.Module):
    """A network that knows nothing but the number of its epochs: a weight, and a statistic beside the weights."""

    def __init__(self):
        super().__init__()
        self.epoch = nn.Parameter(torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))


def stopped(answer, case: Case) -> torch.Tensor:
    """After how many epochs the network is that comes back, how many were run, and of which its statistic is."""
    clock, run = Clock(), []
    def learn(network) -> None:
        run.append(network.epoch.data.add_(1))
        network.seen += 1

    kept = answer(clock, learn, lambda network: case.curve[min(int(network.epoch), case.epochs)], epochs=case.epochs,
                  patience=case.patience)
    return torch.tensor([float(kept.epoch), float(len(run)), float(kept.seen)])


freeze_stages = loss(bodies, lambda f, c: observed(f(c.network, c.n), c), *NAMES, at="")
preactivation_block = loss(blocks((3, 3, 1), (4, 4, 2), (4, 6, 1)), block, *NAMES, at="")
inverted_residual = loss(blocks((3, 3, 1), (3, 3, 2), (3, 4, 1)), block, *NAMES, at="")
macro_f1 = loss(tables, lambda f, c: f(c.counts), *NAMES, at="")
auc_from_counts = loss(tables, lambda f, c: f(c.positive, c.negative), *NAMES, at="")
early_stopped = loss(curves, stopped, *NAMES, at="")
two_by_two = experiment(designs, designed, keep_effects)
