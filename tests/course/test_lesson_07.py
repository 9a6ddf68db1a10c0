"""Lesson 07: its checks name the misconception, and what they call right is the package's."""

import pytest
import torch
import torch.nn.functional as F

from kdcourse import losses
from kdcourse.marking import checks


def bracket(z, z_guide, y, T, lam):
    return lam * F.cross_entropy(z, y) + (1 - lam) * losses.kd_loss(z, z_guide, T=T)


def both(z_s, z_t, z_l, y, T, lam):
    return bracket(z_s, z_t, y, T, lam) + bracket(z_s, z_l.detach(), y, T, lam)


def without_detaching(z_s, z_t, z_l, y, T, lam):
    return bracket(z_s, z_t, y, T, lam) + bracket(z_s, z_l, y, T, lam)


def of_probabilities(z, g, y, T, lam):
    return lam * F.cross_entropy((z / T).softmax(1), y) + (1 - lam) * losses.kd_loss(z, g, T=T)


@pytest.mark.parametrize(("name", "answer"), [
    ("bracket", bracket), ("fused", lambda a, b, w: torch.lerp(b, a, w)), ("slkd_by_hand", both),
    ("slkd_by_hand", lambda s, t, l, y, T, lam: without_detaching(s, t, l.data, y, T, lam))])
def test_what_the_package_or_torch_gives_is_right(name, answer, capsys):
    checks.CHECKS[name](answer)
    assert "right" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("bracket", lambda z, g, y, T, lam: bracket(z, g, y, T, 1 - lam), "lam and 1 - lam are exchanged"),
    ("bracket", lambda z, g, y, T, lam: lam * F.cross_entropy(z, y) + (1 - lam) * losses.soft_kl(z, g, T=T).mean(),
     "the factor T squared is missing"),
    ("bracket", lambda z, g, y, T, lam: lam * F.cross_entropy(z, y) + losses.kd_loss(z, g, T=T),
     "the soft term has weight 1"),
    ("bracket", lambda z, g, y, T, lam: bracket(z.detach(), g, y, T, lam), "no gradient reaches the student"),
    ("fused", lambda a, b, w: (1 - w) * a + w * b, "and here of the second"),
    ("fused", lambda a, b, w: (a + b) / 2, "w is not used"),
    ("fused", lambda a, b, w: w * a.softmax(1) + (1 - w) * b.softmax(1), "equation 7 fuses logits"),
    ("bracket", of_probabilities, "cross_entropy was given softened probabilities"),
    ("slkd_by_hand", without_detaching, r"its gradient reaches the learners.* Detach their logits: `z_l.detach\(\)`"),
    ("slkd_by_hand", lambda s, t, l, y, T, lam: both(s, t, l, y, T, lam) + (l - l.detach()).sum(),
     "its gradient reaches the learners"),
    ("slkd_by_hand", lambda s, t, l, y, T, lam: bracket(s, t, y, T, lam), "this is KD"),
    ("slkd_by_hand", lambda s, t, l, y, T, lam: bracket(s, l, y, T, lam), "the learners alone are followed"),
    ("slkd_by_hand", lambda s, t, l, y, T, lam: both(s, t, l, y, T, lam) / 2, "the brackets are averaged"),
    ("slkd_by_hand", lambda s, t, l, y, T, lam: 2 * bracket(s, (t + l) / 2, y, T, lam), "averaged first"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message, capsys):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)
