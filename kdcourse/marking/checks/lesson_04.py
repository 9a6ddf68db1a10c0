"""What a reader of lesson 04 writes by hand, asking half."""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.loss import loss
from kdcourse.marking.record import Case


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
