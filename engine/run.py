"""A run and its record: the device, the seeds, and a file that says what ran, where and with which versions."""

import ctypes
import dataclasses
import json
import multiprocessing
import os
import platform
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from engine.stop import ignore_signals
from files import write_file

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "pillow")


def device(name: str) -> torch.device:
    """The device of a Config; `auto` is CUDA where there is one. ValueError for CUDA that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    found = torch.device(name)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {name!r} but this PyTorch ({torch.__version__}) sees no CUDA device; use cpu or auto"
        )
    return found


def workers(wanted: int) -> int:
    """At most one reading process per core that this process may use; more only get in each other's way."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(wanted, cores)


def start_worker(worker: int) -> None:
    """For processes that read images: only the run decides what a signal means, and one core each is enough."""
    ignore_signals(worker)
    cv2.setNumThreads(0)
    end_with_parent(worker)


def end_with_parent(worker: int) -> None:
    """For processes that read images: end when the run is killed.

    PyTorch's own watch compares the parent's number. Under the start method forkserver, Python 3.14's default, that is
    the server, which in turn lives as long as its children: each would wait for the other for ever.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def ended(iterator: Callable[[], Any]) -> Iterator[None]:
    """On leaving, however that happens, end the workers of a DataLoader's iterator: deaf to signals, they must be told.

    Left to Python's exit they would be sent a SIGTERM and waited for, for ever.
    """
    try:
        yield
    finally:
        if end := getattr(iterator(), "_shutdown_workers", None):
            end()


@contextmanager
def errors_in_one_line(script: str) -> Iterator[None]:
    """Of a mistake in settings or data its message alone, exit status 1; with TRACEBACK=1 in the environment, all."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        if os.environ.get("TRACEBACK"):
            raise
        sys.exit(f"{script}: error: {error} (TRACEBACK=1 shows where)")


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


def write_record(path: Path, config: Any, device: torch.device) -> None:
    """config.json: every field of a dataclass `config`, the command, git commit, versions, device, date.

    Beside it packages.txt: every installed package with its version, as pip freeze writes it.
    """
    record = {
        "config": dataclasses.asdict(config),
        "command": sys.argv,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
    }
    write_file(path, json.dumps(record, indent=2) + "\n")
    installed = sorted({f"{found.name}=={found.version}" for found in distributions()}, key=str.lower)
    write_file(path.with_name("packages.txt"), "\n".join(installed) + "\n")


def run_commands(commands: tuple[str, ...], config: Any) -> None:
    """Run each command with this Python, `{field}` replaced by the field of `config`; stop at the first that fails."""
    fields = dataclasses.asdict(config)
    for command in commands:
        words = [word.format(**fields) for word in command.split()]
        print("$ python", *words, flush=True)
        status = subprocess.run([sys.executable, *words]).returncode
        if status:
            raise RuntimeError(f"`python {' '.join(words)}` failed with exit status {status}; its words are above")


def git_commit() -> str:
    """Of this code, with `-dirty` where files were changed."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown: not a git checkout"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
