"""`Teacher`, a network that only answers, and `LogitBank`, the same answers recorded.

The two are interchangeable: both are called with a `Batch` and give logits (B, K) in float32. The recording is what
makes distillation as cheap as training the student alone.
"""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcourse.core import Batch, check_output, device_of, fingerprint
from kdcourse.models.base import Answer, check_shows_features


class CutOff(ValueError):
    """A file of recorded answers is not whole."""


class Teacher(nn.Module):
    """A network frozen once, here: in eval mode for ever, without gradients, its answers in float32.

    The network itself is kept, not a copy: its parameters stop requiring gradients. It may be in half precision.
    Raises ValueError for a network whose head was freshly made and never trained (see `models.pretrained`), unless
    `untrained=True` asks for one.
    """

    def __init__(self, network: nn.Module, *, untrained: bool = False):
        super().__init__()
        if not untrained:
            _check_trained(network)
        self.network = network.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in eval mode whatever is asked: a teacher with dropout or moving statistics is another teacher."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, K) about the images of the batch, as the student sees them."""
        return _answer(self.network, batch)

    @torch.no_grad()
    def answer(self, batch: Batch) -> Answer:
        """Logits, features and maps of one forward pass, in float32. Raises TypeError if the network shows none."""
        check_shows_features(self.network)
        z, features, maps = self.network.answer(batch.x.to(_dtype(self.network)))
        return Answer(z.float(), [f.float() for f in features], maps and [m.float() for m in maps])

    def head(self, f: Tensor) -> Tensor:
        """Logits from a last feature map; differentiable in `f`, with frozen weights."""
        return self.network.head(f.to(_dtype(self.network))).float()

    def key(self) -> str:
        return key_of(self)


class LogitBank(nn.Module):
    """A teacher's answers about every image of a split, recorded: 20 bytes an image for ten classes.

    The table has shape (E, N, K): E views of N images. The answer to a batch is `table[epoch % E][index]`. A batch of
    another split, or augmented in another way, is refused: the student would be marked against the answers to other
    pictures. The table is data, not state: it is in no `state_dict`. Half precision moves a logit below 32 by less than
    0.01.
    """

    def __init__(self, table: Tensor, *, origin: str, teacher: str):
        super().__init__()
        if table.ndim != 3 or not table.isfinite().all():
            raise ValueError(
                f"a table of finite logits (views, images, classes) is needed; this one has shape {tuple(table.shape)} "
                f"and {(~table.isfinite()).sum()} entries that are not finite (half precision ends at 65,504)"
            )
        self.table, self.origin, self.teacher = table, origin, teacher

    @classmethod
    @torch.no_grad()
    def record(cls, teacher, split, *, augment=None, dtype=torch.float16, batch_size=500) -> "LogitBank":
        """Ask `teacher` (a `Teacher` or a network) once about every image of `split` and keep its logits.

        With `augment`, which must have a number of views, once about each view. Raises ValueError when it has none.
        A network that is still being trained is not frozen by this; it is put in eval mode and left there.
        """
        network = _network(teacher).eval()
        if network is teacher:
            _check_trained(network)
        [table] = recorded(network, split, lambda batch: [_answer(network, batch)], augment, dtype, batch_size)
        return cls(table, origin=split.origin(augment), teacher=key_of(network))

    @classmethod
    def load(cls, path, *, teacher, split, augment=None) -> "LogitBank":
        """The recording at `path`. Raises ValueError, saying what differs, if it is of another teacher or images, and
        `CutOff`, which is one, if the file is not whole."""
        try:
            with safe_open(path, framework="pt") as file:
                table, made = file.get_tensor("table"), file.metadata()
            bank = cls(table, origin=made["origin"], teacher=made["teacher"])
            if made["table"] != fingerprint(table):
                raise KeyError("its numbers have changed")
        except (SafetensorError, TypeError, KeyError) as error:
            raise CutOff(f"{path} is no recording, or was cut off ({error}); delete it and record again") from error
        bank.check(teacher, split.origin(augment))
        return bank

    def save(self, path) -> None:
        """Write the recording to `path` (safetensors), whole or not at all."""
        table, part = self.table.cpu().contiguous(), Path(f"{path}.{os.getpid()}.part")
        made = {"origin": self.origin, "teacher": self.teacher, "table": fingerprint(table)}
        save_file({"table": table}, part, made)
        part.replace(path)

    def check(self, teacher, origin: str) -> None:
        """Raise ValueError unless this is what `teacher` said about the images of `origin`."""
        key = key_of(teacher)
        if key != self.teacher:
            raise ValueError(f"this bank recorded another teacher (weights {self.teacher}, not {key}); record it again")
        self._check_origin(origin)

    def forward(self, batch: Batch) -> Tensor:
        """The recorded logits (B, K) about the images of the batch, in float32."""
        self._check_origin(batch.origin)
        if self.table.device != batch.index.device:
            self.table = self.table.to(batch.index.device)
        return self.table[batch.epoch % len(self.table)][batch.index].float()

    def _check_origin(self, origin: str) -> None:
        if origin != self.origin:
            raise ValueError(
                f"this bank holds answers about [{self.origin}] and was asked about [{origin or 'unknown images'}]: "
                "the student would be marked against the answers to other pictures. Record a bank with "
                "LogitBank.record(teacher, split, augment=...) for exactly these images, or pass the network itself"
            )


def recorded(network, split, ask, augment, dtype, batch_size) -> list[Tensor]:
    """What `ask(batch)`, a list of tensors (B, ...), says about every image and view of `split`: (E, N, ...) each."""
    if augment is not None and augment.views is None:
        raise ValueError("endless views cannot be recorded; give the augmentation a number: Augment(views=4)")
    split, views = split.to(device_of(network)), []
    for view in range(1 if augment is None else augment.views):
        batches = split.batches(batch_size, epoch=view, augment=augment)
        parts = [[answer.to(dtype) for answer in ask(batch)] for batch in batches]
        views.append([torch.cat(answers) for answers in zip(*parts, strict=True)])
    return [torch.stack(tables) for tables in zip(*views, strict=True)]


def as_teacher(teacher: nn.Module, *, apart_from: nn.Module | None = None) -> nn.Module:
    """`teacher` itself if it answers batches (a `Teacher`, a `LogitBank`), else the network frozen as a `Teacher`.
    Raises TypeError for anything else, and ValueError if it shares a parameter with `apart_from`, the student."""
    check_apart(teacher, apart_from)
    return teacher if isinstance(teacher, Teacher | LogitBank) else Teacher(teacher)


def check_apart(teacher: nn.Module, student: nn.Module | None) -> None:
    """Raise TypeError unless `teacher` is a module, ValueError if it shares a parameter with `student`."""
    if not isinstance(teacher, nn.Module):
        raise TypeError(f"a teacher is a network, a Teacher or a LogitBank, not a {type(teacher).__name__}")
    students = {id(parameter) for parameter in student.parameters()} if student is not None else set()
    if any(id(parameter) in students for parameter in teacher.parameters()):
        raise ValueError(
            "student and teacher share parameters: they are the same network, or one contains the other. "
            "Freezing the teacher would freeze the student; build two networks"
        )


def _network(teacher: nn.Module) -> nn.Module:
    if isinstance(teacher, LogitBank) or not isinstance(teacher, nn.Module):
        raise TypeError(f"only a network or a Teacher can be asked about images, not a {type(teacher).__name__}")
    return teacher.network if isinstance(teacher, Teacher) else teacher


def _answer(network: nn.Module, batch: Batch) -> Tensor:
    """Logits in float32, whatever precision the network is kept in."""
    return check_output(network(batch.x.to(_dtype(network))), network).float()


def _check_trained(network: nn.Module) -> None:
    fresh = network.fresh_head() if hasattr(network, "fresh_head") else []
    if fresh:
        raise ValueError(
            f"{getattr(network, 'name', type(network).__name__)} cannot teach yet: its head ({', '.join(fresh)}) was "
            "freshly made and never trained, so its answers are noise. Fine-tune it first, "
            "train.fit(distillers.Supervised(network), ...), or ask for it: Teacher(network, untrained=True)"
        )


def _dtype(network: nn.Module) -> torch.dtype:
    return next((parameter.dtype for parameter in network.parameters()), torch.float32)


def key_of(teacher: nn.Module) -> str:
    """A fingerprint of the weights, statistics and size of a network or a `Teacher`: recordings are kept under it."""
    network = _network(teacher)
    weights, size = fingerprint(*network.parameters(), *network.buffers()), getattr(network, "size", None)
    return weights if size is None else f"{weights} at {size}"
