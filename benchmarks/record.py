"""Writes what a benchmark measured, with everything needed to judge it and to measure it again.

The commit is read when this module is imported, before anything is measured.
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
PLACES = ("--journal", "--folder")  # options that only say where rows lie until all is measured


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    ).stdout.strip()


COMMIT = _git("rev-parse", "HEAD")
CHANGED = bool(_git("status", "--porcelain", "--", "kdcourse", "benchmarks/*.py"))


def write(name: str, *, settings: dict, seeds: list[int], results: dict) -> Path:
    """Write `results/<name>.json` and return its path."""
    path = RESULTS / f"{name}.json"
    content = {
        "settings": settings,
        "seeds": seeds,
        "results": results,
        "command": command(sys.argv),
        "commit": COMMIT,
        "uncommitted_changes": CHANGED,
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "torchvision", "kdcourse")},
        "hardware": {
            "cpu": _cpu(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def twice(about: str, second: str) -> argparse.ArgumentParser:
    """The options of a script that is run twice: how many seeds, and with `--second` others, and what `second` says.
    The name of the result file, `--name`, is the script's own. `about` is the text of `--help`."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--second", action="store_true", help=second)
    return parser


def seeds_and_name(asked: argparse.Namespace) -> tuple[list[int], str]:
    """The seeds that such options ask for, and the name of the result file: the second run's ends in `_again`."""
    if asked.second:
        return list(range(10, 10 + asked.seeds)), f"{asked.name}_again"
    return list(range(asked.seeds)), asked.name


def command(words: Sequence[str]) -> str:
    """A command line as a reader of the repository types it: `python benchmarks/NAME.py ...`, whatever folder it was
    called from. The options in `PLACES`, with what follows each, are left out."""
    kept, given = [], iter(words[1:])
    for word in given:
        option, equals, _ = word.partition("=")
        # argparse takes the beginning of a name, too
        if len(option) < 3 or not any(place.startswith(option) for place in PLACES):
            kept.append(word)
        elif not equals:
            next(given)
    return shlex.join(["python", f"benchmarks/{Path(words[0]).name}", *kept])


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
