"""Odd hand-ins, graded in one call beside honest ones: each gets the marks of its own answers, and is told why."""

import base64
import copy
import csv
import io
import json
import os
from pathlib import Path

import pytest
from grading.course import answered, cell, graded, make, need_sandbox, released, write

from kdcourse.marking.grade import gradebook
from kdcourse.marking.grade.base import Place
from kdcourse.marking.grade.collect import identifier

WRONG = "def {0}(x):\n    return 0 * x"
ODD = os.fsdecode(b"caf\xe9")  # a name that is no UTF-8
STEERING = "red\x1b[31m\x1b]0;title\x07"
FORMULA = "Bob;=HYPERLINK(1)"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)
DATES = {"before-all": -1e12, "after-all": 1e12, "1980": 315_600_000.0, "tomorrow": 4e9}


def stripped(notebook: dict) -> dict:
    """As an editor leaves it that knows neither metadata nor identifiers."""
    cells = [{"cell_type": one["cell_type"], "metadata": {}, "source": one["source"]} for one in notebook["cells"]]
    return {"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": cells}


def third(notebook: dict) -> dict:
    """In format 3."""
    cells = []
    for one in notebook["cells"]:
        text = "".join(one["source"])
        code = {"input": text, "language": "python", "outputs": [], "collapsed": False, "prompt_number": 1}
        rest = code if one["cell_type"] == "code" else {"source": text}
        cells.append({"cell_type": one["cell_type"], "metadata": one["metadata"], **rest})
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}


def in_a_fresh_cell(notebook: dict) -> dict:
    """The cell of the written answer deleted, the answer written into a new one in its place."""
    notebook = copy.deepcopy(notebook)
    index = notebook["cells"].index(cell(notebook, "why"))
    notebook["cells"][index] = {"cell_type": "markdown", "metadata": {}, "source": "My own cell.", "id": "fresh"}
    return notebook


def inline(kilobytes: int) -> str:
    return base64.b64encode(PNG + bytes(1000 * kilobytes)).decode()


def whole(folder: Path, release: dict) -> dict[str, tuple[float, float]]:
    """Write the hand-ins; returns by name what each deserves for `double` and `norm`."""
    right, wrong = answered(release), answered(release, double=WRONG.format("double"), norm=WRONG.format("norm"))
    text = json.dumps(right)
    plain = {
        "Lee": right, "lee": wrong, "john": wrong, "zoe-2752": wrong, "Zoë": right, ODD: right, STEERING: right,
        FORMULA: right, "format3": third(right), "stripped": stripped(right), "fresh": in_a_fresh_cell(right),
        "picture": answered(release, why=f"Before.\n\n![](data:image/png;base64,{inline(300)})\n\nAfter it."),
        "large": answered(release, why=f"Kept.\n\n![](data:image/png;base64,{inline(12_000)})"),
        "message": answered(release, norm="def norm(x):\n    raise ValueError('0;=HYPERLINK(2) \\x1b[31m')"),
    }  # fmt: skip
    for name, notebook in plain.items():
        write(folder / f"{name}.ipynb", notebook)
    write(folder / "john.smith" / "work.ipynb", right)
    encodings = {"wide": "utf-16", "wider": "utf-32", "big-endian": "utf-16-be", "marked": "utf-8-sig"}
    for name, encoding in encodings.items():
        (folder / f"{name}.ipynb").write_bytes(text.encode(encoding))
    for name, source in {"numpy": "import os\nos._exit(1)", "torch": "x = 1", "random": "raise SystemExit"}.items():
        write(folder / f"has-{name}" / "work.ipynb", right)
        write(folder / f"has-{name}" / f"{name}.py", source)
    write(folder / "odd-file" / "work.ipynb", right)
    write(folder / "odd-file" / f"{ODD}.csv", "1")
    for name, date in DATES.items():
        write(folder / f"{name}.ipynb", right)
        os.utime(folder / f"{name}.ipynb", (date, date))
    (folder / "copier").symlink_to(folder / "john.smith", target_is_directory=True)
    (folder / "linker").mkdir()
    write(folder.parent / "solution.ipynb", right)
    os.link(folder.parent / "solution.ipynb", folder / "linker" / "work.ipynb")
    (folder / "deep" / "a").mkdir(parents=True)
    (folder / "deep" / "a" / "b").symlink_to(folder / "john.smith", target_is_directory=True)
    nothing = ("lee", "john", "zoe-2752", "copier", "linker", "deep", "has-numpy")
    names = [*plain, "john.smith", "wide", "wider", "big-endian", "marked", "odd-file", *DATES, *nothing]
    return {name: (0.0, 0.0) if name in nothing else (2.0, 0.0 if name == "message" else 3.0) for name in names}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    need_sandbox()
    folder = make(tmp_path_factory.mktemp("course"))
    (folder / "in").mkdir()
    deserved = whole(folder / "in", released(folder))
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", printed)
        assert graded(folder, folder / "in") == 0
    return folder, deserved, printed.getvalue()


@pytest.fixture(scope="module")
def rows(course):
    with open(course[0] / "grading" / "tiny.csv", newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def test_everybody_has_the_marks_of_their_own_answers(course, rows):
    found = {name: (float(rows[identifier(name)]["double points"]), float(rows[identifier(name)]["norm points"]))
             for name in course[1]}  # fmt: skip
    assert found == course[1]


def test_nobody_is_merged_and_nobody_is_missing(course, rows):
    assert set(rows) == {identifier(name) for name in course[1]} | {"has-torch", "has-random"}


def test_a_second_call_changes_nothing(course):
    before = (course[0] / "grading" / "tiny.csv").read_bytes()
    assert graded(course[0], course[0] / "in") == 0
    assert (course[0] / "grading" / "tiny.csv").read_bytes() == before


@pytest.mark.parametrize("name, words", [
    ("copier", "is a link, which is not followed"), ("deep", "is a link, which is not followed"),
    ("linker", "is a hard link"), ("wide", "the file is in UTF-16"), ("wider", "the file is in UTF-32"),
    ("big-endian", "the file is in UTF-16"), ("format3", "in format 3"),
    ("stripped", "recognised by their text"), ("stripped", "why had lost its mark"), ("fresh", "why had lost its mark"),
    ("large", "a picture of 15.3 MB was left out"), ("odd-file", "was left out: its name is no text"),
    ("Lee", "looks like that of another student: lee.ipynb"), ("lee", "looks like that of another student: Lee.ipynb"),
    *((name, "its file has no date of a hand-in") for name in DATES),
    *((f"has-{name}", f"{name}.py, beside the notebook, hides the module {name}") for name in ("numpy",)),
])  # fmt: skip
def test_what_is_odd_is_said(name, words, rows):
    assert words in rows[identifier(name)]["notes"]


def test_a_module_that_ends_python_is_named_with_the_marks_that_are_missing(rows):
    assert "numpy.py" in rows["has-numpy"]["notes"] and "nothing was recorded" in rows["has-numpy"]["double message"]


@pytest.mark.parametrize("name", ["stripped", "fresh", "format3", "wide", "picture", "large"])
def test_a_written_answer_waits_for_its_marker(name, rows):
    assert rows[identifier(name)]["to mark by hand"] == "why"


def test_the_text_around_a_picture_is_kept_and_the_picture_with_it(course):
    place = Place(course[0], "tiny")
    why = cell(json.loads(place.notebook("autograded", "picture").read_text()), "why")
    source = "".join(why["source"])
    assert source.startswith("Before.") and source.endswith("After it.") and len(source) < 100
    assert [data["image/png"] for data in why["attachments"].values()] == [inline(300)]
    page = (place.step("feedback", "picture") / "tiny.html").read_text(encoding="utf-8")
    assert "After it." in page and inline(300)[:500] in page
    large = cell(json.loads(place.notebook("autograded", "large").read_text()), "why")
    assert "".join(large["source"]).startswith("Kept.")


def test_nothing_that_is_printed_or_in_the_table_steers_a_terminal_or_a_spreadsheet(course):
    table = (course[0] / "grading" / "tiny.csv").read_text(encoding="utf-8")
    assert "\x1b" not in course[2] + table and "\x07" not in course[2] + table and "\\x1b[31m" in table
    assert "Bob;'=HYPERLINK(1)" in table and "0;'=HYPERLINK(2)" in table
    for line in table.splitlines():
        for part in line.replace(",", ";").split(";"):
            assert not part.strip(" \"'").startswith("=") or part.strip(' "').startswith("'")


def test_columns_add_up_for_everybody_with_marks_and_extra_credit_by_hand(course):
    with gradebook.opened(Place(course[0], "tiny")) as book:
        for student, (manual, extra) in {"wide": (4.25, 0.5), "wider": (None, 2.0), "marked": (0.1, None)}.items():
            one = book.find_grade("why", "tiny", "tiny", student)
            one.manual_score, one.extra_credit = manual, extra
        book.find_grade("double", "tiny", "tiny", "wide").extra_credit = 0.3
        book.db.commit()
    assert graded(course[0], course[0] / "in") == 0
    with open(course[0] / "grading" / "tiny.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        parts = sum(float(row[f"{name} points"] or 0) for name in ("double", "norm", "why"))
        assert float(row["automatic"]) + float(row["by hand"]) == pytest.approx(float(row["total"]), abs=1e-9)
        assert parts == pytest.approx(float(row["total"]), abs=1e-9)
    by_hand = {row["student"]: row["by hand"] for row in rows}
    assert (by_hand["wide"], by_hand["marked"], by_hand["lee"]) == ("5.05", "0.1", "0")


