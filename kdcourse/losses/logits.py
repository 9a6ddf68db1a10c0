"""Losses that compare the logits of a student with those of a teacher. No labels, no networks, no state.

Letters: z logits (B, K), p probabilities, T temperature; suffix _s student, _t teacher. None of these functions
detaches the teacher: that is the `Teacher`'s work.
"""

import torch.nn.functional as F
from torch import Tensor

from kdcourse.losses.base import check_logits, check_temperature, full_precision


def soft_kl(z_s: Tensor, z_t: Tensor, *, T: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of the softened student from the softened teacher, per image, in nats.

    KL(p_t || p_s) = sum_k p_t[k] (log p_t[k] - log p_s[k]) with p = softmax(z / T). Shapes (B, K), (B, K) -> (B,).
    Zero exactly where the two distributions agree, never negative, unchanged by a constant added to a row of logits.
    Written with log-softmax on both sides, so that logits in the hundreds stay finite in value and in gradient.

    Raises ValueError when the shapes differ, with fewer than two classes, or for T <= 0.

    >>> import torch
    >>> z_s, z_t = torch.tensor([[1.0, 1.0]]).log(), torch.tensor([[3.0, 1.0]]).log()
    >>> round(soft_kl(z_s, z_t).item(), 4)  # 3/4 log(3/2) + 1/4 log(1/2)
    0.1308
    """
    check_logits(z_s, z_t)
    check_temperature(T)
    log_p_s = F.log_softmax(full_precision(z_s) / T, dim=1)
    log_p_t = F.log_softmax(full_precision(z_t) / T, dim=1)
    return (log_p_t.exp() * (log_p_t - log_p_s)).sum(dim=1)


def kd_loss(z_s: Tensor, z_t: Tensor, *, T: float) -> Tensor:
    """The soft term of knowledge distillation: T^2 times the mean over the batch of KL(p_t || p_s) at temperature T.

    Shapes (B, K), (B, K) -> scalar, in nats times T^2. Its gradient with respect to z_s is exactly
    T (p_s - p_t) / B: the factor T^2 keeps it the size of the cross-entropy's, which is (p_s - y) / B.
    Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 2 and equations 2 to 4. They write the cross-entropy of the
    two distributions, which has the same gradient and is larger by T^2 times the teacher's entropy.

    Raises as `soft_kl` does. Introduced in notebook 01.

    >>> import torch
    >>> z_s, z_t = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, -2.0]])
    >>> round(kd_loss(z_s, z_t, T=100.0).item(), 2), logit_matching_loss(z_s, z_t).item()
    (2.0, 2.0)
    """
    return T**2 * soft_kl(z_s, z_t, T=T).mean()


def logit_matching_loss(z_s: Tensor, z_t: Tensor) -> Tensor:
    """Half the squared distance of the centred logits, mean over classes and batch: `kd_loss` as T goes to infinity.

    1/(2K) mean_B ||z~_s - z~_t||^2, where z~ has its row's mean taken away. Shapes (B, K), (B, K) -> scalar.
    Hinton, Vinyals & Dean 2015, arXiv:1503.02531, equation 4; Ba & Caruana 2014, arXiv:1312.6184, equation 1, who do
    not centre (so that a constant added to a row costs them) and sum over the classes instead of averaging.

    Raises ValueError when the shapes differ or with fewer than two classes.

    >>> import torch
    >>> logit_matching_loss(torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 1.0]])).item()
    2.0
    """
    check_logits(z_s, z_t)
    gap = full_precision(z_s) - full_precision(z_t)
    return (gap - gap.mean(dim=1, keepdim=True)).square().mean() / 2
