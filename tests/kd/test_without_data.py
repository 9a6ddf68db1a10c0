"""Learning without data: transfer sets, and a generator that is trained against the teacher."""

import pytest
import torch
from helpers import digits, mlp, network, same, state
from torch import nn

from kdcourse import metrics, models
from kdcourse.data import transfer
from kdcourse.distillers import KD, Supervised
from kdcourse.procedures import dafl, transfer_set
from kdcourse.teachers import LogitBank, Teacher
from kdcourse.train import fit

SHAPE = (1, 8, 8)
MAKERS = {
    "noise": transfer.noise, "gaussian": lambda *a, **k: transfer.gaussian(*a, mean=0.3, std=0.4, **k),
    "crops": transfer.crops, "strokes": lambda *a, **k: transfer.crops(*a, ink=0.3, **k),
}
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


@every_maker
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 20)])
def test_a_transfer_set_has_the_images_asked_for_the_same_for_a_seed_and_no_labels(make, shape):
    split, again, other = make(shape, 30, seed=2), make(shape, 30, seed=2), make(shape, 30, seed=3)
    assert split.x.shape == (30, *shape) and split.x.dtype == torch.uint8 and not split.y.any()
    assert torch.equal(split.x, again.x) and not torch.equal(split.x, other.x)
    assert len({image.numpy().tobytes() for image in split.x}) == 30


@every_maker
def test_a_transfer_set_of_no_images_is_refused(make):
    for shape, n in ((SHAPE, 0), ((8, 8), 5)):
        with pytest.raises(ValueError, match="at least one image"):
            make(shape, n)


def test_noise_is_spread_evenly_and_gaussian_pixels_have_their_mean_and_deviation():
    x = transfer.noise(SHAPE, 2000).x / 255
    assert x.mean() == pytest.approx(0.5, abs=0.01) and x.std() == pytest.approx(12**-0.5, abs=0.01)
    x = transfer.gaussian(SHAPE, 2000, mean=0.5, std=0.1).x / 255
    assert x.mean() == pytest.approx(0.5, abs=0.01) and x.std() == pytest.approx(0.1, abs=0.01)
    assert (transfer.gaussian(SHAPE, 5, mean=0.5, std=0).x == 128).all()


@pytest.mark.parametrize("ink", [0.1, 0.25, 0.5])
def test_ink_is_the_share_of_the_pixels_that_stay(ink):
    x = transfer.crops((1, 28, 28), 200, ink=ink).x.flatten(1)
    assert (x > 0).float().mean() == pytest.approx(ink, abs=0.05)
    assert (x.amax(dim=1) == 255).float().mean() > 0.9  # but for crops of one colour


def test_crops_are_pieces_of_the_photographs_one_to_four_times_as_large_and_some_are_mirrored(monkeypatch):
    row, column = torch.meshgrid(torch.arange(200.0), torch.arange(200.0), indexing="ij")  # pixels that say where
    places = torch.stack([torch.stack([row, column, 0 * row]), torch.stack([row, column, 50 + 0 * row])]) / 255
    monkeypatch.setattr(transfer, "_photographs", lambda channels: places)
    x = transfer.crops((3, 6, 5), 400).x.float()
    down, right = x[:, 0].diff(dim=1), x[:, 1].diff(dim=2)
    times = x[:, 0].diff(dim=1).mean(dim=(1, 2)).round()
    assert set(times.tolist()) == {1, 2, 3, 4}
    assert (down - times[:, None, None]).abs().max() <= 1 and not x[:, 0].diff(dim=2).any()
    assert (right.abs() - times[:, None, None]).abs().max() <= 1 and not x[:, 1].diff(dim=1).any()
    assert 0.4 < (right.mean(dim=(1, 2)) < 0).float().mean() < 0.6
    assert set(x[:, 2].unique().tolist()) == {0, 50}
    assert x[:, 0].min() < 20 and x[:, 0].max() > 180  # from everywhere


def test_grey_crops_are_the_coloured_ones_as_bright():
    grey = (transfer.crops((3, 8, 8), 20).x.float() * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(dim=1)
    assert (transfer.crops(SHAPE, 20).x[:, 0].float() - grey).abs().max() <= 1


def test_crops_and_gaussian_pixels_refuse_settings_that_make_no_sense():
    for ink in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="ink is the share"):
            transfer.crops(SHAPE, 5, ink=ink)
    with pytest.raises(ValueError, match="one channel, grey, or three; not 2"):
        transfer.crops((2, 8, 8), 5)
    with pytest.raises(ValueError, match="no crops of 500x8"):
        transfer.crops((1, 500, 8), 5)
    for mean, std in ((-0.1, 1), (1.1, 1), (0.5, -1), (0.5, float("inf")), (float("nan"), 1)):
        with pytest.raises(ValueError, match="mean and std are those of pixels"):
            transfer.gaussian(SHAPE, 5, mean=mean, std=std)


# a generator

@pytest.fixture(scope="module")
def teacher():
    network_ = mlp(5, hidden=(64,))
    fit(Supervised(network_), digits(), epochs=6, lr=3e-3, batch_size=64)
    return network_


def drawing(seed=0, shape=SHAPE):
    torch.manual_seed(seed)
    return models.Generator(shape, noise=16, width=16)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 7, 9), (1, 28, 28)])
def test_a_generator_makes_images_of_any_height_and_width_in_0_to_1(shape):
    x = drawing(shape=shape)(torch.randn(5, 16))
    assert x.shape == (5, *shape) and 0 <= x.min() and x.max() <= 1


def test_dafl_makes_the_teacher_surer_and_its_answers_more_even_and_leaves_it_as_it_was(teacher):
    before, ours = state(teacher), drawing()
    start = state(ours)
    rows = dafl(ours, teacher, steps=40, batch_size=32, activation=0.0)
    first, last = rows[0], rows[-1]
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert last["one_hot"] < first["one_hot"] and last["balance"] < first["balance"] < 0
    assert last["balance"] > -torch.tensor(10.0).log()
    assert same(teacher, before) and not same(ours, start)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_dafl_without_the_balance_draws_fewer_classes(teacher):
    used = []
    for balance in (5.0, 0.0):
        ours = drawing()
        dafl(ours, teacher, steps=40, batch_size=32, balance=balance)
        z = metrics.predict(teacher, transfer_set(ours, 300))
        p = z.softmax(dim=1).mean(dim=0)
        used.append(-(p * p.log()).sum())
    assert used[0] > used[1] + 0.3


def test_dafl_of_no_steps_or_no_terms_changes_no_weight(teacher):
    ours = drawing()
    weights = [parameter.clone() for parameter in ours.parameters()]
    assert dafl(ours, teacher, steps=0) == []
    dafl(ours, teacher, steps=2, batch_size=8, one_hot=0, activation=0, balance=0)
    assert all(torch.equal(*pair) for pair in zip(ours.parameters(), weights, strict=True))


def test_dafl_is_the_same_for_a_seed_and_does_not_touch_torchs_own_generator(teacher):
    one, again, other = drawing(), drawing(), drawing()
    torch.manual_seed(4)
    before = torch.get_rng_state()
    for ours, seed in ((one, 0), (again, 0), (other, 1)):
        dafl(ours, Teacher(teacher), steps=3, batch_size=8, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(one, again) and not same(one, other)
    assert torch.equal(transfer_set(one, 9, seed=1).x, transfer_set(one, 9, seed=1, batch_size=4).x)


def test_a_student_of_drawn_images_learns_digits_without_having_seen_one(teacher):
    source, ours = digits(), drawing()
    dafl(ours, teacher, steps=80, batch_size=64)
    blind = source.with_train(transfer_set(ours, 600))
    assert blind.train.x.shape == (600, *SHAPE)
    assert not any(torch.equal(image, real) for image in blind.train.x[:20] for real in source.train.x[:200])
    student = mlp(0, hidden=(64,))
    fit(KD(student, teacher, alpha=1), blind, epochs=10, lr=3e-3, batch_size=64)
    assert metrics.accuracy(metrics.predict(student, source.test), source.test.y) > 0.3


def test_dafl_refuses_a_bank_a_network_without_features_weights_below_0_and_no_whole_steps(teacher):
    for wrong in (LogitBank.record(teacher, digits().valid), nn.Sequential(nn.Flatten(), nn.Linear(64, 10))):
        with pytest.raises(TypeError, match="does not show its feature maps"):
            dafl(drawing(), wrong, steps=1)
    for settings, message in (({"balance": -1}, "it is -1"), ({"steps": -1}, "steps is a whole number"),
                              ({"batch_size": 1}, "batch_size is a whole number of at least 2")):
        with pytest.raises(ValueError, match=message):
            dafl(drawing(), network(1), **{"steps": 1} | settings)
    with pytest.raises(ValueError, match="n is a whole number of at least 1"):
        transfer_set(drawing(), 0)
