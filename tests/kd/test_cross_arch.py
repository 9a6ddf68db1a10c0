"""Identities of `CrossArch`: attention with the teacher's entries put in, and a linear map for each neighbourhood."""

import pytest
import torch
import torch.nn.functional as F
from helpers import close, cnn, first_batch, gradient, network, step, vit, weights

from kdcourse import cost
from kdcourse.core import total
from kdcourse.distillers import CrossArch, Supervised, cross_arch
from kdcourse.distillers.cross_arch import GroupLinear, attended, tokens


@pytest.fixture
def batch():
    return first_batch(progress=0.5)


def pair():
    """A CNN that learns from a ViT."""
    return network(0), vit(100)


def tokens_of(distiller, batch):
    f = distiller.teacher.answer(batch).features[distiller.stages[1]]
    size = distiller.student.features(batch.x)[distiller.stages[0]].shape[2:]
    f = F.adaptive_avg_pool2d(f, size) if f.shape[2] > size[0] else f
    return F.layer_norm(f.flatten(2).transpose(1, 2), f.shape[1:2])


def says_(distiller, constant):
    """Makes queries, keys and values of the student the same number everywhere."""
    for layer in (distiller.query, distiller.key, distiller.value):
        layer.weight.data.zero_()
        layer.bias.data.fill_(constant)


def test_attention_is_that_of_torch():
    q, k, v = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    close(attended(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_tokens_of_a_map_and_back_are_the_map():
    f = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert tokens(f).shape == (2, 20, 3)
    assert torch.equal(tokens(f).transpose(1, 2).reshape(f.shape), f)
    assert torch.equal(tokens(f)[:, 7], f[:, :, 1, 2])


def test_a_map_whose_every_entry_is_the_teachers_attends_as_the_teacher_and_asks_nothing_of_queries_and_keys(batch):
    distiller = CrossArch(*pair(), substituted=1.0, group=0.0).eval()
    theirs = tokens_of(distiller, batch)
    ours = distiller.value(distiller.student.features(batch.x)[-1]).flatten(2).transpose(1, 2)
    products, expected = ours @ ours.transpose(1, 2), theirs @ theirs.transpose(1, 2)
    value = distiller(batch)["attention"].value
    close(value, (products - expected).square().mean() / expected.square().mean())  # the products of values are left
    assert not gradient(value, distiller.query).any() and not gradient(value, distiller.key).any()


def test_without_substitution_attention_is_the_students_own(batch):
    distiller = CrossArch(*pair(), substituted=0.0).eval()
    theirs, f = tokens_of(distiller, batch), distiller.student.features(batch.x)[-1]
    q, k, v = (layer(f).flatten(2).transpose(1, 2) for layer in (distiller.query, distiller.key, distiller.value))
    ours, expected = F.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(theirs, theirs, theirs)
    products = v @ v.transpose(1, 2) - theirs @ theirs.transpose(1, 2)
    by_hand = (ours - expected).square().mean() / expected.square().mean()
    by_hand = by_hand + products.square().mean() / (theirs @ theirs.transpose(1, 2)).square().mean()
    close(distiller(batch)["attention"].value, by_hand)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_share_of_entries_that_are_put_in_is_as_asked(share, batch, monkeypatch):
    distiller, seen = CrossArch(*pair(), substituted=share), []
    says_(distiller, 1000.0)
    monkeypatch.setattr(cross_arch, "attended", lambda q, k, v: seen.append((q, k, v)) or v)
    distiller(batch)
    [mixed, teachers] = seen
    masks = [part != 1000.0 for part in mixed]
    assert all((mask.float().mean() - share).abs() < 0.06 for mask in masks)
    assert all(torch.equal(part[mask], theirs[mask]) for part, theirs, mask in zip(mixed, teachers, masks, strict=True))
    assert not torch.equal(masks[0], masks[1]) and not torch.equal(masks[1], masks[2])


def test_draws_come_again_for_the_same_batch_and_differ_between_batches_and_seeds(batch):
    def value(seed, batch):
        torch.manual_seed(seed + 17)
        distiller = CrossArch(*pair())
        distiller.seed = seed
        return [term.value for term in distiller.train()(batch).values()][1:]

    later = batch._replace(epoch=1)
    assert value(0, batch) == value(0, batch)
    assert all(a != b for a, b in zip(value(0, batch), value(1, batch), strict=True))
    assert all(a != b for a, b in zip(value(0, batch), value(0, later), strict=True))


def test_dropout_hides_its_share_while_it_trains_keeps_the_mean_and_is_off_afterwards(batch):
    distiller, f = CrossArch(*pair(), dropout=0.3), torch.ones(200, 4, 5, 5)
    found = distiller.train()._hidden(f, batch)
    assert abs((found == 0).float().mean() - 0.3) < 0.02 and abs(found.mean() - 1) < 0.02
    assert torch.equal(distiller.eval()._hidden(f, batch), f)


def test_one_neighbourhood_is_a_convolution_of_one_by_one():
    f, layer = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), GroupLinear(3, 5, size=(4, 4))
    close(layer(f), F.conv2d(f, layer.weight[0, 0][:, :, None, None], layer.bias[0, 0]))


@pytest.mark.parametrize("size, groups", [((8, 8), (2, 2)), ((7, 5), (2, 2)), ((2, 9), (1, 3)), ((1, 1), (1, 1))])
def test_every_position_has_the_linear_map_of_its_neighbourhood(size, groups):
    f, layer = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)), GroupLinear(3, 5, size=size)
    assert layer.weight.shape == (*groups, 5, 3)
    made = layer(f)
    assert made.shape == (2, 5, *size)
    for h in range(size[0]):
        for w in range(size[1]):
            close(made[:, :, h, w], F.linear(f[:, :, h, w], layer.weight[h // 4, w // 4], layer.bias[h // 4, w // 4]))


def test_a_group_projector_of_identities_leaves_the_mean_square_difference(batch):
    distiller = CrossArch(network(0, width=8), network(100, width=8), dropout=0.0)
    distiller.grouped.weight.data.copy_(torch.eye(32).expand_as(distiller.grouped.weight))
    distiller.grouped.bias.data.zero_()
    f_s, f_t = (part.features(batch.x)[-1] for part in (distiller.eval().student, distiller.teacher.network))
    close(distiller(batch)["group"].value, (f_s - f_t).square().mean() / f_t.square().mean())


def test_how_large_the_teachers_tokens_are_does_not_matter_to_the_attention(batch):
    teacher, values = vit(100), []
    for factor in (1, 50):
        teacher.stages[2].layers[-1].weight.data.mul_(factor)   # the last normalisation: all tokens grow alike
        teacher.stages[2].layers[-1].bias.data.mul_(factor)
        values.append(CrossArch(network(0), teacher).eval()(batch)["attention"].value)
    close(values[0], values[1], rtol=1e-3)


def test_without_both_parts_it_is_plain_training(batch):
    student = network(0)
    terms = CrossArch(student, vit(100), attention=0, group=0)(batch)
    assert weights(terms) == {"ce": 1.0}
    assert torch.equal(total(terms), total(Supervised(network(0))(batch)))


@pytest.mark.parametrize("student, teacher", [(network, vit), (vit, network), (cnn, vit), (network, network)])
def test_whatever_the_two_networks_are_both_parts_reach_the_student_and_nothing_is_shipped(student, teacher, batch):
    distiller = CrossArch(student(0), teacher(100))
    terms = distiller(batch)
    for name in ("attention", "group"):
        assert terms[name].value.isfinite() and gradient(terms[name].value, distiller.student.stages).any()
    step(distiller, batch)
    assert cost.parameters(distiller.deployable()) == cost.parameters(student(0))


def test_more_training_brings_the_student_nearer_on_its_own_terms(batch):
    distiller = CrossArch(*pair())
    before = {name: term.value.item() for name, term in distiller.eval()(batch).items()}
    step(distiller, batch, times=30, lr=3e-3)
    after = {name: term.value.item() for name, term in distiller.eval()(batch).items()}
    assert after["attention"] < 0.9 * before["attention"] and after["group"] < 0.9 * before["group"]


@pytest.mark.parametrize("settings, message", [
    ({"attention": -1}, "attention .*-1"), ({"group": -1}, "group .*-1"), ({"substituted": 1.5}, "substituted .*1.5"),
    ({"dropout": -0.1}, r"dropout .*-0\.1"), ({"side": 0}, "side .* at least 1; it is 0"),
    ({"stages": (3, 0)}, "a student of 3 and a teacher of 3 stages"),
])
def test_settings_out_of_range_are_refused_where_it_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        CrossArch(*pair(), **settings)
