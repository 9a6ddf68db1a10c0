"""What a change touches: with `pytest --thorough-where-changed`, answers to checks are judged on ten seeds, and
exercises are graded."""

import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from kdcourse.marking import checks
from kdcourse.marking.judges import JUDGES

ROOT = Path(__file__).parents[1]
HALVES = ("kdcourse/marking/checks/", "kdcourse/marking/judges/")
SAME_FOR_ALL = ("student/", *(f"grade/{name}.py" for name in (  # reads no answer, or is not there when one is graded
    "collect", "formgrader", "gradebook", "progress", "roster", "safe_html", "similar", "table", "variants")))


@cache
def changed(root: Path = ROOT) -> frozenset[str]:
    """The files that differ from where this branch left the main one, or, on that one, from the commit before. None
    where git is not there, or knows nothing of this folder."""
    head = _git(root, "rev-parse", "HEAD")
    bases = (_git(root, "merge-base", "HEAD", name) for name in ("origin/main", "main"))
    base = next((one for one in bases if one and one != head), "HEAD~1")
    return frozenset(filter(None, _git(root, "diff", "--name-only", "--relative", "-z", base).split("\0")))


def touched(paths: Iterable[str]) -> set[str]:
    """The checks to which one of these files belongs. What is in both halves but belongs to none of them (the search
    for mistakes, the intervals) touches all; what is there no more touches none: what used it has changed, too."""
    paths, files = set(paths), {name: _files(name) for name in checks.CHECKS}
    known = set().union(*files.values())
    if any(path == "kdcourse/marking/record.py" or (path.startswith(HALVES) and path not in known
           and not path.endswith("/__init__.py") and (ROOT / path).is_file()) for path in paths):  # fmt: skip
        return set(files)
    solved = {name for assignment, names in checks.ASSIGNMENTS.items() for name in names
              if any(path.startswith(f"solutions/{assignment}/") for path in paths)}  # fmt: skip
    return solved | {name for name in files if files[name] & paths}


def graded_anew(paths: Iterable[str]) -> set[str]:
    """The assignments whose marks one of these files decides: their own notebooks and checks, or, for all of them, what
    runs and judges an answer. What treats the hand-ins of all assignments alike (how they are collected, entered and
    listed) is tested by the scenarios, and by the assignment that is always graded."""
    paths = set(paths)
    alike = tuple(f"kdcourse/marking/{name}" for name in SAME_FOR_ALL)
    if any(path.startswith("kdcourse/marking/") and not path.startswith((*HALVES, *alike)) for path in paths):
        return set(checks.ASSIGNMENTS)
    known = touched(paths)
    return {assignment for assignment, names in checks.ASSIGNMENTS.items() if known & set(names) or any(
        path.startswith(f"{folder}/{assignment}/") for folder in ("solutions", "exercises") for path in paths)}


@cache
def _files(name: str) -> set[str]:
    """Where a check and its judge stand, and the kinds of question that both are of."""
    halves = {"kdcourse.marking.checks.": checks.CHECKS[name], "kdcourse.marking.judges.": JUDGES[name]}
    stand = [module for module in sys.modules for half, one in halves.items()
             if module.startswith(half) and getattr(sys.modules[module], name, None) is one]  # fmt: skip
    kinds = [part.__module__ for part in (checks.CHECKS[name].ask, checks.CHECKS[name].draw, JUDGES[name])]
    return {f"{module.replace('.', '/')}.py" for module in (*stand, *kinds)}


def _git(root: Path, *words: str) -> str:
    """What git says; nothing where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
