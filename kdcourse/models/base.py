"""`Classifier`: the one contract of every network that the course builds.

A classifier is a list of stages and a linear head. What lies between can be looked at, which is what the methods
that compare features need. Networks from elsewhere do not follow it: see `wrap`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normalise(nn.Module):
    """Subtracts a mean and divides by a standard deviation per channel. A network's first layer, so that images
    everywhere else are plain numbers in [0, 1] and two networks with different statistics can share a batch."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Answer(NamedTuple):
    """What one forward pass gives: the logits, and what every stage made of the images on the way."""

    z: Tensor                   # (B, K)
    features: list[Tensor]      # after each stage's last activation: (B, C, H, W), or (B, D) after a flattening stage
    maps: list[Tensor] | None   # the same before that activation; None if the network does not show it


class Classifier(nn.Module):
    """Stages, then a head: images (B, C, H, W) in [0, 1] to logits (B, K).

    `shape`     (C, H, W) of the images it is made for
    `stages`    modules, each ending where its last activation would be applied: `Classifier` applies it
    `width`     D, the number of features that `embed` gives
    `classes`   K
    `normalise` module applied to the images first; none by default
    `activation` applied after each stage: `F.relu`, unless the stages are not made for it (the ViT's are not)
    `dropout`   probability of dropping a feature between `embed` and the linear layer, while training
    """

    def __init__(self, shape, stages, width, classes, *, normalise=None, activation=F.relu, dropout=0.0):
        super().__init__()
        self.shape = tuple(shape)
        self.normalise = normalise or nn.Identity()
        self.stages = nn.ModuleList(stages)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    def answer(self, x: Tensor) -> Answer:
        """Logits, features and maps of one forward pass."""
        maps, features = self._run(x)
        return Answer(self.head(features[-1]), features, maps)

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each stage gives before its last activation."""
        return self._run(x)[0]

    def features(self, x: Tensor) -> list[Tensor]:
        """What each stage gives after its last activation."""
        return self._run(x)[1]

    def embed(self, f: Tensor) -> Tensor:
        """The last feature map averaged over its positions: (B, D)."""
        return f.flatten(2).mean(dim=2) if f.ndim > 2 else f

    def head(self, f: Tensor) -> Tensor:
        """Logits (B, K) from the last feature map."""
        return self.linear(self.dropout(self.embed(f)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[-1])

    def _run(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        maps, features = [], []
        x = self.normalise(x)
        for stage in self.stages:
            maps.append(stage(x))
            x = self.activation(maps[-1])
            features.append(x)
        return maps, features


@torch.no_grad()
def feature_shapes(network: nn.Module) -> list[tuple[int, ...]]:
    """Shapes (C, H, W), or (D,), of the features of one image of `network.shape`; every mode and buffer stays."""
    modes = {module: module.training for module in network.modules()}
    like = next(network.parameters())
    try:
        features = network.eval().answer(torch.zeros(1, *network.shape, dtype=like.dtype, device=like.device)).features
    finally:
        for module, mode in modes.items():
            module.training = mode
    return [tuple(f.shape[1:]) for f in features]
