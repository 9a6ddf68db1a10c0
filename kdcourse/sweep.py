"""`sweep`: the students of a grid of hyper-parameters and seeds, trained as one batched model where that is faster.

The loss is the distiller's own: a prototype is called inside `torch.func.vmap` with its hyper-parameters as tensors.
Only what is certainly the same is batched: distillers that differ in the grid's attributes and in nothing else, and
whose batched loss was tried against their own. All others are trained one by one by `train.fit`, with the same result.
"""

import copy
import itertools
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from types import BuiltinFunctionType, FunctionType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.parameter import is_lazy
from tqdm.auto import tqdm

from kdcourse import metrics, profiles, train
from kdcourse.core import Batch, Term, check_seed, quiet, seeded, total
from kdcourse.models.base import Classifier, Normalise
from kdcourse.teachers import LogitBank, Teacher

OPTIMISERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)     # they treat every entry by itself
LAYERS = (nn.Linear, nn.ReLU, nn.Flatten, nn.Identity, Normalise)       # faster in a batch of students on a CPU
CONTAINERS = (Classifier, nn.Sequential, nn.ModuleList)
PLAIN = (bool, int, float, str, type(None), FunctionType, BuiltinFunctionType)  # what no step can change
LARGEST = 200_000                                                       # parameters; above, arithmetic is the bound
ROW = ("seed", "epoch", "valid_accuracy", "valid_nll")                  # what every row holds beside its point
FEWEST = 4                                                              # students; below, one by one is as fast


def sweep(student: Callable[[int], nn.Module], make: Callable, grid: Mapping[str, Sequence[float]], source, *, seeds,
          epochs, lr, batch_size=128, optimizer=torch.optim.Adam, schedule="constant", augment=None, device=None,
          judge: Callable[[nn.Module], dict] | None = None, history=False, batched: bool | None = None) -> list[dict]:
    """Train a fresh `student(seed)` by `make(student, **point)` for every point of `grid` and every seed.

    Returns one row for each (point, seed), ready for `pandas.DataFrame`: the point, the seed, what the last row of
    `train.fit` holds, and what `judge(network)` returns about what is deployed: the finished student, or with SimKD its
    encoder under the teacher's head. With `history` one row for each epoch. A seed has the same first weights and the
    same order of images at every point, and each result is that of `fit` up to rounding. Points are the product of the
    lists in `grid`: {"T": [1, 4], "alpha": [0.5, 0.9]} makes four.

    Four or more perceptrons without dropout, of up to 200,000 parameters, that learn from the logits of one teacher by
    distillers that differ in the grid's numbers and in nothing else are trained as one batched model; anything else
    (convolutions, batch normalisation, dropout, helpers that learn too, a loss that branches on a hyper-parameter) one
    by one. `batched=False` asks for the latter, `batched=True` insists and raises ValueError with the reason if it
    cannot be.

    Raises what `make` and `fit` raise; TypeError or ValueError for a grid or seeds that are no lists; and ValueError
    for a name that both the grid and a row have, for a `student` that gives the same network twice or other weights for
    the same seed, for a distiller that trains nothing of the student that `make` was given, and for two that would
    train the same weights, a peer built outside `make` say. What is frozen may be shared, as banks and teachers are. A
    student that starts from the same weights with every seed, a pretrained one, is allowed: its seeds differ in what is
    drawn in the training alone. Whatever stops the training, an interrupt or a student that diverges: the exception has
    the rows of the students that were finished before as `finished`, beside the `rows` of the one that was not, which
    are those of `fit`. Students of a batch are finished together.

    >>> from kdcourse import data, distillers, models
    >>> source = data.load("digits")
    >>> rows = sweep(lambda seed: models.build("mlp", source.shape, 10, seed=seed), distillers.Supervised, {}, source,
    ...              seeds=range(2), epochs=1, lr=1e-3)
    >>> [row["seed"] for row in rows]
    [0, 1]
    """
    grid, seeds = _lists(student, make, grid, seeds)
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    training = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "optimizer": optimizer, "schedule": schedule,
                "augment": augment, "device": device}
    apart = _Apart()
    check = partial(train.check_settings, source=source, epochs=epochs, batch_size=batch_size, seed=seeds[0], lr=lr,
                    optimizer=optimizer)
    first = _first(student, make, points, seeds[0], apart, check)
    rows, done, students = [], 0, itertools.product(points, seeds)
    try:
        for made, found in _taught(student, make, first, seeds, source, apart, training, history, batched):
            rows += _rows(made, found if history else found[-1:], judge(made.network) if judge is not None else {})
            done += 1
    except BaseException as stopped:
        stopped.finished = rows
        if rows:
            point, seed = list(students)[done]
            stopped.add_note(f"stopped in student {done + 1} of {len(points) * len(seeds)}, {point}, seed {seed}: the "
                             "rows of those before it are in the exception's `finished`")
        raise
    return rows


class Made(NamedTuple):
    """A student of the grid before it is trained, and the distiller that trains it."""

    point: dict
    seed: int
    network: nn.Module
    distiller: nn.Module


def _rows(made: Made, found: list[dict], judged: dict) -> list[dict]:
    """What `fit` found of a student with its point and its seed, and in the last row what it was judged."""
    found, own = found or [{}], {**made.point, "seed": made.seed}
    if lost := own.keys() & {*judged, *itertools.chain(*found)}:
        raise ValueError(f"{min(lost)!r} is a name of the grid or the seed, and also of what was measured: one of both "
                         "would be lost. Let judge, or the distiller's term, call it otherwise")
    return [{**own, **row, **(judged if row is found[-1] else {})} for row in found]


def _made(student, make, point: dict, seed: int) -> Made:
    network = student(seed)
    return Made(point, seed, network, make(network, **point))


def _first(student, make, points, seed: int, apart: "_Apart", check: Callable) -> list[Made]:
    """The students of the first seed, all points checked before any is trained. The first one is made twice, to see
    that nothing is trained for two."""
    one, other = student(seed), student(seed)
    _check_fresh(one, other, seed)
    first = [Made(points[0], seed, one, make(one, **points[0]))]
    first += [_made(student, make, point, seed) for point in points[1:]]
    again = Made(points[0], seed, other, make(other, **points[0]))
    for made in [*first, again]:
        check(made.distiller)
        apart.add(made)
    return first


def _lists(student, make, grid, seeds) -> tuple[dict[str, list], list[int]]:
    """The grid and the seeds as lists. Raises TypeError or ValueError with the right call for anything else."""
    if isinstance(student, nn.Module) or isinstance(make, nn.Module) or not (callable(student) and callable(make)):
        raise TypeError(
            "a sweep builds every student anew, so it is given two functions: "
            "sweep(lambda seed: models.build('mlp', source.shape, 10, seed=seed), "
            "lambda student, T: distillers.KD(student, bank, T=T), {'T': [1, 4]}, source, seeds=range(3), ...)"
        )
    if not isinstance(grid, Mapping):
        raise TypeError(f"grid is a dict of lists, {{'T': [1, 4]}} say, or {{}}; it is {grid!r}")
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"the values of {name} are a list, {{{name!r}: [{values!r}]}} say; given: {values!r}")
        if name in ROW:
            raise ValueError(f"every row has its own {name!r}, and the grid's would be lost: call it otherwise, say "
                             "{'drawn': [0, 1]} with lambda student, drawn: distillers.SimKD(student, teacher, "
                             "seed=drawn)")
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds are a list, seeds=range(3) for three of them or seeds=[7] for one; given: {seeds!r}")
    grid, seeds = {name: list(values) for name, values in grid.items()}, list(seeds)
    seeds = [check_seed(seed) for seed in seeds]
    if not seeds or not all(grid.values()):
        raise ValueError(f"a sweep needs at least one seed and one value of everything; given {seeds} and {grid}")
    for name, values in {"seeds": seeds, **grid}.items():
        numbers = [value for value in values if isinstance(value, Real | str)]
        if twice := [value for value, times in Counter(numbers).items() if times > 1]:
            raise ValueError(f"{name} has {twice[0]!r} twice: the same students would be trained again, and count as "
                             "others")
    return grid, seeds


def _check_fresh(one: nn.Module, other: nn.Module, seed: int) -> None:
    """Raise ValueError unless two students of one seed are two networks with the same weights."""
    places = [{parameter.untyped_storage().data_ptr() for parameter in network.parameters()} - {0}  # nowhere
              for network in (one, other)]
    if one is other or places[0] & places[1]:
        raise ValueError("student(seed) gave the same weights twice, so that the second student would go on where the "
                         "first one stopped: build a network in it, lambda seed: models.build(..., seed=seed)")
    ours, theirs = (dict([*network.named_parameters(), *network.named_buffers()]) for network in (one, other))
    for name in [*ours, *theirs]:
        if not _drawn_alike(ours.get(name), theirs.get(name)):
            raise ValueError(
                f"student({seed}) gave other weights when it was called again, {name} to begin with, so that students "
                "of one seed would be no pairs: draw them from the seed, lambda seed: models.build(..., seed=seed), "
                "or build them in a function below `with kdcourse.core.seeded(seed):`"
            )


def _drawn_alike(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors are the same but for what a training on a GPU, within `student`, may add by rounding."""
    if one is None or other is None or is_lazy(one) or is_lazy(other) or one.shape != other.shape:
        return False
    one, other = one.detach(), other.detach()
    near = one.is_floating_point() and (one - other).norm() <= 0.01 * one.norm()
    return torch.equal(one, other) or bool(near)


class _Apart:
    """What the distillers of a sweep train, so that no weight is trained for two students. It keeps nothing alive."""

    def __init__(self):
        self.known = {}

    def add(self, made: Made) -> Made:
        """`made` as it is. Raises ValueError unless it trains its own student, and nothing that another one trains."""
        trained, kind = _trained_by(made.distiller), type(made.distiller).__name__
        if not _trains_its_own(made, trained):
            raise ValueError(
                f"make(student) gave a {kind} that trains nothing of the student that it was given, so that the seeds "
                "are not those of what is trained: build a new distiller around the argument, "
                "lambda student: distillers.KD(student, bank)"
            )
        for key, parameter in trained.items():
            if key in self.known and self.known[key]() is parameter:
                names = {id(value): name for name, value in made.distiller.named_parameters()}
                raise ValueError(
                    f"two students would train the same weights, {names.get(key, 'a parameter')} of a {kind}, so that "
                    "the second would go on where the first one stopped: build in make whatever learns, "
                    "lambda student: distillers.DML(student, models.build(..., seed=1)), and freeze what does not, "
                    "network.requires_grad_(False)"
                )
        self.known |= {key: weakref.ref(parameter) for key, parameter in trained.items()}
        return made


def _trained_by(distiller) -> dict[int, Tensor]:
    """What the optimiser would change, by its id, however its groups are written."""
    groups = [group["params"] if isinstance(group, Mapping) else [group] for group in distiller.parameter_groups()]
    listed = itertools.chain.from_iterable([group] if isinstance(group, Tensor) else group for group in groups)
    parameters = [entry if isinstance(entry, Tensor) else entry[1] for entry in listed]  # or (name, parameter)
    return {id(parameter): parameter for parameter in parameters if parameter.requires_grad}


def _trains_its_own(made: Made, trained: Mapping[int, Tensor]) -> bool:
    """Whether a distiller trains its student or a part of it; of a frozen student, whether it deploys it, as SimKD does
    with a projector that learns."""
    own = {id(parameter) for parameter in made.network.parameters()}
    if not own or not trained:  # `fit` says what is wrong with these
        return True
    if not any(parameter.requires_grad for parameter in made.network.parameters()):
        trained = {id(parameter) for parameter in made.distiller.deployable().parameters()}
    return not own.isdisjoint(trained)


def _why_not(made: list[Made], optimizer) -> str:
    """Why these students cannot be trained as one batched model, or would not be faster; empty if they can.

    `made` are the points of one seed. What says nothing certain counts against it."""
    network = made[0].network
    odd = [type(m).__name__ for m in network.modules() if type(m) not in LAYERS + CONTAINERS and not _idle(m)]
    if odd:
        return f"{odd[0]} layers are not batched"
    if sum(parameter.numel() for parameter in network.parameters()) > LARGEST:
        return f"students above {LARGEST:,} parameters are not faster in a batch"
    if optimizer not in OPTIMISERS:
        return f"{getattr(optimizer, '__name__', optimizer)} may mix the weights of several students"
    return next(filter(None, map(_odd_one, made)), "") or _difference(made)


def _odd_one(made: Made) -> str:
    """What keeps this distiller, whatever the others are, from being one of a batch; empty if nothing does."""
    distiller, network = made.distiller, made.network
    groups, trained = list(distiller.parameter_groups()), _trained_by(distiller).keys()
    if distiller.student is not network or distiller.deployable() is not network:
        return "what is trained or deployed is not the student as it was built"
    alone = len(groups) == 1 and isinstance(groups[0], Mapping) and set(groups[0]) == {"params"}
    if not alone or trained != set(map(id, network.parameters())):
        return "something beside the student is trained, not all of it, or at a rate of its own"
    others = {*distiller._modules, *distiller._buffers, *distiller._parameters} - {"student", "teacher"}
    if type(getattr(distiller, "teacher", None)) not in (type(None), Teacher, LogitBank) or others:
        return "only one teacher that gives logits can be shared"
    for name, value in made.point.items():
        kept = vars(distiller).get(name)
        if not _number(value) or not _number(kept) or kept != value:
            return f"{name} is no number that the distiller keeps as it is under this name"
    changing = [name for name in vars(distiller).keys() - vars(nn.Module()) if not _plain(vars(distiller)[name])]
    return f"a step may change {changing[0]!r}, which the distiller keeps" if changing else ""


def _difference(made: list[Made]) -> str:
    """In what the distillers differ beside the grid's numbers; empty if in nothing."""
    first = made[0]
    for other in made[1:]:
        if type(first.distiller) is not type(other.distiller):
            return "the points have distillers of several classes"
        if not _same_teacher(*(getattr(one.distiller, "teacher", None) for one in (first, other))):
            return "the points have several teachers"
        ours, theirs = (_own(one.distiller) | dict.fromkeys(one.point) for one in (first, other))
        unlike = [name for name in ours.keys() | theirs.keys() if not _alike(ours.get(name), theirs.get(name))]
        if unlike:
            return f"the points differ in {min(unlike)!r} as well, which is not in the grid"
        if not _alike(first.network, other.network):
            return "the points have students of several kinds"
    return ""


def _own(distiller: nn.Module) -> dict:
    """The attributes of a distiller, its networks left out; hooks are among them."""
    return {name: value for name, value in vars(distiller).items() if name != "_modules"}


def _number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value) -> bool:
    return all(map(_plain, value)) if type(value) is tuple else isinstance(value, PLAIN)


def _idle(module: nn.Module) -> bool:
    return type(module) is nn.Dropout and module.p == 0


def _same_teacher(one, other) -> bool:
    return one is other or (type(one) is type(other) is Teacher and one.network is other.network)


def _alike(one, other) -> bool:
    """Whether two attributes are certainly equal; of modules, all but the values of what is trained."""
    if one is other or type(one) is not type(other):
        return one is other
    if isinstance(one, nn.Parameter) and one.requires_grad and other.requires_grad:
        return (one.shape, one.dtype) == (other.shape, other.dtype)
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.requires_grad == other.requires_grad and torch.equal(one, other)
    if isinstance(one, nn.Module):
        return _alike(vars(one), vars(other))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return isinstance(one, (*PLAIN, set, torch.Size)) and one == other


def _taught(student, make, first, seeds, source, apart, training, history, batched) -> Iterable:
    """Every student with the rows of its training, point by point and seed by seed: trained together where that is
    possible and not unwanted, else one by one."""
    points, reason = [made.point for made in first], ""
    if batched or (batched is None and len(points) * len(seeds) >= FEWEST):
        reason = _why_not(first, training["optimizer"])
        if not reason:
            rest = [[apart.add(_made(student, make, point, seed)) for point in points] for seed in seeds[1:]]
            found, reason = _together([first, *rest], source, training, history)
            if found:
                return found
    if batched and reason:
        raise ValueError(f"this sweep cannot be batched: {reason}")
    return _one_by_one(student, make, points, source, seeds, apart, training)


def _one_by_one(student, make, points, source, seeds, apart, training) -> Iterator[tuple[Made, list[dict]]]:
    """`fit` for every (point, seed), with what is deployed in the place of the student."""
    for point, seed in itertools.product(points, seeds):
        made = apart.add(_made(student, make, point, seed))
        rows = train.fit(made.distiller, source, seed=seed, **training)
        yield made._replace(network=made.distiller.deployable()), rows


def _together(made: list[list[Made]], source, training, history) -> tuple[list | None, str]:
    """The same from one batched model, `made` by seed and point; or None, and why it cannot be."""
    device = torch.device(training["device"] or profiles.device())
    source, reason = source.to(device), _why_not(list(itertools.chain(*made)), training["optimizer"])
    if reason:
        return None, reason
    students = _Students(made, device)
    train.check(students.prototype, source)
    try:
        with seeded(0, device):  # a loss that draws is not batched, and is not to draw from the generator outside
            reason = _tried(students, source.train, training)
        histories = [] if reason else _trained(students, source, training, history)
    except train.NotFinite:
        raise
    except Exception as error:  # vmap raises several kinds, where it has no rule or a number is looked at
        reason = f"its loss cannot be computed for several students at once: {str(error).strip().splitlines()[0]}"
    if reason:
        return None, reason
    places = itertools.product(range(len(made[0])), range(len(made)))
    return [(students.finished(s, p), histories[s][p]) for p, s in places], ""


class _Students:
    """All students as one model: weights with two more axes in front, (seeds, points), and the grid's numbers with one,
    (points). The first distiller is the prototype of every loss, and is left as it is."""

    def __init__(self, made: list[list[Made]], device: torch.device):
        self.made, self.device = made, device
        self.prototype = made[0][0].distiller.to(device)
        stacked = lambda name: torch.stack(  # noqa: E731
            [torch.stack([one.network.get_parameter(name).detach().to(device) for one in row]) for row in made])
        self.weights = {name: nn.Parameter(stacked(name)) for name, _ in made[0][0].network.named_parameters()}
        self.values = {name: torch.tensor([float(one.point[name]) for one in made[0]], device=device)
                       for name in made[0][0].point}

    def losses(self, batches: Sequence[Batch]) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor, Tensor]]]:
        """Every student's loss, (seeds, points), and by name each term's value, its weight, and whether it is on.
        `batches` holds each seed's own images."""
        teacher = getattr(self.prototype, "teacher", None)
        x, y, index = (torch.stack(parts) for parts in zip(*(batch[:3] for batch in batches), strict=True))
        z_t = x if teacher is None else torch.stack([teacher(batch) for batch in batches])

        def of_one(weights, values, x, y, index, z_t):
            terms = self._terms(weights, values, batches[0]._replace(x=x, y=y, index=index), z_t)
            return total(terms), {name: _as_tensors(term) for name, term in terms.items()}

        of_points = vmap(of_one, in_dims=(0, 0, None, None, None, None))
        return vmap(of_points, in_dims=(0, None, 0, 0, 0, 0))(self.weights, self.values, x, y, index, z_t)

    def _terms(self, weights, values, batch: Batch, z_t: Tensor) -> dict[str, Term]:
        """The prototype's terms, with one student's weights and numbers and the teacher's answer as it is."""
        distiller = copy.copy(self.prototype)
        distiller._modules = {"student": self.prototype.student}
        distiller.__dict__ |= values | {"teacher": lambda batch: z_t}
        return functional_call(distiller, {f"student.{name}": value for name, value in weights.items()}, (batch,))

    @torch.no_grad()
    def answers(self, split) -> Tensor:
        """Every student's logits about the images of `split`, (seeds, points, N, K) on the CPU."""
        network = self.prototype.student.eval()
        one = lambda weights, x: functional_call(network, weights, (x,))  # noqa: E731
        every = vmap(vmap(one, in_dims=(0, None)), in_dims=(0, None))
        return torch.cat([every(self.weights, batch.x) for batch in split.batches(500)], dim=2).cpu()

    def finished(self, s: int, p: int) -> Made:
        """A copy of the student of this seed and point, with what it learnt."""
        network = copy.deepcopy(self.made[s][p].network).to(self.device).eval()
        network.load_state_dict({name: weight[s, p].detach() for name, weight in self.weights.items()}, strict=False)
        return self.made[s][p]._replace(network=network)


def _as_tensors(term: Term) -> tuple[Tensor, Tensor, Tensor]:
    """A term's value, its weight, and whether it is on: a hyper-parameter switches it off by weight 0, where `fit`
    finds the term absent."""
    weight = torch.as_tensor(term.weight, device=term.value.device)
    return term.value, weight, weight != 0 if isinstance(term.weight, Tensor) else torch.ones_like(weight, dtype=bool)


def _tried(students: _Students, split, training) -> str:
    """What the batched loss of some images at three times in the training does otherwise than each point's own
    distiller; empty if nothing."""
    size = min(training["batch_size"], 32)
    batch = next(split.batches(size, seed=students.made[0][0].seed, augment=training["augment"]))
    for progress in (0.0, 0.5, 0.999):
        now = batch._replace(progress=progress)
        _, terms = students.losses([now] * len(students.made))
        for p, made in enumerate(students.made[0]):
            distiller = made.distiller.to(students.device).train()
            before = dict(vars(distiller))
            own = distiller(now)
            if not _alike(before, vars(distiller)):
                return "its loss changes what the distiller keeps"
            together = {name: (value[0, p], weight[0, p]) for name, (value, weight, on) in terms.items() if on[0, p]}
            if own.keys() != together.keys() or not all(
                torch.allclose(torch.as_tensor(a).float().cpu(), b.float().cpu(), rtol=1e-3, atol=1e-5, equal_nan=True)
                for name, term in own.items() for a, b in zip((term.value, term.weight), together[name], strict=True)
            ):
                return "its batched loss is not that of each distiller by itself"
    return ""


def _trained(students: _Students, source, training, history) -> list[list[list[dict]]]:
    """Trains them all; each one's rows, by seed and point: all of them with `history`, else the last."""
    optimiser = train.made(training["optimizer"], list(students.weights.values()), lr=training["lr"],
                           device=students.device)
    rows = [[[] for _ in row] for row in students.made]
    for number in tqdm(range(training["epochs"]), unit="epoch", leave=False, disable=quiet()):
        means = _epoch(students, source.train, optimiser, number, training, rows)
        if not history and number + 1 < training["epochs"]:
            continue
        z, y = students.answers(source.valid), source.valid.y.cpu()
        for s, p in itertools.product(range(len(rows)), range(len(rows[0]))):
            if broken := train.unanswered(z[s, p], number, training["lr"]):
                made = students.made[s][p]
                raise train.NotFinite(f"{made.point}, seed {made.seed}: {broken}", rows[s][p])
            own = {key: mean[s, p].item() for key, mean in means.items() if not mean[s, p].isnan()}  # absent, as in fit
            judged = {"valid_accuracy": metrics.accuracy(z[s, p], y), "valid_nll": metrics.nll(z[s, p], y)}
            rows[s][p].append({"epoch": number + 1} | own | judged)
    return rows


def _epoch(students: _Students, split, optimiser, number: int, training, rows) -> dict[str, Tensor]:
    """One step of every student for each batch of its seed; the means of the terms, (seeds, points)."""
    meter, factor, lr = train.Meter(), train.SCHEDULES[training["schedule"]], training["lr"]
    students.prototype.train()
    batches_of = [split.batches(training["batch_size"], seed=row[0].seed, epoch=number, epochs=training["epochs"],
                                augment=training["augment"]) for row in students.made]
    for batches in zip(*batches_of, strict=True):
        losses, terms = students.losses(batches)
        if not losses.isfinite().all():
            s, p = (~losses.isfinite()).nonzero()[0].tolist()
            made = students.made[s][p]
            raise train.NotFinite(f"the loss of {made.point}, seed {made.seed}, is not finite in epoch {number + 1}; "
                                  f"try a smaller learning rate than {lr:g}", rows[s][p])
        for group in optimiser.param_groups:
            group["lr"] = lr * factor(batches[0].progress)
        optimiser.zero_grad()
        losses.sum().backward()
        optimiser.step()
        for name, (value, weight, on) in terms.items():
            meter.add({name: Term(weight, value)}, len(batches[0].y) * on)
    return meter.means()
