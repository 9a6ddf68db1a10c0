"""`TemperatureExplorer`: what softening does to a teacher, a student, and the gradient between them."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import anywidget
import ipywidgets
import torch
import traitlets
from torch import Tensor

from kdcourse.losses.base import check_logits, check_temperature
from kdcourse.losses.logits import soft_kl
from kdcourse.viz.base import COLOURS
from kdcourse.widgets.base import PALE, Explorer, address, canvas, choice, finite, gallery, percent, short

MOST = 12   # classes that fit into the picture


class Front(anywidget.AnyWidget):
    """What a reader sees and moves: the page computes it, here and in the book, with a kernel or without.

    `known` has `classes`, `y`, `images` (addresses), `z_t`, `z_s` and `temperatures`; `image`, `temperature` and
    `direction` ("forward" for KL(p_t || p_s), "reverse" for KL(p_s || p_t)) are what is chosen.
    """

    _esm = Path(__file__).with_name("temperature.js")
    _css = Path(__file__).with_name("temperature.css")
    known = traitlets.Dict().tag(sync=True)
    image = traitlets.Int(0).tag(sync=True)
    temperature = traitlets.Float(4.0).tag(sync=True)
    direction = traitlets.Enum(["forward", "reverse"], "forward").tag(sync=True)


class TemperatureExplorer(Explorer):
    """Choose an image and a temperature; see both distributions, and the gradient each class receives.

    `images` (N, C, H, W) are bytes or floats in [0, 1], `z_t` and `z_s` the two networks' logits (N, K), `y` the labels
    (N,). It opens on the first image and T = 4, or the middle temperature if 4 is not among them; setting
    `explorer.image.value` and `explorer.temperature.value` chooses others. Of more than 12 classes the picture shows
    the teacher's 12 most probable ones, the label among them. In the page one also turns the divergence round.

    Raises ValueError when lengths do not fit, logits are not finite, or a temperature is not positive.
    Introduced in notebook 02.
    """

    def __init__(self, images, z_t: Tensor, z_s: Tensor, y: Tensor, classes: Sequence[str], *,
                 temperatures: Sequence[float] = (0.5, 1, 2, 4, 8, 16, 32, 64)):
        self.images, self.y, self.classes = gallery(images, y, classes)
        self.z_t = finite("the teacher's logits", z_t, len(self.y))
        self.z_s = finite("the student's logits", z_s, len(self.y))
        check_logits(self.z_s, self.z_t)
        if self.z_t.shape[1] != len(self.classes):
            raise ValueError(f"{self.z_t.shape[1]} logits need as many class names; there are {len(self.classes)}")
        values = sorted(set(temperatures))
        if not values:
            raise ValueError("at least one temperature is needed to choose from; `temperatures` is empty")
        for T in values:
            check_temperature(T)
        gaps = [T * ((self.z_s / T).softmax(1) - (self.z_t / T).softmax(1)) for T in values]
        self.limits = [_round_up(size) for size in torch.stack(gaps).abs().amax(dim=(0, 2)).tolist()]
        self.image = choice("Image", [(f"{i}: {self.classes[k]}", i) for i, k in enumerate(self.y)], 0)
        self.temperature = choice("Temperature T", [(f"{T:g}", T) for T in values],
                                  4 if 4 in values else values[len(values) // 2])
        self.front = Front(temperature=self.temperature.value, known={
            "classes": self.classes, "y": self.y, "images": [address(image) for image in self.images],
            "z_t": self.z_t.tolist(), "z_s": self.z_s.tolist(), "temperatures": [float(T) for T in values]})
        for name in ("image", "temperature"):
            ipywidgets.link((getattr(self, name), "value"), (self.front, name))
        super().__init__([[self.image, self.temperature]], front=self.front, **self._artists())

    def numbers(self, image: int, T: float) -> dict:
        """Everything the picture shows of one image at one temperature. In nats; tensors are (K,).

        p_t and p_s, entropy_t and entropy_s, kl = KL(p_t || p_s); second and third, the teacher's classes by rank, and
        the ratio of their probabilities for each network (None with two classes); soft = T (p_s - p_t), the gradient
        of T^2 KL with respect to z_s, and hard = p_s - y at T = 1, that of the cross-entropy.
        """
        check_temperature(T)
        z_t, z_s = self.z_t[image], self.z_s[image]
        log_t, log_s = (z_t / T).log_softmax(0), (z_s / T).log_softmax(0)
        p_t, p_s = log_t.exp(), log_s.exp()
        hard = z_s.softmax(0)
        hard[self.y[image]] -= 1
        second, third = [*z_t.argsort(descending=True, stable=True).tolist()[1:3], None][:2]
        ratio_t, ratio_s = (None if third is None else (log_p[second] - log_p[third]).exp().item()
                            for log_p in (log_t, log_s))
        return {"p_t": p_t, "p_s": p_s, "entropy_t": (p_t * -log_t).sum().item(),
                "entropy_s": (p_s * -log_s).sum().item(), "kl": max(0.0, soft_kl(z_s[None], z_t[None], T=T).item()),
                "second": second, "third": third, "ratio_t": ratio_t, "ratio_s": ratio_s,
                "soft": T * (p_s - p_t), "hard": hard}

    def alt(self) -> str:
        image, T = self.image.value, self.temperature.value
        return (f"Image {image} (label: {self.classes[self.y[image]]}) beside two charts of bars, one row for each "
                f"class: the probabilities of teacher and student at T = {T:g}, and the gradients of the soft term and "
                "of the cross-entropy.")

    def sentences(self) -> list[str]:
        image, T = self.image.value, self.temperature.value
        now, name, K = self.numbers(image, T), self.classes, len(self.classes)
        top_t, top_s = now["p_t"].argmax().item(), now["p_s"].argmax().item()
        found = [f"Image {image} has the label “{name[self.y[image]]}”. At T = {T:g} the teacher gives most to "
                 f"“{name[top_t]}” ({percent(now['p_t'][top_t])}), the student to “{name[top_s]}” "
                 f"({percent(now['p_s'][top_s])}).",
                 f"Entropy: teacher {now['entropy_t']:.2f} nats, student {now['entropy_s']:.2f}; {math.log(K):.2f} "
                 f"would be all {K} classes alike. KL(teacher ‖ student) is {now['kl']:.3f} nats."]
        if now["third"] is None:
            found.append("There are two classes: there is no third one to compare the second with.")
        else:
            found.append(f"The teacher's second and third classes are “{name[now['second']]}” and "
                         f"“{name[now['third']]}”: it finds the second {now['ratio_t']:.3g} times as probable as the "
                         f"third, the student {now['ratio_s']:.3g} times.")
        found += [_push("Soft term", "T (p_s - p_t)", now["soft"], name),
                  _push("Cross-entropy", "p_s - y at T = 1, whatever T is", now["hard"], name)]
        if K > MOST:
            found.append(f"The picture shows {MOST} of {K} classes: the teacher's most probable ones, and the label.")
        return found

    def table(self) -> list[list[str]]:
        image, T = self.image.value, self.temperature.value
        now = self.numbers(image, T)
        head = ["class", f"teacher, T = {T:g}", f"student, T = {T:g}", "gradient of soft term", "of cross-entropy"]
        return [head, *([self.classes[k], percent(now["p_t"][k]), percent(now["p_s"][k]), f"{now['soft'][k]:+z.3f}",
                         f"{now['hard'][k]:+z.3f}"] for k in self._shown(image))]

    def __repr__(self) -> str:
        image, T = self.image.value, self.temperature.value
        now = self.numbers(image, T)
        return (f"TemperatureExplorer(image {image} of {len(self.y)}, T = {T:g}: entropy {now['entropy_t']:.1f} and "
                f"{now['entropy_s']:.1f} nats, KL {now['kl']:.1f})")

    def _shown(self, image: int) -> list[int]:
        """The classes in the picture, from top to bottom; the same at every temperature."""
        if len(self.classes) <= MOST:
            return list(range(len(self.classes)))
        shown = self.z_t[image].argsort(descending=True, stable=True).tolist()[:MOST]
        return shown if self.y[image] in shown else [*shown[:-1], self.y[image]]

    def _artists(self) -> dict:
        rows, figure = range(len(self._shown(0))), canvas(9.6, 4.4)
        grid = figure.add_gridspec(2, 3, width_ratios=[1.05, 1.5, 1.5], height_ratios=[1.9, 1])
        photo, text = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
        left, right = figure.add_subplot(grid[:, 1]), figure.add_subplot(grid[:, 2])
        for ax in (photo, text):
            ax.axis("off")
        self.pixels = photo.imshow(self.images[0], cmap="gray_r", vmin=0, vmax=255)
        self.caption = photo.set_title(" ", fontsize=10, parse_math=False)
        self.note = text.text(0.5, 1, " ", ha="center", va="top", fontsize=8.5, family="monospace", parse_math=False)
        widest = max((short(name) for name in self.classes), key=len)
        self.names = [left.text(-0.03, row, widest, ha="right", va="center", weight="bold", parse_math=False,
                                transform=left.get_yaxis_transform()) for row in rows]
        self.bars, colours = [], iter(COLOURS)
        for ax, names in ((left, ("teacher", "student")), (right, ("soft: $T(p_s-p_t)$", "hard: $p_s-y$"))):
            for i, name in enumerate(names):
                places = [row + 0.4 * (i - 0.5) for row in rows]
                self.bars.append(ax.barh(places, [0.0] * len(rows), 0.4, label=name, color=next(colours)))
            ax.set_yticks(rows, [""] * len(rows))
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.grid(axis="x", color=PALE)
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
            ax.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        left.set(xlim=(0, 1), xlabel="probability at T")
        right.set(xlim=(-1, 1), xlabel="gradient of the loss with respect to $z_s$")
        right.spines["left"].set_position("zero")
        for ax in (left, right):
            ax.tick_params(axis="y", length=0)
        self.right = right
        moving = [bar for bars in self.bars for bar in bars]
        return {"figure": figure, "moving": [self.pixels, self.caption, self.note, *self.names, *moving]}

    def _draw(self) -> float:
        image, T = self.image.value, self.temperature.value
        now, shown, label = self.numbers(image, T), self._shown(image), self.y[image]
        for bars, values in zip(self.bars, (now["p_t"], now["p_s"], now["soft"], now["hard"]), strict=True):
            for bar, k in zip(bars, shown, strict=True):
                bar.set_width(values[k].item())
        for text, k in zip(self.names, shown, strict=True):
            text.set(text=short(self.classes[k]), fontweight="bold" if k == label else "normal")
        self.right.set_xlim(-1.05 * self.limits[image], 1.05 * self.limits[image])
        self.pixels.set_data(self.images[image])
        self.caption.set_text(f"image {image}: {short(self.classes[label])}")
        lines = [f"{f'T = {T:g}':10}{'teacher':>8} {'student':>8}",
                 f"entropy   {now['entropy_t']:8.2f} {now['entropy_s']:8.2f}"]
        if now["third"] is not None:
            lines.append(f"2nd : 3rd {now['ratio_t']:8.3g} {now['ratio_s']:8.3g}")
        self.note.set_text("\n".join([*lines, f"KL(t ‖ s) {now['kl']:8.3f} nats    "]))
        return self.limits[image]


def _round_up(size: float) -> float:
    """1, 2, 5, 10, 20, ...: the first that is not below `size`. One scale for an image, whatever T is."""
    return next(limit for e in itertools.count() for limit in (10**e, 2 * 10**e, 5 * 10**e) if limit >= size)


def _push(what: str, formula: str, gradient: Tensor, name: Sequence[str]) -> str:
    """The class that a gradient moves most, and which way: descent raises a logit whose gradient is negative."""
    size = gradient.abs()
    k = (size >= size.max() * (1 - 1e-9)).int().argmax().item()     # of two that are equal but for rounding, the first
    way = "raises" if gradient[k] < 0 else "lowers"
    if gradient.abs().max() < 0.0005:
        return f"{what}: its gradient, {formula}, is below 0.0005 for every class."
    return f"{what}: its gradient, {formula}, is largest for “{name[k]}”, {gradient[k]:+.3f}: descent {way} that logit."
