"""The ECE1512 assignment's own pair on real MNIST: does the light student gain, at which T, and from which teacher?

    python benchmarks/mnist_kd.py                  # about 75 minutes on one core
    python benchmarks/mnist_kd.py --seeds 1 --epochs 1 --name trial

One teacher is trained (12 epochs, as the assignment says) and recorded after epochs 1, 3 and 12. Its learning rate is
constant, so the teacher after epoch 3 is the teacher of a complete schedule of three epochs. Then, for every seed, a
student with the same first weights and the same order of images is trained alone and with each setting. Every student
is judged after its last epoch: the test images choose nothing.
"""

import argparse
import sys
import time

import torch
from record import write

from kdcourse import data, distillers, metrics, models, teachers, train

TEMPERATURES = (1, 2, 4, 16, 32, 64)
SHARES = (0.25, 0.75, 0.9, 1.0)  # of the soft term, at T = 4; 0.5 is in the sweep over T
STOPS = (1, 3)                   # epochs after which an early-stopped teacher teaches
OMITTED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--name", default="mnist_kd")
    chosen = parser.parse_args()
    try:
        source = data.load("mnist")
    except data.DataError as error:
        sys.exit(f"skipped: {error}")

    training = {"lr": 1e-3, "batch_size": 256, "epochs": chosen.epochs}
    start = time.perf_counter()
    teacher_row, banks = train_teacher(source, training)
    seconds = {"teacher": time.perf_counter() - start}
    plans, z_t = plans_of(banks, chosen.epochs), teacher_row.pop("test_logits")
    print(f"teacher: {teacher_row}, {seconds['teacher']:.0f} s", flush=True)
    results = {"teacher": teacher_row, "students": {plan: [] for plan in plans}, "omitted": []}
    seeds = list(range(chosen.seeds))
    for seed in seeds:
        for plan, distiller in plans.items():
            start = time.perf_counter()
            student = models.build("ece1512_student", source.shape, 10, seed=seed)
            row = train.fit(distiller(student), source, seed=seed, **training)[-1]
            z = metrics.predict(student, source.test)
            seconds.setdefault("student", time.perf_counter() - start)
            results["students"][plan].append({"seed": seed, "valid_accuracy": row["valid_accuracy"]}
                                             | judged(z, source.test.y) | {"agreement": metrics.agreement(z, z_t)})
            print(seed, plan, results["students"][plan][-1], flush=True)
        omitted = without_class(source, banks[chosen.epochs, "omitted"], seed, training)
        results["omitted"].append({"seed": seed} | omitted)
        print(seed, "omitted", results["omitted"][-1], flush=True)
        results["seconds"] = seconds
        settings = {"optimizer": "Adam", "schedule": "constant", **training}
        path = write(chosen.name, settings=settings, seeds=seeds[: seed + 1], results=results)
    print(f"written: {path}")


def plans_of(banks: dict, epochs: int) -> dict:
    """What makes a distiller of a student, by name: hard labels, and KD at each temperature and share, and from the
    teacher as it was at each stop."""
    bank, plans = banks[epochs], {"alone": distillers.Supervised}
    for T in TEMPERATURES:
        plans[f"T={T}"] = lambda student, T=T: distillers.KD(student, bank, T=T, alpha=0.5)
    for alpha in SHARES:
        plans[f"alpha={alpha}"] = lambda student, alpha=alpha: distillers.KD(student, bank, T=4, alpha=alpha)
    for stop in STOPS:
        plans[f"stopped={stop}"] = lambda student, stop=stop: distillers.KD(student, banks[stop], T=4, alpha=0.5)
    return plans


def train_teacher(source, training) -> tuple[dict, dict]:
    """The teacher's row, and its answers about the training images after 1, 3 and all epochs."""
    network = models.build("ece1512_teacher", source.shape, 10, seed=0)
    epochs, banks = training["epochs"], {}

    def record(rows):
        if len(rows) in (*STOPS, epochs):
            banks[len(rows)] = teachers.LogitBank.record(network, source.train)

    rows = train.fit(distillers.Supervised(network), source, seed=0, on_epoch=record, **training)
    banks |= {stop: banks[epochs] for stop in STOPS if stop > epochs}
    banks[epochs, "omitted"] = teachers.LogitBank.record(network, _without(source.train))
    z = metrics.predict(network, source.test)
    by_epoch = [row["valid_accuracy"] for row in rows]
    return {"valid_accuracy": by_epoch, "test_logits": z} | judged(z, source.test.y), banks


def without_class(source, bank, seed, training) -> dict:
    """A student that never saw a 3, judged before and after its bias for 3 is raised until it answers "3" to as many
    validation images as the teacher's training set had, one in ten. No label and no test image is used for that."""
    student = models.build("ece1512_student", source.shape, 10, seed=seed)
    train.fit(distillers.KD(student, bank, T=4, alpha=1.0), source.with_train(_without(source.train)),
              seed=seed, **training)
    share = (source.train.y == OMITTED).double().mean().item()
    z_valid, z = metrics.predict(student, source.valid), metrics.predict(student, source.test)
    others = z_valid.clone()
    others[:, OMITTED] = -torch.inf
    lead = (others.max(dim=1).values - z_valid[:, OMITTED]).double()
    bias = lead.quantile(share).item()
    raised = z.clone()
    raised[:, OMITTED] += bias
    threes = source.test.y == OMITTED
    return {
        "bias": bias,
        "before": judged(z, source.test.y) | {"recall": metrics.accuracy(z[threes], source.test.y[threes])},
        "after": judged(raised, source.test.y) | {"recall": metrics.accuracy(raised[threes], source.test.y[threes])},
    }


def judged(z, y) -> dict:
    errors = int((z.argmax(dim=1) != y).sum())
    return {"test_errors": errors, "test_nll": metrics.nll(z, y), "test_ece": metrics.ece(z, y)}


def _without(split):
    return split.take(split.y != OMITTED, f"without {OMITTED}")


if __name__ == "__main__":
    main()
