"""What a recording may be: anything. Judging never raises, runs nothing, waits for nothing, and gives it no points."""

import json
import os
import pickle
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

import kdcourse
from kdcourse.marking import checks
from kdcourse.marking import record as recording
from kdcourse.marking.judges import JUDGES
from kdcourse.marking.record import LARGEST, Record, clean

NAMES = checks.ASSIGNMENTS["01_vanilla_kd"]


def good_file(path: Path) -> Path:
    check = checks.teacher_loss
    recording.write(check.record(1, F.cross_entropy), path)
    return path


def header(text: bytes, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + rest


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


BROKEN = {
    "empty": b"", "text": b"right", "zeros": bytes(1000), "a pickle": pickle.dumps(Bomb()),
    "an endless header": struct.pack("<Q", 2**63) + b"{}" * 100, "no JSON": header(b"{{{{"),
    "JSON of another kind": header(b"[1, 2, 3]"), "deep JSON": header(b"[" * 100_000),
    "no metadata": header(b'{"__metadata__": null}'), "metadata of numbers": header(b'{"__metadata__": {"a": 1}}'),
    "a tensor beyond the end": header(json.dumps(
        {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode(), b"1234"),
    "negative shape": header(
        json.dumps({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}).encode(), b"1234"),
    "unknown type": header(json.dumps({"x": {"dtype": "Q8", "shape": [4], "data_offsets": [0, 4]}}).encode(), b"1234"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_recording_earns_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "answer"
    path.write_bytes(BROKEN[kind])
    for name in ("teacher_loss", "train", "trained_pair"):
        verdict = checks.judge(name, path, 1)
        assert verdict.share == 0.0 and verdict.message
    assert not (tmp_path / "exploded").exists()


def test_a_truncated_recording_earns_nothing_and_a_whole_one_everything(tmp_path):
    path = good_file(tmp_path / "answer")
    assert checks.judge("teacher_loss", path, 1) == (1.0, "right")
    content = path.read_bytes()
    for length in (7, 8, 60, len(content) - 1):
        path.write_bytes(content[:length])
        assert checks.judge("teacher_loss", path, 1).share == 0.0


def test_a_recording_of_another_seed_or_another_question_earns_nothing(tmp_path):
    path = good_file(tmp_path / "answer")
    assert checks.judge("teacher_loss", path, 2).share == 0.0
    assert {checks.judge(name, path, 1).share for name in NAMES if name != "teacher_loss"} == {0.0}


def test_what_is_no_file_is_not_opened(tmp_path):
    good_file(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # opening it to read would wait for ever
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("link", "folder", "pipe", "device", "missing"):
        verdict = checks.judge("teacher_loss", tmp_path / name, 1)
        assert verdict.share == 0.0 and "record" in verdict.message, name


def test_a_gigantic_recording_is_not_read(tmp_path):
    path = tmp_path / "answer"
    with open(path, "wb") as file:
        file.truncate(20 * 2**30)  # a sparse file: twenty gigabytes of nothing
    assert "bytes, which no answer needs" in checks.judge("teacher_loss", path, 1).message


def test_a_check_of_unknown_name_is_the_callers_mistake(tmp_path):
    with pytest.raises(ValueError, match="choose one of: teacher_network"):
        checks.judge("SANDBOX", tmp_path, 1)


FORGED = {  # what is made of every recorded tensor
    "not a number": lambda x: torch.full_like(x.double(), torch.nan), "infinite": lambda x: x.double() + torch.inf,
    "another shape": lambda x: x.flatten()[:-1], "one more axis": lambda x: x[None], "empty": lambda x: torch.zeros(0),
    "complex": lambda x: x.to(torch.complex64), "zeros": torch.zeros_like,
    "of a million": lambda x: torch.zeros(1_000_000),
    "a number": lambda x: torch.ones(()),
}


@pytest.fixture(scope="module")
def answers():
    """A recording of right answers for each check, as tensors."""
    from wrong_answers import right, studies

    first = {answer.check: answer for answer in reversed([*right.RIGHT, *studies.RIGHT])}
    return {name: getattr(checks, name).record(5, *first[name].arguments) for name in NAMES if name != "trained_pair"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "trained_pair"])
def test_forged_tensors_earn_nothing_and_missing_ones_raise_nothing(name, answers, tmp_path):
    tensors, path = answers[name].tensors, tmp_path / "answer"
    for kind, forge in FORGED.items():
        safetensors.torch.save_file({key: forge(value).contiguous() for key, value in tensors.items()}, path)
        assert checks.judge(name, path, 5).share == 0.0, kind
    for key in tensors:
        safetensors.torch.save_file({other: tensors[other] for other in tensors if other != key}, path)
        assert 0 <= checks.judge(name, path, 5).share <= 1, key


def test_an_error_is_recorded_by_type_and_message_on_one_printable_line(tmp_path):
    def answer(z, y):
        raise KeyError("no\nsuch \x1b[31m " + "key " * 500)

    path = tmp_path / "answer"
    recording.write(checks.teacher_loss.record(1, answer), path)
    message = checks.judge("teacher_loss", path, 1).message
    assert message.startswith("it stopped with an error, KeyError:") and len(message) < 400
    assert "\n" not in message and "\x1b" not in message


def test_only_the_stubs_own_bare_error_means_unanswered():
    def caret(z, y):
        return torch.tensor(2.0) ^ 2

    def not_yet(z, y):
        raise NotImplementedError("later")

    def of_a_library(z, y):
        return torch.distributions.Distribution().sample()

    @torch.no_grad()
    def decorated_stub(z, y):
        raise NotImplementedError()

    def calls_a_stub(z, y):
        return decorated_stub(z, y)

    def message(answer):
        return checks.teacher_loss.verdict(1, checks.teacher_loss.record(1, answer)).message

    assert "^ is no power in Python" in message(caret)
    for answer in (caret, not_yet, of_a_library):
        assert message(answer).startswith("it stopped with an error, NotImplementedError")
    for answer in (decorated_stub, calls_a_stub):
        assert message(answer) == "not answered yet."


def test_notes_are_read_as_plain_text(tmp_path):
    record = Record(notes={"cold error": "x" * 100_000, "other": "a\x00b\u202ec"})
    recording.write(record, tmp_path / "answer")
    read = recording.read(tmp_path / "answer")
    assert len(read.notes["cold error"]) <= 300 and read.notes["other"] == "a b c"
    assert clean("  two\n lines ") == "two lines"


def test_a_tensor_that_is_too_large_is_not_recorded():
    record = Record()
    record.keep("value", torch.zeros(1).expand(LARGEST + 1))
    assert record.tensors == {} and "numbers" in record.notes["value"]


SANDBOXED = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "ditable" not in repr(finder)]  # an installed course
from kdcourse import data, viz, metrics
from kdcourse.marking import checks
checks.teacher_loss(__import__("torch").nn.functional.cross_entropy)
for name in ("losses", "distillers", "train", "marking.judges", "models", "cost", "sweep"):
    try:
        __import__(f"kdcourse.{name}")
    except ImportError:
        continue
    sys.exit(f"kdcourse.{name} is there")
print(sorted(name for name in sys.modules if "judge" in name))
"""


def test_with_the_sandboxs_part_of_the_package_an_answer_is_recorded_and_nothing_can_judge_it(tmp_path):
    """The part is named by SANDBOX: no reference, no other answer of the package."""
    package, source = tmp_path / "kdcourse", Path(kdcourse.__file__).parent
    for name in checks.SANDBOX:
        path = source / name
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            copy = package / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    (tmp_path / "records").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SANDBOXED], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "KDCOURSE_RECORD": str(tmp_path / "records"),
                          "KDCOURSE_GRADING_SEED": "11", "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "teacher_loss: recorded\n[]\n"
    assert checks.judge("teacher_loss", tmp_path / "records" / "teacher_loss.safetensors", 11) == (1.0, "right")


FOLDER = Path(kdcourse.__file__).parent / "marking"


def modules(folder: str) -> set[str]:
    return {path.stem for path in (FOLDER / folder).glob("*.py")}


def test_the_two_halves_mirror_each_other():
    """What the judging half has alone: mistakes, and the intervals that numbers are judged by."""
    assert modules("checks") < modules("judges")
    assert modules("judges") - modules("checks") == {"mistakes", "intervals"}
    for name in sorted(one for one in modules("checks") if re.match(r"a\d\d_", one)):
        asked = [key for key in checks.ASSIGNMENTS[name.removeprefix("a")]]
        assert asked and all(key in JUDGES for key in asked)
    assert set(JUDGES) == set(checks.CHECKS) == {*checks.LESSONS, *sum(checks.ASSIGNMENTS.values(), ())}
    assert sum(map(len, checks.ASSIGNMENTS.values())) + len(checks.LESSONS) == len(checks.CHECKS)


def test_judges_import_no_losses_of_the_package_and_the_asking_half_no_judge():
    for path in (FOLDER / "judges").glob("*.py"):
        found = re.findall(r"kdcourse(?:\.\w+)*(?: import \w+)?", path.read_text(encoding="utf-8"))
        assert not [one for one in found if re.search(r"kdcourse[. ](import )?(losses|distillers|train\b)", one)], path
    for path in (FOLDER / "checks").glob("*.py"):
        at_the_top = re.findall(r"^(?:from|import) .*judges.*$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert at_the_top == [], path.name


def test_exercise_01_is_written_in_at_most_250_lines():
    halves = [FOLDER / folder / "a01_vanilla_kd.py" for folder in ("checks", "judges")]
    assert len(checks.ASSIGNMENTS["01_vanilla_kd"]) == 15
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in halves) <= 250


def test_the_asking_half_holds_no_reference():
    for name in checks.SANDBOX:
        path = Path(kdcourse.__file__).parent / name
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            text = file.read_text(encoding="utf-8")
            assert "log_softmax" not in text and "logsumexp" not in text, file.name
            found = re.search(r"(from|import) kdcourse[. ](import )?(losses|models|cost|train|sweep)", text)
            assert not found, file.name
