"""Networks from timm, torchvision and transformers: `models.wrap` adopts them, `models.pretrained` fetches them."""

import json
import logging
import shutil
import socket
import sys
from functools import cache
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from kdcourse import cost, distillers, models
from kdcourse.core import Batch, total
from kdcourse.files import DataError
from kdcourse.teachers import Teacher

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
transformers = pytest.importorskip("transformers")
huggingface_hub = pytest.importorskip("huggingface_hub")

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
SMALL = {
    "image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 32, "num_labels": 10,
}


def timm_vit(**settings):
    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=16, depth=3, num_heads=2,
                             num_classes=10, **settings)


def transformers_resnet():
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24], depths=[1, 1, 1], layer_type="basic", num_labels=10,
    ))


def transformers_swin():
    return transformers.SwinForImageClassification(transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=10,
    ))


NETWORKS = {
    "transformers_vit": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)),
    "transformers_deit": lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**SMALL)),
    "transformers_swin": transformers_swin,
    "transformers_resnet": transformers_resnet,
    "timm_vit": timm_vit,
    "timm_averaging_vit": lambda: timm_vit(global_pool="avg", class_token=False, fc_norm=False),
    "timm_resnet18": lambda: timm.create_model("resnet18", num_classes=10),
    "timm_resnetv2_50": lambda: timm.create_model("resnetv2_50", num_classes=10),
    "timm_mobilenetv2_100": lambda: timm.create_model("mobilenetv2_100", num_classes=10),
    "timm_channels_last": lambda: timm.create_model("test_mambaout", num_classes=10),
    "timm_small": lambda: timm.create_model("test_resnet", num_classes=10),
    "torchvision_resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "torchvision_mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=10),
}
INSISTING = ("transformers_vit", "transformers_deit", "transformers_swin", "timm_vit", "timm_averaging_vit")
AVERAGING = [name for name in NETWORKS if name not in (
    "transformers_vit", "transformers_deit", "timm_vit", "timm_channels_last",
)]
STUDENTS = ("timm_resnet18", "timm_resnetv2_50", "timm_mobilenetv2_100", "torchvision_resnet18")
every_network = pytest.mark.parametrize("name", NETWORKS)


def make(name, seed=0):
    """A fresh one, in eval mode, with moved batch statistics, so that the modes differ."""
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return models.wrap(network.eval(), mean=MEAN, std=STD, size=32 if name in INSISTING else None)


@cache
def shared(name):
    """One for the tests that change nothing about it."""
    return make(name)


def images(n=2, shape=(3, 64, 64)):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def seen_by(wrapped, x):
    """The images as the network itself gets them, with the words of the papers."""
    if wrapped.size and x.shape[-1] != wrapped.size:
        x = F.interpolate(x, (wrapped.size, wrapped.size), mode="bicubic", antialias=True).clamp(0, 1)
    return torchvision.transforms.functional.normalize(x, MEAN, STD)


def logits(network, x):
    with torch.no_grad():
        return network.eval()(x)


def as_map(tokens, h, w):
    """Tokens of patches, row by row, as a map: written out."""
    f = torch.empty(len(tokens), tokens.shape[2], h, w)
    for row in range(h):
        for column in range(w):
            f[:, :, row, column] = tokens[:, row * w + column]
    return f


# --- wrap: images in, logits out


@every_network
def test_a_wrapped_network_gives_its_own_logits_of_resized_and_normalised_images(name):
    wrapped, x = shared(name), images()
    z = wrapped.network(seen_by(wrapped, x))
    torch.testing.assert_close(logits(wrapped, x), getattr(z, "logits", z).detach())
    assert logits(wrapped, x).shape == (2, 10)


def test_a_vit_that_insists_on_its_size_gets_it():
    wrapped, x = shared("transformers_vit"), images(shape=(3, 16, 16))
    with pytest.raises(ValueError):
        wrapped.network(x)
    assert logits(wrapped, x).shape == (2, 10)


def test_wrap_resizes_bicubically_stays_in_range_and_leaves_the_right_size_alone():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.flatten(1)

    wrapped = models.wrap(Spy(), mean=(0.0,), std=(1.0,), size=8)
    x = images(2, (1, 8, 8)).round()  # hard edges, which bicubic interpolation overshoots
    wrapped(x), wrapped(x[..., :4, :4]), wrapped(torch.full((1, 1, 5, 3), 0.25))
    assert torch.equal(seen[0], x)
    assert seen[1].shape == (2, 1, 8, 8) and seen[1].min() >= 0 and seen[1].max() <= 1
    torch.testing.assert_close(seen[2], torch.full((1, 1, 8, 8), 0.25))


def test_wrap_shows_grey_images_to_a_network_for_colours():
    wrapped = models.wrap(nn.Flatten(), mean=(0.5, 0.4, 0.3), std=(1.0, 1.0, 1.0))
    assert torch.allclose(wrapped(torch.full((1, 1, 1, 1), 0.5)), torch.tensor([[0.0, 0.1, 0.2]]))


@pytest.mark.parametrize("output, named", [((1, 2), "tuple"), ({"hidden": 1}, "dict"), (None, "NoneType")])
def test_wrap_says_what_came_instead_of_logits(output, named):
    class Features(nn.Module):
        def forward(self, x):
            return output

    with pytest.raises(TypeError, match=f"Features returned a {named}, in which there are no logits"):
        models.wrap(Features(), mean=(0.0,), std=(1.0,))(images())


# --- answer: the features


@every_network
def test_an_answer_has_the_logits_of_a_plain_call_and_no_maps(name):
    wrapped, x = shared(name), images()
    with torch.no_grad():
        answer, features = wrapped.answer(x), wrapped.features(x)
    assert torch.equal(answer.z, logits(wrapped, x)) and answer.maps is None
    for f, again in zip(answer.features, features, strict=True):
        assert f.ndim == 4 and torch.equal(f, again)


@pytest.mark.parametrize("name", ["timm_resnet18", "timm_resnetv2_50", "timm_mobilenetv2_100"])
def test_features_of_a_timm_cnn_are_its_intermediates_and_last_what_its_head_averages(name):
    wrapped, x = shared(name), images()
    seen = seen_by(wrapped, x)
    with torch.no_grad():
        *features, last = wrapped.features(x)
        *expected, _ = wrapped.network.forward_intermediates(seen, intermediates_only=True)
        averaged = wrapped.network.forward_head(wrapped.network.forward_features(seen), pre_logits=True)
    assert len(features) == len(expected) == 4
    assert all(torch.equal(f, g) for f, g in zip(features, expected, strict=True))
    torch.testing.assert_close(last.mean(dim=(2, 3)), averaged.flatten(1))


def test_features_of_a_timm_vit_are_its_patches_as_maps_normalised_in_the_last():
    wrapped, x = shared("timm_vit"), images()
    seen = seen_by(wrapped, x)
    with torch.no_grad():
        features, final = wrapped.features(x), wrapped.network.forward_features(seen)
        tokens = wrapped.network.forward_intermediates(seen, intermediates_only=True, output_fmt="NLC")
    assert final.shape == (2, 17, 16) and len(features) == len(tokens) == 3
    for f, sequence in zip(features, [*tokens[:2], final[:, 1:]], strict=True):
        assert torch.equal(f, as_map(sequence, 4, 4))


def test_a_timm_network_with_channels_last_shows_them_first():
    wrapped, x = shared("timm_channels_last"), images()
    with torch.no_grad():
        last, final = wrapped.features(x)[-1], wrapped.network.forward_features(seen_by(wrapped, x))
    assert last.shape == (2, 64, 2, 2)
    assert np.array_equal(last.numpy(), np.moveaxis(final.numpy(), 3, 1))


@pytest.mark.parametrize("name, prefix", [("transformers_vit", 1), ("transformers_deit", 2)])
def test_features_of_a_transformers_vit_are_its_patches_as_maps_normalised_in_the_last(name, prefix):
    wrapped, x = shared(name), images()
    with torch.no_grad():
        out = wrapped.network.base_model(seen_by(wrapped, x), output_hidden_states=True)
        features = wrapped.features(x)
    tokens = [*out.hidden_states[1:-1], out.last_hidden_state]
    assert not torch.allclose(out.hidden_states[-1], out.last_hidden_state)
    assert len(features) == len(tokens) == 3
    for f, sequence in zip(features, tokens, strict=True):
        assert sequence.shape == (2, prefix + 16, 16)
        assert torch.equal(f, as_map(sequence[:, prefix:], 4, 4))


def test_features_of_a_transformers_network_that_has_maps_are_these_maps():
    for name in ("transformers_resnet", "transformers_swin"):
        wrapped, x = shared(name), images()
        with torch.no_grad():
            out = wrapped.network(seen_by(wrapped, x), output_hidden_states=True)
            features = wrapped.features(x)
        maps = getattr(out, "reshaped_hidden_states", None) or out.hidden_states
        assert len(features) == len(maps) - 1
        assert all(torch.equal(f, g) for f, g in zip(features[:-1], maps[1:-1], strict=True))


def test_features_of_a_torchvision_resnet_are_its_four_stages():
    wrapped, x = shared("torchvision_resnet18"), images()
    network = wrapped.network
    with torch.no_grad():
        features = wrapped.features(x)
        f = network.maxpool(network.relu(network.bn1(network.conv1(seen_by(wrapped, x)))))
        for k, shown in enumerate(features, start=1):
            f = network.get_submodule(f"layer{k}")(f)
            assert torch.equal(f, shown)
    assert k == 4


def test_features_of_a_torchvision_network_with_features_are_the_last_at_each_resolution():
    wrapped, x = shared("torchvision_mobilenet_v2"), images()
    with torch.no_grad():
        f, last_at = seen_by(wrapped, x), {}
        for layer in wrapped.network.features:
            f = layer(f)
            last_at[f.shape[2]] = f
        features = wrapped.features(x)
    assert [f.shape[2] for f in features] == [32, 16, 8, 4, 2] == list(last_at)
    assert all(torch.equal(f, last_at[f.shape[2]]) for f in features)


class Tokens(nn.Module):
    """Patches of 8 pixels, row by row, after some tokens that are no patches; the first channel is the patch's mean."""

    def __init__(self, prefix):
        super().__init__()
        self.tokens, self.named = nn.Identity(), nn.Identity()
        self.prefix, self.linear = prefix, nn.Linear(1, 10)

    def forward(self, x):
        patches = F.avg_pool2d(x.mean(dim=1, keepdim=True), 8).flatten(2).transpose(1, 2)
        tokens = self.tokens(torch.cat([torch.full((len(x), self.prefix, 1), 7.0), patches], dim=1))
        self.named((tokens, tokens))
        return self.linear(tokens.mean(dim=1))


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("H, W", [(32, 32), (32, 64), (48, 32)])
def test_tokens_become_a_map_in_the_images_proportions_whatever_stands_before_them(prefix, H, W):
    wrapped = models.wrap(Tokens(prefix), mean=(0.0,) * 3, std=(1.0,) * 3, stages=("tokens",))
    x = images(shape=(3, H, W))
    torch.testing.assert_close(wrapped.features(x)[0], F.avg_pool2d(x.mean(dim=1, keepdim=True), 8))


def test_stages_by_name_are_the_features_in_that_order():
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=10).eval()
    wrapped = models.wrap(network, mean=MEAN, std=STD, stages=("conv5", "stage2"))
    x = images()
    with torch.no_grad():
        last, early = wrapped.features(x)
        f = network.stage2(network.maxpool(network.conv1(seen_by(wrapped, x))))
        assert torch.equal(early, f) and torch.equal(last, network.conv5(network.stage4(network.stage3(f))))
        assert torch.equal(wrapped.answer(x).z, network(seen_by(wrapped, x)))
    assert not any(layer._forward_hooks for layer in network.modules())


def test_a_network_of_which_nothing_is_known_asks_for_its_stages():
    unknown = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10))
    wrapped = models.wrap(unknown, mean=MEAN, std=STD)
    assert logits(wrapped, images()).shape == (2, 10)
    with pytest.raises(ValueError, match=r"stages of a Sequential are is not known: .* wrap\(network, stages="):
        wrapped.answer(images())


def test_stages_that_are_not_there_or_give_no_tensor_are_refused_by_name():
    with pytest.raises(ValueError, match=r"Tokens has no submodule 'token'; at the top it has tokens, named, linear"):
        models.wrap(Tokens(1), mean=MEAN, std=STD, stages=("token",))
    wrapped = models.wrap(Tokens(1), mean=MEAN, std=STD, stages=("tokens", "named"))
    with pytest.raises(ValueError, match="stage 'named' of Tokens gave no tensor"):
        wrapped.answer(images())


@every_network
def test_gradients_flow_through_the_features_to_every_weight_but_the_heads(name):
    wrapped = make(name)
    head = {key for key, _ in wrapped.named_parameters()} - {
        f"network.{key}" for key, _ in wrapped.encoder().network.network.named_parameters()
    }
    sum((f * torch.randn_like(f)).sum() for f in wrapped.train().features(images(4))).backward()
    without = {key for key, parameter in wrapped.named_parameters() if parameter.grad is None}
    assert head <= without
    assert without == head or name == "timm_channels_last"  # which has a norm in its head


@every_network
def test_shape_is_what_the_network_can_be_asked_about(name):
    wrapped = shared(name)
    assert wrapped.shape == ((3, 32, 32) if name in INSISTING else (3, 64, 64))
    of_black = models.probe(wrapped)
    assert [f.shape[1:] for f in of_black.features] == [f.shape[1:] for f in wrapped.features(images())]


# --- head and encoder


@pytest.mark.parametrize("name", AVERAGING)
def test_head_of_the_last_feature_is_the_network_where_it_averages(name):
    wrapped, x = shared(name), images()
    with torch.no_grad():
        z, features, _ = wrapped.answer(x)
        embedded = wrapped.embed(features[-1])
        assert np.allclose(embedded, features[-1].numpy().mean(axis=(2, 3)), atol=1e-6)
        torch.testing.assert_close(wrapped.head(features[-1]), z)
        torch.testing.assert_close(wrapped.linear(embedded), z)


def test_a_head_that_is_a_convolution_learns_through_linear():
    wrapped = make("timm_resnetv2_50")
    assert isinstance(wrapped.network.get_classifier(), nn.Conv2d)
    wrapped.linear(torch.ones(2, 2048)).sum().backward()
    assert wrapped.network.get_classifier().weight.grad.eq(2).all()


@pytest.mark.parametrize("zeroed", [False, True])
@pytest.mark.parametrize("name", ["transformers_vit", "transformers_deit", "timm_vit", "timm_channels_last"])
def test_a_head_that_reads_something_else_is_refused_even_if_it_is_zero(name, zeroed):
    wrapped = make(name)
    if zeroed:
        last = getattr(wrapped.network, "classifier", None) or wrapped.network.get_classifier()
        nn.init.zeros_(last.weight), nn.init.zeros_(last.bias)
    with pytest.raises(ValueError, match=rf"{type(wrapped.network).__name__} .* class token.* SimKD cannot reuse"):
        wrapped.head(wrapped.features(images())[-1])


def test_a_network_whose_logits_come_from_no_single_layer_is_refused():
    wrapped = models.wrap(nn.Sequential(nn.Conv2d(3, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Tanh()),
                          mean=MEAN, std=STD, stages=("0",), name="the odd one")
    with pytest.raises(ValueError, match="the odd one has no linear layer whose output is its logits"):
        _ = wrapped.linear


@pytest.mark.parametrize("name", ["timm_resnet18", "transformers_vit"])
def test_looking_for_the_head_leaves_modes_buffers_and_random_numbers_as_they_are(name):
    wrapped = make(name).train()
    next(wrapped.network.children()).eval()
    modes = [module.training for module in wrapped.modules()]
    buffers, state = [buffer.clone() for buffer in wrapped.buffers()], torch.get_rng_state()
    wrapped.encoder()
    assert [module.training for module in wrapped.modules()] == modes and not all(modes)
    assert all(torch.equal(a, b) for a, b in zip(wrapped.buffers(), buffers, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@every_network
def test_the_encoder_is_the_network_up_to_its_last_map_without_the_last_layer(name):
    wrapped, x = shared(name), images()
    encoder = wrapped.encoder()
    with torch.no_grad():
        assert torch.equal(encoder(x), wrapped.features(x)[-1])
    own = {id(parameter) for parameter in wrapped.parameters()}
    assert all(id(parameter) in own for parameter in encoder.parameters())
    width = {"transformers_swin": 16, "transformers_resnet": 24, "timm_channels_last": None}.get(name)
    if name != "timm_channels_last":  # whose head has a hidden layer
        width = width or wrapped.features(x)[-1].shape[1]
        assert cost.parameters(wrapped) - cost.parameters(encoder) == (width + 1) * 10
    assert logits(wrapped, x).shape == (2, 10)  # it still has its head


def test_training_the_encoder_trains_the_network():
    wrapped, x = make("timm_mobilenetv2_100"), images(4)
    before, encoder = logits(wrapped, x), wrapped.encoder().train()
    moved = wrapped.network.bn1.running_mean.clone()
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(x).mean().backward()
    optimiser.step()
    assert not torch.equal(wrapped.network.bn1.running_mean, moved)
    assert not torch.allclose(logits(wrapped, x), before)


# --- in the course's own hands


@pytest.mark.parametrize("teacher", ["transformers_vit", "timm_vit"])
@pytest.mark.parametrize("student", STUDENTS)
def test_a_vit_teaches_a_student_from_elsewhere(teacher, student):
    student, teacher = make(student, seed=1), shared(teacher)
    batch = Batch(images(4), torch.arange(4), torch.arange(4))
    terms = distillers.KD(student, teacher, alpha=1.0).train()(batch)
    total(terms).backward()
    assert terms["kd"].value > 0
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("kind", ["transformers_vit", "timm_vit"])
def test_a_teacher_from_elsewhere_answers_in_half_precision(kind):
    batch = Batch(images(4), torch.arange(4), torch.arange(4))
    whole, half = Teacher(make(kind)).answer(batch), Teacher(make(kind).half()).answer(batch)
    assert half.z.dtype == torch.float32
    torch.testing.assert_close(half.z, whole.z, rtol=0.05, atol=0.02)
    torch.testing.assert_close(half.features[-1], whole.features[-1], rtol=0.05, atol=0.05)


REFUSALS = {
    "ofd": "before",                        # it compares what comes before the activation, which no such network shows
    "simkd": "averaged last map",
    "slkd": "build a fresh network of this kind yourself",  # whose learners are fresh copies of the teacher
}


@pytest.mark.parametrize("name", distillers.METHODS)
def test_every_method_works_between_networks_from_elsewhere_or_says_why_not(name):
    student, teacher = make("timm_small", seed=1), make("transformers_vit")
    batch = Batch(images(8), torch.arange(8), torch.arange(8), progress=0.5)
    if name in REFUSALS:
        with pytest.raises((TypeError, ValueError), match=REFUSALS[name]):
            distillers.METHODS[name](student, teacher)(batch)
        return
    terms = distillers.METHODS[name](student, teacher).train()(batch)
    total(terms).backward()
    assert all(term.value.isfinite() for term in terms.values())
    assert any(parameter.grad is not None for parameter in student.parameters())


@pytest.mark.parametrize("name", AVERAGING)
def test_simkd_deploys_the_head_of_a_network_that_averages(name):
    student, teacher = make("timm_small", seed=1), make(name)
    distiller = distillers.SimKD(student, teacher)
    total(distiller.train()(Batch(images(4), torch.arange(4), torch.arange(4)))).backward()
    deployed, f = distiller.deployable().eval(), student.eval().features(images())[-1]
    expected = teacher.head(distiller.projector(f))
    torch.testing.assert_close(deployed(images()), expected)
    assert cost.parameters(deployed) == (
        cost.parameters(student.encoder()) + cost.parameters(distiller.projector) + cost.parameters(teacher.linear)
    )


# --- pretrained: folders


def save_transformers(folder, network, *, statistics=True):
    network.save_pretrained(folder)
    if statistics:
        transformers.ViTImageProcessor(
            image_mean=list(MEAN), image_std=list(STD), size={"height": 32, "width": 32}, resample=3
        ).save_pretrained(folder)
    return folder


@pytest.fixture
def vit_folder(tmp_path):
    """A transformers ViT for 10 classes with the statistics above."""
    return save_transformers(tmp_path / "vit", make("transformers_vit").network)


@pytest.fixture
def headless_folder(tmp_path):
    """A transformers ViT as the ones trained on ImageNet-21k are: with a pooler, without a task."""
    torch.manual_seed(0)
    return save_transformers(tmp_path / "in21k", transformers.ViTModel(transformers.ViTConfig(**SMALL)))


def save_timm(folder, network):
    timm.models.save_for_hf(network, str(folder), safe_serialization=True)
    return folder


def test_a_folder_of_transformers_gives_the_network_that_was_saved(vit_folder):
    network, x = models.pretrained(vit_folder), images()
    assert network.size == 32 and network.fresh_head() == [] and not network.training
    assert network.name == str(vit_folder)
    x = F.interpolate(x, (32, 32), mode="bilinear", antialias=True)
    assert torch.equal(logits(network, x), logits(make("transformers_vit"), x))


def test_weights_stored_in_half_precision_are_used_in_whole(tmp_path):
    network = models.pretrained(save_transformers(tmp_path / "half", make("transformers_vit").network.half()))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["timm_vit", "timm_small", "timm_resnetv2_50"])
def test_a_folder_of_timm_gives_the_network_that_was_saved(name, tmp_path):
    saved = make(name).network
    network = models.pretrained(str(save_timm(tmp_path / "timm", saved)))
    assert network.fresh_head() == [] and not network.training
    assert network.size == (32 if name == "timm_vit" else saved.pretrained_cfg["input_size"][-1])
    x = images(1, (3, network.size, network.size))
    seen = torchvision.transforms.functional.normalize(x, saved.pretrained_cfg["mean"], saved.pretrained_cfg["std"])
    torch.testing.assert_close(logits(network, x), logits(saved, seen))


def test_given_statistics_replace_those_of_the_files_and_missing_ones_are_asked_for(vit_folder):
    given = models.pretrained(vit_folder, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert torch.equal(logits(given, images()), logits(given.network, given._prepared(images())).logits)
    assert torch.equal(given.normalise(images()), images())
    (vit_folder / "preprocessor_config.json").unlink()
    assert models.pretrained(vit_folder, mean=MEAN, std=STD).normalise.mean.flatten().tolist() == pytest.approx(MEAN)
    with pytest.raises(ValueError, match=r"vit: its files do not say how .* normalised .* give mean=... and std="):
        models.pretrained(vit_folder, mean=MEAN)


def test_a_processor_that_does_not_normalise_means_plain_images(vit_folder):
    file = vit_folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_normalize": False}))
    assert torch.equal(models.pretrained(vit_folder).normalise(images()), images())


def test_a_size_is_taken_by_a_network_that_can_and_refused_by_one_that_cannot(vit_folder, tmp_path):
    network = models.pretrained(save_timm(tmp_path / "timm", make("timm_vit").network), size=64)
    assert network.shape == (3, 64, 64) and network.features(images())[-1].shape == (2, 16, 8, 8)
    with pytest.raises(ValueError, match="64"):
        models.pretrained(vit_folder, size=64)(images())


@pytest.mark.parametrize("kind", ["transformers", "timm"])
def test_a_stored_head_is_kept_when_it_fits_and_drawn_from_the_seed_when_not(kind, vit_folder, tmp_path):
    folder = vit_folder if kind == "transformers" else save_timm(tmp_path / "timm", make("timm_vit").network)
    stored, fitting = models.pretrained(folder), models.pretrained(folder, classes=10)
    assert all(torch.equal(a, b) for a, b in zip(stored.parameters(), fitting.parameters(), strict=True))
    state = torch.get_rng_state()
    first, again, other = (models.pretrained(folder, classes=7, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first(images()).shape == (2, 7)
    head = "classifier" if kind == "transformers" else "head"
    assert first.fresh_head() == [f"{head}.weight", f"{head}.bias"] and fitting.fresh_head() == []
    for (key, a), b, c, d in zip(first.network.named_parameters(), *(
        network.parameters() for network in (again, other, stored)
    ), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, d) if key not in first.fresh_head() else a.shape[0] == 7
        assert torch.equal(a, c) == (key != f"{head}.weight") or key == f"{head}.bias"  # which may be zeros


def test_a_network_without_a_head_asks_for_the_number_of_classes_and_gets_one(headless_folder, tmp_path):
    bare = save_timm(tmp_path / "timm", timm.create_model("test_vit", num_classes=0))
    for folder in (headless_folder, bare):
        with pytest.raises(ValueError, match=r"brings no head of its own: say for how many classes="):
            models.pretrained(folder)
        assert len(models.pretrained(folder, classes=3).fresh_head()) == 2
    assert models.pretrained(headless_folder, classes=3).fresh_head() == ["classifier.weight", "classifier.bias"]


def test_a_fresh_head_is_fresh_until_its_first_step_and_cannot_teach_before(headless_folder):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert len(models.pretrained(headless_folder, classes=10).to(dtype).fresh_head()) == 2
    network = models.pretrained(headless_folder, classes=10)
    with pytest.raises(ValueError, match=r"in21k .*classifier\.weight, classifier\.bias"):
        Teacher(network)
    Teacher(network, untrained=True)
    network.requires_grad_(True)
    distiller = distillers.Supervised(network)
    optimiser = torch.optim.SGD(distiller.parameter_groups(), lr=1e-3)
    total(distiller(Batch(images(4), torch.arange(4), torch.arange(4)))).backward()
    assert len(network.fresh_head()) == 2
    optimiser.step()
    assert network.fresh_head() == []
    Teacher(network)


def test_weights_that_a_file_lacks_and_the_logits_do_not_need_are_not_called_fresh(tmp_path):
    saved = transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**SMALL))
    folder = save_transformers(tmp_path / "dino", saved)
    weights = load_file(folder / "model.safetensors")
    del weights["dinov2.embeddings.mask_token"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert models.pretrained(folder).fresh_head() == []
    assert models.pretrained(folder, classes=3).fresh_head() == ["classifier.weight", "classifier.bias"]


def test_transformers_is_silent_while_loading_and_talks_as_before_after_it(headless_folder, capfd):
    class Listener(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    heard, listener, talk = [], Listener(), transformers.utils.logging
    talk.set_verbosity_info()
    talk.add_handler(listener)
    try:
        models.pretrained(headless_folder, classes=3)
        assert heard == [] and capfd.readouterr() == ("", "")
        assert talk.get_verbosity() == talk.INFO and talk.is_progress_bar_enabled()
    finally:
        talk.remove_handler(listener)
        talk.set_verbosity_warning()


def damage(folder, how):
    weights = folder / "model.safetensors"
    if how == "no config":
        (folder / "config.json").unlink()
    elif how == "no network's config":
        (folder / "config.json").write_text("{}")
    elif how == "config cut off":
        (folder / "config.json").write_text("{")
    elif how == "no weights":
        weights.unlink()
    elif how == "weights cut off":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "weights of something else":
        save_file({f"other.{key}": value for key, value in load_file(weights).items()}, weights, {"format": "pt"})
    elif how == "a layer missing":
        kept = {key: value for key, value in load_file(weights).items() if ".2." not in key and "blocks.1." not in key}
        save_file(kept, weights, {"format": "pt"})


@pytest.mark.parametrize("how", [
    "no config", "no network's config", "config cut off", "no weights", "weights cut off", "weights of something else",
    "a layer missing",
])
@pytest.mark.parametrize("kind", ["transformers", "timm"])
def test_a_folder_that_is_not_whole_is_refused_by_name(kind, how, vit_folder, tmp_path):
    folder = vit_folder if kind == "transformers" else save_timm(tmp_path / "timm", make("timm_vit").network)
    damage(folder, how)
    with pytest.raises(DataError, match=f"{folder} holds no whole network"):
        models.pretrained(folder, classes=3)


# --- pretrained: names


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No network, and nothing fetched before: the folder of the hub's cache, and the questions put to the hub."""
    questions = []

    def ask(self, repository, **settings):
        questions.append(repository)
        raise TimeoutError("no answer\nof the hub")

    def ask_about_file(url, **settings):
        questions.append(url)
        raise huggingface_hub.errors.OfflineModeIsEnabled("no network")

    def refuse(*where, **settings):
        raise URLError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # as on a machine that lost its connection
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", ask)
    monkeypatch.setattr(huggingface_hub.file_download, "get_hf_file_metadata", ask_about_file)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub", questions


@pytest.mark.parametrize("name, elsewhere", [
    ("google/vit-base-patch16-224-in21k", "hf download google/vit-base-patch16-224-in21k --local-dir FOLDER"),
    ("google/vit-large-patch16-224-in21k", "hf download google/vit-large-patch16-224-in21k --local-dir FOLDER"),
    ("timm:resnet18", "hf download timm/resnet18.a1_in1k --local-dir FOLDER"),
    ("timm/resnet18.a1_in1k", "hf download timm/resnet18.a1_in1k --local-dir FOLDER"),
    ("torchvision:resnet18", "curl -O https://download.pytorch.org/models/resnet18-"),
])
def test_offline_a_name_gives_a_recipe_after_one_question(name, elsewhere, offline):
    with pytest.raises(DataError) as caught:
        models.pretrained(name, classes=10)
    first, *steps = str(caught.value).splitlines()
    source = name.replace("timm/", "timm:")
    reason = "<urlopen error no network>" if "torchvision" in name else "no answer"
    assert first.startswith(f"{source} is not on this machine and could not be fetched ({reason}).")
    assert [step[:5] for step in steps] == ["  1. ", "  2. ", "  3. "]
    assert elsewhere in steps[1] and "KDCOURSE_PROFILE=quick" in steps[2]
    assert len(offline[1]) == (0 if "torchvision" in name else 1)


def fetched(cache, repository):
    """Where the hub's cache keeps a repository that was fetched."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    return folder / "snapshots" / ("0" * 40)


def test_a_name_that_was_fetched_once_needs_no_network(offline, headless_folder):
    cache, questions = offline
    x, expected = images(), models.pretrained(headless_folder, classes=10)
    shutil.copytree(headless_folder, fetched(cache, "google/vit-base-patch16-224-in21k"))
    network = models.pretrained("google/vit-base-patch16-224-in21k", classes=10)
    assert torch.equal(logits(network, x), logits(expected, x)) and network.name == "google/vit-base-patch16-224-in21k"
    assert network.fresh_head() == ["classifier.weight", "classifier.bias"]
    torch.manual_seed(0)
    saved = timm.create_model("test_resnet").eval()
    save_timm(fetched(cache, "timm/test_resnet.r160_in1k"), saved)
    network, x = models.pretrained("timm:test_resnet"), images(2, (3, 160, 160))
    assert torch.equal(logits(network, x), logits(saved, network.normalise(x)))
    assert models.pretrained("timm:test_resnet", classes=3).fresh_head() == ["fc.weight", "fc.bias"]
    assert questions == []


def test_a_name_of_which_only_a_part_was_fetched_is_asked_for_again(offline, headless_folder):
    cache, questions = offline
    (headless_folder / "preprocessor_config.json").unlink()
    shutil.copytree(headless_folder, fetched(cache, "google/vit-base-patch16-224-in21k"))
    with pytest.raises(DataError, match="could not be fetched"):
        models.pretrained("google/vit-base-patch16-224-in21k", classes=10)
    assert questions == ["google/vit-base-patch16-224-in21k"]


def test_torchvisions_weights_are_found_and_given_a_fresh_head_for_other_classes(offline, tmp_path):
    weights = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    torch.manual_seed(0)
    saved = torchvision.models.squeezenet1_1().eval()
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(saved.state_dict(), tmp_path / "torch" / "hub" / "checkpoints" / weights.url.rpartition("/")[2])
    network, x = models.pretrained("torchvision:squeezenet1_1"), images(1, (3, 224, 224))
    assert network.size == 224 and network.fresh_head() == []
    seen = torchvision.transforms.functional.normalize(x, weights.transforms().mean, weights.transforms().std)
    assert torch.equal(logits(network, x), logits(saved, seen))
    other = models.pretrained("torchvision:squeezenet1_1", classes=10, size=64)
    assert other(images()).shape == (2, 10) and other.size == 64
    assert other.fresh_head() == ["classifier.1.weight", "classifier.1.bias"]
    assert torch.equal(other.network.features[0].weight, saved.features[0].weight)


@pytest.mark.parametrize("name, complaint", [
    ("timm:resnet81", r"timm has no pretrained network called 'resnet81'; the nearest names are: resn"),
    ("timm:resnet18.nope", r"timm has no pretrained network called 'resnet18.nope'.* resnet18\.a"),
    ("torchvision:resnet81", r"torchvision has no pretrained network called 'resnet81'; .* resnet18"),
    ("resnet18", r"'resnet18' is no folder here; write the path of one, timm:NAME, torchvision:NAME, or ORGANISATION/"),
    ("/no/such/folder", r"'/no/such/folder' is no folder here"),
])
def test_a_name_that_nobody_knows_is_refused_with_what_could_be_meant(name, complaint, offline):
    with pytest.raises(ValueError, match=complaint):
        models.pretrained(name, classes=10)
    assert offline[1] == []


def test_a_missing_package_is_named(monkeypatch, vit_folder):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DataError, match=r"timm:resnet18 needs the package timm; run: pip install 'kdcourse\[full\]'"):
        models.pretrained("timm:resnet18")
