"""`kept`: a recording that is made once and then read from disk, by any notebook and on any later day."""

import contextlib
import hashlib
import re
from pathlib import Path

import torch

from kdcourse import files
from kdcourse.teachers.base import CutOff, LogitBank, key_of


def kept(teacher, split, *, augment=None, dtype=torch.float16, folder=None) -> LogitBank:
    """`LogitBank.record(teacher, split, ...)` from disk; recorded and saved if it is not there, or was cut off.

    It lies in `folder` (by default `recordings` in the data folder) under a name made of the teacher's weights,
    statistics and size, the images, the augmentation and the type: whatever changes one of them makes another file.
    A folder that cannot be read or written (full, read-only, another user's, a file) costs a recording each time and
    nothing else. Raises as `record` does, and ValueError for a file of this name whose content belongs to another
    teacher or other images.
    """
    made_of = f"{key_of(teacher)} {split.origin(augment)} {dtype}"
    called = re.sub(r"[^\w.-]", "-", split.name)[:100]  # which every file system takes
    name = f"{called}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.safetensors"
    path = Path(folder or files.folder() / "recordings") / name
    try:
        return LogitBank.load(path, teacher=teacher, split=split, augment=augment)
    except (OSError, CutOff):
        bank = LogitBank.record(teacher, split, augment=augment, dtype=dtype)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        bank.save(path)
    return bank
