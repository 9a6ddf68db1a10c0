"""Runs a student's notebook where it sees and reaches nothing, with limits, and brings back what it said.

What it said is believed by nobody: `kdcourse.marking.grade` has it judged outside. Needs Linux and bubblewrap.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from kdcourse.marking.sandbox import cgroup, outputs, seccomp, walls, watch
from kdcourse.marking.sandbox.base import MB as MB
from kdcourse.marking.sandbox.base import Execution as Execution
from kdcourse.marking.sandbox.base import Limits as Limits
from kdcourse.marking.sandbox.base import SandboxError as SandboxError
from kdcourse.marking.sandbox.modules import hidden as hidden
from kdcourse.marking.sandbox.outputs import doubtful as doubtful
from kdcourse.marking.sandbox.walls import INSIDE as INSIDE
from kdcourse.marking.sandbox.walls import RUNNER as RUNNER
from kdcourse.marking.sandbox.walls import seen as seen
from kdcourse.marking.sandbox.walls import unavailable as unavailable

STARTING = threading.Lock()
BUSY: dict[int, int] = {}  # how many runs a core has


def run(
    notebook: str,
    files: dict[str, bytes],
    *,
    names: Sequence[str],
    environment: dict[str, str],
    limits: Limits,
    warm: str = "",
    hide: Sequence[Path] = (),
    unsafe: bool = False,
    stop: threading.Event | None = None,
) -> Execution:
    """What a notebook does, beside the files that are called `files/...`, with the modules called `package/...`.

    `names` are the checks whose recordings are brought back; `warm` is code to run before the student's time begins,
    left out where a file would hide a module; `hide` are folders not to be seen although they lie in one that is
    (`seen`), such as an installed package. With `unsafe` there are no walls, and of the limits only the times and
    sizes. Raises SandboxError if the notebook could not be started, or `stop` was set meanwhile.
    """
    orders = {"names": names, "environment": environment, "limits": limits, "warm": "" if hidden(files) else warm}
    with contextlib.ExitStack() as stack:
        if unsafe:
            folder = stack.enter_context(_folder())
            _put(folder, {**walls.given(notebook, **orders, folder=folder), **files})
            command = [sys.executable, "-I", str(folder / INSIDE.name), str(folder)]
            process, group = _started(command, env=dict(os.environ)), None
        else:
            core, group = stack.enter_context(_core()), stack.enter_context(cgroup.made(limits))
            content = walls.given(notebook, **orders, user=stack.enter_context(walls.user()))
            process = _walled({**content, **files}, core, limits, hide)
        said, why = watch.watch(process, limits, stop=stop or threading.Event(), group=group)
    execution = outputs.understood(said, names, why)
    if execution is None:
        raise SandboxError(f"a notebook could not be started: {why or 'its process ended at once'}")
    return execution


def _walled(content: dict[str, bytes], core: int, limits: Limits, hide: Sequence[Path]) -> subprocess.Popen:
    """Start behind walls on one core, which it cannot leave, with files that lie in memory: whatever ends this program,
    none is left behind."""
    with STARTING, contextlib.ExitStack() as stack:  # one at a time: each needs a descriptor for every file

        def held(data: bytes) -> int:
            file = stack.enter_context(os.fdopen(os.memfd_create("kdcourse"), "r+b"))
            file.write(data)
            file.seek(0)
            return file.fileno()

        filtered = seccomp.program()
        orders = held(filtered) if filtered else None
        files = {name: held(data) for name, data in content.items()}
        command = walls.command(files, orders, limits, hide)
        passed = [*files.values(), *([orders] if orders is not None else [])]
        cores = os.sched_getaffinity(0)  # of this thread, which what it starts takes over
        try:
            os.sched_setaffinity(0, {core})
            return _started(command, env={"PATH": "/usr/bin:/bin"}, pass_fds=passed)
        finally:
            os.sched_setaffinity(0, cores)


def _started(command: list[str], **how) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, **how)


@contextlib.contextmanager
def _core() -> Iterator[int]:
    """The core that has the fewest runs: none can take another's. Where all are free, processes begin with others."""
    with STARTING:
        cores = sorted(os.sched_getaffinity(0))
        begin = os.getpid() % len(cores)
        core = min(cores[begin:] + cores[:begin], key=lambda one: BUSY.get(one, 0))
        BUSY[core] = BUSY.get(core, 0) + 1
    try:
        yield core
    finally:
        with STARTING:
            BUSY[core] -= 1


def clear_up() -> None:
    """Remove the folders that programs of this user left when they were killed."""
    for left in Path(tempfile.gettempdir()).glob("kdcourse-*-*"):
        owner = left.name.split("-")[1]
        mine = not hasattr(os, "getuid") or left.lstat().st_uid == os.getuid()
        if owner.isdecimal() and mine and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for a run without walls; those of programs that were killed are removed first."""
    clear_up()
    with tempfile.TemporaryDirectory(prefix=f"kdcourse-{os.getpid()}-") as private:
        folder = Path(private) / "given"
        for name in ("home", "recordings"):
            (folder / name).mkdir(parents=True)
        yield folder


def _put(folder: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
