"""Checkpoints written behind a run: a GPU goes on with the next epoch while a disk takes the last one's files."""

import copy
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine import checkpoint


class Writer:
    """`with Writer(behind) as writer: writer.save(content, path)`: `checkpoint.save`, in the order of the calls.

    behind: of a copy that is taken at once, and written while the run goes on, which forks processes meanwhile: the
    thread may import nothing that they import. `wait` waits for all files; what writing
    one has raised, OSError, is raised by it or at the latest by leaving the block, which waits too.
    """

    def __init__(self, behind: bool):
        self._thread = ThreadPoolExecutor(1, "checkpoints") if behind else None
        self._files: list[Future] = []

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            self.wait()
        except OSError as unwritten:
            if not error:
                raise
            print(f"NOTE: {unwritten}")  # what the run itself ended by is what it says
        finally:
            if self._thread:
                self._thread.shutdown()

    def save(self, content: Any, path: Path) -> None:
        """Write `content`, nested dicts, lists and tuples with tensors, to `path`."""
        if self._thread:
            self._files.append(self._thread.submit(checkpoint.save, copied(content), path))
        else:
            checkpoint.save(content, path)

    def wait(self) -> None:
        """Return when every file is whole, as a run does before it saves its state again: copies would pile up."""
        files, self._files = self._files, []
        for file in files:
            file.result()


def copied(content: Any) -> Any:
    """`content` with tensors of its own, on the CPU and laid out alike; those that share memory each have a copy.

    A GPU fills pinned memory several times as fast, and PyTorch keeps it for the next copy.
    """
    if isinstance(content, Tensor):
        return torch.empty_like(content, device="cpu", pin_memory=content.is_cuda).copy_(content.detach())
    if isinstance(content, dict):
        whole = copy.copy(content)  # what PyTorch notes on the dictionary itself included
        whole.update((key, copied(value)) for key, value in content.items())
        return whole
    return type(content)(map(copied, content)) if isinstance(content, list | tuple) else content
