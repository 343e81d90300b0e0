"""Volumes as files: NIfTI, read as it lies and written back onto the very grid it came from."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np

from files.grids import Grid, by, require_same_grid
from files.nifti import SUFFIXES, read_grid, read_voxels, require_finite
from files.writing import whole_file

WHOLE = 1e-3  # how far labels may be from whole numbers: what a scale factor in the header leaves of them


def read_volume(paths: Sequence[Path]) -> tuple[np.ndarray, Grid]:
    """(C, X, Y, Z) float32 of an image, scaled as its header says, in the order of memory of its file, and its grid.

    Several files are the channels, in order; one file of four axes has its channels last. FileNotFoundError, or
    ValueError naming the file: damaged, no NIfTI, of two or five axes, with NaN, of another grid than the first.
    """
    if len(paths) == 1:
        image, grid = read_voxels(paths[0])
        require_finite(paths[0], image)
        return (image[None] if image.ndim == 3 else np.moveaxis(image, 3, 0)), grid
    grid = read_grid(paths[0])
    # x is nearest in memory, as in a file of all channels; no more than one of them is there twice
    image = np.empty((len(paths), *grid.shape[::-1]), np.float32).transpose(0, 3, 2, 1)
    for i, path in enumerate(paths):
        image[i] = _one_channel(path, paths[0], grid)
    return image, grid


def _one_channel(path: Path, first: Path, grid: Grid) -> np.ndarray:
    volume, other = read_voxels(path)
    require_same_grid(path, other, first, grid)
    if volume.ndim > 3:
        raise ValueError(
            f"{path} holds {volume.shape[3]} channels and is itself one of the files of an image, as {first.name} is; "
            "expected one channel a file, or one file of all channels"
        )
    require_finite(path, volume)
    return volume


def read_label_volume(path: str | Path) -> tuple[np.ndarray, Grid]:
    """(X, Y, Z) uint8, or uint16 where a value is above 255, of the label values as they are; and the grid.

    Floats must be whole numbers, but for a thousandth. ValueError naming the file and the first value that is no label.
    """
    array, grid = read_voxels(path, as_stored=True)
    if array.ndim > 3:
        raise ValueError(
            f"{path} is {by(array.shape)}, labels in {array.shape[3]} channels; "
            "expected one volume of label values: save np.argmax of them"
        )
    require_finite(path, array)
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


def write_volume(path: str | Path, array: np.ndarray, grid: Grid) -> None:
    """Write (X, Y, Z) as NIfTI, .nii or .nii.gz, whole or not at all: voxel on voxel over what the grid is of.

    bool and whole numbers become uint8 where they fit, else uint16; floats, which are probabilities, float32.
    """
    if array.shape != tuple(grid.shape) or not str(path).endswith(SUFFIXES):
        raise ValueError(f"{path}: {by(array.shape)} values for a grid of {by(grid.shape)}; expected .nii.gz or .nii")
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    else:
        low, high = array.min(), array.max()
        if low < 0 or high > 65535:
            raise ValueError(f"{path}: labels from {low} to {high}; expected 0..65535")
        array = array.astype(np.uint8 if high < 256 else np.uint16, copy=False)
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
