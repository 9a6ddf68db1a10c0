"""What the tests share: one thread, the folder of real data, and the notebooks that are broken on purpose."""

import os
from pathlib import Path

import pytest
import torch

SEEDS = (3, 10)
collect_ignore_glob = ["broken_notebooks/*"]
torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--thorough", action="store_true", help="judge every answer on ten seeds, not on two")


@pytest.fixture(scope="session")
def seeds(request) -> tuple[int, ...]:
    """The seeds on which answers to exercises are judged."""
    return tuple(range(10)) if request.config.getoption("--thorough") else SEEDS


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data and trained weights that `KDCOURSE_DATA` names; skips where there is none."""
    if not os.environ.get("KDCOURSE_DATA"):
        pytest.skip("needs real data: set KDCOURSE_DATA to the folder that holds it")
    return Path(os.environ["KDCOURSE_DATA"])
