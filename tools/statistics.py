"""How sure a score is: bootstrap intervals of one method, paired tests between two."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from metrics import PROTOCOLS, Scores
from metrics.official import f_measure


def intervals(
    scores: Scores, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Name -> (low, high): percentile interval of the set's score when its images are drawn again with replacement.

    `scores` must have kept its curves: a max score is the maximum of the resampled mean curve, as the set's own value.
    Undefined scores are left out of each resampled mean. One image gives an interval of no width.
    """
    count = len(scores)
    # a resample is how often each image is drawn
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    tail = (1 - level) / 2 * 100
    max_of_curve = PROTOCOLS[scores.protocol].max_of_curve
    per_image, curves, found = scores.per_image, scores.per_image_curves, {}
    for name in scores.names:
        if name in max_of_curve:
            values = _resampled_curve(max_of_curve[name], curves, draws / count).max(1)
        else:
            defined = ~np.isnan(per_image[name])
            weight = draws[:, defined].sum(1)
            total = draws[:, defined] @ per_image[name][defined]
            values = np.divide(total, weight, out=np.full(resamples, np.nan), where=weight > 0)
        found[name] = _percentiles(values, tail)
    return found


def paired_tests(methods: Sequence[tuple[str, list[str], Scores]]) -> dict[tuple[str, str], dict[str, float]]:
    """(a, b) -> name -> two-sided p of Wilcoxon's signed-rank test over the images that both methods scored.

    methods: (name, names of the images, scores). NaN where a score is undefined in both or no image differs. Pairs of
    methods are not corrected for their number. Max scores compare the images' own maxima.
    """
    found = {}
    for (a, a_names, a_scores), (b, b_names, b_scores) in itertools.combinations(methods, 2):
        shared = sorted(set(a_names) & set(b_names))
        rows = [[names.index(name) for name in shared] for names in (a_names, b_names)]
        found[a, b] = {
            name: _wilcoxon(a_scores.per_image[name][rows[0]] - b_scores.per_image[name][rows[1]])
            for name in a_scores.names
        }
    return found


def _resampled_curve(curve: str, curves: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    if curve != "F":
        return weights @ curves[curve]
    import torch

    precision, recall = (torch.from_numpy(weights @ curves[name]) for name in ("precision", "recall"))
    return f_measure(precision, recall).numpy()


def _percentiles(values: np.ndarray, tail: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    low, high = np.percentile(values, [tail, 100 - tail]) if len(values) else (np.nan, np.nan)
    return float(low), float(high)


def _wilcoxon(difference: np.ndarray) -> float:
    difference = difference[~np.isnan(difference)]
    if not difference.any():
        return float("nan")
    return float(stats.wilcoxon(difference).pvalue)
