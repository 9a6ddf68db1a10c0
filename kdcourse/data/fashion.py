"""`fashion`, the whole of Fashion-MNIST, which is fetched. A part of it comes with the course: `fashion_small`."""

import gzip
from pathlib import Path

import torch

from kdcourse.data.base import Source, Split
from kdcourse.files import fetch, folder, verified

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
MIRRORS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
CHECKSUMS = {  # MD5; all three as torchvision has them
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def fashion(root: Path | str | None = None) -> Source:
    """Fashion-MNIST, photographs of clothes (1, 28, 28): 55,000 train, 5,000 valid (the last of the 60,000), 10,000
    test. H. Xiao, K. Rasul, R. Vollgraf 2017, arXiv:1708.07747; MIT licence, (c) 2017 Zalando SE.

    Read from the four original files `*-ubyte.gz` in `root`, in the subfolder `fashion` of it (by default of
    `files.folder()`), or in torchvision's `FashionMNIST/raw`. MNIST's files have the same names, so in the folder of
    all data itself they are not looked for. Raises DataError when a file is missing or its checksum is wrong.
    """
    paths = verified("fashion", _place(root), CHECKSUMS)
    x, x_test = (_array(paths[f"{kind}-images-idx3-ubyte.gz"], 16).reshape(-1, 1, 28, 28) for kind in ("train", "t10k"))
    y, y_test = (_array(paths[f"{kind}-labels-idx1-ubyte.gz"], 8).long() for kind in ("train", "t10k"))
    return Source(
        "fashion",
        Split("fashion/train", x[:55_000], y[:55_000]),
        Split("fashion/valid", x[55_000:], y[55_000:]),
        Split("fashion/test", x_test, y_test),
        CLASSES,
    )


def fetch_fashion() -> Path:
    """Download what is missing of Fashion-MNIST (31 MB) from torchvision's mirror, verified; returns its folder."""
    return fetch("fashion", _place(None), MIRRORS, CHECKSUMS)


def _array(path: Path, header: int):
    return torch.frombuffer(bytearray(gzip.decompress(path.read_bytes())), dtype=torch.uint8, offset=header)


def _place(root: Path | str | None) -> Path:
    base = Path(root or folder())
    for place in (base / "fashion", base / "FashionMNIST" / "raw", *([base] if root else [])):
        if any((place / name).exists() for name in CHECKSUMS):
            return place
    return base / "fashion"
