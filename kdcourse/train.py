"""`fit`: the one loop that trains everything, from the first teacher to the last student. It knows no method.

Notebook 01 writes it by hand before it imports it. It never sees test images.
"""

import math
from collections import defaultdict

import torch
from tqdm.auto import tqdm

from kdcourse import metrics, profiles
from kdcourse.core import Choices, check_output, quiet, seeded, total

SCHEDULES = Choices("schedule", {  # the learning rate's factor as a function of progress in [0, 1)
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
})


class NotFinite(RuntimeError):
    """The loss became NaN or infinite. `rows` holds the epochs before; the student is as it was one step earlier."""

    def __init__(self, message: str, rows: list[dict]):
        super().__init__(message)
        self.rows = rows


def fit(distiller, source, *, epochs, lr, batch_size=128, seed=0, optimizer=torch.optim.Adam, schedule="constant",
        augment=None, device=None, on_epoch=None) -> list[dict]:
    """Train a distiller on `source.train` and return one row per epoch, ready for `pandas.DataFrame(rows)`.

    A row holds `epoch` (from 1), each term's mean and weight over the images that it was computed for (`ce`,
    `ce_weight`, ...), and of the deployable network `valid_accuracy` in [0, 1] and `valid_nll` in nats. `seed` draws
    the order of the images and what layers such as dropout draw: the same seed gives the same rows. `schedule` scales
    the learning rate of every parameter group. `on_epoch(rows)` is called after each epoch.

    Raises TypeError or ValueError when the student is frozen or does not return a logit per class, `NotFinite` when
    the loss does not stay finite. On an interrupt the student keeps what it learnt, and the exception has the `rows`
    so far.
    """
    device = torch.device(device or profiles.device())
    distiller, source = distiller.to(device, memory_format=torch.channels_last), source.to(device)
    check(distiller, source)
    factor, optimiser = SCHEDULES[schedule], optimizer(distiller.parameter_groups(), lr=lr)
    rates, rows = [group["lr"] for group in optimiser.param_groups], []
    with seeded(seed, device):
        try:
            for epoch in tqdm(range(epochs), unit="epoch", leave=False, disable=quiet()):
                sums, seen = defaultdict(float), defaultdict(int)
                distiller.train()
                for step, batch in enumerate(source.train.batches(
                    batch_size, seed=seed, epoch=epoch, epochs=epochs, augment=augment
                )):
                    with profiles.autocast(device):
                        terms = distiller(batch)
                    loss = total(terms)
                    if not loss.isfinite():
                        raise NotFinite(_explain(terms, epoch, step, lr), rows)
                    for group, rate in zip(optimiser.param_groups, rates, strict=True):
                        group["lr"] = rate * factor(batch.progress)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    for name, term in terms.items():
                        for key, value in ((name, term.value), (f"{name}_weight", term.weight)):
                            sums[key] += len(batch.y) * torch.as_tensor(value).item()
                            seen[key] += len(batch.y)
                z, y = metrics.predict(distiller.deployable(), source.valid), source.valid.y.cpu()
                rows.append({"epoch": epoch + 1} | {key: sums[key] / seen[key] for key in sums}
                            | {"valid_accuracy": metrics.accuracy(z, y), "valid_nll": metrics.nll(z, y)})
                if on_epoch is not None:
                    on_epoch(rows)
        except KeyboardInterrupt as interrupt:
            interrupt.rows = rows
            interrupt.add_note(f"stopped in epoch {len(rows) + 1} of {epochs}: the student keeps what it learnt")
            raise
    return rows


def check(distiller, source) -> None:
    """Raise what can go wrong in `fit`, found with two images before anything is trained."""
    if not any(parameter.requires_grad for parameter in distiller.parameters()):
        raise ValueError(
            "nothing to train: every parameter is frozen. A network that was a teacher stays frozen; "
            "build a fresh student, or call student.requires_grad_(True) if it is meant to learn again"
        )
    network = distiller.deployable().eval()
    with torch.no_grad():
        z = check_output(network(source.train.x[:2].float() / 255), network)
    classes = len(source.classes)
    for split in (source.train, source.valid):
        low, high = (split.y.min().item(), split.y.max().item()) if len(split) else (0, 0)  # `batches` refuses none
        if not 0 <= low <= high < classes:
            allowed = f"{classes} classes allow 0 to {classes - 1}"
            raise ValueError(f"labels of {split.name} run from {low} to {high}; {allowed}")
    if z.shape[1] != classes:
        raise ValueError(f"the network returns {z.shape[1]} logits, but {source.name} has {classes} classes")


def _explain(terms, epoch: int, step: int, lr: float) -> str:
    values = ", ".join(f"{name} = {term.value.item():g}" for name, term in terms.items())
    return (
        f"the loss is not finite in epoch {epoch + 1}, batch {step + 1}: {values}. Nothing was updated with it. "
        f"Most often the learning rate is too high (it is {lr:g}); try a tenth of it"
    )
