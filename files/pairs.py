"""Pairs: every image of a data set with its masks, and what has only one of both."""

import re
from pathlib import Path
from typing import NamedTuple

from configs import Config
from files.channels import Channels, Files, by_channel, by_patient, firsts, in_order, single
from files.folders import Place, fields_apart, find_places
from files.listing import VOLUMES, bare_name, list_images
from files.names import Masks, by_image, hint_on_words, in_one_folder, of_observer

DRIVE_FIELD = re.compile(r"_(training|test)_mask$")


class Pair(NamedTuple):
    """One training or test example: its name (folders below the root and the image's stem), its image, its masks.

    Several masks are the parts of one: nuclei, or lesions, each in a file of its own.
    """

    name: str
    image: Path
    masks: Masks
    within: Path | None = None  # mask of the field of view; None: all of the picture counts
    more: Files = ()  # of a volume in several files, the channels after that in `image`

    @property
    def is_volume(self) -> bool:
        """Whether it is of volumes, not of pictures."""
        return bool(bare_name(self.image.name, VOLUMES))

    @property
    def channels(self) -> Files:
        """The files of the image, in order."""
        return (self.image, *self.more)

    @property
    def files(self) -> Files:
        """Every file that the example is made of."""
        return (*self.channels, *self.masks, *((self.within,) if self.within else ()))


def find_pairs(
    root: str | Path, include: str = "", field_of_view: str = "", observer: str = "", volumes: bool = False
) -> list[Pair]:
    """Every image under `root` with its masks, by name; with `volumes` NIfTI files are looked for in place of pictures.

    Images and masks lie in two folders (see `find_places`) or together in one, told apart by the masks' suffix. A mask
    is named like its image, or with a suffix such as _mask, _segmentation or _manual1 more; _mask_1, _mask_2 are
    further parts, and so is every mask of <name>/images/<name>.png. `include`: a regular expression that names must
    contain. `field_of_view`: the folder of masks of what counts, its name beside the images or its path from `root`.
    `observer`: of masks by several people, whose. ValueError naming the first file without a partner.

    Of volumes x_0000, x_0001, .. are the channels of x, and a folder of one patient (t1, t2, seg) is one pair.
    """
    root = Path(root)

    def found(include: str) -> list[Pair]:
        if any(place.images and place.masks for place in places):
            return [pair for place in places for pair in _pairs_of(place, include, observer, volumes)]
        return _pairs_of_one_folder(root, include, field_of_view, observer, volumes)

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
    return find_pairs(root or cfg.datapath, cfg.include, cfg.field_of_view, cfg.observer, cfg.dims == 3)


def _pairs_of(place: Place, include: str, observer: str, volumes: bool) -> list[Pair]:
    def chosen(named: dict) -> dict:
        return {name: what for name, what in named.items() if re.search(include, place.prefix + name)}

    if not place.images or not place.masks:
        here, lacking = (place.images, "masks") if place.images else (place.masks, "images")
        assert here
        if chosen(list_images(here, volumes=volumes)):
            raise ValueError(
                f"{here} has no {lacking} beside it, where other folders have; add them, or leave it out by `include`"
            )
        return []
    found = list_images(place.images, place.but, volumes)
    files: dict[str, Masks] = {name: (path,) for name, path in list_images(place.masks, volumes=volumes).items()}
    if not place.fields and place.masks.name.lower() == "mask" and all(map(DRIVE_FIELD.search, files)):
        raise ValueError(
            f"{place.masks} holds fields of view, not labels, by its names such as {next(iter(files))}; "
            f"give --field_of_view {place.masks.name}, and the labels in 1st_manual/ beside it"
        )
    images = by_channel(found, files) if volumes else single(found)
    masks = by_image(firsts(images), files, observer)
    # DSB 2018: <id>/images/<id>.png and a mask of each nucleus, of any name
    if not masks.keys() & images.keys() and [place.images.parent.name] == [*images]:
        masks = {name: tuple(path for paths in files.values() for path in paths) for name in images}
    return _joined(chosen(images), chosen(masks), place, volumes)


def _joined(channels: dict[str, Channels], masks: dict[str, Masks], place: Place, volumes: bool) -> list[Pair]:
    images, first_masks = firsts(channels), {name: paths[0] for name, paths in masks.items()}
    for ours, theirs, what, folder in (
        (images, first_masks, "mask", place.masks),
        (first_masks, images, "image", place.images),
    ):
        lonely = sorted(ours.keys() - theirs.keys())
        if lonely:
            strangers = sorted(theirs.keys() - ours.keys())
            other = f". Or is {theirs[strangers[0]].name} its {what}? Name both alike" if strangers else ""
            # what is not meant to be a pair, such as BIDS' other contrasts, is nobody's to remove
            or_not = "leave it out by `include`" if volumes else "remove it"
            raise ValueError(
                f"{place.images} has {len(images)} images and {place.masks} has {len(masks)} masks; "
                f"{len(lonely)} without {what}, first {ours[lonely[0]]}: "
                f"add {folder}/{lonely[0]}{'.nii.gz' if volumes else '.png'} or {or_not}{other}"
            )
    fields: dict[str, Masks] = {}
    if place.fields:
        listed = list_images(place.fields, volumes=volumes)
        fields = by_image(images, {name: (path,) for name, path in listed.items()})
        if lonely := sorted(images.keys() - fields.keys()):
            raise ValueError(f"{images[lonely[0]]} has no field of view in {place.fields}; expected a file of its name")
    return [
        Pair(place.prefix + name, first, masks[name], fields[name][0] if fields else None, tuple(more))
        for name, (first, *more) in (in_order(channels) if channels else {}).items()
    ]


def _pairs_of_one_folder(
    root: Path, include: str, field_of_view: str, observer: str, volumes: bool = False
) -> list[Pair]:
    apart = fields_apart(root, field_of_view)
    files = list_images(root, [apart] if apart else [], volumes)
    found, masks = in_one_folder(files, observer)
    images = by_channel(found, masks) if volumes else single(found)
    if not masks and volumes:
        images, masks = by_patient(files, root)
        first = firsts(images)
        masks = {name: _labels_of(first[name], paths, observer) for name, paths in masks.items() if name in first}
    if not masks:
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:8])
        field = f" ({field_of_view}/ is the field of view)" if field_of_view and not apart else ""
        layouts = f"image/ (or images/) beside mask/ (or masks/){field}, or masks beside their images, <image>_mask"
        if volumes:
            layouts = f"imagesTr/ beside labelsTr/{field}, a folder per patient, or labels named <image>_seg"
        raise FileNotFoundError(
            f"{root} holds {inside}; expected {layouts}.{hint_on_words(files)} Rename or link yours; "
            "docs/own_data.md has all layouts"
        )
    images = {name: channels for name, channels in images.items() if re.search(include, name)}
    masks = {name: paths for name, paths in masks.items() if re.search(include, name)}
    return _joined(images, masks, Place("", root, root, apart), volumes)


def _labels_of(image: Path, paths: Masks, observer: str) -> Masks:
    """A patient's labels: those of one observer, or a file per organ, in a folder of their own, all of them."""
    return paths if len(paths) > 1 and paths[0].parent != image.parent else of_observer(image, paths, observer)
