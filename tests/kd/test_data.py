"""Splits, sources and arrays of others: each image once, always the same; errors that have the line to mend them."""

import gzip
import hashlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.datasets import ImageFolder

from kdcourse import data
from kdcourse.data import Augment
from kdcourse.files import md5, verified

CLASSES = ("a", "b", "c")
SIZES = {"train": 55_000, "valid": 5_000, "test": 10_000}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def rows_of(x, y) -> Counter:
    """Images with their labels as a multiset."""
    return Counter((image.tobytes(), int(label)) for image, label in zip(np.asarray(x), np.asarray(y), strict=True))


def arrays(n=60, *, channels=1, seed=0):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (n, channels, 6, 5), dtype=np.uint8), np.arange(n) % 3


def epoch_of(split, batch_size=64, **settings):
    """All batches of an epoch put together: images, labels, rows."""
    batches = list(split.batches(batch_size, **settings))
    return [torch.cat([getattr(batch, field) for batch in batches]) for field in ("x", "y", "index")]


# digits

def test_digits_splits_are_the_real_set_each_image_once(digits):
    bunch = load_digits()
    assert [len(split) for split in digits.splits.values()] == [1000, 200, 597]
    whole = rows_of((bunch.images / 16 * 255).round().astype(np.uint8)[:, None], bunch.target)
    parts = [rows_of(split.x, split.y) for split in digits.splits.values()]
    assert sum(parts, Counter()) == whole


def test_digits_splits_are_stratified(digits):
    y = load_digits().target
    for split in digits.splits.values():
        share = np.bincount(y) * len(split) / len(y)
        assert (np.abs(np.bincount(split.y) - share) <= 1).all()


def test_digits_are_the_same_each_time_and_named(digits):
    again = data.load("digits")
    assert [split.key for split in again.splits.values()] == [split.key for split in digits.splits.values()]
    assert digits.shape == (1, 8, 8) and digits.classes == tuple("0123456789") and digits.stand_in == ""
    assert repr(digits) == "Source('digits': 1,000 train, 200 valid, 597 test; 10 classes of 1x8x8)"
    assert repr(digits.valid) == "Split('digits/valid', 200 images of 1x8x8)"


def test_unknown_source_names_the_choices_and_the_nearest():
    with pytest.raises(ValueError, match=r"unknown source 'mnits'; choose one of: cifar10, .* mean 'mnist'\?\)$"):
        data.load("mnits")


# batches

def test_an_epoch_visits_every_row_once_and_keeps_the_smaller_last_batch(digits):
    for seed in (None, 0):
        batches = list(digits.valid.batches(64, seed=seed))
        assert [len(batch.y) for batch in batches] == [64, 64, 64, 8]
        assert torch.cat([batch.index for batch in batches]).sort().values.tolist() == list(range(200))


def test_a_batch_holds_the_images_and_labels_of_its_rows_between_0_and_1(digits):
    for batch in digits.valid.batches(64, seed=0):
        assert batch.x.dtype == torch.float32 and batch.y.dtype == batch.index.dtype == torch.int64
        assert np.allclose(batch.x, digits.valid.x.numpy()[batch.index] / 255, atol=1e-7)
        assert batch.y.tolist() == digits.valid.y[batch.index].tolist()
        assert batch.x.min() == 0 and batch.x.max() == 1


def test_order_depends_on_seed_and_epoch_and_on_nothing_else(digits):
    order = epoch_of(digits.train, seed=1, epoch=2)[2]
    torch.rand(7)
    for batch_size, settings in ((64, {}), (100, {"epochs": 9}), (64, {"augment": Augment(pad=1)})):
        assert torch.equal(epoch_of(digits.train, batch_size, seed=1, epoch=2, **settings)[2], order)
    for seed, epoch in ((1, 3), (2, 2), (2, 1)):
        assert not torch.equal(epoch_of(digits.train, seed=seed, epoch=epoch)[2], order)
    assert torch.equal(epoch_of(digits.train)[2], torch.arange(1000))


def test_progress_rises_evenly_from_0_to_just_below_1(digits):
    batches = [batch for epoch in range(3) for batch in digits.valid.batches(64, seed=0, epoch=epoch, epochs=3)]
    assert [batch.progress for batch in batches] == pytest.approx([step / 12 for step in range(12)])
    assert [batch.epoch for batch in batches] == [0] * 4 + [1] * 4 + [2] * 4


def test_origin_tells_splits_parts_and_augmentations_apart(digits):
    augments = [None, Augment(), Augment(pad=2), Augment(flip=False), Augment(views=2), Augment(views=3),
                Augment(seed=1)]
    splits = [*digits.splits.values(), digits.train.take(torch.arange(9), "part"),
              digits.train.take(torch.arange(10), "part"), digits.train.take(torch.arange(9).flip(0), "part")]
    origins = [split.origin(augment) for split in splits for augment in augments]
    assert len(set(origins)) == len(origins)
    batches = digits.train.batches(99, augment=augments[3])
    assert {batch.origin for batch in batches} == {digits.train.origin(augments[3])}


def test_batches_of_no_image_are_refused(digits):
    with pytest.raises(ValueError, match="batch_size is 0"):
        next(digits.train.batches(0))


def test_a_split_without_images_says_so(digits):
    none = digits.train.take(digits.train.y == 10, "tens")
    with pytest.raises(ValueError, match="digits/train/tens"):
        next(none.batches(64))


def test_take_chooses_rows_by_number_or_mask(digits):
    rows = torch.tensor([5, 0, 9])
    part = digits.train.take(rows, "three")
    assert torch.equal(part.x, digits.train.x[rows]) and torch.equal(part.y, digits.train.y[rows])
    assert part.name == "digits/train/three" and len(part) == 3
    without = digits.train.take(digits.train.y != 3, "without 3")
    assert without.y.bincount(minlength=10).tolist() == [
        0 if label == 3 else n for label, n in enumerate(digits.train.y.bincount().tolist())
    ]


@pytest.mark.parametrize("kind", [torch.Tensor.long, torch.Tensor.int, torch.Tensor.byte, torch.Tensor.float,
                                  torch.Tensor.tolist, lambda mask: mask.numpy().astype(int)])
def test_a_mask_of_numbers_is_refused_since_it_would_be_read_as_rows_0_and_1(digits, kind):
    for mask in (digits.train.y == 3, digits.train.y == 10, digits.train.y < 10):
        numbers = kind(mask) if kind is not torch.Tensor.tolist else mask.int().tolist()
        with pytest.raises(ValueError, match=r"digits/train: 1000 rows that are all 0 or 1 .*: rows\.bool\(\)"):
            digits.train.take(numbers, "threes")


def test_rows_that_are_no_mask_are_taken_also_where_they_are_0_and_1_or_as_many_as_the_images(digits):
    two, three = (digits.train.take(torch.arange(n), "few") for n in (2, 3))
    assert torch.equal(two.take(torch.tensor([1, 0]), "turned").x, two.x.flip(0))
    assert torch.equal(three.take(torch.tensor([1, 2, 0]), "turned").x, three.x[[1, 2, 0]])
    assert torch.equal(digits.train.take(torch.tensor([0, 1, 1]), "again").x, digits.train.x[[0, 1, 1]])
    assert len(digits.train.take((digits.train.y == 3).tolist(), "threes")) == (digits.train.y == 3).sum()
    assert len(digits.train.take(slice(7), "seven")) == 7


def test_with_train_replaces_the_training_images_only(digits):
    part = digits.train.take(torch.arange(10), "ten")
    other = digits.with_train(part)
    assert other.train is part and other.valid is digits.valid and other.test is digits.test
    assert len(digits.train) == 1000


# from_arrays

def test_from_arrays_splits_by_share_and_by_class():
    x, y = arrays(200)
    source = data.from_arrays("own", x, y, classes=CLASSES, valid=0.15, test=0.25)
    assert [len(split) for split in source.splits.values()] == [120, 30, 50]
    assert sum((rows_of(split.x, split.y) for split in source.splits.values()), Counter()) == rows_of(x, y)
    other = data.from_arrays("own", x, y, classes=CLASSES, valid=0.15, test=0.25, seed=1)
    assert rows_of(other.test.x, other.test.y) != rows_of(source.test.x, source.test.y)


def test_from_arrays_takes_splits_of_its_own():
    (x, y), valid, test = arrays(30), arrays(9, seed=1), arrays(6, seed=2)
    source = data.from_arrays("own", x, y, classes=CLASSES, valid=valid, test=test)
    for split, (images, labels) in ((source.train, (x, y)), (source.valid, valid), (source.test, test)):
        assert np.array_equal(split.x, images) and np.array_equal(split.y, labels)


def test_from_arrays_takes_grey_images_floats_tensors_and_lists():
    x, y = arrays(30, channels=1)
    expected = data.from_arrays("own", x, y, classes=CLASSES)
    for images, labels in ((x[:, 0], y), (x / 255, y), ((x / 255).astype(np.float32), y.tolist()),
                           (torch.as_tensor(x), torch.as_tensor(y)), (torch.as_tensor(x / 255), y.astype(np.uint8))):
        source = data.from_arrays("own", images, labels, classes=CLASSES)
        assert source.train.x.dtype == torch.uint8 and source.train.y.dtype == torch.int64
        assert source.train.origin() == expected.train.origin() and torch.equal(source.train.y, expected.train.y)


def test_from_arrays_takes_arrays_that_cannot_be_written_to():
    x, y = arrays(30)
    x.flags.writeable = y.flags.writeable = False
    assert len(data.from_arrays("own", x, y, classes=CLASSES).train) == 21


def test_from_arrays_says_what_stands_in():
    assert data.from_arrays("shapes", *arrays(30), classes=CLASSES, stand_in="for photographs").stand_in == (
        "for photographs"
    )


X, Y = arrays(60)


@pytest.mark.parametrize("changes, message", [
    ({"y": Y[:-1]}, "60 images but 59 labels; row i of both must be the same image"),
    ({"y": Y + 1}, "labels run from 1 to 3, but 3 class names allow 0 to 2"),
    ({"y": Y - 1}, "labels run from -1 to 1"),
    ({"y": np.eye(3, dtype=int)[Y]}, "one integer per image; these have shape (60, 3)"),
    ({"y": Y + 0.5}, "integer"),
    ({"y": np.array(CLASSES)[Y]}, "integer"),
    ({"classes": ("a",)}, "at least two classes; given: a"),
    ({"classes": ()}, "at least two classes; given: none"),
    ({"x": X.transpose(0, 2, 3, 1)}, "the channels are last: use x.transpose(0, 3, 1, 2)"),
    ({"x": np.zeros((60, 30))}, "images must be (N, 1 or 3, H, W) or (N, H, W); these are (60, 30)"),
    ({"x": np.zeros((60, 2, 6, 5))}, "these are (60, 2, 6, 5)"),
    ({"x": X.astype(np.float32)}, "floats must lie in [0, 1]; these lie in [0, 255]"),
    ({"x": X / 255 - 0.5}, "these lie in [-0.5, 0.5]"),
    ({"x": np.where(X > 9, X / 255, np.nan)}, "[nan, nan]"),
    ({"x": X.astype(np.int64)}, "uint8 or floats in [0, 1], not torch.int64"),
    ({"x": X[:0], "y": Y[:0]}, "split has 0 images"),
    ({"x": X[:0] / 255, "y": Y[:0]}, "0 images"),
    ({"test": 0.0}, "the test split has 0 images"),
    ({"valid": 0.001}, "the valid split has 0 images"),
    ({"test": 0.9, "valid": 0.1}, "the train split has 0 images"),
    ({"test": 1.5}, "test"),
    ({"valid": -0.1}, "valid"),
    ({"test": (X, Y[:-1])}, "the test split has 60 images and 59 labels"),
    ({"test": (X / 2, Y)}, "[0, 1]"),
    ({"test": (X, Y + 1)}, "labels run from 1 to 3"),
    ({"test": (X[:, :, :4], Y)}, "(1, 4, 5)"),
], ids=lambda value: value if isinstance(value, str) else " and ".join(value))
def test_from_arrays_names_the_source_and_what_is_wrong(changes, message):
    arguments = {"x": X, "y": Y, "classes": CLASSES} | changes
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        data.from_arrays("own", **arguments)
    assert str(error.value).startswith("own: ")


# augmentation

def candidates(image, pad, flip):
    """Every crop of the zero-padded image, mirrored or not, by (top, left, mirrored)."""
    C, H, W = image.shape
    padded = np.zeros((C, H + 2 * pad, W + 2 * pad), dtype=image.dtype)
    padded[:, pad : pad + H, pad : pad + W] = image
    views = {}
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            crop = padded[:, top : top + H, left : left + W]
            views[top, left, False] = crop.tobytes()
            if flip:
                views[top, left, True] = crop[:, :, ::-1].tobytes()
    return views


@pytest.mark.parametrize("pad, flip", [(0, True), (1, False), (2, True), (4, True)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_view_is_a_crop_of_the_padded_image_perhaps_mirrored(pad, flip, channels):
    x = torch.as_tensor(arrays(40, channels=channels)[0])
    views = Augment(pad=pad, flip=flip)(x, torch.arange(40), 0)
    assert views.shape == x.shape and views.dtype == x.dtype
    for image, view in zip(x, views, strict=True):
        assert view.numpy().tobytes() in candidates(image.numpy(), pad, flip).values()


def test_shifts_and_flips_are_even_over_rows_and_over_epochs():
    image = np.arange(1, 65, dtype=np.uint8).reshape(1, 8, 8)
    drawn = {view: choice for choice, view in candidates(image, 4, True).items()}
    assert len(drawn) == 162
    n, augment = 162 * 100, Augment()
    x = torch.as_tensor(image).expand(n, 1, 8, 8)
    over_rows = augment(x, torch.arange(n), 0)
    over_epochs = torch.cat([augment(x[:9], torch.arange(9), epoch) for epoch in range(n // 9)])
    for views in (over_rows, over_epochs):
        counts = Counter(drawn[view.tobytes()] for view in views.numpy())
        chi_square = sum((counts[choice] - 100) ** 2 / 100 for choice in drawn.values())
        assert chi_square < 161 + 6 * (2 * 161) ** 0.5


def test_neighbouring_rows_epochs_and_seeds_draw_independently():
    image = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8)
    n, x = 4050, image.expand(4050, 1, 8, 8)
    views = Augment()(x, torch.arange(n), 0)
    for others in (views.roll(1, 0), Augment()(x, torch.arange(n), 1), Augment(seed=1)(x, torch.arange(n), 0)):
        same = (views == others).flatten(1).all(dim=1).sum().item()
        assert same < 25 + 6 * 5  # one in 162 by chance


def test_a_view_depends_on_seed_row_and_epoch_and_not_on_the_batch(digits):
    x, index, augment = digits.train.x, torch.arange(1000), Augment(pad=2)
    whole = augment(x, index, 5)
    shuffled = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(augment(x[shuffled], index[shuffled], 5), whole[shuffled])
    assert torch.equal(torch.cat([augment(x[i : i + 1], index[i : i + 1], 5) for i in range(20)]), whole[:20])
    assert torch.equal(Augment(pad=2)(x, index, 5), whole)
    assert torch.equal(augment(x.float(), index, 5), whole.float())
    assert not torch.equal(augment(x, index, 6), whole)
    assert not torch.equal(Augment(pad=2, seed=1)(x, index, 5), whole)


def test_batches_hold_the_views_of_their_rows(digits):
    augment = Augment(pad=1)
    x, _, index = epoch_of(digits.train, seed=0, epoch=3, augment=augment)
    assert torch.equal(x, augment(digits.train.x, torch.arange(1000), 3)[index].float() / 255)


@pytest.mark.parametrize("V", [1, 3])
def test_views_repeat_with_their_period_and_not_before(digits, V):
    x, index = digits.train.x, torch.arange(1000)
    repeating, endless = Augment(views=V), Augment()
    views = [repeating(x, index, epoch) for epoch in range(2 * V)]
    assert all(torch.equal(views[epoch], views[epoch + V]) for epoch in range(V))
    fresh = [endless(x, index, epoch) for epoch in range(6)]
    for different in (views[:V], fresh):
        assert not any(torch.equal(a, b) for i, a in enumerate(different) for b in different[:i])


def test_no_shift_and_no_flip_is_the_identity(digits):
    assert torch.equal(Augment(pad=0, flip=False)(digits.train.x, torch.arange(1000), 7), digits.train.x)


def test_augmentation_leaves_its_images_alone(digits):
    before = digits.train.x.clone()
    Augment()(digits.train.x, torch.arange(1000), 0).zero_()
    assert torch.equal(digits.train.x, before)


@pytest.mark.parametrize("settings, message", [({"pad": -1}, "not -1"), ({"views": 0}, "it is 0")])
def test_augmentation_refuses_what_makes_no_view(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment(**settings)


# mnist

def idx(array: np.ndarray) -> bytes:
    """The gzipped idx format: two zeros, the type (8: unsigned byte), the number of axes, each length, the bytes."""
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes(), compresslevel=1)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Made-up files of five training and three test images, and their arrays."""
    draw, contents = np.random.default_rng(0), {}
    for name, n in (("train", 5), ("t10k", 3)):
        contents[f"{name}-images-idx3-ubyte.gz"] = draw.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        contents[f"{name}-labels-idx1-ubyte.gz"] = draw.integers(0, 10, n, dtype=np.uint8)
    for name, array in contents.items():
        (tmp_path / name).write_bytes(idx(array))
    module = data.digits
    monkeypatch.setattr(module, "CHECKSUMS", {name: md5(tmp_path / name) for name in contents})
    return tmp_path, contents


def move(folder: Path, layout: str) -> Path:
    """Put the files of `folder` into a fresh root in the given layout."""
    root = folder.parent / f"{folder.name}-root"
    (root / layout).mkdir(parents=True)
    for file in folder.iterdir():
        shutil.move(file, root / layout / file.name)
    return root


@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
def test_mnist_is_found_in_all_three_layouts_named_or_not(tiny, monkeypatch, layout):
    folder, contents = tiny
    root = move(folder, layout)
    monkeypatch.setenv("KDCOURSE_DATA", str(root))
    for source in (data.load("mnist", root=root), data.load("mnist", root=str(root)), data.load("mnist")):
        assert np.array_equal(source.train.x[:, 0], contents["train-images-idx3-ubyte.gz"])
        assert np.array_equal(source.train.y, contents["train-labels-idx1-ubyte.gz"])
        assert np.array_equal(source.test.x[:, 0], contents["t10k-images-idx3-ubyte.gz"])
        assert np.array_equal(source.test.y, contents["t10k-labels-idx1-ubyte.gz"])


def test_mnist_validates_on_the_last_5000_of_its_60000_training_images(tiny, monkeypatch):
    folder, _ = tiny
    x, y = np.zeros((60_000, 28, 28), dtype=np.uint8), np.zeros(60_000, dtype=np.uint8)
    x[:, 0, 0], x[:, 0, 1] = np.arange(60_000) // 256, np.arange(60_000) % 256
    checksums = {path.name: md5(path) for path in folder.glob("t10k*")}
    for name, array in (("train-images-idx3-ubyte.gz", x), ("train-labels-idx1-ubyte.gz", y)):
        (folder / name).write_bytes(idx(array))
        checksums[name] = md5(folder / name)
    monkeypatch.setattr(data.digits, "CHECKSUMS", checksums)
    source = data.load("mnist", root=folder)
    for split, expected in ((source.train, range(55_000)), (source.valid, range(55_000, 60_000))):
        assert (split.x[:, 0, 0, 0].long() * 256 + split.x[:, 0, 0, 1]).tolist() == list(expected)


@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
def test_missing_mnist_gives_a_numbered_recipe_that_names_the_right_folder(tiny, layout):
    root = move(tiny[0], layout)
    (root / layout / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(data.DataError, match=r"missing t10k-labels-idx1-ubyte\.gz\.") as error:
        data.load("mnist", root=root)
    recipe = str(error.value)
    steps = re.findall(r"^  (\d)\. (.*)$", recipe, flags=re.MULTILINE)
    assert [number for number, _ in steps] == ["1", "2", "3"]
    assert steps[0][1].endswith("kdcourse fetch mnist")
    assert "KDCOURSE_DATA" in steps[1][1] and " mnist/ " in steps[1][1]
    assert "KDCOURSE_PROFILE=quick" in steps[2][1]
    assert str(root / layout) in recipe


def test_mnist_that_is_not_there_at_all_is_looked_for_in_the_folder_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    with pytest.raises(data.DataError, match=re.escape(f"mnist is not in {tmp_path / 'mnist'}: missing train-images")):
        data.load("mnist")


def check_flipped_byte_is_reported(root: Path, file: Path):
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    file.write_bytes(flipped)
    with pytest.raises(data.DataError) as error:
        data.load("mnist", root=root)
    for part in (str(file), hashlib.md5(whole).hexdigest(), hashlib.md5(flipped).hexdigest(), "kdcourse fetch mnist"):
        assert part in str(error.value)


def test_one_flipped_byte_is_reported_with_file_both_checksums_and_command(tiny):
    check_flipped_byte_is_reported(tiny[0], tiny[0] / "train-images-idx3-ubyte.gz")


def test_verified_gives_the_paths_of_whole_files(tiny):
    folder, contents = tiny
    checksums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in contents}
    assert verified("mnist", folder, checksums) == {name: folder / name for name in contents}


def test_real_mnist_is_whole_and_split_in_the_order_of_its_files(real_data):
    source = data.load("mnist", root=real_data)
    assert {kind: len(split) for kind, split in source.splits.items()} == SIZES
    assert source.shape == (1, 28, 28)

    def read(name, offset):
        return np.frombuffer(gzip.decompress((real_data / "mnist" / name).read_bytes()), np.uint8, offset=offset)

    for kind, rows, file in (("train", slice(55_000), "train"), ("valid", slice(55_000, None), "train"),
                             ("test", slice(None), "t10k")):
        x = read(f"{file}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)[rows]
        assert np.array_equal(source.splits[kind].x, x)
        assert np.array_equal(source.splits[kind].y, read(f"{file}-labels-idx1-ubyte.gz", 8)[rows])
    published = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert source.test.y.bincount().tolist() == published


def test_one_flipped_byte_of_real_mnist_is_reported(real_data, tmp_path):
    root = Path(shutil.copytree(real_data / "mnist", tmp_path / "mnist", copy_function=shutil.copyfile))
    check_flipped_byte_is_reported(tmp_path, root / "train-images-idx3-ubyte.gz")


# mnist, unpacked

def unpack(folder: Path, which, dotted=False) -> dict[str, str]:
    """Replace some of the files by what is in them; returns the checksums of all unpacked ones by name."""
    checksums = {}
    for path in sorted(folder.glob("*.gz")):
        content = gzip.decompress(path.read_bytes())
        checksums[path.stem] = hashlib.md5(content).hexdigest()
        if which in path.name:
            (folder / (path.stem.replace("-idx", ".idx") if dotted else path.stem)).write_bytes(content)
            path.unlink()
    return checksums


@pytest.mark.parametrize("layout", ["", "mnist", "MNIST/raw"])
@pytest.mark.parametrize("which, dotted", [("ubyte", False), ("ubyte", True), ("train", False), ("images", True)])
def test_mnist_is_read_unpacked_as_well_and_verified(tiny, monkeypatch, which, dotted, layout):
    folder, contents = tiny
    module = data.digits
    monkeypatch.setattr(module, "UNPACKED", unpack(folder, which, dotted))
    root = move(folder, layout)
    source = data.load("mnist", root=root)
    assert np.array_equal(source.train.x[:, 0], contents["train-images-idx3-ubyte.gz"])
    assert np.array_equal(source.test.y, contents["t10k-labels-idx1-ubyte.gz"])
    [file] = [path for path in (root / layout).iterdir() if path.name.startswith("train-images")]
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(data.DataError, match=re.escape(f"{file} is corrupt")):
        data.load("mnist", root=root)


def test_checksums_of_unpacked_mnist_are_those_of_the_packed_files_contents(real_data):
    module = data.digits
    for name, checksum in module.UNPACKED.items():
        content = gzip.decompress((real_data / "mnist" / f"{name}.gz").read_bytes())
        assert hashlib.md5(content).hexdigest() == checksum


def test_mnist_is_described_as_its_repr_without_reading_its_images(real_data, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(real_data))
    assert data.describe("mnist") == repr(data.load("mnist"))
    monkeypatch.setattr(gzip, "decompress", None)
    assert data.describe("mnist").startswith("Source('mnist'")


def test_what_is_small_or_generated_is_described_as_its_repr(digits):
    assert data.describe("digits") == repr(digits) and data.describe("polyps") == repr(data.load("polyps"))
    assert {"mnist", "cifar10", "cifar100", "mhist"} <= set(data.DESCRIPTIONS) <= set(data.SOURCES)
    with pytest.raises(ValueError, match="unknown source 'mnits'"):
        data.describe("mnits")


# from_arrays: what it was given, and the lines that mend it

def colour_pictures(n=12, sizes=((6, 5),), mode="RGB"):
    """Pictures of PIL, their sizes in turn."""
    draw, made = np.random.default_rng(0), []
    for k in range(n):
        H, W = sizes[k % len(sizes)]
        made.append(Image.fromarray(draw.integers(0, 256, (H, W, 3), dtype=np.uint8)).convert(mode))
    return made


class Labelled(Dataset):
    """A data set of PyTorch: pairs, or rows by name."""

    def __init__(self, pictures, rows=False):
        self.pictures, self.rows = pictures, rows

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, k):
        if k >= len(self):
            raise IndexError(k)
        return {"image": self.pictures[k], "label": k % 3} if self.rows else (self.pictures[k], k % 3)


def bytes_of(n=12, shape=(3, 6, 5)):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def as_tensors(n=12):
    return [torch.as_tensor(image) / 255 for image in bytes_of(n)]


GIVEN = {  # what is handed in, and the words of the answer
    "palette": (lambda root: colour_pictures(mode="P"), "palette"),
    "colours": (lambda root: colour_pictures(), "mode RGB"),
    "with alpha": (lambda root: colour_pictures(mode="RGBA"), "mode RGBA"),
    "print colours": (lambda root: colour_pictures(mode="CMYK"), "mode CMYK"),
    "one bit": (lambda root: colour_pictures(mode="1"), "mode 1"),
    "pictures of two sizes": (lambda root: colour_pictures(sizes=((6, 5), (7, 9))), "of 2 sizes"),
    "grey pictures of two sizes": (lambda root: colour_pictures(sizes=((6, 5), (7, 9)), mode="L"), "of 2 sizes"),
    "mixed modes": (lambda root: colour_pictures(6) + colour_pictures(6, mode="P"), "mode P, RGB"),
    "paths": (lambda root: sorted(root.rglob("*.png")), "list of paths"),
    "paths as text": (lambda root: [str(path) for path in sorted(root.rglob("*.png"))], "list of paths"),
    "paths in an array": (lambda root: np.array([str(path) for path in root.rglob("*.png")], object), "of paths"),
    "a folder": (lambda root: root, "path holds no array"),
    "ImageFolder": (lambda root: ImageFolder(root), "ImageFolder"),
    "ImageFolder to tensors": (lambda root: ImageFolder(root, transform=as_tensor), "ImageFolder"),
    "rows of a table": (lambda root: Labelled(colour_pictures(), rows=True), "Labelled holds no array"),
    "pairs": (lambda root: list(Labelled(colour_pictures())), "list of tuples"),
    "TensorDataset": (lambda root: TensorDataset(torch.stack(as_tensors()), torch.arange(12) % 3), "TensorDataset"),
    "DataLoader": (lambda root: DataLoader(Labelled(as_tensors()), batch_size=5), "DataLoader"),
    "arrays of two sizes": (lambda root: [*bytes_of(6), *bytes_of(6, (3, 7, 9))], "2 different sizes"),
    "grey arrays of two sizes": (lambda root: [*bytes_of(6, (6, 5)), *bytes_of(6, (7, 9))], "2 different sizes"),
    "floats of two sizes": (lambda root: [*bytes_of(6) / 255, *bytes_of(6, (3, 7, 9)) / 255], "2 different sizes"),
    "tensors of two sizes": (lambda root: [*as_tensors(11), torch.rand(3, 9, 9)], "2 different sizes"),
    "photographs of two sizes": (lambda root: [*bytes_of(6, (6, 5, 3)), *bytes_of(6, (9, 9, 3))], "2 different sizes"),
    "0 to 16": (lambda root: (bytes_of() % 17).astype(np.uint8), "from 0 to 16, where white is 255"),
    "0 to 16, a list": (lambda root: list((bytes_of() % 17).astype(np.uint8)), "from 0 to 16, where white is 255"),
    "0 and 1": (lambda root: bytes_of() % 2, "from 0 to 1, where white is 255"),
    "true and false": (lambda root: bytes_of() > 99, "not torch.bool; these run from 0 to 1"),
    "0 to 16 in whole numbers": (lambda root: (bytes_of() % 17).astype(np.int64), "not torch.int64"),
    "bytes in whole numbers": (lambda root: torch.as_tensor(bytes_of()).long(), "not torch.int64; these run from 0"),
    "sixteen bits": (lambda root: bytes_of().astype(np.uint16) * 257, "not torch.uint16; these run from 0 to 65535"),
    "floats of bytes": (lambda root: bytes_of().astype(np.float32), "floats must lie in [0, 1]; these lie in [0, 255]"),
    "floats from -1": (lambda root: bytes_of() / 127.5 - 1, "these lie in [-1, 1]"),
    "divided twice": (lambda root: bytes_of() / 255 / 255, "divided by 255 twice"),
}


def as_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255


@pytest.fixture
def on_disk(tmp_path):
    """Pictures in a folder for each class."""
    for k, picture in enumerate(colour_pictures()):
        (tmp_path / CLASSES[k % 3]).mkdir(exist_ok=True)
        picture.save(tmp_path / CLASSES[k % 3] / f"{k:02}.png")
    return tmp_path


@pytest.mark.parametrize("what", GIVEN)
def test_what_is_no_array_of_bytes_is_refused_with_lines_that_make_one_of_it(what, on_disk):
    make, words = GIVEN[what]
    names = {"np": np, "torch": torch, "x": make(on_disk), "y": np.arange(12) % 3, "classes": CLASSES}
    with pytest.raises((TypeError, ValueError), match=re.escape(words)) as refused:
        data.from_arrays("own", names["x"], names["y"], classes=CLASSES)
    first, *recipe = str(refused.value).splitlines()
    assert first.startswith("own: ") and recipe and all(line.startswith("    ") for line in recipe[:1])
    exec("\n".join(line.strip() for line in takewhile(lambda line: line.startswith("    "), recipe)), names)
    source = data.from_arrays("own", names["x"], names["y"], classes=names["classes"], valid=0.25, test=0.25)
    assert sum(len(split) for split in source.splits.values()) == 12
    assert source.train.x.float().std() > 40 and source.train.x.max() > 200  # of full contrast: nothing was lost


def test_the_lines_for_pictures_keep_their_colours():
    pictures = colour_pictures()
    with pytest.raises(TypeError) as refused:
        data.from_arrays("own", pictures, np.arange(12) % 3, classes=CLASSES)
    names = {"np": np, "x": pictures}
    exec(str(refused.value).splitlines()[1].strip(), names)
    assert np.array_equal(names["x"], np.stack([np.array(picture) for picture in pictures]).transpose(0, 3, 1, 2))


def test_images_that_really_are_that_dark_are_taken_as_floats():
    x = (bytes_of() % 17).astype(np.uint8)
    with pytest.raises(ValueError, match=r"as dark as that\? Then:\n    x = x / 255"):
        data.from_arrays("own", x, np.arange(12) % 3, classes=CLASSES)
    source = data.from_arrays("own", x / 255, np.arange(12) % 3, classes=CLASSES, valid=0.25, test=0.25)
    assert rows_of(source.train.x, source.train.y) <= rows_of(x, np.arange(12) % 3)


def test_dark_bytes_are_asked_about_in_every_split():
    with pytest.raises(ValueError, match="from 0 to 16, where white is 255"):
        data.from_arrays("own", X, Y, classes=CLASSES, test=((X % 17).astype(np.uint8), Y))


@pytest.mark.parametrize("classes, recipe, expected", [
    ({"b", "a", "c"}, "classes = sorted(classes)", ["a", "b", "c"]),
    (frozenset("abc"), "classes = sorted(classes)", ["a", "b", "c"]),
    ({"b": 0, "a": 1, "c": 2}, "classes = sorted(classes, key=classes.get)", ["b", "a", "c"]),
    ({1: "b", 0: "a", 2: "c"}, "classes = [classes[k] for k in sorted(classes)]", ["a", "b", "c"]),
    (3, "classes = [str(k) for k in range(3)]", ["0", "1", "2"]),
])
def test_names_without_an_order_are_refused_with_the_line_that_gives_them_one(classes, recipe, expected):
    with pytest.raises(ValueError, match=re.escape(f"\n    {recipe}")):
        data.from_arrays("own", X, Y, classes=classes)
    names = {"classes": classes}
    exec(recipe, names)
    assert names["classes"] == expected


@pytest.mark.parametrize("y, recipe", [
    (np.array(CLASSES)[Y], "y = [['a', 'b', 'c'].index(label) for label in y]"),
    (np.eye(3, dtype=int)[Y], "y = np.asarray(y).argmax(axis=1)"),
    (Y[:, None], "y = np.asarray(y).ravel()"),
    (Y.astype(float), "y = np.asarray(y).astype(int)"),
])
def test_labels_of_another_kind_are_refused_with_the_line_that_makes_numbers_of_them(y, recipe):
    with pytest.raises(ValueError, match=re.escape(recipe)):
        data.from_arrays("own", X, y, classes=CLASSES)
    names = {"np": np, "y": y}
    exec(recipe, names)
    assert np.array_equal(names["y"], Y)


@pytest.mark.parametrize("changes, message", [
    ({"classes": ("a", "b", "b")}, "two classes are called 'b'"),
    ({"y": None}, "one integer per image"),
    ({"test": "0.2"}, "test is a share of the images in [0, 1) or a pair (x, y); it is '0.2'"),
    ({"valid": None}, "valid is a share"),
    ({"test": (X, Y, Y)}, "test is a share"),
    ({"x": None}, "NoneType holds no array of images"),
    ({"x": np.zeros((60, 4, 6, 5), np.uint8)}, "how opaque they are: use x[:, :3]"),
    ({"x": np.zeros((60, 6, 5, 4), np.uint8)}, "how opaque they are: use x[..., :3]"),
    ({"x": torch.zeros(60, 6, 5, 3)}, "x.permute(0, 3, 1, 2) of a tensor"),
])
def test_more_that_from_arrays_refuses_in_words(changes, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        data.from_arrays("own", **({"x": X, "y": Y, "classes": CLASSES} | changes))


MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
from kdcourse import data
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
draw = np.random.default_rng(0)
data.from_arrays("warm", draw.random((60, 3, 8, 8), dtype=np.float32), np.arange(60) % 2, classes="ab")
x = np.random.default_rng(0).random((6000, 3, 64, 64), dtype=np.float32)
x = x if sys.argv[1] == "array" else __import__("torch").from_numpy(x)
before = peak()
source = data.from_arrays("own", x, np.arange(6000) % 2, classes="ab")
print((peak() - before) / x.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the memory of a process as Linux does")
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_floats_take_less_than_their_own_room_while_they_become_bytes(kind):
    done = subprocess.run([sys.executable, "-c", MEASURE, kind], capture_output=True, text=True, check=True)
    assert 0.2 < float(done.stdout) < 1


def test_a_source_keeps_its_images_when_the_arrays_it_was_made_of_change():
    x, y = bytes_of(30), np.arange(30) % 3
    own = [x.copy(), torch.as_tensor(x).clone()]
    for images in own:
        parts = [(images[rows], y[rows]) for rows in (slice(10), slice(10, 20), slice(20, 30))]
        source = data.from_arrays("own", *parts[0], classes=CLASSES, valid=parts[1], test=parts[2])
        images[:] = 0
        assert np.array_equal(torch.cat([split.x for split in source.splits.values()]), x)


# copies

@pytest.mark.parametrize("times", [lambda a: np.repeat(a, 4, axis=0), lambda a: np.concatenate([a] * 4)])
def test_copies_of_an_image_are_drawn_into_one_split(times):
    x, y = map(times, arrays(60))
    source = data.from_arrays("own", x, y, classes=CLASSES)
    assert sum((rows_of(split.x, split.y) for split in source.splits.values()), Counter()) == rows_of(x, y)
    parts = [set(rows_of(split.x, split.y)) for split in source.splits.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60 and min(map(len, parts)) > 1


def test_images_of_one_colour_are_nobodys_copies():
    x, y = np.full((60, 3, 6, 5), 255, np.uint8), np.arange(60) % 3
    sizes = [len(split) for split in data.from_arrays("white", x, y, classes=CLASSES).splits.values()]
    assert sizes == [42, 6, 12]
    data.from_arrays("white", x, y, classes=CLASSES, valid=(x, y), test=(x, y))


def test_a_few_copies_change_nothing_but_the_split_of_these():
    x, y = arrays(300)
    before = data.from_arrays("own", x, y, classes=CLASSES)
    again = next(row for row in range(300) if (before.test.x == torch.from_numpy(x[row])).flatten(1).all(dim=1).any())
    x[299] = x[again]
    after = data.from_arrays("own", x, y, classes=CLASSES)
    kept = [rows_of(one.x, one.y) - rows_of(other.x, other.y)
            for one, other in zip(before.splits.values(), after.splits.values(), strict=True)]
    assert sum(map(Counter.total, kept)) == 1


def test_arrays_of_a_single_picture_say_that_copies_stay_together():
    with pytest.raises(ValueError, match=r"own: the .* split has 0 images .* of 60 images only 1 differ"):
        data.from_arrays("own", np.repeat(X[:1], 60, axis=0), Y, classes=CLASSES)


OTHER, MORE = arrays(60, seed=1)[0], arrays(60, seed=2)[0]


@pytest.mark.parametrize("valid, test, message", [
    ((X, Y), (X, Y), "own: 60 of 60 images of test are in train, too"),
    ((X[3:9], Y[3:9]), (OTHER, Y), "own: 6 of 6 images of valid are in train, too"),
    ((OTHER, Y), (OTHER[::-1], Y), "own: 60 of 60 images of test are in valid, too"),
    ((OTHER, Y), (np.concatenate([MORE[1:], X[:1]]), Y), "own: 1 of 60 images of test are in train, too"),
    (0.1, (X / 255, Y), r"own: \d\d of 60 images of test are in train, too"),
    ((X[:2], Y[:2]), 0.2, "images of valid are in train, too"),
])
def test_splits_that_share_images_are_refused_with_their_number(valid, test, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays("own", X, Y, classes=CLASSES, valid=valid, test=test)


def test_the_lines_about_shared_images_leave_them_out():
    test = np.concatenate([X[:20], MORE[:40]])
    with pytest.raises(ValueError, match="20 of 60 images of test are in train") as refused:
        data.from_arrays("own", X, Y, classes=CLASSES, valid=(OTHER, Y), test=(test, Y))
    names = {"x_train": X, "y_train": Y, "x_test": test}
    exec("\n".join(line.strip() for line in str(refused.value).splitlines()[1:]), names)
    source = data.from_arrays("own", names["x_train"], names["y_train"], classes=CLASSES, valid=(OTHER, Y),
                              test=(test, Y))
    assert len(source.train) == 40


def test_a_copy_among_a_hundred_images_is_let_pass_as_public_data_sets_hold_some():
    x, y = arrays(100, seed=3)
    x[0] = X[0]
    assert len(data.from_arrays("own", X, Y, classes=CLASSES, valid=(OTHER, Y), test=(x, y)).test) == 100


# what changes images, and what trains on which

@pytest.mark.parametrize("change, complaint", [
    (lambda x, index, epoch: x.float() / 255, r"returned a tensor of torch.float32, and bytes .*255.* return .*byte"),
    (lambda x, index, epoch: x.long(), "returned a tensor of torch.int64"),
    (lambda x, index, epoch: x.numpy(), "returned a ndarray"),
    (lambda x, index, epoch: None, "returned a NoneType"),
])
def test_an_augmentation_that_returns_no_bytes_is_refused(digits, change, complaint):
    change.name = "mine"
    with pytest.raises(TypeError, match=f"the augmentation mine {complaint}"):
        next(digits.train.batches(8, augment=change))


@pytest.mark.parametrize("change", [lambda x, index, epoch: x[:3], lambda x, index, epoch: x[0],
                                    lambda x, index, epoch: x.expand(-1, 3, -1, -1)])
def test_an_augmentation_that_returns_other_images_than_it_got_is_refused(digits, change):
    change.name = "mine"
    with pytest.raises(ValueError, match="as many images, with as many channels, are needed"):
        next(digits.train.batches(8, augment=change))


def test_an_augmentation_of_ones_own_that_returns_bytes_is_taken_by_its_name(digits):
    def inverted(x, index, epoch):
        return 255 - x

    with pytest.raises(ValueError, match=r"give yours one: augment\.name = 'inverted'"):
        next(digits.train.batches(8, augment=inverted))
    inverted.name = "inverted"
    batch = next(digits.train.batches(8, augment=inverted))
    torch.testing.assert_close(batch.x, 1 - digits.train.x[:8].float() / 255)


@pytest.mark.parametrize("settings, message", [
    ({"flip": "no"}, "flip is True or False.*; it is 'no'"), ({"flip": None}, "it is None"), ({"flip": 0.5}, "is 0.5"),
    ({"pad": 1.5}, "not 1.5"), ({"pad": "4"}, "not '4'"), ({"pad": True}, "not True"),
    ({"views": 2.0}, "it is 2.0"), ({"views": "3"}, "it is '3'"), ({"seed": None}, "seed is an integer; it is None"),
])
def test_settings_of_an_augmentation_that_are_none_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augment(**settings)


def test_training_never_gets_the_images_that_judge_it(digits):
    for held_out in (digits.test, digits.valid):
        for train in (held_out, held_out.take(torch.arange(9), "nine"), data.Split("mine", held_out.x, held_out.y)):
            with pytest.raises(ValueError, match=r"training never sees the (test|valid) split"):
                digits.with_train(train)


@pytest.mark.parametrize("train, error", [
    ("train", TypeError), (None, TypeError), (torch.zeros(3, 1, 8, 8), TypeError),
    (data.Split("wide", torch.zeros(3, 1, 9, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.long)), ValueError),
])
def test_training_images_that_are_no_split_or_of_another_shape_are_refused(digits, train, error):
    with pytest.raises(error, match=r"takes a Split|images of wide are \(1, 9, 8\), and those of the source \(1, 8"):
        digits.with_train(train)


def test_training_images_of_classes_of_other_names_are_refused():
    mnist, fashion = data.load("mnist_small"), data.load("fashion_small")
    with pytest.raises(ValueError, match=r"mnist_small: fashion_small/train has for label 0 the class 'T-shirt"):
        mnist.with_train(fashion.train)
    part = mnist.train.take(torch.arange(9), "nine")
    for names, message in (((*mnist.classes[:8], *"98"), "for label 8 the class '9', and the source '8'"),
                           (mnist.classes[:9], "has 9 classes, and the source 10")):
        with pytest.raises(ValueError, match=message):
            mnist.with_train(replace(part, classes=names))


def test_training_images_without_names_of_classes_take_those_of_the_source():
    mnist, fashion = data.load("mnist_small"), data.load("fashion_small")
    assert mnist.with_train(replace(fashion.train, classes=None)).train.classes == mnist.classes
    noise = data.transfer.noise(mnist.shape, 5)
    assert mnist.with_train(noise).train is noise


BYTES, LABELS = torch.zeros(6, 1, 8, 8, dtype=torch.uint8), torch.arange(6) % 3


@pytest.mark.parametrize("changes, error, message", [
    ({"x": BYTES / 255}, ValueError, "mine: images of a Split are bytes (torch.uint8) of shape (N, C, H, W)"),
    ({"x": BYTES.long()}, ValueError, "these are torch.int64 of shape (6, 1, 8, 8): data.from_arrays("),
    ({"x": BYTES[:, 0]}, ValueError, "these are torch.uint8 of shape (6, 8, 8): data.from_arrays("),
    ({"x": BYTES.numpy()}, TypeError, "mine: x of a Split is a tensor, not a ndarray: data.from_arrays("),
    ({"y": LABELS.tolist()}, TypeError, "mine: y of a Split is a tensor, not a list"),
    ({"y": None}, TypeError, "mine: y of a Split is a tensor, not a NoneType"),
    ({"y": LABELS.float()}, ValueError, "whole numbers of shape (N,), one for each image; these are torch.float32"),
    ({"y": LABELS > 0}, ValueError, "these are torch.bool"),
    ({"y": LABELS[:, None]}, ValueError, "these are torch.int64 of shape (6, 1)"),
    ({"y": LABELS[:3]}, ValueError, "mine: 6 images but 3 labels; row i of both must be the same image"),
    ({"y": LABELS.repeat(2)}, ValueError, "mine: 6 images but 12 labels"),
    ({"votes": torch.ones(5, 3, dtype=torch.long)}, ValueError, "mine: 6 images but 5 rows of votes"),
])
def test_a_split_of_no_bytes_or_of_other_labels_than_images_is_refused(changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        data.Split("mine", **({"x": BYTES, "y": LABELS} | changes))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_a_split_takes_labels_of_any_whole_numbers_no_image_and_tensors_without_values(dtype):
    split = data.Split("mine", BYTES, LABELS.to(dtype), torch.ones(6, 3))
    assert len(split) == len(split.to("meta")) == 6 and len(split.take(LABELS == 7, "none")) == 0


def test_every_split_and_every_part_of_it_knows_the_names_of_the_classes(digits):
    for split in digits.splits.values():
        assert split.classes == digits.classes == split.take(torch.arange(3), "three").classes
    assert digits.to("cpu").train.classes == digits.classes


@pytest.mark.parametrize("low, high, advice", [
    (-1e-9, 1.0, r"x\.clip\(0, 1\)$"), (0.0, 1.0000001, r"lie in \[0, 1\.00000012\]\n    x = x\.clip\(0, 1\)$"),
    (-0.016, 0.79, r"x\.clip\(0, 1\)$"), (-1.0, 1.0, r"x = \(x \+ 1\) / 2$"), (0.0, 255.0, r"x = x / 255$"),
])
def test_floats_that_lie_outside_0_to_1_are_told_what_most_likely_mends_them(low, high, advice):
    x = np.linspace(low, high, 30 * 16, dtype=np.float32).reshape(30, 4, 4)
    with pytest.raises(ValueError, match=advice):
        data.from_arrays("own", x, np.arange(30) % 3, classes="abc")


@pytest.mark.parametrize("y, mend", [
    (np.arange(30) % 3 + 1, "y = np.asarray(y) - 1"),
    (np.array(list("abc") * 10, dtype=object), "y = [['a', 'b', 'c'].index(label) for label in y]"),
    (np.array(list("abc") * 10, dtype="S1"), "y = [['a', 'b', 'c'].index(label.decode()) for label in y]"),
])
def test_the_line_that_mends_labels_mends_them(y, mend):
    x = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    with pytest.raises(ValueError) as refused:
        data.from_arrays("own", x, y, classes="abc")
    assert str(refused.value).endswith(f"\n    {mend}")
    names = {"np": np, "y": y}
    exec(mend, names)
    source = data.from_arrays("own", x, names["y"], classes="abc")
    assert sorted(source.train.y.unique().tolist()) == [0, 1, 2]


@pytest.mark.parametrize("rows", [5, {1, 2}, [0.7, 5.9], "abc", torch.tensor([[1]])])
def test_what_are_no_rows_is_refused(digits, rows):
    with pytest.raises(TypeError, match="digits/train: rows are whole numbers"):
        digits.train.take(rows, "few")


def test_rows_in_bytes_are_rows_and_rows_that_are_not_there_are_named(digits):
    rows = torch.tensor([0, 1, 5], dtype=torch.uint8)
    assert torch.equal(digits.train.take(rows, "few").x, digits.train.x[[0, 1, 5]])
    with pytest.raises(ValueError, match="rows run from 0 to 5000, and there are"):
        digits.train.take([0, 5000], "few")
    with pytest.raises(ValueError, match="a mask has a bool for each of"):
        digits.train.take(torch.ones(3, dtype=torch.bool), "few")
