"""The rubric of 100 points: half of it is checked here, half is judged by a person, who writes it down in
`referee.json`. `rubric.md` beside this file is the same for reading."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kdcourse.plan.base import REFEREE, REGISTERED, REPORT, RESULTS, Plan, changed, fingerprint, kept, read
from kdcourse.plan.refusals import refusals
from kdcourse.plan.reporting import BLOCK, WRITE, blocks, compared

SAME = 1e-4     # within which two losses of an identity are one
CLOSE = 0.005   # an accuracy that is measured again may differ by so much on another machine


class Part(NamedTuple):
    """One part of the rubric: its points by machine and by a person, and what the person looks for."""

    title: str
    machine: int
    person: int
    asks: str


class Mark(NamedTuple):
    """What one part earned: by machine, out of how many, and why not all; the same by a person, None if not judged."""

    title: str
    machine: int
    of: int
    why: tuple[str, ...]
    person: int | None
    of_person: int
    said: str = ""


PARTS = {
    "question": Part("Question and prediction, registered before the run", 5, 5,
                     "one question, one number could refute the prediction, and it could well have come out otherwise"),
    "controls": Part("Fair controls", 10, 10,
                     "every other explanation that you can name has an arm, at the same epochs, weight and search"),
    "evidence": Part("Pairs, n, interval, verdict", 15, 5,
                     "no sentence says more than its row; what failed is told as plainly as what worked"),
    "identity": Part("The method is what it is called", 5, 10,
                     "a limit or an identity that a usual slip in the code would break"),
    "cost": Part("Cost", 5, 5, "who pays is said, teacher and search included"),
    "fidelity": Part("Fidelity and calibration", 5, 5, "used to explain the result, not only printed"),
    "limits": Part("Limits, and what would change your mind", 0, 10,
                   "three limits of these numbers, and a result that somebody could measure"),
    "again": Part("Measured again from one command", 5, 0, ""),
}


def marks(folder: Path | str, again: Callable[[Plan, Path, Mapping], float]) -> list[Mark]:
    """Every part of the rubric, as a hand-in earns it. `again(plan, folder, results)` measures a part anew and says by
    how much an accuracy differs. What a person gave stands in `referee.json`, {"controls": [points, "why"], ...}.

    Raises ValueError where plan, results or report are missing or damaged, or a person gave more than there is.
    """
    folder = Path(folder)
    hand_in = _HandIn(folder, again)
    given = kept(folder, REFEREE) if (folder / REFEREE).is_file() else {}
    found = []
    for key, part in PARTS.items():
        lost = list(MACHINE[key](hand_in)) if key in MACHINE else []
        points, said = given.get(key, (None, ""))
        if points is not None and not 0 <= points <= part.person:
            raise ValueError(f"{REFEREE} gives {points} for {key}, and there are {part.person}")
        earned = max(0, part.machine - sum(points for points, _ in lost))
        found.append(Mark(part.title, earned, part.machine, tuple(why for _, why in lost), points, part.person, said))
    return found


def told(found: list[Mark]) -> str:
    """The marks in words, one line for each part, and why points are missing."""
    lines = []
    for mark in found:
        person = "" if not mark.of_person else (
            f"; by a person {'open' if mark.person is None else mark.person} of {mark.of_person}")
        machine = f"by machine {mark.machine} of {mark.of}" if mark.of else "by a person alone"
        lines.append(f"{mark.title}: {machine}{person}")
        lines += [f"    - {why}" for why in mark.why]
    machine = sum(mark.machine for mark in found)
    judged = [mark.person for mark in found if mark.person is not None]
    return "\n".join([*lines, f"by machine {machine} of {sum(mark.of for mark in found)}; by a person "
                      f"{sum(judged) if judged else 'open'} of {sum(mark.of_person for mark in found)}"])


class _HandIn:
    """What was handed in, read once."""

    def __init__(self, folder: Path, again: Callable):
        self.folder, self.again = folder, again
        self.plan, self.results = read(folder), kept(folder, RESULTS)
        try:
            self.report = (folder / REPORT).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ValueError(f"there is no {REPORT} in {folder}: kdcourse study report {folder}") from error
        self.refused = {kind: [one.text for one in refusals(self.plan) if one.kind == kind]
                        for kind in {one.kind for one in refusals(self.plan)}}

    def machines(self, *names: str) -> bool:
        """Whether these parts of the report are what the results say."""
        there = {name: text.strip() for name, text in BLOCK.findall(self.report)}
        made = blocks(self.plan, self.results)
        return all(there.get(name) == made[name].strip() for name in names)

    def ledger(self) -> dict[str, str]:
        """The verdict that the report's ledger gives to each comparison."""
        part = self.report.partition("## Ledger")[2].partition("\n## ")[0]
        rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in part.splitlines()
                if line.startswith("|")]
        return {row[1]: row[2] for row in rows[2:] if len(row) == 3}


Lost = Iterator[tuple[int, str]]


def _question(hand_in: _HandIn) -> Lost:
    if (hand_in.folder / REGISTERED).is_file():
        entry = kept(hand_in.folder, REGISTERED)
        if entry["plan"] != fingerprint(hand_in.plan) or entry["registered"] > hand_in.results["finished"]:
            yield 3, "the plan was changed, or registered, after the results"
        elif what := changed(entry, hand_in.plan, hand_in.folder) or changed(
                hand_in.results, hand_in.plan, hand_in.folder):
            yield 3, f"a method was changed after it was registered: {what}"
    else:
        yield 3, "the plan was not registered before the run"
    if hand_in.refused.get("question"):
        yield 2, hand_in.refused["question"][0]


def _controls(hand_in: _HandIn) -> Lost:
    for kind, points in (("control", 4), ("budget", 3), ("choosing", 3)):
        if found := hand_in.refused.get(kind):
            yield points, found[0]


def _evidence(hand_in: _HandIn) -> Lost:
    plan, rows = hand_in.plan, hand_in.results["rows"]
    if found := hand_in.refused.get("seeds") or hand_in.refused.get("margin"):
        yield 4, found[0]
    elif any([run["seed"] for run in rows.get(name, ())] != list(plan.seeds) for name in plan.arms):
        yield 4, "an arm was not measured from every seed of the plan"
    if not hand_in.machines("table", "comparisons"):
        yield 4, "a number of the report is not what the results say: kdcourse study report writes them anew"
    found, said = compared(plan, hand_in.results), hand_in.ledger()
    if wrong := [name for name, verdict in said.items() if name in found and verdict != found[name].verdict]:
        yield 4, f"the ledger says {said[wrong[0]]!r} of {wrong[0]!r}, whose verdict is {found[wrong[0]].verdict!r}"
    if lost := [name for name in found if name not in said]:
        yield 3, f"the ledger leaves out {lost[0]!r}: the whole family is told"


def _identity(hand_in: _HandIn) -> Lost:
    gap = hand_in.results.get("identity")
    if gap is None:
        yield 5, "no identity was checked"
    elif gap > SAME:
        yield 5, f"the losses of the identity differ by {gap:.2g}"


def _cost(hand_in: _HandIn) -> Lost:
    if not hand_in.machines("cost"):
        yield 5, "the report's cost is missing, or is not what was measured"


def _fidelity(hand_in: _HandIn) -> Lost:
    if not hand_in.machines("fidelity"):
        yield 5, "calibration and agreement are missing from the report, or are not what was measured"


def _again(hand_in: _HandIn) -> Lost:
    try:
        gap = hand_in.again(hand_in.plan, hand_in.folder, hand_in.results)
    except Exception as error:  # whatever the hand-in does, it was not measured again
        yield 5, f"it cannot be run again: {type(error).__name__}: {error}"
        return
    if gap > CLOSE:
        yield 5, f"run again, an accuracy differs by {100 * gap:.1f} points"


MACHINE = {"question": _question, "controls": _controls, "evidence": _evidence, "identity": _identity, "cost": _cost,
           "fidelity": _fidelity, "again": _again}


def sheet() -> str:
    """The rubric for reading: what stands in `rubric.md`."""
    rows = [f"| `{key}` | {part.title} | {part.machine} | {part.person} | {part.asks or 'nothing'} |"
            for key, part in PARTS.items()]
    machine, person = (sum(getattr(part, who) for part in PARTS.values()) for who in ("machine", "person"))
    return "\n".join([
        "# The rubric of a comparison: 100 points", "",
        "`kdcourse check FOLDER` gives the machine's half. A person reads the report, and writes the other half into "
        "`referee.json` in that folder: `{\"controls\": [7, \"why\"], ...}`, by the names in the first column.", "",
        "| name | part | by machine | by a person | what the person looks for |", "|---|---|---|---|---|", *rows,
        f"| | together | {machine} | {person} | |", ""])


def unwritten(report: str) -> list[str]:
    """The prompts of a report that nobody has answered."""
    return re.findall(rf"{WRITE} ([^|\n]+)", report)
