"""The identities of the losses are worth something only if each of them notices a mistake: here are the mistakes."""

import inspect
from types import SimpleNamespace

import pytest
import test_losses as identities
import torch
from test_losses import IDENTITIES

from kdcourse.losses import logits

SOURCE = inspect.getsource(logits)
SUM = "(log_p_t.exp() * (log_p_t - log_p_s)).sum(dim=1)"
SOFT_KL_CHECKS = '    check_logits(z_s, z_t)\n    check_temperature(T)\n    log_p_s'
STUDENT = "log_p_s = F.log_softmax(full_precision(z_s) / T, dim=1)"
TEACHER = "log_p_t = F.log_softmax(full_precision(z_t) / T, dim=1)"
GAP = "gap = full_precision(z_s) - full_precision(z_t)"
MATCH = "(gap - gap.mean(dim=1, keepdim=True)).square().mean() / 2"

# (code, what it becomes, the identities that must notice)
MUTATIONS = [
    ("T**2 * soft_kl", "soft_kl", "gradient_is_T_times_probability_gap kd_loss_tends_to_logit_matching"),
    ("T**2 * soft_kl", "T * soft_kl", "kd_loss_is_T_squared_times_the_mean_over_the_batch"),
    ("T**2 * soft_kl", "T**4 * soft_kl", "gradient_is_that_of_the_cross_entropy_form"),
    ("T=T).mean()", "T=T).mean() / z_s.shape[1]", "gradient_is_T_times_probability_gap "
     "cross_entropy_form_is_larger_by_T_squared_times_the_teachers_entropy"),
    ("T=T).mean()", "T=T).sum()", "batch_is_the_mean_of_its_images"),
    ("T=T).mean()", "T=T)", "batch_is_the_mean_of_its_images"),
    ("soft_kl(z_s, z_t, T=T)", "soft_kl(z_t, z_s, T=T)", "gradient_is_T_times_probability_gap "
     "gradient_is_that_of_the_cross_entropy_form"),
    (SUM, "(log_p_s.exp() * (log_p_s - log_p_t)).sum(dim=1)", "soft_kl_is_the_definition_for_each_image"),
    (SUM, "(log_p_t.exp() * (log_p_s - log_p_t)).sum(dim=1)", "value_is_never_negative"),
    (SUM, "(log_p_s * (log_p_s - log_p_t.exp())).sum(dim=1)",
     "value_and_gradient_are_zero_where_student_and_teacher_agree"),
    (SUM, "-(log_p_t.exp() * log_p_s).sum(dim=1)", "value_and_gradient_are_zero_where_student_and_teacher_agree "
     "cross_entropy_form_is_larger_by_T_squared_times_the_teachers_entropy"),
    (SUM, SUM.replace("sum", "mean"), "gradient_is_T_times_probability_gap soft_kl_is_the_definition_for_each_image"),
    (SUM, "F.kl_div(log_p_s, log_p_t, reduction='none', log_target=True).sum(dim=1)",
     "temperature_may_be_a_batched_tensor"),
    (STUDENT, "log_p_s = F.softmax(full_precision(z_s) / T, dim=1).log()", "logits_in_the_hundreds_stay_finite"),
    (TEACHER, "log_p_t = F.softmax(full_precision(z_t) / T, dim=1).log()", "logits_in_the_hundreds_stay_finite"),
    (STUDENT, "log_p_s = full_precision(z_s) / T", "constant_added_to_a_row_changes_nothing value_is_never_negative"),
    (TEACHER, "log_p_t = full_precision(z_t) / T", "constant_added_to_a_row_changes_nothing"),
    (STUDENT, STUDENT.replace("dim=1", "dim=0"), "gradient_is_T_times_probability_gap"),
    (STUDENT, STUDENT.replace(" / T", ""), "soft_kl_is_the_definition_for_each_image"),
    (TEACHER, TEACHER.replace(" / T", ""), "value_and_gradient_are_zero_where_student_and_teacher_agree"),
    (STUDENT, STUDENT.replace("full_precision(z_s)", "z_s"), "half_precision_is_computed_in_single"),
    (STUDENT, STUDENT.replace("full_precision(z_s)", "z_s.float()"), "double_precision_is_kept"),
    (SOFT_KL_CHECKS, SOFT_KL_CHECKS.replace("check_logits(z_s, z_t)", "pass"),
     "other_shapes_are_refused_and_both_are_named what_is_no_batch_of_logits_is_refused"),
    (SOFT_KL_CHECKS, SOFT_KL_CHECKS.replace("check_temperature(T)", "pass"),
     "temperatures_that_are_not_positive_are_refused"),
    (SOFT_KL_CHECKS, SOFT_KL_CHECKS.replace("check_temperature(T)", "T = float(T)"),
     "temperature_may_be_a_batched_tensor"),
    (MATCH, MATCH.removesuffix(" / 2"), "kd_loss_tends_to_logit_matching "
     "logit_matching_is_half_the_mean_squared_distance_of_centred_logits"),
    (MATCH, "gap.square().mean() / 2", "constant_added_to_a_row_changes_nothing kd_loss_tends_to_logit_matching"),
    (MATCH, MATCH.replace("dim=1", "dim=0"), "constant_added_to_a_row_changes_nothing "
     "logit_matching_is_half_the_mean_squared_distance_of_centred_logits"),
    (MATCH, MATCH.replace("mean() / 2", "sum() / 2"), "batch_is_the_mean_of_its_images"),
    (GAP, "gap = full_precision(z_s) + full_precision(z_t)",
     "value_and_gradient_are_zero_where_student_and_teacher_agree"),
    (GAP, "gap = z_s - z_t", "half_precision_is_computed_in_single"),
    (GAP, "gap = z_s.float() - z_t.float()", "double_precision_is_kept"),
    (f"    check_logits(z_s, z_t)\n    {GAP}", f"    {GAP}",
     "other_shapes_are_refused_and_both_are_named what_is_no_batch_of_logits_is_refused"),
]


@pytest.mark.parametrize("old, new, names", MUTATIONS, ids=lambda text: " ".join(text.split())[-60:])
def test_a_mistake_is_noticed(old, new, names):
    assert SOURCE.count(old) == 1
    mutant = {}
    exec(compile(SOURCE.replace(old, new), "mutant", "exec"), mutant)
    mutant = SimpleNamespace(**mutant)
    z = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    mutant.kd_loss(z[0], z[1], T=1.0), mutant.logit_matching_loss(z[0], z[1])  # it runs: it is wrong, not broken
    for name in names.split():
        with pytest.raises((AssertionError, pytest.fail.Exception, RuntimeError)):
            getattr(identities, name)(mutant)


def test_every_identity_notices_some_mistake():
    assert {name for *_, names in MUTATIONS for name in names.split()} == {f.__name__ for f in IDENTITIES}
