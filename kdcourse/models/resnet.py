"""Residual networks for 32x32 images: ResNet-8, -20, -32, -56, -110 and any other depth 6n + 2.

He, Zhang, Ren & Sun 2015, arXiv:1512.03385, section 4.2. Bottlenecks and ImageNet stems are left to torchvision.
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


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A of section 3.3): where the resolution halves,
    every second pixel is taken and the new channels are zeros. mdistiller's ResNets have a 1x1 convolution there, and
    so a few more weights. `last` leaves the final ReLU to the `Classifier`."""

    def __init__(self, channels_in: int, channels: int, stride: int, last: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.new, self.last = stride, channels - channels_in, last

    def forward(self, x: Tensor) -> Tensor:
        f = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return f + x if self.last else F.relu(f + x)


def resnet(shape, classes: int, *, depth: int = 20, width: int = 16, normalise: Normalise | None = None) -> Classifier:
    """A ResNet of depth 6n + 2 with n blocks in each of three stages of `width`, 2 `width` and 4 `width` channels.

    ResNet-20 has 269,722 parameters and ResNet-8 75,290 for 3 channels and 10 classes.
    Raises ValueError for a depth that is not 6n + 2.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"a CIFAR ResNet has depth 6n + 2 (8, 14, 20, 32, 56, 110, ...), not {depth}")
    stem = nn.Sequential(nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    widths = (width, width, 2 * width, 4 * width)
    stages = [
        nn.Sequential(*(
            Block(widths[s] if k == 0 else widths[s + 1], widths[s + 1], 2 if s and k == 0 else 1, last=k == n - 1)
            for k in range(n)
        ))
        for s in range(3)
    ]
    stages[0] = nn.Sequential(stem, *stages[0])
    return Classifier(shape, stages, widths[-1], classes, normalise=normalise)


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
