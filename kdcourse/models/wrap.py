"""`wrap`: networks from timm, torchvision or transformers as networks that map the course's images to logits, and show
what their stages make of them. Maps before the last activation are left out: these networks do not show any."""

import copy
import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import groupby
from numbers import Integral

import torch
from torch import Tensor, nn

from kdcourse.core import device_of, dtype_of, fingerprint, generator
from kdcourse.models.base import (
    Answer,
    Encoder,
    Normalise,
    Resize,
    evaluating,
    numbered,
    other_shape,
    place_of,
    pooled,
    unwrapped,
)

PRECISIONS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Wrapped(nn.Module):
    """Resizes and normalises the images, runs `network`, and takes logits and features out of whatever it returns.

    `shape` (C, H, W) is that of the images it is made for, and `name` what messages call it. `rows` are the logits
    that it gives, all of the network's if None.
    """

    def __init__(self, network, normalise, resize=None, *, shape=None, stages=(), fresh=None, name=None, names=None,
                 rows=None):
        super().__init__()
        self.normalise, self.network, self.stages, self.fresh = normalise, network, stages, fresh or {}
        self.resize = resize or nn.Identity()
        self.size = resize and (resize.crop or (None if resize.shortest else resize.side))
        self.sized = bool(shape or self.size)
        self.shape = tuple(shape or (len(normalise.mean), self.size or 64, self.size or 64))
        self.name, self._names = name or type(unwrapped(network)).__name__, names and tuple(map(str, names))
        self._named = _drawn(network, [key for key, _ in network.named_parameters()][-2:]) if names else {}
        self.choose = nn.Identity() if rows is None else Choose(rows)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of its classes in the order of its logits; None if nobody said, or if it learnt since."""
        known = self._names and not any(_changed(self.network, self._named))
        return tuple(self._names) if known else None

    def forward(self, x: Tensor) -> Tensor:
        return self.choose(_logits(self._asked(self.network, self._prepared(x), x), self.network))

    def answer(self, x: Tensor) -> Answer:
        """Logits and features of one forward pass; the tokens of patches are shown as a map, the others dropped.

        Raises ValueError, asking for `stages`, when it is not known how to take the network apart.
        """
        z, features = self._apart(x)
        return Answer(self.choose(z), features, maps=None)

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
        layer = unwrapped(self.network).get_submodule(name)
        if not isinstance(layer, nn.Linear):
            layer = nn.Sequential(nn.Unflatten(1, (read.shape[1], 1, 1)), layer, nn.Flatten())  # it is a convolution
        return nn.Sequential(layer, self.choose) if isinstance(self.choose, Choose) else layer

    def encoder(self) -> nn.Module:
        """The network without its last layer: images to the last feature map, with these very weights."""
        headless = copy.copy(self)
        headless._modules = {**self._modules, "network": _without(unwrapped(self.network), self._probe()[0])}
        return Encoder(headless)

    def fresh_head(self) -> list[str]:
        """Which parameters still hold the values that were drawn for them: none after any training."""
        changed = _changed(self.network, self.fresh)
        return [name for name, is_changed in zip(self.fresh, changed, strict=True) if not is_changed]

    def _prepared(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or (x.shape[1] not in (1, self.shape[0]) and self.shape[0] > 1):
            raise ValueError(other_shape(self.name, self.shape, x))
        return self.normalise(self.resize(x)).to(dtype_of(self.network))  # whose precision the statistics may not have

    def _apart(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        bare = unwrapped(self.network)
        return self._asked(lambda seen: _taken_apart(bare, seen, self.stages), self._prepared(x), x)

    def _asked(self, ask, seen: Tensor, x: Tensor):
        """What the network says of images as it sees them. Raises ValueError that names both shapes when it cannot take
        images of another shape than its own."""
        try:
            return ask(seen)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            if (self.sized and tuple(seen.shape[1:]) == self.shape) or "view size" in str(error):
                raise
            if self.sized or seen.shape[1] != self.shape[0]:
                raise ValueError(f"{other_shape(self.name, self.shape, x)}. It says: {error}") from error
            if not re.search("shape|size|channel|dimension", str(error)):
                raise
            found = "x".join(map(str, x.shape[1:]))
            raise ValueError(f"{self.name} cannot take images of {found}: {error}. If it insists on a height and "
                             "width, say so: wrap(network, size=...); where nobody did, it is tried with images of 64 "
                             "pixels") from error

    @torch.no_grad()
    def _probe(self) -> tuple[str, Tensor, Tensor]:
        """Which layer gave the logits, what it read, and the averaged last map. Every mode and buffer stays."""
        x = torch.rand(1, *self.shape, generator=generator(0)).to(device_of(self), next(self.parameters()).dtype)
        bare = unwrapped(self.network)
        layers = [name for name, layer in bare.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        with evaluating(self), _recorded(bare, layers) as seen:
            z, features = self._apart(x)
        for name, (read, made) in reversed(seen.items()):
            if torch.equal(made.flatten(1), z):
                return name, read[0].flatten(1), self.embed(features[-1])
        raise ValueError(f"{self.name} has no linear layer whose output is its logits")


class Choose(nn.Module):
    """Some of the logits (B, K), in the order of `rows`."""

    def __init__(self, rows: Sequence[int]):
        super().__init__()
        self.last = max(rows)
        self.register_buffer("rows", torch.tensor(rows), persistent=False)  # it makes another network of the weights

    def forward(self, z: Tensor) -> Tensor:
        if z.shape[1] <= self.last:
            raise ValueError(f"the network gives the logits 0 to {z.shape[1] - 1}, and number {self.last} was chosen")
        return z[:, self.rows]


def wrap(network: nn.Module, *, mean: Sequence[float], std: Sequence[float], size: int | None = None,
         stages: Sequence[str] = (), fresh: Sequence[str] = (), name: str | None = None,
         classes: Sequence[str] | Sequence[int] | None = None) -> Wrapped:
    """`network` as one that takes images (B, C, H, W) in [0, 1] and returns logits (B, K).

    `mean` and `std`, per channel, are the statistics it was trained with, of images in [0, 1] (timm:
    `network.default_cfg`; transformers: `image_mean` and `image_std` of its image processor); `size` is the height and
    width that it insists on.
    `stages` names the submodules whose outputs are the features, maps (B, C, h, w) or tokens (B, N, D) with those of
    the patches last. What comes from timm or transformers, torchvision's ResNets, and its networks with `features` and
    a `classifier` need none. `fresh` names parameters just drawn, see `fresh_head`; `name` is for messages.
    `classes` chooses logits and their order: by the names of the classes, if the network knows any (transformers:
    `config.id2label`; timm: `label_names`), else by number. `wrap(network, classes=source.classes, ...)` makes a
    network for 1,000 classes, or for the same in another order, one for those of a source.
    Raises ValueError for a stage that the network does not have, for statistics that are not those of images in
    [0, 1], and for a class that it does not know.
    """
    return adopted(network, Normalise(mean, std), None if size is None else Resize(size), stages=stages, fresh=fresh,
                   name=name, classes=classes, names=known_classes(unwrapped(network)))


def adopted(network, normalise: Normalise, resize: Resize | None, *, stages=(), fresh=(), name=None, classes=None,
            names=None, shape=None) -> Wrapped:
    """As `wrap`, with the layers that come first ready made. `names` are those of its logits, if anybody knows."""
    bare = unwrapped(network)
    for stage in sorted(set(stages) - {known for known, _ in bare.named_modules()}):
        top = ", ".join(child for child, _ in bare.named_children())
        raise ValueError(f"{type(bare).__name__} has no submodule {stage!r}; at the top it has {top}")
    rows = None if classes is None else _rows(classes, names, name or type(bare).__name__)
    if rows is not None and names is not None:
        names = [str(chosen) if isinstance(chosen, str) else names[chosen] for chosen in classes]
    return Wrapped(network, normalise, resize, shape=shape, stages=tuple(stages), fresh=_drawn(network, fresh),
                   name=name, names=names, rows=rows)


def _rows(classes, names: Sequence[str] | None, network: str) -> list[int]:
    """The numbers of the logits of these classes. Raises ValueError, naming it, for one that is not to be had."""
    if isinstance(classes, str | set | frozenset | int):
        raise ValueError(f"classes is a list in the order that the logits are to have, not a {type(classes).__name__}")
    classes = list(classes)
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"classes is a list of different classes; it is {classes}")
    if not all(isinstance(chosen, str) for chosen in classes):
        last = None if names is None else len(names)
        if not all(isinstance(chosen, Integral) and not isinstance(chosen, bool) for chosen in classes):
            raise ValueError(f"classes are names or numbers of logits, not {classes}")
        rows = [int(chosen) for chosen in classes]
        if min(rows) < 0 or (last is not None and max(rows) >= last):
            raise ValueError(f"the logits of {network} are numbered from 0{f' to {last - 1}' if last else ''}; {rows}")
        return rows
    if names is None:
        raise ValueError(f"{network} does not know its classes by name: give the numbers of its logits, classes=[3, 5]")
    rows = []
    for chosen in classes:
        if len(found := place_of(chosen, names)) != 1:
            close = ", ".join(map(repr, difflib.get_close_matches(chosen, names)))
            why = f"knows several classes {chosen!r}: logits {found}" if found else f"knows no class {chosen!r}"
            raise ValueError(f"{network} {why}{f'; near it are {close}' if close else ''}. It knows {len(names)}, the "
                             f"first are {', '.join(names[:3])}; numbers do as well, classes=[3, 5]")
        rows += found
    if len(set(rows)) < len(rows):
        raise ValueError(f"two of the classes {classes} are the same logit of {network}: {rows}")
    return rows


def known_classes(network: nn.Module) -> list[str] | None:
    """The names of the classes as transformers and timm keep them, in the order of the logits."""
    named = getattr(getattr(network, "config", None), "id2label", None)
    if isinstance(named, Mapping):
        try:
            names = [str(named[key]) for key in sorted(named, key=int)]
        except (TypeError, ValueError):
            return None
    else:
        names = list((getattr(network, "pretrained_cfg", None) or {}).get("label_names") or ())
        if len(names) != getattr(network, "num_classes", None):
            return None
    return None if numbered(names) else names


def _drawn(network: nn.Module, names: Sequence[str]) -> dict[str, set[str]]:
    """Fingerprints of these parameters: in half precision, fresh is still fresh."""
    return {name: {fingerprint(network.get_parameter(name).to(dtype)) for dtype in PRECISIONS} for name in names}


def _changed(network: nn.Module, drawn: dict[str, set[str]]) -> list[bool]:
    return [fingerprint(network.get_parameter(name)) not in values for name, values in drawn.items()]


def _taken_apart(network: nn.Module, x: Tensor, stages: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Logits and features by the way of the network's family; its last feature is the one that its head reads."""
    if stages:
        return _hooked(network, x, stages, named=True)
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


def _hooked(network, x, stages, *, named: bool = False):
    """Logits, and what these modules gave; those that somebody `named` as stages must still hold it at the end."""
    versions = {}
    with _recorded(network, stages, versions) as seen:
        z = _logits(network(x), network)
    for stage in stages:
        if not isinstance(made := seen.get(stage, [None])[-1], Tensor):
            raise ValueError(f"stage {stage!r} of {type(network).__name__} gave no tensor; name another submodule")
        if named and versions[stage] != _version(made):
            raise ValueError(f"what stage {stage!r} of {type(network).__name__} gives is written over by a module "
                             "after it, an nn.ReLU(inplace=True) say: name that module as the stage, or let it write "
                             "elsewhere, inplace=False")
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
def _recorded(network: nn.Module, names: Sequence[str], versions: dict | None = None) -> Iterator[dict[str, tuple]]:
    """Inside, the dict fills with what each of these modules was called with and gave, the last time, and `versions`
    with how often that had been written to."""
    seen = {}

    def keep(name: str, read, made) -> None:
        seen[name] = (read, made)
        if versions is not None:
            versions[name] = _version(made)

    with ExitStack() as hooks:
        for name in names:
            hooks.enter_context(network.get_submodule(name).register_forward_hook(
                lambda _, read, made, name=name: keep(name, read, made)
            ))
        yield seen


def _version(made) -> int:
    """How often a tensor was written to in its place; 0 where nobody counts."""
    counts = isinstance(made, Tensor) and not torch.compiler.is_compiling() and not made.is_inference()
    return made._version if counts else 0


def _without(network: nn.Module, name: str) -> nn.Module:
    """The network with the identity in place of one layer; everything else is shared with it, not copied."""
    child, _, rest = name.partition(".")
    headless = copy.copy(network)
    headless._modules = {**network._modules, child: _without(network._modules[child], rest) if rest else nn.Identity()}
    return headless


def _logits(out, network: nn.Module) -> Tensor:
    z = out.get("logits") if isinstance(out, Mapping) else getattr(out, "logits", out)
    if isinstance(z, Tensor):
        return z
    raise TypeError(f"{type(network).__name__} returned a {type(out).__name__}, in which there are no logits; choose "
                    "its classifier (in transformers: a ...ForImageClassification) or a module that returns them")
