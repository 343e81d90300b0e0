"""Listing a folder: its images, or its volumes, by name; and what lies beside them."""

import os
import re
import unicodedata
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from files.foreign import CONVERSIONS, conversion
from files.nifti import SUFFIXES, ending_of


class Kind(NamedTuple):
    """What is looked for, by its ending: what is read, and what is of the kind and left aside, not without a word."""

    what: str
    read: tuple[str, ...]
    unread: tuple[str, ...]


PICTURES = Kind(
    "image",
    (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp"),
    (
        *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
        *(".jfif", ".dib", ".psd", ".svg", ".eps", ".exr", ".hdr", ".dng", ".npy", ".svs", ".ndpi"),
    ),
)
VOLUMES = Kind("volume", SUFFIXES, tuple(CONVERSIONS))
LEFT_BEHIND = re.compile(r"\.|__MACOSX$|@eaDir$")  # hidden files, and what archives and file servers add


def entries(folder: Path) -> list[tuple[str, bool]]:
    """(name, whether it is a folder) of what a folder holds, sorted, hidden ones left out. Only links are looked at."""

    def is_folder(entry: os.DirEntry) -> bool:
        return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()

    with os.scandir(folder) as there:
        return sorted((entry.name, is_folder(entry)) for entry in there if not LEFT_BEHIND.match(entry.name))


def files_under(folder: str | Path, but: Collection[Path] = ()) -> Iterator[Path]:
    """Every file in a folder and its sub-folders, sorted, hidden ones left out; a folder linked twice is read once.

    `but`: sub-folders to leave out. OSError for a folder that may not be read.
    """
    # a link upwards leads nowhere new
    seen = {*Path(folder).resolve().parents, *(path.resolve() for path in but)}

    def below(base: Path) -> Iterator[Path]:
        if base.resolve() in seen:
            return
        seen.add(base.resolve())
        for name, is_folder in entries(base):
            if is_folder:
                yield from below(base / name)
            else:
                yield base / name

    return below(Path(folder))


def left_aside(folder: str | Path, used: Collection[Path], but: Collection[Path] = ()) -> str:
    """What a folder holds besides `used`, as "3 other files (2 .png, 1 .txt), first D/masks/1.png"; "" for nothing."""
    others = [path for path in files_under(folder, but) if path not in used]
    if not others:
        return ""
    endings = [ending_of(path) if _is_regular(path) else "no regular file" for path in others]
    kinds = ", ".join(f"{endings.count(ending)} {ending or 'without ending'}" for ending in sorted(set(endings)))
    return f"{len(others)} other files ({kinds}), first {others[0]}"


def list_images(folder: str | Path, but: Collection[Path] = (), volumes: bool = False) -> dict[str, Path]:
    """name -> file of the images in a folder and, as clips/001, in its sub-folders (not those of `but`); sorted.

    With `volumes`, of its NIfTI files. Names are without the ending, in Unicode's composed form (NFC): an é is an é,
    whichever machine wrote it. FileNotFoundError for no such folder, ValueError if it holds no image or two of one
    name; a warning names what looks like an image and is not read.
    """
    folder, kind = Path(folder), VOLUMES if volumes else PICTURES
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check the path")
    found: dict[str, Path] = {}
    unread: list[Path] = []
    others: list[Path] = []
    for path in files_under(folder, but):
        name = bare_name(path.relative_to(folder).as_posix(), kind)
        if _is_unread(path, kind):
            unread.append(path)
        elif name:
            if name in found:
                raise ValueError(
                    f"{found[name]} and {path.name} share the name {name!r}; remove one. "
                    "Is one the mask? Put masks into a folder of their own, masks/"
                )
            found[name] = path
        if path.name.lower().endswith(PICTURES.read if volumes else VOLUMES.read + VOLUMES.unread):
            others.append(path)
    if not found:
        raise ValueError(f"{folder} holds {_what_is_there(kind, unread, others)}")
    if unread:
        how = conversion(unread[0]) if volumes else "save it as one of these"
        warnings.warn(
            f"{len(unread)} files of {folder} are left aside, first {unread[0].name}: read are regular files ending in "
            f"{', '.join(kind.read)}; {how}",
            stacklevel=2,
        )
    return found


def bare_name(name: str, kind: Kind) -> str:
    """A file's name, folders in front of it, without the ending that is read; "" where it has another."""
    ending = next((ending for ending in kind.read if name.lower().endswith(ending)), None)
    return unicodedata.normalize("NFC", name[: -len(ending)]) if ending else ""


def are_volumes(folder: str | Path) -> bool:
    """Whether a folder, or one in it, holds volumes of any format and not mostly pictures; some may lie beside them."""
    names = list(files_under(folder)) if Path(folder).is_dir() else [Path(folder)]
    pictures = sum(path.name.lower().endswith(PICTURES.read) for path in names)
    volumes = sum(path.name.lower().endswith(VOLUMES.read) or bool(conversion(path)) for path in names)
    return volumes > pictures


def _what_is_there(kind: Kind, unread: list[Path], others: list[Path]) -> str:
    """What a folder holds that has nothing to read."""
    if kind is VOLUMES and unread and (command := conversion(unread[0])):
        return f"no NIfTI but {len(unread)} files such as {unread[0].name}; convert them, so: {command}"
    if kind is VOLUMES and others:
        return f"pictures, such as {others[0].name}, and no volume; expected .nii.gz or .nii (size has three sides)"
    if others:
        return f"volumes, such as {others[0].name}; export their slices as PNG, or give size three sides"
    also = f" and {len(unread)} files that are not read, first {unread[0].name}" if unread else ""
    return f"no {kind.what}{also}; expected files ending in {', '.join(kind.read)}"


def _is_unread(path: Path, kind: Kind) -> bool:
    return (
        not _is_regular(path)
        or path.suffix.lower() in kind.unread
        or (kind is VOLUMES and not path.name.lower().endswith(kind.read) and bool(conversion(path)))
    )


def _is_regular(path: Path) -> bool:
    """Whether it is a file (or a broken link to one): to open a pipe or a device would wait for ever."""
    return path.is_file() or not path.exists()
