"""The lessons as the tests read and run them: their prose, their cells, and what a reader of them writes by hand."""

from pathlib import Path

import matplotlib
import nbformat
import torch
import torch.nn.functional as F

from kdcourse import profiles

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def cells(name: str) -> list:
    """The cells of a lesson, `05_mind_the_gap`."""
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells


def cell_of(name: str, identity: str):
    """The cell of a lesson that has this id."""
    return next(cell for cell in cells(name) if cell.id == identity)


def prose(path: Path) -> str:
    """The Markdown of a notebook."""
    return "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")


def written_by_hand(name: str) -> list[str]:
    """The sources of the cells that are tagged `by-hand`."""
    return [cell.source for cell in cells(name) if "by-hand" in cell.metadata.get("tags", [])]


def by_hand(name: str, *others: str, **known) -> dict:
    """What these cells define, and after them those with the ids `others`. They find torch, F and what is `known`."""
    namespace = {"torch": torch, "F": F, **known}
    exec("\n".join([*written_by_hand(name), *(cell_of(name, other).source for other in others)]), namespace)
    return namespace


def run(name: str, *, until: str, monkeypatch, **settings) -> dict:
    """Run the code cells of a notebook in the full profile, with `settings` in the place of its own, up to and with
    the cell of that id; returns its variables."""
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "agg")
    monkeypatch.setenv("KDCOURSE_PROFILE", "full")
    monkeypatch.setenv("KDCOURSE_DEVICE", "cpu")
    original = profiles.start

    def start(*, quick, full):
        unknown = settings.keys() - full.keys()
        assert not unknown, f"the notebook has no such settings: {unknown}"
        return original(quick=quick, full=full | settings)

    monkeypatch.setattr(profiles, "start", start)
    variables = {}
    for cell in cells(name):
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{name}, cell {cell.id}", "exec"), variables)
        if cell.id == until:
            return variables
    raise AssertionError(f"{name} has no cell {until}")
