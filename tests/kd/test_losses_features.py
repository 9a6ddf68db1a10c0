"""Identities of the losses on feature maps and vectors, each a function of a namespace of losses."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm
from test_losses import close, gradient

from kdcourse.losses import features

ZERO = torch.zeros((), dtype=torch.double)
ONE = torch.ones((), dtype=torch.double)


def maps(B=3, C=4, H=5, W=6, *, seed=0):
    """Maps of a student and of a teacher, in float64."""
    f = torch.randn(2, B, C, H, W, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return f[0], f[1]


def per_image(B=3):
    """A positive factor for each image."""
    return torch.logspace(-2, 2, B, dtype=torch.double).reshape(-1, 1, 1, 1)


def hint_loss_is_the_mean_squared_difference(losses):
    for f_s, f_t in (maps(), [f[:, :, 0, 0] for f in maps()]):
        a, b = f_s.numpy().ravel(), f_t.numpy().ravel()
        close(losses.hint_loss(f_s, f_t), sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / a.size, 1e-9)
        close(losses.hint_loss(f_s, f_t, relative=True), ((a - b) ** 2).sum() / (b**2).sum(), 1e-9)


def relative_hint_has_no_unit_and_is_one_for_a_student_of_zeros(losses):
    f_s, f_t = maps()
    expected = losses.hint_loss(f_s, f_t, relative=True)
    for factor in (1e-3, -2.0, 1e3):
        close(losses.hint_loss(factor * f_s, factor * f_t, relative=True), expected, 1e-9)
        close(losses.hint_loss(0 * f_s, factor * f_t, relative=True), ONE, 1e-9)
    assert losses.hint_loss(f_s, 0 * f_t, relative=True).isfinite()


def cosine_loss_is_one_minus_the_cosine_of_each_image(losses):
    for f_s, f_t in (maps(), [f[:, :, 0, 0] for f in maps()]):
        rows = zip(f_s.flatten(1).numpy(), f_t.flatten(1).numpy(), strict=True)
        close(losses.cosine_loss(f_s, f_t), np.mean([1 - a @ b / math.sqrt((a @ a) * (b @ b)) for a, b in rows]), 1e-9)


def length_of_a_feature_does_not_matter_to_its_cosine(losses):
    f_s, f_t = maps()
    close(losses.cosine_loss(per_image() * f_s, f_t), losses.cosine_loss(f_s, f_t), 1e-9)
    close(losses.cosine_loss(f_s, per_image() * f_t), losses.cosine_loss(f_s, f_t), 1e-9)
    close(losses.cosine_loss(per_image() * f_s, f_s), ZERO, 1e-9)


def orthogonal_features_cost_one_and_opposite_ones_two(losses):
    f_s, f_t = maps()
    dot, squared = (f_s * f_t).sum(dim=(1, 2, 3), keepdim=True), f_s.square().sum(dim=(1, 2, 3), keepdim=True)
    close(losses.cosine_loss(f_s, f_t - dot / squared * f_s), ONE, 1e-9)
    close(losses.cosine_loss(f_s, -3 * f_s), 2 * ONE, 1e-9)
    assert gradient(lambda f: losses.cosine_loss(f, f_t), torch.zeros_like(f_s)).abs().max() == 0


def attention_loss_is_the_definition_position_by_position(losses):
    f_s, f_t = maps(C=4)[0].numpy(), maps(C=7, seed=1)[1].numpy()
    B, _, H, W = f_s.shape
    total = 0.0
    for i in range(B):
        q_s, q_t = ([np.mean([channel[h, w] ** 2 for channel in f[i]]) for h in range(H) for w in range(W)]
                    for f in (f_s, f_t))
        total += ((q_s / np.linalg.norm(q_s) - q_t / np.linalg.norm(q_t)) ** 2).sum()
    close(losses.attention_loss(torch.as_tensor(f_s), torch.as_tensor(f_t)), total / (B * H * W), 1e-9)


def attention_does_not_see_channels_signs_or_the_scale_of_an_image(losses):
    f_s, f_t = maps()
    sign = torch.where(torch.arange(4) % 2 == 0, 1.0, -1.0)[:, None, None]
    for change in (lambda f: f[:, [2, 0, 3, 1]], lambda f: sign * f, lambda f: per_image() * f,
                   lambda f: f.repeat(1, 3, 1, 1)):
        close(losses.attention_loss(change(f_s), f_t), losses.attention_loss(f_s, f_t), 1e-9)
        close(losses.attention_loss(f_s, change(f_t)), losses.attention_loss(f_s, f_t), 1e-9)
        close(losses.attention_loss(change(f_s), f_s), ZERO, 1e-9)
    assert losses.attention_loss(f_s.flip(3), f_s) > 0.001


def maps_without_two_positions_have_no_attention(losses):
    one_position, flat = ((3, 4, 1, 1), (3, 4, 1, 1)), ((3, 4), (3, 4))
    for shape_s, shape_t in (one_position, flat, ((3, 4, 2), (3, 4, 2)), ((3, 4, 2, 2), (3, 4, 2, 3))):
        with pytest.raises(ValueError) as error:
            losses.attention_loss(torch.zeros(shape_s), torch.zeros(shape_t))
        assert str(shape_s) in str(error.value) and str(shape_t) in str(error.value)


def masked_generation_is_the_sum_of_squares_for_each_image(losses):
    f_s, f_t = maps()
    mask, weight = torch.tensor([1.0, 0.0, 1.0, 0.0])[None, :, None, None], torch.randn(4, 4, dtype=torch.double)
    a, b, w = f_s.numpy(), f_t.numpy(), weight.numpy()
    total = sum(
        (w[c, 0] * a[i, 0, h, v] + w[c, 2] * a[i, 2, h, v] - b[i, c, h, v]) ** 2
        for i in range(3) for c in range(4) for h in range(5) for v in range(6)
    )
    found = losses.masked_generation_loss(
        f_s, f_t, mask=mask, generate=lambda f: torch.einsum("kc,bchw->bkhw", weight, f))
    close(found, total / 3, 1e-9)


def nothing_hidden_and_nothing_generated_is_the_squared_distance(losses):
    f_s, f_t = maps()
    found = losses.masked_generation_loss(f_s, f_t, mask=torch.ones(3, 4, 1, 1), generate=lambda f: f)
    close(found, (f_s - f_t).square().sum() / 3, 1e-9)
    close(found, losses.hint_loss(f_s, f_t) * 4 * 5 * 6, 1e-9)


def student_that_is_all_hidden_is_not_asked(losses):
    f_s, f_t = maps()
    def loss(f):
        return losses.masked_generation_loss(f, f_t, mask=torch.zeros(3, 1, 5, 6), generate=lambda g: g + 1)
    close(loss(f_s), (1 - f_t).square().sum() / 3, 1e-9)
    assert gradient(loss, f_s).abs().max() == 0


def map_of_twice_the_size_costs_twice_as_much(losses):
    f_s, f_t = maps()
    def loss(a, b):
        return losses.masked_generation_loss(a, b, mask=torch.ones(1), generate=lambda f: f)
    close(loss(f_s.repeat(1, 1, 2, 1), f_t.repeat(1, 1, 2, 1)), 2 * loss(f_s, f_t), 1e-9)


def generated_map_of_another_shape_is_refused(losses):
    f_s, f_t = maps()
    for generate in (lambda f: f[:, :1], lambda f: f[:1], lambda f: f[..., :1]):
        with pytest.raises(ValueError) as error:
            losses.masked_generation_loss(f_s, f_t, mask=torch.ones(1), generate=generate)
        assert str(tuple(generate(f_s).shape)) in str(error.value) and "(3, 4, 5, 6)" in str(error.value)


def negative_mean_is_that_of_the_truncated_normal(losses):
    mean, std = torch.meshgrid(torch.linspace(-20, 8, 15), torch.tensor([0.5, 1.0, 3.0]), indexing="ij")
    mean, std = mean.double().flatten(), std.double().flatten()
    expected = truncnorm.mean(-np.inf, -(mean / std).numpy(), loc=mean.numpy(), scale=std.numpy())
    close(losses.negative_mean(mean, std), expected, 1e-8)
    x = torch.randn(400_000, generator=torch.Generator().manual_seed(0)) * 2 + 1
    close(losses.negative_mean(torch.tensor(1.0), torch.tensor(2.0)), x[x < 0].mean(), 0.02)


def negative_mean_is_negative_and_finite_however_far_the_mean_is(losses):
    mean = torch.tensor([-1e6, -1e3, -40.0, 0.0, 40.0, 1e3, 1e6])
    for std in (0.0, 1e-8, 1.0, 100.0):
        for dtype in (torch.float32, torch.float64):
            found = losses.negative_mean(mean.to(dtype), torch.full((7,), std, dtype=dtype))
            assert found.dtype == dtype and found.isfinite().all() and (found < 0).all()
            close(found[0] / -1e6, torch.ones((), dtype=dtype), 1e-3)  # all of it is negative: its mean
            assert found[-1] / 1e6 > -1e-6  # hardly any of it is: near 0
    half = losses.negative_mean(mean[1:-1].half(), torch.ones(5).half())
    close(half, losses.negative_mean(mean[1:-1], torch.ones(5)), 0)


def margin_loss_is_the_definition_entry_by_entry(losses):
    f_s, f_t = (2 * f for f in maps())
    margin = torch.tensor([-0.1, -0.5, -1.0, -3.0], dtype=torch.double)
    for a, b in ((f_s, f_t), (f_s[:, :, 0, 0], f_t[:, :, 0, 0])):
        total = 0.0
        for i, c, *at in np.ndindex(*a.shape):
            s, t = a[(i, c, *at)].item(), max(b[(i, c, *at)].item(), margin[c].item())
            total += 0 if s <= t <= 0 else (t - s) ** 2
        close(losses.margin_loss(a, b, margin=margin), ONE * total / 3, 1e-9)


def student_below_a_teacher_that_is_not_positive_is_left_alone(losses):
    f_t = -maps()[1].abs()
    margin = torch.full((4,), -10.0, dtype=torch.double)
    for f_s in (f_t - 0.5, f_t - 100, f_t.clone()):
        assert losses.margin_loss(f_s, f_t, margin=margin) == 0
        assert gradient(lambda f: losses.margin_loss(f, f_t, margin=margin), f_s).abs().max() == 0
    close(losses.margin_loss(f_t + 0.5, f_t, margin=margin), ONE * 0.25 * 4 * 5 * 6, 1e-9)


def positive_teacher_is_followed_by_squared_error(losses):
    f_s, f_t = maps()
    f_t = f_t.abs() + 0.01
    found = losses.margin_loss(f_s, f_t, margin=torch.full((4,), -0.5, dtype=torch.double))
    close(found, (f_s - f_t).square().sum() / 3, 1e-9)


def student_above_the_margin_of_a_very_negative_teacher_comes_down_to_the_margin(losses):
    f_s, f_t = maps()
    margin = torch.tensor([-0.5, -1.0, -1.5, -2.0], dtype=torch.double)
    found = losses.margin_loss(f_s.abs(), f_t - 100, margin=margin)
    close(found, (f_s.abs() - margin[:, None, None]).square().sum() / 3, 1e-9)


def margins_that_do_not_fit_the_channels_are_refused(losses):
    f_s, f_t = maps(C=4, H=6, W=6)
    for shape in ((6,), (1,), (), (4, 1), (1, 4, 1, 1)):
        with pytest.raises(ValueError) as error:
            losses.margin_loss(f_s, f_t, margin=torch.zeros(shape))
        assert str(shape) in str(error.value) and "(3, 4, 6, 6)" in str(error.value)


def pyramid_loss_is_the_weighted_mean_over_its_grids(losses):
    for H, W, sizes, used in ((8, 8, (4, 2, 1), (4, 2, 1)), (8, 4, (2, 1), (2, 1)), (4, 4, (4, 2, 1), (2, 1)),
                              (12, 6, (3, 1), (3, 1)), (2, 8, (2, 1), (1,)), (1, 1, (4, 2, 1), ()), (3, 3, (), ())):
        f_s, f_t = maps(H=H, W=W)
        gap = (f_s - f_t).numpy()
        values = [(gap**2).mean()]
        for n in used:
            cells = gap.reshape(3, 4, n, H // n, n, W // n).mean(axis=(3, 5))
            values.append((cells**2).mean())
        expected = np.average(values, weights=[1 / 2**level for level in range(len(values))])
        close(losses.pyramid_loss(f_s, f_t, sizes=sizes), expected, 1e-9)
        if sizes == (4, 2, 1):
            close(losses.pyramid_loss(f_s, f_t), expected, 1e-9)


def difference_that_is_the_same_everywhere_costs_its_square(losses):
    for shape in ((3, 4, 7, 7), (3, 4, 4, 4), (3, 4, 2, 5), (3, 4, 1, 1), (3, 4)):
        f = torch.randn(shape, dtype=torch.double)
        close(losses.pyramid_loss(f + 1.5, f), ONE * 1.5**2, 1e-9)


def pyramid_loss_of_vectors_is_the_hint(losses):
    f_s, f_t = (f[:, :, 0, 0] for f in maps())
    close(losses.pyramid_loss(f_s, f_t), losses.hint_loss(f_s, f_t), 1e-12)
    close(losses.pyramid_loss(f_s[..., None, None], f_t[..., None, None]), losses.hint_loss(f_s, f_t), 1e-12)


IDENTITIES = [
    hint_loss_is_the_mean_squared_difference,
    relative_hint_has_no_unit_and_is_one_for_a_student_of_zeros,
    cosine_loss_is_one_minus_the_cosine_of_each_image,
    length_of_a_feature_does_not_matter_to_its_cosine,
    orthogonal_features_cost_one_and_opposite_ones_two,
    attention_loss_is_the_definition_position_by_position,
    attention_does_not_see_channels_signs_or_the_scale_of_an_image,
    maps_without_two_positions_have_no_attention,
    masked_generation_is_the_sum_of_squares_for_each_image,
    nothing_hidden_and_nothing_generated_is_the_squared_distance,
    student_that_is_all_hidden_is_not_asked,
    map_of_twice_the_size_costs_twice_as_much,
    generated_map_of_another_shape_is_refused,
    negative_mean_is_that_of_the_truncated_normal,
    negative_mean_is_negative_and_finite_however_far_the_mean_is,
    margin_loss_is_the_definition_entry_by_entry,
    student_below_a_teacher_that_is_not_positive_is_left_alone,
    positive_teacher_is_followed_by_squared_error,
    student_above_the_margin_of_a_very_negative_teacher_comes_down_to_the_margin,
    margins_that_do_not_fit_the_channels_are_refused,
    pyramid_loss_is_the_weighted_mean_over_its_grids,
    difference_that_is_the_same_everywhere_costs_its_square,
    pyramid_loss_of_vectors_is_the_hint,
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_losses_of_features(identity):
    identity(features)
