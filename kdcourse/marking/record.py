"""What the two halves of a check share: a record of what an answer did, the file it travels in, and a verdict about it.

`checks`, the asking half, calls the student's function and fills a `Record` with raw numbers; `judges` reads the
record and gives a `Verdict`. Nothing here knows what is right.

A record is a safetensors file: written beside the answer, read where it is judged. Whoever wrote the file may be
anybody. Reading executes nothing, follows no link, waits for nothing, and takes no more than `LARGEST_FILE` bytes.
"""

import json
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from numbers import Real
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

LARGEST = 4_000_000  # numbers in one recorded tensor
LONGEST = 300        # characters in one recorded note
LARGEST_FILE = 32_000_000
LARGEST_HEADER = 1_000_000
MOST_NOTES = 200
LIBRARIES = (os.path.dirname(os.path.dirname(torch.__file__)), os.path.dirname(os.__file__))
UNANSWERED = "NotImplementedError"


class Verdict(NamedTuple):
    """The share of a cell's points that an answer earns, in [0, 1], and why, in words."""

    share: float
    message: str


class Wrong(Exception):
    """Raised while judging: nothing of the answer can be right. Its text is the verdict's message."""


class CheckFailed(AssertionError):
    """A check that did not pass. In a notebook only its message is shown: the traceback would be the check's own."""

    def _render_traceback_(self) -> list[str]:
        return [f"CheckFailed: {self}"]


class Case(SimpleNamespace):
    """One set of inputs, by name. A case is equal to itself alone; `with_(T=2)` is another one."""

    __eq__, __hash__ = object.__eq__, object.__hash__

    def with_(self, **changes) -> "Case":
        return Case(**vars(self) | changes)


class Record:
    """What an answer returned: tensors by name, and notes (errors, unexpected types) by name."""

    def __init__(self, tensors: dict[str, Tensor] | None = None, notes: dict[str, str] | None = None):
        self.tensors, self.notes = dict(tensors or {}), dict(notes or {})

    def keep(self, name: str, value: object) -> None:
        """Keep a tensor or a number; of anything else, what it is."""
        if isinstance(value, Tensor):
            value = value.detach().to("cpu")
            if value.is_complex():
                self.notes[name] = "a tensor of complex numbers"
            elif value.numel() > LARGEST:
                self.notes[name] = f"a tensor of {value.numel():,} numbers"
            else:
                number = value.double() if value.is_floating_point() else value.long()
                self.tensors[name] = number.clone().contiguous()
        elif isinstance(value, Real | Decimal):
            self.tensors[name] = torch.tensor(float(value), dtype=torch.double)
        elif hasattr(value, "item") and getattr(value, "size", None) == 1:  # a number of numpy's
            self.tensors[name] = torch.tensor(float(value.item()), dtype=torch.double)
        else:
            self.notes[name] = "None" if value is None else f"a {type(value).__name__}"

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Inside, an error is noted and ends the attempt; warnings are silent. A bare NotImplementedError means that
        nothing was answered, where the answer itself raises it: torch has errors of that name, too."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except (Exception, SystemExit) as error:
            self.notes[f"{name} error"] = UNANSWERED if _is_stub(error) else clean(f"{type(error).__name__}: {error}")

    def tensor(self, name: str, *shape: int | None, of: str = "") -> Tensor:
        """The recorded tensor as float64, if it has this shape (None: any length); else raises `Wrong`, which says
        what was there. `of` names the attempt in which an error may have been noted instead."""
        if f"{of or name} error" in self.notes:
            raise Wrong(stopped(self.notes[f"{of or name} error"]))
        if name not in self.tensors:
            raise Wrong(f"{name}: {self.notes.get(name, 'nothing')} was returned where numbers are expected.")
        found = self.tensors[name]
        fits = len(shape) == found.ndim and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
        if not fits:
            wanted = " x ".join("n" if n is None else str(n) for n in shape) or "a single number"
            raise Wrong(f"{name}: a tensor of shape {tuple(found.shape)} where {wanted} is expected.")
        return found.double()

    def number(self, name: str, *, of: str = "") -> float:
        """The recorded number; else raises `Wrong`."""
        return self.tensor(name, of=of).item()


def _is_stub(error: BaseException) -> bool:
    """Whether this is the `raise NotImplementedError()` of an empty answer, not one of a library."""
    trace = error.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_code.co_filename
    return type(error) is NotImplementedError and not error.args and not raised_in.startswith(LIBRARIES)


def stopped(note: str) -> str:
    """What to say of an attempt that ended in the noted error."""
    if note == UNANSWERED:
        return "not answered yet."
    why = ""
    if "bitwise_xor" in note or "for ^" in note:
        why = ": ^ is no power in Python, ** is"
    elif re.search(r"size of tensor a .* must match the size of tensor b", note):
        why = ": a mean, a sum or a length over a dimension takes that dimension away, and `keepdim=True` keeps it"
    return f"it stopped with an error, {note}{why}."


def clean(text: object) -> str:
    """One printable line of at most `LONGEST` characters."""
    line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in str(text)[: 4 * LONGEST])).strip()
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def state(network: nn.Module) -> list[Tensor]:
    """Copies of a network's parameters, in its order."""
    return [parameter.detach().clone() for parameter in network.parameters()]


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
