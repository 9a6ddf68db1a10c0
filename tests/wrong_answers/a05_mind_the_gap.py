"""Exercise 05: chains, losses and schedules that look right, and unusual ones that are."""

import math

import torch
import torch.nn.functional as F

from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


@wrong("dense_chain", 0.0, "that is TAKD")
def the_chain_of_the_lesson(networks, teacher, teach):
    for network in networks:
        teach(network, [teacher])
        teacher = network


@wrong("dense_chain", 0.0, "a network is among its own guides")
def joined_too_early(networks, teacher, teach):
    guides = [teacher]
    for network in networks:
        guides.append(network)
        teach(network, guides)


@wrong("dense_chain", 0.0, "each guide gives a lesson of its own")
def one_guide_after_another(networks, teacher, teach):
    for i, network in enumerate(networks):
        for guide in [teacher, *networks[:i]]:
            teach(network, [guide])


@wrong("decoupled_loss", 0.6, "with logits in the hundreds")
def as_published(z_s, z_t, y, T, alpha, beta):  # mdistiller: the logarithm of a softmax
    label = F.one_hot(y, z_s.shape[1]).bool()
    p_s, p_t = F.softmax(z_s / T, dim=1)[label], F.softmax(z_t / T, dim=1)[label]
    target = p_t * (p_t / p_s).log() + (1 - p_t) * ((1 - p_t) / (1 - p_s)).log()
    return T**2 * (alpha * target + beta * of_the_rest(z_s, z_t, label, T)).mean()


@wrong("decoupled_loss", 0.6, "the label still counts where it leads by more than the 1,000")
def the_target_part_alone_repaired(z_s, z_t, y, T, alpha, beta):
    label = F.one_hot(y, z_s.shape[1]).bool()
    rest_s, rest_t = ((z / T - 1000.0 * label).log_softmax(1) for z in (z_s, z_t))
    rest = (rest_t.exp() * (rest_t - rest_s)).sum(1)
    return T**2 * (alpha * of_the_label(z_s, z_t, label, T) + beta * rest).mean()


@wrong("decoupled_loss", 0.0, "as in KD: that is what DKD takes away")
def weighed_as_in_kd(z_s, z_t, y, T, alpha, beta):
    left = (1 - F.softmax(z_t / T, dim=1).gather(1, y[:, None])[:, 0]).detach()
    label = F.one_hot(y, z_s.shape[1]).bool()
    return T**2 * (alpha * of_the_label(z_s, z_t, label, T) + beta * left * of_the_rest(z_s, z_t, label, T)).mean()


@wrong("decoupled_loss", 0.0, "T² is missing")
def without_T_squared(z_s, z_t, y, T, alpha, beta):
    return by_masks(z_s, z_t, y, T, alpha, beta) / T**2


@wrong("decoupled_loss", 0.0, "alpha is not used")
def with_alpha_of_the_paper(z_s, z_t, y, T, alpha, beta):
    return by_masks(z_s, z_t, y, T, 1.0, beta)


@wrong("temperature_for", 0.0, "the other logits are taken for 0")
def largest_score_alone(K, p):
    return (K - 1) / math.sqrt(K) / math.log((K - 1) * p / (1 - p))


@wrong("temperature_for", 0.0, "the standard deviation divides by K")
def with_the_other_standard_deviation(K, p):
    return K / math.sqrt(K - 1) / math.log((K - 1) * p / (1 - p))


@wrong("checkpoint_plan", 0.0, "the temperature falls by equal steps")
def as_the_course_does_it(epoch, epochs, checkpoints, soft, T):
    if epoch >= soft * epochs:
        return None
    k = int(epoch / (soft * epochs) * checkpoints)
    return k, T - (T - 1) * k / (checkpoints - 1)


@wrong("checkpoint_plan", 0.0, "the checkpoints are spread over all epochs")
def spread_over_everything(epoch, epochs, checkpoints, soft, T):
    k = epoch * checkpoints // epochs
    return (k, T ** (1 - k / (checkpoints - 1))) if epoch < soft * epochs else None


@wrong("checkpoint_plan", 0.0, "the labels come alone one epoch late")
def at_most(epoch, epochs, checkpoints, soft, T):
    k = min(int(epoch / (soft * epochs) * checkpoints), checkpoints - 1)
    return None if epoch > soft * epochs else (k, T ** (1 - k / (checkpoints - 1)))


@wrong("equal_entropy", 0.0, "every image got a temperature of its own")
def one_for_each_image(z, nats):
    return sum(by_distributions(row[None], nats) for row in z) / len(z)


@wrong("equal_entropy", 0.0, "this is 1/T")
def multiplied(z, nats):
    return 1 / found(lambda T: torch.special.entr((z / T).softmax(1)).sum(1).mean(), nats)


@wrong("equal_entropy", 0.0, "the entropy is in bits")
def in_bits(z, nats):
    return found(lambda T: torch.special.entr((z / T).softmax(1)).sum(1).mean() / math.log(2), nats)


@right("dense_chain")
def by_slices(networks, teacher, teach):
    for i in range(len(networks)):
        teach(networks[i], [*reversed(networks[:i]), teacher])


@right("dense_chain")
def with_one_list_that_grows(networks, teacher, teach):
    before = (teacher,)
    while len(before) <= len(networks):
        teach(networks[len(before) - 1], before)
        before += (networks[len(before) - 1],)


@right("decoupled_loss")
def by_masks(z_s, z_t, y, T, alpha, beta):
    label = F.one_hot(y, z_s.shape[1]).bool()
    return T**2 * (alpha * of_the_label(z_s, z_t, label, T) + beta * of_the_rest(z_s, z_t, label, T)).mean()


@right("decoupled_loss")
def image_by_image(z_s, z_t, y, T, alpha, beta):
    total = 0
    for s, t, k in zip(z_s.double() / T, z_t.double() / T, y.tolist(), strict=True):
        s_rest, t_rest = torch.cat([s[:k], s[k + 1:]]), torch.cat([t[:k], t[k + 1:]])
        a = torch.log_softmax(torch.stack([s[k], s_rest.logsumexp(0)]), 0)
        b = torch.log_softmax(torch.stack([t[k], t_rest.logsumexp(0)]), 0)
        rest = F.kl_div(s_rest.log_softmax(0), t_rest.log_softmax(0), log_target=True, reduction="sum")
        total = total + alpha * F.kl_div(a, b, log_target=True, reduction="sum") + beta * rest
    return T * T * total / len(y)


@right("temperature_for")
def by_standardising(K, p):
    row = torch.zeros(K, dtype=torch.double)
    row[0] = 1
    z = (row - row.mean()) / row.std()
    return (z[0] - z[1]) / torch.tensor((K - 1) * p / (1 - p)).log()


@right("temperature_for")
def by_halving(K, p):
    return found(lambda T: -1 / (1 + (K - 1) * math.exp(-min(math.sqrt(K) / T, 700))), -p)


@right("checkpoint_plan")
def by_a_list_of_temperatures(epoch, epochs, checkpoints, soft, T):
    temperatures = [math.exp(math.log(T) * (checkpoints - 1 - k) / (checkpoints - 1)) for k in range(checkpoints)]
    ends = [soft * epochs * (k + 1) / checkpoints for k in range(checkpoints)]
    return next(((k, temperatures[k]) for k, end in enumerate(ends) if epoch < end - 1e-9), None)


@wrong("checkpoint_plan", 0.0, "the soft part was cut down to whole epochs")
def whole_epochs_alone(epoch, epochs, checkpoints, soft, T):
    end = int(soft * epochs)
    if epoch < end:
        return epoch * checkpoints // end, T ** (1 - epoch * checkpoints // end / (checkpoints - 1))


@wrong("checkpoint_plan", 0.0, "the soft part was rounded up to whole epochs")
def shared_out_in_whole_epochs(epoch, epochs, checkpoints, soft, T):
    n = math.ceil(soft * epochs)
    k = int(epoch * checkpoints / n)
    return (k, T ** (1 - k / (checkpoints - 1))) if epoch < n else None


@wrong("checkpoint_plan", 0.0, "a pair or None is expected, not (None, None)")
def a_pair_of_nothing(epoch, **settings):
    return by_a_list_of_temperatures(epoch, **settings) or (None, None)


@wrong("equal_entropy", 0.0, "the middle image has this entropy")
def of_the_middle_image(z, nats):
    return found(lambda T: torch.distributions.Categorical(logits=z / T).entropy().quantile(0.5, interpolation="lower"),
                 nats)


@right("equal_entropy")
def to_three_digits(z, nats):
    return float(f"{by_distributions(z, nats):.3g}")


@right("equal_entropy")
def by_distributions(z, nats):
    return found(lambda T: torch.distributions.Categorical(logits=z / T).entropy().mean(), nats)


def found(entropy, wanted):
    """Where an increasing function has this value, by equal steps of the logarithm that become smaller."""
    log_T, step = 0.0, 2.0
    for _ in range(50):
        log_T += step if entropy(math.exp(log_T)) < wanted else -step
        step *= 0.6
    return math.exp(log_T)


def logs(z, label, T):
    """The logarithms of "the label" and "the rest", (B, 2), and of the others among themselves."""
    others = (z / T).masked_fill(label, -torch.inf)
    two = torch.stack([z[label] / T, others.logsumexp(1)], 1).log_softmax(1)
    return two, (z / T).masked_fill(label, -1e6).log_softmax(1)


def of_the_label(z_s, z_t, label, T):
    (s, _), (t, _) = logs(z_s, label, T), logs(z_t, label, T)
    return (t.exp() * (t - s)).sum(1)


def of_the_rest(z_s, z_t, label, T):
    (_, s), (_, t) = logs(z_s, label, T), logs(z_t, label, T)
    return (t.exp() * (t - s)).sum(1)
