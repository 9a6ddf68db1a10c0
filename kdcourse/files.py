"""Where the data files of a source lie, whether they are whole, how to fetch them before class, and what to do where
the system says no.

A source's files are looked for in the folder named by `KDCOURSE_DATA`, else in `~/.cache/kdcourse`.
"""

import errno
import hashlib
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path, PureWindowsPath
from typing import BinaryIO
from urllib.request import Request, urlopen
from uuid import uuid4

from tqdm import tqdm

SECONDS = 20    # that a server may be silent
LEAST = 1000    # bytes a second that it must send on average
TO_DO = {
    (errno.ENOSPC, errno.EDQUOT): "make room on that disk",
    (errno.EROFS, errno.EACCES, errno.EPERM): "ask for permission there",
    (errno.ENOTDIR, errno.EEXIST): "something else is where a folder is meant: rename it",
    (errno.EISDIR,): "a folder is where a file is meant: rename it",
    (errno.ENOENT,): "check its name",
}


class DataError(RuntimeError):
    """A data file is missing or corrupt. The message says which, and the command that repairs it."""


class MissingError(DataError):
    """The files of a source are not here: nothing is wrong, it was not fetched."""


def course_folder(start: Path) -> Path:
    """The folder of the course that holds `start`, else the one this package was installed from."""
    for folder in (start.resolve(), *start.resolve().parents, Path(__file__).resolve().parents[1]):
        if (folder / "notebooks").is_dir() and (folder / "kdcourse").is_dir():
            return folder
    raise ValueError(f"{start} is not inside the course: go to the folder that holds notebooks/ and exercises/")


def folder() -> Path:
    """The folder of all data: `KDCOURSE_DATA`, else `~/.cache/kdcourse`.

    A relative path begins at the folder of the course, wherever in it a command or a notebook runs. Raises DataError
    where there is no such folder or no home, and when `KDCOURSE_DATA` is a file.
    """
    named = os.environ.get("KDCOURSE_DATA")
    try:
        found = Path(named).expanduser() if named else Path.home() / ".cache" / "kdcourse"
    except RuntimeError as error:  # no home
        raise DataError(f"{error} Set KDCOURSE_DATA to the whole path of a folder of yours") from error
    if not found.is_absolute():
        try:
            found = course_folder(Path.cwd()) / found
        except ValueError as error:
            raise DataError(f"KDCOURSE_DATA is {named!r}, which begins at the folder of the course, and {Path.cwd()} "
                            "is in none: give the whole path") from error
    if found.is_file():
        raise DataError(f"KDCOURSE_DATA must name a folder; {found} is a file")
    return found


def shown(path: Path) -> str:
    """The path as one would type it here: relative, if a relative path leads there (not to another drive)."""
    try:
        return os.path.relpath(path)
    except (ValueError, OSError):
        return str(path)


def typed(path: Path) -> str:
    """The path as a word of a command: as `shown`, in quotation marks where it has a space."""
    return f'"{shown(path)}"' if " " in shown(path) else shown(path)


def lab(path: Path) -> str:
    """The command that opens a notebook of the course in JupyterLab, with the whole course beside it: without the
    folder, JupyterLab would show what lies beside the notebook alone, and its links would lead nowhere."""
    return f"jupyter lab --notebook-dir={typed(course_folder(path.parent))} {typed(path)}"


def matching(typed: str, known: list[str]) -> list[str]:
    """The names (01_vanilla_kd) that are meant: by a name, by how it begins with its number or without, or by a path.

    >>> matching("1", ["01_vanilla_kd", "10_ship_it"]), matching("Ship", ["01_vanilla_kd", "10_ship_it"])
    (['01_vanilla_kd'], ['10_ship_it'])
    """
    typed = PureWindowsPath(typed).name.removesuffix(".ipynb").casefold()  # both kinds of slashes
    number, rest = re.fullmatch(r"(\d*)(.*)", typed, re.DOTALL).groups()
    parts = {name: re.fullmatch(r"(\d*)_?(.*)", name).groups() for name in known if typed}
    found = [name for name, (own, word) in parts.items() if word.startswith(rest.removeprefix("_"))
             and (not number or (own and int(own) == int(number)))]
    return [typed] if typed in found else found


def meant(typed: str, known: list[str], what: str) -> str:
    """The one name that `matching` finds. Raises ValueError, with what is near it and all that there is, for none and
    for several."""
    if len(found := matching(typed, known)) == 1:
        return found[0]
    near = found or get_close_matches(PureWindowsPath(typed).name.casefold(), known, n=1, cutoff=0.5)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise ValueError(f"there is no {what} {typed!r}{hint}; choose one of: {', '.join(known) or 'none is here'}")


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that it is there whole or not at all, whenever the machine is switched off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def partial(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` when all is written, and is gone when anything goes wrong. Who may read it
    is as for any new file of this user, or as for the one that it replaces."""
    part = path.with_name(f".partial-{uuid4().hex}")
    try:
        with open(part, "xb") as file:
            yield file
        with suppress(OSError):
            part.chmod(stat.S_IMODE(path.stat().st_mode))
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def decoded(content: bytes) -> tuple[str, bool]:
    """The text of a file that another program may have saved: in UTF-16, in UTF-8, or else in Windows-1252, as Excel
    does in western Europe; and whether it is in one of the first two, so that no letter can be wrong."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace"), True
    try:
        return content.decode("utf-8-sig"), True
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace"), False


def md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def verified(source: str, root: Path, checksums: dict[str, str]) -> dict[str, Path]:
    """The paths of a source's files under `root`, each with the MD5 that it must have.

    Raises MissingError with a numbered recipe when one is missing, and DataError with both checksums when one is
    corrupt.
    """
    missing = [name for name in checksums if not (root / name).is_file()]
    if missing:
        raise MissingError(
            f"{source} is not in {root}: missing {', '.join(missing)}. To get it, do one of these:\n"
            f"  1. with a network connection, run: kdcourse fetch {source}\n"
            f"  2. if you have the files, set KDCOURSE_DATA to the folder that holds {source}/ with them\n"
            f"  3. stay offline: KDCOURSE_PROFILE=quick needs no files"
        )
    for name, expected in checksums.items():
        if (found := md5(root / name)) != expected:
            elsewhere = "" if folder() in (root, *root.parents) else f"KDCOURSE_DATA={root} "
            raise DataError(
                f"{root / name} is corrupt: its MD5 is {found}, expected {expected}. "
                f"It was probably cut off; run: {elsewhere}kdcourse fetch {source}\n"
                f"Images of your own do not go by the name of {source}: data.from_arrays(name, x, y, classes=...) "
                "takes them, and asks for no checksum"
            )
    return {name: root / name for name in checksums}


def fetch(source: str, root: Path, mirrors: list[str], checksums: dict[str, str]) -> Path:
    """Download what is missing or corrupt into `root`, and return it.

    A file gets its name only once it is whole and its MD5 is right, so that a partial download never counts as one. A
    mirror that is silent for 20 s, or slower than 1 kB/s, is given up. Raises DataError, with every mirror's answer,
    when a file cannot be had, and with what to do when it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        for name, expected in checksums.items():
            if not ((root / name).is_file() and md5(root / name) == expected):
                _fetch(source, root, name, mirrors, expected)
    except OSError as error:
        error.filename = error.filename or str(root)  # a disk that is full does not say which
        raise DataError(f"cannot write to {in_words(error)}") from error
    return root


def in_words(error: OSError) -> str:
    """What the system did not do, and what to do about it."""
    number, why, path = error.errno, error.strerror or str(error), str(error.filename or "")
    if error.args and isinstance(error.args[0], list) and error.args[0]:  # shutil.Error: (from, to, why) of each file
        _, path, why = (str(part) for part in error.args[0][0])
        number = int(found[1]) if (found := re.match(r"\[Errno (\d+)\]", why)) else None
        why = re.sub(r"^\[\w+ \d+\] |: '.*$", "", why)
    if not path and number == errno.ENOENT:
        if "temporary directory" in why:
            return f"{why}; make room on that disk, or set TMPDIR (on Windows TEMP) to a folder of yours"
        return "the folder that you are in is gone: go to another, and run the command again"
    for numbers, todo in TO_DO.items():
        if number in numbers:
            return f"{path}{': ' if path else ''}{why}; {todo}{_elsewhere(path)}"
    return f"{path}{': ' if path else ''}{why}; mend that, and run the command again"


@contextmanager
def patience(seconds: float = SECONDS) -> Iterator[None]:
    """Inside, no connection that is opened without a timeout of its own waits longer for an answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _elsewhere(path: str) -> str:
    """Where else one could write what does not go to this path."""
    whole = Path(path).absolute()
    for inside, advice in ((folder, "or set KDCOURSE_DATA to a folder of yours"),
                           (lambda: course_folder(whole.parent), "or copy the course to a folder of yours, go there")):
        try:
            place = inside()
        except (ValueError, DataError, OSError):
            continue
        if path and (place in (whole, *whole.parents) or whole in place.parents):
            return f", {advice}, and run the command again"
    return ", and run the command again"


def _fetch(source: str, root: Path, name: str, mirrors: list[str], expected: str) -> None:
    failures, partial = [], root / f"{name}.{os.getpid()}.part"
    for mirror in mirrors:
        try:
            with open(partial, "wb") as file:
                for chunk in _chunks(mirror + name):
                    file.write(chunk)
            if (found := md5(partial)) != expected:
                raise DataError(f"its MD5 is {found}, expected {expected}")
            os.replace(partial, root / name)
            return
        except DataError as error:
            failures.append(f"{mirror}{name}: {error}")
        finally:
            partial.unlink(missing_ok=True)
    raise DataError(
        f"could not fetch {name} of {source}. What was tried:\n  " + "\n  ".join(failures) + "\n"
        "  1. check the network connection, or its proxy, and run the command again: what is whole stays\n"
        f"  2. or copy the file from another machine to {root}; its MD5 must be {expected}"
    )


def _in_time(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same pieces, with a bar. Raises DataError where they come too slowly."""
    got, since, before = 0, time.monotonic(), 0
    quiet = os.environ.get("KDCOURSE_QUIET", "") not in ("", "0") or None  # None: drawn in a terminal alone
    with tqdm(total=size or None, unit="B", unit_scale=True, disable=quiet) as bar:
        for chunk in chunks:
            got += len(chunk)
            bar.update(len(chunk))
            yield chunk
            if (passed := time.monotonic() - since) > SECONDS:
                if got - before < LEAST * passed:
                    raise DataError(f"it sent {got - before} bytes in {passed:.0f} s, which is too slow")
                since, before = time.monotonic(), got


def _chunks(url: str) -> Iterator[bytes]:
    """What lies at an address, piece by piece. Raises DataError when the network or the server fails, or is too slow:
    an OSError that comes out of it is the disk's."""
    try:
        with urlopen(Request(url, headers={"User-Agent": "kdcourse"}), timeout=SECONDS) as answer:
            size, got = int(answer.headers.get("Content-Length") or 0), 0
            for chunk in _in_time(iter(lambda: answer.read1(1 << 16), b""), size):
                got += len(chunk)
                yield chunk
            if got < size:
                raise DataError(f"it was cut off after {got:,} of {size:,} bytes")
    except TimeoutError as error:
        raise DataError(f"no answer within {SECONDS} s") from error
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(str(error)) from error
