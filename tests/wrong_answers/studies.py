"""Question 13: experiments of one's own that look right, and unusual ones that are."""

import math
import statistics
from copy import deepcopy
from functools import cache

import torch
from scipy import stats

from kdcourse import data, metrics
from wrong_answers import collector

WRONG, RIGHT = [], []
wrong, right = collector(WRONG), collector(RIGHT)
SOURCE = data.load("digits")
PIXELS = {name: getattr(SOURCE, name).x.flatten(1).float() / 255 for name in ("train", "valid", "test")}
NAME = "the teacher helps"
STUDY = {
    "question": "Are class means better that a teacher weighs?",
    "refuted_by": "an interval that lies wholly below the effect",
    "arms": {"taught": {"share": 0.7}, "alone": {"share": 0.0}}, "comparisons": {NAME: ["taught", "alone"]},
}


def classify(means):
    """The network whose largest logit is the nearest of the means."""
    return lambda x: x.flatten(1) @ means.T - means.square().sum(1) / 2


@cache
def teacher():
    return classify(torch.stack([PIXELS["train"][SOURCE.train.y == k].mean(0) for k in range(10)]))


def learn(arm, seed):
    """Means of 30 of 100 images, weighed by their labels, and by what a teacher says; nothing is trained by steps."""
    some = torch.randperm(100, generator=torch.Generator().manual_seed(seed))[:30]
    x, share = PIXELS["train"][some], {"taught": 0.7, "half": 0.35}.get(arm, 0.0)
    hard = torch.nn.functional.one_hot(SOURCE.train.y[some], 10).float()
    weight = (1 - share) * hard + share * teacher()(x).softmax(1) + 1e-3
    return classify(weight.T @ x / weight.sum(0)[:, None])


def score(arm, seed, split, by=learn):
    return (by(arm, seed)(PIXELS[split]).argmax(1) == getattr(SOURCE, split).y).double().mean().item()


def conclusion(low, high, effect):
    return "refuted" if high < effect else "supported" if low > 0 else "not shown"


def told(study, rows, digits=9, interval=metrics.interval):
    found = {}
    for name, pair in study["comparisons"].items():
        ours, control = ([row["accuracy"] for row in rows[arm]] for arm in pair)
        numbers = interval([a - b for a, b in zip(ours, control, strict=True)])
        found[name] = dict(zip(("mean", "low", "high"), (round(one, digits) for one in numbers), strict=True))
        found[name]["verdict"] = conclusion(*numbers[1:], study["effect"])
    return found


@cache
def made(n=None, effect=0.06, first=20, pilot=(100, 101, 102, 103, 104), digits=9):
    """A study that is planned, measured and told."""
    study = deepcopy(STUDY) | {"effect": effect}
    gaps = [score("taught", seed, "valid") - score("alone", seed, "valid") for seed in pilot]
    half = [stats.t.ppf(0.975, n - 1) * statistics.stdev(gaps) / n**0.5 for n in range(2, 200)]
    n = n or max(3, 2 + next(i for i, one in enumerate(half) if one <= effect / 2))
    study["seeds"] = list(range(first, first + n))
    rows = {arm: [{"seed": seed, "accuracy": score(arm, seed, "test")} for seed in study["seeds"]]
            for arm in study["arms"]}
    return study, {"pilot": {"seeds": [*pilot], "differences": {NAME: gaps}}, "rows": rows,
                   "comparisons": told(study, rows, digits)}


def changed(change, by=learn, **settings):
    study, results = deepcopy(made(**settings))
    change(study, results)
    return study, results, by


@right("own_experiment")
def nothing_trained_by_steps():
    return (*made(), learn)


@right("own_experiment")
def more_seeds_than_needed_and_four_digits():
    return [*made(n=12, digits=4), learn]


@right("own_experiment")
def an_effect_that_is_refuted():
    return changed(lambda study, results: None, effect=0.4)


@right("own_experiment")
def a_third_arm_that_only_looks_on():
    def change(study, results):
        study["arms"]["half"] = {"share": 0.35}
        results["rows"]["half"] = [{"seed": seed, "accuracy": score("half", seed, "test")} for seed in study["seeds"]]

    return changed(change)


@right("own_experiment")
def a_module_and_tuples():
    class Means(torch.nn.Module):
        def __init__(self, arm, seed):
            super().__init__()
            self.answer = learn(arm, seed)

        def forward(self, x):
            return self.answer(x)

    study, results, _ = changed(lambda study, results: None)
    return study | {"seeds": tuple(study["seeds"]), "comparisons": {NAME: ("taught", "alone")}}, results, Means


@wrong("own_experiment", 0.75, "question 12 has shown it")
def seeds_that_were_shown():
    return changed(lambda study, results: None, first=5)


@wrong("own_experiment", 0.75, "a seed is there twice")
def the_pilot_is_measured_again():
    return changed(lambda study, results: None, pilot=(18, 19, 20, 21))


@wrong("own_experiment", 0.75, "by the pilot this effect needs")
def three_seeds_for_half_a_point():
    return changed(lambda study, results: None, n=3, effect=0.005)


@wrong("own_experiment", 0.75, "refuted_by is empty, or nearly")
def nothing_can_refute_it():
    return changed(lambda study, results: study.update(refuted_by="nothing"))


@wrong("own_experiment", 0.75, "what does the control take away?")
def a_control_with_the_settings_of_ours():
    return changed(lambda study, results: study["arms"].update(alone={"share": 0.7}))


@wrong("own_experiment", 0.75, "one comparison decides")
def two_comparisons_of_which_one_may_come_out():
    def change(study, results):
        study["comparisons"]["labels help"] = ["alone", "taught"]
        gaps = results["pilot"]["differences"]
        gaps["labels help"] = [-gap for gap in gaps[NAME]]
        results["comparisons"] = told(study, results["rows"])

    return changed(change, n=30)


@wrong("own_experiment", 0.75, "it is a share, the smallest difference")
def an_effect_in_points():
    def change(study, results):
        study["effect"] = 6
        results["comparisons"][NAME]["verdict"] = "refuted"

    return changed(change)


@wrong("own_experiment", 0.75, "and by its rows it is")
def supported_whatever_comes():
    return changed(lambda study, results: results["comparisons"][NAME].update(verdict="supported"), effect=0.4)


@wrong("own_experiment", 0.75, "and the rows give")
def a_normal_interval():
    def change(study, results):
        def interval(gaps):
            mean, half = statistics.fmean(gaps), 1.96 * statistics.stdev(gaps) / math.sqrt(len(gaps))
            return mean, mean - half, mean + half

        results["comparisons"] = told(study, results["rows"], interval=interval)

    return changed(change)


@wrong("own_experiment", 0.75, "it is in percent")
def in_points():
    def change(study, results):
        one = results["comparisons"][NAME]
        one.update({key: 100 * one[key] for key in ("mean", "low", "high")})

    return changed(change)


@wrong("own_experiment", 0.85, "was not measured with the seeds of the plan")
def rows_in_another_order():
    def change(study, results):
        for rows in results["rows"].values():
            rows.reverse()

    return changed(change)


@wrong("own_experiment", 0.25, "trained again, has")
def a_third_of_the_rows_invented():
    def change(study, results):
        draw = torch.Generator().manual_seed(1)
        for rows in results["rows"].values():
            for row in rows[::3]:
                row["accuracy"] += 0.01 + 0.02 * torch.rand((), generator=draw).item()
        results["comparisons"] = told(study, results["rows"])

    return changed(change, n=12)


@wrong("own_experiment", 0.25, "the pilot's difference in")
def a_pilot_that_nobody_ran():
    def change(study, results):
        results["pilot"]["differences"][NAME] = [0.4, 0.401, 0.399, 0.4, 0.4]

    return changed(change)


@wrong("own_experiment", 0.25, "it learned nothing")
def networks_that_nobody_trains():
    return changed(lambda study, results: None, lambda arm, seed: classify(torch.zeros(10, 64)))


@wrong("own_experiment", 0.25, "knows the test images better than the training images")
def ours_knows_the_test_images_by_heart():
    def nearest(x):
        far = torch.cdist(x.flatten(1), PIXELS["test"])
        return torch.stack([-10 * far[:, SOURCE.test.y == k].amin(1) for k in range(10)], 1)

    return changed(lambda study, results: None, lambda arm, seed: nearest if arm == "taught" else learn(arm, seed))


@wrong("own_experiment", 0.25, "trained again, has")
def whose_seed_does_nothing():
    return changed(lambda study, results: None, lambda arm, seed: learn(arm, 7))


@wrong("own_experiment", 0.0, "does learn do what the arm says?")
def the_control_is_ours_itself():
    def change(study, results):
        study["arms"]["alone"] = {"share": 0.7}
        results["rows"]["alone"] = results["rows"]["taught"]
        results["pilot"]["differences"][NAME] = [0.0] * 5
        results["comparisons"][NAME] = {"mean": 0.0, "low": 0.0, "high": 0.0, "verdict": "refuted"}

    return changed(change, lambda arm, seed: learn("taught", seed))


@wrong("own_experiment", 0.25, "it stopped with an error, ZeroDivisionError")
def numbers_without_a_training():
    return changed(lambda study, results: None, lambda arm, seed: 1 / 0)


@wrong("own_experiment", 0.0, "the plan cannot be read")
def empty_files():
    return {}, {}, learn
