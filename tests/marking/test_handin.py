"""`kdcourse check` on a small exercise with a wrong, forged, broken, deleted or endless part: it says what is true."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from kdcourse.marking import sandbox, student
from kdcourse.marking.student.reporting import report

ROOT = Path(__file__).parents[2]
NAME = "01_vanilla_kd"
KEPT = ("setup", "q1a-written", "q3", "q3-losses", "q3-example", "teacher_loss", "distillation_loss", "q8-counts",
        "count_parameters", "q8-written")
TRAP = "raise NotImplementedError()"


@pytest.fixture(scope="module")
def small():
    """A few cells of the exercise, and their answers by name."""
    released = nbformat.read(ROOT / "exercises" / NAME / f"{NAME}.ipynb", 4)
    solved = nbformat.read(ROOT / "solutions" / NAME / f"{NAME}.ipynb", 4)
    released.cells = [cell for cell in released.cells if cell.id in KEPT]
    cells = {cell.id: cell for cell in released.cells}
    cells["setup"].source = "import torch.nn.functional as F\nfrom kdcourse.marking import checks"
    cells["q3-example"].source = "shown = teacher_loss"
    return released, {cell.id: cell.source.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "")
                      for cell in solved.cells if cell.metadata.get("nbgrader", {}).get("solution")}


@pytest.fixture
def checked(small, tmp_path):
    """Checks the small exercise, answered, with some sources changed and some cells deleted; returns the results by
    name, the warnings, and what was told."""
    released, answers = small
    for folder in ("notebooks", "kdcourse", f"exercises/{NAME}"):
        (tmp_path / "course" / folder).mkdir(parents=True)
    nbformat.write(released, tmp_path / "course" / "exercises" / NAME / f"{NAME}.ipynb")

    def run(changes=None, without=(), **settings):
        notebook = nbformat.from_dict(released)
        notebook.cells = [nbformat.from_dict(cell) for cell in released.cells if cell.id not in without]
        for cell in notebook.cells:
            cell.source = {**answers, **(changes or {})}.get(cell.id, cell.source)
        notebook.cells += settings.pop("more", [])
        own, place = settings.pop("own", ""), [cell.id for cell in notebook.cells].index("q3-example")
        notebook.cells[place:place] = [nbformat.v4.new_code_cell(own, id="own")] if own else []
        path = tmp_path / "course" / "mine with spaces é.ipynb"
        nbformat.write(notebook, path)
        before, told = path.read_bytes(), []
        results, warnings = student.check(path, tell=told.append, **settings)
        assert path.read_bytes() == before
        return {result.name: result for result in results}, warnings, told

    run.answers, run.course = answers, tmp_path / "course"
    return run


WRONG = "def teacher_loss(z, y):\n    return z.sum()\n"


def test_an_answered_exercise_is_right_and_has_its_marks(checked):
    found, warnings, told = checked()
    assert {name: result.standing for name, result in found.items()} == {
        "q1a-written": "written", "teacher_loss": "right", "distillation_loss": "right", "count_parameters": "right",
        "q8-written": "written"}
    assert warnings == [] and "  Question 3 · Three losses (1.5 marks)" in told
    assert report(list(found.values()), []).splitlines()[-3:] == [
        "1.25 of 1.25 automatic marks, on the inputs of this run",
        "2 of 2 written answers are there, for 1 marks by a reader", "3 of 3 checks are right; 0 questions are open"]


def test_a_check_that_was_changed_deleted_or_copied_is_restored_and_judged(checked):
    notebook = nbformat.v4
    copied = notebook.new_code_cell("checks.count_parameters(count_parameters)", id="copy", metadata={
        "nbgrader": {"grade": True, "grade_id": "count_parameters", "locked": True, "points": 9, "solution": False,
                     "schema_version": 3, "task": False}})
    found, warnings, _ = checked(
        {"q3-losses": checked.answers["q3-losses"] + "\n\n" + WRONG, "teacher_loss": "print('teacher_loss: right')"},
        without=("distillation_loss",), more=[copied])
    assert found["teacher_loss"].standing == "wrong" and found["distillation_loss"].standing == "right"
    assert found["count_parameters"].marks == 0.25 and found["distillation_loss"].marks == 0.5
    assert {warning.split(":")[0] for warning in warnings} == {
        "teacher_loss was changed", "distillation_loss was deleted", "count_parameters is there 2 times"}


def test_a_verdict_that_is_forged_in_the_kernel_is_not_believed(checked):
    forged = "\nchecks.CheckFailed = checks.Check.verdict = lambda *_: (1.0, 'right')\nprint('teacher_loss: right')"
    found, _, _ = checked({"q3-losses": checked.answers["q3-losses"] + "\n\n" + WRONG + forged})
    assert found["teacher_loss"].standing == "wrong"


def test_what_is_not_there_when_graded_is_not_there_in_a_check(checked):
    source = ("def teacher_loss(z, y):\n    from kdcourse import losses\n    return F.cross_entropy(z, y)\n\n"
              "def distillation_loss(z_s, z_t, T):\n    from kdcourse.losses import kd_loss\n    return kd_loss(z_s)")
    found, warnings, _ = checked({"q3-losses": source,
                                  "q8-counts": f"import kdcourse.train as fit\n{checked.answers['q8-counts']}"})
    for name in ("teacher_loss", "distillation_loss", "count_parameters"):
        assert found[name].standing == "wrong" and "is not there when you are graded" in found[name].message
    assert "stopped with ModuleNotFoundError, line 1: " in found["count_parameters"].message
    assert [warning.split()[0] for warning in warnings] == ["kdcourse.losses", "kdcourse.train"]


def test_what_lies_beside_the_notebook_is_not_there_if_it_is_not_handed_in_and_no_data_set_is(checked, monkeypatch):
    """Nor is anything that a student has set: what is right here would be nothing when it is graded."""
    (checked.course / "helper.py").write_text(f"import torch.nn.functional as F\n{checked.answers['q3-losses']}")
    (checked.course / "parts").mkdir()
    for name, value in (("KDCOURSE_DATA", str(checked.course)), ("KDCOURSE_DEVICE", "meta"), ("OMP_NUM_THREADS", "2")):
        monkeypatch.setenv(name, value)
    own = ("import os, torch\nfrom kdcourse import data, profiles\nassert profiles.device().type == 'cpu'\n"
           "assert torch.get_num_threads() == 1, torch.get_num_threads()\n"
           "try:\n    data.load('mnist')\nexcept Exception as error:\n    assert 'mnist is not in' in str(error)\n"
           "else:\n    raise AssertionError('there is a data set')\nfine = True")
    found, warnings, _ = checked({"q3-losses": f"from helper import *\nimport parts\n{own}", "q8-counts":
                                  f"assert fine\n{checked.answers['q8-counts']}"})
    assert {found[name].standing for name in ("teacher_loss", "count_parameters")} == {"right"}
    assert [warning.split(" and is imported: hand it in")[0] for warning in warnings] == [
        "helper.py lies beside the notebook", "parts lies beside the notebook"]


def test_all_cells_together_have_a_limit_too_as_when_they_are_graded(checked, monkeypatch):
    assert student.WHOLE == sandbox.Limits().total
    monkeypatch.setattr(student, "WHOLE", 2.0)
    found, warnings, _ = checked(own="import time\ntime.sleep(2.5)")
    assert found["count_parameters"].standing != "right"
    assert any("the notebook takes more than 2 s: " in warning for warning in warnings)


def test_an_exercise_that_was_answered_where_it_was_given_out_is_told_so(checked):
    place = checked.course / "exercises" / NAME / f"{NAME}.ipynb"
    checked()
    place.write_bytes((checked.course / "mine with spaces é.ipynb").read_bytes())
    results, warnings = student.check(place)
    assert any(one.standing == "right" for one in results)
    assert [warning.split(",")[0] for warning in warnings] == ["this is the exercise itself"]


def test_an_error_in_an_answer_is_told_where_its_checks_stand(checked):
    found, _, _ = checked({"q3-losses": "def teacher_loss(z, y):\n    return F.cross_entropy(z y)",
                           "q8-counts": f"ratio = 1 / 0\n{checked.answers['q8-counts']}"})
    for name in ("teacher_loss", "distillation_loss"):
        assert found[name].standing == "wrong"
    assert "def teacher_loss(z, y):' stopped with SyntaxError, line 2" in found["teacher_loss"].message
    said = "'ratio = 1 / 0' stopped with ZeroDivisionError, line 1: division by zero"
    assert said in found["count_parameters"].message


def test_an_error_behind_an_error_is_the_one_that_is_told_and_a_stub_is_no_error(checked):
    found, _, _ = checked({"q3-losses": "teacher_loss = 1 / 0", "q8-counts": f"{TRAP}\ndef count_parameters(n): pass"},
                          own="distillation_loss = teacher_loss")
    assert "'teacher_loss = 1 / 0' stopped with ZeroDivisionError" in found["distillation_loss"].message
    assert found["count_parameters"].standing == "open"


def test_an_error_of_torchs_own_is_an_error_and_no_unanswered_question(checked):
    found, _, _ = checked({"q8-counts": "import torch\ntorch.tensor([1.0]) ^ 2\ndef count_parameters(n): pass"})
    message = found["count_parameters"].message
    assert found["count_parameters"].standing == "wrong", message
    assert "stopped with NotImplementedError, line 2: " in message


def test_a_deleted_answer_is_listed_with_its_marks(checked):
    found, warnings, _ = checked(without=("q8-written", "q8-counts"))
    assert (found["q8-written"].standing, found["q8-written"].marks) == ("deleted", 0.5)
    assert "put it back" in found["q8-written"].message
    assert found["count_parameters"].standing == "wrong" and "cell deleted" in found["count_parameters"].message
    assert [warning for warning in warnings if warning.startswith("q8-counts was deleted")]


def test_a_part_of_the_marks_is_shown(checked):
    source = checked.answers["q3-losses"].replace("T**2 * (", "T**2 * z_s.detach().sum() * 0 + T**2 * (")
    source = source.replace("log_p_t - log_p_s)).sum(dim=1).mean()", "log_p_t - log_p_s)).sum(dim=1).mean().detach()")
    found, _, _ = checked({"q3-losses": source})
    assert 0 < found["distillation_loss"].earned < 0.5
    assert f"{found['distillation_loss'].earned:.3g} of 0.5" in report(list(found.values()), [])


def test_a_cell_that_never_ends_is_stopped_and_later_ones_get_less_time(checked, monkeypatch):
    monkeypatch.setattr("kdcourse.marking.student.running.IMPATIENT", 1)
    endless = "def teacher_loss(z, y):\n    while True:\n        pass\n\n"
    began = time.monotonic()
    found, warnings, told = checked({"q3-losses": checked.answers["q3-losses"] + "\n" + endless},
                                    own="teacher_loss(0, 0)", seconds=6)
    assert time.monotonic() - began < 60
    assert found["teacher_loss"].message == "was stopped after 1 s" and found["teacher_loss"].standing == "wrong"
    assert found["count_parameters"].standing == "right"
    assert any("'teacher_loss(0, 0)' was stopped after 6 s" in line for line in told)
    assert any("'teacher_loss(0, 0)' was stopped after 6 s" in warning for warning in warnings)


def test_a_cell_may_take_as_long_as_when_it_is_graded():
    assert student.SECONDS == sandbox.Limits().cell


def test_a_cell_that_does_not_let_go_or_ends_the_kernel_is_named(checked, monkeypatch):
    stubborn = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
    monkeypatch.setattr("kdcourse.marking.student.running.GRACE", 2)
    for source in (stubborn, "import os\nos._exit(1)"):
        found, warnings, _ = checked({"q3-losses": source}, seconds=3)
        assert any("what follows did not run" in warning for warning in warnings)
        assert found["count_parameters"].standing != "right"


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way there")
def test_ctrl_c_ends_a_check_with_one_line(checked):
    checked()
    path = next(checked.course.glob("mine*"))
    notebook = nbformat.read(path, 4)
    notebook.cells[1:1] = [nbformat.v4.new_code_cell("import time\ntime.sleep(100)")]
    nbformat.write(notebook, path)
    program = ("import signal, sys; from kdcourse.cli import main; "
               "signal.signal(signal.SIGINT, signal.default_int_handler); "  # what a shell starts with & ignores Ctrl-C
               "sys.exit(main())")
    command = [sys.executable, "-c", program, "check", str(path)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdout.readline()
    time.sleep(4)  # the kernel starts
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130 and said.split("\n") == ["", "kdcourse check: stopped before its end", ""]
