"""Which method helps on CIFAR-10, and does it matter whether the teacher has seen its student's images?

    python benchmarks/methods_cifar10.py                          # until everything is measured: a week of one core
    python benchmarks/methods_cifar10.py --budget-hours 8         # starts no training after eight hours
    python benchmarks/methods_cifar10.py --only "lightnn, unseen half" --methods kd dist dkd
    python benchmarks/methods_cifar10.py --report                 # trains nothing, writes the result file

Two teachers, a ResNet-20 and the tutorial's DeepNN, learn from one half of the training images, 24,000. Two students, a
ResNet-8 and the tutorial's LightNN, learn from the other half, which no teacher has seen, and once more from the very
half that the teachers have learned. 2,000 images validate and the 10,000 of the test set judge. All train with crops
and flips; there are eight views of every image, and the teachers' answers about each are recorded. Methods that compare
feature maps are left out: the maps of all views do not fit into memory.

For each pair of student and half ("cell") and each teacher, the settings of a method are those of its grid that are
best on validation images with two seeds; then hard labels and every method train with five fresh seeds. Differences
from hard labels are paired over seeds; those of a cell are one family for Holm. The most telling come first. Every
finished training is a line of the journal; the result file holds them too, and says what is missing: a later run goes
on from either. A teacher is trained in one piece (ResNet-20 an hour and a half, DeepNN two and a half) and kept beside
the journal.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from cifar10 import images
from journal import Journal
from record import RESULTS, write
from safetensors.torch import load_file, save_file
from students import HARD, KEYS, OutOfTime, best, means, table, train_missing

from kdcourse import data, distillers, metrics, models, teachers, train
from kdcourse.data import Augment

NAME = "methods_cifar10"
HALF, VALID, TEST = 24_000, 2_000, 10_000
TEACHERS = ("resnet20", "deepnn")
STUDENTS = ("lightnn", "resnet8")
HALVES = ("unseen half", "seen half")
VIEWS = Augment(pad=4, flip=True, views=8)
TEACHER = {"epochs": 40, "lr": 2e-3, "batch_size": 128, "schedule": "cosine", "seed": 0}
TRAINING = {"epochs": 40, "lr": 1e-3, "batch_size": 128, "schedule": "cosine"}
CHOOSING, MEASURING = range(100, 102), range(5)
SOFT = {"T": [2.0, 4.0], "alpha": [0.5, 0.9]}
GRIDS = {  # in the order in which they are measured
    "kd": [SOFT],
    "dist": [{"T": [2.0, 4.0], "beta": [w], "gamma": [w]} for w in (1.0, 2.0)],
    "dkd": [{"T": [2.0, 4.0], "beta": [1.0, 2.0]}],
    "ats": [{"T_target": [4.0], "T_rest": [2.0], "alpha": [0.5, 0.9]}],
    "eskd": [SOFT],
    "ctkd": [{"alpha": [0.5, 0.9]}],
    "ipwd": [SOFT],
    "lskd": [{"T": [2.0, 4.0], "beta": [1.0, 9.0]}],
    "nkd": [{"T": [1.0, 4.0], "gamma": [0.5, 1.5]}],
    "ttm": [{"T": [2.0, 4.0], "beta": [1.0, 4.0]}],
    "wttm": [{"T": [2.0, 4.0], "beta": [1.0, 4.0]}],
}
LEFT_OUT = {"fitnet, cosine, at, mgd, ofd, review_kd, simkd, sp, rkd, crd": "their maps do not fit into memory",
            "pro_kd, multi_teacher, dgkd": "need checkpoints or several teachers",
            "slkd, dml": "train other networks beside the student"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, default=RESULTS / f"trial_{NAME}.jsonl")
    parser.add_argument("--budget-hours", type=float, default=float("inf"))
    parser.add_argument("--only", nargs="+", choices=[title(*cell) for cell in cells()], metavar="CELL")
    parser.add_argument("--methods", nargs="+", choices=list(GRIDS), metavar="METHOD")
    parser.add_argument("--report", action="store_true", help="train nothing, write the result file")
    chosen, path = parser.parse_args(), RESULTS / f"{NAME}.json"
    before = json.loads(path.read_text())["results"] if path.exists() else {"trials": [], "teachers": {}}
    journal, stop = Journal(chosen.journal, KEYS, before["trials"]), time.monotonic() + 3600 * chosen.budget_hours
    torch.set_num_threads(1)
    halves, known = sources(), before["teachers"]
    try:
        for student, half in [] if chosen.report else cells():
            if chosen.only and title(student, half) not in chosen.only:
                continue
            for teacher in TEACHERS:
                measure(journal, student, half, teacher, halves, known, chosen, stop)
                report(journal, known)
    except OutOfTime:
        print("out of time", flush=True)
    print(f"written: {report(journal, known)}")


def cells() -> list[tuple[str, str]]:
    return [(student, half) for student in STUDENTS for half in HALVES]


def title(student: str, half: str) -> str:
    return f"{student}, {half}"


def sources() -> dict[str, data.Source]:
    """The teachers' half ("seen half") and the other, with the same validation and test images."""
    x, y, classes = images("train", 2 * HALF + VALID)
    x_test, y_test, _ = images("test", TEST)
    parts = [(x[rows], y[rows]) for rows in torch.arange(len(y)).split([HALF, HALF, VALID])]
    return {half: data.from_arrays(f"{NAME}, {half}", *part, classes=classes, valid=parts[2], test=(x_test, y_test))
            for half, part in zip(reversed(HALVES), parts, strict=False)}


def measure(journal: Journal, student: str, half: str, teacher: str, halves: dict, known: dict, chosen, stop) -> None:
    """Hard labels, and every method from one teacher: the best settings on validation images, then the test."""
    source = halves[half]
    lesson = partial(train_missing, journal, source=source, together=False, stop=stop, augment=VIEWS, **TRAINING,
                     student=lambda seed: models.build(student, source.shape, len(source.classes), seed=seed))

    def head(method: str, stage: str) -> dict:
        return {"cell": title(student, half), "teacher": "none" if method == HARD else teacher, "stage": stage,
                "method": method}

    lesson(head(HARD, "measured"), [{}], MEASURING, teacher=None)
    bank = answers(teacher, halves, half, chosen.journal.parent, known)
    for method, grids in GRIDS.items():
        if not chosen.methods or method in chosen.methods:
            at = best(lesson(head(method, "chosen"), grids, CHOOSING, teacher=bank))
            lesson(head(method, "measured"), [{key: [value] for key, value in at.items()}], MEASURING, teacher=bank)


def answers(name: str, halves: dict, half: str, folder: Path, known: dict) -> teachers.LogitBank:
    """What the teacher says about the views of that half; it is trained if its weights are not there."""
    seen, path = halves["seen half"], folder / f"{NAME}_{name}.safetensors"
    network = models.build(name, seen.shape, len(seen.classes), seed=TEACHER["seed"])
    if not path.exists():
        train.fit(distillers.Supervised(network), seen, augment=Augment(pad=4, flip=True), **TEACHER)
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    network.load_state_dict(load_file(path))
    known[name] = {"weights": teachers.base.key_of(network)} | {
        words: sureness(network, split) for words, split in
        {"seen half": seen.train, "unseen half": halves["unseen half"].train, "test": seen.test}.items()}
    return teachers.LogitBank.cached(network, halves[half].train, augment=VIEWS, folder=folder)


def sureness(network, split) -> dict:
    """Accuracy and mean confidence on the images as they are."""
    z = metrics.predict(network, split)
    return {"images": len(split), "accuracy": metrics.accuracy(z, split.y),
            "confidence": z.softmax(dim=1).max(dim=1).values.mean().item()}


def report(journal: Journal, known: dict) -> Path:
    """Write the result file with what is there; `missing` says what is not."""
    found, missing = {}, []
    for at in [title(*cell) for cell in cells()]:
        hard, arms, grids = journal.where(cell=at, stage="measured", method=HARD), {}, {}
        for teacher in TEACHERS:
            for method in GRIDS:
                of = {"cell": at, "teacher": teacher, "method": method}
                tried = journal.where(**of, stage="chosen")
                settings = best(tried) if tried else None
                arms[f"{method} from {teacher}"] = journal.where(**of, stage="measured", settings=settings)
                grids[f"{method} from {teacher}"] = means(tried)
        missing += [{"cell": at, "method": name, "seeds": lacking} for name, rows in {HARD: hard, **arms}.items()
                    if (lacking := sorted(set(MEASURING) - {row["seed"] for row in rows}))]
        if hard:
            found[at] = {"grids": {name: shown for name, shown in grids.items() if shown},
                         "table": table({name: rows for name, rows in arms.items() if rows}, hard, images=TEST)}
    settings = {"half": HALF, "valid": VALID, "test": TEST, "teachers": TEACHER, "students": TRAINING,
                "optimizer": "Adam", "augment": VIEWS.name, "choosing seeds": list(CHOOSING), "grids": GRIDS,
                "left out": LEFT_OUT}
    results = {"teachers": known, "cells": found, "missing": missing, "trials": list(journal.rows.values())}
    return write(NAME, settings=settings, seeds=list(MEASURING), results=results)


if __name__ == "__main__":
    main()
