"""BYOT: one network, whose deepest exit teaches the earlier ones."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import (
    Distiller,
    Regressor,
    answer,
    channels,
    check_layout,
    check_share,
    check_weights,
    hard_labels,
    same_size,
    switched_on,
)
from kdcourse.losses.base import check_temperature
from kdcourse.losses.features import hint_loss
from kdcourse.losses.logits import kd_loss
from kdcourse.models.base import Classifier, ends_in_relu, pooled, probe


class BYOT(Distiller):
    """Be your own teacher: every stage but the last gets an exit, a small classifier, and the network's own head, the
    deepest exit, teaches it: (1 - alpha) cross-entropy + alpha `kd_loss` + beta `hint_loss` for each; the head itself
    learns from the labels. There is no teacher.

    Zhang et al. 2019, arXiv:1905.08094, section 3. The deepest exit is a fixed target: its logits and its features are
    detached, and what the exits ask for reaches the stages that they share with it. An exit is a 1x1 convolution to
    the last stage's channels with batch normalisation and a ReLU, then a mean over positions and a linear layer; the
    paper's has convolutions that shrink the map to the last one's, where here the larger map is averaged down. The hint
    is without units (`hint_loss(relative=True)`), the paper's a squared distance: its weights do not carry over.

    `deployable()` is the network as it was built, without the exits; `early(k)` ends at one, as a cheaper network;
    `answers(x)` are the logits of all.

    Raises ValueError for T <= 0, alpha outside [0, 1], beta below 0 or a network of one stage, TypeError for one that
    does not show its features. Introduced in notebook 09.
    """

    def __init__(self, student: nn.Module, *, T: float = 3.0, alpha: float = 0.3, beta: float = 0.1, seed: int = 0):
        super().__init__(student)
        check_temperature(T)
        check_share("alpha", alpha)
        check_weights(beta=beta)
        z, features, _ = probe(student)
        check_layout(student, "BYOT")
        if len(features) < 2:
            raise ValueError(f"{type(student).__name__} has {len(features)} stage and so no earlier exit to teach")
        self.T, self.alpha, self.beta = T, alpha, beta
        *widths, last = channels(student)
        relu = ends_in_relu(student)
        with seeded(seed):
            self.exits = nn.ModuleList([Exit(width, last, z.shape[1], relu=relu) for width in widths])

    def forward(self, batch: Batch) -> dict[str, Term]:
        z, features, _ = answer(self.student, batch)
        terms, target, hidden = {"ce": hard_labels(1.0, z, batch.y)}, z.detach(), features[-1].detach()
        for k, (leave, f) in enumerate(zip(self.exits, features[:-1], strict=True), start=1):
            h_k = leave.hidden(f)
            z_k = leave.head(h_k)
            terms[f"exit{k}_ce"] = hard_labels(1 - self.alpha, z_k, batch.y)
            terms[f"exit{k}_kd"] = Term(self.alpha, kd_loss(z_k, target, T=self.T))
            terms[f"exit{k}_hint"] = Term(self.beta, hint_loss(*same_size(h_k, hidden), relative=True))
        return switched_on(terms)

    def answers(self, x: Tensor) -> list[Tensor]:
        """Logits (B, K) of every exit about images (B, C, H, W), from the earliest to the network's own head."""
        z, features, _ = self.student.answer(x)
        return [*(leave(f) for leave, f in zip(self.exits, features[:-1], strict=True)), z]

    def early(self, k: int) -> nn.Module:
        """The network that ends at exit `k`, from 1: its first k stages and the exit, with these very weights, and
        nothing of what comes later. Raises ValueError for an exit that there is not, TypeError for a network from
        elsewhere, which cannot be cut."""
        if k not in range(1, len(self.exits) + 1):
            raise ValueError(f"there are exits 1 to {len(self.exits)} before the network's own head; k is {k!r}")
        if not isinstance(self.student, Classifier):
            raise TypeError(f"a {type(self.student).__name__} cannot be cut after a stage; one of kdcourse.models can")
        return Early(self.student.encoder(k), self.exits[k - 1], self.student.shape)


class Exit(nn.Module):
    """A classifier on the features of a stage, (B, C, H, W) or (B, C) -> logits (B, K)."""

    def __init__(self, channels_in: int, width: int, classes: int, *, relu: bool = True):
        super().__init__()
        self.regressor, self.linear = Regressor(channels_in, width, norm=True), nn.Linear(width, classes)
        self.relu = relu

    def hidden(self, f: Tensor) -> Tensor:
        """The features as wide as the last stage's, (B, width, H, W)."""
        h = self.regressor(f)
        return F.relu(h) if self.relu else h

    def head(self, h: Tensor) -> Tensor:
        return self.linear(pooled(h))

    def forward(self, f: Tensor) -> Tensor:
        return self.head(self.hidden(f))


class Early(nn.Module):
    """A network that ends at an exit: images (B, C, H, W) of `shape` to logits (B, K)."""

    def __init__(self, encoder: nn.Module, leave: Exit, shape: tuple[int, int, int]):
        super().__init__()
        self.encoder, self.exit, self.shape = encoder, leave, shape

    def forward(self, x: Tensor) -> Tensor:
        return self.exit(self.encoder(x))
