"""Batches read in processes: through shared memory where there is room, and none of them waited for without an end."""

import os
import pickle
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from engine.stop import ignore_signals
from files.processes import end_with_parent, usable_cores

PATIENCE = 600  # seconds; a batch that has not come by then never will: a disk that hangs, a process that is stopped
PREFETCH = 2  # batches that each process reads ahead
SHARED = Path("/dev/shm")  # where Linux has the memory that processes share; a container's is 64 MB unless told


def workers(wanted: int) -> int:
    """At most one reading process per core that this process may use; more only get in each other's way."""
    return min(wanted, usable_cores())


class Loader:
    """`with Loader(...) as loader: for batch in loader: ...`: a DataLoader whose troubles reach the user in one line.

    `for batch in loader.epoch(number)` where a sampler has epochs to `start`.

    collate gives a NamedTuple of tensors and whatever else; batch_bytes is the size of the largest. Where all batches
    on their way would not fit the shared memory that is free, they come through pipes, which is said by `say`. Leaving
    the block ends the processes, which live as long as it. Whatever a process raises is raised here; ChildProcessError
    for one that died or has been silent for PATIENCE seconds.
    """

    def __init__(
        self,
        data: Dataset,
        collate: Callable[[Sequence[Any]], Any],
        wanted: int,
        batch_bytes: int,
        device: torch.device,
        say: Callable[[str], object] = print,
        **batches: Any,
    ):
        """batches: batch_size or batch_sampler, as DataLoader takes them."""
        self._next: tuple[int, int] | None = None  # the epoch, and how many of its batches, that is come to
        if "batch_sampler" in batches:
            batches["batch_sampler"] = self._onward = Onward(batches["batch_sampler"])
        self.count = len(data)  # type: ignore[arg-type] # images, where batches are of their indices
        processes = workers(wanted)
        shared = processes > 0 and enough_shared_memory(processes, batch_bytes, say)
        self._loader = DataLoader(
            Reading(data, collate, shared, processes > 0),
            collate_fn=as_it_is,
            num_workers=processes,
            worker_init_fn=start_worker,
            persistent_workers=processes > 0,
            prefetch_factor=PREFETCH if processes else None,
            pin_memory=device.type == "cuda",
            timeout=PATIENCE if processes else 0,
            generator=torch.Generator(),  # it draws a seed at every start, a resumed run's too: not from the run's own
            **batches,
        )

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """End the processes: deaf to signals, they must be told; left to Python's exit they would be waited for."""
        if end := getattr(self._loader._iterator, "_shutdown_workers", None):
            end()
            for process in self._loader._iterator._workers:  # type: ignore[union-attr]
                process.kill()  # one that is stuck was told in vain
        # PyTorch notices a death whatever the run is doing, not only while it waits for a batch
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader"):
            said = " ".join(str(error).split()).rstrip(".")
            raise ChildProcessError(
                f"{said}. A killed one lacked memory perhaps, a silent one its disk: try fewer --workers, or 0. "
                "What was saved is intact"
            ) from error

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return self._read(iter(self._loader))

    def epoch(self, number: int, done: int = 0) -> Iterator[Any]:
        """The batches of an epoch but its first `done`. Meanwhile those of the next one begin to be read.

        They are then there when it begins; between two the run saves and validates, and no process stands still.
        """
        if self._next != (number, done):
            self._onward.first = (number, done)
            self._going = iter(self._loader)
        self._next = None  # until the last batch is given
        yield from self._read(islice(self._going, self._onward.batches.steps - done))
        self._next = (number + 1, 0)

    def _read(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            if isinstance(batch, Failure):
                raise batch.error from RuntimeError(f"\n{batch.trace}")
            yield unpacked(batch)


class Onward(Sampler):
    """The batches of an epoch and of all that follow it, in one pass: `first` says which, and where in it, it begins.

    batches: one pass is an epoch, of `steps` batches, once it is told which to `start`; there are `epochs`.
    """

    def __init__(self, batches: Any):
        self.batches, self.first = batches, (0, 0)

    def __iter__(self) -> Iterator[Any]:
        first, done = self.first
        for epoch in range(first, self.batches.epochs):
            self.batches.start(epoch, done if epoch == first else 0)
            yield from self.batches


class Failure(NamedTuple):
    """In place of a batch: what reading it raised, and where."""

    error: BaseException
    trace: str


class Reading(Dataset):
    """Whole batches of `data`, ready to be sent; what they raise comes as a Failure."""

    def __init__(self, data: Dataset, collate: Callable[[Sequence[Any]], Any], shared: bool, sent: bool):
        self.data, self.collate, self.shared, self.sent = data, collate, shared, sent

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitems__(self, keys: Sequence[Any]) -> Any:
        if not self.sent:
            return self.collate([self.data[key] for key in keys])
        try:
            return packed(self.collate([self.data[key] for key in keys]), self.shared)
        except Exception as error:
            return Failure(sendable(error), traceback.format_exc())


def as_it_is(batch: Any) -> Any:
    """Collate for batches that are whole."""
    return batch


def packed(batch: Any, shared: bool) -> Any:
    """A batch whose tensors are in shared memory, or are arrays, which travel through a pipe.

    PyTorch would share them only while sending, where a full /dev/shm loses the batch and nobody learns of it.
    """
    if shared:
        with suppress(RuntimeError):  # another program has taken the room since
            return batch._make(x.share_memory_() if isinstance(x, Tensor) else x for x in batch)
    return batch._make(x.numpy() if isinstance(x, Tensor) else x for x in batch)


def unpacked(batch: Any) -> Any:
    """The batch as it was before `packed`."""
    return batch._make(torch.from_numpy(x) if type(x).__module__ == "numpy" else x for x in batch)


def sendable(error: Exception) -> Exception:
    """The error, if it survives the way to another process; else its words."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def enough_shared_memory(processes: int, batch_bytes: int, say: Callable[[str], object]) -> bool:
    """Whether /dev/shm holds all batches on their way, of all of this machine's processes of the run; says if not."""
    if not SHARED.is_dir():
        return True
    there = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # one more is in use, and one waits for the device
    needed, free = there * (processes * PREFETCH + 2) * batch_bytes, shutil.disk_usage(SHARED).free
    if needed > free:
        say(
            f"NOTE: {SHARED} has {free >> 20} MiB free, {processes} workers need up to {-(-needed >> 20)}: batches "
            "come through pipes, slower. docker run --shm-size or --ipc=host gives more"
        )
    return needed <= free


def silent(*_: object, **__: object) -> None:
    """What a process says that is not the one to speak."""


def start_worker(worker: int) -> None:
    """For processes that read images: only the run decides what a signal means, and one core each is enough."""
    ignore_signals(worker)
    cv2.setNumThreads(0)
    end_with_parent()
