"""Exercise 08, what was learned, asking half: the names are those of the checks in the notebook."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.experiment import experiment, keep_pairs, noise
from kdcourse.marking.checks.lesson_08 import NAMES, answers, sure
from kdcourse.marking.checks.loss import far, loss
from kdcourse.marking.record import Case

LESSONS = {"labels": 1.0, "teacher": 2.0, "shuffled": 3.0, "silent": 4.0}


def confidences(seed: int) -> dict[str, Case]:
    """Confidences, which answers were right, and a number of bins that divides their number."""
    def case(i: int, bins: int, each: int) -> Case:
        draw = generator(seed, i, 882)
        c = 0.15 + 0.8 * torch.rand(bins * each, generator=draw)
        return Case(confidence=c, right=torch.rand(len(c), generator=draw) < c - 0.1, bins=bins)

    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, ((3, 4), (4, 6), (5, 9)), strict=True))}


def features(seed: int) -> dict[str, Case]:
    """Features of two networks, whose neighbours in the order of the rows lie on different sides, in equal batches."""
    def case(i: int, batches: int, size: int) -> Case:
        draw = generator(seed, i, 884)
        side = torch.tensor([1.5, -1.0]).repeat(batches * size // 2)[:, None]
        f_a, f_b = (torch.randn(len(side), d, generator=draw).double() for d in (3, 4))
        return Case(f_a=f_a + side, f_b=f_b + side + 0.5 * f_a[:, :1], size=size)

    return {name: case(i, *shape) for i, (name, shape) in enumerate(zip(NAMES, ((3, 8), (2, 10), (4, 6)), strict=True))}


def labelled(seed: int) -> dict[str, Case]:
    """Features of unequal spread, with labels that are not equally many."""
    def case(i: int, n: int, k: int) -> Case:
        draw = generator(seed, i, 885)
        y = torch.tensor([0] * (n // 2) + [1] * (n // 3) + [2] * (n - n // 2 - n // 3))
        f = torch.randn(n, 3, generator=draw) * torch.tensor([1.0, 2.0, 0.5]) + 1.2 * torch.eye(3)[y] + 1
        return Case(f=f, y=y[torch.randperm(n, generator=draw)] if i == 1 else y, k=k)

    return {name: case(i, *size) for i, (name, size) in enumerate(zip(NAMES, ((17, 3), (22, 4), (31, 6)), strict=True))}


def plans(seed: int) -> dict[str, Case]:
    """Seeds, a control, and a number of questions: two experiments, whose seeds overlap."""
    def case(key: int, questions: int) -> Case:
        draw = generator(seed, 887, key)
        control = [name for name in LESSONS if name != "teacher"][(seed + key) % 3]
        return Case(seeds=(torch.randperm(50, generator=draw)[:8] + 1).tolist(), control=control, questions=questions,
                    noise=noise(seed, 888, key), lessons=LESSONS)

    return {name: case(key, questions) for key, (name, questions) in enumerate((("first", 2), ("second", 5)))}


def compared(answer, world, case: Case):
    """The lesson is written into the diary as a number, in the place of a temperature."""
    return answer(world.make, lambda student, lesson, seed: world.teach(student, case.lessons[lesson], 1.0, seed),
                  world.measure, control=case.control, seeds=list(case.seeds), questions=case.questions)


def moved(seed: int) -> dict[str, Case]:
    """The same, and the fewest logits far from 0: the mean over many hides what a difference of two losses loses."""
    found = sure(seed)
    return found | {"far": far(found[NAMES[0]], "z")}


def by_hand(answer, c: Case):
    """The slope, where autograd is switched off: its formula is what is asked for."""
    with torch.inference_mode():
        try:
            return answer(c.z + getattr(c, "away", 0), c.y, c.log_T.exp().item())
        except RuntimeError as error:
            if "grad" in str(error):
                raise ValueError("autograd is switched off here: the formula by hand is asked for") from None
            raise


error_consistency = loss(answers, lambda f, c: f(c.z_a, c.z_b, c.y), *NAMES, at="")
squared_ece = loss(confidences, lambda f, c: f(c.confidence, c.right, c.bins), *NAMES, at="")
squared_ece_null = loss(confidences, lambda f, c: f(c.confidence, c.bins), *NAMES, at="")
temperature_slope = loss(moved, by_hand, *NAMES, "far", at="", own="torch.autograd")
batched_cka = loss(features, lambda f, c: f(c.f_a, c.f_b, c.size), *NAMES, at="")
separability = loss(labelled, lambda f, c: f(c.f, c.y, c.k), *NAMES, at="")
what_teaching_adds = experiment(plans, compared, lambda record, name, value, c: keep_pairs(record, name, value, None))
