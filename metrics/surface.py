"""How far the surfaces of two masks are apart, in images (H, W) and in volumes (X, Y, Z) alike.

A surface voxel is foreground that has background, or the border of the volume, in its face neighbourhood: MONAI's
without subvoxels, MedPy's with connectivity 1. Distances are those of voxel centres.
"""

from collections.abc import Sequence

import numpy as np

# A tree is asked for each voxel of the surface; a distance transform works on each voxel of the box, at a fifth of the
# price. The surface of objects is a fiftieth of their box. That of an untrained network's noise is half of it: a
# tree takes 30 s then, a transform 6. The transform holds some 50 bytes a voxel, hence a limit.
DENSE, LARGE = 1 / 5, 2**25
SLACK = 1 + 1e-6  # spacing is float32 in a NIfTI header: 1.2 mm there are 1.2000000477, and within 1.2 mm


def cropped(pred: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks in the box about the foreground of either, as views; no surface and no component changes."""
    for axis in range(pred.ndim):
        others = tuple(other for other in range(pred.ndim) if other != axis)
        there = np.flatnonzero(pred.any(others) | gt.any(others))
        window = slice(there[0], there[-1] + 1) if len(there) else slice(0)
        pred, gt = (mask[(slice(None),) * axis + (window,)] for mask in (pred, gt))
    return pred, gt


def surface(mask: np.ndarray) -> np.ndarray:
    """Bool, of the mask's shape: its surface voxels."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        inside, own = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= own[:-1]
        inside[:-1] &= own[1:]
        inside[[0, -1]] = False
    return mask & ~inner


def distances(pred: np.ndarray, gt: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """From every surface voxel of pred to the nearest of gt, and the other way round: float64, in the unit of spacing.

    pred, gt bool, neither empty. In no order: voxels of both surfaces, whose distance is 0, come last.
    """
    ours, theirs = surface(pred), surface(gt)
    shared = ours & theirs
    zeros = np.zeros(np.count_nonzero(shared))
    there, back = _nearest(ours & ~shared, theirs, spacing), _nearest(theirs & ~shared, ours, spacing)
    return np.concatenate([there, zeros]), np.concatenate([back, zeros])


def hd95(there: np.ndarray, back: np.ndarray) -> float:
    """The larger of the 95th percentiles of both directions, between ranks linear: MONAI's."""
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def assd(there: np.ndarray, back: np.ndarray) -> float:
    """Average symmetric surface distance: the mean over the voxels of both surfaces together, MONAI's."""
    return float((there.sum() + back.sum()) / (len(there) + len(back)))


def nsd(there: np.ndarray, back: np.ndarray, tolerance: float) -> float:
    """Share of the voxels of both surfaces within the tolerance of the other [Nikolov et al., JMIR 2021], by voxels."""
    within = sum(np.count_nonzero(found <= tolerance * SLACK) for found in (there, back))
    return within / (len(there) + len(back))


def _nearest(mask: np.ndarray, other: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """From every voxel of a mask to the nearest of another, that has one."""
    from scipy import ndimage, spatial  # takes half a second, which scores of pictures need not wait for

    count = np.count_nonzero(mask)
    if not count:
        return np.zeros(0)
    if count > DENSE * mask.size and mask.size < LARGE:
        return ndimage.distance_transform_edt(~other, spacing)[mask]
    # asked once, so a tree that is quickly built
    tree = spatial.cKDTree(_points(other, spacing), leafsize=32, balanced_tree=False, compact_nodes=False)
    return tree.query(_points(mask, spacing))[0]


def _points(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """(N, axes) float64: where the voxels of a mask are."""
    places = np.unravel_index(np.flatnonzero(mask), mask.shape)  # several times faster than np.argwhere
    return np.stack(places, 1) * np.asarray(spacing, np.float64)
