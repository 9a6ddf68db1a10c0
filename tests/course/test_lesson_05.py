"""Lesson 05: its checks name the misconception, what is written by hand is the package's, and every method of the
survey is taught where the lesson says."""

import re
from pathlib import Path

import nbformat
import pytest
import torch
from lessons import by_hand, run

from kdcourse import losses, metrics, study, viz
from kdcourse.marking import checks

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LESSON = nbformat.read(NOTEBOOKS / "05_mind_the_gap.ipynb", 4)
IN_THE_SURVEY = ("TAKD", "IPWD", "ESKD", "DKD", "ATS", "DIST", "CTKD", "MGD", "SimKD")


def logits():
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = (3 * torch.randn(8, 5, generator=draw) for _ in range(2))
    return z_s, z_t, torch.randint(5, (8,), generator=draw)


def test_the_two_parts_written_by_hand_are_those_of_the_package_and_add_up_to_kd():
    hand, (z_s, z_t, y) = by_hand("05_mind_the_gap"), logits()
    target, rest = (hand[name](z_s, z_t, y, 3) for name in ("target_part", "rest_part"))
    torch.testing.assert_close(target, losses.target_kl(z_s, z_t, y, T=3))
    torch.testing.assert_close(rest, losses.non_target_kl(z_s, z_t, y, T=3))
    left = 1 - (z_t / 3).softmax(1)[torch.arange(8), y]
    torch.testing.assert_close(target + left * rest, losses.soft_kl(z_s, z_t, T=3))


def test_the_standardisation_written_by_hand_is_that_of_lskd():
    hand, (z_s, z_t, _) = by_hand("05_mind_the_gap"), logits()
    torch.testing.assert_close(hand["standardised"](z_t), losses.standardised(z_t))
    by_kd = losses.kd_loss(hand["standardised"](z_s), hand["standardised"](z_t), T=2)
    torch.testing.assert_close(by_kd, losses.lskd_loss(z_s, z_t, T=2))


def test_in_the_chain_written_by_hand_only_the_neighbour_teaches():
    taught = []
    by_hand("05_mind_the_gap")["chain"](["large", "small", "student"], "teacher", lambda *pair: taught.append(pair))
    assert taught == [("large", "teacher"), ("small", "large"), ("student", "small")]


def from_the_teacher(networks, teacher, teach):
    for network in networks:
        teach(network, teacher)


def backwards(networks, teacher, teach):
    by_hand("05_mind_the_gap")["chain"](networks[::-1], teacher, teach)


def without_the_student(networks, teacher, teach):
    by_hand("05_mind_the_gap")["chain"](networks[:-1], teacher, teach)


def what_teach_returns(networks, teacher, teach):
    for network in networks:
        teacher = teach(network, teacher)


def by_itself(networks, teacher, teach):
    for network in networks:
        teacher = network
        teach(network, teacher)


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("chain", from_the_teacher, "every network learns from the first teacher"),
    ("chain", backwards, "the chain runs the wrong way"),
    ("chain", without_the_student, "the student, is not taught"),
    ("chain", lambda networks, teacher, teach: None, "nobody is taught"),
    ("chain", what_teach_returns, r"`teach` returns nothing, so `teacher = teach\(...\)` is None"),
    ("chain", by_itself, "every network is taught by itself"),
    ("standardised", lambda z: (z - z.mean(dim=1)) / z.std(dim=1), "`keepdim=True` keeps it"),
    ("standardised", lambda z: z.mean(), r"a single number was returned, not \d+ of shape \(\d, \d+\)\."),
    ("target_part", lambda z_s, z_t, y, T: losses.target_kl(z_s, z_t, y, T=T).mean(),
     "one for each of them, so leave out the mean or the sum over them"),
    ("rest_part", lambda z_s, z_t, y, T: losses.soft_kl(z_s, z_t, T=T).sum(), "leave out the mean or the sum"),
    ("rest_part", lambda z_s, z_t, y, T: losses.soft_kl(z_s, z_t, T=T).mean().item(), "leave out the mean or the sum"),
    ("rest_part", lambda z_s, z_t, y, T: losses.soft_kl(z_s, z_t, T=T)[:, None], "`keepdim=True` has kept a dimension"),
    ("standardised", lambda z: z - z.mean(1, keepdim=True), "not divided by the standard deviation"),
    ("standardised", lambda z: (z - z.mean(0)) / z.std(0), "over the images"),
    ("rest_part", lambda z_s, z_t, y, T: losses.soft_kl(z_s, z_t, T=T), "the whole divergence"),
    ("rest_part", lambda z_s, z_t, y, T: losses.target_kl(z_s, z_t, y, T=T), "the part of the label"),
    ("target_part", lambda z_s, z_t, y, T: losses.target_kl(z_t, z_s, y, T=T), "swapped"),
    ("target_part", lambda z_s, z_t, y, T: losses.target_kl(z_s, z_t, y, T=1.0), "T is not used"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)


def rows_of_the_survey() -> list[list[str]]:
    text = "\n".join(cell.source for cell in LESSON.cells if cell.cell_type == "markdown")
    part = text.split("## What the survey describes")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()
            if line.startswith("| section")]


def test_every_method_that_the_survey_describes_has_a_row_and_every_section_that_a_row_names_is_there():
    rows = rows_of_the_survey()
    assert all(any(row[1].startswith(method) for row in rows) for method in IN_THE_SURVEY) and len(rows) == 9
    for _, method, where, _, evidence in rows:
        for path in NOTEBOOKS.glob(f"{where[:2]}_*.ipynb"):
            text = "\n" + "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
            for number in re.findall(r"\d+", where[2:]):
                assert f"\n## {number} · " in text, f"{method}: no section {number} in {path.name}"
        for name in re.findall(r"`(\w+)`", evidence):
            assert study.recorded(name)["results"], method


def test_the_study_of_the_gap_has_every_arm_with_every_seed():
    for name in ("gap", "gap_again"):
        content = study.recorded(name)
        assert len(content["seeds"]) == 10 and "hard labels" in content["results"]["students"]
        for arm, runs in content["results"]["students"].items():
            assert [run["seed"] for run in runs] == content["seeds"], arm
            assert all(0 < run["accuracy"] < 1 for run in runs), arm


def test_a_picture_of_who_teaches_whom_refuses_a_network_that_is_not_there():
    ax = viz.who_teaches({"KD": [("teacher", "student")]}, ["teacher", "student"])
    assert {text.get_text() for text in ax.texts} >= {"KD", "teacher", "student"}
    with pytest.raises(ValueError, match=r"no network is called 'pupil'; there are: teacher, student"):
        viz.who_teaches({"KD": [("teacher", "pupil")]}, ["teacher", "student"])


def test_a_picture_of_one_vector_marks_the_label_and_what_is_not_seen():
    axes = viz.one_vector({"KD": [0.5, 0.3, 0.2], "rest": [float("nan"), 0.6, 0.4]}, ["a", "b", "c"], label=0)
    bars = [ax.patches for ax in axes.flat[:2]]
    assert bars[0][0].get_facecolor() != bars[0][1].get_facecolor() == bars[0][2].get_facecolor()
    assert [bar.get_height() for bar in bars[1]] == [0.0, 0.6, 0.4]
    assert [text.get_text() for text in axes.flat[1].texts] == ["not seen"]
    with pytest.raises(ValueError, match="'KD' has 2 numbers, and there are 3 classes"):
        viz.one_vector({"KD": [0.5, 0.5]}, ["a", "b", "c"], label=0)


def test_the_verdicts_of_the_ledger_are_those_after_holms_correction():
    [ledger] = [cell.source for cell in LESSON.cells if cell.id == "ledger"]
    arm = r"`students / ([^`]+)`"
    cited = re.findall(rf"`gap`: {arm} against {arm}, `accuracy` \| [^|]+\| ([^|]+) \|", ledger)
    students = study.recorded("gap")["results"]["students"]
    pairs = {(ours, baseline): [[run["accuracy"] for run in students[arm]] for arm in (ours, baseline)]
             for ours, baseline, _ in cited}
    assert len(pairs) == len(cited) == 12
    found = metrics.family(pairs, images=2000)
    for ours, baseline, said in cited:
        verdict = found[ours, baseline].verdict
        assert said.endswith(f", {verdict if verdict in ('better', 'worse') else 'not shown'}"), (ours, said)


def test_with_settings_of_their_own_the_losses_of_section_7_do_as_the_text_says():
    [said] = [cell.source for cell in LESSON.cells if cell.id == "since-seen"]
    [printed] = ["".join(out.text for out in cell.outputs) for cell in LESSON.cells if cell.id == "since-file"]
    lines = dict(re.findall(r"each with chosen settings, (\w+), against kd: .*: (\w+)$", printed, re.MULTILINE))
    assert set(lines) == {"lskd", "nkd", "dkd", "ttm", "wttm", "ats"} and "better" not in lines.values()
    assert {name for name, verdict in lines.items() if verdict == "worse"} == {"nkd", "dkd"}
    assert "None is better than KD; NKD and DKD are worse" in said


def test_every_cell_runs_in_the_full_profile_and_trains_every_arm_for_every_seed(monkeypatch, capsys):
    small = {"images": 100, "epochs": 1, "seeds": 2, "teacher_epochs": 1}
    found = run("05_mind_the_gap", until="ipwd", monkeypatch=monkeypatch, **small)
    trials = [found[name] for name in ("by_size", "by_time", "by_chain", "by_plan", "by_loss")]
    assert [trial.seeds for trial in trials] == 5 * [(0, 1)]
    assert sum(len(trial.accuracy) for trial in trials) == 15
    assert len(found["watched"]) == 500 and len(found["few"]) == 100
    assert "same logits to 0.001: True" in capsys.readouterr().out
