"""torch's compiler, imported by whoever compiles and by nobody else.

The first step of an optimiser imports `torch._dynamo`, a second or two of computing in every notebook, to say that a
compiled program would pause there. Where nothing is compiled, nothing pauses. This file needs nothing of the package:
its text is also run in kernels that do not have it (`kdcourse.marking.checks.WARM`).
"""

import importlib
import importlib.util
import sys
import types

import torch

NAME = "torch._dynamo"


class OnDemand(types.ModuleType):
    """Stands for `torch._dynamo` until anything but its two words for a pause is asked of it: that imports it."""

    def graph_break(self, *said) -> None:
        """Where a compiled program would pause."""

    def disable(self, function, *how, **more):
        """The function, which a compiled program would not look into."""
        return function

    def __getattr__(self, name: str):
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME], torch._dynamo
        return getattr(importlib.import_module(NAME), name)


def on_demand() -> None:
    """From now on `torch._dynamo` is imported when something of it is wanted, by `torch.compile` or by its name; where
    it is imported already, nothing happens."""
    if NAME not in sys.modules:
        found = importlib.util.find_spec(NAME)
        torch._dynamo = sys.modules[NAME] = OnDemand(NAME)
        torch._dynamo.__spec__ = found
