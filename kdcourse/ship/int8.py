"""Numbers in eight bits and fewer: a scale and a zero point, one layer by hand, a shipped network quantised after
training, and a network that learns while its weights are rounded.

A stored whole number q stands for the real number scale * (q - zero). Jacob et al. 2018, arXiv:1712.05877, equation 1;
Krishnamoorthi 2018, arXiv:1806.08342, sections 2 and 3. Rounding is to the nearest, halves to the even number, as
QuantizeLinear of ONNX does. The functions work for other numbers of bits, too.
"""

import contextlib
import logging
import tempfile
from copy import deepcopy
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kdcourse import files
from kdcourse.ship.base import needed, session

MOST_BITS = 16


class Grid(NamedTuple):
    """The real numbers that can be stored: scale * (q - zero) for every whole q from `lowest` to `highest`."""

    scale: Tensor   # float32, one number, or shaped so that it has one for each channel
    zero: Tensor    # int64, of the same shape: the q that stands for 0
    lowest: int
    highest: int


def affine(low: float, high: float, *, bits: int = 8) -> Grid:
    """The grid of unsigned numbers for values from `low` to `high`, widened to hold 0, which is on the grid exactly, so
    that padding and ReLU make no error. For activations.

    >>> grid = affine(-1.0, 3.0)
    >>> grid.scale.item(), grid.zero.item(), grid.highest
    (0.01568627543747425, 64, 255)
    """
    highest = 2 ** _checked(bits) - 1
    if low > high:
        raise ValueError(f"values lie between low and high; low = {float(low):g} is above high = {float(high):g}")
    low, high = (torch.tensor(float(value)) for value in (min(low, 0), max(high, 0)))
    if not (high - low).isfinite():
        raise ValueError(f"values lie between two finite numbers; these are {low.item()} and {high.item()}")
    scale = (high - low) / highest
    scale = torch.where(scale > 0, scale, 1.0)
    return Grid(scale, (-low / scale).round().long().clamp(0, highest), 0, highest)


def symmetric(w: Tensor, *, bits: int = 8, axis: int | None = None, narrow: bool = False) -> Grid:
    """The grid of signed numbers with zero point 0 for `w`, whose largest size gets the highest number, 127 of 8 bits.
    For weights: with `axis=0` each output channel of a layer has a scale of its own, else all share one. `narrow` grids
    end at half of that, 64 of 8 bits: see `quantised`.

    >>> symmetric(torch.tensor([[1.0, -2.0], [0.5, 0.1]]), axis=0).scale.flatten() * 127
    tensor([2.0000, 0.5000])
    """
    highest = 2 ** (_checked(bits) - 2) if narrow else 2 ** (_checked(bits) - 1) - 1
    if not w.isfinite().all():
        raise ValueError("some of the weights are not finite: the network has diverged")
    others = [k for k in range(w.ndim) if axis is None or k != axis % w.ndim]
    scale = w.detach().float().abs().amax(dim=others, keepdim=axis is not None) / highest
    scale = torch.where(scale > 0, scale, 1.0)
    return Grid(scale, torch.zeros_like(scale, dtype=torch.long), -highest, highest)


def quantise(x: Tensor, grid: Grid) -> Tensor:
    """The whole numbers (int64) that stand for `x`: what lies beyond the grid gets its end. Raises ValueError for NaN
    and infinity, which no number stands for."""
    if not x.isfinite().all():
        raise ValueError("some of the values are not finite, and no whole number stands for those")
    return ((x / grid.scale).round().long() + grid.zero).clamp(grid.lowest, grid.highest)


def dequantise(q: Tensor, grid: Grid) -> Tensor:
    """The real numbers that whole numbers, of any type, stand for."""
    return (q.long() - grid.zero) * grid.scale  # in bytes the difference would be taken modulo 256


def whole_layer(q: Tensor, layer: nn.Linear | nn.Conv2d, x: Grid, w: Grid, y: Grid) -> Tensor:
    """What a layer gives in whole numbers: q (N, ...) on the grid `x`, in; numbers on the grid `y`, out.

    Products of whole numbers are added exactly, as int32 does; the bias is stored in steps of the product of both
    scales; one multiplication at the end brings the sum to the grid `y`. Raises TypeError for another kind of layer.
    """
    if type(layer) not in (nn.Linear, nn.Conv2d):
        raise TypeError(f"a layer is an nn.Linear or an nn.Conv2d here, not a {type(layer).__name__}")
    ones = (1,) * (layer.weight.ndim - 2)
    step = (x.scale * w.scale).reshape(-1).double()
    channels = len(layer.weight)
    step = step.expand(channels)
    weight, centred = quantise(layer.weight.detach(), w).double(), (q.long() - x.zero).double()  # exact up to 2**53
    bias = torch.zeros(channels) if layer.bias is None else layer.bias.detach()
    bias = (bias.double() / step).round()
    if isinstance(layer, nn.Linear):
        total = F.linear(centred, weight, bias)
    else:
        if layer.padding_mode != "zeros":
            raise ValueError(f"padding is with zeros here, not {layer.padding_mode!r}")
        total = F.conv2d(centred, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    return ((total * step.reshape(-1, *ones) / y.scale).round().long() + y.zero).clamp(y.lowest, y.highest)


def straight_through(w: Tensor, grid: Grid) -> Tensor:
    """`w` rounded to the grid, with the gradient of `w` itself: rounding has a derivative of 0 nearly everywhere, with
    which nothing would learn, so that the backward pass leaves it out. Bengio et al. 2013, arXiv:1308.3432, section 4.

    >>> w = torch.tensor([0.4, 0.6], requires_grad=True)
    >>> rounded = straight_through(w, Grid(torch.tensor(1.0), torch.tensor(0), -1, 1))
    >>> rounded.sum().backward()
    >>> rounded.tolist(), w.grad.tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    return w + (dequantise(quantise(w, grid), grid) - w).detach()


class Rounded(nn.Module):
    """Weights as they are computed with: rounded to `bits`, each output channel on the `symmetric` grid that it has at
    this moment, in whose ends no weight is cut off."""

    def __init__(self, bits: int):
        super().__init__()
        self.bits = _checked(bits)

    def forward(self, w: Tensor) -> Tensor:
        return straight_through(w, symmetric(w, bits=self.bits, axis=0))


def low_bits(network: nn.Module, bits: int) -> nn.Module:
    """A copy of `network` in which every linear layer and every convolution, and the projections of attention, compute
    with weights `Rounded` to so many bits, and learn through the rounding: the optimiser moves weights in float32,
    which are kept beside.

    Any distiller trains it, `Supervised` or `KD`: with a teacher it is the quantised distillation of Polino et al.
    2018, arXiv:1802.05668, algorithm 1. Weights alone are rounded, as there; biases, batch normalisation and what is
    between the layers stay in float32. The paper shares a scale among a bucket of weights, here an output channel has
    its own. `settled` makes a plain network of it. Without training it is what rounding afterwards gives.

    Raises ValueError for bits that are not from 2 to 16, and for a network without such layers. Introduced in notebook
    10.
    """
    copied, rounded = deepcopy(network), Rounded(bits)
    weights = [(layer, name) for layer in copied.modules() for name in _weights(layer)]
    if not weights:
        raise ValueError(f"a {type(network).__name__} has no linear layer and no convolution whose weights to round")
    for layer, name in weights:
        if parametrize.is_parametrized(layer, name):
            raise ValueError("the weights of this network are rounded already: settled(network) makes a plain one")
        parametrize.register_parametrization(layer, name, deepcopy(rounded))
    return copied


def _weights(layer: nn.Module) -> list[str]:
    """The names of the weights of a layer that are rounded. Attention has those that make queries, keys and values in
    one tensor, or in three; what it gives out is made by a linear layer of its own."""
    if isinstance(layer, nn.MultiheadAttention):
        named = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        return [name for name in named if getattr(layer, name) is not None]
    return ["weight"] if isinstance(layer, nn.Linear | nn.Conv2d) else []


def settled(network: nn.Module) -> nn.Module:
    """What `low_bits` made and training moved, as a plain network in eval mode, whose weights are the rounded ones:
    it gives the same logits, and can be saved and exported."""
    copied = deepcopy(network)
    for layer in copied.modules():
        if names := [name for name in _weights(layer) if parametrize.is_parametrized(layer, name)]:
            rounded = {name: getattr(layer, name).detach().clone() for name in names}
            layer.__class__ = parametrize.type_before_parametrizations(layer)  # torch's own way back changes a class
            del layer.parametrizations                                         # that every copy of the layer shares
            for name, weight in rounded.items():
                setattr(layer, name, nn.Parameter(weight))
    return copied.eval()


def quantised(path: Path | str, target: Path | str, images: Tensor, *, per_channel: bool = True,
              signed: bool = False, narrow: bool = True, batch_size: int = 100) -> Path:
    """Write the network of an ONNX file with weights and activations of 8 bits to `target`, and return it: static
    quantisation after training by ONNX Runtime, in the form QDQ.

    `images` (N, C, H, W) uint8 calibrate: the network is run on them, and each activation gets the grid from its
    smallest to its largest value. They are training images, some hundred, since test images judge the result.
    `per_channel` gives every output channel of the weights a scale of its own.

    Traps, each measured somewhere:
    - `signed` activations (S8S8) instead of unsigned ones (U8S8): three times as slow on one x86 machine, slower than
      float32 even, and as quick on another. ONNX Runtime's documentation has S8S8 as the default in the form QDQ, and
      warns of it in the other form, QOperator. Time both where it is to run
    - a processor without VNNI adds two products of U8S8 in 16 bits, and what does not fit is cut off: other logits, and
      no message. `narrow` weights, to 64 (ONNX Runtime's `reduce_range`), fit; without them fashion_resnet fell from
      93.6 to 89.7 % on one such (AVX2), n = 2,000 test images. `whole_layer` adds exactly
    - "quantised" without a runtime that has whole-number kernels computes in float32, with more steps: slower
    - batch normalisation must be folded into its convolution first: done here
    - one scale for all channels of a layer loses those with small weights
    """
    images = torch.as_tensor(images)
    if images.ndim != 4 or images.dtype != torch.uint8 or not len(images):
        raise ValueError(f"images to calibrate with are (N, C, H, W) uint8, training images of the source; these are "
                         f"{tuple(images.shape)} {images.dtype}")
    [quantization] = needed("onnxruntime.quantization")
    needed("onnx")
    session(path)(images[:1])  # which says what is wrong with a file or with the size of the images
    kind = quantization.QuantType
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        ready, made = Path(scratch) / "ready.onnx", Path(scratch) / "made.onnx"
        quantization.shape_inference.quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready), str(made), _Reader(images, batch_size), quant_format=quantization.QuantFormat.QDQ,
            per_channel=per_channel, reduce_range=narrow, weight_type=kind.QInt8,
            activation_type=kind.QInt8 if signed else kind.QUInt8)
        files.write(Path(target), made.read_bytes())
    return Path(target)


class _Reader:
    """Gives ONNX Runtime the images, batch by batch."""

    def __init__(self, images: Tensor, batch_size: int):
        self.batches = iter(images.split(batch_size))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch.numpy()}


@contextlib.contextmanager
def _quiet():
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _checked(bits: int) -> int:
    if isinstance(bits, bool) or not isinstance(bits, Integral) or not 2 <= bits <= MOST_BITS:
        raise ValueError(f"bits is a whole number from 2 to {MOST_BITS}; it is {bits!r}")
    return bits
