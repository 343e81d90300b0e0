"""`Grid`: where the voxels of a volume lie in the patient, and whether two volumes lie alike."""

import itertools
from typing import NamedTuple

import nibabel
import numpy as np

TOLERANCE = 1e-3  # mm at the corners: what float32 headers, and quaternions in them, lose


class Grid(NamedTuple):
    """The voxels (X, Y, Z) of a volume, and the affine (4, 4) float64 that takes their indices to mm.

    The world is nibabel's, RAS+: x to the right, y to the front, z to the head. `space` is NIfTI's code for it (1 the
    scanner, 2 another image, 4 MNI), kept so that a map written beside its image names the same one.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    space: int = 1
    channels: int = 1  # of the file, last among its axes

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm from one voxel to the next along each axis."""
        x, y, z = (float(step) for step in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def orientation(self) -> str:
        """Where each axis leads, such as RAS or LPS; of an oblique one the nearest."""
        return "".join(nibabel.orientations.aff2axcodes(self.affine))

    def __str__(self) -> str:
        return f"{by(self.shape)} voxels of {by(self.spacing)} mm, {self.orientation}"

    def corners(self) -> np.ndarray:
        """(8, 3) mm of the centres of the outermost voxels."""
        ends = np.array(list(itertools.product(*((0, side - 1) for side in self.shape))))
        return ends @ self.affine[:3, :3].T + self.affine[:3, 3]


def by(numbers: tuple[float, ...]) -> str:
    """240x240x155, 0.795x0.795x5"""
    return "x".join(f"{number:.4g}" if isinstance(number, float) else str(number) for number in numbers)


def require_same_grid(what: object, grid: Grid, other_what: object, other: Grid) -> None:
    """ValueError naming both where two volumes are not voxel on voxel, to a thousandth of a mm at their corners."""
    both = f"{what} is {grid}, but {other_what} is {other}"
    if grid.shape != other.shape:
        raise ValueError(f"{both}; they must be one grid: is it another scan's? Else resample one onto the other")
    apart = float(np.abs(grid.corners() - other.corners()).max())
    if not apart <= TOLERANCE:  # nor NaN
        raise ValueError(
            f"{both} and lies up to {apart:.4g} mm beside it; they must be one grid: resample one onto the other, "
            "or where only a header is wrong copy the other's affine"
        )
