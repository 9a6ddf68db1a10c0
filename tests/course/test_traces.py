"""What is committed names no place of the machine on which it was made: results, notebooks, recordings, examples."""

import json
from pathlib import Path

import pytest
from notebook_lint import places

ROOT = Path(__file__).parents[2]
MADE = [path for pattern in ("benchmarks/results/*.json", "notebooks/*.ipynb", "solutions/*/*.ipynb",
                             "exercises/*/*.ipynb", "kdcourse/trained/**/*.safetensors", "kdcourse/papers/tables/*.csv",
                             "kdcourse/plan/examples/*/*.json", "kdcourse/plan/examples/*/*.md", "book/_static/*.js")
        for path in sorted(ROOT.glob(pattern)) if not path.name.startswith("trial")]


def content(path: Path):
    """What JSON holds; of weights and recordings the header, of any other file its lines."""
    if path.suffix == ".safetensors":
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return [header, {name: json.loads(text) for name, text in header["__metadata__"].items()
                         if text.startswith(("{", "["))}]
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix in (".json", ".ipynb") else text.splitlines()


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_it_names_no_place_of_a_machine(path):
    assert places(content(path)) == []


@pytest.mark.parametrize("text", [
    "/home/ada/course/data", "read from /root.", "/tmp/rows.jsonl", "python /work/d/benchmarks/gap.py --seeds 3",
    "--journal=/mnt/disk/rows.jsonl", "['/Users/ada/mnist']", r"C:\Users\ada\mnist", "file:///srv/course",
    "PATH: /usr/bin:/bin", "data in\n/var/lib/course", "(/opt/conda/lib)",
])
def test_a_place_of_a_machine_is_found_wherever_it_stands(text):
    for found in (text, [text], {"command": text}, {text: 1}, {"outputs": [{"data": {"text/plain": ["a", text]}}]}):
        assert places(found) == [text]


@pytest.mark.parametrize("text", [
    "T-shirt/top, and/or", "../benchmarks/results/gap.json", "https://arxiv.org/abs/1503.02531", "<b>a</b></td></tr>",
    r"$\frac{a}{b}/T/2$", "kdcourse/trained/answers", "~/.cache/kdcourse/mnist", "1/2/3", "p / q / r", "./data/mnist",
    "benchmarks/results/x.json", "KL(p/q)/T/n", "a ratio T:\\alpha",
])
def test_what_only_looks_like_a_place_is_not_one(text):
    assert places([text]) == []


def test_pictures_are_passed_over_and_nothing_beside_them():
    assert places({"data": {"image/png": "\n/abc/def", "text/plain": "/home/ada/x"}}) == ["/home/ada/x"]
    assert places({"metadata": {"image/png": {"alt": "what /home/ada/x holds"}}}) == ["what /home/ada/x holds"]
