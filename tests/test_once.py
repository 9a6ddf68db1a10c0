"""Networks that are trained once: the files are what their recipes made, small, and refused when they are not."""

from dataclasses import replace

import pytest
import torch

from kdcourse import data, metrics, models, once


@pytest.mark.parametrize("name", once.RECIPES)
def test_a_kept_network_is_as_good_as_its_file_says_on_images_drawn_anew(name):
    recipe, made = once.RECIPES[name], once.measured(name)
    source = data.load(recipe.source, **recipe.images)
    network = once.trained(name)
    accuracy = metrics.accuracy(metrics.predict(network, source.test), source.test.y)
    assert accuracy == pytest.approx(made["test_accuracy"], abs=0.015)
    assert accuracy > 3 / len(source.classes)
    assert not network.training


def test_all_files_together_stay_below_two_megabytes_and_each_has_a_recipe():
    files = list(once.FOLDER.iterdir())
    assert {path.stem for path in files} == set(once.RECIPES)
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="choose one of: glands_resnet8"):
        once.trained("glands_resnet9")


def test_a_file_of_another_recipe_is_refused_and_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(once.RECIPES, "glands_resnet8", replace(once.RECIPES["glands_resnet8"], epochs=11))
    with pytest.raises(ValueError, match=r"another recipe.*python -m kdcourse\.once glands_resnet8"):
        once.trained("glands_resnet8")


@pytest.mark.parametrize("damage", ["gone", "cut off", "a number changed"])
def test_a_file_that_is_not_whole_is_refused_and_the_way_out_is_named(monkeypatch, tmp_path, damage):
    content = bytearray((once.FOLDER / "glands_resnet8.safetensors").read_bytes())
    if damage == "a number changed":
        content[-1] ^= 1
    if damage != "gone":
        (tmp_path / "glands_resnet8.safetensors").write_bytes(content[:-9] if damage == "cut off" else content)
    monkeypatch.setattr(once, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"cannot be used .*python -m kdcourse\.once glands_resnet8"):
        once.trained("glands_resnet8")


def test_training_again_by_a_recipe_gives_the_same_file(monkeypatch, tmp_path):
    recipe = once.Recipe("shapes", "cnn", epochs=1, lr=1e-3, batch_size=64, images={"train": 64}, layers={"width": 2})
    monkeypatch.setitem(once.RECIPES, "small", recipe)
    monkeypatch.setattr(once, "FOLDER", tmp_path / "new")
    first = once.train_again("small").read_bytes()
    network, made = once.trained("small"), once.measured("small")
    assert once.train_again("small").read_bytes() == first
    fresh = models.build("cnn", (3, 16, 16), 12, seed=0, width=2)
    assert not torch.equal(network.linear.weight, fresh.linear.weight)
    assert made["recipe"]["source"] == "shapes" and made["shape"] == [3, 16, 16] and made["classes"] == 12
