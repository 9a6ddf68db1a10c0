"""The judging half of the checks: is what an answer returned right, and if not, which misconception is it?

It never runs beside an answer that is graded. The reference is written here once more, from the definitions.
"""

from kdcourse.marking.judges import cost, evaluation, experiments, loops, losses, networks, pairs

JUDGES = {judge.__name__: judge for judge in (
    networks.teacher_network, networks.student_network,
    losses.teacher_loss, losses.distillation_loss, losses.combined_loss,
    loops.train, evaluation.evaluate,
    pairs.trained_pair, experiments.temperature_curve, experiments.student_alone,
    cost.count_parameters, cost.count_multiply_adds,
    experiments.stopped_teachers, loops.stopped_distillation,
)}
