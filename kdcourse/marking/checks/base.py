"""What the asking modules share: toy data and toy networks that write down how they are used.

The first pixel of each image tells its row, so that a network knows which images it is shown.
"""

import torch
from torch import Tensor, nn

from kdcourse.core import generator
from kdcourse.data import Split
from kdcourse.marking.record import Record

SHAPE, CLASSES = (1, 4, 4), 5
MOST_CALLS = 2_000


class Log(list):
    """Calls in their order. A copied network writes into the same log."""

    def __deepcopy__(self, memo):
        return self

    def append(self, item) -> None:
        if len(self) < MOST_CALLS:
            super().append(item)


class Toy(nn.Module):
    """A linear network that logs each call: the rows it saw, its mode, whether gradients were on, and its weights.

    In training mode it answers with other logits, `factor` times those of eval mode, as dropout would make it do.
    """

    def __init__(self, weight: Tensor, bias: Tensor, factor: float):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.factor, self.log = factor, Log()

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) @ self.weight.T + self.bias
        self.log.append((rows(x), self.training, torch.is_grad_enabled(), flat(self)))
        return z * self.factor if self.training else z


def rows(x: Tensor) -> Tensor:
    """The rows that the images (B, 1, 4, 4), floats in [0, 1], name in their first pixel."""
    return (x.detach().reshape(len(x), -1)[:, 0].double() * 255).round().long()


def flat(network: nn.Module) -> Tensor:
    """All parameters in one vector, copied."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def images(n: int, *key: int) -> Split:
    """n random images that name their rows, with random labels."""
    draw = generator(*key)
    x = torch.randint(256, (n, *SHAPE), generator=draw).byte()
    x[:, 0, 0, 0] = torch.arange(n)
    return Split("toy/train", x, torch.randint(CLASSES, (n,), generator=draw))


def toy_weights(*key: int) -> tuple[Tensor, Tensor]:
    draw = generator(*key)
    return torch.randn(CLASSES, 16, generator=draw), torch.randn(CLASSES, generator=draw)


def keep_training(record: Record, name: str, student: Toy, teacher: Toy) -> None:
    """Keep what a training did: which images made each step, the modes, and the weights at the end."""
    steps: list[list] = []
    for seen, mode, grad, weights in student.log:
        if not grad:
            continue
        if steps and torch.equal(steps[-1][2], weights):  # nothing was updated in between: still the same step
            steps[-1][0].append(seen)
        else:
            steps.append([[seen], mode, weights])
    record.keep(f"{name} rows", torch.cat([torch.cat(seen) for seen, _, _ in steps]) if steps else torch.zeros(0))
    record.keep(f"{name} sizes", torch.tensor([sum(map(len, seen)) for seen, _, _ in steps]))
    record.keep(f"{name} modes", torch.tensor([float(mode) for _, mode, _ in steps]))
    record.keep(f"{name} weights", flat(student))
    record.keep(f"{name} teacher modes", torch.tensor([float(mode) for _, mode, _, _ in teacher.log]))
    record.keep(f"{name} teacher weights", flat(teacher))
    gradients = [parameter.grad for parameter in teacher.parameters() if parameter.grad is not None]
    record.keep(f"{name} teacher gradient", sum(float(grad.abs().sum()) for grad in gradients))
