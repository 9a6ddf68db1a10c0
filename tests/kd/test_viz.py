"""Pictures: what is drawn is what was given, on the axis that was given, and shown once with a text."""

import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb

from kdcourse import metrics, viz
from kdcourse.viz import base

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_distributions_draw_one_bar_per_class_of_the_height_of_its_probability():
    p = torch.tensor([0.7, 0.2, 0.1])
    ax = viz.distributions({"teacher": p, "student": [0.1, 0.3, 0.6]}, ["a", "b", "c"])
    assert [bar.get_height() for bar in ax.patches] == pytest.approx([0.7, 0.2, 0.1, 0.1, 0.3, 0.6])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in ax.patches]
    middles = [(left + right) / 2 for left, right in zip(centres[:3], centres[3:], strict=True)]
    assert middles == pytest.approx([0, 1, 2])


def test_curves_draw_the_rows_over_their_epochs():
    rows = {"alone": [{"epoch": 1, "nll": 2.0}, {"epoch": 2, "nll": 1.5}], "taught": [{"epoch": 1, "nll": 1.0}]}
    ax = viz.curves(rows, "nll")
    first, second = ax.get_lines()
    assert first.get_xydata().tolist() == [[1, 2.0], [2, 1.5]] and second.get_xydata().tolist() == [[1, 1.0]]
    assert ax.get_ylabel() == "nll"


def test_sweep_draws_means_with_their_intervals_in_percent():
    accuracies = {1: [0.5, 0.6, 0.7], 4: [0.9, 0.9, 0.9]}
    ax = viz.sweep(accuracies, baseline=[0.4, 0.5], label="T")
    line, _, (bars,) = ax.containers[0].lines
    assert line.get_ydata() == pytest.approx([60, 90])
    low, high = bars.get_segments()[0][:, 1]
    assert (low, high) == pytest.approx(tuple(100 * value for value in metrics.interval(accuracies[1])[1:]))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "4"]


def test_drawing_uses_the_axis_it_is_given():
    _, (left, right) = plt.subplots(1, 2)
    assert viz.curves({"a": [{"epoch": 1, "nll": 1.0}]}, "nll", ax=right) is right
    assert not left.lines and len(plt.get_fignums()) == 1


def test_images_are_shown_the_right_way_up_in_reading_order():
    x = torch.arange(3 * 4, dtype=torch.uint8).reshape(3, 1, 2, 2)
    figure = viz.images(x, titles=["p", "q", "r"], columns=2)
    drawn = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in drawn] == ["p", "q", "r"]
    for ax, image in zip(drawn, x, strict=True):
        assert ax.images[0].get_array().tolist() == image[0].tolist()


def test_a_picture_is_shown_once_as_png_with_its_text(monkeypatch):
    shown = []
    monkeypatch.setattr(base, "display", shown.append)
    viz.distributions({"p": [0.5, 0.5]}, ["a", "b"])
    viz.show(alt="Two bars of equal height.")
    (image,) = shown
    data, metadata = image._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == "Two bars of equal height." and "image/png" in data
    assert plt.get_fignums() == []


def test_heat_map_writes_mean_and_interval_of_every_cell_where_it_belongs():
    rows = [{"T": T, "alpha": alpha, "seed": seed, "test": 0.5 + T / 100 + alpha / 10 + seed / 1000}
            for T in (4, 1) for alpha in (0.9, 0.5) for seed in range(3)]
    rows.append({"T": 16, "alpha": 0.5, "seed": 0, "test": 0.25})
    ax = viz.heat_map(rows, "T", "alpha", "test")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "4", "16"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0.5", "0.9"]
    written = {text.get_position(): text.get_text() for text in ax.texts}
    mean, _, high = metrics.interval([100 * (0.5 + 0.04 + 0.09 + seed / 1000) for seed in range(3)])
    assert written[1, 1] == f"{mean:.1f}\n± {high - mean:.1f}"
    assert written[2, 0] == "25.0" and (2, 1) not in written and len(written) == 5
    assert ax.images[0].get_array()[0, 2] == pytest.approx(25) and ax.images[0].get_array().mask[1, 2]


def test_reliability_draws_accuracy_over_confidence_with_dots_that_grow_with_their_share():
    rows = [{"confidence": 0.5, "accuracy": 0.25, "share": 0.2}, {"confidence": 0.9, "accuracy": 0.75, "share": 0.8}]
    ax = viz.reliability({"student": rows})
    [dots] = ax.collections
    assert dots.get_offsets().tolist() == [[50, 25], [90, 75]]
    small, large = dots.get_sizes()
    assert small < large
    assert ax.get_lines()[0].get_xydata().tolist() == [[0, 0], [100, 100]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["as sure as right", "student"]


def bins(share=1.0):
    return [{"confidence": 0.5, "accuracy": 0.25, "share": share}]


@pytest.mark.parametrize("colour", base.COLOURS)
def test_every_colour_is_seen_on_white(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    assert 1.05 / (0.05 + np.dot((0.2126, 0.7152, 0.0722), linear)) > 2  # contrast as WCAG 2.2 defines it; yellow: 1.3


@pytest.mark.parametrize("n", [1, 8, 9, 22, 64, 70])
def test_any_number_of_curves_is_drawn_and_the_first_64_can_be_told_apart(n):
    ax = viz.curves({f"method {k}": [{"epoch": 1, "a": k}, {"epoch": 2, "a": k}] for k in range(n)}, "a")
    looks = [(line.get_color(), line.get_marker()) for line in ax.get_lines()]
    assert len(looks) == n and len(set(looks)) == min(n, 64)
    assert looks[:8] == list(zip(base.COLOURS, base.MARKERS, strict=True))[:n]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [f"method {k}" for k in range(n)]


@pytest.mark.parametrize("n", [8, 9, 22, 70])
def test_any_number_of_reliabilities_is_drawn_and_the_first_64_can_be_told_apart(n):
    ax = viz.reliability({f"method {k}": bins() for k in range(n)})
    looks = [(to_hex(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in ax.collections]
    assert len(looks) == n and len(set(looks)) == min(n, 64)


@pytest.mark.parametrize("n", [8, 9, 22, 70])
def test_any_number_of_distributions_is_drawn_and_the_first_64_can_be_told_apart(n):
    ax = viz.distributions({f"method {k}": [0.25, 0.75] for k in range(n)}, ["a", "b"])
    looks = {(to_hex(bar.get_facecolor()), bar.get_hatch()) for bar in ax.patches}
    assert len(ax.patches) == 2 * n and len(looks) == min(n, 64)
    left, right = (sorted(bar.get_x() for bar in ax.patches)[i * n] for i in (0, 1))
    assert right - left == pytest.approx(1)
    plain = {bar.get_hatch() for bar in ax.patches[:16]}
    assert plain == {""}


def test_a_legend_of_many_stands_beside_the_curves_and_inside_the_picture():
    for n in (8, 40):
        ax = viz.curves({f"method {k}": [{"epoch": e, "a": k} for e in range(3)] for k in range(n)}, "a")
        ax.figure.draw_without_rendering()
        box, inner = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert (box.x0 >= inner.x1) == (n > 8)
        assert box.x1 <= ax.figure.bbox.x1 + 1 and box.y0 >= -1


def test_grey_values_are_shown_as_they_are():
    for x, black in ((torch.full((2, 1, 3, 3), 100, dtype=torch.uint8), 255), (torch.full((2, 1, 3, 3), 0.4), 1)):
        x[1] += torch.ones_like(x[1]) * (20 if black == 255 else 0.08)
        x[1, 0, 0, 0] = 0
        for ax, image in zip(viz.images(x, columns=2).axes, x, strict=True):
            drawn = ax.images[0].to_rgba(ax.images[0].get_array())
            expected = 1 - image[0].double().numpy() / black        # 0 is white
            for channel in range(3):
                assert drawn[..., channel] == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("convert", [torch.Tensor.numpy, torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.double])
def test_images_may_be_arrays_and_floats_of_any_kind(convert):
    for channels in (1, 3):
        x = torch.rand(3, channels, 2, 2, generator=torch.Generator().manual_seed(0))
        (first, *_), expected = viz.images(convert(x)).axes, x[0].permute(1, 2, 0).squeeze(-1)
        assert np.asarray(first.images[0].get_array()) == pytest.approx(expected.numpy(), abs=0.01)


@pytest.mark.parametrize("x, said", [
    (torch.zeros(0, 1, 2, 2), r"at least one; these are \(0, 1, 2, 2\)"),
    (torch.zeros(1, 2, 2), r"these are \(1, 2, 2\)"),
    (torch.zeros(2, 2, 2, 1), r"these are \(2, 2, 2, 1\)"), (torch.zeros(2, 4, 2, 2), r"these are \(2, 4, 2, 2\)"),
    (torch.full((1, 3, 2, 2), 1.5), "before they were normalised"),
    (-torch.ones(1, 1, 2, 2), "before they were normalised"), (torch.full((1, 1, 2, 2), torch.nan), "bytes or floats"),
    (torch.ones(1, 1, 2, 2, dtype=torch.long), "bytes or floats"),
])
def test_what_is_no_picture_is_refused_in_words(x, said):
    with pytest.raises(ValueError, match=said):
        viz.images(x)


def test_titles_and_columns_that_do_not_fit_are_refused_in_words():
    x = torch.zeros(3, 1, 2, 2)
    for titles in (["a"], range(4)):
        with pytest.raises(ValueError, match=f"3 images and {len(titles)} titles"):
            viz.images(x, titles)
    with pytest.raises(ValueError, match="columns is 0"):
        viz.images(x, columns=0)


ROWS = [{"epoch": 1, "nll": 2.0, "T": 1, "alpha": 0.5, "test": 0.9}]
DRAWN = {
    "curves": lambda rows: viz.curves({"alone": rows}, "nll"),
    "heat_map": lambda rows: viz.heat_map(rows, "T", "alpha", "test"),
    "reliability": lambda rows: viz.reliability({"alone": rows}),
}


@pytest.mark.parametrize("draw", DRAWN)
def test_what_is_no_list_of_rows_is_refused_and_the_right_call_shown(draw):
    with pytest.raises(TypeError, match=re.escape("frame.to_dict('records')")):
        DRAWN[draw](pandas.DataFrame(ROWS))
    for rows in (ROWS[0], [1.0, 2.0], "rows", 3):
        with pytest.raises(TypeError, match="a list with a dict for each; "):
            DRAWN[draw](rows)
    with pytest.raises(ValueError, match=r"a row lacks '\w+'; it has: seed, kd"):
        DRAWN[draw]([{"seed": 0, "kd": 1.0}])


@pytest.mark.parametrize("draw", [lambda given: viz.curves(given, "nll"), viz.reliability,
                                  lambda given: viz.distributions(given, ["a"]),
                                  lambda given: viz.sweep(given, label="T")])
def test_nothing_and_what_has_no_name_are_refused_in_words(draw):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw({})
    for given in (ROWS, pandas.DataFrame(ROWS)):
        with pytest.raises(TypeError, match="to say what is what"):
            draw(given)
    with pytest.raises(ValueError, match="no rows to draw"):
        viz.heat_map([], "T", "alpha", "test")


def test_percent_is_refused_where_a_picture_makes_percent_itself():
    with pytest.raises(ValueError, match=r"the mean at T = 4 is 91: divide percent by 100"):
        viz.sweep({4: [90, 92]}, label="T")
    with pytest.raises(ValueError, match=r"the mean of the baseline is 91"):
        viz.sweep({4: [0.90, 0.92]}, baseline=[90, 92], label="T")
    with pytest.raises(ValueError, match=r"'test' is shown in percent .* in one row it is 90"):
        viz.heat_map([{**ROWS[0], "test": 90.0}], "T", "alpha", "test")


def test_a_distribution_has_a_probability_for_each_class():
    with pytest.raises(ValueError, match=r"'student' has 3 probabilities, and there are 2 classes"):
        viz.distributions({"teacher": [0.5, 0.5], "student": [0.2, 0.3, 0.5]}, ["a", "b"])


def test_a_sweep_may_be_over_names():
    ax = viz.sweep({"adam": [0.5, 0.6], "sgd": [0.6, 0.7]}, label="optimiser")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["adam", "sgd"]
    rows = [{"T": "low", "alpha": 0.5, "test": 0.9}, {"T": "high", "alpha": 0.5, "test": 0.8}]
    ax = viz.heat_map(rows, "T", "alpha", "test")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["high", "low"]


@pytest.mark.parametrize("dashed", [False, True])
def test_a_box_reaches_as_far_as_it_is_told_and_holds_its_words(dashed):
    _, ax = plt.subplots()
    base.box(ax, 2.0, 3.0, 0.5, 0.25, "words", "0.9", pad=0.0, dashed=dashed)
    (patch,), (text,) = ax.patches, ax.texts
    assert patch.get_path().get_extents().extents == pytest.approx([1.5, 2.75, 2.5, 3.25])
    assert text.get_position() == (2.0, 3.0) and text.get_text() == "words" and text.get_bbox_patch() is None
    assert patch.get_linestyle() == ("--" if dashed else "-")


def test_a_box_without_a_size_is_as_large_as_its_words_need():
    figure, ax = plt.subplots()
    for y, words in ((0.3, "a"), (0.7, "a longer text")):
        base.box(ax, 0.5, y, None, None, words, pad=0.35)
    figure.draw_without_rendering()
    small, large = (text.get_bbox_patch().get_window_extent() for text in ax.texts)
    assert not ax.patches and large.width > 2 * small.width
    for text in ax.texts:
        words, frame = text.get_window_extent(), text.get_bbox_patch().get_window_extent()
        assert frame.x0 < words.x0 and words.x1 < frame.x1 and frame.y0 < words.y0 and words.y1 < frame.y1


@pytest.mark.parametrize("both, heads", [(False, "->"), (True, "<->")])
def test_an_arrow_goes_from_its_start_to_its_end_and_has_a_head_where_it_goes(both, heads):
    figure, ax = plt.subplots()
    ax.set(xlim=(0, 10), ylim=(0, 10))
    base.arrow(ax, (2, 3), (8, 9), both=both)
    figure.draw_without_rendering()
    (drawn,) = (text.arrow_patch for text in ax.texts)
    lines, _ = drawn._get_path_in_displaycoord()
    ends = ax.transData.inverted().transform(lines[0].vertices[[0, -1]])
    np.testing.assert_allclose(ends, [[2, 3], [8, 9]], atol=0.1)
    assert drawn.get_arrowstyle().arrow == heads


def test_a_bent_arrow_is_as_high_as_it_is_told():
    figure, ax = plt.subplots(figsize=(4, 4))
    ax.set(xlim=(0, 10), ylim=(0, 10), aspect="equal")
    base.arrow(ax, (1, 5), (9, 5), bend=0.25)
    figure.draw_without_rendering()
    (drawn,) = (text.arrow_patch for text in ax.texts)
    middle = ax.transData.inverted().transform(drawn._get_path_in_displaycoord()[0][0].vertices[1])
    assert abs(middle[1] - 5) == pytest.approx(0.25 * 8, rel=0.05)    # the point that a quadratic curve bends towards


def grid(third=(0,)):
    return [{"T": T, "alpha": alpha, "third": value, "seed": seed, "epoch": epoch, "right": 0.1 * epoch + 0.01 * seed}
            for T in (1, 4) for alpha in (0.5, 0.9) for value in third for seed in (0, 1) for epoch in (1, 2, 3)]


def test_a_heat_map_shows_the_last_epoch_of_each_student():
    texts = [text.get_text() for text in viz.heat_map(grid(), "T", "alpha", "right").texts]
    assert texts == [text.get_text() for text in viz.heat_map(grid()[2::3], "T", "alpha", "right").texts]
    assert all(text.startswith("30.5\n") for text in texts)


def test_a_heat_map_of_a_third_setting_is_refused_by_its_name():
    with pytest.raises(ValueError, match=r"there are 2 rows of T = 1, alpha = 0\.5 and seed 0, which differ in third"):
        viz.heat_map(grid(third=(0, 1)), "T", "alpha", "right")


def test_a_term_that_is_off_in_the_last_epoch_is_drawn_where_it_was_on():
    rows = [{"epoch": 1, "ce": 2.0, "ce_weight": 0.5, "kd": 3.0, "kd_weight": 0.5},
            {"epoch": 2, "ce": 1.0, "ce_weight": 1.0}]
    lines = {line.get_label(): line.get_xydata().tolist() for line in viz.terms(rows).get_lines()}
    assert lines == {"ce": [[1, 2.0], [2, 1.0]], "kd": [[1, 3.0]]}


def test_percent_where_shares_are_meant_are_told():
    for draw in (lambda: viz.seeds({"A": [72.5, 73.0]}), lambda: viz.against_cost({"A": (1, [72.5])}, cost="s")):
        with pytest.raises(ValueError, match=r"the mean of 'A' is 72.*divide percent by 100"):
            draw()
    with pytest.raises(ValueError, match="unknown name 'KDD'"):
        viz.differences({"KD": [0.7, 0.8], "hard labels": [0.7, 0.7]}, "KDD")


def test_charts_of_probabilities_have_one_axis_and_those_of_pushes_their_own():
    for values, shared in ((([0.7, 0.3], [0.1, 0.05]), True), (([0.7, -0.7], [0.1, -0.1]), False)):
        axes = viz.one_vector(dict(zip("ab", values, strict=True)), ["x", "y"], label=0)
        assert (axes[0, 0].get_ylim() == axes[0, 1].get_ylim()) == shared
