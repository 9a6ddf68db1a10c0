"""What the parts of the sandbox share: limits, what a run brought back, and the error that is no student's fault."""

from dataclasses import dataclass, field

MB = 2**20


class SandboxError(RuntimeError):
    """A run could not begin, or was called off. The message says why."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use. None switches a limit off: the tests do, to see that it is the limit that holds.

    Times are CPU seconds, so that a busy machine costs nobody marks; by the clock a cell and the whole may take
    `patience` times as long, not counting the time in which they had no core; a kernel has `grace` seconds, by the
    clock, to come back from an interrupt. Sizes in bytes. `memory` holds for each process (private data) and for all of
    them together (each page shared by several counted once); `disk` for its writable folder, which lies in memory, and
    `files` for what lies in it; `sockets` for all that are open, since each holds memory of the kernel's; `output` for
    what one cell prints or shows, of which the rest is left out; `result` for everything that is read back, beyond
    which the run is ended.
    """

    cell: float | None = 60
    total: float | None = 300
    patience: float = 4
    grace: float = 10
    memory: int | None = 3072 * MB
    processes: int | None = 192
    disk: int | None = 256 * MB
    files: int | None = 20_000
    sockets: int | None = 512
    output: int | None = 1 * MB
    result: int | None = 64 * MB


@dataclass
class Execution:
    """What a submission did: the outputs of the cells that began, by position, and what its checks recorded, by name.

    `stopped` says in words what ended it early, in the last of these cells, and is empty if nothing did. All of it is
    the student's word.
    """

    outputs: dict[int, list[dict]] = field(default_factory=dict)
    recordings: dict[str, bytes] = field(default_factory=dict)
    stopped: str = ""
