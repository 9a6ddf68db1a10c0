"""Where the data files of a source lie, whether they are whole, and how to fetch them before class.

A source's files are looked for in the folder named by `KDCOURSE_DATA`, else in `~/.cache/kdcourse`.
"""

import hashlib
import os
import shutil
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from torchvision.datasets.utils import download_url


class DataError(RuntimeError):
    """A data file is missing or corrupt. The message says which, and the command that repairs it."""


def folder() -> Path:
    """The folder of all data: `KDCOURSE_DATA`, else `~/.cache/kdcourse`."""
    return Path(os.environ.get("KDCOURSE_DATA") or Path.home() / ".cache" / "kdcourse").expanduser()


def md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def verified(source: str, root: Path, checksums: dict[str, str]) -> dict[str, Path]:
    """The paths of a source's files under `root`, each with the MD5 that it must have.

    Raises DataError with a numbered recipe when one is missing, and with both checksums when one is corrupt.
    """
    missing = [name for name in checksums if not (root / name).is_file()]
    if missing:
        raise DataError(
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
                f"It was probably cut off; run: {elsewhere}kdcourse fetch {source}"
            )
    return {name: root / name for name in checksums}


def fetch(source: str, root: Path, mirrors: list[str], checksums: dict[str, str]) -> Path:
    """Download what is missing or corrupt into `root`, and return it.

    A file gets its name only once it is whole and its MD5 is right, so that a partial download never counts as one.
    Raises DataError, with every mirror's answer, when one cannot be had.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {root} ({error.strerror}); set KDCOURSE_DATA to a folder of yours") from error
    for name, expected in checksums.items():
        if (root / name).is_file() and md5(root / name) == expected:
            continue
        failures = []
        for mirror in mirrors:
            with tempfile.TemporaryDirectory() as partial:
                try:
                    download_url(mirror + name, partial, filename=name, md5=expected)
                except (URLError, OSError, RuntimeError, HTTPException) as error:
                    failures.append(f"{mirror}{name}: {error}")
                    continue
                shutil.copy(Path(partial) / name, root / f"{name}.part")
                os.replace(root / f"{name}.part", root / name)
                break
        else:
            raise DataError(
                f"could not fetch {name} of {source}. What was tried:\n  " + "\n  ".join(failures) + "\n"
                "  1. check the network connection, or its proxy, and run the command again: what is whole stays\n"
                f"  2. or copy the file from another machine to {root}; its MD5 must be {expected}"
            )
    return root
