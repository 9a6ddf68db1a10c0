"""The book: it is built once from what is committed, and looked at in a browser on a phone's and on a laptop's width.

Nothing is served: the pages are opened from the disk, and a page that asks any host for anything fails.
`KDCOURSE_SCREENSHOTS=folder` keeps pictures to look at.
"""

import base64
import html
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import browser
import pytest
import torch

from book.gather import WIDGET, gather
from kdcourse.widgets import TemperatureExplorer

ROOT = Path(__file__).parents[2]
WIDTHS = (390, 1366)
LESSONS = [f"notebooks/{path.stem}" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
EXERCISES = [path.relative_to(ROOT).with_suffix("").as_posix() for path in sorted(ROOT.glob("exercises/*/*.ipynb"))]
PAGES = [*LESSONS, *EXERCISES, "index", "found/ledger", "benchmarks/README", "INSTRUCTORS",
         "settings", "own", "temperature", "api/losses"]
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
            page.add_style_tag(content="* { transition: none !important; animation: none !important }")
            page.evaluate("window.MathJax?.startup?.promise")
            for wide in WIDTHS:
                page.set_viewport_size({"width": wide, "height": 900})
                page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
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


@pytest.mark.parametrize("name", LESSONS)
def test_below_the_still_picture_of_every_widget_stands_what_it_says(book, name):
    cells = json.loads((ROOT / f"{name}.ipynb").read_text())["cells"]
    widgets = [output["metadata"]["image/png"]["alt"] for cell in cells for output in cell.get("outputs", [])
               if WIDGET in output.get("data", {})]
    page = plain(re.sub("<[^>]+>", " ", (book / f"{name}.html").read_text()))
    assert page.count("A still picture of what you use in the notebook.") == len(widgets)
    assert [text for text in widgets if plain(text.partition(". ")[2])[:60] not in page] == []


def dead(page: Path) -> list[str]:
    """The links and pictures of a page whose files are not there."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return [f"{page.name}: {target}" for target in targets
            if not target.startswith("https://") and not (page.parent / target).exists()]


def test_every_link_of_a_page_leads_somewhere_in_the_repository_and_in_the_book(tmp_path):
    gather(ROOT, tmp_path)
    pages = sorted(path.name for path in (ROOT / "book").glob("*.md"))
    assert pages and [link for folder in (ROOT / "book", tmp_path) for name in pages for link in dead(folder / name)
                      ] == []


def plain(text: str) -> str:
    return " ".join(html.unescape(text).replace("’", "'").split())


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


def test_the_search_finds_pages_without_a_server(book, chrome):
    page = chrome.new_page()
    page.goto((book / "search.html").as_uri() + "?q=temperature")
    results = page.locator("#search-results li a")
    results.first.wait_for(timeout=20_000)
    targets = results.evaluate_all("all => all.map(it => it.getAttribute('href').split(/[?#]/)[0])")
    page.close()
    assert "notebooks/02_soft_targets.html" in targets and all((book / target).exists() for target in targets)


def test_by_keyboard_one_gets_to_the_text_to_the_search_and_to_the_dark(book, chrome):
    page = chrome.new_page(viewport={"width": 1366, "height": 900})
    page.goto((book / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert "Skip to main content" in _focused(page)["text"] and _focused(page)["outlined"]
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    page.keyboard.press("Control+k")
    page.keyboard.type("entropy")
    page.keyboard.press("Enter")
    page.locator("#search-results li a").first.wait_for(timeout=20_000)
    for _ in range(80):
        page.keyboard.press("Tab")
        found = _focused(page)
        assert found["outlined"] or found["tag"] == "BODY", found
        if "theme-switch" in found["class"]:
            break
    page.keyboard.press("Enter")
    for _ in range(5):
        page.keyboard.press("Tab")
        if "Dark" in _focused(page)["text"]:
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.close()


def test_on_a_phone_the_contents_open_and_close_by_keyboard(book, chrome):
    page = chrome.new_page(viewport={"width": 390, "height": 800})
    page.goto((book / "index.html").as_uri())
    link = page.get_by_role("link", name="Glossary", exact=True)
    assert not link.is_visible()
    page.locator("button.primary-toggle:visible").first.focus()
    page.keyboard.press("Enter")
    link.wait_for(state="visible")
    page.keyboard.press("Escape")
    link.wait_for(state="hidden")
    page.close()


def _focused(page) -> dict:
    return page.evaluate("""() => {
        const it = document.activeElement, style = getComputedStyle(it);
        return {text: it.textContent.trim().slice(0, 60), class: String(it.className), tag: it.tagName,
                outlined: style.outlineStyle !== "none"};
    }""")


FRONT = (ROOT / "kdcourse" / "widgets" / "temperature.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def front(chrome):
    """A page that has loaded the front end of the temperature explorer, as the module `front`."""
    page = chrome.new_page()
    source = "data:text/javascript;base64," + base64.b64encode(FRONT.encode()).decode()
    page.evaluate("async source => { globalThis.front = await import(source); }", source)
    yield page
    page.close()


@pytest.fixture(scope="module")
def explorer(book, chrome):
    """The page of the explorer that needs no kernel."""
    page = chrome.new_page(viewport={"width": 1366, "height": 1200})
    page.goto((book / "temperature.html").as_uri())
    yield page
    page.close()


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 64.0])
def test_the_front_end_of_the_explorer_computes_what_python_computes(front, direction, T):
    draw = torch.Generator().manual_seed(0)
    for size in (1.0, 30.0):
        z_t, z_s = size * torch.randn(2, 10, generator=draw).double()
        student = z_s.clone().requires_grad_()
        log_t, log_s = (z_t / T).log_softmax(0), (student / T).log_softmax(0)
        one, other = (log_t, log_s) if direction == "forward" else (log_s, log_t)
        kl = (one.exp() * (one - other)).sum()
        (gradient,) = torch.autograd.grad(T**2 * kl, student)
        hard = z_s.softmax(0) - torch.eye(10)[3]
        found = front.evaluate("([t, s, T, way]) => front.numbers(t, s, 3, T, way)",
                               [z_t.tolist(), z_s.tolist(), T, direction])
        expected = {"p_t": log_t.exp(), "p_s": log_s.exp(), "kl": kl, "soft": gradient, "hard": hard,
                    "entropy_t": -(log_t.exp() * log_t).sum(), "entropy_s": -(log_s.exp() * log_s).sum()}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(torch.tensor(found[name], dtype=torch.float64), value.detach(), rtol=1e-9,
                                       atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


def made(K: int, size: float = 3.0, N: int = 3) -> TemperatureExplorer:
    draw = torch.Generator().manual_seed(K)
    z_t, z_s = size * torch.randn(2, N, K, generator=draw)
    return TemperatureExplorer(torch.randint(0, 256, (N, 1, 8, 8), generator=draw).to(torch.uint8), z_t, z_s,
                               torch.arange(N) * 7 % K, [f'<b>"{k}"</b> & $k$' for k in range(K)],
                               temperatures=(0.5, 2.25, 4, 1000))


@pytest.mark.parametrize("K, size", [(2, 3.0), (3, 3.0), (10, 3.0), (10, 300.0), (40, 3.0), (5, 0.0)])
def test_the_front_end_says_and_shows_what_python_says_letter_by_letter(front, K, size):
    one = made(K, size)
    front.evaluate("""known => {
        document.body.innerHTML = "<div id=root></div>";
        globalThis.model = front.standing({known, image: 0, temperature: 4, direction: "forward"});
        front.default.render({model, el: document.getElementById("root")});
    }""", one.front.known)
    for image in range(len(one.y)):
        for T in one.front.known["temperatures"]:
            one.image.value, one.temperature.value = image, T
            front.evaluate("([i, T]) => { model.set('image', i); model.set('temperature', T); }", [image, T])
            assert front.locator("[role=status] li").all_inner_texts() == [
                " ".join(sentence.split()) for sentence in one.sentences()]
            rows = front.locator(".kd-bars tbody tr").evaluate_all(
                "all => all.map(row => [...row.children].map(cell => cell.innerText.trim()))")
            assert rows == one.table()[1:]
            (bold,) = front.locator(".kd-true").all_inner_texts()
            assert bold == one.classes[one.y[image]]


@pytest.mark.parametrize("name, place", [("p_t", 0), ("p_s", 1), ("soft", 2), ("hard", 3)])
def test_in_the_front_end_a_bar_is_as_long_as_its_number_and_stays_in_its_track(front, name, place):
    one, shares = made(5, size=30.0), []
    front.evaluate("""known => {
        document.body.innerHTML = "<div id=root></div>";
        globalThis.model = front.standing({known, image: 1, temperature: 4, direction: "forward"});
        front.default.render({model, el: document.getElementById("root")});
    }""", one.front.known)
    for T in one.front.known["temperatures"]:
        front.evaluate("T => model.set('temperature', T)", T)
        found = front.locator(f".kd-bars tbody td:nth-child({place + 2}) .kd-bar")
        boxes = found.evaluate_all("""all => all.map(it => {
            const of = side => parseFloat(it.style[side]) / 100;
            return [of("marginLeft"), of("width")];
        })""")
        limit = 1 if name.startswith("p") else 2 * one.limits[1]
        start = 0 if name.startswith("p") else 0.5
        for (left, share), value in zip(boxes, one.numbers(1, T)[name].tolist(), strict=True):
            assert share == pytest.approx(abs(value) / limit, abs=1e-6)
            assert left == pytest.approx(start + min(value, 0) / limit, abs=1e-6) and -1e-9 <= left <= 1 - share + 1e-9
            shares.append(share)
    assert max(shares) > 0.04   # -1 on a scale to 10


@pytest.mark.parametrize("value", [0, 1, 2.0, 0.5, 2.25, 1000, 12345, 999.96, 0.00012345, 0.000012345, 1e22, 3.999])
@pytest.mark.parametrize("digits", [3, 6])
def test_the_front_end_writes_a_number_as_python_does(front, value, digits):
    assert front.evaluate("([x, n]) => front.general(x, n)", [value, digits]) == f"{value:.{digits}g}"


def test_the_book_shows_the_front_end_that_jupyterlab_loads(book):
    assert FRONT in (book / "temperature.html").read_text(encoding="utf-8")
    assert made(3).front._esm == FRONT


def test_the_explorer_in_the_page_shows_the_teacher_of_the_course(explorer):
    from book.explorer import TEMPERATURES, address, chosen

    _, images, z_t = chosen()
    known = explorer.evaluate("temperatureData")
    torch.testing.assert_close(torch.tensor(known["z_t"]), z_t, rtol=0, atol=1e-3)
    assert known["y"] == images.y.tolist() and known["temperatures"] == list(TEMPERATURES)
    assert known["images"] == [address(image[0].numpy()) for image in images.x]


def test_the_explorer_in_the_page_is_moved_by_keyboard_and_says_what_it_shows(explorer):
    slider, words = explorer.get_by_label("T (slider)"), explorer.locator(".kd-words[role=status]")
    assert slider.get_attribute("aria-valuetext") == "T = 4" and "At T = 4 the teacher" in words.inner_text()
    slider.focus()
    explorer.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "T = 6" and "At T = 6 the teacher" in words.inner_text()
    assert explorer.get_by_label("Temperature T").evaluate("it => it.selectedOptions[0].textContent") == "6"
    before = explorer.locator(".kd-bars").inner_text()
    explorer.get_by_label("KL(teacher ‖ student)").focus()
    explorer.keyboard.press("ArrowDown")
    assert explorer.get_by_label("KL(student ‖ teacher)").is_checked()
    assert "KL(student ‖ teacher) is " in words.inner_text() and explorer.locator(".kd-bars").inner_text() != before
    explorer.get_by_label("Image").select_option("7")
    assert explorer.locator(".kd-image").get_attribute("alt").startswith("Image 7 ")
