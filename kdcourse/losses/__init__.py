"""Losses: pure functions of tensors, by the kind of knowledge they compare."""

from kdcourse.losses.logits import kd_loss as kd_loss
from kdcourse.losses.logits import logit_matching_loss as logit_matching_loss
from kdcourse.losses.logits import soft_kl as soft_kl
