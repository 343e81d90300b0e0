"""Scoring folders of maps: read, scored in parallel, and what was noticed on the way."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import Lock

from tqdm import tqdm

from metrics import PROTOCOLS, Scores
from metrics.inputs import CUT
from report.cases import Case, Job
from report.reading import (
    NEARLY_BLACK,
    OF_VOLUMES,
    How,
    as_picture,
    gt_of,
    how_of,
    nearly_black,
    pred_of,
    resized,
    within_of,
)
from report.workers import workers_for

PATIENCE = 600  # seconds; a few images that are not scored by then never will be
CHUNK = 16  # images a process or a thread takes at a time
AS_MANY = 16  # images that a volume takes as long as
EMPTY, ALARM = "masks are empty", "maps of empty masks find something"  # counted for what stands below a table
AHEAD = 4  # chunks that wait for each process: with all of them waiting, memory grows with the data set


def score(
    jobs: Sequence[Job],
    protocol: str,
    undefined: str,
    processes: int,
    keep_curves: bool = False,
    tolerance: float = 1.0,
) -> None:
    """Decode and score in parallel, in `processes` at most; one unreadable file ends its own job and no other."""
    jobs_of_volumes = [job for job in jobs if job.files and job.files[0].is_volume]
    for job in jobs_of_volumes if protocol not in OF_VOLUMES else ():
        job.error = f"protocol {protocol} scores pictures; of volumes give --protocol {' or '.join(OF_VOLUMES)}"
    total = sum(len(job.files) for job in jobs if not job.error)
    each = AS_MANY if jobs_of_volumes else 1
    chunk_size = CHUNK // each
    at_once, pool = workers_for(total * each, processes, bool(jobs_of_volumes))
    noticed: list[dict[str, list]] = [{} for _ in jobs]  # note -> how many files, the first
    lock = Lock()  # chunks end in a thread of the pool's
    with pool as submit, tqdm(total=total, desc="score", unit="image", disable=None) as bar:

        def scored(count: int) -> None:
            with lock:
                bar.update(count)

        def submitted(files: Sequence[Case], how: How) -> Future:
            future = submit(score_files, files, how)
            future.add_done_callback(lambda _: scored(len(files)))
            return future

        def chunks() -> Iterator[tuple[Job, dict[str, list], Future]]:
            for job, noted in zip(jobs, noticed, strict=True):
                how = how_of(job, protocol, undefined, keep_curves, tolerance)
                job.scores = how.blank()
                for i in range(0, 0 if job.error else len(job.files), chunk_size):
                    if job.error:  # a chunk before has met it
                        scored(len(job.files) - i)
                        break
                    yield job, noted, submitted(job.files[i : i + chunk_size], how)

        for job, noted, future in _ahead(chunks(), AHEAD * at_once if at_once > 1 else 1):
            if job.error:
                continue
            try:
                chunk, notes = outcome(future)
            except ChildProcessError:
                raise
            except (ValueError, OSError) as error:
                job.error, job.scores = str(error), job.scores.blank()
                continue
            job.scores.merge(chunk)
            for note, names in notes.items():
                noted.setdefault(note, [0, names[0]])[0] += len(names)
    for job, noted in zip(jobs, noticed, strict=True):
        job.empty, job.alarms = (noted.pop(text, [0])[0] for text in (EMPTY, ALARM))
        job.notes += [f"{many} {note}, first {first}" for note, (many, first) in noted.items()]


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
    scores, notes, rules = how.blank(), dict[str, list[str]](), PROTOCOLS[how.protocol]
    for case in files:

        def note(text: str, path: str) -> None:
            notes.setdefault(text, []).append(Path(path).name)

        pred, gt = pred_of(case, how, note), gt_of(case, how, note)
        if pred.shape != gt.shape:
            pred = resized(pred, gt, case)
            note("maps differ in size from the mask and were resized (bicubic)", case.map)
        within, spacing = within_of(case), case.spacing
        if case.is_volume and not rules.measure:
            pred, gt, within = as_picture(pred), as_picture(gt), within if within is None else as_picture(within)
            spacing = None
        if within is not None and within.shape != gt.shape:
            raise ValueError(
                f"{case.within} has shape {within.shape} but {case.masks[0]} {gt.shape}; they must be equal"
            )
        # as the scores see it: above the protocol's cut, inside the field of view
        lesion, found = (x if within is None else x[within > within.max() // 2] for x in (gt, pred))
        is_empty = lesion.max(initial=0) <= (rules.gt_cut or 0)
        if is_empty:
            note(EMPTY, case.masks[0])
            if found.max(initial=0) >= CUT:
                note(ALARM, case.map)
        if is_empty and nearly_black(pred, rules.stretch):
            text = f"maps of empty masks are nearly black, at most {NEARLY_BLACK} of 255"
            note(f"{text}, and stretched to white by protocol {how.protocol}: false alarms", case.map)
        try:
            scores.update(rules.of_grey(pred), gt, within, spacing=spacing)
        except ValueError as error:
            raise ValueError(f"{', '.join(filter(None, (case.map, case.within)))}: {error}") from error
    return scores, notes
