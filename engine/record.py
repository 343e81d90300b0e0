"""The record of a run: what ran, where and with which versions; and the commands around it."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

import torch

from files import write_file

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "pillow")
# what tells a process that it is one of several
OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def write_record(path: Path, config: Any, device: torch.device, plan: Sequence[str] = ()) -> None:
    """config.json: every field of a dataclass `config`, the command, git commit, versions, device, date.

    Beside it packages.txt: every installed package with its version, as pip freeze writes it; and plan.txt, the lines
    of a plan, if there is one.
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
    known = (found.metadata for found in distributions())  # read once: name and version would each read it again
    installed = sorted({f"{of_one['Name']}=={of_one['Version']}" for of_one in known}, key=str.lower)
    write_file(path.with_name("packages.txt"), "\n".join(installed) + "\n")
    if plan:
        write_file(path.with_name("plan.txt"), "\n".join(plan) + "\n")


def in_words(config: Any) -> str:
    """Every field of a dataclass `config`, in lines for a terminal."""
    return textwrap.fill(", ".join(f"{name}={value!r}" for name, value in dataclasses.asdict(config).items()), 120)


def filled(commands: tuple[str, ...], config: Any) -> list[list[str]]:
    """The words of each command, `{field}` replaced by the field of `config`; ValueError for one that it lacks."""
    fields = dataclasses.asdict(config)
    try:
        return [[word.format(**fields) for word in command.split()] for command in commands]
    except (LookupError, ValueError, AttributeError) as error:
        raise ValueError(
            f"before and after are {commands}: {error} is no field of Config; write {{savepath}}, or {{{{ for a brace"
        ) from error


def run_commands(commands: list[list[str]]) -> None:
    """Run each with this Python, as one process however many run this; ChildProcessError for the first that fails."""
    alone = {name: value for name, value in os.environ.items() if name not in OF_TORCHRUN}
    for words in commands:
        print("$ python", *words, flush=True)
        status = subprocess.run([sys.executable, *words], env=alone).returncode
        if status:
            raise ChildProcessError(f"`python {' '.join(words)}` failed with exit status {status}; its words are above")


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
