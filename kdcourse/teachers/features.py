"""`FeatureBank`: a teacher's feature maps recorded beside its logits, for the methods that compare features."""

import torch
from torch import Tensor, nn

from kdcourse.core import Batch
from kdcourse.models.base import Answer
from kdcourse.teachers.base import LogitBank, Teacher, recorded


class FeatureBank(LogitBank):
    """A `LogitBank` that holds every stage's maps as well, and the teacher itself for its head.

    Large: ResNet-56 gives 28,672 numbers about an image of 32x32, 57 kB in half precision against 20 bytes of logits.
    Kept in memory only. The maps are those before the stage's last activation where the network shows them, so that
    methods for either kind can use them.
    """

    def __init__(self, table: Tensor, maps: list[Tensor], live: Teacher, *, origin: str, teacher: str,
                 before: bool | None = None):
        """`before` says whether the maps are those before the activation; without it, they are where there is one."""
        super().__init__(table, origin=origin, teacher=teacher)
        self.tables, self.live = maps, live
        self.before = hasattr(live.network, "activation") if before is None else before

    @classmethod
    @torch.no_grad()
    def record(cls, teacher, split, *, augment=None, dtype=torch.float16, batch_size=None) -> "FeatureBank":
        """As `LogitBank.record`, with the maps. The teacher is frozen by it, since its head stays in use."""
        live, before = teacher if isinstance(teacher, Teacher) else Teacher(teacher), set()

        def ask(batch: Batch) -> list[Tensor]:
            z, features, maps = live.answer(batch)
            before.add(maps is not None and hasattr(live.network, "activation"))
            return [z, *(maps if True in before else features)]

        views = recorded(live, split, ask, augment, dtype, batch_size)
        table, *maps = (torch.stack(tables) for tables in zip(*views, strict=True))
        if not all(kept.isfinite().all() for kept in maps):
            raise ValueError(f"some feature maps are not finite in {dtype}: record them with dtype=torch.float32")
        return cls(table, maps, live, before=before.pop(), origin=split.origin(augment), teacher=live.key())

    @property
    def network(self) -> nn.Module:
        """The network that was recorded."""
        return self.live.network

    def answer(self, batch: Batch) -> Answer:
        """The recorded logits, features and maps about the images of the batch, in float32."""
        z, device = self(batch), batch.index.device
        if self.tables[0].device != device:
            self.tables = [table.to(device) for table in self.tables]
        kept = [table[batch.epoch % len(table)][batch.index].float() for table in self.tables]
        if not self.before:
            return Answer(z, kept, None)
        known = self.network.activation
        each = known if isinstance(known, list) else [known] * len(kept)
        return Answer(z, [activation(f) for activation, f in zip(each, kept, strict=True)], kept)

    def head(self, f: Tensor) -> Tensor:
        """Logits from a last feature map; differentiable in `f`, with frozen weights."""
        return self.live.head(f)

    @classmethod
    def load(cls, path, *, teacher, split, augment=None) -> "FeatureBank":
        """Not offered: recording again is faster than keeping so much on disk."""
        raise NotImplementedError("a FeatureBank is kept in memory only: record it again")

    def save(self, path) -> None:
        """Not offered either; a `LogitBank` of the same teacher can be saved."""
        raise NotImplementedError("a FeatureBank is kept in memory only; save its logits with LogitBank.record(...)")
