"""The diagrams of the papers' lessons: what is marked is what was asked for, and every arrow has its words."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Rectangle

from kdcourse import viz


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


def test_the_marked_row_and_column_are_framed_and_every_cell_has_its_percent():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    ax = viz.marked(p, ["a", "b", "c"], row=1, column=2)
    frames = [(patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches
              if isinstance(patch, Rectangle)]
    assert frames == [((-0.5, 0.5), 3, 1), ((1.5, -0.5), 1, 2)]
    assert [text.get_text() for text in ax.texts] == ["50", "30", "20", "10", "80", "10"]


def test_every_network_has_a_box_with_its_text_and_every_arrow_goes_from_one_to_the_other():
    boxes = {"t": (0.15, 0.5, "teacher"), "l": (0.5, 0.8, "learner"), "s": (0.85, 0.5, "student")}
    ax = viz.networks(boxes, [("t", "l", "(2)"), ("l", "s", "(3)")])
    words = [text.get_text() for text in ax.texts if text.get_text()]
    assert words == ["teacher", "learner", "student", "(2)", "(3)"]
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    assert [(text.xyann[0] < text.xy[0]) for text in arrows] == [True, True]
    with pytest.raises(KeyError):
        viz.networks(boxes, [("t", "nobody", "")])


def test_the_words_of_a_sloping_arrow_stand_in_a_white_gap_of_it_and_those_of_a_level_one_above_it():
    boxes = {"t": (0.15, 0.5, "teacher"), "l": (0.5, 0.8, "learner"), "s": (0.85, 0.5, "student")}
    ax = viz.networks(boxes, [("t", "l", "slope"), ("t", "s", "level")])
    slope, level = (next(text for text in ax.texts if text.get_text() == word) for word in ("slope", "level"))
    assert slope.get_position() == pytest.approx((0.325, 0.65)) and slope.get_verticalalignment() == "center"
    assert slope.get_bbox_patch().get_facecolor() == (1, 1, 1, 1)
    assert level.get_position()[1] > 0.5 and level.get_bbox_patch() is None
