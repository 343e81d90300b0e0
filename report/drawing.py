"""What the pictures of the tools share: which images, which colours, and what was hit or missed."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

Item = TypeVar("Item")
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {  # of classes; blue, green, red
    "green": (0, 255, 0),
    "orange": (0, 160, 255),
    "blue": (255, 160, 0),
    "magenta": (200, 0, 255),
    "yellow": (0, 255, 255),
    "cyan": (255, 255, 0),
}
HIT, FALSE_ALARM, MISSED = (0, 158, 115), (213, 94, 0), (0, 114, 178)  # RGB, told apart by colour-blind readers


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of some items, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[i] for i in np.unique(places)]


def in_colours(labels: np.ndarray, colours: Mapping[int, Colour]) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a label image (H, W): each value in its colour (blue, green, red), others black."""
    picture = np.zeros((*labels.shape, 3), np.uint8)
    for value, colour in colours.items():
        picture[labels == value] = colour[::-1]
    return picture


def colour_errors(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 of a map cut above 127 and a gt cut at half its maximum: hit, false alarm, missed, else black."""
    if pred.shape != gt.shape:
        pred = np.asarray(Image.fromarray(pred).resize(gt.shape[::-1]))
    hit, truth = pred > 127, gt > gt.max() // 2
    picture = np.zeros((*gt.shape, 3), np.uint8)
    picture[hit & truth], picture[hit & ~truth], picture[~hit & truth] = HIT, FALSE_ALARM, MISSED
    return picture
