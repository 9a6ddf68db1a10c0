"""What every loss promises whatever it compares, each promise a function of a namespace of losses: the losses that the
namespace has are called. A loss that is added to `kdcourse.losses` is tested here from its first day."""

import warnings

import pytest
import torch
from test_losses import close, gradient

from kdcourse import losses as all_losses
from kdcourse.losses import correlations, features, logits, relations


def labels(z_t):
    """What the teacher answers, so that labels move with their images and classes."""
    return z_t.argmax(dim=-1)


def half_hidden(f):
    return (torch.arange(f.shape[1:2].numel()) % 2).reshape(1, -1, *[1] * (f.ndim - 2))


def margins(f):
    return -torch.arange(1.0, 1 + f.shape[1:2].numel(), dtype=f.dtype) / 2


LOGITS = {
    "soft_kl": lambda it, z_s, z_t: it.soft_kl(z_s, z_t, T=3.0),
    "kd_loss": lambda it, z_s, z_t: it.kd_loss(z_s, z_t, T=3.0),
    "logit_matching_loss": lambda it, z_s, z_t: it.logit_matching_loss(z_s, z_t),
    "target_kl": lambda it, z_s, z_t: it.target_kl(z_s, z_t, labels(z_t), T=3.0),
    "non_target_kl": lambda it, z_s, z_t: it.non_target_kl(z_s, z_t, labels(z_t), T=3.0),
    "dkd_loss": lambda it, z_s, z_t: it.dkd_loss(z_s, z_t, labels(z_t), T=3.0, alpha=1.0, beta=2.0),
    "ats_loss": lambda it, z_s, z_t: it.ats_loss(z_s, z_t, labels(z_t), T_target=3.0, T_rest=1.7, T_student=1.3),
    "ipwd_weights": lambda it, z_s, z_t: it.ipwd_weights(z_s, z_t, labels(z_t)),
    "lskd_loss": lambda it, z_s, z_t: it.lskd_loss(z_s, z_t, T=3.0),
    "nkd_loss": lambda it, z_s, z_t: it.nkd_loss(z_s, z_t, labels(z_t), T=3.0, gamma=1.5),
    "ttm_loss": lambda it, z_s, z_t: it.ttm_loss(z_s, z_t, T=3.0),
    "wttm_loss": lambda it, z_s, z_t: it.wttm_loss(z_s, z_t, T=3.0),
    "inter_class_loss": lambda it, z_s, z_t: it.inter_class_loss(z_s, z_t, T=3.0),
    "intra_class_loss": lambda it, z_s, z_t: it.intra_class_loss(z_s, z_t, T=3.0),
    "dist_loss": lambda it, z_s, z_t: it.dist_loss(z_s, z_t, T=3.0, beta=2.0, gamma=1.0),
}
MAPS = {
    "hint_loss": lambda it, f_s, f_t: it.hint_loss(f_s, f_t, relative=True),
    "cosine_loss": lambda it, f_s, f_t: it.cosine_loss(f_s, f_t),
    "attention_loss": lambda it, f_s, f_t: it.attention_loss(f_s, f_t),
    "masked_generation_loss": lambda it, f_s, f_t: it.masked_generation_loss(
        f_s, f_t, mask=half_hidden(f_s), generate=lambda f: 2 * f),
    "margin_loss": lambda it, f_s, f_t: it.margin_loss(f_s, f_t, margin=margins(f_t)),
    "pyramid_loss": lambda it, f_s, f_t: it.pyramid_loss(f_s, f_t),
}
RELATIONS = {
    "similarity_loss": lambda it, f_s, f_t: it.similarity_loss(f_s, f_t),
    "rkd_distance_loss": lambda it, f_s, f_t: it.rkd_distance_loss(f_s, f_t),
    "rkd_angle_loss": lambda it, f_s, f_t: it.rkd_angle_loss(f_s, f_t),
    "contrastive_loss": lambda it, f_s, f_t: it.contrastive_loss(f_s, f_t, T=0.5),
}
CALLS = LOGITS | MAPS | RELATIONS

# what is not as for the others
ONE_SIDED = {"discriminator_loss", "fooling_loss", "one_hot_loss", "activation_loss", "information_entropy_loss"}
# which compare no student with its teacher: see test_losses_other_teachers
NO_LOSS = {"negative_mean", "standardised"}  # the margins of margin_loss, from two vectors; the logits of lskd_loss
WEIGHTS = {"ipwd_weights"}  # numbers without a gradient
NOT_ZERO_FOR_EQUALS = {"ats_loss", "ipwd_weights", "nkd_loss", "ttm_loss", "wttm_loss", "masked_generation_loss",
                       "contrastive_loss"}
NO_SUM_OVER_CLASSES = {"inter_class_loss", "intra_class_loss", "dist_loss"}  # one more is one more to correlate
BY_CHANNEL = {"masked_generation_loss", "margin_loss"}  # called here with a mask and margins that differ by channel
ANY_WIDTH = {"similarity_loss", "rkd_distance_loss", "rkd_angle_loss"}


def calls(losses, *, but=()):
    """Name and call of every loss that the namespace has."""
    return [(name, lambda a, b, call=call: call(losses, a, b)) for name, call in CALLS.items()
            if hasattr(losses, name) and name not in but]


def pair(name, B=6, *, scale=2.0, seed=0, width=5):
    """What a student and a teacher hand to this loss, in float64."""
    shape = (B, 4, 5, 5) if name in MAPS else (B, width)
    f = scale * torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return f[0], f[1]


def half_precision_is_computed_in_single_everywhere(losses):
    for name, loss in calls(losses):
        for dtype in (torch.float16, torch.bfloat16):
            a, b = (f.to(dtype) for f in pair(name, B=16, scale=5.0))
            found = loss(a, b)
            assert found.dtype == torch.float32, name
            close(found.double(), loss(a.double(), b.double()), 1e-5)


def half_precision_does_not_overflow_where_its_numbers_do_not(losses):
    for name, loss in calls(losses, but=LOGITS):
        a, b = (f.half() for f in pair(name, scale=3000.0))
        close(loss(a, b).double(), loss(a.double(), b.double()), 1e-5)


def teacher_recorded_in_half_precision_serves_any_student(losses):
    for name, loss in calls(losses):
        a, b = pair(name)
        for dtype in (torch.float16, torch.bfloat16):
            close(loss(a.float(), b.to(dtype)), loss(a.float(), b.to(dtype).float()), 1e-6)
            close(loss(a.to(dtype), b.float()), loss(a.to(dtype).float(), b.float()), 1e-6)


def double_precision_is_kept_everywhere(losses):
    for name, loss in calls(losses):
        a, b = pair(name)
        assert loss(a, b).dtype == torch.double, name
        if name not in WEIGHTS:
            assert gradient(lambda f: loss(f, b).sum(), a).dtype == torch.double, name  # noqa: B023, used at once


def autocast_changes_nothing(losses):
    for name, loss in calls(losses):
        a, b = (f.float() for f in pair(name, B=16))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(a, b)
        assert found.dtype == torch.float32, name
        close(found, loss(a, b), 1e-6)


def many_at_once_are_as_one_after_the_other(losses):
    for name, loss in calls(losses):
        a, b = zip(*[pair(name, seed=seed) for seed in range(3)], strict=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = torch.func.vmap(loss)(torch.stack(a), torch.stack(b))
        assert not caught, [name] + [str(warning.message) for warning in caught]
        close(found, torch.stack([loss(*each) for each in zip(a, b, strict=True)]), 1e-9)


def batches_of_one_and_two_are_finite_in_value_and_gradient(losses):
    for name, loss in calls(losses):
        for B in (1, 2):
            a, b = (f.float() for f in pair(name, B=B))
            assert loss(a, b).isfinite().all(), name
            assert name in WEIGHTS or gradient(lambda f: loss(f, b).sum(), a).isfinite().all(), name  # noqa: B023


def features_of_zero_are_finite_in_value_and_gradient(losses):
    for name, loss in calls(losses):
        a, b = (f.float() for f in pair(name))
        for zero in (torch.zeros_like(a), a * (torch.arange(len(a)) % 3 != 0).reshape(-1, *[1] * (a.ndim - 1))):
            for first, second in ((zero, b), (a, zero), (zero, zero)):
                assert loss(first, second).isfinite().all(), name
                if name not in WEIGHTS:
                    slope = gradient(lambda f: loss(f, second).sum(), first)  # noqa: B023
                    assert slope.isfinite().all(), name


def gradient_is_the_slope(losses):
    for name, loss in calls(losses, but=WEIGHTS):
        a, b = (f.requires_grad_() for f in pair(name, B=4))
        assert torch.autograd.gradcheck(loss, (a, b)), name


def nothing_detaches_the_teacher(losses):
    for name, loss in calls(losses, but=WEIGHTS):
        a, b = pair(name)
        assert gradient(lambda f: loss(a, f).sum(), b).abs().max() > 1e-4, name  # noqa: B023


def student_that_equals_its_teacher_costs_nothing(losses):
    for name, loss in calls(losses, but=NOT_ZERO_FOR_EQUALS):
        a, _ = (f.float() for f in pair(name))
        close(loss(a, a), torch.zeros(loss(a, a).shape), 1e-6)
        close(gradient(lambda f: loss(f, a).sum(), a), torch.zeros_like(a), 1e-6)  # noqa: B023


def another_student_costs_something(losses):
    for name, loss in calls(losses):
        for seed in range(5):
            assert (loss(*pair(name, seed=seed)) > 0).all(), name


def order_of_the_images_does_not_matter(losses):
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for name, loss in calls(losses):
        a, b = pair(name)
        expected = loss(a, b)
        close(loss(a[order], b[order]), expected[order] if expected.ndim else expected, 1e-9)


def order_of_the_classes_or_channels_does_not_matter(losses):
    for name, loss in calls(losses, but=BY_CHANNEL):
        a, b = pair(name)
        order = torch.arange(a.shape[1]).flip(0)
        close(loss(a[:, order], b[:, order]), loss(a, b), 1e-9)


def shapes_that_do_not_fit_are_refused_and_both_are_named(losses):
    for name, loss in calls(losses):
        size = (2, 2) if name in MAPS else ()
        shapes = [((4, 3, *size), (1, 3, *size)), ((4, 3, *size), (3, 3, *size)), ((4, 3), (3,)), ((3,), (4, 3))]
        if name not in ANY_WIDTH | {"attention_loss"}:
            shapes += [((4, 3, *size), (4, 1, *size)), ((4, 1, *size), (4, 3, *size))]
        if name in MAPS:
            shapes += [((4, 3, 2, 2), (4, 3, 1, 1)), ((4, 3, 2, 2), (4, 3, 2, 1)), ((4, 3, 2, 2), (4, 3))]
        for shape_s, shape_t in shapes:
            with pytest.raises(ValueError) as error:
                loss(torch.zeros(shape_s), torch.zeros(shape_t))
            assert str(shape_s) in str(error.value) and str(shape_t) in str(error.value), name


SCALE_FREE = {"hint_loss", "cosine_loss", "attention_loss", *RELATIONS}


def slope_of(loss, a, b):
    return gradient(lambda f: loss(f, b).sum(), a)


def tiny_features_are_as_others_where_the_scale_does_not_matter(losses):
    for name, loss in calls(losses, but=CALLS.keys() - SCALE_FREE):
        a, b = (f.float() for f in pair(name))
        other = 1 if name != "hint_loss" else None  # whose unit is the teacher's size
        for factor in (2.0**-27, 2.0**-39, 2.0**-65, 2.0**40) if name != "hint_loss" else (2.0**-27, 2.0**20):
            for first, second in ((factor * a, (other or factor) * b), ((other or factor) * a, factor * b)):
                close(loss(first, second), loss(a, b), 1e-6)
                by = (first / a).mean()
                close(by * slope_of(loss, first, second), slope_of(loss, a, b), 1e-5)


def features_down_to_denormals_are_finite_in_value_and_gradient(losses):
    for name, loss in calls(losses, but=LOGITS):
        a, b = (f.float() for f in pair(name))
        for factor in (1e-18, 1e-25, 1e-32, 1e-38, 1e-41, 1e-45):
            for first, second in ((factor * a, b), (a, factor * b), (factor * a, factor * b)):
                assert loss(first, second).isfinite(), (name, factor)
                assert slope_of(loss, first, second).isfinite().all(), (name, factor)


def with_a_class(z, logit):
    """The same with one more class, the last, of this logit."""
    return torch.cat([z, torch.full_like(z[:, :1], logit)], dim=1)


def classes_ruled_out_by_both_play_no_part(losses):
    for name, loss in calls(losses, but=CALLS.keys() - LOGITS.keys() | NO_SUM_OVER_CLASSES):
        a, b = pair(name)
        first, second = (with_a_class(z, -torch.inf) for z in (a, b))
        close(loss(first, second), loss(a, b), 1e-9)
        if name not in WEIGHTS:
            expected = torch.cat([slope_of(loss, a, b), torch.zeros(len(a), 1)], dim=1)
            close(slope_of(loss, first, second), expected, 1e-9)


def class_ruled_out_by_the_teacher_is_one_of_a_very_small_logit(losses):
    for name, loss in calls(losses, but=CALLS.keys() - LOGITS.keys() | {"logit_matching_loss", "ipwd_weights"}):
        a, b = pair(name)
        first, second, limit = with_a_class(a, 0.5), with_a_class(b, -torch.inf), with_a_class(b, -1e9)
        if name not in ("ats_loss", "lskd_loss", "intra_class_loss", "dist_loss"):  # a small logit matters to them
            close(loss(first, second), loss(first, limit), 1e-6)
            close(slope_of(loss, first, second), slope_of(loss, first, limit), 1e-6)
        assert loss(first, second).isfinite().all() and slope_of(loss, first, second).isfinite().all(), name


def temperature_of_a_ruled_out_class_has_a_gradient(losses):
    a, b = pair("kd_loss")
    found = {
        "kd_loss": lambda a, b, T: losses.kd_loss(a, b, T=T),
        "dkd_loss": lambda a, b, T: losses.dkd_loss(a, b, labels(b), T=T, alpha=1.0, beta=2.0),
        "inter_class_loss": lambda a, b, T: losses.inter_class_loss(a, b, T=T),
    }
    for loss in (call for name, call in found.items() if hasattr(losses, name)):
        slopes = [gradient(lambda T: loss(*pair_of_k, T), torch.tensor(3.0, dtype=torch.double))  # noqa: B023
                  for pair_of_k in ([with_a_class(z, logit) for z in (a, b)] for logit in (-torch.inf, -1e9))]
        close(slopes[0], slopes[1], 1e-6)


def labelled(losses):
    """Every loss that takes labels, as a function of them."""
    a, b = pair("dkd_loss")
    found = {
        "target_kl": lambda y: losses.target_kl(a, b, y, T=3.0),
        "non_target_kl": lambda y: losses.non_target_kl(a, b, y, T=3.0),
        "dkd_loss": lambda y: losses.dkd_loss(a, b, y, T=3.0, alpha=1.0, beta=2.0),
        "ats_loss": lambda y: losses.ats_loss(a, b, y, T_target=3.0, T_rest=2.0, T_student=1.0),
        "ipwd_weights": lambda y: losses.ipwd_weights(a, b, y),
        "nkd_loss": lambda y: losses.nkd_loss(a, b, y, T=3.0, gamma=1.5),
    }
    return [call for name, call in found.items() if hasattr(losses, name)]


def labels_of_any_integer_type_are_taken(losses):
    y = torch.tensor([4, 0, 1, 2, 3, 4])
    for loss in labelled(losses):
        for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.uint16):
            assert torch.equal(loss(y.to(dtype)), loss(y)), dtype


def labels_out_of_range_are_refused_and_the_range_is_named(losses):
    for loss in labelled(losses):
        for label in (-1, 5, -100, 255):
            y = torch.tensor([4, 0, 1, 2, 3, label])
            with pytest.raises(ValueError, match=f"labels run from {y.min()} to {y.max()}, but 5 logits allow 0 to 4"):
                loss(y)
        with pytest.raises(ValueError, match=r"labels must be one integer per image: .* not a NoneType"):
            loss(None)


def empty_batches_are_refused(losses):
    for name, loss in calls(losses):
        a, b = (f[:0] for f in pair(name))
        with pytest.raises(ValueError, match=r"an empty batch, \(0, \d.*\), has no mean"):
            loss(a, b)


def temperatures_out_of_reach_are_refused_and_named(losses):
    hot = {"soft_kl": {}, "kd_loss": {}, "lskd_loss": {}, "ttm_loss": {}, "wttm_loss": {},
           "inter_class_loss": {}, "intra_class_loss": {}, "contrastive_loss": {},
           "dist_loss": {"beta": 1.0, "gamma": 1.0}}
    for name, settings in hot.items():
        if hasattr(losses, name):
            loss, (a, b) = getattr(losses, name), pair("soft_kl")
            for T in (1e30, -1e-30, 1e-30, torch.tensor(-4.0), torch.tensor([[4.0], [0.0]]), torch.tensor(1e30)):
                with pytest.raises(ValueError, match="the temperature must be greater than 0 and finite"):
                    loss(a, b, T=T, **settings)
            for T in ("4", "4.0", None, [4.0]):
                with pytest.raises(TypeError, match="T must be a number, not "):
                    loss(a, b, T=T, **settings)
            with pytest.raises(TypeError, match=r"write T=4\.5, without quotes"):
                loss(a, b, T="4.5", **settings)
            close(loss(a, b, T=torch.tensor(3.0), **settings), loss(a, b, T=3.0, **settings), 1e-7)


IDENTITIES = [
    tiny_features_are_as_others_where_the_scale_does_not_matter,
    features_down_to_denormals_are_finite_in_value_and_gradient,
    classes_ruled_out_by_both_play_no_part,
    class_ruled_out_by_the_teacher_is_one_of_a_very_small_logit,
    temperature_of_a_ruled_out_class_has_a_gradient,
    labels_of_any_integer_type_are_taken,
    labels_out_of_range_are_refused_and_the_range_is_named,
    empty_batches_are_refused,
    temperatures_out_of_reach_are_refused_and_named,
    half_precision_is_computed_in_single_everywhere,
    half_precision_does_not_overflow_where_its_numbers_do_not,
    teacher_recorded_in_half_precision_serves_any_student,
    double_precision_is_kept_everywhere,
    autocast_changes_nothing,
    many_at_once_are_as_one_after_the_other,
    batches_of_one_and_two_are_finite_in_value_and_gradient,
    features_of_zero_are_finite_in_value_and_gradient,
    gradient_is_the_slope,
    nothing_detaches_the_teacher,
    student_that_equals_its_teacher_costs_nothing,
    another_student_costs_something,
    order_of_the_images_does_not_matter,
    order_of_the_classes_or_channels_does_not_matter,
    shapes_that_do_not_fit_are_refused_and_both_are_named,
]


@pytest.mark.parametrize("module", [logits, correlations, features, relations], ids=lambda module: module.__name__)
@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_every_loss(identity, module):
    identity(module)


def test_every_loss_is_called():
    public = {name for name, value in vars(all_losses).items() if callable(value)}
    assert public == set(CALLS) | NO_LOSS | ONE_SIDED
