"""Runs one notebook inside the sandbox, where nothing else of the course is: a program of its own, given a folder.

It reads `job.json` and `notebook.ipynb` there and writes frames to its standard output: a line `kind name size`, then
so many bytes. They go out after every cell, so that what came before an endless loop counts. The student's code can do
with this process what it likes: whoever reads the frames believes none of them.
"""

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    # what checks formats that no notebook has, as in kdcourse/cli.py: the first would cost 3 s, the other 0.2
    sys.modules["rfc3987_syntax"] = sys.modules["isoduration"] = None
    stream = os.fdopen(os.dup(1), "wb", buffering=0)  # the kernel inherits the null device in its place
    with open(os.devnull, "r+b") as null:
        os.dup2(null.fileno(), 0)
        os.dup2(null.fileno(), 1)
    confine(job)
    home, work = Path(job["home"]), Path(job["home"]) / "work"
    for made in (work, home / "start"):
        made.mkdir()
    if (folder / "files").is_dir():
        shutil.copytree(folder / "files", work, dirs_exist_ok=True)
    os.chdir(home / "start")
    os.environ.update(job["environment"], HOME=str(home), TMPDIR=str(home))

    def send(kind: str, name: object = "-", content: bytes = b"") -> None:
        view = memoryview(f"{kind} {name} {len(content)}\n".encode() + content)
        while view:
            view = view[os.write(stream.fileno(), view) :]

    sys.path.insert(0, str(folder))
    asyncio.run(run(job, (folder / "notebook.ipynb").read_text(encoding="utf-8"), work, send))


def confine(job: dict) -> None:
    """Become nobody in particular, for whom limits hold, and set them: hard, so that nothing here can lift them."""
    if job["user"]:
        os.setgroups([])
        os.setresgid(job["user"], job["user"], job["user"])
        os.setresuid(job["user"], job["user"], job["user"])
    if job["limits"]:
        import resource  # not on Windows, where there is no sandbox either

        for name, value in job["limits"].items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


async def run(job: dict, text: str, work: Path, send) -> None:
    """Execute the cells in order and send what each shows, and after a check's cell what it recorded."""
    import nbformat

    runner = importlib.import_module("runner")  # the file that is given beside this one
    notebook = nbformat.reads(text, as_version=4)
    sockets = Path(job["home"]) / "k" if os.name == "posix" else None
    client = runner.client(notebook, cap=job["output"], sockets=sockets)
    null = os.open(os.devnull, os.O_RDWR)
    async with client.async_setup_kernel(cwd=os.getcwd(), env=dict(os.environ), stdout=null, stderr=null):
        # what nearly every notebook begins with is not on the student's time; and only then do the student's files come
        if not await runner.silently(client, f"exec({job['warm']!r}, {{}})\n__import__('os').chdir({str(work)!r})"):
            sys.exit("the kernel ended before the first cell")
        send("ready")
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            send("begin", index)
            said, why = await runner.execute(client, cell, index, late(job), job["grace"])
            if why == "gone":  # in the cell before, when all it showed had been sent
                send("undone", index)
                send("stopped", "died")
                break
            if said:
                cell.outputs.append({"output_type": "error", "ename": "Timeout", "evalue": said, "traceback": []})
            send("cell", index, json.dumps(cell.outputs).encode())
            name = cell.metadata.get("nbgrader", {}).get("grade_id")
            if name in job["names"] and (content := _recording(Path(job["recordings"]) / f"{name}.safetensors", job)):
                send("recording", name, content)
            if why:
                send("stopped", why)
                break
        else:
            send("end")
    os._exit(0)


def late(job: dict) -> Callable[[], str]:
    """Tells when the cell that begins now has computed for too long, or has long done nothing: in words, or nothing."""
    seconds, patience, root = job["cell"], job["patience"], job["root"]
    # never less than was seen before: a process that one look misses would bring all its past into this cell
    before = job["computed"] = max(computed(root), job.get("computed", 0.0))
    began, queued = time.monotonic(), queues(root)

    def said() -> str:
        job["computed"] = max(computed(root), job["computed"])
        if seconds and job["computed"] - before > seconds:
            return f"this cell ran past {seconds:g} seconds of computing"
        clock = time.monotonic() - began
        if seconds and clock > seconds * patience and clock - waited(root, queued) > seconds * patience:
            return f"this cell ran past {seconds * patience:g} seconds by the clock"
        return ""

    return said


def computed(root: int | None) -> float:
    """CPU seconds of a process (None: this one) and of all below it, those that have ended and were waited for too."""
    return sum(_each(root, lambda process: sum(process.cpu_times()[:4])).values())  # user, system, of children both


def queues(root: int | None) -> dict[int, float]:
    """Seconds in which a process (None: this one), and each below it, could have computed and had no core, by number;
    nothing where the system does not count them. Source: Documentation/scheduler/sched-stats.rst."""
    return _each(root, lambda process: int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9)


def waited(root: int | None, before: dict[int, float]) -> float:
    """Seconds in which the one of them that had to wait longest had no core since these were its `queues`."""
    return max((seconds - before.get(number, 0.0) for number, seconds in queues(root).items()), default=0.0)


def _each(root: int | None, what: Callable) -> dict[int, float]:
    """A number of a process and of each below it that can be asked for it."""
    import psutil

    found = {}
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(root)
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):
                found[process.pid] = what(process)
    return found


def _recording(path: Path, job: dict) -> bytes:
    """The file's bytes if it is a file, and not too large: no link, no pipe that waits for ever, no sparse giant."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if stat.S_ISREG(status.st_mode) and status.st_size <= job["recording"]:
                return file.read(job["recording"])
    return b""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
