"""Writes the tables of benchmarks/README.md that follow from result files: those between comments.

    python benchmarks/tables.py

A block of the README begins with `<!-- table: NAME -->` and ends with `<!-- end -->`; what stands between them is
replaced by what `results/NAME.json` says. Nothing is measured.
"""

import json
import re
from pathlib import Path

from record import RESULTS

from kdcourse import metrics

README = Path(__file__).parent / "README.md"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    text = README.read_text(encoding="utf-8")
    README.write_text(BLOCK.sub(lambda found: found[1] + block(found[2]) + "\n" + found[3], text), encoding="utf-8")


def block(name: str) -> str:
    """The lines of a block: one of `TABLES` for the result file of that name."""
    return "\n".join(TABLES[name](name))


def content(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def of_methods(name: str) -> list[str]:
    """Cell by cell every method above hard labels; the settings that were chosen; and what is missing."""
    results = content(name)["results"]
    lines = ["| students | lesson | test accuracy | above hard labels |", "|---|---|---|---|"]
    for title, cell in results["cells"].items():
        lines += rows(title, cell["table"])
    lines += [f"\nChosen, {title}: " + "; ".join(f"{arm}{words(at)}" for arm, at in cell["chosen"].items()) + "."
              for title, cell in results["cells"].items() if cell.get("chosen")]
    return [*lines, missing(results["missing"], list(results["cells"]))]


def of_tutorial(name: str) -> list[str]:
    """The tutorial's accuracies beside those measured, in both cases."""
    results = content(name)["results"]
    lines = ["| students | lesson | test accuracy | above hard labels |", "|---|---|---|---|"]
    for title, case in results["cases"].items():
        lines += rows(title, case["table"])
    return [*lines, missing([{"cell": entry["case"], "method": entry["arm"]} for entry in results["missing"]],
                            list(results["cases"]))]


def of_hints(first: str) -> list[str]:
    """The methods of every set of seeds, each set one family of comparisons with hard labels."""
    names = [first, *sorted(path.stem for path in RESULTS.glob(f"{first}_*.json"))]
    lines = ["| set | lesson | test accuracy | above hard labels |", "|---|---|---|---|"]
    for name in names:
        kept = content(name)
        arms = {arm: [row["accuracy"] for row in kept["results"]["cells"][arm]]
                for arm in ("hard labels", *kept["settings"]["points"])}
        hard = arms.pop("hard labels")
        lines.append(f"| `{name}` | hard labels | {mean(hard)} |  |")
        for arm, c in metrics.family({arm: (found, hard) for arm, found in arms.items()}, images=2_000).items():
            beside = f"{100 * c.mean:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}], n = {c.n}: {c.verdict}"
            lines.append(f"| `{name}` | {arm}{words(kept['settings']['points'][arm])} | {mean(arms[arm])} | {beside} |")
    return lines


def of_halves(name: str) -> list[str]:
    """Who teaches, by which method, and how well its students do; and the answers to the study's questions."""
    results = content(name)["results"]
    lines = ["| images, student | lesson | test accuracy | n |", "|---|---|---|---|"]
    for title, cell in results["cells"].items():
        lines += [f"| {title} | {arm.removeprefix(title.split()[0]).replace(f' to {title.split()[1]}', ':').strip()} "
                  f"| {100 * entry['test_accuracy']:.1f} | {entry['n']} |" for arm, entry in cell["arms"].items()]
    lines += ["", "| question | difference | verdict |", "|---|---|---|"]
    for cell in results["cells"].values():
        lines += [f"| {question} | {c['points']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}], n = {c['n']} "
                  f"| {c['verdict']} |" for question, c in cell["questions"].items()]
    begun = [arm for cell in results["cells"].values() for arm in cell["arms"]]
    lacking = [f"{arm} (seeds {', '.join(map(str, seeds))})" if arm in begun else arm
               for arm, seeds in results["missing"].items()]
    return [*lines, f"\nNot yet measured: {'; '.join(lacking)}." if lacking else "\nNothing is missing."]


def rows(title: str, table: dict) -> list[str]:
    """The rows of one family of comparisons with hard labels; "not after Holm" where the interval alone is clear of
    zero."""
    found = []
    for arm, entry in table.items():
        c = entry.get("above hard labels")
        lost = c is not None and not c["holm"] and not c["low"] <= 0 <= c["high"]
        beside = "" if c is None else (f"{c['points']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}], n = {c['n']}"
                                       f"{', not after Holm' if lost else ''}")
        found.append(f"| {title} | {arm} | {100 * entry['test_accuracy']:.1f} | {beside} |")
    return found


def missing(entries: list[dict], begun: list[str]) -> str:
    """What the table lacks, in one paragraph."""
    parts = []
    for cell in dict.fromkeys(entry["cell"] for entry in entries):
        lacking = [entry["method"] for entry in entries if entry["cell"] == cell]
        parts.append(f"{cell} ({', '.join(lacking)})" if cell in begun else f"{cell} (all)")
    return f"\nNot yet measured, in whole or with all seeds: {'; '.join(parts)}." if parts else "\nNothing is missing."


def words(settings: dict) -> str:
    """Settings in brackets, after a space, stages left out; nothing where there are none."""
    shown = [f"{name} = {value:g}" for name, value in settings.items() if name != "stages"]
    return f" ({', '.join(shown)})" if shown else ""


def mean(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}"


TABLES = {
    "methods_fashion": of_methods,
    "methods_cifar10": of_methods,
    "cifar10_halves": of_halves,
    "tutorial": of_tutorial,
    "hints": of_hints,
}

if __name__ == "__main__":
    main()
