"""nbgrader's part: the gradebook, the autograding of one student, the feedback. One process writes.

nbgrader is imported only here, and inside functions: it is wanted by instructors alone.
"""

import contextlib
import functools
import json
import logging
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

from kdcourse.marking.grade.base import GradingError, Place

CONFIGURATION = "nbgrader_config.py"
PATIENCE = 5  # seconds to wait for another program that writes the gradebook


@functools.lru_cache(maxsize=4)
def _engine(url: str, **settings):
    """SQLAlchemy's engine for a gradebook, one and the same: nbgrader makes a new one a dozen times a student, and each
    has every question that is asked of it to translate anew. Closing a gradebook closes the engine's connections."""
    from sqlalchemy import create_engine

    return create_engine(url, **settings)


@functools.cache
def _version() -> str:
    """The newest version of a gradebook's tables: nbgrader starts the program `alembic` to learn it, for 4 seconds."""
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    return ScriptDirectory(ALEMBIC_DIR).get_current_head()


@functools.cache
def _page() -> type:
    """nbconvert's exporter of HTML, which translates each of its templates once and not for every student."""
    from jinja2 import BytecodeCache
    from nbconvert.exporters import HTMLExporter

    class Kept(dict, BytecodeCache):
        def load_bytecode(self, bucket) -> None:
            bucket.code = self.get((bucket.key, bucket.checksum))

        def dump_bytecode(self, bucket) -> None:
            self[bucket.key, bucket.checksum] = bucket.code

    class Page(HTMLExporter):
        def _create_environment(self):
            environment = super()._create_environment()
            environment.bytecode_cache = kept
            return environment

    kept = Kept()
    return Page


@functools.cache
def _validator(validators, schema: str):
    """What holds metadata against a schema: `jsonschema.validate` looks for mistakes in the schema each time, which
    takes ten times as long, and nbgrader calls it for every cell, again and again."""
    schema = json.loads(schema)
    return validators.validator_for(schema)(schema)


@contextlib.contextmanager
def _nbgrader(doing: str) -> Iterator[logging.Logger]:
    """nbgrader, asking nothing twice, with the warnings of others let be and its log kept for the message."""
    try:
        from nbgrader import api
        from nbgrader.nbgraderformat import common
    except ImportError as error:
        raise GradingError('grading needs nbgrader; run: pip install -e ".[grade]"') from error
    lines: list[str] = []
    logger = logging.Logger("kdcourse.marking.grade")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    before = api.create_engine, api.get_alembic_version, common.jsonschema
    api.create_engine, api.get_alembic_version = _engine, _version
    validators = common.jsonschema.validators
    common.jsonschema = SimpleNamespace(  # one such place may lie in another
        validators=validators, validate=lambda cell, schema: _validator(validators, json.dumps(schema)).validate(cell))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield logger
    except (GradingError, KeyboardInterrupt):
        raise
    except Exception as error:
        told = [line for line in lines if line.strip()][-5:]
        said = str(error).partition("\n")[0]
        if "disk is full" in said or "readonly database" in said:  # an OperationalError of SQLite, which is no OSError
            said, told = f"{said}; make room where the gradebook lies, or see that you may write there", []
        raise GradingError("\n".join([f"nbgrader failed while {doing}: {said}", *told])) from error
    finally:
        api.create_engine, api.get_alembic_version, common.jsonschema = before


def _directory(place: Place, **settings: str):
    """nbgrader's course directory and configuration: those of the course's own file."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config
    from traitlets.config.loader import PyFileConfigLoader

    if not (place.course / CONFIGURATION).is_file():
        raise GradingError(f"{place.course} has no {CONFIGURATION}: run this in the folder of the course")
    config = PyFileConfigLoader(CONFIGURATION, path=str(place.course)).load_config()
    config.merge(Config({"CourseDirectory": {"assignment_id": place.assignment, **settings}}))
    return CourseDirectory(config=config), config


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def opened(place: Place):
    """nbgrader's gradebook, made if it is not there; whole, for nbgrader takes one that was cut off for a good one."""
    from nbgrader.api import Gradebook

    path = place.grading / "gradebook.db"
    if not path.exists():
        partial = place.grading / f".gradebook-{os.getpid()}.db"
        place.grading.mkdir(parents=True, exist_ok=True)
        Gradebook(_url(partial)).close()
        os.replace(partial, path)
    return Gradebook(_url(path))


def prepare(place: Place) -> None:
    """Enter the assignment into the gradebook, and make the release that submissions are measured by."""
    with _nbgrader(f"reading {place.source}") as log:
        from nbgrader.converters import GenerateAssignment

        opened(place).close()
        directory, config = _directory(place, release_directory="grading/release")
        converter = GenerateAssignment(coursedir=directory, config=config, log=log)
        converter.force = True
        converter.start()


def autograde(place: Place, student: str, step: Callable, *, keep: bool) -> None:
    """nbgrader's autograding of what lies in `submitted`, with `step` in the place of its execution.

    Marks given by hand stay. nbgrader asks for all of them to be looked at again; with `keep`, which is for an
    unchanged submission, only those that had to be looked at before.
    """
    with _nbgrader(f"grading {student}") as log:
        from nbgrader.converters import Autograde

        cells = marks(place, student).get(student, {}).get("cells", {})
        seen = {name for name, cell in cells.items() if not cell["open"]}
        directory, config = _directory(place, student_id=student)
        config.Autograde.autograde_preprocessors = [step, *config.Autograde.autograde_preprocessors[1:]]
        converter = Autograde(coursedir=directory, config=config, log=log)
        converter.force = True
        converter.start()
        if keep and seen:
            _look_no_more(place, student, seen)


def _look_no_more(place: Place, student: str, seen: set[str]) -> None:
    """Marks given by hand for these cells need not be looked at again."""
    with opened(place) as book:
        notebooks = book.find_submission(place.assignment, student).notebooks
        for grade in (grade for notebook in notebooks for grade in notebook.grades):
            if grade.manual_score is not None and grade.name in seen:
                grade.needs_manual_grade = False
        book.db.commit()


def feedback(place: Place, student: str) -> None:
    """nbgrader's page of feedback for one student."""
    with _nbgrader(f"writing the feedback of {student}") as log:
        from nbgrader.converters import GenerateFeedback

        directory, config = _directory(place, student_id=student)
        converter = GenerateFeedback(coursedir=directory, config=config, log=log)
        converter.exporter_class = _page()
        converter.force = True
        converter.start()


def marks(place: Place, student: str = "") -> dict[str, dict]:
    """By student (all, or one) what the gradebook says: total, and by cell the scores and what is open."""
    found = {}
    with _nbgrader("reading the gradebook"), opened(place) as book:
        from nbgrader.api import MissingEntry

        try:
            submissions = book.find_assignment(place.assignment).submissions
        except MissingEntry:
            return {}
        for submission in submissions:
            if student not in ("", submission.student_id):
                continue
            cells, comments = {}, []
            for notebook in submission.notebooks:
                comments += [(comment.name, comment.comment) for comment in notebook.comments]
                for grade in notebook.grades:
                    cells[grade.name] = {
                        "auto": grade.auto_score, "manual": grade.manual_score, "extra": grade.extra_credit or 0.0,
                        "max": grade.max_score, "score": grade.score, "open": grade.needs_manual_grade,
                    }  # fmt: skip
            penalty = submission.late_submission_penalty or 0.0
            found[submission.student.id] = {
                "total": max(0.0, submission.score - penalty), "penalty": min(penalty, submission.score),
                "max": submission.max_score, "late": submission.total_seconds_late,
                "cells": dict(sorted(cells.items())), "comments": sorted(comments, key=str),
            }  # fmt: skip
    return dict(sorted(found.items()))


def everybody(place: Place) -> tuple[list[str], float]:
    """The students that the gradebook knows, and the assignment's points."""
    with _nbgrader("reading the gradebook"), opened(place) as book:
        return sorted(one.id for one in book.students), book.find_assignment(place.assignment).max_score


def free(place: Place) -> None:
    """Raises GradingError if the gradebook cannot be written: better now than after every submission has run."""
    path = place.grading / "gradebook.db"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            database.execute("begin immediate")
            database.rollback()
    except sqlite3.Error as error:
        raise GradingError(f"{path} cannot be written ({error}): end the program that uses it, or look at its rights, "
                           "and run this again") from error  # fmt: skip
