"""The question of `fidelity.py`, asked about photographs of CIFAR-10: the published ResNet-20 and its students.

    python benchmarks/fidelity_cifar10.py           # half an hour on a busy core
    python benchmarks/fidelity_cifar10.py --seeds 3 --name trial

The student, the tutorial's LightNN, learns from 4,000 images that the teacher has not seen, by labels or by one of the
methods; 1,000 others validate, and 5,000 judge (`methods_cifar10.py` has the same three). SLKD follows one fresh
ResNet-20, which learns from the teacher on the 4,000 images and is recorded once. The settings of KD, DIST and RKD are
those of a small grid that are best on the validation images, in the mean of two seeds that are not used again; SLKD has
KD's T and the paper's lam. Temperature scaling is fitted on the validation images. Nothing was chosen by the test
images.

What two networks have in common anyway: every two students of the labels, and the published ResNet-56 beside the
teacher. It is no second training of the teacher's network, but larger, and right about more images.
"""

import argparse
import itertools

import torch
from cifar10 import trained
from fidelity import near, sure
from methods_cifar10 import TRAINING, UNSEEN, sources
from record import write

from kdcourse import distillers, metrics, models, procedures, teachers
from kdcourse.sweep import sweep

SHOWN = 500     # test images whose features are compared
TRAINING = TRAINING["lightnn"]
LEARNING = TRAINING | {"lr": 2e-3}      # of the network that SLKD's student follows
CHOOSING = (101, 102)
GRIDS = {"KD": {"T": [2.0, 4.0], "alpha": [0.5, 0.9]}, "DIST": {"T": [2.0, 4.0]},
         "RKD": {"distance": [0.25, 2.5, 25.0]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--name", default="fidelity_cifar10")
    asked = parser.parse_args()
    measured = Study(range(asked.seeds))
    settings = {"images": len(measured.source.train), **TRAINING, "optimizer": "Adam", "grids": GRIDS,
                "choosing seeds": CHOOSING, "learner": LEARNING, "teacher": "resnet20", "other": "resnet56"}
    results = {"teacher": measured.of_teacher(), "chosen": {}, "grids": {}, "students": {}}
    for arm, make in measured.arms():
        chosen = measured.chosen(arm, make, results) if arm in GRIDS else {}
        results["students"][arm] = runs = measured.students(make, chosen)
        if arm == "hard labels":
            results["twins"] = measured.twins()
        path = write(asked.name, settings=settings, seeds=list(measured.seeds), results=results)
        print(arm, {key: round(sum(run[key] for run in runs) / len(runs), 3) for key in runs[0] if key != "seed"},
              flush=True)
    print(f"written: {path}")


class Study:
    """The images, the teacher, and what is measured of a student."""

    def __init__(self, seeds):
        self.seeds, self.source, self.kept, self.T = seeds, sources()[UNSEEN], [], 4.0
        self.shown = self.source.test.take(torch.arange(SHOWN), "shown")
        self.teacher = trained(20)
        self.said = {split.name: metrics.predict(self.teacher, split) for split in self.splits()}
        self.features = metrics.embeddings(self.teacher, self.shown)

    def splits(self):
        return self.source.train, self.source.test

    def student(self, seed: int) -> models.Classifier:
        return models.build("lightnn", self.source.shape, 10, seed=seed)

    def arms(self):
        """Name, and what makes a distiller of a student and of the settings that are chosen."""
        train = self.source.train
        bank = teachers.LogitBank(self.said[train.name][None], origin=train.origin(), teacher="resnet20")
        yield "hard labels", distillers.Supervised
        yield "KD", lambda network, **at: distillers.KD(network, bank, **at)
        yield "DIST", lambda network, **at: distillers.DIST(network, bank, **at)
        maps = teachers.FeatureBank.record(self.teacher, train)
        maps.tables = maps.tables[-1:]      # the last stage alone is compared
        yield "RKD", lambda network, **at: distillers.RKD(network, maps, angle=0.0, **at)
        learner = models.build("resnet20", self.source.shape, 10, seed=2_000)
        path = procedures.record_learners([learner], bank, self.source, T=self.T, **LEARNING)
        yield "SLKD", lambda network: distillers.SLKD(network, bank, learners=path, T=self.T)

    def chosen(self, arm: str, make, results: dict) -> dict:
        """The settings of the grid with the best mean accuracy on validation images."""
        rows, grid = sweep(self.student, make, GRIDS[arm], self.source, seeds=CHOOSING, **TRAINING), {}
        for row in rows:
            grid.setdefault(tuple(row[name] for name in GRIDS[arm]), []).append(row["valid_accuracy"])
        means = {at: sum(found) / len(found) for at, found in grid.items()}
        results["grids"][arm] = [dict(zip(GRIDS[arm], at, strict=True)) | {"valid_accuracy": mean}
                                 for at, mean in means.items()]
        best = dict(zip(GRIDS[arm], max(means, key=means.get), strict=True))
        results["chosen"][arm], self.T = best, best["T"] if arm == "KD" else self.T
        print(arm, results["grids"][arm], flush=True)
        return best

    def students(self, make, chosen: dict) -> list[dict]:
        self.kept = []

        def judge(network):
            self.kept.append(network)
            return self.measured(network)

        grid = {name: [value] for name, value in chosen.items()}
        rows = sweep(self.student, make, grid, self.source, seeds=self.seeds, judge=judge, **TRAINING)
        wanted = ("seed", *self.measured(self.kept[0]))
        return [{key: row[key] for key in wanted} for row in rows]

    def measured(self, network) -> dict:
        """Of one student: how good it is, how near to its teacher, and how well it knows how sure it may be."""
        (train, test), valid = self.splits(), self.source.valid
        z, T = metrics.predict(network, test), metrics.best_temperature(metrics.predict(network, valid), valid.y)
        return {"accuracy": metrics.accuracy(z, test.y), **near(z, self.said[test.name], test.y),
                "train_agreement": metrics.agreement(metrics.predict(network, train), self.said[train.name]),
                "cka": metrics.linear_cka(metrics.embeddings(network, self.shown), self.features),
                **sure(z, test.y), "T": T, **{f"scaled_{key}": value for key, value in sure(z / T, test.y).items()}}

    def of_teacher(self) -> dict:
        """The teacher, and the ResNet-56 compared with it."""
        other, test = trained(56), self.source.test
        z, said = metrics.predict(other, test), self.said[test.name]
        cka = metrics.linear_cka(metrics.embeddings(other, self.shown), self.features)
        return {"accuracy": metrics.accuracy(said, test.y), "other_accuracy": metrics.accuracy(z, test.y), "cka": cka,
                **near(z, said, test.y), **sure(said, test.y)}

    def twins(self) -> list[dict]:
        """Every two students of the last arm, which nothing but the labels taught."""
        test = self.source.test
        z = [metrics.predict(network, test) for network in self.kept]
        f = [metrics.embeddings(network, self.shown) for network in self.kept]
        return [near(z[a], z[b], test.y) | {"cka": metrics.linear_cka(f[a], f[b])}
                for a, b in itertools.combinations(range(len(z)), 2)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
