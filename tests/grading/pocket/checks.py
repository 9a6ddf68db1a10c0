"""The asking half: calls an answer on inputs drawn from the grading seed and records what it returns.

Without torch, whose import takes most of the time of a kernel that does nothing else. The slope comes from a complex
step: an imaginary part far below what single digits can show carries it through every analytic function. Squire and
Trapp 1998, doi:10.1137/S003614459631241X.
"""

import os
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

STEP = 1e-30


def inputs(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(5)


def double(answer) -> None:
    _ask("double", answer)


def norm(answer) -> None:
    _ask("norm", answer)


def _ask(name: str, answer) -> None:
    y = np.asarray(answer(inputs(int(os.environ["KDCOURSE_GRADING_SEED"])) + 1j * STEP), dtype=complex)
    kept = {"y": np.array(y.real), "slope": np.array(y.imag / STEP)}  # along (1, 1, 1, 1, 1)
    save_file(kept, Path(os.environ["KDCOURSE_RECORD"]) / f"{name}.safetensors")
    print("recorded")
