"""Where the course runs: `quick` on any laptop, offline, in seconds; `full` on the real data, on a GPU if there is one.

The profile is read from the environment variable `KDCOURSE_PROFILE`. A notebook asks once, in its setup cell.
"""

import os
from types import SimpleNamespace

import torch

from kdcourse import compiler

PROFILES = ("quick", "full")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def current() -> str:
    """The profile by name: `quick` unless `KDCOURSE_PROFILE` says otherwise."""
    name = os.environ.get("KDCOURSE_PROFILE") or "quick"
    if name not in PROFILES:
        raise ValueError(f"KDCOURSE_PROFILE is {name!r}; choose one of: {', '.join(PROFILES)}")
    return name


def device() -> torch.device:
    """Where networks are trained: `KDCOURSE_DEVICE` if set, else in the full profile the GPU, of NVIDIA or AMD ("cuda")
    or of Apple ("mps"), if there is one, else the CPU."""
    chosen = os.environ.get("KDCOURSE_DEVICE")
    if not chosen:
        there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
        gpus = [name for name, available in there.items() if current() == "full" and available()]
        return torch.device(gpus[0] if gpus else "cpu")
    try:
        torch.zeros(1, device=chosen)
    except Exception as error:  # torch raises RuntimeError, AssertionError or NotImplementedError, by backend
        raise ValueError(f"KDCOURSE_DEVICE is {chosen!r}, which torch cannot use here: {error}") from error
    return torch.device(chosen)


def precision(where: torch.device | None = None) -> str:
    """The arithmetic of networks while they train `where`, on `device()` if nothing is said: `KDCOURSE_PRECISION` if
    set, else "bfloat16" on a "cuda" GPU made for it, else "float32". Losses are computed in float32 either way, and
    results on a CPU do not depend on its model."""
    chosen = os.environ.get("KDCOURSE_PRECISION")
    if not chosen:
        on_cuda = (where or device()).type == "cuda" and torch.cuda.is_available()
        return "bfloat16" if on_cuda and torch.cuda.is_bf16_supported() else "float32"
    if chosen not in PRECISIONS:
        raise ValueError(f"KDCOURSE_PRECISION is {chosen!r}; choose one of: {', '.join(PRECISIONS)}")
    return chosen


def autocast(device: torch.device) -> torch.autocast:
    """The context in which `fit` runs a network forward on `device`."""
    chosen = precision(device)
    return torch.autocast(device.type, PRECISIONS[chosen], enabled=chosen != "float32")


def answering(device: torch.device) -> torch.autocast:
    """The context in which a network that does not train is asked on `device`: float32 where `fit` trains in it, else
    on a "cuda" GPU float16, whose 11 binary digits keep logits apart that bfloat16, with 8, makes equal."""
    kind = torch.float16 if device.type == "cuda" else PRECISIONS[precision(device)]
    return torch.autocast(device.type, kind, enabled=precision(device) != "float32")


def fast_bfloat16() -> bool:
    """Whether the device has instructions for bfloat16, as far as torch can tell."""
    if device().type != "cpu":
        return device().type == "cuda" and torch.cuda.is_bf16_supported()
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in names if hasattr(torch.cpu, name))


def start(*, quick: dict, full: dict) -> SimpleNamespace:
    """The settings of the current profile; prints both side by side, the chosen one marked.

    In `quick` torch is held to one thread: the networks are so small that a second one costs more than it brings,
    and the number of threads changes the last digits of a sum.
    """
    if quick.keys() != full.keys():
        raise ValueError(f"both profiles need the same settings; only one has {sorted(quick.keys() ^ full.keys())}")
    compiler.on_demand()
    chosen = current()
    if chosen == "quick":
        torch.set_num_threads(1)
    heads = [f"{name} (this run)" if name == chosen else name for name in PROFILES]
    rows = [("setting", *heads), *((key, str(quick[key]), str(full[key])) for key in quick)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return SimpleNamespace(**{"quick": quick, "full": full}[chosen])
