"""Where does distillation help, by how much, and which method? Fashion-MNIST, three students, three amounts of images.

    python benchmarks/methods_fashion.py                          # until all is measured: eight hours of one core
    python benchmarks/methods_fashion.py --budget-hours 2         # starts no training after two hours
    python benchmarks/methods_fashion.py --only "1000 images, perceptron" --methods kd dist dkd
    python benchmarks/methods_fashion.py --report                 # trains nothing, writes the result file

The teacher, a `cnn` of width 32, has learned from 30,000 images; the students learn from 1,000, 6,000 or 24,000 others:
a perceptron, a `cnn` of width 16, and one of width 4. For each pair of student and amount ("cell"):

1. hard labels alone train for long, with three seeds; the number of epochs is the first after which they gain no more
   than 0.2 points on the 6,000 validation images;
2. every method trains with every setting of its grid, three seeds; the best on validation images is kept;
3. hard labels and every method with its setting train with ten fresh seeds and are judged on the 10,000 test images.

Differences from hard labels are paired over seeds; those of a cell are one family for Holm, and so are those from KD.
No augmentation, so all answers are recorded once. The most telling cells and methods come first. Every finished
training is a line of the journal; the result file holds them too, and says what is missing: a later run goes on from
either.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from fashion import fashion
from journal import Journal, difference, holm
from record import COMMIT, RESULTS, write
from safetensors.torch import load_file, save_file
from students import HARD, KEYS, OutOfTime, best, means, table, train_missing

from kdcourse import data, distillers, metrics, models, teachers, train
from kdcourse.data.small import drawn
from kdcourse.sweep import sweep

NAME = "methods_fashion"
SIZES = {"teacher": 30_000, "students": 24_000, "valid": 6_000}
TEACHER = {"epochs": 8, "lr": 2e-3, "batch_size": 128, "schedule": "cosine", "seed": 0}
WEIGHTS = RESULTS / f"{NAME}_teacher.safetensors"
TRAINING = {"lr": 1e-3, "batch_size": 64}
STUDENTS = {"perceptron": ("mlp", {"hidden": (64,)}), "cnn": ("cnn", {"width": 16}), "thin cnn": ("cnn", {"width": 4})}
CELLS = [(1_000, "perceptron"), (1_000, "cnn"), (6_000, "perceptron"), (1_000, "thin cnn"), (6_000, "cnn"),
         (6_000, "thin cnn"), (24_000, "perceptron"), (24_000, "thin cnn"), (24_000, "cnn")]
LONG = {1_000: 120, 6_000: 60, 24_000: 30}  # epochs of step 1
EPOCHS = (10, 15, 20, 30, 40, 60, 80, 100)
GAIN = 0.002
CHOOSING, MEASURING = range(100, 103), range(10)
SOFT = {"T": [1.0, 2.0, 4.0], "alpha": [0.5, 0.9]}
GRIDS = {  # in the order in which they are measured
    "kd": [SOFT],
    "dist": [{"T": [1.0, 2.0, 4.0], "beta": [w], "gamma": [w]} for w in (1.0, 2.0)],
    "dkd": [{"T": [1.0, 2.0, 4.0], "beta": [1.0, 2.0, 8.0]}],
    "ats": [{"T_target": [high], "T_rest": [low], "alpha": [0.5, 0.9]} for high, low in ((2.0, 1.5), (4.0, 2.0))],
    "eskd": [SOFT],
    "ctkd": [{"alpha": [0.5, 0.9]}],
    "ipwd": [SOFT],
    "lskd": [{"T": [2.0, 4.0], "beta": [1.0, 9.0]}],
    "nkd": [{"T": [1.0, 4.0], "gamma": [0.5, 1.5]}],
    "ttm": [{"T": [2.0, 4.0], "beta": [1.0, 4.0]}],
    "wttm": [{"T": [2.0, 4.0], "beta": [1.0, 4.0]}],
}
OF_FEATURES = {  # for students that have maps
    "fitnet": [{"beta": [0.1, 1.0, 10.0]}],
    "at": [{"beta": [10.0, 100.0, 1000.0]}],
    "sp": [{"beta": [30.0, 300.0, 3000.0]}],
    "rkd": [{"distance": [w], "angle": [2 * w]} for w in (0.25, 2.5, 25.0)],
    "crd": [{"beta": [0.2, 0.8]}],
    "cosine": [{"alpha": [0.25, 0.9]}],
    "simkd": [{}],
}
EVERY = ("1000 images, perceptron", "1000 images, cnn", "6000 images, perceptron", "1000 images, thin cnn")
LEFT_OUT = {
    "in the other five cells, all but kd": "the time: there it is asked where KD helps",
    "pro_kd, multi_teacher, dgkd": "need checkpoints or several teachers",
    "slkd, dml": "train other networks beside the student",
    "mgd, ofd, review_kd": "made for maps of convolutions with batch normalisation, which no network here has",
    "methods that compare features, with the perceptron": "it has no maps",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, default=RESULTS / f"trial_{NAME}.jsonl")
    parser.add_argument("--budget-hours", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="+", choices=[title(*cell) for cell in CELLS], metavar="CELL")
    parser.add_argument("--methods", nargs="+", choices=[*GRIDS, *OF_FEATURES], metavar="METHOD")
    parser.add_argument("--report", action="store_true", help="train nothing, write the result file")
    chosen, path = parser.parse_args(), RESULTS / f"{NAME}.json"
    kept = json.loads(path.read_text())["results"] if path.exists() else {"trials": [], "teacher": {}}
    journal, stop = Journal(chosen.journal, KEYS, kept["trials"]), time.monotonic() + 3600 * chosen.budget_hours
    torch.set_num_threads(1)
    of_teacher, source = images()
    network = teacher(of_teacher)
    save = partial(report, journal, known(network, of_teacher, source, kept["teacher"]))
    try:
        for images_, name in [] if chosen.report else CELLS:
            if not chosen.only or title(images_, name) in chosen.only:
                measure(journal, Cell(images_, name, source, network), chosen.methods, stop, save)
    except OutOfTime:
        print("out of time", flush=True)
    print(f"written: {save()}")


def images() -> tuple[data.Source, data.Source]:
    """What the teacher learns from and what the students do, with the same validation and test images. Every class has
    its share of each, and any first images of the students' do too."""
    whole = fashion()
    x, y = (torch.cat([getattr(whole.train, part), getattr(whole.valid, part)]) for part in "xy")
    parts = dict(zip(SIZES, drawn(x, y, list(SIZES.values())), strict=False))
    splits = {kind: data.Split(f"{NAME}/{kind}", x[rows], y[rows]) for kind, rows in parts.items()}
    test = data.Split(f"{NAME}/test", whole.test.x, whole.test.y)
    return tuple(data.Source(NAME, splits[kind], splits["valid"], test, whole.classes)
                 for kind in ("teacher", "students"))


def teacher(source: data.Source) -> models.Classifier:
    """The teacher, trained if it is not there; in half precision on disk."""
    network = models.build("cnn", source.shape, len(source.classes), seed=TEACHER["seed"])
    if not WEIGHTS.exists():
        train.fit(distillers.Supervised(network), source, **TEACHER)
        save_file({key: value.half().contiguous() for key, value in network.state_dict().items()}, WEIGHTS)
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval()


def known(network, of_teacher: data.Source, source: data.Source, before: dict) -> dict:
    """The teacher's accuracy and mean confidence on images that it has learned, on its students' and on the test's:
    as a result file has them from `before`, if they are those of these weights."""
    found = {"weights": teachers.base.key_of(network)}
    if before.get("weights") == found["weights"]:
        return before
    for name, split in {"its own": of_teacher.train, "the students'": source.train, "test": source.test}.items():
        z = metrics.predict(network, split)
        found[name] = {"images": len(split), "accuracy": metrics.accuracy(z, split.y),
                       "confidence": z.softmax(dim=1).max(dim=1).values.mean().item()}
    return found


def title(images_: int, name: str) -> str:
    return f"{images_} images, {name}"


def grids_of(images_: int, name: str) -> dict[str, list[dict]]:
    """The grids of the methods that are measured in a cell."""
    if title(images_, name) not in EVERY:
        return {"kd": GRIDS["kd"]}
    return GRIDS if STUDENTS[name][0] == "mlp" else GRIDS | OF_FEATURES


class Cell:
    """One student on one amount of images, with the answers about them."""

    def __init__(self, images_: int, name: str, source: data.Source, network):
        self.title, self.long = title(images_, name), LONG[images_]
        self.source = source.with_train(source.train.take(torch.arange(images_), str(images_)))
        self.architecture, self.settings = STUDENTS[name]
        self.together = self.architecture == "mlp"
        self.grids = grids_of(images_, name)
        self.network, self._bank = network, None

    def student(self, seed: int) -> models.Classifier:
        source = self.source
        return models.build(self.architecture, source.shape, len(source.classes), seed=seed, **self.settings)

    def head(self, method: str, stage: str) -> dict:
        return {"cell": self.title, "teacher": "none" if method == HARD else "cnn", "stage": stage, "method": method}

    @property
    def bank(self) -> teachers.LogitBank:
        """The recorded answers; with maps where a method needs them."""
        if self._bank is None:
            kind = teachers.LogitBank if self.together else teachers.FeatureBank
            self._bank = kind.record(self.network, self.source.train)
        return self._bank


def measure(journal: Journal, cell: Cell, methods, stop: float, save) -> None:
    """The three steps of a cell, method by method."""
    epochs = enough(follow(journal, cell, stop))
    lesson = partial(train_missing, journal, source=cell.source, student=cell.student, together=cell.together,
                     stop=stop, epochs=epochs, **TRAINING)
    lesson(cell.head(HARD, "measured"), [{}], MEASURING, teacher=None)
    for method, grids in cell.grids.items():
        if methods and method not in methods:
            continue
        rows = lesson(cell.head(method, "chosen"), grids, CHOOSING, teacher=cell.bank)
        at = best(rows)
        lesson(cell.head(method, "measured"), [{key: [value] for key, value in at.items()}], MEASURING,
               teacher=cell.bank)
        save()


def follow(journal: Journal, cell: Cell, stop: float) -> list[dict]:
    """Hard labels for long: a row for each seed, with its accuracy on validation images after every epoch."""
    head = cell.head(HARD, "epochs")
    missing = [seed for seed in CHOOSING if not journal.has(**head, settings={}, seed=seed)]
    for seeds in [missing] if cell.together and missing else [[seed] for seed in missing]:
        if time.monotonic() > stop:
            raise OutOfTime
        rows = sweep(cell.student, distillers.Supervised, {}, cell.source, seeds=seeds, epochs=cell.long, history=True,
                     **TRAINING)
        for seed in seeds:
            curve = [round(row["valid_accuracy"], 5) for row in rows if row["seed"] == seed]
            journal.add([{**head, "settings": {}, "seed": seed, "curve": curve, "commit": COMMIT}])
    return [row for row in journal.where(**head) if row["seed"] in CHOOSING]


def enough(rows: list[dict]) -> int:
    """The first number of epochs after which the mean of five epochs rises by no more than `GAIN`."""
    curve = torch.tensor([row["curve"] for row in rows], dtype=torch.double).mean(dim=0)
    smooth = curve.unfold(0, 5, 1).mean(dim=1)  # entry i: epochs i + 1 to i + 5
    for epochs in EPOCHS:
        if epochs < len(curve) and smooth[epochs - 5 :].max() - smooth[epochs - 5] <= GAIN:
            return epochs
    return len(curve)


def report(journal: Journal, of_teacher: dict) -> Path:
    """Write the result file with what is there; `missing` says what is not."""
    cells, missing = {}, []
    for images_, name in CELLS:
        at, grids = title(images_, name), grids_of(images_, name)
        hard = journal.where(cell=at, stage="measured", method=HARD)
        grid = {method: journal.where(cell=at, stage="chosen", method=method) for method in grids}
        chosen = {method: best(rows) for method, rows in grid.items() if rows}
        arms = {method: journal.where(cell=at, stage="measured", method=method, settings=settings)
                for method, settings in chosen.items()}
        for method in (HARD, *grids):
            seeds = {row["seed"] for row in (hard if method == HARD else arms.get(method, []))}
            if lacking := sorted(set(MEASURING) - seeds):
                missing.append({"cell": at, "method": method, "seeds": lacking})
        if hard:
            compared = table({method: rows for method, rows in arms.items() if rows}, hard, images=10_000)
            for method, found in beside_kd(arms).items():
                compared[method]["above kd"] = found
            cells[at] = {"epochs": enough(journal.where(cell=at, stage="epochs")), "chosen": chosen,
                         "grids": {method: means(rows) for method, rows in grid.items() if rows},
                         "table": compared}
    settings = {"sizes": SIZES | {"test": 10_000}, "teacher": {"network": "cnn", "width": 32, **TEACHER},
                "students": STUDENTS, "optimizer": "Adam", **TRAINING, "gain": GAIN, "long": LONG,
                "choosing seeds": list(CHOOSING), "grids": GRIDS | OF_FEATURES, "left out": LEFT_OUT}
    results = {"teacher": of_teacher, "cells": cells, "missing": missing, "trials": list(journal.rows.values())}
    return write(NAME, settings=settings, seeds=list(MEASURING), results=results)


def beside_kd(arms: dict[str, list[dict]]) -> dict[str, dict]:
    """How many points every other method of a cell is above KD, with the settings that were chosen for each."""
    found = {method: difference(rows, arms["kd"], images=10_000) for method, rows in arms.items()
             if rows and method != "kd"}
    return holm({method: one for method, one in found.items() if one})


if __name__ == "__main__":
    main()
