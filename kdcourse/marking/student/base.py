"""What the parts of `check` share: a result, and how a cell is called."""

import re
from pathlib import PureWindowsPath
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


def matching(typed: str, known: list[str]) -> list[str]:
    """The names (01_vanilla_kd) that are meant: by a name, by how it begins with its number or without, or by a path.

    >>> matching("1", ["01_vanilla_kd", "10_ship_it"]), matching("ship", ["01_vanilla_kd", "10_ship_it"])
    (['01_vanilla_kd'], ['10_ship_it'])
    """
    typed = PureWindowsPath(typed).name.removesuffix(".ipynb")  # both kinds of slashes
    number, rest = re.fullmatch(r"(\d*)(.*)", typed, re.DOTALL).groups()
    parts = {name: re.fullmatch(r"(\d*)_?(.*)", name).groups() for name in known if typed}
    found = [name for name, (own, word) in parts.items() if word.startswith(rest.removeprefix("_"))
             and (not number or (own and int(own) == int(number)))]
    return [typed] if typed in found else found


def name_of(cell) -> str | None:
    return mark(cell).get("grade_id")


def first_line(cell) -> str:
    """How to tell a reader which cell is meant."""
    lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")] or lines or ["nothing"]
    return f"the cell that begins with '{clean(lines[0])[:50]}'"
