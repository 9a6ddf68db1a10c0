"""How long does a class wait? Recorded teachers, recorded trajectories and batched sweeps against the common practice.

    python benchmarks/speed.py                      # about forty minutes on two idle cores
    python benchmarks/speed.py --only resnet56 sweep

Every measurement times an epoch of ours and one of the common practice in turn, several times, after a warm-up, and
compares medians. The common practice is written out below: a DataLoader with torchvision's transforms image by image
(with the faster of no worker and all of them), the teacher asked at every step, tensors contiguous. Both train the same
networks on the same images with the same batch size. What recording costs, and after how many epochs it has paid for
itself, stands beside every ratio. Two more measurements ask what is not done by default: compiling, and what it costs
to read every term at every step.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from cifar10 import source, trained
from PIL import Image
from record import RESULTS, write
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from kdcourse import data, distillers, metrics, models, procedures, train
from kdcourse.core import threads
from kdcourse.data import Augment
from kdcourse.sweep import sweep
from kdcourse.teachers import LogitBank, Teacher

NAME, REPEATS, BATCH, T, ALPHA = "speed", 5, 128, 4.0, 0.9
IMAGES = 5_120                          # an epoch: 40 steps
VIEWS = Augment(pad=4, flip=True, views=4)


class OneByOne(Dataset):
    """Images that are decoded to PIL and transformed one at a time, as torchvision's CIFAR10 does."""

    def __init__(self, split, transform):
        self.x, self.y, self.transform = split.x.permute(0, 2, 3, 1).numpy(), split.y.tolist(), transform

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.x[i])), self.y[i]


def common_practice(student, teacher, loader, optimiser) -> None:
    """One epoch of distillation as most public code has it."""
    student.train()
    for x, y in loader:
        with torch.no_grad():
            z_t = teacher(x)
        z_s = student(x)
        soft = F.kl_div(F.log_softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1), reduction="batchmean") * T**2
        loss = (1 - ALPHA) * F.cross_entropy(z_s, y) + ALPHA * soft
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def loaders(split, augmented: bool) -> dict[int, DataLoader]:
    """The common loader without workers and with one for each core."""
    steps = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()] if augmented else []
    dataset = OneByOne(split, transforms.Compose([*steps, transforms.ToTensor()]))
    return {workers: DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
            for workers in (0, os.cpu_count())}


def in_turn(epochs: dict, repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each named callable, called in turn after one warm-up round."""
    seconds = {name: [] for name in epochs}
    for repeat in range(repeats + 1):
        for name, epoch in epochs.items():
            start = time.perf_counter()
            epoch()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def distillation(images, teacher, student: str, *, augmented: bool) -> dict:
    """An epoch of KD from a recorded teacher, live, and of the student without any teacher."""
    start = time.perf_counter()
    augment = VIEWS if augmented else None
    bank = LogitBank.record(teacher, images.train, augment=augment)
    recording = time.perf_counter() - start
    fresh = {name: models.build(student, images.shape, 10, seed=0) for name in ("ours", "alone", "bfloat16", "common")}
    optimiser = torch.optim.Adam(fresh["common"].parameters(), lr=1e-3)
    by_workers = loaders(images.train, augmented)
    fastest = min(by_workers, key=lambda n: in_turn({"": lambda: [None for _ in by_workers[n]]}, repeats=1)[""])

    def ours(distiller, precision="float32"):
        def epoch():
            os.environ["KDCOURSE_PRECISION"] = precision
            train.fit(distiller, images, epochs=1, lr=1e-3, batch_size=BATCH, augment=augment)
        return epoch

    asked = teacher.network.to(memory_format=torch.contiguous_format)
    seconds = in_turn({
        "common": lambda: common_practice(fresh["common"], asked, by_workers[fastest], optimiser),
        "ours": ours(distillers.KD(fresh["ours"], bank, T=T, alpha=ALPHA)),
        "alone": ours(distillers.Supervised(fresh["alone"])),
        "bfloat16": ours(distillers.KD(fresh["bfloat16"], bank, T=T, alpha=ALPHA), "bfloat16"),
    })
    saved = seconds["common"] - seconds["ours"]
    return {"seconds": seconds, "ratio": seconds["common"] / seconds["ours"], "workers": fastest,
            "to alone": seconds["ours"] / seconds["alone"], "recording": recording, "break-even": recording / saved}


def resnet56() -> dict:
    """KD epoch on CIFAR-10, trained ResNet-56 to ResNet-8, crop and flip, four views."""
    return distillation(cifar(), Teacher(trained(56)), "resnet8", augmented=True)


def resnet20() -> dict:
    """KD epoch on CIFAR-10, trained ResNet-20 to ResNet-8, crop and flip, four views."""
    return distillation(cifar(), Teacher(trained(20)), "resnet8", augmented=True)


def tutorial() -> dict:
    """KD epoch on CIFAR-10, DeepNN to LightNN, images as they are."""
    return distillation(cifar(), Teacher(models.build("deepnn", (3, 32, 32), 10, seed=0)), "lightnn", augmented=False)


def vit() -> dict:
    """KD epoch on CIFAR-10, a 32-pixel ViT of 2.7 million parameters to ResNet-8, crop and flip, four views."""
    return distillation(cifar(), Teacher(models.build("vit", (3, 32, 32), 10, seed=0)), "resnet8", augmented=True)


def slkd() -> dict:
    """SLKD epoch on CIFAR-10, ResNet-20 and two self-learning ResNet-20 to ResNet-8: side by side, and replayed."""
    images, teacher = cifar(), Teacher(trained(20))
    bank = LogitBank.record(teacher, images.train)

    def learners():
        return [models.build("resnet20", images.shape, 10, seed=seed) for seed in (1, 2)]

    training = {"epochs": 1, "lr": 1e-3, "batch_size": BATCH, "seed": 0}
    start = time.perf_counter()
    trajectory = procedures.record_learners(learners(), bank, images, **training)
    recording = time.perf_counter() - start
    live = distillers.SLKD(models.build("resnet8", images.shape, 10, seed=0), bank, learners=learners())
    replayed = distillers.SLKD(models.build("resnet8", images.shape, 10, seed=0), bank, learners=trajectory)
    seconds = in_turn({"common": lambda: train.fit(live, images, **training),
                       "ours": lambda: train.fit(replayed, images, **training)}, repeats=3)
    saved = seconds["common"] - seconds["ours"]
    return {"seconds": seconds, "ratio": seconds["common"] / seconds["ours"], "recording": recording,
            "break-even": recording / saved}


def sweep_of(images, hidden: int, batch_size: int, epochs: int) -> dict:
    """Six temperatures and five seeds of one perceptron, batched and one by one on data in memory."""
    teacher = models.build("mlp", images.shape, 10, seed=9, hidden=(128,))
    bank = LogitBank.record(teacher, images.train)

    def run(batched: bool):
        return sweep(lambda seed: models.build("mlp", images.shape, 10, seed=seed, hidden=(hidden,)),
                     lambda student, **point: distillers.KD(student, bank, alpha=0.5, **point),
                     {"T": [1, 2, 4, 16, 32, 64]}, images, seeds=range(5), epochs=epochs, lr=1e-3,
                     batch_size=batch_size, batched=batched)

    seconds = {}
    for n in sorted({1, torch.get_num_threads()}):
        plans = {f"common, {n} threads": lambda: run(False), f"ours, {n} threads": lambda: run(True)}
        with threads(n):
            seconds |= in_turn(plans, repeats=3)
    common, ours = (min(value for key, value in seconds.items() if key.startswith(name)) for name in ("common", "ours"))
    return {"seconds": seconds | {"common": common, "ours": ours}, "ratio": common / ours}


def sweep_digits() -> dict:
    """A sweep of 30 students 64-64-10 on digits, 20 epochs of 16 steps."""
    return sweep_of(data.load("digits"), 64, 64, 20)


def sweep_mnist() -> dict:
    """A sweep of 30 students 784-64-10 on 5,000 images of MNIST, 2 epochs of 40 steps."""
    whole = data.load("mnist")
    return sweep_of(whole.with_train(whole.train.take(torch.arange(5_000), "first")), 64, 128, 2)


def compiled() -> dict:
    """An epoch of KD on CIFAR-10 with torch.compile and without, from recorded answers, in float32 and in bfloat16."""
    images, teacher, found = cifar(), Teacher(trained(20)), {}
    bank = LogitBank.record(teacher, images.train)
    for student in ("resnet8", "lightnn"):
        for precision in ("float32", "bfloat16"):
            os.environ["KDCOURSE_PRECISION"] = precision
            distiller, twin = (
                distillers.KD(models.build(student, images.shape, 10, seed=0), bank, T=T, alpha=ALPHA).to(
                    memory_format=torch.channels_last) for _ in range(2))
            ours = epochs_of(torch.compile(twin), images)
            start = time.perf_counter()
            ours()
            first = time.perf_counter() - start
            seconds = in_turn({"as it is": epochs_of(distiller, images), "compiled": ours})
            found[f"{student}, {precision}"] = seconds | {
                "ratio": seconds["as it is"] / seconds["compiled"], "compiling": first - seconds["compiled"]}
            torch._dynamo.reset()
    return {"epochs": found}


class Reading(distillers.KD):
    """KD whose every term is read at every step, as a loop reads it that adds up numbers."""

    def forward(self, batch):
        terms = super().forward(batch)
        for term in terms.values():
            term.value.item()
        return terms


def reading() -> dict:
    """An epoch of KD of a perceptron on digits whose terms are read once, at its end, and at every step."""
    images = data.load("digits")
    bank = LogitBank.record(models.build("mlp", images.shape, 10, seed=9), images.train)
    made = {name: kind(models.build("mlp", images.shape, 10, seed=0), bank, T=T, alpha=ALPHA)
            for name, kind in {"at the end": distillers.KD, "at every step": Reading}.items()}
    seconds = in_turn({name: epochs_of(one, images, batch_size=16) for name, one in made.items()}, repeats=25)
    return {"seconds": seconds, "of each other": seconds["at every step"] / seconds["at the end"]}


def epochs_of(distiller, images, batch_size: int = BATCH):
    """A function that trains for one more epoch, without augmentation and without a look at validation images."""
    optimiser = torch.optim.Adam(distiller.parameter_groups(), lr=1e-3)
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return lambda: train.epoch(distiller, images.train.batches(batch_size, seed=0), optimiser, lambda progress: 1.0)


def accuracy() -> dict:
    """What four recorded views cost: ResNet-20 to ResNet-8, ten epochs, against the live teacher and endless views."""
    images = source(train=IMAGES, valid=2_000, test=8_000)
    teacher, found = Teacher(trained(20)), {"recorded, four views": [], "live, endless views": []}
    bank = LogitBank.record(teacher, images.train, augment=VIEWS)
    plans = (("recorded, four views", bank, VIEWS), ("live, endless views", teacher, Augment()))
    for seed in range(5):
        for name, asked, augment in plans:
            student = models.build("resnet8", images.shape, 10, seed=seed)
            train.fit(distillers.KD(student, asked, T=T, alpha=ALPHA), images, epochs=10, lr=2e-3, batch_size=BATCH,
                      seed=seed, augment=augment, schedule="cosine")
            found[name].append(metrics.accuracy(metrics.predict(student, images.test), images.test.y))
            print(seed, name, found[name][-1], flush=True)
    c = metrics.compare(*found.values(), images=len(images.test))
    return {"test accuracy": found, "points": 100 * c.mean, "low": 100 * c.low, "high": 100 * c.high, "n": c.n,
            "verdict": c.verdict}


def memory() -> dict:
    """Peak memory of a process that trains on 50,000 images of CIFAR's size from a bank of four views."""
    done = subprocess.run([sys.executable, __file__, "--peak"], capture_output=True, text=True, check=True)
    return {"GiB": json.loads(done.stdout.splitlines()[-1])}


def peak() -> None:
    """Train ResNet-8 for one epoch on 50,000 random images and print the peak of this process, in GiB."""
    x, valid, test = (torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8) for n in (50_000, 100, 100))
    y = torch.arange(50_000) % 10
    images = data.from_arrays("random", x, y, classes="0123456789", valid=(valid, y[:100]), test=(test, y[:100]))
    bank = LogitBank(torch.randn(4, 50_000, 10).half(), origin=images.train.origin(VIEWS), teacher="random")
    student = models.build("resnet8", images.shape, 10, seed=0)
    train.fit(distillers.KD(student, bank), images, epochs=1, lr=1e-3, batch_size=BATCH, augment=VIEWS)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def cifar() -> data.Source:
    return source(train=IMAGES, valid=2, test=2)


MEASUREMENTS = (resnet56, resnet20, tutorial, vit, slkd, sweep_digits, sweep_mnist, compiled, reading, memory, accuracy)


def main() -> None:
    names = [measure.__name__ for measure in MEASUREMENTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        return peak()
    path = RESULTS / f"{NAME}.json"
    results = json.loads(path.read_text())["results"] if path.exists() and chosen.only != names else {}
    settings = {"images": IMAGES, "batch_size": BATCH, "repeats": REPEATS, "T": T, "alpha": ALPHA, "views": VIEWS.name}
    for measure in MEASUREMENTS:
        if measure.__name__ in chosen.only:
            os.environ["KDCOURSE_PRECISION"] = "float32"
            results[measure.__name__] = {"what": measure.__doc__} | measure()
            print(measure.__name__, json.dumps(results[measure.__name__]), flush=True)
            write(NAME, settings=settings, seeds=list(range(5)), results=results)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
