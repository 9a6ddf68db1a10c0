"""What a reader of lesson 07 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case, Record


def fused_cases(seed: int) -> dict[str, Case]:
    """Logits of a teacher and of two learners, with shares: `lam` of the labels, `w` of the first learner."""
    def case(i: int, given: Case) -> Case:
        draw = generator(seed, i, 7)
        z_2 = 2.5 * torch.randn(given.z_t.shape, generator=draw)
        lam, w = (0.15 + 0.25 * torch.rand((), generator=draw).item() for _ in range(2))
        return given.with_(z_1=given.z_s, z_2=z_2, lam=lam, w=w,
                           probe=torch.rand(given.z_t.shape, generator=draw) + 0.5)
    return {name: case(i, given) for i, (name, given) in enumerate(logits(seed).items())}


def taught_cases(seed: int) -> dict[str, Case]:
    """The same without a probe: what is asked for is one number. The learners' fused logits are `z_l`."""
    return {name: Case(z_s=c.z_s, z_t=c.z_t, z_l=c.z_2, y=c.y, T=c.T, lam=c.lam)
            for name, c in fused_cases(seed).items()}


def pushed(record: Record, name: str, case: Case) -> None:
    """Keep how strongly the student's loss would move the learners."""
    record.keep(f"{name} push", 0.0 if case.z_l.grad is None else case.z_l.grad.abs().max())


bracket = loss(taught_cases, lambda f, c: f(c.z_s, c.z_t, c.y, c.T, c.lam), "cold", "warm", "warmer", "hot")
fused = loss(fused_cases, lambda f, c: f(c.z_1, c.z_2, c.w), "cold", "warm", "hot", at="")
slkd_by_hand = loss(taught_cases, lambda f, c: f(c.z_s, c.z_t, c.z_l.requires_grad_(), c.y, c.T, c.lam),
                    "cold", "warm", "warmer", "hot", keep=pushed)
