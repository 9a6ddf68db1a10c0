"""Worksheets: a lesson with its outputs cleared and its blanks empty, to be written by whoever works through it.

A blank is a function in a cell that is tagged `by-hand`: the worksheet keeps its signature and its docstring. The
lesson itself, in notebooks/, stays as it is: executed, complete, for reading.
"""

import ast
import json
import os
import re
from pathlib import Path

import nbformat

from kdcourse import files

BLANK = "...  # your turn: the check below says whether it is right"
LINK = re.compile(r"\]\((?!https?:|mailto:|#|attachment:|data:)([^)\s]+)")   # to a file of the course
HOW = re.compile(r"\s*\bTo write [^`.]*`kdcourse lesson \d+`[^.]*\.(?=\s|$)"
                 r"(?:\s+It makes a worksheet [^.]*\.(?=\s|$))?[ \n]?")
ABOUT = ("> **This is your worksheet.** Fill in what is marked `...`, and run the cells in order. The complete lesson "
         "is [here]({lesson}); look there when you are stuck.")


def start(lesson: str, course: Path) -> Path:
    """Write the worksheet of a lesson (`2`, `02`, `02_soft_targets`, ...: see `files.matching`) to `work/lessons/` and
    return it.

    Never writes over a worksheet that is there. Raises ValueError for an unknown lesson, naming those there are, when
    there is a worksheet already, and when the lesson's file is damaged.
    """
    known = {path.stem: path for path in sorted((course / "notebooks").glob("*.ipynb"))}
    source, folder = known[files.meant(lesson, list(known), "lesson")], course / "work" / "lessons"
    target = folder / source.name
    if os.path.lexists(target):
        here = files.shown(target)
        go_on = f"  to go on with it:   {files.lab(target)}\n" if target.is_file() else ""
        raise ValueError(f"{here} is there already, and nothing was written.\n{go_on}"
                         f"  to begin again:     rename or move {here}, then run this command once more; what you "
                         "predicted is kept in predictions.json beside it")
    try:
        lesson = nbformat.read(source, 4)
    except Exception as error:  # no JSON, or no notebook: nbformat has an error for each, and more
        raise ValueError(f"{files.shown(source)} is damaged and cannot be read as a notebook: put it back, git "
                         f"checkout {files.typed(source)}") from error
    notebook = made(lesson, f"../../notebooks/{source.name}")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "predictions.json"  # where kdcourse.widgets.Prediction keeps what was committed
    if not kept.exists():
        kept.write_text("{}\n", encoding="utf-8")
    part = folder / f".{source.stem}.part"
    part.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    part.replace(target)
    return target


def made(lesson, place: str):
    """The worksheet of a lesson, both as `nbformat` reads them. `place` is the lesson's file, seen from the worksheet:
    links are turned so that they lead where they led. How one makes a worksheet is not said in one."""
    sheet, folder = nbformat.from_dict(json.loads(json.dumps(lesson))), place.rpartition("/")[0]
    for cell in sheet.cells:
        if cell.cell_type != "code":
            cell.source = LINK.sub(rf"]({folder}/\1", without_how(cell.source))
            continue
        cell.outputs, cell.execution_count = [], None
        if "by-hand" in cell.metadata.get("tags", []):
            cell.source = emptied(cell.source)
    sheet.cells.insert(1, nbformat.v4.new_markdown_cell(ABOUT.format(lesson=place), id="worksheet"))
    return sheet


def without_how(prose: str) -> str:
    """The prose of a cell without the sentence that says how a worksheet is made; the rest of its paragraph stays."""
    found = HOW.search(prose)
    if not found:
        return prose
    before, after = prose[:found.start()], prose[found.end():]
    apart = "\n\n" if "\n\n" in found[0] or after.startswith("\n") else " "
    return f"{before}{apart}{after.lstrip()}".strip() if after.strip() else before


def emptied(code: str) -> str:
    """The code of a cell in which the body of every function at its top, and of every method but `__init__`, is a
    blank: its docstring stays. Decorators, classes, assignments and comments between functions stay as well."""
    lines = code.splitlines()
    for start, end, indent in sorted(_bodies(ast.parse(code)), reverse=True):
        lines[start - 1 : end] = [" " * indent + BLANK]
    return "\n".join(lines)


def _bodies(tree: ast.AST) -> list[tuple[int, int, int]]:
    """First and last line, from 1, and indentation of what a reader writes of each function."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found += _bodies(node)
        elif isinstance(node, ast.FunctionDef) and node.name != "__init__":
            written = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if written and written[0].lineno > node.lineno:
                found.append((written[0].lineno, node.end_lineno, written[0].col_offset))
    return found
