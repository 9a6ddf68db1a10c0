"""Collect the sources of the book in one folder, laid out as the course is, so that the links between its files hold.

The notebooks come with the outputs that they store. What needs a kernel is taken out of them: a widget is its picture,
and its words stand below it. The pages of claims, words and papers are made from the notebooks and the package.
"""

import base64
import csv
import hashlib
import json
import re
import shutil
import tomllib
from pathlib import Path

from book import reference

WIDGET = "application/vnd.jupyter.widget-view+json"
MADE = {"../notebooks/": "found/ledger.md", "../kdcourse/__init__.py": "api/index.md"}


def gather(course: Path, into: Path) -> None:
    """Write every source of the book of that course into an empty folder."""
    shutil.copytree(course / "book", into, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(course / "book" / "conf.py", into)
    for path in into.glob("*.md"):
        put(path, turned(path.read_text(encoding="utf-8")))
    explorer(course / "kdcourse" / "widgets", into)
    for path in (*course.glob("[A-Z]*.md"), *course.glob("benchmarks/README.md")):
        if path != course / "README.md":
            put(into / path.relative_to(course), path.read_text(encoding="utf-8"))
    address, branch = repository(course)
    words = {}
    for path in notebooks(course):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        words |= without_kernel(notebook)
        attached(notebook, (into / path.relative_to(course)).parent)
        if address:
            notebook["cells"].insert(1, launch(address, branch, path.relative_to(course).as_posix()))
        put(into / path.relative_to(course), json.dumps(notebook).replace("](../book/", "](../"))  # pages on top
    put(into / "pictures.json", json.dumps(words))
    put(into / "found" / "ledger.md", ledger(course))
    put(into / "found" / "glossary.md", glossary(course))
    for name, page in {**reference.pages(course / "kdcourse"), **papers(course)}.items():
        put(into / name, page)


def turned(page: str) -> str:
    """A page of the folder `book` with its links as the book needs them: there the page lies beside the folders of the
    course, and pages that are made take the place of the files to which the repository's page points."""
    for there, made in MADE.items():
        page = page.replace(f"]({there})", f"]({made})")
    return page.replace("](../", "](")


def explorer(widgets: Path, into: Path) -> None:
    """Put the front end of the temperature explorer, the one that JupyterLab loads, into its page. It stands in the
    page itself: from a disk, a browser loads no module."""
    page = into / "temperature.md"
    if page.exists():
        module = (widgets / "temperature.js").read_text(encoding="utf-8")
        script = f'\n\n<script type="module">\n{module}{START}</script>\n'     # a block of its own for Markdown
        put(page, page.read_text(encoding="utf-8").replace(DATA, f"{DATA}{script}"))
        shutil.copy(widgets / "temperature.css", into / "_static")


DATA = '<script src="_static/temperature-data.js"></script>'
START = """
const known = globalThis.temperatureData;
render({model: standing({known, image: 0, temperature: 4, direction: "forward"}),
        el: document.getElementById("temperature-explorer")});
"""


def notebooks(course: Path) -> list[Path]:
    return sorted([*course.glob("notebooks/*.ipynb"), *course.glob("exercises/*/*.ipynb")])


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def repository(course: Path) -> tuple[str, str]:
    """The address of the repository and its branch, as pyproject.toml has them; the address is empty where none is set.

    Raises ValueError for an address that is not one of https.
    """
    settings = tomllib.loads((course / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["book"]
    address = settings["repository"].removesuffix("/").removesuffix(".git")
    if address and not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", address):
        raise ValueError(f"repository is {address!r} in pyproject.toml: write https://HOST/OWNER/NAME, or nothing")
    return address, settings["branch"]


def without_kernel(notebook: dict) -> dict[str, dict]:
    """Take the widgets' views out of a notebook. Returns the text of each picture, by the SHA-256 of its bytes, and
    whether the picture stands for a widget."""
    words = {}
    for output in (output for cell in notebook["cells"] for output in cell.get("outputs", [])):
        data = output.get("data", {})
        widget = data.pop(WIDGET, None) is not None
        if png := data.get("image/png"):
            name = hashlib.sha256(base64.b64decode("".join(png))).hexdigest()
            text = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            words[name] = {"alt": text, "widget": widget}
    return words


def attached(notebook: dict, folder: Path) -> None:
    """Write the pictures that are attached to cells of prose as files into the folder, and point the cells to them."""
    for cell in notebook["cells"]:
        for name, content in cell.pop("attachments", {}).items():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(base64.b64decode("".join(next(iter(content.values())))))
            cell["source"] = "".join(cell["source"]).replace(f"attachment:{name}", name)


def launch(address: str, branch: str, path: str) -> dict:
    """A cell of buttons under the title of a notebook: Colab and Binder open what lies on GitHub."""
    owner = address.removeprefix("https://github.com/")
    buttons = [f"[Source]({address}/blob/{branch}/{path})"]
    if owner != address:
        buttons += [f"[Open in Colab](https://colab.research.google.com/github/{owner}/blob/{branch}/{path})",
                    f"[Open in Binder](https://mybinder.org/v2/gh/{owner}/{branch}?urlpath=lab/tree/{path})"]
    text = " · ".join(buttons)
    if owner != address:
        text += "\n\nOn Colab, add this cell above the first one and run it:\n\n"
        text += f"```python\n{setup(address, branch)}\n```"
    return {"cell_type": "markdown", "id": "launch", "metadata": {}, "source": text}


def setup(address: str, branch: str) -> str:
    """The cell that installs the course where torch is there already, as on Colab."""
    return f'%pip install -q "kdcourse[course] @ git+{address}@{branch}"'


def prose(path: Path) -> str:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")


def section(text: str, heading: str) -> str:
    """What stands below the heading of that beginning, up to the next one of its rank; empty if there is none."""
    found = re.search(rf"^## {heading}.*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def ledger(course: Path) -> str:
    """The page of all claims: the ledger of every lesson that has one."""
    parts = ["# What we claim, and how sure", LEDGER]
    for path in sorted((course / "notebooks").glob("*.ipynb")):
        text = prose(path)
        title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
        claims = section(text, "Ledger") or "*This lesson has no ledger yet.*"
        parts.append(f"## [{title}](../notebooks/{path.name})\n\n{claims}")
    return "\n\n".join(parts) + "\n"


LEDGER = """\
Each lesson ends with a ledger. Here they stand together, taken from the notebooks by the program that builds this book.
*Where* names a section of the lesson, or a result file of the [benchmarks](../benchmarks/README.md) that holds every
run. Numbers of result files are compared with the files by a test. How to read an interval and a verdict is said in
[notebook 00](../notebooks/00_start_here.ipynb)."""


def glossary(course: Path) -> str:
    """The page of words: the glossary of the first notebook."""
    text = section(prose(course / "notebooks" / "00_start_here.ipynb"), "Glossary")
    return ("# Glossary\n\nEach word is explained where it first appears in a lesson. "
            f"[Notebook 00](../notebooks/00_start_here.ipynb) holds this table too.\n\n{text}\n")


def papers(course: Path) -> dict[str, str]:
    """The page of the papers' tables, if the package has them: each cell as it is printed, with what is known of it."""
    if not (course / "kdcourse" / "papers").is_dir():
        return {}
    from kdcourse.papers import PAPERS

    parts = ["# The papers' tables", "Each cell as the papers print it; `kdcourse.papers.table` reads them."]
    for name, paper in PAPERS.items():
        parts.append(f"## {name}\n\n{paper.citation}")
        for number, known in paper.tables.items():
            parts += [f"### Table {number} · {known.title}", f"{known.units}. Runs: {known.runs}."]
            parts.append(table(course / "kdcourse" / "papers" / "tables" / f"{name}_{number}.csv"))
            parts += [f"- {note}" for note in known.notes]
        parts += [f"*Table {number} ({what}) has no numbers in our copy.*" for number, what in paper.lost.items()]
    return {"found/papers.md": "\n\n".join(parts) + "\n"}


def table(path: Path) -> str:
    """A file of comma-separated values as a table of Markdown."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = [[cell.replace("|", r"\|") for cell in row] for row in csv.reader(file)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))
