"""How sure a score is: bootstrap intervals of one method, paired tests between two."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from metrics import PROTOCOLS, Scores
from metrics.official import f_measure

ROUND = 200  # resamples at a time
BLOCK = 32  # images at a time: what their curves pass through takes 50 KB an image
MOST_METHODS = 6  # of which all pairs are tested
Method = tuple[str, list[str], Scores]


def intervals(
    scores: Scores, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Name -> (low, high): percentile interval of the set's score when its images are drawn again with replacement.

    `scores` must have kept its curves: a max score is the maximum of the resampled mean curve, as the set's own value.
    Undefined scores are left out of each resampled mean. One image gives an interval of no width.
    """
    count = len(scores)
    tail, generator = (1 - level) / 2 * 100, np.random.default_rng(seed)
    # not all at once, which takes 16 KB an image and again as much in floats; more rounds make the curves more often
    rounds = [
        _resampled(scores, _draws(generator, count, min(ROUND, resamples - start)))
        for start in range(0, resamples, ROUND)
    ]
    return {name: _percentiles(np.concatenate([found[name] for found in rounds]), tail) for name in scores.names}


def _draws(generator: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """(resamples, count): how often each image is drawn."""
    draws = np.empty((resamples, count), np.uint8)  # none of 256 images or more is drawn so often
    for row in draws:
        row[:] = generator.multinomial(count, np.full(count, 1 / count))
    return draws


def _resampled(scores: Scores, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> the set's score in each resample."""
    max_of_curve, per_image = PROTOCOLS[scores.protocol].max_of_curve, scores.per_image
    table = np.stack([per_image[name] for name in scores.names], 1)
    defined = ~np.isnan(table)
    total, weight = np.zeros((2, len(draws), table.shape[1]))
    needed = {*max_of_curve.values()}
    if "F" in needed:  # F of means is no mean of F
        needed = needed - {"F"} | {"precision", "recall"}
    curves: dict[str, np.ndarray] = {}
    place = 0
    for block in scores.curves_by_block(BLOCK) if needed else ():
        drawn = draws[:, place : place + len(block["F"])] / len(scores)
        for name in needed:
            curves[name] = curves.get(name, 0) + drawn @ block[name]
        place += len(block["F"])
    for start in range(0, len(table), BLOCK):
        here = np.s_[start : start + BLOCK]
        drawn = draws[:, here].astype(float)
        total += drawn @ np.where(defined[here], table[here], 0)
        weight += drawn @ defined[here]
    means = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    return {
        name: _max_of(max_of_curve[name], curves) if name in max_of_curve else means[:, i]
        for i, name in enumerate(scores.names)
    }


def paired_tests(methods: Sequence[Method]) -> dict[tuple[str, str], dict[str, float]]:
    """(a, b) -> name -> two-sided p of Wilcoxon's signed-rank test over the images that both methods scored.

    methods: (name, names of the images, scores). Of more than MOST_METHODS each is compared with the first alone: all
    pairs of 200 would be 19,900 lines. NaN where a score is undefined in both or no image differs. Pairs of
    methods are not corrected for their number. Max scores compare the images' own maxima.
    """
    pairs = list(itertools.combinations(methods, 2)) if len(methods) <= MOST_METHODS else _against_the_first(methods)
    found = {}
    for (a, a_names, a_scores), (b, b_names, b_scores) in pairs:
        places = {name: i for i, name in enumerate(b_names)}
        shared = sorted(set(a_names) & places.keys())
        own = {name: i for i, name in enumerate(a_names)}
        rows = [[of[name] for name in shared] for of in (own, places)]
        ours, theirs = a_scores.per_image, b_scores.per_image
        found[a, b] = {name: _wilcoxon(ours[name][rows[0]] - theirs[name][rows[1]]) for name in a_scores.names}
    return found


def _against_the_first(methods: Sequence[Method]) -> list[tuple[Method, Method]]:
    return [(methods[0], other) for other in methods[1:]]


def _max_of(curve: str, curves: dict[str, np.ndarray]) -> np.ndarray:
    if curve != "F":
        return curves[curve].max(1)
    return f_measure(*(torch.from_numpy(curves[name]) for name in ("precision", "recall"))).numpy().max(1)


def _percentiles(values: np.ndarray, tail: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    low, high = np.percentile(values, [tail, 100 - tail]) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def _wilcoxon(difference: np.ndarray) -> float:
    difference = difference[~np.isnan(difference)]
    if not difference.any():
        return float("nan")
    from scipy import stats  # takes a second, which tables without tests need not wait for

    return float(stats.wilcoxon(difference).pvalue)
