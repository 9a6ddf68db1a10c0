"""`Distiller`: a student together with whatever helps it learn, as one module that turns a batch into a loss."""

from torch import nn

from kdcourse.core import Batch, Term


class Distiller(nn.Module):
    """Maps a batch to the terms of the student's loss, by name.

    Whatever else a method trains (a regressor, a projector, a temperature) is a submodule, so that the optimiser finds
    it; teachers are submodules too and stay frozen by themselves. A subclass stores its arguments and writes `forward`.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.student = student

    def forward(self, batch: Batch) -> dict[str, Term]:
        """The summands of the loss on this batch, each with its weight. `core.total` adds them up."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict]:
        """What the optimiser gets: everything that requires a gradient."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def deployable(self) -> nn.Module:
        """The network that one would ship and measure: the student, unless a method says otherwise."""
        return self.student


def check_share(name: str, value: float) -> None:
    """Raise ValueError unless a weight that splits a loss in two lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is the share of one of two terms and must lie in [0, 1]; it is {value}")
