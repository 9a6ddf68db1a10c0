"""A course folder with one tiny assignment, and hand-ins for it: what the tests of grading share."""

import copy
import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest

from kdcourse.marking import sandbox
from kdcourse.marking.grade import Limits, grade, gradebook
from kdcourse.marking.grade.base import Place

ROOT = Path(__file__).parents[2]
POCKET = Path(__file__).parent / "pocket"
LIMITS = Limits(cell=4, total=40, patience=2, grace=3, memory=1536 * 2**20, processes=64, disk=32 * 2**20,
                output=2**18, result=16 * 2**20)  # fmt: skip
DOUBLE = "def double(x):\n    return 2 * x"
NORM = "def norm(x):\n    return (x**2).sum() ** 0.5"
PROSE = "Because of the chain rule, which multiplies what each step contributes."


def need_sandbox() -> None:
    """Skip where there is no bubblewrap; fail where there has to be one."""
    if why := sandbox.unavailable():
        (pytest.fail if os.environ.get("KDCOURSE_MUST_SANDBOX") else pytest.skip)(why)


def make(folder: Path) -> Path:
    """A course with that assignment, and a file that goes with it."""
    source = folder / "solutions" / "tiny"
    source.mkdir(parents=True)
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    write(source / "tiny.ipynb", solved())
    (source / "hint.txt").write_text("a file that goes with the assignment")
    return folder


def solved() -> dict:
    """The source of an assignment that asks for two functions (2 and 3 points) and a sentence (5 points)."""
    text = nbformat.v4.new_notebook(cells=[
        _cell("markdown", "# Tiny"),
        _cell("code", "import numpy as np\nfrom pocket import checks", "setup"),
        _solution("double", "def double(x):", "    return 2 * x"),
        _cell("code", "checks.double(double)", "double", points=2),
        _solution("norm", "def norm(x):", "    return (x**2).sum() ** 0.5  # the model answer"),
        _cell("code", "checks.norm(norm)", "norm", points=3),
        _cell("markdown", PROSE, "why", points=5, solution=True),
        _cell("markdown", "The end.", "goodbye"),
    ])  # fmt: skip
    text.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.loads(nbformat.writes(text))


def released(course: Path) -> dict:
    """The notebook that students get."""
    place = Place(course, "tiny")
    if not place.notebook("release").exists():
        gradebook.prepare(place)
    return json.loads(place.notebook("release").read_text())


def answered(notebook: dict, *, double: str = DOUBLE, norm: str = NORM, why: str = PROSE, before: str = "") -> dict:
    """A copy with the answers filled in, and code of the student's own before the first question."""
    notebook = copy.deepcopy(notebook)
    for name, answer in (("double-answer", double), ("norm-answer", norm), ("why", why)):
        cell(notebook, name)["source"] = answer
    if before:
        notebook["cells"].insert(2, own(before))
    return notebook


def cell(notebook: dict, name: str) -> dict:
    return next(cell for cell in notebook["cells"] if cell["metadata"].get("nbgrader", {}).get("grade_id") == name)


def own(source: str) -> dict:
    """A code cell that the student added."""
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}


def write(path: Path, notebook: dict | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook), encoding="utf-8")


def graded(course: Path, submissions: Path, **options) -> int:
    from grading.pocket import judging

    return grade("tiny", submissions, **{
        "course": course, "limits": LIMITS, "checks": judging, "package": POCKET, "jobs": 2, **options
    })  # fmt: skip


def _solution(name: str, head: str, body: str):
    return _cell(
        "code", f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION", f"{name}-answer", solution=True
    )


def _cell(kind: str, source: str, name: str = "", *, points: float | None = None, solution: bool = False):
    made = (nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell)(source)
    made["id"] = name or "title"
    if name:
        made.metadata["nbgrader"] = {
            "grade_id": name, "grade": points is not None, "solution": solution, "locked": not solution,
            "task": False, "schema_version": 3, **({} if points is None else {"points": points}),
        }  # fmt: skip
    return made
