"""Two pictures of notebook 08: what goes with what for several networks, and where they look."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch

from kdcourse.viz.base import pixels


def matrices(maps: Mapping[str, torch.Tensor], classes: Sequence[str], *, limit: float = 1.0):
    """A square map (K, K) for each name, side by side, from -`limit` (orange) over 0 (white) to `limit` (violet).

    Returns the axes. Raises ValueError for a map that is not one of these classes.
    """
    K = len(classes)
    for name, values in maps.items():
        if tuple(values.shape) != (K, K):
            raise ValueError(f"{name!r} is {tuple(values.shape)}, and there are {K} classes")
    _, axes = plt.subplots(1, len(maps), figsize=(1.6 + 2.1 * len(maps), 2.9), layout="constrained", squeeze=False)
    for k, (ax, (name, values)) in enumerate(zip(axes[0], maps.items(), strict=True)):
        drawn = ax.imshow(torch.as_tensor(values).numpy(), cmap="PuOr", vmin=-limit, vmax=limit)
        ax.set_title(name, fontsize=9)
        ax.set_xticks(range(K), classes, rotation=90, fontsize=7)
        ax.set_yticks(range(K), [] if k else classes, fontsize=7)
    axes[0, 0].figure.colorbar(drawn, ax=axes[0].tolist(), shrink=0.7)
    return axes[0]


def saliency(x, maps: Mapping[str, torch.Tensor]):
    """A row with the images (N, C, H, W), and below it a row for each network with its maps, of the images' shape.

    Violet pixels speak for the class, orange ones against it; each map has its own scale, so that only its pattern can
    be compared. Channels are added up. Returns the axes. Raises ValueError when there are not as many maps.
    """
    x = pixels(x)
    for name, its in maps.items():
        if len(its) != len(x):
            raise ValueError(f"{name!r} has {len(its)} maps, and there are {len(x)} images")
    size = 1.6 + 0.85 * len(x), 0.95 * (len(maps) + 1)
    _, axes = plt.subplots(len(maps) + 1, len(x), figsize=size, layout="constrained", squeeze=False)
    for ax, image in zip(axes[0], x, strict=True):
        grey = {"cmap": "gray_r", "vmin": 0, "vmax": 1 if x.is_floating_point() else 255} if len(image) == 1 else {}
        ax.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), **grey)
    for row, its in zip(axes[1:], maps.values(), strict=True):
        for ax, one in zip(row, its.sum(dim=1), strict=True):
            most = one.abs().max().item() or 1.0
            ax.imshow(one.numpy(), cmap="PuOr", vmin=-most, vmax=most)
    for row, name in zip(axes, ("image", *maps), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
    return axes
