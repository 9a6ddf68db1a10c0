"""A comparison of the reader's own: a plan as a file, what it cannot answer, its time, its run, its report, its marks.

    plan.write(mine, "my_study")        # study.json: question, prediction, arms, seeds, margin, ...
    plan.refusals(mine)                 # why it cannot be answered, each with what to do
    plan.run("my_study")                # registers the plan, chooses on validation images, measures once
    plan.draft("my_study")              # report.md: numbers by machine, sentences by you
    plan.marks("my_study")              # the rubric of 100 points

From a shell: `kdcourse study plan my_study`, then `run`, `report`; and `kdcourse check my_study`. Not here:
a comparison that a lesson trains in seconds (`study`), and the papers' tables, which train for days (`studies`).
Introduced in notebook 11.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from kdcourse import study
from kdcourse.core import Choices
from kdcourse.files import write as write_file
from kdcourse.plan import rubric, running
from kdcourse.plan.base import REGISTERED as REGISTERED
from kdcourse.plan.base import REPORT as REPORT
from kdcourse.plan.base import RESULTS as RESULTS
from kdcourse.plan.base import UNFINISHED, changed, own_files
from kdcourse.plan.base import Plan as Plan
from kdcourse.plan.base import fingerprint as fingerprint
from kdcourse.plan.base import half_width as half_width
from kdcourse.plan.base import kept as kept
from kdcourse.plan.base import read as read
from kdcourse.plan.base import seeds_needed as seeds_needed
from kdcourse.plan.base import write as write
from kdcourse.plan.refusals import Refusal as Refusal
from kdcourse.plan.refusals import refusals as refusals
from kdcourse.plan.reporting import compared as compared
from kdcourse.plan.reporting import draft as draft
from kdcourse.plan.rubric import Mark as Mark
from kdcourse.plan.rubric import told as told
from kdcourse.plan.rubric import unwritten as unwritten

EXAMPLES = Choices("example", {name: Path(__file__).parent / "examples" / name for name in ("own_idea", "to_referee")})


class Refused(ValueError):
    """A plan that cannot be answered. `refusals` says why."""

    def __init__(self, found: Sequence[Refusal]):
        super().__init__("this plan cannot be answered:\n" + "\n".join(f"- {one.kind}: {one.text}" for one in found))
        self.refusals = tuple(found)


def seconds(folder: Path | str) -> dict[str, float]:
    """How long each arm of the plan in `folder` will take on this machine, at most, by one timed step of each.

    A teacher that is to be trained is trained for it. Raises `Refused` where the plan cannot be answered.
    """
    plan = _accepted(read(folder))
    return running.estimated(plan, running.material(plan, Path(folder)), Path(folder))


def pilot(folder: Path | str, *, seeds: Sequence[int]) -> list[float]:
    """Paired differences, in accuracy on *validation* images, of the comparison that the plan predicts: from seeds that
    will not be measured. Their standard deviation is the plan's `spread`.

    Where settings are to be chosen, each arm has its best ones. Raises `Refused` for a plan whose entries have not the
    form of one or whose material is wrong, and ValueError when a seed is among the plan's own, there are fewer than
    two, or the plan predicts about no comparison.
    """
    plan, folder = read(folder), Path(folder)
    if wrong := [one for one in refusals(plan) if one.kind in ("form", "material")]:
        raise Refused(wrong)
    seeds, measured = list(seeds), list(plan.seeds) if isinstance(plan.seeds, Sequence) else []
    if len(seeds) < 2 or set(seeds) & set(measured):
        raise ValueError(f"a pilot takes two seeds or more that are not measured later; given {seeds}, and the plan "
                         f"measures {measured}")
    if (name := _predicted(plan)) not in plan.comparisons:
        raise ValueError(f"the prediction is about {name!r}, which is none of the comparisons")
    found = running.material(plan, folder)
    ours, baseline = (running.best(running.searched(plan, arm, found, folder, seeds))["valid_accuracy"]
                      for arm in plan.comparisons[name])
    return [a - b for a, b in zip(ours, baseline, strict=True)]


def _predicted(plan: Plan) -> str | None:
    return plan.prediction.get("comparison") if isinstance(plan.prediction, Mapping) else None


def run(folder: Path | str, *, tell: Callable[[str], None] = lambda line: None) -> dict:
    """Do what the plan in `folder` says and return its results, which are kept there as `results.json`; what was done
    already is read. Before anything is measured the plan is registered: its fingerprint, the SHA-256 of each FILE.py
    that it names and of what these import from beside it, and the time are written down. A run that was interrupted
    goes on after its last finished arm.

    Settings are chosen on validation images, by seeds that are not measured; each student meets the test images once.
    Raises `Refused`, and ValueError when the plan or a FILE.py was changed after it was registered, or would take
    longer than its minutes.
    """
    folder = Path(folder)
    plan = _accepted(read(folder))
    if (folder / RESULTS).is_file():
        return _measured_before(plan, folder)
    found = running.material(plan, folder)
    needed = sum(running.estimated(plan, found, folder).values()) / 60
    if needed > plan.minutes:
        raise ValueError(f"it would take up to {needed:.1f} minutes here, and the plan says {plan.minutes:g}: fewer "
                         "arms, settings or epochs, or more minutes; in a new plan")
    running.check(plan, found, folder)
    tell(f"up to {needed:.1f} minutes")
    register(folder)
    settings = {"plan": fingerprint(plan), "files": own_files(plan, folder)}
    keep = partial(study.kept, folder / UNFINISHED, settings=settings)
    tried = {arm: keep(f"tried: {arm}", measure=partial(running.searched, plan, arm, found, folder,
                                                        plan.choose["seeds"])) for arm in plan.choose.get("grids", {})}
    points = {arm: running.best(entries)["point"] for arm, entries in tried.items()}
    for arm, point in points.items():
        tell(f"chosen on validation images for {arm}: {point}")
    results = {**running.measured(plan, folder, found, points, keep), "tried": tried, "files": settings["files"]}
    write_file(folder / RESULTS, json.dumps(results, indent=1) + "\n")
    (folder / UNFINISHED).unlink(missing_ok=True)
    return results


def _measured_before(plan: Plan, folder: Path) -> dict:
    """The results in `folder`. Raises ValueError when they are of another plan or of another FILE.py."""
    results = kept(folder, RESULTS)
    if results["plan"] != fingerprint(plan):
        raise ValueError(f"{folder} holds the results of another plan: one that is changed after its results is a "
                         "new plan, in a folder of its own")
    if what := changed(results, plan, folder):
        raise ValueError(f"{folder} holds the results of another method ({what}): put back the file that was measured, "
                         "or write the new one and its plan to a folder of their own")
    return results


def register(folder: Path | str) -> dict:
    """Write down the plan's fingerprint, the SHA-256 of each FILE.py that it names and the time, before anything is
    measured; what is registered stays.

    Raises ValueError when another plan was registered there, or the same with another FILE.py.
    """
    folder, plan = Path(folder), read(folder)
    if not (folder / REGISTERED).is_file():
        entry = {"plan": fingerprint(plan), "registered": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                 "files": own_files(plan, folder)}
        write_file(folder / REGISTERED, json.dumps(entry, indent=1) + "\n")
    if (entry := kept(folder, REGISTERED))["plan"] != fingerprint(plan):
        raise ValueError(f"the plan in {folder} was changed after {entry['registered']}, when it was registered: write "
                         "the new one to a folder of its own, and say so in the report")
    if what := changed(entry, plan, folder):
        raise ValueError(f"a method in {folder} was changed after {entry['registered']}, when it was registered "
                         f"({what}): put back the file as it was, or write the new one and its plan to a folder of "
                         "their own, and say so in the report")
    return entry


def _accepted(plan: Plan) -> Plan:
    if found := refusals(plan):
        raise Refused(found)
    return plan


def marks(folder: Path | str) -> list[Mark]:
    """What the comparison in `folder` earns by the rubric of 100 points, part by part: half of it by machine, and a
    part of it measured anew. `told` puts it in words. Raises ValueError where plan, results or report are missing."""
    return rubric.marks(Path(folder), running.once_more)


def minutes(folder: Path | str) -> str:
    """In words: what `kdcourse study plan FOLDER` prints. Raises as `seconds` does."""
    plan, found = read(folder), seconds(folder)
    rows = [f"{arm:<28} {spent / 60:6.1f} minutes at most" for arm, spent in found.items()]
    whole = (f"together {sum(found.values()) / 60:.1f} minutes at most, by one timed step of each; the plan allows "
             f"{plan.minutes:g}")
    return "\n".join([f"{plan.name}: {len(plan.arms)} arms, n = {len(plan.seeds)} seeds, {len(plan.comparisons)} "
                      "comparisons", *rows, whole])
