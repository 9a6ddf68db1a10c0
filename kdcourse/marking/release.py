"""Makes the students' copy of an assignment from its solved notebook, with nbgrader's own `generate_assignment`.

    kdcourse release 01_vanilla_kd

The same source gives the same bytes on every machine: nothing is run, and no database is written.
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from kdcourse.files import meant


def release(assignment: str, course: Path, into: Path | None = None) -> Path:
    """Write `into/assignment` (`course/exercises/assignment`) from `course/solutions/assignment`, and return it.

    Raises ValueError when there is no such source, or when nbgrader refuses it; then nothing is changed.
    """
    known = sorted(path.parent.name for path in course.glob("solutions/*/*.ipynb") if path.stem == path.parent.name)
    assignment = meant(assignment, known, "solution of the name")
    target = (into or course / "exercises") / assignment
    with tempfile.TemporaryDirectory() as folder:
        made = _generate(assignment, course, Path(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as beside:  # so that a full disk leaves the old one
            shutil.copytree(made, Path(beside) / assignment)
            if target.exists():
                shutil.rmtree(target)
            os.rename(Path(beside) / assignment, target)
    return target


def _generate(assignment: str, course: Path, folder: Path) -> Path:
    from nbgrader.converters import GenerateAssignment, NbGraderException
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config

    config = Config({
        "CourseDirectory": {
            "root": str(course.resolve()), "source_directory": "solutions", "release_directory": str(folder),
            "assignment_id": assignment,
        },
        "GenerateAssignment": {"no_database": True, "permissions": 644},
        "SaveCells": {"enabled": False},
    })
    complaints: list[str] = []
    log = logging.Logger("release")
    log.addHandler(_Collected(complaints))
    converter = GenerateAssignment(coursedir=CourseDirectory(config=config), config=config, log=log)
    try:
        converter.start()
    except (NbGraderException, SystemExit) as error:
        raise ValueError(f"nbgrader refuses solutions/{assignment}: {' '.join(complaints) or error}") from error
    return folder / assignment


class _Collected(logging.Handler):
    """Keeps the text of errors."""

    def __init__(self, texts: list[str]):
        super().__init__(logging.ERROR)
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage().strip().splitlines()[-1])
