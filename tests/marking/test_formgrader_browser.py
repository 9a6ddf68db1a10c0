"""A marker, logged in to Jupyter, opens hostile answers in formgrader, in Chromium: nothing runs, nothing is fetched,
nothing lies over the page, and the marker is still logged in.

`KDCOURSE_MATHJAX=folder` lets the page have MathJax 2.7 from there; without it, formulas stay text.
"""

import base64
import json
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, NamedTuple
from urllib.parse import urlsplit

import browser
import pytest
from grading.course import LIMITS, POCKET, answered, cell, make, own, released
from grading.pocket import judging

from kdcourse.marking import sandbox
from kdcourse.marking.grade import grade, gradebook
from kdcourse.marking.grade.base import Place
from kdcourse.marking.sandbox import Execution, outputs

RUN = "parent.owned = 1; window.owned = 1"
WRITE = "fetch('/api/contents/course/owned.txt', {method: 'PUT', body: '{\"type\": \"file\", \"format\": \"text\"}'})"
PAGE = f"<!DOCTYPE html><body><script>{RUN}; {WRITE}</script>owned"
DRAWN = f"<svg xmlns='http://www.w3.org/2000/svg' width='900' height='900'><script>{RUN}; {WRITE}</script></svg>"
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
OVER = "position:fixed;top:0;left:0;width:100vw;height:100vh;z-index:99999;background:white"
ZALGO = "a" + "\u0300\u0323\u035b" * 4000
BESIDE = {"page.html": PAGE, "figure.svg": DRAWN, "style.css": "nav { display: none }", "deep/page.xhtml": PAGE}


class Attack(NamedTuple):
    why: str  # the written answer; {pixel} is an address that counts who asks, {logout} ends the marker's session
    effect: str = ""  # what it does where nothing is done against it: "script" runs, "request" is sent, it lies "over"
    cells: tuple[dict, ...] = ()
    attachments: tuple[tuple[str, dict], ...] = ()
    outputs: tuple[dict, ...] = ()


def html(source: str) -> dict:
    return {"output_type": "display_data", "metadata": {}, "data": {"text/html": source, "image/svg+xml": source}}


ATTACKS = {
    "script": Attack(f"<script>{RUN}</script>", "script"),
    "script in parts": Attack(f"<scr<script>ipt>{RUN}</scr</script>ipt> <ScRiPt\n>{RUN}</sCrIpT >"),
    "onerror": Attack(f"<img src=x: onerror='{RUN}'> <img src='data:image/png;base64,AA' onerror='{RUN}'>", "script"),
    "svg": Attack(f"<svg onload='{RUN}'></svg><math><mtext><style><img src=x onerror='{RUN}'></style></mtext></math>",
                  "script"),
    "details": Attack(f"<details open ontoggle='{RUN}'>text</details><input autofocus onfocus='{RUN}'>", "script"),
    "srcdoc": Attack(f"<iframe srcdoc='<script>{RUN}</script>'></iframe>", "script"),
    "frames of files": Attack("<iframe src='page.html'></iframe><object data='figure.svg'></object>"
                              "<embed src=page.html><iframe src='deep/page.xhtml'></iframe>"),
    "link to a file": Attack("[the figure](page.html), [the plot](figure.svg), [more](..%2fcache%2fpage.html)"),
    "links": Attack("[a](javascript:window.owned=1) <a href='java&#x73;cript&colon;window.owned=1'>b</a> "
                    "[c](/logout) [d](data:text/html;base64,PHNjcmlwdD4=) <a href='{logout}'>e</a> [f]({pixel})"),
    "pixel": Attack("![p]({pixel}) <img src='{pixel}' srcset='{pixel} 2x'>", "request"),
    "logout": Attack("![p](/logout) <img src='/logout'> <img src='{logout}'>", "request"),
    "styles": Attack("<style>@import url({pixel}); * {{ display: none }}</style><link rel=stylesheet href='{pixel}'>"
                     "<p style='background: url({pixel})'>text</p>", "request"),
    "media": Attack("<video poster='{pixel}' src='{pixel}'></video><audio src='{pixel}' autoplay></audio>"
                    "<input type=image src='{pixel}'><table background='{pixel}'><tr><td>x</td></tr></table>",
                    "request"),
    "refresh": Attack("<meta http-equiv='refresh' content='0; url={logout}'><base href='{pixel}'>"
                      "<form action='{pixel}'><button>Full credit</button></form>"),
    "fixed": Attack(f"<div style='{OVER}'>You are done. Log in again:</div>", "over"),
    "classes": Attack("<div class='navbar-fixed-top modal-backdrop'><h1>x</h1></div>"
                      "<div class='tex2jax_process'>x</div><p class='btn full-credit'>x</p>"),
    "identifiers": Attack("<input id='why'><b id='why-comment'>x</b><b id='double_extra_credit' name='submission_id'>"),
    "closing": Attack(f"</div></div></div></td></table></body></html><div style='{OVER}'>x</div><!-- <textarea> "
                      "<plaintext>", "over"),
    "formulas": Attack(r"$\href{{javascript:window.owned=1}}{{x}}$ "
                       r"$\mmlToken{{mi}}[href='javascript:window.owned=1']{{x}}$ "
                       r"$\bbox[background:url({pixel})]{{x}}$ $\style{{{over}}}{{x}}$ $\hr&#101;f{{{pixel}}}{{x}}$ "
                       r"$$\smash{{\raise 99em{{\rule{{99em}}{{99em}}}}}}$$ \\(\class{{navbar-fixed-top}}{{x}}\\) "
                       r"$\def\a#1{{\h#1}}\a{{ref}}{{javascript:window.owned=1}}{{y}}$ $\require{{HTML}}$"),
    "raw cell": Attack("text", "", cells=(
        {"cell_type": "raw", "metadata": {}, "source": f"<script>{RUN}</script><div style='{OVER}'>"
         f"<img src='/logout' class=navbar-fixed-top>x</div>~~~\n<img src='{{pixel}}'>"},
        {"cell_type": "raw", "metadata": {"raw_mimetype": "text/html"}, "source": f"<script>{RUN}</script>"})),
    "code": Attack("```html\n<script>window.owned = 1</script>\n```", "", cells=(
        own(f"# <script>{RUN}</script>\nz = '{ZALGO}'"), own(f"%%html\n<script>{RUN}</script>"))),
    "outputs": Attack("text", "", outputs=(
        html(f"<script>{RUN}</script>"), {"output_type": "stream", "name": "stdout", "text": f"<script>{RUN}</script>"},
        {"output_type": "stream", "name": "stderr", "text": f"{ZALGO} \x1b[31;<script>m{'x' * 9999}"},
        {"output_type": "error", "ename": f"<script>{RUN}</script>", "evalue": "<img src={pixel}>", "traceback": [
            f"<script>{RUN}</script>", "\x1b]8;;javascript:window.owned=1\x07x"]})),
    "marks above marks": Attack(f"{ZALGO}\n\n" + "<sup>" * 40 + "x" + "</sup>" * 40
                                + "\n\n<img width=99999 height=1 alt=x>"),
    "attachments": Attack("![a](attachment:a.svg) ![b](attachment:b.png) ![c](data:image/svg+xml;base64,PHN2Zz4=) "
                          "![d](attachment:none.png) ![ok](attachment:ok.png)", attachments=(
        ("a.svg", {"image/svg+xml": base64.b64encode(DRAWN.encode()).decode()}),
        ("b.png", {"image/png": base64.b64encode(PAGE.encode()).decode()}), ("ok.png", {"image/png": DOT}))),
}  # fmt: skip


class Counter(BaseHTTPRequestHandler):
    """Counts who asks for anything."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    def log_message(self, *about):
        pass


@pytest.fixture(scope="module")
def pixel():
    """An address elsewhere on this machine, at which `Counter` listens."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Counter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/pixel"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chrome():
    with browser.started(browser.chromium()) as started:
        yield started


@pytest.fixture(scope="module")
def graded(tmp_path_factory, pixel):
    """A course in which every attack was handed in, and graded as if it had been run."""
    root = tmp_path_factory.mktemp("marking")
    (root / "served").mkdir()
    course = make(root / "served" / "course")
    for name, attack in ATTACKS.items():
        folder = root / "in" / name
        for file, content in BESIDE.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(content)
        (folder / "tiny.ipynb").write_text(json.dumps(handed_in(released(course), attack, pixel)))
    shown = outputs.cleaned([*ATTACKS["outputs"].outputs])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "run", lambda *given, **how: Execution(dict.fromkeys(range(12), shown)))
        patch.setattr(sandbox, "unavailable", lambda: "")
        code = grade("tiny", root / "in", course=course, limits=LIMITS, checks=judging, package=POCKET, jobs=1)
    assert code == 0
    return root


def handed_in(release: dict, attack: Attack, pixel: str) -> dict:
    server = pixel.rsplit(":", 1)[0]
    words = {"pixel": pixel, "logout": f"{server}/logout", "over": OVER}
    notebook = answered(release, why=filled(attack.why, words))
    notebook["cells"][2:2] = [{**one, "source": filled(one["source"], words)} for one in attack.cells]
    if attack.attachments:
        cell(notebook, "why")["attachments"] = dict(attack.attachments)
    return notebook


def filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text.replace("{{", "{").replace("}}", "}")


@pytest.fixture(scope="module")
def marker(chrome, graded):
    """The marker's browser, logged in: `page`, `origin`, and what it did since `forget()`: `asked`, `said`, `ran`."""
    course = graded / "served" / "course"
    with browser.lab(graded, course) as address:
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(address))
        context = chrome.new_context(viewport={"width": 1200, "height": 900})
        context.route("https://cdnjs.cloudflare.com/**", mathjax)
        page = context.new_page()
        page.goto(f"{origin}/login?next=%2Fapi")
        page.locator("#password_input").fill("kdcourse")
        page.locator("#login_submit").click()
        page.wait_for_url(f"{origin}/api")
        seen = SimpleNamespace(page=page, origin=origin, course=course, asked=[], ran=[], books=books(course))
        context.on("request", lambda request: seen.asked.append(request.url))
        page.on("dialog", lambda dialog: (seen.ran.append(dialog.message), dialog.dismiss()))
        yield seen
        context.close()


def mathjax(route) -> None:
    """The page's own script, from a folder if there is one."""
    path = urlsplit(route.request.url).path.partition("/2.7.7/")[2]
    file = Path(os.environ.get("KDCOURSE_MATHJAX", "/nowhere")) / path
    route.fulfill(path=file) if file.is_file() else route.abort()


def books(course: Path) -> dict[str, str]:
    """The address of each student's page in formgrader."""
    place = Place(course, "tiny")
    with gradebook.opened(place) as book:
        found = {one.student.id: one.notebooks[0].id for one in book.find_assignment("tiny").submissions}
    names = {}
    for student, number in found.items():
        about = json.loads(place.notebook("autograded", student).read_text())["metadata"]["kdcourse"]
        names[about["name"]] = number
    return names


def opened(marker, name: str):
    """The page of an attack, with all that it wanted to load."""
    marker.asked.clear(), marker.ran.clear(), Counter.asked.clear()
    marker.page.goto(f"{marker.origin}/formgrader/submissions/{marker.books[name]}/")
    marker.page.wait_for_load_state("networkidle")
    if os.environ.get("KDCOURSE_MATHJAX"):
        marker.page.evaluate("new Promise(done => MathJax.Hub.Queue(done))")
    if os.environ.get("KDCOURSE_SCREENSHOTS"):
        marker.page.screenshot(path=f"{os.environ['KDCOURSE_SCREENSHOTS']}/formgrader {name}.png", full_page=True)
    return marker.page


COVERED = """(controls) => controls.filter(control => {
    if (!control.offsetParent && getComputedStyle(control).position != 'fixed') return false;
    control.scrollIntoView({block: 'center'});
    const {left, top, width, height} = control.getBoundingClientRect();
    const found = document.elementFromPoint(left + width / 2, top + height / 2);
    return found && !control.contains(found) && !found.contains(control);
}).map(control => control.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("name", ATTACKS)
def test_a_marker_who_opens_a_hostile_answer_is_harmed_in_nothing(name, marker):
    page = opened(marker, name)
    own = f"{marker.origin}/formgrader/"
    known = (own, "data:", "https://cdnjs.cloudflare.com/ajax/libs/mathjax/", "https://api.cdnjs.com/libraries/mathjax")
    foreign = [url for url in marker.asked if not url.startswith(known)]
    assert foreign == [] and Counter.asked == []
    assert [url for url in marker.asked if f"/{marker.books[name]}/" in url.split(own)[-1]][1:] == []
    assert page.evaluate("window.owned") is None and marker.ran == []
    controls = page.locator("input.score, input.extra-credit, button.full-credit, textarea.comment, nav a")
    assert controls.count() >= 8
    assert controls.evaluate_all(COVERED) == []
    assert page.locator("#why").count() == page.locator("#why-comment").count() == 1
    assert page.context.request.get(f"{marker.origin}/api/me").status == 200
    assert not (marker.course / "owned.txt").exists()


@pytest.mark.parametrize("name", [name for name, attack in ATTACKS.items() if attack.effect])
def test_where_nothing_is_done_against_it_the_same_answer_does_harm(name, marker, pixel):
    from nbconvert.filters.markdown import markdown2html

    Counter.asked.clear()
    page = marker.page.context.browser.new_page()
    words = {"pixel": pixel, "logout": pixel.replace("/pixel", "/logout"), "over": OVER}
    page.set_content(f"<button>a</button>{markdown2html(filled(ATTACKS[name].why, words))}")
    page.wait_for_timeout(300)
    covered = page.locator("button").evaluate_all(COVERED)
    done = {"script": page.evaluate("window.owned") == 1, "request": bool(Counter.asked), "over": bool(covered)}
    page.close()
    assert done[ATTACKS[name].effect]


@pytest.mark.parametrize("file", [*BESIDE, "tiny.ipynb", "timestamp.txt", "..%2f..%2f..%2fgradebook.db",
                                  "..%2f..%2f..%2f..%2fgrading%2fsecret", "%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret"])
def test_no_file_of_a_submission_or_of_the_course_is_served_as_a_page(file, marker):
    answer = marker.page.context.request.get(
        f"{marker.origin}/formgrader/submissions/{marker.books['link to a file']}/{file}")  # fmt: skip
    assert answer.status == 404 and "owned" not in answer.text()


def test_the_files_lie_where_formgrader_would_not_find_them_even_if_it_served_what_it_finds(graded):
    suffixes = {path.suffix for path in (graded / "served" / "course" / "grading").rglob("*") if path.is_file()}
    assert not suffixes & {".svg", ".css", ".xhtml"} and ".tar" in suffixes


def test_pictures_of_the_notebook_itself_are_shown(marker):
    page = opened(marker, "attachments")
    shown = page.locator(".rendered_html img")
    assert shown.count() == 1 and shown.evaluate("it => it.naturalWidth") == 1
    told = page.locator(".rendered_html").all_inner_texts()
    assert sum(text.count("a picture that is not shown here") for text in told) == 4


def test_a_mark_can_be_given(marker):
    page = opened(marker, "identifiers")
    page.locator("input#why").fill("4")
    page.locator("input#why").press("Tab")
    page.wait_for_function("document.querySelector('input#why') && !jQuery.active")
    with gradebook.opened(Place(marker.course, "tiny")) as book:
        notebook = book.find_submission_notebook_by_id(marker.books["identifiers"])
        assert next(one for one in notebook.grades if one.name == "why").manual_score == 4
