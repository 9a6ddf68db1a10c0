"""The temperature explorer's numbers against scipy and autograd, and its picture against its numbers."""

import base64
import io
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from scipy.special import softmax
from test_widgets import draws, pixels
from traitlets import TraitError

from kdcourse.widgets import TemperatureExplorer


def explorer(K=5, N=4, **given):
    settings = {"images": pixels(N, 1, 8, 8), "z_t": 3 * draws(N, K), "z_s": 3 * draws(N, K, seed=1),
                "y": torch.arange(N) % K, "classes": [f"class {k}" for k in range(K)]}
    return TemperatureExplorer(**settings | given)


@pytest.mark.parametrize("T", [0.5, 1, 7.0, 64])
def test_distributions_entropies_and_divergence_are_scipys(T):
    one = explorer()
    for image in range(4):
        now = one.numbers(image, T)
        p_t, p_s = softmax(one.z_t[image].numpy() / T), softmax(one.z_s[image].numpy() / T)
        assert now["p_t"].numpy() == pytest.approx(p_t) and now["p_s"].numpy() == pytest.approx(p_s)
        assert now["entropy_t"] == pytest.approx(stats.entropy(p_t))
        assert now["entropy_s"] == pytest.approx(stats.entropy(p_s))
        assert now["kl"] == pytest.approx(stats.entropy(p_t, p_s))


@pytest.mark.parametrize("T", [0.5, 1, 7.0, 64])
def test_the_gradients_are_those_that_autograd_finds(T):
    one = explorer()
    for image in range(4):
        z_s = one.z_s[image].clone().requires_grad_()
        soft = T**2 * F.kl_div((z_s / T).log_softmax(0), (one.z_t[image] / T).softmax(0), reduction="sum")
        hard = F.cross_entropy(z_s[None], torch.tensor([one.y[image]]))
        now = one.numbers(image, T)
        for name, loss in (("soft", soft), ("hard", hard)):
            gradient, = torch.autograd.grad(loss, z_s)
            torch.testing.assert_close(now[name], gradient)


def test_the_ratio_is_that_of_the_teachers_second_and_third_class_for_both_networks():
    one = explorer()
    now = one.numbers(2, 3.0)
    _, second, third = np.argsort(-one.z_t[2].numpy())[:3]
    assert (now["second"], now["third"]) == (second, third)
    assert now["ratio_t"] == pytest.approx((now["p_t"][second] / now["p_t"][third]).item())
    assert now["ratio_s"] == pytest.approx((now["p_s"][second] / now["p_s"][third]).item())


def test_two_classes_have_no_third_one_and_the_words_say_so():
    one = explorer(K=2)
    now = one.numbers(0, 4)
    assert now["third"] is None and now["ratio_t"] is None and now["ratio_s"] is None
    assert any("no third" in sentence for sentence in one.sentences()) and "2nd" not in one.note.get_text()


def test_three_classes_have_a_ratio():
    one = explorer(K=3)
    assert one.numbers(0, 4)["ratio_t"] > 1 and "2nd : 3rd" in one.note.get_text()


def test_numbers_ask_nothing_of_the_controls():
    one = explorer()
    before = one.numbers(1, 3.0)
    one.image.value, one.temperature.value = 3, 64
    after = one.numbers(1, 3.0)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b))
               for a, b in zip(before.values(), after.values(), strict=True))


def test_the_bars_are_as_long_as_the_numbers_and_the_label_is_bold():
    one = explorer()
    for image, T in ((0, 4), (3, 0.5), (1, 64)):
        one.image.value, one.temperature.value = image, T
        now = one.numbers(image, T)
        for bars, name in zip(one.bars, ("p_t", "p_s", "soft", "hard"), strict=True):
            assert [bar.get_width() for bar in bars] == pytest.approx(now[name].tolist())
        assert [text.get_text() for text in one.names] == one.classes
        assert [text.get_weight() == "bold" for text in one.names] == [k == one.y[image] for k in range(5)]
        assert (one.pixels.get_array() == one.images[image]).all()
        assert f"T = {T:g} " in one.note.get_text() and f"image {image}" in one.caption.get_text()


def test_no_bar_leaves_its_axis_and_the_scale_of_an_image_is_the_same_at_every_temperature():
    one = explorer(z_s=30 * draws(4, 5, seed=1))
    for image in range(4):
        one.image.value, scales = image, set()
        for _, T in one.temperature.options:
            one.temperature.value = T
            low, high = one.right.get_xlim()
            scales.add((low, high))
            lengths = [bar.get_width() for bars in one.bars[2:] for bar in bars]
            assert low < min(lengths) and max(lengths) < high
        assert len(scales) == 1


def test_the_words_say_what_the_numbers_are():
    z_t, z_s = torch.tensor([[0.0, 4.0, 2.0]]), torch.tensor([[0.0, 0.0, 6.0]])
    one = explorer(K=3, N=1, z_t=z_t, z_s=z_s, y=torch.tensor([1]), classes=["a", "b", "c"], temperatures=[2])
    p_t, p_s = softmax([0, 2, 1]), softmax([0, 0, 3])
    said = " ".join(one.sentences())
    for words in (f"“b” ({100 * p_t[1]:.1f} %)", f"“c” ({100 * p_s[2]:.1f} %)", f"{stats.entropy(p_t):.2f} nats",
                  f"{math.log(3):.2f} would be", f"{stats.entropy(p_t, p_s):.3f} nats", "classes are “c” and “a”",
                  "second 2.72 times", "student 20.1 times",
                  f"largest for “c”, {2 * (p_s - p_t)[2]:+.3f}: descent lowers",
                  f"largest for “b”, {softmax([0, 0, 6])[1] - 1:+.3f}: descent raises"):
        assert words in said
    assert f"{stats.entropy(p_t):.1f} and {stats.entropy(p_s):.1f} nats" in repr(one)


def test_a_student_that_equals_its_teacher_gets_no_gradient():
    one = explorer(z_s=3 * draws(4, 5))
    assert any("below 0.0005 for every class" in sentence for sentence in one.sentences())
    assert one.numbers(0, 4)["kl"] == 0


def test_the_front_end_and_the_explorer_move_each_other():
    one = explorer()
    assert (one.front.image, one.front.temperature, one.front.direction) == (0, 4, "forward")
    one.image.value, one.temperature.value = 2, 64
    assert (one.front.image, one.front.temperature) == (2, 64)
    picture = one.png
    one.front.image, one.front.temperature = 1, 0.5
    assert (one.image.value, one.temperature.value) == (1, 0.5) and one.png != picture
    with pytest.raises(TraitError):
        one.front.direction = "sideways"


def test_the_front_end_gets_everything_that_it_shows():
    for channels in (1, 3):
        images = pixels(4, channels, 8, 6)
        one = explorer(images=images)
        assert one.children == (one.front,)
        known = json.loads(json.dumps(one.front.known))
        assert torch.equal(torch.tensor(known["z_t"], dtype=torch.float64), one.z_t)
        assert torch.equal(torch.tensor(known["z_s"], dtype=torch.float64), one.z_s)
        assert (known["y"], known["classes"]) == (one.y, one.classes)
        assert known["temperatures"] == [T for _, T in one.temperature.options]
        for address, image in zip(known["images"], images, strict=True):
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
            assert (shown == (255 - image[0].numpy() if channels == 1 else image.permute(1, 2, 0).numpy())).all()


def test_of_many_classes_the_teachers_most_probable_are_shown_and_the_label():
    one = explorer(K=40, N=3, y=torch.tensor([0, 20, 38]), z_t=torch.arange(40.0).roll(7).repeat(3, 1))
    for image, label in ((0, 0), (1, 20), (2, 38)):
        one.image.value = image
        shown = [text.get_text() for text in one.names]
        expected = one.z_t[image].argsort(descending=True).tolist()[:12]
        if label == 20:     # the only one of the three that the teacher finds improbable
            expected[-1] = label
        assert shown == [f"class {k}" for k in expected]
        widths = [bar.get_width() for bar in one.bars[0]]
        assert widths == pytest.approx(one.numbers(image, 4)["p_t"][expected].tolist())
    assert any("12 of 40 classes" in sentence for sentence in one.sentences()) and len(one.table()) == 13


def test_grey_and_colour_bytes_and_floats_are_shown_as_they_are():
    grey, colour = pixels(4, 1, 8, 6), pixels(4, 3, 8, 6)
    assert (explorer(images=grey).images[1] == grey[1, 0].numpy()).all()
    assert (explorer(images=colour).images[1] == colour[1].permute(1, 2, 0).numpy()).all()
    for images in (grey, colour):
        assert explorer(images=images).png == explorer(images=images.float() / 255).png
    assert explorer(images=grey).png != explorer(images=colour).png


def test_logits_in_the_thousands_stay_finite():
    one = explorer(z_t=1e4 * draws(4, 5), z_s=1e4 * draws(4, 5, seed=1))
    for _, T in one.temperature.options:
        now = one.numbers(0, T)
        assert all(math.isfinite(now[name]) for name in ("entropy_t", "entropy_s", "kl"))
        assert now["soft"].isfinite().all() and now["entropy_t"] >= 0


def test_it_opens_on_the_first_image_at_4_or_at_the_middle_temperature():
    assert (explorer().image.value, explorer().temperature.value) == (0, 4)
    assert explorer(temperatures=[9, 1, 3]).temperature.value == 3
    assert [value for _, value in explorer(temperatures=[9, 1, 3, 3]).temperature.options] == [1, 3, 9]


@pytest.mark.parametrize("given, message", [
    ({"z_t": torch.full((4, 5), float("nan"))}, "teacher's logits are not finite for 4 of 4 images"),
    ({"z_s": torch.tensor([[0.0] * 5] * 2 + [[float("inf")] * 5] * 2)}, "student's logits .* first of them image 2"),
    ({"z_t": draws(3, 5)}, r"4 images, but \(3, 5\)"),
    ({"z_s": draws(4, 6)}, r"\(4, 6\) and \(4, 5\)"),
    ({"classes": list("abcd")}, "5 logits need as many class names; there are 4"),
    ({"classes": list("abc")}, "labels run from 0 to 3, but there are 3 class names"),
    ({"y": torch.tensor([0, 1])}, r"4 images, but torch.int64 of \(2,\)"),
    ({"y": torch.zeros(4)}, "one integer per image"),
    ({"y": torch.tensor([0, 1, 2, -1])}, "from -1 to 2"),
    ({"images": pixels(4, 8, 8)}, r"these are \(4, 8, 8\)"),
    ({"images": pixels(4, 2, 8, 8)}, r"these are \(4, 2, 8, 8\)"),
    ({"images": pixels(0, 1, 8, 8), "y": torch.tensor([], dtype=torch.int64)}, "at least one"),
    ({"images": draws(4, 1, 8, 8)}, "before they were normalised"),
    ({"images": torch.full((4, 1, 8, 8), float("nan"))}, "floats in"),
    ({"images": pixels(4, 1, 8, 8).long()}, "images are bytes or floats"),
    ({"temperatures": []}, "at least one temperature"),
    ({"temperatures": [0, 1]}, "greater than 0"),
])
def test_what_does_not_fit_is_refused_in_words(given, message):
    with pytest.raises(ValueError, match=message):
        explorer(**given)


def test_a_temperature_that_is_not_positive_has_no_numbers():
    with pytest.raises(ValueError, match="greater than 0"):
        explorer().numbers(0, 0)
