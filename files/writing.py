"""Writing files that are whole or not there, whatever interrupts: a full disk, a kill, a link in the way."""

import csv
import glob
import io
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

PICTURES = (".png", ".jpg")
# in maps a row is much like the one above: smaller files, which are read faster
ROW_ABOVE = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP] if hasattr(cv2, "IMWRITE_PNG_FILTER") else []


@contextmanager
def whole_file(path: str | Path, lasting: bool = True) -> Iterator[BinaryIO]:
    """A file to write bytes into; it takes the place of `path` when the block ends well, else nothing is changed.

    lasting: wait for the disk, so that a power cut finds the old file or the new; not for what is soon made again.
    Raises OSError in one line: what could not be written, the room that is left, and that earlier files are intact.
    """
    path = Path(path)
    # nobody can foresee the name, and "x" follows no link. A name of 250 letters would leave no room for more. PyTorch
    # notes a name up to its last dot in what it writes: that is the same for all
    label = f".part.{path.name[:40].replace('.', '-')}-" if lasting else ".part."
    temporary = path.with_name(f"{label}{secrets.token_hex(8)}")
    try:
        if lasting:
            _sweep(path.parent, label)
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        written = temporary.stat().st_size if temporary.exists() else 0
        _remove(temporary)  # before the room is measured
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        what = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise OSError(
            f"could not write {path} after {written >> 20} MiB ({what}); {free >> 20} MiB are free there. "
            "Files written earlier are intact; make room or write elsewhere"
        ) from error
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    """Without a word where that cannot be: what went wrong before is what is said."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _sweep(folder: Path, label: str) -> None:
    """Remove what a kill left of large files that were being written; who began within the hour may still be at it."""
    for left in folder.glob(f"{glob.escape(label)}{'[0-9a-f]' * 16}"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > 3600:
                left.unlink()


def write_file(path: str | Path, content: str | bytes, lasting: bool = True) -> None:
    """Write bytes, or text as UTF-8 with its line ends as they are, whole or not at all; OSError as `whole_file`."""
    with whole_file(path, lasting) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_csv(path: str | Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as CSV, as they come, whole or not at all; OSError as `whole_file`."""
    with whole_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        csv.writer(text).writerows(rows)
        text.flush()
        text.detach()  # the file is `whole_file`'s to close


def write_picture(path: str | Path, picture: np.ndarray, lasting: bool = False) -> None:
    """Write a picture as its name ends, .png or .jpg, as `write_file`.

    (H, W) grey uint8, or uint16 as PNG; (H, W, 3) blue, green, red uint8.
    """
    # OpenCV's lighter compression: a third of Pillow's time for the same pixels
    kind = Path(path).suffix.lower()
    encoded = cv2.imencode(kind, picture, ROW_ABOVE if kind == ".png" else [])[1]
    write_file(path, encoded.data.tobytes(), lasting)


def require_writable(folder: str | Path, names: Iterable[str] = ()) -> Path:
    """Make `folder` and prove that files, such as `names`, can be written there, before hours are spent.

    PermissionError if not.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if in_the_way := [name for name in names if (folder / name).is_dir()]:
            raise IsADirectoryError(f"{in_the_way[0]} is a folder there")
        probe = folder / f".{secrets.token_hex(8)}.part"
        try:
            with open(probe, "xb") as file:
                file.write(bytes(4096))  # a full disk still takes files of nothing
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise PermissionError(f"cannot write into {folder} ({error}); change the path or its permissions") from error
    return folder


def require_picture(path: str | Path, endings: Sequence[str] = PICTURES) -> Path:
    """`path`, if a picture can be written there; ValueError for another ending, PermissionError as require_writable."""
    path = Path(path)
    if path.suffix.lower() not in endings or path.is_dir():
        raise ValueError(f"cannot write a picture to {path}; expected a file name that ends in {' or '.join(endings)}")
    require_writable(path.parent)
    return path


def folders_of(images: Mapping[str, Path]) -> set[Path]:
    """The folders that name -> file were found in: of clips/001 the one that holds clips/."""
    found = set()
    for name, path in images.items():
        *inside, _ = name.split("/")
        below = list(path.parts[-len(inside) - 1 : -1]) == inside
        found.add(path.parents[len(inside)] if below else path.parent)
    return found


def require_apart(out: str | Path, folders: Iterable[Path], around: bool = False) -> None:
    """ValueError if the folder `out` is, or lies in, one of the folders that are read; with `around`, if it holds one.

    What is written among the files of a data set replaces them, or is read as one of them the next time. Folders are
    compared as the disk knows them: links and the case of letters do not matter.
    """
    ours = _identities(Path(out))
    for folder in sorted(folders):
        theirs = _identities(folder)
        if theirs[0] in ours or (around and ours[0] in theirs):
            raise ValueError(f"{out} would be written into, but {folder} is read from; give a folder apart from it")


def _identities(folder: Path) -> list[object]:
    """What tells a folder and each one above it from all others; of one that is not there yet, its path."""
    folder = folder.resolve()
    return [
        (status.st_dev, status.st_ino) if place.exists() and (status := place.stat()) else place
        for place in (folder, *folder.parents)
    ]
