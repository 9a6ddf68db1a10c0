"""Recordings of networks that learn: replayed they are what was said, in order and to the bit."""

import pytest
import torch
from safetensors import SafetensorError

from kdcourse import data, distillers, models, procedures, teachers, train
from kdcourse.core import Batch
from kdcourse.data import Augment
from kdcourse.teachers import LogitBank, Trajectory, base

TRAINING = {"epochs": 3, "lr": 2e-3, "batch_size": 50}


@pytest.fixture(scope="module")
def source():
    digits = data.load("digits")
    return digits.with_train(digits.train.take(torch.arange(180), "first"))


@pytest.fixture(scope="module")
def teacher(source):
    network = models.build("resnet8", source.shape, 10, seed=9, width=4)
    train.fit(distillers.Supervised(network), source, epochs=3, lr=3e-3)
    return teachers.Teacher(network)


def learners(width=4):
    return [models.build("resnet8", (1, 8, 8), 10, seed=seed, width=width) for seed in (1, 2)]


def student():
    return models.build("cnn", (1, 8, 8), 10, seed=0, width=4)  # has dropout: it must not disturb the learners


def trained(distiller, source, **settings):
    rows = train.fit(distiller, source, **TRAINING | settings)
    return rows, torch.cat([parameter.detach().flatten() for parameter in distiller.student.parameters()])


@pytest.mark.parametrize("augment", [None, Augment(pad=1)], ids=["plain", "endless views"])
def test_replay_from_float32_in_the_same_order_is_bit_for_bit_the_live_run(source, teacher, augment):
    settings = {"seed": 4, "augment": augment}
    trajectory = procedures.record_learners(learners(), teacher, source, **TRAINING | settings)
    rows, live = trained(distillers.SLKD(student(), teacher, learners=learners(), seed=4), source, **settings)
    replayed_rows, replayed = trained(distillers.SLKD(student(), teacher, learners=trajectory), source, **settings)
    assert torch.equal(live, replayed)
    assert [row["kd_learners"] for row in rows] == [row["kd_learners"] for row in replayed_rows]
    assert not any(key.startswith("learner") for row in replayed_rows for key in row)


def test_half_precision_moves_a_logit_by_less_than_a_hundredth_and_another_order_by_more(source, teacher):
    def record(**settings):
        return procedures.record_learners(learners(), teacher, source, **TRAINING | settings).table.float()

    exact, half, other = record(), record(dtype=torch.float16), record(seed=1)
    assert exact.abs().max() < 32 and 0 < (half - exact).abs().max() < 1e-2
    assert (other - exact).abs().mean() > 1e-2


def test_an_epoch_is_answered_with_what_was_said_in_that_epoch_and_none_past_the_last(source):
    table = torch.arange(3.0)[:, None, None] * torch.ones(3, len(source.train), 10)
    trajectory = Trajectory(table, origin=source.train.origin(), teacher="t")
    for epoch in range(3):
        for batch in source.train.batches(50, seed=0, epoch=epoch):
            assert (trajectory(batch) == epoch).all()
    late = next(source.train.batches(50, seed=0, epoch=3))
    with pytest.raises(ValueError, match="3 epochs of learning were recorded, and this is epoch 4"):
        trajectory(late)
    with pytest.raises(ValueError, match="answers to other pictures"):
        trajectory(Batch(late.x, late.y, late.index, origin="elsewhere"))


def test_checkpoints_are_the_teacher_after_each_epoch(source):
    def network():
        return models.build("resnet8", source.shape, 10, seed=3, width=4)

    trajectory = procedures.record_checkpoints(network(), source, dtype=torch.float32, **TRAINING)
    for epoch in (1, 3):
        after = network()
        train.fit(distillers.Supervised(after), source, **TRAINING | {"epochs": epoch})
        expected = LogitBank.record(after, source.train, dtype=torch.float32).table
        assert torch.equal(trajectory.at(epoch).table, expected)
    with pytest.raises(ValueError, match="epochs 1 to 3 were recorded, not 0"):
        trajectory.at(0)


def test_pro_kd_and_an_early_stopped_teacher_are_served_from_checkpoints(source):
    network = models.build("resnet8", source.shape, 10, seed=3, width=4)
    trajectory = procedures.record_checkpoints(network, source, **TRAINING)
    pro = distillers.ProKD(student(), [trajectory.at(epoch) for epoch in (1, 2, 3)], soft_until=1.0)
    assert all(row["kd"] > 0 for row in train.fit(pro, source, **TRAINING))
    early, late = (distillers.KD(student(), trajectory.at(epoch)) for epoch in (1, 3))
    assert trained(early, source)[0][0]["kd"] != trained(late, source)[0][0]["kd"]


def test_a_trajectory_cannot_be_recorded_by_one_look(source, teacher):
    with pytest.raises(NotImplementedError, match="while a network learns"):
        Trajectory.record(teacher, source.train)


def test_a_trajectory_goes_to_disk_and_back(source, teacher, tmp_path):
    trajectory = procedures.record_learners(learners(), teacher, source, **TRAINING)
    trajectory.save(tmp_path / "t.safetensors")
    back = Trajectory.load(tmp_path / "t.safetensors", teacher=teacher, split=source.train)
    assert isinstance(back, Trajectory) and torch.equal(back.table, trajectory.table)


# cached: banks on disk

@pytest.fixture
def asked(teacher, monkeypatch):
    """How often a bank was recorded."""
    times, views_of = [], base._views_of
    monkeypatch.setattr(base, "_views_of", lambda *a, **k: times.append(1) or views_of(*a, **k))
    return times


def test_a_bank_is_recorded_once_and_then_read(source, teacher, asked, tmp_path):
    first, second = (LogitBank.cached(teacher, source.train, folder=tmp_path) for _ in range(2))
    assert len(asked) == 1 and torch.equal(first.table, second.table) and first.origin == second.origin
    assert len(list(tmp_path.iterdir())) == 1


def test_another_teacher_images_augmentation_size_or_type_is_another_file(source, teacher, asked, tmp_path):
    other = models.build("resnet8", source.shape, 10, seed=8, width=4)
    statistics = [models.wrap(other, mean=(mean,), std=(1.0,), size=size) for mean, size in ((0, 8), (0.5, 8), (0, 16))]
    calls = [(teacher, source.train, {}), (other, source.train, {}), (teacher, source.valid, {}),
             (teacher, source.train, {"augment": Augment(views=2)}), (teacher, source.train, {"dtype": torch.float32}),
             *((network, source.train, {}) for network in statistics)]
    for _ in range(2):
        for asked_one, split, settings in calls:
            LogitBank.cached(asked_one, split, folder=tmp_path, **settings)
    assert len(asked) == len(list(tmp_path.iterdir())) == len(calls)


@pytest.mark.parametrize("damage", [
    lambda content: content[: len(content) // 2], lambda content: b"", lambda content: content[:-1],
    lambda content: content[:-100] + bytes(100),
], ids=["half", "empty", "one byte short", "overwritten"])
def test_a_file_that_is_not_whole_is_recorded_anew_and_never_half_used(damage, source, teacher, asked, tmp_path):
    first = LogitBank.cached(teacher, source.train, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert torch.equal(LogitBank.cached(teacher, source.train, folder=tmp_path).table, first.table)
    assert len(asked) == 2 and len(path.read_bytes()) == len(whole)
    assert torch.equal(LogitBank.load(path, teacher=teacher, split=source.train).table, first.table)


def raising(error):
    def save_file(*_):
        raise error

    return save_file


def raising_with_settings(error):
    def safe_open(*_, **__):
        raise error

    return safe_open


@pytest.mark.parametrize("error", [
    SafetensorError("Error while serializing: IoError(Os { code: 28, message: \"No space left on device\" })"),
    OSError(28, "No space left on device"), PermissionError(13, "Permission denied"),
], ids=["full, as safetensors says it", "full", "no permission"])
def test_a_recording_that_cannot_be_written_is_not_lost(error, source, teacher, asked, tmp_path, monkeypatch):
    expected = LogitBank.record(teacher, source.train).table
    asked.clear()
    monkeypatch.setattr("kdcourse.teachers.base.save_file", raising(error))
    for _ in range(2):
        assert torch.equal(LogitBank.cached(teacher, source.train, folder=tmp_path / "new").table, expected)
    assert len(asked) == 2 and list((tmp_path / "new").iterdir()) == []
    with pytest.raises(OSError, match=r"No space left|Permission denied"):
        LogitBank.record(teacher, source.train).save(tmp_path / "bank.safetensors")


def test_a_recording_cut_off_while_it_is_written_leaves_nothing_behind(source, teacher, tmp_path, monkeypatch):
    def half(tensors, path, made):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("kdcourse.teachers.base.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        LogitBank.cached(teacher, source.train, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoil", [
    lambda folder, path: folder.write_bytes(b"a file, and no folder"),
    lambda folder, path: path.mkdir(parents=True),
    lambda folder, path: folder.symlink_to(folder),
], ids=["the folder is a file", "the file is a folder", "a link to itself"])
def test_a_recording_whose_place_is_taken_is_not_lost(spoil, source, teacher, tmp_path):
    LogitBank.cached(teacher, source.train, folder=tmp_path / "first")
    (name,) = (path.name for path in (tmp_path / "first").iterdir())
    spoil(tmp_path / "second", tmp_path / "second" / name)
    bank = LogitBank.cached(teacher, source.train, folder=tmp_path / "second")
    assert torch.equal(bank.table, LogitBank.record(teacher, source.train).table)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_recording_that_cannot_be_read_is_made_again(error, source, teacher, asked, tmp_path, monkeypatch):
    LogitBank.cached(teacher, source.train, folder=tmp_path)
    monkeypatch.setattr("kdcourse.teachers.base.safe_open", raising_with_settings(error))
    LogitBank.cached(teacher, source.train, folder=tmp_path)
    assert len(asked) == 2


def test_a_split_of_any_name_has_a_file_of_its_own(source, teacher, asked, tmp_path):
    names = ["a/b", "a\\b", "a:b", "a" * 300, "a\nb", 'what? *"<a>|', "..", "ä"]
    for _ in range(2):
        for name in names:
            LogitBank.cached(teacher, data.Split(name, source.train.x, source.train.y), folder=tmp_path)
    assert len(asked) == len(list(tmp_path.iterdir())) == len(names)


def test_a_file_with_the_right_name_and_another_content_is_refused_by_name(source, teacher, tmp_path):
    other = models.build("resnet8", source.shape, 10, seed=8, width=4)
    LogitBank.cached(teacher, source.train, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    LogitBank.record(other, source.train).save(path)
    with pytest.raises(ValueError, match="recorded another teacher"):
        LogitBank.cached(teacher, source.train, folder=tmp_path)


def test_a_folder_that_cannot_be_written_to_costs_only_a_recording(source, teacher, asked, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        assert LogitBank.cached(teacher, source.train, folder=tmp_path / "file").table.shape == (1, 180, 10)
    assert len(asked) == 2


def test_banks_are_kept_in_the_data_folder_by_default(source, teacher, tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    LogitBank.cached(teacher, source.train)
    assert [path.suffix for path in (tmp_path / "recordings").iterdir()] == [".safetensors"]


@pytest.mark.parametrize("epochs", [-1, None, 1.5])
def test_learners_are_recorded_for_a_whole_number_of_epochs_or_refused_in_words(source, teacher, epochs):
    with pytest.raises(ValueError, match=f"epochs is a whole number of at least 0; it is {epochs}"):
        procedures.record_learners(learners(), teacher, source, **TRAINING | {"epochs": epochs})
