"""`CorrelationExplorer`: what goes with what for a teacher, for its students, and where they differ."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kdcourse.losses.base import check_temperature
from kdcourse.losses.correlations import inter_class_loss, intra_class_loss
from kdcourse.viz.base import COLOURS
from kdcourse.widgets.base import Explorer, canvas, choice, finite, short, twin

NAMES = 12      # of classes that fit beside a matrix
BETWEEN = {"classes": "classes (columns)", "images": "images (rows)"}


class CorrelationExplorer(Explorer):
    """Choose a student, a temperature and what is compared; see the teacher's correlations, the student's, and their
    difference.

    `z_t` are the teacher's logits (N, K) and `students` those of a few students by name, all about the same images;
    `y` their labels (N,). Between classes, entry (i, j) is Pearson's correlation of the probabilities of classes i and
    j over all images: two columns. Between images, it is that of two rows over the classes, for the first `each` images
    of every class, sorted by label. A row or column that does not vary correlates with nothing: 0. DIST itself compares
    each row and column of the student with the *same* one of the teacher; those two distances are in the words.

    Raises ValueError when lengths do not fit, logits are not finite, there are fewer than three classes or no student,
    or a temperature is not positive. Introduced in notebook 06.
    """

    def __init__(self, z_t: Tensor, students: Mapping[str, Tensor], y: Tensor, classes: Sequence[str], *,
                 temperatures: Sequence[float] = (1, 2, 4, 8), each: int = 4):
        y, self.classes = torch.as_tensor(y).cpu(), [str(name) for name in classes]
        self.z_t = finite("the teacher's logits", z_t, len(y))
        self.z_s = {name: finite(f"the logits of {name!r}", z, len(y)) for name, z in students.items()}
        values = sorted(set(temperatures))
        self._check(y, values, each)
        rows = [(y == k).nonzero()[:each, 0] for k in range(len(self.classes))]
        self.some, self.counts = torch.cat(rows), [len(row) for row in rows]
        self.student = choice("Student", [(name, name) for name in self.z_s], next(iter(self.z_s)))
        self.temperature = choice("Temperature T", [(f"{T:g}", T) for T in values],
                                  4 if 4 in values else values[len(values) // 2])
        self.slider = twin(self.temperature, "T (slider)")
        self.between = choice("Correlations between", [(words, name) for name, words in BETWEEN.items()], "classes")
        super().__init__([[self.student, self.between], [self.temperature, self.slider]], **self._artists())

    def numbers(self, student: str, T: float, between: str = "classes") -> dict:
        """Everything the picture shows of one student: the matrices `teacher`, `student` and `difference` (student
        minus teacher); `gap`, the mean of |difference| over pairs of two; `pair`, where it is largest; and of DIST at
        this T, over all images as one batch, `inter` (rows) and `intra` (columns), each in [0, 2]."""
        check_temperature(T)
        images = between == "images"
        rows = self.some if images else slice(None)
        its, ours = (correlations(z[rows] / T, rows=images) for z in (self.z_t, self.z_s[student]))
        difference, n = ours - its, len(its)
        others = difference.abs().fill_diagonal_(0.0)
        z_s, z_t = self.z_s[student], self.z_t
        return {"teacher": its, "student": ours, "difference": difference, "gap": others.sum().item() / (n * (n - 1)),
                "pair": divmod(others.argmax().item(), n), "inter": inter_class_loss(z_s, z_t, T=T).item(),
                "intra": intra_class_loss(z_s, z_t, T=T).item()}

    def alt(self) -> str:
        return (f"Three square maps of correlations between {BETWEEN[self.between.value]} at T = "
                f"{self.temperature.value:g}: the teacher's, those of the student {self.student.value}, and student "
                "minus teacher; beside them a bar for each student, its mean absolute difference from the teacher.")

    def sentences(self) -> list[str]:
        name, T, between = self.student.value, self.temperature.value, self.between.value
        now = self.numbers(name, T, between)
        if between == "classes":
            over = f"over {len(self.z_t):,} images"
            pair = " and ".join(f"“{self.classes[k]}”" for k in now["pair"])
        else:
            over = f"over the {len(self.classes)} classes, of {len(self.some)} images"
            pair = " and ".join(f"image {k} ({self._labels()[k]})" for k in now["pair"])
        i, j = now["pair"]
        gaps = ", ".join(f"{other} {self.numbers(other, T, between)['gap']:.3f}" for other in self.z_s)
        return [f"At T = {T:g}, correlations between {BETWEEN[between]}, {over}: teacher and {name} differ by "
                f"{now['gap']:.3f} on average, over all pairs of two {between}.",
                f"They differ most about {pair}: {now['teacher'][i, j]:+.2f} for the teacher, "
                f"{now['student'][i, j]:+.2f} for {name}.",
                f"Mean absolute differences: {gaps}.",
                f"DIST at T = {T:g}, which compares each row and column with the teacher's same one: {name} is at "
                f"{now['inter']:.3f} between classes (rows) and {now['intra']:.3f} within them (columns); 0 is the "
                "teacher itself."]

    def table(self) -> list[list[str]]:
        T = self.temperature.value
        found = [["student", "difference between classes", "between images", "DIST, rows", "DIST, columns"]]
        for name in self.z_s:
            classes, images = (self.numbers(name, T, between) for between in BETWEEN)
            values = classes["gap"], images["gap"], classes["inter"], classes["intra"]
            found.append([name, *(f"{value:.3f}" for value in values)])
        return found

    def __repr__(self) -> str:
        name, T, between = self.student.value, self.temperature.value, self.between.value
        gap = self.numbers(name, T, between)["gap"]
        return f"CorrelationExplorer({short(name)}, T = {T:g}, between {between}: apart by {gap:.2f})"

    def _check(self, y: Tensor, temperatures: list[float], each: int) -> None:
        K = len(self.classes)
        if not self.z_s or not temperatures or each < 1:
            raise ValueError(f"at least one student, one temperature and one image of each class are needed; there are "
                             f"{len(self.z_s)}, {len(temperatures)} and {each}")
        for name, z in {"the teacher": self.z_t, **self.z_s}.items():
            if z.shape[1] != K or K < 3:
                raise ValueError(f"{name} has {z.shape[1]} logits and there are {K} class names; as many are needed of "
                                 "both, and at least three: two probabilities always correlate with -1")
        if not 0 <= y.min() <= y.max() < K:
            raise ValueError(f"labels run from {y.min()} to {y.max()}, but there are {K} class names")
        for T in temperatures:
            check_temperature(T)

    def _labels(self) -> list[str]:
        """The class of each image that is compared."""
        return [name for name, n in zip(self.classes, self.counts, strict=True) for _ in range(n)]

    def _artists(self) -> dict:
        figure = canvas(10.2, 3.6)
        figure.set_layout_engine("none")    # squares of one size, beside names that the layout would cut off
        axes = [figure.add_axes((left, 0.28, 2.2 / 10.2, 2.2 / 3.6)) for left in (0.095, 0.325, 0.555)]
        bars, scale = figure.add_axes((0.875, 0.28, 0.11, 2.2 / 3.6)), figure.add_axes((0.2, 0.16, 0.46, 0.03))
        K, blank = len(self.classes), [[0.0]]
        self.maps = [ax.imshow(blank, cmap="PuOr", vmin=-end, vmax=end, extent=(0, 1, 1, 0), interpolation="nearest")
                     for ax, end in zip(axes, (1, 1, 0.5), strict=True)]
        self.titles = [ax.set_title("X", fontsize=10, parse_math=False) for ax in axes]
        for ax in axes:
            ax.set(xticks=[], yticks=[])
        widest = max((short(name) for name in self.classes), key=len)
        self.named = range(0, K, -(-K // NAMES))
        self.names = [axes[0].text(-0.03, (k + 0.5) / K, widest, ha="right", va="center", fontsize=8, parse_math=False)
                      for k in self.named]
        figure.colorbar(self.maps[0], cax=scale, orientation="horizontal",
                        label="correlation (the difference: half of this scale)")
        places = range(len(self.z_s))
        self.bars = bars.barh(places, [1.0] * len(places), 0.6, color=COLOURS[0])
        bars.set_yticks(places, [short(name) for name in self.z_s], parse_math=False, fontsize=9)
        bars.set(xlabel="mean |difference|", xlim=(0, self._widest()), ylim=(len(places) - 0.5, -0.5))
        bars.spines[["top", "right"]].set_visible(False)
        return {"figure": figure, "moving": [*self.maps, *self.titles, *self.names, *self.bars]}

    def _widest(self) -> float:
        """One scale for all bars, so that two temperatures can be compared."""
        gaps = [self.numbers(name, T, between)["gap"] for name in self.z_s for _, T in self.temperature.options
                for between in BETWEEN]
        return 1.1 * max(gaps) or 1.0

    def _draw(self) -> None:
        name, T, between = self.student.value, self.temperature.value, self.between.value
        now = self.numbers(name, T, between)
        for picture, key in zip(self.maps, ("teacher", "student", "difference"), strict=True):
            picture.set_data(now[key].numpy())
        for title, text in zip(self.titles, ("teacher", short(name), f"{short(name)} - teacher"), strict=True):
            title.set_text(text)
        sizes = torch.tensor(self.counts if between == "images" else [1] * len(self.classes))
        middles = ((sizes.cumsum(0) - sizes / 2) / sizes.sum()).tolist()
        for text, k in zip(self.names, self.named, strict=True):
            text.set(text=short(self.classes[k]), y=middles[k])
        for bar, other in zip(self.bars, self.z_s, strict=True):
            bar.set(width=self.numbers(other, T, between)["gap"], facecolor=COLOURS[int(other == name)])


def correlations(z: Tensor, *, rows: bool) -> Tensor:
    """Pearson's correlations of the probabilities softmax(z): of any two rows (N, N), or of any two columns (K, K).

    >>> z = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]])
    >>> correlations(z, rows=True).round(decimals=2)
    tensor([[ 1.0000, -0.5000,  1.0000],
            [-0.5000,  1.0000, -0.5000],
            [ 1.0000, -0.5000,  1.0000]])
    """
    log_p, dim = z.log_softmax(dim=1), int(rows)
    p = (log_p - log_p.amax(dim=dim, keepdim=True)).exp()   # in units of the largest, so that nothing underflows
    p = p - p.mean(dim=dim, keepdim=True)
    length = p.norm(dim=dim, keepdim=True)
    u = torch.where(length > 1e-6, p / length.clamp_min(1e-6), 0.0)
    return u @ u.T if rows else u.T @ u
