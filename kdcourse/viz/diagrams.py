"""Diagrams of methods, drawn by code: what is compared with what. They show no measurement.

Each returns its figure, `angle` its axis. Left out: pictures of results, which are in `comparisons` and `results`.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch

from kdcourse.viz.base import COLOURS, arrow, axis, box

KINDS = (("response", "what do you\nanswer?", COLOURS[0]), ("feature", "what do you\nsee inside?", COLOURS[1]),
         ("relation", "which images\nare alike to you?", COLOURS[2]))


def taxonomy():
    """Two networks, teacher above and student below, and the three questions asked of both: of their stages (feature),
    of their answers (response), and of how their last features place images beside each other (relation)."""
    figure, ax = _canvas(8.4, 3.8)
    xs = (2.2, 4.2, 6.2, 8.8)
    for y, name, size in ((3.15, "teacher", 0.55), (0.75, "student", 0.38)):
        _images(ax, 0.55, y)
        ax.text(0.55, y + 0.62, name, ha="center", fontsize=11, weight="bold")
        for k, (x, words) in enumerate(zip(xs, ("stage 1", "stage 2", "stage 3", "logits"), strict=True)):
            box(ax, x, y, 0.55, size, words, "0.92" if k < 3 else "white")
            arrow(ax, (xs[k - 1] + 0.55 if k else 0.95, y), (x - 0.55, y), "0.5")
    for (kind, question, colour), x in zip(KINDS, (8.8, 4.2, 6.2), strict=True):
        arrow(ax, (x, 3.15 - 0.6), (x, 0.75 + 0.43), colour, both=True)
        ax.text(x + 0.1, 1.95, f"{kind}\n\u201c{question}\u201d", color=colour, fontsize=9, va="center")
    ax.set(xlim=(-0.1, 10.5), ylim=(0.0, 4.1))
    return figure


def hint(student: Sequence[str], teacher: Sequence[str], pair: tuple[int, int], *, helper: str = "regressor"):
    """Where a hint is taken: the stages of both networks by name, and a helper, dashed, between those of `pair`
    (student's, teacher's index). The helper is thrown away when the student is shipped.

    Raises ValueError for a stage there is not.
    """
    if not (0 <= pair[0] < len(student) and 0 <= pair[1] < len(teacher)):
        raise ValueError(f"pair is (student's, teacher's) index of a stage; there are {len(student)} and "
                         f"{len(teacher)} stages, and it is {pair}")
    figure, ax = _canvas(8.0, 3.4)
    for y, words, chosen in ((2.7, teacher, pair[1]), (0.5, student, pair[0])):
        ax.text(0.1, y, "teacher" if words is teacher else "student", fontsize=11, weight="bold", va="center")
        for k, text in enumerate(words):
            box(ax, 2.2 + 2.2 * k, y, 0.85, 0.36, text, COLOURS[5] if k == chosen else "0.92")
            arrow(ax, (2.2 * k + (3.05 - 2.2 if k else 0.95), y), (1.35 + 2.2 * k, y), "0.5")
    x_s, x_t = 2.2 + 2.2 * pair[0], 2.2 + 2.2 * pair[1]
    box(ax, x_s, 1.45, 0.85, 0.28, helper, "white", dashed=True)
    arrow(ax, (x_s, 0.88), (x_s, 1.15), COLOURS[1])
    arrow(ax, (x_s, 1.75), (x_t, 2.32), COLOURS[1], both=True)
    ax.text((x_s + x_t) / 2, 2.03, "hint loss", color=COLOURS[1], fontsize=9, ha="center", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.text(x_s + 1.0, 1.45, "trained, then\nthrown away", color="0.35", fontsize=8, va="center")
    ax.set(xlim=(0, 2.3 + 2.2 * max(len(student), len(teacher))), ylim=(0, 3.2))
    return figure


def exits(stages: Sequence[str]):
    """A network whose every stage has an exit: an image leaves where the exit is sure enough, and the stages behind it
    are not computed; at the last exit all others leave."""
    figure, ax = _canvas(6.6, 2.4)
    xs = [1.9 + 2.5 * k for k in range(len(stages))]
    _images(ax, 0.5, 1.9)
    for k, (x, words) in enumerate(zip(xs, stages, strict=True)):
        last = k == len(stages) - 1
        arrow(ax, (xs[k - 1] + 0.6 if k else 0.85, 1.9), (x - 0.6, 1.9), "0.5")
        box(ax, x, 1.9, 0.6, 0.4, words, "0.92")
        arrow(ax, (x, 1.5), (x, 0.95), COLOURS[k])
        box(ax, x, 0.65, 0.75, 0.3, "last exit" if last else f"exit {k + 1}: sure?", "white")
        if not last:
            ax.text(x + 1.25, 2.05, "no", fontsize=9, ha="center", color="0.35")
        ax.text(x, 0.12, "all others leave" if last else "yes: leaves", fontsize=9, ha="center", color="0.35")
    ax.set(xlim=(0, xs[-1] + 0.9), ylim=(0, 2.6))
    return figure


def rounding(stored, straight, *, low: float, high: float):
    """What is stored over what was to be stored, on the left by `stored`, a function of a tensor, a flight of steps; on
    the right the derivative that training uses: that of the steps, 0, and that of `straight`, 1 everywhere."""
    x = torch.linspace(low - 0.3, high + 0.3, 801)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 2.9), layout="constrained")
    left.plot(x, x, color="0.7", linestyle="--", label="the number itself")
    left.plot(x, stored(x), color=COLOURS[0], label="what is stored")
    left.set(xlabel="number", ylabel="stored as")
    at = x.clone().requires_grad_()
    [slope] = torch.autograd.grad(straight(at, stored(x)).sum(), at)
    right.plot(x, torch.zeros_like(x), color=COLOURS[0], label="of the steps")
    right.plot(x, slope, color=COLOURS[1], linestyle="--", label="straight through")
    right.set(xlabel="number", ylabel="derivative", ylim=(-0.2, 1.4))
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=9)
    return figure


def gram(matrices: dict, labels: Sequence[str]):
    """Similarity matrices (B, B) by name, side by side: dark where two images excite the same features. Rows and
    columns are images, named by `labels`. Raises ValueError unless every matrix is (B, B) for B labels."""
    for name, matrix in matrices.items():
        if tuple(matrix.shape) != (len(labels), len(labels)):
            raise ValueError(f"{name!r} is {tuple(matrix.shape)}, and there are {len(labels)} labels")
    figure, axes = plt.subplots(1, len(matrices), figsize=(3.1 * len(matrices) + 0.6, 3.3), layout="constrained",
                                squeeze=False)
    for column, (ax, (name, matrix)) in enumerate(zip(axes[0], matrices.items(), strict=True)):
        ax.imshow(matrix.tolist(), cmap="Blues", vmin=0)
        ax.set_title(name, fontsize=10)
        ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
        ax.set_yticks(range(len(labels)), labels if not column else [""] * len(labels), fontsize=7)
    return figure


def angle(points, names: Sequence[str] = ("i", "j", "k"), *, ax=None):
    """Three images as points (3, 2) of the plane, and the angle at the middle one, which RKD compares: an axis.

    Raises ValueError for other than three points of two numbers.
    """
    points = [[float(value) for value in point] for point in points]
    if len(points) != 3 or any(len(point) != 2 for point in points):
        raise ValueError(f"an angle needs three points of two numbers each; given {points}")
    ax = axis(ax, size=(3.2, 3.0))
    (xi, yi), (xj, yj), (xk, yk) = points
    ax.plot([xi, xj, xk], [yi, yj, yk], "-o", color=COLOURS[0], markersize=8)
    ax.plot([xi, xk], [yi, yk], ":", color="0.6")
    u, v = (xi - xj, yi - yj), (xk - xj, yk - yj)
    lengths = [(a * a + b * b) ** 0.5 or 1.0 for a, b in (u, v)]
    cosine = (u[0] * v[0] + u[1] * v[1]) / (lengths[0] * lengths[1])
    for (x, y), name in zip(points, names, strict=True):
        ax.annotate(name, (x, y), textcoords="offset points", xytext=(7, 7), fontsize=11)
    ax.set_title(f"cosine of the angle at {names[1]}: {cosine:.2f}", fontsize=10)
    ax.margins(0.2)
    ax.set_aspect("equal", adjustable="datalim")
    ax.tick_params(labelbottom=False, labelleft=False)
    return ax


def patches(image, grid: tuple[int, int]):
    """An image (H, W) cut into `grid` patches, each with the number of its token, and the sequence that a transformer
    sees beside the map that a CNN sees: the same numbers, laid out anew."""
    rows, columns = grid
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained", width_ratios=(1, 1.4))
    H, W = image.shape
    left.imshow(image.tolist(), cmap="gray_r")
    for k in range(1, rows):
        left.axhline(k * H / rows - 0.5, color=COLOURS[1], linewidth=1)
    for k in range(1, columns):
        left.axvline(k * W / columns - 0.5, color=COLOURS[1], linewidth=1)
    for k in range(rows * columns):
        left.text((k % columns + 0.5) * W / columns - 0.5, (k // columns + 0.5) * H / rows - 0.5, str(k),
                  color=COLOURS[1], ha="center", va="center", fontsize=8, weight="bold")
    left.set_title(f"a map of {rows} x {columns} positions", fontsize=10)
    for k in range(rows * columns):
        box(right, 0.7 * (k % 8) + 0.4, 2.2 - 0.55 * (k // 8), 0.24, 0.18, str(k), COLOURS[5])
    right.text(0.1, 2.75, f"{rows * columns} tokens, row by row", fontsize=10)
    right.set(xlim=(0, 5.8), ylim=(0, 3.0))
    figure.get_layout_engine().set(h_pad=0.12)  # inches: without axes the title would touch the border
    for ax in (left, right):
        ax.axis("off")
    return figure


def _canvas(width: float, height: float):
    figure, ax = plt.subplots(figsize=(width, height), layout="constrained")
    ax.axis("off")
    return figure, ax


def _images(ax, x: float, y: float) -> None:
    for shift in (0.12, 0.06, 0.0):
        ax.add_patch(plt.Rectangle((x - 0.3 + shift, y - 0.3 + shift), 0.6, 0.6, facecolor="white", edgecolor="0.3"))
    ax.text(x, y, "images", ha="center", va="center", fontsize=8)
