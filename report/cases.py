"""What is to be scored: folders of maps, paired with the masks of one data set or of several, and what was noticed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from configs import BINARY, Labels
from files import (
    PROBABILITIES,
    are_volumes,
    by_image,
    find_masks,
    find_pairs,
    list_images,
    mask_folder,
    mask_value,
    read_grid,
    require_same_grid,
    trained_on,
)
from files.nifti import SUFFIXES
from metrics import PROTOCOLS, Scores


class Which(NamedTuple):
    """Which masks of a folder are scored, as `find_pairs` takes them; all of them by default."""

    include: str = ""  # regular expression that the names of pairs must contain
    field_of_view: str = ""  # folder, beside the images, of masks of what counts
    observer: str = ""  # of masks by several people, whose


ALL = Which()


class Case(NamedTuple):
    """One map and what it is scored against."""

    map: str  # a Path is four times as large, and there are many
    masks: tuple[str, ...]
    within: str | None = None
    spacing: tuple[float, ...] | None = None  # mm per step of each axis of a volume; None: pixels

    @property
    def is_volume(self) -> bool:
        """Whether its files are volumes, not pictures."""
        return self.map.lower().endswith(SUFFIXES)


@dataclass
class Job:
    """One run of one method on one class of a data set: its files, what was noticed, its scores or an error."""

    dataset: str
    method: str
    run: int = 1  # or the number of the fold or seed
    runs: int = 1  # how many there are
    class_name: str = ""  # one of the labels' classes
    labels: Labels = BINARY
    gt: Path = Path()
    maps: Path = Path()
    only: frozenset[str] | None = None  # the images of a fold; None: all
    names: list[str] = field(default_factory=list)  # of the images scored, in the order of scores.per_image
    files: list[Case] = field(default_factory=list)
    maps_are_labels: bool = False
    mask_value: int = 0  # of maps that are masks of 0 and this value, see files.mask_value
    notes: list[str] = field(default_factory=list)
    empty: int = 0  # of the masks that were scored
    alarms: int = 0  # maps of empty masks that find something
    scores: Scores = field(default_factory=Scores)  # of no image before they are scored, and where there is an error
    error: str = ""

    @property
    def title(self) -> str:
        return f"{self.shown} / {self.line}"

    @property
    def shown(self) -> str:
        """The data set, and the class of several."""
        return f"{self.dataset} {self.class_name}".strip()

    @property
    def line(self) -> str:
        """The method, and which run of it after the first."""
        return self.method + (f" run {self.run}" if self.run > 1 else "")

    @property
    def counts(self) -> bool:
        """Whether the class has a part in the mean of classes."""
        return self.class_name in self.labels.scored


def jobs_of_folds(
    dataset: str,
    method: str,
    gt: Path,
    folds: Sequence[tuple[Path, Sequence[str]]],
    labels: Labels = BINARY,
    which: Which = ALL,
    prefer_labels: bool = False,
) -> list[Job]:
    """A job per fold, given as (folder of its maps, names of its images): runs of one method, hence mean ± std."""
    jobs = [
        Job(dataset, method, run, len(folds), class_name, labels, gt, maps, frozenset(names))
        for class_name in labels.classes
        for run, (maps, names) in enumerate(folds, start=1)
    ]
    return _paired(jobs, which, prefer_labels)


def jobs_of(
    sets: dict[str, Path],
    methods: dict[str, list[Path]],
    several: bool,
    labels: Labels = BINARY,
    which: Which = ALL,
    prefer_labels: bool = False,
) -> list[Job]:
    """A job per set, class, method and run, paired. With several sets the maps of each are in a folder of its name.

    ValueError for no set.
    """
    if not sets:
        raise ValueError("testsets names no set; leave it out, or name some, such as --testsets Kvasir,CVC-300")
    jobs = [
        Job(name, method, run, len(folders), class_name, labels, root, folder / name if several else folder)
        for name, root in sets.items()
        for class_name in labels.classes
        for method, folders in methods.items()
        for run, folder in enumerate(folders, start=1)
    ]
    return _paired(jobs, which, prefer_labels)


def prefers_labels(protocol: str) -> bool:
    """Whether label images are scored rather than grey maps of each class beside them: where maps are only cut."""
    return PROTOCOLS[protocol].stretch == "raw"


def _paired(jobs: list[Job], which: Which, prefer_labels: bool) -> list[Job]:
    for job in jobs:
        pair(job, which, prefer_labels)
    return jobs


def pair(job: Job, which: Which = ALL, prefer_labels: bool = False) -> None:
    """Pair maps and masks by name; what is missing or too much is a note, what makes scoring impossible an error."""
    try:
        gt_folder = mask_folder(job.gt)
        if job.maps.resolve() == gt_folder.resolve():
            raise ValueError(f"maps and masks are the same folder, {job.maps}")
        folder, job.maps_are_labels = maps_of(job, prefer_labels)
        volumes = are_volumes(gt_folder)
        maps = list_images(folder, [folder / PROBABILITIES] if volumes else (), volumes)
        fields: dict[str, Path | None] = {}
        if which.field_of_view or job.only is not None:
            found = find_pairs(job.gt, *which, volumes=volumes)
            masks, fields = {p.name: p.masks for p in found}, {p.name: p.within for p in found}
        else:
            masks = by_image(maps, find_masks(job.gt, which.include, which.observer, volumes), which.observer)
    except (ValueError, OSError) as error:
        job.error = str(error)
        return
    if job.only is not None:
        masks = {name: paths for name, paths in masks.items() if name in job.only}
    missing, extra = sorted(masks.keys() - maps.keys()), sorted(maps.keys() - masks.keys())
    if missing:
        job.notes.append(f"{len(missing)} of {len(masks)} masks have no map and are NOT scored, first {missing[0]}")
    if extra:
        job.notes.append(f"{len(extra)} maps have no mask and are left out, first {extra[0]}")
    loose = [name for name in masks if "/" not in name]
    if loose and len(loose) < len(masks) and job.only is None:
        job.notes.append(f"{len(loose)} masks lie beside folders of masks, all taken for one set, first {loose[0]}")
    if job.maps_are_labels and not prefer_labels:
        job.notes.append("scored from label images, for want of grey maps of each class")
    job.names = [name for name in masks if name in maps]
    known = trained_on(job.maps) if job.class_name == job.labels.classes[0] else ()  # of several classes said once
    if seen := [name for name in job.names if name in known]:
        job.notes.append(
            f"{len(seen)} of {len(job.names)} images were trained on or chosen by, first {seen[0]}; their scores say "
            "nothing about new images"
        )
    job.files = [
        Case(str(maps[name]), tuple(map(str, masks[name])), str(within) if (within := fields.get(name)) else None)
        for name in job.names
    ]
    if not job.files:
        hint = "; maps of several classes? Give classes and label_values" if (folder / "label").is_dir() else ""
        first = next(iter(masks), "none: of another fold, seed or split?")
        job.error = f"no map in {folder} is named like a mask in {job.gt}; first mask {first}{hint}"
    elif volumes:
        look_at_grids(job)
    elif not job.maps_are_labels:
        look_for_masks(job)


def look_at_grids(job: Job) -> None:
    """Each volume's spacing is its gt's; a map, or a field of view, that does not lie on its gt is an error.

    Official: nothing like it. nnU-Net only warns, and scores a map that lies elsewhere as if it lay there.
    """
    try:
        for i, case in enumerate(job.files):
            gt = read_grid(case.masks[0])
            for other in filter(None, (case.map, case.within)):
                require_same_grid(other, read_grid(other), case.masks[0], gt)
            job.files[i] = case._replace(spacing=gt.spacing)
    except (ValueError, OSError) as error:
        job.error = str(error)


def look_for_masks(job: Job) -> None:
    """Maps may be masks of 0 and 1, as nnU-Net writes them: then 1 is white, and that is said."""
    try:
        job.mask_value = mask_value(case.map for case in job.files)
    except (ValueError, OSError) as error:
        job.error = str(error)
    if job.mask_value:
        job.notes.append(f"maps hold 0 and {job.mask_value} alone: taken for masks, {job.mask_value} read as white")


def maps_of(job: Job, prefer_labels: bool) -> tuple[Path, bool]:
    """(folder, whether it holds label images) of a class: grey maps of every class, or label images, in label/ or not.

    Decided alike for all classes of a set; ValueError where some classes have grey maps and others have none.
    """
    if not job.labels.several:
        return job.maps, False
    grey = [name for name in job.labels.names if (job.maps / name).is_dir()]
    labels = job.maps / "label"
    if labels.is_dir() and (prefer_labels or not grey):
        return labels, True
    if lacking := [name for name in job.labels.names if grey and name not in grey]:
        raise ValueError(
            f"{job.maps} has maps of {', '.join(grey)} and none of {', '.join(lacking)}; predict them again"
        )
    return (job.maps / job.class_name, False) if grey else (job.maps, True)
