"""Runs a notebook as the grader will: only a part of the package can be imported, and the checks only record."""

import asyncio
import contextlib
import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_output

from kdcourse.marking import checks
from kdcourse.marking.student.base import first_line

IMPATIENT = 20  # seconds that a cell may take once another was stopped
GRACE = 5  # seconds a kernel has to come back from an interrupt
# a copy of the package would not do: an editable installation finds what is missing in it
BLOCK = f"""
import sys
from collections.abc import Sequence
SANDBOX = {checks.SANDBOX!r}
{inspect.getsource(checks.is_there)}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "kdcourse" and not is_there(name):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def environment(recordings: Path, seed: int) -> dict[str, str]:
    """The variables that make checks record what they asked, with that seed, instead of judging it."""
    own = {"KDCOURSE_QUIET": "1", "KDCOURSE_RECORD": str(recordings), "KDCOURSE_GRADING_SEED": str(seed)}
    return {key: value for key, value in os.environ.items() if key != "KDCOURSE_PROFILE"} | own


def run(notebook, folder: Path, variables: dict[str, str], seconds: float, tell: Callable[[str], None]) -> str:
    """Execute every cell in a fresh kernel, in place; an error in one does not stop the next. `tell` gets a line for
    each question that begins. Returns what went wrong with the run as a whole, in words."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return asyncio.run(_run(notebook, folder, variables, seconds, tell))


async def _run(notebook, folder: Path, variables: dict[str, str], seconds: float, tell) -> str:
    manager = AsyncKernelManager()
    manager._kernel_spec = KernelSpec(  # this Python, whatever kernel the notebook names
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python"
    )
    client = _Client(
        notebook, km=manager, allow_errors=True, interrupt_on_timeout=True, record_timing=False,
        timeout_func=lambda _: client.patience, store_widget_state=False, shutdown_kernel="immediate",
        error_on_timeout={"ename": "Stopped", "evalue": "", "traceback": []},
        extra_arguments=["--HistoryManager.hist_file=:memory:"],
    )
    client.owns_km = True  # so that it closes what it opens
    client.log.disabled = True
    client.patience = seconds
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    async with client.async_setup_kernel(cwd=str(folder), env=variables, **quiet):
        with contextlib.suppress(RuntimeError):  # so that Ctrl-C ends this program, not the kernel under it
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        await client.kc.execute(f"exec({BLOCK!r}, {{}})", silent=True, reply=True, timeout=120)
        for index, cell in enumerate(notebook.cells):
            if question := re.match(r"## (Question .*)", cell.source):
                tell(f"  {question[1]}")
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            if why := await _execute(client, cell, index, tell):
                return f"{first_line(cell)} {why}: what follows did not run"
    return ""


async def _execute(client, cell, index: int, tell) -> str:
    """Run a cell; returns why no other can follow."""
    allowed, client.late = client.patience, False
    try:
        await client.async_execute_cell(cell, index)
    except DeadKernelError:
        return "ended the kernel"
    if client.late:
        said = f"stopped after {allowed:g} s"
        tell(f"    {first_line(cell)} was {said}")
        cell.outputs = [new_output("error", ename="Stopped", evalue=said, traceback=[])]
        client.patience = min(client.patience, IMPATIENT)
        try:
            await client.kc.kernel_info(reply=True, timeout=GRACE)
        except Exception:
            return f"was {said} and does not let go"
    return ""


class _Client(NotebookClient):
    """Knows when a cell was late, and how long the next one may take."""

    patience, late = None, False

    async def _async_handle_timeout(self, timeout, cell=None):
        self.late = True
        return await super()._async_handle_timeout(timeout, cell)
