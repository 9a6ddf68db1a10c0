"""What a reader of lesson 05 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case

LONGEST = 8  # lessons of a chain that are looked at
NOBODY = -1.0   # in place of a network or a teacher that is None


def image_by_image(seed: int) -> dict[str, Case]:
    """Logits at several temperatures, each with a number for every image."""
    return {name: case.with_(probe=torch.rand(len(case.y), generator=generator(seed, i, 5)) + 0.5)
            for i, (name, case) in enumerate(logits(seed).items())}


def class_by_class(seed: int) -> dict[str, Case]:
    """The same, with a number for every logit."""
    return {name: case.with_(probe=torch.rand(case.z_t.shape, generator=generator(seed, i, 6)) + 0.5)
            for i, (name, case) in enumerate(logits(seed).items())}


def chains(seed: int) -> dict[str, Case]:
    """Numbers that stand for networks: a chain of two, three and four, and a teacher."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 7)
        names = torch.randperm(90, generator=draw)[: n + 1].double() + 10
        return Case(networks=names[1:], teacher=names[0], probe=torch.rand(2 * LONGEST, generator=draw).double() + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate((("two", 2), ("three", 3), ("four", 4)))}


def lessons(answer, case: Case) -> torch.Tensor:
    """Who was taught by whom, in order: pairs of numbers, 0 after the last."""
    found = []
    answer(case.networks.tolist(), case.teacher.item(), lambda student, teacher: found.append((student, teacher)))
    numbers = [NOBODY if number is None else float(number) for pair in found[:LONGEST] for number in pair]
    return torch.tensor(numbers + [0.0] * (2 * LONGEST - len(numbers)), dtype=torch.double)


target_part = loss(image_by_image, lambda f, c: f(c.z_s, c.z_t, c.y, c.T), "cold", "warm", "hot", at="")
rest_part = loss(image_by_image, lambda f, c: f(c.z_s, c.z_t, c.y, c.T), "cold", "warm", "hot", at="")
standardised = loss(class_by_class, lambda f, c: f(c.z_t), "cold", "warm", "hot", at="")
chain = loss(chains, lessons, "two", "three", "four", at="")
