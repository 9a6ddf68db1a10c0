"""Real CIFAR-100 images from the folder that `KDCOURSE_DATA` names, for the benchmarks.

The folder holds `cifar100_subset/`, contact sheets (`index.npz`, `train_00.webp`, ... with 100 images in a row): a
stratified subset, 10,000 images to learn from and 2,000 to be judged by, in an order of its own.
"""

import sys

import numpy as np
import torch
from PIL import Image

from kdcourse import files


def images(split: str) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """All images (N, 3, 32, 32) uint8 of "train" or "test" in the order of the subset, labels and class names."""
    folder = files.folder() / "cifar100_subset"
    if not (folder / "index.npz").exists():
        sys.exit(f"skipped: no CIFAR-100 in {folder}; set KDCOURSE_DATA to the folder that holds cifar100_subset/")
    index = np.load(folder / "index.npz")
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob(f"{split}_*.webp"))]
    x = np.concatenate([sheet.reshape(-1, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3) for sheet in pixels])
    y = torch.as_tensor(index[f"{split}_labels"], dtype=torch.long)
    return torch.as_tensor(x).permute(0, 3, 1, 2).contiguous(), y, tuple(str(name) for name in index["classes"])
