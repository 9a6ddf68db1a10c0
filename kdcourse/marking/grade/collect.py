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
CANVAS = re.compile(r"(?P<early>LATE_(?=anon_))?(?P<name>.+?)(?P<late>_LATE)?_"
                    r"(?P<number>[1-9]\d+|(?<=anon_)\w{5}|(?<=anon_LATE_)\w{5})_"
                    r"((?P<attachment>[1-9]\d{2,})_(?P<file>.+)|text(\.html)?|link(\.html)?)", re.DOTALL)  # fmt: skip
SHORT = 5  # digits: with fewer, what looks like Canvas' number of an attachment may be a student's
BLACKBOARD = re.compile(r"(?P<title>.*)_(?P<number>[^_]+)_attempt_(?P<time>\d{4}(-\d\d){5})(_(?P<file>.*)|\.txt)?",
                        re.DOTALL)  # fmt: skip


@dataclass
class Submission:
    """What counts of what a student handed in: `notebook` as read, or `rejected` with the reason why there is none."""

    student: str
    entries: list[str]  # the names it came under, as they may be shown
    notebook: dict | None = None
    extras: dict[str, Path] = field(default_factory=dict)
    time: float | None = 0.0  # None where its file is dated by a download
    moodle: str = ""  # Moodle's number, by which two of one name are told apart, where no roster tells them
    notes: list[str] = field(default_factory=list)
    rejected: str = ""


@dataclass(frozen=True)
class Found:
    """A file of a student: the name to call it by, where it lies as the student sees it (a zip's content lies beside
    the zip; None beside nothing), and the entry that it came with."""

    shown: str
    place: PurePosixPath | None
    entry: "Entry"


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
    late: bool = False  # as Canvas says

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
    entries = _entries(folder, assignment)
    if not entries:
        raise ValueError(f"{folder} is empty; give the folder that holds the submissions, unpacked")
    people = _told_apart(entries, roster)
    found = [_chosen(student, own, released, scratch) for student, own in sorted(people.items())]
    for one in found if roster is None else []:
        one.moodle = next((entry.number for entry in people[one.student] if entry.system == "moodle"), "")
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


def _entries(folder: Path, assignment: str) -> list[Entry]:
    """What lies in the folder, or in the one folder in it. Raises ValueError where a folder in it is no student's."""
    def inside(path: Path) -> list[Entry]:
        return [understood(each, assignment) for each in sorted(path.iterdir(), key=lambda each: each.name)
                if not _stray(each)]  # fmt: skip

    entries = inside(folder)
    for entry in entries:
        if entry.system or entry.path.is_symlink() or not entry.path.is_dir():
            continue
        within = inside(entry.path)
        of_lms = [each for each in within if each.system]
        if of_lms and len(entries) == 1:
            return within
        if of_lms:
            raise ValueError(f"{shown(entry.path.name)} holds what is handed out for a class "
                             f"({shown(of_lms[0].path.name)}): give that folder alone, the others in another call")
        named = [each.path.name for each in within if each.path.suffix.lower() == ".ipynb"]
        if len(entries) == 1 and len({identifier(name, assignment) for name in named}) > 1:
            raise ValueError(f"whose are these? {' and '.join(map(shown, named[:2]))} lie in one folder, "
                             f"{shown(entry.path.name)}, and beside it lies nothing. If they are hand-ins of several "
                             "students, give that folder; if all are one student's, leave the one that counts")
    return entries


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
                     part=found["attachment"] or "text", late=bool(found["early"] or found["late"]))  # fmt: skip
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
        short = [entry for entry in own if entry.system == "canvas" and len(entry.part) < SHORT and roster is None
                 and entry.file.lower().endswith(".ipynb")]  # fmt: skip
        if len(own) > 1 and (len(short) > 1 or not (one_of_the_lms and len(parts) == len(own))):
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
    everything: dict[Path, Found] = {}
    refused, room = [], [EXTRA + 2 * notebooks.LARGEST]
    for entry in entries:
        if entry.attempt == last:
            _look(entry, everything, refused, scratch, room)
    named = [path for path in everything if path.suffix.lower() == ".ipynb"]
    good, problems = _read(named or list(everything), everything, released)
    if not good:
        problems = [*refused, *problems]
        listed = "; ".join(problems[:5]) if named or refused or len(problems) == 1 else ""
        listed = listed or f"no notebook among: {', '.join([one.shown for one in everything.values()][:10])}"
        submission.rejected = listed if everything or refused else "nothing was handed in: the folder is empty"
        return
    good.sort(key=lambda one: one[:3])
    _, submission.time, chosen, submission.notebook, said = good[-1]
    entry = everything[chosen].entry
    if last:
        submission.time = time.mktime(time.strptime(last, "%Y-%m-%d-%H-%M-%S"))
    elif entry.system:  # Moodle and Canvas date what they hand out by the moment in which they do
        submission.time = None
    if entry.late:
        submission.notes.append("Canvas says that it was late")
    if len(good) > 1:
        others = ", ".join(everything[path].shown for _, _, path, _, _ in good[:-1])
        tie = good[-1][:2] == good[-2][:2]
        newest = "counts, the last by its name of those with one date" if tie else "is the newest and counts"
        submission.notes.append(f"handed in {len(good)} times: {everything[chosen].shown} {newest}, not {others}")
    submission.notes += [*said, *refused]
    submission.extras = _extras(_beside(chosen, everything), submission.notes)


def _read(paths: list[Path], everything: dict[Path, Found], released: dict) -> tuple[list[tuple], list[str]]:
    """Of these files the notebooks that are the assignment, (attachment's number, date, path, notebook, what is to be
    said of the file), and what is wrong with the others, a sentence each."""
    good, problems = [], []
    for path in paths:
        try:
            notebook, said = notebooks.parse(content(path, notebooks.LARGEST + 1))
            if not notebooks.present(notebook, released):
                raise ValueError("it is another notebook: none of the assignment's cells is in it")
            if notebooks.foreign(notebook, released):
                raise ValueError("it is another notebook: its cells are called as the assignment's, and say other "
                                 "things")
            good.append((_attachment(everything[path].entry), path.stat().st_mtime, path, notebook, said))
        except (ValueError, OSError) as error:
            problems.append(f"{everything[path].shown}: {error}")
    return good, problems


def _attachment(entry: Entry) -> int:
    """Canvas' number of an attachment, which grows with time; 0 elsewhere."""
    return int(entry.part) if entry.system == "canvas" and entry.part.isdecimal() else 0


def _look(entry: Entry, everything: dict[Path, Found], refused: list[str], scratch: Path | None,
          room: list[int]) -> None:  # fmt: skip
    """Add every regular file at or below an entry; what is not one is refused, and so is a zip that holds more than the
    `room` that the student's zips have together."""
    alone = not entry.path.is_dir()
    first = PurePosixPath(entry.file) if alone and entry.file else None if alone else PurePosixPath(entry.path.name)
    waiting = [(entry.path, entry.path.parent, first)]
    while waiting and len(everything) < MOST:
        path, above, place = waiting.pop()
        status, name = path.lstat(), shown(path.relative_to(above).as_posix())
        if path.is_dir() and not path.is_symlink():
            waiting += [(child, above, place and place / child.name)
                        for child in sorted(path.iterdir(), reverse=True) if not _stray(child)]  # fmt: skip
        elif why := unlike_a_file(status):
            refused.append(f"{name} is {why}")
        elif path.suffix.lower() == ".zip" and scratch is not None and zipfile.is_zipfile(path):
            into = scratch / called(path.as_posix())
            try:
                refused += unzip(path, into, room[0])
            except ValueError as error:  # it takes nothing from what lies beside it
                refused.append(str(error))
                continue
            room[0] -= sum(each.stat().st_size for each in into.rglob("*") if each.is_file())
            waiting += [(child, into.parent, place and place.parent / child.name)
                        for child in sorted(into.iterdir(), reverse=True) if not _stray(child)]  # fmt: skip
        else:
            everything[path] = Found(name, place, entry)
    if waiting:
        refused.append(f"only the first {MOST} files were looked at")


def _beside(chosen: Path, everything: dict[Path, Found]) -> dict[str, Path]:
    """The files that lay beside the chosen notebook, by the names that they had there."""
    if (place := everything[chosen].place) is None:
        return {}
    return {one.place.relative_to(place.parent).as_posix(): path for path, one in everything.items()
            if path != chosen and one.place is not None and place.parent in one.place.parents}  # fmt: skip


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
