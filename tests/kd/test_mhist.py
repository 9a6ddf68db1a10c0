"""The reader's own copy of MHIST, made up here: found and checked, and every fault of it named."""

import csv
import io
import re
import shutil
import socket
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from kdcourse import data
from kdcourse.data import mhist, polyps

HEADER = ["Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition"]
PUBLISHED = {("train", "HP"): 1545, ("train", "SSA"): 630, ("test", "HP"): 617, ("test", "SSA"): 360}  # Wei et al. 2021


def table(counts: dict[tuple[str, str], int]) -> list[list[str]]:
    """Lines with that many images of each partition and label, shuffled, and all the votes that a label can have."""
    lines = []
    for (partition, label), n in counts.items():
        votes = np.arange(n) % (4 if label == "HP" else 3) + (0 if label == "HP" else 4 + (n > 9))
        votes = np.minimum(votes, 7)
        lines += [[label, str(vote), partition] for vote in votes]
    np.random.default_rng(0).shuffle(lines)
    return [[f"MHIST_{row:04}.png", *line] for row, line in enumerate(lines)]


@cache
def picture(colour: int, pixels: int) -> bytes:
    return png(np.full((pixels, pixels, 3), (colour, 255 - colour, 200), dtype=np.uint8))


def png(image: np.ndarray, **settings) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "png", compress_level=1, **settings)
    return content.getvalue()


def write_table(folder: Path, lines, header=HEADER):
    with open(folder / "annotations.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *lines])


def write(folder: Path, lines, pixels: int, *, inside="images/") -> Path:
    """A copy as it is delivered: the image in row i is of one colour, which tells i % 251."""
    folder.mkdir(parents=True)
    write_table(folder, lines)
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for row, line in enumerate(lines):
            archive.writestr(inside + line[0], picture(row % 251, pixels))
        archive.writestr("__MACOSX/images/._MHIST_0000.png", b"what an archive from a Mac has beside its files")
    return folder


def unpack(folder: Path):
    with zipfile.ZipFile(folder / "images.zip") as archive:
        archive.extractall(folder)
    (folder / "images.zip").unlink()


TINY = {("train", "HP"): 40, ("train", "SSA"): 15, ("test", "HP"): 9, ("test", "SSA"): 6}


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """A whole copy of 70 images of 8x8 pixels; `load` stands for `mhist` with those numbers."""
    monkeypatch.setattr(mhist, "COUNTS", TINY)
    return write(tmp_path / "copy", table(TINY), 8)


def load(folder: Path, **settings):
    return mhist.read("mhist", folder, pixels=8, counts=TINY, **settings)


def rows_of(split) -> list[int]:
    """Which lines of the table, modulo 251, the images of a split belong to: read off their colours."""
    first = split.x[:, :, 0, 0].long()
    assert (split.x == split.x[:, :, :1, :1]).all()
    assert (first[:, 0] + first[:, 1] == 255).all() and (first[:, 2] == 200).all()
    return first[:, 0].tolist()


def complaint(folder: Path) -> str:
    with pytest.raises(data.DataError) as error:
        load(folder)
    return str(error.value)


# a copy of the published numbers

@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "mhist", table(PUBLISHED), 224)


def test_a_whole_copy_is_found_checked_and_split(whole, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(whole.parent))
    source = data.load("mhist", size=4)
    assert repr(source) == "Source('mhist': 1,740 train, 435 valid, 977 test; 2 classes of 3x4x4)"
    assert source.classes == ("HP", "SSA") and source.stand_in == ""
    found = {}
    for kind, split in source.splits.items():
        assert split.name == f"mhist/{kind}" and split.x.dtype == torch.uint8
        assert split.y.dtype == split.votes.dtype == torch.int64
        assert (split.votes.sum(dim=1) == 7).all()
        labels = [source.classes[y] for y in split.y]
        found[kind] = list(zip(rows_of(split), labels, split.votes[:, 1].tolist(), strict=True))
    expected = {"train": [], "test": []}
    for row, (_, label, ssa, partition) in enumerate(table(PUBLISHED)):
        expected[partition].append((row % 251, label, int(ssa)))
    assert found["test"] == expected["test"]
    assert Counter(found["train"] + found["valid"]) == Counter(expected["train"])


@pytest.mark.parametrize("change, message", [
    (lambda line: None, "3,151 images instead of 3,152: 1,544 HP of train instead of 1,545; get annotations.csv again"),
    (lambda line: [line[0], "SSA", "6", "train"], "1,544 HP of train instead of 1,545, 631 SSA of train"),
    (lambda line: [*line[:3], "test"], "1,544 HP of train instead of 1,545, 618 HP of test instead of 617"),
], ids=["one image fewer", "one label changed", "one image moved to the test"])
def test_a_copy_that_differs_from_the_published_numbers_by_one_image_is_refused(tmp_path, change, message):
    lines = table(PUBLISHED)
    row = next(number for number, line in enumerate(lines) if line[1] == "HP" and line[3] == "train")
    lines[row] = change(lines[row])
    write_table(tmp_path, [line for line in lines if line])
    (tmp_path / "images").mkdir()
    with pytest.raises(data.DataError, match=re.escape(message)):
        data.load("mhist", root=tmp_path)


def test_images_of_another_size_are_refused(tiny):
    with pytest.raises(data.DataError, match=r"MHIST_0000\.png .* is 8x8 RGB instead of 224x224 RGB; get images\.zip"):
        data.load("mhist", root=tiny)


# where a copy may lie

@pytest.mark.parametrize("layout", ["", "mhist"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_copy_is_found_in_its_folder_or_the_one_above_packed_or_not(tiny, tmp_path, monkeypatch, layout, unpacked):
    if unpacked:
        unpack(tiny)
    expected = load(tiny)
    root = tmp_path / "root"
    shutil.copytree(tiny, root / layout)
    assert mhist._place(root) == mhist._place(str(root)) == root / layout
    monkeypatch.setenv("KDCOURSE_DATA", str(root))
    assert mhist._place(None) == root / layout
    for kind, split in load(root / layout).splits.items():
        assert split.key == expected.splits[kind].key and torch.equal(split.votes, expected.splits[kind].votes)


def test_images_at_the_top_of_the_archive_are_found_too(tmp_path, tiny):
    flat = write(tmp_path / "flat", table(TINY), 8, inside="")
    assert load(flat).train.key == load(tiny).train.key


@pytest.mark.parametrize("removed, missing", [
    (["annotations.csv", "images.zip"], "annotations.csv and images.zip"),
    (["annotations.csv"], "annotations.csv"),
    (["images.zip"], "images.zip"),
])
def test_without_a_copy_there_is_a_numbered_recipe_for_asking_its_authors(tiny, monkeypatch, removed, missing):
    def refuse(*arguments, **settings):
        raise ConnectionError("this asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in removed:
        (tiny / name).unlink()
    with pytest.raises(data.DataError) as error:
        data.load("mhist", root=tiny)
    recipe = str(error.value)
    assert f"missing {missing}." in recipe
    assert f"mhist is not in {tiny if len(removed) == 1 else tiny / 'mhist'}" in recipe
    steps = dict(re.findall(r"^  (\d)\. (.*)$", recipe, flags=re.MULTILINE))
    assert list(steps) == ["1", "2", "3", "4", "5"]
    for number, words in (("1", "form"), ("2", "e-mail"), ("3", "research use only"), ("4", "annotations.csv")):
        assert words in steps[number]
    assert re.findall(r"https?://\S+", recipe) == ["https://bmirds.github.io/MHIST"]


def test_fetching_gives_the_recipe_too(tmp_path, monkeypatch):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    with pytest.raises(data.DataError, match=r"1\. fill in the request form"):
        data.FETCHERS["mhist"]()


# what is wrong with a copy

def test_a_table_with_other_columns_is_refused(tiny):
    write_table(tiny, table(TINY), header=[*HEADER[:2], "Votes", HEADER[3]])
    message = complaint(tiny)
    assert all(f"{word}, " in message for word in (*HEADER[:3], "Votes")) and "get annotations.csv again" in message
    (tiny / "annotations.csv").write_text("")
    assert "it begins with nothing" in complaint(tiny)
    write_table(tiny, [])
    assert "names no image" in complaint(tiny)


def test_a_table_that_is_no_text_is_refused(tiny):
    (tiny / "annotations.csv").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in complaint(tiny)


def test_a_table_saved_by_a_spreadsheet_with_its_mark_is_read(tiny):
    path = tiny / "annotations.csv"
    expected = load(tiny)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(tiny).train.key == expected.train.key


@pytest.mark.parametrize("line, message", [
    (["MHIST_0000.png", "HP", "8", "train"], "line 2 (MHIST_0000.png): '8' annotators for SSA; it is a number from 0"),
    (["MHIST_0000.png", "HP", "-1", "train"], "'-1' annotators"),
    (["MHIST_0000.png", "HP", "2.0", "train"], "'2.0' annotators"),
    (["MHIST_0000.png", "hp", "2", "train"], "label 'hp'; it is one of HP and SSA"),
    (["MHIST_0000.png", "HP", "4", "train"], "label HP, but 4 of 7 annotators for SSA"),
    (["MHIST_0000.png", "SSA", "3", "train"], "label SSA, but 3 of 7 annotators for SSA"),
    (["MHIST_0000.png", "HP", "3", "valid"], "partition 'valid'; it is train or test"),
    (["MHIST_0000.png", "HP", "3"], "line 2: 3 fields instead of 4"),
    (["MHIST_0001.png", "HP", "3", "train"], "names MHIST_0001.png more than once"),
])
def test_a_wrong_line_of_the_table_is_named_with_what_is_wrong_in_it(tiny, line, message):
    write_table(tiny, [line, *table(TINY)[1:]])
    found = complaint(tiny)
    assert message in found and str(tiny / "annotations.csv") in found and "get annotations.csv again" in found


def test_missing_images_are_counted_and_named(tiny):
    unpack(tiny)
    for row in (3, 5, 8, 60):
        (tiny / "images" / f"MHIST_{row:04}.png").unlink()
    assert (f"4 of 70 images are not in {tiny / 'images'}: MHIST_0003.png, MHIST_0005.png, MHIST_0008.png, ...; "
            "get images.zip again") in complaint(tiny)


@pytest.mark.parametrize("content, message", [
    (png(np.zeros((8, 9, 3), np.uint8)), "is 9x8 RGB instead of 8x8 RGB"),
    (png(np.zeros((8, 8), np.uint8)), "is 8x8 L instead of 8x8 RGB"),
    (png(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))[:90], "cannot be decoded"),
    (b"", "cannot be decoded"),
    (b"no image", "cannot be decoded"),
], ids=["wider", "grey", "cut off", "empty", "text"])
def test_an_image_that_is_not_what_it_must_be_is_named(tiny, content, message):
    unpack(tiny)
    (tiny / "images" / "MHIST_0007.png").write_bytes(content)
    found = complaint(tiny)
    assert message in found and "MHIST_0007.png" in found and "get images.zip again" in found


def test_an_archive_that_was_cut_off_or_changed_is_refused(tiny):
    path = tiny / "images.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "no whole archive" in complaint(tiny)
    path.write_bytes(whole.replace(b"IDAT", b"IDAX", 1))
    assert "MHIST_0000.png" in complaint(tiny) and "cannot be decoded" in complaint(tiny)


# what is made of it

def test_validation_is_a_fifth_of_the_training_images_and_has_its_share_of_every_vote(tiny):
    for seed in range(5):
        source = load(tiny, seed=seed)
        assert [len(split) for split in source.splits.values()] == [44, 11, 15]
        train, valid = (Counter(split.votes[:, 1].tolist()) for split in (source.train, source.valid))
        for votes in range(8):
            assert abs(valid[votes] - (train[votes] + valid[votes]) / 5) <= 1


def test_the_validation_images_depend_on_the_seed_and_the_test_images_do_not(tiny):
    source, again, other = load(tiny), load(tiny, seed=0), load(tiny, seed=1)
    assert rows_of(source.valid) == rows_of(again.valid) != rows_of(other.valid)
    assert rows_of(source.test) == rows_of(other.test)
    assert sorted(rows_of(source.train) + rows_of(source.valid)) == sorted(rows_of(other.train) + rows_of(other.valid))


def test_smaller_images_are_averaged_and_not_picked(tmp_path):
    lines = table(TINY)
    folder = write(tmp_path / "copy", lines, 8)
    unpack(folder)
    checks = np.indices((8, 8)).sum(0) % 2 * 255  # picked pixels would be 0 or 255
    for line in lines:
        (folder / "images" / line[0]).write_bytes(png(np.stack([checks] * 3, axis=2).astype(np.uint8)))
    small = load(folder, size=2)
    assert small.shape == (3, 2, 2) and ((small.train.x > 100) & (small.train.x < 155)).all()
    assert load(folder).shape == (3, 8, 8)


@pytest.mark.parametrize("size", [0, 9])
def test_a_size_that_is_none_or_larger_is_refused(tiny, size):
    with pytest.raises(ValueError, match=f"images of 8 pixels can be made smaller, .* it is {size}"):
        load(tiny, size=size)


def test_images_with_an_opaque_fourth_channel_count_as_rgb(tiny):
    expected = load(tiny)
    unpack(tiny)
    for path in (tiny / "images").iterdir():
        Image.open(path).convert("RGBA").save(path)
    assert load(tiny).train.key == expected.train.key


# votes of a split

def test_votes_follow_the_images_that_are_taken_and_moved(tiny):
    split = load(tiny).train
    rows = torch.tensor([5, 0, 9])
    assert torch.equal(split.take(rows, "three").votes, split.votes[rows])
    assert torch.equal(split.take(split.y == 1, "SSA").votes, split.votes[split.y == 1])
    moved = split.to("meta")
    assert moved.votes.device == moved.x.device == torch.device("meta") and moved.name == split.name


def test_sources_with_one_label_an_image_have_no_votes():
    source = data.load("digits")
    for split in (source.train, source.train.take(torch.arange(3), "three"), source.train.to("meta")):
        assert split.votes is None


# archives of other programs, and what is said of one's own copy without reading it


@pytest.mark.parametrize("where", ["images\\{}", "{}", "a\\b\\{}", "a/b\\{}", "images/{}"])
def test_images_are_found_by_their_own_names_however_an_archive_writes_paths(tmp_path, where):
    polyps.write(tmp_path, 8, train=20, test=5)
    expected = mhist.read("polyps", tmp_path, pixels=8)
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        contents = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(where.format(name), content)
    found = mhist.read("polyps", tmp_path, pixels=8)
    assert [split.key for split in found.splits.values()] == [split.key for split in expected.splits.values()]


def test_images_unpacked_with_backslashes_in_their_names_are_found(tmp_path):
    polyps.write(tmp_path, 8, train=20, test=5)
    expected = mhist.read("polyps", tmp_path, pixels=8)
    (tmp_path / "images").mkdir()
    with zipfile.ZipFile(tmp_path / "images.zip") as archive:
        for name in archive.namelist():
            try:
                (tmp_path / "images" / name.replace("/", "\\")).write_bytes(archive.read(name))
            except OSError:
                pytest.skip("this system has no such names")
    (tmp_path / "images.zip").unlink()
    assert mhist.read("polyps", tmp_path, pixels=8).train.key == expected.train.key


@pytest.fixture
def own_copy(tmp_path, monkeypatch):
    """A folder as MHIST's, as large as its pixels and far smaller in number."""
    polyps.write(tmp_path / "mhist", 224, train=10, test=4)
    table = mhist._table(tmp_path / "mhist" / "annotations.csv", None)
    monkeypatch.setattr(mhist, "COUNTS", Counter((row.partition, row.label) for row in table))
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    return tmp_path / "mhist"


def test_ones_own_copy_is_described_as_its_repr_from_one_of_its_images(own_copy, monkeypatch):
    assert data.describe("mhist") == repr(data.load("mhist"))
    opened = []
    monkeypatch.setattr(mhist, "Image", SimpleNamespace(open=lambda file: opened.append(file) or Image.open(file)))
    data.describe("mhist")
    assert len(opened) == 1


def test_a_description_finds_a_copy_that_is_not_whole(own_copy):
    with zipfile.ZipFile(own_copy / "images.zip") as archive:
        kept = {name: archive.read(name) for name in archive.namelist()[:-1]}
    with zipfile.ZipFile(own_copy / "images.zip", "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    with pytest.raises(data.DataError, match="1 of 14 images are not in"):
        data.describe("mhist")
    (own_copy / "annotations.csv").unlink()
    with pytest.raises(data.DataError, match=r"mhist is not in .* missing annotations\.csv"):
        data.describe("mhist")


def test_images_of_ones_own_in_place_of_mhist_are_told_which_call_takes_them(tmp_path, monkeypatch):
    polyps.write(tmp_path / "mhist", 8, train=10, test=4)
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    for ask in (lambda: data.load("mhist"), lambda: data.describe("mhist")):
        with pytest.raises(data.DataError, match=r"instead of 3,152: .* data\.from_arrays\(name, x, y, classes="):
            ask()
    table = mhist._table(tmp_path / "mhist" / "annotations.csv", None)
    monkeypatch.setattr(mhist, "COUNTS", Counter((row.partition, row.label) for row in table))
    with pytest.raises(data.DataError, match=r"8x8 RGB instead of 224x224 RGB.* data\.from_arrays\("):
        data.describe("mhist")
