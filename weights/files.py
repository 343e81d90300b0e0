"""Weight files on this disk: finding them, checking them, opening them."""

import hashlib
import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
    return _state_dict(opened(path), path)


def opened(path: Path) -> Any:
    """Whatever torch.save wrote into a file that is there, on the CPU; ValueError as `load`."""
    if trouble := _not_a_checkpoint(path) or _too_large_inside(path):
        raise ValueError(f"{path}: {trouble}")
    try:
        with warnings.catch_warnings():
            # torch remarks on what is refused a moment later; the refusal says enough.
            for remark in ("Detected pickle protocol", ".*sparse (tensor )?invariant"):
                warnings.filterwarnings("ignore", message=remark)
            return _read(path)
    except MemoryError:
        raise
    except Exception as error:  # torch raises a dozen kinds for a damaged file, OSError among them
        if isinstance(error, pickle.UnpicklingError) and (refused := re.search(r"GLOBAL (\S+)", str(error))):
            raise ValueError(
                f"{path} holds the Python object {refused[1]}, which could run code, and is not opened; "
                "expected only tensors: save model.state_dict(), not the model"
            ) from error
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is truncated, damaged or no PyTorch checkpoint; get it again "
            f"({type(error).__name__})"
        ) from error


def _read(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors.torch import load_file  # comes with timm

    return load_file(path)


def _state_dict(state: Any, path: Path) -> dict[str, Tensor]:
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise ValueError(
            f"{path} holds {type(state).__name__} {str(state)[:40]}, expected a state dict, name -> tensor"
        )
    strangers = [repr(key) for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strangers:
        raise ValueError(f"{path} is no state dict: {', '.join(strangers[:3])} should be a name with a tensor")
    for key, value in state.items():
        if kind := _unusable(key, value):
            raise ValueError(f"{path}: {key} is {kind} ({str(value.dtype)[6:]}); expected plain floating-point numbers")
    parallel = all(key.startswith("module.") for key in state)
    return {key.removeprefix("module.") if parallel else key: value for key, value in state.items()}


def _unusable(key: str, value: Tensor) -> str:
    """What keeps a tensor from being a weight, "" for nothing. PyTorch would copy most of these without a word."""
    if value.is_meta:
        return "without content, a meta tensor"
    if value.is_nested or value.layout is not torch.strided:
        return "a sparse or nested tensor"
    if value.is_quantized:
        return "quantised"
    if value.is_complex():
        return "complex"
    weight = key.rpartition(".")[2] in ("weight", "bias", "running_mean", "running_var")  # a count is an integer
    if weight and not value.is_floating_point():
        return "of whole numbers"
    bad = int((~value.float().isfinite()).sum()) if value.is_floating_point() else 0
    return f"not finite: {bad} of {value.numel()} values are NaN or infinite" if bad else ""


def _too_large_inside(path: Path) -> str:
    """What a file would unfold to that fills the memory, "" for nothing; seen before anything is loaded.

    PyTorch stores without compression, so what its archives declare is about their own size.
    """
    size, pickled = path.stat().st_size, b""
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(entry.file_size for entry in archive.infolist())
            if declared > 10 * size:
                return f"its {size} bytes declare {declared >> 20} MiB of content: damaged, or made to fill memory"
            pickled = b"".join(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    except Exception:  # no archive, or a damaged one, which loading says
        with path.open("rb") as file:  # the old format: pickles, then numbers
            pickled = file.read(1 << 24)
    # the one thing that loading makes at any size that a pickle names
    return "it asks for a bytearray, which no checkpoint needs" if b"bytearray\n" in pickled else ""


def check(path: Path, source: Source) -> str:
    """What is wrong with a local file of this source, "" for nothing. Without a known hash only its kind is seen."""
    if trouble := _not_a_checkpoint(path):
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


def _not_a_checkpoint(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(512).lstrip()
    if head.startswith(b"<"):
        return "it is a web page (HTML: login, quota or error), not a checkpoint; open its address in a browser"
    return "" if head else "the file is empty"
