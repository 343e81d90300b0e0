"""The losses of every step, on file and in agreement with the checkpoint that a run resumes from."""

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

COLUMNS = ("step", "epoch", "lr", "total", "structure", "lossnet")


class Log:
    """log.csv, one row per step, and the same curves for TensorBoard in tensorboard/ beside it.

    Losses stay on the device until `flush`, so that no step waits for one.
    """

    def __init__(self, path: Path, resume_after: int | None = None):
        """Start anew, or keep the rows of the first `resume_after` steps: a crash may have left later ones."""
        self.path, self.step = path, resume_after or 0
        self._board = SummaryWriter(str(path.parent / "tensorboard"), purge_step=self.step + 1)
        self._losses: list[Tensor] = []
        self._rows: list[tuple[int, int, float, list[str]]] = []
        self._totals: dict[int, list[float]] = {}  # epoch -> total of each step
        kept: list[list[str]] = []
        if resume_after is not None and path.exists():
            with open(path, newline="") as file:
                kept = [row for row in csv.reader(file) if row[:1] and row[0].isdigit() and int(row[0]) <= self.step]
        for row in kept:
            self._totals.setdefault(int(row[1]), []).append(float(row[3]))
        temporary = path.with_name(f".{path.name}.part")
        with open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *kept])
        os.replace(temporary, path)

    def add(self, epoch: int, lr: float, loss: Sequence[Tensor], names: list[str]) -> None:
        """Keep one step's (total, structure, lossnet) scalars and the names of its images."""
        self.step += 1
        self._losses.append(torch.stack(tuple(loss)).detach())
        self._rows.append((self.step, epoch, lr, names))

    def flush(self) -> None:
        """Write what was added; FloatingPointError for a loss that is not finite, naming step, parts and images."""
        if not self._rows:
            return
        losses, rows = torch.stack(self._losses).tolist(), self._rows
        self._losses, self._rows = [], []
        with open(self.path, "a", newline="") as file:
            for (step, epoch, lr, names), values in zip(rows, losses, strict=True):
                csv.writer(file).writerow((step, epoch, lr, *values))
                for name, value in zip(("lr", *COLUMNS[3:]), (lr, *values), strict=True):
                    self._board.add_scalar(f"train/{name}", value, step)
                self._totals.setdefault(epoch, []).append(values[0])
                if not math.isfinite(values[0]):
                    raise FloatingPointError(
                        "loss is {} at step {}, epoch {} (structure {}, lossnet {}) on {}; lower `lr`, "
                        "set `grad_clip`, or look at these images. Checkpoints so far are intact".format(
                            values[0], step, epoch, *values[1:], ", ".join(names)
                        )
                    )

    def score(self, name: str, value: float) -> None:
        """A validation score after the steps so far, for TensorBoard."""
        self._board.add_scalar(f"validation/{name}", value, self.step)

    def close(self) -> None:
        """Let go of TensorBoard's file."""
        self._board.close()

    def mean(self, epoch: int) -> float:
        """Mean total loss of an epoch's steps, those before a resume included."""
        totals = self._totals[epoch]
        return sum(totals) / len(totals)
