"""What the parts of `check` share: a result, how a notebook is read, and what nbgrader has written on a cell."""

from pathlib import Path
from typing import NamedTuple

import nbformat

from kdcourse.marking.record import clean

STUB = "YOUR ANSWER HERE"


class Result(NamedTuple):
    """What is known of one question: how it stands (right, wrong, open, written or deleted), its marks, why, and how
    many of them it earned; a written answer earns none here."""

    name: str
    standing: str
    marks: float
    message: str = ""
    earned: float = 0.0
    automatic: bool = True


def read(path: Path):
    """The notebook in a file; raises ValueError where there is none."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    except Exception as error:  # nbformat raises whatever its parsers do
        raise ValueError(f"{path} is not a notebook: {clean(error)}") from error


def mark(cell) -> dict:
    """nbgrader's metadata of a cell; empty if it has none."""
    found = cell.metadata.get("nbgrader")
    return found if isinstance(found, dict) and isinstance(found.get("grade_id"), str) else {}


def name_of(cell) -> str | None:
    return mark(cell).get("grade_id")


def is_check(cell) -> bool:
    return cell.cell_type == "code" and bool(mark(cell).get("grade")) and not mark(cell).get("solution")


def first_line(cell) -> str:
    """How to tell a reader which cell is meant."""
    lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")] or lines or ["nothing"]
    return f"the cell that begins with '{clean(lines[0])[:50]}'"
