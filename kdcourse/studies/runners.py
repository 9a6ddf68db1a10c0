"""Who does the trainings of a study: this process, one after another, or the workers of a Dask cluster.

Either way a training that is done is not done again, one that another runner has claimed is waited for, and one that
failed leaves nothing and stops no other.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence

from kdcourse.studies.base import BUSY, Store, Unit

PAUSE = 2.0  # seconds between looks at what others do
ALONE = threading.Lock()  # what one training draws comes from torch's own generator, which a process has once
Do = Callable[[Unit, Store], dict]


def one(unit: Unit, store: Store, do: Do) -> bool:
    """Do one training, unless it is done, and keep its result; False where another runner has claimed it. Raises what
    `do` raises, and then nothing is kept."""
    if store.read(unit) is not None:
        return True
    with store.claimed(unit) as mine:
        if mine and store.read(unit) is None:  # another may have finished it since
            start = time.perf_counter()
            result = do(unit, store)
            store.write(unit, result, time.perf_counter() - start)
        return mine


def serial(units: Sequence[Unit], store: Store, do: Do, *, tell: Callable[[str], None] = print,
           pause: float = PAUSE) -> dict[str, str]:
    """All trainings one after another, in their order. Returns why some failed, by their names."""
    for unit in units:
        store.read(unit)  # what was trained with other settings is refused before anything is trained
    failed, waiting, known = {}, list(units), {unit.name for unit in units}
    while waiting:
        left = []
        for unit in waiting:
            if unit.teacher is not None and unit.teacher.name in failed:
                failed[unit.name] = f"its teacher failed: {failed[unit.teacher.name]}"
            elif unit.teacher is not None and store.read(unit.teacher) is None:
                if unit.teacher.name in known or store.state(unit.teacher) == BUSY:
                    left.append(unit)
                else:
                    failed[unit.name] = f"its teacher is not trained: run {unit.teacher.name}, too"
            elif not _tried(unit, store, do, failed, tell):
                left.append(unit)
        if left:
            time.sleep(pause if len(left) == len(waiting) else 0)
        waiting = left
    return failed


def _tried(unit: Unit, store: Store, do: Do, failed: dict[str, str], tell) -> bool:
    """False where another runner is at it."""
    try:
        was = store.read(unit) is not None
        if not one(unit, store, do):
            return False
        tell(f"{unit.name}: {'was done' if was else 'done'}")
    except Exception as error:  # one training that fails is no reason to lose the others
        failed[unit.name] = f"{type(error).__name__}: {error}"
        tell(f"{unit.name}: failed, {failed[unit.name]}")
    return True


def cluster(units: Sequence[Unit], store: Store, do: Do, *, workers: int | None = None, scheduler: str | None = None,
            tell: Callable[[str], None] = print, pause: float = PAUSE) -> dict[str, str]:
    """All trainings on `workers` processes of this machine, each with a GPU of its own while there are some, or on the
    cluster whose `scheduler` has this address (tcp://host:8786). Returns why some failed, by their names.

    The training of a worker that is lost is done by another; after three workers lost it counts as failed. Workers on
    other machines must see the folder of the results and the data under the same paths. With `dask_jobqueue` on SLURM:

        cluster = SLURMCluster(cores=4, memory="16GB", walltime="24:00:00", job_extra_directives=["--gres=gpu:1"])
        cluster.scale(jobs=8)   # and then: kdcourse study run NAME --scheduler (cluster.scheduler_address)

    Raises ValueError when `distributed` is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise ValueError("workers need the package distributed; run: pip install 'kdcourse[cluster]'") from error
    import torch

    for unit in units:
        store.read(unit)
    failed, threads = {}, torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        place = scheduler
        if scheduler is None:
            place = stack.enter_context(distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None))
        client = stack.enter_context(distributed.Client(place))
        for ready in _waves(units):
            todo = {}
            for unit in ready:
                if unit.teacher is not None and unit.teacher.name in failed:
                    failed[unit.name] = f"its teacher failed: {failed[unit.teacher.name]}"
                else:
                    todo[client.submit(_on_worker, unit, store, do, threads, pause, pure=False)] = unit
            for future in distributed.as_completed(todo):
                unit, error = todo[future], future.exception()
                if error is not None:
                    failed[unit.name] = f"{type(error).__name__}: {error}"
                elif store.read(unit) is None:
                    error = failed[unit.name] = (f"its worker wrote to a folder that is not this one, {store.folder}: "
                                                 "all must see one under the same path")
                tell(f"{unit.name}: {'done' if error is None else 'failed, ' + failed[unit.name]}")
    return failed


def _waves(units: Sequence[Unit]) -> list[list[Unit]]:
    """The trainings in groups, each of which needs only those before it."""
    def depth(unit: Unit) -> int:
        return 0 if unit.teacher is None else 1 + depth(unit.teacher)

    return [[unit for unit in units if depth(unit) == level] for level in sorted({depth(unit) for unit in units})]


def _on_worker(unit: Unit, store: Store, do: Do, threads: int, pause: float) -> None:
    """On a worker: one training at a time, however many threads the worker has; its own GPU; as many threads of torch
    as the runner has, so that the numbers are the same."""
    import distributed
    import torch

    torch.set_num_threads(threads)
    number = distributed.get_worker().name
    if torch.cuda.is_available() and isinstance(number, int):  # those of a local cluster are numbered
        os.environ.setdefault("KDCOURSE_DEVICE", f"cuda:{number % torch.cuda.device_count()}")
    with ALONE:
        while not one(unit, store, do):
            time.sleep(pause)
