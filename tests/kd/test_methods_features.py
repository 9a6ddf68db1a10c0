"""Identities of the methods that compare features: hints, attention, masks, margins, pyramids, relations, and SimKD."""

import pytest
import torch
import torch.nn.functional as F
from helpers import (
    close,
    cnn,
    few_digits,
    first_batch,
    gradient,
    gradients,
    mlp,
    network,
    same,
    state,
    step,
    vit,
    weights,
)
from scipy.stats import truncnorm
from torch import nn

from kdcourse import cost, losses, models
from kdcourse.distillers import (
    AT,
    CRD,
    IPWD,
    METHODS,
    MGD,
    OFD,
    RKD,
    SLKD,
    SP,
    Cosine,
    CrossArch,
    FitNet,
    ReviewKD,
    SimKD,
    Supervised,
)
from kdcourse.teachers import LogitBank, Teacher
from kdcourse.train import fit

COMPARES_FEATURES = [FitNet, Cosine, AT, MGD, OFD, ReviewKD, SimKD, SP, RKD, CRD, CrossArch]
HAS_HELPERS = [FitNet, Cosine, MGD, OFD, ReviewKD, SimKD, CRD, CrossArch, IPWD, SLKD]
every_feature_method = pytest.mark.parametrize("method", COMPARES_FEATURES)


@pytest.fixture
def batch():
    return first_batch(progress=0.5)


def pair():
    return network(0), network(100, width=8)


def helpers(distiller):
    """The parameters that are neither the student's nor frozen."""
    known = {id(parameter) for parameter in distiller.student.parameters()}
    return [p for p in distiller.parameters() if p.requires_grad and id(p) not in known]


def train(distiller, source=None, **settings):
    return fit(distiller, source or few_digits(), **{"epochs": 2, "lr": 3e-3, "batch_size": 64} | settings)


def identity_(layer):
    """Makes a 1x1 convolution the identity."""
    layer.weight.data.copy_(torch.eye(layer.weight.shape[0])[:, :, None, None])
    layer.bias.data.zero_()


class Scaled(Teacher):
    """A teacher whose features are all multiplied by 7."""

    def answer(self, batch):
        z, features, maps = super().answer(batch)
        return models.Answer(z, [7 * f for f in features], [7 * f for f in maps])


# all of them

@every_feature_method
def test_a_bank_of_logits_is_refused_with_advice(method):
    bank = LogitBank.record(network(100), few_digits().train)
    with pytest.raises(TypeError, match=r"holds logits only: pass the network itself, or .*FeatureBank\.record"):
        method(network(0), bank)


@every_feature_method
def test_networks_that_show_no_features_are_refused_where_the_method_is_built(method):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(TypeError, match="does not show its feature maps"):
        method(plain, network(100))


@pytest.mark.parametrize("method", [method for method in COMPARES_FEATURES if method is not SimKD])
def test_what_is_deployed_is_the_plain_student(method, batch):
    distiller = method(*pair())
    step(distiller, batch)
    assert distiller.deployable() is distiller.student
    assert cost.parameters(distiller.deployable()) == cost.parameters(network(0))
    assert bool(helpers(distiller)) == (method in HAS_HELPERS)


@pytest.mark.parametrize("method", [method for method in HAS_HELPERS if method in COMPARES_FEATURES])
def test_every_helper_gets_a_gradient_and_is_moved_by_the_optimiser(method, batch):
    distiller = method(*pair())
    before = [parameter.clone() for parameter in helpers(distiller)]
    step(distiller, batch)
    assert all(parameter.grad.abs().sum() > 0 for parameter in helpers(distiller))
    assert not any(torch.equal(*both) for both in zip(helpers(distiller), before, strict=True))


@pytest.mark.parametrize("method", HAS_HELPERS)
def test_helpers_are_drawn_from_the_seed(method):
    first, again, other = ([*helpers(method(*pair(), seed=seed))] for seed in (3, 3, 4))
    assert all(torch.equal(*both) for both in zip(first, again, strict=True))
    assert any(not torch.equal(*both) for both in zip(first, other, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_building_a_method_leaves_torchs_own_generator_as_it_was(name):
    networks = pair()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    METHODS[name](*networks)
    assert torch.equal(torch.get_rng_state(), before)


BUILD = {"mlp": mlp, "cnn": cnn, "resnet": network, "vit": vit}


@pytest.mark.parametrize("student, teacher", [
    ("cnn", "vit"),  # the cnn's maps are of 4x4 and 2x2 and its last feature is a vector; all the vit's are 4x4
    ("vit", "cnn"), ("resnet", "vit"), ("resnet", "cnn"), ("mlp", "resnet"), ("resnet", "mlp"), ("mlp", "mlp"),
])
@every_feature_method
def test_across_architectures_a_method_learns_or_says_in_words_why_not(method, student, teacher, batch):
    networks = BUILD[student](0), BUILD[teacher](100)
    if method is AT and "mlp" in (student, teacher):
        with pytest.raises(ValueError, match="no pair of stages here has positions to look at"):
            AT(*networks)(batch)
        return
    settings = {}
    if method is OFD and teacher != "resnet":
        with pytest.raises(ValueError, match=r"no batch normalisation .*: margin='batch'"):
            OFD(*networks)
        settings = {"margin": "batch"}
    terms = method(*networks, **settings)(batch)
    assert all(term.value.isfinite() for term in terms.values())
    for name, term in terms.items():
        assert name == "ce" or gradient(term.value, networks[0].stages).any()


@pytest.mark.parametrize("build, message", [
    (lambda *pair: FitNet(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: FitNet(*pair, hint_first=1.5), "hint_first .*1.5"),
    (lambda *pair: Cosine(*pair, alpha=1.5), "alpha .*1.5"),
    (lambda *pair: AT(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: MGD(*pair, alpha=-1), "alpha .*-1"),
    (lambda *pair: MGD(*pair, masked=1.5), "masked .*1.5"),
    (lambda *pair: OFD(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: OFD(*pair, margin="none"), "'norm' or 'batch', not 'none'"),
    (lambda *pair: ReviewKD(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: ReviewKD(*pair, warm_up=2), "warm_up .*2"),
    (lambda *pair: SP(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: RKD(*pair, angle=-1), "angle .*-1"),
    (lambda *pair: CRD(*pair, beta=-1), "beta .*-1"),
    (lambda *pair: CRD(*pair, T=0), "T is 0"),
])
def test_settings_out_of_range_are_refused_where_the_method_is_built(build, message):
    with pytest.raises(ValueError, match=message):
        build(*pair())


@pytest.mark.parametrize("method", [FitNet, Cosine, MGD, AT, OFD, ReviewKD, CrossArch])
@pytest.mark.parametrize("stage", [(3, 0), (0, -4), (-4, 2)])
def test_a_stage_that_there_is_not_is_refused_with_the_number_of_stages(method, stage):
    stages = stage if method in (FitNet, Cosine, MGD, CrossArch) else [(0, 0), stage]
    with pytest.raises(ValueError, match="a student of 3 and a teacher of 3 stages"):
        method(*pair(), stages=stages)


def test_stages_are_paired_from_the_last_one_towards_the_images():
    assert AT(*pair()).stages == [(0, 0), (1, 1), (2, 2)]
    assert AT(mlp(0, hidden=(8, 8)), network(100)).stages == [(0, 1), (1, 2)]
    assert AT(*pair(), stages=[(-1, 0), (1, -2)]).stages == [(2, 0), (1, 1)]
    assert (FitNet(*pair()).stages, Cosine(*pair()).stages, MGD(*pair()).stages) == ((1, 1), (2, 2), (2, 2))


# FitNet and Cosine

@pytest.mark.parametrize("relative", [False, True])
def test_a_student_that_is_its_teacher_has_no_hint_to_take(relative, batch):
    student = network(100, width=8)
    distiller = FitNet(student, network(100, width=8), relative=relative).eval()
    identity_(distiller.regressor.linear)
    assert distiller(batch)["hint"].value == 0
    student.stages[1][-1].bn2.bias.data.add_(1)
    assert distiller(batch)["hint"].value > 0.01


def test_fitnets_hint_is_the_mean_square_between_the_regressor_and_the_teachers_stage(batch):
    student, teacher = pair()
    distiller = FitNet(student, teacher, stages=(0, 1), relative=False, beta=2.5).eval()
    terms = distiller(batch)
    f_s, f_t = student.features(batch.x)[0], teacher.features(batch.x)[1]
    made = torch.einsum("oi,bihw->bohw", distiller.regressor.linear.weight[:, :, 0, 0], F.avg_pool2d(f_s, 2))
    made = made + distiller.regressor.linear.bias[:, None, None]
    close(terms["hint"].value, ((made - f_t) ** 2).mean())
    assert weights(terms) == {"ce": 1.0, "hint": 2.5}


@pytest.mark.parametrize("relative", [True, False])
def test_fitnets_relative_hint_has_no_units(relative, batch):
    student, teacher = pair()
    plain = FitNet(student, Teacher(teacher), relative=relative).eval()
    large = FitNet(student, Scaled(teacher), relative=relative).eval()
    for parameter in large.regressor.parameters():
        parameter.data.mul_(7)
    close(large(batch)["hint"].value, (1 if relative else 49) * plain(batch)["hint"].value)


@pytest.mark.parametrize("progress, name", [(0.0, "hint"), (0.39, "hint"), (0.4, "ce"), (0.99, "ce")])
def test_fitnet_in_two_stages_has_the_hint_alone_and_then_the_labels_alone(progress, name, batch):
    distiller = FitNet(*pair(), hint_first=0.4, beta=3.0)
    assert weights(distiller(batch._replace(progress=progress))) == {name: 3.0 if name == "hint" else 1.0}


def test_fitnet_without_its_hint_is_plain_training(batch):
    distiller = FitNet(*pair(), beta=0)
    assert torch.equal(gradients(distiller, batch), gradients(Supervised(network(0)), batch))


def test_cosine_needs_no_regressor_where_the_widths_are_equal(batch):
    student, teacher = network(0), network(100)
    distiller = Cosine(student, teacher).eval()
    assert not helpers(distiller)
    f_s, f_t = (one.features(batch.x)[-1].flatten(1) for one in (student, teacher))
    terms = distiller(batch)
    close(terms["cosine"].value, 1 - F.cosine_similarity(f_s, f_t).mean())
    assert weights(terms) == {"ce": 0.75, "cosine": 0.25}


@pytest.mark.parametrize("method", [Cosine, AT, SP, RKD, CRD])
def test_how_large_the_teachers_features_are_does_not_matter(method, batch):
    student, teacher = pair()
    plain, large = method(student, Teacher(teacher)).eval(), method(student, Scaled(teacher)).eval()
    if method is CRD:
        for distiller in (plain, large):
            distiller.project_t.bias.data.zero_()
    for name, term in plain(batch).items():
        close(large(batch)[name].value, term.value, rtol=1e-3)


# AT

def test_at_is_the_sum_over_the_stages(batch):
    student, teacher = pair()
    whole = AT(student, teacher).eval()(batch)
    parts = [AT(student, teacher, stages=[(k, k)]).eval()(batch)["at"].value for k in range(3)]
    assert all(part > 0 for part in parts)
    close(whole["at"].value, sum(parts))
    assert weights(whole) == {"ce": 1.0, "at": 1000.0}


def test_at_compares_the_normalised_mean_square_over_the_channels(batch):
    student, teacher = pair()
    found = AT(student, teacher, stages=[(0, 1)]).eval()(batch)["at"].value
    f_s, f_t = F.avg_pool2d(student.features(batch.x)[0], 2), teacher.features(batch.x)[1]
    q_s, q_t = (F.normalize(f.square().mean(dim=1).flatten(1), dim=1) for f in (f_s, f_t))
    close(found, ((q_s - q_t) ** 2).mean())


def test_at_leaves_out_the_stages_without_positions(batch):
    student, teacher = cnn(0).eval(), cnn(100, width=8).eval()  # maps of 4x4 and 2x2, then vectors
    both = AT(student, teacher, stages=[(0, 0), (1, 1)])(batch)["at"].value
    close(AT(student, teacher)(batch)["at"].value, both)


# MGD

def test_mgd_that_hides_nothing_has_a_mask_of_ones(batch):
    f = torch.zeros(64, 32, 2, 2)
    assert MGD(*pair(), masked=0).mask(f, batch).eq(1).all()
    assert MGD(*pair(), masked=1).mask(f, batch).eq(0).all()


def test_mgd_that_hides_everything_asks_nothing_of_the_student(batch):
    distiller = MGD(*pair(), masked=1)
    value = distiller(batch)["mgd"].value
    assert not gradient(value, distiller.student).any()
    assert gradient(value, distiller.generator).any()
    seen = MGD(*pair(), masked=0.5)
    assert gradient(seen(batch)["mgd"].value, seen.student).any()


@pytest.mark.parametrize("masked", [0.15, 0.65])
@pytest.mark.parametrize("spatial, shape", [(False, (64, 32, 1, 1)), (True, (64, 1, 4, 4))])
def test_mgd_hides_its_share_of_channels_or_of_positions(spatial, shape, masked, batch):
    distiller = MGD(*pair(), masked=masked, spatial=spatial)
    mask = distiller.mask(torch.zeros(64, 32, 4, 4), batch)
    assert mask.shape == shape and set(mask.unique().tolist()) == {0.0, 1.0}
    assert (mask == 0).float().mean().item() == pytest.approx(masked, abs=0.06)  # 1,024 draws or more: 4 deviations


def test_mgds_masks_differ_between_batches_and_seeds_and_come_again_for_the_same_batch(batch):
    f = torch.zeros(64, 32, 2, 2)
    mask = MGD(*pair()).mask(f, batch)
    torch.manual_seed(1)
    assert torch.equal(MGD(*pair()).mask(f, batch), mask)
    for other in (batch._replace(progress=0.51), batch._replace(epoch=1)):
        assert not torch.equal(MGD(*pair()).mask(f, other), mask)
    assert not torch.equal(MGD(*pair(), seed=1).mask(f, batch), mask)


@pytest.mark.parametrize("spatial", [False, True])
def test_mgd_is_the_sum_of_squares_between_the_generated_and_the_teachers_map_per_image(spatial, batch):
    student, teacher = pair()
    distiller = MGD(student, teacher, masked=0.4, spatial=spatial, alpha=2e-5).eval()
    terms = distiller(batch)
    f = distiller.regressor(student.features(batch.x)[-1])
    made = distiller.generator(f * distiller.mask(f, batch))
    close(terms["mgd"].value, ((made - teacher.features(batch.x)[-1]) ** 2).sum() / 64)
    assert weights(terms) == {"ce": 1.0, "mgd": 2e-5}
    assert isinstance(MGD(network(0), network(100)).regressor, nn.Identity)


# OFD

def with_odd_norms(network_):
    """Batch normalisations of every kind of channel: often and hardly ever negative, of negative weight."""
    for k, module in enumerate(module for module in network_.modules() if isinstance(module, nn.BatchNorm2d)):
        draw = torch.Generator().manual_seed(k)
        module.weight.data.normal_(generator=draw)
        module.bias.data.normal_(generator=draw)
    return network_


def test_ofds_margins_are_the_means_of_what_is_negative_in_a_normal_with_the_last_norms_bias_and_weight():
    teacher = with_odd_norms(network(100, width=8))
    distiller = OFD(network(0), teacher)
    for k, stage in enumerate(teacher.stages):
        mean, std = stage[-1].bn2.bias.detach().numpy(), stage[-1].bn2.weight.detach().abs().numpy()
        expected = truncnorm.mean(-float("inf"), -mean / std, loc=mean, scale=std)
        found = getattr(distiller, f"margin{k}")
        close(found.double(), torch.as_tensor(expected, dtype=torch.double), rtol=1e-3, atol=1e-5)
        assert (found < 0).all() and found.shape == mean.shape


@pytest.mark.parametrize("margin", ["norm", "batch"])
def test_ofd_is_the_sum_of_partial_distances_halved_for_each_step_towards_the_images(margin, batch):
    student, teacher = network(0), with_odd_norms(network(100, width=8))
    distiller = OFD(student, teacher, margin=margin).eval()
    terms = distiller(batch)
    by_hand = 0.0
    for k, factor in enumerate((0.25, 0.5, 1.0)):
        f_s, f_t = distiller.regressors[k](student.maps(batch.x)[k]), teacher.maps(batch.x)[k].detach()
        if margin == "norm":
            margins = getattr(distiller, f"margin{k}")
        else:
            margins = torch.stack([(f[f < 0].mean() if (f < 0).any() else f.new_tensor(-1e-6)) for f in f_t.unbind(1)])
        target = torch.maximum(f_t, margins[:, None, None])
        skipped = (f_s <= target) & (target <= 0)
        by_hand = by_hand + factor * torch.where(skipped, 0.0, (f_s - target) ** 2).sum() / 64
    close(terms["ofd"].value, by_hand)
    assert weights(terms) == {"ce": 1.0, "ofd": 1e-3}


@pytest.mark.parametrize("margin", ["norm", "batch"])
def test_ofd_leaves_the_teachers_statistics_as_they_are(margin):
    teacher = network(100, width=8)
    before = state(teacher)
    train(OFD(network(0), teacher, margin=margin))
    assert same(state(teacher), before)


def test_ofd_refuses_networks_that_hide_their_maps_before_the_activation():
    hidden = models.wrap(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)),
                         mean=(0.0,), std=(1.0,), size=8, stages=("1",))
    for networks in ((hidden, network(100)), (network(0), hidden)):
        with pytest.raises(TypeError, match="Wrapped shows them only after it"):
            OFD(*networks)


# ReviewKD

@pytest.mark.parametrize("progress, weight", [(0.0, None), (0.1, 1.0), (0.2, 2.0), (0.9, 2.0)])
def test_review_kd_rises_linearly_over_its_warm_up_and_is_absent_at_the_start(progress, weight, batch):
    terms = ReviewKD(*pair(), beta=2.0, warm_up=0.2)(batch._replace(progress=progress))
    assert weights(terms) == pytest.approx({"ce": 1.0} | ({} if weight is None else {"review": weight}))


def attend(distiller, ours, theirs):
    """Sets both attention maps of every fusion to 0 or 1, at every position."""
    for fusion in distiller.fusions[:-1]:
        fusion.attention.weight.data.zero_()
        fusion.attention.bias.data.copy_(torch.tensor([200.0 * ours - 100, 200.0 * theirs - 100]))


def test_review_kd_whose_attention_looks_at_its_own_stage_compares_stage_by_stage(batch):
    student, teacher = pair()
    distiller = ReviewKD(student, teacher).eval()
    attend(distiller, 1, 0)
    stages = zip(distiller.fusions, student.features(batch.x), teacher.features(batch.x), strict=True)
    by_hand = sum(losses.pyramid_loss(fusion.widen(fusion.narrow(f_s)), f_t) for fusion, f_s, f_t in stages)
    close(distiller(batch)["review"].value, by_hand)


def test_review_kd_whose_attention_looks_at_deeper_stages_alone_compares_the_deepest_with_all(batch):
    student, teacher = pair()
    distiller = ReviewKD(student, teacher).eval()
    attend(distiller, 0, 1)
    deepest = distiller.fusions[-1].narrow(student.features(batch.x)[-1])
    by_hand = sum(
        losses.pyramid_loss(fusion.widen(F.interpolate(deepest, scale_factor=scale)), f_t)
        for fusion, scale, f_t in zip(distiller.fusions, (4, 2, 1), teacher.features(batch.x), strict=True)
    )
    value = distiller(batch)["review"].value
    close(value, by_hand)
    assert not gradient(value, distiller.fusions[0].narrow).any()


def test_review_kds_two_attention_maps_add_up(batch):
    student, teacher = pair()
    distiller = ReviewKD(student, teacher).eval()
    attend(distiller, 1, 1)
    shallow, middle, deep = (
        fusion.narrow(f) for fusion, f in zip(distiller.fusions, student.features(batch.x), strict=True)
    )
    middle = middle + F.interpolate(deep, scale_factor=2)
    shallow = shallow + F.interpolate(middle, scale_factor=2)
    stages = zip(distiller.fusions, (shallow, middle, deep), teacher.features(batch.x), strict=True)
    by_hand = sum(losses.pyramid_loss(fusion.widen(f), f_t) for fusion, f, f_t in stages)
    value = distiller(batch)["review"].value
    close(value, by_hand)
    close(gradient(value, student), gradient(by_hand, student))


# SimKD

def test_simkd_does_not_depend_on_the_labels(batch):
    distiller = SimKD(*pair())
    assert weights(distiller(batch)) == {"simkd": 1.0}
    relabelled = batch._replace(y=(batch.y + 1) % 10)
    assert torch.equal(gradients(distiller, batch), gradients(distiller, relabelled))


def test_simkd_with_a_perfect_encoder_and_projector_answers_as_the_teacher_to_the_bit(batch):
    student, teacher = network(0, width=8), network(100, width=8)
    student.stages.load_state_dict(teacher.stages.state_dict())
    distiller = SimKD(student, teacher)
    distiller.projector = nn.Identity()
    assert torch.equal(distiller.deployable().eval()(batch.x), teacher.eval()(batch.x))
    assert distiller.eval()(batch)["simkd"].value == 0
    assert not torch.equal(student(batch.x), teacher(batch.x))


def test_simkd_is_the_mean_square_between_the_projector_and_the_teachers_last_map(batch):
    student, teacher = pair()
    distiller = SimKD(student, teacher).eval()
    made = distiller.projector(student.features(batch.x)[-1])
    close(distiller(batch)["simkd"].value, ((made - teacher.features(batch.x)[-1]) ** 2).mean())


@pytest.mark.parametrize("factor", [2, 4])
def test_simkds_cost_is_that_of_encoder_projector_and_the_teachers_head_without_the_students_own(factor):
    student, teacher = pair()
    deployed = SimKD(student, teacher, factor=factor).deployable()
    c_s, c_t, mid, positions = 16, 32, 32 // factor, 2 * 2
    convolutions = c_s * mid + 9 * mid * mid + mid * c_t
    norms, head_s, head_t = 2 * (mid + mid + c_t), c_s * 10, c_t * 10
    encoder = cost.parameters(student) - (head_s + 10)
    assert cost.parameters(deployed) == encoder + convolutions + norms + head_t + 10
    encoder = cost.multiply_adds(student, (1, 8, 8)) - head_s
    assert cost.multiply_adds(deployed, (1, 8, 8)) == encoder + positions * convolutions + head_t


def test_simkd_trains_encoder_and_projector_and_neither_head(batch):
    student, teacher = pair()
    distiller = SimKD(student, teacher)
    own, theirs = state(student.linear), state(teacher)
    before = distiller.deployable().eval()(batch.x).detach()
    stem = student.stages[0][0][0].weight.clone()
    rows = train(distiller, epochs=3, optimizer=lambda groups, lr: torch.optim.AdamW(groups, lr=lr, weight_decay=1.0))
    assert same(state(student.linear), own) and same(state(teacher), theirs)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not torch.equal(student.stages[0][0][0].weight, stem)
    assert rows[-1]["simkd"] < rows[0]["simkd"]
    after = distiller.deployable().eval()(batch.x)
    assert (after - before).abs().max() > 1e-3


def test_what_simkd_deploys_has_the_very_weights_that_learn():
    distiller = SimKD(*pair())
    deployed = {id(parameter) for parameter in distiller.deployable().parameters()}
    learning = {id(parameter) for group in distiller.parameter_groups() for parameter in group["params"]}
    head = {id(parameter) for parameter in distiller.teacher.network.linear.parameters()}
    assert deployed == learning | head and not learning & head
    assert not deployed & {id(parameter) for parameter in distiller.student.linear.parameters()}


def test_simkds_projector_ends_in_a_relu_unless_the_teachers_features_may_be_negative():
    assert isinstance(SimKD(*pair()).projector[-1], nn.ReLU)
    assert not isinstance(SimKD(network(0), vit(100)).projector[-1], nn.ReLU)


def test_simkd_deploys_the_head_of_a_teacher_in_half_precision(batch):
    teacher = network(100, width=8).bfloat16()
    distiller = SimKD(network(0), teacher)
    train(distiller, epochs=1)
    z = distiller.deployable().eval()(batch.x)
    assert z.dtype == torch.float32 and z.isfinite().all()


# SP, RKD and CRD

def last(distiller, batch):
    """Both networks' last features, in eval mode."""
    return [one.eval().features(batch.x)[-1] for one in (distiller.student, distiller.teacher.network)]


def test_sp_is_the_similarity_loss_of_the_whole_last_maps(batch):
    distiller = SP(*pair(), beta=5.0).eval()
    terms = distiller(batch)
    close(terms["sp"].value, losses.similarity_loss(*(f.flatten(1) for f in last(distiller, batch))))
    assert weights(terms) == {"ce": 1.0, "sp": 5.0}


def test_rkd_is_its_two_losses_of_the_averaged_last_maps(batch):
    distiller = RKD(*pair(), distance=3.0, angle=4.0).eval()
    terms = distiller(batch)
    e_s, e_t = (f.mean(dim=(2, 3)) for f in last(distiller, batch))
    close(terms["rkd_distance"].value, losses.rkd_distance_loss(e_s, e_t))
    close(terms["rkd_angle"].value, losses.rkd_angle_loss(e_s, e_t))
    assert weights(terms) == {"ce": 1.0, "rkd_distance": 3.0, "rkd_angle": 4.0}
    assert weights(RKD(*pair(), angle=0)(batch)).keys() == {"ce", "rkd_distance"}


def test_crd_is_the_contrastive_loss_of_two_projections_of_the_averaged_last_maps(batch):
    distiller = CRD(*pair(), beta=0.5, T=0.2, dimension=12).eval()
    terms = distiller(batch)
    f_s, f_t = (f.mean(dim=(2, 3)) for f in last(distiller, batch))
    e_s = F.linear(f_s, distiller.project_s.weight, distiller.project_s.bias)
    e_t = F.linear(f_t, distiller.project_t.weight, distiller.project_t.bias)
    assert e_s.shape == e_t.shape == (64, 12)
    close(terms["crd"].value, losses.contrastive_loss(e_s, e_t, T=0.2))
    assert weights(terms) == {"ce": 1.0, "crd": 0.5}


@pytest.mark.parametrize("method", [SP, RKD])
def test_a_student_that_is_its_teacher_already_relates_the_images_as_it_does(method, batch):
    terms = method(network(100, width=8), network(100, width=8)).eval()(batch)
    assert all(term.value.abs() < 1e-6 for name, term in terms.items() if name != "ce")


@every_feature_method
def test_a_last_batch_of_one_image_does_not_stop_a_training(method):
    student = cnn(0)  # whose last feature is a vector
    teacher = cnn(100, width=8)
    settings = {"margin": "batch"} if method is OFD else {}
    rows = train(method(student, teacher, **settings), few_digits(33), batch_size=16)
    assert all(value == value for row in rows for value in row.values())
