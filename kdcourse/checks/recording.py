"""A `Record` as a safetensors file: written beside the answer, read where it is judged.

Whoever wrote the file may be anybody. Reading executes nothing, follows no link, waits for nothing, and takes no more
than `LARGEST_FILE` bytes.
"""

import json
import os
import stat
from pathlib import Path

import safetensors.torch

from kdcourse.answers import Record, Wrong, clean

LARGEST_FILE = 32_000_000
LARGEST_HEADER = 1_000_000
MOST_NOTES = 200


def write(record: Record, path: Path) -> None:
    safetensors.torch.save_file(record.tensors, path, metadata=record.notes or None)


def read(path: Path) -> Record:
    """The record in a file; raises `Wrong` for anything that is not one."""
    content = _content(path)
    try:
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        notes = header.get("__metadata__") or {}
    except Exception as error:  # whatever the bytes are, they are no record
        raise Wrong("the recording of this cell cannot be read: it is damaged.") from error
    if any(tensor.is_complex() for tensor in tensors.values()):
        raise Wrong("the recording of this cell holds complex numbers, which no answer needs.")
    return Record(tensors, {str(key): clean(value) for key, value in list(notes.items())[:MOST_NOTES]})


def _content(path: Path) -> bytes:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise Wrong("nothing was recorded: the cell did not run to its end.") from error
    except OSError as error:
        raise Wrong("the recording of this cell is not a file that may be read.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Wrong("the recording of this cell is not a regular file.")
    with os.fdopen(descriptor, "rb") as file:
        if not 8 <= status.st_size <= LARGEST_FILE:
            raise Wrong(f"the recording of this cell has {status.st_size:,} bytes, which no answer needs.")
        content = file.read(LARGEST_FILE)
    if int.from_bytes(content[:8], "little") > min(LARGEST_HEADER, len(content) - 8):
        raise Wrong("the recording of this cell cannot be read: it is damaged.")
    return content
