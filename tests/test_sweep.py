"""A sweep gives what `fit` gives one by one, batched or not, and says why it cannot be batched."""

import pandas
import pytest
import torch
from torch import nn

from kdcourse import data, distillers, metrics, models, train
from kdcourse.data import Augment
from kdcourse.sweep import sweep
from kdcourse.teachers import FeatureBank, LogitBank, Teacher

TRAINING = {"epochs": 3, "lr": 3e-3, "batch_size": 64}


@pytest.fixture(scope="module")
def source():
    digits = data.load("digits")
    return digits.with_train(digits.train.take(torch.arange(300), "first"))


@pytest.fixture(scope="module")
def bank(source):
    teacher = models.build("mlp", source.shape, 10, seed=99, hidden=(32,))
    train.fit(distillers.Supervised(teacher), source, epochs=5, lr=3e-3)
    return LogitBank.record(teacher, source.train)


def student(seed, hidden=(16,)):
    return models.build("mlp", (1, 8, 8), 10, seed=seed, hidden=hidden)


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def both(make, grid, source, **settings):
    """The rows and the finished weights of a sweep, batched and one by one."""
    found = []
    for batched in (True, False):
        rows = sweep(student, make, grid, source, judge=lambda network: {"weights": weights(network)},
                     batched=batched, **TRAINING | {"seeds": (3, 0)} | settings)
        found.append((rows, torch.stack([row.pop("weights") for row in rows if "weights" in row])))
    return found


METHODS = {
    "kd": ("KD", {"T": [1, 4.0], "alpha": [0.0, 0.5, 1.0]}),
    "dist": ("DIST", {"T": [1, 2], "beta": [0.0, 2.0]}),
    "dkd": ("DKD", {"alpha": [1.0], "beta": [0.5, 8.0]}),
    "ats": ("ATS", {"T_target": [2, 4], "T_rest": [1, 2]}),
    "eskd": ("ESKD", {"T": [2, 4]}),
}


@pytest.mark.parametrize("name", METHODS)
def test_batched_students_are_those_of_fit_one_by_one(name, source, bank):
    kind, grid = METHODS[name]
    make = lambda network, **point: getattr(distillers, kind)(network, bank, **point)  # noqa: E731
    (together, ours), (apart, theirs) = both(make, grid, source)
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-4)
    for row, other in zip(together, apart, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("settings", [
    {"optimizer": torch.optim.SGD, "lr": 0.1}, {"optimizer": torch.optim.AdamW}, {"schedule": "cosine"},
    {"batch_size": 70}, {"history": True},
], ids=str)
def test_every_setting_of_fit_means_the_same_in_a_batch(settings, source, bank):
    make = lambda network, T: distillers.KD(network, bank, T=T, alpha=0.5)  # noqa: E731
    (together, ours), (apart, theirs) = both(make, {"T": [1, 4]}, source, **settings)
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-4)
    assert len(together) == len(apart) == 4 * (3 if "history" in settings else 1)
    for row, other in zip(together, apart, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_augmented_images_are_each_seeds_own_and_a_bank_answers_about_them(source):
    augment = Augment(pad=1, flip=False, views=2)
    teacher = Teacher(student(50, hidden=(32,)))
    bank = LogitBank.record(teacher, source.train, augment=augment)
    for guide in (bank, teacher):
        make = lambda network, T: distillers.KD(network, guide, T=T)  # noqa: B023, E731
        (_, ours), (_, theirs) = both(make, {"T": [1, 4]}, source, augment=augment)
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-4)


def test_a_seed_keeps_its_own_first_weights_and_order_whatever_the_others_are(source, bank):
    make = lambda network, T: distillers.KD(network, bank, T=T)  # noqa: E731
    alone = sweep(student, make, {"T": [4]}, source, seeds=[5], batched=True, **TRAINING)
    among = sweep(student, make, {"T": [1, 4]}, source, seeds=[2, 5], batched=True, **TRAINING)
    (same,) = [row for row in among if row["seed"] == 5 and row["T"] == 4]
    assert same == pytest.approx(alone[0], rel=1e-4)
    (other,) = [row for row in among if row["seed"] == 2 and row["T"] == 4]
    assert other["kd"] != pytest.approx(same["kd"], rel=1e-3)


def test_rows_are_ready_for_a_table_with_the_point_the_seed_and_the_judgement(source, bank):
    rows = sweep(student, lambda network, T, alpha: distillers.KD(network, bank, T=T, alpha=alpha),
                 {"T": [1, 4], "alpha": [0.25, 0.75]}, source, seeds=range(3), judge=lambda network: {
                     "test": metrics.accuracy(metrics.predict(network, source.test), source.test.y)}, **TRAINING)
    table = pandas.DataFrame(rows)
    assert len(table) == 12 and not table.isna().any().any()
    assert set(table.groupby(["T", "alpha"])["seed"].nunique()) == {3}
    assert ((0 < table["test"]) & (table["test"] < 1)).all() and set(table["epoch"]) == {3}
    assert set(table["ce_weight"]) == {0.25, 0.75} and set(table["kd_weight"]) == {0.25, 0.75}


def test_nothing_to_sweep_over_still_trains_every_seed(source):
    rows = sweep(student, distillers.Supervised, {}, source, seeds=range(2), batched=True, **TRAINING)
    for row in rows:
        expected = train.fit(distillers.Supervised(student(row["seed"])), source, seed=row["seed"], **TRAINING)[-1]
        assert row == pytest.approx({"seed": row["seed"]} | expected, rel=1e-3)


CANNOT = {
    "Conv2d layers": lambda bank, source: (lambda s: models.build("cnn", (1, 8, 8), 10, seed=s), distillers.Supervised),
    "Dropout layers": lambda bank, source: (
        lambda s: models.Classifier((1, 8, 8), [nn.Sequential(nn.Flatten(), nn.Linear(64, 8))], 8, 10, dropout=0.1),
        distillers.Supervised),
    "parameters are not faster": lambda bank, source: (lambda s: student(s, (4_000,)), distillers.Supervised),
    "beside the student is trained": lambda bank, source: (student, lambda n: distillers.CTKD(n, bank)),
    "gives logits can be shared": lambda bank, source: (
        student, lambda n: distillers.SP(n, FeatureBank.record(student(7), source.train))),
    "one teacher": lambda bank, source: (student, lambda n: distillers.MultiTeacher(n, [bank, bank])),
}


@pytest.mark.parametrize("reason", CANNOT)
def test_what_cannot_be_batched_is_trained_one_by_one_and_says_why_when_insisted(reason, source, bank):
    build, make = CANNOT[reason](bank, source)
    training = TRAINING | {"epochs": 1}
    with pytest.raises(ValueError, match=f"cannot be batched: .*{reason}"):
        sweep(build, make, {}, source, seeds=[0, 1], batched=True, **training)
    torch.manual_seed(0)
    rows = sweep(build, make, {}, source, seeds=[0, 1], **training)
    assert [row["seed"] for row in rows] == [0, 1]


def test_hyper_parameters_that_are_no_numbers_and_other_optimisers_are_not_batched(source, bank):
    make = lambda network, times_T_squared: distillers.DIST(  # noqa: E731
        network, bank, times_T_squared=bool(times_T_squared == "yes"))
    with pytest.raises(ValueError, match="times_T_squared is no number"):
        sweep(student, make, {"times_T_squared": ["yes"]}, source, seeds=[0], batched=True, **TRAINING)
    with pytest.raises(ValueError, match="RMSprop may mix"):
        sweep(student, distillers.Supervised, {}, source, seeds=[0], batched=True, optimizer=torch.optim.RMSprop,
              **TRAINING)


def test_every_point_is_checked_before_anything_is_trained(source, bank, monkeypatch):
    monkeypatch.setattr(train, "fit", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(ValueError, match="T is -1"):
        sweep(student, lambda network, T: distillers.KD(network, bank, T=T), {"T": [1, -1]}, source, seeds=[0],
              batched=False, **TRAINING)
    with pytest.raises(ValueError, match="at least one seed and one value"):
        sweep(student, distillers.Supervised, {"T": []}, source, seeds=[0], **TRAINING)


def test_a_student_that_diverges_is_named(source, bank):
    make = lambda network, T: distillers.KD(network, bank, T=T)  # noqa: E731
    settings = TRAINING | {"lr": 1e30, "optimizer": torch.optim.SGD}
    with pytest.raises(train.NotFinite, match=r"\{'T': 4\}, seed 1, is not finite in epoch 1.*smaller learning rate"):
        sweep(student, make, {"T": [4]}, source, seeds=[1], batched=True, **settings)


def test_the_prototype_is_left_as_it_was(source, bank):
    made = []
    def make(network, T):
        made.append((distillers.KD(network, bank, T=T), weights(network)))
        return made[-1][0]
    sweep(student, make, {"T": [2, 4]}, source, seeds=[0, 1], batched=True, **TRAINING)
    for distiller, before in made:
        assert torch.equal(weights(distiller.student), before) and isinstance(distiller.T, int)
        assert distiller.teacher is bank
