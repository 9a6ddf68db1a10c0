"""How long does grading a class take? Thirty mixed hand-ins of an exercise through `kdcourse grade`.

    python benchmarks/grading.py                           # exercise 01, about five minutes on two idle cores
    python benchmarks/grading.py 01 02 08 --kill           # three exercises, each killed half-way and resumed
    python benchmarks/grading.py 03 --hand-ins 6 --jobs 1

Of ten hand-ins six are solved, two have a mistake each, one stopped half-way, and one is untouched. No two are the
same, so that each runs. Every exercise is one call, into one gradebook; with `--kill` that call is ended by `kill -9`
once half of its students are done, and the same call is made again. For each it prints seconds by the clock, CPU
seconds of grading itself and of all that it started (of a call that was killed nobody knows them), both per hand-in,
whether it was less than ten minutes, and what is unlike what such a hand-in deserves. Nothing is written but below a
temporary folder. It exits with 1 if a mark, the gradebook or a row is not as it should be.
"""

import argparse
import csv
import itertools
import json
import multiprocessing
import os
import re
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

from kdcourse.files import matching
from kdcourse.marking.grade import grade
from kdcourse.marking.sandbox import watch

ROOT, LONGEST = Path(__file__).parents[1], 600
NAMES = sorted(path.parent.name for path in ROOT.glob("solutions/*/*.ipynb"))
LOSS_AND_LOOP = (  # exercise 01: (in the solution, instead of it), and the automatic marks that are left of ten
    ({"T**2 * (log_p_t.exp()": "(log_p_t.exp()", "optimiser.zero_grad()\n": "\n"}, (5, 9.5)),
    ({"student.train()\n": "student.eval()\n", "dim=1).mean()": "dim=1).sum()"}, (5, 9.5)),
)
TWICE = "{0} = (lambda right: lambda *given, **named: 2 * right(*given, **named))({0})"


def cells_of(folder: str, name: str) -> tuple[dict, dict[str, dict]]:
    """A notebook of a folder of the course, and its cells by their identifiers."""
    notebook = json.loads((ROOT / folder / name / f"{name}.ipynb").read_text("utf-8"))
    return notebook, {cell["id"]: cell | {"source": "".join(cell["source"])} for cell in notebook["cells"]}


def about(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})


def is_answer(cell: dict) -> bool:
    return cell["cell_type"] == "code" and bool(about(cell).get("solution"))


def points(cell: dict) -> float:
    """The marks of a check, 0 for every other cell."""
    return about(cell).get("points", 0) if cell["cell_type"] == "code" and about(cell).get("grade") else 0


def hand_in(name: str, number: int) -> tuple[dict, tuple[float, float]]:
    """The notebook of a student, and the automatic marks that it deserves, at least and at most."""
    kind = 3 * number % 10  # so that few are mixed, too
    notebook, cells = cells_of("exercises" if kind == 9 else "solutions", name)
    total = sum(map(points, cells.values()))
    marks = (0, 0) if kind == 9 else (total, total)
    if kind in (6, 7):
        marks = spoil(name, cells, kind - 6, total)
    if kind == 8:
        marks = stop(name, cells, total)
    for cell in filter(is_answer, cells.values()):
        cell["source"] += f"\n# {number}"
    notebook["cells"] = list(cells.values())
    return notebook, marks


def spoil(name: str, cells: dict[str, dict], which: int, total: float) -> tuple[float, float]:
    """Make a mistake: in exercise 01 one in a loss and one in a loop, elsewhere what the first, or the last, function
    that is checked returns is twice what it should be. Returns the marks that are left, at least and at most."""
    if name == "01_vanilla_kd":
        changes, marks = LOSS_AND_LOOP[which]
        for cell, (right, wrong) in itertools.product(filter(is_answer, cells.values()), changes.items()):
            cell["source"] = cell["source"].replace(right, wrong)
        return marks
    asked = [(re.fullmatch(r"checks\.\w+\((\w+)\)", cell["source"].strip()), points(cell)) for cell in cells.values()]
    asked = [(found[1], worth) for found, worth in asked if found]
    function, worth = asked[-which]
    answer = next(cell for cell in cells.values() if is_answer(cell) and f"def {function}(" in cell["source"])
    answer["source"] += "\n" + TWICE.format(function)
    return total / 2, total - worth / 10  # what comes later may rest on it


def stop(name: str, cells: dict[str, dict], total: float) -> tuple[float, float]:
    """Leave open what comes after half of the marks. Returns those that are left, at least and at most."""
    untouched, marks, stopped = cells_of("exercises", name)[1], 0.0, False
    for key, cell in cells.items():
        stopped = stopped or (marks >= total / 2 and is_answer(cell))
        if stopped:
            cell["source"] = untouched[key]["source"]
        else:
            marks += points(cell)
    return marks, marks


def counted() -> dict[int, float]:
    """CPU seconds of every process that grading starts, by number, as they were last seen: walls end with a kill, after
    which nobody knows them."""
    seen: dict[int, float] = {}
    look = watch.Use.look

    def noted(use) -> None:
        look(use)
        for process in use.processes:
            seen[process.pid] = max(seen.get(process.pid, 0.0),
                                    watch._ask(process, lambda one: sum(one.cpu_times()[:2])))

    watch.Use.look = noted
    return seen


def call(name: str, course: Path, jobs: int) -> int:
    return grade(name, course / "in" / name, course=course, jobs=jobs)


def done(course: Path, name: str) -> int:
    """How many students are graded."""
    return len(list((course / "grading" / "cache" / name / "done").glob("[!.]*.json")))


def killed(name: str, course: Path, jobs: int, after: int) -> tuple[float, int]:
    """A call in a process of its own, ended by `kill -9` once so many students are done. Returns its seconds by the
    clock, and how many were done."""
    began = time.monotonic()
    process = multiprocessing.get_context("spawn").Process(target=call, args=(name, course, jobs))
    process.start()
    while process.is_alive() and done(course, name) < after:
        time.sleep(0.1)
    process.kill()
    process.join()
    return time.monotonic() - began, done(course, name)


def handed(name: str, course: Path, number: int) -> dict[str, tuple[float, float]]:
    """Write the source and the hand-ins; returns the marks that each deserves, by file."""
    shutil.copytree(ROOT / "solutions" / name, course / "solutions" / name)
    (course / "in" / name).mkdir(parents=True)
    deserved = {}
    for i in range(number):
        notebook, deserved[f"s{i:02}.ipynb"] = hand_in(name, i)
        (course / "in" / name / f"s{i:02}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    return deserved


def wrong(name: str, course: Path, deserved: dict[str, tuple[float, float]]) -> list[str]:
    """What is not as it should be: marks, rows, the gradebook."""
    with (course / "grading" / f"{name}.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = {row["handed in as"]: row for row in csv.DictReader(file) if row["handed in as"]}
    with sqlite3.connect(course / "grading" / "gradebook.db") as database:
        [whole] = database.execute("pragma integrity_check").fetchone()
    found = [] if whole == "ok" else [f"the gradebook is damaged: {whole}"]
    if rows.keys() != deserved.keys():
        found.append(f"rows and hand-ins differ: {', '.join(sorted(rows.keys() ^ deserved.keys()))}")
    return found + [f"{file}: {rows[file]['automatic']} marks, and {least:g} to {most:g} are deserved "
                    f"({rows[file]['notes'] or 'no note'})"
                    for file, (least, most) in deserved.items()
                    if file in rows and not least - 1e-9 <= float(rows[file]["automatic"]) <= most + 1e-9]


def measure(name: str, course: Path, chosen: argparse.Namespace, seen: dict[int, float]) -> list[str]:
    """Grade one exercise and print what it cost; returns what is not as it should be."""
    n, before, kept, how = chosen.hand_ins, 0.0, 0, ""
    deserved = handed(name, course, n)
    if chosen.kill:
        before, kept = killed(name, course, chosen.jobs, max(1, n // 2))
    seen.clear()
    began, used = time.monotonic(), time.process_time()
    call(name, course, chosen.jobs)
    clock, own, left = time.monotonic() - began, time.process_time() - used, max(1, n - kept)
    if chosen.kill:
        how = f" ({before:.0f} until it was killed with {kept} done, {clock:.0f} after)"
    whole = before + clock
    print(f"{name}, {n} hand-ins, {chosen.jobs} jobs: {whole:.0f} s by the clock{how}, "
          f"{'less' if whole < LONGEST else 'NOT LESS'} than {LONGEST}; CPU seconds a hand-in: "
          f"{sum(seen.values()) / left:.1f} in the sandbox, {own / left:.1f} around it", flush=True)
    return [f"{name}, {problem}" for problem in wrong(name, course, deserved)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("assignments", nargs="*", default=["01"], metavar="ASSIGNMENT", help="01, 02_soft_targets, ...")
    parser.add_argument("--hand-ins", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kill", action="store_true", help="end each call with kill -9 half-way, and resume it")
    chosen = parser.parse_args()
    names = [name for typed in chosen.assignments for name in matching(typed, NAMES)[:1] or parser.error(
        f"there is no assignment {typed!r}; choose of: {', '.join(NAMES)}")]
    os.environ.setdefault("KDCOURSE_QUIET", "1")
    seen, problems = counted(), []
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        shutil.copy(ROOT / "nbgrader_config.py", course)
        for name in names:
            problems += measure(name, course, chosen, seen)
    print("\n".join(problems) or "every mark is what its hand-in deserves")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
