"""What the steps of grading share: errors, where files lie, and files that are written whole or not at all."""

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class GradingError(ValueError):
    """Grading cannot go on, and no student is to blame. The message says what to do."""


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that it is there whole or not at all, whenever the machine is switched off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    with os.fdopen(handle, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


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
