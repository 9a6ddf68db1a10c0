"""Pictures: what is drawn is what was given, on the axis that was given, and shown once with a text."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

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
