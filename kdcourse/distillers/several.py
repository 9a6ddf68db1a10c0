"""Methods with more than one network beside the student: several teachers, assistants, a teacher's checkpoints, or a
peer that learns too."""

import torch
from torch import Tensor, nn

from kdcourse.core import Batch, Term, draw_key, generator
from kdcourse.distillers.base import Distiller, check_share, check_weights, hard_labels, several, switched_on
from kdcourse.losses.base import check_temperature
from kdcourse.losses.logits import kd_loss
from kdcourse.teachers import LogitBank, Teacher
from kdcourse.teachers.base import check_apart

FUSIONS = ("probabilities", "logits")


class MultiTeacher(Distiller):
    """`KD` from the mean of several teachers.

    `fuse="probabilities"` averages their softened probabilities: the gradient is the mean of those of single KDs.
    `fuse="logits"` averages the logits before the softmax, as SLKD does: a geometric mean of the probabilities, where a
    sure teacher outvotes the others. `teachers` is one or a list of networks, `Teacher`s or banks.

    Raises as `KD` does, and ValueError for an empty list or another `fuse`. Introduced in notebook 09.
    """

    def __init__(
        self, student: nn.Module, teachers, *, T: float = 4.0, alpha: float = 0.9, fuse: str = "probabilities"
    ):
        super().__init__(student)
        check_temperature(T)
        check_share("alpha", alpha)
        if fuse not in FUSIONS:
            raise ValueError(f"fuse is one of: {', '.join(FUSIONS)}; not {fuse!r}")
        self.teachers, self.T, self.alpha, self.fuse = several(teachers, apart_from=student), T, alpha, fuse

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_t = self.student(batch.x), torch.stack([teacher(batch) for teacher in self.teachers])
        fused = z_t.mean(dim=0) if self.fuse == "logits" else logits_of_mean_probability(z_t, self.T)
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "kd": Term(self.alpha, kd_loss(z_s, fused, T=self.T)),
        })


class DGKD(Distiller):
    """Densely guided KD: (1 - alpha) cross-entropy + alpha times the sum of `kd_loss` from the teacher and every
    assistant. Without assistants it is `KD`.

    Son et al. 2021, arXiv:2009.08825. A sum, not a mean: more guides weigh more. `assistants` were trained before, each
    by all the larger ones (`procedures.dgkd`). `drop` guides, drawn anew for each batch, are left out while training,
    none by default. The released code drops one, has T = 5, and no cross-entropy (alpha = 1). Its `nn.KLDivLoss()`
    averages over images and classes, which makes each soft term K times smaller than `kd_loss` with K classes.

    Raises as `KD` does, and ValueError for a `drop` that is no number of guides. Introduced in notebook 05.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, assistants=(), T: float = 4.0, alpha: float = 0.9,
        drop: int = 0, seed: int = 0,
    ):
        super().__init__(student)
        check_temperature(T)
        check_share("alpha", alpha)
        assistants = list(several(assistants, apart_from=student)) if assistants else []
        self.guides = several([teacher, *assistants], apart_from=student)
        if not 0 <= drop <= len(self.guides):
            raise ValueError(f"drop is a number of guides, from 0 to {len(self.guides)}; it is {drop}")
        self.T, self.alpha, self.drop, self.seed = T, alpha, drop, seed

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, terms = self.student(batch.x), {}
        terms["ce"] = hard_labels(1 - self.alpha, z_s, batch.y)
        for k in self._kept(batch):
            name = f"kd_assistant{k}" if k else "kd"
            terms[name] = Term(self.alpha, kd_loss(z_s, self.guides[k](batch), T=self.T))
        return switched_on(terms)

    def _kept(self, batch: Batch) -> list[int]:
        if not self.drop or not self.training:
            return list(range(len(self.guides)))
        order = torch.randperm(len(self.guides), generator=generator(self.seed, *draw_key(batch)))
        return sorted(order[self.drop:].tolist())


class ProKD(Distiller):
    """Progressive KD: the student follows a teacher's checkpoints in their order, then hard labels alone.

    Until `soft_until`, a share of the training, `KD` from one checkpoint after the other, each for the same time, while
    the temperature falls from `T` at the first to 1 at the last; after it the cross-entropy alone. Rezagholizadeh et
    al. 2021, arXiv:2110.08532; no code was released, and the schedule here is ours. `teachers` is a list of networks or
    banks, the earliest first, or a single one, which teaches at `T` throughout.

    Raises as `KD` does, and ValueError for T < 1 or an empty list. Introduced in notebook 05.
    """

    def __init__(
        self, student: nn.Module, teachers, *, T: float = 4.0, alpha: float = 0.9, soft_until: float = 0.75
    ):
        super().__init__(student)
        check_temperature(T)
        check_share("alpha", alpha)
        check_share("soft_until", soft_until)
        if isinstance(teachers, list | tuple) and not teachers:
            raise ValueError("Pro-KD follows the teacher's checkpoints: a list of at least one is needed")
        self.teachers = several(teachers, apart_from=student)
        if T < 1 and len(self.teachers) > 1:
            raise ValueError(f"the temperature falls from T to 1, so T must be at least 1; it is {T}")
        self.T, self.alpha, self.soft_until = T, alpha, soft_until

    def checkpoint(self, progress: float) -> int:
        """Which of the teachers teaches now, counted from 0."""
        return min(int(progress / self.soft_until * len(self.teachers)), len(self.teachers) - 1)

    def temperature(self, checkpoint: int) -> float:
        """T at the first of several checkpoints, 1 at the last, in equal steps."""
        return self.T - (self.T - 1) * checkpoint / max(len(self.teachers) - 1, 1)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s = self.student(batch.x)
        if batch.progress >= self.soft_until:
            return {"ce": hard_labels(1.0, z_s, batch.y)}
        k = self.checkpoint(batch.progress)
        return switched_on({
            "ce": hard_labels(1 - self.alpha, z_s, batch.y),
            "kd": Term(self.alpha, kd_loss(z_s, self.teachers[k](batch), T=self.temperature(k))),
        })


class DML(Distiller):
    """Deep mutual learning: two networks without a teacher, each with cross-entropy + beta KL(the other || itself).

    Zhang et al. 2018, arXiv:1706.00384, equations 1 to 5. T is 1, and each is a fixed target for the other. Here both
    take their step at once; in the paper's algorithm the second one sees the first one's new answers. `peer` is an
    ordinary network that is trained too; only the student is judged by `fit`.

    Raises ValueError for a peer that is the student or is frozen, TypeError if it is no network. Introduced in
    notebook 09.
    """

    def __init__(self, student: nn.Module, peer: nn.Module, *, beta: float = 1.0):
        super().__init__(student)
        check_apart(peer, student)
        check_weights(beta=beta)
        if isinstance(peer, Teacher | LogitBank) or not any(p.requires_grad for p in peer.parameters()):
            raise ValueError("a peer learns beside the student, and this one is frozen: build a fresh network for it")
        self.peer, self.beta = peer, beta

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, z_p = self.student(batch.x), self.peer(batch.x)
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "kl": Term(self.beta, kd_loss(z_s, z_p.detach(), T=1.0)),
            "peer_ce": hard_labels(1.0, z_p, batch.y),
            "peer_kl": Term(self.beta, kd_loss(z_p, z_s.detach(), T=1.0)),
        })


def logits_of_mean_probability(z_t: Tensor, T: float) -> Tensor:
    """Logits whose softmax at temperature T is the mean of the teachers': (n, B, K) -> (B, K)."""
    return T * (z_t / T).log_softmax(dim=2).logsumexp(dim=0)
