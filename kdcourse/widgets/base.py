"""What the explorers share: controls that a keyboard reaches, a picture with a text, and the same in words.

An explorer computes everything slow when it is made. What stands still in its picture is drawn once and kept; a change
draws the rest over it. pyplot knows nothing of it. Where no kernel runs, a page shows the picture it had when it ran.
"""

import base64
import html
import io
from collections.abc import Hashable, Sequence
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import PIL.Image
import torch
import traitlets
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor

from kdcourse.viz.base import look as look
from kdcourse.viz.base import pixels

LABELS = {"description_width": "initial"}  # a label as wide as its words
PALE = "0.85"                              # what is there to compare with
HINT = "<small>By keyboard: Space opens a list, arrows and Enter choose.</small>"   # closed, it gets no arrow keys


def choice(label: str, options: Sequence, value) -> ipywidgets.Dropdown:
    """A dropdown under a visible label: what a keyboard and a screen reader use. Other values cannot be set."""
    return ipywidgets.Dropdown(options=options, value=value, description=label, style=LABELS)


def twin(control: ipywidgets.Dropdown, label: str) -> ipywidgets.SelectionSlider:
    """A slider over the same values that moves with the dropdown and moves it. Its handle has no name that a screen
    reader could say, so it is never the only control. The dropdown tells its value: what ipywidgets would write beside
    it is a field that takes the focus, has no name either, and ignores what is typed into it."""
    slider = ipywidgets.SelectionSlider(options=control.options, value=control.value, description=label, style=LABELS,
                                        readout=False)
    ipywidgets.link((control, "value"), (slider, "value"))
    return slider


class Spoken(anywidget.AnyWidget):
    """HTML that a screen reader says when it changes: its element stays in the page, as it must for that, while
    `ipywidgets.HTML` would make another one."""

    _esm = Path(__file__).with_name("spoken.js")
    value = traitlets.Unicode().tag(sync=True)


class Explorer(ipywidgets.VBox):
    """Controls above a picture above the words. A change of any control changes the picture and the words.

    A subclass makes a figure and hands it over with those of its artists that a control moves. It says what follows
    from the controls: `_draw`, `alt`, `sentences`, `table`, and a `__repr__` of less than 100 characters. With `front`,
    a widget that is linked with the controls, a reader sees that one, and the picture where no kernel runs.
    """

    def __init__(self, rows: Sequence[Sequence[ipywidgets.Widget]], *, figure: Figure, moving: Sequence[Artist],
                 front: ipywidgets.DOMWidget | None = None):
        self.figure, self.moving, self.still, self.png = figure, moving, {}, b""
        self.picture, self.readout = ipywidgets.HTML(), Spoken()
        self.as_table = ipywidgets.Checkbox(description="Numbers as a table", indent=False)
        rows = [*rows[:-1], [*rows[-1], self.as_table, ipywidgets.HTML(HINT)]]
        wrapped = ipywidgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="0 1.5em")
        super().__init__([front] if front else [
            *(ipywidgets.HBox(row, layout=wrapped) for row in rows), self.picture, self.readout])
        for control in (control for row in rows for control in row if isinstance(control, ipywidgets.Dropdown)):
            control.observe(self._show, "value")    # a slider is heard through its dropdown
        self.as_table.observe(self._tell, "value")
        figure.draw_without_rendering()             # places are found once: that is half the time of a redraw
        figure.set_layout_engine("none")
        for artist in moving:
            artist.set_animated(True)               # `canvas.draw` leaves it out
        self._show()

    def alt(self) -> str:
        """What is in the picture, in one sentence."""
        raise NotImplementedError

    def sentences(self) -> list[str]:
        """What the picture shows, in words and with its numbers."""
        raise NotImplementedError

    def table(self) -> list[list[str]]:
        """The numbers of the picture, row by row; the first row and the first column are headings."""
        raise NotImplementedError

    def _draw(self) -> Hashable:
        """Give the artists their data. Returns what the still part of the picture depends on."""
        raise NotImplementedError

    def _show(self, change=None) -> None:
        key, canvas, png = self._draw(), self.figure.canvas, io.BytesIO()
        if key not in self.still:
            canvas.draw()
            self.still[key] = canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self.still[key])
        for artist in self.moving:
            artist.draw(canvas.get_renderer())
        imsave(png, np.asarray(canvas.buffer_rgba()), format="png", pil_kwargs={"compress_level": 1})
        self.png = png.getvalue()
        width, height = canvas.get_width_height()   # said beforehand, so that the page does not jump
        text = html.escape(self.alt(), quote=True)
        data = base64.b64encode(self.png).decode()  # ipywidgets.Image has no place for a text, <img> has
        self.picture.value = (f'<img alt="{text}" width="{width}" height="{height}" style="display: block; '
                              f'max-width: 100%; height: auto" src="data:image/png;base64,{data}">')
        self._tell()

    def _tell(self, change=None) -> None:
        words = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.sentences())
        table = _html_table(self.table()) if self.as_table.value else ""
        self.readout.value = f'<ul style="margin-top: 0">{words}</ul>{table}'

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs) | {"image/png": base64.b64encode(self.png).decode()}
        return bundle, {"image/png": {"alt": " ".join([self.alt(), *self.sentences()])}}


def canvas(width: float, height: float) -> Figure:
    """A figure of so many inches that pyplot does not know of."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def gallery(images, y, classes) -> tuple[list[np.ndarray], list[int], list[str]]:
    """Images as arrays (H, W) or (H, W, 3) to be shown, labels and names; ValueError where they do not fit."""
    images, y, classes = pixels(images), torch.as_tensor(y).cpu(), [str(c) for c in classes]
    if y.shape != images.shape[:1] or y.is_floating_point():
        raise ValueError(f"labels are one integer per image: {len(images)} images, but {y.dtype} of {tuple(y.shape)}")
    if not 0 <= y.min() <= y.max() < len(classes):
        raise ValueError(f"labels run from {y.min()} to {y.max()}, but there are {len(classes)} class names")
    images = images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
    return [image.permute(1, 2, 0).squeeze(-1).numpy() for image in images], y.tolist(), classes


def address(image: np.ndarray) -> str:
    """An image (H, W) or (H, W, 3) of bytes as an address that holds it; grey is dark on light, as in the pictures."""
    file = io.BytesIO()
    PIL.Image.fromarray(255 - image if image.ndim == 2 else image).save(file, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def finite(name: str, values: Tensor, n: int) -> Tensor:
    """`values` (N, ...) in double precision on the CPU; ValueError unless there are `n` rows, all of them finite."""
    values = torch.as_tensor(values).detach().cpu().double()
    if values.ndim != 2 or len(values) != n:
        raise ValueError(f"{name} are one row per image: {n} images, but {tuple(values.shape)}")
    wrong = (~values.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(f"{name} are not finite for {len(wrong)} of {n} images, the first of them image {wrong[0]}")
    return values


def percent(share: float) -> str:
    """A share in [0, 1] as it is said: 96.3 %."""
    return f"{100 * share:.1f} %"


def short(name: str, length: int = 14) -> str:
    """A name that fits into a picture. Its end is kept: many names differ only there."""
    return name if len(name) <= length else f"{name[:length - 5]}…{name[-4:]}"


def _html_table(rows: list[list[str]]) -> str:
    first, *others = [[html.escape(cell) for cell in row] for row in rows]
    head = "".join(f'<th scope="col" style="padding: 0 .6em">{cell}</th>' for cell in first)
    body = "".join(f'<tr><th scope="row">{row[0]}</th>' + "".join(f'<td style="text-align: right">{cell}</td>'
                   for cell in row[1:]) + "</tr>" for row in others)
    return f'<div style="overflow-x: auto"><table>' f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
