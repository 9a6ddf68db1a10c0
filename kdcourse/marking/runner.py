"""Runs the cells of a notebook one by one in a kernel of their own: at home, and in the sandbox, which is given this
file. It knows of no limits: whoever calls it says when a cell is late."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

OFTEN = 0.2  # seconds between two looks
LEFT_OUT = "\n... the rest is left out ...\n"


class Client(NotebookClient):
    """A client whose kernel is this Python, whatever the notebook names. `cap` is how many bytes a cell may show."""

    cap, size, begun, exits = None, 0, False, False

    async def async_execute_cell(self, cell, cell_index, **options):
        self.size, self.begun = 0, False
        return await super().async_execute_cell(cell, cell_index, **options)

    def process_message(self, message, cell, cell_index):
        kind, content = message["msg_type"], message["content"]
        self.begun = True
        if kind in ("stream", "display_data", "execute_result", "update_display_data", "error"):
            before, self.size = self.size, self.size + len(json.dumps(content))
            if self.cap and self.size > self.cap:
                if before <= self.cap:
                    note = {"output_type": "stream", "name": "stdout", "text": LEFT_OUT}
                    cell.outputs.append(self.nb.__class__(note))
                return None
        if kind.startswith("comm"):
            return None  # widgets: their state would pile up, and no page without a kernel shows them
        return super().process_message(message, cell, cell_index)


def client(notebook, *, cap: int | None = None, sockets: Path | None = None) -> Client:
    """A client for a notebook. With `sockets` the kernel is spoken to through files that begin so, and not ports: two
    that begin at once may be given the same ports."""
    files = {"transport": "ipc", "ip": str(sockets)} if sockets else {}
    manager = AsyncKernelManager(**files)
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
    )
    made = Client(
        notebook, km=manager, timeout=None, allow_errors=True, startup_timeout=120, record_timing=False,
        store_widget_state=False, shutdown_kernel="immediate", iopub_timeout=60,
        extra_arguments=["--HistoryManager.hist_file=:memory:"],
    )  # fmt: skip
    made.owns_km = True  # so that it closes what it opens
    made.log.disabled = True
    made.cap, made.on_cell_executed = cap, _noticed(made)
    return made


async def execute(client: Client, cell, index: int, late: Callable[[], str], grace: float) -> tuple[str, str]:
    """Run a cell. Returns why it was interrupted, as `late` said it, and why no other can follow, each or nothing:

    - `died`: its kernel ended, by its own will or not;
    - `gone`: the kernel had ended before this cell began, in what came before;
    - `stuck`: the kernel did not come back from the interrupt within `grace` seconds.

    Processes that an interrupted cell had started end with it: they would take the time of the cells that follow.
    """
    earlier = below(client)
    running, why = asyncio.ensure_future(client.async_execute_cell(cell, index)), ""
    while not (await asyncio.wait([running], timeout=OFTEN))[0]:
        if why := late():
            await client.km.interrupt_kernel()
            for started in below(client) - earlier:  # before the kernel is waited for, whose core they may keep busy
                with contextlib.suppress(psutil.Error):
                    started.kill()
            await asyncio.wait([running], timeout=grace)
            break
    if not running.done():
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return why, "stuck"
    try:
        running.result()
    except DeadKernelError:
        return why, "died" if client.begun else "gone"
    except Exception as error:  # a message that cannot be read, an output that cannot be merged: this cell's alone
        cell.outputs = [{"output_type": "error", "ename": type(error).__name__, "evalue": "", "traceback": []}]
    return why, "" if not client.exits and await client.km.is_alive() else "died"


def below(client: Client) -> set[psutil.Process]:
    """What the kernel, and what it started, has started and still runs."""
    with contextlib.suppress(psutil.Error):
        return set(psutil.Process(client.km.provisioner.pid).children(recursive=True))
    return set()


async def silently(client: Client, code: str) -> bool:
    """Run what is no cell; returns whether the kernel lives."""
    reply = asyncio.ensure_future(client.kc.execute(code, silent=True, store_history=False, reply=True, timeout=120))
    while not (await asyncio.wait([reply], timeout=1))[0]:
        if not await client.km.is_alive():
            reply.cancel()
            return False
    reply.result()
    return True


def _noticed(client: Client) -> Callable:
    """What to do after a cell: `exit()` ends a kernel a moment later, and until then another cell may begin."""

    def executed(cell, cell_index, execute_reply):
        asked = [one.get("source") for one in execute_reply["content"].get("payload") or [] if isinstance(one, dict)]
        client.exits = client.exits or "ask_exit" in asked

    return executed
