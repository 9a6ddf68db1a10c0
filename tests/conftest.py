"""What the tests share: one thread, marks and their order, how thorough they are, a few digits, and real data."""

import os
from pathlib import Path

import pytest
import torch

from kdcourse import compiler

MARKS = {  # the tests of these files need it
    "browser": ("test_browser", "test_formgrader_browser", "test_book"),
    "sandbox": ("test_grade", "test_sandbox", "test_grade_again", "test_grade_check", "test_grade_exercise",
                "test_grade_odd", "test_grade_beside"),
    "kernel": ("test_handin", "test_exercises", "test_full_profile", "test_notebooks"),
}
LONGEST = (  # these begin first, so that no worker is left alone at the end
    "test_sandbox", "test_browser", "test_checks", "07_learning_ability", "test_grade", "06_stronger_teachers",
    "04_mhist_transfer", "test_grade_again", "test_grade_check", "test_formgrader_browser", "test_mistakes",
    "02_soft_targets", "test_grade_exercise",
)
SEEDS = (3, 10)
collect_ignore_glob = ["broken_notebooks/*"]
torch.set_num_threads(1)
compiler.on_demand()


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true",
                     help="judge every answer on ten seeds, not on two; grade and check every exercise, not one; ask "
                          "trained networks about all images, not the first; compile every distiller, not four")
    parser.addoption("--thorough-where-changed", action="store_true",
                     help="the same for what changed since the branch began, by git")


def pytest_xdist_auto_num_workers(config):
    """One process more than there are cores: tests of the browser and of the sandbox wait more than they compute."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    marked = {file for files in MARKS.values() for file in files}
    order = {file: place for place, file in enumerate(LONGEST)}
    for item in items:
        for mark, files in MARKS.items():
            if item.path.stem in files:
                item.add_marker(mark)
    items.sort(key=lambda item: order.get(
        item.path.stem, len(order) + (item.path.suffix != ".ipynb" and item.path.stem not in marked)))


@pytest.fixture
def seeds(request) -> tuple[int, ...]:
    """The seeds on which the answers to a check are judged: that of the test's `answer`, or the one of its `name`."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    check = getattr(parameters.get("answer"), "check", parameters.get("name", ""))
    return chosen(request.config, check)


def thoroughly(config, name: str, touched) -> bool:
    """Whether all is asked of what has this name: by `--thorough`, or since `touched` finds it among what changed."""
    import thorough

    return config.getoption("--thorough") or (
        config.getoption("--thorough-where-changed") and name in touched(thorough.changed()))


def chosen(config, check: str) -> tuple[int, ...]:
    """Ten seeds for a check, or two."""
    import thorough

    return tuple(range(10)) if thoroughly(config, check, thorough.touched) else SEEDS


@pytest.fixture
def worth_grading(request) -> None:
    """Skips for an assignment (the test's `name`) of which nothing changed."""
    import thorough

    if not thoroughly(request.config, request.node.callspec.params["name"], thorough.graded_anew):
        pytest.skip("where its files change, and by --thorough; its solution was checked in test_exercises.py")


@pytest.fixture
def touched(request):
    """Whether one of these files or folders changed, `touched("kdcourse/models/")`; with `--thorough` all did, and
    without an option none."""
    return lambda *begins: thoroughly(request.config, "", lambda paths: {""} if any(
        path.startswith(begins) for path in paths) else set())


@pytest.fixture(scope="module")
def source():
    """The first 200 training images of the digits: four batches of 64 or less."""
    import helpers

    return helpers.few_digits()


@pytest.fixture
def batch():
    """64 digits, at the beginning of a training."""
    import helpers

    return helpers.first_batch()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data and trained weights that `KDCOURSE_DATA` names; skips where there is none."""
    if not os.environ.get("KDCOURSE_DATA"):
        pytest.skip("needs real data: set KDCOURSE_DATA to the folder that holds it")
    return Path(os.environ["KDCOURSE_DATA"])
