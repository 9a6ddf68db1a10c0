"""Questions 5, 6, 7 and 12: experiments that look right."""

import copy
import math
import statistics

import numpy as np
import torch
from scipy import stats
from torch import nn

from kdcourse import metrics
from wrong_answers import Answer, collector

WRONG = []
wrong = collector(WRONG)


def half(values):
    mean, low, high = metrics.interval(values)
    return mean, (high - low) / 2


def measured(make, teach, measure, T, alpha, seed, taught_with=None):
    student = make(seed)
    teach(student, T=T, alpha=alpha, seed=seed if taught_with is None else taught_with)
    return measure(student)


@wrong("temperature_curve", 0.6, "Make a fresh student")
def sweep_goes_on_with_the_same_students(make, teach, measure, *, temperatures, seeds, alpha):
    students, curve = {seed: make(seed) for seed in seeds}, {}
    for T in temperatures:
        for seed, student in students.items():
            teach(student, T=T, alpha=alpha, seed=seed)
        curve[T] = half([measure(student) for student in students.values()])
    return curve


@wrong("temperature_curve", 0.9, "every temperature gets students of all seeds")
def other_seeds_at_every_temperature(make, teach, measure, *, temperatures, seeds, alpha):
    return {T: half([measured(make, teach, measure, T, alpha, seed + 100 * i) for seed in seeds])
            for i, T in enumerate(temperatures)}


@wrong("temperature_curve", 0.9, "no student was made with seed")
def one_seed_for_all(make, teach, measure, *, temperatures, seeds, alpha):
    return {T: half([measured(make, teach, measure, T, alpha, seeds[0]) for _ in seeds]) for T in temperatures}


@wrong("temperature_curve", 0.9, "make and teach it with the same seed")
def one_order_for_all(make, teach, measure, *, temperatures, seeds, alpha):
    return {T: half([measured(make, teach, measure, T, alpha, seed, seeds[0]) for seed in seeds]) for T in temperatures}


@wrong("temperature_curve", 0.9, "alpha = ")
def curve_at_another_alpha(make, teach, measure, *, temperatures, seeds, alpha):
    return {T: half([measured(make, teach, measure, T, 0.9, seed) for seed in seeds]) for T in temperatures}


def curve(width):
    def temperature_curve(make, teach, measure, *, temperatures, seeds, alpha):
        points = {T: [measured(make, teach, measure, T, alpha, seed) for seed in seeds] for T in temperatures}
        return {T: (sum(values) / len(values), width(values)) for T, values in points.items()}

    return temperature_curve


def best_of(make, teach, measure, *, temperatures, seeds, alpha):
    points = {T: [measured(make, teach, measure, T, alpha, seed) for seed in seeds] for T in temperatures}
    return {T: (max(values), half(values)[1]) for T, values in points.items()}


WRONG += [Answer("temperature_curve", (function,), name, keeps, says) for name, function, keeps, says in (
    ("normal_quantile", curve(lambda v: 1.96 * statistics.stdev(v) / math.sqrt(len(v))), 0.8, "1.96 is for many seeds"),
    ("standard_deviation_as_bars", curve(statistics.stdev), 0.8, "this is the standard deviation"),
    ("standard_error_as_bars", curve(lambda v: statistics.stdev(v) / math.sqrt(len(v))), 0.8, "the standard error"),
    ("deviation_divided_by_n", curve(lambda v: half(v)[1] * statistics.pstdev(v) / statistics.stdev(v)), 0.8, "n - 1"),
    ("whole_width", curve(lambda v: 2 * half(v)[1]), 0.8, "the whole width"),
    ("best_seed_in_place_of_the_mean", best_of, 0.8, "this is the best of the seeds"),
)]


@wrong("temperature_curve", 0.0, "for T = ")
def mean_low_and_high(make, teach, measure, *, temperatures, seeds, alpha):
    return {T: metrics.interval([measured(make, teach, measure, T, alpha, seed) for seed in seeds])
            for T in temperatures}


@wrong("temperature_curve", 0.0, "a dict with the keys ['T = ")
def curve_with_words_for_keys(make, teach, measure, *, temperatures, seeds, alpha):
    return {f"T = {T}": half([measured(make, teach, measure, T, alpha, seed) for seed in seeds]) for T in temperatures}


@wrong("temperature_curve", 0.0, "a list of ")
def curve_as_a_list(make, teach, measure, *, temperatures, seeds, alpha):
    return [half([measured(make, teach, measure, T, alpha, seed) for seed in seeds]) for T in temperatures]


def pairs(make, teach, measure, seeds, T, alpha):
    return [(measured(make, teach, measure, T, alpha, seed), measured(make, teach, measure, T, 0.0, seed))
            for seed in seeds]


@wrong("student_alone", 0.8, "distilled minus alone")
def difference_turned_round(make, teach, measure, *, seeds, T, alpha):
    return half([b - a for a, b in pairs(make, teach, measure, seeds, T, alpha)])


@wrong("student_alone", 0.8, "two unpaired groups")
def unpaired_interval(make, teach, measure, *, seeds, T, alpha):
    a, b = (half(values) for values in zip(*pairs(make, teach, measure, seeds, T, alpha), strict=True))
    return a[0] - b[0], math.hypot(a[1], b[1])


@wrong("student_alone", 0.8, "1.96 is for many seeds")
def normal_quantile_of_differences(make, teach, measure, *, seeds, T, alpha):
    gaps = [a - b for a, b in pairs(make, teach, measure, seeds, T, alpha)]
    return sum(gaps) / len(gaps), 1.96 * statistics.stdev(gaps) / math.sqrt(len(gaps))


@wrong("student_alone", 0.7, "taught more than once")
def distilled_on_top_of_alone(make, teach, measure, *, seeds, T, alpha):
    gaps = []
    for seed in seeds:
        student, found = make(seed), []
        for share in (0.0, alpha):
            teach(student, T=T, alpha=share, seed=seed)
            found.append(measure(student))
        gaps.append(found[1] - found[0])
    return half(gaps)


@wrong("student_alone", 0.4, "a pair shares its seed")
def other_seeds_for_the_baseline(make, teach, measure, *, seeds, T, alpha):
    return half([measured(make, teach, measure, T, alpha, seed) - measured(make, teach, measure, T, 0.0, seed + 60)
                 for seed in seeds])


@wrong("student_alone", 0.0, "no student was taught with alpha = 0")
def alpha_of_one_for_the_baseline(make, teach, measure, *, seeds, T, alpha):  # alpha the other way round
    return half([measured(make, teach, measure, T, alpha, seed) - measured(make, teach, measure, T, 1.0, seed)
                 for seed in seeds])


@wrong("student_alone", 0.9, "were to be taught with T")
def temperature_forgotten(make, teach, measure, *, seeds, T, alpha):
    return half([a - b for a, b in pairs(make, teach, measure, seeds, 1.5, alpha)])


@wrong("stopped_teachers", 0.0, "keep a copy")
def one_network_kept_several_times(make, learn, *, stops, seed):
    network, kept = make(seed), {}
    for epoch in range(max(stops)):
        learn(network, epoch)
        if epoch + 1 in stops:
            kept[epoch + 1] = network
    return kept


@wrong("stopped_teachers", 0.0, "a dict (weights by their names) was returned, not a network")
def weights_in_place_of_networks(make, learn, *, stops, seed):
    network, kept = make(seed), {}
    for epoch in range(max(stops)):
        learn(network, epoch)
        kept[epoch + 1] = network.state_dict()
    return kept


@wrong("stopped_teachers", 0.0, "a list of 3 was returned: a dict is expected")
def teachers_in_a_list(make, learn, *, stops, seed):
    return list(one_network_kept_several_times(make, learn, stops=stops, seed=seed).values())


@wrong("stopped_teachers", 0.4, "after k epochs is meant")
def one_epoch_too_many_for_the_teacher(make, learn, *, stops, seed):
    kept = {}
    for stop in stops:
        kept[stop] = make(seed)
        for epoch in range(stop + 1):
            learn(kept[stop], epoch)
    return kept


@wrong("stopped_teachers", 0.9, "another seed")
def teacher_of_seed_zero(make, learn, *, stops, seed):
    network, kept = make(1234), {}
    for epoch in range(max(stops)):
        learn(network, epoch)
        kept[epoch + 1] = copy.deepcopy(network)
    return {stop: kept[stop] for stop in stops}


@wrong("stopped_teachers", 0.8, "several trainings were begun")
def a_fresh_teacher_for_each_stop(make, learn, *, stops, seed):
    kept = {}
    for stop in reversed(stops):
        kept[stop] = make(seed)
        for epoch in range(stop):
            learn(kept[stop], epoch)
    return kept


@wrong("stopped_teachers", 0.8, "several trainings were begun")
def the_stops_in_one_go_and_the_last_one_again(make, learn, *, stops, seed):
    kept = {}
    for stop in (max(stops), *stops):
        network = make(seed)
        for epoch in range(stop):
            learn(network, epoch)
            kept[epoch + 1] = copy.deepcopy(network)
    return {stop: kept[stop] for stop in stops}


@wrong("stopped_teachers", 0.0, "none of the moments")
def always_the_first_epoch(make, learn, *, stops, seed):
    kept = {}
    for stop in stops:
        kept[stop] = make(seed)
        for _ in range(stop):
            learn(kept[stop], 5)
    return kept


def small_teacher(seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))


def small_student(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


WRONG.append(Answer("temperature_curve", (curve(lambda v: float(np.std(v))),), "deviation_of_numpy_as_bars", 0.8,
                    "this is the standard deviation with n"))


@wrong("temperature_curve", 0.8, "t was taken for the number of temperatures")
def degrees_of_freedom_of_the_temperatures(make, teach, measure, *, temperatures, seeds, alpha):
    factor = stats.t.ppf(0.975, len(temperatures) - 1) / stats.t.ppf(0.975, len(seeds) - 1)
    return curve(lambda v: half(v)[1] * factor)(make, teach, measure, temperatures=temperatures, seeds=seeds,
                                                alpha=alpha)


FOUND = {}


@wrong("temperature_curve", 0.4, "stays from one call to the next")
def a_dict_that_is_never_emptied(make, teach, measure, *, temperatures, seeds, alpha):
    for T in temperatures:
        FOUND.setdefault(T, []).extend(measured(make, teach, measure, T, alpha, seed) for seed in seeds)
    return {T: half(values) for T, values in FOUND.items()}


@wrong("temperature_curve", 0.8, "stays from one call to the next")
def a_default_that_keeps_its_points(make, teach, measure, *, temperatures, seeds, alpha, found={}):  # noqa: B006
    for T in temperatures:
        found[T] = half([measured(make, teach, measure, T, alpha, seed) for seed in seeds])
    return found


@wrong("student_alone", 0.4, "stays from one call to the next")
def differences_that_pile_up(make, teach, measure, *, seeds, T, alpha, gaps=[]):  # noqa: B006
    gaps += [a - b for a, b in pairs(make, teach, measure, seeds, T, alpha)]
    return half(gaps)


@wrong("student_alone", 0.0, "no student was distilled")
def alpha_of_zero_for_both(make, teach, measure, *, seeds, T, alpha):
    return half([a - b for a, b in pairs(make, teach, measure, seeds, T, 0.0)])


@wrong("stopped_teachers", 0.0, "taught again from epoch 0")
def one_teacher_for_all_calls(make, learn, *, stops, seed, kept={}):  # noqa: B006
    network = kept.setdefault("network", make(seed))
    found = {}
    for epoch in range(max(stops)):
        learn(network, epoch)
        if epoch + 1 in stops:
            found[epoch + 1] = copy.deepcopy(network)
    return found


def curve_of(summary):
    """A right experiment, of whose accuracies something else is told."""
    def answer(make, teach, measure, *, temperatures, seeds, alpha):
        return {T: summary([measured(make, teach, measure, T, alpha, seed) for seed in seeds]) for T in temperatures}

    return answer


for _name, _says, _summary in (
    ("low_for_half", "this is the lower end of the interval", lambda v: metrics.interval(v)[:2]),
    ("half_of_the_range", "half the distance from the smallest", lambda v: (np.mean(v), (max(v) - min(v)) / 2)),
    ("interval_of_99_percent", "for an interval of 99 %",
     lambda v: (np.mean(v), stats.t.ppf(0.995, len(v) - 1) * np.std(v, ddof=1) / math.sqrt(len(v)))),
):
    WRONG.append(Answer("temperature_curve", (curve_of(_summary),), _name, 0.8, _says))


@wrong("student_alone", 0.6, "divided by the accuracy of the students alone")
def relative_to_alone(make, teach, measure, *, seeds, T, alpha):
    return half([a / b - 1 for a, b in pairs(make, teach, measure, seeds, T, alpha)])


@wrong("student_alone", 0.6, "this is the accuracy of the distilled students")
def distilled_students_alone(make, teach, measure, *, seeds, T, alpha):
    return half([a for a, _ in pairs(make, teach, measure, seeds, T, alpha)])


@wrong("stopped_teachers", 0.0, "epochs count from 0")
def epochs_count_from_one(make, learn, *, stops, seed):
    network, kept = make(seed), {}
    for epoch in range(1, max(stops) + 1):
        learn(network, epoch)
        if epoch in stops:
            kept[epoch] = copy.deepcopy(network)
    return kept


@wrong("stopped_teachers", 0.0, "taught again from epoch 0")
def begins_again_at_every_stop(make, learn, *, stops, seed):
    network, kept = make(seed), {}
    for k in sorted(stops):
        for epoch in range(k):
            learn(network, epoch)
        kept[k] = copy.deepcopy(network)
    return kept


@wrong("student_alone", 0.8, "two unpaired groups")
def unpaired_in_single_precision(make, teach, measure, *, seeds, T, alpha):
    mean, width = unpaired_interval(make, teach, measure, seeds=seeds, T=T, alpha=alpha)
    return torch.tensor([mean, width])
