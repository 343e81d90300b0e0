"""What is to be scored: folders of maps, paired with the masks of one data set or of several, and what was noticed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from files import by_image, find_masks, find_pairs, list_images, mask_folder, mask_value
from files.folders import LEFT_BEHIND, SUFFIXES
from metrics import Scores


class Task(NamedTuple):
    """What to score of a data set: everything by default, or what a Config's labels and field of view say."""

    labels: dict[str, int] = {}  # class -> grey value in label images; {}: binary masks
    field_of_view: str = ""  # folder, beside the images, of masks of what counts
    include: str = ""  # regular expression that the names of pairs must contain
    observer: str = ""  # of masks by several people, whose
    prefer_labels: bool = False  # score label images rather than grey maps of each class, where both are there


BINARY = Task()


class Case(NamedTuple):
    """One map and what it is scored against."""

    map: str  # a Path is four times as large, and there are many
    masks: tuple[str, ...]
    within: str | None = None


@dataclass
class Job:
    """One run of one method on one data set: its files, what was noticed, and in the end its scores or an error."""

    dataset: str
    method: str
    run: int  # 1, or the number of the fold or seed
    runs: int  # how many there are
    gt: Path
    maps: Path
    only: frozenset[str] | None = None  # the images of a fold; None: all
    task: Task = BINARY
    part: str = ""  # one of the task's classes
    names: list[str] = field(default_factory=list)  # of the images scored
    files: list[Case] = field(default_factory=list)
    maps_are_labels: bool = False
    mask_value: int = 0  # of maps that are masks of 0 and this value, see files.mask_value
    notes: list[str] = field(default_factory=list)
    scores: Scores | None = None
    error: str = ""

    @property
    def title(self) -> str:
        return f"{self.shown} / {self.method}" + (f" run {self.run}" if self.run > 1 else "")

    @property
    def shown(self) -> str:
        return f"{self.dataset} {self.part}".strip()


def named_folder(text: str) -> tuple[str, Path]:
    """`[NAME=]DIR` -> (name, the folder's own if none is given; folder). Both may have = in them: what exists decides.

    ValueError where that leaves two readings.
    """
    cuts = [i for i, letter in enumerate(text) if letter == "="]
    readings = [("", text), *((text[:i], text[i + 1 :]) for i in cuts if text[i + 1 :])]
    there = [(name, folder) for name, folder in readings if Path(folder).is_dir()]
    plain = [(name, folder) for name, folder in there if "/" not in name]
    if len(plain) > 1:
        (_, whole), (name, folder) = plain[0], plain[1]
        raise ValueError(f"{text} may be folder {whole} or {name} = {folder}; write ./{text} or {name}=./{folder}")
    first = readings[1] if len(readings) > 1 and "/" not in readings[1][0] else readings[0]
    name, folder = (plain or there or [first])[0]
    return name or Path(folder).name, Path(folder)


def methods_of(preds: Sequence[str]) -> dict[str, list[Path]]:
    """`[NAME=]DIR` texts -> name -> folders; a name given again is another fold or seed of that method.

    ValueError if two folders share a name that was not given on purpose.
    """
    found: dict[str, list[Path]] = {}
    for text in preds:
        name, folder = named_folder(text)
        if name in found and not text.startswith(f"{name}="):
            raise ValueError(f"two --pred share the name {name!r}; write --pred NAME=DIR")
        found.setdefault(name, []).append(folder)
    return found


def sets_of(gt: str | Path) -> tuple[dict[str, Path], bool]:
    """(name -> folder, whether they are several): one set of masks, or a folder of sets.

    Loose images make one set of a folder and its sub-folders, unless these have a masks/ each. Other loose files mean
    nothing. FileNotFoundError if there is no folder, ValueError for images that belong to none of the sets.
    """
    root = Path(gt)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; --gt is a folder of masks, a test set or a folder of test sets")
    there = sorted(path for path in root.iterdir() if not LEFT_BEHIND.match(path.name))
    inside = [path for path in there if path.is_dir()]
    loose = [path for path in there if path.suffix.lower() in SUFFIXES and path.is_file()]
    masks = mask_folder(root)
    if inside and masks.parent != root and not (loose and masks == root):
        if loose:
            sets = ", ".join(path.name for path in inside)
            raise ValueError(f"{loose[0]} lies beside the test sets {sets}; move it away, or give --gt one of them")
        return {path.name: path for path in inside}, True
    own = root.resolve()
    return {own.parent.name if own.name.lower() in ("mask", "masks") else own.name: root}, False


def jobs_of_folds(
    dataset: str, method: str, gt: Path, folds: Sequence[tuple[Path, Sequence[str]]], task: Task = BINARY
) -> list[Job]:
    """A job per fold, given as (folder of its maps, names of its images): runs of one method, hence mean ± std."""
    return _paired(
        Job(dataset, method, run, len(folds), gt, maps, frozenset(names), task, part)
        for part in task.labels or [""]
        for run, (maps, names) in enumerate(folds, start=1)
    )


def jobs_of(sets: dict[str, Path], methods: dict[str, list[Path]], several: bool, task: Task = BINARY) -> list[Job]:
    """A job per set, class, method and run, paired. With several sets the maps of each are in a folder of its name."""
    return _paired(
        Job(name, method, run, len(folders), root, folder / name if several else folder, None, task, part)
        for name, root in sets.items()
        for part in task.labels or [""]
        for method, folders in methods.items()
        for run, folder in enumerate(folders, start=1)
    )


def _paired(jobs: Iterable[Job]) -> list[Job]:
    found = list(jobs)
    for job in found:
        pair(job)
    return found


def pair(job: Job) -> None:
    """Pair maps and masks by name; what is missing or too much is a note, what makes scoring impossible an error."""
    try:
        gt_folder = mask_folder(job.gt)
        if job.maps.resolve() == gt_folder.resolve():
            raise ValueError(f"maps and masks are the same folder, {job.maps}")
        folder, job.maps_are_labels = maps_of(job)
        maps = list_images(folder)
        fields: dict[str, Path | None] = {}
        if job.task.field_of_view or job.only is not None:
            found = find_pairs(job.gt, job.task.include, job.task.field_of_view, job.task.observer)
            masks, fields = {p.name: p.masks for p in found}, {p.name: p.within for p in found}
        else:
            masks = by_image(maps, find_masks(job.gt, job.task.include, job.task.observer), job.task.observer)
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
    if job.maps_are_labels and not job.task.prefer_labels:
        job.notes.append("scored from label images, for want of grey maps of each class")
    job.names = [name for name in masks if name in maps]
    job.files = [
        Case(str(maps[name]), tuple(map(str, masks[name])), str(within) if (within := fields.get(name)) else None)
        for name in job.names
    ]
    if not job.files:
        hint = "; maps of several classes? Give classes and label_values" if (folder / "label").is_dir() else ""
        first = next(iter(masks), "none: of another fold, seed or split?")
        job.error = f"no map in {folder} is named like a mask in {job.gt}; first mask {first}{hint}"
    elif not job.maps_are_labels:
        look_for_masks(job)


def look_for_masks(job: Job) -> None:
    """Maps may be masks of 0 and 1, as nnU-Net writes them: then 1 is white, and that is said."""
    try:
        job.mask_value = mask_value(case.map for case in job.files)
    except (ValueError, OSError) as error:
        job.error = str(error)
    if job.mask_value:
        job.notes.append(f"maps hold 0 and {job.mask_value} alone: taken for masks, {job.mask_value} read as white")


def maps_of(job: Job) -> tuple[Path, bool]:
    """(folder, whether it holds label images) of a class: grey maps of every class, or label images, in label/ or not.

    Decided alike for all classes of a set; ValueError where some classes have grey maps and others have none.
    """
    if len(job.task.labels) < 2:
        return job.maps, False
    grey = [name for name in job.task.labels if (job.maps / name).is_dir()]
    labels = job.maps / "label"
    if labels.is_dir() and (job.task.prefer_labels or not grey):
        return labels, True
    if lacking := [name for name in job.task.labels if grey and name not in grey]:
        raise ValueError(
            f"{job.maps} has maps of {', '.join(grey)} and none of {', '.join(lacking)}; predict them again"
        )
    return (job.maps / job.part, False) if grey else (job.maps, True)
