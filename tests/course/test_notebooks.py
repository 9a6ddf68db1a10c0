"""The notebooks as files: fit to be committed, no dead links, and what a reader writes by hand is the package's."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lessons import by_hand, cell_of, prose
from notebook_lint import defects, lost_rows
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock

from kdcourse import data, distillers, losses, models, train

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BROKEN = {
    "not_executed_in_order": "not executed from first to last",
    "widget_state": "widget state",
    "warning_on_stderr": "stderr",
    "svg_picture": "SVG",
    "picture_without_text": "cannot see it",
    "home_folder": "folder of the machine",
    "address_of_an_object": "address of an object",
    "error_kept": "ZeroDivisionError",
    "semicolon": "semicolon",
    "unknown_tag": "nbval-skip",
    "two_cells_of_one_id": "the same",
    "no_title": "0 titles",
    "times_kept": "when its cells were run",
    "doubled_backslash": "doubled backslash: \\\\log",
    "too_many_words": "words of prose",
    "row_without_a_table": "belongs to no table: '| DIST",
    "no_minutes": "names no minutes: '## 2 · Another'",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_be_committed(path):
    assert defects(path) == []


EMPHASIS = {  # what lessons print in bold that is no term: names within one experiment, verdicts, a stressed phrase
    "softened", "n is fixed before.", "no label is used", "uniform", "shuffled wrong answers", "average of its class",
    "same labels, other network", "one run each", "cosine", "regressor + mse", "better", "worse", "not shown",
    "mean of the guides' probabilities", "longer training", "finished", "both methods at their best", "more",
    "three controls", "itself", "one", "once", "other images", "never met", "second network of the teacher's kind",
    "the teacher's own path", "noise", "unbiased", "in the features", "calibrated", "corrected for chance",
    "one outlier", "gradient times input",
}


def glossary() -> list[str]:
    """The terms of the glossary, each as it stands."""
    table = prose(ROOT / "notebooks" / "00_start_here.ipynb").split("## Glossary")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")][2:]
    return [term.strip() for row in rows for term in row.split(",")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_term_that_a_lesson_introduces_is_in_the_glossary(path):
    known = {term.lower() for term in glossary()}
    bold = {" ".join(term.lower().split()) for term in re.findall(r"\*\*([a-z][^*]*?)\*\*", prose(path))
            if len(term) < 40} - EMPHASIS
    assert {term for term in bold if not {term, f"{term}s", term.removesuffix("s")} & known} == set()


def test_every_term_of_the_glossary_stands_in_a_lesson():
    text = " ".join(" ".join(prose(path).split("## Glossary")[0] for path in NOTEBOOKS).lower().split())
    assert [term for term in glossary() if term.lower() not in text] == []


@pytest.mark.parametrize(("name", "message"), BROKEN.items())
def test_lint_rejects_a_notebook_with(name, message):
    found = defects(ROOT / "tests" / "broken_notebooks" / f"{name}.ipynb")
    assert len(found) == 1 and message in found[0], found


PAGES = [*sorted(ROOT.glob("*.md")), *(
    path for folder in ("benchmarks", "book", "exercises", "kdcourse", "notebooks", "solutions")
    for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".md", ".ipynb"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_row_on_a_page_belongs_to_a_table(path):
    assert [row for text in markdown(path) for row in lost_rows(text)] == []


@pytest.mark.parametrize("text, lost", [
    ("| a | b |\n|---|---|\n| 1 | 2 |\n\ntext", []), ("text\n\n| a |\n|:-:|\n| 1 |\n| 2 |", []),
    ("```\n| no | table |\n```", []), ("a | b", []), ("text\n| 1 |\nmore", ["| 1 |"]),
    ("| a |\n|---|\n| 1 |\n\n| 2 |", ["| 2 |"]), ("| a |\n| 1 |", ["| a |", "| 1 |"]),
])
def test_a_row_is_lost_where_no_head_stands_above_it(text, lost):
    assert lost_rows(text) == lost


def markdown(path: Path) -> list[str]:
    """The text of a page, or of the cells of a notebook that are text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [text]
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]


def test_every_broken_notebook_is_expected():
    assert {path.stem for path in (ROOT / "tests" / "broken_notebooks").glob("*.ipynb")} == set(BROKEN)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *ROOT.glob("*.md")], ids=lambda path: path.name)
def test_no_link_is_dead(path):
    text = prose(path) if path.suffix == ".ipynb" else path.read_text()
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if not target.startswith("http")]
    dead = [target for target in targets if not (path.parent / target).exists()]
    assert not dead, f"dead links: {dead}"


def test_every_finished_notebook_is_linked_from_the_map_of_the_course():
    links = set(re.findall(r"\]\(([^)]+\.ipynb)\)", prose(NOTEBOOKS[0])))
    assert links == {path.name for path in NOTEBOOKS[1:]}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_says_what_it_takes_and_closes_with_recall_and_sources(path):
    text = prose(path)
    parts = "| Time |", "After this notebook you can", "**The one idea.**", "## Summary", "**Recall**", "## Sources"
    assert [part for part in parts if part not in text] == []


def test_the_loop_written_by_hand_in_notebook_01_trains_as_fit_does():
    namespace = by_hand("01_vanilla_kd", "loop")
    source = data.load("digits")
    teacher = models.build("cnn", source.shape, 10, seed=1)
    train.fit(distillers.Supervised(teacher), source, epochs=1, lr=1e-3)
    student, twin = (models.build("mlp", source.shape, 10, seed=0) for _ in range(2))
    settings = {"epochs": 3, "lr": 1e-3, "batch_size": 64, "seed": 5}
    namespace["train_by_hand"](student, teacher.eval(), source.train, T=3.0, alpha=0.3, **settings)
    train.fit(distillers.KD(twin, teacher, T=3.0, alpha=0.3), source, **settings)
    first = models.build("mlp", source.shape, 10, seed=0).state_dict()
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], value, atol=1e-5, rtol=1e-4)
        assert not value.is_floating_point() or "normal" in name or not torch.equal(value, first[name])
    valid = source.valid
    right = (twin.eval()(valid.x.float() / 255).argmax(dim=1) == valid.y).double().mean().item()
    assert namespace["evaluate_by_hand"](student, valid, 64) == pytest.approx(right, abs=1e-9)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_names_no_folder_of_the_machine_it_was_made_on(path):
    text = path.read_text()
    for folder in filter(None, (str(ROOT), os.environ.get("KDCOURSE_DATA"))):
        assert folder not in text


def test_of_the_five_losses_in_notebook_02_one_is_right_and_four_are_the_mistakes_they_are_named_for():
    namespace = {}
    exec("import torch.nn.functional as F\n" + cell_of("02_soft_targets", "four-losses").source, namespace)
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = (3 * torch.randn(8, 5, generator=draw) for _ in range(2))
    right = losses.kd_loss(z_s, z_t, T=3)
    p_s, p_t = (z_s / 3).softmax(1), (z_t / 3).softmax(1)
    log_p_s = (z_s / 3).log_softmax(1)
    expected = {
        "right": right, "no_T_squared": right / 9, "swapped": losses.kd_loss(z_t, z_s, T=3),
        "mean_over_classes_too": 9 * (p_t * (p_t.log() - log_p_s)).mean(),
        "no_logarithm": 9 * (p_t * (p_t.log() - p_s)).sum(1).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(namespace[name](z_s, z_t, 3), value)


def test_the_gradient_and_the_smoothed_labels_of_notebook_02_are_those_of_torch():
    namespace = by_hand("02_soft_targets")
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = (3 * torch.randn(8, 5, generator=draw, dtype=torch.double) for _ in range(2))
    y = torch.randint(5, (8,), generator=draw)
    z_s.requires_grad_()
    (gradient,) = torch.autograd.grad(losses.kd_loss(z_s, z_t, T=3), z_s)
    torch.testing.assert_close(namespace["soft_gradient"](z_s, z_t, 3), gradient)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(z_s, namespace["smoothed"](y, 5, 0.2)),
                               torch.nn.functional.cross_entropy(z_s, y, label_smoothing=0.2))
    wrong = namespace["wrong_answers"](z_t, y, 3)
    for row, label in enumerate(y.tolist()):
        others = [k for k in range(5) if k != label]
        assert wrong[row, label] == 0
        torch.testing.assert_close(wrong[row, others], (z_t[row, others] / 3).softmax(dim=0))


def test_on_frozen_features_in_notebook_04_trains_the_networks_own_head_and_changes_nothing_else():
    cell = cell_of("04_mhist_transfer", "pretrained").source
    namespace = {"torch": torch, "nn": torch.nn}
    exec(cell, namespace)
    source = data.load("polyps", train=100, test=20)
    network = models.build("resnet8", source.shape, 2, seed=0, width=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train.fit(distillers.Supervised(namespace["OnFrozenFeatures"](network)), source, epochs=2, lr=1e-2, batch_size=32)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"linear.weight", "linear.bias"}


def test_the_inverted_residual_and_the_v1_block_in_notebook_04_are_torchvisions():
    namespace = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    for cell in ("block", "mobile"):
        exec(cell_of("04_mhist_transfer", cell).source, namespace)
    ours, theirs = namespace["MobileV2"](24).eval(), InvertedResidual(24, 24, 1, 6).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 24, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))
    ours, theirs = namespace["Block"]("V1", 8).eval(), BasicBlock(8, 8).eval()
    own = ours.state_dict()
    theirs.load_state_dict({name: own[name] for name in theirs.state_dict()})
    torch.nn.init.zeros_(ours.conv1.bias)
    torch.nn.init.zeros_(ours.conv2.bias)
    torch.testing.assert_close(ours(x[:, :8]), theirs(x[:, :8]))


def test_dist_written_by_hand_in_notebook_06_is_the_loss_of_the_package():
    namespace = by_hand("06_stronger_teachers")
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = (2 * torch.randn(16, 5, generator=draw) for _ in range(2))
    y = torch.randint(5, (16,), generator=draw)
    expected = F.cross_entropy(z_s, y) + losses.dist_loss(z_s, z_t, T=3, beta=2, gamma=2)
    torch.testing.assert_close(namespace["dist_by_hand"](z_s, z_t, y, 3), expected)
    assert losses.inter_class_loss(z_s, z_t, T=3) != losses.intra_class_loss(z_s, z_t, T=3)
    p = (z_t / 3).softmax(1)
    torch.testing.assert_close(namespace["correlation"](namespace["mixed"](p, 0.3), p), torch.ones(16))
