"""The pages about the package, from its docstrings: read off the syntax trees, so that nothing is imported.

A docstring is prose with code between backticks, indented blocks and doctests. Everything else in it is shown letter by
letter, since a `*` there is a product and a `_` an index.
"""

import ast
import re
import textwrap
from pathlib import Path

ROOMS = (   # in the order of use; a room that is not named here comes after them
    "core", "profiles", "data", "models", "teachers", "losses", "distillers", "train", "sweep", "procedures", "study",
    "metrics", "cost", "viz", "widgets", "plan", "studies", "ship", "trained", "worksheets", "files", "papers",
    "asking",
)
INSIDE = ("__init__", "__main__", "cli", "marking")  # the command, the sandbox and grading: not for readers' code
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#$|~^!])")


def pages(package: Path) -> dict[str, str]:
    """The pages of a package by their paths: one for each public room, and one that lists them."""
    found = {f"api/{room}.md": page(package, room) for room in rooms(package)}
    names = "\n".join(Path(name).stem for name in found)
    about = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    index = f"# The package, room by room\n\n{markdown(about)}\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"
    return {"api/index.md": index, **found}


def rooms(package: Path) -> list[str]:
    """The public rooms that the package has, in the order of use."""
    there = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    known = [room for room in ROOMS if room in there]
    return known + sorted(there - set(ROOMS) - set(INSIDE))


def page(package: Path, room: str) -> str:
    """The page of a room: what it is, then every public function and class in it."""
    path = package / f"{room}.py"
    path = path if path.exists() else package / room / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = [f"# `kdcourse.{room}`", markdown(ast.get_docstring(tree) or "")]
    for name, node in public(tree, package).items():
        parts += [f"## `{name}`", f"```python\n{signature(node, name)}\n```", markdown(ast.get_docstring(node) or "")]
        for method in methods(node):
            parts += [f"### `{name}.{method.name}`", f"```python\n{signature(method, method.name)}\n```",
                      markdown(ast.get_docstring(method))]
    return "\n\n".join(part for part in parts if part) + "\n"


def public(tree: ast.Module, package: Path) -> dict[str, ast.AST]:
    """The definitions that a module offers by name: its own, and those that it hands on (`from a import b as b`)."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kdcourse."):
            names = [alias.name for alias in node.names if alias.asname == alias.name]
            found |= {name: its for name in names if (its := definition(node.module, name, package))}
    return {name: found[name] for name in sorted(found, key=str.lower)}


def definition(module: str, name: str, package: Path) -> ast.AST | None:
    """Where the package defines that function or class; None for a module or a constant of that name."""
    path = package.joinpath(*module.split(".")[1:])
    path = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    return None


def methods(node: ast.AST) -> list[ast.FunctionDef]:
    """Those methods of a class that have a docstring; none for a function."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    return [its for its in body if isinstance(its, ast.FunctionDef) and not its.name.startswith("_")
            and ast.get_docstring(its)]


def signature(node: ast.AST, name: str) -> str:
    """As one calls it: a class by what its constructor takes."""
    if isinstance(node, ast.ClassDef):
        made = [its for its in node.body if isinstance(its, ast.FunctionDef) and its.name == "__init__"]
        fields = [its for its in node.body if isinstance(its, ast.AnnAssign)]
        if not made:
            return f"class {name}({', '.join(ast.unparse(its) for its in fields)})"
        node = made[0]
        return wrapped(f"class {name}", node, "")
    decorators = "".join(f"@{ast.unparse(its)}\n" for its in node.decorator_list)
    return decorators + wrapped(f"def {name}", node, f" -> {ast.unparse(node.returns)}" if node.returns else "")


def wrapped(head: str, node: ast.FunctionDef, tail: str) -> str:
    """A signature in one line, or with a line for each argument where one would be longer than 80 characters."""
    line = f"{head}({re.sub(r'^self(, )?', '', ast.unparse(node.args))}){tail}"
    if len(line) <= 80:
        return line
    inside = line[len(head) + 1: len(line) - len(tail) - 1]
    filled = textwrap.fill(inside, 76, initial_indent="    ", subsequent_indent="    ", break_long_words=False,
                           break_on_hyphens=False)
    return f"{head}(\n{filled}\n){tail}"


def markdown(text: str) -> str:
    """A docstring as Markdown: paragraphs, lists, indented blocks and doctests."""
    return "\n\n".join(block(lines) for lines in re.split(r"\n\s*\n", text) if lines.strip())


def block(text: str) -> str:
    """One block of a docstring between empty lines."""
    if text.lstrip().startswith(">>>"):
        return f"```pycon\n{textwrap.dedent(text)}\n```"
    if all(line.startswith("    ") for line in text.splitlines()):
        return f"```text\n{textwrap.dedent(text)}\n```"
    return "\n".join(plain(line) for line in text.splitlines())


def plain(line: str) -> str:
    """A line of prose in which only code between backticks and the dash of a list mean something."""
    indent = len(line) - len(line.lstrip())
    parts = re.split(r"(`[^`]+`)", line.lstrip())
    kept = [part if part.startswith("`") and part.endswith("`") and len(part) > 2 else SPECIAL.sub(r"\\\1", part)
            for part in parts]
    return " " * indent + re.sub(r"^\+", r"\\+", "".join(kept))
