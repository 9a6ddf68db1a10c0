"""Studies as data, and who runs them: what is done stays, what was stopped goes on, and nobody disturbs anybody."""

import errno
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from kdcourse import cli, distillers, metrics, models, studies, train
from kdcourse.core import Batch, total
from kdcourse.studies import base, runners, training
from kdcourse.studies.base import Arm, Store, Study
from kdcourse.teachers import LogitBank, Teacher
from kdcourse.teachers import base as base_of_teachers

NOISE = {"name": "noise", "images": 16, "side": 8, "classes": 6}
SHORT = {"epochs": 2, "batch_size": 8, "lr": 0.01}
MLP = {"name": "mlp", "hidden": [8]}
HARD, KD = {"method": "hard labels"}, {"method": "kd", "T": 2, "alpha": 0.5}


def tiny(seeds=(0, 1), training=None, **lesson):
    """A teacher, a student alone, a student taught, with this training beside a short one's settings."""
    short = SHORT | (training or {})
    return Study("tiny", "a test", (
        Arm("teacher", NOISE, {"name": "mlp", "hidden": [16]}, HARD, short),
        Arm("alone", NOISE, MLP, HARD, short),
        Arm("taught", NOISE, MLP, lesson or KD, short, "teacher"),
    ), tuple(seeds), {"does KD help?": ("taught", "alone")})


def quiet(line):
    pass


def answer(unit, store):
    """In place of a training."""
    if unit.teaches:
        store.weights(unit).write_bytes(b"")
    return {"test_top1": 0.5 + 0.1 * (unit.arm.name == "taught") + 0.01 * unit.seed, "test_top5": 0.9, "images": 16}


def results(folder):
    return {path.name: json.loads(path.read_text())["result"] for path in sorted(folder.glob("*.json"))}


# what a study is

def test_teachers_come_first_and_once_and_with_what_they_teach():
    study = tiny()
    assert [unit.name for unit in study.units()] == [
        "teacher-seed0", "alone-seed0", "alone-seed1", "taught-seed0", "taught-seed1"]
    assert [unit.name for unit in study.units(["taught"], [7])] == ["teacher-seed0", "taught-seed7"]
    assert [unit.name for unit in study.units(["alone"])] == ["alone-seed0", "alone-seed1"]
    with pytest.raises(ValueError, match="no arm of tiny has 'none' in its name; they are: teacher, alone, taught"):
        study.units(["none"])


def test_arms_that_cannot_be_told_apart_and_names_that_nobody_has_are_refused():
    arms = tiny().arms
    with pytest.raises(ValueError, match="one name: al one, al-one"):
        Study("s", "", (replace(arms[1], name="al one"), replace(arms[1], name="al-one")), (0,))
    with pytest.raises(ValueError, match="s has no arm called 'teacher'"):
        Study("s", "", arms[1:], (0,))
    with pytest.raises(ValueError, match="no arm called 'other'"):
        Study("s", "", arms, (0,), {"?": ("taught", "other")})


def test_every_cell_of_the_tables_of_the_slkd_paper_has_an_arm():
    study = studies.STUDIES["slkd_paper"]
    arms = {arm.name: arm for arm in study.arms}
    pairs = """resnet32x4 resnet8x4, resnet56 resnet8, wrn_40_2 wrn_40_1, wrn_40_2 wrn_16_2, vgg13 vgg11, vgg13 vgg8,
        resnet32x4 shufflenet_v2, resnet32x4 shufflenet_v1, resnet50 mobilenet_v2, vgg13 mobilenet_v2,
        wrn_40_2 shufflenet_v1""".replace("\n", " ").split(",")
    cells = set()
    for teacher, student in map(str.split, pairs):  # tables 1, 2, 8, 9
        cells |= {teacher, student, *(f"{teacher} to {student} {row}" for row in (
            "at", "sp", "rkd", "ofd", "crd", "review_kd", "dkd", "kd", "slkd", "slkd finished"))}
    for student, teachers in (("resnet20", "resnet56 resnet110 resnet50 resnet32x4"),  # tables 5 and 6
                              ("wrn_16_2", "resnet110 vgg13 wrn_40_2 resnet32x4")):
        cells |= {f"{teacher} to {student} {row}" for teacher in teachers.split() for row in ("kd", "slkd")}
        cells |= set(teachers.split())
    for pair in ("resnet32x4 to resnet8x4", "vgg13 to mobilenet_v2"):  # table 7
        cells |= {f"{pair} {row}" for row in ("kd", "slkd one only", "slkd one")}
    assert cells <= arms.keys()
    for name, arm in arms.items():
        slow = arm.network["name"].startswith(("shuffle", "mobile"))
        assert arm.training["lr"] == (0.01 if slow else 0.05) and arm.training["epochs"] == 240, name
        assert arm.data == {"name": "cifar100", "whole": True}


def test_the_dist_paper_is_its_tables():
    arms = {arm.name: arm for arm in studies.STUDIES["dist_paper"].arms}
    found = {name: tuple(arm.training[key] for key in ("epochs", "batch_size", "lr")) for name, arm in arms.items()}
    expected = {}
    for source, vit, resnet, T in (("cifar10", 7, 20, 2), ("cifar100", 10, 25, 4)):  # tables I and III
        expected |= {f"{source} vit_base": (vit, 16, 5e-6), f"{source} vit_large": (vit, 16, 5e-6)}
        for student, lr in (("resnet18", 7.5e-5), ("resnet50", 7.5e-5), ("resnet152", 1e-4)):
            expected[f"{source} {student} alone"] = (resnet, 32, lr)
            for size in ("base", "large"):
                name = f"{source} vit_{size} to {student} dist"
                expected[name] = (20, 16, 7.5e-5)
                assert arms[name].lesson == {"method": "dist", "alpha": 1, "beta": 2, "gamma": 2, "T": T}
    assert found == expected
    assert {arm.training["optimizer"]["name"] for arm in arms.values()} == {"AdamW"}
    for name, arm in arms.items():
        assert ("hue" in arm.training["augment"]) == ("dist" not in name)


@pytest.mark.parametrize("name", ["dist_controls", "slkd_controls", "cifar10_halves"])
def test_the_controls_of_a_study_have_one_budget_and_five_seeds(name):
    study = studies.STUDIES[name]
    assert study.seeds == (0, 1, 2, 3, 4)
    for ours, other in map(tuple, study.questions.values()):
        one, two = (study.arm(arm).training for arm in (ours, other))
        assert [one[key] for key in ("epochs", "batch_size")] == [two[key] for key in ("epochs", "batch_size")]
        assert study.arm(ours).network == study.arm(other).network


def test_the_rate_falls_to_a_tenth_at_epochs_150_180_and_210_of_240():
    factor = train.SCHEDULES["steps"]
    found = [factor((epoch + step) / 240) for epoch in (0, 149, 150, 179, 180, 209, 210, 239) for step in (0, 0.99)]
    assert found == pytest.approx([1] * 4 + [0.1] * 4 + [0.01] * 4 + [0.001] * 4)


# one training

@pytest.mark.parametrize("name, words", [
    ("dist_paper", ["cifar10 vit_base to resnet18", "cifar10 resnet18"]),
    ("dist_controls", ["cifar100 vit_huge to eff", "cifar100 eff"]),
    ("slkd_paper", ["vgg13 to vgg8", "vgg13 to mobilenet_v2 slkd one"]), ("slkd_controls", ["vgg13 to vgg8"]),
    ("cifar10_halves", ["unseen resnet20 to lightnn"]),
])
def test_a_rehearsal_runs_every_method_of_a_study(name, words, tmp_path):
    study = studies.rehearsed(studies.STUDIES[name])
    units = study.units(words, study.seeds[:1])
    methods = {arm.lesson["method"] for arm in study.arms}
    assert {unit.arm.lesson["method"] for unit in units} == methods
    assert studies.run(study, units, tmp_path, tell=quiet) == {}
    for unit in units:
        row = Store(tmp_path).read(unit)
        assert {"commit", "versions", "hardware", "finished", "settings", "seconds"} <= row.keys()
        assert len(row["result"]["rows"]) == 1 and 0 <= row["result"]["test_top1"] <= row["result"]["test_top5"] <= 1
        assert ("teacher" in row["result"]) == (unit.arm.teacher is not None)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert "| arm | n |" in studies.report(study, tmp_path)


def test_a_result_does_not_name_the_machine_that_made_it(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "adas-laptop")
    monkeypatch.setattr(platform, "node", lambda: "adas-laptop")
    made = base.made_by()
    assert "adas-laptop" not in json.dumps(made) and made["hardware"]["machine"]


def test_a_training_is_that_of_fit_with_the_saved_teacher(tmp_path):
    study, store = tiny(), Store(tmp_path)
    assert studies.run(study, study.units(), tmp_path, tell=quiet) == {}
    source = training.noise(images=16, side=8, classes=6)
    teacher = models.build("mlp", source.shape, 6, seed=0, hidden=(16,))
    train.fit(distillers.Supervised(teacher), source, seed=0, **SHORT)
    student = models.build("mlp", source.shape, 6, seed=1, hidden=(8,))
    bank = LogitBank.record(teacher, source.train)
    rows = train.fit(distillers.KD(student, bank, T=2, alpha=0.5), source, seed=1, **SHORT)
    found = store.read(study.units(["taught"], [1])[1])["result"]
    z = metrics.predict(student, source.test)
    among = [label in z_of.sort(descending=True).indices[:5] for z_of, label in zip(z, source.test.y, strict=True)]
    assert found["rows"] == json.loads(json.dumps(rows))
    assert found["test_top1"] == metrics.accuracy(z, source.test.y)
    assert found["test_top5"] == pytest.approx(sum(among) / 16) and found["parameters"] == 3 * 64 * 8 + 8 + 8 * 6 + 6


def test_a_pretrained_vit_is_fine_tuned_kept_and_teaches(tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.ViTModel(transformers.ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=16, image_size=8, patch_size=4,
    )).save_pretrained(tmp_path / "vit")  # without a head, as those of table I
    transformers.ViTImageProcessor(size={"height": 8, "width": 8}).save_pretrained(tmp_path / "vit")
    teacher, _, student = tiny().arms
    vit = replace(teacher, network={"name": str(tmp_path / "vit"), "pretrained": True})
    study = Study("tiny", "", (vit, replace(student, lesson={"method": "dist"})), (0,))
    store = Store(tmp_path / "results")
    assert studies.run(study, study.units(), store.folder, tell=quiet) == {}
    source, first = training.read(NOISE), study.units()[0]
    kept = training.load(first, store, source)
    assert metrics.accuracy(metrics.predict(kept.network, source.test), source.test.y) == (
        store.read(first)["result"]["test_top1"])


def test_whole_trains_on_the_validation_images_too_and_never_on_those_of_the_test():
    part, whole = training.read(NOISE), training.read({**NOISE, "whole": True})
    assert torch.equal(whole.train.x, torch.cat([part.train.x, part.valid.x])) and len(whole.train) == 32
    assert whole.test.key == part.test.key


def test_halves_part_the_training_images_and_a_teacher_has_seen_one_of_them():
    whole, first, second = (training.read({**NOISE, **more}) for more in ({}, {"half": "first"}, {"half": "second"}))
    assert torch.equal(torch.cat([first.train.x, second.train.x]), whole.train.x) and len(first.train) == 8
    assert first.train.key != second.train.key and first.valid.key == second.valid.key == whole.valid.key
    assert training.facts({"name": "cifar10", "half": "second"})[2] == 22_500
    study = studies.STUDIES["cifar10_halves"]
    for arm in study.arms:
        seen = arm.data == study.arm("resnet20").data
        assert seen == (not arm.name.startswith("unseen")), arm.name
    rehearsed = studies.rehearsed(study)
    assert [arm.data.get("half") for arm in rehearsed.arms] == [arm.data["half"] for arm in study.arms]


def test_a_learners_recorded_path_is_that_of_slkd_beside_it_and_is_recorded_once(tmp_path, monkeypatch):
    study = tiny((0, 1), method="slkd_recorded", count=1, T=4, lam=0.1)
    recorded, record = [], training.procedures.record_learners
    monkeypatch.setattr(training.procedures, "record_learners", lambda *a, **k: recorded.append(a) or record(*a, **k))
    units = study.units(["taught"])
    assert studies.run(study, units, tmp_path, tell=quiet) == {} and len(recorded) == 1
    source, store = training.read(NOISE), Store(tmp_path)
    teacher = training.load(units[0], store, source)
    student = models.build("mlp", source.shape, 6, seed=0, hidden=(8,))
    beside = distillers.SLKD(student, teacher, learners=training._learners(teacher, 1, 0), T=4, lam=0.1)
    rows = train.fit(beside, source, seed=0, **SHORT)
    found = store.read(units[1])["result"]["rows"]
    assert [row["kd_learners"] for row in found] == pytest.approx([row["kd_learners"] for row in rows], rel=1e-3)
    alone = tiny((0,), method="slkd_teacher", T=4, lam=0.1)
    assert studies.run(alone, alone.units(["taught"]), tmp_path / "alone", tell=quiet) == {}
    other = Store(tmp_path / "alone").read(alone.units(["taught"])[1])["result"]["rows"]
    assert other[0]["kd_learners"] != pytest.approx(found[0]["kd_learners"], rel=1e-2)


@pytest.mark.parametrize("more", [
    {"augment": {"pad": 2, "flip": True}}, {"optimizer": {"name": "SGD", "momentum": 0.9}},
])
def test_a_path_is_recorded_once_whatever_the_training_is_made_of(more, tmp_path, monkeypatch):
    study = tiny((0, 1, 2), more, method="slkd_recorded", count=1, T=4, lam=0.1)
    recorded, record = [], training.procedures.record_learners
    monkeypatch.setattr(training.procedures, "record_learners", lambda *a, **k: recorded.append(a) or record(*a, **k))
    for unit in study.units(["taught"]):  # each by a runner of its own, as after an interruption
        assert studies.run(study, [unit], tmp_path, tell=quiet) == {}
    assert len(recorded) == 1 and len(list((tmp_path / "answers").glob("learners-*"))) == 1
    other = tiny((0,), more | {"lr": 0.02}, method="slkd_recorded", count=1, T=4, lam=0.1)
    assert studies.run(other, other.units(["taught"]), tmp_path / "other", tell=quiet) == {} and len(recorded) == 2


def test_slkds_weights_with_the_teacher_in_the_learners_place_are_twice_kd():
    source = training.noise(side=8)
    student, teacher = (models.build("mlp", source.shape, 10, seed=seed) for seed in (0, 1))
    batch = Batch(source.train.x[:8].float() / 255, source.train.y[:8], torch.arange(8))
    twice = training._distiller("slkd_teacher", student, Teacher(teacher), {"T": 4, "lam": 0.1}, 0)
    torch.testing.assert_close(total(twice(batch)), 2 * total(distillers.KD(student, teacher, T=4, alpha=0.9)(batch)))


def test_learners_fixed_at_their_end_are_finished_learners(tmp_path):
    pair = [tiny((1,), method=method, T=4, lam=0.1, **more)
            for method, more in (("slkd_finished", {}), ("slkd_checkpoint", {"share": 1.0}))]
    found = []
    for number, study in enumerate(pair):
        assert studies.run(study, study.units(["taught"]), tmp_path / str(number), tell=quiet) == {}
        found.append(Store(tmp_path / str(number)).read(study.units(["taught"])[1])["result"]["rows"])
    assert [row["kd_learners"] for row in found[0]] == pytest.approx([row["kd_learners"] for row in found[1]], rel=1e-4)
    early = tiny((1,), method="slkd_checkpoint", share=0.5, T=4, lam=0.1)
    assert studies.run(early, early.units(["taught"]), tmp_path / "early", tell=quiet) == {}
    rows = Store(tmp_path / "early").read(early.units(["taught"])[1])["result"]["rows"]
    assert rows[1]["kd_learners"] != pytest.approx(found[0][1]["kd_learners"], rel=1e-4)


# what is done stays done

def test_what_was_stopped_goes_on_and_nothing_is_done_twice(tmp_path):
    study, done = tiny(), []

    def until_third(unit, store):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(unit.name)
        return answer(unit, store)

    with pytest.raises(KeyboardInterrupt):
        runners.serial(study.units(), Store(tmp_path), until_third, tell=quiet)
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == sorted(done)

    def note(unit, store):
        done.append(unit.name)
        return answer(unit, store)

    for _ in range(2):
        assert runners.serial(study.units(), Store(tmp_path), note, tell=quiet) == {}
    assert done == [unit.name for unit in study.units()]


def test_a_training_that_fails_leaves_nothing_and_takes_only_its_students_with_it(tmp_path):
    study = tiny()

    def failing(unit, store):
        if unit.arm.name == "teacher":
            raise FloatingPointError("the loss is not finite")
        return answer(unit, store)

    failed = runners.serial(study.units(), Store(tmp_path), failing, tell=quiet)
    assert set(failed) == {"teacher-seed0", "taught-seed0", "taught-seed1"}
    assert failed["taught-seed0"] == "its teacher failed: FloatingPointError: the loss is not finite"
    assert set(results(tmp_path)) == {"alone-seed0.json", "alone-seed1.json"}
    assert runners.serial(study.units(), Store(tmp_path), answer, tell=quiet) == {} and len(results(tmp_path)) == 5


def test_a_file_of_other_settings_is_refused_by_name_before_anything_is_trained(tmp_path):
    study = tiny()
    assert runners.serial(study.units(), Store(tmp_path), answer, tell=quiet) == {}
    teacher, alone, taught = study.arms
    changed = replace(study, arms=(replace(teacher, training={**SHORT, "lr": 0.02}), alone, taught))
    message = r"teacher-seed0\.json was trained with other settings: training\.lr was 0\.01, and is 0\.02"
    with pytest.raises(ValueError, match=message):
        runners.serial(changed.units(), Store(tmp_path), answer, tell=quiet)
    for unit in changed.units(["taught"])[1:]:  # a student of another teacher is another student
        with pytest.raises(ValueError, match=r"teacher\.training\.lr was 0\.01"):
            Store(tmp_path).read(unit)
    assert Store(tmp_path).read(changed.units(["alone"])[0])["result"]["test_top1"] == 0.5


@pytest.mark.parametrize("content", ["", "{", "<html>", "[]", "{}", '{"result": 3}'])
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path, content):
    unit = tiny().units(["alone"])[0]
    Store(tmp_path).path(unit).write_text(content)
    with pytest.raises(ValueError, match=r"alone-seed0\.json is no result of a training .*: delete it"):
        Store(tmp_path).read(unit)


def test_a_student_whose_teacher_nobody_trains_is_not_waited_for(tmp_path):
    study = tiny()
    students = [unit for unit in study.units(["taught"]) if unit.teacher]
    failed = runners.serial(students, Store(tmp_path), answer, tell=quiet)
    assert set(failed.values()) == {"its teacher is not trained: run teacher-seed0, too"} and not results(tmp_path)


def test_where_files_cannot_be_locked_it_is_said_and_nothing_waits(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def none(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    failed = runners.serial(tiny().units(["alone"]), Store(tmp_path), answer, tell=quiet)
    assert all("whose file system has no locks (Function not implemented): choose another --folder" in why
               for why in failed.values()) and len(failed) == 2


def test_a_relative_folder_is_the_same_one_wherever_a_worker_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store("results")
    monkeypatch.chdir("/")
    assert store.folder == tmp_path / "results"


def test_a_report_says_what_was_not_the_same_for_all_trainings(tmp_path, monkeypatch):
    study, store = tiny(), Store(tmp_path)
    runners.serial(study.units(["alone"]), store, answer, tell=quiet)
    assert "Not all trainings" not in studies.report(study, tmp_path)
    path = store.path(next(unit for unit in study.units(["alone"]) if unit.seed == 1))
    row = json.loads(path.read_text())
    row["result"]["precision"], row["commit"] = "bfloat16", "0123456789abcdef"
    path.write_text(json.dumps(row))
    said = studies.report(study, tmp_path)
    assert re.search(r"Not all trainings ran alike, precision: \w+ \(1\), \w+ \(1\)\.", said)
    assert "Not all trainings ran alike, commit: " in said and "0123456789ab (1)" in said


def test_a_path_that_was_recorded_in_another_precision_is_another_one(tmp_path, monkeypatch):
    study = tiny((0, 1), method="slkd_recorded", count=1, T=4, lam=0.1)
    for seed, precision in enumerate(("float32", "bfloat16")):
        monkeypatch.setenv("KDCOURSE_PRECISION", precision)
        assert studies.run(study, study.units(["taught"], [seed]), tmp_path, tell=quiet) == {}
    assert len(list((tmp_path / "answers").glob("learners-*"))) == 2


def test_a_teacher_without_its_weights_is_not_done(tmp_path):
    study, store = tiny(), Store(tmp_path)
    runners.serial(study.units(), store, answer, tell=quiet)
    store.weights(study.units()[0]).unlink()
    with pytest.raises(ValueError, match=r"its weights, teacher-seed0\.safetensors, are not"):
        store.read(study.units()[0])


def test_two_runners_on_one_folder_do_each_training_once_and_both_see_it_finished(tmp_path):
    study, done, ends = tiny(range(6)), [], []

    def slowly(unit, store):
        done.append(unit.name)
        time.sleep(0.02)
        return answer(unit, store)

    def runner():
        ends.append(runners.serial(study.units(), Store(tmp_path), slowly, tell=quiet, pause=0.01))
        assert len(results(tmp_path)) == 13

    threads = [threading.Thread(target=runner) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ends == [{}, {}] and Counter(done) == Counter(unit.name for unit in study.units())


KILLED = """
import sys, time
from kdcourse.studies.base import Arm, Store, Study
unit = Study("s", "", (Arm("a", {}, {}, {}, {}),), (0,)).units()[0]
with Store(sys.argv[1]).claimed(unit) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_the_claim_of_a_runner_that_is_killed_ends_with_it(tmp_path):
    unit, store = Study("s", "", (Arm("a", {}, {}, {}, {}),), (0,)).units()[0], Store(tmp_path)
    other = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout.readline() == "True\n"
        assert store.state(unit) == base.BUSY
        with store.claimed(unit) as mine:
            assert not mine
        other.kill()
        other.wait()
    assert store.state(unit) == base.OPEN
    with store.claimed(unit) as mine:
        assert mine


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a worker as Unix does")
@pytest.mark.filterwarnings("ignore")
def test_workers_give_what_one_process_gives_and_a_lost_ones_training_is_done_again(tmp_path):
    pytest.importorskip("distributed")
    study = tiny((0,))
    killed = tmp_path / "killed"

    def dying_once(unit, store):
        from kdcourse.studies.training import train

        result = train(unit, store)
        if unit.arm.name == "taught" and not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    assert studies.run(study, study.units(), tmp_path / "serial", tell=quiet) == {}
    failed = runners.cluster(study.units(), Store(tmp_path / "workers"), dying_once, workers=2, tell=quiet, pause=0.05)
    assert failed == {} and int(killed.read_text()) != os.getpid()
    assert results(tmp_path / "workers") == results(tmp_path / "serial") and len(results(tmp_path / "serial")) == 3


# what is said of it

def test_a_report_compares_pairs_of_seeds_as_one_family(tmp_path):
    study = tiny((0, 1, 2))
    runners.serial(study.units(), Store(tmp_path), answer, tell=quiet)
    expected = metrics.family({"?": ([0.6, 0.61, 0.62], [0.5, 0.51, 0.52])}, images=16)["?"]
    text = studies.report(study, tmp_path)
    assert f"| does KD help? | taught - alone | {expected} |" in text and "| taught | 3 | 61.00 | 90.00 |" in text
    studies.figure(study, tmp_path, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000


def test_a_report_of_one_run_claims_nothing_and_counts_further_seeds(tmp_path):
    study = tiny((0,))
    runners.serial(study.units(), Store(tmp_path), answer, tell=quiet)
    assert "+10.00 points, n = 1: no answer yet" in studies.report(study, tmp_path)
    runners.serial(study.units(seeds=[4]), Store(tmp_path), answer, tell=quiet)
    assert "n = 2 seeds" in studies.report(study, tmp_path)


def test_a_plan_counts_trainings_and_hours_and_says_what_it_cannot_time(monkeypatch):
    study = tiny(range(10))

    def seconds(unit):
        if unit.arm.name == "taught":
            raise OSError("its weights are elsewhere")
        return 360.0

    monkeypatch.setattr(studies, "seconds_of_a_step", seconds)
    text = studies.plan(study, study.units())
    assert "21 trainings of 3 arms" in text and "teachers, trained first: teacher" in text
    assert "4.4 hours on this machine" in text  # 11 trainings of 2 epochs of 2 steps of 6 minutes
    assert "and 10 trainings or recordings whose time is not known here: its weights are elsewhere" in text


def test_a_plan_counts_a_recording_once_for_all_that_share_it(monkeypatch):
    study = tiny(range(10))
    monkeypatch.setattr(studies, "seconds_of_a_step", lambda unit: 360.0)
    monkeypatch.setattr(studies, "seconds_of_an_answer", lambda unit: 225.0)
    text = studies.plan(study, study.units(), rate=1e3)
    assert "recorded answers that trainings share: 1" in text
    assert "9.4 hours on this machine" in text  # 21 trainings of 24 minutes, and 16 images of 3.75
    teacher, student, images = 192 * 16 + 16 * 6, 192 * 8 + 8 * 6, 2 * 16
    counted = 3 * images * teacher + 20 * 3 * images * student + 16 * teacher
    assert f"{counted / 1e3 / 3600:,.1f} hours on a GPU, if it does 1e+03 multiply-adds a second" in text


def test_trainings_share_the_recorded_answers_of_their_teacher(tmp_path, monkeypatch):
    """One recording for three seeds and two lessons; views that never repeat; none where features are needed."""
    settings = {**SHORT, "augment": {"pad": 1}}
    arms = [Arm(name, NOISE, {"name": "cnn", "width": 4}, lesson, settings, "teacher") for name, lesson in
            (("kd", KD), ("dist", {"method": "dist", "T": 2}), ("sp", {"method": "sp"}))]
    teacher = Arm("teacher", NOISE, {"name": "cnn", "width": 6}, HARD, SHORT)
    study = Study("shared", "a test", (teacher, *arms), (0, 1, 2))
    seen, record = [], base_of_teachers._views_of
    monkeypatch.setattr(base_of_teachers, "_views_of", lambda *a, **k: seen.append(a) or record(*a, **k))
    assert studies.run(study, study.units(), tmp_path, tell=quiet) == {}
    [bank] = (tmp_path / "answers").iterdir()
    with safe_open(bank, framework="pt") as file:
        table = file.get_tensor("table")
    assert len(seen) == 1 and table.shape == (2, 16, 6) and not torch.equal(table[0], table[1])
    of = {unit.arm.name: Store(tmp_path).read(unit)["result"].get("teacher") for unit in study.units()}
    assert of["kd"] == of["dist"] == of["sp"] and of["teacher"] is None


def test_a_timed_step_takes_time_whatever_the_lesson():
    study = studies.rehearsed(studies.STUDIES["slkd_controls"])
    for name in ("vgg13 to vgg8 slkd finished", "vgg13 to vgg8 slkd weights, teacher alone"):
        assert 0 < training.seconds_of_a_step(study.units([name])[-1]) < 60


@pytest.mark.parametrize("overhead, each, expected, asked", [
    (0.1, 0.001, 0.1 / 64 + 0.001, [4, 64]),  # a small network, whose time is not that of its images
    (0.1, 1.0, 0.1 / 4 + 1.0, [4]),           # one of which nobody waits for 64 images
])
def test_a_step_is_timed_with_all_its_images_where_that_is_quick(overhead, each, expected, asked, monkeypatch):
    sizes = []
    monkeypatch.setattr(training, "device", lambda: torch.device("cpu"))
    found = training._timed(lambda n: sizes.append(n) or overhead + each * n, 64, 4)
    assert found == pytest.approx(expected) and list(dict.fromkeys(sizes)) == asked


def test_the_command_lists_rehearses_counts_and_reports(tmp_path, capsys):
    assert cli.main(["study", "list"]) == 0
    assert "slkd_paper     tables 1, 2 and 5 to 9" in capsys.readouterr().out
    settings = ["dist_paper", "--rehearse", "--only", "cifar10 vit_base to resnet18", "--folder", str(tmp_path)]
    for _ in range(2):
        assert cli.main(["study", "run", *settings]) == 0
    assert "2 of 2 trainings are in" in capsys.readouterr().out
    assert cli.main(["study", "status", *settings]) == 0
    names = "cifar10-vit-base-seed0, cifar10-vit-base-to-resnet18-dist-seed0"
    assert capsys.readouterr().out.startswith(f"done  2: {names}")
    whole = [word for word in settings if word not in ("--only", "cifar10 vit_base to resnet18")]
    assert cli.main(["study", "report", *whole]) == 0 and (tmp_path / "report.md").exists()
    assert cli.main(["study", "plan", *settings]) == 0 and "hours on this machine" in capsys.readouterr().out
    assert cli.main(["study", "run", "dist"]) == 2
    assert "choose one of: cifar10_halves, dist_controls, dist_paper" in capsys.readouterr().err
