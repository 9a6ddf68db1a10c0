"""What does a student know in the end, and is it its teacher's knowledge? One student, several lessons, on
`fashion_small`.

    python benchmarks/fidelity.py              # a quarter of an hour on a busy core
    python benchmarks/fidelity.py --second     # other seeds, another training of the teacher: `fidelity_again`
    python benchmarks/fidelity.py --arms SLKD  # one of the arms; the result file keeps what it has of the others
    python benchmarks/fidelity.py --seeds 3 --name trial

The student, a perceptron of 64, learns from the first 500 training images by labels or by one of the methods from a CNN
that has learned from 53,000 others, or from that CNN's answers alone about all 6,000. Each is compared with its teacher
on its own training images and on the 2,000 test images: predictions, probabilities, representation, correlations
between classes, saliency. In "its own kind" the teacher is another perceptron of 64 that learned from the same 500
labels: students that could match it. The noise floor is what two trainings of the teacher's network, and any two
students of the labels, have in common.

Each arm is written when it is measured, so that a run that is stopped keeps what it has. SLKD follows one fresh CNN,
which learns from the teacher on the same 500 images and is recorded once.

T and alpha of KD are those that `gap.py` chose on validation images; the other settings are published ones or the
course's defaults. Temperature scaling is fitted on the 1,000 validation images. Nothing was chosen by the test images.
"""

import argparse
import itertools
import json

import torch
from record import RESULTS, write

from kdcourse import data, distillers, losses, metrics, models, procedures, study, teachers, train, trained
from kdcourse.sweep import sweep

FEW, SHOWN, EXPLAINED = 500, 500, 200   # images: to learn from; whose features, and whose saliency, are compared
TRAINING = {"epochs": 40, "lr": 2e-3, "batch_size": 100}
MORE = TRAINING | {"epochs": 10}        # of twelve times as many images
DISTANCE = 25.0                         # RKD's weight; without its angles
ARMS = ("hard labels", "KD", "DIST", "RKD", "hard labels, its own kind", "KD, its own kind", "KD, 6,000 images",
        "KD, its own kind, 6,000 images", "SLKD")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--second", action="store_true", help="other seeds of the students and of the teacher")
    parser.add_argument("--name", default="fidelity")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS, metavar="ARM",
                        help="only these; the file keeps the others")
    asked = parser.parse_args()
    seeds = list(range(10, 10 + asked.seeds) if asked.second else range(asked.seeds))
    measured = Study(seeds, asked.second)
    name = f"{asked.name}_again" if asked.second else asked.name
    settings = {"images": FEW, **TRAINING, "optimizer": "Adam", "KD": measured.soft, "RKD": {"distance": DISTANCE},
                "more": MORE, "teacher": measured.names[0], "other": measured.names[1]}
    path = RESULTS / f"{name}.json"
    if set(asked.arms) != set(ARMS) and path.is_file():
        results = json.loads(path.read_text())["results"]
    else:
        results = {"students": {}, "teacher": measured.of_teacher()}
    for arm, make, teacher, source, training in measured.arms():
        if arm not in asked.arms:
            continue
        results["students"][arm] = measured.students(make, teacher, source, training)
        if arm == "hard labels":
            results["twins"] = measured.twins()
        write(name, settings=settings, seeds=seeds, results=results)
        runs = results["students"][arm]
        print(arm, {key: round(sum(run[key] for run in runs) / len(runs), 3) for key in runs[0] if key != "seed"},
              flush=True)
    print(f"written: {path}")


class Known:
    """A network, and what it says and shows about the images on which others are compared with it."""

    def __init__(self, network, among):
        self.network, source = network, among.source
        self.said = {"train": metrics.predict(network, source.train), "test": metrics.predict(network, source.test)}
        self.features = metrics.embeddings(network, among.shown)
        self.maps = metrics.saliency(network, *among.explained)


class Study:
    """The images, the teachers, and what is measured of a student."""

    def __init__(self, seeds: list[int], second: bool):
        self.seeds, self.second, self.soft = seeds, second, study.recorded("gap")["results"]["chosen"]
        self.whole = data.load("fashion_small")
        rows = torch.arange(len(self.whole.train))
        self.source = self.whole.with_train(self.whole.train.take(rows[:FEW], "few"))
        self.shown = self.whole.test.take(rows[:SHOWN], "shown")
        explained = self.whole.test.take(rows[:EXPLAINED], "explained")
        self.explained = explained.x.float() / 255, explained.y
        self.names = ("fashion_cnn_1", "fashion_cnn") if second else ("fashion_cnn", "fashion_cnn_1")
        self.teacher, self.other = (Known(trained.network(name), self) for name in self.names)
        own = self.student(1_000 + second)
        train.fit(distillers.Supervised(own), self.source, seed=1_000 + second, **TRAINING)
        self.own = Known(own, self)
        self.kept = []

    def student(self, seed: int) -> models.Classifier:
        return models.build("mlp", self.whole.shape, 10, seed=seed)

    def arms(self):
        """Name, distiller, the teacher to be compared with, the images to learn from, and how."""
        few, teacher, soft = self.source, self.teacher.network, self.soft
        bank, own = (teachers.LogitBank.record(known.network, few.train) for known in (self.teacher, self.own))
        maps = teachers.FeatureBank.record(teacher, few.train)
        maps.tables = maps.tables[-1:]      # the last stage alone is compared
        yield "hard labels", distillers.Supervised, self.teacher, few, TRAINING
        yield "KD", lambda network: distillers.KD(network, bank, **soft), self.teacher, few, TRAINING
        yield "DIST", lambda network: distillers.DIST(network, bank), self.teacher, few, TRAINING
        yield ("RKD", lambda network: distillers.RKD(network, maps, distance=DISTANCE, angle=0.0), self.teacher, few,
               TRAINING)
        yield "hard labels, its own kind", distillers.Supervised, self.own, few, TRAINING
        yield ("KD, its own kind", lambda network: distillers.KD(network, own, T=soft["T"], alpha=1.0), self.own, few,
               TRAINING)
        for arm, known in (("KD, 6,000 images", self.teacher), ("KD, its own kind, 6,000 images", self.own)):
            said = teachers.LogitBank.record(known.network, self.whole.train)
            yield (arm, lambda network, said=said: distillers.KD(network, said, T=soft["T"], alpha=1.0), known,
                   self.whole, MORE)
        learner = models.build("cnn", self.whole.shape, 10, seed=2_000 + self.second)
        path = procedures.record_learners([learner], bank, few, T=soft["T"], **TRAINING)
        yield ("SLKD", lambda network: distillers.SLKD(network, bank, learners=path, T=soft["T"]), self.teacher, few,
               TRAINING)

    def students(self, make, teacher: Known, source, training: dict) -> list[dict]:
        self.kept = []

        def judge(network):
            self.kept.append(network)
            return self.measured(network, teacher)

        rows = sweep(self.student, make, {}, source, seeds=self.seeds, judge=judge, **training)
        wanted = ("seed", *self.measured(self.kept[0], teacher))
        return [{key: row[key] for key in wanted} for row in rows]

    def measured(self, network, teacher: Known) -> dict:
        """Of one student: how good it is, how near to its teacher, and how well it knows how sure it may be."""
        y, said = self.source.test.y, teacher.said["test"]
        z, few = metrics.predict(network, self.source.test), metrics.predict(network, self.source.train)
        T = metrics.best_temperature(metrics.predict(network, self.source.valid), self.source.valid.y)
        features = metrics.embeddings(network, self.shown)
        return {"accuracy": metrics.accuracy(z, y), **near(z, said, y),
                "train_agreement": metrics.agreement(few, teacher.said["train"]),
                "cka": metrics.linear_cka(features, teacher.features),
                "neighbours": metrics.neighbour_agreement(features, teacher.features),
                "saliency": metrics.map_correlation(metrics.saliency(network, *self.explained), teacher.maps),
                **sure(z, y), "T": T, **{f"scaled_{key}": value for key, value in sure(z / T, y).items()}}

    def of_teacher(self) -> dict:
        """The teacher against its other training: the noise floor of two networks that learned the same."""
        z, other, y = self.teacher.said["test"], self.other.said["test"], self.source.test.y
        return {"accuracy": metrics.accuracy(z, y), "other_accuracy": metrics.accuracy(other, y), **near(other, z, y),
                "cka": metrics.linear_cka(self.other.features, self.teacher.features),
                "neighbours": metrics.neighbour_agreement(self.other.features, self.teacher.features),
                "saliency": metrics.map_correlation(self.other.maps, self.teacher.maps), **sure(z, y),
                "own_accuracy": metrics.accuracy(self.own.said["test"], y)}

    def twins(self) -> list[dict]:
        """Every two students of the last arm, which nothing but the labels taught."""
        z = [metrics.predict(network, self.source.test) for network in self.kept]
        return [near(*pair, self.source.test.y) for pair in itertools.combinations(z, 2)]


def near(z, said, y) -> dict:
    """How far the answers `z` are those of another network, about the same test images."""
    gap = (torch.corrcoef(z.T) - torch.corrcoef(said.T)).abs()
    return {"agreement": metrics.agreement(z, said), "corrected": metrics.corrected_agreement(z, said, y),
            "kl": losses.soft_kl(z, said).mean().item(), "correlations": gap.sum().item() / (len(gap) * (len(gap) - 1))}


def sure(z, y) -> dict:
    """Calibration: the error, what a calibrated network of these confidences would read, and two proper scores."""
    null, high = metrics.ece_null(z)
    return {"ece": metrics.ece(z, y), "ece_null": null, "ece_high": high, "nll": metrics.nll(z, y),
            "brier": metrics.brier(z, y)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
