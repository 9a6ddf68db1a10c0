"""The identities of the losses are worth something only if each of them notices a mistake: here are the mistakes."""

import inspect
from types import SimpleNamespace

import pytest
import test_losses
import test_losses_contracts
import test_losses_correlations
import test_losses_features
import test_losses_logits
import test_losses_other_teachers
import test_losses_relations

from kdcourse.losses import adversarial, base, correlations, data_free, features, logits, relations

FILES = [test_losses, test_losses_contracts, test_losses_logits, test_losses_correlations, test_losses_features,
         test_losses_relations, test_losses_other_teachers]
IDENTITIES = [identity for file in FILES for identity in file.IDENTITIES]
BY_NAME = {identity.__name__: identity for identity in IDENTITIES}

SUM = "divergence(log_p_t, log_p_s)"
SOFT_KL_CHECKS = '    check_logits(z_s, z_t)\n    check_temperature(T)\n    log_p_s'
STUDENT = "log_p_s = F.log_softmax(softened(z_s, T), dim=1)"
TEACHER = "log_p_t = F.log_softmax(softened(z_t, T), dim=1)"
WIDE = "z_s, z_t = full_precision(z_s), full_precision(z_t)"
GAP = "torch.where(known, z_s - z_t, 0.0)"
CENTRED_GAP = "gap - gap.sum(dim=1, keepdim=True) / K"
MATCH = "(gap.square().sum(dim=1, keepdim=True) / K).mean() / 2"

# (code, what it becomes, the identities that must notice)
KD = [
    ("T**2 * soft_kl", "soft_kl", "gradient_is_T_times_probability_gap kd_loss_tends_to_logit_matching"),
    ("T**2 * soft_kl", "T * soft_kl", "kd_loss_is_T_squared_times_the_mean_over_the_batch"),
    ("T**2 * soft_kl", "T**4 * soft_kl", "gradient_is_that_of_the_cross_entropy_form"),
    ("z_t, T=T).mean()", "z_t, T=T).mean() / z_s.shape[1]", "gradient_is_T_times_probability_gap "
     "cross_entropy_form_is_larger_by_T_squared_times_the_teachers_entropy"),
    ("z_t, T=T).mean()", "z_t, T=T).sum()", "batch_is_the_mean_of_its_images"),
    ("z_t, T=T).mean()", "z_t, T=T)", "batch_is_the_mean_of_its_images"),
    ("soft_kl(z_s, z_t, T=T)", "soft_kl(z_t, z_s, T=T)", "gradient_is_T_times_probability_gap "
     "gradient_is_that_of_the_cross_entropy_form"),
    (SUM, "(log_p_s.exp() * (log_p_s - log_p_t)).sum(dim=1)", "soft_kl_is_the_definition_for_each_image"),
    (SUM, "(log_p_t.exp() * (log_p_s - log_p_t)).sum(dim=1)", "value_is_never_negative"),
    (SUM, "(log_p_s * (log_p_s - log_p_t.exp())).sum(dim=1)",
     "value_and_gradient_are_zero_where_student_and_teacher_agree"),
    (SUM, "-(log_p_t.exp() * log_p_s).sum(dim=1)", "value_and_gradient_are_zero_where_student_and_teacher_agree "
     "cross_entropy_form_is_larger_by_T_squared_times_the_teachers_entropy "
     "student_that_equals_its_teacher_costs_nothing"),
    (SUM, f"{SUM} / z_s.shape[1]", "gradient_is_T_times_probability_gap soft_kl_is_the_definition_for_each_image"),
    (SUM, "F.kl_div(log_p_s, log_p_t, reduction='none', log_target=True).sum(dim=1)",
     "temperature_may_be_a_batched_tensor many_at_once_are_as_one_after_the_other"),
    (STUDENT, "log_p_s = F.softmax(full_precision(z_s) / T, dim=1).log()", "logits_in_the_hundreds_stay_finite"),
    (STUDENT, "log_p_s = softened(z_s, T)", "constant_added_to_a_row_changes_nothing value_is_never_negative"),
    (TEACHER, "log_p_t = softened(z_t, T)", "constant_added_to_a_row_changes_nothing"),
    (STUDENT, STUDENT.replace("dim=1", "dim=0"), "gradient_is_T_times_probability_gap"),
    (STUDENT, STUDENT.replace("T)", "1.0)"), "soft_kl_is_the_definition_for_each_image"),
    (TEACHER, TEACHER.replace("T)", "1.0)"), "value_and_gradient_are_zero_where_student_and_teacher_agree"),
    (TEACHER, TEACHER.replace("z_t", "z_t.detach()"), "nothing_detaches_the_teacher gradient_is_the_slope"),
    (STUDENT, STUDENT.replace("softened(z_s, T)", "z_s / T"), "half_precision_is_computed_in_single"),
    (STUDENT, STUDENT.replace("softened(z_s, T)", "z_s.float() / T"), "double_precision_is_kept"),
    (SOFT_KL_CHECKS, SOFT_KL_CHECKS.replace("check_logits(z_s, z_t)", "pass"),
     "other_shapes_are_refused_and_both_are_named what_is_no_batch_of_logits_is_refused"),
    (SOFT_KL_CHECKS, SOFT_KL_CHECKS.replace("check_temperature(T)", "pass"),
     "temperatures_that_are_not_positive_are_refused"),
    (SOFT_KL_CHECKS, SOFT_KL_CHECKS.replace("check_temperature(T)", "T = float(T)"),
     "temperature_may_be_a_batched_tensor"),
    (MATCH, MATCH.removesuffix(" / 2"), "kd_loss_tends_to_logit_matching "
     "logit_matching_is_half_the_mean_squared_distance_of_centred_logits"),
    (CENTRED_GAP, "gap", "constant_added_to_a_row_changes_nothing kd_loss_tends_to_logit_matching"),
    (CENTRED_GAP, CENTRED_GAP.replace("dim=1", "dim=0"), "constant_added_to_a_row_changes_nothing "
     "logit_matching_is_half_the_mean_squared_distance_of_centred_logits"),
    (MATCH, MATCH.replace("mean() / 2", "sum() / 2"), "batch_is_the_mean_of_its_images"),
    (GAP, GAP.replace("z_s - z_t", "z_s + z_t"), "value_and_gradient_are_zero_where_student_and_teacher_agree"),
    (GAP, "z_s - z_t", "classes_ruled_out_by_both_play_no_part"),
    (WIDE, "pass", "half_precision_is_computed_in_single"),
    (WIDE, "z_s, z_t = z_s.float(), z_t.float()", "double_precision_is_kept"),
    (f"    check_logits(z_s, z_t)\n    {WIDE}", f"    {WIDE}",
     "other_shapes_are_refused_and_both_are_named what_is_no_batch_of_logits_is_refused"),
]

TARGET = "divergence(log_t, log_s)"
TARGET_LOGITS = "_target_or_not(z_s, y, T), _target_or_not(z_t, y, T)"
PAIR = "F.log_softmax(pair, dim=1)"
PAIR_CHECKS = "    y = check_labels(z, y)\n    check_temperature(T)\n"
TEMPERED = "z = softened(z, T)"
REST = "soft_kl(rest_s, rest_t, T=T)"
PARTS = "alpha * target_kl(z_s, z_t, y, T=T) + beta * non_target_kl(z_s, z_t, y, T=T)"
DKD = [
    (TARGET, "(log_s.exp() * (log_s - log_t)).sum(dim=1)", "target_kl_is_the_definition_for_each_image"),
    (TARGET, "(log_t.exp() * (log_s - log_t)).sum(dim=1)", "another_student_costs_something"),
    (TARGET, f"{TARGET} / 2", "soft_kl_is_target_kl_plus_what_is_left_times_non_target_kl"),
    (TARGET, "(log_t.exp() * (log_t - log_s))[:, 0]", "target_kl_is_the_definition_for_each_image"),
    (TARGET_LOGITS, TARGET_LOGITS.replace("z_t", "z_t.detach()"), "nothing_detaches_the_teacher"),
    (PAIR, "torch.stack([p := z.softmax(dim=1).gather(1, y[:, None])[:, 0], 1 - p], dim=1).log()",
     "dkd_with_margins_of_two_hundred_is_finite_and_right"),
    (PAIR, "F.log_softmax(pair, dim=0)", "target_kl_is_the_definition_for_each_image "
     "means_over_the_batch_are_those_of_its_images"),
    ("_others(z, y).logsumexp(dim=1)", "z.logsumexp(dim=1)", "two_classes_have_a_target_part_and_nothing_else"),
    ("_others(z, y).logsumexp(dim=1)", "_others(z, y).sum(dim=1)",
     "soft_kl_is_target_kl_plus_what_is_left_times_non_target_kl"),
    ("_others(z, y).logsumexp(dim=1)", "_others(z, y)[:, 0]", "target_kl_depends_on_the_rest_only_through_its_sum"),
    (TEMPERED, "z = full_precision(z)", "soft_kl_is_target_kl_plus_what_is_left_times_non_target_kl"),
    (TEMPERED, "z = z / T", "half_precision_is_computed_in_single_everywhere"),
    (TEMPERED, "z = z.float() / T", "double_precision_is_kept_everywhere"),
    ("k + (k >= y[:, None])", "k + (k > y[:, None])", "logit_of_the_label_plays_no_part_in_non_target_kl "
     "non_target_kl_is_the_definition_for_each_image order_of_the_classes_or_channels_does_not_matter"),
    (REST, "soft_kl(rest_t, rest_s, T=T)", "non_target_kl_is_the_definition_for_each_image"),
    (REST, "soft_kl(rest_s, rest_t)", "non_target_kl_is_the_definition_for_each_image "
     "temperatures_that_are_not_positive_are_refused_with_labels_too"),
    (REST, f"T**2 * {REST}", "dkd_with_what_the_teacher_leaves_is_kd_in_value_and_gradient"),
    (REST, "soft_kl(z_s, z_t, T=T)", "logit_of_the_label_plays_no_part_in_non_target_kl"),
    (REST, "soft_kl(z_s.scatter(1, y[:, None], 0.0), z_t.scatter(1, y[:, None], 0.0), T=T)",
     "non_target_kl_is_the_definition_for_each_image"),
    (PARTS, "beta * target_kl(z_s, z_t, y, T=T) + alpha * non_target_kl(z_s, z_t, y, T=T)",
     "dkd_loss_is_T_squared_times_the_weighted_mean_of_its_parts"),
    (PARTS, "alpha * target_kl(z_s, z_t, y, T=T).mean() + beta * non_target_kl(z_s, z_t, y, T=T).mean()",
     "dkd_with_what_the_teacher_leaves_is_kd_in_value_and_gradient"),
    ("T**2 * per_image.mean()", "per_image.mean()", "dkd_with_what_the_teacher_leaves_is_kd_in_value_and_gradient"),
    ("T**2 * per_image.mean()", "T**2 * per_image.sum()", "means_over_the_batch_are_those_of_its_images"),
    ("weight.ndim and weight.shape != y.shape", "weight.ndim and len(weight) != len(y)",
     "weights_of_another_shape_are_refused"),
    ('    check_classes(z_s, "the non', '    (z_s, "the non', "two_classes_have_a_target_part_and_nothing_else"),
    (PAIR_CHECKS, "    y = check_labels(z, y)\n", "temperatures_that_are_not_positive_are_refused_with_labels_too"),
    (PAIR_CHECKS, "    y = check_labels(z, y)\n    T = float(T)\n", "temperatures_with_labels_may_be_batched_tensors"),
    (PAIR_CHECKS, "    check_temperature(T)\n", "labels_that_do_not_fit_are_refused_and_both_shapes_are_named"),
    ("    y = check_labels(z, y)\n    k = ", "    k = ",
     "labels_that_do_not_fit_are_refused_and_both_shapes_are_named"),
    ("    check_logits(z_s, z_t)\n    log_s, log_t", "    log_s, log_t",
     "logits_that_would_broadcast_are_refused_with_labels_too"),
]

ATS_KL = "T_student**2 * soft_kl(softened(z_s, T_student), q_t).mean()"
CENTRED = "z_t = centred(z_t)"
TWO_T = "torch.where(is_label, softened(z_t, T_target), softened(z_t, T_rest))"
ATS = [
    (ATS_KL, ATS_KL.removeprefix("T_student**2 * "), "ats_with_one_temperature_is_kd_in_value_and_gradient"),
    (ATS_KL, ATS_KL.replace("T_student**2", "T_target * T_rest"),
     "ats_is_the_cross_entropy_form_less_the_entropy_of_its_target"),
    (ATS_KL, "T_student**2 * soft_kl(q_t, softened(z_s, T_student)).mean()",
     "ats_with_one_temperature_is_kd_in_value_and_gradient"),
    (ATS_KL, ATS_KL.replace("(z_s, T_student)", "(z_s, 1.0)"), "ats_with_one_temperature_is_kd_in_value_and_gradient"),
    (ATS_KL, ATS_KL.replace("q_t", "q_t, T=T_student"), "ats_with_one_temperature_is_kd_in_value_and_gradient"),
    (ATS_KL, ATS_KL.replace("mean", "sum"), "means_over_the_batch_are_those_of_its_images"),
    (ATS_KL, ATS_KL.replace("softened(z_s, T_student)", "z_s / T_student"),
     "half_precision_is_computed_in_single_everywhere"),
    (CENTRED, "pass", "constant_added_to_a_row_changes_nothing_under_two_temperatures"),
    (CENTRED, "z_t = centred(z_t.T).T", "constant_added_to_a_row_changes_nothing_under_two_temperatures"),
    (CENTRED, "z_t = z_t - z_t.amax(dim=1, keepdim=True)",
     "ats_is_the_cross_entropy_form_less_the_entropy_of_its_target"),
    (TWO_T, "torch.where(is_label, softened(z_t, T_rest), softened(z_t, T_target))",
     "hotter_label_spreads_the_wrong_answers"),
    (TWO_T, "torch.where(z_t == z_t.amax(dim=1, keepdim=True), softened(z_t, T_target), softened(z_t, T_rest))",
     "ats_is_the_cross_entropy_form_less_the_entropy_of_its_target"),
    ("    y = check_labels(z_t, y)\n    for T", "    for T",
     "labels_that_do_not_fit_are_refused_and_both_shapes_are_named"),
    ("(T_target, T_rest, T_student):", "(T_target, T_rest):",
     "temperatures_that_are_not_positive_are_refused_with_labels_too"),
    ("        check_temperature(T)\n    z_t", "        T = float(T)\n    z_t",
     "temperatures_with_labels_may_be_batched_tensors"),
]

RATIO = 'ratio = (log_ratio if favour == "behind" else -log_ratio).exp().clamp(1 / limit, limit)'
SPREAD = "z / variance.sqrt().clamp_min(1e-6)"
IPWD = [
    ("_standardised(z.detach())", "_standardised(z)", "weights_have_mean_one_and_no_gradient"),
    ("_standardised(z.detach())", "full_precision(z.detach())",
     "scale_and_offset_of_a_row_of_logits_do_not_move_the_weights"),
    ("_standardised(z.detach())", "_standardised(z.detach()).double()",
     "half_precision_is_computed_in_single_everywhere"),
    ("weights / weights.mean()", "weights", "weights_are_one_where_both_heads_agree"),
    ("weights / weights.mean()", "weights / weights.sum()", "weights_have_mean_one_and_no_gradient"),
    ("weights / weights.mean()", "weights / weights.amax()", "weights_have_mean_one_and_no_gradient"),
    ("weights = 1 + ratio", "weights = ratio", "weights_are_one_plus_the_ratio_of_cross_entropies"),
    (RATIO, RATIO.replace('== "behind"', '!= "behind"'), "image_on_which_the_distilled_head_is_behind_counts_more "
     "weights_are_one_plus_the_ratio_of_cross_entropies"),
    (RATIO, RATIO.replace("clamp(1 / limit, limit)", "clamp(max=limit)"),
     "no_image_counts_more_than_limit_times_another"),
    (RATIO, RATIO.replace(".clamp(1 / limit, limit)", ""), "weights_are_one_plus_the_ratio_of_cross_entropies"),
    (SPREAD, "z", "scale_and_offset_of_a_row_of_logits_do_not_move_the_weights"),
    (SPREAD, SPREAD.removesuffix(".clamp_min(1e-6)"), "rows_without_variation_have_finite_weights"),
    (SPREAD, "z / z.std(dim=1, keepdim=True).clamp_min(1e-6)",
     "weights_are_one_plus_the_ratio_of_cross_entropies"),
    ('reduction="none"', 'reduction="mean"', "weights_have_mean_one_and_no_gradient"),
    ("(h_kd + 1e-12)", "(h_kd + 1e-12).roll(1)", "order_of_the_images_does_not_matter"),
    ("    y = check_labels(z_kd, y)\n", "", "labels_that_do_not_fit_are_refused_and_both_shapes_are_named"),
    ("    check_logits(z_kd, z_cls)\n", "", "logits_that_would_broadcast_are_refused_with_labels_too "
     "shapes_that_do_not_fit_are_refused_and_both_are_named"),
]

Z_SCORE = "unit(centred(z).masked_fill(~known, 0.0), dim=1) * (K - 1).clamp_min(0).sqrt()"
OF_Z = "kd_loss(standardised(z_s), standardised(z_t), T=T)"
STANDARDISED = [
    (Z_SCORE, "unit(centred(z).masked_fill(~known, 0.0), dim=1) * K.sqrt()",
     "standardised_rows_have_mean_zero_and_a_standard_deviation_of_one"),
    (Z_SCORE, "unit(full_precision(z).masked_fill(~known, 0.0), dim=1) * (K - 1).sqrt()",
     "lskd_does_not_see_how_sure_either_network_is standardised_rows_have_mean_zero_and_a_standard_deviation_of_one"),
    (Z_SCORE, "centred(z).masked_fill(~known, 0.0)", "lskd_does_not_see_how_sure_either_network_is "
     "gradient_of_lskd_neither_shifts_nor_scales_a_row lskd_tends_to_dists_row_term_on_logits"),
    (Z_SCORE, "centred(z).masked_fill(~known, 0.0) / centred(z).masked_fill(~known, 0.0).std(dim=1, keepdim=True)",
     "features_of_zero_are_finite_in_value_and_gradient classes_ruled_out_by_both_play_no_part"),
    (Z_SCORE, Z_SCORE.replace("unit(", "unit(1.0 * ").replace(", dim=1)", ", dim=1).detach()"),
     "lskd_is_kd_of_standardised_logits_in_value_and_gradient nothing_detaches_the_teacher"),
    ("    return z.masked_fill(~known, -torch.inf)", "    return z", "classes_ruled_out_by_both_play_no_part"),
    (OF_Z, "kd_loss(z_s, standardised(z_t), T=T)", "lskd_does_not_see_how_sure_either_network_is"),
    (OF_Z, "kd_loss(standardised(z_t), standardised(z_s), T=T)",
     "lskd_is_kd_of_standardised_logits_in_value_and_gradient"),
    (OF_Z, "soft_kl(standardised(z_s), standardised(z_t), T=T).mean()", "lskd_tends_to_dists_row_term_on_logits"),
    ('    check_classes(z_s, "two standardised', '    (z_s, "two standardised',
     "two_standardised_classes_are_refused"),
]

TARGET = "target = -p_t * torch.where(p_t > 0, log_p_s, 0.0)"
NKD_SUM = "target.mean() + gamma * T**2 * non_target_kl(z_s, z_t, y, T=T).mean()"
NKD = [
    (TARGET, "target = -log_p_s", "nkd_is_the_weighted_cross_entropy_and_gamma_times_that_of_the_rest"),
    (TARGET, "target = -p_t * log_p_s", "a_label_that_both_rule_out_costs_nkd_nothing"),
    (TARGET, "target = p_t * torch.where(p_t > 0, log_p_s, 0.0)",
     "nkd_of_a_teacher_that_is_sure_of_the_label_is_the_cross_entropy"),
    (NKD_SUM, "target.mean() + gamma * non_target_kl(z_s, z_t, y, T=T).mean()",
     "non_target_gradient_of_nkd_is_gamma_times_that_of_dkd"),
    (NKD_SUM, "target.mean() + gamma * T**2 * soft_kl(z_s, z_t, T=T).mean()",
     "non_target_gradient_of_nkd_is_gamma_times_that_of_dkd"),
    (NKD_SUM, NKD_SUM.replace("gamma * ", ""), "non_target_gradient_of_nkd_is_gamma_times_that_of_dkd"),
    ("    y = check_labels(z_s, y)\n", "    y = y.long() if y is not None else y\n",
     "labels_that_do_not_fit_are_refused_and_both_shapes_are_named"),
]

TRANSFORMED = "soft_kl(z_s, softened(z_t, T))"
WEIGHT = "softened(F.log_softmax(full_precision(z_t), dim=1), T).logsumexp(dim=1).exp()"
TTM = [
    (TRANSFORMED, "soft_kl(softened(z_s, T), softened(z_t, T))", "gradient_of_ttm_is_the_probability_gap_without_T "
     "ttm_is_kd_and_a_regulariser_of_renyis_entropy"),
    (TRANSFORMED, f"T * {TRANSFORMED}", "gradient_of_ttm_is_the_probability_gap_without_T"),
    (TRANSFORMED, "soft_kl(z_s, softened(z_t, 1 / T))", "ttm_is_the_divergence_from_the_teacher_raised_to_a_power "
     "ttm_is_kd_and_a_regulariser_of_renyis_entropy"),
    (TRANSFORMED, "soft_kl(softened(z_t, T), z_s)", "ttm_is_the_divergence_from_the_teacher_raised_to_a_power"),
    (TRANSFORMED, "soft_kl(z_s, softened(z_t, 2.0 * T))", "ttm_at_temperature_one_is_kd"),
    ("    check_logits(z_s, z_t)\n    check_temperature(T)\n    return soft_kl", "    return soft_kl",
     "temperatures_that_are_not_positive_are_refused_with_labels_too"),
    (WEIGHT, "softened(full_precision(z_t), T).logsumexp(dim=1).exp()", "ttm_at_temperature_one_is_kd "
     "wttm_counts_each_image_by_its_sum_of_powers"),
    (WEIGHT, f"1 / {WEIGHT}", "wttm_counts_each_image_by_its_sum_of_powers"),
]

DISTANCE = "1 - (u_s * u_t).sum(dim=dim).mean()"
DIRECTIONS = "_direction(z_s, T, dim), _direction(z_t, T, dim)"
LOG_P = "F.log_softmax(softened(z, T), dim=1)"
LARGEST = "p = (log_p - log_p.amax(dim=dim, keepdim=True).detach().clamp_min(torch.finfo(log_p.dtype).min)).exp()"
LESS_MEAN = "centred = p - p.mean(dim=dim, keepdim=True)"
NORMED = "torch.where(varies, centred * torch.where(varies, squared, 1.0).rsqrt(), 0.0)"
INTER = "return _distance(z_s, z_t, T, dim=1)"
INTRA = "return _distance(z_s, z_t, T, dim=0)"
BOTH = "scale * (beta * inter_class_loss(z_s, z_t, T=T) + gamma * intra_class_loss(z_s, z_t, T=T))"
DIST = [
    (DISTANCE, "(u_s * u_t).sum(dim=dim).mean()", "confident_teacher_costs_nothing_against_itself "
     "student_that_equals_its_teacher_costs_nothing"),
    (DISTANCE, "1 - (u_s * u_t).sum(dim=dim).abs().mean()", "teacher_upside_down_costs_two"),
    (DISTANCE, "1 - (u_s * u_t).sum()", "value_is_between_zero_and_two"),
    (DISTANCE, "1 - (u_s * u_t).mean()", "confident_teacher_costs_nothing_against_itself"),
    (DISTANCE, "(1 - (u_s * u_t).sum(dim=dim)).sum()", "inter_class_loss_is_one_minus_the_correlation_of_rows"),
    (DISTANCE, "(u_s - u_t).square().sum(dim=dim).mean()", "teacher_upside_down_costs_two"),
    (INTER, INTER.replace("dim=1", "dim=0"), "inter_class_loss_is_one_minus_the_correlation_of_rows "
     "rows_may_be_scaled_and_moved_each_by_its_own"),
    (INTRA, INTRA.replace("dim=0", "dim=1"), "intra_class_loss_is_one_minus_the_correlation_of_columns "
     "columns_may_be_scaled_and_moved_each_by_its_own batch_of_one_has_rows_and_no_columns"),
    (DIRECTIONS, DIRECTIONS.replace("z_t, T", "z_t, 1.0"), "inter_class_loss_is_one_minus_the_correlation_of_rows "
     "student_and_teacher_may_change_places"),
    (DIRECTIONS, DIRECTIONS.replace(", T,", ", 1.0,"), "intra_class_loss_is_one_minus_the_correlation_of_columns"),
    (DIRECTIONS, DIRECTIONS.replace("z_t", "z_t.detach()"), "nothing_detaches_the_teacher"),
    (LOG_P, "F.log_softmax(softened(z, T), dim=dim)", "constant_added_to_a_row_of_logits_is_not_seen "
     "intra_class_loss_is_one_minus_the_correlation_of_columns"),
    (LOG_P, "softened(z, T)", "intra_class_loss_is_one_minus_the_correlation_of_columns "
     "constant_added_to_a_row_of_logits_is_not_seen"),
    (LOG_P, "F.softmax(softened(z, T), dim=1).log()",
     "gradient_stays_that_of_the_definition_however_sure_both_are"),
    (LOG_P, "F.log_softmax(z / T, dim=1)", "half_precision_is_computed_in_single_everywhere"),
    (LOG_P, "F.log_softmax(z.float() / T, dim=1)", "double_precision_is_kept_everywhere"),
    (LARGEST, "p = log_p", "inter_class_loss_is_one_minus_the_correlation_of_rows "
     "rows_may_be_scaled_and_moved_each_by_its_own"),
    (LARGEST, "p = log_p.exp()", "confident_teacher_costs_nothing_against_itself "
     "confident_teacher_pulls_at_every_column"),
    (LARGEST, LARGEST.replace("dim=dim", "dim=1"), "confident_teacher_costs_nothing_against_itself"),
    (LESS_MEAN, "centred = p", "inter_class_loss_is_one_minus_the_correlation_of_rows "
     "rows_may_be_scaled_and_moved_each_by_its_own columns_may_be_scaled_and_moved_each_by_its_own"),
    (LESS_MEAN, "centred = p - p.mean(dim=1 - dim, keepdim=True)", "teacher_upside_down_costs_two"),
    (NORMED, "centred / (squared.sqrt() + 1e-8)", "rows_and_columns_without_variation_cost_one_and_pull_at_nothing "
     "batch_of_one_has_rows_and_no_columns batches_of_one_and_two_are_finite_in_value_and_gradient"),
    (NORMED, NORMED.replace("squared, 1.0)", "squared.detach(), 1.0)"), "gradient_is_the_slope"),
    (NORMED, "centred / (squared + 1e-4).sqrt()", "inter_class_loss_is_one_minus_the_correlation_of_rows"),
    (NORMED, "torch.where(varies, centred * squared.rsqrt(), 0.0)",
     "features_of_zero_are_finite_in_value_and_gradient"),
    ("squared > 1e-12 * centred.shape[dim]", "squared > 0",
     "rows_and_columns_without_variation_cost_one_and_pull_at_nothing"),
    ("squared > 1e-12 * centred.shape[dim]", "squared > 1e-2 * centred.shape[dim]",
     "inter_class_loss_is_one_minus_the_correlation_of_rows"),
    (BOTH, BOTH.replace("beta", "gamma", 1), "dist_loss_is_the_weighted_sum_of_its_parts"),
    (BOTH, BOTH.replace(", T=T)", ")"), "dist_loss_is_the_weighted_sum_of_its_parts"),
    (BOTH, BOTH.replace("scale * (beta", "(scale * beta"), "factor_T_squared_is_off_until_asked_for"),
    ("T**2 if times_T_squared else 1", "1 if times_T_squared else T**2", "factor_T_squared_is_off_until_asked_for"),
    ("T**2 if times_T_squared else 1", "T if times_T_squared else 1", "factor_T_squared_is_off_until_asked_for"),
    ("times_T_squared: bool = False", "times_T_squared: bool = True", "dist_loss_is_the_weighted_sum_of_its_parts"),
    ("    check_logits(z_s, z_t)\n", "", "shapes_that_do_not_fit_are_refused_and_both_are_named"),
    ("    check_temperature(T)\n", "", "temperatures_of_dist_must_be_positive_and_may_be_batched"),
    ("    check_temperature(T)\n", "    T = float(T)\n", "temperatures_of_dist_must_be_positive_and_may_be_batched"),
    ("    check_classes(z_s", "    (z_s", "two_classes_are_refused_and_the_reason_is_given"),
]

HINT = "difference = (f_s - f_t).square().mean()"
RELATIVE = "difference / f_t.square().mean().clamp_min(1e-8) if relative else difference"
COSINE = "(1 - (u_s * u_t).sum(dim=1)).mean()"
FLAT = "unit(full_precision(f).flatten(1), dim=1)"
WHOLE = "scaled(full_precision(f), dim=(1, 2, 3))"
LOOKS = "unit(f.square().mean(dim=1).flatten(1), dim=1)"
MASKED = "generate(mask.to(f_s.dtype) * f_s)"
GENERATED = "(full_precision(generated) - full_precision(f_t)).square().sum() / len(f_t)"
OVER = "torch.special.erfcx(a / math.sqrt(2))"
BELOW = "torch.minimum(std * (a - hazard), -1e-6 * std)"
LIMITED = "torch.maximum(f_t, margin.reshape(-1, *[1] * (f_t.ndim - 2)))"
ASKED = "(f_s > target) | (target > 0)"
ADDED = "((f_s - target).square() * asked).sum() / len(f_t)"
SMALLER = "f_s.ndim == 4 and size < min(f_s.shape[2:])"
FEATURES = [
    (HINT, HINT.replace("mean", "sum"), "hint_loss_is_the_mean_squared_difference"),
    (HINT, HINT.replace("square", "abs"), "hint_loss_is_the_mean_squared_difference"),
    (HINT, "difference = (f_s - f_t.detach()).square().mean()", "gradient_is_the_slope"),
    (RELATIVE, RELATIVE.replace("/ f_t", "/ f_s"), "relative_hint_has_no_unit_and_is_one_for_a_student_of_zeros"),
    (RELATIVE, RELATIVE.replace("mean", "sum"), "relative_hint_has_no_unit_and_is_one_for_a_student_of_zeros"),
    (RELATIVE, RELATIVE.replace("square().mean()", "abs().mean()"),
     "relative_hint_has_no_unit_and_is_one_for_a_student_of_zeros"),
    (RELATIVE, RELATIVE.replace(".clamp_min(1e-8)", ""), "relative_hint_has_no_unit_and_is_one_for_a_student_of_zeros "
     "features_of_zero_are_finite_in_value_and_gradient"),
    (RELATIVE, "difference", "hint_loss_is_the_mean_squared_difference"),
    ("relative: bool = False", "relative: bool = True", "hint_loss_is_the_mean_squared_difference"),
    (COSINE, "(u_s * u_t).sum(dim=1).mean()", "orthogonal_features_cost_one_and_opposite_ones_two"),
    (COSINE, "(1 - (u_s * u_t).sum(dim=1).abs()).mean()", "orthogonal_features_cost_one_and_opposite_ones_two"),
    (COSINE, "(1 - (u_s * u_t).sum())", "cosine_loss_is_one_minus_the_cosine_of_each_image"),
    (FLAT, "unit(full_precision(f), dim=1)", "cosine_loss_is_one_minus_the_cosine_of_each_image"),
    (FLAT, "unit(full_precision(f).flatten(1), dim=0)", "length_of_a_feature_does_not_matter_to_its_cosine"),
    (FLAT, "full_precision(f).flatten(1)", "length_of_a_feature_does_not_matter_to_its_cosine"),
    (FLAT, "unit(full_precision(f).flatten(1) - full_precision(f).flatten(1).mean(dim=1, keepdim=True), dim=1)",
     "cosine_loss_is_one_minus_the_cosine_of_each_image"),
    (FLAT, "(v := full_precision(f).flatten(1)) / v.norm(dim=1, keepdim=True)",
     "features_of_zero_are_finite_in_value_and_gradient"),
    (FLAT, "unit(f.flatten(1), dim=1)", "half_precision_is_computed_in_single_everywhere"),
    (LOOKS, LOOKS.replace(".square()", ".abs()"), "attention_loss_is_the_definition_position_by_position"),
    (LOOKS, LOOKS.replace(".square()", ""), "attention_does_not_see_channels_signs_or_the_scale_of_an_image"),
    (LOOKS, LOOKS.replace("mean(dim=1)", "amax(dim=1)"), "attention_loss_is_the_definition_position_by_position"),
    (LOOKS, LOOKS.replace("mean(dim=1)", "mean(dim=(2, 3))"),
     "attention_does_not_see_channels_signs_or_the_scale_of_an_image"),
    (LOOKS, LOOKS.replace(".mean(dim=1)", ""), "attention_does_not_see_channels_signs_or_the_scale_of_an_image"),
    (LOOKS, LOOKS.replace(", dim=1)", ", dim=0)"), "attention_does_not_see_channels_signs_or_the_scale_of_an_image"),
    (LOOKS, LOOKS.removeprefix("unit(").removesuffix(", dim=1)"),
     "attention_does_not_see_channels_signs_or_the_scale_of_an_image"),
    (WHOLE, "f", "half_precision_does_not_overflow_where_its_numbers_do_not"),
    (WHOLE, "full_precision(f)", "tiny_features_are_as_others_where_the_scale_does_not_matter"),
    ("(q_s - q_t).square().mean()", "(q_s - q_t).square().sum() / len(f_s)",
     "attention_loss_is_the_definition_position_by_position"),
    ("(q_s - q_t).square().mean()", "(q_s - q_t).norm(dim=1).mean()",
     "attention_loss_is_the_definition_position_by_position"),
    (" or f_s.shape[2:].numel() < 2", "", "maps_without_two_positions_have_no_attention"),
    ("f_s.shape[2:] != f_t.shape[2:] or", "", "maps_without_two_positions_have_no_attention"),
    (MASKED, "generate(f_s)", "student_that_is_all_hidden_is_not_asked "
     "masked_generation_is_the_sum_of_squares_for_each_image"),
    (MASKED, "generate((1 - mask.to(f_s.dtype)) * f_s)",
     "nothing_hidden_and_nothing_generated_is_the_squared_distance"),
    (MASKED, "generate(mask.to(f_s.dtype) * f_s / mask.mean(dtype=f_s.dtype))",
     "masked_generation_is_the_sum_of_squares_for_each_image"),
    (MASKED, "mask.to(f_s.dtype) * generate(f_s)", "masked_generation_is_the_sum_of_squares_for_each_image"),
    (GENERATED, GENERATED.replace("sum", "mean"), "map_of_twice_the_size_costs_twice_as_much "
     "masked_generation_is_the_sum_of_squares_for_each_image"),
    (GENERATED, GENERATED.replace(".sum() / len(f_t)", ".mean()"), "map_of_twice_the_size_costs_twice_as_much"),
    (GENERATED, GENERATED.replace(" / len(f_t)", ""), "nothing_hidden_and_nothing_generated_is_the_squared_distance"),
    (GENERATED, GENERATED.replace("full_precision", ""), "half_precision_is_computed_in_single_everywhere"),
    ("    check_same(generated, f_t)\n", "", "generated_map_of_another_shape_is_refused"),
    ("a = full_precision(mean) / std", "a = -full_precision(mean) / std",
     "negative_mean_is_that_of_the_truncated_normal"),
    (OVER, "torch.erfc(a / math.sqrt(2)) * torch.exp(a.square() / 2)",
     "negative_mean_is_negative_and_finite_however_far_the_mean_is"),
    (OVER, "torch.special.erfcx(-a / math.sqrt(2))", "negative_mean_is_that_of_the_truncated_normal"),
    (OVER, "torch.special.erfcx(a)", "negative_mean_is_that_of_the_truncated_normal"),
    ("math.sqrt(2 / math.pi)", "math.sqrt(1 / (2 * math.pi))", "negative_mean_is_that_of_the_truncated_normal"),
    (BELOW, "torch.minimum(std * (a + hazard), -1e-6 * std)", "negative_mean_is_that_of_the_truncated_normal"),
    (BELOW, "torch.minimum(a - hazard, -1e-6 * std)", "negative_mean_is_that_of_the_truncated_normal"),
    (BELOW, "std * (a - hazard)", "negative_mean_is_negative_and_finite_however_far_the_mean_is"),
    (".clamp_min(1e-6)", "", "negative_mean_is_negative_and_finite_however_far_the_mean_is"),
    (LIMITED, "f_t", "student_above_the_margin_of_a_very_negative_teacher_comes_down_to_the_margin"),
    (LIMITED, "f_t.relu()", "student_below_a_teacher_that_is_not_positive_is_left_alone"),
    (LIMITED, LIMITED.replace("maximum", "minimum"), "positive_teacher_is_followed_by_squared_error"),
    (LIMITED, "torch.maximum(f_t, margin.mean())", "margin_loss_is_the_definition_entry_by_entry"),
    (LIMITED, LIMITED.replace("f_t,", "f_t.detach(),"), "nothing_detaches_the_teacher"),
    (ASKED, "torch.ones_like(f_s)", "student_below_a_teacher_that_is_not_positive_is_left_alone"),
    (ASKED, "f_s > target", "positive_teacher_is_followed_by_squared_error"),
    (ASKED, "target > 0", "student_above_the_margin_of_a_very_negative_teacher_comes_down_to_the_margin"),
    (ASKED, "(f_s < target) | (target > 0)", "margin_loss_is_the_definition_entry_by_entry"),
    (ADDED, ADDED.replace("sum", "mean"), "margin_loss_is_the_definition_entry_by_entry"),
    (ADDED, ADDED.replace(" / len(f_t)", ""), "positive_teacher_is_followed_by_squared_error"),
    ("margin.shape != f_t.shape[1:2]", "margin.numel() != f_t.shape[1]",
     "margins_that_do_not_fit_the_channels_are_refused"),
    ("margin.shape != f_t.shape[1:2]", "margin.ndim != 1", "margins_that_do_not_fit_the_channels_are_refused"),
    ("0.5**level", "1.0", "pyramid_loss_is_the_weighted_mean_over_its_grids"),
    ("0.5**level", "0.5**(level + (level > 0))", "pyramid_loss_is_the_weighted_mean_over_its_grids"),
    (" / sum(weights)", "", "difference_that_is_the_same_everywhere_costs_its_square"),
    (" / sum(weights)", " / len(weights)", "difference_that_is_the_same_everywhere_costs_its_square"),
    ("F.adaptive_avg_pool2d(f_s - f_t, size).square()", "F.adaptive_max_pool2d(f_s - f_t, size).square()",
     "pyramid_loss_is_the_weighted_mean_over_its_grids"),
    ("F.adaptive_avg_pool2d(f_s - f_t, size).square()", "F.adaptive_avg_pool2d((f_s - f_t).square(), size)",
     "pyramid_loss_is_the_weighted_mean_over_its_grids"),
    ("size).square().mean()", "size).square().sum()", "difference_that_is_the_same_everywhere_costs_its_square"),
    (SMALLER, SMALLER.replace("<", "<="), "pyramid_loss_is_the_weighted_mean_over_its_grids"),
    (SMALLER, SMALLER.replace("min(f_s.shape[2:])", "f_s.shape[3]"),
     "pyramid_loss_is_the_weighted_mean_over_its_grids"),
    ("values = [(f_s - f_t).square().mean()]", "values = [(f_s - f_t).square().sum() / len(f_s)]",
     "pyramid_loss_of_vectors_is_the_hint"),
]

GRAM = "(unit(scaled(f, 1) @ scaled(f, (0, 1)).T, dim=1) for f in (_rows(f_s), _rows(f_t)))"
DISTANCES = 'F.smooth_l1_loss(d_s, d_t, reduction="sum") / max(B * (B - 1), 1)'
ANGLES = 'F.smooth_l1_loss(angles_s, angles_t, reduction="sum") / max(B * (B - 1) * (B - 2), 1)'
ROOT = "d = torch.where(squared > 0, torch.where(squared > 0, squared, 1.0).sqrt(), 0.0)"
UNIT_OF_LENGTH = "d / (d.sum() / max(B * (B - 1), 1)).clamp_min(1e-12)"
SQUARED = "squared = scaled(f[:, None] - f[None], (0, 1, 2)).square().sum(dim=2)"
SIDES = "u = unit(f[None] - f[:, None], dim=2)"
COSINES = "(u @ u.transpose(1, 2)).masked_fill(torch.eye(len(f), dtype=torch.bool, device=f.device), 0.0)"
CHOICES = "unit(_rows(e_s), dim=1) @ unit(_rows(e_t), dim=1).T / T"
CHOICE = "-(z.log_softmax(dim=1).diagonal() + z.log_softmax(dim=0).diagonal()).mean() / 2"
ROWS = "full_precision(f).flatten(1)"
RELATIONS = [
    (GRAM, "((u := unit(f, dim=1)) @ u.T for f in (_rows(f_s), _rows(f_t)))",
     "similarity_sees_neither_rotation_nor_one_scale_but_that_of_an_image"),
    (GRAM, "(f @ f.T for f in (_rows(f_s), _rows(f_t)))",
     "similarity_sees_neither_rotation_nor_one_scale_but_that_of_an_image too_few_images_for_a_relation_give_zero"),
    (GRAM, "(f @ f.T / (f @ f.T).norm().clamp_min(1e-12) for f in (_rows(f_s), _rows(f_t)))",
     "similarity_loss_is_the_definition_pair_by_pair"),
    (GRAM, GRAM.replace("scaled(f, 1) @ scaled(f, (0, 1)).T", "(f - f.mean(dim=0)) @ (f - f.mean(dim=0)).T"),
     "similarity_sees_neither_rotation_nor_one_scale_but_that_of_an_image"),
    (GRAM, GRAM.replace("_rows(f_t)", "_rows(f_t).detach()"), "nothing_detaches_the_teacher"),
    (GRAM, "(unit(f @ f.T, dim=1) for f in (_rows(f_s), _rows(f_t)))",
     "tiny_features_are_as_others_where_the_scale_does_not_matter"),
    ("(g_s - g_t).square().mean()", "(g_s - g_t).square().sum()", "similarity_loss_is_the_definition_pair_by_pair"),
    ("(g_s - g_t).square().mean()", "(g_s - g_t).square().sum() / len(f_s)",
     "similarity_loss_is_the_definition_pair_by_pair"),
    ("with outside_autocast(f_s):\n        g_s", "if True:\n        g_s", "autocast_changes_nothing"),
    ("with outside_autocast(f_s):\n        angles_s", "if True:\n        angles_s", "autocast_changes_nothing"),
    ("with outside_autocast(e_s):", "if True:", "autocast_changes_nothing"),
    (DISTANCES, 'F.smooth_l1_loss(d_s, d_t, reduction="mean")', "distances_are_the_definition_pair_by_pair"),
    (DISTANCES, 'F.smooth_l1_loss(d_s, d_t, reduction="sum")', "distances_are_the_definition_pair_by_pair"),
    (DISTANCES, DISTANCES.replace("smooth_l1", "mse"), "distances_are_the_definition_pair_by_pair"),
    (DISTANCES, DISTANCES.replace("smooth_l1", "l1"), "distances_are_the_definition_pair_by_pair"),
    (DISTANCES, DISTANCES.replace("max(B * (B - 1), 1)", "(B * (B - 1))"), "too_few_images_for_a_relation_give_zero "
     "batches_of_one_and_two_are_finite_in_value_and_gradient"),
    (ROOT, "d = squared.sqrt()", "features_that_all_coincide_have_distances_and_angles_of_zero "
     "too_few_images_for_a_relation_give_zero"),
    (ROOT, "d = squared", "distances_are_the_definition_pair_by_pair"),
    (ROOT, "d = (squared + 1e-4).sqrt()", "moving_rotating_and_scaling_are_not_seen_by_distances_and_angles"),
    (UNIT_OF_LENGTH, "d", "moving_rotating_and_scaling_are_not_seen_by_distances_and_angles"),
    (UNIT_OF_LENGTH, "d / d.mean().clamp_min(1e-12)", "distances_are_the_definition_pair_by_pair"),
    (UNIT_OF_LENGTH, "d / d.amax().clamp_min(1e-12)", "distances_are_the_definition_pair_by_pair"),
    (UNIT_OF_LENGTH, UNIT_OF_LENGTH.replace(".clamp_min(1e-12)", ""),
     "features_that_all_coincide_have_distances_and_angles_of_zero"),
    (UNIT_OF_LENGTH, UNIT_OF_LENGTH.replace("clamp_min", "detach().clamp_min"), "gradient_is_the_slope"),
    (SQUARED, "squared = (f.square().sum(1)[:, None] + f.square().sum(1) - 2 * f @ f.T).clamp_min(0)",
     "distances_survive_a_large_offset_in_single_precision autocast_changes_nothing"),
    (SQUARED, "squared = (f[:, None] - f[None]).square().sum(dim=2)",
     "tiny_features_are_as_others_where_the_scale_does_not_matter"),
    (ANGLES, 'F.smooth_l1_loss(angles_s, angles_t, reduction="mean")', "angles_are_the_definition_triplet_by_triplet"),
    (ANGLES, ANGLES.replace("smooth_l1", "mse"), "angles_are_the_definition_triplet_by_triplet"),
    (ANGLES, ANGLES.replace("max(B * (B - 1) * (B - 2), 1)", "(B * (B - 1) * (B - 2))"),
     "too_few_images_for_a_relation_give_zero"),
    (SIDES, "u = f[None] - f[:, None]", "moving_rotating_and_scaling_are_not_seen_by_distances_and_angles"),
    (SIDES, "u = unit(f[None] - f[:, None], dim=1)", "angles_are_the_definition_triplet_by_triplet"),
    (SIDES, "u = unit(f, dim=1).expand(len(f), *f.shape)",
     "moving_rotating_and_scaling_are_not_seen_by_distances_and_angles"),
    (SIDES, "u = unit(f[None] + f[:, None], dim=2)", "angles_are_the_definition_triplet_by_triplet"),
    (COSINES, "u @ u.transpose(1, 2)", "angles_are_the_definition_triplet_by_triplet"),
    (COSINES, f"({COSINES}).clamp(-1 + 1e-6, 1 - 1e-6).acos()", "angles_are_the_definition_triplet_by_triplet"),
    (CHOICES, CHOICES.removesuffix(" / T"),
     "contrastive_loss_is_the_cross_entropy_of_finding_ones_own_image"),
    (CHOICES, CHOICES.replace("unit(_rows(e_s), dim=1)", "_rows(e_s)"), "length_of_an_embedding_does_not_matter"),
    (CHOICES, CHOICES.replace("unit(_rows(e_t), dim=1)", "_rows(e_t)"),
     "length_of_an_embedding_does_not_matter student_and_teacher_may_change_places_in_the_contrastive_loss"),
    (CHOICES, CHOICES.replace("dim=1", "dim=0"), "contrastive_loss_is_the_cross_entropy_of_finding_ones_own_image"),
    (CHOICES, "unit(_rows(e_s), dim=1) @ unit(_rows(e_s), dim=1).T / T", "nothing_detaches_the_teacher"),
    (CHOICES, CHOICES.replace("_rows(e_t)", "e_t.flatten(1)"),
     "teacher_recorded_in_half_precision_serves_any_student"),
    (CHOICE, "-z.log_softmax(dim=1).diagonal().mean()",
     "student_and_teacher_may_change_places_in_the_contrastive_loss"),
    (CHOICE, CHOICE.replace("dim=0", "dim=1"), "student_and_teacher_may_change_places_in_the_contrastive_loss"),
    (CHOICE, CHOICE.removesuffix(" / 2"), "embeddings_that_know_nothing_of_the_image_cost_log_B"),
    (CHOICE, CHOICE.removeprefix("-"), "embeddings_that_know_nothing_of_the_image_cost_log_B"),
    (CHOICE, CHOICE.replace("log_softmax(dim=0)", "roll(1, 0).log_softmax(dim=0)"),
     "contrastive_loss_is_the_cross_entropy_of_finding_ones_own_image"),
    (CHOICE, "(torch.cat([z, z.diagonal()[:, None]], dim=1).logsumexp(dim=1) - z.diagonal()).mean()",
     "embeddings_that_know_nothing_of_the_image_cost_log_B"),
    ("T: float = 0.07", "T: float = 1.0", "contrastive_loss_is_the_cross_entropy_of_finding_ones_own_image"),
    ("    check_temperature(T)\n", "", "contrastive_temperatures_must_be_positive_and_may_be_batched"),
    ("    check_temperature(T)\n", "    T = float(T)\n",
     "contrastive_temperatures_must_be_positive_and_may_be_batched"),
    ("    check_same(e_s, e_t)\n", "", "shapes_that_do_not_fit_are_refused_and_both_are_named"),
    (ROWS, "full_precision(f).reshape(-1, len(f)).T", "order_of_the_images_does_not_matter"),
    (ROWS, "full_precision(f).flatten(2)[..., 0] if f.ndim > 2 else full_precision(f)",
     "maps_are_flattened_and_may_differ_in_size"),
    (ROWS, "f.flatten(1)", "half_precision_is_computed_in_single_everywhere"),
    (ROWS, "f.float().flatten(1)", "double_precision_is_kept_everywhere"),
]

STUDENTS, TEACHERS = "-F.logsigmoid(-_some(d_s)).mean()", " - F.logsigmoid(_some(d_t)).mean()"
FOOLING = "return -F.logsigmoid(_some(d_s)).mean()"
GAMES = [
    (STUDENTS, "-F.logsigmoid(_some(d_s)).mean()", "games_are_cross_entropies_of_two_classes "
     "best_discriminator_says_the_logarithm_of_the_odds_and_costs_two_log_2_less_two_divergences"),
    (STUDENTS + TEACHERS, STUDENTS, "games_without_an_answer_are_refused "
     "discriminator_that_cannot_tell_costs_twice_log_2_and_leaves_the_student_log_2"),
    (STUDENTS + TEACHERS, f"({STUDENTS}{TEACHERS}) / 2",
     "discriminator_that_cannot_tell_costs_twice_log_2_and_leaves_the_student_log_2"),
    (STUDENTS + TEACHERS, f"_some(d_s).exp().log1p().mean(){TEACHERS}",
     "games_stay_finite_for_a_discriminator_that_is_sure"),
    (FOOLING, "return F.logsigmoid(-_some(d_s)).mean()", "student_is_pushed_most_where_it_is_found_out "
     "games_are_cross_entropies_of_two_classes"),
    (FOOLING, "return -_some(d_s).sigmoid().log().mean()", "games_stay_finite_for_a_discriminator_that_is_sure"),
    (FOOLING, "return -F.logsigmoid(_some(d_s)).sum()",
     "discriminator_that_cannot_tell_costs_twice_log_2_and_leaves_the_student_log_2"),
    ("    return full_precision(d)", "    return d", "games_in_half_precision_are_computed_in_single"),
    ("    return full_precision(d)", "    return d.float()", "games_in_half_precision_are_computed_in_single"),
    ("if not d.numel()", "if False", "games_without_an_answer_are_refused"),
]

CHOICE_OF_TEACHER = "F.cross_entropy(full_precision(z_t), z_t.argmax(dim=1))"
EXCITED = "-full_precision(f_t).abs().mean()"
LOG_P = "full_precision(z_t).log_softmax(dim=1).logsumexp(dim=0) - math.log(len(z_t))"
EVENLY = "(log_p.exp() * log_p).sum()"
DATA_FREE = [
    (CHOICE_OF_TEACHER, CHOICE_OF_TEACHER.replace("argmax", "argmin"),
     "one_hot_loss_is_minus_the_logarithm_of_the_largest_probability"),
    (CHOICE_OF_TEACHER, CHOICE_OF_TEACHER.replace("full_precision(z_t)", "z_t"),
     "data_free_losses_in_half_precision_are_computed_in_single"),
    (CHOICE_OF_TEACHER, CHOICE_OF_TEACHER.replace("dim=1)", "dim=1), reduction='sum'"),
     "data_free_losses_have_the_gradient_that_is_the_slope_and_a_batch_has_no_order"),
    (EXCITED, "full_precision(f_t).abs().mean()",
     "activation_loss_is_minus_the_mean_size_of_an_entry_whatever_its_sign"),
    (EXCITED, "-full_precision(f_t).mean()", "activation_loss_is_minus_the_mean_size_of_an_entry_whatever_its_sign"),
    (EXCITED, "-full_precision(f_t).square().mean()",
     "activation_loss_is_minus_the_mean_size_of_an_entry_whatever_its_sign"),
    ("    check_same(f_t, f_t)\n", "", "data_free_losses_refuse_what_is_no_batch"),
    (LOG_P, "full_precision(z_t).softmax(dim=1).mean(dim=0).log()",
     "classes_that_no_image_is_of_leave_value_and_gradient_finite"),
    (LOG_P, LOG_P.removesuffix(" - math.log(len(z_t))"), "information_entropy_is_that_of_the_mean_probability "
     "data_free_losses_have_the_gradient_that_is_the_slope_and_a_batch_has_no_order"),
    (LOG_P, "full_precision(z_t).mean(dim=0).log_softmax(dim=0)",
     "information_entropy_is_that_of_the_mean_probability"),
    (EVENLY, f"-{EVENLY}", "information_entropy_is_least_where_every_class_has_its_share "
     "information_entropy_grows_where_a_class_is_left_out"),
    (EVENLY, f"{EVENLY} / math.log(10)", "information_entropy_is_least_where_every_class_has_its_share"),
]

# mistakes in what the losses share: each is noticed by the identities of one of them
NUMBER = "COOLEST <= T <= HOTTEST"
IN_RANGE = "holds((y >= 0) & (y < z.shape[1]))"
POWER = "return torch.where(size > torch.finfo(f.dtype).tiny ** 0.8, f, f.detach()) / size"
RULED_OUT = "(z.masked_fill(ruled_out, 0.0) / T).masked_fill(ruled_out, -torch.inf)"
INVERSE = "f * torch.where(squared > 0, squared, 1.0).rsqrt()"
BASE = [
    (features, INVERSE, "f * squared.rsqrt()", "orthogonal_features_cost_one_and_opposite_ones_two"),
    (features, INVERSE, "f * squared.clamp_min(1e3).rsqrt()", "length_of_a_feature_does_not_matter_to_its_cosine"),
    (relations, INVERSE, "f / (squared.sqrt() + 1e-8)", "features_that_all_coincide_have_distances_and_angles_of_zero"),
    (logits, "(torch.float16, torch.bfloat16)", "(torch.float16,)", "half_precision_is_computed_in_single_everywhere"),
    (correlations, "z.float() if z.dtype in (torch.float16, torch.bfloat16) else z", "z.float()",
     "double_precision_is_kept_everywhere"),
    (relations, "enabled=False", "enabled=True", "autocast_changes_nothing"),
    (logits, "except RuntimeError:", "except ZeroDivisionError:", "temperatures_with_labels_may_be_batched_tensors"),
    (logits, NUMBER, NUMBER.replace("COOLEST", "0"), "temperatures_that_are_not_positive_are_refused_with_labels_too"),
    (correlations, NUMBER, "COOLEST <= T", "temperatures_of_dist_must_be_positive_and_may_be_batched"),
    (relations, NUMBER, "COOLEST <= T < math.inf", "temperatures_out_of_reach_are_refused_and_named"),
    (logits, "holds(right.detach()) if", "True if", "temperatures_out_of_reach_are_refused_and_named"),
    (logits, "    check_number(\"T\", T)\n", "", "temperatures_out_of_reach_are_refused_and_named"),
    (logits, IN_RANGE, "True", "labels_out_of_range_are_refused_and_the_range_is_named"),
    (logits, "y = y.long()", "pass", "labels_of_any_integer_type_are_taken"),
    (logits, "    _check_some(z_s)\n", "", "empty_batches_are_refused"),
    (features, POWER, "return f", "tiny_features_are_as_others_where_the_scale_does_not_matter"),
    (features, POWER, "return f / size", "features_down_to_denormals_are_finite_in_value_and_gradient"),
    (logits, "torch.where(p_t > 0, log_p_t - log_p_s, 0.0)", "(log_p_t - log_p_s)",
     "classes_ruled_out_by_both_play_no_part class_ruled_out_by_the_teacher_is_one_of_a_very_small_logit"),
    (logits, RULED_OUT, "z / T", "temperature_of_a_ruled_out_class_has_a_gradient"),
    (logits, "total = z.masked_fill(~known, 0.0).sum", "total = z.sum", "classes_ruled_out_by_both_play_no_part"),
    (logits, "y.shape != z.shape[:1]", "len(y) != len(z)",
     "labels_that_do_not_fit_are_refused_and_both_shapes_are_named"),
    (logits, "(y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)", "False",
     "labels_that_do_not_fit_are_refused_and_both_shapes_are_named"),
    (logits, "z_s.shape != z_t.shape", "len(z_s) != len(z_t)", "shapes_that_do_not_fit_are_refused_and_both_are_named"),
    (correlations, "z.shape[1] == 2", "z.shape[1] < 2", "two_classes_are_refused_and_the_reason_is_given"),
    (features, "f_s.shape != f_t.shape", "f_s.numel() < f_t.numel()",
     "shapes_that_do_not_fit_are_refused_and_both_are_named"),
    (logits, "if not limit >= 1", "if limit < 1", "another_favour_or_a_limit_below_one_is_refused"),
    (logits, 'favour not in ("behind", "ahead")', "not favour", "another_favour_or_a_limit_below_one_is_refused"),
    (relations, " or len(f_s) != len(f_t)", "", "shapes_that_do_not_fit_are_refused_and_both_are_named"),
]

MUTATIONS = [(losses, losses, *mutation) for losses, mutations in (
    (logits, KD + DKD + ATS + IPWD + STANDARDISED + NKD + TTM), (correlations, DIST), (features, FEATURES),
    (relations, RELATIONS), (adversarial, GAMES), (data_free, DATA_FREE))
    for mutation in mutations] + [(base, *mutation) for mutation in BASE]


def mutate(source, losses, old, new):
    """A namespace of these losses, with one mistake in their own source or in that of what they share."""
    code = inspect.getsource(source)
    assert code.count(old) == 1, f"{source.__name__} has {code.count(old)} times: {old}"
    mutant, namespace = {}, {}
    exec(compile(code.replace(old, new), "mutant", "exec"), mutant)
    if source is not losses:
        exec(compile(inspect.getsource(losses), "losses", "exec"), namespace)
        namespace.update({name: value for name, value in mutant.items() if name in namespace})
        mutant = namespace
    return SimpleNamespace(**mutant)


@pytest.mark.parametrize("source, losses, old, new, names", MUTATIONS, ids=[
    f"{source.__name__.rsplit('.')[-1]}: {' '.join(new.split())[-60:]}" for source, _, _, new, _ in MUTATIONS])
def test_a_mistake_is_noticed(source, losses, old, new, names):
    mutant = mutate(source, losses, old, new)
    for name, loss in test_losses_contracts.calls(mutant):
        loss(*test_losses_contracts.pair(name))  # it runs: it is wrong, not broken
    for name in names.split():
        with pytest.raises((AssertionError, pytest.fail.Exception, RuntimeError)):
            BY_NAME[name](mutant)


def test_every_identity_notices_some_mistake():
    assert len(BY_NAME) == len(IDENTITIES)
    assert {name for *_, names in MUTATIONS for name in names.split()} == set(BY_NAME)
