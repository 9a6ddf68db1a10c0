"""Generated tissue: what is known of MHIST holds for it, and it never passes for MHIST."""

import csv
import zipfile
from itertools import pairwise

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from kdcourse import data, metrics, models
from kdcourse.data import mhist
from kdcourse.data.polyps import MOST, TRAITS, _draw, lesions, write
from kdcourse.distillers import Supervised
from kdcourse.train import fit

MHIST = (723, 705, 426, 308, 216, 168, 250, 356)  # images with 0, 1, ... 7 votes for SSA (Wei et al. 2021's table)
KINDS = ("train", "valid", "test")
SMALL = {"train": 100, "test": 60}


@pytest.fixture(scope="module")
def source():
    return data.load("polyps")


@pytest.fixture(scope="module")
def crowd():
    """Twenty thousand lesions: how far they lean, how many say SSA, who does, and their traits."""
    leaning, said, traits = lesions(20_000)
    return leaning, said.sum(dim=1), said, traits


def small(**settings):
    return data.load("polyps", **SMALL | settings)


def images_of(split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.x}


# what it is

def test_polyps_is_a_source_of_two_classes_that_says_what_it_is(source):
    assert repr(source) == "Source('polyps': 600 train, 150 valid, 600 test; 2 classes of 3x32x32)"
    assert source.classes == ("HP", "SSA")
    assert "generated" in source.stand_in and "never for medical use" in source.stand_in
    for kind, split in source.splits.items():
        assert split.name == f"polyps/{kind}" and split.x.dtype == torch.uint8 and split.y.dtype == torch.int64


def test_the_label_is_what_most_of_the_seven_annotators_say(source):
    for split in source.splits.values():
        assert split.votes.shape == (len(split), 2) and (split.votes.sum(dim=1) == 7).all()
        assert torch.equal(split.votes.argmax(dim=1), split.y)


@pytest.mark.parametrize("seed", range(5))
def test_about_31_in_100_images_of_every_part_are_ssa(seed):
    for part, n in (("train", 750), ("test", 600)):
        _, said, _ = lesions(n, part=part, seed=seed)
        assert (said.sum(dim=1) > 3).double().mean() == pytest.approx(990 / 3152, abs=0.03)


def test_no_image_comes_twice(source):
    assert len(set.union(*(images_of(split) for split in source.splits.values()))) == 1350


@pytest.mark.parametrize("settings, message", [
    ({"size": 7}, "at least 8 pixels wide; size is 7"),
    ({"train": 4}, "train must be at least 5, so that no split is empty; it is 4"),
    ({"test": 0}, "test must be at least 1"),
])
def test_a_setting_out_of_its_range_is_named_with_its_value(settings, message):
    with pytest.raises(ValueError, match=message):
        data.load("polyps", **settings)


# MHIST's format

def test_what_is_written_has_the_two_files_and_the_columns_of_mhist(tmp_path):
    write(tmp_path / "polyps", 16, **SMALL)
    assert {path.name for path in (tmp_path / "polyps").iterdir()} == {"annotations.csv", "images.zip"}
    with open(tmp_path / "polyps" / "annotations.csv", newline="") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == mhist.COLUMNS
    assert [line[3] for line in lines] == ["train"] * 100 + ["test"] * 60
    with zipfile.ZipFile(tmp_path / "polyps" / "images.zip") as archive:
        assert archive.namelist() == [f"images/{line[0]}" for line in lines]


def test_what_loads_is_what_the_reader_of_mhist_reads_from_the_written_folder(tmp_path):
    write(tmp_path, 16, **SMALL, seed=3)
    loaded, expected = small(size=16, seed=3), mhist.read("polyps", tmp_path, pixels=16, seed=3)
    for kind in KINDS:
        assert loaded.splits[kind].key == expected.splits[kind].key
        assert torch.equal(loaded.splits[kind].votes, expected.splits[kind].votes)


def test_generated_tissue_does_not_pass_for_mhist(tmp_path):
    write(tmp_path, 224, train=5, test=1)
    with pytest.raises(data.DataError, match=r"6 images instead of 3,152"):
        data.load("mhist", root=tmp_path)


# what an image depends on

def test_the_same_seed_gives_the_same_bytes_whatever_was_drawn_before():
    first = small(seed=3)
    data.polyps._polyps.cache_clear()
    torch.rand(7)
    before = torch.get_rng_state()
    again = small(seed=3)
    assert torch.equal(torch.get_rng_state(), before) and again is not first
    for kind in KINDS:
        assert again.splits[kind].key == first.splits[kind].key
        assert torch.equal(again.splits[kind].votes, first.splits[kind].votes)


def test_another_seed_gives_other_images(source):
    assert not images_of(source.test) & images_of(data.load("polyps", seed=1).test)


def test_a_larger_set_begins_with_the_smaller_one(source):
    lesser = data.load("polyps", train=703, test=501)
    assert torch.equal(lesser.test.x, source.test.x[:501])
    assert torch.equal(lesser.test.votes, source.test.votes[:501])
    images = images_of(lesser.train) | images_of(lesser.valid)
    assert len(images) == 703 and images < images_of(source.train) | images_of(source.valid)


def test_a_set_is_made_once():
    assert small() is small(size=32, seed=0)
    assert small() is not small(seed=1)


@pytest.mark.parametrize("size", [8, 33, 96])
def test_another_size_shows_the_same_scenes(size):
    fine, other = small(size=96).test, small(size=size).test
    assert other.x.shape == (60, 3, size, size) and torch.equal(fine.y, other.y)
    blurred, expected = (torch.nn.functional.adaptive_avg_pool2d(split.x.double(), 8) for split in (other, fine))
    gaps = (blurred - expected).abs().mean(dim=(1, 2, 3))
    assert gaps.max() < 15  # of 255
    assert (gaps < (blurred - expected.roll(1, 0)).abs().mean(dim=(1, 2, 3))).all()


# the annotators

def test_annotators_agree_as_often_as_those_of_mhist(crowd):
    shares = crowd[1].bincount(minlength=8).double() / len(crowd[1])
    expected = torch.tensor(MHIST, dtype=torch.float64) / sum(MHIST)
    assert (shares - expected).abs().max() < 0.02
    levels = torch.stack([shares, expected]).unflatten(1, (2, 4))
    levels = levels[:, 0] + levels[:, 1].flip(1)
    assert (levels[0] - levels[1]).abs().max() < 0.03
    assert shares[4:].sum() == pytest.approx(990 / 3152, abs=0.02)


def test_disagreement_grows_with_ambiguity(crowd):
    leaning, votes, *_ = crowd
    minority = torch.minimum(votes, 7 - votes).double()
    order = leaning.abs().argsort()
    means = [rows.mean().item() for rows in minority[order].chunk(6)]
    assert all(doubtful > clear + 0.1 for doubtful, clear in pairwise(means))


def test_some_annotators_say_ssa_sooner_than_others(crowd):
    rates = crowd[2].double().mean(dim=0)
    assert (rates.diff() > 0).all() and rates[-1] - rates[0] > 0.08


def test_the_votes_of_the_test_images_are_those_of_their_lesions(source):
    _, said, _ = lesions(600, part="test")
    assert torch.equal(source.test.votes[:, 1], said.sum(dim=1))


def test_nobody_can_know_every_label_and_the_traits_tell_less_than_the_lesion(crowd):
    leaning, votes, _, traits = crowd
    y = votes > 3
    best, seen = roc_auc_score(y, leaning), roc_auc_score(y, traits @ (1 / torch.tensor(MOST, dtype=torch.float64)))
    assert 0.9 < seen < best - 0.02 < 0.97
    for trait in traits.T:
        assert 0.8 < roc_auc_score(y, trait) < seen - 0.03  # no one trait says it all


# the tissue

def draws(n=40, seed=0):
    return torch.rand(n, 16 + 6 * data.polyps.CRYPTS, dtype=torch.float64, generator=data.polyps.generator(seed))


def drawn(traits, size=48):
    u = draws()
    traits = torch.as_tensor(traits, dtype=torch.float64).expand(len(u), 4)
    return _draw(u, traits, size, data.polyps.generator(1)).double()


@pytest.mark.parametrize("trait", range(4), ids=TRAITS)
def test_every_trait_changes_the_crypts_and_nothing_around_them(trait):
    plain, changed = drawn([0.0] * 4), drawn([float(number == trait) for number in range(4)])
    same = (plain == changed).all(dim=1).double().mean(dim=(1, 2))
    assert (same < 0.97).all() and same.min() > 0.1 and same.mean() > 0.25


def test_wide_bases_are_hollow():
    def hollow(x):
        return (x.mean(dim=1) > 215).double().mean().item()

    shares = [hollow(drawn([flask, 0.0, 0.0, 0.0])) for flask in (0.0, 0.5, 1.0)]
    assert all(more > less + 0.02 for less, more in pairwise(shares))


def test_tissue_is_stained_pink_and_purple_and_its_outside_is_pale(source):
    red, green, blue = source.train.x.double().mean(dim=(0, 2, 3))
    assert red > blue + 2 > green + 20
    assert source.train.x.flatten(2).min(dim=1).values.double().quantile(0.99, dim=1).mean() > 200


def test_the_mean_colour_says_little_about_the_label(source):
    """It knows a little of how wide the lumens are."""
    def colours(split):
        return split.x.double().mean(dim=(2, 3)).numpy()

    model = LinearDiscriminantAnalysis().fit(colours(source.train), source.train.y)
    assert roc_auc_score(source.test.y, model.decision_function(colours(source.test))) < 0.72


def test_a_small_network_learns_something_from_600_images_and_not_all(source):
    network = models.build("resnet8", source.shape, 2, seed=0, width=8)
    fit(Supervised(network), source, epochs=10, lr=3e-3, batch_size=64, seed=0, schedule="cosine")
    z = metrics.predict(network, source.test)
    assert 0.68 < roc_auc_score(source.test.y, z[:, 1] - z[:, 0]) < 0.9
