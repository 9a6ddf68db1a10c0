"""The networks of the zoo: published sizes, features, modes, seeds; and checkpoints from elsewhere, read with care."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from kdcourse import core, cost, data, metrics, models
from kdcourse.models.base import place_of
from kdcourse.models.resnet import Block

SHAPE = (3, 12, 8)  # not square, so that height and width cannot be confused


@pytest.fixture
def two_threads():
    with core.threads(2):
        yield


NARROW = {"resnet8x4": {"width": 8}, "resnet32x4": {"width": 8}, "resnet110": {"depth": 14}, "resnet50": {"width": 4},
          "wrn_40_1": {"depth": 10}, "wrn_40_2": {"depth": 10}, "vgg8": {"width": 8}, "vgg11": {"width": 8},
          "vgg13": {"width": 8}, "mobilenet_v2": {"width": 0.25}}  # the same stages, built and run in less time
CONVOLUTIONAL = ("resnet", "wrn", "vgg", "mobilenet", "shufflenet")  # their stages end in no vector


def build(name, seed=0):
    return models.build(name, SHAPE, 7, seed=seed, **NARROW.get(name, {}))


def images(n=4, shape=SHAPE):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def logits(network, x):
    with torch.no_grad():
        return network.eval()(x)


@pytest.mark.parametrize("name", models.ZOO)
def test_every_model_gives_a_logit_per_class_in_either_mode(name):
    network = build(name)
    for mode in (True, False):
        z = network.train(mode)(images())
        assert z.shape == (4, 7) and z.dtype == torch.float32 and z.isfinite().all()


@pytest.mark.parametrize("name", models.ZOO)
def test_head_of_the_last_feature_is_the_network(name):
    network, x = build(name).eval(), images()
    features = network.features(x)
    torch.testing.assert_close(network.head(features[-1]), network(x), rtol=0, atol=0)
    torch.testing.assert_close(network.linear(network.embed(features[-1])), network(x), rtol=0, atol=0)
    assert network.embed(features[-1]).shape == (4, network.linear.in_features)


@pytest.mark.parametrize("name", models.ZOO)
def test_features_are_the_activated_maps(name):
    network, x = build(name).eval(), images()
    maps, features = network.maps(x), network.features(x)
    assert len(maps) == len(features) == len(network.stages)
    for k, (before, after) in enumerate(zip(maps, features, strict=True)):
        linear = name == "vit" or (name == "mobilenet_v2" and k < 3)
        assert torch.equal(after, before if linear else before.clamp(min=0))  # ReLU6 does the same up to 6
        assert before.min() < 0


def test_dropout_drops_features_and_not_logits():
    network = models.Classifier((1, 2, 3), [nn.Flatten()], 6, 6, dropout=0.5).train()
    nn.init.eye_(network.linear.weight)
    nn.init.ones_(network.linear.bias)
    z = network.head(torch.full((200, 6), 3.0))
    assert set(z.unique().tolist()) == {1.0, 7.0}  # dropped, or doubled and kept; then the bias
    assert set(network.eval().head(torch.full((2, 6), 3.0)).unique().tolist()) == {4.0}


def test_networks_of_the_assignment_and_the_tutorial_drop_what_their_texts_say():
    stated = {"ece1512_teacher": [0.5, 0.5], "ece1512_student": [], "deepnn": [0.1], "lightnn": [0.1]}
    for name, shares in stated.items():
        layers = models.build(name, (3, 32, 32), 10, seed=0).modules()
        assert [layer.p for layer in layers if isinstance(layer, nn.Dropout) and layer.p] == shares


@pytest.mark.parametrize("name", models.ZOO)
def test_dropout_and_batch_statistics_are_the_only_difference_between_the_modes(name):
    network = build(name)
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode: None
    x = images()
    torch.testing.assert_close(network.train()(x), network.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", models.ZOO)
def test_build_depends_on_the_seed_and_on_nothing_else(name):
    before = torch.get_rng_state()
    first = build(name, 3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(11)
    again, other = (build(name, seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["linear.weight"], other["linear.weight"])


def test_embed_averages_over_the_positions():
    f = images()
    embedded = models.build("resnet8", SHAPE, 7, seed=0).embed(f)
    assert np.allclose(embedded, f.numpy().mean(axis=(2, 3)))
    assert torch.equal(models.build("mlp", SHAPE, 7, seed=0).embed(embedded), embedded)


def test_ece1512_pair_has_the_published_numbers_of_parameters():
    teacher, student = (models.build(name, (1, 28, 28), 10, seed=0) for name in ("ece1512_teacher", "ece1512_student"))
    side = (28 - 2 - 1 - 2) // 2  # conv 3x3, pool 2x2 stride 1, conv 3x3, pool 2x2 stride 2
    by_hand = (9 + 1) * 32 + (9 * 32 + 1) * 64 + (64 * side**2 + 1) * 128 + (128 + 1) * 10
    assert cost.parameters(teacher) == by_hand == 1_011_466
    assert cost.parameters(student) == (784 + 1) * 784 + (784 + 1) * 784 + (784 + 1) * 10 == 1_238_730


@pytest.mark.parametrize("name, published", [
    ("deepnn", 1_186_986), ("lightnn", 267_738), ("resnet20", 269_722), ("resnet32", 464_154), ("resnet56", 853_018),
])
def test_models_for_cifar10_have_the_published_numbers_of_parameters(name, published):
    assert cost.parameters(models.build(name, (3, 32, 32), 10, seed=0)) == published


def test_settings_reach_the_function_that_makes_the_network():
    assert [layer.out_features for layer in models.build("mlp", SHAPE, 7, seed=0, hidden=(5, 6)).modules()
            if isinstance(layer, nn.Linear)] == [5, 6, 7]
    assert models.build("resnet8", SHAPE, 7, seed=0, width=4).linear.in_features == 16


def test_unknown_model_names_the_choices_and_the_nearest():
    with pytest.raises(ValueError, match=r"unknown model 'light'; choose one of: cnn, .*, wrn_40_2 \(.* 'lightnn'"):
        models.build("light", SHAPE, 7, seed=0)


@pytest.mark.parametrize("channels, stride, last", [(8, 1, False), (16, 2, False), (16, 2, True), (12, 2, False)])
@pytest.mark.parametrize("H, W", [(6, 4), (7, 5)])
def test_resnet_block_is_what_the_paper_says_with_shortcut_A(channels, stride, last, H, W):
    block, draw = Block(8, channels, stride, last).eval(), torch.Generator().manual_seed(0)
    for layer in (block.bn1, block.bn2):
        for statistic in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            nn.init.uniform_(statistic, 0.5, 2, generator=draw)
    x = images(3, (8, H, W)) - 0.5

    def normalised(f, layer):
        mean, var, weight, bias = (
            statistic.reshape(1, -1, 1, 1)
            for statistic in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
        )
        return weight * (f - mean) / (var + 1e-5).sqrt() + bias

    f = normalised(F.conv2d(x, block.conv1.weight, stride=stride, padding=1), block.bn1)
    f = normalised(F.conv2d(f * (f > 0), block.conv2.weight, padding=1), block.bn2)
    shortcut = torch.zeros_like(f)
    first = (channels - 8) // 2
    for channel in range(8):
        for row in range(f.shape[2]):
            for column in range(f.shape[3]):
                shortcut[:, first + channel, row, column] = x[:, channel, stride * row, stride * column]
    expected = f + shortcut
    torch.testing.assert_close(block(x), expected if last else expected * (expected > 0), rtol=1e-5, atol=1e-5)


def test_the_gradient_through_a_shortcut_has_the_memory_format_of_the_maps():
    """With another one the steps before it take several times as long."""
    block = Block(8, 16, 2, last=False).to(memory_format=torch.channels_last)
    x = images(3, (8, 6, 6)).to(memory_format=torch.channels_last).requires_grad_()
    [of_shortcut] = torch.autograd.grad(F.avg_pool2d(x, 1, 2).square().sum(), x)
    [gradient] = torch.autograd.grad(block(x).square().sum(), x)
    assert all(g.is_contiguous(memory_format=torch.channels_last) for g in (of_shortcut, gradient))
    kept = of_shortcut != 0
    assert torch.equal(kept[:, :, ::2, ::2], x[:, :, ::2, ::2] != 0) and kept[:, :, ::2, ::2].sum() == kept.sum() > 0


@pytest.mark.parametrize("depth", [2, 7, 18, 21, -4])
def test_resnet_refuses_a_depth_that_is_not_6n_plus_2(depth):
    with pytest.raises(ValueError, match=rf"depth 6n \+ 2 .*, not {depth}$"):
        models.resnet((3, 32, 32), 10, depth=depth)


def test_resnet_of_depth_d_has_d_layers_with_weights():
    network = models.resnet((3, 32, 32), 10, depth=20)
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in network.modules()) == 20


def test_vit_refuses_patches_that_do_not_tile_and_numbers_that_do_not_divide():
    for shape in ((3, 30, 32), (3, 32, 30)):
        with pytest.raises(ValueError, match=f"patches of 4 pixels do not tile images of {shape[1]}x{shape[2]}"):
            models.build("vit", shape, 10, seed=0)
    with pytest.raises(ValueError, match="depth 4 must divide by 3"):
        models.build("vit", (3, 32, 32), 10, seed=0, depth=4)
    with pytest.raises(ValueError, match="width 20 by 3 heads"):
        models.build("vit", (3, 32, 32), 10, seed=0, width=20)


def test_vit_sees_where_a_patch_is_only_by_its_position_embedding():
    network = models.build("vit", (1, 8, 8), 5, seed=0, width=12)
    x = images(4, (1, 8, 8))
    swapped = torch.cat([x[..., 4:], x[..., :4]], dim=3)  # the left patches and the right ones
    assert not torch.allclose(logits(network, x), logits(network, swapped), atol=1e-3)
    nn.init.zeros_(dict(network.named_parameters())["stages.0.0.position"])
    torch.testing.assert_close(logits(network, x), logits(network, swapped), rtol=1e-4, atol=1e-5)


def test_normalise_subtracts_the_mean_and_divides_by_the_standard_deviation():
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    x = images()
    expected = (x.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert np.allclose(models.Normalise(mean, std)(x), expected, atol=1e-6)
    network = models.resnet(SHAPE, 7, depth=8, normalise=models.Normalise(mean, std))
    z = logits(network, x)
    network.normalise = nn.Identity()
    torch.testing.assert_close(z, logits(network, torch.as_tensor(expected).float()))


def save_foreign(path, kind):
    """A file that is no CIFAR ResNet."""
    if kind == "text":
        path.write_text("<html>404: not found</html>")
    elif kind == "a zip file cut off":
        torch.save({"state_dict": models.build("mlp", SHAPE, 7, seed=0).state_dict()}, path)
        path.write_bytes(path.read_bytes()[:1000])
    elif kind == "a tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "a perceptron":
        torch.save(models.build("mlp", SHAPE, 7, seed=0).state_dict(), path)
    elif kind == "torchvision's resnet18":
        import torchvision

        torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), path)


@pytest.mark.parametrize("kind", ["text", "a zip file cut off", "a tensor", "a perceptron", "torchvision's resnet18"])
def test_trained_resnet_refuses_another_file_by_name(tmp_path, kind):
    path = tmp_path / "resnet20.th"
    save_foreign(path, kind)
    with pytest.raises(ValueError, match=r"resnet20\.th"):
        models.trained_resnet(path)


def test_trained_resnet_reads_depth_weights_and_statistics_from_the_names_of_that_repository(tmp_path):
    original = models.build("resnet20", (3, 32, 32), 10, seed=0, depth=14)
    draw = torch.Generator().manual_seed(0)
    for layer in original.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1, generator=draw)
            nn.init.uniform_(layer.running_var, 0.05, 0.2, generator=draw)
    state = {}
    for (stage, blocks), layer in zip(enumerate(original.stages), ("layer1", "layer2", "layer3"), strict=True):
        if stage == 0:
            state |= {f"conv1.{key}": value for key, value in blocks[0][0].state_dict().items()}
            state |= {f"bn1.{key}": value for key, value in blocks[0][1].state_dict().items()}
            blocks = blocks[1:]
        for k, block in enumerate(blocks):
            state |= {f"{layer}.{k}.{key}": value for key, value in block.state_dict().items()}
    state |= {f"linear.{key}": value for key, value in original.linear.state_dict().items()}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "resnet14.th")
    network = models.trained_resnet(tmp_path / "resnet14.th")
    assert not network.training
    x = images(2, (3, 32, 32))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    z = logits(original, (x - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1))
    assert z.std(dim=0).mean() > 0.01  # the two images differ to this network
    torch.testing.assert_close(logits(network, x), z, rtol=1e-4, atol=1e-5)


def cifar10(folder):
    """Its first 500 training images and all test images, from contact sheets of 50 rows of 100 images."""
    def sheet(name):
        pixels = np.asarray(Image.open(folder / name).convert("RGB"))
        return pixels.reshape(50, 32, 100, 32, 3).transpose(0, 2, 4, 1, 3).reshape(5000, 3, 32, 32)

    index = np.load(folder / "index.npz")
    x, y = sheet("train_00.webp")[:500], index["train_labels"][:500]
    test = np.concatenate([sheet("test_00.webp"), sheet("test_01.webp")]), index["test_labels"]
    return data.from_arrays("cifar10", x, y, classes=[str(name) for name in index["classes"]], valid=0.1, test=test)


@pytest.mark.parametrize("file, right", [("resnet20-12fca82f", 9173), ("resnet32-d509ac18", 9263),
                                         ("resnet56-4bfd9763", 9339)])
def test_trained_resnets_are_as_accurate_on_cifar10_as_measured_elsewhere(
    file, right, real_data, two_threads, touched, request
):
    test = cifar10(real_data / "cifar10").test
    assert test.y.bincount().tolist() == [1000] * 10
    whole = "resnet20" in file and touched("kdcourse/models/", "kdcourse/data/", "kdcourse/metrics.py")
    if not whole and not request.config.getoption("--thorough"):
        test = test.take(torch.arange(600), "600")  # all would take minutes: three standard errors are 3 points
    network = models.trained_resnet(real_data / "resnet_cifar10" / f"{file}.th")
    z = metrics.predict(network.to(memory_format=torch.channels_last), test, batch_size=200)
    most = 2 if len(test) == 10_000 else 350
    assert abs(round(10_000 * metrics.accuracy(z, test.y)) - right) <= most


# images of another shape, settings of another kind


@pytest.mark.parametrize("name", models.ZOO)
@pytest.mark.parametrize("shape", [(1, 12, 8), (3, 8, 12), (3, 6, 16), (3, 28, 28)])
def test_images_of_another_shape_are_refused_with_both_shapes_or_give_logits(name, shape):
    network, x = build(name).eval(), images(2, shape)
    if name.startswith(CONVOLUTIONAL) and shape[0] == 3:  # which takes any height and width
        assert logits(network, x).shape == (2, 7)
        return
    made, found = (rf"{'x'.join(map(str, sides))}(?!\d)" for sides in ((3, 12, 8), shape))
    either = rf"{made} .*{found}|images of 12x8 pixels, and these are {shape[1]}x{shape[2]}"
    for ask in (network, network.answer, network.features, network.maps, network.encoder()):
        with pytest.raises(ValueError, match=either):
            ask(x)


@pytest.mark.parametrize("name", models.ZOO)
def test_one_image_without_its_batch_is_refused(name):
    with pytest.raises(ValueError, match=r"takes a batch of images \(B, 3, 12, 8\); this has shape \(3, 12, 8\)"):
        build(name)(images()[0])


def test_grey_images_are_shown_to_a_network_that_normalises_colours():
    network = models.resnet(SHAPE, 7, depth=8, normalise=models.Normalise((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    grey = images(4, (1, 12, 8))
    assert torch.equal(logits(network, grey), logits(network, grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("hidden, example", [(32, "(32,)"), ((), "(64, 32)"), ("32", "(64, 32)"), (None, "(64, 32)")])
def test_hidden_widths_that_are_no_sequence_are_refused_with_the_right_call(hidden, example):
    with pytest.raises(ValueError, match=rf"such as hidden={re.escape(example)}; it is {re.escape(repr(hidden))}"):
        models.build("mlp", SHAPE, 7, seed=0, hidden=hidden)


@pytest.mark.parametrize("name, settings, has", [
    ("mlp", {"width": 8}, "hidden"), ("cnn", {"hidden": (8,)}, "width"), ("deepnn", {"width": 8}, "none"),
    ("vit", {"heds": 2}, "depth, width, heads, patch"),
])
def test_a_setting_that_a_network_does_not_have_names_those_it_has(name, settings, has):
    with pytest.raises(ValueError, match=f"{name} has no setting '{next(iter(settings))}'; it has {has}"):
        models.build(name, SHAPE, 7, seed=0, **settings)


@pytest.mark.parametrize("shape, classes, complaint", [
    (28, 10, "shape is .channels, height, width., as in source.shape; it is 28"), ((28, 28), 10, "it is .28, 28."),
    ((3, 0, 8), 10, "it is .3, 0, 8."), ((3, 12.0, 8), 10, "it is .3, 12.0, 8."),
    (SHAPE, ("a", "b"), "classes is how many there are, as in len.source.classes."), (SHAPE, 0, "it is 0"),
    (SHAPE, None, "it is None"), (SHAPE, 2.0, "it is 2.0"),
])
def test_a_shape_or_a_number_of_classes_that_is_none_is_refused(shape, classes, complaint):
    with pytest.raises(ValueError, match=complaint):
        models.build("mlp", shape, classes, seed=0)


PREFIXES = {
    "plain": lambda key: key,
    "DataParallel": "module.{}".format,
    "compiled": "_orig_mod.{}".format,
    "compiled in DataParallel": "module._orig_mod.{}".format,
    "DataParallel, compiled": "_orig_mod.module.{}".format,
    "blocks compiled": lambda key: re.sub(r"^(layer\d)\.(\d+)\.", r"\1.\2._orig_mod.", key),
}
BESIDE = {
    "nothing": {}, "a number": {"best_prec1": np.float64(91.2)}, "whole numbers": {"epoch": np.int64(3)},
    "an array": {"curve": np.array([0.5, 0.25])}, "deeper": {"log": [{"lr": np.float32(0.1), "done": np.bool_(True)}]},
}


def checkpoint_of(network, rename):
    """Its weights by the names of pytorch_resnet_cifar10, then renamed."""
    state = {}
    for key, value in network.state_dict().items():
        key = re.sub(r"^stages\.0\.0\.0\.", "conv1.", key)
        key = re.sub(r"^stages\.0\.0\.1\.", "bn1.", key)
        key = re.sub(r"^stages\.0\.(\d+)\.", lambda found: f"layer1.{int(found[1]) - 1}.", key)
        state[rename(re.sub(r"^stages\.([12])\.", lambda found: f"layer{int(found[1]) + 1}.", key))] = value
    return state


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("bare", [False, True])
def test_a_checkpoint_is_read_whatever_wrapper_named_its_weights(prefix, bare, tmp_path):
    original = models.build("resnet8", (3, 32, 32), 10, seed=0)
    state = checkpoint_of(original, PREFIXES[prefix])
    torch.save(state if bare else {"state_dict": state}, tmp_path / "resnet8.th")
    found = models.trained_resnet(tmp_path / "resnet8.th").state_dict()
    assert all(torch.equal(found[key], value) for key, value in original.state_dict().items())


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("core", ["_core", "core"])
def test_what_numpy_left_beside_the_weights_is_no_reason_to_refuse_them(beside, core, tmp_path):
    path, state = tmp_path / "resnet8.th", checkpoint_of(models.build("resnet8", (3, 32, 32), 10, seed=0), str)
    torch.save({"state_dict": state} | BESIDE[beside], path, _use_new_zipfile_serialization=False)
    if core == "core":  # as NumPy wrote it before its version 2
        path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert models.trained_resnet(path).linear.out_features == 10


class Dropping:
    """What would run code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(tmp_path):
    state = checkpoint_of(models.build("resnet8", (3, 32, 32), 10, seed=0), str)
    torch.save({"state_dict": state, "extra": Dropping(str(tmp_path / "dropped"))}, tmp_path / "resnet8.th")
    with pytest.raises(ValueError, match=r"resnet8\.th is no checkpoint"):
        models.trained_resnet(tmp_path / "resnet8.th")
    assert not (tmp_path / "dropped").exists()


def test_a_class_goes_by_any_of_its_names_in_any_spelling():
    known = ["tench, Tinca tinca", "great_white shark", "crane", "crane, bird"]
    assert place_of("Tench", known) == place_of("tinca-tinca", known) == [0]
    assert place_of("Great-White Shark", known) == [1] and place_of("shark", known) == []
    assert place_of("crane", known) == [2] and place_of("bird", known) == [3]
