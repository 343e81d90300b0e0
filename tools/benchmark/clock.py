"""Taking turns, so that a slow moment of the machine slows all of them; what the machine is and could do."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

REPEATS = 5
ROOT = Path(__file__).parent.parent.parent
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine() -> str:
    """Device, threads, versions and date of a measurement."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    return (
        f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{time.strftime('%Y-%m-%d')}"
    )


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each way; they take turns, and work on a GPU is waited for."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            _wait()
            start = time.perf_counter()
            way()
            _wait()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak(dtype: torch.dtype) -> float:
    """Multiply-adds per second of a large matrix product: what the machine can do, as PyTorch uses it."""
    side = 8192 if DEVICE.type == "cuda" else 2048  # what ends sooner than it can be launched measures the launch
    a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
    a @ b
    return side**3 / interleaved({"product": lambda: a @ b})["product"]


def bandwidth(mebibytes: int = 512) -> float:
    """Bytes per second, read and written, of copying a large tensor."""
    a, b = torch.zeros(2, mebibytes << 20, dtype=torch.uint8, device=DEVICE)
    return 2 * a.nbytes / interleaved({"copy": lambda: b.copy_(a)})["copy"]


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
