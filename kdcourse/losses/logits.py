"""Losses that compare the logits of a student with those of a teacher, image by image. No networks, no state.

Letters: z logits (B, K), p probabilities, y labels (B,), T temperature; suffix _s student, _t teacher. None of these
functions detaches the teacher: that is the `Teacher`'s work. Correlations across classes and images are next door.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.losses.base import (
    centred,
    check_classes,
    check_ipwd,
    check_labels,
    check_logits,
    check_temperature,
    divergence,
    full_precision,
    softened,
    unit,
)


def soft_kl(z_s: Tensor, z_t: Tensor, *, T: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of the softened student from the softened teacher, per image, in nats.

    KL(p_t || p_s) = sum_k p_t[k] (log p_t[k] - log p_s[k]) with p = softmax(z / T). Shapes (B, K), (B, K) -> (B,).
    Zero exactly where the two distributions agree, never negative, unchanged by a constant added to a row of logits.
    Written with log-softmax on both sides, so that logits in the hundreds stay finite in value and in gradient. A logit
    of minus infinity rules a class out: where the teacher does, 0 log 0 = 0; where only the student does, it is inf.

    Raises ValueError when the shapes differ, for an empty batch, with fewer than two classes, or for a T that is not
    positive, TypeError for one that is no number.

    >>> import torch
    >>> z_s, z_t = torch.tensor([[1.0, 1.0]]).log(), torch.tensor([[3.0, 1.0]]).log()
    >>> round(soft_kl(z_s, z_t).item(), 4)  # 3/4 log(3/2) + 1/4 log(1/2)
    0.1308
    """
    check_logits(z_s, z_t)
    check_temperature(T)
    log_p_s = F.log_softmax(softened(z_s, T), dim=1)
    log_p_t = F.log_softmax(softened(z_t, T), dim=1)
    return divergence(log_p_t, log_p_s)


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
    check_temperature(T)
    return T**2 * soft_kl(z_s, z_t, T=T).mean()


def logit_matching_loss(z_s: Tensor, z_t: Tensor) -> Tensor:
    """Half the squared distance of the centred logits, mean over classes and batch: `kd_loss` as T goes to infinity.

    1/(2K) mean_B ||z~_s - z~_t||^2, where z~ has its row's mean taken away. Shapes (B, K), (B, K) -> scalar.
    Hinton, Vinyals & Dean 2015, arXiv:1503.02531, equation 4; Ba & Caruana 2014, arXiv:1312.6184, equation 1, who do
    not centre (so that a constant added to a row costs them) and sum over the classes instead of averaging. A class
    that both rule out, with a logit of minus infinity, is left out, as it is in the limit.

    Raises ValueError when the shapes differ or with fewer than two classes.

    >>> import torch
    >>> logit_matching_loss(torch.tensor([[1.0, 1.0]]), torch.tensor([[5.0, 1.0]])).item()
    2.0
    """
    check_logits(z_s, z_t)
    z_s, z_t = full_precision(z_s), full_precision(z_t)
    known = (z_s > -torch.inf) | (z_t > -torch.inf)
    K = known.sum(dim=1, keepdim=True)
    gap = torch.where(known, z_s - z_t, 0.0)
    gap = torch.where(known, gap - gap.sum(dim=1, keepdim=True) / K, 0.0)
    return (gap.square().sum(dim=1, keepdim=True) / K).mean() / 2


def target_kl(z_s: Tensor, z_t: Tensor, y: Tensor, *, T: float) -> Tensor:
    """Target-class KD (TCKD): KL of the two-way split "the label" against "anything else", per image, in nats.

    KL((p_t[y], 1 - p_t[y]) || (p_s[y], 1 - p_s[y])) at temperature T. Shapes (B, K), (B, K), (B,) -> (B,).
    Zhao et al. 2022, arXiv:2203.08679, section 3.1. log(1 - p) is a log-sum-exp of the other logits: it stays finite
    where 1 - p rounds to 0, which the released code's logarithm of a sum does not.
    """
    check_logits(z_s, z_t)
    log_s, log_t = _target_or_not(z_s, y, T), _target_or_not(z_t, y, T)
    return divergence(log_t, log_s)


def non_target_kl(z_s: Tensor, z_t: Tensor, y: Tensor, *, T: float) -> Tensor:
    """Non-target-class KD (NCKD): KL of the distributions over the other K - 1 classes alone, per image, in nats.

    Each is renormalised without its label, so the label's logit plays no part. Shapes (B, K), (B, K), (B,) -> (B,).
    `soft_kl` = `target_kl` + (1 - p_t[y]) `non_target_kl`. Zhao et al. 2022, arXiv:2203.08679, section 3.1. It is 0 for
    a teacher that rules all of them out, who says nothing about them.

    Raises ValueError for labels that do not fit, and with two classes: the one that is left always has probability 1.
    """
    check_logits(z_s, z_t)
    check_classes(z_s, "the non-target part of DKD compares the classes that are not the label, and there is only one")
    rest_s, rest_t = _others(z_s, y), _others(z_t, y)
    none_left = (rest_t == -torch.inf).all(dim=1)
    rest_s, rest_t = (rest.masked_fill(none_left[:, None], 0.0) for rest in (rest_s, rest_t))
    return soft_kl(rest_s, rest_t, T=T).masked_fill(none_left, 0.0)


def dkd_loss(z_s: Tensor, z_t: Tensor, y: Tensor, *, T: float, alpha: float | Tensor, beta: float | Tensor) -> Tensor:
    """Decoupled KD: T^2 times the mean over the batch of alpha `target_kl` + beta `non_target_kl`.

    Shapes (B, K), (B, K), (B,) -> scalar. `alpha` and `beta` are numbers or one number per image, (B,): alpha = 1 and
    beta = 1 - p_t[y] give `kd_loss`; the paper's point is that this beta is smallest where the teacher is surest.
    Zhao et al. 2022, arXiv:2203.08679, section 3.3 (alpha here is the paper's, not KD's share of the soft term).

    Raises as its two parts do, or for an `alpha` or `beta` of another shape. Introduced in notebook 05.
    """
    for name, weight in (("alpha", alpha), ("beta", beta)):
        if isinstance(weight, Tensor) and weight.ndim and weight.shape != y.shape:
            raise ValueError(f"{name} is a number or one per image, {tuple(y.shape)}, not {tuple(weight.shape)}")
    per_image = alpha * target_kl(z_s, z_t, y, T=T) + beta * non_target_kl(z_s, z_t, y, T=T)
    return T**2 * per_image.mean()


def ats_loss(z_s: Tensor, z_t: Tensor, y: Tensor, *, T_target: float, T_rest: float, T_student: float) -> Tensor:
    """Asymmetric temperature scaling: `kd_loss` whose teacher has one temperature for the label, another for the rest.

    T_student^2 mean_B KL(q_t || p_s), q_t = softmax(z_t[k] / T_k) with T_k = T_target for k = y, T_rest otherwise, and
    p_s at T_student. Shapes (B, K), (B, K), (B,) -> scalar. With T_target > T_rest the wrong answers differ more from
    each other than under one temperature. Li et al. 2022, arXiv:2210.04427, who write the cross-entropy:
    the gradient is the same. Two temperatures are not indifferent to a constant added to all logits, so each row of
    z_t is centred first; the paper does not say which constant it means.

    Raises ValueError as `kd_loss` does, or when the labels do not fit. Introduced in notebook 02.
    """
    check_logits(z_s, z_t)
    y = check_labels(z_t, y)
    for T in (T_target, T_rest, T_student):
        check_temperature(T)
    z_t = centred(z_t)
    is_label = y[:, None] == torch.arange(z_t.shape[1], device=y.device)
    q_t = torch.where(is_label, softened(z_t, T_target), softened(z_t, T_rest))
    return T_student**2 * soft_kl(softened(z_s, T_student), q_t).mean()


def standardised(z: Tensor) -> Tensor:
    """Each row of logits with mean 0 and standard deviation 1 over its classes: the z-scores of LSKD. (B, K) -> (B, K).

    The standard deviation divides by K - 1, as torch's and the released code's does; a row of equal logits becomes 0,
    without a gradient. No entry exceeds (K - 1) / sqrt(K), so that no softmax of them is sure. A class that is ruled
    out stays so and does not count. Introduced in notebook 05.

    >>> import torch
    >>> standardised(torch.tensor([[0.0, 10.0, 20.0]])).tolist()
    [[-1.0, 0.0, 1.0]]
    """
    known = z > -torch.inf
    K = known.sum(dim=1, keepdim=True)
    z = unit(centred(z).masked_fill(~known, 0.0), dim=1) * (K - 1).clamp_min(0).sqrt()
    return z.masked_fill(~known, -torch.inf)


def lskd_loss(z_s: Tensor, z_t: Tensor, *, T: float) -> Tensor:
    """Logit standardisation: `kd_loss` of the `standardised` logits of both.

    Shapes (B, K), (B, K) -> scalar. Unchanged when a row of either becomes a z + b with a > 0: neither network's
    confidence plays a part. As T goes to infinity it tends to (K - 1) / K times the mean of 1 - Pearson's correlation
    of the logits along each row, which is `inter_class_loss` without the softmax. Sun et al. 2024, arXiv:2403.01427,
    section 4; the released code adds 1e-7 to the standard deviation, here nothing is added.

    Raises ValueError as `kd_loss` does, and with two classes. Introduced in notebook 05.
    """
    check_logits(z_s, z_t)
    check_classes(z_s, "two standardised logits are always +0.71 and -0.71, and only their order is left")
    return kd_loss(standardised(z_s), standardised(z_t), T=T)


def nkd_loss(z_s: Tensor, z_t: Tensor, y: Tensor, *, T: float, gamma: float | Tensor) -> Tensor:
    """Normalised KD: the label's cross-entropy times the teacher's confidence in it, and gamma T^2 `non_target_kl`.

    mean_B (-p_t[y] log p_s[y]), p at T = 1, plus gamma T^2 times the mean of `non_target_kl` at temperature T.
    Shapes (B, K), (B, K), (B,) -> scalar. So it is `dkd_loss` with another first part. Yang et al. 2023,
    arXiv:2303.13005, who write the second part as a cross-entropy: the gradient is the same.

    Raises as `dkd_loss` does. Introduced in notebook 05.
    """
    check_logits(z_s, z_t)
    y = check_labels(z_s, y)
    log_p_s, log_p_t = (F.log_softmax(full_precision(z), dim=1).gather(1, y[:, None])[:, 0] for z in (z_s, z_t))
    p_t = log_p_t.exp()
    target = -p_t * torch.where(p_t > 0, log_p_s, 0.0)
    return target.mean() + gamma * T**2 * non_target_kl(z_s, z_t, y, T=T).mean()


def ttm_loss(z_s: Tensor, z_t: Tensor, *, T: float) -> Tensor:
    """Transformed teacher matching: the mean over the batch of KL(softmax(z_t / T) || softmax(z_s)), in nats.

    Shapes (B, K), (B, K) -> scalar. The teacher is softened and the student is not, so there is no T^2: the gradient is
    (p_s - p_t) / B, p_t at T, p_s at 1. It is KD's cross-entropy at T and a regulariser: with q at temperature 1,
    CE(p_t, q) = T CE(p_t, q^T) - (T - 1) H(q), q^T the student at T and H Renyi's entropy of order 1 / T.
    Zheng & Yang 2024, arXiv:2402.11148, who write gamma for 1 / T.

    Raises as `soft_kl` does. Introduced in notebook 05.
    """
    return _transformed_kl(z_s, z_t, T).mean()


def wttm_loss(z_s: Tensor, z_t: Tensor, *, T: float) -> Tensor:
    """Weighted TTM: as `ttm_loss`, each image counted by sum_k p_t[k]^(1/T), p_t the teacher at temperature 1.

    Shapes (B, K), (B, K) -> scalar. The weight is 1 for a teacher that is sure and K^(1 - 1/T) for one that knows
    nothing: doubtful images count more. Zheng & Yang 2024, arXiv:2402.11148.

    Raises as `soft_kl` does. Introduced in notebook 05.
    """
    per_image = _transformed_kl(z_s, z_t, T)
    weight = softened(F.log_softmax(full_precision(z_t), dim=1), T).logsumexp(dim=1).exp()
    return (weight * per_image).mean()


def ipwd_weights(z_kd: Tensor, z_cls: Tensor, y: Tensor, *, favour: str = "behind", limit: float = 10.0) -> Tensor:
    """How much each image counts in inverse-probability-weighted distillation (IPWD): mean 1 over the batch, detached.

    A head trained by distillation (logits `z_kd`) is compared with one trained on labels alone (`z_cls`): w is
    proportional to 1 + H(z_kd, y) / H(z_cls, y), H the cross-entropy of logits standardised row by row. Images on which
    the distilled head is *behind* are under-represented in what the teacher transfers, and count more.
    Shapes (B, K), (B, K), (B,) -> (B,). The ratio is kept within [1 / limit, limit].

    After Niu et al. 2022, arXiv:2210.12787: **a reconstruction**. No code was released, and a summary of the paper has
    the ratio upside down; `favour="ahead"` gives that. Introduced in notebook 05.

    Raises ValueError for shapes that do not fit, another `favour`, or a limit below 1.
    """
    check_logits(z_kd, z_cls)
    y = check_labels(z_kd, y)
    check_ipwd(favour, limit)
    h_kd, h_cls = (F.cross_entropy(_standardised(z.detach()), y, reduction="none") for z in (z_kd, z_cls))
    log_ratio = (h_kd + 1e-12).log() - (h_cls + 1e-12).log()
    log_ratio = torch.where(h_kd == h_cls, 0.0, log_ratio)  # also where both rule the label out
    ratio = (log_ratio if favour == "behind" else -log_ratio).exp().clamp(1 / limit, limit)
    weights = 1 + ratio
    return weights / weights.mean()


def _transformed_kl(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """KL of the student as it is from the softened teacher, per image: (B, K), (B, K) -> (B,)."""
    check_logits(z_s, z_t)
    check_temperature(T)
    return soft_kl(z_s, softened(z_t, T))


def _others(z: Tensor, y: Tensor) -> Tensor:
    """The logits without the label's: (B, K), (B,) -> (B, K - 1)."""
    y = check_labels(z, y)
    k = torch.arange(z.shape[1] - 1, device=z.device)
    return full_precision(z).gather(1, k + (k >= y[:, None]))


def _target_or_not(z: Tensor, y: Tensor, T: float) -> Tensor:
    """Log-probabilities of "the label" and "anything else": (B, K), (B,) -> (B, 2)."""
    y = check_labels(z, y)
    check_temperature(T)
    z = softened(z, T)
    pair = torch.stack([z.gather(1, y[:, None])[:, 0], _others(z, y).logsumexp(dim=1)], dim=1)
    return F.log_softmax(pair, dim=1)


def _standardised(z: Tensor) -> Tensor:
    """Each row with mean 0 and standard deviation 1, over the classes that are not ruled out; a row without variation
    becomes 0."""
    known = z > -torch.inf
    z = centred(z)
    variance = z.masked_fill(~known, 0.0).square().sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True)
    return z / variance.sqrt().clamp_min(1e-6)
