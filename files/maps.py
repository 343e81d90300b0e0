"""Maps as files: grey PNG of 8 or 16 bits at the image's own size, label images of classes, and the record of both."""

import json
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from configs import BINARY, Config, Labels
from files.grids import require_same_grid
from files.nifti import SUFFIXES, read_grid
from files.volumes import read_volume
from files.writing import write_file, write_picture

RECORD = "maps.json"
TRAINED_ON = "trained_on"
PROBABILITIES = "probabilities"  # of volumes, beside their labels


def native_map(pred: np.ndarray, height: int, width: int) -> Image.Image:
    """The 8-bit grey map of pred (h, w) float in [0, 1] at native size: truncated to 8 bits, then resized, bilinear."""
    return Image.fromarray((pred * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)


def native_probabilities(pred: np.ndarray, height: int, width: int) -> np.ndarray:
    """(C, height, width) float32 in [0, 1] of pred (C, h, w) float32: a `native_map` before it has 8 bits."""
    return np.stack([np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BILINEAR)) for p in pred])


def native_labels(pred: np.ndarray, height: int, width: int, labels: Labels) -> Image.Image:
    """The label image of pred (C, h, w) float32 at native size: the value of the class that is likeliest there."""
    return Image.fromarray(labels.image(np.argmax(native_probabilities(pred, height, width), 0)))


def write_maps(
    folder: Path,
    name: str,
    pred: np.ndarray,
    height: int,
    width: int,
    labels: Labels = BINARY,
    probabilities: bool = False,
) -> None:
    """Write what was predicted for one image, pred (C, h, w), into `map_files`, each file whole or not at all.

    Grey maps are `native_map` or, as `probabilities`, of 16 bits: `native_probabilities` on 0..65535, rounded. Of
    several classes label/ is written last, `native_labels`.
    """
    if probabilities:
        pictures = [*np.round(native_probabilities(pred, height, width) * 65535).astype(np.uint16)]
    else:
        pictures = [np.asarray(native_map(plane, height, width)) for plane in pred]
    if labels.several:
        pictures.append(np.asarray(native_labels(pred, height, width, labels)))
    for path, picture in zip(map_files(folder, name, labels), pictures, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picture(path, picture)


def map_files(folder: Path, name: str, labels: Labels = BINARY) -> list[Path]:
    """Of a binary network <folder>/<name>.png; of several classes <folder>/<class>/<name>.png and label/<name>.png."""
    inside = [folder / place for place in (*labels.names, "label")] if labels.several else [folder]
    return [place / f"{name}.png" for place in inside]


def volume_files(folder: Path, name: str, labels: Labels = BINARY, probabilities: bool = False) -> list[Path]:
    """Of a volume <folder>/<name>.nii.gz, its labels; and <folder>/probabilities/<class>/<name>.nii.gz."""
    of_classes = [folder / PROBABILITIES / place for place in labels.names or ("object",)] if probabilities else []
    return [place / f"{name}.nii.gz" for place in (folder, *of_classes)]


def files_of(cfg: Config, folder: Path, name: str, all_kinds: bool = False) -> list[Path]:
    """What prediction writes of an image or of a volume; `all_kinds`: what it may have written before, too."""
    if cfg.dims == 2:
        return map_files(folder, name, cfg.labels)
    return volume_files(folder, name, cfg.labels, cfg.probabilities or all_kinds)


def is_whole(path: Path, image: Path) -> bool:
    """Whether a map is there to its end, each part with its right checksum, and as large as its image (on its grid)."""
    if path.name.endswith(SUFFIXES):
        return _is_whole_volume(path, image)
    try:
        with Image.open(path) as picture:
            picture.verify()
    except Exception:  # absent; or damaged, which Pillow says in a dozen ways
        return False
    try:
        with Image.open(image) as other:  # reads its head alone; EXIF may turn it
            return sorted(picture.size) == sorted(other.size)
    except Exception:  # Pillow cannot read it; whether anything can is seen when it is predicted
        return True


def _is_whole_volume(path: Path, image: Path) -> bool:
    try:
        require_same_grid(path, read_volume([path])[1], image, read_grid(image))
    except (OSError, ValueError):
        return False
    return True


# ---- maps.json, beside the maps: what they are from, and the proof that they may be replaced


def record_of(folder: Path) -> dict[str, Any]:
    """What maps.json says of the maps in a folder; nothing where there is none, or one of somebody else's."""
    if not (folder / RECORD).is_file():  # a pipe of that name would be waited for
        return {}
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "snapshot" in found else {}


def fingerprints(folder: Path) -> dict[str, str]:
    """The images whose maps are in `folder` by its record, by name."""
    found = record_of(folder).get("images")
    return found if isinstance(found, dict) else {}


def trained_on(folder: Path) -> set[str]:
    """The names of images whose maps in `folder` are by a checkpoint that was trained, or chosen, by them.

    By its record; without one by that of the folder above, which may be of several sets, clips or classes.
    """
    if own := record_of(folder):
        return _listed(own, TRAINED_ON)
    above, inside = record_of(folder.parent), f"{folder.name}/"
    names = {name.removeprefix(inside) for name in _listed(above, TRAINED_ON) if name.startswith(inside)}
    if folder.name in {"label", *_listed(above, "class_names"), *_listed(above, "label_values")}:
        names |= _listed(above, TRAINED_ON)
    return names


def _listed(record: dict[str, Any], what: str) -> set[str]:
    found = record.get(what)
    return set(map(str, found)) if isinstance(found, list) else set()


def require_own(folder: Path, targets: Iterable[Path]) -> None:
    """ValueError if a file that is about to be replaced is in a folder without a maps.json of ours."""
    taken = next((path for path in (folder / RECORD, *targets) if os.path.lexists(path)), None)
    if taken and not record_of(folder):
        raise ValueError(
            f"{taken} is there already, and no {RECORD} says that prediction wrote it; "
            "give another folder, or remove what is in the way"
        )


def require_same_source(folder: Path, settings: dict[str, Any]) -> None:
    """ValueError naming what differs between the maps that are in a folder and those that would be added."""
    then, now = record_of(folder), json.loads(json.dumps(settings))  # as they come back from a file
    if then and (changed := [name for name in now if name != "snapshot" and then.get(name) != now[name]]):
        shown = "; ".join(f"{name} was {then.get(name)}, is {now[name]}" for name in changed)
        raise ValueError(f"{folder} holds other maps than these would be: {shown}; leave out --skip-existing")


def write_maps_record(
    folder: Path, settings: dict[str, Any], images: dict[str, str], trained_on: Iterable[str] = ()
) -> None:
    """maps.json, before the first map; images: the name and the fingerprint of each picture that has one, or will.

    trained_on: the names of those that the checkpoint was trained, or chosen, by; whoever scores the maps says so.
    """
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    found = settings | {"date": date, TRAINED_ON: sorted(trained_on), "images": images}
    write_file(folder / RECORD, json.dumps(found, indent=1) + "\n")
