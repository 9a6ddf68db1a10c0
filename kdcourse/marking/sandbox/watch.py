"""Watches a program, keeps what it writes, and ends it with all it started when it goes beyond a limit.

It knows nothing of notebooks, and of the sandbox only that the end of the first process should be the end of all.
"""

import contextlib
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from kdcourse.marking.sandbox.base import MB, Limits, SandboxError

OFTEN = 0.2  # seconds between two looks
STARTUP = 180  # seconds until something is written
RESERVE = 256 * MB  # of the machine's memory: with less left nobody's run can go on, and nobody is to blame
IN_MEMORY = ("tmp", "tmp/recordings", "dev/shm")  # the folders of a sandbox that can be written to


class Ended(Exception):
    """The program has to be ended, for the reason given."""


def watch(process: subprocess.Popen, limits: Limits, *, stop: threading.Event, group=None) -> tuple[bytes, str]:
    """What a program writes to its standard output, and why it was ended before its time, in words, or nothing.

    `group` is the control group that it shall be in, if there is one. A program that wrote nothing at all could not be
    started: this raises SandboxError with what it complained about, and so it does if the machine has no memory left.
    """
    said, complained, why = bytearray(), bytearray(), ""
    try:
        counted = Use(process.pid, group if group and group.take(process.pid) else None)
        _read(process, said, complained, limits, stop, counted)
    except Ended as reason:
        why = str(reason)
    finally:
        _end(process)
        said += _rest(process.stdout.fileno())
        process.stdout.close()
        process.stderr.close()
    if stop.is_set():
        raise SandboxError("grading was interrupted")
    if not said:
        told = complained.decode(errors="replace")[-2000:]
        raise SandboxError(f"a notebook could not be started: {why} {told}".strip())
    if counted.group and counted.group.overflowed():
        why = why or _too_much(limits)
    return bytes(said), why


def _read(process: subprocess.Popen, said: bytearray, complained: bytearray, limits: Limits, stop: threading.Event,
          counted: "Use") -> None:  # fmt: skip
    """Fill both until the program ends. Raises Ended if it has to be."""
    began, look, before = time.monotonic(), 0.0, 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, said)
        selector.register(process.stderr, selectors.EVENT_READ, complained)
        while selector.get_map():
            silent = not said
            _take(selector, most={id(complained): MB})
            now = time.monotonic()
            if silent and said:  # it begins: what came before is on nobody's time
                counted.look()
                began, before, counted.queues = now, counted.computed(), queues(counted.processes)
            if stop.is_set():
                raise Ended("grading was interrupted")
            if not said and now - began > STARTUP:
                raise Ended("it did not begin")
            if limits.result and len(said) > limits.result:
                raise Ended(f"what it brought back was larger than {limits.result / MB:g} MB")
            if now > look:
                counted.look()
                if said and limits.total:
                    _in_time(limits, now - began - counted.waited(), counted.computed() - before)
                _in_bounds(limits, counted)
                look = time.monotonic() + OFTEN


def _take(selector: selectors.BaseSelector, most: dict[int, int]) -> None:
    """Read what is there into the buffer of each pipe, of some no more than so many bytes; forget those that end."""
    for key, _ in selector.select(timeout=OFTEN):
        chunk = os.read(key.fd, 2**16)
        if not chunk:
            selector.unregister(key.fileobj)
        elif len(key.data) < most.get(id(key.data), sys.maxsize):
            key.data.extend(chunk)


def _rest(pipe: int) -> bytes:
    """What is still in a pipe, into which nobody writes any more: what was written while the last look was taken, and
    tells what was running when it ended."""
    os.set_blocking(pipe, False)
    read = bytearray()
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(pipe, 2**16):
            read.extend(chunk)
    return bytes(read)


def _in_time(limits: Limits, clock: float, computed: float) -> None:
    if computed > limits.total:
        raise Ended(f"the notebook took more than {limits.total:g} seconds of computing")
    if clock > limits.total * limits.patience:
        raise Ended(f"the notebook took more than {limits.total * limits.patience:g} seconds by the clock")


def _in_bounds(limits: Limits, counted: "Use") -> None:
    if limits.memory and not counted.group and _overfull(limits.memory, counted):
        raise Ended(_too_much(limits))
    if limits.files and counted.files() > limits.files:
        raise Ended(f"it made more than {limits.files} files")
    if limits.sockets and counted.sockets() > limits.sockets:
        raise Ended(f"it opened more than {limits.sockets} sockets")
    if limits.memory and psutil.virtual_memory().available < RESERVE:
        raise SandboxError(f"this machine has less than {RESERVE // MB} MB of memory left: grade with fewer --jobs")


def _overfull(most: int, counted: "Use") -> bool:
    """Looks twice, since processes that end between two looks leave the others a larger share of what they had."""
    if counted.memory(most) <= most:
        return False
    counted.look()
    return counted.memory(most) > most


def _too_much(limits: Limits) -> str:
    return f"it used more than {limits.memory / MB:g} MB of memory"


class Use:
    """What a process and all that it started have used so far, or hold now: those that the last `look` found. To look
    takes longer than all questions after it together."""

    def __init__(self, root: int, group=None):
        self.root, self.group, self.most, self.longest, self.queues = root, group, 0.0, 0.0, {}
        self.look()

    def look(self) -> None:
        """See which processes there are."""
        self.processes = family(self.root)

    def computed(self) -> float:
        """CPU seconds, of those that have ended too: as much of them as was ever seen."""
        if self.group:
            return self.group.computed()
        self.most = max(self.most, sum(_ask(one, lambda one: sum(one.cpu_times()[:4])) for one in self.processes))
        return self.most

    def waited(self) -> float:
        """Seconds in which one of them, of those that have ended too, had no core since these were its `queues`."""
        now = queues(self.processes)
        self.longest = max(self.longest, *(seconds - self.queues.get(one, 0.0) for one, seconds in now.items()), 0.0)
        return self.longest

    def memory(self, enough: int) -> int:
        """Bytes of memory: no limit of a single process binds what several share. Up to `enough` it may be too many."""
        resident = sum(_ask(process, _resident) for process in self.processes)
        # what several share was counted several times: only now the slow way, in which each counts its part of it
        return resident if resident <= enough else sum(_ask(process, _share) for process in self.processes)

    def files(self) -> int:
        """How many files and folders lie in its writable folders, if it has any of its own."""
        return sum(about.f_files - about.f_ffree for about in self._folders())

    def sockets(self) -> int:
        """How many sockets are open in its network, if it has one of its own."""
        inner = self._inner()
        with contextlib.suppress(OSError, StopIteration, ValueError):
            if inner and os.readlink(f"/proc/{inner}/ns/net") != os.readlink("/proc/self/ns/net"):
                lines = Path(f"/proc/{inner}/net/sockstat").read_text().splitlines()
                return int(next(line for line in lines if line.startswith("sockets:")).split()[-1])
        return 0

    def _folders(self) -> Iterator[os.statvfs_result]:
        inner = self._inner()
        for name in IN_MEMORY if inner else ():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{inner}/root/{name}").st_dev != os.stat(f"/{name}").st_dev:
                    yield os.statvfs(f"/proc/{inner}/root/{name}")

    def _inner(self) -> int | None:
        """The first process behind the walls; None without any."""
        return next((one.pid for one in self.processes[1:]), None)


def family(root: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        return [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.Error:
        return []


def queues(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Seconds in which each of them could have computed and had no core, by number; 0 where that is not counted."""
    return {process.pid: _ask(process, _queued) for process in processes}


def _queued(process: psutil.Process) -> float:
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9


def _ask(process: psutil.Process, what) -> float:
    try:
        return what(process)
    except (psutil.Error, OSError):
        return 0  # it has ended, and holds nothing any more


def _resident(process: psutil.Process) -> int:
    """Bytes that are mapped, with the tables that say where: they can be larger than what is there."""
    return process.memory_info().rss + _kilobytes(process, "status", "VmPTE:") * 1024


def _share(process: psutil.Process) -> int:
    """The same with each page divided by the number of those who share it; all of it, if it hides that."""
    try:
        return (_kilobytes(process, "smaps_rollup", "Pss:") + _kilobytes(process, "status", "VmPTE:")) * 1024
    except PermissionError:
        return _resident(process)


def _kilobytes(process: psutil.Process, file: str, start: str) -> int:
    """A number from a file about a process, in the line that begins so; of one that has ended, 0."""
    try:
        lines = Path(f"/proc/{process.pid}/{file}").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(start)), 0)


def _end(process: subprocess.Popen) -> None:
    """End the program and what it started. In the sandbox the first kill is enough: all others end with it."""
    children = family(process.pid)[1:] if process.poll() is None else []
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    process.wait()
