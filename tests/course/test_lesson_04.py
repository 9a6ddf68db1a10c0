"""Lesson 04: its checks name the misconception, and its ledger says what the result files hold."""

import re
from pathlib import Path

import nbformat
import pytest

from kdcourse import metrics, study
from kdcourse.marking import checks

LESSON = Path(__file__).parents[2] / "notebooks" / "04_mhist_transfer.ipynb"
ARMS = {
    "Photographs' features help on tissue": ("pretrained, hard labels", "random, hard labels"),
    "The random start does not only lack epochs": ("pretrained, hard labels", "random, hard labels, long"),
    "A teacher of 1,500 other patches helps a random start": ("random, distilled", "random, hard labels"),
    "The teacher helps a pretrained start": ("pretrained, distilled", "pretrained, hard labels"),
    "Attention transfer helps a pretrained start": ("pretrained, attention", "pretrained, hard labels"),
    "A frozen body ranks worse than fine-tuning": ("pretrained, head alone", "pretrained, hard labels"),
}


def strict_pairs(score, y):
    return (score[y == 1][:, None] > score[y == 0][None]).double().mean().item()


def recall(called, y):
    return called[y == 1].double().mean().item()


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("auc_by_pairs", strict_pairs, "a tie counts as nothing"),
    ("f1_by_counts", recall, "this is the recall"),
    ("f1_by_counts", lambda called, y: (called == y).double().mean().item(), "this is the accuracy"),
    ("interaction", lambda r, r_d, p, p_d: (r_d - r) - (p_d - p), "its sign is turned round"),
    ("interaction", lambda r, r_d, p, p_d: p_d - r, "the effect of both together"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message, capsys):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)


def test_the_ledger_says_what_the_result_files_hold():
    [ledger] = [cell.source for cell in nbformat.read(LESSON, 4).cells if cell.id == "ledger"]
    rows = [line for line in ledger.splitlines() if "`tissue_transfer_again`" in line]
    cells = {name: [row["auc"] for row in runs]
             for name, runs in study.recorded("tissue_transfer_again")["results"]["cells"].items()}
    questions = {claim: (cells[a], cells[b]) for claim, (a, b) in ARMS.items()}
    others = {"distilled": (cells["pretrained, distilled"], cells["random, distilled"]),
              "long": (cells["random, hard labels, long"], cells["random, hard labels"])}
    for claim, found in metrics.family(questions | others, images=600).items():
        if claim in questions:
            [line] = [row for row in rows if claim in row]
            low, mean, high = (f"{100 * value:+.1f}" for value in (found.low, found.mean, found.high))
            verdict = {"inconclusive": "not shown"}.get(found.verdict, found.verdict)
            assert f"| {found.n} seeds, 600 | {mean} [{low}, {high}], {verdict} |" in line
    assert len(rows) == len(ARMS)


def test_no_number_of_the_ledger_is_without_an_interval():
    [ledger] = [cell.source for cell in nbformat.read(LESSON, 4).cells if cell.id == "ledger"]
    rows = [line for line in ledger.splitlines() if "`: `cells" in line]
    assert len(rows) == len(ARMS) + 1
    assert all(re.search(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", row) for row in rows)
