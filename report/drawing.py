"""What the pictures of the tools share: which images, which colours, and what was hit or missed."""

import difflib
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TypeVar

import numpy as np
from PIL import Image

from configs import Labels

Item = TypeVar("Item")
Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {  # of classes; blue, green, red
    "green": (0, 255, 0),
    "orange": (0, 160, 255),
    "blue": (255, 160, 0),
    "magenta": (200, 0, 255),
    "yellow": (0, 255, 255),
    "cyan": (255, 255, 0),
    "red": (40, 40, 255),
    "white": (255, 255, 255),
    "violet": (255, 90, 140),
    "brown": (40, 90, 160),
}
HIT, FALSE_ALARM, MISSED = (0, 158, 115), (213, 94, 0), (0, 114, 178)  # RGB, told apart by colour-blind readers


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of some items, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[i] for i in np.unique(places)]


def chosen_of(names: Sequence[str], only: Sequence[str]) -> list[str]:
    """Those of `names` that `only` lists, in its order; ValueError for one that is not there."""
    if unknown := [name for name in only if name not in names]:
        near = difflib.get_close_matches(unknown[0], names, n=1) or names[:1]
        raise ValueError(
            f"no image {unknown[0]!r} has a mask and every map; the {len(names)} that have: {near[0]}, ..."
        )
    return list(only)


def colours_of(labels: Labels) -> dict[int, Colour]:
    """Value -> colour of every class but the background, by its place in label_values: the same in every picture."""
    shown = [value for i, value in enumerate(labels.values) if i != labels.outside]
    return dict(zip(shown, cycle(COLOURS.values())))


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
