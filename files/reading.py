"""Reading what is trained on: images, masks and label images of any format and depth, each to one array."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from configs import BINARY, Labels
from files.decoding import decode, opened, require_whole

EIGHT_BITS = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}  # Pillow's modes that hold all of a file's values


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF says, of 16 bits the upper eight.

    ValueError if it cannot be decoded or holds other values, such as float or twelve bits in sixteen.
    """
    image = decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype == np.uint16:
        if image.max() < 8192:
            raise ValueError(
                f"{path} has 16-bit values up to {image.max()}, all but black once read as 8 bits; "
                "stretch them to 0..65535"
            )
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"{path} holds {image.dtype} values; save it with 8 bits, 0..255")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_whole_image(path: str | Path) -> Image.Image:
    """`read_image` of a file that nobody has checked, as Pillow's RGB: refused is what `require_whole` refuses.

    Decoded by Pillow as the original decodes test images, where Pillow keeps all values: the same pixels, in one go.
    """
    with opened(path) as image:
        # of a TIFF, and of 16 bits in colour, the mode does not tell how values are stored
        stored = str(getattr(image, "tile", ""))
        plain = image.mode in EIGHT_BITS and image.format != "TIFF" and ";16" not in stored
        require_whole(path, image)
        if plain:
            ImageOps.exif_transpose(image, in_place=True)
            return image if image.mode == "RGB" else image.convert("RGB")  # neither makes a copy for nothing
    return Image.fromarray(read_image(path))


def read_mask(*paths: str | Path) -> np.ndarray:
    """(H, W) uint8, 0 background .. 255 lesion, the union of all files. One valued 0/1 is stretched, with a warning."""
    masks = [decode_mask(path) for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        require_two_kinds(path, mask)
    if any(mask.max() == 1 for mask in masks):
        warnings.warn("a mask is valued 0/1, not 0/255: read as 0/255 (so is every mask like it)", stacklevel=2)
    return union(paths, [mask * 255 if mask.max() == 1 else mask for mask in masks])


def union(paths: Sequence[str | Path], masks: Sequence[np.ndarray]) -> np.ndarray:
    """The parts of one mask (H, W) as one; ValueError naming the first of another size."""
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            (h, w), (hh, ww) = mask.shape, masks[0].shape
            raise ValueError(f"{path} is {w}x{h} but {paths[0]}, of the same image, is {ww}x{hh}; they must be equal")
    return masks[0] if len(masks) == 1 else np.maximum.reduce(masks)


def read_planes(paths: Sequence[Path], labels: Labels = BINARY) -> np.ndarray:
    """(C, H, W) uint8, a plane per class, 255 where the class is: what a network learns from one image's masks.

    Of binary masks one plane, `read_mask`. Else the pixels of each value in a label image; of several values every
    pixel must have one. ValueError naming the file and what else it holds.
    """
    return labels.planes(_label_image(paths, labels), paths[0]) if labels.values else read_mask(*paths)[None]


def read_labels(paths: Sequence[Path], labels: Labels) -> np.ndarray:
    """(H, W) uint8 values of the one label image of an image; ValueError as for `read_planes`."""
    image = _label_image(paths, labels)
    labels.require_known(image, paths[0])
    return image


def _label_image(paths: Sequence[Path], labels: Labels) -> np.ndarray:
    """(H, W) uint8 of a label image; of a palette image its indices or its greys, whichever are label values."""
    if len(paths) > 1:
        raise ValueError(f"{paths[0]} and {paths[1].name} belong to one image; a label image must be one file")
    with opened(paths[0]) as image:
        if image.mode != "P":
            return decode_mask(paths[0])
        indices, greys = np.asarray(image), np.asarray(image.convert("L"))
    fit = np.all if labels.several else np.any
    is_label = [bool(fit(np.isin(np.unique(values), labels.values))) for values in (indices, greys)]
    # where both fit, as in a GIF of nothing but its background 255 with index 0, the greys are what is seen
    return greys if is_label[1] else indices


def decode_mask(path: str | Path) -> np.ndarray:
    """(H, W) uint8; of 16 bits the upper eight, unless all values fit into the lower.

    ValueError for 16-bit values that use neither range, such as the numbers of many nuclei, and for other depths.
    """
    mask = decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if mask.dtype == np.uint16:
        return mask_of_16_bits(path, mask)
    if mask.dtype != np.uint8:
        raise ValueError(f"{path} holds {mask.dtype} values; save it with 8 bits, 0 and 255")
    return mask


def require_two_kinds(path: str | Path, mask: np.ndarray) -> None:
    """ValueError for a binary mask (H, W) uint8 that is a label image: 0, 1, ... beside 255, which mostly is "ignore".

    Read as a mask, what is to be ignored would be the lesion. JPEG and soft edges have values in between, or near
    white too.
    """
    top = int(mask.max())
    low = cv2.inRange(mask, 1, 20)
    if top > 127 and low.any() and not cv2.inRange(mask, 21, top - 1).any():
        values = np.unique(mask[low > 0])
        shown = ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
        raise ValueError(
            f"{path} holds {shown} ({np.count_nonzero(low)} pixels) and {top} ({(mask == top).sum()}): a "
            f"lesion of 1, and {top} for what is to be ignored? As a mask, {top} would be the lesion. "
            "Write 0 and 255, or give classes and label_values"
        )


def mask_of_16_bits(path: str | Path, mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of a 16-bit mask, see `decode_mask`."""
    top = mask.max()
    if 255 < top < 32768:
        raise ValueError(f"{path} has 16-bit values up to {top}; expected 255 or 65535 (or 1) for a lesion")
    return (mask if top < 256 else np.round(mask / 257)).astype(np.uint8)


def areas_of_grey(mask: np.ndarray, low: int = 20, high: int = 235) -> int | None:
    """The commonest value of flat areas between black and white in a mask (H, W) uint8; None where it has none.

    Soft edges are none: there, a grey pixel seldom equals both its right and its lower neighbour.
    """
    grey = cv2.inRange(mask, low + 1, high - 1) > 0
    if not grey.any():
        return None
    flat = grey[:-1, :-1] & (mask[:-1, :-1] == mask[:-1, 1:]) & (mask[:-1, :-1] == mask[1:, :-1])
    if flat.sum() <= max(grey.sum() / 3, 0.01 * np.count_nonzero(mask)):
        return None
    return int(np.bincount(mask[:-1, :-1][flat]).argmax())
