"""Identities of the losses of lesson 09 that compare no two answers: a discriminator's game, and learning without data.
Each is a function of a namespace of losses."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from test_losses import close, gradient

from kdcourse.losses import adversarial, data_free


def said(B=6, seed=0, scale=3.0):
    """What a discriminator says about answers, in float64."""
    return scale * torch.randn(B, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def games_are_cross_entropies_of_two_classes(losses):
    d_s, d_t = said(), said(4, seed=1)
    zeros, ones = torch.zeros_like(d_s), torch.ones_like(d_s)
    entropy = F.binary_cross_entropy_with_logits
    close(losses.fooling_loss(d_s), entropy(d_s, ones), 1e-9)
    close(losses.discriminator_loss(d_s, d_t), entropy(d_s, zeros) + entropy(d_t, ones[:4]), 1e-9)


def discriminator_that_cannot_tell_costs_twice_log_2_and_leaves_the_student_log_2(losses):
    zero = torch.zeros(5, 1, dtype=torch.double)
    close(losses.discriminator_loss(zero, zero), torch.tensor(2 * math.log(2), dtype=torch.double), 1e-9)
    close(losses.fooling_loss(zero), torch.tensor(math.log(2), dtype=torch.double), 1e-9)
    assert losses.discriminator_loss(zero + 1, zero + 1) > 2 * math.log(2)


def best_discriminator_says_the_logarithm_of_the_odds_and_costs_two_log_2_less_two_divergences(losses):
    counts_s, counts_t = torch.tensor([1, 3, 6]), torch.tensor([5, 3, 2])  # how often each of three answers is given
    p_s, p_t = (counts.double() / 10 for counts in (counts_s, counts_t))
    middle = (p_s + p_t) / 2
    divergence = sum((p * (p / middle).log()).sum() / 2 for p in (p_s, p_t))

    def loss(d):
        return losses.discriminator_loss(d.repeat_interleave(counts_s), d.repeat_interleave(counts_t))

    best = (p_t / p_s).log()
    close(gradient(loss, best), torch.zeros(3, dtype=torch.double), 1e-9)
    close(loss(best), 2 * math.log(2) - 2 * divergence, 1e-9)


def student_is_pushed_most_where_it_is_found_out(losses):
    d = torch.tensor([-30.0, 0.0, 30.0], dtype=torch.double)
    close(3 * gradient(losses.fooling_loss, d), -torch.tensor([1.0, 0.5, 0.0], dtype=torch.double), 1e-9)


def games_stay_finite_for_a_discriminator_that_is_sure(losses):
    for size in (100.0, 1e4):
        for sign in (-1, 1):
            d = sign * torch.tensor([size, size / 2])
            for value in (losses.fooling_loss(d), losses.discriminator_loss(d, d)):
                assert value.isfinite() and value >= 0
            assert gradient(losses.fooling_loss, d).isfinite().all()


def games_in_half_precision_are_computed_in_single(losses):
    d_s, d_t = said().half(), said(seed=1).half()
    for loss in (lambda a, b: losses.fooling_loss(a), losses.discriminator_loss):
        assert loss(d_s, d_t).dtype == torch.float32
        close(loss(d_s, d_t).double(), loss(d_s.double(), d_t.double()), 1e-6)
        assert loss(d_s.double(), d_t.double()).dtype == torch.double


def games_without_an_answer_are_refused(losses):
    some, none = said(), said()[:0]
    for call in (lambda: losses.fooling_loss(none), lambda: losses.discriminator_loss(none, some),
                 lambda: losses.discriminator_loss(some, none)):
        with pytest.raises(ValueError, match=r"shown nothing, \(0, 1\), has no mean"):
            call()


GAMES = [
    games_are_cross_entropies_of_two_classes,
    discriminator_that_cannot_tell_costs_twice_log_2_and_leaves_the_student_log_2,
    best_discriminator_says_the_logarithm_of_the_odds_and_costs_two_log_2_less_two_divergences,
    student_is_pushed_most_where_it_is_found_out,
    games_stay_finite_for_a_discriminator_that_is_sure,
    games_in_half_precision_are_computed_in_single,
    games_without_an_answer_are_refused,
]


def answers(B=6, K=5, seed=0, scale=2.0):
    return scale * torch.randn(B, K, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def one_hot_loss_is_minus_the_logarithm_of_the_largest_probability(losses):
    z = answers()
    close(losses.one_hot_loss(z), -z.softmax(dim=1).amax(dim=1).log().mean(), 1e-9)
    close(losses.one_hot_loss(torch.zeros(4, 5).double()), torch.tensor(math.log(5)).double(), 1e-6)
    assert losses.one_hot_loss(100 * answers()) < 1e-6
    close(losses.one_hot_loss(answers() + 7), losses.one_hot_loss(answers()), 1e-9)


def activation_loss_is_minus_the_mean_size_of_an_entry_whatever_its_sign(losses):
    f = answers()
    signs = torch.sign(answers(seed=1))
    by_hand = -sum(abs(entry) for row in f.tolist() for entry in row) / 30
    close(losses.activation_loss(f), torch.tensor(by_hand).double(), 1e-6)
    close(losses.activation_loss(signs * f), losses.activation_loss(f), 1e-9)
    close(losses.activation_loss(3 * f), 3 * losses.activation_loss(f), 1e-9)
    close(losses.activation_loss(f.reshape(6, 1, 5, 1)), losses.activation_loss(f), 1e-9)
    assert losses.activation_loss(f) < 0


def information_entropy_is_that_of_the_mean_probability(losses):
    z = answers()
    p = z.softmax(dim=1).mean(dim=0)
    close(losses.information_entropy_loss(z), (p * p.log()).sum(), 1e-9)


def information_entropy_is_least_where_every_class_has_its_share(losses):
    sure = 60 * torch.eye(5).double()
    close(losses.information_entropy_loss(sure), -torch.tensor(math.log(5)).double(), 1e-6)
    close(losses.information_entropy_loss(torch.zeros(3, 5).double()), -torch.tensor(math.log(5)).double(), 1e-6)
    assert abs(losses.information_entropy_loss(sure[:1].repeat(5, 1))) < 1e-9
    for seed in range(5):
        assert -math.log(5) < losses.information_entropy_loss(answers(seed=seed)) < 0
    close(gradient(losses.information_entropy_loss, sure), torch.zeros_like(sure), 1e-9)


def information_entropy_grows_where_a_class_is_left_out(losses):
    sure = 60 * torch.eye(5).double()
    found = [losses.information_entropy_loss(sure[:n]) for n in range(1, 6)]
    assert all(after < before for before, after in pairwise(found))


def classes_that_no_image_is_of_leave_value_and_gradient_finite(losses):
    for z in (torch.tensor([[500.0, -500.0, 0.0]] * 4), 1e4 * torch.eye(3)[:2]):
        for loss in (losses.information_entropy_loss, losses.one_hot_loss, losses.activation_loss):
            assert loss(z).isfinite() and gradient(loss, z).isfinite().all()


def data_free_losses_have_the_gradient_that_is_the_slope_and_a_batch_has_no_order(losses):
    for loss in (losses.one_hot_loss, losses.activation_loss, losses.information_entropy_loss):
        z = answers().requires_grad_()
        assert torch.autograd.gradcheck(loss, (z,))
        close(loss(z[[3, 0, 5, 1, 4, 2]]), loss(z), 1e-9)
        close(loss(torch.cat([z, z])), loss(z), 1e-9)
        close(loss(z.flip(1)), loss(z), 1e-9)


def data_free_losses_in_half_precision_are_computed_in_single(losses):
    for loss in (losses.one_hot_loss, losses.activation_loss, losses.information_entropy_loss):
        z = answers().half()
        assert loss(z).dtype == torch.float32 and loss(z.double()).dtype == torch.double
        close(loss(z).double(), loss(z.double()), 1e-6)


def data_free_losses_refuse_what_is_no_batch(losses):
    for loss in (losses.one_hot_loss, losses.activation_loss, losses.information_entropy_loss):
        for wrong, message in ((answers()[:0], "an empty batch"), (answers()[0], r"\(5,\)")):
            with pytest.raises(ValueError, match=message):
                loss(wrong)


DATA_FREE = [
    one_hot_loss_is_minus_the_logarithm_of_the_largest_probability,
    activation_loss_is_minus_the_mean_size_of_an_entry_whatever_its_sign,
    information_entropy_is_that_of_the_mean_probability,
    information_entropy_is_least_where_every_class_has_its_share,
    information_entropy_grows_where_a_class_is_left_out,
    classes_that_no_image_is_of_leave_value_and_gradient_finite,
    data_free_losses_have_the_gradient_that_is_the_slope_and_a_batch_has_no_order,
    data_free_losses_in_half_precision_are_computed_in_single,
    data_free_losses_refuse_what_is_no_batch,
]
IDENTITIES = GAMES + DATA_FREE


@pytest.mark.parametrize("identity", GAMES, ids=lambda identity: identity.__name__)
def test_games(identity):
    identity(adversarial)


@pytest.mark.parametrize("identity", DATA_FREE, ids=lambda identity: identity.__name__)
def test_data_free_losses(identity):
    identity(data_free)
