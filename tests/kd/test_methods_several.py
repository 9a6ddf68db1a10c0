"""Identities of the methods with several networks: MultiTeacher, DGKD, DML, and SLKD with its self-learners."""

import pytest
import torch
import torch.nn.functional as F
from helpers import (
    Counted,
    Refusing,
    close,
    cnn,
    equal_terms,
    few_digits,
    gradient,
    gradients,
    mlp,
    network,
    same,
    state,
    weights,
)

from kdcourse.core import total
from kdcourse.distillers import DGKD, DML, KD, SLKD, MultiTeacher, SelfLearners, Supervised
from kdcourse.teachers import FeatureBank, LogitBank, Teacher
from kdcourse.train import fit


def teacher(seed=100, width=8):
    """Surer than an untrained network is."""
    network_ = network(seed, width=width)
    network_.linear.weight.data.mul_(50)
    return network_


def train(distiller, source, **settings):
    return fit(distiller, source, **{"epochs": 2, "lr": 3e-3, "batch_size": 64} | settings)


@pytest.fixture(scope="module")
def trained():
    """A teacher that knows digits."""
    network_ = network(100, width=8)
    train(Supervised(network_), few_digits(1000), epochs=4)
    return network_


# MultiTeacher

@pytest.mark.parametrize("fuse", ["probabilities", "logits"])
@pytest.mark.parametrize("count", [1, 3])
def test_several_equal_teachers_are_one(count, fuse, batch):
    found = MultiTeacher(network(0), [teacher() for _ in range(count)], T=3.0, alpha=0.7, fuse=fuse)
    expected = KD(network(0), teacher(), T=3.0, alpha=0.7)
    close(found(batch)["kd"].value, expected(batch)["kd"].value)
    assert weights(found(batch)) == weights(expected(batch))
    close(gradients(found, batch), gradients(expected, batch))


def test_the_mean_of_probabilities_has_the_mean_of_the_single_gradients(batch):
    seeds = (100, 101, 102)
    found = MultiTeacher(network(0), [teacher(seed) for seed in seeds], T=3.0, alpha=0.7)
    single = [gradients(KD(network(0), teacher(seed), T=3.0, alpha=0.7), batch) for seed in seeds]
    close(gradients(found, batch), torch.stack(single).mean(dim=0), rtol=1e-3, atol=1e-5)
    assert (single[0] - single[1]).norm() > 0.1 * single[0].norm()


def test_the_mean_of_logits_is_another_teacher_than_the_mean_of_probabilities(batch):
    teachers = [teacher(100).eval(), teacher(101).eval()]
    z_s = network(0)(batch.x)
    with torch.no_grad():
        z_t = [one(batch.x) for one in teachers]
    found = {}
    for fuse, p_t in {
        "probabilities": sum((z / 2).softmax(dim=1) for z in z_t) / 2, "logits": (sum(z_t) / 2 / 2).softmax(dim=1),
    }.items():
        found[fuse] = MultiTeacher(network(0), teachers, T=2.0, fuse=fuse)(batch)["kd"].value
        close(found[fuse], 4 * F.kl_div((z_s / 2).log_softmax(dim=1), p_t, reduction="batchmean"))
    assert abs(found["probabilities"] - found["logits"]) > 0.01


@pytest.mark.parametrize("fuse", ["probabilities", "logits"])
def test_the_order_of_the_teachers_does_not_matter(fuse, batch):
    one, other = (
        MultiTeacher(network(0), [teacher(seed) for seed in seeds], fuse=fuse)
        for seeds in ((100, 101, 102), (102, 100, 101))
    )
    close(one(batch)["kd"].value, other(batch)["kd"].value)


def test_a_list_of_teachers_may_mix_networks_teachers_and_banks(batch, source):
    bank = LogitBank.record(teacher(102), source.train, dtype=torch.float32)
    batch = next(source.train.batches(64))
    mixed = MultiTeacher(network(0), [teacher(100), Teacher(teacher(101)), bank])
    networks = MultiTeacher(network(0), [teacher(seed) for seed in (100, 101, 102)])
    close(mixed(batch)["kd"].value, networks(batch)["kd"].value)


def test_no_teachers_another_fusion_and_the_student_among_them_are_refused():
    with pytest.raises(ValueError, match="a list of teachers needs at least one"):
        MultiTeacher(network(0), [])
    with pytest.raises(ValueError, match="fuse is one of: probabilities, logits; not 'features'"):
        MultiTeacher(network(0), teacher(), fuse="features")
    student = network(0)
    with pytest.raises(ValueError, match="same network"):
        MultiTeacher(student, [teacher(), student])


# DGKD

def assistants(*seeds):
    return [teacher(seed, width=6) for seed in seeds]


def test_dgkd_without_assistants_is_kd(batch):
    found = DGKD(network(0), teacher(), T=3.0, alpha=0.7)
    assert equal_terms(found(batch), KD(network(0), teacher(), T=3.0, alpha=0.7)(batch))
    close(gradients(found, batch), gradients(KD(network(0), teacher(), T=3.0, alpha=0.7), batch))


def test_dgkds_gradient_is_that_of_the_labels_plus_the_sum_of_the_single_guides(batch):
    guides = [teacher(100), *assistants(101, 102)]
    found = gradients(DGKD(network(0), guides[0], assistants=guides[1:], T=3.0, alpha=0.7), batch)
    labels = gradients(Supervised(network(0)), batch)
    soft = [gradients(KD(network(0), guide, T=3.0, alpha=1), batch) for guide in guides]
    close(found, 0.3 * labels + 0.7 * sum(soft), rtol=1e-3, atol=1e-5)


def test_dgkd_that_drops_all_guides_is_left_with_its_share_of_the_labels(batch):
    guides = [Refusing(network_) for network_ in (teacher(), *assistants(101))]
    distiller = DGKD(network(0), guides[0], assistants=guides[1:], alpha=0.7, drop=2)
    assert weights(distiller(batch)) == pytest.approx({"ce": 0.3})
    close(gradients(distiller, batch), 0.3 * gradients(Supervised(network(0)), batch))


def test_dgkd_drops_as_many_guides_as_asked_anew_for_each_batch_and_each_of_them_at_some_time(source):
    def dropped(seed):
        distiller = DGKD(network(0), teacher(), assistants=assistants(101, 102), drop=1, seed=seed)
        names = {"kd", "kd_assistant1", "kd_assistant2"}
        batches = [batch for epoch in range(3) for batch in source.train.batches(20, epoch=epoch, epochs=3)]
        return [tuple(names - distiller(batch).keys()) for batch in batches]

    first = dropped(0)
    assert all(len(names) == 1 for names in first) and len(set(first)) == 3
    assert len(set(first[:10])) > 1  # within one epoch
    assert dropped(0) == first != dropped(1)


def test_dgkd_asks_no_guide_that_it_drops_and_all_of_them_in_eval_mode(batch):
    guides = [Counted(network_) for network_ in (teacher(), *assistants(101, 102))]
    distiller = DGKD(network(0), guides[0], assistants=guides[1:], drop=2)
    distiller(batch)
    assert sum(guide.calls for guide in guides) == 1
    assert distiller.eval()(batch).keys() == {"ce", "kd", "kd_assistant1", "kd_assistant2"}


def test_dgkds_assistants_may_come_in_any_order(batch):
    one = DGKD(network(0), teacher(), assistants=assistants(101, 102))
    other = DGKD(network(0), teacher(), assistants=assistants(102, 101))
    found, expected = one(batch), other(batch)
    assert torch.equal(found["kd_assistant1"].value, expected["kd_assistant2"].value)
    assert torch.equal(found["kd_assistant2"].value, expected["kd_assistant1"].value)
    close(gradients(one, batch), gradients(other, batch))


@pytest.mark.parametrize("drop", [-1, 3])
def test_dgkd_refuses_to_drop_what_is_no_number_of_guides(drop):
    with pytest.raises(ValueError, match=f"from 0 to 2; it is {drop}"):
        DGKD(network(0), teacher(), assistants=assistants(101), drop=drop)


# DML

def test_dml_is_each_networks_cross_entropy_and_divergence_from_the_other(batch):
    student, peer = network(0), teacher()
    terms = DML(student, peer, beta=0.7).eval()(batch)
    log_s, log_p = (one(batch.x).log_softmax(dim=1) for one in (student, peer))
    expected = {
        "ce": F.nll_loss(log_s, batch.y), "kl": (log_p.exp() * (log_p - log_s)).sum() / 64,
        "peer_ce": F.nll_loss(log_p, batch.y), "peer_kl": (log_s.exp() * (log_s - log_p)).sum() / 64,
    }
    assert weights(terms) == {"ce": 1.0, "kl": 0.7, "peer_ce": 1.0, "peer_kl": 0.7}
    for name, value in expected.items():
        close(terms[name].value, value)


def test_dml_with_the_networks_swapped_has_its_losses_swapped(batch):
    one, other = DML(network(0), teacher())(batch), DML(teacher(), network(0))(batch)
    for ours, theirs in (("ce", "peer_ce"), ("kl", "peer_kl"), ("peer_ce", "ce"), ("peer_kl", "kl")):
        assert torch.equal(one[ours].value, other[theirs].value)
    assert abs(one["kl"].value - one["peer_kl"].value) > 1e-3


def test_dml_of_two_equal_networks_has_nothing_to_say(batch):
    distiller = DML(network(0), network(0))
    terms = distiller(batch)
    for name in ("kl", "peer_kl"):
        assert terms[name].value.abs() < 1e-6
        assert gradient(terms[name].value, distiller).abs().max() < 1e-6


def test_dmls_networks_are_fixed_targets_for_each_other(batch):
    distiller = DML(network(0), teacher())
    terms = distiller(batch)
    for name, learns, rests in (
        ("ce", distiller.student, distiller.peer), ("kl", distiller.student, distiller.peer),
        ("peer_ce", distiller.peer, distiller.student), ("peer_kl", distiller.peer, distiller.student),
    ):
        assert gradient(terms[name].value, learns).any()
        assert not gradient(terms[name].value, rests).any()


def test_dmls_peer_is_trained_beside_the_student_and_not_deployed(source):
    student, peer = network(0), network(1)
    distiller = DML(student, peer)
    rows = train(distiller, source, epochs=3)
    assert not any(torch.equal(a, b) for a, b in zip(peer.parameters(), network(1).parameters(), strict=True))
    assert rows[-1]["peer_ce"] < rows[0]["peer_ce"] and rows[-1]["ce"] < rows[0]["ce"]
    assert distiller.deployable() is student


def test_dml_without_divergence_trains_two_networks_that_do_not_know_of_each_other(source):
    student, peer, alone = network(0), network(1), network(0)
    train(DML(student, peer, beta=0), source)
    train(Supervised(alone), source)
    assert same(student, alone)


def test_dml_refuses_a_peer_that_cannot_learn(source):
    frozen = network(1).requires_grad_(False)
    for peer in (frozen, Teacher(network(2)), LogitBank.record(network(3), source.train)):
        with pytest.raises(ValueError, match="this one is frozen: build a fresh network"):
            DML(network(0), peer)


# SLKD

def slkd(student=None, taught_by=None, **settings):
    return SLKD(student or network(0), taught_by or teacher(), **{"T": 3.0, "lam": 0.2} | settings)


def learner_terms(k):
    return {f"learner{k}_ce", f"learner{k}_kd"}


def test_slkd_without_learners_is_kd_with_lam_as_the_share_of_the_labels(batch):
    found, expected = slkd(beta=0, lam=0.25), KD(network(0), teacher(), T=3.0, alpha=0.75)
    assert equal_terms(found(batch), expected(batch))
    close(gradients(found, batch), gradients(expected, batch))
    assert found.learners is None


def test_slkd_is_the_four_equations_of_the_paper(batch):
    student, guide, learners = network(0), teacher(), [network(5, width=8), network(6, width=8)]
    terms = slkd(student, guide, learners=learners, alpha=0.6, beta=1.5, w=0.3)(batch)
    with torch.no_grad():
        z_t = guide.eval()(batch.x)
        z_1, z_2 = (learner.train()(batch.x) for learner in learners)
    z_s, ce = student.train()(batch.x), F.cross_entropy

    def soft(z, target):
        return 9 * F.kl_div((z / 3).log_softmax(dim=1), (target / 3).softmax(dim=1), reduction="batchmean")

    from_teacher = 0.2 * ce(z_s, batch.y) + 0.8 * soft(z_s, z_t)
    from_learners = 0.2 * ce(z_s, batch.y) + 0.8 * soft(z_s, 0.3 * z_1 + 0.7 * z_2)
    theirs = sum(0.2 * ce(z, batch.y) + 0.8 * soft(z, z_t) for z in (z_1, z_2))
    assert terms.keys() == {"ce", "kd", "kd_learners", *learner_terms(1), *learner_terms(2)}
    close(total(terms), 0.6 * from_teacher + 1.5 * from_learners + theirs)
    close(gradient(total(terms), student), gradient(0.6 * from_teacher + 1.5 * from_learners, student), atol=1e-5)


def test_slkd_with_alpha_0_follows_the_learners_alone(batch):
    distiller = slkd(alpha=0)
    terms = distiller(batch)
    assert "kd" not in terms and terms.keys() >= {"ce", "kd_learners", *learner_terms(1), *learner_terms(2)}
    assert terms["ce"].weight == pytest.approx(0.2) and terms["kd_learners"].weight == pytest.approx(0.8)


def test_slkds_learners_learn_from_labels_and_teacher_and_the_student_from_them_not_they_from_it(batch):
    distiller = slkd(learners=[network(5, width=8), network(6, width=8)])
    terms = distiller(batch)
    first, second = distiller.learners.student, distiller.learners.second
    for name, network_, taught in (
        ("kd_learners", distiller.student, True), ("kd_learners", first, False), ("kd_learners", second, False),
        ("learner1_ce", first, True), ("learner1_kd", first, True), ("learner1_kd", second, False),
        ("learner2_ce", second, True), ("learner2_kd", second, True), ("learner2_kd", first, False),
        ("learner1_kd", distiller.student, False), ("learner2_ce", distiller.student, False),
    ):
        assert gradient(terms[name].value, network_).any() == taught
    undetached = slkd(learners=[network(5, width=8), network(6, width=8)], detach=False)
    assert gradient(undetached(batch)["kd_learners"].value, undetached.learners.student).any()


def test_slkd_with_w_1_follows_a_single_learner(batch):
    two = slkd(learners=[network(5, width=8), network(6, width=8)], w=1.0)(batch)
    one = slkd(learners=[network(5, width=8)])(batch)
    bare = slkd(learners=network(5, width=8))(batch)
    for name in ("ce", "kd", "kd_learners", "learner1_ce", "learner1_kd"):
        assert torch.equal(two[name].value, one[name].value) and torch.equal(bare[name].value, one[name].value)
    assert two.keys() - one.keys() == learner_terms(2)


def test_two_learners_of_the_same_start_fuse_to_either(batch):
    two = slkd(learners=[network(5, width=8), network(5, width=8)])(batch)
    one = slkd(learners=[network(5, width=8)])(batch)
    assert torch.equal(two["kd_learners"].value, one["kd_learners"].value)
    assert torch.equal(two["learner1_kd"].value, two["learner2_kd"].value)


def learners_after(student, source, **settings):
    learners = [cnn(5), cnn(6)]
    train(SLKD(student, teacher(), learners=learners, **settings), source, seed=3)
    return learners


def test_slkds_learners_end_the_same_to_the_bit_whatever_the_student(source):
    beside_cnn, beside_mlp, beside_resnet = (learners_after(make(0), source) for make in (cnn, mlp, network))
    for k in range(2):
        assert same(beside_cnn[k], beside_mlp[k]) and same(beside_cnn[k], beside_resnet[k])
        assert not same(beside_cnn[k], cnn(5 + k))


def test_slkds_learners_depend_on_the_student_once_its_loss_reaches_them(source):
    beside_cnn, beside_mlp = (learners_after(make(0), source, detach=False) for make in (cnn, mlp))
    assert not any(same(beside_cnn[k], beside_mlp[k]) for k in range(2))


def test_self_learners_alone_end_as_they_do_inside_slkd(source):
    settings = {"T": 3.0, "lam": 0.2, "w": 0.3, "seed": 7}
    alone = [cnn(5), cnn(6)]
    train(SelfLearners(alone, Teacher(teacher()), **settings), source, seed=3)
    inside = learners_after(cnn(0), source, **settings)
    assert same(alone[0], inside[0]) and same(alone[1], inside[1])
    other = learners_after(cnn(0), source, **settings | {"seed": 8})  # draws other units to drop
    assert not same(alone[0], other[0])


class Recording(SelfLearners):
    """Self-learners whose fused logits are kept, by epoch and image: (E, N, K)."""

    def forward(self, batch):
        terms, fused = self.learn(batch)
        self.table[batch.epoch, batch.index] = fused.detach()
        return terms


@pytest.mark.parametrize("student", [cnn, network])
def test_a_student_trained_on_a_recording_of_the_learners_is_that_trained_beside_them_to_the_bit(student, source):
    settings = {"T": 3.0, "lam": 0.2, "w": 0.3}
    live = student(0)
    beside = train(SLKD(live, teacher(), learners=[cnn(5), cnn(6)], **settings, seed=7), source, seed=3)
    recording = Recording([cnn(5), cnn(6)], Teacher(teacher()), **settings, seed=7)
    recording.table = torch.full((2, len(source.train), 10), float("nan"))
    train(recording, source, seed=3)
    replay = student(0)
    bank = LogitBank(recording.table, origin=source.train.origin(), teacher="two learners")
    rows = train(SLKD(replay, teacher(), learners=bank, **settings), source, seed=3)
    assert same(live, replay)
    assert rows[-1].keys() == beside[-1].keys() - {
        key for name in learner_terms(1) | learner_terms(2) for key in (name, f"{name}_weight")
    }
    assert all(beside[k][key] == rows[k][key] for k in range(2) for key in rows[k])


def test_what_stands_in_place_of_the_learners_is_followed_as_it_is_and_not_trained(batch, source):
    finished = network(5, width=8)
    bank = LogitBank.record(finished, source.train, dtype=torch.float32)
    batch = next(source.train.batches(64))
    for learners in (bank, Teacher(finished)):
        distiller = slkd(learners=learners)
        before = state(finished)
        terms = distiller(batch)
        assert terms.keys() == {"ce", "kd", "kd_learners"}
        close(terms["kd_learners"].value, KD(network(0), finished, T=3.0)(batch)["kd"].value)
        train(distiller, source, epochs=1)
        assert same(state(finished), before)


def test_slkd_with_alpha_0_and_a_recording_of_the_learners_does_not_ask_the_teacher(source):
    bank = LogitBank.record(network(5, width=8), source.train)
    terms = slkd(taught_by=Refusing(teacher()), learners=bank, alpha=0)(next(source.train.batches(64)))
    assert terms.keys() == {"ce", "kd_learners"}


def test_slkds_bracket_of_the_released_code_gives_the_labels_a_weight_of_1_1(batch):
    terms = slkd(lam=0.1, bracket=(1, 1))(batch)
    assert terms["ce"].weight == pytest.approx(1.1)
    assert terms["kd"].weight == pytest.approx(0.9) and terms["kd_learners"].weight == pytest.approx(1.0)


def test_slkds_copies_are_drawn_anew_from_the_seed_and_differ_from_the_teacher_and_each_other():
    guide = teacher()
    first, second, third = (slkd(taught_by=guide, seed=seed).learners for seed in (0, 0, 1))
    assert same(first.student, second.student) and same(first.second, second.second)
    networks = [guide, first.student, first.second, third.student, third.second]
    assert [[tuple(p.shape) for p in one.parameters()] for one in networks].count(
        [tuple(p.shape) for p in guide.parameters()]
    ) == len(networks)
    kernels = [one.stages[0][0][0].weight for one in networks]
    assert not any(torch.equal(kernels[i], kernels[j]) for i in range(5) for j in range(i))
    assert all(p.requires_grad for one in networks[1:] for p in one.parameters())
    assert slkd(count=1).learners.second is None


def test_slkds_learners_start_nearer_to_the_student_than_the_trained_teacher_is(trained, batch):
    for seed in range(3):  # the paper's motivating claim
        terms = SLKD(network(seed), trained, seed=seed)(batch)
        assert terms["kd_learners"].value < 0.5 * terms["kd"].value


def test_slkd_asks_for_learners_when_its_teacher_is_a_bank_of_logits_and_copies_the_network_of_one_of_features(source):
    with pytest.raises(ValueError, match=r"a LogitBank does not know .*: pass learners="):
        slkd(taught_by=LogitBank.record(teacher(), source.train))
    distiller = slkd(taught_by=FeatureBank.record(teacher(), source.train))
    assert distiller.learners.student.linear.weight.shape == (10, 32)


def test_slkd_refuses_learners_that_are_used_twice_or_frozen_or_too_many():
    student, guide, learner = network(0), teacher(), network(5, width=8)
    for learners in ([student], [guide], [learner, learner], [learner, student]):
        with pytest.raises(ValueError, match="two of them share parameters"):
            SLKD(student, guide, learners=learners)
    assert all(parameter.requires_grad for parameter in student.parameters())
    for frozen in (network(6).requires_grad_(False), Teacher(network(6))):
        with pytest.raises(ValueError, match="one of these is frozen"):
            SLKD(student, guide, learners=[learner, frozen])
    for learners in ([], [network(seed) for seed in (5, 6, 7)]):
        with pytest.raises(ValueError, match=f"not {len(learners)}"):
            SLKD(student, guide, learners=learners)
    for learners in (student, Teacher(student)):
        with pytest.raises(ValueError, match="share parameters"):
            SLKD(student, guide, learners=learners)


@pytest.mark.parametrize("settings, message", [
    ({"T": 0}, "T is 0"), ({"lam": 1.5}, "lam .*1.5"), ({"w": -0.1}, "w .*-0.1"), ({"alpha": -1}, "alpha .*-1"),
    ({"beta": -1}, "beta .*-1"), ({"count": 3}, "1 or 2; it is 3"), ({"count": 0}, "1 or 2; it is 0"),
])
def test_slkd_refuses_settings_out_of_range_where_it_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        slkd(**settings)


def test_a_single_assistant_needs_no_list():
    assert len(DGKD(mlp(0), mlp(1), assistants=mlp(2)).guides) == 2


def test_a_bracket_below_zero_is_refused_where_slkd_is_built():
    with pytest.raises(ValueError, match=r"bracket_hard .*it is -1"):
        SLKD(mlp(0), mlp(1), bracket=(-1, 1))
