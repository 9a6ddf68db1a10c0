"""Gives each student of a class settings of their own: other temperatures, another class held out.

A locked cell of the solved notebook lists them in its metadata: `"variants": [what stands in it, what may stand there
instead, ...]`. Which are whose is drawn from the secret of the course folder, and drawn again when it is graded.
"""

import csv
import io
import json

from kdcourse.files import write
from kdcourse.marking import notebook as notebooks
from kdcourse.marking.grade.base import Place, digest, safe


def number(place: Place, student: str, most: int) -> int:
    """Which of so many variants is a student's."""
    return int(digest(place.secret(), place.assignment, student)[:12], 16) % most


def hand_out(place: Place, released: dict, students: dict[str, str]) -> int:
    """Write a copy of the exercise for each of the `students` {identifier: name}, and a table of what is in whose;
    returns the number of variants. Raises ValueError where the exercise has none."""
    most, rows = notebooks.variants(released), []
    if most < 2:
        raise ValueError(f"no cell of {place.assignment} has variants: list them in the metadata of a locked cell")
    for student, name in students.items():
        own = notebooks.varied(released, chosen := number(place, student, most))
        write(place.variant(student), json.dumps(own, indent=1, ensure_ascii=False) + "\n")
        rows += [(student, name, notebooks.mark(cell)["grade_id"], cell["metadata"]["variants"][chosen])
                 for cell in released["cells"] if cell["metadata"].get("variants")]  # fmt: skip
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("student", "name", "cell", "what stands in it"), *(map(safe, row) for row in rows)])
    write(place.grading / f"{place.assignment}.variants.csv", text.getvalue())
    return most


def own(place: Place, student: str, released: dict, handed_in: dict | None) -> tuple[dict, list[str]]:
    """The release as this student got it, and what is to be said of what was handed in: whose settings are in it."""
    if not place.variant(student).exists():
        return released, []
    most = notebooks.variants(released)
    mine, found = number(place, student, most), notebooks.variant(handed_in or {"cells": []}, released)
    said = [] if found in (None, mine) else [
        "its settings are not those that this student got: are they another's? The student's own were put back"]
    return notebooks.varied(released, mine), said
