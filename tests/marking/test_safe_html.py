"""What a student wrote is shown, quickly, and with nothing in it that acts, fetches or hides."""

import base64
import io
import time

import bs4
import pytest

from kdcourse.marking.grade import safe_html as page
from kdcourse.marking.grade import verdicts

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def full(text: str, size: int) -> str:
    return (text * (size // len(text) + 1))[:size]


def shapes(size: int) -> dict[str, str]:
    """Texts of that size that a parser may take long for."""
    deep = int((2 * size) ** 0.5)
    return {
        "quotes in a line": full("> ", size), "quotes in quotes": "\n".join(">" * k + " x" for k in range(1, deep)),
        "dollars": full("$x ", size), "two dollars": full("$$\n", size), "brackets of TeX": full("\\\\[x ", size),
        "environments": full("\\begin{a}x ", size), "tables": full("| a | b |\n|---|---|\n| c | d |\n", size),
        "a wide table": "|a" * (size // 4) + "|\n" + "|-" * (size // 4) + "|\n",
        "small tables": full("a|b\n-|-\n", size),
        "headings": full("# a\n", size), "underlined headings": full("a\n=\n", size), "open tags": full("<b", size),
        "tags in tags": full("<div>", size), "tables in tables": full("<table><tr><td>", size),
        "crossed tags": full("<b><p></b>", size), "fences": full("```\n", size),
        "coloured code": full("```python\nx = 1\n```\n", size), "lists in lists": "\n".join(
            "  " * k + "- x" for k in range(int(size**0.5))), "links": full("[a](", size), "brackets": full("[", size),
        "stars": full("**a*", size), "ticks": "".join("`" * k + "a" for k in range(1, deep)),
        "comments": full("<!--", size), "attributes": "<a " + full('b="c" ', size),
        "definitions": full("a\n: b\n", size),
        "pictures": full("![a](data:image/png;base64,AAAA) ", size), "entities": full("&#65;", size),
        "addresses": full("http://a.b ", size), "one word": full("a", size), "spaces": full(" ", size),
    }  # fmt: skip


@pytest.mark.parametrize("size", [page.LONGEST, 200_000])
@pytest.mark.parametrize("name", shapes(8))
@pytest.mark.timed
def test_no_text_takes_five_seconds_to_render(name, size):
    page.rendered("*x*", {})  # what is imported once
    text = shapes(size)[name]
    began = time.process_time()
    shown = page.safe_markdown({}, text)
    assert time.process_time() - began < 5
    assert size == page.LONGEST or "data:image" in text or shown == page.plain(text)


@pytest.mark.timed
def test_the_texts_of_one_page_have_a_budget_together():
    """A notebook may have a thousand cells of them."""
    context = {"resources": {}}
    text = shapes(page.LONGEST)["coloured code"]
    began = time.process_time()
    shown = [page.safe_markdown(context, text) for _ in range(40)]
    assert time.process_time() - began < page.PAGE + 5
    assert shown[0] != page.plain(text) and shown[-1] == page.plain(text)


@pytest.mark.parametrize("text", [
    "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 1_000, "# a\n" * 5_000, "\\\\[x\\\\] " * page.DISPLAYED,
])  # fmt: skip
def test_what_a_long_answer_really_holds_is_rendered(text):
    assert "<pre>" not in page.rendered(text, {})


@pytest.mark.parametrize("text", [shapes(page.LONGEST)["small tables"], shapes(page.LONGEST)["brackets of TeX"]])
def test_more_tables_or_formulas_than_anybody_writes_are_shown_as_they_are(text):
    assert page.rendered(text, {}) == page.plain(text)


def test_a_text_that_is_long_because_of_its_pictures_is_rendered():
    pixels = base64.b64encode(base64.b64decode(DOT) + bytes(300_000)).decode()
    html = page.rendered(f"**a** ![p](data:image/png;base64,{pixels}) <img src='data:image/png;base64,{DOT}'>", {})
    assert "<strong>a</strong>" in html and f"data:image/png;base64,{pixels}" in html and html.count("<img") == 2


@pytest.mark.parametrize("source", [
    "![x](https://example.org/x.png)", "![x](//example.org/x.png)", "![x](/logout)", "![x](figure.png)",
    "<img src='https://example.org/x.png'>", "<img srcset='https://example.org/x.png 2x'>", "<img src=figure.svg>",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)", "![x](data:text/html;base64,PHN2Zz4=)", "![x](attachment:none.png)",
    "![x](data:image/png;base64,PHN2Zz4=)", "![x](attachment:page.png)", "![x](picture:7)", "<IMG\nSRC=/logout />",
    "<image src=/logout>", "![x]( /logout 'title')", "[![x](/logout)](/logout)", "![x][1]\n\n[1]: /logout",
])  # fmt: skip
def test_no_picture_is_fetched(source):
    page_in_it = {"page.png": {"image/png": base64.b64encode(b"<script>").decode()}}
    soup = bs4.BeautifulSoup(page.rendered(source, page_in_it), "html.parser")
    assert soup.find_all("img") == []
    assert "a picture that is not shown here" in soup.text or "<image" in soup.text


def test_a_picture_that_would_fill_the_memory_of_a_browser_is_not_shown():
    from PIL import Image

    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    assert len(data) < 100_000 and "<img" not in page.rendered(f"![x](data:image/png;base64,{data})", {})


@pytest.mark.parametrize("source", [
    "https://arxiv.org/abs/1503.02531", "[a](https://arxiv.org/abs/1503.02531)", "<a href='http://x.org:80/a?b#c'>a</a>",
])  # fmt: skip
def test_a_link_to_a_page_elsewhere_is_a_link_that_tells_it_nothing(source):
    link = bs4.BeautifulSoup(page.rendered(source, {}), "html.parser").a
    assert link["href"].startswith("http") and link["target"] == "_blank" and "noreferrer" in link["rel"]


@pytest.mark.parametrize("address", [
    "/logout", "page.html", "../x", "//x.org", "http://localhost:8888/logout", "http://127.0.0.1/", "http://127.1/",
    "http://2130706433/", "http://[::1]/", "http://0x7f.0x1/", "http://a.localhost/", "http://nas.local/", "http://host/",
    "https://user@x.org/", "file:///etc/passwd", "javascript:x()", "JaVa&#115;cript:x()", "data:text/html,x",
    "vbscript:x", "http://127.0.0.1.", "http:/logout", "http:logout", "https://x.org\\@host/",
])  # fmt: skip
def test_a_link_to_this_machine_or_its_neighbours_is_none(address):
    soup = bs4.BeautifulSoup(page.rendered(f"[a]({address}) <a href='{address}'>b</a>", {}), "html.parser")
    assert [link["href"] for link in soup.find_all("a") if link.has_attr("href")] == []


@pytest.mark.parametrize("source", [
    "$\\href{x}{y}$", "$\\hr&#101;f{x}$", "&#36;\\h&#114;ef{x}&#36;", "$\\hre&#x66;{x}$", "\\\\(\\href{x}{y}\\\\)",
    "$\\HREF{x}$",
    "$\\mmlToken{mi}[href='x']{x}$", "$\\bbox[background:url(x)]{x}$", "$\\style{a}{x}$", "$\\class{a}{x}$",
    "$\\cssId{a}{x}$", "$\\unicode[x]{65}$", "$\\require{x}$", "$\\hr<!-- -->ef{x}$", "$\\smash{\\raise9em{x}}$",
    "| $\\href{x}{y}$ |\n|---|", "# $\\href{x}{y}$", "- $\\href{x}{y}$", "\\begin{align}\\href{x}{y}\\end{align}",
])  # fmt: skip
def test_no_formula_carries_an_address_or_a_style(source):
    text = bs4.BeautifulSoup(page.rendered(source, {}), "html.parser").text
    assert not page.FORMULA.search(text)


@pytest.mark.parametrize("formula", [
    "\\frac{\\partial L}{\\partial z_i} = T^2 (p_i - q_i)",
    "\\mathrm{KL}(p \\| q) \\le \\hbar \\rightarrow \\left(x\\right)",
    "\\begin{aligned} a &< b \\\\ c &> d \\end{aligned}", "\\text{a class} \\datum \\styled",
])  # fmt: skip
def test_a_formula_reaches_the_page_as_it_was_written(formula):
    text = bs4.BeautifulSoup(page.rendered(f"so ${formula}$ holds", {}), "html.parser").text
    assert f"${formula}$" in text


@pytest.mark.parametrize("source", [
    "<b id=why class=navbar-fixed-top title=x name=submission_id data-toggle=modal tabindex=1>x</b>",
    "<div class='highlight modal'>x</div><span class=btn>x</span>", "<td colspan=9999 rowspan=9999 width=1>x</td>",
    "# a heading", "<ol start=99999999><li>x</li></ol>", "```python\nx = 1\n```",
])  # fmt: skip
def test_nothing_in_an_answer_is_taken_for_a_part_of_the_page(source):
    for tag in bs4.BeautifulSoup(page.rendered(source, {}), "html.parser").find_all(True):
        assert not set(tag.attrs) - {"class", "href", "src", "alt", "start", "colspan", "rowspan", "align"}
        assert set(tag.get("class", [])) <= page._classes() | {"highlight"}
        assert len(tag.get("colspan", "")) <= 2 and len(tag.get("start", "")) <= 6


def test_a_raw_cell_and_long_code_are_shown_as_text():
    """nbconvert passes a raw cell on as HTML, and colours code in a time that grows with the square of its length."""
    notebook = {"cells": [
        {"cell_type": "raw", "metadata": {}, "source": "~~~\n<b>x</b>\n~~~~~"},
        {"cell_type": "code", "metadata": {}, "source": "x." * 20_000},
        {"cell_type": "code", "metadata": {}, "source": "x = 1"},
        *({"cell_type": "code", "metadata": {}, "source": "x." * 9_000} for _ in range(9)),
    ]}  # fmt: skip
    verdicts.readable(notebook)
    shown = bs4.BeautifulSoup(page.rendered(notebook["cells"][0]["source"], {}), "html.parser")
    assert shown.text.strip() == "~~~\n<b>x</b>\n~~~~~" and shown.b is None
    colours = ["magics_language" not in cell["metadata"] for cell in notebook["cells"]]
    assert colours == [True, False, True, True, True, True, False, False, False, False, False, False]
