"""Identities of DIST's two correlations, each a function of a namespace of losses."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import softmax
from test_losses import TEMPERATURES, close, draw, gradient

from kdcourse.losses import correlations

ZERO = torch.zeros((), dtype=torch.double)


def both(losses):
    return losses.inter_class_loss, losses.intra_class_loss


def confident(seed, *, B=32, K=1000, margin=15.0):
    """Logits of a network that is sure of another class on each image, as ImageNet's are: everything else is noise."""
    z = torch.randn(B, K, generator=torch.Generator().manual_seed(seed))
    z[torch.arange(B), torch.arange(B) * 31 % K] += margin
    return z


def of_columns_in_pairs(B=6):
    """Probabilities of four classes, of which the first two sum to 0.4 on every image and the last two to 0.6."""
    share = torch.rand(B, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    return torch.stack([0.4 * share[:, 0], 0.4 - 0.4 * share[:, 0], 0.6 * share[:, 1], 0.6 - 0.6 * share[:, 1]], dim=1)


def released_intra_class_loss(z_s, z_t):
    """The formula of the released code: 1e-8 is added to the product of the two lengths."""
    a, b = (z.softmax(dim=1) - z.softmax(dim=1).mean(dim=0) for z in (z_s, z_t))
    return 1 - ((a * b).sum(dim=0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-8)).mean()


def columns_with_a_gradient(loss, z_s, z_t):
    """Which columns of student logits are pulled, on the scale of one column among K, with more than a hundredth."""
    return len(z_s.T) * gradient(lambda z: loss(z, z_t), z_s).norm(dim=0) > 0.01


def inter_class_loss_is_one_minus_the_correlation_of_rows(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        rows = zip(softmax(z_s.numpy() / T, axis=1), softmax(z_t.numpy() / T, axis=1), strict=True)
        expected = np.mean([1 - np.corrcoef(p_s, p_t)[0, 1] for p_s, p_t in rows])
        close(losses.inter_class_loss(z_s, z_t, T=T), expected, 1e-9)
    close(losses.inter_class_loss(z_s, z_t), losses.inter_class_loss(z_s, z_t, T=1.0), 0)


def intra_class_loss_is_one_minus_the_correlation_of_columns(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        columns = zip(softmax(z_s.numpy() / T, axis=1).T, softmax(z_t.numpy() / T, axis=1).T, strict=True)
        expected = np.mean([1 - np.corrcoef(p_s, p_t)[0, 1] for p_s, p_t in columns])
        close(losses.intra_class_loss(z_s, z_t, T=T), expected, 1e-9)
    close(losses.intra_class_loss(z_s, z_t), losses.intra_class_loss(z_s, z_t, T=1.0), 0)


def dist_loss_is_the_weighted_sum_of_its_parts(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        inter, intra = losses.inter_class_loss(z_s, z_t, T=T), losses.intra_class_loss(z_s, z_t, T=T)
        for beta, gamma in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
            close(losses.dist_loss(z_s, z_t, T=T, beta=beta, gamma=gamma), beta * inter + gamma * intra, 1e-12)


def factor_T_squared_is_off_until_asked_for(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        plain = losses.dist_loss(z_s, z_t, T=T, beta=2.0, gamma=1.0)
        close(losses.dist_loss(z_s, z_t, T=T, beta=2.0, gamma=1.0, times_T_squared=False), plain, 0)
        close(losses.dist_loss(z_s, z_t, T=T, beta=2.0, gamma=1.0, times_T_squared=True), T**2 * plain, 1e-12)


def rows_may_be_scaled_and_moved_each_by_its_own(losses):
    z_s, z_t = draw()
    for T in (1.0, 4.0):
        p, a = (z_t / T).softmax(dim=1), torch.linspace(0.1, 0.9, 6, dtype=torch.double)[:, None]
        mixed = T * (a * p + (1 - a) / 5).log()
        close((mixed / T).softmax(dim=1).sum(dim=1), torch.ones(6, dtype=torch.double), 1e-12)
        close(losses.inter_class_loss(z_s, mixed, T=T), losses.inter_class_loss(z_s, z_t, T=T), 1e-9)
        close(losses.inter_class_loss(mixed, z_t, T=T), ZERO, 1e-9)
        assert losses.intra_class_loss(mixed, z_t, T=T) > 0.01


def columns_may_be_scaled_and_moved_each_by_its_own(losses):
    p, (z_s, _) = of_columns_in_pairs(), draw(K=4)
    q = p * torch.tensor([0.5, 0.5, 0.9, 0.9]) + torch.tensor([0.05, 0.03, 0.06, 0.12], dtype=torch.double)
    close(q.sum(dim=1), torch.ones(6, dtype=torch.double), 1e-7)
    close(losses.intra_class_loss(z_s, q.log()), losses.intra_class_loss(z_s, p.log()), 1e-7)
    close(losses.intra_class_loss(q.log(), p.log()), ZERO, 1e-7)
    assert losses.inter_class_loss(q.log(), p.log()) > 0.001


def teacher_upside_down_costs_two(losses):
    p = draw(scale=0.2)[0].softmax(dim=1)
    opposite = 2 / 5 - p  # rows that sum to 1 again, and rise where p falls
    assert (opposite > 0).all()
    for loss in both(losses):
        close(loss(opposite.log(), p.log()), ZERO + 2, 1e-9)


def value_is_between_zero_and_two(losses):
    for seed in range(20):
        z_s, z_t = draw(seed=seed)
        for T in TEMPERATURES:
            assert all(0 < loss(z_s, z_t, T=T) < 2 for loss in both(losses))


def confident_teacher_costs_nothing_against_itself(losses):
    z = confident(0)
    assert released_intra_class_loss(z, z) > 0.5  # with an epsilon beside the product of the lengths
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for loss in both(losses):
            assert loss(z.to(dtype), z.to(dtype)).abs() < 1e-6
        assert losses.dist_loss(z.to(dtype), z.to(dtype), T=1.0, beta=0.5, gamma=0.5).abs() < 1e-6


def confident_teacher_pulls_at_every_column(losses):
    z_s, z_t = confident(1), confident(2)
    dead = ~columns_with_a_gradient(released_intra_class_loss, z_s, z_t)
    alive = columns_with_a_gradient(losses.intra_class_loss, z_s, z_t)
    assert dead.sum() > 900 and alive.all()
    labelled = torch.arange(32) * 31 % 1000
    assert alive[labelled].all()
    exact = gradient(lambda z: losses.intra_class_loss(z, z_t.double()), z_s.double())
    close(gradient(lambda z: losses.intra_class_loss(z, z_t), z_s).double(), exact, 1e-5 * exact.abs().max())


def gradient_stays_that_of_the_definition_however_sure_both_are(losses):
    z_s, z_t = (confident(seed, B=8, K=5, margin=120.0) for seed in (1, 2))
    for loss in both(losses):
        found = gradient(lambda z: loss(z, z_t), z_s)  # noqa: B023, used at once
        assert loss(z_s, z_t).isfinite() and found.isfinite().all()
        close(found.double(), gradient(lambda z: loss(z, z_t.double()), z_s.double()), 1e-6)  # noqa: B023


def batch_of_one_has_rows_and_no_columns(losses):
    z_s, z_t = draw(B=1)
    p_s, p_t = softmax(z_s.numpy(), axis=1)[0], softmax(z_t.numpy(), axis=1)[0]
    close(losses.inter_class_loss(z_s, z_t), 1 - np.corrcoef(p_s, p_t)[0, 1], 1e-9)
    assert losses.intra_class_loss(z_s, z_t) == 1
    assert gradient(lambda z: losses.intra_class_loss(z, z_t), z_s).abs().max() == 0


def rows_and_columns_without_variation_cost_one_and_pull_at_nothing(losses):
    _, z_t = (z.float() for z in draw())
    for constant in (torch.zeros(6, 5), torch.full((6, 5), 7.3), torch.full((6, 5), 1e4)):
        for loss in both(losses):
            close(loss(constant, z_t), torch.tensor(1.0), 1e-6)
            close(loss(z_t, constant), torch.tensor(1.0), 1e-6)
            assert gradient(lambda z: loss(z, z_t), constant).abs().max() == 0  # noqa: B023, used at once
    same_rows = z_t[:1] + torch.arange(6.0)[:, None] / 10  # and with that the same probabilities, but for rounding
    close(losses.intra_class_loss(same_rows, z_t), torch.tensor(1.0), 1e-6)
    assert gradient(lambda z: losses.intra_class_loss(z, z_t), same_rows).abs().max() == 0


def constant_added_to_a_row_of_logits_is_not_seen(losses):
    z_s, z_t = draw()
    shift = torch.arange(-3.0, 3.0, dtype=torch.double)[:, None]
    for loss in both(losses):
        close(loss(z_s + shift, z_t), loss(z_s, z_t), 1e-9)
        close(loss(z_s, z_t + shift), loss(z_s, z_t), 1e-9)


def student_and_teacher_may_change_places(losses):
    z_s, z_t = draw()
    for loss in both(losses):
        close(loss(z_s, z_t, T=2.0), loss(z_t, z_s, T=2.0), 1e-12)


def two_classes_are_refused_and_the_reason_is_given(losses):
    z_s, z_t = draw(K=2)
    for loss in (*both(losses), lambda a, b: losses.dist_loss(a, b, T=1.0, beta=1.0, gamma=1.0)):
        with pytest.raises(ValueError, match=r"\(6, 2\) have two classes: .* correlate with \+1 or -1"):
            loss(z_s, z_t)


def temperatures_of_dist_must_be_positive_and_may_be_batched(losses):
    z_s, z_t = draw()
    for loss in (*both(losses), lambda a, b, T: losses.dist_loss(a, b, T=T, beta=1.0, gamma=1.0, times_T_squared=True)):
        for T in (0, -4.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"T is {T}"):
                loss(z_s, z_t, T=T)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = torch.func.vmap(lambda T: loss(z_s, z_t, T=T))(torch.tensor(TEMPERATURES))  # noqa: B023
        assert not caught, [str(warning.message) for warning in caught]
        close(found, torch.stack([loss(z_s, z_t, T=T) for T in TEMPERATURES]), 1e-9)


IDENTITIES = [
    inter_class_loss_is_one_minus_the_correlation_of_rows,
    intra_class_loss_is_one_minus_the_correlation_of_columns,
    dist_loss_is_the_weighted_sum_of_its_parts,
    factor_T_squared_is_off_until_asked_for,
    rows_may_be_scaled_and_moved_each_by_its_own,
    columns_may_be_scaled_and_moved_each_by_its_own,
    teacher_upside_down_costs_two,
    value_is_between_zero_and_two,
    confident_teacher_costs_nothing_against_itself,
    confident_teacher_pulls_at_every_column,
    gradient_stays_that_of_the_definition_however_sure_both_are,
    batch_of_one_has_rows_and_no_columns,
    rows_and_columns_without_variation_cost_one_and_pull_at_nothing,
    constant_added_to_a_row_of_logits_is_not_seen,
    student_and_teacher_may_change_places,
    two_classes_are_refused_and_the_reason_is_given,
    temperatures_of_dist_must_be_positive_and_may_be_batched,
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_losses_of_correlation(identity):
    identity(correlations)
