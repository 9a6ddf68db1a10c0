"""`SweepExplorer`: what a sweep over temperature and share of the soft term found, and how surely."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from kdcourse.metrics import compare, interval
from kdcourse.viz.base import COLOURS, MARKERS, records
from kdcourse.widgets.base import Explorer, canvas, choice, percent, twin


class SweepExplorer(Explorer):
    """Choose a temperature and an alpha; see the mean accuracy of every setting, and the two curves that cross there.

    `rows` are dicts with "T", "alpha", "seed" and, under `value`, an accuracy in [0, 1]: one for each student. Bars are
    95 % intervals over seeds (`metrics.interval`); a setting with one seed has none and is drawn hollow. `baseline` are
    rows of students that learned from hard labels alone ("seed" and `value`); by default those with alpha = 0, over all
    T. `images`, how many images were asked, is for the words. It opens on the setting with the best mean.

    Raises ValueError when there are no rows, a row lacks something or holds no accuracy, or two are of one student, and
    TypeError for what is no list of rows, such as a table of pandas: `frame.to_dict("records")` makes one of it.
    Introduced in notebook 02.
    """

    def __init__(self, rows: Iterable[Mapping], value: str = "test", *, baseline: Iterable[Mapping] | None = None,
                 images: int | None = None):
        self.label = value.replace("valid_", "validation ").replace("_", " ").removesuffix(" accuracy") + " accuracy"
        self.images, self.cells = images, {}
        for row in records(rows):
            cell = T, alpha = float(_read(row, "T")), float(_read(row, "alpha"))
            _add(self.cells.setdefault(cell, {}), row, value, f"T = {T:g}, alpha = {alpha:g}")
        if not self.cells:
            raise ValueError("there are no rows to explore")
        self.baseline = self._alone() if baseline is None else {}
        for row in () if baseline is None else records(baseline):
            _add(self.baseline, row, value, "the baseline")
        self.alone = _summary(self.baseline)
        self.known = {cell: _summary(values) for cell, values in self.cells.items()}
        self.best = max(self.known, key=lambda cell: self.known[cell]["mean"])
        self.Ts, self.alphas = (sorted(set(values)) for values in zip(*self.cells, strict=True))
        self.T = choice("Temperature T", [(f"{T:g}", T) for T in self.Ts], self.best[0])
        self.alpha = choice("Share of the soft term, alpha", [(f"{a:g}", a) for a in self.alphas], self.best[1])
        self.slider_T, self.slider_alpha = twin(self.T, "T (slider)"), twin(self.alpha, "alpha (slider)")
        super().__init__([[self.T, self.slider_T], [self.alpha, self.slider_alpha]], **self._artists())

    def numbers(self, T: float, alpha: float) -> dict:
        """What is known of one setting: n seeds, their mean, low and high (the interval, None with one seed), values
        by seed, and `against`: a `metrics.Comparison` with the baseline over the seeds both have, or None without two
        of them. A setting that was not trained has n = 0 and mean None."""
        values = self.cells.get((T, alpha), {})
        pairs = [(values[seed], self.baseline[seed]) for seed in values if seed in self.baseline and alpha != 0]
        against = compare(*zip(*pairs, strict=True), images=self.images or 0) if len(pairs) > 1 else None
        return self.known.get((T, alpha), _summary({})) | {"values": dict(values), "against": against}

    def alt(self) -> str:
        return (f"A map of the mean {self.label} at every T and alpha, and two curves with 95 % intervals: over T at "
                f"alpha = {self.alpha.value:g}, and over alpha at T = {self.T.value:g}.")

    def sentences(self) -> list[str]:
        T, alpha = self.T.value, self.alpha.value
        now = self.numbers(T, alpha)
        found, difference = [f"At T = {T:g}, alpha = {alpha:g}, {self.label}: {_words(now)}."], now["against"]
        if difference:
            images = f", {self.images:,} {self.label.split()[0]} images" if self.images else ""
            mean, low, high = (f"{100 * end:+.1f}" for end in (difference.mean, difference.low, difference.high))
            found.append(f"Beside hard labels alone ({_words(self.alone)}): {mean} points [{low}, {high}], paired by "
                         f"{difference.n} seeds{images}: {difference.verdict}.")
        elif alpha == 0:
            found.append("alpha = 0 is hard labels alone: the teacher has no say, so T makes no difference.")
        elif self.baseline:
            found.append(f"Hard labels alone: {_words(self.alone)}. To compare in pairs, two seeds must be in both.")
        found += [_range(f"Over T at alpha = {alpha:g}", "T", {t: self.known.get((t, alpha)) for t in self.Ts}),
                  _range(f"Over alpha at T = {T:g}", "alpha", {a: self.known.get((T, a)) for a in self.alphas})]
        if len(self.cells) > 1:
            found.append(f"Best mean of {len(self.cells)} settings: T = {self.best[0]:g}, alpha = {self.best[1]:g}, "
                         f"{percent(self.known[self.best]['mean'])}. It was picked for being the best, so its number "
                         "flatters it.")
        return found

    def table(self) -> list[list[str]]:
        return [["alpha", *(f"T = {T:g}" for T in self.Ts)],
                *([f"{a:g}", *(_words(self.numbers(T, a)) for T in self.Ts)] for a in self.alphas)]

    def __repr__(self) -> str:
        T, alpha = self.T.value, self.alpha.value
        now = self.numbers(T, alpha)
        mean = f"{percent(now['mean'])}, n = {now['n']}" if now["n"] else "not trained"
        verdict = f"; beside hard labels: {now['against'].verdict}" if now["against"] else ""
        return f"SweepExplorer(T = {T:g}, alpha = {alpha:g}: {mean}{verdict})"

    def _alone(self) -> dict:
        """Accuracy by seed at alpha = 0, the mean over T: students that never saw the teacher."""
        cells = [cell for (_, alpha), cell in self.cells.items() if alpha == 0]
        seeds = {seed: [cell[seed] for cell in cells if seed in cell] for cell in cells for seed in cell}
        return {seed: sum(values) / len(values) for seed, values in seeds.items()}

    def _artists(self) -> dict:
        figure = canvas(9.6, 3.8)
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.3, 1, 1])
        means = np.array([[self.numbers(T, a)["mean"] for T in self.Ts] for a in self.alphas], dtype=float)  # None: nan
        shade = left.imshow(100 * means, cmap="cividis", origin="lower", aspect="auto")
        for (row, column), mean in np.ndenumerate(means):
            dark = not math.isnan(mean) and shade.norm(100 * mean) < 0.5
            left.text(column, row, "–" if math.isnan(mean) else f"{100 * mean:.1f}", ha="center", va="center",
                      fontsize=9 if len(self.Ts) < 8 else 7, color="white" if dark else "black")
        columns, lines = ([f"{value:g}" for value in values] for values in (self.Ts, self.alphas))
        left.set(xlabel="T", ylabel="alpha", title=f"mean {self.label} (%)", xticks=range(len(columns)),
                 xticklabels=columns, yticks=range(len(lines)), yticklabels=lines)
        left.tick_params(axis="x", labelrotation=90 if len(columns) > 8 else 0)
        self.frame = left.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=4))
        ends = [end for found in (*self.known.values(), self.alone) for end in _ends(found)]
        low, high = max(0, min(ends)), min(100, max(ends))
        margin = 0.08 * (high - low) or 0.5
        self.curves = [self._curve(middle, "T", self.Ts), self._curve(right, "alpha", self.alphas)]
        right.sharey(middle)
        right.tick_params(labelleft=False)
        middle.set(ylabel=f"{self.label} (%)", ylim=(low - margin, high + margin))
        figure.legend(handles=middle.get_legend_handles_labels()[0], loc="outside lower right", ncols=4, frameon=False)
        moving = [artist for ax, *artists in self.curves for artist in (ax.title, *artists)]
        return {"figure": figure, "moving": [self.frame, *moving]}

    def _curve(self, ax, name: str, values: list[float]) -> tuple:
        """The axis of one curve, its line, its intervals, the points without one, and a ring about the chosen."""
        if self.baseline:
            ax.axhspan(*_ends(self.alone)[::2], color=COLOURS[1], alpha=0.2, linewidth=0)
            ax.axhline(100 * self.alone["mean"], color=COLOURS[1], linestyle="--", label="hard labels alone")
        x, ticks = range(len(values)), [f"{value:g}" for value in values]
        hollow = "one seed: no interval" if any(found["n"] == 1 for found in self.known.values()) else None
        line, = ax.plot(x, [math.nan] * len(x), color=COLOURS[0], marker=MARKERS[0], label="distilled, 95 % interval")
        bars = ax.add_collection(LineCollection([], color=COLOURS[0], linewidth=2))
        single, = ax.plot([], [], MARKERS[0], color=COLOURS[0], markerfacecolor="white", label=hollow)
        ring, = ax.plot([], [], "o", markersize=14, color="black", markerfacecolor="none", label="chosen")
        ax.set(xlabel=name, title="X", xlim=(-0.5, len(x) - 0.5), xticks=x, xticklabels=ticks)
        ax.tick_params(axis="x", labelrotation=90 if len(x) > 8 else 0)
        ax.spines[["top", "right"]].set_visible(False)
        return ax, line, bars, single, ring

    def _draw(self) -> None:
        T, alpha = self.T.value, self.alpha.value
        column, row = self.Ts.index(T), self.alphas.index(alpha)
        self.frame.set_xy((column - 0.5, row - 0.5))
        for (ax, line, bars, single, ring), title, chosen, cells in (
            (self.curves[0], f"over T, at alpha = {alpha:g}", column, [(t, alpha) for t in self.Ts]),
            (self.curves[1], f"over alpha, at T = {T:g}", row, [(T, a) for a in self.alphas]),
        ):
            ends = [_ends(self.known.get(cell, _summary({}))) for cell in cells]
            means = [end[1] if end else math.nan for end in ends]
            alone = [x for x, cell in enumerate(cells) if len(self.cells.get(cell, ())) == 1]
            ax.set_title(title)
            line.set_ydata(means)
            bars.set_segments([[(x, end[0]), (x, end[2])] for x, end in enumerate(ends) if end])
            single.set_data(alone, [means[x] for x in alone])
            ring.set_data([chosen], [means[chosen]])


def _read(row: Mapping, key: str):
    """What the row holds under the key; ValueError if that is nothing, or not a number."""
    if row.get(key) is None or row[key] != row[key]:
        raise ValueError(f"a row lacks {key!r}: {dict(row)}; students without a teacher are for baseline=...")
    return row[key]


def _add(cell: dict, row: Mapping, value: str, where: str) -> None:
    """Put the row's accuracy into the cell under its seed; ValueError if it is none, or the seed is there already."""
    seed, accuracy = _read(row, "seed"), _read(row, value)
    if not 0 <= accuracy <= 1:
        raise ValueError(f"{value!r} is an accuracy in [0, 1], but in a row of {where} it is {accuracy}")
    if seed in cell:
        raise ValueError(f"two rows are of {where}, seed {seed}: keep one per student (of a history, the last epoch)")
    cell[seed] = float(accuracy)


def _summary(values: Mapping) -> dict:
    """n, mean, low and high of accuracies by seed; None for what so few do not have."""
    n, accuracies = len(values), list(values.values())
    mean, low, high = interval(accuracies) if n > 1 else (accuracies[0] if n else None, None, None)
    return {"n": n, "mean": mean, "low": low, "high": high}


def _ends(found: dict) -> list[float]:
    """Low, mean and high in percent; three times the mean with one seed, nothing with none."""
    return [100 * found[key] for key in (("low", "mean", "high") if found["n"] > 1 else ("mean",) * 3 * found["n"])]


def _words(found: dict) -> str:
    if found["n"] < 2:
        return f"{percent(found['mean'])}, one seed (an interval needs two)" if found["n"] else "no student was trained"
    return f"{percent(found['mean'])} [{100 * found['low']:.1f}, {100 * found['high']:.1f}], n = {found['n']} seeds"


def _range(where: str, name: str, curve: Mapping[float, dict | None]) -> str:
    """Where a curve is lowest and highest."""
    means = {value: found["mean"] for value, found in curve.items() if found}
    low, high = (end(means, key=means.get, default=None) for end in (min, max))
    if low == high:
        return f"{where} the mean is the same at all settings that were trained, {len(means)} of {len(curve)}."
    return (f"{where} the mean is lowest at {name} = {low:g} ({percent(means[low])}) and highest at {name} = {high:g} "
            f"({percent(means[high])}).")
