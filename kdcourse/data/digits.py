"""Two sources of handwritten digits: `digits`, which comes with scikit-learn, and `mnist`, which is fetched."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from kdcourse.data.base import Source, Split, from_arrays
from kdcourse.files import fetch, folder, verified

CLASSES = tuple("0123456789")
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
CHECKSUMS = {  # MD5; both as torchvision has them
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
UNPACKED = {  # the MD5 of the same files without their compression
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def digits() -> Source:
    """1,797 real handwritten digits of 8x8 pixels, embedded in scikit-learn: 1,000 train, 200 valid, 597 test.

    They are the test part of the UCI "Optical Recognition of Handwritten Digits" (E. Alpaydin, C. Kaynak, 1998,
    CC BY 4.0): 13 people wrote them, and writers are not kept apart between the splits here.
    """
    # the file that `sklearn.datasets.load_digits` reads: to import that takes a second, and to read this a hundredth
    embedded = Path(find_spec("sklearn").submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(embedded, delimiter=",", dtype=np.int64)
    x = (rows[:, :-1].reshape(-1, 8, 8) / 16).astype(np.float32)  # pixels count from 0 to 16
    return from_arrays("digits", x, rows[:, -1], classes=CLASSES, valid=200 / 1797, test=597 / 1797)


def mnist(root: Path | str | None = None) -> Source:
    """MNIST (Y. LeCun, C. Cortes; CC BY-SA 3.0): 55,000 train, 5,000 valid (the last of the 60,000), 10,000 test.

    Read from the four original files `*-ubyte.gz` in `root` (by default `files.folder()`), in its subfolder `mnist`,
    or in torchvision's `MNIST/raw`; where one is missing, from it unpacked (`*-ubyte`, or `*.idx3-ubyte` as some
    programs name it). Raises DataError when a file is missing or its checksum is wrong.
    """
    arrays = {}
    for name, path in _mnist_files(root).items():
        content = path.read_bytes()
        content, images = bytearray(gzip.decompress(content) if path.suffix == ".gz" else content), "images" in name
        array = torch.frombuffer(content, dtype=torch.uint8, offset=16 if images else 8)
        arrays[name] = array.reshape(-1, 1, 28, 28) if images else array.long()
    x, y = arrays["train-images-idx3-ubyte"], arrays["train-labels-idx1-ubyte"]
    return Source(
        "mnist",
        Split("mnist/train", x[:55_000], y[:55_000]),
        Split("mnist/valid", x[55_000:], y[55_000:]),
        Split("mnist/test", arrays["t10k-images-idx3-ubyte"], arrays["t10k-labels-idx1-ubyte"]),
        CLASSES,
    )


def describe_mnist() -> str:
    """What `repr` says of `mnist`, from its checksums alone. Raises DataError as it does."""
    _mnist_files(None)
    return "Source('mnist': 55,000 train, 5,000 valid, 10,000 test; 10 classes of 1x28x28)"


def fetch_mnist() -> Path:
    """Download what is missing of MNIST (12 MB) from torchvision's mirrors, verified; returns its folder."""
    return fetch("mnist", _mnist_folder(None), MIRRORS, CHECKSUMS)


def _mnist_files(root: Path | str | None) -> dict[str, Path]:
    """The four verified files by their names without ".gz", each as it was packed or else unpacked."""
    place, found = _mnist_folder(root), {}
    for packed, checksum in CHECKSUMS.items():
        name = packed.removesuffix(".gz")
        there = next((spelt for spelt in _spellings(packed) if (place / spelt).is_file()), packed)
        found[name] = there, checksum if there == packed else UNPACKED[name]
    paths = verified("mnist", place, dict(found.values()))
    return {name: paths[there] for name, (there, _) in found.items()}


def _spellings(packed: str) -> list[str]:
    """The names that a file goes by: packed, unpacked, and unpacked with a dot as some programs name it."""
    name = packed.removesuffix(".gz")
    return [packed, name, name.replace("-idx", ".idx")]


def _mnist_folder(root: Path | str | None) -> Path:
    root = Path(root or folder())
    for place in (root, root / "mnist", root / "MNIST" / "raw"):
        if any((place / name).is_file() for packed in CHECKSUMS for name in _spellings(packed)):
            return place
    return root / "mnist"
