"""Has blocks of convolutions built, sets their weights, and keeps what they make of images in both modes.

Nothing is assumed about how a block is written: each convolution gets weights that depend on its shape alone.
"""

import torch
from torch import nn

from kdcourse.core import generator
from kdcourse.marking.record import Case

NAMES = ("first", "second", "third")


def blocks(*sizes):
    """Draws images for blocks of these sizes (channels in and out, stride), and `weights(shape)` of a convolution."""
    def draw(seed: int) -> dict[str, Case]:
        def case(i: int, channels: int, out: int, stride: int) -> Case:
            random = generator(seed, i, 442)

            def weights(shape):
                return torch.randn(shape, generator=generator(seed, i, *shape)) / (shape[1] * shape[2]**2) ** 0.5

            probes = torch.rand(2, 4, out, 6 // stride, 6 // stride, generator=random) + 0.5
            return Case(x=4 * torch.randn(4, channels, 6, 6, generator=random), channels=channels, out=out,
                        stride=stride, weights=weights, probes=probes)

        return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, sizes, strict=True))}

    return draw


def block(build, case: Case) -> torch.Tensor:
    """What a block makes of the images with weights of the case, in eval and then in training mode, as one number."""
    made, total = build(case.channels, case.out, case.stride), 0.0
    for layer in made.modules():
        for name, weight in layer.named_parameters(recurse=False):
            if weight.ndim == 4:  # a kernel: of a layer, or of one's own for `F.conv2d`
                weight.data.copy_(case.weights(tuple(weight.shape)))
            elif isinstance(layer, nn.Conv2d) and name == "bias":
                weight.data.zero_()
    for mode, probe in zip((False, True), case.probes, strict=True):
        f = made.train(mode)(case.x)
        if f.shape != probe.shape:
            why = ": the stride is missing" if case.stride > 1 and f.shape[2:] == case.x.shape[2:] else ""
            raise ValueError(f"maps {tuple(case.x.shape)} became {tuple(f.shape)}, and {tuple(probe.shape)} is right"
                             f"{why}")
        total = total + (f * probe).sum()
    return total
