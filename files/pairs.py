"""Pairs: every image of a data set with its masks, and what has only one of both."""

import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from configs import Config
from files.folders import SUFFIXES, Place, fields_apart, find_places, list_images, mask_folder
from files.names import Masks, by_image, in_one_folder, without_masks

DRIVE_FIELD = re.compile(r"_(training|test)_mask$")


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


def find_pairs(root: str | Path, include: str = "", field_of_view: str = "", observer: str = "") -> list[Pair]:
    """Every image under `root` with its masks, by name.

    Images and masks lie in two folders (see `find_places`) or together in one, told apart by the masks' suffix. A mask
    is named like its image, or with a suffix such as _mask, _segmentation or _manual1 more; _mask_1, _mask_2 are
    further parts, and so is every mask of <name>/images/<name>.png. `include`: a regular expression that names must
    contain. `field_of_view`: the folder of masks of what counts, its name beside the images or its path from `root`.
    `observer`: of masks by several people, whose. ValueError naming the first file without a partner.
    """
    root = Path(root)

    def found(include: str) -> list[Pair]:
        if any(place.images and place.masks for place in places):
            return [pair for place in places for pair in _pairs_of(place, include, observer)]
        return _pairs_of_one_folder(root, include, field_of_view, observer)

    places = find_places(root, field_of_view, observer)
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


def pairs_of(cfg: Config, root: str | Path = "") -> list[Pair]:
    """`find_pairs` as a Config asks for it: under its datapath, or under another root."""
    return find_pairs(root or cfg.datapath, cfg.include, cfg.field_of_view, cfg.observer)


def find_images(root: str | Path) -> dict[str, Path]:
    """name -> image of what is under `root`, or of `root` itself; masks needed for none: the names of `find_pairs`.

    What lies in folders of masks is no image, wherever they are.
    """
    if Path(root).is_file():
        return {unicodedata.normalize("NFC", Path(root).stem): Path(root)}
    root, places = Path(root), find_places(root)
    loose = any(path.suffix.lower() in SUFFIXES for path in root.iterdir())
    masks = [place.masks for place in places if place.masks]
    if not any(place.images for place in places) or (loose and not masks):
        return without_masks(list_images(root, but=masks))
    return {p.prefix + name: path for p in places if p.images for name, path in list_images(p.images).items()}


def find_masks(root: str | Path, include: str = "", observer: str = "") -> dict[str, Masks]:
    """name -> masks of what is under `root`, images needed for none unless names alone do not tell what belongs to it.

    One folder of masks keeps the masks' own names; `by_image` finds the images'. The rest as for `find_pairs`.
    """
    if len(find_places(root, observer=observer)) <= 1 and (masks := _one_folder_of_masks(Path(root), observer)):
        return masks
    return {pair.name: pair.masks for pair in find_pairs(root, include, observer=observer)}


def _pairs_of(place: Place, include: str, observer: str) -> list[Pair]:
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
    masks = by_image(images, files, observer)
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


def _pairs_of_one_folder(root: Path, include: str, field_of_view: str, observer: str) -> list[Pair]:
    apart = fields_apart(root, field_of_view)
    images, masks = in_one_folder(list_images(root, but=[apart] if apart else []), observer)
    if not masks:
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:8])
        field = f" ({field_of_view}/ is the field of view)" if field_of_view and not apart else ""
        raise FileNotFoundError(
            f"{root} holds {inside}; expected image/ (or images/) beside mask/ (or masks/){field}, "
            "or masks beside their images, named <image>_mask. Rename or link yours; docs/own_data.md has all layouts"
        )
    images = {name: path for name, path in images.items() if re.search(include, name)}
    masks = {name: paths for name, paths in masks.items() if re.search(include, name)}
    return _joined(images, masks, Place("", root, root, apart))


def _one_folder_of_masks(root: Path, observer: str) -> dict[str, Masks]:
    folder = mask_folder(root)
    files = list_images(folder)
    together = folder == root and len(without_masks(files)) < len(files)
    return {} if together else {name: (path,) for name, path in files.items()}
