"""Networks. `build(name, shape, classes, seed=...)` makes one of the `ZOO`; `wrap` adopts one from elsewhere."""

from functools import partial

from kdcourse.core import Choices, seeded
from kdcourse.models.base import Answer as Answer
from kdcourse.models.base import Classifier as Classifier
from kdcourse.models.base import Normalise as Normalise
from kdcourse.models.base import fresh_copy as fresh_copy
from kdcourse.models.base import probe as probe
from kdcourse.models.resnet import resnet as resnet
from kdcourse.models.resnet import trained_resnet as trained_resnet
from kdcourse.models.small import cnn, deepnn, ece1512_student, ece1512_teacher, lightnn, mlp
from kdcourse.models.vit import vit
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
