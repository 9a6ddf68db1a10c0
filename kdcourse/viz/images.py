"""Pictures of images."""

import math

import matplotlib.pyplot as plt

from kdcourse.viz.base import pixels


def images(x, titles=None, *, columns: int = 10, scale: float = 0.8):
    """A grid of images (N, C, H, W), uint8 or floats in [0, 1], each under its title and `scale` inches wide.

    Grey values are shown as they are, 0 white and 255 (or 1.0) black, and not stretched to those that an image has.
    Returns the figure. Raises ValueError for other images, and when there are not as many titles.
    """
    x, titles = pixels(x), None if titles is None else list(titles)
    if titles is not None and len(titles) != len(x):
        raise ValueError(f"each image has a title: there are {len(x)} images and {len(titles)} titles")
    if columns < 1:
        raise ValueError(f"a grid has at least one column; columns is {columns}")
    rows = math.ceil(len(x) / columns)
    size = (columns * scale, rows * (scale + 0.15))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    x, black = (x.float(), 1) if x.is_floating_point() else (x, 255)
    grey = {"cmap": "gray_r", "vmin": 0, "vmax": black} if x.shape[1] == 1 else {}
    for i, (ax, image) in enumerate(zip(axes.flat, x, strict=False)):
        ax.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), **grey)
        if titles is not None:
            ax.set_title(titles[i], fontsize=8)
    return figure
