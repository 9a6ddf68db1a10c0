"""What a study is: arms, each of which is trained from several seeds, and questions about pairs of them; and the folder
in which every finished training is one file.

A study is data: nothing here trains anything. `training.train` does one training, `runners` do many.
"""

import contextlib
import errno
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kdcourse import files

BUSY, DONE, OPEN = "busy", "done", "open"
PACKAGES = ("kdcourse", "torch", "torchvision", "transformers", "timm")


@dataclass(frozen=True)
class Arm:
    """What one training is made of, whatever its seed; all of it numbers, words, lists and dicts.

    `data`      `name`, one of `data.SOURCES`, and settings; `half`, "first" or "second", trains on that half of its
                training images, and `whole` on its validation images too
    `network`   `name` and settings, as `models.build` takes them; with `pretrained` they go to `models.pretrained`
    `lesson`    `method`, one of `training.LESSONS` or of `distillers.METHODS`, and its settings
    `training`  `epochs`, `batch_size`, `lr`, `schedule`; `optimizer`, a name in `torch.optim` and settings; `augment`,
                the settings of `data.Augment`, none without it
    `teacher`   the name of the arm whose network teaches. That arm is trained once, from seed 0, and keeps its weights
    """

    name: str
    data: Mapping
    network: Mapping
    lesson: Mapping
    training: Mapping
    teacher: str | None = None


@dataclass(frozen=True)
class Study:
    """Arms, the seeds that each is trained from, and `questions`: (ours, baseline) by the question in words.

    `source` says which tables it reproduces, or what it controls. `notes` say in what it is not the paper's.
    Raises ValueError when two arms have one name, or a question or an arm names one that there is not.
    """

    name: str
    source: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    questions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    margin: float = 0.01
    notes: str = ""

    def __post_init__(self):
        names = [arm.name for arm in self.arms]
        asked = [name for pair in self.questions.values() for name in pair]
        as_files = [Unit(self, arm, 0).name.lower() for arm in self.arms]
        if double := [name for name, file in zip(names, as_files, strict=True) if as_files.count(file) > 1]:
            raise ValueError(f"{self.name} has two arms whose files would have one name: {', '.join(double)}")
        if lost := sorted({*asked, *(arm.teacher for arm in self.arms if arm.teacher)} - set(names)):
            raise ValueError(f"{self.name} has no arm called {lost[0]!r}")

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def teachers(self) -> list[str]:
        """The names of the arms that teach others, those first that teach teachers."""
        needed = {arm.teacher for arm in self.arms if arm.teacher}
        return sorted(needed, key=lambda name: (self._depth(name), name))

    def units(self, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> list["Unit"]:
        """Its trainings, those of teachers first: all, or of the arms whose name holds one of the words of `only`, with
        what teaches them, and from these seeds. Raises ValueError for a word that no arm's name holds."""
        if lost := [word for word in only if not any(word in arm.name for arm in self.arms)]:
            raise ValueError(f"no arm of {self.name} has {lost[0]!r} in its name; they are: "
                             f"{', '.join(arm.name for arm in self.arms)}")
        chosen = [arm for arm in self.arms if not only or any(word in arm.name for word in only)]
        names = [arm.name for arm in chosen]
        for arm in chosen:  # it grows: a teacher's teacher is needed too
            if arm.teacher and arm.teacher not in names:
                names.append(arm.teacher)
                chosen.append(self.arm(arm.teacher))
        teachers = [name for name in self.teachers() if name in names]
        return [Unit(self, self.arm(name), 0) for name in teachers] + [
            Unit(self, arm, seed) for arm in chosen if arm.name not in teachers for seed in seeds or self.seeds]

    def _depth(self, name: str) -> int:
        teacher = self.arm(name).teacher
        return 0 if teacher is None else 1 + self._depth(teacher)


@dataclass(frozen=True)
class Unit:
    """One training: an arm of a study from a seed."""

    study: Study
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """Its file's name: letters, digits, dots and hyphens, so that every system takes it."""
        return f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.arm.name).strip('-')}-seed{self.seed}"

    @property
    def teacher(self) -> "Unit | None":
        return self.arm.teacher and Unit(self.study, self.study.arm(self.arm.teacher), 0)

    @property
    def teaches(self) -> bool:
        return self.seed == 0 and self.arm.name in self.study.teachers()

    def settings(self) -> dict:
        """Everything that its result depends on, that of its teacher included, as JSON has it."""
        taught = None if self.teacher is None else self.teacher.settings()
        return json.loads(json.dumps({**asdict(self.arm), "seed": self.seed, "teacher": taught}))


class Store:
    """The folder in which the finished trainings of a study are kept, one file each, whole or not at all.

    Several runners, on several machines if they see the folder, may work in it at once: what one has claimed, the
    others leave alone, and a claim ends with the process that made it. Raises ValueError, naming the file and the
    setting, where a file was written with other settings.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).absolute()  # a worker of a cluster was started elsewhere

    def path(self, unit: Unit) -> Path:
        return self.folder / f"{unit.name}.json"

    def weights(self, unit: Unit) -> Path:
        """Where the weights of a teacher are: written before its result, so that where that is, they are."""
        return self.folder / f"{unit.name}.safetensors"

    @property
    def answers(self) -> Path:
        """Where the recorded answers of teachers lie: they may be deleted, and are recorded again."""
        return self.folder / "answers"

    def read(self, unit: Unit) -> dict | None:
        """What was measured: None if it was not, yet."""
        path = self.path(unit)
        try:
            row, why = json.loads(path.read_text(encoding="utf-8")), "it holds no result"
        except FileNotFoundError:
            return None
        except ValueError as error:
            row, why = None, str(error)
        if not isinstance(row, dict) or not isinstance(row.get("result"), dict):
            raise ValueError(f"{path} is no result of a training ({why}): delete it")
        if different := _difference(row.get("settings"), unit.settings()):
            raise ValueError(f"{path} was trained with other settings: {different}. Choose another folder, or rename "
                             "this file")
        if unit.teaches and not self.weights(unit).is_file():
            raise ValueError(f"{path} is there and its weights, {self.weights(unit).name}, are not: delete it, and it "
                             "is trained again")
        return row

    def write(self, unit: Unit, result: Mapping, seconds: float) -> dict:
        """Keep what was measured, with everything that is needed to judge it and to measure it again."""
        row = {"study": unit.study.name, "arm": unit.arm.name, "seed": unit.seed, "result": dict(result),
               "settings": unit.settings(), "seconds": round(seconds, 3), **made_by()}
        files.write(self.path(unit), json.dumps(row, indent=1) + "\n")
        return row

    @contextmanager
    def claimed(self, unit: Unit) -> Iterator[bool]:
        """Inside, no other runner works on this training; gives False where another one does already."""
        place = self.folder / ".claims"
        place.mkdir(parents=True, exist_ok=True)
        with open(place / unit.name, "a+b") as file:
            mine = _lock(file)
            try:
                yield mine
            finally:
                if mine:
                    _unlock(file)

    def state(self, unit: Unit) -> str:
        """Whether it is done, being worked on, or open."""
        if self.read(unit) is not None:
            return DONE
        if not (self.folder / ".claims" / unit.name).exists():
            return OPEN
        with self.claimed(unit) as free:
            return OPEN if free else BUSY


def rehearsal(study: Study, network, source: Mapping, training: Mapping) -> Study:
    """The same study with small networks, `network(settings)` for each, few images and few epochs: every line of the
    real path runs. What the lessons are, and who teaches whom, stays."""
    arms = tuple(
        replace(arm, data={**source, **{key: arm.data[key] for key in ("half", "whole") if key in arm.data}},
                network=network(arm.network),
                training={**arm.training, **training}) for arm in study.arms)
    return replace(study, name=f"{study.name}_rehearsal", arms=arms)


def made_by() -> dict:
    """What made a result: when, the commit of the course, the versions, the machine, though not by its name."""
    import torch

    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"commit": _commit(), "versions": versions, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "hardware": {"machine": platform.machine(), "cpu": platform.processor() or platform.machine(),
                         "threads": torch.get_num_threads(), "gpu": gpu}}


def _commit() -> str | None:
    """The commit of the course, with a plus where the package was changed since; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True,
                              check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "kdcourse") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _difference(kept, wanted, where: str = "") -> str:
    """The first setting in which two differ, in words; empty if none."""
    if isinstance(kept, dict) and isinstance(wanted, dict):
        for key in sorted(kept.keys() | wanted.keys()):
            inside = f"{where}.{key}" if where else key
            if found := _difference(kept.get(key), wanted.get(key), inside):
                return found
        return ""
    return "" if kept == wanted and type(kept) is type(wanted) else f"{where or 'all'} was {kept!r}, and is {wanted!r}"


def _lock(file) -> bool:
    """Whether the file is ours now. The system takes it back when the process ends, however it ends. Raises OSError
    where the file system has no locks."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK):
            return False
        raise OSError(error.errno, f"two runners could not be told apart in {Path(file.name).parent}, whose file "
                      f"system has no locks ({error.strerror}): choose another --folder") from error
    return True


def _unlock(file) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
