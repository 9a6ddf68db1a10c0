"""Puts the cells that are not a student's to change back as they were released, as is done before grading."""

import copy

from kdcourse.marking.student.base import is_check, mark, name_of


def restore(notebook, released) -> list[str]:
    """Mend a notebook in place; returns what was done, a sentence each. Answers stay as they are; a deleted answer
    stays deleted."""
    originals = {name_of(cell): cell for cell in released.cells if mark(cell)}
    ids, notes = {cell.get("id"): name for name, cell in originals.items()}, []
    marked = {name_of(cell) for cell in notebook.cells}
    for cell in notebook.cells:
        if not mark(cell) and (name := ids.get(cell.get("id"))) not in marked:  # an editor dropped the mark
            cell.metadata["nbgrader"] = copy.deepcopy(originals[name].metadata.nbgrader)
    for name, original in originals.items():
        locked = not mark(original).get("solution")
        own = [cell for cell in notebook.cells if name_of(cell) == name]
        if len(own) > 1:
            notes.append(f"{name} is there {len(own)} times: keep one of them")
        for cell in own[:-1]:
            if locked:
                notebook.cells.remove(cell)
            elif cell.cell_type == "code":
                del cell.metadata["nbgrader"]
        if own:
            _as_released(own[-1], original, locked, notes)
        elif locked:
            notebook.cells.insert(_place(name, original, list(originals), notebook), copy.deepcopy(original))
            if original.cell_type == "code":
                notes.append(f"{name} was deleted: it was put back for this run, as the grader does")
        elif not mark(original).get("grade"):
            notes.append(f"{name} was deleted: it is the cell of an answer; take it from the exercise again")
    return notes


def _as_released(cell, original, locked: bool, notes: list[str]) -> None:
    cell.metadata["nbgrader"] = copy.deepcopy(original.metadata.nbgrader)
    cell.cell_type = original.cell_type
    if cell.cell_type == "code":
        cell.setdefault("outputs", [])
        cell.setdefault("execution_count", None)
    if locked and cell.source.strip() != original.source.strip():
        cell.source = original.source
        if cell.cell_type == "code":
            notes.append(f"{original.metadata.nbgrader.grade_id} was changed: it was restored for this run, as the "
                         "grader does")


def _place(name: str, original, order: list[str], notebook) -> int:
    """Where a deleted cell can work: behind what came before it; a check as late as it may come."""
    places = {name_of(cell): index for index, cell in enumerate(notebook.cells) if mark(cell)}
    rank = order.index(name)
    before = max((places[other] for other in order[:rank] if other in places), default=-1) + 1
    after = min((places[other] for other in order[rank + 1 :] if other in places), default=len(notebook.cells))
    return max(before, after) if is_check(original) else before
