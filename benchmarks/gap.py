"""Can a teacher be too good for its student, and what helps? One student, many teachers, on `fashion_small`.

    python benchmarks/gap.py                                     # half an hour on a busy core
    python benchmarks/gap.py --second --arms "hard labels" ...   # other seeds of students and teachers: `gap_again`
    python benchmarks/gap.py --seeds 3 --name trial

The student, a perceptron of 64, learns from the first 500 training images. Teachers of growing size learn from the last
5,000; two more, kept with the course, have learned from 53,000 others, and one of these kept what it said after each of
its epochs. Nobody has learned the images 500 to 999: there student and teacher are compared. Assistants learn from the
student's own images. T is chosen by the mean accuracy on the validation images over seeds that are not used again,
under the strongest teacher; the settings of the other methods are published ones or the course's defaults, and were not
tuned. The 2,000 test images choose nothing.

Every arm is paired with the others over seeds. A teacher or an assistant is trained once; its luck is in every pair.
"""

import json

import torch
from record import RESULTS, seeds_and_name, twice, write

from kdcourse import data, distillers, losses, metrics, models, teachers, train, trained
from kdcourse.sweep import sweep

FEW, WATCHED = 500, 1_000
TRAINING = {"epochs": 40, "lr": 2e-3, "batch_size": 100}
CHOOSING = (100, 101, 102)
GRID = {"T": [1.0, 2.0, 4.0], "alpha": [0.9]}
OF_SIZE = {"perceptron 16": ("mlp", {"hidden": (16,)}), "perceptron 64": ("mlp", {"hidden": (64,)}),
           "perceptron 512": ("mlp", {"hidden": (512,)}), "CNN 8": ("cnn", {"width": 8})}
TEACHING = {"epochs": 5, "lr": 1e-3, "batch_size": 100}
KEPT = {"CNN 32": "fashion_cnn", "ResNet-20": "fashion_resnet"}
CHECKPOINTS = (1, 2, 3)
ASSISTANTS = {"perceptron 512": (512,), "perceptron 128": (128,)}


def main() -> None:
    parser = twice(__doc__, "other seeds of the students and of the teachers")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="these alone")
    parser.add_argument("--name", default="gap")
    asked = parser.parse_args()
    seeds, name = seeds_and_name(asked)
    study = Study(seeds, teacher_seed=int(asked.second), wanted=asked.arms)
    results = {"chosen": study.chosen(), "grid": study.grid, "teachers": study.known, "students": study.students}
    settings = {"images": FEW, **TRAINING, "optimizer": "Adam", "teachers": OF_SIZE, "teaching": TEACHING,
                "kept teachers": KEPT, "assistants": ASSISTANTS, "choosing seeds": CHOOSING}
    for arm, make, epochs in study.arms():
        if asked.arms and arm not in asked.arms:
            continue
        study.measure(arm, make, epochs)
        path = write(name, settings=settings, seeds=seeds, results=results)
        runs = study.students[arm]
        print(f"{arm}: {sum(run['accuracy'] for run in runs) / len(runs):.2%}", flush=True)
    print(f"written: {path}")


class Study:
    """The images, the teachers' answers about them, and what was measured."""

    def __init__(self, seeds, teacher_seed: int, wanted: list[str] | None):
        self.seeds, self.teacher_seed, self.wanted = seeds, teacher_seed, wanted
        whole = data.load("fashion_small")
        rows = torch.arange(len(whole.train))
        self.source = whole.with_train(whole.train.take(rows[:FEW], "few"))
        self.others = whole.with_train(whole.train.take(rows[WATCHED:], "others"))
        self.watched = whole.train.take(rows[FEW:WATCHED], "watched")
        self.banks, self.said, self.known, self.students, self.grid = {}, {}, {}, {}, []
        for name, (kind, layers) in OF_SIZE.items():
            if wanted and f"KD, {name}" not in wanted:
                continue
            network = models.build(kind, whole.shape, 10, seed=teacher_seed, **layers)
            train.fit(distillers.Supervised(network), self.others, seed=teacher_seed, **TEACHING)
            answers = metrics.predict(network, whole.train.take(rows[:WATCHED], "both"))
            self.keep(name, answers, metrics.predict(network, whole.test), count(network))
        for name, kept in KEPT.items():
            if teacher_seed and kept == "fashion_cnn":
                kept = "fashion_cnn_1"
            answers = trained.answers(kept)
            self.keep(name, answers["train"].table[0], answers["test"].table[0], count(trained.network(kept)))
        trajectory = trained.checkpoints("fashion_cnn")
        for epoch in CHECKPOINTS:
            self.keep(f"CNN 32 after {epoch}", trajectory.at(epoch).table[0], None, None)

    def keep(self, name: str, answers, test, parameters) -> None:
        """A teacher by its answers about the first 1,000 training images, and what is known about it."""
        z = answers.float()
        self.banks[name], self.said[name] = self.bank(z[:FEW], name), z[FEW:WATCHED]
        confidence = z[:WATCHED].softmax(dim=1).max(dim=1).values.mean().item()
        self.known[name] = {"accuracy": metrics.accuracy(self.said[name], self.watched.y), "confidence": confidence,
                            "parameters": parameters}
        if test is not None:
            self.known[name]["test_accuracy"] = metrics.accuracy(test.float(), self.source.test.y)

    def bank(self, z, name: str) -> teachers.LogitBank:
        return teachers.LogitBank(z[None], origin=self.source.train.origin(), teacher=name)

    def student(self, seed: int) -> models.Classifier:
        return models.build("mlp", self.source.shape, 10, seed=seed)

    def chosen(self) -> dict:
        """T and alpha with the best validation accuracy under the strongest teacher; chosen once, with the first
        teachers."""
        if self.teacher_seed:
            self.soft = json.loads((RESULTS / "gap.json").read_text())["results"]["chosen"]
            return self.soft
        bank = self.banks["ResNet-20"]
        rows = sweep(self.student, lambda network, **at: distillers.KD(network, bank, **at), GRID, self.source,
                     seeds=CHOOSING, **TRAINING)
        for T in GRID["T"]:
            values = [row["valid_accuracy"] for row in rows if row["T"] == T]
            self.grid.append({"T": T, "alpha": GRID["alpha"][0], "valid_accuracy": sum(values) / len(values)})
        best = max(self.grid, key=lambda row: row["valid_accuracy"])
        self.soft = {"T": best["T"], "alpha": best["alpha"]}
        print(self.grid, self.known, flush=True)
        return self.soft

    def arms(self):
        """Name, distiller and epochs of every arm, the most telling first; assistants are trained on the way."""
        def kd(bank, **at):
            return lambda network: distillers.KD(network, bank, **self.soft | at)

        epochs, strong = TRAINING["epochs"], self.banks["ResNet-20"]
        yield "hard labels", distillers.Supervised, epochs
        for name in ("ResNet-20", "CNN 32", *OF_SIZE, *(f"CNN 32 after {epoch}" for epoch in CHECKPOINTS)):
            if name not in self.banks:
                continue
            yield f"KD, {name}", kd(self.banks[name]), epochs
        for name in ("ResNet-20", "CNN 32"):
            yield f"KD, {name}, three times as long", kd(self.banks[name]), 3 * epochs
        guides = [strong]
        for name, bank in self.assistants(strong):
            guides.append(bank)
            yield f"TAKD, {name}", kd(bank), epochs
        yield "KD, mean of teacher and assistants", kd(self.mean(guides)), epochs
        n, alpha = len(guides), self.soft["alpha"]
        yield "DGKD", kd(self.mean(guides), alpha=n * alpha / (1 - alpha + n * alpha)), epochs
        yield "ESKD, student stops", lambda network: distillers.ESKD(network, strong, **self.soft), epochs
        checkpoints = [self.banks[f"CNN 32 after {epoch}"] for epoch in CHECKPOINTS] + [self.banks["CNN 32"]]
        yield "Pro-KD", lambda network: distillers.ProKD(network, checkpoints, **self.soft), epochs
        yield "hard labels, three times as long", distillers.Supervised, 3 * epochs
        yield "LSKD", lambda network: distillers.LSKD(network, strong), epochs
        yield "KD at LSKD's weight", kd(strong, T=2.0, alpha=9 / 9.1), epochs
        yield "DKD", lambda network: distillers.DKD(network, strong, beta=2.0), epochs
        yield "NKD", lambda network: distillers.NKD(network, strong), epochs
        yield "TTM", lambda network: distillers.TTM(network, strong, T=4.0, beta=4.0), epochs
        yield "WTTM", lambda network: distillers.WTTM(network, strong, T=4.0, beta=4.0), epochs
        yield "ATS", lambda network: distillers.ATS(network, strong), epochs
        yield "IPWD", lambda network: distillers.IPWD(network, strong, **self.soft), epochs

    def assistants(self, bank):
        """Each by falling size, taught on the student's images by the one before it; its answers about them."""
        for name, hidden in ASSISTANTS.items():
            network = models.build("mlp", self.source.shape, 10, seed=1_000 + self.teacher_seed, hidden=hidden)
            train.fit(distillers.KD(network, bank, **self.soft), self.source, seed=self.teacher_seed, **TRAINING)
            bank = teachers.LogitBank.record(network, self.source.train, dtype=torch.float32)
            z = torch.cat([bank.table[0], metrics.predict(network, self.watched)])
            self.keep(f"assistant {name}", z, metrics.predict(network, self.source.test), count(network))
            yield name, bank

    def mean(self, banks) -> teachers.LogitBank:
        """The guides as one: the mean of their softened probabilities, whose KL has the mean of their gradients."""
        T = self.soft["T"]
        p = torch.stack([(bank.table[0].float() / T).softmax(dim=1) for bank in banks]).mean(dim=0)
        return self.bank(T * p.log(), "mean")

    def measure(self, arm: str, make, epochs: int) -> None:
        """One student for each seed: its accuracy, and how near it is to the teacher of the arm where it has one."""
        said = self.said.get(arm.partition(", ")[2] if arm.startswith("KD, ") else "ResNet-20")
        self.students[arm] = []

        def judge(network):
            z = metrics.predict(network, self.source.test)
            near, y = metrics.predict(network, self.watched), self.source.test.y
            return {"accuracy": metrics.accuracy(z, y), "ece": metrics.ece(z, y)} | ({} if said is None else {
                "agreement": metrics.agreement(near, said), "kl": losses.soft_kl(near, said).mean().item()})

        rows = sweep(self.student, make, {}, self.source, seeds=self.seeds, judge=judge,
                     **TRAINING | {"epochs": epochs})
        keys = ("seed", "accuracy", "ece", "agreement", "kl", "valid_accuracy")
        self.students[arm] += [{key: row[key] for key in keys if key in row} for row in rows]


def count(network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
