"""Exercise 10: ways to ship a network that look right, and unusual ones that are."""

import numpy as np
import torch
from scipy import stats

from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


def kept(x, low, high, bits):
    """A grid for every column, with whatever ends; a step of 1 where there is none."""
    step = (high - low) / (2**bits - 1)
    step = torch.where(step == 0, torch.ones_like(step), step)
    zero = (-low / step).round()
    return step * (((x / step).round() + zero).clamp(0, 2**bits - 1) - zero)


@wrong("stored_by_channels", 0.0, "low and high come from what was seen before")
def calibrated_on_what_is_stored(x, seen, bits):
    return kept(x, x.amin(0).clamp(max=0), x.amax(0).clamp(min=0), bits)


@wrong("stored_by_channels", 0.0, "one grid for all channels")
def per_tensor(x, seen, bits):
    return kept(x, seen.min().clamp(max=0), seen.max().clamp(min=0), bits)


@wrong("stored_by_channels", 0.0, "the grid does not reach to 0")
def ends_as_they_were_seen(x, seen, bits):
    return kept(x, seen.amin(0), seen.amax(0), bits)


@wrong("stored_by_channels", 0.8, "has the number 0 alone")
def nan_for_a_dead_channel(x, seen, bits):
    low, high = seen.amin(0).clamp(max=0), seen.amax(0).clamp(min=0)
    step = (high - low) / (2**bits - 1)
    zero = (-low / step).round()
    return step * (((x / step).round() + zero).clamp(0, 2**bits - 1) - zero)


@right("stored_by_channels")
def by_torch(x, seen, bits):
    """A step that is never 0, and torch's own quantiser."""
    low, high = seen.amin(0).clamp(max=0), seen.amax(0).clamp(min=0)
    step = ((high - low) / (2**bits - 1)).clamp(min=1e-12)
    zero = (-low / step).round().int()
    return torch.fake_quantize_per_channel_affine(x, step, zero, 1, 0, 2**bits - 1)


@right("stored_by_channels")
def column_by_column_with_numpy(x, seen, bits):
    out = torch.zeros_like(x)
    for j in range(x.shape[1]):
        low, high = min(0.0, seen[:, j].min().item()), max(0.0, seen[:, j].max().item())
        if high > low:
            s = (high - low) / (2**bits - 1)
            z = round(-low / s)
            q = np.clip(np.rint(x[:, j].numpy() / s) + z, 0, 2**bits - 1)
            out[:, j] = torch.tensor(s * (q - z))
    return out


@wrong("layer_in_bytes", 0.0, "the bias is added after the scaling")
def as_the_colleague_wrote_it(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    total = (q_x - zero_x).int() @ q_w.int().T
    y = s_x * s_w * total / s_y + q_b
    return (y.round() + zero_y).clamp(0, 255)


@wrong("layer_in_bytes", 0.0, "subtracted in uint8")
def below_0_begins_again_at_255(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    total = (q_x - zero_x).int() @ q_w.int().T + q_b
    return ((s_x * s_w / s_y * total).round() + zero_y).clamp(zero_y, 255)


@wrong("layer_in_bytes", 0.0, "the fraction is cut off")
def cast_to_whole_numbers(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    total = (q_x.int() - zero_x) @ q_w.int().T + q_b
    return ((s_x * s_w / s_y * total).int() + zero_y).clamp(zero_y, 255).to(torch.uint8)


@wrong("layer_in_bytes", 0.0, "the ReLU is missing")
def relu_at_the_number_0(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    total = (q_x.int() - zero_x) @ q_w.int().T + q_b
    return ((s_x * s_w / s_y * total).round() + zero_y).clamp(0, 255)


@wrong("layer_in_bytes", 0.0, "are rounded each for itself")
def sum_and_bias_rounded_one_by_one(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    unit, total = s_x * s_w / s_y, (q_x.int() - zero_x) @ q_w.int().T
    return ((unit * total).round() + (unit * q_b).round() + zero_y).clamp(zero_y, 255)


@wrong("layer_in_bytes", 0.0, "it stopped with an error")
def bytes_multiplied_as_they_are(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    return s_x * s_w / s_y * ((q_x - zero_x) @ q_w.T + q_b) + zero_y


@wrong("layer_in_bytes", 0.0, "begins again at 0: clamp before")
def a_byte_too_early(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    total = (q_x.int() - zero_x) @ q_w.int().T + q_b
    return ((s_x * s_w / s_y * total).round() + zero_y).clamp(min=zero_y).int().to(torch.uint8)


@wrong("layer_in_bytes", 0.0, "clamped before the zero point was added")
def relu_on_the_whole_numbers(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    total = (q_x.int() - zero_x) @ q_w.int().T + q_b
    return (s_x * s_w / s_y * total).round().clamp(0, 255).to(torch.uint8) + zero_y


@right("layer_in_bytes")
def in_real_numbers_first(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    x, w, b = s_x * (q_x.double() - zero_x), s_w[:, None].double() * q_w.double(), s_x * s_w.double() * q_b
    return torch.round((x @ w.T + b).relu() / s_y + zero_y).clamp(max=255).to(torch.uint8)


@right("layer_in_bytes")
def zero_point_outside_the_product(q_x, q_w, q_b, s_x, s_w, zero_x, s_y, zero_y):
    """The zero point times the sums of the weights can be computed once, before any image comes (Jacob, 2.3)."""
    once = q_b.long() - zero_x * q_w.long().sum(1)
    total = q_x.long() @ q_w.long().T + once
    return (total * s_x * s_w / s_y).round().clamp(0, 255 - zero_y) + zero_y


def rank(n):
    return int(stats.binom.ppf(0.025, n, 0.5))


def ends(r):
    r = r.sort().values
    return r[rank(len(r)) - 1], r[-rank(len(r))]


@wrong("honest_ratio", 0.5, "`torch.median` takes the lower of the two")
def lower_of_the_middle_two(a, b, warm):
    r = (a / b)[warm:]
    return r.median(), *ends(r)


@wrong("honest_ratio", 0.5, "cancels only within the turn")
def ratio_of_the_medians(a, b, warm):
    return np.median(a[warm:]) / np.median(b[warm:]), *ends((a / b)[warm:])


@wrong("honest_ratio", 0.0, "the ratio of the means: slow turns outweigh the others")
def means_and_quantiles(a, b, warm):
    a, b = a[warm:], b[warm:]
    r = a / b
    return a.mean() / b.mean(), r.quantile(0.025), r.quantile(0.975)


@wrong("honest_ratio", 0.0, "the turns of the warm-up are counted")
def with_the_warm_up(a, b, warm):
    r = a / b
    return r.quantile(0.5), *ends(r)


@wrong("honest_ratio", 0.5, "one rank too high")
def ranks_counted_from_0(a, b, warm):
    r = (a / b)[warm:].sort().values
    k = rank(len(r))
    return r.quantile(0.5), r[k], r[len(r) - k + 1]


@wrong("honest_ratio", 0.5, "of a normal distribution")
def ranks_of_a_normal_distribution(a, b, warm):
    r = (a / b)[warm:].sort().values
    k = round(len(r) / 2 - 0.98 * len(r) ** 0.5)
    return r.quantile(0.5), r[k - 1], r[-k]


@right("honest_ratio")
def through_logarithms(a, b, warm):
    """Ranks are the same for logarithms; the median of an even number is not, so it is taken of the ratios."""
    r = np.sort(np.exp(np.log(a.numpy()) - np.log(b.numpy()))[warm:])
    k = rank(len(r))
    return torch.tensor([np.median(r), r[k - 1], r[::-1][k - 1]])


@right("honest_ratio")
def by_the_sign_test(a, b, warm):
    """The ratios that a sign test at 5 % does not refuse as the median."""
    r = (a / b)[warm:].tolist()
    held = [m for m in r if stats.binomtest(min(sum(v <= m for v in r), sum(v >= m for v in r)), len(r)).pvalue > 0.05]
    return [sorted(r)[len(r) // 2 - 1] / 2 + sorted(r)[len(r) // 2] / 2, min(held), max(held)]


def left(sure, z, y, costs):
    sure = torch.cat([sure, torch.ones(1, len(y), dtype=torch.bool)])
    at = sure.int().argmax(0)
    return (z.argmax(2).gather(0, at[None])[0] == y).double().mean(), costs[at].mean()


def margins(z):
    two = z.topk(2, dim=2).values
    return two[..., 0] - two[..., 1]


@wrong("leave_by_margin", 0.0, "the largest probability alone is compared")
def by_confidence(z, y, costs, thresholds):
    return left(z.softmax(2).amax(2)[:-1] >= thresholds[:, None], z, y, costs)


@wrong("leave_by_margin", 0.0, "the margin is one of logits")
def by_logits(z, y, costs, thresholds):
    return left(margins(z)[:-1] >= thresholds[:, None], z, y, costs)


@wrong("leave_by_margin", 0.5, "the costs were added up")
def paid_twice(z, y, costs, thresholds):
    return left(margins(z.softmax(2))[:-1] >= thresholds[:, None], z, y, costs.cumsum(0))


@wrong("leave_by_margin", 0.5, "the last exit answers")
def answered_by_the_last(z, y, costs, thresholds):
    cost = left(margins(z.softmax(2))[:-1] >= thresholds[:, None], z, y, costs)[1]
    return (z[-1].argmax(1) == y).double().mean(), cost


@wrong("leave_by_margin", 0.0, "at least the threshold is asked")
def surer_than_the_threshold(z, y, costs, thresholds):
    return left(margins(z.softmax(2))[:-1] > thresholds[:, None], z, y, costs)


@right("leave_by_margin")
def image_by_image(z, y, costs, thresholds):
    right, paid = 0, 0.0
    for i, label in enumerate(y.tolist()):
        for k in range(len(z)):
            second, first = z[k, i].softmax(0).sort().values[-2:].tolist()
            if k == len(z) - 1 or first - second >= thresholds[k].item():
                right, paid = right + (z[k, i].argmax().item() == label), paid + costs[k].item()
                break
    return right / len(y), paid / len(y)


@wrong("undominated", 0.0, "better in everything")
def strictly_better(accuracy, costs):
    v = torch.cat([accuracy[:, None].double(), -costs], 1)
    return ~(v[:, None] > v[None]).all(2).any(0)


@wrong("undominated", 0.0, "equal in everything throw each other out")
def twins_throw_each_other_out(accuracy, costs):
    v = torch.cat([accuracy[:, None].double(), -costs], 1)
    return [not any(j != i and (v[j] >= v[i]).all() for j in range(len(v))) for i in range(len(v))]


@wrong("undominated", 0.0, "they have different units")
def the_sum_of_the_costs(accuracy, costs):
    v = torch.stack([accuracy.double(), -costs.sum(1)], 1)
    return ~((v[:, None] >= v[None]).all(2) & (v[:, None] > v[None]).any(2)).any(0)


@wrong("undominated", 0.0, "as dear and more accurate throws out as well")
def cheaper_in_something(accuracy, costs):
    better = (accuracy[:, None] >= accuracy) & (costs[:, None] <= costs).all(2) & (costs[:, None] < costs).any(2)
    return ~better.any(0)


@wrong("undominated", 0.0, "as accurate and cheaper throws out as well")
def more_accurate(accuracy, costs):
    return ~((accuracy[:, None] > accuracy) & (costs[:, None] <= costs).all(2)).any(0)


@right("undominated")
def unique_points_in_sets(accuracy, costs):
    points = [(-a, *c) for a, c in zip(accuracy.tolist(), costs.tolist(), strict=True)]
    return torch.tensor([not any(other != one and all(p <= q for p, q in zip(other, one, strict=True))
                                 for other in set(points)) for one in points])


@right("undominated")
def in_a_list_of_numpys_truths(accuracy, costs):
    a, c = accuracy.double().numpy(), costs.double().numpy()
    at_most, at_least = (c[:, None] <= c).all(2), a[:, None] >= a
    better = at_most & at_least & ((c[:, None] < c).any(2) | (a[:, None] > a))
    return [~np.any(better[:, i]) for i in range(len(a))]
