"""A Vision Transformer small enough for 32-pixel images. Pretrained ones come from transformers or timm, by `wrap`.

Dosovitskiy et al. 2020, arXiv:2010.11929, with the average of the patches in place of a class token, so that its
features are maps like those of a CNN. The order is pre-norm: normalise, attend, add; normalise, transform, add.
"""

import torch
from torch import Tensor, nn

from kdcourse.models.base import Classifier


class Attention(nn.Module):
    """Residual self-attention over the patches: (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, f: Tensor) -> Tensor:
        normed = self.norm(f)
        return f + self.attend(normed, normed, normed, need_weights=False)[0]


class Transform(nn.Module):
    """Residual two-layer perceptron applied to each patch: (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, f: Tensor) -> Tensor:
        return f + self.layers(f)


class Patches(nn.Module):
    """The image cut into patches, each projected, plus what says where it was: (B, C, H, W) -> (B, D, h, w)."""

    def __init__(self, channels: int, width: int, patch: int, h: int, w: int):
        super().__init__()
        self.project, self.patch = nn.Conv2d(channels, width, patch, stride=patch), patch
        self.position = nn.Parameter(torch.empty(1, width, h, w))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        made, found = (tuple(self.patch * side for side in self.position.shape[2:]), tuple(x.shape[2:]))
        if made != found:
            raise ValueError("this ViT is made for images of {}x{} pixels, and these are {}x{}".format(*made, *found))
        return self.project(x) + self.position


class OnPatches(nn.Module):
    """Runs layers that see a sequence (B, N, D) on a map (B, D, h, w), and gives a map back."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, f: Tensor) -> Tensor:
        sequence = self.layers(f.flatten(2).transpose(1, 2))
        return sequence.transpose(1, 2).reshape(f.shape)


def vit(shape, classes: int, *, depth: int = 6, width: int = 192, heads: int = 3, patch: int = 4) -> Classifier:
    """A ViT of `depth` layers in three stages: 2.7 million parameters with the defaults on 3x32x32.

    Raises ValueError unless the patches tile the image, `depth` divides by 3 and `width` by `heads`.
    """
    channels, height, breadth = shape
    if height % patch or breadth % patch:
        raise ValueError(f"patches of {patch} pixels do not tile images of {height}x{breadth}")
    if depth % 3 or width % heads:
        raise ValueError(f"depth {depth} must divide by 3 stages, and width {width} by {heads} heads")
    stages = [
        OnPatches(*(layer for _ in range(depth // 3) for layer in (Attention(width, heads), Transform(width))))
        for _ in range(3)
    ]
    stages[0] = nn.Sequential(Patches(channels, width, patch, height // patch, breadth // patch), stages[0])
    stages[2].layers.append(nn.LayerNorm(width))
    return Classifier(shape, stages, width, classes, activation=nn.Identity())
