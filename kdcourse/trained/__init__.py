"""Networks that a lesson needs trained and has no minute to train: trained once by their recipe, and kept with it.

The files lie beside this one. Each holds the weights, the recipe that made them, fingerprints of the images and of
the weights, and what was measured. `python -m kdcourse.trained NAME` trains one again. Teachers of the small sets are
kept in half precision, beside their answers about these sets: they learned from images that the small sets lack.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from kdcourse import data, distillers, metrics, models, train
from kdcourse.core import Choices, fingerprint
from kdcourse.data import Augment
from kdcourse.models import Classifier
from kdcourse.teachers import LogitBank, Trajectory

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """How a network is made: from which images, of which kind, and how it is trained by `train.fit`: on labels, or by
    `KD` from another network trained once."""

    source: str
    network: str
    epochs: int
    lr: float
    batch_size: int
    schedule: str = "cosine"
    seed: int = 0
    images: dict = field(default_factory=dict)    # settings of the source
    layers: dict = field(default_factory=dict)    # settings of the network
    augment: dict = field(default_factory=dict)   # settings of Augment; without any, the images as they are
    teacher: str = ""                             # the name of another recipe
    lesson: dict = field(default_factory=dict)    # settings of KD
    about: str = ""                               # the source about whose images its answers are kept
    first: int = 0                                # so many of the training images, the first; 0: all of them
    checkpoints: bool = False                     # whether those about its training images are kept after every epoch


RECIPES = Choices("network trained once", {
    # has seen photographs of animals and vehicles, and no tissue: what notebook 04 transfers to real tissue
    "cifar_resnet8_thin": Recipe("cifar10", "resnet8", epochs=5, lr=5e-3, batch_size=128, layers={"width": 8},
                                 augment={"pad": 2}, first=20_000),
    # teachers of the small sets
    "mnist_cnn": Recipe("mnist_rest", "cnn", epochs=6, lr=2e-3, batch_size=128, about="mnist_small"),
    "fashion_cnn": Recipe("fashion_rest", "cnn", epochs=6, lr=2e-3, batch_size=128, about="fashion_small",
                          checkpoints=True),
    "fashion_cnn_1": Recipe("fashion_rest", "cnn", epochs=6, lr=2e-3, batch_size=128, seed=1, about="fashion_small"),
    # the strongest of them
    "fashion_resnet": Recipe("fashion_rest", "resnet20", epochs=10, lr=3e-3, batch_size=128, about="fashion_small",
                             augment={"pad": 2, "flip": True}),
    # a Vision Transformer, which learns these few images only from a teacher: as DeiT does
    "fashion_vit": Recipe("fashion_rest", "vit", epochs=8, lr=1.5e-3, batch_size=128, about="fashion_small",
                          layers={"depth": 6, "width": 48, "heads": 3}, augment={"pad": 2, "flip": True},
                          teacher="fashion_resnet", lesson={"T": 2.0, "alpha": 0.5}),
})


def network(name: str) -> Classifier:
    """The network of that name with its kept weights, in eval mode.

    Raises ValueError for an unknown name, naming the choices, and when the file was made by another recipe or is not
    whole, saying how to train it again.
    """
    recipe, path = RECIPES[name], FOLDER / f"{name}.safetensors"
    again = f"train it again: python -m kdcourse.trained {name}"
    try:
        with safe_open(path, framework="pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
        made = measured(name)
        if made["weights"] != _of(weights):
            raise KeyError("its numbers have changed")
    except (OSError, SafetensorError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name} cannot be used ({error}); {again}") from error
    if Recipe(**made["recipe"]) != recipe:
        raise ValueError(f"{path.name} was made by another recipe, {made['recipe']}; {again}")
    made_again = _network(recipe, made["shape"], made["classes"])
    made_again.load_state_dict(weights)
    return made_again.eval()


def measured(name: str) -> dict:
    """What is kept beside the weights: recipe, fingerprints, accuracy on validation and test images in [0, 1]."""
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["made"])


def answers(name: str) -> dict[str, LogitBank]:
    """What the teacher of that name said about the train, valid and test images of its small source, as they are.

    Raises ValueError for a network whose answers are not kept, and as `network` does.
    """
    return {kind: LogitBank.load(_answers(name, kind), teacher=network(name), split=split)
            for kind, split in _about(name).splits.items()}


def checkpoints(name: str) -> Trajectory:
    """What the teacher of that name said about the training images of its small source after each of its epochs.

    Raises ValueError for a network whose checkpoints are not kept, and as `network` does.
    """
    if not RECIPES[name].checkpoints:
        raise ValueError(f"no checkpoints of {name} are kept; choose one of: "
                         f"{', '.join(name for name, recipe in RECIPES.items() if recipe.checkpoints)}")
    return Trajectory.load(_answers(name, "checkpoints"), teacher=network(name), split=_about(name).train)


def train_again(name: str, source=None) -> Path:
    """Train the network of that name by its recipe and keep it; returns the path of its file.

    `source` stands in for `data.load` of the recipe's, where the same images are read from other files.
    """
    recipe = RECIPES[name]
    source = source or data.load(recipe.source, **recipe.images)
    if recipe.first:
        source = source.with_train(source.train.take(torch.arange(recipe.first), f"first {recipe.first:,}"))
    network, tables = _network(recipe, source.shape, len(source.classes)), []
    about = data.load(recipe.about) if recipe.checkpoints else None

    def record(rows):
        if about:
            tables.append(metrics.predict(network, about.train))

    train.fit(_distiller(recipe, network), source, epochs=recipe.epochs, lr=recipe.lr, seed=recipe.seed,
              batch_size=recipe.batch_size, schedule=recipe.schedule, on_epoch=record,
              augment=Augment(**recipe.augment) if recipe.augment else None)
    return keep(name, network, source, tables)


def keep(name: str, network: Classifier, source, tables: Sequence[Tensor] = ()) -> Path:
    """Write a network that was trained by the recipe of that name, what was measured, and its answers if the recipe
    asks for them. `tables` holds its logits about the small source's training images after each epoch."""
    recipe, network = RECIPES[name], network.cpu()
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    if recipe.about:
        weights = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
        network.load_state_dict(weights)
    measured = {f"{kind}_accuracy": metrics.accuracy(metrics.predict(network, split), split.y)
                for kind, split in source.splits.items() if kind != "train"}
    (FOLDER / "answers").mkdir(parents=True, exist_ok=True)
    if recipe.about:
        measured |= _keep_answers(name, network, tables)
    made = {"recipe": asdict(recipe), "shape": source.shape, "classes": len(source.classes), **measured,
            "images": fingerprint(source.train.x, source.train.y), "weights": _of(weights)}
    path = FOLDER / f"{name}.safetensors"
    path.write_bytes(save(weights, {"made": json.dumps(made)}))  # one entry: of several the order is left to chance
    return path


def _keep_answers(name: str, network: Classifier, tables: Sequence[Tensor]) -> dict:
    """Write the answers about the small source; returns its accuracy and mean confidence on each split of it."""
    found, splits = {}, _about(name).splits
    for kind, split in splits.items():
        bank = LogitBank.record(network, split)
        bank.save(_answers(name, kind))
        z = bank.table[0].float()
        found[kind] = {"accuracy": metrics.accuracy(z, split.y),
                       "confidence": z.softmax(dim=1).max(dim=1).values.mean().item()}
    if tables:
        origin, table = splits["train"].origin(), torch.stack([z.half() for z in tables])
        Trajectory(table, origin=origin, teacher=bank.teacher).save(_answers(name, "checkpoints"))
    return {RECIPES[name].about: found}


def _distiller(recipe: Recipe, student: Classifier) -> distillers.Distiller:
    if not recipe.teacher:
        return distillers.Supervised(student)
    return distillers.KD(student, network(recipe.teacher), **recipe.lesson)


def _about(name: str):
    if not RECIPES[name].about:
        raise ValueError(f"no answers of {name} are kept; choose one of: "
                         f"{', '.join(name for name, recipe in RECIPES.items() if recipe.about)}")
    return data.load(RECIPES[name].about)


def _answers(name: str, kind: str) -> Path:
    return FOLDER / "answers" / f"{name}-{kind}.safetensors"


def _network(recipe: Recipe, shape, classes: int) -> Classifier:
    return models.build(recipe.network, tuple(shape), classes, seed=recipe.seed, **recipe.layers)


def _of(weights: dict) -> str:
    return fingerprint(*(weights[key] for key in sorted(weights)))
