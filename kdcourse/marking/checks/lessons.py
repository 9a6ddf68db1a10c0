"""What a reader of a lesson writes by hand, asking half: the checks below the blanks of a worksheet."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.checks.training import runs, training
from kdcourse.marking.record import Case


def softened_cases(seed: int) -> dict[str, Case]:
    """Logits at several temperatures, each with numbers that tell one probability from another."""
    return {name: case.with_(probe=torch.rand(case.z_t.shape, generator=generator(seed, i)) + 0.5)
            for i, (name, case) in enumerate(logits(seed).items())}


softened = loss(softened_cases, lambda f, c: f(c.z_t, c.T), "cold", "warm", "hot", at="")
share_right = loss(logits, lambda f, c: f(c.z_s, c.y), "cold", "warm", "hot", at="")

soft_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.T), "cold", "warm", "warmer", "hot", "large")
student_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.y, c.T, c.alpha), "cold", "warm", "warmer", "hot")
train_by_hand = training(runs, lambda f, student, teacher, c: f(student, teacher, c.split, **c.settings))

wrong_answers = loss(softened_cases, lambda f, c: f(c.z_t, c.y, c.T), "cold", "warm", "hot", at="")
soft_gradient = loss(softened_cases, lambda f, c: f(c.z_s, c.z_t, c.T), "cold", "warm", "hot", at="")
smoothed = loss(softened_cases, lambda f, c: f(c.y, c.z_t.shape[1], c.alpha), "cold", "warm", "hot", at="")
