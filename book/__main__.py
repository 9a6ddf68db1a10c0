"""`python -m book`, in the folder of the course, builds the book in build/book. Needs `pip install -e ".[book]"`."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from book import gather

COURSE = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Build the book; returns the exit status, which is not 0 after a warning."""
    parser = argparse.ArgumentParser(prog="python -m book", description="Builds the book from the committed notebooks.")
    parser.add_argument("folder", nargs="?", type=Path, default=COURSE / "build" / "book", help="by default build/book")
    folder = parser.parse_args(arguments).folder.resolve()
    with tempfile.TemporaryDirectory() as sources:
        gather.gather(COURSE, Path(sources))
        status = build(Path(sources), folder)
    if status == 0:
        print(f"open {folder / 'index.html'}")
    return status


def build(sources: Path, folder: Path) -> int:
    """Turn the gathered sources into pages. Sphinx runs as a program of its own: it changes what it runs in."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
               "-d", str(sources / ".doctrees"), str(sources), str(folder)]
    # warnings about the book are errors; those of Sphinx's own packages about each other are not ours
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
