"""`polyps`: generated tissue in MHIST's file format, with seven simulated annotators.

Drawn after what textbooks say of the two lesions, by nobody who is trained to tell them apart: never for medical use.
"""

import csv
import math
import tempfile
import zipfile
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kdcourse.core import generator
from kdcourse.data.base import Source

STAND_IN = "generated tissue, never for medical use"
HEADER = ("Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition")
LENIENCE = (-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6)  # of each annotator, in logits: how much sooner it says SSA
TRAITS = ("flasks", "boots", "saws", "coils")  # wide at the base; with a foot there; serrated down to it; winding
MOST = (0.6, 0.7, 0.8, 0.7)  # of each trait in a polyp
SPREAD = 0.3  # of a trait by chance; 0.17 of it come with each logit that a lesion leans to SSA
PARTS = ("train", "test")  # each with draws of its own
CRYPTS, CHUNK = 15, 100  # in a row, of which an image shows about five; images drawn at once, to bound the memory


def polyps(size: int = 32, *, train: int = 750, test: int = 600, seed: int = 0, read) -> Source:
    """Generated polyps (3, size, size), 0 = HP, 1 = SSA, with `votes` (N, 2); a fifth of the `train` images validates.

    Crypts, cut lengthwise, open to the surface of the tissue. The more a lesion leans to SSA, the more they widen, turn
    at their base like boots, are serrated down to it, and wind; each of the four also by chance. The less it leans to
    either side, the more the seven annotators disagree; the label is what most of them say: SSA for about 31 %. They
    agree as often as MHIST's. Stain, turn, scale, place, nuclei, blur and noise are drawn without regard to the label.

    `write` makes the folder, `read` reads it as it reads MHIST; `load` brings the two together. A set is made once and
    kept while Python runs; do not write into its tensors. Raises ValueError for a size below 8 or too few images.
    """
    _check(size, {"train": (train, 5), "test": (test, 1)})
    return _polyps(size, train, test, seed, read)


def write(root: Path | str, size: int = 32, *, train: int = 750, test: int = 600, seed: int = 0) -> None:
    """Write `images.zip` and `annotations.csv` of such polyps into the folder `root`, as MHIST is delivered."""
    Path(root).mkdir(parents=True, exist_ok=True)
    rows = [HEADER]
    with zipfile.ZipFile(Path(root) / "images.zip", "w") as archive:
        for part, n in (("train", train), ("test", test)):
            _, said, traits = lesions(n, part=part, seed=seed)
            images = _drawn(traits, size, part, seed).permute(0, 2, 3, 1).numpy()
            for image, votes in zip(images, said.sum(dim=1).tolist(), strict=True):
                name, content = f"POLYP_{len(rows):05}.png", BytesIO()
                rows.append((name, "SSA" if votes > len(LENIENCE) / 2 else "HP", votes, part))
                Image.fromarray(image).save(content, "png", compress_level=1)
                archive.writestr(f"images/{name}", content.getvalue())
    with open(Path(root) / "annotations.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def lesions(n: int, *, part: str = "test", seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """What is behind the first n polyps of a part of the table: how far each leans to SSA, in logits (n,); which
    annotators say SSA (n, 7); and how much it has of each of the `TRAITS` (n, 4), in [0, 1]."""
    u = torch.rand(n, 13, dtype=torch.float64, generator=generator(seed, PARTS.index(part), 0))
    golden = torch.arange(n, dtype=torch.float64) * (math.sqrt(5) - 1) / 2
    turns = (u[:1, 0] + golden) % 1  # evenly spread over every stretch of rows, so that none lacks a class by chance
    normal = torch.special.ndtri(u[:, 1:6])
    leaning = torch.where(turns < 0.24, 2.22, -1.6) + 1.04 * normal[:, 0]  # fitted to the counts of MHIST's votes
    said = u[:, 6:] < (leaning[:, None] + torch.tensor(LENIENCE, dtype=torch.float64)).sigmoid()
    traits = (0.5 + 0.17 * leaning[:, None] + SPREAD * normal[:, 1:]).clamp(0, 1)
    return leaning, said, traits * torch.tensor(MOST, dtype=torch.float64)


@lru_cache(maxsize=4)
def _polyps(size: int, train: int, test: int, seed: int, read) -> Source:
    with tempfile.TemporaryDirectory() as root:
        write(root, size, train=train, test=test, seed=seed)
        return read("polyps", root, pixels=size, seed=seed, stand_in=STAND_IN)


def _check(size: int, counts: dict[str, tuple[int, int]]) -> None:
    if size < 8:
        raise ValueError(f"images are at least 8 pixels wide; size is {size}")
    for kind, (n, least) in counts.items():
        if n < least:
            raise ValueError(f"{kind} must be at least {least}, so that no split is empty; it is {n}")


def _drawn(traits: Tensor, size: int, part: str, seed: int) -> Tensor:
    """Traits (n, 4) -> images (n, 3, size, size), uint8; all else is drawn from the seed, the part and the row."""
    number = PARTS.index(part)
    u = torch.rand(len(traits), 16 + 6 * CRYPTS, dtype=torch.float64, generator=generator(seed, number, 1))
    noise = generator(seed, number, 2)
    return torch.cat([_draw(*some, size, noise) for some in zip(u.split(CHUNK), traits.split(CHUNK), strict=True)])


def _draw(u: Tensor, traits: Tensor, size: int, noise: torch.Generator) -> Tensor:
    """Uniform draws (B, 16 + 6 CRYPTS) and traits (B, 4) -> images (B, 3, size, size), uint8. By Beer and Lambert: a
    blue stain, haematoxylin, and a pink one, eosin, absorb light. In float64, for the same bytes."""
    turn, zoom, shift, lift, width, gap, depth, wall, bend, cells, fibre, blue, pink, hue, blur, grain = (
        u[:, :16, None, None].unbind(dim=1)
    )
    fine = size * -(-32 // size)  # below 32 pixels they are drawn finer, and averaged
    centres = (torch.arange(fine, dtype=torch.float64) + 0.5) * (2 / fine) - 1
    right, up = centres[None, :], -centres[:, None]
    scale, angle = 0.8 + 0.35 * zoom, 2 * math.pi * turn
    x = scale * (right * angle.cos() - up * angle.sin()) + 0.6 * (shift - 0.5)
    y = scale * (right * angle.sin() + up * angle.cos()) + 0.3 * (lift - 0.5)

    def cover(distance: Tensor) -> Tensor:  # of each pixel, by the distance of its centre
        return (0.5 - distance * (fine / 2) / scale).clamp(0, 1)

    base, surface = -0.45 - 0.25 * depth, 0.8 + 0.02 * (9 * x + 6 * bend).sin() - y
    crypt, lumen = _crypts(x, y, base, 0.4 + 0.14 * gap, 0.1 + 0.04 * width, wall, bend, traits, u[:, 16:])
    crypt, lumen = torch.minimum(crypt, surface - 0.09), torch.minimum(lumen, surface)
    gland, hollow, muscle = cover(crypt), cover(lumen), cover(y - base + 0.35)
    rim = gland - cover(crypt + 0.05)
    wave = (5 * x + 7 * y + 3 * (2.3 * x - 1.7 * y + 6 * fibre).sin() + 6 * fibre).sin()
    streak = (38 * y + 4 * (3 * x + 6 * fibre).sin()).sin()
    lining = 0.24 + 0.12 * _nuclei(x, y, 14, cells + 1) + rim * (0.22 + 0.45 * _nuclei(x, y, 17, cells + 2))
    stroma = 0.09 + 0.03 * wave + (0.5 - 0.3 * muscle) * _nuclei(x, y, 10.4, cells)
    blues = (1 - hollow) * (stroma + gland * (lining - stroma))
    fibres = 0.36 + 0.07 * wave + muscle * (0.22 + 0.1 * streak)
    pinks = (1 - hollow) * (fibres + gland * (0.26 - fibres))

    blues, pinks = (1.05 + 0.7 * blue) * (blues + 0.02), (1.05 + 0.7 * pink) * (pinks + 0.02)
    tint = 0.16 * (hue - 0.5)
    image = torch.stack([  # what each stain takes from red, green and blue light
        (-(of_blue * blues + of_pink * pinks)).exp()
        for of_blue, of_pink in ((0.65 + tint, 0.1 - tint), (0.7, 0.86), (0.29 - tint, 0.4 + tint))
    ], dim=1)
    image = F.avg_pool2d(image, fine // size)
    soft = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    specks = torch.rand(image.shape, dtype=torch.float64, generator=noise) - 0.5
    image = 0.96 * (image + 0.8 * blur[:, None] * (soft - image)) + (0.04 + 0.12 * grain[:, None]) * specks
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _crypts(x, y, base, space, half, wall, bend, traits, own) -> tuple[Tensor, Tensor]:
    """Distances of points (B, H, W) to the nearest crypt and to the nearest lumen, negative inside. Of a row of crypts
    `space` apart, as wide as two `half` and deep down to `base`, only three can be the nearest to a point."""
    flask, boot, saw, coil = traits[:, :, None, None].unbind(dim=1)
    own, nearest = own.unflatten(1, (6, CRYPTS)), (x / space).round().long() + CRYPTS // 2
    crypt = lumen = torch.full_like(x, math.inf)
    for step in (-1, 0, 1):
        number = (nearest + step).clamp(0, CRYPTS - 1)
        chosen = own.gather(2, number.flatten(1)[:, None].expand(-1, 6, -1)).unflatten(2, x.shape[1:])
        place, low, side, long, wide, phase = chosen.unbind(dim=1)
        bottom = base + 0.14 * (low - 0.5)
        height = ((y - bottom) / (0.8 - bottom)).clamp(0, 1)
        aside = x - (number - CRYPTS // 2 + (0.25 + 0.25 * coil) * (place - 0.5)) * space
        aside = aside - (0.02 + 0.1 * coil) * (5 * y + 6.28 * phase + 1.5 * bend).sin()
        broad = half * (0.75 + 0.3 * height + flask * (0.6 + wide) * (1 - height).square())
        tube = (aside.square() + (bottom - y).clamp(min=0).square()).sqrt() - broad
        along = torch.where(side < 0.5, aside, -aside)
        beyond = along - along.clamp(min=0).minimum(space * boot * (0.3 + 0.6 * long))
        thick = half * (0.5 + 0.35 * boot + 0.5 * flask)
        foot = (beyond.square() + (y - bottom - 0.15 * along).square()).sqrt() - thick
        joint = (0.5 + (foot - tube) / 0.1).clamp(0, 1)  # rounds off where the two meet
        edge = foot + (tube - foot) * joint - 0.05 * joint * (1 - joint)
        serrated = ((height - 0.6 * (1 - saw)) / 0.4).clamp(0, 1)
        teeth = (2 * math.pi * ((3.5 + wall) * y + phase) + math.pi / 2 * (aside > 0)).sin().abs() - 0.6
        crypt = torch.minimum(crypt, edge)
        lumen = torch.minimum(lumen, edge + half * (0.55 + 0.2 * wall + 0.45 * serrated * teeth))
    return crypt, lumen


def _nuclei(x: Tensor, y: Tensor, density: float, key: Tensor) -> Tensor:
    """1 in round nuclei, one in most squares of a grid, each somewhere inside its own; 0 outside."""
    i, j = (density * x).floor(), (density * y).floor()
    one = (437.585 * (12.9898 * i + 78.233 * j + 37.7 * key).sin()).remainder(1)
    two, three = (91.7 * one).remainder(1), (57.3 * one).remainder(1)
    across, above = density * x - i - 0.24 - 0.52 * one, density * y - j - 0.24 - 0.52 * two
    return ((0.24 - (across.square() + above.square()).sqrt()) / 0.15 + 0.5).clamp(0, 1) * (three < 0.8)
