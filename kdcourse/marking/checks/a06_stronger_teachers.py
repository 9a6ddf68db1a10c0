"""Exercise 06, stronger teachers, asking half: the names are those of the checks in the notebook."""

import torch
from torch import Tensor

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case

ARMS = [(method, teacher) for method in ("KD", "DIST") for teacher in ("weak", "strong")]


def repeated(seed: int) -> dict[str, Case]:
    """Batches of logits in which the first class has two images."""
    return {name: case.with_(y=torch.cat([case.y[:-1], case.y[:1]])) for name, case in logits(seed).items()}


def weighted(seed: int) -> dict[str, Case]:
    """Batches of logits, each with a weight for the labels, for rows and for columns."""
    draw = generator(seed, 61)
    return {name: case.with_(alpha=0.3 + a, beta=1 + b, gamma=2.5 + c) for name, case in logits(seed).items()
            for a, b, c in [torch.rand(3, generator=draw).tolist()]}


def columns(seed: int) -> dict[str, Case]:
    """Tables (B, K) of probabilities and a number for every column: plain ones, ones with columns far below a
    millionth, and `flat`, with a class to which the student, and one to which the teacher, gives 0 in every row."""
    draw = generator(seed, 62)

    def case(B: int, K: int, small: float) -> Case:
        size = small ** torch.rand(K, generator=draw)
        size[0] = small
        f_s, f_t = (torch.rand(B, K, generator=draw) * size for _ in range(2))
        return Case(f_s=f_s, f_t=f_t, probe=torch.rand(K, generator=draw) + 0.5)

    cases = {"plain": case(6, 4, 0.5), "small": case(5, 7, 1e-9), "flat": case(6, 5, 0.5)}
    cases["flat"].f_s[:, 1] = cases["flat"].f_t[:, 3] = 0
    return cases


def counted(seed: int) -> dict[str, Case]:
    """How many images each class has, unequally, and the size of a batch."""
    draw = generator(seed, 63)
    return {name: Case(counts=torch.randint(1, 13, (K,), generator=draw).tolist(), B=B)
            for name, K, B in (("few", 6, 5), ("some", 9, 8), ("many", 14, 11))}


def guessed(seed: int) -> dict[str, Case]:
    """Logits with many ties, labels, and k."""
    draw = generator(seed, 64)
    return {name: Case(z=torch.randint(-3, 4, (60, K), generator=draw) / 2, k=k,
                       y=torch.randint(K, (60,), generator=draw))
            for name, K, k in (("three of nine", 9, 3), ("five of twelve", 12, 5), ("one of six", 6, 1),
                               ("all of four", 4, 4))}


def accuracies(seed: int) -> dict[str, Case]:
    """Accuracies of four arms by seed, which share much of what each seed brings."""
    draw = generator(seed, 65)

    def case(n: int) -> Case:
        by_seed, own = 0.03 * torch.randn(n, generator=draw), 0.01 * torch.randn(4, n, generator=draw)
        values = 0.7 + 0.04 * torch.rand(4, 1, generator=draw) + by_seed + own
        return Case(values=values.double(), probe=torch.rand(2, generator=draw).double() + 0.5)

    return {"five seeds": case(5), "eight seeds": case(8)}


def compared(answer, case: Case) -> Tensor | None:
    """The pair that is returned about the four arms."""
    pair = answer({arm: values.tolist() for arm, values in zip(ARMS, case.values, strict=True)})
    pair = pair.tolist() if hasattr(pair, "tolist") else pair  # an array or a tensor
    if isinstance(pair, tuple | list) and len(pair) == 2:
        return torch.tensor([float(number) for number in pair], dtype=torch.double)
    if pair is not None:
        size = f" of {len(pair)}" if isinstance(pair, tuple | list | dict) else ""
        raise ValueError(f"a pair (mean, half-width) is expected, not a {type(pair).__name__}{size}")
    return None


present_columns = loss(repeated, lambda f, c: f(c.z_s, c.z_t, c.y, T=c.T), "cold", "warm", "warmer", "hot")
column_correlation = loss(columns, lambda f, c: f(c.f_s, c.f_t), "plain", "small", "flat", at="f_s")
expected_absent = loss(counted, lambda f, c: f(c.counts, c.B), "few", "some", "many", at="")
repaired_dist = loss(weighted, lambda f, c: f(c.z_s, c.z_t, c.y, T=c.T, alpha=c.alpha, beta=c.beta, gamma=c.gamma),
                     "cold", "warm", "warmer", "hot")
top_k_accuracy = loss(guessed, lambda f, c: f(c.z, c.y, c.k), "three of nine", "five of twelve", "one of six",
                      "all of four", at="")
gain_of_the_gain = loss(accuracies, compared, "five seeds", "eight seeds", at="")
