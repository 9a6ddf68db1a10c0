"""Parameters and multiply-adds by the formulas of each layer, with the usual miscounts.

A case has a `network`, an `nn.Sequential` of convolutions, poolings and dense layers, and the `shape` (C, H, W) of an
image.
"""

from collections.abc import Iterator

from torch import nn

from kdcourse.marking.judges.mistakes import Formula


def layers(c) -> Iterator[tuple[nn.Module, tuple[int, int]]]:
    """Each convolution and dense layer, with the size of its output."""
    return ((layer, out) for layer, out in sizes(c) if isinstance(layer, nn.Conv2d | nn.Linear))


def sizes(c) -> Iterator[tuple[nn.Module, tuple[int, int]]]:
    """Each convolution, pooling and dense layer, with the size of its output."""
    height, width = c.shape[1:]
    for layer in c.network:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = (value if isinstance(value, tuple) else (value, value)
                                       for value in (layer.kernel_size, layer.stride, layer.padding))
            height, width = ((side + 2 * padding[i] - kernel[i]) // stride[i] + 1
                             for i, side in enumerate((height, width)))
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear):
            yield layer, (1, 1) if isinstance(layer, nn.Linear) else (height, width)


def weights(c, kinds=(nn.Conv2d, nn.Linear)) -> int:
    return sum(layer.weight.numel() for layer, _ in layers(c) if isinstance(layer, kinds))


def biases(c, kinds=(nn.Conv2d, nn.Linear)) -> int:
    return sum(len(layer.bias) for layer, _ in layers(c) if layer.bias is not None and isinstance(layer, kinds))


def adds(c, kinds=(nn.Conv2d, nn.Linear)) -> int:
    return sum(layer.weight.numel() * h * w for layer, (h, w) in layers(c) if isinstance(layer, kinds))


def places(c) -> Iterator[tuple[nn.Module, int]]:
    """Each convolution with the number of pixels of its input, each dense layer with 1."""
    height, width = c.shape[1:]
    for layer in c.network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield layer, height * width if isinstance(layer, nn.Conv2d) else 1
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            height, width = next(out for one, out in sizes(c) if one is layer)


def of_each(c, convolution) -> int:
    """What a convolution counts for by its weight and output (h, w), and every weight of a dense layer, together."""
    return sum(convolution(layer.weight, *out) if isinstance(layer, nn.Conv2d) else layer.weight.numel()
               for layer, out in layers(c))


def added_biases(c) -> int:
    return sum(len(layer.bias) * h * w for layer, (h, w) in layers(c) if layer.bias is not None)


def both(c, kinds=(nn.Conv2d, nn.Linear)) -> int:
    return weights(c, kinds) + biases(c, kinds)


PARAMETERS = Formula(lambda c, count: count(c), count={
    "": both,
    "the biases are missing": weights,
    "these are the parameter tensors, not the numbers in them": lambda c: len([*c.network.parameters()]),
    "these are bytes: four for each number": lambda c: 4 * both(c),
    "these are bits: 32 for each number": lambda c: 32 * both(c),
    "these are millions": lambda c: both(c) / 1e6,
    "each number was counted twice": lambda c: 2 * both(c),
    "the weights are missing, and only the biases are there": biases,
    "the last layer is missing": lambda c: both(c) - sum(p.numel() for p in c.network[-1].parameters()),
    "the convolutions are missing": lambda c: both(c, nn.Linear),
    "the dense layers are missing": lambda c: both(c, nn.Conv2d),
    "these are the layers with weights, not the numbers in them": lambda c: len([*layers(c)]),
})
MULTIPLY_ADDS = Formula(lambda c, count: count(c), count={
    "": adds,
    "a multiplication and its addition were counted as two: these are FLOPs, twice the multiply-adds":
        lambda c: 2 * adds(c),
    "the additions of the biases were counted too": lambda c: adds(c) + added_biases(c),
    "each weight was counted once: a convolution uses its weights at every place of its output": weights,
    "parameters were counted: a convolution uses its weights at every place of its output": both,
    "the convolutions were applied at every pixel of the network's input: stride, pooling and edges make the output "
    "smaller": lambda c: sum(layer.weight.numel() * (c.shape[1] * c.shape[2] if isinstance(layer, nn.Conv2d) else 1)
                             for layer, _ in layers(c)),
    "the dense layers are missing": lambda c: adds(c, nn.Conv2d),
    "the convolutions are missing": lambda c: adds(c, nn.Linear),
    "each convolution was counted at every pixel of its input: those of its output count":
        lambda c: sum(layer.weight.numel() * pixels for layer, pixels in places(c)),
    "the input channels of the convolutions are missing":
        lambda c: of_each(c, lambda w, h, v: w[:, 0].numel() * h * v),
    "the output channels of the convolutions are missing":
        lambda c: of_each(c, lambda w, h, v: w[0].numel() * h * v),
    "both the input and the output channels of the convolutions are missing":
        lambda c: of_each(c, lambda w, h, v: w[0, 0].numel() * h * v),
    "the size of the kernels is missing": lambda c: of_each(c, lambda w, h, v: w[:, :, 0, 0].numel() * h * v),
    "only one side of the kernels was counted": lambda c: of_each(c, lambda w, h, v: w[:, :, 0].numel() * h * v),
    "the kernels were taken for squares: height and width of one may differ":
        lambda c: of_each(c, lambda w, h, v: w[:, :, 0, 0].numel() * w.shape[2]**2 * h * v),
    "the numbers that come into each layer were multiplied by those that leave it": lambda c: sum(
        pixels * layer.weight.shape[1] * len(layer.weight) * h * w
        for (layer, pixels), (_, (h, w)) in zip(places(c), layers(c), strict=True)),
    "these are millions": lambda c: adds(c) / 1e6,
    "only one side of the convolutions' outputs was counted": lambda c: of_each(c, lambda w, h, v: w.numel() * h),
    "the numbers in the layers' outputs were counted":
        lambda c: sum(len(layer.weight) * h * w for layer, (h, w) in layers(c)),
    "these are FLOPs with the biases": lambda c: 2 * adds(c) + added_biases(c),
})


def _side(convolution: nn.Conv2d) -> int | tuple[int, int]:
    """Its kernel's size as one writes it."""
    height, width = convolution.kernel_size
    return height if height == width else (height, width)


def of(c) -> str:
    """The network in words."""
    parts = [f"Conv2d({m.in_channels}, {m.out_channels}, {_side(m)}, stride={m.stride[0]}, "
             f"padding={m.padding[0]}, bias={m.bias is not None})" if isinstance(m, nn.Conv2d)
             else f"Linear({m.in_features}, {m.out_features}, bias={m.bias is not None})" if isinstance(m, nn.Linear)
             else "MaxPool2d(2, stride=1)" if isinstance(m, nn.MaxPool2d) else "" for m in c.network]
    return f"{', '.join(filter(None, parts))} and images of {' x '.join(map(str, c.shape))}"
