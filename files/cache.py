"""Decoded and resized images, kept so that a file is decoded once: in memory shared by all workers, or on disk."""

import hashlib
import io
import mmap
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from files.writing import require_writable, write_file


class MemoryCache:
    """Arrays of one shape and float32 in anonymous shared memory: processes forked later see and fill the same pages.

    Memory is taken as it is filled. Raises MemoryError where the machine could never hold all of it.
    """

    def __init__(self, length: int, shape: Sequence[int]):
        need = length * int(np.prod(shape)) * 4
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if need > 0.9 * have:
            raise MemoryError(
                f"cache=ram needs {need >> 20} MiB and this machine has {have >> 20}; "
                "give a folder instead, or a smaller size"
            )
        self._arrays = np.frombuffer(mmap.mmap(-1, max(need, 1)), np.float32, need // 4).reshape(length, *shape)
        self._filled = np.frombuffer(mmap.mmap(-1, max(length, 1)), np.uint8, length)

    def get(self, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array at `index`, made the first time. Two processes may both make it: they write the same bytes."""
        if not self._filled[index]:
            self._arrays[index] = make()
            self._filled[index] = 1
        return self._arrays[index]


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
