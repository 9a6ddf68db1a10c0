"""Grading is interrupted, resumed, repeated and corrected, and no mark is lost; who may not be graded is told why."""

import csv
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from grading.course import DOUBLE, answered, graded, make, need_sandbox, own, released, solved, write

from kdcourse.marking import grade as grading
from kdcourse.marking import sandbox
from kdcourse.marking.grade import GradingError, gradebook, progress
from kdcourse.marking.grade.base import Place

WRONG = "def double(x):\n    return x"
HANDED_IN = datetime(2024, 5, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def graded_course(tmp_path_factory):
    """A course in which two students were graded: anna, all right, and ben, half wrong."""
    need_sandbox()
    course = make(tmp_path_factory.mktemp("course"))
    write(course / "in" / "anna.ipynb", answered(released(course)))
    write(course / "in" / "ben" / "work.ipynb", answered(released(course), double=WRONG))
    for path in (course / "in").rglob("*.ipynb"):
        os.utime(path, (HANDED_IN.timestamp(),) * 2)
    assert graded(course, course / "in") == 0
    columns = ("double points", "norm points", "double message", "norm message", "total", "notes")
    found = {student: tuple(row[column] for column in columns) for student, row in table(course).items()}
    wrong = "double of x is wrong"
    assert found == {"anna": ("2", "3", "right", "right", "5", ""), "ben": ("0", "3", wrong, "right", "3", "")}
    return course


@pytest.fixture
def course(graded_course, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(graded_course, tmp_path / "course"))


def table(course: Path) -> dict[str, dict]:
    with open(course / "grading" / "tiny.csv", newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def mark(course: Path, student: str, name: str, score: float, comment: str = "") -> None:
    """What formgrader does when a mark and a comment are entered."""
    with gradebook.opened(Place(course, "tiny")) as book:
        one = book.find_grade(name, "tiny", "tiny", student)
        one.manual_score, one.needs_manual_grade = score, False
        if comment:
            book.find_comment(name, "tiny", "tiny", student).manual_comment = comment
        book.db.commit()


def page(course: Path, student: str) -> str:
    return (Place(course, "tiny").step("feedback", student) / "tiny.html").read_text(encoding="utf-8")


@pytest.fixture
def marked(course):
    """A written answer and a check were marked by hand."""
    mark(course, "anna", "why", 4.5, "Nearly: what about the **bias**?")
    mark(course, "ben", "double", 1.25)
    return course


def test_marks_given_by_hand_are_in_the_table_and_the_feedback_of_the_next_call(marked):
    assert graded(marked, marked / "in") == 0
    rows = table(marked)
    assert (rows["anna"]["why points"], rows["anna"]["total"], rows["anna"]["to mark by hand"]) == ("4.5", "9.5", "")
    assert (rows["anna"]["automatic"], rows["anna"]["by hand"]) == ("5", "4.5")
    assert (rows["ben"]["double points"], rows["ben"]["total"], rows["ben"]["to mark by hand"]) == (
        "1.25",
        "4.25",
        "why",
    )
    assert "what about the <strong>bias</strong>" in page(marked, "anna")


def test_marks_given_by_hand_stay_when_one_student_is_graded_again(marked, monkeypatch):
    ran = []
    run = sandbox.run
    monkeypatch.setattr(sandbox, "run", lambda *given, **named: ran.append(1) or run(*given, **named))
    assert graded(marked, marked / "in", student="anna") == 0
    assert len(ran) == 1
    row = table(marked)["anna"]
    assert (row["why points"], row["double points"], row["to mark by hand"]) == ("4.5", "2", "")
    assert "what about the <strong>bias</strong>" in page(marked, "anna")


@pytest.mark.parametrize("name", ["work.ipynb", "nobody"])
def test_a_student_who_is_not_there_is_named_among_those_who_are(name, course):
    with pytest.raises(ValueError, match="anna, ben"):
        graded(course, course / "in", student=name)


def test_a_new_hand_in_is_graded_keeps_its_marks_and_asks_to_look_at_them_again(marked):
    release = released(marked)
    write(marked / "in" / "anna.ipynb", answered(release, double=WRONG, why="Because of something else."))
    assert graded(marked, marked / "in") == 0
    row = table(marked)["anna"]
    assert (row["double points"], row["why points"], row["to mark by hand"]) == ("0", "4.5", "why")
    assert table(marked)["ben"]["to mark by hand"] == "why"


def test_of_two_hand_ins_the_newest_counts_and_it_is_said(course):
    second = course / "in" / "ben" / "again.ipynb"
    write(second, answered(released(course), double=DOUBLE))
    os.utime(second, (HANDED_IN.timestamp() + 60,) * 2)
    assert graded(course, course / "in") == 0
    row = table(course)["ben"]
    assert row["double points"] == "2" and "handed in 2 times" in row["notes"] and "again.ipynb" in row["notes"]
    os.utime(second, (HANDED_IN.timestamp() - 60,) * 2)
    assert graded(course, course / "in") == 0
    assert table(course)["ben"]["double points"] == "0"


def test_hours_late_are_counted_from_the_date_that_the_gradebook_knows(course):
    with gradebook.opened(Place(course, "tiny")) as book:
        book.update_or_create_assignment("tiny", duedate=datetime(2024, 5, 2, 9, 30))
    assert graded(course, course / "in") == 0
    assert table(course)["anna"]["hours late"] == "2.5"
    source = solved()
    source["cells"][0]["source"] = "# Tiny, once more"
    write(course / "solutions" / "tiny" / "tiny.ipynb", source)
    assert graded(course, course / "in") == 0
    assert table(course)["anna"]["hours late"] == "2.5"


def test_changed_points_reach_everybody(course):
    source = solved()
    next(cell for cell in source["cells"] if cell["id"] == "norm")["metadata"]["nbgrader"]["points"] = 30
    write(course / "solutions" / "tiny" / "tiny.ipynb", source)
    assert graded(course, course / "in") == 0
    assert [(row["norm points"], row["maximum"]) for row in table(course).values()] == [("30", "37"), ("30", "37")]


def test_a_question_more_after_grading_began_is_refused_and_harms_nothing(course):
    before = (course / "grading" / "tiny.csv").read_bytes()
    source = solved()
    source["cells"].append({**source["cells"][-1], "id": "new", "metadata": {
        "nbgrader": {**source["cells"][-1]["metadata"]["nbgrader"], "grade_id": "new"}}})  # fmt: skip
    write(course / "solutions" / "tiny" / "tiny.ipynb", source)
    with pytest.raises(GradingError, match="Cannot add or remove cells"):
        graded(course, course / "in")
    assert (course / "grading" / "tiny.csv").read_bytes() == before
    write(course / "solutions" / "tiny" / "tiny.ipynb", solved())
    assert graded(course, course / "in") == 0
    assert (course / "grading" / "tiny.csv").read_bytes() == before


def test_students_of_another_folder_come_to_those_who_are_there(course):
    write(course / "late" / "carl.ipynb", answered(released(course)))
    assert graded(course, course / "late") == 0
    assert list(table(course)) == ["anna", "ben", "carl"]


def test_one_whose_grading_fails_keeps_no_other_from_it(course, monkeypatch, capsys):
    run = sandbox.run

    def failing(text, *given, **named):
        if "unlucky" in text:
            raise sandbox.SandboxError("no memory left on this machine")
        return run(text, *given, **named)

    monkeypatch.setattr(sandbox, "run", failing)
    write(course / "more" / "dora.ipynb", answered(released(course), before="# unlucky"))
    write(course / "more" / "emil.ipynb", answered(released(course)))
    assert graded(course, course / "more") == 1
    assert list(table(course)) == ["anna", "ben", "emil"]
    assert "dora could not be graded, run the command again: no memory left" in capsys.readouterr().err
    monkeypatch.undo()
    assert graded(course, course / "more") == 0
    assert table(course)["dora"]["total"] == "5"


ONCE = {
    "its process ended": sandbox.Execution({1: []}, {}, sandbox.outputs.DIED),
    "it did not let go": sandbox.Execution({1: []}, {}, sandbox.outputs.ENDS["stuck"]),
    "the clock of a cell": sandbox.Execution({1: [
        {"output_type": "error", "ename": "Timeout", "evalue": "this cell ran past 12 seconds by the clock",
         "traceback": []}]}),
    "the clock of all": sandbox.Execution({1: []}, {}, "the notebook took more than 80 seconds by the clock"),
}  # fmt: skip


@pytest.mark.parametrize("name", ONCE)
def test_what_the_machine_may_have_ended_is_run_again_alone_before_it_is_believed(name, course, monkeypatch):
    """Of two who run side by side one is ended so, once: it repeats when the other has ended, and loses no mark."""
    run, going, beside, ended = sandbox.run, [], [], []

    def once(text, *given, **named):
        going.append(1)
        beside.append(len(going))
        try:
            found = run(text, *given, **named)
            if "unlucky" in text and not ended:
                ended.append(1)
                return ONCE[name]
            return found
        finally:
            going.pop()

    monkeypatch.setattr(sandbox, "run", once)
    write(course / "more" / "dora.ipynb", answered(released(course), before="# unlucky"))
    write(course / "more" / "emil.ipynb", answered(released(course), before="import time; time.sleep(2)"))
    assert graded(course, course / "more") == 0
    assert len(beside) == 3 and max(beside[:2]) == 2 and beside[2] == 1
    rows = table(course)
    assert [(rows[one]["total"], rows[one]["notes"]) for one in ("dora", "emil")] == [("5", "")] * 2


def test_what_ends_so_twice_is_believed_and_what_its_own_computing_ended_at_once(course, monkeypatch):
    run, ran = sandbox.run, []
    monkeypatch.setattr(sandbox, "run", lambda text, *given, **named: ran.append(text) or run(text, *given, **named))
    write(course / "more" / "dora.ipynb", answered(released(course), before="import os; os._exit(0)"))
    write(course / "more" / "emil.ipynb", answered(released(course), before="while True: pass"))
    assert graded(course, course / "more") == 0
    assert [sum(word in text for text in ran) for word in ("os._exit", "while True")] == [2, 1]
    rows = table(course)
    assert rows["dora"]["total"] == "0" and "process ended" in rows["dora"]["notes"]
    assert rows["emil"]["total"] == "5" and "4 seconds of computing" in rows["emil"]["notes"]


def start(course: Path) -> subprocess.Popen:
    """`kdcourse grade` of six students as a process of its own, one at a time, once the first of them is done."""
    release = released(course)
    for number in range(6):
        write(
            course / "six" / f"student{number}.ipynb",
            answered(release, before=f"import time; time.sleep(1)  # {number}"),
        )
    script = f"""
        import signal
        from pathlib import Path
        from grading.course import graded
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores Ctrl-C
        raise SystemExit(graded(Path({str(course)!r}), Path({str(course / "six")!r}), jobs=1))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})  # fmt: skip
    done = course / "grading" / "cache" / "tiny" / "done"
    deadline = time.monotonic() + 300
    while not list(done.glob("student*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_grading_that_was_ended_in_the_middle_is_taken_up_where_it_was(how, course):
    process = start(course)
    process.send_signal(how)
    _, told = process.communicate(timeout=300)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    assert how == signal.SIGKILL or re.search(r"interrupted: [1-5] of 6 are done; the same command", told)
    with sqlite3.connect(course / "grading" / "gradebook.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    kept = len(list((course / "grading" / "cache" / "tiny" / "executions").glob("[!.]*")))
    assert 3 <= kept < 8
    assert graded(course, course / "six") == 0
    rows = table(course)
    assert list(rows) == ["anna", "ben", *(f"student{number}" for number in range(6))]
    assert {rows[f"student{number}"]["total"] for number in range(6)} == {"5"}
    assert rows["ben"]["total"] == "3"


def test_whoever_was_cut_off_after_the_marks_were_entered_is_graded_again(course, monkeypatch):
    """And hands in meanwhile what was graded before: its marks are not those of what came in between."""
    autograde = gradebook.autograde

    def cut_off(*given, **named):
        autograde(*given, **named)
        raise KeyboardInterrupt

    first = (course / "in" / "anna.ipynb").read_text(encoding="utf-8")
    write(course / "in" / "anna.ipynb", answered(released(course), double=WRONG))
    with monkeypatch.context() as patched:
        patched.setattr(gradebook, "autograde", cut_off)
        assert graded(course, course / "in", jobs=1) == 130
    assert gradebook.marks(Place(course, "tiny"))["anna"]["total"] == 3
    write(course / "in" / "anna.ipynb", first)
    assert graded(course, course / "in") == 0 and table(course)["anna"]["total"] == "5"


def test_another_number_of_moodle_is_another_person_of_that_name(course, capsys):
    for number, answer in ((101, DOUBLE), (202, WRONG)):
        hand_in = course / f"of {number}" / f"Kim Lee_{number}_assignsubmission_file" / "tiny.ipynb"
        write(hand_in, answered(released(course), double=answer))
        assert graded(course, course / f"of {number}") == (0 if number == 101 else 1)
    assert "Moodle's number of kim-lee" in capsys.readouterr().err
    [kim] = [row for student, row in table(course).items() if student.startswith("kim-lee")]
    assert (kim["total"], kim["handed in as"]) == ("5", "Kim Lee_101_assignsubmission_file")
    (course / "class.csv").write_text("student,name\nkim,Kim Lee\n")
    assert graded(course, course / "of 202", people=course / "class.csv") == 0 and table(course)["kim"]["total"] == "3"


def test_what_one_student_had_translated_is_not_translated_for_the_next(course, monkeypatch):
    import jinja2
    import sqlalchemy

    place = Place(course, "tiny")
    gradebook.feedback(place, "anna")
    translated, translate = [], jinja2.Environment.compile
    monkeypatch.setattr(jinja2.Environment, "compile", lambda *given, **named: translated.append(given[1:]) or
                        translate(*given, **named))  # fmt: skip
    monkeypatch.setattr(sqlalchemy, "create_engine", lambda *given, **named: pytest.fail("a second engine"))
    gradebook.feedback(place, "ben")
    assert translated == [] and "double of x is wrong" in page(course, "ben")
    assert gradebook.marks(place)["ben"]["total"] == 3


def test_only_one_process_writes_a_gradebook(course):
    with progress.alone(Place(course, "tiny")), pytest.raises(GradingError, match="another kdcourse grade"):
        graded(course, course / "in")


def test_a_gradebook_that_was_cut_off_while_it_was_made_is_made_again(tmp_path):
    course = make(tmp_path)
    (course / "grading").mkdir()
    (course / "grading" / ".gradebook-1.db").write_bytes(b"half")
    released(course)
    with sqlite3.connect(course / "grading" / "gradebook.db") as database:
        assert len(database.execute("select version_num from alembic_version").fetchall()) == 1


def test_without_a_sandbox_it_refuses_and_says_what_to_install(course, monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "bubblewrap is not installed; run: sudo apt install bubblewrap")
    with pytest.raises(GradingError, match=r"apt install bubblewrap\nWithout it there is only --unsafe"):
        graded(course, course / "in")
    with pytest.raises(GradingError, match="apt install"):
        grading.run_and_judge({}, {})


def test_unsafe_says_what_it_means_and_grades_as_well(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "there is none")
    course = make(tmp_path)
    write(course / "in" / "anna.ipynb", answered(released(course)))
    write(course / "in" / "slow.ipynb", answered(released(course), double="def double(x):\n    while True: pass"))
    assert graded(course, course / "in", unsafe=True) == 0
    assert [row["total"] for row in table(course).values()] == ["5", "3"]
    said = capsys.readouterr().err
    assert "as a program of yours" in said and "solutions" in said and "network" in said


def test_a_course_that_a_submission_could_see_is_refused(course, monkeypatch):
    monkeypatch.setattr(sandbox, "seen", lambda path: True)
    with pytest.raises(GradingError, match="move the course"):
        graded(course, course / "in")


@pytest.mark.parametrize("change, complaint", [
    (lambda course: shutil.rmtree(course / "solutions"), "run this in the folder of the course"),
    (lambda course: (course / "nbgrader_config.py").unlink(), "has no nbgrader_config.py"),
    (lambda course: shutil.rmtree(course / "in"), "is not a folder"),
    (lambda course: [shutil.rmtree(course / "in"), (course / "in").mkdir()], "is empty"),
])  # fmt: skip
def test_what_is_missing_is_said(change, complaint, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "")
    course = make(tmp_path)
    (course / "in").mkdir()
    change(course)
    with pytest.raises(ValueError, match=complaint):
        graded(course, course / "in")


def test_an_assignment_that_is_not_there_is_named_among_those_that_are(tmp_path):
    with pytest.raises(ValueError, match=r"no assignment '99_nothing'; choose one of: .*01_vanilla_kd"):
        grading.grade("99_nothing", tmp_path, course=tmp_path)


def test_a_check_without_its_cell_is_a_mistake_of_the_course(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "")
    course, source = make(tmp_path), solved()
    source["cells"] = [cell for cell in source["cells"] if cell["id"] != "norm"]
    write(course / "solutions" / "tiny" / "tiny.ipynb", source)
    write(course / "in" / "anna.ipynb", source)
    with pytest.raises(GradingError, match="cells and checks of tiny differ: norm"):
        graded(course, course / "in")


def test_without_nbgrader_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "unavailable", lambda: "")
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    course = make(tmp_path)
    with pytest.raises(GradingError, match=r"grading needs nbgrader; run: pip install"):
        graded(course, course)


def test_formgrader_shows_a_students_answer_without_running_it(course):
    """The page on which answers are marked, as JupyterLab makes it in this folder."""
    import bs4
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers
    from traitlets.config.loader import PyFileConfigLoader

    owned = (
        "**bold**\n\n<script>alert('owned')</script> [x](javascript:alert('owned')) <img src=x onerror=alert('owned')>"
    )
    write(course / "in" / "ben" / "work.ipynb", answered(released(course), why=owned))
    assert graded(course, course / "in") == 0
    config = PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    names = ("assignment_id", "notebook_id", "submission_id", "index", "total", "base_url", "student", "last_name",
             "first_name", "notebook_path")  # fmt: skip
    resources = {name: 0 if name in ("index", "total") else "x" for name in names}
    text, _ = HTMLExporter(config=config).from_filename(
        str(Place(course, "tiny").notebook("autograded", "ben")), resources
    )
    body = bs4.BeautifulSoup(text, "html.parser").body
    assert "bold" in [tag.text for tag in body.find_all("strong")]
    assert not [
        tag for tag in body.find_all(True) if tag.has_attr("onerror") or "javascript:" in str(tag.get("href", ""))
    ]
    assert not [tag for tag in body.find_all("script") if "owned" in tag.text]


def test_what_a_submission_did_is_told_apart_by_all_that_matters(course):
    """The same execution is found for the same cells, files, package and limits, and for no others."""
    from grading.course import LIMITS, POCKET
    from grading.pocket import judging

    from kdcourse.marking.grade.runs import Grading

    place = Place(course, "tiny")
    one = Grading(place, judging, LIMITS, package=POCKET)
    kept = one.kept("anna")
    assert kept == Grading(place, judging, LIMITS, package=POCKET).kept("anna") and kept.load()
    others = [one.kept("ben"), Grading(place, judging, package=POCKET).kept("anna")]
    others.append(Grading(place, judging, LIMITS, unsafe=True, package=POCKET).kept("anna"))
    (place.step("submitted", "anna") / "data.txt").write_text("beside")
    others.append(one.kept("anna"))
    notebook = json.loads(place.notebook("submitted", "anna").read_text())
    notebook["cells"].append(own("1"))
    place.notebook("submitted", "anna").write_text(json.dumps(notebook))
    others.append(one.kept("anna"))
    (course / "grading" / "secret").write_bytes(b"another")  # what was drawn from one is not judged by the other
    others.append(one.kept("anna"))
    assert len({kept.folder, *(other.folder for other in others)}) == 7
    assert len({kept.seed, *(other.seed for other in others)}) == 7


# -- who is there, and when


def test_a_changed_file_whose_time_was_put_back_is_noted_with_the_time_first_seen(course):
    path, before = course / "in" / "ben" / "work.ipynb", table(course)["ben"]
    write(path, answered(released(course), double=DOUBLE))
    os.utime(path, (HANDED_IN.timestamp(),) * 2)
    assert graded(course, course / "in") == 0
    row = table(course)["ben"]
    assert row["double points"] == "2" and "was its time put back?" in row["notes"]
    assert re.search(r"first seen on \d{4}-\d\d-\d\d \d\d:\d\d UTC, after another", row["notes"]) and row["first seen"]
    assert "was its time" not in before["notes"] + table(course)["anna"]["notes"] and before["first seen"]
    os.utime(path, None)
    assert graded(course, course / "in") == 0
    assert "was its time" not in table(course)["ben"]["notes"]


def test_students_of_the_gradebook_and_the_roster_without_a_hand_in_have_a_row(course):
    with gradebook.opened(Place(course, "tiny")) as book:
        book.add_student("zoe")
    (course / "class.csv").write_text("student\nanna\nyan\nben\n")
    assert graded(course, course / "in", people=course / "class.csv") == 0
    rows = table(course)
    assert list(rows) == ["anna", "ben", "yan", "zoe"]
    for name in ("yan", "zoe"):
        assert (rows[name]["total"], rows[name]["maximum"], rows[name]["notes"]) == ("0", "10", "nothing was handed in")
    assert "nothing" not in rows["anna"]["notes"]


def test_a_gradebook_that_another_program_holds_is_said_at_once(course, monkeypatch):
    monkeypatch.setattr(gradebook, "PATIENCE", 0.1)
    holder = sqlite3.connect(course / "grading" / "gradebook.db")
    holder.execute("begin exclusive")
    with pytest.raises(GradingError, match=r"gradebook.db cannot be written \(database is locked\): end the program"):
        graded(course, course / "in")
    holder.rollback()
    holder.close()
    assert graded(course, course / "in") == 0


@pytest.mark.parametrize("where", ["lock", "cache"])
def test_a_folder_that_cannot_be_written_is_said(where, course, monkeypatch):
    import builtins

    real, denied = builtins.open, PermissionError(13, "Permission denied", str(course / "grading"))

    def refusing(path, mode="r", *given, **named):
        if {"lock": "w", "cache": "x"}[where] in str(mode) and str(path).startswith(str(course / "grading")):
            raise denied
        return real(path, mode, *given, **named)

    if where == "cache":
        write(course / "in" / "new.ipynb", answered(released(course)))
    monkeypatch.setattr(builtins, "open", refusing)
    with pytest.raises(GradingError, match="Permission denied"):
        graded(course, course / "in")


def test_what_a_killed_process_left_is_removed(course):
    executions = course / "grading" / "cache" / "tiny" / "executions"
    left = [executions / ".partial-1", executions.parent / ".unpacked", course / "grading" / ".gradebook-1.db"]
    for path in left[:2]:
        write(path / "notebook.ipynb", "a student's")
    left[2].write_bytes(b"half")
    assert graded(course, course / "in") == 0
    assert [path.exists() for path in left] == [False] * 3


# -- one question, the marks that changed, who wrote alike


@pytest.fixture
def stricter(monkeypatch):
    """Checks that have been corrected: `norm` is worth nothing now, and `double` is right whatever it is."""
    from grading.pocket import judging

    judge = judging.judge
    verdicts = {"norm": judging.Verdict(0.0, "stricter now"), "double": judging.Verdict(1.0, "")}
    monkeypatch.setattr(judging, "judge", lambda name, path, seed: verdicts.get(name) or judge(name, path, seed))


def changes(course: Path) -> list[tuple]:
    path = course / "grading" / "tiny.changes.csv"
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["student"], row["question"], row["before"], row["after"]) for row in csv.DictReader(file)]


def test_one_question_is_judged_anew_and_the_others_stay(marked, stricter, capsys):
    before = table(marked)
    assert graded(marked, marked / "in", question="norm") == 0
    rows = table(marked)
    assert {name: row["norm points"] for name, row in rows.items()} == {"anna": "0", "ben": "0"}
    assert rows["anna"]["norm message"] == "stricter now"
    assert [rows[name]["double points"] for name in rows] == ["2", "1.25"]
    assert rows["ben"]["double message"] == before["ben"]["double message"]
    assert (rows["anna"]["why points"], rows["anna"]["to mark by hand"]) == ("4.5", "")
    assert changes(marked) == [("anna", "norm", "3", "0"), ("ben", "norm", "3", "0")]
    assert "2 marks changed" in capsys.readouterr().out
    assert graded(marked, marked / "in", question="norm") == 0
    assert len(changes(marked)) == 2


def test_a_question_that_is_none_is_named_among_those_that_are(course):
    with pytest.raises(ValueError, match="tiny has no check 'nrom'; choose one of: double, norm"):
        graded(course, course / "in", question="nrom")


def test_with_a_roster_the_table_for_its_lms_is_written_and_with_similar_the_pairs(course):
    head, points = "Student,ID,SIS Login ID,tiny (5)", "    Points Possible,,,10"
    (course / "canvas.csv").write_text(f'{head}\n{points}\n"A, Anna",1,anna,\n"B, Ben",2,ben,3\n"C, Carl",3,carl,\n')
    assert graded(course, course / "in", people=course / "canvas.csv", alike=True) == 0
    made = (course / "grading" / "tiny.canvas.csv").read_text().splitlines()
    assert made == [head, points, '"A, Anna",1,anna,5']  # Ben's mark has not changed, Carl handed in nothing
    pairs = (course / "grading" / "tiny.similar.csv").read_text().splitlines()
    assert pairs == ["student,other student,alike in,share of the shorter one,pieces in common"]
