"""Runs that were in a folder before: each is kept whole, in a numbered folder of its own."""

import os
from pathlib import Path

from engine.log import board

# what a run leaves in its folder; what belongs together stays together
LEFT = (
    "last.pt",
    "log.csv",
    "config.json",
    "packages.txt",
    "split.json",
    "plan.txt",
    "model_card.md",
    "tensorboard",
    "model-*",
)
HALF = "before.part"  # where an earlier run is while it is being set aside


def set_aside(folder: str | Path) -> None:
    """Move all that an earlier run left into a folder of its own, before-1, before-2, ..., and say so."""
    folder = Path(folder)
    put_back(folder)
    board()  # if TensorBoard is missing, that is said before anything moves
    there = _of_a_run(folder)
    if not there:
        return
    half = folder / HALF
    half.mkdir(exist_ok=True)
    for path in there:
        os.replace(path, half / path.name)
    kept = half.rename(_next_before(folder))
    others = [path.parent for path in folder.glob("before-*/last.pt") if path.parent != kept]
    hint = "--resume would have gone on with it"
    if not (kept / "last.pt").exists():
        newest = max(others, key=_number, default=None)
        hint = "it had saved nothing to resume from" + (f"; {newest.name} has" if newest else "")
    print(f"NOTE: the earlier run in {folder} is now in {kept.name}/ ({', '.join(p.name for p in there)}); {hint}")


def go_on(folder: str | Path) -> None:
    """What a run that is resumed finds mended: a `set_aside` that was killed, and a name of older code."""
    put_back(folder)
    if (older := Path(folder, "model-best-ema")).exists():  # whose model-best was not what it had scored
        older.replace(Path(folder, "model-best"))


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
