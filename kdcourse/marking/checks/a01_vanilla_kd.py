"""Exercise 01, vanilla distillation, asking half: the names are those of the checks in the notebook."""

from torch import nn

from kdcourse.core import seeded
from kdcourse.marking.checks.accuracies import keep_evaluation, tables
from kdcourse.marking.checks.choices import choice
from kdcourse.marking.checks.comparisons import experiments, stops
from kdcourse.marking.checks.costs import networks
from kdcourse.marking.checks.experiment import experiment, keep_pairs, keep_pupils
from kdcourse.marking.checks.hand_in import hand_in
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.checks.network import images, network
from kdcourse.marking.checks.training import runs, training
from kdcourse.marking.checks.weights import weights
from kdcourse.marking.record import Case

teacher_network = network(images(1, 28, 28))
student_network = network(images(1, 28, 28))
teacher_loss = loss(logits, lambda f, c: f(c.z_s, c.y), "cold", "warm", "large")
distillation_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, T=c.T), "cold", "warm", "warmer", "hot", "large")
combined_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.y, T=c.T, alpha=c.alpha),
                     "cold", "warm", "warmer", "hot", "hard", "soft")
train = training(runs, lambda f, student, teacher, c: f(student, teacher, c.split, **c.settings))
evaluate = loss(tables, lambda f, c: f(c.network, c.split, batch_size=c.batch_size), "first", "second", at="",
                keep=keep_evaluation, own="kdcourse.metrics")


def small_student() -> nn.Module:
    """The student that the notebook makes with seed 0."""
    with seeded(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


trained_pair = weights("teacher", "student", more=choice("digits", ((1, 0.5), (1, 0.9), (4, 0.5), (4, 0.9)),
                                                         small_student, epochs=8, lr=0.02, batch_size=200))
temperature_curve = experiment(
    experiments, lambda f, w, c: f(w.make, w.teach, w.measure, temperatures=list(c.temperatures), seeds=list(c.seeds),
                                   alpha=c.alpha),
    lambda record, name, value, c: keep_pairs(record, name, value, c.temperatures, "T = "))
student_alone = experiment(
    experiments, lambda f, w, c: f(w.make, w.teach, w.measure, seeds=list(c.seeds), T=c.T, alpha=c.alpha),
    lambda record, name, value, c: keep_pairs(record, name, value, None))
count_parameters = loss(networks, lambda f, c: f(c.network), "first", "second", at="")
count_multiply_adds = loss(networks, lambda f, c: f(c.network, c.shape), "first", "second", at="")
stopped_teachers = experiment(stops, lambda f, w, c: f(w.make, w.learn, stops=list(c.stops), seed=c.seed),
                              lambda record, name, value, c: keep_pupils(record, name, value, c.stops))


def stopped_runs(seed: int) -> dict[str, Case]:
    """Trainings that stop distilling at the end of an epoch, within one, and at once."""
    run = runs(seed)["main"]
    return {name: run.with_(settings=run.settings | {"epochs": 5}, stop=stop)
            for name, stop in {"main": (0.4, 0.6)[seed % 2], "within": (0.26, 0.46)[seed % 2], "never": 0.0}.items()}
stopped_distillation = training(
    stopped_runs, lambda f, student, teacher, c: f(student, teacher, c.split, stop=c.stop, **c.settings))
own_experiment = hand_in("digits", 8, lambda found: (*found[:2], lambda arm, point, seed: found[2](arm, seed)))
