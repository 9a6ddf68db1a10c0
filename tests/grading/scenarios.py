"""Hand-ins of every kind, honest and not, each with the points that it deserves and words that its message has."""

import copy
import json
from typing import NamedTuple

from grading.course import DOUBLE, answered, cell, own


class Case(NamedTuple):
    hand_in: dict | str  # a notebook, or the text of a file
    double: float = 2.0
    norm: float = 3.0
    says: tuple[str, ...] = ()  # in the notes or messages about this student
    file: str = ""  # the name of the file, if not the student's


def changed(notebook: dict, name: str, **changes) -> dict:
    notebook = copy.deepcopy(notebook)
    cell(notebook, name).update(changes)
    return notebook


def cases(release: dict) -> dict[str, Case]:
    """By student. `release` is what students got."""
    right = answered(release)
    return {**honest(release, right), **careless(release, right), **hungry(release), **hostile(release, right),
            **uncounted(release)}  # fmt: skip


def honest(release: dict, right: dict) -> dict[str, Case]:
    noisy = "import sys, warnings\ndef double(x):\n    warnings.warn('old')\n    print(7, file=sys.stderr)\n"
    noisy += "    return 2 * x"
    half = "def double(x):\n    return 2 * x.real"
    bad = "def double(x):\n    return x"
    older = {
        **right,
        "metadata": {"kernelspec": {"name": "my-own-kernel", "display_name": "Mine", "language": "python"}},
    }
    return {
        "perfect": Case(right),
        "stub": Case(release, 0, 0, ("NotImplementedError",)),
        "blank": Case({**release, "cells": []}, 0, 0, ("none of the assignment's cells",)),
        "half-right": Case(answered(release, double=half), double=1, says=("no gradient",)),
        "wrong": Case(answered(release, double=bad), double=0, says=("double of x is wrong",)),
        "no-syntax": Case(answered(release, norm="def norm(x:\n  return"), norm=0, says=("NameError",)),
        "warning": Case(answered(release, double=noisy)),
        "kernel": Case(older),
        "reads-its-file": Case(answered(release, before="assert open('hint.txt').read().startswith('a file')")),
        "Zoë Müller 🎓": Case(right),
        "format3": Case({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": []}]}, 0, 0,
                        ("none of the assignment's cells",)),
    }  # fmt: skip


def careless(release: dict, right: dict) -> dict[str, Case]:
    deleted, twice, split, unmarked, moved = (copy.deepcopy(right) for _ in range(5))
    deleted["cells"] = [one for one in right["cells"] if one["id"] not in ("setup", "double", "norm", "why")]
    twice["cells"].insert(
        2, {**copy.deepcopy(cell(right, "double-answer")), "id": "copy", "source": "def double(x):\n    return 1"}
    )
    twice["cells"].append({**copy.deepcopy(cell(right, "double")), "id": "again"})
    index = split["cells"].index(cell(split, "double"))
    split["cells"][index : index + 1] = [
        {**cell(split, "double"), "id": f"part{n}", "source": text}
        for n, text in enumerate(("checks.", "double(double)"))
    ]
    parts = [{**cell(split, "why"), "id": f"why{n}", "source": text} for n, text in enumerate(("First.", "Second."))]
    index = split["cells"].index(cell(split, "why"))
    split["cells"][index : index + 1] = parts
    for one in unmarked["cells"]:
        one["metadata"] = {}
    moved["cells"] = [one for one in right["cells"] if one["id"] not in ("double-answer", "double")]
    moved["cells"].insert(2, own(DOUBLE))
    tampered = changed(right, "double", source="'checks.double'; 2")
    cell(tampered, "norm")["metadata"]["nbgrader"].update(points=100, grade=True, locked=False)
    cell(tampered, "why")["metadata"]["nbgrader"].update(points=50)
    broken = changed(
        right, "double", metadata={"nbgrader": {"grade_id": "double", "schema_version": 99, "points": "many"}}
    )
    cell(broken, "norm")["metadata"]["nbgrader"]["grade_id"] = ["norm"]
    return {
        "deleted": Case(deleted, says=("setup was deleted", "norm was deleted", "why was deleted")),
        "twice": Case(twice, double=2, says=("double-answer is there 2 times",)),
        "split": Case(split, says=("double is there 2 times", "why is there 2 times: the parts were joined")),
        "unmarked": Case(unmarked),
        "moved": Case(moved, says=("double was deleted",)),
        "tampered": Case(tampered, says=("double was changed: it is not the student's to change",)),
        "broken": Case(broken),
        "note": Case("I could not finish, sorry.", 0, 0, ("not a notebook",)),
        "nothing": Case("", 0, 0, ("empty",)),
        "essay": Case("Knowledge distillation is", 0, 0, ("not a notebook",), "essay.docx"),
        "other": Case({**right, "cells": [own("1 + 1")]}, 0, 0, ("another notebook",)),
        "strange": Case(json.dumps({"nbformat": 4, "cells": [None, 7, {"cell_type": "code"}, {"source": []},
                        *right["cells"]], "metadata": []})),
    }  # fmt: skip


def hungry(release: dict) -> dict[str, Case]:
    def norm(source: str) -> dict:
        body = "\n    ".join(source.splitlines())
        return answered(release, norm=f"def norm(x):\n    {body}\n    return (x**2).sum() ** 0.5")

    fork = "import os\nwhile True:\n    os.fork()"
    too_long = "this cell ran past"
    return {
        "endless": Case(norm("while True: pass"), norm=0, says=(too_long,)),
        "sleeps": Case(answered(release, before="import time; time.sleep(60)"), says=(too_long,)),
        "stubborn": Case(norm("import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"), norm=0,
                         says=("could not be interrupted",)),
        "memory": Case(norm("bomb = [0] * 10**10"), norm=0, says=("MemoryError",)),
        "shared": Case(norm("import mmap\nbomb = mmap.mmap(-1, 2**32)\nwhile True: bomb.write(bytes(2**26))"), norm=0,
                       says=("memory",)),
        "forks": Case(norm(fork), norm=0),
        "disk": Case(norm("for n in range(99): open(f'/tmp/{n}', 'wb').write(bytes(2**20))"), 2, 0, ("No space",)),
        "chatty": Case(answered(release, before="for _ in range(100): print('x' * 2**20)")),
        "dies": Case(norm("import os; os.kill(os.getpid(), 9)"), norm=0, says=("process ended",)),
    }  # fmt: skip


def hostile(release: dict, right: dict) -> dict[str, Case]:
    everything = """
class Everything(float):
    __eq__ = __ge__ = __le__ = __gt__ = __lt__ = __bool__ = __contains__ = lambda self, *other: True
    __hash__ = None
    def __getattr__(self, name): return self
    def __call__(self, *given, **named): return self
def double(x):
    return Everything()
"""
    cheat = "def {name}(x):\n    return 0 * x"
    wrong = {"double": cheat.format(name="double"), "norm": cheat.format(name="norm")}
    look = """
import glob, os
for root in ("/", "/work", "/home", "/root", "/tmp", "/given", "/opt", os.getcwd(), ".."):
    for path in glob.glob(root + "/**/*", recursive=True) if root not in ("/",) else []:
        if path.endswith((".ipynb", ".db", ".csv")) and "/site-packages/" not in path:
            print(path)
            print(open(path).read())
print(open(os.path.dirname(checks.__file__) + "/judging.py").read())
"""
    forge = """
import os
from safetensors.numpy import save_file
for name in ("double", "norm"):
    save_file({"y": np.zeros(5)}, os.environ["KDCOURSE_RECORD"] + f"/{name}.safetensors")
    os.chmod(os.environ["KDCOURSE_RECORD"] + f"/{name}.safetensors", 0o400)
checks.double = checks.norm = lambda answer: 3
"""
    pickled = """
import os, pickle
class Boom:
    def __reduce__(self): return os.system, ("touch /tmp/owned-by-a-recording",)
for name in ("double", "norm"):
    open(os.environ["KDCOURSE_RECORD"] + f"/{name}.safetensors", "wb").write(pickle.dumps(Boom()))
checks.double = checks.norm = lambda answer: 3
"""
    patch = """
import builtins, sys, types
np.allclose = np.array_equal = lambda *given, **named: True
builtins.isinstance = lambda *given: True
builtins.all = builtins.any = lambda *given: True
for module in ("checks", "judging"):
    sys.modules["pocket." + module] = types.SimpleNamespace(
        double=lambda answer: 2.0, norm=lambda answer: 3.0, judge=lambda *given: (1.0, "right"))
checks = sys.modules["pocket.checks"]
"""
    marked = changed(
        answered(release, **wrong),
        "why",
        source="<script>alert('owned')</script>"
        "<img src=x onerror=alert('owned')> [click](javascript:alert('owned')) $\\href{javascript:alert('owned')}{x}$",
    )
    above = answered(release, **wrong, before="checks.double = lambda f: 1000.0")
    page = "from IPython.display import *\ndisplay(HTML('<script>owned</script>'), Javascript('owned'))"
    frames = """
import os
for descriptor in range(3, 40):
    for process in ("2", "3", str(os.getppid())):
        try:
            with open(f"/proc/{process}/fd/{descriptor}", "wb") as pipe:
                pipe.write(b"recording double 4\\nabcdcell 3 2\\n[]end - 0\\n")
        except OSError:
            pass
"""
    return {
        "above": Case(above, 0, 0, ("nothing was recorded",)),
        "says-false": Case(answered(release, **wrong, before="checks.double = lambda f: False"), 0, 0),
        "prints-marks": Case(answered(release, double=f"print(2.0)\n{cheat.format(name='double')}"), 0),
        "equal": Case(answered(release, double=everything), 0),
        "looks": Case(answered(release, **wrong, before=look), 0, 0),
        "next-cells": Case(answered(release, **wrong, before="print(open('/given/notebook.ipynb').read())"), 0, 0),
        "book": Case(answered(release, **wrong, before="import sqlite3, glob\nfor path in ('/given/gradebook.db', "
                     "'/tmp/gradebook.db'): sqlite3.connect(path).execute('create table owned (x)')"), 0, 0),
        "socket": Case(answered(release, before="import socket; socket.create_connection(('1.1.1.1', 80), 2)")),
        "patches": Case(answered(release, **wrong, before=patch), 0, 0),
        "forges": Case(answered(release, **wrong, before=forge), 0, 0, ("double of x is wrong",)),
        "pickles": Case(answered(release, **wrong, before=pickled), 0, 0, ("cannot be read",)),
        "frames": Case(answered(release, **wrong, before=frames), 0, 0),
        "exits": Case(answered(release, norm="import os; os._exit(0)"), norm=0, says=("process ended",)),
        "markup": Case(marked, 0, 0),
        "html": Case(answered(release, before=page)),
        "=1+1": Case(right),
    }  # fmt: skip


def uncounted(release: dict) -> dict[str, Case]:
    """What takes from the machine, or a neighbour, what no limit of a single process counts; and what ends early."""
    def first(source: str) -> dict:
        return answered(release, before=source)

    busy = "import os, time\nfor _ in range(25):\n    if not os.fork():\n        while True: pass\ntime.sleep(60)"
    shared = "import os\nkept = [os.memfd_create('x') for _ in range(9)]\nfor one in kept: os.truncate(one, 2**28)"
    sockets = "import socket, time\nkept = [socket.socketpair() for _ in range(400)]\ntime.sleep(3)"
    empty = "import itertools, os\nfor n in itertools.count():\n    os.close(os.open(f'/tmp/home/work/{n}', 64))"
    loop = "import asyncio, os\nasyncio.get_event_loop().call_soon(os._exit, 0)"
    searching = ("import os\nfor place, _, names in [*os.walk('.'), *os.walk('/etc')]:\n    for name in names:\n"
                 "        try:\n            open(os.path.join(place, name), 'rb').read()\n"
                 "        except OSError:\n            pass")
    forgetful = answered(release)
    behind = forgetful["cells"].index(cell(forgetful, "double")) + 1
    forgetful["cells"].insert(behind, own("%reset -f\nimport numpy as np\nfrom pocket import checks"))
    forgetful["cells"].append(own("%reset -f"))
    return {
        "forgets": Case(forgetful),
        "searches": Case(first(searching)),
        "exits-politely": Case(first("exit()"), 0, 0, ("stopped in the cell that begins with 'exit()'", "did not run")),
        "exits-later": Case(first(loop), 0, 0, ("stopped in the cell that begins with 'import asyncio, os'",)),
        "raises-exit": Case(first("raise SystemExit")),
        "busy": Case(first(busy), says=("this cell ran past",)),
        "nameless-files": Case(first(shared)),
        "segments": Case(first("import ctypes\nctypes.CDLL(None).shmget(0, 2**30, 0o1600)")),
        "many-sockets": Case(first(sockets), 0, 0, ("begins with 'import socket, time'", "more than 512 sockets")),
        "many-files": Case(first(empty), 0, 0, ("begins with 'import itertools, os'", "more than 20000 files")),
    }  # fmt: skip


def why_of(name: str) -> float | None:
    """The score of the written answer before anybody has marked it: 0 if there is none, else open."""
    blank = ("stub", "blank", "format3", "deleted", "note", "nothing", "essay", "other")
    return 0.0 if name in blank else None
