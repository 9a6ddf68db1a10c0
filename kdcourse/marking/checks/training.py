"""Has toy networks trained, which write down what was done to them: which images made each step, in which mode."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdcourse.core import generator, seeded
from kdcourse.marking.checks.base import CLASSES, Check, Log, flat, images, rows
from kdcourse.marking.record import Case, Record

EARLY = 3  # steps after which the weights are recorded, beside those at the end


class Toy(nn.Module):
    """A linear network that logs each call: the rows it saw, its mode, its weights, and whether a gradient came back.

    In training mode it answers with other logits, `factor` times those of eval mode, as dropout would make it do.
    """

    logs: dict[int, Log] = {}  # noqa: RUF012  by number: a scripted copy of the network finds its own there

    def __init__(self, weight: Tensor, bias: Tensor, factor: float):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        self.factor, self.number = factor, id(self)
        Toy.logs[self.number] = Log()

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1) @ self.weight.T + self.bias
        if self.training:
            z = z * self.factor
        return self.noted(x, z)

    @torch.jit.ignore
    def noted(self, x: Tensor, z: Tensor) -> Tensor:
        call = [rows(x), bool(self.training), flat(self), False]
        Toy.logs[self.number].append(call)
        if z.requires_grad:
            z.register_hook(lambda gradient: call.__setitem__(3, True))
        return z


def runs(seed: int) -> dict[str, Case]:
    """One split and one pair of networks under several settings: `main`, and one with another T, alpha, seed."""
    draw = generator(seed, 4)
    T, alpha, other_T, other_alpha, share = torch.rand(5, generator=draw).tolist()
    settings = {"T": 2.5 + T, "alpha": 0.55 + 0.2 * alpha, "epochs": 3, "lr": 0.05, "batch_size": 8, "seed": 17}
    shared = {"split": images(33 + int(7 * share), seed, 4, 1), "student": _weights(seed, 4, 2),
              "teacher": _weights(seed, 4, 3), "factors": (1.6, -0.5), "key": seed}
    return {name: Case(**shared, settings=settings | changes) for name, changes in {
        "main": {}, "other T": {"T": 6 + 2 * other_T}, "other alpha": {"alpha": 0.15 + 0.2 * other_alpha},
        "other seed": {"seed": 18}}.items()}


def _weights(*key: int) -> tuple[Tensor, Tensor]:
    draw = generator(*key)
    return torch.randn(CLASSES, 16, generator=draw), torch.randn(CLASSES, generator=draw)


def training(draw: Callable, call: Callable) -> Check:
    """`call(answer, student, teacher, case)` trains; every case that is drawn is a run, and recorded."""
    def ask(inputs: dict[str, Case], answer) -> Record:
        record = Record()
        last = [*inputs][-1]
        for name, case in inputs.items():
            student, teacher = (Toy(*getattr(case, who), factor) for who, factor in
                                zip(("student", "teacher"), case.factors, strict=True))
            student.eval()  # whoever had it before has evaluated it
            teacher.train(name != last)  # and one teacher
            with record.trying(name), seeded(case.key):
                call(answer, student, teacher, case)
            _keep(record, name, student, teacher, case)
        return record

    return Check(draw, ask)


def _keep(record: Record, name: str, student: Toy, teacher: Toy, case: Case) -> None:
    """The steps (passes through which a gradient came back, up to the next change of weights), the modes, the weights
    after a few steps and at the end, how the teacher is left, and whether the first step began with the weights that
    were given."""
    log, asked, steps = Toy.logs.pop(student.number), Toy.logs.pop(teacher.number), []
    for seen, mode, weights, reached in log:
        if reached and steps and torch.equal(steps[-1][2], weights):  # nothing was updated in between: the same step
            steps[-1][0].append(seen)
        elif reached:
            steps.append([[seen], mode, weights])
    record.keep(f"{name} rows", torch.cat([torch.cat(seen) for seen, _, _ in steps]) if steps else torch.zeros(0))
    record.keep(f"{name} sizes", torch.tensor([sum(map(len, seen)) for seen, _, _ in steps]))
    record.keep(f"{name} modes", torch.tensor([float(mode) for _, mode, _ in steps]))
    record.keep(f"{name} weights", flat(student))
    if (early := min(EARLY, len(steps) - 1)) > 0:
        record.keep(f"{name} early steps", early)
        record.keep(f"{name} early weights", steps[early][2])
    record.keep(f"{name} moved", len(steps) > 1)
    given = torch.cat([part.flatten() for part in case.student])
    record.keep(f"{name} begun", not steps or torch.equal(steps[0][2], given))
    record.keep(f"{name} teacher modes", torch.tensor([float(mode) for _, mode, *_ in asked]))
    record.keep(f"{name} teacher weights", flat(teacher))
    gradients = [parameter.grad for parameter in teacher.parameters() if parameter.grad is not None]
    record.keep(f"{name} teacher gradient", sum(float(grad.abs().sum()) for grad in gradients))
    record.keep(f"{name} teacher training", teacher.training)
    record.keep(f"{name} teacher frozen", not all(parameter.requires_grad for parameter in teacher.parameters()))
