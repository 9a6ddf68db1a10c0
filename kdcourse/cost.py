"""What a network costs to keep and to run: parameters, multiply-adds, and the time it takes on this machine.

Memory traffic and energy are left out; notebook 01 shows why the three numbers here already disagree.
"""

import statistics
import time

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

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


def _images(network: nn.Module, shape: tuple[int, int, int], n: int) -> torch.Tensor:
    return torch.zeros(n, *shape, device=device_of(network), dtype=dtype_of(network))
