"""Maps and gts of anybody, read for scoring: each one grey array, and what had to be made of it in words."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from files.decoding import decode, opened, require_whole
from files.reading import areas_of_grey, mask_of_16_bits, require_two_kinds, union

AREAS = "have areas between black and white (several classes?)"


def read_map(path: str | Path, value: int = 0) -> tuple[np.ndarray, str]:
    """(H, W) uint8 of a map, and what had to be converted to 8-bit grey ("" if nothing). `value`: see `mask_value`.

    Colour and palette become luminance, as `Image.convert("L")` has it; 16 bits become 8, rounded, however
    dark they are: p = 200/65535 is no lesion. ValueError if it cannot be decoded.
    """
    grey, kind = _grey(path)
    if value:
        return _where(grey == value), kind
    if grey.dtype == np.uint8:
        return grey, kind
    dark = ", almost black (no value above 255)" if grey.max() < 256 else ""
    return np.round(grey / 257).astype(np.uint8), kind + dark


def mask_value(paths: Iterable[str | Path]) -> int:
    """The one value beside 0 in maps that are masks: nnU-Net's 1, the 76 of red ones; 0 if they are to be read as p.

    Decided over a whole set, for one map of 0 and 1 may be a network's that finds nothing, p = 1/255. Reading stops
    at the first map that is white somewhere, or has other values.
    """
    value, on_black = 0, False
    for path in paths:
        grey, _ = _grey(path)
        top = int(grey.max())
        if top == np.iinfo(grey.dtype).max or (top and value not in (0, top)) or not _two_valued(grey, top):
            return 0
        value, on_black = max(value, top), on_black or bool(top and not grey.min())
    return value if on_black else 0


def read_gt(paths: Sequence[str | Path]) -> tuple[np.ndarray, list[str]]:
    """(H, W) uint8 of a gt, whose parts may be in several files, and what was made of it, such as "are palette, ..".

    What has one value beside 0 is 0 and 255 after it. ValueError if it cannot be decoded, or parts differ in size.
    """
    parts, notes = zip(*map(_part, paths), strict=True)
    return union(paths, parts), [*dict.fromkeys(note for part in notes for note in part)]


def _part(path: str | Path) -> tuple[np.ndarray, list[str]]:
    grey, kind = _grey(path)
    notes = [f"are {kind}, converted to 8-bit grey"] if kind else []
    if grey.dtype == np.uint16:
        grey = mask_of_16_bits(path, grey)
    require_two_kinds(path, grey)
    top = int(grey.max())
    if 0 < top < 255 and _two_valued(grey, top):
        return _where(grey > 0), [*notes, "hold one value beside 0 that is not 255 (such as 1), read as 0/255"]
    if top < 21 and areas_of_grey(grey, 0, 21) is not None:  # of JPEG's noise on black there are none
        values = ", ".join(map(str, np.unique(grey)[:6]))
        raise ValueError(
            f"{path} has no value above {top}; expected 255 (or 1) for a lesion. Several classes? "
            f"Give classes and label_values {values}"
        )
    if areas_of_grey(grey) is not None:
        if top < 129:  # to PraNet's toolbox they would be empty
            return _where(grey > top // 2), [*notes, f"{AREAS}, none above 128, cut at half of the largest value"]
        notes.append(AREAS)
    return grey, notes


def _grey(path: str | Path) -> tuple[np.ndarray, str]:
    """(H, W) uint8 or uint16 of a map or gt, and what it is otherwise than 8-bit grey."""
    array = decode(path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if array.dtype == np.uint16:
        return array if array.ndim == 2 else cv2.cvtColor(array[..., :3], cv2.COLOR_BGR2GRAY), "16-bit"
    if array.dtype != np.uint8:
        raise ValueError(f"{path} holds {array.dtype} values; save it with 8 or 16 bits")
    if array.ndim == 2:
        return array, ""
    with opened(path) as image:
        require_whole(path, image)
        if image.mode == "P" and _only_numbers_tell(image):
            return np.asarray(image), "palette"
        return np.asarray(image.convert("L")), {"P": "palette"}.get(image.mode, image.mode)


def _only_numbers_tell(image: Image.Image) -> bool:
    """Whether a palette image is of 0 and 1 in colours of which none is black, so that the picture is no mask."""
    colours = image.getpalette() or []
    return [0, 0, 0] not in (colours[:3], colours[3:6]) and np.asarray(image).max() < 2


def _two_valued(grey: np.ndarray, top: int) -> bool:
    return bool(((grey == 0) | (grey == top)).all())


def _where(lesion: np.ndarray) -> np.ndarray:
    return np.where(lesion, np.uint8(255), np.uint8(0))
