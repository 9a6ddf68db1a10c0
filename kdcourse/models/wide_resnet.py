"""Wide residual networks for 32x32 images: WRN-16-2, WRN-40-1, WRN-40-2 and any other depth 6n + 4.

Zagoruyko & Komodakis 2016, arXiv:1605.07146, whose blocks normalise and activate before they convolve.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.models.base import Classifier


class Block(nn.Module):
    """Normalise, ReLU, 3x3 convolution, twice, and a shortcut: the identity, or a 1x1 convolution where the map changes
    its shape. There shortcut and convolution read the same activated map, so that its normalisation and its ReLU stand
    before the block, at the end of what comes before it."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        same = channels_in == channels and stride == 1
        self.norm1 = nn.BatchNorm2d(channels_in) if same else None
        self.shortcut = None if same else nn.Conv2d(channels_in, channels, 1, stride, bias=False)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        f = x if self.norm1 is None else F.relu(self.norm1(x))
        f = self.conv2(F.relu(self.norm2(self.conv1(f))))
        return f + (x if self.shortcut is None else self.shortcut(x))


def wrn(shape, classes: int, *, depth: int = 16, width: int = 2) -> Classifier:
    """A WRN of depth 6n + 4 with n blocks in each of three stages of 16, 32 and 64 channels, times `width`.

    WRN-40-2 has 2,255,156 parameters for 3 channels and 100 classes. A stage ends with the normalisation that the next
    one, or the head, begins with, so that a feature is what is read next: the released distillation codes show the sum
    before it. No dropout. Raises ValueError for a depth that is not 6n + 4.
    """
    n, rest = divmod(depth - 4, 6)
    if rest or n < 1:
        raise ValueError(f"a wide ResNet has depth 6n + 4 (10, 16, 22, 28, 40, ...), not {depth}")
    widths = (16, 16 * width, 32 * width, 64 * width)
    stages = [
        nn.Sequential(*(Block(widths[s] if k == 0 else widths[s + 1], widths[s + 1], 2 if s and k == 0 else 1)
                        for k in range(n)), nn.BatchNorm2d(widths[s + 1]))
        for s in range(3)
    ]
    stem = [nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)]
    if width > 1:
        stem += [nn.BatchNorm2d(16), nn.ReLU()]
    stages[0] = nn.Sequential(*stem, *stages[0])
    return Classifier(shape, stages, widths[-1], classes)
