"""What a reader of lesson 02 writes by hand, asking half."""

from kdcourse.marking.checks.lesson_00 import softened_cases
from kdcourse.marking.checks.loss import loss

wrong_answers = loss(softened_cases, lambda f, c: f(c.z_t, c.y, c.T), "cold", "warm", "hot", at="")
soft_gradient = loss(softened_cases, lambda f, c: f(c.z_s, c.z_t, c.T), "cold", "warm", "hot", at="")
smoothed = loss(softened_cases, lambda f, c: f(c.y, c.z_t.shape[1], c.alpha), "cold", "warm", "hot", at="")
