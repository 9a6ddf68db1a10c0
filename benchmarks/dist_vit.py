"""Does a stronger teacher teach better, under KL and under DIST? Teachers of growing strength, ViTs among them, on real
CIFAR-10 and CIFAR-100 images, paired over seeds.

    python benchmarks/dist_vit.py                                                         # 50 minutes on one core
    python benchmarks/dist_vit.py --seeds 1 --epochs 1 --teacher-epochs 1 --name trial    # 5 minutes

Every student is a ResNet-8 that learns from hard labels, from KD, or from DIST with one of the teachers; students of a
seed share their first weights, their order of images and their four views of each, about which every teacher was asked
once. Both methods soften with the temperature that the paper of lesson 06 has for the data set. KD weighs the labels
with 0.1, DIST with 1, as published: nothing was tuned.

- CIFAR-10: a ViT and a ResNet-20 that this script trains on 25,000 training images, and the trained ResNet-56, which
  learned from all 50,000. About these its answers are nearly labels, so students learn from 4,000 of the *test* images,
  which no teacher has seen; 1,000 are for validation, and the other 5,000 judge.
- CIFAR-100: a ViT and a ResNet-20 that this script trains on the 10,000 images of the subset. Students learn from the
  first 5,000 of them, which their teachers *have* seen, as is usual. 500 test images validate and 1,500 judge.

Every network is judged after its last epoch: validation and test images choose nothing.
"""

import argparse
import time
from dataclasses import dataclass

import cifar10
import cifar100
import torch
from record import write

from kdcourse import data, distillers, metrics, models, teachers, train

VIT = {"depth": 6, "width": 64, "heads": 2}
TRAINING = {"lr": 2e-3, "batch_size": 64, "schedule": "cosine"}     # of everybody
TEACHER_EPOCHS = {"cifar10": {"vit": 8, "resnet20": 4}, "cifar100": {"vit": 10, "resnet20": 10}}
EPOCHS = {"cifar10": 12, "cifar100": 10}    # of students: 756 and 790 steps
VIEWS = data.Augment(views=4)
ALPHA = 0.9     # of KD


@dataclass
class Task:
    """One data set: what students learn from, their temperature, and the recorded teachers from weak to strong."""

    source: data.Source
    T: float
    banks: dict[str, teachers.LogitBank]
    known: dict[str, dict]      # of each teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="of every student (default: 12 on CIFAR-10, 10 on CIFAR-100)")
    parser.add_argument("--teacher-epochs", type=int, help="of every teacher that is trained here (default: 4 to 10)")
    parser.add_argument("--name", default="dist_vit")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    epochs = {name: chosen.epochs or own for name, own in EPOCHS.items()}
    teaching = {name: {network: chosen.teacher_epochs or n for network, n in own.items()}
                for name, own in TEACHER_EPOCHS.items()}
    tasks = {"cifar10": on_cifar10(teaching["cifar10"]), "cifar100": on_cifar100(teaching["cifar100"])}
    settings = {"student": "resnet8", "vit": VIT, "alpha of KD": ALPHA, "DIST": {"alpha": 1, "beta": 2, "gamma": 2},
                "optimizer": "Adam", "views": VIEWS.name, **TRAINING, "epochs": epochs, "teacher epochs": teaching}
    results = {name: {"T": task.T, "images": {kind: len(split) for kind, split in task.source.splits.items()},
                      "teachers": task.known, "students": {}} for name, task in tasks.items()}
    for seed in range(chosen.seeds):
        for name, task in tasks.items():
            for arm in arms(task):
                row = trial(task, arm, seed, epochs[name])
                results[name]["students"].setdefault(label(arm), []).append(row)
                print(name, label(arm), row, flush=True)
            results[name]["comparisons"] = comparisons(task, results[name]["students"])
        path = write(chosen.name, settings=settings, seeds=list(range(seed + 1)), results=results)
    for name in tasks:
        for question, answer in results[name].get("comparisons", {}).items():
            print(name, question, answer)
    print(f"written: {path}")


def on_cifar10(epochs: dict[str, int]) -> Task:
    x, y, classes = cifar10.images("train", 25_000)
    x_unseen, y_unseen, _ = cifar10.images("test", 10_000)
    valid, test = ((x_unseen[part], y_unseen[part]) for part in (slice(4_000, 5_000), slice(5_000, None)))
    own = data.from_arrays("cifar10", x, y, classes=classes, valid=valid, test=test)
    source = data.from_arrays("cifar10-unseen", x_unseen[:4_000], y_unseen[:4_000], classes=classes, valid=valid,
                              test=test)
    made = {"vit": lambda: taught("vit", own, epochs["vit"], **VIT),
            "resnet20": lambda: taught("resnet20", own, epochs["resnet20"]), "resnet56": lambda: cifar10.trained(56)}
    return recorded(source, 2.0, made)


def on_cifar100(epochs: dict[str, int]) -> Task:
    x, y, classes = cifar100.images("train")
    x_unseen, y_unseen, _ = cifar100.images("test")
    valid, test = (x_unseen[:500], y_unseen[:500]), (x_unseen[500:], y_unseen[500:])
    own = data.from_arrays("cifar100", x, y, classes=classes, valid=valid, test=test)
    source = data.from_arrays("cifar100-half", x[:5_000], y[:5_000], classes=classes, valid=valid, test=test)
    made = {"vit": lambda: taught("vit", own, epochs["vit"], **VIT),
            "resnet20": lambda: taught("resnet20", own, epochs["resnet20"])}
    return recorded(source, 4.0, made)


def taught(name: str, source: data.Source, epochs: int, **layers) -> models.Classifier:
    """A teacher that the script trains itself, on hard labels and endless views."""
    network = models.build(name, source.shape, len(source.classes), seed=0, **layers)
    train.fit(distillers.Supervised(network), source, epochs=epochs, augment=data.Augment(), seed=0, **TRAINING)
    return network


def recorded(source: data.Source, T: float, made: dict) -> Task:
    """Ask each teacher once about every view, and measure how strong and how sure it is where students learn."""
    banks, known = {}, {}
    for name, make in made.items():
        start = time.perf_counter()
        network = make()
        banks[name] = teachers.LogitBank.record(network, source.train, augment=VIEWS)
        z = banks[name].table[0].float()
        known[name] = {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            **judged(metrics.predict(network, source.test), source.test.y),
            "where students learn": {"accuracy": metrics.accuracy(z, source.train.y),
                                     "confidence": z.softmax(dim=1).amax(dim=1).mean().item(),
                                     "entropy at T": torch.special.entr((z / T).softmax(dim=1)).sum(1).mean().item()},
            "seconds": time.perf_counter() - start,
        }
        print(source.name, name, known[name], flush=True)
    return Task(source, T, banks, known)


def arms(task: Task) -> list[tuple[str, str]]:
    """Method and teacher of each student."""
    return [("hard labels", "")] + [(method, teacher) for teacher in task.banks for method in ("kd", "dist")]


def label(arm: tuple[str, str]) -> str:
    return ", ".join(filter(None, arm))


def trial(task: Task, arm: tuple[str, str], seed: int, epochs: int) -> dict:
    method, teacher = arm
    start = time.perf_counter()
    student = models.build("resnet8", task.source.shape, len(task.source.classes), seed=seed)
    if method == "hard labels":
        distiller = distillers.Supervised(student)
    elif method == "kd":
        distiller = distillers.KD(student, task.banks[teacher], T=task.T, alpha=ALPHA)
    else:
        distiller = distillers.DIST(student, task.banks[teacher], T=task.T)
    rows = train.fit(distiller, task.source, epochs=epochs, seed=seed, augment=VIEWS, **TRAINING)
    return {"seed": seed, **judged(metrics.predict(student, task.source.test), task.source.test.y),
            "valid_accuracy": rows[-1]["valid_accuracy"], "seconds": time.perf_counter() - start}


def judged(z: torch.Tensor, y: torch.Tensor) -> dict:
    within = (z.topk(5, dim=1).indices == y[:, None]).any(dim=1)
    return {"test_accuracy": metrics.accuracy(z, y), "test_top5": within.double().mean().item(),
            "test_nll": metrics.nll(z, y)}


def comparisons(task: Task, students: dict[str, list[dict]]) -> dict[str, dict]:
    """Differences in points of test accuracy, paired over seeds: each arm against hard labels, DIST against KD, the
    strongest teacher against the weakest, and whether DIST gains more by the stronger one than KD does."""
    runs = {arm: [row["test_accuracy"] for row in rows] for arm, rows in students.items()}
    [weak, *_, strong] = task.banks
    pairs = {f"{arm} - hard labels": (runs[arm], runs["hard labels"]) for arm in runs if arm != "hard labels"}
    pairs |= {f"dist, {t} - kd, {t}": (runs[f"dist, {t}"], runs[f"kd, {t}"]) for t in task.banks}
    pairs |= {f"{m}, {strong} - {m}, {weak}": (runs[f"{m}, {strong}"], runs[f"{m}, {weak}"]) for m in ("kd", "dist")}
    steps = [[a - b for a, b in zip(runs[f"{m}, {strong}"], runs[f"{m}, {weak}"], strict=True)] for m in ("dist", "kd")]
    pairs |= {f"(dist - kd) of ({strong} - {weak})": steps}
    found = {}
    for question, (ours, baseline) in pairs.items():
        if len(ours) > 1:
            c = metrics.compare(ours, baseline, images=len(task.source.test))
            found[question] = {"points": 100 * c.mean, "low": 100 * c.low, "high": 100 * c.high, "n": c.n,
                               "images": c.images, "verdict": c.verdict}
    return found


if __name__ == "__main__":
    main()
