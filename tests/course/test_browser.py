"""What a reader of notebooks with explorers meets: JupyterLab and Chromium, explorers moved by keyboard and by mouse,
and the exported page without a kernel.

`KDCOURSE_MUST_BROWSE=1` makes a missing browser a failure, `KDCOURSE_SCREENSHOTS=folder` keeps pictures to look at.
"""

import json
import os
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import browser
import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from kdcourse import worksheets

ROOT = Path(__file__).parents[2]
LESSON = ROOT / "notebooks" / "02_soft_targets.ipynb"    # one that has explorers
CELLS = (       # a notebook that has all of them, about networks that know nothing
    """import torch
from kdcourse import data
from kdcourse.widgets import CorrelationExplorer, EmbeddingExplorer, FidelityExplorer, LatencyExplorer
from kdcourse.widgets import SweepExplorer, TemperatureExplorer

draw = torch.Generator().manual_seed(0)
test, classes = data.load("digits").test, data.load("digits").classes
z_t, z_s, other = (4 * torch.randn(40, 10, generator=draw) for _ in range(3))""",
    "TemperatureExplorer(test.x[:12], z_t[:12], z_s[:12], test.y[:12], classes)",
    """rows = [{"T": T, "alpha": alpha, "seed": seed, "valid_accuracy": torch.rand((), generator=draw).item()}
        for T in (1.0, 2.0, 4.0, 8.0) for alpha in (0.1, 0.5, 0.9) for seed in range(3)]
alone = [{"seed": seed, "valid_accuracy": torch.rand((), generator=draw).item()} for seed in range(3)]
SweepExplorer(rows, "valid_accuracy", baseline=alone, images=100)""",
    "EmbeddingExplorer({'teacher': z_t, 'student': z_s}, test.y[:40], test.x[:40], classes)",
    "CorrelationExplorer(z_t, {'hard labels': z_s, 'KD': other}, test.y[:40], classes)",
    "FidelityExplorer({'teacher': z_t, 'hard labels': z_s, 'KD': other}, test.x[:40], test.y[:40], classes)",
    """times = [{"family": family, "network": network, "runtime": runtime, "batch": batch, "threads": threads,
          **dict(zip(("p10", "median", "p90"), (1e-3 + torch.rand(3, generator=draw)).sort().values.tolist()))}
         for family, network in (("digits", "large"), ("digits", "small"), ("clothes", "thin"))
         for runtime in ("torch", "onnx") for batch in (8, 64) for threads in (2, 4)]
LatencyExplorer(times)""",
)
DROPDOWNS = {   # of each explorer, with the slider that moves with it
    "TemperatureExplorer": {"Image": None, "Temperature T": "T (slider)"},
    "SweepExplorer": {"Temperature T": "T (slider)", "Share of the soft term, alpha": "alpha (slider)"},
    "EmbeddingExplorer": {"Point": "Point (slider)", "Perplexity": None},
    "CorrelationExplorer": {"Student": None, "Correlations between": None, "Temperature T": "T (slider)"},
    "FidelityExplorer": {"First network": None, "Second network": None, "Rank by KL": "Rank (slider)"},
    "LatencyExplorer": {"Compared with": None, "Images at once": None, "Threads": None},
}
SLIDERS = [(kind, slider) for kind, controls in DROPDOWNS.items() for slider in controls.values() if slider]
TABLE = "Numbers as a table"
IN_THE_PAGE = {"TemperatureExplorer"}       # the page draws it, as a table with a bar in each cell
DIRECTION = "KL(teacher ‖ student)"
PICTURE = "it => it.querySelector('img').src + (it.querySelector('.kd-bars')?.outerHTML ?? '')"
ROUND_TRIP = 1.5    # seconds from a key to the picture, in the median; an idle machine needs a tenth of it


def said(kind: str, chosen: dict[str, str]) -> list[str]:
    """What the words under the picture must say when these options are chosen."""
    image = re.fullmatch(r"(\d+): (.*)", chosen.get("Image") or chosen.get("Point") or "")
    found = [f"Image {image[1]} has the label “{image[2]}”."] if image else []
    if kind == "TemperatureExplorer":
        found.append(f"At T = {chosen['Temperature T']} the teacher gives most to")
    if kind == "SweepExplorer":
        T, alpha = chosen["Temperature T"], chosen["Share of the soft term, alpha"]
        found += [f"At T = {T}, alpha = {alpha}, ", f"Over T at alpha = {alpha} ", f"Over alpha at T = {T} "]
    if kind == "EmbeddingExplorer":
        found.append(f"at perplexity {chosen['Perplexity']}, ")
    if kind == "CorrelationExplorer":
        found += [f"At T = {chosen['Temperature T']}, correlations between {chosen['Correlations between']}, ",
                  f": teacher and {chosen['Student']} differ by "]
    if kind == "FidelityExplorer":
        found += [f"{chosen['First network']} and {chosen['Second network']} give the same prediction for ",
                  f"At rank {chosen['Rank by KL']} is image "]
    if kind == "LatencyExplorer":
        found += [f"For {chosen['Images at once']} images at once on {chosen['Threads']} threads the quickest is ",
                  f"A tenth of the turns of {_named(chosen['Compared with'])} took less than "]
    return found


def _named(option: str) -> str:
    """What a text calls this option: the number of an image, a network in its runtime."""
    return re.sub(r"(.+), (.+) · .+", r"\1 in \2", option.split(":")[0])


class Explorer:
    """One explorer in the page, as its reader sees it."""

    def __init__(self, page, kind: str):
        self.page, self.kind, self.controls = page, kind, DROPDOWNS[kind]
        each = [page.get_by_role("combobox", name=name, exact=True) for name in self.controls]
        self.root = page.locator(".widget-vbox").filter(has=each[0]).filter(has=each[1])
        self.readout = self.root.get_by_role("status")

    def dropdown(self, name: str):
        return self.root.get_by_role("combobox", name=name, exact=True)

    def slider(self, name: str):
        return self._row(name).get_by_role("slider")

    def at(self, name: str) -> int:
        """The place of a slider: the number of an option."""
        return round(float(self.slider(name).evaluate("it => it.getAttribute('aria-valuenow') ?? it.value")))

    def extra(self) -> list:
        """What there is to move beside dropdowns and sliders."""
        if self.kind in IN_THE_PAGE:
            return [self.root.get_by_role("radio", name=DIRECTION, exact=True)]
        return [self.root.get_by_role("checkbox", name=TABLE, exact=True)]

    def chosen(self) -> dict[str, str]:
        text = "it => it.selectedOptions[0].textContent"
        return {name: _plain(self.dropdown(name).evaluate(text)) for name in self.controls}

    def options(self, name: str) -> list[str]:
        return [_plain(text) for text in self.dropdown(name).locator("option").all_text_contents()]

    def picture(self) -> str:
        return self.root.evaluate(PICTURE)

    def words(self) -> str:
        return _plain(self.readout.inner_text())

    def moves(self, act, name: str, *, to: str) -> None:
        """`act` chooses the option `to` of dropdown `name`, and nothing else: picture and words follow, twins agree."""
        wanted, picture, words = self.chosen() | {name: to}, self.picture(), self.words()
        assert self.chosen() != wanted
        act()
        _until(self.page, lambda: self.chosen() == wanted, f"{self.chosen()} is chosen, and not {wanted}")
        _until(self.page, lambda: self.picture() != picture, f"{self.kind}, {name}: the picture did not change")
        self.agrees(words)

    def agrees(self, other_words: str = "") -> None:
        """Words, alternative text and sliders say what the dropdowns say; the words are not `other_words`."""
        now = self.chosen()
        _until(self.page, lambda: all(part in self.words() for part in said(self.kind, now)),
               f"the words do not say {said(self.kind, now)}: {self.words()}")
        assert self.words() != other_words
        alt = self.root.locator("img").get_attribute("alt")
        for option in now.values():
            assert re.search(rf"(?<![\d.]){re.escape(_named(option))}(?![\d])", alt), (option, alt)
        for name, slider in self.controls.items():
            if slider:
                place = self.options(name).index(now[name])
                _until(self.page, lambda s=slider, p=place: self.at(s) == p, f"{slider} is not at {now[name]}")

    def next_to(self, name: str) -> tuple[str, str]:
        """The key that leads to a neighbouring option, and that option."""
        options, now = self.options(name), self.chosen()[name]
        place = options.index(now)
        return ("ArrowUp", options[place - 1]) if place == len(options) - 1 else ("ArrowDown", options[place + 1])

    def _row(self, name: str):
        return self.root.locator(".widget-hslider, .kd-label").filter(has_text=name)


@pytest.fixture(scope="module")
def chrome():
    with browser.started(browser.chromium()) as started:
        yield started


@contextmanager
def opened(chrome, root: Path, path: Path, *, run: bool) -> Iterator[SimpleNamespace]:
    """The notebook in JupyterLab, after "Run All Cells" if it is to `run`: its `path`, the `page`, `stored` (the
    pictures it showed before anything ran), `saved` (the file in which JupyterLab saves it)."""
    copy = root / "served" / "notebooks" / path.name
    copy.parent.mkdir(parents=True)
    shutil.copy(path, copy)
    with page_of(chrome, root, copy) as page:
        stored = _shown(page, [f"data:image/png;base64,{png}" for png, _ in _stills(copy).values()])
        if run:
            _run_all(page, copy)
        yield SimpleNamespace(path=path, page=page, stored=stored, saved=copy)


@contextmanager
def page_of(chrome, root: Path, notebook: Path) -> Iterator:
    """The page in which a JupyterLab that serves `root`/served shows a notebook that lies there."""
    with browser.lab(root) as address:
        page = chrome.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(20_000)
        page.goto(address.format(notebook.relative_to(root / "served").as_posix()))
        page.get_by_text(re.compile(r"\| Idle$")).wait_for(timeout=60_000)
        assert page.locator(".jp-Notebook .jp-CodeCell").count() == len(_code(notebook))
        yield page
        page.close()


def _run_all(page, copy: Path) -> None:
    """Run all cells and save; every cell ran, and without an error."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    _finished(page, seconds=600)   # a hang, not a budget: the machine may be busy
    began = copy.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    _until(page, lambda: _saved(copy, began), "the notebook was not saved")
    for cell in _code(copy):
        for output in cell.outputs:
            if output.output_type == "error":
                traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
                pytest.fail(f"a cell ended in an error:\n{traceback}", pytrace=False)
        assert cell.execution_count, f"this cell did not run:\n{cell.source}"


@pytest.fixture(scope="module")
def explorers(chrome, tmp_path_factory):
    """A notebook with every explorer, executed once, opened and run again."""
    root = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    NotebookClient(notebook, kernel_name="python3", timeout=300, store_widget_state=False).execute()
    nbformat.write(notebook, root / "explorers.ipynb")
    with opened(chrome, root, root / "explorers.ipynb", run=True) as found:
        yield found


@pytest.fixture(scope="module")
def lesson(chrome, tmp_path_factory):
    """A lesson of the course as its reader opens it."""
    with opened(chrome, tmp_path_factory.mktemp("lab"), LESSON, run=False) as found:
        yield found


@pytest.fixture(params=["explorers", "lesson"])
def notebook(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def explorer_of(request):
    """Finds the explorer of a kind in the notebook that has them all."""
    page = request.getfixturevalue("explorers").page

    def find(kind: str) -> Explorer:
        page.keyboard.press("Escape")
        found = Explorer(page, kind)
        assert found.root.count() == 1, f"the notebook has {found.root.count()} of {kind}"
        found.root.scroll_into_view_if_needed()
        return found
    return find


@pytest.fixture(params=DROPDOWNS)
def explorer(explorer_of, request):
    return explorer_of(request.param)


def test_before_anything_runs_the_stored_pictures_of_the_explorers_show(notebook):
    pictures = _stills(notebook.path)
    assert len(pictures) >= 2 and (notebook.path == LESSON or pictures.keys() == DROPDOWNS.keys())
    assert notebook.stored == {f"data:image/png;base64,{png}" for png, _ in pictures.values()}


def test_every_dropdown_is_moved_by_keyboard_and_keeps_the_focus(explorer):
    for name in explorer.controls:
        control, (arrow, option) = explorer.dropdown(name), explorer.next_to(name)
        control.focus()
        # JupyterLab takes the arrows of a closed list for itself (jupyter-widgets/ipywidgets#3912)
        explorer.moves(lambda keys=("Space", arrow, "Enter"): _press(explorer.page, *keys), name, to=option)
        _has_focus(control)
        for key, option in (("End", explorer.options(name)[-1]), ("Home", explorer.options(name)[0])):
            if explorer.chosen()[name] != option:
                explorer.moves(lambda key=key: _press(explorer.page, key), name, to=option)
                _has_focus(control)
    _shot(explorer, "keyboard")


def test_past_its_last_option_a_dropdown_stays_there_and_goes_on_working(explorer):
    for name in explorer.controls:
        explorer.dropdown(name).focus()
        _press(explorer.page, "End", "Space", "ArrowDown", "Enter")
        last, others = explorer.options(name)[-1], explorer.options(name)[:-1]
        _until(explorer.page, lambda name=name, last=last: explorer.chosen()[name] == last, "not at its end")
        explorer.agrees()
        explorer.moves(lambda: _press(explorer.page, "Space", "ArrowUp", "Enter"), name, to=others[-1])


@pytest.mark.parametrize("kind, name", [("TemperatureExplorer", "Image"), ("EmbeddingExplorer", "Point")])
def test_the_number_of_an_image_is_typed_into_the_open_list(explorer_of, kind, name):
    explorer = explorer_of(kind)
    explorer.dropdown(name).focus()
    _press(explorer.page, "Home")
    _until(explorer.page, lambda: explorer.chosen()[name] == explorer.options(name)[0], "not at its beginning")
    explorer.agrees()
    explorer.page.wait_for_timeout(1200)   # what is typed later is another number
    explorer.moves(lambda: _press(explorer.page, "Space", "1", "0", "Enter"), name, to=explorer.options(name)[10])


@pytest.mark.parametrize("kind, slider", SLIDERS)
def test_every_slider_is_moved_by_keyboard_and_keeps_the_focus(explorer_of, kind, slider):
    explorer = explorer_of(kind)
    handle, name = explorer.slider(slider), _twin(kind, slider)
    options = explorer.options(name)
    handle.focus()
    _press(explorer.page, "Home")
    _until(explorer.page, lambda: explorer.chosen()[name] == options[0], "not at its beginning")
    _press(explorer.page, "ArrowLeft")    # goes nowhere
    explorer.agrees()
    for key, place in (("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("End", -1)):
        explorer.moves(lambda key=key: _press(explorer.page, key), name, to=options[place])
        _has_focus(handle)


@pytest.mark.parametrize("kind, slider", SLIDERS)
def test_every_slider_is_dragged_with_the_mouse(explorer_of, kind, slider):
    explorer = explorer_of(kind)
    handle, name = explorer.slider(slider), _twin(kind, slider)
    options = explorer.options(name)
    explorer.dropdown(name).select_option(index=1)
    _until(explorer.page, lambda: explorer.at(slider) == 1, f"{slider} did not follow {name}")
    explorer.agrees()
    for way, place in ((1, -1), (-1, 0)):
        explorer.moves(lambda way=way: _drag(explorer.page, handle, 400 * way), name, to=options[place])
    _shot(explorer, f"dragged {slider}")


def test_every_dropdown_is_opened_and_chosen_from_with_the_mouse(explorer):
    for name in explorer.controls:
        control, option = explorer.dropdown(name), explorer.next_to(name)[1]
        control.click()
        _press(explorer.page, "Escape")
        _has_focus(control)
        explorer.moves(lambda c=control, o=option, n=name: c.select_option(index=explorer.options(n).index(o)), name,
                       to=option)


@pytest.mark.parametrize("way", ["keyboard", "mouse"])
@pytest.mark.parametrize("kind", [kind for kind in DROPDOWNS if kind not in IN_THE_PAGE])
def test_the_checkbox_adds_the_table_takes_it_away_and_leaves_the_picture(explorer_of, kind, way):
    explorer = explorer_of(kind)
    (box,), table, picture = explorer.extra(), explorer.readout.get_by_role("table"), explorer.picture()
    words = explorer.words()
    explorer.readout.evaluate("it => { it.dataset.known = '1'; }")
    for wanted in (1, 0):
        box.focus()
        box.click() if way == "mouse" else _press(explorer.page, "Space")
        _until(explorer.page, lambda wanted=wanted: table.count() == wanted, "the table did not come, or stayed")
        assert box.is_checked() == bool(wanted) and explorer.picture() == picture
        _has_focus(box)
        if wanted:
            assert table.get_by_role("columnheader").count() > 1 and table.get_by_role("rowheader").count() > 1
            assert explorer.words().startswith(words) and len(explorer.words()) > len(words)
            _shot(explorer, "table")
    assert explorer.words() == words
    assert explorer.readout.get_attribute("data-known")  # it stays: a screen reader says what changes in it


@pytest.mark.parametrize("way", ["keyboard", "mouse"])
def test_the_divergence_is_turned_round_and_back(explorer_of, way):
    explorer = explorer_of("TemperatureExplorer")
    explorer.dropdown("Temperature T").select_option(index=0)
    one, other = (explorer.root.get_by_role("radio", name=name, exact=True) for name in (
        DIRECTION, "KL(student ‖ teacher)"))
    for now, then, key in ((one, other, "ArrowDown"), (other, one, "ArrowUp")):
        words, picture, chosen = explorer.words(), explorer.picture(), explorer.chosen()
        now.focus()
        then.check() if way == "mouse" else _press(explorer.page, key)
        _until(explorer.page, lambda then=then: then.is_checked(), "it was not turned")
        _has_focus(then)
        assert explorer.words() != words and explorer.picture() != picture and explorer.chosen() == chosen
        explorer.agrees()


def test_the_tab_key_goes_through_the_controls_from_first_to_last(explorer):
    wanted = []
    for name, slider in explorer.controls.items():
        wanted += [explorer.dropdown(name), explorer.slider(slider)] if slider else [explorer.dropdown(name)]
    wanted = [control.element_handle() for control in (*wanted, *explorer.extra())]
    place = "(a, b) => a.compareDocumentPosition(b) & 4 ? -1 : 1"
    order = explorer.page.evaluate(f"all => [...all.keys()].sort((i, j) => ({place})(all[i], all[j]))", wanted)
    wanted[order[0]].focus()
    for i in order:
        assert wanted[i].evaluate("it => it === document.activeElement"), wanted[i].evaluate("it => it.outerHTML")
        _press(explorer.page, "Tab")
    assert explorer.root.evaluate("it => !it.contains(document.activeElement)")


def test_what_has_the_focus_looks_different(explorer):
    controls = [explorer.dropdown(name) for name in explorer.controls]
    controls += [explorer.slider(name) for name in explorer.controls.values() if name]
    for i, control in enumerate([*controls, *explorer.extra()]):
        control.focus()
        _press(explorer.page, *(("Shift+Tab", "Tab") if i else ("Tab", "Shift+Tab")))  # the ring is for a keyboard
        _has_focus(control)
        with_focus = _around(explorer.page, control)
        control.evaluate("it => it.blur()")
        alike = with_focus == _around(explorer.page, control)
        assert not alike, control


def test_every_control_has_a_name_of_its_own_and_the_picture_a_text(explorer):
    nodes = _accessible(explorer.page, explorer.root)
    names = [name for role, name in nodes if role in ("combobox", "spinbutton", "checkbox", "button", "textbox")]
    assert sorted(names) == sorted([*explorer.controls, *([] if explorer.kind in IN_THE_PAGE else [TABLE])])
    if explorer.kind in IN_THE_PAGE:
        assert [name for role, name in nodes if role == "radio"] == [DIRECTION, "KL(student ‖ teacher)"]
        assert [name for role, name in nodes if role == "slider"] == list(filter(None, explorer.controls.values()))
        assert [role for role, _ in nodes].count("table") == 1
    assert len([role for role, _ in nodes if role == "slider"]) == len(list(filter(None, explorer.controls.values())))
    texts = [name for role, name in nodes if role in ("image", "img")]
    assert len(texts) == 1 and texts[0].endswith(".") and len(texts[0]) > 40
    assert [role for role, _ in nodes].count("status") == 1


def test_in_a_narrow_window_nothing_is_cut_off(explorer):
    page, wide = explorer.page, explorer.page.viewport_size
    try:
        page.set_viewport_size({"width": 800, "height": 900})
        page.wait_for_timeout(500)
        _shot(explorer, "narrow")
        frame = explorer.root.bounding_box()
        for part in (*explorer.root.locator("select, label, .noUi-base, input, img, li, .widget-readout").all(),):
            box = part.bounding_box()
            if box and box["width"] > 1:
                assert frame["x"] <= box["x"] + 1, part
                assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, part.evaluate("it => it.outerHTML")
    finally:
        page.set_viewport_size(wide)
        page.wait_for_timeout(300)


def test_in_the_dark_theme_the_words_are_light(explorer):
    page = explorer.page
    _theme(page, "JupyterLab Dark")
    try:
        for part in (explorer.readout.locator("li").first, explorer.root.locator("label").first,
                     explorer.dropdown(next(iter(explorer.controls)))):
            assert part.evaluate(CONTRAST) > 4.5, part
        _shot(explorer, "dark")
    finally:
        _theme(page, "JupyterLab Light")


CONTRAST = """it => {     // of a text with what is behind it, as WCAG 2 defines it
    const luminance = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map(x => x / 255).map(
            x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    let behind = it
    while (/^rgba.* 0\\)$|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement
    const [dark, light] = [getComputedStyle(it).color, getComputedStyle(behind).backgroundColor].map(luminance).sort(
        (a, b) => a - b)
    return (light + 0.05) / (dark + 0.05)
}"""


@pytest.mark.timed
def test_from_a_key_to_the_picture_it_takes_no_time_that_a_reader_would_notice(explorer, record_property):
    name, slider = next((both for both in explorer.controls.items() if both[1]), next(iter(explorer.controls.items())))
    handle, keys = (explorer.slider(slider), ("ArrowRight", "ArrowLeft")) if slider else (
        explorer.dropdown(name), ("End", "Home"))
    times = []
    handle.focus()
    _press(explorer.page, "Home")
    _until(explorer.page, lambda: explorer.chosen()[name] == explorer.options(name)[0], "not at its beginning")
    explorer.page.wait_for_timeout(500)
    for i in range(12):
        explorer.root.evaluate(STOPWATCH)
        _press(explorer.page, keys[i % 2])
        times.append(explorer.root.evaluate("it => it.stopwatch") / 1000)
        explorer.page.wait_for_timeout(100)
    median = statistics.median(times[1:])
    record_property(f"round trip of {explorer.kind} in ms", round(1000 * median))
    print(f"{explorer.kind}: {1000 * median:.0f} ms from a key to the picture (median of {len(times) - 1}, "
          f"{1000 * min(times[1:]):.0f} to {1000 * max(times[1:]):.0f})")
    assert median < ROUND_TRIP


STOPWATCH = """it => {
    it.stopwatch = new Promise(resolve => {
        let start = 0
        document.addEventListener("keydown", () => { start = performance.now() }, {capture: true, once: true})
        const picture = PICTURE, before = picture(it)
        const observer = new MutationObserver(() => {
            const img = it.querySelector("img")
            if (!img || picture(it) === before) return
            observer.disconnect()
            img.decode().then(() => resolve(performance.now() - start))
        })
        observer.observe(it, {subtree: true, childList: true, attributes: true, attributeFilter: ["src", "style"]})
    })
}""".replace("PICTURE", PICTURE)


def test_the_notebook_is_saved_with_its_pictures_and_without_widget_state(explorers):
    assert "widgets" not in nbformat.read(explorers.saved, 4).metadata
    assert _stills(explorers.saved).keys() == DROPDOWNS.keys()


@pytest.mark.parametrize("template", ["lab", "classic"])
def test_the_exported_page_shows_the_pictures_without_a_kernel_or_a_network(chrome, notebook, tmp_path, template):
    page_file = tmp_path / "lesson.html"
    text, _ = HTMLExporter(template_name=template).from_filename(str(notebook.saved))
    page_file.write_text(text, encoding="utf-8")
    context = chrome.new_context(offline=True)
    try:
        context.route(re.compile("^(?!file:|data:|blob:)"), lambda route: route.abort())
        page = context.new_page()
        page.goto(page_file.as_uri())
        shown = dict(page.locator("img").evaluate_all(
            "all => Promise.all(all.map(async img => { await img.decode(); return [img.src, [img.naturalWidth, "
            "img.checkVisibility(), img.alt]] }))"))
        pictures = _stills(notebook.saved)
        assert pictures
        for kind, (png, alt) in pictures.items():
            width, visible, text = shown[f"data:image/png;base64,{png}"]
            assert width > 500 and visible, kind
            assert template == "lab" or text == alt, kind      # the template `lab` has no place for our text
            _shot(SimpleNamespace(kind=kind, root=page.locator(f'img[src$="{png[-80:]}"]')), f"exported {template}")
    finally:
        context.close()


def test_a_reader_of_a_worksheet_commits_a_prediction_and_is_told_of_each_blank_what_it_lacks(chrome, tmp_path):
    served = tmp_path / "served"
    (served / "notebooks").mkdir(parents=True)
    shutil.copy(LESSON, served / "notebooks")
    sheet = worksheets.start(LESSON.stem, served)
    cells = _code(sheet)
    blank = next(i for i, cell in enumerate(cells) if "by-hand" in cell.metadata.get("tags", []))
    right = next(cell.source for cell in _code(LESSON) if cell.id == cells[blank].id)
    with page_of(chrome, tmp_path, sheet) as page:
        for i in range(blank + 2):
            _run(page, i)
        assert "wrong_answers: nothing was returned: the blank is still empty" in _said(page, blank + 1)
        _begin(page, blank, "import time; time.sleep(3)")  # the kernel is busy while the reader answers
        answer, asked = page.get_by_label("Your prediction, %"), page.locator(".kd-prediction").first
        answer.press_sequentially("80.5", delay=60)
        answer.press("Enter")
        kept = sheet.parent / "predictions.json"
        _until(page, lambda: list(json.loads(kept.read_text()).values()) == [80.5], "the prediction was not kept")
        _until(page, lambda: asked.get_by_role("status").inner_text() == "Committed: 80.5 %.", "nobody was told")
        assert answer.input_value() == "80.5" and asked.get_by_role("button").count() == 0
        _has_focus(asked.get_by_role("status"))
        wrong = right.replace(" / p.sum(dim=1, keepdim=True)", "")
        for text, told in ((wrong, "sum"), (right, "wrong_answers: right")):
            _run(page, blank, text)
            _run(page, blank + 1)
            assert told in _said(page, blank + 1)
            assert (told == _said(page, blank + 1)) == (text == right)


@pytest.mark.parametrize("gone", ["chromium", "playwright"])
def test_without_a_browser_the_tests_are_skipped_unless_they_must_run(monkeypatch, gone):
    monkeypatch.setattr(browser.shutil, "which", lambda name: None if gone == "chromium" else "/bin/true")
    monkeypatch.setattr(browser, "find_spec", lambda name: None if gone == "playwright" else name)
    monkeypatch.delenv("KDCOURSE_MUST_BROWSE", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"(?i)real browser need {gone}"):
        browser.chromium()
    monkeypatch.setenv("KDCOURSE_MUST_BROWSE", "1")
    with pytest.raises(pytest.fail.Exception, match=f"(?i)real browser need {gone}.*MUST_BROWSE"):
        browser.chromium()
    monkeypatch.setattr(browser.shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr(browser, "find_spec", lambda name: name)
    assert browser.chromium() == "/bin/true"


def _begin(page, number: int, text: str | None = None) -> tuple:
    """Start a code cell, by the keyboard; with `text`, write that into it before. Returns where its number will be, and
    what was there."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(number)
    cell.locator(".cm-content").click()
    if text is not None:
        page.keyboard.press("Control+a")
        page.keyboard.insert_text(text)
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    page.keyboard.press("Control+Enter")
    return prompt, before


def _run(page, number: int, text: str | None = None) -> None:
    """As `_begin`, until it has finished."""
    prompt, before = _begin(page, number, text)
    _until(page, lambda: prompt.inner_text() not in (before, "[*]:"), f"cell {number} did not finish", 120)


def _said(page, number: int) -> str:
    """What a code cell printed."""
    return _plain(page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-OutputArea-output").inner_text())


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").strip()


def _theme(page, name: str) -> None:
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    for entry in ("Theme", name):
        page.locator(".lm-Menu-item").filter(has_text=re.compile(rf"^{entry}\s*$")).click()
    _until(page, lambda: page.evaluate("document.body.dataset.jpThemeName") == name, f"the theme is not {name}")
    page.wait_for_timeout(500)


def _press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def _until(page, true, otherwise: str, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(otherwise)
        page.wait_for_timeout(20)


def _has_focus(control) -> None:
    assert control.evaluate("it => it === document.activeElement"), "the focus went away"


def _twin(kind: str, slider: str) -> str:
    return next(name for name, its in DROPDOWNS[kind].items() if its == slider)


def _shown(page, pictures: list[str], seconds: float = 20) -> set[str]:
    """Those of the pictures that can be seen in the page, once they all can or the time is over."""
    end, found = time.monotonic() + seconds, set()
    while time.monotonic() < end and not found.issuperset(pictures):
        page.wait_for_timeout(200)
        found = set(page.locator(".jp-OutputArea img").evaluate_all(
            "all => all.filter(img => img.complete && img.naturalWidth && img.checkVisibility()).map(img => img.src)"))
    return found.intersection(pictures)


def _finished(page, seconds: float) -> None:
    """Wait until nothing runs any more: an error stops it, too."""
    waiting = page.locator(".jp-InputPrompt", has_text="[*]")
    _until(page, lambda: waiting.count(), "nothing runs", 20)
    _until(page, lambda: not waiting.count(), f"the notebook did not finish within {seconds} s", seconds)


def _drag(page, handle, distance: float) -> None:
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + distance, y, steps=8)
    page.mouse.up()


def _around(page, control) -> bytes:
    control.scroll_into_view_if_needed()
    page.wait_for_timeout(250)  # colours may fade
    box = control.bounding_box()
    return page.screenshot(clip={"x": box["x"] - 8, "y": box["y"] - 8, "width": box["width"] + 16,
                                 "height": box["height"] + 16}, animations="disabled", caret="hide")


def _accessible(page, root) -> list[tuple[str, str]]:
    """Role and name of everything in `root`, as the browser tells them to a screen reader."""
    root.evaluate("it => { window.explorer = it }")
    protocol = page.context.new_cdp_session(page)
    try:
        found = protocol.send("Runtime.evaluate", {"expression": "window.explorer"})["result"]["objectId"]
        nodes = protocol.send("Accessibility.queryAXTree", {"objectId": found})["nodes"]
    finally:
        protocol.detach()
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]


def _saved(path: Path, began: int) -> bool:
    """Whether the notebook was written since then, and to its end: while Lab writes, the file is empty or cut off."""
    try:
        return path.stat().st_mtime_ns > began and bool(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        return False


def _code(path: Path) -> list:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def _stills(path: Path) -> dict[str, tuple[str, str]]:
    """By explorer: the picture that the notebook stores for it, and its text."""
    found = {}
    for output in (output for cell in _code(path) for output in cell.outputs):
        kind = output.get("data", {}).get("text/plain", "").split("(")[0]
        if kind in DROPDOWNS and "image/png" in output.data:
            found[kind] = output.data["image/png"].replace("\n", ""), output.metadata["image/png"]["alt"]
    return found


def _shot(explorer, name: str) -> None:
    if folder := os.environ.get("KDCOURSE_SCREENSHOTS"):
        file = Path(folder) / f"{explorer.kind} {name}.png".replace(" ", "_")
        explorer.root.screenshot(path=file, animations="disabled")
