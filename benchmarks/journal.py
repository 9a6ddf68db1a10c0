"""`Journal`: finished trainings, one line each, so that a benchmark that was stopped goes on where it was.

And `holm`, for the many comparisons of one table.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from kdcourse import metrics


class Journal:
    """Rows (dicts of numbers and words) in a file of JSON lines. A row is there whole or not at all: a line that was
    cut off when the machine stopped is removed when the file is read.

    `before` holds rows from an earlier result file; those that the file has already do not count twice. Rows are told
    apart by the values of `keys`.
    """

    def __init__(self, path: Path, keys: Sequence[str], before: Iterable[dict] = ()):
        self.path, self.keys, self.rows = Path(path), tuple(keys), {}
        for row in [*before, *self._read()]:
            self.rows.setdefault(self.key(row), row)

    def key(self, row: dict) -> tuple:
        """What tells a row from others."""
        return tuple(json.dumps(row[name], sort_keys=True) for name in self.keys)

    def has(self, **row) -> bool:
        """Whether that training is finished."""
        return self.key(row) in self.rows

    def add(self, rows: Iterable[dict]) -> None:
        """Append finished rows in one piece; what is there already stays as it is."""
        fresh = [row for row in rows if self.key(row) not in self.rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in fresh))
            file.flush()
            os.fsync(file.fileno())
        self.rows |= {self.key(row): row for row in fresh}

    def where(self, **values) -> list[dict]:
        """The rows that have these values, in the order in which they were finished."""
        return [row for row in self.rows.values() if all(row[name] == value for name, value in values.items())]

    def _read(self) -> list[dict]:
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self.path.write_bytes(whole)
        return [json.loads(line) for line in whole.splitlines()]


def difference(ours: Sequence[dict], baseline: Sequence[dict], *, images: int) -> dict | None:
    """The paired comparison of two arms over the seeds that both have, in points; None below two pairs."""
    a, b = ({row["seed"]: row["test_accuracy"] for row in rows} for rows in (ours, baseline))
    seeds = sorted(a.keys() & b.keys())
    if len(seeds) < 2:
        return None
    c = metrics.compare([a[seed] for seed in seeds], [b[seed] for seed in seeds], images=images)
    return {"points": 100 * c.mean, "low": 100 * c.low, "high": 100 * c.high, "n": c.n, "verdict": c.verdict, "p": c.p}


def holm(family: dict[str, dict]) -> dict[str, dict]:
    """The comparisons of one family with `p_holm`, their p adjusted by `metrics.holm`, and `holm`: does the difference
    from 0 survive at 5 %, all of the family together?"""
    adjusted = metrics.holm([found["p"] for found in family.values()])
    return {name: found | {"p_holm": p, "holm": p < 0.05}
            for (name, found), p in zip(family.items(), adjusted, strict=True)}
