"""What is remembered between two calls of `kdcourse grade`, so that it can be interrupted, resumed and repeated.

A student is done when a small file says so, written last: whatever was cut off before is done again.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from kdcourse.marking.grade.base import GradingError, Place, digest, fingerprint, packed, write


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


def submit(place: Place, student: str, notebook: dict, extras: dict[str, Path], time: float) -> str:
    """Put a submission where nbgrader looks for it, with its time; nothing changes if it is there already. Returns a
    digest of what was handed in.

    The files beside it go into an archive elsewhere: formgrader would serve them, and a page among them would act with
    the rights of the marker who opens it.
    """
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True).encode()
    beside = packed({name: path.read_bytes() for name, path in extras.items()})
    path, archive = place.notebook("submitted", student), place.beside(student)
    folder = path.parent
    there = {entry.relative_to(folder).as_posix(): entry for entry in folder.rglob("*") if entry.is_file()}
    same = there.keys() - {"timestamp.txt"} == {path.name} and path.read_bytes() == text
    if not (same and archive.exists() and archive.read_bytes() == beside):
        shutil.rmtree(folder, ignore_errors=True)
        write(archive, beside)
        write(path, text)  # the notebook last: without it nothing is there
        if time:
            write(folder / "timestamp.txt", f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC")
    return digest(fingerprint(folder), beside)


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
