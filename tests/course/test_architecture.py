"""The shape of the package, read off its syntax trees: which module may import which, and a few habits."""

import ast
import re
from pathlib import Path

import pytest

import kdcourse

ROOT = Path(kdcourse.__file__).parent
FLOORS = {
    name: floor
    for floor, names in enumerate([
        ("compiler",),
        ("core", "profiles", "files", "marking.notebook"),
        ("asking", "losses", "models", "data", "papers"),
        ("teachers", "metrics", "cost"),
        ("distillers", "viz"),
        ("train",),
        ("sweep", "procedures", "widgets", "trained", "worksheets",
         "marking.record", "marking.runner", "marking.__init__"),
        ("study", "studies", "ship", "marking.judges"),
        ("marking.checks", "marking.sandbox", "plan"),
        ("marking.student", "marking.release", "marking.grade"),
        ("cli",),
        ("__main__",),
    ])
    for name in names
}


ASSIGNMENT = re.compile(r"a\d\d_")
LESSON = re.compile(r"lesson_\d\d$")
SHARED = {"marking.checks": ("experiment",), "plan": ("refusals", "reporting"),
          "marking.judges": ("mistakes", "experiment", "intervals", "logits", "training")}


def name_of(path: Path) -> str:
    """kdcourse/data/base.py -> data.base, kdcourse/data/__init__.py -> data.__init__"""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def imports(tree: ast.AST) -> list[str]:
    """Every module that is imported anywhere in a tree; `from a import b` counts as a.b."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
    return found


def room(module: str) -> str:
    """What stands on a floor as a whole: data for data.base, marking.checks for marking.checks.base."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "marking" else parts[0]


def shared(folder: str, name: str, other: str) -> bool:
    """Whether a module may import another one of its folder. An assignment or a lesson of the marking wing imports the
    kinds."""
    inside = name.removeprefix(f"{folder}.")
    if folder in SHARED and (ASSIGNMENT.match(inside) or LESSON.match(inside)):
        return not ASSIGNMENT.match(other)
    return other == "base" or other in SHARED.get(folder, ())


def violations(name: str, tree: ast.AST) -> list[str]:
    """What a module called `name` (data.base) imports against the rules, one sentence each."""
    folder = room(name)
    if folder not in FLOORS:
        return [f"kdcourse.{folder} stands on no floor: add it to FLOORS in {Path(__file__).name}"]
    found = []
    for target in imports(tree):
        if target.startswith("."):
            found.append(f"{name} imports {target}: write the whole name, kdcourse...")
        package, _, inside = target.partition(".")
        if package != "kdcourse" or inside == "__version__":
            continue
        other = room(inside)
        rest = inside.removeprefix(other).strip(".").split(".")
        if other not in FLOORS:
            found.append(f"{name} imports kdcourse.{other}, which stands on no floor: add it to FLOORS")
        elif other == folder:
            if not name.endswith((".__init__", ".__main__")) and not shared(folder, name, rest[0]):
                found.append(f"{name} imports {inside}: inside a folder only base is shared")
        elif FLOORS[other] >= FLOORS[folder]:
            found.append(f"{name} (floor {FLOORS[folder]}) imports {inside} (floor {FLOORS[other]}): not a lower floor")
    return found


@pytest.mark.parametrize("name", [name for name in TREES if name != "__init__"])
def test_a_module_imports_only_from_lower_floors_and_inside_its_folder_only_base(name):
    assert violations(name, TREES[name]) == []


@pytest.mark.parametrize("name, code, complaint", [
    ("losses.logits", "from kdcourse.teachers import Teacher", "floor 2) imports teachers.Teacher (floor 3)"),
    ("losses.logits", "import kdcourse.train", "floor 2) imports train (floor 5)"),
    ("losses.logits", "def f():\n    from kdcourse import metrics", "imports metrics (floor 3)"),
    ("models.base", "from kdcourse.data.base import Split", "imports data.base.Split (floor 2)"),
    ("metrics", "from kdcourse import core, teachers", "imports teachers (floor 3)"),
    ("models.vit", "from kdcourse.models.resnet import Block", "only base is shared"),
    ("models.vit", "from kdcourse.models import Block", "only base is shared"),
    ("data.base", "from kdcourse.data import augment", "only base is shared"),
    ("data.base", "from . import augment", "write the whole name"),
    ("gallery", "import torch", "kdcourse.gallery stands on no floor: add it to FLOORS"),
    ("marking.checks.base", "from kdcourse.marking.grade import grade", "imports marking.grade.grade (floor 9)"),
    ("marking.checks.losses", "from kdcourse.marking.checks.networks import draw", "only base is shared"),
    ("marking.checks.a02_x", "from kdcourse.marking.checks.a01_vanilla_kd import train", "only base is shared"),
    ("marking.judges.loss", "from kdcourse.marking.judges.a01_vanilla_kd import train", "only base is shared"),
    ("marking.judges.loss", "from kdcourse.marking.checks import loss", "not a lower floor"),
    ("train", "from kdcourse.marking import checks", "imports marking.checks (floor 8)"),
    ("train", "from kdcourse.gallery import show", "stands on no floor: add it to FLOORS"),
])
def test_an_import_against_the_rules_is_reported(name, code, complaint):
    assert [complaint in sentence for sentence in violations(name, ast.parse(code))] == [True]


@pytest.mark.parametrize("name, code", [
    ("losses.logits", "from kdcourse.core import Term\nfrom kdcourse.losses.base import check_logits\nimport math"),
    ("losses.__init__", "from kdcourse.losses.logits import kd_loss"),
    ("cli", "from kdcourse import __version__, train\nimport argparse"),
])
def test_an_import_within_the_rules_is_not(name, code):
    assert violations(name, ast.parse(code)) == []


def test_the_package_lists_every_room_and_no_other():
    rooms = re.sub(r"\(.*?\)", "", ast.get_docstring(TREES["__init__"]).split("- ", 1)[1])
    listed = set(re.findall(r"`(\w+)`(?=[:,])", rooms))
    there = {path.name.removesuffix(".py") for path in ROOT.iterdir()
             if path.suffix == ".py" or (path / "__init__.py").exists()}  # fmt: skip
    assert listed == {name for name in there if not name.startswith("__")}


def test_rooms_that_are_easily_confused_point_at_each_other():
    names = {"study": "study", "studies": "studies.__init__", "plan": "plan.__init__"}
    for room, module in names.items():
        said = ast.get_docstring(TREES[module])
        assert [other for other in names if other != room and f"(`{other}`)" not in said] == [], room


def test_importing_the_package_imports_nothing():
    assert imports(TREES["__init__"]) == []


@pytest.mark.parametrize("name", [name for name in TREES if name.startswith("losses.")])
def test_losses_import_nothing_with_state(name):
    allowed = {"collections.abc.Callable", "math", "torch", "torch.Tensor", "torch.nn.functional"}
    found = [target for target in imports(TREES[name]) if not target.startswith("kdcourse.losses.")]
    assert set(found) <= allowed


def test_only_the_command_line_parses_arguments():
    assert [name for name, tree in TREES.items() if name != "cli" and "argparse" in imports(tree)] == []


def test_no_module_checks_with_assert():
    assert [name for name, tree in TREES.items() if any(isinstance(node, ast.Assert) for node in ast.walk(tree))] == []


PROGRAMS = [path for folder in ("kdcourse", "benchmarks", "book", "tests")
            for path in sorted((ROOT.parent / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(ROOT.parent).as_posix())
def test_every_file_says_first_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


LONGEST, DEEPEST = 40, 4  # lines of a function below its docstring, and levels that open inside it
OPENS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def lines(function) -> int:
    written = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - written[0].lineno + 1 if written else 0


def levels(node, open: int = 0) -> int:
    """How many loops, conditions and the like stand in one another; `elif` opens none, a function counts for itself."""
    deepest = open
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        follows = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, levels(child, open + (isinstance(child, OPENS) and not follows)))
    return deepest


@pytest.mark.parametrize("path", [path for path in PROGRAMS if "tests" not in path.relative_to(ROOT.parent).parts],
                         ids=lambda path: path.relative_to(ROOT.parent).as_posix())
def test_no_function_is_longer_or_deeper_than_a_reader_can_hold(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {function.name: (lines(function), levels(function)) for function in functions(tree)}
    assert {key: size for key, size in found.items() if size[0] > LONGEST or size[1] > DEEPEST} == {}


def test_lines_and_levels_are_counted_as_they_are_read():
    [function] = functions(ast.parse(
        'def f(x):\n    """Words.\n\n    More words."""\n    for a in x:\n        if a:\n            return 1\n'
        '        elif x:\n            with a:\n                pass\n'))
    assert (lines(function), levels(function)) == (6, 3)
