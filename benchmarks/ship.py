"""How long the networks of lesson 10 take, in three runtimes, for one image and for many, on one thread and on two.

    python benchmarks/ship.py                 # three minutes; on an idle machine, and nothing else beside it
    python benchmarks/ship.py --rounds 3 --name trial

Networks have fresh weights: time does not depend on them. Within a family (a data set), a batch and a number of threads
all networks take turns, A B A B (`cost.latencies`), with bytes as input, so that dividing by 255 counts everywhere, and
`ratio` is to the first of them, the teacher in torch. The whole is repeated in rounds, the `seeds` of the file. A
ResNet-8 with exits is timed as one that stops at its first, its second and its last exit, in ONNX Runtime, against
itself without exits; how many images stop where is in `levers.json`. Seconds belong to this machine and its load, which
is in the file: read ratios.
"""

import argparse
import os
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from record import write

from kdcourse import cost, distillers, models, ship
from kdcourse.ship import int8

FAMILIES = {
    "Fashion-MNIST": ((1, 28, 28), {
        "CNN, width 32": ("cnn", {}), "CNN, width 8": ("cnn", {"width": 8}), "CNN, width 4": ("cnn", {"width": 4}),
        "ResNet-8, width 8": ("resnet8", {"width": 8})}),
    "MNIST": ((1, 28, 28), {
        "assignment's teacher": ("ece1512_teacher", {}), "assignment's student": ("ece1512_student", {})}),
    "CIFAR-10": ((3, 32, 32), {
        "ResNet-56": ("resnet56", {}), "ResNet-20": ("resnet20", {}), "ResNet-8": ("resnet8", {}),
        "LightNN": ("lightnn", {})}),
}
TURNS = {1: 40, 32: 6}      # of a batch of that size
SIGNED, EXITS = ("CNN, width 32", "ResNet-20"), "ResNet-8, width 8"
THREADS = (1, 2)
RUNTIMES = ("torch", "ONNX Runtime", "ONNX Runtime, int8", "ONNX Runtime, int8, signed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES), help="these alone")
    parser.add_argument("--name", default="ship")
    asked = parser.parse_args()
    results, start = {"rows": [], "sizes": [], "load": [os.getloadavg()], "cpus": os.cpu_count(),
                      "instructions": instructions(), "onnxruntime": onnxruntime.__version__}, time.perf_counter()
    settings = {"turns": TURNS, "threads": THREADS, "warm up": 2, "input": "bytes", "runtimes": RUNTIMES}
    with tempfile.TemporaryDirectory() as folder:
        made = {family: Made(*FAMILIES[family], Path(folder) / str(k)) for k, family in enumerate(asked.families)}
        print(f"networks written: {time.perf_counter() - start:.0f} s", flush=True)
        results["sizes"] = [row for family, one in made.items() for row in one.sizes(family)]
        for number in range(asked.rounds):
            for family, one in made.items():
                results["rows"] += one.rows(family, number)
            results["load"].append(os.getloadavg())
            path = write(asked.name, settings=settings, seeds=list(range(asked.rounds)), results=results)
            print(f"round {number + 1}: {time.perf_counter() - start:.0f} s", flush=True)
    print(f"written: {path}")


class Made:
    """The networks of a family and their files by the runtime that runs them."""

    def __init__(self, shape, networks: dict, folder: Path):
        folder.mkdir()
        self.shape, self.folder = shape, folder
        self.built = {name: models.build(kind, shape, 10, seed=0, **layers).eval()
                      for name, (kind, layers) in networks.items()}
        self.files = {name: written(network, folder / str(k), shape, signed=name in SIGNED)
                      for k, (name, network) in enumerate(self.built.items())}
        self.stops = of_exits(shape, folder) if EXITS in self.built else {}

    def sizes(self, family: str) -> list[dict]:
        return [{"family": family, "network": name, "parameters": cost.parameters(network),
                 "multiply_adds": cost.multiply_adds(network, self.shape),
                 "bytes": {runtime: path.stat().st_size for runtime, path in self.files[name].items()}}
                for name, network in self.built.items()]

    def rows(self, family: str, number: int) -> list[dict]:
        """The times of one round."""
        found = []
        for threads in THREADS:
            runs = {("torch", name): ship.FromBytes(network) for name, network in self.built.items()}
            runs |= {(runtime, name): ship.session(path, threads=threads)
                     for name, paths in self.files.items() for runtime, path in paths.items()}
            for batch, n in TURNS.items():
                found += timed(runs, ship.noise(self.shape, batch), n=n, threads=threads)
        if self.stops:
            found += timed(self.stops, ship.noise(self.shape, 1), n=TURNS[1], threads=1)
        return [{"family": family, **row, "round": number} for row in found]


def timed(runs: dict, x, **settings) -> list[dict]:
    """Rows of `cost.latencies`, with runtime and network in the place of the name."""
    found = [(row.pop("name"), row) for row in cost.latencies(runs, x, warm_up=2, **settings)]
    return [{"network": network, "runtime": runtime, **row} for (runtime, network), row in found]


def written(network, folder: Path, shape, *, signed: bool) -> dict[str, Path]:
    """The files of a network by the runtime that runs them."""
    folder.mkdir()
    path, images = ship.export(network, folder / "float.onnx", shape=shape), ship.noise(shape, 50)
    found = {"ONNX Runtime": path, "ONNX Runtime, int8": int8.quantised(path, folder / "int8.onnx", images)}
    if signed:
        found["ONNX Runtime, int8, signed"] = int8.quantised(path, folder / "signed.onnx", images, signed=True)
    return found


def of_exits(shape, folder: Path) -> dict:
    """ResNet-8 of width 8 with exits, in ONNX Runtime, as it stops at each of them, and itself without exits first."""
    byot = distillers.BYOT(models.build("resnet8", shape, 10, seed=0, width=8)).eval()
    parts = sessions(byot, ship.noise(shape, 1), folder)
    runs = {("exits", "without exits"): ship.session(ship.export(byot.student, folder / "whole.onnx", shape=shape))}
    return runs | {("exits", f"stops at exit {k}"): partial(stopped, parts[:k]) for k in range(1, len(parts) + 1)}


class Part(torch.nn.Module):
    """A stage with its exit: what came before it to its features and the logits there. The first takes bytes."""

    def __init__(self, byot, k: int):
        super().__init__()
        self.stage, self.first = byot.student.stages[k], k == 0
        self.leave = byot.exits[k] if k < len(byot.exits) else byot.student.head

    def forward(self, x):
        f = torch.relu(self.stage(x.float() / 255 if self.first else x))
        return f, self.leave(f)


def sessions(byot, x, folder: Path) -> list:
    """Each part in ONNX Runtime, on one thread."""
    options, found = onnxruntime.SessionOptions(), []
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for k in range(len(byot.student.stages)):
        part, path = Part(byot, k).eval(), folder / f"part{k}.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(part, (x,), dynamo=True, verbose=False, input_names=["x"]).save(path)
        found.append(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))
        x = part(x)[0].detach()
    return found


def stopped(parts: list, x) -> torch.Tensor:
    """The logits where the last of these parts ends; at every exit before, its softmax is looked at."""
    f = x.numpy()
    for part in parts:
        f, z = part.run(None, {"x": f})
        z = torch.from_numpy(z)
        z.softmax(dim=1).amax()
    return z


def instructions() -> list[str]:
    """Which of the instructions that matter for whole numbers the processor has."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if name in flags]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
