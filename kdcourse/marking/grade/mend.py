"""Makes of a student's notebook one that can be graded: the assignment's cells as released, the answers as handed in.

nbgrader restores locked cells too, but gives up on a notebook whose marks are damaged, or whose deleted cell followed
another deleted one. It finds nothing left to do here.
"""

import base64
import binascii
import copy

from kdcourse.marking.sandbox import MB

CELLS, SOURCE, ATTACHMENTS = 1_000, 200_000, 10 * MB
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def mend(notebook: dict, released: dict) -> tuple[dict, list[str]]:
    """A new notebook in the format of the released one, without outputs, and what was mended, a sentence each.

    Locked cells are those of the release; a deleted one is back where it can work; of a copied or split one the last
    counts. Parts of a written answer are joined. Everything that a student may write stays, in order.
    """
    originals = {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in released["cells"] if _mark(cell)}
    by_id = {cell["id"]: name for name, cell in originals.items() if "id" in cell}
    cells, notes, room = [], [], [ATTACHMENTS]
    for raw in notebook["cells"][:CELLS]:
        if isinstance(raw, dict) and raw.get("cell_type") in ("code", "markdown", "raw"):
            name = _mark(raw).get("grade_id")
            name = name if isinstance(name, str) and name in originals else None
            cells.append([name, raw.get("id"), _plain(raw, room)])
    if len(notebook["cells"]) > CELLS:
        notes.append(f"only the first {CELLS} of its {len(notebook['cells'])} cells were read")
    marked = {name for name, _, _ in cells}
    for cell in cells:  # a mark that an editor has dropped: the cell is still known by its own identifier
        name = by_id.get(cell[1]) if isinstance(cell[1], str) else None
        if cell[0] is None and name not in marked:
            cell[0] = name
    pairs = [(name, cell) for name, _, cell in cells]
    for name, original in originals.items():
        pairs = _unite(name, original, pairs, notes)
    pairs = _complete(originals, pairs, notes)
    fresh = [cell if name is None else {**cell, "id": originals[name].get("id", name)} for name, cell in pairs]
    taken = {cell.get("id") for cell in fresh}
    for index, cell in enumerate(fresh):
        if "id" not in cell:
            cell["id"] = next(one for one in (f"extra-{index}{'-x' * n}" for n in range(99)) if one not in taken)
    about = released["metadata"]
    metadata = {key: about[key] for key in ("kernelspec", "language_info") if key in about}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": copy.deepcopy(metadata), "cells": fresh}, notes


def _unite(name: str, original: dict, pairs: list[tuple], notes: list[str]) -> list[tuple]:
    """The cells with those of one name made one, with the marks of the release."""
    own = [cell for found, cell in pairs if found == name]
    if not own:
        return pairs
    stub, one = _source(original).strip(), _released(original)
    locked, text = not _mark(original).get("solution"), original["cell_type"] != "code"
    if len(own) > 1:
        what = "the last counts" if locked or not text else "the parts were joined"
        notes.append(f"cell {name} was there {len(own)} times: {what}")
    if locked and all(cell["source"].strip() != stub for cell in own):
        notes.append(f"cell {name} is not the student's to change: it was restored")
    elif text and not locked:
        parts = [cell["source"] for cell in own if cell["source"].strip() != stub]
        attached = {name: data for cell in own for name, data in cell.get("attachments", {}).items()}
        one.update({"source": "\n\n".join(parts)} if parts else {}, **({"attachments": attached} if attached else {}))
    elif not locked:
        one["source"] = own[-1]["source"]
    rest, left = [], len(own)
    for found, cell in pairs:
        left -= found == name
        if found != name:
            rest.append((found, cell))
        elif left == 0:
            rest.append((name, one))
        elif not locked and not text:
            rest.append((None, cell))  # an earlier try: it still runs
    return rest


def _complete(originals: dict[str, dict], pairs: list[tuple], notes: list[str]) -> list[tuple]:
    """The cells with the deleted ones put back, except a student's own code: its stub would undo it elsewhere."""
    order = list(originals)
    for rank, (name, original) in enumerate(originals.items()):
        mark, place = _mark(original), {found: index for index, (found, _) in enumerate(pairs)}
        if name in place or (mark.get("solution") and original["cell_type"] == "code" and not mark.get("grade")):
            continue
        before = max((place[other] for other in order[:rank] if other in place), default=-1) + 1
        after = min((place[other] for other in order[rank + 1 :] if other in place), default=len(pairs))
        # a check comes as late as it may: the answer may have moved into a cell of the student's own
        check = mark.get("grade") and not mark.get("solution")
        pairs.insert(max(before, after) if check else before, (name, _released(original)))
        notes.append(f"cell {name} had been deleted: it was put back")
    return pairs


def _released(original: dict) -> dict:
    cell = {key: copy.deepcopy(original[key]) for key in ("cell_type", "metadata", "attachments") if key in original}
    code = {"outputs": [], "execution_count": None} if cell["cell_type"] == "code" else {}
    return {**cell, "source": _source(original), **code}


def _plain(raw: dict, room: list[int]) -> dict:
    """A cell with nothing but its type, its source, and the pictures that were dropped into its text."""
    cell = {"cell_type": raw["cell_type"], "metadata": {}, "source": _source(raw)[:SOURCE]}
    if cell["cell_type"] == "code":
        return {**cell, "outputs": [], "execution_count": None}
    attached, given = {}, raw.get("attachments")
    for name, data in given.items() if isinstance(given, dict) else []:
        for mime, content in data.items() if isinstance(data, dict) else []:
            if mime not in IMAGES or not isinstance(content, str) or len(content) > room[0]:
                continue
            try:
                attached[str(name)] = {mime: base64.b64encode(base64.b64decode(content)).decode()}
                room[0] -= len(content)
            except (binascii.Error, ValueError):
                continue
    return {**cell, "attachments": attached} if attached else cell


def _source(cell: dict) -> str:
    value = cell.get("source")
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _mark(cell: dict) -> dict:
    """nbgrader's metadata of a cell, empty if it has none that could be meant."""
    metadata = cell.get("metadata")
    mark = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return mark if isinstance(mark, dict) and isinstance(mark.get("grade_id"), str) else {}
