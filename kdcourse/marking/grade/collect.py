"""Finds the submissions in a folder as it comes: a folder or a file per student, named by them, Moodle or Canvas.

A student's identifier depends on the name alone, so that it is the same in every assignment and whoever else hands in.
Nothing in the folder is changed.
"""

import hashlib
import json
import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from kdcourse.marking.grade.base import files
from kdcourse.marking.sandbox import MB

LARGEST, BRACKETS = 64 * MB, 2_000_000  # of a notebook's JSON: more of either is no notebook
EXTRA, EXTRAS = 20 * MB, 200  # bytes and number of other files that go with it
STRAYS = {"thumbs.db", "desktop.ini"}
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_.*", re.DOTALL)
CANVAS = re.compile(r"(?P<name>[^_]+?)(_late)?_(?P<number>\d{3,})_\d{3,}_.*", re.DOTALL)


@dataclass
class Submission:
    """What counts of what a student handed in: `notebook` as read, or `rejected` with the reason why there is none."""

    student: str
    entries: list[str]  # the names it came under
    notebook: dict | None = None
    extras: dict[str, Path] = field(default_factory=dict)
    time: float = 0.0
    notes: list[str] = field(default_factory=list)
    rejected: str = ""


def collect(folder: Path, assignment: str, ids: set[str]) -> list[Submission]:
    """One submission per student, in the order of their identifiers. `ids` are those of the assignment's cells."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the one that holds the submissions, unpacked")
    entries: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith((".", "__MACOSX")) and entry.name.lower() not in STRAYS:
            entries.setdefault(identifier(entry.stem if entry.is_file() else entry.name, assignment), []).append(entry)
    if not entries:
        raise ValueError(f"{folder} is empty; give the folder that holds the submissions, unpacked")
    return [_choose(student, found, ids) for student, found in sorted(entries.items())]


def identifier(name: str, assignment: str = "") -> str:
    """What a student is called in the gradebook: lower-case ASCII, with a few digits of a hash where letters were lost.

    >>> identifier("jdoe"), identifier("JDoe_01_vanilla_kd", "01_vanilla_kd")
    ('jdoe', 'jdoe')
    >>> identifier("Zoë"), identifier("Zoé")
    ('zoe-2752', 'zoe-33b4')
    """
    name = " ".join(unicodedata.normalize("NFC", name).split()).casefold()
    for pattern in (MOODLE, CANVAS):
        if found := pattern.fullmatch(name):
            name = f"{found['name']}-{found['number']}"
            break
    bare = name.replace(assignment.casefold(), "").strip(" _-.") if assignment else name
    name = bare or name
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:40].strip("-")
    return slug if slug == name else f"{slug or 'student'}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"


def read(path: Path) -> dict:
    """The notebook's JSON as a dictionary in format 4. Raises ValueError with what is wrong with the file."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        content = file.read(LARGEST + 1)
    if not content.strip():
        raise ValueError("the file is empty")
    if len(content) > LARGEST or max(content.count(b"["), content.count(b"{")) > BRACKETS:
        raise ValueError(f"the file is larger than {LARGEST // MB} MB: clear all outputs and hand in again")
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
        version = notebook["nbformat"]
        if version != 4:
            import nbformat

            notebook = json.loads(nbformat.writes(nbformat.convert(nbformat.from_dict(notebook), 4)))
        if not isinstance(notebook["cells"], list):
            raise ValueError("it has no cells")
    except Exception as error:  # a file may be anything, and old formats are converted by code that trusts them
        raise ValueError(f"the file is not a notebook ({type(error).__name__})") from error
    return notebook


def grade_ids(notebook: dict) -> set[str]:
    """The identifiers of the assignment's cells in a notebook."""
    found = set()
    for cell in notebook["cells"]:
        metadata = cell.get("metadata") if isinstance(cell, dict) else None
        mark = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        names = [mark.get("grade_id") if isinstance(mark, dict) else None, isinstance(cell, dict) and cell.get("id")]
        found.update(name for name in names if isinstance(name, str))
    return found


def _choose(student: str, entries: list[Path], ids: set[str]) -> Submission:
    """Of all that lies in a student's entries, the newest notebook that is the assignment."""
    submission = Submission(student, [entry.name for entry in entries])
    everything = {path: entry for entry in entries for path in ([entry] if entry.is_file() else files(entry).values())}
    everything = {path: entry for path, entry in everything.items() if not path.is_symlink()}
    named = [path for path in everything if path.suffix.lower() == ".ipynb"]
    good, problems = [], []
    for path in named or everything:
        try:
            notebook = read(path)
            if not ids & grade_ids(notebook):
                raise ValueError("it is another notebook: none of the assignment's cells is in it")
            good.append((path.stat().st_mtime, path, notebook))
        except (ValueError, OSError) as error:
            problems.append(f"{_within(path, everything[path])}: {error}")
    if not good:
        listed = "; ".join(problems[:5]) if named or len(problems) == 1 else ""
        listed = listed or f"no notebook among: {', '.join(_within(*one) for one in list(everything.items())[:10])}"
        submission.rejected = listed if everything else "nothing was handed in: the folder is empty"
        return submission
    good.sort(key=lambda one: one[:2])
    submission.time, chosen, submission.notebook = good[-1]
    if len(good) > 1:
        others = ", ".join(_within(path, everything[path]) for _, path, _ in good[:-1])
        newest = _within(chosen, everything[chosen])
        submission.notes.append(f"handed in {len(good)} times: {newest} is the newest and counts, not {others}")
    if chosen != everything[chosen]:
        submission.extras = _extras(chosen, named, submission.notes)
    return submission


def _extras(chosen: Path, notebooks: list[Path], notes: list[str]) -> dict[str, Path]:
    """The other files beside a notebook, which its cells may read; not a module that would hide the package."""
    found = {
        name: path for name, path in files(chosen.parent).items()
        if path not in notebooks and name.split("/")[0] not in ("kdcourse", "kdcourse.py", "timestamp.txt")
    }  # fmt: skip
    if len(found) > EXTRAS or sum(path.stat().st_size for path in found.values()) > EXTRA:
        notes.append(f"the other files are more than {EXTRAS}, or {EXTRA // MB} MB: they were left out")
        return {}
    return found


def _within(path: Path, entry: Path) -> str:
    return path.relative_to(entry.parent).as_posix()
