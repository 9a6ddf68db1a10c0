"""Pictures of comparisons, to be read from the last row: a dot for every seed, paired differences around zero, counts
of mistakes, the terms of a loss, and what an accuracy costs."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from kdcourse.core import Choices
from kdcourse.metrics import interval
from kdcourse.viz.base import COLOURS, LINES, MARKERS, axis, check_share


def seeds(accuracy: Mapping[str, Sequence[float]], *, baseline: str | None = None, ax=None):
    """Test accuracies in percent: a dot for every seed, and beside the dots their mean and its 95 % interval.

    `accuracy` has a list for each name, in the order of the seeds, in [0, 1]. The interval of `baseline` is drawn as a
    band behind the others. Two such intervals may overlap although their paired difference leaves zero out: for that
    see `differences`.
    """
    ax = axis(ax, size=(6.4, 0.9 + 0.45 * len(accuracy)))
    for row, (name, values) in enumerate(accuracy.items()):
        colour, marker = COLOURS[row % len(COLOURS)], MARKERS[row % len(MARKERS)]
        check_share(sum(values) / len(values), f"of {name!r}")
        ax.plot([100 * value for value in values], [row] * len(values), marker, color=colour, alpha=0.45, markersize=5)
        mean, low, high = (100 * value for value in interval(values))
        ax.errorbar(mean, row + 0.28, xerr=[[mean - low], [high - mean]], color=colour, marker=marker, capsize=3)
        if name == baseline:
            ax.axvspan(low, high, color=colour, alpha=0.15, linewidth=0)
    ax.set_yticks(range(len(accuracy)), list(accuracy))
    ax.set(xlabel="test accuracy (%)", ylim=(len(accuracy) - 0.4, -0.5))
    return ax


def differences(accuracy: Mapping[str, Sequence[float]], baseline: str, *, margin: float | None = None, ax=None):
    """How many points each name is above `baseline`: a dot for every pair of students with the same seed, and their
    mean with its 95 % interval. With `margin`, a share, a grey band shows what counts as equal."""
    theirs = Choices("name", accuracy)[baseline]
    ax = axis(ax, size=(6.4, 0.9 + 0.45 * (len(accuracy) - 1)))
    others = [name for name in accuracy if name != baseline]
    if margin is not None:
        ax.axvspan(-100 * margin, 100 * margin, color="0.9", linewidth=0)
    ax.axvline(0, color="0.4", linewidth=1)
    for row, name in enumerate(others):
        place = list(accuracy).index(name)     # the colour that `seeds` gives it
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        gaps = [ours - theirs for ours, theirs in zip(accuracy[name], theirs, strict=True)]
        ax.plot([100 * gap for gap in gaps], [row] * len(gaps), marker, color=colour, alpha=0.45, markersize=5)
        mean, low, high = (100 * value for value in interval(gaps))
        ax.errorbar(mean, row + 0.28, xerr=[[mean - low], [high - mean]], color=colour, marker=marker, capsize=3)
    ax.set_yticks(range(len(others)), others)
    ax.set(xlabel=f"points above {baseline}, pair by pair", ylim=(len(others) - 0.4, -0.5))
    return ax


def needed(widths: Mapping[str, Mapping[int, float]], *, effect: float, ax=None):
    """How wide the interval of a difference will be, by the number of seeds: for each name `{n: half-width}`, a share.
    A line shows half of `effect`: from where the curve is below, such a difference is nearly always seen."""
    ax = axis(ax)
    for i, (name, found) in enumerate(widths.items()):
        ax.plot(list(found), [100 * width for width in found.values()], color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)], markersize=4, label=name)
    ax.axhline(50 * effect, color="0.4", linestyle="--", label=f"half of {100 * effect:g} points")
    ax.set(xlabel="seeds", ylabel="half-width (points)", ylim=(0, None))
    ax.legend(frameon=False)
    return ax


def terms(rows: Sequence[Mapping], *, ax=None):
    """The terms of a loss over the epochs of one training, as `fit` returns them, each as it is and not weighted."""
    ax = axis(ax)
    if not rows:
        raise ValueError("there are no rows to draw")
    known = dict.fromkeys(key for row in rows for key in row)  # a term may be there in some epochs alone
    names = [key.removesuffix("_weight") for key in known if key.endswith("_weight")]
    for i, name in enumerate(names):
        there = [row for row in rows if name in row]
        ax.plot([row["epoch"] for row in there], [row[name] for row in there], color=COLOURS[i % len(COLOURS)],
                linestyle=LINES[i % len(LINES)], marker=MARKERS[i % len(MARKERS)],
                markevery=max(1, len(there) // 8), markersize=4, label=name)
    ax.set(xlabel="epoch", ylabel="value of the term", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    return ax


def confusion(counts, classes: Sequence[str], *, ax=None):
    """Of the images of each class (row), how many percent were predicted as each class (column): a map, with a number
    where it is one percent or more. `counts` is what `metrics.confusion` returns, (K, K)."""
    ax = axis(ax, size=(0.9 + 0.55 * len(classes), 0.9 + 0.5 * len(classes)))
    shares = [[100 * n / max(1, sum(row)) for n in row] for row in counts.tolist()]
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share >= 1:
                shade = "white" if share > 55 else "black"
                ax.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=8, color=shade)
    ax.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlabel="predicted", ylabel="label")
    return ax


def against_cost(points: Mapping[str, tuple[float, Sequence[float]]], *, cost: str, ax=None):
    """Accuracy in percent over a cost, on a logarithmic axis: for each name `(cost, accuracies)`, the mean and the 95 %
    interval of the accuracies where there are two or more."""
    ax = axis(ax)
    for i, (name, (price, values)) in enumerate(points.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        mean = 100 * check_share(sum(values) / len(values), f"of {name!r}")
        low, high = (100 * value for value in interval(values)[1:]) if len(values) > 1 else (mean, mean)
        ax.errorbar(price, mean, yerr=[[mean - low], [high - mean]], color=colour, marker=marker, capsize=3, label=name,
                    linestyle="none")
    ax.set(xscale="log", xlabel=cost, ylabel="test accuracy (%)")
    ax.legend(frameon=False)
    return ax


def on_frontier(points: Mapping[str, tuple[float, Sequence[float]]]) -> list[str]:
    """The names of `(cost, accuracies)` that no other beats: whatever is at most as dear has a smaller mean accuracy,
    or is the same in both. From the cheapest to the dearest."""
    mean = {name: (price, sum(values) / len(values)) for name, (price, values) in points.items()}
    beaten = {name for name, (price, right) in mean.items() for other, better in mean.values()
              if other <= price and better >= right and (other, better) != (price, right)}
    return sorted((name for name in mean if name not in beaten), key=lambda name: mean[name])


def frontier(points: Mapping[str, tuple[float, Sequence[float]]], *, cost: str, ax=None):
    """Accuracy in percent over a cost, as `against_cost`, with each name at its point and a line along those that no
    other beats (`on_frontier`): what lies below it costs as much or more for less."""
    ax = axis(ax, size=(7.0, 3.8))
    best = on_frontier(points)
    at = {name: (price, 100 * sum(values) / len(values)) for name, (price, values) in points.items()}
    ax.plot(*zip(*(at[name] for name in best), strict=True), drawstyle="steps-post", color="0.6", zorder=0)
    against_cost(points, cost=cost, ax=ax)
    ax.get_legend().remove()
    ax.margins(x=0.25, y=0.15)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_locator(NullLocator())
    _named(ax, at, best)
    return ax


PLACES = [(7, -11), (7, 7), (-7, 7), (-7, -11), (7, 20), (7, -24), (-7, 20), (-7, -24)]  # of a name, from its point


def _named(ax, at: Mapping[str, tuple[float, float]], bold: Sequence[str]) -> None:
    """The names at their points, each at the first place where it covers no point and no other name and is within the
    axis."""
    ax.figure.draw_without_rendering()
    within = ax.get_window_extent()
    points = [ax.transData.transform(point) for point in at.values()]
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    for name, point in at.items():
        text = ax.annotate(name, point, xytext=PLACES[0], textcoords="offset points", fontsize=9, va="center",
                           weight="bold" if name in bold else "normal")
        for place in PLACES:
            text.set(position=place, ha="left" if place[0] > 0 else "right")
            box = text.get_window_extent()
            inside = within.x0 <= box.x0 and box.x1 <= within.x1 and within.y0 <= box.y0 and box.y1 <= within.y1
            if inside and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
