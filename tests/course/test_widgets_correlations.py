"""The correlation explorer's numbers against NumPy and the losses, and its picture and words against its numbers."""

import time

import ipywidgets
import numpy as np
import pytest
import torch

from kdcourse import losses
from kdcourse.widgets import CorrelationExplorer
from kdcourse.widgets.correlations import BETWEEN, correlations

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(n=60, **settings):
    y = torch.arange(n) % 5
    z_t = 3 * draws(5, 5)[y] + draws(n, 5, seed=1)
    students = {"alone": 2 * draws(n, 5, seed=2), "KD": z_t + draws(n, 5, seed=3), "copy": z_t.clone()}
    return CorrelationExplorer(z_t, students, y, NAMES, **settings)


def dropdowns(explorer):
    return explorer.student, explorer.temperature, explorer.between


def shown(explorer):
    return explorer.png, explorer.picture.value, explorer.readout.value


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_the_correlations_are_those_of_numpy(rows, scale):
    z = scale * draws(40, 6).double()
    expected = np.corrcoef(z.softmax(dim=1).numpy(), rowvar=rows)
    np.testing.assert_allclose(correlations(z, rows=rows), expected, atol=1e-9)


def test_a_row_that_does_not_vary_correlates_with_nothing_and_so_small_a_column_still_does():
    z = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]).double()
    assert correlations(z, rows=True)[0].abs().max() == 0
    faint = 3 * draws(40, 4).double() - torch.tensor([0.0, 0, 0, 900])     # about 1e-390 of all probability
    assert correlations(faint, rows=False).diagonal().tolist() == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("between", BETWEEN)
def test_the_gap_is_the_mean_absolute_difference_off_the_diagonal_and_the_pair_the_largest(between):
    explorer = made()
    now = explorer.numbers("KD", 2, between)
    off = ~np.eye(len(now["teacher"]), dtype=bool)
    difference = np.abs((now["student"] - now["teacher"]).numpy())
    assert now["gap"] == pytest.approx(difference[off].mean())
    assert difference[now["pair"]] == difference[off].max()
    assert len(now["teacher"]) == (5 if between == "classes" else 20)     # of five classes four images each


def test_a_student_that_copies_the_teacher_is_nowhere_apart_from_it():
    explorer = made()
    for between in BETWEEN:
        now = explorer.numbers("copy", 1, between)
        assert now["gap"] == 0 and now["inter"] == pytest.approx(0, abs=1e-6) == now["intra"]


def test_the_two_distances_of_dist_are_those_of_the_losses():
    explorer = made()
    now = explorer.numbers("KD", 2)
    z_s, z_t = explorer.z_s["KD"], explorer.z_t
    assert now["inter"] == pytest.approx(losses.inter_class_loss(z_s, z_t, T=2).item())
    assert now["intra"] == pytest.approx(losses.intra_class_loss(z_s, z_t, T=2).item())


def test_images_are_compared_sorted_by_their_labels_whatever_order_they_came_in():
    explorer = made(each=3)
    assert explorer._labels() == [name for name in NAMES for _ in range(3)]
    p = explorer.z_t.softmax(dim=1)[[row + 5 * k for row in range(5) for k in range(3)]]
    np.testing.assert_allclose(explorer.numbers("KD", 1, "images")["teacher"], np.corrcoef(p.numpy()), atol=1e-9)


def test_every_control_changes_the_picture_the_words_and_the_text_of_the_picture():
    explorer = made()
    for control in dropdowns(explorer):
        first = control.value
        for _, value in control.options[::-1]:
            if value != control.value:
                before, alt = shown(explorer), explorer.alt()
                control.value = value
                assert all(a != b for a, b in zip(before, shown(explorer), strict=True)), (control.description, value)
                assert explorer.alt() != alt
        control.value = first


def test_without_their_observer_the_controls_change_nothing():
    explorer = made()
    for control in dropdowns(explorer):
        control.unobserve(explorer._show, "value")      # raises where it was not observed
    before = shown(explorer)
    explorer.student.value, explorer.between.value = "KD", "images"
    assert shown(explorer) == before


def test_the_slider_moves_with_its_dropdown():
    explorer = made()
    explorer.slider.value = 8
    assert explorer.temperature.value == 8 and "At T = 8," in explorer.readout.value


def test_the_maps_show_the_matrices_and_the_bars_the_gaps():
    explorer = made()
    explorer.student.value, explorer.between.value, explorer.temperature.value = "KD", "images", 2
    now = explorer.numbers("KD", 2, "images")
    for picture, key in zip(explorer.maps, ("teacher", "student", "difference"), strict=True):
        np.testing.assert_array_equal(picture.get_array(), now[key])
    for bar, name in zip(explorer.bars, explorer.z_s, strict=True):
        assert bar.get_width() == explorer.numbers(name, 2, "images")["gap"]
    assert len({bar.get_facecolor() for bar in explorer.bars}) == 2     # the chosen one, and the others


def test_words_and_table_give_the_numbers():
    explorer = made()
    explorer.as_table.value = True
    now = explorer.numbers("alone", 4)
    for number in (now["gap"], now["inter"], now["intra"]):
        assert f"{number:.3f}" in " ".join(explorer.sentences())
    assert explorer.table()[1] == ["alone", *(f"{number:.3f}" for number in (
        now["gap"], explorer.numbers("alone", 4, "images")["gap"], now["inter"], now["intra"]))]
    assert explorer.readout.value.count("<tr>") == 4
    assert f"apart by {now['gap']:.2f}" in repr(explorer) and len(repr(explorer)) < 100


def test_all_controls_are_ones_that_a_keyboard_reaches_and_each_has_a_label():
    explorer = made()
    controls = [control for box in explorer.children if isinstance(box, ipywidgets.HBox) for control in box.children]
    labels = [control.description for control in controls if not isinstance(control, ipywidgets.HTML)]
    assert labels == ["Student", "Correlations between", "Temperature T", "T (slider)", "Numbers as a table"]


def test_a_hundred_classes_are_drawn_and_every_ninth_is_named():
    y = torch.arange(300) % 100
    z_t = draws(300, 100)
    explorer = CorrelationExplorer(z_t, {"only": draws(300, 100, seed=1)}, y, [f"class {k}" for k in range(100)])
    assert explorer.maps[0].get_array().shape == (100, 100) and len(explorer.names) == 12


@pytest.mark.timed
def test_a_change_is_shown_within_a_tenth_of_a_second():
    explorer, times = made(n=1500), []
    for T in (1, 2, 4, 8) * 2:
        start = time.process_time()
        explorer.temperature.value = T
        times.append(time.process_time() - start)
    assert sorted(times)[len(times) // 2] < 0.1


@pytest.mark.parametrize(("change", "message"), [
    ({"students": {}}, "at least one student"),
    ({"temperatures": ()}, "one temperature"),
    ({"temperatures": (0,)}, "T = 0|temperature"),
    ({"each": 0}, "one image of each class"),
    ({"students": {"short": torch.zeros(9, 5)}}, "'short' are one row per image"),
    ({"students": {"narrow": torch.zeros(10, 4)}}, "narrow has 4 logits and there are 5"),
    ({"z_t": torch.full((10, 5), torch.nan)}, "teacher's logits are not finite"),
    ({"y": torch.full((10,), 5)}, "labels run from 5 to 5"),
    ({"z_t": torch.zeros(10, 2), "students": {"s": torch.zeros(10, 2)}, "classes": ("a", "b"),
      "y": torch.zeros(10, dtype=torch.int64)}, "at least three"),
])
def test_what_does_not_fit_is_refused(change, message):
    given = {"z_t": draws(10, 5), "students": {"one": draws(10, 5)}, "y": torch.arange(10) % 5, "classes": NAMES}
    with pytest.raises(ValueError, match=message):
        CorrelationExplorer(**{**given, **change})
