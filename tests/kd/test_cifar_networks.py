"""The networks of the SLKD paper: what their papers say of them, and that every feature method compares its pairs."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdcourse import cost, distillers, models
from kdcourse.core import Batch, total
from kdcourse.models.mobile import Bottleneck, SplitUnit, shuffled
from kdcourse.models.pretrained import untrained
from kdcourse.models.resnet import Block
from kdcourse.models.wide_resnet import Block as WideBlock

B = {"shortcut": "B"}
PUBLISHED = [  # parameters for 3 channels and 100 classes, as the released distillation codes have them
    ("resnet8", {}, 81_140), ("resnet20", {}, 275_572), ("resnet32", {}, 470_004), ("resnet56", {}, 858_868),
    ("resnet8", B, 83_892), ("resnet20", B, 278_324), ("resnet32", B, 472_756), ("resnet56", B, 861_620),
    ("resnet110", B, 1_736_564), ("resnet8x4", {}, 1_233_540), ("resnet32x4", {}, 7_433_860),
    ("resnet50", {}, 23_705_252), ("wrn_16_2", {}, 703_284), ("wrn_40_1", {}, 569_780), ("wrn_40_2", {}, 2_255_156),
    ("vgg8", {}, 3_965_028), ("vgg11", {}, 9_277_284), ("vgg13", {}, 9_462_180), ("mobilenet_v2", {}, 812_836),
    ("shufflenet_v1", {}, 949_258), ("shufflenet_v2", {}, 1_355_528),
]
STAGES = {  # channels and width of every stage's map, for images of 32x32
    "resnet110": [(16, 32), (32, 16), (64, 8)], "resnet8x4": [(64, 32), (128, 16), (256, 8)],
    "resnet32x4": [(64, 32), (128, 16), (256, 8)], "resnet50": [(256, 32), (512, 16), (1024, 8), (2048, 4)],
    "wrn_16_2": [(32, 32), (64, 16), (128, 8)], "wrn_40_1": [(16, 32), (32, 16), (64, 8)],
    "wrn_40_2": [(32, 32), (64, 16), (128, 8)], **{
        name: [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)] for name in ("vgg8", "vgg11", "vgg13")},
    "mobilenet_v2": [(12, 16), (16, 8), (48, 4), (1280, 2)], "shufflenet_v1": [(240, 16), (480, 8), (960, 4)],
    "shufflenet_v2": [(116, 16), (232, 8), (1024, 4)],
}
DEPTH = {"resnet110": 110, "resnet8x4": 8, "resnet32x4": 32, "resnet50": 50, "vgg8": 6, "vgg11": 9, "vgg13": 11}
# a VGG counts three dense layers, and there is one here
PAIRS = [  # tables 1 and 2 of the paper: teacher, student
    ("resnet32x4", "resnet8x4"), ("resnet56", "resnet8"), ("wrn_40_2", "wrn_40_1"), ("wrn_40_2", "wrn_16_2"),
    ("vgg13", "vgg11"), ("vgg13", "vgg8"), ("resnet32x4", "shufflenet_v2"), ("resnet32x4", "shufflenet_v1"),
    ("resnet50", "mobilenet_v2"), ("vgg13", "mobilenet_v2"), ("wrn_40_2", "shufflenet_v1"),
]
THIN = {"resnet8": {"width": 4}, "resnet56": {"width": 4}, "resnet8x4": {"width": 8, "stem": 4},
        "resnet32x4": {"width": 8, "stem": 4}, "resnet50": {"width": 4}, **{
            name: {"width": 4} for name in ("vgg8", "vgg11", "vgg13")},
        "wrn_16_2": {"width": 1}, "wrn_40_1": {}, "wrn_40_2": {"width": 1}, "mobilenet_v2": {"width": 0.25},
        "shufflenet_v1": {"width": 0.25}, "shufflenet_v2": {"width": 8}}
METHODS = [name for name, method in distillers.METHODS.items()
           if name in ("fitnet", "cosine", "at", "mgd", "ofd", "review_kd", "simkd", "sp", "rkd", "crd")]


def on_paper(name, **settings):
    """The network without numbers: its shapes alone."""
    with torch.device("meta"):
        return models.build(name, (3, 32, 32), 100, seed=0, **settings).eval()


@cache
def thin(name, seed):
    """The same stages with few channels."""
    return models.build(name, (3, 32, 32), 10, seed=seed, **THIN[name])


def images(n, size=32, channels=3):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name, settings, published", PUBLISHED)
def test_networks_of_the_paper_have_the_published_numbers_of_parameters(name, settings, published):
    assert cost.parameters(on_paper(name, **settings)) == published


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_the_width_of_its_paper_and_halves_the_map_where_it_should(name):
    network = on_paper(name)
    for size in (32, 224):
        z, features, maps = network.answer(torch.zeros(2, 3, size, size, device="meta"))
        expected = [(2, channels, side * size // 32, side * size // 32) for channels, side in STAGES[name]]
        assert z.shape == (2, 100) and [tuple(f.shape) for f in features] == expected
        assert [tuple(f.shape) for f in maps] == expected


@pytest.mark.parametrize("name", DEPTH)
def test_a_network_has_as_many_layers_with_weights_as_its_name_says(name):
    layers = [module for key, module in on_paper(name).named_modules()
              if isinstance(module, nn.Conv2d | nn.Linear) and "project" not in key and "shortcut" not in key]
    assert len(layers) == DEPTH[name]


@pytest.mark.parametrize("teacher, student", PAIRS)
def test_every_feature_method_compares_the_pair_and_teaches_every_weight_that_the_logits_need(teacher, student):
    batch = Batch(images(3, 16), torch.tensor([1, 2, 1]), torch.arange(3), progress=0.5)
    for name in METHODS:
        network = thin(student, 0)
        distiller = distillers.METHODS[name](network, thin(teacher, 1)).train()
        network.zero_grad()
        loss = total(distiller(batch))
        loss.backward()
        head = {id(parameter) for parameter in network.linear.parameters()} if name == "simkd" else set()
        unmoved = [key for key, parameter in network.named_parameters()
                   if id(parameter) not in head and (parameter.grad is None or not parameter.grad.isfinite().all())]
        assert loss.isfinite() and unmoved == []


def test_option_B_projects_where_the_map_changes_its_shape_and_nowhere_else():
    for name, at in (("resnet20", ["stages.1.0", "stages.2.0"]),
                     ("resnet8x4", ["stages.0.1", "stages.1.0", "stages.2.0"])):
        blocks = {key: module for key, module in on_paper(name, shortcut="B").named_modules()
                  if isinstance(module, Block)}
        assert [key for key, block in blocks.items() if block.project is not None] == at
    with pytest.raises(ValueError, match=r"shortcut is 'A', zeros for new channels, or 'B'.*'C'"):
        models.build("resnet8", (3, 32, 32), 10, seed=0, shortcut="C")


def test_with_option_B_a_block_adds_the_projection_of_what_it_was_given():
    block = Block(4, 8, 2, last=True, shortcut="B").eval()
    x = images(2, 6, 4)
    with torch.no_grad():
        nn.init.zeros_(block.bn2.weight)
        nn.init.zeros_(block.bn2.bias)
        expected = F.conv2d(x[:, :, ::2, ::2], block.project[0].weight) / (1 + block.project[1].eps) ** 0.5
        torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("channels, stride", [(8, 1), (16, 2), (16, 1)])
def test_a_wide_block_is_what_its_paper_says(channels, stride):
    """Figure 1(d), written once more with the released code's order: what changes its shape activates before both."""
    block, norm = WideBlock(8, channels, stride).eval(), nn.BatchNorm2d(8).eval()
    same = channels == 8 and stride == 1
    x = images(2, 6, 8) - 0.5

    def normalised(f):  # fresh statistics and weights
        return f / (1 + norm.eps) ** 0.5

    active = normalised(x).clamp(min=0)
    f = F.conv2d(active, block.conv1.weight, stride=stride, padding=1)
    f = F.conv2d(normalised(f).clamp(min=0), block.conv2.weight, padding=1)
    shortcut = x if same else F.conv2d(active, block.shortcut.weight, stride=stride)
    torch.testing.assert_close(block(x if same else active), f + shortcut, rtol=1e-4, atol=1e-5)


def test_shuffled_takes_a_channel_from_each_group_in_turn():
    f = torch.arange(6).reshape(1, 6, 1, 1)
    assert shuffled(f, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert shuffled(f, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert torch.equal(shuffled(f, 1), f)
    torch.testing.assert_close(shuffled(images(2, 3, 12), 4), F.channel_shuffle(images(2, 3, 12), 4))


def test_a_narrow_end_of_mobilenet_has_no_activation_and_its_last_map_one_that_ends_at_six():
    network = thin("mobilenet_v2", 0).eval()
    _, features, maps = network.answer(images(2))
    assert all(torch.equal(f, m) and f.min() < 0 for f, m in zip(features[:3], maps[:3], strict=True))
    assert torch.equal(network.features(100 * images(2))[-1], network.maps(100 * images(2))[-1].clamp(0, 6))


def test_mobilenet_adds_what_it_was_given_only_where_the_shape_stays():
    x = images(2, 6, 4)
    for channels, stride, adds in ((4, 1, True), (4, 2, False), (6, 1, False)):
        block = Bottleneck(4, channels, stride, 6).eval()
        nn.init.zeros_(block.narrow[1].weight)
        with torch.no_grad():
            assert torch.equal(block(x), x) if adds else not block(x).any()


def test_half_of_shufflenet_v2_passes_a_unit_unchanged():
    unit, x = SplitUnit(8, 8, 1, last=False).eval(), images(2, 6, 8)
    with torch.no_grad():
        assert torch.equal(unit(x)[:, ::2], x[:, :4]) and (unit(x)[:, 1::2] >= 0).all()


def test_the_last_unit_of_a_stage_leaves_its_relu_to_the_classifier_and_nothing_is_lost():
    for name in ("shufflenet_v1", "shufflenet_v2"):
        network = thin(name, 0).eval()
        with torch.no_grad():
            before, after = network.maps(images(2))[0], network.features(images(2))[0]
            *_, last = network.stages[0]
            last.last = False
            activated, last.last = network.stages[0](images(2)), True
        assert before.min() < 0 and torch.equal(activated, after)


@pytest.mark.parametrize("name, settings, message", [
    ("wrn_16_2", {"depth": 18}, r"depth 6n \+ 4 .*, not 18$"), ("vgg8", {"depth": 16}, "depth 8, 11 or 13, not 16"),
])
def test_a_depth_that_a_family_does_not_have_is_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, (3, 32, 32), 10, seed=0, **settings)


# networks of other packages, without their weights


@pytest.mark.parametrize("name, published", [
    ("torchvision:efficientnet_b0", 5_288_548), ("torchvision:mobilenet_v2", 3_504_872),
    ("torchvision:vit_h_14", 632_045_800), ("timm:vit_huge_patch14_224", 632_045_800),
])
def test_the_students_and_the_teacher_of_future_work_have_the_published_numbers_of_parameters(name, published):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with torch.device("meta"):
        loaded = untrained(name, 1000, None)
    assert cost.parameters(loaded.network) == published
    assert loaded.size == (224 if "vit" in name else None)


def test_a_network_of_another_package_is_drawn_from_the_seed_and_takes_the_images_of_the_course():
    first, again, other = (models.build("torchvision:mobilenet_v2", (3, 32, 32), 7, seed=seed) for seed in (1, 1, 2))
    weights = [network.network.classifier[1].weight for network in (first, again, other)]
    assert torch.equal(*weights[:2]) and not torch.equal(*weights[1:])
    assert first.shape == (3, 32, 32) and first.eval()(images(2)).shape == (2, 7) and not first.fresh_head()
    larger = models.build("torchvision:mobilenet_v2", (3, 32, 32), 7, seed=1, size=64).eval()
    z = first(nn.functional.interpolate(images(2), 64, mode="bicubic", antialias=True).clamp(0, 1))
    torch.testing.assert_close(larger(images(2)), z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name, message", [
    ("torchvision:mobilenet_v4", "torchvision has no network called 'mobilenet_v4'; the nearest names are: mobilenet_"),
    ("torchvision:mobilenet_v2 ", "no network"),
])
def test_a_network_that_a_package_does_not_have_names_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, (3, 32, 32), 7, seed=0)
    with pytest.raises(ValueError, match="torchvision:mobilenet_v2 has no setting 'width'; it has size"):
        models.build("torchvision:mobilenet_v2", (3, 32, 32), 7, seed=0, width=2)
