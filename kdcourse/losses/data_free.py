"""What a teacher says about invented images, as three losses of whoever invents them: DAFL's terms.

z_t (B, K) and f_t (B, D) or (B, C, H, W) are what the teacher makes of a batch of images; gradients pass through it to
the images. Each is smaller for images that are more like those that the teacher was trained on, as far as its answers
can tell. Chen et al. 2019, arXiv:1904.01186, section 3.2.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from kdcourse.losses.base import check_logits, check_same, full_precision


def one_hot_loss(z_t: Tensor) -> Tensor:
    """How unsure the teacher is: its cross-entropy with its own first choice, in nats. (B, K) -> scalar, from 0 for one
    that is sure to log K for one that has no idea. Raises ValueError for what is no batch of logits."""
    check_logits(z_t, z_t)
    return F.cross_entropy(full_precision(z_t), z_t.argmax(dim=1))


def activation_loss(f_t: Tensor) -> Tensor:
    """How little the images excite the teacher: minus the mean of |f_t| over images and entries. (B, ...) -> scalar,
    at most 0, in the units of the features. Raises ValueError for what is no batch of features.

    The paper has the sum over the entries of a feature, D times as much.
    """
    check_same(f_t, f_t)
    return -full_precision(f_t).abs().mean()


def information_entropy_loss(z_t: Tensor) -> Tensor:
    """How unevenly a batch uses the classes: sum_k p[k] log p[k] with p the mean of softmax(z_t) over the batch, minus
    its entropy in nats. (B, K) -> scalar, from -log K, where every class has its share, to 0, where one has all.
    Raises ValueError for what is no batch of logits.

    In nats: code that takes log10 of p has a weight 2.3 times larger for the same loss, and -infinity times 0 for a
    class that no image is of; here that counts 0.
    """
    check_logits(z_t, z_t)
    log_p = full_precision(z_t).log_softmax(dim=1).logsumexp(dim=0) - math.log(len(z_t))
    return (log_p.exp() * log_p).sum()
