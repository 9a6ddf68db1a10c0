"""The sandbox keeps a student's program in and from harming the grader. Each wall and limit is seen to matter."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil
import pytest
from grading.course import ROOT, need_sandbox

import kdcourse
from kdcourse.marking import checks, sandbox
from kdcourse.marking.sandbox import MB, Limits, cgroup, hidden, inside, outputs, seccomp, walls, watch

LIMITS = Limits(cell=8, total=20, memory=700 * MB, processes=48, disk=16 * MB, output=2**16, result=4 * MB)
SECRET = "kdcourse-test-secret"


@pytest.fixture(scope="module", autouse=True)
def walled():
    need_sandbox()


@pytest.fixture
def listener():
    """A server on this machine, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def run(*sources: str, limits: Limits = LIMITS, names=("answer",), **options) -> sandbox.Execution:
    """Run cells; the last one carries the check."""
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(source)) for source in sources]
    cells[-1].metadata["nbgrader"] = {"grade_id": "answer"}
    text = nbformat.writes(nbformat.v4.new_notebook(cells=cells))
    options = {"environment": {"KDCOURSE_GRADING_SEED": "7"}, "files": {"files/beside.txt": b"beside"}, **options}
    return sandbox.run(text, names=names, limits=limits, **options)


def shown(execution: sandbox.Execution, index: int = 0) -> str:
    """All that a cell printed, returned and raised."""
    parts = []
    for output in execution.outputs.get(index, []):
        parts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
        parts += [output.get("ename", ""), output.get("evalue", "")]
    return " ".join(filter(None, parts))


@pytest.mark.parametrize("unsafe", [False, True])
def test_a_kernel_takes_no_port(unsafe):
    """Two that begin at once without walls would now and then be given the same, and hear each other's answers."""
    source = "import json, ipykernel.connect\njson.loads(ipykernel.connect.get_connection_info())['transport']"
    assert shown(run(source, unsafe=unsafe)) == "'ipc'"


# -- what a program sees


PYTHON = {path.relative_to(Path.home()).parts[0] for path in walls.pythons() if path.is_relative_to(Path.home())} | {""}
PROBES = {
    "reads what lies beside it": ("open('beside.txt').read()", "'beside'"),
    "may write where it works": ("open('mine.txt', 'w').write('1'), open('/tmp/mine', 'w').write('1')", "(1, 1)"),
    "knows the seed": ("import os; os.environ['KDCOURSE_GRADING_SEED']", "'7'"),
    "is not root, and cannot be": (
        "import os\nprint(os.getuid() != 0)\nos.setuid(0)", "True\n PermissionError|True\n OSError",
    ),
    "has no capability": (
        "[line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapPrm', 'CapAmb'))]",
        "['0000000000000000', '0000000000000000', '0000000000000000']",
    ),
    "cannot write to the system": ("open('/usr/mine', 'w')", "OSError|PermissionError"),
    "cannot write beside the interpreter": ("import sys; open(sys.prefix + '/mine', 'w')", "OSError|PermissionError"),
    "cannot write to the root": ("open('/mine', 'w')", "OSError|PermissionError"),
    "cannot write to what it was given": ("open('/given/mine', 'w')", "OSError|PermissionError"),
    "cannot write devices": ("open('/dev/mine', 'w')", "OSError|PermissionError"),
    "sees no device but the harmless": (
        "import os; sorted(set(os.listdir('/dev')) - {'console', 'core', 'fd', 'full', 'null', 'ptmx', 'pts', "
        "'random', 'shm', 'stderr', 'stdin', 'stdout', 'tty', 'urandom', 'zero'})", "[]",
    ),
    "sees only its own processes": ("import os; sum(map(str.isdecimal, os.listdir('/proc'))) < 6", "True"),
    "does not see the course": (f"import os; os.path.exists({str(ROOT / 'pyproject.toml')!r})", "False"),
    "does not see this folder": (f"import os; os.path.exists({os.getcwd()!r})", "False"),
    "does not see the home folder": (
        f"import os; home = {str(Path.home())!r}\nfound = os.listdir(home) if os.path.exists(home) else []\n"
        f"sorted(set(found) - {PYTHON})",
        "[]",
    ),
    "does not see the rest of the system": (
        "import os; sorted(set(os.listdir('/etc')) - {'alternatives', 'fonts', 'ld.so.cache', 'localtime'})", "[]",
    ),
    "has an environment of its own": (f"import os; {SECRET!r} in str(dict(os.environ))", "False"),
    "cannot import the package": ("import kdcourse.train", "ModuleNotFoundError"),
    "has no network": ("import socket; socket.create_connection(('1.1.1.1', 53), timeout=2)", "OSError"),
    "cannot hold memory in a file without a name": ("import os; os.memfd_create('x')", "PermissionError"),
    "cannot hold memory in a segment": (
        "import ctypes; ctypes.CDLL(None, use_errno=True).shmget(0, 4096, 0o1600), ctypes.get_errno()", "(-1, 1)",
    ),
    "cannot make a world of its own, in which it might mount": (
        "import ctypes; ctypes.CDLL(None, use_errno=True).unshare(0x10000000), ctypes.get_errno()", "(-1, 1)",
    ),
    "cannot take more cores": (
        "import os\nprint(len(os.sched_getaffinity(0)))\nos.sched_setaffinity(0, range(64))", "1\n PermissionError",
    ),
    "can have threads and processes": (
        "import threading, os\nthread = threading.Thread(target=print, args=('one',)); thread.start(); thread.join()\n"
        "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1]", "one\n 0",
    ),
    "cannot mount": (
        "import ctypes; ctypes.CDLL(None).mount(b'none', b'/tmp/home', b'tmpfs', 0, None)", "-1",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def probed():
    os.environ["KDCOURSE_TEST_SECRET"] = SECRET
    try:
        return run(*(source for source, _ in PROBES.values()))
    finally:
        del os.environ["KDCOURSE_TEST_SECRET"]


@pytest.mark.parametrize("name", PROBES)
def test_a_submission(name, probed):
    found, wanted = shown(probed, list(PROBES).index(name)), PROBES[name][1]
    assert any(found.startswith(one) for one in wanted.split("|")), found


def test_what_must_not_be_seen_is_there_to_be_seen():
    assert (ROOT / "pyproject.toml").exists() and Path.home().exists() and Path(kdcourse.__file__).exists()


CONNECT = """
    import socket
    socket.create_connection(("127.0.0.1", {port}), timeout=2).close()
    print("reached")
"""


@pytest.mark.parametrize("wall, found", [("--no-wall", "ConnectionRefusedError"), ("--unshare-net", "reached")])
def test_without_its_own_network_it_would_reach_this_machine(wall, found, listener, monkeypatch):
    whole = walls._walls
    monkeypatch.setattr(walls, "_walls", lambda *given: [word for word in whole(*given) if word != wall])
    assert shown(run(CONNECT.format(port=listener))).startswith(found)


@pytest.mark.parametrize("wall, alone", [("--no-wall", "True"), ("--unshare-pid", "False")])
def test_without_its_own_process_numbers_it_would_see_this_process(wall, alone, monkeypatch):
    whole = walls._walls
    monkeypatch.setattr(walls, "_walls", lambda *given: [word for word in whole(*given) if word != wall])
    assert shown(run(f"import os; not os.path.exists('/proc/{os.getpid()}/status')")) == alone


@pytest.mark.parametrize("source", [
    "import os; os.memfd_create('x') > 0",
    "import ctypes; ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0",
    "import os; os.sched_setaffinity(0, os.sched_getaffinity(0)) is None",
])
def test_without_the_kernels_filter_it_could(source, monkeypatch):
    monkeypatch.setattr(seccomp, "program", lambda: b"")
    assert shown(run(source)) == "True"


def test_the_filter_is_known_for_two_machines_and_lets_others_be():
    assert len(seccomp.program("x86_64")) % 8 == len(seccomp.program("aarch64")) % 8 == 0
    assert seccomp.program("riscv64") == b"" and seccomp.CALLS["x86_64"].keys() == seccomp.CALLS["aarch64"].keys()


def test_an_installed_package_is_hidden(tmp_path, monkeypatch):
    package = tmp_path / "environment" / "kdcourse"
    package.mkdir(parents=True)
    (package / "judging.py").write_text(SECRET)
    real = walls.pythons()
    monkeypatch.setattr(walls, "pythons", lambda: [*real, tmp_path / "environment"])
    look = f"import os; os.listdir({str(package)!r})"
    assert walls.seen(package)
    assert (shown(run(look)), shown(run(look, hide=[package]))) == ("['judging.py']", "[]")


# -- limits: each holds, and without it the same program gets through


COMPUTE = ("import time\nbegan = time.process_time()\nwhile time.process_time() < began + {}: pass\n"
           "print('through')")
BOMBS = {
    "cell": (COMPUTE.format(3), replace(LIMITS, cell=1, patience=60), "past 1 seconds of computing"),
    "cell by the clock": ("import time; time.sleep(5); print('through')", replace(LIMITS, cell=1, patience=2),
                          "past 2 seconds by the clock"),
    "total": (COMPUTE.format(4), replace(LIMITS, total=2, cell=None, patience=60),
              "took more than 2 seconds of computing"),
    "total by the clock": ("import time; time.sleep(6); print('through')", replace(LIMITS, total=1, patience=3),
                           "took more than 3 seconds by the clock"),
    "total of several": (
        "import os, time\nfor _ in range(4):\n    if not os.fork():\n        while time.process_time() < 1.5: pass\n"
        "        os._exit(0)\nfor _ in range(4): os.wait()\nprint('through')",
        replace(LIMITS, total=3, cell=None, patience=60), "took more than 3 seconds of computing",
    ),
    "memory": ("bomb = bytearray(900 * 2**20); print('through')", LIMITS, "MemoryError"),
    "memory of several": (
        "import os, time\nheld, have = os.pipe()\nfor _ in range(4):\n    if not os.fork():\n"
        "        bomb = bytearray(250 * 2**20)\n        os.write(have, b'x')\n        time.sleep(60)\n"
        "        os._exit(0)\nfor _ in range(4): os.read(held, 1)\ntime.sleep(3); print('through')",
        LIMITS, "more than 700 MB of memory",
    ),
    "memory that is shared": (
        "import mmap, time\nbomb = mmap.mmap(-1, 900 * 2**20)\nfor _ in range(9):\n    bomb.write(bytes(100 * 2**20))\n"
        "time.sleep(3); print('through')", LIMITS, "more than 700 MB of memory",
    ),
    "processes": (
        "import os, time\nfor _ in range(100):\n    if not os.fork():\n        time.sleep(2)\n        os._exit(0)\n"
        "print('through')", LIMITS, "BlockingIOError",
    ),
    "disk in one file": ("print(open('bomb', 'wb').write(bytes(20 * 2**20)), 'through')", LIMITS, "OSError"),
    "disk in many files": (
        "for name in range(20):\n    open(f'bomb{name}', 'wb').write(bytes(2**20))\nprint('through')", LIMITS,
        "OSError",
    ),
    "files that are empty": (
        "import os, time\nos.mkdir('many')\nfor name in range(3_000):\n    open(f'many/{name}', 'w').close()\n"
        "time.sleep(3); print('through')", replace(LIMITS, files=2_000), "more than 2000 files",
    ),
    "sockets": (
        "import socket, time\nkept = [socket.socketpair() for _ in range(300)]\ntime.sleep(3); print('through')",
        LIMITS, "more than 512 sockets",
    ),
    "output": ("print('x' * 70_000, 'through')", LIMITS, "the rest is left out"),
}  # fmt: skip
OFF = {"processes": ("memory",)}  # what else would be in the way


@pytest.mark.parametrize("name", BOMBS)
def test_a_limit_holds(name):
    source, limits, found = BOMBS[name]
    execution = run(source, "print('after')", limits=limits)
    assert found in f"{shown(execution)} {execution.stopped}" and "through" not in shown(execution)
    assert execution.stopped or shown(execution, 1) == "after\n"


@pytest.fixture
def where_walls_change(touched) -> None:
    """Skips what shows that other tests of this file could fail, where nothing changed that they are about."""
    if not touched("kdcourse/marking/sandbox/", "kdcourse/marking/runner.py", "tests/marking/test_sandbox.py"):
        pytest.skip("where the sandbox changes, and by --thorough")


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.usefixtures("where_walls_change")
def test_without_the_limit_the_same_program_gets_through(name):
    off = dict.fromkeys([name.split()[0], "cell", *OFF.get(name, ())])
    assert "through" in shown(run(BOMBS[name][0], limits=replace(LIMITS, **off)))


WORKERS = """
    import os, time
    held = b"x" * (200 * 2**20)
    for _ in range(30):
        for _ in range(8):
            if not os.fork():
                time.sleep(0.06)
                os._exit(0)
        for _ in range(8):
            os.wait()
    print("through")
"""


def test_memory_that_many_short_processes_share_counts_once():
    """Together they hold 200 MB; each seems to hold as much, and some end while they are counted."""
    execution = run(WORKERS, limits=replace(LIMITS, cell=None))
    assert (shown(execution), execution.stopped) == ("through\n", "")


LOADER = """
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    rows = TensorDataset(torch.arange(64.0).reshape(64, 1))
    seen = sum(float(x.sum()) for _ in range(3) for x, in DataLoader(rows, 8, num_workers=8))
    print("all seen" if seen == 3 * 63 * 32 else seen)
"""


def test_eight_workers_of_a_data_loader_fit_into_half_the_memory_that_they_seem_to_hold():
    """Each seems to hold all of torch, and so do those that end while they are counted."""
    limits = replace(LIMITS, cell=None, total=None, memory=1000 * MB, processes=192)
    execution = run(LOADER, limits=limits)
    assert "all seen" in shown(execution) and execution.stopped == ""


EPOCHS = """
    import os
    import torch
    from torch.utils.data import DataLoader, IterableDataset, TensorDataset
    rows, started = TensorDataset(torch.arange(64.0).reshape(64, 1)), []
    os.register_at_fork(before=lambda: started.append(1))

    def seen(epochs, **settings):
        loader = DataLoader(rows, 8, shuffle=True, generator=torch.Generator().manual_seed(0), **settings)
        return torch.stack([torch.cat([x for x, in loader]) for _ in range(epochs)])

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    def begins(number):
        assert torch.utils.data.get_worker_info().id == number

    print(torch.equal(seen(3, num_workers=8, worker_init_fn=begins), seen(3)),
          torch.equal(seen(2, num_workers=4, prefetch_factor=3, timeout=60), seen(2)),
          len(seen(3, num_workers=8, persistent_workers=True)), len(started),
          sorted(map(int, DataLoader(Stream(), num_workers=2))), len(started))
"""


def test_a_data_loader_has_one_worker_of_many_and_the_same_batches_where_no_dataset_is_shared_out_among_them():
    """Eight that are started anew in every epoch compute for forty times as long as the epoch itself."""
    execution = run(EPOCHS, limits=replace(LIMITS, cell=60, total=60, memory=3072 * MB, processes=192),
                    warm=checks.WARM)  # fmt: skip
    assert shown(execution).endswith("True True 3 6 [0, 0, 1, 1, 2, 2] 8\n")  # behind a warning of torch's


def test_an_optimiser_does_not_import_torchs_compiler_and_whoever_asks_for_it_has_it():
    """And what ran before the first cell has left no names in the notebook."""
    step = ("import sys, torch\nw = torch.nn.Parameter(torch.ones(2))\nadam = torch.optim.Adam([w], lr=0.5)\n"
            "w.sum().backward()\nadam.step()\nadam.zero_grad()\n"
            "[round(x, 3) for x in w.tolist()], 'torch._dynamo.config' in sys.modules")
    asked = ("from torch._dynamo import config\ndouble = torch.compile(lambda x: 2 * x, backend='eager')\n"
             "double(torch.ones(1)).item(), adam.step(), config is sys.modules['torch._dynamo.config']")
    execution = run("sorted({'torch', 'sys', 'types', 'Compiler'} & set(dir()))", step, asked, warm=checks.WARM,
                    limits=replace(LIMITS, cell=60, total=60, memory=3072 * MB))  # fmt: skip
    assert [shown(execution, index) for index in range(2)] == ["[]", "([0.5, 0.5], False)"]
    assert shown(execution, 2).endswith("(2.0, None, True)")


def test_a_process_that_has_ended_holds_nothing():
    child = subprocess.Popen(["sleep", "60"])
    process = psutil.Process(child.pid)
    assert watch._ask(process, watch._share) > 0 and watch._ask(process, watch._resident) > 0
    child.kill()
    child.wait()
    assert watch._ask(process, watch._share) == watch._ask(process, watch._resident) == 0


@pytest.mark.timed
def test_a_greedy_neighbour_costs_a_submission_no_time():
    greedy = "import os, time\nfor _ in range(25):\n    if not os.fork():\n        while True: pass\ntime.sleep(60)"
    began, found = time.monotonic(), {}
    threads = [threading.Thread(target=lambda name=name, source=source: found.update({name: run(
        source, limits=replace(LIMITS, cell=5, total=8, patience=30))})) for name, source in
        {"greedy": greedy, "honest": COMPUTE.format(2)}.items()]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shown(found["honest"]) == "through\n" and found["honest"].stopped == ""
    assert "seconds of computing" in f"{shown(found['greedy'])} {found['greedy'].stopped}"
    assert time.monotonic() - began < 200


@pytest.mark.parametrize("name, counted", [("cell", True), ("total", True), ("cell", False)])
def test_time_without_a_core_is_nobodys_by_the_clock(name, counted, monkeypatch, tmp_path, request):
    """Four others want the core of a run that computes for a second, and may take 3 by the clock."""
    if (name, counted) != ("cell", True):
        request.getfixturevalue("where_walls_change")
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this system does not say how long a process had no core")
    monkeypatch.setattr(sandbox, "_core", lambda: contextlib.nullcontext(min(os.sched_getaffinity(0))))
    if not counted:  # a world in which it is not known how long one waited
        source = walls.INSIDE.read_text().replace("/schedstat", "/unknown")
        monkeypatch.setattr(walls, "INSIDE", tmp_path / walls.INSIDE.name)
        walls.INSIDE.write_text(source)
        monkeypatch.setattr(watch, "queues", lambda root: {})
    limits = {"cell": replace(LIMITS, cell=3, total=None, patience=1),
              "total": replace(LIMITS, cell=None, total=3, patience=1)}  # fmt: skip
    program = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\nwhile True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", program], start_new_session=True) for _ in range(4)]
    try:
        execution = run(COMPUTE.format(1), limits=limits[name])
    finally:
        for one in busy:
            one.kill()
            one.wait()
    told = f"{shown(execution)} {execution.stopped}"
    assert ("3 seconds by the clock" in told, "through" in told) == ((False, True) if counted else (True, False))


def test_a_process_that_a_look_has_missed_does_not_bring_its_past_into_a_cell(monkeypatch):
    seen = iter([20.0, 20.5, 0.0, 21.0, 27.5])
    monkeypatch.setattr(inside, "computed", lambda root: next(seen))
    job = {"cell": 6, "patience": 100, "root": None}
    said = inside.late(job)
    assert said() == ""
    said = inside.late(job)  # the look with which this cell begins sees nothing
    assert said() == "" and said() == "this cell ran past 6 seconds of computing"


def test_no_two_runs_on_a_machine_are_the_same_user():
    """The limit of processes and threads counts by user: another process, with the same numbers to begin with, too."""
    if os.geteuid() != 0:
        pytest.skip("only root runs them as other users")
    script = """
        import itertools
        from kdcourse.marking.sandbox import walls
        walls.COUNTER = itertools.count(7)
        with walls.user() as one, walls.user() as other:
            print(one, other, flush=True)
            input()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipe) as first, subprocess.Popen(command, **pipe) as second:
        taken = [*first.stdout.readline().split(), *second.stdout.readline().split()]
        first.kill()  # and whoever is killed keeps none
        first.wait()
        with subprocess.Popen(command, **pipe) as third:
            again = third.stdout.readline().split()
            third.communicate("\n")
        second.communicate("\n")
    assert len(set(taken)) == 4 and not set(again) & set(taken[2:])


def test_what_was_written_during_the_last_look_is_read_too(monkeypatch):
    """It says which cell was running: one that is at once beyond a limit would be taken for the one before."""
    program = [sys.executable, "-c", "print('first', flush=True); input(); print('second', flush=True); input()"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(program, **pipes) as process:
        def beyond(limits, clock, computed):
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert select.select([process.stdout], [], [], 60)[0]
            raise watch.Ended("it went beyond a limit")

        monkeypatch.setattr(watch, "_in_time", beyond)
        said = watch.watch(process, Limits(total=60), stop=threading.Event())
    assert said == (b"first\nsecond\n", "it went beyond a limit")


def test_with_the_machine_out_of_memory_nobody_is_to_blame(monkeypatch):
    monkeypatch.setattr(watch, "RESERVE", 2**60)
    with pytest.raises(sandbox.SandboxError, match="grade with fewer --jobs"):
        run("1 + 1")


# -- where a machine has control groups


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A folder that looks like the kernel's, below which this program runs in `mine/scope`."""
    (tmp_path / "mine" / "scope").mkdir(parents=True)
    (tmp_path / "mountinfo").write_text(f"31 23 0:27 / {tmp_path} rw,nosuid - cgroup2 cgroup2 rw\n")
    (tmp_path / "cgroup").write_text("0::/mine/scope\n")
    (tmp_path / "mine" / "scope" / "cgroup.subtree_control").write_text("\n")
    (tmp_path / "mine" / "cgroup.subtree_control").write_text("cpu memory pids\n")
    monkeypatch.setattr(cgroup, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(cgroup, "OWN", tmp_path / "cgroup")
    monkeypatch.setattr(cgroup.time, "sleep", lambda seconds: None)
    return tmp_path


def test_a_run_is_put_into_a_group_of_its_own_where_memory_is_handed_on(groups):
    with cgroup.made(LIMITS) as group:
        assert group.folder.parent == groups / "mine"
        assert int((group.folder / "memory.max").read_text()) == LIMITS.memory + LIMITS.disk
        assert group.take(7) and (group.folder / "cgroup.procs").read_text() == "7"
        (group.folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
        (group.folder / "memory.events").write_text("max 3\noom_kill 0\n")
        assert (group.computed(), group.overflowed()) == (1.5, False)
        (group.folder / "memory.events").write_text("max 3\noom_kill 1\n")
        assert group.overflowed()


@pytest.mark.parametrize("own, control", [
    ("0::/mine/scope\n", "cpu pids\n"), ("0::/../up\n", "memory\n"), ("", "memory\n"),
])  # fmt: skip
def test_where_memory_is_not_handed_on_there_is_no_group(groups, own, control):
    (groups / "cgroup").write_text(own)
    (groups / "mine" / "cgroup.subtree_control").write_text(control)
    with cgroup.made(LIMITS) as group:
        assert group is None


@pytest.mark.parametrize("limit", [4 * MB, None])
def test_what_is_brought_back_is_limited(limit):
    flood = "import os\nfor number in range(8):\n    for name in os.listdir('/proc'):\n        pass"
    pictures = ["from IPython.display import Image, display\n"
                "display(Image(data=b'\\x89PNG\\r\\n\\x1a\\n' + bytes(900_000), format='png'))"] * 6  # fmt: skip
    execution = run(flood, *pictures, limits=replace(LIMITS, result=limit, output=2 * MB))
    assert bool(execution.stopped) is bool(limit)
    assert ("larger than 4 MB" in execution.stopped) is bool(limit)


def test_a_hundred_megabytes_of_output_fill_nobodys_memory():
    before = psutil.Process().memory_info().rss
    execution = run("for _ in range(100):\n    print('x' * 2**20)", "print('after')", limits=replace(LIMITS, cell=15))
    assert len(shown(execution)) < 200_000 and shown(execution, 1) == "after\n"
    assert psutil.Process().memory_info().rss - before < 50 * MB


def test_what_an_interrupted_cell_had_started_ends_with_it_and_what_began_before_goes_on():
    """On the one core of a submission they would keep the kernel from coming back, and be counted as a later cell's."""
    found = run(
        "import subprocess\nearlier = subprocess.Popen(['sleep', '60'], start_new_session=True)",
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfor _ in range(25):\n    if not os.fork():\n"
        "        while True: pass\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nwhile True: pass",
        "import time\nend = time.process_time() + 2\nwhile time.process_time() < end: pass\nearlier.poll(), 'finished'",
        limits=replace(LIMITS, cell=3, grace=1),
    )
    assert "this cell ran past 3 seconds of computing" in shown(found, 1)
    assert shown(found, 2) == "(None, 'finished')" and found.stopped == ""


def test_a_loop_that_ignores_the_interrupt_ends_the_run_and_keeps_what_was_before():
    stubborn = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    execution = run("1 + 1", stubborn, "2 + 2", limits=replace(LIMITS, cell=1, grace=2))
    assert (shown(execution), "Timeout" in shown(execution, 1), 2 in execution.outputs) == ("2", True, False)
    assert "interrupted" in execution.stopped


def test_a_kernel_that_kills_itself_ends_the_run_and_keeps_what_was_before():
    execution = run("1 + 1", "import os; os.kill(os.getpid(), 9)", "2 + 2")
    assert (shown(execution), 2 in execution.outputs) == ("2", False) and "process ended" in execution.stopped


@pytest.mark.parametrize("ending", [
    "exit()", "quit", "print(1); get_ipython().ask_exit()", "import os\nos._exit(0)",
    "import asyncio, os\nasyncio.get_event_loop().call_soon(os._exit, 0);",
])  # fmt: skip
def test_a_cell_that_ends_its_kernel_is_the_last_that_runs(ending):
    """However long the kernel takes to end: else it depends on the machine whether others run."""
    execution = run("1 + 1", ending, "2 + 2")
    assert (shown(execution), 2 in execution.outputs) == ("2", False) and "process ended" in execution.stopped


def test_a_cell_that_only_asks_python_to_end_ends_alone():
    execution = run("import sys; sys.exit()", "raise SystemExit", "2 + 2")
    assert (shown(execution, 2), execution.stopped) == ("4", "")


def test_a_program_that_ends_the_whole_sandbox_harms_only_itself():
    execution = run("1 + 1", "import os; os.kill(os.getppid(), 9); os.kill(-1, 9)", "2 + 2")
    assert shown(execution) == "2" and "process ended" in execution.stopped


# -- what is brought back


def test_a_recording_is_brought_back_as_it_is():
    write = "import os; open(os.environ['KDCOURSE_RECORD'] + '/answer.safetensors', 'wb').write(b'what it recorded')"
    assert run(write).recordings == {"answer": b"what it recorded"}


@pytest.mark.parametrize("trick", [
    "os.symlink('/given/job.json', path)", "os.mkfifo(path)", "os.mkdir(path)",
    "os.truncate(os.open(path, 66), 14 * 2**20)", "open(path.replace('answer', 'other'), 'w').write('x')",
])  # fmt: skip
def test_only_a_file_of_bounded_size_and_expected_name_counts_as_a_recording(trick):
    path = "import os; path = os.environ['KDCOURSE_RECORD'] + '/answer.safetensors'"
    execution = run(f"{path}\n{trick};")
    assert (execution.recordings, execution.stopped, shown(execution)) == ({}, "", "")


def frame(kind: str, name: str, content: bytes = b"") -> bytes:
    return f"{kind} {name} {len(content)}\n".encode() + content


@pytest.mark.parametrize("said", [
    b"", b"\x00" * 100, b"nonsense", b"ready - 999999\n", b"cell 0 2\n[]", frame("cell", "0", b"[]"),
])  # fmt: skip
def test_a_run_that_does_not_say_that_it_began_did_not_begin(said):
    assert outputs.understood(said, ["answer"], "") is None


@pytest.mark.parametrize("rubbish", [
    b"{", b"[" * 100_001, b"[" * 5_000 + b"]" * 5_000, b"null", b"[1, {}, []]", b'"x"', b"\xff\xfe",
    b'[{"output_type": 3}]', b'[{"output_type": "display_data", "data": 7}]', b"1" * 6_000,
    b'[{"output_type": "error", "traceback": {}}]',
])  # fmt: skip
def test_outputs_that_are_none_are_taken_for_none(rubbish):
    execution = outputs.understood(frame("ready", "-") + frame("cell", "0", rubbish) + frame("end", "-"), [], "")
    assert "x" not in str(execution.outputs[0]).replace("text", "").replace("execution", "").replace("ex", "")
    nbformat.validate(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[
        nbformat.from_dict(output) for output in execution.outputs[0]
    ])]))  # fmt: skip


def test_what_began_last_is_what_was_running_when_a_run_was_ended():
    """And a cell that could not begin any more is not: what ended the run was in the one before."""
    said = frame("ready", "-") + frame("begin", "1") + frame("cell", "1", b"[]") + frame("begin", "4")
    assert list(outputs.understood(said, [], "too long").outputs) == [1, 4]
    assert list(outputs.understood(said + frame("undone", "4") + frame("stopped", "died"), [], "").outputs) == [1]
    assert list(outputs.understood(said + frame("begin", "9" * 9), [], "").outputs) == [1, 4]


def test_frames_after_one_that_makes_no_sense_are_not_read():
    said = frame("ready", "-") + frame("recording", "answer", b"1") + b"rubbish\n" + frame("recording", "answer", b"2")
    execution = outputs.understood(said, ["answer"], "")
    assert execution.recordings == {"answer": b"1"} and execution.stopped


def test_nothing_that_a_browser_would_run_is_kept():
    script = "<script>alert(1)</script>"
    kept = outputs.cleaned([
        {"output_type": "display_data", "metadata": {"image/png": {"alt": script}}, "data": {
            "text/html": script, "application/javascript": "alert(1)", "image/svg+xml": script, "text/latex": script,
            "text/markdown": script, "image/png": script, "application/vnd.jupyter.widget-view+json": {},
        }},
        {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=", "text/plain": "a picture"}},
        {"output_type": script}, {"output_type": "stream", "name": script, "text": "text"},
    ])  # fmt: skip
    assert "script" not in json.dumps(kept) and "alert" not in json.dumps(kept)
    assert kept[1]["data"] == {"image/png": "iVBORw0KGgo=", "text/plain": "a picture"}
    assert [output["output_type"] for output in kept] == ["display_data", "display_data", "stream"]


# -- the parent


def test_it_ends_with_the_grader_even_if_that_is_killed_and_leaves_no_file(tmp_path):
    script = """
        import nbformat
        from kdcourse.marking.sandbox import Limits, run
        cell = nbformat.v4.new_code_cell("import time; time.sleep(60)")
        text = nbformat.writes(nbformat.v4.new_notebook(cells=[cell]))
        run(text, {}, names=[], environment={}, limits=Limits())
    """
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    grader = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], env=environment)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        family = psutil.Process(grader.pid).children(recursive=True)
        if any("ipykernel_launcher" in " ".join(one.cmdline()) for one in family if one.is_running()):
            break
        time.sleep(0.1)
    assert len(family) >= 3
    grader.kill()
    grader.wait()
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert list(tmp_path.rglob("*")) == []


def test_what_a_killed_grader_left_without_walls_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    for name in (f"kdcourse-{ended.pid}-left", f"kdcourse-{os.getpid()}-used", "kdcourse-notes-mine"):
        (tmp_path / name).mkdir()
    with sandbox._folder() as folder:
        assert folder.is_relative_to(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"kdcourse-{os.getpid()}-used", "kdcourse-notes-mine"}


# -- files that hide modules


@pytest.mark.parametrize("file, module", [
    ("files/torch.py", "torch"), ("files/numpy/__init__.py", "numpy"), ("files/safetensors.abi3.so", "safetensors"),
    ("files/kdcourse/__init__.py", None), ("files/json.py", None), ("files/mine.py", None), ("files/torch.txt", None),
    ("files/torch", None),
    ("files/numpy/core.py", None), ("files/deep/torch.py", None), ("package/torch/random.py", None),
    ("files/torch.py.ipynb", None), ("files/tor ch.py", None),
])  # fmt: skip
def test_a_file_that_hides_a_module_is_known(file, module):
    found = hidden([file, "package/kdcourse/core.py"])
    assert list(found.values()) == ([module] if module else [])


def test_a_module_beside_the_notebook_can_be_imported_and_hides_what_is_installed_but_no_more():
    """As in any kernel: `hidden` knows the order in which it looks."""
    names = ("helper", "safetensors", "json", "own")
    files = {f"files/{name}.py": b"where = 'beside'" for name in names} | {"package/own/__init__.py": b""}
    found = [f"import {name}; getattr({name}, 'where', 'elsewhere')" for name in names]
    execution = run(*found, files=files)
    assert [shown(execution, index) for index in range(4)] == ["'beside'", "'beside'", "'elsewhere'", "'elsewhere'"]
    assert list(hidden(files).values()) == ["safetensors"]


def test_nothing_that_lies_beside_a_notebook_runs_before_its_first_cell():
    """So that whatever it does, a verdict can be reached."""
    ends = b"import os; os._exit(3)"
    names = ("torch.py", "ipykernel_launcher.py", "pkgutil.py", "ipython_kernel_config.py", "sitecustomize.py",
             "usercustomize.py", "debugpy.py", "comm/__init__.py", "matplotlib_inline/__init__.py", "IPython.py")
    files = {f"files/{name}": ends for name in names}
    execution = run("1 + 1", "import torch", "2 + 2", files=files, warm="import torch")
    assert (shown(execution), 2 in execution.outputs) == ("2", False) and "process ended" in execution.stopped


def test_a_run_can_be_called_off():
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(sandbox.SandboxError, match="interrupted"):
        run("import time; time.sleep(60)", stop=stop)
    assert time.monotonic() - began < 5


def test_what_cannot_be_started_is_not_the_students_fault(monkeypatch):
    monkeypatch.setattr(walls, "INSIDE", Path(walls.__file__).with_name("base.py"))
    with pytest.raises(sandbox.SandboxError, match="could not be started"):
        run("1")


def test_without_bubblewrap_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(walls.shutil, "which", lambda name: None)
    assert "apt install bubblewrap" in sandbox.unavailable()
    monkeypatch.setattr(walls.sys, "platform", "darwin")
    assert "only Linux" in sandbox.unavailable()
