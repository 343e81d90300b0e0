"""Reading image files: images, masks and maps of any format and depth, each to one array."""

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from configs import BINARY, Labels

NO_IMAGE = "not an image of 8 or 16 bits"
# the first four bytes of a TIFF and of a large one -> byte order, and where and how its directory is written
TIFF = {
    **{b"II*\0": ("<", 4, "I", "H", 12), b"MM\0*": (">", 4, "I", "H", 12)},
    **{b"II+\0": ("<", 8, "Q", "Q", 20), b"MM\0+": (">", 8, "Q", "Q", 20)},
}
EIGHT_BITS = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}  # Pillow's modes that hold all of a file's values

MOST_PIXELS = 2**28  # 16384 x 16384: a file of 100 KB may promise, and a decoder then take, gigabytes
REDUCE = f"expected at most {MOST_PIXELS} pixels: cut it into tiles, or scale it down"
# one limit, also where Pillow reads; from one to two times as many it would only warn
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


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
            return ImageOps.exif_transpose(image).convert("RGB")
    return Image.fromarray(read_image(path))


def require_whole(path: str | Path, image: Image.Image) -> None:
    """Decode an `opened` image to its end; ValueError for what decoders would make up, or leave out, without a word."""
    image.load()  # unlike OpenCV, Pillow refuses a truncated file
    several = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a camera's JPEG with a preview
    if several > 1:
        raise ValueError(f"{path} holds {several} pictures; expected one: save each as a file")
    if image.mode == "LAB":
        raise ValueError(f"{path} holds CIELAB colours; save it as RGB")
    if image.mode in ("RGBA", "LA"):
        *colours, varied = (band.getextrema()[0] != band.getextrema()[1] for band in image.split())
        if varied and not any(colours):
            raise ValueError(f"{path} has all it shows in its transparency; save it as grey")


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
    return np.maximum.reduce(masks)


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
    grey = (mask > low) & (mask < high)
    if not grey.any():
        return None
    flat = grey[:-1, :-1] & (mask[:-1, :-1] == mask[:-1, 1:]) & (mask[:-1, :-1] == mask[1:, :-1])
    if flat.sum() <= max(grey.sum() / 3, 0.01 * np.count_nonzero(mask)):
        return None
    return int(np.bincount(mask[:-1, :-1][flat]).argmax())


def decode(path: str | Path, flags: int) -> np.ndarray:
    """An image as OpenCV's `flags` ask for it; FileNotFoundError or ValueError if it cannot be."""
    with decoding(path):
        data = _bytes(path)
        require_reasonable_size(path, data)
        # OpenCV takes a GIF's palette numbers for grey values, and multiplies a TIFF's colours by its transparency
        if data[:3] == b"GIF" or (data[:4] in TIFF and _transparent(data)):
            with Image.open(BytesIO(data)) as image:
                grey = flags & cv2.IMREAD_COLOR == 0
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
                return pixels if grey else pixels[..., ::-1]
        # not cv2.imread: it knows no non-ASCII name on Windows
        array = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
        if array is None:  # OpenCV's only error
            raise ValueError(f"{len(data)} bytes, {NO_IMAGE}")
    return array


def _transparent(data: bytes) -> bool:
    try:
        with Image.open(BytesIO(data)) as image:
            return image.mode in ("RGBA", "LA")
    except UnidentifiedImageError:
        return False


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """A file as Pillow opens it; its errors, and those of the block, as `decoding` words them."""
    with decoding(path):
        data = _bytes(path)
        require_reasonable_size(path, data)
        try:
            image = Image.open(BytesIO(data))
        except UnidentifiedImageError as error:
            raise ValueError(f"{len(data)} bytes, {NO_IMAGE}") from error
        with image:
            yield image


def _bytes(path: str | Path) -> bytes:
    """What a file holds; a TIFF of three samples that calls them grey is marked as the RGB that it is.

    CVC-ClinicDB's are such: OpenCV would take the red for grey, Pillow would not open them. ValueError for another
    number of samples called grey: nobody knows what they are.
    """
    data = Path(path).read_bytes()
    if data[:4] not in TIFF:
        return data
    order, at, offset, number, length = TIFF[data[:4]]

    def read(kind: str, place: int) -> int:
        return struct.unpack_from(order + kind, data, place)[0]

    start = read(offset, at)
    entries = [start + struct.calcsize(number) + length * i for i in range(min(read(number, start), 1000))]
    place = {read("H", entry): entry + length - struct.calcsize(offset) for entry in entries}
    photometric, samples = (read("H", place[tag]) if tag in place else 2 for tag in (262, 277))
    if photometric > 1 or samples < 3:
        return data
    if photometric == 0 or samples > 3 or 338 in place:  # white is 0; samples besides the colours
        raise ValueError(f"{samples} samples a pixel that are marked as grey; save it as RGB")
    return data[: place[262]] + struct.pack(f"{order}H", 2) + data[place[262] + 2 :]


@contextmanager
def decoding(path: str | Path) -> Iterator[None]:
    """Whatever a decoder raises at a damaged file, as one ValueError that names it; FileNotFoundError for one gone.

    Pillow alone has a dozen kinds: struct.error, IndexError, TypeError, DecompressionBombError, ...
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} has vanished; is its disk still there? The run can be resumed") from error
    except PermissionError:
        raise
    except MemoryError as error:  # its size was reasonable: the machine is full, the file may be sound
        raise MemoryError(
            f"{path} finds no room in memory ({error}); end other programs, or lower `workers`"
        ) from error
    except Exception as error:
        if str(error).startswith(f"{path} "):  # said already
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be decoded ({why}); replace it") from error


def require_reasonable_size(path: str | Path, data: bytes) -> None:
    """ValueError, before memory is taken for it, where the header of an image file promises too many pixels."""
    try:
        with Image.open(BytesIO(data)) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} is refused ({error}); {REDUCE}") from error
    except Exception:  # not for Pillow: the decoder has the word
        return
    if width * height > MOST_PIXELS:
        raise ValueError(f"{path} is {width}x{height}; {REDUCE}")
