"""Finds the submissions in a folder as it comes: a folder or a file per student, named by them, or what Moodle, Canvas
and Blackboard hand out for all.

A student's identifier depends on the name alone, so that it is the same in every assignment and whoever else hands in.
One entry is one student, unless a number of the LMS says that two belong together; what cannot be told apart is refused
before anything runs. Nothing in the folder is changed.
"""

import contextlib
import os
import re
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kdcourse.files import write
from kdcourse.marking import notebook as notebooks
from kdcourse.marking.grade.base import called, content, shown, unlike_a_file
from kdcourse.marking.notebook import MB

EXTRA, EXTRAS = 20 * MB, 200  # bytes and number of other files that go with a notebook
MOST = 5_000  # files of one student that are looked at
UNPACKED, LARGEST = 8_000 * MB, 500 * MB  # of a zip for all, and of one file in a zip
STRAYS = ("thumbs.db", "desktop.ini", "__macosx")
DOCUMENTS = re.compile(r"(\.ipynb)?\.(ipynb|py|txt|json|html?|pdf|docx?|odt|rtf|md|zip)$", re.IGNORECASE)
# mod/assign/locallib.php: full name, a number of (student, assignment), the plugin; files in it, or after it
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?P<kind>[a-z]+)(_(?P<file>.*))?", re.DOTALL)
# lib/content_zipper.rb: sortable name without spaces, the user's number, the attachment's, its name
CANVAS = re.compile(r"(?P<name>.+?)(_LATE)?_(?P<number>\d{2,}|(?<=anon_)\w{5}|(?<=anon_LATE_)\w{5})_"
                    r"((?P<attachment>\d{3,})_(?P<file>.+)|text(\.html)?|link(\.html)?)", re.DOTALL)  # fmt: skip
BLACKBOARD = re.compile(r"(?P<title>.*)_(?P<number>[^_]+)_attempt_(?P<time>\d{4}(-\d\d){5})(_(?P<file>.*)|\.txt)?",
                        re.DOTALL)  # fmt: skip


@dataclass
class Submission:
    """What counts of what a student handed in: `notebook` as read, or `rejected` with the reason why there is none."""

    student: str
    entries: list[str]  # the names it came under, as they may be shown
    notebook: dict | None = None
    extras: dict[str, Path] = field(default_factory=dict)
    time: float = 0.0
    notes: list[str] = field(default_factory=list)
    rejected: str = ""


@dataclass(frozen=True)
class Entry:
    """A file or folder of the download, and what its name says: whose it is, by `number` of the LMS `system` or by
    `name` alone, what the file was called, and of which attempt it is."""

    path: Path
    system: str
    name: str
    number: str = ""
    file: str = ""
    attempt: str = ""
    part: str = ""  # differs between two entries of one student: the attachment's number, the plugin

    @property
    def key(self) -> str:
        """What the identifier is made from; Moodle's number is another in every assignment, Canvas' is not."""
        return f"canvas\x1f{self.name}\x1f{self.number}" if self.system == "canvas" else self.name

    @property
    def student(self) -> str:
        return called(self.key, f"{self.name} {self.number}" if self.system == "canvas" else self.name)


def collect(folder: Path, assignment: str, released: dict, *, roster=None,
            scratch: Path | None = None) -> list[Submission]:  # fmt: skip
    """One submission per student, in the order of their identifiers; `released` is the notebook that was given out.

    With a `roster`, identifiers are those of its people. Zips inside are unpacked in `scratch`. Raises ValueError if
    two students cannot be told apart.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; give the one that holds the submissions, or the zip for all")
    paths = sorted(folder.iterdir(), key=lambda path: path.name)
    entries = [understood(path, assignment) for path in paths if not _stray(path)]
    if not entries:
        raise ValueError(f"{folder} is empty; give the folder that holds the submissions, unpacked")
    people = _told_apart(entries, roster)
    found = [_chosen(student, own, released, scratch) for student, own in sorted(people.items())]
    alike: dict[str, list[Submission]] = {}
    for one in found:
        alike.setdefault(_skeleton(people[one.student][0].name), []).append(one)
    for group in alike.values():
        for one in group if len(group) > 1 else []:
            others = ", ".join(", ".join(other.entries) for other in group if other is not one)
            one.notes.append(f"its name looks like that of another student: {others}")
    if roster is not None:
        known = {person.student for person in roster.people}
        for one in found:
            if one.student not in known:
                one.notes.append("the roster does not name this student")
    return found


def identifier(name: str, assignment: str = "") -> str:
    """What the student is called in the gradebook whose hand-in has this name.

    >>> identifier("jdoe.ipynb"), identifier("jdoe_01_vanilla_kd", "01_vanilla_kd")
    ('jdoe', 'jdoe')
    """
    return understood(Path(name), assignment, name).student


def understood(path: Path, assignment: str = "", name: str = "") -> Entry:
    """What the name of an entry says."""
    name = unicodedata.normalize("NFC", name or path.name)
    if found := MOODLE.fullmatch(name):
        return Entry(path, "moodle", _spaced(found["name"]), found["number"], found["file"] or "",
                     part=found["kind"] + (found["file"] or ""))  # fmt: skip
    if found := BLACKBOARD.fullmatch(name):
        return Entry(path, "blackboard", found["number"], found["title"], found["file"] or "", found["time"],
                     part=name)  # fmt: skip
    if found := CANVAS.fullmatch(name):
        return Entry(path, "canvas", found["name"], found["number"], found["file"] or "",
                     part=found["attachment"] or "text")  # fmt: skip
    bare = _spaced(DOCUMENTS.sub("", name)) or name
    if assignment:
        there = re.escape(unicodedata.normalize("NFC", assignment))
        bare = re.sub(rf"^{there}[ _.-]+|[ _.-]+{there}$", "", bare, flags=re.IGNORECASE).strip() or bare
    return Entry(path, "", bare, file=name)


def _told_apart(entries: list[Entry], roster) -> dict[str, list[Entry]]:
    """The entries of each student. Raises ValueError for those of which nobody can say whose they are."""
    people: dict[str, list[Entry]] = {}
    for entry in entries:
        person = roster.find(entry) if roster is not None else None
        people.setdefault(person.student if person else entry.student, []).append(entry)
    doubtful = []
    for own in people.values():
        one_of_the_lms = own[0].system and len({(entry.system, entry.key, entry.number) for entry in own}) == 1
        parts = {entry.part for entry in own}
        if len(own) > 1 and not (one_of_the_lms and len(parts) == len(own)):
            doubtful.append(" and ".join(shown(entry.path.name) for entry in own))
    if doubtful:
        raise ValueError(
            f"whose are these? {'; '.join(doubtful)}: the names do not tell them apart, and nobody was graded. If "
            "they are one student's, put them into one folder; if not, rename them, or give a --roster that says who "
            "is who"
        )
    return people


def _stray(path: Path) -> bool:
    """Whether a system or an editor has put it there."""
    return path.name.startswith((".", "__pycache__")) or path.name.lower() in STRAYS


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _skeleton(name: str) -> str:
    """A name without what is easily overlooked: case, accents, spaces, punctuation."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in plain if c.isalnum()) or name


# -- what counts of what lies there


def _chosen(student: str, entries: list[Entry], released: dict, scratch: Path | None) -> Submission:
    """As `_choose`; whatever is odd about one student's files is that student's alone."""
    submission = Submission(student, [shown(entry.path.name) for entry in entries])
    try:
        _choose(submission, entries, released, scratch)
    except Exception as error:
        submission.notebook, submission.extras = None, {}
        submission.rejected = f"what was handed in cannot be read ({type(error).__name__}: {shown(str(error))[:200]})"
    return submission


def _choose(submission: Submission, entries: list[Entry], released: dict, scratch: Path | None) -> None:
    """Of all that lies in a student's entries, the newest notebook that is the assignment."""
    last = max(entry.attempt for entry in entries)
    if attempts := len({entry.attempt for entry in entries} - {last}):
        submission.notes.append(f"handed in {attempts + 1} times: the attempt of {last} is the newest and counts")
    everything, refused = {}, []
    for entry in entries:
        if entry.attempt == last:
            _look(entry, everything, refused, scratch)
    named = [path for path in everything if path.suffix.lower() == ".ipynb"]
    good, problems = [], list(refused)
    for path in named or everything:
        try:
            notebook, said = notebooks.parse(content(path, notebooks.LARGEST + 1))
            if not notebooks.present(notebook, released):
                raise ValueError("it is another notebook: none of the assignment's cells is in it")
            good.append((path.stat().st_mtime, path, notebook, said))
        except (ValueError, OSError) as error:
            problems.append(f"{everything[path]}: {error}")
    if not good:
        listed = "; ".join(problems[:5]) if named or refused or len(problems) == 1 else ""
        listed = listed or f"no notebook among: {', '.join(list(everything.values())[:10])}"
        submission.rejected = listed if everything or refused else "nothing was handed in: the folder is empty"
        return
    good.sort(key=lambda one: one[:2])
    submission.time, chosen, submission.notebook, said = good[-1]
    if last:
        submission.time = time.mktime(time.strptime(last, "%Y-%m-%d-%H-%M-%S"))
    if len(good) > 1:
        others = ", ".join(everything[path] for _, path, _, _ in good[:-1])
        newest = f"{everything[chosen]} is the newest and counts"
        submission.notes.append(f"handed in {len(good)} times: {newest}, not {others}")
    submission.notes += [*said, *refused]
    submission.extras = _extras(_beside(chosen, entries, everything), submission.notes)


def _look(entry: Entry, everything: dict[Path, str], refused: list[str], scratch: Path | None) -> None:
    """Add every regular file at or below an entry, with the name to call it by; what is not one is refused."""
    waiting = [(entry.path, entry.path.parent)]
    while waiting and len(everything) < MOST:
        path, above = waiting.pop()
        status, name = path.lstat(), shown(path.relative_to(above).as_posix())
        if path.is_dir() and not path.is_symlink():
            waiting += [(child, above) for child in sorted(path.iterdir(), reverse=True) if not _stray(child)]
        elif why := unlike_a_file(status):
            refused.append(f"{name} is {why}")
        elif path.suffix.lower() == ".zip" and scratch is not None and zipfile.is_zipfile(path):
            into = scratch / called(path.as_posix())
            refused += unzip(path, into, EXTRA + 2 * notebooks.LARGEST)
            waiting.append((into, into.parent))
        else:
            everything[path] = name
    if waiting:
        refused.append(f"only the first {MOST} files were looked at")


def _beside(chosen: Path, entries: list[Entry], everything: dict[Path, str]) -> dict[str, Path]:
    """The files that lay beside the chosen notebook, by the names that they had there."""
    own = {entry.path: entry for entry in entries}
    if chosen in own:  # one file of several, as an LMS hands them out
        return {own[path].file: path for path in everything if path in own and path != chosen and own[path].file
                and own[path].attempt == own[chosen].attempt}  # fmt: skip
    return {path.relative_to(chosen.parent).as_posix(): path for path in everything if chosen.parent in path.parents}


def _extras(beside: dict[str, Path], notes: list[str]) -> dict[str, Path]:
    """What the notebook's cells may read of it; not a module that would hide the package, and no other notebook."""
    found = {}
    for name, path in sorted(beside.items()):
        if path.suffix.lower() == ".ipynb":
            continue
        if name != notebooks.writable(name) or "\x00" in name or "\\" in name:
            notes.append(f"the file {shown(name)} was left out: its name is no text")
        elif name.split("/")[0] in ("kdcourse", "kdcourse.py", "timestamp.txt"):
            notes.append(f"the file {shown(name)} was left out: its name is the course's")
        else:
            found[name] = path
    if len(found) > EXTRAS or sum(path.stat().st_size for path in found.values()) > EXTRA:
        notes.append(f"the other files are more than {EXTRAS}, or {EXTRA // MB} MB: they were left out")
        return {}
    return found


# -- zips


@contextlib.contextmanager
def opened(submissions: Path, scratch: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folder of the submissions, unpacked in `scratch` if they are a zip, and what was not unpacked."""
    if not submissions.is_file():
        yield submissions, []
        return
    into = scratch / called(submissions.as_posix())
    yield into, unzip(submissions, into, UNPACKED)


def unzip(path: Path, into: Path, most: int) -> list[str]:
    """Unpack a zip with the times of its files; returns what was left out, a sentence each. Raises ValueError if it is
    none, or holds more than `most` bytes, or two files of one name."""
    refused, room, seen = [], most, set()
    into.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as archive:
            for one in archive.infolist():
                name = PurePosixPath(_name(one).replace("\\", "/"))
                leads_out, is_link = {"..", "/"} & set(name.parts), (one.external_attr >> 16) & 0o170000 == 0o120000
                if one.is_dir() and not leads_out:
                    (into / name).mkdir(parents=True, exist_ok=True)
                elif not one.is_dir() and (leads_out or is_link):
                    refused.append(f"{shown(str(name))} is a link or leads out of the zip: it was left out")
                if one.is_dir() or leads_out or is_link:
                    continue
                if str(name) in seen:
                    raise ValueError(f"{shown(path.name)} holds two files of the name {shown(str(name))}")
                seen.add(str(name))
                with archive.open(one) as file:
                    data = file.read(min(room, LARGEST) + 1)
                room -= len(data)
                if room < 0 or len(data) > LARGEST:
                    raise ValueError(f"{shown(path.name)} holds more than {min(most, LARGEST) // MB} MB")
                _put(into / name, data, one.date_time)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # damaged, or with a password
        raise ValueError(f"{shown(path.name)} is no zip that can be unpacked: {error}") from error
    return refused


def _name(one: zipfile.ZipInfo) -> str:
    """A name in a zip: many programs write UTF-8 and do not say so."""
    if one.flag_bits & 0x800:
        return one.filename
    with contextlib.suppress(UnicodeError):
        return one.filename.encode("cp437").decode("utf-8")
    return one.filename


def _put(path: Path, data: bytes, date: tuple) -> None:
    write(path, data)
    with contextlib.suppress(ValueError, OverflowError, OSError):
        moment = time.mktime((*date, 0, 0, -1))
        os.utime(path, (moment, moment))
