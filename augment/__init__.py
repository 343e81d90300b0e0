"""Augmentations beyond the original's flip and turn: a Config field, 0 unless asked for, and a function of its name.

Each draws from a stream of its own, so that switching one on changes nothing of what the others draw.
"""

import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from augment.flat import APPEARANCE, GEOMETRY

AUGMENTATIONS = (*GEOMETRY, *APPEARANCE)  # in the order in which they act


def augmented(
    image: np.ndarray,
    mask: np.ndarray,
    strengths: Mapping[str, float],
    seeds: Sequence[int],
    statistics: tuple[Sequence[float], Sequence[float]],
    outside: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A normalised image (H, W, 3) and its mask (C, H, W) float32, changed by name -> strength, as `seeds` choose.

    Geometry acts on the normalised image, where 0 is the mean colour, which is what comes in from outside; into plane
    `outside` of the mask comes 1. Appearance is a matter of grey levels: for it the normalisation by `statistics`,
    mean and std on 0..255, is undone and done again. Without strengths both arrays are given back as they are.
    """
    for name, move in GEOMETRY.items():
        if strengths.get(name):
            image, mask = move(image, mask, stream(seeds, name), strengths[name], outside)
    if any(strengths.get(name) for name in APPEARANCE):
        mean, std = map(np.asarray, statistics)
        image = np.clip(_scaled(image, std, mean), 0, 255)  # rounding may leave it
        for name, change in APPEARANCE.items():
            if strengths.get(name):
                image = change(image, stream(seeds, name), strengths[name])
        image = _scaled(image, 1 / std, -mean / std)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def stream(seeds: Sequence[int], name: str) -> np.random.Generator:
    """The random numbers of one augmentation of one sample."""
    return np.random.default_rng((*seeds, zlib.crc32(name.encode())))


def _scaled(image: np.ndarray, factor: np.ndarray, add: np.ndarray) -> np.ndarray:
    """Each colour times a factor plus a number: what numpy takes ten times as long for, three numbers at a time."""
    return cv2.transform(image, np.column_stack((np.diag(factor), add)))


__all__ = ["APPEARANCE", "AUGMENTATIONS", "GEOMETRY", "augmented", "stream"]
