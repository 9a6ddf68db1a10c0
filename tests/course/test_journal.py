"""Benchmarks that go on where they were stopped, and the statistics of their tables."""

import importlib
import json
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from kdcourse import data, metrics, models, train
from kdcourse.core import Batch
from kdcourse.distillers import KD, METHODS, Supervised
from kdcourse.teachers import LogitBank

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HEAD = {"cell": "few digits", "teacher": "mlp", "stage": "measured", "method": "kd"}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


def journal(path, before=()):
    return importlib.import_module("journal").Journal(path, ("name", "seed"), before)


def rows(*seeds, name="a"):
    return [{"name": name, "seed": seed, "test_accuracy": seed / 10} for seed in seeds]


def test_a_journal_read_again_holds_what_was_added(tmp_path):
    first = journal(tmp_path / "new" / "rows.jsonl")
    first.add(rows(1, 2))
    first.add(rows(3))
    again = journal(tmp_path / "new" / "rows.jsonl")
    assert again.where(name="a") == rows(1, 2, 3) and again.has(name="a", seed=3) and not again.has(name="b", seed=3)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_row_that_was_cut_off_leaves_nothing_behind_and_the_next_is_whole(tmp_path, cut):
    path = tmp_path / "rows.jsonl"
    journal(path).add(rows(1, 2))
    path.write_bytes(path.read_bytes()[:-cut])
    again = journal(path)
    assert again.where() == rows(1)
    again.add(rows(2, 3))
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows(1, 2, 3)


def test_rows_of_an_earlier_result_file_are_not_trained_again_and_those_of_the_journal_come_once(tmp_path):
    path = tmp_path / "rows.jsonl"
    journal(path).add(rows(2, 3))
    again = journal(path, before=rows(1, 2))
    assert again.where() == rows(1, 2, 3)
    again.add(rows(1, 2, 3, 4))
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("asked", [[], ["--journal", "elsewhere.jsonl"]])
def test_a_script_goes_on_from_its_result_file_and_from_the_journal_that_is_asked_for(tmp_path, monkeypatch, asked):
    students = importlib.import_module("students")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(students, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["script.py", *asked])
    assert students.resumed("about", "script", ("name", "seed")).where() == []
    (tmp_path / "script.json").write_text(json.dumps({"results": {"trials": rows(1, 2)}}))
    journal(tmp_path / "trial_script.jsonl").add(rows(3))
    journal(tmp_path / "elsewhere.jsonl").add(rows(4))
    assert students.resumed("about", "script", ("name", "seed")).where() == rows(1, 2, 4 if asked else 3)


def test_holm_gives_the_adjusted_values_of_a_worked_example():
    """p = 0.01, 0.04, 0.03, 0.005 become 0.03, 0.06, 0.06, 0.02 (smallest times 4, next times 3, and so on)."""
    holm = importlib.import_module("journal").holm
    found = holm({name: {"p": p} for name, p in zip("abcd", (0.01, 0.04, 0.03, 0.005), strict=True)})
    assert [found[name]["p_holm"] for name in "abcd"] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [found[name]["holm"] for name in "abcd"] == [True, False, False, True] and list(found) == list("abcd")


def test_holm_of_one_comparison_changes_nothing_and_no_value_passes_one():
    holm = importlib.import_module("journal").holm
    assert holm({"a": {"p": 0.04}})["a"]["p_holm"] == 0.04
    assert {entry["p_holm"] for entry in holm({"a": {"p": 0.9}, "b": {"p": 0.8}}).values()} == {1.0}


def test_a_difference_is_paired_by_seed_and_its_p_agrees_with_its_interval():
    difference = importlib.import_module("journal").difference
    draw = torch.Generator().manual_seed(0)
    for shift in (0.0, 0.01, 0.02, 0.05):
        hard = [{"seed": seed, "test_accuracy": value} for seed, value in
                enumerate((0.7 + 0.1 * torch.rand(10, generator=draw)).tolist())]
        noise = (0.02 * torch.randn(10, generator=draw)).tolist()
        ours = [row | {"test_accuracy": row["test_accuracy"] + shift + e} for row, e in zip(hard, noise, strict=True)]
        found = difference([*reversed(ours), {"seed": 99, "test_accuracy": 0.1}], hard, images=100)
        compared = metrics.compare(*([row["test_accuracy"] for row in arm] for arm in (ours, hard)), images=100)
        assert found["n"] == 10 and found["points"] == pytest.approx(100 * compared.mean)
        assert (found["p"] < 0.05) == (found["low"] > 0 or found["high"] < 0)
    assert difference(ours[:1], hard, images=100) is None


def test_the_best_setting_is_chosen_by_validation_images_and_of_equal_ones_the_first():
    best = importlib.import_module("students").best
    shown = [({"T": 1}, 0.5), ({"T": 2}, 0.7), ({"T": 4}, 0.7), ({"T": 1}, 0.7), ({"T": 2}, 0.7), ({"T": 4}, 0.7)]
    assert best([{"settings": at, "valid_accuracy": value, "test_accuracy": 1 / at["T"]} for at, value in shown]) == {
        "T": 2}


@pytest.fixture(scope="module")
def lesson():
    """200 digits, a perceptron, and what another said about them."""
    whole = data.load("digits")
    source = whole.with_train(whole.train.take(torch.arange(200), "200"))
    build = partial(models.build, "mlp", source.shape, 10, hidden=(8,))
    network = build(seed=7)
    train.fit(Supervised(network), source, epochs=2, lr=1e-2)
    bank = LogitBank.record(network, source.train)
    return {"source": source, "student": lambda seed: build(seed=seed), "teacher": bank}


TRAINING = {"epochs": 2, "lr": 1e-2, "batch_size": 64}


@pytest.mark.parametrize("together", [True, False])
def test_what_is_in_the_journal_is_not_trained_again_and_the_rest_is_what_fit_gives(tmp_path, lesson, together):
    students = importlib.import_module("students")
    kept = partial(importlib.import_module("journal").Journal, tmp_path / "rows.jsonl", students.KEYS)
    grid = {"T": [1.0, 4.0], "alpha": [0.5]}
    first = students.train_missing(kept(), HEAD, [grid], [0, 1], **lesson, together=together, **TRAINING)
    marked = kept()
    for row in marked.rows.values():
        row["mark"] = True
    second = students.train_missing(marked, HEAD, [grid], [0, 1, 2], **lesson, together=together, **TRAINING)
    assert len(first) == 4 and len(second) == 6 and sum("mark" in row for row in second) == 4
    for row in second:
        student = lesson["student"](row["seed"])
        rows = train.fit(KD(student, lesson["teacher"], **row["settings"]), lesson["source"], seed=row["seed"],
                         **TRAINING)
        test = lesson["source"].test
        accuracy = metrics.accuracy(metrics.predict(student, test), test.y)
        assert row["valid_accuracy"] == pytest.approx(rows[-1]["valid_accuracy"], abs=0.006)
        assert row["test_accuracy"] == pytest.approx(accuracy, abs=0.006)


def test_test_images_are_not_looked_at_while_settings_are_chosen(tmp_path, lesson):
    students = importlib.import_module("students")
    kept = importlib.import_module("journal").Journal(tmp_path / "rows.jsonl", students.KEYS)
    found = students.train_missing(kept, HEAD | {"stage": "chosen"}, [{"T": [1.0]}], [0], **lesson, together=False,
                                   **TRAINING)
    assert [row["test_accuracy"] for row in found] == [None]


def test_no_training_starts_after_the_budget_and_those_before_are_kept(tmp_path, lesson):
    students = importlib.import_module("students")
    kept = importlib.import_module("journal").Journal(tmp_path / "rows.jsonl", students.KEYS)
    students.train_missing(kept, HEAD, [{"T": [1.0]}], [0], **lesson, together=False, **TRAINING)
    with pytest.raises(students.OutOfTime):
        students.train_missing(kept, HEAD, [{"T": [1.0]}], [0, 1], **lesson, together=False, stop=0.0, **TRAINING)
    assert len(kept.where()) == 1


def test_the_epochs_are_enough_when_hard_labels_gain_no_more():
    enough = importlib.import_module("methods_fashion").enough
    rising = [min(1.0, 0.5 + epoch / 50) for epoch in range(60)]  # reaches 1 at epoch 25
    assert enough([{"curve": rising}]) == 30 and enough([{"curve": [0.5] * 60}]) == 10
    assert enough([{"curve": [epoch / 60 for epoch in range(60)]}]) == 60


# the plan of the methods on CIFAR-10

def plan():
    return importlib.import_module("methods_cifar10")


@pytest.mark.parametrize("student", ["lightnn", "resnet8"])
def test_every_method_that_is_planned_can_be_built_for_its_student_with_the_settings_of_its_grid(student):
    methods = {method for name, _, _, found in plan().STEPS if name == student for method in found}
    teacher = models.build("resnet20", (3, 32, 32), 10, seed=0)
    batch = Batch(torch.rand(3, 3, 32, 32), torch.arange(3), torch.arange(3))
    points = importlib.import_module("students").points
    for method in sorted(methods):
        settings = points(plan().grids_of(method, student))[-1]
        terms = METHODS[method](models.build(student, (3, 32, 32), 10, seed=0), teacher, **settings)(batch)
        assert all(term.value.isfinite() for term in terms.values()), (method, settings)


def test_no_arm_of_a_cell_is_planned_twice_and_every_method_of_the_grids_is_planned():
    for cell in plan().cells():
        arms = plan().planned(cell)
        assert arms and len(set(arms)) == len(arms)
    assert {method for _, _, _, found in plan().STEPS for method in found} == set(plan().GRIDS)


def test_students_on_cifar10_are_judged_and_validated_by_images_that_nobody_learns(monkeypatch):
    def images(split, n):
        sign = 0 if split == "train" else 128  # each image is of one brightness, its row, and its split
        x = (torch.arange(n) % 128 + sign).byte()[:, None, None, None].expand(n, 3, 2, 2).contiguous()
        x[:, 0, 0, 0], x[:, 0, 0, 1] = (torch.arange(n) // 256).byte(), (torch.arange(n) % 256).byte()
        return x, torch.arange(n) % 10, tuple("abcdefghij")

    monkeypatch.setattr(plan(), "images", images)
    unseen, seen = (plan().sources()[kind] for kind in plan().KINDS)
    rows_of = {name: {tuple(image.flatten().tolist()) for image in split.x} for name, split in
               {"unseen": unseen.train, "seen": seen.train, "valid": unseen.valid, "test": unseen.test}.items()}
    assert sum(map(len, rows_of.values())) == len(set().union(*rows_of.values())) == 14_000
    assert torch.equal(unseen.test.x, seen.test.x) and torch.equal(unseen.valid.x, seen.valid.x)
    assert (seen.train.x[:, 1] < 128).all() and (unseen.train.x[:, 1] >= 128).all()


def test_a_time_of_the_day_that_is_over_is_that_of_tomorrow(monkeypatch):
    monkeypatch.setattr(time, "localtime", lambda: time.struct_time((2026, 1, 2, 15, 30, 0, 4, 2, 0)))
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    assert plan().end("") == float("inf")
    assert plan().end("16:00") == 1000 + 30 * 60 and plan().end("15:00") == 1000 + 23.5 * 3600


# the tables

def test_tables_of_the_readme_are_those_of_the_result_files():
    tables = importlib.import_module("tables")
    blocks = tables.BLOCK.findall(tables.README.read_text(encoding="utf-8"))
    assert blocks
    for start, name, end in blocks:
        text = tables.README.read_text(encoding="utf-8")
        assert start + tables.block(name) + "\n" + end in text, name


def test_what_a_table_lacks_is_said_cell_by_cell():
    missing = importlib.import_module("tables").missing
    entries = [{"cell": "a", "method": "kd"}, {"cell": "a", "method": "dkd"}, {"cell": "b", "method": "kd"}]
    assert missing(entries, ["a"]) == "\nNot yet measured, in whole or with all seeds: a (kd, dkd); b (all)."
    assert missing([], ["a"]) == "\nNothing is missing."
