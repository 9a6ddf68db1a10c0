"""`fit`: the one loop that trains everything, from the first teacher to the last student. It knows no method.

Notebook 01 writes it by hand before it imports it. It never sees test images.
"""

import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Real

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from kdcourse import compiler, metrics, profiles
from kdcourse.core import Choices, Term, check_seed, quiet, seeded, total
from kdcourse.data.base import Source
from kdcourse.models.base import check_classes, in_any_layout
from kdcourse.teachers.base import LogitBank, Teacher, check_student, check_teachers, culprit

SCHEDULES = Choices("schedule", {  # the learning rate's factor as a function of progress in [0, 1)
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
    "steps": lambda progress: 0.1 ** sum(progress >= share for share in (150 / 240, 180 / 240, 210 / 240)),
})


ONE_PASS = (torch.optim.Adam, torch.optim.AdamW)
OTHER_KERNELS = {"fused", "foreach", "capturable", "differentiable"}  # who chose one has it


class NotFinite(RuntimeError):
    """The loss became NaN or infinite. `rows` holds the epochs before; the student, its moving statistics included, is
    as it was one step earlier. After an epoch whose last step broke the network, which the message says, it is as that
    step left it."""

    def __init__(self, message: str, rows: list[dict]):
        super().__init__(message)
        self.rows = rows


def fit(distiller, source, *, epochs, lr, batch_size=128, seed=0, optimizer=torch.optim.Adam, schedule="constant",
        augment=None, device=None, on_epoch=None) -> list[dict]:
    """Train a distiller on `source.train` and return one row per epoch, ready for `pandas.DataFrame(rows)`.

    A row holds `epoch` (from 1), each term's mean and weight over the images that it was computed for (`ce`,
    `ce_weight`, ...), and of the deployable network `valid_accuracy` in [0, 1] and `valid_nll` in nats. `seed` draws
    the order of the images and what layers such as dropout draw: the same seed gives the same rows. `schedule` scales
    the learning rate of every parameter group. `optimizer(groups, lr=lr)` makes the optimiser: a class of `torch.optim`
    or a function. `on_epoch(rows)` is called after each epoch.

    Raises TypeError or ValueError, before anything is trained, when the student is frozen, does not return a logit per
    class or cannot train on a last batch of one image, and `NotFinite` when the loss or the answers about validation
    images do not stay finite. Whatever stops the training, an interrupt or an error in `on_epoch`: the student keeps
    what it learnt, and the exception has the `rows` so far.
    """
    check_settings(distiller, source, epochs=epochs, batch_size=batch_size, seed=seed, lr=lr, optimizer=optimizer,
                   augment=augment)
    epochs = operator.index(epochs)
    device = torch.device(device or profiles.device())
    distiller, source = distiller.to(device, memory_format=torch.channels_last), source.to(device)
    in_any_layout(distiller, lambda: check(distiller, source))
    check_recorded(distiller, source.train, augment, epochs)
    check_last_batch(distiller, source.train, batch_size, seed=seed, augment=augment)
    factor, optimiser = SCHEDULES[schedule], made(optimizer, distiller.parameter_groups(), lr=lr, device=device)
    check_optimiser(optimiser, distiller)
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    rows = []
    with seeded(seed, device):
        try:
            for number in tqdm(range(epochs), unit="epoch", leave=False, disable=quiet()):
                batches = source.train.batches(batch_size, seed=seed, epoch=number, epochs=epochs, augment=augment)
                means = epoch(distiller, batches, optimiser, factor)
                z, y = metrics.predict(distiller.deployable(), source.valid), source.valid.y.cpu()
                if broken := unanswered(z, number, optimiser.param_groups[0]["initial_lr"]):
                    raise NotFinite(broken, [])
                rows.append({"epoch": number + 1} | {key: mean.item() for key, mean in means.items()}
                            | {"valid_accuracy": metrics.accuracy(z, y), "valid_nll": metrics.nll(z, y)})
                if on_epoch is not None:
                    on_epoch(rows)
        except BaseException as stopped:
            stopped.rows = rows
            if isinstance(stopped, KeyboardInterrupt):
                stopped.add_note(f"stopped in epoch {len(rows) + 1} of {epochs}: the student keeps what it learnt")
            raise
    return rows


def made(optimizer: Callable, groups: list, *, lr, device: torch.device) -> torch.optim.Optimizer:
    """`optimizer(groups, lr=lr)`. Adam and AdamW get the kernel that passes over weights, gradients and moments once
    in the place of a dozen times: the same step up to rounding, in a third of the time on a CPU."""
    compiler.on_demand()
    kind, settings = getattr(optimizer, "func", optimizer), getattr(optimizer, "keywords", {})  # of a partial
    one_pass = kind in ONE_PASS and not OTHER_KERNELS & settings.keys() and device.type in ("cpu", "cuda")
    return optimizer(groups, lr=lr, **({"fused": True} if one_pass else {}))


def epoch(distiller, batches, optimiser, factor) -> dict[str, Tensor]:
    """One step for each batch; returns the mean of every term and weight, as `Meter` does.

    `factor(progress)` scales each group's "initial_lr". One number of a step is read from the device, whether the loss
    is finite, and before anything is updated: it is what `NotFinite` promises.
    """
    distiller.train()
    meter, moving = Meter(), _moving(distiller)
    for step, batch in enumerate(batches):
        before = [buffer.clone() for buffer in moving]
        with profiles.autocast(batch.x.device):
            terms = in_any_layout(distiller, partial(distiller, batch)) if step == 0 else distiller(batch)
        loss = total(terms)
        if not loss.isfinite():
            _restore(moving, before)
            lr = optimiser.param_groups[0]["initial_lr"]
            raise NotFinite(culprit(distiller, batch) or _explain(terms, batch.epoch, step, lr), [])
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor(batch.progress)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        meter.add(terms, len(batch.y))
    return meter.means()


def unanswered(z: Tensor, epoch: int, lr: float) -> str:
    """What is wrong with a network whose logits (N, K) about validation images, after that epoch, are not finite; empty
    if they are. Its last step is the only one that no loss has looked at."""
    broken = (~z.amax(dim=1).isfinite()).sum().item()
    if not broken:
        return ""
    return (
        f"after epoch {epoch + 1} the logits of {broken} of {len(z)} validation images are not finite: the last step "
        f"made the weights too large. Most often the learning rate is too high (it is {lr:g}); try a tenth of it"
    )


class Meter:
    """Means over the images of an epoch. What is added stays on its device until the end, so that no step waits."""

    def __init__(self):
        self.kept = defaultdict(list)

    def add(self, terms: dict[str, Term], images: int | Tensor) -> None:
        """Each term's value and weight, which count for so many images: a tensor where it holds several students."""
        for name, term in terms.items():
            for key, value in ((name, term.value), (f"{name}_weight", torch.as_tensor(term.weight))):
                self.kept[key].append((images, value.detach().clone()))  # a weight that is learned changes in its place

    def means(self) -> dict[str, Tensor]:
        """By name, in float64 on the CPU; NaN for what counted for no image."""
        return {key: _mean(*zip(*kept, strict=True)) for key, kept in self.kept.items()}


def _mean(images: tuple, values: tuple[Tensor, ...]) -> Tensor:
    images = _stacked([torch.as_tensor(n) for n in images])
    values = _stacked(values).where(images > 0, 0)  # a term that was off may have been anything
    return (images * values).sum(dim=0) / images.sum(dim=0)


def _stacked(values) -> Tensor:
    """On the CPU before it becomes float64, which not every device has."""
    return torch.stack([value.to(values[0].device) for value in values]).cpu().double()


def check(distiller, source) -> None:
    """Raise what can go wrong in `fit`, found with a few images before anything is trained."""
    learners = list(_learning(distiller))
    if learners and not any(parameter.requires_grad for parameter in learners):
        raise ValueError(
            "nothing to train: every parameter is frozen. A network that was a teacher stays frozen; "
            "build a fresh student, or call student.requires_grad_(True) if it is meant to learn again"
        )
    network = distiller.deployable().eval()
    z = check_student(network, source.train)
    check_teachers(distiller, source.train)
    classes = len(source.classes)
    for split in (source.train, source.valid):
        low, high = (split.y.min().item(), split.y.max().item()) if len(split) else (0, 0)  # `batches` refuses none
        if not 0 <= low <= high < classes:
            allowed = f"{classes} classes allow 0 to {classes - 1}"
            raise ValueError(f"labels of {split.name} run from {low} to {high}; {allowed}")
    if z.shape[1] != classes:
        raise ValueError(f"the network returns {z.shape[1]} logits, but {source.name} has {classes} classes")
    for part in distiller.modules():
        if isinstance(part, Teacher):
            check_classes(part.network, source.classes)


def check_recorded(distiller, split, augment, epochs: int) -> None:
    """Raise ValueError when a bank in the distiller holds answers about other images than `split` as `augment` changes
    it, or those of fewer epochs of learning than there are: whichever turn is the bank's."""
    banks = [part for part in distiller.modules() if isinstance(part, LogitBank)]
    origin = split.origin(augment) if banks else ""
    for bank in banks:
        bank.check_asked(origin, epochs)


def check_optimiser(optimiser, distiller) -> None:
    """Raise TypeError unless it is an optimiser that takes a step for each batch, and ValueError unless it moves what
    is deployed."""
    if not isinstance(optimiser, torch.optim.Optimizer):
        raise TypeError(f"optimizer(groups, lr=lr) returned {_called(optimiser)}, and an optimiser of torch.optim is "
                        "needed")
    if isinstance(optimiser, torch.optim.LBFGS):
        raise TypeError("LBFGS asks for the loss several times in a step, and fit computes it once for each batch: "
                        "choose torch.optim.Adam, or torch.optim.SGD")
    moved = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    learners = list(_learning(distiller))
    if learners and not any(id(parameter) in moved for parameter in learners):
        raise ValueError("the optimiser holds no weight of the network that is trained: make it of the groups that it "
                         "is given, lambda groups, lr: torch.optim.SGD(groups, lr=lr)")


def _learning(distiller) -> Iterator[nn.Parameter]:
    """The weights some of which are to be trained: the student's, and those that are deployed with it or in its place.
    Helpers learn as well, but a frozen student would learn nothing from them."""
    yield from getattr(distiller, "student", distiller).parameters()
    yield from distiller.deployable().parameters()


def check_last_batch(distiller, split, batch_size: int, *, seed=0, augment=None) -> None:
    """Raise ValueError if an epoch ends with a batch of one image and the distiller cannot be trained on that, as with
    batch normalisation of vectors: found before the first step, and nothing is changed by it."""
    if len(split) % batch_size != 1 and batch_size > 1:
        return
    batch, moving = next(split.batches(1, seed=seed, augment=augment)), _moving(distiller.train())
    before = [buffer.clone() for buffer in moving]
    try:
        with seeded(0, batch.x.device), profiles.autocast(batch.x.device):
            why = "" if total(distiller(batch)).isfinite() else "its loss is not finite"
    except (RuntimeError, ValueError, ZeroDivisionError) as error:
        why = str(error)
    finally:
        _restore(moving, before)
    if why:
        raise ValueError(
            f"the last batch of every epoch would hold one image ({len(split)} images in batches of {batch_size}), and "
            f"this distiller cannot be trained on one ({why}): choose another batch_size, {batch_size + 1} say, or "
            "leave an image out"
        )


def check_settings(distiller, source, *, epochs, batch_size, seed, lr, optimizer, augment=None) -> None:
    if not isinstance(distiller, nn.Module) or not hasattr(distiller, "parameter_groups"):
        raise TypeError(
            f"fit trains a distiller, which knows its loss, and {_called(distiller)} is none: write "
            "fit(distillers.Supervised(network), source, ...) for hard labels, or "
            "fit(distillers.KD(network, teacher), source, ...)"
        )
    if not isinstance(source, Source):
        raise TypeError(
            f"fit trains on a source, data.load(name) or data.from_arrays(name, x, y, classes=...), not on "
            f"{_called(source)}"
        )
    check_count("epochs", epochs, at_least=0)
    check_count("batch_size", batch_size, at_least=1)
    check_seed(seed)
    if isinstance(augment, type):
        raise TypeError(f"an augmentation is made with its settings: augment={augment.__name__}(), not the class")
    if not isinstance(lr, Real | Tensor) or not 0 <= lr < math.inf:
        raise ValueError(f"lr is the learning rate, a number of at least 0 such as 1e-3; it is {lr!r}")
    if not callable(optimizer):
        raise TypeError(
            f"optimizer is what makes the optimiser from the parameters and lr: torch.optim.Adam, say, or "
            f"lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9); not {_called(optimizer)}"
        )


def check_count(name: str, value, *, at_least: int) -> None:
    """Raise ValueError unless a setting is a whole number of at least so much."""
    try:
        right = operator.index(value) >= at_least
    except TypeError:
        right = False
    if not right:
        raise ValueError(f"{name} is a whole number of at least {at_least}; it is {value!r}")


def _called(thing) -> str:
    """How a message names what was given: a value by itself, anything larger by its type."""
    return repr(thing) if isinstance(thing, str | int | float | None) else f"a {type(thing).__name__}"


def _moving(distiller) -> list[Tensor]:
    """What a forward pass changes: the buffers of modules in train mode, such as moving statistics."""
    return [buffer for module in distiller.modules() if module.training for buffer in module.buffers(recurse=False)]


@torch.no_grad()
def _restore(buffers: list[Tensor], values: list[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def _explain(terms, epoch: int, step: int, lr: float) -> str:
    values = ", ".join(f"{name} = {term.value.item():g}" for name, term in terms.items())
    return (
        f"the loss is not finite in epoch {epoch + 1}, batch {step + 1}: {values}. Nothing was updated with it. "
        f"Most often the learning rate is too high (it is {lr:g}); try a tenth of it"
    )
