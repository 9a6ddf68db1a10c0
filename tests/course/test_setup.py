"""What the README and the pages of the book promise: their commands, their cells, their environment; and what a kept
repository holds."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import kdcourse
from kdcourse import cli, files

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {path.stem: path.read_text() for path in (ROOT / "book").glob("*.md")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    """The commands of its shell blocks, one by one, without comments."""
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks("bash", text) for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split("&&")]


def test_the_example_of_the_package_runs_and_its_student_learns(capsys):
    (example,) = blocks("python", PAGES["package"])
    exec(example, {})
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.8


def test_ci_runs_the_test_command_of_the_readme():
    command = 'pip install -e ".[test]" && pytest'
    assert any(command in block for block in blocks("bash"))
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text()


def test_readme_names_every_notebook_and_a_page_every_public_module():
    for path in [*(ROOT / "notebooks").glob("*.ipynb")]:
        assert f"notebooks/{path.name}" in README
    modules = {path.stem for path in (ROOT / "kdcourse").iterdir()} - {"__init__", "__main__", "__pycache__", "core",
                                                                    "profiles"}
    assert [module for module in modules - {"files", "cli"} if f"`{module}`" not in PAGES["package"]] == []


def test_the_readme_says_what_every_folder_is_for():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    folders = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    table = README.split("## Where things are")[1].split("\n## ")[0]
    assert folders and set(re.findall(r"`(\w+)/`", table)) - {"results"} == folders | {"work", "grading"}
    inside = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert inside == {name for name in inside if f"`{name}`" in table}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The course as the README's first line fetches it: what is committed here."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("needs git, and the course as a repository")
    folder = tmp_path_factory.mktemp("newcomer")
    line = next(command for command in commands(README) if command.startswith("git clone"))
    (folder / "config").write_text("[safe]\n\tdirectory = *\n")  # whoever owns the folder of the course
    environment = os.environ | {"GIT_CONFIG_GLOBAL": str(folder / "config")}
    subprocess.run(shlex.split(line.replace("ADDRESS", ROOT.as_uri())), cwd=folder, env=environment, check=True,
                   capture_output=True)
    return folder / "distillation"


def run(command: list[str], folder: Path, **variables) -> str:
    """What a command says in the clone, with the clone's package."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"} | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout


HOW = {     # the README's commands, and what proves each of them
    "git clone ADDRESS distillation": "clone", "cd distillation": "clone",
    "python3 -m venv .venv": "environment", ". .venv/bin/activate": "environment",
    'pip install -e ".[full]"': "install", 'pip install -e ".[book]"': "install", 'pip install -e ".[test]"': "install",
    "jupyter lab --notebook-dir=. notebooks/00_start_here.ipynb": "test_browser",
    "pytest": "ci", "python -m book": "test_book",
    "kdcourse list": "command", "kdcourse lesson 02": "command", "kdcourse start 01": "command",
    "kdcourse check work/01_vanilla_kd/01_vanilla_kd.ipynb": "test_exercises",
}


def test_every_command_of_the_readme_is_one_that_is_tested():
    assert {command: HOW.get(command) for command in commands(README) if command not in HOW} == {}
    assert HOW.keys() <= set(commands(README))


def test_a_clone_has_what_the_commands_of_the_readme_need(clone):
    assert (clone / "notebooks" / "00_start_here.ipynb").is_file()
    assert "notebooks" in run([sys.executable, "-m", "kdcourse", "list"], clone)
    assert "02_soft_targets" in run([sys.executable, "-m", "kdcourse", "lesson", "02"], clone)
    run([sys.executable, "-m", "kdcourse", "start", "01"], clone)
    assert (clone / "work" / "01_vanilla_kd" / "01_vanilla_kd.ipynb").is_file()


def test_the_environment_of_the_readme_can_be_made_and_entered(tmp_path):
    script = "python3 -m venv --without-pip .venv && . .venv/bin/activate && python -c 'import sys; print(sys.prefix)'"
    assert {"python3 -m venv .venv", ". .venv/bin/activate"} <= set(commands(README))
    said = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert Path(said.strip()).resolve() == (tmp_path / ".venv").resolve()


def extras(text: str) -> set[str]:
    """The extras that installing commands of a text name."""
    return {extra for names in re.findall(r"-e \"?\.\[([\w,]+)\]", text) for extra in names.split(",")}


def test_every_extra_that_a_page_installs_exists():
    others = [(ROOT / name).read_text() for name in ("INSTRUCTORS.md", "CONTRIBUTING.md")]
    for text in (README, *PAGES.values(), *others):
        assert extras(text) <= set(PROJECT["optional-dependencies"])
    assert {"full", "book", "test"} <= extras(README)


def test_every_page_that_the_readme_links_is_there_and_its_picture_has_a_text():
    links = re.findall(r"(!?)\[([^]]*)\]\(([^)]+)\)", README)
    for picture, text, target in links:
        assert target.startswith("https://") or (ROOT / target).exists(), target
        assert not picture or len(text) > 40
    assert sum(bool(picture) for picture, _, _ in links) == 1


@pytest.mark.parametrize("name", ["own"])
def test_the_cells_of_a_page_run_in_their_order(name, capsys, monkeypatch, tmp_path):
    from PIL import Image

    for number in range(12):
        folder = tmp_path / "photos" / ("cat" if number % 2 else "dog")
        folder.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (70 + number, 90), (number * 20, 0, 0)).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    known = {}
    for cell in blocks("python", PAGES[name]):
        exec(cell, known)
    assert known["photos"].shape == (3, 64, 64) and known["photos"].classes == ("cat", "dog")
    assert known["accuracy"] > 0.9 and "n = 3 seeds" in capsys.readouterr().out


def test_the_errors_of_the_page_for_trouble_say_what_the_page_says(monkeypatch, tmp_path):
    monkeypatch.setenv("KDCOURSE_DATA", str(tmp_path))
    monkeypatch.setenv("KDCOURSE_PROFILE", "quick")
    monkeypatch.setenv("KDCOURSE_DEVICE", "")
    pairs = re.findall(r"```python\n(.*?)```\s*```text\n(.*?)```", PAGES["trouble"], re.DOTALL)
    known = {}
    assert len(pairs) == 9
    for cell, sentence in pairs:
        with pytest.raises(Exception) as caught:
            exec(cell, known)
        pattern = re.sub(r"(\\\.){3}", ".*", re.escape(sentence.strip()))
        assert re.search(pattern.replace(r"\ ", " "), str(caught.value), re.DOTALL), f"{caught.value}"
        os.environ.update({"KDCOURSE_PROFILE": "quick", "KDCOURSE_DEVICE": ""})
    numbers = [int(number) for number in re.findall(r"^## (\d+) ", PAGES["trouble"], re.MULTILINE)]
    assert numbers == list(range(1, 11)) and "ten errors" in README


def test_where_the_course_is_not_installed_python_says_the_first_sentence_of_the_page(tmp_path):
    found = subprocess.run([sys.executable, "-I", "-S", "-c", "import kdcourse"], cwd=tmp_path, capture_output=True,
                           text=True)
    (sentence,) = re.findall(r"^## 1 · `(.+)`$", PAGES["trouble"], re.MULTILINE)
    assert found.returncode and sentence in found.stderr


def test_outside_the_course_the_command_says_the_sentence_of_the_page(tmp_path, monkeypatch):
    (sentence,) = re.findall(r"^\| `\.\.\. (is not inside the course.+?)`", PAGES["trouble"], re.MULTILINE)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "kdcourse" / "files.py"))   # of a wheel
    with pytest.raises(ValueError, match=re.escape(sentence)):
        files.course_folder(tmp_path)


def test_a_room_without_a_network_installs_what_was_carried_there_and_asks_nobody(clone, tmp_path):
    fetched, installed = re.findall(r"```bash\n(.*?)```", PAGES["room"], re.DOTALL)
    assert '--dest wheels ".[full]"' in fetched and '--no-index --find-links wheels -e ".[full]"' in installed
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    wheels = tmp_path / "wheels"
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(wheels), "."], clone)
    said = run([*pip, "install", "--dry-run", "--no-deps", "--ignore-installed", "--no-index", "--find-links",
                str(wheels), "kdcourse[full]"], tmp_path)
    assert f"Would install kdcourse-{kdcourse.__version__}" in said


def resolved(python: str, platform: str) -> subprocess.CompletedProcess:
    """What the resolver says of all extras on that Python and machine, from wheels alone. Skips without a registry."""
    extras = [word for name in PROJECT["optional-dependencies"] if name != "test" for word in ("--extra", name)]
    found = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "pyproject.toml", *extras, "--only-binary", ":all:",
         "--python-version", python, "--python-platform", platform],
        cwd=ROOT, capture_output=True, text=True, timeout=600)
    if found.returncode and "No solution found" not in found.stderr:
        pytest.skip(f"no registry of packages to ask: {found.stderr.strip()[-200:]}")
    return found


@pytest.mark.parametrize(("python", "platform"), [
    ("3.11", "linux"), ("3.12", "x86_64-pc-windows-msvc"), ("3.13", "aarch64-apple-darwin"), ("3.14", "linux")])
def test_the_promised_pythons_and_systems_have_a_build_of_every_package(python, platform):
    found = resolved(python, platform)
    assert found.returncode == 0, found.stderr
    packages = set(re.findall(r"^([\w-]+)==", found.stdout, re.MULTILINE))
    assert {"torch", "torchvision", "jupyterlab", "nbgrader", "anywidget"} <= packages


def test_an_intel_mac_has_no_build_of_torch_as_the_page_says():
    assert "**An Intel Mac.** PyTorch has published no builds" in PAGES["installation"]
    found = resolved("3.12", "x86_64-apple-darwin")
    assert found.returncode and "torch" in found.stderr


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
    core, course, optional = ({re.match(r"[A-Za-z0-9-]+", line)[0] for line in lines} for lines in (
        PROJECT["dependencies"], PROJECT["optional-dependencies"]["course"],
        [line for extra in ("full", "grade", "cluster", "ship") for line in PROJECT["optional-dependencies"][extra]]))
    for path in (ROOT / "kdcourse").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        room = path.relative_to(ROOT / "kdcourse").parts[0].removesuffix(".py")
        assert imported(tree.body) <= (core if room in CORE else core | course), path.name
        assert imported(ast.walk(tree)) <= core | course | optional, path.name


CORE = ("core", "profiles", "files", "losses", "models", "data", "teachers", "metrics", "cost", "distillers", "train",
        "sweep", "procedures", "study", "trained", "ship", "cli")


def test_the_package_without_the_course_needs_no_jupyter():
    blocked = ("IPython", "ipywidgets", "jupyter_core", "jupyter_client", "jupyterlab", "nbformat", "nbclient",
               "traitlets")
    asked = (f"import sys; sys.modules.update(dict.fromkeys({blocked})); "
             + "".join(f"import kdcourse.{room}; " for room in CORE)
             + "from kdcourse import data, distillers, models, train; source = data.load('digits'); "
             "student = models.build('mlp', source.shape, 10, seed=0); "
             "print(len(train.fit(distillers.Supervised(student), source, epochs=1, lr=1e-3)))")
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    assert found.stdout == "1\n", found.stderr


@pytest.mark.timed
def test_importing_the_core_takes_less_than_half_a_second_more_than_torch_does():
    asked = (f"import time, torch; began = time.process_time(); import {', '.join(f'kdcourse.{it}' for it in CORE)}; "
             "print(time.process_time() - began)")
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 0.5    # 0.07; 0.24 where the modules have to be translated first


SLOW = ("torchvision", "sklearn", "scipy", "matplotlib", "pandas", "IPython", "nbformat", "torch._dynamo",
        "torch.utils.flop_counter")


def test_the_package_and_its_command_are_there_before_torch_is():
    asked = f"import sys, kdcourse.cli; print([name for name in {(*SLOW, 'torch', 'numpy')} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("rooms", [CORE, ("marking.checks",), ("trained", "ship")], ids=["core", "checks", "others"])
def test_what_takes_seconds_to_import_is_imported_where_it_is_needed(rooms):
    used = "kdcourse.data.load('digits')" if "data" in rooms else ""
    asked = (f"import sys, {', '.join(f'kdcourse.{room}' for room in rooms)}\n{used}\n"
             f"print([name for name in {SLOW} if name in sys.modules])")
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


INTERNAL = {"KDCOURSE_RECORD", "KDCOURSE_GRADING_SEED"}  # set by the course itself, for a kernel that is checked


def test_the_page_of_settings_and_help_name_every_variable_that_the_package_reads():
    read = {name for path in (ROOT / "kdcourse").rglob("*.py")
            for name in re.findall(r"environ(?:\.get\(|\[)\s*\"(KDCOURSE_\w+)", path.read_text(encoding="utf-8"))}
    assert {"KDCOURSE_PROFILE", "KDCOURSE_DATA", "KDCOURSE_DEVICE", "KDCOURSE_PRECISION", "KDCOURSE_QUIET"} <= read
    table = set(re.findall(r"^\| `(KDCOURSE_\w+)` \|", PAGES["settings"], re.MULTILINE))
    assert table == set(re.findall(r"KDCOURSE_\w+", cli.VARIABLES)) == read - INTERNAL


def test_the_page_of_settings_sets_a_variable_in_every_shell_that_it_names():
    for shell, way in (("Linux, macOS", "export KDCOURSE_PROFILE=full"),
                       ("Windows, PowerShell", '$env:KDCOURSE_PROFILE = "full"'),
                       ("Windows, cmd", 'set "KDCOURSE_PROFILE=full"'),
                       ("in a notebook", "%env KDCOURSE_PROFILE=full")):
        assert re.search(rf"^\| {shell}.*\| `{re.escape(way)}`", PAGES["settings"], re.MULTILINE), shell


def test_readme_and_settings_name_every_command_that_a_student_needs():
    for command in ("doctor", "list", "fetch", "lesson", "start", "check"):
        assert f"kdcourse {command}" in README + PAGES["settings"]


def test_the_version_is_written_once_and_said_everywhere():
    assert PROJECT["dynamic"] == ["version"] and "version" not in PROJECT
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert citation["version"] == newest == kdcourse.__version__


def test_the_citation_has_what_the_format_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors", "license"} <= citation.keys()
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    assert citation["license"] == [PROJECT["license"], "CC-BY-4.0"]


@pytest.mark.parametrize("name", ["mistake", "question"])
def test_an_issue_form_has_the_fields_that_the_format_asks_for(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids) and all(field["attributes"]["label"] for field in form["body"])
    assert {field["type"] for field in form["body"]} <= {"input", "textarea", "dropdown", "checkboxes", "markdown"}


def test_the_workflow_runs_what_a_reader_runs_and_no_other_check():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert len(steps) == 1 and steps[0].rstrip().endswith(".ci/run") and os.access(ROOT / ".ci" / "run", os.X_OK)
    asked = PROJECT["requires-python"].removeprefix(">=")
    assert workflow["jobs"]["checks"]["strategy"]["matrix"]["python"][0] == asked


def test_the_container_copies_what_is_there_and_starts_the_first_lesson():
    lines = (ROOT / ".devcontainer" / "Dockerfile").read_text().splitlines()
    first = next(line for line in lines if line.startswith("FROM"))
    version = tuple(map(int, re.search(r"python:(\d+)\.(\d+)", first).groups()))
    assert version >= tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    started = next(line for line in lines if line.startswith("CMD"))
    assert all((ROOT / part).exists() for part in re.findall(r'"([\w/]+\.ipynb)"', started)) and ".ipynb" in started
    assert extras("\n".join(lines)) <= set(PROJECT["optional-dependencies"])
    settings = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert (ROOT / ".devcontainer" / settings["build"]["dockerfile"]).exists()


def test_the_container_leaves_out_what_was_made_here_and_nothing_that_is_committed():
    left_out = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert {".git", ".venv", "build", "work"} <= set(left_out)
    assert [name for name in left_out if "*" not in name and name != ".git" and subprocess.run(
        ["git", "ls-files", name], cwd=ROOT, capture_output=True, text=True).stdout] == []


def test_binder_installs_the_course_for_its_lessons_with_a_python_that_is_promised():
    lines = [line for line in (ROOT / ".binder" / "requirements.txt").read_text().splitlines() if line[0] not in "#-"
             or line.startswith("-e")]
    assert lines == ["-e .[course]"]
    version = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert tuple(map(int, version.split("."))) >= tuple(map(int, PROJECT["requires-python"][2:].split(".")))


def test_the_course_extra_has_all_that_a_lesson_imports():
    """What Colab's cell and Binder install is enough for the quick profile."""
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["course"]]
    declared = {re.match(r"[A-Za-z0-9-]+", line)[0] for line in lines}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                code = "".join(line for line in cell["source"] if not line.startswith(("%", "!")))
                assert imported(ast.parse(code).body) <= declared, path.name


def test_the_roadmap_has_three_lines():
    (roadmap,) = re.findall(r"## Roadmap\n(.*?)\n## ", README, re.DOTALL)
    assert len(roadmap.strip().splitlines()) == 3
