import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.path import Path
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from kdcourse import data, metrics, models
from kdcourse.data.shapes import CLASSES, FIGURES, SUPERCLASSES, superclass
from kdcourse.distillers import Supervised
from kdcourse.train import fit

KINDS = ("train", "valid", "test")
SMALL = {"train": 240, "valid": 60, "test": 120}
GROUP = superclass(torch.arange(12))


@pytest.fixture(scope="module")
def source():
    return data.load("shapes")


def small(**settings):
    return data.load("shapes", **SMALL | settings)


def images_of(split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.x}


# what it is

def test_shapes_is_a_source_of_small_colour_images_that_says_what_it_is(source):
    assert repr(source) == "Source('shapes': 3,000 train, 500 valid, 1,500 test; 12 classes of 3x16x16)"
    assert source.classes == CLASSES and "generated" in source.stand_in
    for kind, split in source.splits.items():
        assert split.name == f"shapes/{kind}" and len(split.x) == len(split.y)
        assert split.x.dtype == torch.uint8 and split.y.dtype == torch.int64


def test_superclasses_part_the_classes_into_four_threes():
    assert sorted(name for names in SUPERCLASSES.values() for name in names) == sorted(set(CLASSES))
    assert [len(names) for names in SUPERCLASSES.values()] == [3] * 4


def test_superclass_of_a_label_is_the_one_that_names_its_class():
    names = list(SUPERCLASSES)
    for label, name in enumerate(CLASSES):
        assert name in SUPERCLASSES[names[superclass(torch.tensor(label))]]
    y = torch.tensor([[0, 11], [5, 3]])
    assert superclass(y).shape == y.shape and superclass(y).dtype == torch.int64


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_balanced_in_every_split_and_in_every_twelve_rows(source, kind):
    y = source.splits[kind].y
    counts = y.bincount(minlength=12)
    assert counts.max() - counts.min() <= 1
    blocks = y[: len(y) // 12 * 12].reshape(-1, 12)
    assert (blocks.sort(dim=1).values == torch.arange(12)).all()
    assert len(blocks.unique(dim=0)) > 30  # in an order of their own


def test_splits_share_no_image_and_none_comes_twice(source):
    for difficulty in (0.0, 1.0):
        source = small(difficulty=difficulty)
        parts = [images_of(split) for split in source.splits.values()]
        assert len(set.union(*parts)) == sum(SMALL.values())


# what an image depends on

def test_the_same_seed_gives_the_same_bytes_whatever_was_drawn_before():
    first = small(seed=3)
    data.shapes._source.cache_clear()
    torch.rand(7)
    np.random.rand(7)
    before = torch.get_rng_state()
    again = small(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert again is not first
    assert [split.key for split in again.splits.values()] == [split.key for split in first.splits.values()]
    assert all(torch.equal(again.splits[kind].y, first.splits[kind].y) for kind in KINDS)


def test_another_seed_gives_other_images_and_another_order(source):
    other = data.load("shapes", seed=1)
    for kind in KINDS:
        assert not images_of(source.splits[kind]) & images_of(other.splits[kind])
        assert not torch.equal(source.splits[kind].y, other.splits[kind].y)


def test_a_larger_set_begins_with_the_smaller_one(source):
    lesser = data.load("shapes", train=701, valid=7, test=501)
    for kind, n in (("train", 701), ("valid", 7), ("test", 501)):
        assert len(lesser.splits[kind]) == n
        assert torch.equal(lesser.splits[kind].x, source.splits[kind].x[:n])
        assert torch.equal(lesser.splits[kind].y, source.splits[kind].y[:n])


def test_a_set_is_made_once():
    assert small() is small(size=16, seed=0)
    assert small() is not small(seed=1)


def test_another_size_shows_the_same_scenes():
    coarse, fine = small(difficulty=0.0).train, small(difficulty=0.0, size=64).train
    assert torch.equal(coarse.y, fine.y)
    averaged = torch.nn.functional.avg_pool2d(fine.x.double(), 4)
    gaps = (averaged - coarse.x).abs().mean(dim=(1, 2, 3))
    assert gaps.max() < 8  # of 255
    others = (averaged - coarse.x.roll(1, 0)).abs().mean(dim=(1, 2, 3))
    assert (others > gaps).all()


@pytest.mark.parametrize("size", [8, 17, 32])
def test_images_have_the_size_that_was_asked_for(size):
    assert small(size=size).shape == (3, size, size)


@pytest.mark.parametrize("settings, message", [
    ({"size": 7}, "at least 8 pixels wide; size is 7"),
    ({"difficulty": -0.1}, r"difficulty lies in \[0, 1\]; it is -0.1"),
    ({"difficulty": 1.5}, r"difficulty lies in \[0, 1\]; it is 1.5"),
    ({"difficulty": math.nan}, "it is nan"),
    ({"train": 0}, "at least one image; train is 0"),
    ({"valid": 0}, "valid is 0"),
    ({"test": -1}, "test is -1"),
])
def test_a_setting_out_of_its_range_is_named_with_its_value_and_the_range(settings, message):
    with pytest.raises(ValueError, match=message):
        data.load("shapes", **settings)


# the figures

def plane(n=101, half=1.4):
    """Points (1, n, n) of a grid that is symmetric in x, and the distance between two of them."""
    axis = torch.linspace(-half, half, n, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None], 2 * half / (n - 1)


def apart(value):
    return torch.full((1, 1, 1), value, dtype=torch.float64)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_figure_is_its_own_mirror_image_and_fits_its_frame(name, share):
    x, y, _ = plane()
    distance = FIGURES[name](x, y, apart(share))
    torch.testing.assert_close(distance, distance.flip(2))
    assert (distance < 0).any() and (distance[(x.square() + y.square()) > 1.4**2] > 0).all()


@pytest.mark.parametrize("name", CLASSES)
def test_a_distance_grows_by_no_more_than_the_way_that_is_gone(name):
    x, y, step = plane()
    distance = FIGURES[name](x, y, apart(0.8))
    assert max(distance.diff(dim=1).abs().max(), distance.diff(dim=2).abs().max()) <= step + 1e-12


def test_only_a_ring_is_hollow():
    centre = torch.zeros(1, 1, 1, dtype=torch.float64)
    depths = {name: -FIGURES[name](centre, centre, apart(0.5)).item() for name in CLASSES}
    assert [name for name, depth in depths.items() if depth < 0.2] == ["ring"]


@pytest.mark.parametrize("outer, middle", [
    (name, names[1]) for names in SUPERCLASSES.values() for name in (names[0], names[2])
])
def test_look_alikes_become_one_figure_as_they_are_no_longer_apart(outer, middle):
    x, y, _ = plane(100)  # no point at the centre, where a hole of radius 0 would be
    inside = [FIGURES[middle](x, y, apart(0.0)) < 0]
    inside += [FIGURES[outer](x, y, apart(share)) < 0 for share in (0.0, 0.3, 0.6, 1.0)]
    assert torch.equal(inside[0], inside[1])
    differing = [(one ^ inside[0]).sum() for one in inside[1:]]
    assert all(less < more for less, more in pairwise(differing))


@pytest.mark.parametrize("name, corners", [
    ("square", [(-0.76, -0.76), (0.76, -0.76), (0.76, 0.76), (-0.76, 0.76)]),
    ("trapezium", [(-0.912, -0.76), (0.912, -0.76), (0.608, 0.76), (-0.608, 0.76)]),
    ("arrowhead", [(-1, -0.65), (0, -0.4), (1, -0.65), (0, 1)]),
    ("triangle", [(-1, -0.65), (1, -0.65), (0, 1)]),
    ("kite", [(-1, -0.65), (0, -0.9), (1, -0.65), (0, 1)]),
])
def test_polygons_hold_the_points_that_another_library_finds_in_them(name, corners):
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (5000, 2))
    x, y = torch.as_tensor(points).T.reshape(2, 1, 1, -1)
    found = FIGURES[name](x, y, apart(0.5)).flatten() < 0
    assert np.array_equal(found.numpy(), Path([*corners, corners[0]], closed=True).contains_points(points))


# what can be learnt from it

def teacher(seed, shape):
    return models.build("resnet8", shape, 12, seed=seed, width=16), {"epochs": 8, "lr": 3e-3}


def student(seed, shape):
    return models.build("cnn", shape, 12, seed=seed, width=4), {"epochs": 12, "lr": 3e-3}


@cache
def logits(make, seed):
    """Of the network that `make` builds, trained with labels, about the test and the training images."""
    source = data.load("shapes")
    network, settings = make(seed, source.shape)
    fit(Supervised(network), source, batch_size=64, seed=seed, schedule="cosine", **settings)
    return metrics.predict(network, source.test), metrics.predict(network, source.train)


@pytest.mark.parametrize("seed", [0, 1])
def test_wrong_answers_of_a_teacher_stay_in_the_superclass(source, seed):
    z, y = logits(teacher, seed)[0], source.test.y
    wrong = z.argmax(dim=1) != y
    assert wrong.sum() > 30
    assert (GROUP[z.argmax(dim=1)] == GROUP[y])[wrong].double().mean() > 0.7  # 2 in 11 by chance


@pytest.mark.parametrize("kind", ["test", "train"])
def test_what_a_teacher_gives_to_wrong_classes_goes_to_the_superclass(source, kind):
    z, y = logits(teacher, 0)[kind == "train"], source.splits[kind].y
    p = z.double().softmax(dim=1).scatter(1, y[:, None], 0.0)
    alike = GROUP[y][:, None] == GROUP
    shares = (p * alike).sum(dim=1) / p.sum(dim=1)
    assert shares.mean() > 0.5 and (p * alike).sum() / p.sum() > 0.7


def test_a_teacher_beats_a_small_student_by_five_points(source):
    for seed in (0, 1):
        accuracies = [metrics.accuracy(logits(make, seed)[0], source.test.y) for make in (teacher, student)]
        assert 0.85 < accuracies[0] < 0.97
        assert accuracies[0] - accuracies[1] >= 0.05


def test_no_superclass_is_free_of_errors(source):
    z, y = logits(teacher, 0)[0], source.test.y
    wrong = z.argmax(dim=1) != y
    assert (GROUP[y[wrong]].bincount(minlength=4) >= 5).all()


def lda_accuracy(source, features) -> float:
    model = LinearDiscriminantAnalysis().fit(features(source.train.x), source.train.y.numpy())
    return model.score(features(source.test.x), source.test.y.numpy())


def test_difficulty_raises_the_error_of_a_linear_classifier():
    def pixels(x):
        return torch.nn.functional.avg_pool2d(x.double(), 2).mean(dim=1).flatten(1).numpy()

    accuracies = [lda_accuracy(data.load("shapes", difficulty=d), pixels) for d in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(easier > harder + 0.02 for easier, harder in pairwise(accuracies))


def test_colour_carries_no_label(source):
    """By chance 1 in 12. The mean knows a little of how large the figure is; the corner knows what lies behind it."""
    assert lda_accuracy(source, lambda x: x.double().mean(dim=(2, 3)).numpy()) < 0.14
    assert lda_accuracy(source, lambda x: x[:, :, :2, :2].double().mean(dim=(2, 3)).numpy()) < 0.12


def test_the_figure_is_lighter_than_what_lies_behind_it():
    x = small(difficulty=0.0).train.x.double()
    assert (x[:, :, 5:11, 5:11].mean(dim=(2, 3)) > x[:, :, :2, :2].mean(dim=(2, 3))).all()


def test_mirrored_images_keep_their_label(source):
    """A classifier of the upright ones is as good on the mirrored ones."""
    def pixels(x):
        return x.double().mean(dim=1).flatten(1).numpy()

    model = LinearDiscriminantAnalysis().fit(pixels(source.train.x), source.train.y.numpy())
    plain, mirrored = (model.score(pixels(x), source.test.y.numpy()) for x in (source.test.x, source.test.x.flip(3)))
    assert abs(plain - mirrored) < 0.05
