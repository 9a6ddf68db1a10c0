"""What the parts of `check` share: a result, and how a cell is called."""

from typing import NamedTuple

from kdcourse.marking.notebook import mark
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


def name_of(cell) -> str | None:
    return mark(cell).get("grade_id")


def first_line(cell) -> str:
    """How to tell a reader which cell is meant."""
    lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")] or lines or ["nothing"]
    return f"the cell that begins with '{clean(lines[0])[:50]}'"
