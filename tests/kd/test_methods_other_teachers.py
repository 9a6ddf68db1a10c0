"""Identities of the methods of lesson 09: BYOT, where a network teaches itself, LwF and an adversary."""

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from helpers import (
    close,
    cnn,
    few_digits,
    gradient,
    gradients,
    mlp,
    network,
    same,
    state,
    vit,
    weights,
)
from torch import nn

from kdcourse import cost, metrics
from kdcourse.distillers import BYOT, KD, Adversarial, LwF, Supervised
from kdcourse.losses import discriminator_loss, fooling_loss
from kdcourse.teachers import LogitBank
from kdcourse.train import fit


def train(distiller, source, **settings):
    return fit(distiller, source, **{"epochs": 2, "lr": 3e-3, "batch_size": 64} | settings)


# BYOT

KINDS = {"mlp": lambda seed: mlp(seed, hidden=(16, 12)), "cnn": cnn, "resnet": network, "vit": vit}
WHAT = ("ce", "kd", "hint")  # each exit is asked for
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


@every_kind
def test_byot_is_for_each_exit_the_labels_the_deepest_answers_and_the_deepest_features(kind, batch):
    student = kind(0).eval()
    distiller = BYOT(student, T=3.0, alpha=0.4, beta=0.2).eval()
    terms = distiller(batch)
    z, features, _ = student.answer(batch.x)
    last = features[-1] if features[-1].ndim == 4 else features[-1][:, :, None, None]
    assert len(distiller.exits) == len(features) - 1
    assert terms.keys() == {"ce"} | {f"exit{k}_{what}" for k in range(1, len(features)) for what in WHAT}
    close(terms["ce"].value, F.cross_entropy(z, batch.y))
    for k, (leave, f) in enumerate(zip(distiller.exits, features[:-1], strict=True), start=1):
        h, z_k = leave.hidden(f), leave(f)
        h, hidden = (F.adaptive_avg_pool2d(g, [min(h.shape[d], last.shape[d]) for d in (2, 3)]) for g in (h, last))
        close(terms[f"exit{k}_ce"].value, F.cross_entropy(z_k, batch.y))
        soft = F.kl_div((z_k / 3).log_softmax(dim=1), (z / 3).softmax(dim=1), reduction="batchmean")
        close(terms[f"exit{k}_kd"].value, 9 * soft)
        close(terms[f"exit{k}_hint"].value, (h - hidden).square().mean() / hidden.square().mean())
        assert [terms[f"exit{k}_{what}"].weight for what in WHAT] == pytest.approx([0.6, 0.4, 0.2])


def test_byots_deepest_exit_is_a_fixed_target_and_the_earlier_ones_teach_the_stages_that_they_share(batch):
    distiller = BYOT(network(0))
    terms = distiller(batch)
    student = distiller.student
    for name in ("exit1_kd", "exit1_hint", "exit2_kd", "exit2_hint"):
        value, shared = terms[name].value, int(name[4])
        assert not gradient(value, student.linear).any()
        for k, stage in enumerate(student.stages):
            assert gradient(value, stage).any() == (k < shared)
        for k, leave in enumerate(distiller.exits, start=1):
            assert gradient(value, leave).any() == (k == shared)
    assert not any(gradient(terms["ce"].value, leave).any() for leave in distiller.exits)


def test_byots_gradient_without_what_the_exits_ask_for_is_that_of_the_labels(batch):
    distiller = BYOT(network(0)).train()
    close(gradient(distiller(batch)["ce"].value, distiller.student), gradients(Supervised(network(0)), batch))
    assert not torch.allclose(gradients(distiller, batch), gradients(Supervised(network(0)), batch), atol=1e-3)


def test_byot_with_alpha_0_and_beta_0_trains_every_exit_on_the_labels_alone(batch):
    terms = BYOT(network(0), alpha=0, beta=0)(batch)
    assert weights(terms) == {"ce": 1.0, "exit1_ce": 1, "exit2_ce": 1}


def test_an_exit_that_answers_as_the_deepest_one_has_nothing_left_to_learn_from_it(batch):
    distiller = BYOT(network(0), alpha=1.0).eval()
    z, features, _ = distiller.student.answer(batch.x)
    distiller.exits[1].head, distiller.exits[1].hidden = lambda h: z.detach(), lambda f: features[-1].detach()
    terms = distiller(batch)
    assert terms["exit2_kd"].value.abs() < 1e-6 and terms["exit2_hint"].value == 0


@every_kind
def test_byot_deploys_the_network_as_it_was_built_and_an_early_exit_only_what_leads_to_it(kind, batch):
    student = kind(0)
    distiller = BYOT(student).eval()
    assert distiller.deployable() is student
    assert cost.parameters(distiller.deployable()) == cost.parameters(kind(0)) < cost.parameters(distiller)
    answers = distiller.answers(batch.x)
    assert torch.equal(answers[-1], student(batch.x))
    for k, leave in enumerate(distiller.exits, start=1):
        early = distiller.early(k).eval()
        close(early(batch.x), answers[k - 1])
        entrance = sum(cost.parameters(part) for part in (student.normalise, *student.stages[:k], leave))
        assert cost.parameters(early) == entrance
    assert same(student, kind(0))


def test_an_early_exit_learns_with_the_network_and_costs_less(source, batch):
    distiller = BYOT(network(0, width=8))
    early = distiller.early(1)
    before = early.eval()(batch.x)
    train(distiller, source)
    assert not torch.equal(early.eval()(batch.x), before)
    close(early(batch.x), distiller.eval().answers(batch.x)[0])
    shape = (1, 8, 8)
    assert cost.multiply_adds(early, shape) < cost.multiply_adds(distiller.early(2), shape)


def test_every_exit_of_byot_learns_the_digits():
    distiller = BYOT(network(0, width=8))
    train(distiller, few_digits(1000), epochs=4)
    test = few_digits().test
    found = [metrics.accuracy(z, test.y) for z in distiller.eval().answers(test.x / 255)]
    assert len(found) == 3 and 0.3 < found[0] < found[1] < found[2]


def test_byot_refuses_a_network_of_one_stage_an_exit_that_is_not_there_and_what_cannot_be_cut():
    with pytest.raises(ValueError, match="has 1 stage and so no earlier exit"):
        BYOT(mlp(0))
    for k in (0, 3, -1, None):
        with pytest.raises(ValueError, match="exits 1 to 2"):
            BYOT(network(0)).early(k)
    with pytest.raises(TypeError, match="does not show its feature maps"):
        BYOT(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


@pytest.mark.parametrize("settings, message", [
    ({"T": 0}, "T is 0"), ({"alpha": 1.1}, "it is 1.1"), ({"beta": -1}, "it is -1"), ({"beta": float("nan")}, "nan"),
])
def test_byot_refuses_settings_out_of_range_where_it_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        BYOT(network(0), **settings)


# leaving early

def exits(B=40, seed=0):
    z = torch.randn(3, B, 5, generator=torch.Generator().manual_seed(seed))
    return list(z * torch.tensor([1, 2, 4])[:, None, None])


def test_with_threshold_0_all_leave_at_the_first_exit_and_above_1_all_at_the_last():
    answers = exits()
    for threshold, k in ((0, 0), (1.01, 2), (float("inf"), 2)):
        z, place = metrics.first_sure(answers, threshold)
        assert torch.equal(z, answers[k]) and (place == k).all()


def test_each_image_leaves_at_the_first_exit_that_is_sure_enough():
    answers = exits()
    z, place = metrics.first_sure(answers, 0.6)
    assert set(place.tolist()) == {0, 1, 2}
    for i in range(40):
        sure = [k for k in range(2) if answers[k][i].softmax(dim=0).max() >= 0.6]
        k = sure[0] if sure else 2
        assert place[i] == k and torch.equal(z[i], answers[k][i])


def test_a_higher_threshold_lets_no_image_leave_earlier():
    places = [metrics.first_sure(exits(), threshold / 10)[1] for threshold in range(12)]
    assert all((later >= earlier).all() for earlier, later in pairwise(places))


def test_exits_that_do_not_fit_and_a_threshold_that_is_none_are_refused():
    for answers in ([], [torch.zeros(2, 3), torch.zeros(3, 3)], [torch.zeros(3)]):
        with pytest.raises(ValueError, match=r"logits .* of one shape, a tensor for each exit"):
            metrics.first_sure(answers, 0.5)
    for threshold in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="at least 0; it is"):
            metrics.first_sure(exits(), threshold)


# LwF

OLD, NEW = range(5), range(5, 10)


def of(classes, split):
    """The images of these classes."""
    return split.take(sum(split.y == k for k in classes).bool(), f"{classes}")


@pytest.fixture
def later(source):
    """A batch of the new task."""
    return next(of(NEW, source.train).batches(32, seed=0))


def test_lwf_by_the_task_is_the_cross_entropy_of_the_new_logits_and_the_divergence_of_the_old(later):
    student, teacher = network(0).eval(), network(1, width=8).eval()
    terms = LwF(student, teacher, old=OLD, new=NEW, T=3.0, beta=0.7).eval()(later)
    z_s, z_t = student(later.x), teacher(later.x)
    close(terms["ce"].value, F.cross_entropy(z_s[:, 5:], later.y - 5))
    soft = F.kl_div((z_s[:, :5] / 3).log_softmax(dim=1), (z_t[:, :5] / 3).softmax(dim=1), reduction="batchmean")
    close(terms["kd"].value, 9 * soft)
    assert weights(terms) == {"ce": 1.0, "kd": 0.7}


def test_lwf_by_the_class_lets_every_logit_compete_and_only_the_old_ones_follow(later):
    student = network(0)
    terms = LwF(student, network(1), old=OLD)(later)
    close(terms["ce"].value, F.cross_entropy(student(later.x), later.y))
    rows = torch.autograd.grad(terms["kd"].value, student.linear.bias, retain_graph=True)[0]
    assert rows[:5].all() and not rows[5:].any()
    rows = torch.autograd.grad(terms["ce"].value, student.linear.bias)[0]
    assert (rows[:5] > 0).all()  # which gradient descent pushes down


def test_lwf_by_the_task_moves_no_row_of_the_old_classes_by_the_labels(later):
    student = network(0)
    terms = LwF(student, network(1), old=OLD, new=NEW)(later)
    for name, moved, still in (("ce", slice(5, 10), slice(0, 5)), ("kd", slice(0, 5), slice(5, 10))):
        rows = torch.autograd.grad(terms[name].value, student.linear.weight, retain_graph=True)[0]
        assert rows[moved].any() and not rows[still].any()


@pytest.mark.parametrize("classes", [None, range(10), [3, 1, 2, 0, 5, 4, 9, 8, 7, 6]], ids=str)
def test_lwf_of_all_classes_has_the_gradient_of_twice_kd_with_equal_shares(classes, batch):
    found = gradients(LwF(network(0), network(1), old=classes, new=classes, T=3.0), batch)
    close(found, 2 * gradients(KD(network(0), network(1), T=3.0, alpha=0.5), batch), atol=1e-5)


def test_lwf_without_the_old_answers_is_plain_training(later):
    distiller = LwF(network(0), network(1), old=OLD, beta=0)
    assert distiller(later).keys() == {"ce"}
    close(gradients(distiller, later), gradients(Supervised(network(0)), later))


def test_lwf_has_nothing_to_remember_before_the_first_step(later):
    student = network(0).eval()
    distiller = LwF(student, copy.deepcopy(student), old=OLD, new=NEW).eval()
    value = distiller(later)["kd"].value
    assert value.abs() < 1e-6 and gradient(value, student).abs().max() < 1e-6


def test_lwf_takes_an_old_network_that_has_the_old_classes_alone_and_a_bank(source, later):
    teacher = network(1)
    bank = LogitBank.record(teacher, of(NEW, source.train), dtype=torch.float32)
    smaller = copy.deepcopy(teacher)
    for parameter in smaller.linear.parameters():
        parameter.data = parameter.data[:5]
    expected = LwF(network(0), teacher, old=OLD)(later)["kd"].value
    for other in (bank, smaller):
        close(LwF(network(0), other, old=OLD)(later)["kd"].value, expected)


def test_lwf_keeps_the_old_task_by_the_task_and_not_by_the_class():
    source = few_digits(1000)
    first, second = (source.with_train(of(task, source.train)) for task in (OLD, NEW))
    before, old, new = mlp(0, hidden=(64,)), of(OLD, source.test), of(NEW, source.test)
    train(Supervised(before), first, epochs=10)
    by_task, by_class = [], []
    for beta in (0, 5):
        student = copy.deepcopy(before)
        train(LwF(student, copy.deepcopy(before), old=OLD, beta=beta), second, epochs=10, lr=1e-2)
        z = metrics.predict(student, old)
        by_task.append(metrics.accuracy(z[:, :5], old.y))
        by_class.append(metrics.accuracy(z, old.y))
        assert metrics.accuracy(metrics.predict(student, new)[:, 5:], new.y - 5) > 0.9
    assert by_task[1] > 0.95 > by_task[0] + 0.05 and max(by_class) < 0.2


@pytest.mark.parametrize("settings, error, message", [
    ({"old": [3]}, ValueError, r"old lists at least two different classes.*it is \[3\]"),
    ({"new": []}, ValueError, "new lists at least two different classes"),
    ({"old": [1, 1, 2]}, ValueError, "two different"), ({"old": [-1, 2]}, ValueError, "from 0 up"),
    ({"old": "01"}, TypeError, "lists classes by number"), ({"new": [0.5, 1]}, TypeError, "by number"),
    ({"old": 5}, TypeError, "by number"), ({"beta": -1}, ValueError, "it is -1"), ({"T": 0}, ValueError, "T is 0"),
])
def test_lwf_refuses_settings_that_make_no_sense_where_it_is_built(settings, error, message):
    with pytest.raises(error, match=message):
        LwF(network(0), network(1), **settings)


def test_lwf_refuses_classes_that_are_not_there_and_labels_of_the_old_task(batch, later):
    for name in ("old", "new"):
        with pytest.raises(ValueError, match="class 10 is not there: 10 logits are of classes 0 to 9"):
            LwF(network(0), network(1), **{name: range(5, 11)})(later)
    with pytest.raises(ValueError, match=r"labels \[0, 1, 2, 3, 4\] are none of the new classes \[5, 6, 7, 8, 9\]"):
        LwF(network(0), network(1), old=OLD, new=NEW)(batch)


# Adversarial

def adversary(student=None, teacher=None, **settings):
    return Adversarial(student or network(0), teacher or network(1, width=8), **settings)


both_sights = pytest.mark.parametrize("sees", ["logits", "features"])


def test_adversarial_is_kd_and_a_discriminator_of_softened_probabilities(batch):
    distiller = adversary(T=3.0, alpha=0.6, beta=0.2).eval()
    terms, expected = distiller(batch), KD(distiller.student, distiller.teacher, T=3.0, alpha=0.6).eval()(batch)
    d_s, d_t = (distiller.discriminator(10 * (z / 3).softmax(dim=1))
                for z in (distiller.student(batch.x), distiller.teacher(batch)))
    assert weights(terms) == weights(expected) | {"fooling": 0.2, "discriminator": 1.0}
    for name in expected:
        assert torch.equal(terms[name].value, expected[name].value)
    close(terms["fooling"].value, F.binary_cross_entropy_with_logits(d_s, torch.ones_like(d_s)))
    close(terms["discriminator"].value, F.binary_cross_entropy_with_logits(d_s, torch.zeros_like(d_s))
          + F.binary_cross_entropy_with_logits(d_t, torch.ones_like(d_t)))


def test_an_adversary_of_features_sees_their_means_as_wide_as_the_teachers(batch):
    distiller = adversary(sees="features").eval()
    terms = distiller(batch)
    a_s = distiller.regressor(distiller.student.answer(batch.x).features[-1].mean(dim=(2, 3)))
    a_t = distiller.teacher.answer(batch).features[-1].mean(dim=(2, 3))
    assert a_s.shape == a_t.shape
    d_s, d_t = distiller.discriminator(a_s), distiller.discriminator(a_t)
    close(terms["fooling"].value, fooling_loss(d_s))
    close(terms["discriminator"].value, discriminator_loss(d_s, d_t))


@both_sights
def test_neither_loss_of_the_game_moves_the_others_weights(sees, batch):
    distiller = adversary(sees=sees)
    terms = distiller(batch)
    for name, moved in (("fooling", distiller.student), ("discriminator", distiller.discriminator)):
        for network_ in (distiller.student, distiller.discriminator):
            assert gradient(terms[name].value, network_).any() == (network_ is moved)
    if sees == "features":
        assert gradient(terms["fooling"].value, distiller.regressor).any()
        assert not gradient(terms["discriminator"].value, distiller.regressor).any()


@both_sights
@pytest.mark.parametrize("side", ["student", "discriminator"])
def test_a_step_of_one_side_leaves_the_other_as_it_was_to_the_bit(side, sees, batch):
    distiller = adversary(student=cnn(0).eval(), sees=sees)
    distiller.eval()
    before = {name: state(getattr(distiller, name)) for name in ("student", "discriminator")}
    optimiser = torch.optim.SGD(distiller.parameters(), lr=0.1)
    terms = distiller(batch)
    names = ("discriminator",) if side == "discriminator" else ("ce", "kd", "fooling")
    sum(terms[name].weight * terms[name].value for name in names).backward()
    optimiser.step()
    assert {name: not same(getattr(distiller, name), before[name]) for name in before} == {
        name: name == side for name in before}


@both_sights
def test_with_beta_0_the_student_is_the_one_of_kd_and_the_discriminator_looks_on(sees, source):
    ours, theirs = cnn(0), cnn(0)
    distiller = adversary(ours, sees=sees, beta=0)
    before = state(distiller.discriminator)
    train(distiller, source)
    train(KD(theirs, network(1, width=8)), source)
    assert all(torch.equal(*pair) for pair in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not same(distiller.discriminator, before)


def test_an_adversary_that_sees_the_same_twice_cannot_tell_whatever_it_says(batch):
    student = network(0).eval()
    distiller = adversary(student, copy.deepcopy(student)).eval()
    terms = distiller(batch)
    assert terms["kd"].value.abs() < 1e-6 and terms["discriminator"].value >= 2 * torch.tensor(2.0).log() - 1e-6


def test_a_discriminator_learns_to_tell_two_networks_apart_and_fooling_it_works_against_that():
    source = few_digits(500)
    teacher = mlp(1, hidden=(64,))
    train(Supervised(teacher), source, epochs=10)
    last = {}
    for beta in (0.0, 3.0):
        rows = train(adversary(mlp(0), teacher, beta=beta), source, epochs=10)
        last[beta] = rows[-1]["discriminator"]
    assert last[0.0] < 1.3 and last[3.0] > last[0.0] + 0.02


def test_adversarial_takes_a_bank_for_logits_and_not_for_features(source):
    teacher = network(1, width=8)
    bank = LogitBank.record(teacher, source.train, dtype=torch.float32)
    batch = next(source.train.batches(32))
    found, expected = (adversary(cnn(0).eval(), taught).eval()(batch) for taught in (bank, teacher))
    for name in expected:
        close(found[name].value, expected[name].value)
    with pytest.raises(TypeError, match="holds logits only"):
        adversary(teacher=bank, sees="features")
    with pytest.raises(ValueError, match="sees is one of: logits, features; not 'maps'"):
        adversary(sees="maps")
