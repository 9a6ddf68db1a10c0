"""Residual networks for 32x32 images: ResNet-8, -20, -32, -56, -110 and any other depth 6n + 2; ResNet-50.

He, Zhang, Ren & Sun 2015, arXiv:1512.03385, section 4.2. ImageNet stems are left to torchvision.
"""

import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.models.base import Classifier, Normalise

NUMPY = [  # what NumPy's numbers and arrays are made of in a file; before its version 2, `_core` was called `core`
    *((getattr(np._core.multiarray, name), f"numpy.{core}.multiarray.{name}")
      for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]


SHORTCUTS = ("A", "B")


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which where the map changes its shape has no parameters (option A of section
    3.3: every second pixel is taken, and the new channels are zeros) or is a 1x1 convolution (option B). `last` leaves
    the final ReLU to the `Classifier`."""

    def __init__(self, channels_in: int, channels: int, stride: int, last: bool, shortcut: str = "A"):
        super().__init__()
        self.new = channels - channels_in
        self.project = _projection(channels_in, channels, stride) if shortcut == "B" else None
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.last = stride, last

    def forward(self, x: Tensor) -> Tensor:
        f = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.project is not None:
            x = self.project(x)
        elif self.new:
            x = F.avg_pool2d(x, 1, self.stride)  # every second pixel; a slice's gradient would lose its memory format
            x = F.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return f + x if self.last else F.relu(f + x)


class Bottleneck(nn.Module):
    """A 1x1 convolution that narrows, one of 3x3, one of 1x1 that widens four times, and a shortcut of option B. The
    3x3 convolution has the stride, as in torchvision; in the paper it is the first one."""

    def __init__(self, channels_in: int, width: int, stride: int, last: bool):
        super().__init__()
        self.project = _projection(channels_in, 4 * width, stride)
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        f = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        f = self.bn3(self.conv3(f)) + (x if self.project is None else self.project(x))
        return f if self.last else F.relu(f)


def _projection(channels_in: int, channels: int, stride: int) -> nn.Sequential | None:
    """Option B's shortcut; None where the map keeps its shape. It is made before the convolutions beside it, so that
    the last normalisation of a block is that of its sum."""
    if channels_in == channels and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


def resnet(shape, classes: int, *, depth: int = 20, width: int = 16, shortcut: str = "A", stem: int | None = None,
           normalise: Normalise | None = None) -> Classifier:
    """A ResNet of depth 6n + 2 with n blocks in each of three stages of `width`, 2 `width` and 4 `width` channels.

    ResNet-20 has 269,722 parameters and ResNet-8 75,290 for 3 channels and 10 classes. `shortcut` is "A" as in the
    paper's networks for CIFAR-10, or "B" as in the released distillation codes, whose ResNet-20 has 2,752 weights more;
    `stem` is the number of channels of the first convolution, `width` unless said: their "x4" is width 64 behind 32.
    Raises ValueError for a depth that is not 6n + 2, and for another shortcut.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"a CIFAR ResNet has depth 6n + 2 (8, 14, 20, 32, 56, 110, ...), not {depth}")
    if shortcut not in SHORTCUTS:
        raise ValueError(f"shortcut is 'A', zeros for new channels, or 'B', a 1x1 convolution; it is {shortcut!r}")
    widths = (stem or width, width, 2 * width, 4 * width)
    first = nn.Sequential(nn.Conv2d(shape[0], widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]),
                          nn.ReLU())
    stages = [
        nn.Sequential(*(
            Block(widths[s] if k == 0 else widths[s + 1], widths[s + 1], 2 if s and k == 0 else 1, k == n - 1, shortcut)
            for k in range(n)
        ))
        for s in range(3)
    ]
    stages[0] = nn.Sequential(first, *stages[0])
    return Classifier(shape, stages, widths[-1], classes, normalise=normalise)


def resnet50(shape, classes: int, *, width: int = 64) -> Classifier:
    """ResNet-50 behind a 3x3 convolution in place of ImageNet's first layers: four stages of 3, 4, 6 and 3 bottlenecks;
    23,705,252 parameters for 3 channels and 100 classes. Maps of 32x32 become 32, 16, 8 and 4 pixels wide."""
    channels, stages = width, []
    for s, n in enumerate((3, 4, 6, 3)):
        narrow = width * 2**s
        stages.append([Bottleneck(channels if k == 0 else 4 * narrow, narrow, 2 if s and k == 0 else 1, k == n - 1)
                       for k in range(n)])
        channels = 4 * narrow
    first = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    stages[0] = [*first, *stages[0]]
    return Classifier(shape, [nn.Sequential(*stage) for stage in stages], channels, classes)


def trained_resnet(path) -> Classifier:
    """A CIFAR-10 ResNet with the weights of the file at `path`, in eval mode; its depth is read from the file.

    The files are those of Y. Idelbayev's pytorch_resnet_cifar10 (BSD-2-Clause): ResNet-20, -32, -44, -56, -110, also
    as `torch.compile` and `DataParallel` name their weights. They were trained with ImageNet's statistics, which
    therefore are the network's first layer here.
    Raises ValueError when the file is not such a checkpoint.
    """
    normalise = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with open(path, "rb") as file:
        try:
            state = _weights(file)
            blocks = {int(found[1]) for key in state if (found := re.match(r"layer1\.(\d+)\.", key))}
            network = resnet((3, 32, 32), len(state["linear.bias"]), depth=6 * len(blocks) + 2, normalise=normalise)
            network.load_state_dict({_renamed(key): value for key, value in state.items()})
        except Exception as error:  # whatever torch raises for a file that is something else or was cut off
            raise ValueError(f"{path} is no checkpoint of such a ResNet, or was cut off ({error})") from error
    return network.eval()


def _weights(file) -> dict[str, Tensor]:
    """The weights in a checkpoint by the names that the network gives them. What else it holds may be plain values and
    those of NumPy; anything that would run code is refused, as torch does."""
    with torch.serialization.safe_globals(NUMPY):
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    state = checkpoint.get("state_dict", checkpoint)
    return {re.sub(r"(^|(?<=\.))(module|_orig_mod)\.", "", key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    """That repository's name of a weight -> ours: the stem is the head of the first stage."""
    key = re.sub(r"^conv1\.", "stages.0.0.0.", key)
    key = re.sub(r"^bn1\.", "stages.0.0.1.", key)
    key = re.sub(r"^layer1\.(\d+)\.", lambda found: f"stages.0.{int(found[1]) + 1}.", key)
    return re.sub(r"^layer([23])\.", lambda found: f"stages.{int(found[1]) - 1}.", key)
