"""Finding image files: folder layouts, and pairs by name."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# the names that public data sets use, in any case; of several in one place the first pattern counts
IMAGE_FOLDERS = ("images?", "imgs?", "im", "frames?", "imagestr", ".*_input")
MASK_FOLDERS = (
    *(r"(1st_)?manual\d*", "masks?", "gt", "ground[ _]?truths?", "layer_masks", "labelstr", ".*_groundtruth"),
    *("labels?", "annotations?", "segmentations?"),
)
# what a mask's name may have that its image's has not, and the number of a further one; images may have a word too
MASK_WORD = "mask|segmentation|seg|manual1|gt|label|annotation|lesion|roi"
MASK_SUFFIX = re.compile(rf"_({MASK_WORD})(_\d+)?$", re.IGNORECASE)
MASK_PREFIX = re.compile(rf"(^|/)({MASK_WORD})_", re.IGNORECASE)
IMAGE_SUFFIX = re.compile(r"_(training|test|img|image|0000)$", re.IGNORECASE)  # of DRIVE, anybody, nnU-Net
IMAGE_PREFIX = re.compile(r"(^|/)(img|image)_", re.IGNORECASE)
DRIVE_FIELD = re.compile(r"_(training|test)_mask$")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"}
VOLUMES = (".nii", ".nii.gz", ".dcm", ".mha", ".mhd", ".nrrd")
LEFT_BEHIND = re.compile(r"\.|__MACOSX$|@eaDir$")  # hidden files, and what archives and file servers add

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
    """A folder of images beside one of masks, perhaps one of fields of view, and what its names begin with.

    One that lacks its partner is half a place: images to predict, or masks to score, but no pairs.
    """

    prefix: str
    images: Path | None
    masks: Path | None
    fields: Path | None = None


def files_under(folder: str | Path) -> Iterator[Path]:
    """Every file in a folder and its sub-folders, sorted, hidden ones left out; a folder linked twice is read once.

    OSError for a folder that may not be read.
    """
    seen = set(Path(folder).resolve().parents)  # a link upwards leads nowhere new

    def below(base: Path) -> Iterator[Path]:
        if base.resolve() in seen:
            return
        seen.add(base.resolve())
        for path in sorted(base.iterdir()):
            if LEFT_BEHIND.match(path.name):
                continue
            if path.is_dir():
                yield from below(path)
            else:
                yield path

    return below(Path(folder))


def list_images(folder: str | Path) -> dict[str, Path]:
    """name -> file of the images in a folder and, as clips/001, in its sub-folders; sorted.

    Names are in Unicode's composed form (NFC): an é is an é, whichever machine wrote it.
    FileNotFoundError for no such folder, ValueError if it holds no image or two of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check the path")
    found: dict[str, Path] = {}
    volumes: list[Path] = []
    for path in files_under(folder):
        if path.name.lower().endswith(VOLUMES):
            volumes.append(path)
        if path.suffix.lower() in SUFFIXES:
            name = unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
            if name in found:
                raise ValueError(
                    f"{found[name]} and {path.name} share the name {name!r}; remove one. "
                    "Is one the mask? Put masks into a folder of their own, masks/"
                )
            found[name] = path
    if not found and volumes:
        raise ValueError(f"{folder} holds volumes, such as {volumes[0].name}; export their slices as PNG")
    if not found:
        raise ValueError(f"{folder} holds no image; expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


def mask_folder(root: str | Path) -> Path:
    """Where the masks under `root` are: its mask/ or masks/ folder, one folder further down, or `root` itself."""
    root = Path(root)
    _require(root)
    inside = _folders(root)
    return next(filter(None, (_one_of(folders, MASK_FOLDERS) for folders in (inside, *map(_folders, inside)))), root)


def _require(root: Path) -> None:
    if not root.is_dir():
        beside = sorted(path.name for path in root.parent.iterdir()) if root.parent.is_dir() else []
        raise FileNotFoundError(
            f"no folder {root}; check datapath (training) or testpath and testsets (testing): "
            f"{root.parent} holds {', '.join(beside[:8]) or 'nothing'}"
        )


def find_places(root: str | Path, field_of_view: str = "") -> list[Place]:
    """Every folder of images or of masks, at any depth under `root`; a folder `field_of_view` has no masks.

    One place needs no prefix (`TrainDataset/TrainDataset/{image,mask}`); of several, such as clips, each has its
    path below `root`. FileNotFoundError for no such folder, ValueError for two that could both be the images.
    """
    root, places, seen = Path(root), list[Place](), set[Path]()
    _require(root)

    def look(base: Path) -> None:
        if base.resolve() in seen:
            return
        seen.add(base.resolve())
        inside, before = _folders(base), len(places)
        fields = _one_of(inside, [re.escape(field_of_view)]) if field_of_view else None
        images, masks = _one_of(inside, IMAGE_FOLDERS), _one_of(inside, MASK_FOLDERS, but=fields)
        if not (images and masks):
            for folder in inside:
                look(folder)
        if (images or masks) and len(places) == before:
            places.append(Place(f"{base.relative_to(root).as_posix()}/", images, masks, fields))

    look(root)
    return places if len(places) > 1 else [place._replace(prefix="") for place in places]


def find_pairs(root: str | Path, include: str = "", field_of_view: str = "") -> list[Pair]:
    """Every image under `root` with its masks, by name.

    Images and masks lie in two folders (see `find_places`) or together in one, told apart by the masks' suffix. A mask
    is named like its image, or with a suffix such as _mask, _segmentation or _manual1 more; _mask_1, _mask_2 are
    further parts, and so is every mask of <name>/images/<name>.png. `include`: a regular expression that names must
    contain. `field_of_view`: the folder, beside the images, of masks of what counts. ValueError naming the first file
    without a partner.
    """

    def found(include: str) -> list[Pair]:
        if any(place.images and place.masks for place in places):
            return [pair for place in places for pair in _pairs_of(place, include)]
        return _pairs_of_one_folder(Path(root), include, field_of_view)

    places = find_places(root, field_of_view)
    without = next((p.images for p in places if p.images and p.masks and field_of_view and not p.fields), None)
    if without:
        raise FileNotFoundError(
            f"{without.parent} has no folder {field_of_view!r} beside its images; check field_of_view"
        )
    chosen = found(include)
    if not chosen:
        names = [pair.name for pair in found("")]
        raise ValueError(f"include is {include!r}, which none of the {len(names)} names holds, such as {names[0]}")
    return chosen


def find_images(root: str | Path) -> dict[str, Path]:
    """name -> image of what is under `root`, masks needed for none: the names that `find_pairs` gives."""
    root, places = Path(root), find_places(root)
    loose = any(path.suffix.lower() in SUFFIXES for path in root.iterdir())
    if not any(place.images for place in places) or (loose and not any(place.masks for place in places)):
        return _in_one_folder(list_images(root))[0]
    return {p.prefix + name: path for p in places if p.images for name, path in list_images(p.images).items()}


def find_masks(root: str | Path, include: str = "") -> dict[str, Masks]:
    """name -> masks of what is under `root`, images needed for none unless names alone do not tell what belongs to it.

    One folder of masks keeps the masks' own names; `by_image` finds the images'. `include` as in `find_pairs`.
    """
    if len(find_places(root)) <= 1 and (masks := _one_folder_of_masks(Path(root))):
        return masks
    return {pair.name: pair.masks for pair in find_pairs(root, include)}


def by_image(images: dict[str, Path], masks: dict[str, Masks]) -> dict[str, Masks]:
    """`masks` under the names of their images; one that pairs with none keeps its own.

    Where all masks end in one and the same word that no data set here has (_polyp), that is taken for the suffix.
    """
    known = {_bare_image(name): name for name in images}
    bares = {name: _bare_mask(name) for name in masks}
    if not (set(masks) | set(bares.values())) & (images.keys() | known.keys()):
        suffix = _shared_suffix(images, list(masks))
        bares = {name: name.removesuffix(suffix) for name in masks}
    paired: dict[str, Masks] = {}
    for name, paths in masks.items():
        bare = bares[name]
        image = name if name in images else bare if bare in images else known.get(bare, name)
        paired[image] = paired.get(image, ()) + paths
    for image, paths in paired.items():
        kinds = {_kind(path) for path in paths}
        if image in images and len(kinds) > 1:
            listed = ", ".join(path.name for path in paths)
            raise ValueError(f"{images[image]} has masks of two kinds, {listed}; keep one")
    return paired


def _shared_suffix(images: dict[str, Path], masks: Sequence[str]) -> str:
    """The end that all masks have in common, cut so that most of them then bear an image's name."""
    end = masks[0] if masks else ""
    for mask in masks:
        while not mask.endswith(end):
            end = end[1:]
    cuts = [end[i:] for i in range(len(end))]
    return max(cuts, key=lambda cut: sum(mask.removesuffix(cut) in images for mask in masks), default="")


def _kind(mask: Path) -> str:
    found = MASK_SUFFIX.search(mask.stem) or MASK_PREFIX.search(mask.stem)
    return found[0].lower().strip("_0123456789") if found else ""


def _pairs_of(place: Place, include: str) -> list[Pair]:
    def chosen(named: dict) -> dict:
        return {name: what for name, what in named.items() if re.search(include, place.prefix + name)}

    if not place.images or not place.masks:
        here, lacking = (place.images, "masks") if place.images else (place.masks, "images")
        assert here
        if chosen(list_images(here)):
            raise ValueError(
                f"{here} has no {lacking} beside it, where other folders have; add them, or leave it out by `include`"
            )
        return []
    images = list_images(place.images)
    files: dict[str, Masks] = {name: (path,) for name, path in list_images(place.masks).items()}
    if not place.fields and place.masks.name.lower() == "mask" and all(map(DRIVE_FIELD.search, files)):
        raise ValueError(
            f"{place.masks} holds fields of view, not labels, by its names such as {next(iter(files))}; "
            f"give --field_of_view {place.masks.name}, and the labels in 1st_manual/ beside it"
        )
    masks = by_image(images, files)
    # DSB 2018: <id>/images/<id>.png and a mask of each nucleus, of any name
    if not masks.keys() & images.keys() and [place.images.parent.name] == [*images]:
        masks = {name: tuple(path for paths in files.values() for path in paths) for name in images}
    return _joined(chosen(images), chosen(masks), place)


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
                f"add {folder}/{lonely[0]}.png or remove it{other}"
            )
    fields = (
        by_image(images, {name: (path,) for name, path in list_images(place.fields).items()}) if place.fields else {}
    )
    if lonely := sorted(images.keys() - fields.keys()) if place.fields else []:
        raise ValueError(f"{images[lonely[0]]} has no field of view in {place.fields}; expected a file of its name")
    return [Pair(place.prefix + n, images[n], masks[n], fields[n][0] if fields else None) for n in images]


def _pairs_of_one_folder(root: Path, include: str, field_of_view: str) -> list[Pair]:
    images, masks = _in_one_folder(list_images(root))
    if not masks:
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:8])
        field = f" ({field_of_view}/ is the field of view)" if field_of_view else ""
        raise FileNotFoundError(
            f"{root} holds {inside}; expected image/ (or images/) beside mask/ (or masks/){field}, "
            "or masks beside their images, named <image>_mask. Rename or link yours; docs/own_data.md has all layouts"
        )
    images = {name: path for name, path in images.items() if re.search(include, name)}
    masks = {name: paths for name, paths in masks.items() if re.search(include, name)}
    return _joined(images, masks, Place("", root, root))


def _in_one_folder(files: dict[str, Path]) -> tuple[dict[str, Path], dict[str, Masks]]:
    """(images, their masks) of files that lie together: a mask is named like an image, with a word more."""
    of = {name: _bare_mask(name) for name in files}
    plain = {name for name in files if of[name] == name}
    bare_images = plain | set(map(_bare_image, plain))
    images = {name: path for name, path in files.items() if of[name] == name or of[name] not in bare_images}
    return images, by_image(images, {name: (path,) for name, path in files.items() if name not in images})


def _bare_mask(name: str) -> str:
    return MASK_PREFIX.sub(r"\1", MASK_SUFFIX.sub("", name))


def _bare_image(name: str) -> str:
    return IMAGE_PREFIX.sub(r"\1", IMAGE_SUFFIX.sub("", name))


def _one_folder_of_masks(root: Path) -> dict[str, Masks]:
    folder = mask_folder(root)
    files = list_images(folder)
    together = folder == root and len(_in_one_folder(files)[0]) < len(files)
    return {} if together else {name: (path,) for name, path in files.items()}


def _folders(base: Path) -> list[Path]:
    return sorted(path for path in base.iterdir() if path.is_dir() and not LEFT_BEHIND.match(path.name))


def _one_of(folders: Sequence[Path], patterns: Sequence[str], but: Path | None = None) -> Path | None:
    for pattern in patterns:
        fitting = [path for path in folders if re.fullmatch(pattern, path.name, re.IGNORECASE) and path != but]
        if len(fitting) > 1:
            both = " and ".join(path.name for path in fitting)
            raise ValueError(
                f"{fitting[0].parent} holds {both}, one as good as the other; "
                "give each a folder of its own, with what belongs to it"
            )
        if fitting:
            return fitting[0]
    return None
