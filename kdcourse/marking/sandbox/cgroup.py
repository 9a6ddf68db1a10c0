"""A control group for a run, on machines that let this program make one (cgroup v2: root, or a delegated scope).

In it the kernel counts every page that a run causes to be held, wherever it lies: in files in memory, shared segments,
sockets, page tables. Without one, `watch` counts what it can see. Source: Documentation/admin-guide/cgroup-v2.rst.
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdcourse.marking.sandbox.base import Limits

MOUNTS, OWN = Path("/proc/self/mountinfo"), Path("/proc/self/cgroup")
COUNTER = itertools.count()


@dataclass(frozen=True)
class Group:
    """A group that a process can be put into, with all that it starts from then on."""

    folder: Path

    def take(self, process: int) -> bool:
        """Put a process in; returns whether it is."""
        try:
            (self.folder / "cgroup.procs").write_text(str(process))
        except OSError:  # a process may only be moved below a folder that this program may write to
            return False
        return True

    def computed(self) -> float:
        """CPU seconds of all that was ever in it."""
        return self._numbers("cpu.stat").get("usage_usec", 0) / 1e6

    def overflowed(self) -> bool:
        """Whether a process was ended because all of them together held too much."""
        return self._numbers("memory.events").get("oom_kill", 0) > 0

    def _numbers(self, name: str) -> dict[str, int]:
        with contextlib.suppress(OSError, ValueError):
            lines = (self.folder / name).read_text().splitlines()
            return {key: int(value) for key, value in (line.split() for line in lines)}
        return {}


@contextlib.contextmanager
def made(limits: Limits) -> Iterator[Group | None]:
    """A group with the limit of memory, or None where there can be none; removed at the end."""
    folder = next(filter(None, (_child(parent, limits) for parent in _parents())), None)
    try:
        yield Group(folder) if folder else None
    finally:
        for _ in range(50 if folder else 0):  # until the last process is gone
            with contextlib.suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def _parents() -> list[Path]:
    """The groups in which one could be made: this program's, and those above it."""
    try:
        mount = next(line.split()[4] for line in MOUNTS.read_text().splitlines() if " - cgroup2 " in line)
        own = next(line[3:] for line in OWN.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    root, inside = Path(mount), Path(own.lstrip("/"))
    if ".." in inside.parts:
        return []
    return [root / inside, *(root / above for above in inside.parents)]


def _child(parent: Path, limits: Limits) -> Path | None:
    """A new group below another that hands on the control of memory, limited, or None."""
    try:
        if "memory" not in (parent / "cgroup.subtree_control").read_text().split():
            return None
        folder = parent / f"kdcourse-{os.getpid()}-{next(COUNTER)}"
        folder.mkdir()
    except OSError:
        return None
    try:
        if limits.memory:
            (folder / "memory.max").write_text(str(limits.memory + (limits.disk or 0)))
            with contextlib.suppress(OSError):  # where there is no swap
                (folder / "memory.swap.max").write_text("0")
    except OSError:
        folder.rmdir()
        return None
    return folder
