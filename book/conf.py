"""Settings of Sphinx for the book; `python -m book` gathers the sources first and runs it on them."""

import json
from pathlib import Path

from docutils import nodes

project = "Knowledge distillation"
author = "The kdcourse authors"
html_title = "Knowledge distillation: a course in notebooks"
html_short_title = "Knowledge distillation"
html_show_copyright = False
html_last_updated_fmt = None
language = "en"
extensions = ["myst_nb", "sphinx-mathjax-offline"]  # MathJax is shipped with the pages: no other host is asked
exclude_patterns = [".doctrees"]
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
highlight_language = "none"
html_theme = "sphinx_book_theme"
html_theme_options = {
    "navbar_persistent": [],    # the search stands in the sidebar; with a second header the contents would not open
    "use_fullscreen_button": False,
    "back_to_top_button": False,    # white on orange
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "max_navbar_depth": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_static_path = ["_static"]
html_css_files = ["book.css", "temperature.css"]
html_use_index = False
PICTURES = json.loads((Path(__file__).parent / "pictures.json").read_text(encoding="utf-8"))


def describe(app, doctree):
    """Give every picture of a notebook its text; below the picture of a widget the text stands for all to read."""
    for image in list(doctree.findall(nodes.image)):
        known = PICTURES.get(Path(image["uri"]).stem)
        if known is None:
            continue
        image["alt"] = known["alt"]
        if known["widget"]:
            first, _, rest = known["alt"].partition(". ")
            image["alt"] = f"{first}."
            words = nodes.container(classes=["in-words"])
            words += nodes.paragraph(text=f"A still picture of what you use in the notebook. {rest or first}")
            image.parent.insert(image.parent.index(image) + 1, words)


def setup(app):
    app.connect("doctree-read", describe)
    return {"parallel_read_safe": True}
