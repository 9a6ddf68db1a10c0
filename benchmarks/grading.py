"""How long does grading a class take? Thirty mixed hand-ins of exercise 01 through `kdcourse grade`.

    python benchmarks/grading.py                    # about five minutes on two idle cores
    python benchmarks/grading.py --hand-ins 6 --jobs 1

Of ten hand-ins six are solved, two have a mistake each in a loss and in a loop, one stopped half-way, and one is
untouched. No two are the same, so that each runs. It prints seconds by the clock, CPU seconds of grading itself and of
all that it started, both per hand-in, and what is unlike what such a hand-in deserves. Nothing is written but below a
temporary folder.
"""

import argparse
import csv
import itertools
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from kdcourse.marking.grade import grade
from kdcourse.marking.sandbox import watch

ROOT, NAME = Path(__file__).parents[1], "01_vanilla_kd"
MISTAKES = (  # (in the solution, instead of it), and the automatic marks that are left of nine
    ({"T**2 * (log_p_t.exp()": "(log_p_t.exp()", "optimiser.zero_grad()\n": "\n"}, (5, 8.5)),
    ({"student.train()\n": "student.eval()\n", "dim=1).mean()": "dim=1).sum()"}, (5, 8.5)),
)
SOLVED, OPEN = (9, 9), (0, 0)


def hand_in(number: int) -> tuple[dict, tuple[float, float]]:
    """The notebook of a student, and the automatic marks that it deserves, at least and at most."""
    kind, changes, marks = number % 10, {}, SOLVED
    folder = ROOT / ("exercises" if kind == 9 else "solutions")
    notebook = json.loads((folder / NAME / f"{NAME}.ipynb").read_text("utf-8"))
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    if kind in (6, 7):
        changes, marks = MISTAKES[kind - 6]
    for name in ("q3-losses", "q4-loops", "q12-stopped"):
        source = "".join(cells[name]["source"])
        for right, wrong in changes.items():
            source = source.replace(right, wrong)
        cells[name]["source"] = f"{source}\n# {number}"
    if kind == 8:
        given = json.loads((ROOT / "exercises" / NAME / f"{NAME}.ipynb").read_text("utf-8"))
        untouched = {cell["id"]: cell for cell in given["cells"]}
        for name in itertools.dropwhile(lambda name: name != "q6-curve", list(cells)):
            cells[name]["source"] = untouched[name]["source"]
        marks = (4, 6)
    return notebook, OPEN if kind == 9 else marks


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hand-ins", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    os.environ.setdefault("KDCOURSE_QUIET", "1")
    seen, deserved = counted(), {}
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder)
        shutil.copytree(ROOT / "solutions" / NAME, course / "solutions" / NAME)
        shutil.copy(ROOT / "nbgrader_config.py", course)
        (course / "in").mkdir()
        for number in range(chosen.hand_ins):
            notebook, deserved[f"s{number:02}.ipynb"] = hand_in(number)
            (course / "in" / f"s{number:02}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        began, used = time.monotonic(), time.process_time()
        grade(NAME, course / "in", course=course, jobs=chosen.jobs)
        clock, own = time.monotonic() - began, time.process_time() - used
        with (course / "grading" / f"{NAME}.csv").open(newline="", encoding="utf-8-sig") as file:
            marks = {row["handed in as"]: float(row["automatic"]) for row in csv.DictReader(file)}
    print(f"{chosen.hand_ins} hand-ins, {chosen.jobs} jobs: {clock:.0f} s by the clock; CPU seconds a hand-in: "
          f"{sum(seen.values()) / chosen.hand_ins:.1f} in the sandbox, {own / chosen.hand_ins:.1f} around it")
    for name, (least, most) in deserved.items():
        if not least <= marks[name] <= most:
            print(f"{name}: {marks[name]:g} marks, and {least:g} to {most:g} are deserved")


if __name__ == "__main__":
    main()
