"""Answers to the exercises: plausible wrong ones, each with the misconception it stands for, and unusual right ones.

The wrong ones are what students handed in and what respected code published. `catalogue` says which check each answers,
the share of the points that it keeps, and words that the message must contain. An answer of which the message tells
the numbers alone, and not the misconception, is marked `told=False`.
"""

from collections.abc import Callable
from typing import NamedTuple


class Answer(NamedTuple):
    check: str
    arguments: tuple
    name: str
    keeps: float = 1.0
    says: str = ""
    told: bool = True


def collector(found: list[Answer]) -> Callable:
    """A decorator that files a function as an answer to a check."""
    def answers(check: str, keeps: float = 1.0, says: str = "", *, told: bool = True):
        def file(function):
            found.append(Answer(check, (function,), function.__name__, keeps, says, told))
            return function

        return file

    return answers
