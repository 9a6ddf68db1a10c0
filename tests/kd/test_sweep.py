"""A sweep gives what `fit` gives one by one, batched or not, and says why it cannot be batched."""

import inspect
import itertools
import random

import pandas
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdcourse import data, distillers, metrics, models, train
from kdcourse.core import Term, seeded
from kdcourse.data import Augment
from kdcourse.losses import kd_loss
from kdcourse.sweep import sweep
from kdcourse.teachers import FeatureBank, LogitBank, Teacher

TRAINING = {"epochs": 3, "lr": 3e-3, "batch_size": 64}


@pytest.fixture(scope="module")
def source():
    digits = data.load("digits")
    return digits.with_train(digits.train.take(torch.arange(300), "first"))


@pytest.fixture(scope="module")
def few(source):
    return source.with_train(source.train.take(torch.arange(150), "few"))


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
    "lskd": ("LSKD", {"T": [2, 4], "beta": [1.0, 9.0]}),
    "nkd": ("NKD", {"T": [1, 2], "gamma": [0.5, 1.5]}),
    "ttm": ("TTM", {"T": [2, 4], "beta": [1.0, 4.0]}),
    "wttm": ("WTTM", {"T": [2, 4]}),
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


def dropping(seed):
    with seeded(seed):
        return models.Classifier((1, 8, 8), [nn.Sequential(nn.Flatten(), nn.Linear(64, 8))], 8, 10, dropout=0.1)


CANNOT = {
    "Conv2d layers": lambda bank, source: (lambda s: models.build("cnn", (1, 8, 8), 10, seed=s), distillers.Supervised),
    "Dropout layers": lambda bank, source: (dropping, distillers.Supervised),
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


@pytest.mark.parametrize("batched", [True, False])
def test_a_last_step_that_breaks_a_student_ends_in_not_finite_too(source, batched):
    settings = TRAINING | {"lr": 1e38, "optimizer": torch.optim.SGD, "batch_size": 300, "epochs": 1}
    with pytest.raises(train.NotFinite, match=r"after epoch 1 the logits of \d+ of \d+ validation.*1e\+38"):
        sweep(student, distillers.Supervised, {}, source, seeds=range(2), batched=batched, **settings)


def test_the_prototype_is_left_as_it_was(source, bank):
    made = []
    def make(network, T):
        made.append((distillers.KD(network, bank, T=T), weights(network)))
        return made[-1][0]
    sweep(student, make, {"T": [2, 4]}, source, seeds=[0, 1], batched=True, **TRAINING)
    for distiller, before in made:
        assert torch.equal(weights(distiller.student), before) and isinstance(distiller.T, int)
        assert distiller.teacher is bank


# only what is the same is batched

def by_hand(make, grid, source, build=student, **settings):
    """The rows of a sweep, from `fit` and nothing else."""
    training, rows = TRAINING | {"seeds": (3, 0)} | settings, []
    seeds, points = training.pop("seeds"), [dict(zip(grid, v, strict=True)) for v in itertools.product(*grid.values())]
    for point, seed in itertools.product(points, seeds):
        history = train.fit(make(build(seed), **point), source, seed=seed, **training)
        rows.append({**point, "seed": seed, **history[-1]})
    return rows


def assert_same(rows, expected):
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)


def random_grid(method, draw):
    """Two values for each of two hyper-parameters that are numbers: shares from [0, 1], ends included, others around
    their default."""
    numbers = [p for p in inspect.signature(method).parameters.values() if type(p.default) is float]
    shares = {"alpha", "lam", "w", "stop", "soft_until", "ramp", "warm_up", "masked", "hint_first",
              "substituted", "dropout"}
    return {
        p.name: [draw.choice([0.0, 1.0, draw.random()]), draw.random()] if p.name in shares else
        [p.default * draw.uniform(0.5, 2) + 1e-9 for _ in range(2)]
        for p in draw.sample(numbers, min(2, len(numbers)))
    }


@pytest.mark.parametrize("draw", range(2))
@pytest.mark.parametrize("name", distillers.METHODS)
def test_for_every_method_and_random_grids_a_sweep_gives_what_fit_gives(name, draw, few):
    method = distillers.METHODS[name]
    build = student
    if name in ("at", "ofd"):  # which need places, or batch normalisation
        build = lambda seed: models.build("resnet8", (1, 8, 8), 10, seed=seed, width=2)  # noqa: E731
    # a peer or a learner is trained as well: a new one for every student
    make = lambda network, **point: method(network, build(50), **point)  # noqa: E731
    if name in ("kd", "eskd", "dkd", "ats", "dist", "lskd", "nkd", "ttm", "wttm"):
        taught = LogitBank.record(build(50), few.train)
        make = lambda network, **point: method(network, taught, **point)  # noqa: E731
    grid = random_grid(method, random.Random(f"{name} {draw}"))
    settings = {"epochs": 1}
    assert_same(sweep(build, make, grid, few, **TRAINING | {"seeds": (3, 0)} | settings),
                by_hand(make, grid, few, build, **settings))


class HalfT(distillers.KD):
    """Derives something from a hyper-parameter where it is built."""

    def __init__(self, student, teacher, *, T=4.0):
        super().__init__(student, teacher, T=T)
        self.half = T / 2

    def forward(self, batch):
        return {"kd": Term(1.0, kd_loss(self.student(batch.x), self.teacher(batch), T=self.half))}


class Branches(distillers.KD):
    """Looks into its hyper-parameter, between `begin` and `end`."""

    begin, end = -1.0, 2.0

    def forward(self, batch):
        if self.begin < batch.progress < self.end and self.T > 2:
            return super().forward(batch)
        return {"ce": Term(1.0, F.cross_entropy(self.student(batch.x), batch.y))}


class BranchesLate(Branches):
    begin, end = 0.6, 0.9  # which a trial at the start, in the middle and at the end does not see


class Counts(distillers.KD):
    """Keeps a schedule of its own."""

    calls = 0

    def forward(self, batch):
        self.calls += 1
        return {"kd": Term(1.0 / self.calls, super().forward(batch)["kd"].value)}


class Collects(distillers.KD):
    def __init__(self, student, teacher, *, T=4.0):
        super().__init__(student, teacher, T=T)
        self.seen = []

    def forward(self, batch):
        self.seen.append(batch.progress)
        return {"kd": Term(1.0 / len(self.seen), super().forward(batch)["kd"].value)}


class Flips(distillers.KD):
    """Asks its teacher about other images than the student."""

    def forward(self, batch):
        flipped = batch._replace(x=batch.x.flip(3))
        return {"kd": Term(1.0, kd_loss(self.student(batch.x), self.teacher(flipped), T=self.T))}


class Zero(distillers.KD):
    """Returns a term that is switched off, weighted 0."""

    def forward(self, batch):
        terms = distillers.KD(self.student, self.teacher, T=4, alpha=0.5)(batch)
        return {"ce": terms["ce"], "kd": Term(self.alpha, terms["kd"].value)}


class OwnRate(distillers.KD):
    def parameter_groups(self):
        return [{"params": list(self.student.parameters()), "lr": 1e-4}]


class OtherShip(distillers.KD):
    def deployable(self):
        return nn.Sequential(self.student, nn.Hardtanh(-50.0, 50.0))


class Weighted(distillers.KD):
    """Keeps a tensor that is not the grid's."""

    def __init__(self, student, teacher, *, T=4.0):
        super().__init__(student, teacher, T=T)
        self.register_buffer("scale", torch.tensor(1.0 + T))

    def forward(self, batch):
        return {"kd": Term(1.0, self.scale * super().forward(batch)["kd"].value)}


class Python(distillers.KD):
    """Makes a number of a hyper-parameter, which a tensor of several cannot be."""

    def forward(self, batch):
        return {"kd": Term(1.0, kd_loss(self.student(batch.x), self.teacher(batch), T=2 ** round(float(self.T))))}


def in_a_closure(network, bank, T):
    class Mine(distillers.KD):
        def forward(self, batch):
            return {"kd": Term(1.0, kd_loss(self.student(batch.x), self.teacher(batch), T=2 * T))}

    return Mine(network, bank, T=T)


def patched(network, bank, T):
    distiller = distillers.KD(network, bank, T=T)
    distiller.forward = lambda batch: {"ce": Term(T, F.cross_entropy(network(batch.x), batch.y))}
    return distiller


def scaled(network, factor):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= factor
    return network


def without_head(network):
    network.linear.requires_grad_(False)
    return network


def other_bank(bank):
    return LogitBank(bank.table * 0.5, origin=bank.origin, teacher="another")


NOT_THE_SAME = {
    "another number": (lambda bank: lambda s, T: distillers.KD(s, bank, T=4 * T), "T is no number that the distiller"),
    "a bank by point": (lambda bank: lambda s, T: distillers.KD(s, other_bank(bank) if T > 2 else bank, T=T),
                        "several teachers"),
    "derived": (lambda bank: lambda s, T: HalfT(s, bank, T=T), "differ in 'half'"),
    "a branch": (lambda bank: lambda s, T: Branches(s, bank, T=T), "several students at once"),
    "a late branch": (lambda bank: lambda s, T: BranchesLate(s, bank, T=T), "several students at once"),
    "early stopping": (lambda bank: lambda s, T: distillers.ESKD(s, bank, stop=T / 10), "no number"),
    "a counter": (lambda bank: lambda s, T: Counts(s, bank, T=T), "changes what the distiller keeps"),
    "a list": (lambda bank: lambda s, T: Collects(s, bank, T=T), "a step may change 'seen'"),
    "its own rate": (lambda bank: lambda s, T: OwnRate(s, bank, T=T), "at a rate of its own"),
    "another network": (lambda bank: lambda s, T: OtherShip(s, bank, T=T), "trained or deployed is not the student"),
    "a buffer": (lambda bank: lambda s, T: Weighted(s, bank, T=T), "can be shared"),
    "a python number": (lambda bank: lambda s, T: Python(s, bank, T=T), "several students at once"),
    "a closure": (lambda bank: lambda s, T: in_a_closure(s, bank, T), "several classes"),
    "a method of its own": (lambda bank: lambda s, T: patched(s, bank, T), "differ in 'forward'"),
    "part of it frozen": (lambda bank: lambda s, T: distillers.KD(without_head(s), bank, T=T), "not all of it"),
    "another class": (lambda bank: lambda s, T: (distillers.KD if T > 2 else distillers.ESKD)(s, bank, T=T),
                      "several classes"),
    "a wrapped student": (lambda bank: lambda s, T: distillers.KD(
        models.wrap(s, mean=[0.0], std=[1.0]), bank, T=T), "the student as it was built"),
}


@pytest.fixture(scope="module")
def few_bank(few):
    return LogitBank.record(student(99, hidden=(32,)), few.train)


@pytest.mark.parametrize("case", NOT_THE_SAME)
def test_distillers_that_are_not_the_same_are_trained_one_by_one_and_the_reason_is_said_when_insisted(
    case, few, few_bank
):
    make, reason = NOT_THE_SAME[case][0](few_bank), NOT_THE_SAME[case][1]
    grid = {"T": [1, 4]}
    assert_same(sweep(student, make, grid, few, seeds=(3, 0), **TRAINING), by_hand(make, grid, few))
    with pytest.raises(ValueError, match=f"cannot be batched: .*{reason}"):
        sweep(student, make, grid, few, seeds=(3, 0), batched=True, **TRAINING)


@pytest.mark.parametrize("grid, make", [
    ({"stop": [0.3, 0.8]}, distillers.ESKD), ({"warm_up": [0.0, 0.5]}, distillers.DKD),
    ({"times_T_squared": [True, False]}, distillers.DIST), ({"alpha": [0.0, 0.5]}, Zero),
], ids=str)
def test_a_hyper_parameter_that_a_loss_looks_into_or_that_is_no_number_is_swept_one_by_one(grid, make, few, few_bank):
    every = lambda network, **point: make(network, few_bank, **point)  # noqa: E731
    assert_same(sweep(student, every, grid, few, seeds=(3, 0), **TRAINING), by_hand(every, grid, few))
    with pytest.raises(ValueError, match="cannot be batched"):
        sweep(student, every, grid, few, seeds=(3, 0), batched=True, **TRAINING)


def test_a_teacher_that_is_asked_about_other_images_is_not_batched(few):
    teacher = Teacher(student(50, hidden=(32,)))
    make = lambda network, T: Flips(network, teacher, T=T)  # noqa: E731
    assert_same(sweep(student, make, {"T": [1, 4]}, few, seeds=(3, 0), **TRAINING),
                by_hand(make, {"T": [1, 4]}, few))
    with pytest.raises(ValueError, match="its batched loss is not that of each distiller by itself"):
        sweep(student, make, {"T": [1, 4]}, few, seeds=(3, 0), batched=True, **TRAINING)


def test_students_that_make_has_changed_learn_from_there_in_a_batch_too(few, few_bank):
    make = lambda network, T: distillers.KD(scaled(network, 0.5), few_bank, T=T)  # noqa: E731
    (together, ours), (apart, theirs) = both(make, {"T": [1, 4]}, few)
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-4)
    assert_same(together, apart)
    one = sweep(student, make, {"T": [1]}, few, seeds=[3], batched=True, **TRAINING)
    other = sweep(student, lambda network, T: distillers.KD(network, few_bank, T=T), {"T": [1]}, few, seeds=[3],
                  batched=True, **TRAINING)
    assert one[0]["kd"] != pytest.approx(other[0]["kd"], rel=1e-3)


def test_one_network_that_teaches_every_point_is_one_teacher(few):
    teacher = student(50, hidden=(32,))
    make = lambda network, T: distillers.KD(network, teacher, T=T)  # noqa: E731
    assert_same(sweep(student, make, {"T": [1, 4]}, few, seeds=(3, 0), batched=True, **TRAINING),
                by_hand(make, {"T": [1, 4]}, few))


def test_a_weight_that_rises_from_0_counts_the_images_that_fit_counts(few, few_bank):
    class Rises(distillers.KD):
        def forward(self, batch):
            weight = self.alpha * batch.progress  # 0 in the first batch, a tensor in a sweep
            return distillers.base.switched_on({
                "ce": Term(1.0, F.cross_entropy(self.student(batch.x), batch.y)),
                "kd": Term(weight, kd_loss(self.student(batch.x), self.teacher(batch), T=self.T)),
            })

    make, settings = lambda network, alpha: Rises(network, few_bank, alpha=alpha), TRAINING | {"epochs": 1}
    assert_same(sweep(student, make, {"alpha": [0.0, 0.5]}, few, seeds=(3, 0), batched=True, **settings),
                by_hand(make, {"alpha": [0.0, 0.5]}, few, **settings))


def test_no_epochs_give_a_row_for_each_student_as_it_was_built(source, bank):
    judge = lambda network: {"weight": weights(network).sum().item()}  # noqa: E731
    for batched in (True, False):
        rows = sweep(student, lambda s, T: distillers.KD(s, bank, T=T), {"T": [1, 4]}, source, seeds=(3, 0),
                     judge=judge, batched=batched, **TRAINING | {"epochs": 0})
        assert [row["weight"] for row in rows] == [weights(student(seed)).sum().item() for seed in (3, 0, 3, 0)]


# what goes wrong

def test_a_student_that_is_not_built_anew_is_refused(source):
    shared, settings = student(0), {"seeds": [0, 1], **TRAINING}

    def same_memory(seed):
        network = student(seed)
        network.load_state_dict(shared.state_dict(), assign=True)
        return network

    for build in (lambda seed: shared, lambda seed: models.wrap(shared, mean=[0.0], std=[1.0]), same_memory):
        with pytest.raises(ValueError, match=r"the same weights twice.*models.build\(..., seed=seed\)"):
            sweep(build, distillers.Supervised, {}, source, **settings)


@pytest.mark.parametrize("name", ["seed", "epoch", "valid_accuracy", "valid_nll"])
def test_a_grid_with_the_name_of_what_every_row_holds_is_refused_before_anything_is_trained(name, few, monkeypatch):
    monkeypatch.setattr(train, "fit", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(ValueError, match=f"its own '{name}'.*call it otherwise"):
        sweep(student, lambda network, **point: distillers.Supervised(network), {name: [1, 2]}, few, seeds=[0],
              **TRAINING)


def test_a_name_of_the_grid_or_the_seed_is_not_lost_to_a_term_or_to_the_judge(few, few_bank):
    class Named(distillers.KD):
        def forward(self, batch):
            return {"T": Term(1.0, kd_loss(self.student(batch.x), self.teacher(batch), T=self.T))}

    settings = TRAINING | {"epochs": 1, "seeds": [0, 1]}
    for batched in (True, False):
        with pytest.raises(ValueError, match="'T' is a name of the grid or the seed, and also of what was measured"):
            sweep(student, lambda network, T: Named(network, few_bank, T=T), {"T": [1, 4]}, few, batched=batched,
                  **settings)
        for name in ("T", "seed"):
            with pytest.raises(ValueError, match=f"'{name}' is a name of the grid or the seed.*Let judge"):
                sweep(student, lambda network, T: distillers.KD(network, few_bank, T=T), {"T": [1, 4]}, few,
                      judge=lambda network: {name: 0}, batched=batched, **settings)  # noqa: B023


class Stops(distillers.Supervised):
    """Raises in the third epoch where `problem` is given."""

    def __init__(self, student, problem=None):
        super().__init__(student)
        self.problem = problem

    def forward(self, batch):
        if self.problem and batch.epoch == 2:
            raise self.problem
        return super().forward(batch)


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("problem", [KeyboardInterrupt, ZeroDivisionError])
def test_what_stops_a_sweep_has_the_rows_of_the_finished_students_and_those_of_its_own(problem, history, few):
    make = lambda network, at: Stops(network, problem if at == 3 else None)  # noqa: E731
    expected = sweep(student, make, {"at": [1, 2]}, few, seeds=(3, 0), history=history, batched=False, **TRAINING)
    with pytest.raises(problem) as stopped:
        sweep(student, make, {"at": [1, 2, 3]}, few, seeds=(3, 0), history=history, batched=False, **TRAINING)
    assert stopped.value.finished == expected and len(expected) == (12 if history else 4)
    assert [row["epoch"] for row in stopped.value.rows] == [1, 2]
    assert stopped.value.__notes__[-1].startswith("stopped in student 5 of 6, {'at': 3}, seed 3: the rows of those")


def test_a_student_that_diverges_takes_no_finished_ones_with_it_and_a_judge_that_fails_neither(few):
    class Scaled(distillers.Supervised):
        def __init__(self, student, scale):
            super().__init__(student)
            self.scale = scale

        def forward(self, batch):
            return {"ce": Term(self.scale, super().forward(batch)["ce"].value)}

    with pytest.raises(train.NotFinite) as stopped:
        sweep(student, Scaled, {"scale": [1.0, 2.0, float("nan")]}, few, seeds=[0], **TRAINING)
    assert [row["scale"] for row in stopped.value.finished] == [1, 2] and stopped.value.rows == []

    for batched in (True, False):
        judged = iter([{"test": 1}, {"test": 2}])
        with pytest.raises(StopIteration) as stopped:
            sweep(student, distillers.Supervised, {}, few, seeds=[5, 6, 7], judge=lambda network: next(judged),  # noqa: B023
                  batched=batched, **TRAINING)
        assert [(row["seed"], row["test"]) for row in stopped.value.finished] == [(5, 1), (6, 2)]


def test_students_of_a_batch_are_finished_together(few):
    with pytest.raises(train.NotFinite) as stopped:
        sweep(student, distillers.Supervised, {}, few, seeds=range(4), batched=True,
              **TRAINING | {"lr": 1e30, "optimizer": torch.optim.SGD})
    assert stopped.value.finished == [] and not hasattr(stopped.value, "__notes__")


def slkd(network, bank, learner):
    return distillers.SLKD(network, bank, learners=[learner])


class Peers(distillers.Supervised):
    """Trains another network beside the student, in a group of its own, and is asked for groups in other forms."""

    def __init__(self, student, other):
        super().__init__(student)
        self.other = other

    def parameter_groups(self):
        return [{"params": self.student.parameters()}, {"params": next(self.other.parameters())}]


class Listed(Peers):
    def parameter_groups(self):
        return [*self.student.parameters(), *self.other.parameters()]


def kept(make):
    """`make` that gives the first distiller every time."""
    made = []
    return lambda network: made[0] if made else made.append(make(network)) or made[0]


def in_turn(make, number):
    """`make` with one of so many networks, in turn."""
    networks = itertools.cycle([student(50 + k) for k in range(number)])
    return lambda network: make(network, next(networks))


SHARED = {
    "another student": (lambda bank, net: lambda s: distillers.KD(net, bank), "gave a KD that trains nothing of"),
    "another student, new": (lambda bank, net: lambda s: distillers.KD(student(0), bank), "trains nothing of"),
    "student and teacher exchanged": (lambda bank, net: lambda s: distillers.KD(student(0), s), "trains nothing of"),
    "one distiller": (lambda bank, net: kept(distillers.Supervised), "Supervised that trains nothing of"),
    "a distiller from outside": (lambda bank, net: kept(lambda s: distillers.KD(net, bank)), "trains nothing of"),
    "a peer": (lambda bank, net: lambda s: distillers.DML(s, net), r"same weights, peer\.\S+ of a DML.*build in make"),
    "a learner": (lambda bank, net: lambda s: slkd(s, bank, net), r"same weights, learners\.\S+ of a SLKD"),
    "a helper": (lambda bank, net: lambda s: Peers(s, net), r"same weights, other\.\S+ of a Peers"),
    "a helper in a list": (lambda bank, net: lambda s: Listed(s, net), r"same weights, other\.\S+ of a Listed"),
    "a teacher that is not frozen": (lambda bank, net: lambda s: Listed(s, models.wrap(net, mean=[0.0], std=[1.0])),
                                     r"freeze what does not, network\.requires_grad_\(False\)"),
}


@pytest.mark.parametrize("case", SHARED)
def test_a_lesson_that_trains_one_network_for_two_students_is_refused_before_anything_is_trained(
    case, few, few_bank, monkeypatch
):
    monkeypatch.setattr(train, "fit", lambda *a, **k: pytest.fail("trained"))
    make, message = SHARED[case]
    for seeds, batched in (([0], None), (range(5), None), (range(5), False)):
        with pytest.raises(ValueError, match=message):
            sweep(student, make(few_bank, student(60)), {}, few, seeds=seeds, batched=batched, **TRAINING)


def test_a_peer_for_each_point_of_the_grid_is_refused_too(few):
    peers = {lam: student(60 + k) for k, lam in enumerate([0.5, 1.0])}
    make = lambda network, lam: Peers(network, peers[lam])  # noqa: E731
    with pytest.raises(ValueError, match="two students would train the same weights"):
        sweep(student, make, {"lam": list(peers)}, few, seeds=[0], **TRAINING)


def test_a_network_that_comes_round_again_is_refused_when_it_does(few):
    for number in (2, 3):
        with pytest.raises(ValueError, match="two students would train the same weights"):
            sweep(student, in_turn(Listed, number), {}, few, seeds=range(5), **TRAINING | {"epochs": 1})


def test_frozen_networks_are_shared_and_a_part_of_a_student_is_enough(few, few_bank):
    frozen, teacher = student(60).requires_grad_(False), student(61, hidden=(32,))

    class Whole(distillers.Supervised):
        def parameter_groups(self):
            return [{"params": list(self.parameters())}]  # with what is frozen

    def beside(network):
        distiller = Whole(network)
        distiller.guide = frozen
        return distiller

    def projected(network):
        return distillers.SimKD(network.requires_grad_(False), teacher)

    lessons = [beside, projected, lambda s: distillers.KD(s, teacher), lambda s: distillers.SimKD(s, teacher),
               lambda s: distillers.KD(without_head(s), few_bank), lambda s: distillers.DML(s, student(60)),
               lambda s: slkd(s, few_bank, student(60)),
               lambda s: distillers.Supervised(models.wrap(s, mean=[0.0], std=[1.0]))]
    for make in lessons:
        rows = sweep(student, make, {}, few, seeds=range(2), **TRAINING | {"epochs": 1})
        assert [row["seed"] for row in rows] == [0, 1]


def flat(seed=None):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def half_drawn(seed):
    network = student(seed)
    network.linear = nn.Linear(16, 10)  # a new head, and only the body has a seed
    return network


def random_features(seed):
    network = student(seed)
    network.register_buffer("shift", torch.rand(64))
    return network


def another_seed(seed):
    another_seed.calls += 1
    return student(seed + another_seed.calls)


another_seed.calls = 0


@pytest.mark.parametrize("build", [flat, half_drawn, random_features, another_seed])
def test_a_student_that_is_not_drawn_from_its_seed_is_refused_before_anything_is_trained(build, source, monkeypatch):
    monkeypatch.setattr(train, "fit", lambda *a, **k: pytest.fail("trained"))
    for batched in (None, False):
        with pytest.raises(ValueError, match=r"student\(4\) gave other weights.*seed=seed\).*core\.seeded\(seed\)"):
            sweep(build, distillers.Supervised, {}, source, seeds=[4, 1], batched=batched, **TRAINING)


def test_a_student_that_is_drawn_in_seeded_or_starts_from_what_was_learnt_elsewhere_is_trained(few):
    body = student(7).state_dict()

    def drawn(seed):
        with seeded(seed):
            return flat()

    def pretrained(seed):
        network = student(0)
        network.load_state_dict(body)
        return network

    def warm(seed):
        network = student(seed)
        train.fit(distillers.Supervised(network), few, seed=seed, epochs=1, lr=1e-3)
        with torch.no_grad():
            network.linear.weight *= 1 + 1e-6 * torch.rand(())  # as sums on a GPU differ from call to call
        return network

    for build in (drawn, pretrained, warm):
        rows = sweep(build, distillers.Supervised, {}, few, seeds=range(2), **TRAINING | {"epochs": 1})
        assert [row["seed"] for row in rows] == [0, 1] and rows[0]["ce"] != rows[1]["ce"]


def test_global_random_numbers_are_as_before_though_a_loss_draws(few):
    class Draws(distillers.Supervised):
        def forward(self, batch):
            return super().forward(batch._replace(x=batch.x + 0.1 * torch.randn(batch.x.shape)))

    before = torch.get_rng_state()
    assert_same(sweep(student, Draws, {}, few, seeds=range(4), **TRAINING),
                by_hand(Draws, {}, few, seeds=range(4)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("wrong, error, message", [
    ({"seeds": 3}, TypeError, r"seeds=range\(3\) for three of them.*given: 3"),
    ({"seeds": "012"}, TypeError, "seeds are a list"),
    ({"seeds": [0.5]}, TypeError, "a seed is an integer.*0.5 is none"),
    ({"seeds": [-1]}, ValueError, "at least 0; it is -1"),
    ({"grid": {"T": 4}}, TypeError, r"\{'T': \[4\]\}"),
    ({"grid": {"T": "14"}}, TypeError, "the values of T are a list"),
    ({"grid": ["T"]}, TypeError, r"grid is a dict of lists.*it is \['T'\]"),
    ({"student": "network"}, TypeError, "given two functions"),
    ({"make": "distiller"}, TypeError, "given two functions"),
    pytest.param({"make": lambda s: None}, TypeError, r"None is none: write fit\(distillers.Superv", id="no distiller"),
    ({"epochs": -1}, ValueError, "epochs is a whole number of at least 0; it is -1"),
    ({"optimizer": "adam"}, TypeError, "torch.optim.Adam, say.*not 'adam'"),
], ids=str)
def test_a_wrong_call_is_answered_with_the_right_one(wrong, error, message, source):
    given = {"student": student, "make": distillers.Supervised, "grid": {}, "seeds": [0]} | wrong
    given |= {"student": student(0)} if wrong.get("student") == "network" else {}
    given |= {"make": distillers.Supervised(student(0))} if wrong.get("make") == "distiller" else {}
    build, make, grid = (given.pop(name) for name in ("student", "make", "grid"))
    with pytest.raises(error, match=message):
        sweep(build, make, grid, source, **TRAINING | given)


def test_no_float64_is_asked_of_the_device_that_trains(source, bank, monkeypatch):
    """Apple's GPUs have none. Here whatever the CPU trains counts as on the device, until `.cpu()` was called on it."""
    fetched, double, cpu = set(), torch.Tensor.double, torch.Tensor.cpu

    def to_cpu(self, *a, **k):
        result = cpu(self, *a, **k).clone()
        fetched.add(id(result))
        kept.append(result)
        return result

    def to_double(self, *a, **k):
        assert id(self) in fetched, "float64 on the device"
        return double(self, *a, **k)

    kept = []
    monkeypatch.setattr(torch.Tensor, "cpu", to_cpu)
    monkeypatch.setattr(torch.Tensor, "double", to_double)
    monkeypatch.setattr(metrics, "accuracy", lambda z, y: 0.0)  # of what `predict` has put on the CPU
    monkeypatch.setattr(metrics, "nll", lambda z, y: 0.0)
    make = lambda network, T: distillers.KD(network, bank, T=T)  # noqa: E731
    for batched in (True, False):
        sweep(student, make, {"T": [1, 4]}, source, seeds=[0], batched=batched, **TRAINING)


@pytest.mark.parametrize("grid, seeds", [({}, [0, 0, 1]), ({"T": [1, 4, 1.0]}, [0, 1])])
def test_the_same_student_twice_is_refused(grid, seeds):
    source = data.load("digits")
    with pytest.raises(ValueError, match="twice: the same students would be trained again"):
        sweep(lambda seed: models.build("mlp", source.shape, 10, seed=seed),
              lambda student, **_: distillers.Supervised(student), grid, source, seeds=seeds, epochs=1, lr=1e-3)
