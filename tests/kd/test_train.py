"""The loop is the one that a reader writes by hand: steps, rows, schedules, seeds, and what goes wrong in it."""

import copy
import math
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdcourse import data, models
from kdcourse import train as train_module
from kdcourse.core import Term
from kdcourse.data import Augment
from kdcourse.distillers import CTKD, DML, KD, METHODS, Distiller, FitNet, Supervised
from kdcourse.teachers import LogitBank
from kdcourse.train import NotFinite, fit


@pytest.fixture(scope="module")
def source():
    """300 training images of digits: five batches of 64, the last of 44."""
    whole = data.load("digits")
    return whole.with_train(whole.train.take(torch.arange(300), "300"))


def mlp(seed=0, **settings):
    return models.build("mlp", (1, 8, 8), 10, seed=seed, **settings)


def resnet(seed=0):
    return models.build("resnet8", (1, 8, 8), 10, seed=seed, width=4)


def with_dropout_and_statistics(seed=0):
    """A network whose answers in training mode are other answers."""
    return nn.Sequential(models.build("cnn", (1, 8, 8), 10, seed=seed, width=4), nn.BatchNorm1d(10))


def state(network):
    return {key: value.clone() for key, value in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def train(distiller, source, **settings):
    return fit(distiller, source, **{"epochs": 2, "lr": 1e-3, "batch_size": 64} | settings)


class Watched(Supervised):
    """Calls `watch(self, batch)` before every step."""

    def __init__(self, student, watch):
        super().__init__(student)
        self.watch = watch

    def forward(self, batch):
        self.watch(self, batch)
        return super().forward(batch)


class SpySGD(torch.optim.SGD):
    rates = ()

    def step(self, closure=None):
        SpySGD.rates += tuple(group["lr"] for group in self.param_groups)
        return super().step(closure)


# what it computes

def test_one_step_is_sgd_by_hand(source):
    student, lr = mlp(), 0.1
    batch = next(source.train.batches(300, seed=5))
    F.cross_entropy(student(batch.x), batch.y).backward()
    expected = {name: p.detach() - lr * p.grad for name, p in student.named_parameters()}
    fresh = mlp()
    rows = fit(Supervised(fresh), source, epochs=1, lr=lr, batch_size=300, seed=5, optimizer=torch.optim.SGD)
    assert len(rows) == 1
    for name, parameter in fresh.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-5, atol=1e-7)


def test_fit_is_the_loop_one_writes_by_hand(source):
    T, alpha, lr, epochs, seed = 3.0, 0.6, 0.05, 3, 7
    teacher, student = resnet(1).eval(), mlp()
    optimiser = torch.optim.SGD(student.parameters(), lr=lr, momentum=0.9)
    expected = []
    for epoch in range(epochs):
        sums = {"ce": 0.0, "kd": 0.0}
        order = torch.cat([batch.index for batch in source.train.batches(64, seed=seed, epoch=epoch)])
        for step, rows in enumerate(order.split(64)):
            x, y = source.train.x[rows].float() / 255, source.train.y[rows]
            with torch.no_grad():
                p_t = (teacher(x) / T).softmax(dim=1)
            z = student(x)
            ce = F.cross_entropy(z, y)
            kd = T**2 * F.kl_div((z / T).log_softmax(dim=1), p_t, reduction="batchmean")
            optimiser.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * (epoch + step / 5) / epochs)) / 2
            optimiser.zero_grad()
            ((1 - alpha) * ce + alpha * kd).backward()
            optimiser.step()
            sums = {"ce": sums["ce"] + len(y) * ce.item(), "kd": sums["kd"] + len(y) * kd.item()}
        with torch.no_grad():
            z = student(source.valid.x.float() / 255)
        expected.append({
            "epoch": epoch + 1, "ce": sums["ce"] / 300, "ce_weight": 1 - alpha, "kd": sums["kd"] / 300,
            "kd_weight": alpha, "valid_accuracy": (z.argmax(dim=1) == source.valid.y).double().mean().item(),
            "valid_nll": F.cross_entropy(z, source.valid.y).item(),
        })

    fresh = mlp()
    found = train(
        KD(fresh, teacher, T=T, alpha=alpha), source, epochs=epochs, lr=lr, seed=seed, schedule="cosine",
        optimizer=lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
    )
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for row, by_hand in zip(found, expected, strict=True):
        assert row == pytest.approx(by_hand, rel=1e-5, abs=1e-6)
    for name, parameter in fresh.named_parameters():
        torch.testing.assert_close(parameter, student.get_parameter(name), rtol=1e-4, atol=1e-6)


def test_from_a_bank_is_from_the_live_teacher(source):
    augment, teacher = Augment(pad=1, views=2), resnet(1)
    bank = LogitBank.record(teacher, source.train, augment=augment, dtype=torch.float32)
    live, recorded = (train(KD(mlp(), guide), source, epochs=3, augment=augment) for guide in (teacher, bank))
    for one, other in zip(live, recorded, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_weighted_term_keeps_its_raw_value_in_the_rows(source):
    class Scaled(Supervised):
        def forward(self, batch):
            term = super().forward(batch)["ce"]
            return {"ce": Term(1e-3, term.value)}

    rows, plain = train(Scaled(mlp()), source, lr=0.0), train(Supervised(mlp()), source, lr=0.0)
    assert rows[0]["ce"] == plain[0]["ce"] and rows[0]["ce_weight"] == pytest.approx(1e-3)


def test_rows_count_epochs_from_1_and_have_a_value_and_a_weight_for_each_term(source):
    rows = train(KD(mlp(), resnet(1), alpha=0.7), source, epochs=3)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert list(row) == ["epoch", "ce", "ce_weight", "kd", "kd_weight", "valid_accuracy", "valid_nll"]
        assert all(type(value) in (int, float) for value in row.values())
        assert row["ce_weight"] == pytest.approx(0.3) and row["kd_weight"] == pytest.approx(0.7)
        assert 0 <= row["valid_accuracy"] <= 1


def test_on_epoch_is_called_after_each_epoch_with_the_rows_so_far(source):
    calls = []
    rows = train(Supervised(mlp()), source, epochs=3, on_epoch=lambda rows: calls.append(copy.deepcopy(rows)))
    assert calls == [rows[:1], rows[:2], rows]


# the learning rate

def test_constant_schedule_keeps_the_learning_rate(source):
    SpySGD.rates = ()
    train(Supervised(mlp()), source, optimizer=SpySGD, lr=0.3)
    assert SpySGD.rates == (0.3,) * 10


def test_cosine_schedule_falls_from_the_learning_rate_along_half_a_cosine(source):
    SpySGD.rates = ()
    train(Supervised(mlp()), source, optimizer=SpySGD, lr=0.3, schedule="cosine")
    assert SpySGD.rates == pytest.approx([0.15 * (1 + math.cos(math.pi * step / 10)) for step in range(10)])
    assert SpySGD.rates[0] == 0.3 and SpySGD.rates[5] == pytest.approx(0.15)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("make", [mlp, resnet])
def test_the_kernel_that_passes_once_takes_the_step_of_the_loop_over_weights(kind, make, source):
    """Rounding apart: a step of Adam is nearly +-lr for every weight, so the bound is a thousandth of a step."""
    def trained(optimizer):
        student = make()
        fit(Supervised(student), source, epochs=1, lr=1e-3, batch_size=300, optimizer=optimizer)
        return student

    one_pass, loop = trained(kind), trained(partial(kind, foreach=False))
    for ours, other in zip(one_pass.parameters(), loop.parameters(), strict=True):
        assert torch.allclose(ours, other, rtol=0, atol=1e-6)
    assert not all(torch.equal(a, b) for a, b in zip(one_pass.parameters(), make().parameters(), strict=True))


@pytest.mark.parametrize("optimizer, kernel", [
    (torch.optim.Adam, True), (torch.optim.AdamW, True), (partial(torch.optim.AdamW, weight_decay=0.1), True),
    (partial(torch.optim.Adam, foreach=True), None), (partial(torch.optim.Adam, fused=False), False),
    (torch.optim.SGD, None), (lambda groups, lr: torch.optim.Adam(groups, lr=lr), None),
])
def test_who_chooses_a_kernel_of_the_optimiser_has_it(optimizer, kernel):
    groups = [{"params": mlp().parameters()}]  # which can be read once
    made = train_module.made(optimizer, groups, lr=0.5, device=torch.device("cpu"))
    assert made.defaults.get("fused") == kernel and made.defaults["lr"] == 0.5
    assert len(made.param_groups[0]["params"]) == len(list(mlp().parameters()))
    elsewhere = train_module.made(partial(torch.optim.Adam, lr=0.5), [{"params": [nn.Parameter(torch.ones(1))]}], lr=1,
                                  device=torch.device("meta"))
    assert not elsewhere.defaults.get("fused") and elsewhere.defaults["lr"] == 1


def test_unknown_schedule_names_the_choices(source):
    with pytest.raises(ValueError, match="unknown schedule 'cosin'; choose one of: constant, cosine"):
        train(Supervised(mlp()), source, schedule="cosin")


# seeds

@pytest.mark.parametrize("make", [mlp, with_dropout_and_statistics])
def test_same_seed_gives_the_same_rows_and_another_seed_others(source, make):
    ours, again, other = make(), make(), make()
    rows = train(Supervised(ours), source, seed=3)
    torch.rand(5)
    assert train(Supervised(again), source, seed=3) == rows
    assert same(ours.state_dict(), again.state_dict())
    assert train(Supervised(other), source, seed=4) != rows


def test_global_random_numbers_are_as_before(source):
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    train(Supervised(with_dropout_and_statistics()), source, augment=Augment(pad=1))
    found = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(found[0], expected[0]) and np.array_equal(found[1], expected[1]) and found[2] == expected[2]


def test_global_random_numbers_are_as_before_after_a_failure(source):
    def fail(distiller, batch):
        raise RuntimeError("broken")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="broken"):
        train(Watched(mlp(), fail), source)
    assert torch.equal(torch.get_rng_state(), before)


# what it touches

def test_test_images_are_never_looked_at(source):
    class Forbidden:
        classes = source.classes     # names are no images

        def to(self, device):
            return self

        def __getattr__(self, name):
            raise AssertionError(f"test.{name} was looked at")

    blind = replace(source, test=Forbidden())
    assert train(KD(mlp(), resnet(1)), blind) == train(KD(mlp(), resnet(1)), source)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "dml"])  # which has a peer, and no teacher
def test_teacher_is_bit_identical_after_fit(source, name):
    teacher = resnet(1).train()
    nn.init.ones_(teacher.stages[0][0][1].running_mean)
    before = state(teacher)
    train(METHODS[name](resnet(), teacher), source)
    assert same(teacher.state_dict(), before)


def test_teacher_with_dropout_and_statistics_gives_the_same_answers_during_and_after_fit(source):
    teacher, answers = with_dropout_and_statistics(1).train(), []
    before = state(teacher)

    class Watching(KD):
        def forward(self, batch):
            answers.append(self.teacher(first))
            return super().forward(batch)

    first = next(source.train.batches(64))
    train(Watching(mlp(), teacher), source)
    assert len(answers) == 10 and all(torch.equal(z, answers[0]) for z in answers)
    assert same(teacher.state_dict(), before)


def test_recording_a_network_that_is_being_trained_neither_freezes_it_nor_changes_its_training(source):
    student, tables = resnet(), []
    rows = train(Supervised(student), source, epochs=3,
                 on_epoch=lambda rows: tables.append(LogitBank.record(student, source.train).table))
    assert rows == train(Supervised(resnet()), source, epochs=3)
    assert not torch.equal(tables[0], tables[1])


def test_student_is_in_training_mode_in_every_step_and_its_statistics_move(source):
    modes = []
    student = resnet()
    before = state(student)
    train(Watched(student, lambda distiller, batch: modes.append(all(m.training for m in distiller.modules()))), source)
    assert modes == [True] * 10
    moved = [key for key in before if "running" in key and not torch.equal(student.state_dict()[key], before[key])]
    assert len(moved) == len([key for key in before if "running" in key])


def test_batches_carry_epoch_progress_and_origin_of_the_training_images(source):
    seen, augment = [], Augment(pad=1)
    train(Watched(mlp(), lambda distiller, batch: seen.append(batch)), source, augment=augment)
    assert [batch.epoch for batch in seen] == [0] * 5 + [1] * 5
    assert [batch.progress for batch in seen] == pytest.approx([step / 10 for step in range(10)])
    assert {batch.origin for batch in seen} == {source.train.origin(augment)}
    assert [len(batch.y) for batch in seen] == [64, 64, 64, 64, 44] * 2


def test_source_is_left_as_it_is(source):
    before = [(split.x.clone(), split.y.clone()) for split in source.splits.values()]
    train(Supervised(mlp()), source, augment=Augment(pad=1))
    for split, (x, y) in zip(source.splits.values(), before, strict=True):
        assert torch.equal(split.x, x) and torch.equal(split.y, y)


def test_what_helps_the_student_learn_is_trained_with_it(source):
    class WithHelper(Supervised):
        def __init__(self, student):
            super().__init__(student)
            self.helper = nn.Linear(10, 10)

        def forward(self, batch):
            return {"ce": Term(1.0, F.cross_entropy(self.helper(self.student(batch.x)), batch.y))}

    distiller = WithHelper(mlp())
    before = state(distiller)
    train(distiller, source, epochs=1)
    assert not any(torch.equal(value, before[key]) for key, value in distiller.state_dict().items())


def test_the_deployable_network_is_the_one_that_is_measured(source):
    class Constant(nn.Module):
        def forward(self, x):
            return torch.eye(10)[torch.full((len(x),), 3)]

    class Deploys(Supervised):
        def deployable(self):
            return Constant()

    rows = train(Deploys(mlp()), source, epochs=1)
    assert rows[0]["valid_accuracy"] == pytest.approx((source.valid.y == 3).double().mean().item())


def test_device_may_be_given_by_name_or_as_a_device(source):
    assert train(Supervised(mlp()), source, device="cpu") == train(
        Supervised(mlp()), source, device=torch.device("cpu")
    )


def test_nothing_is_printed_when_nobody_watches(source, capsys):
    train(Supervised(mlp()), source)
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_drawn_when_somebody_watches(source, capsys, monkeypatch):
    monkeypatch.setenv("KDCOURSE_QUIET", "0")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    train(Supervised(mlp()), source)
    assert "epoch" in capsys.readouterr().err


# what goes wrong

class Broken(Supervised):
    """Its loss is `value` in one batch (both counted from 0)."""

    def __init__(self, student, value, epoch, step):
        super().__init__(student)
        self.value, self.place, self.step = value, (epoch, step), 0

    def forward(self, batch):
        terms = super().forward(batch)
        here = (batch.epoch, round(batch.progress * 15) % 5)
        return terms | ({"extra": Term(0.5, terms["ce"].value * self.value)} if here == self.place else {})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_with_the_rows_so_far_and_the_student_one_step_earlier(source, value):
    student = mlp()
    with pytest.raises(NotFinite, match=r"epoch 2, batch 4: ce = [\d.]+, extra = (nan|inf)\. .*it is 0\.001") as error:
        train(Broken(student, value, 1, 3), source, epochs=3)
    assert error.value.rows == train(Supervised(mlp()), source, epochs=1)
    assert all(parameter.isfinite().all() for parameter in student.parameters())

    steps, expected = [], []

    def watch(distiller, batch):
        steps.append(batch)
        if len(steps) == 9:
            expected.append(state(distiller.student))

    train(Watched(mlp(), watch), source, epochs=3)
    assert same(student.state_dict(), expected[0])


def test_much_too_high_a_learning_rate_ends_in_not_finite(source):
    with pytest.raises(NotFinite, match=r"learning rate is too high \(it is 1e\+20\)"):
        train(Supervised(mlp()), source, epochs=5, lr=1e20, optimizer=torch.optim.SGD)


@pytest.mark.parametrize("network", [mlp, lambda: models.build("resnet8", (1, 8, 8), 10, seed=0, width=2)],
                         ids=["mlp", "with moving statistics"])
def test_a_last_step_that_breaks_the_network_ends_in_not_finite_with_the_rows_so_far(source, network):
    """One batch in an epoch, and no loss that could tell."""
    once = {"epochs": 1, "lr": 1e38, "optimizer": torch.optim.SGD, "batch_size": len(source.train)}
    with pytest.raises(NotFinite, match=r"after epoch 1 the logits of \d+ of \d+ validation .*it is 1e\+38") as error:
        train(Supervised(network()), source, **once)
    assert error.value.rows == []

    class Late(torch.optim.SGD):
        steps = 0

        def step(self):
            self.steps += 1
            for group in self.param_groups:
                group["lr"] = 1e38 if self.steps == 2 else 0.01
            super().step()

    with pytest.raises(NotFinite, match="after epoch 2") as error:
        train(Supervised(network()), source, **once | {"epochs": 2, "lr": 0.01, "optimizer": Late})
    assert error.value.rows == train(Supervised(network()), source, **once | {"lr": 0.01})


@pytest.mark.parametrize("problem", [ZeroDivisionError, SystemExit])
def test_whatever_stops_the_training_has_the_rows_so_far(source, problem):
    def fails(rows):
        if len(rows) == 2:
            raise problem

    with pytest.raises(problem) as stopped:
        train(Supervised(mlp()), source, epochs=3, on_epoch=fails)
    assert stopped.value.rows == train(Supervised(mlp()), source, epochs=2)
    assert not hasattr(stopped.value, "__notes__")


def test_interrupt_between_epochs_keeps_what_was_learnt_and_the_rows(source):
    def stop(rows):
        if len(rows) == 2:
            raise KeyboardInterrupt

    student, other = mlp(), mlp()
    with pytest.raises(KeyboardInterrupt) as interrupt:
        train(Supervised(student), source, epochs=5, on_epoch=stop)
    assert interrupt.value.rows == train(Supervised(other), source, epochs=2)
    assert same(student.state_dict(), other.state_dict())
    assert interrupt.value.__notes__ == ["stopped in epoch 3 of 5: the student keeps what it learnt"]


def test_interrupt_within_an_epoch_keeps_the_steps_before(source):
    before = []

    def stop(distiller, batch):
        if batch.epoch == 1 and batch.progress > 0.6:
            before.append(state(distiller.student))
            raise KeyboardInterrupt

    student = mlp()
    with pytest.raises(KeyboardInterrupt) as interrupt:
        train(Watched(student, stop), source)
    assert [row["epoch"] for row in interrupt.value.rows] == [1]
    assert interrupt.value.__notes__ == ["stopped in epoch 2 of 2: the student keeps what it learnt"]
    assert same(student.state_dict(), before[0]) and not same(before[0], mlp().state_dict())


@pytest.mark.parametrize("student, error, message", [
    (nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), ValueError, "returns 7 logits, but digits has 10 classes"),
    (nn.Conv2d(1, 10, 3), TypeError, r"Conv2d returned a tensor of shape \(2, 10, 6, 6\), not logits"),
    (nn.AdaptiveMaxPool2d(3, return_indices=True), TypeError, "AdaptiveMaxPool2d returned a tuple, not logits"),
])
def test_network_that_gives_no_logit_per_class_is_refused_before_training(source, student, error, message):
    class Unreached(Distiller):
        def forward(self, batch):
            raise AssertionError("training began")

    distiller = Unreached(student)
    distiller.helper = nn.Linear(1, 1)  # so that there is something to train
    with pytest.raises(error, match=message):
        train(distiller, source)


def test_student_that_is_frozen_is_refused_in_words(source):
    with pytest.raises(ValueError, match=r"frozen|requires? (a )?grad"):
        train(Supervised(mlp().requires_grad_(False)), source)


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_out_of_range_are_refused_before_training(source, label):
    y = source.train.y.clone()
    y[3] = label
    wrong = source.with_train(data.Split("mislabelled", source.train.x, y))
    with pytest.raises(ValueError, match=r"labels of mislabelled run from -?\d to \d+; 10 classes allow 0 to 9"):
        fit(Supervised(models.build("mlp", source.shape, 10, seed=0)), wrong, epochs=1, lr=1e-3)


def test_a_split_without_images_is_refused_by_name(source):
    empty = source.with_train(source.train.take(torch.zeros(len(source.train), dtype=torch.bool), "none"))
    with pytest.raises(ValueError, match="none has no images"):
        fit(Supervised(models.build("mlp", source.shape, 10, seed=0)), empty, epochs=1, lr=1e-3)


@pytest.mark.parametrize("wrong, error, message", [
    ({"epochs": -1}, ValueError, "epochs is a whole number of at least 0; it is -1"),
    ({"epochs": 2.5}, ValueError, "epochs is a whole number.*it is 2.5"),
    ({"epochs": "3"}, ValueError, "epochs is a whole number.*it is '3'"),
    ({"batch_size": 0}, ValueError, "batch_size is a whole number of at least 1; it is 0"),
    ({"batch_size": 64.0}, ValueError, "batch_size is a whole number.*it is 64.0"),
    ({"seed": None}, TypeError, r"a seed is an integer, seed=0 say.*None is none.*range\(5\)"),
    ({"seed": -3}, ValueError, "a seed is an integer of at least 0; it is -3"),
    ({"lr": "0.1"}, ValueError, "lr is the learning rate, a number of at least 0 such as 1e-3; it is '0.1'"),
    ({"lr": float("nan")}, ValueError, "lr is the learning rate.*it is nan"),
    ({"lr": None}, ValueError, "lr is the learning rate.*it is None"),
    ({"optimizer": "adam"}, TypeError, r"torch.optim.Adam, say, or lambda groups, lr: .*; not 'adam'"),
    ({"optimizer": torch.optim.Adam(mlp().parameters())}, TypeError, "not a Adam"),
], ids=str)
def test_a_wrong_setting_is_answered_with_the_right_one_before_anything_is_trained(source, wrong, error, message):
    student = mlp()
    with pytest.raises(error, match=message):
        train(Watched(student, lambda *step: pytest.fail("trained")), source, **wrong)
    assert same(student.state_dict(), mlp().state_dict())


@pytest.mark.parametrize("what, called", [
    (mlp(), "a Classifier"), (nn.Linear(1, 1), "a Linear"), (KD, "a type"), ("kd", "'kd'"), (None, "None"),
], ids=lambda value: type(value).__name__)
def test_what_is_no_distiller_is_refused_with_the_call_that_makes_one(source, what, called):
    with pytest.raises(TypeError, match=rf"{called} is none: write fit\(distillers.Supervised\(network\), source"):
        train(what, source)


def test_what_is_no_source_is_refused_with_the_calls_that_make_one(source):
    for given, called in ((source.train, "a Split"), ("digits", "'digits'"), (mlp(), "a Classifier")):
        with pytest.raises(TypeError, match=rf"data.load\(name\) or data.from_arrays\(.*, not on {called}"):
            train(Supervised(mlp()), given)


def test_no_epochs_train_nothing_and_give_no_rows(source):
    student = mlp()
    assert train(Supervised(student), source, epochs=0) == [] and same(student.state_dict(), mlp().state_dict())


# what waits for the device

class Reads(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts how often a number is read from a tensor: what a device is waited for."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return function(*arguments, **named or {})


def test_on_a_device_one_number_is_read_in_a_step_however_many_terms_there_are(source, monkeypatch):
    monkeypatch.setattr("kdcourse.losses.base.SEEN_AT_ONCE", ())     # as on a GPU: losses do not look at labels

    def reads(distiller, batch_size):
        with Reads() as reading:
            train(distiller, source, epochs=1, batch_size=batch_size, optimizer=torch.optim.SGD)
        return reading.count

    for make in (lambda: Supervised(mlp()), lambda: KD(mlp(), resnet(1), alpha=0.5)):
        assert reads(make(), 30) - reads(make(), 60) == 5  # 10 steps and 5: what the epoch itself reads cancels


def test_the_meter_gives_means_over_images_in_float64_and_counts_only_where_a_term_was_on():
    meter, values = train_module.Meter(), torch.tensor([[1.0, 2.0], [3.0, float("nan")], [5.0, 7.0]])
    on = torch.tensor([[True, True], [True, False], [False, True]])
    for value, where, n in zip(values, on, (64, 64, 10), strict=True):
        meter.add({"kd": Term(torch.full((2,), 0.5), value)}, n * where)
        meter.add({"ce": Term(0.1, value[0])}, n)
    means = meter.means()
    assert means["kd"].dtype == torch.float64
    assert means["kd"].tolist() == [2.0, pytest.approx((64 * 2 + 10 * 7) / 74)]
    assert means["ce"].item() == pytest.approx((64 * 1 + 64 * 3 + 10 * 5) / 138)
    assert means["ce_weight"].item() == pytest.approx(0.1) and means["kd_weight"].tolist() == [0.5, 0.5]
    meter = train_module.Meter()
    meter.add({"kd": Term(torch.ones(2), torch.ones(2))}, torch.tensor([3, 0]))
    assert meter.means()["kd"].tolist() == [1.0, pytest.approx(float("nan"), nan_ok=True)]


def test_a_weight_that_is_learned_is_averaged_over_the_steps_in_which_it_changed(source):
    class Learned(Supervised):
        def __init__(self, student):
            super().__init__(student)
            self.weight, self.seen = nn.Parameter(torch.ones(())), []

        def forward(self, batch):
            self.seen.append(self.weight.item())
            return {"ce": Term(self.weight, super().forward(batch)["ce"].value)}

    distiller = Learned(mlp())
    [row] = train(distiller, source, epochs=1, lr=0.1, optimizer=torch.optim.SGD)
    after = [*distiller.seen[1:], distiller.weight.item()]
    assert len(set(after)) == 5
    assert row["ce_weight"] == pytest.approx(sum(n * w for n, w in zip([64] * 4 + [44], after, strict=True)) / 300)


def test_moving_statistics_are_one_step_earlier_too_after_a_loss_that_is_not_finite(source):
    steps, expected = [], []

    def watch(distiller, batch):
        steps.append(batch)
        if len(steps) == 9:
            expected.append(state(distiller.student))

    train(Watched(resnet(), watch), source, epochs=2)
    student = resnet()
    with pytest.raises(NotFinite):
        train(Broken(student, float("nan"), 1, 3), source, epochs=3)
    assert any("running" in key for key in expected[0]) and same(student.state_dict(), expected[0])


# a last batch of one image

def vectors_normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


class OwnNorm(nn.Module):
    """Batch normalisation as one writes it: the deviation of a single value is NaN."""

    def forward(self, x):
        centred = x - x.mean(dim=0)
        return centred / (centred.square().sum(dim=0) / (len(x) - 1) + 1e-3).sqrt()


def one_position():
    return nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 10))


def own_norm():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), OwnNorm())


@pytest.mark.parametrize("make", [vectors_normalised, one_position, own_norm])
def test_a_network_that_cannot_train_on_a_last_batch_of_one_image_is_refused_before_the_first_step(source, make):
    odd = source.with_train(source.train.take(torch.arange(129), "129"))
    for distiller in (Supervised, lambda network: METHODS["dml"](mlp(), network)):
        network = make()
        before = state(network)
        with pytest.raises(ValueError, match=r"hold one image \(129 images in batches of 64\).*another batch_size, 65"):
            train(distiller(network), odd)
        assert same(network.state_dict(), before)
        for size in (65, 63):
            assert train(distiller(make()), odd, epochs=1, batch_size=size)


def test_a_batch_size_of_one_is_refused_for_it_too(source):
    with pytest.raises(ValueError, match="would hold one image"):
        train(Supervised(vectors_normalised()), source, batch_size=1)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_on_a_last_batch_of_one_image_or_refuses_before_the_first_step(source, name):
    odd = source.with_train(source.train.take(torch.arange(33), "33"))
    teacher = resnet(1)
    assert len(train(METHODS[name](resnet(), teacher), odd, epochs=1, batch_size=16)) == 1


def test_looking_at_a_last_batch_of_one_image_changes_no_number(source):
    odd, steps = source.with_train(source.train.take(torch.arange(129), "129")), []
    student = models.build("resnet8", (1, 8, 8), 10, seed=0, width=4)
    before = state(student)
    train_module.check_last_batch(Supervised(student), odd.train, 64)
    assert same(student.state_dict(), before)
    train(Watched(student, lambda distiller, batch: steps.append(state(distiller.student))), odd, epochs=1)
    assert same(steps[1], before)  # the first call looked, the second is the first step


@pytest.mark.parametrize("method", [
    FitNet, CTKD, lambda student, teacher: DML(student, mlp(2)),
])
def test_a_frozen_student_is_refused_though_its_helpers_learn(source, method):
    student, teacher = (models.build("cnn", (1, 8, 8), 10, seed=seed, width=4) for seed in (0, 1))
    with pytest.raises(ValueError, match="nothing to train: every parameter is frozen"):
        train(method(student.requires_grad_(False), teacher), source)


@pytest.mark.parametrize("optimizer, error, message", [
    (lambda groups, lr: torch.optim.SGD(mlp(1).parameters(), lr=lr), ValueError, "holds no weight of the network"),
    (lambda groups, lr: torch.optim.LBFGS(groups[0]["params"], lr=lr), TypeError, "LBFGS asks for the loss"),
    (lambda groups, lr: None, TypeError, "returned None, and an optimiser of torch.optim is needed"),
])
def test_an_optimiser_that_cannot_train_the_student_is_refused(source, optimizer, error, message):
    with pytest.raises(error, match=message):
        train(Supervised(mlp()), source, optimizer=optimizer)


def test_numbers_of_numpy_are_numbers(source):
    plain = train(Supervised(mlp()), source, epochs=2, batch_size=64, seed=1)
    assert plain == train(Supervised(mlp()), source, epochs=np.int64(2), batch_size=np.int32(64), seed=np.int64(1))


def test_a_class_in_the_place_of_an_augmentation_is_refused(source):
    with pytest.raises(TypeError, match=r"augment=Augment\(\), not the class"):
        train(Supervised(mlp()), source, augment=data.Augment)
