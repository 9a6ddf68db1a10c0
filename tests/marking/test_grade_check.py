"""`kdcourse check` at home and `kdcourse grade` give the same marks for the same file."""

import json
import sys
from pathlib import Path

import pytest
from grading import scenarios
from grading.course import POCKET, answered, make, solved, write
from grading.pocket import judging

from kdcourse.marking import notebook as notebooks
from kdcourse.marking import student
from kdcourse.marking.release import release

RELEASED = solved()
RIGHT = answered(RELEASED)
KINDS = (scenarios.honest, scenarios.careless, scenarios.hostile)
CASES = {name: case for kind in KINDS for name, case in kind(RELEASED, RIGHT).items()}
# scenarios that may not run without walls, beside those that eat all there is
WALLED = ("looks", "next-cells", "book", "socket", "pickles", "frames", "exits")
NAMES = [name for name in CASES if name not in WALLED]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The course in a pocket as a student has it, with the exercise."""
    folder = make(tmp_path_factory.mktemp("course"))
    release("tiny", folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_check_gives_the_marks_that_grade_gives(name, course, tmp_path, monkeypatch):
    monkeypatch.setattr(student, "checks", judging)
    for part in ("results", "running"):
        monkeypatch.setattr(sys.modules[f"kdcourse.marking.student.{part}"], "checks", judging)
    monkeypatch.setattr(sys.modules["kdcourse.marking.student.running"], "GRACE", 2)
    monkeypatch.setattr(judging, "is_there", lambda module: True, raising=False)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)  # where notebooks are tested, a warning is an error
    monkeypatch.setenv("PYTHONPATH", str(POCKET.parent))
    released = json.loads((course / "exercises" / "tiny" / "tiny.ipynb").read_text(encoding="utf-8"))
    case = next(kind(released, answered(released))[name] for kind in KINDS if name in kind(RELEASED, RIGHT))
    write(tmp_path / "mine.ipynb", case.hand_in)
    (tmp_path / "hint.txt").write_text("a file that goes with the assignment")
    earned = {"double": 0.0, "norm": 0.0, "why": 0.0}
    try:
        found, _ = student.check(tmp_path / "mine.ipynb", course=course, seconds=10)
    except ValueError as error:
        assert any(words in str(error) for words in ("not a notebook", "empty", "holds no question"))
    else:
        earned = {result.name: result.earned for result in found}
    assert earned == {"double": case.double, "norm": case.norm, "why": 0.0}  # proven of `grade` in test_grade.py


def test_reading_and_mending_are_one_code():
    from kdcourse.marking.grade.collect import collect

    assert student.notebooks is notebooks is sys.modules[collect.__module__].notebooks
    for folder in ("grade", "student"):
        for path in (Path(notebooks.__file__).parent / folder).glob("*.py"):
            assert "nbformat.read" not in path.read_text(encoding="utf-8"), path
