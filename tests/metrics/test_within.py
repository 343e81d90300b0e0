"""A field of view: what lies outside has no part in any score."""

import numpy as np
import pytest
import torch

from metrics import PROTOCOLS, Scores, inputs

from .conftest import made_up_pair


@pytest.fixture(params=["image", "batch"])
def place(request, monkeypatch):
    if request.param == "batch":
        monkeypatch.setattr(inputs, "on_cpu", lambda maps: False)


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return ((y - height / 2) / height) ** 2 + ((x - width / 2) / width) ** 2 < 0.2


def score(protocol: str, pred, gt, within=None) -> np.ndarray:
    scores = Scores(protocol, keep_curves=True)
    scores.update(pred, gt, within)
    curves = np.concatenate([np.zeros(0), *(curve.ravel() for curve in scores.per_image_curves.values())])
    return np.concatenate([[*scores.result().values()], curves])


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_outside_changes_nothing(protocol, dtype, rng):
    pred, gt = made_up_pair(rng, 41, 50)
    gt = gt > gt.max() // 2
    within = disc(41, 50)
    pred = pred.astype(dtype) / (1 if dtype == np.uint8 else 255)
    noise = rng.integers(0, 256, pred.shape).astype(dtype) / (1 if dtype == np.uint8 else 255)
    other = np.where(within, pred, noise).astype(dtype)
    clean = score(protocol, pred.astype(dtype), gt, within)
    np.testing.assert_array_equal(score(protocol, other, gt | ~within, within), clean)
    assert not np.array_equal(score(protocol, other, gt | ~within), clean)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_field_of_everything_is_no_field(protocol, rng):
    pred, gt = made_up_pair(rng, 33, 20)
    everything = np.ones((33, 20), bool)
    np.testing.assert_allclose(score(protocol, pred, gt, everything), score(protocol, pred, gt), rtol=1e-13)


@pytest.mark.usefixtures("place")
def test_scores_of_counts_are_those_of_the_pixels_inside_alone(rng):
    pred, gt = made_up_pair(rng, 41, 50)
    gt, within = gt > gt.max() // 2, disc(41, 50)
    limited, alone = Scores(), Scores()
    limited.update(pred, gt, within)
    alone.update(pred[within][None], gt[within][None])  # one row: S and the weighted F mean nothing there
    for name in ("MAE", "maxF", "avgF", "M_dice", "M_iou", "Ber", "Acc", "Em"):
        assert limited.result()[name] == pytest.approx(alone.result()[name], rel=1e-12), name


def test_a_perfect_map_is_perfect_inside_whatever_is_outside():
    gt = np.zeros((40, 40), bool)
    gt[15:25, 12:30] = True
    within = disc(40, 40)
    scores = Scores()
    scores.update(np.where(within, gt * 255, 200).astype(np.uint8), gt, within)
    found = scores.result()
    assert (found["MAE"], found["M_iou"], found["Acc"]) == (0, 1, 1)
    assert found["wfm"] == pytest.approx(1, abs=1e-4) and found["Sm"] > 0.99


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("protocol", "name"), [("official", "wfm"), ("pranet", "wFm"), ("layers", "MED")])
def test_a_lesion_that_fills_the_field_is_found_where_all_of_it_is_marked(protocol, name):
    within = np.zeros((60, 60), bool)
    within[20:40, 20:40] = True
    scores = Scores(protocol)
    scores.update(within.astype(np.uint8) * 255, within, within)
    assert scores.result()[name] == pytest.approx(0 if name == "MED" else 1, abs=1e-5)


@pytest.mark.usefixtures("place")
def test_the_edges_of_a_layer_are_those_inside(rng):
    pred = rng.integers(130, 256, (60, 60)).astype(np.uint8)
    within, gt = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    within[20:40, 20:40], gt[25:30, 20:40] = True, True
    limited, alone = Scores("layers"), Scores("layers")
    limited.update(pred, gt, within)
    alone.update(pred[20:40, 20:40].copy(), gt[20:40, 20:40].copy())
    assert limited.result() == alone.result()


def test_a_field_that_is_empty_or_of_another_size_is_refused():
    pred, gt = np.zeros((8, 9), np.uint8), np.zeros((8, 9), bool)
    with pytest.raises(ValueError, match="a field of view is empty"):
        Scores().update(pred, gt, gt)
    with pytest.raises(ValueError, match=r"within \(9, 8\); expected one shape"):
        Scores().update(pred, gt, gt.T)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_field_on_cuda_scores_as_on_the_cpu(protocol, dtype, rng):
    pred, gt = made_up_pair(rng, 41, 50)
    pred = (pred / (1 if dtype == np.uint8 else 255)).astype(dtype)
    within = disc(41, 50)
    there = [torch.from_numpy(x).cuda() for x in (pred, gt, within)]
    np.testing.assert_allclose(score(protocol, *there), score(protocol, pred, gt, within), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_subset_scores_as_if_it_were_alone(protocol, rng):
    pairs = [made_up_pair(rng, 20, 24) for _ in range(5)]
    whole, some = Scores(protocol, keep_curves=True), Scores(protocol)
    for i, pair in enumerate(pairs):
        whole.update(*pair)
        if i in (1, 4):
            some.update(*pair)
    assert whole.subset([1, 4]).result() == pytest.approx(some.result(), rel=1e-12)
