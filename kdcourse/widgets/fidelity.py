"""`FidelityExplorer`: do two networks say the same, how far apart are they, and about which images?"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kdcourse import metrics
from kdcourse.losses.logits import soft_kl
from kdcourse.viz.base import COLOURS
from kdcourse.widgets.base import PALE, Explorer, canvas, choice, finite, gallery, percent, short, twin

MOST = 12   # classes that fit into the picture


class FidelityExplorer(Explorer):
    """Choose two networks; see how often they agree, where they do not, and the images about which they differ most.

    `answers` are the logits (N, K) of a few networks by name, all about the same `images` (N, C, H, W) with labels `y`
    (N,). The map counts the images about which the two disagree, by what each predicts. Images are ranked by the KL
    divergence of the second network from the first, KL(first || second); the `ranks` furthest apart can be chosen, and
    both networks' probabilities are beside them. It opens on the first two networks and the first rank. Of more than 12
    classes the bars are the 12 that the two find most probable.

    Raises ValueError for fewer than two networks, lengths that do not fit, logits that are not finite, or fewer images
    than ranks. Introduced in notebook 08.
    """

    def __init__(self, answers: Mapping[str, Tensor], images, y: Tensor, classes: Sequence[str], *, ranks: int = 20):
        self.images, labels, self.classes = gallery(images, y, classes)
        self.y = torch.tensor(labels)
        self.z = {name: finite(f"the logits of {name!r}", z, len(labels)) for name, z in answers.items()}
        self._check(ranks)
        self.found: dict[tuple[str, str], dict] = {}
        names = [(name, name) for name in self.z]
        self.first = choice("First network", names, names[0][1])
        self.second = choice("Second network", names, names[1][1])
        self.rank = choice("Rank by KL", [(str(rank), rank) for rank in range(1, ranks + 1)], 1)
        self.slider = twin(self.rank, "Rank (slider)")
        super().__init__([[self.first, self.second], [self.rank, self.slider]], **self._artists())

    def numbers(self, first: str, second: str) -> dict:
        """Everything about two networks: `agreement`; `chance`, what it would be if they shared nothing but the labels
        and the usual confusions; `corrected` for it (None where chance explains everything); `kl`, the mean of
        KL(first || second) in nats, and `each` image's (N,); `order`, the images from the largest to the smallest; the
        shares `both` right, `only_first`, `only_second` and `neither`; `counts` (K, K) of the images about which they
        disagree, row what the first predicts, column what the second does."""
        if (first, second) not in self.found:
            z_a, z_b, y, n = self.z[first], self.z[second], self.y, len(self.y)
            a, b = z_a.argmax(dim=1), z_b.argmax(dim=1)
            agreement, chance = metrics.agreement(z_a, z_b), metrics.chance_agreement(z_a, z_b, y)
            each = soft_kl(z_b, z_a).clamp_min(0)
            self.found[first, second] = {
                "agreement": agreement, "chance": chance,
                "corrected": metrics.corrected_agreement(z_a, z_b, y) if chance < 1 - 1e-12 else None,
                "kl": each.mean().item(), "each": each, "order": each.argsort(descending=True, stable=True).tolist(),
                **{name: ((a == y) == left).logical_and((b == y) == right).sum().item() / n for name, left, right in (
                    ("both", True, True), ("only_first", True, False), ("only_second", False, True),
                    ("neither", False, False))},
                "counts": metrics.confusion(z_b, a).fill_diagonal_(0)}
        return self.found[first, second]

    def alt(self) -> str:
        first, second = self.first.value, self.second.value
        return (f"A square map that counts the images about which {first} (rows) and {second} (columns) disagree, by "
                f"what each predicts; beside it image {self._image()}, rank {self.rank.value} by KL, and a chart of "
                "the probabilities that both networks give its classes.")

    def sentences(self) -> list[str]:
        first, second, rank, name = self.first.value, self.second.value, self.rank.value, self.classes
        now, i, n = self.numbers(first, second), self._image(), len(self.y)
        corrected = ("nothing is left to agree or disagree about" if now["corrected"] is None
                     else f"corrected for that, agreement is {now['corrected']:.2f}, where 1 is a copy")
        found = [f"{first} and {second} give the same prediction for {percent(now['agreement'])} of {n:,} images. Two "
                 f"networks that share the labels and the usual confusions alone would do so for "
                 f"{percent(now['chance'])}; {corrected}.",
                 f"Both are right about {percent(now['both'])} of the images, only {first} about "
                 f"{percent(now['only_first'])}, only {second} about {percent(now['only_second'])}, neither about "
                 f"{percent(now['neither'])}.",
                 f"KL({first} ‖ {second}) is {now['kl']:.3f} nats on average."]
        row, column = divmod(now["counts"].argmax().item(), len(name))
        times = int(now["counts"][row, column])
        found.append(f"They differ most often where {first} predicts “{name[row]}” and {second} “{name[column]}”: "
                     f"{times} {'image' if times == 1 else 'images'}." if times else "They never differ.")
        p_a, p_b = (self.z[network][i].softmax(dim=0) for network in (first, second))
        top_a, top_b = p_a.argmax().item(), p_b.argmax().item()
        found.append(f"At rank {rank} is image {i}, with the label “{name[self.y[i]]}” and a divergence of "
                     f"{now['each'][i]:.2f} nats: {first} predicts “{name[top_a]}” ({percent(p_a[top_a])}), {second} "
                     f"“{name[top_b]}” ({percent(p_b[top_b])}).")
        return found

    def table(self) -> list[list[str]]:
        first = self.first.value
        found = [[f"{first} and", "agreement", "by chance", "corrected", "KL in nats", "both right", "neither right"]]
        for name in self.z:
            now = self.numbers(first, name)
            corrected = "" if now["corrected"] is None else f"{now['corrected']:.2f}"
            found.append([name, percent(now["agreement"]), percent(now["chance"]), corrected, f"{now['kl']:.3f}",
                          percent(now["both"]), percent(now["neither"])])
        return found

    def __repr__(self) -> str:
        first, second = self.first.value, self.second.value
        now = self.numbers(first, second)
        return (f"FidelityExplorer({short(first)}, {short(second)}: agreement {now['agreement']:.2f}, "
                f"KL {now['kl']:.1f})")

    def _check(self, ranks: int) -> None:
        n, K = len(self.y), len(self.classes)
        if len(self.z) < 2:
            raise ValueError(f"at least two networks are needed to compare; answers are those of {list(self.z)}")
        for name, z in self.z.items():
            if z.shape[1] != K or K < 2:
                raise ValueError(f"{name} has {z.shape[1]} logits and there are {K} class names; as many are needed of "
                                 "both, and at least two")
        if not 1 <= ranks <= n:
            raise ValueError(f"ranks is how many images can be chosen, from 1 to the {n} there are; it is {ranks}")

    def _image(self) -> int:
        """The image at the chosen rank."""
        return self.numbers(self.first.value, self.second.value)["order"][self.rank.value - 1]

    def _shown(self, image: int) -> list[int]:
        """The classes in the chart, from top to bottom."""
        if len(self.classes) <= MOST:
            return list(range(len(self.classes)))
        p = sum(self.z[network][image].softmax(dim=0) for network in (self.first.value, self.second.value))
        return p.argsort(descending=True, stable=True).tolist()[:MOST]

    def _artists(self) -> dict:
        K, figure = len(self.classes), canvas(10.2, 4.0)
        left, photo, right = figure.subplots(1, 3, width_ratios=[1.6, 0.9, 1.6])
        self.map = left.imshow([[0.0]], cmap="Blues", extent=(0, K, K, 0), interpolation="nearest")
        step = -(-K // MOST)
        places, names = [k + 0.5 for k in range(0, K, step)], [short(name) for name in self.classes[::step]]
        left.set_xticks(places, names, rotation=90, fontsize=8, parse_math=False)
        left.set_yticks(places, names, fontsize=8, parse_math=False)
        left.tick_params(length=0)
        self.title = left.set_title("X\nX\nX", fontsize=10, parse_math=False)
        self.cells = [[left.text(j + 0.5, i + 0.5, "", ha="center", va="center", fontsize=7)
                       for j in range(K)] for i in range(K)] if K <= MOST else []
        photo.axis("off")
        self.pixels = photo.imshow(self.images[0], cmap="gray_r", vmin=0, vmax=255)
        self.caption = photo.set_title("X\nX\nX", fontsize=10, parse_math=False)
        self.bars = self._chart(right)
        moving = [self.title, self.map, *(cell for row in self.cells for cell in row), self.pixels, self.caption,
                  *self.names, *self.words, *(bar for bars in self.bars for bar in bars)]
        return {"figure": figure, "moving": moving}

    def _chart(self, ax) -> list:
        """Two bars for each class, and above them which network has which colour."""
        rows = range(min(len(self.classes), MOST))
        widest = max((short(name) for name in self.classes), key=len)
        self.names = [ax.text(-0.03, row, widest, ha="right", va="center", fontsize=8, parse_math=False,
                              transform=ax.get_yaxis_transform()) for row in rows]
        self.words = [ax.text(0.5 * k, 1.02, "X", color=COLOURS[k], ha="left", va="bottom", fontsize=9,
                              transform=ax.transAxes, parse_math=False) for k in range(2)]
        ax.set_yticks(rows, [""] * len(rows))
        ax.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="probability")
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color=PALE)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        return [ax.barh([row + 0.4 * (k - 0.5) for row in rows], [0.0] * len(rows), 0.4, color=COLOURS[k])
                for k in range(2)]

    def _draw(self) -> None:
        first, second = self.first.value, self.second.value
        now, i = self.numbers(first, second), self._image()
        counts, shown = now["counts"], self._shown(i)
        self.map.set_data(counts.numpy())
        most = max(1, int(counts.max()))
        self.map.set_clim(0, most)
        for row, cells in zip(counts.tolist(), self.cells, strict=False):
            for count, cell in zip(row, cells, strict=True):
                cell.set(text=str(count) if count else "", color="white" if count > most / 2 else "black")
        self.title.set_text(f"images they disagree about\nrows: {short(first)}\ncolumns: {short(second)}")
        self.pixels.set_data(self.images[i])
        self.caption.set_text(f"rank {self.rank.value}: image {i}\n{short(self.classes[self.y[i]])}\n"
                              f"KL = {now['each'][i]:.2f}")
        for bars, text, name in zip(self.bars, self.words, (first, second), strict=True):
            text.set_text(f"■ {short(name)}")
            for bar, k in zip(bars, shown, strict=True):
                bar.set_width(self.z[name][i].softmax(dim=0)[k].item())
        for text, k in zip(self.names, shown, strict=True):
            text.set(text=short(self.classes[k]), fontweight="bold" if k == self.y[i] else "normal")
