"""The exercises themselves through `kdcourse grade`: nbgrader, sandbox, judges, and answers of the catalogue."""

import csv
import inspect
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from grading.course import need_sandbox, own, write
from wrong_answers import experiments, losses, right

from kdcourse.marking import checks
from kdcourse.marking.grade import grade

ROOT = Path(__file__).parents[2]
NAME = "01_vanilla_kd"
IMPORTS = "import math\nfrom torch.distributions import Categorical, kl_divergence\n"
IMPORTS += "from torch.utils.data import DataLoader, TensorDataset"
SHORT = 'SETTINGS["epochs"] = 2'  # of runs that bring no marks, or that are made again as they were
HAND_INS = {  # the answers of the catalogue that take the place of the solution's
    "unusual": (right.labels_by_distributions, right.by_distributions, right.hard_plus_share_of_the_difference,
                right.with_a_data_loader),
    "mistaken": (losses.without_T_squared, experiments.sweep_goes_on_with_the_same_students),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict[str, dict]:
    """What the table of marks says of each hand-in, the untouched exercise among them."""
    need_sandbox()
    course = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "solutions" / NAME, course / "solutions" / NAME)
    shutil.copy(ROOT / "nbgrader_config.py", course)
    for name, functions in HAND_INS.items():
        write(course / "in" / f"{name}.ipynb", answered(functions, "q6-curve" if name == "unusual" else "q5-training"))
    shutil.copy(ROOT / "exercises" / NAME / f"{NAME}.ipynb", course / "in" / "untouched.ipynb")
    assert grade(NAME, course / "in", course=course, jobs=2) == 0
    with (course / "grading" / f"{NAME}.csv").open(newline="", encoding="utf-8-sig") as file:
        return {row["handed in as"].removesuffix(".ipynb"): row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", [name for name in checks.ASSIGNMENTS if name != NAME])
@pytest.mark.usefixtures("worth_grading")
def test_the_solved_notebook_gets_every_automatic_mark_and_the_untouched_one_none(name, tmp_path):
    need_sandbox()
    for folder in ("solutions", "exercises"):
        shutil.copytree(ROOT / folder / name, tmp_path / folder / name)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    (tmp_path / "in").mkdir()
    for folder, student in (("solutions", "solved"), ("exercises", "untouched")):
        shutil.copy(tmp_path / folder / name / f"{name}.ipynb", tmp_path / "in" / f"{student}.ipynb")
    assert grade(name, tmp_path / "in", course=tmp_path, jobs=2) == 0
    with (tmp_path / "grading" / f"{name}.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = {row["handed in as"]: row for row in csv.DictReader(file)}
    automatic = [cell for cell in nbformat.read(ROOT / "solutions" / name / f"{name}.ipynb", 4).cells
                 if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")]
    assert float(rows["solved.ipynb"]["automatic"]) == sum(cell.metadata.nbgrader.points for cell in automatic)
    assert float(rows["untouched.ipynb"]["total"]) == 0 and not rows["untouched.ipynb"]["to mark by hand"]


def answered(functions, short: str) -> dict:
    """The solved notebook, in which these functions answer the checks under which the catalogue files them; from the
    cell `short` on, trainings are short."""
    notebook = json.loads(nbformat.writes(nbformat.read(ROOT / "solutions" / NAME / f"{NAME}.ipynb", 4)))
    filed = {answer.arguments[0]: answer for answer in (*right.RIGHT, *losses.WRONG, *experiments.WRONG)}
    helpers = {losses.kl: "q3-losses", right.combined: "q4-loops", experiments.half: "q6-curve"}
    places = {"temperature_curve": "q6-curve", "train": "q4-loops"}
    cells = {cell["metadata"]["nbgrader"]["grade_id"]: cell for cell in notebook["cells"] if cell["metadata"]}
    for helper, place in helpers.items():
        cells[place]["source"] = [f"{IMPORTS}\n{inspect.getsource(helper)}\n", *cells[place]["source"]]
    for function in functions:
        answer = filed[function]
        source = inspect.getsource(function).split("\n", 1)[1]  # without the decorator that files it
        source = source.replace("DataLoader(rows, ", "DataLoader(rows, num_workers=8, batch_size=")
        place = places.get(answer.check, "q3-losses")
        cells[place]["source"] = [*cells[place]["source"], f"\n\n{source}\n{answer.check} = {function.__name__}\n"]
    notebook["cells"].insert(notebook["cells"].index(cells[short]), own(SHORT))
    if short == "q5-training":
        cells[short]["source"] = "".join(cells[short]["source"]).replace("epochs=25", "epochs=1")
    return notebook


def test_unusual_right_answers_keep_every_automatic_mark(table):
    assert float(table["unusual"]["automatic"]) == 10


def test_the_untouched_exercise_gets_nothing(table):
    assert float(table["untouched"]["total"]) == 0 and not table["untouched"]["to mark by hand"]


@pytest.mark.parametrize("answer", [
    next(answer for answer in losses.WRONG if answer.name == "without_T_squared"),
    next(answer for answer in experiments.WRONG if answer.name.startswith("sweep_goes_on")),
], ids=lambda answer: answer.name)
def test_a_wrong_answer_of_the_catalogue_keeps_what_the_catalogue_says_and_is_told_why(table, answer):
    row = table["mistaken"]
    message = row[f"{answer.check} message"]
    assert answer.says in message
    assert float(row[f"{answer.check} points"]) == pytest.approx(0.5 * answer.keeps), message
    assert float(row["automatic"]) <= 10 - 0.5 * (1 - answer.keeps)
    for other in ("teacher_network", "student_network", "teacher_loss", "evaluate", "count_parameters"):
        assert row[f"{other} message"] == "right", other
