import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix
from torch import nn

from kdcourse import data, metrics, models


@pytest.fixture
def answers():
    """Logits (200, 4) that are right more often than not, and labels."""
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(4, (200,), generator=draw)
    return torch.randn(200, 4, generator=draw) + 2 * nn.functional.one_hot(y, 4), y


@pytest.fixture(scope="module")
def split():
    return data.load("digits").valid


def test_accuracy_counts_the_right_answers():
    z = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])
    assert metrics.accuracy(z, torch.tensor([0, 2, 1, 1])) == 3 / 4


def test_nll_is_minus_the_mean_log_probability_of_the_label(answers):
    z, y = answers
    by_hand = -log_softmax(z.double().numpy(), axis=1)[np.arange(200), y.numpy()].mean()
    assert metrics.nll(z, y) == pytest.approx(by_hand, abs=1e-12)


def test_nll_of_a_guess_is_log_K():
    assert metrics.nll(torch.zeros(5, 7), torch.arange(5)) == pytest.approx(np.log(7))


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_is_what_a_slow_loop_over_the_bins_gives(answers, bins):
    z, y = (part.numpy() for part in answers)
    p = softmax(z.astype(np.float64), axis=1)
    gaps = 0.0
    for k in range(bins):
        rows = [i for i in range(len(y)) if k / bins < p[i].max() <= (k + 1) / bins]
        if rows:
            right = np.mean([p[i].argmax() == y[i] for i in rows])
            gaps += len(rows) / len(y) * abs(right - np.mean([p[i].max() for i in rows]))
    assert metrics.ece(*answers, bins=bins) == pytest.approx(gaps, abs=1e-12)


def test_ece_of_one_who_is_always_sure_is_the_share_of_errors(answers):
    z, y = answers
    assert metrics.ece(1000 * z, y) == pytest.approx(1 - metrics.accuracy(z, y), abs=1e-3)


def test_reliability_is_the_calibration_curve_of_scikit_learn(answers):
    z, y = answers
    confidence, guess = z.double().softmax(dim=1).max(dim=1)
    accuracies, confidences = calibration_curve(guess == y, confidence, n_bins=10)
    rows = metrics.reliability(z, y, bins=10)
    assert len(rows) < 10 and [row["accuracy"] for row in rows] == pytest.approx(accuracies)
    assert [row["confidence"] for row in rows] == pytest.approx(confidences)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(row["share"] * row["accuracy"] for row in rows) == pytest.approx(metrics.accuracy(z, y))


def test_agreement_is_accuracy_with_the_others_answers_as_labels(answers):
    z, _ = answers
    other = z.flip(0)
    assert metrics.agreement(z, other) == metrics.agreement(other, z) == metrics.accuracy(z, other.argmax(dim=1))
    assert metrics.agreement(z, 3 * z + 1) == 1


def test_agreement_refuses_logits_of_two_shapes():
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 2\)"):
        metrics.agreement(torch.zeros(4, 3), torch.zeros(4, 2))


def test_confusion_is_that_of_scikit_learn(answers):
    z, y = answers
    z = torch.cat([z, torch.full((200, 1), -99.0)], dim=1)  # a class that never occurs and is never answered
    expected = confusion_matrix(y, z.argmax(dim=1), labels=range(5))
    assert metrics.confusion(z, y).tolist() == expected.tolist()
    assert np.trace(expected) / 200 == metrics.accuracy(z, y)


@pytest.mark.parametrize("measure", [metrics.accuracy, metrics.nll, metrics.ece, metrics.confusion])
def test_labels_that_do_not_fit_the_logits_are_refused(measure):
    for y in (torch.zeros(3), torch.zeros(4, 1), torch.tensor(0)):
        with pytest.raises(ValueError, match=r"\(4, 3\) and "):
            measure(torch.zeros(4, 3), y.long())
    with pytest.raises(ValueError, match=r"\(4,\) and \(4,\)"):
        measure(torch.zeros(4), torch.zeros(4).long())
    for label in (3, -1):
        with pytest.raises(ValueError, match=r"labels run from .* but 3 logits allow 0 to 2"):
            measure(torch.zeros(4, 3), torch.tensor([0, 1, 2, label]))


def test_predict_keeps_the_order_whatever_the_size_of_the_batches(split):
    network = models.build("mlp", (1, 8, 8), 10, seed=0)
    z = network(split.x.float() / 255).detach()
    for batch_size in (1, 64, 200, 500):
        torch.testing.assert_close(metrics.predict(network, split, batch_size=batch_size), z, rtol=1e-5, atol=1e-5)


def test_predict_puts_the_network_in_eval_mode(split):
    network = models.build("cnn", (1, 8, 8), 10, seed=0).train()  # with dropout
    assert torch.equal(metrics.predict(network, split), metrics.predict(network, split))
    assert not any(module.training for module in network.modules())


def test_predict_touches_no_gradient(split):
    network = models.build("mlp", (1, 8, 8), 10, seed=0)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    z = metrics.predict(network, split)
    assert not z.requires_grad and torch.is_grad_enabled()
    assert all(parameter.requires_grad and (parameter.grad == 1).all() for parameter in network.parameters())


def test_predict_gives_float32_whatever_the_network_computes_in(split):
    class Half(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, 20:30].bfloat16()

    z = metrics.predict(Half(), split)
    assert z.dtype == torch.float32 and z.shape == (200, 10) and z.device.type == "cpu"


def test_predict_says_what_a_network_returned_that_gives_no_logits(split):
    with pytest.raises(TypeError, match=r"Identity returned a tensor of shape \(200, 1, 8, 8\)"):
        metrics.predict(nn.Identity(), split)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_interval_is_students_t(n):
    values = np.random.default_rng(n).normal(0.9, 0.02, n)
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    mean, *ends = metrics.interval(values.tolist())
    assert mean == pytest.approx(values.mean())
    assert ends == pytest.approx(expected)


def test_interval_covers_the_truth_nineteen_times_in_twenty():
    draws = np.random.default_rng(0).normal(size=(4000, 5))
    covered = [low <= 0 <= high for _, low, high in map(metrics.interval, draws.tolist())]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))


def test_interval_of_one_value_is_an_error():
    for values in ([], [0.9]):
        with pytest.raises(ValueError, match=f"there are {len(values)}: train with more seeds"):
            metrics.interval(values)


BASELINE = [0.90, 0.80, 0.95, 0.85]


@pytest.mark.parametrize("differences, verdict", [
    ([0.020, 0.022, 0.018, 0.020], "better"),
    ([-0.020, -0.022, -0.018, -0.020], "worse"),
    ([0.001, -0.001, 0.002, -0.002], "equal"),
    ([0.0, 0.0, 0.0, 0.0], "equal"),
    ([0.030, -0.030, 0.020, -0.020], "inconclusive"),
    ([0.030, -0.001, 0.020, -0.002], "inconclusive"),
    ([0.012, 0.000, 0.010, -0.002], "inconclusive"),   # 0 and a gain of more than a point are both inside
    ([-0.012, 0.000, -0.010, 0.002], "inconclusive"),
    ([0.0010, 0.0012, 0.0008, 0.0010], "better"),  # by little, but surely
])
def test_verdict_is_read_off_the_interval_of_the_differences(differences, verdict):
    ours = [b + d for b, d in zip(BASELINE, differences, strict=True)]
    comparison = metrics.compare(ours, BASELINE, images=597)
    assert comparison.verdict == verdict
    assert (comparison.mean, comparison.low, comparison.high) == pytest.approx(metrics.interval(differences))
    assert (comparison.n, comparison.images) == (4, 597)


def test_comparison_swapped_is_the_mirror_image():
    ours = [0.93, 0.82, 0.96, 0.90]
    one, other = metrics.compare(ours, BASELINE, images=1), metrics.compare(BASELINE, ours, images=1)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))


def test_comparison_is_paired_what_the_seeds_share_cancels():
    ours = [b + 0.02 + d for b, d in zip(BASELINE, (0.001, -0.001, 0.0005, -0.0005), strict=True)]
    assert metrics.compare(ours, BASELINE, images=597).verdict == "better"
    assert metrics.compare(ours, BASELINE[1:] + BASELINE[:1], images=597).verdict == "inconclusive"


def test_comparison_says_points_interval_seeds_images_and_verdict():
    text = str(metrics.compare([b + 0.02 for b in BASELINE], BASELINE, images=10_000))
    assert text == "+2.0 points [+2.0, +2.0], n = 4 seeds, 10,000 test images: better"


def test_comparison_needs_pairs_and_at_least_two():
    with pytest.raises(ValueError, match="3 results and 2 baselines"):
        metrics.compare([0.9, 0.9, 0.9], [0.9, 0.9], images=1)
    with pytest.raises(ValueError, match="more seeds"):
        metrics.compare([0.9], [0.8], images=1)
