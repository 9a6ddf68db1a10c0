"""Trains the students that a journal lacks, and compares those that it has."""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from journal import Journal, difference, holm
from record import COMMIT, RESULTS

from kdcourse import data, distillers, metrics
from kdcourse.sweep import sweep

HARD = "hard labels"
FEW = 100   # validation images after an epoch; all of them judge the finished student
KEYS = ("cell", "teacher", "stage", "method", "settings", "seed")


class OutOfTime(Exception):
    """The hours that were asked for are over."""


def resumed(about: str, name: str, keys: Sequence[str] = KEYS) -> Journal:
    """The journal of a script that has no option but `--journal FILE`: it goes on from what FILE and the result file
    `name` hold. `about` is the text of `--help`. torch gets one thread: the networks are tiny."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, default=RESULTS / f"trial_{name}.jsonl")
    asked, path = parser.parse_args(), RESULTS / f"{name}.json"
    before = json.loads(path.read_text())["results"]["trials"] if path.exists() else []
    torch.set_num_threads(1)
    return Journal(asked.journal, keys, before)


def few(images: int) -> data.Source:
    """`fashion_small` with its first training images alone."""
    whole = data.load("fashion_small")
    return whole.with_train(whole.train.take(torch.arange(images), "few"))


def points(grids: Sequence[Mapping]) -> list[dict]:
    """The settings of all grids: of each the product of its lists."""
    return [dict(zip(grid, values, strict=True)) for grid in grids for values in itertools.product(*grid.values())]


def train_missing(journal: Journal, head: dict, grids: Sequence[Mapping], seeds: Iterable[int], source,
                  student: Callable, teacher, *, together: bool, stop=float("inf"), **training) -> list[dict]:
    """The journal's rows for all settings of `grids` and all seeds, after training those that it lacks.

    `head` is what a row says of itself: cell, teacher, stage and method. With `together` all students of a grid are one
    sweep and are written when all are finished; else each is. Only in the stage "measured" are test images looked at.
    Raises `OutOfTime` when a training would start after `stop` (`time.monotonic`).
    """
    make, seeds = partial(_make, head["method"], teacher), list(seeds)
    for grid in grids:
        todo = [(at, seed) for at in points([grid]) for seed in seeds
                if not journal.has(**head, settings=at, seed=seed)]
        if together and todo:
            wanted = sorted({seed for _, seed in todo})
            _train(journal, head, grid, wanted, source, student, make, stop, training)
        elif todo:
            for at, seed in todo:
                one = {name: [value] for name, value in at.items()}
                _train(journal, head, one, [seed], source, student, make, stop, training)
    wanted = points(grids)
    return [row for row in journal.where(**head) if row["settings"] in wanted and row["seed"] in seeds]


def best(rows: Sequence[dict]) -> dict:
    """The settings with the highest mean accuracy on validation images; of equal ones those that come first."""
    return max(means(rows), key=lambda entry: entry["valid_accuracy"])["settings"]


def means(rows: Sequence[dict]) -> list[dict]:
    """The grid as it is shown: every setting with its mean accuracy on validation images and its number of seeds."""
    found = []
    for at in (row["settings"] for row in rows):
        if at not in [entry["settings"] for entry in found]:
            values = [row["valid_accuracy"] for row in rows if row["settings"] == at]
            found.append({"settings": at, "valid_accuracy": sum(values) / len(values), "n": len(values)})
    return found


def table(arms: Mapping[str, Sequence[dict]], hard: Sequence[dict], *, images: int) -> dict[str, dict]:
    """Every arm's mean accuracy, and its difference from hard labels in points, all of them one family for Holm."""
    compared = {name: found for name, rows in arms.items() if (found := difference(rows, hard, images=images))}
    compared = holm(compared)
    found = {}
    for name, rows in {HARD: hard, **arms}.items():
        values = [row["test_accuracy"] for row in rows]
        found[name] = {"test_accuracy": sum(values) / len(values), "n": len(values)} if values else {"n": 0}
        if name in compared:
            found[name]["above hard labels"] = compared[name]
    return found


def _make(method: str, teacher, student, **settings):
    if method == HARD:
        return distillers.Supervised(student)
    return distillers.METHODS[method](student, teacher, **settings)


def _train(journal, head, grid, seeds, source, student, make, stop, training) -> None:
    if time.monotonic() > stop:
        raise OutOfTime
    start, held_out = time.perf_counter(), {"valid": source.valid}
    if head["stage"] == "measured":
        held_out["test"] = source.test

    def judge(network):
        found = {kind: metrics.accuracy(metrics.predict(network, split), split.y) for kind, split in held_out.items()}
        return {f"{kind}_accuracy": found.get(kind) for kind in ("valid", "test")}

    # `fit` asks about validation images after every epoch, which with few images to train on is most of its time
    quick = replace(source, valid=source.valid.take(torch.arange(min(FEW, len(source.valid))), "first"))
    rows = sweep(student, make, grid, quick, seeds=seeds, judge=judge, **training)
    seconds = (time.perf_counter() - start) / len(rows)
    journal.add({**head, "settings": {name: row[name] for name in grid}, "seed": row["seed"],
                 "valid_accuracy": row["valid_accuracy"], "test_accuracy": row["test_accuracy"],
                 "seconds": round(seconds, 2), "commit": COMMIT} for row in rows)
    print({**head, "grid": dict(grid), "seeds": seeds, "seconds each": round(seconds, 1)}, flush=True)
