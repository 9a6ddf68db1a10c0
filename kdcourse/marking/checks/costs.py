"""Draws networks whose parameters and multiply-adds are to be counted."""

import torch
from torch import nn

from kdcourse.core import generator, seeded
from kdcourse.marking.record import Case


def networks(seed: int) -> dict[str, Case]:
    """Two networks of convolutions, whose kernels need not be squares, and dense layers, each with the shape of its
    images."""
    draw = generator(seed, 8)

    def integer(low: int, high: int) -> int:
        return torch.randint(low, high + 1, (), generator=draw).item()

    def drawn(bias: bool) -> Case:
        shape = (integer(2, 3), integer(11, 14), integer(15, 18))
        a, b, hidden, side = integer(4, 6), integer(7, 9), integer(10, 12), integer(2, 3)
        layers = [nn.Conv2d(shape[0], a, (side, 5 - side), stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=1),
                  nn.Conv2d(a, b, integer(2, 3), bias=bias), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)]
        with torch.no_grad():
            features = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1]
        head = nn.Linear(features, hidden, bias=bias), nn.ReLU(), nn.Linear(hidden, 10)
        return Case(network=nn.Sequential(*layers, *head), shape=shape)

    with seeded(seed):
        return {"first": drawn(True), "second": drawn(False)}
