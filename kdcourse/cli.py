"""The command `kdcourse`: `doctor` says what this machine can run, `fetch` gets a data set before class, `start` and
`check` are the student's way through an exercise, `release` and `grade` the instructor's.

It computes nothing that a lesson needs.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch
from jupyter_core.paths import jupyter_path

from kdcourse import data, files, profiles
from kdcourse.marking import release, student

PACKAGES = ("kdcourse", "torch", "torchvision", "transformers", "timm", "scikit-learn", "jupyterlab", "ipywidgets")
OPTIONAL = ("transformers", "timm")
BFLOAT16 = "; this machine has bfloat16 too (KDCOURSE_PRECISION): try it for convolutions"
FRONT_END = "5"  # major version of @jupyter-widgets/jupyterlab-manager that belongs to ipywidgets 8


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (those of the shell by default); returns the exit status."""
    parser = argparse.ArgumentParser(prog="kdcourse", description="Checks this machine; data; exercises.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="versions, profile, device, widgets, and which data sets are here")
    fetching = commands.add_parser("fetch", help="download a data set and verify it, before class")
    fetching.add_argument("source", help=f"one of: {', '.join(sorted(data.FETCHERS))}")
    starting = commands.add_parser("start", help="copy an exercise to work/, where you answer it")
    starting.add_argument("exercise", help="01_vanilla_kd, for example; 01 will do")
    checking = commands.add_parser(
        "check", help="run the checks of your notebook before you hand it in",
        description="Runs the notebook as the grader will, without changing the file, and lists what is right, what is "
        f"not, and what is open. A cell may take {student.SECONDS} seconds.")
    checking.add_argument("notebook", type=Path)
    releasing = commands.add_parser("release", help="instructors: make the students' copy from solutions/")
    releasing.add_argument("assignment")
    grading = commands.add_parser("grade", help="instructors: grade a folder of submissions")
    grading.add_argument("assignment")
    grading.add_argument("submissions", type=Path, help="a folder with one file or one folder per student")
    grading.add_argument("--student", metavar="ID", help="only this one, and again if it was graded before")
    grading.add_argument("--jobs", type=int, metavar="N", help="how many at a time (by default one for each core)")
    grading.add_argument("--unsafe", action="store_true",
                         help="run submissions as programs of yours: no sandbox, all your rights")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command in EXERCISES:
            return EXERCISES[chosen.command](chosen)
        if chosen.command == "fetch":
            if chosen.source in data.SOURCES and chosen.source not in data.FETCHERS:
                print(f"{chosen.source} comes with the course: there is nothing to fetch")
                return 0
            print(f"{chosen.source} is complete in {data.FETCHERS[chosen.source]()}")
            return 0
        return 1 if doctor() else 0
    except (ValueError, data.DataError) as error:
        print(f"kdcourse {chosen.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nkdcourse {chosen.command}: stopped before its end", file=sys.stderr)
        return 130


def start(chosen: argparse.Namespace) -> int:
    course = student.course_folder(Path.cwd())
    copy = student.start(chosen.exercise, course)
    notebook = os.path.relpath(copy / f"{copy.name}.ipynb")
    print(f"{notebook} is yours. Open it with:\n  jupyter lab {notebook}")
    return 0


def check(chosen: argparse.Namespace) -> int:
    results, warnings = student.check(chosen.notebook, tell=lambda line: print(line, flush=True))
    print(f"\n{student.report(results, warnings)}")
    return 0 if not warnings and all(result.standing in ("right", "written") for result in results) else 1


def make_release(chosen: argparse.Namespace) -> int:
    course = student.course_folder(Path.cwd())
    print(f"{os.path.relpath(release.release(chosen.assignment, course))} is made from its solution")
    return 0


def grade(chosen: argparse.Namespace) -> int:
    try:
        from kdcourse.marking import grade as grading
    except ImportError as error:
        raise ValueError(f'{error.name} is missing; run: pip install -e ".[grade]"') from error
    return grading.grade(chosen.assignment, chosen.submissions, course=student.course_folder(Path.cwd()),
                         jobs=chosen.jobs, student=chosen.student, unsafe=chosen.unsafe)


EXERCISES = {"start": start, "check": check, "release": make_release, "grade": grade}


def doctor() -> list[str]:
    """Print what this machine can run; returns the problems found, each with what to do."""
    problems = []
    print(f"python        {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in PACKAGES:
        try:
            print(f"{package:<13} {version(package)}")
        except PackageNotFoundError:
            print(f"{package:<13} not installed")
            if package not in OPTIONAL:
                problems.append(f'{package} is missing; run: pip install -e "."')
    try:
        print(f"profile       {profiles.current()} (KDCOURSE_PROFILE)")
        print(f"device        {profiles.device()}, {torch.get_num_threads()} threads (quick notebooks use 1)")
        hint = "" if profiles.precision() == "bfloat16" or not profiles.fast_bfloat16() else BFLOAT16
        print(f"precision     {profiles.precision()}, channels last{hint}")
    except ValueError as error:
        problems.append(str(error))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
    print(f"GPU           {gpu}")
    problem = widgets()
    print(f"widgets       {'do not match: see below' if problem else 'front end and kernel match'}")
    problems += [problem] if problem else []
    print(f"data folder   {_without_home(files.folder())}")
    for name in data.SOURCES:
        try:
            print(f"  {name:<11} {data.describe(name)}")
        except data.DataError as error:
            print(f"  {name:<11} {textwrap.shorten(_without_home(error), 100, placeholder=' ...')}")
    for problem in problems:
        print(f"problem: {problem}")
    if not problems:
        print("no problem found")
    return problems


def widgets() -> str:
    """Empty if the widget front end that JupyterLab loads speaks to this kernel's ipywidgets; else what is wrong.

    They live in different environments more often than one thinks, and then widgets stay blank.
    """
    server = _server_prefix()
    for folder in (server / "share" / "jupyter" / "labextensions", *map(Path, jupyter_path("labextensions"))):
        manifest = folder / "@jupyter-widgets" / "jupyterlab-manager" / "package.json"
        if manifest.is_file():
            number = json.loads(manifest.read_text())["version"]
            if number.split(".")[0] == FRONT_END:
                return ""
            return (
                f"JupyterLab in {server} has the widget front end {number}, but ipywidgets {version('ipywidgets')} "
                f"speaks to {FRONT_END}.x; run there: pip install -U 'jupyterlab_widgets>=3,<4'"
            )
    return f"JupyterLab in {server} has no widget front end; run there: pip install 'jupyterlab_widgets>=3,<4'"


def _without_home(text: object) -> str:
    return str(text).replace(str(Path.home()), "~")


def _server_prefix() -> Path:
    """The environment of the Jupyter server that started this kernel; outside a kernel, of `jupyter-lab`."""
    if parent := os.environ.get("JPY_PARENT_PID"):
        with contextlib.suppress(psutil.Error, IndexError):
            return Path(psutil.Process(int(parent)).cmdline()[0]).parent.parent
    command = shutil.which("jupyter-lab")
    return Path(command).parent.parent if command else Path(sys.prefix)
