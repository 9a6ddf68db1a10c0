"""DIST: the student's predictions are to correlate with the teacher's, not to equal them.

Along a row, one image's probabilities over the classes; along a column, one class's over the images of the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdcourse.losses.base import check_classes, check_logits, check_number, check_temperature, softened


def inter_class_loss(z_s: Tensor, z_t: Tensor, *, T: float = 1.0) -> Tensor:
    """One minus the Pearson correlation of student and teacher along each row, mean over the images; in [0, 2].

    Shapes (B, K), (B, K) -> scalar. Unchanged when a row of teacher probabilities becomes a p + b with a > 0: how sure
    the teacher is of an image does not matter, how it ranks and spaces the classes does.
    Huang et al. 2022, arXiv:2205.10536, section 4.

    Raises ValueError when the shapes differ, for T <= 0, or with two classes: any two rows of two probabilities
    correlate perfectly, or perfectly not, whatever the numbers.
    """
    return _distance(z_s, z_t, T, dim=1)


def intra_class_loss(z_s: Tensor, z_t: Tensor, *, T: float = 1.0) -> Tensor:
    """The same along each column: one class over the images of the batch, mean over the classes; in [0, 2].

    Shapes (B, K), (B, K) -> scalar. It depends on who is in the batch; a batch of one has no columns to compare and
    gives 1, without a gradient. Huang et al. 2022, arXiv:2205.10536, section 4. Raises as `inter_class_loss` does.
    """
    return _distance(z_s, z_t, T, dim=0)


def dist_loss(
    z_s: Tensor, z_t: Tensor, *, T: float, beta: float, gamma: float, times_T_squared: bool = False
) -> Tensor:
    """DIST: beta `inter_class_loss` + gamma `intra_class_loss`, at temperature T.

    Shapes (B, K), (B, K) -> scalar. Huang et al. 2022, arXiv:2205.10536, section 4, without the cross-entropy. The
    paper has no factor T^2; the released code multiplies by it: `times_T_squared=True` does so too.

    The released code adds 1e-8 to the product of the two norms. A confident teacher's columns are shorter than that
    with many classes, so that there the loss of a teacher against itself is near 1 and has no gradient. Here each
    centred vector is normalised by its own length, in units of its largest entry, and the loss of p against p is 0.

    Raises as its two parts do. Introduced in notebook 06.
    """
    check_number("T", T)
    scale = T**2 if times_T_squared else 1
    return scale * (beta * inter_class_loss(z_s, z_t, T=T) + gamma * intra_class_loss(z_s, z_t, T=T))


def _distance(z_s: Tensor, z_t: Tensor, T: float, dim: int) -> Tensor:
    check_logits(z_s, z_t)
    check_temperature(T)
    check_classes(z_s, "any two rows of two probabilities correlate with +1 or -1, whatever the numbers")
    u_s, u_t = _direction(z_s, T, dim), _direction(z_t, T, dim)
    return 1 - (u_s * u_t).sum(dim=dim).mean()


def _direction(z: Tensor, T: float, dim: int) -> Tensor:
    """Probabilities along `dim`, centred and of length 1: the product of two such vectors is their correlation."""
    p = _probabilities(z, T, dim)
    centred = p - p.mean(dim=dim, keepdim=True)
    return _unit(centred, dim)


def _probabilities(z: Tensor, T: float, dim: int) -> Tensor:
    """softmax(z / T), each vector along `dim` divided by its largest entry: a correlation does not change when a vector
    is scaled, and in log space nothing underflows on the way. A class that is ruled out has probability 0."""
    log_p = F.log_softmax(softened(z, T), dim=1)
    p = (log_p - log_p.amax(dim=dim, keepdim=True).detach().clamp_min(torch.finfo(log_p.dtype).min)).exp()
    return p


def _unit(centred: Tensor, dim: int) -> Tensor:
    """Of length 1 along `dim`; 0, without a gradient, where the entries vary by less than float32 can tell."""
    squared = centred.square().sum(dim=dim, keepdim=True)
    varies = squared > 1e-12 * centred.shape[dim]
    return torch.where(varies, centred * torch.where(varies, squared, 1.0).rsqrt(), 0.0)
