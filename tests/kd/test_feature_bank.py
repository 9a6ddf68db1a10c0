"""`FeatureBank`: what was recorded is what the live teacher says, about maps as well as logits."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import close, gradients, network, vit
from torch import nn

from kdcourse import models
from kdcourse.data import Augment
from kdcourse.distillers import AT, CRD, KD, MGD, OFD, RKD, SP, Cosine, FitNet, ReviewKD, SimKD
from kdcourse.teachers import FeatureBank, Teacher
from kdcourse.train import fit

VIEWS = pytest.mark.parametrize("augment", [None, Augment(pad=1, views=2)], ids=["plain", "2 views"])


@pytest.fixture
def teacher():
    return Teacher(network(100, width=8))


def batches(source, augment, epochs=3):
    """Shuffled, over more epochs than there are views."""
    return [
        batch for epoch in range(epochs) for batch in source.train.batches(64, seed=1, epoch=epoch, augment=augment)
    ]


def outside(*, maps):
    """A network from elsewhere, which has no `activation`; with maps before it or without."""
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    if not maps:
        layers.insert(1, nn.ReLU())
        return models.wrap(layers, mean=(0.5,), std=(0.5,), size=8, stages=("1",))

    class Shows(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def answer(self, x):
            before = self.layers[0](x)
            after = F.leaky_relu(before)
            return models.Answer(self.layers[1:](after), [after], [before])

        def forward(self, x):
            return self.answer(x).z

    return Shows()


@VIEWS
@pytest.mark.parametrize("make", [lambda: network(100, width=8), lambda: vit(100), lambda: outside(maps=False)],
                         ids=["resnet", "vit", "wrapped"])
def test_a_recording_in_float32_answers_as_the_live_teacher(make, augment, source):
    live = Teacher(make())
    bank = FeatureBank.record(live, source.train, augment=augment, dtype=torch.float32)
    for batch in batches(source, augment):
        found, expected = bank.answer(batch), live.answer(batch)
        close(found.z, expected.z, atol=1e-5)
        assert torch.equal(bank(batch), found.z)
        assert (found.maps is None) == (expected.maps is None)
        for ours, theirs in ((found.features, expected.features), (found.maps or [], expected.maps or [])):
            assert len(ours) == len(theirs)
            for f, g in zip(ours, theirs, strict=True):
                close(f, g, atol=1e-5)


@VIEWS
def test_a_recording_in_half_precision_answers_in_float32_and_within_its_rounding(augment, teacher, source):
    bank = FeatureBank.record(teacher, source.train, augment=augment)
    assert all(table.dtype == torch.float16 for table in (bank.table, *bank.tables))
    for batch in batches(source, augment):
        found, expected = bank.answer(batch), teacher.answer(batch)
        ours, theirs = ([z, *features, *maps] for z, features, maps in (found, expected))
        for f, g in zip(ours, theirs, strict=True):
            assert f.dtype == torch.float32
            close(f, g, rtol=2**-11, atol=1e-5)


def test_the_views_of_a_recording_differ(source, teacher):
    bank = FeatureBank.record(teacher, source.train, augment=Augment(pad=1, views=2))
    assert all(len(table) == 2 and not torch.equal(table[0], table[1]) for table in bank.tables)


def test_features_are_recorded_where_it_is_not_known_what_makes_them_of_the_maps(source):
    live = Teacher(outside(maps=True))
    bank = FeatureBank.record(live, source.train, dtype=torch.float32)
    batch = next(source.train.batches(64))
    close(bank.answer(batch).features[0], live.answer(batch).features[0])


def test_endless_views_cannot_be_recorded(teacher, source):
    with pytest.raises(ValueError, match="endless views cannot be recorded"):
        FeatureBank.record(teacher, source.train, augment=Augment())


def test_other_images_and_other_views_are_refused(teacher, source):
    bank = FeatureBank.record(teacher, source.train)
    others = [source.valid.batches(64), source.train.batches(64, augment=Augment(pad=1, views=2))]
    for batch in (next(other) for other in others):
        for ask in (bank, bank.answer):
            with pytest.raises(ValueError, match="answers to other pictures"):
                ask(batch)


@VIEWS
@pytest.mark.parametrize("method", [FitNet, Cosine, AT, MGD, OFD, ReviewKD, SimKD, SP, RKD, CRD, KD])
def test_a_method_trained_from_a_recording_has_the_gradient_of_the_live_one(method, augment, teacher, source):
    bank = FeatureBank.record(teacher, source.train, augment=augment, dtype=torch.float32)
    live, recorded = method(network(0), teacher), method(network(0), bank)
    for batch in batches(source, augment)[3:6]:
        batch = batch._replace(progress=0.5)
        expected = gradients(live, batch)
        close(gradients(recorded, batch), expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())
        assert expected.any()


def test_a_recording_asks_the_network_no_more(source, teacher):
    bank = FeatureBank.record(teacher, source.train)

    def refuse(*_):
        raise AssertionError("the network was asked")

    teacher.network.stages[0].register_forward_hook(refuse)
    bank.answer(next(source.train.batches(64)))
    with pytest.raises(AssertionError, match="was asked"):
        teacher.answer(next(source.train.batches(64)))


def test_simkd_trained_from_a_recording_deploys_the_head_of_its_network(source, teacher):
    distiller = SimKD(network(0), FeatureBank.record(teacher, source.train))
    rows = fit(distiller, source, epochs=3, lr=3e-3, batch_size=64)
    assert rows[-1]["simkd"] < rows[0]["simkd"]
    assert distiller.deployable().head is teacher.network.linear


def test_recording_freezes_the_network_and_leaves_it_in_eval_mode(source):
    one = network(100).train()
    bank = FeatureBank.record(one, source.train)
    assert bank.network is one
    assert not any(parameter.requires_grad for parameter in one.parameters())
    bank.train()
    assert not any(module.training for module in one.modules())


def test_the_recorded_teachers_head_gives_its_logits_and_a_gradient_to_the_features_alone(source, teacher):
    bank = FeatureBank.record(teacher, source.train, dtype=torch.float32)
    z, features, _ = bank.answer(next(source.train.batches(64)))
    f = features[-1].clone().requires_grad_()
    close(bank.head(f), z, atol=1e-5)
    bank.head(f).sum().backward()
    assert f.grad.any() and all(parameter.grad is None for parameter in teacher.parameters())


def test_what_a_recording_answers_may_be_written_into(source, teacher):
    bank = FeatureBank.record(teacher, source.train, dtype=torch.float32)
    batch = next(source.train.batches(64))
    first = copy.deepcopy(bank.answer(batch))
    for f in bank.answer(batch).features:
        f.zero_()
    assert all(torch.equal(*both) for both in zip(bank.answer(batch).features, first.features, strict=True))


def test_maps_too_large_for_half_precision_are_refused_with_advice_that_helps(source):
    class Loud(models.Classifier):
        def answer(self, x):
            z, features, maps = super().answer(x)
            return models.Answer(z, features, [1e6 * m for m in maps])

    loud = network(100)
    loud.__class__ = Loud
    with pytest.raises(ValueError, match=r"some feature maps are not finite in torch.float16: .*dtype=torch.float32"):
        FeatureBank.record(loud, source.train)
    assert FeatureBank.record(loud, source.train, dtype=torch.float32).tables[0].abs().max() > 65504


def test_a_teacher_that_shows_no_features_cannot_be_recorded(source):
    with pytest.raises(TypeError, match="does not show its feature maps"):
        FeatureBank.record(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), source.train)


def test_the_recording_is_data_and_no_state(source, teacher):
    bank = FeatureBank.record(teacher, source.train)
    assert bank.state_dict().keys() == {f"live.{key}" for key in teacher.state_dict()}


def test_saving_and_loading_are_declined_in_words(source, teacher, tmp_path):
    bank = FeatureBank.record(teacher, source.train)
    with pytest.raises(NotImplementedError, match=r"in memory only; save its logits with LogitBank\.record"):
        bank.save(tmp_path / "bank.safetensors")
    with pytest.raises(NotImplementedError, match="in memory only: record it again"):
        FeatureBank.load(tmp_path / "bank.safetensors", teacher=teacher, split=source.train)
    assert not list(tmp_path.iterdir())


def test_a_network_with_an_activation_for_each_stage_is_recorded(source):
    live = Teacher(models.build("mobilenet_v2", (1, 8, 8), 10, seed=0))
    bank = FeatureBank.record(live, source.train, dtype=torch.float32)
    batch = next(source.train.batches(16, seed=1))
    for kind in ("features", "maps"):
        for ours, theirs in zip(getattr(bank.answer(batch), kind), getattr(live.answer(batch), kind), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_features_that_were_recorded_without_maps_are_not_activated_once_more(source):
    class Own(nn.Module):
        shape = (1, 8, 8)

        def __init__(self):
            super().__init__()
            self.layer, self.linear, self.activation = nn.Conv2d(1, 4, 3), nn.Linear(4, 10), nn.GELU()

        def answer(self, x):
            f = self.activation(self.layer(x))
            return models.Answer(self.head(f), [f], None)

        def head(self, f):
            return self.linear(f.mean((2, 3)))

        def features(self, x):
            return self.answer(x).features

        def forward(self, x):
            return self.answer(x).z

    torch.manual_seed(0)
    live = Teacher(Own())
    bank, batch = FeatureBank.record(live, source.train, dtype=torch.float32), next(source.train.batches(16, seed=1))
    assert bank.answer(batch).maps is None
    torch.testing.assert_close(bank.answer(batch).features[0], live.answer(batch).features[0], rtol=1e-4, atol=1e-4)
