"""One training of a study: its images, its networks, its lesson, and what is measured after the last epoch."""

import copy
import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kdcourse import cost, data, distillers, metrics, models, procedures, profiles
from kdcourse import train as training
from kdcourse.core import Batch, generator, total
from kdcourse.data.base import Source, Split
from kdcourse.studies.base import Store, Unit
from kdcourse.teachers import LogitBank, Teacher, Trajectory, key_of

FACTS = {"cifar10": ((3, 32, 32), 10, 45_000, 5_000), "cifar100": ((3, 32, 32), 100, 45_000, 5_000)}
HALVES = ("first", "second")
RECORDED = ("slkd_recorded", "slkd_teacher")  # beside what is learned from logits alone
FEW, MANY, LONG = 4, 64, 5.0  # images that are timed on a processor at first, and on a device; seconds


def train(unit: Unit, store: Store) -> dict:
    """Do this training and return its result: `test_top1` and `test_top5` in [0, 1], `test_nll` in nats, the `rows` of
    `fit`, and the number of `parameters`. The weights of one that teaches are kept in `store`.

    The test images are looked at once, after the last epoch. Raises what `fit` raises, and ValueError when its teacher
    is not trained yet.
    """
    arm, source = unit.arm, read(unit.arm.data)
    network = build(arm.network, source.shape, source.classes, unit.seed)
    teacher = None if unit.teacher is None else load(unit.teacher, store, source)
    how, settings = dict(arm.lesson), fit_settings(arm.training, unit.seed)
    if answers_are_enough(unit):
        bank = LogitBank.cached(teacher, source.train, augment=settings.get("augment"), folder=store.answers)
        if how["method"] == "slkd_recorded":
            how["learners"] = path_of_learners(teacher, bank, source, settings, how, store.answers)
        teacher = bank
    learn = LESSONS.get(method := how.pop("method"), partial(_by_method, method))
    rows, deployed = learn(network, teacher, source, settings, how)
    result = judged(deployed, source.test) | {"rows": rows, "parameters": cost.parameters(deployed),
                                              "precision": profiles.precision(settings["device"]),
                                              "device": str(settings["device"])}
    if teacher is not None:
        result["teacher"] = teacher.teacher if isinstance(teacher, LogitBank) else key_of(teacher)
    if unit.teaches:
        _save(network, store.weights(unit))
    return result


def answers_are_enough(unit: Unit) -> bool:
    """Whether its lesson needs what the teacher answers and nothing else of it. Then the answers are recorded, a view
    for every epoch, once for all trainings that share teacher, images and views, instead of being asked for in each."""
    name = unit.arm.lesson["method"]
    of_logits = getattr(distillers.METHODS.get(name), "__module__", "") == distillers.logits.__name__
    return unit.teacher is not None and (of_logits or name in RECORDED)


def judged(network: nn.Module, split: Split) -> dict[str, float]:
    """What a finished network knows of these images."""
    z = metrics.predict(network, split)
    y = split.y.to(z.device)
    top5 = (z.topk(min(5, z.shape[1]), dim=1).indices == y[:, None]).any(dim=1).float().mean().item()
    return {"test_top1": metrics.accuracy(z, y), "test_top5": top5, "test_nll": metrics.nll(z, y), "images": len(y)}


def read(settings: Mapping) -> Source:
    """The images of an arm. Those of one data set are read once for all arms that follow each other."""
    return _read(json.dumps(settings, sort_keys=True))


@lru_cache(maxsize=1)
def _read(settings: str) -> Source:
    settings = json.loads(settings)
    name, whole, half = (settings.pop(key, None) for key in ("name", "whole", "half"))
    source = noise(**settings) if name == "noise" else data.load(name, **settings)
    if half is not None:
        rows = torch.arange(len(source.train)).chunk(2)[HALVES.index(half)]
        source = source.with_train(source.train.take(rows, f"{half} half"))
    if not whole:
        return source
    x, y = (torch.cat([getattr(split, what) for split in (source.train, source.valid)]) for what in ("x", "y"))
    return source.with_train(Split(f"{source.name}/all but test", x, y))


def noise(*, images: int = 16, side: int = 16, classes: int = 10) -> Source:
    """Images that mean nothing, for a rehearsal."""
    x = torch.randint(0, 256, (3 * images, 3, side, side), generator=generator(0), dtype=torch.uint8)
    y, (first, second) = torch.arange(3 * images) % classes, (images, 2 * images)
    return data.from_arrays("noise", x[:first], y[:first], classes=[f"c{k}" for k in range(classes)],
                            valid=(x[first:second], y[first:second]), test=(x[second:], y[second:]))


def build(settings: Mapping, shape, classes, seed: int) -> nn.Module:
    """The network of an arm for images of `shape`: one of the zoo or of another package, or a pretrained one. One of
    the zoo normalises by the `mean` and `std` of `normalise`, if there is such a setting."""
    settings = dict(settings)
    name, pretrained = settings.pop("name"), settings.pop("pretrained", False)
    statistics = settings.pop("normalise", None)
    if pretrained:
        return models.pretrained(name, classes=len(classes), seed=seed, **settings)
    network = models.build(name, shape, len(classes), seed=seed, **settings)
    if statistics is not None:
        network.normalise = models.Normalise(**statistics)
    return network


def load(unit: Unit, store: Store, source: Source) -> Teacher:
    """The finished network of a training that teaches."""
    if store.read(unit) is None:
        raise ValueError(f"{unit.arm.name} teaches here and is not trained yet: run it first")
    network = build(unit.arm.network, source.shape, source.classes, unit.seed)
    network.load_state_dict(load_file(store.weights(unit)))
    return Teacher(network)


def fit_settings(settings: Mapping, seed: int) -> dict:
    """The settings of an arm as `fit` takes them. Its views never repeat, and every seed sees the same ones in another
    order, so that all trainings of an arm, and of arms with one budget, can share a teacher's recorded answers."""
    settings = dict(settings)
    if optimizer := dict(settings.pop("optimizer", {})):
        settings["optimizer"] = partial(getattr(torch.optim, optimizer.pop("name")), **optimizer)
    if augment := settings.pop("augment", None):
        settings["augment"] = data.Augment(**augment, views=settings["epochs"])
    return {**settings, "seed": seed, "device": device()}


def device() -> torch.device:
    """Where studies train: `KDCOURSE_DEVICE` if set, else the GPU if there is one, whatever the profile."""
    chosen = bool(os.environ.get("KDCOURSE_DEVICE")) or not torch.cuda.is_available()
    return profiles.device() if chosen else torch.device("cuda")


def seconds_of_a_step(unit: Unit) -> float:
    """How long one step of this training takes on this machine, by one that is done, warmed up, with random images: as
    many as a batch has; on a processor a few first, and no more of them where a whole batch would take long."""
    size = unit.arm.training["batch_size"]
    return _timed(partial(_step_of, unit), size, min(FEW, size)) * size


def seconds_of_an_answer(unit: Unit) -> float:
    """How long the teacher of this training needs for an image, on this machine."""
    shape, classes, *_ = facts(unit.arm.data)
    network = build(unit.teacher.arm.network, shape, [str(k) for k in range(classes)], 0).to(device()).eval()
    with profiles.answering(device()):
        return _timed(lambda n: cost.latency(network, shape, batch_size=n, repeats=3), MANY, FEW)


def _timed(seconds: Callable[[int], float], size: int, few: int) -> float:
    """Seconds for each of `size` images at once: told from a few of them on a processor if all would take `LONG`."""
    if device().type != "cuda" and (each := seconds(few) / few) * size > LONG:
        return each
    return seconds(size) / size


def _step_of(unit: Unit, n: int) -> float:
    arm = unit.arm
    shape, classes, *_ = facts(arm.data)
    names, where = [str(k) for k in range(classes)], device()
    network = build(arm.network, shape, names, unit.seed)
    how, teacher = dict(arm.lesson), None
    if answers_are_enough(unit):
        teacher = LogitBank(torch.randn(1, n, classes), origin="", teacher="")
    elif unit.teacher is not None:
        teacher = Teacher(build(unit.teacher.arm.network, shape, names, 0), untrained=True)
    distiller = _distiller(how.pop("method"), network, teacher, how, unit.seed).to(where).train()
    batch = Batch(torch.rand(n, *shape), torch.arange(n) % classes, torch.arange(n), progress=0.5)
    batch = batch._replace(x=batch.x.to(where), y=batch.y.to(where), index=batch.index.to(where))
    for _ in range(2):
        start = time.perf_counter()
        with profiles.autocast(where):
            loss = total(distiller(batch))
        loss.backward()
        loss.item()  # waits for the device
    return time.perf_counter() - start


def multiply_adds(unit: Unit) -> int:
    """Of this training: three times what the student's forward pass takes, for the pass back has two, and one pass of a
    teacher that is asked in every step. What finished learners take beside it is not counted."""
    shape, classes, images = facts(unit.arm.data)
    names = [str(k) for k in range(classes)]
    each = 3 * cost.multiply_adds(build(unit.arm.network, shape, names, 0), shape)
    if unit.teacher is not None and not answers_are_enough(unit):
        each += cost.multiply_adds(build(unit.teacher.arm.network, shape, names, 0), shape)
    return each * images * unit.arm.training["epochs"]


def facts(settings: Mapping) -> tuple[tuple[int, int, int], int, int]:
    """Shape, number of classes and of training images, without reading those of large data sets."""
    if settings["name"] in FACTS:
        shape, classes, images, valid = FACTS[settings["name"]]
        return shape, classes, images // (2 if settings.get("half") else 1) + valid * bool(settings.get("whole"))
    source = read(settings)
    return source.shape, len(source.classes), len(source.train)


def _by_method(method: str, network, teacher, source, settings, how) -> tuple[list[dict], nn.Module]:
    distiller = _distiller(method, network, teacher, how, settings["seed"])
    rows = training.fit(distiller, source, **settings)
    return rows, distiller.deployable()


def _distiller(method: str, network, teacher, how: Mapping, seed: int) -> distillers.Distiller:
    """A distiller by its name; what takes several trainings by what its longest one is."""
    if method == "hard labels":
        return distillers.Supervised(network)
    if method == "slkd_teacher":
        again = teacher if isinstance(teacher, LogitBank) else Teacher(teacher.network)
        return distillers.SLKD(network, teacher, learners=again, **how)
    if method == "slkd_recorded":
        how = {key: value for key, value in how.items() if key != "count"}
        return distillers.SLKD(network, teacher, **{"learners": teacher, **how})  # as fast, where a step is timed
    if method in ("slkd_finished", "slkd_checkpoint"):
        method, how = "slkd", {key: value for key, value in how.items() if key != "share"}
    make = distillers.METHODS[method]
    draws = {"seed": seed} if "seed" in inspect.signature(make).parameters else {}
    return make(network, teacher, **draws, **how)


def _learners(teacher: Teacher, count: int, seed: int) -> list[nn.Module]:
    """SLKD's self-learning teachers, drawn as it draws them."""
    return [models.fresh_copy(teacher.network, seed=generator(seed, k).initial_seed()) for k in range(count)]


def path_of_learners(teacher: Teacher, bank: LogitBank, source, settings, how, folder: Path) -> Trajectory:
    """What SLKD's self-learning teachers say on their way, one epoch after another: recorded once, from seed 0, for all
    trainings that share teacher, images, views and budget, and kept in `folder`."""
    budget = {key: value for key, value in settings.items() if key not in ("seed", "device", "augment")}
    views = source.train.origin(settings.get("augment"))  # an `Augment` by its name, and not by its place in memory
    precision = profiles.precision(settings.get("device"))
    made_of = f"{key_of(teacher)} {views} {budget} {precision} {sorted(how.items())}"
    path = folder / f"learners-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.safetensors"
    if path.is_file():
        return Trajectory.load(path, teacher=teacher, split=source.train, augment=settings.get("augment"))
    learners = _learners(teacher, how.get("count", 2), 0)
    letters = {key: how[key] for key in ("T", "lam", "w") if key in how}
    settings = {**settings, "seed": 0}
    found = procedures.record_learners(learners, bank, source, **letters, dtype=torch.float16, **settings)
    found.save(path)
    return found


def _after_finished(network, teacher, source, settings, how):
    """SLKD*: its self-learning teachers first finish, then the student follows what they have become."""
    how = dict(how)
    learners = _learners(teacher, how.pop("count", 2), settings["seed"])
    *_, rows = procedures.slkd_sequential(network, teacher, learners, source, **how, **settings)
    return rows, network


class _Enough(Exception):
    """The learners are as old as they are meant to become."""


def _from_checkpoint(network, teacher, source, settings, how):
    """The student follows self-learning teachers as they were after a `share` of their epochs, and not their path."""
    how = dict(how)
    stop = max(1, round(how.pop("share") * settings["epochs"]))
    learners = _learners(teacher, how.pop("count", 2), settings["seed"])
    first = distillers.SelfLearners(learners, teacher, T=how.get("T", 4.0), lam=how.get("lam", 0.1),
                                    w=how.get("w", 0.5), seed=settings["seed"])

    def until(rows):
        if len(rows) == stop:
            raise _Enough

    try:
        training.fit(first, source, **settings, on_epoch=until)
    except _Enough:
        pass
    fixed = Teacher(procedures.Fused([copy.deepcopy(learner) for learner in learners], how.get("w", 0.5)))
    rows = training.fit(distillers.SLKD(network, teacher, learners=fixed, **how), source, **settings)
    return rows, network


LESSONS: dict[str, Callable] = {  # beside those of `distillers.METHODS`
    "hard labels": partial(_by_method, "hard labels"),
    "slkd_teacher": partial(_by_method, "slkd_teacher"),  # the teacher in the place of the learners: weights alone
    "slkd_recorded": partial(_by_method, "slkd_recorded"),
    "slkd_finished": _after_finished,
    "slkd_checkpoint": _from_checkpoint,
}


def _save(network: nn.Module, path: Path) -> None:
    """The weights, whole or not at all."""
    state: dict[str, Tensor] = {key: value.detach().cpu().clone().contiguous()
                                for key, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(f".partial-{path.name}")
    save_file(state, partial_path)
    partial_path.replace(path)
