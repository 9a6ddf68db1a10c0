"""`Classifier`: the one contract of every network that the course builds.

A classifier is a list of stages and a linear head. What lies between can be looked at, which is what the methods
that compare features need. Networks from elsewhere do not follow it: see `wrap`.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.core import seeded


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
        return pooled(f)

    def head(self, f: Tensor) -> Tensor:
        """Logits (B, K) from the last feature map."""
        return self.linear(self.dropout(self.embed(f)))

    def encoder(self) -> nn.Module:
        """The network without its head: images to the last feature map, with these very weights."""
        headless = copy.copy(self)
        headless._modules = {**self._modules, "dropout": nn.Identity(), "linear": nn.Identity()}
        return Encoder(headless)

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


class Encoder(nn.Module):
    """A network that gives its last feature map."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.features(x)[-1]


def pooled(f: Tensor) -> Tensor:
    """A map averaged over its positions, (B, C, H, W) -> (B, C); a vector as it is."""
    return f.flatten(2).mean(dim=2) if f.ndim > 2 else f


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in eval mode; afterwards each of its modules is in the mode that it had."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def check_shows_features(network: nn.Module) -> None:
    """Raise TypeError unless the network shows what its stages make of an image."""
    if not hasattr(network, "answer"):
        raise TypeError(
            f"{type(network).__name__} does not show its feature maps: give it to kdcourse.models.wrap first"
        )


@torch.no_grad()
def probe(network: nn.Module) -> Answer:
    """What the network answers to one black image of `network.shape`, in eval mode; every mode and buffer stays."""
    check_shows_features(network)
    like = next(network.parameters())
    with evaluating(network):
        return network.answer(torch.zeros(1, *network.shape, dtype=like.dtype, device=like.device))


def fresh_copy(network: nn.Module, *, seed: int) -> nn.Module:
    """A network of the same architecture whose weights are drawn anew from `seed`; trainable, in float32.

    Raises ValueError, naming the module, when a weight belongs to a module that cannot draw it again.
    """
    fresh = copy.deepcopy(network).float().requires_grad_(True)
    with seeded(seed):
        for name, module in reversed(list(fresh.named_modules())):  # parts before the whole, which may correct them
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if reset is not None:
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise ValueError(
                    f"cannot draw the weights of {name or type(module).__name__} ({type(module).__name__}) anew, since "
                    "it has no reset_parameters: build a fresh network of this kind yourself and pass it"
                )
    return fresh
