"""Diagrams: each says what it is given, and refuses what it cannot draw."""

import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

from kdcourse import viz
from kdcourse.viz import base, diagrams

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def words(figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_the_taxonomy_asks_three_questions_of_two_networks():
    said = words(diagrams.taxonomy())
    assert said.count("stage 2") == said.count("logits") == 2 and {"teacher", "student"} <= set(said)
    for kind in ("response", "feature", "relation"):
        assert sum(text.startswith(f"{kind}\n") for text in said) == 1


@pytest.mark.parametrize("pair", [(0, 0), (1, 1), (0, 2)])
def test_a_hint_joins_the_two_stages_that_it_is_taken_between(pair):
    figure = diagrams.hint(["s0", "s1"], ["t0", "t1", "t2"], pair)
    assert {"s0", "s1", "t0", "t1", "t2", "regressor"} <= set(words(figure))
    marked = [box for box in figure.axes[0].patches if box.get_facecolor()[:3] == matplotlib.colors.to_rgb("#56B4E9")]
    centres = [(box.get_x() + box.get_width() / 2, box.get_y() + box.get_height() / 2) for box in marked]
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    expected = [places[f"t{pair[1]}"], places[f"s{pair[0]}"]]
    assert [tuple(round(value, 3) for value in centre) for centre in centres] == [
        tuple(round(value, 3) for value in place) for place in expected]


@pytest.mark.parametrize("pair", [(2, 0), (0, 3), (-1, 0)])
def test_a_hint_between_stages_that_are_not_there_is_refused(pair):
    with pytest.raises(ValueError, match="there are 2 and 3 stages"):
        diagrams.hint(["s0", "s1"], ["t0", "t1", "t2"], pair)


def test_similarity_matrices_are_drawn_as_they_are_under_their_names():
    one, other = torch.eye(3), torch.rand(3, 3)
    figure = diagrams.gram({"teacher": one, "student": other}, ["a", "b", "c"])
    assert [ax.get_title() for ax in figure.axes] == ["teacher", "student"]
    for ax, matrix in zip(figure.axes, (one, other), strict=True):
        torch.testing.assert_close(torch.tensor(ax.images[0].get_array()).float(), matrix)
    with pytest.raises(ValueError, match=r"'teacher' is \(3, 3\), and there are 2 labels"):
        diagrams.gram({"teacher": one}, ["a", "b"])


@pytest.mark.parametrize("points, cosine", [
    ([(1, 0), (0, 0), (0, 1)], "0.00"), ([(1, 1), (0, 0), (2, 2)], "1.00"), ([(-3, 0), (0, 0), (5, 0)], "-1.00"),
    ([(1, 0), (0, 0), (0.5, 3**0.5 / 2)], "0.50"), ([(7, 5), (6, 5), (6, 9)], "0.00"),
])
def test_the_angle_is_the_one_at_the_middle_image(points, cosine):
    assert diagrams.angle(points).get_title().endswith(f"at j: {cosine}")


def test_an_angle_of_coinciding_images_is_drawn_without_a_number_that_is_none():
    assert diagrams.angle([(1, 1), (1, 1), (2, 2)]).get_title().endswith(": 0.00")


@pytest.mark.parametrize("points", [[(0, 0), (1, 1)], [(0, 0, 0), (1, 1, 1), (2, 2, 2)]])
def test_an_angle_of_anything_but_three_points_of_a_plane_is_refused(points):
    with pytest.raises(ValueError, match="three points of two numbers"):
        diagrams.angle(points)


def test_patches_are_numbered_row_by_row_as_their_tokens_are():
    figure = diagrams.patches(torch.zeros(8, 12), (2, 3))
    on_image = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert on_image["0"] < on_image["2"] and on_image["5"] == pytest.approx((9.5, 5.5))
    assert [text.get_text() for text in figure.axes[1].texts][:6] == [str(k) for k in range(6)]


def test_a_box_and_an_arrow_are_drawn_in_one_place():
    folder = Path(viz.__file__).parent
    drawn = {path.name for path in folder.glob("*.py") if re.search("arrowprops|boxstyle", path.read_text())}
    assert drawn == {"base.py"}


def test_an_arrow_keeps_its_gap_from_both_of_its_points():
    ax = base.axis(None)
    for gap in (0, 2, 26):
        base.arrow(ax, (0, 0), (1, 1), gap=gap)
        found = ax.texts[-1].arrow_patch
        assert (found.shrinkA, found.shrinkB) == (gap, gap)
