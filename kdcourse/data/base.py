"""Images in memory: a `Split` is two tensors, a `Source` is three splits, `from_arrays` makes one of anything.

An epoch is a permutation. There are no loaders and no workers: what the course trains on fits in memory as bytes, or
is mapped from a file of them (`from_folder`), and a batch that knows the row of each of its images is what recorded
teachers need.
"""

import hashlib
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from kdcourse.core import Batch, fingerprint, generator

CHUNK = 256  # images that are converted at once, which bounds the memory that it takes
DARK = 63    # bytes that never pass this are most likely numbers in other units, from 0 to 1, 16 or 63
BEYOND = 0.15  # of the range: so far may floats lie outside [0, 1] that were resized with a sharp filter
SHARED = 0.01  # of the images of a split may be in another one: public data sets hold a few copies
APART = """. With x_{one}, y_{one} and x_{other} as arrays:
    held_out = {{image.tobytes() for image in x_{other}}}
    apart = [image.tobytes() not in held_out for image in x_{one}]
    x_{one}, y_{one} = x_{one}[apart], y_{one}[apart]"""
ARRAYS = "data.from_arrays(name, x, y, classes=...) makes splits of bytes or of floats in [0, 1]"


@dataclass(frozen=True)
class Split:
    """Images and labels: `x` (N, C, H, W) uint8, `y` (N,) int64. `name` says where they come from, for messages.

    `votes` (N, K) int64 says how many annotators chose each class, where several were asked; else it is None.
    `classes` are the names of the classes, which a split has from its source.
    """

    name: str
    x: Tensor
    y: Tensor
    votes: Tensor | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self):
        """Raises TypeError or ValueError unless row i of bytes `x`, labels `y` and `votes` is one image."""
        for what, given in {"x": self.x, "y": self.y, "votes": self.votes}.items():
            if not isinstance(given, Tensor | None) or (given is None and what != "votes"):
                raise TypeError(f"{self.name}: {what} of a Split is a tensor, not a {type(given).__name__}: {ARRAYS}")
        if self.x.dtype != torch.uint8 or self.x.ndim != 4:
            raise ValueError(f"{self.name}: images of a Split are bytes (torch.uint8) of shape (N, C, H, W), which a "
                             f"batch divides by 255; these are {self.x.dtype} of shape {tuple(self.x.shape)}: {ARRAYS}")
        if self.y.ndim != 1 or self.y.dtype == torch.bool or self.y.is_floating_point() or self.y.is_complex():
            raise ValueError(f"{self.name}: labels of a Split are whole numbers of shape (N,), one for each image; "
                             f"these are {self.y.dtype} of shape {tuple(self.y.shape)}: {ARRAYS}")
        for what, given in {"labels": self.y, "rows of votes": self.votes}.items():
            if given is not None and len(given) != len(self.x):
                raise ValueError(f"{self.name}: {len(self.x)} images but {len(given)} {what}; row i of both must be "
                                 "the same image: source.train.take(rows, name) takes both")

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
        if augment is not None and not isinstance(getattr(augment, "name", None), str):
            raise ValueError("an augmentation has a name, under which recordings of its views are kept; give yours "
                             "one: augment.name = 'inverted'")
        return f"{self.key} {'plain' if augment is None else augment.name}"

    def take(self, rows: Tensor, name: str) -> "Split":
        """The images of the given rows (indices or a mask) as a split of its own, whose rows count from 0.

        Raises ValueError for a mask of whole numbers, which would be read as rows 0 and 1."""
        rows = check_rows(rows, self)
        votes = None if self.votes is None else self.votes[rows]
        return Split(f"{self.name}/{name}", self.x[rows], self.y[rows], votes, self.classes)

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
        try:
            batch_size = operator.index(batch_size)
        except TypeError:
            raise TypeError(f"batch_size is a whole number of images; it is {batch_size!r}") from None
        if batch_size < 1:
            raise ValueError(f"a batch holds at least one image; batch_size is {batch_size}")
        order = torch.arange(len(self)) if seed is None else torch.randperm(len(self), generator=generator(seed, epoch))
        order = order.to(self.y.device)
        origin, steps = self.origin(augment), -(-len(self) // batch_size)
        for step, index in enumerate(order.split(batch_size)):
            x = self.x[index.to(self.x.device)].to(self.y.device)  # which are one, unless the images stay on a disk
            if augment is not None:
                x = _viewed(augment, x, augment(x, index, epoch))
            progress = (epoch + step / steps) / epochs
            yield Batch(x.float() / 255, self.y[index], index, epoch, progress, origin)


def check_rows(rows, split: Split) -> Tensor | slice:
    """The rows as torch takes them. Raises TypeError for what are no rows, and ValueError when they are not indices but
    a mask that is written in numbers, or lie outside the split."""
    if isinstance(rows, slice):
        return rows
    try:
        rows = torch.as_tensor(rows)
        right = rows.ndim == 1 and not rows.is_complex() and bool((rows == rows.long()).all())
    except (TypeError, ValueError, RuntimeError):
        right = False
    if not right:
        raise TypeError(f"{split.name}: rows are whole numbers, a list or a tensor (n,) of them, a slice, or a mask of "
                        f"bools; not {rows!r:.60}")
    if rows.dtype == torch.bool:
        if len(rows) != len(split):
            raise ValueError(f"{split.name}: a mask has a bool for each of {len(split)} images; this one has "
                             f"{len(rows)}")
        return rows
    rows = rows.long()  # torch takes bytes for a mask
    if len(rows) and not (-len(split) <= rows.min() and rows.max() < len(split)):
        raise ValueError(f"{split.name}: rows run from {rows.min()} to {rows.max()}, and there are {len(split)} images")
    if len(split) > 2 and len(rows) == len(split) and bool(((rows == 0) | (rows == 1)).all()):
        raise ValueError(f"{split.name}: {len(rows)} rows that are all 0 or 1 look like a mask of its {len(split)} "
                         "images, and would give copies of the first two; a mask is of bools: rows.bool() of a tensor, "
                         "rows.astype(bool) of an array")
    return rows


@dataclass(frozen=True)
class Source:
    """A data set: three splits that share no image, and the names of the classes. Training never sees `test`.

    Nothing here looks for shared images; `from_arrays` and `from_folder` do.
    `stand_in` says in words what generated images stand for; it is empty for real ones, and plots print it.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...]
    stand_in: str = ""

    def __post_init__(self):
        """Each split hears the names of the classes, unless it has some: it is frozen for everybody else."""
        for split in self.splits.values():
            if isinstance(split, Split) and split.classes is None:
                object.__setattr__(split, "classes", tuple(self.classes))

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
        """The same source with other training images: a part of them, say, to leave a class out.

        Raises ValueError when they are images of the test or the validation split, of another shape, or of classes of
        other names. A split without names, as `transfer.noise` makes, takes those of the source."""
        if not isinstance(train, Split):
            raise TypeError(f"with_train takes a Split, source.train.take(rows, name), not a {type(train).__name__}")
        if tuple(train.x.shape[1:]) != self.shape:
            raise ValueError(f"{self.name}: images of {train.name} are {tuple(train.x.shape[1:])}, and those of the "
                             f"source {self.shape}")
        if train.classes is not None and tuple(train.classes) != (own := tuple(self.classes)):
            k = next((k for k, pair in enumerate(zip(train.classes, own, strict=False)) if pair[0] != pair[1]), None)
            what = (f"{len(train.classes)} classes, and the source {len(own)}" if k is None else
                    f"for label {k} the class {train.classes[k]!r}, and the source {own[k]!r}")
            raise ValueError(f"{self.name}: {train.name} has {what}. For a method that reads no labels, say that they "
                             "mean nothing: dataclasses.replace(split, classes=None)")
        for kind in ("test", "valid"):
            held_out = self.splits[kind]
            if train.x is held_out.x or train.name == held_out.name or train.name.startswith(f"{held_out.name}/"):
                raise ValueError(f"{train.name} would be trained on, and its images judge what was learnt: training "
                                 f"never sees the {kind} split. Take other images, source.train.take(rows, name)")
        return replace(self, train=train)

    def to(self, device) -> "Source":
        """The same source with its tensors on a device."""
        return replace(self, **{kind: split.to(device) for kind, split in self.splits.items()})


def from_arrays(name, x, y, *, classes: Sequence[str], valid=0.1, test=0.2, seed=0, stand_in="") -> Source:
    """A source of images `x` (N, C, H, W) or grey (N, H, W), uint8 or floats in [0, 1], and labels `y` (N,).

    `valid` and `test` are shares of the images, drawn with `seed` and stratified by class, or pairs (x, y) of their
    own. Raises ValueError or TypeError, with lines that mend it, when the numbers of images and labels differ, a label
    has no class name, the images are of another kind or of several sizes, their values are not those of bytes or lie
    outside [0, 1], a split would be empty, or a split that is given shares images with another. Copies of one image
    stay together in one split of those that are drawn.
    """
    classes = _classes(name, classes)
    x, y = _images(name, x), _labels(name, y, classes)
    if len(x) != len(y):
        raise ValueError(f"{name}: {len(x)} images but {len(y)} labels; row i of both must be the same image")
    given, shares = {}, {}
    for kind, part in {"test": test, "valid": valid}.items():
        if isinstance(part, tuple | list) and len(part) == 2:
            given[kind] = _images(name, part[0]), _labels(name, part[1], classes)
        elif not isinstance(part, Real) or not 0 <= part < 1:
            raise ValueError(f"{name}: {kind} is a share of the images in [0, 1) or a pair (x, y); it is {part!r}")
        else:
            shares[kind] = part
    of = digests(x)
    rows = drawn(y, shares, seed, of)
    splits = given | {kind: (x[part], y[part]) if len(part) < len(y) else (x, y) for kind, part in rows.items()}
    for kind, (x, y) in splits.items():
        if len(x) != len(y) or len(x) == 0:
            raise ValueError(f"{name}: the {kind} split has {len(x)} images and {len(y)} labels; it needs some of both"
                             + (alike(of) if kind in rows else ""))
        if x.shape[1:] != splits["train"][0].shape[1:]:
            shape = tuple(splits["train"][0].shape[1:])
            raise ValueError(f"{name}: images of {kind} are {tuple(x.shape[1:])}, and those of train {shape}")
    check_apart(name, {kind: digests(x) for kind, (x, _) in given.items()}
                | {kind: [of[row] for row in part.tolist()] for kind, part in rows.items()}, APART)
    made = {kind: Split(f"{name}/{kind}", *pair) for kind, pair in splits.items()}
    return Source(name, made["train"], made["valid"], made["test"], classes, stand_in)


def _classes(name: str, classes) -> tuple[str, ...]:
    """The names of the classes: label k is the k-th."""
    if isinstance(classes, set | frozenset | Mapping):
        kind, how = type(classes).__name__, "sorted(classes)"
        if isinstance(classes, Mapping):
            numbers = all(isinstance(key, Integral) for key in classes)
            how = "[classes[k] for k in sorted(classes)]" if numbers else "sorted(classes, key=classes.get)"
        raise ValueError(f"{name}: a {kind} of classes has no order, and label k is the k-th of them; list them:\n"
                         f"    classes = {how}")
    if not isinstance(classes, Iterable):
        raise ValueError(f"{name}: classes are the names of the classes, not {classes!r}; without names, number them:\n"
                         f"    classes = [str(k) for k in range({classes})]")
    classes = tuple(map(str, classes))
    if len(classes) < 2:
        raise ValueError(f"{name}: a classifier needs at least two classes; given: {', '.join(classes) or 'none'}")
    if double := [one for one, n in Counter(classes).items() if n > 1]:
        raise ValueError(f"{name}: two classes are called {double[0]!r}; each label needs a name of its own")
    return classes


def _images(name: str, x) -> Tensor:
    """The images as bytes (N, C, H, W) that are nobody else's, made a few at a time: floats take four to eight times
    their room."""
    it = "x" if isinstance(x, np.ndarray) else "np.asarray(x)"  # to write with
    x = _array(name, x)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"{name}: images must be (N, 1 or 3, H, W) or (N, H, W); these are {tuple(x.shape)}"
                         f"{_hint(x)}")
    if not len(x):
        return torch.empty(x.shape, dtype=torch.uint8)
    if problem := _problem(x, it):
        raise ValueError(f"{name}: {problem}")
    return _as_bytes(x)


def _problem(x: np.ndarray, it: str) -> str:
    """What is wrong with the values of images, with lines that mend it for what is called `it`; empty if nothing is."""
    low, high = float(x.min()), float(x.max())  # NaN if any value is
    if x.dtype.kind == "f":
        if not (low >= 0 and high <= 1):
            ways = {f"{it} / 255": 0 <= low and 1 + BEYOND < high <= 255,
                    f"({it} + 1) / 2": -1 <= low < -BEYOND and high <= 1,
                    f"{it}.clip(0, 1)": -BEYOND <= low and high <= 1 + BEYOND}
            recipe = "".join(f"\n    x = {way}" for way, fits in ways.items() if fits)
            return f"images as floats must lie in [0, 1]; these lie in [{low:.9g}, {high:.9g}]{recipe}"
        if 0 < high <= 1.01 / 255:
            return (f"these floats lie in [{low:g}, {high:g}], where white is 1, and would all be black. Were they "
                    f"divided by 255 twice? Then:\n    x = {it} * 255")
    elif x.dtype != np.uint8:
        recipe = f"{it}.astype(np.uint8)" if DARK < high <= 255 else f"{it} / {max(int(high), 1)}"
        kind = f"images must be uint8 or floats in [0, 1], not torch.{x.dtype.name}"
        return f"{kind}; these run from {int(low)} to {int(high)}\n    x = {recipe}" if low >= 0 else kind
    elif 0 < high <= DARK:
        dark = "" if high == 1 else f"\nOr are they images as dark as that? Then:\n    x = {it} / 255"
        return (f"these bytes run from {int(low)} to {int(high)}, where white is 255: nearly black. Is their white "
                f"{int(high)}? Then:\n    x = {it} / {int(high)}{dark}")
    return ""


def _array(name: str, x) -> np.ndarray:
    """The images as an array, not copied if they are one; else an error that shows how to make one of them."""
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).numpy()
    if isinstance(x, np.ndarray) and x.dtype != object:
        return x
    if not isinstance(x, list | tuple | np.ndarray):
        raise TypeError(f"{name}: {_what(x)} holds no array of images (N, C, H, W); make one first:{_recipe(x)}")
    images = list(x)
    kinds = {type(image).__name__ for image in images}
    first = images[0] if images else None
    if (isinstance(first, tuple | list | Mapping) and not _numbers(first)) or isinstance(first, str | Path):
        raise TypeError(f"{name}: a {type(x).__name__} of {_what(first)}s is no array of images (N, C, H, W); make one "
                        f"first:{_recipe(images)}")
    if any(isinstance(image, Image.Image) for image in images):
        modes, sizes = ({getattr(image, what, None) for image in images} for what in ("mode", "size"))
        if modes != {"L"} or len(sizes) > 1:
            palette = " (P: with a palette, whose numbers are no grey levels)" if "P" in modes else ""
            raise TypeError(f"{name}: pictures of mode {', '.join(sorted(map(str, modes)))}{palette} and of "
                            f"{len(sizes)} size{'s' * (len(sizes) > 1)}; make arrays of them first:{_recipe(images)}")
    images = [image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image) for image in images]
    shapes = Counter(image.shape for image in images)
    if len(shapes) > 1:
        listed = ", ".join(map(str, list(shapes)[:4])) + (", ..." if len(shapes) > 4 else "")
        raise ValueError(f"{name}: the images are of {len(shapes)} different sizes, {listed}, and one is needed; "
                         f"resize them first:{_resizing(images[0])}")
    if images and images[0].dtype == object:
        raise TypeError(f"{name}: a {type(x).__name__} of {', '.join(sorted(kinds))} is no array of images "
                        "(N, C, H, W)")
    return np.stack(images) if images else np.empty((0, 1, 1, 1), np.uint8)


def _numbers(image) -> bool:
    """Whether nested lists hold numbers only, as an image may be written."""
    while isinstance(image, list | tuple) and len(image):
        image = image[0] if all(type(part) is type(image[0]) for part in image) else None
    return isinstance(image, Real)


def _what(x) -> str:
    return "path" if isinstance(x, str | Path) else type(x).__name__


def _recipe(x) -> str:
    """Lines that make arrays of what else holds images, written for its first item; indented by four spaces."""
    picture = 'np.asarray({}.convert("RGB").resize({})) for'
    channels = ").transpose(0, 3, 1, 2)"
    if isinstance(x, str | Path):
        lines = ["from torchvision.datasets import ImageFolder", f"folder = ImageFolder({str(x)!r})",
                 f"x = np.stack([{picture.format('image', (32, 32))} image, _ in folder]{channels}",
                 "y, classes = folder.targets, folder.classes"]
    elif isinstance(x, DataLoader):
        lines = ["x, y = map(torch.cat, zip(*x))"]
    else:
        lines = _recipe_for(x, picture, channels)
    return "".join(f"\n    {line}" for line in lines)


def _recipe_for(x, picture: str, channels: str) -> list[str]:
    """As `_recipe`, of a collection of items."""
    try:
        first = x[0]
    except (TypeError, IndexError, KeyError):
        return ["x = np.stack([np.asarray(image) for image in x])"]
    if isinstance(first, str | Path):
        opened = picture.format("Image.open(path)", (32, 32))
        return ["from PIL import Image", f"x = np.stack([{opened} path in x]{channels}"]
    if isinstance(first, Image.Image):
        return [f"x = np.stack([{picture.format('image', first.size)} image in x]{channels}"]
    if isinstance(first, Mapping):
        shown = (key for key, value in first.items() if hasattr(value, "convert") or np.ndim(value) > 1)
        of_image = next(shown, "image")
        of_label = next((key for key, value in first.items() if isinstance(value, Integral)), "label")
        image, each, label, seen = f"row[{of_image!r}]", "row", f"row[{of_label!r}]", first.get(of_image)
    elif isinstance(first, tuple | list) and len(first) == 2:
        image, each, label, seen = "image", "image, label", "label", first[0]
    else:
        return ["x = np.stack([np.asarray(image) for image in x])"]
    pairs = f"y = [int({label}) for {each} in x]"
    if hasattr(seen, "convert"):
        return [pairs, f"x = np.stack([{picture.format(image, seen.size)} {each} in x]{channels}"]
    return [pairs, f"x = np.stack([np.asarray({image}) for {each} in x])"]


def _resizing(image: np.ndarray) -> str:
    """The lines that bring arrays of several sizes to that of the first, by the kind of the first."""
    last = image.ndim == 3 and image.shape[2] in (3, 4) and image.shape[0] not in (1, 3)
    size = tuple(image.shape[:2] if last else image.shape[-2:])
    grey = "[None, None]" if image.ndim == 2 else "[None]"
    turned = "np.asarray(image).transpose(2, 0, 1)[:3]" if last else "np.asarray(image)"
    after = ".round().byte()" if image.dtype == np.uint8 else ".clamp(0, 1)"
    lines = ["resize = torch.nn.functional.interpolate",
             f"x = [torch.tensor({turned}).float(){grey} for image in x]",
             f'x = torch.cat([resize(image, {size}, mode="bilinear", antialias=True) for image in x]){after}']
    return "".join(f"\n    {line}" for line in lines)


def _hint(x: np.ndarray) -> str:
    """What to do about images whose channels are last, or four."""
    if x.ndim == 4 and x.shape[3] in (1, 3):
        return "; the channels are last: use x.transpose(0, 3, 1, 2), or x.permute(0, 3, 1, 2) of a tensor"
    if x.ndim == 4 and 4 in (x.shape[1], x.shape[3]):
        return f"; the fourth channel says how opaque they are: use {'x[:, :3]' if x.shape[1] == 4 else 'x[..., :3]'}"
    return ""


def _as_bytes(x: np.ndarray) -> Tensor:
    made = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        made[start : start + CHUNK] = part if part.dtype == np.uint8 else (part * 255).round()
    return torch.from_numpy(made)


def _labels(name: str, y, classes: Sequence[str]) -> Tensor:
    y = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.array(y)
    if y.ndim != 1:
        recipe = {1: "y = np.asarray(y).ravel()", len(classes): "y = np.asarray(y).argmax(axis=1)"}
        way = recipe.get(y.shape[1]) if y.ndim == 2 else None
        raise ValueError(f"{name}: labels must be one integer per image; these have shape {tuple(y.shape)}"
                         + (f"\n    {way}" if way else ""))
    if len(y) and y.dtype.kind not in "iu":
        number, named = "y = np.asarray(y).astype(int)", f"y = [{list(classes)}.index({{}}) for label in y]"
        words = y.dtype.kind == "O" and all(isinstance(label, str) for label in y)
        ways = {"U": named.format("label"), "S": named.format("label.decode()"), "b": number, "f": number,
                "O": named.format("label") if words else number}
        whole = y.dtype.kind != "f" or bool((y == np.floor(y)).all())
        way = f"\n    {ways[y.dtype.kind]}" if whole and y.dtype.kind in ways else ""
        raise ValueError(f"{name}: labels must be one integer per image, not {y.dtype}{way}")
    y = torch.as_tensor(y.astype(np.int64))
    if len(y) and not (0 <= y.min() and y.max() < len(classes)):
        from_one = "\n    y = np.asarray(y) - 1" if y.min() == 1 and y.max() == len(classes) else ""
        raise ValueError(f"{name}: labels run from {y.min()} to {y.max()}, but {len(classes)} class names allow 0 to "
                         f"{len(classes) - 1}{from_one}")
    return y


def _viewed(augment, x: Tensor, views) -> Tensor:
    """The views that `augment` made of bytes, if they are bytes. Raises TypeError or ValueError if not."""
    called = getattr(augment, "name", None) or getattr(augment, "__name__", type(augment).__name__)
    if not isinstance(views, Tensor) or views.dtype != x.dtype:
        what = f"a tensor of {views.dtype}" if isinstance(views, Tensor) else f"a {type(views).__name__}"
        raise TypeError(f"the augmentation {called} returned {what}, and bytes (torch.uint8) are needed, as it got: "
                        "the batch divides them by 255. Of numbers x in [0, 1] return (255 * x).round().byte()")
    if views.ndim != 4 or views.shape[:2] != x.shape[:2]:
        raise ValueError(f"the augmentation {called} made {tuple(views.shape)} of images {tuple(x.shape)}: as many "
                         "images, with as many channels, are needed")
    return views


def digests(x: Tensor) -> list[bytes | int]:
    """For each image what copies of it have in common: a digest of its bytes, or its row if it is of one colour, which
    shows nothing that could be known again."""
    found = []
    for part in x.split(CHUNK):
        plain = (part == part[:, :, :1, :1]).flatten(1).all(dim=1).tolist()
        found += [len(found) + row if plain[row] else hashlib.blake2b(np.ascontiguousarray(image)).digest()[:16]
                  for row, image in enumerate(part.numpy())]
    return found


def drawn(y: Tensor, shares: Mapping[str, float], seed: int, of: Sequence | None = None) -> dict[str, Tensor]:
    """The rows of each split that is a share of the rows, stratified by class, and of `train`, which is the rest. With
    `of`, what copies of one image have in common, they go where the first of them was drawn to."""
    rows, split = torch.arange(len(y)), torch.zeros(len(y), dtype=torch.long)
    for number, share in enumerate(shares.values(), 1):
        chosen = stratified(y[rows], round(share * len(y)), seed)
        split[rows[chosen]] = number
        rows = rows[~chosen]
    if of is not None and len(y):
        first = {}
        split = split[torch.tensor([first.setdefault(each, row) for row, each in enumerate(of)])]
    return {kind: (split == number).nonzero()[:, 0] for number, kind in enumerate(["train", *shares])}


def alike(of: Sequence) -> str:
    """What to add about a split that is empty, where many images are copies."""
    n = len(set(of))
    return "" if n == len(of) else (f": of {len(of)} images only {n} differ, and copies of one stay together. Leave "
                                    "the copies out, or give the splits yourself")


def check_apart(name: str, of: Mapping[str, Sequence], mend: str) -> None:
    """Raises ValueError when a split has more than a few images of another one; `of` says what copies have in common.
    `mend` is a line or more that mends it, with the names {one} and {other} for the splits."""
    for one, other in (("train", "test"), ("train", "valid"), ("valid", "test")):
        known = {each for each in of[one] if isinstance(each, bytes | tuple)}
        n, held_out = sum(each in known for each in of[other]), len(of[other])
        if n > SHARED * held_out:
            raise ValueError(f"{name}: {n:,} of {held_out:,} images of {other} are in {one}, too, byte for byte, and "
                             f"would judge what was learned by heart{mend.format(one=one, other=other)}")


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
