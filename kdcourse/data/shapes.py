"""`shapes`: generated colour images of twelve figures, in four super-classes of three look-alikes.

A network that mistakes a square should take it for a rectangle, not for a ring: here wrong answers mean something, and
`superclass` says what. One figure an image, of one colour: nothing is hidden, and nothing has a texture.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from kdcourse.core import generator
from kdcourse.data.base import Source, Split

SUPERCLASSES = {  # of three look-alikes the middle one lies between the others
    "round": ("ellipse", "circle", "ring"),
    "four-sided": ("rectangle", "square", "trapezium"),
    "pointed": ("arrowhead", "triangle", "kite"),
    "crossed": ("plus", "dagger", "tee"),
}
CLASSES = tuple(name for names in SUPERCLASSES.values() for name in names)
STAND_IN = "generated figures in place of photographs"
CHUNK = 500  # images drawn at once, so that the memory this takes does not grow with the set


def shapes(
    size: int = 16, *, difficulty: float = 0.7, train: int = 3000, valid: int = 500, test: int = 1500, seed: int = 0
) -> Source:
    """Colour images of `size` x `size` pixels in twelve classes; `train`, `valid` and `test` are numbers of images.

    The label is the figure, which is lighter than what lies behind it. The two colours, its place, size and tilt, the
    waves behind it and the noise are drawn without regard to the label. `difficulty` in [0, 1] adds to shifts, tilts,
    waves and noise, and brings together the two colours and the figures of a super-class, some of which then are hard
    to tell apart for anybody. A figure is its own mirror image, so `Augment` may flip.

    What is drawn for an image depends on the seed, its split and its row: a larger set begins with the smaller one,
    and another size or difficulty shows the same scenes. Rows 0 to 11, 12 to 23, ... hold each class once. A set is
    made once and kept while Python runs; do not write into its tensors.

    Raises ValueError for a size below 8, a difficulty outside [0, 1], or a split without images.
    """
    if size < 8:
        raise ValueError(f"images are at least 8 pixels wide; size is {size}")
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty lies in [0, 1]; it is {difficulty}")
    counts = {"train": train, "valid": valid, "test": test}
    for kind, n in counts.items():
        if n < 1:
            raise ValueError(f"a split holds at least one image; {kind} is {n}")
    return _source(size, difficulty, tuple(counts.items()), seed)


def superclass(y: Tensor) -> Tensor:
    """The super-class of each label of `shapes`, as its place in `SUPERCLASSES`: int64, in the shape of `y`.

    >>> superclass(torch.tensor([0, 2, 3, 11]))
    tensor([0, 0, 1, 3])
    """
    places = [place for place, names in enumerate(SUPERCLASSES.values()) for _ in names]
    return torch.tensor(places, device=y.device)[y]


@lru_cache(maxsize=8)
def _source(size: int, difficulty: float, counts: tuple[tuple[str, int], ...], seed: int) -> Source:
    splits = {}
    for number, (kind, n) in enumerate(counts):
        y = _labels(n, generator(seed, number, 0))
        u = torch.rand(n, 17, dtype=torch.float64, generator=generator(seed, number, 1))
        noise = generator(seed, number, 2)
        parts = zip(u.split(CHUNK), y.split(CHUNK), strict=True)
        splits[kind] = Split(f"shapes/{kind}", torch.cat([_draw(*part, size, difficulty, noise) for part in parts]), y)
    return Source("shapes", **splits, classes=CLASSES, stand_in=STAND_IN)


def _labels(n: int, draw: torch.Generator) -> Tensor:
    """All classes in a random order, then in another one, and so on: (n,)."""
    K = len(CLASSES)
    return torch.rand(-(-n // K), K, dtype=torch.float64, generator=draw).argsort(dim=1).flatten()[:n].clone()


def _draw(u: Tensor, y: Tensor, size: int, difficulty: float, noise: torch.Generator) -> Tensor:
    """Uniform draws (B, 17) in [0, 1) and labels (B,) -> images (B, 3, size, size), uint8.

    In float64: its last bits differ between machines, and next to never decide how a byte is rounded.
    """

    def between(easy: float, hard: float) -> float:
        return easy + (hard - easy) * difficulty

    large, shift, lift, tilt, apart, turn, frequency, phase = u[:, :8, None, None].unbind(dim=1)
    ground, gap, strength = u[:, 8:, None, None].split(3, dim=1)
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * (2 / size) - 1  # of pixels: an image is [-1, 1] wide
    right, up = centres[None, :], -centres[:, None]

    scale = 0.72 + between(0.04, 0.14) * (2 * large - 1)
    room = between(0.3, 0.9) * (0.95 - scale)
    angle = math.radians(between(5, 25)) * (2 * tilt - 1)
    apart = between(0.6, 0.0) + between(0.4, 0.8) * apart
    across, above = right - room * (2 * shift - 1), up - room * (2 * lift - 1)
    across, above = across * angle.cos() - above * angle.sin(), across * angle.sin() + above * angle.cos()
    distance = torch.empty(len(y), size, size, dtype=torch.float64)
    for label, name in enumerate(CLASSES):
        rows = y == label
        distance[rows] = scale[rows] * FIGURES[name]((across / scale)[rows], (above / scale)[rows], apart[rows])
    cover = (0.5 - distance * (size / 2)).clamp(0, 1)[:, None]  # of each pixel, by the distance of its centre

    along = right * (math.pi * turn).cos() + up * (math.pi * turn).sin()
    waves = ((0.5 + 4 * frequency) * along + 2 * math.pi * phase).sin()[:, None]
    gap = between(0.4, 0.12) + 0.3 * gap
    behind = (1 - gap) * ground + between(0.0, 0.2) * (2 * strength - 1) * waves
    grain = torch.rand(len(y), 3, size, size, dtype=torch.float64, generator=noise) - 0.5
    image = (1 - cover) * behind + cover * ((1 - gap) * ground + gap) + between(0.04, 0.36) * grain
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _ellipse(x, y, *, height=1.0, hole=-math.inf) -> Tensor:
    """Distance to a disc that is pressed to `height`, around a round hole of radius `hole`, if that is a number."""
    r = (x.square() + (y / height).square()).sqrt()
    return torch.maximum((r - 0.85) * height, hole - r)


def _four_sided(x, y, *, height=1.0, top=1.0) -> Tensor:
    """Distance to a square that is pressed to `height`, its upper side narrowed to `top` and the lower one widened."""
    low, high, h = 0.76 * (2 - top), 0.76 * top, 0.76 * height
    return _polygon(x, y, (-low, -h), (low, -h), (high, h), (-high, h))


def _pointed(x, y, *, fold=0.0) -> Tensor:
    """Distance to a triangle on its base, the middle of which is lifted by `fold`."""
    return _polygon(x, y, (-1.0, -0.65), (0.0, -0.65 + fold), (1.0, -0.65), (0.0, 1.0))


def _crossed(x, y, *, lift=0.0) -> Tensor:
    """Distance to an upright bar with another one across its upper half, moved up by `lift`."""
    upright = torch.maximum(x.abs() - 0.25, y.abs() - 1.0)
    return torch.minimum(upright, torch.maximum(x.abs() - 0.85, (y - 0.375 - lift).abs() - 0.25))


def _polygon(x, y, *corners) -> Tensor:
    """Distance to the polygon with these corners in their order, pairs of numbers or of tensors (B, 1, 1)."""
    nearest, inside = torch.full_like(x, math.inf), torch.zeros_like(x, dtype=torch.bool)
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        dx, dy, px, py = x2 - x1, y2 - y1, x - x1, y - y1
        share = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp(0, 1)
        nearest = torch.minimum(nearest, (px - share * dx).square() + (py - share * dy).square())
        inside ^= ((y1 > y) != (y2 > y)) & ((px * dy < py * dx) == (dy > 0))  # the edge lies to the right of the point
    return torch.where(inside, -1.0, 1.0) * nearest.sqrt()


FIGURES = {  # from points (x, y) to signed distances, negative inside; `apart` in [0, 1] sets look-alikes apart
    "ellipse": lambda x, y, apart: _ellipse(x, y, height=1 - 0.4 * apart),
    "circle": lambda x, y, apart: _ellipse(x, y),
    "ring": lambda x, y, apart: _ellipse(x, y, hole=0.45 * apart),
    "rectangle": lambda x, y, apart: _four_sided(x, y, height=1 - 0.4 * apart),
    "square": lambda x, y, apart: _four_sided(x, y),
    "trapezium": lambda x, y, apart: _four_sided(x, y, top=1 - 0.4 * apart),
    "arrowhead": lambda x, y, apart: _pointed(x, y, fold=0.5 * apart),
    "triangle": lambda x, y, apart: _pointed(x, y),
    "kite": lambda x, y, apart: _pointed(x, y, fold=-0.5 * apart),
    "plus": lambda x, y, apart: _crossed(x, y, lift=-0.375 * apart),
    "dagger": lambda x, y, apart: _crossed(x, y),
    "tee": lambda x, y, apart: _crossed(x, y, lift=0.375 * apart),
}
