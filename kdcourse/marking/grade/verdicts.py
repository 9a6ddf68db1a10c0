"""Puts what a submission did, and what is thought of it, into its notebook, from which nbgrader takes the scores.

The outcome of an automatic cell is a verdict reached outside the sandbox. Nothing that the cell printed, returned or
raised is left in it: nbgrader would read a number as a score, a warning as none, and `False` as full marks.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from kdcourse.marking.notebook import is_check, mark
from kdcourse.marking.sandbox import Execution, hidden

COLOURED = 20_000  # characters of a code cell, and five times as many of a notebook, in the colours of Python
STEPS = 300  # of a training that is judged: with single images the largest here has 200
MOST_HEADER = 2**20  # bytes
NOTHING = "nothing was recorded to judge"
OPENING = 60  # characters that tell which cell is meant
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")

MARKS = re.compile(r"([\\`*_{}<>#|$\[\]])")  # what Markdown would take for its own


def run_and_judge(notebook, resources, *, grading):
    """A preprocessor: put into the notebook what it did in the sandbox, the verdicts, and on top what was noticed."""
    from nbformat import from_dict

    student = resources["nbgrader"]["student"]
    execution, kept = grading.execution(student), grading.kept(student)
    plain_notebook = json.loads(json.dumps(notebook))
    as_it_ran(plain_notebook, grading.place.notebook("submitted", student))
    about = plain_notebook["metadata"].setdefault("kdcourse", {"name": student, "notes": [], "rejected": ""})
    about["notes"] += enter(plain_notebook, execution)
    beside = [f"files/{name}" for name in grading.beside(student)]
    hides = [f"{file}, beside the notebook, hides the module {module}: it needs another name"
             for file, module in hidden([*beside, *grading.modules]).items()]  # fmt: skip

    before = grading.stay.get(student, {})

    def judge(name: str, path: Path):
        return before[name] if name in before else grading.checks.judge(name, path, kept.seed)

    about["verdicts"] = score(plain_notebook, execution, judge, kept.folder, about["rejected"], "; ".join(hides))
    lost = any(NOTHING in verdict["message"] for verdict in about["verdicts"].values())
    about["notes"] += hides if lost and not about["rejected"] else []
    announce(plain_notebook, about["notes"])
    readable(plain_notebook)
    return from_dict(plain_notebook), resources


def as_it_ran(notebook: dict, submitted: Path) -> None:
    """Put the settings of a student's own into the locked cells that have them: nbgrader put back everybody's."""
    if not any(cell["metadata"].get("variants") for cell in notebook["cells"]):
        return
    ran = {mark(cell).get("grade_id"): cell["source"] for cell in json.loads(submitted.read_text("utf-8"))["cells"]}
    for cell in notebook["cells"]:
        if cell["metadata"].get("variants"):
            cell["source"] = ran[mark(cell)["grade_id"]]


def enter(notebook: dict, execution: Execution) -> list[str]:
    """Put the outputs into the cells; returns what is to be said about the execution."""
    notes, ran = [], True
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = execution.outputs.get(index, [])
        if any(output.get("ename") == "Timeout" for output in cell["outputs"]):
            notes.append(f"{_which(cell)} was stopped: {_error(cell)}")
        tried = bool(cell["source"].strip())
        if execution.stopped and ran and tried and (index not in execution.outputs or not _later(execution, index)):
            notes.append(f"the notebook was stopped in {_which(cell)}: {execution.stopped}; what follows did not run")
            ran = False
    return notes


def score(notebook: dict, execution: Execution, judge: Callable, folder: Path, rejected: str, hides: str = "") -> dict:
    """Give each automatic cell its verdict as nbgrader reads it; returns points and message by the check's name.

    `judge(name, path)` returns the share of the points and says why; `folder` holds the recordings. All is 0 where the
    submission was `rejected`; `hides` is what may have kept a check from being called.
    """
    verdicts = {}
    for index, cell in enumerate(notebook["cells"]):
        if not is_check(cell):
            continue
        name, points = cell["metadata"]["nbgrader"]["grade_id"], float(cell["metadata"]["nbgrader"]["points"])
        path = folder / f"{name}.safetensors"
        if rejected:
            share, message = 0.0, rejected
        elif path.exists() and (steps := most_steps(path)) > STEPS:
            share, message = 0.0, f"it trained for {steps} steps, and no right answer to this needs more than {STEPS}"
        elif path.exists():
            verdict = judge(name, path)
            share, message = float(verdict.share), verdict.message
            share = min(max(share, 0.0), 1.0) if share == share else 0.0  # not a NaN, and never beyond the maximum
        else:
            last = execution.stopped if not _later(execution, index) else ""
            error = (_error(cell) or last) if index in execution.outputs else "the cell did not run"
            reason = "; ".join(filter(None, [error or "the check was not called", hides]))
            share, message = 0.0, f"{NOTHING}: {reason}"
        message = plain(message or ("right" if share == 1 else "not right"), 2000)
        got = round(share * points, 4)
        verdicts[name] = {"points": got, "max": points, "message": message}
        shown = {"output_type": "execute_result", "metadata": {}, "execution_count": None}
        cell["outputs"] = [
            {"output_type": "stream", "name": "stdout", "text": f"{message}\n{got:g} of {points:g} points\n"},
            {**shown, "data": {"text/plain": repr(got)}},
        ]
    return verdicts


def most_steps(path: Path) -> int:
    """The number of steps of the longest training in a recording, read off its header: a judge repeats each, in several
    ways, and 5,000 steps would cost it minutes. 0 if there is none, or no header; what that means the judge says."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), MOST_HEADER)))
        return max((int(about["shape"][0]) for name, about in header.items() if name.endswith(" sizes")), default=0)
    except Exception:  # any bytes may be there
        return 0


def announce(notebook: dict, notes: list[str]) -> None:
    """Say at the top of the notebook what was noticed, for the student to read in the feedback."""
    if notes:
        lines = "\n".join("- " + MARKS.sub(r"\\\1", plain(note, 500)) for note in notes)
        text = f"**Notes on the grading of this notebook**\n\n{lines}"
        notebook["cells"].insert(0, {"cell_type": "markdown", "id": "grading-notes", "metadata": {}, "source": text})


def readable(notebook: dict) -> None:
    """Change what the pages of a notebook would pass on as HTML, or would take minutes to colour."""
    room = 5 * COLOURED
    for cell in notebook["cells"]:
        source = cell["source"]
        if cell["cell_type"] == "raw":
            fence = "~" * (3 + max(map(len, re.findall("~+", source)), default=0))
            cell.update(cell_type="markdown", source=f"{fence}\n{source}\n{fence}")
        elif cell["cell_type"] == "code":
            room -= len(source)
            if len(source) > COLOURED or room < 0:
                cell["metadata"]["magics_language"] = "text"


def plain(text: str, longest: int) -> str:
    """Text without colours and control characters, and not too long."""
    text = ESCAPES.sub("", str(text))
    return text if len(text) <= longest else text[:longest] + " ..."


def _later(execution: Execution, index: int) -> bool:
    """Whether a cell after this one ran."""
    return any(other > index for other in execution.outputs)


def _which(cell: dict) -> str:
    lines = [line for line in cell["source"].splitlines() if line.strip()] or [""]
    return f"the cell that begins with '{plain(lines[0].strip(), OPENING)}'"


def _error(cell: dict) -> str:
    """The last error that a cell shows, in a line."""
    errors = [output for output in cell["outputs"] if output.get("output_type") == "error"]
    return plain(f"{errors[-1]['ename']}: {errors[-1]['evalue']}".strip(": "), 300) if errors else ""
