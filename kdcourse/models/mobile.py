"""Networks for telephones, for 32x32 images: MobileNetV2, ShuffleNetV1, ShuffleNetV2. The students that differ most
from their teachers in the tables of distillation.

Their first convolutions fit small images; those for ImageNet are left to torchvision and timm.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.models.base import Classifier

SETTINGS = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def convolution(channels_in: int, channels: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution of odd `size` that keeps the map's size but for its stride, and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    )


def shuffled(f: Tensor, groups: int) -> Tensor:
    """Channels taken from each group in turn: channel g n + k of `groups` g of n channels goes to k groups + g."""
    return f.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual: widen by a factor, convolve each channel by itself, narrow without a ReLU."""

    def __init__(self, channels_in: int, channels: int, stride: int, factor: int):
        super().__init__()
        wide = factor * channels_in
        self.widen = convolution(channels_in, wide)
        self.depthwise = convolution(wide, wide, 3, stride, groups=wide)
        self.narrow = convolution(wide, channels)
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        f = self.narrow(F.relu6(self.depthwise(F.relu6(self.widen(x)))))
        return x + f if self.residual else f


class Activated(nn.Module):
    """Layers and the ReLU6 after them."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.layers(x))


def mobilenet_v2(shape, classes: int, *, width: float = 0.5) -> Classifier:
    """MobileNetV2 of a relative `width`: 812,836 parameters at half width for 3 channels and 100 classes.

    Sandler et al. 2018, arXiv:1801.04381, table 2, with stride 1 in the second and the fifth row of its bottlenecks
    counted from 0 and 2 in the first convolution: maps of 32x32 become 16, 8, 4 and 2 pixels wide. The first three of
    the four stages end with a linear bottleneck, which has no activation: their maps are their features. The last has
    the 1280 channels that the head reads. The released distillation codes have ReLU where the paper has ReLU6.
    """
    channels = int(32 * width)
    stages = [[Activated(convolution(shape[0], channels, 3, stride=2))]]
    for factor, wide, n, stride in SETTINGS:
        if stride == 2:
            stages.append([])
        for k in range(n):
            stages[-1].append(Bottleneck(channels, int(wide * width), stride if k == 0 else 1, factor))
            channels = int(wide * width)
    last = int(1280 * max(width, 1))
    stages[-1].append(convolution(channels, last))
    linear = nn.Identity()
    return Classifier(shape, [nn.Sequential(*stage) for stage in stages], last, classes,
                      activation=[linear, linear, linear, F.relu6])


class ShuffleUnit(nn.Module):
    """ShuffleNetV1's unit: a convolution of 1x1 in groups, a shuffle, one of 3x3 by channel, one of 1x1 in groups.

    With stride 2 the averaged input is put beside the result, else it is added. `last` leaves the final ReLU to the
    `Classifier`.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, groups: int, first: bool, last: bool):
        super().__init__()
        made = channels - channels_in if stride == 2 else channels
        middle = made // 4
        self.groups = 1 if first else groups  # the few channels of the images' first map are not grouped
        self.reduce = convolution(channels_in, middle, groups=self.groups)
        self.depthwise = convolution(middle, middle, 3, stride, groups=middle)
        self.expand = convolution(middle, made, groups=groups)
        self.stride, self.last = stride, last

    def forward(self, x: Tensor) -> Tensor:
        f = self.expand(self.depthwise(shuffled(F.relu(self.reduce(x)), self.groups)))
        f = torch.cat([f, F.avg_pool2d(x, 3, 2, padding=1)], dim=1) if self.stride == 2 else f + x
        return f if self.last else F.relu(f)


def shufflenet_v1(shape, classes: int, *, width: float = 1.0, groups: int = 3) -> Classifier:
    """ShuffleNet: three stages of 4, 8 and 4 units; 949,258 parameters with 3 groups for 3 channels and 100 classes.

    Zhang et al. 2017, arXiv:1707.01083, table 1, behind a 1x1 convolution to 24 channels in place of its strided first
    layers: maps of 32x32 become 16, 8 and 4 pixels wide. No ReLU follows the convolutions by channel, as the paper
    says; the released distillation codes have one.
    """
    channels, stages = 24, []
    for s, n in enumerate((4, 8, 4)):
        wide = int(240 * width) * 2**s
        units = [ShuffleUnit(channels if k == 0 else wide, wide, 2 if k == 0 else 1, groups,
                             first=s == k == 0, last=k == n - 1) for k in range(n)]
        stages.append(nn.Sequential(*units))
        channels = wide
    stages[0] = nn.Sequential(convolution(shape[0], 24), nn.ReLU(), *stages[0])
    return Classifier(shape, stages, channels, classes)


class SplitUnit(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, the others are transformed; then both are shuffled. With stride 2
    all channels go both ways. `last` leaves the final ReLU to the `Classifier`: of what passes it changes nothing."""

    def __init__(self, channels_in: int, channels: int, stride: int, last: bool):
        super().__init__()
        half = channels // 2
        self.beside = None if stride == 1 else nn.Sequential(
            convolution(channels_in, channels_in, 3, stride, groups=channels_in), convolution(channels_in, half))
        self.reduce = convolution(half if stride == 1 else channels_in, half)
        self.depthwise = convolution(half, half, 3, stride, groups=half)
        self.expand = convolution(half, half)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        passed, x = x.chunk(2, dim=1) if self.beside is None else (F.relu(self.beside(x)), x)
        f = self.expand(self.depthwise(F.relu(self.reduce(x))))
        return shuffled(torch.cat([passed, f if self.last else F.relu(f)], dim=1), 2)


def shufflenet_v2(shape, classes: int, *, width: int = 116) -> Classifier:
    """ShuffleNetV2: three stages of 4, 8 and 4 units, the first of `width` channels; 1,355,528 parameters for 3
    channels and 100 classes.

    Ma et al. 2018, arXiv:1807.11164, table 5, behind a 1x1 convolution to 24 channels in place of its strided first
    layers: maps of 32x32 become 16, 8 and 4 pixels wide. The last stage has the 1024 channels that the head reads.
    """
    channels, stages = 24, []
    for s, n in enumerate((4, 8, 4)):
        wide = width * 2**s
        units = [SplitUnit(channels if k == 0 else wide, wide, 2 if k == 0 else 1, last=s < 2 and k == n - 1)
                 for k in range(n)]
        stages.append(units)
        channels = wide
    stages[0] = [convolution(shape[0], 24), nn.ReLU(), *stages[0]]
    stages[2].append(convolution(channels, 1024))
    return Classifier(shape, [nn.Sequential(*stage) for stage in stages], 1024, classes)
