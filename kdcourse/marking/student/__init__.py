"""The student's way: `start` copies an exercise to `work/`, `check` runs its checks before it is handed in.

`check` runs the notebook as the grader will, from the first cell to the last, and changes nothing in the file: cells
that are not the student's are restored, the checks record beside the part of the package that is there when answers are
graded, and they are judged afterwards. It is no sandbox: a student's program has that student's rights.
"""

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import nbformat

from kdcourse.files import course_folder, lab, meant, shown
from kdcourse.marking import checks
from kdcourse.marking import notebook as notebooks
from kdcourse.marking.student.base import Result
from kdcourse.marking.student.reporting import report as report
from kdcourse.marking.student.results import missing_imports, results, troubles
from kdcourse.marking.student.running import environment, run

SECONDS, WHOLE = 60, 300  # that a cell may take, and all of them: as long as the grader lets them


def start(exercise: str, course: Path) -> Path:
    """Copy `exercises/NAME` to `work/NAME` and return the copy. Never writes into a folder that is there.

    The number will do, 1 as well as 01, or the beginning of a name if no other begins so. Raises ValueError for an
    unknown exercise, and when there is something at `work/NAME` already.
    """
    known = sorted(path.parent.name for path in course.glob("exercises/*/*.ipynb"))
    exercise = meant(exercise, known, "exercise")
    source, target = course / "exercises" / exercise, course / "work" / exercise
    if os.path.lexists(target):
        inside = sorted(path.name for path in target.iterdir()) if target.is_dir() else ["a file"]
        here, mine = shown(target), target / f"{exercise}.ipynb"
        go_on = f"  to go on with it:   {lab(mine)}\n" if mine.is_file() else ""
        raise ValueError(
            f"{here} is there already ({', '.join(inside) or 'nothing in it'}), and nothing was copied.\n{go_on}"
            f"  to begin again:     rename or move {here}, then run this command once more\n"
            f"  to see what is new: {shown(source)} is the present version; compare it with yours"
        )
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:  # so that a copy is there whole or not at all
        shutil.copytree(source, Path(folder) / exercise)
        for path in (Path(folder) / exercise, *(Path(folder) / exercise).rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)  # of a course that may only be read, too
        os.rename(Path(folder) / exercise, target)
    return target


def check(
    path: Path, *, seconds: float = SECONDS, course: Path | None = None, tell: Callable[[str], None] = lambda line: None
) -> tuple[list[Result], list[str]]:
    """Run a notebook; returns how each question stands, and warnings about the notebook as a whole. `tell` gets lines
    that say how far it is.

    Raises ValueError for a file that is no notebook or holds no question of an exercise.
    """
    raw, said = notebooks.read(path)
    course = course or course_folder(path.resolve().parent)
    released = _exercise(raw, path, course)
    released = notebooks.varied(released, notebooks.variant(raw, released) or 0)
    there = notebooks.present(raw, released)
    mended, notes = notebooks.mend(raw, released)
    notebook, released = nbformat.from_dict(mended), nbformat.from_dict(released)
    warnings = [*said, *notes, *missing_imports(notebook, path.resolve().parent)]
    tell(f"running {path} from its first cell to its last; a cell that takes {seconds:g} s is stopped, "
         f"and all of it after {WHOLE:g} s ...")
    seed = secrets.randbelow(2**31)
    with tempfile.TemporaryDirectory() as name:
        recordings = Path(name)
        trouble = run(notebook, path.resolve().parent, environment(recordings, seed), seconds, tell, whole=WHOLE)
        found = results(notebook, released, recordings, seed, there)
    in_place = path.resolve().is_relative_to((course / "exercises").resolve())
    if in_place and any(one.standing == "right" for one in found):
        warnings.append("this is the exercise itself, so nobody can tell whether its questions are still those that "
                        "you got: rename it, put the exercise back, and go on in a copy, kdcourse start NAME")
    return found, [*warnings, *([trouble] if trouble else []), *troubles(notebook, found)]


def _exercise(notebook: dict, path: Path, course: Path) -> dict:
    """The notebook as released of which this one holds most cells."""
    released = {}
    for name in checks.ASSIGNMENTS:
        file = course / "exercises" / name / f"{name}.ipynb"
        if file.is_file():
            released[name] = notebooks.read(file)[0]
    counts = {name: len(notebooks.present(notebook, one)) for name, one in released.items()}
    best = max(counts, key=counts.get, default="")
    if not counts.get(best) or notebooks.foreign(notebook, released[best]):
        lesson = " is a lesson, whose checks are in its own cells: it" * (course / "notebooks" / path.name).is_file()
        raise ValueError(f"{path}{lesson} holds no question of an exercise: copy one with kdcourse start NAME")
    return released[best]
