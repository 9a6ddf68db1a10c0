"""What every part of shipping shares: a network that takes bytes, and a file that runs without torch."""

import copy
import importlib
import os
from collections.abc import Callable
from numbers import Integral
from pathlib import Path

import torch
from torch import Tensor, nn

from kdcourse.files import DataError


class FromBytes(nn.Module):
    """A copy of a network that takes images as a camera gives them: (N, C, H, W) uint8 to logits (N, K) float32.

    Its first step divides by 255; what the network itself does to its images (`Normalise`, `Resize`) follows. The copy
    is in eval mode, in float32 and on the CPU, and the network stays as it is.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.float() / 255)


def needed(*packages: str) -> list:
    """These packages, imported. Raises DataError, with the command that installs it, when one is missing."""
    try:
        return [importlib.import_module(name) for name in packages]
    except ModuleNotFoundError as error:
        raise DataError(f"shipping a network needs the package {error.name}; run: pip install 'kdcourse[ship]'"
                        ) from error


def lacking() -> str:
    """What to install before a network can be exported and run without torch, in one line; empty if all is there."""
    try:
        needed("onnx", "onnxscript", "onnxruntime")
    except DataError as error:
        return str(error)
    return ""


def session(path: Path | str, *, threads: int = 1) -> Callable[[Tensor], Tensor]:
    """The network of an ONNX file as a function, run by ONNX Runtime on the CPU with so many threads: images
    (N, C, H, W) uint8 to logits (N, K) float32.

    ONNX Runtime has threads of its own, which `torch.set_num_threads` does not touch: compare with equal numbers.
    Raises ValueError for fewer than one thread and for a file that it cannot run, and OSError when there is none. The
    function raises ValueError for images of another kind of numbers or of another size than the file is for.
    """
    if isinstance(threads, bool) or not isinstance(threads, Integral) or threads < 1:
        raise ValueError(f"threads is how many are used, 1 or more; it is {threads!r}")
    [runtime] = needed("onnxruntime")
    content = Path(path).read_bytes()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = int(threads), 1
    options.log_severity_level = 3  # errors
    try:
        opened = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for every reason
        raise ValueError(f"{os.path.basename(path)} cannot be run by ONNX Runtime: {str(error).splitlines()[0]}"
                         ) from error
    [taken] = opened.get_inputs()

    def run(images: Tensor) -> Tensor:
        images = torch.as_tensor(images)
        _check_taken(images, taken)
        return torch.from_numpy(opened.run(None, {taken.name: images.numpy()})[0])

    return run


def _check_taken(images: Tensor, given) -> None:
    """`given` describes what the file takes; what is no number in its shape, as N, may be any number."""
    if given.type != "tensor(uint8)":
        raise ValueError(f"the file takes {given.type}, and not images as bytes: it was written elsewhere. What "
                         "ship.export writes takes bytes and divides by 255 itself")
    taken = given.shape
    same = images.ndim == len(taken) and all(size == known for size, known in zip(images.shape, taken, strict=True)
                                             if isinstance(known, int))
    if same and images.dtype == torch.uint8:
        return
    instead = ". The file divides by 255 itself" if images.is_floating_point() else ""
    if images.ndim == len(taken) - 1:
        instead = ". One image is given as images[None]"
    raise ValueError(f"the file takes bytes from 0 to 255, (N, {', '.join(map(str, taken[1:]))}) uint8; these are "
                     f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}{instead}")


def predict(path: Path | str, split, *, batch_size: int = 500, threads: int = 1) -> Tensor:
    """Logits (N, K) of the network of an ONNX file about every image of a split, in its order: what `metrics.predict`
    is for a network of torch. Raises as `session` does."""
    run = session(path, threads=threads)
    return torch.cat([run(images.contiguous()) for images in split.x.split(batch_size)])
