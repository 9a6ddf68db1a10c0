"""Hints and relations on Fashion-MNIST: do a teacher's features help a small student, against labels and against KD?

    python benchmarks/hints.py                            # five minutes of one idle core
    python benchmarks/hints.py --first 10 --name hints_again --chosen hints --only main     # ten other seeds
    python benchmarks/hints.py --teacher fashion_cnn_1 --name hints_other --chosen hints --only main
    python benchmarks/hints.py --student "thin cnn" --name trial_cnn       # a student with maps: ten minutes

A student learns from the first 300 training images of `fashion_small`: a perceptron with 64 hidden units, or a `cnn`
of width 8. The teacher, a `cnn` of width 32, learned from 53,000 others. The learning rate is the best one for hard
labels, and the weight of every method the best one of a grid, by the mean accuracy on the 1,000 validation images over
two seeds that are not used again. A tenth and ten times of the chosen weight are measured too, with five seeds.

Controls: the same method with the answers of other images; hints from a teacher that never learned; the network that
SimKD ships, on labels alone. Every student is judged once, after its last epoch, on the 2,000 test images. A finished
student is a line of `results/trial_NAME.jsonl`, so that a run that was stopped goes on.
"""

import argparse
import json
from functools import partial

import torch
from record import COMMIT, RESULTS, write
from torch import nn

from kdcourse import data, distillers, metrics, models, train, trained
from kdcourse.core import generator, seeded
from kdcourse.distillers.simkd import Reused
from kdcourse.teachers import FeatureBank

IMAGES, BATCH, CHOOSING, RATES = 300, 50, (100, 101), (3e-3, 6e-3)
STUDENTS = {"perceptron": ("mlp", {"hidden": (64,)}, 30), "thin cnn": ("cnn", {"width": 8}, 15)}  # and the epochs
GRIDS = {
    "KD": ("kd", [{"T": T, "alpha": alpha} for T in (1.0, 2.0, 4.0) for alpha in (0.5, 0.9)]),
    "FitNet": ("fitnet", [{"beta": beta} for beta in (0.1, 1.0, 10.0)]),
    "cosine": ("cosine", [{"alpha": alpha} for alpha in (0.25, 0.5, 0.9)]),
    "AT": ("at", [{"beta": beta} for beta in (1.0, 10.0, 100.0, 1000.0)]),
    "MGD": ("mgd", [{"alpha": alpha} for alpha in (7e-5, 7e-4, 7e-3)]),
    "SP": ("sp", [{"beta": beta} for beta in (3.0, 30.0, 300.0, 3000.0)]),
    "RKD": ("rkd", [{"distance": w, "angle": 2 * w} for w in (0.25, 2.5, 25.0)]),
    "SimKD": ("simkd", [{}]),
}
SCALED = {"FitNet": ("beta",), "AT": ("beta",), "SP": ("beta",), "RKD": ("distance", "angle")}


class Dealt(FeatureBank):
    """A recorded teacher whose answers are dealt out to other images."""

    def __init__(self, bank: FeatureBank, order: torch.Tensor):
        super().__init__(bank.table[:, order], [table[:, order] for table in bank.tables], bank.live,
                         origin=bank.origin, teacher=bank.teacher)


def setting(method: str, point: dict) -> str:
    """A method and its numbers in words, such as "AT, beta = 10"."""
    return ", ".join([method, *(f"{name} = {value:g}" for name, value in point.items())])


def made(method: str, point: dict, bank, network):
    return distillers.METHODS[GRIDS[method][0]](network, bank, **point)


def as_shipped(teacher, network):
    """The network that SimKD ships, with a head of its own, on labels alone."""
    whole = distillers.SimKD(network, teacher)
    with seeded(0):
        head = nn.Linear(teacher.network.linear.in_features, 10)
    return distillers.Supervised(Reused(network.encoder(), whole.projector, head))


class Study:
    """The images, the recorded teacher, and the file of finished students."""

    def __init__(self, name: str, teacher: str, student: str):
        self.network, self.layers, self.epochs = STUDENTS[student]
        self.grids = {method: grid for method, (_, grid) in GRIDS.items() if student != "perceptron" or method != "AT"}
        whole = data.load("fashion_small")
        few = whole.train.take(torch.arange(IMAGES), "few")
        self.source = whole.with_train(few)
        self.short = data.Source(whole.name, few, whole.valid.take(torch.arange(50), "some"), whole.test, whole.classes)
        network = trained.network(teacher)
        self.bank = FeatureBank.record(network, few)
        self.untrained = FeatureBank.record(models.fresh_copy(network, seed=7), few)
        self.wrong = Dealt(self.bank, torch.randperm(IMAGES, generator=generator(7, 3)))
        self.path = RESULTS / f"trial_{name}.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.known = {(row["arm"], row["lr"], row["seed"]): row for row in map(json.loads, lines)}

    def run(self, arm: str, make, seed: int, lr: float, *, test: bool) -> dict:
        """One student, if it is not there yet."""
        if (arm, lr, seed) in self.known:
            return self.known[arm, lr, seed]
        distiller = make(models.build(self.network, (1, 28, 28), 10, seed=seed, **self.layers))
        train.fit(distiller, self.short, epochs=self.epochs, lr=lr, batch_size=BATCH, seed=seed, schedule="cosine",
                  device="cpu")
        split = self.source.test if test else self.source.valid
        accuracy = metrics.accuracy(metrics.predict(distiller.deployable(), split), split.y)
        row = {"arm": arm, "lr": lr, "seed": seed, "test" if test else "valid": accuracy}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
        self.known[arm, lr, seed] = row
        return row

    def chosen(self, lr: float) -> tuple[dict, dict]:
        """The point of every method that is best on validation images, and the means of all."""
        points, tried = {}, {}
        for method, grid in self.grids.items():
            for point in grid:
                make = partial(made, method, point, self.bank)
                rows = [self.run(setting(method, point), make, seed, lr, test=False) for seed in CHOOSING]
                tried[setting(method, point)] = sum(row["valid"] for row in rows) / len(rows)
            points[method] = max(grid, key=lambda point: tried[setting(method, point)])
        return points, tried

    def rate(self) -> tuple[float, dict]:
        found = {lr: sum(self.run("hard labels", distillers.Supervised, seed, lr, test=False)["valid"]
                         for seed in CHOOSING) / len(CHOOSING) for lr in RATES}
        return max(found, key=found.get), found


def arms(study: Study, points: dict) -> dict[str, dict]:
    """What is trained with the fresh seeds, in three groups: the methods, the controls, the weights."""
    methods = {"hard labels": distillers.Supervised}
    methods |= {method: partial(made, method, point, study.bank) for method, point in points.items()}
    wrong = {f"{method}, other images": partial(made, method, points[method], study.wrong)
             for method in ("KD", "FitNet", "cosine", "AT", "SP", "RKD", "SimKD") if method in points}
    controls = wrong | {"FitNet, untrained teacher": partial(made, "FitNet", points["FitNet"], study.untrained),
                        "SimKD's network, hard labels": partial(as_shipped, study.bank)}
    weights = {}
    for method, names in SCALED.items():
        for words, factor in (("a tenth", 0.1), ("ten times", 10.0)) if method in points else ():
            point = {name: value * factor if name in names else value for name, value in points[method].items()}
            weights[f"{method}, {words}"] = partial(made, method, point, study.bank)
    return {"main": methods, "controls": controls, "weights": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--teacher", default="fashion_cnn")
    parser.add_argument("--student", choices=STUDENTS, default="perceptron")
    parser.add_argument("--name", default="hints")
    parser.add_argument("--chosen", help="the result file whose learning rate and weights are used")
    parser.add_argument("--only", nargs="+", choices=("main", "controls", "weights"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(asked.name, asked.teacher, asked.student)
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.chosen:
        first = json.loads((RESULTS / f"{asked.chosen}.json").read_text())["settings"]
        lr, points, tried, rates = first["lr"], first["points"], {}, {}
    else:
        lr, rates = study.rate()
        points, tried = study.chosen(lr)
    cells = {}
    for group, found in arms(study, points).items():
        if asked.only and group not in asked.only:
            continue
        for seed in seeds[:5] if group == "weights" else seeds:
            for arm, make in found.items():
                cells.setdefault(arm, []).append(study.run(arm, make, seed, lr, test=True))
    cells = {arm: [{"seed": row["seed"], "accuracy": row["test"]} for row in rows] for arm, rows in cells.items()}
    settings = {"images": IMAGES, "epochs": study.epochs, "batch_size": BATCH, "lr": lr, "optimizer": "Adam",
                "schedule": "cosine", "student": asked.student, "teacher": asked.teacher, "points": points,
                "choosing_seeds": list(CHOOSING), "started_from": COMMIT}
    results = {"rates": {f"{rate:g}": value for rate, value in rates.items()}, "validation": tried, "cells": cells}
    print(f"written: {write(asked.name, settings=settings, seeds=list(seeds), results=results)}")


if __name__ == "__main__":
    main()
