"""Inf-Net's toolbox beside its formulas written out, threshold by threshold and pixel by pixel."""

from functools import cache

import numpy as np
import pytest

from metrics import Scores

from .conftest import read_pairs

# 1:-1/255:0 as MATLAB builds it, from both ends
THRESHOLDS = [1 + i * (-1 / 255) if i < 128 else 0 - (255 - i) * (-1 / 255) for i in range(256)]


def alignment(cut: np.ndarray, gt: np.ndarray) -> float:
    """E of a binary map: matrix by matrix, as the paper has it."""
    if not gt.any():
        enhanced = 1.0 - cut
    elif gt.all():
        enhanced = cut.astype(float)
    else:
        a, b = cut - cut.mean(), gt - gt.mean()
        enhanced = (2 * a * b / (a * a + b * b + np.finfo(float).eps) + 1) ** 2 / 4
    return enhanced.sum() / (gt.size - 1)


def written_out(pred: np.ndarray, gt: np.ndarray) -> dict[str, float]:
    gt, p = gt > 128, pred / 255
    p = (p - p.min()) / (p.max() - p.min())
    dice, sensitivity, specificity, e = [], [], [], []
    for threshold in THRESHOLDS:
        cut = p >= threshold
        tp, tn = (cut & gt).sum(), (~cut & ~gt).sum()
        dice.append(2 * tp / (cut.sum() + gt.sum()) if tp else 0)
        sensitivity.append(tp / gt.sum() if tp else 0)
        specificity.append(tn / (~gt).sum() if tp else 0)
        e.append(alignment(p > threshold, gt))
    means = map(np.mean, (dice, sensitivity, specificity, e, np.abs(p - gt)))
    return dict(zip(("meanDic", "meanSen", "meanSpe", "meanEm", "MAE"), means, strict=True))


@cache
def expected() -> list[tuple[np.ndarray, np.ndarray, dict[str, float]]]:
    """Map, mask and scores; written out once, for it takes a second."""
    return [(*pair, written_out(*pair)) for pair in [*read_pairs("regular").values()][:8]]


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_infnet_scores_are_those_of_the_formulas(dtype, place):
    scores = Scores("infnet")
    for pred, gt, _ in expected():
        scores.update(place(pred if dtype == np.uint8 else pred / 255), place(gt))
    for i, (_, _, values) in enumerate(expected()):
        for name, value in values.items():
            assert scores.per_image[name][i] == pytest.approx(value, abs=1e-12), (i, name)


def test_infnet_and_pranet_differ_in_e_alone():
    ours, theirs = Scores("infnet"), Scores("pranet")
    for pair in read_pairs("regular").values():
        ours.update(*pair)
        theirs.update(*pair)
    pranet = theirs.result()
    for name, value in ours.result().items():
        assert (value == pranet[name]) == (name != "meanEm"), name
