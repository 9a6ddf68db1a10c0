"""Exercise 08: measures of what was learned that look right, and unusual ones that are."""

import math
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from sklearn.neighbors import NearestNeighbors

from kdcourse import metrics
from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


@wrong("error_consistency", 0.0, "the predicted classes are compared")
def kappa_of_the_predictions(z_a, z_b, y):
    a, b = z_a.argmax(1), z_b.argmax(1)
    p, q = (a == y).double().mean(), (b == y).double().mean()
    chance = p * q + (1 - p) * (1 - q)
    return ((a == b).double().mean() - chance) / (1 - chance)


@wrong("error_consistency", 0.0, "by chance both can also be wrong")
def chance_of_being_right_alone(z_a, z_b, y):
    a, b = z_a.argmax(1) == y, z_b.argmax(1) == y
    chance = a.double().mean() * b.double().mean()
    return ((a == b).double().mean() - chance) / (1 - chance)


@wrong("error_consistency", 0.0, "not corrected")
def share_of_equal_correctness(z_a, z_b, y):
    return ((z_a.argmax(1) == y) == (z_b.argmax(1) == y)).double().mean().item()


@wrong("error_consistency", 0.0, "it stopped with an error")
def mean_of_truth_values(z_a, z_b, y):
    return ((z_a.argmax(1) == y) == (z_b.argmax(1) == y)).mean()


@right("error_consistency")
def cohens_kappa_of_being_right(z_a, z_b, y):
    return cohen_kappa_score((z_a.argmax(1) == y).numpy(), (z_b.argmax(1) == y).numpy())


@right("error_consistency")
def from_a_table_of_four_counts(z_a, z_b, y):
    a, b = z_a.argmax(1) == y, z_b.argmax(1) == y
    n = len(y)
    both, only_a = (a & b).sum().item(), (a & ~b).sum().item()
    only_b, neither = (~a & b).sum().item(), (~a & ~b).sum().item()
    chance = ((both + only_a) * (both + only_b) + (neither + only_a) * (neither + only_b)) / n**2
    return ((both + neither) / n - chance) / (1 - chance)


@wrong("squared_ece", 0.0, "the gaps are absolute")
def the_usual_ece_in_equal_bins(confidence, right, bins):
    order = confidence.argsort()
    parts = zip(confidence[order].chunk(bins), right[order].double().chunk(bins), strict=True)
    return sum((c.mean() - r.mean()).abs() for c, r in parts) / bins


@wrong("squared_ece", 0.0, "must move together")
def only_the_confidences_are_sorted(confidence, right, bins):
    c, r = confidence.sort().values.view(bins, -1), right.double().view(bins, -1)
    return (c.mean(1) - r.mean(1)).square().mean()


@wrong("squared_ece", 0.0, "squared for each image")
def a_brier_score_of_the_confidence(confidence, right, bins):
    return (confidence - right.double()).square().mean()


@wrong("squared_ece", 0.0, "are not sorted by confidence")
def bins_in_the_order_of_the_images(confidence, right, bins):
    return (confidence - right.double()).view(bins, -1).mean(1).pow(2).mean()


@right("squared_ece")
def with_numpy(confidence, right, bins):
    order = np.argsort(confidence.numpy())
    parts = np.array_split(order, bins)
    return float(np.mean([(confidence.numpy()[i].mean() - right.numpy()[i].mean()) ** 2 for i in parts]))


@right("squared_ece")
def sorted_downwards(confidence, right, bins):
    order = confidence.argsort(descending=True)
    gap = confidence[order] - right[order].float()
    return sum(part.mean() ** 2 for part in gap.tensor_split(bins)) / bins


@wrong("squared_ece_null", 0.0, "the variance of one answer")
def not_divided_by_the_images_of_a_bin(confidence, bins):
    return (confidence * (1 - confidence)).mean()


@wrong("squared_ece_null", 0.0, "the bin's mean confidence")
def one_variance_for_a_bin(confidence, bins):
    c = confidence.sort().values.view(bins, -1)
    return (c.mean(1) * (1 - c.mean(1))).mean() / c.shape[1]


@wrong("squared_ece_null", 0.0, "it is divided by the number of bins")
def divided_by_bins(confidence, bins):
    return (confidence * (1 - confidence)).mean() / bins


@right("squared_ece_null")
def no_bin_is_needed(confidence, bins):
    return bins * (confidence * (1 - confidence)).sum() / len(confidence) ** 2


@right("squared_ece_null")
def bin_by_bin(confidence, bins):
    total = 0.0
    for c in sorted(confidence.tolist()), :
        m = len(c) // bins
        for k in range(bins):
            total += sum(x * (1 - x) for x in c[k * m : (k + 1) * m]) / m**2 / bins
    return total


@wrong("temperature_slope", 0.0, "the slope in T")
def slope_in_T(z, y, T):
    own = z.gather(1, y[:, None])[:, 0]
    return ((own - ((z / T).softmax(1) * z).sum(1)) / T**2).mean()


@wrong("temperature_slope", 0.0, "are not softened")
def probabilities_at_one(z, y, T):
    own = z.gather(1, y[:, None])[:, 0]
    return (own - (z.softmax(1) * z).sum(1)).mean() / T


@wrong("temperature_slope", 0.0, "the sign is turned round")
def downhill(z, y, T):
    own = z.gather(1, y[:, None])[:, 0]
    return (((z / T).softmax(1) * z).sum(1) - own).mean() / T


@wrong("temperature_slope", 0.0, "autograd is switched off")
def by_autograd(z, y, T):
    log_T = torch.tensor(math.log(T), dtype=torch.double, requires_grad=True)
    return torch.autograd.grad(F.cross_entropy(z.double() / log_T.exp(), y), log_T)[0]


@wrong("temperature_slope", 0.0, "autograd is switched off")
def by_the_gradient_on_the_logits(z, y, T):
    z = z.double().requires_grad_()
    F.cross_entropy(z / T, y).backward()
    return -(z.grad * z.detach()).sum()


@wrong("temperature_slope", 0.5, "without automatic differentiation: grad")
def by_a_function_that_differentiates(z, y, T):
    return torch.func.grad(lambda log_T: F.cross_entropy(z.double() / log_T.exp(), y))(torch.tensor(T).double().log())


@wrong("temperature_slope", 0.5, "without automatic differentiation: forward_ad")
def by_differentiating_forward(z, y, T):
    def error(log_T):
        return F.cross_entropy(z.double() / log_T.exp(), y)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, the first time
        return torch.func.jvp(error, (torch.tensor(T).double().log(),), (torch.ones(()).double(),))[1]


def by_differences(z, y, T, h=1e-5, sides=(1, -1)):
    """(the loss at a little more minus that at a little less) over the distance in log T."""
    up, down = (F.cross_entropy(z.double() / (T * math.exp(side * h)), y) for side in sides)
    return (up - down) / (sides[0] - sides[1]) / h


@wrong("temperature_slope", 0.5, "a difference of two losses loses its digits")
def by_central_differences(z, y, T):
    return by_differences(z, y, T)


@wrong("temperature_slope", 0.5, "a difference of two losses loses its digits")
def by_forward_differences(z, y, T):
    return by_differences(z, y, T, 1e-7, (1, 0))


@wrong("temperature_slope", 0.5, "a difference of two losses loses its digits")
def by_wide_differences(z, y, T):
    return by_differences(z, y, T, 1e-4)


@right("temperature_slope")
def by_the_expected_logit_of_each_row(z, y, T):
    own, p = z[torch.arange(len(y)), y], (z / T).softmax(1)
    return ((own - torch.einsum("bk,bk->b", p, z)) / T).mean().item()


@right("temperature_slope")
def by_a_softmax_of_ones_own(z, y, T):  # far from 0 it overflows, which is not what is asked for here
    p = (z / T).exp() / (z / T).exp().sum(1, keepdim=True)
    return ((z[torch.arange(len(y)), y] - (p * z).sum(1)) / T).mean()


@right("temperature_slope")
def by_logarithms(z, y, T):
    log_p = z / T - (z / T).logsumexp(1, keepdim=True)
    return (z.gather(1, y[:, None])[:, 0] - (log_p.exp() * z).sum(1)).mean() / T


@right("temperature_slope")
def one_image_after_the_other(z, y, T):
    slopes = []
    for logits, label in zip(z.double().tolist(), y.tolist(), strict=True):
        shares = [math.exp((logit - max(logits)) / T) for logit in logits]
        expected = sum(share * logit for share, logit in zip(shares, logits, strict=True)) / sum(shares)
        slopes.append((logits[label] - expected) / T)
    return sum(slopes) / len(slopes)


@right("temperature_slope")
def residual_times_logits(z, y, T):
    u = z / T
    return -((u.softmax(1) - F.one_hot(y, z.shape[1])) * u).sum(1).mean()


def cka(a, b, hsic=metrics.unbiased_hsic):
    K, L = a @ a.T, b @ b.T
    return hsic(K, L), hsic(K, K), hsic(L, L)


def biased(K, L):
    n = len(K)
    pairs, every, rows = (K * L).sum(), K.sum() * L.sum(), K.sum(0) @ L.sum(0)
    return (pairs + every / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


@wrong("batched_cka", 0.0, "the CKAs of the batches are averaged")
def mean_of_the_ratios(f_a, f_b, size):
    every = [metrics.linear_cka(a, b) for a, b in zip(f_a.split(size), f_b.split(size), strict=True)]
    return sum(every) / len(every)


@wrong("batched_cka", 0.0, "the diagonal of the second matrix is still there; the CKAs of the batches are averaged")
def as_the_colleague_wrote_it(f_a, f_b, size):
    found = []
    for a, b in zip(f_a.split(size), f_b.split(size), strict=True):
        K, L = a @ a.T, b @ b.T
        K = K - torch.diag(K.diagonal())
        found.append(biased(K, L) / (biased(K, K) * biased(L, L)) ** 0.5)
    return sum(found) / len(found)


@wrong("batched_cka", 0.0, "the diagonals are still there")
def with_both_diagonals(f_a, f_b, size):
    x, k, m = torch.tensor([cka(a, b, biased) for a, b in zip(f_a.split(size), f_b.split(size), strict=True)]).mean(0)
    return x / (k * m).sqrt()


@wrong("batched_cka", 0.0, "all images are taken at once")
def without_batches(f_a, f_b, size):
    return metrics.linear_cka(f_a, f_b)


@right("batched_cka")
def sums_in_place_of_means(f_a, f_b, size):
    found = [cka(f_a[i : i + size], f_b[i : i + size]) for i in range(0, len(f_a), size)]
    x, k, m = (sum(column).item() for column in zip(*found, strict=True))
    return x / math.sqrt(k) / math.sqrt(m)


@wrong("separability", 0.0, "the image itself is among its neighbours")
def its_own_neighbour(f, y, k):
    near = torch.cdist(f, f).topk(k, largest=False).indices
    counts = y.bincount().double()
    chance = (counts * (counts - 1)).sum() / len(y) / (len(y) - 1)
    return ((y[near] == y[:, None]).double().mean() - chance) / (1 - chance)


@wrong("separability", 0.0, "this is the share, not corrected")
def purity_alone(f, y, k):
    return (y[metrics.neighbours(f, k)] == y[:, None]).double().mean()


@wrong("separability", 0.0, "chance is one over the number of labels")
def chance_of_balanced_labels(f, y, k):
    share = (y[metrics.neighbours(f, k)] == y[:, None]).double().mean()
    chance = 1 / (y.max().item() + 1)
    return (share - chance) / (1 - chance)


@right("separability")
def by_scikit_learn(f, y, k):
    near = NearestNeighbors(n_neighbors=k).fit(f.numpy()).kneighbors(return_distance=False)
    share = float((y.numpy()[near] == y.numpy()[:, None]).mean())
    n = y.bincount().double()
    chance = float((n / n.sum() * (n - 1) / (n.sum() - 1)).sum())
    return (share - chance) / (1 - chance)


def taught(make, teach, measure, lesson, seed):
    student = make(seed)
    teach(student, lesson=lesson, seed=seed)
    return measure(student)


def compared(width):
    def what_teaching_adds(make, teach, measure, *, control, seeds, questions):
        groups = [[taught(make, teach, measure, lesson, seed) for seed in seeds] for lesson in ("teacher", control)]
        gaps = [a - b for a, b in zip(*groups, strict=True)]
        return sum(gaps) / len(gaps), width(np.array(gaps), np.array(groups), questions)

    return what_teaching_adds


def half(values, share):
    return stats.t.ppf(share, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))


@wrong("what_teaching_adds", 0.7, "the interval of a single question")
def as_if_one_question_were_asked(make, teach, measure, *, control, seeds, questions):
    return compared(lambda gaps, groups, m: half(gaps, 0.975))(
        make, teach, measure, control=control, seeds=seeds, questions=questions)


@wrong("what_teaching_adds", 0.7, "two unpaired groups")
def unpaired(make, teach, measure, *, control, seeds, questions):
    return compared(lambda gaps, groups, m: math.hypot(*(half(one, 1 - 0.025 / m) for one in groups)))(
        make, teach, measure, control=control, seeds=seeds, questions=questions)


@wrong("what_teaching_adds", 0.0, 'taught by the lesson')
def compared_with_students_that_never_learnt(make, teach, measure, *, control, seeds, questions):
    gaps = np.array([taught(make, teach, measure, "teacher", seed) - measure(make(seed)) for seed in seeds])
    return gaps.mean(), half(gaps, 1 - 0.025 / questions)


@wrong("what_teaching_adds", 0.8, "a pair shares its seed")
def the_control_sees_another_order(make, teach, measure, *, control, seeds, questions):
    def late(student, lesson, seed):
        teach(student, lesson, seed + (lesson == control))

    return compared(lambda gaps, groups, m: half(gaps, 1 - 0.025 / m))(
        make, late, measure, control=control, seeds=seeds, questions=questions)


@wrong("what_teaching_adds", 0.8, "it is teacher minus control")
def control_minus_teacher(make, teach, measure, *, control, seeds, questions):
    mean, width = compared(lambda gaps, groups, m: half(gaps, 1 - 0.025 / m))(
        make, teach, measure, control=control, seeds=seeds, questions=questions)
    return -mean, width


@right("what_teaching_adds")
def by_scipy(make, teach, measure, *, control, seeds, questions):
    gaps = [taught(make, teach, measure, "teacher", s) - taught(make, teach, measure, control, s) for s in seeds]
    low, high = stats.t.interval(1 - 0.05 / questions, len(gaps) - 1, np.mean(gaps), stats.sem(gaps))
    return (low + high) / 2, (high - low) / 2
