"""`Frame`: from a volume as it lies in its file to the network's own grid, and back, slab by slab."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from files import Grid
from files.grids import by
from files.nifti import MOST_VOXELS

Shape = tuple[int, int, int]


class Frame(NamedTuple):
    """How a file's axes lead to right, front and head, and how many voxels the network has along each.

    Both grids cover the same millimetres; a voxel of one lies where the other says, to half a voxel at the borders.
    """

    order: Shape  # the file's axis that is the network's first, second, third
    against: tuple[bool, bool, bool]  # whether it runs the other way
    turned: Shape  # voxels of the file along the network's axes
    shape: Shape  # voxels that the network sees

    def forward(self, volume: np.ndarray) -> np.ndarray:
        """(C, *shape) float32 of an image (C, X, Y, Z): turned and resampled, trilinear."""
        return _resized(self.turn(volume), self.shape).numpy()

    def labels_forward(self, indices: np.ndarray, classes: int) -> np.ndarray:
        """(*shape) uint8 of class indices (X, Y, Z): the class that has most of a voxel, trilinear."""
        turned = self.turn(indices[None])
        if self.turned == self.shape:
            return turned[0].astype(np.uint8)
        best, found = torch.full(self.shape, -1.0), torch.zeros(self.shape, dtype=torch.uint8)
        for c in range(classes):  # one after the other: all at once would take the memory of all
            share = _resized((turned == c).astype(np.float32), self.shape)[0]
            found[share > best] = c
            best = torch.maximum(best, share)
        return found.numpy()

    def back(self, volume: np.ndarray) -> np.ndarray:
        """(X, Y, Z) as it lies in the file, of voxels along the network's axes (*turned)."""
        ahead = np.flip(volume, np.flatnonzero(self.against))
        return np.ascontiguousarray(ahead.transpose(np.argsort(self.order)))

    def planes_back(self, slabs: Iterator[Tensor]) -> Iterator[Tensor]:
        """(C, n, *turned[1:]) float32, together all of `turned`, of slabs (C, m, *shape[1:]) in order: trilinear.

        No more is kept than a slab: what a volume of many classes takes does not grow with its length.
        """
        if self.turned == self.shape:
            yield from slabs
            return
        centres = (np.arange(self.turned[0]) + 0.5) * (self.shape[0] / self.turned[0]) - 0.5
        centres = np.clip(centres, 0, self.shape[0] - 1)
        low = np.minimum(np.floor(centres).astype(int), max(0, self.shape[0] - 2))
        made, start, kept = 0, 0, None  # planes given, first plane of `kept`
        for slab in slabs:
            kept = slab if kept is None else torch.cat((kept, slab), 1)
            end = start + kept.shape[1]
            ready = made + int(np.searchsorted(np.minimum(low[made:] + 1, self.shape[0] - 1), end))
            if ready > made:
                first = torch.from_numpy(low[made:ready] - start)
                second = (first + 1).clamp(max=kept.shape[1] - 1)
                part = torch.from_numpy((centres - low)[made:ready]).float()[None, :, None, None]
                planes = torch.lerp(kept[:, first], kept[:, second], part)
                yield F.interpolate(planes, self.turned[1:], mode="bilinear", align_corners=False)
                made = ready
            if made < len(low):  # what the next plane needs
                drop = min(int(low[made]), end - 1) - start
                kept, start = kept[:, drop:], start + drop

    @property
    def at_source(self) -> "Frame":
        """That of a map whose voxels are the source's already."""
        return self._replace(shape=self.turned)

    def turn(self, volume: np.ndarray) -> np.ndarray:
        """(C, *turned) of (C, X, Y, Z): a view, its axes towards right, front and head."""
        turned = volume.transpose(0, *(1 + axis for axis in self.order))
        return np.flip(turned, 1 + np.flatnonzero(self.against))


def frame_of(grid: Grid, spacing: Sequence[float]) -> Frame:
    """The frame of a volume that the network sees at `spacing`, mm towards right, front and head."""
    order, turned = _order(grid), turned_shape(grid)
    leads = nibabel.orientations.io_orientation(grid.affine)[:, 1]  # 1, or -1 where it runs the other way
    x, y, z = (
        max(1, round(side * own / wanted))
        for side, own, wanted in zip(turned, turned_spacing(grid), spacing, strict=True)
    )
    if x * y * z > MOST_VOXELS:
        raise ValueError(
            f"{grid} would be {x} x {y} x {z} voxels of {by(tuple(spacing))} mm; expected a coarser spacing"
        )
    a, b, c = (bool(leads[axis] < 0) for axis in order)
    return Frame(order, (a, b, c), turned, (x, y, z))


def turned_shape(grid: Grid) -> Shape:
    """Voxels of a volume towards right, front and head."""
    x, y, z = (grid.shape[axis] for axis in _order(grid))
    return x, y, z


def turned_spacing(grid: Grid) -> tuple[float, float, float]:
    """mm of its voxels, likewise."""
    x, y, z = (grid.spacing[axis] for axis in _order(grid))
    return x, y, z


def _order(grid: Grid) -> Shape:
    """The file's axis that leads to the right, to the front, to the head."""
    x, y, z = (int(axis) for axis in np.argsort(nibabel.orientations.io_orientation(grid.affine)[:, 0]))
    return x, y, z


def _resized(volume: np.ndarray, shape: Shape) -> Tensor:
    tensor = torch.from_numpy(np.array(volume, np.float32, order="C"))  # a copy: of one voxel no stride is negative
    if tuple(tensor.shape[1:]) == shape:
        return tensor
    return F.interpolate(tensor[None], shape, mode="trilinear", align_corners=False)[0]
