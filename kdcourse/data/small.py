"""Three sources of real images that come with the course: `mnist_small`, `fashion_small` and `tissue_small`, each a
contact sheet in `kdcourse/data/sheets/` beside its licence; and `rest`, what the first two leave of the whole sets.

Which images the first two hold is a rule about pixels, so it does not matter in which order the whole set lies.
`benchmarks/sheets.py` makes the sheets again.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdcourse.data.base import Source, Split
from kdcourse.files import DataError

FOLDER = Path(__file__).parent / "sheets"
COLUMNS = 100
SIZES = {"train": 6_000, "valid": 1_000, "test": 2_000}
TISSUE_SIZES = {"train": 1_600, "valid": 200, "test": 600}
TISSUE_SIDE = 32  # of 96 pixels
CHECKSUMS = {  # SHA-256
    "mnist_small": "5d32afd99bca1b836b711302c1b32b0e15eb93429b696ae34f3001d9c6128e3b",
    "fashion_small": "896e54d37800d63e1fb2d02c3500630da5cd6daa90d5602ce7010822804b7678",
    "tissue_small": "b57a81ed98fabe14194305a7d215f603b7adb7dcc923c81a5164a45543492d24",
}


def mnist_small() -> Source:
    """Handwritten digits (1, 28, 28), a tenth of MNIST: 6,000 train, 1,000 valid, 2,000 test, the same number of each.

    The test images are of MNIST's test set. Y. LeCun, C. Cortes, C. J. C. Burges; CC BY-SA 3.0, see
    `sheets/mnist_small.LICENCE`. Raises DataError when its file is not whole.
    """
    return _source("mnist_small", SIZES, tuple("0123456789"))


def fashion_small() -> Source:
    """Photographs of clothes (1, 28, 28), a tenth of Fashion-MNIST: 6,000 train, 1,000 valid, 2,000 test, the same
    number of each of ten kinds, some of which look alike.

    The test images are of its test set. H. Xiao, K. Rasul, R. Vollgraf 2017, arXiv:1708.07747; MIT licence, (c) 2017
    Zalando SE, see `sheets/fashion_small.LICENCE`. Raises DataError when its file is not whole.
    """
    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
    return _source("fashion_small", SIZES, classes)


def tissue_small() -> Source:
    """Stained lymph nodes, microscoped (3, 32, 32), two classes: 1,600 train, 200 valid, 600 test, half of each.

    A part of PatchCamelyon, where a patch of 96 pixels counts as tumour if the 32 in its middle show some; here every
    pixel is the mean of nine, so the middle is 11 pixels wide. To learn to program with, not for any medical use.
    B. Veeling et al. 2018, arXiv:1806.03962; B. Ehteshami Bejnordi et al. 2017; CC0 1.0, see
    `sheets/tissue_small.LICENCE`. Raises DataError when its file is not whole.
    """
    return _source("tissue_small", TISSUE_SIZES, ("no tumour", "tumour"))


def drawn(x: Tensor, y: Tensor, sizes: list[int], without: set[bytes] = frozenset()) -> list[Tensor]:
    """Rows for parts of the given sizes, and last the rows that are left, all in the order of the images' SHA-256.

    Each part holds as many images of every class, which take turns: row i of a part shows class i % K. An image that is
    there twice counts once, and one whose digest is in `without` does not count.
    """
    order, seen = [], set(without)
    for digest, row in sorted(zip(digests(x), range(len(x)), strict=True)):
        if digest not in seen:
            seen.add(digest)
            order.append(row)
    order = torch.tensor(order)
    of_class = [order[y[order] == label] for label in range(int(y.max()) + 1)]
    parts, start = [], 0
    for size in sizes:
        end = start + size // len(of_class)
        parts.append(torch.stack([rows[start:end] for rows in of_class], dim=1).flatten())
        start = end
    return [*parts, order[~torch.isin(order, torch.cat([*parts, order[:0]]))]]


def digests(x: Tensor) -> list[bytes]:
    """The SHA-256 of the bytes of every image (N, C, H, W) uint8."""
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in x.contiguous()]


def rest(small: Callable[[], Source], whole: Callable[..., Source], **settings) -> Source:
    """What a teacher of a small source learns from: the 53,000 training images of the whole one that the small one does
    not hold, in the order of their SHA-256. `valid` is the small one's, `test` the whole test set. Twins count once.

    `settings` go to `whole`. Raises as the two functions do.
    """
    small, whole = small(), whole(**settings)
    x, y = (torch.cat([getattr(whole.train, part), getattr(whole.valid, part)]) for part in "xy")
    [rows] = drawn(x, y, [], {digest for split in small.splits.values() for digest in digests(split.x)})
    train = Split(f"{whole.name}_rest/train", x[rows], y[rows])
    return Source(f"{whole.name}_rest", train, small.valid, whole.test, whole.classes)


def _source(name: str, sizes: dict[str, int], classes: tuple[str, ...]) -> Source:
    path = FOLDER / f"{name}.webp"
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != CHECKSUMS[name]:
        raise DataError(f"{path}, which comes with the course, is missing or not whole; install the course again")
    x, splits, start = _once(path, CHECKSUMS[name], sum(sizes.values())).clone(), {}, 0
    for kind, size in sizes.items():
        splits[kind] = Split(f"{name}/{kind}", x[start : start + size], torch.arange(size) % len(classes))
        start += size
    return Source(name, splits["train"], splits["valid"], splits["test"], classes)


@cache
def _once(path: Path, checksum: str, n: int) -> Tensor:
    """The images of a sheet with that checksum, which are decoded once: at most 9 MB of each. Not to be changed."""
    return tiles(path, n)


def tiles(path: Path, n: int) -> Tensor:
    """The n images (n, C, S, S) of a contact sheet, row by row, 100 in a row; C is 1 where all of it is grey."""
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    side, rows = pixels.shape[1] // COLUMNS, n // COLUMNS
    channels = 3 if (pixels[..., :1] != pixels).any() else 1
    x = pixels[..., :channels].reshape(rows, side, COLUMNS, side, channels).transpose(0, 2, 4, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(x).reshape(n, channels, side, side))
