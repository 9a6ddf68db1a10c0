"""Two sources of small colour photographs, `cifar10` and `cifar100`: both are fetched, and read as torchvision unpacks
them."""

import os
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor

from kdcourse import files
from kdcourse.data.base import Source, Split
from kdcourse.files import DataError, folder, verified

CLASSES = {"cifar10": 10, "cifar100": 100}
TRAIN = 45_000  # of the 50,000 training images; the others validate


def cifar10(root: Path | str | None = None) -> Source:
    """CIFAR-10, photographs (3, 32, 32) of ten kinds: 45,000 train, 5,000 valid (the last of the 50,000), 10,000 test.

    Read from torchvision's folder `cifar-10-batches-py` in `root` (by default `files.folder()`) or in its subfolder
    `cifar10`. Each class has 5,000 images before the split and 1,000 in the test; the split itself is not stratified.
    The images take 184 MB, and twice that while they are read.

    A. Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", technical report, University of
    Toronto. No licence was published with the images.

    Raises DataError when a file is missing or its checksum is wrong.
    """
    return _read("cifar10", root)


def cifar100(root: Path | str | None = None) -> Source:
    """CIFAR-100, photographs (3, 32, 32) with its 100 fine labels: 45,000 train, 5,000 valid (the last of the 50,000),
    10,000 test.

    Read from torchvision's folder `cifar-100-python` in `root` or its subfolder `cifar100`. Each class has 500 images
    before the split and 100 in the test. For the rest, with author and licence, see `cifar10`.
    """
    return _read("cifar100", root)


def describe(name: str) -> str:
    """What `repr` says of that source, from its checksums alone. Raises DataError as the source does."""
    verified(name, _place(name, None), _checksums(name))
    return f"Source({name!r}: 45,000 train, 5,000 valid, 10,000 test; {CLASSES[name]} classes of 3x32x32)"


def fetch(name: str) -> Path:
    """Download that source (170 MB) from the address that torchvision has, verified and unpacked; returns its folder.

    An archive that lies in that folder already is unpacked without a connection, and stays; a downloaded one is removed
    at the end. A file gets its name only once it is whole. Raises DataError with a recipe when it cannot be had.
    """
    from torchvision.datasets.utils import extract_archive

    kind, root, checksums = _kind(name), _place(name, None), _checksums(name)
    if all((root / file).is_file() and files.md5(root / file) == expected for file, expected in checksums.items()):
        return root
    archive = root / kind.filename
    yours = archive.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="partial-", dir=root) as partial:
            files.fetch(name, root, [kind.url.removesuffix(kind.filename)], {kind.filename: kind.tgz_md5})
            extract_archive(archive, partial)
            (root / kind.base_folder).mkdir(exist_ok=True)
            for file in checksums:
                os.replace(Path(partial) / file, root / file)
        if not yours:
            archive.unlink()
    except DataError as error:
        raise DataError(f"{error}\n  3. a file that you copied there is unpacked by the same command") from error
    except OSError as error:
        raise DataError(
            f"cannot unpack {name} in {root} ({error}). Do one of these, and run the command again:\n"
            "  1. make room there: 360 MB while it is unpacked, 190 MB afterwards\n"
            "  2. set KDCOURSE_DATA to a folder of yours that has it"
        ) from error
    verified(name, root, checksums)
    return root


def _read(name: str, root: Path | str | None) -> Source:
    place = _place(name, root)
    verified(name, place, _checksums(name))
    x, y, classes = _images(name, place, train=True)
    x_test, y_test, _ = _images(name, place, train=False)
    return Source(
        name,
        Split(f"{name}/train", x[:TRAIN], y[:TRAIN]),
        Split(f"{name}/valid", x[TRAIN:], y[TRAIN:]),
        Split(f"{name}/test", x_test, y_test),
        classes,
    )


def _images(name: str, place: Path, train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    with warnings.catch_warnings():  # NumPy 2.4.0 to 2.4.4 warn of pickles as old as these, and read them all the same
        warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
        whole = _kind(name)(place, train=train)
    x = torch.from_numpy(whole.data).permute(0, 3, 1, 2)  # back to channels first, as the file has them
    return x, torch.tensor(whole.targets), tuple(whole.classes)


def _checksums(name: str) -> dict[str, str]:
    kind = _kind(name)
    listed = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    return {f"{kind.base_folder}/{file}": expected for file, expected in listed}


def _kind(name: str):
    from torchvision import datasets  # slow to import, and lessons on other images need it not

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _place(name: str, root: Path | str | None) -> Path:
    root = Path(root or folder())
    return max((root / name, root), key=lambda place: sum((place / file).is_file() for file in _checksums(name)))
