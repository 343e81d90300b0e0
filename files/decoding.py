"""Decoding image files of any format and depth; damaged, huge and doubtful ones are one error that names them."""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

PNG = b"\x89PNG\r\n\x1a\n"
NO_IMAGE = "not an image of 8 or 16 bits"
# the first four bytes of a TIFF and of a large one -> byte order, and where and how its directory is written
TIFF = {
    **{b"II*\0": ("<", 4, "I", "H", 12), b"MM\0*": (">", 4, "I", "H", 12)},
    **{b"II+\0": ("<", 8, "Q", "Q", 20), b"MM\0+": (">", 8, "Q", "Q", 20)},
}
MOST_PIXELS = 2**28  # 16384 x 16384: a file of 100 KB may promise, and a decoder then take, gigabytes
REDUCE = f"expected at most {MOST_PIXELS} pixels: cut it into tiles, or scale it down"
# one limit, also where Pillow reads; from one to two times as many it would only warn
Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


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


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """A file as Pillow opens it; its errors, and those of the block, as `decoding` words them."""
    with decoding(path):
        data = _bytes(path)
        try:
            image = Image.open(BytesIO(data))
        except UnidentifiedImageError as error:
            raise ValueError(f"{len(data)} bytes, {NO_IMAGE}") from error
        with image:
            _require_reasonable(path, *image.size)
            yield image


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
    except BOMBS as error:
        raise ValueError(f"{path} is refused ({error}); {REDUCE}") from error
    except MemoryError as error:  # its size was reasonable: the machine is full, the file may be sound
        raise MemoryError(
            f"{path} finds no room in memory ({error}); end other programs, or lower `workers`"
        ) from error
    except Exception as error:
        if str(error).startswith(f"{path} "):  # said already
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be decoded ({why}); replace it") from error


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


def require_reasonable_size(path: str | Path, data: bytes) -> None:
    """ValueError, before memory is taken for it, where the header of an image file promises too many pixels."""
    # not by Pillow, which takes a tenth as long to look as a mask takes to be decoded
    if data[:8] == PNG and data[12:16] == b"IHDR" and len(data) >= 24:
        _require_reasonable(path, *struct.unpack_from(">II", data, 16))
        return
    try:
        with Image.open(BytesIO(data)) as image:
            size = image.size
    except BOMBS:
        raise
    except Exception:  # not for Pillow: the decoder has the word
        return
    _require_reasonable(path, *size)


def _require_reasonable(path: str | Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"{path} is refused ({width}x{height} pixels); {REDUCE}")


def _transparent(data: bytes) -> bool:
    try:
        with Image.open(BytesIO(data)) as image:
            return image.mode in ("RGBA", "LA")
    except UnidentifiedImageError:
        return False


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
