"""What a committed notebook must be, checked without running it: `defects(path)` lists what is wrong, in words."""

import json
import re
from pathlib import Path

import nbformat.v4

TAGS = {
    "setup",                # imports, profile, settings
    "by-hand",              # code that a test runs against the package's
    "nbval-ignore-output",  # numbers that differ in their last digits from machine to machine
}
LARGEST_OUTPUT = 200_000    # bytes
LARGEST_NOTEBOOK = 600_000
# a whole path: /home/ada/data, C:\Users\ada; but not and/or, ../data, https://host/page, </td>
PRIVATE = re.compile(r"(?<![\w./~<\\)\]}+-])/(?:root\b|[A-Za-z_][\w.+-]*/[\w.+-])|file:///|\b[A-Za-z]:\\\w+\\")
MOST_WORDS = 3_000          # of core prose: before the ledger, and not in what is optional
FORMULA = re.compile(r"\$\$.+?\$\$|(?<![\\$])\$[^$\n]+\$", re.DOTALL)
DOUBLED = re.compile(r"\\\\[A-Za-z]+")
FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
RULE = re.compile(r"\|?[-:| ]*-[-:| ]*\|?")   # what stands below the head of a table: |---|---|
SWALLOWED = re.compile(r";\s*$", re.MULTILINE)


def defects(path: Path) -> list[str]:
    """Everything that makes the notebook unfit to be committed; empty if it is fit."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.v4.reads(text)  # joins the lines and, unlike nbformat.reads, does not repair what it finds
    found = [f"the notebook is larger than {LARGEST_NOTEBOOK:,} bytes"] if len(text) > LARGEST_NOTEBOOK else []
    found += _metadata(json.loads(text))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not executed from first to last in one go")
    if not code or "setup" not in code[0].metadata.get("tags", []):
        found.append("its first code cell is not tagged setup")
    for cell in code:
        found += [f"cell {cell.get('id')}: {problem}" for problem in _cell(cell)]
    headings = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()
                if line.startswith("# ")]
    if len(headings) != 1:
        found.append(f"it has {len(headings)} titles (lines that begin with '# '); one is right")
    return found + _prose([cell.source for cell in notebook.cells if cell.cell_type == "markdown"])


def places(found) -> list[str]:
    """The strings in what a file of JSON holds that name a folder of some machine; pictures are passed over."""
    if isinstance(found, dict):
        return [place for key, value in found.items() if isinstance(value, dict) or not key.startswith("image/")
                for place in places([key, value])]
    if isinstance(found, list):
        return [place for value in found for place in places(value)]
    return [found] if isinstance(found, str) and PRIVATE.search(found) else []


def lost_rows(text: str) -> list[str]:
    """The rows in Markdown that are shown as text, with their bars: those that follow no head with a rule below it."""
    lines, found, inside = FENCED.sub("", text).splitlines(), [], False
    for line, after in zip(lines, [*lines, ""][1:], strict=True):
        row = line.startswith("|")
        inside = row and (inside or RULE.fullmatch(after.strip()) is not None)
        if row and not inside:
            found.append(line)
    return found


def _prose(cells: list[str]) -> list[str]:
    """Formulas; and for a lesson with a ledger its length, and the minutes in its headings."""
    found = [f"a formula has a doubled backslash: {bad}" for cell in cells for formula in FORMULA.findall(cell)
             for bad in DOUBLED.findall(formula)]
    found += [f"a row belongs to no table: {row[:60]!r}" for cell in cells for row in lost_rows(cell)]
    text = "\n" + "\n".join(cells)
    if "\n## Ledger" not in text:
        return found
    sections = re.split(r"\n(?=## )", text.split("\n## Ledger")[0])
    words = sum(len(section.split()) for section in sections if "optional" not in section.split("\n")[0].lower())
    if words > MOST_WORDS:
        found.append(f"its core has {words:,} words of prose; {MOST_WORDS:,} are the most")
    headings = [section.split("\n")[0] for section in sections[1:]]
    return found + [f"a heading names no minutes: {heading!r}" for heading in headings
                    if not re.search(r" · \d+ min$", heading)]


def _metadata(raw: dict) -> list[str]:
    found = ["it stores widget state (metadata.widgets)"] if "widgets" in raw["metadata"] else []
    if raw["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("its kernel is not python3")
    identities = [cell.get("id") for cell in raw["cells"]]
    if None in identities or len(set(identities)) < len(identities):
        found.append("a cell has no id, or two have the same")
    if any("execution" in cell["metadata"] for cell in raw["cells"]):
        found.append("it stores when its cells were run")
    return found


def _cell(cell) -> list[str]:
    found = [f"unknown tag {tag!r}" for tag in cell.metadata.get("tags", []) if tag not in TAGS]
    if SWALLOWED.search(cell.source):
        found.append("a line ends in a semicolon, which hides output from readers but not from nbval")
    if "clear_output" in cell.source:
        found.append("clear_output: what was there before cannot be compared")
    for output in cell.outputs:
        text = json.dumps(output)
        data = output.get("data", {})
        if len(text) > LARGEST_OUTPUT:
            found.append(f"an output is larger than {LARGEST_OUTPUT:,} bytes")
        if output.output_type == "error":
            found.append(f"it ends in an error: {output.ename}")
        if output.get("name") == "stderr":
            found.append("it writes to stderr: a warning, or a progress bar")
        if "image/svg+xml" in data or "application/pdf" in data:
            found.append("a picture is SVG or PDF; only PNG can be compared and shown everywhere")
        if "image/png" in data and not output.metadata.get("image/png", {}).get("alt"):
            found.append("a picture has no text for readers who cannot see it: show it with viz.show(alt=...)")
        if places(output):
            found.append("an output names a folder of the machine it was run on")
        if "image/png" not in data and " object at 0x" in text:
            found.append("an output shows the address of an object")
    return found
