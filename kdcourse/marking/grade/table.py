"""The marks as a CSV, one row per student: for a spreadsheet, and the same byte for byte when nothing changed."""

import csv
import io
import re

RISKY = re.compile(r"\s*[=+\-@]")  # a spreadsheet would take it for a formula


def table(rows: list[dict], checks: tuple[str, ...]) -> str:
    """The CSV of rows `student, name, late, verdicts, cells, total, max, notes`."""
    written = sorted({name for row in rows for name in row["cells"]} - set(checks))
    head = ["student", "handed in as"]
    for name in checks:
        head += [f"{name} points", f"{name} message"]
    head += [f"{name} points" for name in written]
    head += ["automatic", "by hand", "total", "maximum", "to mark by hand", "hours late", "notes"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        cells, line = row["cells"], [row["student"], row["name"]]
        for name in checks:
            line += [_score(cells, name), row["verdicts"].get(name, {}).get("message", "")]
        line += [_score(cells, name) for name in written]
        automatic = sum(cell["auto"] or 0 for cell in cells.values() if cell["manual"] is None)
        manual = sum(cell["manual"] for cell in cells.values() if cell["manual"] is not None)
        still = [name for name, cell in cells.items() if cell["open"]]
        line += [f"{automatic:g}", f"{manual:g}", f"{row['total']:g}", f"{row['max']:g}", " ".join(still)]
        line += [f"{row['late'] / 3600:.1f}" if row["late"] else "", "; ".join(row["notes"])]
        writer.writerow([_safe(value) for value in line])
    return text.getvalue()


def _score(cells: dict[str, dict], name: str) -> str:
    """The points of a cell; empty while nobody has marked it."""
    cell = cells.get(name)
    if cell is None or (cell["auto"] is None and cell["manual"] is None):
        return ""
    return f"{cell['score']:g}"


def _safe(value: str) -> str:
    value = " ".join(str(value).split())
    return f"'{value}" if RISKY.match(value) and not re.fullmatch(r"-?[\d.]+", value) else value
