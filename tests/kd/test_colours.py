"""Colour jitter: torchvision's operations, drawn from (seed, row, epoch) and from nothing else."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from kdcourse import models
from kdcourse.data import Augment
from kdcourse.data.augment import COLOURS
from kdcourse.data.base import Split
from kdcourse.teachers import LogitBank

ALL = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.7, "hue": 0.2}
OPERATIONS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


def pictures(n=60, channels=3, seed=0):
    """Noise, with a grey, a black, a white and three pure images among it: where hue and saturation have no meaning."""
    x = torch.randint(0, 256, (n, channels, 6, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    x[0], x[1], x[2] = 128, 0, 255
    if channels == 3:
        x[3:6] = 255 * torch.eye(3, dtype=torch.uint8)[:, :, None, None]
    return x


def only_colours(**settings):
    return Augment(pad=0, flip=False, **settings)


@pytest.mark.parametrize("settings", [*({name: value} for name, value in ALL.items()), ALL])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_changed_as_torchvision_changes_them_within_one_rounding(settings, channels):
    x, index, augment = pictures(channels=channels), torch.arange(60), only_colours(**settings)
    order, amounts = augment.jitter(index, 3)
    expected = []
    for image, places, changes in zip(x.float() / 255, order.tolist(), amounts.tolist(), strict=True):
        for number in places:
            if COLOURS[number] in settings:
                image = OPERATIONS[number](image, changes[number])
        expected.append(image)
    views = augment(x, index, 3)
    colourless = channels == 1 and settings.keys() <= {"saturation", "hue"}
    assert views.dtype == torch.uint8 and torch.equal(views, x) == colourless
    assert (views.float() - 255 * torch.stack(expected)).abs().max() <= 0.51


def test_of_bytes_torchvision_differs_by_its_roundings_alone():
    x, index, augment = pictures(), torch.arange(60), only_colours(**ALL)
    order, amounts = augment.jitter(index, 0)
    expected = []
    for image, places, changes in zip(x, order.tolist(), amounts.tolist(), strict=True):
        for number in places:
            image = OPERATIONS[number](image, changes[number])
        expected.append(image)
    apart = (augment(x, index, 0).int() - torch.stack(expected).int()).abs().float()
    assert apart.mean() < 2 and apart.max() <= 16  # it cuts off after each of the four, and a hue is a quotient


def test_amounts_are_spread_evenly_over_torchvisions_ranges_and_orders_over_all():
    order, amounts = only_colours(**ALL).jitter(torch.arange(20_000), 0)
    ranges = v2.ColorJitter(**ALL)
    for number, name in enumerate(COLOURS):
        low, high = getattr(ranges, name)
        counts = np.histogram(amounts[:, number], bins=20, range=(low, high))[0]
        assert counts.sum() == 20_000 and ((counts - 1000) ** 2 / 1000).sum() < 19 + 6 * (2 * 19) ** 0.5
    together = torch.corrcoef(torch.cat([order[:, :1].float(), amounts], dim=1).T)
    assert (together - torch.eye(5)).abs().max() < 6 / 20_000**0.5
    counts = order.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 24 and ((counts - 20_000 / 24) ** 2 / (20_000 / 24)).sum() < 23 + 6 * (2 * 23) ** 0.5


def test_a_factor_is_never_below_zero():
    _, amounts = only_colours(brightness=3.0).jitter(torch.arange(5000), 0)
    assert 0 <= amounts[:, 0].min() < 0.01 and 3.9 < amounts[:, 0].max() <= 4


def test_colours_depend_on_seed_row_and_epoch_and_not_on_the_batch():
    x, index, augment = pictures(), torch.arange(60), Augment(pad=1, **ALL)
    whole = augment(x, index, 5)
    shuffled = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(x[shuffled], index[shuffled], 5), whole[shuffled])
    assert torch.equal(torch.cat([augment(x[i : i + 1], index[i : i + 1], 5) for i in range(60)]), whole)
    for other in (augment(x, index, 6), Augment(pad=1, seed=1, **ALL)(x, index, 5), augment(x, index + 60, 5)):
        assert not torch.equal(other, whole)
    repeating = Augment(pad=1, views=2, **ALL)
    assert torch.equal(repeating(x, index, 3), repeating(x, index, 1))


def test_shifts_and_flips_are_those_of_an_augmentation_without_colours():
    x, index = pictures()[6:], torch.arange(54)
    without, nothing = Augment(pad=2), Augment(pad=2, hue=1e-7)
    for epoch in range(3):
        assert torch.equal(without(x, index, epoch), nothing(x, index, epoch))
    assert without.name == "crop 2, flip, endless views, seed 0"  # as recordings made before there were colours say


def test_colours_change_before_black_comes_in_at_the_border():
    x, index = pictures(), torch.arange(60)
    coloured = only_colours(**ALL)(x, index, 2)
    assert torch.equal(Augment(pad=2, **ALL)(x, index, 2), Augment(pad=2)(coloured, index, 2))


def test_every_setting_of_the_colours_is_in_the_name_under_which_views_are_recorded():
    names = {Augment(**{name: value}).name for name in COLOURS for value in (0, 0.1, 0.25)}
    assert len(names) == 9 and Augment(hue=0.1).name == "crop 4, flip, hue 0.1, endless views, seed 0"


def test_images_are_left_alone_and_floats_stay_floats():
    x, index, augment = pictures(), torch.arange(60), only_colours(**ALL)
    floats, before = x.float() / 255, x.clone()
    views = augment(floats, index, 0)
    assert torch.equal(floats, before.float() / 255) and torch.equal(x, before)
    assert torch.equal((255 * views).round().byte(), augment(x, index, 0))
    with pytest.raises(TypeError, match="of bytes or of floats"):
        augment(x.int(), index, 0)


@pytest.mark.parametrize("settings, message", [
    ({"hue": 0.6}, "hue is .* at most 0.5; it is 0.6"), ({"brightness": -0.1}, "it is -0.1"),
    ({"contrast": "0.4"}, "it is '0.4'"), ({"saturation": True}, "it is True"),
    ({"brightness": float("nan")}, "it is nan"), ({"brightness": float("inf")}, "and finite; it is inf"),
    ({"brightness": (0.6, 1.4)}, "it is .0.6, 1.4."),
])
def test_settings_of_colours_that_are_none_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment(**settings)


def test_what_a_teacher_says_of_coloured_views_is_recorded_and_found_again():
    split = Split("own/train", pictures(), torch.arange(60) % 3)
    teacher = models.build("cnn", (3, 6, 5), 3, seed=0, width=4).eval()
    augment = Augment(pad=1, views=2, **ALL)
    bank = LogitBank.record(teacher, split, augment=augment, dtype=torch.float32)
    for epoch in range(3):
        for batch in split.batches(16, seed=1, epoch=epoch, augment=augment):
            with torch.no_grad():
                torch.testing.assert_close(bank(batch), teacher(batch.x), rtol=1e-4, atol=1e-5)
