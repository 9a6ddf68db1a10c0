"""Measures against their definitions and scikit-learn, intervals and families of comparisons against scipy."""

import itertools

import numpy as np
import pandas
import pytest
import torch
from scipy import stats
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, cohen_kappa_score, confusion_matrix
from sklearn.neighbors import NearestNeighbors
from torch import nn

from kdcourse import data, distillers, metrics, models
from kdcourse.teachers import LogitBank, Teacher


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


MEASURES = (metrics.accuracy, metrics.nll, metrics.ece, metrics.reliability, metrics.confusion)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("row", [[np.nan, 0.0, 1.0], [np.inf, 0.0, 1.0], [-np.inf, -np.inf, -np.inf]])
def test_logits_that_are_not_finite_have_no_measure_and_the_image_is_named(measure, row):
    z = torch.zeros(4, 3)
    z[2] = torch.tensor(row)
    with pytest.raises(ValueError, match="1 of 4 images are not finite, first those of image 2"):
        measure(z, torch.zeros(4).long())
    for pair in ((z, torch.zeros(4, 3)), (torch.zeros(4, 3), z)):
        with pytest.raises(ValueError, match="not finite"):
            metrics.agreement(*pair)


def test_a_class_that_is_ruled_out_by_minus_infinity_is_an_answer_like_any_other(answers):
    z, y = answers
    ruled_out = torch.cat([z, torch.full((200, 1), -np.inf)], dim=1)
    for measure in (metrics.accuracy, metrics.nll, metrics.ece):
        assert measure(ruled_out, y) == pytest.approx(measure(z, y), abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_no_images_are_no_result(measure):
    for z in (torch.zeros(0, 3), torch.zeros(0, 0)):
        with pytest.raises(ValueError, match="at least one image"):
            measure(z, torch.zeros(0).long())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_in_small_integers_are_counted_as_they_are(dtype):
    y = torch.arange(40)
    z = torch.eye(40).roll(1, dims=1)                    # 40 * 39 is beyond a byte
    for measure in (metrics.accuracy, metrics.nll, metrics.ece):
        assert measure(z, y.to(dtype)) == measure(z, y)
    assert torch.equal(metrics.confusion(z, y.to(dtype)), metrics.confusion(z, y))


@pytest.mark.parametrize("measure", MEASURES)
def test_labels_that_are_no_integers_and_inputs_that_are_no_tensors_are_refused(measure):
    for dtype in (torch.float32, torch.bool):
        with pytest.raises(ValueError, match=r"whole numbers.*y\.long"):
            measure(torch.zeros(4, 3), torch.zeros(4, dtype=dtype))
    with pytest.raises(TypeError, match=r"not ndarray and list; torch\.as_tensor"):
        measure(np.zeros((4, 3)), [0, 0, 0, 0])


@pytest.mark.parametrize("bins", [0, -1, 2.5, "15", None])
def test_bins_are_counted(answers, bins):
    for measure in (metrics.ece, metrics.reliability):
        with pytest.raises(ValueError, match="bins is how many"):
            measure(*answers, bins=bins)


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


SEEDS = {0: 0.9, 1: 0.8, 2: 0.95, 3: 0.85}


@pytest.mark.parametrize("values, shown", [
    (SEEDS, r"not dict: \[found\[seed\] for seed in seeds\]"), (set(BASELINE), "not set"), ("0.9", "not str"),
    (pandas.DataFrame({"test": BASELINE}), r"not DataFrame.*frame\[column\]\.tolist\(\)"),
    ([{"seed": 0, "test": 0.9}] * 4, r"\[row\['test'\] for row in rows\]"), ([BASELINE] * 4, "one for each seed"),
    (torch.rand(4, 2), "one for each seed"), (0.9, "one for each seed"), (None, "one for each seed"),
])
def test_what_is_no_list_of_numbers_in_the_order_of_the_seeds_is_refused(values, shown):
    for pair in ((values, BASELINE), (BASELINE, values)):
        with pytest.raises(TypeError, match=shown):
            metrics.compare(*pair, images=1)
    with pytest.raises(TypeError, match=shown):
        metrics.interval(values)


@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor, pandas.Series, iter,
                                  lambda values: [torch.tensor(value) for value in values],
                                  lambda values: pandas.Series(values, index=[7, 5, 3, 1])])
def test_any_list_of_numbers_is_compared_alike(kind):
    ours = [0.93, 0.82, 0.96, 0.90]
    assert metrics.compare(kind(ours), kind(BASELINE), images=9).mean == pytest.approx(0.0275)
    assert metrics.interval(kind(ours)) == pytest.approx(metrics.interval(ours))


def test_accuracies_in_percent_are_refused_and_differences_are_not():
    percent = [100 * value for value in BASELINE]
    for pair in ((percent, percent), (BASELINE, percent), (percent, BASELINE)):
        with pytest.raises(ValueError, match=r"accuracies in \[0, 1\], and one is 95: divide percent by 100"):
            metrics.compare(*pair, images=1)
    assert metrics.compare([-0.01, 0.02, 0.0, -0.03], [0.0] * 4, images=1).mean == pytest.approx(-0.005)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_seed_without_a_result_is_refused_in_words(value):
    with pytest.raises(ValueError, match="ours must be finite"):
        metrics.compare([0.9, value, 0.9, 0.9], BASELINE, images=1)
    with pytest.raises(ValueError, match="must be finite"):
        metrics.interval([0.9, value])


@pytest.mark.parametrize("images", [None, -1, 597.0, "597"])
def test_images_are_counted(images):
    with pytest.raises(ValueError, match=r"len\(source\.test\)"):
        metrics.compare(BASELINE, BASELINE, images=images)


def test_equal_means_that_the_whole_interval_lies_within_the_margin():
    ours = [b + d for b, d in zip(BASELINE, (0.002, -0.001, 0.003, -0.003), strict=True)]
    plain = metrics.compare(ours, BASELINE, images=10_000)
    farthest = max(-plain.low, plain.high)
    assert plain.verdict == "equal" and "within" not in str(plain)
    for margin, verdict in ((farthest + 1e-9, "equal"), (farthest - 1e-9, "inconclusive"), (0, "inconclusive")):
        one = metrics.compare(ours, BASELINE, images=10_000, margin=margin)
        assert one.verdict == verdict and (one.low, one.high) == (plain.low, plain.high)
    assert str(metrics.compare(BASELINE, BASELINE, images=9, margin=0.002)).endswith(
        "+0.00 points [+0.00, +0.00], n = 4 seeds, 9 test images: equal (within 0.2)")


@pytest.mark.parametrize("margin", [-0.001, 0.2, 1, float("nan")])
def test_a_margin_in_points_is_refused(margin):
    with pytest.raises(ValueError, match=r"0\.01 is one point, 0\.002 a fifth of one"):
        metrics.compare(BASELINE, BASELINE, images=1, margin=margin)


@pytest.mark.parametrize("seed", range(5))
def test_p_is_that_of_scipys_paired_t_test_and_below_0_05_where_the_interval_leaves_0_out(seed):
    ours, baseline = np.random.default_rng(seed).normal(0.9, 0.01, (2, 6))
    for gain in np.linspace(-0.04, 0.04, 9):
        one = metrics.compare(ours + gain, baseline, images=1)
        assert one.p == pytest.approx(stats.ttest_rel(ours + gain, baseline).pvalue)
        assert (one.p < 0.05) == (one.low > 0 or one.high < 0)


def test_p_of_differences_that_do_not_vary_is_0_or_1():
    assert metrics.compare([0.5, 0.75], [0.25, 0.5], images=1).p == 0
    assert metrics.compare(BASELINE, BASELINE, images=1).p == 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("images, n, kept", [(50, 2, 4), (597, 2, 16), (597, 3, 4), (10_000, 5, 16)])
def test_seeds_that_differ_by_the_same_number_of_images_are_judged_as_if_one_were_an_image_away(images, n, kept, sign):
    baseline = [images // 2 - k for k in range(n)]
    away = np.sqrt(1 / n) / images
    assert away == pytest.approx(np.std([1 / images] + [0] * (n - 1), ddof=1))
    for more in (1, 3, 20):
        ours = [count + sign * more for count in baseline]
        one = metrics.compare(*([round(count / images, kept) for count in arm] for arm in (ours, baseline)),
                              images=images)
        half = stats.t.ppf(0.975, n - 1) * away / np.sqrt(n)
        assert (one.low, one.high) == pytest.approx((one.mean - half, one.mean + half))
        assert one.p == pytest.approx(2 * stats.t.sf(n * more, n - 1), rel=0.1)
        assert (one.p < 0.05) == (one.low > 0 or one.high < 0)


def test_two_seeds_that_differ_by_one_image_decide_nothing_alone_or_in_a_family():
    pair = [0.92, 0.90], [0.90, 0.88]
    one = metrics.compare(*pair, images=50)
    assert one.verdict == "inconclusive" and one.p == pytest.approx(2 * stats.t.sf(2, 1))
    assert metrics.family({"KD": pair}, images=50)["KD"].verdict == "inconclusive"
    assert metrics.compare([0.02, 0.02], [0.0, 0.0], images=50).p == pytest.approx(one.p)


def test_counts_whose_differences_vary_are_compared_by_their_own_spread_to_the_last_bit():
    for n, images in ((2, 50), (5, 50), (4, 10_000)):
        counts = np.random.default_rng(n).integers(images // 2, images, n)
        baseline, ours = (counts - 3) / images, (counts + (np.arange(n) == 0)) / images
        one = metrics.compare(ours, baseline, images=images)
        assert (one.mean, one.low, one.high) == metrics.interval(torch.tensor(ours) - torch.tensor(baseline))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("images", [20, 50, 200])
def test_methods_that_do_not_differ_have_a_verdict_at_most_once_in_twenty_with_few_images_and_seeds(n, images):
    """The two answer differently about a tenth of the images; each is right about half of those."""
    draw, studies = np.random.default_rng(n), 2000
    other = draw.binomial(images, 0.1, (studies, n))
    gains = (2 * draw.binomial(other, 0.5) - other) / images
    found = [metrics.compare(gain, [0.0] * n, images=images, margin=0) for gain in gains]
    decided = np.mean([one.verdict in ("better", "worse") for one in found])
    assert decided < 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def test_holm_by_hand():
    # sorted: 0.001, 0.012, 0.013, 0.04, 0.3, times 5, 4, 3, 2, 1: 0.005, 0.048, 0.039 (below 0.048), 0.08, 0.3
    assert metrics.holm([0.04, 0.001, 0.3, 0.013, 0.012]) == pytest.approx([0.08, 0.005, 0.3, 0.048, 0.048])
    assert metrics.holm([0.6, 0.7]) == [1, 1] and metrics.holm([0.03]) == [0.03] and metrics.holm([]) == []


def smallest_that_rejects(p, place):
    """Holm's procedure closes Bonferroni's: a hypothesis falls if every set that holds it has an entry below its
    level / size. The smallest such level, over all sets."""
    sets = (some for size in range(1, len(p) + 1) for some in itertools.combinations(range(len(p)), size))
    return min(1, max(len(some) * min(p[i] for i in some) for some in sets if place in some))


@pytest.mark.parametrize("m", range(1, 8))
def test_holm_is_the_closure_of_bonferronis_test(m):
    draw = np.random.default_rng(m)
    for p in (draw.random(m), draw.random(m) ** 4, draw.integers(0, 4, m) / 30):    # the last with ties
        assert metrics.holm(p.tolist()) == pytest.approx([smallest_that_rejects(p, place) for place in range(m)])


def test_p_values_outside_0_to_1_are_refused():
    for p in ([0.1, 1.2], [-0.1]):
        with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
            metrics.holm(p)
    with pytest.raises(ValueError, match="finite"):
        metrics.holm([0.1, float("nan")])


def pairs(*gains, seed=0, n=6):
    """(ours, baseline) for each gain, with noise of its own."""
    draw = np.random.default_rng(seed)
    return {f"method {i}": (0.9 + gain + draw.normal(0, 0.005, n), 0.9 + draw.normal(0, 0.005, n))
            for i, gain in enumerate(gains)}


def test_a_family_is_its_comparisons_with_holms_p_values_and_the_intervals_of_each_alone():
    given = pairs(0.02, 0.012, 0.0, -0.012, -0.03)
    found = metrics.family(given, images=500, margin=0.02)
    assert list(found) == list(given)
    expected = metrics.holm([stats.ttest_rel(*pair).pvalue for pair in given.values()])
    for (name, pair), p in zip(given.items(), expected, strict=True):
        alone, one = metrics.compare(*pair, images=500, margin=0.02), found[name]
        assert one.holm == pytest.approx(p) and alone.holm is None
        for part in ("n", "images", "mean", "low", "high", "margin", "p"):
            assert getattr(one, part) == getattr(alone, part)
        assert f"Holm's p = {p:.2g}: {one.verdict}" in str(one)


def test_a_verdict_in_a_family_asks_for_interval_and_holm_and_its_direction_is_that_of_the_mean():
    for seed in range(40):
        for one in metrics.family(pairs(0.02, 0.008, 0.008, 0.0, -0.008, seed=seed), images=1).values():
            if one.verdict in ("better", "worse"):
                assert one.holm < 0.05 and (one.low > 0) == (one.mean > 0) == (one.verdict == "better")
            else:
                assert one.holm >= 0.05
                assert (one.verdict == "equal") == (max(-one.low, one.high) <= one.margin)


def test_what_is_better_alone_may_be_inconclusive_among_many_and_a_family_of_one_is_the_comparison():
    ours, baseline = [0.93, 0.82, 0.96, 0.90, 0.91], [0.90, 0.80, 0.95, 0.86, 0.905]
    alone = metrics.compare(ours, baseline, images=1)
    assert alone.verdict == "better" and 0.01 < alone.p < 0.05
    assert metrics.family({"KD": (ours, baseline)}, images=1)["KD"].verdict == "better"
    among = metrics.family({"KD": (ours, baseline), **pairs(0, 0, 0, 0)}, images=1)["KD"]
    assert among.verdict == "inconclusive" and among.low > 0


def test_of_families_without_a_difference_at_most_one_in_twenty_has_a_verdict():
    draw, families, alone, together = np.random.default_rng(0), 400, 0, 0
    for _ in range(families):
        nothing = {i: tuple(draw.normal(0.5, 0.05, (2, 5))) for i in range(10)}
        found = metrics.family(nothing, images=1, margin=0).values()
        alone += any(one.p < 0.05 for one in found)
        together += any(one.verdict != "inconclusive" for one in found)
    assert together / families < 0.05 + 3 * np.sqrt(0.05 * 0.95 / families) < alone / families


@pytest.mark.parametrize("given", [
    {}, [], [("KD", (BASELINE, BASELINE))], {"KD": BASELINE}, {"KD": dict(a=BASELINE, b=BASELINE)}, {"KD": None},
])
def test_a_family_that_is_none_is_refused_and_the_right_one_shown(given):
    with pytest.raises(TypeError, match=r"\(ours, baseline\)"):
        metrics.family(given, images=1)


def test_the_null_of_ece_is_the_mean_of_ece_over_labels_drawn_from_the_answers_themselves():
    draw = torch.Generator().manual_seed(3)
    z = 2 * torch.randn(300, 5, generator=draw)
    p = z.double().softmax(dim=1)
    read = torch.tensor([metrics.ece(z, torch.multinomial(p, 1, generator=draw)[:, 0]) for _ in range(400)])
    mean, high = metrics.ece_null(z, draws=2000)
    assert mean == pytest.approx(read.mean().item(), abs=4 * read.std().item() / 20)
    assert high == pytest.approx(read.quantile(0.95).item(), rel=0.1)


def test_the_null_of_ece_falls_like_one_over_the_root_of_the_images_and_is_nothing_for_one_who_is_always_sure():
    z = 2 * torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    few, many = (metrics.ece_null(z.repeat(times, 1), draws=500)[0] for times in (1, 16))
    assert few / many == pytest.approx(4, rel=0.1)
    assert metrics.ece_null(1e7 * z)[1] == pytest.approx(0, abs=1e-6)


def test_a_calibrated_network_is_under_the_bar_of_the_null_and_an_overconfident_one_above_it():
    draw = torch.Generator().manual_seed(1)
    z = 2 * torch.randn(2000, 5, generator=draw)
    y = torch.multinomial(z.softmax(dim=1), 1, generator=draw)[:, 0]
    assert metrics.ece(z, y) < metrics.ece_null(z, draws=1000)[1] * 1.2
    assert metrics.ece(3 * z, y) > 2 * metrics.ece_null(3 * z)[1]


def test_the_brier_score_of_two_classes_is_twice_that_of_sklearn(answers):
    z, y = answers
    z, y = z[:, :2], y.clamp(max=1)
    p = softmax(z.double().numpy(), axis=1)[:, 1]
    assert metrics.brier(z, y) == pytest.approx(2 * brier_score_loss(y.numpy(), p))


def test_the_brier_score_runs_from_0_to_2_and_is_best_for_the_true_probabilities():
    sure, y = 1000 * torch.eye(3), torch.arange(3)
    assert metrics.brier(sure, y) == pytest.approx(0) and metrics.brier(sure, (y + 1) % 3) == pytest.approx(2)
    z, y = torch.zeros(10, 2), torch.tensor([0] * 7 + [1] * 3)
    scores = {p: metrics.brier(z + torch.tensor([np.log(p), np.log(1 - p)]), y) for p in np.arange(1, 20) / 20}
    assert min(scores, key=scores.get) == pytest.approx(0.7)


@pytest.mark.parametrize("T", [0.3, 1.0, 2.5, 9.0])
def test_temperature_scaling_finds_by_how_much_logits_were_multiplied(answers, T):
    z, y = answers
    base = metrics.best_temperature(z, y)
    assert metrics.best_temperature(T * z, y) == pytest.approx(T * base, rel=1e-3)


def test_at_the_best_temperature_the_mean_logit_of_the_label_is_the_expected_one(answers):
    z, y = answers
    z = z.double() * 3
    p = (z / metrics.best_temperature(z, y)).softmax(dim=1)     # where the derivative of the loss is 0
    assert (p * z).sum(dim=1).mean().item() == pytest.approx(z[torch.arange(200), y].mean().item(), abs=1e-4)
    assert metrics.accuracy(z / 7, y) == metrics.accuracy(z, y)


@pytest.mark.parametrize("z", [torch.eye(4) * 5, -torch.eye(4) * 5])
def test_where_no_temperature_is_best_it_is_said(z):
    with pytest.raises(ValueError, match="no temperature is best"):
        metrics.best_temperature(z, torch.arange(4))


def two_answers(n=600, K=4):
    draw = torch.Generator().manual_seed(5)
    y = torch.randint(K, (n,), generator=draw)
    return (*(torch.randn(n, K, generator=draw) + nn.functional.one_hot(y, K) for _ in range(2)), y)


def test_agreement_by_chance_is_the_mean_after_shuffling_within_each_label():
    z_a, z_b, y = two_answers()
    rows, shuffled = [(y == k).nonzero()[:, 0] for k in range(4)], []
    draw = torch.Generator().manual_seed(0)
    for _ in range(300):
        z = z_b.clone()
        for row in rows:
            z[row] = z_b[row[torch.randperm(len(row), generator=draw)]]
        shuffled.append(metrics.agreement(z_a, z))
    mean = np.mean(shuffled)
    assert metrics.chance_agreement(z_a, z_b, y) == pytest.approx(mean, abs=4 * np.std(shuffled) / np.sqrt(300))


def test_agreement_corrected_for_chance_is_cohens_kappa_if_all_labels_are_alike():
    z_a, z_b, _ = two_answers()
    kappa = cohen_kappa_score(z_a.argmax(1), z_b.argmax(1))
    assert metrics.corrected_agreement(z_a, z_b, torch.zeros(600, dtype=torch.int64)) == pytest.approx(kappa)


def test_networks_that_share_only_the_labels_agree_often_and_when_corrected_not_at_all():
    z_a, z_b, y = two_answers(n=20_000)
    assert metrics.agreement(z_a, z_b) > 0.3
    assert metrics.corrected_agreement(z_a, z_b, y) == pytest.approx(0, abs=0.03)
    assert metrics.corrected_agreement(z_a, 3 * z_a, y) == 1


def test_without_any_difference_within_a_label_agreement_cannot_be_corrected():
    z, y = torch.eye(3), torch.arange(3)
    with pytest.raises(ValueError, match="agreement says nothing"):
        metrics.corrected_agreement(z, z, y)


def features(n=200, d=16, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).double()


def test_unbiased_hsic_is_the_mean_over_all_four_different_images():
    K, L = (f @ f.T for f in (features(7, 3), features(7, 2, seed=1)))
    terms = [K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]) for i, j, q, r in itertools.permutations(range(7), 4)]
    assert metrics.unbiased_hsic(K, L).item() == pytest.approx(torch.stack(terms).mean().item())


def test_the_first_cka_is_that_of_centred_gram_matrices():
    a, b = features(), features(d=5, seed=1)
    H = torch.eye(200).double() - 1 / 200
    K, L = H @ a @ a.T @ H, H @ b @ b.T @ H
    expected = (K * L).sum() / (K.norm() * L.norm())
    assert metrics.biased_linear_cka(a, b) == pytest.approx(expected.item())


@pytest.mark.parametrize("cka", [metrics.linear_cka, metrics.biased_linear_cka])
def test_cka_does_not_see_a_turn_a_shift_or_a_scale_and_sees_a_stretch(cka):
    f = features()
    turn, _ = torch.linalg.qr(features(16, 16, seed=2))
    assert cka(f, 3 * f @ turn + 5) == pytest.approx(1)
    assert cka(f, f * torch.logspace(0, 2, 16).double()) < 0.9
    assert cka(f, features(d=7, seed=3)) == pytest.approx(cka(features(d=7, seed=3), f))


@pytest.mark.parametrize(("n", "d"), [(32, 64), (128, 512), (100, 2000)])
def test_independent_noise_is_similar_to_nothing_by_the_unbiased_cka_and_very_similar_by_the_first(n, d):
    pairs = [(features(n, d, seed=2 * i), features(n, d, seed=2 * i + 1)) for i in range(10)]
    assert abs(np.mean([metrics.linear_cka(*pair) for pair in pairs])) < 0.02
    assert np.mean([metrics.biased_linear_cka(*pair) for pair in pairs]) > 0.6


def test_features_that_no_cka_can_compare_are_refused():
    for bad, message in ((features(3), "4 images or more"), (torch.ones(200, 4), "the same for every image"),
                         (features().index_fill(0, torch.tensor([3]), torch.nan), "finite")):
        with pytest.raises(ValueError, match=message):
            metrics.linear_cka(bad, bad)
    with pytest.raises(ValueError, match=r"\(200, 16\) and \(100, 16\)"):
        metrics.linear_cka(features(), features(100))


def test_the_agreement_of_neighbours_is_that_of_sklearn():
    a, b = features(), features() + features(seed=4)
    near = [NearestNeighbors(n_neighbors=6).fit(f).kneighbors(f, return_distance=False)[:, 1:] for f in (a, b)]
    expected = np.mean([len(set(x) & set(y)) / 5 for x, y in zip(*near, strict=True)])
    assert metrics.neighbour_agreement(a, b, k=5) == pytest.approx(expected)
    assert metrics.neighbour_agreement(a, 2 * a - 1) == 1
    with pytest.raises(ValueError, match="k = 100 neighbours need more than 200"):
        metrics.neighbour_agreement(a, b, k=100)


def test_saliency_of_a_linear_network_adds_up_to_the_logit_and_shows_each_pixels_part():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 3, bias=False))
    x, y = torch.rand(5, 1, 3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    maps = metrics.saliency(linear, x, y)
    torch.testing.assert_close(maps, linear[1].weight.detach()[y].reshape(5, 1, 3, 4) * x)
    torch.testing.assert_close(maps.sum(dim=(1, 2, 3)), linear(x).detach().gather(1, y[:, None])[:, 0])
    assert not x.requires_grad and linear[1].weight.grad is None


def test_the_correlation_of_maps_is_that_of_numpy_image_by_image():
    a, b = torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)
    expected = np.mean([np.corrcoef(u.flatten(), v.flatten())[0, 1] for u, v in zip(a, b, strict=True)])
    assert metrics.map_correlation(a, b) == pytest.approx(expected, abs=1e-6)
    assert metrics.map_correlation(a, 1 - 2 * a) == pytest.approx(-1)
    assert metrics.map_correlation(a, torch.ones_like(a)) == 0


def test_embeddings_are_what_the_last_layer_turns_into_logits(split):
    network = models.build("mlp", tuple(split.x.shape[1:]), 10, seed=0)
    z = network.linear(metrics.embeddings(network, split, batch_size=7))
    torch.testing.assert_close(z.detach(), metrics.predict(network, split))


SOFT = {"nll": metrics.nll, "ece": metrics.ece, "reliability": metrics.reliability, "brier": metrics.brier,
        "best_temperature": metrics.best_temperature, "ece_null": lambda z, y: metrics.ece_null(z)}


@pytest.mark.parametrize("of", [lambda z: z.softmax(dim=1), lambda z: z.softmax(dim=1).bfloat16(),
                                lambda z: z.double().softmax(dim=1), lambda z: (20 * z).softmax(dim=1)])
@pytest.mark.parametrize("measure", SOFT.values(), ids=SOFT)
def test_probabilities_in_the_place_of_logits_are_refused_and_their_logarithms_taken(measure, of, answers):
    z, y = answers
    with pytest.raises(ValueError, match=r"logits are needed, and these are probabilities: all 200 rows .*log\(\)"):
        measure(of(z), y)
    assert measure(of(z).clamp_min(1e-12).log(), y)


@pytest.mark.parametrize("measure", SOFT.values(), ids=SOFT)
def test_logits_that_look_like_probabilities_in_all_rows_but_one_are_taken(measure, answers):
    z, y = answers
    p = z.softmax(dim=1)
    for row in (p[0] * 1.01, p[0] - torch.tensor([1.0, -1.0, 0.0, 0.0])):   # one sums to more, one is negative
        assert measure(torch.cat([row[None], p[1:]]), y)


def test_a_single_row_is_taken_as_logits_and_so_are_predictions_of_which_only_the_largest_counts():
    z, y = torch.tensor([[0.25, 0.75]]), torch.tensor([1])
    assert metrics.nll(z, y) == pytest.approx(np.log(1 + np.exp(-0.5)))
    assert metrics.accuracy(torch.tensor([[0.25, 0.75], [0.5, 0.5]]), torch.tensor([1, 0])) == 1


def test_saliency_needs_one_class_for_each_image_and_images_as_floats(split):
    network, x = models.build("mlp", (1, 8, 8), 10, seed=0), torch.rand(8, 1, 8, 8)
    with pytest.raises(ValueError, match="labels"):
        metrics.saliency(network, x, torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="floats in"):
        metrics.saliency(network, (255 * x).byte(), torch.zeros(8, dtype=torch.long))
    maps = metrics.saliency(network, x, np.arange(8))
    assert torch.equal(maps, metrics.saliency(network, x, torch.arange(8))) and maps.abs().sum() > 0


def test_columns_with_the_same_seeds_in_another_order_are_not_paired_by_place():
    ours = pandas.Series([0.9, 0.8, 0.7], index=[0, 1, 2])
    with pytest.raises(ValueError, match="in another order"):
        metrics.compare(ours, ours[::-1], images=100)
    assert metrics.compare(ours, ours[::-1].sort_index(), images=100).mean == 0
    assert metrics.compare(ours, pandas.Series([0.8, 0.7, 0.6], index=[7, 8, 9]), images=100).mean == pytest.approx(0.1)


@pytest.mark.parametrize("ask", [metrics.predict, metrics.embeddings])
def test_what_is_no_network_or_no_split_is_told_what_is_meant(ask):
    network, source = models.build("mlp", (1, 8, 8), 10, seed=0), data.load("digits")
    for wrong, message in ((distillers.Supervised(network), r"distiller\.deployable\(\)"),
                           (Teacher(network), "give the network itself"),
                           (LogitBank.record(network, source.train), "give the network itself"),
                           (lambda x: x, "a network is needed")):
        with pytest.raises(TypeError, match=message):
            ask(wrong, source.test)
    for wrong, message in ((source, r"source\.test say"), (source.test.x, r"source\.test say")):
        with pytest.raises(TypeError, match=message):
            ask(network, wrong)


def test_embeddings_are_those_of_the_network_also_in_half_precision(split):
    network = models.build("mlp", (1, 8, 8), 10, seed=0)
    whole = metrics.embeddings(network, split)
    torch.testing.assert_close(metrics.embeddings(network.to(torch.bfloat16), split), whole, rtol=0.05, atol=0.05)
