"""What a network costs to keep and to run: parameters, multiply-adds, and the time it takes on this machine.

Memory traffic and energy are left out; notebook 01 shows why the three numbers here already disagree.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from numbers import Integral

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdcourse import core
from kdcourse.core import answer_of, device_of, dtype_of


def parameters(network: nn.Module) -> int:
    """The number of weights and biases."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def multiply_adds(network: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiplications, each with its addition, for one image of `shape` (C, H, W): convolutions, matrix products and
    attention, counted by torch. Biases, activations and pooling are not counted. Twice this number is the "FLOPs" of
    many papers; others call this number itself so. Puts the network in eval mode and leaves it there.
    """
    from torch.utils.flop_counter import FlopCounterMode  # slow to import: it looks for triton

    fast = torch.backends.mha.get_fastpath_enabled()  # which the counter does not see
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            answer_of(network.eval(), _images(network, shape, 1))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2


@torch.no_grad()
def latency(network: nn.Module, shape: tuple[int, int, int], *, batch_size: int = 1, repeats: int = 30) -> float:
    """Median seconds of a forward pass of one batch, warmed up, on the network's device, in its precision and with
    torch's threads."""
    x = _images(network, shape, batch_size)
    answer_of(network.eval(), x)
    seconds = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        network(x)
        if x.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])


@torch.inference_mode()
def latencies(runs: Mapping[str, Callable[[torch.Tensor], object]], x: torch.Tensor, *, n: int = 50, warm_up: int = 5,
              threads: int = 1) -> list[dict]:
    """How long each of several functions takes for the same batch `x`, in turn, A B A B, so that whatever else the
    machine does meets all of them: a row for each with its "name", the seconds "p10", "median" and "p90", the "ratio"
    to the first one (the median over the n turns of the quotient within a turn), and "n", "batch" and "threads".

    Each is called `warm_up` times before. torch gets so many threads and has its own again afterwards; another runtime
    is told when it is opened (`ship.session(path, threads=...)`). What is timed is the call, so preprocessing counts if
    it is in the function. Put networks in eval mode. Compare ratios: seconds belong to a machine and its load.
    Raises ValueError without a function and for counts that are too small.
    """
    counts = {"n": (n, 2), "warm_up": (warm_up, 0), "threads": (threads, 1)}
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} is a whole number of at least {least}; it is {value!r}")
    if not runs:
        raise ValueError("latencies needs a function to time, {'torch': network}; there is none")
    seconds = {name: [] for name in runs}
    with core.threads(int(threads)):
        for turn in range(warm_up + n):
            for name, run in runs.items():
                spent = _spent(run, x)
                if turn >= warm_up:
                    seconds[name].append(spent)
    first = next(iter(seconds.values()))
    ratios = {name: [a / b for a, b in zip(found, first, strict=True)] for name, found in seconds.items()}
    return [{"name": name, **_spread(found), "ratio": statistics.median(ratios[name]), "n": n,
             "batch": len(x), "threads": threads} for name, found in seconds.items()]


def _spent(run: Callable[[torch.Tensor], object], x: torch.Tensor) -> float:
    start = time.perf_counter()
    run(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _spread(seconds: list[float]) -> dict[str, float]:
    tenths = statistics.quantiles(seconds, n=10, method="inclusive")
    return {"p10": tenths[0], "median": statistics.median(seconds), "p90": tenths[-1]}


def _images(network: nn.Module, shape: tuple[int, int, int], n: int) -> torch.Tensor:
    return torch.zeros(n, *shape, device=device_of(network), dtype=dtype_of(network))
