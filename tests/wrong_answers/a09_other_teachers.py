"""Exercise 09: losses of peers, sets, bridges and memories that look right, and unusual ones that are."""

import math

import torch
import torch.nn.functional as F
from torch.distributions import Categorical, kl_divergence

from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


def kl(z, guide):
    """KL(guide || z), averaged over the images."""
    return kl_divergence(Categorical(logits=guide), Categorical(logits=z)).mean()


def peers(z, k):
    return [one for i, one in enumerate(z) if i != k]


@wrong("cohort_loss", 0.0, "the peers are not detached")
def everybody_moves_everybody(z, y):
    return sum(F.cross_entropy(z[k], y) + sum(kl(z[k], one) for one in peers(z, k)) / (len(z) - 1)
               for k in range(len(z)))


@wrong("cohort_loss", 0.0, "one divergence from the mean of the others' probabilities")
def from_the_ensemble(z, y):
    return sum(F.cross_entropy(z[k], y) + kl(z[k], torch.stack(peers(z, k)).softmax(2).mean(0).log().detach())
               for k in range(len(z)))


@wrong("cohort_loss", 0.0, "nobody is a peer of its own")
def over_all_networks(z, y):
    return sum(F.cross_entropy(z[k], y) + sum(kl(z[k], one.detach()) for one in z) / len(z) for k in range(len(z)))


@wrong("cohort_loss", 0.0, "the losses of the networks are averaged")
def averaged_over_networks(z, y):
    return by_differences(z, y) / len(z)


@wrong("share_loss", 0.0, "the divergences of single images are averaged")
def image_by_image(z_t, q):
    return F.kl_div(q.log().expand_as(z_t), z_t.log_softmax(1), reduction="batchmean", log_target=True)


@wrong("share_loss", 0.7, "with classes that the teacher never says")
def by_a_plain_logarithm(z_t, q):
    mean = z_t.softmax(1).mean(0)
    return (mean * (mean / q).log()).sum()


@wrong("share_loss", 0.0, "a count has no gradient")
def by_counting(z_t, q):
    mean = torch.bincount(z_t.argmax(1), minlength=len(q)) / len(z_t)
    return torch.special.xlogy(mean, mean).sum() - (mean * q.log()).sum()


@wrong("share_loss", 0.0, "the divergence runs the wrong way")
def arguments_of_kl_div_exchanged(z_t, q):
    return F.kl_div(z_t.softmax(1).mean(0).clamp_min(1e-12).log(), q, reduction="sum")


@wrong("share_loss", 0.0, "this is the lesson's entropy term")
def as_in_the_lesson(z_t, q):
    mean = z_t.softmax(1).mean(0).clamp_min(1e-12)
    return (mean * mean.log()).sum()


@wrong("set_information", 0.0, "as if all were equally large")
def mean_of_the_means(batches):
    p = [z.softmax(1) for z in batches]
    mean = torch.stack([one.mean(0) for one in p]).mean(0)
    return torch.special.entr(mean).sum() - torch.stack([torch.special.entr(one).sum(1).mean() for one in p]).mean()


@wrong("set_information", 0.0, "it was computed for each batch")
def mean_over_the_batches(batches):
    found = [(by_one_table([z]), len(z)) for z in batches]
    return sum(value * n for value, n in found) / sum(n for _, n in found)


@wrong("set_information", 0.75, "0 log 0 = 0")
def with_a_plain_logarithm(batches):
    p = torch.cat(list(batches)).softmax(1)
    return (p * p.log()).sum(1).mean() - (p.mean(0) * p.mean(0).log()).sum()


@wrong("set_information", 0.0, "the mean of the entropies is taken from it")
def how_many_classes_alone(batches):
    return torch.special.entr(torch.cat(list(batches)).softmax(1).mean(0)).sum()


@wrong("gapped_bridge", 0.2, "by those that have a label")
def divided_by_everything(z_s, z_t, y, T, alpha):
    there = z_t.isfinite().all(1)
    hard = F.cross_entropy(z_s, y, ignore_index=-1, reduction="sum") / len(y)
    return (1 - alpha) * hard + alpha * T**2 * kl(z_s[there] / T, z_t[there] / T)


@wrong("gapped_bridge", 0.0, "both parts are divided by all images")
def means_over_the_whole_batch(z_s, z_t, y, T, alpha):
    labelled, paired = y >= 0, ~z_t.isnan().any(dim=1)
    hard = F.cross_entropy(z_s, y, ignore_index=-1, reduction="sum")
    soft = kl(z_s[paired] / T, z_t[paired] / T) * paired.sum() if paired.any() else 0
    return ((1 - alpha) * hard * labelled.any() + alpha * T**2 * soft) / len(y)


@wrong("gapped_bridge", 0.6, "without a pair in the batch")
def empty_means(z_s, z_t, y, T, alpha):
    there, known = z_t.isfinite().all(1), y >= 0
    soft = F.kl_div((z_s[there] / T).log_softmax(1), (z_t[there] / T).softmax(1), reduction="none").sum(1).mean()
    return (1 - alpha) * F.cross_entropy(z_s[known], y[known]) + alpha * T**2 * soft


@wrong("gapped_bridge", 0.0, "0 times nan is nan")
def by_multiplying_with_a_mask(z_s, z_t, y, T, alpha):
    there = z_t.isfinite().all(1).float()
    each = kl_divergence(Categorical(logits=z_t / T, validate_args=False), Categorical(logits=z_s / T))
    return alpha * T**2 * (there * each).sum() / there.sum()


@wrong("gapped_bridge", 0.8, "without a pair in the batch the gradient on the student is no number")
def chosen_after_the_division(z_s, z_t, y, T, alpha):
    there, known = ~z_t.isnan().any(1), y >= 0
    soft = kl_divergence(Categorical(logits=z_t.nan_to_num() / T), Categorical(logits=z_s / T))
    hard = F.cross_entropy(z_s, y.clamp_min(0), reduction="none")
    parts = [torch.where(mask.any(), (each * mask).sum() / mask.sum(), 0.0)
             for each, mask in ((hard, known), (soft, there))]
    return (1 - alpha) * parts[0] + alpha * T**2 * parts[1]


@wrong("gapped_bridge", 0.5, "the gradient on the student is not finite")
def chosen_after_the_divergence(z_s, z_t, y, T, alpha):
    there, known = ~z_t.isnan().any(1), y >= 0
    each = F.kl_div((z_s / T).log_softmax(1), (z_t / T).softmax(1), reduction="none").sum(1)
    soft = torch.where(there, each, 0.0).sum() / there.sum().clamp_min(1)
    hard = F.cross_entropy(z_s, y, ignore_index=-1, reduction="sum") / known.sum().clamp_min(1)
    return (1 - alpha) * hard + alpha * T**2 * soft


@wrong("gapped_bridge", 0.0, "only images that have both")
def complete_cases_only(z_s, z_t, y, T, alpha):
    both = z_t.isfinite().all(1) & (y >= 0)
    return by_sums(z_s[both], z_t[both], y[both], T, alpha)


@wrong("tasks_loss", 0.0, "the labels' part has the temperature T")
def everything_at_T(z, z_before, y, old, new, T, beta):
    hard = F.cross_entropy(z[:, new] / T, torch.tensor([new.index(k) for k in y.tolist()]))
    return hard + beta * T**2 * sum(kl(z[:, one] / T, z_before.detach()[:, one] / T) for one in old)


@wrong("tasks_loss", 0.0, "all old tasks share one softmax")
def one_softmax(z, z_before, y, old, new, T, beta):
    return by_heads(z, z_before, y, [[k for task in old for k in task]], new, T, beta)


@wrong("tasks_loss", 0.0, "sees all columns")
def by_the_class(z, z_before, y, old, new, T, beta):
    soft = sum(kl(z[:, task] / T, z_before[:, task].detach() / T) for task in old)
    return F.cross_entropy(z, y) + beta * T**2 * soft


@wrong("tasks_loss", 0.0, "the network of before is not detached")
def both_networks_move(z, z_before, y, old, new, T, beta):
    hard = F.cross_entropy(z[:, new], torch.tensor([new.index(k) for k in y.tolist()]))
    return hard + beta * T**2 * sum(kl(z[:, task] / T, z_before[:, task] / T) for task in old)


@wrong("tasks_loss", 0.0, "in the sorted columns")
def labels_in_another_order(z, z_before, y, old, new, T, beta):
    soft = sum(kl(z[:, task] / T, z_before[:, task].detach() / T) for task in old)
    return F.cross_entropy(z[:, new], torch.searchsorted(torch.tensor(sorted(new)), y)) + beta * T**2 * soft


@right("cohort_loss")
def by_differences(z, y):
    log = [one.double().log_softmax(1) for one in z]
    total = 0
    for k, own in enumerate(log):
        others = torch.stack([one.detach() for one in peers(log, k)])
        total = total + F.nll_loss(own, y) + (others.exp() * (others - own)).sum(2).mean()
    return total


@right("cohort_loss")
def ordered_pairs(z, y):
    total = torch.stack([F.cross_entropy(one, y) for one in z]).sum()
    for i in range(len(z)):
        for j in range(i):
            total = total + (kl(z[i], z[j].data) + kl(z[j], z[i].data)) / (len(z) - 1)
    return total


@right("share_loss")
def by_logarithms(z_t, q):
    log_mean = z_t.log_softmax(1).logsumexp(0) - math.log(len(z_t))
    return F.kl_div(q.log(), log_mean, log_target=True, reduction="sum")


@right("share_loss")
def with_a_floor(z_t, q):
    mean = z_t.double().softmax(1).mean(0).clamp_min(1e-12)
    return (mean * mean.log()).sum() - (mean * q.double().log()).sum()


@right("set_information")
def by_one_table(batches):
    p = torch.cat(list(batches)).double().softmax(1)
    return torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(1).mean()


@right("set_information")
def by_running_sums(batches):
    n, total, single = 0, 0.0, 0.0
    for z in batches:
        n, total = n + len(z), total + z.double().softmax(1).sum(0)
        single += Categorical(logits=z.double()).entropy().sum().item()
    return (torch.special.entr(total / n).sum() - single / n).item()


@right("set_information")
def as_a_divergence(batches):
    log = torch.cat([z.double() for z in batches]).log_softmax(1)
    mean = log.logsumexp(0) - math.log(len(log))
    return F.kl_div(mean.expand_as(log), log, log_target=True, reduction="batchmean")


@right("gapped_bridge")
def by_sums(z_s, z_t, y, T, alpha):
    there = ~z_t.isnan().any(1)
    hard = F.cross_entropy(z_s, y, ignore_index=-1, reduction="sum") / max(1, int((y >= 0).sum()))
    soft = F.kl_div((z_s[there] / T).log_softmax(1), (z_t[there] / T).softmax(1), reduction="sum")
    return (1 - alpha) * hard + alpha * T * T * soft / max(1, int(there.sum()))


@right("gapped_bridge")
def only_where_there_is_something(z_s, z_t, y, T, alpha):
    value = 0 * z_s.sum()
    for i, row in enumerate(z_s):
        if y[i] >= 0:
            value = value + (1 - alpha) * F.cross_entropy(row, y[i]) / (y >= 0).sum()
        if not z_t[i].isnan().any():
            soft = F.kl_div((row / T).log_softmax(0), (z_t[i] / T).softmax(0), reduction="sum")
            value = value + alpha * T**2 * soft / (~z_t.isnan().any(1)).sum()
    return value


@right("tasks_loss")
def by_heads(z, z_before, y, old, new, T, beta):
    said = z_before.detach()
    soft = sum(kl(z[:, task] / T, said[:, task] / T) for task in old)
    return F.cross_entropy(z[:, new], (y[:, None] == torch.tensor(new)).int().argmax(1)) + beta * T**2 * soft


@right("tasks_loss")
def by_filling_with_minus_infinity(z, z_before, y, old, new, T, beta):
    def only(z, columns):
        mask = torch.ones(z.shape[1], dtype=torch.bool)
        mask[columns] = False
        return z.double().masked_fill(mask, -1e9)

    value = F.cross_entropy(only(z, new), y)
    for task in old:
        log_now, log_then = (only(one, task).div(T).log_softmax(1) for one in (z, z_before.data))
        value = value + beta * T**2 * (log_then.exp() * (log_then - log_now)).sum(1).mean()
    return value
