"""All of Fashion-MNIST from the folder that `KDCOURSE_DATA` names, for the benchmarks.

The folder holds the original files, as `kdcourse fetch fashion` leaves them, or `fashion_mnist/` with contact sheets
(`index.npz`, `train_00.webp`, ... of 10,000 images each, 100 in a row) in another order.
"""

import sys

import numpy as np
import torch
from torch import Tensor

from kdcourse import data, files
from kdcourse.data.small import tiles

SHEETS = {"train": 6, "test": 1}
EACH = 10_000


def fashion() -> data.Source:
    """55,000 train, 5,000 valid (the last of the 60,000 in the folder's order), 10,000 test."""
    if not (files.folder() / "fashion_mnist" / "index.npz").exists():
        try:
            return data.load("fashion")
        except data.DataError as error:
            sys.exit(f"skipped: {error}")
    classes = data.fashion.CLASSES
    x, y = _images("train")
    return data.from_arrays("fashion", x[:55_000], y[:55_000], classes=classes, valid=(x[55_000:], y[55_000:]),
                            test=_images("test"))


def _images(split: str) -> tuple[Tensor, Tensor]:
    folder = files.folder() / "fashion_mnist"
    labels = np.load(folder / "index.npz")[f"{split}_labels"]
    x = torch.cat([tiles(folder / f"{split}_{k:02}.webp", EACH) for k in range(SHEETS[split])])
    return x, torch.from_numpy(labels.astype(np.int64))
