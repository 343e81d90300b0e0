"""The machine of a run: its device, its memory, its random numbers."""

import ctypes
import random
import sys

import numpy as np
import torch


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


def seed_everything(seed: int) -> None:
    """Python, numpy and torch; data order and augmentation have their own seeds (dataset.Data)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
