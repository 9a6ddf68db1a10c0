"""Asking half, questions 2 and 8: builds the answer's network, sets its weights, runs it; has networks counted."""

import copy
from itertools import count

import torch
from torch import Tensor, nn

from kdcourse.core import generator, seeded
from kdcourse.marking.record import Record

MOST_PARAMETERS = 64  # tensors of one network whose shapes are kept


def draw_network(seed: int) -> dict:
    """Images, and `weight(shape, occurrence)`: the values for the n-th parameter of that shape."""
    def weight(shape: tuple[int, ...], occurrence: int) -> Tensor:
        values = torch.randn(shape, generator=generator(seed, 2, occurrence, *shape))
        return values * (2 / values[0].numel()) ** 0.5 if len(shape) > 1 else 0.3 * values

    return {"x": torch.rand(5, 1, 28, 28, generator=generator(seed, 2)), "weight": weight, "seed": seed}


def ask_teacher_network(inputs: dict, teacher_network) -> Record:
    return _ask(inputs, teacher_network)


def ask_student_network(inputs: dict, student_network) -> Record:
    return _ask(inputs, student_network)


def _ask(inputs: dict, build) -> Record:
    record, x = Record(), inputs["x"]
    with record.trying("network"):
        network = build()
        if not isinstance(network, nn.Module):
            record.notes["network"] = type(network).__name__
            return record
        other = build()
        with torch.no_grad():
            network.eval()(x), other.eval()(x)  # layers may take their shape from the first images
        parameters = list(network.parameters())
        shapes = torch.zeros(min(len(parameters), MOST_PARAMETERS), 4)
        for row, parameter in zip(shapes, parameters, strict=False):
            row[: min(parameter.ndim, 4)] = torch.tensor(parameter.shape[:4])
        record.keep("shapes", shapes)
        others = {parameter.data_ptr() for parameter in other.parameters()}
        record.keep("shared", sum(parameter.data_ptr() in others for parameter in parameters))
        with torch.no_grad():
            occurrences: dict[tuple, count] = {}
            for parameter in parameters:
                shape = tuple(parameter.shape)
                parameter.copy_(inputs["weight"](shape, next(occurrences.setdefault(shape, count()))))
            with seeded(inputs["seed"]):
                for name, mode, images in (("logits", False, x), ("once more", False, x), ("one image", False, x[:1]),
                                           ("in training", True, x)):
                    record.keep(name, network.train(mode)(images))
                _probe(parameters)
                record.keep("probe", network.train()(x[:1].expand(64, -1, -1, -1)))
    return record


def _probe(parameters: list[Tensor]) -> None:
    """Weights with which every output is a number that tells what was dropped on its way: each unit passes one on."""
    widths = [parameter.shape[0] for parameter in parameters if parameter.ndim == 2]
    conv, last = False, False
    for parameter in parameters:
        if parameter.ndim == 2:
            parameter.copy_(torch.eye(*parameter.shape))
            conv, last = False, parameter.shape[0] == min(widths)
        elif parameter.ndim == 4:
            parameter.zero_()
            conv = True
        else:
            parameter.fill_(1.0 if conv or not last else 0.0)


def draw_counting(seed: int) -> dict[str, tuple[nn.Sequential, tuple[int, int, int]]]:
    """Two networks of convolutions and dense layers, each with the shape of its images."""
    draw = generator(seed, 8)

    def integer(low: int, high: int) -> int:
        return torch.randint(low, high + 1, (), generator=draw).item()

    def network(bias: bool) -> tuple[nn.Sequential, tuple[int, int, int]]:
        shape = (integer(2, 3), integer(11, 14), integer(15, 18))
        a, b, hidden = integer(4, 6), integer(7, 9), integer(10, 12)
        layers = [nn.Conv2d(shape[0], a, integer(2, 3), stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2, stride=1),
                  nn.Conv2d(a, b, integer(2, 3), bias=bias), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5)]
        with torch.no_grad():
            features = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1]
        return nn.Sequential(*layers, nn.Linear(features, hidden, bias=bias), nn.ReLU(), nn.Linear(hidden, 10)), shape

    with seeded(seed):
        return {"first": network(True), "second": network(False)}


def ask_count_parameters(inputs: dict, count_parameters) -> Record:
    return _count(inputs, lambda network, shape: count_parameters(network))


def ask_count_multiply_adds(inputs: dict, count_multiply_adds) -> Record:
    return _count(inputs, count_multiply_adds)


def _count(inputs: dict, counted) -> Record:
    record = Record()
    for name, (network, shape) in inputs.items():
        with record.trying(name):
            record.keep(name, counted(copy.deepcopy(network), shape))
    return record
