"""What the README promises: its commands, its example, its environment."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from kdcourse import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_readme_example_runs_and_its_student_learns(capsys):
    (example,) = blocks("python")
    exec(example, {})
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.8


def test_ci_runs_the_test_command_of_the_readme():
    command = 'pip install -e ".[test]" && pytest'
    assert any(command in block for block in blocks("bash"))
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text()


def test_readme_names_every_notebook_and_every_public_module():
    for path in [*(ROOT / "notebooks").glob("*.ipynb")]:
        assert f"notebooks/{path.name}" in README
    modules = {path.stem for path in (ROOT / "kdcourse").iterdir()} - {"__init__", "__main__", "__pycache__", "core",
                                                                    "profiles"}
    assert [module for module in modules - {"files", "cli"} if f"`{module}`" not in README] == []


def test_conda_environment_adds_nothing_to_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, section = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}" and pip == "pip"
    (install,) = section["pip"]
    extras = re.fullmatch(r"-e \.\[(.+)\]", install)[1].split(",")
    assert set(extras) == set(PROJECT["optional-dependencies"])


def test_the_packages_the_course_is_built_on_are_declared_and_torch_is_not_pinned():
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    names = {re.match(r"[A-Za-z0-9-]+", line)[0].lower() for line in lines}
    assert {"torch", "torchvision", "transformers", "timm", "jupyterlab", "matplotlib", "scikit-learn", "nbval",
            "ipywidgets"} <= names
    assert not [line for line in lines if line.startswith("torch") and re.search(r"==|<|~=", line)]


def imported(nodes) -> set[str]:
    """The packages that these statements import, by the names under which they are installed."""
    within = ("IPython", "jupyter_core", "jupyter_client", "nbformat", "nbclient", "nbconvert", "traitlets", "jinja2")
    names = {"sklearn": "scikit-learn", "PIL": "pillow", "huggingface_hub": "transformers"}
    names |= dict.fromkeys(within, "jupyterlab")
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    packages = {name.split(".")[0] for name in found}
    return {names.get(name, name) for name in packages - set(sys.stdlib_module_names) - {"kdcourse", "numpy"}}


def test_every_module_imports_only_what_is_declared_and_optional_packages_only_inside_functions():
    declared = {re.match(r"[A-Za-z0-9-]+", line)[0] for line in PROJECT["dependencies"]}
    optional = {re.match(r"[A-Za-z0-9-]+", line)[0]
                for extra in ("full", "grade") for line in PROJECT["optional-dependencies"][extra]}
    for path in (ROOT / "kdcourse").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert imported(tree.body) <= declared, path.name
        assert imported(ast.walk(tree)) <= declared | optional, path.name


SLOW = ("torchvision", "sklearn", "scipy.stats", "matplotlib", "pandas", "IPython", "nbformat", "torch._dynamo")


@pytest.mark.parametrize("room", ["marking.checks", "data", "models", "distillers", "metrics", "trained"])
def test_what_takes_seconds_to_import_is_imported_where_it_is_needed(room):
    asked = f"import sys, kdcourse.{room}; print([name for name in {SLOW} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


INTERNAL = {"KDCOURSE_RECORD", "KDCOURSE_GRADING_SEED"}  # set by the course itself, for a kernel that is checked


def test_readme_and_help_name_every_variable_that_the_package_reads():
    read = {name for path in (ROOT / "kdcourse").rglob("*.py")
            for name in re.findall(r"environ(?:\.get\(|\[)\s*\"(KDCOURSE_\w+)", path.read_text(encoding="utf-8"))}
    assert {"KDCOURSE_PROFILE", "KDCOURSE_DATA", "KDCOURSE_DEVICE", "KDCOURSE_PRECISION", "KDCOURSE_QUIET"} <= read
    table = set(re.findall(r"^\| `(KDCOURSE_\w+)` \|", README, re.MULTILINE))
    assert table == set(re.findall(r"KDCOURSE_\w+", cli.VARIABLES)) == read - INTERNAL


def test_readme_sets_a_variable_in_every_shell_that_it_names():
    for shell, way in (("Linux, macOS", "export KDCOURSE_PROFILE=full"),
                       ("Windows, PowerShell", '$env:KDCOURSE_PROFILE = "full"'),
                       ("Windows, cmd", 'set "KDCOURSE_PROFILE=full"'),
                       ("in a notebook", "%env KDCOURSE_PROFILE=full")):
        assert re.search(rf"^\| {shell}.*\| `{re.escape(way)}`", README, re.MULTILINE), shell


def test_readme_names_every_command_that_a_student_needs():
    for command in ("doctor", "list", "fetch", "start", "check"):
        assert f"kdcourse {command}" in README
