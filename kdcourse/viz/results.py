"""Pictures of results: distributions over classes, learning curves, sweeps with their intervals, and calibration."""

from collections.abc import Mapping, Sequence

from kdcourse.metrics import interval
from kdcourse.viz.base import COLOURS, MARKERS, axis


def distributions(p: Mapping[str, Sequence[float]], classes: Sequence[str], *, ax=None):
    """Bars of several distributions over the same classes, side by side."""
    ax = axis(ax)
    width = 0.8 / len(p)
    for i, (name, values) in enumerate(p.items()):
        places = [k + (i - (len(p) - 1) / 2) * width for k in range(len(classes))]
        heights = [float(value) for value in values]
        ax.bar(places, heights, width, label=name, color=COLOURS[i], edgecolor="white", linewidth=0.3)
    ax.set_xticks(range(len(classes)), classes)
    ax.set(xlabel="class", ylabel="probability", ylim=(0, 1))
    ax.legend(frameon=False)
    return ax


def curves(rows: Mapping[str, Sequence[Mapping]], key: str, *, label: str | None = None, ax=None):
    """One curve over epochs for each named list of rows, as `fit` returns them."""
    ax = axis(ax)
    for i, (name, line) in enumerate(rows.items()):
        ax.plot([row["epoch"] for row in line], [row[key] for row in line], label=name, color=COLOURS[i],
                marker=MARKERS[i], markevery=max(1, len(line) // 8), markersize=4)
    ax.set(xlabel="epoch", ylabel=label or key)
    ax.legend(frameon=False)
    return ax


def sweep(points: Mapping[float, Sequence[float]], *, baseline: Sequence[float] | None = None, name: str = "distilled",
          label: str, ax=None):
    """Test accuracy in percent at each value of a hyper-parameter: the mean over seeds and its 95 % interval.

    `baseline`, the accuracies of students trained without a teacher, is drawn as a band.
    """
    ax = axis(ax)
    lines = [[100 * value for value in interval(accuracies)] for accuracies in points.values()]
    ax.errorbar(range(len(points)), [mean for mean, _, _ in lines],
                yerr=[[mean - low for mean, low, _ in lines], [high - mean for mean, _, high in lines]],
                color=COLOURS[0], marker=MARKERS[0], capsize=3, label=name)
    if baseline is not None:
        mean, low, high = (100 * value for value in interval(baseline))
        ax.axhspan(low, high, color=COLOURS[1], alpha=0.2, linewidth=0)
        ax.axhline(mean, color=COLOURS[1], linestyle="--", label="hard labels alone")
    ax.set_xticks(range(len(points)), [f"{value:g}" for value in points])
    ax.set(xlabel=label, ylabel="test accuracy (%)")
    ax.legend(frameon=False)
    return ax


def reliability(rows: Mapping[str, Sequence[Mapping]], *, ax=None):
    """The rows of `metrics.reliability` for each named network: accuracy over confidence, both in percent.

    A dot is as large as its share of the images. On the dashed line confidence is what it should be; below it the
    network is surer than it is right.
    """
    ax = axis(ax, size=(4.6, 4.2))
    ax.plot([0, 100], [0, 100], color="0.6", linestyle="--", linewidth=1, label="as sure as right")
    for i, (name, bins) in enumerate(rows.items()):
        x, y = ([100 * row[key] for row in bins] for key in ("confidence", "accuracy"))
        ax.plot(x, y, color=COLOURS[i], linewidth=1)
        ax.scatter(x, y, [12 + 300 * row["share"] for row in bins], color=COLOURS[i], marker=MARKERS[i], label=name,
                   edgecolor="white", linewidth=0.5, zorder=3)
    ax.set(xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(0, 102), ylim=(0, 102))
    for handle in ax.legend(frameon=False).legend_handles[1:]:
        handle.set_sizes([40])
    return ax


def heat_map(rows: Sequence[Mapping], x: str, y: str, value: str, *, ax=None):
    """Rows of a `sweep` as a table of colours: each cell the mean of `value` in percent over the seeds, and half the
    width of its 95 % interval. `x` and `y` name the two hyper-parameters. A cell of one seed has no interval."""
    ax = axis(ax)
    places = {name: sorted({row[name] for row in rows}) for name in (x, y)}
    cells = {(a, b): [100 * row[value] for row in rows if (row[x], row[y]) == (a, b)]
             for a in places[x] for b in places[y]}
    means = [[sum(cell) / len(cell) if (cell := cells[a, b]) else float("nan") for a in places[x]] for b in places[y]]
    picture = ax.imshow(means, cmap="cividis", aspect="auto", origin="lower")
    for (a, b), cell in cells.items():
        if cell:
            mean = sum(cell) / len(cell)
            text = f"{mean:.1f}" + (f"\n± {interval(cell)[2] - mean:.1f}" if len(cell) > 1 else "")
            shade = "black" if picture.norm(mean) > 0.5 else "white"
            ax.text(places[x].index(a), places[y].index(b), text, ha="center", va="center", color=shade, fontsize=8)
    ax.set_xticks(range(len(places[x])), [f"{a:g}" for a in places[x]])
    ax.set_yticks(range(len(places[y])), [f"{b:g}" for b in places[y]])
    ax.set(xlabel=x, ylabel=y)
    ax.figure.colorbar(picture, ax=ax, label=f"{value} (%)")
    return ax
