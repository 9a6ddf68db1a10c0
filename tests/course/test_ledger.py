"""The ledger of a lesson: what it cites is there, and the numbers of a result file are those that it gives."""

import re
from pathlib import Path

import pytest
from lessons import prose

from kdcourse import metrics, study

LESSONS = [path for path in sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
           if "## Ledger" in path.read_text(encoding="utf-8")]
FILE = re.compile(r"^`(\w+)`: `([^`]+)`(?: against `([^`]+)`)?(?:, `(\w+)`)?$")


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the ledger, without its head."""
    ledger = text.split("## Ledger")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in ledger.splitlines()
            if line.startswith("|")][2:]


def found(name: str, place: str):
    """What stands at `a / b / c` of the results of a file."""
    at = study.recorded(name)["results"]
    for key in place.split(" / "):
        at = at[key]
    return at


def said(name: str, place: str, other: str | None, quantity: str | None) -> tuple[str, str, int]:
    """The numbers, the verdict and n of a comparison: one that the file holds, or one of two lists of runs in it, in
    a quantity that each run has (a share; by default the accuracy on 10,000 images)."""
    one = found(name, place)
    if quantity:
        gains = [100 * (a[quantity] - b[quantity]) for a, b in zip(one, found(name, other), strict=True)]
        mean, low, high = metrics.interval(gains)
        clear = "better" if low > 0 else "worse" if high < 0 else "not shown"
        return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]", clear, len(gains)
    if other is None:
        numbers = "{points:+.1f} points [{low:+.1f}, {high:+.1f}]".format(**one)
        lost = one.get("holm") is False and one["verdict"] in ("better", "worse")  # that of the interval alone
        return numbers, "not shown after Holm" if lost else one["verdict"], one["n"]
    ours, theirs = ([1 - run["test_errors"] / 10_000 for run in runs] for runs in (one, found(name, other)))
    comparison = metrics.compare(ours, theirs, images=10_000, margin=0.002)
    return str(comparison).split(", n =")[0], comparison.verdict, len(ours)


def wrong(row: list[str], text: str) -> str:
    """What is wrong with a row of a ledger in this text; nothing if it is right."""
    where, n, verdict = row[1:4]
    if cited := FILE.match(where):
        try:
            numbers, expected, seeds = said(*cited.groups())
        except (KeyError, ValueError) as error:
            return f"{where} is not there: {error}"
        weaker = f"{numbers}, not shown" if cited.group(4) else ""  # what a correction for many comparisons may leave
        if verdict not in (f"{numbers}, {expected}", weaker):
            return f"{verdict!r} is {numbers}, {expected} in {where}"
        return "" if n.startswith(f"{seeds} seeds,") else f"{n!r}: {where} has {seeds} seeds"
    sections = re.fullmatch(r"sections? (\d+)(?: (?:to|and) (\d+))?", where)
    if not sections:
        return f"{where!r} is neither a section nor a result file"
    missing = [number for number in sections.groups() if number and f"\n## {number} · " not in f"\n{text}"]
    return f"there is no section {missing[0]}" if missing else ""


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_row_of_a_ledger_cites_what_is_there_and_says_what_it_says(path):
    text = prose(path)
    assert [problem for row in rows(text) if (problem := wrong(row, text))] == []
    assert all(len(row) == 5 and all(row) for row in rows(text)) and len(rows(text)) >= 3


KD = "`mnist_kd`: `students / T=4` against `students / alone`"
TEXT = "## 4 · A section · 5 min\n"


@pytest.mark.parametrize("where, n, verdict, message", [
    ("section 4", "5 seeds", "better", ""),
    ("section 5", "5 seeds", "better", "no section 5"),
    ("somewhere", "5 seeds", "better", "neither a section nor a result file"),
    (KD, "5 seeds, 10,000", "+0.61 points [+0.47, +0.75], better", ""),
    (KD, "5 seeds, 10,000", "+0.62 points [+0.47, +0.75], better", "'+0.62"),
    (KD, "5 seeds, 10,000", "+0.61 points [+0.47, +0.75], equal", "equal"),
    (KD, "10 seeds, 10,000", "+0.61 points [+0.47, +0.75], better", "has 5 seeds"),
    (KD.replace("T=4", "T=5"), "5 seeds", "+0.61 points [+0.47, +0.75], better", "is not there"),
    (KD.replace("mnist_kd", "nothing"), "5 seeds", "better", "is not there"),
])
def test_a_row_that_says_another_number_section_or_file_is_found(where, n, verdict, message):
    problem = wrong(["claim", where, n, verdict, "what refutes it"], TEXT)
    assert (message in problem) if message else problem == ""
