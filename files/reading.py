"""Reading image files: images, masks and maps of any format and depth, each to one array."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

MOST_PIXELS = 2**28  # 16384 x 16384: a file of 100 KB may promise, and a decoder then take, gigabytes
REDUCE = f"expected at most {MOST_PIXELS} pixels: cut it into tiles, or scale it down"
# one limit, also where Pillow reads; from one to two times as many it would only warn
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF says, of 16 bits the upper eight; ValueError if it cannot be decoded."""
    return cv2.cvtColor(decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_mask(*paths: str | Path) -> np.ndarray:
    """(H, W) uint8, 0 background .. 255 lesion, the union of all files. One valued 0/1 is stretched, with a warning."""
    masks = [decode_mask(path) for path in paths]
    if any(mask.max() == 1 for mask in masks):
        warnings.warn("a mask is valued 0/1, not 0/255: read as 0/255 (so is every mask like it)", stacklevel=2)
    return union(paths, [mask * 255 if mask.max() == 1 else mask for mask in masks])


def union(paths: Sequence[str | Path], masks: Sequence[np.ndarray]) -> np.ndarray:
    """The parts of one mask (H, W) as one; ValueError naming the first of another size."""
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            (h, w), (hh, ww) = mask.shape, masks[0].shape
            raise ValueError(f"{path} is {w}x{h} but {paths[0]}, of the same image, is {ww}x{hh}; they must be equal")
    return np.maximum.reduce(masks)


def read_planes(paths: Sequence[Path], label_values: Sequence[int] = ()) -> np.ndarray:
    """(C, H, W) uint8, a plane per class, 255 where the class is: what a network learns from one image's masks.

    Without label_values one plane, `read_mask`. With them the pixels of each value in a label image; of several values
    every pixel must have one. ValueError naming the file and what else it holds.
    """
    if not label_values:
        return read_mask(*paths)[None]
    labels = read_labels(paths, label_values)
    return np.stack([np.where(labels == value, np.uint8(255), np.uint8(0)) for value in label_values])


def read_labels(paths: Sequence[Path], label_values: Sequence[int]) -> np.ndarray:
    """(H, W) uint8 values of the one label image of an image; ValueError as for `read_planes`."""
    if len(paths) > 1:
        raise ValueError(f"{paths[0]} and {paths[1].name} belong to one image; a label image must be one file")
    labels = _values(paths[0], label_values)
    strange = np.setdiff1d(labels, label_values) if len(label_values) > 1 else np.empty(0)
    if len(strange):
        shown = ", ".join(map(str, strange[:6])) + (", ..." if len(strange) > 6 else "")
        raise ValueError(
            f"{paths[0]} holds {shown} ({np.isin(labels, strange).sum()} pixels), not among label_values "
            f"{', '.join(map(str, label_values))}; expected these alone (JPEG and resizing blur them: use PNG)"
        )
    return labels


def _values(path: Path, label_values: Sequence[int]) -> np.ndarray:
    """(H, W) uint8 of a label image; of a palette image its indices or its greys, whichever are label values."""
    with decoding(path), Image.open(path) as image:
        palette = image.mode == "P"
        indices, greys = (np.asarray(image), np.asarray(image.convert("L"))) if palette else (None, None)
    if indices is None or greys is None:
        return decode_mask(path)
    fit = np.any if len(label_values) == 1 else np.all
    is_label = [bool(fit(np.isin(np.unique(values), label_values))) for values in (indices, greys)]
    return greys if is_label == [False, True] else indices


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


def mask_of_16_bits(path: str | Path, mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of a 16-bit mask, see `decode_mask`."""
    top = mask.max()
    if 255 < top < 32768:
        raise ValueError(f"{path} has 16-bit values up to {top}; expected 255 or 65535 (or 1) for a lesion")
    return (mask if top < 256 else np.round(mask / 257)).astype(np.uint8)


def areas_of_grey(mask: np.ndarray) -> int | None:
    """The commonest value of flat areas between black and white in a mask (H, W) uint8; None where it has none.

    Soft edges are none: there, a grey pixel seldom equals both its right and its lower neighbour.
    """
    grey = (mask > 20) & (mask < 235)
    if not grey.any():
        return None
    flat = grey[:-1, :-1] & (mask[:-1, :-1] == mask[:-1, 1:]) & (mask[:-1, :-1] == mask[1:, :-1])
    if flat.sum() <= max(grey.sum() / 3, 0.01 * np.count_nonzero(mask)):
        return None
    return int(np.bincount(mask[:-1, :-1][flat]).argmax())


def decode(path: str | Path, flags: int) -> np.ndarray:
    """An image as OpenCV's `flags` ask for it; FileNotFoundError or ValueError if it cannot be."""
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} has vanished; is its disk still there? The run can be resumed") from error
    with decoding(path):
        require_reasonable_size(path, data)
        if data[:3].tobytes() == b"GIF":  # OpenCV takes the palette's numbers for grey values
            with Image.open(path) as image:
                grey = flags & cv2.IMREAD_COLOR == 0
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
                return pixels if grey else pixels[..., ::-1]
        # not cv2.imread: it knows no error but None, and no non-ASCII name on Windows
        array = cv2.imdecode(data, flags) if data.size else None
        if array is None:
            raise ValueError(f"{data.size} bytes")
        return array


@contextmanager
def decoding(path: str | Path) -> Iterator[None]:
    """Whatever a decoder raises about a damaged file becomes one `Unreadable` that names it; may be nested."""
    try:
        yield
    except (FileNotFoundError, PermissionError, MemoryError, Unreadable):
        raise
    except Exception as error:  # IndexError, TypeError, struct.error, SyntaxError: decoders promise none in particular
        said = " ".join(str(error).split()) or type(error).__name__
        raise Unreadable(f"{path} cannot be decoded ({said}); replace it") from error


class Unreadable(ValueError):
    """A file that is no picture, a damaged one, or one of more pixels than any reader here takes."""


def require_reasonable_size(path: str | Path, data: np.ndarray) -> None:
    """Unreadable, before memory is taken for it, where the header of an image file promises too many pixels."""
    try:
        with Image.open(BytesIO(data.data)) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(f"{path} is refused ({error}); {REDUCE}") from error
    except Exception:  # not for Pillow: the decoder has the word
        return
    if width * height > MOST_PIXELS:
        raise Unreadable(f"{path} is {width}x{height}; {REDUCE}")
