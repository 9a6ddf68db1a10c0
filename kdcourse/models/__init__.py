"""Networks. `build(name, shape, classes, seed=...)` makes one of the `ZOO`, or one of timm or torchvision without its
weights; `wrap` adopts one from elsewhere, and `pretrained(name)` fetches one and adopts it."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path

from kdcourse.core import Choices, seeded
from kdcourse.files import DataError
from kdcourse.models.base import Answer as Answer
from kdcourse.models.base import Classifier as Classifier
from kdcourse.models.base import Normalise as Normalise
from kdcourse.models.base import Resize as Resize
from kdcourse.models.base import check_classes as check_classes
from kdcourse.models.base import fresh_copy as fresh_copy
from kdcourse.models.base import probe as probe
from kdcourse.models.base import unwrapped as unwrapped
from kdcourse.models.generator import Generator as Generator
from kdcourse.models.mobile import mobilenet_v2, shufflenet_v1, shufflenet_v2
from kdcourse.models.pretrained import Loaded, load, untrained
from kdcourse.models.processors import geometry, normalisation
from kdcourse.models.resnet import resnet as resnet
from kdcourse.models.resnet import resnet50
from kdcourse.models.resnet import trained_resnet as trained_resnet
from kdcourse.models.small import cnn, deepnn, ece1512_student, ece1512_teacher, lightnn, mlp
from kdcourse.models.vgg import vgg
from kdcourse.models.vit import vit
from kdcourse.models.wide_resnet import wrn
from kdcourse.models.wrap import Wrapped, adopted, known_classes
from kdcourse.models.wrap import wrap as wrap

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
    "resnet110": partial(resnet, depth=110),
    "resnet8x4": partial(resnet, depth=8, width=64, stem=32, shortcut="B"),
    "resnet32x4": partial(resnet, depth=32, width=64, stem=32, shortcut="B"),
    "resnet50": resnet50,
    "wrn_16_2": partial(wrn, depth=16, width=2),
    "wrn_40_1": partial(wrn, depth=40, width=1),
    "wrn_40_2": partial(wrn, depth=40, width=2),
    "vgg8": partial(vgg, depth=8),
    "vgg11": partial(vgg, depth=11),
    "vgg13": partial(vgg, depth=13),
    "mobilenet_v2": mobilenet_v2,
    "shufflenet_v1": shufflenet_v1,
    "shufflenet_v2": shufflenet_v2,
    "vit": vit,
})


def build(name: str, shape: tuple[int, int, int], classes: int, *, seed: int, **settings) -> Classifier | Wrapped:
    """A fresh network of the `ZOO` for images of `shape` (C, H, W), its weights drawn from `seed` and nothing else.

    `settings` go to its function (`hidden=(32,)` for an mlp, `width=8` for a ResNet). `torchvision:efficientnet_b0` and
    `timm:mobilenetv3_small_100` are networks of those packages without their weights, as `wrap` adopts them; their
    setting is `size`, to which images are brought, and what insists on one has one (a ViT 224).
    Raises ValueError for an unknown name, naming the choices, and for a shape or a number of classes that is none.
    """
    elsewhere = str(name).partition(":")[0] in ("timm", "torchvision") and ":" in name
    make = _elsewhere(name) if elsewhere else ZOO[name]
    if not isinstance(shape, Sequence) or len(shape) != 3 or not all(_counts(n) for n in shape):
        raise ValueError(f"shape is (channels, height, width), as in source.shape; it is {shape!r}")
    if not _counts(classes):
        raise ValueError(f"classes is how many there are, as in len(source.classes); it is {classes!r}")
    known = [key for key, value in inspect.signature(make).parameters.items() if value.kind is value.KEYWORD_ONLY]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"{name} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    with seeded(seed):
        return make(tuple(shape), classes, **settings)


def pretrained(name: str | Path, *, classes: int | Sequence[str] | None = None, size: int | None = None,
               mean: Sequence[float] | None = None, std: Sequence[float] | None = None, seed: int = 0) -> Wrapped:
    """A network with its published weights, as `wrap` adopts it, in eval mode and float32.

    `name` is one of
      google/vit-base-patch16-224-in21k   a name on the Hugging Face hub, of a network that transformers knows
      timm:resnet18                       a name in timm
      torchvision:resnet18                a name in torchvision, which means its newest weights
      the path of a folder                written by transformers' `save_pretrained` or timm's `save_for_hf`
    `size`, and `mean` and `std` per channel, are what its files say unless given. An image processor of transformers is
    followed: its filter, its crop, its scale, its order of channels. When the stored head is not one for `classes`, or
    there is none, a fresh one is drawn from `seed`: `fresh_head()` of the result names its parameters until they are
    trained, and `Teacher` refuses such a network. `classes` may be names, `source.classes`: then the stored head stays,
    and these of its logits are chosen, in this order.

    Raises DataError with a numbered recipe when the files are neither on this machine nor to be had, and ValueError
    for a name that nobody knows, when something is neither in the files nor given, or when an image processor does what
    the course cannot, by the name of its field.
    """
    count = classes if classes is None or isinstance(classes, int) else None
    try:
        with seeded(seed):
            loaded = load(str(name), count, size)
    except ModuleNotFoundError as error:
        raise DataError(f"{name} needs the package {error.name}; run: pip install 'kdcourse[full]'") from error
    if count is None and (loaded.fresh or not getattr(loaded.network, "num_classes", True)):
        raise ValueError(f"{name} brings no head of its own: say for how many classes=... a fresh one is to be made")
    try:
        normalise = _normalise(loaded, mean, std)
        resize, shape = _resize(loaded, size, len(normalise.mean))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return adopted(
        loaded.network.float(), normalise, resize, shape=shape, fresh=loaded.fresh, name=str(name),
        names=loaded.names or known_classes(loaded.network), classes=None if count is not None else classes,
    ).eval()


def _elsewhere(name: str) -> Callable[..., Wrapped]:
    """What makes a network of another package, with fresh weights."""
    def make(shape, classes, *, size=None):
        try:
            loaded = untrained(name, classes, size)
        except ModuleNotFoundError as error:
            raise DataError(f"{name} needs the package {error.name}; run: pip install 'kdcourse[full]'") from error
        return adopted(loaded.network, Normalise(loaded.mean, loaded.std), loaded.size and Resize(loaded.size),
                       shape=None if loaded.size else (len(loaded.mean), *shape[1:]), name=name)
    return make


def _normalise(loaded: Loaded, mean, std) -> Normalise:
    """What is given, else what the files say."""
    if loaded.processor is not None and (mean is None or std is None):
        said = normalisation(loaded.processor)
        if mean is None and std is None:
            return said
        said_mean, said_std = said.mean.flatten().tolist(), said.std.flatten().tolist()
    else:
        said_mean, said_std = loaded.mean, loaded.std
    mean, std = said_mean if mean is None else mean, said_std if std is None else std
    if mean is None or std is None:
        raise ValueError("its files do not say how its images are normalised (there is no preprocessor_config.json): "
                         "give mean=... and std=..., a number per channel")
    return Normalise(mean, std)


def _resize(loaded: Loaded, size: int | None, channels: int) -> tuple[Resize | None, tuple[int, int, int] | None]:
    """How images are brought to their size, and the shape of those that the network is for, if that says more."""
    if size is not None or loaded.processor is None:
        return (None if loaded.size is None else Resize(loaded.size)), None
    resize = geometry(loaded.processor)
    side = loaded.size if resize is None else resize.crop or resize.side
    return resize, side and (channels, side, side)


def _counts(n) -> bool:
    """Whether it is a number of something: an integer of at least 1."""
    return isinstance(n, Integral) and not isinstance(n, bool) and n >= 1
