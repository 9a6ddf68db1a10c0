"""Runs a program, keeps what it writes, and ends it with all it started when it goes beyond a limit.

It knows nothing of notebooks, and of the sandbox only that the end of the first process should be the end of all.
"""

import contextlib
import os
import selectors
import subprocess
import threading
import time

import psutil

from kdcourse.marking.sandbox.base import MB, Limits, SandboxError

OFTEN = 0.2  # seconds between two looks
STARTUP = 180  # seconds until something is written


class Ended(Exception):
    """The program has to be ended, for the reason given."""


def watch(
    command: list[str], limits: Limits, *, stop: threading.Event, environment: dict[str, str]
) -> tuple[bytes, str]:
    """What a program wrote to its standard output, and why it was ended before its time, in words, or nothing.

    A program that wrote nothing at all could not be started: this raises SandboxError with what it complained about.
    """
    said, complained, why = bytearray(), bytearray(), ""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment)
    try:
        _read(process, said, complained, limits, stop)
    except Ended as reason:
        why = str(reason)
    finally:
        _end(process)
        process.stdout.close()
        process.stderr.close()
    if stop.is_set():
        raise SandboxError("grading was interrupted")
    if not said:
        told = complained.decode(errors="replace")[-2000:]
        raise SandboxError(f"a notebook could not be started: {why} {told}".strip())
    return bytes(said), why


def _read(process: subprocess.Popen, said: bytearray, complained: bytearray, limits: Limits, stop: threading.Event):
    """Fill both until the program ends. Raises Ended if it has to be."""
    deadline, look = time.monotonic() + STARTUP, 0.0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, said)
        selector.register(process.stderr, selectors.EVENT_READ, complained)
        while selector.get_map():
            for key, _ in selector.select(timeout=OFTEN):
                chunk = os.read(key.fd, 2**16)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data is said or len(complained) < MB:
                    if key.data is said and not said:  # it begins: a busy machine costs a student no time
                        deadline = time.monotonic() + (limits.total or float("inf"))
                    key.data.extend(chunk)
            now = time.monotonic()
            if stop.is_set():
                raise Ended("grading was interrupted")
            if now > deadline:
                raise Ended(f"the notebook took more than {limits.total:g} seconds" if said else "it did not begin")
            if limits.result and len(said) > limits.result:
                raise Ended(f"what it brought back was larger than {limits.result / MB:g} MB")
            if limits.memory and now > look:
                look = now + OFTEN
                if _memory(process.pid, limits.memory) > limits.memory:
                    raise Ended(f"it used more than {limits.memory / MB:g} MB of memory")


def _memory(root: int, enough: int) -> int:
    """Bytes that a process and all below it hold together: no limit of a single process binds shared memory."""
    family = _family(root)
    resident = [_ask(process, lambda one: one.memory_info().rss) for process in family]
    if sum(resident) <= enough:
        return sum(resident)
    # what several share was counted several times: only now the slow way, in which each counts its part of it
    shares = (_ask(process, lambda one: getattr(one.memory_full_info(), "pss", 0)) for process in family)
    return sum(share or size for share, size in zip(shares, resident, strict=True))


def _ask(process: psutil.Process, what) -> int:
    try:
        return what(process)
    except psutil.Error:
        return 0


def _family(root: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.Error:
        return []


def _end(process: subprocess.Popen) -> None:
    """End the program and what it started. In the sandbox the first kill is enough: all others end with it."""
    children = _family(process.pid)[1:] if process.poll() is None else []
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    process.wait()
