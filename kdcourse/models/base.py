"""`Classifier`: the one contract of every network that the course builds.

A classifier is a list of stages and a linear head. What lies between can be looked at, which is what the methods
that compare features need. Networks from elsewhere do not follow it: see `wrap`.
"""

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.core import generator, seeded

Result = TypeVar("Result")
LARGEST_STD = 10  # numbers in [0, 1] have a deviation of at most 0.5; what leaves them as they are divides by 1


class Normalise(nn.Module):
    """Subtracts a mean and divides by a standard deviation per channel. A network's first layer, so that images
    everywhere else are plain numbers in [0, 1] and two networks with different statistics can share a batch.

    `flipped` brings the channels from red, green, blue to blue, green, red, before the statistics are applied.
    Raises ValueError for statistics that are not those of numbers in [0, 1], such as a mean of 123.7 or a deviation
    of 0, and for a mean and a deviation of different lengths.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, flipped: bool = False):
        super().__init__()
        mean, std = _statistics("mean", mean), _statistics("std", std)
        if len(mean) != len(std):
            raise ValueError(f"mean and std are a number per channel each; there are {len(mean)} and {len(std)}")
        if not all(0 <= value <= 1 for value in mean.tolist()):
            raise ValueError(f"mean is that of images in [0, 1]; it is {mean.tolist()}{_in_bytes(mean)}")
        if not all(0 < value <= LARGEST_STD for value in std.tolist()):
            raise ValueError(f"std is that of images in [0, 1], and more than 0; it is {std.tolist()}{_in_bytes(std)}")
        self.register_buffer("mean", mean.reshape(-1, 1, 1), persistent=False)
        self.register_buffer("std", std.reshape(-1, 1, 1), persistent=False)
        if flipped:  # as a buffer, since it makes another network of the same weights
            self.register_buffer("order", torch.arange(len(mean)).flip(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "order") and x.shape[1] == len(self.order):
            x = x[:, self.order]
        return (x - self.mean) / self.std


class Resize(nn.Module):
    """Images (B, C, H, W) in [0, 1] brought to the size that a network is for, clamped to [0, 1]; those that have it
    stay as they are.

    `side` is the height and width that they get; or, if `shortest`, the length of their shorter edge, the proportions
    kept; None leaves them. `crop` then cuts the middle of that height and width out, black where there is nothing.
    `mode` is one of "bicubic" and "bilinear", both antialiased, and "nearest". As Pillow and torchvision resize bytes,
    so `as_bytes` resizes the width, clamps, and then resizes the height.
    """

    def __init__(self, side: int | None, *, shortest: bool = False, crop: int | None = None, mode: str = "bicubic",
                 as_bytes: bool = False):
        super().__init__()
        for name, value in (("size", side), ("crop", crop)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ValueError(f"{name} is a height and width in pixels, at least 1; it is {value!r}")
        self.side, self.shortest, self.crop, self.mode, self.as_bytes = side, shortest, crop, mode, as_bytes
        if shortest or crop or as_bytes or mode != "bicubic":  # as a buffer, since it makes another network
            key = torch.tensor([side or 0, shortest, crop or 0, sum(mode.encode()), as_bytes])
            self.register_buffer("key", key, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        H, W = self._sides(*x.shape[2:])
        if self.as_bytes:
            x = self._to(x, x.shape[2], W)
        x = self._to(x, H, W)
        return x if self.crop is None else _middle(x, self.crop)

    def _to(self, x: Tensor, H: int, W: int) -> Tensor:
        if x.shape[2:] == (H, W):
            return x
        how = {"mode": "nearest-exact"} if self.mode == "nearest" else {"mode": self.mode, "antialias": True}
        return F.interpolate(x.float(), (H, W), **how).clamp(0, 1).to(x.dtype)  # in float32: a CPU cannot in half

    def _sides(self, H: int, W: int) -> tuple[int, int]:
        if self.side is None:
            return H, W
        if not self.shortest:
            return self.side, self.side
        other = int(self.side * max(H, W) / min(H, W))
        return (self.side, other) if H <= W else (other, self.side)


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
    `activation` applied after each stage: `F.relu`, unless the stages are not made for it (the ViT's are not); a list
                has one for each stage
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

    def encoder(self, stages: int | None = None) -> nn.Module:
        """The network without its head, or its first `stages` alone: images to the feature map there, with these very
        weights."""
        headless = copy.copy(self)
        headless._modules = {**self._modules, "dropout": nn.Identity(), "linear": nn.Identity()}
        if stages is not None:
            headless._modules["stages"] = self.stages[:stages]
            headless.activation = self.activation[:stages] if isinstance(self.activation, list) else self.activation
        return Encoder(headless)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[-1])

    def _run(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        self._check(x)
        maps, features = [], []
        x = self.normalise(x)
        activations = self.activation if isinstance(self.activation, list) else [self.activation] * len(self.stages)
        for stage, activation in zip(self.stages, activations, strict=True):
            maps.append(stage(x))
            x = activation(maps[-1])
            features.append(x)
        return maps, features

    def _check(self, x: Tensor) -> None:
        """Raise ValueError for images of another shape. A network that never flattens a map takes any height and
        width, and one that normalises colours takes grey images."""
        found, colours = tuple(x.shape[1:]), len(getattr(self.normalise, "mean", ()))
        channels = found[:1] == self.shape[:1] or (found[:1] == (1,) and colours == self.shape[0])
        sides = found[1:] == self.shape[1:] or not any(isinstance(layer, nn.Flatten) for layer in self.stages.modules())
        if x.ndim != 4 or not channels or not sides:
            raise ValueError(other_shape(type(self).__name__, self.shape, x))


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


def other_shape(name: str, shape: tuple, x: Tensor) -> str:
    """What to tell whoever gives a network images of another shape than it is for."""
    made, found = "x".join(map(str, shape)), "x".join(map(str, x.shape[1:]))
    if x.ndim != 4:
        return f"{name} takes a batch of images (B, {', '.join(map(str, shape))}); this has shape {tuple(x.shape)}"
    return (f"{name} is made for images of {made} (channels, height, width), and these are {found}: build one for "
            f"{tuple(x.shape[1:])}, or give it images of its own shape")


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside what only passes images on to it: `DataParallel`, `DistributedDataParallel`, `torch.compile`,
    and an `nn.Sequential` in which nothing else does anything."""
    inside = [part for part in network if not isinstance(part, nn.Identity)] if type(network) is nn.Sequential else []
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inside = [network.module]
    elif isinstance(network._modules.get("_orig_mod"), nn.Module):
        inside = [network._modules["_orig_mod"]]
    return unwrapped(inside[0]) if len(inside) == 1 else network


def check_classes(network: nn.Module, classes: Sequence[str] | None) -> None:
    """Raise ValueError if the network knows the names of its classes, and they are not `classes` in this order.

    Nothing is said where nothing is known: of a network without names, of images without (None), of a head that has
    been trained since. A name of which the other side has not heard, between others that agree, is a synonym.
    """
    known = getattr(unwrapped(network), "classes", None)
    if not classes or not isinstance(known, tuple) or numbered(classes):
        return
    what = getattr(unwrapped(network), "name", type(network).__name__)
    places = [place_of(name, known) for name in classes]
    choose = "choose and order its logits by name, models.wrap(network, classes=source.classes, ...), or by number"
    if len(known) != len(classes):
        raise ValueError(f"{what} tells {len(known)} classes apart, and the images are of {len(classes)}: {choose}")
    if not any(places):
        raise ValueError(f"{what} knows other classes ({_some(known)}) than those of the images ({_some(classes)}): "
                         f"train it on these images, or {choose}")
    if astray := [k for k, found in enumerate(places) if found and k not in found]:
        k = astray[0]
        raise ValueError(f"the classes of {what} stand in another order than those of the images: logit {k} is that of "
                         f"{known[k]!r}, label {k} is {classes[k]!r}; {choose}")


def numbered(names: Sequence[str]) -> bool:
    """Whether the names say no more than the place of each: 0, 1, 2, or LABEL_0, LABEL_1, LABEL_2."""
    found = [re.fullmatch(r"(?:label|class)?[_ ]?(\d+)", str(name), re.IGNORECASE) for name in names]
    return all(number and int(number[1]) == place for place, number in enumerate(found))


def place_of(name: str, known: Sequence[str]) -> list[int]:
    """The places in `known` of a class of this name: of that very name or, in lists of synonyms such as "tench, Tinca
    tinca", with it. Case, hyphens and underscores do not count."""
    exact = [place for place, other in enumerate(known) if _plain(other) == _plain(name)]
    return exact or [place for place, other in enumerate(known) if _synonyms(other) & _synonyms(name)]


def in_any_layout(module: nn.Module, call: Callable[[], Result]) -> Result:
    """`call()`; should `view` stumble over maps whose channels lie last in memory, as `fit` lays them out, then
    `module` is laid out as elsewhere, channels first, and `call` is made again: from the same buffers and the same
    state of torch's generator, as if it had been so from the start."""
    before, state = [(buffer, buffer.clone()) for buffer in module.buffers()], torch.get_rng_state()
    try:
        return call()
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
    with torch.no_grad():
        for buffer, value in before:
            buffer.copy_(value)
    torch.set_rng_state(state)
    module.to(memory_format=torch.contiguous_format)
    return call()


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


@torch.no_grad()
def ends_in_relu(network: nn.Module) -> bool:
    """Whether no feature of its last stage is negative, about a few images of noise: about a black one a network that
    is fresh says zeros, whatever it ends in."""
    check_shows_features(network)
    like, noise = next(network.parameters()), torch.rand(4, *network.shape, generator=generator(0))
    with evaluating(network):
        return bool((network.answer(noise.to(like)).features[-1] >= 0).all())


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


def _statistics(name: str, values: Sequence[float]) -> Tensor:
    """Those numbers as a tensor of floats (C,)."""
    values = torch.as_tensor(values, dtype=torch.get_default_dtype())
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name} is a sequence of numbers, one per channel, such as ({values.flatten()[:1].tolist()}, "
                         f"...); this has shape {tuple(values.shape)}")
    return values


def _in_bytes(values: Tensor) -> str:
    return "; these are in units of bytes: divide them by 255" if 1 < values.max() <= 255 else ""


def _middle(x: Tensor, side: int) -> Tensor:
    """The middle of the images, `side` high and wide; what is missing at their borders is black."""
    lack = [max(side - length, 0) for length in (x.shape[3], x.shape[2])]
    if any(lack):
        x = F.pad(x, [part for n in lack for part in (n // 2, math.ceil(n / 2))])
    top, left = ((length - side) // 2 for length in x.shape[2:])
    return x[:, :, top : top + side, left : left + side]


def _synonyms(name: str) -> set[str]:
    return {part.strip() for part in _plain(name).split(",")}


def _plain(name: str) -> str:
    return " ".join(str(name).casefold().replace("_", " ").replace("-", " ").split())


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:3])) + (", ..." if len(names) > 3 else "")
