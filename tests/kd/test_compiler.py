"""torch's compiler stays out of a process that trains, and is whole in one that asks for it, by whatever name."""

import os
import subprocess
import sys

import pytest

TRAINED = """
import importlib.util, sys, torch
from kdcourse import data, distillers, models, sweep, train
torch.set_num_threads(1)
digits = data.load("digits")
digits = digits.with_train(digits.train.take(torch.arange(64), "few"))
def network(seed=0):
    return models.build("mlp", digits.shape, 10, seed=seed)
taught = distillers.Supervised(network())
rows = train.fit(taught, digits, epochs=2, lr=1e-3, batch_size=32)
sweep.sweep(network, distillers.Supervised, {}, digits, seeds=range(2), epochs=1, lr=1e-3, batch_size=32)
adam = torch.optim.SGD(taught.parameters(), lr=0.1, momentum=0.9)
adam.zero_grad()
adam.step()
adam.load_state_dict(adam.state_dict())
assert importlib.util.find_spec("torch._dynamo").name == "torch._dynamo"
assert "torch._dynamo.config" not in sys.modules, "torch's compiler was imported"
"""
ASKED = """
import os
for asked in (
    "doubled = torch.compile(lambda x: 2 * x, backend='eager'); assert doubled(torch.ones(1)).item() == 2",
    "from torch._dynamo import config; assert config is sys.modules['torch._dynamo.config']",
    "import torch._dynamo.utils; assert callable(torch._dynamo.utils.same)",
    "import torch._dynamo; assert isinstance(torch._dynamo.config.recompile_limit, int)",
):
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, asked
        continue
    exec(asked)
    again = train.fit(distillers.Supervised(network()), digits, epochs=2, lr=1e-3, batch_size=32)
    assert again == rows and "torch._dynamo.config" in sys.modules
    sys.exit()
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="asks in four copies of one process")
def test_whoever_trains_does_not_import_it_and_whoever_asks_for_it_afterwards_has_all_of_it():
    run(TRAINED + ASKED)


def test_what_is_imported_already_stays():
    run("import sys, torch, torch._dynamo\nit = torch._dynamo\nfrom kdcourse import compiler\ncompiler.on_demand()\n"
        "assert torch._dynamo is it is sys.modules['torch._dynamo']")
