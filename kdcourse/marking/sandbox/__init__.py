"""Runs a student's notebook where it sees and reaches nothing, with limits, and brings back what it said.

What it said is believed by nobody: `kdcourse.marking.grade` has it judged outside. Needs Linux and bubblewrap.
"""

import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from kdcourse.marking.sandbox import outputs, walls
from kdcourse.marking.sandbox.base import MB as MB
from kdcourse.marking.sandbox.base import Execution as Execution
from kdcourse.marking.sandbox.base import Limits as Limits
from kdcourse.marking.sandbox.base import SandboxError as SandboxError
from kdcourse.marking.sandbox.walls import INSIDE as INSIDE
from kdcourse.marking.sandbox.walls import seen as seen
from kdcourse.marking.sandbox.walls import unavailable as unavailable
from kdcourse.marking.sandbox.watch import watch


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

    `names` are the checks whose recordings are brought back; `warm` is code to run before the student's time begins;
    `hide` are folders not to be seen although they lie in one that is (`seen`), such as an installed package. With
    `unsafe` there are no walls, and of the limits only the times and sizes. Raises SandboxError if the notebook could
    not be started, or `stop` was set meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="kdcourse-") as private:
        folder = Path(private) / "given"
        for name in ("files", "package"):
            (folder / name).mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        command = walls.command(
            folder, notebook, names=names, environment=environment, limits=limits, warm=warm, hide=hide, unsafe=unsafe
        )
        own = dict(os.environ) if unsafe else {"PATH": "/usr/bin:/bin"}
        said, why = watch(command, limits, stop=stop or threading.Event(), environment=own)
    execution = outputs.understood(said, names, why)
    if execution is None:
        raise SandboxError(f"a notebook could not be started: {why or 'its process ended at once'}")
    return execution
