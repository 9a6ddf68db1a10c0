"""What a reader of a lesson writes by hand, asking half: the checks below the blanks of a worksheet."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.logits import logits
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.checks.training import runs, training
from kdcourse.marking.record import Case


def softened_cases(seed: int) -> dict[str, Case]:
    """Logits at several temperatures, each with numbers that tell one probability from another."""
    return {name: case.with_(probe=torch.rand(case.z_t.shape, generator=generator(seed, i)) + 0.5)
            for i, (name, case) in enumerate(logits(seed).items())}


softened = loss(softened_cases, lambda f, c: f(c.z_t, c.T), "cold", "warm", "hot", at="")
share_right = loss(logits, lambda f, c: f(c.z_s, c.y), "cold", "warm", "hot", at="")

soft_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.T), "cold", "warm", "warmer", "hot", "large")
student_loss = loss(logits, lambda f, c: f(c.z_s, c.z_t, c.y, c.T, c.alpha), "cold", "warm", "warmer", "hot")
train_by_hand = training(runs, lambda f, student, teacher, c: f(student, teacher, c.split, **c.settings))

wrong_answers = loss(softened_cases, lambda f, c: f(c.z_t, c.y, c.T), "cold", "warm", "hot", at="")
soft_gradient = loss(softened_cases, lambda f, c: f(c.z_s, c.z_t, c.T), "cold", "warm", "hot", at="")
smoothed = loss(softened_cases, lambda f, c: f(c.y, c.z_t.shape[1], c.alpha), "cold", "warm", "hot", at="")


# notebook 04
def scored_cases(seed: int) -> dict[str, Case]:
    """Scores with ties, labels and answers of images of two classes, and accuracies of four cells of a design."""
    def case(i: int) -> Case:
        draw = generator(seed, i, 4)
        y = (torch.rand(12 + i, generator=draw) < 0.4).long()
        y[:4] = torch.tensor([0, 0, 0, 1])
        score = (2 * (y + 1.2 * torch.randn(len(y), generator=draw))).round() / 2
        score[:4] = torch.tensor([0.5, 1.5, -0.5, 0.5])
        called = (score > 0.25).long()
        called[1], called[2], called[3] = 1, 0, 1
        return Case(score=score, y=y, called=called, cells=0.5 + 0.4 * torch.rand(4, generator=draw))

    return {name: case(i) for i, name in enumerate(("one", "two", "three"))}


auc_by_pairs = loss(scored_cases, lambda f, c: f(c.score, c.y), "one", "two", "three", at="")
f1_by_counts = loss(scored_cases, lambda f, c: f(c.called, c.y), "one", "two", "three", at="")
interaction = loss(scored_cases, lambda f, c: f(*c.cells), "one", "two", "three", at="")
