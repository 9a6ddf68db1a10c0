"""A study pairs its students by seed, compares each lesson with the baseline, and shows what was measured elsewhere."""

import dataclasses
import json

import pytest
import torch

from kdcourse import data, distillers, metrics, models, study, train, viz
from kdcourse.teachers import LogitBank

SETTINGS = {"epochs": 2, "lr": 1e-2, "batch_size": 64}


@pytest.fixture(scope="module")
def source():
    return data.load("digits")


@pytest.fixture(scope="module")
def found(source):
    teacher = models.build("mlp", source.shape, 10, seed=9)
    train.fit(distillers.Supervised(teacher), source, **SETTINGS)
    bank = LogitBank.record(teacher, source.train)
    lessons = {"hard labels": distillers.Supervised, "KD": lambda student: distillers.KD(student, bank, T=2, alpha=0.5)}
    return bank, study.paired(student(source), lessons, source, seeds=(3, 5, 4), **SETTINGS)


def student(source, hidden=16):
    return lambda seed: models.build("mlp", source.shape, 10, seed=seed, hidden=(hidden,))


def test_what_is_tested_is_what_is_deployed_and_not_a_head_that_learnt_nothing(source):
    teacher = models.build("cnn", source.shape, 10, seed=9, width=4)
    train.fit(distillers.Supervised(teacher), source, epochs=6, lr=1e-2, batch_size=64)
    lessons = {"SimKD": lambda network: distillers.SimKD(network, teacher)}
    found = study.paired(lambda seed: models.build("cnn", source.shape, 10, seed=seed, width=4), lessons, source,
                         seeds=(0, 1), epochs=6, lr=1e-2, batch_size=64)
    for network, accuracy, seed in zip(found.networks["SimKD"], found.accuracy["SimKD"], found.seeds, strict=True):
        distiller = distillers.SimKD(models.build("cnn", source.shape, 10, seed=seed, width=4), teacher)
        train.fit(distiller, source, seed=seed, epochs=6, lr=1e-2, batch_size=64)
        z = metrics.predict(distiller.deployable(), source.test)
        assert accuracy == metrics.accuracy(z, source.test.y) > 0.5
        torch.testing.assert_close(metrics.predict(network, source.test), z)


def test_each_student_is_the_one_that_fit_trains_from_its_seed(source, found):
    bank, result = found
    for place, seed in enumerate(result.seeds):
        alone = student(source)(seed)
        rows = train.fit(distillers.KD(alone, bank, T=2, alpha=0.5), source, seed=seed, **SETTINGS)
        z = metrics.predict(alone, source.test)
        assert metrics.accuracy(z, source.test.y) == pytest.approx(result.accuracy["KD"][place], abs=0.002)
        torch.testing.assert_close(metrics.predict(result.networks["KD"][place], source.test), z, atol=1e-3, rtol=1e-3)
        if place == 0:
            assert [row["kd"] for row in result.rows["KD"]] == pytest.approx([row["kd"] for row in rows], abs=1e-4)


def test_comparisons_are_those_of_the_accuracies_in_the_order_of_the_seeds(found):
    result = found[1]
    one = metrics.compare(result.accuracy["KD"], result.accuracy["hard labels"], images=597, margin=0.002)
    assert result.compare("KD", "hard labels", margin=0.002) == one
    family = result.against("hard labels", margin=0.002)
    assert list(family) == ["KD"] and (family["KD"].mean, family["KD"].n) == (one.mean, 3)


def test_an_unknown_lesson_is_named_with_those_there_are(found):
    with pytest.raises(ValueError, match="choose one of: KD, hard labels"):
        found[1].against("hard label")


@pytest.mark.parametrize(("lessons", "seeds", "message"), [
    ({}, range(3), "needs a lesson"), ({"a": distillers.Supervised}, [1], "two seeds"),
    ({"a": distillers.Supervised}, [1, 1], "each once"),
])
def test_a_study_that_cannot_compare_is_refused_before_anything_is_trained(source, lessons, seeds, message):
    with pytest.raises(ValueError, match=message):
        study.paired(student(source), lessons, source, seeds=seeds, **SETTINGS)


def test_what_stops_a_study_has_the_lessons_before_it(source):
    class Stops(distillers.Supervised):
        def forward(self, batch):
            if batch.epoch == 1:
                raise KeyboardInterrupt
            return super().forward(batch)

    lessons = {"hard labels": distillers.Supervised, "again": distillers.Supervised}
    expected = study.paired(student(source), lessons, source, seeds=(3, 5), **SETTINGS)
    with pytest.raises(KeyboardInterrupt) as stopped:
        study.paired(student(source), lessons | {"stops": Stops, "never": None}, source, seeds=(3, 5), **SETTINGS)
    found = stopped.value.lessons
    assert found == dataclasses.replace(expected, networks=found.networks)
    assert [len(networks) for networks in found.networks.values()] == [2, 2]
    assert found.compare("again", "hard labels").mean == 0 and stopped.value.finished == []
    assert stopped.value.__notes__[-1].startswith("stopped in the lesson 'stops'")
    assert [row["epoch"] for row in stopped.value.rows] == [1]


def test_a_lesson_that_trains_one_network_for_all_seeds_is_refused_by_a_study_too(source):
    peer = student(source)(50)
    lessons = {"hard labels": distillers.Supervised, "peer": lambda network: distillers.DML(network, peer)}
    with pytest.raises(ValueError, match=r"two students would train the same weights, peer\.") as stopped:
        study.paired(student(source), lessons, source, seeds=(3, 5), **SETTINGS)
    assert list(stopped.value.lessons.accuracy) == ["hard labels"]


def test_every_result_file_is_found_by_its_name_and_says_where_it_comes_from():
    for name in ("mnist_kd", "slkd_fashion", "speed"):
        assert {"results", "seeds", "settings", "commit", "versions", "hardware"} <= study.recorded(name).keys()
    with pytest.raises(ValueError, match=r"unknown result file 'mnist'; choose one of: .*mnist_kd"):
        study.recorded("mnist")


def test_an_installed_package_brings_the_result_files_with_it(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "one.json").write_text(json.dumps({"results": 1}))
    monkeypatch.setattr(study, "__file__", str(tmp_path / "elsewhere" / "kdcourse" / "study.py"))
    monkeypatch.setattr(study, "files", lambda package: tmp_path)
    assert study.recorded("one") == {"results": 1}


def points_of(ax):
    return [sorted(line.get_xdata().tolist()) for line in ax.lines if len(line.get_xdata()) == 3]


ACCURACY = {"hard labels": [0.70, 0.72, 0.74], "KD": [0.75, 0.74, 0.79], "DIST": [0.60, 0.62, 0.64]}


def test_a_dot_stands_for_every_seed_in_percent():
    ax = viz.seeds(ACCURACY, baseline="hard labels")
    assert points_of(ax) == [pytest.approx(sorted(100 * value for value in values)) for values in ACCURACY.values()]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(ACCURACY)


def test_differences_are_taken_pair_by_pair_and_not_between_means():
    ax = viz.differences(ACCURACY, "hard labels", margin=0.01)
    assert points_of(ax) == [pytest.approx([2, 5, 5]), pytest.approx([-10, -10, -10])]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["KD", "DIST"]


def test_a_confusion_matrix_is_shown_in_percent_of_its_rows():
    ax = viz.confusion(torch.tensor([[3, 1], [0, 0]]), ["cat", "dog"])
    assert [text.get_text() for text in ax.texts] == ["75", "25"]


def test_the_terms_of_a_loss_are_drawn_where_they_were_there(found):
    rows = [{"epoch": 1, "ce": 2.0, "ce_weight": 1.0},
            {"epoch": 2, "ce": 1.0, "ce_weight": 1.0, "kd": 3.0, "kd_weight": 1}]
    ax = viz.terms(rows)
    assert {line.get_label(): line.get_ydata().tolist() for line in ax.lines} == {"ce": [2.0, 1.0], "kd": [3.0]}


def test_accuracy_over_cost_has_an_interval_where_there_are_seeds():
    ax = viz.against_cost({"teacher": (1e6, [0.9]), "student": (1e3, [0.7, 0.8])}, cost="multiply-adds")
    assert ax.get_xscale() == "log" and [line.get_ydata()[0] for line in ax.lines[::3]] == pytest.approx([90, 75])


def test_a_study_that_was_interrupted_measures_nothing_twice_and_mixes_no_settings(tmp_path):
    path, calls = tmp_path / "new" / "rows.json", []

    def measure():
        calls.append(1)
        return {"auc": 0.5 + len(calls) / 10}

    assert [study.kept(path, key, {"lr": (1, 2)}, measure) for key in ("a", "b", "a")] == [
        {"auc": 0.6}, {"auc": 0.7}, {"auc": 0.6}]
    with pytest.raises(ValueError, match="other settings"):
        study.kept(path, "a", {"lr": (1, 3)}, measure)
    assert study.kept(None, "a", {}, measure) == study.kept(None, "a", {}, lambda: {"auc": 0.8})


def test_what_another_notebook_has_kept_meanwhile_stays(tmp_path):
    path = tmp_path / "kept.json"

    def measure():
        assert study.kept(path, "another", {"lr": 1}, lambda: {"right": 2}) == {"right": 2}
        return {"right": 1}

    assert study.kept(path, "one", {"lr": 1}, measure) == {"right": 1}
    assert json.loads(path.read_text())["rows"] == {"another": {"right": 2}, "one": {"right": 1}}


@pytest.mark.parametrize("content", ["", '{"settings": {', "[]", '{"rows": {}}'])
def test_a_damaged_file_of_kept_rows_is_named_and_not_written_over(tmp_path, content):
    (tmp_path / "kept.json").write_text(content)
    with pytest.raises(ValueError, match=r"kept\.json cannot be read .*: delete it"):
        study.kept(tmp_path / "kept.json", "one", {}, dict)
    assert (tmp_path / "kept.json").read_text() == content


@pytest.mark.parametrize("wrong, message", [({"seeds": 5}, r"seeds=range\(5\)"),
                                            ({"lessons": [distillers.Supervised]}, "lessons are a dict")])
def test_a_wrong_call_of_a_study_is_answered_with_the_right_one(source, wrong, message):
    given = {"lessons": {"hard labels": distillers.Supervised}, "seeds": (0, 1)} | wrong
    with pytest.raises(TypeError, match=message):
        study.paired(student(source), given["lessons"], source, seeds=given["seeds"], **SETTINGS)
