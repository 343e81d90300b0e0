"""The original's transforms, on float32 arrays: image (H, W, 3) RGB, mask (C, H, W), a plane per class."""

from collections.abc import Sequence

import cv2
import numpy as np

from augment.flat import Both, warp


def normalise(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(H, W, 3) float32 0..255 -> zero mean, unit variance per channel."""
    # by rows: three numbers at a time numpy takes six times as long for the same
    rows, width = image.reshape(len(image), -1), image.shape[1]
    rows = rows - np.tile(np.asarray(mean, np.float32), width)
    rows /= np.tile(np.asarray(std, np.float32), width)
    return rows.reshape(image.shape)


def flip(image: np.ndarray, mask: np.ndarray) -> Both:
    """Mirror left and right: image (H, W, 3), mask (C, H, W)."""
    return cv2.flip(np.ascontiguousarray(image), 1), mask[..., ::-1]  # numpy copies what is reversed pixel by pixel


def rotate(image: np.ndarray, mask: np.ndarray, degrees: float, outside: int | None = None) -> Both:
    """Turn counter-clockwise about (W/2, H/2), bilinear.

    What comes in from outside is 0, the mean colour of a normalised image and no class; but 1 in plane `outside`.
    """
    height, width = image.shape[:2]
    return warp(image, mask, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), outside)


def resize(array: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """(H, W[, 3]) -> (height, width[, 3]) of `sides`, bilinear without antialiasing."""
    return cv2.resize(array, sides[::-1], interpolation=cv2.INTER_LINEAR)
