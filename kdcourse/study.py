"""A comparison that a lesson trains before the reader's eyes, in seconds; and the recorded ones, too long for a lesson.

`paired` gives the same students several lessons from the same seeds; `recorded` reads a result file of `benchmarks/`.
Not here: the papers' tables, which train for days (`studies`), and a comparison of the reader's own (`plan`); the
command `kdcourse study` is for those two.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from torch import nn

from kdcourse import metrics
from kdcourse.core import Choices
from kdcourse.files import write
from kdcourse.sweep import sweep


@dataclass(frozen=True)
class Paired:
    """What `paired` measured. `accuracy[name]` are the test accuracies in [0, 1] of the students that had the lesson of
    that name, one for each of `seeds`, in their order. `rows[name]` are the epochs of its first student.

    `networks[name]` are the trained students, in the order of the seeds.
    """

    seeds: tuple[int, ...]
    images: int
    accuracy: dict[str, list[float]]
    rows: dict[str, list[dict]] = field(repr=False)
    networks: dict[str, list[nn.Module]] = field(repr=False)

    def against(self, baseline: str, *, margin: float = 0.01) -> dict[str, metrics.Comparison]:
        """Every other lesson compared with `baseline`, seed by seed, as one family (`metrics.family`)."""
        theirs = Choices("lesson", self.accuracy)[baseline]
        pairs = {name: (ours, theirs) for name, ours in self.accuracy.items() if name != baseline}
        return metrics.family(pairs, images=self.images, margin=margin)

    def compare(self, ours: str, baseline: str, *, margin: float = 0.01) -> metrics.Comparison:
        """One lesson against another, seed by seed."""
        accuracy = Choices("lesson", self.accuracy)
        return metrics.compare(accuracy[ours], accuracy[baseline], images=self.images, margin=margin)


def paired(student: Callable[[int], nn.Module], lessons: Mapping[str, Callable[[nn.Module], nn.Module]], source, *,
           seeds: Sequence[int], epochs: int, lr: float, **training) -> Paired:
    """Train `student(seed)` afresh under every lesson for every seed, and test what is deployed of each once, after its
    last epoch.

    A lesson makes a distiller of a student: `{"hard labels": Supervised, "KD": lambda s: KD(s, bank, T=2)}`. A seed
    has the same first weights and the same order of images in every lesson, so that differences are paired. `training`
    goes to `sweep.sweep` (`batch_size`, `augment`, `optimizer`, ...), which batches small students.

    Raises ValueError when there is no lesson or the seeds are fewer than two, equal, or no numbers; and what
    `sweep.sweep` raises. Whatever stops the training: the exception has the lessons before it as `lessons`, a `Paired`,
    and the rows of the finished students of its own lesson as `finished`. Introduced in notebook 01.
    """
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds are a list, seeds=range({seeds!r}) for so many of them; given: {seeds!r}")
    seeds = tuple(seeds)
    if not isinstance(lessons, Mapping):
        raise TypeError('lessons are a dict, what makes a distiller of a student by name: {"hard labels": '
                        f"distillers.Supervised, ...}}; not a {type(lessons).__name__}")
    if not lessons:
        raise ValueError('a study needs a lesson at least: {"hard labels": distillers.Supervised, ...}')
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise ValueError(f"a study needs two seeds at least, each once; given {list(seeds)}: say range(5)")
    accuracy, rows, networks = {}, {}, {}
    for name, make in lessons.items():
        networks[name] = trained = []

        def kept(network, trained=trained):
            trained.append(network)
            return {}

        try:
            found = sweep(student, make, {}, source, seeds=seeds, epochs=epochs, lr=lr, history=True, judge=kept,
                          **training)
        except BaseException as stopped:
            del networks[name]
            stopped.lessons = Paired(seeds, len(source.test), accuracy, rows, networks)
            if rows:
                stopped.add_note(f"stopped in the lesson {name!r}: those before it are in the exception's `lessons`")
            raise
        accuracy[name] = [metrics.accuracy(metrics.predict(network, source.test), source.test.y) for network in trained]
        rows[name] = [row for row in found if row["seed"] == seeds[0]]
    return Paired(seeds, len(source.test), accuracy, rows, networks)


def recorded(name: str) -> dict:
    """The result file of that name, as a benchmark wrote it: `results`, and with them `seeds`, `settings`, `commit`,
    `versions` and `hardware`. What was measured outside a lesson and is shown in it comes from here.

    Raises ValueError for an unknown name, naming the choices.
    """
    known = {path.name.removesuffix(".json"): path for path in _results().iterdir() if path.name.endswith(".json")}
    return json.loads(Choices("result file", known)[name].read_text(encoding="utf-8"))


def _results():
    """The folder of the result files: beside the package in a checkout of the course, in it where it was installed."""
    beside = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
    return beside if beside.is_dir() else files("kdcourse") / "results"


def kept(path: Path | None, key: str, settings: dict, measure: Callable[[], dict]) -> dict:
    """What `measure()` returned under that key when it was first called with these settings: a long study that was
    interrupted goes on where it stopped. Without a `path` it is measured and not kept.

    Raises ValueError when the file was written with other settings, or cannot be read.
    """
    settings = json.loads(json.dumps(settings))
    if path is None:
        return measure()
    if key not in (rows := _kept(path, settings)):
        measured = measure()
        rows = _kept(path, settings)  # again: another notebook may have kept something meanwhile
        rows.setdefault(key, measured)
        write(path, json.dumps({"settings": settings, "rows": rows}))
    return rows[key]


def _kept(path: Path, settings: dict) -> dict:
    """What the file holds, by key; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows, known = content["rows"], content["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it, and all is measured anew, or put a copy in "
                         "its place") from error
    if known != settings:
        raise ValueError(f"{path.name} was measured with other settings: rename its folder, or choose another folder")
    return rows
