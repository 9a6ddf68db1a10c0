"""Transfer learning and distillation on real tissue: what does each bring? A 2 x 2 design, paired over seeds.

    python benchmarks/pcam_transfer.py                                                      # an hour on one core
    python benchmarks/pcam_transfer.py --images 200 --epochs 24 --name pcam_transfer_200    # a quarter of an hour
    python benchmarks/pcam_transfer.py --seeds 1 --epochs 1 --name trial

The data are 2,400 patches of PatchCamelyon (96 x 96 pixels, tumour in the centre or not, balanced), a stand-in that may
be handed on for MHIST, which may not. Every student is a MobileNetV2, {random, ImageNet} x {hard labels, distilled}:
8 epochs of Adam at 1e-3 from random weights; from ImageNet's a linear head on frozen features first, and then 8 epochs
at 1e-4. The teacher is a MobileNetV2 from ImageNet that looks at the same patches enlarged to 160 pixels. Students with
the same seed share their order of images and views; a random pair also its first weights, a pretrained one its head.
Every network is judged after its last epoch: the test images choose nothing. With `--images` all of them, the teacher
too, learn from that many of the 1,600 training patches, the same for every seed.
"""

import argparse
import copy
import csv
import io
import sys
import time
import zipfile

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from record import write
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score
from torchvision.models import mobilenet_v2

from kdcourse import data, distillers, files, metrics, models, teachers, train
from kdcourse.core import seeded

CLASSES = ("no tumour", "tumour")
LARGE = 160  # pixels at which the teacher looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, help="training patches, half of each class (default: all 1,600)")
    parser.add_argument("--name", default="pcam_transfer")
    chosen = parser.parse_args()
    source = patches(chosen.images)
    views = data.Augment(pad=4, views=4)
    settings = {"optimizer": "Adam", "schedule": "cosine", "batch_size": 32, "epochs": chosen.epochs,
                "lr": {"random": 1e-3, "imagenet": 1e-4}, "T": 4, "alpha": 0.5, "augment": views.name,
                "images": len(source.train), "teacher": {"size": LARGE, "epochs": chosen.epochs * 3 // 4 or 1}}

    start = time.perf_counter()
    [teacher] = with_heads(pretrained(source, size=LARGE), source, seeds=[0])
    results = {"cells": {}, "teacher": {"probe": judged(teacher, source.test)}}
    fit(teacher, distillers.Supervised(teacher), source, views, 1e-4, settings["teacher"]["epochs"], seed=0)
    bank = teachers.LogitBank.record(teacher, source.train, augment=views)
    results["teacher"] |= judged(teacher, source.test)
    results["seconds"] = {"teacher": time.perf_counter() - start}
    print("teacher", results["teacher"], flush=True)

    seeds = list(range(chosen.seeds))
    extracting = with_heads(pretrained(source), source, seeds)
    for seed in seeds:
        for beginning, first in (("random", random(seed)), ("imagenet", extracting[seed])):
            for lesson in ("labels", "distilled"):
                start = time.perf_counter()
                student = copy.deepcopy(first)
                method = (distillers.Supervised(student) if lesson == "labels"
                          else distillers.KD(student, bank, T=settings["T"], alpha=settings["alpha"]))
                rows = fit(student, method, source, views, settings["lr"][beginning], chosen.epochs, seed)
                row = {"seed": seed, "valid_accuracy": rows[-1]["valid_accuracy"]} | judged(student, source.test)
                results["cells"].setdefault(f"{beginning}, {lesson}", []).append(row)
                results["seconds"].setdefault("student", time.perf_counter() - start)
                print(beginning, lesson, row, flush=True)
            if beginning == "imagenet":
                row = {"seed": seed} | judged(first, source.test)
                results["cells"].setdefault("imagenet, head alone", []).append(row)
        path = write(chosen.name, settings=settings, seeds=seeds[: seed + 1], results=results)
    print(f"written: {path}")


def patches(images: int | None = None) -> data.Source:
    """The patches from `pcam_subset.zip`, with the splits of its `labels.csv`; of the training split so many."""
    path = files.folder() / "pcam_subset" / "pcam_subset.zip"
    if not path.exists():
        sys.exit(f"skipped: {path} is missing; set KDCOURSE_DATA to the folder that holds pcam_subset/")
    splits = {"train": ([], []), "valid": ([], []), "test": ([], [])}
    with zipfile.ZipFile(path) as archive:
        for row in csv.DictReader(io.StringIO(archive.read("labels.csv").decode())):
            with Image.open(io.BytesIO(archive.read(row["image"]))) as image:
                splits[row["split"]][0].append(np.asarray(image.convert("RGB")))
            splits[row["split"]][1].append(int(row["label"]))
    arrays = {kind: (torch.from_numpy(np.stack(x)).permute(0, 3, 1, 2).contiguous(), torch.tensor(y))
              for kind, (x, y) in splits.items()}
    if images:
        x, y = arrays["train"]
        some = torch.cat([torch.nonzero(y == label)[: images // 2, 0] for label in (0, 1)]).sort().values
        arrays["train"] = x[some], y[some]
    return data.from_arrays("pcam", *arrays["train"], classes=CLASSES, valid=arrays["valid"], test=arrays["test"])


def random(seed: int):
    """MobileNetV2 with weights drawn from the seed."""
    with seeded(seed):
        return wrapped(mobilenet_v2(num_classes=len(CLASSES)))


def pretrained(source: data.Source, *, size: int | None = None):
    """MobileNetV2 with ImageNet's weights, which are stored as integers with batch normalisation folded in.

    Folded statistics are of no use for training. So those of the new images are taken, and each normalisation's weight
    and bias are set so that the network computes what it did.
    """
    folder = files.folder() / "mobilenetv2_imagenet"
    path = folder / "mobilenet_v2_imagenet_int8.npz"
    if not path.exists():
        sys.exit(f"skipped: {path} is missing; set KDCOURSE_DATA to the folder that holds mobilenetv2_imagenet/")
    stored, network = np.load(path), mobilenet_v2()
    state = network.state_dict()
    for name in stored.files:
        if name.endswith(".scale"):
            continue
        value = torch.from_numpy(stored[name])
        if name.endswith(".weight"):
            scale = torch.from_numpy(stored[name.removesuffix("weight") + "scale"])
            value = value.float() * scale.reshape(-1, *[1] * (value.ndim - 1))
        state[name] = value
    for name in state:
        if name.endswith("running_var"):
            state[name] = torch.full_like(state[name], 1 - 1e-5)
    network.load_state_dict(state)
    network = wrapped(network, size)
    every = max(1, len(source.train) // 400)
    unfold(network, source.train.take(torch.arange(0, len(source.train), every), "statistics"))
    return network


@torch.no_grad()
def unfold(network, split) -> None:
    """Give every batch normalisation the statistics of what it is shown, and leave what it computes as it is."""
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    moments = {layer: [] for layer in layers}
    hooks = [layer.register_forward_pre_hook(
        lambda layer, x: moments[layer].append((x[0].mean(dim=(0, 2, 3)), x[0].square().mean(dim=(0, 2, 3)))))
        for layer in layers]
    metrics.predict(network, split, batch_size=50)
    for hook in hooks:
        hook.remove()
    for layer, seen in moments.items():
        mean, square = (torch.stack(values).mean(dim=0) for values in zip(*seen, strict=True))
        layer.bias += mean
        layer.running_mean.copy_(mean)
        layer.running_var.copy_((square - mean.square()).clamp_min(1e-6))
        layer.weight.copy_((layer.running_var + layer.eps).sqrt())


def with_heads(network, source, seeds: list[int]) -> list:
    """For each seed a copy of the network with a new linear head, trained on frozen features: feature extraction."""
    network.eval()
    with torch.no_grad():
        f = torch.cat([network.embed(network.features(batch.x)[-1]) for batch in source.train.batches(100)])
    copies = []
    for seed in seeds:
        with seeded(seed):
            head = torch.nn.Linear(f.shape[1], len(CLASSES))
        optimiser = torch.optim.Adam(head.parameters(), lr=1e-3, weight_decay=1e-3)
        for _ in range(300):
            optimiser.zero_grad()
            F.cross_entropy(head(f), source.train.y).backward()
            optimiser.step()
        copies.append(copy.deepcopy(network))
        copies[-1].network.classifier[1] = head
    return copies


def wrapped(network, size: int | None = None):
    return models.wrap(network, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=size)


def fit(network, method, source, views, lr, epochs, seed):
    return train.fit(method, source, epochs=epochs, lr=lr, batch_size=32, schedule="cosine", augment=views, seed=seed)


def judged(network, split) -> dict:
    """Scores of the positive class, tumour. The area under the curve is that of the score, not of the answers."""
    z, y = metrics.predict(network, split, batch_size=100), split.y
    answers, score = z.argmax(dim=1), z[:, 1] - z[:, 0]
    return {"test_accuracy": metrics.accuracy(z, y), "auc": roc_auc_score(y, score), "f1": f1_score(y, answers),
            "balanced_accuracy": balanced_accuracy_score(y, answers), "nll": metrics.nll(z, y),
            "ece": metrics.ece(z, y), "called_tumour": answers.double().mean().item()}


if __name__ == "__main__":
    main()
