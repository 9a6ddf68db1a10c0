"""Exercises: generated from their solutions, worth what the assignment says, and a student's way through one."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from notebook_lint import places

from kdcourse import cli, files
from kdcourse.marking import checks, student
from kdcourse.marking.release import release
from kdcourse.marking.student.results import missing_imports

ROOT = Path(__file__).parents[2]
NAME = "01_vanilla_kd"
SOLUTION = ROOT / "solutions" / NAME / f"{NAME}.ipynb"
EXERCISE = ROOT / "exercises" / NAME / f"{NAME}.ipynb"
ASSIGNMENTS = sorted(path.parent.name for path in ROOT.glob("solutions/*/*.ipynb"))
SOLUTIONS = {name: ROOT / "solutions" / name / f"{name}.ipynb" for name in ASSIGNMENTS}
EXERCISES = {name: ROOT / "exercises" / name / f"{name}.ipynb" for name in ASSIGNMENTS}
AUTOMATIC = {"01_vanilla_kd": 10}    # the marks of each that are given automatically, of 16
OF_THE_ANSWER = {"01_vanilla_kd": ("zero_grad", "log_softmax(z_s", "deepcopy(")}    # what an exercise must not show


def cells(path: Path) -> list:
    return nbformat.read(path, 4).cells


def graded(path: Path) -> list:
    return [cell for cell in cells(path) if cell.metadata.get("nbgrader", {}).get("grade")]


every_assignment = pytest.mark.parametrize("name", ASSIGNMENTS)


@every_assignment
def test_the_exercise_is_generated_from_its_solution_to_the_byte(name, tmp_path):
    made = release(name, ROOT, tmp_path)
    kept = ROOT / "exercises" / name
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in kept.iterdir())
    for path in made.iterdir():
        assert path.read_bytes() == (kept / path.name).read_bytes(), f"run: kdcourse release {name}"


def test_every_assignment_has_an_exercise_and_its_checks():
    assert sorted(checks.ASSIGNMENTS) == ASSIGNMENTS
    assert sorted(path.name for path in (ROOT / "exercises").iterdir()) == ASSIGNMENTS


def test_a_release_of_an_unknown_assignment_names_those_that_are_there(tmp_path):
    with pytest.raises(ValueError, match=f"no solution of the name .*choose one of: .*{NAME}"):
        release("99_nothing", ROOT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_nbgrader_refuses_changes_nothing(tmp_path):
    source = tmp_path / "solutions" / NAME / f"{NAME}.ipynb"
    source.parent.mkdir(parents=True)
    source.write_text(SOLUTION.read_text().replace("### END SOLUTION", "### THE END", 1))
    (tmp_path / "exercises" / NAME).mkdir(parents=True)
    (tmp_path / "exercises" / NAME / "kept").write_text("")
    with pytest.raises(ValueError, match="nbgrader refuses"):
        release(NAME, tmp_path)
    assert [path.name for path in (tmp_path / "exercises" / NAME).iterdir()] == ["kept"]


def questions(name: str) -> dict[str, list]:
    """The graded cells of a solution by the heading of the question under which they stand."""
    found: dict[str, list] = {}
    for cell in cells(SOLUTIONS[name]):
        heading = re.match(r"## Question .*", cell.source)
        if cell.cell_type == "markdown" and heading:
            found[heading[0]] = []
        if cell.metadata.get("nbgrader", {}).get("grade"):
            assert found, f"{cell.metadata.nbgrader.grade_id} stands before the first question"
            found[list(found)[-1]].append(cell)
    return found


@every_assignment
def test_the_points_of_each_question_are_those_that_its_heading_names(name):
    for heading, of_question in questions(name).items():
        marks = re.search(r"\(([\d.]+) marks?\)$", heading)
        assert marks and sum(cell.metadata.nbgrader.points for cell in of_question) == float(marks[1]), heading
    every = graded(SOLUTIONS[name])
    assert sum(cell.metadata.nbgrader.points for cell in every) == 16
    automatic = sum(cell.metadata.nbgrader.points for cell in every if cell.cell_type == "code")
    assert automatic == AUTOMATIC[name] if name in AUTOMATIC else 8 <= automatic <= 12


@every_assignment
def test_every_automatic_cell_is_one_locked_line_named_as_its_check(name):
    automatic = [cell for cell in graded(SOLUTIONS[name]) if cell.cell_type == "code"]
    assert tuple(cell.metadata.nbgrader.grade_id for cell in automatic) == checks.ASSIGNMENTS[name]
    for cell in automatic:
        assert re.fullmatch(rf"checks\.{cell.metadata.nbgrader.grade_id}\([\w, ]+\)", cell.source)
        assert cell.metadata.nbgrader.locked and not cell.metadata.nbgrader.solution


@every_assignment
def test_every_written_answer_has_a_rubric_that_adds_up_to_its_points(name):
    for cell in graded(SOLUTIONS[name]):
        if cell.cell_type == "markdown":
            answer, rubric = cell.source.split("**Rubric.**")
            shares = [float(share) for share in re.findall(r"(?:^|\s)([01](?:\.\d+)?):", rubric)]
            assert sum(shares) == pytest.approx(cell.metadata.nbgrader.points), cell.id
            assert len(answer.split()) > 40, cell.id


@every_assignment
def test_the_exercise_holds_no_solution_no_output_and_no_trace_of_a_machine(name):
    text = EXERCISES[name].read_text(encoding="utf-8")
    for word in ("BEGIN SOLUTION", "Rubric", "BEGIN HIDDEN", *OF_THE_ANSWER.get(name, ())):
        assert word not in text, word
    for path in (EXERCISES[name], SOLUTIONS[name]):
        whole = json.loads(path.read_text(encoding="utf-8"))
        assert places(whole) == []
        metadata = whole["metadata"]
        assert metadata["kernelspec"]["name"] == "python3" and set(metadata) == {"kernelspec", "language_info"}
        assert metadata["language_info"] == {"name": "python"}
    code = [cell for cell in cells(EXERCISES[name]) if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@every_assignment
def test_the_solution_is_stored_as_it_ran_and_its_checks_were_right(name):
    code = [cell for cell in cells(SOLUTIONS[name]) if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        assert not [output for output in cell.outputs if "error" in (output.output_type, output.get("name", "")[3:])]
        if cell.metadata.nbgrader.grade:
            assert cell.outputs[0].text == f"{cell.metadata.nbgrader.grade_id}: right\n"


def printed(name: str) -> str:
    """What a cell of the solution printed."""
    outputs = next(cell.outputs for cell in cells(SOLUTION) if cell.id == name)
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_the_example_of_the_losses_prints_what_the_task_says_and_mistakes_print_another_line():
    text = {cell.id: cell.source for cell in cells(SOLUTION)}
    assert f"    {printed('q3-example').strip()}" in text["q3"].splitlines()
    right = text["q3-losses"]
    for a, b in (("F.cross_entropy(z, y)", 'F.cross_entropy(z, y, reduction="sum")'),
                 (".sum(dim=1).mean()", ".sum()"), (".sum(dim=1).mean()", ".mean()"), ("T**2 * ", ""),
                 ("log_softmax(z_s / T, dim=1)", "softmax(z_s / T, dim=1)"), ("dim=1)\n", "dim=0)\n"),
                 ("(1 - alpha) * teacher_loss(z_s, y) + alpha", "alpha * teacher_loss(z_s, y) + (1 - alpha)"),
                 ("distillation_loss(z_s, z_t, T)\n    ###", "distillation_loss(z_t, z_s, T)\n    ###")):
        wrong = right.replace(a, b)
        assert wrong != right, a
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(f"import torch\nimport torch.nn.functional as F\n{wrong}\n{text['q3-example']}", {})
        assert out.getvalue() != printed("q3-example"), b


def test_question_12_prints_every_difference_against_both_baselines_and_the_model_answer_reports_them():
    lines = printed("q12-run").splitlines()
    written = " ".join(next(cell.source for cell in cells(SOLUTION) if cell.id == "q12-written").split())
    plans = "the teacher of 2 epochs", "the finished teacher, half of the time", "a teacher that says nothing"
    pairs = [(plan, baseline) for plan in plans for baseline in ("labels alone", "the finished teacher")]
    for plan, baseline in [*pairs, (plans[0], plans[2])]:    # the last one decides
        (line,) = [line for line in lines if line.startswith(f"{plan}:") and f" against {baseline}, n = " in line]
        assert re.sub(r".*: (\S+) points \+- (\S+) .*", r"\1 +- \2", line) in written, line
        assert line.endswith("n = 5" if "the finished teacher" in line else "n = 10"), line


@every_assignment
def test_the_time_that_a_cell_may_take_is_the_one_that_the_exercise_names(name):
    assert f"A cell may take {student.SECONDS:g} seconds" in EXERCISES[name].read_text(encoding="utf-8")


@every_assignment
def test_links_and_pictures_of_the_exercise_work_from_exercises_and_from_work(name):
    for cell in cells(EXERCISES[name]):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", cell.source):
            if link.startswith("attachment:"):
                assert cell.attachments[link.removeprefix("attachment:")]["image/png"]
            elif not link.startswith("http"):
                assert (EXERCISES[name].parent / link).exists(), link


@every_assignment
def test_only_what_is_there_when_graded_is_imported(name):
    assert missing_imports(nbformat.read(SOLUTIONS[name], 4), SOLUTIONS[name].parent) == []


IMPORTS = "import torch; from kdcourse import data, metrics, viz; from kdcourse.marking import checks"


def used(before, after) -> float:
    """Seconds of the processor, of this process and of those it started, between two `os.times()`."""
    return after.children_user - before.children_user + after.user - before.user


@pytest.fixture(scope="module")
def allowed():
    """Seconds that checking may take: 15 on a machine that imports torch and the course in less than 1.5."""
    before = os.times()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return max(15.0, 10 * used(before, os.times()))


@every_assignment
@pytest.mark.timed
def test_the_solved_notebook_is_right_in_every_check_within_ten_times_what_importing_takes(name, allowed):
    for _ in range(2):  # once more if somebody else kept the machine busy
        before = os.times()
        results, warnings = student.check(SOLUTIONS[name])
        if (seconds := used(before, os.times())) < allowed:
            break
    assert warnings == []
    assert [result for result in results if result.standing not in ("right", "written")] == []
    marks = f"{sum(cell.metadata.nbgrader.points for cell in graded(SOLUTIONS[name]) if cell.cell_type == 'code'):g}"
    assert student.report(results, []).splitlines()[-3].startswith(f"{marks} of {marks} automatic marks")
    assert seconds < allowed


@every_assignment
def test_an_untouched_exercise_is_open_everywhere_and_nothing_is_right(name, capsys, request):
    if name != NAME:
        request.getfixturevalue("worth_grading")
    assert cli.main(["check", str(EXERCISES[name])]) == 1
    run, report = capsys.readouterr().out.split("\n\n")
    automatic, written = ([cell for cell in graded(SOLUTIONS[name]) if cell.cell_type == kind]
                          for kind in ("code", "markdown"))
    *lines, marks, answers, total = report.splitlines()
    assert "Question 1 ·" in run
    assert [line for line in lines if not line.startswith("open")] == []
    assert marks.startswith(f"0 of {sum(cell.metadata.nbgrader.points for cell in automatic):g} automatic marks")
    assert answers.startswith(f"0 of {len(written)} written answers")
    assert total == (f"0 of {len(automatic)} checks are right; {len(automatic) + len(written)} questions are open")


@pytest.mark.parametrize("content, message", [
    (None, "there is no file"), ("not a notebook", "is not a notebook"), ('{"cells": 3}', "is not a notebook"),
    (nbformat.writes(nbformat.v4.new_notebook()), "holds no question"),
])
def test_check_of_what_is_no_exercise_says_so(content, message, tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    if content is not None:
        path.write_text(content)
    assert cli.main(["check", str(path)]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.out == ""


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one exercise, in a folder of its own, and the command started deep inside it."""
    shutil.copytree(ROOT / "exercises", tmp_path / "course" / "exercises")
    for folder in ("notebooks/deep", "kdcourse"):
        (tmp_path / "course" / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "course" / "notebooks" / "deep")
    return tmp_path / "course"


def test_start_copies_the_exercise_from_anywhere_in_the_course(course, capsys):
    assert cli.main(["start", NAME]) == 0
    copy = course / "work" / NAME / f"{NAME}.ipynb"
    assert copy.read_bytes() == EXERCISE.read_bytes()
    printed = capsys.readouterr().out
    assert printed.replace("\\", "/").splitlines() == [
        f"../../work/{NAME}/{NAME}.ipynb is yours. Open it with:",
        f"  jupyter lab --notebook-dir=../.. ../../work/{NAME}/{NAME}.ipynb"]
    assert [path.name for path in (course / "work").iterdir()] == [NAME]


def test_start_never_writes_where_something_is(course, capsys):
    copy = course / "work" / NAME / f"{NAME}.ipynb"
    copy.parent.mkdir(parents=True)
    copy.write_text("my work")
    assert cli.main(["start", NAME]) == 2
    said = capsys.readouterr().err
    assert f"../../work/{NAME} is there already" in said.replace("\\", "/")
    assert f"{NAME}.ipynb" in said and "to begin again" in said
    assert copy.read_text() == "my work" and len(list(copy.parent.iterdir())) == 1
    shutil.rmtree(copy.parent)
    copy.parent.write_text("a file in the way")
    assert cli.main(["start", NAME]) == 2
    copy.parent.unlink()
    copy.parent.symlink_to(course / "nowhere")
    assert cli.main(["start", NAME]) == 2


def test_start_takes_the_beginning_of_a_name_if_no_other_begins_so(course, capsys):
    assert cli.main(["start", "01"]) == 0
    assert (course / "work" / NAME / f"{NAME}.ipynb").is_file()
    shutil.copytree(course / "exercises" / NAME, course / "exercises" / "01_other")
    (course / "exercises" / "01_other" / f"{NAME}.ipynb").rename(course / "exercises" / "01_other" / "01_other.ipynb")
    assert cli.main(["start", "01"]) == cli.main(["start", ""]) == 2
    assert f"choose one of: 01_other, {NAME}" in capsys.readouterr().err


def test_start_of_an_unknown_exercise_names_the_choices(course, capsys):
    assert cli.main(["start", "99_nothing"]) == 2
    assert "choose one of: " in (said := capsys.readouterr().err) and NAME in said


def test_outside_a_course_the_installed_one_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.course_folder(Path.cwd()) == ROOT


def test_work_is_ignored_by_git():
    assert "/work/" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_failed_check_shows_its_message_and_no_traceback():
    code = ("from IPython.core.interactiveshell import InteractiveShell as S\nfrom kdcourse.marking import checks\n"
            "s = S.instance(); s.user_ns['checks'] = checks\n"
            "s.run_cell('checks.teacher_loss(lambda z, y: z.sum())')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("CheckFailed: teacher_loss: on") and len(done.stdout.splitlines()) == 1, done.stdout


@every_assignment
@pytest.mark.parametrize("page, name_of", [
    ("README.md", "[{1}](exercises/{0}/{0}.ipynb)"), ("INSTRUCTORS.md", "`{0}`")])
def test_the_pages_list_the_marks_and_the_hours_that_the_exercise_states(name, page, name_of):
    title = cells(SOLUTIONS[name])[0].source
    hours = re.search(r"\| Time \| (?:about )?([a-z -]+?) hours", title)[1]
    every = graded(SOLUTIONS[name])
    marks, automatic = (sum(cell.metadata.nbgrader.points for cell in every if cell.cell_type in kinds)
                        for kinds in (("code", "markdown"), ("code",)))
    called = name_of.format(name, name.partition("_")[2])
    [row] = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
             if line.startswith("|") and called in line]
    assert row.endswith(f"| {marks:g} | {automatic:g} | {hours} |")
