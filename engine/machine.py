"""The machine of a run: its device, its memory, its random numbers."""

import ctypes
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from files.processes import usable_cores


def device(name: str) -> torch.device:
    """The device of a Config; `auto` is CUDA where there is one. ValueError for one that is not there, or is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}; expected auto, cpu, cuda or, of several, cuda:1") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {name!r} but this PyTorch ({torch.__version__}) sees no CUDA device; use cpu or auto"
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {name!r} but the last is cuda:{torch.cuda.device_count() - 1}")
    return found


def memory(device: torch.device) -> int | None:
    """Bytes of a GPU; None of a CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def layout(dims: int, channels_last: bool) -> torch.memory_format:
    """The order in which images, or volumes, lie in memory."""
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def keep_memory() -> None:
    """Have glibc keep freed memory: to return and refault every layer's output costs a tenth of a CPU run."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        never_mmap, trim, ahead = (-4, 0), (-1, 2**31 - 1), (-2, 2**26)  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
        for parameter, value in (never_mmap, trim, ahead):
            mallopt(parameter, value)


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs that have TF32 round to its 10 bits what convolutions and matrix products of float32 read.

    PyTorch lets convolutions; the original's cards had no TF32.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def settle(cfg: Any, where: torch.device, say: Callable = print) -> None:
    """`keep_memory`, and what a Config says: `tf32`, and `threads` on a CPU, with a note if others use their cores.

    PyTorch's threads wait for each other: on cores that others use, two take many times as long as one.
    """
    keep_memory()
    allow_tf32(cfg.tf32)
    threads = cfg.threads
    if where.type != "cpu" or "OMP_NUM_THREADS" in os.environ:
        return
    load, cores = load_and_cores()
    idle = max(1, round(cores - load))
    if threads:
        torch.set_num_threads(idle if threads < 0 else threads)
    now = torch.get_num_threads()
    if threads < 0 and now < cores:
        say(f"{now} of {cores} cores: others keep {load:.1f} busy; OMP_NUM_THREADS={cores} takes all")
    elif now > idle:
        say(f"NOTE: others keep {load:.1f} of {cores} cores busy; OMP_NUM_THREADS={idle} may be many times faster")


def load_and_cores() -> tuple[float, int]:
    """(processes of others that compute just now, or did in the last minute; cores that this one may use)."""
    machines, cores = os.cpu_count() or 1, usable_cores()
    running: list[float] = []
    with suppress(OSError, ValueError, IndexError):  # of Linux, which counts this process too
        for _ in range(5):
            running.append(int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].split("/")[0]) - 1)
            time.sleep(0.005)
    load = statistics.median(running) if running else os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load * cores / machines, cores


def seed_everything(seed: int) -> None:
    """Python, numpy and torch; data order and augmentation have their own seeds (dataset.Data)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
