"""Views of an example, ready to be drawn: a picture with its mask, or three middle slices of a volume."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import nibabel
import numpy as np

from configs import Labels
from files import Grid, Pair, read_image, read_label_volume, read_planes, read_volume, require_same_grid
from report.drawing import Colour


class View(NamedTuple):
    """One picture of an example."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    planes: np.ndarray  # (C, H, W) uint8, 255 where a class is
    extent: tuple[float, float]  # width and height in pixels, or in mm: their ratio is what counts


def views_of(pair: Pair, labels: Labels) -> list[View]:
    """A picture, or of a volume its slices from the side, from the front and from below; ValueError for what is faulty.

    Slices go through the middle of what is labelled, or of the volume where nothing is. Up is the head, or the front;
    the patient's right is on the left, as radiologists look. Grey runs from the 0.5 to the 99.5 % quantile of the first
    channel.
    """
    if not pair.is_volume:
        image = read_image(pair.image)
        return [View(image, read_planes(pair.masks, labels), image.shape[1::-1])]
    return views_of_volume(pair.channels, pair.masks[:1], labels)[0]


def views_of_volume(channels: Sequence[Path], marked: Sequence[Path], labels: Labels) -> list[list[View]]:
    """The three slices of a volume, once for each label volume, a mask or a map: all through the middle of the first.

    ValueError for one that does not lie on the volume's grid.
    """
    volume, grid = read_volume(channels)
    found = [read_label_volume(path) for path in marked]
    for path, (_, other) in zip(marked, found, strict=True):
        require_same_grid(path, other, channels[0], grid)
    grey, middles = _grey(volume[0]), _middles(found[0][0], grid)
    return [_slices(grey, label, grid, labels, middles) for label, _ in found]


def outlined(view: View, colours: list[Colour | None], side: int) -> np.ndarray:
    """(h, w, 3) uint8 blue, green, red, `side` pixels at its longer side: a view with the outlines of its planes."""
    scale = side / max(view.extent)
    size = max(1, round(view.extent[0] * scale)), max(1, round(view.extent[1] * scale))
    picture = np.ascontiguousarray(cv2.resize(view.image, size, interpolation=cv2.INTER_AREA)[..., ::-1])
    for plane, colour in zip(view.planes, colours, strict=True):
        if colour is not None:
            mask = cv2.resize(plane, size, interpolation=cv2.INTER_AREA) > 127
            outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(picture, outline, -1, colour, 1)
    return picture


def _middles(label: np.ndarray, grid: Grid) -> list[int]:
    """Per axis, towards right, front and head, where half of what is labelled lies before; of nothing the half."""
    to_ras = nibabel.orientations.io_orientation(grid.affine)
    foreground, found = nibabel.orientations.apply_orientation(label, to_ras) > 0, []
    for axis, side in enumerate(foreground.shape):
        counts = np.cumsum(foreground.sum(tuple(other for other in range(3) if other != axis)))
        found.append(int(np.searchsorted(counts, counts[-1] / 2)) if counts[-1] else side // 2)
    return found


def _slices(grey: np.ndarray, label: np.ndarray, grid: Grid, labels: Labels, middles: Sequence[int]) -> list[View]:
    to_ras = nibabel.orientations.io_orientation(grid.affine)
    grey, label = (nibabel.orientations.apply_orientation(array, to_ras) for array in (grey, label))
    step = [grid.spacing[int(axis)] for axis in np.argsort(to_ras[:, 0])]
    views = []
    for axis, middle in enumerate(middles):
        across, up = (other for other in range(3) if other != axis)
        flat, marked = (_upright(np.take(array, middle, axis), across) for array in (grey, label))
        planes = labels.planes(marked) if labels.values else np.where(marked, np.uint8(255), np.uint8(0))[None]
        extent = label.shape[across] * step[across], label.shape[up] * step[up]
        views.append(View(np.repeat(flat[..., None], 3, 2), planes, extent))
    return views


def _upright(flat: np.ndarray, across: int) -> np.ndarray:
    """A slice (across, up) as a picture: up is up, and from left to right the patient's right comes first."""
    picture = flat.T[::-1]
    return np.ascontiguousarray(picture[:, ::-1] if across == 0 else picture)


def _grey(channel: np.ndarray) -> np.ndarray:
    low, high = np.quantile(channel[::2, ::2, ::2], (0.005, 0.995))
    return (np.clip((channel - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
