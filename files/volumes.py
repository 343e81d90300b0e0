"""Volumes as files: NIfTI, read as it lies and written back onto the very grid it came from."""

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from nibabel.fileholders import FileHolder

from files.decoding import decoding
from files.foreign import conversion
from files.grids import Grid, by, require_same_grid
from files.writing import whole_file

SUFFIXES = (".nii.gz", ".nii")  # the longer first: names end with one of them
MOST_VOXELS = 2**31  # of all channels; 8 GiB in float32, and what a header of 352 bytes may promise
CHUNK = 2**18  # bytes read at a time
WHOLE = 1e-3  # how far labels may be from whole numbers: what a scale factor in the header leaves of them


def read_volume(paths: Sequence[Path]) -> tuple[np.ndarray, Grid]:
    """(C, X, Y, Z) float32 of an image, scaled as its header says, in the order of memory of its file, and its grid.

    Several files are the channels, in order; one file of four axes has its channels last. FileNotFoundError, or
    ValueError naming the file: damaged, no NIfTI, of two or five axes, with NaN, of another grid than the first.
    """
    volumes, grids = zip(*(_read(path) for path in paths), strict=True)
    for path, volume, grid in zip(paths, volumes, grids, strict=True):
        require_same_grid(path, grid, paths[0], grids[0])
        if len(paths) > 1 and volume.ndim > 3:
            raise ValueError(
                f"{path} holds {volume.shape[3]} channels and is itself one of {len(paths)} files of an image; "
                "expected one channel a file, or one file of all channels"
            )
        _require_finite(path, volume)
    if len(volumes) > 1:
        return np.stack(volumes), grids[0]
    return (volumes[0][None] if volumes[0].ndim == 3 else np.moveaxis(volumes[0], 3, 0)), grids[0]


def read_label_volume(path: str | Path) -> tuple[np.ndarray, Grid]:
    """(X, Y, Z) uint8, or uint16 where a value is above 255, of the label values as they are; and the grid.

    Floats must be whole numbers, but for a thousandth. ValueError naming the file and the first value that is no label.
    """
    array, grid = _read(path, as_stored=True)
    if array.ndim > 3:
        raise ValueError(
            f"{path} is {by(array.shape)}, labels in {array.shape[3]} channels; "
            "expected one volume of label values: save np.argmax of them"
        )
    _require_finite(path, array)
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        if (strange := np.abs(array - rounded) > WHOLE).any():
            raise ValueError(
                f"{path} holds {array[strange][0]:.4g} and {np.count_nonzero(strange) - 1} more values that are no "
                "whole numbers; expected label values: cut probabilities at one half, resample labels by nearest "
                "neighbour"
            )
        array = rounded
    if low < -0.5 or high > 65535:
        raise ValueError(f"{path} holds values {low:g} to {high:g}; expected label values 0..65535")
    return array.astype(np.uint8 if high < 256 else np.uint16), grid


def read_grid(path: str | Path) -> Grid:
    """The grid of a volume, its voxels left unread; errors as `read_volume`."""
    with _opened(path) as (image, _):
        return _grid(path, image)


def write_volume(path: str | Path, array: np.ndarray, grid: Grid) -> None:
    """Write (X, Y, Z) as NIfTI, .nii or .nii.gz, whole or not at all: voxel on voxel over what the grid is of.

    bool and whole numbers become uint8 where they fit, else uint16; floats, which are probabilities, float32.
    """
    if array.shape != tuple(grid.shape) or not str(path).endswith(SUFFIXES):
        raise ValueError(f"{path}: {by(array.shape)} values for a grid of {by(grid.shape)}; expected .nii.gz or .nii")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    else:
        low, high = array.min(), array.max()
        if low < 0 or high > 65535:
            raise ValueError(f"{path}: labels from {low} to {high}; expected 0..65535")
        array = array.astype(np.uint8 if high < 256 else np.uint16)
    image = nibabel.Nifti1Image(array, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, grid.space)
    # ITK goes by the qform; one that cannot say it, of a sheared grid, is better not there
    image.set_qform(grid.affine, grid.space)
    told = grid._replace(affine=cast(np.ndarray, image.get_qform()))
    if np.abs(told.corners() - grid.corners()).max() > 10 * WHOLE:
        image.set_qform(None, 0)
    with whole_file(path, lasting=False) as plain:
        file: Any = plain  # nibabel writes into what it calls an IOBase
        if str(path).endswith(".gz"):
            # no time and no name in it: equal maps are equal files. Level 1 is three times as fast as 9, for 15 % more
            with gzip.GzipFile("", "wb", 1, file, 0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def ending_of(path: Path) -> str:
    """.nii.gz, or what is behind the last dot of any other name; in small letters."""
    name = path.name.lower()
    return next((ending for ending in SUFFIXES if name.endswith(ending)), path.suffix.lower())


def stem_of(path: Path) -> str:
    """A file's name without that ending."""
    return path.name[: len(path.name) - len(ending_of(path))]


# ------------------------------------------------------------------------------------------------------- one file


def _read(path: str | Path, as_stored: bool = False) -> tuple[np.ndarray, Grid]:
    """(X, Y, Z) or (X, Y, Z, C) float32, in memory once; `as_stored` in the file's own type where it is not scaled."""
    with _opened(path) as (image, stream):
        grid = _grid(path, image)
        if np.prod(image.shape, dtype=float) > MOST_VOXELS:  # before memory is taken for it
            raise ValueError(
                f"{path} is {by(image.shape)} voxels; expected at most {MOST_VOXELS}: cut it, or resample it"
            )
        array = np.empty(image.shape, image.get_data_dtype(), "F")
        stored: Any = image.dataobj  # the image's own header has forgotten these
        stream.seek(stored.offset)
        _fill(array, stream)
    scaled = (stored.slope, stored.inter) != (1, 0)
    if scaled or not as_stored:
        array = array.astype(np.float32, copy=False)
    if scaled:
        array *= np.float32(stored.slope)
        array += np.float32(stored.inter)
    return array.reshape(array.shape[: 4 if array.ndim > 3 and array.shape[3] > 1 else 3], order="F"), grid


def _fill(array: np.ndarray, stream: Any) -> None:
    """Read an array's bytes. Not nibabel's: of a packed file that has the voxels in memory four times."""
    bytes_ = array.reshape(-1, order="F").view(np.uint8)
    for start in range(0, len(bytes_), CHUNK):
        piece = bytes_[start : start + CHUNK]
        if (got := stream.readinto(piece)) < len(piece):
            raise ValueError(f"it ends after {start + got} of {len(bytes_)} bytes of voxels")


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[nibabel.Nifti1Image, Any]]:
    """A NIfTI file and its bytes, packed or not whatever its name says; read to its end when the block is over."""
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES) and (command := conversion(path)):
        raise ValueError(f"{path} is no NIfTI; convert it: {command}")
    with decoding(path):
        with open(path, "rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            stream: Any = gzip.GzipFile(fileobj=file) if packed else file
            start = stream.read(348)
            if not start:
                raise ValueError("it is empty")
            kinds = {int.from_bytes(start[:4], order) for order in ("little", "big")}
            kind = nibabel.Nifti2Image if 540 in kinds else nibabel.Nifti1Image
            if start[:4] in (b"NRRD", b"DICM") or not kinds & {348, 540}:
                raise ValueError("no NIfTI; expected .nii or .nii.gz")
            stream.seek(0)
            holder = FileHolder(fileobj=stream)
            yield cast(nibabel.Nifti1Image, kind.from_file_map({"header": holder, "image": holder})), stream
            if packed:
                while stream.read(CHUNK):  # the checksum is at the end
                    pass


def _grid(path: str | Path, image: nibabel.Nifti1Image) -> Grid:
    """The grid of an opened volume; ValueError for one that is none."""
    shape, kind, header = image.shape, image.get_data_dtype(), image.header
    if len(shape) < 3 or 0 in shape:
        raise ValueError(f"{path} is {by(shape)}, no volume; expected X x Y x Z voxels (pictures are read as PNG)")
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
    return Grid((x, y, z), affine, int(header["sform_code"]) or int(header["qform_code"]) or 1)


def _require_finite(path: str | Path, array: np.ndarray) -> None:
    """ValueError where an array holds NaN or infinity; counted only then, for that takes memory."""
    if array.dtype.kind == "f" and not np.isfinite(array.min() + array.max()):
        count = np.count_nonzero(~np.isfinite(array))
        raise ValueError(
            f"{path} holds {count} of {array.size} voxels that are NaN or infinite; nobody knows what to put there: "
            "write what is outside the scan as a number, such as its lowest value"
        )
