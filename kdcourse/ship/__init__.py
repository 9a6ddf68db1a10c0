"""What leaves the course: a network as files that run without torch, with a card that says what it is.

`package` writes them (the command: `kdcourse ship NETWORK FOLDER`), `save` and `read` keep a network of yours with what
is known about it, `export` makes the ONNX file alone, and `session` and `predict` run one. The packages of the extra
`ship` are imported where they are needed.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kdcourse import data, files, metrics, trained
from kdcourse.core import generator
from kdcourse.ship.base import FromBytes as FromBytes
from kdcourse.ship.base import lacking as lacking
from kdcourse.ship.base import needed as needed
from kdcourse.ship.base import predict as predict
from kdcourse.ship.base import session as session
from kdcourse.ship.card import Made as Made
from kdcourse.ship.card import card as card
from kdcourse.ship.card import judged as judged
from kdcourse.ship.card import read as read
from kdcourse.ship.card import save as save
from kdcourse.ship.card import wilson as wilson
from kdcourse.ship.export import difference as difference
from kdcourse.ship.export import export as export
from kdcourse.ship.export import noise as noise
from kdcourse.ship.export import versions as versions
from kdcourse.ship.int8 import quantised

CALIBRATE = 500  # images
SCRIPT = '''\
"""python run.py images.npy: the classes of images (N, C, H, W) in bytes. Without a file: is it what torch computed?
python run.py images.npy network_int8.onnx: the same by another network of this folder."""
import json, sys, numpy, onnxruntime
from pathlib import Path
here = Path(__file__).parent
name = sys.argv[2] if len(sys.argv) > 2 else "network.onnx"
network = onnxruntime.InferenceSession(here / name, providers=["CPUExecutionProvider"])
classes, proof = json.loads(network.get_modelmeta().custom_metadata_map["classes"]), numpy.load(here / "proof.npz")
images = numpy.load(sys.argv[1]) if len(sys.argv) > 1 else proof["images"]
if images.max() < 2: sys.exit("images are bytes from 0 to 255; all of these lie between 0 and 1")
z = network.run(None, {"images": images})[0]
if len(sys.argv) > 1: sys.exit(print(*(classes[k] for k in z.argmax(axis=1)), sep="\\n"))
off = abs(z - proof["logits"]).max() / abs(proof["logits"]).max()
print(f"torch's logits are {off:.1g} of the largest away")
if not off < 1e-3: sys.exit("these are other logits than torch computed: do not use this file here")
'''


WHAT = {  # for a reader of a card who has no course
    "fashion_rest": "what of Fashion-MNIST is not in fashion_small, another source of kdcourse; ",
    "mnist_rest": "what of MNIST is not in mnist_small, another source of kdcourse; ",
}


def load(what: Path | str) -> tuple:
    """A network and its `Made`, by a name of `trained` or by the path of a file that `save` wrote.

    Raises ValueError when it is neither, naming the choices, and as `trained.network` and `read` do.
    """
    if what in trained.RECIPES:
        return trained.network(what), _from_recipe(what)
    if Path(what).is_file():
        return read(what)
    if Path(what).suffix:
        raise ValueError(f"there is no file {what}; ship.save writes one")
    raise ValueError(f"{what} is neither a file that ship.save wrote nor one of: {', '.join(trained.RECIPES)}")


def package(network: torch.nn.Module, made: Made, folder: Path | str, *, split=None,
            calibrate: torch.Tensor | None = None) -> Path:
    """Write what is shipped into a new or an empty folder, and return it: `network.onnx` with the preprocessing inside,
    `weights.safetensors` (which `read` reads), `card.md`, `run.py`, which needs onnxruntime and numpy alone, and
    `proof.npz`, images of noise with torch's logits about them.

    With `calibrate`, some hundred training images (N, C, H, W) uint8, there is `network_int8.onnx`, too: the network in
    eight bits, as `int8.quantised` makes it. With a `split` of test images the accuracies of the card are measured on
    them, through these files. Raises
    ValueError when something is in the folder, when the network is not the one that `made` builds, when the names of
    the classes are not one for each logit or are not those of the split, and as `export` does; then nothing is written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{files.shown(folder)} is there and not empty: name another folder, so that nothing is lost")
    if split is not None and split.classes is not None and tuple(split.classes) != tuple(made.classes):
        raise ValueError(f"the classes of {split.name} are {', '.join(split.classes)}, and made.classes are "
                         f"{', '.join(made.classes)}: logit k is that of the k-th; give both in one order")
    if split is not None and made.test and not split.name.startswith(f"{made.test}/"):
        raise ValueError(f"the card would say that {made.test} judged the network, and {split.name} does: give "
                         "that source's test split, or leave `test` of Made empty")
    if split is not None and split.name.split("/")[1:2] == ["train"]:
        raise ValueError(f"{split.name} is what networks train on: a card says how a network does on test images, "
                         "source.test")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        _write(network, made, Path(partial), split, calibrate)
        for path in Path(partial).iterdir():
            path.replace(folder / path.name)
    return folder


def _write(network: torch.nn.Module, made: Made, folder: Path, split, calibrate) -> None:
    """The files of `package`."""
    save(network, folder / "weights.safetensors", made)  # first: it is known here whether `made` builds the network
    path, small = export(network, folder / "network.onnx", shape=made.shape, classes=made.classes), []
    if calibrate is not None:
        small.append(quantised(path, folder / "network_int8.onnx", calibrate))
    eight_bits = dict.fromkeys(path.name for path in small)
    if split is not None:
        z = predict(path, split)
        made = replace(made, test=made.test or split.name, **judged(z, split, made.classes))
        eight_bits = {path.name: _beside(z, predict(path, split), split) for path in small}
    weights = save(network, folder / "weights.safetensors", made)
    images = noise(made.shape)
    with torch.no_grad():
        z = FromBytes(network)(images)
    with open(folder / "proof.npz", "wb") as file:
        np.savez(file, images=images.numpy(), logits=z.numpy())
    files.write(folder / "run.py", SCRIPT)
    files.write(folder / "card.md", card(network, made, [path, *small, weights], difference(network, path, images),
                                         versions(path), eight_bits))


def _beside(z: torch.Tensor, other: torch.Tensor, split) -> dict:
    """What a card says of other logits about a split of test images, beside those of the shipped network."""
    right = (other.argmax(dim=1) == split.y).sum().item()
    return {"right": right, "judged": len(split), "agreement": metrics.agreement(z, other)}


def test_images(made: Made):
    """The split of test images on which a network is to be judged, and what is wrong if there is none: (split, "") or
    (None, why)."""
    source, why = _source(made)
    return (source.test if source else None), why


def training_images(made: Made) -> torch.Tensor:
    """`CALIBRATE` training images (N, C, H, W) uint8 of the source whose test images judge a network, or all if there
    are fewer. Raises ValueError where that source is not to be had."""
    source, why = _source(made)
    if source is None:
        raise ValueError(f"eight bits are calibrated on training images, and {why}. Give some hundred of yours: "
                         "ship.package(network, made, folder, calibrate=images), (N, C, H, W) uint8")
    x = source.train.x
    return x[torch.randperm(len(x), generator=generator(0))[:CALIBRATE]]


def _source(made: Made):
    """(source, "") or (None, why)."""
    if made.test not in data.SOURCES:
        return None, f"{made.test or 'what judges it'} is no source that data.load knows"
    try:
        source = data.load(made.test)
    except files.MissingError as error:
        return None, str(error).splitlines()[0]
    if source.shape != tuple(made.shape) or tuple(source.classes) != tuple(made.classes):
        return None, f"the images or the classes of {made.test} are others now"
    return source, ""


def _from_recipe(name: str) -> Made:
    """What is known of a network that the course keeps."""
    recipe, kept = trained.RECIPES[name], trained.measured(name)
    source = recipe.about or recipe.source
    taught = (f"{'KD' + _settings(recipe.lesson) if recipe.teacher else 'cross-entropy with the labels'}; "
              f"{recipe.epochs} epochs of batches of {recipe.batch_size}, learning rate {recipe.lr:g}, "
              f"{recipe.schedule} schedule, seed {recipe.seed}; images "
              f"{'changed by ' + json.dumps(recipe.augment) if recipe.augment else 'as they are'}")
    return Made(recipe.network, tuple(kept["shape"]), _class_names(source, kept["classes"]), layers=recipe.layers,
                source=f"{recipe.source} ({WHAT.get(recipe.source, '')}images {kept['images']})", taught=taught,
                teacher=recipe.teacher, test=source,
                limits=(f"When it was made it answered {100 * kept['test_accuracy']:.2f} % of the test images of "
                        f"{recipe.source} rightly.",))


def _settings(lesson: dict) -> str:
    return f"({', '.join(f'{key}={value:g}' for key, value in lesson.items())})"


def _class_names(source: str, n: int) -> tuple[str, ...]:
    try:
        return tuple(data.load(source).classes)
    except files.MissingError:
        return tuple(f"class {k}" for k in range(n))
