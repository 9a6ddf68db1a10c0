"""A network that leaves the course: its files compute what it computed, without torch, and the card says what it is."""

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from kdcourse import cli, core, data, files, metrics, models, ship, trained

SHAPE, CLASSES = (1, 8, 8), tuple("abcde")


def made(**fields) -> ship.Made:
    return ship.Made("mlp", SHAPE, CLASSES, layers={"hidden": (12,)}, **fields)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The folder that the command makes of a network that the course keeps."""
    folder = tmp_path_factory.mktemp("shipped") / "cnn"
    assert cli.main(["ship", "fashion_cnn", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A network with statistics and dropout inside, and its folder."""
    network, folder = made().build(), tmp_path_factory.mktemp("small") / "new"
    ship.package(network, made(teacher="the committee"), folder)
    return network, folder


def test_the_shipped_file_says_of_every_test_image_what_torch_says(shipped):
    split = data.load("fashion_small").test
    z, ours = metrics.predict(trained.network("fashion_cnn"), split), ship.predict(shipped / "network.onnx", split)
    assert torch.allclose(ours, z, atol=1e-4) and metrics.agreement(ours, z) == 1
    assert not torch.equal(ours, ours.roll(1, 0))


def test_one_image_and_many_give_the_same_logits(shipped):
    run, x = ship.session(shipped / "network.onnx"), ship.noise((1, 28, 28), 9)
    assert torch.allclose(run(x), torch.cat([run(image[None]) for image in x]), atol=1e-4)


def test_preprocessing_is_inside_the_file(tmp_path):
    bare = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 4))
    network = models.wrap(bare, mean=(0.2, 0.5, 0.8), std=(0.1, 0.2, 0.4))
    x = ship.noise((3, 4, 4), 5)
    mean, std = torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1), torch.tensor([0.1, 0.2, 0.4]).view(3, 1, 1)
    by_hand = bare((x / 255 - mean) / std)
    ours = ship.session(ship.export(network, tmp_path / "n.onnx", shape=(3, 4, 4)))(x)
    assert torch.allclose(ours, by_hand, atol=1e-5)


def test_a_network_is_as_it_was_after_it_is_exported(tmp_path):
    network = models.build("lightnn", (3, 16, 16), 4, seed=0).half().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ship.export(network, tmp_path / "n.onnx")
    assert network.training and all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.linear.weight.dtype == torch.float16


@pytest.mark.parametrize(("images", "message"), [
    (torch.zeros(2, 1, 9, 8, dtype=torch.uint8), r"bytes .*, \(N, 1, 8, 8\) uint8; these are \(2, 1, 9, 8\) uint8"),
    (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"these are \(2, 3, 8, 8\) uint8"),
    (torch.zeros(2, 8, 8, 1, dtype=torch.uint8), r"these are \(2, 8, 8, 1\) uint8"),
    (torch.zeros(1, 8, 8, dtype=torch.uint8), r"these are \(1, 8, 8\) uint8\. One image is given as images\[None\]"),
    (torch.zeros(2, 1, 8, 8), r"these are \(2, 1, 8, 8\) float32\. The file divides by 255 itself"),
    (torch.zeros(2, 1, 8, 8, dtype=torch.int8), "int8"),
    (torch.tensor(3, dtype=torch.uint8), r"these are \(\) uint8"),
])
def test_images_of_another_size_or_kind_are_refused_in_words(small, images, message):
    with pytest.raises(ValueError, match=message):
        ship.session(small[1] / "network.onnx")(images)


def test_a_file_whose_sizes_are_not_written_down_takes_what_it_can(tmp_path):
    torch.manual_seed(0)
    network = ship.FromBytes(nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    free = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    torch.onnx.export(network, (ship.noise(SHAPE, 2),), dynamo=True, verbose=False, input_names=["images"],
                      dynamic_shapes=(free,)).save(tmp_path / "n.onnx")
    x = ship.noise((1, 11, 9), 3)
    assert torch.allclose(ship.session(tmp_path / "n.onnx")(x), network(x), atol=1e-5)


class Exits(nn.Module):
    """Leaves early when it is sure."""

    shape = SHAPE

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 5), nn.Linear(5, 5)

    def forward(self, x):
        z = self.first(x.flatten(1))
        return z if z.softmax(1).max() > 0.9 else self.last(z)


class Draws(Exits):
    def forward(self, x):
        return self.first(x.flatten(1)) + core.uniform([5], [1, 2])


@pytest.mark.parametrize("network", [Exits, Draws])
def test_what_depends_on_values_or_has_no_operation_does_not_export_and_says_so(network, tmp_path):
    with pytest.raises(ValueError, match=f"this {network.__name__} does not export to ONNX: .+"):
        ship.export(network(), tmp_path / "n.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_other_logits_is_not_written(tmp_path, monkeypatch):
    true = ship.FromBytes.forward
    monkeypatch.setattr(ship.FromBytes, "forward", lambda self, x: true(self, x) + (0 if _exporting() else 1))
    with pytest.raises(ValueError, match=r"other logits than torch: they differ by .* not written"):
        ship.export(made().build(), tmp_path / "n.onnx")
    assert not list(tmp_path.iterdir())


def _exporting() -> bool:
    return torch.compiler.is_exporting()


def test_the_card_says_what_was_taught_by_whom_how_well_at_what_cost_and_with_which_limits(shipped):
    said = (shipped / "card.md").read_text()
    split = data.load("fashion_small").test
    z = ship.predict(shipped / "network.onnx", split)
    right = (z.argmax(1) == split.y).sum().item()
    found = binomtest(right, len(split)).proportion_ci(method="wilson")
    assert f"accuracy: {right / 20:.2f} %, 95 % interval [{100 * found.low:.2f}, {100 * found.high:.2f}]" in said
    assert "n = 2,000 test images of fashion_small." in said and "fashion_rest (" in said
    assert "teacher: none: labels alone" in said and "6 epochs of batches of 128" in said
    network = trained.network("fashion_cnn")
    assert f"parameters: {sum(p.numel() for p in network.parameters()):,}" in said
    assert f"network.onnx: {(shipped / 'network.onnx').stat().st_size:,} bytes" in said
    assert "does not say that it does not know" in said and "judged by fashion_small images alone" in said
    recalls = {name: (z[split.y == k].argmax(1) == k).float().mean() for k, name in enumerate(split.classes)}
    assert f"knows least: {min(recalls, key=recalls.get)}, {100 * min(recalls.values()):.1f} %" in said


def test_the_card_of_what_nobody_measured_says_so_and_one_taught_by_a_teacher_names_it(small):
    said = (small[1] / "card.md").read_text()
    assert "accuracy: not measured" in said and "Nobody has judged it" in said
    assert "teacher: the committee" in said and "teacher's mistakes" in said


@pytest.mark.parametrize("right, n", [(0, 7), (7, 7), (3, 10), (9307, 10_000)])
def test_the_interval_is_wilsons(right, n):
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    assert ship.wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_what_is_saved_is_read_again_and_can_be_shipped_by_its_path(small):
    network, folder = small
    again, about = ship.read(folder / "weights.safetensors")
    x = torch.rand(3, *SHAPE)
    assert torch.equal(again(x), network(x)) and about.teacher == "the committee" and about.classes == CLASSES
    assert not again.training and ship.load(folder / "weights.safetensors")[1] == about


def test_a_file_that_was_changed_or_is_another_is_not_read(small, tmp_path):
    content = bytearray((small[1] / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(content)
    (tmp_path / "text.safetensors").write_text("words")
    for name in ("changed", "text"):
        with pytest.raises(ValueError, match=r"is not a network that ship\.save wrote"):
            ship.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match=r"ship\.save wrote"):
        ship.read(trained.FOLDER / "mnist_cnn.safetensors")


def of_other_classes():
    split = data.from_arrays("own", torch.randint(256, (40, *SHAPE), dtype=torch.uint8), torch.arange(40) % 5,
                             classes=tuple("edcba")).test
    return made().build(), made(), split


def not_built():
    return models.build("mlp", SHAPE, 5, seed=0, hidden=(13,)), made(), None


def too_few_names():
    return made().build(), ship.Made("mlp", SHAPE, tuple("abcd"), layers={"hidden": (12,)}), None


@pytest.mark.parametrize(("case", "message"), [
    (not_built, "is not the 'mlp'"), (too_few_names, "is not the 'mlp'"),
    (of_other_classes, r"the classes of .* are e, d, c, b, a, and made\.classes are a, b, c, d, e"),
])
def test_what_cannot_be_shipped_leaves_the_folder_empty_so_that_it_can_be_tried_again(case, message, tmp_path):
    network, about, split = case()
    with pytest.raises(ValueError, match=message):
        ship.package(network, about, tmp_path / "new", split=split)
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())
    ship.package(made().build(), made(), tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"card.md", "network.onnx", "proof.npz", "run.py",
                                                                    "weights.safetensors"}


def test_the_card_names_the_very_files_and_what_a_runtime_must_know_to_read_them(small):
    said = (small[1] / "card.md").read_text()
    for name in ("network.onnx", "weights.safetensors"):
        assert f"SHA-256 of {name}: {hashlib.sha256((small[1] / name).read_bytes()).hexdigest()}" in said
    [opset] = onnx.load(small[1] / "network.onnx").opset_import
    assert f"ONNX opset {opset.version}, " in said and f"torch {torch.__version__}" in said
    assert f"ONNX Runtime {onnxruntime.__version__}" in said


def test_a_network_that_its_description_does_not_build_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="is not the 'mlp'"):
        ship.save(models.build("mlp", SHAPE, 5, seed=0, hidden=(13,)), tmp_path / "n.safetensors", made())
    assert not list(tmp_path.iterdir())


def of_other_heads():
    layers = {"depth": 3, "width": 12, "heads": 3}
    return "vit", layers, models.build("vit", SHAPE, 5, seed=0, **layers | {"heads": 2})


def of_other_statistics():
    network = models.build("resnet8", SHAPE, 5, seed=0, width=4)
    network.normalise = models.Normalise((0.3,), (0.2,))
    return "resnet8", {"width": 4}, network


def of_another_activation():
    network = models.build("mlp", SHAPE, 5, seed=0, hidden=(12,))
    network.activation = torch.tanh
    return "mlp", {"hidden": (12,)}, network


@pytest.mark.parametrize("case", [of_other_heads, of_other_statistics, of_another_activation])
def test_a_network_whose_weights_fit_and_whose_answers_are_others_is_neither_saved_nor_shipped(case, tmp_path):
    name, layers, network = case()
    about = ship.Made(name, SHAPE, CLASSES, layers=layers)
    for write in (lambda: ship.save(network, tmp_path / "n.safetensors", about),
                  lambda: ship.package(network, about, tmp_path / "new")):
        with pytest.raises(ValueError, match=r"gives other logits than the network about noise, by up to \d"):
            write()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_network_in_half_precision_or_in_train_mode_is_saved_and_keeps_its_mode(tmp_path):
    network = models.build("cnn", SHAPE, 5, seed=0, width=4)
    about = ship.Made("cnn", SHAPE, CLASSES, layers={"width": 4})
    for one in (network.train(), network.bfloat16()):
        ship.save(one, tmp_path / "n.safetensors", about)
        assert one.training and all(module.training for module in one.modules())


def test_the_command_names_the_choices_and_touches_no_folder_that_holds_something(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert cli.main(["ship", "fashion_cmn", str(tmp_path / "new")]) == 2
    assert cli.main(["ship", "n.safetensors", str(tmp_path / "new")]) == 2
    assert cli.main(["ship", "mnist_cnn", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "fashion_cnn" in said and "there is no file n.safetensors" in said and "not empty" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(files.DataError, match=r"needs the package onnxscript; run: pip install 'kdcourse\[ship\]'"):
        ship.export(made().build(), tmp_path / "n.onnx")


def test_the_script_is_short_and_needs_onnxruntime_and_numpy_alone(small):
    lines = (small[1] / "run.py").read_text().splitlines()
    assert len(lines) <= 16 and lines[0].startswith('"""')
    imported = {name for line in lines if line.startswith(("import", "from"))
                for name in line.replace("import ", "").replace("from ", "").split(" Path")[0].split(", ")}
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def script(folder, *arguments):
    return subprocess.run([sys.executable, folder / "run.py", *arguments], capture_output=True, text=True, cwd=folder)


def test_the_script_fails_where_the_logits_are_others_than_torch_computed(small, tmp_path):
    folder = shutil.copytree(small[1], tmp_path / "copy")
    assert script(folder).returncode == 0
    proof = np.load(folder / "proof.npz")
    np.savez(folder / "proof.npz", images=proof["images"], logits=proof["logits"] + 0.01 * proof["logits"].max())
    done = script(folder)
    assert done.returncode == 1 and "other logits than torch computed" in done.stderr


def test_the_script_refuses_images_from_0_to_1_which_would_run(small, tmp_path):
    folder = small[1]
    for k, images in enumerate((np.ones((3, *SHAPE), "uint8"), np.ones((3, *SHAPE), "float32"))):
        np.save(tmp_path / f"{k}.npy", images)
        done = script(folder, str(tmp_path / f"{k}.npy"))
        assert done.returncode == 1 and done.stdout == "" and "lie between 0 and 1" in done.stderr
    np.save(tmp_path / "two.npy", 2 * np.ones((3, *SHAPE), "uint8"))
    assert len(script(folder, str(tmp_path / "two.npy")).stdout.split()) == 3


@pytest.fixture(scope="module")
def outside() -> dict[str, str]:
    """The variables of a process that has nothing of the course."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONWARNINGS")}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, outside) -> str:
    """The Python of a fresh environment with onnxruntime and numpy."""
    folder = tmp_path_factory.mktemp("phone")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, env=outside)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "-q", "onnxruntime", "numpy"]
    done = subprocess.run(install, capture_output=True, text=True, env=outside)
    if "No matching distribution" in done.stderr:
        pytest.skip("pip has no index here, so that there is no onnxruntime for a fresh environment")
    assert done.returncode == 0, done.stderr
    return str(python)


def test_the_script_runs_in_a_fresh_environment_without_torch(shipped, fresh, outside, tmp_path):
    def run(*arguments):
        return subprocess.run([fresh, *arguments], capture_output=True, text=True, cwd=tmp_path, env=outside)

    assert "No module named 'torch'" in run("-c", "import torch").stderr
    assert float(run(str(shipped / "run.py")).stdout.split()[3]) < 1e-4
    split = data.load("fashion_small").test
    np.save(tmp_path / "images.npy", split.x[:20].numpy())
    answers = metrics.predict(trained.network("fashion_cnn"), split)[:20].argmax(1)
    said = run(str(shipped / "run.py"), "images.npy").stdout.splitlines()
    assert said == [split.classes[k] for k in answers] and len(set(said)) > 3


@pytest.fixture(scope="module")
def in_eight_bits(tmp_path_factory):
    """The folder that the command makes when it is asked for eight bits."""
    folder = tmp_path_factory.mktemp("eight") / "cnn"
    assert cli.main(["ship", "fashion_cnn", str(folder), "--int8"]) == 0
    return folder


def test_with_int8_the_card_says_of_the_network_in_eight_bits_what_its_file_does(in_eight_bits):
    split = data.load("fashion_small").test
    z, other = (ship.predict(in_eight_bits / name, split) for name in ("network.onnx", "network_int8.onnx"))
    card = (in_eight_bits / "card.md").read_text(encoding="utf-8")
    [line] = [line for line in card.splitlines() if line.startswith("- network_int8.onnx, the same in eight bits")]
    low, high = ship.wilson((other.argmax(1) == split.y).sum().item(), len(split))
    assert f" {100 * metrics.accuracy(other, split.y):.2f} %, [{100 * low:.2f}, {100 * high:.2f}]" in line
    assert f" {100 * metrics.agreement(z, other):.1f} %" in line
    assert abs(metrics.accuracy(other, split.y) - metrics.accuracy(z, split.y)) < 0.01 and not torch.equal(z, other)
    content = (in_eight_bits / "network_int8.onnx").read_bytes()
    assert f"SHA-256 of network_int8.onnx: {hashlib.sha256(content).hexdigest()}" in card
    assert len(content) < 0.5 * (in_eight_bits / "network.onnx").stat().st_size
    assert onnx.load(in_eight_bits / "network_int8.onnx").graph.node[-1].op_type == "DequantizeLinear"


def test_the_script_runs_either_file(in_eight_bits, tmp_path):
    images = data.load("fashion_small").test.x[:20]
    np.save(tmp_path / "images.npy", images.numpy())
    for name in ("network.onnx", "network_int8.onnx"):
        command = [sys.executable, in_eight_bits / "run.py", tmp_path / "images.npy", name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        z = ship.session(in_eight_bits / name)(images)
        assert " ".join(said) == " ".join(data.load("fashion_small").classes[k] for k in z.argmax(1))


def test_eight_bits_without_test_images_are_said_not_to_be_measured_and_without_training_images_refused(tmp_path):
    network = made().build()
    ship.package(network, made(), tmp_path / "new", calibrate=ship.noise(SHAPE, 20))
    assert "network_int8.onnx, the same in eight bits: not measured" in (tmp_path / "new" / "card.md").read_text()
    ship.save(network, tmp_path / "mine.safetensors", made())
    assert cli.main(["ship", str(tmp_path / "mine.safetensors"), str(tmp_path / "other"), "--int8"]) == 2
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match=r"calibrated on training images, and .*no source.*calibrate=images"):
        ship.training_images(made())


def test_where_eight_bits_fail_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match="images to calibrate with"):
        ship.package(made().build(), made(), tmp_path / "new", calibrate=torch.zeros(3, *SHAPE))
    assert not any((tmp_path / "new").iterdir())


def test_a_card_says_of_no_other_images_that_they_judged(tmp_path):
    source, network = data.load("digits"), models.build("mlp", (1, 8, 8), 10, seed=0, hidden=(12,))
    about = ship.Made("mlp", (1, 8, 8), source.classes, layers={"hidden": (12,)})
    with pytest.raises(ValueError, match="would say that mnist_small judged the network, and digits/test does"):
        ship.package(network, ship.Made(**vars(about) | {"test": "mnist_small"}), tmp_path / "a", split=source.test)
    with pytest.raises(ValueError, match="digits/train is what networks train on"):
        ship.package(network, about, tmp_path / "b", split=source.train)
    assert list(tmp_path.iterdir()) == []


def test_an_export_wants_to_know_the_images_and_a_name_for_each_logit(tmp_path):
    own = models.wrap(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
                      mean=(0.5,), std=(0.5,))
    with pytest.raises(ValueError, match=r"export\(network, path, shape=source\.shape\)"):
        ship.export(own, tmp_path / "own.onnx")
    with pytest.raises(ValueError, match="2 classes and 5 logits"):
        ship.export(own, tmp_path / "own.onnx", shape=SHAPE, classes=["a", "b"])
    run = ship.session(ship.export(own, tmp_path / "own.onnx", shape=SHAPE, classes=CLASSES), threads=np.int64(1))
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    assert torch.equal(run(images), run(torch.from_numpy(images)))


def test_a_network_of_zeros_exports_and_one_that_diverged_is_called_so(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    nn.init.zeros_(network[1].weight), nn.init.zeros_(network[1].bias)
    assert ship.export(network, tmp_path / "zeros.onnx", shape=SHAPE).is_file()
    nn.init.constant_(network[1].bias, torch.nan)
    with pytest.raises(ValueError, match=r"not finite.*diverged"):
        ship.export(network, tmp_path / "nan.onnx", shape=SHAPE)


def test_a_file_from_elsewhere_that_takes_floats_is_called_so(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval()
    torch.onnx.export(network, (torch.rand(2, *SHAPE),), tmp_path / "float.onnx", dynamo=True, verbose=False,
                      external_data=False)
    with pytest.raises(ValueError, match=r"takes tensor\(float\), and not images as bytes"):
        ship.session(tmp_path / "float.onnx")(torch.zeros(2, *SHAPE, dtype=torch.uint8))


def test_images_of_another_size_do_not_calibrate(tmp_path, small):
    images = torch.zeros(4, 1, 9, 9, dtype=torch.uint8)
    with pytest.raises(ValueError, match="the file takes bytes from 0 to 255"):
        ship.quantised(small[1] / "network.onnx", tmp_path / "int8.onnx", images)
