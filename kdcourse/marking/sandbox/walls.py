"""The walls: a command that runs a notebook where it sees and reaches nothing. It needs Linux and bubblewrap.

Inside are the system and the Python environment, read-only, the folder of one submission, and small writable folders in
memory. There is no network, no other process, no home folder, and no way to become somebody. `watch` runs the command;
what it writes is what a student's program chose to say.
"""

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kdcourse.marking.sandbox.base import MB, Limits, SandboxError

INSIDE, RUNNER = Path(__file__).with_name("inside.py"), Path(__file__).parents[1] / "runner.py"
GIVEN = Path("/given")
SHARED_MEMORY = RECORDINGS = 64 * MB
RECORDING = 8 * MB  # the largest that is brought back
USERS, SLOTS = 60_001, 5_000  # unprivileged users, one per run, where the grader is root
COUNTER = itertools.count(os.getpid() * 31)
ENVIRONMENT = {
    "KDCOURSE_PROFILE": "quick", "KDCOURSE_QUIET": "1", "NBGRADER_EXECUTION": "autograde", "HF_HUB_OFFLINE": "1",
    "USER": "student", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}  # fmt: skip


def unavailable() -> str:
    """Empty if this machine can build a sandbox; else why not, and what to do."""
    if sys.platform != "linux":
        return "the sandbox is made by bubblewrap, which only Linux has"
    if not shutil.which("bwrap"):
        return "the sandbox is made by bubblewrap, which is not installed; run: sudo apt install bubblewrap"
    for path in pythons():
        if os.geteuid() == 0 and path.stat().st_mode & 0o005 != 0o005:
            return f"submissions run as another user, who may not read {path}; run: chmod -R go+rX {path}"
    command = [*_walls(Limits(), ()), "/usr/bin/env", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return f"bubblewrap does not work here: {tried.stderr.strip()}" if tried.returncode else ""


@contextlib.contextmanager
def user() -> Iterator[int | None]:
    """A user that no other run on this machine is; None where this program is not root, and has no other to give.

    The kernel counts processes and threads by user: two runs of one would have the limit of one, and the honest one
    could start no thread while the other has them all. Which are taken is known by names of sockets, which nobody can
    leave behind.
    """
    if os.geteuid() != 0:
        yield None
        return
    with socket.socket(socket.AF_UNIX) as name:
        for _ in range(SLOTS):
            one = USERS + next(COUNTER) % SLOTS
            with contextlib.suppress(OSError):  # it is taken
                name.bind(f"\0kdcourse-user-{one}")
                break
        else:
            raise SandboxError(f"all of {SLOTS} users run something already: grade with fewer --jobs")
        yield one


def given(notebook: str, *, names: Sequence[str], environment: dict[str, str], limits: Limits, warm: str,
          folder: Path | None = None, user: int | None = None) -> dict[str, bytes]:  # fmt: skip
    """The files, by name, that a run needs beside the student's: its orders, the notebook (its text), the programs.

    `names` are the checks whose recordings are to be brought back; `warm` is code to run before the student's time
    begins. With `folder` it will run there without walls, and of the limits only the times hold; without, they are in
    `/given`, and it becomes `user`, if there is one.
    """
    place, here = folder or Path("/tmp"), folder or GIVEN
    resources = {  # DATA, not AS: importing torch reserves far more addresses than it ever uses
        "DATA": limits.memory, "NPROC": limits.processes, "FSIZE": limits.disk, "CORE": 0, "NOFILE": 1024,
        "MSGQUEUE": 0, "SIGPENDING": 1024, "MEMLOCK": 2**16,
    }  # fmt: skip
    job = {
        "user": user,
        "limits": {} if folder else {name: value for name, value in resources.items() if value is not None},
        "root": None if folder else 1, "cell": limits.cell, "patience": limits.patience,
        "grace": limits.grace, "output": limits.output, "recording": RECORDING, "names": list(names), "warm": warm,
        "home": str(place / "home"), "recordings": str(place / "recordings"),
        "environment": {
            **ENVIRONMENT, **environment, "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin"]),
            "PYTHONPATH": str(here / "package"), "KDCOURSE_RECORD": str(place / "recordings"),
        },
    }  # fmt: skip
    programs = {path.name: path.read_bytes() for path in (INSIDE, RUNNER)}
    return {"job.json": json.dumps(job).encode(), "notebook.ipynb": notebook.encode(), **programs}


def command(files: dict[str, int], orders: int | None, limits: Limits, hide: Sequence[Path]) -> list[str]:
    """What to start inside walls, where `files` are open descriptors of what is to lie in `/given`, by name, and
    `orders` is one of the kernel's filter. `hide` are folders not to be seen although they lie in one that is."""
    words = ["--seccomp", str(orders)] if orders is not None else []
    for name, descriptor in files.items():
        words += ["--perms", "0644", "--file", str(descriptor), str(GIVEN / name)]
    return [*_walls(limits, hide, words), sys.executable, "-I", str(GIVEN / INSIDE.name), str(GIVEN)]


def _walls(limits: Limits, hide: Sequence[Path], more: Sequence[str] = ()) -> list[str]:
    """bubblewrap and its options, and `more` of them: nothing is there but what is named here."""
    words = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if os.geteuid() == 0:  # the program becomes an unprivileged user itself, since limits do not hold for root
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    for path in map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            words += ["--ro-bind", str(path), str(path)]
    words += ["--perms", "0755", "--dir", "/etc"]
    for name in ("ld.so.cache", "alternatives", "fonts", "localtime"):
        words += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    words += [*_writable("/tmp", limits.disk), *_writable("/tmp/recordings", RECORDINGS)]
    words += ["--perms", "0777", "--dir", "/tmp/home"]
    for path in pythons():  # after /tmp, in which one may lie; or in a home folder, of which nothing else is there
        for above in reversed(path.parents[:-1]):
            words += ["--perms", "0755", "--dir", str(above)]
        words += ["--ro-bind", str(path), str(path)]
    for path in hide:
        words += ["--tmpfs", str(path), "--remount-ro", str(path)]
    words += ["--proc", "/proc", "--dev", "/dev", *_writable("/dev/shm", SHARED_MEMORY), "--remount-ro", "/dev"]
    words += ["--perms", "0755", "--dir", str(GIVEN), *more]
    return [*words, "--remount-ro", "/", "--chdir", "/tmp", "--"]


def pythons() -> list[Path]:
    """The folders of the Python environment outside /usr: its own, and that of the interpreter it was made from."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]}
    return sorted(path for path in found if not path.is_relative_to("/usr"))


def seen(path: Path) -> bool:
    """Whether a run can see what lies at `path`."""
    return any(path.is_relative_to(root) for root in (Path("/usr"), *pythons()))


def _writable(path: str, size: int | None) -> list[str]:
    return ["--perms", "1777", *(["--size", str(size)] if size else []), "--tmpfs", path]
