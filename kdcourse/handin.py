"""The student's way: `start` copies an exercise to `work/`, `check` runs its checks before it is handed in.

`check` runs the notebook in a kernel of its own, from the first cell to the last, and changes nothing in the file.
Nothing here judges: the checks in the notebook do.
"""

import ast
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from kdcourse import checks
from kdcourse.answers import clean

STUBS = ("raise NotImplementedError()", "YOUR ANSWER HERE")
SECONDS = 120  # that a cell may take
SHORT = {"right": "right", "wrong": "NOT right", "open": "open", "written": "written", "gone": "gone"}


class Result(NamedTuple):
    """What is known of one question: its name, how it stands (a key of `SHORT`), its marks, and why."""

    name: str
    standing: str
    marks: float
    message: str = ""


def course_folder(start: Path) -> Path:
    """The folder of the course that holds `start`, else the one this package was installed from."""
    for folder in (start.resolve(), *start.resolve().parents, Path(checks.__file__).parents[2]):
        if (folder / "notebooks").is_dir() and (folder / "kdcourse").is_dir():
            return folder
    raise ValueError(f"{start} is not inside the course: go to the folder that holds notebooks/ and exercises/")


def start(exercise: str, course: Path) -> Path:
    """Copy `exercises/NAME` to `work/NAME` and return the copy. Never writes into a folder that is there.

    Raises ValueError for an unknown exercise, and when there is something at `work/NAME` already.
    """
    known = sorted(path.parent.name for path in course.glob("exercises/*/*.ipynb"))
    if exercise not in known:
        raise ValueError(f"there is no exercise {exercise!r}; choose one of: {', '.join(known)}")
    source, target = course / "exercises" / exercise, course / "work" / exercise
    if os.path.lexists(target):
        inside = sorted(path.name for path in target.iterdir()) if target.is_dir() else []
        raise ValueError(
            f"work/{exercise} is there already ({', '.join(inside) or 'nothing in it'}), and nothing was copied.\n"
            f"  to go on with it:   jupyter lab work/{exercise}/{exercise}.ipynb\n"
            f"  to begin again:     rename or move work/{exercise}, then run this command once more\n"
            f"  to see what is new: exercises/{exercise}/ is the present version; compare it with yours"
        )
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:  # so that a copy is there whole or not at all
        shutil.copytree(source, Path(folder) / exercise)
        os.rename(Path(folder) / exercise, target)
    return target


def check(path: Path, *, seconds: float = SECONDS) -> tuple[list[Result], list[str]]:
    """Run a notebook; returns how each question stands, and warnings about the notebook as a whole.

    Raises ValueError for a file that is no notebook or holds no question of an exercise.
    """
    notebook = read(path)
    own = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells}
    assignment = max(checks.ASSIGNMENTS, key=lambda name: len(own & set(checks.ASSIGNMENTS[name])))
    names = checks.ASSIGNMENTS[assignment]
    if not own & set(names):
        raise ValueError(f"{path} holds no question of an exercise: copy one with kdcourse start NAME")
    warnings = [*missing_imports(notebook)]
    if trouble := run(notebook, path.resolve().parent, seconds):
        warnings.append(trouble)
    results = [_result(cell) for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    found = [result.name for result in results]
    warnings += [f"{name} is there {found.count(name)} times: keep one of them" for name in dict.fromkeys(found)
                 if found.count(name) > 1]
    results += [Result(name, "gone", 0.0, "its cell was deleted; it is put back when you are graded")
                for name in names if name not in found]
    return results, warnings


def read(path: Path):
    """The notebook in a file; raises ValueError where there is none."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    except Exception as error:  # nbformat raises whatever its parsers do
        raise ValueError(f"{path} is not a notebook: {clean(error)}") from error


def run(notebook, folder: Path, seconds: float) -> str:
    """Execute every cell in a fresh kernel, in place; an error in one does not stop the next. Returns what went wrong
    with the run as a whole, in words."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    unset = ("KDCOURSE_RECORD", "KDCOURSE_PROFILE")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    client = NotebookClient(
        notebook, timeout=seconds, kernel_name="python3", allow_errors=True, interrupt_on_timeout=True,
        record_timing=False, resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=environment | {"KDCOURSE_QUIET": "1"}, stderr=subprocess.DEVNULL)
    except (DeadKernelError, CellTimeoutError) as error:
        return f"the notebook did not run to its end ({type(error).__name__}): later cells have no result"
    late = [cell for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
            if output.output_type == "error" and output.ename == "KeyboardInterrupt"]
    return f"a cell was stopped after {seconds:g} seconds: {clean(late[0].source)[:60]!r}" if late else ""


def missing_imports(notebook) -> list[str]:
    """One sentence for each part of the package that a cell imports and that is not there when answers are graded."""
    there = {Path(name).stem for name in checks.SANDBOX}
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        try:
            tree = ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line
                                       for line in cell.source.splitlines()))
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            parts = [module.split(".") for module in modules]
            found += [part[1] for part in parts if part[0] == "kdcourse" and len(part) > 1 and part[1] not in there]
    return [f"kdcourse.{name} is imported, and it is not there when you are graded: that cell will fail"
            for name in dict.fromkeys(found)]


def _result(cell) -> Result:
    meta = cell.metadata["nbgrader"]
    name, marks = meta["grade_id"], float(meta.get("points", 0))
    if cell.cell_type == "markdown":
        text = cell.source.strip()
        return Result(name, "open" if not text or STUBS[1] in text else "written", marks)
    error = next((output for output in cell.outputs if output.output_type == "error"), None)
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    if error is not None:
        message = error.evalue if error.ename == "CheckFailed" else f"{error.ename}: {error.evalue}"
        message = clean(message).removeprefix(f"{name}: ")
        unanswered = message.startswith("not answered yet") or error.ename == "NameError"
        return Result(name, "open" if unanswered else "wrong", marks, message)
    if f"{name}: right" in printed:
        return Result(name, "right", marks)
    why = "the check did not run, or its cell was changed; it is put back when you are graded"
    return Result(name, "wrong", marks, why)


def report(results: list[Result], warnings: list[str]) -> str:
    """The results as lines of text, and what is left to do."""
    lines = []
    for result in results:
        lines.append(f"{SHORT[result.standing]:<10} {result.name:<22} {result.marks:g}")
        if result.message and result.standing != "open":
            lines.append(f"{'':11}{result.message}")
    count = {standing: sum(result.standing == standing for result in results) for standing in SHORT}
    automatic = count["right"] + count["wrong"] + sum(
        result.standing == "open" and not result.name.endswith("-written") for result in results)
    lines += [f"warning    {warning}" for warning in warnings]
    checked = automatic + count["gone"]
    lines.append(f"{count['right']} of {checked} checks are right; {count['open']} questions are open")
    return "\n".join(lines)
