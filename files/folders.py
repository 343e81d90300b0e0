"""Finding folders: the layouts of public data sets."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from files.listing import entries
from files.nifti import SUFFIXES

# the names that public data sets use, in any case; of several in one place the first pattern counts
IMAGE_FOLDERS = (
    *("images?", "imgs?", "im", "frames?", "imagestr", ".*_input", "originals?", r"tissue[ _-]?images?"),
    *("img_dir", "jpegimages"),  # of mmsegmentation, of Pascal VOC
    "imagests",  # of nnU-Net, where there is nothing else
)
MASK_FOLDERS = (
    *(r"(1st_)?manual\d*", r"(binary[ _-]?masks?|masks?[ _-]?binary)", "masks?", "gt", "ground[ _-]?truths?"),
    *("layer_masks", "labelstr", ".*_groundtruth", "ann_dir", "segmentationclass"),
    *("labels?", "annotations?", "segmentations?", "labelsts"),
)
SUBJECT = re.compile("sub-")


class Place(NamedTuple):
    """A folder of images beside one of masks, perhaps one of fields of view, and what its names begin with.

    One that lacks its partner is half a place: images to predict, or masks to score, but no pairs.
    """

    prefix: str
    images: Path | None
    masks: Path | None
    fields: Path | None = None
    but: tuple[Path, ...] = ()  # folders inside that of the images that hold none


def mask_folder(root: str | Path) -> Path:
    """Where the masks under `root` are: its mask/ or masks/ folder, one folder further down, or `root` itself.

    A folder beside a volume, as segmentations/ beside ct.nii.gz, is of one patient alone.
    """
    root = Path(root)
    require_folder(root)
    for folder in (root, *_folders(root)):
        masks = _one_of(_folders(folder), MASK_FOLDERS)
        if masks and not (folder != root and any(path.name.lower().endswith(SUFFIXES) for path in folder.iterdir())):
            return masks
    return root


def masks_beside(folders: Iterable[Path]) -> set[Path]:
    """The folders of masks that lie beside folders of images."""
    beside = {folder.parent for folder in folders}
    inside = [path for parent in beside for path in _folders(parent)]
    patterns = "|".join(MASK_FOLDERS)
    return {path for path in inside if re.fullmatch(patterns, path.name, re.IGNORECASE)}


def require_folder(root: Path) -> None:
    """FileNotFoundError that says what lies beside it, where there is no such folder."""
    if not root.is_dir():
        beside = sorted(path.name for path in root.parent.iterdir()) if root.parent.is_dir() else []
        raise FileNotFoundError(
            f"no folder {root}; check datapath (training) or testpath and testsets (testing): "
            f"{root.parent} holds {', '.join(beside[:8]) or 'nothing'}"
        )


def fields_apart(root: Path, field_of_view: str) -> Path | None:
    """The folder of fields of view where it is given as a path, from `root`, and not as a name beside the images."""
    if "/" not in field_of_view:
        return None
    if not (root / field_of_view).is_dir():
        raise FileNotFoundError(f"no folder {root / field_of_view}; check field_of_view, a path from {root}")
    return root / field_of_view


def find_places(root: str | Path, field_of_view: str = "", observer: str = "") -> list[Place]:
    """Every folder of images or of masks, at any depth under `root`; a folder `field_of_view` has no masks.

    One place needs no prefix (`TrainDataset/TrainDataset/{image,mask}`); of several, such as clips, each has its
    path below `root`. A folder named like the `observer` comes before other masks. FileNotFoundError for no such
    folder, ValueError for two that could both be the images.
    """
    root, places, seen = Path(root), list[Place](), set[Path]()
    require_folder(root)
    apart = fields_apart(root, field_of_view)
    mask_folders = [re.escape(observer)] * bool(observer) + [*MASK_FOLDERS]

    def look(base: Path) -> None:
        if base.resolve() in seen:
            return
        seen.add(base.resolve())
        inside, before = _folders(base), len(places)
        prefix = f"{base.relative_to(root).as_posix()}/"
        if apart:
            fields: Path | None = apart / prefix if (apart / prefix).is_dir() else apart
            inside = [path for path in inside if path.resolve() != apart.resolve()]
        else:
            fields = _one_of(inside, [re.escape(field_of_view)]) if field_of_view else None
        if is_bids(base) and (labels := _one_of(_folders(base / "derivatives"), mask_folders)):
            others = tuple(path for path in inside if not SUBJECT.match(path.name))
            places.append(Place(prefix, base, labels, fields, others))
            return
        images, masks = _one_of(inside, IMAGE_FOLDERS), _one_of(inside, mask_folders, but=fields)
        if not (images and masks):
            for folder in inside:
                look(folder)
        if (images or masks) and len(places) == before:
            places.append(Place(prefix, images, masks, fields))

    look(root)
    return places if len(places) > 1 else [place._replace(prefix="") for place in places]


def is_bids(base: Path) -> bool:
    """Whether a folder is BIDS', with images in sub-<subject>/ and labels, so again, in derivatives/labels/."""
    return (base / "derivatives").is_dir() and any(SUBJECT.match(path.name) for path in _folders(base))


def _folders(base: Path) -> list[Path]:
    return [base / name for name, is_folder in entries(base) if is_folder]


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
