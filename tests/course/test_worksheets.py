"""A worksheet is its lesson with empty blanks: filled in from the lesson it is the lesson again."""

import ast
import itertools
import json
import re
from pathlib import Path

import nbformat
import pytest

from kdcourse import worksheets

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL = '''
LIMIT = 3       # stays

@torch.no_grad()
def first(z, y):
    """What it returns.

    Two lines of it."""
    p = z.softmax(1)    # a line
    return p[y]

def second(a,
           b=2):
    if a:
        return b
    return 0  # the end

class Net(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        return x
'''
EMPTIED = '''
LIMIT = 3       # stays

@torch.no_grad()
def first(z, y):
    """What it returns.

    Two lines of it."""
    BLANK

def second(a,
           b=2):
    BLANK

class Net(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, x):
        BLANK'''


def test_a_blank_keeps_signature_docstring_decorator_and_what_stands_between():
    assert worksheets.emptied(CELL) == EMPTIED.replace("BLANK", worksheets.BLANK)


@pytest.mark.parametrize("code", ["x = 1", "def f(x): return x", 'def f(x):\n    """Says what it does."""', ""])
def test_where_nothing_can_be_left_out_nothing_is(code):
    assert worksheets.emptied(code) == code


def filled(sheet, lesson):
    """The worksheet with the blanks filled in from the lesson, and with nothing else of the lesson."""
    answers = {cell.id: cell.source for cell in lesson.cells if "by-hand" in cell.metadata.get("tags", [])}
    for cell in sheet.cells:
        cell.source = answers.get(cell.id, cell.source)
    return sheet


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_worksheet_filled_in_from_its_lesson_is_the_lesson_again(path):
    lesson = nbformat.read(path, 4)
    sheet = worksheets.made(lesson, path.name)
    about = sheet.cells.pop(1)
    assert f"({path.name})" in about.source
    for cell in lesson.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    blanks = [cell for cell in sheet.cells if "by-hand" in cell.metadata.get("tags", [])]
    assert all(worksheets.BLANK in cell.source and ast.parse(cell.source) for cell in blanks)
    back = filled(sheet, lesson)
    for cell in back.cells:
        cell.source = cell.source.replace("](/", "](")
    told = lesson.cells[0].source
    back.cells[0].source, left_out = told, _left_out(told, back.cells[0].source)
    assert left_out.startswith("To write") and f"`kdcourse lesson {path.stem[:2]}`" in left_out
    assert json.dumps(back.cells) == json.dumps(lesson.cells)


def _alike(a: str, b: str) -> int:
    """How many letters at the beginning of two texts are the same."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _left_out(text: str, shorter: str) -> str:
    """The one part of a text that a shorter text lacks, without the space around it."""
    start = _alike(text, shorter)
    end = _alike(text[:start - 1:-1], shorter[:start - 1:-1])
    assert text[:start] + text[len(text) - end:] == shorter
    return text[start:len(text) - end].strip()


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_worksheet_does_not_say_how_to_make_one(path):
    sheet = worksheets.made(nbformat.read(path, 4), f"../../notebooks/{path.name}")
    assert [cell.source for cell in sheet.cells if "kdcourse lesson" in cell.source] == []


COMMAND = "To write the functions yourself, run `kdcourse lesson 04`"


@pytest.mark.parametrize("prose, kept", [
    (f"One.\n\n{COMMAND} in a terminal: it makes a worksheet in `work/lessons/`.", "One."),
    (f"One.\n\n{COMMAND}. For study\nonly.", "One.\n\nFor study\nonly."),
    (f"One.\n\n{COMMAND}. It makes a worksheet in\n`work/lessons/`, with the functions left empty.\n\nTwo.",
     "One.\n\nTwo."),
    (f"One. {COMMAND}. Two.", "One. Two."),
    (f"{COMMAND}.\n\n## Two", "## Two"),
    ("To write a loss, take `p`. Lesson 04 says more.", "To write a loss, take `p`. Lesson 04 says more."),
])
def test_only_the_sentence_about_making_a_worksheet_is_left_out(prose, kept):
    assert worksheets.without_how(prose) == kept


def course(folder: Path) -> Path:
    (folder / "notebooks").mkdir()
    for name in ("01_first", "02_second", "02_third"):
        cells = [nbformat.v4.new_markdown_cell("# Title\n\nSee [next](02_second.ipynb#a), [code](../kdcourse/core.py) "
                                               "and [paper](https://arxiv.org/abs/1503.02531)."),
                 nbformat.v4.new_code_cell("def f():\n    return 1", metadata={"tags": ["by-hand"]}, execution_count=1)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "notebooks" / f"{name}.ipynb")
    return folder


@pytest.mark.parametrize("name", ["1", "01", "001", "١", "01_first", "01_f"])
def test_a_worksheet_is_written_once_and_never_over_another(tmp_path, name):
    sheet = worksheets.start(name, course(tmp_path))
    assert sheet == tmp_path / "work" / "lessons" / "01_first.ipynb"
    assert nbformat.validate(nbformat.read(sheet, 4)) is None
    assert json.loads((sheet.parent / "predictions.json").read_text()) == {}
    sheet.write_text("mine")
    (sheet.parent / "predictions.json").write_text('{"Q": 1}')
    with pytest.raises(ValueError, match="is there already"):
        worksheets.start(name, tmp_path)
    assert sheet.read_text() == "mine"
    worksheets.start("02_s", tmp_path)
    assert (sheet.parent / "predictions.json").read_text() == '{"Q": 1}'


@pytest.mark.parametrize("name", ["", "3", "٣", "²", "02", "fourth"])
def test_an_unknown_lesson_is_an_error_that_names_those_there_are(tmp_path, name):
    with pytest.raises(ValueError, match="choose one of: 01_first, 02_second, 02_third"):
        worksheets.start(name, course(tmp_path))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("name", ["1", "01", "first", "01_First", "../notebooks/01_first.ipynb"])
def test_a_lesson_may_be_named_as_one_finds_it(tmp_path, name):
    assert worksheets.start(name, course(tmp_path)).name == "01_first.ipynb"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 1}'])
def test_a_lesson_that_is_damaged_is_named_with_what_to_do(tmp_path, content):
    (course(tmp_path) / "notebooks" / "01_first.ipynb").write_text(content)
    with pytest.raises(ValueError, match=r"01_first\.ipynb is damaged .* git checkout"):
        worksheets.start("1", tmp_path)
    assert not (tmp_path / "work").exists()


def test_its_links_lead_where_those_of_the_lesson_lead(tmp_path):
    sheet = worksheets.start("1", course(tmp_path))
    links = re.findall(r"\]\(([^)#]+)", "\n".join(cell.source for cell in nbformat.read(sheet, 4).cells))
    assert "https://arxiv.org/abs/1503.02531" in links
    found = {(sheet.parent / link).resolve().relative_to(tmp_path.resolve()).as_posix()
             for link in links if not link.startswith("https")}
    assert found == {"notebooks/02_second.ipynb", "kdcourse/core.py", "notebooks/01_first.ipynb"}
