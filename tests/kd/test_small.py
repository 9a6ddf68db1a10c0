"""The real images that come with the course: which they are, none where it should not be, and licences."""

import hashlib
import importlib
import json
import re
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch

from kdcourse import data, files
from kdcourse.data import small

ROOT = Path(__file__).parents[2]
NAMES = list(small.CHECKSUMS)
GREY = ["mnist_small", "fashion_small"]
HAS = {"mnist_small": "mnist", "fashion_small": "fashion_mnist", "tissue_small": "pcam_subset"}


def benchmark(name: str, monkeypatch):
    """The module benchmarks/NAME.py."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return importlib.import_module(name)


def needs(folder: str) -> None:
    if not (files.folder() / folder).is_dir():
        pytest.skip(f"no {folder} in {files.folder()}")


@pytest.mark.parametrize("name", NAMES)
def test_every_split_has_its_size_and_as_many_images_of_each_class(name):
    source = data.load(name)
    sizes = [1_600, 200, 600] if name == "tissue_small" else [6_000, 1_000, 2_000]
    assert [len(split) for split in source.splits.values()] == sizes
    assert source.shape == ((3, 32, 32) if name == "tissue_small" else (1, 28, 28))
    for split in source.splits.values():
        assert set(split.y.bincount(minlength=len(source.classes)).tolist()) == {len(split) // len(source.classes)}


@pytest.mark.parametrize("name", NAMES)
def test_no_image_is_there_twice_in_one_split_or_in_two(name):
    source = data.load(name)
    found = [digest for split in source.splits.values() for digest in small.digests(split.x)]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_labels_belong_to_their_images_since_the_mean_images_of_classes_tell_new_ones(name):
    source = data.load(name)
    x, z = source.train.x.float().flatten(1), source.test.x.float().flatten(1)
    means = torch.stack([x[source.train.y == label].mean(dim=0) for label in range(len(source.classes))])
    right = (torch.cdist(z, means).argmin(dim=1) == source.test.y).double().mean().item()
    assert right > (0.55 if name == "tissue_small" else 0.6)


@pytest.mark.parametrize("name", NAMES)
def test_a_sheet_that_is_missing_or_not_whole_is_refused(name, monkeypatch, tmp_path):
    whole = (small.FOLDER / f"{name}.webp").read_bytes()
    monkeypatch.setattr(small, "FOLDER", tmp_path)
    with pytest.raises(data.DataError, match=r"missing or not whole; install the course again"):
        data.load(name)
    (tmp_path / f"{name}.webp").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(data.DataError, match=r"missing or not whole"):
        data.load(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timed
def test_loading_takes_less_than_a_second_of_the_processor_and_hardly_any_again(name):
    small._once.cache_clear()
    start = time.process_time()
    data.load(name)
    first = time.process_time() - start
    assert first < 1
    start = time.process_time()
    for _ in range(5):
        data.load(name)
    assert time.process_time() - start < 5 * first / 2


@pytest.mark.parametrize("name", NAMES)
def test_what_is_changed_in_a_source_is_not_changed_in_the_next_one(name):
    changed, before = data.load(name), data.load(name).train.x.clone()
    for split in changed.splits.values():
        split.x.zero_()
        split.y.zero_()
    again = data.load(name)
    assert torch.equal(again.train.x, before) and again.test.y.any()
    assert again.train.key == data.Split(f"{name}/train", before, again.train.y).key


def test_all_sheets_together_stay_below_ten_megabytes_and_each_has_its_licence_and_a_checksum():
    sheets = sorted(small.FOLDER.glob("*.webp"))
    assert [path.stem for path in sheets] == sorted(NAMES)
    assert sum(path.stat().st_size for path in sheets) < 10_000_000
    for path, words in zip(sheets, ("Zalando SE", "by-sa/3.0", "publicdomain/zero/1.0"), strict=True):
        assert words in path.with_suffix(".LICENCE").read_text()


def test_sheets_licences_networks_tables_and_front_ends_travel_in_the_wheel():
    settings, package = tomllib.loads((ROOT / "pyproject.toml").read_text()), ROOT / "kdcourse"
    patterns = re.search(r'"kdcourse": (\[.*?\])', (ROOT / "setup.py").read_text(), re.DOTALL)[1]
    packed = {path for pattern in json.loads(patterns) for path in package.glob(pattern)}
    assert {path for path in package.rglob("*") if path.suffix in (
        ".webp", ".LICENCE", ".safetensors", ".csv", ".js", ".css")} <= packed
    declared = {path for pattern in settings["project"]["license-files"] for path in ROOT.glob(pattern)}
    assert set(small.FOLDER.glob("*.LICENCE")) <= declared


def made_up(n: int, classes: int, seed: int):
    draw = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 256, (n, 1, 3, 3), dtype=torch.uint8, generator=draw),
            torch.randint(0, classes, (n,), generator=draw))


def test_the_images_drawn_do_not_depend_on_the_order_of_the_files():
    x, y = made_up(200, 3, seed=0)
    shuffled = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    parts, others = small.drawn(x, y, [30, 6]), small.drawn(x[shuffled], y[shuffled], [30, 6])
    for rows, other in zip(parts, others, strict=True):
        assert torch.equal(x[rows], x[shuffled][other])
    assert sum(map(len, parts)) == 200 and len(torch.cat(parts).unique()) == 200
    assert torch.equal(y[parts[0]], torch.arange(30) % 3)


def test_twins_are_drawn_once_and_what_is_to_be_left_out_never():
    x, y = made_up(60, 2, seed=2)
    twice, labels = torch.cat([x, x[:10]]), torch.cat([y, y[:10]])
    without = small.digests(x[20:25])
    found = torch.cat(small.drawn(twice, labels, [20], set(without)))
    assert len(found) == 55 and not set(small.digests(twice[found])) & set(without)


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_makes_the_sheet_again_byte_for_byte(name, monkeypatch, touched):
    needs(HAS[name])
    if name != "tissue_small" and not touched("kdcourse/data/", "benchmarks/sheets.py", "tests/kd/test_small.py"):
        pytest.skip("where recipes or sheets change, and by --thorough: each takes seconds")
    sheets, kept = benchmark("sheets", monkeypatch), small.FOLDER / f"{name}.webp"
    images = sheets.IMAGES[name]()
    source = data.load(name)
    assert torch.equal(images, torch.cat([split.x for split in source.splits.values()]))
    if sheets.libwebp() == sheets.LIBWEBP:
        assert sheets.packed(images) == kept.read_bytes()


@pytest.mark.parametrize("name", GREY)
def test_small_images_are_those_of_the_whole_set_with_their_labels_and_no_test_image_is_a_training_image(
        name, monkeypatch):
    needs(HAS[name])
    source, whole = data.load(name), benchmark("sheets", monkeypatch).WHOLE[name]()
    known = {kind: dict(zip(small.digests(split.x), split.y.tolist(), strict=True))
             for kind, split in whole.splits.items()}
    training = known["train"] | known["valid"]
    for kind, split in source.splits.items():
        among = known["test"] if kind == "test" else training
        assert [among[digest] for digest in small.digests(split.x)] == split.y.tolist()
    assert not training.keys() & set(small.digests(source.test.x))


@pytest.mark.parametrize("name", GREY)
def test_teachers_learn_from_every_training_image_that_the_small_set_lacks_and_from_no_other(name, monkeypatch):
    needs(HAS[name])
    source, whole = data.load(name), benchmark("sheets", monkeypatch).WHOLE[name]()
    rest = small.rest(lambda: source, lambda: whole)
    mine = {digest for split in source.splits.values() for digest in small.digests(split.x)}
    learned = small.digests(rest.train.x)
    assert len(learned) == len(set(learned)) == 53_000 and not set(learned) & mine
    assert set(learned) | mine >= set(small.digests(whole.train.x)) | set(small.digests(whole.valid.x))
    assert learned == sorted(learned)


def test_a_digest_is_that_of_the_bytes_of_the_image():
    x, _ = made_up(2, 2, seed=3)
    assert small.digests(x) == [hashlib.sha256(bytes(image.flatten().tolist())).digest() for image in x]
