"""Keeps what submissions did in the sandbox, so that none runs twice: a folder each, named by a hash of what matters.

What a notebook does depends on its cells, the files beside it, the package that it imports, the limits, and the seed.
The seed depends on a secret of this course folder and on the submission: nobody knows it before, a repetition finds it.
"""

import contextlib
import functools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from kdcourse.files import write
from kdcourse.marking import sandbox
from kdcourse.marking.grade.base import Place, digest, files, unpacked
from kdcourse.marking.record import Verdict
from kdcourse.marking.sandbox import Execution, Limits

PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Kept:
    """An execution on disk: its folder holds `name.safetensors` for each recording."""

    folder: Path
    seed: int

    def load(self) -> Execution | None:
        """The execution without its recordings, which are judged where they lie; None if there is none."""
        try:
            found = json.loads((self.folder / "outputs.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Execution({int(index): outputs for index, outputs in found["outputs"].items()}, {}, found["stopped"])

    def save(self, execution: Execution) -> None:
        """Put it there, whole or not at all. What another thread has put there meanwhile stays: it is the same."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=".partial-"))
        for name, content in execution.recordings.items():
            write(partial / f"{name}.safetensors", content)
        content = {"outputs": execution.outputs, "stopped": execution.stopped}
        write(partial / "outputs.json", json.dumps(content, indent=1, sort_keys=True))
        try:
            os.rename(partial, self.folder)
        except OSError:
            shutil.rmtree(partial)
            if not self.folder.exists():
                raise

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Turns:
    """Runs go on side by side, or one of them alone."""

    def __init__(self):
        self.changed, self.running, self.alone = threading.Condition(), 0, False

    @contextlib.contextmanager
    def turn(self, alone: bool = False) -> Iterator[None]:
        """Wait until one may run; who wants to be alone comes before those that have not begun."""
        with self.changed:
            self.changed.wait_for(lambda: not self.alone)
            self.alone, self.running = alone, self.running + 1
            self.changed.wait_for(lambda: not alone or self.running == 1)
        try:
            yield
        finally:
            with self.changed:
                self.alone, self.running = self.alone and not alone, self.running - 1
                self.changed.notify_all()


@dataclass
class Grading:
    """All that grading one assignment needs to know, and how a submission of it is run."""

    place: Place
    checks: ModuleType
    limits: Limits = field(default_factory=Limits)
    unsafe: bool = False
    package: Path = PACKAGE
    stop: threading.Event = field(default_factory=threading.Event)
    people: tuple[str, ...] = ()  # the students of the roster
    stay: dict[str, dict[str, Verdict]] = field(default_factory=dict)  # by student: verdicts that are not reached anew
    turns: Turns = field(default_factory=Turns)

    def __deepcopy__(self, memo: dict) -> "Grading":
        return self  # nbgrader copies its configuration, which holds this

    @functools.cached_property
    def modules(self) -> dict[str, bytes]:
        """What a submission may import of the package; read once, so that all of a class meet the same."""
        found = files(self.package, self.checks.SANDBOX)
        return {f"package/{self.package.name}/{name}": path.read_bytes() for name, path in found.items()}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.checks.ASSIGNMENTS[self.place.assignment])

    def kept(self, student: str) -> Kept:
        """Where the execution of a student's submission is, or will be."""
        notebook = json.loads(self.place.notebook("submitted", student).read_text(encoding="utf-8"))
        code = [(cell["source"], cell["metadata"].get("nbgrader", {}).get("grade_id"))
                for cell in notebook["cells"] if cell["cell_type"] == "code"]  # fmt: skip
        beside = [part for name, content in self.beside(student).items() for part in (name, content)]
        modules = [part for name, content in self.modules.items() for part in (name, content)]
        programs = (sandbox.INSIDE.read_bytes(), sandbox.RUNNER.read_bytes())
        run = digest(*programs, repr(self.limits), str(self.unsafe), *modules)
        key = digest(json.dumps(code), run, *beside)
        seed = int(digest(self.place.secret(), key)[:8], 16) % 2**31
        return Kept(self.place.cache / "executions" / digest(key, str(seed))[:32], seed)  # of another seed: another one

    def execution(self, student: str) -> Execution:
        """What a student's submission does: as kept, or by running it now."""
        text = self.place.notebook("submitted", student).read_text(encoding="utf-8")
        if json.loads(text)["metadata"].get("kdcourse", {}).get("rejected"):
            return Execution()
        kept = self.kept(student)
        if kept.load() is None:
            beside = {f"files/{name}": content for name, content in self.beside(student).items()}
            with self.turns.turn():
                execution = self._run(text, beside, kept.seed)
            if sandbox.doubtful(execution):  # by itself, perhaps: believed if it ends so with the machine for itself
                with self.turns.turn(alone=True):
                    execution = self._run(text, beside, kept.seed)
            kept.save(execution)
        return kept.load()

    def _run(self, text: str, beside: dict[str, bytes], seed: int) -> Execution:
        """Run a notebook. If it cannot even be started, and one without the files beside it can, they are to blame."""
        run = functools.partial(
            sandbox.run, names=self.names, limits=self.limits, environment={"KDCOURSE_GRADING_SEED": str(seed)},
            warm=self.checks.WARM, hide=[self.package] if sandbox.seen(self.package) else [], unsafe=self.unsafe,
            stop=self.stop,
        )  # fmt: skip
        try:
            return run(text, beside | self.modules)
        except sandbox.SandboxError:
            given = files(self.place.step("release"))
            own = [name for name in (path.removeprefix("files/") for path in beside) if name not in given]
            if self.stop.is_set() or not own:
                raise
            run(json.dumps({**json.loads(text), "cells": []}), self.modules)
            return Execution(stopped=f"Python ends before the first cell with these beside it: {', '.join(own[:9])}")

    def beside(self, student: str) -> dict[str, bytes]:
        """The files that the notebook finds beside it: the student's, and over them the assignment's."""
        steps = (self.place.step("submitted", student), self.place.step("release"))
        put, given = ({name: path.read_bytes() for name, path in files(step).items()} for step in steps)
        found = put | unpacked(self.place.beside(student)) | given
        return {name: content for name, content in sorted(found.items())
                if name != "timestamp.txt" and not name.endswith(".ipynb")}  # fmt: skip
