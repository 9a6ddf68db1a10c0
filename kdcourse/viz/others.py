"""Two pictures of notebook 09: who teaches whom, and which classes a teacher finds in a set of images."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from kdcourse.viz.base import COLOURS, arrow, box

REACH = 0.16  # how far a box reaches above and below its middle


def boards(panels: Mapping[str, tuple[Mapping[str, tuple[float, float]], Sequence[tuple[str, str, str]]]]):
    """A small diagram for each name, side by side: boxes and arrows between them.

    `panels[name]` are the boxes, each with its place (x, y) in [0, 1], and the arrows (from, to, kind). Kind is
    "teaches", in orange, or "sees", in grey. Returns the axes. Raises ValueError for an arrow without a box, or of
    another kind.
    """
    colours = {"teaches": COLOURS[1], "sees": "0.55"}
    figure, axes = plt.subplots(1, len(panels), figsize=(2.3 * len(panels), 2.5), layout="constrained", squeeze=False)
    for ax, (name, (boxes, arrows)) in zip(axes[0], panels.items(), strict=True):
        for start, end, kind in arrows:
            if kind not in colours or start not in boxes or end not in boxes:
                raise ValueError(f"{name}: an arrow is (from, to, 'teaches' or 'sees') between boxes; not "
                                 f"{(start, end, kind)}")
            _between(ax, boxes[start], boxes[end], colours[kind], both=(end, start, kind) in arrows)
        for text, (x, y) in boxes.items():
            box(ax, x, y, None, None, text, edge=COLOURS[0], pad=0.35)
        ax.set_title(name, fontsize=9)
        ax.set(xlim=(-0.25, 1.25), ylim=(-0.2, 1.2))
        ax.axis("off")
    figure.supxlabel("orange: teaches; grey: sees", fontsize=8)
    return axes[0]


def _between(ax, start, end, colour, *, both: bool) -> None:
    """From box to box; one of a pair of opposite arrows is bent."""
    (x0, y0), (x1, y1) = start, end
    up = REACH if y1 > y0 else -REACH if y1 < y0 else 0.0
    arrow(ax, (x0, y0 + up), (x1, y1 - up), colour, style="-|>", head=10, bend=0.45 if both else 0,
          gap=0 if up else 26)


def class_counts(counts: Mapping[str, Sequence[int]], classes: Sequence[str]):
    """A bar chart for each name: the share of the images, in percent, about which the teacher predicts each class.

    `counts[name]` has a number of images for each class. A dashed line shows equal shares. Returns the axes. Raises
    ValueError for another number of classes, or no image.
    """
    _, axes = plt.subplots(1, len(counts), figsize=(1.9 * len(counts), 2.2), layout="constrained", sharey=True,
                           squeeze=False)
    for ax, (name, found) in zip(axes[0], counts.items(), strict=True):
        if len(found) != len(classes) or not sum(found):
            raise ValueError(f"{name!r} has {len(found)} counts with the sum {sum(found)}; there are {len(classes)} "
                             "classes, and at least one image is needed")
        ax.bar(range(len(classes)), [100 * n / sum(found) for n in found], color=COLOURS[0])
        ax.axhline(100 / len(classes), color="0.4", linestyle="--", linewidth=0.8)
        ax.set_title(name, fontsize=9)
        ax.set_xticks(range(len(classes)), classes, fontsize=7)
        ax.tick_params(axis="y", labelsize=7)
    axes[0, 0].set_ylabel("predicted (% of the images)", fontsize=8)
    return axes[0]
