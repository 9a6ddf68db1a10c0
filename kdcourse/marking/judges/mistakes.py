"""A formula with named places, in each of which something can be wrong: the one way in which misconceptions are found.

A place is a dict of functions: "" is right, and every other key says in words what one gets wrong there. Places are
orthogonal (beta and gamma are two), and their order is that in which mistakes are explained.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple
from weakref import WeakKeyDictionary

MOST = 3  # mistakes in one answer that are looked for


class Place(dict):
    """The forms of a place by their words. `sizes` says how many mistakes each is, where it is not one."""

    sizes: dict[str, int] = {}  # noqa: RUF012


class Mistake(NamedTuple):
    """What is wrong, in words; the names of the places where; the formula with it, a function of a case; and how many
    mistakes that is."""

    text: str
    places: tuple[str, ...]
    value: Callable
    size: int


class Formula:
    """`whole(case, **{place: its right or a wrong form})`."""

    def __init__(self, whole: Callable, /, **places: dict[str, Callable]):
        self.whole, self.places = whole, places

    def right(self, case):
        return self.whole(case, **{name: place[""] for name, place in self.places.items()})

    def mistakes(self, most: int = MOST) -> Iterator[Mistake]:
        """What one gets with one mistake, then with two, up to `most`."""
        return (one for one in self._ordered if one.size <= most)

    @cached_property
    def _ordered(self) -> list[Mistake]:
        """Every choice of at most `MOST` mistakes."""
        sizes = {name: {text: getattr(place, "sizes", {}).get(text, int(bool(text))) for text in place}
                 for name, place in self.places.items()}
        found = []
        for n in range(1, min(MOST, len(self.places)) + 1):
            for wrong in combinations(self.places, n):
                for texts in product(*([text for text in place if bool(text) == (name in wrong)]
                                       for name, place in self.places.items())):
                    total = sum(sizes[name][text] for name, text in zip(self.places, texts, strict=True))
                    found.append((total, texts))
        return [self._mistake(*one) for one in sorted(found, key=lambda one: one[0]) if one[0] <= MOST]

    def _mistake(self, size: int, texts: tuple[str, ...]) -> Mistake:
        chosen = {name: self.places[name][text] for name, text in zip(self.places, texts, strict=True)}
        return Mistake("; ".join(filter(None, texts)),
                       tuple(name for name, text in zip(self.places, texts, strict=True) if text),
                       lambda case: self.whole(case, **chosen), size)

    def place(self, prefix: str = "", most: int = MOST, *, keep: bool = True) -> Place:
        """The whole formula as one place of a larger one. What it gives for a case is kept, unless that changes."""
        found = Place({"": self.right} | {f"{prefix}{one.text}": one.value for one in self.mistakes(most)})
        found.sizes = {f"{prefix}{one.text}": one.size for one in self.mistakes(most)}
        if keep:
            found.update({text: _once(function) for text, function in found.items()})
        return found


def _once(function: Callable) -> Callable:
    found = WeakKeyDictionary()
    return lambda case: found[case] if case in found else found.setdefault(case, function(case))
