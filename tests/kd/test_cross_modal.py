"""A teacher that sees more than its student, over pairs of pictures without labels: a network that looks at its own
part of what both are shown is enough, and no class of its own is needed."""

import pytest
import torch
import torch.nn.functional as F
from helpers import close, digits, equal_terms, gradients, mlp
from torch import nn

from kdcourse import data, metrics, models
from kdcourse.core import Batch
from kdcourse.distillers import KD, Supervised
from kdcourse.teachers import LogitBank
from kdcourse.train import fit


class Channels(nn.Module):
    """The sense of a network: some channels of what both are shown."""

    def __init__(self, *kept):
        super().__init__()
        self.kept = list(kept)

    def forward(self, x):
        return x[:, self.kept]


def thumbnails(seed=0, side=4):
    """A network that sees every digit at `side` x `side` pixels, whatever its size."""
    inside = models.build("mlp", (1, side, side), 10, seed=seed, hidden=(32,))
    return models.wrap(inside, mean=(0.0,), std=(1.0,), size=side)


@pytest.fixture
def batch():
    return next(digits().train.batches(32, seed=0))


def test_a_student_of_thumbnails_learns_from_whole_images_as_from_the_pairs_by_hand(batch):
    student, teacher = thumbnails(), mlp(1)
    small = models.Resize(4)(batch.x)
    terms = KD(student, teacher, T=3.0, alpha=1)(batch)
    z_s, z_t = student.network(small), teacher(batch.x)
    close(terms["kd"].value, 9 * F.kl_div((z_s / 3).log_softmax(1), (z_t / 3).softmax(1), reduction="batchmean"))
    bank = LogitBank.record(teacher, digits().train, dtype=torch.float32)
    close(KD(student, bank, T=3.0, alpha=1)(batch)["kd"].value, terms["kd"].value)


def test_a_student_that_sees_as_much_as_its_teacher_is_that_of_kd(batch):
    inside, alone = mlp(0), mlp(0)
    found = KD(models.wrap(inside, mean=(0.0,), std=(1.0,), size=8), mlp(1))
    assert equal_terms(found(batch), KD(alone, mlp(1))(batch))
    assert torch.equal(gradients(found, batch), gradients(KD(alone, mlp(1)), batch))


def test_two_senses_share_a_batch_as_channels_and_each_network_looks_at_its_own(batch):
    other = batch.x.flip(2)
    both = batch._replace(x=torch.cat([batch.x, other], dim=1))
    student, teacher = nn.Sequential(Channels(1), mlp(0)), nn.Sequential(Channels(0), mlp(1))
    found = KD(student, teacher)(both)
    by_hand = KD(mlp(0), Answering(mlp(1), batch))(batch._replace(x=other))
    assert equal_terms(found, by_hand)
    blind = both._replace(x=torch.cat([torch.zeros_like(batch.x), other], dim=1))
    assert torch.equal(student(blind.x), student(both.x)) and not torch.equal(teacher(blind.x), teacher(both.x))


class Answering(nn.Module):
    """A teacher that answers about the first half of its pairs, whatever it is shown."""

    def __init__(self, network, batch):
        super().__init__()
        self.network, self.x = network, batch.x

    def forward(self, x):
        return self.network(self.x)


def test_answers_about_the_other_half_of_a_pair_are_refused_until_they_are_told_to_be_about_this_one(batch):
    whole, teacher = digits().train, mlp(1)
    small = data.Split("digits/small", F.avg_pool2d(whole.x.float(), 2).round().byte(), whole.y)
    bank = LogitBank.record(teacher, whole, dtype=torch.float32)
    pair = next(small.batches(32, seed=0))
    assert torch.equal(pair.index, batch.index)
    student = models.build("mlp", (1, 4, 4), 10, seed=0)
    with pytest.raises(ValueError, match="answers to other pictures"):
        KD(student, bank)(pair)
    bridge = LogitBank(bank.table, origin=small.origin(), teacher=bank.teacher)
    close(bridge(pair), teacher(batch.x))
    assert KD(student, bridge, alpha=1)(pair)["kd"].value.isfinite()


def test_unlabelled_pairs_carry_to_thumbnails_what_few_labels_do_not():
    source = digits()
    teacher = mlp(5, hidden=(64,))
    fit(Supervised(teacher), source, epochs=8, lr=3e-3, batch_size=64)
    few, pupils = source.with_train(source.train.take(torch.arange(50), "50")), {}
    for name, make, seen, epochs in (("labels", Supervised, few, 40),
                                     ("pairs", lambda s: KD(s, teacher, T=2.0, alpha=1), source, 10)):
        pupils[name] = thumbnails()
        fit(make(pupils[name]), seen, epochs=epochs, lr=3e-3, batch_size=64)
    found = {name: metrics.accuracy(metrics.predict(pupil, source.test), source.test.y)
             for name, pupil in pupils.items()}
    assert found["pairs"] > found["labels"] + 0.03


def test_pairs_need_no_label(batch):
    unlabelled = Batch(batch.x, None, batch.index, origin=batch.origin)
    assert equal_terms(KD(thumbnails(), mlp(1), alpha=1)(unlabelled), KD(thumbnails(), mlp(1), alpha=1)(batch))
