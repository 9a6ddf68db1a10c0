"""Which files beside a notebook hide a module: a kernel looks beside its notebook before it looks at what is installed,
though after the library of Python and the package of the course."""

import functools
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable

SUFFIXES = tuple(importlib.machinery.all_suffixes())


def hidden(names: Iterable[str]) -> dict[str, str]:
    """Of files called `files/...`, beside modules called `package/...`: those that hide a module, and which one.

    >>> hidden(["files/torch.py", "files/data.csv", "files/json/__init__.py", "files/mine.py", "files/deep/torch.py"])
    {'torch.py': 'torch'}
    """
    names = sorted(names)
    own = {name.split("/")[1] for name in names if name.startswith("package/")}
    found = {}
    for name in names:
        _, *parts = name.split("/")
        if not name.startswith("files/") or len(parts) > 2 or not parts[-1].endswith(SUFFIXES):
            continue
        module = parts[0].partition(".")[0]
        is_package = len(parts) == 2 and parts[1].partition(".")[0] == "__init__"
        if (len(parts) == 1 or is_package) and (module not in own and _installed(module)):
            found[parts[0]] = module
    return found


@functools.cache
def _installed(module: str) -> bool:
    """Whether there is a module of that name that is none of Python's own; nothing is imported."""
    if module in sys.stdlib_module_names or not module.isidentifier():
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
