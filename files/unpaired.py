"""One half of a data set: images without masks, to be predicted; masks without images, to be scored against."""

from pathlib import Path
from typing import Literal, overload

from files.channels import Files, by_channel, by_patient, in_order, single
from files.folders import SUBJECT, find_places, mask_folder
from files.listing import PICTURES, VOLUMES, are_volumes, bare_name, list_images
from files.names import Masks, without_masks
from files.pairs import find_pairs


@overload
def find_images(root: str | Path, volumes: Literal[False] = False) -> dict[str, Path]: ...
@overload
def find_images(root: str | Path, volumes: Literal[True]) -> dict[str, Files]: ...
def find_images(root: str | Path, volumes: bool = False) -> dict[str, Path] | dict[str, Files]:
    """name -> image of what is under `root`, or of `root` itself; masks needed for none: the names of `find_pairs`.

    What lies in folders of masks is no image, wherever they are. With `volumes` name -> files of the channels, as
    `read_volume` takes them, of one file mostly; those of imagesTs/ beside imagesTr/ among them.
    """
    if Path(root).is_file():
        alone = {bare_name(Path(root).name, VOLUMES if volumes else PICTURES) or Path(root).stem: Path(root)}
        return _channels_beside(Path(root), alone) if volumes else alone
    found = _images_under(Path(root), volumes)
    if not volumes:
        return found
    return in_order(by_patient(found, Path(root))[0] or by_channel(found))


def _channels_beside(path: Path, alone: dict[str, Path]) -> dict[str, Files]:
    """name -> the files of the one volume that `path` is of: case_0000 alone, or with the channels beside it."""
    beside = {bare_name(other.name, VOLUMES): other for other in sorted(path.parent.iterdir()) if other.is_file()}
    found = by_channel({name: other for name, other in beside.items() if name})
    return in_order({name: own for name, own in found.items() if path in own.values()} or single(alone))


def _images_under(root: Path, volumes: bool) -> dict[str, Path]:
    places, kind = find_places(root), VOLUMES if volumes else PICTURES
    loose = any(path.name.lower().endswith(kind.read) for path in root.iterdir())
    masks = [place.masks for place in places if place.masks]
    if not any(place.images for place in places) or (loose and not masks):
        return without_masks(list_images(root, masks, volumes))
    folders = [(place.prefix, place.images, place.but) for place in places if place.images]
    # what is trained on and what is to be predicted lie in two folders, of the Decathlon and of nnU-Net
    tests = [(prefix, folder.with_name("imagesTs"), ()) for prefix, folder, _ in folders if folder.name == "imagesTr"]
    found: dict[str, Path] = {}
    for prefix, folder, but in folders + [test for test in tests if volumes and test[1].is_dir()]:
        images = {prefix + name: path for name, path in list_images(folder, but, volumes).items()}
        if both := images.keys() & found.keys():
            raise ValueError(f"{folder} and {folders[0][1]} share the name {min(both)!r}; give one of the two folders")
        found |= images
    return found


def find_masks(root: str | Path, include: str = "", observer: str = "", volumes: bool = False) -> dict[str, Masks]:
    """name -> masks of what is under `root`, images needed for none unless names alone do not tell what belongs to it.

    One folder of masks keeps the masks' own names; `by_image` finds the images'. The rest as for `find_pairs`.
    """
    if len(find_places(root, observer=observer)) <= 1 and (
        masks := _one_folder_of_masks(Path(root), observer, volumes)
    ):
        return masks
    return {pair.name: pair.masks for pair in find_pairs(root, include, observer=observer, volumes=volumes)}


def _one_folder_of_masks(root: Path, observer: str, volumes: bool) -> dict[str, Masks]:
    folder = mask_folder(root)
    files = list_images(folder, volumes=volumes)
    patients, labels = by_patient(files, root) if volumes and folder == root else ({}, {})
    if labels and not patients:  # their images lie elsewhere
        return labels
    together = folder == root and (bool(labels) or len(without_masks(files)) < len(files))
    return {} if together else {name: (path,) for name, path in files.items()}


def are_of_patients(root: Path) -> bool:
    """Whether a folder of masks is of volumes, with a folder per patient or per subject of BIDS."""
    if not are_volumes(root):
        return False
    subjects = any(SUBJECT.match(path.name) for path in root.iterdir() if path.is_dir())
    return subjects or bool(by_patient(list_images(root, volumes=True), root)[1])
