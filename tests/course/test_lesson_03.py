"""Lesson 03: its checks name the misconception, what is written by hand is the package's, its ledger says what the
result files hold, and the table of systems names sections that there are."""

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lessons import by_hand, cell_of, prose, written_by_hand

from kdcourse import distillers, losses, metrics, study
from kdcourse.marking import checks

ROOT = Path(__file__).parents[2]
LESSON = ROOT / "notebooks" / "03_hints_and_relations.ipynb"
SETS = ["hints", *sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("hints_*.json"))]


def features(*widths, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(7, width, 3, 5, generator=draw) for width in widths]


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("attention_map", lambda f: f.square().mean(1).flatten(1), "not divided by its length"),
    ("attention_map", lambda f: F.normalize(f.abs().mean(1).flatten(1)), "not squared"),
    ("attention_map", lambda f: (q := f.square().mean(1).flatten(1)) / q.sum(1, keepdim=True), "divided by its sum"),
    ("attention_map", lambda f: F.normalize(f.square().amax(1).flatten(1)), "largest channel"),
    ("similarity_matrix", lambda f: f.flatten(1) @ f.flatten(1).T, "not divided by their lengths"),
    ("similarity_matrix", lambda f: F.normalize(f.flatten(1)) @ F.normalize(f.flatten(1)).T, "these are cosines"),
    ("similarity_matrix", lambda f: F.normalize(f.flatten(1) @ f.flatten(1).T, dim=0), "the columns are divided"),
    ("regressor_loss", lambda f_s, f_t, r: (r(f_s) - f_t).square().mean(), "not divided by the mean square"),
    ("regressor_loss", lambda f_s, f_t, r: (r(f_s) - f_t).abs().mean() / f_t.square().mean(), "is not squared"),
    ("regressor_loss", lambda f_s, f_t, r: (r(f_s) - f_t).square().sum() / f_t.square().mean(), "are summed"),
    ("regressor_loss", lambda f_s, f_t, r: (r(f_s) - f_t).square().mean() / r(f_s).square().mean(),
     "the teacher's is the unit"),
    ("regressor_loss", lambda f_s, f_t, r: (r(f_s.detach()) - f_t).square().mean() / f_t.square().mean(),
     "no gradient reaches the student"),
    ("regressor_loss", lambda f_s, f_t, r: ..., "was returned, not a number"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)


@pytest.mark.parametrize("name", ["attention_map", "similarity_matrix", "regressor_loss"])
def test_what_the_lesson_writes_by_hand_is_right_by_its_own_check(name, capsys):
    checks.CHECKS[name](by_hand("03_hints_and_relations")[name])
    assert f"{name}: right" in capsys.readouterr().out


def test_what_the_lesson_writes_by_hand_is_the_package_s():
    hand, (f_s, f_t) = by_hand("03_hints_and_relations"), features(4, 9)
    gap = hand["attention_map"](f_s) - hand["attention_map"](f_t)
    torch.testing.assert_close(gap.square().mean(), losses.attention_loss(f_s, f_t))
    gap = hand["similarity_matrix"](f_s) - hand["similarity_matrix"](f_t)
    torch.testing.assert_close(gap.square().mean(), losses.similarity_loss(f_s, f_t))
    weight = torch.rand(9, 4, 1, 1)
    torch.testing.assert_close(hand["regressor_loss"](f_s, f_t, lambda f: F.conv2d(f, weight)),
                               losses.hint_loss(F.conv2d(f_s, weight), f_t, relative=True))


def test_a_right_answer_written_in_another_way_passes(capsys):
    checks.CHECKS["attention_map"](lambda f: F.normalize((f**2).sum(dim=1).reshape(len(f), -1), dim=1))
    checks.CHECKS["similarity_matrix"](lambda f: F.normalize(torch.einsum("bchw,dchw->bd", f, f), dim=1))
    checks.CHECKS["regressor_loss"](lambda f_s, f_t, r: F.mse_loss(r(f_s), f_t) / (f_t**2).mean())
    assert capsys.readouterr().out.count("right") == 3


# the ledger

def accuracies(name: str) -> dict[str, list[float]]:
    return {arm: [row["accuracy"] for row in runs] for arm, runs in study.recorded(name)["results"]["cells"].items()}


@pytest.mark.parametrize("name", SETS)
def test_the_verdicts_of_the_ledger_are_those_after_the_correction_for_its_family(name):
    ledger = cell_of("03_hints_and_relations", "ledger").source
    arms, checked = accuracies(name), []
    for baseline in ("hard labels", "KD"):
        others = [arm for arm in study.recorded(name)["settings"]["points"] if arm != baseline]
        family = metrics.family({arm: (arms[arm], arms[baseline]) for arm in others}, images=2_000)
        where = rf"`{name}`: `cells / ([^`]+)` against `cells / {baseline}`, `accuracy`"
        cited = re.findall(rf"{where} \| [^|]*\| ([^|]+) \|", ledger)
        checked += [arm for arm, _ in cited if arm in family]
        for arm, said in cited:
            if arm in family:
                expected = {"better": "better", "worse": "worse"}.get(family[arm].verdict, "not shown")
                assert said.endswith(f", {expected}"), (arm, said, family[arm])
    assert checked


@pytest.mark.parametrize("name", SETS[1:])
def test_a_second_set_of_hints_has_other_seeds_or_another_teacher_and_the_same_settings(name):
    first, other = study.recorded("hints"), study.recorded(name)
    same_teacher = other["settings"]["teacher"] == first["settings"]["teacher"]
    assert len(other["seeds"]) == 10 and not (same_teacher and set(first["seeds"]) & set(other["seeds"]))
    assert all(other["settings"][key] == first["settings"][key] for key in ("points", "lr", "images", "epochs"))


def test_the_twins_that_are_worse_than_hard_labels_are_those_that_the_text_names():
    cells_of = accuracies("hints")
    twins = {name.removesuffix(", other images"): (values, cells_of["hard labels"])
             for name, values in cells_of.items() if name.endswith(", other images")}
    found = metrics.family(twins, images=2_000)
    worse = [name for name, comparison in found.items() if comparison.verdict == "worse"]
    assert worse == ["KD", "RKD", "SimKD"] and set(found) - set(worse) == {"FitNet", "cosine", "SP"}
    assert all(comparison.verdict != "better" for comparison in found.values())
    text = cell_of("03_hints_and_relations", "controls-seen").source
    assert "With others KD, RKD and SimKD are *worse* than hard labels" in text
    assert "For FitNet, cosine and SP no harm is shown" in text


def test_every_arm_of_the_headline_has_ten_seeds_and_each_is_paired_with_hard_labels():
    kept = study.recorded("hints")
    for arm, runs in kept["results"]["cells"].items():
        seeds = [run["seed"] for run in runs]
        wanted = kept["seeds"][:5] if arm.endswith(("a tenth", "ten times")) else kept["seeds"]
        assert seeds == wanted, arm
    assert len(kept["seeds"]) >= 10 and not set(kept["seeds"]) & set(kept["settings"]["choosing_seeds"])


def test_the_chosen_weights_are_the_best_on_validation_images():
    kept = study.recorded("hints")
    tried = kept["results"]["validation"]
    for method, point in kept["settings"]["points"].items():
        words = ", ".join([method, *(f"{name} = {value:g}" for name, value in point.items())])
        mine = [value for name, value in tried.items() if name.split(", ")[0] == method]
        assert tried[words] == max(mine), method


# the systems of two texts

def systems() -> list[list[str]]:
    lines = (ROOT / "book" / "systems.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if row[0] != "system of the text" and not set(row[0]) <= set("- ")]


def missing(place: str, notebooks: Path) -> str:
    """What is wrong with a place such as "02, section 8"; nothing if it is there."""
    found = re.fullmatch(r"(\d\d)(?:, section (\d+))?", place)
    if not found:
        return f"{place!r} is no lesson and section"
    number, section = found.groups()
    lessons = sorted(notebooks.glob(f"{number}_*.ipynb"))
    if not lessons:
        return f"there is no lesson {number}"
    text = prose(lessons[0])
    return "" if section is None or f"\n## {section} · " in f"\n{text}" else f"lesson {number} has no section {section}"


def test_every_system_has_a_place_in_the_course_that_is_there():
    rows = systems()
    assert len(rows) >= 40 and all(len(row) == 5 for row in rows)
    assert [problem for row in rows if (problem := missing(row[2], LESSON.parent))] == []


def test_what_the_systems_cite_is_in_the_package():
    notebooks = sorted(LESSON.parent.glob("*.ipynb"))
    hand = "".join(source for path in notebooks for source in written_by_hand(path.stem))
    results = {path.stem for path in (ROOT / "benchmarks" / "results").glob("*.json")}
    for system, method, _, blank, evidence in systems():
        for name in re.findall(r"\b(?:KD|FitNet|Cosine|AT|MGD|SimKD|SP|RKD|DML|MultiTeacher|ReviewKD|OFD|ProKD|IPWD|"
                               r"ESKD|DKD|ATS|DIST|CTKD)\b", method):
            assert hasattr(distillers, name), system
        for name in re.findall(r"`(\w+)`", blank):
            assert f"def {name}(" in hand, (system, name)
        for name in re.findall(r"`(\w+)`", evidence):
            assert name in results, (system, name)


@pytest.mark.parametrize(("place", "problem"), [
    ("03, section 4", ""), ("03, section 99", "lesson 03 has no section 99"),
    ("12, section 1", "there is no lesson 12"), ("somewhere", "no lesson and section"),
])
def test_a_place_that_is_not_there_is_found(place, problem):
    found = missing(place, LESSON.parent)
    assert (problem in found) if problem else found == ""
