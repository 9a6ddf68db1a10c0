"""Fashion-MNIST as torchvision has it: made-up files of a few images whose checksums stand in for the real ones."""

import gzip

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST, FashionMNIST

from kdcourse import cli, data
from kdcourse.data import digits, fashion
from kdcourse.files import md5

N = {"train": 60_000, "t10k": 10_000}


def write(folder, seed=0):
    """Four idx files of the right number of images, of one pixel value each so that they pack small."""
    folder.mkdir(parents=True)
    draw, made = np.random.default_rng(seed), {}
    for kind, n in N.items():
        shade, y = draw.integers(0, 256, n, dtype=np.uint8), draw.integers(0, 10, n, dtype=np.uint8)
        images = b"".join(number.to_bytes(4) for number in (2051, n, 28, 28)) + np.repeat(shade, 784).tobytes()
        labels = b"".join(number.to_bytes(4) for number in (2049, n)) + y.tobytes()
        for name, content in ((f"{kind}-images-idx3-ubyte.gz", images), (f"{kind}-labels-idx1-ubyte.gz", labels)):
            (folder / name).write_bytes(gzip.compress(content, compresslevel=1, mtime=0))
        made[kind] = shade, y
    return made


@pytest.fixture(scope="module")
def files_of_clothes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clothes") / "raw"
    return folder, write(folder)


@pytest.fixture
def tiny(files_of_clothes, monkeypatch):
    folder, made = files_of_clothes
    monkeypatch.setattr(fashion, "CHECKSUMS", {path.name: md5(path) for path in folder.iterdir()})
    return folder, made


@pytest.mark.parametrize("layout", ["fashion", "FashionMNIST/raw"])
def test_fashion_is_found_in_its_own_folder_and_in_torchvisions(tiny, tmp_path, monkeypatch, layout):
    folder, made = tiny
    (tmp_path / layout).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / layout).symlink_to(folder)
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    for source in (data.load("fashion"), data.load("fashion", root=tmp_path), data.load("fashion", root=str(folder))):
        shade, y = made["train"]
        assert torch.equal(torch.cat([source.train.y, source.valid.y]), torch.from_numpy(y).long())
        assert torch.equal(source.valid.x[:, 0, 5, 7], torch.from_numpy(shade[55_000:]))
        assert torch.equal(source.test.y, torch.from_numpy(made["t10k"][1]).long())
        assert [len(split) for split in source.splits.values()] == [55_000, 5_000, 10_000]
        assert source.shape == (1, 28, 28) and source.classes == tuple(FashionMNIST.classes)


def test_digits_in_the_folder_of_all_data_are_not_taken_for_clothes(tmp_path, monkeypatch):
    for name in fashion.CHECKSUMS:
        (tmp_path / name).write_bytes(b"MNIST has files of the same names")
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    with pytest.raises(data.DataError, match=r"(?s)fashion is not in \S*/fashion: missing .*kdcourse fetch fashion"):
        data.load("fashion")


def test_clothes_with_one_flipped_byte_are_reported(tiny, tmp_path):
    folder, _ = tiny
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    file = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(data.DataError, match="is corrupt"):
        data.load("fashion", root=tmp_path)


def test_fetch_of_clothes_keeps_what_is_whole_and_without_a_connection_says_what_to_do(
        tiny, tmp_path, monkeypatch, capsys):
    folder, _ = tiny
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert cli.main(["fetch", "fashion"]) == 2
    assert "1. check the network connection" in capsys.readouterr().err
    for path in folder.iterdir():
        (tmp_path / "fashion" / path.name).symlink_to(path)
    assert cli.main(["fetch", "fashion"]) == 0
    assert f"fashion is complete in {tmp_path / 'fashion'}" in capsys.readouterr().out


@pytest.mark.parametrize("ours, theirs", [(fashion, FashionMNIST), (digits, MNIST)])
def test_files_mirrors_and_checksums_are_those_that_torchvision_lists(ours, theirs):
    assert theirs.resources == list(ours.CHECKSUMS.items()) and tuple(theirs.mirrors) == ours.MIRRORS
    assert len(ours.CHECKSUMS) == 4


def test_classes_are_called_as_torchvision_calls_them():
    assert tuple(FashionMNIST.classes) == fashion.CLASSES


def test_the_small_set_names_its_classes_as_torchvision_does():
    assert data.load("fashion_small").classes == tuple(FashionMNIST.classes)
