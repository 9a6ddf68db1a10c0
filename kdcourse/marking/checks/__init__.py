"""The checks of the exercises: `checks.distillation_loss(distillation_loss)` asks an answer and says what is wrong.

This is the asking half. At home the judging half (`kdcourse.marking.judges`) is called at once. Where answers are
graded it does not exist: there `KDCOURSE_RECORD` names a folder, what the answer returned is written to it, and `judge`
reads it elsewhere.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from kdcourse.marking import record as recording
from kdcourse.marking.checks import experiments, loops, losses, networks
from kdcourse.marking.record import CheckFailed as CheckFailed
from kdcourse.marking.record import Record, Verdict, Wrong, clean

# what the exercises and the asking half need of the package; nothing else of it is there when answers are graded
SANDBOX = ("__init__.py", "core.py", "profiles.py", "files.py", "metrics.py", "data", "viz",
           "marking/__init__.py", "marking/record.py", "marking/checks")


def is_there(module: str, names: Sequence[str] = SANDBOX) -> bool:
    """Whether a module (`kdcourse.data.base`) can be imported beside a submission: one that `names` has, or one below
    it; of a folder that is there for the sake of others (its `__init__.py` is named), only the folder itself."""
    inside = module.partition(".")[2].replace(".", "/")
    return any(f"{inside}/".lstrip("/") == name.removesuffix("__init__.py") if name.endswith("__init__.py")
               else f"{inside}/".startswith(f"{name.removesuffix('.py')}/") for name in names)


class Check:
    """One question that is graded automatically: draws inputs from a seed, and asks an answer about them."""

    def __init__(self, draw, ask):
        self.name, self.draw, self.ask = ask.__name__.removeprefix("ask_"), draw, ask

    def __call__(self, *answers) -> None:
        """Ask now. At home: prints one line, or raises CheckFailed with what is wrong. Graded: records."""
        if folder := os.environ.get("KDCOURSE_RECORD"):
            record = self.record(int(os.environ["KDCOURSE_GRADING_SEED"]), *answers)
            recording.write(record, Path(folder) / f"{self.name}.safetensors")
            print(f"{self.name}: recorded")
            return
        seed = secrets.randbelow(2**31)
        verdict = self.verdict(seed, self.record(seed, *answers))
        if verdict.share < 1:
            raise CheckFailed(f"{self.name}: {verdict.message}")
        print(f"{self.name}: right")

    def record(self, seed: int, *answers) -> Record:
        """What these answers do on the inputs of that seed."""
        return self.ask(self.draw(seed), *answers)

    def verdict(self, seed: int, record: Record) -> Verdict:
        """What the judging half says of a record made with that seed."""
        from kdcourse.marking.judges import JUDGES

        try:
            return JUDGES[self.name](self.draw(seed), record)
        except Wrong as wrong:
            return Verdict(0.0, str(wrong))
        except Exception as error:  # a forged record may be anything; it earns nothing and harms nobody
            return Verdict(0.0, f"what was recorded is no answer to this question ({clean(type(error).__name__)}).")


teacher_network = Check(networks.draw_network, networks.ask_teacher_network)
student_network = Check(networks.draw_network, networks.ask_student_network)
teacher_loss = Check(losses.draw_losses, losses.ask_teacher_loss)
distillation_loss = Check(losses.draw_losses, losses.ask_distillation_loss)
combined_loss = Check(losses.draw_losses, losses.ask_combined_loss)
train = Check(loops.draw_training, loops.ask_train)
evaluate = Check(loops.draw_evaluation, loops.ask_evaluate)
trained_pair = Check(experiments.draw_nothing, experiments.ask_trained_pair)
temperature_curve = Check(experiments.draw_experiment, experiments.ask_temperature_curve)
student_alone = Check(experiments.draw_experiment, experiments.ask_student_alone)
count_parameters = Check(networks.draw_counting, networks.ask_count_parameters)
count_multiply_adds = Check(networks.draw_counting, networks.ask_count_multiply_adds)
stopped_teachers = Check(experiments.draw_stops, experiments.ask_stopped_teachers)
stopped_distillation = Check(loops.draw_training, loops.ask_stopped_distillation)

ASSIGNMENTS = {
    "01_vanilla_kd": (
        "teacher_network", "student_network", "teacher_loss", "distillation_loss", "combined_loss", "train", "evaluate",
        "trained_pair", "temperature_curve", "student_alone", "count_parameters", "count_multiply_adds",
        "stopped_teachers", "stopped_distillation",
    ),
}


def judge(name: str, path: Path, seed: int) -> Verdict:
    """The verdict about the recording at `path`, which may be any file or none. Raises ValueError for an unknown check.

    Executes nothing that the file says, and never raises because of it.
    """
    check = globals().get(name)
    if not isinstance(check, Check):
        raise ValueError(f"unknown check {name!r}; choose one of: {', '.join(sum(ASSIGNMENTS.values(), ()))}")
    try:
        return check.verdict(seed, recording.read(Path(path)))
    except Wrong as wrong:
        return Verdict(0.0, str(wrong))
