"""Diagrams of the papers: a table of answers with one row and one column marked, and networks joined by arrows."""

from collections.abc import Mapping, Sequence

from matplotlib.patches import Rectangle

from kdcourse.viz.base import COLOURS, arrow, axis, box


def marked(p, classes: Sequence[str], *, row: int, column: int, ax=None):
    """A table of probabilities (images, classes) with a number in each cell, one row framed in blue and one column in
    orange: what the two halves of DIST compare. Dlamini & Klein, figure 1; Huang et al. 2022, arXiv:2205.10536."""
    p = [[float(value) for value in line] for line in p]
    ax = axis(ax, size=(0.9 + 0.5 * len(classes), 1.1 + 0.35 * len(p)))
    ax.imshow(p, cmap="Greys", vmin=0, vmax=1.4)
    for i, line in enumerate(p):
        for k, value in enumerate(line):
            ax.text(k, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=8)
    ax.add_patch(Rectangle((-0.5, row - 0.5), len(classes), 1, fill=False, edgecolor=COLOURS[0], linewidth=3))
    ax.add_patch(Rectangle((column - 0.5, -0.5), 1, len(p), fill=False, edgecolor=COLOURS[1], linewidth=3))
    ax.set_xticks(range(len(classes)), classes, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(range(len(p)), [f"image {i + 1}" for i in range(len(p))], fontsize=8)
    return ax


def networks(boxes: Mapping[str, tuple[float, float, str]], arrows: Sequence[tuple[str, str, str]], *, ax=None):
    """Boxes with a text, `{name: (x, y, text)}` with x and y in [0, 1], and arrows between them, (from, to, text)."""
    ax = axis(ax, size=(7.0, 2.8))
    wide, high = 0.2, 0.24
    for i, (x, y, text) in enumerate(boxes.values()):
        box(ax, x, y, wide / 2, high / 2, text, edge=COLOURS[i % len(COLOURS)], width=2, pad=0.01, size=9)
    for start, end, text in arrows:
        (x0, y0, _), (x1, y1, _) = boxes[start], boxes[end]
        sideways = abs(x1 - x0) > wide + 0.05
        shift = (wide / 2 + 0.015) * (1 if x1 > x0 else -1) if sideways else 0
        rise = 0 if sideways else (high / 2 + 0.02) * (1 if y1 > y0 else -1)
        arrow(ax, (x0 + shift, y0 + rise), (x1 - shift, y1 - rise), head=10)
        level, middle = abs(y1 - y0) < high, ((x0 + x1) / 2, (y0 + y1) / 2)
        if level or not sideways:
            ax.text(middle[0] + (0 if sideways else 0.02), middle[1] + (0.03 if sideways else 0), text, fontsize=8,
                    ha="center" if sideways else "left", va="bottom" if sideways else "center")
        else:  # a sloping arrow carries its text, which would cross it anywhere else
            ax.text(*middle, text, fontsize=8, ha="center", va="center",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.set(xlim=(-0.02, 1.02), ylim=(0, 1))  # a box at the edge is drawn whole
    ax.axis("off")
    return ax
