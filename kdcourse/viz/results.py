"""Pictures of results: distributions over classes, learning curves, sweeps with their intervals, and calibration."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from numbers import Real

from kdcourse.metrics import interval
from kdcourse.viz.base import COLOURS, MARKERS, axis, check_share, legend, look, records

HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++", "***")    # for what has no marker


def distributions(p: Mapping[str, Sequence[float]], classes: Sequence[str], *, ax=None):
    """Bars of several distributions over the same classes, side by side. Of more than eight the bars are hatched too.

    Raises ValueError when there is none, or one has not a probability for each class.
    """
    heights = {name: [float(value) for value in values] for name, values in _some(p).items()}
    for name, values in heights.items():
        if len(values) != len(classes):
            raise ValueError(f"{name!r} has {len(values)} probabilities, and there are {len(classes)} classes")
    ax = axis(ax)
    width, n = 0.8 / len(p), len(COLOURS)
    for i, (name, values) in enumerate(heights.items()):
        places = [k + (i - (len(p) - 1) / 2) * width for k in range(len(classes))]
        ax.bar(places, values, width, label=name, color=COLOURS[i % n], hatch=HATCHES[i // n % n], edgecolor="white",
               linewidth=0.3)
    ax.set_xticks(range(len(classes)), classes)
    ax.set(xlabel="class", ylabel="probability", ylim=(0, 1))
    legend(ax, p)
    return ax


def curves(rows: Mapping[str, Sequence[Mapping]], key: str, *, label: str | None = None, ax=None):
    """One curve over epochs for each named list of rows, as `fit` returns them; each of the first 64 has a pair of
    colour and marker of its own. Raises ValueError when there is no curve, or a row lacks the key."""
    lines = {name: records(line, "epoch", key) for name, line in _some(rows).items()}
    ax = axis(ax)
    for i, (name, line) in enumerate(lines.items()):
        ax.plot([row["epoch"] for row in line], [row[key] for row in line], label=name, **look(i),
                markevery=max(1, len(line) // 8), markersize=4)
    ax.set(xlabel="epoch", ylabel=label or key)
    legend(ax, rows)
    return ax


def sweep(points: Mapping[float, Sequence[float]], *, baseline: Sequence[float] | None = None, name: str = "distilled",
          label: str, ax=None):
    """Test accuracy in percent at each value of a hyper-parameter: the mean over seeds and its 95 % interval.

    `baseline`, the accuracies of students trained without a teacher, is drawn as a band. Raises ValueError where there
    is no value or an accuracy is not in [0, 1], and what `metrics.interval` raises.
    """
    lines = [_percent(accuracies, f"at {label} = {_tick(value)}") for value, accuracies in _some(points).items()]
    alone = None if baseline is None else _percent(baseline, "of the baseline")
    ax = axis(ax)
    ax.errorbar(range(len(points)), [mean for mean, _, _ in lines],
                yerr=[[mean - low for mean, low, _ in lines], [high - mean for mean, _, high in lines]],
                color=COLOURS[0], marker=MARKERS[0], capsize=3, label=name)
    if alone:
        mean, low, high = alone
        ax.axhspan(low, high, color=COLOURS[1], alpha=0.2, linewidth=0)
        ax.axhline(mean, color=COLOURS[1], linestyle="--", label="hard labels alone")
    ax.set_xticks(range(len(points)), [_tick(value) for value in points])
    ax.set(xlabel=label, ylabel="test accuracy (%)")
    ax.legend(frameon=False)
    return ax


def reliability(rows: Mapping[str, Sequence[Mapping]], *, ax=None):
    """The rows of `metrics.reliability` for each named network: accuracy over confidence, both in percent.

    A dot is as large as its share of the images. On the dashed line confidence is what it should be; below it the
    network is surer than it is right. Raises ValueError when there is none, or a row lacks one of the three numbers.
    """
    found = {name: records(bins, "confidence", "accuracy", "share") for name, bins in _some(rows).items()}
    ax = axis(ax, size=(4.6, 4.2))
    ax.plot([0, 100], [0, 100], color="0.6", linestyle="--", linewidth=1, label="as sure as right")
    for i, (name, bins) in enumerate(found.items()):
        x, y = ([100 * row[key] for row in bins] for key in ("confidence", "accuracy"))
        ax.plot(x, y, color=look(i)["color"], linewidth=1)
        ax.scatter(x, y, [12 + 300 * row["share"] for row in bins], **look(i), label=name, edgecolor="white",
                   linewidth=0.5, zorder=3)
    ax.set(xlabel="confidence (%)", ylabel="accuracy (%)", xlim=(0, 102), ylim=(0, 102))
    for handle in legend(ax, rows).legend_handles[1:]:
        handle.set_sizes([40])
    return ax


def heat_map(rows: Sequence[Mapping], x: str, y: str, value: str, *, ax=None):
    """Rows of a `sweep` as a table of colours: each cell the mean of `value` in percent over the seeds, and half the
    width of its 95 % interval. `x` and `y` name the two hyper-parameters. A cell of one seed has no interval. Of a
    student with several epochs the last one counts.

    Raises ValueError where there are no rows, a row lacks one of the three, a value lies outside [-1, 1], or a cell has
    two students of one seed, which differ in a third hyper-parameter.
    """
    if not (rows := _last(records(rows, x, y, value), x, y)):
        raise ValueError("there are no rows to draw")
    if most := next((row[value] for row in rows if abs(row[value]) > 1), None):
        raise ValueError(f"{value!r} is shown in percent of what lies in [0, 1], and in one row it is {most:g}")
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
    ax.set_xticks(range(len(places[x])), [_tick(a) for a in places[x]])
    ax.set_yticks(range(len(places[y])), [_tick(b) for b in places[y]])
    ax.set(xlabel=x, ylabel=y)
    ax.figure.colorbar(picture, ax=ax, label=f"{value} (%)")
    return ax


def _last(rows: Sequence[Mapping], x: str, y: str) -> list[Mapping]:
    """The last epoch of each student of a sweep, one row for a cell and a seed; rows without a seed as they are."""
    if not all("seed" in row for row in rows):
        return list(rows)
    students = defaultdict(list)
    for row in rows:
        students[row[x], row[y], row["seed"]].append(row)
    kept = []
    for (a, b, seed), found in students.items():
        last = max(row.get("epoch", 0) for row in found)
        one, *others = (row for row in found if row.get("epoch", 0) == last)
        if others:
            third = next((name for name in one if one[name] != others[0].get(name)), "nothing")
            raise ValueError(f"there are {1 + len(others)} rows of {x} = {a}, {y} = {b} and seed {seed}, which differ "
                             f"in {third}: draw one heat map for each value of it")
        kept.append(one)
    return kept


def _some(given: Mapping) -> Mapping:
    """What is to be drawn, by name, if it is something."""
    if not isinstance(given, Mapping) or hasattr(given, "to_dict"):
        raise TypeError(f'{{"name": ...}} is needed, to say what is what; this is {given!r:.100}')
    if not given:
        raise ValueError("there is nothing to draw: the dict is empty")
    return given


def _tick(value) -> str:
    return f"{value:g}" if isinstance(value, Real) else str(value)


def _percent(accuracies: Sequence[float], where: str) -> list[float]:
    """Mean, low and high in percent."""
    mean, low, high = interval(accuracies)
    check_share(mean, where)
    return [100 * end for end in (mean, low, high)]
