"""Does every method use its teacher? ResNet-56 into ResNet-8 on real CIFAR-10 images, each method three ways.

    python benchmarks/cifar10_methods.py                         # about an hour and a half on two cores
    python benchmarks/cifar10_methods.py --methods kd dist       # these alone; the others' results stay as they are

Hard labels; the method; and the method with the teacher's answers dealt out to the wrong images. The purpose is to find
methods that are wrong: right answers must beat wrong ones, and the method's own distance to the teacher must fall on
images that neither network was trained on. Which method is best cannot be read off: the training is short, and every
method has its published weights.

No augmentation, so the teacher's logits and maps are recorded once. All students of a seed start from the same weights
and see the images in the same order; each is judged after its last epoch. A method for more than one teacher gets the
trained ResNet-32 and -20 as well; SLKD follows one fresh ResNet-20, since two ResNet-56 are too slow for a CPU. Not
here: Pro-KD, which needs a teacher's checkpoints, DML, which has no teacher, and CrossArch, made for a transformer.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import torch
from cifar10 import source, trained
from record import COMMIT, RESULTS, write

from kdcourse import distillers, metrics, models, train
from kdcourse.core import generator
from kdcourse.teachers import FeatureBank, LogitBank

NAME = "cifar10_methods"
SIZES = {"train": 5_000, "valid": 2_000, "test": 8_000}
TRAINING = {"epochs": 8, "lr": 2e-3, "batch_size": 64, "schedule": "cosine"}
ASSISTANTS = (32, 20)
SETTINGS = {  # where the defaults are not meant for this pair
    "mgd": {"alpha": 7e-5 * (512 * 7 * 7) / (64 * 8 * 8)},  # the published weight, for a map of this size
}
VARIANTS = {  # the same method once more, where the published weight left a question
    "cosine, alpha = 0.9": ("cosine", {"alpha": 0.9}),  # at the tutorial's 0.25 wrong answers do as well as right ones
}
LEFT_OUT = ("pro_kd", "dml", "cross_arch")
NO_TEACHER = ("ce", "second_head", "kd_learners", "learner1_ce", "learner1_kd")  # terms without the finished teacher


class Dealt(FeatureBank):
    """A bank whose answers are dealt out to other images by a permutation of the rows."""

    def __init__(self, bank: FeatureBank, order: torch.Tensor):
        super().__init__(bank.table, bank.tables, bank.live, origin=bank.origin, teacher=bank.teacher)
        self.order = order

    def forward(self, batch):
        return super().forward(batch._replace(index=self.order[batch.index]))

    def answer(self, batch):
        moved = batch._replace(index=self.order[batch.index])
        z, features, maps = FeatureBank(self.table, self.tables, self.live, before=self.before, origin=self.origin,
                                        teacher=self.teacher).answer(moved)
        return models.Answer(z, features, maps)


def prepare() -> None:
    """What every process holds: the images and the recorded teachers, as globals of its own."""
    global SOURCE, BANKS, OTHERS
    torch.set_num_threads(1)
    SOURCE = source(**SIZES)
    network = trained(56)
    BANKS = {kind: FeatureBank.record(network, SOURCE.splits[kind]) for kind in ("train", "valid")}
    OTHERS = {kind: [LogitBank.record(trained(depth), SOURCE.splits[kind]) for depth in ASSISTANTS]
              for kind in ("train", "valid")}


def build(method: str, student, bank, others, seed: int):
    method, settings = VARIANTS.get(method, (method, SETTINGS.get(method, {})))
    if method == "hard labels":
        return distillers.Supervised(student)
    if method == "multi_teacher":
        return distillers.MultiTeacher(student, [bank, *others], **settings)
    if method == "dgkd":
        return distillers.DGKD(student, bank, assistants=others, **settings)
    if method == "slkd":
        learner = models.build("resnet20", SOURCE.shape, len(SOURCE.classes), seed=1_000 + seed)
        return distillers.SLKD(student, bank, learners=[learner], **settings)
    return distillers.METHODS[method](student, bank, **settings)


def trial(job: tuple[str, str, int]) -> dict:
    """One student: its method, whether the answers are "right" or "wrong", its seed."""
    method, answers, seed = job
    start = time.perf_counter()
    bank, others = BANKS["train"], OTHERS["train"]
    if answers == "wrong":
        order = torch.randperm(len(SOURCE.train), generator=generator(seed, 56))
        bank = Dealt(bank, order)
        others = [LogitBank(other.table[:, order], origin=other.origin, teacher=other.teacher) for other in others]
    student = models.build("resnet8", SOURCE.shape, len(SOURCE.classes), seed=seed)
    distiller = build(method, student, bank, others, seed)
    to_valid = dict(zip([bank, *others], [BANKS["valid"], *OTHERS["valid"]], strict=True))
    before = distance(distiller, to_valid)
    rows = train.fit(distiller, SOURCE, seed=seed, **TRAINING)
    after = distance(distiller, to_valid)
    z = metrics.predict(distiller.deployable(), SOURCE.test)
    return {
        "method": method, "answers": answers, "seed": seed, "test_accuracy": metrics.accuracy(z, SOURCE.test.y),
        "distance_before": before, "distance_after": after, "last_row": rows[-1],
        "seconds": time.perf_counter() - start,
    }


@torch.no_grad()
def distance(distiller, to_valid: dict) -> dict[str, float]:
    """Every term that knows the teacher, on the validation images and the right answers about them."""
    swapped = []
    for module in distiller.modules():
        for name, child in module._modules.items():
            if child in to_valid:
                module._modules[name] = to_valid[child]
                swapped.append((module, name, child))
    sums, distiller = {}, distiller.eval()
    for batch in SOURCE.valid.batches(TRAINING["batch_size"]):
        for name, term in distiller(batch._replace(progress=0.5)).items():
            if name not in NO_TEACHER:
                sums[name] = sums.get(name, 0.0) + term.value.item() * len(batch.y) / len(SOURCE.valid)
    for module, name, child in swapped:
        module._modules[name] = child
    return sums


def confidence() -> dict:
    """The teacher's mean confidence and its accuracy on images it was trained on, and on others."""
    found = {}
    for kind, bank in BANKS.items():
        z = bank.table[0].float()
        found["trained on" if kind == "train" else "unseen"] = {
            "confidence": z.softmax(dim=1).max(dim=1).values.mean().item(),
            "accuracy": metrics.accuracy(z, SOURCE.splits[kind].y),
        }
    return found


def summary(trials: list[dict]) -> dict:
    """Per method: accuracy against hard labels and against wrong answers, paired over seeds, and the distances."""
    def accuracies(method: str, answers: str) -> dict[int, float]:
        return {t["seed"]: t["test_accuracy"] for t in trials if (t["method"], t["answers"]) == (method, answers)}

    hard, found = accuracies("hard labels", "none"), {}
    for method in sorted({t["method"] for t in trials} - {"hard labels"}):
        right, wrong = accuracies(method, "right"), accuracies(method, "wrong")
        entry = {"accuracy": sum(right.values()) / len(right)}
        for against, other in (("hard labels", hard), ("wrong answers", wrong)):
            seeds = sorted(right.keys() & other.keys())
            if len(seeds) > 1:
                pairs = [[run[seed] for seed in seeds] for run in (right, other)]
                c = metrics.compare(*pairs, images=SIZES["test"])
                entry[against] = {"points": 100 * c.mean, "low": 100 * c.low, "high": 100 * c.high, "n": c.n,
                                  "verdict": c.verdict}
        entry["distance falls in"] = {
            name: f"{sum(t['distance_after'][name] < t['distance_before'][name] for t in mine)} of {len(mine)}"
            for mine in [[t for t in trials if (t["method"], t["answers"]) == (method, "right")]]
            for name in mine[0]["distance_before"]
        }
        found[method] = entry
    return found


def main() -> None:
    everything = [name for name in distillers.METHODS if name not in LEFT_OUT] + list(VARIANTS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=everything, default=everything, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--name", default=NAME)
    chosen = parser.parse_args()
    prepare()
    path, trials = RESULTS / f"{chosen.name}.json", []
    if path.exists() and chosen.methods != everything:
        kept = json.loads(path.read_text())["results"]["trials"]
        trials = [t for t in kept if t["method"] not in chosen.methods]
    jobs = [(method, answers, seed) for method in chosen.methods for answers in ("right", "wrong")
            for seed in range(chosen.seeds)]
    if not any(t["method"] == "hard labels" for t in trials):
        jobs = [("hard labels", "none", seed) for seed in range(chosen.seeds)] + jobs
    settings = {**SIZES, **TRAINING, "optimizer": "Adam", "methods": SETTINGS, "wrong answers": "permuted"}
    save = partial(write, chosen.name, seeds=list(range(chosen.seeds)), settings=settings)
    print(json.dumps(confidence(), indent=1), flush=True)
    with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn"), initializer=prepare) as pool:
        for found in pool.map(trial, jobs):
            trials.append(found | {"commit": COMMIT})
            print({key: found[key] for key in ("method", "answers", "seed", "test_accuracy", "seconds")}, flush=True)
            save(results={"teacher": confidence(), "summary": summary(trials), "trials": trials})
    for method, entry in summary(trials).items():
        print(method, json.dumps(entry), flush=True)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
