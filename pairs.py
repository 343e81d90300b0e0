"""Finding and reading image files: folder layouts, pairs by name, and a check of every file before training."""

import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

# the names that public data sets use, in any case; of several in one place the first counts
IMAGE_FOLDERS = ("image", "images", "imgs", "img", "im", "frame", "imagestr")
MASK_FOLDERS = ("1st_manual", "mask", "masks", "gt", "groundtruth", "ground truth", "layer_masks", "labelstr")
# what a mask's name may have that its image's has not; DRIVE's images have a word of their own
MASK_SUFFIX = re.compile(r"_(mask|segmentation|manual1|gt|label)$", re.IGNORECASE)
IMAGE_SUFFIX = re.compile(r"_(training|test)$", re.IGNORECASE)
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


class Pair(NamedTuple):
    """One training or test example: its name (the stem both files share) and the two files."""

    name: str
    image: Path
    mask: Path


# ---------------------------------------------------------------------------------------------------- finding files


def list_images(folder: str | Path) -> dict[str, Path]:
    """name -> file of the images in a folder and, as clips/001, in its sub-folders; sorted.

    FileNotFoundError for no such folder, ValueError if it holds no image or two of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check the path")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in inside.parts):
            name = inside.with_suffix("").as_posix()
            if name in found:
                raise ValueError(f"{found[name]} and {path.name} share the name {name!r}; remove one")
            found[name] = path
    if not found:
        raise ValueError(f"{folder} holds no image; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


def image_folder(root: str | Path) -> Path:
    """Where the images under `root` are: its image/ or images/ folder, one folder further down, or `root` itself."""
    return _folder(Path(root), IMAGE_FOLDERS)


def mask_folder(root: str | Path) -> Path:
    """Where the masks under `root` are: its mask/ or masks/ folder, one folder further down, or `root` itself."""
    return _folder(Path(root), MASK_FOLDERS)


def _folder(root: Path, names: Sequence[str]) -> Path:
    if not root.is_dir():
        beside = sorted(path.name for path in root.parent.iterdir()) if root.parent.is_dir() else []
        raise FileNotFoundError(f"no folder {root}; {root.parent} holds {', '.join(beside[:8]) or 'nothing'}")
    for base in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if found := _child(base, names):
            return found
    return root


def image_and_mask_folders(root: str | Path) -> tuple[Path, Path]:
    """The image and mask folders under `root`, or one folder further down (`TrainDataset/TrainDataset`)."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; check datapath (training) or testpath and testsets (testing)")
    for base in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        folders = [_child(base, names) for names in (IMAGE_FOLDERS, MASK_FOLDERS)]
        if folders[0] and folders[1]:
            return folders[0], folders[1]
    inside = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
    raise FileNotFoundError(f"{root} holds {inside}; expected image/ (or images/) beside mask/ (or masks/)")


def find_pairs(root: str | Path) -> list[Pair]:
    """Every (image, mask) under `root`, by name, in the images' order.

    A mask is named like its image, or with a suffix such as _mask, _segmentation or _manual1 more.
    ValueError naming the first file without a partner, or the second mask of an image.
    """
    image_folder, mask_folder = image_and_mask_folders(root)
    images = list_images(image_folder)
    masks = by_image(images, list_images(mask_folder))
    for ours, theirs, what, folder in ((images, masks, "mask", mask_folder), (masks, images, "image", image_folder)):
        lonely = sorted(ours.keys() - theirs.keys())
        if lonely:
            raise ValueError(
                f"{image_folder} has {len(images)} images and {mask_folder} has {len(masks)} masks; "
                f"{len(lonely)} without {what}, first {ours[lonely[0]]}: add {folder / lonely[0]}.png or remove it"
            )
    return [Pair(name, images[name], masks[name]) for name in images]


def by_image(images: dict[str, Path], masks: dict[str, Path]) -> dict[str, Path]:
    """`masks` under the names of their images; one that pairs with none keeps its own."""
    known = {IMAGE_SUFFIX.sub("", name): name for name in images}
    paired: dict[str, Path] = {}
    for name, path in masks.items():
        bare = MASK_SUFFIX.sub("", name)
        image = name if name in images else known.get(bare, bare if bare in images else name)
        if image in paired:
            raise ValueError(f"{images[image]} has two masks, {paired[image].name} and {path.name}; keep or merge one")
        paired[image] = path
    return paired


def _child(base: Path, names: Sequence[str]) -> Path | None:
    folders = {path.name.lower(): path for path in sorted(base.iterdir(), reverse=True) if path.is_dir()}
    return next((folders[name] for name in names if name in folders), None)


# ---------------------------------------------------------------------------------------------------- reading files


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB; ValueError for a file that cannot be decoded."""
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_mask(path: str | Path) -> np.ndarray:
    """(H, W) uint8, 0 background .. 255 lesion. A mask valued 0/1 is stretched to 0/255, with a warning."""
    mask = _decode(path, cv2.IMREAD_GRAYSCALE)
    if mask.max() == 1:
        warnings.warn(f"{path} is valued 0/1, not 0/255: read as 0/255 (so are all masks like it)", stacklevel=2)
        mask = mask * 255
    return mask


def read_grey(path: str | Path) -> tuple[np.ndarray, str]:
    """(H, W) uint8 of a map or gt as `Image.convert("L")` gives it, and what had to be converted ("" if nothing).

    Colour and palette become luminance, 16 bits become 8 (Pillow alone would clip them). ValueError if undecodable.
    """
    array = _decode(path, cv2.IMREAD_UNCHANGED)
    if array.dtype == np.uint8 and array.ndim == 2:
        return array, ""
    if array.dtype == np.uint16:
        grey = array if array.ndim == 2 else cv2.cvtColor(array[..., :3], cv2.COLOR_BGR2GRAY)
        return np.round(grey / 257).astype(np.uint8), "16-bit"
    with Image.open(path) as image:
        return np.asarray(image.convert("L")), {"P": "palette"}.get(image.mode, image.mode)


def _decode(path: str | Path, flags: int) -> np.ndarray:
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} has vanished; is its disk still there? The run can be resumed") from error
    # not cv2.imread: it knows no error but None, and no non-ASCII name on Windows
    array = cv2.imdecode(data, flags) if data.size else None
    if array is None:
        raise ValueError(f"{path} ({data.size} bytes) cannot be decoded as an image; replace it")
    return array


@dataclass(frozen=True)
class Check:
    """What `check_pairs` saw in a training folder."""

    pairs: int
    smallest: tuple[int, int]  # height, width
    largest: tuple[int, int]
    empty_masks: int
    binary_masks: int  # valued 0/1 instead of 0/255

    def __str__(self) -> str:
        (h, w), (hh, ww) = self.smallest, self.largest
        text = f"{self.pairs} pairs, {w}x{h} to {ww}x{hh} pixels, {self.empty_masks} empty masks"
        return text + (f", {self.binary_masks} masks valued 0/1, read as 0/255" if self.binary_masks else "")


def check_pairs(pairs: Sequence[Pair]) -> Check:
    """Decode every file once, strictly; ValueError for the first corrupt or truncated one or mask of another size."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(tqdm(pool.map(_check_pair, pairs), "check data", len(pairs), leave=False, disable=None))
    sizes = [size for size, _ in found]
    return Check(
        len(pairs), min(sizes), max(sizes), sum(top == 0 for _, top in found), sum(top == 1 for _, top in found)
    )


def _check_pair(pair: Pair) -> tuple[tuple[int, int], int]:
    for path in (pair.image, pair.mask):
        try:
            with Image.open(path) as image:
                image.load()  # unlike OpenCV, Pillow refuses a truncated file
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} cannot be decoded ({error}); replace it") from error
    image, mask = _decode(pair.image, cv2.IMREAD_COLOR), _decode(pair.mask, cv2.IMREAD_GRAYSCALE)
    if image.shape[:2] != mask.shape:
        (h, w), (mh, mw) = image.shape[:2], mask.shape
        raise ValueError(f"{pair.mask} is {mw}x{mh} but its image {pair.image} is {w}x{h}; they must be equal")
    top = int(mask.max())
    if 1 < top < 128:
        raise ValueError(
            f"{pair.mask} has no value above {top}; expected 255 (or 1) for a lesion. "
            "A palette image? Save it as grey, 0 and 255"
        )
    return mask.shape, top
