"""The losses of every step, on file and in agreement with the checkpoint that a run resumes from."""

import csv
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine import distributed
from files import write_csv

BEFORE, BEHIND = ("step", "epoch", "lr"), ("grad_norm",)  # the columns around the losses


def board() -> Any:
    """TensorBoard's SummaryWriter; importing it takes a while, which only the process that writes waits for.

    ModuleNotFoundError without it.
    """
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    # what reads images is forked beside the thread that encodes pictures: were that importing Pillow's formats just
    # then, the import's lock would stay closed in the fork for ever
    Image.preinit()
    return SummaryWriter


class Log:
    """log.csv, one row per step, and the same curves for TensorBoard in tensorboard/ beside it.

    Losses stay on the device until `flush`, so that no step waits for one. On several processes every one adds its
    part and all flush together; the one with `writes` has the files.
    """

    def __init__(
        self,
        path: Path,
        resume_after: int | None = None,
        writes: bool = True,
        skips: bool = False,
        sums: dict[int, tuple[float, int]] | None = None,
        losses: Sequence[str] = ("total", "structure", "lossnet"),
    ):
        """Start anew, or keep the rows of the first `resume_after` steps: a crash may have left later ones.

        losses: their names, `total` the first, as a criterion gives them.
        skips: steps whose gradients overflow are left out, so that a norm which is not finite is no fault.
        sums: of epochs, as `sum_of` gave them to the checkpoint; without them the rows say.
        """
        self.path, self.step, self._writes, self._skips = path, resume_after or 0, writes, skips
        self._names, self._columns = tuple(losses), (*BEFORE, *losses, *BEHIND)
        self._names_before: tuple[str, ...] = ()
        self._losses: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._rows: list[tuple[int, int, float, list[str]]] = []
        kept: list[tuple[Any, ...]] = []
        if writes and resume_after is not None:
            # losses that the run had and has no longer keep their columns
            self._names_before = tuple(name for name in _header(path) if name not in self._columns)
            self._columns = (*BEFORE, *losses, *self._names_before, *BEHIND)
            kept = _rows(path, self.step, self._columns)
        self._sums: dict[int, tuple[float, int]] = {}  # epoch -> sum of its steps' totals, and how many
        for _, epoch, _, total, *_ in kept:
            self._count(epoch, total)
        self._sums |= sums or {}
        self._board: Any = None
        self._painter = ThreadPoolExecutor(1, "pictures")
        if not writes:
            return
        # first: what follows has a thread, which a refusal would leave
        write_csv(path, [self._columns, *kept])
        try:
            self._board = board()(str(path.parent / "tensorboard"), purge_step=self.step + 1)
        except (OSError, RuntimeError, ValueError) as error:
            self._without_board(error)

    def _count(self, epoch: int, total: float) -> None:
        so_far, steps = self.sum_of(epoch)
        self._sums[epoch] = so_far + total, steps + 1

    def add(
        self, epoch: int, lr: float, loss: dict[str, Tensor], norm: Tensor, names: list[str], share: float = 1.0
    ) -> None:
        """Keep one step's losses, scalars by name, its gradient's norm and the names of its images.

        share: the part of the step's images that this process has; the losses are its means over them.
        """
        self.step += 1
        self._losses.append(torch.stack([loss[name] for name in self._names]).detach() * share)
        self._norms.append(norm)
        self._rows.append((self.step, epoch, lr, names))

    def flush(self) -> None:
        """Write what was added; FloatingPointError for a loss or a norm that is not finite, naming step and images."""
        if not self._rows:
            return
        losses, rows = distributed.total(torch.stack(self._losses)).tolist(), self._rows
        norms = torch.stack(self._norms).tolist()
        self._losses, self._norms, self._rows = [], [], []
        bad = next((i for i, values in enumerate(losses) if not math.isfinite(values[0])), None)
        what = "loss"
        if bad is None and not self._skips:
            bad = next((i for i, norm in enumerate(norms) if not math.isfinite(norm)), None)
            what = "the gradient's norm"
        none = [math.nan] * len(self._names_before)
        good = [(*row[:3], *loss, *none, norm) for row, loss, norm in zip(rows, losses, norms, strict=True)]
        for row in good:
            self._count(row[1], row[3])
        if self._writes:
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(good if bad is None else good[: bad + 1])
            curves = [
                (f"train/{name}", value, row[0])
                for row in good
                for name, value in zip(self._columns[2:], row[2:], strict=True)
                if name not in self._names_before
            ]
            self._draw(lambda board: [board.add_scalar(*point) for point in curves])
        if bad is not None:
            step, epoch, _, total, *terms = good[bad][:-1]
            norm = good[bad][-1]
            value = total if what == "loss" else norm
            parts = ", ".join(f"{name} {term}" for name, term in zip(self._names[1:], terms))
            names = ", ".join(name for part in distributed.gathered(rows[bad][3]) for name in part)
            raise FloatingPointError(
                f"{what} is {value} at step {step}, epoch {epoch} ({parts}) on "
                f"{names}; lower `lr`, set `grad_clip`, or look at these images. Checkpoints so far are intact"
            )

    def scalar(self, name: str, value: float) -> None:
        """A value after the steps so far, for TensorBoard: a validation score, the loss scaling."""
        step = self.step
        self._draw(lambda board: board.add_scalar(name, value, step))

    def panel(self, name: str, image: Tensor, mask: Tensor, pred: Tensor, most: int = 4) -> None:
        """A picture for TensorBoard: image | mask | map, one example a row.

        image (N, 3, H, W) float of any range; mask, pred (N, C, H, W) in [0, 1]; of several classes each is a column.
        Of volumes the middle of the last axis, and of several channels the first.
        """
        if not self._board:
            return
        step, parts = self.step, [x.detach()[:most] for x in (image, mask, pred)]
        flat = [x[..., x.shape[-1] // 2] if x.ndim == 5 else x for x in parts]
        flat = [x.to("cpu", torch.float32, copy=True) for x in flat]  # who gave them may write into them
        self._draw(lambda board: board.add_image(name, _side_by_side(*flat), step))

    def close(self) -> None:
        """Let go of TensorBoard's file, when all is in it."""
        self._draw(lambda board: board.close())
        self._painter.shutdown()

    def _draw(self, on: Callable[[Any], object]) -> None:
        """Give TensorBoard to `on`, in a thread of its own: drawing an epoch takes a GPU's time of several steps."""

        def drawn() -> None:
            try:
                if self._board:
                    on(self._board)
            except Exception as error:  # nobody else would hear of it
                self._without_board(error)

        if self._board:
            self._painter.submit(drawn)

    def _without_board(self, error: Exception) -> None:
        self._board = None
        print(f"NOTE: TensorBoard cannot be written ({error}); the run goes on, log.csv has its losses")

    def sum_of(self, epoch: int) -> tuple[float, int]:
        """Sum of the total losses of an epoch's steps so far, those before a resume included, and their number."""
        return self._sums.get(epoch, (0.0, 0))

    def mean(self, epoch: int) -> float:
        """Mean total loss of an epoch's steps; NaN if none are known."""
        total, steps = self.sum_of(epoch)
        return total / steps if steps else math.nan


def _side_by_side(image: Tensor, mask: Tensor, pred: Tensor) -> Tensor:
    """(3, N H, (1 + 2 C) W) in [0, 1]: what `Log.panel` shows, of flat images."""
    image = image if image.shape[1] == 3 else image[:, :1].expand(-1, 3, -1, -1)
    rows = []
    for picture, *greys in zip(image, mask, pred):
        low, high = picture.min(), picture.max()
        maps = [channel.expand(3, -1, -1) for grey in greys for channel in grey]
        rows.append(torch.cat([(picture - low) / (high - low).clamp(min=1e-6), *maps], 2))
    return torch.cat(rows, 1).clamp(0, 1)


def _rows(path: Path, steps: int, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """The whole rows of the first `steps` steps in a log that may be torn, missing or no text; says what it lacks.

    Losses that the log lacks are NaN.
    """
    rows: dict[int, tuple[Any, ...]] = {}
    torn = 0
    text = ""
    with suppress(OSError):
        text = path.read_bytes().decode(errors="replace")
    theirs = _header(path) or columns
    # a row is whole only with its end: of 0.125 a kill leaves 0.1, which is a number too
    for line in text.splitlines(keepends=True):
        if line.strip() == ",".join(theirs):
            continue
        row = _row(line, theirs)
        if row and row["step"] not in rows:
            rows[int(row["step"])] = tuple(row.get(name, math.nan) for name in columns)
        else:
            torn += 1
    kept = [rows[step] for step in sorted(rows) if step <= steps]
    if torn or len(kept) < steps:
        dropped = f"; dropped {torn} lines that are no whole row of it" if torn else ""
        print(f"NOTE: {path} has {len(kept)} of the {steps} steps so far{dropped}. The run itself goes on from last.pt")
    return kept


def _header(path: Path) -> list[str]:
    """The columns of a log; none where its first line has no names of columns."""
    with suppress(OSError):
        names = path.read_bytes().split(b"\n", 1)[0].decode(errors="replace").strip().split(",")
        return names if {*BEFORE, *BEHIND} <= {*names} else []
    return []


def _row(line: str, columns: Sequence[str]) -> dict[str, float] | None:
    """The numbers of a line by column, step and epoch whole ones; None for what is no whole row."""
    try:
        step, epoch, *numbers = line.split(",")
        values = [int(step), int(epoch), *map(float, numbers)]
    except ValueError:
        return None
    whole = line.endswith("\n") and len(values) == len(columns) and min(values[:2]) > 0
    return dict(zip(columns, values, strict=True)) if whole else None
