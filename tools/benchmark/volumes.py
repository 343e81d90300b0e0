"""`Scores("volume")` beside MONAI, DeepMind's surface-distance and MedPy, of which those installed take their turns.

All give HD95, the average surface distance and NSD of the same pairs (MedPy has no NSD); ours gives overlap and lesions
as well.
"""

import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy import ndimage

from metrics import Scores
from tools.benchmark.clock import interleaved


class Pair(NamedTuple):
    """Two masks and the length of a voxel along each axis, in mm."""

    pred: np.ndarray
    gt: np.ndarray
    spacing: tuple[float, ...]


SIZES: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "hippocampus, 40 x 56 x 40": ((40, 56, 40), (1.0, 1.0, 1.0)),
    "tumour, 96 x 256 x 256": ((96, 256, 256), (2.5, 0.8, 0.8)),
    "image, 500 x 500": ((500, 500), (1.0, 1.0)),
}


def measure(repeats: int = 3) -> dict:
    """Seconds of each way for each size of pair, and how many times as long as ours the others take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found: dict = {}
    for name, (shape, spacing) in SIZES.items():
        pair = made_up_masks(shape, spacing)
        ways: dict[str, Callable[[], object]] = {"ours": partial(ours, pair)}
        ways |= {peer: partial(way, pair) for peer, (module, way) in PEERS.items() if find_spec(module)}
        for way in ways.values():
            way()  # the first one imports
        times = interleaved(ways, repeats)
        found |= {f"{name}, {way} [s]": round(seconds, 4) for way, seconds in times.items()}
        found |= {f"{name}, {way} / ours": round(times[way] / times["ours"], 1) for way in ways if way != "ours"}
    torch.set_num_threads(threads)
    absent = [peer for peer, (module, _) in PEERS.items() if not find_spec(module)]
    return found | {f"not installed, hence not measured: {peer}": PEERS[peer][0] for peer in absent}


def made_up_masks(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int = 0) -> Pair:
    """Three ellipsoids, and their smooth and shifted likeness with a few false alarms."""
    rng = np.random.default_rng(seed)
    gt, places = np.zeros(shape, bool), np.indices(shape, np.float32, sparse=True)
    for _ in range(3):
        off = [(x - rng.uniform(0.3, 0.7) * n) / (rng.uniform(0.08, 0.16) * n) for x, n in zip(places, shape)]
        gt |= sum(x**2 for x in off) <= 1
    noise = ndimage.gaussian_filter(rng.normal(size=shape).astype(np.float32), 4)
    soft = ndimage.gaussian_filter(np.roll(gt, 2, -1).astype(np.float32), 2)
    return Pair(soft + 0.15 * noise / noise.std() > 0.5, gt, spacing)


def ours(pair: Pair) -> dict[str, float]:
    scores = Scores("volume")
    scores.update(pair.pred, pair.gt, spacing=pair.spacing)
    return scores.result()


def monai(pair: Pair) -> tuple[float, ...]:
    """HD95, ASSD and NSD by MONAI's functions, each of which finds the surfaces anew."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.metrics import (
            compute_average_surface_distance,
            compute_hausdorff_distance,
            compute_surface_dice,
        )

        both = [torch.from_numpy(mask[None, None]) for mask in (pair.pred, pair.gt)]
        how = {"include_background": True, "spacing": pair.spacing}
        return (
            compute_hausdorff_distance(*both, percentile=95, **how).item(),
            compute_average_surface_distance(*both, symmetric=True, **how).item(),
            compute_surface_dice(*both, [1.0], **how).item(),
        )


def deepmind(pair: Pair) -> tuple[float, ...]:
    """Their HD95, average distances and surface Dice, weighted by area: other definitions, of one search."""
    from surface_distance import metrics

    found = metrics.compute_surface_distances(pair.gt, pair.pred, pair.spacing)
    return (
        metrics.compute_robust_hausdorff(found, 95),
        *metrics.compute_average_surface_distance(found),
        metrics.compute_surface_dice_at_tolerance(found, 1.0),
    )


def medpy(pair: Pair) -> tuple[float, ...]:
    """Pooled HD95, and the mean of the mean distances of both directions."""
    from medpy.metric import binary

    return binary.hd95(pair.pred, pair.gt, pair.spacing), binary.assd(pair.pred, pair.gt, pair.spacing)


# name -> (the module that it needs, how it is asked)
PEERS: dict[str, tuple[str, Callable[[Pair], object]]] = {
    "MONAI": ("monai", monai),
    "DeepMind": ("surface_distance", deepmind),
    "MedPy": ("medpy", medpy),
}
