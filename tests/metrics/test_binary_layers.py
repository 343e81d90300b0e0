"""The two protocols of masks cut at 0.5, against scores written out pixel by pixel and column by column."""

import math

import numpy as np
import pytest
import torch

from metrics import Scores, inputs

from .conftest import made_up_pair


def on(place: str, patch: pytest.MonkeyPatch) -> None:
    if place == "batch":
        patch.setattr(inputs, "on_cpu", lambda maps: False)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("place", ["image", "batch"])
def test_binary_counts_pixels_from_one_half_without_stretching(rng, place, dtype, monkeypatch):
    on(place, monkeypatch)
    scores, expected = Scores("binary"), []
    for _ in range(6):
        pred, gt = made_up_pair(rng, 23, 31)
        pred = np.maximum(pred, 40)  # stretched, it would be cut elsewhere
        p, g = set(np.flatnonzero(pred >= 128)), set(np.flatnonzero(gt > gt.max() // 2))
        rest = set(range(pred.size)) - g
        expected.append(
            (
                len(p & g) / len(p | g),
                len(p & g) / len(p),
                len(p & g) / len(g),
                len(rest - p) / len(rest),
                2 * len(p & g) / (len(p) + len(g)),
            )
        )
        scores.update(pred if dtype == "uint8" else (pred / 255).astype(np.float32), gt)
    np.testing.assert_allclose(np.stack(list(scores.per_image.values()), 1), expected, rtol=1e-12)
    assert list(scores.result()) == ["Jaccard", "Precision", "Recall", "Specificity", "Dice"]


@pytest.mark.parametrize(
    ("pred", "gt", "expected"),
    [
        (0, 0, (math.nan, math.nan, math.nan, 1, math.nan)),
        (255, 0, (0, 0, math.nan, 0, 0)),
        (0, 255, (0, 0, 0, math.nan, 0)),
        (255, 255, (1, 1, 1, math.nan, 1)),
    ],
)
def test_empty_and_full_masks_have_the_scores_they_can_have(pred, gt, expected):
    scores = Scores("binary")
    scores.update(np.full((4, 5), pred, np.uint8), np.full((4, 5), gt, np.uint8))
    np.testing.assert_equal(list(scores.result().values()), expected)


def distance(pred: np.ndarray, gt: np.ndarray) -> float:
    found = []
    for p, g in zip(pred.T, gt.T):
        p, g = np.flatnonzero(p), np.flatnonzero(g)
        if len(p) and len(g):
            found.append((abs(p[0] - g[0]) + abs(p[-1] - g[-1])) / 2)
        elif len(p) or len(g):
            only = p if len(p) else g
            found.append((only[-1] + 1 - only[0]) / 2)
    return float(np.mean(found)) if found else math.nan


@pytest.mark.parametrize("place", ["image", "batch"])
def test_the_edge_distance_is_that_of_a_walk_through_the_columns(rng, place, monkeypatch):
    on(place, monkeypatch)
    gt = rng.random((5, 12, 9)) < 0.1
    pred = rng.integers(0, 256, gt.shape).astype(np.uint8)
    pred[rng.random(gt.shape) < 0.8] = 0
    gt[3], pred[3] = False, 0
    scores = Scores("layers")
    scores.update(pred, gt)
    np.testing.assert_allclose(scores.per_image["MED"], [distance(p >= 128, g) for p, g in zip(pred, gt)], rtol=1e-12)
    assert scores.undefined["MED"] == 1


def test_a_layer_that_is_three_rows_off_is_three_pixels_off():
    gt = torch.zeros(1, 40, 20, dtype=torch.bool)
    gt[:, 10:18] = True
    scores = Scores("layers")
    scores.update(gt.roll(3, 1).to(torch.uint8) * 255, gt)
    assert scores.result() == {"Dice": pytest.approx(10 / 16), "MED": 3.0}
