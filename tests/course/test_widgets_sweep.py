"""The sweep explorer's numbers against `metrics`, and its picture against its numbers."""

import math

import numpy as np
import pandas
import pytest

from kdcourse import metrics
from kdcourse.widgets import SweepExplorer


def rows(Ts=(1, 4, 16), alphas=(0, 0.5, 0.9), seeds=5, value="test"):
    return [{"T": T, "alpha": alpha, "seed": seed, "epoch": 3,
             value: 0.9 + 0.002 * alpha * (5 - abs(T - 4) / 4) + 0.003 * math.sin(7 * seed + (T + 1) * (alpha + 0.1))}
            for T in Ts for alpha in alphas for seed in range(seeds)]


def at(found, T, alpha):
    return [row["test"] for row in found if (row["T"], row["alpha"]) == (T, alpha)]


def test_a_setting_has_the_mean_and_the_interval_of_metrics_over_its_seeds():
    found = rows()
    now = SweepExplorer(found).numbers(4, 0.9)
    assert now["n"] == 5 and list(now["values"].values()) == at(found, 4, 0.9)
    assert (now["mean"], now["low"], now["high"]) == pytest.approx(metrics.interval(at(found, 4, 0.9)))


def test_it_opens_on_the_setting_with_the_best_mean_and_warns_of_it():
    one = SweepExplorer(rows())
    means = {(T, alpha): np.mean(at(rows(), T, alpha)) for T in (1, 4, 16) for alpha in (0, 0.5, 0.9)}
    assert (one.T.value, one.alpha.value) == max(means, key=means.get) == one.best
    assert any("picked for being the best" in sentence for sentence in one.sentences())


def test_the_baseline_are_the_students_that_never_saw_the_teacher_one_for_each_seed():
    found = rows()
    one = SweepExplorer(found, images=597)
    alone = [np.mean([at(found, T, 0)[seed] for T in (1, 4, 16)]) for seed in range(5)]
    assert list(one.baseline.values()) == pytest.approx(alone)
    expected, against = metrics.compare(at(found, 4, 0.9), alone, images=597), one.numbers(4, 0.9)["against"]
    assert (against.n, against.images) == (5, 597)
    assert (against.mean, against.low, against.high) == pytest.approx((expected.mean, expected.low, expected.high))
    one.T.value, one.alpha.value = 4, 0.9
    assert any(expected.verdict in sentence and "597 test images" in sentence for sentence in one.sentences())
    assert expected.verdict in repr(one)


def test_hard_labels_are_not_compared_with_themselves():
    one = SweepExplorer(rows())
    one.alpha.value = 0
    assert one.numbers(4, 0)["against"] is None and "beside" not in repr(one)
    assert any("teacher has no say" in sentence for sentence in one.sentences())


def test_a_baseline_of_its_own_is_paired_by_seed_whatever_its_order():
    found = rows(alphas=(0.5,))
    alone = [{"seed": seed, "test": 0.8 + 0.01 * seed} for seed in (4, 2, 0, 9)]
    against = SweepExplorer(found, baseline=alone).numbers(4, 0.5)["against"]
    ours = at(found, 4, 0.5)
    expected = metrics.interval([ours[seed] - (0.8 + 0.01 * seed) for seed in (0, 2, 4)])
    assert against.n == 3 and (against.mean, against.low, against.high) == pytest.approx(expected)


def test_without_hard_labels_there_is_no_comparison():
    one = SweepExplorer(rows(alphas=(0.5,)))
    assert one.numbers(4, 0.5)["against"] is None and not any("hard labels" in words for words in one.sentences())


def test_one_seed_has_a_mean_and_no_interval_and_the_words_say_what_is_missing():
    found = [row for row in rows() if row["seed"] == 0 or row["T"] != 4]
    one = SweepExplorer(found)
    one.T.value, one.alpha.value = 4, 0.5
    now = one.numbers(4, 0.5)
    assert (now["n"], now["low"], now["high"], now["against"]) == (1, None, None, None)
    assert "an interval needs two" in one.sentences()[0] and "two seeds" in one.sentences()[1]
    _, _, bars, single, _ = one.curves[0]
    assert single.get_xydata() == pytest.approx(np.array([[1, 100 * now["mean"]]]))
    lengths = [high - low for (_, low), (_, high) in bars.get_segments()]
    assert lengths[1] == 0 and lengths[0] > 0 and lengths[2] > 0


def test_a_setting_that_was_not_trained_is_a_gap_and_can_be_chosen():
    one = SweepExplorer([row for row in rows() if (row["T"], row["alpha"]) != (4, 0.5)])
    one.T.value, one.alpha.value = 4, 0.5
    assert one.numbers(4, 0.5) == {"n": 0, "mean": None, "low": None, "high": None, "values": {}, "against": None}
    assert "no student was trained" in one.sentences()[0] and "not trained" in repr(one)
    line = one.curves[0][1]
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]
    assert len(one.curves[0][2].get_segments()) == 2


def test_the_map_and_the_curves_hold_the_numbers():
    one = SweepExplorer(rows())
    means = [[100 * one.numbers(T, alpha)["mean"] for T in (1, 4, 16)] for alpha in (0, 0.5, 0.9)]
    assert np.asarray(one.figure.axes[0].images[0].get_array()) == pytest.approx(np.array(means))
    for T, alpha in ((1, 0.9), (16, 0.5)):
        one.T.value, one.alpha.value = T, alpha
        column, row = one.Ts.index(T), one.alphas.index(alpha)
        cells = [(t, alpha) for t in one.Ts], [(T, a) for a in one.alphas]
        for (_, line, bars, single, ring), curve, chosen in zip(one.curves, cells, (column, row), strict=True):
            known = [one.numbers(*cell) for cell in curve]
            assert line.get_ydata() == pytest.approx([100 * found["mean"] for found in known])
            for (start, end), found in zip(bars.get_segments(), known, strict=True):
                assert (start[1], end[1]) == pytest.approx((100 * found["low"], 100 * found["high"]))
            assert not len(single.get_xdata())
            assert ring.get_xydata() == pytest.approx(np.array([[chosen, 100 * known[chosen]["mean"]]]))
        assert one.frame.get_xy() == (column - 0.5, row - 0.5)
        assert f"alpha = {alpha:g}" in one.curves[0][0].get_title() and f"T = {T:g}" in one.curves[1][0].get_title()


def test_both_curves_have_one_scale_that_holds_every_interval():
    one = SweepExplorer(rows())
    low, high = one.curves[0][0].get_ylim()
    assert one.curves[1][0].get_ylim() == (low, high)
    for cell in one.cells:
        assert low < 100 * one.numbers(*cell)["low"] and 100 * one.numbers(*cell)["high"] < high


def test_an_interval_that_leaves_what_an_accuracy_can_be_does_not_stretch_the_scale():
    one = SweepExplorer([{"T": 1, "alpha": 0.5, "seed": seed, "test": value} for seed, value in enumerate((0.97, 1.0))])
    assert one.numbers(1, 0.5)["high"] > 1.05 and one.curves[0][0].get_ylim()[1] < 110


def test_the_table_holds_every_setting():
    one = SweepExplorer(rows(), images=597)
    first, *others = one.table()
    assert first == ["alpha", "T = 1", "T = 4", "T = 16"] and [row[0] for row in others] == ["0", "0.5", "0.9"]
    mean, low, high = (100 * value for value in metrics.interval(at(rows(), 16, 0.5)))
    assert others[1][3] == f"{mean:.1f} % [{low:.1f}, {high:.1f}], n = 5 seeds"


def test_one_setting_is_a_sweep_too():
    one = SweepExplorer(rows(Ts=(4,), alphas=(0.5,)))
    assert not any("Best mean" in sentence for sentence in one.sentences())
    assert sum("1 of 1" in sentence for sentence in one.sentences()) == 2


def test_rows_of_a_data_frame_and_other_values_do_as_well():
    frame = pandas.DataFrame(rows(value="valid_accuracy"))
    one = SweepExplorer(frame.to_dict("records"), "valid_accuracy")
    assert one.numbers(4, 0.9)["mean"] == pytest.approx(SweepExplorer(rows()).numbers(4, 0.9)["mean"])
    assert "validation accuracy" in one.alt() and "validation accuracy" in one.sentences()[0]


@pytest.mark.parametrize("found, message", [
    ([], "no rows"),
    ([{"alpha": 0.5, "seed": 0, "test": 0.9}], "lacks 'T'.*baseline="),
    ([{"T": float("nan"), "alpha": 0.5, "seed": 0, "test": 0.9}], "lacks 'T'"),
    ([{"T": 1, "alpha": None, "seed": 0, "test": 0.9}], "lacks 'alpha'"),
    ([{"T": 1, "alpha": 0.5, "test": 0.9}], "lacks 'seed'"),
    ([{"T": 1, "alpha": 0.5, "seed": 0, "valid": 0.9}], "lacks 'test'"),
    ([{"T": 1, "alpha": 0.5, "seed": 0, "test": float("nan")}], "lacks 'test'"),
    ([{"T": 1, "alpha": 0.5, "seed": 0, "test": 93.2}], r"accuracy in \[0, 1\].* T = 1, alpha = 0.5 it is 93.2"),
    (2 * [{"T": 1, "alpha": 0.5, "seed": 3, "test": 0.9}], "two rows are of T = 1, alpha = 0.5, seed 3"),
])
def test_rows_that_cannot_be_read_are_refused_in_words(found, message):
    with pytest.raises(ValueError, match=message):
        SweepExplorer(found)


@pytest.mark.parametrize("convert, message", [
    (pandas.DataFrame, r"a DataFrame: of a table, frame\.to_dict\('records'\)"),
    (lambda found: found[0], "a list with a dict for each; this is {'"),
    (lambda found: [row["test"] for row in found], "a list with a dict for each; one of these is 0.9"),
])
def test_what_is_no_list_of_rows_is_refused_and_the_right_call_shown(convert, message):
    with pytest.raises(TypeError, match=message):
        SweepExplorer(convert(rows()))
    with pytest.raises(TypeError, match=message):
        SweepExplorer(rows(), baseline=convert([{"seed": 0, "test": 0.9}]))


def test_rows_may_come_one_by_one():
    one = SweepExplorer(iter(rows()), baseline=iter([{"seed": 0, "test": 0.9}]))
    assert len(one.cells) == 9 and one.baseline == {0: 0.9}


@pytest.mark.parametrize("alone, message", [
    ([{"seed": 0}], "lacks 'test'"),
    (2 * [{"seed": 0, "test": 0.9}], "two rows are of the baseline, seed 0"),
    ([{"seed": 0, "test": -0.1}], "of the baseline it is -0.1"),
])
def test_a_baseline_that_cannot_be_read_is_refused_in_words(alone, message):
    with pytest.raises(ValueError, match=message):
        SweepExplorer(rows(), baseline=alone)
