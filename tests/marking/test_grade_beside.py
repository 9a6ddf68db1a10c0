"""What lies beside a notebook, and what a recording asks of its judge: a verdict is always reached, and says why."""

import csv
import json
from types import SimpleNamespace

import pytest
import torch
from grading.course import answered, cell, graded, make, need_sandbox, released, write
from safetensors.torch import save_file

from kdcourse.marking.grade import verdicts
from kdcourse.marking.grade.base import Place, packed, unpacked
from kdcourse.marking.sandbox import Execution

ENDS = "import os\nos._exit(1)"
BESIDE = {  # by student: the files, the points of the two checks, and what is said
    "ends": ({"numpy.py": ENDS}, "0", "numpy.py, beside the notebook, hides the module numpy"),
    "replaces": ({"numpy.py": "x = 1"}, "0", "numpy.py, beside the notebook, hides the module numpy"),
    "folder": ({"numpy/__init__.py": "raise RuntimeError('mine')"}, "0", "numpy, beside the notebook, hides"),
    "startup": ({"sitecustomize.py": ENDS, "ipykernel_launcher.py": ENDS}, "", ""),
    "harmless": ({"test.py": "x = 1", "data/numpy.py": ENDS, "helper.py": ENDS}, "", ""),
    "page": ({"page.html": "<script>1</script>"}, "", ""),
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    need_sandbox()
    folder = make(tmp_path_factory.mktemp("course"))
    for name, (files, _, _) in BESIDE.items():
        write(folder / "in" / name / "tiny.ipynb", answered(released(folder)))
        for file, text in files.items():
            write(folder / "in" / name / file, text)
    assert graded(folder, folder / "in") == 0  # nobody has to be graded again
    return folder


@pytest.fixture(scope="module")
def rows(course):
    with open(course / "grading" / "tiny.csv", newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_that_hides_a_module_scores_what_it_leads_to_and_is_named(name, rows):
    _, points, said = BESIDE[name]
    row = rows[name]
    assert (row["double points"], row["norm points"]) == ((points, points) if points else ("2", "3"))
    for told in (row["notes"], row["double message"]):
        assert said in told and ("hides" in told) is bool(said)
    assert "nothing was recorded" in row["norm message"] or not said


def test_no_file_that_was_handed_in_beside_a_notebook_lies_where_pages_are_served(course):
    place = Place(course, "tiny")
    assert set(unpacked(place.beside("harmless"))) == {"test.py", "data/numpy.py", "helper.py"}
    for step in ("submitted", "autograded", "feedback"):
        found = {path.name for path in (course / "grading" / step).rglob("*") if path.is_file()}
        assert found <= {"tiny.ipynb", "tiny.html", "timestamp.txt", "hint.txt"}


def test_an_archive_gives_back_what_was_packed_and_is_the_same_for_the_same_files():
    files = {"b.txt": b"2", "deep/a.bin": bytes(range(256)), "Zoë \udcff.txt": b"", "../up": b"x"}
    assert packed(files) == packed(dict(reversed(files.items())))
    assert packed({}) != packed({"a": b""}) != packed({"a": b"1"})


def test_an_archive_that_is_not_there_holds_nothing(tmp_path):
    assert unpacked(tmp_path / "none.tar") == {}
    (tmp_path / "some.tar").write_bytes(packed({"Zoë \udcff.txt": b"1", "../up": b"x"}))
    assert unpacked(tmp_path / "some.tar") == {"Zoë \udcff.txt": b"1", "../up": b"x"}


def judged(folder, tensors: dict | bytes) -> tuple[dict, list]:
    """The verdict on a recording, and which recordings its judge was asked about."""
    path, asked = folder / "double.safetensors", []
    if isinstance(tensors, bytes):
        path.write_bytes(tensors)
    else:
        save_file(tensors, path)
    mark = {"grade_id": "double", "points": 2, "grade": True, "solution": False}
    notebook = {"cells": [{"cell_type": "code", "source": "checks.double(double)", "metadata": {"nbgrader": mark}}]}

    def judge(name, path):
        asked.append(name)
        return SimpleNamespace(share=1.0, message="")

    found = verdicts.score(notebook, Execution({0: []}), judge, folder, "")
    assert cell(notebook, "double")["outputs"]
    return found["double"], asked


@pytest.mark.parametrize("steps", [verdicts.STEPS + 1, 5_000, 100_000])
def test_a_training_of_too_many_steps_is_told_so_and_not_replayed(steps, tmp_path):
    verdict, asked = judged(tmp_path, {"main sizes": torch.ones(9), "other T sizes": torch.ones(steps)})
    assert (verdict["points"], asked) == (0, []) and f"trained for {steps} steps" in verdict["message"]


@pytest.mark.parametrize("recording", [
    {"main sizes": torch.ones(verdicts.STEPS)}, {"weights": torch.ones(5_000)}, {"main sizes": torch.ones(())},
    b"", b"12", b"\xff" * 100, (40).to_bytes(8, "little") + json.dumps({"main sizes": {"shape": "x" * 9}}).encode(),
])  # fmt: skip
def test_any_other_recording_is_the_judges_affair(recording, tmp_path):
    assert judged(tmp_path, recording)[1] == ["double"]
