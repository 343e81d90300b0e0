"""One NIfTI file: its header, its grid and its voxels, or in one line why it is none."""

import gzip
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from nibabel.fileholders import FileHolder

from files.decoding import decoding
from files.foreign import conversion
from files.grids import Grid, by

SUFFIXES = (".nii.gz", ".nii")  # the longer first: names end with one of them
MOST_VOXELS = 2**31  # of all channels; 8 GiB in float32, and what a header of 352 bytes may promise
# it repairs headers in a line that names no file; what would change a volume or its place is refused here
nibabel.imageglobals.logger.setLevel(logging.CRITICAL)
CHUNK = 2**18  # bytes read at a time


def ending_of(path: Path) -> str:
    """.nii.gz, or what is behind the last dot of any other name; in small letters."""
    name = path.name.lower()
    return next((ending for ending in SUFFIXES if name.endswith(ending)), path.suffix.lower())


def stem_of(path: Path) -> str:
    """A file's name without that ending."""
    return path.name[: len(path.name) - len(ending_of(path))]


def read_grid(path: str | Path) -> Grid:
    """The grid of a volume, its voxels left unread; errors as `read_volume`."""
    with _opened(path) as (image, _):
        return _grid(path, image)


def voxels_of(path: str | Path) -> int:
    """How many voxels a file holds, of all channels; errors as `read_volume`."""
    with _opened(path) as (image, _):
        return math.prod(image.shape)


def read_voxels(path: str | Path, as_stored: bool = False) -> tuple[np.ndarray, Grid]:
    """(X, Y, Z) or (X, Y, Z, C) float32, in memory once, and the grid; ValueError naming the file.

    `as_stored` in the file's own type where it is not scaled. x is nearest in memory, as in the file.
    """
    with _opened(path) as (image, stream):
        grid = _grid(path, image)
        if np.prod(image.shape, dtype=float) > MOST_VOXELS:  # before memory is taken for it
            raise ValueError(
                f"{path} is {by(image.shape)} voxels; expected at most {MOST_VOXELS}: cut it, or resample it"
            )
        stored: Any = image.dataobj  # the image's own header has forgotten these
        kind, scaled = image.get_data_dtype(), (stored.slope, stored.inter) != (1, 0)
        array = np.empty(image.shape, kind if as_stored and not scaled else np.float32, "F")
        stream.seek(stored.offset)
        with np.errstate(all="ignore"):  # what float32 cannot hold is infinite, and refused as such
            _fill(array, stream, kind)
            if scaled:
                array *= np.float32(stored.slope)
                array += np.float32(stored.inter)
        while stream.read(CHUNK):  # the checksum of a packed file is at its end
            pass
    return array.reshape(array.shape[: 4 if array.ndim > 3 and array.shape[3] > 1 else 3], order="F"), grid


def _fill(array: np.ndarray, stream: Any, kind: np.dtype) -> None:
    """Read an array's values, stored as `kind`. Not nibabel's: of a packed file that has them in memory four times."""
    values, size = array.reshape(-1, order="F"), kind.itemsize
    buffer = np.empty(CHUNK // size, kind)  # a volume that becomes float32 is never there as it was stored
    for start in range(0, len(values), len(buffer)):
        piece = buffer[: len(values) - start]
        if (got := stream.readinto(piece.view(np.uint8))) < piece.nbytes:
            raise ValueError(f"it ends after {start * size + got} of {len(values) * size} bytes of voxels")
        values[start : start + len(piece)] = piece


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[nibabel.Nifti1Image, Any]]:
    """A NIfTI file and its bytes, packed or not whatever its name says."""
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES) and (command := conversion(path)):
        raise ValueError(f"{path} is no NIfTI; convert it: {command}")
    with decoding(path):
        with open(path, "rb") as file:
            stream: Any = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file
            start = stream.read(540)
            if not start:
                raise ValueError("it is empty")
            kinds = {int.from_bytes(start[:4], order) for order in ("little", "big")}
            kind = nibabel.Nifti2Image if 540 in kinds else nibabel.Nifti1Image
            if not kinds & {348, 540}:
                raise ValueError("no NIfTI; expected .nii or .nii.gz")
            _require_codes(kind.header_class(start[: 540 if 540 in kinds else 348], check=False))
            stream.seek(0)
            holder = FileHolder(fileobj=stream)
            yield cast(nibabel.Nifti1Image, kind.from_file_map({"header": holder, "image": holder})), stream


def _require_codes(header: nibabel.Nifti1Header) -> None:
    """ValueError where nobody knows which of its two affines a header means; nibabel would take the other, or none."""
    for name in ("sform_code", "qform_code"):
        if not 0 <= int(header[name]) <= 5:
            raise ValueError(f"its header has {name} {int(header[name])}; expected 0 to 5")


def _grid(path: str | Path, image: nibabel.Nifti1Image) -> Grid:
    """The grid of an opened volume; ValueError for one that is none."""
    shape, kind, header = image.shape, image.get_data_dtype(), image.header
    if len(shape) < 3 or 0 in shape:
        raise ValueError(f"{path} is {by(shape)}, no volume; expected X x Y x Z voxels: stack the slices")
    if np.prod(shape[4:]) > 1:
        raise ValueError(f"{path} has {len(shape)} axes, {by(shape)}; expected X x Y x Z, or channels as the fourth")
    if kind.kind not in "iuf":
        raise ValueError(f"{path} holds {kind} values; expected one number a voxel: save colours as channels")
    if (unit := header.get_xyzt_units()[0]) not in ("mm", "unknown"):
        raise ValueError(f"{path} measures its grid in {unit}s; expected mm: scale its affine")
    affine = np.asarray(image.affine, float)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    # relative: grids of 0.001 mm are grids
    if not np.isfinite(affine).all() or not steps.all() or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-3:
        raise ValueError(
            f"{path} has an affine that is no grid, {affine[:3].tolist()}; "
            "expected one that can be inverted: copy that of its image or its label"
        )
    x, y, z = shape[:3]
    space, channels = int(header["sform_code"]) or int(header["qform_code"]), shape[3] if len(shape) > 3 else 1
    return Grid((x, y, z), affine, space or 1, channels)


def require_finite(path: str | Path, array: np.ndarray) -> None:
    """ValueError where an array holds NaN or infinity; counted only then, for that takes memory."""
    if array.dtype.kind == "f" and not np.isfinite((array.min(), array.max())).all():
        count = np.count_nonzero(~np.isfinite(array))
        raise ValueError(
            f"{path} holds {count} of {array.size} voxels that are NaN or infinite; nobody knows what to put there: "
            "write what is outside the scan as a number, such as its lowest value"
        )
