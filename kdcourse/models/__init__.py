"""Networks. `build(name, shape, classes, seed=...)` makes one of the `ZOO`; `wrap` adopts one from elsewhere, and
`pretrained(name)` fetches one and adopts it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kdcourse.core import Choices, seeded
from kdcourse.files import DataError
from kdcourse.models.base import Answer as Answer
from kdcourse.models.base import Classifier as Classifier
from kdcourse.models.base import Normalise as Normalise
from kdcourse.models.base import fresh_copy as fresh_copy
from kdcourse.models.base import probe as probe
from kdcourse.models.pretrained import load
from kdcourse.models.resnet import resnet as resnet
from kdcourse.models.resnet import trained_resnet as trained_resnet
from kdcourse.models.small import cnn, deepnn, ece1512_student, ece1512_teacher, lightnn, mlp
from kdcourse.models.vit import vit
from kdcourse.models.wrap import Wrapped, wrap

ZOO = Choices("model", {
    "mlp": mlp,
    "cnn": cnn,
    "ece1512_teacher": ece1512_teacher,
    "ece1512_student": ece1512_student,
    "deepnn": deepnn,
    "lightnn": lightnn,
    "resnet8": partial(resnet, depth=8),
    "resnet20": partial(resnet, depth=20),
    "resnet32": partial(resnet, depth=32),
    "resnet56": partial(resnet, depth=56),
    "vit": vit,
})


def build(name: str, shape: tuple[int, int, int], classes: int, *, seed: int, **settings) -> Classifier:
    """A fresh network of the `ZOO` for images of `shape` (C, H, W), its weights drawn from `seed` and nothing else.

    `settings` go to its function (`hidden=(32,)` for an mlp, `width=8` for a ResNet).
    Raises ValueError for an unknown name, naming the choices.
    """
    make = ZOO[name]
    with seeded(seed):
        return make(shape, classes, **settings)


def pretrained(name: str | Path, *, classes: int | None = None, size: int | None = None,
               mean: Sequence[float] | None = None, std: Sequence[float] | None = None, seed: int = 0) -> Wrapped:
    """A network with its published weights, as `wrap` adopts it, in eval mode and float32.

    `name` is one of
      google/vit-base-patch16-224-in21k   a name on the Hugging Face hub, of a network that transformers knows
      timm:resnet18                       a name in timm
      torchvision:resnet18                a name in torchvision, which means its newest weights
      the path of a folder                written by transformers' `save_pretrained` or timm's `save_for_hf`
    `size`, and `mean` and `std` per channel, are what its files say unless given. When the stored head is not one for
    `classes`, or there is none, a fresh one is drawn from `seed`: `fresh_head()` of the result names its parameters
    until they are trained, and `Teacher` refuses such a network.

    Raises DataError with a numbered recipe when the files are neither on this machine nor to be had, and ValueError
    for a name that nobody knows, or when something is neither in the files nor given.
    """
    try:
        with seeded(seed):
            loaded = load(str(name), classes, size)
    except ModuleNotFoundError as error:
        raise DataError(f"{name} needs the package {error.name}; run: pip install 'kdcourse[full]'") from error
    if classes is None and (loaded.fresh or not getattr(loaded.network, "num_classes", True)):
        raise ValueError(f"{name} brings no head of its own: say for how many classes=... a fresh one is to be made")
    mean, std = mean or loaded.mean, std or loaded.std
    if mean is None or std is None:
        raise ValueError(f"the files of {name} do not say how its images are normalised (there is no "
                         "preprocessor_config.json): give mean=... and std=..., a number per channel")
    return wrap(
        loaded.network.float(), mean=mean, std=std, size=loaded.size, fresh=loaded.fresh, name=str(name)
    ).eval()
