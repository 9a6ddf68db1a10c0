"""SLKD: beside the teacher, the student follows copies of it that learn anew.

What it follows is a path, not its end. `procedures` records such paths and replays them.
"""

from torch import Tensor, nn

from kdcourse.core import Batch, Term, draw_key, generator, seeded
from kdcourse.distillers.base import Distiller, check_share, check_weights, hard_labels, switched_on
from kdcourse.losses.base import check_temperature
from kdcourse.losses.logits import kd_loss
from kdcourse.models.base import fresh_copy
from kdcourse.teachers import LogitBank, Teacher, as_teacher

STILL = (  # layers that draw no random numbers, by their module and class
    "kdcourse.models.", *(f"torch.nn.modules.{kind}." for kind in (
        "batchnorm", "container", "conv", "flatten", "linear", "normalization", "activation.ReLU", "activation.GELU",
        "pooling.MaxPool2d", "pooling.AvgPool2d", "pooling.AdaptiveAvgPool2d")))


class SelfLearners(Distiller):
    """The self-learning teachers of SLKD by themselves: one network or two, of the teacher's kind, each taught by it.

    Each minimises lam cross-entropy + (1 - lam) `kd_loss` from the teacher: Liu et al. 2023, arXiv:2304.11923,
    equations 2, 5 and 6. Nothing here depends on a student, not even the random draws, so that what they say on the way
    can be recorded once and replayed for any.

    Raises ValueError as `SLKD` does.
    """

    def __init__(self, learners, teacher: nn.Module, *, T: float, lam: float, w: float, seed: int):
        check_temperature(T)
        check_share("lam", lam)
        check_share("w", w)
        learners = _apart(learners, teacher)
        super().__init__(learners[0])
        self.second = learners[1] if len(learners) > 1 else None
        self.teacher, self.T, self.lam, self.w, self.seed = teacher, T, lam, w, seed

    def learn(self, batch: Batch) -> tuple[dict[str, Term], Tensor]:
        """Their own terms, and their logits fused: w z_1 + (1 - w) z_2 (equation 7), or z_1 of a single one."""
        z_t, terms, answers = self.teacher(batch), {}, []
        for k, learner in enumerate([self.student] if self.second is None else [self.student, self.second], start=1):
            answers.append(self._answer(k, learner, batch) if _may_draw(learner) else learner(batch.x))
            terms[f"learner{k}_ce"] = hard_labels(self.lam, answers[-1], batch.y)
            terms[f"learner{k}_kd"] = Term(1 - self.lam, kd_loss(answers[-1], z_t, T=self.T))
        fused = answers[0] if self.second is None else self.w * answers[0] + (1 - self.w) * answers[1]
        return switched_on(terms), fused

    def forward(self, batch: Batch) -> dict[str, Term]:
        return self.learn(batch)[0]

    def _answer(self, k: int, learner: nn.Module, batch: Batch) -> Tensor:
        with seeded(generator(self.seed, k, *draw_key(batch)).initial_seed(), batch.x.device):
            return learner(batch.x)


class SLKD(Distiller):
    """Self-learning teachers: beside the teacher, the student follows networks of the teacher's kind that learn now.

    L = alpha (lam CE + (1 - lam) T^2 KL(teacher || S)) + beta (lam CE + (1 - lam) T^2 KL(learners || S)): Liu, Li &
    Cheng 2023, arXiv:2304.11923, equations 1, 3, 4 and 7, with the paper's letters; KD's alpha, the share of the soft
    term, is 1 - lam. `learners` are one or two fresh networks that learn from the teacher beside the student
    (`SelfLearners`); without them `count` copies of the teacher's network are drawn anew from `seed`. A `Teacher` or a
    bank in their place is followed as it is: recorded learners, or finished ones. alpha = 0 leaves the learners alone,
    beta = 0 the teacher alone, which is `KD`; the paper prints neither number, and 1 and 1 are its code's.

    The released code differs in two ways. It does not detach the fused logits, so the student's loss trains the
    learners too: `detach=False`. And it weighs the two parts of beta's bracket 1 and 1, which gives the labels 1.1
    altogether: `bracket=(1, 1)`.

    Raises ValueError for T <= 0, shares outside [0, 1], weights below 0, more than two learners, a network that is
    used twice, or a bank as teacher without `learners`. Introduced in notebook 07.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, learners=None, count: int = 2, T: float = 4.0,
        alpha: float = 1.0, beta: float = 1.0, lam: float = 0.1, w: float = 0.5, detach: bool = True,
        bracket: tuple[float, float] | None = None, seed: int = 0,
    ):
        super().__init__(student)
        check_temperature(T)
        check_share("lam", lam)
        check_share("w", w)
        check_weights(alpha=alpha, beta=beta)
        self.teacher = as_teacher(teacher, apart_from=student)
        self.T, self.alpha, self.beta, self.lam = T, alpha, beta, lam
        self.bracket = (lam, 1 - lam) if bracket is None else bracket
        check_weights(bracket_hard=self.bracket[0], bracket_soft=self.bracket[1])
        self.detach, self.learners = detach, None
        if isinstance(learners, Teacher | LogitBank):
            self.learners = as_teacher(learners, apart_from=student)
        elif beta:
            learners = _copies(self.teacher, count, seed) if learners is None else learners
            networks = _apart(learners, self.teacher, student)
            self.learners = SelfLearners(networks, self.teacher, T=T, lam=lam, w=w, seed=seed)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, terms = self.student(batch.x), {}
        terms["ce"] = hard_labels(self.alpha * self.lam + self.beta * self.bracket[0], z_s, batch.y)
        if self.alpha:
            terms["kd"] = Term(self.alpha * (1 - self.lam), kd_loss(z_s, self.teacher(batch), T=self.T))
        if self.beta:
            theirs, z_l = self._follow(batch)
            terms["kd_learners"] = Term(self.beta * self.bracket[1], kd_loss(z_s, z_l, T=self.T))
            terms |= theirs
        return switched_on(terms)

    def _follow(self, batch: Batch) -> tuple[dict[str, Term], Tensor]:
        if not isinstance(self.learners, SelfLearners):
            return {}, self.learners(batch)
        terms, z_l = self.learners.learn(batch)
        return terms, z_l.detach() if self.detach else z_l


def _may_draw(network: nn.Module) -> bool:
    """Whether a network may draw random numbers, as dropout does; what is not known to draw none, may."""
    return not all(
        module.p == 0 if type(module) is nn.Dropout else
        f"{type(module).__module__}.{type(module).__name__}.".startswith(STILL)
        for module in network.modules()
    )


def _copies(teacher: nn.Module, count: int, seed: int) -> list[nn.Module]:
    if count not in (1, 2):
        raise ValueError(f"count is the number of self-learning teachers, 1 or 2; it is {count}")
    if not hasattr(teacher, "network"):
        raise ValueError(
            f"a {type(teacher).__name__} does not know the teacher's architecture: pass learners=[...], one or two "
            "fresh networks of its kind, or a recording of them"
        )
    return [fresh_copy(teacher.network, seed=generator(seed, k).initial_seed()) for k in range(count)]


def _apart(learners, *others: nn.Module) -> list[nn.Module]:
    networks = list(learners) if isinstance(learners, list | tuple | nn.ModuleList) else [learners]
    if len(networks) not in (1, 2):
        raise ValueError(f"one or two self-learning teachers can be followed, not {len(networks)}")
    owners = [*others, *networks]
    seen = [id(parameter) for owner in owners for parameter in {id(p): p for p in owner.parameters()}.values()]
    if len(seen) != len(set(seen)):
        raise ValueError("student, teacher and learners must be different networks; two of them share parameters")
    if not all(any(parameter.requires_grad for parameter in network.parameters()) for network in networks):
        raise ValueError("a self-learning teacher learns, and one of these is frozen: build a fresh network for it")
    return networks
