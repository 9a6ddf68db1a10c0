"""Asking half, question 3: calls the losses on random logits and keeps their values and gradients."""

import torch
from torch import Tensor

from kdcourse.core import generator
from kdcourse.marking.record import Record


def draw_losses(seed: int) -> dict[str, dict]:
    """Logits and labels of several batches, each with a temperature and an alpha."""
    draw = generator(seed, 3)

    def integer(low: int, high: int) -> int:
        return torch.randint(low, high + 1, (), generator=draw).item()

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=draw).item()

    def batch(T: float, alpha: float) -> dict:
        B, K = integer(3, 6), integer(7, 11)
        z_s, z_t = (2.5 * torch.randn(B, K, generator=draw) for _ in range(2))
        return {"z_s": z_s, "z_t": z_t, "y": torch.randint(K, (B,), generator=draw), "T": T, "alpha": alpha}

    def large() -> dict:
        """Two classes share the answer, all others are hundreds below: their probabilities become 0. So do labels'."""
        case = batch(1.0, 0.5)
        for z in (case["z_s"], case["z_t"]):
            z[:, 2:] -= 300
            z += 400
        return case | {"y": case["y"].clamp(min=2)}

    cases = {
        "cold": batch(1.0, uniform(0.25, 0.4)),
        "warm": batch(uniform(2, 4), uniform(0.6, 0.75)),
        "hot": batch(uniform(8, 16), uniform(0.25, 0.4)),
        "large": large(),
    }
    cases["warmer"] = cases["warm"] | {"T": uniform(5, 7)}
    cases["hard"], cases["soft"] = cases["warm"] | {"alpha": 0.0}, cases["warm"] | {"alpha": 1.0}
    return cases


def ask_teacher_loss(inputs: dict[str, dict], teacher_loss) -> Record:
    return _ask(inputs, ("cold", "warm", "large"), lambda z, c: teacher_loss(z, c["y"].clone()))


def ask_distillation_loss(inputs: dict[str, dict], distillation_loss) -> Record:
    return _ask(inputs, ("cold", "warm", "warmer", "hot", "large"),
                lambda z, c: distillation_loss(z, c["z_t"].clone(), T=c["T"]))


def ask_combined_loss(inputs: dict[str, dict], combined_loss) -> Record:
    return _ask(inputs, ("cold", "warm", "warmer", "hot", "hard", "soft"),
                lambda z, c: combined_loss(z, c["z_t"].clone(), c["y"].clone(), T=c["T"], alpha=c["alpha"]))


def _ask(inputs: dict[str, dict], names: tuple[str, ...], call) -> Record:
    record = Record()
    for name in names:
        case = inputs[name]
        z = case["z_s"].clone().requires_grad_()
        with record.trying(name):
            value = call(z, case)
            record.keep(f"{name} value", value)
            if isinstance(value, Tensor) and value.numel() == 1 and value.requires_grad:
                value.sum().backward()
                record.keep(f"{name} gradient", z.grad)
    return record
