"""Settings of a student's own: handed out, kept at home, and drawn again when the hand-in is graded."""

import csv
import json
import re

import nbformat
import pytest
from grading.course import ROOT, answered, cell, graded, make, need_sandbox, released, solved, write

from kdcourse import cli
from kdcourse.marking import notebook as notebooks
from kdcourse.marking import student
from kdcourse.marking.grade import gradebook, hand_out, variants
from kdcourse.marking.grade.base import Place

NAME = "01_vanilla_kd"
CLASS = [f"student{number:02}" for number in range(40)]
TEXTS = ["shown = 1", "shown = 2", "shown = 3"]


def with_variants(notebook: dict, texts=TEXTS) -> dict:
    """With a line in the first cell of code that is not the same for everybody."""
    cell(notebook, "setup").update(source=f"import numpy as np\nfrom pocket import checks\n{texts[0]}\nprint(shown)")
    cell(notebook, "setup")["metadata"]["variants"] = list(texts)
    return notebook


@pytest.fixture
def course(tmp_path):
    """A course whose exercise has three variants, and its roster."""
    course = make(tmp_path / "course")
    write(course / "solutions" / "tiny" / "tiny.ipynb", with_variants(solved()))
    write(course / "exercises" / "tiny" / "tiny.ipynb", released(course))
    (course / "class.csv").write_text("student,name\n" + "".join(f"{name},The {name}\n" for name in CLASS))
    return course


def copy_of(course, name: str) -> dict:
    return json.loads((course / "grading" / "variants" / "tiny" / f"{name}.ipynb").read_text(encoding="utf-8"))


def shown(notebook: dict) -> str:
    return next(line for line in notebooks.source(cell(notebook, "setup")).splitlines() if line.startswith("shown"))


def test_every_student_gets_one_of_the_variants_and_nothing_else_differs(course):
    hand_out("tiny", course / "class.csv", course)
    given = {name: copy_of(course, name) for name in CLASS}
    assert {shown(one) for one in given.values()} == set(TEXTS)
    plain = released(course)
    for one in given.values():
        cell(one, "setup")["source"] = notebooks.source(cell(plain, "setup"))
        assert [(notebooks.source(a), a["metadata"]) for a in one["cells"]] == [
            (notebooks.source(b), b["metadata"]) for b in plain["cells"]]
    with open(course / "grading" / "tiny.variants.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["student"], row["name"], row["what stands in it"]) for row in rows] == [
        (name, f"The {name}", shown(copy_of(course, name))) for name in CLASS]


def test_a_student_gets_the_same_again_and_in_another_course_another(course, tmp_path):
    place, other = Place(course, "tiny"), Place(tmp_path / "other", "tiny")
    drawn = [variants.number(place, name, 3) for name in CLASS]
    assert [variants.number(place, name, 3) for name in CLASS] == drawn
    assert [variants.number(other, name, 3) for name in CLASS] != drawn
    assert [variants.number(Place(course, "next"), name, 3) for name in CLASS] != drawn


def test_an_exercise_without_variants_and_cells_that_do_not_agree_are_said(course):
    exercise = course / "exercises" / "tiny" / "tiny.ipynb"
    for texts, complaint in (([], "no cell of tiny has variants"), (["shown = 7", "x"], "not 'shown = 7'"),
                             (TEXTS[:2], r"the same number of them, not \[2, 3\]")):
        notebook = with_variants(released(course))
        cell(notebook, "setup")["metadata"]["variants"] = texts
        if len(texts) == 2:
            cell(notebook, "goodbye")["metadata"]["variants"] = ["The end", "An end", "No end"]
        write(exercise, notebook)
        with pytest.raises(ValueError, match=complaint):
            hand_out("tiny", course / "class.csv", course)


def test_at_home_the_settings_of_the_copy_are_kept_and_no_others(monkeypatch, tmp_path):
    plain = json.loads((ROOT / "exercises" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8"))
    texts = cell(plain, "q6-run")["metadata"]["variants"]
    ran = []
    monkeypatch.setattr(student, "run", lambda notebook, *given, **named: ran.append(notebook) or "")
    for text in (*texts, "temperatures=[1, 2]"):
        mine = notebooks.varied(plain, max(texts.index(text), 0)) if text in texts else plain
        if text not in texts:
            mine = json.loads(json.dumps(notebooks.varied(plain, 1)).replace(texts[1], text))
            cell(mine, "q6-run")["metadata"]["variants"] = texts
        write(tmp_path / "mine.ipynb", mine)
        _, warnings = student.check(tmp_path / "mine.ipynb", course=ROOT)
        changed = [warning for warning in warnings if "was changed" in warning]
        run = next(one.source for one in ran[-1].cells if one.metadata.nbgrader.get("grade_id") == "q6-run")
        assert (text in run, bool(changed)) == (text in texts, text not in texts), text


def test_when_graded_it_runs_with_the_students_own_settings_and_those_of_another_are_told(course):
    need_sandbox()
    hand_out("tiny", course / "class.csv", course)
    honest, copied = (next(name for name in CLASS if shown(copy_of(course, name)) == text) for text in TEXTS[1:])
    write(course / "in" / f"{honest}.ipynb", answered(copy_of(course, honest)))
    write(course / "in" / f"{copied}.ipynb", answered(copy_of(course, honest), why="Another reason of my own."))
    write(course / "in" / "guest.ipynb", answered(released(course)))
    (course / "class.csv").write_text("student\n" + "\n".join([*CLASS, "guest"]))
    assert graded(course, course / "in", people=course / "class.csv") == 0
    with open(course / "grading" / "tiny.csv", newline="", encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    for name in (honest, copied, "guest"):
        made = nbformat.read(Place(course, "tiny").notebook("autograded", name), 4)
        settings = TEXTS[0] if name == "guest" else shown(copy_of(course, name))
        printed = next(one.outputs[0].text for one in made.cells if one.get("id") == "setup")
        assert printed == f"{settings[-1]}\n" and rows[name]["automatic"] == "5"
        page = (Place(course, "tiny").step("feedback", name) / "tiny.html").read_text(encoding="utf-8")
        assert settings in next(one.source for one in made.cells if one.get("id") == "setup")
        assert [one for one in TEXTS if one in re.sub("<[^>]*>", "", page)] == [settings]
    assert "are they another's?" in rows[copied]["notes"] and "setup was changed" in rows[copied]["notes"]
    assert rows[honest]["notes"] == rows["guest"]["notes"] == ""
    assert gradebook.marks(Place(course, "tiny"))[copied]["total"] == 5


def test_the_command_makes_a_copy_for_each_student_of_a_roster(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "kdcourse").mkdir()
    (tmp_path / "solutions" / NAME).mkdir(parents=True)
    source = (ROOT / "solutions" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    write(tmp_path / "solutions" / NAME / f"{NAME}.ipynb", source)
    (tmp_path / "class.csv").write_text("name\nZoë Müller\njdoe\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["release", NAME, "--variants", "class.csv"]) == 0
    assert "a copy for each student is in" in capsys.readouterr().out
    made = sorted(path.name for path in (tmp_path / "grading" / "variants" / NAME).iterdir())
    assert len(made) == 2 and made[0] == "jdoe.ipynb" and made[1].startswith("zoe-muller-")
