"""What is remembered between two calls of `kdcourse grade`, so that it can be interrupted, resumed and repeated.

A student is done when a small file says so, written last: whatever was cut off before is done again.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kdcourse.files import write
from kdcourse.marking import sandbox
from kdcourse.marking.grade.base import GradingError, Place, content, digest, fingerprint, packed
from kdcourse.marking.notebook import MB

LARGEST = 64 * MB  # of a file beside a notebook


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """Only one process at a time writes a gradebook. Raises GradingError while another does, or if nobody can."""
    with contextlib.ExitStack() as stack:
        try:
            place.grading.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(place.grading / "lock", "w"))
        except OSError as error:
            raise GradingError(f"{place.grading} cannot be written to ({error.strerror}): change its rights") from error
        with contextlib.suppress(ImportError):  # not on Windows
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise GradingError(f"another kdcourse grade writes to {place.grading}: wait for its end") from error
        _sweep(place)
        yield
        shutil.rmtree(place.scratch, ignore_errors=True)


def _sweep(place: Place) -> None:
    """Remove what a process left that was killed: files half written, what was unpacked, students' code."""
    shutil.rmtree(place.scratch, ignore_errors=True)
    for path in [*place.grading.rglob(".partial-*"), *place.grading.glob(".gradebook-*.db")]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    sandbox.clear_up()


def time_of(place: Place, student: str, notebook: dict, extras: dict[str, Path],
            time: float | None) -> tuple[float, str, list[str]]:  # fmt: skip
    """When a submission was handed in, when it was first seen, and what is to be said of that; `time` is its file's, or
    None where nobody can know it: then it is 0, and nothing is late.

    A file's time can be set to anything. So it is noted when each content was first collected, and said if a file is
    dated before the day on which another content was here.
    """
    handed = digest(json.dumps(notebook, sort_keys=True), *(part for name, path in sorted(extras.items())
                                                            for part in (name, content(path, LARGEST))))  # fmt: skip
    path, now = place.seen(student), datetime.now(UTC)
    seen = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if handed not in seen:
        seen[handed] = now.isoformat(timespec="seconds")
        write(path, json.dumps(seen, indent=1, sort_keys=True))
    first = datetime.fromisoformat(seen[handed])
    if time is None:
        return 0.0, _said(first), []
    earlier = [moment for moment in map(datetime.fromisoformat, seen.values()) if moment < first]
    try:
        dated = datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        dated = None
    if dated is None or not datetime(2000, 1, 1, tzinfo=UTC) < dated < now + timedelta(days=1):
        note = f"its file has no date of a hand-in: what counts is {_said(first)}, when it was first seen"
        return first.timestamp(), _said(first), [note]
    if not earlier or dated >= max(earlier):
        return time, _said(first), []
    note = f"this content was first seen on {_said(first)}, after another of {_said(max(earlier))}, but its file is"
    return time, _said(first), [f"{note} dated {_said(dated)}: was its time put back?"]


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def submit(place: Place, student: str, notebook: dict, extras: dict[str, Path], time: float) -> str:
    """Put a submission where nbgrader looks for it, with its time; nothing changes if it is there already. Returns a
    digest of what was handed in.

    The files beside it go into an archive elsewhere: formgrader would serve them, and a page among them would act with
    the rights of the marker who opens it.
    """
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True).encode()
    beside = packed({name: content(path, LARGEST) for name, path in extras.items()})
    folder, path = place.step("submitted", student), place.notebook("submitted", student)
    archive = place.beside(student)
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


def _path(place: Place, name: str) -> Path:
    return place.cache / "done" / f"{name}.json"
