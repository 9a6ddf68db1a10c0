"""Judging half, question 8: counted parameters and multiply-adds against the formulas of each layer."""

from collections.abc import Callable, Iterator

from torch import nn

from kdcourse.marking.judges.base import Marks
from kdcourse.marking.record import Record, Verdict

WHERE = "notebook 01, section 9"


def count_parameters(inputs: dict, record: Record) -> Verdict:
    return _counted(inputs, record, lambda network, shape: _weights(network) + _biases(network), {
        "the biases are missing": lambda network, shape: _weights(network),
        "these are the parameter tensors, not the numbers in them": lambda network, shape: len([*network.parameters()]),
        "these are bytes: four for each number": lambda network, shape: 4 * (_weights(network) + _biases(network)),
        "the convolutions are missing": lambda network, shape: sum(
            p.numel() for layer in network if isinstance(layer, nn.Linear) for p in layer.parameters()),
        "the dense layers are missing": lambda network, shape: sum(
            p.numel() for layer in network if isinstance(layer, nn.Conv2d) for p in layer.parameters()),
    })


def count_multiply_adds(inputs: dict, record: Record) -> Verdict:
    def right(network, shape, kinds=(nn.Conv2d, nn.Linear)) -> int:
        return sum(layer.weight.numel() * h * w for layer, (h, w) in _layers(network, shape)
                   if isinstance(layer, kinds))

    def biases(network, shape) -> int:
        return sum(len(layer.bias) * h * w for layer, (h, w) in _layers(network, shape) if layer.bias is not None)

    def unstrided(network, shape) -> int:
        return sum(layer.weight.numel() * (shape[1] * shape[2] if isinstance(layer, nn.Conv2d) else 1)
                   for layer, _ in _layers(network, shape))

    return _counted(inputs, record, right, {
        "a multiplication and its addition were counted as two: these are FLOPs, twice the multiply-adds":
            lambda network, shape: 2 * right(network, shape),
        "the additions of the biases were counted too":
            lambda network, shape: right(network, shape) + biases(network, shape),
        "each weight was counted once: a convolution uses its weights at every place of its output":
            lambda network, shape: _weights(network),
        "parameters were counted: a convolution uses its weights at every place of its output":
            lambda network, shape: _weights(network) + _biases(network),
        "the convolutions were applied at every pixel of the network's input: stride, pooling and edges make the "
        "output smaller": unstrided,
        "the dense layers are missing": lambda network, shape: right(network, shape, (nn.Conv2d,)),
        "the convolutions are missing": lambda network, shape: right(network, shape, (nn.Linear,)),
        "these are FLOPs with the biases": lambda network, shape: 2 * right(network, shape) + biases(network, shape),
    })


def _layers(network: nn.Sequential, shape: tuple[int, int, int]) -> Iterator[tuple[nn.Module, tuple[int, int]]]:
    """Each convolution and dense layer, with the size of its output, by the formulas of the shapes."""
    height, width = shape[1:]
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = (value if isinstance(value, tuple) else (value, value)
                                       for value in (layer.kernel_size, layer.stride, layer.padding))
            height, width = ((side + 2 * padding[i] - kernel[i]) // stride[i] + 1
                             for i, side in enumerate((height, width)))
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield layer, (height, width) if isinstance(layer, nn.Conv2d) else (1, 1)


def _weights(network) -> int:
    return sum(layer.weight.numel() for layer, _ in _layers(network, (1, 99, 99)))


def _biases(network) -> int:
    return sum(len(layer.bias) for layer, _ in _layers(network, (1, 99, 99)) if layer.bias is not None)


def _counted(inputs: dict, record: Record, right: Callable, variants: dict[str, Callable]) -> Verdict:
    marks = Marks(WHERE)
    found = {name: record.number(name) for name in inputs}
    for name, (network, shape) in inputs.items():
        if found[name] != right(network, shape):
            reason = next((f": {text}" for text, count in variants.items()
                           if all(found[other] == count(*inputs[other]) for other in inputs)), "")
            marks.give(1, False, f"for {_named(network, shape)} you count {found[name]:,.10g}, and "
                       f"{right(network, shape):,} is right{reason}.")
            return marks.verdict()
    marks.give(1, True, "")
    return marks.verdict()


def _named(network: nn.Sequential, shape: tuple[int, int, int]) -> str:
    parts = [f"Conv2d({m.in_channels}, {m.out_channels}, {m.kernel_size[0]}, stride={m.stride[0]}, "
             f"padding={m.padding[0]}, bias={m.bias is not None})" if isinstance(m, nn.Conv2d)
             else f"Linear({m.in_features}, {m.out_features}, bias={m.bias is not None})" if isinstance(m, nn.Linear)
             else "MaxPool2d(2, stride=1)" if isinstance(m, nn.MaxPool2d) else "" for m in network]
    return f"{', '.join(filter(None, parts))} on images of {' x '.join(map(str, shape))}"
