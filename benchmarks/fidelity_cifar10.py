"""The question of `fidelity.py`, asked about photographs of CIFAR-10: the published ResNet-20 and its students.

    python benchmarks/fidelity_cifar10.py           # half an hour on a busy core
    python benchmarks/fidelity_cifar10.py --seeds 3 --name trial

The student, the tutorial's LightNN, learns from 4,000 images that the teacher has not seen, by labels or by one of the
methods; 1,000 others validate, and 5,000 judge (`methods_cifar10.py` has the same three). SLKD follows one fresh
ResNet-20, which learns from the teacher on the 4,000 images and is recorded once. The settings of KD, DIST and RKD are
those that `methods_cifar10.py` chose on the validation images; SLKD has KD's T and the paper's lam. Temperature scaling
is fitted on the validation images. Nothing was chosen by the test images. Each arm is written when it is measured, and
a later run goes on with those that the file lacks.

What two networks have in common anyway: every two students of the labels, and the published ResNet-56 beside the
teacher. It is no second training of the teacher's network, but larger, and right about more images.
"""

import argparse
import itertools
import json

import torch
from cifar10 import trained
from fidelity import near, sure
from methods_cifar10 import TRAINING, UNSEEN, sources
from record import RESULTS, write

from kdcourse import distillers, metrics, models, procedures, teachers
from kdcourse.sweep import sweep

SHOWN = 500     # test images whose features are compared
TRAINING = TRAINING["lightnn"]
LEARNING = TRAINING | {"lr": 2e-3}      # of the network that SLKD's student follows
SETTINGS = {"KD": {"T": 2.0, "alpha": 0.9}, "DIST": {"T": 2.0, "beta": 2.0, "gamma": 2.0},
            "RKD": {"distance": 2.5, "angle": 5.0}, "SLKD": {"T": 2.0, "lam": 0.1}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--name", default="fidelity_cifar10")
    asked = parser.parse_args()
    measured = Study(range(asked.seeds))
    settings = {"images": len(measured.source.train), **TRAINING, "optimizer": "Adam", **SETTINGS, "learner": LEARNING,
                "teacher": "resnet20", "other": "resnet56"}
    path = RESULTS / f"{asked.name}.json"
    results = json.loads(path.read_text())["results"] if path.is_file() else {"students": {}}
    if "teacher" not in results:
        results["teacher"] = measured.of_teacher()
    for arm, make in measured.arms(results["students"]):
        results["students"][arm] = runs = measured.students(make)
        if arm == "hard labels":
            results["twins"] = measured.twins()
        write(asked.name, settings=settings, seeds=list(measured.seeds), results=results)
        print(arm, {key: round(sum(run[key] for run in runs) / len(runs), 3) for key in runs[0] if key != "seed"},
              flush=True)
    print(f"written: {path}")


class Study:
    """The images, the teacher, and what is measured of a student."""

    def __init__(self, seeds):
        self.seeds, self.source, self.kept = seeds, sources()[UNSEEN], []
        self.shown = self.source.test.take(torch.arange(SHOWN), "shown")
        self.teacher = trained(20)
        self.said = {split.name: metrics.predict(self.teacher, split) for split in self.splits()}
        self.features = metrics.embeddings(self.teacher, self.shown)

    def splits(self):
        return self.source.train, self.source.test

    def student(self, seed: int) -> models.Classifier:
        return models.build("lightnn", self.source.shape, 10, seed=seed)

    def arms(self, known):
        """Name, and what makes a distiller of a student, of each arm that is not known yet."""
        train = self.source.train
        bank = teachers.LogitBank(self.said[train.name][None], origin=train.origin(), teacher="resnet20")
        if "hard labels" not in known:
            yield "hard labels", distillers.Supervised
        if "KD" not in known:
            yield "KD", lambda network: distillers.KD(network, bank, **SETTINGS["KD"])
        if "DIST" not in known:
            yield "DIST", lambda network: distillers.DIST(network, bank, **SETTINGS["DIST"])
        if "RKD" not in known:
            maps = teachers.FeatureBank.record(self.teacher, train)
            maps.tables = maps.tables[-1:]      # the last stage alone is compared
            yield "RKD", lambda network: distillers.RKD(network, maps, **SETTINGS["RKD"])
        if "SLKD" not in known:
            learner = models.build("resnet20", self.source.shape, 10, seed=2_000)
            path = procedures.record_learners([learner], bank, self.source, **SETTINGS["SLKD"], **LEARNING)
            yield "SLKD", lambda network: distillers.SLKD(network, bank, learners=path, **SETTINGS["SLKD"])

    def students(self, make) -> list[dict]:
        self.kept = []

        def judge(network):
            self.kept.append(network)
            return self.measured(network)

        rows = sweep(self.student, make, {}, self.source, seeds=self.seeds, judge=judge, **TRAINING)
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
