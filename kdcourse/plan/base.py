"""A plan: a study of the reader's own as data, a file that is written before anything is trained.

Nothing here trains anything. `refusals` says what cannot be answered, `running` does what was planned.
"""

import ast
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from scipy import special

from kdcourse.files import write as write_file

STUDY, REGISTERED, RESULTS, REPORT = "study.json", "registered.json", "results.json", "report.md"
FIGURE, REFEREE, UNFINISHED = "differences.png", "referee.json", "unfinished.json"
TRAINING = ("epochs", "lr", "batch_size", "schedule", "augment")  # what a grid may set beside a method's settings


@dataclass(frozen=True)
class Plan:
    """A comparison that is to be made; all of it numbers, words, lists and dicts.

    `question`      what is asked, in words; `prediction`: `text`, `comparison` (its name) and `points`, the lowest and
                    the highest difference expected; `refuted_by`: which result would change your mind
    `images`        `name`, one of `data.SOURCES` with its settings, or `folder`, a path, with the settings of
                    `data.from_folder`; `train`: how many training images the students get, of every
                    class its share
    `teacher`       `kept`, one of `trained.RECIPES`; or `network` (as `student`), `epochs`, `lr`, `batch_size` and
                    `seed` of one that is trained first, on the training images that the students do not get; or None
    `student`       `name` and settings, as `models.build` takes them
    `training`      `epochs`, `lr`, `batch_size` of every student, and what else `study.paired` takes as plain numbers
    `arms`          by name: `method` ("hard labels", one of `distillers.METHODS`, or `FILE.py:NAME` of a file beside
                    the plan, which may import others there), its settings, and `training`, where it differs
    `choose`        how settings are chosen: `on` ("valid"), `seeds`, and `grids`: for an arm the values of each setting
    `comparisons`   (ours, baseline) by the name of the comparison: the whole family, read together
    `seeds`         those that are measured; `margin`: how far from 0 counts as equal, a share; `effect`: the smallest
                    difference that you want to see, a share; `spread`: the standard deviation of the paired differences
                    in a pilot, a share
    `minutes`       the most that it may take here
    `identity`      `arm` and `equals`, two arms that must have the same loss, and `says`, which fact that is
    """

    name: str
    question: str = ""
    prediction: Mapping = field(default_factory=dict)
    refuted_by: str = ""
    images: Mapping = field(default_factory=dict)
    teacher: Mapping | None = None
    student: Mapping = field(default_factory=lambda: {"name": "mlp"})
    training: Mapping = field(default_factory=dict)
    arms: Mapping[str, Mapping] = field(default_factory=dict)
    choose: Mapping = field(default_factory=dict)
    comparisons: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seeds: Sequence[int] | None = None
    margin: float | None = None
    effect: float | None = None
    spread: float | None = None
    minutes: float | None = None
    identity: Mapping | None = None

    def training_of(self, arm: str) -> dict:
        """Epochs, learning rate and the like of an arm."""
        return {**self.training, **self.arms[arm].get("training", {})}

    def lesson_of(self, arm: str) -> tuple[str, dict]:
        """The method of an arm and its settings."""
        settings = {key: value for key, value in self.arms[arm].items() if key not in ("method", "training")}
        return self.arms[arm].get("method", ""), settings

    def grid_of(self, arm: str) -> dict[str, list]:
        """The values that are tried for each setting of an arm; empty if none is chosen."""
        return dict(self.choose.get("grids", {}).get(arm, {}))


def write(plan: Plan, folder: Path | str) -> Path:
    """Write the plan as `study.json` in `folder`, which is made, and return the file.

    Raises ValueError when a study was run there by another plan: a plan that changes after its results is a new one.
    """
    path, text = Path(folder) / STUDY, json.dumps(asdict(plan), indent=1, default=list) + "\n"
    if (Path(folder) / RESULTS).is_file() and fingerprint(read(folder)) != fingerprint(plan):
        raise ValueError(f"{folder} holds the results of another plan: write this one to a folder of its own")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text)
    return path


def read(folder: Path | str) -> Plan:
    """The plan in `folder`. Raises ValueError when there is none, it is no JSON, or an entry is unknown or missing."""
    path = Path(folder) / STUDY
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {STUDY} in {folder}: kdcourse.plan.write(mine, folder) writes one") from error
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error})") from error
    known = {entry.name for entry in fields(Plan)}
    if not isinstance(content, dict) or "name" not in content:
        raise ValueError(f"{path} has no name: a plan is an object with name, question, arms, ...")
    if unknown := sorted(content.keys() - known):
        raise ValueError(f"{path} has an entry {unknown[0]!r} that no plan has; there are: {', '.join(sorted(known))}")
    return Plan(**content)


def fingerprint(plan: Plan) -> str:
    """Sixteen hexadecimal digits that change with anything in the plan."""
    return hashlib.sha256(json.dumps(asdict(plan), sort_keys=True, default=list).encode()).hexdigest()[:16]


def own_files(plan: Plan, folder: Path | str) -> dict[str, str]:
    """The SHA-256 of every FILE.py that an arm of the plan or of its identity names, and of what these import from
    beside the plan, as it now stands in `folder`."""
    arms = [*plan.arms.values(), *((plan.identity or {}).get(key, {}) for key in ("arm", "equals"))]
    named = {arm["method"].partition(":")[0] for arm in arms if ".py:" in arm.get("method", "")}
    return {name: hashlib.sha256(content).hexdigest() for name, content in reached(named, Path(folder)).items()}


def reached(names: Iterable[str], folder: Path) -> dict[str, bytes]:
    """The programs of these names that are in `folder`, and those that they import from there: content by name."""
    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        if name not in found and (folder / name).is_file():
            found[name] = (folder / name).read_bytes()
            waiting += [path.relative_to(folder).as_posix() for module in _imported(found[name])
                        for path in (folder / f"{module}.py", *(folder / module).rglob("*.py"))]
    return dict(sorted(found.items()))


def _imported(content: bytes) -> set[str]:
    """The first parts of the names of all modules that a program imports; none if it is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


def changed(entry: Mapping, plan: Plan, folder: Path | str) -> str:
    """Which file of a method is another than when `entry`, a registration or results, was written, in words; empty if
    none is, and if the entry does not say, as those of earlier versions of the package."""
    before, now = entry.get("files"), own_files(plan, folder)
    if before is None:
        return ""
    return "; ".join(f"{name} had the SHA-256 {before[name][:12] if name in before else 'of no file'} and has "
                     f"{now[name][:12] if name in now else 'none now: it is gone'}"
                     for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name))


def kept(folder: Path | str, name: str) -> dict:
    """What a file of the folder holds, which the package wrote. Raises ValueError when it is not there or damaged."""
    path = Path(folder) / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {name} in {folder}: run the study first, kdcourse study run {folder}") from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): run the study again in a new folder") from error


def half_width(spread: float, n: int) -> float:
    """Half the width of the 95 % interval that n seeds will give if their paired differences have the standard
    deviation `spread`: Student's t for n - 1 degrees of freedom, times spread, over the root of n.

    Raises ValueError for a spread that is not above 0, or fewer than two seeds. Introduced in notebook 11.

    >>> round(half_width(0.01, 5), 4), round(half_width(0.01, 20), 4)
    (0.0124, 0.0047)
    """
    if not 0 < spread < math.inf:
        raise ValueError(f"spread is a standard deviation of differences, above 0; it is {spread!r}")
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        raise ValueError(f"an interval needs two seeds at least; n is {n!r}")
    return special.stdtrit(n - 1, 0.975).item() * spread / math.sqrt(n)


def seeds_needed(spread: float, effect: float, *, most: int = 1000) -> int:
    """The smallest n at which a difference of `effect` is two half-widths from zero, so that it is nearly always seen.

    With one half-width it would be seen every second time. Raises ValueError where more than `most` would be needed.
    Introduced in notebook 11.

    >>> seeds_needed(0.01, 0.01), seeds_needed(0.01, 0.02)
    (18, 7)
    """
    if not effect > 0:
        raise ValueError(f"effect is the smallest difference that you want to see, a share above 0; it is {effect!r}")
    for n in range(2, most + 1):
        if half_width(spread, n) <= effect / 2:
            return n
    raise ValueError(f"more than {most} seeds would be needed to see {100 * effect:g} points: ask about a larger one")
