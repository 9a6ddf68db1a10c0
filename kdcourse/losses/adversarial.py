"""The two losses of a game between a student and a discriminator, which tells its answers from the teacher's.

Letters: d is what the discriminator says about an answer, the logit of "this is the teacher's", of any shape with one
number for each. No networks here: who learns from which loss is the distiller's work.
"""

import torch.nn.functional as F
from torch import Tensor

from kdcourse.losses.base import full_precision


def discriminator_loss(d_s: Tensor, d_t: Tensor) -> Tensor:
    """What the discriminator minimises: the mean of -log(1 - sigmoid(d_s)) plus the mean of -log sigmoid(d_t), in nats.

    Goodfellow et al. 2014, arXiv:1406.2661, equation 1 with its sign turned. 2 log 2 = 1.386 for one that cannot tell,
    less only where there is something to tell: the best discriminator has 2 log 2 - 2 JSD, the Jensen-Shannon
    divergence of the two kinds of answers. Raises ValueError where one kind is missing.
    """
    return -F.logsigmoid(-_some(d_s)).mean() - F.logsigmoid(_some(d_t)).mean()


def fooling_loss(d_s: Tensor) -> Tensor:
    """What the student minimises: the mean of -log sigmoid(d_s), in nats; log 2 where the discriminator cannot tell.

    Goodfellow et al. 2014, arXiv:1406.2661, section 3: in place of log(1 - sigmoid(d_s)), whose gradient vanishes for a
    student that is told at once. Raises ValueError for no answers.

    >>> import torch
    >>> fooling_loss(torch.zeros(4)).item()
    0.693147...
    """
    return -F.logsigmoid(_some(d_s)).mean()


def _some(d: Tensor) -> Tensor:
    if not d.numel():
        raise ValueError(f"a discriminator that was shown nothing, {tuple(d.shape)}, has no mean and so no loss")
    return full_precision(d)
