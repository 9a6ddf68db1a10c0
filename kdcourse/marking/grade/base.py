"""What the steps of grading share: errors, how students are called, where files lie, and how they are read and written.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import stat
import tarfile
import threading
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdcourse.files import write

MAKING = threading.Lock()  # one thread makes what all of them need
# a spreadsheet would take it for a formula: at the beginning, or behind what separates cells where it is opened
RISKY = re.compile(r"(^|[;\t|])([\s\"']*)([=+\-@\uff1d\uff0b\uff0d\uff20])")


class GradingError(ValueError):
    """Grading cannot go on, and no student is to blame. The message says what to do."""


def called(name: str, legible: str = "") -> str:
    """The identifier of whoever has this name: lower-case ASCII, at most 45 characters, another for every other name.

    A name that is an identifier already stays as it is; any other gets ten digits of a hash, in which everything
    counts: case, accents, script, spaces. `legible` is what the rest is made from.

    >>> called("jdoe"), called("JDoe"), called("Zoë")
    ('jdoe', 'jdoe-c541ec70ae', 'zoe-4dc749f216')
    """
    ascii_name = unicodedata.normalize("NFKD", legible or name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:34].strip("-")
    if slug == name and not re.search(r"(^|-)[0-9a-f]{10}$", name):
        return name
    return f"{slug or 'student'}-{digest(name)[:10]}"


def shown(name: str) -> str:
    """A name as it may be printed: what has no shape of its own, or could steer a terminal, is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def safe(value: object) -> str:
    """A cell that is text wherever the table is opened, in one line."""
    value = shown(" ".join(str(value).split()))
    return value if re.fullmatch(r"-?[\d.]+", value) else RISKY.sub(r"\1\2'\3", value)


def number(value: float) -> str:
    """Points with at most six decimals, so that what is added up in a spreadsheet is the same there."""
    return f"{round(value, 6) + 0.0:.12g}"


def content(path: Path, most: int) -> bytes:
    """What is in a regular file, at most so many bytes. Raises ValueError for a link, a hard link, and all else that
    could stand for another's file."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        if why := unlike_a_file(os.fstat(file.fileno())):
            raise ValueError(f"it is {why}")
        return file.read(most)


def unlike_a_file(status: os.stat_result) -> str:
    """Empty for a file that has one name and one place; else what it is instead."""
    if stat.S_ISLNK(status.st_mode):
        return "a link, which is not followed"
    if not stat.S_ISREG(status.st_mode):
        return "neither a file nor a folder"
    return "a hard link, another name of a file that has more than one" if status.st_nlink > 1 else ""


def digest(*parts: bytes | str) -> str:
    """A SHA-256 of several parts, in which no part can pass for a piece of another."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        total.update(f"{len(content)}:".encode() + content)
    return total.hexdigest()


def files(root: Path, paths: Iterable[str] = (".",)) -> dict[str, Path]:
    """Every regular file at or below the given paths of a folder, by its relative name, in order; caches left out."""
    found = {}
    for start in (root / path for path in paths):
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            inside = path.relative_to(root)
            hidden = any(part.startswith((".", "__pycache__", "__MACOSX")) for part in inside.parts)
            if path.is_file() and not path.is_symlink() and not hidden:
                found[inside.as_posix()] = path
    return dict(sorted(found.items()))


def packed(files: dict[str, bytes]) -> bytes:
    """Files as one archive, the same bytes for the same files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(files.items()):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return content.getvalue()


def unpacked(path: Path) -> dict[str, bytes]:
    """The files in an archive of `packed`, none if it is not there. Nothing is written."""
    if not path.exists():
        return {}
    with tarfile.open(path) as archive:
        return {about.name: archive.extractfile(about).read() for about in archive if about.isfile()}


def fingerprint(root: Path, paths: Iterable[str] = (".",)) -> str:
    """A digest of files: their names and what is in them."""
    return digest(*(part for name, path in files(root, paths).items() for part in (name, path.read_bytes())))


@dataclass(frozen=True)
class Place:
    """Where the files of one assignment's grading lie. Everything that grading writes is below `grading`."""

    course: Path
    assignment: str

    @property
    def grading(self) -> Path:
        return self.course / "grading"

    @property
    def scratch(self) -> Path:
        """For what is unpacked: a folder that is emptied before and after."""
        return self.cache / ".unpacked"

    def seen(self, student: str) -> Path:
        """When each content of a student's was collected first. It is not in the cache: nobody could make it again."""
        return self.grading / "seen" / self.assignment / f"{student}.json"

    def secret(self) -> bytes:
        """What nobody else knows: inputs of checks and variants are drawn from it. Made when it is needed first, by one
        of the threads that need it then: what one of them has run is not to be judged by the secret of another."""
        path = self.grading / "secret"
        with MAKING:
            if not path.exists():
                write(path, secrets.token_bytes(32))  # readable by its owner only, as every new temporary file
            return path.read_bytes()

    def variant(self, student: str) -> Path:
        """The exercise as one student got it, where each has settings of their own."""
        return self.grading / "variants" / self.assignment / f"{student}.ipynb"

    @property
    def source(self) -> Path:
        return self.course / "solutions" / self.assignment

    @property
    def cache(self) -> Path:
        return self.grading / "cache" / self.assignment

    def beside(self, student: str) -> Path:
        """The archive of the files that were handed in beside a notebook: a browser shows no page that is in one."""
        return self.cache / "beside" / f"{student}.tar"

    def step(self, name: str, student: str = ".") -> Path:
        """The folder of a step of nbgrader: `submitted`, `autograded`, `feedback`, or grading's own `release`."""
        return self.grading / name / student / self.assignment

    def notebook(self, name: str, student: str = ".") -> Path:
        return self.step(name, student) / f"{self.assignment}.ipynb"


def graded(place: Place, student: str) -> dict:
    """What a graded notebook says about itself: `name`, `notes`, `verdicts`; empty if it was not graded this way."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return json.loads(place.notebook("autograded", student).read_text(encoding="utf-8"))["metadata"]["kdcourse"]
    return {}
