"""Score maps: python test_score.py --gt DIR --pred [NAME=]DIR [--pred ...] [--protocol official|pranet] [--out DIR]

or a config file in place of --gt and --pred: its test sets, and the maps of its network. Any method's maps will do:
grey images named like the masks. With --gt of a folder of test sets (TestDataset), each --pred holds a folder per set.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from configs import Config, parse
from dataset import MASK_FOLDERS, list_images, mask_folder, read_grey
from metrics import PROTOCOLS, Scores
from tools import tables

CHUNK = 16  # images a process takes at a time


@dataclass
class Job:
    """One method on one data set: what was paired, what was noticed, and in the end its scores or an error."""

    dataset: str
    method: str
    names: list[str] = field(default_factory=list)
    files: list[tuple[Path, Path]] = field(default_factory=list)  # map, gt
    notes: list[str] = field(default_factory=list)
    scores: Scores | None = None
    error: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, given = parse(
        "Score folders of maps.",
        arguments,
        gt={"metavar": "DIR", "help": "masks, or a test set, or a folder of test sets"},
        pred={"metavar": "[NAME=]DIR", "action": "append", "default": [], "help": "maps of a method; may be repeated"},
        protocol={"choices": tuple(PROTOCOLS), "default": "official"},
        undefined={"choices": ("exclude", "propagate"), "default": "exclude", "help": "propagate: NaN as the original"},
        out={"metavar": "DIR", "help": "write scores.csv, summary.json, tables.md and tables.tex there"},
        processes={"type": int, "default": os.cpu_count(), "help": "default: one per core"},
        strict={"action": "store_true", "help": "whatever is noticed about the files is an error"},
        confidence={"action": "store_true", "help": "95 %% bootstrap intervals and paired tests between methods"},
    )
    try:
        jobs = find_jobs(cfg, given.gt, given.pred)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"test_score.py: error: {error}") from error
    for job in jobs:
        pair(job)
    score(jobs, given.protocol, given.undefined, max(1, given.processes or 1), keep_curves=given.confidence)
    report(jobs, given.strict)
    scored = [tables.Row(job.dataset, job.method, job.names, job.scores) for job in jobs if job.scores is not None]
    if scored:
        print("\n" + tables.terminal(scored))
        if given.confidence:
            print("\n" + tables.confidence(scored))
        if given.out:
            tables.write(scored, Path(given.out))
            print(f"\nwritten: {', '.join(str(Path(given.out, name)) for name in tables.FILES)}")
    if any(job.error or (given.strict and job.notes) for job in jobs):
        sys.exit(1)


def find_jobs(cfg: Config, gt: str | None, preds: Sequence[str]) -> list[Job]:
    """A job per data set and method, with the folders in `files` until `pair` puts the files there."""
    methods = dict(_name(text) for text in preds)
    if len(methods) < len(preds):
        raise ValueError(f"two --pred share a name: {', '.join(preds)}; write --pred NAME=DIR")
    if gt is None:
        sets = {name: Path(cfg.testpath, name) for name in cfg.testsets}
        methods = methods or {cfg.network: Path(cfg.mapspath)}
    else:
        root = Path(gt)
        if not methods:
            raise ValueError("--gt needs at least one --pred [NAME=]DIR")
        if not root.is_dir():
            raise FileNotFoundError(f"no folder {root}; --gt is a folder of masks, a test set or a folder of test sets")
        inside = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
        own = mask_folder(root)
        sets = inside if inside and own.parent != root and not _holds_files(root) else {_set_name(root): root}
    many = gt is None or next(iter(sets.values())) != Path(gt)
    return [
        Job(name, method, files=[(folder / name if many else folder, root)])
        for name, root in sets.items()
        for method, folder in methods.items()
    ]


def pair(job: Job) -> None:
    """Pair maps and masks by name; what is missing or too much is a note, what makes scoring impossible an error."""
    ((maps_folder, gt_root),) = job.files
    job.files = []
    try:
        gt_folder = mask_folder(gt_root)
        if maps_folder.resolve() == gt_folder.resolve():
            raise ValueError(f"maps and masks are the same folder, {maps_folder}")
        masks, maps = list_images(gt_folder), list_images(maps_folder)
    except (ValueError, FileNotFoundError) as error:
        job.error = str(error)
        return
    missing, extra = sorted(masks.keys() - maps.keys()), sorted(maps.keys() - masks.keys())
    if missing:
        job.notes.append(f"{len(missing)} of {len(masks)} masks have no map and are NOT scored, first {missing[0]}")
    if extra:
        job.notes.append(f"{len(extra)} maps have no mask and are left out, first {extra[0]}")
    job.names = [name for name in masks if name in maps]
    job.files = [(maps[name], masks[name]) for name in job.names]
    if not job.files:
        job.error = f"no map in {maps_folder} is named like a mask in {gt_folder}; first mask {next(iter(masks))}"


def score(jobs: Sequence[Job], protocol: str, undefined: str, processes: int, keep_curves: bool = False) -> None:
    """Decode and score in parallel processes; one unreadable file ends its method on that data set and no other."""
    chunks: list[tuple[Job, list[tuple[Path, Path]]]] = [
        (job, job.files[i : i + CHUNK]) for job in jobs for i in range(0, len(job.files), CHUNK) if not job.error
    ]
    with ProcessPoolExecutor(processes, get_context("spawn"), _one_thread) if processes > 1 else _Here() as pool:
        futures = [pool.submit(score_chunk, files, protocol, undefined, keep_curves) for _, files in chunks]
        bar = tqdm(total=sum(len(files) for _, files in chunks), desc="score", unit="image", disable=None)
        converted: dict[int, dict[str, list[str]]] = {}
        with bar:
            for (job, files), future in zip(chunks, futures, strict=True):
                bar.update(len(files))
                try:
                    part, notes = future.result()
                except (ValueError, OSError) as error:
                    job.error = job.error or str(error)
                    job.scores = None
                    continue
                if not job.error:
                    job.scores = part if job.scores is None else job.scores.merge(part)
                    for note, names in notes.items():
                        converted.setdefault(id(job), {}).setdefault(note, []).extend(names)
    for job in jobs:
        for note, names in converted.get(id(job), {}).items():
            job.notes.append(f"{len(names)} {note}, first {names[0]}")


def score_chunk(
    files: Sequence[tuple[Path, Path]], protocol: str, undefined: str, keep_curves: bool
) -> tuple[Scores, dict[str, list[str]]]:
    """Scores of some (map, mask) files, and what had to be done to read them: note -> file names."""
    scores = Scores(protocol, undefined, keep_curves)
    notes: dict[str, list[str]] = {}
    for map_path, mask_path in files:
        (pred, pred_note), (gt, gt_note) = read_grey(map_path), read_grey(mask_path)
        for what, note, path in (("maps", pred_note, map_path), ("masks", gt_note, mask_path)):
            if note:
                notes.setdefault(f"{what} are {note}, converted to 8-bit grey", []).append(path.name)
        if pred.shape != gt.shape:
            notes.setdefault("maps differ in size from the mask and were resized (bicubic)", []).append(map_path.name)
            pred = np.asarray(Image.fromarray(pred).resize(gt.shape[::-1]))
        scores.update(pred, gt)
    return scores, notes


def report(jobs: Sequence[Job], strict: bool) -> None:
    """The original's line per job, then what was noticed, errors last."""
    for job in jobs:
        if job.scores is not None and job.scores.protocol == "official":
            print(official_line(f"{job.dataset} {job.method}" if _several(jobs) else job.dataset, job.scores.result()))
    for job in jobs:
        where = f"{job.dataset} / {job.method}"
        for note in job.notes:
            print(f"{'error' if strict else 'note'}: {where}: {note}")
        if job.scores is not None:
            for name, count in job.scores.undefined.items():
                if count:
                    verb = "left out of its mean" if job.scores.undefined_rule == "exclude" else "make it NaN"
                    print(f"note: {where}: {name} is undefined for {count} of {len(job.scores)} images, {verb}")
        if job.error:
            print(f"error: {where}: {job.error}")


def official_line(dataset: str, s: dict[str, float]) -> str:
    """The line that the original prints."""
    return (
        f"dataset: {dataset} MAE: {s['MAE']:.4f} maxF: {s['maxF']:.4f} avgF: {s['avgF']:.4f} wfm: {s['wfm']:.4f} "
        f"Sm: {s['Sm']:.4f} Em: {s['Em']:.4f} M_dice: {s['M_dice']:.4f} M_iou: {s['M_iou']:.4f} "
        f"Ber: {s['Ber']:.4f}  Acc: {s['Acc']:.4f}"
    )


class _Here:
    """Runs what is submitted at once, in this process."""

    def submit(self, function, *arguments) -> Future:
        future: Future = Future()
        try:
            future.set_result(function(*arguments))
        except (ValueError, OSError) as error:
            future.set_exception(error)
        return future

    def __enter__(self) -> "_Here":
        return self

    def __exit__(self, *_) -> None:
        pass


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _name(text: str) -> tuple[str, Path]:
    name, _, folder = text.rpartition("=")
    return name or Path(folder).name, Path(folder)


def _set_name(root: Path) -> str:
    """A test set is named by its own folder, not by the masks/ in it."""
    root = root.resolve()
    return root.parent.name if root.name.lower() in MASK_FOLDERS else root.name


def _holds_files(folder: Path) -> bool:
    return any(path.is_file() for path in folder.iterdir())


def _several(jobs: Sequence[Job]) -> bool:
    return len({job.method for job in jobs}) > 1


if __name__ == "__main__":
    main()
