"""Ten seeds for the checks that a change touches, two for all others; and which exercises are graded."""

import subprocess

import pytest
import thorough

from kdcourse.marking import checks

LOSSES = {"distillation_loss", "combined_loss", "teacher_loss", "soft_loss"}


@pytest.mark.parametrize("path, inside, outside", [
    ("kdcourse/marking/judges/a01_vanilla_kd.py", {"train", "combined_loss", "stopped_teachers"}, {"soft_loss"}),
    ("kdcourse/marking/checks/lesson_01.py", {"soft_loss", "train_by_hand"}, {"train", "combined_loss"}),
    ("kdcourse/marking/judges/training.py", {"train", "stopped_distillation", "train_by_hand"}, LOSSES),
    ("kdcourse/marking/checks/loss.py", LOSSES, {"train", "teacher_network", "trained_pair"}),
    ("kdcourse/marking/checks/logits.py", LOSSES, {"train", "count_parameters"}),
    ("kdcourse/marking/judges/mistakes.py", set(checks.CHECKS), set()),
    ("kdcourse/marking/judges/base.py", set(checks.CHECKS), set()),
    ("kdcourse/marking/record.py", set(checks.CHECKS), set()),
    ("solutions/01_vanilla_kd/01_vanilla_kd.ipynb", set(checks.ASSIGNMENTS["01_vanilla_kd"]), {"soft_loss"}),
    ("kdcourse/marking/judges/__init__.py", set(), set(checks.CHECKS)),
    ("kdcourse/losses/logits.py", set(), set(checks.CHECKS)),
    ("kdcourse/marking/checks/gone.py", set(), set(checks.CHECKS)),
    ("README.md", set(), set(checks.CHECKS)),
])  # fmt: skip
def test_a_change_touches_the_checks_that_are_made_of_it_and_no_others(path, inside, outside):
    found = thorough.touched([path])
    assert inside <= found and not outside & found


@pytest.mark.parametrize("path, graded", [
    ("solutions/03_hints_and_relations/03_hints_and_relations.ipynb", {"03_hints_and_relations"}),
    ("exercises/02_soft_targets/02_soft_targets.ipynb", {"02_soft_targets"}),
    ("kdcourse/marking/judges/a05_mind_the_gap.py", {"05_mind_the_gap"}),
    ("kdcourse/marking/judges/intervals.py", set(checks.ASSIGNMENTS)),
    ("kdcourse/marking/grade/verdicts.py", set(checks.ASSIGNMENTS)),
    ("kdcourse/marking/notebook.py", set(checks.ASSIGNMENTS)),
    ("kdcourse/marking/grade/collect.py", set()), ("kdcourse/marking/student/running.py", set()),
    ("kdcourse/marking/sandbox/run.py", set(checks.ASSIGNMENTS)),
    ("kdcourse/marking/checks/lesson_03.py", set()), ("kdcourse/losses/logits.py", set()), ("README.md", set()),
])  # fmt: skip
def test_an_exercise_is_graded_where_a_change_may_decide_its_marks(path, graded):
    assert thorough.graded_anew([path]) == graded


@pytest.mark.parametrize("name", thorough.SAME_FOR_ALL)
def test_what_is_the_same_for_all_assignments_is_there_and_uses_no_judge(name):
    place = thorough.ROOT / "kdcourse" / "marking" / name
    files = [place] if place.is_file() else list(place.glob("*.py"))
    assert files and not any("judges" in file.read_text(encoding="utf-8") for file in files)


def test_every_file_of_both_halves_touches_something():
    for half in thorough.HALVES:
        for path in (thorough.ROOT / half).glob("[!_]*.py"):
            assert thorough.touched([f"{half}{path.name}"]), path


def git(folder, *words):
    given = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *given, "-C", str(folder), *words], check=True, capture_output=True)


def test_a_branch_is_compared_with_where_it_began_and_the_main_one_with_the_commit_before(tmp_path):
    git(tmp_path, "init")
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
        git(tmp_path, "add", name)
        git(tmp_path, "commit", "-m", name)
    assert thorough.changed.__wrapped__(tmp_path) == {"second"}
    git(tmp_path, "checkout", "-b", "branch")
    for name in ("third", "fourth"):
        (tmp_path / name).write_text(name)
        git(tmp_path, "add", name)
        git(tmp_path, "commit", "-m", name)
    (tmp_path / "first").write_text("changed, and not committed")
    assert thorough.changed.__wrapped__(tmp_path) == {"first", "third", "fourth"}


def test_without_git_nothing_is_changed(tmp_path, monkeypatch):
    assert thorough.changed.__wrapped__(tmp_path) == frozenset()  # a folder that git knows nothing of
    monkeypatch.setenv("PATH", "")
    assert thorough.changed.__wrapped__(thorough.ROOT) == frozenset()


@pytest.mark.parametrize("options, many", [
    ([], ()), (["--thorough"], ("softened", "combined_loss")), (["--thorough-where-changed"], ("softened",)),
])
def test_seeds_are_ten_where_they_are_asked_for(options, many, monkeypatch, pytestconfig):
    import conftest

    monkeypatch.setattr(thorough, "changed", lambda: frozenset({"kdcourse/marking/judges/lesson_00.py"}))
    for option in ("--thorough", "--thorough-where-changed"):
        monkeypatch.setattr(pytestconfig.option, option.strip("-").replace("-", "_"), option in options)
    for name in ("softened", "combined_loss"):
        assert len(conftest.chosen(pytestconfig, name)) == (10 if name in many else 2)
