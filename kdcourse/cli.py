"""The command `kdcourse`: `doctor` says what this machine can run, `list` what there is to do, `fetch` gets a data set
before class, `lesson` makes a worksheet; `start` and `check` are the student's way through an exercise, `release` and
`grade` the instructor's; `study` runs the papers' tables, or a comparison of the reader's own; `ship` writes a network
as files that run without torch.

It computes nothing that a lesson needs. What takes seconds to import is imported by the command that needs it.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kdcourse import __version__, files

PACKAGES = ("kdcourse", "torch", "torchvision", "transformers", "timm", "scikit-learn", "jupyterlab", "ipywidgets",
            "anywidget")
OPTIONAL = ("transformers", "timm")
BFLOAT16 = "; this machine has bfloat16 too (KDCOURSE_PRECISION): try it for convolutions"
FRONT_END = "5"  # major version of @jupyter-widgets/jupyterlab-manager that belongs to ipywidgets 8
VARIABLES = """\
environment variables:
  KDCOURSE_PROFILE    quick (the default) or full: which data and how long lessons train
  KDCOURSE_DATA       the folder of all data sets; a relative path begins at the folder of the course
  KDCOURSE_DEVICE     where networks train: cpu, cuda, cuda:1, mps, ...
  KDCOURSE_PRECISION  float32 or bfloat16: the arithmetic of training
  KDCOURSE_QUIET      1: no progress bars"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (those of the shell by default); returns the exit status."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")  # a title may hold what an old terminal cannot show
    # what jsonschema imports to know Internet addresses builds a grammar for 3 s, and is not needed to read notebooks
    sys.modules.setdefault("rfc3987_syntax", None)
    chosen = parser().parse_args(arguments)
    try:
        status = COMMANDS[chosen.command](chosen)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # nobody listens any more: `kdcourse list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, files.DataError) as error:
        said = str(error)
    except OSError as error:
        said = files.in_words(error)
    except KeyboardInterrupt:
        print(f"\nkdcourse {chosen.command}: stopped before its end", file=sys.stderr)
        return 130
    print(f"kdcourse {chosen.command}: {said}", file=sys.stderr)
    return 2


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(prog="kdcourse", description="Checks this machine; data; lessons and exercises.",
                                    epilog=VARIABLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    whole.add_argument("--version", action="version", version=f"kdcourse {__version__}")
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="versions, profile, device, widgets, and which data sets are here")
    commands.add_parser("list", help="the lessons and the exercises, and what each is about")
    fetching = commands.add_parser("fetch", help="download a data set and verify it, before class")
    fetching.add_argument("source", help="mnist, for example; kdcourse doctor lists them")
    opening = commands.add_parser("lesson", help="make a worksheet of a lesson, with blanks to fill in")
    opening.add_argument("lesson", help="02_soft_targets, for example; its number will do")
    _add_study(commands)
    _add_ship(commands)
    starting = commands.add_parser("start", help="copy an exercise to work/, where you answer it")
    starting.add_argument("exercise", help="01_vanilla_kd, for example; its number will do")
    checking = commands.add_parser(
        "check", help="run the checks of your notebook before you hand it in",
        description="Runs the notebook as the grader will, without changing the file, and lists what is right, what is "
        "not, and what is open. A cell may take 60 seconds.")
    checking.add_argument("notebook", type=Path, help="or the folder of a comparison of your own (lesson 11)")
    releasing = commands.add_parser("release", help="instructors: make the students' copy from solutions/")
    releasing.add_argument("assignment")
    releasing.add_argument("--variants", type=Path, metavar="CSV",
                           help="a copy for each student of this roster, with settings of their own")
    grading = commands.add_parser("grade", help="instructors: grade a folder of submissions")
    grading.add_argument("assignment")
    grading.add_argument("submissions", type=Path, help="a folder with one file or one folder per student, or a zip")
    grading.add_argument("--student", metavar="ID", help="only this one, and again if it was graded before")
    grading.add_argument("--jobs", type=_count, metavar="N", help="how many at a time (by default one for each core)")
    grading.add_argument("--unsafe", action="store_true",
                         help="run submissions as programs of yours: no sandbox, all your rights")
    grading.add_argument("--roster", type=Path, metavar="CSV", help="who is in the class, as your LMS exports it")
    grading.add_argument("--question", default="", metavar="CHECK", help="judge this one anew, and no other")
    grading.add_argument("--similar", action="store_true", help="list pairs of hand-ins that have much in common")
    return whole


def _count(typed: str) -> int:
    """How many; a number may be typed in the digits of any script, as everywhere here."""
    if not typed.isdecimal() or not int(typed):
        raise argparse.ArgumentTypeError(f"{typed!r} is no whole number of at least 1")
    return int(typed)


def _add_ship(commands) -> None:
    shipping = commands.add_parser(
        "ship", help="write a network as files that run without torch, with a model card",
        description="Writes into FOLDER network.onnx with the preprocessing inside, weights.safetensors, card.md, "
        "run.py, which needs onnxruntime and numpy alone, and proof.npz.")
    shipping.add_argument("network", help="fashion_cnn, a network that the course keeps; or a file of ship.save")
    shipping.add_argument("folder", type=Path)
    shipping.add_argument("--int8", action="store_true",
                          help="network_int8.onnx, too: in eight bits, calibrated on training images of its source")


def _add_study(commands) -> None:
    studying = commands.add_parser(
        "study", help="the papers' tables and their controls: plan them, run them, report them",
        description="list shows the studies. plan says how many trainings, hours and megabytes; run does what is not "
        "done; status counts; report writes report.md and report.png beside the results.")
    studying.add_argument("what", choices=("list", "plan", "run", "status", "report"))
    studying.add_argument("name", nargs="?", default="",
                          help="slkd_paper, for example; or a folder with a plan of your own")
    studying.add_argument("--only", nargs="+", default=[], metavar="WORD", help="arms with one of these in their name")
    studying.add_argument("--seeds", nargs="+", type=int, default=[], metavar="N", help="other seeds than the study's")
    studying.add_argument("--folder", type=Path, help="where results are kept (by default studies/NAME, with the data)")
    studying.add_argument("--rehearse", action="store_true", help="small networks, noise, one epoch: does it run here?")
    studying.add_argument("--rate", type=float, metavar="N",
                          help="multiply-adds a second of the GPU that a plan counts for (1e13)")
    studying.add_argument("--workers", type=_count, metavar="N",
                          help="train on N processes, each with a GPU of its own")
    studying.add_argument("--scheduler", metavar="ADDRESS", help="train on the Dask cluster of this address")


def show_all(chosen: argparse.Namespace) -> int:
    course = files.course_folder(Path.cwd())
    width = min(100, shutil.get_terminal_size().columns)
    lesson = course / "notebooks" / "00_start_here.ipynb"
    for kind, pattern, how in (("Lessons", "notebooks/*.ipynb", f"{files.lab(lesson)}, for example"),
                               ("Exercises", "exercises/*/*.ipynb", "kdcourse start 01, for example")):
        print(f"{kind}: {how}")
        for path in sorted(course.glob(pattern)):
            number, _, name = path.stem.partition("_")
            title, about = summary(path)
            print(f"  {number}  {name:<20} {title}")
            print(textwrap.indent(textwrap.fill(about, max(20, width - 6)), " " * 6))
    return 0


def summary(path: Path) -> tuple[str, str]:
    """The title of a notebook, and what its first paragraph says; why it cannot be read, if so."""
    try:
        source = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
        title, *paragraphs = re.split(r"\n\s*\n", "".join(source).strip())
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"cannot be read ({type(error).__name__})", ""
    title = re.sub(r"^#*\s*(Exercise\s+)?(\d+\s*·\s*)?", "", title)
    about = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", paragraphs[0] if paragraphs else "")  # a link is its text
    return " ".join(title.split()), " ".join(about.replace("*", "").split())


def fetch(chosen: argparse.Namespace) -> int:
    from kdcourse import data

    source = files.meant(chosen.source, sorted({*data.SOURCES, *data.FETCHERS}), "data set")
    if source in data.FETCHERS:
        print(f"{source} is complete in {data.FETCHERS[source]()}")
    else:
        print(f"{source} comes with the course: there is nothing to fetch")
    return 0


def make_worksheet(chosen: argparse.Namespace) -> int:
    from kdcourse import worksheets

    sheet = worksheets.start(chosen.lesson, files.course_folder(Path.cwd()))
    print(f"{files.shown(sheet)} is yours. Open it with:\n  {files.lab(sheet)}")
    return 0


def start(chosen: argparse.Namespace) -> int:
    from kdcourse.marking import student

    course = files.course_folder(Path.cwd())
    copy = student.start(chosen.exercise, course)
    notebook = copy / f"{copy.name}.ipynb"
    print(f"{files.shown(notebook)} is yours. Open it with:\n  {files.lab(notebook)}")
    return 0


def check(chosen: argparse.Namespace) -> int:
    from kdcourse.marking import student

    if (chosen.notebook / "study.json").is_file():
        return check_study(chosen.notebook)
    results, warnings = student.check(_notebook(chosen.notebook), tell=lambda line: print(line, flush=True))
    print(f"\n{student.report(results, warnings)}")
    return 0 if not warnings and all(result.standing in ("right", "written") for result in results) else 1


def _notebook(given: Path) -> Path:
    """The notebook that is meant: a file, the only one in a folder, or the exercise in work/ that is called so."""
    if given.is_dir():
        found = sorted(path for path in given.glob("*.ipynb") if not path.name.startswith("."))
        if len(found) != 1:
            raise ValueError(f"{files.shown(given)} is a folder with {len(found) or 'no'} notebooks: name one. Of a "
                             "comparison of your own, run kdcourse study run FOLDER first")
        return found[0]
    if not given.exists() and not given.suffix:
        with contextlib.suppress(ValueError):
            mine = {path.parent.name: path for path in files.course_folder(Path.cwd()).glob("work/*/*.ipynb")
                    if path.stem == path.parent.name}
            return mine[files.meant(str(given), list(mine), "exercise")]
    return given


def study(chosen: argparse.Namespace) -> int:
    from kdcourse import studies

    if Path(chosen.name).is_dir() and chosen.name not in ("", *studies.STUDIES):
        given = [f"--{name}" for name in ("only", "seeds", "folder", "rehearse", "rate", "workers", "scheduler")
                 if getattr(chosen, name)]
        if given:  # without them, what was meant as a rehearsal would register the plan, and measure
            raise ValueError(f"{', '.join(given)}: for the papers' studies alone; of a comparison of your own, the "
                             f"plan in {chosen.name} says all of it")
        return own_study(chosen.what, Path(chosen.name))
    if chosen.what == "list":
        for found in studies.STUDIES.values():
            print(f"{found.name:<14} {found.source}: {len(found.arms)} arms, {len(found.units())} trainings")
        return 0
    whole = _study(chosen.name)
    whole = studies.rehearsed(whole) if chosen.rehearse else whole
    units = whole.units(chosen.only, chosen.seeds)
    folder = chosen.folder or files.folder() / "studies" / whole.name
    if chosen.what == "plan":
        print(studies.plan(whole, units, rate=chosen.rate or studies.GPU))
    elif chosen.what == "status":
        for state, names in studies.status(units, folder).items():
            print(f"{state:<5} {len(names)}{': ' if names else ''}{textwrap.shorten(', '.join(names), 200)}")
    elif chosen.what == "report":
        if chosen.only or chosen.seeds:
            raise ValueError("a report is of the whole study, whose questions are one family: leave out --only and "
                             "--seeds")
        if not any(studies.finished(whole, folder).values()):
            raise ValueError(f"nothing of it is measured in {files.shown(folder)} yet: kdcourse study run {whole.name}")
        text = studies.report(whole, folder)
        files.write(folder / "report.md", text + "\n")
        studies.figure(whole, folder, folder / "report.png")
        print(text)
    else:
        failed = studies.run(whole, units, folder, workers=chosen.workers, scheduler=chosen.scheduler,
                             tell=lambda line: print(line, flush=True))
        print(f"{len(units) - len(failed)} of {len(units)} trainings are in {files.shown(folder)}")
        return 1 if failed else 0
    return 0


def _study(name: str):
    """A study of the papers, by its name."""
    from kdcourse import studies

    if name not in studies.STUDIES and {os.sep, "/", "."} & set(name):
        raise ValueError(f"there is no folder {name}; a comparison of your own is named by the path of its folder, and "
                         "the papers' studies by their names, see kdcourse study list")
    return studies.STUDIES[name]


def own_study(what: str, folder: Path) -> int:
    """A comparison of the reader's own: its plan, run and report."""
    from kdcourse import plan

    if what == "run":
        plan.run(folder, tell=lambda line: print(line, flush=True))
        print(f"{files.shown(folder / plan.RESULTS)} holds what was measured")
    elif what == "report":
        print(f"{files.shown(plan.draft(folder))} is drafted: the sentences are yours")
    elif what == "plan":
        print(plan.minutes(folder))
    else:
        raise ValueError(f"{what} is for the papers' studies; of your own there are plan, run and report")
    return 0


def check_study(folder: Path) -> int:
    """The rubric of a comparison of the reader's own."""
    from kdcourse import plan

    print(plan.told(plan.marks(folder)))
    left = plan.unwritten((folder / plan.REPORT).read_text(encoding="utf-8"))
    print("\n".join(f"still to write: {prompt}" for prompt in left))
    return 1 if left else 0


def ship(chosen: argparse.Namespace) -> int:
    from kdcourse import ship as shipping

    network, made = shipping.load(chosen.network)
    split, why = shipping.test_images(made)
    if why:
        print(f"the accuracy is not measured anew: {why}")
    calibrate = shipping.training_images(made) if chosen.int8 else None
    folder = shipping.package(network, made, chosen.folder, split=split, calibrate=calibrate)
    print(f"{files.shown(folder)} holds {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0


def make_release(chosen: argparse.Namespace) -> int:
    from kdcourse.marking import release

    course = files.course_folder(Path.cwd())
    if chosen.variants:
        from kdcourse.marking import grade

        grade.roster.read(chosen.variants)  # raises for one that is not there, before anything is made anew
    made = release.release(chosen.assignment, course)
    print(f"{files.shown(made)} is made from its solution")
    if chosen.variants:
        print(f"a copy for each student is in {files.shown(grade.hand_out(made.name, chosen.variants, course))}")
    return 0


def grade(chosen: argparse.Namespace) -> int:
    try:
        from kdcourse.marking import grade as grading
    except ImportError as error:
        raise ValueError(f'{error.name} is missing; run: pip install -e ".[grade]"') from error
    return grading.grade(chosen.assignment, chosen.submissions, course=files.course_folder(Path.cwd()),
                         jobs=chosen.jobs, student=chosen.student, unsafe=chosen.unsafe, people=chosen.roster,
                         question=chosen.question, alike=chosen.similar)


def examine(chosen: argparse.Namespace) -> int:
    problems = doctor()
    files.folder()  # raises where there is none
    return 1 if problems else 0


COMMANDS = {"doctor": examine, "list": show_all, "fetch": fetch, "lesson": make_worksheet, "start": start,
            "check": check, "release": make_release, "grade": grade, "study": study,
            "ship": ship}


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
                problems.append(f'{package} is missing; run: pip install -e ".[course]"')
    for part in (_settings, _front_end, _sources):
        try:
            problems += part()
        except Exception as error:  # what is broken is what this command is for: the other parts are still looked at
            words = files.in_words(error) if isinstance(error, OSError) else str(error).partition("\n")[0]
            problems.append(f"{type(error).__name__}: {words}; the README says under Start how to install")
    for problem in problems:
        print(f"problem: {problem}")
    if not problems:
        print("no problem found")
    return problems


def widgets() -> str:
    """Empty if the widget front ends that JupyterLab loads speak to this kernel's packages; else what is wrong.

    They live in different environments more often than one thinks, and then widgets stay blank.
    """
    number = version("anywidget")
    return (_speaks("@jupyter-widgets/jupyterlab-manager", f"ipywidgets {version('ipywidgets')}", FRONT_END,
                    "jupyterlab_widgets>=3,<4")
            or _speaks("anywidget", f"anywidget {number}", ".".join(number.split(".")[:2]), f"anywidget=={number}"))


def _speaks(name: str, kernel: str, wanted: str, package: str) -> str:
    """Empty if JupyterLab has the front end of that name in a version that begins with `wanted`; else what is wrong."""
    from jupyter_core.paths import jupyter_path

    server = _server_prefix()
    for folder in (server / "share" / "jupyter" / "labextensions", *map(Path, jupyter_path("labextensions"))):
        manifest = folder / name / "package.json"
        try:
            number = str(json.loads(manifest.read_text(encoding="utf-8"))["version"])
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, LookupError, TypeError) as error:
            return f"{manifest} cannot be read ({error}); run: pip install --force-reinstall '{package}'"
        if f"{number}.".startswith(f"{wanted}."):
            return ""
        return (f"JupyterLab in {server} has the widget front end {name} {number}, but {kernel} "
                f"speaks to {wanted}.x; run there: pip install -U '{package}'")
    return f"JupyterLab in {server} has no widget front end {name}; run there: pip install '{package}'"


def _settings() -> list[str]:
    import torch

    from kdcourse import profiles

    problems = []
    try:
        print(f"profile       {profiles.current()} (KDCOURSE_PROFILE)")
        print(f"device        {profiles.device()} (KDCOURSE_DEVICE), {torch.get_num_threads()} threads "
              "(quick notebooks use 1)")
        hint = "" if profiles.precision() == "bfloat16" or not profiles.fast_bfloat16() else BFLOAT16
        print(f"precision     {profiles.precision()}, channels last{hint}")
    except ValueError as error:
        problems.append(str(error))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"
    print(f"GPU           {gpu}")
    return problems


def _front_end() -> list[str]:
    problem = widgets()
    print(f"widgets       {'do not match: see below' if problem else 'front end and kernel match'}")
    return [problem] if problem else []


def _sources() -> list[str]:
    from kdcourse import data

    problems = []
    try:
        print(f"data folder   {_without_home(files.folder())}")
    except files.DataError as error:
        problems.append(str(error))
        print("data folder   none: see below")
    for name in data.SOURCES:
        try:
            print(f"  {name:<11} {data.describe(name)}")
        except files.MissingError as error:
            print(f"  {name:<11} {textwrap.shorten(_without_home(error), 100, placeholder=' ...')}")
        except Exception as error:  # whatever is wrong with one of them, the others are looked at
            print(f"  {name:<11} cannot be read: see below")
            words = files.in_words(error) if isinstance(error, OSError) else str(error)
            problems += [] if words in problems else [f"{name}: {words}"]
    return problems


def _without_home(text: object) -> str:
    home = os.path.expanduser("~")
    return str(text).replace(home, "~") if len(home) > 1 else str(text)


def _server_prefix() -> Path:
    """The environment of the Jupyter server that started this kernel; outside a kernel, of `jupyter-lab`."""
    import psutil

    if parent := os.environ.get("JPY_PARENT_PID"):
        with contextlib.suppress(psutil.Error, IndexError, ValueError):
            return Path(psutil.Process(int(parent)).cmdline()[0]).parent.parent
    command = shutil.which("jupyter-lab")
    return Path(command).parent.parent if command else Path(sys.prefix)


if __name__ == "__main__":
    sys.exit(main())
