import gzip
import hashlib
import importlib
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

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
    module = importlib.import_module("kdcourse.data.handwritten")  # kdcourse.data.handwritten is the function
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
    monkeypatch.setattr(importlib.import_module("kdcourse.data.handwritten"), "CHECKSUMS", checksums)
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
