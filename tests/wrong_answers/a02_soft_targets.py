"""Exercise 02: divergences, teachers and audits that look right, and unusual ones that are."""

import warnings

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical, kl_divergence

from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


def softened(z_s, z_t, T):
    return F.log_softmax(z_s / T, dim=1), F.log_softmax(z_t / T, dim=1)


@wrong("reverse_divergence", 0.0, "the divergence of the lesson")
def as_in_the_lesson(z_s, z_t, T):
    return T**2 * F.kl_div(*softened(z_s, z_t, T), reduction="batchmean", log_target=True)


@wrong("reverse_divergence", 0.0, "log p_s is missing")
def cross_entropy_of_the_student(z_s, z_t, T):  # right where the weights are the teacher's, and only there
    a, b = softened(z_s, z_t, T)
    return -T**2 * (a.exp() * b).sum(1).mean()


@wrong("reverse_divergence", 0.6, "what was detached?")
def weights_detached(z_s, z_t, T):  # the student's probabilities taken for a constant, as a teacher's are
    a, b = softened(z_s, z_t, T)
    return T**2 * (a.exp().detach() * (a - b)).sum(1).mean()


@wrong("reverse_divergence", 0.8, "with logits in the hundreds")
def logarithm_of_a_softmax(z_s, z_t, T):  # mdistiller's DKD
    p_s, p_t = F.softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1)
    return T**2 * (p_s * (p_s / p_t).log()).sum(1).mean()


@wrong("reverse_divergence", 0.0, "K times too small")
def mean_of_kl_div(z_s, z_t, T):
    a, b = softened(z_s, z_t, T)
    return T**2 * F.kl_div(b, a, reduction="none", log_target=True).mean()


@wrong("reverse_gradient", 0.0, "what follows from their sum being 1 is missing")
def each_class_for_itself(z_s, z_t, T):
    a, b = softened(z_s, z_t, T)
    return T * a.exp() * (a - b) / len(z_s)


@wrong("reverse_gradient", 0.0, "the gradient of KL(p_t || p_s)")
def gradient_of_the_lesson(z_s, z_t, T):
    return T * ((z_s / T).softmax(1) - (z_t / T).softmax(1)) / len(z_s)


@wrong("reverse_gradient", 0.0, "the factor 1/T from the inner derivative is missing")
def inner_derivative_forgotten(z_s, z_t, T):
    return T * by_the_expected_gap(z_s, z_t, T)


@wrong("reverse_gradient", 0.0, "not (")
def summed_over_the_images(z_s, z_t, T):
    return by_the_expected_gap(z_s, z_t, T).sum(0)


@wrong("reverse_gradient", 0.5, "a formula that you derived is asked for")
def by_autograd(z_s, z_t, T):
    z = z_s.clone().requires_grad_()
    by_distributions(z, z_t, T).backward()
    return z.grad


@wrong("reverse_gradient", 0.5, "without automatic differentiation")
def by_a_function_that_differentiates(z_s, z_t, T):
    return torch.func.grad(by_distributions)(z_s, z_t, T)


@wrong("reverse_gradient", 0.5, "without automatic differentiation: forward_ad")
def by_differentiating_forward(z_s, z_t, T):
    def divergence(z):
        a, b = softened(z, z_t, T)
        return T**2 * (a.exp() * (a - b)).sum(1).mean()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, the first time
        return torch.func.jacfwd(divergence)(z_s)


def differences(z_s, z_t, T, h=1e-5, sides=(1, -1), of=lambda z: z):
    """The loss a little above minus the loss a little below, over the distance, for each logit, in double precision."""
    z_s, z_t = z_s.double(), z_t.double()
    slopes = torch.zeros_like(z_s)
    for i, k in torch.cartesian_prod(*map(torch.arange, z_s.shape)).tolist():
        step = torch.zeros_like(z_s)
        step[i, k] = h
        up, down = (by_distributions(of(z_s + side * step), z_t, T) for side in sides)
        slopes[i, k] = (up - down) / (sides[0] - sides[1]) / h
    return slopes


@wrong("reverse_gradient", 0.5, "a difference of two losses loses its digits")
def by_central_differences(z_s, z_t, T):
    return differences(z_s, z_t, T)


@wrong("reverse_gradient", 0.5, "a difference of two losses loses its digits")
def by_wide_differences(z_s, z_t, T):
    return differences(z_s, z_t, T, h=1e-4)


@wrong("reverse_gradient", 0.5, "a difference of two losses loses its digits")
def by_forward_differences(z_s, z_t, T):
    return differences(z_s, z_t, T, h=1e-7, sides=(1, 0))


@wrong("reverse_gradient", 0.5, "a difference of two losses loses its digits")
def by_differences_of_centred_logits(z_s, z_t, T):
    return differences(z_s, z_t, T, of=lambda z: z - z.mean(1, keepdim=True))


@wrong("smoothing_teacher", 0.0, "these are the probabilities: a teacher gives logits")
def smoothed_labels(y, K, T, epsilon):
    return (1 - epsilon) * F.one_hot(y, K) + epsilon / K


@wrong("smoothing_teacher", 0.0, "T is not used")
def at_temperature_one(y, K, T, epsilon):
    z = smoothed_labels(y, K, T, epsilon).log()
    return z - z.mean(1, keepdim=True)


@wrong("smoothing_teacher", 0.0, "the rows are not centred")
def as_logarithms(y, K, T, epsilon):
    return T * smoothed_labels(y, K, T, epsilon).log()


@wrong("asymmetric", 0.0, "the rows are not centred first")
def as_the_paper_writes_it(z_t, y, T_label, T_rest):
    T = torch.where(F.one_hot(y, z_t.shape[1]).bool(), T_label, T_rest)
    return (z_t / T).softmax(1)


@wrong("asymmetric", 0.0, "the largest logit was taken for the label")
def by_the_best_guess(z_t, y, T_label, T_rest):
    return two_temperatures(z_t, z_t.argmax(1), T_label, T_rest)


@wrong("asymmetric", 0.0, "log-probabilities are divided")
def centred_by_log_probabilities(z_t, y, T_label, T_rest):
    return as_the_paper_writes_it(F.log_softmax(z_t, dim=1), y, T_label, T_rest)


@wrong("asymmetric", 0.0, "a list was returned, not a tensor of shape")
def as_a_list(z_t, y, T_label, T_rest):
    return two_temperatures(z_t, y, T_label, T_rest).tolist()


@wrong("audit", 0.0, "two gradients of one length may point anywhere")
def by_lengths(loss, z_s, z_t, T):
    return torch.stack(by_columns(loss, z_s, z_t, T, lengths=True))


@wrong("audit", 0.0, "the remainder is the distance from the right gradient itself")
def distance_from_the_right_one(loss, z_s, z_t, T):
    g, t = gradients(loss, z_s, z_t, T)
    return torch.stack([(g * t).sum() / (t * t).sum(), (g - t).norm() / g.norm()])


@wrong("audit", 0.0, "the divergence of question 1")
def beside_the_other_direction(loss, z_s, z_t, T):
    return by_columns(loss, z_s, z_t, T, direction=by_distributions)


@wrong("exchanged", 0.0, "stays from one call to the next, a global or a default value that is changed, or it is drawn")
def any_other_of_the_label(z_t, y):
    z = z_t.clone()
    for k in y.unique():
        z[y == k] = z_t[y == k][torch.randperm(int((y == k).sum()))]
    return z


@wrong("exchanged", 0.0, "answers go from one label to another")
def next_image_of_any_label(z_t, y):
    return z_t.roll(-1, 0)


@wrong("exchanged", 0.0, "each image gets the answer of the one before it")
def the_one_before(z_t, y):
    z = z_t.clone()
    for k in y.unique():
        z[y == k] = z_t[y == k].roll(1, 0)
    return z


@wrong("exchanged", 0.8, "is changed in place")
def in_place(z_t, y):
    for k in y.unique():
        z_t[y == k] = z_t[y == k].roll(-1, 0)
    return z_t


@right("reverse_divergence")
def by_distributions(z_s, z_t, T):
    return T**2 * kl_divergence(Categorical(logits=z_s / T), Categorical(logits=z_t / T)).mean()


@right("reverse_divergence")
def by_kl_div_with_the_arguments_exchanged(z_s, z_t, T):
    a, b = softened(z_s, z_t, T)
    return nn.KLDivLoss(reduction="batchmean", log_target=True)(b, a) * T * T


@right("reverse_gradient")
def by_the_expected_gap(z_s, z_t, T):
    a, b = softened(z_s, z_t, T)
    gap = a - b
    return T / len(z_s) * (a.exp() * gap - a.exp() * torch.einsum("bk,bk->b", a.exp(), gap)[:, None])


@right("reverse_gradient")
def by_the_table_of_derivatives(z_s, z_t, T):
    rows = []
    for s, t in zip(z_s.double(), z_t.double(), strict=True):
        p, gap = (s / T).softmax(0), (s / T).log_softmax(0) - (t / T).log_softmax(0)
        rows.append(T * (torch.diag(p) - torch.outer(p, p)) @ gap)
    return torch.stack(rows) / len(rows)


@right("reverse_gradient")
def by_a_matrix_for_each_image(z_s, z_t, T):
    """In the dtype of the logits, centred first as numerical code often does."""
    u, v = (z - z.amax(1, keepdim=True) for z in (z_s / T, z_t / T))
    p = u.exp() / u.exp().sum(1, keepdim=True)
    gap = (u - u.logsumexp(1, keepdim=True)) - (v - v.logsumexp(1, keepdim=True)).to(u)
    jacobian = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    return T * (jacobian @ gap[:, :, None])[:, :, 0] / len(z_s)


@right("smoothing_teacher")
def by_the_odds(y, K, T, epsilon):
    odds = torch.tensor((1 - epsilon) * K / epsilon + 1).log()
    return T * odds * (F.one_hot(y, K) - 1 / K)


@right("asymmetric")
def two_temperatures(z_t, y, T_label, T_rest):
    z = z_t - z_t.mean(1, keepdim=True)
    rows = torch.arange(len(y))
    found = z / T_rest
    found[rows, y] = z[rows, y] / T_label
    return found.softmax(1)


@right("audit")
def by_columns(loss, z_s, z_t, T, lengths=False, direction=None):
    g, t = (one.flatten() for one in gradients(loss, z_s, z_t, T))
    t = gradients(direction, z_s, z_t, T)[0].flatten() if direction else t
    factor = g.norm() / t.norm() if lengths else torch.linalg.lstsq(t[:, None], g[:, None]).solution.squeeze()
    return factor, torch.linalg.vector_norm(g - factor * t) / torch.linalg.vector_norm(g)


@right("audit")
def by_the_angle(loss, z_s, z_t, T):
    g, t = gradients(loss, z_s.double(), z_t.double(), T)
    cosine = (g * t).sum() / g.norm() / t.norm()
    return torch.stack([cosine * g.norm() / t.norm(), (1 - cosine**2).sqrt()])


def gradients(loss, z_s, z_t, T):
    """That of a loss, and the right one, by autograd."""
    z = z_s.detach().clone().requires_grad_()
    a, b = softened(z, z_t, T)
    return (torch.autograd.grad(loss(z, z_t, T), z)[0],
            torch.autograd.grad(T**2 * (b.exp() * (b - a)).sum() / len(z), z)[0])


@right("exchanged")
def by_a_list_of_rows(z_t, y):
    source = list(range(len(y)))
    for k in set(y.tolist()):
        mine = [i for i in range(len(y)) if y[i] == k]
        for i, j in zip(mine, mine[1:] + mine[:1], strict=True):
            source[i] = j
    return z_t[source]
