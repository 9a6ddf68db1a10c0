"""From torch to ONNX: the graph of a network with its preprocessing inside.

What is used is `torch.onnx.export(dynamo=True)`, which captures the network by `torch.export`; the older one, which
traces one run, is deprecated (torch 2.14 says so). What `torch.export` cannot capture does not export: a way through
the network that depends on values (an early exit that leaves when it is sure: export each part, and decide outside),
and an operation that ONNX does not have (the course's own draws, `core.uniform`).
"""

import contextlib
import io
import json
import logging
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from kdcourse import files
from kdcourse.core import generator
from kdcourse.ship.base import FromBytes, needed, session

CLOSE = 1e-4  # of the largest logit: float32, summed in another order


def noise(shape: Sequence[int], n: int = 8, *, seed: int = 0) -> torch.Tensor:
    """Images of noise (n, C, H, W) uint8, the same for a seed."""
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator(seed))


def export(network: nn.Module, path: Path | str, *, shape: Sequence[int] | None = None,
           classes: Sequence[str] = ()) -> Path:
    """Write `network` with its preprocessing as an ONNX file that takes any number of images (N, C, H, W) uint8 by the
    name `images` and gives `logits` (N, K) float32; returns its path.

    `shape` is (C, H, W) of its images, that of the network if it knows one; `classes`, the names in the order of the
    logits, are kept in the file's metadata. The file is run on noise and compared with torch before it gets its name.
    Raises ValueError when the network does not export, with torch's reason, and when the file computes other logits;
    DataError when a package is missing.
    """
    known = getattr(network, "shape", ()) if getattr(network, "sized", True) else ()  # nobody told a wrapped one
    shape = tuple(shape or known)
    if len(shape) != 3:
        raise ValueError("shape is (channels, height, width) of the images, as in source.shape, and this network does "
                         f"not know it: export(network, path, shape=source.shape). Given: {shape}")
    path, from_bytes = Path(path), FromBytes(network)
    model = _captured(from_bytes, shape)
    if classes:
        with torch.no_grad():
            logits = from_bytes(noise(shape, 1)).shape[1]
        if len(classes) != logits:
            raise ValueError(f"there are {len(classes)} classes and {logits} logits: a name for each is needed, in "
                             "their order")
        entry = model.metadata_props.add()
        entry.key, entry.value = "classes", json.dumps(list(classes))
    partial = path.with_name(f".partial-{path.name}")
    files.write(partial, model.SerializeToString())
    try:
        _check_same(from_bytes, partial, shape)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def difference(network: nn.Module, path: Path | str, images: torch.Tensor) -> float:
    """The largest difference between a logit of torch and of ONNX Runtime about these images (N, C, H, W) uint8, as a
    share of torch's largest logit."""
    return _difference(FromBytes(network), path, images)


def versions(path: Path | str) -> str:
    """What a runtime must know to read an ONNX file, what wrote it, and what it is compared with here: a sentence."""
    onnx, runtime = needed("onnx", "onnxruntime")
    model = onnx.load(str(path))
    [opset] = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return (f"ONNX opset {opset}, IR version {model.ir_version}: an older runtime does not read it. Exported by torch "
            f"{torch.__version__}, compared with ONNX Runtime {runtime.__version__}")


def _difference(from_bytes: FromBytes, path: Path | str, images: torch.Tensor) -> float:
    with torch.no_grad():
        z = from_bytes(images)
    return ((session(path)(images) - z).abs().max() / z.abs().max().clamp_min(torch.finfo(z.dtype).tiny)).item()


def _captured(from_bytes: FromBytes, shape: tuple[int, ...]):
    """The ONNX model of a network. The exporter speaks on stdout, in warnings and in the log: it is quietened here, and
    what goes wrong is said once."""
    needed("onnx", "onnxscript")
    spoken, before = io.StringIO(), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(spoken), contextlib.redirect_stderr(spoken):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                from_bytes, (noise(shape, 2),), dynamo=True, verbose=False, input_names=["images"],
                output_names=["logits"], dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        return program.model_proto
    except Exception as error:  # the exporter has a class of its own for each of its steps
        reason = error.__cause__ or error
        said = next((line for line in str(reason).splitlines() if line.strip()), type(reason).__name__)
        name = type(from_bytes.network).__name__
        raise ValueError(f"this {name} does not export to ONNX: {said.strip()}. What depends on values of "
                         "the images, and operations that ONNX lacks, cannot: see the text of kdcourse.ship.export"
                         ) from error
    finally:
        logging.disable(before)


def _check_same(from_bytes: FromBytes, path: Path, shape: tuple[int, ...]) -> None:
    found = max(_difference(from_bytes, path, noise(shape, n, seed=n)) for n in (1, 5))
    if math.isnan(found):
        raise ValueError(f"{type(from_bytes.network).__name__} answers with numbers that are not finite, in torch or "
                         "in the file: the network has diverged, or its numbers are too large for float32")
    if not found <= CLOSE:
        raise ValueError(f"the exported network computes other logits than torch: they differ by {found:.2g} of the "
                         f"largest, more than {CLOSE:g}. It is not written")
