"""Which method helps on CIFAR-10, and does it matter whether the teacher has seen its student's images?

    python benchmarks/methods_cifar10.py                          # until everything is measured: six hours of one core
    python benchmarks/methods_cifar10.py --until 15:00            # starts no training after that time of the day
    python benchmarks/methods_cifar10.py --only "lightnn, unseen images" --methods kd dist dkd
    python benchmarks/methods_cifar10.py --report                 # trains nothing, writes the result file

The teachers are the published ResNet-20 and ResNet-56, which have learned the 50,000 training images. Two students, the
tutorial's LightNN and a ResNet-8, learn from 4,000 of those ("seen images") and, as a second case, from 4,000 images of
the test set, which no teacher has learned ("unseen images"). 1,000 other test images validate in both cases, and the
5,000 that are left judge: no network learns from them. The images are taken as they are, so that the teachers' answers
and maps are recorded once. A LightNN's learning rate and epochs are those of a trial with hard labels and one seed that
is not used again: it reached 48.4 % of the validation images in 8 epochs, and 52.9 % in 20 with crops and flips. A
ResNet-8's are those of `cifar10_methods.py`.

For each pair of student and images ("cell") and each teacher, the settings of a method are those of its grid that are
best on validation images with two seeds; then hard labels and every method train with five fresh seeds. Differences
from hard labels are paired over seeds; those of a cell are one family for Holm. The most telling come first. Every
finished training is a line of the journal; the result file holds them too, and says what is missing: a later run goes
on from either.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from cifar10 import images, trained
from journal import Journal
from record import RESULTS, write
from students import HARD, KEYS, OutOfTime, best, means, table, train_missing

from kdcourse import data, metrics, models, teachers

NAME = "methods_cifar10"
TRAIN, VALID, TEST = 4_000, 1_000, 5_000
TEACHERS = {"resnet20": 20, "resnet56": 56}
UNSEEN, SEEN = KINDS = ("unseen images", "seen images")
TRAINING = {"lightnn": {"epochs": 8, "lr": 4e-3, "batch_size": 128, "schedule": "cosine"},
            "resnet8": {"epochs": 8, "lr": 2e-3, "batch_size": 64, "schedule": "cosine"}}
CHOOSING, MEASURING = range(101, 103), range(5)
OF_LOGITS = {
    "kd": [{"T": [2.0, 4.0], "alpha": [0.5, 0.9]}],
    "dist": [{"T": [2.0, 4.0], "beta": [2.0], "gamma": [2.0]}],
    "dkd": [{"T": [4.0], "beta": [1.0, 2.0]}],
    "lskd": [{"T": [2.0], "beta": [1.0, 9.0]}],
    "nkd": [{"T": [1.0], "gamma": [0.5, 1.5]}],
    "ttm": [{"T": [4.0], "beta": [1.0, 4.0]}],
    "wttm": [{"T": [4.0], "beta": [1.0, 4.0]}],
    "ats": [{"T_target": [4.0], "T_rest": [2.0], "alpha": [0.5, 0.9]}],
    "eskd": [{"T": [4.0], "alpha": [0.5, 0.9]}],
    "ctkd": [{"alpha": [0.5, 0.9]}],
    "ipwd": [{"T": [4.0], "alpha": [0.5, 0.9]}],
}
OF_FEATURES = {
    "fitnet": [{"beta": [0.1, 1.0, 10.0]}],
    "simkd": [{}],
    "sp": [{"beta": [30.0, 300.0, 3000.0]}],
    "ofd": [{"beta": [1e-4, 1e-3, 1e-2]}],
    "at": [{"beta": [10.0, 100.0, 1000.0]}],
    "rkd": [{"distance": [w], "angle": [2 * w]} for w in (0.25, 2.5, 25.0)],
    "crd": [{"beta": [0.2, 0.8]}],
    "cosine": [{"alpha": [0.25, 0.5, 0.9]}],
    "mgd": [{"alpha": [4e-5, 4e-4, 4e-3]}],  # 4e-4 is the published weight scaled to a map of this size
}
STAGES = {"lightnn": {  # its first two stages have the size of the teacher's last two, its third is a vector
    "fitnet": [1, 2], "cosine": [1, 2], "mgd": [1, 2],
    "ofd": [[0, 1], [1, 2]], "at": [[0, 1], [1, 2]],
}}
GRIDS = OF_LOGITS | OF_FEATURES
REFINED, OTHERS, FEATURES = ("dist", "dkd", "lskd"), tuple(OF_LOGITS)[4:], tuple(OF_FEATURES)
STEPS = [  # the most telling first
    ("lightnn", UNSEEN, "resnet20", ("kd", *REFINED)), ("lightnn", SEEN, "resnet20", ("kd",)),
    ("lightnn", UNSEEN, "resnet20", FEATURES), ("lightnn", SEEN, "resnet20", REFINED),
    ("lightnn", UNSEEN, "resnet20", OTHERS), ("lightnn", SEEN, "resnet20", (*OTHERS, *FEATURES)),
    ("lightnn", UNSEEN, "resnet56", ("kd", *REFINED)), ("lightnn", SEEN, "resnet56", ("kd", *REFINED)),
    ("resnet8", UNSEEN, "resnet20", ("kd", *REFINED)), ("resnet8", SEEN, "resnet20", ("kd", *REFINED)),
    ("resnet8", UNSEEN, "resnet20", FEATURES), ("resnet8", SEEN, "resnet20", FEATURES),
]
LEFT_OUT = {"pro_kd, multi_teacher, dgkd": "need checkpoints or several teachers",
            "slkd, dml": "train other networks beside the student",
            "review_kd": "its fusions take ten times as long as the student",
            "from the ResNet-56, all but kd, dist, dkd, lskd": "the time",
            "with the ResNet-8, the other methods of logits": "the time"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, default=RESULTS / f"trial_{NAME}.jsonl")
    parser.add_argument("--until", default="", metavar="HH:MM", help="start no training after this time of the day")
    parser.add_argument("--only", nargs="+", choices=list(cells()), metavar="CELL")
    parser.add_argument("--methods", nargs="+", choices=list(GRIDS), metavar="METHOD")
    parser.add_argument("--report", action="store_true", help="train nothing, write the result file")
    chosen, path = parser.parse_args(), RESULTS / f"{NAME}.json"
    before = json.loads(path.read_text())["results"] if path.exists() else {"trials": [], "teachers": {}}
    journal, stop = Journal(chosen.journal, KEYS, before["trials"]), end(chosen.until)
    torch.set_num_threads(1)
    answers = Answers(sources(), chosen.journal.parent, before["teachers"])
    try:
        for student, kind, teacher, methods in [] if chosen.report else STEPS:
            if not chosen.only or title(student, kind) in chosen.only:
                wanted = [method for method in methods if method in (chosen.methods or GRIDS)]
                measure(journal, student, kind, teacher, wanted, answers, stop)
    except OutOfTime:
        print("out of time", flush=True)
    print(f"written: {report(journal, answers)}")


def end(until: str) -> float:
    """The time of the day HH:MM that comes next, on the clock of `time.monotonic`; infinite without one."""
    if not until:
        return float("inf")
    seconds = lambda hours, minutes, rest=0: 3600 * int(hours) + 60 * int(minutes) + rest  # noqa: E731
    now = time.localtime()
    return time.monotonic() + (seconds(*until.split(":")) - seconds(now.tm_hour, now.tm_min, now.tm_sec)) % 86_400


def cells() -> dict[str, tuple[str, str]]:
    """Every pair of student and images by its title."""
    return {title(student, kind): (student, kind) for student in TRAINING for kind in KINDS}


def title(student: str, kind: str) -> str:
    return f"{student}, {kind}"


def sources() -> dict[str, data.Source]:
    """What the students learn from, by kind, with the same validation and test images."""
    x, y, classes = images("test", TRAIN + VALID + TEST)
    unseen, valid, test = [(x[rows], y[rows]) for rows in torch.arange(len(y)).split([TRAIN, VALID, TEST])]
    seen = images("train", TRAIN)[:2]
    return {kind: data.from_arrays(f"{NAME}, {kind}", *part, classes=classes, valid=valid, test=test)
            for kind, part in zip(KINDS, (unseen, seen), strict=True)}


class Answers:
    """The images, and what the teachers say about them: logits beside the journal, the maps of one teacher about one
    kind of images in memory (0.2 GB)."""

    def __init__(self, images_: dict[str, data.Source], folder: Path, known: dict):
        self.sources, self.folder, self.known = images_, folder, known
        self._maps: dict[tuple, teachers.FeatureBank] = {}

    def bank(self, teacher: str, kind: str, *, maps: bool) -> teachers.LogitBank:
        """The recorded answers of that teacher about that kind of images."""
        network, split = trained(TEACHERS[teacher]), self.sources[kind].train
        if not maps:
            return teachers.LogitBank.cached(network, split, folder=self.folder)
        if (teacher, kind) not in self._maps:
            self._maps.clear()
            self._maps[teacher, kind] = teachers.FeatureBank.record(network, split)
        return self._maps[teacher, kind]

    def sureness(self) -> dict:
        """Each teacher's accuracy and mean confidence, on the images as they are."""
        for name in TEACHERS.keys() - self.known.keys():
            network = trained(TEACHERS[name])
            self.known[name] = {"weights": teachers.base.key_of(network)}
            splits = {kind: source.train for kind, source in self.sources.items()}
            for words, split in {**splits, "test": self.sources[UNSEEN].test}.items():
                z = metrics.predict(network, split)
                self.known[name][words] = {"images": len(split), "accuracy": metrics.accuracy(z, split.y),
                                           "confidence": z.softmax(dim=1).max(dim=1).values.mean().item()}
        return {name: self.known[name] for name in TEACHERS}


def measure(journal, student: str, kind: str, teacher: str, methods: list, answers: Answers, stop: float) -> None:
    """Hard labels, and every method from one teacher: the best settings on validation images, then the test."""
    source = answers.sources[kind]
    lesson = partial(train_missing, journal, source=source, together=False, stop=stop, **TRAINING[student],
                     student=lambda seed: models.build(student, source.shape, len(source.classes), seed=seed))

    def head(method: str, stage: str) -> dict:
        return {"cell": title(student, kind), "teacher": "none" if method == HARD else teacher, "stage": stage,
                "method": method}

    lesson(head(HARD, "measured"), [{}], MEASURING, teacher=None)
    for method in methods:
        bank = answers.bank(teacher, kind, maps=method in OF_FEATURES)
        at = best(lesson(head(method, "chosen"), grids_of(method, student), CHOOSING, teacher=bank))
        lesson(head(method, "measured"), [{key: [value] for key, value in at.items()}], MEASURING, teacher=bank)


def grids_of(method: str, student: str) -> list[dict]:
    """The grids of a method, with the stages that it compares where that student needs others than the method's own."""
    stages = STAGES.get(student, {}).get(method)
    return GRIDS[method] if stages is None else [grid | {"stages": [stages]} for grid in GRIDS[method]]


def planned(cell: str) -> list[tuple[str, str]]:
    """The teacher and the method of every arm of a cell, in the order in which they are measured."""
    return [(teacher, method) for student, kind, teacher, methods in STEPS if title(student, kind) == cell
            for method in methods]


def report(journal: Journal, answers: Answers) -> Path:
    """Write the result file with what is there; `missing` says what is not."""
    found, missing = {}, []
    for at in cells():
        hard, arms, grids = journal.where(cell=at, stage="measured", method=HARD), {}, {}
        for teacher, method in planned(at):
            of = {"cell": at, "teacher": teacher, "method": method}
            tried = journal.where(**of, stage="chosen")
            arms[f"{method} from {teacher}"] = journal.where(**of, stage="measured",
                                                             settings=best(tried) if tried else None)
            grids[f"{method} from {teacher}"] = means(tried)
        missing += [{"cell": at, "method": name, "seeds": lacking} for name, rows in {HARD: hard, **arms}.items()
                    if (lacking := sorted(set(MEASURING) - {row["seed"] for row in rows}))]
        if hard:
            found[at] = {"grids": {name: shown for name, shown in grids.items() if shown},
                         "chosen": {name: rows[0]["settings"] for name, rows in arms.items() if rows},
                         "table": table({name: rows for name, rows in arms.items() if rows}, hard, images=TEST)}
    settings = {"train": TRAIN, "valid": VALID, "test": TEST, "teachers": list(TEACHERS), "students": TRAINING,
                "optimizer": "Adam", "augment": None, "choosing seeds": list(CHOOSING),
                "grids": GRIDS, "stages": STAGES, "left out": LEFT_OUT}
    results = {"teachers": answers.sureness(), "cells": found, "missing": missing,
               "trials": list(journal.rows.values())}
    return write(NAME, settings=settings, seeds=list(MEASURING), results=results)


if __name__ == "__main__":
    main()
