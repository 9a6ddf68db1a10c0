"""What a reader of lesson 01 writes by hand, asking half."""

from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.checks.training import runs, training

soft_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.T), "cold", "warm", "warmer", "hot", "large")
student_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.y, c.T, c.alpha), "cold", "warm", "warmer", "hot")
train_by_hand = training(runs, lambda f, student, teacher, c: f(student, teacher, c.split, **c.settings))
