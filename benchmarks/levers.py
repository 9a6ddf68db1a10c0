"""What may be done to a network before it is shipped, and what each costs in accuracy: the levers of lesson 10.

    KDCOURSE_DATA=... python benchmarks/levers.py          # a quarter of an hour
    python benchmarks/levers.py --parts fashion            # five minutes; the file keeps the other parts

Fashion-MNIST: a CNN with a quarter of its teacher's width learns from 500 images of `fashion_small`: by labels, by KD,
and with half its width; and three ResNet-8 of width 8, with exits that the last one teaches (BYOT), from 1,000. The
learning rate of labels, and learning rate and T of KD, are chosen by the mean accuracy on the validation images, over
seeds that are not used again; half the width takes KD's. MNIST: the pair of the ECE1512 assignment; its teacher learns
from 10,000 images of `mnist_rest`, its student from 2,000 of `mnist_small`; T and alpha are those of the lessons before
and were not tuned here. Networks are quantised after training by ONNX Runtime, with 200 training images; each exit gets
a temperature, and the exits their threshold, on validation images. CIFAR-10: the published ResNet-20 is
quantised in the same way and judged by all 10,000 test images. How long these networks take measures `ship.py`.

Whole-number arithmetic of ONNX Runtime depends on the processor: see `ship.int8.quantised`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import cifar10 as cifar10_images
import torch
from record import RESULTS, write

from kdcourse import cost, data, distillers, metrics, models, ship, teachers, train, trained
from kdcourse.ship import exits, int8

FEW, MORE, MNIST_FEW, TAUGHT, CALIBRATION = 500, 1_000, 2_000, 10_000, 200
FASHION = {"epochs": 15, "batch_size": 100, "schedule": "cosine"}
CHOOSING, RATES, TEMPERATURES, ALPHA = (100, 101, 102), (4e-3, 8e-3, 16e-3, 32e-3), (1.0, 2.0, 4.0), 0.9
EXITS = {"epochs": 6, "lr": 3e-3, "batch_size": 50, "schedule": "cosine"}
MNIST = {"epochs": 6, "lr": 1e-3, "batch_size": 100, "schedule": "cosine"}
TEACHING = {"epochs": 2, "lr": 1e-3, "batch_size": 128, "schedule": "cosine"}
LESSON = {"T": 4.0, "alpha": 0.5}
THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.01)
LOSE, WITH_EXITS = 0.005, 3
DEPTHS, CIFAR_TEST = (20,), 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="these alone")
    parser.add_argument("--name", default="levers")
    asked = parser.parse_args()
    seeds = list(range(asked.seeds))
    settings = {"images": FEW, "images, exits": MORE, "images, mnist": MNIST_FEW, "teacher's images, mnist": TAUGHT,
                "calibration": CALIBRATION, "fashion": FASHION, "exits": EXITS, "mnist": MNIST, "teaching": TEACHING,
                "lesson, mnist": LESSON, "optimizer": "Adam", "thresholds": THRESHOLDS, "lose": LOSE, "alpha": ALPHA,
                "rates": RATES, "temperatures": TEMPERATURES, "choosing seeds": CHOOSING}
    results = measured(asked.name, settings, seeds)
    for name in asked.parts:
        results[name] = {"students": {}}
        for found in PARTS[name](seeds):
            for key, value in found.items():
                if key in ("teacher", "networks", "chosen"):
                    results[name].setdefault(key, {}).update(value)
                else:
                    results[name]["students"].setdefault(key, []).append(value)
            path = write(asked.name, settings=settings, seeds=seeds, results=results)
    print(f"written: {path}")


def measured(name: str, settings: dict, seeds: list[int]) -> dict:
    """The parts that the file of that name holds already, if they were measured with these settings and seeds."""
    path = RESULTS / f"{name}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    same = content.get("settings") == json.loads(json.dumps(settings)) and content.get("seeds") == seeds
    return content["results"] if same else {}


def fashion(seeds):
    """Teacher, then the levers, seed by seed."""
    whole, teacher = data.load("fashion_small"), trained.network("fashion_cnn")
    source = whole.with_train(whole.train.take(torch.arange(FEW), "few"))
    table = trained.answers("fashion_cnn")["train"].table[:, :FEW]
    bank = teachers.LogitBank(table, origin=source.train.origin(), teacher="fashion_cnn")
    yield {"teacher": in_eight_bits(teacher, source), "networks": {"CNN, width 32": about(teacher, source.shape)}}

    def kd(T):
        return lambda network: distillers.KD(network, bank, T=T, alpha=ALPHA)

    def taught(width, seed, make, lr):
        network = models.build("cnn", source.shape, 10, seed=seed, width=width)
        return network, train.fit(make(network), source, seed=seed, lr=lr, **FASHION)[-1]["valid_accuracy"]

    def best(makes):
        """The point (lr, T) with the highest mean accuracy on the validation images, and that of each."""
        scores = {(lr, T): sum(taught(8, seed, make, lr)[1] for seed in CHOOSING) / len(CHOOSING)
                  for T, make in makes.items() for lr in RATES}
        lr, T = max(scores, key=scores.get)
        return {"lr": lr, "T": T, "scores": [{"lr": lr, "T": T, "valid_accuracy": score}
                                             for (lr, T), score in scores.items()]}

    chosen = {"hard labels": best({None: distillers.Supervised}), "KD": best({T: kd(T) for T in TEMPERATURES})}
    yield {"chosen": chosen}
    arms = (("hard labels", 8, distillers.Supervised), ("KD", 8, kd(chosen["KD"]["T"])),
            ("KD, half the width", 4, kd(chosen["KD"]["T"])))
    for seed in seeds:
        for arm, width, make in arms:
            lr = chosen["hard labels" if arm == "hard labels" else "KD"]["lr"]
            network, _ = taught(width, seed, make, lr)
            found = in_eight_bits(network, source) if arm == "KD" else right(network, source.test)
            yield {arm: {"seed": seed, **found},
                   "networks": {f"CNN, width {width}": about(network, source.shape)}}


def with_exits(seeds):
    """Networks with exits, taught by their last one."""
    whole = data.load("fashion_small")
    more = whole.with_train(whole.train.take(torch.arange(MORE), "more"))
    for seed in seeds[:WITH_EXITS]:
        byot = distillers.BYOT(models.build("resnet8", more.shape, 10, seed=seed, width=8))
        train.fit(byot, more, seed=seed, **EXITS)
        yield {"BYOT": {"seed": seed, **leaving(byot, more)},
               "networks": {"ResNet-8, width 8": about(byot.student, more.shape)}}


def leaving(byot, source) -> dict:
    """The exits' temperatures and their curves, the threshold that validation images choose, and what it gives."""
    found, costs = {}, exits.reach(byot)
    with torch.no_grad():
        answers = {name: [torch.cat(z) for z in zip(*(byot.eval().answers(x.float() / 255) for x in split.x.split(500)),
                                                   strict=True)]
                   for name, split in (("valid", source.valid), ("test", source.test))}
    Ts = [metrics.best_temperature(z, source.valid.y) for z in answers["valid"]]
    for name, split in (("valid", source.valid), ("test", source.test)):
        scaled = [z / T for z, T in zip(answers[name], Ts, strict=True)]
        found[name] = exits.curve(scaled, split.y, costs, THRESHOLDS)
        found[f"{name}, not calibrated"] = exits.curve(answers[name], split.y, costs, THRESHOLDS)
    threshold = exits.chosen(found["valid"], lose=LOSE)["threshold"]
    at = next(row for row in found["test"] if row["threshold"] == threshold)
    each = [metrics.accuracy(z, source.test.y) for z in answers["test"]]
    return {"accuracy": at["accuracy"], "multiply_adds": at["multiply_adds"], "shares": at["shares"],
            "threshold": threshold, "costs": costs, "temperatures": Ts, "exits": each, "last_accuracy": each[-1],
            "curves": found}


def mnist(seeds):
    """The assignment's teacher, and its student by labels and by KD."""
    rest, whole = data.load("mnist_rest"), data.load("mnist_small")
    rest = rest.with_train(rest.train.take(torch.arange(TAUGHT), "taught"))
    source = whole.with_train(whole.train.take(torch.arange(MNIST_FEW), "few"))
    teacher = models.build("ece1512_teacher", source.shape, 10, seed=0)
    train.fit(distillers.Supervised(teacher), rest, seed=0, **TEACHING)
    bank = teachers.LogitBank.record(teacher, source.train)
    yield {"teacher": in_eight_bits(teacher, source),
           "networks": {"assignment's teacher": about(teacher, source.shape)}}
    for seed in seeds:
        for arm, make in (("hard labels", distillers.Supervised),
                          ("KD", lambda each: distillers.KD(each, bank, **LESSON))):
            network = models.build("ece1512_student", source.shape, 10, seed=seed)
            train.fit(make(network), source, seed=seed, **MNIST)
            yield {arm: {"seed": seed, **in_eight_bits(network, source)},
                   "networks": {"assignment's student": about(network, source.shape)}}


def cifar10(seeds):
    """The published ResNet-20, in float32 and in eight bits."""
    x, y, classes = cifar10_images.images("train", CALIBRATION + 100)
    test = cifar10_images.images("test", CIFAR_TEST)[:2]
    source = data.from_arrays("cifar10", x[100:], y[100:], classes=classes, valid=(x[:100], y[:100]), test=test)
    for depth in DEPTHS:
        network = cifar10_images.trained(depth)
        yield {f"ResNet-{depth}": in_eight_bits(network, source),
               "networks": {f"ResNet-{depth}": about(network, source.shape)}}


def right(network, split) -> dict:
    return {"accuracy": metrics.accuracy(metrics.predict(network, split), split.y)}


def in_eight_bits(network, source) -> dict:
    """The accuracy of the exported network in float32, in eight bits, and in eight bits with the full range of weights;
    and the sizes of the files."""
    test, images = source.test, source.train.x[:CALIBRATION]
    with tempfile.TemporaryDirectory() as folder:
        path = ship.export(network, Path(folder) / "float.onnx", shape=source.shape)
        small = int8.quantised(path, Path(folder) / "int8.onnx", images)
        wide = int8.quantised(path, Path(folder) / "wide.onnx", images, narrow=False)
        return {"bytes": path.stat().st_size, "int8_bytes": small.stat().st_size,
                **{key: metrics.accuracy(ship.predict(file, test), test.y) for key, file in
                   (("accuracy", path), ("int8_accuracy", small), ("wide_accuracy", wide))}}


def about(network, shape) -> dict:
    return {"parameters": cost.parameters(network), "multiply_adds": cost.multiply_adds(network, shape)}


PARTS = {"fashion": fashion, "exits": with_exits, "mnist": mnist, "cifar10": cifar10}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
