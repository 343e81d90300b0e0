"""Checkpoint files that are whole or absent, and what a run needs to go on as if it had never stopped."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine import distributed
from files import whole_file

# what a run leaves in its folder; what belongs together stays together
LEFT = ("last.pt", "log.csv", "config.json", "packages.txt", "split.json", "tensorboard", "model-*")
HALF = "before.part"  # where an earlier run is while it is being set aside


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


def set_aside(folder: str | Path) -> None:
    """Move all that an earlier run left into a folder of its own, before-1, before-2, ..., and say so."""
    folder = Path(folder)
    put_back(folder)
    there = _of_a_run(folder)
    if not there:
        return
    half = folder / HALF
    half.mkdir(exist_ok=True)
    for path in there:
        os.replace(path, half / path.name)
    kept = half.rename(_next_before(folder))
    others = [path.parent for path in folder.glob("before-*/last.pt") if path.parent != kept]
    hint = "--resume True would have gone on with it"
    if not (kept / "last.pt").exists():
        newest = max(others, key=_number, default=None)
        hint = "it had saved nothing to resume from" + (f"; {newest.name} has" if newest else "")
    print(f"NOTE: the earlier run in {folder} is now in {kept.name}/ ({', '.join(p.name for p in there)}); {hint}")


def put_back(folder: str | Path) -> None:
    """Undo a `set_aside` that was killed half-way: an earlier run is in one place or the other, never in two."""
    folder, half = Path(folder), Path(folder, HALF)
    if not half.is_dir():
        return
    for path in half.iterdir():
        if not (folder / path.name).exists():
            os.replace(path, folder / path.name)
    if any(half.iterdir()):  # somebody has put other files into their places
        half.rename(_next_before(folder))
    else:
        half.rmdir()


def _of_a_run(folder: Path) -> list[Path]:
    return [path for pattern in LEFT for path in sorted(folder.glob(pattern))]


def _number(before: Path) -> int:
    number = before.name.removeprefix("before-")
    return int(number) if number.isdecimal() else 0


def _next_before(folder: Path) -> Path:
    return folder / f"before-{1 + max(map(_number, folder.glob('before-*')), default=0)}"


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
