"""`wrap`: networks from timm, torchvision or transformers as networks that map the course's images to logits."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.models.base import Normalise


class Wrapped(nn.Module):
    """Resizes and normalises the images, runs `network`, and takes the logits out of whatever it returns."""

    def __init__(self, network: nn.Module, normalise: Normalise, size: int | None):
        super().__init__()
        self.normalise, self.network, self.size = normalise, network, size

    def forward(self, x: Tensor) -> Tensor:
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        out = self.network(self.normalise(x))
        z = getattr(out, "logits", out)
        if not isinstance(z, Tensor):
            raise TypeError(
                f"{type(self.network).__name__} returned a {type(out).__name__}, in which there are no logits; "
                "choose its classifier (in transformers: a ...ForImageClassification) or a module that returns them"
            )
        return z


def wrap(network: nn.Module, *, mean: Sequence[float], std: Sequence[float], size: int | None = None) -> Wrapped:
    """`network` as one that takes images (B, C, H, W) in [0, 1] and returns logits (B, K).

    `mean` and `std`, per channel, are the statistics it was trained with (timm: `network.default_cfg`; transformers:
    `image_mean` and `image_std` of its image processor); `size` is the height and width that it insists on.
    """
    return Wrapped(network, Normalise(mean, std), size)
