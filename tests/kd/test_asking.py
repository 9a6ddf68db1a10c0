"""Many images are asked about in batches that fit, and views for every epoch lie on the disk, not in the memory."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from kdcourse import asking, data, distillers, metrics, models, train
from kdcourse.core import Batch
from kdcourse.data import Augment
from kdcourse.teachers import LogitBank


@pytest.fixture(scope="module")
def source():
    return data.load("digits")


def network(seed=0):
    return models.build("cnn", (1, 8, 8), 10, seed=seed, width=4).eval()


class Wide(nn.Module):
    """Makes `numbers` numbers of each image before it answers, and fails where more than `most` images come at once."""

    def __init__(self, numbers: int, most: int = 10**9):
        super().__init__()
        self.first, self.last, self.most, self.sizes = nn.Linear(64, numbers), nn.Linear(numbers, 10), most, []

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(x))
        return self.last(self.first(x.flatten(1)).relu())


@pytest.mark.parametrize("numbers, expected", [(64, 500), (2**19, 2**29 // (3 * 4 * 2**19)), (2**26, 1)])
def test_as_many_images_are_asked_about_at_once_as_fit(numbers, expected):
    """3 x 4 bytes for each number of the widest layer; a layer of 2^26 numbers is not built, only said to be there."""
    wide = Wide(min(numbers, 2**19))
    if numbers > 2**19:
        wide.first.register_forward_hook(lambda layer, given, z: z.expand(len(z), 2**19).repeat(1, 128), prepend=True)
        wide.last = nn.Linear(1, 10)
        wide.forward = lambda x: wide.last(wide.first(x.flatten(1))[:, :1])
    assert asking.at_once(wide.eval(), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.device("cpu")) == expected


def test_a_wide_network_is_asked_in_smaller_batches_with_the_same_answers(source):
    wide = Wide(2**19).eval()
    few = source.test.take(torch.arange(200), "few")
    z = metrics.predict(wide, few)
    assert max(wide.sizes) == 85 and sum(wide.sizes[1:]) == 200
    torch.testing.assert_close(z, wide(few.x / 255).detach())


def test_a_small_network_is_asked_as_ever(source):
    small = Wide(8).eval()
    metrics.predict(small, source.test)
    assert small.sizes[1:] == [500, 97]


def test_a_batch_that_does_not_fit_is_asked_about_in_halves_in_its_order(source):
    exact = Wide(8)
    narrow = Wide(8, most=60)
    narrow.load_state_dict(exact.state_dict())
    z = metrics.predict(narrow, source.test)
    torch.testing.assert_close(z, metrics.predict(exact, source.test))
    assert sum(narrow.sizes[1:]) == len(source.test) and max(narrow.sizes) <= 60
    bank = LogitBank.record(narrow, source.test, augment=Augment(pad=1, views=2), dtype=torch.float32)
    torch.testing.assert_close(bank.table, LogitBank.record(exact, source.test, augment=Augment(pad=1, views=2),
                                                            dtype=torch.float32).table)


def test_what_does_not_fit_image_by_image_is_said(source):
    with pytest.raises(torch.OutOfMemoryError):
        metrics.predict(Wide(8, most=0), source.test)


def test_the_memory_of_a_network_is_measured_once_and_does_not_keep_it():
    one, x = Wide(8).eval(), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    for _ in range(3):
        asking.at_once(one, x, torch.device("cpu"))
    assert one.sizes == [2]
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_measuring_leaves_no_hook_and_a_network_that_fails_is_heard_where_it_is_asked(source):
    one = network()
    metrics.predict(one, source.test)
    assert not any(layer._forward_hooks for layer in one.modules())
    with pytest.raises(ValueError, match="made for images of 3x8x8"):
        metrics.predict(models.build("cnn", (3, 8, 8), 10, seed=0, width=4), source.test)


def test_half_precision_is_used_where_it_trains_and_float32_where_it_does_not(source, monkeypatch):
    one = network()
    exact = metrics.predict(one, source.test)
    monkeypatch.setenv("KDCOURSE_PRECISION", "bfloat16")
    rounded = metrics.predict(one, source.test)
    assert rounded.dtype == torch.float32 and 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.equal(rounded, rounded.bfloat16().float())
    table = LogitBank.record(one, source.test, dtype=torch.float32).table[0]
    assert torch.equal(table, rounded)
    monkeypatch.setenv("KDCOURSE_PRECISION", "float32")
    assert torch.equal(metrics.predict(one, source.test), exact)


def test_what_half_precision_cannot_hold_is_asked_for_once_more(source, monkeypatch):
    class Huge(nn.Module):
        """Whose hidden numbers end half precision, and whose logits do not."""

        def __init__(self):
            super().__init__()
            self.last = nn.Linear(64, 10)

        def forward(self, x):
            return self.last(x.flatten(1) * 1e3) @ torch.eye(10) / 1e3 if x.dtype == torch.float16 else self._exact(x)

        def _exact(self, x):
            z = self.last(x.flatten(1))
            return torch.full_like(z, torch.inf) if torch.is_autocast_enabled("cpu") else z

    one = Huge().eval()
    exact = metrics.predict(one, source.test)
    monkeypatch.setenv("KDCOURSE_PRECISION", "bfloat16")
    assert torch.equal(metrics.predict(one, source.test), exact) and exact.isfinite().all()


# a view for every epoch

def test_views_on_the_disk_are_those_in_memory_and_safetensors_reads_them(source, tmp_path):
    one, views = network(), Augment(pad=1, views=5)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        expected = LogitBank.record(one, source.train, augment=views, dtype=dtype)
        found = LogitBank.cached(one, source.train, augment=views, dtype=dtype, folder=tmp_path / str(dtype))
        again = LogitBank.cached(one, source.train, augment=views, dtype=dtype, folder=tmp_path / str(dtype))
        [path] = (tmp_path / str(dtype)).iterdir()
        with safe_open(path, framework="pt") as file:
            table = file.get_tensor("table")
        for each in (found.table, again.table, table):
            assert each.dtype == dtype and torch.equal(each, expected.table)
        expected.save(tmp_path / "in one piece")
        with safe_open(tmp_path / "in one piece", framework="pt") as file:
            assert file.metadata() == safe_open(path, framework="pt").metadata()


def test_a_view_for_each_epoch_teaches_as_the_teacher_itself_does(source, tmp_path):
    few = source.with_train(source.train.take(torch.arange(100), "few"))
    views, settings = Augment(pad=1, views=3), {"epochs": 3, "lr": 2e-3, "batch_size": 32}
    bank = LogitBank.cached(network(1), few.train, augment=views, dtype=torch.float32, folder=tmp_path)
    students = [network(2), network(2)]
    for student, teacher in zip(students, (bank, network(1)), strict=True):
        train.fit(distillers.KD(student, teacher), few, augment=views, **settings)
    for a, b in zip(*(student.parameters() for student in students), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_recording_of_views_that_is_stopped_leaves_nothing_behind(source, tmp_path, monkeypatch):
    one, calls = network(), []

    def stopping(layer, given, z):
        calls.append(len(z))
        if len(calls) > 8:
            raise KeyboardInterrupt

    hook = one.register_forward_hook(stopping)
    with pytest.raises(KeyboardInterrupt):
        LogitBank.cached(one, source.train, augment=Augment(pad=1, views=20), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    hook.remove()


MAPPED = """
import sys
from pathlib import Path
import torch
from torch import nn
from kdcourse import data
from kdcourse.core import Batch
from kdcourse.teachers import LogitBank

def private():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024

class Answers(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(1, 1000)
    def forward(self, x):
        return self.last(x.flatten(1)[:, :1])

split = data.Split("many", torch.zeros(10_000, 1, 4, 4, dtype=torch.uint8), torch.zeros(10_000, dtype=torch.long))
torch.manual_seed(0)
network, views, folder = Answers().eval(), data.Augment(pad=0, flip=False, views=30), Path(sys.argv[1])
LogitBank.cached(network, split, augment=data.Augment(pad=0, flip=False, views=1), folder=folder)
before = private()
bank = LogitBank.cached(network, split, augment=views, folder=folder)
index, peak = torch.arange(100), 0
for epoch in range(30):
    bank(Batch(None, None, index, epoch, 0.0, split.origin(views)))
    peak = max(peak, private() - before)
print(bank.table.nbytes / 2**20, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_six_hundred_megabytes_of_views_take_a_quarter_of_them_in_memory(tmp_path):
    done = subprocess.run([sys.executable, "-c", MAPPED, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    size, peak = map(float, done.stdout.split())
    assert size > 570 and peak < size / 4, (size, peak)


def test_a_bank_far_from_the_batch_brings_one_view_at_a_time(source):
    """"meta" stands for a device: what is there has a shape and no content."""
    table = torch.randn(4, 20, 10)
    bank = LogitBank(table, origin="here", teacher="none")
    index = torch.arange(5, device="meta")
    z = bank(Batch(None, None, index, 6, 0.0, "here"))
    assert z.shape == (5, 10) and z.device.type == "meta" and bank.table is table
    [near] = bank._near.values()
    assert near.shape == (20, 10)
