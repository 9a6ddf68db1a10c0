"""Answers to exercise 06: columns of classes that are there, small columns, absent classes, DIST, top-k and gains."""

import math

import torch
import torch.nn.functional as F
from scipy import special, stats

from kdcourse import metrics
from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


def correlation(u, v, extra=0.0):
    u, v = (m - m.mean(dim=1, keepdim=True) for m in (u, v))
    return (u * v).sum(dim=1) / (u.norm(dim=1) * v.norm(dim=1) + extra)


def softened(z_s, z_t, T):
    return (z_s / T).softmax(dim=1), (z_t / T).softmax(dim=1)


def distances(z_s, z_t, T):
    p_s, p_t = softened(z_s, z_t, T)
    return 1 - correlation(p_s.T, p_t.T)


@wrong("present_columns", 0.0, "absent classes are counted, too")
def all_columns(z_s, z_t, y, T):
    return distances(z_s, z_t, T).mean()


@wrong("present_columns", 0.0, "a class counts as often as it has images")
def columns_of_the_labels(z_s, z_t, y, T):
    return distances(z_s, z_t, T)[y].mean()


@wrong("present_columns", 0.0, "divided by all K")
def absent_columns_as_zeros(z_s, z_t, y, T):
    d = distances(z_s, z_t, T)
    return (d * torch.bincount(y, minlength=len(d)).clamp(max=1)).mean()


@wrong("present_columns", 0.0, "does not change with T")
def softened_at_four(z_s, z_t, y, T):
    return distances(z_s, z_t, 4.0)[y.unique()].mean()


@wrong("present_columns", 0.6, "the gradient on the student is off")
def student_lengths_detached(z_s, z_t, y, T):
    p_s, p_t = (m.T[y.unique()] for m in softened(z_s, z_t, T))
    u, v = (m - m.mean(1, keepdim=True) for m in (p_s, p_t))
    return (1 - (u * v).sum(1) / (u.norm(dim=1).detach() * v.norm(dim=1))).mean()


@right("present_columns")
def columns_by_corrcoef(z_s, z_t, y, T):
    p_s, p_t = softened(z_s.double(), z_t.double(), T)
    found = [1 - torch.corrcoef(torch.stack([p_s[:, k], p_t[:, k]]))[0, 1] for k in set(y.tolist())]
    return sum(found) / len(found)


@right("present_columns")
def half_the_distance_of_unit_columns(z_s, z_t, y, T):
    u, v = (F.normalize((m - m.mean(0))[:, y.unique()], dim=0, eps=1e-30) for m in softened(z_s, z_t, T))
    return (u - v).square().sum() / 2 / len(y.unique())


@wrong("column_correlation", 0.2, "a constant is added to the product")
def the_released_code_of_DIST(p_s, p_t):
    return correlation(p_s.T, p_t.T, 1e-8)


@wrong("column_correlation", 0.2, "the product of the lengths has a smallest value")
def cosine_similarity_of_centred_columns(p_s, p_t):
    u, v = p_s - p_s.mean(0), p_t - p_t.mean(0)
    return (u * v).sum(0) / (u.norm(dim=0) * v.norm(dim=0)).clamp_min(1e-8)


@wrong("column_correlation", 0.6, "a column that does not vary has the correlation 0")
def nothing_over_nothing(p_s, p_t):
    return correlation(p_s.T, p_t.T)


@wrong("column_correlation", 0.8, "where a column does not vary the gradient is no number")
def a_number_put_in_afterwards(p_s, p_t):
    return torch.nan_to_num(correlation(p_s.T, p_t.T))


@wrong("column_correlation", 0.0, "the columns keep their means")
def cosines_of_columns(p_s, p_t):
    return F.cosine_similarity(p_s, p_t, dim=0, eps=1e-30)


@wrong("column_correlation", 0.4, "columns that vary by less than a small number are set to 0")
def columns_above_a_billionth(p_s, p_t):
    live = (p_s.std(0) > 1e-9) & (p_t.std(0) > 1e-9)
    return torch.zeros(p_s.shape[1]).masked_scatter(live, correlation(p_s.T[live], p_t.T[live]))


@right("column_correlation")
def column_by_column(p_s, p_t):
    found = []
    for u, v in zip(p_s.T, p_t.T, strict=True):
        if (u == u[0]).all() or (v == v[0]).all():
            found.append(torch.zeros(()))
        else:
            u, v = u / u.max().detach(), v / v.max()
            u, v = u - u.mean(), v - v.mean()
            found.append((u @ v) / (u @ u).sqrt() / (v @ v).sqrt())
    return torch.stack(found)


@right("column_correlation")
def of_live_columns_alone(p_s, p_t):
    live = (p_s.amax(0) > p_s.amin(0)) & (p_t.amax(0) > p_t.amin(0))
    return torch.zeros(p_s.shape[1]).double().masked_scatter(
        live, correlation(p_s.double().T[live], p_t.double().T[live]))


@wrong("expected_absent", 0.0, "each image is drawn from all of them again")
def by_shares(counts, B):
    N = sum(counts)
    return sum((1 - n / N) ** B for n in counts)


@wrong("expected_absent", 0.0, "equally frequent")
def the_formula_of_the_lesson(counts, B):
    K = len(counts)
    return K * (1 - 1 / K) ** B


@wrong("expected_absent", 0.0, "the absent ones are asked for")
def classes_that_are_there(counts, B):
    N = sum(counts)
    return sum(1 - math.comb(N - n, B) / math.comb(N, B) for n in counts)


@right("expected_absent")
def draw_by_draw(counts, B):
    N = sum(counts)
    return torch.tensor(sum(math.prod((N - n - i) / (N - i) for i in range(B)) for n in counts))


@right("expected_absent")
def by_hypergeometric(counts, B):
    return float(sum(stats.hypergeom(sum(counts), n, B).pmf(0) for n in counts))


def without_labels(p, y):
    return p[F.one_hot(y, p.shape[1]) == 0].view(len(p), -1)


def dist(z_s, z_t, y, T, alpha, beta, gamma, part=without_labels):
    p_s, p_t = softened(z_s, z_t, T)
    inter, intra = ((1 - correlation(u, v)).mean() for u, v in ((part(p_s, y), part(p_t, y)), (p_s.T, p_t.T)))
    return alpha * F.cross_entropy(z_s, y) + beta * inter + gamma * intra


@wrong("repaired_dist", 0.0, "this is the lesson's loss")
def the_loss_of_the_lesson(z_s, z_t, y, T, alpha, beta, gamma):
    return dist(z_s, z_t, y, T, alpha, beta, gamma, part=lambda p, y: p)


@wrong("repaired_dist", 0.0, "is set to a number, and counts still")
def labels_set_to_zero(z_s, z_t, y, T, alpha, beta, gamma):
    return dist(z_s, z_t, y, T, alpha, beta, gamma, part=lambda p, y: p * (1 - F.one_hot(y, p.shape[1])))


@wrong("repaired_dist", 0.0, "beta and gamma are exchanged")
def named_as_in_the_text_of_the_paper(z_s, z_t, y, T, alpha, beta, gamma):
    return dist(z_s, z_t, y, T, alpha, gamma, beta)


@wrong("repaired_dist", 0.0, "tables whose rows had lost their means")
def centred_once(z_s, z_t, y, T, alpha, beta, gamma):
    u, v = (p - p.mean(dim=1, keepdim=True) for p in softened(z_s, z_t, T))
    intra = (1 - F.cosine_similarity(u, v, dim=0, eps=1e-30)).mean()
    return dist(z_s, z_t, y, T, alpha, beta, 0) + gamma * intra


@wrong("repaired_dist", 0.0, "both halves have T² before them")
def as_the_released_code_weighs(z_s, z_t, y, T, alpha, beta, gamma):
    return dist(z_s, z_t, y, T, alpha, T**2 * beta, T**2 * gamma)


@wrong("repaired_dist", 0.0, "the labels' term is softened, too")
def labels_at_T(z_s, z_t, y, T, alpha, beta, gamma):
    return dist(z_s, z_t, y, T, 0, beta, gamma) + alpha * F.cross_entropy(z_s / T, y)


@wrong("repaired_dist", 0.0, "the labels' term is softened, too: it belongs at T = 1; beta and gamma are exchanged")
def two_of_four_repaired(z_s, z_t, y, T, alpha, beta, gamma):
    return dist(z_s, z_t, y, T, 0, gamma, beta) + alpha * F.cross_entropy(z_s / T, y)


@wrong("repaired_dist", 0.6, "the gradient on the student is off")
def columns_without_a_gradient(z_s, z_t, y, T, alpha, beta, gamma):
    return dist(z_s, z_t, y, T, alpha, beta, 0) + gamma * distances(z_s.detach(), z_t, T).mean()


@right("repaired_dist")
def dist_by_unit_vectors(z_s, z_t, y, T, alpha, beta, gamma):
    p_s, p_t = softened(z_s, z_t, T)
    value = alpha * F.nll_loss(F.log_softmax(z_s, 1), y)
    for weight, tables in ((beta, [without_labels(p, y) for p in (p_s, p_t)]), (gamma, [p_s.T, p_t.T])):
        u, v = (F.normalize(p - p.mean(1, keepdim=True), eps=1e-30) for p in tables)
        value = value + weight * (u - v).square().sum(1).mean() / 2
    return value


@right("repaired_dist")
def dist_image_by_image(z_s, z_t, y, T, alpha, beta, gamma):
    p_s, p_t = softened(z_s.double(), z_t.double(), T)
    rows = [[k for k in range(p_s.shape[1]) if k != label] for label in y.tolist()]
    inter = [1 - torch.corrcoef(torch.stack([p_s[i, k], p_t[i, k]]))[0, 1] for i, k in enumerate(rows)]
    intra = [1 - torch.corrcoef(torch.stack([p_s[:, k], p_t[:, k]]))[0, 1] for k in range(p_s.shape[1])]
    hard = F.cross_entropy(z_s.double(), y)
    return alpha * hard + beta * sum(inter) / len(inter) + gamma * sum(intra) / len(intra)


@wrong("top_k_accuracy", 0.0, "a label that ties with others counts as found")
def ties_for_the_student(z, y, k):
    return ((z > z.gather(1, y[:, None])).sum(1) < k).double().mean().item()


@wrong("top_k_accuracy", 0.0, "it is in percent")
def top_k_in_percent(z, y, k):
    return 100 * strictly(z, y, k)


@wrong("top_k_accuracy", 0.0, "k is 1 here, whatever is given")
def the_only_largest(z, y, k):
    return strictly(z, y, 1)


@wrong("top_k_accuracy", 0.0, "this is the share of errors")
def top_k_errors(z, y, k):
    return 1 - strictly(z, y, k)


@wrong("top_k_accuracy", 0.0, "the label may be the last of the k")
def above_the_last_of_the_k(z, y, k):
    return (z.gather(1, y[:, None]) > z.topk(k, dim=1).values[:, -1:]).double().mean().item()


def strictly(z, y, k):
    return ((z >= z.gather(1, y[:, None])).sum(1) <= k).double().mean().item()


@right("top_k_accuracy")
def above_the_first_that_is_out(z, y, k):
    best = z.sort(dim=1, descending=True).values
    first_out = best[:, k] if k < z.shape[1] else torch.full((len(z),), -torch.inf)
    return (z[torch.arange(len(y)), y] > first_out).float().mean()


@right("top_k_accuracy")
def image_by_image_in_python(z, y, k):
    pairs = zip(z.tolist(), y.tolist(), strict=True)
    return sum(sum(one >= row[label] for one in row) <= k for row, label in pairs) / len(y)


def gains(accuracy, a="DIST", b="KD"):
    return [sa - wa - sb + wb for sa, wa, sb, wb in zip(
        accuracy[a, "strong"], accuracy[a, "weak"], accuracy[b, "strong"], accuracy[b, "weak"], strict=True)]


@wrong("gain_of_the_gain", 0.0, "KD is left out")
def of_dist_alone(accuracy):
    mean, low, high = metrics.interval([s - w for s, w in zip(
        accuracy["DIST", "strong"], accuracy["DIST", "weak"], strict=True)])
    return mean, (high - low) / 2


@wrong("gain_of_the_gain", 0.0, "the sign is turned")
def of_kd_over_dist(accuracy):
    mean, low, high = metrics.interval(gains(accuracy, "KD", "DIST"))
    return mean, (high - low) / 2


@wrong("gain_of_the_gain", 0.0, "taken as unpaired")
def four_groups(accuracy):
    groups = torch.tensor(list(accuracy.values()), dtype=torch.double)
    n = groups.shape[1]
    return sum(gains(accuracy)) / n, special.stdtrit(n - 1, 0.975) * (groups.var(dim=1).sum() / n).sqrt().item()


@wrong("gain_of_the_gain", 0.0, "Student's t takes its place")
def nearly_two(accuracy):
    g = torch.tensor(gains(accuracy))
    return g.mean().item(), 1.96 * g.std().item() / len(g) ** 0.5


@right("gain_of_the_gain")
def by_the_interval_of_the_course(accuracy):
    mean, low, high = metrics.interval(gains(accuracy))
    return mean, (high - low) / 2


@wrong("gain_of_the_gain", 0.0, "a pair (mean, half-width) is expected, not a tuple of 3")
def mean_low_and_high(accuracy):
    return metrics.interval(gains(accuracy))


@right("gain_of_the_gain")
def by_a_table_of_t_in_single_precision(accuracy):
    g = torch.tensor(gains(accuracy))
    return g.mean(), {4: 2.776, 7: 2.365}[len(g) - 1] * g.std() / len(g) ** 0.5


@right("gain_of_the_gain")
def by_scipy(accuracy):
    g = gains(accuracy)
    low, high = stats.t.interval(0.95, len(g) - 1, loc=sum(g) / len(g), scale=stats.sem(g))
    return [(low + high) / 2, high - sum(g) / len(g)]
