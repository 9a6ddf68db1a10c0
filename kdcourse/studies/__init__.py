"""The papers' tables and their controls, which train for days: as data, and who runs them, `kdcourse study`.

`STUDIES[name]` is one. A study is many trainings, independent of each other but for their teachers, each of which
leaves one file; so it may be stopped, go on, run on several machines, and grow. Not here: a comparison that a lesson
trains in seconds (`study`), and one of the reader's own (`plan`).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from kdcourse import cost, metrics
from kdcourse.core import Choices
from kdcourse.studies import dist, halves, slkd
from kdcourse.studies.base import BUSY, DONE, OPEN, rehearsal
from kdcourse.studies.base import Arm as Arm
from kdcourse.studies.base import Store as Store
from kdcourse.studies.base import Study as Study
from kdcourse.studies.base import Unit as Unit
from kdcourse.studies.runners import cluster, serial
from kdcourse.studies.training import (
    answers_are_enough,
    build,
    facts,
    multiply_adds,
    seconds_of_a_step,
    seconds_of_an_answer,
    train,
)

STUDIES = Choices("study", {study.name: study for study in (
    dist.paper(), dist.controls(), slkd.paper(), slkd.controls(), halves.study())})
NARROW = {"resnet8x4": {"width": 8, "stem": 4}, "resnet32x4": {"width": 8, "stem": 4}, "resnet110": {"depth": 14},
          "resnet50": {"width": 4}, "wrn_40_1": {"depth": 10}, "wrn_40_2": {"depth": 10, "width": 1},
          "vgg8": {"width": 4}, "vgg11": {"width": 4}, "vgg13": {"width": 4}, "mobilenet_v2": {"width": 0.25},
          "shufflenet_v1": {"width": 0.25}, "shufflenet_v2": {"width": 8}, "lightnn": {},
          "vit": {"depth": 3, "width": 12, "heads": 3}}
RESULT = 20_000  # bytes that the file of a training takes, at most
GPU = 1e13       # multiply-adds a second, of a GPU that is fed well: an assumption, and the first to be replaced


def rehearsed(study: Study) -> Study:
    """The study with the same lessons, small networks, noise for images and one epoch: seconds instead of days."""
    return rehearsal(study, _small, {"name": "noise"}, {"epochs": 1, "batch_size": 8})


def plan(study: Study, units: Sequence[Unit], *, rate: float = GPU) -> str:
    """How many trainings, which teachers, how many hours by a timed step on this machine and by counting on a GPU that
    does `rate` multiply-adds a second, and how much disk."""
    found = Sums()
    for unit in units:
        found.add(unit)
    teachers = [unit.arm.name for unit in units if unit.teaches]
    arms = {unit.arm.name for unit in units}
    return "\n".join([
        f"{study.name}: {study.source}", f"{len(units)} trainings of {len(arms)} arms",
        f"teachers, trained first: {', '.join(teachers) or 'none'}",
        f"recorded answers that trainings share: {len(found.recordings)}",
        f"{found.hours:,.1f} hours on this machine, by one timed step of each kind",
        f"{found.counted / rate / 3600:,.1f} hours on a GPU, if it does {rate:.0e} multiply-adds a second: "
        f"{found.counted:.1e} are counted, and reading images is not",
        *(f"and {n} trainings or recordings whose time is not known here: {why}" for why, n in found.unknown.items()),
        f"{found.disk / 1e6:,.0f} MB on the disk", *([study.notes] if study.notes else [])])


class Sums:
    """What trainings cost together: `hours` here, `counted` multiply-adds, `disk` in bytes; `unknown`, how often for
    which reason nothing is known; and the `recordings`, each of which is made once for all that share it."""

    def __init__(self):
        self.hours, self.counted, self.disk, self.unknown = 0.0, 0, 0, defaultdict(int)
        self.recordings, self._known = set(), {}

    def add(self, unit: Unit) -> None:
        self.disk += RESULT + (4 * _parameters(unit) if unit.teaches else 0)
        self._sum(*self._of(unit, _step))
        key = json.dumps([unit.arm.teacher, dict(unit.arm.data), unit.arm.training.get("augment"),
                          unit.arm.training["epochs"]])
        if answers_are_enough(unit) and key not in self.recordings:
            self.recordings.add(key)
            self._sum(*self._of(unit, _recording))

    def _sum(self, seconds: float | str, counted: int, size: int) -> None:
        if isinstance(seconds, str):
            self.unknown[seconds] += 1
            return
        self.hours += seconds / 3600
        self.counted += counted
        self.disk += size

    def _of(self, unit: Unit, what) -> tuple:
        """Once for all seeds: nothing of it depends on them. The reason, where it cannot be told here."""
        key = str({**unit.settings(), "seed": 0, "name": "", "what": what.__name__})
        if key not in self._known:
            try:
                self._known[key] = what(unit)
            except Exception as error:  # its files are not on this machine, say: the others are timed all the same
                self._known[key] = str(error).partition("\n")[0], 0, 0
        return self._known[key]


def _step(unit: Unit) -> tuple[float, int, int]:
    """Seconds and multiply-adds of a whole training, without the recording of its teacher's answers, which alone takes
    bytes."""
    steps = -(-facts(unit.arm.data)[2] // unit.arm.training["batch_size"])
    return steps * unit.arm.training["epochs"] * seconds_of_a_step(unit), multiply_adds(unit), 0


def _recording(unit: Unit) -> tuple[float, int, int]:
    """Seconds, multiply-adds and bytes of a recording: a view for every epoch if there are views, else one."""
    shape, classes, images = facts(unit.arm.data)
    views = unit.arm.training["epochs"] if unit.arm.training.get("augment") else 1
    teacher = build(unit.teacher.arm.network, shape, [str(k) for k in range(classes)], 0)
    return (views * images * seconds_of_an_answer(unit), views * images * cost.multiply_adds(teacher, shape),
            2 * views * images * classes)


def run(study: Study, units: Sequence[Unit], folder: Path, *, workers: int | None = None, scheduler: str | None = None,
        tell=print) -> dict[str, str]:
    """Do these trainings, one after another or on workers (see `runners`). Returns why some failed, by name."""
    if workers is None and scheduler is None:
        return serial(units, Store(folder), train, tell=tell)
    return cluster(units, Store(folder), train, workers=workers, scheduler=scheduler, tell=tell)


def status(units: Sequence[Unit], folder: Path) -> dict[str, list[str]]:
    """The names of the trainings that are done, being worked on, and open."""
    found = {DONE: [], BUSY: [], OPEN: []}
    for unit in units:
        found[Store(folder).state(unit)].append(unit.name)
    return found


def report(study: Study, folder: Path) -> str:
    """What was measured so far, in Markdown: every arm with its seeds, and every question with difference, interval and
    verdict, all of them one family (`metrics.family`)."""
    rows = finished(study, folder)
    lines = [f"# {study.name}", "", f"{study.source}. {study.notes}", "",
             "| arm | n | top-1, % | top-5, % | seconds each |", "|---|---|---|---|---|"]
    for name, seeds in rows.items():
        if seeds:
            top1, top5 = (100 * _mean([row["result"][f"test_{key}"] for row in seeds.values()])
                          for key in ("top1", "top5"))
            lines.append(f"| {name} | {len(seeds)} | {top1:.2f} | {top5:.2f} | "
                         f"{_mean([row['seconds'] for row in seeds.values()]):.0f} |")
    lines += _unlike(rows)
    return "\n".join([*lines, "", "| question | ours - baseline | answer |", "|---|---|---|", *_answers(study, rows)])


def _unlike(rows: dict[str, dict[int, dict]]) -> list[str]:
    """A line for each circumstance that was not the same for all trainings, and how many each was for."""
    asked = {
        "precision": lambda row: row["result"].get("precision"), "device": lambda row: row["result"].get("device"),
        "GPU": lambda row: row.get("hardware", {}).get("gpu"), "commit": lambda row: (row.get("commit") or "none")[:12],
        "torch": lambda row: row.get("versions", {}).get("torch"),
    }
    found = []
    for name, ask in asked.items():
        counts = Counter(str(ask(row)) for seeds in rows.values() for row in seeds.values())
        if len(counts) > 1:
            found += ["", f"Not all trainings ran alike, {name}: "
                          f"{', '.join(f'{value} ({n})' for value, n in counts.most_common())}."]
    return found


def figure(study: Study, folder: Path, path: Path) -> None:
    """The differences of all questions that have at least two pairs, with their intervals, as a picture."""
    from matplotlib.figure import Figure

    compared = _compared(study, finished(study, folder))
    drawn = Figure(figsize=(8, 1 + 0.25 * max(len(compared), 1)), layout="constrained")
    ax = drawn.subplots()
    for place, c in enumerate(compared.values()):
        ax.plot([100 * c.low, 100 * c.high], [place, place], color="0.4")
        ax.plot([100 * c.mean], [place], "o", color="C0")
    ax.axvline(0, color="0.7", zorder=0)
    ax.set_yticks(range(len(compared)), list(compared))
    ax.set_xlabel("ours - baseline, points, with 95 % interval over seeds")
    drawn.savefig(path, dpi=120)


def finished(study: Study, folder: Path) -> dict[str, dict[int, dict]]:
    """What was measured: for the name of every arm the contents of its trainings' files, by seed."""
    rows, store = {arm.name: {} for arm in study.arms}, Store(folder)
    for unit in [*study.units(), *_further(study, store)]:
        if (found := store.read(unit)) is not None:
            rows[unit.arm.name][unit.seed] = found
    return rows


def _further(study: Study, store: Store) -> list[Unit]:
    """Trainings from other seeds than the study asks for, which somebody wanted."""
    known = {unit.name for unit in study.units()}
    found = []
    for arm in study.arms:
        if arm.name in study.teachers():
            continue
        stem = Unit(study, arm, 0).name.removesuffix("0")
        for path in store.folder.glob(f"{stem}*.json"):
            seed = path.stem.removeprefix(stem)
            if seed.isdecimal() and path.stem not in known:
                found.append(Unit(study, arm, int(seed)))
    return sorted(found, key=lambda unit: (unit.arm.name, unit.seed))


def _answers(study: Study, rows: dict[str, dict]) -> list[str]:
    compared, lines = _compared(study, rows), []
    for question, (ours, baseline) in study.questions.items():
        both = sorted(rows[ours].keys() & rows[baseline].keys())
        if question in compared:
            lines.append(f"| {question} | {ours} - {baseline} | {compared[question]} |")
        elif both:
            gap = rows[ours][both[0]]["result"]["test_top1"] - rows[baseline][both[0]]["result"]["test_top1"]
            lines.append(f"| {question} | {ours} - {baseline} | {100 * gap:+.2f} points, n = 1: no answer yet |")
    return lines


def pairs(study: Study, rows: dict[str, dict]) -> dict[str, tuple[list[float], list[float]]]:
    """For each question whose two arms share at least two seeds in `finished` rows the top-1 accuracies of both, in
    [0, 1], seed by seed: as `metrics.family` takes them."""
    found = {}
    for question, arms in study.questions.items():
        both = sorted(rows[arms[0]].keys() & rows[arms[1]].keys())
        if len(both) > 1:
            found[question] = tuple([rows[arm][seed]["result"]["test_top1"] for seed in both] for arm in arms)
    return found


def _compared(study: Study, rows: dict[str, dict]) -> dict[str, metrics.Comparison]:
    """The questions that have at least two pairs, as one family."""
    asked, images = pairs(study, rows), {row["result"]["images"] for seeds in rows.values() for row in seeds.values()}
    return metrics.family(asked, images=max(images), margin=study.margin) if asked else {}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _parameters(unit: Unit) -> int:
    """Of a network that teaches; 0 where it cannot be built here."""
    shape, classes, _ = facts(unit.arm.data)
    try:
        return sum(p.numel() for p in build(unit.arm.network, shape, [str(k) for k in range(classes)], 0).parameters())
    except Exception:  # its files are not on this machine
        return 0


def _small(settings: dict) -> dict:
    name, kept = settings["name"], {key: value for key, value in settings.items() if key in ("shortcut", "normalise")}
    if settings.get("pretrained"):
        return {"name": "vit", **NARROW["vit"]}
    if ":" in name:
        return {"name": "resnet8", "width": 4}
    # with 4 channels torch 2.14 writes beyond its memory on a CPU: Conv2d(4, 8, 1, stride=2), channels last, backward
    return {"name": name, **kept, **NARROW.get(name, {"width": 8})}
