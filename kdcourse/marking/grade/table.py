"""The marks as a CSV, one row per student: for a spreadsheet, and the same byte for byte when nothing changed."""

import csv
import io

from kdcourse.marking.grade.base import number, safe


def table(rows: list[dict], checks: tuple[str, ...]) -> str:
    """The CSV of rows `student, name, late, seen, verdicts, cells, total, max, notes`."""
    written = sorted({name for row in rows for name in row["cells"]} - set(checks))
    head = ["student", "handed in as"]
    for name in checks:
        head += [f"{name} points", f"{name} message"]
    head += [f"{name} points" for name in written]
    penalty = ["late penalty"] if any(row.get("penalty") for row in rows) else []
    head += ["automatic", "by hand", *penalty, "total", "maximum", "to mark by hand", "hours late", "first seen"]
    head += ["notes"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        cells, line = row["cells"], [row["student"], row["name"]]
        for name in checks:
            line += [_score(cells, name), row["verdicts"].get(name, {}).get("message", "")]
        line += [_score(cells, name) for name in written]
        automatic = sum(cell["auto"] or 0 for cell in cells.values() if cell["manual"] is None)
        manual = sum(cell["score"] for cell in cells.values()) - automatic  # with what was given as extra credit
        still = [name for name, cell in cells.items() if cell["open"]]
        line += [number(automatic), number(manual), *(number(row.get("penalty") or 0) for _ in penalty)]
        line += [number(row["total"]), number(row["max"]), " ".join(still)]
        line += [f"{row['late'] / 3600:.1f}" if row["late"] else "", row.get("seen", ""), "; ".join(row["notes"])]
        writer.writerow([safe(value) for value in line])
    return text.getvalue()


def _score(cells: dict[str, dict], name: str) -> str:
    """The points of a cell; empty while nobody has marked it."""
    cell = cells.get(name)
    if cell is None or (cell["auto"] is None and cell["manual"] is None):
        return ""
    return number(cell["score"])
