"""Teachers that are peers, crowds, of another sense, or without data: each with its control, on the small real sets.

    python benchmarks/others.py                       # twenty minutes on a busy core
    python benchmarks/others.py --second              # other seeds of students and of teachers: `others_again`
    python benchmarks/others.py --parts peers crowd   # some of them
    python benchmarks/others.py --seeds 2 --name trial

peers     a perceptron of 64 with 500 images of `fashion_small`: a peer that learns too, a teacher of its own kind
crowd     the same student; five teachers have learned from 1,000 other images each, a sixth from all of these
senses    a perceptron that sees 7x7 thumbnails, 300 of them labelled; the teacher sees the 28x28 images of 6,000 pairs
nothing   a perceptron that never sees a digit; its teacher, also a perceptron, has learned from `mnist_small`
tasks     a perceptron that learns the digits 5 to 9 after 0 to 4
rivals    the first student, with a discriminator that tells its answers from the teacher's
exits     a perceptron of three layers whose last exit teaches the earlier ones; all exits by labels; one exit alone

T is chosen in `crowd` and `senses`, and the discriminator's weight beta in `rivals`, by the mean accuracy on the
validation images over seeds that are not used again; in `nothing` T is the default of KD. Everything else was set
beforehand. The 2,000 test images choose nothing. Within a part the arms are paired over seeds; teachers are trained
once, and their luck is in every pair. No student has the first weights of a teacher, nor a part of them.
"""

import copy
import json

import torch
import torch.nn.functional as F
from record import RESULTS, seeds_and_name, twice, write

from kdcourse import data, distillers, metrics, models, procedures, teachers, train, trained
from kdcourse.core import seeded
from kdcourse.data import Source, Split, transfer
from kdcourse.distillers.several import logits_of_mean_probability
from kdcourse.sweep import sweep

FEW, APART = 500, 1_000
TRAINING = {"epochs": 40, "lr": 2e-3, "batch_size": 100}
CHOOSING = (100, 101, 102)
TEMPERATURES, BETAS = (1.0, 2.0, 4.0), (0.01, 0.1, 1.0)
CROWD, EACH, TEACHING = 5, 1_000, {"epochs": 20, "lr": 1e-3, "batch_size": 100}
LABELLED, LABELLING = 300, {"epochs": 200, "lr": 2e-3, "batch_size": 50}
BRIDGE = {"epochs": 10, "lr": 2e-3, "batch_size": 100}
DRAWN, WITHOUT = 4_000, {"epochs": 10, "lr": 2e-3, "batch_size": 100}
INK, STEPS = 0.2, 300
TASK = {"epochs": 5, "lr": 1e-2, "batch_size": 100}


def main() -> None:
    parser = twice(__doc__, "other seeds of the students and of the teachers")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--name", default="others")
    asked = parser.parse_args()
    seeds, name = seeds_and_name(asked)
    study = Study(seeds, int(asked.second))
    path = RESULTS / f"{name}.json"
    if set(asked.parts) != set(PARTS) and path.is_file():
        study.results = json.loads(path.read_text())["results"]
        for part in asked.parts:
            study.forget(part)
    if asked.second:
        study.results["chosen"] = json.loads((RESULTS / "others.json").read_text())["results"]["chosen"]
    settings = {"training": TRAINING, "crowd": TEACHING, "labelled": LABELLED, "labelling": LABELLING,
                "bridge": BRIDGE, "drawn": DRAWN, "without": WITHOUT, "ink": INK, "steps of DAFL": STEPS,
                "task": TASK, "optimizer": "Adam", "choosing seeds": CHOOSING}
    for part in asked.parts:
        PARTS[part](study)
        write(name, settings=settings, seeds=list(study.seeds), results=study.results)
    print(f"written: {path}")


class Study:
    """The seeds, and what was measured so far."""

    def __init__(self, seeds, teacher_seed: int):
        self.seeds, self.teacher_seed = seeds, teacher_seed
        self.results = {"chosen": {}, "grids": {}, "teachers": {}, "students": {}}

    def measure(self, arm: str, student, make, source, **training) -> None:
        """A student for each seed, and its accuracy on the test images."""
        rows = sweep(student, make, {}, source, seeds=self.seeds, judge=tested(source), **training)
        self.keep(arm, [{key: row[key] for key in ("seed", "accuracy", "valid_accuracy")} for row in rows])

    def keep(self, arm: str, rows: list[dict]) -> None:
        self.results["students"][arm] = rows
        shown = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0] if key != "seed"}
        print(arm, {key: f"{value:.2%}" for key, value in shown.items()}, flush=True)

    def forget(self, part: str) -> None:
        """What was chosen and measured in a part, which is measured again."""
        for kind in ("chosen", "grids", "students"):
            kept = self.results[kind].items()
            self.results[kind] = {name: value for name, value in kept if name.split(", ")[0] != part}

    def know(self, name: str, network, source) -> None:
        self.results["teachers"][name] = metrics.accuracy(metrics.predict(network, source.test), source.test.y)

    def choose(self, part: str, student, make, source, values=TEMPERATURES, name="T", **training) -> float:
        """The value with the best validation accuracy; chosen once, with the first teachers."""
        if part not in self.results["chosen"]:
            grid = []
            for value in values:
                rows = sweep(student, make(value), {}, source, seeds=CHOOSING, **training)
                grid.append({name: value, "valid_accuracy": sum(row["valid_accuracy"] for row in rows) / len(rows)})
            self.results["grids"][part] = grid
            self.results["chosen"][part] = max(grid, key=lambda row: row["valid_accuracy"])[name]
            print(part, grid, flush=True)
        return self.results["chosen"][part]


def tested(source):
    def judge(network):
        return {"accuracy": metrics.accuracy(metrics.predict(network, source.test), source.test.y)}
    return judge


def bank(z, split, name="made here") -> teachers.LogitBank:
    return teachers.LogitBank(z.float()[None], origin=split.origin(), teacher=name)


def perceptron(source, *hidden):
    return lambda seed: models.build("mlp", source.shape, len(source.classes), seed=seed, hidden=hidden)


def kd(guide, **settings):
    return lambda network: distillers.KD(network, guide, **settings)


def few_clothes():
    whole = data.load("fashion_small")
    few = whole.train.take(torch.arange(FEW), "few")
    return whole, whole.with_train(few), few


def cnn_bank(study, few):
    name = "fashion_cnn_1" if study.teacher_seed else "fashion_cnn"
    return bank(trained.answers(name)["train"].table[0][: len(few)], few)


def peers(study: Study) -> None:
    _, source, few = few_clothes()
    student, strong = perceptron(source, 64), cnn_bank(study, few)
    study.measure("peers, hard labels", student, distillers.Supervised, source, **TRAINING)
    study.measure("peers, KD", student, kd(strong, T=2.0, alpha=0.9), source, **TRAINING)
    pairs, alone = [], []
    for seed in study.seeds:
        both = student(seed), student(1_000 + seed)
        train.fit(distillers.DML(*both), source, seed=seed, **TRAINING)
        pairs.append(seen(seed, both, source))
        both = student(seed), student(1_000 + seed)
        for network in both:
            train.fit(distillers.Supervised(network), source, seed=seed, **TRAINING)
        alone.append(seen(seed, both, source))
    study.keep("peers, DML", pairs)
    study.keep("peers, two alone", alone)
    first = student(2_000 + study.teacher_seed)
    train.fit(distillers.Supervised(first), source, seed=2_000, **TRAINING)
    study.know("of the student's kind", first, source)
    own = bank(metrics.predict(first, few), few)
    study.measure("peers, born again", student, kd(own, T=1.0, alpha=0.5), source, **TRAINING)


def seen(seed: int, networks, source) -> dict:
    """The first network's accuracy, that of the mean of both's probabilities, and how often they agree."""
    z = [metrics.predict(network, source.test) for network in networks]
    mean = torch.stack(z).softmax(dim=2).mean(dim=0).log()
    return {"seed": seed, "accuracy": metrics.accuracy(z[0], source.test.y),
            "together": metrics.accuracy(mean, source.test.y), "agreement": metrics.agreement(*z)}


def crowd(study: Study) -> None:
    whole, source, few = few_clothes()
    student, said = perceptron(source, 64), []
    for k in range(CROWD + 1):
        rows = APART + torch.arange(CROWD * EACH if k == CROWD else EACH) + (0 if k == CROWD else k * EACH)
        network = student(4_000 + 10 * study.teacher_seed + k)
        part = whole.with_train(whole.train.take(rows, f"part {k}"))
        train.fit(distillers.Supervised(network), part, seed=k, **TEACHING)
        study.know("of all the images" if k == CROWD else f"of the crowd, {k}", network, source)
        said.append(metrics.predict(network, few))
    z, everything = torch.stack(said[:CROWD]), said[CROWD]

    def of_one(T):
        return kd(bank(z[0], few), T=T, alpha=0.9)

    T = study.choose("crowd", student, of_one, source, **TRAINING)
    study.measure("crowd, hard labels", student, distillers.Supervised, source, **TRAINING)
    guides = {f"crowd, one teacher, {k}": z[k] for k in range(CROWD)} | {
        "crowd, mean of probabilities": logits_of_mean_probability(z, T), "crowd, mean of logits": z.mean(dim=0),
        "crowd, one of all the images": everything}
    for arm, answers in guides.items():
        study.measure(arm, student, kd(bank(answers, few), T=T, alpha=0.9), source, **TRAINING)
    single = [study.results["students"][f"crowd, one teacher, {k}"] for k in range(CROWD)]
    study.keep("crowd, one teacher", [
        {"seed": runs[0]["seed"], "accuracy": sum(run["accuracy"] for run in runs) / CROWD}
        for runs in zip(*single, strict=True)])


def thumbnails(split: Split) -> Split:
    return Split(f"thumbnails of {split.name}", F.avg_pool2d(split.x.float(), 4).round().byte(), split.y)


def senses(study: Study) -> None:
    whole = data.load("fashion_small")
    small = Source("thumbnails", *(thumbnails(split) for split in (whole.train, whole.valid, whole.test)),
                   whole.classes)
    few = small.with_train(small.train.take(torch.arange(LABELLED), "labelled"))
    student = perceptron(small, 64)
    z = trained.answers("fashion_cnn_1" if study.teacher_seed else "fashion_cnn")["train"].table[0]
    T = study.choose("senses", student, lambda T: kd(bank(z, small.train), T=T, alpha=1.0), small, **BRIDGE)
    study.measure("senses, labelled thumbnails", student, distillers.Supervised, few, **LABELLING)
    longer = LABELLING | {"epochs": 2 * LABELLING["epochs"]}
    study.measure("senses, labelled thumbnails, twice as long", student, distillers.Supervised, few, **longer)
    study.measure("senses, pairs", student, kd(bank(z, small.train), T=T, alpha=1.0), small, **BRIDGE)
    own = student(3_000 + study.teacher_seed)
    train.fit(distillers.Supervised(own), few, seed=3_000, **LABELLING)
    study.know("that sees thumbnails", own, small)
    of_small = bank(metrics.predict(own, small.train), small.train)
    study.measure("senses, a teacher that sees thumbnails", student, kd(of_small, T=T, alpha=1.0), small, **BRIDGE)
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))
    study.measure("senses, pairs broken", student, kd(bank(z[order], small.train), T=T, alpha=1.0), small, **BRIDGE)
    study.measure("senses, all labels", student, distillers.Supervised, small, **BRIDGE)


def digit_teacher(study: Study, source):
    seed = 5_000 + study.teacher_seed
    network = models.build("mlp", source.shape, 10, seed=seed, hidden=(256,))
    train.fit(distillers.Supervised(network), source, epochs=10, lr=1e-3, batch_size=100, seed=seed)
    return network


def nothing(study: Study) -> None:
    source = data.load("mnist_small")
    teacher, student = digit_teacher(study, source), perceptron(source, 64)
    study.know("of digits", teacher, source)
    pixels = source.train.x.float() / 255
    strokes = transfer.crops(source.shape, DRAWN, ink=INK)
    sets = {"noise": transfer.noise(source.shape, DRAWN),
            "gaussian": transfer.gaussian(source.shape, DRAWN, mean=pixels.mean().item(), std=pixels.std().item()),
            "crops": transfer.crops(source.shape, DRAWN), "strokes": strokes,
            "strokes, pixels shuffled": shuffled(strokes), "digits": source.train.take(torch.arange(DRAWN), "digits")}
    with seeded(study.teacher_seed):
        generator = models.Generator(source.shape)
    procedures.dafl(generator, teacher, steps=STEPS, batch_size=100, seed=study.teacher_seed)
    sets["generator"] = procedures.transfer_set(generator, DRAWN)
    for name, split in sets.items():
        without(study, name, teacher, student, source, split)
    many = transfer.crops(source.shape, 5 * DRAWN, ink=INK)
    said = metrics.predict(teacher, many).argmax(dim=1)
    counts = said.bincount(minlength=10)
    each = min(DRAWN // 10, int(counts.min()))
    even = torch.cat([(said == k).nonzero()[:each, 0] for k in range(10)])
    uneven = (said == counts.argmax()).nonzero()[: len(even), 0]
    for name, rows in (("strokes, as many of each class", even), ("strokes, one class", uneven),
                       ("strokes, so many", torch.arange(len(even)))):
        without(study, name, teacher, student, source, many.take(rows, name))
    other = trained.network("mnist_cnn")
    study.know("a CNN", other, source)
    without(study, "strokes, a CNN teaches", other, student, source, strokes)
    without(study, "digits, a CNN teaches", other, student, source, sets["digits"])


def without(study: Study, name: str, teacher, student, source, split: Split) -> None:
    """Students of the images of `split` and of what the teacher says about them."""
    z = metrics.predict(teacher, split)
    study.results["teachers"][f"classes, {name}"] = z.argmax(dim=1).bincount(minlength=10).tolist()
    study.measure(f"nothing, {name}", student, kd(bank(z, split), T=4.0, alpha=1.0), source.with_train(split),
                  **WITHOUT)


def shuffled(split: Split) -> Split:
    """The pixels of every image in an order of its own."""
    draw, x = torch.Generator().manual_seed(0), split.x.flatten(1)
    order = torch.stack([torch.randperm(x.shape[1], generator=draw) for _ in range(len(x))])
    return Split("shuffled", x.gather(1, order).reshape(split.x.shape), split.y)


def tasks(study: Study) -> None:
    source, old, new = data.load("mnist_small"), list(range(5)), list(range(5, 10))
    early, late = ((source.train.y < 5).nonzero()[:, 0], (source.train.y >= 5).nonzero()[:, 0])
    first, second = (source.with_train(source.train.take(rows, name)) for rows, name in ((early, "0-4"), (late, "5-9")))
    arms = {"by the task": {"new": new}, "by the class": {}}
    found = {f"tasks, {arm}, {name}": [] for arm in arms for name in ("before", "fine-tuning", "LwF")}
    for seed in study.seeds:
        before = perceptron(source, 64)(seed)
        train.fit(distillers.Supervised(before), first, seed=seed, epochs=10, lr=1e-3, batch_size=100)
        for arm, settings in arms.items():
            found[f"tasks, {arm}, before"].append(remembered(seed, before, source, arm))
            for name, beta in (("fine-tuning", 0.0), ("LwF", 1.0)):
                network = copy.deepcopy(before)
                lesson = distillers.LwF(network, copy.deepcopy(before), old=old, beta=beta, **settings)
                train.fit(lesson, second, seed=seed, **TASK)
                found[f"tasks, {arm}, {name}"].append(remembered(seed, network, source, arm))
    for arm, rows in found.items():
        study.keep(arm, rows)


def remembered(seed: int, network, source, arm: str) -> dict:
    """The accuracy on the old digits and on the new ones: told the task, or not."""
    z, y = metrics.predict(network, source.test), source.test.y
    early = y < 5
    told = arm == "by the task"
    return {"seed": seed,
            "accuracy": metrics.accuracy(z[early][:, :5] if told else z[early], y[early]),
            "new": metrics.accuracy(z[~early][:, 5:] if told else z[~early], y[~early] - 5 if told else y[~early])}


def rivals(study: Study) -> None:
    _, source, few = few_clothes()
    student, guide = perceptron(source, 64), cnn_bank(study, few)

    def judged(alpha):
        def by(beta):
            return lambda network: distillers.Adversarial(network, guide, T=2.0, alpha=alpha, beta=beta)
        return by

    study.measure("rivals, hard labels", student, distillers.Supervised, source, **TRAINING)
    study.measure("rivals, KD", student, kd(guide, T=2.0, alpha=0.9), source, **TRAINING)
    for name, alpha in (("KD and a discriminator", 0.9), ("hard labels and a discriminator", 0.0)):
        beta = study.choose(f"rivals, {name}", student, judged(alpha), source, BETAS, "beta", **TRAINING)
        study.measure(f"rivals, {name}", student, judged(alpha)(beta), source, **TRAINING)


def exits(study: Study) -> None:
    _, source, _ = few_clothes()
    student, found = perceptron(source, 64, 64, 64), {"exits, labels alone": [], "exits, BYOT": []}
    alone = sweep(student, distillers.Supervised, {}, source, seeds=study.seeds, judge=tested(source), **TRAINING)
    found["exits, the last alone"] = [{"seed": row["seed"], "last": row["accuracy"]} for row in alone]
    for arm, settings in (("exits, labels alone", {"alpha": 0.0, "beta": 0.0}), ("exits, BYOT", {})):
        for seed in study.seeds:
            lesson = distillers.BYOT(student(seed), seed=seed, **settings)
            train.fit(lesson, source, seed=seed, **TRAINING)
            with torch.no_grad():
                answers = lesson.eval().answers(source.test.x.float() / 255)
            accuracy = (metrics.accuracy(z, source.test.y) for z in answers)
            found[arm].append({"seed": seed} | dict(zip(("first", "second", "last"), accuracy, strict=True)))
    for arm, rows in found.items():
        study.keep(arm, rows)


PARTS = {"peers": peers, "crowd": crowd, "senses": senses, "nothing": nothing, "tasks": tasks, "rivals": rivals,
         "exits": exits}

if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
