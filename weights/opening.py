"""Opening weight files: nothing in them runs code or fills the memory, and what comes out is weights."""

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def opened(path: Path) -> Any:
    """Whatever torch.save wrote into a file that is there, on the CPU; ValueError as `load`."""
    if trouble := not_a_checkpoint(path) or _too_large_inside(path):
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
    if not _is_safetensors(_head(path)):
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors.torch import load_file  # comes with timm

    return load_file(path)


def state_dict(state: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(state, dict) and {"network", "optimiser", "random"} <= state.keys():
        raise ValueError(f"{path} is where a run goes on from (--resume), not a checkpoint; give {_beside(path)}")
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


def _beside(path: Path) -> str:
    """The checkpoint to give in place of a run's last.pt: the newest in its folder."""
    found = {int(number): file for file in path.parent.glob("model-*") if (number := file.name[6:]).isdecimal()}
    if not found:
        return f"a model-<epoch> of that run; {path.parent} has none yet"
    best = " or model-best" if (path.parent / "model-best").exists() else ""
    return f"{found[max(found)]}{best}"


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


def not_a_checkpoint(path: Path) -> str:
    head = _head(path)
    if head.lstrip().startswith(b"<") and not _is_safetensors(head):
        return "it is a web page (HTML: login, quota or error), not a checkpoint; open its address in a browser"
    return "" if head.strip() else "the file is empty"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _is_safetensors(head: bytes) -> bool:
    """Told by its first bytes, the length of a JSON object and that object: files get other names on their way."""
    return head[8:9] == b"{"
