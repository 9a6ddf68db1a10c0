"""How each question stands after a run: the verdict on what its check recorded, or why nothing was recorded."""

import ast
import re
from pathlib import Path

from kdcourse.marking import checks
from kdcourse.marking.notebook import is_check, mark
from kdcourse.marking.record import clean
from kdcourse.marking.student.base import STUB, Result, first_line, name_of

UNANSWERED = "not answered yet"
LACKING = re.compile(r"No module named 'kdcourse|from 'kdcourse")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def results(notebook, released, recordings: Path, seed: int, there: set[str]) -> list[Result]:
    """One result for each question of the released notebook, in its order; `there` are the cells handed in."""
    found = []
    for original in released.cells:
        if not mark(original).get("grade"):
            continue
        name, marks = name_of(original), float(mark(original)["points"])
        cell = next((cell for cell in reversed(notebook.cells) if name_of(cell) == name), None)
        if is_check(original):
            found.append(_checked(name, marks, cell, notebook.cells, recordings / f"{name}.safetensors", seed))
        elif name not in there:
            found.append(Result(name, "deleted", marks, "its cell was deleted: put it back", automatic=False))
        else:
            text = cell.source.strip()
            found.append(Result(name, "open" if not text or STUB in text else "written", marks, automatic=False))
    return found


def _checked(name: str, marks: float, cell, cells: list, recording: Path, seed: int) -> Result:
    failed = [one for one in cells[: cells.index(cell)] if one.cell_type == "code" and _error(one)]
    if recording.exists():
        share, message = checks.judge(name, recording, seed)
        if share == 1:
            return Result(name, "right", marks, earned=marks)
        message = _explained(message, failed)
    else:
        share, message = 0.0, _trouble(cell, failed) if _error(cell) else "the check did not run"
    return Result(name, "open" if UNANSWERED in message else "wrong", marks, message, round(share * marks, 4))


def troubles(notebook, known: list[Result]) -> list[str]:
    """A sentence for each cell that stopped with an error of its own which no result speaks of."""
    failed = [cell for cell in notebook.cells if cell.cell_type == "code" and _error(cell) and not is_check(cell)]
    said = {cell["id"]: f"{first_line(cell)} {_trouble(cell, failed)}" for cell in failed}
    told = "\n".join(result.message for result in known)
    return [text for cell in failed if UNANSWERED not in (text := said[cell["id"]]) and text not in told
            and _error(cell).ename != "NameError"]


def _error(cell):
    return next((output for output in cell.outputs if output.output_type == "error"), None)


def _is_stub(error) -> bool:
    """Whether it is the error of a question that nobody has answered; torch's own say what they miss."""
    return error.ename == "NotImplementedError" and not error.evalue.strip()


def _trouble(cell, failed: list) -> str:
    """What stopped a cell, and what is behind it."""
    error = _error(cell)
    if _is_stub(error):
        return UNANSWERED
    if error.ename == "Stopped":
        return f"was {error.evalue}"
    text = re.sub(r" \([^()]*(, line \d+|\.py)\)$", "", clean(error.evalue))
    lines = re.findall(r"Cell In\[\d+\], line (\d+)", COLOURS.sub("", "\n".join(error.traceback)))
    where = f", line {lines[0]}" if lines and not is_check(cell) else ""
    rest = [other for other in failed if other is not cell]
    return _explained(f"stopped with {error.ename}{where}: {text}", rest)


def _explained(message: str, failed: list) -> str:
    """The message, and the earlier cell that is to blame for a name that is missing."""
    if LACKING.search(message):
        return f"{message.rstrip('.')}: that part of the course is not there when you are graded."
    missing = re.search(r"name '(\w+)' is not defined", message)
    if not missing:
        return message
    given = re.compile(rf"^\s*(def|class)\s+{missing[1]}\b|\b{missing[1]}\s*(,[^=\n(]*)?=(?!=)", re.MULTILINE)
    for cell in failed:
        if given.search(cell.source):
            why = _trouble(cell, [other for other in failed if other is not cell])
            return why if why.startswith("the cell") else f"{first_line(cell)} {why}"
    if failed and _is_stub(_error(failed[-1])):
        return UNANSWERED
    return f"{message.rstrip('.')}: no cell before gives it. Was the cell deleted, or the name changed?"


def missing_imports(notebook, folder: Path) -> list[str]:
    """One sentence for each part of the package that a cell imports and that is not there when answers are graded, and
    for each program beside the notebook, in `folder`, that is there only if it is handed in as well."""
    found, beside = [], []
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
                whole = checks.is_there(node.module) and not checks.is_there(f"{node.module}.any")
                modules = [f"{node.module}.{alias.name}" for alias in node.names] if whole else [node.module]
            else:
                continue
            found += [module for module in modules if module.split(".")[0] == "kdcourse"
                      and not checks.is_there(module) and not module.endswith("__")]
            tops = {module.split(".")[0] for module in modules} - {"kdcourse"}
            beside += [f"{top}.py" if (folder / f"{top}.py").is_file() else top for top in sorted(tops)
                       if (folder / f"{top}.py").is_file() or (folder / top).is_dir()]
    return [*(f"{name} is imported, and it is not there when you are graded" for name in dict.fromkeys(found)),
            *(f"{name} lies beside the notebook and is imported: hand it in, too, or put what it holds into the "
              "notebook" for name in dict.fromkeys(beside))]
