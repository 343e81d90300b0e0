"""A run and its record: the device, the seeds, and a file that says what ran, where and with which versions."""

import dataclasses
import json
import os
import platform
import random
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

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


def seed_everything(seed: int) -> None:
    """Python, numpy and torch; data order and augmentation have their own seeds (dataset.Data)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def write_record(path: Path, config: Any, device: torch.device) -> None:
    """config.json: every field of a dataclass `config`, the command, git commit, versions, device, date."""
    record = {
        "config": dataclasses.asdict(config),
        "command": sys.argv,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
    }
    path.write_text(json.dumps(record, indent=2) + "\n")


def run_commands(commands: tuple[str, ...], config: Any) -> None:
    """Run each command with this Python, `{field}` replaced by the field of `config`; stop at the first that fails."""
    fields = dataclasses.asdict(config)
    for command in commands:
        words = [word.format(**fields) for word in command.split()]
        print("$ python", *words, flush=True)
        status = subprocess.run([sys.executable, *words]).returncode
        if status:
            raise RuntimeError(f"`python {' '.join(words)}` failed with exit status {status}; its words are above")


def _git_commit() -> str:
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
