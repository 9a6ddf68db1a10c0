"""Results of benchmarks: none without what it takes to judge and repeat them."""

import importlib
import importlib.util
import json
import re
import shlex
import sqlite3
from pathlib import Path

import pytest

from kdcourse import distillers, metrics, studies
from kdcourse.marking import checks
from kdcourse.studies import halves

RESULTS = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("*.json"))


def problems(content: dict) -> list[str]:
    """What a results file lacks."""
    needed = {"settings", "seeds", "results", "command", "commit", "uncommitted_changes", "versions", "hardware"}
    found = [f"no {key}" for key in sorted(needed - content.keys())]
    if found:
        return found
    if not re.fullmatch(r"[0-9a-f]{40}", content["commit"]):
        found.append("the commit is not one")
    if content["uncommitted_changes"]:
        found.append("measured with changes that no commit holds")
    if len(set(content["seeds"])) < 3:
        found.append("fewer than three seeds")
    found += [f"no version of {package}" for package in ("python", "torch") if not content["versions"].get(package)]
    found += [f"no {key} of the hardware" for key in ("cpu", "threads") if not content["hardware"].get(key)]
    return found


@pytest.fixture
def record(monkeypatch):
    """The module that writes results."""
    monkeypatch.syspath_prepend(RESULTS[0].parents[1])
    return importlib.import_module("record")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_what_made_them(path):
    assert problems(json.loads(path.read_text())) == []


@pytest.mark.parametrize("key", ["settings", "seeds", "command", "commit", "versions", "hardware"])
def test_results_without_are_rejected(key):
    content = json.loads(RESULTS[0].read_text())
    del content[key]
    assert problems(content) == [f"no {key}"]


def test_results_of_uncommitted_code_or_too_few_seeds_are_rejected():
    content = json.loads(RESULTS[0].read_text()) | {"uncommitted_changes": True, "seeds": [0, 1], "commit": "main"}
    assert len(problems(content)) == 3


@pytest.mark.parametrize("typed, kept", [
    (["benchmarks/gap.py"], "python benchmarks/gap.py"),
    (["gap.py", "--second"], "python benchmarks/gap.py --second"),
    (["/somewhere/else/benchmarks/gap.py", "--seeds", "3"], "python benchmarks/gap.py --seeds 3"),
    (["../benchmarks/gap.py", "--arms", "KD, CNN 32", "LSKD"], "python benchmarks/gap.py --arms 'KD, CNN 32' LSKD"),
    (["tutorial.py", "--journal", "/tmp/rows.jsonl", "--report"], "python benchmarks/tutorial.py --report"),
    (["tutorial.py", "--report", "--journal=/tmp/rows.jsonl"], "python benchmarks/tutorial.py --report"),
    (["tutorial.py", "--jou", "rows.jsonl", "--until", "15:00"], "python benchmarks/tutorial.py --until 15:00"),
    (["cifar10_halves.py", "--report", "--folder", "/tmp/halves"], "python benchmarks/cifar10_halves.py --report"),
    (["cifar10_halves.py", "--folder=halves", "--only", "kd"], "python benchmarks/cifar10_halves.py --only kd"),
    (["grading.py", "01", "--jobs", "2"], "python benchmarks/grading.py 01 --jobs 2"),
])
def test_a_command_is_recorded_as_a_reader_of_the_repository_types_it(typed, kept, record):
    assert record.command(typed) == kept
    assert record.command(shlex.split(kept)[1:]) == kept


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_command_of_a_result_is_of_that_form_and_has_options_that_its_script_takes(path, record):
    kept = json.loads(path.read_text())["command"]
    script, *words = shlex.split(kept)[1:]
    assert record.command([script, *words]) == kept
    source = "".join(path.read_text() for path in (RESULTS[0].parents[2] / script, Path(record.__file__)))
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in source] == []


@pytest.mark.parametrize("words, seeds, name", [
    ([], list(range(10)), "gap"), (["--seeds", "3"], [0, 1, 2], "gap"),
    (["--second", "--seeds", "2"], [10, 11], "gap_again"),
    (["--name", "trial", "--second"], list(range(10, 20)), "trial_again"),
])
def test_a_second_run_has_seeds_that_the_first_had_not_and_a_file_of_its_own(words, seeds, name, record):
    parser = record.twice("about", "other teachers, too")
    parser.add_argument("--name", default="gap")
    assert record.seeds_and_name(parser.parse_args(words)) == (seeds, name)


def test_the_readme_of_the_benchmarks_names_every_script_and_what_they_share():
    folder = RESULTS[0].parents[1]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in sorted(folder.glob("*.py")) if f"`{path.name}`" not in text] == []


def test_every_student_on_mnist_has_a_result_for_every_seed():
    content = json.loads((RESULTS[0].parent / "mnist_kd.json").read_text())
    for plan, runs in content["results"]["students"].items():
        assert [run["seed"] for run in runs] == content["seeds"], plan
        assert all(0 < run["test_errors"] < 10_000 for run in runs)


def test_the_table_of_mnist_is_what_was_measured():
    results = json.loads((RESULTS[0].parent / "mnist_kd.json").read_text())["results"]
    students = {plan: [1 - run["test_errors"] / 10_000 for run in runs] for plan, runs in results["students"].items()}
    rows = [f"| teacher (one) | {100 - results['teacher']['test_errors'] / 100:.2f} | |"]
    for plan, accuracies in students.items():
        difference = metrics.compare(accuracies, students["alone"], images=10_000)
        against = f"{100 * difference.mean:+.2f} [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"
        name = plan.replace("=", " = ").replace("stopped = ", "teacher stopped after epoch ")
        mean = 100 * sum(accuracies) / len(accuracies)
        rows.append(f"| {name} | {mean:.2f} | {'' if plan == 'alone' else against} |")
    text = (RESULTS[0].parent.parent / "README.md").read_text()
    assert [row for row in rows if row not in text] == []
    gain = metrics.compare(students["T=4"], students["alone"], images=10_000)
    said = f"{100 * gain.mean:.2f}\npoints [{100 * gain.low:.2f}, {100 * gain.high:.2f}] over hard labels, five seeds"
    assert said.replace("\n", " ") in " ".join((RESULTS[0].parents[2] / "README.md").read_text().split())


def test_what_a_teacher_that_knows_nothing_gains_is_in_the_text():
    results = json.loads((RESULTS[0].parent / "mnist_uniform.json").read_text())["results"]
    text = (RESULTS[0].parent.parent / "README.md").read_text()
    for alpha in (0.1, 0.5):
        ours, alone = ([1 - run["test_errors"] / 10_000 for run in results["students"][plan]]
                       for plan in (f"uniform, alpha={alpha}", "alone"))
        gain = metrics.compare(ours, alone, images=10_000)
        assert f"{100 * gain.mean:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}] at alpha = {alpha}" in text


def row_of_method(method: str, entry: dict) -> str:
    """A row of the table in benchmarks/README.md."""
    cells = [f"{entry[against]['points']:+.1f} [{entry[against]['low']:+.1f}, {entry[against]['high']:+.1f}]"
             for against in ("wrong answers", "hard labels")]
    falls = ", ".join(f"{name} {count}" for name, count in entry["distance falls in"].items())
    return f"| {method} | {100 * entry['accuracy']:.1f} | {' | '.join(cells)} | {falls} |"


def row_of_epoch(entry: dict) -> str:
    """A row of the table of speeds in benchmarks/README.md."""
    common, ours, alone, half = (entry["seconds"].get(name, 0.0) for name in ("common", "ours", "alone", "bfloat16"))
    cells = [entry["what"].rstrip("."), f"{common:.2f}", f"{ours:.2f}", f"{common / ours:.1f}",
             f"{common / half:.1f}" if half else "", f"{ours / alone:.2f}" if alone else "",
             f"{entry['recording']:.0f} s, {entry['break-even']:.1f} epochs" if "recording" in entry else ""]
    return f"| {' | '.join(cells)} |"


def test_every_method_on_cifar10_was_trained_with_right_and_with_wrong_answers_for_every_seed():
    content = json.loads((RESULTS[0].parent / "cifar10_methods.json").read_text())
    trials = {(t["method"], t["answers"], t["seed"]) for t in content["results"]["trials"]}
    methods = {method for method, _, _ in trials} - {"hard labels"}
    later = {"lskd", "nkd", "ttm", "wttm", "cross_arch", "lwf", "adversarial"}  # joined when these were measured
    assert methods >= set(distillers.METHODS) - {"pro_kd", "dml"} - later
    expected = {(method, answers, seed) for method in methods for answers in ("right", "wrong")
                for seed in content["seeds"]} | {("hard labels", "none", seed) for seed in content["seeds"]}
    assert trials == expected
    assert all(re.fullmatch("[0-9a-f]{40}", t["commit"]) for t in content["results"]["trials"])


def test_the_table_of_the_methods_is_what_was_measured():
    summary = json.loads((RESULTS[0].parent / "cifar10_methods.json").read_text())["results"]["summary"]
    text = (RESULTS[0].parent.parent / "README.md").read_text()
    assert [row for method, entry in summary.items() if (row := row_of_method(method, entry)) not in text] == []


def test_the_table_of_speeds_is_what_was_measured():
    results = json.loads((RESULTS[0].parent / "speed.json").read_text())["results"]
    text = (RESULTS[0].parent.parent / "README.md").read_text()
    rows = [row_of_epoch(entry) for entry in results.values() if "ratio" in entry]
    assert len(rows) == 7 and [row for row in rows if row not in text] == []


def rows_of_transfer(content: dict) -> list[str]:
    """The rows of one run of the tissue benchmark in benchmarks/README.md: cells, then differences of the AUC, whose
    verdicts are those after Holm's correction over the four."""
    cells, images = content["results"]["cells"], content["settings"]["images"]
    auc = {cell: [row["auc"] for row in rows] for cell, rows in cells.items()}
    rows = [f"| {images:,} | {cell} | {100 * sum(values) / len(values):.1f} |" for cell, values in auc.items()]
    family = {f"{ours} - {baseline}": (auc[ours], auc[baseline]) for ours, baseline in (
        ("imagenet, labels", "random, labels"), ("imagenet, distilled", "random, distilled"),
        ("random, distilled", "random, labels"), ("imagenet, distilled", "imagenet, labels"))}
    for question, c in metrics.family(family, images=600).items():
        difference = f"{100 * c.mean:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]"
        rows.append(f"| {images:,} | {question} | {difference}, n = {c.n}: {c.verdict} |")
    return rows


@pytest.mark.parametrize("name", ["pcam_transfer", "pcam_transfer_200"])
def test_the_table_of_transfer_on_tissue_is_what_was_measured(name):
    content = json.loads((RESULTS[0].parent / f"{name}.json").read_text())
    text = (RESULTS[0].parent.parent / "README.md").read_text()
    assert [row for row in rows_of_transfer(content) if row not in text] == []
    assert all([row["seed"] for row in rows] == content["seeds"] for rows in content["results"]["cells"].values())


def rows_of_teachers(name: str, task: dict) -> list[str]:
    """The rows of one data set of the DIST benchmark in benchmarks/README.md: students, against hard labels."""
    runs = {lesson: [row["test_accuracy"] for row in rows] for lesson, rows in task["students"].items()}
    rows = []
    for lesson, values in runs.items():
        c = metrics.compare(values, runs["hard labels"], images=task["images"]["test"])
        beside = f"{100 * c.mean:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]" if lesson != "hard labels" else ""
        rows.append(f"| {name} | {lesson} | {100 * sum(values) / len(values):.1f} | {beside} |")
    return rows


def test_the_table_of_stronger_teachers_is_what_was_measured():
    content = json.loads((RESULTS[0].parent / "dist_vit.json").read_text())
    text = (RESULTS[0].parent.parent / "README.md").read_text()
    rows = [row for name, task in content["results"].items() for row in rows_of_teachers(name, task)]
    assert len(rows) == 12 and [row for row in rows if row not in text] == []
    for task in content["results"].values():
        assert all([row["seed"] for row in rows] == content["seeds"] for rows in task["students"].values())
        assert all(f"{100 * known['test_accuracy']:.1f} %" in text for known in task["teachers"].values())


def rows_of_table(title: str, table: dict) -> list[str]:
    """The rows of one family of comparisons with hard labels in benchmarks/README.md."""
    rows = []
    for arm, entry in table.items():
        c = entry.get("above hard labels")
        lost = c is not None and not c["holm"] and (c["low"] > 0 or c["high"] < 0)  # clear alone, not in its family
        beside = "" if c is None else (f"{c['points']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}], n = {c['n']}"
                                       f"{', not after Holm' if lost else ''}")
        rows.append(f"| {title} | {arm} | {100 * entry['test_accuracy']:.1f} | {beside} |")
    return rows


def test_the_tables_of_the_positive_control_are_what_was_measured():
    content = json.loads((RESULTS[0].parent / "positive_control.json").read_text())
    text = (RESULTS[0].parent.parent / "README.md").read_text()
    rows = [row for title, table in content["results"]["tables"].items() for row in rows_of_table(title, table)]
    assert [row for row in rows if row not in text] == []
    assert all(f"{100 * entry['valid_accuracy']:.1f}" in text for entry in content["results"]["grid"])


def test_the_positive_control_is_positive_in_two_sets_of_seeds_and_with_the_other_teacher():
    results = json.loads((RESULTS[0].parent / "positive_control.json").read_text())["results"]
    chosen = "kd, " + ", ".join(f"{name} = {value:g}" for name, value in results["chosen"].items())
    tables = results["tables"]
    assert list(tables) == ["ten seeds", "ten other seeds", "another teacher"]
    for table in tables.values():
        found = table[chosen]["above hard labels"]
        assert found["n"] == 10 and found["low"] > 0 and found["holm"]


def test_settings_of_the_positive_control_were_chosen_on_validation_images_by_seeds_of_their_own():
    content = json.loads((RESULTS[0].parent / "positive_control.json").read_text())
    trials = content["results"]["trials"]
    tried = {row["seed"] for row in trials if row["stage"] == "chosen"}
    measured = [row for row in trials if row["stage"] == "measured"]
    assert not tried & {row["seed"] for row in measured}
    assert all(row["test_accuracy"] is None for row in trials if row["stage"] == "chosen")
    best = max(content["results"]["grid"], key=lambda entry: entry["valid_accuracy"])
    assert best["settings"] == content["results"]["chosen"]
    for row in measured:
        assert re.fullmatch("[0-9a-f]{40}", row["commit"]) and row["test_accuracy"] > 0.5


def test_comparisons_in_a_table_are_those_of_the_trainings_beside_it():
    results = json.loads((RESULTS[0].parent / "positive_control.json").read_text())["results"]
    trials = [row for row in results["trials"] if row["stage"] == "measured"]

    def accuracies(seeds, **values):
        found = {row["seed"]: row["test_accuracy"] for row in trials
                 if row["seed"] in seeds and all(row[key] == value for key, value in values.items())}
        return [found[seed] for seed in seeds]

    for title, seeds in (("ten seeds", range(10)), ("ten other seeds", range(10, 20))):
        ours = accuracies(seeds, method="kd", settings=results["chosen"], teacher="fashion_cnn")
        c = metrics.compare(ours, accuracies(seeds, method="hard labels"), images=2_000)
        chosen = "kd, " + ", ".join(f"{name} = {value:g}" for name, value in results["chosen"].items())
        entry = results["tables"][title][chosen]["above hard labels"]
        found = (entry["points"], entry["low"], entry["high"])
        assert found == pytest.approx((100 * c.mean, 100 * c.low, 100 * c.high))


@pytest.mark.parametrize("name", [name for name in ("methods_fashion", "methods_cifar10")
                                  if (RESULTS[0].parent / f"{name}.json").exists()])
def test_the_tables_of_the_methods_are_what_was_measured_and_what_is_missing_is_named(name):
    content = json.loads((RESULTS[0].parent / f"{name}.json").read_text())
    text, results = (RESULTS[0].parent.parent / "README.md").read_text(), content["results"]
    rows = [row for title, cell in results["cells"].items() for row in rows_of_table(title, cell["table"])]
    assert rows and [row for row in rows if row not in text] == []
    lacking = {(entry["cell"], entry["method"]): set(entry["seeds"]) for entry in results["missing"]}
    for title, cell in results["cells"].items():
        for arm, entry in cell["table"].items():
            assert entry["n"] + len(lacking.get((title, arm), ())) == len(content["seeds"]), (title, arm)
    assert all(row["test_accuracy"] is None for row in results["trials"] if row["stage"] == "chosen")


def test_the_table_of_the_halves_is_what_was_measured_and_what_is_missing_is_named():
    content = json.loads((RESULTS[0].parent / "cifar10_halves.json").read_text())
    text, results, study = (RESULTS[0].parent.parent / "README.md").read_text(), content["results"], halves.study()
    trained = {(row["arm"], row["seed"]): row["result"]["test_top1"] for row in results["trials"]}
    wanted = {(unit.arm.name, unit.seed) for unit in study.units()}
    assert trained.keys() == wanted - {(arm, seed) for arm, seeds in results["missing"].items() for seed in seeds}
    for arm, accuracy in ((arm, entry) for cell in results["cells"].values() for arm, entry in cell["arms"].items()):
        found = [top1 for (name, _), top1 in trained.items() if name == arm]
        assert (accuracy["n"], accuracy["test_accuracy"]) == (len(found), pytest.approx(sum(found) / len(found)))
    for question, c in ((q, c) for cell in results["cells"].values() for q, c in cell["questions"].items()):
        assert (c["ours"], c["baseline"]) == study.questions[question]
        pairs = [[trained[arm, seed] for seed in range(c["n"])] for arm in study.questions[question]]
        one = metrics.compare(*pairs, images=10_000)
        assert (c["points"], c["low"], c["high"]) == pytest.approx((100 * one.mean, 100 * one.low, 100 * one.high))
        beside = f"{c['points']:+.1f} [{c['low']:+.1f}, {c['high']:+.1f}], n = {c['n']}"
        assert f"| {question} | {beside} | {c['verdict']} |" in text
    for cell in results["cells"].values():
        for family in {c["family"] for c in cell["questions"].values()}:
            pairs = {question: [[trained[arm, seed] for seed in range(c["n"])] for arm in (c["ours"], c["baseline"])]
                     for question, c in cell["questions"].items() if c["family"] == family}
            about = {"slkd": "SLKD", "vit": "ViT"}  # in the name of an arm
            assert {next((about[word] for word in about if word in " ".join(study.questions[question]).split()), "DIST")
                    for question in pairs} == {family}
            for question, c in metrics.family(pairs, images=10_000, margin=study.margin).items():
                found = cell["questions"][question]
                assert (found["p_holm"], found["verdict"]) == (pytest.approx(c.holm), c.verdict)
    assert all(row["settings"] == studies.Unit(study, study.arm(row["arm"]), row["seed"]).settings()
               for row in results["trials"])  # a later run refuses others


@pytest.fixture(scope="module")
def grading():
    """The benchmark of grading, as a module."""
    about = importlib.util.spec_from_file_location("grading_benchmark", RESULTS[0].parents[1] / "grading.py")
    about.loader.exec_module(module := importlib.util.module_from_spec(about))
    return module


@pytest.mark.parametrize("name", sorted(checks.ASSIGNMENTS))
def test_hand_ins_that_are_graded_to_measure_it_are_mixed_and_no_two_are_the_same(name, grading):
    assert sorted(checks.ASSIGNMENTS) == grading.NAMES
    made = [grading.hand_in(name, number) for number in range(10)]
    assert len({json.dumps(notebook) for notebook, _ in made}) == 10
    total = max(most for _, (_, most) in made)
    kinds = [(least == total, least == most == 0, 0 < least == most < total, least < most < total)
             for _, (least, most) in made]
    assert [sum(kind) for kind in zip(*kinds, strict=True)] == [6, 1, 1, 2]  # solved, untouched, half, with a mistake
    checked = {cell["id"]: cell["source"] for cell in made[0][0]["cells"] if grading.points(cell)}
    for notebook, _ in made[1:]:
        assert checked == {cell["id"]: cell["source"] for cell in notebook["cells"] if grading.points(cell)}


@pytest.mark.parametrize("marks, rows, said", [
    ((9, 5), 2, []), ((9, 6), 2, ["b.ipynb: 6 marks, and 4 to 5 are deserved (late)"]),
    ((9, 0), 1, ["rows and hand-ins differ: b.ipynb"]),
])
def test_what_grading_made_wrong_is_told_by_its_benchmark(marks, rows, said, grading, tmp_path):
    (tmp_path / "grading").mkdir()
    sqlite3.connect(tmp_path / "grading" / "gradebook.db").close()
    lines = ["handed in as,automatic,notes", f"a.ipynb,{marks[0]},", f"b.ipynb,{marks[1]},late"][:rows + 1]
    (tmp_path / "grading" / "x.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    assert grading.wrong("x", tmp_path, {"a.ipynb": (9, 9), "b.ipynb": (4, 5)}) == said


def test_with_1000_images_every_method_of_logits_helps_and_none_is_shown_to_be_better_than_kd():
    results = json.loads((RESULTS[0].parent / "methods_fashion.json").read_text())["results"]
    at = "1000 images, perceptron"
    table = results["cells"][at]["table"]
    methods = [arm for arm in table if arm != "hard labels"]
    assert len(methods) == 11 and all(table[arm]["above hard labels"]["low"] > 0 for arm in methods)
    assert all(table[arm]["above hard labels"]["holm"] for arm in methods)
    runs = {}
    for row in results["trials"]:
        if (row["cell"], row["stage"]) == (at, "measured"):
            runs.setdefault(row["method"], {})[row["seed"]] = row["test_accuracy"]
    pairs = {arm: [[each[seed] for seed in range(10)] for each in (runs[arm], runs["kd"])]
             for arm in methods if arm != "kd"}
    verdicts = {arm: found.verdict for arm, found in metrics.family(pairs, images=10_000).items()}
    assert "better" not in verdicts.values()
    assert {arm for arm, verdict in verdicts.items() if verdict == "worse"} == {"nkd", "dkd", "eskd", "ctkd"}
