"""The fidelity explorer's numbers against definitions, and its picture and words against its numbers."""

import time

import ipywidgets
import numpy as np
import pytest
import torch

from kdcourse import metrics
from kdcourse.widgets import FidelityExplorer

NAMES = ("alpha", "beta", "gamma", "delta")


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(n=60, **settings):
    y = torch.arange(n) % 4
    z = 2 * torch.eye(4)[y] + draws(n, 4, seed=1)
    answers = {"teacher": z, "student": z + draws(n, 4, seed=2), "copy": z + 5, "alone": draws(n, 4, seed=3)}
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 4, 4)
    return FidelityExplorer(answers, images, y, NAMES, **settings)


def test_agreement_and_its_parts_are_shares_of_all_images():
    explorer = made()
    now, y = explorer.numbers("teacher", "student"), explorer.y
    a, b = (explorer.z[name].argmax(1) for name in ("teacher", "student"))
    assert now["agreement"] == (a == b).double().mean()
    assert sum(now[part] for part in ("both", "only_first", "only_second", "neither")) == pytest.approx(1)
    assert now["both"] + now["only_first"] == pytest.approx(metrics.accuracy(explorer.z["teacher"], y))
    assert now["counts"].sum() == (a != b).sum() and now["counts"].diagonal().sum() == 0
    assert now["corrected"] == pytest.approx((now["agreement"] - now["chance"]) / (1 - now["chance"]))


def test_the_divergence_is_that_of_the_second_from_the_first():
    explorer = made()
    p, q = (explorer.z[name].softmax(1).numpy() for name in ("teacher", "alone"))
    expected = (p * np.log(p / q)).sum(1)
    now = explorer.numbers("teacher", "alone")
    np.testing.assert_allclose(now["each"], expected, atol=1e-9)
    assert now["kl"] == pytest.approx(expected.mean()) != explorer.numbers("alone", "teacher")["kl"]
    assert now["order"] == np.argsort(-expected, kind="stable").tolist()


def test_a_network_that_says_the_same_up_to_a_constant_is_a_copy():
    now = made().numbers("teacher", "copy")
    assert now["agreement"] == now["corrected"] == 1 and now["kl"] == pytest.approx(0, abs=1e-9)
    explorer = made()
    explorer.second.value = "copy"
    assert "They never differ." in explorer.sentences()


def test_where_every_label_has_one_prediction_nothing_is_corrected():
    z = 5 * torch.eye(4)[torch.arange(8) % 4]
    explorer = FidelityExplorer({"a": z, "b": 2 * z}, torch.zeros(8, 1, 4, 4), torch.arange(8) % 4, NAMES, ranks=3)
    assert explorer.numbers("a", "b")["corrected"] is None and "nothing is left" in explorer.readout.value
    assert explorer.table()[2][3] == ""


def test_the_picture_shows_the_counts_the_image_at_the_rank_and_both_probabilities():
    explorer = made()
    explorer.first.value, explorer.second.value, explorer.rank.value = "student", "alone", 3
    now = explorer.numbers("student", "alone")
    i = now["order"][2]
    np.testing.assert_array_equal(explorer.map.get_array(), now["counts"])
    assert [[int(cell.get_text() or 0) for cell in row] for row in explorer.cells] == now["counts"].tolist()
    assert (explorer.pixels.get_array() == i).all() and f"image {i}" in explorer.caption.get_text()
    for bars, name in zip(explorer.bars, ("student", "alone"), strict=True):
        assert [bar.get_width() for bar in bars] == pytest.approx(explorer.z[name][i].softmax(0).tolist())
    assert explorer.title.get_text().endswith("rows: student\ncolumns: alone")


def test_words_and_table_give_the_numbers():
    explorer = made()
    now, words = explorer.numbers("teacher", "student"), " ".join(explorer.sentences())
    for number in (f"{100 * now['agreement']:.1f} %", f"{100 * now['chance']:.1f} %", f"{now['corrected']:.2f}",
                   f"{now['kl']:.3f}", f"{100 * now['only_second']:.1f} %"):
        assert number in words
    assert [row[0] for row in explorer.table()] == ["teacher and", "teacher", "student", "copy", "alone"]
    assert f"agreement {now['agreement']:.2f}" in repr(explorer)


def test_all_controls_are_ones_that_a_keyboard_reaches_and_each_has_a_label():
    controls = [control for box in made().children if isinstance(box, ipywidgets.HBox) for control in box.children]
    labels = [control.description for control in controls if not isinstance(control, ipywidgets.HTML)]
    assert labels == ["First network", "Second network", "Rank by KL", "Rank (slider)", "Numbers as a table"]


def test_without_their_observer_the_controls_change_nothing():
    explorer = made()
    for control in (explorer.first, explorer.second, explorer.rank):
        control.unobserve(explorer._show, "value")      # raises where it was not observed
    before = explorer.png, explorer.readout.value
    explorer.second.value, explorer.rank.value = "alone", 4
    assert (explorer.png, explorer.readout.value) == before


def test_of_a_hundred_classes_twelve_are_in_the_chart_and_every_ninth_is_named_at_the_map():
    y, z = torch.arange(200) % 100, draws(200, 100)
    explorer = FidelityExplorer({"a": z, "b": draws(200, 100, seed=1)}, torch.zeros(200, 1, 4, 4), y,
                                [f"class {k}" for k in range(100)])
    assert len(explorer.bars[0]) == len(explorer.names) == 12 and explorer.cells == []
    assert explorer.map.get_array().shape == (100, 100)


@pytest.mark.timed
def test_a_change_is_shown_within_a_tenth_of_a_second():
    explorer, times = made(n=240), []
    for rank in range(2, 12):
        start = time.process_time()
        explorer.rank.value = rank
        times.append(time.process_time() - start)
    assert sorted(times)[len(times) // 2] < 0.1


@pytest.mark.parametrize(("change", "message"), [
    ({"answers": {"one": draws(10, 4)}}, "at least two networks"),
    ({"answers": {"one": draws(10, 4), "short": draws(9, 4)}}, "'short' are one row per image"),
    ({"answers": {"one": draws(10, 4), "narrow": draws(10, 3)}}, "narrow has 3 logits and there are 4"),
    ({"answers": {"one": draws(10, 4), "broken": torch.full((10, 4), torch.nan)}}, "'broken' are not finite"),
    ({"ranks": 0}, "from 1 to the 10 there are; it is 0"),
    ({"ranks": 11}, "it is 11"),
    ({"y": torch.full((10,), 4)}, "labels run from 4 to 4"),
])
def test_what_does_not_fit_is_refused(change, message):
    given = {"answers": {"one": draws(10, 4), "other": draws(10, 4, seed=1)}, "images": torch.zeros(10, 1, 4, 4),
             "y": torch.arange(10) % 4, "classes": NAMES, "ranks": 5}
    given |= change
    with pytest.raises(ValueError, match=message):
        FidelityExplorer(given.pop("answers"), given.pop("images"), given.pop("y"), given.pop("classes"), **given)
