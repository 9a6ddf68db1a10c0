"""What a reader of lesson 09 writes by hand, asking half.

Where a loss must not teach its teacher, its gradients are recorded beside its value, as further numbers of one vector.
"""

import torch

from kdcourse.core import generator
from kdcourse.marking.checks.loss import loss, number, slope
from kdcourse.marking.record import Case

NAMES = ("few", "some", "many")
SIZES = (5, 7, 12)


def peers(seed: int) -> dict[str, Case]:
    """Logits of two networks about the same images, and their labels."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 91)
        z_a, z_b = (1.5 * torch.randn(n, 4, generator=draw) for _ in range(2))
        return Case(z_a=z_a, z_b=z_b, y=torch.randint(4, (n,), generator=draw), other=torch.randn(n, 4, generator=draw),
                    probe=torch.rand(6, generator=draw) + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, SIZES, strict=True))}


def senses(seed: int) -> dict[str, Case]:
    """Images of 8x8 pixels, and the weights of a teacher that sees them and of a student that sees 2x2 of them."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 92)
        return Case(x=torch.rand(n, 1, 8, 8, generator=draw), w_s=2 * torch.randn(4, 3, generator=draw),
                    w_t=torch.randn(64, 3, generator=draw), T=torch.rand((), generator=draw).item() + 1.5,
                    other=torch.randn(4, 3, generator=draw), another=torch.randn(64, 3, generator=draw),
                    probe=torch.rand(3, generator=draw) + 0.5)

    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, SIZES, strict=True))}


def answers(seed: int) -> dict[str, Case]:
    """A teacher's logits about images that are not of all classes alike; "sure": its probabilities are 1 and 0, and
    two of the classes have none."""
    def case(i: int, n: int) -> Case:
        draw = generator(seed, i, 93)
        z_t = 3 * torch.randn(n, 4, generator=draw) + torch.tensor([2.0, 0.0, 0.0, -1.0])
        return Case(z_t=z_t, other=torch.randn(n, 4, generator=draw), probe=torch.rand(2, generator=draw) + 0.5)

    sure = case(len(NAMES), 6)
    sure = sure.with_(z_t=200 * torch.eye(4)[[0, 0, 0, 0, 1, 1]])
    return {name: case(i, n) for i, (name, n) in enumerate(zip(NAMES, SIZES, strict=True))} | {"sure": sure}


def both(answer, case: Case):
    """The two losses, and their gradients at the logits of the first network and of the second."""
    z_a, z_b = (z.clone().requires_grad_() for z in (case.z_a, case.z_b))
    found = answer(z_a, z_b, case.y)
    if found is None:
        return None
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise ValueError("two losses are asked for, as a pair: return loss_a, loss_b")
    pair = [number(value) for value in found]
    return torch.stack([*pair, *(slope(value, z, case.other) for value in pair for z in (z_a, z_b))])


def bridged(answer, case: Case):
    """The loss, and its gradients at the weights of the student and of the teacher."""
    w_s, w_t = (w.clone().requires_grad_() for w in (case.w_s, case.w_t))

    def student(x):
        if x.shape[1:] != (1, 2, 2):
            raise ValueError(f"this student sees thumbnails (images, 1, 2, 2), and was given {tuple(x.shape)}")
        return x.flatten(1) @ w_s

    def teacher(x):
        if x.shape[1:] != (1, 8, 8):
            raise ValueError(f"this teacher sees whole images (images, 1, 8, 8), and was given {tuple(x.shape)}")
        return x.flatten(1) @ w_t

    found = answer(student, teacher, case.x, case.T)
    if found is None:
        return None
    value = number(found)
    return torch.stack([value, slope(value, w_s, case.other), slope(value, w_t, case.another)])


def balanced(answer, case: Case):
    """The term, and its gradient at the logits: 0 for a plain number."""
    z_t = case.z_t.clone().requires_grad_()
    found = answer(z_t)
    if found is None:
        return None
    value = torch.tensor(found) if isinstance(found, float) else number(found)
    return torch.stack([value, slope(value, z_t, case.other)])


mutual_losses = loss(peers, both, *NAMES, at="")
bridge_loss = loss(senses, bridged, *NAMES, at="")
entropy_term = loss(answers, balanced, *NAMES, "sure", at="")
