"""Checkpoint files that are whole or absent, and what a run needs to go on as if it had never stopped."""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine import distributed
from files import whole_file


def save(content: Any, path: str | Path) -> None:
    """torch.save to `path`, atomically: a crash or a full disk leaves the file that was there before, or none.

    Raises OSError saying what could not be written, the room that is left, and what is still intact.
    """
    with whole_file(path) as file:
        torch.save(content, file)


def load(path: str | Path) -> dict[str, Any]:
    """What `save` wrote, on the CPU; opening it cannot run code. FileNotFoundError, or ValueError if it is damaged."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {path} to resume from; check savepath, or start without resume")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise ValueError(f"{path} cannot be read ({type(error).__name__}); it is damaged, or no last.pt") from error


def set_aside(folder: str | Path, names: Sequence[str]) -> None:
    """Rename files of an earlier run that a new one would replace, or be taken for its own, and say so."""
    there = [path for name in names if (path := Path(folder, name)).exists()]
    for path in there:
        os.replace(path, path.with_name(f"{path.stem}-before{path.suffix}"))
    if there:
        listed = ", ".join(path.name for path in there)
        print(f"NOTE: {listed} of an earlier run in {folder} now end in -before; --resume True would have gone on")


def not_finite(state: Any) -> str:
    """The name of the first tensor in nested dicts that holds NaN or infinity, "" for none; waits for the device once.

    The largest magnitude of each tensor tells: unlike a sum it is finite where all values are.
    """
    named = [(name, values) for name, values in _tensors(state) if values.is_floating_point() and values.numel()]
    if not named:
        return ""
    largest = torch.stack([torch.linalg.vector_norm(values.detach(), float("inf")) for _, values in named])
    return next((name for (name, _), fine in zip(named, largest.isfinite().tolist(), strict=True) if not fine), "")


def _tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, dict):
        for key, part in state.items():
            yield from _tensors(part, f"{name}.{key}" if name else str(key))


def require_finite(state: Any, step: int) -> None:
    """FloatingPointError, on every process, if any of them is about to save what no later step can mend."""
    if bad := next(filter(None, distributed.gathered(not_finite(state))), ""):
        raise FloatingPointError(
            f"{bad} is not finite after step {step} (NaN or infinity) although the loss was; "
            "lower `lr`, or set `grad_clip`. Checkpoints so far are intact"
        )


def random_states() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, in types that load under weights_only."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Set the generators to what `random_states` saw; CUDA's only where there are as many devices."""
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def require_same(now: dict[str, Any], then: dict[str, Any], allowed: set[str]) -> None:
    """ValueError naming every setting that differs from the run that is resumed, unless it is allowed to."""
    changed = [
        f"{name} was {then.get(name)!r}, is {now.get(name)!r}"
        for name in sorted(now.keys() | then.keys())
        if now.get(name) != then.get(name) and name not in allowed
    ]
    if changed:
        raise ValueError(
            f"this is not the run that is resumed: {'; '.join(changed)}. Set them back, "
            "or name them in `resume_changed`"
        )
