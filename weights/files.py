"""Weight files on this disk: finding them and checking them."""

import hashlib
import os
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from weights.opening import not_a_checkpoint, opened, state_dict
from weights.table import WEIGHTS, Source, Weight, known


def locate(name: str, folder: str | Path | None = None) -> Path:
    """The local file of known weights, hash checked (so it is read once in full). Never touches the network.

    Looked for in folder only; without one in MSNET_WEIGHTS or else weights/, then in torch hub's checkpoint folder.
    FileNotFoundError: it is nowhere. ValueError: unknown name, or what is there is truncated, a web page, another file.
    """
    weight, home = known(name), home_of(folder)
    hub = None if folder else Path(torch.hub.get_dir()) / "checkpoints"
    damaged = []
    for source in weight.sources:
        path = home / source.file
        # A file without a published hash carries a name of ours, which torch hub never uses.
        if hub and source.sha256 and not path.is_file():
            path = hub / source.file
        if not path.is_file():
            continue
        if trouble := check(path, source):
            damaged.append(f"{path}: {trouble}")
            continue
        if not expected_sha256(path, source):
            print(f"{path}: hash unknown, not checked; `python -m weights {name}` records one", file=sys.stderr)
        return path
    if damaged:
        raise ValueError("\n  ".join([f"weights {name!r} are damaged", *damaged]) + how_to_get(weight, home))
    looked = str(home) + ("" if home.is_dir() else " (no such folder)") + (f" nor in {hub}" if hub else "")
    raise FileNotFoundError(f"weights {name!r} are not in {looked}" + how_to_get(weight, home))


def load(name_or_path: str | Path) -> dict[str, Tensor]:
    """State dict of known weights, or of any checkpoint file, on the CPU; opening it cannot run code.

    {"state_dict": ...} and {"model": ...} are unwrapped; a `module.` before every key (DataParallel) is taken off.
    FileNotFoundError: no such file. ValueError: damaged, or no state dict. The keys are for the caller to check.
    """
    named = isinstance(name_or_path, str) and name_or_path in WEIGHTS
    path = locate(str(name_or_path)) if named else Path(name_or_path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the checkpoint file in it, such as {path / 'model-50'}")
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint file {path} (known weights: {', '.join(WEIGHTS)})")
    return state_dict(opened(path), path)


def check(path: Path, source: Source) -> str:
    """What is wrong with a local file of this source, "" for nothing. Without a known hash only its kind is seen."""
    if trouble := not_a_checkpoint(path):
        return trouble
    try:
        size, expected = path.stat().st_size, expected_sha256(path, source)
    except ValueError as error:
        return str(error)
    if source.size and size != source.size:
        return f"found {size} bytes, expected {source.size}"
    if expected and not (found := sha256(path)).startswith(expected):
        return f"found sha256 {found} ({size} bytes), expected {expected}"
    return ""


def expected_sha256(path: Path, source: Source) -> str:
    """The published hash, else the one recorded when the file was downloaded, else ""; ValueError for a torn record."""
    record = record_of(path)
    if source.sha256 or not record.is_file():
        return source.sha256
    digest = (record.read_text(encoding="utf-8", errors="replace").split() or [""])[0]
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{record} should hold a sha256, 64 hexadecimal digits, and holds {digest[:40]!r}; remove it")
    return digest


def record_of(path: Path) -> Path:
    """Where the hash of a file without a published one is kept, in the format of `sha256sum -c`."""
    return path.with_name(path.name + ".sha256")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def home_of(folder: str | Path | None) -> Path:
    """Where weights live: the folder given, else the one MSNET_WEIGHTS names, else weights/."""
    return Path(folder or os.environ.get("MSNET_WEIGHTS") or Path(__file__).parent)


def how_to_get(weight: Weight, home: Path) -> str:
    """The end of every error about missing weights: files, hashes, addresses, and what to do."""
    lines = [f"  {source.file}, sha256 {source.sha256 or 'unknown'}, from {source.url}" for source in weight.sources]
    fix = f"  fix: `python -m weights {weight.name}`, or copy {'one of them' if len(lines) > 1 else 'it'} into {home}"
    return "\n" + "\n".join([*lines, fix + ", or set MSNET_WEIGHTS to the folder that has it"])
