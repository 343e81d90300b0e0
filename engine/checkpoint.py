"""Checkpoint files that are whole or absent: written beside their place, then moved into it."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch


def save(content: Any, path: str | Path) -> None:
    """torch.save to `path`, atomically: a crash or a full disk leaves the file that was there before, or none.

    Raises OSError saying what could not be written, the room that is left, and what is still intact.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch turns a failing write into a RuntimeError
        free = shutil.disk_usage(path.parent).free / 2**20 if path.parent.is_dir() else 0
        raise OSError(
            f"could not write {path} ({error}); {free:.0f} MiB are free there. Files written earlier are intact; "
            "make room or change `savepath`"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(folder: str | Path) -> Path:
    """Make `folder` and prove that a file can be written there, before hours are spent; PermissionError if not."""
    folder = Path(folder)
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(f"cannot write into {folder} ({error}); change the path or its permissions") from error
    return folder
