"""A volume as the network sees it: turned, resampled, its intensities brought to one scale."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs import Config, Labels
from files import Grid, Pair, read_classes, read_volume, require_same_grid
from volumes.frame import Frame, frame_of

BACKGROUND = 0.25  # of the voxels: as many zeros are no tissue, and have no part in a mean


def read_image(channels: Sequence[Path], cfg: Config) -> tuple[np.ndarray, Frame, Grid]:
    """(C, *frame.shape) float32 of an image, and where it lies. ValueError for another number of channels."""
    ((image, frame),), grid = read_images(channels, [cfg])
    return image, frame, grid


def read_images(channels: Sequence[Path], cfgs: Sequence[Config]) -> tuple[list[tuple[np.ndarray, Frame]], Grid]:
    """The same, its files read once, for each Config: at its spacing, with its intensities."""
    volume, grid = read_volume(channels)
    if cfgs[0].inputs and len(volume) != cfgs[0].inputs:
        raise ValueError(f"{channels[0]} has {len(volume)} channels; expected {cfgs[0].inputs}, as the others (inputs)")
    frames = [frame_of(grid, cfg.spacing) for cfg in cfgs]
    found = []
    for i, (frame, cfg) in enumerate(zip(frames, cfgs, strict=True), start=1):
        # the last one may change what was read: a CT of 600 slices is as large as all else together
        mine = volume if i == len(cfgs) else volume.copy("K")
        found.append((frame.forward(normalise(mine, cfg.intensity)), frame))
    return found, grid


def read_indices(pair: Pair, labels: Labels, grid: Grid) -> np.ndarray:
    """(X, Y, Z) uint8: the class of each voxel, by its place among `labels`; of one class 1 where it is.

    That is its value or, without `label_values`, any but 0.
    """
    # the values of one class are not asked for, but which of several files is its
    volume, own = read_classes(pair.masks, labels if labels.several or len(pair.masks) > 1 else None)
    require_same_grid(pair.masks[0], own, pair.image, grid)
    if not labels.several:
        return (volume == labels.values[0] if labels.values else volume > 0).astype(np.uint8)
    places = np.zeros(int(volume.max()) + 1, np.uint8)
    for place, value in enumerate(labels.values):
        places[value : value + 1] = place
    return places[volume]


def values(indices: np.ndarray, labels: Labels) -> np.ndarray:
    """(...) uint8 label values of class indices (...); of one class without a value 1."""
    if labels.several:
        return labels.image(indices)
    return indices * np.uint8(labels.values[0] if labels.values else 1)


def planes(indices: np.ndarray, labels: Labels) -> np.ndarray:
    """(C, ...) bool of class indices (...)."""
    return np.stack([indices == (c if labels.several else 1) for c in range(labels.count)])


def normalise(volume: np.ndarray, intensity: Sequence[float] = ()) -> np.ndarray:
    """`volume` (C, X, Y, Z) float32, changed to a mean near 0 and a std near 1.

    CT has one scale: cut at the lowest and highest, less the mean, over the std, all four of a training set. MR has
    none: each channel by its own mean and std, over what is not 0 where a quarter of it is.
    """
    if intensity:
        low, high, mean, std = intensity
        np.clip(volume, low, high, out=volume)
        volume -= np.float32(mean)
        volume /= np.float32(std)
    else:
        for channel in volume:
            _by_itself(channel)
    return volume


def _by_itself(channel: np.ndarray) -> None:
    tissue = channel != 0
    inside = channel[tissue] if tissue.mean() < 1 - BACKGROUND and tissue.any() else channel
    mean, std = inside.mean(dtype=np.float64), inside.std(dtype=np.float64)
    channel -= np.float32(mean)
    channel /= np.float32(max(std, 1e-8))
