"""Finding image files: folder layouts, and pairs by name."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

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
    within: Path | None = None  # mask of the field of view; None: all of the picture counts

    @property
    def files(self) -> Masks:
        """Every file that the example is made of."""
        return (self.image, *self.masks, *((self.within,) if self.within else ()))


class Place(NamedTuple):
    """A folder of images beside one of masks, perhaps one of fields of view, and what its names begin with."""

    prefix: str
    images: Path
    masks: Path
    fields: Path | None = None


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


def find_places(root: str | Path, field_of_view: str = "") -> list[Place]:
    """Every folder of images beside one of masks, at any depth under `root`; a folder `field_of_view` has no masks.

    One place needs no prefix (`TrainDataset/TrainDataset/{image,mask}`); of several, such as clips, each has its
    path below `root`. FileNotFoundError for no such folder.
    """
    root = Path(root)
    _require(root)

    def below(base: Path) -> Iterator[Place]:
        fields = _child(base, [re.escape(field_of_view)]) if field_of_view else None
        images, masks = _child(base, IMAGE_FOLDERS), _child(base, MASK_FOLDERS, but=fields)
        if images and masks:
            yield Place(f"{base.relative_to(root).as_posix()}/", images, masks, fields)
        else:
            for folder in _folders(base):
                yield from below(folder)

    places = list(below(root))
    return places if len(places) > 1 else [place._replace(prefix="") for place in places]


def find_pairs(root: str | Path, include: str = "", field_of_view: str = "") -> list[Pair]:
    """Every image under `root` with its masks, by name.

    Images and masks lie in two folders (see `find_places`) or together in one, told apart by the masks' suffix. A mask
    is named like its image, or with a suffix such as _mask, _segmentation or _manual1 more; _mask_1, _mask_2 are
    further parts, and so is every mask beside a lone image. `include`: a regular expression that names must contain.
    `field_of_view`: the folder, beside the images, of masks of what counts. ValueError naming the first file without
    a partner.
    """
    places = find_places(root, field_of_view)
    if field_of_view and not (places and all(place.fields for place in places)):
        where = next((place.images.parent for place in places if not place.fields), root)
        raise FileNotFoundError(f"{where} has no folder {field_of_view!r} beside its images; check field_of_view")
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
    fields = (
        by_image(images, {name: (path,) for name, path in list_images(place.fields).items()}) if place.fields else {}
    )
    if lonely := sorted(images.keys() - fields.keys()) if place.fields else []:
        raise ValueError(f"{images[lonely[0]]} has no field of view in {place.fields}; expected a file of its name")
    return [Pair(place.prefix + n, images[n], masks[n], fields[n][0] if fields else None) for n in images]


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


def _child(base: Path, patterns: Sequence[str], but: Path | None = None) -> Path | None:
    for pattern in patterns:
        for path in _folders(base):
            if re.fullmatch(pattern, path.name, re.IGNORECASE) and path != but:
                return path
    return None
