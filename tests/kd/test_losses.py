"""Identities of the losses on logits, each a function of a namespace of losses: `test_loss_mutations` breaks the code
and asks which identity notices."""

import warnings

import pytest
import torch
from scipy.special import rel_entr, softmax
from scipy.stats import entropy

from kdcourse.losses import logits

TEMPERATURES = (0.5, 1.0, 4.0, 20.0)
BROADCASTABLE = [((4, 3), (1, 3)), ((4, 3), (4, 1)), ((4, 3), (3, 4)), ((4, 3), (3,))]


def draw(B=6, K=5, *, scale=3.0, seed=0):
    """Logits of a student and of a teacher, in float64."""
    z = scale * torch.randn(2, B, K, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return z[0], z[1]


def gradient(loss, z_s):
    z_s = z_s.clone().requires_grad_()
    return torch.autograd.grad(loss(z_s), z_s)[0]


def close(found, expected, tolerance):
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=tolerance, atol=tolerance)


def gradient_is_T_times_probability_gap(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        found = gradient(lambda z: losses.kd_loss(z, z_t, T=T), z_s)  # noqa: B023, used at once
        close(found, T * ((z_s / T).softmax(dim=1) - (z_t / T).softmax(dim=1)) / len(z_s), 1e-9)


def gradient_is_that_of_the_cross_entropy_form(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        p_t = torch.as_tensor(softmax(z_t.numpy() / T, axis=1))
        cross_entropy = gradient(lambda z: -(T**2) * (p_t * (z / T).log_softmax(1)).sum(1).mean(), z_s)  # noqa: B023
        close(gradient(lambda z: losses.kd_loss(z, z_t, T=T), z_s), cross_entropy, 1e-9)  # noqa: B023


def cross_entropy_form_is_larger_by_T_squared_times_the_teachers_entropy(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        p_s, p_t = softmax(z_s.numpy() / T, axis=1), softmax(z_t.numpy() / T, axis=1)
        cross_entropy = -(T**2) * (p_t * torch.as_tensor(p_s).log().numpy()).sum(axis=1).mean()
        close(cross_entropy - losses.kd_loss(z_s, z_t, T=T).item(), T**2 * entropy(p_t, axis=1).mean(), 1e-9)


def value_and_gradient_are_zero_where_student_and_teacher_agree(losses):
    z = draw()[0].float()
    for T in TEMPERATURES:
        assert losses.soft_kl(z, z, T=T).abs().max() == 0
        assert losses.kd_loss(z, z, T=T) == 0
        close(gradient(lambda z_s: losses.kd_loss(z_s, z, T=T), z), torch.zeros_like(z), 1e-6)  # noqa: B023
    assert losses.logit_matching_loss(z, z) == 0
    assert gradient(lambda z_s: losses.logit_matching_loss(z_s, z), z).abs().max() == 0


def value_is_never_negative(losses):
    for seed in range(20):
        z_s, z_t = draw(seed=seed)
        assert all((losses.soft_kl(z_s, z_t, T=T) > 0).all() for T in TEMPERATURES)
        assert losses.logit_matching_loss(z_s, z_t) > 0


def constant_added_to_a_row_changes_nothing(losses):
    z_s, z_t = draw()
    shift = torch.arange(-3.0, 3.0, dtype=torch.double)[:, None]
    for a, b in ((z_s + shift, z_t), (z_s, z_t + shift)):
        close(losses.soft_kl(a, b, T=4.0), losses.soft_kl(z_s, z_t, T=4.0), 1e-9)
        close(losses.kd_loss(a, b, T=4.0), losses.kd_loss(z_s, z_t, T=4.0), 1e-9)
        close(losses.logit_matching_loss(a, b), losses.logit_matching_loss(z_s, z_t), 1e-9)


def soft_kl_is_the_definition_for_each_image(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        p_s, p_t = softmax(z_s.numpy() / T, axis=1), softmax(z_t.numpy() / T, axis=1)
        found = losses.soft_kl(z_s, z_t, T=T)
        assert found.shape == (6,)
        close(found, rel_entr(p_t, p_s).sum(axis=1), 1e-9)
        close(found, entropy(p_t, p_s, axis=1), 1e-9)
    close(losses.soft_kl(z_s, z_t), losses.soft_kl(z_s, z_t, T=1.0), 0)


def kd_loss_is_T_squared_times_the_mean_over_the_batch(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        p_s, p_t = softmax(z_s.numpy() / T, axis=1), softmax(z_t.numpy() / T, axis=1)
        close(losses.kd_loss(z_s, z_t, T=T), T**2 * entropy(p_t, p_s, axis=1).mean(), 1e-9)


def logit_matching_is_half_the_mean_squared_distance_of_centred_logits(losses):
    z_s, z_t = (z.numpy() for z in draw())
    centred = (z_s - z_s.mean(axis=1, keepdims=True)) - (z_t - z_t.mean(axis=1, keepdims=True))
    expected = sum((row**2).sum() for row in centred) / len(centred) / (2 * centred.shape[1])
    close(losses.logit_matching_loss(*draw()), expected, 1e-9)


def kd_loss_tends_to_logit_matching(losses):
    z_s, z_t = draw(B=64, K=10)
    limit = losses.logit_matching_loss(z_s, z_t)
    close(losses.kd_loss(z_s.float(), z_t.float(), T=100.0) / limit.float(), 1.0, 0.03)
    close(losses.kd_loss(z_s, z_t, T=1e4) / limit, torch.ones((), dtype=torch.double), 3e-4)


def logits_in_the_hundreds_stay_finite(losses):
    z_s = torch.tensor([[200.0, -200.0, 0.0], [200.0, 0.0, -200.0]])
    z_t = torch.tensor([[-200.0, 200.0, 0.0], [200.0, 0.0, -200.0]])
    for T in (0.05, 1.0, 4.0):
        assert losses.soft_kl(z_s, z_t, T=T).isfinite().all()
        assert losses.kd_loss(z_s, z_t, T=T).isfinite()
        found = gradient(lambda z: losses.kd_loss(z, z_t, T=T), z_s)  # noqa: B023
        expected = T * ((z_s / T).softmax(dim=1) - (z_t / T).softmax(dim=1)) / 2
        close(found, expected, 1e-5)


def half_precision_is_computed_in_single(losses):
    for dtype in (torch.float16, torch.bfloat16):
        z_s, z_t = (z.to(dtype) for z in draw(B=32, K=10, scale=5.0))
        for loss in (lambda a, b: losses.soft_kl(a, b, T=1.0), lambda a, b: losses.kd_loss(a, b, T=4.0),
                     losses.logit_matching_loss):
            found = loss(z_s, z_t)
            assert found.dtype == torch.float32
            close(found.double(), loss(z_s.double(), z_t.double()), 1e-5)


def double_precision_is_kept(losses):
    z_s, z_t = draw()
    found = losses.soft_kl(z_s, z_t), losses.kd_loss(z_s, z_t, T=1.0), losses.logit_matching_loss(z_s, z_t)
    assert [value.dtype for value in found] == [torch.double] * 3
    close(found[0], entropy(softmax(z_t.numpy(), axis=1), softmax(z_s.numpy(), axis=1), axis=1), 1e-13)


def batch_is_the_mean_of_its_images(losses):
    z_s, z_t = draw()
    for loss in (lambda a, b: losses.kd_loss(a, b, T=4.0), losses.logit_matching_loss):
        alone = [loss(z_s[i : i + 1], z_t[i : i + 1]) for i in range(len(z_s))]
        assert alone[0].shape == ()
        close(loss(z_s, z_t), torch.stack(alone).mean(), 1e-9)


def other_shapes_are_refused_and_both_are_named(losses):
    for shape_s, shape_t in BROADCASTABLE:
        for loss in (lambda a, b: losses.soft_kl(a, b), lambda a, b: losses.kd_loss(a, b, T=4.0),
                     losses.logit_matching_loss):
            with pytest.raises(ValueError) as error:
                loss(torch.zeros(shape_s), torch.zeros(shape_t))
            assert str(shape_s) in str(error.value) and str(shape_t) in str(error.value)


def what_is_no_batch_of_logits_is_refused(losses):
    for shape, hint in (((4, 1), "softmax of one class is always 1"), ((4,), r"\(images, classes\)"),
                        ((4, 3, 2), r"\(images, classes\)")):
        z = torch.zeros(shape)
        for loss in (lambda a, b: losses.kd_loss(a, b, T=4.0), losses.logit_matching_loss):
            with pytest.raises(ValueError, match=hint):
                loss(z, z)


def temperatures_that_are_not_positive_are_refused(losses):
    z_s, z_t = draw()
    for T in (0, 0.0, -4.0, float("nan")):
        for loss in (losses.soft_kl, losses.kd_loss):
            with pytest.raises(ValueError, match=f"T is {T}"):
                loss(z_s, z_t, T=T)


def temperature_may_be_a_batched_tensor(losses):
    z_s, z_t = draw()
    temperatures = torch.tensor(TEMPERATURES, dtype=torch.double)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = torch.func.vmap(lambda T: losses.kd_loss(z_s, z_t, T=T))(temperatures)
        slope = torch.func.vmap(torch.func.grad(lambda z, T: losses.kd_loss(z, z_t, T=T)), (None, 0))(z_s, temperatures)
    assert not caught, [str(warning.message) for warning in caught]
    close(found, torch.stack([losses.kd_loss(z_s, z_t, T=T) for T in TEMPERATURES]), 1e-9)
    for row, T in zip(slope, TEMPERATURES, strict=True):
        close(row, gradient(lambda z: losses.kd_loss(z, z_t, T=T), z_s), 1e-9)  # noqa: B023


IDENTITIES = [
    gradient_is_T_times_probability_gap,
    gradient_is_that_of_the_cross_entropy_form,
    cross_entropy_form_is_larger_by_T_squared_times_the_teachers_entropy,
    value_and_gradient_are_zero_where_student_and_teacher_agree,
    value_is_never_negative,
    constant_added_to_a_row_changes_nothing,
    soft_kl_is_the_definition_for_each_image,
    kd_loss_is_T_squared_times_the_mean_over_the_batch,
    logit_matching_is_half_the_mean_squared_distance_of_centred_logits,
    kd_loss_tends_to_logit_matching,
    logits_in_the_hundreds_stay_finite,
    half_precision_is_computed_in_single,
    double_precision_is_kept,
    batch_is_the_mean_of_its_images,
    other_shapes_are_refused_and_both_are_named,
    what_is_no_batch_of_logits_is_refused,
    temperatures_that_are_not_positive_are_refused,
    temperature_may_be_a_batched_tensor,
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_losses(identity):
    identity(logits)


def test_gradient_reaches_the_teacher_unless_somebody_detaches_it():
    z_s, z_t = draw()
    for loss in (lambda a, b: logits.kd_loss(a, b, T=4.0), logits.logit_matching_loss):
        assert gradient(lambda z: loss(z_s, z), z_t).abs().max() > 0.01  # noqa: B023
