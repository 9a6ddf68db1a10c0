"""`Teacher`, a network that only answers, and `LogitBank`, the same answers recorded.

The two are interchangeable: both are called with a `Batch` and give logits (B, K) in float32. The recording is what
makes distillation as cheap as training the student alone.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kdcourse import files, profiles
from kdcourse.asking import answers
from kdcourse.core import Batch, asked, device_of, dtype_of, fingerprint, inside
from kdcourse.models.base import Answer, check_classes, check_shows_features, evaluating
from kdcourse.models.wrap import Wrapped

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # in which logits can be recorded
FEW = 8  # images that are looked at before anything is trained or recorded
SAME = 0.02  # of the largest logit: two answers are one, whatever the device and the precision
DRAWS = ("when asked twice", "it draws random numbers, as F.dropout(x) does even in eval mode: write nn.Dropout, or "
         "F.dropout(x, training=self.training)")
MIXES = ("when other images stand beside them", "it looks at the whole batch, as batch normalisation without moving "
         "statistics does: leave track_running_stats=True, or use nn.GroupNorm or nn.LayerNorm")


class CutOff(ValueError):
    """A file of recorded answers is not whole."""


class Outdated(ValueError):
    """A file holds other answers than the network gives now, whose weights and layers are those that were recorded."""


class Teacher(nn.Module):
    """A network frozen once, here: in eval mode for ever, without gradients, its answers in float32.

    The network itself is kept, not a copy: its parameters stop requiring gradients. It may be in half or in double
    precision; of `nn.DataParallel` the network within is taken. What it answers is looked at where there are images:
    see `check_answers`. Raises ValueError for a network whose head was freshly made and never trained (see
    `models.pretrained`), unless `untrained=True` asks for one.
    """

    def __init__(self, network: nn.Module, *, untrained: bool = False):
        super().__init__()
        if not untrained:
            _check_trained(network)
        self.network = inside(network).requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in eval mode whatever is asked: a teacher with dropout or moving statistics is another teacher."""
        return super().train(False)

    def _still(self) -> nn.Module:
        """The network in eval mode, also where somebody who has it as well called its `train()` meanwhile."""
        if any(module.training for module in self.network.modules()):
            self.network.train(False)
        return self.network

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, K) about the images of the batch, as the student sees them."""
        return asked(self._still(), batch.x)

    @torch.no_grad()
    def answer(self, batch: Batch) -> Answer:
        """Logits, features and maps of one forward pass, in float32. Raises TypeError if the network shows none."""
        check_shows_features(self.network)
        z, features, maps = self._still().answer(batch.x.to(dtype_of(self.network)))
        return Answer(z.float(), [f.float() for f in features], maps and [m.float() for m in maps])

    def head(self, f: Tensor) -> Tensor:
        """Logits from a last feature map; differentiable in `f`, with frozen weights."""
        return self._still().head(f.to(dtype_of(self.network))).float()

    def key(self) -> str:
        return key_of(self)


class LogitBank(nn.Module):
    """A teacher's answers about every image of a split, recorded: 20 bytes an image for ten classes.

    The table has shape (E, N, K): E views of N images. The answer to a batch is `table[epoch % E][index]`. A batch of
    another split, or augmented in another way, is refused: the student would be marked against the answers to other
    pictures. The table is data, not state: it is in no `state_dict`. Half precision moves a logit below 32 by less than
    0.01.

    Raises TypeError unless the table is a tensor of floats, ValueError unless it has that shape and holds finite
    logits.
    """

    def __init__(self, table: Tensor, *, origin: str, teacher: str):
        super().__init__()
        _check_table(table)
        self.table, self.origin, self.teacher = table, origin, teacher
        self._near: dict[tuple, Tensor] = {}    # the view that was asked for last, where it is asked

    @classmethod
    @torch.no_grad()
    def record(cls, teacher, split, *, augment=None, dtype=torch.float16, batch_size=None) -> "LogitBank":
        """Ask `teacher` (a `Teacher` or a network) once about every image of `split` and keep its logits.

        With `augment`, which must have a number of views, once about each view. Raises ValueError when it has none,
        and for a teacher that cannot be recorded, see `check_answers`: before the long work where a few images show it.
        A network that is still being trained is not frozen by this; it is put in eval mode and left there.
        """
        views = _views_of(teacher, split, augment, dtype, batch_size)
        return cls(torch.stack(list(views)), origin=split.origin(augment), teacher=key_of(teacher))

    @classmethod
    def cached(cls, teacher, split, *, augment=None, dtype=torch.float16, folder=None) -> "LogitBank":
        """`record(teacher, split, ...)` from disk; recorded and saved if it is not there, or was cut off.

        It lies in `folder` (by default `recordings` in the data folder) under a name made of the teacher's weights,
        statistics and size, the images, the augmentation and the type: whatever changes one of them makes another
        file. Several views are written one after another as they are recorded, and what is read is mapped into memory:
        a view for each epoch of a long training takes room on the disk alone. A folder that cannot be read or written
        (full, read-only, another user's, a file) costs a recording each time and nothing else. What no weight shows (a
        number that the network keeps, another `forward`) is found by asking about a few images again; then all are
        recorded anew. Raises as `record` does, and ValueError for a file of this name whose content belongs to another
        teacher or other images.
        """
        made_of = f"{key_of(teacher)} {split.origin(augment)} {dtype}"
        called = re.sub(r"[^\w.-]", "-", split.name)[:100]  # which every file system takes
        name = f"{called}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.safetensors"
        path = (Path(folder).expanduser() if folder else files.folder() / "recordings") / name
        with contextlib.suppress(OSError, CutOff, Outdated):
            return cls.load(path, teacher=teacher, split=split, augment=augment)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        if augment is not None:
            with contextlib.suppress(OSError):
                views = _views_of(teacher, split, augment, dtype)
                _write(path, views, augment.views, origin=split.origin(augment), teacher=key_of(teacher))
                return cls.load(path, teacher=teacher, split=split, augment=augment)
        bank = cls.record(teacher, split, augment=augment, dtype=dtype)
        with contextlib.suppress(OSError):
            bank.save(path)
        return bank

    @classmethod
    def load(cls, path, *, teacher, split, augment=None) -> "LogitBank":
        """The recording at `path`. Raises ValueError, saying what differs, if it is of another teacher or images;
        `CutOff`, which is one, if the file is not whole; and `Outdated`, one too, if the teacher now answers otherwise
        about a few of the images."""
        try:
            with safe_open(path, framework="pt") as file:
                table, made = file.get_tensor("table"), file.metadata()
            bank = cls(table, origin=made["origin"], teacher=made["teacher"])
            if made["table"] != fingerprint(table):
                raise KeyError("its numbers have changed")
        except (SafetensorError, TypeError, KeyError) as error:
            raise CutOff(f"{path} is no recording, or was cut off ({error}); delete it and record again") from error
        bank.check(teacher, split.origin(augment))
        bank.check_live(teacher, split, augment)
        return bank

    def save(self, path) -> None:
        """Write the recording to `path` (safetensors), whole or not at all. Raises OSError if it cannot be written."""
        table, part = self.table.cpu().contiguous(), Path(f"{path}.{uuid4().hex[:8]}.part")
        made = {"origin": self.origin, "teacher": self.teacher, "table": fingerprint(table)}
        try:
            save_file({"table": table}, part, made)
            part.replace(path)
        except SafetensorError as error:  # which is no OSError, whatever the disk said
            raise OSError(f"cannot write {path}: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def check(self, teacher, origin: str) -> None:
        """Raise ValueError unless this is what `teacher` said about the images of `origin`."""
        key = key_of(teacher)
        if key != self.teacher:
            raise ValueError(f"this bank recorded another teacher (weights {self.teacher}, not {key}); record it again")
        self._check_origin(origin)

    @torch.no_grad()
    def check_live(self, teacher, split, augment=None) -> None:
        """Raise `Outdated` unless `teacher` says today what is recorded here, about a few images of the first view."""
        network, batch = _network(teacher), next(split.batches(FEW, seed=0, augment=augment))
        device = device_of(network)
        with evaluating(network), profiles.answering(device):
            z = asked(network, batch.x.to(device)).cpu()
        rows = self.table[0][batch.index.to(self.table.device)].float().cpu()
        if off := _apart(z, rows):
            raise Outdated(
                f"{type(network).__name__} now answers otherwise than was recorded, with the same weights and layers: "
                f"the logits of {len(z)} images differ by up to {off:.2g}, and the largest is {z.abs().max():.2g}. A "
                "number that it keeps or its forward has changed since: record it again, LogitBank.record(teacher, "
                "split)"
            )

    def forward(self, batch: Batch) -> Tensor:
        """The recorded logits (B, K) about the images of the batch, in float32."""
        self._check_origin(batch.origin)
        view, device = batch.epoch % len(self.table), batch.index.device
        if self.table.device == device:
            return self.table[view][batch.index].float()
        if (view, device) not in self._near:
            self._near = {(view, device): self.table[view].to(device)}
        return self._near[view, device][batch.index].float()

    def check_rows(self, split) -> None:
        """Raise ValueError if this bank is about `split` and has not exactly one answer for each of its images."""
        if self.origin.startswith(split.key) and self.table.shape[1] != len(split):
            raise ValueError(f"this bank holds answers about {self.table.shape[1]} images, and {split.name} has "
                             f"{len(split)}: record it again, LogitBank.record(teacher, split)")

    def check_asked(self, origin: str, epochs: int) -> None:
        """Raise ValueError if it cannot answer about the images of `origin`, for so many epochs."""
        self._check_origin(origin)

    def _check_origin(self, origin: str) -> None:
        if origin != self.origin:
            raise ValueError(
                f"this bank holds answers about [{self.origin}] and was asked about [{origin or 'unknown images'}]: "
                "the student would be marked against the answers to other pictures. Record a bank with "
                "LogitBank.record(teacher, split, augment=...) for exactly these images, or pass the network itself"
            )


def recorded(network, split, ask, augment, dtype, batch_size=None) -> Iterator[list[Tensor]]:
    """What `ask(batch)`, a list of tensors (B, ...), says about every image of `split`, view by view: (N, ...) each."""
    if dtype not in DTYPES:
        names = ", ".join(map(str, DTYPES))
        raise ValueError(f"logits are recorded in one of: {names}; not in {dtype!r}, which would cut them off")
    if augment is not None:
        check_views(augment, split)
    split, inner = split.to(device_of(network)), _network(network)
    look(inner, split, "the teacher", augment, steady=True)

    def each() -> Iterator[list[Tensor]]:
        for view in range(1 if augment is None else augment.views):
            with torch.no_grad():
                yield answers(inner, split, lambda batch: [answer.to(dtype) for answer in ask(batch)], epoch=view,
                              augment=augment, batch_size=batch_size)

    return each()


def check_views(augment, split) -> None:
    """Raise ValueError unless the views of an augmentation can be recorded: there is a number of them, and a view is
    the same each time it is made."""
    views = getattr(augment, "views", 0)
    if views is None:
        raise ValueError("endless views cannot be recorded; give the augmentation a number: Augment(views=4)")
    if not views:
        raise ValueError("an augmentation says how many views it has, after which they repeat: augment.views = 4. One "
                         "that changes every image in one way has one: augment.views = 1")
    first, again = (next(split.batches(FEW, augment=augment)).x for _ in range(2))
    if not torch.equal(first, again):
        raise ValueError("the augmentation makes another view each time it is called, so that the student would see "
                         "other pictures than were recorded: let it draw from the rows and the epoch that it is given, "
                         "as data.Augment does, or ask the teacher itself")


def _views_of(teacher, split, augment, dtype, batch_size=None) -> Iterator[Tensor]:
    """The logits (N, K) of each view. Raises as `LogitBank.record` does, before any but a few images are looked at."""
    network = _network(teacher).eval()
    check_classes(network, split.classes)
    if not isinstance(teacher, Teacher):
        _check_trained(network)
    return (z for [z] in recorded(network, split, lambda batch: [asked(network, batch.x)], augment, dtype, batch_size))


def _write(path: Path, views: Iterable[Tensor], count: int, *, origin: str, teacher: str) -> None:
    """Views (N, K) into one safetensors file with a table (count, N, K), one after another, whole or not at all.

    The library writes a tensor that is in memory as a whole; a table of many views need not be. The format is a length
    of eight bytes, a header in JSON, filled up with spaces, and the numbers."""
    part = Path(f"{path}.{uuid4().hex[:8]}.part")
    try:
        with open(part, "wb") as file:
            for number, view in enumerate(views):
                view = view.cpu().contiguous()
                if number == 0:
                    shape = (count, *view.shape)
                    digest, room = hashlib.sha256(f"{view.dtype}{shape}".encode()), 8 + len(_header(view, shape, {
                        "origin": origin, "teacher": teacher, "table": 12 * "0"}))
                    file.seek(room)
                _check_table(view[None])
                numbers = view.reshape(-1).view(torch.uint8).numpy().data
                digest.update(numbers)
                file.write(numbers)
            made = {"origin": origin, "teacher": teacher, "table": digest.hexdigest()[:12]}
            header = _header(view, shape, made)
            file.seek(0)
            file.write(len(header).to_bytes(8, "little") + header)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _header(view: Tensor, shape: tuple, made: dict) -> bytes:
    size = shape[0] * view.nbytes
    kind = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}[view.dtype]
    about = {"__metadata__": made, "table": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
    header = json.dumps(about, ensure_ascii=False).encode()
    return header + b" " * (-len(header) % 8)


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


def check_answers(z: Tensor, who: str) -> None:
    """Raise ValueError when what `who` answered, (B, K), cannot be learned from: NaN, infinity, or probabilities.

    Softened once more, probabilities teach a student to be unsure. A logit of minus infinity is a class that is ruled
    out, unless all of an image's are.
    """
    broken = z.isnan().any(dim=1) | (z == torch.inf).any(dim=1) | (z == -torch.inf).all(dim=1)
    if broken.any():
        row = int(broken.nonzero()[0])
        values = ", ".join(f"{value:g}" for value in z[row, :4].tolist())
        raise ValueError(
            f"{who} answers with numbers that are not finite, about {int(broken.sum())} of {len(z)} images, first "
            f"about number {row}: [{values}, ...]. The fault is in its weights or its precision (half precision ends "
            "at 65,504), not in how the student is trained: no learning rate mends it"
        )
    what = _of_probability(z)
    if what:
        raise ValueError(
            f"{who} answers with {what}, and logits are needed: the softmax that it ends in would be taken twice, "
            "which teaches a student to be unsure. Take what it gives before that last layer; where there are only "
            "probabilities, their logarithms are logits: teachers.FromProbabilities(network)"
        )


@torch.no_grad()
def look(network: nn.Module, split, who: str, augment=None, *, steady: bool = False) -> Tensor:
    """The logits of `network` about a few images of `split`, in eval mode; every mode stays.

    The door through which whatever becomes a teacher or a student passes, before anything is trained or recorded.
    Raises ValueError when it cannot take these images, naming both shapes, or as `check_answers`, and where it is to
    be `steady`, as `check_steady`; TypeError when what it returns are no logits.
    """
    batch = next(split.to(device_of(network)).batches(FEW, augment=augment))
    with evaluating(network):
        few = asked(network, batch.x[:2])  # whether it fits, which two images tell
        z = asked(network, batch.x)
        check_answers(z, who)
        if steady:
            check_steady(few, asked(network, batch.x[:2]), z[:2], who)
    return z


def check_steady(few: Tensor, again: Tensor, among: Tensor, who: str) -> None:
    """Raise ValueError when two answers of `who` about the same images, (B, K), differ, or that `among` other images
    does: a recording would hold one of many answers."""
    for other, near, (when, cause) in ((again, SAME / 4, DRAWS), (among, SAME, MIXES)):
        if off := _apart(few, other, near):
            raise ValueError(
                f"{who} answers otherwise {when}, about the same images and in eval mode: its logits differ by up to "
                f"{off:.2g}, and the largest is {few.abs().max():.2g}. Perhaps {cause}"
            )


def _apart(z: Tensor, other: Tensor, near: float = SAME) -> float:
    """How far logits (B, K) of the same images are apart; 0 if no farther than `near` times the largest."""
    both = z.isfinite() & other.isfinite()
    off, largest = (torch.where(both, part, 0).abs().max().item() for part in (z - other, z))
    return off if off > near * max(largest, SAME) else 0.0


@torch.no_grad()
def check_student(network: nn.Module, split) -> Tensor:
    """The logits of a student about a few images, as `look` gives them. Raises ValueError also for one in another
    precision than its images. One without weights to train is only asked."""
    x = split.x[:2].to(device_of(network)).float() / 255
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return asked(network, x)
    z = look(network, split, "the student")
    try:
        with evaluating(network):
            network(x)
    except RuntimeError as error:
        if dtype_of(network) == torch.float32:
            raise
        raise ValueError(
            f"the student is kept in {dtype_of(network)}, and is trained on images in float32: call student.float(). "
            "To train in half precision, set KDCOURSE_PRECISION=bfloat16 and leave the student in float32"
        ) from error
    return z


def check_teachers(distiller: nn.Module, split) -> None:
    """Raise ValueError when a teacher in `distiller`, or a network that learns beside the student, says nothing that
    can be learned from, see `look`, or when a bank holds another number of images than `split`."""
    for module in distiller.modules():
        if isinstance(module, LogitBank):
            module.check_rows(split)
        elif isinstance(module, Teacher):
            look(module.network, split, "the teacher", steady=True)
    learners = getattr(distiller, "learners", None)
    beside = [getattr(learners, "student", None), *(getattr(one, "second", None) for one in (learners, distiller)),
              getattr(distiller, "peer", None)]
    for network in beside:
        if isinstance(network, nn.Module):
            look(network, split, "a network that learns beside the student")


@torch.no_grad()
def culprit(distiller: nn.Module, batch: Batch) -> str:
    """What is wrong with a teacher's answers about this batch, in words; empty if they can be learned from."""
    for module in distiller.modules():
        if isinstance(module, Teacher | LogitBank):
            try:
                check_answers(module(batch), "the teacher")
            except ValueError as error:
                return str(error)
    return ""


class FromProbabilities(nn.Module):
    """A network that answers with probabilities as one that answers with logits, which are their logarithms: images
    (B, C, H, W) to (B, K). Raises ValueError for rows that are no probabilities."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        p = asked(self.network, x)
        if not _sums_to(p, 1):
            raise ValueError(f"{type(self.network).__name__} answers with no probabilities: rows that sum to 1, of "
                             f"numbers from 0, are needed, and the first is {p[0].tolist()}")
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def _of_probability(z: Tensor) -> str:
    """What logits (..., K) seem to be instead, in words; empty if they seem to be logits."""
    if z.shape[-1] < 2 or (z < 0).any():
        return ""
    for unit, what in ((1, "probabilities (rows of numbers from 0 that sum to 1)"), (100, "probabilities in percent")):
        if _sums_to(z, unit):
            return what
    at_an_end = ((z < 0.02) | (z > 0.98)).float().mean()
    apart = z.max() <= 1 and z.max() > 0.5 and at_an_end > 0.5
    return "probabilities (numbers from 0 to 1, most of them near an end, as of a sigmoid)" if apart else ""


def _sums_to(z: Tensor, unit: float) -> bool:
    """Whether every row is of numbers from 0 that sum to `unit`, up to what half precision rounds."""
    return bool((z >= 0).all() and ((z.sum(dim=-1, dtype=torch.float32) / unit - 1).abs() < 5e-3).all())


def _check_table(table: Tensor) -> None:
    if not isinstance(table, Tensor) or table.dtype not in DTYPES:
        what = f"{table.dtype}" if isinstance(table, Tensor) else f"a {type(table).__name__}"
        raise TypeError(f"a table of logits is a tensor of floats, not {what}; see LogitBank.record")
    # a view at a time: the table may be mapped, and larger than the memory
    broken = sum(int((~view.isfinite()).sum()) for view in table) if table.ndim else 0
    if table.ndim != 3 or not table.numel() or broken:
        raise ValueError(
            f"a table of finite logits (views, images, classes) is needed; this one has shape {tuple(table.shape)} "
            f"and {broken} entries that are not finite (half precision ends at 65,504)"
        )
    kinds = {_of_probability(view) for view in table}
    if "" not in kinds:
        what = min(kinds)
        raise ValueError(f"this table of shape {tuple(table.shape)} holds {what}, and logits are needed: give their "
                         "logarithm, table.clamp_min(1e-12).log()")


def _network(teacher: nn.Module) -> nn.Module:
    if isinstance(teacher, LogitBank) or not isinstance(teacher, nn.Module):
        raise TypeError(f"only a network or a Teacher can be asked about images, not a {type(teacher).__name__}")
    if hasattr(teacher, "deployable"):
        raise TypeError(f"a {type(teacher).__name__} is a distiller, which turns a batch into a loss: ask its network, "
                        "distiller.deployable()")
    return teacher.network if isinstance(teacher, Teacher) else inside(teacher)


def _check_trained(network: nn.Module) -> None:
    """Raise ValueError if the head of the network, or of one within it, is fresh: no wrapper hides it."""
    heads = [module for module in network.modules() if hasattr(type(module), "fresh_head")]
    fresh, named = [name for head in heads for name in head.fresh_head()], (heads or [network])[0]
    if fresh:
        raise ValueError(
            f"{getattr(named, 'name', type(named).__name__)} cannot teach yet: its head ({', '.join(fresh)}) was "
            "freshly made and never trained, so its answers are noise. Fine-tune it first, "
            "train.fit(distillers.Supervised(network), ...), or ask for it: Teacher(network, untrained=True)"
        )


def key_of(teacher: nn.Module) -> str:
    """A fingerprint of the weights, statistics, layers and size of a network or a `Teacher`: recordings are kept under
    it. Two networks with the same weights and other layers, say with a softmax at the end, answer differently."""
    network = _network(teacher)
    network = getattr(network, "_orig_mod", network)  # as torch.compile found it
    packed = [part.dequantize() for value in network.state_dict().values() if isinstance(value, tuple)
              for part in value if isinstance(part, Tensor)]  # the weights of quantised layers are neither
    layers = " ".join(type(module).__qualname__ for module in network.modules())
    weights = fingerprint(*network.parameters(), *network.buffers(), *packed)
    sizes = [module.size for module in network.modules() if isinstance(module, Wrapped) and module.size is not None]
    shape = hashlib.sha256(f"{layers} {sizes}".encode()).hexdigest()[:4]
    return f"{weights}-{shape}" + (f" at {sizes[0]}" if sizes else "")
