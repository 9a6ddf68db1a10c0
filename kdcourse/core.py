"""The few words every other module speaks: a batch, a term of a loss, a seed, a choice by name.

Nothing here knows about networks, data sets or methods.
"""

import difflib
import hashlib
import importlib
import itertools
import operator
import os
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """A batch of images and everything needed to find recorded answers about them again."""

    x: Tensor               # (B, C, H, W) float32 in [0, 1], augmented
    y: Tensor               # (B,) int64
    index: Tensor           # (B,) int64, row in the split
    epoch: int = 0          # with index, the key of everything recorded
    progress: float = 0.0   # (epoch + step / steps) / epochs, in [0, 1): schedules read this, never an epoch count
    origin: str = ""        # split and augmentation by name: a bank refuses a batch that is not its own


class Term(NamedTuple):
    """One summand of a loss. The raw value is kept apart from its weight, so that curves of two methods compare."""

    weight: float
    value: Tensor           # scalar


def total(terms: Mapping[str, Term]) -> Tensor:
    """The loss: the sum of weight times value. A term that is switched off is absent, not weighted 0.

    >>> total({"ce": Term(0.1, torch.tensor(2.0)), "kd": Term(0.9, torch.tensor(1.0))})
    tensor(1.1000)
    """
    if not terms:
        raise ValueError("a loss needs at least one term; the distiller returned none")
    return sum(term.weight * term.value for term in terms.values())


class Choices(dict):
    """A dict literal whose missing key is an error that names the choices.

    >>> Choices("model", {"mlp": 1, "cnn": 2})["mpl"]
    Traceback (most recent call last):
    ValueError: unknown model 'mpl'; choose one of: cnn, mlp (did you mean 'mlp'?)
    """

    def __init__(self, kind: str, choices: Mapping):
        super().__init__(choices)
        self.kind = kind

    def __missing__(self, name):
        close = difflib.get_close_matches(str(name), self, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown {self.kind} {name!r}; choose one of: {', '.join(sorted(self))}{hint}")


def generator(*key: int) -> torch.Generator:
    """A fresh random generator on the CPU that depends on every integer of `key` and on nothing else.

    The same key gives the same draws on every machine; keys that differ in one place give unrelated draws.
    Raises TypeError or ValueError for what is no integer of at least 0.
    """
    key = [check_seed(part) for part in key]
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)  # it pads short keys with zeros
    return torch.Generator().manual_seed(int(state[0]) >> 1)


@torch.library.custom_op("kdcourse::uniform", mutates_args=())
def uniform(shape: Sequence[int], key: Sequence[int]) -> Tensor:
    """Numbers from [0, 1) on the CPU, drawn by `generator(*key)`. One operation to torch, so that what draws can be
    compiled without a break, and traced on a device that is not there."""
    return torch.rand(list(shape), generator=generator(*key))


@uniform.register_fake
def _(shape, key):
    return torch.empty(shape)


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, torch's own generators (the CPU's and that of `device`) start from `seed`; afterwards they are as before.

    For what draws from them and takes no generator: initial weights, dropout. Raises as `generator` does.
    """
    if (seed := check_seed(seed)) >= 2**64:
        raise ValueError(f"torch takes seeds below 2**64; this one is {seed}")
    device = torch.device(device)
    on_cuda = device.type == "cuda" and torch.cuda.is_available()  # a fake tensor may claim a device that is not there
    on_mps = device.type == "mps"  # which has one generator, and fork_rng cannot put it back
    before = torch.mps.get_rng_state() if on_mps else None
    try:
        with torch.random.fork_rng(devices=[device] if on_cuda else []):
            torch.default_generator.manual_seed(seed)
            if on_cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            if on_mps:
                torch.mps.manual_seed(seed)
            yield
    finally:
        if on_mps:
            torch.mps.set_rng_state(before)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Inside, torch computes with so many threads on the CPU; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_seed(seed) -> int:
    """The seed as Python's own integer. Raises TypeError or ValueError unless it is one of at least 0."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise TypeError(
            f"a seed is an integer, seed=0 say, and the same one gives the same numbers again; {seed!r} is none. For "
            "other numbers each time, train once for each seed in range(5)"
        ) from None
    if number < 0:
        raise ValueError(f"a seed is an integer of at least 0; it is {number}")
    return number


def draw_key(batch: Batch) -> tuple[int, int]:
    """The epoch and the place in the training of a batch, as integers: the key of what a distiller draws for it, so
    that its draws do not depend on what anybody else has drawn before."""
    return batch.epoch, round(batch.progress * 2**32)


def fingerprint(*tensors: Tensor) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the tensors' types, shapes and bytes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def check_output(z, network: object) -> Tensor:
    """`z` if it is a tensor of logits (B, K); else TypeError, which says what the network returned instead."""
    if isinstance(z, Tensor) and z.ndim == 2:
        return z
    what = f"a tensor of shape {tuple(z.shape)}" if isinstance(z, Tensor) else f"a {type(z).__name__}"
    raise TypeError(f"{type(network).__name__} returned {what}, not logits (images, classes); see kdcourse.models.wrap")


def asked(network: torch.nn.Module, x: Tensor) -> Tensor:
    """Logits (B, K) of the network about images (B, C, H, W), in float32 whatever precision it is kept in.

    Raises as `answer_of` does, and TypeError when what comes back are no logits.
    """
    return check_output(answer_of(network, x), network).float()


def answer_of(network: torch.nn.Module, x: Tensor):
    """What the network returns about images (B, C, H, W), which are given to it in the precision that it is kept in.

    Raises ValueError, with the shape of the images and what the network is for, when it cannot take them.
    """
    try:
        return network(x.to(dtype_of(network)))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, IndexError) as error:
        if "view size is not compatible" in str(error):  # of how maps lie in memory, not of their shape
            raise
        name, made_for, found = type(network).__name__, getattr(network, "shape", None), tuple(x.shape[1:])
        told = f"is made for images of {made_for} and cannot" if made_for and made_for != found else "cannot"
        raise ValueError(f"{name} {told} take images of {found}, (channels, height, width): "
                         f"{error or type(error).__name__}") from error


def dtype_of(network: torch.nn.Module) -> torch.dtype:
    """The precision that the network is kept in: that of its first weight, else of its first buffer, else float32.
    The integers of quantised layers do not count."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def inside(network: torch.nn.Module) -> torch.nn.Module:
    """The network within wrappers that spread it over devices and change no answer."""
    while isinstance(network, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        network = network.module
    return network


def device_of(network: torch.nn.Module) -> torch.device:
    """Where the network's parameters are; the CPU if it has none."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def quiet() -> bool:
    """Whether nobody is watching, so that no bar is drawn: `KDCOURSE_QUIET` is set, as the tests and the graders do, or
    the output goes neither to a notebook nor to a terminal."""
    if os.environ.get("KDCOURSE_QUIET", "") not in ("", "0"):
        return True
    return "ipykernel" not in sys.modules and not sys.stderr.isatty()


def modules(package: str, form: str) -> tuple[ModuleType, ...]:
    """The modules of a package whose names match a regular expression as a whole, imported, in order of name."""
    names = sorted(found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__))
    return tuple(importlib.import_module(f"{package}.{name}") for name in names if re.fullmatch(form, name))
