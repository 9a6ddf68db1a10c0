"""Lesson 11: its checks name the misconception, what is written by hand is the package's, its changed plans are refused
as it says, and the two finished examples earn what the rubric promises."""

import json
import re
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from lessons import by_hand, run
from scipy import stats

from kdcourse import losses, metrics, plan, study, viz
from kdcourse.marking import checks
from kdcourse.plan import rubric, running

LESSON = nbformat.read(Path(__file__).parents[2] / "notebooks" / "11_your_comparison.ipynb", 4)
FILES = {"folder": "your_folder", "paper": "your_claim", "own": "your_idea"}


def test_the_width_and_the_seeds_written_by_hand_are_those_of_the_package():
    hand, pilot = by_hand("11_your_comparison", stats=stats, losses=losses), [0.01, 0.004, 0.02, -0.003, 0.012]
    spread = torch.tensor(pilot, dtype=torch.double).std().item()
    for n in (2, 5, 40):
        assert hand["width_at"](pilot, n) == pytest.approx(plan.half_width(spread, n), rel=1e-5)
    for effect in (0.005, 0.01, 0.03):
        assert hand["seeds_for"](pilot, effect) == plan.seeds_needed(spread, effect)


def test_the_idea_written_by_hand_is_that_of_the_example_and_keeps_its_two_identities():
    hand, example = by_hand("11_your_comparison", stats=stats, losses=losses)["trusted_loss"], {}
    exec((plan.EXAMPLES["own_idea"] / "idea.py").read_text(), example)
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = (3 * torch.randn(30, 5, generator=draw) for _ in range(2))
    y, right = torch.arange(30) % 5, z_t.argmax(dim=1)
    torch.testing.assert_close(hand(z_s, z_t, y, 3.0, 0.2), example["trusted_loss"](z_s, z_t, y, 3.0, 0.2))
    torch.testing.assert_close(hand(z_s, z_t, y, 3.0, 1.0), losses.kd_loss(z_s, z_t, T=3.0))
    torch.testing.assert_close(hand(z_s, z_t, right, 3.0, 0.0), losses.kd_loss(z_s, z_t, T=3.0))
    student_asked = hand(z_s, z_t, z_s.argmax(dim=1), 3.0, 0.0)
    assert abs(student_asked - losses.kd_loss(z_s, z_t, T=3.0)) > 0.1


def test_at_random_leaves_out_its_share_of_images_whatever_the_teacher_says():
    example = {}
    exec((plan.EXAMPLES["own_idea"] / "idea.py").read_text(), example)
    index = torch.arange(5000)
    left = (index * 7919 % 1000 < 1000 * 0.062).double().mean().item()
    assert left == pytest.approx(0.062, abs=0.002) and "7919" in (plan.EXAMPLES["own_idea"] / "idea.py").read_text()


def spread_of(pilot, correction=1):
    return torch.tensor(pilot, dtype=torch.double).std(correction=correction).item()


def student_right(z_s, z_t, y, T, keep):
    weight = torch.where(z_s.argmax(dim=1) == y, 1.0, keep)
    return T**2 * (weight * losses.soft_kl(z_s, z_t, T=T)).mean()


def over_the_right_ones(z_s, z_t, y, T, keep):
    weight = torch.where(z_t.argmax(dim=1) == y, 1.0, keep)
    return T**2 * (weight * losses.soft_kl(z_s, z_t, T=T)).sum() / weight.sum()


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("width_at", lambda pilot, n: 1.96 * spread_of(pilot) / n**0.5, "1.96 is for many seeds"),
    ("width_at", lambda pilot, n: plan.half_width(spread_of(pilot), len(pilot)), "the interval of the pilot itself"),
    ("width_at", lambda pilot, n: plan.half_width(spread_of(pilot, 0), n), "divides by one less"),
    ("width_at", lambda pilot, n: 2 * plan.half_width(spread_of(pilot), n), "the whole width"),
    ("width_at", lambda pilot, n: None, "the blank is still empty"),
    ("seeds_for", lambda pilot, effect: plan.seeds_needed(spread_of(pilot), 2 * effect), "half of the studies"),
    ("seeds_for", lambda pilot, effect: plan.seeds_needed(spread_of(pilot), effect) + 1, "one seed more"),
    ("seeds_for", lambda pilot, effect: max(len(pilot), plan.seeds_needed(spread_of(pilot), effect)), "counting began"),
    ("trusted_loss", student_right, "it is the .student. that is right"),
    ("trusted_loss", over_the_right_ones, "divided by the sum of the weights"),
    ("trusted_loss", lambda z_s, z_t, y, T, keep: losses.kd_loss(z_s, z_t, T=T), "this is KD"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)


def test_six_of_the_seven_changed_plans_are_refused_each_for_its_own_reason():
    found = {}
    for cell in LESSON.cells:
        if cell.id in ("setup", "parts", "plan", "changes"):
            exec(cell.source, found)
    kinds = [[one.kind for one in plan.refusals(replace(found["ready"], **change))]
             for change in found["changes"].values()]
    assert [kind[:1] for kind in kinds] == [
        ["choosing"], ["budget"], ["seeds"], ["seeds"], ["question"], ["control"], []]


def test_the_seeds_of_the_page_can_see_the_smallest_difference_that_its_prediction_allows():
    found = {}
    for cell in LESSON.cells:
        if cell.id in ("setup", "parts", "plan", "changes"):
            exec(cell.source, found)
    ready = found["ready"]
    assert 100 * ready.effect <= ready.prediction["points"][0]
    assert plan.half_width(ready.spread, len(ready.seeds)) <= ready.effect / 2


def test_the_minutes_of_the_core_and_of_the_optional_sections_are_those_of_the_title():
    text = "\n".join(cell.source for cell in LESSON.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## \d+ · (.+) · (\d+) min$", text, re.MULTILINE)
    core = sum(int(minutes) for title, minutes in headings if not title.startswith("Optional"))
    optional = sum(int(minutes) for title, minutes in headings if title.startswith("Optional"))
    assert core <= 60 and f"{core} minutes to read" in text and f"Optional sections: {optional} minutes" in text


def test_every_start_was_measured_from_ten_seeds_and_from_ten_others():
    content = {}
    for file in FILES.values():
        content |= study.recorded(file)["results"]
    assert set(content) == {name + more for name in FILES for more in ("", ", again")}
    for name, found in content.items():
        first = 10 if name.endswith("again") else 0
        assert all([row["seed"] for row in rows] == list(range(first, first + 10)) for rows in found["rows"].values())
        assert all(0.3 < row["accuracy"] < 1 for rows in found["rows"].values() for row in rows)
        assert found["identity"] < rubric.SAME


def test_settings_were_chosen_by_seeds_that_are_not_measured():
    for name, file in FILES.items():
        content = study.recorded(file)
        found, start = content["results"][name], content["settings"][name]
        assert not set(start["choose"]["seeds"]) & set(range(20)) and set(found["tried"]) == set(start["arms"])
        for arm, entries in found["tried"].items():
            best = max(entries, key=lambda entry: sum(entry["valid_accuracy"]))
            assert found["points"][arm] == best["point"]


def total(folder: Path) -> tuple[int, int]:
    found = plan.marks(folder)
    return sum(mark.machine for mark in found), sum(mark.person or 0 for mark in found)


def test_the_good_example_earns_at_least_90_points_and_every_one_that_a_machine_gives():
    machine, person = total(plan.EXAMPLES["own_idea"])
    assert machine == 50 and person >= 40
    assert plan.refusals(plan.read(plan.EXAMPLES["own_idea"])) == []


def test_the_other_example_looks_good_fails_in_five_points_and_earns_at_most_50():
    folder = plan.EXAMPLES["to_referee"]
    machine, person = total(folder)
    assert machine + person <= 50
    kinds = {one.kind for one in plan.refusals(plan.read(folder))}
    assert {"budget", "choosing", "seeds"} <= kinds
    said = json.dumps([mark.why for mark in plan.marks(folder)])
    assert "the ledger" in said and "calibration and agreement are missing" in said
    text = (folder / "report.md").read_text()
    assert plan.unwritten(text) == [] and len(text.split()) > 250


@pytest.mark.parametrize("name", plan.EXAMPLES)
def test_an_example_has_every_file_and_its_referee_judged_every_part(name):
    folder = plan.EXAMPLES[name]
    there = {path.name for path in folder.iterdir()}
    assert there >= {"study.json", "registered.json", "results.json", "report.md", "differences.png", "referee.json"}
    given = json.loads((folder / "referee.json").read_text())
    assert set(given) == {key for key, part in rubric.PARTS.items() if part.person}
    assert all(len(why.split()) >= 6 for _, why in given.values())


def test_a_picture_of_the_seeds_that_are_needed_has_the_line_of_half_the_effect():
    ax = viz.needed({"pilot": {4: 0.02, 16: 0.01}}, effect=0.03)
    curve, line = ax.lines
    assert curve.get_ydata().tolist() == [2.0, 1.0] and set(line.get_ydata()) == {1.5}


def test_the_verdicts_of_the_ledger_are_those_after_holms_correction():
    [ledger] = [cell.source for cell in LESSON.cells if cell.id == "ledger"]
    arm = r"`([^`]+) / rows / ([^`]+)`"
    cited = re.findall(rf"`(\w+)`: {arm} against {arm}, `accuracy` \| [^|]+\| ([^|]+) \|", ledger)
    assert len(cited) >= 6
    for file, start, ours, again, baseline, said in cited:
        assert start == again
        content = study.recorded(file)
        compared = content["results"][start]
        own = content["settings"][start.removesuffix(", again")]["comparisons"]
        pairs = {tuple(pair): tuple([row["accuracy"] for row in compared["rows"][arm]] for arm in pair)
                 for pair in own.values()}
        verdict = metrics.family(pairs, images=compared["images"], margin=0.005)[ours, baseline].verdict
        assert said.endswith(f", {verdict if verdict in ('better', 'worse') else 'not shown'}"), (ours, said)


@pytest.mark.parametrize("widely", [1, 3, 8])
def test_the_page_goes_on_with_more_seeds_where_its_pilot_spreads_widely(widely, monkeypatch):
    pilot = [widely * one for one in (0.004, -0.006, 0.01, 0.002, -0.004)]
    monkeypatch.setattr(plan, "pilot", lambda folder, *, seeds: pilot)
    found = run("11_your_comparison", until="ready", monkeypatch=monkeypatch, images=100, epochs=2, batch=50, seeds=5,
                pilot=5)
    mine, spread = found["mine"], spread_of(pilot)
    assert plan.refusals(mine) == [] and plan.read(found["folder"]) == mine
    assert len(mine.seeds) == max(5, plan.seeds_needed(spread, mine.effect))
    assert (len(mine.seeds) > 5) == (plan.half_width(spread, 5) > mine.effect / 2) == (widely > 1)


def test_every_cell_runs_in_the_full_profile(monkeypatch, capsys):
    monkeypatch.setattr(running, "once_more", lambda *_: 0.0)
    small = {"images": 100, "epochs": 2, "batch": 50, "seeds": 20, "pilot": 4}
    found = run("11_your_comparison", until="referee", monkeypatch=monkeypatch, **small)
    assert len(found["pilot"]) == 4 and "by machine" in capsys.readouterr().out
    assert all(len(rows) == len(found["mine"].seeds) >= 20 for rows in found["results"]["rows"].values())
    assert set(found["results"]["rows"]) == set(found["mine"].arms)
