"""Keeps the weights of trained networks, and what is reported about them."""

import copy
from collections.abc import Callable

from kdcourse.marking.checks.base import Check
from kdcourse.marking.checks.experiment import what
from kdcourse.marking.record import Record

MOST_PARAMETERS = 64


def weights(*names: str, draw: Callable = lambda seed: {}) -> Check:
    """The answers are networks, one for each name, and a dict that reports a number about each."""
    def ask(inputs: dict, *answers) -> Record:
        record, (*networks, reported) = Record(), answers
        with record.trying("networks"):
            for name, network in zip(names, networks, strict=True):
                for i, parameter in enumerate(list(copy.deepcopy(network).parameters())[:MOST_PARAMETERS]):
                    record.keep(f"{name} {i}", parameter)
            for name in names:
                if isinstance(reported, dict) and name in reported:
                    record.keep(f"{name} reported", reported[name])
                else:
                    record.notes["reported"] = what(reported)
        return record

    return Check(draw, ask)
