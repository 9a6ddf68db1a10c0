"""Real CIFAR-10 images and trained ResNets from the folder that `KDCOURSE_DATA` names, for the benchmarks.

The folder holds `cifar10/`, either contact sheets (`index.npz`, `train_00.webp`, ... of 5,000 images each, 100 in a
row) or torchvision's `cifar-10-batches-py/`, and `resnet_cifar10/` with the weights that `models.trained_resnet` reads.
"""

import sys

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from kdcourse import data, files, models

SHEET = 5_000


def images(split: str, n: int) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """The first n images (n, 3, 32, 32) uint8 of "train" or "test" in the original order, labels and class names."""
    folder = files.folder() / "cifar10"
    if (folder / "index.npz").exists():
        index = np.load(folder / "index.npz")
        sheets = [_sheet(folder / f"{split}_{k:02}.webp") for k in range(-(-n // SHEET))]
        x, y, classes = np.concatenate(sheets)[:n], index[f"{split}_labels"][:n], index["classes"]
    elif (folder / "cifar-10-batches-py").exists():
        original = CIFAR10(folder, train=split == "train")
        x, y, classes = original.data[:n], original.targets[:n], original.classes
    else:
        sys.exit(f"skipped: no CIFAR-10 in {folder}; set KDCOURSE_DATA to the folder that holds cifar10/")
    x = torch.as_tensor(x).permute(0, 3, 1, 2).contiguous()
    return x, torch.as_tensor(np.asarray(y), dtype=torch.long), tuple(str(name) for name in classes)


def source(*, train: int, valid: int, test: int) -> data.Source:
    """The first `train` training images; the first `valid` test images for validation and the `test` after them to
    judge by: the trained networks have seen every training image."""
    x, y, classes = images("train", train)
    x_unseen, y_unseen, _ = images("test", valid + test)
    return data.from_arrays("cifar10", x, y, classes=classes, valid=(x_unseen[:valid], y_unseen[:valid]),
                            test=(x_unseen[valid:], y_unseen[valid:]))


def trained(depth: int) -> models.Classifier:
    """The trained CIFAR-10 ResNet of that depth."""
    found = sorted((files.folder() / "resnet_cifar10").glob(f"resnet{depth}-*.th"))
    if not found:
        sys.exit(f"skipped: no trained ResNet-{depth} in {files.folder() / 'resnet_cifar10'}")
    return models.trained_resnet(found[0])


def _sheet(path) -> np.ndarray:
    """5,000 images (5000, 32, 32, 3) from a sheet of 50 rows of 100."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return pixels.reshape(50, 32, 100, 32, 3).swapaxes(1, 2).reshape(SHEET, 32, 32, 3)
