"""CIFAR-10 and CIFAR-100, with made-up files of a few images whose checksums stand in torchvision's lists."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import re
import shutil
import tarfile
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.datasets.cifar
from torchvision.datasets import CIFAR10, CIFAR100

from kdcourse import cli, data
from kdcourse.data import cifar
from kdcourse.files import md5

KINDS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
NAMES = {"cifar10": ("airplane", "automobile", "bird"), "cifar100": ("apple", "aquarium_fish", "baby", "bear")}
NOBODY = "http://127.0.0.1:9/"
ALIGN = "dtype(): align should be passed as Python or NumPy boolean but got `align=0`."
IMAGES = 3  # in each file


def rows(planes) -> np.ndarray:
    """Images (N, 3, 32, 32) as the files have them: 1,024 bytes of red row by row, then of green, then of blue."""
    return np.stack([np.concatenate([plane.ravel() for plane in image]) for image in planes])


@pytest.fixture(params=["cifar10", "cifar100"])
def tiny(request, tmp_path, monkeypatch):
    """A whole set with three images in each file, in `root`; `images` and `labels` for each file."""
    name, root, draw = request.param, tmp_path / "data", np.random.default_rng(0)
    kind, fine = KINDS[name], name == "cifar100"
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    images, labels, listed = {}, {}, {}
    for file, _ in kind.train_list + kind.test_list:
        images[file] = draw.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
        labels[file] = draw.integers(0, len(NAMES[name]), IMAGES).tolist()
        content = {"data": rows(images[file]), "fine_labels" if fine else "labels": labels[file]}
        if fine:
            content["coarse_labels"] = [19] * IMAGES
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
        listed[file] = md5(folder / file)
    meta = {kind.meta["key"]: list(NAMES[name]), "coarse_label_names": ["wrong"] * len(NAMES[name])}
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps(meta, protocol=2))
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5(folder / kind.meta["filename"])})
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(kind, part, [[file, listed[file]] for file, _ in getattr(kind, part)])
    monkeypatch.setenv("KDCOURSE_DATA", str(root))
    return SimpleNamespace(name=name, kind=kind, root=root, folder=folder, images=images, labels=labels,
                           train=[file for file, _ in kind.train_list], test=kind.test_list[0][0])


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def steps(message: str) -> list[str]:
    """The recipe in a message, whose numbers must run from 1."""
    found = re.findall(r"^  (\d)\. (.*)$", message, flags=re.MULTILINE)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [step for _, step in found]


# reading

@pytest.mark.parametrize("within", [False, True])
def test_a_set_is_found_in_the_folder_itself_and_in_its_subfolder_named_or_not(tiny, within):
    if within:
        (tiny.root / tiny.name).mkdir()
        shutil.move(tiny.folder, tiny.root / tiny.name)
    for settings in ({"root": tiny.root}, {"root": str(tiny.root)}, {}):
        source = data.load(tiny.name, **settings)
        assert source.train.x.dtype == torch.uint8 and source.train.y.dtype == torch.int64
        assert np.array_equal(source.train.x, np.concatenate([tiny.images[file] for file in tiny.train]))
        assert source.train.y.tolist() == [label for file in tiny.train for label in tiny.labels[file]]
        assert np.array_equal(source.test.x, tiny.images[tiny.test])
        assert source.test.y.tolist() == tiny.labels[tiny.test]


def test_a_whole_set_in_the_folder_itself_is_preferred_to_a_subfolder_with_other_files(tiny):
    (tiny.root / tiny.name).mkdir()
    (tiny.root / tiny.name / "index.npz").write_bytes(b"of something else")
    assert len(data.load(tiny.name).test) == IMAGES


def test_the_classes_are_the_fine_names_of_the_meta_file(tiny):
    source = data.load(tiny.name)
    assert source.name == tiny.name and source.classes == NAMES[tiny.name] and source.stand_in == ""
    assert source.train.x.is_contiguous()


def test_a_red_image_is_red_and_its_rows_are_rows(tiny):
    planes = np.zeros((IMAGES, 3, 32, 32), dtype=np.uint8)
    planes[0, 0] = 255
    planes[1, 2, 0, 5] = 7  # blue, in the uppermost row, the sixth from the left
    file = tiny.folder / tiny.test
    content = pickle.loads(file.read_bytes())
    file.write_bytes(pickle.dumps({**content, "data": rows(planes)}, protocol=2))
    tiny.kind.test_list[0][1] = md5(file)
    red, spot = data.load(tiny.name).test.x[:2]
    assert (red[0] == 255).all() and (red[1:] == 0).all()
    assert spot.nonzero().tolist() == [[2, 0, 5]]


def whole_sized(name, place, train):
    """What the reader gives for the real sets, with the row as the label; the images take one byte."""
    n = 50_000 if train else 10_000
    kinds = tuple(f"class {i}" for i in range(10 if name == "cifar10" else 100))
    return torch.zeros(1, dtype=torch.uint8).expand(n, 3, 32, 32), torch.arange(n), kinds


def test_the_last_5000_of_the_50000_training_images_validate(tiny, monkeypatch):
    monkeypatch.setattr(cifar, "_images", whole_sized)
    source = data.load(tiny.name)
    for split, expected in ((source.train, range(45_000)), (source.valid, range(45_000, 50_000)),
                            (source.test, range(10_000))):
        assert split.y.tolist() == list(expected) and split.x.shape == (len(expected), 3, 32, 32)
    assert [split.name for split in source.splits.values()] == [f"{tiny.name}/{k}" for k in ("train", "valid", "test")]


def test_a_description_is_the_repr_and_is_had_from_the_checksums_alone(tiny, monkeypatch):
    monkeypatch.setattr(cifar, "_images", whole_sized)
    expected = repr(data.load(tiny.name))
    monkeypatch.setattr(cifar, "_images", None)
    assert data.describe(tiny.name) == expected
    (tiny.folder / tiny.test).unlink()
    with pytest.raises(data.DataError, match=f"missing .*{tiny.test}"):
        data.describe(tiny.name)


def test_other_sources_are_described_by_their_repr():
    assert data.describe("digits") == repr(data.load("digits"))


def test_doctor_says_that_the_set_is_there_without_reading_it(tiny, monkeypatch, capsys):
    monkeypatch.setattr(cifar, "_images", None)
    cli.doctor()
    line = f"  {tiny.name:<11} Source('{tiny.name}': 45,000 train, 5,000 valid, 10,000 test; "
    assert line in capsys.readouterr().out


def test_the_warning_of_some_numpys_about_old_pickles_is_not_shown(tiny, monkeypatch):
    def load(file, **settings):
        warnings.warn(ALIGN, np.exceptions.VisibleDeprecationWarning, stacklevel=2)
        return pickle.load(file, **settings)

    monkeypatch.setattr(torchvision.datasets.cifar, "pickle", SimpleNamespace(load=load))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.load(tiny.name).test) == IMAGES


# what is missing or corrupt

@pytest.mark.parametrize("within", [False, True])
def test_a_missing_file_gives_a_numbered_recipe_that_names_the_right_folder(tiny, within):
    place = tiny.root / tiny.name if within else tiny.root
    if within:
        place.mkdir()
        shutil.move(tiny.folder, place)
    (place / tiny.kind.base_folder / tiny.test).unlink()
    with pytest.raises(data.DataError, match=rf"missing {tiny.kind.base_folder}/{tiny.test}\.") as error:
        data.load(tiny.name, root=tiny.root)
    assert str(error.value).startswith(f"{tiny.name} is not in {place}: ")
    network, copy, offline = steps(str(error.value))
    assert network.endswith(f"kdcourse fetch {tiny.name}")
    assert "KDCOURSE_DATA" in copy and f" {tiny.name}/ " in copy
    assert "KDCOURSE_PROFILE=quick" in offline


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_set_that_is_not_there_at_all_is_looked_for_in_the_folder_of_the_environment(tmp_path, monkeypatch, name):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    first = f"{KINDS[name].base_folder}/{KINDS[name].train_list[0][0]}"
    with pytest.raises(data.DataError, match=re.escape(f"{name} is not in {tmp_path / name}: missing {first}")):
        data.load(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", ["train", "test", "meta"])
def test_one_flipped_byte_is_reported_with_file_both_checksums_and_command(tiny, which):
    file = tiny.folder / {"train": tiny.train[-1], "test": tiny.test, "meta": tiny.kind.meta["filename"]}[which]
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    file.write_bytes(flipped)
    with pytest.raises(data.DataError) as error:
        data.load(tiny.name)
    for part in (str(file), hashlib.md5(whole).hexdigest(), hashlib.md5(flipped).hexdigest(),
                 f"kdcourse fetch {tiny.name}"):
        assert part in str(error.value)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_no_file_is_unpickled_before_all_checksums_are_right(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in tiny.folder.iterdir():
        file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(data.DataError, match="is corrupt"):
        data.load(tiny.name)
    pickle.loads(file.read_bytes())
    assert (tmp_path / "sprung").is_dir()  # the trap works
    (tmp_path / "sprung").rmdir()


# fetching

class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *message):
        pass


@pytest.fixture
def address(tmp_path, monkeypatch):
    """A server of the folder `served`, that notes what it was asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_address[1]}/", asked=server.asked)
        server.shutdown()


@pytest.fixture
def archive(tiny, address, monkeypatch, tmp_path):
    """The set packed as its authors packed it, served instead of theirs; the data folder is empty."""
    path = tmp_path / "served" / tiny.kind.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tiny.folder, tiny.kind.base_folder)
        tar.addfile(page := tarfile.TarInfo(f"{tiny.kind.base_folder}/readme.html"), io.BytesIO(b""))
        assert page.size == 0
    monkeypatch.setattr(tiny.kind, "url", address.url + tiny.kind.filename)
    monkeypatch.setattr(tiny.kind, "tgz_md5", md5(path))
    tiny.whole = {f"{tiny.name}/{file}": body for file, body in contents(tiny.root).items()}
    shutil.rmtree(tiny.folder)
    return path


def test_fetching_gives_a_whole_set_in_its_own_folder_and_nothing_else(tiny, archive, address, capsys):
    assert cli.main(["fetch", tiny.name]) == 0
    assert f"{tiny.name} is complete in {tiny.root / tiny.name}" in capsys.readouterr().out
    assert contents(tiny.root) == tiny.whole
    assert len(data.load(tiny.name).test) == IMAGES
    address.asked.clear()
    assert data.FETCHERS[tiny.name]() == tiny.root / tiny.name and address.asked == []


def test_files_that_are_not_of_the_set_stay_as_they_are(tiny, archive):
    place = tiny.root / tiny.name / tiny.kind.base_folder
    place.mkdir(parents=True)
    others = {place / "readme.html": b"my own", place / "notes.txt": b"mine", place.parent / "index.npz": b"sheets",
              tiny.root / "mnist": b"a file"}
    for path, body in others.items():
        path.write_bytes(body)
    data.FETCHERS[tiny.name]()
    mine = {str(path.relative_to(tiny.root)): body for path, body in others.items()}
    assert contents(tiny.root) == tiny.whole | mine


@pytest.mark.parametrize("damage", ["corrupt", "missing"])
@pytest.mark.parametrize("which", ["test", "meta"])
def test_one_file_that_is_corrupt_or_missing_is_fetched_again(tiny, archive, which, damage):
    data.FETCHERS[tiny.name]()
    file = tiny.test if which == "test" else tiny.kind.meta["filename"]
    file = tiny.root / tiny.name / tiny.kind.base_folder / file
    file.write_bytes(b"half") if damage == "corrupt" else file.unlink()
    data.FETCHERS[tiny.name]()
    assert contents(tiny.root) == tiny.whole


def test_an_archive_that_was_copied_into_the_folder_is_unpacked_without_a_connection_and_stays(
    tiny, archive, address, monkeypatch
):
    monkeypatch.setattr(tiny.kind, "url", NOBODY + tiny.kind.filename)
    copy = tiny.root / tiny.name / tiny.kind.filename
    copy.parent.mkdir()
    shutil.copyfile(archive, copy)
    data.FETCHERS[tiny.name]()
    assert contents(tiny.root) == tiny.whole | {f"{tiny.name}/{copy.name}": archive.read_bytes()}
    assert address.asked == []


@pytest.mark.parametrize("fault", ["cut", "other", "not there"])
def test_a_download_that_is_not_whole_gives_the_recipe_and_leaves_nothing(tiny, archive, fault):
    if fault == "not there":
        archive.unlink()
    else:
        archive.write_bytes(archive.read_bytes()[:-100] if fault == "cut" else b"<html>please log in</html>")
    with pytest.raises(data.DataError, match=f"could not fetch {re.escape(tiny.kind.filename)} of {tiny.name}"):
        data.FETCHERS[tiny.name]()
    assert list((tiny.root / tiny.name).iterdir()) == []
    with pytest.raises(data.DataError, match="missing"):
        data.load(tiny.name)


def test_fetching_without_a_connection_says_what_to_do(tiny, monkeypatch, capsys):
    shutil.rmtree(tiny.folder)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(tiny.kind, "url", NOBODY + tiny.kind.filename)
    assert cli.main(["fetch", tiny.name]) == 2
    message = capsys.readouterr().err
    connection, copy, again = steps(message)
    assert message.startswith("kdcourse fetch: could not fetch") and NOBODY + tiny.kind.filename in message
    assert connection.startswith("check the network connection")
    assert str(tiny.root / tiny.name) in copy and tiny.kind.tgz_md5 in copy and "unpacked" in again
    assert list((tiny.root / tiny.name).iterdir()) == []


def test_a_disk_that_fills_up_while_unpacking_gives_a_recipe_and_no_half_file_gets_a_name(
    tiny, archive, monkeypatch, capsys
):
    def full(path, to):
        assert Path(to).parent == path.parent  # a whole file is only renamed, which cannot be half done
        folder = Path(to, tiny.kind.base_folder)
        folder.mkdir()
        (folder / tiny.train[0]).write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torchvision.datasets.utils.extract_archive", full)
    assert cli.main(["fetch", tiny.name]) == 2
    message = capsys.readouterr().err
    room, elsewhere = steps(message)
    assert "No space left on device" in message and "make room" in room and "KDCOURSE_DATA" in elsewhere
    assert list(contents(tiny.root)) == [f"{tiny.name}/{tiny.kind.filename}"]  # whole, for the next time


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_variable(tiny):
    shutil.rmtree(tiny.folder)
    (tiny.root / tiny.name).write_text("in the way")
    with pytest.raises(data.DataError, match="cannot unpack") as error:
        data.FETCHERS[tiny.name]()
    assert "KDCOURSE_DATA" in str(error.value)
    assert (tiny.root / tiny.name).read_text() == "in the way"


def test_the_lists_are_those_of_torchvision():
    for name, kind, n in (("cifar10", CIFAR10, 7), ("cifar100", CIFAR100, 3)):
        checksums = cifar._checksums(name)
        assert len(checksums) == n and checksums[f"{kind.base_folder}/{kind.meta['filename']}"] == kind.meta["md5"]
        assert checksums.items() >= {(f"{kind.base_folder}/{f}", md5) for f, md5 in kind.train_list + kind.test_list}


@pytest.mark.parametrize(("name", "n"), [("cifar10", 10), ("cifar100", 100)])
def test_the_real_set_has_each_class_equally_often(real_data, name, n):
    try:
        source = data.load(name, root=real_data)
    except data.DataError:
        pytest.skip(f"needs {name} in the folder of real data")
    assert [len(split) for split in source.splits.values()] == [45_000, 5_000, 10_000]
    assert source.shape == (3, 32, 32) and len(source.classes) == n
    assert (source.test.y.bincount() == 10_000 // n).all()
    assert (torch.cat([source.train.y, source.valid.y]).bincount() == 50_000 // n).all()
    assert data.describe(name) == repr(source)
