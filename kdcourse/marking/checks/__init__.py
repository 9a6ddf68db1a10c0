"""The checks of the exercises: `checks.distillation_loss(distillation_loss)` asks an answer and says what is wrong.

This is the asking half. At home the judging half (`kdcourse.marking.judges`) is called at once. Where answers are
graded it does not exist: there `KDCOURSE_RECORD` names a folder, what the answer returned is written to it, and `judge`
reads it elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path

from kdcourse import compiler
from kdcourse.core import modules
from kdcourse.marking import record as recording
from kdcourse.marking.checks.base import Check
from kdcourse.marking.record import CheckFailed as CheckFailed
from kdcourse.marking.record import Verdict, Wrong

# what the exercises and the asking half need of the package; nothing else of it is there when answers are graded
SANDBOX = ("__init__.py", "compiler.py", "core.py", "profiles.py", "files.py", "asking.py", "metrics.py", "data",
           "viz", "marking/__init__.py", "marking/record.py", "marking/checks")
# What a kernel runs before the first cell, on nobody's time: what nearly every notebook begins with, and two bounds.
# Workers of a data loader: each is a process, made anew in every epoch, of one that holds all of torch: on the one core
# that a submission has, eight of them cost forty times what the epoch itself does. Batches of a dataset that is asked
# by index do not depend on their number; an IterableDataset may share itself out among them, and keeps its own.
# And torch's compiler only for whoever compiles.
WARM = """
import torch.utils.data
torch.utils.data.DataLoader.num_workers = property(
    lambda self: vars(self)["num_workers"] if isinstance(self.dataset, torch.utils.data.IterableDataset)
    else min(vars(self)["num_workers"], 1),
    lambda self, number: vars(self).update(num_workers=number))

""" + Path(compiler.__file__).read_text(encoding="utf-8") + "\n\non_demand()\n"


def is_there(module: str, names: Sequence[str] = SANDBOX) -> bool:
    """Whether a module (`kdcourse.data.base`) can be imported beside a submission: one that `names` has, or one below
    it; of a folder that is there for the sake of others (its `__init__.py` is named), only the folder itself."""
    inside = module.partition(".")[2].replace(".", "/")
    return any(f"{inside}/".lstrip("/") == name.removesuffix("__init__.py") if name.endswith("__init__.py")
               else f"{inside}/".startswith(f"{name.removesuffix('.py')}/") for name in names)


def _named(module) -> dict[str, Check]:
    """The checks of an assignment or a lesson, which are called as they are called there."""
    found = {name: check for name, check in vars(module).items() if isinstance(check, Check)}
    for name, check in found.items():
        check.name = name
    return found


_OF_ASSIGNMENTS = {module.__name__.rpartition(".a")[2]: _named(module) for module in modules(__name__, r"a\d\d_\w+")}
_OF_LESSONS = [_named(module) for module in modules(__name__, r"lesson_\d\d")]
ASSIGNMENTS = {name: tuple(found) for name, found in _OF_ASSIGNMENTS.items()}
LESSONS = tuple(name for found in _OF_LESSONS for name in found)
CHECKS: dict[str, Check] = {}
for found in (*_OF_ASSIGNMENTS.values(), *_OF_LESSONS):
    if twice := CHECKS.keys() & found.keys():
        raise ValueError(f"two modules of {__name__} have a check of the name {min(twice)!r}: rename one of them")
    CHECKS.update(found)
globals().update(CHECKS)


def judge(name: str, path: Path, seed: int) -> Verdict:
    """The verdict about the recording at `path`, which may be any file or none. Raises ValueError for an unknown check.

    Executes nothing that the file says, and never raises because of it.
    """
    if name not in CHECKS:
        raise ValueError(f"unknown check {name!r}; choose one of: {', '.join(sum(ASSIGNMENTS.values(), ()))}")
    try:
        return CHECKS[name].verdict(seed, recording.read(Path(path)))
    except Wrong as wrong:
        return Verdict(0.0, str(wrong))
