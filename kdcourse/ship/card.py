"""Saved networks and what is known about them: `Made`, the file that holds both, and the card in words."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as packed
from torch import Tensor

from kdcourse import __version__, cost, files, metrics, models
from kdcourse.core import asked, device_of, dtype_of, fingerprint, generator
from kdcourse.models.base import evaluating

Z = 1.959963984540054  # of the normal distribution: 95 %
CLOSE = 1e-3           # of the largest logit: the same network on another device


@dataclass(frozen=True)
class Made:
    """How a network is built again, and how it came to know what it knows.

    `network` is a name of `models.build`, and `layers` its settings; `shape` (C, H, W) and `classes`, their names, are
    those of its images. `source` says in words or by name from which images it learned, `taught` how, and `teacher` by
    whom (empty: by labels alone). `test` names the source, as `data.load` takes it, whose test images judge it.
    `right` of `judged` test images were answered rightly, 0 of 0 if nobody counted. `limits` are sentences of your own.
    """

    network: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    layers: dict = field(default_factory=dict)
    source: str = ""
    taught: str = ""
    teacher: str = ""
    test: str = ""
    right: int = 0
    judged: int = 0
    accuracies: dict = field(default_factory=dict)  # of each class, in [0, 1]
    calibration: float | None = None                # the expected calibration error on the test images
    limits: tuple[str, ...] = ()

    def build(self):
        """A network of this kind, with fresh weights."""
        return models.build(self.network, tuple(self.shape), len(self.classes), seed=0, **self.layers)


def judged(z: Tensor, split, classes: Sequence[str]) -> dict:
    """The fields of `Made` that logits (N, K) about a split of test images fill."""
    counts = metrics.confusion(z, split.y)
    per_class = {name: (counts[k, k] / counts[k].sum()).item() for k, name in enumerate(classes) if counts[k].sum()}
    return {"right": counts.diag().sum().item(), "judged": len(split),
            "accuracies": per_class, "calibration": metrics.ece(z, split.y)}


def save(network, path: Path | str, made: Made) -> Path:
    """Write the weights of a network, with `made` beside them, as one safetensors file; returns its path.

    Raises ValueError when the network is not one that `made` builds: its weights have other names or shapes, or with
    them a network of this kind gives other logits about images of noise.
    """
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    twin = made.build()
    built = {key: value.shape for key, value in twin.state_dict().items()}
    if built != {key: value.shape for key, value in weights.items()}:
        raise ValueError(f"the network is not the {made.network!r} that Made(network={made.network!r}, layers="
                         f"{made.layers}, shape={tuple(made.shape)}, ...) builds: their weights have other names or "
                         "shapes")
    twin.load_state_dict(weights)
    _check_same(network, twin, made)
    notes = json.dumps(asdict(made) | {"weights": _of(weights)}, default=lambda number: number.item())  # of NumPy
    files.write(Path(path), packed(weights, {"shipped": notes}))
    return Path(path)


def read(path: Path | str) -> tuple:
    """The network of a file that `save` wrote, in eval mode and float32, and its `Made`.

    Raises ValueError for another file and for one whose weights have changed, and OSError when there is none.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
            notes = json.loads((file.metadata() or {})["shipped"])
        if notes.pop("weights") != _of(weights):
            raise KeyError("its numbers have changed")
        notes |= {key: tuple(notes[key]) for key in ("shape", "classes", "limits")}
        made = Made(**notes)
        network = made.build()
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is not a network that ship.save wrote ({error}). Write it so: "
                         "ship.save(student, path, ship.Made(network='lightnn', shape=source.shape, "
                         "classes=source.classes, ...))") from error
    return network.eval(), made


def wilson(right: int, n: int) -> tuple[float, float]:
    """The ends of the 95 % interval of a share, `right` of `n`: Wilson 1927, Journal of the American Statistical
    Association 22, page 209. It speaks of other images of the same kind, not of other seeds.

    >>> wilson(90, 100)
    (0.825..., 0.944...)
    """
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"right is between 0 and n, and n is 1 or more; they are {right} and {n}")
    share, square = right / n, Z * Z / n
    middle, half = share + square / 2, Z * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


def card(network, made: Made, shipped: Sequence[Path], difference: float, versions: str,
         eight_bits: Mapping[str, dict | None] = MappingProxyType({})) -> str:
    """The card in words (Markdown). `shipped` are the files it speaks of, `difference` what `ship.difference` found
    between torch and ONNX Runtime, and `versions` says of which. `eight_bits` says by file how a network in eight bits
    did on the same test images: `right` of `judged`, and the `agreement` with the other; None where nobody measured it.
    Mitchell et al. 2019, "Model cards for model reporting", arXiv:1810.03993."""
    C, H, W = made.shape
    return "\n".join([
        f"# Model card: {made.network}", "",
        f"A network that sorts images into {len(made.classes)} classes: {', '.join(made.classes)}. It takes bytes "
        f"(N, {C}, {H}, {W}), N images of {C} channel{'s' if C > 1 else ''}, and gives logits (N, "
        f"{len(made.classes)}). The preprocessing is inside.", "",
        "## What it was taught, and by whom", "",
        f"- images: {made.source or 'not said'}",
        f"- how: {made.taught or 'not said'}",
        f"- teacher: {made.teacher or 'none: labels alone'}", "",
        "## How good it is", "", *_accuracy(made), *_in_eight_bits(eight_bits), "",
        "## What it costs", "",
        f"- parameters: {cost.parameters(network):,}",
        f"- multiply-adds for one image: {cost.multiply_adds(network, made.shape):,}",
        *(f"- {path.name}: {path.stat().st_size:,} bytes" for path in shipped),
        "- time: not said, since it belongs to a machine. Measure it where it is to run", "",
        "## Is it this file?", "",
        *(f"- SHA-256 of {path.name}: {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in shipped),
        f"- {versions}", "",
        "## Limits", "", *(f"- {sentence}" for sentence in (*made.limits, *_limits(made))),
        f"- On noise, ONNX Runtime and torch differ by {difference:.1g} of the largest logit (`python run.py`).", "",
        f"Written by kdcourse {__version__}.", ""])


def _accuracy(made: Made) -> list[str]:
    if not made.judged:
        return ["- accuracy: not measured. Measure it before anybody uses this network"]
    low, high = wilson(made.right, made.judged)
    lines = [f"- accuracy: {100 * made.right / made.judged:.2f} %, 95 % interval [{100 * low:.2f}, {100 * high:.2f}] "
             f"(Wilson), n = {made.judged:,} test images of {made.test}. It speaks of other images of this kind, and "
             "not of other seeds: this is one network"]
    if made.accuracies:
        worst = min(made.accuracies, key=made.accuracies.get)
        lines.append(f"- the class that it knows least: {worst}, {100 * made.accuracies[worst]:.1f} % of its images")
    if made.calibration is not None:
        lines.append(f"- expected calibration error: {100 * made.calibration:.1f} points")
    return lines


def _in_eight_bits(found: Mapping[str, dict | None]) -> Iterator[str]:
    for name, one in found.items():
        if one is None:
            yield f"- {name}, the same in eight bits: not measured. Measure it before anybody uses it"
            continue
        low, high = wilson(one["right"], one["judged"])
        yield (f"- {name}, the same in eight bits: {100 * one['right'] / one['judged']:.2f} %, [{100 * low:.2f}, "
               f"{100 * high:.2f}], by the same images; its prediction is network.onnx's for "
               f"{100 * one['agreement']:.1f} % of them. Another kind of processor may add otherwise: measure it there")


def _limits(made: Made) -> list[str]:
    C, H, W = made.shape
    judge = f"It was judged by {made.test} images alone" if made.judged else "Nobody has judged it"
    taught = ["It learned from a teacher, and may have learned the teacher's mistakes."] if made.teacher else []
    return [f"{judge}. Test it on images from the place where it is to run, before anybody relies on it.",
            f"It has seen images of {made.source or 'one kind'} alone. It answers any other image too, with one of its "
            "classes, and does not say that it does not know.",
            f"It takes bytes from 0 to 255 of {C} x {H} x {W}. Another size or floating-point numbers are refused. "
            f"Bytes from 0 to 1, light and dark exchanged{', channels in another order' if C > 1 else ''}: all of that "
            "runs without a message, and the answers are worth little.",
            *taught]


@torch.no_grad()
def _check_same(network, twin, made: Made) -> None:
    """Raise ValueError when `twin`, what `made` builds with the network's weights, gives other logits. What is in no
    weight, as the number of heads or the statistics of the images, is read from `made` and from nowhere else."""
    images = torch.rand(8, *made.shape, generator=generator(0))
    with evaluating(network), evaluating(twin):
        z = asked(network, images.to(device_of(network))).cpu().nan_to_num()
        again = asked(twin, images).nan_to_num()
    off, largest = (z - again).abs().max().item() if z.shape == again.shape else math.inf, z.abs().max().item()
    if off > (CLOSE if dtype_of(network) == torch.float32 else 50 * CLOSE) * max(largest, CLOSE):
        raise ValueError(
            f"with its weights, the {made.network!r} that Made(network={made.network!r}, layers={made.layers}, ...) "
            f"builds gives other logits than the network about noise, by up to {off:.3g} (the largest is "
            f"{largest:.3g}): ship.read would give back another network. Name in layers all that models.build was "
            "given, layers={'heads': 4} say; what it cannot be given, as other statistics of the images, only "
            "ship.export takes along")


def _of(weights: dict) -> str:
    return fingerprint(*(weights[key] for key in sorted(weights)))
