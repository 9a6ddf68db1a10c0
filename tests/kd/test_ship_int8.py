"""Eight bits: the grids and one layer by hand against ONNX Runtime, and a whole network quantised after training."""

import itertools

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from kdcourse import data, metrics, models, ship
from kdcourse.ship import int8


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("low, high", [(-1.0, 3.0), (0.0, 6.0), (-5.0, -1.0), (2.0, 3.0), (0.0, 0.0)])
def test_what_lies_on_the_grid_is_stored_to_half_a_step_and_zero_exactly(low, high, bits):
    grid = int8.affine(low, high, bits=bits)
    x = torch.linspace(min(low, 0), max(high, 0), 501)
    back = int8.dequantise(int8.quantise(x, grid), grid)
    assert (back - x).abs().max() <= grid.scale * 1.01  # an end of the grid is half a step off where zero was rounded
    inside = (x >= (grid.lowest - grid.zero) * grid.scale) & (x <= (grid.highest - grid.zero) * grid.scale)
    assert (back - x)[inside].abs().max() <= grid.scale / 2 * 1.0001
    assert int8.dequantise(int8.quantise(torch.zeros(1), grid), grid) == 0


def test_a_bit_more_halves_the_error():
    w = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    errors = [(int8.dequantise(int8.quantise(w, grid), grid) - w).abs().mean().item()
              for grid in (int8.symmetric(w, bits=bits) for bits in (4, 5, 6, 7, 8))]
    assert all(1.7 < coarse / fine < 2.4 for coarse, fine in itertools.pairwise(errors))


def test_rounding_is_to_the_nearest_and_halves_go_to_the_even_number():
    grid = int8.Grid(torch.tensor(1.0), torch.tensor(0), -127, 127)
    assert int8.quantise(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 0.6, 400, -400]), grid).tolist() == [
        0, 2, 2, 0, -2, 1, 127, -127]


def test_a_scale_for_each_channel_keeps_a_channel_of_small_weights_that_a_shared_one_loses():
    w = torch.tensor([[100.0, -50.0], [0.3, -0.2]])
    shared, own = int8.symmetric(w), int8.symmetric(w, axis=0)
    assert int8.dequantise(int8.quantise(w, shared), shared)[1].tolist() == [0, 0]
    assert torch.allclose(int8.dequantise(int8.quantise(w, own), own), w, rtol=0.01)
    assert own.scale.shape == (2, 1) and int8.quantise(w, own).abs().amax(dim=1).tolist() == [127, 127]


LAYERS = {
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 5)), 1),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1)), 0),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(6, 4, 3, groups=2, bias=False)), 0),
}


@pytest.fixture(scope="module", params=LAYERS)
def one_layer(request, tmp_path_factory):
    """A layer behind /255, the file that ONNX Runtime's quantisation makes of it, and the images that calibrate it."""
    make, place = LAYERS[request.param]
    torch.manual_seed(0)
    network, folder = make(), tmp_path_factory.mktemp(request.param)
    images = ship.noise((6 if request.param == "grouped" else 3, 6, 6), 40)
    path = ship.export(network, folder / "float.onnx", shape=images.shape[1:])
    return network, network[place], int8.quantised(path, folder / "int8.onnx", images), images


def constants(path) -> dict[str, np.ndarray]:
    return {value.name: numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer}


def test_one_layer_by_hand_is_onnx_runtimes_to_a_rounding_step(one_layer):
    network, layer, path, images = one_layer
    x, z = images / 255, network(images / 255).detach()
    if isinstance(layer, nn.Linear):
        x = x.flatten(1)
    x_grid, y_grid = int8.affine(x.min(), x.max()), int8.affine(z.min(), z.max())
    w_grid = int8.symmetric(layer.weight, axis=0, narrow=True)
    q = int8.whole_layer(int8.quantise(x, x_grid), layer, x_grid, w_grid, y_grid)
    by_hand, theirs = int8.dequantise(q, y_grid), ship.session(path)(images)
    assert (by_hand - theirs).abs().max() <= y_grid.scale * 1.001
    assert ((by_hand - theirs).abs() < y_grid.scale / 100).float().mean() > 0.95
    assert 0.2 * y_grid.scale < (by_hand - z).abs().max() < 6 * y_grid.scale  # it is not float32's answer


def test_scales_and_zero_points_by_hand_are_those_in_the_file(one_layer):
    network, layer, path, images = one_layer
    kept, z = constants(path), network(images / 255).detach()
    y_grid, w_grid = int8.affine(z.min(), z.max()), int8.symmetric(layer.weight, axis=0, narrow=True)
    scales = [value for name, value in kept.items() if name.endswith("scale")]
    assert any(s.size == 1 and s == pytest.approx(y_grid.scale.item(), rel=1e-5) for s in scales)
    assert any(s.shape == (len(layer.weight),) and np.allclose(s, w_grid.scale.flatten(), rtol=1e-5) for s in scales)
    zeros = [value.item() for name, value in kept.items() if name.endswith("zero_point") and value.size == 1]
    assert y_grid.zero.item() in zeros
    whole = [value for value in kept.values() if value.dtype == np.int8 and value.ndim > 1]
    stored = int8.quantise(layer.weight.detach(), w_grid).flatten(1).numpy()
    assert any(np.array_equal(np.sort(value.flatten()), np.sort(stored.flatten())) for value in whole)


@pytest.fixture(scope="module")
def learned():
    """A small network that knows digits, by a few steps of training."""
    from kdcourse import distillers, train

    source = data.load("digits")
    network = models.build("cnn", source.shape, 10, seed=0)
    train.fit(distillers.Supervised(network), source, epochs=3, lr=3e-3, batch_size=64)
    return network, source


def test_a_quantised_network_is_smaller_and_answers_nearly_as_it_did(learned, tmp_path):
    network, source = learned
    path = ship.export(network, tmp_path / "float.onnx")
    small = int8.quantised(path, tmp_path / "int8.onnx", source.train.x[:200])
    z, ours = metrics.predict(network, source.test), ship.predict(small, source.test)
    assert small.stat().st_size < 0.35 * path.stat().st_size
    assert metrics.agreement(z, ours) > 0.98 and not torch.allclose(z, ours, atol=1e-4)
    assert any(value.dtype == np.int8 for value in constants(small).values())
    assert max(np.abs(value.astype(int)).max() for value in constants(small).values()
               if value.dtype == np.int8 and value.ndim > 1) <= 64


@pytest.mark.parametrize("call, said", [
    (lambda: int8.affine(0, float("inf")), "two finite numbers"),
    (lambda: int8.affine(0, 1, bits=1), "bits is a whole number from 2 to 16; it is 1"),
    (lambda: int8.symmetric(torch.tensor([float("nan")])), "not finite"),
    (lambda: int8.quantised("n.onnx", "m.onnx", torch.rand(2, 1, 8, 8)), "uint8, training images"),
])
def test_what_cannot_be_quantised_is_refused_with_its_value(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_a_layer_of_another_kind_is_refused():
    grid = int8.affine(0, 1)
    with pytest.raises(TypeError, match="not a ReLU"):
        int8.whole_layer(torch.zeros(1), nn.ReLU(), grid, grid, grid)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64])
def test_whole_numbers_stand_for_the_same_in_every_type_that_holds_them(kind):
    grid, layer = int8.affine(-1.0, 3.0), nn.Linear(3, 2)
    x = torch.tensor([[-1.0, -0.5, 0.0], [1.0, 2.0, 3.0]])
    q, w = int8.quantise(x, grid), int8.symmetric(layer.weight, axis=0)
    assert (int8.dequantise(q.to(kind), grid) - x).abs().max() <= grid.scale / 2 * 1.0001
    assert torch.equal(int8.whole_layer(q.to(kind), layer, grid, w, grid), int8.whole_layer(q, layer, grid, w, grid))


def test_what_no_grid_holds_is_refused():
    with pytest.raises(ValueError, match="low = 3 is above high = 1"):
        int8.affine(3.0, 1.0)
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match="not finite"):
            int8.quantise(torch.tensor([0.0, value]), int8.affine(0.0, 1.0))
    with pytest.raises(ValueError, match="bits is a whole number"):
        int8.affine(0.0, 1.0, bits=True)
    assert int8.affine(0.0, 1.0, bits=np.int64(4)).highest == 15
