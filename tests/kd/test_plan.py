"""A comparison of the reader's own: what a plan cannot answer is refused, what it can is run once as it was registered,
and the report and the marks are those of the results."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats

from kdcourse import cli, data, metrics, models, plan
from kdcourse.data.base import stratified
from kdcourse.plan import rubric, running

HARD, KD = {"method": "hard labels"}, {"method": "kd", "T": 2.0, "alpha": 0.9}
MINE = plan.Plan(
    "Does a CNN help?", question="Does the CNN's knowledge help a perceptron that has 60 photographs?",
    prediction={"text": "Yes, a little.", "comparison": "KD helps", "points": [0, 20]},
    refuted_by="an interval below zero", images={"name": "fashion_small", "train": 60},
    teacher={"kept": "fashion_cnn"}, student={"name": "mlp", "hidden": [16]},
    training={"epochs": 2, "lr": 5e-3, "batch_size": 20}, arms={"hard labels": HARD, "KD": KD},
    comparisons={"KD helps": ["KD", "hard labels"]}, seeds=[0, 1, 2, 3], margin=0.005, effect=0.1, spread=0.02,
    minutes=5, identity={"says": "KD with alpha = 0 is hard labels", "arm": {**KD, "alpha": 0.0}, "equals": HARD})
CHOOSING = {"on": "valid", "seeds": [100, 101], "grids": {"KD": {"T": [1.0, 4.0]}, "hard labels": {"lr": [1e-3, 5e-3]}}}
DIST = {"method": "dist", "T": 2.0}


def planned(**changes) -> plan.Plan:
    return replace(MINE, **changes)


def said(one: plan.Plan) -> list[str]:
    return [f"{found.kind}: {found.text}" for found in plan.refusals(one)]


def test_a_plan_that_can_be_answered_is_not_refused():
    assert plan.refusals(MINE) == [] and plan.refusals(planned(choose=CHOOSING)) == []


def of_hard(**settings):
    return {"arms": {"hard labels": {**HARD, **settings}, "KD": KD}}


def tries(arm, **grid):
    return {"choose": {**CHOOSING, "grids": {**CHOOSING["grids"], arm: grid}}}


def trains(**settings):
    return {"training": {**MINE.training, **settings}}


TRAINED = {"network": {"name": "mlp"}, "epochs": 5, "lr": 2e-3, "batch_size": 20}
REFUSED = {
    "no question": ({"question": " "}, "question: question is empty"),
    "no refutation": ({"refuted_by": ""}, "question: refuted_by is empty"),
    "a prediction about nothing": ({"prediction": {}}, "question: the prediction is about None"),
    "a prediction in words alone": ({"prediction": "it helps"}, "question: prediction is a dict of text"),
    "a prediction without numbers": ({"prediction": {"comparison": "KD helps", "points": "more"}},
                                     "question: prediction['points'] are the lowest and the highest"),
    "a prediction that nothing refutes": ({"prediction": {"comparison": "KD helps", "points": [-5, 5]}},
                                          "question: a prediction of -5 to +5 points allows better, equal and worse"),
    "one arm": ({"arms": {"KD": KD}, "comparisons": {"KD helps": ["KD", "KD"]}}, "control: there is no control"),
    "no arm without a teacher": ({"arms": {"KD": KD, "DIST": DIST}, "comparisons": {"KD helps": ["DIST", "KD"]}},
                                 "control: there is no control without a teacher"),
    "a method without plain KD": ({"arms": {"hard labels": HARD, "DIST": DIST},
                                   "comparisons": {"KD helps": ["DIST", "hard labels"]}},
                                  "control: 'DIST' is not compared with plain KD"),
    "plain KD is there, and is not compared with": (
        {"arms": {"hard labels": HARD, "KD": KD, "DIST": DIST},
         "comparisons": {"KD helps": ["KD", "hard labels"], "DIST": ["DIST", "hard labels"]}},
        "control: 'DIST' is not compared with plain KD"),
    "KD only against KD": ({"arms": {"hard labels": HARD, "KD": KD, "KD, 4": {**KD, "T": 4.0}},
                            "comparisons": {"KD helps": ["KD", "KD, 4"], "x": ["hard labels", "KD"]}},
                           "control: 'KD' is not compared with 'hard labels'"),
    "the same arm twice": ({"arms": {"hard labels": HARD, "KD": KD, "again": dict(KD)},
                            "comparisons": {"KD helps": ["KD", "hard labels"], "again": ["again", "hard labels"]}},
                           "control: the arms 'KD' and 'again' are the same"),
    "more epochs": ({"arms": {"hard labels": HARD, "KD": {**KD, "training": {"epochs": 6}}}},
                    "budget: 'KD' gets 6 epochs and 'hard labels' 2"),
    "another learning rate": ({"arms": {"hard labels": HARD, "KD": {**KD, "training": {"lr": 1e-2}}}},
                              "budget: 'KD' and 'hard labels' differ in lr as well, 0.01 and 0.005"),
    "more settings tried": ({"choose": {**CHOOSING, "grids": {"KD": {"T": [1.0, 4.0]}}}},
                            "budget: for 'KD' 2 settings are tried and for 'hard labels' 1"),
    "no time": ({"minutes": None}, "budget: minutes, the most that it may take, is None"),
    "chosen on test images": ({"choose": {**CHOOSING, "on": "test"}}, "choosing: settings are chosen on 'test'"),
    "chosen on nothing said": ({"choose": {key: CHOOSING[key] for key in ("seeds", "grids")}},
                               "choosing: settings are chosen on None"),
    "choosing seeds are measured": ({"choose": {**CHOOSING, "seeds": [3, 100]}},
                                    "choosing: seed 3 chooses settings and is measured"),
    "no seeds to choose by": ({"choose": {**CHOOSING, "seeds": []}}, "choosing: choose['seeds'] are seeds"),
    "nothing to try": ({"choose": {**CHOOSING, "grids": {"KD": {"T": []}}}}, "choosing: the values of T"),
    "one value that is no list": ({"choose": {**CHOOSING, "grids": {"KD": {"T": 4.0}}}}, "choosing: the values of T"),
    "settings of no arm": ({"choose": {**CHOOSING, "grids": {**CHOOSING["grids"], "DKD": {"beta": [1]}}}},
                           "choosing: settings are chosen for 'DKD', which is no arm"),
    "n is open": ({"seeds": "until the interval leaves zero out"}, "seeds: n is not fixed"),
    "no seeds": ({"seeds": None}, "seeds: n is not fixed: seeds is None"),
    "a number of seeds": ({"seeds": 10}, "seeds: n is not fixed: seeds is 10"),
    "one seed": ({"seeds": [0]}, "seeds: one seed has no interval"),
    "two seeds": ({"seeds": [0, 1]}, "seeds: 2 seeds give an interval that holds nearly everything"),
    "a seed twice": ({"seeds": [0, 1, 2, 2]}, "seeds: a seed is there twice"),
    "no margin": ({"margin": None}, "margin: margin, how far from zero still counts as equal, is None"),
    "a margin in points": ({"margin": 0.5}, "margin: margin, how far from zero still counts as equal, is 0.5"),
    "a margin above the effect": ({"margin": 0.1, "effect": 0.05}, "margin: effect, 0.05, lies within the margin"),
    "no pilot": ({"spread": None}, "power: spread is None: run plan.pilot"),
    "too few seeds for the effect": ({"effect": 0.02}, "too wide to see 2 points"),
    "no comparisons": ({"comparisons": {}}, "family: there are no comparisons"),
    "a comparison with an unknown arm": ({"comparisons": {"KD helps": ["KD", "nobody"]}},
                                         "family: the comparison 'KD helps' names 'nobody'"),
    "one with itself": ({"comparisons": {"KD helps": ["KD", "hard labels"], "x": ["KD", "KD"]}},
                        "family: the comparison 'x' compares 'KD' with itself"),
    "one of a single arm": ({"comparisons": {"KD helps": "KD"}}, "two arms are needed, [ours, baseline]"),
    "an arm that nobody reads": ({"arms": {**MINE.arms, "DIST": DIST}}, "family: the arm 'DIST' is in no comparison"),
    "no images": ({"images": {"train": 60}}, "material: images need either a name or a folder"),
    "unknown images": ({"images": {"name": "moon", "train": 60}}, "material: there are no images called 'moon'"),
    "no number of images": ({"images": {"name": "fashion_small"}}, "material: images['train']"),
    "an unknown method": ({"arms": {"hard labels": HARD, "KD": {"method": "kdd"}}}, "unknown method 'kdd'"),
    "no teacher": ({"teacher": None}, "material: arm 'KD' needs a teacher, and there is none"),
    "a teacher of other images": ({"teacher": {"kept": "mnist_cnn"}}, "kept with its answers about mnist_small"),
    "an unknown teacher": ({"teacher": {"kept": "gpt"}}, "material: there is no kept teacher 'gpt'"),
    "half a teacher": ({"teacher": {"network": {"name": "cnn"}}}, "material: the teacher has no epochs"),
    "no epochs": ({"training": {"lr": 1e-3}}, "material: arm 'hard labels' has no epochs"),
    "hard labels with a setting": (of_hard(label_smoothing=0.1), "takes no 'label_smoothing': leave it out, or define"),
    "hard labels with a temperature": (of_hard(T=4.0), "the method 'hard labels' takes no 'T'"),
    "hard labels with lr beside training": (of_hard(lr=0.1), "takes no 'lr': it belongs into training"),
    "an identity of hard labels with a setting": ({"identity": {**MINE.identity, "equals": {**HARD, "T": 2.0}}},
                                                  "identity['equals']: the method 'hard labels' takes no 'T'"),
    "an identity of an unknown method": ({"identity": {**MINE.identity, "arm": {"method": "kdd"}}},
                                         "identity['arm']: unknown method 'kdd'"),
    "a choice that hard labels do not take": (tries("hard labels", weight_decay=[0, 0.01, 0.1]),
                                              "weight_decay is to be chosen for 'hard labels', whose method"),
    "a choice of seeds": (tries("KD", seed=[0, 1]), "seed is no setting that could be chosen for 'KD'"),
    "a choice of seeds for hard labels": (tries("hard labels", seed=[0, 1]), "seed is no setting that could be chosen"),
    "a choice of half epochs": (tries("KD", epochs=[2, 2.5]), "tried for 'KD': epochs is a whole number of at least 1"),
    "a choice of schedules": (tries("KD", schedule=["cosin"]), "tried for 'KD': schedule is one of: constant, cosine"),
    "epochs that are not whole": (trains(epochs=2.5), "training: epochs is a whole number of at least 1; it is 2.5"),
    "no epoch": (trains(epochs=0), "training: epochs is a whole number of at least 1; it is 0"),
    "an lr below zero": (trains(lr=-1), "training: lr is the learning rate, a number above 0 such as 0.002; it is -1"),
    "an lr of zero": (trains(lr=0), "training: lr is the learning rate, a number above 0"),
    "an endless lr": (trains(lr=float("inf")), "training: lr is the learning rate, a number above 0"),
    "empty batches": (trains(batch_size=0), "training: batch_size is a whole number of at least 1; it is 0"),
    "a training with a typo": (trains(epoch=3), "training: there is no setting 'epoch'; choose from: epochs, lr"),
    "an arm's training with a typo": ({"arms": {"hard labels": HARD, "KD": {**KD, "training": {"warmup": 1}}}},
                                      "arm 'KD': training: there is no setting 'warmup'"),
    "an augmentation with a typo": (trains(augment={"padd": 1}), "augment is a dict of the settings of data.Augment"),
    "a teacher that is not trained": ({"teacher": {**TRAINED, "epochs": 0}}, "the teacher: epochs is a whole number"),
    "a teacher with a typo": ({"teacher": {**TRAINED, "lrs": 1}}, "the teacher's 'lrs' is no setting"),
    "an effect in points": ({"effect": 2}, "power: effect is 2: it is a share of the test images, below 1, and not "
                                           "points; 2 points are 0.02"),
    "a spread in points": ({"spread": 1.5}, "power: spread is 1.5: it is a share"),
    "an endless spread": ({"spread": float("inf")}, "power: spread is inf: run plan.pilot"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_plan_is_refused_that(changes, message):
    assert any(message in text for text in said(planned(**changes))), said(planned(**changes))


FORMS = {
    "name": (None, 3), "question": (None, ["why"]), "refuted_by": (None, 1),
    "images": ("digits", None, {"name": ["digits"], "train": 60}),
    "teacher": ("fashion_cnn", ["fashion_cnn"], {"kept": {}}, {"network": "cnn", "epochs": 1, "lr": 0.1}),
    "student": ("mlp", None, {"hidden": [16]}), "training": (None, [2, 0.1], {"epochs": "2", "lr": 0.1}),
    "arms": (None, ["kd"], {"a": "kd"}, {"a": {"T": 4.0}}, {"a": {"method": ["kd"]}}, {"a": {**KD, "training": 3}}),
    "choose": (None, [], {"on": "valid", "grids": None}, {"on": "valid", "grids": {"KD": ["T"]}}),
    "comparisons": (None, [["KD", "hard labels"]], {"KD helps": 3}, {"KD helps": [["KD"], "hard labels"]}),
    "margin": ("0.01", [0.01], True), "effect": ("0.1",), "spread": ({},), "minutes": ("5", [5]),
    "identity": ("kd", {"says": "?"}, {"says": "?", "arm": "kd", "equals": HARD}),
    "prediction": ({"comparison": ["KD helps"], "points": [0, 20]},),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FORMS.items() for value in values])
def test_an_entry_of_another_form_is_refused_with_an_example_of_the_right_one(name, value, tmp_path):
    [text] = said(planned(**{name: value}))
    assert text.startswith(f"form: {name} is ") and "is to look so: " in text
    plan.write(planned(**{name: value}), tmp_path)
    for ask in (plan.run, plan.minutes, lambda folder: plan.pilot(folder, seeds=[50, 51])):
        with pytest.raises(plan.Refused, match="is to look so"):
            ask(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


@pytest.mark.parametrize("name", FORMS)
def test_the_example_of_a_form_has_it(name):
    from kdcourse.plan.refusals import FORMS as known

    right, example = known[name]
    assert all(right(json.loads(one)) for one in example.replace(", or ", "|").split("|"))


@pytest.mark.parametrize(("changes", "message"), [
    (tries("KD", T=[0.0, 4.0]), "T"), (tries("KD", alpha=[0.5, 9.0]), "alpha"),
    ({"identity": {**MINE.identity, "arm": {**KD, "beta": 1.0}}}, "beta")])
def test_what_would_fail_while_it_is_measured_is_found_before_anything_is_registered(changes, message, tmp_path):
    plan.write(planned(**({"choose": CHOOSING} | changes)), tmp_path)
    with pytest.raises((TypeError, ValueError), match=message):
        plan.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


@pytest.mark.parametrize("key", ["epoch", "valid_accuracy"])
def test_a_setting_called_as_a_column_of_the_results_is_refused_before_anything_is_trained(key):
    arms = {**MINE.arms, "half": {"method": "idea.py:Half", "alpha": 0.8}}
    found = said(planned(arms=arms, **tries("half", **{key: [5, 6]})))
    assert any(f"{key} is no setting that could be chosen for 'half'" in text and "call the setting" in text
               for text in found)


def test_a_control_that_trains_longer_than_ours_is_no_advantage_and_is_not_refused():
    assert said(planned(arms={"hard labels": {**HARD, "training": {"epochs": 6}}, "KD": KD})) == []


def test_an_idea_without_a_teacher_needs_no_plain_kd():
    arms = {"hard labels": HARD, "idea": {"method": "idea.py:Smoothed", "share": 0.1}}
    changes = {"arms": arms, "teacher": None, "comparisons": {"KD helps": ["idea", "hard labels"]}, "identity": None}
    assert said(planned(**changes)) == []


def test_the_half_width_is_that_of_the_interval_of_such_differences():
    spread = torch.tensor([0.01, 0.03, 0.02, 0.05, -0.01], dtype=torch.double)
    mean, low, high = metrics.interval(spread.tolist())
    assert plan.half_width(spread.std().item(), 5) == pytest.approx(high - mean) == pytest.approx(mean - low)
    assert plan.half_width(0.02, 4000) == pytest.approx(1.96 * 0.02 / 4000**0.5, rel=1e-3)


@pytest.mark.parametrize(("spread", "effect"), [(0.01, 0.01), (0.01, 0.03), (0.02, 0.01), (0.005, 0.05)])
def test_with_the_seeds_needed_the_effect_is_two_half_widths_away_and_with_one_fewer_it_is_not(spread, effect):
    n = plan.seeds_needed(spread, effect)
    assert plan.half_width(spread, n) <= effect / 2
    assert n == 2 or plan.half_width(spread, n - 1) > effect / 2


def test_at_two_half_widths_nearly_every_study_sees_the_effect_and_at_one_every_second():
    n, spread = 12, 0.01
    for effect, share in ((2 * plan.half_width(spread, n), 0.98), (plan.half_width(spread, n), 0.5)):
        beyond = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, effect * n**0.5 / spread)
        assert beyond == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("call", [lambda: plan.half_width(0, 5), lambda: plan.half_width(0.01, 1),
                                  lambda: plan.seeds_needed(0.01, 0), lambda: plan.seeds_needed(1.0, 1e-4)])
def test_numbers_without_an_interval_are_refused(call):
    with pytest.raises(ValueError, match=r"spread|two seeds|effect|seeds would be needed"):
        call()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A plan with choosing, run and drafted."""
    folder = tmp_path_factory.mktemp("study")
    plan.write(planned(choose=CHOOSING), folder)
    plan.run(folder)
    plan.draft(folder)
    return folder


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__")))


def test_a_plan_is_the_same_after_it_was_written_and_read(tmp_path):
    plan.write(MINE, tmp_path)
    assert plan.fingerprint(plan.read(tmp_path)) == plan.fingerprint(MINE)
    assert plan.fingerprint(planned(margin=0.006)) != plan.fingerprint(MINE)


def test_seeds_may_be_a_range_and_pairs_tuples_and_the_plan_stays_the_same(tmp_path):
    other = planned(seeds=range(4), comparisons={"KD helps": ("KD", "hard labels")})
    plan.write(other, tmp_path)
    assert plan.refusals(other) == [] and plan.fingerprint(plan.read(tmp_path)) == plan.fingerprint(MINE)


def test_a_setting_that_a_method_does_not_have_is_named_before_anything_is_registered(tmp_path):
    for changes in ({"arms": {**MINE.arms, "KD": {**KD, "temperature": 4}}},
                    {"choose": {**CHOOSING, "grids": {**CHOOSING["grids"], "KD": {"Temp": [1.0, 4.0]}}}}):
        plan.write(planned(**changes), tmp_path)
        with pytest.raises(TypeError, match=r"temperature|Temp"):
            plan.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


@pytest.mark.parametrize(("text", "message"), [
    (None, "there is no study.json"), ("{", "is no JSON"), ("[]", "has no name"),
    ('{"name": "x", "marign": 0.1}', "an entry 'marign' that no plan has")])
def test_a_file_that_is_no_plan_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "study.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        plan.read(tmp_path)


def test_a_refused_plan_is_not_run_and_leaves_nothing(tmp_path):
    plan.write(planned(seeds=[0]), tmp_path)
    with pytest.raises(plan.Refused, match="one seed has no interval") as caught:
        plan.run(tmp_path)
    assert {one.kind for one in caught.value.refusals} == {"seeds"}
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def test_a_plan_that_takes_longer_than_its_minutes_is_not_run(tmp_path):
    plan.write(planned(minutes=1e-6), tmp_path)
    with pytest.raises(ValueError, match=r"it would take up to .* minutes here, and the plan says 1e-06"):
        plan.run(tmp_path)


def test_a_plan_that_is_changed_after_it_was_registered_or_run_is_refused(tmp_path, finished):
    plan.write(MINE, tmp_path)
    plan.register(tmp_path)
    plan.write(planned(margin=0.006), tmp_path)
    with pytest.raises(ValueError, match="was changed after"):
        plan.run(tmp_path)
    with pytest.raises(ValueError, match="holds the results of another plan"):
        plan.write(planned(choose=CHOOSING, margin=0.006), finished)


def test_every_arm_is_measured_from_every_seed_and_settings_are_those_best_on_validation_images(finished):
    results = plan.kept(finished, plan.RESULTS)
    for arm in MINE.arms:
        assert [row["seed"] for row in results["rows"][arm]] == MINE.seeds
        means = {str(entry["point"]): sum(entry["valid_accuracy"]) for entry in results["tried"][arm]}
        assert means[str(results["points"][arm])] == max(means.values()) and len(means) == 2
        assert all(len(entry["valid_accuracy"]) == 2 for entry in results["tried"][arm])
    assert results["images"] == 2000 and results["teacher"] == pytest.approx(0.91, abs=0.01)


def test_an_arm_is_what_its_own_training_gives(finished):
    from kdcourse import distillers, models, train, trained

    results, whole = plan.kept(finished, plan.RESULTS), data.load("fashion_small")
    rows = stratified(whole.train.y, 60, 0)
    source = whole.with_train(whole.train.take(rows, "few"))
    network = models.build("mlp", source.shape, 10, seed=2, hidden=(16,))
    bank = trained.answers("fashion_cnn")["train"].table[:, rows]
    bank = running.LogitBank(bank, origin=source.train.origin(), teacher="CNN")
    distiller = distillers.KD(network, bank, T=results["points"]["KD"]["T"], alpha=0.9)
    train.fit(distiller, source, epochs=2, lr=5e-3, batch_size=20, seed=2)
    right = metrics.accuracy(metrics.predict(network, source.test), source.test.y)
    assert results["rows"]["KD"][2]["accuracy"] == pytest.approx(right, abs=0.002)


def test_what_was_run_is_read_and_not_run_again(finished, monkeypatch):
    monkeypatch.setattr(running, "measured", None)
    assert plan.run(finished) == plan.kept(finished, plan.RESULTS)


def test_the_test_images_have_no_part_in_what_is_chosen(tmp_path):
    mine = planned(choose=CHOOSING)
    found = running.material(mine, tmp_path)
    others = replace(found.source.test, y=(found.source.test.y + 1) % 10)
    swapped = running.Material(replace(found.source, test=others), found.network, -found.said, found.bank)
    for arm in mine.arms:
        assert running.searched(mine, arm, swapped, tmp_path, [100, 101]) == running.searched(
            mine, arm, found, tmp_path, [100, 101])


def test_a_teacher_that_is_trained_learns_from_images_that_no_student_gets(tmp_path):
    mine = planned(images={"name": "digits", "train": 600}, teacher=TRAINED)
    found = running.material(mine, tmp_path)
    assert len(found.source.train) == 600 and 0.3 < metrics.accuracy(found.said, found.source.test.y)
    whole = data.load("digits")
    with pytest.raises(ValueError, match="a teacher learns from images that its students do not get"):
        running.material(replace(mine, images={"name": "digits", "train": len(whole.train)}), tmp_path)
    with pytest.raises(ValueError, match="the students get 99,999 training images, and there are"):
        running.material(replace(mine, images={"name": "digits", "train": 99_999}), tmp_path)


def hash_of(label: str, number: int) -> int:
    return 1000 * sum(map(ord, label)) + number


def test_students_of_a_folder_get_images_of_every_class_and_the_teacher_the_others(tmp_path):
    from PIL import Image

    for label in ("cat", "dog", "owl"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(40):
            pixels = torch.randint(256, (8, 8), generator=torch.Generator().manual_seed(hash_of(label, number))).byte()
            Image.fromarray(pixels.numpy()).save(tmp_path / "pictures" / label / f"{number}.png")
    mine = planned(images={"folder": "pictures", "train": 9}, teacher=TRAINED)
    assert said(mine) == []
    found = running.material(mine, tmp_path)
    assert found.source.train.y.bincount().tolist() == [3, 3, 3] and len(found.source.classes) == 3
    (tmp_path / "pictures" / "cat" / "copy.png").write_bytes((tmp_path / "pictures" / "cat" / "0.png").read_bytes())
    for label in ("dog", "owl"):    # twenty pictures twice each: some land on both sides, whatever the draw
        for number in range(20):
            with Image.open(tmp_path / "pictures" / label / f"{number}.png") as twin:  # of other bytes in the file
                twin.save(tmp_path / "pictures" / label / f"{number} again.bmp")
    with pytest.raises(ValueError, match="test images are among the training images, pixel by pixel"):
        running.material(mine, tmp_path)


IDEA = """from kdcourse import distillers
class Half(distillers.KD):
    def __init__(self, student, teacher, *, alpha, T=2.0):
        super().__init__(student, teacher, T=T, alpha=alpha / 2)
"""


HALF = {"method": "idea.py:Half", "alpha": 0.8}


def of_half(says: str, equals: dict) -> plan.Plan:
    """A plan that asks about the method in idea.py beside KD and hard labels, and says what it equals."""
    return planned(
        arms={"hard labels": HARD, "KD": KD, "half": HALF}, seeds=[0, 1, 2], effect=0.2,
        identity={"says": says, "arm": HALF, "equals": equals},
        comparisons={"KD helps": ["half", "KD"], "any": ["half", "hard labels"]})


def test_an_idea_in_a_file_beside_the_plan_is_trained_and_its_identity_is_checked(tmp_path):
    (tmp_path / "idea.py").write_text(IDEA)
    plan.write(of_half("half of 0.8 is 0.4", {**KD, "alpha": 0.4}), tmp_path)
    assert plan.run(tmp_path)["identity"] < 1e-6
    wrong = planned(identity={"says": "?", "arm": HALF, "equals": {**KD, "alpha": 0.8}})
    assert running.gap(wrong, running.material(wrong, tmp_path), tmp_path) > 1e-3


@pytest.fixture(scope="module")
def with_idea(tmp_path_factory) -> Path:
    """A plan with a method in a file, and another one in its identity alone, run and drafted."""
    folder = tmp_path_factory.mktemp("idea")
    (folder / "idea.py").write_text(IDEA)
    (folder / "limit.py").write_text(IDEA.replace("Half", "Limit"))
    plan.write(of_half("one is the other", {**HALF, "method": "limit.py:Limit"}), folder)
    plan.run(folder)
    plan.draft(folder)
    return folder


@pytest.mark.parametrize("file", ["idea.py", "limit.py"])
@pytest.mark.parametrize("change", [lambda path: path.write_text(path.read_text().replace("/ 2", "/ 3")),
                                    lambda path: path.write_text(path.read_text() + "\n"), Path.unlink])
def test_a_method_that_is_changed_after_it_was_registered_or_measured_is_refused(with_idea, tmp_path, monkeypatch, file,
                                                                                 change):
    folder = copied(with_idea, tmp_path / "mine")
    before = (folder / file).read_bytes()
    change(folder / file)
    for ask in (plan.run, plan.draft):
        with pytest.raises(ValueError, match=rf"results of another method \({file} had the SHA-256 \w{{12}} and has"):
            ask(folder)
    with pytest.raises(ValueError, match=rf"was changed after \S+, when it was registered \({file} had"):
        plan.register(folder)
    monkeypatch.setattr(running, "once_more", lambda *_: 0.0)
    [mark] = [mark for mark in plan.marks(folder) if mark.title.startswith("Question")]
    assert mark.machine == 2 and file in mark.why[0]
    (folder / file).write_bytes(before)
    assert plan.run(folder) == plan.kept(folder, plan.RESULTS) and plan.register(folder)


WITH_HELPERS = """from share import of_alpha
from kdcourse import distillers
class Half(distillers.KD):
    def __init__(self, student, teacher, *, alpha, T=2.0):
        super().__init__(student, teacher, T=T, alpha=of_alpha(alpha))
"""
HELPERS = {"share.py": "from parts import small\ndef of_alpha(alpha):\n    return alpha * small.HALF\n",
           "parts/__init__.py": "", "parts/small.py": "HALF = 0.5\n"}


@pytest.fixture(scope="module")
def with_helpers(tmp_path_factory) -> Path:
    """A method whose file imports another beside the plan, which imports a package there; run."""
    folder = tmp_path_factory.mktemp("helpers")
    for name, content in {"idea.py": WITH_HELPERS, **HELPERS, "aside.py": "nobody imports it"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    plan.write(of_half("half of 0.8 is 0.4", {**KD, "alpha": 0.4}), folder)
    assert plan.run(folder)["identity"] < 1e-6
    return folder


@pytest.mark.parametrize("file", HELPERS)
def test_what_a_method_imports_from_beside_the_plan_belongs_to_it(with_helpers, tmp_path, file):
    folder = copied(with_helpers, tmp_path / "mine")
    assert set(plan.kept(folder, plan.RESULTS)["files"]) == {"idea.py", *HELPERS}
    (folder / "aside.py").write_text("# and changes nothing")
    assert plan.run(folder)["rows"]
    (folder / file).write_text((folder / file).read_text().replace("0.5", "0.25") + "\n")
    with pytest.raises(ValueError, match=rf"results of another method \({file} had the SHA-256 \w{{12}} and has"):
        plan.run(folder)


def test_two_plans_whose_helpers_have_one_name_each_import_their_own(with_helpers, tmp_path, monkeypatch):
    folder, elsewhere = copied(with_helpers, tmp_path / "mine"), type(sys)("share")
    (folder / "parts" / "small.py").write_text("HALF = 0.25\n")
    monkeypatch.setitem(sys.modules, "share", elsewhere)    # as a notebook in another folder has imported it
    student, teacher = (models.build("mlp", (1, 8, 8), 10, seed=seed) for seed in range(2))
    made = [running._own("idea.py:Half", where)(student, teacher, alpha=0.8).alpha for where in (with_helpers, folder)]
    assert made == [pytest.approx(0.4), pytest.approx(0.2)]
    assert sys.modules["share"] is elsewhere and "parts" not in sys.modules and str(folder) not in sys.path


def test_a_folder_of_an_earlier_version_that_says_nothing_of_files_is_read_as_before(with_idea, tmp_path):
    folder = copied(with_idea, tmp_path / "mine")
    for name in (plan.REGISTERED, plan.RESULTS):
        content = plan.kept(folder, name)
        assert set(content.pop("files")) == {"idea.py", "limit.py"}
        (folder / name).write_text(json.dumps(content))
    assert plan.run(folder)["rows"] and plan.register(folder)["registered"] and plan.draft(folder)
    (folder / "notes.py").write_text("")    # which no arm names
    assert plan.run(folder)["rows"]


def test_a_run_that_was_interrupted_goes_on_after_its_last_finished_arm(finished, tmp_path, monkeypatch):
    trained, paired, searched = [], running.study.paired, running.searched

    def once(student, lessons, *settings, **more):
        trained.append(next(iter(lessons)))
        if trained == ["hard labels", "KD"]:
            raise KeyboardInterrupt
        return paired(student, lessons, *settings, **more)

    plan.write(planned(choose=CHOOSING), tmp_path)
    monkeypatch.setattr(running.study, "paired", once)
    with pytest.raises(KeyboardInterrupt):
        plan.run(tmp_path)
    monkeypatch.setattr(running, "searched", lambda *_: searched(*_) if not trained else pytest.fail("searched again"))
    again = plan.run(tmp_path)
    assert trained == ["hard labels", "KD", "KD"]
    whole = plan.kept(finished, plan.RESULTS)
    assert all(again[key] == whole[key] for key in ("rows", "tried", "points", "plan", "identity"))
    assert {path.name for path in tmp_path.iterdir()} == {"study.json", "registered.json", "results.json"}


@pytest.mark.parametrize(("method", "message"), [("other.py:Half", "there is no other.py beside the plan"),
                                                 ("../idea.py:Half", "beside the plan"),
                                                 ("idea.py:Whole", "idea.py has no Whole")])
def test_an_idea_that_is_not_there_is_named(tmp_path, method, message):
    (tmp_path / "idea.py").write_text(IDEA)
    with pytest.raises(ValueError, match=message):
        running.lesson(MINE, {"method": method}, running.Material(None, bank=object()), tmp_path)


def test_a_pilot_compares_on_validation_images_by_seeds_that_are_not_measured(tmp_path, monkeypatch):
    plan.write(planned(spread=None), tmp_path)
    monkeypatch.setattr(running, "measured", None)
    found = plan.pilot(tmp_path, seeds=[50, 51, 52])
    assert len(found) == 3 and all(abs(1000 * gap - round(1000 * gap)) < 1e-6 for gap in found)  # of 1,000 images
    with pytest.raises(ValueError, match="two seeds or more that are not measured later"):
        plan.pilot(tmp_path, seeds=[0, 50])


def test_the_verdicts_of_a_report_are_those_of_the_family(finished):
    results, text = plan.kept(finished, plan.RESULTS), (finished / "report.md").read_text()
    ours, theirs = ([row["accuracy"] for row in results["rows"][arm]] for arm in ("KD", "hard labels"))
    expected = metrics.family({"KD helps": (ours, theirs)}, images=2000, margin=0.005)["KD helps"]
    assert f"| KD helps | KD - hard labels | {expected} |" in text
    assert (finished / "differences.png").stat().st_size > 2000


def test_a_second_draft_keeps_the_readers_sentences_and_mends_the_machines_numbers(finished, tmp_path):
    folder = copied(finished, tmp_path / "mine")
    path = folder / "report.md"
    before = path.read_text()
    mine = before.replace("WRITE: why this", "My own sentence: why this")
    path.write_text(mine.replace("n = 4 seeds", "n = 40 seeds"))
    plan.draft(folder)
    assert path.read_text() == mine != before


def answered(folder: Path, verdict: str) -> Path:
    """The report with every sentence written."""
    path = folder / "report.md"
    path.write_text(path.read_text().replace("WRITE: its verdict", verdict).replace("WRITE:", "Because"))
    return folder


def by_machine(folder: Path) -> dict[str, int]:
    return {key: mark.machine for key, mark in zip(rubric.PARTS, plan.marks(folder), strict=True)}


FULL = {key: part.machine for key, part in rubric.PARTS.items()}


def verdict_of(folder: Path) -> str:
    return plan.compared(plan.read(folder), plan.kept(folder, plan.RESULTS))["KD helps"].verdict


def test_an_honest_report_earns_every_point_that_a_machine_gives(finished, tmp_path):
    folder = answered(copied(finished, tmp_path / "mine"), verdict_of(finished))
    assert by_machine(folder) == FULL and plan.unwritten((folder / "report.md").read_text()) == []


def changed_results(folder: Path, change) -> None:
    results = plan.kept(folder, plan.RESULTS)
    change(results)
    (folder / plan.RESULTS).write_text(json.dumps(results))


CHEATS = {
    "not registered": (lambda folder: (folder / "registered.json").unlink(), {"question": 2}),
    "another verdict": (lambda folder: (folder / "report.md").write_text((folder / "report.md").read_text().replace(
        "| KD helps | ", "| KD helps | clearly ", 2)), {"evidence": 7}),
    "a number that was polished": (lambda folder: (folder / "report.md").write_text(
        (folder / "report.md").read_text().replace("n = 4 seeds", "n = 40 seeds")), {"evidence": 11}),
    "a comparison left out": (lambda folder: (folder / "report.md").write_text("\n".join(
        line for line in (folder / "report.md").read_text().splitlines() if not line.startswith("| Because what"))),
        {"evidence": 12}),
    "no fidelity": (lambda folder: (folder / "report.md").write_text(
        (folder / "report.md").read_text().replace("<!-- machine: fidelity -->", "")), {"fidelity": 0}),
    "no cost": (lambda folder: (folder / "report.md").write_text(
        (folder / "report.md").read_text().replace("<!-- machine: cost -->", "")), {"cost": 0}),
    "no identity": (lambda folder: changed_results(folder, lambda results: results.update(identity=None)),
                    {"identity": 0}),
}


@pytest.mark.parametrize(("cheat", "lost"), CHEATS.values(), ids=CHEATS)
def test_the_machine_takes_points_for(finished, tmp_path, monkeypatch, cheat, lost):
    monkeypatch.setattr(running, "once_more", lambda *_: 0.0)
    folder = answered(copied(finished, tmp_path / "mine"), verdict_of(finished))
    cheat(folder)
    assert by_machine(folder) == FULL | lost


def test_accuracies_that_nobody_measured_are_found_when_it_is_run_again(finished, tmp_path):
    folder = copied(finished, tmp_path / "mine")
    changed_results(folder, lambda results: results["rows"]["KD"][0].update(accuracy=0.9))
    [again] = [mark for mark in plan.marks(folder) if mark.title.startswith("Measured again")]
    assert again.machine == 0 and "an accuracy differs by" in again.why[0]


def test_a_persons_points_are_added_and_more_than_there_are_is_refused(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(running, "once_more", lambda *_: 0.0)
    folder = copied(finished, tmp_path / "mine")
    (folder / "referee.json").write_text(json.dumps({"controls": [7, "no other teacher"]}))
    found = plan.marks(folder)
    assert [mark.person for mark in found if mark.person is not None] == [7]
    assert "by a person 7 of 50" in plan.told(found)
    (folder / "referee.json").write_text(json.dumps({"controls": [11, "generous"]}))
    with pytest.raises(ValueError, match="gives 11 for controls, and there are 10"):
        plan.marks(folder)


def test_the_rubric_has_100_points_half_of_them_by_machine_and_its_page_is_what_the_code_says():
    assert sum(part.machine for part in rubric.PARTS.values()) == 50
    assert sum(part.person for part in rubric.PARTS.values()) == 50
    assert Path(rubric.__file__).with_name("rubric.md").read_text() == rubric.sheet()


def test_the_command_plans_runs_reports_and_checks_a_folder(tmp_path, monkeypatch, capsys):
    plan.write(planned(seeds=[0, 1, 2], effect=0.2), tmp_path)
    for words in (["study", "plan"], ["study", "run"], ["study", "report"]):
        assert cli.main([*words, str(tmp_path)]) == 0
    assert cli.main(["check", str(tmp_path)]) == 1  # nobody has written the sentences
    told = capsys.readouterr().out
    parts = "minutes at most", "holds what was measured", "the sentences are yours", "by machine", "still to write"
    assert [part for part in parts if part not in told] == []


def test_a_cost_is_that_of_what_an_arm_deploys(tmp_path):
    arms = {"hard labels": HARD, "KD": KD, "SimKD": {"method": "simkd"}}
    mine = planned(student={"name": "cnn", "width": 4}, arms=arms)
    found = running.material(mine, tmp_path)
    rows = {row["network"]: row for row in running.costs(mine, found, tmp_path, {"KD": {"T": 4.0, "lr": 1e-3}})}
    assert list(rows) == ["student", "student, SimKD", "teacher"]
    assert rows["student, SimKD"]["parameters"] > rows["student"]["parameters"]
    assert rows["student, SimKD"]["multiply_adds"] > rows["student"]["multiply_adds"]
