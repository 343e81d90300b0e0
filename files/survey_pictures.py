"""What every picture of a data set holds, and what would be trained on otherwise than it is meant."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from configs import Labels
from files.decoding import opened, require_whole
from files.pairs import Pair
from files.reading import areas_of_grey, decode_mask, read_image, read_labels, require_two_kinds


@dataclass(frozen=True)
class Check:
    """What `survey` saw in a folder of pictures."""

    pairs: int
    smallest: tuple[int, int]  # height, width
    largest: tuple[int, int]
    empty: tuple[str, ...]  # names of the pairs whose mask is empty
    white: tuple[str, ...]  # whose mask is lesion all over
    binary: tuple[str, ...]  # whose mask is valued 0/1 instead of 0/255
    mixed: tuple[str, ...]  # whose mask is valued 0/255 while others' are valued 0/1
    merged: tuple[str, ...]  # whose mask is in several files
    turned: tuple[str, ...]  # whose image is turned by its EXIF tag
    covered: float  # part of all pixels that is lesion
    values: tuple[int, ...]  # every grey value of the masks
    classes: dict[int, tuple[int, float]]  # of label images: value -> images that have it, part of all pixels

    def __str__(self) -> str:
        (h, w), (hh, ww) = self.smallest, self.largest
        text = f"{self.pairs} pairs, {w}x{h} to {ww}x{hh} pixels, "
        if self.classes:
            return text + "classes " + ", ".join(f"{v} ({share:.1%})" for v, (_, share) in self.classes.items())
        return text + ", ".join([f"lesion {self.covered:.1%}, {len(self.empty)} empty masks", *self.remarks()])

    def remarks(self) -> list[str]:
        """What was read otherwise than it is written, with the first of each kind."""
        kinds = (
            (self.white, "masks white all over: inverted, or whole?"),
            (self.merged, "images with several masks, merged"),
            (self.binary, "masks valued 0/1, read as 0/255"),
            (self.mixed, "masks beside them valued 0/255: is 255 what to ignore there? It is read as lesion"),
            (self.turned, "images turned by EXIF, their masks are not"),
        )
        inverted = [f"lesion is {self.covered:.0%} of all pixels: inverted masks?"] if self.covered > 0.5 else []
        return inverted + [f"{len(names)} {what} (first {names[0]})" for names, what in kinds if names]


def check_of_pictures(seen: Mapping[str, "Look"], labels: Labels) -> Check:
    """All looks as one."""
    sound, histogram = list(seen.values()), np.sum([look.histogram for look in seen.values()], 0)
    pixels = sum(look.size[0] * look.size[1] for look in sound)

    def named(holds: Callable[[Look], bool]) -> tuple[str, ...]:
        return tuple(name for name, look in seen.items() if holds(look))

    return Check(
        pairs=len(seen),
        smallest=min(look.size for look in sound),
        largest=max(look.size for look in sound),
        empty=named(lambda look: look.top == 0),
        white=named(lambda look: look.covered == look.size[0] * look.size[1]),
        binary=named(lambda look: look.top == 1),
        mixed=named(lambda look: look.top > 127) if any(look.top == 1 for look in sound) else (),
        merged=named(lambda look: look.masks > 1),
        turned=named(lambda look: look.turned),
        covered=sum(look.covered for look in sound) / pixels,
        values=tuple(np.flatnonzero(histogram).tolist()),
        classes={
            value: (sum(bool(look.histogram[value]) for look in sound), histogram[value] / pixels)
            for value in labels.values
        },
    )


class Look(NamedTuple):
    """One pair of pictures, as it was read."""

    size: tuple[int, int]
    turned: bool
    masks: int
    top: int
    covered: int  # pixels of lesion
    histogram: np.ndarray  # of the masks' 256 grey values


def look_at_picture(pair: Pair, labels: Labels) -> Look | list[str]:
    """What a pair holds, or what is wrong with it: every file that cannot be decoded, or else the first fault."""
    turned, faults = {}, []
    for path in pair.files:
        try:
            turned[path] = _open(path)
        except (ValueError, OSError) as error:
            faults.append(str(error))
    try:
        return faults or _look_closely(pair, labels, turned[pair.image])
    except (ValueError, OSError) as error:
        return [str(error)]


def _look_closely(pair: Pair, labels: Labels, turned: bool) -> Look:
    size, note = read_image(pair.image).shape[:2], ", turned as its EXIF says" if turned else ""
    whole, histogram = np.zeros(size, bool), np.zeros(256, np.int64)
    for path in (*pair.masks, *((pair.within,) if pair.within else ())):
        labelled = bool(labels.values) and path != pair.within
        mask = read_labels(pair.masks, labels) if labelled else decode_mask(path)
        if mask.shape != size:
            (h, w), (mh, mw) = size, mask.shape
            raise ValueError(f"{path} is {mw}x{mh} but its image {pair.image} is {w}x{h}{note}; they must be equal")
        if path == pair.within:
            if not _foreground(mask).any():
                raise ValueError(f"{path} is an empty field of view; expected 255 where the image counts")
            continue
        if not labelled:
            _require_binary(path, mask)
        # not np.bincount, which makes whole words of the bytes first: float32, exact to 2^24 pixels of a value
        histogram += cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        whole |= _foreground(mask)
    return Look(size, turned, len(pair.masks), int(np.flatnonzero(histogram)[-1]), int(whole.sum()), histogram)


def _foreground(mask: np.ndarray) -> np.ndarray:
    return mask > (127 if mask.max() > 1 else 0)


def _open(path: Path) -> bool:
    """Whether EXIF turns an image; ValueError as for `require_whole`."""
    with opened(path) as image:
        turned = image.getexif().get(0x0112, 1) != 1  # before it is decoded: of a TIFF Pillow then forgets it
        require_whole(path, image)
    return turned


def _require_binary(path: Path, mask: np.ndarray) -> None:
    """ValueError for a mask without foreground, with labels, or with flat areas between black and white."""
    require_two_kinds(path, mask)
    value, top = areas_of_grey(mask), mask.max()
    if value is None and not 1 < top < 128:
        return
    values = np.unique(mask)
    few = f" {','.join(map(str, values))}" if len(values) <= 12 else ""
    hint = f"A palette or colour image? Save it as grey, 0 and 255. Several classes? Give classes and label_values{few}"
    if 1 < top < 128:
        raise ValueError(f"{path} has no value above {top}; expected 255 (or 1) for a lesion. {hint}")
    raise ValueError(
        f"{path} has areas of grey {value}, neither lesion nor background. {hint}. "
        "Meant as soft values? check_data=False trains on them"
    )
