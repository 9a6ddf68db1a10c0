"""`Augment`: random crops and flips as one function of whole batches, replayable from (seed, row, epoch)."""

from numbers import Integral

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Augment:
    """Shifts each image by up to `pad` pixels (zeros come in) and mirrors every second one.

    The shift and the flip of an image depend on (`seed`, its row, the epoch) and on nothing else, neither the batch it
    is in nor the machine: what a teacher said about this very view can be recorded. With `views=V` the views repeat
    with period V, so that V recordings serve any number of epochs; without it every epoch has its own.
    """

    def __init__(self, *, pad: int = 4, flip: bool = True, views: int | None = None, seed: int = 0):
        if not _whole(pad) or pad < 0:
            raise ValueError(f"pad is a number of pixels, at least 0, not {pad!r}")
        if not isinstance(flip, bool | np.bool_):
            raise ValueError(f"flip is True or False, whether every second image is mirrored; it is {flip!r}")
        if views is not None and (not _whole(views) or views < 1):
            raise ValueError(f"views must be at least 1, or None for a new view each epoch; it is {views!r}")
        if not _whole(seed):
            raise ValueError(f"seed is an integer; it is {seed!r}")
        self.pad, self.flip, self.views, self.seed = pad, flip, views, seed

    @property
    def name(self) -> str:
        """The settings in words; part of the key under which recordings are kept."""
        views = "endless views" if self.views is None else f"{self.views} views"
        return f"crop {self.pad}{', flip' if self.flip else ''}, {views}, seed {self.seed}"

    def __call__(self, x: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Images (B, C, H, W) of any type, their rows (B,) and the epoch -> the views, of the same shape and type."""
        B, _, H, W = x.shape
        bits = self._bits(index, epoch if self.views is None else epoch % self.views)
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

    def _bits(self, index: Tensor, epoch: int) -> Tensor:
        """Thirty-odd pseudo-random bits per row: an integer hash (xor-shift and multiply, in 31-bit arithmetic)."""
        bits = index.long() + 1_000_003 * (epoch + 1) + 7_919 * (self.seed + 1) * 31_337
        for multiplier in (0x2C1B3C6D, 0x297A2D39, 0x1B56C4E9):
            bits = bits ^ (bits >> 15)
            bits = (bits * multiplier) & 0x7FFFFFFF
        return bits ^ (bits >> 16)


def _whole(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
