"""Augmentations of volumes, as nnU-Net's trainer has them [Nature Methods 2021, supplement 4], by Config fields.

scipy is imported where a volume is first changed: it takes half a second that pictures need not wait for.
`motion` says where a patch is read from, so that turning it brings in what is around it and no border.
`APPEARANCE` changes the image alone, whose intensities have a mean near 0 and a std near 1.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch

TURN, SCALE = 0.2, 0.2  # how often
THICK = 3  # times as long as the others, an axis is one of slices: nothing turns out of them


def motion(
    rngs: tuple[np.random.Generator, np.random.Generator], degrees: float, zoom: float, spacing: Sequence[float]
) -> np.ndarray | None:
    """(3, 3): voxels from a patch's centre -> voxels from its centre in the volume; None: as it lies.

    degrees: one time in five, uniform in +- about each axis. zoom: one time in five by 1 / (1 + zoom) .. 1 + zoom, as
    often up as down. Both act on millimetres.
    """
    turning, scaling = rngs
    matrix, moved = np.eye(3), False
    if degrees and turning.random() < TURN:
        for first, second in itertools.combinations(range(3), 2):
            angle = np.deg2rad(turning.uniform(-degrees, degrees))
            if max(spacing[first], spacing[second]) >= THICK * min(spacing[first], spacing[second]):
                continue
            turn = np.eye(3)
            turn[[first, second], [first, second]] = np.cos(angle)
            turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
            matrix = matrix @ turn
        moved = True
    if zoom and scaling.random() < SCALE:
        matrix, moved = matrix / (1 + zoom) ** scaling.uniform(-1, 1), True
    mm = np.asarray(spacing)
    return matrix * mm[None] / mm[:, None] if moved else None


def patch_of(
    volume: np.ndarray, centre: np.ndarray, size: Sequence[int], matrix: np.ndarray | None, outside: int = 0
) -> np.ndarray:
    """(C, *size) of (C, *space) about a voxel: the channels linear, the last, labels, nearest.

    What comes in from outside is 0, of the labels `outside`.
    """
    half = (np.asarray(size) - 1) / 2
    if matrix is None:
        start = np.round(centre - half).astype(int)
        return _cut(volume, start, size, outside)
    from scipy import ndimage

    offset = centre - matrix @ half
    if not (matrix - np.diag(scales := np.diag(matrix))).any():
        matrix = scales  # of which scipy knows that each axis is read by itself

    def moved(channel: np.ndarray, order: int, border: float) -> np.ndarray:
        return ndimage.affine_transform(channel, matrix, offset, tuple(size), order=order, mode="constant", cval=border)

    return np.stack([*(moved(channel, 1, 0) for channel in volume[:-1]), moved(volume[-1], 0, outside)])


def _cut(volume: np.ndarray, start: np.ndarray, size: Sequence[int], outside: int) -> np.ndarray:
    space = volume.shape[1:]
    low, high = np.maximum(start, 0), np.minimum(start + size, space)
    x, y, z = (slice(a, max(a, b)) for a, b in zip(low, high))
    patch = np.zeros((len(volume), *size), volume.dtype)
    patch[-1] = outside
    i, j, k = (slice(part.start - s, part.stop - s) for part, s in zip((x, y, z), start))
    patch[:, i, j, k] = volume[:, x, y, z]
    return patch


# -------------------------------------------------------------------------------------------------------- appearance


def noise(image: np.ndarray, rng: np.random.Generator, largest: float) -> np.ndarray:
    """Gaussian, one time in ten, of a variance up to `largest`."""
    if rng.random() >= 0.1:
        return image
    return image + np.float32(np.sqrt(rng.uniform(0, largest))) * rng.standard_normal(image.shape, np.float32)


def blur(image: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """A Gaussian of 0.5 to 1 voxel, each channel with its own one time in two."""
    if rng.random() >= probability:
        return image
    from scipy import ndimage

    chosen = [(rng.random() < 0.5, rng.uniform(0.5, 1)) for _ in image]
    return np.stack([ndimage.gaussian_filter(x, sigma) if yes else x for x, (yes, sigma) in zip(image, chosen)])


def colour(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Brightness, then contrast about the mean: each 15 times in 100 by 1 - strength .. 1 + strength."""
    if rng.random() < 0.15:
        image = image * _each(rng.uniform(1 - strength, 1 + strength, len(image)))
    if rng.random() < 0.15:
        mean, low, high = (f(image, (1, 2, 3), keepdims=True) for f in (np.mean, np.min, np.max))
        factor = _each(rng.uniform(1 - strength, 1 + strength, len(image)))
        image = np.clip((image - mean) * factor + mean, low, high)
    return image


def low_resolution(image: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """As if it had been half to once as fine: nearest down, cubic up; each channel one time in two."""
    if rng.random() >= probability:
        return image
    chosen = [(rng.random() < 0.5, rng.uniform(0.5, 1)) for _ in image]
    return np.stack([coarser(x, scale) if yes else x for x, (yes, scale) in zip(image, chosen)])


def gamma(image: np.ndarray, rng: np.random.Generator, largest: float) -> np.ndarray:
    """Intensities to the power of 1 / (1 + largest) .. 1 + largest, mean and std kept: three times in ten.

    And one time in ten of the inverted image.
    """
    for often, sign in ((0.1, -1), (0.3, 1)):
        if rng.random() < often:
            powers = (1 + largest) ** rng.uniform(-1, 1, len(image))
            image = sign * np.stack([_to_the_power(sign * x, power) for x, power in zip(image, powers)])
    return image


def _to_the_power(x: np.ndarray, power: float) -> np.ndarray:
    mean, std, low, high = x.mean(), x.std(), x.min(), x.max()
    bent = ((x - low) / max(high - low, 1e-7)) ** np.float32(power)
    return (bent - bent.mean()) / max(float(bent.std()), 1e-7) * std + mean


def coarser(x: np.ndarray, scale: float) -> np.ndarray:
    """x (X, Y, Z) float32, down and up by a matrix for each axis: scipy sums 64 voxels for each of them."""
    found = torch.from_numpy(np.ascontiguousarray(x))
    for side in x.shape:  # the axis in front goes behind the others: three times, and they are as they were
        found = torch.tensordot(found, _down_and_up(side, max(1, round(side * scale))).to(found.dtype), ([0], [1]))
    return found.numpy()


def _down_and_up(side: int, coarse: int) -> torch.Tensor:
    """(side, side) float64: along an axis, to `coarse` voxels by the nearest and back by a cubic spline."""
    from scipy import ndimage

    down = ndimage.zoom(np.eye(side), (coarse / side, 1), order=0)
    return torch.from_numpy(ndimage.zoom(down, (side / coarse, 1), order=3, mode="nearest", grid_mode=True))


def _each(factors: np.ndarray) -> np.ndarray:
    return factors.astype(np.float32)[:, None, None, None]


# Config field -> function(image, rng, strength): image (C, *space) float32, as is what comes back; in nnU-Net's order
APPEARANCE: dict[str, Callable[[np.ndarray, np.random.Generator, float], np.ndarray]] = {
    "noise": noise,
    "blur": blur,
    "colour": colour,
    "low_resolution": low_resolution,
    "gamma": gamma,
}
