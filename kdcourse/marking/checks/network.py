"""Has networks built, sets their weights, and keeps what they answer in eval and in training mode.

Nothing is assumed about how a network is written: its parameters may have any layout and any order. What reaches a
layer in training is read off the gradient on its weights, which for one image is an outer product of what goes in and
what comes back.
"""

from itertools import count

import torch
from torch import Tensor, nn

from kdcourse.core import generator, seeded
from kdcourse.marking.checks.base import Check
from kdcourse.marking.record import Case, Record

MOST_PARAMETERS = 200  # tensors of one network


def images(*shape: int, n: int = 5):
    """Draws n images of a shape (C, H, W), and `weights(shapes)`, the values that are set."""
    return lambda seed: {"main": Case(x=torch.rand(n, *shape, generator=generator(seed, 2)), key=seed,
                                      weights=lambda shapes: _weights(seed, shapes))}


def _weights(seed: int, shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """The values for parameters of these shapes, in their order: those of the n-th of one shape depend on nothing else.
    They are large, so that an activation that is cut off at 6 is seen."""
    occurrences, drawn = {}, []
    for shape in shapes:
        nth = next(occurrences.setdefault(shape, count()))
        values = torch.randn(shape, generator=generator(seed, 2, nth, *shape))
        drawn.append(values * (8 / values[0].numel()) ** 0.5 if len(shape) > 1 else values)
    return drawn


def network(draw) -> Check:
    """The answer builds a network for the images `x` of the case."""
    def ask(inputs: dict[str, Case], build) -> Record:
        record, case = Record(), inputs["main"]
        with record.trying("network"):
            network = build()
            if not isinstance(network, nn.Module):
                record.keep("network", network)
                record.notes["network"] = f"a {type(network).__name__}"
                return record
            other = build()
            with torch.no_grad():
                network.eval()(case.x), other.eval()(case.x)  # layers may take their shape from the first images
            _compare(record, list(network.parameters()), list(other.parameters()))
            _run(record, network, case)
        return record

    return Check(draw, ask)


def _compare(record: Record, parameters: list[Tensor], others: list[Tensor]) -> None:
    """The shapes, and what two networks of one function have in common."""
    shapes = torch.zeros(min(len(parameters), MOST_PARAMETERS), 4)
    for row, parameter in zip(shapes, parameters, strict=False):
        row[: min(parameter.ndim, 4)] = torch.tensor(parameter.shape[:4])
    record.keep("shapes", shapes)
    record.keep("shared", len({p.data_ptr() for p in parameters} & {p.data_ptr() for p in others}))
    record.keep("alike", all(torch.equal(a, b) for a, b in zip(parameters, others, strict=False) if a.ndim > 1))


def _run(record: Record, network: nn.Module, case: Case) -> None:
    """Answers with weights set: twice in eval mode, alone, twice in training mode, and in eval mode afterwards."""
    parameters = list(network.parameters())
    with torch.no_grad():
        for parameter, values in zip(parameters, case.weights([tuple(p.shape) for p in parameters]), strict=True):
            parameter.copy_(values)
        for name, x in (("once more", case.x), ("one image", case.x[:1])):
            record.keep(name, network.eval()(x))
    for name, training, seed in (("logits", False, case.key), ("another training", True, case.key + 1),
                                 ("in training", True, case.key)):
        with seeded(seed):
            network.zero_grad()
            z = network.train(training)(case.x)
            (z[0] * torch.arange(1, z.shape[1] + 1)).sum().backward()
        record.keep(name, z)
        _keep_inputs(record, name, parameters)
    with torch.no_grad():
        record.keep("afterwards", network.eval()(case.x))


def _keep_inputs(record: Record, name: str, parameters: list[Tensor]) -> None:
    """Of each weight's gradient the sums over rows and over columns: one of them is what went in, times a factor."""
    for i, parameter in enumerate(parameters[:MOST_PARAMETERS]):
        if parameter.ndim > 1 and parameter.grad is not None:
            gradient = parameter.grad.double().flatten(1)
            record.keep(f"{name}, rows {i}", gradient.sum(dim=1))
            record.keep(f"{name}, columns {i}", gradient.sum(dim=0))
