"""The words that all others speak: terms, seeds, choices by name, fingerprints, and what may pass for logits."""

import sys

import numpy as np
import pytest
import torch

from kdcourse.core import (
    Choices,
    Term,
    asked,
    check_output,
    dtype_of,
    fingerprint,
    generator,
    inside,
    quiet,
    seeded,
    total,
)  # fmt: skip


def draws(*key):
    return torch.rand(1000, generator=generator(*key))


def test_total_is_the_weighted_sum_and_its_gradient():
    value = torch.tensor([2.0, 3.0], requires_grad=True)
    loss = total({"ce": Term(0.1, value[0]), "kd": Term(0.9, value[1])})
    loss.backward()
    assert loss.item() == pytest.approx(0.1 * 2 + 0.9 * 3)
    assert value.grad.tolist() == pytest.approx([0.1, 0.9])


def test_total_of_no_terms_is_an_error():
    with pytest.raises(ValueError, match="at least one term"):
        total({})


def test_unknown_choice_names_the_kind_the_choices_and_the_nearest():
    choices = Choices("fruit", {"pear": 1, "apple": 2})
    assert choices["apple"] == 2
    with pytest.raises(ValueError, match=r"^unknown fruit 'aple'; choose one of: apple, pear \(did .* 'apple'\?\)$"):
        choices["aple"]
    with pytest.raises(ValueError, match=r"pear$"):
        choices["zzz"]
    with pytest.raises(ValueError, match="unknown fruit None"):
        choices[None]


def test_generator_gives_the_same_draws_for_the_same_key_whatever_was_drawn_before():
    first = draws(3, 1)
    draws(7)
    torch.rand(5)
    assert torch.equal(draws(3, 1), first)


@pytest.mark.parametrize("other", [(3, 2), (4, 1), (1, 3), (3, 1, 1), (3, 1, 0), (3,)])
def test_generator_gives_unrelated_draws_for_another_key(other):
    ours, others = draws(3, 1), draws(*other)
    assert abs(torch.corrcoef(torch.stack([ours, others]))[0, 1]) < 0.15  # 4.7 standard errors


def test_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    draws(1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("key", [(0,), (0, 0), (3, 1), (5, 0, 7, 2**32 - 1), (2**40,), (2**63, 1), (2**80,)])
def test_generator_starts_from_the_upper_63_bits_of_what_numpy_draws_for_the_key_and_its_length(key):
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0]
    expected = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    assert torch.equal(torch.rand(9, generator=generator(*key)), torch.rand(9, generator=expected))


@pytest.mark.parametrize("seed, error, message", [
    (None, TypeError, "a seed is an integer, seed=0 say.*None is none"), ("1", TypeError, "'1' is none"),
    (1.5, TypeError, "1.5 is none"), (-1, ValueError, "at least 0; it is -1"),
])
def test_a_seed_that_is_no_integer_from_0_is_refused_with_the_right_call(seed, error, message):
    with pytest.raises(error, match=message):
        generator(3, seed)
    with pytest.raises(error, match=message), seeded(seed):
        pass


def test_seeded_starts_apples_generator_too_and_puts_it_back_even_after_a_failure(monkeypatch):
    """There is no such device here: its generator is a number that `manual_seed` sets and drawing would change."""
    state = torch.tensor([5])
    monkeypatch.setattr(torch.mps, "manual_seed", state.fill_)
    monkeypatch.setattr(torch.mps, "get_rng_state", state.clone)
    monkeypatch.setattr(torch.mps, "set_rng_state", state.copy_)
    before = torch.get_rng_state()
    with seeded(7, "mps"):
        assert state.item() == 7 and torch.initial_seed() == 7
    assert state.item() == 5 and torch.equal(torch.get_rng_state(), before)
    with pytest.raises(KeyError), seeded(7, torch.device("mps", 0)):
        state.fill_(8)
        raise KeyError
    assert state.item() == 5


def test_fingerprint_depends_on_dtype_shape_order_and_every_bit():
    x = torch.arange(6, dtype=torch.int32)
    flipped = x.clone()
    flipped[3] ^= 1
    variants = [
        (x,), (x.float(),), (x.view(torch.float32),), (x.reshape(2, 3),), (x.flip(0),), (flipped,), (x, x), (x[:5],),
        (x[:3], x[3:]), (x[3:], x[:3]),
    ]
    keys = [fingerprint(*tensors) for tensors in variants]
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 12 and set(key) <= set("0123456789abcdef") for key in keys)


def test_fingerprint_does_not_depend_on_strides_gradients_or_the_run():
    x = torch.randn(2, 3, 4, 5, generator=generator(0))
    key = fingerprint(x)
    assert fingerprint(x.clone(memory_format=torch.channels_last)) == key
    assert fingerprint(x.clone().requires_grad_()) == key
    assert fingerprint(torch.randn(2, 3, 4, 5, generator=generator(0))) == key


def test_fingerprint_takes_scalars_booleans_half_precision_and_nothing():
    tensors = torch.tensor(True), torch.tensor(3.0), torch.zeros(2, dtype=torch.bfloat16), torch.zeros(0)
    assert len({fingerprint(tensor) for tensor in tensors}) == 4


def test_check_output_passes_logits_and_names_anything_else():
    network = torch.nn.Linear(1, 1)
    z = torch.zeros(2, 3)
    assert check_output(z, network) is z
    for output, what in ((torch.zeros(2, 3, 4), r"tensor of shape \(2, 3, 4\)"), ((z,), "a tuple"), (None, "NoneType")):
        with pytest.raises(TypeError, match=f"Linear returned .*{what}"):
            check_output(output, network)


@pytest.mark.parametrize("value, expected", [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)])
def test_quiet_at_a_terminal_is_read_from_the_environment(monkeypatch, value, expected):
    monkeypatch.delenv("KDCOURSE_QUIET") if value is None else monkeypatch.setenv("KDCOURSE_QUIET", value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert quiet() is expected


def test_quiet_where_the_output_goes_to_a_file_but_not_in_a_notebook(monkeypatch):
    monkeypatch.delenv("KDCOURSE_QUIET")
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert quiet() is True
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert quiet() is False


def test_precision_of_a_network_is_that_of_its_first_weight_and_integers_do_not_count():
    linear, norm = torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2, affine=False)
    assert dtype_of(linear.half()) == torch.float16
    assert dtype_of(norm.double()) == torch.float64  # which has buffers only
    assert dtype_of(torch.nn.Identity()) == torch.float32
    integers = torch.nn.Module()
    integers.weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    assert dtype_of(integers) == torch.float32
    integers.linear = torch.nn.Linear(2, 2).bfloat16()
    assert dtype_of(integers) == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_logits_are_float32_and_images_are_given_in_the_precision_of_the_network(dtype):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).to(dtype)
    seen = []
    network.register_forward_pre_hook(lambda _, read: seen.append(read[0].dtype))
    assert asked(network, torch.ones(2, 1, 2, 2)).dtype == torch.float32
    assert seen == [dtype]


def test_images_that_do_not_fit_are_an_error_in_words_and_what_the_network_said_is_kept():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"cannot take images of \(1, 3, 3\), .*4x3") as error:
        asked(network, torch.ones(2, 1, 3, 3))
    assert isinstance(error.value.__cause__, RuntimeError)

    class OutOfMemory(torch.nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("buy another")

    with pytest.raises(torch.OutOfMemoryError, match="buy another"):
        asked(OutOfMemory(), torch.ones(1, 1, 2, 2))


def test_what_spreads_a_network_over_devices_is_looked_through_and_nothing_else():
    linear = torch.nn.Linear(1, 1)
    assert inside(torch.nn.DataParallel(torch.nn.DataParallel(linear))) is linear
    sequence = torch.nn.Sequential(linear)
    assert inside(sequence) is sequence and inside(linear) is linear


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_a_seed_may_be_an_integer_of_any_kind(seed):
    def drawn(seed):
        with seeded(seed):
            return torch.rand(3).tolist(), torch.rand(3, generator=generator(seed, 1)).tolist()

    assert drawn(seed) == drawn(3)
