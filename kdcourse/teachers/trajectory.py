"""`Trajectory`: what a network said about every image in each epoch while it was learning."""

from torch import Tensor

from kdcourse.core import Batch
from kdcourse.teachers.base import LogitBank


class Trajectory(LogitBank):
    """Recorded answers of a network that was learning: table (E, N, K), one row of epochs for each image.

    Replayed to a student, epoch e is answered as the network answered when it met the image in its own epoch e.
    From a float32 table, with the same batch size and the same seed for the order of the images, that is bit for bit
    what learning side by side gives. Half precision moves a logit below 32 by less than 0.01. With another order an
    image is answered by the network as it was somewhat earlier or later in the same epoch. `procedures` makes them.
    """

    def forward(self, batch: Batch) -> Tensor:
        """The logits (B, K) of the batch's epoch. Raises ValueError past the last epoch that was recorded."""
        if batch.epoch >= len(self.table):
            raise ValueError(
                f"{len(self.table)} epochs of learning were recorded, and this is epoch {batch.epoch + 1}: "
                "record as many epochs as the student is to train"
            )
        return super().forward(batch)

    def check_asked(self, origin: str, epochs: int) -> None:
        """Raise ValueError as `LogitBank` does, and when fewer epochs were recorded."""
        super().check_asked(origin, epochs)
        if len(self.table) < epochs:
            raise ValueError(f"{len(self.table)} epochs of learning were recorded, and the student is to train for "
                             f"{epochs}: record as many")

    def check_live(self, teacher, split, augment=None) -> None:
        """Nothing to check: what a network said on its way is not what it says at its end."""

    def at(self, epoch: int) -> LogitBank:
        """The answers of one epoch, counted from 1, as a bank: an early-stopped teacher."""
        if not 1 <= epoch <= len(self.table):
            raise ValueError(f"epochs 1 to {len(self.table)} were recorded, not {epoch}")
        return LogitBank(self.table[epoch - 1 : epoch], origin=self.origin, teacher=f"{self.teacher} after {epoch}")

    @classmethod
    def record(cls, teacher, split, **settings) -> "Trajectory":
        """Not offered: one look at a network is no trajectory. See `procedures.record_learners` and
        `procedures.record_checkpoints`."""
        raise NotImplementedError("a trajectory is recorded while a network learns: see kdcourse.procedures")
