"""What a network costs: parameters and multiply-adds by their formulas, and times that are compared in turn."""

import pytest
import torch
from torch import nn

from kdcourse import cost, models


def test_parameters_counts_weights_and_biases_once():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(7, 2))
    assert cost.parameters(network) == (4 * 3 * 3 * 3 + 4) + (4 + 4) + (7 * 2 + 2)
    shared = nn.Linear(5, 5)
    assert cost.parameters(nn.Sequential(shared, shared)) == 5 * 5 + 5


@pytest.mark.parametrize("network, shape, expected", [
    (nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 10)), (2, 3, 4), 24 * 10),
    (nn.Conv2d(3, 8, 3, padding=1), (3, 6, 5), 6 * 5 * 8 * 3 * 9),
    (nn.Conv2d(3, 8, 3, stride=2, bias=False), (3, 7, 9), 3 * 4 * 8 * 3 * 9),
    (nn.Conv2d(4, 8, (1, 5), groups=2), (4, 2, 9), 2 * 5 * 8 * 2 * 5),
    (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(3)), (3, 6, 6), 0),
], ids=["linear", "conv", "strided conv", "grouped conv", "no products"])
def test_multiply_adds_of_a_layer_follow_its_formula(network, shape, expected):
    assert cost.multiply_adds(network, shape) == expected


def test_multiply_adds_of_the_ece1512_pair_follow_their_formula():
    teacher, student = (models.build(name, (1, 28, 28), 10, seed=0) for name in ("ece1512_teacher", "ece1512_student"))
    # 28 -conv-> 26 -pool-> 25 -conv-> 23 -pool-> 11
    by_hand = 26**2 * 32 * 9 + 23**2 * 64 * 32 * 9 + 64 * 11**2 * 128 + 128 * 10
    assert cost.multiply_adds(teacher, (1, 28, 28)) == by_hand == 10_937_728
    assert cost.multiply_adds(student, (1, 28, 28)) == 784 * 784 + 784 * 784 + 784 * 10


def test_multiply_adds_of_attention_are_counted():
    D, N, patch, depth = 24, 16, 4, 3
    network = models.build("vit", (3, 16, 16), 10, seed=0, depth=depth, width=D, heads=2)
    projections, products, transform = N * D * 4 * D, 2 * N * N * D, N * 2 * D * 4 * D
    by_hand = N * 3 * patch**2 * D + depth * (projections + products + transform) + D * 10
    assert cost.multiply_adds(network, (3, 16, 16)) == by_hand


@pytest.mark.parametrize("name", ["resnet8", "vit", "cnn"])
def test_multiply_adds_do_not_depend_on_the_mode_and_move_no_statistics(name):
    network = models.build(name, (3, 8, 8), 10, seed=0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    counts = {cost.multiply_adds(network.train(mode), (3, 8, 8)) for mode in (True, False)}
    assert len(counts) == 1 and counts.pop() > 0
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_latency_is_positive_and_grows_with_the_batch():
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 10))
    one = cost.latency(network, (1, 28, 28), repeats=5)
    many = cost.latency(network, (1, 28, 28), batch_size=1000, repeats=5)
    assert 0 < one < many


def test_latencies_take_turns_warm_up_first_and_use_the_threads_that_they_name():
    called, threads = [], []

    def run(name):
        return lambda x: (called.append(name), threads.append(torch.get_num_threads()))

    before = torch.get_num_threads()
    rows = cost.latencies({"a": run("a"), "b": run("b")}, torch.zeros(3, 1), n=4, warm_up=2, threads=before + 1)
    assert called == ["a", "b"] * 6 and set(threads) == {before + 1} and torch.get_num_threads() == before
    assert [(row["name"], row["n"], row["batch"], row["threads"]) for row in rows] == [
        ("a", 4, 3, before + 1), ("b", 4, 3, before + 1)]


def test_latencies_are_quantiles_of_the_turns_and_ratios_are_taken_within_a_turn(monkeypatch):
    spent = {"a": [9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], "b": [9, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 220]}
    clock = [0.0]
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])

    def run(name):
        turns = iter(spent[name])
        return lambda x: clock.__setitem__(0, clock[0] + next(turns))

    a, b = cost.latencies({"a": run("a"), "b": run("b")}, torch.zeros(1, 1), n=11, warm_up=1)
    assert (a["p10"], a["median"], a["p90"], a["ratio"]) == (2, 6, 10, 1)
    assert (b["p10"], b["median"], b["p90"], b["ratio"]) == (4, 12, 20, 2)


@pytest.mark.parametrize("wrong, said", [({"n": 1}, "n is a whole number of at least 2; it is 1"),
                                         ({"threads": 0}, "threads is"), ({"warm_up": -1}, "warm_up is")])
def test_latencies_refuse_counts_that_measure_nothing(wrong, said):
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match=said):
        cost.latencies({"a": lambda x: x}, torch.zeros(1, 1), **wrong)
    with pytest.raises(ValueError, match="there is none"):
        cost.latencies({}, torch.zeros(1, 1))
    assert torch.get_num_threads() == before
