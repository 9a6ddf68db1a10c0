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
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from kdcourse import cost, data, distillers, models, train
from kdcourse.core import Batch, Term, total
from kdcourse.files import DataError
from kdcourse.models import processors
from kdcourse.models.pretrained import _used, lacking
from kdcourse.models.wrap import adopted
from kdcourse.teachers import LogitBank, Teacher

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


# --- what an image processor of transformers does to an image

SIDE32 = {"height": 32, "width": 32}
FOLLOWED = {
    "vit": ("ViT", {"size": SIDE32}),
    "vit bicubic": ("ViT", {"size": SIDE32, "resample": 3}),
    "vit nearest": ("ViT", {"size": SIDE32, "resample": 0}),
    "one number for every channel": ("ViT", {"size": SIDE32, "image_mean": 0.4, "image_std": 0.2}),
    "values of bytes": ("ViT", {"size": SIDE32, "do_rescale": False, "do_normalize": False}),
    "statistics of bytes": ("ViT", {"size": SIDE32, "do_rescale": False, "image_mean": [120.0, 110.0, 100.0],
                                    "image_std": [60.0, 50.0, 40.0]}),
    "from 0 to 2": ("ViT", {"size": SIDE32, "rescale_factor": 1 / 127.5, "do_normalize": False}),
    "as they come": ("ViT", {"do_resize": False}),
    "only cut": ("Bit", {"do_resize": False, "crop_size": 40}),
    "cut wider than it is": ("Bit", {"size": {"shortest_edge": 30}, "crop_size": 50}),
    "shorter edge, then cut": ("Bit", {"size": {"shortest_edge": 40}, "crop_size": 32}),
    "shorter edge": ("Bit", {"size": {"shortest_edge": 40}, "do_center_crop": False}),
    "warped, then cut": ("DeiT", {"size": {"height": 40, "width": 40}, "crop_size": 32}),
    "normalised twice": ("EfficientNet", {"size": SIDE32}),
    "normalised once": ("EfficientNet", {"size": SIDE32, "include_top": False}),
    "only divided": ("EfficientNet", {"size": SIDE32, "do_normalize": False, "image_std": [0.5, 0.6, 0.7]}),
    "from -1 to 1": ("EfficientNet", {"size": SIDE32, "include_top": False, "do_normalize": False,
                                      "rescale_offset": True, "rescale_factor": 1 / 127.5}),
    "from -1 to 1, normalised": ("EfficientNet", {"size": SIDE32, "rescale_offset": True, "rescale_factor": 1 / 127.5,
                                                  "image_mean": [0.0, 0.1, 0.2], "image_std": [1.0, 0.9, 0.8]}),
    "blue first": ("MobileViT", {"size": {"shortest_edge": 40}, "crop_size": 32}),
    "convnext below 384": ("ConvNext", {"size": {"shortest_edge": 32}}),
    "convnext from 384": ("ConvNext", {"size": {"shortest_edge": 384}}),
    "poolformer": ("PoolFormer", {"size": {"shortest_edge": 36}, "crop_size": 36}),
    "levit": ("Levit", {"size": {"shortest_edge": 28}, "crop_size": 28}),
    "clip": ("CLIP", {"size": {"shortest_edge": 36}, "crop_size": 32}),
}
REFUSED = {  # and the field that is named
    "padded": ("ViT", {"size": SIDE32, "do_pad": True, "pad_size": {"height": 40, "width": 40}}, "do_pad = True"),
    "unheard of": ("ViT", {"size": SIDE32, "do_sharpen": True}, "do_sharpen = True"),
    "thumbnails": ("Donut", {}, "do_thumbnail = True"),
    "no square": ("ViT", {"size": {"height": 32, "width": 40}}, "size = .*'width': 40"),
    "no square cut": ("Bit", {"crop_size": {"height": 32, "width": 40}}, "crop_size = .*40"),
    "two edges": ("Bit", {"size": {"shortest_edge": 40, "longest_edge": 50}}, "size = .*longest_edge"),
    "lanczos": ("ViT", {"size": SIDE32, "resample": 1}, "resample = 1"),
    "blue first, by code": ("PPLCNet", {"crop_size": SIDE32}, "PPLCNetImageProcessor makes .* of the colour"),
    "cut, then resized": ("Perceiver", {}, "PerceiverImageProcessor makes another image of 48x48"),
    "patches": ("Siglip2", {}, "size = {}|Siglip2ImageProcessor makes no image"),
    "wrong units": ("ViT", {"size": SIDE32, "image_mean": [120.0] * 3}, "image_mean and image_std"),
    "no statistics": ("ViT", {"size": SIDE32, "image_std": [0.0, 1.0, 1.0]}, "image_std"),
}


def processor_of(kind, settings):
    return getattr(transformers, f"{kind}ImageProcessor")(**settings)


def picture(H, W, seed=0):
    """Noise of the hardest contrast, (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def as_images(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("H, W", [(32, 32), (48, 48), (30, 51)])
@pytest.mark.parametrize("name", FOLLOWED)
def test_an_image_is_resized_cut_and_normalised_as_its_image_processor_does(name, H, W):
    processor = processor_of(*FOLLOWED[name])
    normalise = processors.normalisation(processor)
    resize = processors.geometry(processor) or nn.Identity()
    theirs = processor(Image.fromarray(picture(H, W)), return_tensors="pt")["pixel_values"].float()
    ours = normalise(resize(as_images(picture(H, W))))
    one_level = (normalise(torch.ones(1, 3, 1, 1)) - normalise(torch.zeros(1, 3, 1, 1))).abs() / 255
    assert ours.shape == theirs.shape and theirs.std() > 0
    assert ((ours - theirs).abs() / one_level).max() < 2.1  # each rounds to whole levels


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_course_does_not_do_to_images_is_refused_by_the_name_of_the_field(name):
    kind, settings, field = REFUSED[name]
    with pytest.raises(ValueError, match=field) as refused:
        processor = processor_of(kind, settings)
        processors.normalisation(processor), processors.geometry(processor)
    assert "=... to pretrained yourself" in str(refused.value) or "give mean=" in str(refused.value)


def test_a_field_that_is_switched_off_or_speaks_of_labels_is_no_reason_to_refuse():
    for settings in ({"do_sharpen": False}, {"do_sharpen": None}, {"do_convert_rgb": True}, {"do_reduce_labels": True}):
        processor = processor_of("ViT", {"size": SIDE32} | settings)
        assert processors.geometry(processor).side == 32 and processors.normalisation(processor).mean.max() == 0.5


def test_a_processor_that_does_something_else_than_its_fields_say_is_found_out():
    class Inverting(transformers.ViTImageProcessor):
        def normalize(self, image, *statistics, **settings):
            return -super().normalize(image, *statistics, **settings)

    class Turning(transformers.ViTImageProcessor):
        def resize(self, image, *where, **settings):
            return super().resize(image, *where, **settings).flip(-1)

    with pytest.raises(ValueError, match=r"Inverting makes .* of the colour"):
        processors.normalisation(Inverting(size=SIDE32))
    with pytest.raises(ValueError, match="Turning makes another image"):
        processors.geometry(Turning(size=SIDE32))


def save_processor(folder, kind, settings):
    (folder / "preprocessor_config.json").unlink(missing_ok=True)
    processor_of(kind, settings).save_pretrained(folder)


@pytest.mark.parametrize("name", ["vit", "normalised twice", "warped, then cut", "blue first", "convnext below 384"])
def test_a_folder_with_such_a_processor_gives_the_logits_of_what_the_processor_makes(name, vit_folder):
    save_processor(vit_folder, *FOLLOWED[name])
    network, processor = models.pretrained(vit_folder), processor_of(*FOLLOWED[name])
    seen = processor(Image.fromarray(picture(60, 60)), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(logits(network, as_images(picture(60, 60))), logits(network.network, seen).logits,
                               rtol=0.02, atol=5e-3)
    assert network.shape == (3, 32, 32) and network.size == 32


def test_what_is_given_takes_the_place_of_what_a_processor_does_and_the_course_does_not(vit_folder):
    save_processor(vit_folder, "ViT", {"size": {"height": 32, "width": 40}, "do_pad": True})
    with pytest.raises(ValueError, match="vit: its image processor says do_pad"):
        models.pretrained(vit_folder)
    with pytest.raises(ValueError, match="vit: its image processor says do_pad"):
        models.pretrained(vit_folder, mean=MEAN, std=STD)
    given = models.pretrained(vit_folder, mean=np.array(MEAN), std=STD, size=32)
    assert torch.equal(logits(given, images()), logits(make("transformers_vit"), images()))


def test_a_network_whose_processor_does_not_resize_says_which_images_it_takes(vit_folder):
    save_processor(vit_folder, "ViT", {"do_resize": False})
    network = models.pretrained(vit_folder)
    assert logits(network, images(shape=(3, 32, 32))).shape == (2, 10) and models.probe(network).z.shape == (1, 10)
    with pytest.raises(ValueError, match=r"vit is made for images of 3x32x32 .*, and these are 3x64x64"):
        network(images())


def test_recordings_of_one_network_that_sees_its_images_in_two_ways_are_kept_apart():
    network = make("transformers_vit").network
    ways = [models.Resize(32), models.Resize(32, mode="bilinear"), models.Resize(32, as_bytes=True),
            models.Resize(40, crop=32), models.Resize(40, crop=32, shortest=True), models.Resize(36, crop=32)]
    normalise = models.Normalise(MEAN, STD)
    keys = {Teacher(adopted(network, normalise, way)).key() for way in ways}
    keys.add(Teacher(adopted(network, models.Normalise(MEAN, STD, flipped=True), ways[0])).key())
    keys.add(Teacher(adopted(network, normalise, ways[0], classes=[1, 0, *range(2, 10)])).key())
    assert len(keys) == len(ways) + 2
    assert Teacher(models.wrap(network, mean=MEAN, std=STD, size=32)).key() in keys


@pytest.mark.parametrize("H, W", [(9, 9), (12, 7), (5, 5), (6, 12)])
def test_the_middle_is_what_torchvision_cuts_out(H, W):
    x = images(2, (3, H, W))
    assert torch.equal(models.Resize(None, crop=8)(x), torchvision.transforms.functional.center_crop(x, 8))


@pytest.mark.parametrize("report, expected", [
    ({"missing_keys": ["head.weight"], "mismatched_keys": [("head.bias", (3,), (2,))]}, {"head.weight", "head.bias"}),
    ({"missing_keys": {"head.weight"}, "mismatched_keys": {("head.bias", (3,), (2,))}}, {"head.weight", "head.bias"}),
    ({"missing_keys": ["head.weight"], "mismatched_keys": ["head.bias"]}, {"head.weight", "head.bias"}),
    ({"missing_keys": []}, set()),
], ids=["transformers 4", "transformers 5", "only names", "nothing"])
def test_drawn_parameters_are_read_from_the_report_of_either_version_of_transformers(report, expected):
    assert lacking(report) == expected


@pytest.mark.parametrize("as_in", [list, set])
def test_a_fresh_head_is_named_whether_missing_keys_are_a_list_or_a_set(as_in, headless_folder, monkeypatch):
    original = transformers.AutoModelForImageClassification.from_pretrained

    def reporting(*where, **settings):
        network, report = original(*where, **settings)
        return network, dict(report) | {"missing_keys": as_in(report["missing_keys"])}

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", reporting)
    fresh = models.pretrained(headless_folder, classes=3).fresh_head()
    assert fresh == ["classifier.weight", "classifier.bias"]


# --- statistics, sizes and shapes that do not fit


@pytest.mark.parametrize("mean, std, complaint", [
    ([123.7, 116.3, 103.5], [58.4, 57.1, 57.4], r"mean is that of images in \[0, 1\].* units of bytes: divide"),
    ([0.5, 0.5, 0.5], [58.4, 57.1, 57.4], r"std is that of images in \[0, 1\].* units of bytes"),
    ([0.5, 0.5, 0.5], [0.2, 0.0, 0.2], "more than 0; it is"),
    ([0.5], [-0.2], "more than 0"),
    ([-0.5], [0.2], r"mean is that of images in \[0, 1\]"),
    ([float("nan")], [0.2], "mean is that"),
    ([0.5], [float("nan")], "std is that"),
    ([0.5], [float("inf")], "std is that"),
    ([0.5] * 3, [0.2], "number per channel each; there are 3 and 1"),
    (0.5, 0.2, "mean is a sequence of numbers, one per channel"),
    ([], [], "mean is a sequence"),
])
def test_statistics_that_are_not_those_of_images_in_0_to_1_are_refused(mean, std, complaint, vit_folder):
    for ask in (lambda: models.wrap(nn.Flatten(), mean=mean, std=std), lambda: models.Normalise(mean, std),
                lambda: models.pretrained(vit_folder, mean=mean, std=std)):
        with pytest.raises(ValueError, match=complaint):
            ask()


@pytest.mark.parametrize("size", [0, -3, 2.5, "224", True, (32, 32)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="size is a height and width in pixels, at least 1; it is"):
        models.wrap(nn.Flatten(), mean=MEAN, std=STD, size=size)


@pytest.mark.parametrize("name", ["transformers_vit", "timm_resnet18", "torchvision_resnet18"])
def test_a_network_from_elsewhere_names_both_shapes_when_the_channels_do_not_fit(name):
    wrapped = shared(name)
    for ask in (wrapped, wrapped.answer):
        with pytest.raises(ValueError, match=r"made for images of 3x.*, and these are 2x64x64"):
            ask(images(shape=(2, 64, 64)))
    with pytest.raises(ValueError, match=r"takes a batch of images \(B, 3, \d+, \d+\); this has shape \(3, 64, 64\)"):
        wrapped(images()[0])


def test_a_mistake_inside_a_network_from_elsewhere_is_not_blamed_on_the_images():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("the moon is full")

    with pytest.raises(RuntimeError, match=r"^the moon is full$"):
        models.wrap(Broken(), mean=MEAN, std=STD)(images())


# --- wrappers, auxiliary heads


WRAPPERS = {
    "DataParallel": nn.DataParallel,
    "Sequential": lambda network: nn.Sequential(nn.Identity(), network),
    "compiled": lambda network: torch.compile(network, backend="eager"),
    "compiled in DataParallel": lambda network: nn.DataParallel(torch.compile(network, backend="eager")),
}


@pytest.mark.parametrize("name", ["transformers_vit", "timm_resnet18", "torchvision_resnet18"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_network_inside_a_wrapper_shows_its_features_and_its_head(wrapper, name):
    plain, x = shared(name), images()
    covered = WRAPPERS[wrapper](plain.network)
    assert models.unwrapped(covered) is plain.network
    wrapped = models.wrap(covered, mean=MEAN, std=STD, size=plain.size).eval()
    assert wrapped.name == plain.name
    with torch.no_grad():
        found, expected = wrapped.answer(x), plain.answer(x)
        assert torch.equal(found.z, expected.z)
        assert all(torch.equal(f, g) for f, g in zip(found.features, expected.features, strict=True))
        assert torch.equal(wrapped.encoder()(x), plain.encoder()(x))


def test_a_sequential_that_does_something_of_its_own_is_no_wrapper():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert models.unwrapped(network) is network
    assert models.unwrapped(nn.Sequential(network)) is network
    assert models.unwrapped(nn.Sequential()) is not None


def test_heads_that_only_help_a_network_train_do_not_count_as_untrained():
    torch.manual_seed(0)
    network = torchvision.models.googlenet(weights=None, num_classes=10, init_weights=False, aux_logits=True)
    heads = [key for key, _ in network.named_parameters() if key.startswith(("fc.", "aux"))]
    assert _used(network, heads, 64) == ["fc.weight", "fc.bias"] and len(heads) > 2 and network.training


def test_googlenet_gets_a_fresh_head_for_other_classes(offline, tmp_path):
    weights = torchvision.models.get_model_weights("googlenet").DEFAULT
    torch.manual_seed(0)
    saved = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(saved.state_dict(), tmp_path / "torch" / "hub" / "checkpoints" / weights.url.rpartition("/")[2])
    network = models.pretrained("torchvision:googlenet", classes=10, size=64)
    assert network.fresh_head() == ["fc.weight", "fc.bias"] and network(images()).shape == (2, 10)
    assert models.pretrained("torchvision:googlenet").classes == tuple(weights.meta["categories"])


# --- the names of the classes


ANIMALS = ("cat", "dog", "great_white shark", "tench, Tinca tinca")


def named_vit(names=ANIMALS):
    """A transformers ViT that knows its classes."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SMALL | {"num_labels": len(names)}, id2label=dict(enumerate(names)))
    return transformers.ViTForImageClassification(config).eval()


def adopt(network, classes=None):
    return models.wrap(network, mean=MEAN, std=STD, size=32, classes=classes)


@pytest.mark.parametrize("classes, rows", [
    (ANIMALS, [0, 1, 2, 3]),
    (("dog", "cat"), [1, 0]),
    (("Tench", "Great White Shark", "CAT"), [3, 2, 0]),
    (("Tinca tinca", "great-white-shark"), [3, 2]),
    ([2, 0], [2, 0]),
    (np.array([3, 1]), [3, 1]),
])
def test_classes_choose_the_logits_and_their_order_by_name_or_by_number(classes, rows):
    network, x = named_vit(), images()
    whole, chosen = adopt(network), adopt(network, classes)
    assert torch.equal(logits(chosen, x), logits(whole, x)[:, rows])
    assert torch.equal(chosen.answer(x).z, logits(chosen, x)) and chosen.answer(x).features[-1].shape[1] == 16
    assert whole.classes == ANIMALS and len(chosen.classes) == len(rows)
    assert torch.equal(chosen.encoder()(x), whole.encoder()(x))


def test_the_head_of_chosen_classes_is_reused_with_these_classes():
    whole = models.wrap(make("torchvision_resnet18").network, mean=MEAN, std=STD)
    chosen = models.wrap(whole.network, mean=MEAN, std=STD, classes=[7, 2])
    f = whole.features(images())[-1]
    torch.testing.assert_close(chosen.head(f), whole.head(f)[:, [7, 2]])


@pytest.mark.parametrize("classes, complaint", [
    (("cat", "bird"), r"knows no class 'bird'.* It knows 4, the first are cat, dog"),
    (("cat", "dgo"), r"'dgo'; near it are 'dog'"),
    ({"cat", "dog"}, "list in the order that the logits are to have, not a set"),
    ("cat", "not a str"), (2, "not a int"), ([], "different classes"), (["cat", "cat"], "different classes"),
    (["tench", "Tinca tinca"], "are the same logit"), ([0, 4], "numbered from 0 to 3"), ([-1, 0], "numbered from 0"),
])
def test_classes_that_cannot_be_chosen_are_refused(classes, complaint):
    with pytest.raises(ValueError, match=complaint):
        adopt(named_vit(), classes)


def test_a_name_that_two_classes_bear_is_asked_about_by_number():
    with pytest.raises(ValueError, match=r"knows several classes 'crane': logits \[0, 2\]"):
        adopt(named_vit(("crane", "dog", "crane")), ("crane", "dog"))


def test_a_network_without_names_is_asked_by_number():
    network = make("timm_resnet18").network
    with pytest.raises(ValueError, match="ResNet does not know its classes by name: give the numbers"):
        models.wrap(network, mean=MEAN, std=STD, classes=("cat", "dog"))
    chosen = models.wrap(network, mean=MEAN, std=STD, classes=[3, 1])
    assert logits(chosen, images()).shape == (2, 2) and chosen.classes is None
    with pytest.raises(ValueError, match="gives the logits 0 to 9, and number 10 was chosen"):
        models.wrap(network, mean=MEAN, std=STD, classes=[3, 10])(images())


def test_timm_and_torchvision_tell_the_names_of_their_classes(tmp_path):
    network = timm.create_model("test_resnet", num_classes=4)
    folder = tmp_path / "timm"
    timm.models.save_for_hf(network, str(folder), safe_serialization=True,
                            model_config={"label_names": list(ANIMALS)})
    assert models.pretrained(folder).classes == ANIMALS
    assert models.pretrained(folder, classes=("dog", "cat")).classes == ("dog", "cat")
    assert models.pretrained(folder, classes=3).classes is None


def test_placeholders_are_no_names_but_digits_in_another_order_are():
    assert adopt(named_vit(["LABEL_0", "LABEL_1"])).classes is None
    assert adopt(named_vit("0123")).classes is None
    assert adopt(named_vit("3210")).classes == tuple("3210")


def own(classes, n=24):
    x = np.random.default_rng(0).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    return data.from_arrays("own", x, np.arange(n) % len(classes), classes=classes)


TWISTED = ("dog", "cat", "great white shark", "tench")


@pytest.mark.parametrize("wrapper", [lambda network: network, nn.DataParallel, Teacher])
def test_a_teacher_whose_classes_stand_in_another_order_is_refused_where_it_would_teach(wrapper):
    source = own(TWISTED)
    teacher, student = wrapper(adopt(named_vit())), models.build("resnet8", source.shape, 4, seed=0, width=4)
    for ask in (lambda: LogitBank.record(teacher, source.train),
                lambda: train.fit(distillers.KD(student, teacher), source, epochs=1, lr=1e-3)):
        with pytest.raises(ValueError, match=r"another order.*: logit 0 is that of 'cat', label 0 is 'dog'; .*classes"):
            ask()


def test_reordered_by_name_it_teaches_what_it_knows():
    source, network = own(TWISTED), named_vit()
    bank = LogitBank.record(adopt(network, source.classes), source.train, dtype=torch.float32)
    expected = logits(adopt(network), source.train.x.float() / 255)[:, [1, 0, 2, 3]]
    torch.testing.assert_close(bank.table[0], expected)


@pytest.mark.parametrize("classes, complaint", [
    (("cat", "dog"), "tells 4 classes apart, and the images are of 2"),
    (("boat", "car", "plane", "train"), r"knows other classes \(cat, dog, great_white shark, ...\)"),
])
def test_a_teacher_of_other_classes_is_refused(classes, complaint):
    with pytest.raises(ValueError, match=complaint):
        models.check_classes(adopt(named_vit()), classes)


@pytest.mark.parametrize("classes", [ANIMALS, ("cat", "hound", "shark", "tench"), None, ("0", "1", "2", "3")])
def test_a_teacher_whose_names_agree_or_say_nothing_is_not(classes):
    models.check_classes(adopt(named_vit()), classes)


def test_a_network_that_has_learnt_since_no_longer_goes_by_the_names_it_came_with():
    wrapped = adopt(named_vit())
    with torch.no_grad():
        wrapped.network.classifier.bias += 0.1
    assert wrapped.classes is None and adopt(named_vit()).half().classes == ANIMALS
    models.check_classes(wrapped, TWISTED)


# --- networks that call view


class ViewNet(nn.Module):
    """As in many tutorials: convolutions with batch normalisation, then `view`; `only` in one of the two modes."""

    def __init__(self, only=None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU())
        self.head, self.only = nn.Linear(8 * 16, 10), only

    def forward(self, x):
        f = self.body(x)
        if self.only is not None and self.training != self.only:
            return self.head(f.flatten(1))
        return self.head(f.view(f.size(0), -1))


class ByView(distillers.Supervised):
    """A loss of one's own that flattens a map with `view`."""

    def forward(self, batch):
        f = self.student.features(batch.x)[0]
        return super().forward(batch) | {"size": Term(1e-3, f.view(f.size(0), -1).square().mean())}


def few_digits():
    whole = data.load("digits")
    return whole.with_train(whole.train.take(torch.arange(96), "96"))


def seeded_net(make, seed=0):
    torch.manual_seed(seed)
    return make()


VIEWING = {
    "student": lambda: distillers.Supervised(seeded_net(ViewNet)),
    "only while it trains": lambda: distillers.Supervised(seeded_net(lambda: ViewNet(only=True))),
    "only while it answers": lambda: distillers.Supervised(seeded_net(lambda: ViewNet(only=False))),
    "live teacher": lambda: distillers.KD(models.build("resnet8", (1, 8, 8), 10, seed=0, width=4), seeded_net(ViewNet)),
    "wrapped": lambda: distillers.Supervised(models.wrap(seeded_net(ViewNet), mean=(0.3,), std=(0.4,))),
    "loss": lambda: ByView(models.build("resnet8", (1, 8, 8), 10, seed=0, width=4)),
}


@pytest.mark.parametrize("where", VIEWING)
def test_what_calls_view_after_a_convolution_trains_as_it_does_elsewhere(where, monkeypatch):
    source, found = few_digits(), VIEWING[where]()
    rows = train.fit(found, source, epochs=2, lr=1e-3, batch_size=32)
    to = nn.Module.to
    monkeypatch.setattr(nn.Module, "to", lambda module, *how, memory_format=None, **others: to(module, *how, **others))
    expected = VIEWING[where]()
    elsewhere = train.fit(expected, source, epochs=2, lr=1e-3, batch_size=32)
    for row, other in zip(rows, elsewhere, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    for key, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[key], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("classes", [None, [7, 2, 3]])
def test_a_wrapped_network_compiles_without_a_graph_break(classes):
    wrapped = models.wrap(make("torchvision_resnet18").network, mean=MEAN, std=STD, size=48, classes=classes).eval()
    compiled, x = torch.compile(wrapped, backend="eager", fullgraph=True), images()
    torch.testing.assert_close(logits(compiled, x), logits(wrapped, x))


def small_cnn(*, inplace=False):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, 5))


def test_a_network_in_half_precision_is_asked_in_it():
    x = torch.rand(2, 3, 16, 16)
    torch.manual_seed(0)
    network = small_cnn()
    whole = models.wrap(network, mean=MEAN, std=STD)(x)
    half = models.wrap(network.to(torch.bfloat16), mean=MEAN, std=STD)(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), whole, rtol=0.05, atol=0.05)


def test_a_stage_that_is_written_over_is_refused_and_the_one_after_it_is_taken():
    x = torch.rand(2, 3, 16, 16)
    for inplace in (False, True):
        network = models.wrap(small_cnn(inplace=inplace), mean=MEAN, std=STD, stages=("1",))
        assert network.features(x)[0].min() == 0
    with pytest.raises(ValueError, match="stage '0' of Sequential gives is written over by a module after it"):
        models.wrap(small_cnn(inplace=True), mean=MEAN, std=STD, stages=("0",)).features(x)
    assert models.wrap(small_cnn(), mean=MEAN, std=STD, stages=("0",)).features(x)[0].min() < 0


class Returning(nn.Module):
    """A small network that returns `form(its logits, whether it trains)`."""

    def __init__(self, form):
        super().__init__()
        self.layers, self.form = small_cnn(), form

    def forward(self, x):
        return self.form(self.layers(x), self.training)


def test_logits_are_taken_out_of_a_plain_dictionary():
    says = Returning(lambda z, training: {"logits": z, "other": None})
    network, x = models.wrap(says, mean=MEAN, std=STD), torch.rand(2, 3, 16, 16)
    assert network(x).shape == (2, 5)


@pytest.mark.parametrize("classes", [[1.5, 2.7], [True, False]])
def test_classes_that_are_neither_names_nor_numbers_are_refused(classes):
    with pytest.raises(ValueError, match="names or numbers of logits"):
        models.wrap(small_cnn(), mean=MEAN, std=STD, classes=classes)


def test_a_network_that_insists_on_a_size_nobody_told_asks_for_it():
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))
    network = models.wrap(layers, mean=MEAN, std=STD, stages=("0",))
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"wrap\(network, size=\.\.\.\)"):
        distillers.FitNet(network, models.build("resnet8", (3, 16, 16), 5, seed=0))


def test_a_network_that_returns_more_while_it_trains_is_named():
    auxiliary = Returning(lambda z, training: (z, None) if training else z)
    x, y = np.random.default_rng(0).integers(0, 256, (60, 3, 16, 16), dtype=np.uint8), np.arange(60) % 5
    source = data.from_arrays("own", x, y, classes="abcde")
    with pytest.raises(TypeError, match=r"logits are a tensor .* not a tuple\. A network may return more"):
        train.fit(distillers.Supervised(auxiliary), source, epochs=1, lr=1e-3)
