"""What every explorer owes its reader: each control moves picture and words, nothing else does, and both are there
for a keyboard, a screen reader, a colour-blind reader, and a page without a kernel."""

import base64
import io
from html.parser import HTMLParser

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.colors import to_hex
from PIL import Image
from traitlets import TraitError

from kdcourse.viz.base import COLOURS
from kdcourse.widgets import (
    CorrelationExplorer,
    EmbeddingExplorer,
    FidelityExplorer,
    SweepExplorer,
    TemperatureExplorer,
)

NAMES = ("<b>zero</b>", "cost in $x_1", 'a "two" & more')    # HTML and mathematics that must stay text
GREYS = {"#000000", "#ffffff", "none"}


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pixels(*shape, seed=0):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def temperature():
    z_t = torch.tensor([[3.0], [3.0], [30.0], [3.0]]) * draws(4, 3)  # the third image needs a wider scale
    return TemperatureExplorer(pixels(4, 1, 8, 8), z_t, 3 * draws(4, 3, seed=1), torch.tensor([0, 1, 2, 1]), NAMES,
                               temperatures=(1, 2.5, 4, 20))


def sweep():
    rows = [{"T": T, "alpha": alpha, "seed": seed, NAMES[0]: 0.9 + 0.005 * alpha * T + 0.001 * seed * (1 + seed * T)}
            for T in (1, 4, 8) for alpha in (0, 0.5, 0.9) for seed in range(3)]
    return SweepExplorer(rows, NAMES[0], images=597)


def embedding():
    y = torch.arange(24) % 3
    features = 4 * draws(3, 5)[y] + draws(24, 5, seed=1)
    return EmbeddingExplorer({"teacher": features, "student alone": draws(24, 4), "distilled": features + draws(24, 5)},
                             y, pixels(24, 3, 6, 9), NAMES, perplexities=(3, 5, 7), k=4)


def correlation():
    y = torch.arange(24) % 3
    z_t = 3 * draws(3, 3)[y] + draws(24, 3, seed=1)
    students = {"<b>zero</b>": draws(24, 3, seed=2), "cost in $x_1": z_t + draws(24, 3, seed=3)}
    return CorrelationExplorer(z_t, students, y, NAMES, temperatures=(1, 2.5, 4, 20))


def fidelity():
    y = torch.arange(24) % 3
    z = 3 * draws(3, 3)[y] + draws(24, 3, seed=1)
    answers = {"<b>zero</b>": z, "cost in $x_1": z + 2 * draws(24, 3, seed=3), "alone": 2 * draws(24, 3, seed=2)}
    return FidelityExplorer(answers, pixels(24, 1, 8, 8), y, NAMES, ranks=5)


@pytest.fixture(scope="module", autouse=True)
def no_figure_of_others():
    plt.close("all")    # what tests before these have drawn


@pytest.fixture(scope="module", params=[temperature, sweep, embedding, correlation, fidelity],
                ids=lambda make: make.__name__)
def made(request):
    explorer = request.param()
    return explorer, {control: control.value for control in controls(explorer)}


@pytest.fixture
def explorer(made):
    yield made[0]
    for control, value in made[1].items():
        control.value = value


def parts(widget):
    """The widget and everything inside it; for one that has a front end, what it keeps for it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)
    if hasattr(widget, "front"):
        yield from (widget.image, widget.temperature, widget.as_table)


def controls(explorer, kinds=(ipywidgets.Dropdown, ipywidgets.SelectionSlider, ipywidgets.Checkbox)):
    return [part for part in parts(explorer) if isinstance(part, kinds)]


def values_of(control):
    return [value for _, value in control.options]


def image_in(explorer) -> dict:
    """The attributes of the one <img> in the picture."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(explorer.picture.value)
    (tag, attributes), = found
    assert tag == "img"
    return attributes


def test_every_value_of_every_control_changes_the_picture_and_the_words(explorer):
    for control in controls(explorer, (ipywidgets.Dropdown, ipywidgets.SelectionSlider)):
        for value in reversed(values_of(control)):
            if value == control.value:
                continue
            before = explorer.png, explorer.picture.value, explorer.readout.value
            control.value = value
            after = explorer.png, explorer.picture.value, explorer.readout.value
            assert [a == b for a, b in zip(before, after, strict=True)] == [False] * 3, (control.description, value)


def test_the_picture_depends_on_the_controls_alone_and_not_on_what_was_drawn_before(explorer):
    first = explorer.png, explorer.readout.value
    for control in controls(explorer, ipywidgets.Dropdown):
        start = control.value
        for value in [*values_of(control), start]:
            control.value = value
        assert (explorer.png, explorer.readout.value) == first, control.description


def test_the_part_that_is_kept_holds_nothing_that_a_control_moves(explorer):
    for control in controls(explorer, ipywidgets.Dropdown):
        for value in values_of(control):
            control.value = value
            picture = explorer.png
            explorer.still.clear()
            explorer._show()
            assert explorer.png == picture, (control.description, value)


def test_a_slider_and_its_dropdown_stay_in_step_and_a_change_draws_once(explorer, monkeypatch):
    drawn, draw = [], explorer._draw
    monkeypatch.setattr(explorer, "_draw", lambda: drawn.append(1) or draw())
    dropdowns = controls(explorer, ipywidgets.Dropdown)
    sliders = controls(explorer, ipywidgets.SelectionSlider)
    assert sliders or hasattr(explorer, "front")
    for slider in sliders:
        dropdown, = (each for each in dropdowns if each.options == slider.options)
        first, second = [value for value in values_of(slider) if value != slider.value][:2]
        for moved, other, value in ((slider, dropdown, first), (dropdown, slider, second)):
            drawn.clear()
            moved.value = value
            assert (other.value, len(drawn)) == (value, 1)


def test_the_artists_are_kept_and_what_stands_still_is_drawn_once(explorer, monkeypatch):
    def visit():
        for control in controls(explorer, ipywidgets.Dropdown):
            for value in values_of(control):
                control.value = value

    visit()
    artists, drawn = {id(artist) for artist in explorer.figure.findobj()}, []
    monkeypatch.setattr(explorer.figure.canvas, "draw", lambda: drawn.append(1))
    visit()
    assert {id(artist) for artist in explorer.figure.findobj()} == artists and not drawn


def test_a_value_outside_the_choices_cannot_be_set(explorer):
    for control in controls(explorer, (ipywidgets.Dropdown, ipywidgets.SelectionSlider)):
        before = control.value, explorer.png
        with pytest.raises(TraitError):
            control.value = -1234.5
        assert (control.value, explorer.png) == before


def test_every_control_has_a_label_of_its_own_and_a_keyboard_reaches_all_there_is(explorer):
    kinds = {type(part).__name__ for part in parts(explorer)} - {type(explorer).__name__}
    assert kinds == ({"Front", "Dropdown", "Checkbox"} if hasattr(explorer, "front") else
                     {"HBox", "Dropdown", "SelectionSlider", "Checkbox", "HTML", "Spoken"})
    labels = [control.description for control in controls(explorer)]
    assert all(labels) and len(set(labels)) == len(labels)
    for slider in controls(explorer, ipywidgets.SelectionSlider):
        assert slider.description.endswith("(slider)")


def test_the_checkbox_adds_the_numbers_as_a_table_and_leaves_the_picture_alone(explorer):
    assert "<table>" not in explorer.readout.value
    picture = explorer.picture.value
    explorer.as_table.value = True
    first, *others = explorer.table()
    assert explorer.readout.value.count("<tr>") == len(others) + 1
    assert explorer.readout.value.count('scope="col"') == len(first)
    assert {len(row) for row in others} == {len(first)}
    assert explorer.picture.value == picture
    explorer.as_table.value = False
    assert "<table>" not in explorer.readout.value


def test_the_words_are_the_sentences(explorer):
    text = []
    parser = HTMLParser()
    parser.handle_data = text.append
    parser.feed(explorer.readout.value)
    assert "".join(text) == "".join(explorer.sentences())
    assert all(sentence.endswith(".") for sentence in explorer.sentences())


def test_the_picture_has_a_text_and_is_the_png(explorer):
    attributes = image_in(explorer)
    assert attributes["alt"] == explorer.alt() and explorer.alt().endswith(".")
    assert [int(attributes[side]) for side in ("width", "height")] == list(explorer.figure.canvas.get_width_height())
    kind, data = attributes["src"].split(",")
    assert kind == "data:image/png;base64" and base64.b64decode(data) == explorer.png


def test_the_png_is_the_size_of_the_figure_and_not_blank(explorer):
    image = Image.open(io.BytesIO(explorer.png))
    assert image.format == "PNG" and list(image.size) == [round(side) for side in explorer.figure.bbox.size]
    shades, counts = np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0, return_counts=True)
    assert len(shades) > 50 and counts.max() < 0.95 * counts.sum()
    assert len(explorer.png) < 140_000  # in base64 an output of a notebook stays below 200,000 bytes


def test_a_page_without_a_kernel_shows_the_picture_with_the_words_as_its_text(explorer):
    data, metadata = DisplayFormatter().format(explorer)
    assert set(data) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert base64.b64decode(data["image/png"]) == explorer.png and data["text/plain"] == repr(explorer)
    alt = metadata["image/png"]["alt"]
    assert alt.startswith(explorer.alt()) and all(sentence in alt for sentence in explorer.sentences())


def test_the_repr_is_short_has_no_address_and_is_that_of_another_one_made_alike(explorer, request):
    text = repr(explorer)
    assert text.startswith(type(explorer).__name__ + "(") and len(text) < 100
    assert "\n" not in text and " at 0x" not in text
    again = {"TemperatureExplorer": temperature, "SweepExplorer": sweep, "EmbeddingExplorer": embedding,
             "CorrelationExplorer": correlation, "FidelityExplorer": fidelity}
    assert repr(again[type(explorer).__name__]()) == text


def test_names_are_shown_as_they_are_and_not_as_markup(explorer):
    explorer.as_table.value = True
    assert "&lt;b&gt;zero&lt;/b&gt;" in explorer.readout.value
    for value in (explorer.readout.value, explorer.picture.value):
        assert "<b>" not in value
    assert "<b>zero</b>" in " ".join(explorer.sentences())


def test_the_colours_are_the_palette_of_the_course(explorer):
    lines = [line for ax in explorer.figure.axes for line in ax.lines]
    faces = {to_hex(line.get_color()).upper() for line in lines if line.get_marker() not in (None, "None", "|", "_")}
    patches = [patch for ax in explorer.figure.axes for patch in ax.patches]
    faces |= {to_hex(patch.get_facecolor()).upper() for patch in patches if patch.fill}
    assert len(faces) >= 2 and faces <= set(COLOURS) | {grey.upper() for grey in GREYS}


def test_pyplot_knows_of_no_figure(explorer):
    assert plt.get_fignums() == [] and explorer.figure.canvas.manager is None
