"""Is the gain on MNIST smoothing? The pair of `mnist_kd.py`, taught by a teacher that knows nothing.

    python benchmarks/mnist_uniform.py             # about 20 minutes on one core
    python benchmarks/mnist_uniform.py --seeds 1 --epochs 1 --name trial

The teacher gives every class the same probability, for every image. At T = 1 that is label smoothing with epsilon =
alpha (notebook 02, section 7). Students, images, training and seeds are those of `mnist_kd.py`, hard labels included,
so that differences are paired. The test images choose nothing: both weights are shown.
"""

import argparse
import sys

import torch
from record import write

from kdcourse import data, distillers, metrics, models, teachers, train

WEIGHTS = (0.1, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--name", default="mnist_uniform")
    chosen = parser.parse_args()
    try:
        source = data.load("mnist")
    except data.DataError as error:
        sys.exit(f"skipped: {error}")
    torch.set_num_threads(1)
    training = {"lr": 1e-3, "batch_size": 256, "epochs": chosen.epochs}
    nobody = teachers.LogitBank.record(Uniform(len(source.classes)), source.train)
    lessons = {"alone": distillers.Supervised}
    lessons |= {f"uniform, alpha={alpha}": uniform(nobody, alpha) for alpha in WEIGHTS}
    students, path = {name: [] for name in lessons}, None
    for seed in range(chosen.seeds):
        for name, lesson in lessons.items():
            student = models.build("ece1512_student", source.shape, 10, seed=seed)
            train.fit(lesson(student), source, seed=seed, **training)
            z, y = metrics.predict(student, source.test), source.test.y
            students[name].append({"seed": seed, "test_errors": int((z.argmax(dim=1) != y).sum())})
            print(seed, name, students[name][-1], flush=True)
        path = write(chosen.name, settings={"optimizer": "Adam", "schedule": "constant", **training},
                     seeds=list(range(seed + 1)), results={"test_images": len(source.test), "students": students}
                     | ({"above alone": above(students, len(source.test))} if seed else {}))
    print(f"written: {path}")


class Uniform(torch.nn.Module):
    """Every class alike, whatever it is shown."""

    def __init__(self, classes: int):
        super().__init__()
        self.register_buffer("z", torch.zeros(classes))

    def forward(self, x):
        return self.z.expand(len(x), -1)


def uniform(bank, alpha: float):
    return lambda student: distillers.KD(student, bank, T=1, alpha=alpha)


def above(students: dict, images: int) -> dict:
    """Every lesson against hard labels alone, one family for Holm; in points."""
    right = {name: [1 - row["test_errors"] / images for row in rows] for name, rows in students.items()}
    pairs = {name: (found, right["alone"]) for name, found in right.items() if name != "alone"}
    return {name: {"mean": 100 * c.mean, "low": 100 * c.low, "high": 100 * c.high, "n": c.n, "verdict": c.verdict}
            for name, c in metrics.family(pairs, images=images, margin=0.002).items()}


if __name__ == "__main__":
    main()
