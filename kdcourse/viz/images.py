"""Pictures of images."""

import math

import matplotlib.pyplot as plt


def images(x, titles=None, *, columns: int = 10, scale: float = 0.8):
    """A grid of images (N, C, H, W), uint8 or floats in [0, 1], each under its title and `scale` inches wide.

    Returns the figure.
    """
    rows = math.ceil(len(x) / columns)
    size = (columns * scale, rows * (scale + 0.15))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for i, (ax, image) in enumerate(zip(axes.flat, x, strict=False)):
        ax.imshow(image.permute(1, 2, 0).squeeze(-1).cpu().numpy(), cmap="gray_r" if image.shape[0] == 1 else None)
        if titles is not None:
            ax.set_title(titles[i], fontsize=8)
    return figure
