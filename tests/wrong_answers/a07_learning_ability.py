"""Exercise 07: steps, weights and recordings that look right, and unusual ones that are."""

import math

import torch
import torch.nn.functional as F
from torch.distributions import Categorical, kl_divergence

from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


def bracket(z, guide, y, T, lam):
    soft = kl_divergence(Categorical(logits=guide / T), Categorical(logits=z / T)).mean()
    return lam * F.cross_entropy(z, y) + (1 - lam) * T**2 * soft


def learners(z_1, z_2, z_t, y, T, lam):
    return bracket(z_1, z_t.detach(), y, T, lam) + bracket(z_2, z_t.detach(), y, T, lam)


@wrong("whole_step", 0.0, "the fused logits are not detached")
def as_released(z_s, z_1, z_2, z_t, y, T, lam, w):
    guide = w * z_1 + (1 - w) * z_2
    return (bracket(z_s, z_t.detach(), y, T, lam) + bracket(z_s, guide, y, T, lam)
            + learners(z_1, z_2, z_t, y, T, lam))


@wrong("whole_step", 0.0, "nobody teaches them")
def the_student_alone(z_s, z_1, z_2, z_t, y, T, lam, w):
    guide = (w * z_1 + (1 - w) * z_2).detach()
    return bracket(z_s, z_t.detach(), y, T, lam) + bracket(z_s, guide, y, T, lam)


@wrong("whole_step", 0.0, "w is the share of the first learner")
def shares_exchanged(z_s, z_1, z_2, z_t, y, T, lam, w):
    return with_constants(z_s, z_1, z_2, z_t, y, T, lam, 1 - w)


@wrong("whole_step", 0.0, "the learners follow the student")
def learners_of_the_student(z_s, z_1, z_2, z_t, y, T, lam, w):
    guide = (w * z_1 + (1 - w) * z_2).detach()
    return (bracket(z_s, z_t.detach(), y, T, lam) + bracket(z_s, guide, y, T, lam)
            + learners(z_1, z_2, z_s, y, T, lam))


@wrong("whole_step", 0.0, "the losses move the teacher, too")
def a_teacher_that_is_moved(z_s, z_1, z_2, z_t, y, T, lam, w):
    guide = (w * z_1 + (1 - w) * z_2).detach()
    return sum(bracket(*pair, y, T, lam) for pair in ((z_s, z_t), (z_s, guide), (z_1, z_t), (z_2, z_t)))


@wrong("whole_step", 0.0, "T stands where T^2 belongs")
def no_square(z_s, z_1, z_2, z_t, y, T, lam, w):
    soft = with_constants(z_s, z_1, z_2, z_t, y, T, 0.0, w) / T
    return lam * with_constants(z_s, z_1, z_2, z_t, y, T, 1.0, w) + (1 - lam) * soft


@wrong("whole_step", 0.0, "no gradient leaves the function")
def a_plain_number(z_s, z_1, z_2, z_t, y, T, lam, w):
    return with_constants(z_s, z_1, z_2, z_t, y, T, lam, w).item()


@wrong("matched_weights", 0.0, "the labels are counted once")
def labels_counted_once(alpha, beta, lam, parts):
    hard, soft = alpha * lam, alpha * (1 - lam) + beta * parts[1]
    return soft / (hard + soft), hard + soft


@wrong("matched_weights", 0.0, "the share is that of the labels")
def share_of_the_labels(alpha, beta, lam, parts):
    a, c = by_a_table(alpha, beta, lam, parts)
    return 1 - a, c


@wrong("matched_weights", 0.0, "the scale is 1")
def without_a_scale(alpha, beta, lam, parts):
    return by_a_table(alpha, beta, lam, parts)[0], 1.0


@wrong("trajectory_table", 0.0, "in the order of the batches")
def in_the_order_of_the_batches(batches, epochs, images, classes):
    return torch.stack([torch.cat([z.clone() for _, z in batches(epoch)]) for epoch in range(epochs)])


@wrong("trajectory_table", 0.0, "what was kept is overwritten")
def kept_without_a_copy(batches, epochs, images, classes):
    table = torch.zeros(epochs, images, classes)
    for epoch in range(epochs):
        for index, z in list(batches(epoch)):
            table[epoch, index] = z
    return table


@wrong("trajectory_table", 0.0, "the epochs share one table")
def one_table_for_all(batches, epochs, images, classes):
    table, found = torch.zeros(images, classes), []
    for epoch in range(epochs):
        for index, z in batches(epoch):
            table[index] = z
        found.append(table)
    return torch.stack(found)


@wrong("trajectory_table", 0.0, "every call trains the network")
def counted_before_it_is_recorded(batches, epochs, images, classes):
    table = torch.zeros(epochs, images, classes)
    for epoch in range(epochs):
        if sum(len(index) for index, _ in batches(epoch)) == images:
            for index, z in batches(epoch):
                table[epoch, index] = z
    return table


@wrong("learner_epoch", 0.0, "begins anew")
def from_the_beginning_again(epoch, epochs, recorded):
    return epoch % recorded


@wrong("learner_epoch", 0.0, "stays at its end")
def to_the_end_and_no_further(epoch, epochs, recorded):
    return min(epoch, recorded - 1)


@wrong("learner_epoch", 0.0, "rounded to the nearest epoch")
def rounded(epoch, epochs, recorded):
    return min(round(epoch * recorded / epochs), recorded - 1)


@wrong("nearer", 0.0, "the guides stand in the second place")
def the_other_direction(z_s, z_t, z_l):
    gaps = [kl_divergence(Categorical(logits=z_s), Categorical(logits=guide)).mean(1) for guide in (z_t, z_l)]
    return gaps[0] - gaps[1]


@wrong("nearer", 0.0, "the sign is wrong")
def learner_minus_teacher(z_s, z_t, z_l):
    return -by_distributions_for_all(z_s, z_t, z_l)


@wrong("nearer", 0.0, "a tensor of shape")
def one_number_for_each_image(z_s, z_t, z_l):
    gaps = [kl_divergence(Categorical(logits=guide), Categorical(logits=z_s)) for guide in (z_t, z_l)]
    return gaps[0] - gaps[1]


@right("whole_step")
def with_constants(z_s, z_1, z_2, z_t, y, T, lam, w):
    with torch.no_grad():
        guide, taught = torch.lerp(z_2, z_1, w), z_t.clone()
    return sum(bracket(z, g, y, T, lam) for z, g in ((z_s, taught), (z_s, guide), (z_1, taught), (z_2, taught)))


@right("whole_step")
def term_by_term(z_s, z_1, z_2, z_t, y, T, lam, w):
    guides = [z_t.data, z_1.data * w + z_2.data * (1 - w), z_t.data, z_t.data]
    total = 0.0
    for z, g in zip([z_s, z_s, z_1, z_2], guides, strict=True):
        p = (g.double() / T).softmax(1)
        soft = (p * (p.log() - (z.double() / T).log_softmax(1))).sum() / len(y)
        total = total + lam * F.nll_loss(z.double().log_softmax(1), y) + (1 - lam) * T * T * soft
    return total


@right("matched_weights")
def by_a_table(alpha, beta, lam, parts):
    weights = torch.tensor([[alpha * lam, alpha - alpha * lam], [beta * parts[0], beta * parts[1]]],
                           dtype=torch.double).sum(0)
    return (weights[1] / weights.sum()).item(), weights.sum().item()


@right("matched_weights")
def as_a_tensor(alpha, beta, lam, parts):
    return torch.tensor(by_a_table(alpha, beta, lam, parts), dtype=torch.double)


@right("trajectory_table")
def by_copies(batches, epochs, images, classes):
    found = []
    for epoch in range(epochs):
        pairs = [(index, z.clone()) for index, z in batches(epoch)]
        order = torch.cat([index for index, _ in pairs])
        found.append(torch.cat([z for _, z in pairs])[order.argsort()])
    return torch.stack(found)


@right("learner_epoch")
def by_division(epoch, epochs, recorded):
    return math.floor(epoch * recorded / epochs + 1e-9)


@right("nearer")
def by_distributions_for_all(z_s, z_t, z_l):
    gaps = [kl_divergence(Categorical(logits=guide), Categorical(logits=z_s)).mean(1) for guide in (z_t, z_l)]
    return gaps[0] - gaps[1]


@right("nearer")
def epoch_by_epoch(z_s, z_t, z_l):
    found = []
    for s, learner in zip(z_s.double(), z_l.double(), strict=True):
        both = [F.kl_div(s.log_softmax(1), guide.double().log_softmax(1), log_target=True, reduction="batchmean")
                for guide in (z_t, learner)]
        found.append(both[0] - both[1])
    return torch.stack(found)
