"""Folders of images and data sets of others, of any size: what is read and refused, and how much memory it takes."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from kdcourse import data, distillers, metrics, models, train
from kdcourse.core import fingerprint
from kdcourse.data.folder import Mapped, mapped
from kdcourse.teachers import LogitBank

SIDE = 6


def pixels(n=30, channels=3, side=SIDE, seed=0):
    shape = (n, side, side, channels) if channels == 3 else (n, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def folder_of(path, n=30, splits=("",), **settings):
    """Class folders a, b, c with n images, in turn."""
    for number, split in enumerate(splits):
        for row, image in enumerate(pixels(n, **{"seed": number} | settings)):
            place = path / split / "abc"[row % 3]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{row:02}.png")
    return path


def equal(one, other):
    return all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and a.key == b.key
               for a, b in zip(one.splits.values(), other.splits.values(), strict=True))


class Rows(list):
    """As Hugging Face's data sets: rows by number, columns by name, and features that know the classes."""

    def __init__(self, images, labels, names):
        super().__init__({"picture": Image.fromarray(image), "label": label}
                         for image, label in zip(images, labels, strict=True))
        self.features = {"picture": object(), "label": type("ClassLabel", (), {"names": names})}

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def test_a_folder_gives_each_image_once_with_the_label_of_its_class(tmp_path):
    source = data.from_folder(folder_of(tmp_path / "animals"))
    assert repr(source) == "Source('animals': 21 train, 3 valid, 6 test; 3 classes of 3x6x6)"
    assert source.classes == ("a", "b", "c") == source.train.classes
    expected = {image.transpose(2, 0, 1).tobytes(): row % 3 for row, image in enumerate(pixels())}
    found = {image.numpy().tobytes(): label.item() for split in source.splits.values()
             for image, label in zip(split.x, split.y, strict=True)}
    assert found == expected
    assert source.test.y.bincount().tolist() == [2, 2, 2]


@pytest.mark.parametrize("names", [
    ("train", "valid", "test"), ("train", "val", "test"), ("train", "validation", "eval"),
    ("Training", "Dev", "Testing"), ("TRAIN", "Val", "Test"), ("train", "dev", "Test"),
])
def test_folders_called_train_valid_and_test_or_so_are_the_splits(tmp_path, names):
    for hidden in ("__MACOSX/train/a", ".cache/b", f"{names[0]}/a/.thumbnails", f"{names[2]}/__MACOSX/a"):
        (tmp_path / hidden).mkdir(parents=True)
        Image.fromarray(pixels(1, seed=9)[0]).save(tmp_path / hidden / "._1.png")
        Image.fromarray(pixels(1, seed=9)[0]).save(tmp_path / hidden / "1.png")
    source = data.from_folder(folder_of(tmp_path, 6, names))
    for seed, split in enumerate(source.splits.values()):
        images = pixels(6, seed=seed).transpose(0, 3, 1, 2)[[0, 3, 1, 4, 2, 5]]
        assert torch.equal(split.x, torch.from_numpy(images)) and split.y.tolist() == [0, 0, 1, 1, 2, 2]


def test_what_a_folder_lacks_is_taken_from_its_training_images_alone(tmp_path):
    source = data.from_folder(folder_of(tmp_path, 30, ("train", "test")))
    assert [len(split) for split in source.splits.values()] == [27, 3, 30]
    assert {image.numpy().tobytes() for image in source.test.x} == {
        image.transpose(2, 0, 1).tobytes() for image in pixels(seed=1)}


def test_data_sets_of_torchvision_and_of_hugging_face_give_the_images_of_the_folder(tmp_path):
    whole = data.from_folder(folder_of(tmp_path / "animals"), name="own")
    plain = datasets.ImageFolder(str(tmp_path / "animals"))
    order = [row for label in range(3) for row in range(label, 30, 3)]
    rows = Rows(pixels()[order], [row % 3 for row in order], ["a", "b", "c"])
    tensors = datasets.ImageFolder(str(tmp_path / "animals"), transforms.ToTensor())
    part = torch.utils.data.Subset(plain, range(30))
    for given in (plain, rows, tensors, part, {"train": plain}):
        assert equal(data.from_folder(given, name="own"), whole)
    others = [datasets.ImageFolder(str(folder_of(tmp_path / str(seed), 30, seed=seed))) for seed in (1, 2)]
    three = data.from_folder({"train": plain, "validation": others[0], "test": others[1]}, name="own")
    assert [len(split) for split in three.splits.values()] == [30, 30, 30]


def test_labels_that_a_data_set_changes_are_taken_as_changed(tmp_path):
    turned = datasets.ImageFolder(str(folder_of(tmp_path)), target_transform=lambda label: 2 - label)
    whole, other = (data.from_folder(given, name="own") for given in (tmp_path, turned))
    by_image = {image.numpy().tobytes(): label for split in whole.splits.values()
                for image, label in zip(split.x, split.y.tolist(), strict=True)}
    assert all(by_image[image.numpy().tobytes()] == 2 - label for split in other.splits.values()
               for image, label in zip(split.x, split.y.tolist(), strict=True))


@pytest.mark.parametrize("width, height", [(20, 12), (12, 20), (9, 9), (7, 30)])
def test_a_size_is_the_shorter_edge_and_the_middle_as_torchvision_makes_it(tmp_path, width, height):
    for kind in "ab":
        for row in range(4):
            image = np.random.default_rng([row, ord(kind)]).integers(0, 256, (height, width, 3), dtype=np.uint8)
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(image).save(tmp_path / kind / f"{row}.png")
    source = data.from_folder(tmp_path, size=8, valid=0.25, test=0.25)
    same = transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8), transforms.PILToTensor()])
    expected = {same(image).numpy().tobytes() for image, _ in datasets.ImageFolder(str(tmp_path))}
    assert {image.numpy().tobytes() for split in source.splits.values() for image in split.x} == expected


def test_grey_images_have_one_channel_unless_one_of_them_has_colours(tmp_path):
    folder_of(tmp_path / "grey", channels=1)
    assert data.from_folder(tmp_path / "grey").shape == (1, 6, 6)
    Image.fromarray(pixels(1)[0]).save(tmp_path / "grey" / "a" / "colour.png")
    assert data.from_folder(tmp_path / "grey").shape == (3, 6, 6)


def test_a_photograph_that_lies_on_its_side_is_turned_upright(tmp_path):
    image, exif = Image.new("RGB", (8, 4)), Image.Exif()
    image.paste((255, 255, 255), (0, 0, 4, 4))
    exif[0x0112] = 6  # turn it a quarter clockwise
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for row in range(4):
            image.save(tmp_path / kind / f"{row}.jpg", exif=exif, quality=100, comment=f"{kind}{row}")  # no copy
    source = data.from_folder(tmp_path, valid=0.25, test=0.25)
    assert source.shape == (3, 8, 4)
    assert source.train.x[:, :, :4].min() > 250 and source.train.x[:, :, 4:].max() < 5


# larger than the memory

@pytest.fixture
def both(tmp_path):
    """The same images in memory and mapped."""
    folder = folder_of(tmp_path / "own")
    return data.from_folder(folder), data.from_folder(folder, memory=0, cache=tmp_path / "cache")


def test_mapped_images_are_those_in_memory_under_the_same_key(both):
    assert equal(*both) and all(isinstance(split, Mapped) for split in both[1].splits.values())
    for split in both[1].splits.values():
        assert split.key == f"{split.name}#{fingerprint(split.x)}"
    augment = data.Augment(pad=1, hue=0.1)
    for one, other in zip(*(source.train.batches(8, seed=3, epoch=2, augment=augment) for source in both), strict=True):
        assert all(torch.equal(*pair) for pair in zip(one[:3], other[:3], strict=True)) and one[3:] == other[3:]


def test_a_network_learns_from_mapped_images_what_it_learns_from_those_in_memory(both):
    found = []
    for source in both:
        teacher, student = (models.build("cnn", source.shape, 3, seed=seed, width=4) for seed in (9, 0))
        bank = LogitBank.record(teacher, source.train)
        rows = train.fit(distillers.KD(student, bank), source, epochs=2, lr=1e-2, batch_size=8)
        found.append((rows, metrics.predict(student, source.test).tolist()))
    assert found[0] == found[1]


def test_a_folder_is_decoded_once_for_as_long_as_its_files_are_the_same(both, tmp_path, monkeypatch):
    kept = sorted((tmp_path / "cache").iterdir())
    assert len(kept) == 6 and not [path for path in kept if path.name.startswith(".partial")]
    with monkeypatch.context() as patch:
        patch.setattr("kdcourse.data.folder._decoded", None)
        assert equal(data.from_folder(tmp_path / "own", memory=0, cache=tmp_path / "cache"), both[0])
    changed = tmp_path / "own" / "a" / "00.png"
    Image.fromarray(255 - np.asarray(Image.open(changed))).save(changed)
    os.utime(changed, ns=(1, 1))
    assert not equal(data.from_folder(tmp_path / "own", memory=0, cache=tmp_path / "cache"), both[0])


def test_images_of_a_data_set_are_written_anew_and_leave_nothing_behind(tmp_path):
    plain = datasets.ImageFolder(str(folder_of(tmp_path / "own")))
    source = data.from_folder(plain, memory=0, cache=tmp_path / "cache", name="own")
    assert isinstance(source.train, Mapped) and equal(source, data.from_folder(plain, name="own"))
    assert os.name == "nt" or not list((tmp_path / "cache").iterdir())


def test_a_picture_that_cannot_be_read_is_named_and_nothing_half_is_kept(tmp_path):
    broken = folder_of(tmp_path / "own") / "b" / "04.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(data.DataError, match=r"b.04\.png cannot be read"):
        data.from_folder(tmp_path / "own", memory=0, cache=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".partial")]


def test_a_file_of_bytes_that_was_cut_off_is_refused(both, tmp_path):
    largest = max((tmp_path / "cache").glob("*.bytes"), key=os.path.getsize)
    with open(largest, "r+b") as file:
        file.truncate(100)
    with pytest.raises(data.DataError, match=r"has 100 bytes, and .* needs 2,268"):
        data.from_folder(tmp_path / "own", memory=0, cache=tmp_path / "cache")


def own_memory():
    """Bytes that this process has for itself: pages of mapped files are not among them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux how much memory it uses")
def test_a_hundred_thousand_images_of_224_pixels_are_used_in_much_less_than_4_GiB(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    n, before = 100_000, own_memory()
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(n * 3 * 224 * 224)
    source = data.Source("large", *(Mapped(f"large/{kind}", mapped(tmp_path / "sparse", (n, 3, 224, 224)),
                                           torch.arange(n) % 10, pixels=kind) for kind in ("train", "valid", "test")),
                         tuple("0123456789"))
    augment, most = data.Augment(pad=16), 0
    split = source.to("cpu").train
    for batch, _ in zip(split.batches(16, seed=0, augment=augment), range(3), strict=False):
        assert batch.x.shape == (16, 3, 224, 224) and torch.equal(batch.y, batch.index % 10)
        most = max(most, own_memory() - before)
    few = split.take(torch.arange(0, n, 10_000), "few")
    assert few.x.shape == (10, 3, 224, 224) and not isinstance(few, Mapped)
    assert source.with_train(few).train is few and split.key == "large/train#train"
    assert most < 2**30


def test_what_is_taken_of_mapped_images_is_copied_and_mapped_again_where_it_is_too_much(both, monkeypatch, tmp_path):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path / "data"))
    plain, large = both[0].train, both[1].train
    rows = torch.tensor([5, 1, 1, 20])
    for chosen in (rows, torch.arange(21) % 2 == 0, [3, 4]):
        expected = plain.take(torch.as_tensor(chosen), "some")
        for limit, kind in ((2**30, data.Split), (0, Mapped)):
            monkeypatch.setattr("kdcourse.data.folder.MEMORY", limit)
            found = large.take(chosen, "some")
            assert type(found) is kind and torch.equal(found.x, expected.x) and torch.equal(found.y, expected.y)
            assert (found.key, found.classes) == (expected.key, expected.classes)


def test_a_mask_of_numbers_is_refused_of_mapped_images_too(both):
    for source in both:
        with pytest.raises(ValueError, match=r"own/train: 21 rows that are all 0 or 1"):
            source.train.take((source.train.y == 1).long(), "ones")


# copies

def doubled(path, target):
    """Every picture of a folder, twice."""
    for image in sorted(path.rglob("*.png")):
        twin = target / image.parent.name / f"{image.stem} again.png"
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_bytes(image.read_bytes())


def test_files_that_are_copies_are_drawn_into_one_split(tmp_path):
    doubled(folder_of(tmp_path, 60, side=64), tmp_path)
    source = data.from_folder(tmp_path)
    parts = [{image.numpy().tobytes() for image in split.x} for split in source.splits.values()]
    assert [2 * len(part) for part in parts] == [len(split) for split in source.splits.values()]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 60


@pytest.mark.parametrize("other", ["test", "val"])
@pytest.mark.parametrize("memory", [0, 2**30])
def test_folders_of_splits_that_share_files_are_refused_with_their_number(tmp_path, other, memory):
    folder_of(tmp_path / "own", 30, ("train", other))
    doubled(folder_of(tmp_path / "more", 3), tmp_path / "own" / other)
    kind = {"val": "valid"}.get(other, other)
    with pytest.raises(ValueError, match=rf"own: 3 of 33 images of {kind} are in train, too.*Delete them from one"):
        data.from_folder(tmp_path / "own", memory=memory, cache=tmp_path / "cache")


def test_data_sets_of_splits_that_share_images_are_refused_with_their_number(tmp_path):
    plain, other = (datasets.ImageFolder(str(folder_of(tmp_path / str(seed), seed=seed))) for seed in (0, 1))
    twice = torch.utils.data.ConcatDataset([plain, plain])
    twice.classes = plain.classes
    for given, message in (({"train": plain, "valid": other, "test": plain}, "30 of 30 images of test are in train"),
                           ({"train": plain, "valid": other, "test": other}, "30 of 30 images of test are in valid"),
                           (twice, "images of test are in train, too.* Leave the copies out")):
        with pytest.raises(ValueError, match=f"own: .*{message}"):
            data.from_folder(given, name="own")


def test_a_folder_of_one_picture_says_that_copies_stay_together(tmp_path):
    for row in range(30):
        (tmp_path / "abc"[row % 3]).mkdir(exist_ok=True)
        Image.fromarray(pixels(1)[0]).save(tmp_path / "abc"[row % 3] / f"{row}.png")
    with pytest.raises(ValueError, match="has no images: of 30 images only 1 differ"):
        data.from_folder(tmp_path)


# what is refused

def spoiled(path, how):
    folder_of(path)
    if how == "none":
        return path / "elsewhere"
    if how == "no classes":
        return path / "a"
    if how == "an empty class":
        (path / "d").mkdir()
    if how == "sizes":
        Image.fromarray(pixels(1, side=9)[0]).save(path / "a" / "large.png")
    if how == "deep":
        Image.fromarray(np.full((6, 6), 4000, np.uint16)).save(path / "a" / "deep.png")
    if how == "no train":
        folder_of(path, 6, ("test",))
    if how == "no train, but Testing":
        folder_of(path, 6, ("Testing",))
    if how == "a split of no name":
        return folder_of(path / "split", 6, ("train", "test", "extra"))
    if how == "one split twice":
        return folder_of(path / "split", 6, ("train", "val", "Validation"))
    if how == "splits of other names":
        return folder_of(path / "split", 6, ("TrainingSet", "TestSet"))
    if how == "splits in the classes":
        (folder_of(path / "split" / "a", 6, ("train", "test")) / "extra").mkdir()
        return folder_of(path / "split" / "b", 6, ("train", "test")).parent
    if how == "too deep in train":
        return folder_of(path / "split", 6, ("train/2023", "train/2024", "test/2023"))
    if how == "splits in themselves":
        folder_of(path / "split" / "seg_train", 6, ("seg_train",))
        return folder_of(path / "split" / "seg_test", 6, ("seg_test",)).parent
    if how == "splits of two domains":
        for name in ("trainA", "trainB", "testA", "testB"):
            shutil.copytree(path / "a", path / "split" / name)
        return path / "split"
    if how == "a stranger":
        folder_of(path / "split", 6, ("train", "test"))
        (path / "split" / "test" / "a").rename(path / "split" / "test" / "z")
        return path / "split"
    return path


@pytest.mark.parametrize("how, message", [
    ("none", "elsewhere is no folder"), ("no classes", "a holds 0 folders, and one for each class"),
    ("an empty class", "d holds no image"), ("sizes", r"of 2 different sizes \(6x6, 9x9, \.\.\.\): give size=224"),
    ("deep", "1 pictures have more than eight bits a channel"), ("no train", "holds test and no train"),
    ("no train, but Testing", "holds Testing and no train: call the images to train on train"),
    ("a split of no name", r"holds train and extra, which is no name of a split: those are train, valid and test"),
    ("one split twice", "holds Validation and val, which mean the same split"),
    ("splits of other names", r"TestSet, TrainingSet are no classes, it seems: each holds the folders a, b, c\. "),
    ("splits in the classes", "a, b are no classes, it seems: each holds the folders test, train"),
    ("too deep in train", "2023, 2024 are no classes, it seems"),
    ("splits in themselves", "seg_train, seg_test are no classes, it seems, but splits: call them .*/train"),
    ("splits of two domains", "trainA, trainB, testA, testB are no classes, it seems, but splits"),
    ("a stranger", "z is a class without images to train on; those are a, b, c"),
])
def test_a_folder_that_is_none_of_classes_is_refused_by_name(tmp_path, how, message):
    with pytest.raises(ValueError, match=message):
        data.from_folder(spoiled(tmp_path, how))


def test_classes_whose_names_only_resemble_those_of_splits_are_classes(tmp_path):
    folder_of(tmp_path, 60)
    names = ("train_station", "valley", "Testudo")
    for old, name in zip("abc", names, strict=True):
        (tmp_path / old).rename(tmp_path / name)
    assert data.from_folder(tmp_path).classes == ("Testudo", "train_station", "valley")


@pytest.mark.parametrize("name", ["a/1.gif", "c/1.HEIC", "b/deeper/1.avif", "b/1.jfif"])
@pytest.mark.parametrize("split", ["", "train", "test"])
def test_pictures_that_are_not_read_are_named_and_none_is_left_out_silently(tmp_path, name, split):
    folder_of(tmp_path, splits=(split, "train") if split else ("",))
    (tmp_path / split / name).parent.mkdir(exist_ok=True)
    (tmp_path / split / name).write_bytes(b"GIF89a")
    ending = Path(name).suffix.lower()
    with pytest.raises(ValueError, match=rf"{name[0]} holds pictures that are not read \(1 \{ending}\)"):
        data.from_folder(tmp_path)


def test_what_is_no_picture_or_is_hidden_is_left_out(tmp_path):
    folder_of(tmp_path)
    for name in ("Thumbs.db", ".DS_Store", "list.txt", "labels.csv", "._1.gif", "noted.json"):
        (tmp_path / "a" / name).write_bytes(b"?")
    assert sum(len(split) for split in data.from_folder(tmp_path).splits.values()) == 30


def see_through(mode, alpha):
    """A picture of noise with a corner of this alpha, 255 for opaque; in `P`, `L` and `RGB` as PNG keeps it there."""
    image = Image.fromarray(pixels(1, seed=7)[0])
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.new("L", image.size, 255))
        image.paste((255, 255, 255, alpha), (0, 0, 2, 2))
        return image.convert(mode), {}
    image = image.convert(mode)
    found = image.getpixel((0, 0))
    if mode == "P":
        return image, {"transparency": bytes(alpha if k == found else 255 for k in range(256))}
    used = set(image.get_flattened_data() if hasattr(image, "get_flattened_data") else image.getdata())
    free = next(k if mode == "L" else (k, k, k) for k in range(256) if (k if mode == "L" else (k, k, k)) not in used)
    return image, {"transparency": found if alpha < 255 else free}


def as_it_is(path):
    with Image.open(path) as image:
        return image.copy()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_pictures_that_are_transparent_in_places_are_refused_by_name(tmp_path, mode):
    for number, alpha in enumerate((255, 0)):
        image, how = see_through(mode, alpha)
        image.save(folder_of(tmp_path / str(number)) / "b" / "55.png", **how)
    assert len(data.from_folder(tmp_path / "0").classes) == 3
    for given in (tmp_path / "1", datasets.ImageFolder(str(tmp_path / "1"), loader=as_it_is)):
        with pytest.raises(data.DataError, match=r"transparent in places.*Flatten all such pictures") as refused:
            data.from_folder(given, valid=0.05, test=0.05)
        assert ("55.png: it is" if given == tmp_path / "1" else "item 20 of train: it") in str(refused.value)


def test_the_lines_about_transparent_pictures_flatten_them(tmp_path):
    path = folder_of(tmp_path / "own") / "b" / "55.png"
    see_through("RGBA", 128)[0].save(path)
    with pytest.raises(data.DataError, match="transparent") as refused:
        data.from_folder(tmp_path / "own")
    names = {"Image": Image, "path": path}
    first, last = (line.strip() for line in str(refused.value).splitlines()[1:])
    exec(f"{first}\nflat = {last}\nflat.save(path)", names)
    assert sum(len(split) for split in data.from_folder(tmp_path / "own").splits.values()) == 31


def test_pictures_whose_alpha_is_opaque_give_their_colours(tmp_path):
    for row, image in enumerate(pixels()):
        picture = Image.fromarray(image)
        picture.putalpha(255)
        (tmp_path / "abc"[row % 3]).mkdir(exist_ok=True)
        picture.save(tmp_path / "abc"[row % 3] / f"{row:02}.png")
    found = {image.numpy().tobytes() for split in data.from_folder(tmp_path).splits.values() for image in split.x}
    assert found == {image.transpose(2, 0, 1).tobytes() for image in pixels()}


def test_folders_below_a_class_are_read_with_it_where_they_are_not_those_of_all_classes(tmp_path):
    folder_of(tmp_path)
    for row, place in enumerate(("a/images", "b/images", "c/images", "a/near", "b/far", "c/near")):
        (tmp_path / place).mkdir()
        Image.fromarray(pixels(6, seed=9)[row]).save(tmp_path / place / "1.png")
    assert sum(len(split) for split in data.from_folder(tmp_path).splits.values()) == 36


def test_a_data_set_by_split_may_call_them_as_a_folder_may(tmp_path):
    parts = {name: datasets.ImageFolder(str(folder_of(tmp_path / name, 6, seed=seed)))
             for seed, name in enumerate(("Train", "dev", "TEST"))}
    source = data.from_folder(parts, name="own")
    assert [len(split) for split in source.splits.values()] == [6, 6, 6]
    with pytest.raises(ValueError, match="own holds Train and more, which is no name of a split"):
        data.from_folder(parts | {"more": parts["dev"]}, name="own")


@pytest.mark.parametrize("given, error, message", [
    ({"own": [1]}, ValueError, "has no split called train; it has own"),
    ({"test": [1]}, ValueError, "own holds test and no train"), (7, TypeError, "train is a int"),
    ([(1, 2)], TypeError, "a list is no data set of torchvision"),
    (Rows(pixels(3), [0, 1, 3], ["a", "b", "c"]), ValueError, "labels of train run from 0 to 3; there are 3"),
])
def test_what_is_no_data_set_is_refused_in_words(given, error, message):
    with pytest.raises(error, match=message):
        data.from_folder(given, name="own")


@pytest.mark.parametrize("settings, message", [
    ({"size": 0}, "it is 0"), ({"size": 8.0}, "it is 8.0"), ({"valid": 0}, "valid is a share .*; it is 0"),
    ({"test": 1.5}, "it is 1.5"),
])
def test_settings_of_a_folder_that_are_none_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        data.from_folder(folder_of(tmp_path), **settings)


def test_normalised_floats_of_a_data_set_are_refused_since_networks_normalise_for_themselves(tmp_path):
    how = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.2,) * 3)])
    with pytest.raises(ValueError, match="leave the transform of the data set out"):
        data.from_folder(datasets.ImageFolder(str(folder_of(tmp_path)), how))


class Noisy(datasets.ImageFolder):
    """Other labels than the files' folders say: those that its items have."""

    def __getitem__(self, row):
        picture, label = super().__getitem__(row)
        return picture, self.noise(label)


@pytest.mark.parametrize("noise", [lambda label: 2 - label, lambda label: torch.tensor(2 - label),
                                   lambda label: np.int64(2 - label)])
def test_labels_are_those_of_the_items_where_a_data_set_changes_them(tmp_path, noise):
    Noisy.noise = staticmethod(noise)
    source = data.from_folder(Noisy(folder_of(tmp_path)))
    plain = data.from_folder(datasets.ImageFolder(tmp_path))
    rows = {image.numpy().tobytes(): label.item() for split in plain.splits.values()
            for image, label in zip(split.x, split.y, strict=True)}
    for split in source.splits.values():
        assert [rows[image.numpy().tobytes()] for image in split.x] == [2 - label for label in split.y.tolist()]


@pytest.mark.parametrize("label", [0.7, "cat", torch.tensor([0, 1])])
def test_a_label_that_is_no_whole_number_is_refused_by_its_item(tmp_path, label):
    Noisy.noise = staticmethod(lambda _: label)
    with pytest.raises(ValueError, match=r"item 0 of train has the label .*a whole number is needed"):
        data.from_folder(Noisy(folder_of(tmp_path)))


def test_names_of_classes_are_words_also_where_a_data_set_numbers_them(tmp_path):
    numbered = datasets.ImageFolder(folder_of(tmp_path))
    numbered.classes = [0, 1, 2]
    assert data.from_folder(numbered).classes == ("0", "1", "2")


def test_other_pixels_of_the_same_names_sizes_and_times_are_other_images(tmp_path):
    for name, seed in (("one", 0), ("other", 1)):
        for row, image in enumerate(pixels(30, seed=seed)):
            place = tmp_path / name / "abc"[row % 3] / f"{row:02}.bmp"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place)
            os.utime(place, (10**9, 10**9))
    mapped_ones = [data.from_folder(tmp_path / name, memory=0, cache=tmp_path / "cache") for name in ("one", "other")]
    for source, name in zip(mapped_ones, ("one", "other"), strict=True):
        assert torch.equal(source.train.x, data.from_folder(tmp_path / name).train.x)
    shutil.rmtree(tmp_path / "one")
    shutil.copytree(tmp_path / "other", tmp_path / "one")  # in the place of the first, with its times
    again = data.from_folder(tmp_path / "one", memory=0, cache=tmp_path / "cache")
    assert torch.equal(again.train.x, mapped_ones[1].train.x)


def test_a_note_beside_the_bytes_that_was_cut_off_is_written_anew(tmp_path):
    folder, settings = folder_of(tmp_path / "own"), {"memory": 0, "cache": tmp_path / "cache"}
    first = data.from_folder(folder, **settings)
    for note in (tmp_path / "cache").glob("*.json"):
        note.write_text(note.read_text()[:10])
    assert equal(first, data.from_folder(folder, **settings))
    assert not list((tmp_path / "cache").glob(".*"))


def test_a_cache_that_cannot_be_written_is_told_with_what_to_do(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "x.bytes")

    monkeypatch.setattr("kdcourse.files.os.replace", full)
    with pytest.raises(data.DataError, match=r"make room.*from_folder\(\.\.\., cache=\.\.\.\)"):
        data.from_folder(folder_of(tmp_path / "own"), memory=0, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_rows_of_mapped_images_may_be_a_slice(both):
    for rows in (slice(0, 5), [0, 1, 2, 3, 4], np.arange(5)):
        assert torch.equal(both[1].train.take(rows, "few").x, both[0].train.x[:5])
