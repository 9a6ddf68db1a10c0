"""Lesson 10: its checks name the misconception, what is written by hand is the package's, and its studies are whole."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from lessons import by_hand

from kdcourse import data, metrics, ship, study, trained, viz
from kdcourse.marking import checks
from kdcourse.ship import int8
from kdcourse.ship.exits import curve
from kdcourse.widgets import LatencyExplorer

LESSON = Path(__file__).parents[2] / "notebooks" / "10_ship_it.ipynb"


@pytest.fixture(scope="module")
def hand() -> dict:
    return by_hand(LESSON.stem)


def packages_stored(x, low, high, bits):
    grid = int8.affine(low, high, bits=bits)
    return int8.dequantise(int8.quantise(x, grid), grid)


def packages_layer(q_x, q_w, s_x, s_w, zero):
    """`int8.whole_layer`, without the last step, to the grid of the output."""
    layer = torch.nn.Linear(q_w.shape[1], len(q_w), bias=False)
    with torch.no_grad():
        layer.weight.copy_(q_w * s_w[:, None])
    fine = int8.Grid(torch.tensor(1e-6), torch.tensor(0), -2**40, 2**40)
    x, w = int8.Grid(s_x, torch.tensor(zero), 0, 255), int8.Grid(s_w[:, None], torch.tensor(0), -127, 127)
    return int8.dequantise(int8.whole_layer(q_x, layer, x, w, fine), fine)


def packages_cost(confidence, costs, threshold):
    z = [torch.stack([each.logit(), torch.zeros_like(each)], dim=1) for each in confidence.clamp(0.501, 0.9999)]
    return torch.tensor(curve(z, torch.zeros(confidence.shape[1]).long(), costs.tolist(), [threshold])[0]
                        ["multiply_adds"])


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_numbers_stored_by_hand_are_those_of_the_package(hand, bits):
    x = torch.randn(200, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hand["stored"](x, -1.3, 2.1, bits), packages_stored(x, -1.3, 2.1, bits))


def test_the_layer_by_hand_is_the_packages(hand):
    draw = torch.Generator().manual_seed(0)
    q_x, q_w = torch.randint(256, (6, 5), generator=draw), torch.randint(-127, 128, (4, 5), generator=draw)
    s_x, s_w = torch.tensor(0.01), 0.01 + torch.rand(4, generator=draw) / 100
    torch.testing.assert_close(hand["layer_in_integers"](q_x, q_w, s_x, s_w, 30).float(),
                               packages_layer(q_x, q_w, s_x, s_w, 30), atol=1e-4, rtol=1e-4)


def test_rounding_by_hand_has_the_value_and_the_gradient_of_the_packages(hand):
    w = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    grid, slopes = int8.symmetric(w, bits=3, axis=0), []
    rounded = int8.dequantise(int8.quantise(w, grid), grid)
    for way in (hand["rounded_with_gradient"], lambda w, _: int8.straight_through(w, grid)):
        at = w.clone().requires_grad_()
        found = way(at, rounded)
        torch.testing.assert_close(found, rounded)
        slopes.append(torch.autograd.grad((found * w).sum(), at)[0])
    assert torch.equal(*slopes)


def test_the_mean_cost_by_hand_is_the_curves(hand):
    confidence = 0.51 + 0.48 * torch.rand(3, 50, generator=torch.Generator().manual_seed(0))
    costs = torch.tensor([1.0, 3.0, 9.0])
    for threshold in (0.0, 0.6, 0.8, 0.95, 1.01):
        assert float(hand["mean_cost"](confidence, costs, threshold)) == pytest.approx(
            float(packages_cost(confidence, costs, threshold)), rel=1e-5)


@pytest.mark.parametrize(("name", "answer"), [
    ("stored", packages_stored), ("layer_in_integers", packages_layer),
    ("rounded_with_gradient", lambda w, r: w + (r - w).detach()),
])
def test_what_the_package_gives_is_right(name, answer, capsys):
    checks.CHECKS[name](answer)
    assert "right" in capsys.readouterr().out


def whole(x, low, high, bits):
    grid = int8.affine(low, high, bits=bits)
    return int8.quantise(x, grid)


def surest(confidence, costs, threshold):
    return costs[confidence.argmax(dim=0)].mean()


def surest_first(confidence, costs, threshold):
    sure = confidence >= threshold
    sure[-1] = True
    return costs[sure.int().argmax(dim=0)].mean()


def first(confidence, costs, threshold):
    return costs[(confidence >= threshold).int().argmax(dim=0)]


@pytest.mark.parametrize(("name", "answer", "message"), [
    ("stored", whole, "the whole numbers were returned"),
    ("stored", lambda x, low, high, bits: packages_stored(x.clamp(low, high), low, high + 1e-3, bits) * 0, "is right"),
    ("layer_in_integers", lambda q_x, q_w, s_x, s_w, zero: packages_layer(q_x, q_w, s_x, s_w, 0),
     "the zero point is not subtracted"),
    ("layer_in_integers", lambda q_x, q_w, s_x, s_w, zero: packages_layer(q_x, q_w.T, s_x, s_w, zero),
     "the weights are not transposed"),
    ("rounded_with_gradient", lambda w, r: r, "the gradient"),
    ("rounded_with_gradient", lambda w, r: w + (r - w.detach()), "the gradient"),
    ("mean_cost", lambda confidence, costs, at: surest_first(confidence, costs.cumsum(0), at), "were added up"),
    ("rounded_with_gradient", lambda w, r: (w + (r - w)).detach(), "no gradient reaches"),
    ("rounded_with_gradient", lambda w, r: w + (r - w), "the gradient"),
    ("mean_cost", surest, "surest exit"),
    ("mean_cost", lambda *given: first(*given).mean(), "no exit is sure"),
    ("mean_cost", first, "a tensor of shape"),
])
def test_a_wrong_answer_hears_which_misconception_it_is(name, answer, message):
    with pytest.raises(checks.CheckFailed, match=message):
        checks.CHECKS[name](answer)


WIDTHS = ("float32", "8 bits", "4 bits", "3 bits", "2 bits")
LESSONS = ("hard labels", "KD")


@pytest.mark.parametrize(("name", "first", "teacher"), [("low_bits", 0, "fashion_resnet"),
                                                        ("low_bits_again", 10, "fashion_cnn")])
def test_the_study_of_few_bits_has_every_arm_with_every_seed(name, first, teacher):
    content = study.recorded(name)
    students = content["results"]["students"]["perceptron 64"]
    arms = {f"{lesson}, {at}" for lesson in LESSONS for at in WIDTHS} | {
        f"{lesson}, rounded to {at}" for lesson in LESSONS for at in WIDTHS[1:]}
    assert students.keys() == arms and content["seeds"] == list(range(first, first + 10))
    assert all([run["seed"] for run in runs] == content["seeds"] for runs in students.values())
    assert content["results"]["teacher"]["name"] == teacher
    assert content["results"]["chosen"] == study.recorded("low_bits")["results"]["chosen"]


def test_the_levers_have_every_arm_and_their_settings_are_the_best_on_validation_images():
    content = study.recorded("levers")
    fashion, seeds = content["results"]["fashion"], content["seeds"]
    assert not set(seeds) & set(content["settings"]["choosing seeds"]) and len(seeds) >= 5
    assert set(fashion["students"]) == {"hard labels", "KD", "KD, half the width"}
    assert all([run["seed"] for run in runs] == seeds for runs in fashion["students"].values())
    for arm in ("hard labels", "KD"):
        point = fashion["chosen"][arm]
        best = max(point["scores"], key=lambda score: score["valid_accuracy"])
        assert (point["lr"], point["T"]) == (best["lr"], best["T"])
    for run in content["results"]["exits"]["students"]["BYOT"]:
        assert sum(run["shares"]) == pytest.approx(1) and run["multiply_adds"] <= run["costs"][-1]
    for runs in content["results"].get("cifar10", {"students": {}})["students"].values():
        assert all(run["accuracy"] > 0.9 and run["int8_bytes"] < run["bytes"] / 2 for run in runs)


@pytest.mark.parametrize("name", ["low_bits", "low_bits_again"])
def test_the_ledgers_verdicts_on_kd_in_few_bits_are_those_after_holms_correction(name):
    [ledger] = [cell.source for cell in nbformat.read(LESSON, 4).cells if cell.id == "ledger"]
    students = study.recorded(name)["results"]["students"]["perceptron 64"]
    right = {arm: [run["accuracy"] for run in runs] for arm, runs in students.items()}
    gains = metrics.family({at: (right[f"KD, {at}"], right[f"hard labels, {at}"]) for at in WIDTHS}, images=2_000)
    for at, gain in gains.items():
        arm = "`students / perceptron 64 / {}, " + at + "`"
        cited = f"`{name}`: {arm.format('KD')} against {arm.format('hard labels')}, `accuracy`"
        [row] = [line for line in ledger.splitlines() if cited in line]
        said = gain.verdict if gain.verdict in ("better", "worse") else "not shown"
        assert row.split("|")[4].strip().endswith(f", {said}"), row


def test_that_few_bits_raise_or_lower_the_gain_is_not_shown_by_either_file():
    for name in ("low_bits", "low_bits_again"):
        students = study.recorded(name)["results"]["students"]["perceptron 64"]
        gain = {at: [a["accuracy"] - b["accuracy"] for a, b in zip(
            students[f"KD, {at}"], students[f"hard labels, {at}"], strict=True)] for at in WIDTHS}
        for at in WIDTHS[1:]:
            _, low, high = metrics.interval([a - b for a, b in zip(gain[at], gain["float32"], strict=True)])
            assert low < 0 < high, (name, at)
            assert at != "4 bits" or max(-low, high) < 0.005


def table_of_few_bits() -> list[str]:
    """The rows of the table of few bits in benchmarks/README.md."""
    rows = []
    for name in ("low_bits", "low_bits_again"):
        content = study.recorded(name)
        found = {arm: [run["accuracy"] for run in runs]
                 for arm, runs in content["results"]["students"]["perceptron 64"].items()}
        gains = metrics.family({at: (found[f"KD, {at}"], found[f"hard labels, {at}"]) for at in WIDTHS}, images=2_000)
        for at, gain in gains.items():
            after = found.get(f"KD, rounded to {at}")
            points = f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
            cells = [content["results"]["teacher"]["name"], at, mean(found[f"hard labels, {at}"]),
                     mean(found[f"KD, {at}"]), points, gain.verdict, mean(after) if after else ""]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def table_of_eight_bits() -> list[str]:
    """The rows of the table of networks in eight bits in benchmarks/README.md."""
    results, rows = study.recorded("levers")["results"], []
    networks = {"Fashion-MNIST, CNN of width 32 (the teacher)": [results["fashion"]["teacher"]],
                "Fashion-MNIST, CNN of width 8, by KD": results["fashion"]["students"]["KD"]}
    others = {"mnist": "MNIST, assignment's student", "cifar10": "CIFAR-10"}
    networks |= {f"{others[part]}, {arm}": runs for part in others if part in results
                 for arm, runs in results[part]["students"].items()}
    for name, runs in networks.items():
        shares = [mean([run[key] for run in runs]) for key in ("accuracy", "int8_accuracy", "wide_accuracy")]
        sizes = [f"{sum(run[key] for run in runs) / len(runs) / 1000:.0f}" for key in ("bytes", "int8_bytes")]
        rows.append(f"| {name} | {len(runs)} | {' | '.join(shares + sizes)} |")
    return rows


def mean(shares: list[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.1f}"


@pytest.mark.parametrize("table", [table_of_few_bits, table_of_eight_bits])
def test_a_table_of_what_is_shipped_is_what_was_measured(table):
    text = (Path(__file__).parents[2] / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert [row for row in table() if row not in text] == []


def test_the_minutes_of_the_core_and_of_the_optional_section_are_those_of_the_title():
    text = "\n".join(cell.source for cell in nbformat.read(LESSON, 4).cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## \d+ · (.+) · (\d+) min$", text, re.MULTILINE)
    core = sum(int(minutes) for title, minutes in headings if not title.startswith("Optional"))
    optional = sum(int(minutes) for title, minutes in headings if title.startswith("Optional"))
    assert core <= 60 and f"{core} minutes to read" in text and f"Optional section: {optional} minutes" in text


def test_every_network_is_timed_in_every_round_on_a_machine_that_is_named():
    content = study.recorded("ship")
    rows, rounds = content["results"]["rows"], content["seeds"]
    assert content["hardware"]["cpu"] and len(content["results"]["load"]) == len(rounds) + 1
    kept = {}
    for row in rows:
        assert 0 < row["p10"] <= row["median"] <= row["p90"]
        key = tuple(row[name] for name in ("family", "network", "runtime", "batch", "threads"))
        kept.setdefault(key, []).append(row["round"])
    assert all(found == rounds for found in kept.values())
    LatencyExplorer([row for row in rows if row["runtime"] != "exits"])


def test_the_ledger_says_how_well_a_recorded_ratio_repeats():
    kept = {}
    for row in study.recorded("ship")["results"]["rows"]:
        if row["runtime"] != "exits":
            at = row["threads"], row["network"], row["runtime"], row["batch"]
            kept.setdefault(at, []).append(row["ratio"])
    one, two = ([max(rounds) / min(rounds) for at, rounds in kept.items() if at[0] == threads] for threads in (1, 2))
    one, two = (f"{sorted(apart)[len(apart) * 9 // 10]:.1f}" for apart in (one, two))
    assert f"nine of ten within a factor of {one} on one, of {two} on two" in LESSON.read_text(encoding="utf-8")


POINTS = {"cheap": (1, [0.7]), "better": (2, [0.8]), "worse and dearer": (3, [0.75]), "best": (9, [0.9]),
          "as good and dearer": (10, [0.9]), "dear": (20, [0.5])}


def test_the_frontier_has_what_no_other_beats_from_the_cheapest_on():
    assert viz.on_frontier(POINTS) == ["cheap", "better", "best"]
    assert viz.on_frontier({"a": (1, [0.5, 0.7]), "b": (1, [0.6])}) == ["a", "b"]


def test_the_picture_of_a_frontier_joins_them_and_names_every_point():
    ax = viz.frontier(POINTS, cost="time")
    assert list(ax.lines[0].get_xdata()) == [1, 2, 9] and list(ax.lines[0].get_ydata()) == pytest.approx([70, 80, 90])
    assert {text.get_text() for text in ax.texts} == set(POINTS)
    assert {text.get_text() for text in ax.texts if text.get_fontweight() == "bold"} == {"cheap", "better", "best"}
    plt.close(ax.figure)


def test_no_name_of_a_frontier_covers_another_or_a_point():
    near = {"student alone": (0.26, [0.73]), "distilled": (0.26, [0.72]), "distilled, int8": (0.34, [0.735]),
            "teacher": (1, [0.91]), "half the width": (0.2, [0.65])}
    ax = viz.frontier(near, cost="time")
    boxes = [text.get_window_extent() for text in ax.texts]
    points = [ax.transData.transform((price, 100 * right)) for price, [right] in near.values()]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
    assert not any(box.contains(*point) for box in boxes for point in points)
    plt.close(ax.figure)


def test_a_long_name_at_the_left_end_of_a_frontier_is_within_the_picture():
    near = {"teacher": (1, [0.91]), "student alone": (0.26, [0.773]), "distilled": (0.26, [0.775]),
            "distilled, int8": (0.34, [0.773]), "distilled, half the width": (0.21, [0.76])}
    ax = viz.frontier(near, cost="time")
    within = ax.get_window_extent()
    for box in (text.get_window_extent() for text in ax.texts):
        assert within.x0 <= box.x0 and box.x1 <= within.x1 and within.y0 <= box.y0 and box.y1 <= within.y1
    plt.close(ax.figure)


def test_the_diagram_of_rounding_has_the_derivative_that_was_given():
    figure = viz.diagrams.rounding(torch.round, lambda w, r: w + (r - w).detach(), low=-1, high=1)
    left, right = figure.axes
    assert len(set(left.lines[1].get_ydata().tolist())) == 3
    assert set(right.lines[0].get_ydata().tolist()) == {0} and set(right.lines[1].get_ydata().tolist()) == {1}
    plt.close(figure)


@pytest.fixture(scope="module")
def slips() -> list[str]:
    """The cells of the lesson that ship a network and give its file other images."""
    cells = {cell.id: cell.source for cell in nbformat.read(LESSON, 4).cells}
    return [cells["slips"], cells["slips-verdict"]]


def test_the_slips_of_the_page_are_refused_or_run_as_its_text_says(slips, tmp_path, capsys):
    split, network = data.load("fashion_small").test, trained.network("fashion_cnn")
    folder = ship.export(network, tmp_path / "network.onnx").parent
    found = {"test": split, "y": split.y, "folder": folder, "missing": "", "ship": ship, "metrics": metrics}
    for cell in slips:
        exec(cell, found)
    assert set(found["right"]) == {"nothing wrong", "bytes from 0 to 1", "light and dark exchanged"}
    said = capsys.readouterr().out
    assert said.count("the file takes bytes") == 3 and said.endswith("right answers: True\n")


def test_the_diagram_of_exits_asks_at_all_but_the_last():
    figure = viz.diagrams.exits(["stage 1", "stage 2", "stage 3"])
    words = [text.get_text() for text in figure.axes[0].texts]
    assert [word for word in words if "sure?" in word] == ["exit 1: sure?", "exit 2: sure?"]
    assert words.count("no") == 2
    plt.close(figure)
