"""Images in memory: a `Split` is two tensors, a `Source` is three splits, `from_arrays` makes one of anything.

An epoch is a permutation. There are no loaders and no workers: everything the course trains on fits in memory as
bytes, and a batch that knows the row of each of its images is what recorded teachers need. Larger data sets would
want `torch.utils.data`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kdcourse.core import Batch, fingerprint, generator


@dataclass(frozen=True)
class Split:
    """Images and labels: `x` (N, C, H, W) uint8, `y` (N,) int64. `name` says where they come from, for messages.

    `votes` (N, K) int64 says how many annotators chose each class, where several were asked; else it is None.
    """

    name: str
    x: Tensor
    y: Tensor
    votes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Split({self.name!r}, {len(self)} images of {'x'.join(map(str, self.x.shape[1:]))})"

    @property
    def key(self) -> str:
        """The name and a fingerprint of the pixels in their order, as they are now: recordings are kept under it."""
        return f"{self.name}#{fingerprint(self.x)}"

    def origin(self, augment=None) -> str:
        """What a batch of this split says it is: the key, and how its images were changed."""
        return f"{self.key} {augment.name if augment else 'plain'}"

    def take(self, rows: Tensor, name: str) -> "Split":
        """The images of the given rows (indices or a mask) as a split of its own, whose rows count from 0."""
        votes = None if self.votes is None else self.votes[rows]
        return Split(f"{self.name}/{name}", self.x[rows], self.y[rows], votes)

    def to(self, device) -> "Split":
        """The same split with its tensors on a device."""
        x = self.x.to(device)
        votes = None if self.votes is None else self.votes.to(device)
        return self if x is self.x else replace(self, x=x, y=self.y.to(device), votes=votes)

    def batches(
        self, batch_size: int, *, seed: int | None = None, epoch: int = 0, epochs: int = 1, augment=None
    ) -> Iterator[Batch]:
        """Batches of one epoch; the last one may be smaller. With a seed in the order that (seed, epoch) draws,
        without one in the order of the rows. `augment` sees bytes, the batch holds float32 in [0, 1]."""
        if not len(self):
            raise ValueError(f"{self.name} has no images to make batches of")
        if batch_size < 1:
            raise ValueError(f"a batch holds at least one image; batch_size is {batch_size}")
        order = torch.arange(len(self)) if seed is None else torch.randperm(len(self), generator=generator(seed, epoch))
        order = order.to(self.x.device)
        origin, steps = self.origin(augment), -(-len(self) // batch_size)
        for step, index in enumerate(order.split(batch_size)):
            x = self.x[index]
            if augment is not None:
                x = augment(x, index, epoch)
            progress = (epoch + step / steps) / epochs
            yield Batch(x.float() / 255, self.y[index], index, epoch, progress, origin)


@dataclass(frozen=True)
class Source:
    """A data set: three splits that share no image, and the names of the classes. Training never sees `test`.

    `stand_in` says in words what generated images stand for; it is empty for real ones, and plots print it.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...]
    stand_in: str = ""

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(split):,} {kind}" for kind, split in self.splits.items())
        return f"Source({self.name!r}: {sizes}; {len(self.classes)} classes of {'x'.join(map(str, self.shape))})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return tuple(self.train.x.shape[1:])

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def with_train(self, train: Split) -> "Source":
        """The same source with other training images: a part of them, say, to leave a class out."""
        return replace(self, train=train)

    def to(self, device) -> "Source":
        """The same source with its tensors on a device."""
        return replace(self, **{kind: split.to(device) for kind, split in self.splits.items()})


def from_arrays(name, x, y, *, classes: Sequence[str], valid=0.1, test=0.2, seed=0, stand_in="") -> Source:
    """A source of images `x` (N, C, H, W) or grey (N, H, W), uint8 or floats in [0, 1], and labels `y` (N,).

    `valid` and `test` are shares of the images, drawn with `seed` and stratified by class, or pairs (x, y) of their
    own. Raises ValueError when the numbers of images and labels differ, a label has no class name, the pixels are of
    another kind, or a split would be empty.
    """
    x, y = _images(name, x), _labels(name, y, classes)
    if len(x) != len(y):
        raise ValueError(f"{name}: {len(x)} images but {len(y)} labels; row i of both must be the same image")
    splits = {}
    rows = torch.arange(len(y))
    for kind, part in {"test": test, "valid": valid}.items():
        if isinstance(part, tuple | list):
            splits[kind] = _images(name, part[0]), _labels(name, part[1], classes)
        elif not 0 <= part < 1:
            raise ValueError(f"{name}: {kind} is a share of the images in [0, 1) or a pair (x, y); it is {part}")
        else:
            chosen = stratified(y[rows], round(part * len(y)), seed)
            splits[kind] = x[rows[chosen]], y[rows[chosen]]
            rows = rows[~chosen]
    splits["train"] = x[rows], y[rows]
    for kind, (x, y) in splits.items():
        if len(x) != len(y) or len(x) == 0:
            raise ValueError(f"{name}: the {kind} split has {len(x)} images and {len(y)} labels; it needs some of both")
        if x.shape[1:] != splits["train"][0].shape[1:]:
            shape = tuple(splits["train"][0].shape[1:])
            raise ValueError(f"{name}: images of {kind} are {tuple(x.shape[1:])}, and those of train {shape}")
    made = {kind: Split(f"{name}/{kind}", *pair) for kind, pair in splits.items()}
    return Source(name, made["train"], made["valid"], made["test"], tuple(classes), stand_in)


def _images(name: str, x) -> Tensor:
    x = torch.as_tensor(np.array(x)) if not isinstance(x, Tensor) else x
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        hint = "; the channels are last: use x.transpose(0, 3, 1, 2)" if x.ndim == 4 and x.shape[3] in (1, 3) else ""
        raise ValueError(f"{name}: images must be (N, 1 or 3, H, W) or (N, H, W); these are {tuple(x.shape)}{hint}")
    if x.is_floating_point() and len(x):
        low, high = x.min().item(), x.max().item()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{name}: images as floats must lie in [0, 1]; these lie in [{low:g}, {high:g}]")
        x = (x * 255).round().to(torch.uint8)
    if x.dtype != torch.uint8 and len(x):
        raise ValueError(f"{name}: images must be uint8 or floats in [0, 1], not {x.dtype}")
    return x


def _labels(name: str, y, classes: Sequence[str]) -> Tensor:
    y = y.numpy() if isinstance(y, Tensor) else np.array(y)
    if len(y) and y.dtype.kind not in "iu":
        raise ValueError(f"{name}: labels must be one integer per image, not {y.dtype}")
    y = torch.as_tensor(y.astype(np.int64))
    if y.ndim != 1:
        raise ValueError(f"{name}: labels must be one integer per image; these have shape {tuple(y.shape)}")
    if len(classes) < 2:
        raise ValueError(f"{name}: a classifier needs at least two classes; given: {', '.join(classes) or 'none'}")
    if len(y) and not (0 <= y.min() and y.max() < len(classes)):
        raise ValueError(
            f"{name}: labels run from {y.min()} to {y.max()}, "
            f"but {len(classes)} class names allow 0 to {len(classes) - 1}"
        )
    return y


def stratified(y: Tensor, n: int, seed: int) -> Tensor:
    """A mask (N,) of n rows in which every value of `y` (N,) has its share: each row is ranked among those of its own
    value, low ranks first."""
    draw = torch.rand(len(y), generator=generator(seed, len(y)))
    rank = torch.empty(len(y))
    for label in y.unique():
        rows = (y == label).nonzero()[:, 0]
        rank[rows[draw[rows].argsort()]] = (torch.arange(len(rows)) + 0.5) / len(rows)
    mask = torch.zeros(len(y), dtype=torch.bool)
    mask[(rank + 1e-6 * draw).argsort()[:n]] = True
    return mask
