"""Who is in the class, from a file as an LMS exports it, and the marks in the file that it imports.

A grading worksheet of Moodle, a gradebook of Canvas or Blackboard, or any CSV with a column `student` or `name`. It
says which hand-in is whose where names alone do not: `Participant 123`, two students of one name.
"""

import csv
import io
import re
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from kdcourse import files
from kdcourse.marking.grade.base import called

# what a column means, by its name in lower case
COLUMNS = {
    "student": "student", "name": "name", "full name": "name", "first name": "first", "last name": "last",
    "surname": "last", "firstname": "first", "lastname": "last",
    "identifier": "moodle", "id": "canvas", "email address": "email", "email": "email",
    "username": "login", "login": "login", "sis login id": "login", "id number": "number", "sis user id": "number",
    "student id": "number",
    # Moodle in German; Canvas' columns are English everywhere
    "vollständiger name": "name", "vorname": "first", "nachname": "last", "e-mail-adresse": "email",
    "anmeldename": "login", "id-nummer": "number",
}  # fmt: skip
GRADES, MAXIMUM = ("grade", "bewertung"), ("maximum grade", "bestwertung")
OF_CANVAS = {"section", "sis login id", "sis user id"}  # columns by which its gradebook is known
EXCUSED = "EX"

DROPPED = re.compile(r"""[&<>"`'|:\\/*?]""")  # by Moodle, from the names of files


@dataclass(frozen=True)
class Person:
    """One line of a roster: the identifier in the gradebook, the line's index, and what the LMS calls the person."""

    student: str
    line: int
    name: str
    names: frozenset[str]  # all that a hand-in may be called
    moodle: str = ""
    canvas: str = ""
    login: str = ""


@dataclass
class Roster:
    """A roster as it was read: the columns of its header, its lines, and its people."""

    path: Path
    delimiter: str
    header: list[str]
    lines: list[list[str]]
    people: list[Person] = field(default_factory=list)
    system: str = ""  # whose export it is: "moodle", "canvas", or nobody's

    def find(self, entry) -> Person | None:
        """Whose hand-in it is; None if nobody's. Raises ValueError if it could be that of several, or if its number is
        one's and its name is not."""
        found = [person for person in self.people if _numbered(person, entry)]
        if entry.system == "blackboard":  # a login may hold what separates it from the title: the longest is meant
            found = [person for person in found if len(person.login) == max(len(one.login) for one in found)]
        if entry.system == "moodle" and found and not {entry.name, f"{entry.name} {entry.number}"} & found[0].names:
            raise ValueError(f"whose is {entry.path.name!r}? {self.path.name} has its number for {found[0].name}, "
                             "whose name is another. Is it the worksheet of this assignment? Of teams, each "
                             "student needs a folder with a copy of the work")  # fmt: skip
        if not found:
            if entry.system == "moodle" and any(person.moodle and entry.name in person.names for person in self.people):
                raise ValueError(f"{self.path.name} is the worksheet of another assignment, or an old one: it knows "
                                 f"the name of {entry.path.name!r}, and not the number")  # fmt: skip
            found = [person for person in self.people if entry.name in person.names and not _another(person, entry)]
        if len(found) > 1:
            whose = ", ".join(person.student for person in found)
            raise ValueError(f"whose is {entry.path.name!r}? {self.path.name} has {len(found)} of this name: {whose}")
        return found[0] if found else None

    def export(self, assignment: str, marks: dict[str, float], most: float) -> tuple[Path, str] | None:
        """The name and text of the table that the LMS of this roster imports; None if it is of none. Only lines whose
        mark has changed are in it, and nobody's who is excused. `marks` are those of whoever has handed in. Raises
        ValueError where the LMS has another maximum than `most`: it would take each mark for another share."""
        lower, kind = [name.strip().lower() for name in self.header], self.system
        if kind == "moodle":
            keep = list(range(len(self.header)))
            column = next((index for index, name in enumerate(lower) if name in GRADES), None)
        elif kind == "canvas":
            wanted = ("student", "lastname", "firstname", "id", "sis user id", "sis login id", "section")
            keep = [index for index, name in enumerate(lower) if name in wanted]
            column = _of_assignment(self.header, assignment)
        else:
            return None
        self._check_maximum(lower, column, most)
        head = self.header[column] if column is not None else {"moodle": "Grade", "canvas": assignment}[kind]
        keep = [index for index in keep if index != column]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*(self.header[index] for index in keep), head])
        for line in self.lines if kind == "canvas" else []:
            if line[0].strip().lower() == "points possible":
                writer.writerow([*(line[index] for index in keep), f"{most:g}"])
        for person in self.people:
            line, mark = self.lines[person.line], marks.get(person.student)
            there = line[column] if column is not None else ""
            if mark is not None and there.strip().upper() != EXCUSED and not _same(there, mark):
                writer.writerow([*(line[index] for index in keep), f"{round(mark, 4):.12g}"])
        return Path(f"{assignment}.{kind}.csv"), text.getvalue()

    def _check_maximum(self, lower: list[str], column: int | None, most: float) -> None:
        """Raise ValueError when the roster itself says that the assignment has another maximum than `most`."""
        if self.system == "moodle":
            at = next((index for index, name in enumerate(lower) if name in MAXIMUM), None)
            found = {self.lines[person.line][at] for person in self.people} if at is not None else set()
        else:
            found = {line[column] for line in self.lines
                     if column is not None and line[0].strip().lower() == "points possible"}
        other = sorted(one for one in found if _number(one) is not None and not _same(one, most))
        if other:
            raise ValueError(f"no table for import: {self.path.name} says that {other[0]} points are possible, and the "
                             f"assignment has {most:g}. Set the maximum to {most:g} there, and export it again")


def read(path: Path) -> Roster:
    """The roster in a CSV, whose cells commas, semicolons or tabs may separate. Raises ValueError if it is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the roster {path} cannot be read: {error.strerror}") from error
    text, sure = files.decoded(content)
    if not sure:
        print(f"{path.name} is not in UTF-8: it was read as Windows-1252. Are the names in it right?", file=sys.stderr)
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    header, *lines = [line for line in csv.reader(io.StringIO(text), delimiter=delimiter) if any(line)] or [[]]
    meaning = [COLUMNS.get(name.strip().lower(), "") for name in header]
    system = _system([name.strip().lower() for name in header])
    if "canvas" in meaning:  # Canvas calls the name Student; elsewhere ID is Moodle's identifier, or anybody's number
        elsewhere = {"canvas": "number" if "student" in meaning else "moodle"}
        other = {"student": "name"} if system == "canvas" else elsewhere
        meaning = [other.get(name, name) for name in meaning]
    if not {"student", "name", "login", "last", "moodle"} & set(meaning):
        raise ValueError(f"{path} is no roster: it has no column 'student', 'name' or 'Full name', but {header}")
    lines = [line + [""] * (len(header) - len(line)) for line in lines]
    people = [person for index, line in enumerate(lines) if (person := _person(index, line, meaning))]
    twice = sorted({one.student for one in people if sum(other.student == one.student for other in people) > 1})
    if twice:
        raise ValueError(f"{path} calls two people the same: {', '.join(twice)}; give it a column 'student' without "
                         "repetitions")  # fmt: skip
    return Roster(path, delimiter, header, lines, people, system)


def _system(lower: list[str]) -> str:
    """Whose export has these columns."""
    if "id" in lower and ("student" in lower or "lastname" in lower) and OF_CANVAS & set(lower):
        return "canvas"
    return "moodle" if {"identifier", "email address", "e-mail-adresse"} & set(lower) else ""


def _of_assignment(header: list[str], assignment: str) -> int | None:
    """The column of an assignment in a gradebook of Canvas, `01 Vanilla KD (991)`; None if there is none."""
    def plain(name: str) -> str:
        return re.sub(r"[\W_]+", " ", re.sub(r"\s*\(\d+\)\s*$", "", name)).strip().casefold()

    found = [index for index, name in enumerate(header) if plain(name) == plain(assignment)]
    if len(found) > 1:
        raise ValueError(f"no table for import: {len(found)} columns are called like {assignment}: "
                         f"{', '.join(header[index] for index in found)}")
    return found[0] if found else None


def _person(index: int, line: list[str], meaning: list[str]) -> Person | None:
    about: dict[str, str] = {}
    for name, value in zip(meaning, line, strict=False):
        if name and value.strip():
            about.setdefault(name, unicodedata.normalize("NFC", " ".join(value.split())))
    first, last = about.get("first", ""), about.get("last", "")
    if first or last:
        about.setdefault("name", f"{first} {last}".strip())
    if not about or about.get("name", "").lower() == "points possible":
        return None
    moodle = "".join(c for c in about.get("moodle", "") if c.isdecimal())
    order = ("student", "login", "email", "number", "canvas", "name", "moodle")
    chosen = next((about[name] for name in order if name in about), "")
    names = {about[name] for name in ("student", "login", "email", "number", "name", "moodle") if name in about}
    names |= {f"{first} {last}", f"{last} {first}", f"{last}{first}", about.get("email", "").partition("@")[0]}
    names -= {"", " "}
    names |= {" ".join(DROPPED.sub("", name).replace("_", " ").split()) for name in names}
    return Person(called(chosen), index, about.get("name", chosen), frozenset(names), moodle, about.get("canvas", ""),
                  about.get("login", "")) if chosen else None  # fmt: skip


def _numbered(person: Person, entry) -> bool:
    """Whether the LMS's own number says that the hand-in is this person's."""
    if entry.system == "blackboard":
        return bool(person.login) and f"_{entry.number}_{entry.name}".endswith(f"_{person.login}")
    number = {"moodle": person.moodle, "canvas": person.canvas}.get(entry.system, "")
    return bool(number) and number == entry.number


def _another(person: Person, entry) -> bool:
    """Whether the LMS's own number says that it is not."""
    number = {"moodle": person.moodle, "canvas": person.canvas}.get(entry.system, "")
    return bool(number) and number != entry.number


def _same(written: str, mark: float) -> bool:
    there = _number(written)
    return there is not None and abs(there - mark) < 1e-4


def _number(written: str) -> float | None:
    try:
        return float(written.replace(",", "."))
    except ValueError:
        return None
