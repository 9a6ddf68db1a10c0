"""What a student wrote, as HTML that is safe to look at: in the feedback, and where answers are marked.

nbgrader's pages take a student's HTML as it is, and formgrader's are part of a Jupyter that may run anything.
"""

import html
import re
import warnings

import jinja2

TAGS = """a abbr b blockquote br caption code dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img
ins kbd li ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul""".split()
ATTRIBUTES = {"*": ["class", "id", "title", "align"], "img": ["alt", "width", "height"], "td": ["colspan", "rowspan"],
              "th": ["colspan", "rowspan"], "ol": ["start"]}  # fmt: skip
LINK = re.compile(r"(https?:|mailto:|#)|[^:]*$", re.IGNORECASE)
PICTURE = re.compile(r"(https?:|data:image/(png|jpeg|gif|webp);base64,)|[^:]*$", re.IGNORECASE)
# commands with which a formula could carry a link or a style of its own
FORMULA = re.compile(r"\\(href|url|require|style|class|cssId|unicode|html\w*|includegraphics|data)(?![a-z])", re.I)


@jinja2.pass_context
def safe_markdown(context, source: str) -> str:
    """HTML of Markdown without scripts, styles, forms, frames, and links to anything but pages and pictures.

    A filter of Jinja's, which tells the cell. For a picture that is not there nbconvert would give up the whole page.
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    pictures = context.get("cell", {}).get("attachments", {})

    class Renderer(IPythonRenderer):
        def _embed_image_or_attachment(self, source: str) -> str:
            data = pictures.get(source.removeprefix("attachment:"), {}) if source.startswith("attachment:") else None
            if data is None:
                return source
            return next((f"data:{mime};base64,{content}" for mime, content in data.items()), "")

    try:
        return safe_html(MarkdownWithMath(renderer=Renderer(escape=False)).render(source))
    except Exception:  # whatever a student wrote to confuse the parser is shown as it is
        return f"<pre>{html.escape(source)}</pre>"


def safe_html(text: str) -> str:
    """The same HTML with only the tags, attributes and addresses that text needs; the others are shown as text."""
    import bleach

    def allowed(tag: str, name: str, value: str) -> bool:
        value = re.sub(r"[\s\x00-\x20]+", "", value)
        if (tag, name) == ("a", "href"):
            return bool(LINK.match(value))
        if (tag, name) == ("img", "src"):
            return bool(PICTURE.match(value))
        return name in ATTRIBUTES.get(tag, []) or name in ATTRIBUTES["*"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clean = bleach.clean(text, tags=set(TAGS), attributes=allowed, protocols={"http", "https", "mailto", "data"})
    return FORMULA.sub(r"\1", clean)
