"""Does distillation help at all? A setting in which it does, so that the instrument is known to work.

    python benchmarks/positive_control.py               # 5 minutes on one core
    python benchmarks/positive_control.py --journal FILE   # goes on from what FILE and the result file hold

A perceptron learns from 1,000 images of `fashion_small`. Its teachers have learned from 53,000 other images and are
kept with the course: `fashion_cnn`, and the same with another seed. T and alpha are chosen on the validation images
with seeds of their own. Then hard labels, the chosen setting and five others are measured on the test images: on ten
fresh seeds, on ten more, and on the first ten with the other teacher. Each of the three is a family of comparisons for
Holm. The 2,000 test images stay the same, so the intervals speak of other students alone.
"""

from functools import partial
from pathlib import Path

from journal import Journal
from record import write
from students import HARD, best, few, means, resumed, table, train_missing

from kdcourse import models, teachers, trained

NAME = "positive_control"
IMAGES = 1_000
TRAINING = {"epochs": 60, "lr": 1e-3, "batch_size": 64}
TEACHERS = ("fashion_cnn", "fashion_cnn_1")
VALIDATION = range(100, 103)
GRID = {"T": [1.0, 2.0, 4.0], "alpha": [0.5, 0.9]}
SETS = {"ten seeds": (TEACHERS[0], range(10)), "ten other seeds": (TEACHERS[0], range(10, 20)),
        "another teacher": (TEACHERS[1], range(10))}
OTHERS = [("kd", {"T": T, "alpha": 0.9}) for T in (4.0, 2.0, 1.0)] + [("dist", {"T": T}) for T in (4.0, 2.0)]


def main() -> None:
    journal, source = resumed(__doc__, NAME), few(IMAGES)
    lesson = partial(train_missing, journal, source=source, student=partial(student, source), together=True, **TRAINING)
    settings = choose(lesson, source)
    for method, at in [(HARD, {}), *arms(settings)]:  # the chosen setting everywhere, before the others
        for name, seeds in SETS.values():
            grid, of_teacher = {key: [value] for key, value in at.items()}, method != HARD
            lesson(head(method, "measured", name if of_teacher else "none"), [grid], seeds,
                   teacher=bank(name, source.train) if of_teacher else None)
            path = save(journal, settings, len(source.test))
    print(f"written: {path}")


def choose(lesson, source) -> dict:
    """The T and alpha with the highest accuracy on the validation images."""
    lesson(head(HARD, "chosen"), [{}], VALIDATION, teacher=None)
    rows = lesson(head("kd", "chosen", TEACHERS[0]), [GRID], VALIDATION, teacher=bank(TEACHERS[0], source.train))
    print(*means(rows), sep="\n", flush=True)
    return best(rows)


def head(method: str, stage: str, teacher: str = "none") -> dict:
    return {"cell": f"{IMAGES} images, perceptron", "teacher": teacher, "stage": stage, "method": method}


def student(source, seed: int) -> models.Classifier:
    return models.build("mlp", source.shape, len(source.classes), seed=seed, hidden=(64,))


def bank(name: str, split) -> teachers.LogitBank:
    """The kept answers of a teacher about the first images."""
    kept = trained.answers(name)["train"]
    return teachers.LogitBank(kept.table[:, :IMAGES], origin=split.origin(), teacher=kept.teacher)


def arms(settings: dict) -> list[tuple[str, dict]]:
    """What is measured beside hard labels."""
    return [("kd", settings), *(arm for arm in OTHERS if arm != ("kd", settings))]


def named(method: str, at: dict) -> str:
    return f"{method}, " + ", ".join(f"{key} = {value:g}" for key, value in at.items())


def save(journal: Journal, settings: dict, images: int) -> Path:
    """The result file: what was chosen and the grid it was chosen from, the three tables, and every training."""
    tables = {}
    for title, (name, seeds) in SETS.items():
        def measured(method, at, name=name, seeds=seeds):
            of_teacher = "none" if method == HARD else name
            return [row for row in journal.where(stage="measured", method=method, settings=at, teacher=of_teacher)
                    if row["seed"] in seeds]

        found = table({named(*arm): measured(*arm) for arm in arms(settings)}, measured(HARD, {}),
                      images=images)
        tables[title] = {arm: entry for arm, entry in found.items() if entry["n"]}
    known = {name: trained.measured(name) for name, _ in SETS.values()}
    results = {"chosen": settings, "grid": means(journal.where(stage="chosen", method="kd")),
               "hard labels on validation": means(journal.where(stage="chosen", method=HARD)),
               "teachers": {name: {key: made[key] for key in ("test_accuracy", "fashion_small")}
                            for name, made in known.items()},
               "tables": tables, "trials": list(journal.rows.values())}
    fixed = {"source": "fashion_small", "train": IMAGES, "valid": 1_000, "test": images, "student": "mlp, 64 hidden",
             "optimizer": "Adam", **TRAINING, "validation seeds": list(VALIDATION), "grid": GRID,
             "sets": {title: {"teacher": name, "seeds": list(seeds)} for title, (name, seeds) in SETS.items()}}
    return write(NAME, settings=fixed, seeds=list(range(20)), results=results)


if __name__ == "__main__":
    main()
