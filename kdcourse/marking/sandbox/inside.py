"""Runs one notebook inside the sandbox, where nothing else of the course is: a program of its own, given a folder.

It reads `job.json` and `notebook.ipynb` there and writes frames to its standard output: a line `kind name size`, then
so many bytes. They go out after every cell, so that what came before an endless loop counts. The student's code can do
with this process what it likes: whoever reads the frames believes none of them.
"""

import asyncio
import contextlib
import json
import os
import shutil
import stat
import sys
from pathlib import Path

GRACE = 10  # seconds a kernel has to come back from an interrupt


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    stream = os.fdopen(os.dup(1), "wb", buffering=0)  # the kernel inherits the null device in its place
    with open(os.devnull, "r+b") as null:
        os.dup2(null.fileno(), 0)
        os.dup2(null.fileno(), 1)
    confine(job)
    home, work = Path(job["home"]), Path(job["home"]) / "work"
    shutil.copytree(folder / "files", work, dirs_exist_ok=True)
    os.chdir(work)
    os.environ.update(job["environment"], HOME=str(home), TMPDIR=str(home))

    def send(kind: str, name: object = "-", content: bytes = b"") -> None:
        view = memoryview(f"{kind} {name} {len(content)}\n".encode() + content)
        while view:
            view = view[os.write(stream.fileno(), view) :]

    asyncio.run(run(job, (folder / "notebook.ipynb").read_text(encoding="utf-8"), send))


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


async def run(job: dict, text: str, send) -> None:
    """Execute the cells in order and send what each shows, and after a check's cell what it recorded."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    notebook = nbformat.reads(text, as_version=4)
    # files, not ports: two kernels that begin at once without walls may be given the same ports
    files = {"transport": "ipc", "ip": str(Path(job["home"]) / "k")} if os.name == "posix" else {}
    manager = AsyncKernelManager(**files)
    manager._kernel_spec = KernelSpec(  # whatever kernel the notebook names, and whichever are installed
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
    )
    client = _capped_client()(
        notebook,
        km=manager,
        timeout_func=lambda _: job["cell"],
        interrupt_on_timeout=True,
        error_on_timeout={"ename": "Timeout", "evalue": f"this cell ran past {job['cell']} seconds", "traceback": []},
        allow_errors=True,
        startup_timeout=120,
        store_widget_state=False,
        extra_arguments=["--HistoryManager.hist_file=:memory:"],
    )
    client.cap = job["output"]
    null = os.open(os.devnull, os.O_RDWR)
    async with client.async_setup_kernel(cwd=os.getcwd(), env=dict(os.environ), stdout=null, stderr=null):
        await _warm(client, job["warm"])
        send("ready")
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            why = await _execute(client, cell, index)
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


async def _warm(client, code: str) -> None:
    """Run what nearly every notebook begins with, which is not on the student's time."""
    reply = asyncio.ensure_future(client.kc.execute(code, silent=True, store_history=False, reply=True, timeout=120))
    while not reply.done():
        await asyncio.wait([reply], timeout=1)
        if not await client.km.is_alive():
            sys.exit("the kernel ended before the first cell")
    await reply


async def _execute(client, cell, index: int) -> str:
    """Run a cell; returns why no other can follow: it killed the kernel, or does not let go of it."""
    from nbclient.exceptions import DeadKernelError

    try:
        await client.async_execute_cell(cell, index)
    except DeadKernelError:
        return "died"
    except Exception as error:  # a message that cannot be read, an output that cannot be merged: this cell's alone
        cell.outputs = [{"output_type": "error", "ename": type(error).__name__, "evalue": "", "traceback": []}]
    if client.late:
        client.late = False
        cell.outputs.append({"output_type": "error", **client.error_on_timeout})
        try:
            await client.kc.kernel_info(reply=True, timeout=GRACE)
        except Exception:
            return "stuck"
    return ""


def _capped_client():
    from nbclient import NotebookClient

    class Capped(NotebookClient):
        """Keeps only so many bytes of what a cell shows, and knows when a cell was late."""

        cap, size, late = None, 0, False

        async def async_execute_cell(self, cell, cell_index, **options):
            self.size = 0
            return await super().async_execute_cell(cell, cell_index, **options)

        async def _async_handle_timeout(self, timeout, cell=None):
            self.late = True
            return await super()._async_handle_timeout(timeout, cell)

        def process_message(self, message, cell, cell_index):
            kind, content = message["msg_type"], message["content"]
            if kind in ("stream", "display_data", "execute_result", "update_display_data", "error"):
                before, self.size = self.size, self.size + len(json.dumps(content))
                if self.cap and self.size > self.cap:
                    if before <= self.cap:
                        note = {"output_type": "stream", "name": "stdout", "text": "\n... the rest is left out ...\n"}
                        cell.outputs.append(self.nb.__class__(note))
                    return None
            if kind.startswith("comm"):
                return None  # widgets: their state would pile up, and no page without a kernel shows them
            return super().process_message(message, cell, cell_index)

    return Capped


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
