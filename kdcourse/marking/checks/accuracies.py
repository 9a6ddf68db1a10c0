"""Has networks evaluated that look their logits up and write down how they are asked."""

import torch
from torch import Tensor, nn

from kdcourse.core import generator
from kdcourse.marking.checks.base import CLASSES, Log, images, rows
from kdcourse.marking.record import Case, Record


class Table(nn.Module):
    """A network that looks its logits up: in training mode in another table, as dropout would make it do."""

    def __init__(self, answers: Tensor, garbled: Tensor):
        super().__init__()
        self.answers, self.garbled, self.log = nn.Parameter(answers), nn.Parameter(garbled), Log()

    def forward(self, x: Tensor) -> Tensor:
        self.log.append(torch.is_grad_enabled())
        if (index := rows(x)).max() >= len(self.answers):
            raise ValueError("the network is shown other numbers than its images: they are floats in [0, 1], so bytes "
                             "are to be divided by 255")
        return (self.garbled if self.training else self.answers)[index]


def tables(seed: int) -> dict[str, Case]:
    """Two splits, each with two tables of logits and a size of batches that leaves a smaller last one."""
    cases = {}
    for key, (name, n, batch_size) in enumerate((("first", 37, 8), ("second", 53, 10))):
        draw, split, drawn = generator(seed, 5, key), images(n, seed, 5, key, 1), {}
        for table, share in (("answers", 0.75), ("garbled", 0.45)):
            z = torch.randn(n, CLASSES, generator=draw)
            right = torch.rand(n, generator=draw) < share
            right[-(n % batch_size):] = torch.arange(n % batch_size) < 1  # the last images are mostly misread
            z[torch.arange(n)[right], split.y[right]] += 9
            z[torch.arange(n)[~right], (split.y[~right] + 1) % CLASSES] += 9
            drawn[table] = 0.15 * z  # most labels have a probability near one half
        cases[name] = Case(split=split, batch_size=batch_size, network=Table(**drawn).train(), **drawn)
    return cases


def keep_evaluation(record: Record, name: str, case: Case) -> None:
    record.keep(f"{name} recording afterwards", torch.is_grad_enabled())
    torch.set_grad_enabled(True)
    record.keep(f"{name} gradients", torch.tensor([float(on) for on in case.network.log]))
    kept = all(torch.equal(getattr(case.network, table), getattr(case, table)) for table in ("answers", "garbled"))
    record.keep(f"{name} unharmed", kept and all(p.requires_grad for p in case.network.parameters()))
