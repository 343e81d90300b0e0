"""A look at every file of a data set: what it holds, and what is wrong with it, before a night is spent on it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from files.pairs import Pair
from files.reading import decode, decode_mask, read_labels


@dataclass(frozen=True)
class Check:
    """What `survey` saw in a training folder."""

    pairs: int
    smallest: tuple[int, int]  # height, width
    largest: tuple[int, int]
    empty_masks: int
    binary_masks: int  # valued 0/1 instead of 0/255
    merged_masks: int  # images whose mask is in several files
    covered: float  # part of all pixels that is lesion
    values: tuple[int, ...]  # every grey value of the masks
    classes: dict[int, tuple[int, float]]  # of label images: value -> images that have it, part of all pixels

    def __str__(self) -> str:
        (h, w), (hh, ww) = self.smallest, self.largest
        text = f"{self.pairs} pairs, {w}x{h} to {ww}x{hh} pixels, "
        if self.classes:
            return text + "classes " + ", ".join(f"{v} ({part:.1%})" for v, (_, part) in self.classes.items())
        text += f"{self.empty_masks} empty masks"
        text += f", {self.merged_masks} images with several masks, merged" if self.merged_masks else ""
        return text + (f", {self.binary_masks} masks valued 0/1, read as 0/255" if self.binary_masks else "")


def check_pairs(pairs: Sequence[Pair], label_values: Sequence[int] = ()) -> Check:
    """Decode every file once, strictly; ValueError for the first corrupt or truncated one or mask of another size.

    With label_values masks are label images, and any other value in one is an error.
    """
    check, problems = survey(pairs, label_values)
    if problems:
        more = f"; {len(problems) - 1} more files are faulty, `python -m tools.check_data` lists them"
        raise ValueError(next(iter(problems.values())) + (more if len(problems) > 1 else ""))
    assert check
    return check


def survey(pairs: Sequence[Pair], label_values: Sequence[int] = ()) -> tuple[Check | None, dict[str, str]]:
    """(what the sound pairs are like, None if there is none; name -> what is wrong with each other pair)."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looks = pool.map(lambda pair: _look(pair, label_values), pairs)
        found = list(tqdm(looks, "check data", len(pairs), leave=False, disable=None))
    seen = [look for look in found if isinstance(look, _Look)]
    problems = {pair.name: look for pair, look in zip(pairs, found, strict=True) if isinstance(look, str)}
    if not seen:
        return None, problems
    pixels = sum(look.size[0] * look.size[1] for look in seen)
    histogram = np.sum([look.histogram for look in seen], 0)
    check = Check(
        pairs=len(seen),
        smallest=min(look.size for look in seen),
        largest=max(look.size for look in seen),
        empty_masks=sum(look.top == 0 for look in seen),
        binary_masks=sum(look.top == 1 for look in seen),
        merged_masks=sum(look.masks > 1 for look in seen),
        covered=sum(look.covered for look in seen) / pixels,
        values=tuple(np.flatnonzero(histogram).tolist()),
        classes={
            value: (sum(bool(look.histogram[value]) for look in seen), histogram[value] / pixels)
            for value in label_values
        },
    )
    return check, problems


class _Look(NamedTuple):
    size: tuple[int, int]
    masks: int
    top: int
    covered: int  # pixels of lesion
    histogram: np.ndarray  # of the masks' 256 grey values


def _look(pair: Pair, label_values: Sequence[int]) -> _Look | str:
    try:
        return _look_closely(pair, label_values)
    except (ValueError, OSError) as error:
        return str(error)


def _look_closely(pair: Pair, label_values: Sequence[int]) -> _Look:
    for path in pair.files:
        try:
            with Image.open(path) as image:
                image.load()  # unlike OpenCV, Pillow refuses a truncated file
                turned = image.getexif().get(0x0112, 1) != 1
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} cannot be decoded ({error}); replace it") from error
        if path == pair.image:
            size = decode(path, cv2.IMREAD_COLOR).shape[:2]
            note = ", turned as its EXIF says" if turned else ""
    whole, histogram = np.zeros(size, bool), np.zeros(256, np.int64)
    for path in pair.files[1:]:
        labelled = label_values and path != pair.within
        mask = read_labels(pair.masks, label_values) if labelled else decode_mask(path)
        if mask.shape != size:
            (h, w), (mh, mw) = size, mask.shape
            raise ValueError(f"{path} is {mw}x{mh} but its image {pair.image} is {w}x{h}{note}; they must be equal")
        if path == pair.within:
            if not mask.any():
                raise ValueError(f"{path} is an empty field of view; expected 255 where the image counts")
            continue
        histogram += np.bincount(mask.ravel(), minlength=256)
        top = int(mask.max())
        if 1 < top < 128 and not label_values:
            raise ValueError(
                f"{path} has no value above {top}; expected 255 (or 1) for a lesion. "
                "A palette image? Save it as grey, 0 and 255. Several classes? Give classes and label_values"
            )
        whole |= mask > (127 if top > 1 else 0)
    return _Look(size, len(pair.masks), int(np.flatnonzero(histogram)[-1]), int(whole.sum()), histogram)
