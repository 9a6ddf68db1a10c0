"""A network that draws images, for whoever has none: noise in, pixels out."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """Numbers (B, `noise`) to images (B, C, H, W) in [0, 1]: a linear layer to maps of a quarter of the height and
    width, then twice an enlargement to double with a 3x3 convolution, and a sigmoid.

    A small form of the generator of Radford et al. 2016, arXiv:1511.06434, with enlargement in place of transposed
    convolutions. `shape` is (C, H, W), any height and width.
    """

    def __init__(self, shape: tuple[int, int, int], *, noise: int = 64, width: int = 32):
        super().__init__()
        self.shape, self.noise = tuple(shape), noise
        channels, *sides = self.shape
        self.sizes = [tuple(math.ceil(side / by) for side in sides) for by in (4, 2, 1)]
        self.start = nn.Linear(noise, width * math.prod(self.sizes[0]))
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) for _ in range(3)])
        self.convs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)])
        self.pixels = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, u: Tensor) -> Tensor:
        f = self.norms[0](self.start(u).unflatten(1, (-1, *self.sizes[0])))
        for conv, norm, size in zip(self.convs, self.norms[1:], self.sizes[1:], strict=True):
            f = F.leaky_relu(norm(conv(F.interpolate(f, size))), 0.2)
        return torch.sigmoid(self.pixels(f))
