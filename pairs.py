"""Finding and reading image files: folder layouts, pairs by name, and a check of every file before training."""

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

# the names that public data sets use, in any case; of several in one place the first pattern counts
IMAGE_FOLDERS = ("images?", "imgs?", "im", "frames?", "imagestr", ".*_input")
MASK_FOLDERS = ("1st_manual", "masks?", "gt", "ground ?truth", "layer_masks", "labelstr", ".*_groundtruth")
# what a mask's name may have that its image's has not, and the number of a further one; DRIVE's images have a word too
MASK_SUFFIX = re.compile(r"_(mask|segmentation|manual1|gt|label)(_\d+)?$", re.IGNORECASE)
IMAGE_SUFFIX = re.compile(r"_(training|test)$", re.IGNORECASE)
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"}

Masks = tuple[Path, ...]


class Pair(NamedTuple):
    """One training or test example: its name (folders below the root and the image's stem), its image, its masks.

    Several masks are the parts of one: nuclei, or lesions, each in a file of its own.
    """

    name: str
    image: Path
    masks: Masks


class Place(NamedTuple):
    """A folder of images beside one of masks, and what its names begin with."""

    prefix: str
    images: Path
    masks: Path


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
    _require(root)
    for base in (root, *_folders(root)):
        if found := _child(base, names):
            return found
    return root


def _require(root: Path) -> None:
    if not root.is_dir():
        beside = sorted(path.name for path in root.parent.iterdir()) if root.parent.is_dir() else []
        raise FileNotFoundError(
            f"no folder {root}; check datapath (training) or testpath and testsets (testing): "
            f"{root.parent} holds {', '.join(beside[:8]) or 'nothing'}"
        )


def find_places(root: str | Path) -> list[Place]:
    """Every folder of images beside one of masks, at any depth under `root`.

    One place needs no prefix (`TrainDataset/TrainDataset/{image,mask}`); of several, such as clips, each has its
    path below `root`. FileNotFoundError for no such folder.
    """
    root = Path(root)
    _require(root)

    def below(base: Path) -> Iterator[Place]:
        images, masks = _child(base, IMAGE_FOLDERS), _child(base, MASK_FOLDERS)
        if images and masks:
            yield Place(f"{base.relative_to(root).as_posix()}/", images, masks)
        else:
            for folder in _folders(base):
                yield from below(folder)

    places = list(below(root))
    return places if len(places) > 1 else [place._replace(prefix="") for place in places]


def find_pairs(root: str | Path, include: str = "") -> list[Pair]:
    """Every image under `root` with its masks, by name.

    Images and masks lie in two folders (see `find_places`) or together in one, told apart by the masks' suffix. A mask
    is named like its image, or with a suffix such as _mask, _segmentation or _manual1 more; _mask_1, _mask_2 are
    further parts, and so is every mask beside a lone image. `include`: a regular expression that names must contain.
    ValueError naming the first file without a partner.
    """
    places = find_places(root)
    found = [pair for place in places for pair in _pairs_of(place)] or _pairs_of_one_folder(Path(root))
    chosen = [pair for pair in found if re.search(include, pair.name)]
    if not chosen:
        raise ValueError(f"include is {include!r}, which none of the {len(found)} names holds, such as {found[0].name}")
    return chosen


def find_images(root: str | Path) -> dict[str, Path]:
    """name -> image of what is under `root`, masks needed for none: the names that `find_pairs` gives."""
    places = find_places(root)
    if not places:
        return _in_one_folder(list_images(image_folder(root)))[0]
    return {place.prefix + name: path for place in places for name, path in list_images(place.images).items()}


def find_masks(root: str | Path) -> dict[str, Masks]:
    """name -> masks of what is under `root`, images needed for none unless names alone do not tell what belongs to it.

    One folder of masks keeps the masks' own names; `by_image` finds the images'.
    """
    if len(find_places(root)) <= 1 and (masks := _one_folder_of_masks(Path(root))):
        return masks
    return {pair.name: pair.masks for pair in find_pairs(root)}


def by_image(images: dict[str, Path], masks: dict[str, Masks]) -> dict[str, Masks]:
    """`masks` under the names of their images; one that pairs with none keeps its own.

    Where all masks end in one and the same word that no data set here has (_lesion), that is taken for the suffix.
    """
    known = {IMAGE_SUFFIX.sub("", name): name for name in images}
    bares = {name: MASK_SUFFIX.sub("", name) for name in masks}
    if not (set(masks) | set(bares.values())) & (images.keys() | known.keys()):
        suffix = _shared_suffix(images, list(masks)) if masks else ""
        bares = {name: name.removesuffix(suffix) for name in masks}
    paired: dict[str, Masks] = {}
    for name, paths in masks.items():
        bare = bares[name]
        image = name if name in images else known.get(bare, bare if bare in images else name)
        paired[image] = paired.get(image, ()) + paths
    for image, paths in paired.items():
        kinds = {_kind(path) for path in paths}
        if image in images and len(kinds) > 1:
            listed = ", ".join(path.name for path in paths)
            raise ValueError(f"{images[image]} has masks of two kinds, {listed}; keep one")
    return paired


def _shared_suffix(images: Iterable[str], masks: Sequence[str]) -> str:
    for image in sorted(images, key=len, reverse=True):
        suffix = masks[0].removeprefix(image)
        if suffix != masks[0] and all(mask.endswith(suffix) for mask in masks):
            return suffix
    return ""


def _kind(mask: Path) -> str:
    found = MASK_SUFFIX.search(mask.stem)
    return found[1].lower() if found else ""


def _pairs_of(place: Place) -> list[Pair]:
    images = list_images(place.images)
    files: dict[str, Masks] = {name: (path,) for name, path in list_images(place.masks).items()}
    masks = by_image(images, files)
    if len(images) == 1 and not masks.keys() & images.keys():
        masks = {name: tuple(path for paths in files.values() for path in paths) for name in images}
    return _joined(images, masks, place)


def _joined(images: dict[str, Path], masks: dict[str, Masks], place: Place) -> list[Pair]:
    firsts = {name: paths[0] for name, paths in masks.items()}
    for ours, theirs, what, folder in (
        (images, firsts, "mask", place.masks),
        (firsts, images, "image", place.images),
    ):
        lonely = sorted(ours.keys() - theirs.keys())
        if lonely:
            strangers = sorted(theirs.keys() - ours.keys())
            other = f". Or is {theirs[strangers[0]].name} its {what}? Name both alike" if strangers else ""
            raise ValueError(
                f"{place.images} has {len(images)} images and {place.masks} has {len(masks)} masks; "
                f"{len(lonely)} without {what}, first {ours[lonely[0]]}: "
                f"add {folder / lonely[0]}.png or remove it{other}"
            )
    return [Pair(place.prefix + name, images[name], masks[name]) for name in images]


def _pairs_of_one_folder(root: Path) -> list[Pair]:
    images, masks = _in_one_folder(list_images(root))
    if not masks:
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:8])
        raise FileNotFoundError(
            f"{root} holds {inside}; expected image/ (or images/) beside mask/ (or masks/), "
            "or masks beside their images, named <image>_mask"
        )
    return _joined(images, masks, Place("", root, root))


def _in_one_folder(files: dict[str, Path]) -> tuple[dict[str, Path], dict[str, Masks]]:
    """(images, their masks) of files that lie together: a mask is named like an image, with a suffix more."""
    of = {name: MASK_SUFFIX.sub("", name) for name in files}
    images = {name: path for name, path in files.items() if of[name] == name or of[name] not in files}
    return images, by_image(images, {name: (path,) for name, path in files.items() if name not in images})


def _one_folder_of_masks(root: Path) -> dict[str, Masks]:
    folder = mask_folder(root)
    files = list_images(folder)
    together = folder == root and len(_in_one_folder(files)[0]) < len(files)
    return {} if together else {name: (path,) for name, path in files.items()}


def _folders(base: Path) -> list[Path]:
    return sorted(path for path in base.iterdir() if path.is_dir() and not path.name.startswith("."))


def _child(base: Path, patterns: Sequence[str]) -> Path | None:
    for pattern in patterns:
        for path in _folders(base):
            if re.fullmatch(pattern, path.name, re.IGNORECASE):
                return path
    return None


# ---------------------------------------------------------------------------------------------------- reading files


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as its EXIF says; ValueError for a file that cannot be decoded."""
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_mask(*paths: str | Path) -> np.ndarray:
    """(H, W) uint8, 0 background .. 255 lesion, the union of all files. One valued 0/1 is stretched, with a warning."""
    masks = [_read_mask(path) for path in paths]
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != masks[0].shape:
            (h, w), (hh, ww) = mask.shape, masks[0].shape
            raise ValueError(f"{path} is {w}x{h} but {paths[0]}, of the same image, is {ww}x{hh}; they must be equal")
    return np.maximum.reduce(masks)


def _read_mask(path: str | Path) -> np.ndarray:
    mask = _decode_mask(path)
    if mask.max() == 1:
        warnings.warn(f"{path} is valued 0/1, not 0/255: read as 0/255 (so are all masks like it)", stacklevel=3)
        mask = mask * 255
    return mask


def _decode_mask(path: str | Path) -> np.ndarray:
    """(H, W) uint8; of 16 bits the upper eight, unless all values fit into the lower."""
    mask = _decode(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if mask.dtype == np.uint16:
        mask = (mask if mask.max() < 256 else np.round(mask / 257)).astype(np.uint8)
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
    if data[:3].tobytes() == b"GIF":  # OpenCV takes the palette's numbers for grey values
        with Image.open(path) as image:
            grey = flags & cv2.IMREAD_COLOR == 0
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
            return pixels if grey else pixels[..., ::-1]
    # not cv2.imread: it knows no error but None, and no non-ASCII name on Windows
    array = cv2.imdecode(data, flags) if data.size else None
    if array is None:
        raise ValueError(f"{path} ({data.size} bytes) cannot be decoded as an image; replace it")
    return array


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

    def __str__(self) -> str:
        (h, w), (hh, ww) = self.smallest, self.largest
        text = f"{self.pairs} pairs, {w}x{h} to {ww}x{hh} pixels, {self.empty_masks} empty masks"
        text += f", {self.merged_masks} images with several masks, merged" if self.merged_masks else ""
        return text + (f", {self.binary_masks} masks valued 0/1, read as 0/255" if self.binary_masks else "")


def check_pairs(pairs: Sequence[Pair]) -> Check:
    """Decode every file once, strictly; ValueError for the first corrupt or truncated one or mask of another size."""
    check, problems = survey(pairs)
    if problems:
        more = f"; {len(problems) - 1} more files are faulty, `python -m tools.check_data` lists them"
        raise ValueError(next(iter(problems.values())) + (more if len(problems) > 1 else ""))
    assert check
    return check


def survey(pairs: Sequence[Pair]) -> tuple[Check | None, dict[str, str]]:
    """(what the sound pairs are like, None if there is none; name -> what is wrong with each other pair)."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(tqdm(pool.map(_look, pairs), "check data", len(pairs), leave=False, disable=None))
    seen = [look for look in found if isinstance(look, _Look)]
    problems = {pair.name: look for pair, look in zip(pairs, found, strict=True) if isinstance(look, str)}
    if not seen:
        return None, problems
    check = Check(
        pairs=len(seen),
        smallest=min(look.size for look in seen),
        largest=max(look.size for look in seen),
        empty_masks=sum(look.top == 0 for look in seen),
        binary_masks=sum(look.top == 1 for look in seen),
        merged_masks=sum(look.masks > 1 for look in seen),
        covered=sum(look.covered for look in seen) / sum(look.size[0] * look.size[1] for look in seen),
        values=tuple(np.flatnonzero(np.sum([look.histogram for look in seen], 0)).tolist()),
    )
    return check, problems


class _Look(NamedTuple):
    size: tuple[int, int]
    masks: int
    top: int
    covered: int  # pixels of lesion
    histogram: np.ndarray  # of the masks' 256 grey values


def _look(pair: Pair) -> _Look | str:
    try:
        return _look_closely(pair)
    except (ValueError, OSError) as error:
        return str(error)


def _look_closely(pair: Pair) -> _Look:
    for path in (pair.image, *pair.masks):
        try:
            with Image.open(path) as image:
                image.load()  # unlike OpenCV, Pillow refuses a truncated file
                turned = image.getexif().get(0x0112, 1) != 1
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} cannot be decoded ({error}); replace it") from error
        if path == pair.image:
            size = _decode(path, cv2.IMREAD_COLOR).shape[:2]
            note = ", turned as its EXIF says" if turned else ""
    whole, histogram = np.zeros(size, bool), np.zeros(256, np.int64)
    for path in pair.masks:
        mask = _decode_mask(path)
        if mask.shape != size:
            (h, w), (mh, mw) = size, mask.shape
            raise ValueError(f"{path} is {mw}x{mh} but its image {pair.image} is {w}x{h}{note}; they must be equal")
        top = int(mask.max())
        if 1 < top < 128:
            raise ValueError(
                f"{path} has no value above {top}; expected 255 (or 1) for a lesion. "
                "A palette image? Save it as grey, 0 and 255"
            )
        whole |= mask > (127 if top > 1 else 0)
        histogram += np.bincount(mask.ravel(), minlength=256)
    return _Look(size, len(pair.masks), int(np.flatnonzero(histogram)[-1]), int(whole.sum()), histogram)
