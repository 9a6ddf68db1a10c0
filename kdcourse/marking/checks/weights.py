"""Keeps the weights of trained networks, and what is reported about them."""

import copy
from collections.abc import Callable

from kdcourse.marking.checks.base import Check
from kdcourse.marking.checks.experiment import what
from kdcourse.marking.record import Record

MOST_PARAMETERS = 64


def weights(*names: str, draw: Callable = lambda seed: {}, more: Callable | None = None) -> Check:
    """The answers are networks, one for each name, and a dict that reports a number about each. Of those that follow,
    `more(record, {name: network}, *answers)` keeps what they say."""
    def ask(inputs: dict, *answers) -> Record:
        record, networks, reported, *rest = Record(), answers[: len(names)], *answers[len(names) :]
        with record.trying("networks"):
            for name, network in zip(names, networks, strict=True):
                for i, parameter in enumerate(list(copy.deepcopy(network).parameters())[:MOST_PARAMETERS]):
                    record.keep(f"{name} {i}", parameter)
            for name in names:
                if isinstance(reported, dict) and name in reported:
                    record.keep(f"{name} reported", reported[name])
                else:
                    record.notes["reported"] = what(reported)
        if more:
            more(record, dict(zip(names, networks, strict=True)), *rest)
        return record

    return Check(draw, ask)
