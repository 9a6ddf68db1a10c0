"""The cells of a notebook as the full profile runs them, on small data and networks in the places of the real ones.

Which data set and which networks are loaded, and what is done with them, is the notebook's own code; what is small is
the copy of MHIST or CIFAR, the saved folders that stand for published weights, and the number of epochs.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import timm
import torch
import transformers
from lessons import run

from kdcourse import data, procedures, train
from kdcourse.data import mhist

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(autouse=True)
def bars_of_transformers():
    """The notebooks switch the progress bars of transformers off; afterwards they are on again."""
    yield
    transformers.utils.logging.enable_progress_bar()


def saved(folder: Path, architecture: str, **settings) -> str:
    """A small network of a timm architecture in a folder, as a published one is kept; returns the path."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(architecture, num_classes=10, **settings)
    timm.models.save_for_hf(network, str(folder), safe_serialization=True, model_args=settings)
    return str(folder)


@pytest.fixture
def small_mhist(tmp_path, monkeypatch):
    """A folder with generated tissue in the place of MHIST's images: so many, and in their size."""
    data.polyps.write(tmp_path / "mhist", 224, train=30, test=12)
    labels = [line.split(",") for line in (tmp_path / "mhist" / "annotations.csv").read_text().splitlines()[1:]]
    counts = {key: sum((line[3], line[1]) == key for line in labels) for key in mhist.COUNTS}
    assert all(counts.values())
    monkeypatch.setattr(mhist, "COUNTS", counts)
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))


def test_notebook_04_transfers_a_resnet_v2_to_mhist_and_teaches_a_mobilenet_v2(
    small_mhist, tmp_path, monkeypatch, capsys
):
    networks = {
        "teacher": saved(tmp_path / "teacher", "resnetv2_50", layers=(1, 1, 1, 1), channels=(16, 32, 64, 128)),
        "student": saved(tmp_path / "student", "mobilenetv2_050"),
    }
    settings = {"until": "attention-full", "monkeypatch": monkeypatch, "size": 64, "seeds": 2, "head_epochs": 1,
                "teacher_epochs": 1, "epochs": 1, "pad": 4, "views": 2, "grid": [(1.0, 0.5), (4.0, 0.9)]}
    found = run("04_mhist_transfer", **settings, **networks)
    assert type(found["teacher"].network).__name__ == "ResNetV2" and found["teacher"].fresh_head() == []
    assert found["source"].name == "mhist" and len(found["source"].test) == 12
    assert {cell: len(results) for cell, results in found["cells"].items()} == {
        (start, lesson): 2 for start, lesson in (
            ("random", "hard labels"), ("random", "distilled"), ("pretrained", "hard labels"),
            ("pretrained", "distilled"), ("frozen", "hard labels"), ("pretrained", "votes"),
            ("pretrained", "attention"))
    }  # fmt: skip
    assert "not shown: images of MHIST stay out of notebooks" in capsys.readouterr().out
    assert found["best"] in settings["grid"]

    def unwanted(*_, **__):
        raise AssertionError("everything is measured already")

    monkeypatch.setattr(train, "fit", unwanted)
    assert run("04_mhist_transfer", **settings, **networks)["cells"] == found["cells"]


LEARNERS = {"images": 96, "batch": 32, "epochs": 3, "seeds": 2, "points": 40}


def random_photographs() -> data.Source:
    """Pictures of noise in the place of CIFAR-100: its size and its classes, 16 to train on."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (56, 3, 32, 32), dtype=torch.uint8, generator=draw)
    y = torch.randint(0, 100, (56,), generator=draw)
    parts = list(zip(x.split([16, 20, 20]), y.split([16, 20, 20]), strict=True))
    return data.from_arrays("cifar100", *parts[0], classes=[str(k) for k in range(100)], valid=parts[1], test=parts[2])


def test_notebook_07_trains_every_arm_of_its_recipe_on_cifar100_and_goes_on_where_it_was_interrupted(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    monkeypatch.setitem(data.SOURCES, "cifar100", random_photographs)
    monkeypatch.setitem(train.SCHEDULES, "steps", None)   # the notebook adds its own, which is gone after the test
    found = run("07_learning_ability", until="paper-full", monkeypatch=monkeypatch, cifar100_pairs=1, cifar100_epochs=1,
                cifar100_seeds=2, **LEARNERS)
    arms = ["hard labels", *found["ARMS"]]
    folder = tmp_path / "learning_ability" / "ResNet-56 into ResNet-8"
    kept = json.loads((folder / "results.json").read_text())
    assert kept["settings"] == {"big": ["resnet56", {}], "small": ["resnet8", {}], "epochs": 1, "lr": 0.05}
    assert list(kept["arms"]) == arms and all(list(by_seed) == ["0", "1"] for by_seed in kept["arms"].values())
    assert found["by_arm"] == {arm: list(by_seed.values()) for arm, by_seed in kept["arms"].items()}
    assert capsys.readouterr().out.count("n = 2 seeds, 20 test images") == len(found["QUESTIONS"])

    asked, taught, started = found["in_small"] | {"folder": tmp_path / "again"}, found["taught"], []

    def interrupted(arm, *rest):
        started.append(arm)
        if len(started) == 4:
            raise KeyboardInterrupt
        return taught(arm, *rest)

    def unwanted(*_, **__):
        raise AssertionError("the learners are recorded already")

    found["taught"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        found["paper_run"](**asked)
    monkeypatch.setattr(procedures, "record_learners", unwanted)
    assert found["paper_run"](**asked) == found["mini"]
    assert started == [*arms[:4], *arms[3:]]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == [
        "end1-0.safetensors", "end2-0.safetensors", "results.json", "teacher.safetensors"
    ]
    with pytest.raises(ValueError, match="choose another folder"):
        found["paper_run"](**asked | {"lr": 0.01})


def test_notebook_06_runs_its_study_with_every_control_and_refuses_to_mix_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    found = run("06_stronger_teachers", until="full", monkeypatch=monkeypatch, images=48, batch=16, seeds=2, epochs=1)
    clothes = data.load("fashion_small").train
    figures = data.from_arrays("clothes", clothes.x[:40], clothes.y[:40], classes=data.load("fashion_small").classes)
    monkeypatch.setattr(data, "load", {"cifar10": figures}.__getitem__)
    small = {"sources": ["cifar10"], "vits": [found["tiny_vit"](tmp_path / name) for name in ("base", "large")],
             "students": ["resnet18"], "seeds": 2, "epochs": 1}
    rows = found["full"](**small, size=32)["cifar10"]
    assert [row["teacher"] for row in rows if "teacher" in row] == ["base", "large"]
    lessons = ["hard labels", *(f"{kind}, {vit}" for vit in ("base", "large") for kind in ("KD", "gentle", "DIST"))]
    assert [(row["seed"], row["lesson"]) for row in rows if "student" in row] == [
        (seed, lesson) for seed in range(2) for lesson in lessons
    ]
    with pytest.raises(ValueError, match="rename its folder"):
        found["full"](**small, size=64)
    capsys.readouterr()
    [report] = [cell for cell in nbformat.read(NOTEBOOKS / "06_stronger_teachers.ipynb", 4).cells
                if cell.id == "full-results"]
    exec(report.source, found | {"found": {"cifar10": rows}, "S": SimpleNamespace(recipe="cifar")})
    said = capsys.readouterr().out
    for question in ("DIST, base - KD, base", "DIST, large - gentle, large", "DIST, large - DIST, base"):
        assert f"{question}: " in said
    assert "expect 'inconclusive'" in said
