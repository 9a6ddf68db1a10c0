"""Losses that compare how the images of a batch lie to each other, so that student and teacher may differ in width.

Features are flattened to (B, D_s) and (B, D_t): only the number of images must agree.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.losses.base import (
    check_images,
    check_same,
    check_temperature,
    full_precision,
    outside_autocast,
    scaled,
    unit,
)


def similarity_loss(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Similarity-preserving distillation (SP): which images excite the same features. (B, ...), (B, ...) -> scalar.

    G = F F^T over the flattened features, each row divided by its length; ||G_s - G_t||^2 / B^2. Unchanged by a
    rotation of the features and by one factor for all of them. Tung & Mori 2019, arXiv:1907.09682, section 3.
    A batch of one gives 0: one image is similar to itself.
    """
    check_images(f_s, f_t)
    with outside_autocast(f_s):
        g_s, g_t = (unit(scaled(f, 1) @ scaled(f, (0, 1)).T, dim=1) for f in (_rows(f_s), _rows(f_t)))
    return (g_s - g_t).square().mean()


def rkd_distance_loss(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Relational KD, distances: every pair of images as far apart as for the teacher, up to one unit of length.

    Distances are divided by their mean over all pairs; Huber loss, mean over the B (B - 1) pairs. (B, ...), (B, ...)
    -> scalar. Unchanged by moving, rotating or scaling all features. A batch of one has no pairs and gives 0. Memory
    grows as B^2 D: pool maps first. Park et al. 2019, arXiv:1904.05068, section 3.2.1 (whose code also averages the
    zeros of the diagonal).
    """
    check_images(f_s, f_t)
    B = len(f_s)
    d_s, d_t = _distances(_rows(f_s)), _distances(_rows(f_t))
    return F.smooth_l1_loss(d_s, d_t, reduction="sum") / max(B * (B - 1), 1)


def rkd_angle_loss(f_s: Tensor, f_t: Tensor) -> Tensor:
    """Relational KD, angles: every triplet of images seen under the same angle as by the teacher.

    cos of the angle at image j between i and k; Huber loss, mean over the triplets with i, j, k all different.
    (B, ...), (B, ...) -> scalar. Memory grows as B^3 and as B^2 D: pool maps first. A batch of fewer than three gives
    0. Park et al. 2019, arXiv:1904.05068, section 3.2.2 (whose code averages all B^3 entries).
    """
    check_images(f_s, f_t)
    B = len(f_s)
    with outside_autocast(f_s):
        angles_s, angles_t = _angles(_rows(f_s)), _angles(_rows(f_t))
    return F.smooth_l1_loss(angles_s, angles_t, reduction="sum") / max(B * (B - 1) * (B - 2), 1)


def contrastive_loss(e_s: Tensor, e_t: Tensor, *, T: float = 0.07) -> Tensor:
    """Contrastive representation distillation (CRD), in-batch form: which teacher embedding is of the same image?

    Both are scaled to length 1; the cosines of all pairs, divided by T, are the logits of a choice among the B images,
    asked once from the student's side and once from the teacher's: the mean of the two cross-entropies, in nats.
    (B, D), (B, D) -> scalar; log B for embeddings that know nothing of the image. A batch of one gives 0.
    After Tian, Krishnan & Isola 2020, arXiv:1910.10699, section 3, who keep 16,384 negatives in a memory instead.

    Raises ValueError when the shapes differ, or for T <= 0.
    """
    check_same(e_s, e_t)
    check_temperature(T)
    with outside_autocast(e_s):
        z = unit(_rows(e_s), dim=1) @ unit(_rows(e_t), dim=1).T / T
    return -(z.log_softmax(dim=1).diagonal() + z.log_softmax(dim=0).diagonal()).mean() / 2


def _rows(f: Tensor) -> Tensor:
    return full_precision(f).flatten(1)


def _distances(f: Tensor) -> Tensor:
    """Euclidean distances of all pairs, (B, B), divided by their mean; 0, without a gradient, on the diagonal."""
    B = len(f)
    squared = scaled(f[:, None] - f[None], (0, 1, 2)).square().sum(dim=2)
    d = torch.where(squared > 0, torch.where(squared > 0, squared, 1.0).sqrt(), 0.0)
    return d / (d.sum() / max(B * (B - 1), 1)).clamp_min(1e-12)


def _angles(f: Tensor) -> Tensor:
    """Cosines at j between i and k: (B, B, B) over (j, i, k); 0, without a gradient, where j is not apart from both.

    The diagonal, i = k, is no angle and becomes 0 too: it is 1 for a teacher and 0 for a student whose features
    coincide, and would be counted.
    """
    u = unit(f[None] - f[:, None], dim=2)
    return (u @ u.transpose(1, 2)).masked_fill(torch.eye(len(f), dtype=torch.bool, device=f.device), 0.0)
