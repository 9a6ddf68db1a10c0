"""Pairs of hand-ins that have much in common, for a marker to look at. It gives no verdict, and sends nothing anywhere.

Compared is what students wrote themselves: their code without comments and names, their answers word by word, both
without what the exercise gave them and without what a third of the class wrote.
"""

import csv
import io
import itertools
import keyword
import re
from collections import Counter

from kdcourse.marking.grade.base import safe
from kdcourse.marking.notebook import mark, source

LENGTH = {"code": 12, "text": 6}  # tokens of one piece
LEAST = 20  # pieces that a hand-in needs to be compared
SHARE = 0.4  # of the smaller one's pieces
TOKEN = re.compile(r"\w+|[^\w\s]")
COMMENT = re.compile(r"#[^\n]*")


def similar(notebooks: dict[str, dict], released: dict) -> list[tuple[float, int, str, str, str]]:
    """Share and number of the pieces in common, two students, and what is alike ("code", "text"), the most first."""
    found = []
    for kind in ("code", "text"):
        given = _pieces(released, kind)
        own = {student: _pieces(notebook, kind) - given for student, notebook in notebooks.items()}
        count = Counter(itertools.chain.from_iterable(own.values()))
        common = {piece for piece, n in count.items() if n > max(2, len(own) / 3)}
        own = {student: pieces - common for student, pieces in own.items()}
        own = {student: pieces for student, pieces in own.items() if len(pieces) >= LEAST}
        for one, other in itertools.combinations(sorted(own), 2):
            both = len(own[one] & own[other])
            share = both / min(len(own[one]), len(own[other]))
            if share >= SHARE:
                found.append((share, both, one, other, kind))
    return sorted(found, key=lambda one: (-one[0], one[2:]))


def report(pairs: list[tuple[float, int, str, str, str]]) -> str:
    """The pairs as a CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "other student", "alike in", "share of the shorter one", "pieces in common"])
    for share, both, one, other, kind in pairs:
        writer.writerow([safe(one), safe(other), kind, f"{share:.2f}", both])
    return text.getvalue()


def _pieces(notebook: dict, kind: str) -> set[tuple[str, ...]]:
    """Every run of so many tokens in the cells that a student may write."""
    pieces = set()
    for cell in notebook["cells"]:
        if (cell["cell_type"] == "code") != (kind == "code") or (mark(cell) and not mark(cell).get("solution")):
            continue
        text = source(cell)
        tokens = TOKEN.findall(COMMENT.sub("", text) if kind == "code" else text.casefold())
        if kind == "code":
            tokens = ["name" if one.isidentifier() and not keyword.iskeyword(one) else one for one in tokens]
        length = LENGTH[kind]
        pieces |= {tuple(tokens[index : index + length]) for index in range(len(tokens) - length + 1)}
    return pieces
