"""Asks a network about every image of a split: in batches that fit the memory, and on a GPU that is made for it in half
precision. `metrics.predict` and the recordings of `teachers` share it; nothing here trains.
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from kdcourse import profiles
from kdcourse.core import Batch, device_of, dtype_of

MOST = 500           # images at once, however small the network: more are not faster
FEW = 4              # images by which the memory of a batch is measured
ON_A_CPU = 2**29     # bytes that a batch may take there; on a GPU it is half of what is free
_MEASURED: WeakKeyDictionary[nn.Module, dict] = WeakKeyDictionary()    # bytes for an image, by its shape and the device


@torch.no_grad()
def answers(network: nn.Module, split, ask: Callable[[Batch], list[Tensor]], *, epoch: int = 0, augment=None,
            batch_size: int | None = None) -> list[Tensor]:
    """What `ask(batch)`, a list of tensors (B, ...), says about every image of `split` in its order: tensors (N, ...).

    `network` is what `ask` asks; it must be in eval mode, and the images lie on its device. Without `batch_size` there
    are as many images at once as fit, at most 500; a batch that does not fit after all is asked about in halves.
    Numbers that are not finite in half precision are asked for again in float32.
    """
    device = device_of(network)
    size = batch_size or at_once(network, split.x[:FEW], device)
    parts = []
    for batch in split.batches(size, epoch=epoch, augment=augment):
        parts += in_pieces(lambda batch: _finite(ask, batch, device), batch)
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def at_once(network: nn.Module, x: Tensor, device: torch.device) -> int:
    """How many images fit the memory: 1 to 500, by what a forward pass about these few bytes (n, C, H, W) takes."""
    kept, key = _MEASURED.setdefault(network, {}), (tuple(x.shape[1:]), str(device))
    if key not in kept:
        kept[key] = _bytes_for_an_image(network, x.to(device).float() / 255)
    budget = torch.cuda.mem_get_info(device)[0] // 2 if _on_a_gpu(device) else ON_A_CPU
    return max(1, min(MOST, budget // max(1, kept[key])))


def in_pieces(ask: Callable[[Batch], list[Tensor]], batch: Batch) -> list[list[Tensor]]:
    """`[ask(batch)]`, or the same of its halves, and so on, where the memory is too small for more at once. Raises
    torch.OutOfMemoryError where it is too small for one image."""
    try:
        return [ask(batch)]
    except torch.OutOfMemoryError:
        if len(batch.y) < 2:
            raise
    half = len(batch.y) // 2
    halves = (batch._replace(x=batch.x[rows], y=batch.y[rows], index=batch.index[rows])
              for rows in (slice(half), slice(half, None)))
    return [answer for piece in halves for answer in in_pieces(ask, piece)]


def _finite(ask: Callable, batch: Batch, device: torch.device) -> list[Tensor]:
    with profiles.answering(device):
        found = ask(batch)
    if profiles.precision(device) != "float32" and not all(answer.isfinite().all() for answer in found):
        return ask(batch)
    return found


def _bytes_for_an_image(network: nn.Module, x: Tensor) -> int:
    """On a GPU what a forward pass allocates; elsewhere three times the largest output of a layer, which is what input,
    output and a shortcut take together. 0 where nothing can be told: the network fails at these images, say."""
    if _on_a_gpu(x.device):
        torch.cuda.reset_peak_memory_stats(x.device)
        before = torch.cuda.memory_allocated(x.device)
    sizes = [x.nbytes]
    hooks = [layer.register_forward_hook(lambda layer, given, z: sizes.append(z.nbytes) if isinstance(z, Tensor) else 0)
             for layer in network.modules() if not isinstance(layer, torch.jit.ScriptModule)]
    try:
        with profiles.answering(x.device):
            network(x.to(dtype_of(network)))
    except Exception:  # whatever it is, it is said where the network is asked in earnest
        return 0
    finally:
        for hook in hooks:
            hook.remove()
    if _on_a_gpu(x.device):
        return (torch.cuda.max_memory_allocated(x.device) - before) // len(x)
    return 3 * max(sizes) // len(x)


def _on_a_gpu(device: torch.device) -> bool:
    """Whether it is one whose memory torch can tell."""
    return device.type == "cuda" and torch.cuda.is_available()
