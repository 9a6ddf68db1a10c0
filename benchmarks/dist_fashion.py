"""DIST and KD from weak and strong teachers, where KD is known to help: what lesson 06 rests on.

    python benchmarks/dist_fashion.py                  # 5 minutes on one core
    python benchmarks/dist_fashion.py --journal FILE   # goes on from what FILE and the result file hold

A perceptron learns from 300 images of `fashion_small`. Its teachers have learned from 53,000 other images: the CNN that
is kept with the course after one epoch and when it was finished, the same with another seed, the small ResNet, and a
small Vision Transformer that learned from the ResNet. T and alpha of each method are chosen with the finished CNN on
the validation images and on seeds of its own, and then kept for every teacher; DIST's alpha is the weight of the labels
beside 2 and 2. (When the test images were first looked at, its grid had alpha = 1 alone and T up to 8, less choice than
KD had. It was then behind KD: see `trials`.) Hard labels and both methods with every teacher are measured on the test
images, on ten fresh seeds and on ten more. All that is compared within a set of seeds is one family for Holm.
"""

from functools import partial
from pathlib import Path

from journal import Journal, difference, holm
from record import write
from students import HARD, best, few, means, points, resumed, train_missing

from kdcourse import data, metrics, models, teachers, trained

NAME = "dist_fashion"
IMAGES = 300
TRAINING = {"epochs": 30, "lr": 3e-3, "batch_size": 50}
TEACHERS = ("cnn after one epoch", "cnn", "cnn, other seed", "resnet", "vit")
WEAK, CHOOSES, STRONG = TEACHERS[0], TEACHERS[1], TEACHERS[3]
KEPT = {"cnn": "fashion_cnn", "cnn, other seed": "fashion_cnn_1", "resnet": "fashion_resnet",
        "vit": "fashion_vit"}
VALIDATION = range(100, 105)
TEMPERATURES = [1.0, 2.0, 4.0, 8.0, 16.0]
GRIDS = {"kd": {"T": TEMPERATURES, "alpha": [0.5, 0.9, 0.99]},
         "dist": {"T": TEMPERATURES, "alpha": [0.0625, 0.25, 1.0]}}
SETS = {"ten seeds": range(10), "ten other seeds": range(10, 20)}


def main() -> None:
    journal, source = resumed(__doc__, NAME), few(IMAGES)
    lesson = partial(train_missing, journal, source=source, student=partial(student, source), together=True, **TRAINING)
    lesson(head(HARD, "chosen"), [{}], VALIDATION, teacher=None)
    chosen = {}
    for method, grid in GRIDS.items():
        rows = lesson(head(method, "chosen", CHOOSES), [grid], VALIDATION, teacher=bank(CHOOSES, source.train))
        chosen[method] = best(rows)
        print(*means(rows), sep="\n", flush=True)
    for seeds in SETS.values():
        lesson(head(HARD, "measured"), [{}], seeds, teacher=None)
        for name in TEACHERS:
            for method, at in chosen.items():
                lesson(head(method, "measured", name), [{key: [value] for key, value in at.items()}], seeds,
                       teacher=bank(name, source.train))
    print(f"written: {save(journal, chosen, len(source.test))}")


def head(method: str, stage: str, teacher: str = "none") -> dict:
    return {"cell": f"{IMAGES} images, perceptron", "teacher": teacher, "stage": stage, "method": method}


def student(source, seed: int) -> models.Classifier:
    return models.build("mlp", source.shape, len(source.classes), seed=seed)


def bank(name: str, split) -> teachers.LogitBank:
    """The kept answers of a teacher about the first images."""
    kept = trained.checkpoints("fashion_cnn").at(1) if name == WEAK else trained.answers(KEPT[name])["train"]
    return teachers.LogitBank(kept.table[:, :IMAGES], origin=split.origin(), teacher=kept.teacher)


def save(journal: Journal, chosen: dict, images: int) -> Path:
    """The result file: what was chosen and from what, the students of every arm, and every comparison."""
    tables, comparisons = {}, {}
    for title, seeds in SETS.items():
        arms = {HARD: _rows(journal, HARD, {}, "none", seeds)}
        arms |= {f"{method}, {name}": _rows(journal, method, at, name, seeds) for name in TEACHERS
                 for method, at in chosen.items()}
        tables[title] = arms
        comparisons[title] = holm({question: difference(*pair, images=images)
                                   for question, pair in questions(arms).items()})
        for found in comparisons[title].values():
            if found["verdict"] in ("better", "worse") and not found["holm"]:
                found["verdict"] = "inconclusive"
    about, split = {}, data.load("fashion_small").train
    for name in TEACHERS:
        z = bank(name, split).table[0].float()
        about[name] = {"accuracy": metrics.accuracy(z, split.y[:IMAGES]),
                       "confidence": z.softmax(dim=1).max(dim=1).values.mean().item()}
    tried = {method: [row for row in journal.where(stage="chosen", method=method) if row["settings"] in points([grid])]
             for method, grid in {HARD: {}, **GRIDS}.items()}
    results = {"chosen": chosen, "grids": {method: means(rows) for method, rows in tried.items()},
               "teachers on the students' images": about, "students": tables, "comparisons": comparisons,
               "trials": list(journal.rows.values())}
    fixed = {"source": "fashion_small", "train": IMAGES, "valid": 1_000, "test": images, "student": "mlp, 64 hidden",
             "optimizer": "Adam", **TRAINING, "validation seeds": list(VALIDATION), "grids": GRIDS,
             "sets": {title: list(seeds) for title, seeds in SETS.items()}}
    return write(NAME, settings=fixed, seeds=list(range(20)), results=results)


def questions(arms: dict) -> dict[str, tuple]:
    """What is compared with what: pairs of arms, and at the end the difference of two differences."""
    pairs = {f"{name} - {HARD}": (rows, arms[HARD]) for name, rows in arms.items() if name != HARD}
    pairs |= {f"dist - kd, {name}": (arms[f"dist, {name}"], arms[f"kd, {name}"]) for name in TEACHERS}
    steps = {}
    for method in GRIDS:
        pair = arms[f"{method}, {STRONG}"], arms[f"{method}, {WEAK}"]
        pairs[f"{method}, {STRONG} - {WEAK}"], steps[method] = pair, _less(*pair)
    return pairs | {f"(dist - kd) of ({STRONG} - {WEAK})": (steps["dist"], steps["kd"])}


def _less(ours: list[dict], theirs: list[dict]) -> list[dict]:
    """By how much each seed's student is better, as if that were an accuracy."""
    base = {row["seed"]: row["test_accuracy"] for row in theirs}
    return [{"seed": row["seed"], "test_accuracy": row["test_accuracy"] - base[row["seed"]]} for row in ours]


def _rows(journal: Journal, method: str, at: dict, teacher: str, seeds) -> list[dict]:
    found = journal.where(stage="measured", method=method, settings=at, teacher=teacher)
    return [{"seed": row["seed"], "test_accuracy": row["test_accuracy"]} for row in found if row["seed"] in seeds]


if __name__ == "__main__":
    main()
