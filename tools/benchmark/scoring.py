"""`Scores` beside pysodmetrics, `test_score.py` beside decoding alone, cost and memory of many images."""

import resource
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch

from files import read_map
from metrics import Scores
from tools.benchmark.clock import DEVICE, ROOT, interleaved

Maps = list[tuple[np.ndarray, np.ndarray]]
BATCHES = 8  # scored together on a GPU: their counts become scores at once, see `metrics.scores.TOGETHER`


def measure(count: int, side: int) -> dict:
    """Images per second of the ten scores, and their ratios to pysodmetrics and to decoding alone."""
    images = made_up_maps(count, side)
    with _workers() as pool:
        halves = [(count, side, start) for start in (0, 1)]
        list(pool.map(ours_made_there, halves))  # start the processes and make their maps before the clock
        times = interleaved(
            {
                "pysodmetrics": lambda: pysodmetrics(images),
                "ours": lambda: ours(images),
                "ours, two processes": lambda: list(pool.map(ours_made_there, halves)),
            }
        )
    found: dict = {f"{name} [images/s]": round(count / seconds, 1) for name, seconds in times.items()}
    found["ours / pysodmetrics"] = round(times["pysodmetrics"] / times["ours"], 1)
    found["ours in two processes / pysodmetrics"] = round(times["pysodmetrics"] / times["ours, two processes"], 1)
    found |= files(images) | growth(images)
    if torch.cuda.is_available():
        found |= {f"GPU, {name}": value for name, value in on_device(64, 352, DEVICE).items()}
    return found


def files(images: Maps) -> dict:
    """The whole of test_score.py on files, beside decoding them in one process; its start is measured apart."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i, (pred, gt) in enumerate(images * 30):
            for name, array in (("maps", pred), ("masks", gt)):
                (root / name).mkdir(exist_ok=True)
                cv2.imwrite(str(root / name / f"{i:04d}.png"), array)
        few = root / "few"
        for name in ("maps", "masks"):
            (few / name).mkdir(parents=True)
            (few / name / "0000.png").write_bytes((root / name / "0000.png").read_bytes())

        def run(base: Path) -> None:
            command = [sys.executable, "test_score.py", "--gt", base / "masks", "--pred", base / "maps"]
            subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=ROOT)

        def decode() -> None:
            for path in root.glob("m*/*.png"):
                read_map(path)

        times = interleaved({"decode": decode, "run": lambda: run(root), "start": lambda: run(few)}, repeats=2)
    scoring = times["run"] - times["start"]
    return {
        "test_score.py on files [images/s]": round(30 * len(images) / scoring, 1),
        "test_score.py / decoding alone": round(scoring / times["decode"], 2),
        "test_score.py start [s]": round(times["start"], 2),
    }


def growth(images: Maps) -> dict:
    """Milliseconds per image and peak memory after 100 and after 10,000 images of 100 pixels."""
    small = [(pred[:100, :100].copy(), gt[150:250, 150:250].copy()) for pred, gt in images]
    scores, done, found, start = Scores(), 0, {}, time.perf_counter()
    for goal in (100, 1_000, 10_000):
        first = done
        while done < goal:
            scores.update(*small[done % len(small)])
            done += 1
        scores.result()
        seconds, start = time.perf_counter() - start, time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found[f"{goal} images"] = f"{1000 * seconds / (done - first):.2f} ms each, peak {peak:.0f} MiB"
    return found


def on_device(count: int, side: int, device: torch.device) -> dict:
    """Images per second of batches that lie on `device`, their result read at the end, and the weighted F's share."""
    from metrics.weighted_f import weighted_f_of_maps

    pred, gt = (torch.from_numpy(np.stack(maps)).to(device) for maps in zip(*made_up_maps(count, side), strict=True))

    def whole() -> None:
        scores = Scores()
        for _ in range(BATCHES):
            scores.update(pred, gt)
        scores.result()

    def weighted_f() -> None:
        for _ in range(BATCHES):
            weighted_f_of_maps(pred, gt > 0, None, "full", "official")

    turns = {"whole": whole, "weighted F": weighted_f}
    for turn in turns.values():
        turn()  # the first one allocates and builds kernels
    times = interleaved(turns)
    return {
        f"{count} x {side} x {side} [images/s]": round(BATCHES * count / times["whole"], 1),
        "of it weighted F": round(times["weighted F"] / times["whole"], 2),
    }


def made_up_maps(count: int, side: int) -> Maps:
    """Lesions and maps as a sigmoid writes them: soft edges, zero far away. uint8, (side, side) each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    images = []
    for _ in range(count):
        cy, cx, ry, rx = *rng.uniform(0.3, 0.7, 2), *rng.uniform(0.08, 0.25, 2)
        gt = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
        shift = np.roll(gt, rng.integers(-15, 16, 2), (0, 1)).astype(np.float32)
        logits = 14 * (cv2.GaussianBlur(shift, (0, 0), 6) - 0.5)
        logits += cv2.GaussianBlur(rng.normal(0, 12, gt.shape).astype(np.float32), (0, 0), 10)
        images.append(((255 / (1 + np.exp(-logits))).astype(np.uint8), gt.astype(np.uint8) * 255))
    return images


def ours(images: Maps) -> dict:
    scores = Scores()
    for pred, gt in images:
        scores.update(pred, gt)
    return scores.result()


@lru_cache
def _half(count: int, side: int, start: int) -> Maps:
    return made_up_maps(count, side)[start::2]


def ours_made_there(which: tuple[int, int, int]) -> dict:
    """`ours` in another process, on half of the same maps; sending them would be timed too."""
    return ours(_half(*which))


def pysodmetrics(images: Maps) -> None:
    """The same family: MAE, F curve and adaptive F, weighted F, S, E, Dice, IoU, balanced error, accuracy."""
    import py_sod_metrics as sod

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handlers = {
            name: handler(with_dynamic=True, with_adaptive=True)
            for name, handler in (
                ("f", sod.FmeasureHandler),
                ("dice", sod.DICEHandler),
                ("iou", sod.IOUHandler),
                ("ber", sod.BERHandler),
                ("oa", sod.OverallAccuracyHandler),
            )
        }
        metrics = [sod.MAE(), sod.FmeasureV2(handlers), sod.WeightedFmeasure(), sod.Smeasure(), sod.Emeasure()]
    for pred, gt in images:
        for metric in metrics:
            metric.step(pred=pred, gt=gt)


def _workers() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(2, get_context("spawn"), _one_thread)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
