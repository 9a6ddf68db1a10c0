"""Identities of the losses of lesson 09 that compare no two answers: a discriminator's game, and learning without data.
Each is a function of a namespace of losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from test_losses import close, gradient

from kdcourse.losses import adversarial


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
IDENTITIES = GAMES


@pytest.mark.parametrize("identity", GAMES, ids=lambda identity: identity.__name__)
def test_games(identity):
    identity(adversarial)
