"""What the README promises: its commands, its example, its environment, and the commands of `kdcourse`."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import yaml

from kdcourse import cli, data

ROOT = Path(__file__).parent.parent
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
    modules = {path.stem for path in (ROOT / "kdcourse").iterdir()} - {"__init__", "__pycache__", "core", "profiles"}
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


def test_doctor_reports_versions_sources_and_no_problem(capsys):
    problems = cli.doctor()
    printed = capsys.readouterr().out
    assert problems == [] and "no problem found" in printed
    for word in ("torch", "profile       quick", "widgets       front end and kernel match", "digits", "mnist"):
        assert word in printed


def test_doctor_names_a_front_end_that_does_not_match_and_what_to_do(monkeypatch, tmp_path):
    manifest = tmp_path / "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"version": "3.1.1"}')
    monkeypatch.setattr(cli, "_server_prefix", lambda: tmp_path)
    problem = cli.widgets()
    assert "3.1.1" in problem and str(tmp_path) in problem and "pip install" in problem


def test_doctor_says_where_there_is_no_front_end_at_all(monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "_server_prefix", lambda: tmp_path)
    monkeypatch.setattr(cli, "jupyter_path", lambda name: [])
    assert "no widget front end" in cli.widgets()


def test_doctor_reports_an_unknown_profile_and_fails(monkeypatch, capsys):
    monkeypatch.setenv("KDCOURSE_PROFILE", "fast")
    assert cli.main(["doctor"]) == 1
    assert "choose one of: quick, full" in capsys.readouterr().out


def test_fetch_of_an_unknown_source_names_the_choices(capsys):
    assert cli.main(["fetch", "mnst"]) == 2
    assert "did you mean 'mnist'" in capsys.readouterr().err


def test_fetch_of_an_embedded_source_says_that_it_is_there(capsys):
    assert cli.main(["fetch", "digits"]) == 0
    assert "nothing to fetch" in capsys.readouterr().out


def test_fetch_without_a_connection_says_what_to_do(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(data.digits.__globals__["MNIST"], "mirrors", ["http://127.0.0.1:9/"])
    assert cli.main(["fetch", "mnist"]) == 2
    assert "1. check the network connection" in capsys.readouterr().err
    assert list((tmp_path / "mnist").iterdir()) == []

