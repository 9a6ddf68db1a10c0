"""The questions of lessons 06 and 07 at an adequate budget: 40 epochs of CIFAR-10, from teachers that have learned the
students' images and from such that have not. It runs the study `cifar10_halves` of `kdcourse.studies`.

    python benchmarks/cifar10_halves.py                    # until everything is measured: days of one core
    python benchmarks/cifar10_halves.py --only lightnn     # arms that have one of these words in their names
    python benchmarks/cifar10_halves.py --report           # trains nothing, writes the result file

It may be stopped at any time, and a second one may run on the same folder: a training is whole or not there. The result
file holds every finished training, and the teachers' weights lie beside it, so that a later run goes on from there. The
most telling arms come first. Networks compute in bfloat16 while they train, as on a GPU, losses in float32: a processor
with instructions for it takes two thirds of the time.

Questions about one student and one half of the images are three families for Holm: those about KD and DIST (lesson 06),
those about SLKD (lesson 07), and those about the ViT as a teacher.
"""

import argparse
import json
import os
import shutil
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import torch
from cifar10 import images
from record import RESULTS, write

from kdcourse import data, files, metrics, studies
from kdcourse.data import cifar

NAME, PRECISION = "cifar10_halves", "bfloat16"
STEPS = [  # the most telling first
    ["unseen lightnn", "unseen resnet20 to lightnn"], ["lightnn"],
    ["unseen resnet8", "unseen resnet20 to resnet8"], ["resnet8"],
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=RESULTS / f"trial_{NAME}")
    parser.add_argument("--only", nargs="+", metavar="WORDS")
    parser.add_argument("--report", action="store_true", help="train nothing, write the result file")
    chosen, study = parser.parse_args(), studies.STUDIES[NAME]
    torch.set_num_threads(1)
    os.environ["KDCOURSE_PRECISION"] = PRECISION
    data.SOURCES["cifar10"] = whole
    unpack(study, studies.Store(chosen.folder))
    for only in [] if chosen.report else [chosen.only] if chosen.only else STEPS:
        if failed := studies.run(study, study.units(only), chosen.folder):
            raise SystemExit("\n".join(f"{name}: {why}" for name, why in failed.items()))
    print(f"written: {report(study, studies.Store(chosen.folder))}")


def whole() -> data.Source:
    """The source `cifar10` of the course, from whatever form the folder of `KDCOURSE_DATA` has it in."""
    x, y, classes = images("train", 50_000)
    test = images("test", 10_000)[:2]
    return data.from_arrays("cifar10", x[:cifar.TRAIN], y[:cifar.TRAIN], classes=classes,
                            valid=(x[cifar.TRAIN:], y[cifar.TRAIN:]), test=test)


def unpack(study: studies.Study, store: studies.Store) -> None:
    """Put what the result file holds, and the weights beside it, into the folder, if they are not there."""
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]["trials"] if path.exists() else []
    store.folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        unit = studies.Unit(study, study.arm(row["arm"]), row["seed"])
        if unit.teaches and not store.weights(unit).exists():
            shutil.copy(kept(unit), store.weights(unit))
        if not store.path(unit).exists():
            files.write(store.path(unit), json.dumps(row, indent=1) + "\n")


def kept(unit: studies.Unit) -> Path:
    """Where the weights of a teacher lie beside the result file."""
    return RESULTS / f"{NAME}_{unit.arm.name}.safetensors"


def report(study: studies.Study, store: studies.Store) -> Path:
    """Write the result file with what is there; `missing` says what is not."""
    rows = studies.finished(study, store.folder)
    for name in study.teachers():
        unit = studies.Unit(study, study.arm(name), 0)
        if rows[name]:
            shutil.copy(store.weights(unit), kept(unit))
    trials = [row for seeds in rows.values() for row in seeds.values()]
    for row in trials:
        row["result"]["rows"] = row["result"]["rows"][-1:]  # the last epoch is enough to read, and to go on from
    missing = defaultdict(list)
    for unit in study.units():
        if unit.seed not in rows[unit.arm.name]:
            missing[unit.arm.name].append(unit.seed)
    results = {"cells": {cell: table(study, rows, cell) for cell in cells(study)}, "missing": missing, "trials": trials}
    settings = {"study": NAME, "precision": PRECISION, "notes": study.notes,
                "arms": {arm.name: asdict(arm) for arm in study.arms}}
    return write(NAME, settings=settings, seeds=list(study.seeds), results=results)


def cells(study: studies.Study) -> list[str]:
    """The pairs of images and student: "unseen lightnn"."""
    return [arm.name.removesuffix(" hard labels") for arm in study.arms if arm.name.endswith(" hard labels")]


def table(study: studies.Study, rows: dict, cell: str) -> dict:
    """The arms of a cell with their mean accuracy, and the answers to its questions."""
    half, student = cell.split()
    of = [arm.name for arm in study.arms if arm.name.split()[0] == half and student in arm.name.split()]
    arms = {name: {"test_accuracy": sum(values) / len(values), "n": len(values)} for name in of
            if (values := [row["result"]["test_top1"] for row in rows[name].values()])}
    families = defaultdict(dict)
    for question, pair in studies.pairs(study, rows).items():
        if study.questions[question][0] in of:
            families[family(study, question)][question] = pair
    compared = {}
    for pairs in families.values():
        compared |= metrics.family(pairs, images=10_000, margin=study.margin)
    return {"arms": arms, "questions": {
        question: {"ours": study.questions[question][0], "baseline": study.questions[question][1],
                   "family": family(study, question), "points": 100 * c.mean, "low": 100 * c.low, "high": 100 * c.high,
                   "n": c.n, "p": c.p, "p_holm": c.holm, "verdict": c.verdict} for question, c in compared.items()}}


def family(study: studies.Study, question: str) -> str:
    """What a question is about, SLKD, the ViT or else DIST: those of one kind are corrected together."""
    arms = [study.arm(name) for name in study.questions[question]]
    if any(arm.lesson["method"].startswith("slkd") for arm in arms):
        return "SLKD"
    return "ViT" if "vit" in [arm.teacher for arm in arms] else "DIST"


if __name__ == "__main__":
    main()
