"""Chains of trainings: who teaches whom, and what the shortest chains are."""

import pytest
import torch
from helpers import Counted, Refusing, close, cnn, few_digits, mlp, network, same, state

from kdcourse import procedures
from kdcourse.data import Augment
from kdcourse.distillers import DGKD, KD, SLKD, SelfLearners
from kdcourse.procedures import Fused, born_again, dgkd, slkd_sequential, takd
from kdcourse.teachers import LogitBank, Teacher
from kdcourse.train import fit

TRAINING = {"epochs": 2, "lr": 3e-3, "batch_size": 64}
STEPS = 2 * 4
AUGMENTS = pytest.mark.parametrize("augment", [None, Augment(pad=1, views=2), Augment(pad=1)],
                                   ids=["plain", "2 views", "endless views"])


def teacher(seed=100):
    return network(seed, width=8)


@pytest.fixture
def fits(monkeypatch):
    """Every distiller that a procedure trains."""
    seen, real = [], procedures.train.fit

    def spy(distiller, source, **training):
        seen.append(distiller)
        return real(distiller, source, **training)

    monkeypatch.setattr(procedures.train, "fit", spy)
    return seen


# TAKD

def test_takd_with_one_network_is_kd_to_the_bit(source):
    found, expected = network(0), network(0)
    rows = takd([found], teacher(), source, T=3.0, alpha=0.7, seed=5, **TRAINING)
    assert rows == [fit(KD(expected, teacher(), T=3.0, alpha=0.7), source, seed=5, **TRAINING)]
    assert same(found, expected)


def test_takds_later_networks_learn_from_the_one_before_and_never_ask_the_teacher(source):
    counted, chain = Counted(teacher()), [network(1, width=6), network(2, width=5), network(0)]
    rows = takd(chain, counted, source, T=3.0, **TRAINING)
    assert counted.calls == STEPS and len(rows) == 3
    by_hand = [network(1, width=6), network(2, width=5), network(0)]
    fit(KD(by_hand[0], teacher(), T=3.0), source, **TRAINING)
    for guide, learner in ((0, 1), (1, 2)):
        bank = LogitBank.record(by_hand[guide], source.train, dtype=torch.float32)
        fit(KD(by_hand[learner], bank, T=3.0), source, **TRAINING)
    assert all(same(*both) for both in zip(chain, by_hand, strict=True))


def test_takd_whose_assistant_knows_what_the_teacher_knows_is_kd_from_the_teacher(source):
    guide, assistant, found, expected = mlp(100), mlp(100), mlp(0), mlp(0)
    hops = []

    def rests_at_first(groups, lr):
        hops.append(1)
        return torch.optim.SGD(groups, lr=0.0 if len(hops) == 1 else 0.1)

    takd([assistant, found], guide, source, optimizer=rests_at_first, **TRAINING)
    bank = LogitBank.record(guide, source.train, dtype=torch.float32)
    fit(KD(expected, bank), source, optimizer=lambda groups, lr: torch.optim.SGD(groups, lr=0.1), **TRAINING)
    assert len(hops) == 2 and same(found, expected)


@AUGMENTS
def test_a_chain_learns_from_the_views_that_it_sees_recorded_where_they_can_be(augment, source, fits):
    for chain in (takd, dgkd):
        fits.clear()
        rows = chain([network(1), network(0)], teacher(), source, augment=augment, **TRAINING)
        assert all(row["kd"] > 0 for hop in rows for row in hop)
        guide = fits[1].teacher if chain is takd else fits[1].guides[1]
        assert isinstance(guide, Teacher if augment and augment.views is None else LogitBank)
        if isinstance(guide, LogitBank):
            assert len(guide.table) == (augment.views if augment else 1) and guide.table.dtype == torch.float32


@AUGMENTS
@pytest.mark.parametrize("chain", [takd, dgkd])
def test_the_last_network_of_a_chain_may_go_on_learning(chain, augment, source):
    student = network(0)
    chain([network(1), student], teacher(), source, augment=augment, **TRAINING)
    assert all(parameter.requires_grad for parameter in student.parameters())


# DGKD

def test_dgkd_with_one_network_is_kd_to_the_bit(source):
    found, expected = network(0), network(0)
    rows = dgkd([found], teacher(), source, T=3.0, alpha=0.7, drop=1, **TRAINING)
    assert rows == [fit(KD(expected, teacher(), T=3.0, alpha=0.7), source, **TRAINING)]
    assert same(found, expected)


def test_dgkds_guides_are_the_teacher_and_all_the_networks_before(source, fits):
    first, chain = teacher(), [network(1, width=6), network(2, width=5), network(0)]
    rows = dgkd(chain, first, source, T=3.0, alpha=0.7, **TRAINING)
    assert [type(distiller) for distiller in fits] == [DGKD] * 3
    for k, distiller in enumerate(fits):
        assert distiller.student is chain[k] and (distiller.T, distiller.alpha) == (3.0, 0.7)
        assert distiller.guides[0].network is first and len(distiller.guides) == k + 1
        for guide, network_ in zip(distiller.guides[1:], chain, strict=False):
            guide.check(network_, source.train.origin())
        assert {key for key in rows[k][0] if key.startswith("kd") and not key.endswith("weight")} == {
            "kd", *(f"kd_assistant{j}" for j in range(1, k + 1))
        }


def test_dgkd_never_drops_all_guides(source, fits):
    dgkd([network(1), network(2), network(0)], teacher(), source, drop=2, **TRAINING)
    assert [distiller.drop for distiller in fits] == [0, 1, 2]


# born-again networks

def test_born_again_generations_are_takds_chain_at_temperature_1(source, fits):
    generations = [network(seed, width=8) for seed in (1, 2, 3)]
    rows = born_again(generations, teacher(), source, **TRAINING)
    assert len(rows) == 3 and all(len(generation) == 2 for generation in rows)
    assert [(distiller.T, distiller.alpha) for distiller in fits] == [(1.0, 0.5)] * 3
    again = [network(seed, width=8) for seed in (1, 2, 3)]
    assert takd(again, teacher(), source, T=1.0, alpha=0.5, **TRAINING) == rows
    assert all(same(*both) for both in zip(generations, again, strict=True))


# SLKD*

def learners():
    return [cnn(5), cnn(6)]


@AUGMENTS
def test_slkd_star_trains_the_learners_first_and_leaves_them_alone_while_the_student_learns(augment, source, fits):
    two, after = learners(), []
    settings = {"T": 3.0, "lam": 0.2, "w": 0.3, "seed": 7}

    def watch(rows):
        after.append([state(learner) for learner in two])

    rows = slkd_sequential(network(0), teacher(), two, source, augment=augment, on_epoch=watch, **settings, **TRAINING)
    assert [type(distiller) for distiller in fits] == [SelfLearners, SLKD]
    assert len(after) == 4 and not same(after[0][0], after[1][0])
    for k in range(2):
        assert same(after[1][k], after[2][k]) and same(after[1][k], after[3][k]) and same(after[1][k], state(two[k]))
    assert [len(part) for part in rows] == [2, 2]
    assert {"learner1_ce", "learner2_kd"} <= rows[0][0].keys() and "kd_learners" not in rows[0][0]
    assert {"ce", "kd", "kd_learners"} <= rows[1][0].keys() and "learner1_ce" not in rows[1][0]

    alone = learners()
    fit(SelfLearners(alone, Teacher(teacher()), **settings), source, augment=augment, seed=7, **TRAINING)
    assert same(alone[0], two[0]) and same(alone[1], two[1])


@AUGMENTS
def test_slkd_stars_student_follows_what_the_learners_have_become(augment, source, fits):
    two = learners()
    slkd_sequential(network(0), teacher(), two, source, w=0.3, T=3.0, alpha=0.5, beta=2.0, lam=0.2, augment=augment,
                    **TRAINING)
    student = fits[1]
    assert (student.T, student.alpha, student.beta, student.lam) == (3.0, 0.5, 2.0, 0.2)
    batch = next(source.train.batches(64, epoch=1, augment=augment))
    with torch.no_grad():
        fused = 0.3 * two[0].eval()(batch.x) + 0.7 * two[1].eval()(batch.x)
    close(student.learners(batch), fused, atol=1e-5)


def test_slkd_star_with_one_learner_follows_it_whatever_w(source, fits):
    students = [network(0), network(0)]
    for student, w in zip(students, (0.3, 1.0), strict=True):
        slkd_sequential(student, teacher(), [cnn(5)], source, w=w, **TRAINING)
    assert same(*students)


def test_slkd_star_asks_its_teacher_about_the_same_images_in_both_phases(source):
    counted = Counted(teacher())
    slkd_sequential(network(0), counted, learners(), source, **TRAINING)
    assert counted.calls == 2 * STEPS


@pytest.mark.parametrize("settings, message", [
    ({"T": 0}, "T is 0"), ({"lam": 2}, "lam .*2"), ({"w": -1}, "w .*-1"), ({"alpha": -1}, "alpha .*-1"),
    ({"beta": -1}, "beta .*-1"),
])
def test_slkd_star_refuses_settings_out_of_range_before_anything_is_trained(settings, message, source):
    two = learners()
    with pytest.raises(ValueError, match=message):
        slkd_sequential(network(0), Refusing(teacher()), two, source, **settings, **TRAINING)
    assert same(two[0], cnn(5))


def test_slkd_star_refuses_networks_that_are_used_twice_or_too_many_before_anything_is_trained(source, fits):
    student, guide, learner = network(0), teacher(), network(5)
    for wrong in ([student], [guide], [learner, learner], [learner, student]):
        with pytest.raises(ValueError, match="two of them share parameters"):
            slkd_sequential(student, guide, wrong, source, **TRAINING)
    for wrong in ([], [network(seed) for seed in (5, 6, 7)]):
        with pytest.raises(ValueError, match=f"not {len(wrong)}"):
            slkd_sequential(student, guide, wrong, source, **TRAINING)
    assert not fits


def test_self_learners_by_themselves_refuse_what_slkd_refuses():
    guide = Teacher(teacher())
    settings = {"T": 3.0, "lam": 0.2, "w": 0.3, "seed": 7}
    with pytest.raises(ValueError, match="two of them share parameters"):
        SelfLearners([guide.network], guide, **settings)
    with pytest.raises(ValueError, match="not 3"):
        SelfLearners([network(seed) for seed in (5, 6, 7)], guide, **settings)
    with pytest.raises(ValueError, match=r"lam .*1\.5"):
        SelfLearners(learners(), guide, **settings | {"lam": 1.5})


def test_fused_networks_are_one_whose_logits_are_weighed(source):
    batch = next(source.train.batches(8))
    one, other = mlp(1), mlp(2)
    close(Fused([one, other], 0.3)(batch.x), 0.3 * one(batch.x) + 0.7 * other(batch.x))
    assert torch.equal(Fused([one], 0.3)(batch.x), one(batch.x))


@pytest.mark.parametrize("chain", [takd, dgkd, born_again])
def test_a_network_that_stands_twice_in_a_chain_is_refused_before_anything_is_trained(chain, monkeypatch):
    monkeypatch.setattr(procedures.train, "fit", lambda *a, **k: pytest.fail("trained"))
    twice = mlp(0)
    with pytest.raises(ValueError, match="stands twice in this chain"):
        chain([twice, twice], mlp(1), few_digits(), epochs=1, lr=1e-3)


@pytest.mark.parametrize("procedure", [takd, dgkd, born_again])
def test_a_chain_that_is_stopped_keeps_the_rows_of_the_networks_that_were_finished(source, procedure):
    networks, seen = [network(seed) for seed in range(3)], []

    def stop(rows):
        seen.append(rows)
        if len(seen) == 2 * TRAINING["epochs"] + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        procedure(networks, teacher(), source, on_epoch=stop, **TRAINING)
    assert [len(rows) for rows in stopped.value.finished] == [2, 2] and len(stopped.value.rows) == 1


@pytest.mark.parametrize("record", [
    lambda source, stop: procedures.record_checkpoints(network(0), source, epochs=4, lr=3e-3),
    lambda source, stop: procedures.record_learners([network(0)], teacher(), source, epochs=4, lr=3e-3, on_epoch=stop),
], ids=["checkpoints", "learners"])
def test_a_path_that_is_stopped_keeps_the_epochs_before(source, record, monkeypatch):
    whole, seen = record(source, None).table, []

    def stop(rows):
        seen.append(rows)
        if len(seen) == 3:
            raise KeyboardInterrupt

    real = procedures.train.fit

    def fit(distiller, source, on_epoch=None, **training):
        both = [each for each in (on_epoch, stop) if each]
        return real(distiller, source, on_epoch=lambda rows: [each(rows) for each in both], **training)

    monkeypatch.setattr(procedures.train, "fit", fit)
    with pytest.raises(KeyboardInterrupt) as stopped:
        record(source, None)
    assert torch.equal(stopped.value.finished.table, whole[:3])
