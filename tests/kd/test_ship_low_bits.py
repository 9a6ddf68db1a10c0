"""A network that learns while its weights are rounded: the rounding, its gradient, and what training keeps."""

import itertools
import sys

import pytest
import torch
from torch import nn

from kdcourse import data, distillers, metrics, models, ship, train
from kdcourse.ship import int8

KINDS = {"mlp": {}, "cnn": {"width": 4}, "resnet8": {"width": 4}}


def layers(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def images(n=20):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=KINDS)
def network(request):
    return models.build(request.param, (1, 8, 8), 10, seed=0, **KINDS[request.param]).eval()


def test_the_gradient_of_rounding_straight_through_is_that_of_the_weights():
    w = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    factors = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    grid = int8.symmetric(w, bits=3, axis=0)
    rounded = int8.straight_through(w, grid)
    torch.testing.assert_close(rounded, int8.dequantise(int8.quantise(w, grid), grid))
    (rounded * factors).sum().backward()
    assert torch.equal(w.grad, factors)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_channel_has_at_most_as_many_weights_as_its_bits_can_tell_apart_and_none_is_off_by_more_than_half_a_step(
        network, bits):
    for layer, rounded in zip(layers(network), layers(int8.low_bits(network, bits)), strict=True):
        for w, w_rounded in zip(layer.weight.flatten(1), rounded.weight.flatten(1), strict=True):
            assert len(w_rounded.unique()) <= 2**bits - 1
            step = w.abs().max() / (2 ** (bits - 1) - 1)
            assert (w_rounded - w).abs().max() <= step / 2 * 1.0001


def test_with_sixteen_bits_it_answers_as_the_network_and_with_fewer_bits_less_and_less_so(network):
    z, x = network(images()), images()
    gaps = [(int8.low_bits(network, bits)(x) - z).abs().mean().item() for bits in (16, 8, 4, 2)]
    assert gaps[0] < 1e-3 * z.abs().mean() and all(a < b for a, b in itertools.pairwise(gaps))


def test_the_network_itself_stays_as_it_was(network):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    learner = int8.low_bits(network, 2)
    fit_a_little(learner)
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def fit_a_little(network, **settings):
    source = data.load("digits")
    source = source.with_train(source.train.take(torch.arange(100), "few"))
    return train.fit(distillers.Supervised(network), source, **{"epochs": 2, "lr": 1e-3, "batch_size": 50} | settings)


def test_settled_it_is_a_plain_network_with_the_same_logits_that_loads_where_any_of_its_kind_does(network):
    learner = int8.low_bits(network, 3)
    fit_a_little(learner)
    plain = int8.settled(learner)
    torch.testing.assert_close(plain(images()), learner.eval()(images()))
    network.load_state_dict(plain.state_dict())
    torch.testing.assert_close(network.eval()(images()), plain(images()))


def test_rounding_once_more_changes_nothing(network):
    once = int8.settled(int8.low_bits(network, 4))
    torch.testing.assert_close(once(images()), int8.low_bits(once, 4)(images()))


def test_steps_too_small_to_reach_the_next_number_add_up_until_they_do():
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.1]]))
    learner = int8.low_bits(layer, 2)
    optimiser, seen = torch.optim.SGD(learner.parameters(), lr=0.05), []
    for _ in range(20):
        optimiser.zero_grad()
        (-learner(torch.tensor([[0.0, 1.0]]))).sum().backward()     # asks for a larger second weight
        optimiser.step()
        seen.append(int8.settled(learner).weight[0, 1].item())
    assert seen[0] == 0 and seen[-1] > 0.9


def test_with_sixteen_bits_training_is_training_in_float32():
    one, other = (models.build("mlp", (1, 8, 8), 10, seed=0) for _ in range(2))
    rows, rounded = fit_a_little(one), fit_a_little(int8.low_bits(other, 16))
    assert [row["ce"] for row in rounded] == pytest.approx([row["ce"] for row in rows], rel=1e-3)


def test_learning_with_weights_of_two_bits_beats_rounding_to_two_bits_afterwards():
    source = data.load("digits")
    network, settings = models.build("mlp", source.shape, 10, seed=0, hidden=(16,)), {"lr": 5e-3, "batch_size": 64}
    learner = int8.low_bits(network, 2)
    for trained in (network, learner):
        train.fit(distillers.Supervised(trained), source, epochs=8, **settings)
    afterwards = int8.low_bits(network, 2)
    accuracy, rounded = (metrics.accuracy(metrics.predict(each, source.valid), source.valid.y)
                         for each in (learner, afterwards))
    assert accuracy > rounded + 0.03


def test_a_teacher_moves_it_by_kd_alone():
    source = data.load("digits")
    teacher = models.build("mlp", source.shape, 10, seed=3)
    learner = int8.low_bits(models.build("mlp", source.shape, 10, seed=0), 4)
    before = [parameter.clone() for parameter in learner.parameters()]
    train.fit(distillers.KD(learner, teacher, T=2.0, alpha=1.0), source, epochs=1, lr=1e-3, batch_size=200)
    assert all(not torch.equal(a, b) for a, b in zip(before, learner.parameters(), strict=True))


def test_what_was_settled_exports(tmp_path):
    plain = int8.settled(int8.low_bits(models.build("mlp", (1, 8, 8), 10, seed=0), 3))
    assert ship.difference(plain, ship.export(plain, tmp_path / "n.onnx"), ship.noise((1, 8, 8))) < 1e-5


@pytest.mark.parametrize("network, bits, said", [
    (nn.Linear(2, 2), 1, "bits is a whole number from 2 to 16; it is 1"),
    (nn.ReLU(), 4, "a ReLU has no linear layer"),
    (int8.low_bits(nn.Linear(2, 2), 4), 4, r"settled\(network\) makes a plain one"),
])
def test_what_cannot_be_rounded_is_refused(network, bits, said):
    with pytest.raises(ValueError, match=said):
        int8.low_bits(network, bits)


def test_what_is_lacking_is_said_in_one_line_and_nothing_where_all_is_there(monkeypatch):
    assert ship.lacking() == ""
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert ship.lacking() == "shipping a network needs the package onnxscript; run: pip install 'kdcourse[ship]'"


@pytest.mark.parametrize("apart", [False, True], ids=["in one tensor", "in three"])
def test_the_projections_of_attention_are_rounded_and_settled_too(apart):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            sizes = {"kdim": 6, "vdim": 6} if apart else {}
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **sizes)
            self.other = nn.Linear(8, 6)

        def forward(self, x):
            seen = self.other(x) if apart else x
            return self.attention(x, seen, seen)[0]

    torch.manual_seed(0)
    rounded, x = int8.low_bits(Attending(), 2), torch.randn(2, 5, 8)
    names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"] if apart else ["in_proj_weight"]
    for network in (rounded, plain := int8.settled(rounded)):
        for name in names:
            assert all(len(row.unique()) <= 3 for row in getattr(network.attention, name))
    torch.testing.assert_close(plain(x), rounded.eval()(x))
    rounded.train()(x).sum().backward()
    assert all(parameter.grad is not None for name, parameter in rounded.named_parameters() if "proj_weight" in name)
