"""OFD: margins, and the maps before their last ReLU."""

import torch
from torch import Tensor, nn

from kdcourse.core import Batch, Term, seeded
from kdcourse.distillers.base import (
    Distiller,
    Regressor,
    answer,
    as_feature_teacher,
    channels,
    check_weights,
    hard_labels,
    same_size,
    stage_pairs,
    switched_on,
)
from kdcourse.losses.features import margin_loss, negative_mean
from kdcourse.models.base import probe


class OFD(Distiller):
    """Overhaul of feature distillation: cross-entropy + beta `margin_loss` of the maps before their last ReLU.

    Every pair of stages counts, half as much for each step towards the images; a 1x1 convolution with batch
    normalisation makes the student's channels as many as the teacher's. The margins come from the batch normalisation
    that ends the teacher's stage (in a residual stage this leaves the shortcut out, as the released code does), or with
    `margin="batch"` from the negative values in each batch. Heo et al. 2019, arXiv:1904.01866; beta = 1e-3 as there.
    The margins are part of the `state_dict`.

    The released code runs the teacher in train mode, which moves its statistics; here it stays in eval mode. It takes
    -3 |w| as the margin of a channel that is below 0 with a probability of at most 0.001, where the formula divides
    two tiny numbers; here it holds throughout. And it draws the connectors from a normal distribution of variance
    2 / (k^2 C_out); here they start as torch's convolutions do.

    Raises as `FitNet` does, TypeError for a network that does not show its maps before the activation, and ValueError
    for a teacher's stage without batch normalisation.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, beta: float = 1e-3, margin: str = "norm", stages=None,
        seed: int = 0,
    ):
        super().__init__(student)
        check_weights(beta=beta)
        if margin not in ("norm", "batch"):
            raise ValueError(f"margin is 'norm' or 'batch', not {margin!r}")
        self.teacher, self.beta, self.margin = as_feature_teacher(teacher, "OFD", apart_from=student), beta, margin
        network = self.teacher.network
        for shown in (student, network):
            if probe(shown).maps is None:
                raise TypeError(
                    f"OFD compares maps before their ReLU, and {type(shown).__name__} shows them only after it: "
                    "use one of the course's networks, or another feature method"
                )
        self.stages = stage_pairs(student, network, stages)
        if margin == "norm":
            for k, (_, t) in enumerate(self.stages):
                self.register_buffer(f"margin{k}", _margin(network.stages[t], t))
        widths = channels(student), channels(network)
        with seeded(seed):
            self.regressors = nn.ModuleList([Regressor(widths[0][s], widths[1][t], norm=True) for s, t in self.stages])

    def forward(self, batch: Batch) -> dict[str, Term]:
        (z_s, _, maps_s), maps_t = answer(self.student, batch), self.teacher.answer(batch).maps
        values = []
        for k, (s, t) in enumerate(self.stages):
            f_s, f_t = same_size(self.regressors[k](maps_s[s]), maps_t[t])
            margin = getattr(self, f"margin{k}") if self.margin == "norm" else _mean_of_negatives(f_t)
            values.append(margin_loss(f_s, f_t, margin=margin) / 2 ** (len(self.stages) - 1 - k))
        return switched_on({
            "ce": hard_labels(1.0, z_s, batch.y),
            "ofd": Term(self.beta, torch.stack(values).sum()),
        })


def _margin(stage: nn.Module, number: int) -> Tensor:
    norms = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        raise ValueError(
            f"stage {number} of the teacher has no batch normalisation to compute OFD's margins from; "
            "take them from the batches: margin='batch'"
        )
    return negative_mean(norms[-1].bias.detach(), norms[-1].weight.detach().abs())


def _mean_of_negatives(f: Tensor) -> Tensor:
    """Per channel, the mean of the values below 0; just below 0 for a channel that has none."""
    f = f.transpose(0, 1).flatten(1)
    return torch.minimum(f.clamp(max=0).sum(dim=1) / (f < 0).sum(dim=1).clamp(min=1), f.new_tensor(-1e-6))
