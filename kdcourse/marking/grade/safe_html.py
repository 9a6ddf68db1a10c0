"""What a student wrote, as HTML that is safe to look at: in the feedback, and where answers are marked.

nbgrader's pages take a student's HTML as it is, and formgrader's are part of a Jupyter that may run anything. So no
script, style, form or frame is left, nothing is fetched that the student chose, nothing lies over the page, and a text
that would take long to render is shown as it is.
"""

import base64
import functools
import html
import io
import re
import time
import warnings

import jinja2

LONGEST = 20_000  # characters of a text that are rendered, without its pictures
DEEPEST = 60  # tags within tags
MOST = 15_000  # tags, opening and closing ones
DISPLAYED = 500  # formulas in brackets of TeX: each that is not closed is looked for to the end of the text
PAGE = 4.0  # CPU seconds that the texts of one page may take before the next is shown as it is
PIXELS = 50_000_000  # of a picture
TAGS = """a abbr b blockquote br caption code dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img
ins kbd li ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul""".split()
VALUES = {"align": r"left|right|center", "colspan": r"\d\d?", "rowspan": r"\d\d?", "start": r"\d{1,6}"}
ATTRIBUTES = {"td": ("align", "colspan", "rowspan"), "th": ("align", "colspan", "rowspan"), "ol": ("start",)}
# a page or an address for letters elsewhere: not of this machine, nor of the network that it stands in
LINK = re.compile(r"(https?://([a-z0-9-]+\.)+(?!(local|localhost|localdomain|internal|lan|home)(?![a-z0-9-]))[a-z]"
                  r"[a-z0-9-]+(:\d+)?([/?#][^\s\\]*)?|mailto:[^\s]*)", re.IGNORECASE)  # fmt: skip
DATA = re.compile(r"data:image/(?:png|jpe?g|gif|webp);base64,([A-Za-z0-9+/]+=*)", re.IGNORECASE)
STARTS = {"png": rb"\x89PNG\r\n\x1a\n", "jpeg": rb"\xff\xd8\xff", "gif": rb"GIF8[79]a", "webp": rb"RIFF....WEBP"}
QUOTES = re.compile(r"^(?:[ \t]*>){12}", re.MULTILINE)
OPENED = re.compile(r"<(/?)(?!(?:br|hr|img|input|wbr)\b)[a-z]", re.IGNORECASE)
# the commands of MathJax 2 that carry an address, a style, an attribute or a font of their own, or load more of them;
# the others can build none of them, since no command makes a new name out of text
FORMULA = re.compile(
    r"\\(href|url|require|style|class|cssId|unicode|html\w*|includegraphics|data|mmlToken|bbox|enclose|toggle|mathtip|"
    r"texttip|tooltip|smash|raise|lower|llap|rlap|moveleft|moveright|hskip|kern|mkern|mskip|hspace|mspace|Space|Rule|"
    r"rule)(?![a-z])", re.IGNORECASE)  # fmt: skip
BOXES = re.compile('<input class="task-list-item-checkbox" type="checkbox" disabled( checked)?/>')
TAG = re.compile(r"""(<(?:[^<>"']|"[^"]*"|'[^']*')*>)""")
IMAGE = re.compile(r"""<img((?:[^<>"']|"[^"]*"|'[^']*')*)>""")


@jinja2.pass_context
def safe_markdown(context, source: str) -> str:
    """HTML of Markdown without scripts, styles, forms, frames, and pictures but those that the notebook holds.

    A filter of Jinja's, which tells the cell and the page. What costs too much, or cannot be read, is shown as it is.
    """
    pictures = {name: data for name, data in (context.get("cell") or {}).get("attachments", {}).items() if data}
    resources = context.get("resources")
    resources = {} if resources is None else resources  # of one page
    spent, began = resources.get("kdcourse_spent", 0.0), time.thread_time()
    shown = plain(source) if spent > PAGE else rendered(source, pictures)
    resources["kdcourse_spent"] = spent + time.thread_time() - began
    return shown


def plain(source: str) -> str:
    """The text as it was written."""
    return f"<pre>{html.escape(source)}</pre>"


def rendered(source: str, attachments: dict[str, dict[str, str]]) -> str:
    """The same for one text, with the pictures attached to it: `{name: {mime type: base64}}`."""
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    found: list[str] = []  # taken out before anything else: they may be larger than all the rest

    def taken_out(match: re.Match) -> str:
        found.append(match[1])
        return f"picture:{len(found) - 1}"

    text = DATA.sub(taken_out, source)
    if len(text) > LONGEST or QUOTES.search(text) or text.count("\\\\[") > DISPLAYED:
        return plain(text)
    try:
        page = MarkdownWithMath(renderer=_renderer()(escape=False, exclude_anchor_links=True)).render(text)
        page = BOXES.sub(lambda box: "\u2611 " if box[1] else "\u2610 ", page)
        tags = OPENED.findall(page)
        shown = safe_html(page) if len(tags) <= MOST and _depth(tags) <= DEEPEST else ""
    except Exception:  # whatever a student wrote to confuse the parser
        shown = ""
    held = {f"picture:{index}": content for index, content in enumerate(found)}
    held |= {f"attachment:{name}": next(iter(data.values())) for name, data in attachments.items()}
    return _with_pictures(shown, held) if shown or not text.strip() else plain(text)


def safe_html(text: str) -> str:
    """The same HTML with only the tags, attributes and addresses that text needs; the others are shown as text."""
    import bleach

    def allowed(tag: str, name: str, value: str) -> bool:
        if (tag, name) == ("a", "href"):
            return bool(LINK.fullmatch(html.unescape(value)))
        if tag == "img":
            return name == "alt" or (name == "src" and len(value) < 2_000)
        if name == "class":
            return value in _classes() if tag == "span" else (tag, value) == ("div", "highlight")
        return name in ATTRIBUTES.get(tag, ()) and bool(re.fullmatch(VALUES[name], value))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clean = bleach.clean(text, tags=set(TAGS), attributes=allowed,
                             protocols={"http", "https", "mailto", "picture", "attachment"})  # fmt: skip
    parts = TAG.split(clean)  # what a reader's browser sees as text is every second one, with its entities read
    parts[::2] = [html.escape(FORMULA.sub(r"\1", html.unescape(part)), quote=False) for part in parts[::2]]
    parts[1::2] = [re.sub("^<a ", '<a target="_blank" rel="noopener noreferrer" ', part) for part in parts[1::2]]
    return "".join(parts)


@functools.cache
def _renderer() -> type:
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Renderer(IPythonRenderer):
        """Leaves pictures to `_with_pictures`, and colours only Python."""

        def _embed_image_or_attachment(self, source: str) -> str:
            return source

        def block_code(self, code: str, info: str | None = None) -> str:
            return super().block_code(code, "python" if (info or "").split()[:1] in (["python"], ["py"]) else None)

    return Renderer


@functools.cache
def _classes() -> frozenset[str]:
    """What the colours of code are called."""
    from pygments.token import STANDARD_TYPES

    return frozenset(STANDARD_TYPES.values())


def _depth(tags: list[str]) -> int:
    """How deep tags lie in each other, at most: "/" is a closing one."""
    depth = deepest = 0
    for closing in tags:
        depth = max(0, depth + (-1 if closing else 1))
        deepest = max(deepest, depth)
    return deepest


def _with_pictures(page: str, held: dict[str, str]) -> str:
    """The page with the pictures that are `held` by the notebook; of others it says that they are not shown."""

    def shown(match: re.Match) -> str:
        given = re.findall(r"""(\w+)=("[^"]*"|'[^']*')""", match[1])
        about = {name: html.unescape(value[1:-1]) for name, value in given}
        source, alt = about.get("src", ""), about.get("alt", "")
        data = _data(held.get(source) or held.get(_unquoted(source)) or "")
        if not data:
            return html.escape(f"(a picture that is not shown here: {alt or source or 'without an address'})")
        return f'<img alt="{html.escape(alt)}" src="{data}">'

    return IMAGE.sub(shown, page)


def _unquoted(source: str) -> str:
    from urllib.parse import unquote

    return unquote(source)


def _data(content: str) -> str:
    """The address that holds a picture, if the base64 is that of one which a browser can show without harm."""
    try:
        decoded = base64.b64decode(content)
    except ValueError:
        return ""
    kind = next((kind for kind, start in STARTS.items() if re.match(start, decoded, re.DOTALL)), "")
    if not kind or _pixels(decoded) > PIXELS:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(decoded).decode()}"


def _pixels(content: bytes) -> int:
    """How many pixels a picture says it has; 0 if that cannot be read, and a browser would show none."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as picture:
                return picture.width * picture.height
    except Image.DecompressionBombError:
        return PIXELS + 1
    except Exception:  # none, whatever it is
        return 0
