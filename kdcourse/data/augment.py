"""`Augment`: random crops, flips and colours as one function of whole batches, replayable from (seed, row, epoch)."""

import sys
from itertools import permutations
from numbers import Integral, Real

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

COLOURS = ("brightness", "contrast", "saturation", "hue")
ORDERS = torch.tensor(list(permutations(range(len(COLOURS)))))
LUMINANCE = (0.2989, 0.587, 0.114)  # of red, green, blue: ITU-R 601-2


class Augment:
    """Shifts each image by up to `pad` pixels (zeros come in) and mirrors every second one.

    `brightness`, `contrast` and `saturation` change its colours first, each by a factor from 1 - b (at least 0) to
    1 + b, and `hue`, up to 0.5, turns them by up to that share of the circle, in an order drawn for each image: what
    torchvision's `ColorJitter` does, in float32 and rounded once, where it rounds after each. Grey images have neither
    saturation nor hue.

    The shift, the flip and the colours of an image depend on (`seed`, its row, the epoch) and on nothing else, neither
    the batch it is in nor the machine: what a teacher said about this very view can be recorded. With `views=V` the
    views repeat with period V, so that V recordings serve any number of epochs; without it every epoch has its own.
    """

    def __init__(self, *, pad: int = 4, flip: bool = True, brightness: float = 0, contrast: float = 0,
                 saturation: float = 0, hue: float = 0, views: int | None = None, seed: int = 0):
        if not _whole(pad) or pad < 0:
            raise ValueError(f"pad is a number of pixels, at least 0, not {pad!r}")
        if not isinstance(flip, bool | np.bool_):
            raise ValueError(f"flip is True or False, whether every second image is mirrored; it is {flip!r}")
        if views is not None and (not _whole(views) or views < 1):
            raise ValueError(f"views must be at least 1, or None for a new view each epoch; it is {views!r}")
        if not _whole(seed):
            raise ValueError(f"seed is an integer; it is {seed!r}")
        if not abs(seed) < 2**32:
            raise ValueError(f"seed is an integer below 2**32; it is {seed}")
        self.colours = tuple(zip(COLOURS, (brightness, contrast, saturation, hue), strict=True))
        for name, value in self.colours:
            most = 0.5 if name == "hue" else sys.float_info.max
            if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value <= most:
                limit = ", at most 0.5" if name == "hue" else " and finite"
                raise ValueError(f"{name} is how far the colours change, at least 0{limit}; it is {value!r}")
        self.pad, self.flip, self.views, self.seed = pad, flip, views, seed

    @property
    def name(self) -> str:
        """The settings in words; part of the key under which recordings are kept."""
        views = "endless views" if self.views is None else f"{self.views} views"
        colours = "".join(f", {name} {value:g}" for name, value in self.colours if value)
        return f"crop {self.pad}{', flip' if self.flip else ''}{colours}, {views}, seed {self.seed}"

    def __call__(self, x: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Images (B, C, H, W) of any type, their rows (B,) and the epoch -> the views, of the same shape and type."""
        B, _, H, W = x.shape
        bits = self._bits(index, epoch if self.views is None else epoch % self.views)
        if any(value for _, value in self.colours):
            x = self._coloured(x, bits)
        shifts = 2 * self.pad + 1
        top, left = (bits % shifts)[:, None], (bits // shifts % shifts)[:, None]
        rows = top + torch.arange(H, device=x.device)
        columns = left + torch.arange(W, device=x.device)
        if self.flip:
            mirrored = (bits // shifts**2 % 2 == 1)[:, None]
            columns = torch.where(mirrored, columns.flip(1), columns)
        padded = F.pad(x, (self.pad,) * 4)
        image = torch.arange(B, device=x.device)
        views = padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]
        return views.permute(0, 3, 1, 2)

    def jitter(self, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """What is done to the colours of these rows (B,): the order of `COLOURS` by number (B, 4), and the factor or
        the turn of each (B, 4)."""
        return self._jitter(self._bits(index, epoch if self.views is None else epoch % self.views))

    def _jitter(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        draws = [_mixed(bits + 1_013_904_223 * (k + 1)) for k in range(len(COLOURS) + 1)]
        share = torch.stack([(draw >> 7).float() / 2**24 for draw in draws[1:]], dim=1)  # each of them exact
        low = torch.tensor([-value if name == "hue" else max(0, 1 - value) for name, value in self.colours])
        high = torch.tensor([value if name == "hue" else 1 + value for name, value in self.colours])
        order = ORDERS.to(bits.device)[draws[0] % len(ORDERS)]
        return order, low.to(share) + (high - low).to(share) * share

    def _coloured(self, x: Tensor, bits: Tensor) -> Tensor:
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise TypeError(f"colours are changed of bytes or of floats in [0, 1], not of {x.dtype}")
        order, amounts = self._jitter(bits)
        views = x.float() / 255 if x.dtype == torch.uint8 else x.float().clone()
        for place in range(len(COLOURS)):
            for number, (name, value) in enumerate(self.colours):
                rows = (order[:, place] == number).nonzero()[:, 0]
                if value and len(rows):
                    views[rows] = CHANGES[name](views[rows], amounts[rows, number, None, None, None])
        return (255 * views).round().byte() if x.dtype == torch.uint8 else views.to(x.dtype)

    def _bits(self, index: Tensor, epoch: int) -> Tensor:
        """Thirty-odd pseudo-random bits per row."""
        return _mixed(index.long() + 1_000_003 * (epoch + 1) + 7_919 * (self.seed + 1) * 31_337)


def _mixed(bits: Tensor) -> Tensor:
    """An integer hash: xor-shift and multiply, in 31-bit arithmetic."""
    for multiplier in (0x2C1B3C6D, 0x297A2D39, 0x1B56C4E9):
        bits = bits ^ (bits >> 15)
        bits = (bits * multiplier) & 0x7FFFFFFF
    return bits ^ (bits >> 16)


def grey(x: Tensor) -> Tensor:
    """How light each pixel is: (B, C, H, W) -> (B, 1, H, W)."""
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1, keepdim=True)


def _between(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """`other` at factor 0, the images in [0, 1] at 1, and on beyond them."""
    return (factor * x + (1 - factor) * other).clamp(0, 1)


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Colours (B, 3, H, W) with their hue turned by a share of the circle. A channel of a colour of hue h (0 red, 1/3
    green, 2/3 blue), saturation s and value v is v - v s max(0, min(k, 4 - k, 1)), where k = (n + 6 h) mod 6 and n is
    5, 3, 1 for red, green, blue (A. R. Smith 1978)."""
    if x.shape[1] == 1:
        return x
    value, chroma = x.amax(dim=1, keepdim=True), x.amax(dim=1, keepdim=True) - x.amin(dim=1, keepdim=True)
    apart = (x - x.roll(-1, 1)) / chroma.where(chroma > 0, 1)  # red - green, green - blue, blue - red
    largest = x.argmax(dim=1, keepdim=True)
    sixth = (2 * largest + apart.gather(1, (largest + 1) % 3)) + 6 * turn
    k = (x.new_tensor([5, 3, 1])[:, None, None] + sixth) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


CHANGES = {
    "brightness": lambda x, factor: (factor * x).clamp(0, 1),
    "contrast": lambda x, factor: _between(x, grey(x).mean(dim=(2, 3), keepdim=True), factor),
    "saturation": lambda x, factor: _between(x, grey(x), factor),
    "hue": _turned,
}


def _whole(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
