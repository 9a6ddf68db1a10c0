"""Identities of decoupled KD (DKD), asymmetric temperatures (ATS), the weights of IPWD, and of LSKD, NKD, TTM and WTTM,
each a function of a namespace of losses."""

import warnings

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, rel_entr, softmax
from test_losses import BROADCASTABLE, TEMPERATURES, close, draw, gradient

from kdcourse.losses import correlations, logits

Y = torch.tensor([0, 4, 2, 2, 1, 3])
ROWS = torch.arange(6)
BAD_LABELS = [torch.zeros(5, dtype=torch.long), torch.zeros(6, 1, dtype=torch.long), torch.zeros(6)]
ONE = torch.ones((), dtype=torch.double)


def apart(z, y):
    """Each row of logits as numpy, in two: the label's, and the rest."""
    return [(row[label], np.delete(row, label)) for row, label in zip(z.numpy(), y.numpy(), strict=True)]


def at_the_label(z, y, *, add):
    return z.scatter_add(1, y[:, None], torch.full_like(z, add))


def with_labels(losses):
    """Every loss that asks for labels, as a function of logits and labels."""
    return [
        lambda z_s, z_t, y: losses.target_kl(z_s, z_t, y, T=2.0),
        lambda z_s, z_t, y: losses.non_target_kl(z_s, z_t, y, T=2.0),
        lambda z_s, z_t, y: losses.dkd_loss(z_s, z_t, y, T=2.0, alpha=1.0, beta=2.0),
        lambda z_s, z_t, y: losses.ats_loss(z_s, z_t, y, T_target=4.0, T_rest=2.0, T_student=1.0),
        lambda z_s, z_t, y: losses.ipwd_weights(z_s, z_t, y),
        lambda z_s, z_t, y: losses.nkd_loss(z_s, z_t, y, T=2.0, gamma=1.5),
    ]


def target_kl_is_the_definition_for_each_image(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        p_s, p_t = (softmax(z.numpy() / T, axis=1)[ROWS, Y] for z in (z_s, z_t))
        found = losses.target_kl(z_s, z_t, Y, T=T)
        assert found.shape == (6,)
        close(found, rel_entr(p_t, p_s) + rel_entr(1 - p_t, 1 - p_s), 1e-9)


def non_target_kl_is_the_definition_for_each_image(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        expected = [rel_entr(softmax(rest_t / T), softmax(rest_s / T)).sum()
                    for (_, rest_s), (_, rest_t) in zip(apart(z_s, Y), apart(z_t, Y), strict=True)]
        close(losses.non_target_kl(z_s, z_t, Y, T=T), np.array(expected), 1e-9)


def soft_kl_is_target_kl_plus_what_is_left_times_non_target_kl(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        left = 1 - (z_t / T).softmax(dim=1)[ROWS, Y]
        parts = losses.target_kl(z_s, z_t, Y, T=T) + left * losses.non_target_kl(z_s, z_t, Y, T=T)
        close(parts, losses.soft_kl(z_s, z_t, T=T), 1e-9)


def dkd_with_what_the_teacher_leaves_is_kd_in_value_and_gradient(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        left = 1 - (z_t / T).softmax(dim=1)[ROWS, Y]
        def loss(z):
            return losses.dkd_loss(z, z_t, Y, T=T, alpha=1.0, beta=left)  # noqa: B023, used at once
        close(loss(z_s), losses.kd_loss(z_s, z_t, T=T), 1e-9)
        close(gradient(loss, z_s), T * ((z_s / T).softmax(dim=1) - (z_t / T).softmax(dim=1)) / len(z_s), 1e-9)


def dkd_loss_is_T_squared_times_the_weighted_mean_of_its_parts(losses):
    z_s, z_t = draw()
    per_image = torch.arange(1.0, 7.0, dtype=torch.double)
    for alpha, beta in ((1.0, 8.0), (0.0, 1.0), (2.0, 0.0), (per_image, 3.0), (0.5, per_image)):
        for T in TEMPERATURES:
            parts = losses.target_kl(z_s, z_t, Y, T=T), losses.non_target_kl(z_s, z_t, Y, T=T)
            expected = T**2 * (alpha * parts[0] + beta * parts[1]).sum() / len(Y)
            close(losses.dkd_loss(z_s, z_t, Y, T=T, alpha=alpha, beta=beta), expected, 1e-9)


def logit_of_the_label_plays_no_part_in_non_target_kl(losses):
    z_s, z_t = draw()
    expected = losses.non_target_kl(z_s, z_t, Y, T=2.0)
    close(losses.non_target_kl(at_the_label(z_s, Y, add=7.0), z_t, Y, T=2.0), expected, 1e-9)
    close(losses.non_target_kl(z_s, at_the_label(z_t, Y, add=-7.0), Y, T=2.0), expected, 1e-9)


def target_kl_depends_on_the_rest_only_through_its_sum(losses):
    z_s, z_t = draw()
    y = torch.zeros(6, dtype=torch.long)
    order = torch.tensor([0, 4, 3, 1, 2])  # the label stays, the others change places
    expected = losses.target_kl(z_s, z_t, y, T=2.0)
    for a, b in ((z_s[:, order], z_t), (z_s, z_t[:, order]), (z_s[:, order], z_t[:, order])):
        close(losses.target_kl(a, b, y, T=2.0), expected, 1e-9)


def two_classes_have_a_target_part_and_nothing_else(losses):
    z_s, z_t = draw(K=2)
    y = Y % 2
    close(losses.target_kl(z_s, z_t, y, T=2.0), losses.soft_kl(z_s, z_t, T=2.0), 1e-9)
    for refused in (lambda: losses.non_target_kl(z_s, z_t, y, T=2.0),
                    lambda: losses.dkd_loss(z_s, z_t, y, T=2.0, alpha=1.0, beta=8.0)):
        with pytest.raises(ValueError, match=r"two classes.*classes that are not the label, and there is only one"):
            refused()


def dkd_with_margins_of_two_hundred_is_finite_and_right(losses):
    z_s = torch.tensor([[200.0, 0.0, -1.0, 1.0], [0.0, 200.0, 3.0, 1.0], [-200.0, 2.0, 0.0, 1.0]])
    z_t = torch.tensor([[200.0, 1.0, 3.0, 0.0], [200.0, 0.0, -2.0, 1.0], [0.0, 200.0, 3.0, -1.0]])
    y = torch.tensor([0, 0, 0])
    for dtype in (torch.float32, torch.float16):
        target, rest = [], []
        for (label_s, rest_s), (label_t, rest_t) in zip(apart(z_s, y), apart(z_t, y), strict=True):
            log_s, log_t = (log_softmax([label, logsumexp(other)])
                            for label, other in ((label_s, rest_s), (label_t, rest_t)))
            target.append((np.exp(log_t) * (log_t - log_s)).sum())
            rest.append((softmax(rest_t) * (log_softmax(rest_t) - log_softmax(rest_s))).sum())
        close(losses.target_kl(z_s.to(dtype), z_t.to(dtype), y, T=1.0).numpy(), np.float32(target), 1e-5)
        close(losses.non_target_kl(z_s.to(dtype), z_t.to(dtype), y, T=1.0).numpy(), np.float32(rest), 1e-5)
        slope = gradient(lambda z: losses.dkd_loss(z, z_t, y, T=1.0, alpha=1.0, beta=8.0), z_s.to(dtype))
        exact = gradient(lambda z: losses.dkd_loss(z, z_t.double(), y, T=1.0, alpha=1.0, beta=8.0), z_s.double())
        assert slope.isfinite().all() and slope.abs().max() > 0.1
        close(slope.double(), exact, 2e-3 if dtype == torch.float16 else 1e-5)


def weights_of_another_shape_are_refused(losses):
    z_s, z_t = draw()
    for bad in (torch.ones(6, 1), torch.ones(1), torch.ones(5), torch.ones(6, 5)):
        for alpha, beta, name in ((bad, 1.0, "alpha"), (1.0, bad, "beta")):
            with pytest.raises(ValueError, match=rf"{name} .*\(6,\), not \({bad.shape[0]},"):
                losses.dkd_loss(z_s, z_t, Y, T=2.0, alpha=alpha, beta=beta)


def ats_is_the_cross_entropy_form_less_the_entropy_of_its_target(losses):
    z_s, z_t = draw()
    for T_target, T_rest, T_student in ((4.0, 2.0, 1.0), (1.0, 3.0, 2.0), (0.5, 0.7, 4.0)):
        values, slopes = [], []
        for row_s, row_t, label in zip(z_s.numpy(), z_t.numpy(), Y.numpy(), strict=True):
            scaled = [(z - row_t.mean()) / (T_target if k == label else T_rest) for k, z in enumerate(row_t)]
            q = softmax(scaled)
            values.append(T_student**2 * (q * (np.log(q) - log_softmax(row_s / T_student))).sum())
            slopes.append(T_student * (softmax(row_s / T_student) - q) / len(Y))
        def loss(z):
            return losses.ats_loss(z, z_t, Y, T_target=T_target, T_rest=T_rest, T_student=T_student)  # noqa: B023
        close(loss(z_s), np.mean(values), 1e-9)
        close(gradient(loss, z_s), np.array(slopes), 1e-9)


def ats_with_one_temperature_is_kd_in_value_and_gradient(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        def loss(z):
            return losses.ats_loss(z, z_t, Y, T_target=T, T_rest=T, T_student=T)  # noqa: B023
        close(loss(z_s), losses.kd_loss(z_s, z_t, T=T), 1e-9)
        close(gradient(loss, z_s), T * ((z_s / T).softmax(dim=1) - (z_t / T).softmax(dim=1)) / len(z_s), 1e-9)


def constant_added_to_a_row_changes_nothing_under_two_temperatures(losses):
    z_s, z_t = draw()
    shift = torch.arange(-3.0, 3.0, dtype=torch.double)[:, None]
    for a, b in ((z_s + shift, z_t), (z_s, z_t + shift)):
        found = losses.ats_loss(a, b, Y, T_target=4.0, T_rest=2.0, T_student=1.0)
        close(found, losses.ats_loss(z_s, z_t, Y, T_target=4.0, T_rest=2.0, T_student=1.0), 1e-9)


def hotter_label_spreads_the_wrong_answers(losses):
    z_t = at_the_label(draw(B=64, K=10, scale=2.0)[1], torch.arange(64) % 10, add=8.0)
    y, z_s = torch.arange(64) % 10, torch.zeros_like(z_t)
    wrong = y[:, None] != torch.arange(10)

    def variance_of_the_wrong_answers(T_target, T_rest):
        """The teacher's probabilities, read off the gradient p_s - q_t at T_student = 1."""
        slope = gradient(lambda z: losses.ats_loss(z, z_t, y, T_target=T_target, T_rest=T_rest, T_student=1.0), z_s)
        q_t = 0.1 - len(y) * slope
        return q_t[wrong].reshape(64, 9).var(dim=1)

    assert (variance_of_the_wrong_answers(4.0, 2.0) > variance_of_the_wrong_answers(4.0, 4.0)).all()
    assert (variance_of_the_wrong_answers(4.0, 2.0) > variance_of_the_wrong_answers(2.0, 2.0)).all()


def weights_are_one_where_both_heads_agree(losses):
    z, _ = draw()
    for favour in ("behind", "ahead"):
        close(losses.ipwd_weights(z, z, Y, favour=favour), ONE.expand(6), 1e-12)
        close(losses.ipwd_weights(z.half(), z.half(), Y, favour=favour), torch.ones(6), 1e-6)


def weights_have_mean_one_and_no_gradient(losses):
    for seed in range(5):
        z_kd, z_cls = (z.requires_grad_() for z in draw(seed=seed))
        for favour in ("behind", "ahead"):
            weights = losses.ipwd_weights(z_kd, z_cls, Y, favour=favour)
            assert weights.shape == (6,) and not weights.requires_grad
            close(weights.mean(), ONE, 1e-12)


def image_on_which_the_distilled_head_is_behind_counts_more(losses):
    z_cls = at_the_label(draw(scale=1.0)[0], Y, add=3.0)
    z_kd = z_cls.clone()
    z_kd[2] = at_the_label(z_kd, Y, add=-5.0)[2]
    others = ROWS != 2
    behind, ahead = (losses.ipwd_weights(z_kd, z_cls, Y, favour=favour) for favour in ("behind", "ahead"))
    assert behind[2] > 1.2 * behind[others].max() and ahead[2] < ahead[others].min() / 1.2
    close(losses.ipwd_weights(z_kd, z_cls, Y), behind, 0)
    close(losses.ipwd_weights(z_cls, z_kd, Y), ahead, 1e-9)


def weights_are_one_plus_the_ratio_of_cross_entropies(losses):
    z_kd, z_cls = draw(B=6, K=5)
    for limit in (1.5, 10.0, 1e6):
        expected = []
        for row_kd, row_cls, label in zip(z_kd.numpy(), z_cls.numpy(), Y.numpy(), strict=True):
            h_kd, h_cls = (-log_softmax((row - row.mean()) / row.std())[label] for row in (row_kd, row_cls))
            expected.append(1 + min(max(h_kd / h_cls, 1 / limit), limit))
        close(losses.ipwd_weights(z_kd, z_cls, Y, limit=limit), np.array(expected) / np.mean(expected), 1e-9)


def no_image_counts_more_than_limit_times_another(losses):
    right, wrong = torch.full((6, 50), 0.0), torch.full((6, 50), 0.0)
    right[ROWS, Y], wrong[ROWS, Y + 1] = 50.0, 50.0
    z_kd, z_cls = torch.cat([right, wrong]), torch.cat([wrong, right])
    for limit in (1.0, 2.0, 10.0):
        for favour in ("behind", "ahead"):
            weights = losses.ipwd_weights(z_kd, z_cls, torch.cat([Y, Y]), favour=favour, limit=limit)
            close(weights.max() / weights.min(), torch.tensor(limit), 1e-5)


def scale_and_offset_of_a_row_of_logits_do_not_move_the_weights(losses):
    z_kd, z_cls = draw()
    factor = torch.tensor([0.1, 0.5, 1.0, 2.0, 3.0, 20.0], dtype=torch.double)[:, None]
    expected = losses.ipwd_weights(z_kd, z_cls, Y)
    close(losses.ipwd_weights(factor * z_kd - 3, z_cls, Y), expected, 1e-9)
    close(losses.ipwd_weights(z_kd, factor * z_cls + factor, Y), expected, 1e-9)


def rows_without_variation_have_finite_weights(losses):
    z, _ = draw()
    z[:3] = 4.0
    for a, b in ((z, draw()[1]), (draw()[1], z), (z, z), (0 * z, 0 * z)):
        for each in (torch.double, torch.float32, torch.float16):
            assert losses.ipwd_weights(a.to(each), b.to(each), Y).isfinite().all()


def another_favour_or_a_limit_below_one_is_refused(losses):
    z_kd, z_cls = draw()
    with pytest.raises(ValueError, match="'behind' or 'ahead', not 'both'"):
        losses.ipwd_weights(z_kd, z_cls, Y, favour="both")
    for limit in (0.99, 0.0, -3.0, float("nan")):
        with pytest.raises(ValueError, match=f"at least 1, not {limit}"):
            losses.ipwd_weights(z_kd, z_cls, Y, limit=limit)


def labels_that_do_not_fit_are_refused_and_both_shapes_are_named(losses):
    z_s, z_t = draw()
    for loss in with_labels(losses):
        for y in BAD_LABELS:
            with pytest.raises(ValueError) as error:
                loss(z_s, z_t, y)
            assert "(6, 5)" in str(error.value) and f"of {tuple(y.shape)}" in str(error.value)


def logits_that_would_broadcast_are_refused_with_labels_too(losses):
    for shape_s, shape_t in BROADCASTABLE:
        for loss in with_labels(losses):
            with pytest.raises(ValueError) as error:
                loss(torch.zeros(shape_s), torch.zeros(shape_t), torch.zeros(shape_s[0], dtype=torch.long))
            assert str(shape_s) in str(error.value) and str(shape_t) in str(error.value)


def temperatures_that_are_not_positive_are_refused_with_labels_too(losses):
    z_s, z_t = draw()
    for T in (0, -4.0, float("nan"), float("inf")):
        for loss in (lambda T: losses.target_kl(z_s, z_t, Y, T=T), lambda T: losses.non_target_kl(z_s, z_t, Y, T=T),
                     lambda T: losses.dkd_loss(z_s, z_t, Y, T=T, alpha=1.0, beta=1.0),
                     lambda T: losses.ats_loss(z_s, z_t, Y, T_target=T, T_rest=1.0, T_student=1.0),
                     lambda T: losses.ats_loss(z_s, z_t, Y, T_target=1.0, T_rest=T, T_student=1.0),
                     lambda T: losses.ats_loss(z_s, z_t, Y, T_target=1.0, T_rest=1.0, T_student=T),
                     lambda T: losses.nkd_loss(z_s, z_t, Y, T=T, gamma=1.0), lambda T: losses.lskd_loss(z_s, z_t, T=T),
                     lambda T: losses.ttm_loss(z_s, z_t, T=T), lambda T: losses.wttm_loss(z_s, z_t, T=T)):
            with pytest.raises(ValueError, match=f"T is {T}"):
                loss(T)


def temperatures_with_labels_may_be_batched_tensors(losses):
    z_s, z_t = draw()
    for loss in (lambda T: losses.dkd_loss(z_s, z_t, Y, T=T, alpha=1.0, beta=8.0),
                 lambda T: losses.ats_loss(z_s, z_t, Y, T_target=2 * T, T_rest=T + 1, T_student=T),
                 lambda T: losses.nkd_loss(z_s, z_t, Y, T=T, gamma=1.5), lambda T: losses.lskd_loss(z_s, z_t, T=T),
                 lambda T: losses.ttm_loss(z_s, z_t, T=T), lambda T: losses.wttm_loss(z_s, z_t, T=T)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = torch.func.vmap(loss)(torch.tensor(TEMPERATURES, dtype=torch.double))
        assert not caught, [str(warning.message) for warning in caught]
        close(found, torch.stack([loss(T) for T in TEMPERATURES]), 1e-9)


def means_over_the_batch_are_those_of_its_images(losses):
    z_s, z_t = draw()
    for loss in (lambda a, b, y: losses.dkd_loss(a, b, y, T=3.0, alpha=1.0, beta=8.0),
                 lambda a, b, y: losses.ats_loss(a, b, y, T_target=4.0, T_rest=2.0, T_student=3.0),
                 lambda a, b, y: losses.nkd_loss(a, b, y, T=3.0, gamma=1.5),
                 lambda a, b, y: losses.lskd_loss(a, b, T=3.0), lambda a, b, y: losses.ttm_loss(a, b, T=3.0),
                 lambda a, b, y: losses.wttm_loss(a, b, T=3.0)):
        alone = [loss(z_s[i : i + 1], z_t[i : i + 1], Y[i : i + 1]) for i in range(6)]
        assert alone[0].shape == ()
        close(loss(z_s, z_t, Y), torch.stack(alone).mean(), 1e-9)


def standardised_rows_have_mean_zero_and_a_standard_deviation_of_one(losses):
    z, _ = draw()
    found = losses.standardised(z).numpy()
    close(found.mean(axis=1), np.zeros(6), 1e-9)
    close(found.std(axis=1, ddof=1), np.ones(6), 1e-9)
    mean, spread = z.mean(dim=1, keepdim=True), z.std(dim=1, keepdim=True)
    close(found, (z - mean) / spread, 1e-9)
    sure = torch.tensor([[1000.0, 0.0, 0.0, 0.0, 0.0]])
    close(losses.standardised(sure)[0, 0], torch.tensor(4 / 5**0.5), 1e-6)  # no row has a larger entry


def lskd_is_kd_of_standardised_logits_in_value_and_gradient(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        def by_hand(z):
            a, b = (((each - each.mean(1, True)) / each.std(1, keepdim=True) / T).log_softmax(1)  # noqa: B023
                    for each in (z, z_t))
            return T**2 * (b.exp() * (b - a)).sum() / len(Y)  # noqa: B023
        def loss(z):
            return losses.lskd_loss(z, z_t, T=T)  # noqa: B023
        close(loss(z_s), by_hand(z_s), 1e-9)
        close(gradient(loss, z_s), gradient(by_hand, z_s), 1e-9)


def lskd_does_not_see_how_sure_either_network_is(losses):
    z_s, z_t = draw()
    factor = torch.tensor([0.1, 0.5, 1.0, 2.0, 3.0, 20.0], dtype=torch.double)[:, None]
    expected = losses.lskd_loss(z_s, z_t, T=2.0)
    for a, b in ((factor * z_s - 3, z_t), (z_s, factor * z_t + factor), (factor * z_s, z_t / factor)):
        close(losses.lskd_loss(a, b, T=2.0), expected, 1e-9)


def gradient_of_lskd_neither_shifts_nor_scales_a_row(losses):
    z_s, z_t = draw()
    slope = gradient(lambda z: losses.lskd_loss(z, z_t, T=2.0), z_s)
    assert slope.abs().max() > 1e-3
    close(slope.sum(dim=1), torch.zeros(6, dtype=torch.double), 1e-12)
    close((slope * z_s).sum(dim=1), torch.zeros(6, dtype=torch.double), 1e-12)


def lskd_tends_to_dists_row_term_on_logits(losses):
    z_s, z_t = draw(B=64, K=10)
    rows = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(z_s.numpy(), z_t.numpy(), strict=True)]
    limit = 0.9 * np.mean(rows)
    close(losses.lskd_loss(z_s, z_t, T=1e4), limit, 1e-3)
    assert abs(losses.lskd_loss(z_s, z_t, T=1.0).item() / limit - 1) > 0.02
    # DIST's own term is of probabilities, which are 1/K + z / (KT) at a high temperature
    close(0.9 * correlations.inter_class_loss(losses.standardised(z_s), losses.standardised(z_t), T=1e4), limit, 1e-3)


def two_standardised_classes_are_refused(losses):
    z_s, z_t = draw(K=2)
    with pytest.raises(ValueError, match=r"two classes: two standardised logits are always"):
        losses.lskd_loss(z_s, z_t, T=2.0)


def nkd_is_the_weighted_cross_entropy_and_gamma_times_that_of_the_rest(losses):
    z_s, z_t = draw()
    for T, gamma in ((1.0, 1.5), (4.0, 0.5), (2.0, 0.0)):
        values, entropies = [], []
        for row_s, row_t, label in zip(z_s.numpy(), z_t.numpy(), Y.numpy(), strict=True):
            rest_s, rest_t = (np.delete(row, label) / T for row in (row_s, row_t))
            values.append(-softmax(row_t)[label] * log_softmax(row_s)[label]
                          - gamma * T**2 * (softmax(rest_t) * log_softmax(rest_s)).sum())
            entropies.append(-gamma * T**2 * (softmax(rest_t) * log_softmax(rest_t)).sum())
        close(losses.nkd_loss(z_s, z_t, Y, T=T, gamma=gamma), np.mean(values) - np.mean(entropies), 1e-9)


def non_target_gradient_of_nkd_is_gamma_times_that_of_dkd(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        def nkd(z, gamma):
            return losses.nkd_loss(z, z_t, Y, T=T, gamma=gamma)  # noqa: B023
        of_rest = gradient(lambda z: nkd(z, 1.5), z_s) - gradient(lambda z: nkd(z, 0.0), z_s)
        nckd = gradient(lambda z: losses.dkd_loss(z, z_t, Y, T=T, alpha=0.0, beta=1.0), z_s)  # noqa: B023
        close(of_rest, 1.5 * nckd, 1e-9)


def nkd_of_a_teacher_that_is_sure_of_the_label_is_the_cross_entropy(losses):
    z_s, _ = draw()
    sure = at_the_label(torch.zeros_like(z_s), Y, add=500.0)
    found = losses.nkd_loss(z_s, sure, Y, T=1.0, gamma=0.0)
    close(found, -np.mean([log_softmax(row)[label] for row, label in zip(z_s.numpy(), Y.numpy(), strict=True)]), 1e-9)


def a_label_that_both_rule_out_costs_nkd_nothing(losses):
    z_s, z_t = (at_the_label(z, Y, add=-torch.inf) for z in draw())
    close(losses.nkd_loss(z_s, z_t, Y, T=2.0, gamma=0.0), 0 * ONE, 1e-12)
    assert gradient(lambda z: losses.nkd_loss(z, z_t, Y, T=2.0, gamma=1.0), z_s).isfinite().all()


def gradient_of_ttm_is_the_probability_gap_without_T(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        found = gradient(lambda z: losses.ttm_loss(z, z_t, T=T), z_s)  # noqa: B023
        close(found, (z_s.softmax(dim=1) - (z_t / T).softmax(dim=1)) / len(z_s), 1e-9)


def ttm_is_the_divergence_from_the_teacher_raised_to_a_power(losses):
    z_s, z_t = draw()
    p_s, p_t = (softmax(z.numpy(), axis=1) for z in (z_s, z_t))
    for T in TEMPERATURES:
        raised = p_t ** (1 / T) / (p_t ** (1 / T)).sum(axis=1, keepdims=True)
        close(losses.ttm_loss(z_s, z_t, T=T), rel_entr(raised, p_s).sum(axis=1).mean(), 1e-9)


def ttm_is_kd_and_a_regulariser_of_renyis_entropy(losses):
    z_s, z_t = draw()
    for T in (0.5, 4.0, 20.0):
        p, q = softmax(z_t.numpy() / T, axis=1), softmax(z_s.numpy(), axis=1)
        order = 1 / T
        renyi = np.log((q**order).sum(axis=1)).mean() / (1 - order)
        own = -(p * np.log(p)).sum(axis=1).mean()
        kd = losses.kd_loss(z_s, z_t, T=T).item() / T**2 + own  # the cross-entropy of both at T
        close(losses.ttm_loss(z_s, z_t, T=T) + own, T * kd - (T - 1) * renyi, 1e-9)


def ttm_at_temperature_one_is_kd(losses):
    z_s, z_t = draw()
    for loss in (losses.ttm_loss, losses.wttm_loss):
        close(loss(z_s, z_t, T=1.0), losses.soft_kl(z_s, z_t).mean(), 1e-9)


def wttm_counts_each_image_by_its_sum_of_powers(losses):
    z_s, z_t = draw()
    for T in TEMPERATURES:
        weights = (softmax(z_t.numpy(), axis=1) ** (1 / T)).sum(axis=1)
        alone = [losses.ttm_loss(z_s[i : i + 1], z_t[i : i + 1], T=T).item() for i in range(6)]
        close(losses.wttm_loss(z_s, z_t, T=T), (weights * alone).mean(), 1e-9)


IDENTITIES = [
    target_kl_is_the_definition_for_each_image,
    non_target_kl_is_the_definition_for_each_image,
    soft_kl_is_target_kl_plus_what_is_left_times_non_target_kl,
    dkd_with_what_the_teacher_leaves_is_kd_in_value_and_gradient,
    dkd_loss_is_T_squared_times_the_weighted_mean_of_its_parts,
    logit_of_the_label_plays_no_part_in_non_target_kl,
    target_kl_depends_on_the_rest_only_through_its_sum,
    two_classes_have_a_target_part_and_nothing_else,
    dkd_with_margins_of_two_hundred_is_finite_and_right,
    weights_of_another_shape_are_refused,
    ats_is_the_cross_entropy_form_less_the_entropy_of_its_target,
    ats_with_one_temperature_is_kd_in_value_and_gradient,
    constant_added_to_a_row_changes_nothing_under_two_temperatures,
    hotter_label_spreads_the_wrong_answers,
    weights_are_one_where_both_heads_agree,
    weights_have_mean_one_and_no_gradient,
    image_on_which_the_distilled_head_is_behind_counts_more,
    weights_are_one_plus_the_ratio_of_cross_entropies,
    no_image_counts_more_than_limit_times_another,
    scale_and_offset_of_a_row_of_logits_do_not_move_the_weights,
    rows_without_variation_have_finite_weights,
    another_favour_or_a_limit_below_one_is_refused,
    labels_that_do_not_fit_are_refused_and_both_shapes_are_named,
    logits_that_would_broadcast_are_refused_with_labels_too,
    temperatures_that_are_not_positive_are_refused_with_labels_too,
    temperatures_with_labels_may_be_batched_tensors,
    means_over_the_batch_are_those_of_its_images,
    standardised_rows_have_mean_zero_and_a_standard_deviation_of_one,
    lskd_is_kd_of_standardised_logits_in_value_and_gradient,
    lskd_does_not_see_how_sure_either_network_is,
    gradient_of_lskd_neither_shifts_nor_scales_a_row,
    lskd_tends_to_dists_row_term_on_logits,
    two_standardised_classes_are_refused,
    nkd_is_the_weighted_cross_entropy_and_gamma_times_that_of_the_rest,
    non_target_gradient_of_nkd_is_gamma_times_that_of_dkd,
    nkd_of_a_teacher_that_is_sure_of_the_label_is_the_cross_entropy,
    a_label_that_both_rule_out_costs_nkd_nothing,
    gradient_of_ttm_is_the_probability_gap_without_T,
    ttm_is_the_divergence_from_the_teacher_raised_to_a_power,
    ttm_is_kd_and_a_regulariser_of_renyis_entropy,
    ttm_at_temperature_one_is_kd,
    wttm_counts_each_image_by_its_sum_of_powers,
]


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.__name__)
def test_losses_with_labels(identity):
    identity(logits)
