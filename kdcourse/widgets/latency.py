"""`LatencyExplorer`: how long do networks take, beside one of them, in which runtime, for how many images at once?"""

import statistics
from collections.abc import Iterable, Mapping

from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from kdcourse.viz.base import COLOURS, MARKERS, records
from kdcourse.widgets.base import PALE, Explorer, canvas, choice, short

PARTS = ("p10", "median", "p90")


class LatencyExplorer(Explorer):
    """Choose what to compare with, a batch and a number of threads; see how often longer every other network takes.

    `rows` are dicts as `cost.latencies` gives them, each with its "family", "network", "runtime", "batch" and "threads"
    and the seconds "p10", "median" and "p90"; of several rows for the same, rounds of one measurement, the median of
    each counts. Only networks of one family are compared. What is shown is a ratio: 0.5 is half the time. Dots are
    medians, lines reach from the 10 % quickest to the 10 % slowest turn. It opens on the first row.

    Raises ValueError when there are no rows, a row lacks something, a time is not positive, or a network is not timed
    with every batch and number of threads. Introduced in notebook 10.
    """

    def __init__(self, rows: Iterable[Mapping]):
        self.times = _times(rows)
        keys = list(self.times)
        self.entries = list(dict.fromkeys(key[:3] for key in keys))
        batches, threads = (sorted({key[place] for key in keys}) for place in (3, 4))
        for entry in self.entries:
            lacking = [(b, t) for b in batches for t in threads if (*entry, b, t) not in self.times]
            if lacking:
                raise ValueError(f"{' · '.join(entry)} was not timed with a batch of {lacking[0][0]} on "
                                 f"{lacking[0][1]} threads, as others were")
        # what tells them apart comes first: a list that is too narrow cuts the end off
        names = [(f"{network}, {runtime} · {family}", (family, network, runtime))
                 for family, network, runtime in self.entries]
        self.beside = choice("Compared with", names, names[0][1])
        self.beside.layout.width = "auto"
        self.batch = choice("Images at once", [(str(b), b) for b in batches], batches[0])
        self.threads = choice("Threads", [(str(t), t) for t in threads], threads[0])
        super().__init__([[self.beside], [self.batch, self.threads]], **self._artists())

    def numbers(self, beside: tuple[str, str, str], batch: int, threads: int) -> dict[tuple[str, str, str], dict]:
        """For each network of the family of `beside`, a (family, network, runtime), and in each runtime: "p10",
        "median" and "p90" as multiples of the median of `beside`, whose own median is 1."""
        unit = self.times[(*beside, batch, threads)]["median"]
        return {entry: {part: self.times[(*entry, batch, threads)][part] / unit for part in PARTS}
                for entry in self.entries if entry[0] == beside[0]}

    def alt(self) -> str:
        family, network, runtime = self.beside.value
        return (f"Times of the networks for {family} in each runtime as multiples of that of {network} in {runtime}, "
                f"on a logarithmic axis: a dot for the median and a line from the 10th to the 90th percentile, for "
                f"{_images(self.batch.value)} on {_threads(self.threads.value)}.")

    def sentences(self) -> list[str]:
        beside, batch, threads = self.beside.value, self.batch.value, self.threads.value
        now = self.numbers(beside, batch, threads)
        quick, slow = min(now, key=lambda e: now[e]["median"]), max(now, key=lambda e: now[e]["median"])
        own = f"{beside[1]} in {beside[2]}"
        found = [f"For {_images(batch)} on {_threads(threads)} the {word} is " + (
                 f"{own} itself." if which == beside else f"{which[1]} in {which[2]}, with "
                 f"{_times_as_long(now[which]['median']).removesuffix(' its time')} the time of {own}.")
                 for word, which in (("quickest", quick), ("slowest", slow))]
        spread = now[beside]
        found.append(f"A tenth of the turns of {beside[1]} in {beside[2]} took less than {spread['p10']:.2f}, and a "
                     f"tenth more than {spread['p90']:.2f} of its own median: the machine makes such differences.")
        return found

    def table(self) -> list[list[str]]:
        now = self.numbers(self.beside.value, self.batch.value, self.threads.value)
        return [["network, runtime", "10th percentile", "median", "90th percentile"],
                *([f"{network}, {runtime}", *(f"{values[part]:.3f}" for part in PARTS)]
                  for (_, network, runtime), values in now.items())]

    def __repr__(self) -> str:
        _, network, runtime = self.beside.value
        return (f"LatencyExplorer(beside {short(network)} in {short(runtime)}: batch {self.batch.value}, "
                f"{_threads(self.threads.value)})")

    def _artists(self) -> dict:
        counts = [sum(entry[0] == family for entry in self.entries) for family in {e[0] for e in self.entries}]
        self.most = max(counts)
        figure = canvas(9.4, 1.1 + 0.34 * self.most)
        ax = figure.subplots()
        ax.set(xscale="log", ylim=(self.most - 0.4, -0.6))
        ax.set_xlabel("time; that of the network in bold is 1 (logarithmic)")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.xaxis.set_minor_locator(NullLocator())
        self.ax = ax
        ax.set_yticks(range(self.most), [""] * self.most)
        ax.tick_params(axis="y", length=0)
        ax.axvline(1, color="0.4", linewidth=1)
        ax.grid(axis="x", color=PALE)
        ax.spines[["top", "right"]].set_visible(False)
        widest = max((_label(entry) for entry in self.entries), key=len)
        self.names = [ax.text(-0.01, row, widest, ha="right", va="center", fontsize=10, parse_math=False,
                              transform=ax.get_yaxis_transform()) for row in range(self.most)]
        self.lines = [ax.plot([1, 1], [row, row], linewidth=2, alpha=0.5)[0] for row in range(self.most)]
        self.dots = [ax.plot([1], [row], "o")[0] for row in range(self.most)]
        return {"figure": figure, "moving": [*self.names, *self.lines, *self.dots]}

    def _draw(self) -> tuple:
        chosen = self.beside.value, self.batch.value, self.threads.value
        now = self.numbers(*chosen)
        self.ax.set_xlim(0.8 * min(each["p10"] for each in now.values()), 1.25 * max(
            each["p90"] for each in now.values()))
        runtimes = list(dict.fromkeys(entry[2] for entry in self.entries))
        entries = [*now, *[None] * (self.most - len(now))]
        for entry, name, line, dot in zip(entries, self.names, self.lines, self.dots, strict=True):
            for artist in (name, line, dot):
                artist.set_visible(entry is not None)
            if entry is None:
                continue
            place = runtimes.index(entry[2]) % len(MARKERS)
            name.set(text=_label(entry), fontweight="bold" if entry == self.beside.value else "normal")
            line.set(xdata=[now[entry]["p10"], now[entry]["p90"]], color=COLOURS[place])
            dot.set(xdata=[now[entry]["median"]], color=COLOURS[place], marker=MARKERS[place])
        return chosen   # the axis fits what is chosen


def _times(rows: Iterable[Mapping]) -> dict[tuple, dict[str, float]]:
    """By (family, network, runtime, batch, threads): the median over the rounds of each part."""
    kept: dict[tuple, list] = {}
    for row in records(rows, "family", "network", "runtime", "batch", "threads", *PARTS):
        if not all(row[part] > 0 for part in PARTS):
            raise ValueError(f"times are positive; those of {row['network']} are {[row[part] for part in PARTS]}")
        kept.setdefault(tuple(row[key] for key in ("family", "network", "runtime", "batch", "threads")), []).append(row)
    if not kept:
        raise ValueError("there are no rows to explore")
    return {key: {part: statistics.median(row[part] for row in found) for part in PARTS}
            for key, found in kept.items()}


def _label(entry: tuple[str, str, str]) -> str:
    return f"{entry[1]}, {entry[2]}"


def _images(batch: int) -> str:
    return "one image" if batch == 1 else f"{batch} images at once"


def _threads(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"


def _times_as_long(ratio: float) -> str:
    return f"{ratio:.2f} times its time" if ratio < 10 else f"{ratio:.0f} times its time"
