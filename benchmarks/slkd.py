"""Do self-learning teachers help, and is it their trajectory or their weights? ResNet-20 into ResNet-8 on CIFAR-10.

    python benchmarks/slkd.py                                       # 45 minutes on one core
    python benchmarks/slkd.py --seeds 1 --epochs 1 --name trial

The released code of SLKD gives the hard labels a weight of 1.1, and two soft terms 1.9; KD gives them 0.1 and 0.9. So a
student of SLKD differs from one of KD in two ways. Here each set of weights is trained twice, with self-learning
teachers (SL-Ts) and with the finished teacher in their place: the difference is what the trajectory itself brings.

The trained ResNet-20 has seen every CIFAR-10 training image, and its answers about those are nearly the labels. So all
networks here learn from 4,000 images of the test set, which it has not seen; 500 others are looked at after each epoch,
and 5,500 judge after the last: they choose nothing. The SL-Ts are two fresh ResNet-20, recorded once a seed while they
learn from the teacher, and replayed to every student. The student is a ResNet-8 of half the width, with 19,218 weights
to the teacher's 269,722. Students of one seed share their first weights and the order of the images. There is no
augmentation.
"""

import argparse
import time

import torch
from cifar10 import images, trained
from record import write

from kdcourse import data, distillers, losses, metrics, models, procedures, teachers, train
from kdcourse.core import fingerprint

SIZES = {"train": 4_000, "valid": 500, "test": 5_500}
TRAINING = {"lr": 2e-3, "batch_size": 64, "schedule": "cosine"}
T, LAM = 4.0, 0.1
KD, SLKD, RELEASED = "KD", "SLKD, two SL-Ts", "released weights, two SL-Ts"
TWICE, RELEASED_TWICE = "SLKD's weights, teacher alone", "released weights, teacher alone"
ARMS = {  # who stands in the place of the self-learning teachers, and what else is not the default
    KD: (None, {"beta": 0.0}),
    TWICE: ("teacher", {}),
    "SLKD, one SL-T": ("one", {}),
    SLKD: ("two", {}),
    "two SL-Ts alone": ("two", {"alpha": 0.0}),
    "SLKD*, two finished": ("finished", {}),
    RELEASED: ("two", {"bracket": (1.0, 1.0)}),
    RELEASED_TWICE: ("teacher", {"bracket": (1.0, 1.0)}),
}
QUESTIONS = {
    "does the teacher help?": (KD, "hard labels"),
    "does SLKD help?": (SLKD, "hard labels"),
    "SLKD or KD?": (SLKD, KD),
    "one SL-T or KD?": ("SLKD, one SL-T", KD),
    "two SL-Ts or one?": (SLKD, "SLKD, one SL-T"),
    "SL-Ts alone or the teacher alone?": ("two SL-Ts alone", KD),
    "both or SL-Ts alone?": (SLKD, "two SL-Ts alone"),
    "learning or finished SL-Ts?": (SLKD, "SLKD*, two finished"),
    "the trajectory at equal weights": (SLKD, TWICE),
    "released SLKD or KD?": (RELEASED, KD),
    "of that, the weights": (RELEASED_TWICE, KD),
    "of that, the trajectory": (RELEASED, RELEASED_TWICE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--name", default="slkd")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    source, teacher = unseen(), trained(20)
    bank = teachers.LogitBank.record(teacher, source.train, dtype=torch.float32)
    z_t = {kind: metrics.predict(teacher, split) for kind, split in source.splits.items()}
    of_teacher = {kind: {"accuracy": metrics.accuracy(z, source.splits[kind].y),
                         "confidence": z.softmax(dim=1).max(dim=1).values.mean().item()} for kind, z in z_t.items()}
    settings = {**SIZES, **TRAINING, "epochs": chosen.epochs, "optimizer": "Adam", "T": T, "lam": LAM, "w": 0.5,
                "teacher": "trained ResNet-20", "learners": "fresh ResNet-20", "student": "ResNet-8, width 8",
                "weights": {name: weights(name) for name in ARMS}}
    results = {"teacher": of_teacher, "cost": cost(teacher, bank, source), "learners": [], "trials": []}
    print(results, flush=True)
    for seed in range(chosen.seeds):
        places, said = learn(seed, bank, source, chosen.epochs, results)
        for name in ("hard labels", *ARMS):
            results["trials"].append(trial(name, seed, bank, places, source, chosen.epochs, z_t["valid"], said))
            print({key: results["trials"][-1][key] for key in ("arm", "seed", "test_accuracy", "seconds")}, flush=True)
        results["comparisons"] = comparisons(results["trials"])
        path = write(chosen.name, settings=settings, seeds=list(range(seed + 1)), results=results)
    for question, found in results["comparisons"].items():
        print(question, found)
    print(f"written: {path}")


def unseen() -> data.Source:
    """Images of CIFAR-10's test set alone, in their order: 4,000 to learn from, 500 to look at, 5,500 to judge by."""
    x, y, classes = images("test", sum(SIZES.values()))
    parts = list(zip(x.split(list(SIZES.values())), y.split(list(SIZES.values())), strict=True))
    return data.from_arrays("cifar10-unseen", *parts[0], classes=classes, valid=parts[1], test=parts[2])


def weights(name: str) -> dict[str, float]:
    """What the labels, the teacher and the self-learning teachers weigh in the student's loss."""
    place, setting = ARMS[name]
    alpha, beta = setting.get("alpha", 1.0), setting.get("beta", 1.0)
    hard, soft = setting.get("bracket", (LAM, 1 - LAM))
    found = {"labels": alpha * LAM + beta * hard, "teacher": alpha * (1 - LAM), "learners": beta * soft}
    if place == "teacher":
        found |= {"teacher": found["teacher"] + found["learners"], "learners": 0.0}
    return {key: round(value, 6) for key, value in found.items()}


def fresh_teacher(seed: int, source):
    return models.build("resnet20", source.shape, len(source.classes), seed=seed)


def fresh_student(seed: int, source):
    return models.build("resnet8", source.shape, len(source.classes), seed=seed, width=8)


def learn(seed: int, bank, source, epochs: int, results: dict) -> tuple[dict, list[torch.Tensor]]:
    """Train two SL-Ts, one after the other, since neither knows of the other, and fuse what they said (equation 7).

    Returns who may stand in their place, and their fused logits about the validation images before the first epoch and
    after each.
    """
    networks, paths, said, seconds = [], [], [], []
    for k in (1, 2):
        network = fresh_teacher(1_000 * k + seed, source)
        looks, start = [metrics.predict(network, source.valid)], time.perf_counter()
        paths.append(procedures.record_learners(
            [network], bank, source, T=T, lam=LAM, seed=seed, epochs=epochs, **TRAINING,
            on_epoch=lambda rows, network=network, looks=looks: looks.append(metrics.predict(network, source.valid)),
        ))
        seconds.append(time.perf_counter() - start)
        networks.append(network)
        said.append(torch.stack(looks))
    fused = procedures.Fused(networks, 0.5)
    table = (paths[0].table + paths[1].table) / 2
    places = {"teacher": bank, "one": paths[0],
              "two": teachers.Trajectory(table, origin=paths[0].origin, teacher=paths[0].teacher),
              "finished": teachers.LogitBank.record(fused, source.train, dtype=torch.float32)}
    accuracies = [metrics.accuracy(metrics.predict(network, source.test), source.test.y)
                  for network in (*networks, fused)]
    results["learners"].append({"seed": seed, "test_accuracy": dict(zip(("first", "second", "fused"), accuracies,
                                                                       strict=True)), "seconds": seconds})
    print(results["learners"][-1], flush=True)
    return places, list((said[0] + said[1]) / 2)


def trial(name: str, seed: int, bank, places: dict, source, epochs: int, z_t, said) -> dict:
    """One student, judged after its last epoch; and how far it was from the teacher and from the SL-Ts on the way."""
    student, start = fresh_student(seed, source), time.perf_counter()
    looks = [metrics.predict(student, source.valid)]
    rows = train.fit(build(name, student, bank, places), source, epochs=epochs, seed=seed, **TRAINING,
                     on_epoch=lambda rows: looks.append(metrics.predict(student, source.valid)))
    seconds, z = time.perf_counter() - start, metrics.predict(student, source.test)
    away = {f"{who}, T = {heat:g}": [round(losses.soft_kl(z_s, z_other, T=heat).mean().item(), 6)
                                     for z_s, z_other in zip(looks, others, strict=True)]
            for who, others in (("teacher", [z_t] * len(looks)), ("learners", said)) for heat in (1.0, T)}
    return {"arm": name, "seed": seed, "test_accuracy": metrics.accuracy(z, source.test.y),
            "valid_accuracy": rows[-1]["valid_accuracy"], "nll": metrics.nll(z, source.test.y),
            "ece": metrics.ece(z, source.test.y), "KL from": away, "last_row": rows[-1], "seconds": seconds}


def build(name: str, student, bank, places: dict):
    if name == "hard labels":
        return distillers.Supervised(student)
    place, setting = ARMS[name]
    return distillers.SLKD(student, bank, learners=places.get(place), T=T, lam=LAM, **setting)


def comparisons(trials: list[dict]) -> dict:
    """The answer to each of the questions, paired over the seeds that there are."""
    found = {}
    for question, (ours, baseline) in QUESTIONS.items():
        pair = [[t["test_accuracy"] for t in trials if t["arm"] == arm] for arm in (ours, baseline)]
        if len(pair[0]) > 1:
            c = metrics.compare(*pair, images=SIZES["test"])
            found[question] = {"ours": ours, "baseline": baseline, "points": 100 * c.mean, "low": 100 * c.low,
                               "high": 100 * c.high, "n": c.n, "verdict": c.verdict}
    return found


def cost(teacher, bank, source) -> dict:
    """Seconds of an epoch of 960 images, live and recorded; and whether SL-Ts replayed give the student of live ones.

    For that the teacher is recorded in both: asked in batches of another size, it differs in its last digits.
    """
    few = source.with_train(source.train.take(torch.arange(960), "cost"))
    asked = teachers.LogitBank(bank.table[:, :960], origin=few.train.origin(), teacher=bank.teacher)
    learners = [[fresh_teacher(seed, few) for seed in (1, 2)] for _ in range(3)]
    start = time.perf_counter()
    path = procedures.record_learners(learners[0], asked, few, T=T, lam=LAM, epochs=1, **TRAINING)
    seconds, students = {"recording two SL-Ts": time.perf_counter() - start}, {}
    for name, make in {
        "hard labels": distillers.Supervised,
        "KD, live": lambda student: distillers.KD(student, teacher, T=T),
        "KD, recorded": lambda student: distillers.KD(student, asked, T=T),
        "SLKD, live": lambda student: distillers.SLKD(student, teacher, learners=learners[1], T=T, lam=LAM),
        "SLKD, live SL-Ts": lambda student: distillers.SLKD(student, asked, learners=learners[2], T=T, lam=LAM),
        "SLKD, recorded": lambda student: distillers.SLKD(student, asked, learners=path, T=T, lam=LAM),
    }.items():
        students[name], start = fresh_student(0, few), time.perf_counter()
        train.fit(make(students[name]), few, epochs=1, **TRAINING)
        seconds[name] = time.perf_counter() - start
    live, replayed = (fingerprint(*students[name].parameters()) for name in ("SLKD, live SL-Ts", "SLKD, recorded"))
    return {"images": 960, "seconds": seconds, "same student, live and recorded SL-Ts": live == replayed}


if __name__ == "__main__":
    main()
