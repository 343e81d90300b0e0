"""A run and its record: the device, the seeds, and a file that says what ran, where and with which versions."""

import ctypes
import dataclasses
import json
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
