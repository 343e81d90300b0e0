"""Decoded and resized images, kept so that a file is decoded once: in memory shared by all workers, or on disk."""

import hashlib
import io
import mmap
import multiprocessing
import os
import weakref
import zlib
from collections.abc import Callable, Sequence
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import numpy as np

from files.writing import require_writable, write_file


class MemoryCache:
    """Arrays of one shape and float32 in memory that every process of this run sees and fills, however it is started.

    Memory is taken as it is filled; it has no name and is none of /dev/shm, which has 64 MB in a container. Raises
    MemoryError where the machine could never hold all of it. Where the system has no such memory (other than Linux),
    each of `processes` that read keeps a copy of its own: counted, and said.
    """

    def __init__(self, length: int, shape: Sequence[int], processes: int = 1):
        self._length, self._shape = length, tuple(shape)
        mapped = hasattr(os, "memfd_create")
        shared = mapped or multiprocessing.get_start_method(allow_none=True) == "fork"
        # torchrun's processes know nothing of each other's
        copies = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) * (1 if shared else max(1, processes))
        need, have = copies * length * int(np.prod(shape)) * 4, machine_memory()
        many = f" for {copies} processes, a copy each" if copies > 1 else ""
        if have is not None and need > 0.9 * have:
            raise MemoryError(
                f"cache=ram needs {need >> 20} MiB{many} and this machine has {have >> 20}; "
                "give a folder instead, or a smaller size"
            )
        if many:
            print(f"NOTE: cache=ram takes {need >> 20} MiB{many}")
        self._lay_out(os.memfd_create("cached images") if mapped else -1)

    def _lay_out(self, file: int) -> None:
        """Arrays (length, *shape), and which are filled (length,), as views of a nameless file, or own memory (-1)."""
        shape = (self._length, *self._shape)
        size = int(np.prod(shape)) * 4
        whole = size + self._length + 1  # never of no bytes
        if file >= 0:
            os.ftruncate(file, whole)
            weakref.finalize(self, os.close, file)
        memory = mmap.mmap(file, whole)
        self._file, self._arrays = file, np.frombuffer(memory, np.float32, size // 4).reshape(shape)
        self._filled = np.frombuffer(memory, np.uint8, self._length, size)

    def __getstate__(self) -> dict[str, Any]:
        """For a process that is spawned: where the memory is, not what is in it."""
        file = reduction.DupFd(self._file) if self._file >= 0 else None
        return {"_length": self._length, "_shape": self._shape, "_file": file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._length, self._shape, file = state.values()
        self._lay_out(file.detach() if file else -1)

    def get(self, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array at `index`, made the first time. Two processes may both make it: they write the same bytes."""
        if not self._filled[index]:
            self._arrays[index] = make()
            self._filled[index] = 1
        return self._arrays[index]


def machine_memory() -> int | None:
    """Bytes that this process may ever have: of the machine, or of its container; None where the system does not say.

    Windows has no sysconf.
    """
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(path).read_text(encoding="utf-8").strip() if Path(path).is_file() else ""
        limits += [int(text)] if text.isdigit() else []  # or "max"
    return min(limits)


class DiskCache:
    """An .npy file per key in `folder`, whole or absent; runs may share it, and deleting it is always safe."""

    def __init__(self, folder: str | Path, keys: Sequence[str]):
        self.folder = require_writable(folder)
        self._keys = keys

    def get(self, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array at `index`, made and written the first time; a damaged file is made anew."""
        path = self.folder / f"{self._keys[index]}.npy"
        try:
            with open(path, "rb") as file:
                array = np.load(file)
                if file.read() == _sum(array):
                    return array
        except Exception:  # absent; or damaged, which numpy says in a dozen ways
            pass
        array = make()
        buffer = io.BytesIO()  # into a file numpy writes past Python, and says nothing of a full disk
        np.save(buffer, array)
        write_file(path, buffer.getvalue() + _sum(array), lasting=False)
        return array


def _sum(array: np.ndarray) -> bytes:
    """Eight bytes that no flipped bit leaves as they are. Plain sums: a CRC would take longer than reading the file."""
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words = raw[: raw.size // 4 * 4].view(np.uint32)
    layout = zlib.crc32(f"{array.dtype.str} {array.shape}".encode())
    total = int(words.sum(dtype=np.uint64)) + int(raw[words.nbytes :].sum()) + layout
    return (total % 2**64).to_bytes(8, "little")


def file_key(*parts: object, files: Sequence[Path]) -> str:
    """A name for what is made of `files` with the settings `parts`; another one when a file changes."""
    words = [repr(part) for part in parts]
    for path in files:
        status = path.stat()
        words += [str(path.resolve()), str(status.st_size), str(status.st_mtime_ns)]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]
