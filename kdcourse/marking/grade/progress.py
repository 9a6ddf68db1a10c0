"""What is remembered between two calls of `kdcourse grade`, so that it can be interrupted, resumed and repeated.

A student is done when a small file says so, written last: whatever was cut off before is done again.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from kdcourse.marking.grade.base import GradingError, Place, write


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """Only one process at a time writes a gradebook. Raises GradingError while another does."""
    place.grading.mkdir(parents=True, exist_ok=True)
    with open(place.grading / "lock", "w") as file:
        with contextlib.suppress(ImportError):  # not on Windows
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise GradingError(f"another kdcourse grade writes to {place.grading}: wait for its end") from error
        yield


def submit(place: Place, student: str, notebook: dict, extras: dict[str, Path], time: float) -> None:
    """Put a submission where nbgrader looks for it, with its time; nothing changes if it is there already."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    folder, path = place.step("submitted", student), place.notebook("submitted", student)
    there = {entry.relative_to(folder).as_posix(): entry for entry in folder.rglob("*") if entry.is_file()}
    wanted = {name: path.read_bytes() for name, path in extras.items()} | {path.name: text.encode()}
    same = there.keys() - {"timestamp.txt"} == wanted.keys()
    if same and all(there[name].read_bytes() == wanted[name] for name in wanted):
        return
    shutil.rmtree(folder, ignore_errors=True)
    for name in sorted(wanted, key=lambda name: name == path.name):  # the notebook last: without it nothing is there
        write(folder / name, wanted[name])
    if time:
        write(folder / "timestamp.txt", f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC")


def remembered(place: Place, name: str) -> dict:
    """What was noted under a name, a student's or `.` for the assignment; empty if nothing."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(_path(place, name).read_text(encoding="utf-8"))
    return {}


def remember(place: Place, name: str, **facts: str) -> None:
    """Note facts under a name, beside those already there."""
    write(_path(place, name), json.dumps(remembered(place, name) | facts, indent=1, sort_keys=True))


def graded(place: Place, student: str) -> dict:
    """What a graded notebook says about itself: `name`, `notes`, `verdicts`; empty if it was not graded this way."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads(place.notebook("autograded", student).read_text(encoding="utf-8"))["metadata"]["kdcourse"]
    return {}


def _path(place: Place, name: str) -> Path:
    return place.cache / "done" / f"{name}.json"
