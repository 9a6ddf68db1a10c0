"""Data in memory. `load(name)` gives one of the `SOURCES`; `from_arrays` makes a source of arrays, `from_folder` of a
folder of images or of a data set, which may be larger than the memory."""

from functools import partial

from kdcourse.core import Choices
from kdcourse.data import cifar as cifar
from kdcourse.data import digits as digits
from kdcourse.data import fashion as fashion
from kdcourse.data import mhist as mhist
from kdcourse.data import polyps as polyps
from kdcourse.data import small as small
from kdcourse.data import transfer as transfer
from kdcourse.data.augment import Augment as Augment
from kdcourse.data.base import Source as Source
from kdcourse.data.base import Split as Split
from kdcourse.data.base import from_arrays as from_arrays
from kdcourse.data.folder import from_folder as from_folder
from kdcourse.files import DataError as DataError

SOURCES = Choices("source", {
    "digits": digits.digits,
    "mnist_small": small.mnist_small,
    "fashion_small": small.fashion_small,
    "tissue_small": small.tissue_small,
    "mnist": digits.mnist,
    "fashion": fashion.fashion,
    "cifar10": cifar.cifar10,
    "cifar100": cifar.cifar100,
    "mhist": mhist.mhist,
    "polyps": partial(polyps.polyps, read=mhist.read),  # generated, and read by what reads MHIST
    # what the teachers of the small sets learned from
    "mnist_rest": partial(small.rest, small.mnist_small, digits.mnist),
    "fashion_rest": partial(small.rest, small.fashion_small, fashion.fashion),
})
FETCHERS = Choices("source to fetch", {
    "mnist": digits.fetch_mnist,
    "fashion": fashion.fetch_fashion,
    **{name: partial(cifar.fetch, name) for name in cifar.CLASSES},
    "mhist": mhist.own_mhist,
})

DESCRIPTIONS = {  # of what is large: found without reading all of it
    "mnist": digits.describe_mnist,
    **{name: partial(cifar.describe, name) for name in cifar.CLASSES},
    "mhist": mhist.describe,
}


def load(name: str, **settings) -> Source:
    """The source of that name. Nothing is downloaded and nothing is substituted.

    `settings` go to its function: `load("mnist", root="a/folder")` reads the files there.
    Raises ValueError for an unknown name, naming the choices, and DataError with a recipe when its files are missing.
    """
    return SOURCES[name](**settings)


def describe(name: str) -> str:
    """What `repr` says of the source of that name, without keeping more of a large one than one of its images.

    Raises as `load` does.
    """
    return DESCRIPTIONS[name]() if name in DESCRIPTIONS else repr(load(name))
