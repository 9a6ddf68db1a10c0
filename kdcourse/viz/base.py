"""What every picture of the course shares: colours that colour-blind readers can tell apart, and a way to show it.

A drawing function takes arrays and an axis (or makes one) and returns the axis. It never shows, computes or trains.
"""

import io
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import PIL.Image
import torch
from IPython.display import Image, display
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

# Okabe & Ito 2008, "Color Universal Design", in the order in which the course uses them; in the place of their yellow,
# which is hardly seen on white, the olive of Tol 2021, "Colour Schemes", figure 4
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
MARKERS = "osD^vP*X"
LINES = ("-", "--", ":", "-.")


def look(i: int) -> dict:
    """Colour and marker of curve or class `i`: a pair of its own for each of the first 64, then from the beginning."""
    n = len(COLOURS)
    return {"color": COLOURS[i % n], "marker": MARKERS[(i + 3 * (i // n)) % n]}


def check_share(mean: float, where: str) -> float:
    """The mean of accuracies, if they lie in [0, 1]. Raises ValueError, saying of what, for percent."""
    if not 0 <= mean <= 1:
        raise ValueError(f"accuracies lie in [0, 1]; the mean {where} is {mean:g}: divide percent by 100")
    return mean


def records(rows: Iterable[Mapping], *keys: str) -> list[Mapping]:
    """The rows as a list, if they are dicts that hold these keys.

    Raises TypeError for what is no list of rows (a table of pandas iterates over its columns), and ValueError, naming
    what there is, when a row lacks a key.
    """
    if hasattr(rows, "to_dict"):
        raise TypeError(f"rows are needed, a dict for each, and this is a {type(rows).__name__}: of a table, "
                        "frame.to_dict('records') makes them")
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
        raise TypeError(f"rows are needed, a list with a dict for each; this is {rows!r:.100}")
    rows = list(rows)
    for row in rows:
        if not isinstance(row, Mapping):
            raise TypeError(f"rows are needed, a list with a dict for each; one of these is {row!r:.100}")
        if lacking := [key for key in keys if key not in row]:
            raise ValueError(f"a row lacks {lacking[0]!r}; it has: {', '.join(map(str, row))}")
    return rows


def pixels(images) -> Tensor:
    """Images (N, C, H, W) on the CPU; ValueError unless they are at least one, of 1 or 3 channels, and bytes or floats
    in [0, 1]."""
    images = torch.as_tensor(images).detach().cpu()
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"images are (N, 1, H, W) or (N, 3, H, W), at least one; these are {tuple(images.shape)}")
    if images.dtype != torch.uint8 and not (images.is_floating_point() and 0 <= images.min() <= images.max() <= 1):
        raise ValueError("images are bytes or floats in [0, 1]: show them as they were before they were normalised")
    return images


def axis(ax, *, size: tuple[float, float] = (6.0, 3.4)):
    """`ax`, or the axis of a new figure of `size` inches."""
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def box(ax, x: float, y: float, half: float | None, tall: float | None, words: str, colour: str = "white", *,
        edge: str = "0.3", width: float = 1.0, pad: float = 0.02, dashed: bool = False, size: float = 8) -> None:
    """A box with rounded corners around (x, y) that reaches `half` to both sides and `tall` up and down, with its words
    in it; without `half`, as large as its words need."""
    style = {"facecolor": colour, "edgecolor": edge, "linewidth": width, "linestyle": "--" if dashed else "-"}
    if half is None:
        style["boxstyle"] = f"round,pad={pad}"
    else:
        ax.add_patch(FancyBboxPatch((x - half, y - tall), 2 * half, 2 * tall, boxstyle=f"round,pad={pad}", **style))
    ax.text(x, y, words, ha="center", va="center", fontsize=size, bbox=style if half is None else None)


def arrow(ax, start: Sequence[float], end: Sequence[float], colour: str = "black", *, both: bool = False,
          style: str = "->", head: float = 12, width: float = 1.5, bend: float = 0.0, gap: float = 2) -> None:
    """An arrow between two points; with a head at each end if it goes `both` ways. `bend` is its height over its
    length, and it ends a `gap` of so many points before each of them."""
    ax.annotate("", end, start, arrowprops={
        "arrowstyle": f"<{style}" if both else style, "color": colour, "linewidth": width, "mutation_scale": head,
        "connectionstyle": f"arc3,rad={bend}", "shrinkA": gap, "shrinkB": gap})


def legend(ax, names: Sequence):
    """What is what: inside the axis; of more than eight beside it, where they hide nothing."""
    if len(names) <= 8:
        return ax.legend(frameon=False)
    columns = -(-len(names) // 16)
    return ax.legend(frameon=False, fontsize="small", ncols=columns, loc="upper left", bbox_to_anchor=(1, 1))


def show(figure=None, *, alt: str, colours: int | None = 256) -> None:
    """Show the figure (the current one, if none is given) once, with a text for readers who cannot see it.

    A palette of up to 256 `colours`, the most fitting ones, makes a stored notebook a third as large; None keeps them
    all, for a picture that is read by a colour bar.
    """
    figure = figure or plt.gcf()
    drawn, png = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    plt.close(figure)
    with PIL.Image.open(drawn) as picture:
        picture = picture.convert("RGB")
        picture = picture if colours is None else picture.quantize(colours, dither=PIL.Image.Dither.NONE)
        picture.save(png, "png", optimize=True)
    display(Image(data=png.getvalue(), alt=alt))
