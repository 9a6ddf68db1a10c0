"""Lesson 06: its checks name the misconception, and what they call right is the package's."""

import pytest
import torch
import torch.nn.functional as F

from kdcourse import losses
from kdcourse.marking import checks


def rows(u, v):
    return F.cosine_similarity(u - u.mean(1, keepdim=True), v - v.mean(1, keepdim=True))


def dist(z_s, z_t, y, T):
    return F.cross_entropy(z_s, y) + losses.dist_loss(z_s, z_t, T=T, beta=2.0, gamma=2.0)


def without_columns(z_s, z_t, y, T):
    return F.cross_entropy(z_s, y) + losses.dist_loss(z_s, z_t, T=T, beta=2.0, gamma=0.0)


def on_logits(z_s, z_t, y, T):
    u, v = z_s / T, z_t / T
    return F.cross_entropy(z_s, y) + 2 * (1 - rows(u, v)).mean() + 2 * (1 - rows(u.T, v.T)).mean()


def of_probabilities(z_s, z_t, y, T):
    return F.cross_entropy((z_s / T).softmax(1), y) + losses.dist_loss(z_s, z_t, T=T, beta=2.0, gamma=2.0)


def as_released(z_s, z_t, y, T):
    return F.cross_entropy(z_s, y) + T**2 * losses.dist_loss(z_s, z_t, T=T, beta=2.0, gamma=2.0)


def with_a_share(p, a):
    return torch.lerp(torch.full_like(p, 1 / p.shape[1]), p, a)


@pytest.mark.parametrize(("name", "answer"), [("correlation", rows), ("dist_by_hand", dist), ("mixed", with_a_share)])
def test_what_the_package_or_torch_gives_is_right(name, answer, capsys):
    checks.CHECKS[name](answer)
    assert "right" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("correlation", F.cosine_similarity, "the cosine of the two rows"),
    ("correlation", lambda u, v: 1 - rows(u, v), "here the correlation is asked for"),
    ("correlation", lambda u, v: F.cosine_similarity(u - u.mean(), v - v.mean(0)), "is right"),
    ("correlation", lambda u, v: rows(u, v).mean(), "one for each of them, so leave out the mean"),
    ("correlation", lambda u, v: rows(u - u.mean(dim=1), v), "`keepdim=True` keeps it"),
    ("dist_by_hand", of_probabilities, "cross_entropy was given p_s: it takes logits"),
    ("dist_by_hand", lambda z_s, z_t, y, T: dist(z_s, z_t, y, T) - F.cross_entropy(z_s, y) + F.cross_entropy(
        z_s.softmax(1), y), "cross_entropy was given probabilities at T = 1"),
    ("dist_by_hand", without_columns, r"the columns \(intra-class\) are missing"),
    ("dist_by_hand", on_logits, "take the softmax first"),
    ("dist_by_hand", as_released, "the factor T squared"),
    ("dist_by_hand", lambda z_s, z_t, y, T: dist(z_s.detach(), z_t, y, T), "no gradient reaches the student"),
    ("mixed", lambda p, a: a * p + (1 - a), "not divided by the number of classes"),
    ("mixed", lambda p, a: a * p, "the uniform answer is missing"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message, capsys):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)
