"""`sweep`: the students of a grid of hyper-parameters and seeds, trained as one batched model where that is faster.

The loss is the distiller's own: a prototype is called inside `torch.func.vmap` with its hyper-parameters as tensors.
What cannot be batched is trained one by one by `train.fit`, with the same result.
"""

import copy
import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from tqdm.auto import tqdm

from kdcourse import metrics, profiles, train
from kdcourse.core import quiet, total
from kdcourse.models.base import Classifier, Normalise
from kdcourse.teachers import LogitBank, Teacher

OPTIMISERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)     # they treat every entry by itself
LAYERS = (nn.Linear, nn.ReLU, nn.Flatten, nn.Identity, Normalise)       # faster in a batch of students on a CPU
CONTAINERS = (Classifier, nn.Sequential, nn.ModuleList)
LARGEST = 200_000                                                       # parameters; above, arithmetic is the bound
FEWEST = 4                                                              # students; below, one by one is as fast


def sweep(student: Callable[[int], nn.Module], make: Callable, grid: Mapping[str, Sequence[float]], source, *, seeds,
          epochs, lr, batch_size=128, optimizer=torch.optim.Adam, schedule="constant", augment=None, device=None,
          judge: Callable[[nn.Module], dict] | None = None, history=False, batched: bool | None = None) -> list[dict]:
    """Train a fresh `student(seed)` by `make(student, **point)` for every point of `grid` and every seed.

    Returns one row for each (point, seed), ready for `pandas.DataFrame`: the point, the seed, what the last row of
    `train.fit` holds, and what `judge(student)` returns about the finished student. With `history` one row for each
    epoch. A seed has the same first weights and the same order of images at every point, and each result is that of
    `fit` up to rounding. Points are the product of the lists in `grid`: {"T": [1, 4], "alpha": [0.5, 0.9]} makes four.

    Four or more perceptrons without dropout, of up to 200,000 parameters, that learn from logits are trained as one
    batched model; anything else (convolutions, batch normalisation, dropout, helpers that learn too) one by one.
    `batched=False` asks for the latter, `batched=True` insists and raises ValueError with the reason if it cannot be.
    Raises what `make` and `fit` raise.

    >>> from kdcourse import data, distillers, models
    >>> source = data.load("digits")
    >>> rows = sweep(lambda seed: models.build("mlp", source.shape, 10, seed=seed), distillers.Supervised, {}, source,
    ...              seeds=range(2), epochs=1, lr=1e-3)
    >>> [row["seed"] for row in rows]
    [0, 1]
    """
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    seeds, training = list(seeds), {"epochs": epochs, "lr": lr, "batch_size": batch_size, "optimizer": optimizer,
                                    "schedule": schedule, "augment": augment, "device": device}
    if not seeds or not points:
        raise ValueError(f"a sweep needs at least one seed and one value of everything; given {seeds} and {dict(grid)}")
    prototypes = [make(student(seeds[0]), **point) for point in points]  # every point is checked before any is trained
    reason = _why_not(prototypes[0], points, optimizer, device)
    if batched and reason:
        raise ValueError(f"this sweep cannot be batched: {reason}")
    if batched is None:
        batched = not reason and len(points) * len(seeds) >= FEWEST
    if batched:
        found = _together(student, prototypes[0], points, source, seeds, training, history)
    else:
        found = _one_by_one(student, make, points, source, seeds, training)
    rows = []
    for point, seed, history_of_one, network in found:
        judged = judge(network) if judge is not None else {}
        kept = history_of_one if history else history_of_one[-1:]
        rows += [{**point, "seed": seed, **row, **(judged if row is kept[-1] else {})} for row in kept]
    return rows


def _why_not(distiller: nn.Module, points: list[dict], optimizer, device) -> str:
    """Why these students cannot be trained as one batched model, or would not be faster; empty if they can."""
    network, teacher = distiller.student, getattr(distiller, "teacher", None)
    odd = [type(m).__name__ for m in network.modules() if not isinstance(m, LAYERS + CONTAINERS) and not _idle(m)]
    groups = distiller.parameter_groups()
    students = {id(parameter) for parameter in network.parameters()}
    names = [name for point in points for name, value in point.items()
             if not isinstance(value, int | float) or not hasattr(distiller, name)]
    if odd:
        return f"{odd[0]} layers are not batched"
    if sum(parameter.numel() for parameter in network.parameters()) > LARGEST:
        return f"students above {LARGEST:,} parameters are not faster in a batch"
    if len(groups) != 1 or {id(parameter) for parameter in groups[0]["params"]} != students:
        return "something beside the student is trained"
    if type(teacher) not in (type(None), Teacher, LogitBank) or _others(distiller):
        return "only one teacher that gives logits can be shared"
    if optimizer not in OPTIMISERS:
        return f"{getattr(optimizer, '__name__', optimizer)} may mix the weights of several students"
    return f"{names[0]} is no number that the distiller keeps under this name" if names else ""


def _idle(module: nn.Module) -> bool:
    return isinstance(module, nn.Dropout) and module.p == 0


def _others(distiller: nn.Module) -> list[str]:
    return [name for name, _ in distiller.named_children() if name not in ("student", "teacher")]


def _one_by_one(student, make, points, source, seeds, training):
    """`fit` for every (point, seed): yields the point, the seed, the rows and the network."""
    for point, seed in itertools.product(points, seeds):
        network = student(seed)
        yield point, seed, train.fit(make(network, **point), source, seed=seed, **training), network


def _together(student, prototype, points, source, seeds, training, history):
    """The same from one batched model; weights and losses have two more axes in front, (seeds, points)."""
    device = torch.device(training["device"] or profiles.device())
    prototype, source = prototype.to(device), source.to(device)
    train.check(prototype, source)
    networks = [student(seed).to(device) for seed in seeds]
    weights = {name: nn.Parameter(torch.stack([dict(network.named_parameters())[name].detach() for network in networks])
                                  [:, None].repeat(1, len(points), *[1] * parameter.ndim))
               for name, parameter in prototype.student.named_parameters()}
    values = {name: torch.tensor([float(point[name]) for point in points], device=device) for name in points[0]}
    optimiser = training["optimizer"](list(weights.values()), lr=training["lr"], fused=device.type in ("cpu", "cuda"))
    factor = train.SCHEDULES[training["schedule"]]
    histories = [[[] for _ in points] for _ in seeds]
    for epoch in tqdm(range(training["epochs"]), unit="epoch", leave=False, disable=quiet()):
        sums, seen = defaultdict(float), defaultdict(int)
        for batches in zip(*(source.train.batches(training["batch_size"], seed=seed, epoch=epoch,
                                                  epochs=training["epochs"], augment=training["augment"])
                             for seed in seeds), strict=True):
            losses, terms = _losses(prototype, weights, values, batches)
            if not losses.isfinite().all():
                s, p = (~losses.isfinite()).nonzero()[0].tolist()
                raise train.NotFinite(f"the loss of {points[p]}, seed {seeds[s]}, is not finite in epoch {epoch + 1}; "
                                      f"try a smaller learning rate than {training['lr']:g}", histories[s][p])
            for group in optimiser.param_groups:
                group["lr"] = training["lr"] * factor(batches[0].progress)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            for key, value in terms.items():
                sums[key] += len(batches[0].y) * value.detach().double()
                seen[key] += len(batches[0].y)
        if not history and epoch + 1 < training["epochs"]:
            continue
        judged = _judged(prototype.student, weights, source.valid)
        for s, p in itertools.product(range(len(seeds)), range(len(points))):
            row = {key: added[s, p].item() / seen[key] for key, added in sums.items()}
            off = {key for key in row if row.get(f"{key}_weight") == 0}  # switched off at this point: absent, as in fit
            row = {key: value for key, value in row.items() if key.removesuffix("_weight") not in off}
            histories[s][p].append({"epoch": epoch + 1} | row | judged[s][p])
    for p, s in itertools.product(range(len(points)), range(len(seeds))):
        network = student(seeds[s]).to(device)
        network.load_state_dict({name: weight[s, p].detach() for name, weight in weights.items()}, strict=False)
        yield points[p], seeds[s], histories[s][p], network


def _losses(prototype, weights, values, batches) -> tuple[Tensor, dict[str, Tensor]]:
    """Every student's loss, (seeds, points), and its terms: `batches` holds each seed's own images."""
    x, y, index = (torch.stack(parts) for parts in list(zip(*batches, strict=True))[:3])
    teacher = getattr(prototype, "teacher", None)
    z_t = x if teacher is None else torch.stack([teacher(batch) for batch in batches])
    moment = batches[0]._replace(x=None, y=None, index=None)

    def of_one(weights, values, x, y, index, z_t):
        distiller = copy.copy(prototype)
        distiller._modules = {"student": prototype.student}
        distiller.__dict__ |= values | {"teacher": lambda batch: z_t}
        named = {f"student.{name}": weight for name, weight in weights.items()}
        terms = functional_call(distiller, named, (moment._replace(x=x, y=y, index=index),))
        found = {}
        for name, term in terms.items():
            found |= {name: term.value, f"{name}_weight": torch.as_tensor(term.weight, device=x.device)}
        return total(terms), found

    points = vmap(of_one, in_dims=(0, 0, None, None, None, None))
    return vmap(points, in_dims=(0, None, 0, 0, 0, 0))(weights, values, x, y, index, z_t)


@torch.no_grad()
def _judged(network: nn.Module, weights: dict[str, Tensor], split) -> list[list[dict]]:
    """Accuracy and likelihood of every student on the images of `split`, by seed and point."""
    one = lambda weights, x: functional_call(network, weights, (x,))  # noqa: E731
    every = vmap(vmap(one, in_dims=(0, None)), in_dims=(0, None))
    z, y = torch.cat([every(weights, batch.x) for batch in split.batches(500)], dim=2).cpu(), split.y.cpu()
    return [[{"valid_accuracy": metrics.accuracy(z_s, y), "valid_nll": metrics.nll(z_s, y)} for z_s in seed]
            for seed in z]
