"""Methods that compare how the images of a batch lie to each other in the last features, whatever their width."""

from torch import Tensor, nn

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import (
    Distiller,
    answer,
    as_feature_teacher,
    channels,
    check_weights,
    hard_labels,
    switched_on,
)
from kdcourse.losses.base import check_temperature
from kdcourse.losses.relations import contrastive_loss, rkd_angle_loss, rkd_distance_loss, similarity_loss
from kdcourse.models.base import check_shows_features, pooled


class SP(Distiller):
    """Similarity-preserving distillation: cross-entropy + beta `similarity_loss` of the last feature maps.

    Tung & Mori 2019, arXiv:1907.09682; beta = 3000 is the paper's gamma. Nothing is added to the student.

    Raises ValueError for a beta below 0 or a teacher that is the student, TypeError for a bank of logits.
    Introduced in notebook 03.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, beta: float = 3000.0):
        super().__init__(student)
        check_weights(beta=beta)
        self.teacher, self.beta = as_feature_teacher(teacher, "SP", apart_from=student), beta
        check_shows_features(student)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, f_s, f_t = _last(self, batch)
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "sp": Term(self.beta, similarity_loss(f_s, f_t)),
        })


class RKD(Distiller):
    """Relational KD: cross-entropy + distance `rkd_distance_loss` + angle `rkd_angle_loss` of the embeddings.

    Park et al. 2019, arXiv:1904.05068. 25 and 50 are the weights of its ports to classification; the paper has 1 and 2
    for metric learning. Nothing is added to the student.

    Raises ValueError for weights below 0 or a teacher that is the student, TypeError for a bank of logits.
    Introduced in notebook 03.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, distance: float = 25.0, angle: float = 50.0):
        super().__init__(student)
        check_weights(distance=distance, angle=angle)
        self.teacher = as_feature_teacher(teacher, "RKD", apart_from=student)
        self.distance, self.angle = distance, angle
        check_shows_features(student)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, f_s, f_t = _last(self, batch)
        e_s, e_t = pooled(f_s), pooled(f_t)
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "rkd_distance": Term(self.distance, rkd_distance_loss(e_s, e_t)),
            "rkd_angle": Term(self.angle, rkd_angle_loss(e_s, e_t)),
        })


class CRD(Distiller):
    """Contrastive representation distillation: cross-entropy + beta `contrastive_loss` of projected embeddings.

    Tian, Krishnan & Isola 2020, arXiv:1910.10699; beta = 0.8, dimension 128, T = 0.07 as there. Each embedding has a
    linear projection of its own, trained and then thrown away. In-batch form: the other images of the batch are the
    negatives, where the paper keeps a memory of 16,384, and its estimate of the normalising constant is not needed.

    Raises ValueError for T <= 0, a beta below 0 or a teacher that is the student, TypeError for a bank of logits.
    Introduced in notebook 03.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, beta: float = 0.8, T: float = 0.07, dimension: int = 128,
        seed: int = 0,
    ):
        super().__init__(student)
        check_temperature(T)
        check_weights(beta=beta)
        self.teacher, self.beta, self.T = as_feature_teacher(teacher, "CRD", apart_from=student), beta, T
        with seeded(seed):
            self.project_s = nn.Linear(channels(student)[-1], dimension)
            self.project_t = nn.Linear(channels(self.teacher.network)[-1], dimension)

    def forward(self, batch: Batch) -> dict[str, Term]:
        z_s, f_s, f_t = _last(self, batch)
        e_s = self.project_s(pooled(f_s))
        e_t = self.project_t(pooled(f_t).to(self.project_t.weight.dtype))  # a teacher answers in float32
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "crd": Term(self.beta, contrastive_loss(e_s, e_t, T=self.T)),
        })


def _last(distiller: Distiller, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The student's logits, and both networks' last features."""
    z_s, features, _ = answer(distiller.student, batch)
    return z_s, features[-1], distiller.teacher.answer(batch).features[-1]
