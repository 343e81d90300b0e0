"""Scoring folders of maps: read, scored in parallel, and what was noticed on the way."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from files import read_gt, read_labels, read_map
from files.grey import AREAS
from metrics import PROTOCOLS, Scores
from report.cases import Case, Job

PATIENCE = 600  # seconds; a few images that are not scored by then never will be
CHUNK = 16  # images a process takes at a time
WORTH_A_PROCESS = 500  # images; with fewer, starting it takes longer than it saves
AHEAD = 4  # chunks that wait for each process: with all of them waiting, memory grows with the data set
NEARLY_BLACK = 10  # of 255


class How(NamedTuple):
    """What a process needs to know of a job, and of all of them."""

    protocol: str
    undefined: str = "exclude"
    keep_curves: bool = False
    labels: dict[str, int] = {}
    part: str = ""
    maps_are_labels: bool = False
    mask_value: int = 0


def score(jobs: Sequence[Job], protocol: str, undefined: str, processes: int, keep_curves: bool = False) -> None:
    """Decode and score in parallel processes; one unreadable file ends its own job and no other."""
    total = sum(len(job.files) for job in jobs if not job.error)
    processes = max(1, min(processes, total // WORTH_A_PROCESS))
    noticed: list[dict[str, list]] = [{} for _ in jobs]  # note -> how many files, the first
    with _pool(processes) as submit, tqdm(total=total, desc="score", unit="image", disable=None) as bar:

        def chunks() -> Iterator[tuple[int, int, Future | None]]:
            for number, job in enumerate(jobs):
                how = How(
                    *(protocol, undefined, keep_curves, job.task.labels, job.part, job.maps_are_labels, job.mask_value)
                )
                for i in range(0, len(job.files) if not job.error else 0, CHUNK):
                    files = job.files[i : i + CHUNK]
                    yield number, len(files), None if job.error else submit(score_files, files, how)

        for number, count, future in _ahead(chunks(), AHEAD * processes if processes > 1 else 1):
            job = jobs[number]
            try:
                part, notes = outcome(future) if future and not job.error else (None, {})
            except ChildProcessError:
                raise
            except (ValueError, OSError) as error:
                job.error, job.scores, part, notes = str(error), None, None, {}
            bar.update(count)
            if part is not None:
                job.scores = part if job.scores is None else job.scores.merge(part)
            for note, names in notes.items():
                noticed[number].setdefault(note, [0, names[0]])[0] += len(names)
    for job, notes_of_job in zip(jobs, noticed, strict=True):
        job.notes += [f"{many} {note}, first {first}" for note, (many, first) in notes_of_job.items()]


def _ahead(coming: Iterator, count: int) -> Iterator:
    """The items of `coming`, of which the next `count` have been asked for."""
    waiting: deque = deque()
    for item in coming:
        waiting.append(item)
        if len(waiting) >= count:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


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


def score_files(files: Sequence[Case], how: How) -> tuple[Scores, dict[str, list[str]]]:
    """Scores of some files, of one class or binary, and what had to be done to read them: note -> file names."""
    scores, notes = Scores(how.protocol, how.undefined, how.keep_curves), dict[str, list[str]]()
    for case in files:

        def note(text: str, path: str) -> None:
            notes.setdefault(text, []).append(Path(path).name)

        pred, gt = pred_of(case, how, note), gt_of(case, how, note)
        if pred.shape != gt.shape:
            pred = resized(pred, gt, case)
            note("maps differ in size from the mask and were resized (bicubic)", case.map)
        within = read_gt([case.within])[0] if case.within else None
        if within is not None and within.shape != gt.shape:
            raise ValueError(
                f"{case.within} has shape {within.shape} but {case.masks[0]} {gt.shape}; they must be equal"
            )
        if not gt.any() and _stretched(pred, PROTOCOLS[how.protocol].stretch):
            text = f"maps of empty masks are nearly black, at most {NEARLY_BLACK} of 255"
            note(f"{text}, and stretched to white by protocol {how.protocol}: false alarms", case.map)
        try:
            scores.update(pred, gt, within)
        except ValueError as error:
            raise ValueError(f"{', '.join(filter(None, (case.map, case.within)))}: {error}") from error
    return scores, notes


def pred_of(case: Case, how: How, note: Callable[[str, str], None] = lambda text, path: None) -> np.ndarray:
    """(H, W) uint8 of a map; what is made of it to read it is told to `note`."""
    if how.maps_are_labels:
        return class_mask([case.map], how)
    pred, kind = read_map(case.map, how.mask_value)
    if kind:
        note(f"maps are {kind}, converted to 8-bit grey", case.map)
    if not how.mask_value and pred.max() == 1:  # among others that are no 0/1 masks
        note("maps have no value above 1 of 255: they find nothing (masks? Write 0 and 255)", case.map)
    return pred


def gt_of(case: Case, how: How, note: Callable[[str, str], None] = lambda text, path: None) -> np.ndarray:
    """(H, W) uint8 of a gt, as `pred_of`."""
    if how.part:
        return class_mask(case.masks, how)
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


def _stretched(pred: np.ndarray, stretch: str) -> bool:
    """Whether a map that is nearly black is not to the protocol."""
    low, high = pred.min(), pred.max()
    return 0 < high <= NEARLY_BLACK and (stretch == "one" or (stretch == "full" and low < high))


def class_mask(paths: Sequence[str], how: How) -> np.ndarray:
    """(H, W) uint8: 255 where a label image is of one class."""
    labels = read_labels([Path(path) for path in paths], [*how.labels.values()])
    return np.where(labels == how.labels[how.part], np.uint8(255), np.uint8(0))


def picture_of(job: Job, name: str, gt: bool = False) -> np.ndarray:
    """(H, W) uint8 of the map, or of the mask, that a job scores for an image."""
    case = job.files[job.names.index(name)]
    how = How("", labels=job.task.labels, part=job.part, maps_are_labels=job.maps_are_labels, mask_value=job.mask_value)
    return gt_of(case, how) if gt else pred_of(case, how)


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


def _here(function: Callable, *arguments: Any) -> Future:
    future: Future = Future()
    try:
        future.set_result(function(*arguments))
    except (ValueError, OSError) as error:
        future.set_exception(error)
    return future


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
