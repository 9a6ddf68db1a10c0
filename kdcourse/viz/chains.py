"""Two diagrams of notebook 05: who teaches whom, and what each loss makes of one vector of logits."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from kdcourse.viz.base import COLOURS, arrow, axis, box


def who_teaches(plans: Mapping[str, Sequence[tuple[str, str]]], networks: Sequence[str], *, ax=None):
    """A row of boxes for each plan, with an arrow from every teacher to its student.

    `networks` are all names from the largest to the smallest, which is the order of the boxes; `plans[name]` are pairs
    (teacher, student). An arrow that passes over a box is bent. Raises ValueError for a network that is not there.
    """
    place = {name: k for k, name in enumerate(networks)}
    used = {end for pairs in plans.values() for pair in pairs for end in pair}
    if unknown := sorted(used - place.keys()):
        raise ValueError(f"no network is called {unknown[0]!r}; there are: {', '.join(networks)}")
    ax, half = axis(ax, size=(1.2 + 1.7 * len(networks), 0.4 + 0.85 * len(plans))), {}
    for row, (plan, pairs) in enumerate(plans.items()):
        ax.text(-0.62, row, plan, ha="right", va="center", fontweight="bold")
        for name in {end for pair in pairs for end in pair}:
            half[name] = 0.09 + 0.0225 * len(name)  # how far its box reaches
            box(ax, place[name], row, None, None, name, edge=COLOURS[0], pad=0.35, size=9)
        for teacher, student in pairs:
            near = abs(place[student] - place[teacher]) == 1
            ends = ((place[student] - half[student], 0), (place[teacher] + half[teacher], 0)) if near else (
                (place[student], -0.22), (place[teacher], -0.22))
            end, start = ((x, row + y) for x, y in ends)
            arrow(ax, start, end, COLOURS[1], style="-|>", head=10, width=1.4, bend=0 if near else -0.15)
    ax.set(xlim=(-1.6, len(networks) - 0.4), ylim=(len(plans) - 0.5, -0.8))
    ax.axis("off")
    return ax


def one_vector(panels: Mapping[str, Sequence[float]], classes: Sequence[str], *, label: int,
               notes: Mapping[str, str] | None = None, ylabel: str = ""):
    """A small chart for each loss: the numbers that it compares with the student's, made of one teacher's logits.

    `panels[name]` has a number for each class, NaN for a class that the loss does not see there: it is marked "not
    seen". The bar of `label` has a colour of its own. `notes[name]` is written above the bars, and `ylabel`
    beside the charts on the left. Probabilities have one axis in all charts, and can be compared. Returns the axes.
    """
    for name, values in panels.items():
        if len(values) != len(classes):
            raise ValueError(f"{name!r} has {len(values)} numbers, and there are {len(classes)} classes")
    columns = 2 if len(panels) == 4 else 3
    rows = -(-len(panels) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(8.4, 2.3 * rows), layout="constrained", sharex=True, squeeze=False)
    heights = [float(value) for values in panels.values() for value in values if value == value]
    top = 1.08 * max(heights) if 0 <= min(heights) and max(heights) <= 1 else None
    for place, (ax, (name, values)) in enumerate(zip(axes.flat, panels.items(), strict=False)):
        values = [float(value) for value in values]
        colours = [COLOURS[1] if k == label else COLOURS[0] for k in range(len(classes))]
        ax.bar(range(len(classes)), [0.0 if value != value else value for value in values], color=colours)
        for k, value in enumerate(values):
            if value != value:
                ax.text(k, 0.0, "not seen", rotation=90, ha="center", va="bottom", fontsize=7, color="0.4")
        ax.axhline(0, color="0.4", linewidth=0.8)
        if top:
            ax.set_ylim(0, top)
        ax.set_title(f"{name}\n{(notes or {}).get(name, '')}".strip(), fontsize=9)
        ax.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 2 else 0, fontsize=7)
        ax.tick_params(axis="x", labelbottom=place + columns >= len(panels))  # the lowest of its column
        ax.tick_params(axis="y", labelsize=7)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel, fontsize=8)
    for ax in list(axes.flat)[len(panels):]:
        ax.axis("off")
    return axes
