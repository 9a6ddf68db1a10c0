"""Lesson 08: its checks name the misconception, what is written by hand is the package's, and its study is whole."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lessons import by_hand

from kdcourse import metrics, study, viz
from kdcourse.marking import checks

LESSON = Path(__file__).parents[2] / "notebooks" / "08_what_was_learned.ipynb"


@pytest.fixture(scope="module")
def hand() -> dict:
    return by_hand(LESSON.stem, metrics=metrics)


def answers(n=400):
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(4, (n,), generator=draw)
    return (*(2 * torch.randn(n, 4, generator=draw) + F.one_hot(y, 4) for _ in range(2)), y)


def test_the_three_functions_written_by_hand_are_those_of_the_package(hand):
    a, b = (torch.randn(30, d, generator=torch.Generator().manual_seed(d)).double() for d in (4, 9))
    K, L = a @ a.T, (a @ torch.ones(4, 9).double() + b) @ b.T
    torch.testing.assert_close(hand["unbiased_hsic"](K, L), metrics.unbiased_hsic(K, L))
    z_a, z_b, y = answers()
    assert float(hand["corrected_agreement"](z_a, z_b, y)) == pytest.approx(metrics.corrected_agreement(z_a, z_b, y))
    for T in (0.5, 3.0):
        loss = hand["scaled_loss"](torch.tensor(T).log(), z_a, y)
        assert loss.item() == pytest.approx(metrics.nll(z_a / T, y), abs=1e-5)


def test_the_loss_of_temperature_scaling_is_smallest_at_the_packages_temperature(hand):
    z, _, y = answers()
    best = metrics.best_temperature(z, y)
    at = torch.tensor(best).log().requires_grad_()
    hand["scaled_loss"](at, z, y).backward()
    assert abs(at.grad.item()) < 1e-4


def hsic_with_diagonals(K, L):
    n = len(K)
    all_pairs, rows = K.sum() * L.sum() / ((n - 1) * (n - 2)), 2 / (n - 2) * (K.sum(0) @ L.sum(0))
    return ((K * L).sum() + all_pairs - rows) / (n * (n - 3))


def hsic_without_brackets(K, L):
    n, K, L = len(K), K - torch.diag(K.diagonal()), L - torch.diag(L.diagonal())
    every, rows = K.sum() * L.sum() / (n - 1) * (n - 2), 2 / (n - 2) * (K.sum(0) @ L.sum(0))
    return ((K * L).sum() + every - rows) / (n * (n - 3))


def hsic_without_a_bracket(K, L):
    n, K, L = len(K), K - torch.diag(K.diagonal()), L - torch.diag(L.diagonal())
    every, rows = K.sum() * L.sum() / ((n - 1) * (n - 2)), K.sum(0) @ L.sum(0)
    return ((K * L).sum() + every - 2 / n - 2 * rows) / (n * (n - 3))


def kappa(z_a, z_b, y):
    return metrics.corrected_agreement(z_a, z_b, torch.zeros_like(y))


@pytest.mark.parametrize(("name", "answer"), [
    ("unbiased_hsic", metrics.unbiased_hsic),
    ("corrected_agreement", metrics.corrected_agreement),
    ("scaled_loss", lambda log_T, z, y: F.cross_entropy(z / log_T.exp(), y)),
])
def test_what_the_package_or_torch_gives_is_right(name, answer, capsys):
    checks.CHECKS[name](answer)
    assert "right" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("unbiased_hsic", hsic_with_diagonals, "the diagonals are still there"),
    ("unbiased_hsic", lambda K, L: metrics.unbiased_hsic(K, L) * len(K) * (len(K) - 3), "not divided by n"),
    ("unbiased_hsic", lambda K, L: metrics.unbiased_hsic(K, L) * (len(K) - 3) ** 2,
     r"put n \* \(n - 3\) in brackets"),
    ("unbiased_hsic", hsic_without_brackets, r"divides the second term by n - 1 and then multiplies it"),
    ("unbiased_hsic", hsic_without_a_bracket, "is 2 / n, less 2: put n - 2 in brackets"),
    ("unbiased_hsic", lambda K, L: torch.zeros(()), "is right"),
    ("corrected_agreement", lambda z_a, z_b, y: metrics.agreement(z_a, z_b), "the agreement, not corrected"),
    ("corrected_agreement", metrics.chance_agreement, "this is what chance gives"),
    ("corrected_agreement", kappa, "chance ignores the labels"),
    ("corrected_agreement", lambda a, b, y: metrics.agreement(a, b) - metrics.chance_agreement(a, b, y),
     "not divided by 1 - a0"),
    ("scaled_loss", lambda log_T, z, y: F.cross_entropy(z * log_T.exp(), y), "multiplied by T"),
    ("scaled_loss", lambda log_T, z, y: F.cross_entropy(z / log_T, y), "log_T itself divides"),
    ("scaled_loss", lambda log_T, z, y: F.cross_entropy(z / log_T.exp(), y, reduction="sum"), "summed over the images"),
    ("scaled_loss", lambda log_T, z, y: F.cross_entropy(z / log_T.exp().detach(), y), "gradient"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)


@pytest.mark.parametrize("name", ["fidelity", "fidelity_again"])
def test_the_study_has_every_arm_with_every_seed(name):
    content = study.recorded(name)
    assert len(content["seeds"]) == 10 and len(content["results"]["twins"]) == 45
    for arm, runs in content["results"]["students"].items():
        assert [run["seed"] for run in runs] == content["seeds"], arm
        assert all(0 < run["accuracy"] < 1 and 0 < run["agreement"] < 1 for run in runs), arm
        assert all(run["scaled_nll"] < run["nll"] + 0.02 for run in runs), arm


def test_the_study_on_cifar10_has_every_arm_with_every_seed_and_its_twins():
    content = study.recorded("fidelity_cifar10")
    students = content["results"]["students"]
    assert list(students) == ["hard labels", "KD", "DIST", "RKD", "SLKD"] and len(content["results"]["twins"]) == 10
    for arm, runs in students.items():
        assert [run["seed"] for run in runs] == content["seeds"] == list(range(5)), arm
        assert all(run["agreement"] > run["corrected"] and run["scaled_nll"] < run["nll"] + 0.02 for run in runs), arm


def test_an_arm_that_is_measured_again_leaves_the_others_as_they_are(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(LESSON.parents[1] / "benchmarks")
    import fidelity
    import record

    class Small:
        soft, names = {}, ("a", "b")

        def __init__(self, seeds, second):
            self.seeds = seeds

        def arms(self):
            return [(arm, None, None, None, {}) for arm in fidelity.ARMS]

        def students(self, make, teacher, source, training):
            measured.append(make)
            return [{"seed": seed, "accuracy": float(len(measured))} for seed in self.seeds]

        def of_teacher(self):
            return {"accuracy": 0.5}

        def twins(self):
            return [{"agreement": float(len(measured))}]

    measured = []
    monkeypatch.setattr(fidelity, "Study", Small)
    for module in (fidelity, record):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    for asked in ([], ["--arms", "SLKD", "KD"]):
        monkeypatch.setattr("sys.argv", ["fidelity.py", "--seeds", "3", *asked])
        fidelity.main()
    results = json.loads((tmp_path / "fidelity.json").read_text())["results"]
    n = len(fidelity.ARMS)
    found = {arm: runs[0]["accuracy"] for arm, runs in results["students"].items()}
    assert found == {arm: float(k) for k, arm in enumerate(fidelity.ARMS, start=1)} | {"KD": n + 1.0, "SLKD": n + 2.0}
    assert results["twins"] == [{"agreement": 1.0}]


def test_maps_of_matrices_share_one_scale_and_name_the_classes_once():
    axes = viz.matrices({"a": torch.eye(3), "b": -0.2 * torch.ones(3, 3)}, ["x", "y", "z"], limit=0.5)
    assert [ax.images[0].get_clim() for ax in axes] == [(-0.5, 0.5)] * 2
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["x", "y", "z"]
    with pytest.raises(ValueError, match=r"'a' is \(2, 3\), and there are 3 classes"):
        viz.matrices({"a": torch.zeros(2, 3)}, ["x", "y", "z"])


def test_a_picture_of_saliency_has_a_row_for_each_network_and_a_scale_for_each_map():
    maps = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    axes = viz.saliency(torch.rand(2, 1, 4, 4), {"teacher": maps, "student": 3 * maps})
    assert axes.shape == (3, 2)
    for row, scale in ((1, 1), (2, 3)):
        low, high = axes[row, 0].images[0].get_clim()
        assert high == -low == pytest.approx(scale * maps[0].abs().max().item())
    with pytest.raises(ValueError, match="'teacher' has 1 maps, and there are 2 images"):
        viz.saliency(torch.rand(2, 1, 4, 4), {"teacher": maps[:1]})
