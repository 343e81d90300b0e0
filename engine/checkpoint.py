"""Checkpoint files that are whole or absent, and what a run needs to go on as if it had never stopped."""

import errno
import glob
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import weights
from engine import distributed
from files import whole_file

EPOCH = re.compile(r"model-(\d+)(?:\.pth)?")
# what last.pt must hold; `ema`, `pairs`, `losses` and `defaults` are there if the run, or its code, has them
FORM = {
    **dict.fromkeys(("network", "optimiser", "scaler", "random", "config"), dict),
    **dict.fromkeys(("epoch", "done", "step"), int),
    "best": float,
}


def save(content: Any, path: str | Path) -> None:
    """torch.save to `path`, atomically: a crash or a full disk leaves the file that was there before, or none.

    Raises OSError saying what could not be written, the room that is left, and what is still intact.
    """
    with whole_file(path) as file:
        failed = ""
        try:
            # by its name: PyTorch then calls Python a quarter as often, and each call waits for the thread that trains
            torch.save(content, file.name)
        except RuntimeError as error:
            failed = " ".join(str(error).split())
        if failed:  # no sooner: PyTorch closes its file when its error is forgotten
            file.seek(0, os.SEEK_END)
            file.write(bytes(2**20))  # the system says why the disk takes no more, and PyTorch does not
            file.flush()
            raise OSError(errno.EIO, failed)


def named(snapshot: str | Path | Sequence[str | Path]) -> list[Path]:
    """The checkpoints that are meant: a file, a pattern (saved_model/mine/fold-*/model-best), or several, by commas.

    A folder means the `newest` of its run, or of each of its folds. A name without a file stays as it is, for whoever
    opens it. ValueError for none, for a folder without any, and for a pattern that no file fits.
    """
    texts = [str(snapshot)] if isinstance(snapshot, (str, Path)) else list(map(str, snapshot))
    words = [word for text in texts for word in ([text] if os.path.exists(text) else text.split(",")) if word]
    found: list[str] = []
    for word in words:
        if word.endswith(".py"):
            raise ValueError(f"{word} is no checkpoint; a config file stands before --snapshot")
        fitting = sorted(glob.glob(word)) if glob.has_magic(word) and not os.path.exists(word) else [word]
        if not fitting:
            raise ValueError(f"no file fits the pattern {word}; expected checkpoints, such as fold-*/model-best")
        for name in fitting:
            found += newest(Path(name)) if os.path.isdir(name) else [name]
    if not found:
        raise ValueError(f"snapshot is {snapshot!r}; expected a checkpoint, such as saved_model/msnet/model-50")
    return [Path(name) for name in dict.fromkeys(found)]  # one that is given twice counts once


def newest(folder: Path) -> list[str]:
    """model-best of a run's folder, or else its last model-<epoch>; of a folder of folds each one's."""
    runs = [folder] if any(folder.glob("model-*")) else sorted(folder.glob("fold-*"))
    found = [path for run in runs if (path := _newest(run))]
    if not found:
        raise ValueError(f"{folder} holds no model-best and no model-<epoch>; expected a checkpoint or a run's folder")
    return [str(path) for path in found]


def _newest(run: Path) -> Path | None:
    best = [path for name in ("model-best", "model-best.pth") if (path := run / name).is_file()]
    epochs = {int(digits[1]): path for path in run.glob("model-*") if (digits := EPOCH.fullmatch(path.name))}
    return best[0] if best else epochs[max(epochs)] if epochs else None


def by_fold(files: Sequence[Path], folds: int) -> dict[int, list[Path]]:
    """fold -> its own of some checkpoints, those in a folder fold-<n>; ValueError where no fold has one."""
    own = {fold: [file for file in files if file.parent.name == f"fold-{fold}"] for fold in range(1, folds + 1)}
    if not any(own.values()):
        raise ValueError(
            f"none of {', '.join(map(str, files[:3]))} lies in a folder fold-1 to fold-{folds}, which tells them; "
            "give the folder of the folds, such as --snapshot saved_model/mine"
        )
    return own


def load(path: str | Path) -> Any:
    """What `save` wrote, on the CPU; opening it cannot run code. FileNotFoundError, or ValueError if it is damaged."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {path} to resume from; check savepath, or start without resume")
    try:
        return weights.opened(path)
    except ValueError as error:
        why = str(error).removeprefix(str(path)).lstrip(": ")
        raise ValueError(f"{path} cannot be read, so no run goes on from it: {why}") from error


def load_run(path: str | Path) -> dict[str, Any]:
    """A last.pt that a run can go on from; ValueError for any other content and for numbers that are not finite."""
    state = load(path)
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not what a run left to go on from")
    if state and all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path} holds weights alone, as model-<epoch> does; a run goes on from the last.pt that it wrote itself"
        )
    if lacking := [name for name, kind in FORM.items() if not isinstance(state.get(name), kind)]:
        raise ValueError(
            f"{path} is not what a run left to go on from: {', '.join(lacking)} missing or of another type"
        )
    if bad := not_finite({name: state.get(name) for name in ("network", "ema", "optimiser")}):
        raise ValueError(f"{path}: {bad} is not finite (NaN or infinity), which no step mends; start anew")
    return state


def fill(parts: dict[str, Any], state: dict[str, Any], path: Path, say: Callable) -> None:
    """Give network, optimiser, scaler, ema what `state` holds of them; ValueError saying which of them it does not fit.

    The optimiser keeps its own settings, which a resumed run may have changed; averages that the state lacks begin with
    its network.
    """
    options = [{name: group[name] for name in group if name != "params"} for group in parts["optimiser"].param_groups]
    for name, part in parts.items():
        try:
            if name == "ema" and name not in state:
                part.module.load_state_dict(state["network"])
                say("NOTE: averages of the weights begin here; the run had none so far")
            elif name == "scaler" and not state[name]:
                pass  # the run had no float16 so far, and its scaling begins here
            else:
                part.load_state_dict(state[name])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())[:200]
            raise ValueError(f"{path} does not fit the {name} of this run ({why}); start anew") from error
    if "ema" in state and "ema" not in parts:
        say("NOTE: ema is 0 now; the averages of the weights so far are dropped")
    for group, own in zip(parts["optimiser"].param_groups, options, strict=True):
        group.update(own)
    try:
        restore_random_states(state["random"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds random states that cannot be set ({error}); start anew") from error


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
