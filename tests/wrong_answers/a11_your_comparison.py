"""Exercise 11: ways to referee and to make a comparison that look right, and unusual ones that are."""

import itertools
import math
import statistics
from copy import deepcopy
from functools import cache

import numpy as np
import torch
from scipy import stats

from kdcourse import data, metrics
from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)


def owed(runs, comparisons, said, margin, p_values=metrics.holm, interval=metrics.interval):
    """Through the package's own interval and correction."""
    gaps = [[runs[a][seed] - runs[b][seed] for seed in sorted(runs[a].keys() & runs[b].keys())]
            for a, b in comparisons.values()]
    found = {}
    for name, gap, p in zip(comparisons, gaps, p_values([stats.ttest_1samp(gap, 0).pvalue for gap in gaps]),
                            strict=True):
        _, low, high = interval(gap)
        if p < 0.05 and (low > 0 or high < 0):
            found[name] = "better" if low > 0 else "worse"
        else:
            found[name] = "equal" if max(-low, high) <= margin else "inconclusive"
    return {name: verdict for name, verdict in found.items() if said.get(name) != verdict}


@wrong("wrong_verdicts", 0.0, "Holm's correction for the family is missing")
def each_alone(runs, comparisons, said, margin):
    return owed(runs, comparisons, said, margin, p_values=list)


@wrong("wrong_verdicts", 0.0, "with Holm's correction only the smallest is")
def bonferroni(runs, comparisons, said, margin):
    return owed(runs, comparisons, said, margin, p_values=lambda p: [len(p) * one for one in p])


@wrong("wrong_verdicts", 0.0, "that the report does not tell are left out")
def only_what_is_told(runs, comparisons, said, margin):
    return {name: verdict for name, verdict in owed(runs, comparisons, said, margin).items() if name in said}


@wrong("wrong_verdicts", 0.0, "a family here: it is the plan's")
def a_family_of_what_is_told(runs, comparisons, said, margin):
    return owed(runs, {name: comparisons[name] for name in said}, said, margin)


@wrong("wrong_verdicts", 0.0, "paired in the order in which they stand")
def values_of_dicts(runs, comparisons, said, margin):
    runs = {arm: dict(enumerate(by_seed.values())) for arm, by_seed in runs.items()}
    return owed(runs, comparisons, said, margin)


@wrong("wrong_verdicts", 0.0, "a clear difference within the margin counts as equal")
def equal_first(runs, comparisons, said, margin):
    right = owed(runs, comparisons, {}, margin)
    for name, (a, b) in comparisons.items():
        _, low, high = metrics.interval([runs[a][seed] - runs[b][seed] for seed in runs[a].keys() & runs[b].keys()])
        right[name] = "equal" if max(-low, high) <= margin else right[name]
    return {name: verdict for name, verdict in right.items() if said.get(name) != verdict}


@wrong("wrong_verdicts", 0.0, "a dict is expected")
def names_alone(runs, comparisons, said, margin):
    return list(owed(runs, comparisons, said, margin))


@wrong("wrong_verdicts", 0.0, "is no verdict: better, worse, equal or inconclusive is one")
def none_where_it_is_told_rightly(runs, comparisons, said, margin):
    return dict.fromkeys(comparisons) | owed(runs, comparisons, said, margin)


@right("wrong_verdicts")
def by_the_packages_family(runs, comparisons, said, margin):
    arms = {name: sorted(runs[a].keys() & runs[b].keys()) for name, (a, b) in comparisons.items()}
    pairs = {name: tuple([runs[arm][seed] for seed in arms[name]] for arm in comparisons[name]) for name in comparisons}
    told = metrics.family(pairs, images=2000, margin=margin)
    return {name: one.verdict for name, one in told.items() if one.verdict != said.get(name)}


@right("wrong_verdicts")
def holm_by_hand(runs, comparisons, said, margin):
    def adjusted(p):
        order, out = np.argsort(p), np.zeros(len(p))
        out[order] = np.maximum.accumulate((len(p) - np.arange(len(p))) * np.array(p)[order])
        return out.clip(max=1)

    return owed(runs, comparisons, said, margin, p_values=adjusted)


def best(tried, by):
    """The setting with the best mean of validation (0) or test accuracies (1)."""
    return max(tried, key=lambda name: statistics.fmean(tried[name][by]))


def shown(tried, name):
    return statistics.fmean(tried[name][1])


def at_budget(ours, baseline, by=0):
    picks = [shown(ours, max(some, key=lambda name: statistics.fmean(ours[name][by])))
             for some in itertools.combinations(ours, len(baseline))]
    return statistics.fmean(picks) - shown(baseline, best(baseline, by))


def published(ours, baseline):
    return max(max(test) for _, test in ours.values()) - max(max(test) for _, test in baseline.values())


def left(ours, baseline):
    return [published(ours, baseline), *(shown(ours, best(ours, by)) - shown(baseline, best(baseline, by))
                                         for by in (1, 0)), at_budget(ours, baseline)]


@wrong("what_is_left", 0.75, "second number: the setting is that of the best single seed")
def setting_of_the_best_seed(ours, baseline):
    numbers = left(ours, baseline)
    a, b = (max(tried, key=lambda name: max(tried[name][1])) for tried in (ours, baseline))
    numbers[1] = shown(ours, a) - shown(baseline, b)
    return numbers


@wrong("what_is_left", 0.75, "this is the validation accuracy")
def reported_as_it_was_chosen(ours, baseline):
    numbers = left(ours, baseline)
    numbers[2] = statistics.fmean(ours[best(ours, 0)][0]) - statistics.fmean(baseline[best(baseline, 0)][0])
    return numbers


@wrong("what_is_left", 0.75, "fourth number: only our first settings are tried")
def the_first_ones(ours, baseline):
    numbers = left(ours, baseline)
    few = dict(list(ours.items())[:len(baseline)])
    numbers[3] = shown(few, best(few, 0)) - shown(baseline, best(baseline, 0))
    return numbers


@wrong("what_is_left", 0.5, "second number: validation images choose here already; that is the third; fourth")
def two_faults(ours, baseline):
    numbers = left(ours, baseline)  # the third number twice, and a budget on test images
    return [numbers[0], numbers[2], numbers[2], at_budget(ours, baseline, by=1)]


@wrong("what_is_left", 0.0, "is right.", told=False)
def upside_down(ours, baseline):
    return [-number for number in left(ours, baseline)]


@right("what_is_left")
def by_ranks(ours, baseline):
    """The chance that the setting of rank r is the best of m drawn ones is C(r - 1, m - 1) / C(n, m)."""
    n, m = len(ours), len(baseline)
    order = sorted(ours, key=lambda name: statistics.fmean(ours[name][0]))
    fair = sum(math.comb(r, m - 1) / math.comb(n, m) * shown(ours, name) for r, name in enumerate(order))
    return torch.tensor([*left(ours, baseline)[:3], fair - shown(baseline, best(baseline, 0))])


T = [math.inf, math.inf, *stats.t.ppf(0.975, np.arange(1, 12))]    # by n


def away(some, limit=None, correction=1):
    return abs(some.mean()) > (limit or T[len(some)]) * some.std(ddof=correction) / len(some) ** 0.5


def alarms(d, first, look=away):
    """Along a tree: as soon as one look is clear, all continuations are alarms."""
    def share(head):
        if len(head) >= first and look(np.array(head)):
            return 1.0
        if len(head) == len(d):
            return 0.0
        return (share([*head, d[len(head)]]) + share([*head, -d[len(head)]])) / 2

    return share([])


@wrong("false_alarms", 0.0, "this looks only once, at the end")
def at_the_end(differences, first):
    return alarms(differences, len(differences))


@wrong("false_alarms", 0.0, "by luck a method can look worse as well")
def gains_alone(differences, first):
    return alarms(differences, first, lambda some: some.mean() > 0 and away(some))


@wrong("false_alarms", 0.0, "1.96 is for many seeds")
def normal(differences, first):
    return alarms(differences, first, lambda some: away(some, 1.96))


@wrong("false_alarms", 0.0, "take it at 97.5 %")
def five_percent_at_each_end(differences, first):
    return alarms(differences, first, lambda some: away(some, stats.t.ppf(0.95, len(some) - 1)))


@wrong("false_alarms", 0.0, "t was taken for n degrees of freedom")
def a_degree_of_freedom_too_many(differences, first):
    return alarms(differences, first, lambda some: away(some, stats.t.ppf(0.975, len(some))))


@wrong("false_alarms", 0.0, "the standard deviation divides by n")
def numpys_deviation(differences, first):
    return alarms(differences, first, lambda some: away(some, correction=0))


@wrong("false_alarms", 0.0, "the same value for every input", told=False)
def five_percent(differences, first):
    """What the level of each look promises."""
    return 0.05


@right("false_alarms")
def along_a_tree(differences, first):
    return alarms(differences, first)


@right("false_alarms")
def half_of_the_signs(differences, first):
    """All signs turned round give the same verdicts, so the first may stay; sums are carried along."""
    d = torch.tensor(differences, dtype=torch.double)
    signs = torch.tensor([(1, *rest) for rest in itertools.product((1, -1), repeat=len(d) - 1)])
    total, square = (signs * d).cumsum(1), d.square().cumsum(0)
    n = torch.arange(1, len(d) + 1)
    t = total / (n * (square - total**2 / n) / (n - 1)).sqrt()
    limit = torch.tensor(stats.t.ppf(0.975, np.arange(0, len(d)).clip(1)))
    return (t.abs() > limit)[:, first - 1:].any(1).double().mean()


def enough(pilots, effect, spread=max, level=None):
    wide = spread(statistics.stdev(one) for one in pilots.values())
    level = level or 1 - 0.025 / len(pilots)
    return next(n for n in itertools.count(2) if stats.t.ppf(level, n - 1) * wide / n**0.5 <= effect / 2)


@wrong("seeds_for_all", 0.0, "this is for one comparison alone")
def seeds_for_one(pilots, effect):
    return enough(pilots, effect, level=0.975)


@wrong("seeds_for_all", 0.0, "not shared out to the two ends")
def one_end(pilots, effect):
    return enough(pilots, effect, level=1 - 0.05 / len(pilots))


@wrong("seeds_for_all", 0.0, "the mean of the spreads is taken")
def for_the_usual_comparison(pilots, effect):
    return enough(pilots, effect, spread=lambda all: statistics.fmean(list(all)))


@wrong("seeds_for_all", 0.0, "all differences are thrown together")
def one_spread_for_all(pilots, effect):
    together = [one for of_one in pilots.values() for one in of_one]
    return enough(dict.fromkeys(pilots, together), effect)


@right("seeds_for_all")
def the_most_of_each(pilots, effect):
    return max(enough({i: one for i in range(len(pilots))}, effect) for one in pilots.values())


SOURCE = data.load("fashion_small")
PIXELS = {name: getattr(SOURCE, name).x.flatten(1).float() / 255 for name in ("train", "valid", "test")}
STUDY = {
    "name": "Class means", "question": "Are class means better that a teacher weighs?",
    "prediction": {"text": "a little", "comparison": "the teacher helps", "points": [0.5, 6.0]},
    "refuted_by": "an interval that lies wholly below half a point",
    "images": {"name": "fashion_small", "train": 200}, "training": {"epochs": 1},
    "arms": {"hard labels": {"method": "hard labels"}, "KD": {"method": "kd"}, "mixed": {"method": "mixed"}},
    "choose": {"on": "valid", "seeds": [100, 101], "grids": {"hard labels": {"keep": [1, 0.8]}, "KD": {"T": [1, 9]}}},
    "comparisons": {"the teacher helps": ["KD", "hard labels"], "the mixture helps": ["mixed", "KD"]},
    "margin": 0.005, "effect": 0.04,
}


def classify(means):
    """The network whose largest logit is the nearest of the means."""
    return lambda x: x.flatten(1) @ means.T - means.square().sum(1) / 2


@cache
def known():
    x, y = PIXELS["train"][1000:3000], SOURCE.train.y[1000:3000]
    return classify(torch.stack([x[y == k].mean(0) for k in range(10)]))


def learn(arm, point, seed):
    """Means of 80 of 200 images, weighed by their labels or by what the teacher says; nothing is trained by steps."""
    some = torch.randperm(200, generator=torch.Generator().manual_seed(seed))[:80]
    x = PIXELS["train"][some]
    hard = torch.nn.functional.one_hot(SOURCE.train.y[some], 10).float()
    soft = (known()(x) / point.get("T", 4)).softmax(1)
    weight = {"hard labels": hard, "KD": soft, "mixed": (hard + soft) / 2}[arm] + 1e-6
    means = weight.T @ x / weight.sum(0)[:, None]
    return classify(x.mean(0) + point.get("keep", 1) * (means - x.mean(0)))


def score(arm, point, seed, split):
    return (learn(arm, point, seed)(PIXELS[split]).argmax(1) == getattr(SOURCE, split).y).double().mean().item()


def told(study, rows, digits=9):
    value = {arm: [row["accuracy"] for row in of_arm] for arm, of_arm in rows.items()}
    found = metrics.family({name: (value[a], value[b]) for name, (a, b) in study["comparisons"].items()}, images=2000,
                           margin=study["margin"])
    return {name: {key: round(getattr(one, key), digits) for key in ("mean", "low", "high", "holm")}
            | {"verdict": one.verdict} for name, one in found.items()}


@cache
def made(n=None, pick=max, digits=9, effect=0.04, first=20, keep=(1, 0.8)):
    """A study that is planned, chosen, measured and told."""
    study, results = deepcopy(STUDY) | {"effect": effect}, {"tried": {}, "points": {arm: {} for arm in STUDY["arms"]}}
    study["choose"]["grids"]["hard labels"]["keep"] = [*keep]
    for arm, grid in study["choose"]["grids"].items():
        points = [{key: value} for key, values in grid.items() for value in values]
        tried = [{"point": point, "valid_accuracy": [score(arm, point, seed, "valid") for seed in (100, 101)]}
                 for point in points]
        results["tried"][arm] = tried
        results["points"][arm] = pick(tried, key=lambda one: sum(one["valid_accuracy"]))["point"]
    seeds = [200, 201, 202, 203, 204]
    found = {arm: [score(arm, results["points"][arm], seed, "valid") for seed in seeds] for arm in study["arms"]}
    pilot = {name: [a - b for a, b in zip(found[ours], found[baseline], strict=True)]
             for name, (ours, baseline) in study["comparisons"].items()}
    study["spread"] = round(statistics.stdev(pilot["the teacher helps"]), 4)
    study["seeds"] = list(range(first, first + (n or enough(pilot, effect))))
    rows = {arm: [{"seed": seed, "accuracy": score(arm, results["points"][arm], seed, "test")}
                  for seed in study["seeds"]] for arm in study["arms"]}
    return study, results | {"pilot": {"seeds": seeds, "differences": pilot}, "rows": rows,
                             "comparisons": told(study, rows, digits)}


def changed(change, learn=learn, **settings):
    study, results = deepcopy(made(**settings))
    change(study, results)
    return study, results, learn


@right("my_comparison")
def without_a_single_step():
    return (*made(), learn)


@right("my_comparison")
def rounded_and_more_seeds_than_needed():
    return [*made(n=25, digits=4), learn]


@right("my_comparison")
def a_loss_is_predicted():
    return changed(lambda study, results: study["prediction"].update(points=[-6.0, -0.5]))


@wrong("my_comparison", 0.85, "the submission has shown it")
def seeds_that_were_shown():
    return changed(lambda study, results: None, first=5)


@wrong("my_comparison", 0.85, "holds none that is so large")
def an_effect_for_which_three_seeds_are_enough():
    return changed(lambda study, results: None, n=3, effect=0.5)


@wrong("my_comparison", 0.85, "is trained for more epochs than")
def more_epochs_among_the_settings_of_an_arm():
    return changed(lambda study, results: study["arms"]["KD"].update(epochs=2))


@wrong("my_comparison", 0.85, "is trained for more epochs than")
def more_epochs_in_a_grid():
    def change(study, results):
        study["choose"]["grids"]["mixed"] = {"epochs": [1, 3]}
        tried = [{"point": {"epochs": n}, "valid_accuracy": [score("mixed", {"T": 4 * n}, seed, "valid")
                                                             for seed in (100, 101)]} for n in (1, 3)]
        results["tried"]["mixed"] = tried
        results["points"]["mixed"] = max(tried, key=lambda one: sum(one["valid_accuracy"]))["point"]
        for i, seed in enumerate(study["seeds"]):
            results["rows"]["mixed"][i]["accuracy"] = score("mixed", temperature(results["points"]["mixed"]), seed,
                                                            "test")
        results["comparisons"] = told(study, results["rows"])
        results["pilot"]["differences"]["the mixture helps"] = [
            score("mixed", temperature(results["points"]["mixed"]), seed, "valid")
            - score("KD", results["points"]["KD"], seed, "valid") for seed in results["pilot"]["seeds"]]

    def temperature(point):
        return {"T": 4 * point["epochs"]} if "epochs" in point else point

    return changed(change, lambda arm, point, seed: learn(arm, temperature(point), seed))


@wrong("my_comparison", 0.85, "has a value of keep twice")
def the_same_setting_twice_for_the_baseline():
    return changed(lambda study, results: None, keep=(1, 1))


@wrong("my_comparison", 0.3, "the pilot's difference in")
def a_pilot_that_nobody_ran():
    def change(study, results):
        for name in study["comparisons"]:
            results["pilot"]["differences"][name] = [0.4, 0.401, 0.399, 0.4, 0.4]
        study["spread"] = statistics.stdev([0.4, 0.401, 0.399, 0.4, 0.4])

    return changed(change, n=3)


@wrong("my_comparison", 0.3, "does learn use its point? Read")
def a_search_among_settings_that_do_nothing():
    def change(study, results):
        for arm, tried in results["tried"].items():
            for one in tried:
                one["valid_accuracy"] = [score(arm, results["points"][arm], seed, "valid") for seed in (100, 101)]

    return changed(change, lambda arm, point, seed: learn(arm, made()[1]["points"][arm], seed))


@wrong("my_comparison", 0.3, "does learn do what the arm says")
def a_control_that_is_the_baseline_itself():
    def change(study, results):
        results["rows"]["mixed"] = results["rows"]["KD"]
        results["pilot"]["differences"]["the mixture helps"] = [0.0] * 5

    return changed(change, lambda arm, point, seed: learn("KD", made()[1]["points"]["KD"], seed) if arm == "mixed"
                   else learn(arm, point, seed))


@wrong("my_comparison", 0.85, "choose['on'] is 'valid'")
def chosen_on_test_images():
    return changed(lambda study, results: study["choose"].update(on="test"))


@wrong("my_comparison", 0.85, "is better on validation images")
def the_other_setting():
    return changed(lambda study, results: None, pick=min)


@wrong("my_comparison", 0.85, "by the pilot this effect needs")
def three_seeds_for_half_a_point():
    return changed(lambda study, results: None, n=3, effect=0.006)


@wrong("my_comparison", 0.85, "and the arms of the plan are")
def an_arm_that_was_not_planned():
    return changed(lambda study, results: results["rows"].update(more=results["rows"]["KD"]))


@wrong("my_comparison", 0.85, "settings are tried, and for 'hard labels', its baseline, 1")
def a_search_for_ours_alone():
    def change(study, results):
        for found in (study["choose"]["grids"], results["tried"]):
            del found["hard labels"]
        results["points"]["hard labels"] = {}

    return changed(change, lambda arm, point, seed: learn(arm, point or made()[1]["points"][arm], seed))


@wrong("my_comparison", 0.85, "reaches the margin on both sides of 0")
def a_prediction_of_anything():
    return changed(lambda study, results: study["prediction"].update(points=[-9, 9]))


@wrong("my_comparison", 0.85, "the lowest comes first")
def points_the_wrong_way_round():
    return changed(lambda study, results: study["prediction"].update(points=[3, 1]))


@wrong("my_comparison", 0.85, "Holm's correction is missing")
def p_values_alone():
    def change(study, results):
        for name, (a, b) in study["comparisons"].items():
            ours, baseline = ([row["accuracy"] for row in results["rows"][arm]] for arm in (a, b))
            results["comparisons"][name]["holm"] = stats.ttest_rel(ours, baseline).pvalue

    return changed(change)


@wrong("my_comparison", 0.85, "it is in percent")
def in_percent():
    def change(study, results):
        for one in results["comparisons"].values():
            one.update({key: 100 * one[key] for key in ("mean", "low", "high")})

    return changed(change)


@wrong("my_comparison", 0.3, "trained again, has")
def a_point_more_in_every_row():
    def change(study, results):
        for rows in results["rows"].values():
            for row in rows:
                row["accuracy"] += 0.01

    return changed(change)


@wrong("my_comparison", 0.3, "trained again, has")
def whose_seed_does_nothing():
    return changed(lambda study, results: None, lambda arm, point, seed: learn(arm, point, 7))


@wrong("my_comparison", 0.3, "it learned nothing")
def networks_that_nobody_trains():
    return changed(lambda study, results: None, lambda arm, point, seed: classify(torch.zeros(10, 784)))


@wrong("my_comparison", 0.3, "knows the validation images better than the training images")
def choosing_on_validation_images_that_were_learnt():
    seen = data.load("fashion_small").valid
    x = seen.x.flatten(1).float() / 255

    def nearest(images):
        far = torch.cdist(images.flatten(1), x)
        return torch.stack([-10 * far[:, seen.y == k].amin(1) for k in range(10)], 1)

    return changed(lambda study, results: None, lambda arm, point, seed: nearest)


@wrong("my_comparison", 0.3, "does learn use its point?")
def one_student_for_all_arms():
    study, results, _ = changed(lambda study, results: None)
    same = [{"seed": seed, "accuracy": score("KD", {"T": 9}, seed, "test")} for seed in study["seeds"]]
    results["rows"] = dict.fromkeys(study["arms"], same)
    for arm, tried in results["tried"].items():
        for one in tried:
            one["valid_accuracy"] = [score("KD", {"T": 9}, seed, "valid") for seed in (100, 101)]
        results["points"][arm] = tried[0]["point"]
    return study, results, lambda arm, point, seed: learn("KD", {"T": 9}, seed)


@wrong("my_comparison", 0.3, "it stopped with an error, ZeroDivisionError")
def numbers_without_a_training():
    return changed(lambda study, results: None, lambda arm, point, seed: 1 / 0)


@wrong("my_comparison", 0.0, "the plan cannot be read")
def empty_files():
    return {}, {}, learn


def invented(change):
    """Rows that were never measured, and everything told as it follows from them."""
    def altered(study, results):
        draw = torch.Generator().manual_seed(1)
        for rows in results["rows"].values():
            mean = statistics.fmean(row["accuracy"] for row in rows)
            change(rows, lambda mean=mean: mean + 0.015 * torch.randn((), generator=draw).item())
        results["comparisons"] = told(study, results["rows"])

    return changed(altered, n=20)


@wrong("my_comparison", 0.3, "trained again, has")
def every_third_row_invented():
    def change(rows, guess):
        for row in rows[::3]:
            row["accuracy"] = guess()

    return invented(change)


@wrong("my_comparison", 0.3, "trained again, has")
def the_last_third_of_the_seeds_invented():
    def change(rows, guess):
        for row in rows[-7:]:
            row["accuracy"] = guess()

    return invented(change)


@right("my_comparison")
def rows_that_were_measured_last_first():
    def change(study, results):
        for rows in results["rows"].values():
            rows.reverse()
        study["seeds"].reverse()

    return changed(change)


@wrong("wrong_verdicts", 0.0, "the running maximum")
def holm_without_the_running_maximum(runs, comparisons, said, margin):
    def adjusted(p):
        rank = np.argsort(np.argsort(p))
        return ((len(p) - rank) * np.array(p)).clip(max=1)

    return owed(runs, comparisons, said, margin, p_values=adjusted)


@wrong("wrong_verdicts", 0.0, "the margin is 0.005, whatever is given")
def the_usual_margin(runs, comparisons, said, margin):
    return owed(runs, comparisons, said, 0.005)


@wrong("seeds_for_all", 0.0, "the pilot's number of seeds is taken for the least")
def as_many_as_the_pilot(pilots, effect):
    return max(enough(pilots, effect), *(len(one) for one in pilots.values()))


@wrong("seeds_for_all", 0.0, "n begins at 3")
def from_three_on(pilots, effect):
    return max(3, enough(pilots, effect))
