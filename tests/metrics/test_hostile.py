"""Wrong input is named, with the fix, and adds nothing; odd input works."""

import numpy as np
import pytest
import torch

from metrics import Scores

from .conftest import made_up_pair

GT = np.zeros((6, 8), bool)
GT[2:4, 3:6] = True
HALF = np.full((6, 8), 0.5)


def with_nan() -> np.ndarray:
    pred = HALF.copy()
    pred[1, 1] = np.nan
    return pred


VALUES = {
    "NaN": (with_nan(), GT, "NaN"),
    "0..255 floats": (HALF * 255, GT, "divide by 255"),
    "negative floats": (HALF - 1, GT, r"outside \[0, 1\]"),
    "infinite floats": (np.where(GT, np.inf, 0), GT, "outside"),
    "NaN in gt": (HALF, with_nan(), "gt holds NaN"),
    "0..255 float gt": (HALF, GT * 255.0, "gt has values outside"),
}
KINDS = {
    "shapes": (HALF, GT.T, r"\(6, 8\).*\(8, 6\).*resize"),
    "a batch with one gt": (HALF[None], GT, "expected one shape"),
    "colour": (np.zeros((2, 6, 8, 3), np.uint8), GT, r"\(H, W\)"),
    "int64": (HALF.astype(int), GT, "int64.*uint8"),
    "uint16": ((HALF * 65535).astype(np.uint16), GT, "uint16"),
    "no pixels": (np.zeros((0, 8)), np.zeros((0, 8)), "at least one pixel"),
    "lists of two lengths": ([HALF, HALF], [GT], "same length"),
    "a list and a map": ([HALF], GT, "two lists"),
    "a file name": ("map.png", GT, "pred is str"),
}


def update_and_read(scores: Scores, pred, gt) -> None:
    """Values are looked at in `update` on the CPU, in `result` on a device."""
    scores.update(pred, gt)
    scores.result()


@pytest.mark.parametrize("case", VALUES)
def test_wrong_values_are_an_error_with_the_fix(case, place):
    pred, gt, message = VALUES[case]
    with pytest.raises(ValueError, match=message):
        update_and_read(Scores(), place(pred), place(gt))


@pytest.mark.parametrize("case", [*KINDS, *VALUES])
def test_an_error_adds_nothing(case):
    pred, gt, message = (KINDS | VALUES)[case]
    scores = Scores()
    scores.update(HALF, GT)
    before = scores.result()
    good_then_bad = ([HALF, pred], [GT, gt]) if case in VALUES else (pred, gt)
    with pytest.raises(ValueError, match=message):
        scores.update(*good_then_bad)
    assert len(scores) == 1
    assert scores.result() == before


def test_a_0_1_gt_under_pranet_is_an_error_and_under_official_a_mask(place):
    pred, gt = place(np.arange(48, dtype=np.uint8).reshape(6, 8)), GT.astype(np.uint8)
    with pytest.raises(ValueError, match=r"255 \* gt"):
        update_and_read(Scores("pranet"), pred, place(gt))
    official = [Scores(), Scores()]
    official[0].update(pred, place(gt))
    official[1].update(pred, place(gt * 255))
    assert official[0].result() == official[1].result()


def test_a_gt_that_was_divided_by_255_twice_is_an_error_under_pranet(place):
    pred = place(np.arange(48, dtype=np.uint8).reshape(6, 8))
    with pytest.raises(ValueError, match=r"255 \* gt"):
        update_and_read(Scores("pranet"), pred, place(GT / 255))


def test_tensors_that_numpy_does_not_know_are_scored_or_refused_in_words():
    bfloat16 = torch.arange(48).reshape(6, 8).div(64).bfloat16()
    ours, plain = Scores(), Scores()
    ours.update(bfloat16, GT.astype(np.uint8))
    plain.update(bfloat16.float(), GT.astype(np.uint8))
    assert ours.result() == plain.result()
    for odd in (bfloat16.float().to_sparse(), bfloat16.to("meta")):
        with pytest.raises(ValueError, match="expected a dense one that holds values"):
            Scores().update(odd, GT)


def test_swapped_arguments_warn_once(rng):
    pred, gt = made_up_pair(rng, 30, 40)
    scores = Scores()
    with pytest.warns(UserWarning, match="swapped"):
        scores.update(gt, pred)
    scores.update(gt, pred)  # warnings are errors here


def test_zero_images_are_an_error():
    for read in (Scores.result, lambda s: s.per_image, lambda s: s.curves, lambda s: s.undefined):
        with pytest.raises(ValueError, match="no image was scored"):
            read(Scores())
    assert len(Scores()) == 0
    assert len(Scores().state_dict()["rows"]) == 0


@pytest.mark.parametrize(("protocol", "message"), [("matlab", "official, pranet"), ("Official", "official, pranet")])
def test_an_unknown_protocol_is_an_error_that_names_the_known(protocol, message):
    with pytest.raises(ValueError, match=message):
        Scores(protocol)


def test_scores_of_two_protocols_cannot_be_merged_or_loaded():
    with pytest.raises(ValueError, match="make them alike"):
        Scores("official").merge(Scores("pranet"))
    with pytest.raises(ValueError, match=r"expected Scores\('official'"):
        Scores("official").load_state_dict(Scores("pranet").state_dict())


@pytest.mark.parametrize("protocol", ["official", "pranet"])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("inside", [False, True])
def test_an_image_of_one_pixel_is_scored(protocol, level, inside, place):
    scores = Scores(protocol)
    scores.update(place(np.full((1, 1), level, np.uint8)), place(np.full((1, 1), inside)))
    result = scores.result()
    assert 0 <= result["MAE"] <= 1
    assert all(np.isnan(value) or 0 <= value <= 1 for value in result.values()), result


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (2, 2)])
def test_thin_images_are_scored(shape, place):
    pred, gt = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    pred.flat[:2], gt.flat[1] = 200, True
    scores = Scores()
    scores.update(place(pred), place(gt))
    assert scores.per_image["wfm"][0] > 0


def test_a_map_of_ten_thousand_pixels_a_side_is_scored_exactly():
    side = 10_000
    pred, gt = np.zeros((side, side), np.uint8), np.zeros((side, side), bool)
    gt[4000:6000, 4000:6000] = True
    pred[4000:6000, 4000:5000] = 255
    scores = Scores()
    scores.update(pred, gt)
    result = scores.result()
    assert result["MAE"] == pytest.approx(2000 * 1000 / side**2, rel=1e-12)
    assert result["M_iou"] == pytest.approx(0.5)
    assert result["Acc"] == 1 - result["MAE"]


@pytest.mark.parametrize("protocol", ["binary", "layers"])
def test_0_1_maps_are_warned_of_once_no_map_of_the_set_has_more(protocol, place):
    masks, dark = GT.astype(np.uint8), GT.astype(np.uint8) * 0
    scores = Scores(protocol)
    for pred in (dark, masks):
        scores.update(place(pred), place(GT))
    with pytest.warns(UserWarning, match=r"no map has a level above 1 of 255.*pass 255 \* pred"):
        scores.result()
    resumed = Scores(protocol)
    resumed.load_state_dict(scores.state_dict())
    with pytest.warns(UserWarning, match="no map has a level above 1"):
        Scores(protocol).merge(resumed).result()
    resumed.update(place(masks * 200), place(GT))
    resumed.result()  # warnings are errors here: one map of 0 and 1 among others is nearly black
    floats = Scores(protocol)
    floats.update(place(GT.astype(float)), place(GT))
    assert floats.result()["Dice"] == 1
