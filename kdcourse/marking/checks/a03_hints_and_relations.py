"""Exercise 03, hints and relations, asking half: the names are those of the checks in the notebook."""

import torch
from torch import Tensor, nn

from kdcourse.core import generator
from kdcourse.marking.checks.base import CLASSES, flat, images
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case, Record

NAMES = ("stem.0", "block.0", "block")


def sized(seed: int) -> dict[str, Case]:
    """Maps of student and teacher: of one size, the teacher's larger (at two p), the student's larger, and `dead`, in
    which an image leaves the student's map at 0."""
    draw, cases = generator(seed, 31), {}
    for name, size_s, size_t, p in ("same", (4, 5), (4, 5), 3.0), ("larger", (3, 4), (7, 8), 1.0), (
            "smaller", (7, 6), (3, 3), 3.0), ("dead", (3, 4), (7, 8), 1.0):
        cases[name] = Case(f_s=torch.randn(4, 3, *size_s, generator=draw), p=p,
                           f_t=torch.randn(4, 5, *size_t, generator=draw))
    cases["dead"].f_s[1] = 0
    return cases | {"larger p": cases["larger"].with_(p=4.0)}


def flows(seed: int) -> dict[str, Case]:
    """Maps of two stages of one network, and a number for every pair of their channels. The later stage's depend on
    those of the earlier one (`later`)."""
    draw = generator(seed, 32)
    return {name: Case(f_s=torch.randn(B, a, *first, generator=draw), f_t=torch.randn(B, b, 3, 4, generator=draw),
                       probe=torch.rand(B, a, b, generator=draw) + 0.5)
            for name, B, a, b, first in (("one size", 4, 3, 4, (3, 4)), ("halved", 3, 5, 2, (6, 8)))}


def placed(seed: int) -> dict[str, Case]:
    """Features of a few images; in `twins` two coincide for the student, and two others for the teacher."""
    draw = generator(seed, 33)
    cases = {name: Case(f_s=torch.randn(B, 3, generator=draw), f_t=2 * torch.randn(B, 5, generator=draw))
             for name, B in (("four", 4), ("six", 6), ("twins", 5))}
    cases["twins"].f_s[3], cases["twins"].f_t[2] = cases["twins"].f_s[0], cases["twins"].f_t[1]
    return cases


def later(case: Case) -> Tensor:
    return case.f_t.to(case.f_s) * (1 + case.f_s.mean((1, 2, 3), keepdim=True))


class Student(nn.Module):
    """A toy student: `features(x)` are maps (B, 3, 4, 4), and `head(f)` makes logits of them."""

    def __init__(self):
        super().__init__()
        self.stage, self.head = nn.Conv2d(1, 3, 1), nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES))

    def features(self, x: Tensor) -> Tensor:
        return self.stage(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def hinted(seed: int) -> dict[str, Case]:
    """Images with recorded hints, first weights, and settings; the second run has hints of another size, another beta
    and another seed."""
    draw, n = generator(seed, 34), 21 + seed % 3
    size = sum(part.numel() for network in (Student(), nn.Conv2d(3, 4, 1)) for part in network.parameters())
    case = Case(split=images(n, seed, 34), hints=3 * torch.randn(n, 4, 2, 2, generator=draw).relu(),
                weights=0.4 * torch.randn(size, generator=draw), probe=torch.randn(size, generator=draw),
                settings={"beta": 0.6, "epochs": 3, "lr": 0.1, "batch_size": 6, "seed": 5})
    case.weights[:6].abs_()  # no feature is dead
    return {"first": case, "second": case.with_(hints=case.hints.repeat(1, 1, 2, 1)[:, :, :3, :1],
                                                settings=case.settings | {"beta": 1.7, "seed": 6})}


def learned(answer, case: Case) -> Tensor:
    """How far each weight of the student and of the regressor went."""
    networks = nn.ModuleList([Student(), nn.Conv2d(3, 4, 1)])
    nn.utils.vector_to_parameters(case.weights.clone(), networks.parameters())
    answer(*networks, case.hints, case.split, **case.settings)
    return flat(networks) - case.weights


def tapped(seed: int) -> dict[str, Case]:
    """Images for a small network, its weights, and a number for all that is asked of it."""
    draw = generator(seed, 35)
    return {name: Case(f_s=torch.randn(3, 2, 4, 4, generator=draw), probe=torch.rand(183, generator=draw) + 0.5,
                       training=name == "two",
                       w=[torch.randn(*shape, generator=draw) for shape in ((4, 2, 3, 3), (5, 4, 1, 1), (5, 5, 1, 1))])
            for name in ("one", "two")}


def looked_at(answer, case: Case) -> Tensor | None:
    """The maps of a network whose ReLUs work in place, one after the other, and its logits. How often it is asked is
    counted."""
    first, second, third = (nn.Conv2d(*w.shape[1::-1], w.shape[2:], bias=False) for w in case.w)
    for layer, w in zip((first, second, third), case.w, strict=True):
        layer.weight.data = w.clone()
    case.network = nn.Sequential()
    for name, part in {"stem": nn.Sequential(first, nn.ReLU(inplace=True)),
                       "block": nn.Sequential(second, nn.ReLU(inplace=True), third), "relu": nn.ReLU(inplace=True),
                       "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}.items():
        case.network.add_module(name, part)
    case.asked = []
    case.network.train(case.training)
    case.before, case.hooks = _left(case.network), _hooks(case.network)
    first.register_forward_pre_hook(lambda module, given: case.asked.append(1))
    found = answer(case.network, case.f_s, NAMES)
    if found is None:
        return None
    maps, z = found
    if not isinstance(maps, dict) or not all(isinstance(maps.get(name), Tensor) for name in NAMES):
        raise ValueError("a pair is expected: a dict with a map for every name that was asked for, and the logits")
    return torch.cat([part.flatten() for part in (*(maps[name] for name in NAMES), z)])


def _hooks(network: nn.Module) -> int:
    """Those on the modules of a network, and those that all networks share."""
    places = [vars(part) for part in network.modules()] + [vars(nn.modules.module)]
    return sum(len(hooks) for place in places for name, hooks in place.items()
               if name.endswith("_hooks") and isinstance(hooks, dict))


def _left(network: nn.Module) -> list[bool]:
    """The mode of every module, and whether each weight learns."""
    return [part.training for part in network.modules()] + [weight.requires_grad for weight in network.parameters()]


def keep_hooks(record: Record, name: str, case: Case) -> None:
    """How many hooks were left on the network, or on all networks, whether its modes and what learns are as before, how
    often it was asked, and how many of its weights a gradient has reached."""
    record.keep(f"{name} asked", len(case.asked))
    record.keep(f"{name} reached", sum(weight.grad is not None for weight in case.network.parameters()))
    record.keep(f"{name} hooks", _hooks(case.network) - case.hooks - 1)  # one of them counts the calls
    record.keep(f"{name} left", _left(case.network) == case.before)


def reused(seed: int) -> dict[str, Case]:
    """The sizes of a SimKD: channels of student and teacher, classes, and the reduction r."""
    drawn = [torch.randint(3, 12, (3,), generator=generator(seed, 37, r)).tolist() for r in (2, 3, 4)]
    return {name: Case(C_s=4 * a, C_t=12 * b, K=5 * K, r=r)
            for name, r, (a, b, K) in zip(("halved", "a third", "a quarter"), (2, 3, 4), drawn, strict=True)}


attention_distance = loss(sized, lambda f, c: f(c.f_s, c.f_t, p=c.p), "same", "larger", "larger p", "smaller", "dead",
                          at="f_s")
flow_matrix = loss(flows, lambda f, c: f(c.f_s, later(c)), "one size", "halved", at="f_s")
angle_distance = loss(placed, lambda f, c: f(c.f_s, c.f_t), "four", "six", "twins", at="f_s")
train_hint = loss(hinted, learned, "first", "second", at="")
maps_of = loss(tapped, looked_at, "one", "two", at="f_s", keep=keep_hooks)
simkd_parameters = loss(reused, lambda f, c: f(c.C_s, c.C_t, c.K, r=c.r), "halved", "a third", "a quarter", at="")
