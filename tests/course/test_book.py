"""The book: it is built once from what is committed, and looked at in a browser on a phone's and on a laptop's width.

Nothing is served: the pages are opened from the disk, and a page that asks any host for anything fails.
`KDCOURSE_SCREENSHOTS=folder` keeps pictures to look at.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import browser
import pytest

ROOT = Path(__file__).parents[2]
WIDTHS = (390, 1366)
LESSONS = [f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
PAGES = [*LESSONS, "index", "exercises/01_vanilla_kd/01_vanilla_kd", "found/ledger", "benchmarks/README", "INSTRUCTORS",
         "settings", "own", "api/losses"]
LOOK = (Path(__file__).parent / "look_at_page.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    """The folder of the built book."""
    folder = tmp_path_factory.mktemp("book")
    done = subprocess.run([sys.executable, "-m", "book", folder], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), "the book has warnings"
    return folder


@pytest.fixture(scope="module")
def chrome(book):
    with browser.started(browser.chromium()) as started:
        yield started


@pytest.fixture(scope="module")
def seen(book, chrome):
    """What is seen of a page, by its name and the width of the window; each page is opened once."""
    known, said = {}, []
    page = chrome.new_page()
    page.on("request", lambda request: said.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))

    def look(name: str, width: int) -> dict:
        if (name, width) not in known:
            said.clear()
            page.set_viewport_size({"width": width, "height": 900})
            page.goto((book / f"{name}.html").as_uri())
            page.evaluate("window.MathJax?.startup?.promise")
            for wide in WIDTHS:
                page.set_viewport_size({"width": wide, "height": 900})
                known[name, wide] = page.evaluate(LOOK) | {
                    "elsewhere": [text for text in said if not text.startswith(("file:", "data:"))]}
                _shot(page, f"{name} {wide}")
        return known[name, width]
    yield look
    page.close()


def _shot(page, name: str) -> None:
    if folder := os.environ.get("KDCOURSE_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name.replace('/', '_')}.png", animations="disabled")


everywhere = pytest.mark.parametrize("width", WIDTHS)
each_page = pytest.mark.parametrize("name", PAGES)


@each_page
@everywhere
def test_nothing_reaches_beyond_the_window_and_the_page_asks_no_host(seen, name, width):
    found = seen(name, width)
    assert found["width"] <= width and found["outside"] == [] and found["elsewhere"] == []


@each_page
@everywhere
def test_every_picture_is_there_whole_and_has_a_text(seen, name, width):
    assert seen(name, width)["pictures"]["wrong"] == []


@each_page
def test_every_formula_is_drawn(seen, name):
    found = seen(name, 390)["formulas"]
    assert found["drawn"] == found["there"] and found["errors"] == 0


@each_page
def test_headings_come_in_order_under_one_title(seen, name):
    levels = seen(name, 1366)["headings"]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= level + 1 for level, later in itertools.pairwise(levels))


@each_page
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(seen, name, theme):
    assert seen(name, 1366)["pale"][theme] == []


def test_a_page_that_is_wrong_in_each_of_these_ways_is_found(chrome, tmp_path):
    (tmp_path / "page.html").write_text(
        '<main><article class="bd-article"><h1>A</h1><h3>B</h3><img src="none.png"><p style="width: 3000px">wide</p>'
        '<p style="color: #bbb; background: #fff">pale</p><span class="math">\\(x\\)</span></article></main>')
    page = chrome.new_page()
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto((tmp_path / "page.html").as_uri())
    found = page.evaluate(LOOK)
    page.close()
    assert found["width"] > 390 and found["outside"] and found["headings"] == [1, 3]
    assert len(found["pictures"]["wrong"]) == 1 and found["formulas"] == {"there": 1, "drawn": 0, "errors": 0}
    assert len(found["pale"]["light"]) == 1 and "pale" in found["pale"]["light"][0]
