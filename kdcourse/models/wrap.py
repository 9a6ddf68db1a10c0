"""`wrap`: networks from timm, torchvision or transformers as networks that map the course's images to logits, and show
what their stages make of them. Maps before the last activation are left out: these networks do not show any."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.core import device_of, fingerprint, generator
from kdcourse.models.base import Answer, Encoder, Normalise, evaluating, pooled


class Wrapped(nn.Module):
    """Resizes and normalises the images, runs `network`, and takes logits and features out of whatever it returns.

    `shape` (C, H, W) is that of the images it is made for, and `name` what messages call it.
    """

    def __init__(self, network, normalise, size, *, stages=(), fresh=None, name=None):
        super().__init__()
        self.normalise, self.network, self.size, self.stages = normalise, network, size, stages
        self.fresh, self.name = fresh or {}, name or type(network).__name__
        self.shape = (len(normalise.mean), size or 64, size or 64)

    def forward(self, x: Tensor) -> Tensor:
        return _logits(self.network(self._prepared(x)), self.network)

    def answer(self, x: Tensor) -> Answer:
        """Logits and features of one forward pass; the tokens of patches are shown as a map, the others dropped.

        Raises ValueError, asking for `stages`, when it is not known how to take the network apart.
        """
        return Answer(*_taken_apart(self.network, self._prepared(x), self.stages), maps=None)

    def features(self, x: Tensor) -> list[Tensor]:
        """What each stage gives: (B, C, h, w), or (B, D)."""
        return self.answer(x).features

    def embed(self, f: Tensor) -> Tensor:
        """The last feature map averaged over its positions: (B, D)."""
        return pooled(f)

    def head(self, f: Tensor) -> Tensor:
        """Logits (B, K) from the last feature map, without dropout. Raises ValueError as `linear` does."""
        return self.linear(self.embed(f))

    @cached_property
    def linear(self) -> nn.Module:
        """The layer that makes the logits (B, K) of the averaged last map (B, D).

        Raises ValueError where no layer does, which is seen by the network's answer to one image of noise.
        """
        name, read, averaged = self._probe()
        if read.shape != averaged.shape or (read - averaged).norm() > 0.01 * averaged.norm():
            raise ValueError(f"the logits of {self.name} are not a linear function of its averaged last map: its head "
                             "reads another thing, such as the class token, or normalises the average first. So SimKD "
                             "cannot reuse this head")
        layer, as_map = self.network.get_submodule(name), nn.Unflatten(1, (read.shape[1], 1, 1))  # for a convolution
        return layer if isinstance(layer, nn.Linear) else nn.Sequential(as_map, layer, nn.Flatten())

    def encoder(self) -> nn.Module:
        """The network without its last layer: images to the last feature map, with these very weights."""
        headless = copy.copy(self)
        headless._modules = {**self._modules, "network": _without(self.network, self._probe()[0])}
        return Encoder(headless)

    def fresh_head(self) -> list[str]:
        """Which parameters still hold the values that were drawn for them: none after any training."""
        return [name for name, drawn in self.fresh.items() if fingerprint(self.network.get_parameter(name)) in drawn]

    def _prepared(self, x: Tensor) -> Tensor:
        if self.size is not None and x.shape[-2:] != (self.size, self.size):  # in float32: a CPU cannot in half
            x = F.interpolate(x.float(), self.size, mode="bicubic", antialias=True).clamp(0, 1).to(x.dtype)
        return self.normalise(x)

    @torch.no_grad()
    def _probe(self) -> tuple[str, Tensor, Tensor]:
        """Which layer gave the logits, what it read, and the averaged last map. Every mode and buffer stays."""
        x = torch.rand(1, *self.shape, generator=generator(0)).to(device_of(self), next(self.parameters()).dtype)
        layers = [name for name, layer in self.network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        with evaluating(self), _recorded(self.network, layers) as seen:
            z, features, _ = self.answer(x)
        for name, (read, made) in reversed(seen.items()):
            if torch.equal(made.flatten(1), z):
                return name, read[0].flatten(1), self.embed(features[-1])
        raise ValueError(f"{self.name} has no linear layer whose output is its logits")


def wrap(network: nn.Module, *, mean: Sequence[float], std: Sequence[float], size: int | None = None,
         stages: Sequence[str] = (), fresh: Sequence[str] = (), name: str | None = None) -> Wrapped:
    """`network` as one that takes images (B, C, H, W) in [0, 1] and returns logits (B, K).

    `mean` and `std`, per channel, are the statistics it was trained with (timm: `network.default_cfg`; transformers:
    `image_mean` and `image_std` of its image processor); `size` is the height and width that it insists on.
    `stages` names the submodules whose outputs are the features, maps (B, C, h, w) or tokens (B, N, D) with those of
    the patches last. What comes from timm or transformers, torchvision's ResNets, and its networks with `features` and
    a `classifier` need none. `fresh` names parameters just drawn, see `fresh_head`; `name` is for messages.
    Raises ValueError for a stage that the network does not have.
    """
    for stage in sorted(set(stages) - {known for known, _ in network.named_modules()}):
        top = ", ".join(child for child, _ in network.named_children())
        raise ValueError(f"{type(network).__name__} has no submodule {stage!r}; at the top it has {top}")
    rounded = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # in half precision, fresh is still fresh
    drawn = {key: {fingerprint(network.get_parameter(key).to(dtype)) for dtype in rounded} for key in fresh}
    return Wrapped(network, Normalise(mean, std), size, stages=tuple(stages), fresh=drawn, name=name)


def _taken_apart(network: nn.Module, x: Tensor, stages: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Logits and features by the way of the network's family; its last feature is the one that its head reads."""
    if stages:
        return _hooked(network, x, stages)
    if hasattr(network, "forward_intermediates"):
        return _from_timm(network, x)
    if hasattr(network, "base_model_prefix"):
        return _from_transformers(network, x)
    if hasattr(network, "layer4"):  # torchvision's ResNets
        return _hooked(network, x, ("layer1", "layer2", "layer3", "layer4"))
    if isinstance(getattr(network, "features", None), nn.Sequential) and hasattr(network, "classifier"):
        z, outputs = _hooked(network, x, [f"features.{name}" for name, _ in network.features.named_children()])
        return z, [list(alike)[-1] for _, alike in groupby(outputs, lambda f: f.shape[2:])]  # the last of each size
    raise ValueError(f"what the stages of a {type(network).__name__} are is not known: name the submodules whose "
                     "outputs are its features, wrap(network, stages=('...', '...'), ...)")


def _hooked(network, x, stages):
    with _recorded(network, stages) as seen:
        z = _logits(network(x), network)
    for stage in stages:
        if not isinstance(seen.get(stage, [None])[-1], Tensor):
            raise ValueError(f"stage {stage!r} of {type(network).__name__} gave no tensor; name another submodule")
    return z, [_as_map(seen[stage][-1], x) for stage in stages]


def _from_timm(network, x):
    final, features = network.forward_intermediates(x)
    z, (h, w) = network.forward_head(final), features[-1].shape[2:]
    if getattr(final, "ndim", 0) == 3 and final.shape[1] >= h * w:
        features[-1] = final[:, -h * w :].transpose(1, 2).unflatten(2, (h, w))
    elif getattr(final, "ndim", 0) == 4:
        features[-1] = final.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "") == "NHWC" else final
    return z, features


def _from_transformers(network, x):
    body = network.base_model_prefix
    with _recorded(network, [body] if hasattr(network, body) else []) as seen:
        out = network(x, output_hidden_states=True)
    hidden = getattr(out, "hidden_states", None)
    if not hidden:
        raise ValueError(f"{type(network).__name__} shows no hidden states; name stages, wrap(network, stages=...)")
    last = getattr(seen[body][1], "last_hidden_state", hidden[-1]) if seen else hidden[-1]  # after the last norm
    return _logits(out, network), [_as_map(f, x) for f in (*hidden[1:-1], last)]  # the first is the embedding


def _as_map(f: Tensor, x: Tensor) -> Tensor:
    """Tokens (B, N, D) as the largest map (B, D, h, w) in the images' proportions; those that are over come first."""
    if f.ndim != 3:
        return f
    H, W = (side // math.gcd(*x.shape[2:]) for side in x.shape[2:])
    scale = math.isqrt(f.shape[1] // (H * W))
    return f[:, -H * W * scale**2 :].transpose(1, 2).unflatten(2, (H * scale, W * scale))


@contextmanager
def _recorded(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, tuple]]:
    """Inside, the dict fills with what each of these modules was called with and gave, the last time."""
    seen = {}
    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(network.get_submodule(name).register_forward_hook(
                lambda _, read, made, name=name: seen.update({name: (read, made)})
            ))
        yield seen


def _without(network: nn.Module, name: str) -> nn.Module:
    """The network with the identity in place of one layer; everything else is shared with it, not copied."""
    child, _, rest = name.partition(".")
    headless = copy.copy(network)
    headless._modules = {**network._modules, child: _without(network._modules[child], rest) if rest else nn.Identity()}
    return headless


def _logits(out, network: nn.Module) -> Tensor:
    if isinstance(z := getattr(out, "logits", out), Tensor):
        return z
    raise TypeError(f"{type(network).__name__} returned a {type(out).__name__}, in which there are no logits; choose "
                    "its classifier (in transformers: a ...ForImageClassification) or a module that returns them")
