"""Identities of the methods that need a teacher's logits only: ESKD, DKD, ATS, DIST, CTKD, IPWD,
LSKD, NKD, TTM, WTTM and Pro-KD."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import (
    Counted,
    Refusing,
    close,
    digits,
    equal_terms,
    gradient,
    gradients,
    network,
    same,
    step,
    weights,
)
from torch import nn

from kdcourse import cost, models
from kdcourse.core import total
from kdcourse.distillers import (
    ATS,
    CTKD,
    DIST,
    DKD,
    ESKD,
    IPWD,
    KD,
    LSKD,
    NKD,
    TTM,
    WTTM,
    ProKD,
    Supervised,
)
from kdcourse.losses import dkd_loss, ipwd_weights, kd_loss, soft_kl, standardised
from kdcourse.teachers import LogitBank, Teacher
from kdcourse.train import fit


def pair():
    """A student, and a teacher who is surer than an untrained network is."""
    student, teacher = network(0), network(100, width=8)
    teacher.linear.weight.data.mul_(50)
    return student, teacher


def logits(student, teacher, batch):
    """Of both in eval mode, in float64."""
    with torch.no_grad():
        return student.eval()(batch.x).double(), teacher.eval()(batch.x).double()


def two_classes():
    return [models.build("mlp", (1, 8, 8), 2, seed=seed) for seed in (0, 1)]


def of_two_classes(batch):
    return batch._replace(y=batch.y % 2)


@pytest.mark.parametrize("build, message", [
    (lambda *pair: ESKD(*pair, stop=1.5), "stop .*1.5"),
    (lambda *pair: ESKD(*pair, T=0), "T is 0"),
    (lambda *pair: DKD(*pair, T=0), "T is 0"),
    (lambda *pair: DKD(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: DKD(*pair, alpha=float("inf")), "alpha .*inf"),
    (lambda *pair: DKD(*pair, warm_up=-0.1), "warm_up .*-0.1"),
    (lambda *pair: ATS(*pair, T_target=0), "T is 0"),
    (lambda *pair: ATS(*pair, T_rest=-2), "T is -2"),
    (lambda *pair: ATS(*pair, T_student=0), "T is 0"),
    (lambda *pair: ATS(*pair, alpha=2), "alpha .*2"),
    (lambda *pair: DIST(*pair, T=0), "T is 0"),
    (lambda *pair: DIST(*pair, gamma=-1), "gamma .*-1"),
    (lambda *pair: CTKD(*pair, T_start=0), "T is 0"),
    (lambda *pair: CTKD(*pair, T_range=-1), "T_range .*-1"),
    (lambda *pair: CTKD(*pair, reversal=-1), "reversal .*-1"),
    (lambda *pair: CTKD(*pair, ramp=2), "ramp .*2"),
    (lambda *pair: CTKD(*pair, alpha=-1), "alpha .*-1"),
    (lambda *pair: IPWD(*pair, T=0), "T is 0"),
    (lambda *pair: IPWD(*pair, alpha=1.5), "alpha .*1.5"),
    (lambda *pair: LSKD(*pair, T=0), "T is 0"),
    (lambda *pair: LSKD(*pair, beta=-9), "beta .*-9"),
    (lambda *pair: LSKD(*pair, alpha=-0.1), "alpha .*-0.1"),
    (lambda *pair: NKD(*pair, T=0), "T is 0"),
    (lambda *pair: NKD(*pair, gamma=-1), "gamma .*-1"),
    (lambda *pair: TTM(*pair, T=0), "T is 0"),
    (lambda *pair: TTM(*pair, beta=float("nan")), "beta .*nan"),
    (lambda *pair: WTTM(*pair, T=-1), "T is -1"),
    (lambda *pair: WTTM(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: ProKD(*pair, T=-1), "T is -1"),
    (lambda *pair: ProKD(*pair, soft_until=2), "soft_until .*2"),
    (lambda student, teacher: ProKD(student, []), "at least one is needed"),
    (lambda student, teacher: ProKD(student, [teacher, network(1)], T=0.5), "at least 1; it is 0.5"),
])
def test_settings_out_of_range_are_refused_where_the_method_is_built(build, message):
    with pytest.raises(ValueError, match=message):
        build(*pair())


# ESKD

@pytest.mark.parametrize("progress", [0.0, 0.3, 0.7499])
def test_eskd_before_its_stop_is_kd_to_the_bit(progress, batch):
    batch = batch._replace(progress=progress)
    assert equal_terms(ESKD(*pair(), T=3.0, alpha=0.7, stop=0.75)(batch), KD(*pair(), T=3.0, alpha=0.7)(batch))


@pytest.mark.parametrize("progress", [0.75, 0.99])
def test_eskd_from_its_stop_on_is_the_cross_entropy_with_weight_1_and_does_not_ask_the_teacher(progress, batch):
    student, teacher = pair()
    terms = ESKD(student, Refusing(teacher), stop=0.75)(batch._replace(progress=progress))
    assert weights(terms) == {"ce": 1.0}
    assert torch.equal(total(terms), F.cross_entropy(student(batch.x), batch.y))


def test_eskd_that_never_stops_trains_as_kd_does_and_one_that_stops_at_once_as_hard_labels_do(source):
    trained = {}
    for name, build in {
        "kd": KD, "late": lambda *pair: ESKD(*pair, stop=1), "plain": lambda student, teacher: Supervised(student),
        "early": lambda *pair: ESKD(*pair, stop=0),
    }.items():
        student, teacher = pair()
        fit(build(student, teacher), source, epochs=2, lr=1e-3, batch_size=64)
        trained[name] = student
    assert same(trained["late"], trained["kd"]) and same(trained["early"], trained["plain"])
    assert not same(trained["kd"], trained["plain"])


# DKD

@pytest.mark.parametrize("T", [1.0, 4.0])
def test_dkd_with_beta_as_kd_has_it_has_the_gradient_of_kds_soft_term_image_by_image(T):
    student, teacher = pair()
    for batch in list(digits().train.batches(1))[:5]:
        p_t = (logits(student, teacher, batch)[1] / T).softmax(dim=1)
        beta = 1 - p_t[0, batch.y].item()
        terms = DKD(student, teacher, T=T, alpha=1.0, beta=beta).eval()(batch._replace(progress=0.5))
        assert weights(terms) == {"ce": 1.0, "dkd": 1.0}
        soft = KD(student, teacher, T=T, alpha=1.0).eval()(batch)["kd"].value
        close(gradient(terms["dkd"].value, student), gradient(soft, student), rtol=1e-3, atol=1e-5)
        close(terms["dkd"].value, soft, rtol=1e-3)


def test_dkd_is_linear_in_its_two_weights(batch):
    batch = batch._replace(progress=0.5)
    target, rest, both = (
        DKD(*pair(), alpha=alpha, beta=beta)(batch)["dkd"].value for alpha, beta in ((1, 0), (0, 1), (2, 5))
    )
    assert target > 0 and rest > 0
    close(both, 2 * target + 5 * rest)


@pytest.mark.parametrize("progress, weight", [(0.0, None), (0.05, 0.5), (0.1, 1.0), (0.99, 1.0)])
def test_dkd_rises_linearly_over_its_warm_up_and_is_absent_at_the_start(progress, weight, batch):
    terms = DKD(*pair(), warm_up=0.1)(batch._replace(progress=progress))
    assert weights(terms) == pytest.approx({"ce": 1.0} | ({} if weight is None else {"dkd": weight}))


def test_dkd_without_warm_up_has_its_whole_weight_at_once(batch):
    assert weights(DKD(*pair(), warm_up=0)(batch)) == {"ce": 1.0, "dkd": 1.0}


def test_dkd_of_two_classes_is_refused_with_the_reason(batch):
    with pytest.raises(ValueError, match=r"two classes: the non-target part of DKD .* there is only one"):
        DKD(*two_classes())(of_two_classes(batch)._replace(progress=0.5))


# ATS

def test_ats_with_three_equal_temperatures_has_the_gradient_of_kd(batch):
    ats = ATS(*pair(), T_target=3.0, T_rest=3.0, T_student=3.0, alpha=0.6)
    close(gradients(ats, batch), gradients(KD(*pair(), T=3.0, alpha=0.6), batch))


def test_ats_divides_the_label_by_one_temperature_the_rest_by_another_and_the_student_by_a_third(batch):
    student, teacher = pair()
    terms = ATS(student, teacher, T_target=5.0, T_rest=2.0, T_student=3.0, alpha=0.6).eval()(batch)
    z_s, z_t = logits(student, teacher, batch)
    by_hand = 0.0
    for k, y in enumerate(batch.y.tolist()):
        z = z_t[k] - z_t[k].mean()
        q = torch.stack([z[j] / (5.0 if j == y else 2.0) for j in range(10)]).softmax(dim=0)
        by_hand += 9 * (q * (q.log() - (z_s[k] / 3).log_softmax(dim=0))).sum() / 64
    close(terms["ats"].value.double(), by_hand)
    assert weights(terms) == pytest.approx({"ce": 0.4, "ats": 0.6})


# DIST

def test_dist_is_one_minus_the_correlation_along_rows_and_along_columns(batch):
    student, teacher = pair()
    terms = DIST(student, teacher, T=3.0).eval()(batch)
    p_s, p_t = ((z / 3).softmax(dim=1).numpy() for z in logits(student, teacher, batch))
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p_s, p_t, strict=True)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p_s.T, p_t.T, strict=True)])
    assert terms["inter"].value.item() == pytest.approx(inter, rel=1e-3)
    assert terms["intra"].value.item() == pytest.approx(intra, rel=1e-3)


def test_dist_weighs_its_terms_by_alpha_beta_and_gamma_and_by_the_square_of_T_when_asked(batch):
    assert weights(DIST(*pair())(batch)) == {"ce": 1.0, "inter": 2.0, "intra": 2.0}
    assert weights(DIST(*pair(), alpha=0, beta=3, gamma=5)(batch)) == {"inter": 3.0, "intra": 5.0}
    scaled = DIST(*pair(), T=4.0, alpha=0.5, beta=3, gamma=5, times_T_squared=True)
    assert weights(scaled(batch)) == {"ce": 0.5, "inter": 48.0, "intra": 80.0}


def test_dist_between_classes_does_not_see_how_sure_the_teacher_is_of_an_image(batch):
    T, split = 2.0, digits().train
    with torch.no_grad():
        z = network(100, width=8).eval()(split.x.float() / 255)
    p = (3 * z / T).softmax(dim=1)
    share = torch.linspace(0.2, 0.9, len(split))[:, None]
    unsure = T * (share * p + (1 - share) / 10).log()
    terms = [
        DIST(network(0), LogitBank(table[None], origin=split.origin(), teacher="made up"), T=T)(batch)
        for table in (T * p.log(), unsure)
    ]
    close(terms[0]["inter"].value, terms[1]["inter"].value)
    assert (terms[0]["intra"].value - terms[1]["intra"].value).abs() > 1e-3


def test_dist_of_two_classes_is_refused_with_the_reason(batch):
    with pytest.raises(ValueError, match="two classes: any two rows of two probabilities"):
        DIST(*two_classes())(of_two_classes(batch))


# CTKD

def soft_term(z_s, z_t, T, square=None):
    """T^2 KL in float64, written with another function; `square` for a T^2 apart from the T inside the softmax."""
    log_s, log_t = (z_s / T).log_softmax(dim=1), (z_t / T).log_softmax(dim=1)
    return (T**2 if square is None else square) * F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)


def at(theta):
    """T of CTKD with its defaults, T_start = 1 and T_range = 20."""
    return 1 + 20 / (1 + np.exp(-theta))


@pytest.mark.parametrize("theta", [-3.0, -1.5, 1.0])
@pytest.mark.parametrize("progress, reversal, strength", [(0.05, 1.0, 0.5), (0.1, 1.0, 1.0), (0.7, 3.0, 3.0)])
def test_ctkd_moves_theta_against_the_slope_of_the_loss_as_finite_differences_see_it(
    progress, reversal, strength, theta, batch
):
    student, teacher = pair()
    distiller = CTKD(student, teacher, alpha=0.8, ramp=0.1, reversal=reversal).eval()
    distiller.theta.data.fill_(theta)
    total(distiller(batch._replace(progress=progress))).backward()
    z_s, z_t = logits(student, teacher, batch)
    above, below = (0.8 * soft_term(z_s, z_t, at(theta + h)).item() for h in (1e-3, -1e-3))
    slope = (above - below) / 2e-3
    assert abs(slope) > 1e-4
    assert distiller.theta.grad.item() == pytest.approx(-strength * slope, rel=2e-2, abs=1e-6)


def test_ctkd_differentiates_the_temperature_inside_the_softmax_and_its_square(batch):
    student, teacher = pair()
    distiller = CTKD(student, teacher, alpha=1.0, ramp=0).eval()
    distiller.theta.data.fill_(-2.0)
    total(distiller(batch)).backward()
    z_s, z_t = logits(student, teacher, batch)

    def slope(differentiates):
        theta = torch.tensor(-2.0, dtype=torch.double, requires_grad=True)
        T = 1 + 20 * torch.sigmoid(theta)
        fixed = T.detach()
        inside, square = {"both": (T, T**2), "softmax": (T, fixed**2), "square": (fixed, T**2)}[differentiates]
        soft_term(z_s, z_t, inside, square).backward()
        return theta.grad.item()

    found = -distiller.theta.grad.item()
    assert found == pytest.approx(slope("both"), rel=1e-2)
    assert found != pytest.approx(slope("softmax"), rel=0.1) and found != pytest.approx(slope("square"), rel=0.1)


def test_ctkd_at_the_start_is_kd_at_its_first_temperature_and_theta_rests(batch):
    distiller = CTKD(*pair(), alpha=0.7, T_start=2.0, T_range=5.0)
    T = 2.0 + 5.0 / (1 + np.exp(-1.0))
    assert distiller.temperature().item() == pytest.approx(T)
    close(gradients(distiller, batch), gradients(KD(*pair(), T=T, alpha=0.7), batch))
    total(distiller(batch)).backward()
    assert distiller.theta.grad.item() == 0


def test_ctkd_turns_theta_against_the_student_but_not_the_student_itself(batch):
    distiller, T = CTKD(*pair(), alpha=0.7, ramp=0), at(1.0)
    close(gradients(distiller, batch), gradients(KD(*pair(), T=T, alpha=0.7), batch))


def test_ctkds_strength_rises_from_0_to_reversal_along_a_cosine():
    distiller = CTKD(*pair(), ramp=0.2, reversal=3.0)
    found = [distiller.strength(progress) for progress in (0.0, 0.05, 0.1, 0.15, 0.2, 0.9)]
    eighth = np.sin(np.pi / 8) ** 2
    assert found == pytest.approx([0, 3 * eighth, 1.5, 3 * (1 - eighth), 3, 3])


def test_ctkds_temperature_stays_in_its_range_whatever_theta():
    distiller = CTKD(*pair(), T_start=2.0, T_range=7.0)
    thetas = torch.linspace(-50, 50, 1001)
    T = distiller.temperature(thetas)
    inside = thetas.abs() < 10
    assert (T >= 2).all() and (T <= 9).all() and (T[inside] > 2).all() and (T[inside] < 9).all()
    assert (T.diff() >= 0).all()


@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.AdamW])
def test_weight_decay_shrinks_the_student_and_does_not_move_ctkds_theta(optimiser, batch):
    distiller = CTKD(*pair())
    before = distiller.student.linear.weight.norm().item()
    total(distiller(batch)).backward()
    optimiser(distiller.parameter_groups(), lr=1e-3, weight_decay=500.0).step()
    assert distiller.theta.item() == 1
    assert distiller.student.linear.weight.norm().item() < 0.7 * before


@pytest.mark.parametrize("theta", [-3.5, 0.0])  # below and above the temperature at which the loss is largest
def test_ctkds_theta_alone_raises_the_loss(theta, batch):
    distiller = CTKD(*pair(), ramp=0, alpha=1.0).eval()
    distiller.theta.data.fill_(theta)
    optimiser = torch.optim.SGD([distiller.theta], lr=0.1)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = total(distiller(batch))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(later > earlier for earlier, later in pairwise(losses))


# LSKD, NKD, TTM, WTTM

def test_lskd_is_kd_between_networks_whose_last_layer_standardises(batch):
    student, teacher = pair()
    terms = LSKD(student, teacher, T=3.0).eval()(batch)
    z_s, z_t = logits(student, teacher, batch)
    rows = [(z - z.mean(1, True)) / z.std(1, keepdim=True) for z in (z_s, z_t)]
    close(terms["lskd"].value.double(), kd_loss(*rows, T=3.0))
    assert weights(terms) == pytest.approx({"ce": 0.1, "lskd": 9.0})
    assert weights(LSKD(*pair(), alpha=0)(batch)) == {"lskd": 9.0}


def test_lskd_does_not_see_how_sure_its_teacher_is(batch):
    student, teacher = pair()
    expected = LSKD(student, teacher).eval()(batch)["lskd"].value
    teacher.linear.weight.data.mul_(0.01)
    teacher.linear.bias.data.mul_(0.01)
    close(LSKD(student, teacher).eval()(batch)["lskd"].value, expected, rtol=1e-3)


def test_kd_at_nine_tenths_over_nine_point_one_weighs_its_terms_as_lskd_does(batch):
    ours, control = (weights(method(batch)) for method in (LSKD(*pair()), KD(*pair(), alpha=9 / 9.1)))
    assert control["kd"] / control["ce"] == pytest.approx(ours["lskd"] / ours["ce"])


def test_nkd_is_dkds_second_part_and_a_cross_entropy_that_counts_by_the_teachers_confidence(batch):
    student, teacher = pair()
    terms = NKD(student, teacher, T=2.0, gamma=1.5).eval()(batch)
    z_s, z_t = logits(student, teacher, batch)
    rows = torch.arange(64)
    target = -(z_t.softmax(1)[rows, batch.y] * z_s.log_softmax(1)[rows, batch.y]).mean()
    rest = dkd_loss(z_s, z_t, batch.y, T=2.0, alpha=0.0, beta=1.5)
    close(terms["nkd"].value.double(), target + rest)
    assert weights(terms) == {"ce": 1.0, "nkd": 1.0}


def test_ttm_softens_the_teacher_alone_and_wttm_counts_doubtful_images_more(batch):
    student, teacher = pair()
    z_s, z_t = logits(student, teacher, batch)
    p_t = (z_t / 5).softmax(1)
    each = (p_t * (p_t.log() - z_s.log_softmax(1))).sum(1)
    ttm, wttm = (method(student, teacher, T=5.0, beta=3.0).eval()(batch) for method in (TTM, WTTM))
    close(ttm["ttm"].value.double(), each.mean())
    counts = (z_t.softmax(1) ** 0.2).sum(1)
    close(wttm["ttm"].value.double(), (counts * each).mean(), rtol=1e-3)
    assert weights(ttm) == weights(wttm) == {"ce": 1.0, "ttm": 3.0}
    assert weights(TTM(*pair(), beta=0)(batch)) == {"ce": 1.0}


def test_a_student_of_ttm_is_taught_with_the_gradient_p_s_less_p_t(batch):
    z = torch.zeros(1, 4, requires_grad=True)
    z_t = torch.tensor([[8.0, 0.0, 0.0, 0.0]])
    slope = {}
    for name, distiller in (("ttm", TTM), ("wttm", WTTM)):
        value = distiller.loss(z, z_t, T=4.0)
        (slope[name],) = torch.autograd.grad(value, z)
    close(slope["ttm"][0], 0.25 - (z_t[0] / 4).softmax(0))
    close(slope["wttm"], slope["ttm"] * (z_t.softmax(1) ** 0.25).sum())


@pytest.mark.parametrize("method, message", [(LSKD, "two standardised logits"), (NKD, "classes that are not the")])
def test_lskd_and_nkd_refuse_two_classes_with_the_reason(method, message, batch):
    with pytest.raises(ValueError, match=f"two classes: .*{message}"):
        method(*two_classes())(of_two_classes(batch))


def test_ttm_and_wttm_take_two_classes(batch):
    for method in (TTM, WTTM):
        assert total(method(*two_classes())(of_two_classes(batch))).isfinite()


def test_standardised_logits_are_never_sure_of_a_class():
    z = standardised(torch.tensor([[1000.0] + 9 * [0.0]]))
    assert (z / 2).softmax(1).max().item() == pytest.approx(0.351, abs=1e-3)


# IPWD

def test_ipwd_whose_second_head_is_a_copy_of_the_first_is_kd(batch):
    distiller = IPWD(*pair(), T=3.0, alpha=0.7)
    distiller.second_head.load_state_dict(distiller.student.linear.state_dict())
    assert torch.equal(gradients(distiller, batch), gradients(KD(*pair(), T=3.0, alpha=0.7), batch))


@pytest.mark.parametrize("favour, limit", [("behind", 10.0), ("ahead", 10.0), ("behind", 1.5)])
def test_ipwd_weighs_each_images_soft_term_with_the_student_as_the_distilled_head(favour, limit, batch):
    student, teacher = pair()
    distiller = IPWD(student, teacher, T=3.0, favour=favour, limit=limit).eval()
    terms = distiller(batch)
    z_s, features, _ = student.answer(batch.x)
    with torch.no_grad():
        z_t, z_cls = teacher(batch.x), distiller.second_head(features[-1].mean(dim=(2, 3)))
        counts = ipwd_weights(z_s, z_cls, batch.y, favour=favour, limit=limit)
    by_hand = 9 * (counts * soft_kl(z_s, z_t, T=3.0)).sum() / 64
    assert counts.std() > 1e-2
    close(terms["kd"].value, by_hand)
    close(gradient(terms["kd"].value, student), gradient(by_hand, student))  # the weights carry no gradient
    close(terms["second_head"].value, F.cross_entropy(z_cls, batch.y))
    assert weights(terms) == pytest.approx({"ce": 0.1, "kd": 0.9, "second_head": 1.0})


@pytest.mark.parametrize("shapes", [False, True])
def test_ipwds_second_head_learns_from_labels_alone_and_shapes_the_students_stages_only_when_asked(shapes, batch):
    distiller = IPWD(*pair(), shapes_features=shapes)
    terms = distiller(batch)
    assert gradient(terms["second_head"].value, distiller.second_head).abs().sum() > 0
    assert gradient(terms["second_head"].value, distiller.student.stages).any() == shapes
    for name in ("ce", "kd"):
        assert not gradient(terms[name].value, distiller.second_head).any()
    assert not gradient(terms["second_head"].value, distiller.student.linear).any()


def test_ipwds_second_head_is_trained_and_not_deployed(batch):
    distiller = IPWD(*pair())
    before = distiller.second_head.weight.clone()
    step(distiller, batch)
    assert not torch.equal(distiller.second_head.weight, before)
    assert distiller.deployable() is distiller.student
    assert cost.parameters(distiller.deployable()) == cost.parameters(network(0))


# Pro-KD

@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("listed", [False, True])
def test_pro_kd_with_one_checkpoint_and_no_hard_phase_is_kd_to_the_bit(listed, progress, batch):
    student, teacher = pair()
    distiller = ProKD(student, [teacher] if listed else teacher, T=3.0, alpha=0.7, soft_until=1)
    batch = batch._replace(progress=progress)
    assert equal_terms(distiller(batch), KD(*pair(), T=3.0, alpha=0.7)(batch))


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("soft_until", [0.3, 0.75, 1.0])
def test_pro_kd_visits_every_checkpoint_in_order_and_each_for_the_same_time(soft_until, count):
    distiller = ProKD(network(0), [network(k) for k in range(1, count + 1)], soft_until=soft_until)
    steps = 2100
    visited = [distiller.checkpoint(soft_until * step / steps) for step in range(steps)]
    assert visited == sorted(visited)
    assert all(abs(visited.count(k) - steps / count) <= 1 for k in range(count))


def test_pro_kds_temperature_falls_from_T_to_1_in_equal_steps_and_stays_with_one_checkpoint():
    distiller = ProKD(network(0), [network(k) for k in range(1, 5)], T=7.0)
    assert [distiller.temperature(k) for k in range(4)] == [7.0, 5.0, 3.0, 1.0]
    assert ProKD(network(0), network(1), T=7.0).temperature(0) == 7.0


@pytest.mark.parametrize("progress, k, T", [(0.0, 0, 5.0), (0.3, 1, 3.0), (0.599, 2, 1.0)])
def test_pro_kd_is_kd_from_the_checkpoint_of_the_moment_and_asks_no_other(progress, k, T, batch):
    teachers = [Refusing(network(seed)) for seed in (1, 2, 3)]
    teachers[k] = Teacher(teachers[k].network)
    batch = batch._replace(progress=progress)
    found = ProKD(network(0), teachers, T=5.0, alpha=0.7, soft_until=0.6)(batch)
    assert equal_terms(found, KD(network(0), network(k + 1), T=T, alpha=0.7)(batch))


@pytest.mark.parametrize("progress", [0.6, 0.99])
def test_pro_kds_last_phase_is_the_cross_entropy_and_asks_no_teacher(progress, batch):
    student = network(0)
    distiller = ProKD(student, [Refusing(network(seed)) for seed in (1, 2)], soft_until=0.6)
    terms = distiller(batch._replace(progress=progress))
    assert weights(terms) == {"ce": 1.0}
    assert torch.equal(terms["ce"].value, F.cross_entropy(student(batch.x), batch.y))


def test_pro_kd_asks_each_checkpoint_in_its_share_of_the_training(source):
    teachers = [Counted(network(seed)) for seed in (1, 2, 3)]
    fit(ProKD(network(0), teachers, soft_until=0.75), source, epochs=4, lr=1e-3, batch_size=50)
    assert [teacher.calls for teacher in teachers] == [4, 4, 4]  # of 16 steps


def test_a_method_for_logits_needs_no_features_of_the_student(batch):
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for method in (ESKD, DKD, ATS, DIST, CTKD, LSKD, NKD, TTM, WTTM, ProKD):
        assert total(method(student, network(100, width=8))(batch)).isfinite()
    with pytest.raises(TypeError, match="does not show its feature maps"):
        IPWD(student, network(100, width=8))


@pytest.mark.parametrize("settings, message", [({"favour": "up"}, "not 'up'"), ({"limit": 0.5}, "at least 1, not 0.5")])
def test_ipwd_refuses_its_settings_where_it_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        IPWD(network(0), network(1), **settings)
