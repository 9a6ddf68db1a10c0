"""`from_folder`: a folder of images, or a data set of torchvision or Hugging Face, as a `Source` of any size.

Images are decoded once, to bytes of one size. What does not fit in memory lies in a file as it is and is mapped: a
batch reads its own images, and nothing else is kept. `Mapped` is such a split.
"""

import contextlib
import hashlib
import json
import operator
import os
import re
import secrets
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from kdcourse import files
from kdcourse.data.base import CHUNK, Source, Split, alike, check_apart, check_rows, digests, drawn
from kdcourse.files import DataError

MEMORY = 2 * 2**30  # bytes that the images of a source may take in memory
ENDINGS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
UNREAD = {".gif", ".apng", ".avif", ".heic", ".heif", ".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".tga", ".ico", ".psd",
          ".svg", ".eps", ".pbm", ".pnm", ".dib", ".dcm", ".dng", ".cr2", ".nef", ".arw", ".raw"}  # pictures as well
SPLITS = {"train": ("train", "training"), "valid": ("valid", "val", "validation", "dev"),
          "test": ("test", "testing", "eval")}  # in letters of any size
DEEP = ("I", "F")  # Pillow's modes of more than eight bits begin so; its way to bytes would cut them off
TURNED = (5, 6, 7, 8)  # orientations of photographs that lie on their side
ORIENTATION = 0x0112
END = 4096  # bytes at the end of a file, which tell nearly all pictures apart
APART = (", or are so at this size. Leave the copies out of the data set, or give a dict of data sets by split that "
         "has each image once")


@dataclass(frozen=True)
class Mapped(Split):
    """A split whose images lie in a file: `x` maps it and cannot be written to. `pixels` is their fingerprint, taken
    when they were written. Batches go where `y` is; the images themselves stay on the disk."""

    pixels: str = ""

    @property
    def key(self) -> str:
        return f"{self.name}#{self.pixels}"

    def to(self, device) -> "Mapped":
        votes = None if self.votes is None else self.votes.to(device)
        return replace(self, y=self.y.to(device), votes=votes)

    def take(self, rows: Tensor, name: str) -> Split:
        """As `Split.take`. What is taken is copied: to memory, or where that is too much to a file of its own that is
        deleted with it."""
        rows = check_rows(rows, self)
        rows = torch.arange(len(self))[rows.cpu() if isinstance(rows, Tensor) else rows]
        votes = None if self.votes is None else self.votes[rows.to(self.votes.device)]
        y, whole = self.y[rows.to(self.y.device)], f"{self.name}/{name}"
        if len(rows) * self.x[0].numel() <= MEMORY:
            return Split(whole, self.x[rows], y, votes, self.classes)
        parts = (self.x[part].numpy() for part in rows.split(CHUNK))
        x, pixels = _written(parts, (len(rows), *self.x.shape[1:]), _place(None))
        return Mapped(whole, x, y, votes, self.classes, pixels)


class Found(NamedTuple):
    """The images of one split before they are decoded: `image(i)` opens the i-th, which `called(i)` names."""

    image: Callable[[int], Image.Image]
    called: Callable[[int], str]
    y: Tensor
    key: str = ""  # what tells the files from others; empty where nothing does
    paths: Sequence[Path] = ()


def from_folder(path, *, size: int | None = None, valid: float = 0.1, test: float = 0.2, seed: int = 0,
                name: str | None = None, memory: int = MEMORY, cache: str | Path | None = None) -> Source:
    """A source of the images in the folder `path`, one folder for each class, or of a data set.

    The folder may hold `train`, `valid` and `test` (or `Training`, `val`, `dev`, `Testing` and the like) with the
    classes in each, and no other folder; of what is missing, `valid` and `test` are shares of the training images,
    drawn with `seed` and stratified by class. A data set is one of torchvision (a picture and a label for each number,
    and `classes`), one of Hugging Face (rows with a picture and a label), or a dict of such by split. All images get
    three channels unless all are grey. With `size` the shorter edge of each becomes that long, and the middle is cut
    out; without it all must be of one size.

    Sources of more than `memory` bytes are written to the folder `cache`, by default one in the folder of all data, and
    mapped from there (`Mapped`): those of a folder once for as long as none of its files changes, those of a data set
    anew each time. Raises ValueError, naming the folder or the file, when there is no such folder, a class of `test` or
    `valid` has no images to train on, splits share more than a few images (the same files, or in a data set in memory
    the same pixels; files that are copies are drawn into one split), sizes differ, or a picture has more than eight
    bits a channel, and DataError when a file cannot be read or is transparent in places.
    """
    _check_size(size)
    is_folder = isinstance(path, str | Path)
    name = name or (Path(path).expanduser().resolve().name if is_folder else type(path).__name__)
    classes, found = _in_folder(Path(path).expanduser()) if is_folder else _in_data_sets(path, name)
    shape = _shape(found, size, name)
    found = _shared(found, {"test": test, "valid": valid}, seed, name)
    big = sum(len(part.y) for part in found.values()) * shape[0] * shape[1] * shape[2] > memory
    try:
        place = _place(cache) if big else None
        splits = {kind: _split(f"{name}/{kind}", found[kind], shape, size, place) for kind in SPLITS}
    except OSError as error:
        raise DataError(f"{files.in_words(error)}. The images take more than {memory / 2**30:.3g} GiB and are kept as "
                        "bytes in a file: name another folder for it, from_folder(..., cache=...)") from error
    if not is_folder and not big:
        check_apart(name, {kind: digests(split.x) for kind, split in splits.items()}, APART)
    return Source(name, splits["train"], splits["valid"], splits["test"], tuple(classes))


def _place(cache) -> Path:
    """The folder in which images are kept as bytes."""
    place = Path(cache).expanduser() if cache else files.folder() / "folders"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _check_size(size) -> None:
    if size is not None and (not isinstance(size, Integral) or isinstance(size, bool) or size < 1):
        raise ValueError(f"size is a height and width in pixels, at least 1; it is {size!r}")


def _in_folder(path: Path) -> tuple[list[str], dict[str, Found]]:
    if not path.is_dir():
        raise ValueError(f"{path} is no folder: give the one that holds a folder for each class")
    below = {entry.name: entry for entry in _folders(path)}
    parts = {kind: below[called] for kind, called in _kinds(below, str(path)).items()} or {"train": path}
    classes = [entry.name for entry in _folders(parts["train"])]
    if len(classes) < 2:
        raise ValueError(f"{parts['train']} holds {len(classes)} folders, and one for each class is needed, two at "
                         f"least: {parts['train']}/cat/1.png, say")
    _check_depth(parts["train"], path)
    return classes, {kind: _files(part, classes) for kind, part in parts.items()}


def _kinds(called: Sequence[str], name: str) -> dict[str, str]:
    """Which of the names is that of which split; empty if none is."""
    known = {each: kind for each in called for kind, names in SPLITS.items() if str(each).lower() in names}
    kinds = {kind: [each for each in known if known[each] == kind] for kind in SPLITS}
    kinds = {kind: each for kind, each in kinds.items() if each}
    if double := [each for each in kinds.values() if len(each) > 1]:
        raise ValueError(f"{name} holds {' and '.join(double[0])}, which mean the same split: put one elsewhere")
    if kinds and "train" not in kinds:
        raise ValueError(f"{name} holds {next(iter(kinds.values()))[0]} and no train: call the images to train on "
                         "train")
    if kinds and (strangers := sorted(str(each) for each in called if each not in known)):
        raise ValueError(f"{name} holds {kinds['train'][0]} and {', '.join(strangers)}, which is no name of a split: "
                         "those are train, valid and test. Call it so, or put it elsewhere; a class with the name of a "
                         "split needs another")
    return {kind: each[0] for kind, each in kinds.items()}


def _check_depth(train: Path, path: Path) -> None:
    """Raises ValueError when the folders of the classes look like splits, or hold splits."""
    below = {entry.name: {inner.name for inner in _folders(entry)} for entry in _folders(train)}
    same = set.intersection(*below.values())
    whole = set.union(*below.values())
    if len(same) > 1 and (same == whole or any(each.lower() in names for each in same for names in SPLITS.values())):
        raise ValueError(f"{train}: {', '.join(below)} are no classes, it seems: each holds the folders "
                         f"{', '.join(sorted(same))}. If these are the classes, the others are splits: call them "
                         f"{path}/train, {path}/valid and {path}/test. If these are splits, put them on top: "
                         f"{path}/train/{next(iter(below))}/1.png, say. Else put the pictures of a class into its "
                         "folder itself")
    named = {name: kind for kind, names in SPLITS.items() for name in below if _words(name) & set(names)}
    if len(set(named.values())) > 1:
        raise ValueError(f"{train}: {', '.join(named)} are no classes, it seems, but splits: call "
                         f"them {path}/train, {path}/valid and {path}/test, with a folder for each class in each. If "
                         "these are the classes, call them otherwise")


def _words(name: str) -> set[str]:
    """seg_train, trainA, Train2, TESTSET: the words of a name, in small letters and without "set" at their end."""
    return {word.lower().removesuffix("set") for word in re.findall("[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and _is_shown(entry.name))


def _is_shown(*parts: str) -> bool:
    """Whether none is hidden, nor is the folder in which macOS packs what it hides."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _files(path: Path, classes: list[str]) -> Found:
    if strangers := sorted({entry.name for entry in _folders(path)} - set(classes)):
        raise ValueError(f"{path / strangers[0]} is a class without images to train on; those are {', '.join(classes)}")
    paths, y = [], []
    for label, kind in enumerate(classes):
        shown = [entry for entry in (path / kind).rglob("*") if _is_shown(*entry.relative_to(path / kind).parts)]
        images = sorted(image for image in shown if image.suffix.lower() in ENDINGS)
        others = Counter(entry.suffix.lower() for entry in shown)
        if unread := {ending: n for ending, n in others.items() if ending in UNREAD}:
            listed = ", ".join(f"{n:,} {ending}" for ending, n in sorted(unread.items()))
            raise ValueError(f"{path / kind} holds pictures that are not read ({listed}): save them as PNG, say with "
                             f"Pillow's Image.open(path).convert('RGB').save(...), or put them elsewhere")
        if not images and (path / kind).is_dir():
            raise ValueError(f"{path / kind} holds no image ({', '.join(sorted(ENDINGS))})")
        paths += images
        y += [label] * len(images)
    stats = [image.stat() for image in paths]
    listed = json.dumps([(str(path.resolve() / image.relative_to(path)), stat.st_size, stat.st_mtime_ns, _end(image))
                         for image, stat in zip(paths, stats, strict=True)])
    return Found(lambda row: Image.open(paths[row]), lambda row: str(paths[row]), torch.tensor(y),
                 hashlib.sha256(listed.encode()).hexdigest(), paths)


def _in_data_sets(given, name: str) -> tuple[list[str], dict[str, Found]]:
    sets = {"train": given}
    if isinstance(given, Mapping):
        sets = {kind: given[called] for kind, called in _kinds(list(given), name).items()}
        if not sets:
            raise ValueError(f"{name} has no split called train; it has {', '.join(map(str, given))}")
    classes, found = None, {}
    for kind, one in sets.items():
        if not hasattr(one, "__len__") or not hasattr(one, "__getitem__") or not len(one):
            raise TypeError(f"{name}: {kind} is a {type(one).__name__}, and a data set with a length, whose items are "
                            "a picture and a label, is needed")
        picture, label, names = _columns(one, name)
        if classes is not None and list(names) != list(classes):
            raise ValueError(f"{name}: the classes of {kind} are {names}, and those of train {classes}")
        classes = names
        y = torch.tensor([_whole(label(one, row), f"{name}: item {row} of {kind}") for row in range(len(one))])
        found[kind] = Found(lambda row, one=one, picture=picture: _picture(picture(one, row)),
                            lambda row, kind=kind: f"item {row} of {kind}", y)
        if not 0 <= y.min() <= y.max() < len(classes):
            raise ValueError(f"{name}: labels of {kind} run from {y.min()} to {y.max()}; there are {len(classes)} "
                             "classes")
    return classes, found


def _columns(one, name: str) -> tuple[Callable, Callable, Sequence[str]]:
    """How an item's picture and its label are had, and the names of the classes."""
    first = one[0]
    if isinstance(first, Mapping):
        pictures = [key for key, value in first.items() if hasattr(value, "convert") or np.ndim(value) > 1]
        features = getattr(one, "features", {})
        named = {key: features[key].names for key in features if hasattr(features[key], "names")}
        if len(pictures) != 1 or len(named) != 1:
            raise ValueError(f"{name}: a row has the columns {', '.join(map(str, first))}; one of a picture and one of "
                             "classes with names are needed: remove the others, and cast the label to a ClassLabel")
        [image], [(label, names)] = pictures, named.items()
        labels = one[label]  # a column, so that no picture is decoded for its label
        return lambda rows, row: rows[row][image], lambda rows, row: labels[row], names
    whole = one
    while not hasattr(whole, "classes") and hasattr(whole, "dataset"):  # a part of a data set
        whole = whole.dataset
    if not hasattr(whole, "classes") or not isinstance(first, tuple | list) or len(first) != 2:
        raise TypeError(f"{name}: a {type(one).__name__} is no data set of torchvision, whose items are a picture and "
                        "a label and which has `classes`, nor one of Hugging Face")
    plain = type(one).__getitem__.__module__.startswith("torchvision.") and not getattr(one, "target_transform", None)
    targets = getattr(one, "targets", None) if plain else None  # whose items may have other labels: noisy ones, say
    label = (lambda pairs, row: pairs[row][1]) if targets is None else (lambda pairs, row: targets[row])
    return lambda pairs, row: pairs[row][0], label, list(map(str, whole.classes))


def _whole(label, called: str) -> int:
    """A label as an integer. Raises ValueError, naming its item, for anything else."""
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        return operator.index(label.item() if hasattr(label, "item") else label)
    raise ValueError(f"{called} has the label {label!r:.60}; a whole number is needed, the place of its class among "
                     "their names. A target_transform of the data set, or a data set around it, makes one")


def _picture(image) -> Image.Image:
    """What an item of a data set holds as a picture: that already, or bytes or floats in [0, 1], channels anywhere."""
    if isinstance(image, Image.Image):
        return image
    image = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = image.transpose(1, 2, 0)
    if image.dtype.kind not in "fb" and image.dtype != np.uint8:
        raise ValueError(f"pictures of a data set are bytes (uint8) or floats in [0, 1], not {image.dtype}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise ValueError(f"pictures of a data set are (H, W) or (H, W, 1 or 3), or with channels first; one is "
                         f"{image.shape}")
    if image.dtype.kind == "f":
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(f"floats lie in [0, 1]; these lie in [{image.min():g}, {image.max():g}]: leave the "
                             "transform of the data set out, a network normalises for itself")
        image = (255 * image).round().astype(np.uint8)
    return Image.fromarray(image.squeeze(2) if image.ndim == 3 and image.shape[2] == 1 else image)


def _shared(found: dict[str, Found], shares: dict[str, float], seed: int, name: str) -> dict[str, Found]:
    """All three splits: what is missing is taken from the training images."""
    train, missing = found["train"], {kind: share for kind, share in shares.items() if kind not in found}
    for kind, share in missing.items():
        if not 0 < share < 1:
            raise ValueError(f"{name}: {kind} is a share of the images, between 0 and 1; it is {share!r}")
    of = _files_alike(found)
    rows = drawn(train.y, missing, seed, of.get("train"))
    if of:
        parts = {kind: [of["train"][row] for row in part.tolist()] for kind, part in rows.items()}
        check_apart(name, of | parts, ": the files are the same. Delete them from one of both")
    found = found | {kind: _part(train, part) if len(part) < len(train.y) else train for kind, part in rows.items()}
    for kind, part in found.items():
        if not len(part.y):
            raise ValueError(f"{name}: the {kind} split has no images{alike(of.get('train', ()))}")
    return found


def _files_alike(found: Mapping[str, Found]) -> dict[str, list]:
    """For each file of each split what files of the same bytes have in common; nothing of data sets. Only what is as
    long as another and ends as it does is read whole."""
    def whole(path: Path) -> bytes:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()[:16]

    paths = [path for part in found.values() for path in part.paths]
    of = [(path.stat().st_size,) for path in paths]
    for ask in (_end, whole):
        times = Counter(of)
        of = [(*each, ask(path)) if times[each] > 1 else each for each, path in zip(of, paths, strict=True)]
    each = iter(of)
    return {kind: [next(each) for _ in part.paths] for kind, part in found.items()} if paths else {}


def _end(path: Path) -> str:
    """A digest of the last bytes of a file."""
    with open(path, "rb") as file:
        file.seek(-min(END, path.stat().st_size), os.SEEK_END)
        return hashlib.blake2b(file.read()).hexdigest()[:32]


def _part(found: Found, rows: Tensor) -> Found:
    chosen = rows.tolist()
    key = found.key and hashlib.sha256(f"{found.key} {chosen}".encode()).hexdigest()
    return Found(lambda row: found.image(chosen[row]), lambda row: found.called(chosen[row]), found.y[rows], key)


def _shape(found: dict[str, Found], size: int | None, name: str) -> tuple[int, int, int]:
    """(C, H, W) that all images get. Of files only the first bytes are read."""
    sizes, modes = Counter(), Counter()
    for part in found.values():
        for row in range(len(part.y)):
            width, height, mode = _read(part, row, lambda image: (*_upright(image), image.mode))
            sizes[height, width] += 1
            modes[mode] += 1
    if deep := [mode for mode in modes if mode.startswith(DEEP)]:
        raise ValueError(f"{name}: {modes[deep[0]]} pictures have more than eight bits a channel (mode {deep[0]}): say "
                         "yourself what becomes of them, and use data.from_arrays")
    if size is None and len(sizes) > 1:
        listed = ", ".join(f"{height}x{width}" for (height, width), _ in sizes.most_common(3))
        raise ValueError(f"{name}: the images are of {len(sizes)} different sizes ({listed}, ...): give size=224, say")
    height, width = next(iter(sizes)) if size is None else (size, size)
    return (1 if modes.keys() <= {"L", "1"} else 3), height, width


def _upright(image: Image.Image) -> tuple[int, int]:
    """Width and height once a photograph that lies on its side is turned; other formats would be decoded to ask."""
    lies = image.format in ("JPEG", "MPO", "TIFF", "WEBP") and image.getexif().get(ORIENTATION) in TURNED
    return image.size[::-1] if lies else image.size


def _read(found: Found, row: int, ask: Callable[[Image.Image], object]):
    """What is asked of one picture. Raises DataError, naming it, when it cannot be read."""
    try:
        with found.image(row) as image:
            return ask(image)
    except Transparent as error:
        raise DataError(f"{found.called(row)}: {error}. Flatten all such pictures on a background, white say:\n"
                        '    image = Image.open(path).convert("RGBA")\n'
                        '    Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")'
                        ) from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{found.called(row)} cannot be read ({error}): delete it or put it right") from error


def _split(name: str, found: Found, shape, size: int | None, place: Path | None) -> Split:
    whole = (len(found.y), *shape)
    if place is None:
        x = torch.empty(whole, dtype=torch.uint8)
        for number, part in enumerate(_decoded(found, shape, size)):
            x[number * CHUNK : number * CHUNK + len(part)] = torch.from_numpy(part)
        return Split(name, x, found.y)
    kept = place / f"{hashlib.sha256(f'{found.key} {shape} {size}'.encode()).hexdigest()[:16]}.bytes"
    beside = kept.with_suffix(".json")
    if found.key and kept.is_file() and beside.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a file that was cut off is written anew
            pixels = json.loads(beside.read_text(encoding="utf-8"))["pixels"]
            return Mapped(name, mapped(kept, whole), found.y, pixels=pixels)
    x, pixels = _written(_decoded(found, shape, size), whole, place, kept if found.key else None)
    return Mapped(name, x, found.y, pixels=pixels)


def _decoded(found: Found, shape, size: int | None) -> Iterator[np.ndarray]:
    """The images, `CHUNK` at a time, as bytes (B, C, H, W); several are decoded at once."""
    def as_bytes(image: Image.Image) -> np.ndarray:
        upright = _opaque(ImageOps.exif_transpose(image)).convert("L" if shape[0] == 1 else "RGB")
        pixels = np.asarray(_fitted(upright, size))
        return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(found.y), CHUNK):
            rows = range(start, min(start + CHUNK, len(found.y)))
            yield np.stack(list(pool.map(lambda row: _read(found, row, as_bytes), rows)))


def _opaque(image: Image.Image) -> Image.Image:
    """The picture, nothing of which may be transparent: what colour lies behind it, nobody knows. Raises OSError."""
    has_alpha = image.getbands()[-1] in "Aa"
    if not has_alpha and "transparency" not in image.info:
        return image
    whole = image if has_alpha else image.convert("RGBA")
    if whole.getchannel(whole.getbands()[-1]).getextrema()[0] < 255:
        raise Transparent("it is transparent in places, which would become black or any colour")
    image.info.pop("transparency", None)
    return image


class Transparent(OSError):
    """A picture that needs a background."""


def _fitted(image: Image.Image, size: int | None) -> Image.Image:
    """The shorter edge `size` long and the middle cut out, as torchvision's `Resize` and `CenterCrop` do."""
    if size is None or image.size == (size, size):
        return image
    width, height = image.size
    longer = int(size * max(width, height) / min(width, height))
    image = image.resize((longer, size) if width >= height else (size, longer), Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _written(parts, shape, place: Path, kept: Path | None = None) -> tuple[Tensor, str]:
    """The images in a file, whole or not at all, mapped, and their fingerprint; one that is not kept by a name is gone
    when nobody reads it any more."""
    path = kept or place / f".unnamed-{secrets.token_hex(8)}"
    digest = hashlib.sha256(f"{torch.uint8}{tuple(shape)}".encode())  # as core.fingerprint takes it
    with files.partial(path) as file:
        for part in parts:
            digest.update(np.ascontiguousarray(part).data)
            file.write(np.ascontiguousarray(part).data)
        pixels = digest.hexdigest()[:12]
        if kept is not None:
            files.write(kept.with_suffix(".json"), json.dumps({"pixels": pixels, "shape": list(shape)}))
    x = mapped(path, shape)
    if kept is None:
        with contextlib.suppress(OSError):  # Windows keeps a file that is mapped
            path.unlink()
    return x, pixels


def mapped(path: str | Path, shape: Sequence[int]) -> Tensor:
    """Bytes (N, C, H, W) in a file as a tensor that reads what is asked for. Raises DataError if it is not as long."""
    found, needed = os.path.getsize(path), int(np.prod(shape, dtype=np.int64))
    if found != needed:
        raise DataError(f"{path} has {found:,} bytes, and {tuple(shape)} needs {needed:,}: delete it, and it is "
                        "written again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to, which is meant
        return torch.from_numpy(np.memmap(path, np.uint8, "r", shape=tuple(shape)))
