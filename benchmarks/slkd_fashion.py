"""Do self-learning teachers help where KD does, and is it their trajectory or their weights? What lesson 07 rests on.

    python benchmarks/slkd_fashion.py                  # 10 minutes on one core
    python benchmarks/slkd_fashion.py --journal FILE   # goes on from what FILE and the result file hold

A perceptron learns from 300 images of `fashion_small`. The teacher is the CNN that is kept with the course and has
learned from 53,000 other images. Two fresh networks of its kind, the self-learning teachers (SL-Ts), learn from it on
the 300 images, and what they say is recorded: a pair of them for each of two sets of ten seeds. T = 4 and lam = 0.1 are
those of the paper, and nothing is chosen here; the length of the training is that of lesson 06. Beside SLKD and its
parts there are its controls: the finished teacher in the SL-Ts' place at equal weights, both for equation 4 and for the
weights of the released code, and the teacher's own path, recorded when it learned from its 53,000 images. All that is
compared within a set of seeds is one family for Holm.
"""

from pathlib import Path

import torch
from dist_fashion import IMAGES, SETS, TRAINING, bank, student
from journal import Journal, difference, holm
from record import COMMIT, write
from students import HARD, few, resumed

from kdcourse import distillers, metrics, models, procedures, teachers, train, trained

NAME = "slkd_fashion"
KEYS = ("arm", "seed")
T, LAM = 4.0, 0.1
ARMS = {  # who stands in the place of the self-learning teachers, and what else is not the default
    "KD": (None, {"beta": 0.0}),
    "SLKD, one SL-T": ("one", {}),
    "SLKD, two SL-Ts": ("two", {}),
    "SLKD's weights, teacher alone": ("teacher", {}),
    "two SL-Ts alone": ("two", {"alpha": 0.0}),
    "SLKD*, two finished": ("finished", {}),
    "the teacher's own path": ("path", {}),
    "released weights, two SL-Ts": ("two", {"bracket": (1.0, 1.0)}),
    "released weights, teacher alone": ("teacher", {"bracket": (1.0, 1.0)}),
}
QUESTIONS = {
    "does KD help?": ("KD", HARD),
    "does SLKD help?": ("SLKD, two SL-Ts", HARD),
    "SLKD or KD?": ("SLKD, two SL-Ts", "KD"),
    "one SL-T or KD?": ("SLKD, one SL-T", "KD"),
    "two SL-Ts or one?": ("SLKD, two SL-Ts", "SLKD, one SL-T"),
    "SL-Ts alone or the teacher alone?": ("two SL-Ts alone", "KD"),
    "learning or finished SL-Ts?": ("SLKD, two SL-Ts", "SLKD*, two finished"),
    "the trajectory at equal weights": ("SLKD, two SL-Ts", "SLKD's weights, teacher alone"),
    "the teacher's own path or KD?": ("the teacher's own path", "KD"),
    "released SLKD or KD?": ("released weights, two SL-Ts", "KD"),
    "of that, the weights": ("released weights, teacher alone", "KD"),
    "of that, the trajectory": ("released weights, two SL-Ts", "released weights, teacher alone"),
}


def main() -> None:
    journal, source = resumed(__doc__, NAME, KEYS), few(IMAGES)
    for seeds in SETS.values():
        missing = [(arm, seed) for arm in (HARD, *ARMS) for seed in seeds if not journal.has(arm=arm, seed=seed)]
        places = places_of(source, seeds[0]) if missing else {}
        for arm, seed in missing:
            network = student(source, seed)
            train.fit(taught(arm, network, source, places), source, seed=seed, **TRAINING)
            z = metrics.predict(network, source.test)
            journal.add([{"arm": arm, "seed": seed, "test_accuracy": metrics.accuracy(z, source.test.y),
                          "commit": COMMIT}])
            print(arm, seed, f"{metrics.accuracy(z, source.test.y):.2%}", flush=True)
    print(f"written: {save(journal, len(source.test))}")


def places_of(source, order: int) -> dict:
    """Who may stand beside the teacher: one SL-T, two, two that have finished, the teacher itself, its own path."""
    teacher = bank("cnn", source.train)
    learners = [models.build("cnn", source.shape, len(source.classes), seed=1000 * k + order) for k in (1, 2)]
    one, two = (procedures.record_learners([learner], teacher, source, T=T, lam=LAM, seed=order, **TRAINING)
                for learner in learners)
    pair = teachers.Trajectory((one.table + two.table) / 2, origin=one.origin, teacher=one.teacher)
    ended = teachers.LogitBank.record(procedures.Fused(learners, w=0.5), source.train, dtype=torch.float32)
    for learner in learners:
        z = metrics.predict(learner, source.valid)
        print(f"an SL-T at its end: {metrics.accuracy(z, source.valid.y):.1%} of the validation images", flush=True)
    own = trained.checkpoints("fashion_cnn").table[:, :IMAGES]
    path = teachers.Trajectory(own.repeat_interleave(TRAINING["epochs"] // len(own), dim=0), origin=one.origin,
                               teacher=teacher.teacher)
    return {"one": one, "two": pair, "finished": ended, "teacher": teacher, "path": path}


def taught(arm: str, network, source, places: dict) -> distillers.Distiller:
    """The distiller of an arm."""
    if arm == HARD:
        return distillers.Supervised(network)
    place, changes = ARMS[arm]
    return distillers.SLKD(network, bank("cnn", source.train), learners=places.get(place), T=T, lam=LAM, **changes)


def save(journal: Journal, images: int) -> Path:
    """The result file: the students of every arm, and every comparison with its verdict after Holm."""
    students, comparisons = {}, {}
    for title, seeds in SETS.items():
        arms = {arm: [{"seed": row["seed"], "test_accuracy": row["test_accuracy"]}
                      for row in journal.where(arm=arm) if row["seed"] in seeds] for arm in (HARD, *ARMS)}
        students[title] = arms
        comparisons[title] = holm({question: difference(arms[ours], arms[theirs], images=images)
                                   for question, (ours, theirs) in QUESTIONS.items()})
        for found in comparisons[title].values():
            if found["verdict"] in ("better", "worse") and not found["holm"]:
                found["verdict"] = "inconclusive"
    fixed = {"source": "fashion_small", "train": IMAGES, "test": images, "student": "mlp, 64 hidden",
             "teacher": "fashion_cnn", "learners": "two of the teacher's kind, a pair for each set of seeds",
             "optimizer": "Adam", **TRAINING, "T": T, "lam": LAM,
             "arms": {name: str(arm) for name, arm in ARMS.items()},
             "sets": {title: list(seeds) for title, seeds in SETS.items()}}
    results = {"students": students, "comparisons": comparisons, "trials": list(journal.rows.values())}
    return write(NAME, settings=fixed, seeds=list(range(20)), results=results)


if __name__ == "__main__":
    main()
