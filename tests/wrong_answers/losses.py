"""Question 3: losses that look right."""

import torch
import torch.nn.functional as F
from torch import nn

from wrong_answers import collector

WRONG = []
wrong = collector(WRONG)
T_GLOBAL, ALPHA_GLOBAL = 4.0, 0.5


def kl(z_s, z_t, T):
    return F.kl_div(F.log_softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1), reduction="batchmean")


@wrong("distillation_loss", 0.0, "T² is missing")
def without_T_squared(z_s, z_t, T):  # keras-io, before it was repaired
    return kl(z_s, z_t, T)


@wrong("distillation_loss", 0.0, "multiplied by T, not by T²")
def T_in_place_of_T_squared(z_s, z_t, T):
    return T * kl(z_s, z_t, T)


@wrong("distillation_loss", 0.0, "student and teacher are swapped")
def student_and_teacher_swapped(z_s, z_t, T):
    return T**2 * kl(z_t, z_s, T)


@wrong("distillation_loss", 0.0, "K times too small")
def default_reduction_of_kl_div(z_s, z_t, T):  # labml, and many students
    return T**2 * F.kl_div(F.log_softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1))


@wrong("distillation_loss", 0.0, "K times too small")
def divided_by_the_number_of_elements(z_s, z_t, T):  # DeiT
    log_p = F.log_softmax(z_t / T, dim=1)
    return T**2 * F.kl_div(F.log_softmax(z_s / T, dim=1), log_p, reduction="sum", log_target=True) / z_s.numel()


@wrong("distillation_loss", 0.0, "F.kl_div was given the student's probabilities")
def probabilities_into_kl_div(z_s, z_t, T):  # SLKD's helper, KD_Lib
    return T**2 * F.kl_div(F.softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1), reduction="batchmean")


@wrong("distillation_loss", 0.0, "sigmoid")
def sigmoid_into_kl_div(z_s, z_t, T):
    return T**2 * F.kl_div(torch.sigmoid(z_s / T), torch.sigmoid(z_t / T), reduction="batchmean")


@wrong("distillation_loss", 0.0, "was taken")
def two_logarithms_into_kl_div(z_s, z_t, T):
    return T**2 * F.kl_div(F.log_softmax(z_s / T, dim=1), F.log_softmax(z_t / T, dim=1), reduction="batchmean")


@wrong("distillation_loss", 0.6, "cross-entropy with the teacher's answer")
def cross_entropy_in_place_of_kl(z_s, z_t, T):  # the PyTorch tutorial; right gradient, other value
    return T**2 * F.cross_entropy(z_s / T, F.softmax(z_t / T, dim=1))


@wrong("distillation_loss", 0.8, "logits in the hundreds")
def logarithm_of_a_softmax(z_s, z_t, T):  # mdistiller's DKD
    p_t = F.softmax(z_t / T, dim=1)
    return T**2 * (p_t * (F.log_softmax(z_t / T, dim=1) - F.softmax(z_s / T, dim=1).log())).sum(dim=1).mean()


@wrong("distillation_loss", 0.0, "squared difference of probabilities")
def squared_error_of_probabilities(z_s, z_t, T):  # KD_Lib
    return F.mse_loss(F.softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1))


@wrong("distillation_loss", 0.0, "a global")
def T_from_the_notebook(z_s, z_t, T):
    return T_GLOBAL**2 * kl(z_s, z_t, T_GLOBAL)


@wrong("distillation_loss", 0.0, "not over the classes (dim=0)")
def softmax_over_the_images(z_s, z_t, T):
    return T**2 * F.kl_div(F.log_softmax(z_s / T, dim=0), F.softmax(z_t / T, dim=0), reduction="batchmean")


@wrong("distillation_loss", 0.0, "the student's logits are not softened")
def only_the_teacher_is_softened(z_s, z_t, T):
    return T**2 * F.kl_div(F.log_softmax(z_s, dim=1), F.softmax(z_t / T, dim=1), reduction="batchmean")


@wrong("distillation_loss", 0.0, "multiplied by T, not divided")
def logits_times_T(z_s, z_t, T):
    return T**2 * kl(z_s * T, z_t * T, 1)


@wrong("distillation_loss", 0.0, "softmax is taken twice")
def softmax_of_a_softmax(z_s, z_t, T):
    return T**2 * kl(F.softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1), 1)


@wrong("distillation_loss", 0.0, "teacher's best guess")
def hard_guess_of_the_teacher(z_s, z_t, T):
    return T**2 * F.cross_entropy(z_s / T, z_t.argmax(dim=1))


@wrong("distillation_loss", 0.0, "the mean over the images is missing")
def one_number_per_image(z_s, z_t, T):
    p_t = F.softmax(z_t / T, dim=1)
    return T**2 * (p_t * (p_t.log() - F.log_softmax(z_s / T, dim=1))).sum(dim=1)


@wrong("distillation_loss", 0.0, "sum over the images")
def summed_over_the_batch(z_s, z_t, T):
    return T**2 * F.kl_div(F.log_softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1), reduction="sum")


@wrong("distillation_loss", 0.4, "no gradient reaches the student")
def a_number_without_a_gradient(z_s, z_t, T):
    p_t = F.softmax(z_t / T, dim=1)
    return (T**2 * (p_t * (F.log_softmax(z_t / T, dim=1) - F.log_softmax(z_s / T, dim=1))).sum(dim=1).mean()).item()


@wrong("distillation_loss", 0.0, "the sign is wrong")
def negative(z_s, z_t, T):
    return -(T**2) * kl(z_s, z_t, T)


@wrong("teacher_loss", 0.0, "summed over the images")
def labels_summed(z, y):
    return F.cross_entropy(z, y, reduction="sum")


@wrong("teacher_loss", 0.0, "it takes the softmax itself")
def cross_entropy_of_probabilities(z, y):
    return F.cross_entropy(F.softmax(z, dim=1), y)


@wrong("teacher_loss", 0.0, "without its logarithm")
def nll_loss_of_probabilities(z, y):
    return nn.NLLLoss()(F.softmax(z, dim=1), y)


@wrong("teacher_loss", 0.8, "logits in the hundreds")
def nll_loss_of_the_logarithm_of_a_softmax(z, y):
    return F.nll_loss(torch.log(torch.softmax(z, dim=1)), y)


@wrong("combined_loss", 0.0, "alpha weighs the hard term")
def alpha_the_other_way_round(z_s, z_t, y, T, alpha):
    return alpha * F.cross_entropy(z_s, y) + (1 - alpha) * T**2 * kl(z_s, z_t, T)


@wrong("combined_loss", 0.2, "T² multiplies the hard term as well")
def T_squared_on_both_terms(z_s, z_t, y, T, alpha):
    return T**2 * ((1 - alpha) * F.cross_entropy(z_s, y) + alpha * kl(z_s, z_t, T))


@wrong("combined_loss", 0.0, "T² multiplies the hard term, not the soft one")
def T_squared_on_the_hard_term(z_s, z_t, y, T, alpha):
    return (1 - alpha) * T**2 * F.cross_entropy(z_s, y) + alpha * kl(z_s, z_t, T)


@wrong("combined_loss", 0.2, "the hard term is computed at temperature T")
def labels_at_temperature_T(z_s, z_t, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z_s / T, y) + alpha * T**2 * kl(z_s, z_t, T)


@wrong("combined_loss", 0.2, "the hard term is not weighed by 1 - alpha")
def hard_term_at_full_weight(z_s, z_t, y, T, alpha):
    return F.cross_entropy(z_s, y) + alpha * T**2 * kl(z_s, z_t, T)


@wrong("combined_loss", 0.0, "does not change with alpha")
def alpha_from_the_notebook(z_s, z_t, y, T, alpha):
    return (1 - ALPHA_GLOBAL) * F.cross_entropy(z_s, y) + ALPHA_GLOBAL * T**2 * kl(z_s, z_t, T)


@wrong("combined_loss", 0.2, "in the soft term, T² is missing")
def combined_without_T_squared(z_s, z_t, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z_s, y) + alpha * kl(z_s, z_t, T)


@wrong("combined_loss", 0.0, "does not change with alpha")
def labels_alone(z_s, z_t, y, T, alpha):
    return F.cross_entropy(z_s, y)


@wrong("distillation_loss", 0.8, "was a small number added before the logarithm")
def logarithm_of_a_softmax_and_a_little(z_s, z_t, T):
    p_s, p_t = F.softmax(z_s / T, dim=1), F.softmax(z_t / T, dim=1)
    return T**2 * (p_t * (torch.log(p_t + 1e-8) - torch.log(p_s + 1e-8))).sum(dim=1).mean()


@wrong("distillation_loss", 0.8, "z_t, an argument, is changed in place")
def teacher_divided_in_place(z_s, z_t, T):
    z_t.div_(T)
    return T**2 * F.kl_div(F.log_softmax(z_s / T, dim=1), F.softmax(z_t, dim=1), reduction="batchmean")


@wrong("distillation_loss", 0.0, "^ is no power in Python")
def a_caret_for_a_power(z_s, z_t, T):
    return kl(z_s, z_t, T) * torch.tensor(T) ^ 2


@wrong("combined_loss", 0.0, "^ is no power in Python")
def a_caret_between_plain_numbers(z_s, z_t, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z_s, y) + alpha * T ^ 2 * kl(z_s, z_t, T)


@wrong("teacher_loss", 0.8, "was a small number added before the logarithm")
def label_and_a_little(z, y):
    return -torch.log(F.softmax(z, dim=1)[torch.arange(len(y)), y] + 1e-8).mean()


SEEN = []


@wrong("teacher_loss", 0.0, "something stays from one call to the next")
def divided_by_all_that_were_seen(z, y):
    SEEN.extend(y)
    return F.cross_entropy(z, y, reduction="sum") / len(SEEN)


@wrong("combined_loss", 0.2, "the hard term is asked of the teacher")
def labels_asked_of_the_teacher(z_s, z_t, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z_t, y) + alpha * T**2 * kl(z_s, z_t, T)


@wrong("distillation_loss", 0.0, "the mean of both divergences")
def both_directions(z_s, z_t, T):
    return T**2 * (kl(z_s, z_t, T) + kl(z_t, z_s, T)) / 2


@wrong("distillation_loss", 0.0, "Jensen-Shannon")
def to_the_middle(z_s, z_t, T):
    middle = ((z_s / T).softmax(1) / 2 + (z_t / T).softmax(1) / 2).log()
    return T**2 * sum(F.kl_div(middle, (z / T).softmax(1), reduction="batchmean") for z in (z_s, z_t)) / 2


@wrong("distillation_loss", 0.0, "to base 2")
def in_bits(z_s, z_t, T):
    p_s, p_t = (z_s / T).softmax(1), (z_t / T).softmax(1)
    return T**2 * (p_t * (p_t.log2() - p_s.log2())).sum(1).mean()


@wrong("teacher_loss", 0.0, "labels are smoothed by 0.1")
def smoothed_labels(z, y):
    return F.cross_entropy(z, y, label_smoothing=0.1)


@wrong("teacher_loss", 0.0, "with sigmoids: softmax is meant")
def a_sigmoid_for_every_class(z, y):
    return F.binary_cross_entropy_with_logits(z, F.one_hot(y, z.shape[1]).float())


@wrong("combined_loss", 0.2, "mixed into one target")
def one_target_of_both(z_s, z_t, y, T, alpha):
    return F.cross_entropy(z_s, (1 - alpha) * F.one_hot(y, z_s.shape[1]) + alpha * (z_t / T).softmax(1))


@wrong("combined_loss", 0.2, "the teacher's best guess takes the label's place")
def guesses_for_labels(z_s, z_t, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z_s, z_t.argmax(1)) + alpha * T**2 * kl(z_s, z_t, T)


@wrong("combined_loss", 0.4, "alpha is there twice in the soft term")
def alpha_in_both_functions(z_s, z_t, y, T, alpha):
    return (1 - alpha) * F.cross_entropy(z_s, y) + alpha * (alpha * T**2 * kl(z_s, z_t, T))
