"""`mhist`: the reader's own copy of MHIST, checked before it is used; `read` reads any folder in its file format.

Such a folder holds `annotations.csv` and the images that it names, as `images.zip` or unpacked in `images/`. Nothing is
downloaded: MHIST is had by asking its authors for it.
"""

import csv
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdcourse.data.base import Source, Split, stratified
from kdcourse.files import DataError, MissingError, folder

CLASSES = ("HP", "SSA")  # the labels 0 and 1: hyperplastic polyp, sessile serrated adenoma, which is the positive class
COLUMNS = ("Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition")
ANNOTATORS = 7
COUNTS = {("train", "HP"): 1545, ("train", "SSA"): 630, ("test", "HP"): 617, ("test", "SSA"): 360}
RECIPE = """mhist is not in {root}: missing {missing}. It is given on request only; to get a copy of your own:
  1. fill in the request form of its authors at https://bmirds.github.io/MHIST
  2. wait for their e-mail, which links to images.zip, annotations.csv and the Dataset Research Use Agreement
  3. read that agreement: research use only, and no image is passed on, not even in the output of a notebook
  4. put images.zip (or its images, unpacked in images/) and annotations.csv into {root},
     or set KDCOURSE_DATA to the folder that holds mhist/ with them
  5. until then: KDCOURSE_PROFILE=quick needs no files, and "polyps" is generated tissue in the same format"""

OWN = "Images of your own are read by data.from_arrays(name, x, y, classes=...), which expects no particular number"


class Row(NamedTuple):
    """A line of `annotations.csv`: the file name of an image, its label, who said SSA out of seven, its partition."""

    image: str
    label: str
    votes: int
    partition: str


def mhist(root: Path | str | None = None, *, size: int | None = None, seed: int = 0) -> Source:
    """MHIST: H&E images (3, 224, 224) of colorectal polyps, 0 = HP, 1 = SSA: 1,740 train, 435 valid, 977 test.

    Label and `votes` (N, 2) are those of seven pathologists, who often disagree. Of the 2,175 training images a fifth
    validates, drawn with `seed` and stratified by the votes. `size` makes the images smaller, once, antialiased. Read
    from `root`, its subfolder `mhist`, or by default from `mhist` in `files.folder()`. The full size takes 475 MB, and
    twice that while it is read.

    J. Wei et al. 2021, arXiv:2101.12355. Dataset Research Use Agreement: research use only, no redistribution; so show
    no image in an output that you keep or share. For study, never for diagnosis.

    Raises DataError with a recipe when there is no copy, and when it differs from the original, saying in what.
    """
    return read("mhist", _place(root), pixels=224, counts=COUNTS, size=size, seed=seed)


def describe(root: Path | str | None = None) -> str:
    """What `repr` says of `mhist`, from its table, the names of its images and the first of them: without the 475 MB.
    Raises DataError as `mhist` does where that shows what is wrong."""
    place = _place(root)
    table = _table(place / "annotations.csv", COUNTS)
    names = [row.image for row in table]
    with _opened(place) as (where, contents):
        _check_there(names, where, contents)
        _image(names[0], where, contents, 224)
    train = sum(row.partition == "train" for row in table)
    valid, test = round(train / 5), len(table) - train
    return f"Source('mhist': {train - valid:,} train, {valid:,} valid, {test:,} test; 2 classes of 3x224x224)"


def own_mhist() -> Path:
    """The folder of the copy of MHIST in `files.folder()`, checked; nothing is fetched. Raises what `mhist` raises."""
    mhist(size=1)
    return _place(None)


def read(
    name: str, root: Path | str, *, pixels: int, counts: Mapping[tuple[str, str], int] | None = None,
    size: int | None = None, seed: int = 0, stand_in: str = "",
) -> Source:
    """The folder `root` as a source whose splits hold the annotators' `votes` (N, 2), in the order of its table.

    `pixels` is how wide the images must be, and `counts` how many there must be of each (partition, label), if that is
    known. `size` and `seed` are as for `mhist`. Raises DataError when the folder is not as it must be.
    """
    if size is not None and not 1 <= size <= pixels:
        raise ValueError(f"{name}: images of {pixels} pixels can be made smaller, to a size of 1 or more; it is {size}")
    root = Path(root)
    table = _table(root / "annotations.csv", counts)
    x = _images(root, [row.image for row in table], pixels, size or pixels)
    y = torch.tensor([CLASSES.index(row.label) for row in table])
    ssa = torch.tensor([row.votes for row in table])
    whole = Split(name, x, y, torch.stack([ANNOTATORS - ssa, ssa], dim=1))
    training = torch.tensor([row.partition == "train" for row in table])
    rows = training.nonzero()[:, 0]
    chosen = stratified(ssa[rows], round(len(rows) / 5), seed)
    train, valid = whole.take(rows[~chosen], "train"), whole.take(rows[chosen], "valid")
    return Source(name, train, valid, whole.take(~training, "test"), CLASSES, stand_in)


def _place(root: Path | str | None) -> Path:
    root = Path(root or folder())
    place = min((root / "mhist", root), key=lambda place: len(_missing(place)))
    if missing := _missing(place):
        raise MissingError(RECIPE.format(root=place, missing=" and ".join(missing)))
    return place


def _missing(root: Path) -> list[str]:
    there = {"annotations.csv": (root / "annotations.csv").is_file(),
             "images.zip": (root / "images.zip").is_file() or (root / "images").is_dir()}
    return [name for name in there if not there[name]]


def _table(path: Path, counts: Mapping[tuple[str, str], int] | None) -> list[Row]:
    again = "get annotations.csv again, and do not edit it"
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); {again}") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        found = ", ".join(lines[0]) if lines else "nothing"
        raise DataError(f"{path} must begin with the columns {', '.join(COLUMNS)}; it begins with {found}; {again}")
    table = [_row(path, number, line, again) for number, line in enumerate(lines[1:], start=2) if line]
    if not table:
        raise DataError(f"{path} names no image; {again}")
    if double := [image for image, n in Counter(row.image for row in table).items() if n > 1]:
        raise DataError(f"{path} names {double[0]} more than once ({len(double)} such images); {again}")
    found = Counter((row.partition, row.label) for row in table)
    if counts is not None and found != counts:
        differ = [f"{found[key]:,} {label} of {partition} instead of {n:,}"
                  for key, n in counts.items() for partition, label in [key] if found[key] != n]
        raise DataError(f"{path} has {len(table):,} images instead of {sum(counts.values()):,}: "
                        f"{', '.join(differ)}; {again}. {OWN}")
    return table


def _row(path: Path, number: int, line: list[str], again: str) -> Row:
    if len(line) != len(COLUMNS):
        raise DataError(f"{path}, line {number}: {len(line)} fields instead of {len(COLUMNS)}; {again}")
    image, label, votes, partition = line
    if votes not in {str(n) for n in range(ANNOTATORS + 1)}:
        problem = f"{votes!r} annotators for SSA; it is a number from 0 to {ANNOTATORS}"
    elif label not in CLASSES:
        problem = f"label {label!r}; it is one of {' and '.join(CLASSES)}"
    elif label != CLASSES[int(votes) > ANNOTATORS / 2]:
        problem = f"label {label}, but {votes} of {ANNOTATORS} annotators for SSA"
    elif partition not in ("train", "test"):
        problem = f"partition {partition!r}; it is train or test"
    else:
        return Row(image, label, int(votes), partition)
    raise DataError(f"{path}, line {number} ({image}): {problem}; {again}")


@contextmanager
def _opened(root: Path) -> Iterator[tuple[Path, dict[str, Callable[[], bytes]]]]:
    """Where the images of `root` are, and a function for each file name that gives its bytes."""
    place = root / "images"
    if place.is_dir():
        yield place, {_file_name(path.name): path.read_bytes for path in place.rglob("*")}
        return
    place = root / "images.zip"
    try:
        with zipfile.ZipFile(place) as archive:
            yield place, {_file_name(name): partial(archive.read, name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{place} is no whole archive ({error}); get images.zip again") from error


def _file_name(path: str) -> str:
    """The last part of a path in an archive. Some programs for Windows write backslashes, against the format."""
    return PurePosixPath(path.replace("\\", "/")).name


def _images(root: Path, names: list[str], pixels: int, size: int) -> Tensor:
    """Images (N, 3, size, size), uint8, in the order of their names."""
    x = torch.empty(len(names), 3, size, size, dtype=torch.uint8)
    with _opened(root) as (place, contents):
        _check_there(names, place, contents)
        for row, name in enumerate(names):
            image = _image(name, place, contents, pixels)
            if size != pixels:
                image = image.resize((size, size), Image.Resampling.BILINEAR)  # Pillow's averages: it is antialiased
            x[row] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return x


def _check_there(names: list[str], place: Path, contents: Mapping[str, Callable[[], bytes]]) -> None:
    if missing := [name for name in names if name not in contents]:
        some = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise DataError(f"{len(missing):,} of {len(names):,} images are not in {place}: {some}; "
                        "get images.zip again, or unpack it again")


def _image(name: str, place: Path, contents: Mapping[str, Callable[[], bytes]], pixels: int) -> Image.Image:
    try:
        image = Image.open(BytesIO(contents[name]()))
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{name} in {place} cannot be decoded ({error}); get images.zip again") from error
    if image.size != (pixels, pixels) or image.mode not in ("RGB", "RGBA"):
        raise DataError(f"{name} in {place} is {image.width}x{image.height} {image.mode} instead of {pixels}x{pixels} "
                        f"RGB; get images.zip again, and do not change its images. {OWN}")
    return image.convert("RGB")
