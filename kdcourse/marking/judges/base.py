"""What all judges share: marks for properties, and the losses in double precision, the right one and its wrong
variants with the misconception behind each.

Written from the definitions, without the package's own losses: a mistake there must not hide the same mistake here.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kdcourse.marking.record import Verdict


class Marks:
    """The properties of an answer, each with its weight (together 1); `verdict` adds up those that hold and names those
    that fail."""

    def __init__(self, where: str):
        self.where, self.earned, self.failed = where, 0.0, []

    def give(self, weight: float, holds: bool | float, message: str) -> None:
        """Give the weight, or a share of it; `message` says why it is not all of it."""
        self.earned += weight * holds
        if holds < 1 and message and message not in self.failed:
            self.failed.append(message)

    def verdict(self) -> Verdict:
        if not self.failed and self.earned > 0.999:
            return Verdict(1.0, "right")
        return Verdict(round(self.earned, 4), f"{' Also: '.join(self.failed)} Read {self.where}.")


def close(found, expected, *, rtol: float = 1e-3, atol: float = 1e-5) -> bool:
    """Whether numbers or tensors agree; never where one of them is not finite."""
    found, expected = (torch.as_tensor(value, dtype=torch.double) for value in (found, expected))
    return found.shape == expected.shape and bool(torch.allclose(found, expected, rtol=rtol, atol=atol))


def log_p(z: Tensor, dim: int = 1) -> Tensor:
    """log softmax from the definition, in double precision."""
    z = z.double()
    return z - z.logsumexp(dim=dim, keepdim=True)


def hard(z: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy of each image, (B,)."""
    return -log_p(z).gather(1, y[:, None])[:, 0]


def divergence(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    """KL(p_t || p_s) of each image, (B,)."""
    p_t = log_p(z_t / T).exp()
    return (p_t * (log_p(z_t / T) - log_p(z_s / T))).sum(dim=1)


def soft(z_s: Tensor, z_t: Tensor, T: float) -> Tensor:
    return T**2 * divergence(z_s, z_t, T).mean()


def combined(z_s: Tensor, z_t: Tensor, y: Tensor, T: float, alpha: float) -> Tensor:
    return (1 - alpha) * hard(z_s, y).mean() + alpha * soft(z_s, z_t, T)


def _p(z: Tensor, dim: int = 1) -> Tensor:
    return log_p(z, dim).exp()


# each takes the logits and T, and returns one number per image
KINDS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "": divergence,
    "student and teacher are swapped: this is KL(p_s || p_t), not KL(p_t || p_s)": lambda s, t, T: divergence(t, s, T),
    "this is the cross-entropy with the teacher's answer, which is larger than KL(p_t || p_s) by the teacher's own "
    "entropy: log p_t is missing": lambda s, t, T: -(_p(t / T) * log_p(s / T)).sum(1),
    "F.kl_div was given the student's probabilities: it expects their logarithm":
        lambda s, t, T: (_p(t / T) * (log_p(t / T) - _p(s / T))).sum(1),
    "F.kl_div was given its arguments in the wrong order, and probabilities at that":
        lambda s, t, T: (_p(s / T) * (log_p(s / T) - _p(t / T))).sum(1),
    "the sign is wrong: the divergence is never negative": lambda s, t, T: -divergence(s, t, T),
    "the student's logits are not softened: T divides those of both": lambda s, t, T: divergence(s, t / T, 1),
    "the teacher's logits are not softened: T divides those of both": lambda s, t, T: divergence(s / T, t, 1),
    "the logits are not softened at all": lambda s, t, T: divergence(s, t, 1),
    "the logits are multiplied by T, not divided": lambda s, t, T: divergence(s * T, t * T, 1),
    "the probabilities are divided by T, not the logits":
        lambda s, t, T: (_p(t) / T * (log_p(t) - log_p(s))).sum(1),
    "sigmoid instead of softmax": lambda s, t, T: (
        torch.sigmoid(t.double() / T)
        * (torch.nn.functional.logsigmoid(t.double() / T) - torch.nn.functional.logsigmoid(s.double() / T))).sum(1),
    "sigmoid instead of log-softmax for the student": lambda s, t, T: (
        torch.sigmoid(t.double() / T)
        * (torch.nn.functional.logsigmoid(t.double() / T) - torch.sigmoid(s.double() / T))).sum(1),
    "softmax runs over the images, not over the classes (dim=0)": lambda s, t, T: (
        _p(t / T, 0) * (log_p(t / T, 0) - log_p(s / T, 0))).sum(1),
    "softmax is taken twice: the probabilities are softened once more":
        lambda s, t, T: divergence(_p(s / T), _p(t / T), 1),
    "this is the squared difference of probabilities, not a divergence":
        lambda s, t, T: (_p(s / T) - _p(t / T)).square().sum(1),
    "this is the squared difference of softened logits, not a divergence":
        lambda s, t, T: (s.double() / T - t.double() / T).square().sum(1),
    "this is the cross-entropy with the teacher's best guess: what it says of the other classes is lost":
        lambda s, t, T: hard(s / T, t.argmax(1)),
}
POWERS = {2: "", 0: "T² is missing", 1: "multiplied by T, not by T²", 4: "T² is there twice", -2: "divided by T²"}
REDUCTIONS: dict[str, Callable[[int, int], float]] = {
    "": lambda B, K: 1.0,
    "mean over images and classes instead of a sum over classes: K times too small (F.kl_div's default)":
        lambda B, K: 1 / K,
    "sum over the images, not their mean: it grows with the batch": lambda B, K: float(B),
}


def soft_variants() -> Iterator[tuple[str, Callable[[Tensor, Tensor, float], Tensor]]]:
    """Soft losses, each with the misconception behind it; the first is right and has none."""
    for kind, each in KINDS.items():
        for power, scaled in POWERS.items():
            for reduction, factor in REDUCTIONS.items():
                def loss(s, t, T, each=each, power=power, factor=factor):
                    return each(s, t, T).mean() * float(T) ** power * factor(*s.shape)

                yield "; ".join(filter(None, (kind, scaled, reduction))), loss


# how both terms are shared out: hard, soft, T and alpha -> the loss
SHARES: dict[str, Callable[[Tensor, Tensor, float, float], Tensor]] = {
    "": lambda h, s, T, a: (1 - a) * h + a * s,
    "alpha weighs the hard term: here it weighs the teacher's": lambda h, s, T, a: a * h + (1 - a) * s,
    "T² multiplies the hard term as well": lambda h, s, T, a: T**2 * (1 - a) * h + a * s,
    "T² multiplies the hard term, not the soft one": lambda h, s, T, a: T**2 * (1 - a) * h + a * s / T**2,
    "T² multiplies the hard term, not the soft one, and alpha weighs the hard term":
        lambda h, s, T, a: T**2 * a * h + (1 - a) * s / T**2,
    "the hard term is not weighed by 1 - alpha": lambda h, s, T, a: h + a * s,
    "the soft term is not weighed by alpha": lambda h, s, T, a: (1 - a) * h + s,
    "both terms are added without weights": lambda h, s, T, a: h + s,
    "the soft term is missing": lambda h, s, T, a: (1 - a) * h,
    "the hard term is missing": lambda h, s, T, a: a * s,
    "only the hard term is there": lambda h, s, T, a: h,
    "only the soft term is there": lambda h, s, T, a: s,
    "alpha is squared away: (1 - alpha) stands on both terms": lambda h, s, T, a: (1 - a) * (h + s),
    "both terms are halved: alpha is not used": lambda h, s, T, a: (h + s) / 2,
}
NLL = "nll_loss was given logits: it expects log-probabilities"
HARD: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "": lambda z, y, T: hard(z, y).mean(),
    "the hard term is computed at temperature T: it belongs at T = 1": lambda z, y, T: hard(z / T, y).mean(),
    "cross_entropy was given probabilities: it takes the softmax itself": lambda z, y, T: hard(_p(z), y).mean(),
    NLL: lambda z, y, T: -z.double().gather(1, y[:, None]).mean(),
    "the hard term is summed over the images, not averaged": lambda z, y, T: hard(z, y).sum(),
}


def single_soft_mistakes() -> Iterator[tuple[str, Callable[[Tensor, Tensor, float], Tensor]]]:
    """The soft variants with one mistake only."""
    names = [*KINDS, *POWERS.values(), *REDUCTIONS]
    for name, loss in soft_variants():
        if name and name in names:
            yield name, loss


EXCHANGED = "combined_loss was given the teacher's logits first and the student's second: its arguments are exchanged"


def training_mistakes() -> Iterator[tuple[str, dict]]:
    """What may be wrong with a loop, and how to train in that way."""
    yield EXCHANGED, {"exchanged": True}
    yield "gradients add up from step to step: zero_grad is missing", {"clear": False}
    yield "the optimiser is not Adam but SGD", {"optimiser": torch.optim.SGD}
    yield "the optimiser is made anew in every epoch and forgets", {"anew": lambda epoch: True}
    for text, soft in single_soft_mistakes():
        yield f"in the soft term, {text}", {"soft": soft}
    for text, share in SHARES.items():
        if text:
            yield text, {"share": share}
    for text, hard in HARD.items():
        if text:
            yield text, {"hard": hard}
