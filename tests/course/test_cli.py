"""The command `kdcourse`: how fast it answers, what it lists, and what it says where something is wrong."""

import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from torchvision.datasets import MNIST

import kdcourse
from kdcourse import cli, data, files, worksheets
from kdcourse.marking import student

ROOT = Path(__file__).parents[2]
NAME = "01_vanilla_kd"


def run(*arguments, cpu=None, **environment):
    """A command in a process of its own; with `cpu`, the seconds that it may compute."""
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_CPU, (600, 600)); from kdcourse.cli import main\n"
            "try:\n    status = main()\nexcept SystemExit as end:\n    status = end.code\n"
            "used = resource.getrusage(resource.RUSAGE_SELF)\n"
            "print(used.ru_utime + used.ru_stime, 'torch' in sys.modules, file=sys.stderr)\nsys.exit(status)")
    start = ["-c", code] if cpu else ["-m", "kdcourse"]
    done = subprocess.run([sys.executable, "-W", "ignore", *start, *arguments], capture_output=True, encoding="utf-8",
                          cwd=ROOT, timeout=300, env={**os.environ, **environment})
    if cpu:
        seconds, torch = done.stderr.splitlines()[-1].split()
        assert float(seconds) < cpu and torch == "False"
    return done


@pytest.mark.skipif(os.name == "nt", reason="the seconds that a process computed are asked in another way there")
@pytest.mark.parametrize("arguments, said", [(["--help"], "{doctor,list,fetch,"), (["--version"], kdcourse.__version__),
                                             (["grade", "--help"], "--student"), (["list"], "Lessons")])
def test_what_needs_no_network_is_answered_in_half_a_second_of_computing(arguments, said):
    done = run(*arguments, cpu=0.5)
    assert done.returncode == 0 and said in done.stdout


@pytest.mark.parametrize("module", ["kdcourse", "kdcourse.cli"])
def test_the_command_is_a_module_too(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"kdcourse {kdcourse.__version__}\n")
    assert subprocess.run([sys.executable, "-m", module, "nonsense"], capture_output=True).returncode == 2


def test_the_help_of_check_says_how_long_a_cell_may_take(capsys):
    with pytest.raises(SystemExit):
        cli.main(["check", "--help"])
    seconds = student.SECONDS
    assert f"A cell may take {seconds} seconds" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one exercise and its solution, in a folder of its own, which is the current one."""
    for name in ("exercises", "solutions", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / "course" / name)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path / "course")
    (tmp_path / "course" / "kdcourse").mkdir()
    monkeypatch.chdir(tmp_path / "course")
    return tmp_path / "course"


def test_list_shows_number_name_title_and_first_paragraph_of_every_lesson_and_exercise(capsys):
    assert cli.main(["list"]) == 0
    said = capsys.readouterr().out
    lines, words = said.splitlines(), " ".join(said.split())
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("exercises/*/*.ipynb")]:
        number, _, name = path.stem.partition("_")
        head, paragraph = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]).split("\n\n")[:2]
        assert [line for line in lines if line.split()[:2] == [number, name] and head.endswith(line.split("  ")[-1])]
        assert " ".join(paragraph.replace("*", "").split()) in words
    assert words.count("Knowledge distillation lets a small network learn") == 1
    assert "**" not in said and "](" not in said


def test_list_names_a_notebook_that_cannot_be_read_and_goes_on(course, capsys):
    for name, text in (("90_empty", ""), ("91_list", "[]"), ("92_nothing", '{"cells": []}'), ("93_bytes", "\xff")):
        (course / "notebooks" / f"{name}.ipynb").write_text(text, encoding="latin-1")
    (course / "notebooks" / "94_untitled.ipynb").write_text('{"cells": [{"source": ["words"]}]}')
    assert cli.main(["list"]) == 0
    said = capsys.readouterr().out
    assert said.count("cannot be read (") == 4 and "01  vanilla_kd           Vanilla distillation:" in said
    assert "94  untitled             words" in said


def test_list_can_be_shown_where_letters_are_missing_and_cut_off_by_a_reader_who_has_seen_enough():
    done = run("list", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "Lessons" in done.stdout and done.stderr == ""
    if os.name != "nt":
        piped = f'"{sys.executable}" -m kdcourse list | head -1'
        done = subprocess.run(piped, shell=True, capture_output=True, encoding="utf-8", cwd=ROOT)
        assert done.stdout.startswith("Lessons") and done.stderr == ""


@pytest.mark.parametrize("typed", ["1", "01", "001", "01_", "1_van", "vanilla", NAME, f"{NAME}.ipynb",
                                   f"exercises/{NAME}/", f"exercises/{NAME}/{NAME}.ipynb", f"exercises\\{NAME}"])
def test_an_exercise_is_meant_by_its_number_its_name_or_its_path(course, typed, capsys):
    assert cli.main(["start", typed]) == 0
    assert (course / "work" / NAME / f"{NAME}.ipynb").is_file()
    assert [path.name for path in (course / "work").iterdir()] == [NAME]


@pytest.mark.parametrize("typed", ["", "0", "2", "100", "..", "1_x", "/", "²", "①", "٣"])
def test_what_means_no_exercise_or_several_names_the_choices(course, typed, capsys):
    for other in (path for path in (course / "exercises").iterdir() if path.name != NAME):
        shutil.rmtree(other)
    for number in (10, 11):
        (course / "exercises" / f"{number}_a").mkdir()
        (course / "exercises" / f"{number}_a" / f"{number}_a.ipynb").write_text("{}")
    assert cli.main(["start", typed]) == cli.main(["start", "a"]) == 2
    assert capsys.readouterr().err.count(f"choose one of: {NAME}, 10_a, 11_a") == 2
    assert not (course / "work").exists()


@pytest.mark.parametrize("typed", ["3", "03", "٣", "٠٣", "۳", "३", "３"])  # Latin, Arabic, Persian, Hindi, full width
def test_a_number_is_the_same_in_the_digits_of_every_script(course, typed, capsys):
    assert cli.main(["start", typed]) == cli.main(["lesson", typed]) == 0
    assert [path.name for path in (course / "work").glob("*_*")] == ["03_hints_and_relations"]
    assert [path.name for path in (course / "work" / "lessons").glob("*.ipynb")] == ["03_hints_and_relations.ipynb"]
    chosen = cli.parser().parse_args(["grade", NAME, "in", "--jobs", typed])
    assert chosen.jobs == cli.parser().parse_args(["study", "run", "--workers", typed]).workers == 3


@pytest.mark.parametrize("typed", ["0", "-1", "2.5", "1_0", "²", "", "many", "٠"])
def test_what_is_no_count_is_told_so(typed, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["grade", NAME, "in", f"--jobs={typed}"])
    assert end.value.code == 2 and f"{typed!r} is no whole number of at least 1" in capsys.readouterr().err


def test_start_from_another_drive_shows_the_whole_path(course, monkeypatch, capsys):
    def relpath(path, start=None):
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert cli.main(["start", "1"]) == 0
    copy = course / "work" / NAME / f"{NAME}.ipynb"
    assert f"jupyter lab --notebook-dir={course} {copy}" in capsys.readouterr().out and copy.is_file()
    assert cli.main(["start", "1"]) == 2      # a second time: what is there is told by its whole path, too
    assert f"{copy.parent} is there already" in capsys.readouterr().err
    assert cli.main(["release", NAME]) == 0
    assert f"{course / 'exercises' / NAME} is made" in capsys.readouterr().out


def test_a_path_with_spaces_is_shown_as_it_can_be_typed(course, monkeypatch, capsys):
    (course.parent / "my course").mkdir()
    monkeypatch.chdir(course.rename(course.parent / "my course" / "kd").parent.parent)
    monkeypatch.setattr(files, "course_folder", lambda start: course.parent / "my course" / "kd")
    assert cli.main(["start", "1"]) == 0
    path = os.path.join("my course", "kd", "work", NAME, f"{NAME}.ipynb")
    assert f'--notebook-dir="{os.path.join("my course", "kd")}" "{path}"' in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions there")
def test_the_copy_of_an_exercise_that_may_only_be_read_can_be_written(course, capsys):
    for path in ((course / "exercises" / NAME), *(course / "exercises" / NAME).iterdir()):
        path.chmod(path.stat().st_mode & ~0o222)
    assert cli.main(["start", "1"]) == 0
    for path in ((course / "work" / NAME), *(course / "work" / NAME).iterdir()):
        assert path.stat().st_mode & 0o200


KINDS = {errno.EROFS: "ask for permission", errno.EACCES: "ask for permission", errno.EPERM: "ask for permission",
         errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.ENOTDIR: "rename it", errno.EEXIST: "rename it",
         errno.EISDIR: "rename it", errno.EIO: "run the command again"}


@pytest.mark.parametrize("number", KINDS)
@pytest.mark.parametrize("command", ["fetch mnist", "doctor", "start 1", f"check {NAME}", f"release {NAME}",
                                     f"grade {NAME} folder"])
def test_what_the_system_does_not_let_one_do_is_a_sentence_and_status_2(command, number, monkeypatch, capsys, course):
    def refused(chosen):
        raise OSError(number, os.strerror(number), str(course / "work" / "a b"))

    monkeypatch.setitem(cli.COMMANDS, command.split()[0], refused)
    assert cli.main(command.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"kdcourse {command.split()[0]}: {course / 'work' / 'a b'}: {os.strerror(number)}; ")
    assert KINDS[number] in said and ("copy the course to a folder of yours" in said) == (number != errno.EIO)


@pytest.mark.parametrize("command, blocked", [
    ("fetch mnist", "data/mnist"), ("fetch cifar10", "data/cifar10"), ("start 1", "course/work"),
    (f"release {NAME}", f"course/exercises/{NAME}"), (f"grade {NAME} submissions --unsafe", "course/grading"),
])
def test_a_file_where_a_folder_is_meant_is_named_and_stays(command, blocked, course, monkeypatch, capsys):
    path = course.parent / blocked
    monkeypatch.setenv("KDCOURSE_DATA", str(course.parent / "data"))
    (course.parent / "data").mkdir()
    (course / "submissions").mkdir()
    if path.exists():
        shutil.rmtree(path)
    path.write_text("mine")
    assert cli.main(command.split()) == 2
    said = capsys.readouterr().err.splitlines()
    assert str(path) in said[-1] + said[0] and not any("Traceback" in line for line in said)
    assert path.read_text() == "mine"


def test_a_folder_is_the_notebook_in_it_if_there_is_one_and_a_name_that_in_work(course, monkeypatch, capsys):
    checked = []
    monkeypatch.setattr("kdcourse.marking.student.check", lambda path, tell: checked.append(path) or ([], []))
    assert cli.main(["check", str(course)]) == 2
    assert ". is a folder with no notebooks: name one" in capsys.readouterr().err
    cli.main(["start", "1"])
    mine = course / "work" / NAME / f"{NAME}.ipynb"
    for typed in (str(mine), str(mine.parent), "1", "01", "vanilla"):
        assert cli.main(["check", typed]) == 0, typed
    assert {path.resolve() for path in checked} == {mine.resolve()} and len(checked) == 5
    (mine.parent / "another.ipynb").touch()
    assert cli.main(["check", str(mine.parent)]) == 2
    assert "a folder with 2 notebooks: name one" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["notebooks", "work/lessons"])
def test_a_lesson_or_its_worksheet_is_no_exercise(place, tmp_path, capsys):
    path = tmp_path / "kd" / place / "03_hints_and_relations.ipynb"
    path.parent.mkdir(parents=True)
    for folder in ("kdcourse", "notebooks"):
        (tmp_path / "kd" / folder).mkdir(exist_ok=True)
    shutil.copytree(ROOT / "exercises", tmp_path / "kd" / "exercises")
    shutil.copy(ROOT / "notebooks" / path.name, tmp_path / "kd" / "notebooks")
    if place != "notebooks":
        worksheets.start("3", tmp_path / "kd")
    assert cli.main(["check", str(path)]) == 2
    assert "is a lesson, whose checks are in its own cells: it holds no question of an" in capsys.readouterr().err


def test_a_study_that_is_not_there_or_has_measured_nothing_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", "run", "./mine"]) == 2
    assert "there is no folder ./mine" in capsys.readouterr().err
    assert cli.main(["study", "report", "cifar10_halves", "--folder", str(tmp_path / "own")]) == 2
    assert "nothing of it is measured in own yet: kdcourse study run cifar10_halves" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_breaks_off_says_why_and_leaves_nothing(course, monkeypatch, capsys):
    def full(source, target, **settings):
        raise shutil.Error([(str(source), str(target), f"[Errno 28] No space left on device: '{target}'")])

    monkeypatch.setattr(shutil, "copytree", full)
    before = (course / "exercises" / NAME / f"{NAME}.ipynb").read_bytes()
    for command in (["start", "1"], ["release", NAME]):
        assert cli.main(command) == 2
        said = capsys.readouterr().err
        assert "No space left on device; make room on that disk, or copy the course" in said and "Errno" not in said
    assert list((course / "work").iterdir()) == []
    assert (course / "exercises" / NAME / f"{NAME}.ipynb").read_bytes() == before


def test_a_gradebook_that_cannot_be_written_is_a_short_message_that_says_what_to_do(course, monkeypatch, capsys):
    from kdcourse.marking.grade import gradebook as book

    def full(chosen):
        with book._nbgrader("reading the assignment"):
            raise sqlite3.OperationalError("database or disk is full\n[SQL: CREATE TABLE base_cell (...)]")

    monkeypatch.setitem(cli.COMMANDS, "grade", full)
    assert cli.main(["grade", NAME, "submissions"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith("disk is full; make room where the gradebook lies, or see that you may write there")


def test_where_the_current_folder_is_gone_or_nothing_temporary_can_be_written_it_is_said(monkeypatch, capsys):
    for text, advice in ((os.strerror(errno.ENOENT), "the folder that you are in is gone"),
                         ("No usable temporary directory found in ['/tmp']", "set TMPDIR")):
        def gone(chosen, text=text):
            raise FileNotFoundError(errno.ENOENT, text)

        monkeypatch.setitem(cli.COMMANDS, "list", gone)
        assert cli.main(["list"]) == 2
        assert advice in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("bwrap"), reason="needs bubblewrap to make a folder read-only for everybody")
@pytest.mark.parametrize("command", ["start 1", "release 01_vanilla_kd", "fetch mnist"])
def test_in_a_course_that_can_only_be_read_commands_say_where_to_go(command, tmp_path):
    walls = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", str(tmp_path), str(tmp_path)]
    if subprocess.run([*walls, "true"]).returncode:
        pytest.skip("bubblewrap does not run here")
    done = subprocess.run([*walls, sys.executable, "-W", "ignore", "-m", "kdcourse", *command.split()], cwd=ROOT,
                          capture_output=True, text=True, timeout=300,
                          env={**os.environ, "TMPDIR": str(tmp_path), "KDCOURSE_DATA": str(ROOT / "tests" / "no data")})
    (said,) = done.stderr.splitlines()
    assert done.returncode == 2 and "Read-only file system" in said
    assert ("set KDCOURSE_DATA" if "fetch" in command else "copy the course to a folder of yours") in said


def test_doctor_reports_versions_sources_and_no_problem(capsys):
    problems = cli.doctor()
    printed = capsys.readouterr().out
    assert problems == [] and "no problem found" in printed
    for word in ("torch", "profile       quick", "device        cpu (KDCOURSE_DEVICE)", "digits", "mnist",
                 "widgets       front end and kernel match"):
        assert word in printed


FITTING = {"@jupyter-widgets/jupyterlab-manager": "5.0.15", "anywidget": version("anywidget")}
each_front_end = pytest.mark.parametrize("name", FITTING)


@pytest.fixture
def manifests(monkeypatch, tmp_path) -> dict[str, Path]:
    """Where the front ends of a server that fit keep their versions."""
    monkeypatch.setattr(cli, "_server_prefix", lambda: tmp_path)
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda name: [])
    paths = {name: tmp_path / "share/jupyter/labextensions" / name / "package.json" for name in FITTING}
    for name, path in paths.items():
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"version": FITTING[name]}))
    return paths


def test_doctor_has_nothing_to_say_of_front_ends_that_fit(manifests):
    assert cli.widgets() == ""


@each_front_end
@pytest.mark.parametrize("number", ["3.1.1", "50.0.0", "0.1.0"])
def test_doctor_names_a_front_end_that_does_not_match_and_what_to_do(manifests, tmp_path, name, number):
    manifests[name].write_text(json.dumps({"version": number}))
    problem = cli.widgets()
    assert f"{name} {number}" in problem and str(tmp_path) in problem and "pip install" in problem


@each_front_end
def test_doctor_says_where_there_is_no_front_end_at_all(manifests, name):
    manifests[name].unlink()
    assert f"no widget front end {name}; run there: pip install '" in cli.widgets()


@each_front_end
@pytest.mark.parametrize("text", ["", "{}", "[]", "\xff"])
def test_doctor_names_a_front_end_that_cannot_be_read(manifests, name, text):
    manifests[name].write_text(text, encoding="latin-1")
    assert f"{manifests[name]} cannot be read" in cli.widgets()


@pytest.mark.parametrize("name, value, said", [
    ("KDCOURSE_PROFILE", "fast", "choose one of: quick, full"),
    ("KDCOURSE_DEVICE", "cuda:99", "KDCOURSE_DEVICE is 'cuda:99'"),
    ("KDCOURSE_PRECISION", "double", "choose one of: float32, bfloat16"),
])
def test_doctor_reports_a_variable_that_names_nothing_and_fails(monkeypatch, capsys, name, value, said):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(data, "describe", str)
    assert cli.main(["doctor"]) == 1
    assert said in capsys.readouterr().out


def corrupt(root):
    (root / "mnist").mkdir()
    for name, _ in MNIST.resources:
        (root / "mnist" / name).write_bytes(b"half")


def foreign(root):
    raise PermissionError(errno.EACCES, "Permission denied", str(root / "mnist" / "t10k-images-idx3-ubyte.gz"))


def broken(root):
    raise EOFError("Compressed file ended before the end-of-stream marker was reached")


@pytest.mark.parametrize("damage, said", [
    (corrupt, "is corrupt: its MD5"), (foreign, "Permission denied; ask for permission"), (broken, "Compressed file"),
])
def test_doctor_goes_on_after_a_source_that_cannot_be_read_and_reports_it(damage, said, tmp_path, monkeypatch, capsys):
    describe = data.describe
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    if damage is corrupt:
        corrupt(tmp_path)
    else:
        monkeypatch.setattr(data, "describe", lambda name: damage(tmp_path) if name == "mnist" else describe(name))
    assert cli.main(["doctor"]) == 1
    printed = capsys.readouterr().out
    last = printed.split("  mnist ", 1)[1]
    assert last.splitlines()[0].endswith("cannot be read: see below")
    assert all(f"\n  {name:<11} " in last for name in list(data.SOURCES)[list(data.SOURCES).index("mnist") + 1:])
    problem, *others = [line for line in printed.splitlines() if line.startswith("problem: ")]
    assert problem.startswith("problem: mnist: ") and said in problem
    assert all(other.startswith("problem: mnist_rest: ") for other in others)   # it is made of the same files


def test_what_was_not_fetched_is_no_problem(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    assert cli.main(["doctor"]) == 0
    assert "mnist       mnist is not in" in capsys.readouterr().out


def test_doctor_looks_at_everything_where_the_data_folder_is_a_file_and_says_so_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path / "data"))
    assert cli.main(["doctor"]) == cli.main(["fetch", "mnist"]) == 2
    said = capsys.readouterr()
    message = f"KDCOURSE_DATA must name a folder; {tmp_path / 'data'} is a file"
    assert said.err.splitlines() == [f"kdcourse doctor: {message}", f"kdcourse fetch: {message}"]
    assert said.out.count(f"problem: {message}") == said.out.count("problem:") == 1 and "  digits " in said.out


def test_doctor_goes_on_where_torch_or_the_home_folder_is_broken(monkeypatch, capsys):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, "/")
    for part in ("_settings", "_front_end"):
        def fails(part=part):
            raise RuntimeError(f"operator of {part} does not exist\nmore")

        monkeypatch.setattr(cli, part, fails)
    monkeypatch.setattr(data, "describe", lambda name: f"a/b/{name}")
    problems = cli.doctor()
    assert [problem.split(";")[0] for problem in problems] == [
        f"RuntimeError: operator of {part} does not exist" for part in ("_settings", "_front_end")]
    assert "a/b/digits" in capsys.readouterr().out


def test_fetch_of_an_unknown_source_names_the_choices(capsys):
    assert cli.main(["fetch", "mnst"]) == 2
    assert "did you mean mnist?); choose one of: " in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["digits", "Digits", "tissue"])
def test_fetch_of_an_embedded_source_says_that_it_is_there(typed, capsys):
    assert cli.main(["fetch", typed]) == 0
    assert "nothing to fetch" in capsys.readouterr().out


def test_fetch_without_a_connection_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert cli.main(["fetch", "mnist"]) == 2
    assert "1. check the network connection" in capsys.readouterr().err
    assert list((tmp_path / "mnist").iterdir()) == []


def test_a_worksheet_is_made_beside_the_exercises_and_said_how_to_open(course, capsys):
    assert cli.main(["lesson", "1"]) == 0
    sheet = os.path.join("work", "lessons", f"{NAME}.ipynb")
    assert capsys.readouterr().out == f"{sheet} is yours. Open it with:\n  jupyter lab --notebook-dir=. {sheet}\n"
    assert (course / sheet).is_file()
    assert cli.main(["lesson", "1"]) == 2
    assert "is there already, and nothing was written" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--rehearse"], ["--seeds", "7"], ["--only", "KD"], ["--workers", "2"],
                                    ["--folder", "elsewhere"], ["--scheduler", "tcp://x:1"]])
def test_a_comparison_of_ones_own_takes_no_option_and_is_not_registered_by_one(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "kdcourse" / "plan" / "examples" / "own_idea", tmp_path / "mine")
    before = sorted((tmp_path / "mine").iterdir())
    assert cli.main(["study", "run", "mine", *option]) == 2
    assert f"{option[0]}: for the papers' studies alone" in capsys.readouterr().err
    assert sorted((tmp_path / "mine").iterdir()) == before


@pytest.mark.parametrize("option", [["--only", "unseen"], ["--seeds", "0"]])
def test_a_report_is_of_the_whole_study(option, tmp_path, capsys):
    assert cli.main(["study", "report", "cifar10_halves", "--folder", str(tmp_path), *option]) == 2
    assert "a report is of the whole study" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_what_to_go_on_with_is_there_and_can_be_typed(tmp_path, monkeypatch, capsys):
    course = tmp_path / "my course"
    for folder in ("notebooks", "kdcourse", "exercises", "work/01_vanilla_kd"):
        (course / folder).mkdir(parents=True)
    shutil.copytree(ROOT / "exercises" / "01_vanilla_kd", course / "exercises" / "01_vanilla_kd")
    shutil.copy(ROOT / "notebooks" / "01_vanilla_kd.ipynb", course / "notebooks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.files, "course_folder", lambda start: course)
    assert cli.main(["start", "1"]) == 2
    assert "nothing in it" in (told := capsys.readouterr().err) and "to go on with it" not in told
    (course / "work" / "01_vanilla_kd").rmdir()
    assert [cli.main(["start", "1"]) for _ in range(2)] == [0, 2]
    assert '--notebook-dir="my course" "my course/work/01_vanilla_kd/01_vanilla_kd.ipynb"' in capsys.readouterr().err
    assert [cli.main(["lesson", "1"]) for _ in range(2)] == [0, 2]
    assert '--notebook-dir="my course" "my course/work/lessons/01_vanilla_kd.ipynb"' in capsys.readouterr().err
