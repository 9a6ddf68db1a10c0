"""Transfer and distillation on real tissue, small enough for a laptop: a 2 x 2 design, paired over seeds.

    python benchmarks/tissue_transfer.py               # three minutes on two cores
    python benchmarks/tissue_transfer.py --first 10 --seeds 10 --name tissue_transfer_again    # other seeds
    python benchmarks/tissue_transfer.py --seeds 3 --name trial

The data are `tissue_small`. Students learn from its first 100 training patches, half of each class. The teacher learned
from the other 1,500 and has seen none of the students'. Student and teacher are the same small ResNet, and a pretrained
one starts from CIFAR-10's photographs. T and alpha are chosen by the mean AUC on the 200 validation patches over seeds
that are not used again, for the pretrained student; so is the weight of attention transfer. The threshold of every
student is the one with the best F1 on the validation patches. The test patches choose nothing.
"""

import argparse
from multiprocessing import get_context

import torch
from record import write
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from kdcourse import data, distillers, metrics, models, teachers, train, trained
from kdcourse.core import seeded

FEW, CHOOSING, BATCH = 100, (100, 101), 20
HEAD, EPOCHS, LR = 4, 10, {"head": 1e-2, "all": 1e-3, "random": 1e-2}
GRID = [{"T": T, "alpha": alpha} for T in (1, 4) for alpha in (0.5, 0.9)]
BETAS = (10.0, 100.0)


class OnFrozenFeatures(nn.Module):
    """A network whose head alone learns; its body stays in eval mode."""

    def __init__(self, network):
        super().__init__()
        self.body, self.embed, self.linear = network.encoder(), network.embed, network.linear

    def train(self, mode=True):
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x):
        with torch.no_grad():
            f = self.body(x)
        return self.linear(self.embed(f))


def pretrained(seed):
    network = trained.network("cifar_resnet8_thin")
    with seeded(seed):
        network.linear = nn.Linear(network.linear.in_features, 2)
    return network


def fit(distiller, source, epochs, lr, seed):
    return train.fit(distiller, source, epochs=epochs, lr=lr, batch_size=BATCH, seed=seed, schedule="cosine",
                     device="cpu")


def adapted(source, lesson, seed, *, epochs=EPOCHS):
    """Feature extraction on labels, then fine-tuning by `lesson`."""
    network = pretrained(seed)
    fit(distillers.Supervised(OnFrozenFeatures(network)), source, HEAD, LR["head"], seed)
    fit(lesson(network), source, epochs, LR["all"], seed)
    return network


def from_random(source, lesson, seed, *, epochs=HEAD + EPOCHS):
    network = models.fresh_copy(pretrained(seed), seed=seed)
    fit(lesson(network), source, epochs, LR["random"], seed)
    return network


def frozen(source, seed):
    network = pretrained(seed)
    fit(distillers.Supervised(OnFrozenFeatures(network)), source, HEAD + EPOCHS, LR["head"], seed)
    return network


def margins(network, split):
    z = metrics.predict(network, split)
    return z[:, 1] - z[:, 0]


def judged(network, source) -> dict:
    """AUC, and F1 of tumour at a threshold of 0 and at the one chosen on validation images."""
    valid, test = margins(network, source.valid), margins(network, source.test)
    threshold = max(valid.tolist(), key=lambda t: f1_score(source.valid.y, valid >= t))
    return {"valid_auc": roc_auc_score(source.valid.y, valid), "auc": roc_auc_score(source.test.y, test),
            "f1": f1_score(source.test.y, test > 0), "f1_chosen": f1_score(source.test.y, test >= threshold),
            "threshold": threshold}


def chosen(measured: dict[tuple[str, int], dict]) -> tuple[str, list[dict]]:
    """The lesson with the best mean AUC on validation images, and all of them."""
    names = dict.fromkeys(name for name, _ in measured)
    rows = [{"lesson": name, "valid_auc": [measured[name, seed]["valid_auc"] for seed in CHOOSING]} for name in names]
    return max(rows, key=lambda row: sum(row["valid_auc"]))["lesson"], rows


def in_parallel(arms: dict, seeds) -> dict[tuple[str, int], dict]:
    """Every arm for every seed, each in one thread of one of a few processes: the numbers do not depend on how many."""
    global task  # what a forked process finds; functions made inside another cannot be sent to it

    def task(key):
        name, seed = key
        return key, arms[name](seed)

    with get_context("fork").Pool(5) as pool:
        return dict(pool.map(_task, [(name, seed) for name in arms for seed in seeds], chunksize=1))


def _task(key):
    return task(key)


def lessons(teacher, split) -> tuple[dict, dict]:
    """What is tried on validation images, by name: KD at each point of its grid, attention transfer at each weight."""
    bank = teachers.LogitBank.record(teacher, split)

    def kd(point):
        return lambda student: distillers.KD(student, bank, **point)

    def at(beta):
        return lambda student: distillers.AT(student, teacher, beta=beta)

    return ({f"T = {point['T']}, alpha = {point['alpha']}": kd(point) for point in GRID},
            {f"beta = {beta:g}": at(beta) for beta in BETAS})


def arms(few, soft, attention) -> dict:
    """What is measured on test images, by name: functions of a seed that give a trained network."""
    labels = distillers.Supervised
    return {
        "random, hard labels": lambda seed: from_random(few, labels, seed),
        "random, distilled": lambda seed: from_random(few, soft, seed),
        "pretrained, hard labels": lambda seed: adapted(few, labels, seed),
        "pretrained, distilled": lambda seed: adapted(few, soft, seed),
        "pretrained, attention": lambda seed: adapted(few, attention, seed),
        "pretrained, head alone": lambda seed: frozen(few, seed),
        "random, hard labels, long": lambda seed: from_random(few, labels, seed, epochs=3 * (HEAD + EPOCHS)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--name", default="tissue_transfer")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    whole = data.load("tissue_small")
    few = whole.with_train(whole.train.take(torch.arange(FEW), "few"))
    others = whole.with_train(whole.train.take(torch.arange(FEW, len(whole.train)), "others"))
    teacher = adapted(others, distillers.Supervised, 0, epochs=8)
    results = {"teacher": judged(teacher, whole), "cells": {}}
    print("teacher", results["teacher"], flush=True)
    soft, attention = lessons(teacher, few.train)
    tried = {name: (lambda seed, lesson=lesson: judged(adapted(few, lesson, seed), whole))
             for name, lesson in (soft | attention).items()}
    measured = in_parallel(tried, CHOOSING)
    best, results["kd_grid"] = chosen({key: row for key, row in measured.items() if key[0] in soft})
    weight, results["at_grid"] = chosen({key: row for key, row in measured.items() if key[0] in attention})
    results["chosen"] = {"kd": best, "at": weight}
    print(results, flush=True)
    settings = {"images": FEW, "head_epochs": HEAD, "epochs": EPOCHS, "lr": LR, "batch_size": BATCH,
                "optimizer": "Adam", "schedule": "cosine", "network": "cifar_resnet8_thin", "choosing_seeds": CHOOSING,
                "long": 3 * (HEAD + EPOCHS), "teacher": {"images": len(others.train), "epochs": 8}}
    judging = {name: (lambda seed, arm=arm: judged(arm(seed), whole))
               for name, arm in arms(few, soft[best], attention[weight]).items()}
    for (name, seed), row in in_parallel(judging, seeds).items():
        results["cells"].setdefault(name, []).append({"seed": seed} | row)
    path = write(asked.name, settings=settings, seeds=list(seeds), results=results)
    print(f"written: {path}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
