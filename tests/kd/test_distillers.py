"""What every distiller promises, over `METHODS`, so that a new method is tested from its first day; then one by one."""

import pytest
import torch
import torch.nn.functional as F
from helpers import gradients, network, step

from kdcourse import data, models
from kdcourse.core import total
from kdcourse.data import Augment
from kdcourse.distillers import BYOT, KD, METHODS, Supervised
from kdcourse.teachers import LogitBank, Teacher

ALONE = {"supervised": lambda student, teacher: Supervised(student), "byot": lambda student, teacher: BYOT(student)}
ALL = {**ALONE, **METHODS}


@pytest.fixture(scope="module")
def source():
    return data.load("digits")


@pytest.fixture
def batch(source):
    return next(source.train.batches(64, seed=0))


def make(name, seed=0):
    return ALL[name](network(seed), network(100, width=8))


every_method = pytest.mark.parametrize("name", ALL)
at_every_time = pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])


@at_every_time
@every_method
def test_terms_are_finite_scalars_with_positive_weights(name, progress, batch):
    terms = make(name)(batch._replace(progress=progress))
    assert terms
    for term in terms.values():
        assert term.value.shape == () and term.value.isfinite() and term.value.dtype == torch.float32
        assert term.weight > 0


@at_every_time
@every_method
def test_every_deployed_parameter_learns_at_any_time(name, progress, batch):
    distiller = make(name)
    total(distiller(batch._replace(progress=progress))).backward()
    trained = [parameter for parameter in distiller.deployable().parameters() if parameter.requires_grad]
    assert trained and all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained)


@every_method
def test_every_parameter_that_gets_a_gradient_is_in_exactly_one_group_and_every_other_one_in_none(name, batch):
    distiller = make(name)
    for progress in (0.0, 0.5, 0.99):
        total(distiller(batch._replace(progress=progress))).backward()
    learning = {id(p) for p in distiller.parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    grouped = [id(parameter) for group in distiller.parameter_groups() for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) and set(grouped) == learning


@every_method
def test_teacher_is_frozen_and_bit_identical_after_training(name, batch):
    teacher = network(100, width=8)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    distiller = ALL[name](network(0), teacher)
    for progress in (0.0, 0.5, 0.99):
        step(distiller, batch._replace(progress=progress))
    if name == "dml":  # no teacher: a peer, which learns
        assert not any(torch.equal(parameter, before[key]) for key, parameter in teacher.named_parameters())
        return
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    if name not in ALONE:
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        assert not any(module.training for module in teacher.modules())


@every_method
def test_deployable_maps_images_to_logits(name, batch):
    z = make(name).deployable().eval()(batch.x)
    assert z.shape == (64, 10) and z.isfinite().all()


@every_method
def test_a_few_steps_lower_the_loss(name, batch):
    distiller = make(name)

    def loss():
        return total(distiller.train()(batch)).item()

    batch = batch._replace(progress=0.5)
    before = loss()
    step(distiller, batch, times=15, lr=3e-3)
    assert loss() < 0.9 * before


@every_method
def test_a_restored_distiller_gives_bit_equal_terms_whatever_student_and_teacher_it_was_built_with(name, batch):
    ours, other = make(name), ALL[name](network(1), network(101, width=8))
    step(ours, batch, times=2)
    other.load_state_dict(ours.state_dict())
    expected, found = ours.eval()(batch), other.eval()(batch)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key].value, found[key].value) for key in expected)
    assert torch.equal(gradients(ours, batch), gradients(other, batch))


@every_method
def test_terms_in_bfloat16_autocast_are_those_of_float32_roughly(name, batch):
    distiller = make(name).eval()
    expected = distiller(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = distiller(batch)
    for key, term in found.items():
        assert term.value.dtype == torch.float32
        torch.testing.assert_close(term.value, expected[key].value, rtol=0.05, atol=0.02)
    total(found).backward()
    gradients = [parameter.grad for parameter in distiller.student.parameters() if parameter.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@every_method
def test_a_batch_of_one_gives_finite_terms(name, source):
    batch = next(source.train.batches(1))
    assert all(term.value.isfinite() for term in make(name).eval()(batch).values())


@every_method
def test_building_leaves_the_student_as_it_is(name):
    student, untouched = network(0), network(0)
    assert ALL[name](student, network(100, width=8)).student is student
    for parameter, other in zip(student.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(parameter, other) and parameter.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_student_and_teacher_that_are_one_network_are_refused_and_not_frozen(name):
    student = network(0)
    wrapped = models.wrap(student, mean=(0.0,), std=(1.0,))
    for pair in ((student, student), (student, wrapped), (wrapped, student)):
        with pytest.raises(ValueError, match="same network"):
            METHODS[name](*pair)
        assert all(parameter.requires_grad for parameter in student.parameters())
    with pytest.raises(ValueError, match="same network"):
        METHODS[name](student, Teacher(student))


@pytest.mark.parametrize("name", METHODS)
def test_teacher_that_is_no_network_is_refused_in_words(name):
    with pytest.raises(TypeError, match="a network, a Teacher or a LogitBank, not a str"):
        METHODS[name](network(0), "resnet8")


def test_unknown_method_names_the_choices():
    with pytest.raises(ValueError, match=r"unknown method 'kdd'; choose one of: .*kd.* mean 'kd'"):
        METHODS["kdd"]


# Supervised

def test_supervised_is_the_cross_entropy(batch):
    distiller = make("supervised")
    terms = distiller(batch)
    p = distiller.student(batch.x).softmax(dim=1)
    by_hand = -p[range(64), batch.y].log().mean()
    assert terms.keys() == {"ce"} and terms["ce"].weight == 1
    torch.testing.assert_close(terms["ce"].value, by_hand)


# KD

def test_kd_is_the_formula_of_the_paper(batch):
    student, teacher = network(0).eval(), network(100, width=8).eval()
    terms = KD(student, teacher, T=3.0, alpha=0.7).eval()(batch)
    z_s, z_t = student(batch.x), teacher(batch.x)
    soft = F.kl_div((z_s / 3).log_softmax(1), (z_t / 3).softmax(1), reduction="batchmean") * 9
    expected = 0.3 * F.cross_entropy(z_s, batch.y) + 0.7 * soft
    torch.testing.assert_close(total(terms), expected)
    assert {key: term.weight for key, term in terms.items()} == pytest.approx({"ce": 0.3, "kd": 0.7})


def test_kd_without_soft_term_has_the_gradient_of_plain_training(batch):
    distiller = KD(network(0), network(100), alpha=0)
    assert distiller(batch).keys() == {"ce"}
    assert torch.equal(gradients(distiller, batch), gradients(Supervised(network(0)), batch))


def test_kd_without_hard_term_does_not_depend_on_the_labels(batch):
    distiller = KD(network(0), network(100), alpha=1)
    assert distiller(batch).keys() == {"kd"}
    relabelled = batch._replace(y=(batch.y + 1) % 10)
    assert torch.equal(gradients(distiller, batch), gradients(distiller, relabelled))


def test_kd_gradient_is_linear_in_alpha(batch):
    hard, soft, mixed = (gradients(KD(network(0), network(100), alpha=alpha), batch) for alpha in (0, 1, 0.25))
    torch.testing.assert_close(mixed, 0.75 * hard + 0.25 * soft, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings, message", [
    ({"T": 0}, "T is 0"), ({"T": -1.0}, "T is -1"), ({"alpha": -0.1}, "alpha .*it is -0.1"),
    ({"alpha": 1.1}, "it is 1.1"), ({"alpha": float("nan")}, "it is nan"),
])
def test_kd_refuses_settings_out_of_range_where_it_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        KD(network(0), network(100), **settings)


@pytest.mark.parametrize("augment", [None, Augment(pad=1, views=2)], ids=["plain", "augmented"])
def test_kd_from_a_bank_is_kd_from_the_live_teacher(source, augment):
    teacher = Teacher(network(100))
    bank = LogitBank.record(teacher, source.train, augment=augment, dtype=torch.float32)
    live, recorded = KD(network(0), teacher), KD(network(0), bank)
    for epoch in range(3):
        batch = next(source.train.batches(64, seed=0, epoch=epoch, augment=augment))
        torch.testing.assert_close(gradients(recorded, batch), gradients(live, batch), rtol=1e-4, atol=1e-6)
