"""Pictures of results: distributions over classes, learning curves, and sweeps with their intervals."""

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
