"""What the parts of `check` share: a result, how a notebook is read, and what nbgrader has written on a cell."""

import re
from pathlib import Path, PureWindowsPath
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


def read(path: Path):
    """The notebook in a file; raises ValueError where there is none."""
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    except OSError:  # the command says what to do about it
        raise
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
