"""Doing what a plan says: its images, its teacher, how long it will take, what is chosen on validation images, and what
every student measures on the test images, once, after its last epoch."""

import importlib.util
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from kdcourse import cost, data, distillers, metrics, models, study, train, trained
from kdcourse.core import Batch, total
from kdcourse.data.base import Source, Split, stratified
from kdcourse.plan.base import TRAINING, Plan, fingerprint, reached
from kdcourse.studies import base as studies
from kdcourse.sweep import sweep
from kdcourse.teachers import LogitBank, Teacher

LOGITS = ("kd", "eskd", "dkd", "ats", "dist", "ctkd", "lskd", "nkd", "ttm", "wttm")  # methods that a table teaches


@dataclass(frozen=True)
class Material:
    """The images of a plan, and its teacher: the network, its logits about the test images, and its answers about the
    students' training images; None without one."""

    source: Source
    network: nn.Module | None = None
    said: Tensor | None = None
    bank: LogitBank | None = None


def material(plan: Plan, folder: Path) -> Material:
    """Load the images, and the teacher or train it. Raises ValueError when the images are too few for both."""
    whole, n = _images(plan.images, folder), plan.images["train"]
    if "folder" in plan.images and (copies := _copies(whole)):
        raise ValueError(f"{copies} of {len(whole.test):,} test images are among the training images, pixel by pixel: "
                         "leave each picture in one of both")
    if n > len(whole.train):
        raise ValueError(f"the students get {n:,} training images, and there are {len(whole.train):,}")
    chosen = stratified(whole.train.y, n, 0)  # a folder lies class after class
    few, rest = whole.train.take(chosen, "few"), whole.train.take(~chosen, "rest")
    source = whole.with_train(few)
    if plan.teacher is None:
        return Material(source)
    if kept := plan.teacher.get("kept"):
        answers = trained.answers(kept)
        said, table = answers["test"].table[0].float(), answers["train"].table[:, chosen]
        return Material(source, trained.network(kept), said, _bank(table, few, kept))
    if not len(rest):
        raise ValueError(f"a teacher learns from images that its students do not get, and the students get all {n:,}: "
                         "make images['train'] smaller")
    network = _trained(plan.teacher, whole.with_train(rest))
    said = metrics.predict(network, source.test)
    return Material(source, network, said, _bank(metrics.predict(network, few)[None], few, "trained here"))


def _images(settings: Mapping, folder: Path) -> Source:
    settings = {key: value for key, value in settings.items() if key != "train"}
    if "folder" in settings:
        place = Path(settings.pop("folder")).expanduser()
        return data.from_folder(place if place.is_absolute() else folder / place, **settings)
    return data.load(settings.pop("name"), **settings)


def _copies(source: Source) -> int:
    """How many test images are a training or a validation image, too."""
    known = {image.tobytes() for split in (source.train, source.valid) for image in split.x.numpy()}
    return sum(image.tobytes() in known for image in source.test.x.numpy())


def _trained(teacher: Mapping, source: Source) -> nn.Module:
    settings = dict(teacher["network"])
    seed = teacher.get("seed", 0)
    network = models.build(settings.pop("name"), source.shape, len(source.classes), seed=seed, **settings)
    train.fit(distillers.Supervised(network), source, epochs=teacher["epochs"], lr=teacher["lr"],
              batch_size=teacher.get("batch_size", 128), seed=seed)
    return network.eval()


def _bank(table: Tensor, split: Split, name: str) -> LogitBank:
    return LogitBank(table, origin=split.origin(), teacher=name)


def student(plan: Plan, source: Source, seed: int) -> nn.Module:
    """A fresh student of that seed."""
    settings = dict(plan.student)
    return models.build(settings.pop("name"), source.shape, len(source.classes), seed=seed, **settings)


def lesson(plan: Plan, arm: Mapping, found: Material, folder: Path) -> Callable[..., nn.Module]:
    """What makes a distiller of a student: `make(student, **settings)`, whose settings come before the arm's own."""
    settings = {key: value for key, value in arm.items() if key not in ("method", "training")}
    method = arm["method"]
    if method == "hard labels":
        return partial(_alone)
    make = _own(method, folder) if ".py:" in method else distillers.METHODS[method]
    augmented = {**plan.training, **arm.get("training", {})}.get("augment")
    table = not augmented and (method in LOGITS or ".py:" in method)
    teacher = found.bank if table or found.network is None else Teacher(found.network)
    return partial(_taught, make, teacher, settings)


def _alone(network: nn.Module, **settings) -> nn.Module:
    return distillers.Supervised(network)


def _taught(make: Callable, teacher, own: Mapping, network: nn.Module, **settings) -> nn.Module:
    return make(network, teacher, **{**own, **settings})


def _own(method: str, folder: Path) -> Callable:
    """The distiller called NAME in FILE.py beside the plan. Raises ValueError when there is none."""
    file, _, name = method.partition(":")
    path = folder / file
    if Path(file).name != file or not path.is_file():
        raise ValueError(f"there is no {file} beside the plan, in {folder}: its lesson {name} stands in it")
    spec = importlib.util.spec_from_file_location(f"plan_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    with _beside(folder, reached([file], folder).keys() - {file}):
        spec.loader.exec_module(module)
    try:
        return getattr(module, name)
    except AttributeError:
        raise ValueError(f"{file} has no {name}: define the distiller there") from None


@contextmanager
def _beside(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Inside, these programs are what an import of their names finds, whatever other folder has one of that name."""
    tops = {name.partition("/")[0].removesuffix(".py") for name in names}

    def taken() -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in tops}

    others = taken()
    sys.path.insert(0, str(folder.resolve()))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))
        taken()
        sys.modules.update(others)


def as_fit(training: Mapping) -> dict:
    """The training of an arm as `study.paired` takes it."""
    training = dict(training)
    if augment := training.pop("augment", None):
        training["augment"] = data.Augment(**augment)
    return training


def estimated(plan: Plan, found: Material, folder: Path) -> dict[str, float]:
    """Seconds for each arm on this machine, choosing included, from one timed step of each: at most, since `sweep`
    trains small students together. The training of the teacher is over when this can be asked. Raises what a method
    raises whose settings are wrong."""
    seconds = {}
    for name, arm in plan.arms.items():
        training, points, first = plan.training_of(name), 1, {}
        for key, values in plan.grid_of(name).items():
            points *= len(values)
            (training if key in TRAINING else first)[key] = values[-1]
        size = min(training.get("batch_size", 128), len(found.source.train))
        trainings = len(plan.seeds) + (points * len(plan.choose.get("seeds", ())) if plan.grid_of(name) else 0)
        steps = -(-len(found.source.train) // size) * training.get("epochs", 1)
        seconds[name] = trainings * steps * _step(plan, {**arm, **first}, found, folder, size)
    return seconds


def _step(plan: Plan, arm: Mapping, found: Material, folder: Path, size: int) -> float:
    """How long one step takes, the middle one of five, after two."""
    distiller = lesson(plan, arm, found, folder)(student(plan, found.source, 0)).train()
    batch, spent = next(found.source.train.batches(size, seed=0)), []
    optimiser = torch.optim.Adam(distiller.parameter_groups(), lr=1e-3)
    for _ in range(7):
        start = time.perf_counter()
        optimiser.zero_grad()
        total(distiller(batch)).backward()
        optimiser.step()
        spent.append(time.perf_counter() - start)
    return sorted(spent[2:])[2]


def check(plan: Plan, found: Material, folder: Path) -> None:
    """Raise what a training of the plan would raise before its first step, for every arm and every point of its grid,
    and what the identity would: nothing is trained."""
    for name, arm in plan.arms.items():
        grid, make = plan.grid_of(name), lesson(plan, arm, found, folder)
        for values in itertools.product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            training = as_fit({**plan.training_of(name), **{key: point.pop(key) for key in TRAINING if key in point}})
            distiller, size = make(student(plan, found.source, 0), **point), training.get("batch_size", 128)
            train.check_settings(distiller, found.source, epochs=training["epochs"], batch_size=size, seed=0,
                                 lr=training["lr"], optimizer=torch.optim.Adam)
            train.check(distiller, found.source)
            train.check_last_batch(distiller, found.source.train, size, augment=training.get("augment"))
    gap(plan, found, folder)


def searched(plan: Plan, name: str, found: Material, folder: Path, seeds: Sequence[int]) -> list[dict]:
    """What was tried for an arm: each point of its grid, with the accuracy on validation images by seed."""
    grid, make = plan.grid_of(name), lesson(plan, plan.arms[name], found, folder)
    of_fit = {key: values for key, values in grid.items() if key in TRAINING}
    of_method = {key: values for key, values in grid.items() if key not in TRAINING}
    tried = []
    for values in itertools.product(*of_fit.values()):
        at = dict(zip(of_fit, values, strict=True))
        rows = sweep(partial(student, plan, found.source), make, of_method, found.source, seeds=seeds,
                     **as_fit({**plan.training_of(name), **at}))
        for place, point in enumerate(itertools.product(*of_method.values())):   # the rows stand point by point
            accuracy = [row["valid_accuracy"] for row in rows[place * len(seeds):(place + 1) * len(seeds)]]
            tried.append({"point": {**at, **dict(zip(of_method, point, strict=True))}, "valid_accuracy": accuracy})
    return tried


def best(tried: list[dict]) -> dict:
    """The point with the best mean on validation images; of equal ones the first."""
    return max(tried, key=lambda entry: sum(entry["valid_accuracy"]))


def measured(plan: Plan, folder: Path, found: Material, points: Mapping[str, Mapping],
             keep: Callable | None = None) -> dict:
    """Train every arm from every seed with its chosen point, test each student once, and return what is kept.
    `keep(key, measure=...)` gives what `measure()` returned for an arm, measured now or by an earlier run."""
    keep = keep or (lambda key, measure: measure())
    arms = {name: keep(f"measured: {name}", measure=partial(_measured, plan, name, folder, found, points.get(name, {})))
            for name in plan.arms}
    rows, seconds = ({name: one[key] for name, one in arms.items()} for key in ("rows", "seconds"))
    y = found.source.test.y
    return {"plan": fingerprint(plan), "rows": rows, "images": len(y), "seconds": seconds, "points": dict(points),
            "cost": costs(plan, found, folder, points), "identity": gap(plan, found, folder),
            "teacher": None if found.said is None else metrics.accuracy(found.said, y), **studies.made_by()}


def _measured(plan: Plan, name: str, folder: Path, found: Material, point: Mapping) -> dict:
    """The rows of one arm, a student for each seed, and how many seconds they took."""
    start, y = time.perf_counter(), found.source.test.y
    at = {key: value for key, value in point.items() if key in TRAINING}
    of_method = {key: value for key, value in point.items() if key not in TRAINING}
    make = partial(lesson(plan, plan.arms[name], found, folder), **of_method)
    trial = study.paired(partial(student, plan, found.source), {name: make}, found.source, seeds=plan.seeds,
                         **as_fit({**plan.training_of(name), **at}))
    seconds = round(time.perf_counter() - start, 2)
    return {"seconds": seconds, "rows": [
        {"seed": seed, "accuracy": accuracy, **_known(network, found, y)} for seed, accuracy, network
        in zip(trial.seeds, trial.accuracy[name], trial.networks[name], strict=True)]}


def _known(network: nn.Module, found: Material, y: Tensor) -> dict[str, float]:
    """Calibration of a student, and how often it agrees with the teacher, on the test images."""
    z = metrics.predict(network, found.source.test)
    known = {"ece": metrics.ece(z, y)}
    return known if found.said is None else known | {"agreement": metrics.agreement(z, found.said)}


def costs(plan: Plan, found: Material, folder: Path, points: Mapping[str, Mapping]) -> list[dict]:
    """Parameters, multiply-adds and the time for one image of the student and of the teacher; and of what an arm
    deploys where that is more than the student, as with SimKD."""
    networks = {"student": student(plan, found.source, 0).eval()}
    for name, arm in plan.arms.items():
        settings = {key: value for key, value in points.get(name, {}).items() if key not in TRAINING}
        made = lesson(plan, arm, found, folder)(student(plan, found.source, 0), **settings)
        if cost.parameters(shipped := made.deployable().eval()) != cost.parameters(networks["student"]):
            networks[f"student, {name}"] = shipped
    if found.network is not None:
        networks["teacher"] = found.network.eval()
    shape = found.source.shape
    ratio = {row["name"]: round(row["ratio"], 2) for row in cost.latencies(networks, torch.zeros(1, *shape), n=20)}
    return [{"network": name, "parameters": cost.parameters(network),
             "multiply_adds": cost.multiply_adds(network, shape), "ratio": ratio[name]}
            for name, network in networks.items()]


def gap(plan: Plan, found: Material, folder: Path) -> float | None:
    """How far the losses of the two arms of the identity are apart for one batch; None without an identity."""
    if not plan.identity:
        return None
    batch = _batch(found.source.train)
    losses = []
    for arm in (plan.identity["arm"], plan.identity["equals"]):
        distiller = lesson(plan, arm, found, folder)(student(plan, found.source, 0)).eval()
        with torch.no_grad():
            losses.append(total(distiller(batch)).item())
    return abs(losses[0] - losses[1])


def _batch(split: Split) -> Batch:
    return next(split.batches(min(64, len(split)), seed=0))


def once_more(plan: Plan, folder: Path, results: Mapping) -> float:
    """Train the first seed of the first comparison's arms anew; by how much an accuracy differs, at most."""
    found, arms = material(plan, folder), next(iter(plan.comparisons.values()))
    seed = results["rows"][arms[0]][0]["seed"]
    short = Plan(**{**asdict(plan), "arms": {name: plan.arms[name] for name in arms}, "seeds": [seed, seed + 1],
                    "identity": None})
    again = measured(short, folder, found, {name: results["points"].get(name, {}) for name in arms})
    return max(abs(again["rows"][name][0]["accuracy"] - results["rows"][name][0]["accuracy"]) for name in arms)
