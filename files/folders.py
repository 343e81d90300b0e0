"""Finding folders and files: the layouts of public data sets, and every image in a folder."""

import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

# the names that public data sets use, in any case; of several in one place the first pattern counts
IMAGE_FOLDERS = (
    *("images?", "imgs?", "im", "frames?", "imagestr", ".*_input", "originals?", r"tissue[ _-]?images?"),
    *("img_dir", "jpegimages"),  # of mmsegmentation, of Pascal VOC
)
MASK_FOLDERS = (
    *(r"(1st_)?manual\d*", r"(binary[ _-]?masks?|masks?[ _-]?binary)", "masks?", "gt", "ground[ _-]?truths?"),
    *("layer_masks", "labelstr", ".*_groundtruth", "ann_dir", "segmentationclass"),
    *("labels?", "annotations?", "segmentations?"),
)
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp"}
VOLUMES = (".nii", ".nii.gz", ".dcm", ".mha", ".mhd", ".nrrd")
# pictures of a kind that is not read: left aside, but not without a word
UNREAD = {
    *(".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
    *(".jfif", ".dib", ".psd", ".svg", ".eps", ".exr", ".hdr", ".dng", ".npy", ".svs", ".ndpi"),
}
LEFT_BEHIND = re.compile(r"\.|__MACOSX$|@eaDir$")  # hidden files, and what archives and file servers add


class Place(NamedTuple):
    """A folder of images beside one of masks, perhaps one of fields of view, and what its names begin with.

    One that lacks its partner is half a place: images to predict, or masks to score, but no pairs.
    """

    prefix: str
    images: Path | None
    masks: Path | None
    fields: Path | None = None


def files_under(folder: str | Path, but: Collection[Path] = ()) -> Iterator[Path]:
    """Every file in a folder and its sub-folders, sorted, hidden ones left out; a folder linked twice is read once.

    `but`: sub-folders to leave out. OSError for a folder that may not be read.
    """
    # a link upwards leads nowhere new
    seen = {*Path(folder).resolve().parents, *(path.resolve() for path in but)}

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


def left_aside(folder: str | Path, used: Collection[Path], but: Collection[Path] = ()) -> str:
    """What a folder holds besides `used`, as "3 other files (2 .png, 1 .txt), first D/masks/1.png"; "" for nothing."""
    others = [path for path in files_under(folder, but) if path not in used]
    if not others:
        return ""
    endings = [path.suffix.lower() if _is_regular(path) else "no regular file" for path in others]
    kinds = ", ".join(f"{endings.count(ending)} {ending or 'without ending'}" for ending in sorted(set(endings)))
    return f"{len(others)} other files ({kinds}), first {others[0]}"


def list_images(folder: str | Path, but: Collection[Path] = ()) -> dict[str, Path]:
    """name -> file of the images in a folder and, as clips/001, in its sub-folders (not those of `but`); sorted.

    Names are in Unicode's composed form (NFC): an é is an é, whichever machine wrote it.
    FileNotFoundError for no such folder, ValueError if it holds no image or two of one name; a warning names what looks
    like an image and is not read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check the path")
    found: dict[str, Path] = {}
    volumes: list[Path] = []
    unread: list[Path] = []
    for path in files_under(folder, but):
        ending = path.suffix.lower()
        if path.name.lower().endswith(VOLUMES):
            volumes.append(path)
        if ending in UNREAD or not _is_regular(path):
            unread.append(path)
        elif ending in SUFFIXES:
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
        also = f" and {len(unread)} files that are not read, first {unread[0].name}" if unread else ""
        raise ValueError(f"{folder} holds no image{also}; expected files ending in {', '.join(sorted(SUFFIXES))}")
    if unread:
        warnings.warn(
            f"{len(unread)} files of {folder} are left aside, first {unread[0].name}: read are regular files ending in "
            f"{', '.join(sorted(SUFFIXES))}; save it as one of these",
            stacklevel=2,
        )
    return found


def _is_regular(path: Path) -> bool:
    """Whether it is a file (or a broken link to one): to open a pipe or a device would wait for ever."""
    return path.is_file() or not path.exists()


def mask_folder(root: str | Path) -> Path:
    """Where the masks under `root` are: its mask/ or masks/ folder, one folder further down, or `root` itself."""
    root = Path(root)
    require_folder(root)
    inside = _folders(root)
    return next(filter(None, (_one_of(folders, MASK_FOLDERS) for folders in (inside, *map(_folders, inside)))), root)


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
        images, masks = _one_of(inside, IMAGE_FOLDERS), _one_of(inside, mask_folders, but=fields)
        if not (images and masks):
            for folder in inside:
                look(folder)
        if (images or masks) and len(places) == before:
            places.append(Place(prefix, images, masks, fields))

    look(root)
    return places if len(places) > 1 else [place._replace(prefix="") for place in places]


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
