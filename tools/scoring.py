"""Scoring folders of maps: what is paired with what, in parallel, and what was noticed on the way."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from files import (
    Masks,
    areas_of_grey,
    by_image,
    find_masks,
    find_pairs,
    list_images,
    mask_folder,
    read_grey,
    read_labels,
    require_two_kinds,
    union,
)
from metrics import Scores

PATIENCE = 600  # seconds; a few images that are not scored by then never will be
CHUNK = 16  # images a process takes at a time
WORTH_A_PROCESS = 500  # images; with fewer, starting it takes longer than it saves


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

    map: Path
    masks: Masks
    within: Path | None = None


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
    notes: list[str] = field(default_factory=list)
    scores: Scores | None = None
    error: str = ""

    @property
    def title(self) -> str:
        return f"{self.shown} / {self.method}" + (f" run {self.run}" if self.run > 1 else "")

    @property
    def shown(self) -> str:
        return f"{self.dataset} {self.part}".strip()


def methods_of(preds: Sequence[str]) -> dict[str, list[Path]]:
    """`[NAME=]DIR` texts -> name -> folders; a name given again is another fold or seed of that method.

    ValueError if two folders share a name that was not given on purpose.
    """
    found: dict[str, list[Path]] = {}
    for text in preds:
        name, _, folder = text.rpartition("=")
        if not name and Path(folder).name in found:
            raise ValueError(f"two --pred share the name {Path(folder).name!r}; write --pred NAME=DIR")
        found.setdefault(name or Path(folder).name, []).append(Path(folder))
    return found


def sets_of(gt: str | Path) -> tuple[dict[str, Path], bool]:
    """(name -> folder, whether they are several): one set of masks, or a folder of sets. FileNotFoundError if none."""
    root = Path(gt)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; --gt is a folder of masks, a test set or a folder of test sets")
    inside = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    if inside and mask_folder(root).parent != root and not any(path.is_file() for path in root.iterdir()):
        return inside, True
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
    if job.maps_are_labels and not job.task.prefer_labels:
        job.notes.append("scored from label images, for want of grey maps of each class")
    job.names = [name for name in masks if name in maps]
    job.files = [Case(maps[name], masks[name], fields.get(name)) for name in job.names]
    if not job.files:
        hint = "; maps of several classes? Give classes and label_values" if (folder / "label").is_dir() else ""
        first = next(iter(masks), "none: of another fold, seed or split?")
        job.error = f"no map in {folder} is named like a mask in {job.gt}; first mask {first}{hint}"


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


def score(jobs: Sequence[Job], protocol: str, undefined: str, processes: int, keep_curves: bool = False) -> None:
    """Decode and score in parallel processes; one unreadable file ends its own job and no other."""
    chunks = [(job, job.files[i : i + CHUNK]) for job in jobs for i in range(0, len(job.files), CHUNK) if not job.error]
    converted: dict[str, dict[str, list[str]]] = {job.title: {} for job in jobs}
    total = sum(len(files) for _, files in chunks)
    with (
        _pool(min(processes, total // WORTH_A_PROCESS)) as submit,
        tqdm(total=total, desc="score", unit="image", disable=None) as bar,
    ):
        futures = [
            submit(score_files, files, protocol, undefined, keep_curves, job.task.labels, job.part, job.maps_are_labels)
            for job, files in chunks
        ]
        for (job, files), future in zip(chunks, futures, strict=True):
            try:
                part, notes = outcome(future)
            except ChildProcessError:
                raise
            except (ValueError, OSError) as error:
                job.error, job.scores = job.error or str(error), None
                part, notes = None, {}
            bar.update(len(files))
            if part is not None and not job.error:
                job.scores = part if job.scores is None else job.scores.merge(part)
                for note, names in notes.items():
                    converted[job.title].setdefault(note, []).extend(names)
    for job in jobs:
        job.notes += [f"{len(names)} {note}, first {names[0]}" for note, names in converted[job.title].items()]


def outcome(future: Future) -> tuple[Scores, dict[str, list[str]]]:
    """What `score_files` gave, or raised; ChildProcessError where its process died or never ends."""
    try:
        wait([future], PATIENCE)
        return future.result(0)
    except BrokenProcessPool as error:
        what = "was killed, for want of memory perhaps"
        raise ChildProcessError(f"a process that scores {what}; try --processes 1") from error
    except TimeoutError as error:
        if future.done():  # it is what the disk said to the process
            raise
        what = f"has given nothing for {PATIENCE} s: is the disk reachable?"
        raise ChildProcessError(f"a process that scores {what}") from error


def score_files(
    files: Sequence[Case],
    protocol: str,
    undefined: str,
    keep_curves: bool,
    labels: dict[str, int] = {},  # noqa: B006 - nobody changes it
    part: str = "",
    maps_are_labels: bool = False,
) -> tuple[Scores, dict[str, list[str]]]:
    """Scores of some files, of one class or binary, and what had to be done to read them: note -> file names."""
    scores = Scores(protocol, undefined, keep_curves)
    notes: dict[str, list[str]] = {}

    def read(what: str, paths: Masks, labelled: bool) -> np.ndarray:
        if labelled:
            return class_mask(paths, labels, part)
        array, note = read_masks(paths, of_lesions=what == "masks")
        if note:
            notes.setdefault(f"{what} are {note}, converted to 8-bit grey", []).append(paths[0].name)
        if what == "masks" and areas_of_grey(array) is not None:
            note = "masks have areas between black and white, cut at half of the largest value (several classes?)"
            notes.setdefault(note, []).append(paths[0].name)
        return array

    for case in files:
        pred, gt = read("maps", (case.map,), maps_are_labels), read("masks", case.masks, bool(part))
        if pred.shape != gt.shape:
            notes.setdefault("maps differ in size from the mask and were resized (bicubic)", []).append(case.map.name)
            pred = np.asarray(Image.fromarray(pred).resize(gt.shape[::-1]))
        within = read_masks((case.within,))[0] if case.within else None
        if within is not None and within.shape != gt.shape:
            raise ValueError(
                f"{case.within} has shape {within.shape} but {case.masks[0]} {gt.shape}; they must be equal"
            )
        try:
            scores.update(pred, gt, within)
        except ValueError as error:
            raise ValueError(f"{', '.join(map(str, filter(None, case[::2])))}: {error}") from error
    return scores, notes


def class_mask(paths: Masks, labels: dict[str, int], part: str) -> np.ndarray:
    """(H, W) uint8: 255 where a label image is of one class."""
    return np.where(read_labels(paths, [*labels.values()]) == labels[part], np.uint8(255), np.uint8(0))


def picture_of(job: Job, name: str, gt: bool = False) -> np.ndarray:
    """(H, W) uint8 of the map, or of the mask, that a job scores for an image."""
    case = job.files[job.names.index(name)]
    if job.part and (gt or job.maps_are_labels):
        return class_mask(case.masks if gt else (case.map,), job.task.labels, job.part)
    return read_masks(case.masks if gt else (case.map,))[0]


def read_masks(paths: Masks, of_lesions: bool = False) -> tuple[np.ndarray, str]:
    """`read_grey` of a mask whose parts may be in several files, some of them valued 0/1; of lesions: no labels."""
    parts, notes = zip(*map(read_grey, paths), strict=True)
    for path, part in zip(paths, parts, strict=True):
        if of_lesions:
            require_two_kinds(path, part)
    tops = {int(part.max()) for part in parts}
    if 1 in tops and len(tops - {0}) > 1:
        parts = tuple(part * 255 if part.max() == 1 else part for part in parts)
    return union(paths, parts), max(notes)


@contextmanager
def _pool(processes: int) -> Iterator:
    """`submit` of a process pool, or of this very process if one is enough."""
    if processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn"), _one_thread) as pool:
            try:
                yield pool.submit
            except ChildProcessError:
                for process in active_children():  # the pool would wait for one that hangs, for ever
                    process.kill()
                raise
    else:
        yield _here


def _here(function, *arguments) -> Future:
    future: Future = Future()
    try:
        future.set_result(function(*arguments))
    except (ValueError, OSError) as error:
        future.set_exception(error)
    return future


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
