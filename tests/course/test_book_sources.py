"""What the book is made from: nothing of the notebooks is lost, and the pages that programs write are complete."""

import ast
import inspect
import json
import pkgutil
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

import kdcourse
from book import gather, reference

ROOT = Path(__file__).parents[2]
NOTEBOOKS = gather.notebooks(ROOT)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    gather.gather(ROOT, folder)
    return folder


def course(folder: Path, address: str) -> Path:
    """A folder that is a course with that address, and with one notebook."""
    (folder / "notebooks").mkdir()
    (folder / "pyproject.toml").write_text(f'[tool.book]\nrepository = "{address}"\nbranch = "main"\n')
    (folder / "book").mkdir()
    (folder / "book" / "conf.py").touch()
    cells = [nbformat.v4.new_markdown_cell("# 00 · Title\n\n## Glossary\n\nwords"), nbformat.v4.new_code_cell("1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "notebooks" / "00_start_here.ipynb")
    (folder / "kdcourse").mkdir()
    (folder / "kdcourse" / "__init__.py").write_text('"""A package."""')
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_in_the_book_is_the_committed_one_without_what_needs_a_kernel(sources, path):
    kept = nbformat.read(sources / path.relative_to(ROOT), 4)
    committed = nbformat.read(path, 4)
    words = json.loads((sources / "pictures.json").read_text())
    assert len(kept.cells) == len(committed.cells) and gather.WIDGET not in json.dumps(kept)
    for ours, theirs in zip(kept.cells, committed.cells, strict=True):
        assert ours.source == theirs.source.replace("attachment:", "").replace("](../book/", "](../")
        assert len(ours.get("outputs", [])) == len(theirs.get("outputs", []))
    pictures = [output for cell in committed.cells for output in cell.get("outputs", []) if "image/png" in output.get(
        "data", {})]
    texts = {known["alt"] for known in words.values()}
    assert {output.metadata["image/png"]["alt"] for output in pictures} <= texts


def test_every_row_of_every_ledger_stands_on_the_page_of_claims(sources):
    page = (sources / "found" / "ledger.md").read_text()
    lessons = [path for path in NOTEBOOKS if path.parent.name == "notebooks"]
    for path in lessons:
        text = gather.prose(path)
        rows = [line for line in gather.section(text, "Ledger").splitlines() if line.startswith("|")]
        assert [row for row in rows if row not in page] == [] and f"(../notebooks/{path.name})" in page
        assert rows or "## Ledger" not in text
    assert page.count("\n## [") == len(lessons)


def test_the_glossary_of_the_book_is_that_of_the_first_notebook(sources):
    page = (sources / "found" / "glossary.md").read_text()
    rows = [line for line in gather.prose(ROOT / "notebooks" / "00_start_here.ipynb").split("## Glossary")[1].split(
        "\n## ")[0].splitlines() if line.startswith("|")]
    assert len(rows) > 15 and [row for row in rows if row not in page] == []


ROOMS = reference.rooms(ROOT / "kdcourse")


def test_the_reference_finds_every_room_by_itself(tmp_path):
    there = {module.name for module in pkgutil.iter_modules(kdcourse.__path__)}
    assert set(ROOMS) == there - {"__main__", "cli", "marking"} and len(ROOMS) == len(set(ROOMS))
    (tmp_path / "new").mkdir()
    for name in ("new/__init__", "train", "data", "__init__", "cli"):
        (tmp_path / f"{name}.py").write_text('"""A room."""')
    assert list(reference.pages(tmp_path)) == ["api/index.md", "api/data.md", "api/train.md", "api/new.md"]


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_has_every_public_function_and_class_of_a_room(sources, room):
    page = (sources / "api" / f"{room}.md").read_text()
    module = import_module(f"kdcourse.{room}")
    tree = ast.parse(inspect.getsource(module))
    handed_on = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
                 if alias.asname == alias.name}
    public = {name for name, it in vars(module).items() if not name.startswith("_")
              and (inspect.isfunction(it) or inspect.isclass(it))
              and (it.__module__ == module.__name__ or name in handed_on)}
    assert public and {name for name in public if f"\n## `{name}`\n" not in page} == set()


@pytest.mark.parametrize("text, expected", [
    ("T^2 KL(p_t || p_s) * 2", r"T\^2 KL(p\_t \|\| p\_s) \* 2"),
    ("see `kd_loss`, [1]", r"see `kd_loss`, \[1\]"),
    (">>> f(1)\n2", "```pycon\n>>> f(1)\n2\n```"),
    ("    z = f(x)\n      + 1", "```text\nz = f(x)\n  + 1\n```"),
    ("- one\n- two", "- one\n- two"),
])
def test_a_docstring_is_shown_letter_by_letter(text, expected):
    assert reference.markdown(text) == expected


def test_without_an_address_no_page_has_a_launch_button(tmp_path, sources):
    assert "colab" not in (sources / "notebooks" / "00_start_here.ipynb").read_text()
    folder = course(tmp_path, "")
    gather.gather(folder, tmp_path / "into")
    assert "launch" not in (tmp_path / "into" / "notebooks" / "00_start_here.ipynb").read_text()


@pytest.mark.parametrize("written", ["https://github.com/owner/name", "https://github.com/owner/name.git"])
def test_with_an_address_on_github_a_lesson_opens_in_colab_and_binder_and_has_the_cell_that_installs(tmp_path, written):
    gather.gather(course(tmp_path, written), tmp_path / "into")
    cell = nbformat.read(tmp_path / "into" / "notebooks" / "00_start_here.ipynb", 4).cells[1]
    links = re.findall(r"\((https://[^)]+)\)", cell.source)
    assert links == [
        "https://github.com/owner/name/blob/main/notebooks/00_start_here.ipynb",
        "https://colab.research.google.com/github/owner/name/blob/main/notebooks/00_start_here.ipynb",
        "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/notebooks/00_start_here.ipynb"]
    (setup,) = re.findall(r"```python\n(.*)\n```", cell.source)
    assert setup == '%pip install -q "kdcourse[course] @ git+https://github.com/owner/name@main"'
    requirement = re.search(r'"(.+)"', setup)[1]
    packaging = pytest.importorskip("packaging.requirements")
    found = packaging.Requirement(requirement)
    assert found.url.startswith("git+https://github.com/owner/name@") and found.extras == {"course"}
    page = (ROOT / "book" / "installation.md").read_text(encoding="utf-8")
    assert setup.replace("https://github.com/owner/name", "ADDRESS") in page


def test_an_address_elsewhere_gets_a_link_to_the_source_only(tmp_path):
    gather.gather(course(tmp_path, "https://codeberg.org/owner/name"), tmp_path / "into")
    cell = nbformat.read(tmp_path / "into" / "notebooks" / "00_start_here.ipynb", 4).cells[1]
    assert cell.source == "[Source](https://codeberg.org/owner/name/blob/main/notebooks/00_start_here.ipynb)"


@pytest.mark.parametrize("address", ["github.com/o/name", "https://github.com/owner", "git@github.com:o/name.git"])
def test_an_address_that_is_none_is_refused(tmp_path, address):
    with pytest.raises(ValueError, match="write https://HOST/OWNER/NAME, or nothing"):
        gather.repository(course(tmp_path, address))


def test_a_section_that_is_last_or_missing_is_found_or_empty():
    text = "# T\n\n## A\n\none\n\n## Ledger: claims\n\n| two |"
    assert gather.section(text, "Ledger") == "| two |" and gather.section(text, "A") == "one"
    assert gather.section(text, "Glossary") == ""


def test_a_cell_of_a_table_keeps_its_bars(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n1,"x|y"\n')
    assert gather.table(tmp_path / "t.csv") == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


@pytest.mark.skipif(not find_spec("kdcourse.papers"), reason="the package has no tables of papers")
def test_every_cell_of_every_table_of_the_papers_is_on_their_page(sources):
    page = (sources / "found" / "papers.md").read_text()
    tables = sorted((ROOT / "kdcourse" / "papers").rglob("*.csv"))
    assert tables and [path.name for path in tables if gather.table(path) not in page] == []
