"""Augmentations of flat images: `GEOMETRY` moves image and mask together, `APPEARANCE` changes the image alone."""

from collections.abc import Callable

import cv2
import numpy as np

LUMA = np.array((0.299, 0.587, 0.114))  # ITU-R BT.601: what R, G and B add to the grey that the eye sees
Both = tuple[np.ndarray, np.ndarray]  # image and mask

# ---------------------------------------------------------------------------------------------------------- geometry


def vertical_flip(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, probability: float, _: int | None
) -> Both:
    """Mirror top and bottom."""
    return (image[::-1], mask[:, ::-1]) if rng.random() < probability else (image, mask)


def quarter_turns(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, probability: float, _: int | None
) -> Both:
    """One, two or three quarter turns, exact; two, where height and width differ: others would not fit."""
    if rng.random() >= probability:
        return image, mask
    turns = int(rng.integers(1, 4)) if image.shape[0] == image.shape[1] else 2
    return np.rot90(image, turns), np.rot90(mask, turns, (1, 2))


def zoom(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, largest: float, outside: int | None) -> Both:
    """Scale about the centre by 1 / (1 + largest) .. 1 + largest, as often up as down, and shift a little.

    The shift is at most a quarter of `largest`, of height and of width.
    """
    factor = (1 + largest) ** rng.uniform(-1, 1)
    sides = np.array(image.shape[1::-1])
    centre, shift = (sides - 1) / 2, rng.uniform(-largest / 4, largest / 4, 2) * sides
    matrix = np.column_stack((factor * np.eye(2), centre + shift - factor * centre))
    return warp(image, mask, matrix, outside)


def warp(image: np.ndarray, mask: np.ndarray, matrix: np.ndarray, outside: int | None) -> Both:
    """Move both by an affine matrix (2, 3) of x and y, bilinear; 0 comes in, but 1 into plane `outside`."""
    height, width = image.shape[:2]

    def moved(array: np.ndarray, border: float) -> np.ndarray:
        return cv2.warpAffine(np.ascontiguousarray(array), matrix, (width, height), borderValue=border)

    return moved(image, 0), np.stack([moved(plane, float(c == outside)) for c, plane in enumerate(mask)])


# -------------------------------------------------------------------------------------------------------- appearance


def colour(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Brightness, contrast and saturation times 1 - strength .. 1 + strength, hue by at most 45 degrees x strength.

    Hue turns about the axis of greys, so that a grey image stays grey.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    angle = np.deg2rad(45) * rng.uniform(-strength, strength)
    hue, _ = cv2.Rodrigues(np.full(3, angle / np.sqrt(3)))
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * LUMA) @ hue
    middle = brightness * (1 - contrast) * (np.array(cv2.mean(image)[:3]) @ LUMA)  # contrast is about it
    return np.clip(cv2.transform(image, np.column_stack((matrix, np.full(3, middle)))), 0, 255)


def blur(image: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """A Gaussian of 0.5 to 2 pixels."""
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2)) if rng.random() < probability else image


def noise(image: np.ndarray, rng: np.random.Generator, largest: float) -> np.ndarray:
    """Gaussian, each pixel and colour for itself, with a std of 0 to `largest` grey levels."""
    drawn = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, largest))
    return np.clip(image + drawn, 0, 255)


def cutout(image: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """A box of a tenth to four tenths of each side becomes the image's mean colour [DeVries & Taylor, 2017].

    The mask keeps what is hidden: it is to be inferred.
    """
    if rng.random() >= probability:
        return image
    sides = np.array(image.shape[:2])
    box = np.round(sides * rng.uniform(0.1, 0.4, 2)).astype(int)
    top, left = rng.integers(0, sides - box + 1)
    image = image.copy()  # it may be a cache's own
    image[top : top + box[0], left : left + box[1]] = cv2.mean(image)[:3]
    return image


# Config field -> function(image, mask, rng, strength, outside): image (H, W, 3), 0 is what surrounds it; mask (C, H, W)
GEOMETRY: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator, float, int | None], Both]] = {
    "vertical_flip": vertical_flip,
    "quarter_turns": quarter_turns,
    "zoom": zoom,
}
# Config field -> function(image, rng, strength): image (H, W, 3) float32 RGB on 0..255, as is what comes back
APPEARANCE: dict[str, Callable[[np.ndarray, np.random.Generator, float], np.ndarray]] = {
    "colour": colour,
    "blur": blur,
    "noise": noise,
    "cutout": cutout,
}
