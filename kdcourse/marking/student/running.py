"""Runs a notebook as the grader will: only a part of the package can be imported, and the checks only record."""

import asyncio
import contextlib
import inspect
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from nbformat.v4 import new_output

from kdcourse.marking import checks, runner
from kdcourse.marking.student.base import first_line

IMPATIENT = 20  # seconds that a cell may take once another was stopped
ENDED = ("died", "gone")
GRACE = 10  # seconds a kernel has to come back from an interrupt
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
    own |= {"KDCOURSE_DATA": str(recordings)}  # no data set is there when answers are graded, and one core
    own |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {key: value for key, value in os.environ.items() if not key.startswith("KDCOURSE_")} | own


def run(notebook, folder: Path, variables: dict[str, str], seconds: float, tell: Callable[[str], None], *,
        whole: float) -> str:
    """Execute every cell in a fresh kernel, in place; an error in one does not stop the next, and what begins after
    `whole` seconds does not run. `tell` gets a line for each question that begins. Returns what went wrong with the run
    as a whole, in words."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return asyncio.run(_run(notebook, folder, variables, seconds, tell, whole))


async def _run(notebook, folder: Path, variables: dict[str, str], seconds: float, tell, whole: float) -> str:
    client, began = runner.client(notebook), time.monotonic()
    quiet, patience = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}, seconds
    async with client.async_setup_kernel(cwd=str(folder), env=variables, **quiet):
        with contextlib.suppress(RuntimeError):  # so that Ctrl-C ends this program, not the kernel under it
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        # a kernel that dies while all ends is no news: the program ends, too
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        if not await runner.silently(client, f"exec({BLOCK!r}, {{}})\nexec({checks.WARM!r}, {{}})"):
            return "the kernel ended before the first cell: is there a file beside the notebook that hides a module?"
        before = ""
        for index, cell in enumerate(notebook.cells):
            if question := re.match(r"## (Question .*)", cell.source):
                tell(f"  {question[1]}")
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            if time.monotonic() - began > whole:
                return f"the notebook takes more than {whole:g} s: {first_line(cell)} and what follows did not run"
            said, why = await runner.execute(client, cell, index, _late(patience), GRACE)
            if why in ENDED:
                return f"{before if why == 'gone' else first_line(cell)} ended the kernel: what follows did not run"
            if said:
                tell(f"    {first_line(cell)} was {said}")
                cell.outputs = [new_output("error", ename="Stopped", evalue=said, traceback=[])]
                patience = min(patience, IMPATIENT)
            if why:
                return f"{first_line(cell)} was {said} and does not let go: what follows did not run"
            before = first_line(cell)
    return ""


def _late(seconds: float) -> Callable[[], str]:
    """Tells when the cell that begins now has taken longer by the clock."""
    began = time.monotonic()
    return lambda: f"stopped after {seconds:g} s" if time.monotonic() - began > seconds else ""
