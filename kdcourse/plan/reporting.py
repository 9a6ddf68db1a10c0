"""The report of a comparison, drafted from its results: what is a number is written by the machine, what is a sentence
by the reader, and a second draft changes the machine's parts alone."""

import re
from collections.abc import Mapping
from pathlib import Path

from kdcourse import metrics, viz
from kdcourse.files import write as write_file
from kdcourse.plan.base import FIGURE, REPORT, RESULTS, Plan, changed, fingerprint, kept, read

WRITE = "WRITE:"
BLOCK = re.compile(r"<!-- machine: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)
SECTIONS = (  # title, the machine's blocks in it, and what the reader writes
    ("Question", ("plan",), "why this question matters, and to whom."),
    ("What was done", ("settings",), "which explanations each control rules out, and which it does not."),
    ("Results", ("table", "comparisons"), "what the figure shows, no more than the verdicts say."),
    ("The prediction", ("prediction",), "was the prediction right, and what do you make of it?"),
    ("Is it the method?", ("identity",), "what this check would have found, and what it would not."),
    ("Cost", ("cost",), "who pays: the teacher, the training, the phone?"),
    ("Fidelity and calibration", ("fidelity",), "does the student copy the teacher, or the labels?"),
)


def compared(plan: Plan, results: Mapping) -> dict[str, metrics.Comparison]:
    """Every comparison of the plan, as one family (`metrics.family`)."""
    pairs = {name: tuple([row["accuracy"] for row in results["rows"][arm]] for arm in pair)
             for name, pair in plan.comparisons.items()}
    return metrics.family(pairs, images=results["images"], margin=plan.margin)


def draft(folder: Path | str) -> Path:
    """Write `report.md` and `differences.png` from the results in `folder`, and return the report. In a report that is
    there only the machine's parts are written anew. Raises ValueError where the results are of another plan or
    of another FILE.py."""
    folder = Path(folder)
    plan, results, path = read(folder), kept(folder, RESULTS), folder / REPORT
    if results["plan"] != fingerprint(plan):
        raise ValueError(f"{folder} holds the results of another plan than its {RESULTS.partition('.')[0]} are of")
    if what := changed(results, plan, folder):
        raise ValueError(f"{folder} holds the results of another method ({what}): put back the file that was measured")
    made = blocks(plan, results)
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        text = BLOCK.sub(lambda found: _block(found[1], made.get(found[1], found[2])), text)
    else:
        text = _fresh(plan, made)
    write_file(path, text)
    figure(plan, results, folder / FIGURE)
    return path


def figure(plan: Plan, results: Mapping, path: Path) -> None:
    """The paired differences from the baseline of the first comparison, as a picture."""
    from matplotlib.figure import Figure

    baseline = next(iter(plan.comparisons.values()))[1]
    accuracy = {name: [row["accuracy"] for row in rows] for name, rows in results["rows"].items()}
    drawn = Figure(figsize=(6.4, 1.2 + 0.5 * len(accuracy)), layout="constrained")
    viz.differences(accuracy, baseline, margin=plan.margin, ax=drawn.subplots())
    drawn.savefig(path, dpi=100)


def blocks(plan: Plan, results: Mapping) -> dict[str, str]:
    """The machine's parts of the report, by name, in Markdown."""
    found = compared(plan, results)
    return {"plan": _plan(plan), "settings": _settings(plan, results), "table": _table(results),
            "comparisons": _comparisons(plan, found), "prediction": _prediction(plan, found),
            "identity": _identity(plan, results), "cost": _cost(results), "fidelity": _fidelity(results)}


def _fresh(plan: Plan, made: Mapping[str, str]) -> str:
    parts = [f"# {plan.name}\n"]
    for title, names, wanted in SECTIONS:
        picture = [f"![Points above the baseline, pair by pair]({FIGURE})\n"] if title == "Results" else []
        inside = [_block(name, made[name]) + "\n" for name in names]
        parts += [f"## {title}\n", *picture, *inside, f"{WRITE} {wanted}\n"]
    rows = [f"| {WRITE} what you claim | {name} | {WRITE} its verdict |" for name in plan.comparisons]
    parts += ["## Ledger\n", "\n".join(["| claim | comparison | verdict |", "|---|---|---|", *rows]) + "\n",
              "## Limits\n", f"{WRITE} three things that these numbers do not say.\n",
              "## What would change my mind\n", f"{WRITE} a result that somebody could measure.\n"]
    return "\n".join(parts)


def _block(name: str, text: str) -> str:
    return f"<!-- machine: {name} -->\n{text.strip()}\n<!-- end -->"


def _lines(head: str, rows: list[str]) -> str:
    return "\n".join([head, "|" + "---|" * (head.count("|") - 1), *rows])


def _plan(plan: Plan) -> str:
    low, high = plan.prediction["points"]
    return (f"{plan.question}\n\nPredicted before the run: {plan.prediction.get('text', '')} "
            f"({plan.prediction['comparison']}: {low:+g} to {high:+g} points.) What would refute it: {plan.refuted_by}")


def _settings(plan: Plan, results: Mapping) -> str:
    images = plan.images.get("name") or Path(plan.images["folder"]).name
    rows = []
    for name in plan.arms:
        method, own = plan.lesson_of(name)
        at = {**own, **results["points"].get(name, {})}
        tried = len(results.get("tried", {}).get(name, ())) or 1
        said = ", ".join(f"{key} = {value}" for key, value in at.items()) or "none"
        rows.append(f"| {name} | {method} | {said} | {tried} | {plan.training_of(name).get('epochs')} |")
    on = {"valid": "chosen on validation images", "test": "chosen on the test images"}
    on = on.get(plan.choose.get("on"), "given")
    head = (f"{plan.images['train']:,} training images of {images}; {results['images']:,} test images. Settings are "
            f"{on}. Commit {str(results.get('commit'))[:9]}, torch "
            f"{results['versions'].get('torch')}.\n\n")
    return head + _lines("| arm | method | settings | settings tried | epochs |", rows)


def _table(results: Mapping) -> str:
    rows = []
    for name, runs in results["rows"].items():
        mean, low, high = (100 * value for value in metrics.interval([run["accuracy"] for run in runs]))
        rows.append(f"| {name} | {len(runs)} | {mean:.1f} [{low:.1f}, {high:.1f}] |")
    return _lines("| arm | n | accuracy, % |", rows)


def _comparisons(plan: Plan, found: Mapping[str, metrics.Comparison]) -> str:
    return _lines("| comparison | ours - baseline | answer |", [
        f"| {name} | {' - '.join(plan.comparisons[name])} | {one} |" for name, one in found.items()])


def _prediction(plan: Plan, found: Mapping[str, metrics.Comparison]) -> str:
    (low, high), one = plan.prediction["points"], found[plan.prediction["comparison"]]
    inside = low <= 100 * one.mean <= high
    return (f"{plan.prediction['comparison']}: {low:+g} to {high:+g} points were predicted; {100 * one.mean:+.1f} were "
            f"measured, which is {'inside' if inside else 'outside'}. Verdict: {one.verdict}.")


def _identity(plan: Plan, results: Mapping) -> str:
    if results.get("identity") is None:
        return "No identity was checked."
    return f"{plan.identity['says']}: the two losses of one batch differ by {results['identity']:.1e}."


def _cost(results: Mapping) -> str:
    known = {row["network"]: row for row in results["cost"]}
    rows = [f"| {name} | {row['parameters']:,} | {row['multiply_adds']:,} | {row['ratio']:g} |"
            for name, row in known.items()]
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in results["seconds"].items())
    return (_lines("| network | parameters | multiply-adds | time of one image, ratio |", rows)
            + f"\n\nMeasured arms, all seeds: {spent}.")


def _fidelity(results: Mapping) -> str:
    rows = []
    for name, runs in results["rows"].items():
        mean = {key: sum(run[key] for run in runs) / len(runs) for key in ("ece", "agreement") if key in runs[0]}
        with_teacher = f"{100 * mean['agreement']:.1f}" if "agreement" in mean else "no teacher"
        rows.append(f"| {name} | {mean['ece']:.3f} | {with_teacher} |")
    teacher = "" if results["teacher"] is None else f"The teacher is right about {100 * results['teacher']:.1f} %.\n\n"
    return teacher + _lines("| arm | expected calibration error | agreement with the teacher, % |", rows)
