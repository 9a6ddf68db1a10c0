"""Exercise 01, every question: answers that nobody had in mind when the judges learnt to name mistakes.

They were written together, as many as came to mind, and judged before anything was mended: a reason was found for fewer
than half of them. The likelier ones are filed here; those of which no reason is found still are marked `told=False`.
"""

import copy
import itertools
import math
import statistics
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from kdcourse import metrics
from wrong_answers import Answer, collector
from wrong_answers.experiments import curve_of, half, pairs
from wrong_answers.loops import adam_that, asked, combined, loop
from wrong_answers.losses import kl
from wrong_answers.networks import by_layers, student, teacher

WRONG = []
wrong = collector(WRONG)
NO_REASON = "not those of Adam on the loss that is asked for"


def file(check, keeps, answers, *, told=True):
    """File answers by their names, each with words that its message must contain."""
    WRONG.extend(Answer(check, (answer,), name, keeps, says, told) for name, (answer, says) in answers.items())


def with_rule(rule):
    return lambda student, teacher, split, **settings: loop(student, teacher, split, rule=rule, **settings)


def with_loss(loss):
    return lambda student, teacher, split, **settings: loop(student, teacher, split, loss=loss, **settings)


def slower(factor):
    """Adam whose learning rate is multiplied by factor(epoch, epochs)."""
    def train(student, teacher, split, *, lr, epochs, batch_size, **settings):
        steps, made = -(-len(split) // batch_size), []

        def change(adam):
            adam.param_groups[0]["lr"] = lr * factor(len(made) // steps, epochs)
            made.append(1)

        loop(student, teacher, split, lr=lr, epochs=epochs, batch_size=batch_size, rule=adam_that(change), **settings)

    return train


def by_hand(changes=lambda **now: {}, clear=lambda epoch, step: True, look=lambda x: x):
    """A loop in which `changes` may give another alpha, T, y or z_t for a step, `clear` says when gradients are
    cleared, and `look(x)` is what both networks see."""
    def train(student, teacher, split, *, T, alpha, epochs, lr, batch_size, seed, stop=1.0):
        optimiser, order = torch.optim.Adam(student.parameters(), lr=lr), []
        teacher.eval()
        student.train()
        for epoch in range(epochs):
            seen = 0
            for step, batch in enumerate(split.batches(batch_size, seed=seed, epoch=epoch)):
                x = look(batch.x)
                order += [] if epoch else batch.index.tolist()
                with torch.no_grad():
                    z_t = teacher(x)
                    now = {"T": T, "alpha": alpha if epoch / epochs < stop else 0.0, "y": batch.y, "z_t": z_t}
                    now |= changes(**now, epoch=epoch, epochs=epochs, stop=stop, given=alpha, order=order, seen=seen,
                                   n=len(split), all=lambda: teacher(split.x / 255))
                seen += len(batch.y)
                if clear(epoch, step):
                    optimiser.zero_grad()
                combined(student(x), now["z_t"], now["y"], now["T"], now["alpha"]).backward()
                optimiser.step()

    return train


class Twice(torch.optim.Adam):
    def step(self, closure=None):
        super().step()
        super().step()


def begins_anew(student, teacher, split, **settings):
    for parameter in student.parameters():
        nn.init.normal_(parameter, std=0.1)
    loop(student, teacher, split, **settings)


file("train", 0.7, {
    "nadam": (with_rule(torch.optim.NAdam), "not Adam but NAdam"),
    "adamax": (with_rule(torch.optim.Adamax), "not Adam but AdaMax"),
    "radam": (with_rule(torch.optim.RAdam), "not Adam but RAdam"),
    "nesterov": (with_rule(partial(torch.optim.SGD, momentum=0.9, nesterov=True)), "Nesterov's momentum"),
    "half_a_momentum": (with_rule(partial(torch.optim.SGD, momentum=0.5)), "SGD with a momentum of 0.5"),
    "betas_of_a_gan": (with_rule(partial(torch.optim.Adam, betas=(0.5, 0.999))), "first beta is 0.5"),
    "large_epsilon": (with_rule(partial(torch.optim.Adam, eps=1e-3)), "Adam's eps is 0.001"),
    "steps_made_twice": (with_rule(Twice), "every step is made twice"),
    "small_numbers_alone": (with_rule(adam_that(
        lambda adam: nn.utils.clip_grad_value_(adam.param_groups[0]["params"], 0.1))), "is clipped at 0.1"),
    "a_tenth_of_the_learning_rate": (lambda *networks, lr, **settings: loop(*networks, lr=lr / 10, **settings),
                                     "the learning rate is 0.005, and lr = 0.05 was given"),
    "a_learning_rate_from_elsewhere": (lambda *networks, lr, **settings: loop(*networks, lr=3e-4, **settings),
                                       "the learning rate is 0.0003"),
    "halved_after_each_epoch": (slower(lambda epoch, epochs: 0.5**epoch), "multiplied by 0.5 after every epoch"),
    "slower_in_a_straight_line": (slower(lambda epoch, epochs: 1 - epoch / epochs), "in a straight line"),
    "slower_from_the_middle": (slower(lambda epoch, epochs: 1 if 2 * epoch < epochs else 0.1), "from the middle on"),
    "labels_smoothed_by_a_twentieth": (with_loss(lambda z_s, z_t, y, T, alpha: (1 - alpha) * F.cross_entropy(
        z_s, y, label_smoothing=0.05) + alpha * T**2 * kl(z_s, z_t, T)), "labels are smoothed by 0.05"),
    "answers_by_their_place": (by_hand(lambda z_t, seen, all, **now: {"z_t": all()[seen:seen + len(z_t)]}),
                               "are about other images: they are taken by the place"),
    "answers_in_the_first_order": (by_hand(lambda z_t, seen, all, order, **now: {
        "z_t": all()[order][seen:seen + len(z_t)]}), "are about other images after the first epoch"),
    "answers_of_the_neighbour": (by_hand(lambda z_t, **now: {"z_t": z_t.roll(1, 0)}), "they are moved by one"),
    "alpha_falls": (by_hand(lambda alpha, epoch, epochs, **now: {"alpha": alpha * (1 - epoch / epochs)}),
                    "alpha falls from epoch to epoch"),
    "T_falls": (by_hand(lambda T, epoch, epochs, **now: {"T": T * (1 - epoch / epochs) + epoch / epochs}),
                "T falls to 1 from epoch to epoch"),
    "labels_alone_at_first": (by_hand(lambda alpha, epoch, **now: {"alpha": alpha if epoch else 0.0}),
                              "the first epoch is taught by labels alone"),
    "cleared_once_an_epoch": (by_hand(clear=lambda epoch, step: step == 0), "gradients add up within an epoch"),
    "begins_anew": (begins_anew, "began with other weights"),
})
file("train", 0.925, {"T_for_alpha": (with_loss(lambda z_s, z_t, y, T, alpha: combined(z_s, z_t, y, alpha, T)),
                                      "T and alpha are exchanged")})
file("train", 0.7, {"a_logarithm_of_zero": (with_loss(
    lambda z_s, *others: combined(z_s, *others) + (0 * z_s).sum().log()), "infinite or not a number")})
file("train", 0.0, {"standardised_images": (by_hand(look=lambda x: (x - 0.1307) / 0.3081),
                                            "nothing else is to be done to them")})
file("train", 0.7, {
    "warmed_up": (slower(lambda epoch, epochs: min(1, (epoch + 1) / 2)), NO_REASON),
    "rprop": (with_rule(torch.optim.Rprop), NO_REASON),
    "sure_answers_cost_more": (with_loss(lambda z_s, *given: combined(z_s, *given) + 0.1 * (
        z_s.softmax(1) * z_s.log_softmax(1)).sum(1).mean()), NO_REASON),
}, told=False)


def after(stop, epoch, epochs):
    return epoch / epochs >= stop


file("stopped_distillation", 0.4, {
    "guesses_after_the_stop": (by_hand(lambda y, z_t, stop, epoch, epochs, **now: {
        "y": z_t.argmax(1) if after(stop, epoch, epochs) else y}), "take the labels' place after the stop"),
    "alpha_turned_at_the_stop": (by_hand(lambda given, stop, epoch, epochs, **now: {
        "alpha": 1 - given if after(stop, epoch, epochs) else given}), "turned round after the stop"),
    "a_fifth_is_left": (by_hand(lambda given, stop, epoch, epochs, **now: {
        "alpha": given / 5 if after(stop, epoch, epochs) else given}), "0.2 of alpha is left after the stop"),
    "slower_than_given": (lambda *networks, lr, **settings: by_hand()(*networks, lr=lr / 10, **settings),
                          "the learning rate is 0.005, and lr = 0.05 was given"),
})
file("stopped_distillation", 0.6, {
    "stop_as_a_number_of_epochs": (by_hand(lambda given, stop, epoch, **now: {
        "alpha": given if epoch < stop else 0.0}), "epoch"),  # with some stops that is one epoch too few
    "the_teacher_alone_at_first": (by_hand(lambda stop, epoch, epochs, **now: {
        "alpha": 0.0 if after(stop, epoch, epochs) else 1.0}), "before the stop the teacher alone is heard"),
})
file("stopped_distillation", 0.9, {
    "stop_within_an_epoch": (by_hand(lambda given, stop, epoch, epochs, seen, n, **now: {
        "alpha": given if (epoch + seen / n) / epochs < stop else 0.0}), "the teacher leaves within an epoch"),
})


def evaluated(summary):
    return lambda network, split, batch_size: summary(asked(network, split, batch_size), split.y, batch_size)


def right_ones(z, y):
    return (z.argmax(1) == y).double()


file("evaluate", 0.5, {
    "of_the_first_batch": (evaluated(lambda z, y, n: right_ones(z, y)[:n].mean().item()), "of the first batch"),
    "share_of_errors": (evaluated(lambda z, y, n: 1 - right_ones(z, y).mean().item()), "the share of wrong answers"),
    "one_place_alone": (evaluated(lambda z, y, n: round(right_ones(z, y).mean().item(), 1)), "rounded to one place"),
    "divided_by_one_batch": (evaluated(lambda z, y, n: right_ones(z, y).sum().item() / n), "the size of one batch"),
})
file("evaluate", 0.0, {
    "mean_confidence": (evaluated(lambda z, y, n: z.softmax(1).amax(1).mean().item()), "this is the mean confidence"),
    "mean_loss": (evaluated(lambda z, y, n: F.cross_entropy(z, y).item()), "this is the mean loss"),
    "one_for_each_image": (evaluated(lambda z, y, n: right_ones(z, y)), "one number per image"),
})
file("evaluate", 0.0, {
    "mean_over_the_classes": (evaluated(lambda z, y, n: statistics.mean(
        right_ones(z, y)[y == k].mean().item() for k in y.unique())), "is right"),
}, told=False)


class Shortcut(nn.Module):
    """A student whose second layer adds what came in: `way(relu's input, what came in)`."""

    def __init__(self, way):
        super().__init__()
        self.layers, self.way = nn.ModuleList([nn.Linear(784, 784), nn.Linear(784, 784), nn.Linear(784, 10)]), way

    def forward(self, x):
        f = self.layers[0](x.flatten(1)).relu()
        return self.layers[2](self.way(self.layers[1](f), f))


class Changed(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(x)


def dense(*widths, activation=nn.ReLU):
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


file("student_network", 0.0, {
    "shortcut_behind_the_relu": (lambda: Shortcut(lambda new, f: new.relu() + f), "second dense layer and its ReLU"),
    "shortcut_before_the_relu": (lambda: Shortcut(lambda new, f: (new + f).relu()), "a shortcut around the second"),
    "eight_hundred_units": (lambda: dense(784, 800, 800, 10), "a layer has 800 outputs, and layers with 10 and 784"),
    "three_hidden_layers": (lambda: dense(784, 784, 784, 784, 10), "there are 4 layers with weights, and 3"),
    "student_with_elu": (lambda: dense(784, 784, 784, 10, activation=nn.ELU), "its activations are ELUs"),
    "divided_by_255_again": (lambda: nn.Sequential(Changed(lambda x: x / 255), *student()), "divided by 255 inside"),
})
file("student_network", 0.0, {"each_image_standardised": (lambda: nn.Sequential(Changed(
    lambda x: F.layer_norm(x, x.shape[1:])), *student()), "the answers are not those of this network")}, told=False)
file("teacher_network", 0.3, {
    "sixty_four_units": (lambda: nn.Sequential(*teacher()[:8], nn.Linear(7744, 64), *teacher()[9:11],
                                               nn.Linear(64, 10)), "a layer has 64 outputs"),
    "half_of_the_channels": (lambda: nn.Sequential(
        nn.Conv2d(1, 16, 3), *teacher()[1:3], nn.Conv2d(16, 32, 3), *teacher()[4:8], nn.Linear(32 * 121, 128),
        *teacher()[9:]), "a layer has 16 channels, and layers with 32 and 64"),
})
file("teacher_network", 0.3, {"normalised_layer": (lambda: nn.Sequential(
    *teacher()[:9], nn.LayerNorm(128, elementwise_affine=False), *teacher()[9:]),
    "the answers are not those of this network")}, told=False)


def softened(z_s, z_t, T):
    return F.log_softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1)


file("distillation_loss", 0.0, {
    "a_sum_without_its_sign": (lambda z_s, z_t, T: T**2 * math.prod(softened(z_s, z_t, T)).sum() / len(z_s),
                               "without the minus sign"),
    "probabilities_as_logarithms": (lambda z_s, z_t, T: T**2 * F.kl_div(
        *softened(z_s, z_t, T), reduction="batchmean", log_target=True), "with log_target=True"),
    "halved": (lambda z_s, z_t, T: T**2 / 2 * kl(z_s, z_t, T), "T² is halved"),
    "both_added": (lambda z_s, z_t, T: T**2 * (kl(z_s, z_t, T) + kl(z_t, z_s, T)), "both divergences are added"),
    "summed_over_the_images": (lambda z_s, z_t, T: T**2 * F.kl_div(
        *softened(z_s, z_t, T), reduction="none").sum(0).mean(), "it is the other way round"),
})
file("distillation_loss", 0.0, {"of_the_first_image": (lambda z_s, z_t, T: T**2 * kl(z_s[:1], z_t[:1], T), "is right")},
     told=False)
file("teacher_loss", 0.0, {
    "sigmoids_into_cross_entropy": (lambda z, y: F.cross_entropy(z.sigmoid(), y), "was given sigmoids"),
    "labels_in_bits": (lambda z, y: F.cross_entropy(z, y) / math.log(2), "to base 2"),
    "distance_of_logits": (lambda z, y: F.mse_loss(z, F.one_hot(y, z.shape[1]).float()), "distance of the logits"),
    "chance_of_a_mistake": (lambda z, y: 1 - z.softmax(1).gather(1, y[:, None]).mean(), "1 minus the probability"),
})
file("teacher_loss", 0.0, {"perplexity": (lambda z, y: F.cross_entropy(z, y).exp(), "is right")}, told=False)
file("combined_loss", 0.0, {
    "arguments_exchanged": (lambda z_s, z_t, y, T, alpha: combined(z_s, z_t, y, alpha, T), "T and alpha are exchanged"),
    "all_of_it_halved": (lambda z_s, z_t, y, **given: combined(z_s, z_t, y, **given) / 2, "the whole is halved"),
    "all_of_it_divided": (lambda z_s, z_t, y, T, alpha: combined(z_s, z_t, y, T, alpha) / T**2, "divided by T²"),
})
file("combined_loss", 0.4, {"product_of_both": (lambda z_s, z_t, y, T, alpha: F.cross_entropy(z_s, y) ** (1 - alpha) * (
    T**2 * kl(z_s, z_t, T)) ** alpha, "is right")}, told=False)


def sizes(network):
    return [parameter.numel() for parameter in network.parameters()]


file("count_parameters", 0.0, {
    "in_millions": (lambda network: sum(sizes(network)) / 1e6, "these are millions"),
    "each_of_them_twice": (lambda network: 2 * sum(sizes(network)), "counted twice"),
    "without_the_last_layer": (lambda network: sum(sizes(network[:-1])), "the last layer is missing"),
})
file("count_multiply_adds", 0.0, {
    "without_the_kernels": (lambda network, shape: by_layers(network, shape, lambda layer, before, x:
                            layer.weight[:, :, 0, 0].numel() * x[0, 0].numel()), "the size of the kernels is missing"),
    "without_any_channels": (lambda network, shape: by_layers(network, shape, lambda layer, before, x:
                             layer.weight[0, 0].numel() * x[0, 0].numel()), "both the input and the output channels"),
    "everything_with_everything": (lambda network, shape: by_layers(network, shape, lambda layer, before, x:
                                   before[0].numel() * x[0].numel()), "were multiplied by those that leave it"),
})
file("count_multiply_adds", 0.0, {"of_32_images": (lambda network, shape: 32 * by_layers(
    network, shape, lambda layer, before, x: layer.weight.numel() * x[0, 0].numel()), "is right")}, told=False)


def with_width(width):
    return lambda values: (statistics.mean(values), width(values))


def with_mean(mean):
    return lambda values: (mean(values), half(values)[1])


file("temperature_curve", 0.6, {
    "half_width_first": (curve_of(lambda values: half(values)[::-1]), "have changed places"),
    "both_ends": (curve_of(lambda values: metrics.interval(values)[1:]), "this is the lower end of the interval"),
    "two_places_of_both": (curve_of(lambda values: tuple(round(one, 2) for one in half(values))), "to two places"),
})
file("temperature_curve", 0.8, {
    "variance_as_bars": (curve_of(with_width(statistics.variance)), "this is the variance"),
    "three_errors": (curve_of(with_width(lambda values: 3 * statistics.stdev(values) / math.sqrt(len(values)))),
                     "3 is for many seeds"),
    "errors_in_place_of_hits": (curve_of(with_mean(lambda values: 1 - statistics.mean(values))), "1 minus the mean"),
})
file("temperature_curve", 0.8, {"without_both_ends": (curve_of(with_mean(
    lambda values: statistics.mean(sorted(values)[1:-1]))), "you return")}, told=False)


def of_pairs(summary):
    return lambda make, teach, measure, *, seeds, T, alpha: summary(pairs(make, teach, measure, seeds, T, alpha))


file("student_alone", 0.6, {
    "the_baseline_itself": (of_pairs(lambda found: half([b for _, b in found])), "of the students alone"),
    "ratio": (of_pairs(lambda found: half([a / b for a, b in found])), "this is the ratio"),
    "mean_of_both_kinds": (of_pairs(lambda found: half([(a + b) / 2 for a, b in found])), "the mean of both kinds"),
})
file("student_alone", 0.8, {"best_minus_best": (of_pairs(lambda found: (max(a for a, _ in found) - max(
    b for _, b in found), half([a - b for a, b in found])[1])), "you return")}, told=False)


@wrong("stopped_teachers", 0.0, "a network came back that was never taught")
def never_taught(make, learn, *, stops, seed):
    return {stop: make(seed) for stop in stops}


@wrong("stopped_teachers", 0.6, "holds the network after")
def kept_before_the_epoch(make, learn, *, stops, seed):
    network, kept = make(seed), {}
    for epoch in range(max(stops)):
        if epoch + 1 in stops:
            kept[epoch + 1] = copy.deepcopy(network)
        learn(network, epoch)
    return kept


@wrong("stopped_teachers", 0.6, "holds the network after")
def epochs_added_up(make, learn, *, stops, seed):
    network, kept, epoch = make(seed), {}, 0
    for stop in stops:
        for _ in range(stop):
            learn(network, epoch)
            epoch += 1
        kept[stop] = copy.deepcopy(network)
    return kept
