"""The losses of every step, on file."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor


class Log:
    """log.csv, one row per step. Losses stay on the device until the epoch ends, so that no step waits for one."""

    def __init__(self, path: Path):
        self.path, self.step = path, 0
        self.losses: list[Tensor] = []
        self.names: list[list[str]] = []
        with open(path, "w", newline="") as file:
            csv.writer(file).writerow(("step", "epoch", "lr", "total", "structure", "lossnet"))

    def add(self, loss: Sequence[Tensor], names: list[str]) -> None:
        """Keep one step's (total, structure, lossnet) scalars and the names of its images."""
        self.losses.append(torch.stack(tuple(loss)).detach())
        self.names.append(names)

    def write(self, epoch: int, lr: float) -> float:
        """Append the epoch's rows, return its mean total loss; FloatingPointError for a loss that is not finite."""
        rows = torch.stack(self.losses).tolist()
        with open(self.path, "a", newline="") as file:
            writer = csv.writer(file)
            for (total, structure, lossnet), names in zip(rows, self.names, strict=True):
                self.step += 1
                writer.writerow((self.step, epoch + 1, lr, total, structure, lossnet))
                if not math.isfinite(total):
                    raise FloatingPointError(
                        f"loss is {total} at step {self.step}, epoch {epoch + 1} (structure {structure}, "
                        f"lossnet {lossnet}) on {', '.join(names)}; lower `lr`, or "
                        "look at these images. Checkpoints so far are intact"
                    )
        self.losses, self.names = [], []
        return sum(total for total, *_ in rows) / len(rows)
