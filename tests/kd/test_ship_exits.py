"""Leaving early: costs by counting, the ends of the thresholds, and the choice."""

import itertools

import pytest
import torch

from kdcourse import cost, distillers, metrics, models
from kdcourse.ship.exits import chosen, curve, reach

THRESHOLDS = (0, 0.3, 0.5, 0.6, 0.8, 0.9, 1.01)


def answers(n=300):
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(5, (n,), generator=draw)
    right = torch.eye(5)[y]
    return [size * right + 1.5 * torch.randn(n, 5, generator=draw) for size in (1, 2, 4)], y


@pytest.fixture(scope="module")
def network():
    return distillers.BYOT(models.build("resnet8", (1, 12, 12), 10, seed=0, width=4))


def test_an_exit_costs_the_stages_up_to_it_and_every_exit_on_the_way(network):
    shape, student = network.student.shape, network.student
    stages = [cost.multiply_adds(student.encoder(k), shape) for k in (1, 2, 3)]
    heads = [cost.multiply_adds(network.early(k), shape) - stages[k - 1] for k in (1, 2)]
    assert reach(network) == [stages[0] + heads[0], stages[1] + sum(heads),
                              cost.multiply_adds(student, shape) + sum(heads)]
    widths, last, sides = (4, 8), 16, (12, 6)     # an exit: a 1x1 convolution at every position, and a linear layer
    assert heads == [width * last * side * side + last * 10 for width, side in zip(widths, sides, strict=True)]


def test_the_threshold_0_costs_the_first_exit_and_one_above_1_the_last_with_its_logits():
    z, y = answers()
    rows = curve(z, y, (10, 20, 40), THRESHOLDS)
    assert rows[0]["multiply_adds"] == 10 and rows[0]["accuracy"] == metrics.accuracy(z[0], y)
    assert rows[-1]["multiply_adds"] == 40 and rows[-1]["accuracy"] == metrics.accuracy(z[-1], y)
    assert rows[-1]["shares"] == [0, 0, 1]


def test_a_higher_threshold_never_costs_less_and_the_shares_are_of_all_images():
    z, y = answers()
    rows = curve(z, y, (10, 20, 40), THRESHOLDS)
    assert all(a["multiply_adds"] <= b["multiply_adds"] for a, b in itertools.pairwise(rows))
    assert all(sum(row["shares"]) == pytest.approx(1) for row in rows)


def test_one_image_leaves_where_it_is_sure_and_pays_for_that():
    sure, unsure = torch.tensor([[9.0, 0]]), torch.tensor([[0.1, 0]])
    [row] = curve([torch.cat([sure, unsure]), torch.cat([unsure, sure])], torch.tensor([0, 0]), (1, 5), (0.9,))
    assert row["multiply_adds"] == 3 and row["shares"] == [0.5, 0.5]


def test_chosen_is_the_cheapest_that_loses_no_more_than_is_allowed():
    rows = [{"accuracy": a, "multiply_adds": m} for a, m in ((0.7, 1), (0.89, 2), (0.91, 3), (0.9, 4))]
    assert chosen(rows)["multiply_adds"] == 3
    assert chosen(rows, lose=0.01)["multiply_adds"] == 2
    assert chosen(rows, lose=1)["multiply_adds"] == 1
    with pytest.raises(ValueError, match="no row"):
        chosen([])


def test_costs_that_do_not_fit_the_exits_are_refused():
    z, y = answers(10)
    with pytest.raises(ValueError, match="2 costs, 3 exits"):
        curve(z, y, (1, 2), (0.5,))
