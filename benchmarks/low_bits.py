"""Does a teacher help a student whose weights have few bits? Hard labels against KD, in float32 and in 8 to 2 bits.

    python benchmarks/low_bits.py                    # a quarter of an hour on a busy core
    python benchmarks/low_bits.py --second           # other seeds of the students, another teacher: `low_bits_again`
    python benchmarks/low_bits.py --seeds 3 --name trial

Two students, perceptrons of 64 and of 16 hidden units, learn from the first 500 training images of `fashion_small`,
with their weights rounded while they learn (`ship.int8.low_bits`), by labels or by KD. Beside it: the students in
float32, rounded afterwards. The learning rate is chosen for every arm, and T for KD in float32, by the mean accuracy on
the validation images over seeds that are not used again; the second run takes both from the first. The 2,000 test
images choose nothing. Arms are paired over seeds. The teacher is trained once; its luck is in every pair.
"""

import json

import torch
from record import RESULTS, seeds_and_name, twice, write

from kdcourse import data, distillers, metrics, models, teachers, train, trained
from kdcourse.ship import int8

FEW = 500
TRAINING = {"epochs": 40, "batch_size": 100, "schedule": "cosine"}
STUDENTS = {"perceptron 64": (64,), "perceptron 16": (16,)}
BITS = (32, 8, 4, 3, 2)
CHOOSING, RATES, TEMPERATURES, ALPHA = (100, 101, 102), (1e-3, 2e-3, 4e-3, 8e-3), (1.0, 2.0, 4.0), 0.9
TEACHERS = ("fashion_resnet", "fashion_cnn")


def main() -> None:
    parser = twice(__doc__, "other seeds, and the other teacher")
    parser.add_argument("--name", default="low_bits")
    asked = parser.parse_args()
    seeds, name = seeds_and_name(asked)
    study = Study(TEACHERS[asked.second])
    if asked.second:
        study.settings = json.loads((RESULTS / f"{asked.name}.json").read_text())["results"]["chosen"]
    results = {"teacher": study.about(), "chosen": study.settings, "students": {}}
    settings = {"images": FEW, **TRAINING, "optimizer": "Adam", "students": STUDENTS, "bits": BITS, "rates": RATES,
                "temperatures": TEMPERATURES, "alpha": ALPHA, "choosing seeds": CHOOSING}
    for student in study.settings if asked.second else STUDENTS:
        if not asked.second:
            study.choose(student)
        results["students"][student] = {}
        for bits in BITS:
            for lesson in ("hard labels", "KD"):
                results["students"][student] |= study.measure(student, bits, lesson, seeds)
                path = write(name, settings=settings, seeds=seeds, results=results)
            runs = [results["students"][student][f"{lesson}, {named(bits)}"] for lesson in ("KD", "hard labels")]
            print(student, named(bits), metrics.compare(*([run["accuracy"] for run in arm] for arm in runs),
                                                        images=len(study.source.test)), flush=True)
    print(f"written: {path}")


def named(bits: int) -> str:
    return "float32" if bits == 32 else f"{bits} bits"


class Study:
    """The images, the teacher's answers about them, and the settings that the validation images chose."""

    def __init__(self, teacher: str):
        whole = data.load("fashion_small")
        self.source = whole.with_train(whole.train.take(torch.arange(FEW), "few"))
        table = trained.answers(teacher)["train"].table[:, :FEW]
        self.bank = teachers.LogitBank(table, origin=self.source.train.origin(), teacher=teacher)
        self.name, self.settings = teacher, {}

    def about(self) -> dict:
        z = trained.answers(self.name)["test"].table[0].float()
        return {"name": self.name, "test_accuracy": metrics.accuracy(z, self.source.test.y)}

    def trained(self, student: str, bits: int, lesson: str, seed: int, *, lr: float, T: float = 2.0):
        network = models.build("mlp", self.source.shape, 10, seed=seed, hidden=STUDENTS[student])
        network = network if bits == 32 else int8.low_bits(network, bits)
        distiller = (distillers.Supervised(network) if lesson == "hard labels"
                     else distillers.KD(network, self.bank, T=T, alpha=ALPHA))
        rows = train.fit(distiller, self.source, lr=lr, seed=seed, **TRAINING)
        return network, rows[-1]["valid_accuracy"]

    def choose(self, student: str) -> None:
        """The temperature of KD in float32, then the learning rate of every arm."""
        def score(bits, lesson, **at) -> float:
            found = [self.trained(student, bits, lesson, seed, **at)[1] for seed in CHOOSING]
            return sum(found) / len(found)

        scores = {f"T={T:g}": score(32, "KD", lr=2e-3, T=T) for T in TEMPERATURES}
        T = max(TEMPERATURES, key=lambda T: scores[f"T={T:g}"])
        self.settings[student] = {"T": T, "T scores": scores, "lr": {}, "lr scores": {}}
        for bits in BITS:
            for lesson in ("hard labels", "KD"):
                scores = {rate: score(bits, lesson, lr=rate, T=T) for rate in RATES}
                self.settings[student]["lr"][f"{lesson}, {named(bits)}"] = max(scores, key=scores.get)
                self.settings[student]["lr scores"][f"{lesson}, {named(bits)}"] = scores
        print(student, T, self.settings[student]["lr"], flush=True)

    def measure(self, student: str, bits: int, lesson: str, seeds: list[int]) -> dict:
        """One student for each seed; those in float32 are rounded afterwards, too."""
        arm, chosen = f"{lesson}, {named(bits)}", self.settings[student]
        found = {arm: []} | ({f"{lesson}, rounded to {named(few)}": [] for few in BITS[1:]} if bits == 32 else {})
        for seed in seeds:
            network, valid = self.trained(student, bits, lesson, seed, lr=chosen["lr"][arm], T=chosen["T"])
            found[arm].append({"seed": seed, "accuracy": self.right(network), "valid_accuracy": valid})
            for few in BITS[1:] if bits == 32 else ():
                rounded = int8.low_bits(network, few)
                found[f"{lesson}, rounded to {named(few)}"].append({"seed": seed, "accuracy": self.right(rounded)})
        return found

    def right(self, network) -> float:
        return metrics.accuracy(metrics.predict(network, self.source.test), self.source.test.y)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
