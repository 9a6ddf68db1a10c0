"""Questions 4 and 12: loops that look right."""

import copy
from functools import partial

import torch
import torch.nn.functional as F

from kdcourse import metrics
from wrong_answers import collector
from wrong_answers.losses import T_GLOBAL, kl

WRONG = []
wrong = collector(WRONG)


def combined(z_s, z_t, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z_s, y) + alpha * T**2 * kl(z_s, z_t, T)


def loop(
    student, teacher, split, *, T, alpha, epochs, lr, batch_size, seed, student_mode=lambda epoch: True,
    teacher_mode=False, clear=True, last=True, key=lambda seed, epoch: (seed, epoch), no_grad=True, loss=combined,
    rule=torch.optim.Adam, trained=None, share=None, scale=1, new_rule=lambda epoch: False,
):
    parameters = trained or list(student.parameters())
    optimiser = rule(parameters, lr=lr)
    teacher.train(teacher_mode)
    for epoch in range(epochs):
        student.train(student_mode(epoch))
        if new_rule(epoch):
            optimiser = rule(parameters, lr=lr)
        seed_used, epoch_used = key(seed, epoch)
        for batch in split.batches(batch_size, seed=seed_used, epoch=epoch_used):
            if not last and len(batch.y) < batch_size:
                continue
            with torch.set_grad_enabled(not no_grad):
                z_t = teacher(batch.x * scale)
            weight = alpha if share is None else share(epoch, alpha)
            value = loss(student(batch.x * scale), z_t, batch.y, T, weight)
            if clear:
                optimiser.zero_grad()
            value.backward()
            optimiser.step()


@wrong("train", 0.85, "in the first epoch only")
def eval_mode_from_the_second_epoch(student, teacher, split, **settings):  # KD_Lib: evaluated, never set back
    loop(student, teacher, split, student_mode=lambda epoch: epoch == 0, **settings)


@wrong("train", 0.85, "the student learns in eval mode")
def student_stays_in_eval_mode(student, teacher, split, **settings):
    loop(student, teacher, split, student_mode=lambda epoch: False, **settings)


@wrong("train", 0.85, "the teacher is in training mode")
def teacher_in_training_mode(student, teacher, split, **settings):
    loop(student, teacher, split, teacher_mode=True, **settings)


@wrong("train", 0.9, "a gradient runs into the teacher")
def gradient_into_the_teacher(student, teacher, split, **settings):
    loop(student, teacher, split, no_grad=False, **settings)


@wrong("train", 0.9, "the teacher is frozen for good")
def teacher_frozen_for_ever(student, teacher, split, **settings):  # the next one who trains it finds no gradients
    teacher.requires_grad_(False)
    loop(student, teacher, split, **settings)


@wrong("train", 0.9, "the teacher is frozen for good")
def only_the_biases_of_the_teacher_stay_frozen(student, teacher, split, **settings):
    teacher.bias.requires_grad_(False)
    loop(student, teacher, split, **settings)


@wrong("train", 0.9, "is left in training mode")
def both_left_in_training_mode(student, teacher, split, **settings):
    loop(student, teacher, split, **settings)
    student.train()
    teacher.train()


@wrong("stopped_distillation", 0.95, "the teacher is frozen for good")
def teacher_of_a_stopped_training_frozen_for_ever(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher.requires_grad_(False), split, epochs=epochs,
         share=lambda epoch, alpha: alpha if epoch < stop * epochs else 0.0, **settings)


@wrong("train", 0.6, "the teacher's weights were changed")
def optimiser_holds_both(student, teacher, split, **settings):
    loop(student, teacher, split, no_grad=False, trained=[*student.parameters(), *teacher.parameters()], **settings)


@wrong("train", 0.7, "zero_grad is missing")
def gradients_add_up(student, teacher, split, **settings):
    loop(student, teacher, split, clear=False, **settings)


@wrong("train", 0.8, "the last, smaller batch is left out")
def last_batch_dropped(student, teacher, split, **settings):
    loop(student, teacher, split, last=False, **settings)


@wrong("train", 0.95, "every epoch has the same order")
def one_order_for_all_epochs(student, teacher, split, **settings):
    loop(student, teacher, split, key=lambda seed, epoch: (seed, 0), **settings)


@wrong("train", 0.9, "every epoch has the same order")
def never_shuffled(student, teacher, split, **settings):
    loop(student, teacher, split, key=lambda seed, epoch: (None, 0), **settings)


@wrong("train", 0.95, "the order of the images must come from the seed")
def seed_ignored(student, teacher, split, **settings):
    loop(student, teacher, split, key=lambda seed, epoch: (0, epoch), **settings)


@wrong("train", 0.7, "T, the argument, changes nothing")
def T_of_the_notebook_in_the_loop(student, teacher, split, *, T, **settings):
    loop(student, teacher, split, T=T_GLOBAL, **settings)


@wrong("train", 0.7, "alpha, the argument, changes nothing")
def alpha_of_the_notebook_in_the_loop(student, teacher, split, *, alpha, **settings):
    loop(student, teacher, split, alpha=0.5, **settings)


@wrong("train", 0.7, "its arguments are exchanged")
def arguments_of_the_loss_exchanged(student, teacher, split, **settings):
    loop(student, teacher, split, loss=lambda z_s, z_t, y, T, alpha: combined(z_t, z_s, y, T, alpha), **settings)


@wrong("train", 0.925, "repair combined_loss, question 3, first: in the soft term, T² is missing")
def wrong_loss_in_a_right_loop(student, teacher, split, **settings):
    def loss(z_s, z_t, y, T, alpha):
        return (1 - alpha) * F.cross_entropy(z_s, y) + alpha * kl(z_s, z_t, T)

    loop(student, teacher, split, loss=loss, **settings)


@wrong("train", 0.8, "only one epoch is run")
def one_epoch(student, teacher, split, *, epochs, **settings):
    loop(student, teacher, split, epochs=1, **settings)


@wrong("train", 0.7, "not Adam but SGD")
def plain_gradient_descent(student, teacher, split, **settings):
    loop(student, teacher, split, rule=torch.optim.SGD, **settings)


@wrong("train", 0.0, "are student and teacher exchanged?")
def roles_exchanged(student, teacher, split, **settings):  # keras-io, before it was repaired
    loop(teacher, student, split, **settings)


@wrong("train", 0.0, "divided by 255")
def bytes_as_they_are(student, teacher, split, **settings):
    loop(student, teacher, split, scale=255, **settings)


@wrong("train", 0.925, "alpha weighs the hard term")
def alpha_turned_round_in_the_loop(student, teacher, split, **settings):
    loop(student, teacher, split, loss=lambda s, t, y, T, alpha: combined(s, t, y, T, 1 - alpha), **settings)


@wrong("train", 0.7, "the learning rate is Adam's default")
def own_learning_rate(student, teacher, split, *, lr, **settings):
    loop(student, teacher, split, lr=1e-3, **settings)


def counted(network, split, batch_size, last=True):
    for batch in split.batches(batch_size):
        if last or len(batch.y) == batch_size:
            yield network(batch.x).argmax(dim=1) == batch.y


@wrong("evaluate", 0.8, "call network.eval()")
@torch.no_grad()
def evaluated_in_training_mode(network, split, batch_size):
    network.train()
    return torch.cat(list(counted(network, split, batch_size))).float().mean().item()


@wrong("evaluate", 0.85, "switch them off")
def gradients_recorded(network, split, batch_size):
    network.eval()
    return torch.cat(list(counted(network, split, batch_size))).float().mean().item()


@wrong("evaluate", 0.5, "in percent")
@torch.no_grad()
def percent(network, split, batch_size):
    network.eval()
    return 100 * torch.cat(list(counted(network, split, batch_size))).float().mean().item()


@wrong("evaluate", 0.5, "and its images still counted")
@torch.no_grad()
def last_batch_dropped_denominator_kept(network, split, batch_size):
    network.eval()
    return sum(right.sum().item() for right in counted(network, split, batch_size, last=False)) / len(split)


@wrong("evaluate", 0.5, "the accuracies of the batches were averaged")
@torch.no_grad()
def mean_of_the_batches(network, split, batch_size):
    network.eval()
    shares = [right.float().mean().item() for right in counted(network, split, batch_size)]
    return sum(shares) / len(shares)


@wrong("evaluate", 0.5, "batches times batch_size")
@torch.no_grad()
def batches_times_batch_size(network, split, batch_size):
    network.eval()
    found = list(counted(network, split, batch_size))
    return sum(right.sum().item() for right in found) / (len(found) * batch_size)


@wrong("evaluate", 0.85, "cannot go on learning")
@torch.no_grad()
def frozen_afterwards(network, split, batch_size):
    network.eval().requires_grad_(False)
    return torch.cat(list(counted(network, split, batch_size))).float().mean().item()


@wrong("evaluate", 0.85, "still switched off")
def gradients_switched_off_for_everybody(network, split, batch_size):
    network.eval()
    torch.set_grad_enabled(False)
    return torch.cat(list(counted(network, split, batch_size))).float().mean().item()


@wrong("evaluate", 0.0, "argmax without dim")
@torch.no_grad()
def argmax_over_everything(network, split, batch_size):
    network.eval()
    return sum((network(b.x).argmax() == b.y).sum().item() for b in split.batches(batch_size)) / len(split)


@wrong("evaluate", 0.5, "divide it by the number of images")
@torch.no_grad()
def number_of_right_answers(network, split, batch_size):
    network.eval()
    return sum(right.sum().item() for right in counted(network, split, batch_size))


@wrong("stopped_distillation", 0.0, "stop = ")
def stop_ignored(student, teacher, split, *, stop, **settings):
    loop(student, teacher, split, **settings)


@wrong("stopped_distillation", 0.4, "the other way round")
def labels_first(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs, share=lambda epoch, alpha: alpha if epoch >= stop * epochs else 0.0,
         **settings)


@wrong("stopped_distillation", 0.5, "one epoch too many")
def one_epoch_too_many(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs, share=lambda epoch, alpha: alpha if epoch <= stop * epochs else 0.0,
         **settings)


@wrong("stopped_distillation", 0.6, "alpha shrinks little by little")
def alpha_fades_out(student, teacher, split, *, stop, epochs, **settings):
    def share(epoch, alpha):
        return alpha * max(0.0, 1 - epoch / (stop * epochs)) if stop else 0.0

    loop(student, teacher, split, epochs=epochs, share=share, **settings)


@wrong("stopped_distillation", 0.3, "training ends at the stop")
def training_ends_at_the_stop(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=round(stop * epochs), **settings)


@wrong("stopped_distillation", 0.6, "a new optimiser takes over")
def new_optimiser_at_the_stop(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs, share=lambda epoch, alpha: alpha if epoch < stop * epochs else 0.0,
         new_rule=lambda epoch: epoch == round(stop * epochs), **settings)


@wrong("train", 0.7, "there is weight decay")
def a_little_weight_decay(student, teacher, split, **settings):
    loop(student, teacher, split, rule=partial(torch.optim.Adam, weight_decay=1e-4), **settings)


@wrong("train", 0.7, "there is weight decay")
def adam_with_its_own_decay(student, teacher, split, **settings):
    loop(student, teacher, split, rule=torch.optim.AdamW, **settings)


@wrong("train", 0.7, "SGD with momentum")
def momentum(student, teacher, split, **settings):
    loop(student, teacher, split, rule=partial(torch.optim.SGD, momentum=0.9), **settings)


@wrong("train", 0.7, "a copy of the student was trained")
def a_copy_is_trained(student, teacher, split, **settings):
    loop(copy.deepcopy(student), teacher, split, **settings)


class Forgetful(torch.optim.Adam):
    def step(self):
        self.zero_grad()
        super().step()


@wrong("train", 0.7, "are gradients cleared before backward, not between")
def cleared_before_the_step(student, teacher, split, **settings):
    loop(student, teacher, split, rule=Forgetful, **settings)


@wrong("train", 0.7, "a step uses 1 image, and batch_size is 8; ")
def one_image_a_step(student, teacher, split, *, batch_size, **settings):
    loop(student, teacher, split, batch_size=1, **settings)


@wrong("train", 0.5, "the weights were not looked at")
def a_hundred_epochs(student, teacher, split, *, epochs, **settings):
    loop(student, teacher, split, epochs=100, **settings)


@wrong("train", 0.7, "in every step")
def an_optimiser_for_each_step(student, teacher, split, **settings):
    class Anew(torch.optim.Adam):
        def step(self):
            self.state.clear()
            super().step()

    loop(student, teacher, split, rule=Anew, **settings)


@wrong("stopped_distillation", 0.9, "nothing is rounded")
def stop_rounded_down(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs,
         share=lambda epoch, alpha: alpha if epoch < int(stop * epochs + 1e-9) else 0.0, **settings)


@wrong("stopped_distillation", 0.9, "nothing is rounded")
def stop_rounded(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs,
         share=lambda epoch, alpha: alpha if epoch < round(stop * epochs) else 0.0, **settings)


@wrong("stopped_distillation", 0.4, "a step uses 1 image, and batch_size is 8; ")
def stopped_one_image_a_step(student, teacher, split, *, stop, epochs, batch_size, **settings):
    loop(student, teacher, split, epochs=epochs, batch_size=1,
         share=lambda epoch, alpha: alpha if epoch < stop * epochs else 0.0, **settings)


@wrong("evaluate", 0.5, "the count is yours to write")
def by_the_library(network, split, batch_size):
    return metrics.accuracy(metrics.predict(network, split, batch_size=batch_size), split.y)


@wrong("evaluate", 0.5, "the count is yours to write")
@torch.no_grad()
def own_logits_and_the_librarys_accuracy(network, split, batch_size):
    network.eval()
    return metrics.accuracy(torch.cat([network(batch.x) for batch in split.batches(batch_size)]), split.y)


TALLY = {"right": 0, "seen": 0}


@wrong("evaluate", 0.0, "something stays from one call to the next")
@torch.no_grad()
def counts_never_reset(network, split, batch_size):
    network.eval()
    for right in counted(network, split, batch_size):
        TALLY["right"] += right.sum().item()
        TALLY["seen"] += len(right)
    return TALLY["right"] / TALLY["seen"]


@wrong("train", 0.7, "labels are smoothed by 0.0")
def labels_smoothed_a_little(student, teacher, split, **settings):
    def loss(z_s, z_t, y, T, alpha):
        return (1 - alpha) * F.cross_entropy(z_s, y, label_smoothing=0.01) + alpha * T**2 * kl(z_s, z_t, T)

    loop(student, teacher, split, loss=loss, **settings)


@wrong("train", 0.7, "Adam with amsgrad=True")
def adam_that_never_forgets(student, teacher, split, **settings):
    loop(student, teacher, split, rule=partial(torch.optim.Adam, amsgrad=True), **settings)


@wrong("train", 0.7, "Adam's second beta is 0.99: torch's own")
def adam_with_a_shorter_memory(student, teacher, split, **settings):
    loop(student, teacher, split, rule=partial(torch.optim.Adam, betas=(0.9, 0.99)), **settings)


@wrong("stopped_distillation", 0.4, "Adam with amsgrad=True")
def stopped_by_an_adam_that_never_forgets(student, teacher, split, *, stop, epochs, **settings):
    loop(student, teacher, split, epochs=epochs, rule=partial(torch.optim.Adam, amsgrad=True),
         share=lambda epoch, alpha: alpha if epoch / epochs < stop else 0.0, **settings)


@wrong("train", 0.7, "not Adam but RMSprop")
def root_mean_squares(student, teacher, split, **settings):
    loop(student, teacher, split, rule=torch.optim.RMSprop, **settings)


def adam_that(changes):
    """Adam with something done before each step."""
    class Changed(torch.optim.Adam):
        def step(self, closure=None):
            changes(self)
            return super().step(closure)

    return Changed


@wrong("train", 0.7, "gradients are clipped to a length of 1")
def clipped_gradients(student, teacher, split, **settings):
    rule = adam_that(lambda adam: torch.nn.utils.clip_grad_norm_(adam.param_groups[0]["params"], 1.0))
    loop(student, teacher, split, rule=rule, **settings)


@wrong("train", 0.7, "multiplied by 0.9 after every epoch")
def learning_rate_that_falls(student, teacher, split, *, lr, batch_size, **settings):
    steps, made = -(-len(split) // batch_size), []

    def fall(adam):
        adam.param_groups[0]["lr"] = lr * 0.9 ** (len(made) // steps)
        made.append(1)

    loop(student, teacher, split, rule=adam_that(fall), lr=lr, batch_size=batch_size, **settings)


@wrong("train", 0.7, "the teacher's probabilities were taken for its logits")
def softened_twice(student, teacher, split, **settings):
    loop(student, teacher, split, loss=lambda z_s, z_t, *rest: combined(z_s, z_t.softmax(1), *rest), **settings)


@wrong("train", 0.7, "the sign of the loss is wrong")
def uphill(student, teacher, split, **settings):
    loop(student, teacher, split, loss=lambda *given: -combined(*given), **settings)


@wrong("train", 0.7, "the optimiser is to hold all of its parameters")
def last_parameter_alone(student, teacher, split, **settings):
    loop(student, teacher, split, trained=list(student.parameters())[-1:], **settings)


@wrong("stopped_distillation", 0.4, "T becomes 1 at the stop")
def temperature_switched_off(student, teacher, split, *, stop, epochs, T, **settings):
    steps, made = -(-len(split) // settings["batch_size"]), []

    def loss(z_s, z_t, y, T, alpha):
        made.append(1)
        return combined(z_s, z_t, y, T if (len(made) - 1) // steps / epochs < stop else 1.0, alpha)

    loop(student, teacher, split, loss=loss, epochs=epochs, T=T, **settings)


@wrong("stopped_distillation", 0.95, "several epochs have the same order")
def order_begins_again(student, teacher, split, *, stop, epochs, **settings):
    distils = sum(epoch / epochs < stop for epoch in range(epochs))
    loop(student, teacher, split, epochs=epochs, share=lambda epoch, alpha: alpha if epoch < distils else 0.0,
         key=lambda seed, epoch: (seed, epoch if epoch < distils else epoch - distils), **settings)


def asked(network, split, batch_size):
    """The logits of all images."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(batch.x) for batch in split.batches(batch_size)])


@wrong("evaluate", 0.0, "a probability above one half")
def sure_ones_alone(network, split, batch_size):
    z = asked(network, split, batch_size)
    return ((z.argmax(1) == split.y) & (z.softmax(1).amax(1) > 0.5)).double().mean().item()


@wrong("evaluate", 0.0, "the mean probability of the labels")
def probability_of_the_labels(network, split, batch_size):
    z = asked(network, split, batch_size)
    return z.softmax(1)[torch.arange(len(z)), split.y].double().mean().item()


@wrong("train", 0.95, "of an epoch only the last step may use fewer")
def one_image_less_in_a_batch(student, teacher, split, *, batch_size, **settings):
    loop(student, teacher, split, batch_size=batch_size - 1, **settings)
