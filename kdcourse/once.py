"""Networks that a lesson needs trained and has no minute to train: trained once by their recipe, and kept with it.

The files lie in `kdcourse/trained/`. Each holds the weights, the recipe that made them, fingerprints of the images and
of the weights, and what was measured. `python -m kdcourse.once NAME` trains one again.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kdcourse import data, distillers, metrics, models, train
from kdcourse.core import Choices, fingerprint
from kdcourse.models import Classifier

FOLDER = Path(__file__).parent / "trained"


@dataclass(frozen=True)
class Recipe:
    """How a network is made: from which images, of which kind, and how it is trained (on labels, by `train.fit`)."""

    source: str
    network: str
    epochs: int
    lr: float
    batch_size: int
    schedule: str = "cosine"
    seed: int = 0
    images: dict = field(default_factory=dict)    # settings of the source
    layers: dict = field(default_factory=dict)    # settings of the network


RECIPES = Choices("network trained once", {
    # knows the shapes of glands, and has never seen a polyp: what notebook 04 transfers
    "glands_resnet8": Recipe("glands", "resnet8", epochs=10, lr=3e-3, batch_size=64, images={"train": 6000}),
    # the same with a quarter of the weights: that lesson's student
    "glands_resnet8_thin": Recipe("glands", "resnet8", epochs=10, lr=3e-3, batch_size=64, images={"train": 6000},
                                  layers={"width": 8}),
    # a Vision Transformer needs more images than a lesson has time for: the strong teacher of notebook 06
    "shapes_vit": Recipe("shapes", "vit", epochs=20, lr=2e-3, batch_size=64, images={"train": 20_000},
                         layers={"depth": 6, "width": 48, "heads": 3}),
})


def trained(name: str) -> Classifier:
    """The network of that name with its kept weights, in eval mode.

    Raises ValueError for an unknown name, naming the choices, and when the file was made by another recipe or is not
    whole, saying how to train it again.
    """
    recipe, path = RECIPES[name], FOLDER / f"{name}.safetensors"
    again = f"train it again: python -m kdcourse.once {name}"
    try:
        with safe_open(path, framework="pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
        made = measured(name)
        if made["weights"] != _of(weights):
            raise KeyError("its numbers have changed")
    except (OSError, SafetensorError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name} cannot be used ({error}); {again}") from error
    if made["recipe"] != asdict(recipe):
        raise ValueError(f"{path.name} was made by another recipe, {made['recipe']}; {again}")
    network = _network(recipe, made["shape"], made["classes"])
    network.load_state_dict(weights)
    return network.eval()


def measured(name: str) -> dict:
    """What is kept beside the weights: recipe, fingerprints, accuracy on validation and test images in [0, 1]."""
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["made"])


def train_again(name: str) -> Path:
    """Train the network of that name by its recipe and keep it; returns the path of its file."""
    recipe = RECIPES[name]
    source = data.load(recipe.source, **recipe.images)
    network = _network(recipe, source.shape, len(source.classes))
    train.fit(distillers.Supervised(network), source, epochs=recipe.epochs, lr=recipe.lr, seed=recipe.seed,
              batch_size=recipe.batch_size, schedule=recipe.schedule)
    accuracies = {f"{kind}_accuracy": metrics.accuracy(metrics.predict(network, split), split.y)
                  for kind, split in source.splits.items() if kind != "train"}
    weights = {key: value.contiguous() for key, value in network.cpu().state_dict().items()}
    made = {"recipe": asdict(recipe), "shape": source.shape, "classes": len(source.classes), **accuracies,
            "images": fingerprint(source.train.x, source.train.y), "weights": _of(weights)}
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.safetensors"
    path.write_bytes(save(weights, {"made": json.dumps(made)}))  # one entry: of several the order is left to chance
    return path


def _network(recipe: Recipe, shape, classes: int) -> Classifier:
    return models.build(recipe.network, tuple(shape), classes, seed=recipe.seed, **recipe.layers)


def _of(weights: dict) -> str:
    return fingerprint(*(weights[key] for key in sorted(weights)))


if __name__ == "__main__":
    for chosen in sys.argv[1:] or RECIPES:
        print(train_again(chosen), measured(chosen))
