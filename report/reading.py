"""What a map or a mask is read as before it is scored, and what that took in words."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from configs import BINARY, Labels
from files import read_gt, read_map, read_planes, read_volume_class, read_volume_map
from files.grey import AREAS
from metrics import PROTOCOLS, Scores
from report.cases import Case, Job

NEARLY_BLACK = 10  # of 255
# protocols that say something of a volume: those that measure, and one that counts and asks not where a voxel lies
OF_VOLUMES = (*(name for name, rules in PROTOCOLS.items() if rules.measure), "binary")


class How(NamedTuple):
    """What a process needs to know of a job, and of all of them."""

    protocol: str
    undefined: str = "exclude"
    keep_curves: bool = False
    labels: Labels = BINARY
    class_name: str = ""
    maps_are_labels: bool = False
    mask_value: int = 0
    tolerance: float = 1.0  # of protocol volume, in mm or pixels

    def blank(self) -> Scores:
        """Scores of no image yet."""
        return Scores(self.protocol, self.undefined, self.keep_curves, self.tolerance)


def how_of(
    job: Job, protocol: str = "", undefined: str = "exclude", keep_curves: bool = False, tolerance: float = 1.0
) -> How:
    """How the files of a job are read and scored; without a protocol to be looked at."""
    of_job = job.labels, job.class_name, job.maps_are_labels, job.mask_value
    return How(protocol, undefined, keep_curves, *of_job, tolerance)


def pred_of(case: Case, how: How, note: Callable[[str, str], None] = lambda text, path: None) -> np.ndarray:
    """(H, W), or (X, Y, Z), uint8 of a map; what is made of it to read it is told to `note`."""
    if how.maps_are_labels:
        return _class_mask([case.map], how, case)
    if case.is_volume:
        return read_volume_map(case.map)
    pred, kind = read_map(case.map, how.mask_value)
    if kind:
        note(f"maps are {kind}, converted to 8-bit grey", case.map)
    if not how.mask_value and pred.max() == 1:  # among others that are no 0/1 masks
        note("maps have no value above 1 of 255: they find nothing (masks? Write 0 and 255)", case.map)
    return pred


def gt_of(case: Case, how: How, note: Callable[[str, str], None] = lambda text, path: None) -> np.ndarray:
    """(H, W), or (X, Y, Z), uint8 of a gt, as `pred_of`."""
    if how.class_name or case.is_volume:
        return _class_mask(case.masks, how, case)
    gt, made = read_gt(case.masks)
    cut = PROTOCOLS[how.protocol].gt_cut if how.protocol else None
    for text in made:
        where = ("half of the largest value" if cut is None else f"{cut} of 255") if text == AREAS else ""
        note(f"masks {text}" + f", cut at {where}" * bool(where), case.masks[0])
    return gt


def resized(pred: np.ndarray, gt: np.ndarray, case: Case) -> np.ndarray:
    """A map at the size of its gt, bicubic, as the original does; ValueError for one that lies on its side."""
    (h, w), (hh, ww) = pred.shape, gt.shape
    if (h, w) == (ww, hh):
        raise ValueError(
            f"{case.map} is {w}x{h} but its mask {case.masks[0]} is {ww}x{hh}: width and height are exchanged; "
            "write the map as its image lies"
        )
    return np.asarray(Image.fromarray(pred).resize((ww, hh)))


def as_picture(volume: np.ndarray) -> np.ndarray:
    """A volume (X, Y, Z) as one picture (X, Y * Z), for a protocol that counts."""
    return volume.reshape(len(volume), -1)


def nearly_black(pred: np.ndarray, stretch: str) -> bool:
    """Whether a map that is nearly black is not to the protocol."""
    low, high = pred.min(), pred.max()
    return 0 < high <= NEARLY_BLACK and (stretch == "one" or (stretch == "full" and low < high))


def picture_of(job: Job, name: str, gt: bool = False) -> np.ndarray:
    """(H, W) uint8 of the map, or of the mask, that a job scores for an image."""
    case = job.files[job.names.index(name)]
    return gt_of(case, how_of(job)) if gt else pred_of(case, how_of(job))


def within_of(case: Case) -> np.ndarray | None:
    """(H, W), or (X, Y, Z), uint8 of a field of view, 255 where it counts; None where everything does."""
    if not case.within:
        return None
    return read_volume_class([Path(case.within)], BINARY, "")[0] if case.is_volume else read_gt([case.within])[0]


def _class_mask(paths: Sequence[str], how: How, case: Case) -> np.ndarray:
    """uint8: 255 where a label image, or a volume, is of one class."""
    files = [Path(path) for path in paths]
    if case.is_volume:
        return read_volume_class(files, how.labels, how.class_name)[0]
    return read_planes(files, how.labels)[how.labels.classes.index(how.class_name)]
