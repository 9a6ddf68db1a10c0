"""Transfer sets for a student who may not see the data: noise, Gaussian pixels, and crops of photographs.

Each is a split of bytes whose labels are all 0, since nobody gave any: train on it with a method that reads none,
`KD(student, teacher, alpha=1)` and `source.with_train(split)`. How often the teacher answers which class,
`metrics.predict(teacher, split).argmax(dim=1).bincount()`, tells beforehand whether it can be learned from.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.core import generator
from kdcourse.data.base import Split

LARGEST = 4   # a crop is up to so many times as high and wide as the image that is made of it
CHUNK = 500   # crops that are cut at once


def noise(shape: tuple[int, int, int], n: int, *, seed: int = 0) -> Split:
    """n images (C, H, W) whose pixels are drawn evenly from [0, 1]. Raises ValueError for less than one image."""
    return _split("noise", torch.rand(_size(shape, n), generator=generator(seed, n)))


def gaussian(shape: tuple[int, int, int], n: int, *, mean: float, std: float, seed: int = 0) -> Split:
    """n images (C, H, W) whose pixels are each drawn from a normal distribution of this mean and deviation, in units of
    [0, 1], and cut off there. Raises ValueError for less than one image, a mean outside [0, 1] or std below 0."""
    if not 0 <= mean <= 1 or not 0 <= std < float("inf"):
        raise ValueError(f"mean and std are those of pixels in [0, 1]; they are {mean} and {std}")
    drawn = torch.randn(_size(shape, n), generator=generator(seed, n))
    return _split("gaussian", (mean + std * drawn).clamp(0, 1))


def crops(shape: tuple[int, int, int], n: int, *, ink: float | None = None, seed: int = 0) -> Split:
    """n crops (C, H, W) of the two photographs that come with scikit-learn, a palace and a flower: each from a random
    place, one to four times as high and wide as the image that it is averaged down to, and every second one mirrored.
    One channel is grey.

    `ink`, a share of the pixels, makes strokes on black of them: of each crop, every second one with its brightness
    turned over, that share of brightest pixels stays, stretched up to 1, and the rest is 0. Of a digit about a fifth is
    ink.

    The photographs are by danielbuechele and vultilion, CC BY 2.0 (`sklearn.datasets.load_sample_images`).
    Raises ValueError for less than one image, an `ink` outside (0, 1], channels that are neither one nor three, or
    images that are larger than the photographs.
    """
    (_, channels, H, W), draws = _size(shape, n), generator(seed, n)
    if ink is not None and not 0 < ink <= 1:
        raise ValueError(f"ink is the share of the pixels that stay, in (0, 1]; it is {ink}")
    photographs = _photographs(channels)
    most = min(LARGEST, photographs.shape[2] // H, photographs.shape[3] // W)
    if most < 1:
        raise ValueError(f"the photographs are {tuple(photographs.shape[2:])}; there are no crops of {H}x{W} in them")
    which, factor = torch.randint(len(photographs), (n,), generator=draws), torch.randint(most, (n,), generator=draws)
    place = torch.rand(n, 2, generator=draws)
    mirrored, turned = torch.rand(2, n, generator=draws) < 0.5
    x = torch.empty(n, channels, H, W)
    for times in range(1, most + 1):
        for rows in (factor == times - 1).nonzero()[:, 0].split(CHUNK):
            x[rows] = _cut(photographs, which[rows], place[rows], (H, W), times)
    x[mirrored] = x[mirrored].flip(3)
    return _split("crops", x if ink is None else _strokes(x, turned, ink))


def _photographs(channels: int) -> Tensor:
    """Both in [0, 1], (2, C, H, W)."""
    from sklearn.datasets import load_sample_images  # slow to import, and nothing else here needs it

    if channels not in (1, 3):
        raise ValueError(f"photographs have one channel, grey, or three; not {channels}")
    x = torch.stack([torch.from_numpy(image.copy()) for image in load_sample_images().images]).permute(0, 3, 1, 2) / 255
    return _grey(x) if channels == 1 else x


def _grey(x: Tensor) -> Tensor:
    """Red, green and blue (N, 3, H, W) as one channel (N, 1, H, W): ITU-R 601-2."""
    return (x * torch.tensor([0.2989, 0.587, 0.114]).reshape(3, 1, 1)).sum(dim=1, keepdim=True)


def _cut(photographs: Tensor, which: Tensor, place: Tensor, size: tuple[int, int], times: int) -> Tensor:
    """Crops that are `times` as high and wide as `size`, averaged down to it, at a `place` (n, 2) in [0, 1)."""
    sides, room = [times * side for side in size], photographs.shape[2:]
    corners = [(place[:, k] * (room[k] - sides[k] + 1)).long() for k in range(2)]
    rows, columns = (corner[:, None] + torch.arange(side) for corner, side in zip(corners, sides, strict=True))
    cut = photographs.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return F.avg_pool2d(cut.permute(0, 3, 1, 2), times)


def _strokes(x: Tensor, turned: Tensor, ink: float) -> Tensor:
    shape = x.shape
    x = torch.where(turned[:, None, None, None], 1 - x, x).flatten(1)
    darkest = x.quantile(1 - ink, dim=1, keepdim=True)
    above = (x - darkest).clamp_min(0)
    return (above / above.amax(dim=1, keepdim=True).clamp_min(1e-6)).reshape(shape)


def _size(shape: tuple[int, int, int], n: int) -> tuple[int, ...]:
    if len(shape) != 3 or n < 1:
        raise ValueError(f"a transfer set has at least one image (C, H, W); asked were {n} of {tuple(shape)}")
    return (n, *shape)


def _split(name: str, x: Tensor) -> Split:
    return Split(name, (255 * x).round().byte(), torch.zeros(len(x), dtype=torch.int64))
