"""What every picture of the course shares: colours that colour-blind readers can tell apart, and a way to show it.

A drawing function takes arrays and an axis (or makes one) and returns the axis. It never shows, computes or trains.
"""

import io

import matplotlib.pyplot as plt
import PIL.Image
from IPython.display import Image, display

# Okabe & Ito 2008, "Color Universal Design"; in the order in which the course uses them
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vP*X"


def axis(ax, *, size: tuple[float, float] = (6.0, 3.4)):
    """`ax`, or the axis of a new figure of `size` inches."""
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def show(figure=None, *, alt: str, colours: int = 256) -> None:
    """Show the figure (the current one, if none is given) once, with a text for readers who cannot see it.

    A palette of up to 256 `colours`, the most fitting ones, makes a stored notebook a third as large.
    """
    figure = figure or plt.gcf()
    drawn, png = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    plt.close(figure)
    with PIL.Image.open(drawn) as picture:
        picture.convert("RGB").quantize(colours, dither=PIL.Image.Dither.NONE).save(png, "png", optimize=True)
    display(Image(data=png.getvalue(), alt=alt))
