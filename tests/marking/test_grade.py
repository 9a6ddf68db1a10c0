"""`kdcourse grade` from hand-ins to gradebook, with real nbgrader and the real sandbox: nothing lost, no one in."""

import csv
import json
import re
import sqlite3
from pathlib import Path

import pytest
from grading import scenarios
from grading.course import graded, make, need_sandbox, released, solved, write
from grading.pocket.judging import WATCHWORD
from nbgrader import dbutil

from kdcourse.marking.grade import gradebook
from kdcourse.marking.grade.base import Place
from kdcourse.marking.grade.collect import identifier

NAMES = list(scenarios.cases(solved()))


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course in which every scenario was handed in, as a file or in a folder, and graded, in one call."""
    need_sandbox()
    folder = make(tmp_path_factory.mktemp("course"))
    for number, (name, case) in enumerate(scenarios.cases(released(folder)).items()):
        file = case.file or f"{name}.ipynb"
        write(folder / "in" / (file if number % 2 else f"{name}/{file}"), case.hand_in)
    (folder / "in" / "left-empty").mkdir()
    assert graded(folder, folder / "in") == 0
    return folder


@pytest.fixture(scope="module")
def cases(course):
    return scenarios.cases(released(course))


@pytest.fixture(scope="module")
def marks(course):
    return gradebook.marks(Place(course, "tiny"))


@pytest.fixture(scope="module")
def rows(course):
    with open(course / "grading" / "tiny.csv", newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def notebook(course: Path, student: str) -> dict:
    return json.loads(Place(course, "tiny").notebook("autograded", student).read_text(encoding="utf-8"))


def page(course: Path, student: str) -> str:
    return (Place(course, "tiny").step("feedback", student) / "tiny.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_what_the_answer_deserves(name, cases, marks):
    cells = marks[identifier(name)]["cells"]
    found = (cells["double"]["score"], cells["norm"]["score"], cells["why"]["auto"])
    assert found == (cases[name].double, cases[name].norm, scenarios.why_of(name))
    assert marks[identifier(name)]["max"] == 10


@pytest.mark.parametrize("name", NAMES)
def test_the_student_and_the_marker_are_told(name, cases, course, rows):
    row, told = rows[identifier(name)], page(course, identifier(name))
    said = " ".join([row["notes"], row["double message"], row["norm message"]])
    for words in cases[name].says:
        assert words in said
        assert words.replace("'", "&#39;") in told or words in told
    assert name in row["handed in as"]
    assert row["to mark by hand"] == ("" if scenarios.why_of(name) == 0 else "why")


def test_nobody_is_missing_and_nobody_is_there_twice(course, marks, rows):
    everybody = {identifier(name) for name in NAMES} | {"left-empty"}
    assert set(marks) == set(rows) == everybody and len(everybody) == len(NAMES) + 1


def test_an_empty_folder_is_a_hand_in_of_nothing(rows):
    assert (rows["left-empty"]["total"], "folder is empty" in rows["left-empty"]["notes"]) == ("0", True)


def test_the_gradebook_is_whole(course):
    with sqlite3.connect(course / "grading" / "gradebook.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        assert database.execute("select name from sqlite_master where name = 'owned'").fetchall() == []
        ((version,),) = database.execute("select version_num from alembic_version").fetchall()
    steps = [path.read_text() for path in Path(dbutil.ALEMBIC_DIR, "versions").glob("*.py")]
    ids, before = ({re.search(rf"^{name} = '?(\w+)'?$", step, re.M)[1] for step in steps}
                   for name in ("revision", "down_revision"))
    assert {version} == ids - before  # the one that no other follows: nbgrader takes it for its newest


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_reference_or_of_the_model_answer_reaches_a_student(name, course):
    told = page(course, identifier(name)) + json.dumps(notebook(course, identifier(name)))
    assert WATCHWORD not in told and "the model answer" not in told


def test_a_student_sees_no_file_that_grading_wrote(course):
    shown = json.dumps(notebook(course, "looks")["cells"])
    assert "FileNotFoundError" in shown and "judging.py" in shown
    assert "gradebook" not in shown.replace("gradebook.db", "") and "Because of the chain rule" in shown


def test_what_recorded_beyond_its_right_was_not_executed():
    assert not Path("/tmp/owned-by-a-recording").exists()


@pytest.mark.parametrize("name", ["markup", "html", "frames"])
def test_nothing_of_a_students_runs_in_the_browser_of_a_reader(name, course):
    import bs4

    soup = bs4.BeautifulSoup(page(course, name), "html.parser")
    body = soup.body
    assert not [tag for tag in body.find_all("script") if "owned" in tag.text or "alert" in tag.text]
    for tag in body.find_all(True):
        assert not [key for key in tag.attrs if key.startswith("on")]
        assert not str(tag.get("href", "")).strip().lower().startswith("javascript")
    assert "\\href" not in body.text.replace("\\href{javascript", "", 0) or name != "markup"


def test_a_table_of_marks_holds_no_formula(course):
    text = (course / "grading" / "tiny.csv").read_text(encoding="utf-8")
    assert "'=1+1" in text and ",=1" not in text


def test_solutions_and_submissions_are_as_they_were(course, cases):
    assert sorted(path.name for path in (course / "solutions").rglob("*")) == ["hint.txt", "tiny", "tiny.ipynb"]
    assert json.loads((course / "solutions/tiny/tiny.ipynb").read_text()) == solved()
    assert not (course / "exercises").exists()
    assert {path.name for path in course.iterdir()} == {"solutions", "grading", "in", "nbgrader_config.py"}


def test_a_second_call_changes_nothing_and_is_quick(course, marks):
    table = (course / "grading" / "tiny.csv").read_bytes()
    pages = {path: path.stat().st_mtime_ns for path in (course / "grading").rglob("*.html")}
    assert graded(course, course / "in") == 0
    assert (course / "grading" / "tiny.csv").read_bytes() == table
    assert gradebook.marks(Place(course, "tiny")) == marks
    assert {path: path.stat().st_mtime_ns for path in (course / "grading").rglob("*.html")} == pages
