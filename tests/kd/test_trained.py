"""Networks that are trained once: the files are what their recipes made, small, and refused when they are not."""

from dataclasses import replace

import pytest
import torch

from kdcourse import data, distillers, metrics, models, train, trained
from kdcourse.teachers import LogitBank, Trajectory

TEACHERS = [name for name, recipe in trained.RECIPES.items() if recipe.about]
SMALL = trained.Recipe("polyps", "cnn", epochs=2, lr=1e-3, batch_size=64, images={"train": 64}, layers={"width": 2},
                    about="polyps", checkpoints=True)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Recipes of small networks, kept in a folder of their own."""
    for name, recipe in {"small": SMALL, "pupil": replace(SMALL, seed=1, teacher="small", lesson={"T": 2.0},
                                                          augment={"pad": 1})}.items():
        monkeypatch.setitem(trained.RECIPES, name, recipe)
    monkeypatch.setattr(trained, "FOLDER", tmp_path / "new")
    return tmp_path / "new"


@pytest.mark.parametrize("name", TEACHERS)
def test_the_answers_kept_beside_a_teacher_are_what_it_says_about_the_small_set(name, touched):
    network, source = trained.network(name), data.load(trained.RECIPES[name].about)
    everything = touched("kdcourse/trained/", "kdcourse/models/", "kdcourse/data/", "kdcourse/metrics.py")
    for kind, bank in trained.answers(name).items():
        split, said = source.splits[kind], bank.table[0].float()
        asked = len(split) if everything else 300
        z = metrics.predict(network, split.take(torch.arange(asked), "asked"))
        assert bank.table.dtype == torch.float16 and bank.table.shape == (1, len(split), z.shape[1])
        assert (z - said[:asked]).abs().max() < 0.03
        kept = trained.measured(name)[trained.RECIPES[name].about][kind]
        assert kept["accuracy"] == pytest.approx(metrics.accuracy(said, split.y), abs=0.002)
        assert kept["confidence"] == pytest.approx(said.softmax(dim=1).max(dim=1).values.mean().item(), abs=1e-3)


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_is_no_surer_of_its_students_images_than_of_test_images(name):
    kept = trained.measured(name)[trained.RECIPES[name].about]
    assert abs(kept["train"]["confidence"] - kept["test"]["confidence"]) < 0.02
    assert kept["test"]["accuracy"] > {"mnist_cnn": 0.985, "fashion_vit": 0.82}.get(name, 0.89)


@pytest.mark.parametrize("name", TEACHERS)
def test_checkpoints_lead_to_the_kept_teacher(name):
    if not trained.RECIPES[name].checkpoints:
        with pytest.raises(ValueError, match=f"no checkpoints of {name} are kept; choose one of: "):
            trained.checkpoints(name)
        return
    path, y = trained.checkpoints(name), data.load(trained.RECIPES[name].about).train.y
    assert len(path.table) == trained.RECIPES[name].epochs
    early, last = (metrics.accuracy(path.at(epoch).table[0].float(), y) for epoch in (1, len(path.table)))
    assert early < last
    assert (path.table[-1].float() - trained.answers(name)["train"].table[0].float()).abs().max() < 0.1


def test_all_files_together_stay_below_six_megabytes_and_each_has_a_recipe():
    files = [path for path in trained.FOLDER.rglob("*.safetensors")]
    assert {path.stem for path in files if path.parent == trained.FOLDER} == set(trained.RECIPES)
    expected = {f"{name}-{kind}" for name in TEACHERS for kind in ("train", "valid", "test")}
    expected |= {f"{name}-checkpoints" for name in TEACHERS if trained.RECIPES[name].checkpoints}
    assert {path.stem for path in files if path.parent != trained.FOLDER} == expected
    assert max(path.stat().st_size for path in files) < 1_500_000
    assert sum(path.stat().st_size for path in files) < 6_000_000


def test_an_unknown_name_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"choose one of: .*cifar_resnet8_thin"):
        trained.network("cifar_resnet9")


def test_a_file_of_another_recipe_is_refused_and_the_way_out_is_named(monkeypatch):
    name = "cifar_resnet8_thin"
    monkeypatch.setitem(trained.RECIPES, name, replace(trained.RECIPES[name], epochs=11))
    with pytest.raises(ValueError, match=r"another recipe.*python -m kdcourse\.trained cifar_resnet8_thin"):
        trained.network("cifar_resnet8_thin")


@pytest.mark.parametrize("damage", ["gone", "cut off", "a number changed"])
def test_a_file_that_is_not_whole_is_refused_and_the_way_out_is_named(monkeypatch, tmp_path, damage):
    content = bytearray((trained.FOLDER / "cifar_resnet8_thin.safetensors").read_bytes())
    if damage == "a number changed":
        content[-1] ^= 1
    if damage != "gone":
        (tmp_path / "cifar_resnet8_thin.safetensors").write_bytes(content[:-9] if damage == "cut off" else content)
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"cannot be used .*python -m kdcourse\.trained cifar_resnet8_thin"):
        trained.network("cifar_resnet8_thin")


def test_training_again_by_a_recipe_gives_the_same_file(elsewhere):
    first = trained.train_again("small").read_bytes()
    network, made = trained.network("small"), trained.measured("small")
    assert trained.train_again("small").read_bytes() == first
    fresh = models.build("cnn", (3, 32, 32), 2, seed=0, width=2)
    assert not torch.equal(network.linear.weight, fresh.linear.weight)
    assert made["recipe"]["source"] == "polyps" and made["shape"] == [3, 32, 32] and made["classes"] == 2


def test_images_read_from_elsewhere_make_the_same_network(elsewhere):
    first = trained.train_again("small").read_bytes()
    assert trained.train_again("small", data.load("polyps", train=64)).read_bytes() == first


def test_a_teacher_is_kept_in_half_precision_with_its_answers_and_its_checkpoints(elsewhere):
    trained.train_again("small")
    network, source = trained.network("small"), data.load("polyps")
    for weight in network.parameters():
        assert weight.dtype == torch.float32 and torch.equal(weight, weight.half().float())
    expected = LogitBank.record(network, source.train)
    bank, path = trained.answers("small")["train"], trained.checkpoints("small")
    assert (bank.table - expected.table).abs().max() < 2e-3 and bank.origin == expected.origin
    assert isinstance(path, Trajectory) and path.table.shape == (2, *bank.table.shape[1:])
    assert (path.at(2).table - bank.table).abs().max() < 0.05


def test_a_pupil_of_a_network_trained_once_is_trained_by_kd_on_augmented_images(elsewhere):
    trained.train_again("small")
    trained.train_again("pupil")
    source, student = data.load("polyps", train=64), models.build("cnn", (3, 32, 32), 2, seed=1, width=2)
    train.fit(distillers.KD(student, trained.network("small"), T=2.0), source, epochs=2, lr=1e-3, batch_size=64, seed=1,
              schedule="cosine", augment=data.Augment(pad=1))
    kept = trained.network("pupil").state_dict()
    assert all(torch.equal(weight.half().float(), kept[name]) for name, weight in student.state_dict().items())


def test_answers_of_a_network_that_has_none_are_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"no answers of cifar_resnet8_thin are kept; choose one of: .*mnist_cnn"):
        trained.answers("cifar_resnet8_thin")


def test_answers_of_another_network_are_refused(elsewhere):
    trained.train_again("small")
    kept = (elsewhere / "answers" / "small-train.safetensors").read_bytes()
    trained.train_again("pupil")
    (elsewhere / "answers" / "pupil-train.safetensors").write_bytes(kept)
    with pytest.raises(ValueError, match="recorded another teacher"):
        trained.answers("pupil")


def test_the_network_that_saw_photographs_knows_them_and_is_made_from_as_many_as_its_recipe_says():
    made = trained.measured("cifar_resnet8_thin")
    assert made["recipe"]["first"] == 20_000 and made["test_accuracy"] > 0.4
    assert trained.network("cifar_resnet8_thin")(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_a_recipe_may_use_only_the_first_images_of_its_source(elsewhere, monkeypatch):
    monkeypatch.setitem(trained.RECIPES, "first", replace(SMALL, about="", checkpoints=False, first=40))
    trained.train_again("first")
    source = data.load("polyps", train=64)
    assert trained.measured("first")["images"] == trained.fingerprint(source.train.x[:40], source.train.y[:40])
