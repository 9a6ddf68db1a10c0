"""Makes the contact sheets that come with the course, from the whole sets in the folder that `KDCOURSE_DATA` names.

    python benchmarks/sheets.py                 # all three into kdcourse/data/sheets/, a minute
    python benchmarks/sheets.py --into FOLDER   # somewhere else, to compare

The first two hold the images that come first, class by class, in the order of their SHA-256: 600 + 100 a class of the
training set and 200 of the test set, without those that stand in the training set too. The tissue is all of a subset of
PatchCamelyon, each patch of 96 pixels averaged in blocks of three, the classes in turn, each in the order of its file
names. Nothing is drawn, and the sheets are lossless, so the same files come out every time; with another version of
libwebp the bytes may differ and the pixels do not. Prints the SHA-256 that `kdcourse/data/small.py` keeps.
"""

import argparse
import csv
import hashlib
import io
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fashion import fashion
from PIL import Image, features
from torch import Tensor

from kdcourse import data, files
from kdcourse.data import small

LIBWEBP = "1.6.0"  # of the files that are kept


def grey(whole: data.Source) -> Tensor:
    """The images of the small set, its three splits one after the other."""
    x, y = (torch.cat([getattr(whole.train, part), getattr(whole.valid, part)]) for part in "xy")
    train, valid, _ = small.drawn(x, y, [small.SIZES["train"], small.SIZES["valid"]])
    test, _ = small.drawn(whole.test.x, whole.test.y, [small.SIZES["test"]], set(small.digests(x)))
    return torch.cat([x[train], x[valid], whole.test.x[test]])


def tissue() -> Tensor:
    """All patches, smaller, their three splits one after the other, label i % 2 at row i of a split."""
    path = files.folder() / "pcam_subset" / "pcam_subset.zip"
    if not path.is_file():
        sys.exit(f"skipped: there is no {path}")
    patches = []
    with zipfile.ZipFile(path) as packed:
        rows = list(csv.DictReader(io.StringIO(packed.read("labels.csv").decode())))
        for split in small.TISSUE_SIZES:
            of_class = [sorted(row["image"] for row in rows if (row["split"], row["label"]) == (split, label))
                        for label in "01"]
            for name in (name for pair in zip(*of_class, strict=True) for name in pair):
                patches.append(smaller(packed.read(name)))
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)


def smaller(jpeg: bytes) -> np.ndarray:
    """A patch (S, S, 3): every pixel is the mean of a square of the original."""
    with Image.open(io.BytesIO(jpeg)) as patch:
        return np.asarray(patch.convert("RGB").resize((small.TISSUE_SIDE,) * 2, Image.Resampling.BOX))


def sheet(x: Tensor) -> Image.Image:
    """Images (N, C, S, S) as one picture, 100 in a row."""
    N, C, side, _ = x.shape
    rows = x.reshape(N // small.COLUMNS, small.COLUMNS, C, side, side).permute(0, 3, 1, 4, 2)
    return Image.fromarray(rows.reshape(N // small.COLUMNS * side, small.COLUMNS * side, C).squeeze(2).numpy())


WHOLE = {"mnist_small": partial(data.load, "mnist"), "fashion_small": fashion}
IMAGES = {"mnist_small": lambda: grey(WHOLE["mnist_small"]()), "fashion_small": lambda: grey(WHOLE["fashion_small"]()),
          "tissue_small": tissue}


def packed(x: Tensor) -> bytes:
    """The images as the bytes of one lossless WebP file."""
    content = io.BytesIO()
    sheet(x).save(content, "WEBP", lossless=True, method=4, quality=75)
    return content.getvalue()


def libwebp() -> str:
    """The version that Pillow was built with."""
    return features.version("webp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=small.FOLDER)
    parser.add_argument("--only", nargs="+", choices=list(IMAGES), default=list(IMAGES))
    chosen = parser.parse_args()
    chosen.into.mkdir(exist_ok=True)
    for name in chosen.only:
        content = packed(IMAGES[name]())
        (chosen.into / f"{name}.webp").write_bytes(content)
        print(f'"{name}": "{hashlib.sha256(content).hexdigest()}",  # {len(content):,} bytes', flush=True)


if __name__ == "__main__":
    main()
