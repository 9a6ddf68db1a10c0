"""The five accuracies of PyTorch's tutorial on distillation, with seeds, controls and images new to the teacher.

    python benchmarks/tutorial.py                         # three hours of one core, most of it the teacher
    python benchmarks/tutorial.py --until 15:00           # starts no training after that time of day
    python benchmarks/tutorial.py --report                # trains nothing, writes the result file

DeepNN teaches LightNN with what the tutorial states: Adam at 1e-3, batches of 128, ten epochs, images as they are; KD
at T = 2 with a weight of 0.25 beside 0.75 for the labels; the cosine between hidden vectors at 0.25 beside 0.75; a
regressor with the squared error at 0.25 beside 0.75. Its text prints one run of each, with all 50,000 images.

Here the teacher learns 24,000 images. The students learn from the same ones, as in the tutorial, and, as a second case,
from 24,000 others that the teacher has never seen. Five seeds; KD's T and alpha are also chosen from a grid, on 2,000
validation images with two other seeds. Controls: the cosine and the regressor with the answers about other images. The
10,000 test images judge each student once. A finished student is a line of the journal: a later run goes on.

Two details are this course's: the hidden vectors of the cosine are compared place by place, through a regressor, and
not after averaging neighbours of a flattened map; and maps of two sizes would be averaged to the smaller one.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from cifar10 import images
from journal import Journal
from record import COMMIT, RESULTS, write
from safetensors.torch import load_file, save_file
from students import HARD, best, means, table

from kdcourse import data, distillers, metrics, models, teachers, train
from kdcourse.core import generator
from kdcourse.teachers import FeatureBank

NAME = "tutorial"
HALF, VALID, TEST = 24_000, 2_000, 10_000
CASES = ("seen half", "unseen half")
TRAINING = {"epochs": 10, "lr": 1e-3, "batch_size": 128}
CHOOSING, MEASURING = (100, 101), range(5)
GRID = [{"T": T, "alpha": alpha} for T in (2.0, 4.0) for alpha in (0.5, 0.9)]
ARMS = {  # name: method, its settings, and whose answers
    HARD: (None, {}, None),
    "KD": ("kd", {"T": 2.0, "alpha": 0.25}, "own"),
    "cosine": ("cosine", {"alpha": 0.25, "stages": [1, 1]}, "own"),
    "regressor": ("fitnet", {"beta": 1 / 3, "relative": False}, "own"),
    "KD, chosen": ("kd", None, "own"),
    "cosine, other images": ("cosine", {"alpha": 0.25, "stages": [1, 1]}, "dealt"),
    "regressor, other images": ("fitnet", {"beta": 1 / 3, "relative": False}, "dealt"),
}
PRINTED = {"teacher": 0.7478, HARD: 0.7040, "KD": 0.7069, "cosine": 0.7131, "regressor": 0.7049}


class Dealt(FeatureBank):
    """A recorded teacher whose answers are dealt out to other images."""

    def __init__(self, bank: FeatureBank, order: torch.Tensor):
        super().__init__(bank.table[:, order], [table[:, order] for table in bank.tables], bank.live,
                         origin=bank.origin, teacher=bank.teacher)


class Case:
    """One half of the training images as the students', with the teacher's answers about it once they are needed."""

    def __init__(self, name: str, source: data.Source, network, journal: Journal):
        self.name, self.source, self.network, self.journal = name, source, network, journal
        self._banks: dict[str, FeatureBank] = {}

    def bank(self, whose: str) -> FeatureBank:
        if not self._banks:
            own = FeatureBank.record(self.network, self.source.train)
            self._banks = {"own": own, "dealt": Dealt(own, torch.randperm(HALF, generator=generator(7, 3)))}
        return self._banks[whose]

    def run(self, arm: str, settings: dict, seed: int, stage: str) -> None:
        """One student, if it is not there yet. Test images are looked at in the stage "measured" alone."""
        key = {"case": self.name, "arm": arm, "stage": stage, "settings": settings, "seed": seed}
        if self.journal.has(**key):
            return
        start, (method, _, whose) = time.perf_counter(), ARMS[arm]
        student = models.build("lightnn", self.source.shape, 10, seed=seed)
        distiller = (distillers.Supervised(student) if method is None
                     else distillers.METHODS[method](student, self.bank(whose), **settings))
        rows = train.fit(distiller, self.source, seed=seed, device="cpu", **TRAINING)
        found = None
        if stage == "measured":
            z = metrics.predict(distiller.deployable(), self.source.test)
            found = metrics.accuracy(z, self.source.test.y)
        row = key | {"valid_accuracy": rows[-1]["valid_accuracy"], "test_accuracy": found,
                     "valid_curve": [round(row["valid_accuracy"], 4) for row in rows],
                     "seconds": round(time.perf_counter() - start, 1), "commit": COMMIT}
        self.journal.add([row])
        print({name: row[name] for name in ("case", "arm", "settings", "seed", "test_accuracy", "seconds")}, flush=True)

    def settings(self, arm: str) -> dict | None:
        """The settings of an arm; those of KD as chosen on validation images, or None before they are."""
        if ARMS[arm][1] is not None:
            return ARMS[arm][1]
        tried = self.journal.where(case=self.name, arm=arm, stage="chosen")
        return best(tried) if len(tried) == len(GRID) * len(CHOOSING) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, default=RESULTS / f"trial_{NAME}.jsonl")
    parser.add_argument("--until", default="", metavar="HH:MM", help="start no training after this time of the day")
    parser.add_argument("--report", action="store_true", help="train nothing, write the result file")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    journal = Journal(asked.journal, ("case", "arm", "stage", "settings", "seed"))
    halves = sources()
    network = teacher(halves["seen half"], asked.journal.with_suffix(".safetensors"))
    cases = {name: Case(name, halves[name], network, journal) for name in CASES}
    for step in [] if asked.report else steps(cases):
        if asked.until and time.strftime("%H:%M") >= asked.until:
            print("out of time", flush=True)
            break
        step()
    print(f"written: {report(journal, cases, network)}")


def steps(cases: dict[str, Case]):
    """Trainings, the most telling first; what a later one needs (chosen settings) is looked up when its turn comes."""
    first = [HARD, "KD", "cosine", "regressor"]
    for case in cases.values():
        for arm in first:
            yield from (partial(case.run, arm, case.settings(arm), seed, "measured") for seed in MEASURING)
    for case in cases.values():
        yield from (partial(case.run, "KD, chosen", point, seed, "chosen") for point in GRID for seed in CHOOSING)
        for arm in [arm for arm in ARMS if arm not in first]:
            yield from (partial(case.run, arm, case.settings(arm), seed, "measured") for seed in MEASURING)


def sources() -> dict[str, data.Source]:
    """The half that the teacher learns and the other one, with the same validation and test images."""
    x, y, classes = images("train", 2 * HALF + VALID)
    x_test, y_test, _ = images("test", TEST)
    parts = [(x[rows], y[rows]) for rows in torch.arange(len(y)).split([HALF, HALF, VALID])]
    return {name: data.from_arrays(f"{NAME}, {name}", *part, classes=classes, valid=parts[2], test=(x_test, y_test))
            for name, part in zip(CASES, parts, strict=False)}


def teacher(source: data.Source, path: Path) -> models.Classifier:
    """DeepNN, trained as the tutorial trains it if its weights are not beside the journal."""
    network = models.build("deepnn", source.shape, 10, seed=0)
    if not path.exists():
        train.fit(distillers.Supervised(network), source, seed=0, device="cpu",
                  on_epoch=lambda rows: print(rows[-1], flush=True), **TRAINING)
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    network.load_state_dict(load_file(path))
    return network.eval()


def report(journal: Journal, cases: dict[str, Case], network) -> Path:
    """Write the result file with what is there; `missing` says what is not."""
    found, missing = {}, []
    for name, case in cases.items():
        arms = {}
        for arm in ARMS:
            settings = case.settings(arm)
            arms[arm] = [row for row in journal.where(case=name, arm=arm, stage="measured")
                         if row["settings"] == settings or arm == HARD]
            if lacking := sorted(set(MEASURING) - {row["seed"] for row in arms[arm]}):
                missing.append({"case": name, "arm": arm, "seeds": lacking})
        hard = arms.pop(HARD)
        if hard:
            found[name] = {"table": table({arm: rows for arm, rows in arms.items() if rows}, hard, images=TEST),
                           "grid": means(journal.where(case=name, arm="KD, chosen", stage="chosen"))}
    of_teacher = {"weights": teachers.base.key_of(network)}
    for words, split in {"seen half": cases["seen half"].source.train, "unseen half": cases["unseen half"].source.train,
                         "test": cases["seen half"].source.test}.items():
        z = metrics.predict(network, split)
        of_teacher[words] = {"images": len(split), "accuracy": metrics.accuracy(z, split.y),
                             "confidence": z.softmax(dim=1).max(dim=1).values.mean().item()}
    settings = {"half": HALF, "valid": VALID, "test": TEST, "teacher": "deepnn", "student": "lightnn",
                "optimizer": "Adam", **TRAINING, "arms": {arm: list(of) for arm, of in ARMS.items()}, "grid": GRID,
                "choosing seeds": list(CHOOSING)}
    results = {"printed": PRINTED, "teacher": of_teacher, "cases": found, "missing": missing,
               "trials": list(journal.rows.values())}
    return write(NAME, settings=settings, seeds=list(MEASURING), results=results)


if __name__ == "__main__":
    main()
