"""`Scores` as an object: batches, merging, devices, undefined scores, hostile input."""

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from metrics import Scores, lower_is_better, score_names

maps = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12).flatmap(
    lambda shape: st.tuples(arrays(np.uint8, shape), arrays(np.bool_, shape))
)
PROTOCOLS = ["official", "pranet"]


def scored(images, protocol="official") -> Scores:
    scores = Scores(protocol)
    for pred, gt in images:
        scores.update(pred, gt)
    return scores


def assert_equal_results(a: Scores, b: Scores, tolerance=1e-12):
    assert len(a) == len(b)
    np.testing.assert_allclose(list(a.result().values()), list(b.result().values()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=60, deadline=None)
@given(images=st.lists(maps, min_size=1, max_size=4))
def test_scores_lie_in_their_ranges(protocol, images):
    scores = scored(images, protocol)
    for name, values in scores.per_image.items():
        values = values[~np.isnan(values)]
        # E and S pass 1 by 1 / (pixels - 1), the official S falls below 0
        low, high = (-1 if name == "Sm" else 0), (4 if name in ("Sm", "Em", "meanEm", "maxEm") else 1)
        assert np.all((values >= low - 1e-9) & (values <= high + 1e-9)), name


@settings(max_examples=40, deadline=None)
@given(images=st.lists(maps, min_size=2, max_size=5), data=st.data())
def test_the_order_of_images_does_not_matter(images, data):
    assert_equal_results(scored(images), scored(data.draw(st.permutations(images))), 1e-9)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_batch_a_list_a_tensor_and_one_by_one_are_equal(protocol, rng):
    pred, gt = rng.integers(0, 256, (5, 20, 30), np.uint8), (rng.random((5, 20, 30)) < 0.3).astype(np.uint8) * 255
    single = scored(zip(pred, gt, strict=True), protocol)
    for p, g in ((pred, gt), (list(pred), list(gt)), (torch.from_numpy(pred), torch.from_numpy(gt)), (pred, gt > 128)):
        assert_equal_results(scored([(p, g)], protocol), single)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_8_bit_and_float_maps_take_two_roads_to_one_score(protocol, rng):
    gt = rng.random((9, 25, 31)) < 0.4
    pred = rng.integers(0, 256, gt.shape, np.uint8)
    pred[:3] //= 5  # narrow ranges, whose stretched levels meet the thresholds
    pred[3] = 0
    pred[4] = 77
    eight = scored([(pred, gt)], protocol)
    for floats in (pred / 255, (pred / 255).astype(np.float32)):
        other = scored([(floats, gt)], protocol)
        for name in score_names(protocol):
            np.testing.assert_allclose(other.per_image[name], eight.per_image[name], atol=1e-7, err_msg=name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_merging_parts_equals_the_whole_and_survives_a_save(protocol, rng):
    images = [(rng.integers(0, 256, (9 + i, 8), np.uint8), rng.random((9 + i, 8)) < 0.5) for i in range(7)]
    whole, first, second = scored(images, protocol), scored(images[:3], protocol), scored(images[3:], protocol)
    file = io.BytesIO()
    torch.save(second.state_dict(), file)
    file.seek(0)
    loaded = Scores(protocol)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    merged = first.merge(loaded)
    assert_equal_results(merged, whole)
    np.testing.assert_array_equal(merged.per_image["MAE"], whole.per_image["MAE"])
    with pytest.raises(ValueError, match="cannot merge"):
        merged.merge(Scores("pranet" if protocol == "official" else "official"))


def test_exact_thresholds_of_8_bit_maps_against_plain_integers(rng):
    for _ in range(200):
        low, span = rng.integers(0, 200), rng.integers(1, 56)
        pred = rng.integers(low, low + span + 1, (6, 7)).astype(np.uint8)
        pred.flat[:2] = low, low + span
        gt = rng.random(pred.shape) < 0.5
        gt.flat[:2] = True, False
        v = pred.astype(int) - low
        hit = 2 * v > span
        iou = ((hit & gt).sum() + 1e-5) / ((hit | gt).sum() + 1e-5)
        right = (2 * v >= span) == gt
        result = scored([(pred, gt)]).result()
        assert result["M_iou"] == pytest.approx(iou, abs=1e-12)
        assert result["Acc"] == pytest.approx(right.mean(), abs=1e-12)


def test_undefined_scores_are_left_out_and_counted_or_poison_the_mean(rng):
    pred, gt = rng.integers(0, 256, (16, 16), np.uint8), rng.random((16, 16)) < 0.4
    images = [(pred, gt), (pred, np.zeros_like(gt))]
    scores = scored(images)
    assert scores.undefined["Ber"] == 1
    assert scores.result()["Ber"] == scored(images[:1]).result()["Ber"]
    original = Scores(undefined="propagate")
    original.update([p for p, _ in images], [g for _, g in images])
    assert math.isnan(original.result()["Ber"])
    assert original.result()["MAE"] == scores.result()["MAE"]


def test_curves_have_the_scores_on_them(rng):
    scores = Scores(keep_curves=True)
    scores.update(rng.integers(0, 256, (3, 20, 20), np.uint8), rng.random((3, 20, 20)) < 0.4)
    assert set(scores.curves) >= {"precision", "recall", "F", "E", "Dice", "IoU"}
    assert scores.curves["F"].max() == pytest.approx(scores.result()["maxF"])
    assert scores.per_image_curves["recall"].shape == (3, 255)
    np.testing.assert_allclose(scores.per_image_curves["Dice"].mean(0), scores.curves["Dice"])
    with pytest.raises(ValueError, match="keep_curves=True"):
        _ = Scores().per_image_curves


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_names_are_in_print_order_and_directions_known(protocol):
    assert tuple(scored([(np.zeros((3, 3), np.uint8), np.eye(3, dtype=bool))], protocol).result()) == score_names(
        protocol
    )
    assert lower_is_better("MAE")
    assert lower_is_better("Ber")
    assert not lower_is_better("Sm")


@pytest.mark.parametrize(
    ("pred", "gt", "message"),
    [
        (np.zeros((3, 4), np.uint8), np.zeros((4, 3), bool), r"pred has shape \(1?,? ?3, 4\), gt .* resize the map"),
        (np.full((3, 3), np.nan), np.eye(3, dtype=bool), "holds NaN"),
        (np.full((3, 3), 255.0), np.eye(3, dtype=bool), r"values in \[255, 255\]; expected \[0, 1\]: divide by 255"),
        (np.full((3, 3), -0.1), np.eye(3, dtype=bool), r"values in \[-0\.1"),
        (np.zeros((3, 3), int), np.eye(3, dtype=bool), "dtype torch.int64; expected uint8"),
        (np.zeros(3, np.uint8), np.zeros(3, bool), r"expected \(H, W\) or \(N, H, W\)"),
        (np.zeros((0, 3), np.uint8), np.zeros((0, 3), bool), "at least one pixel"),
        ([np.zeros((3, 3), np.uint8)], [], "expected two lists of the same length"),
        ("map.png", np.eye(3, dtype=bool), "pred is str; expected a numpy array"),
    ],
)
def test_bad_maps_are_refused_and_nothing_is_added(pred, gt, message):
    scores = Scores()
    with pytest.raises(ValueError, match=message):
        scores.update(pred, gt)
    assert len(scores) == 0
    with pytest.raises(ValueError, match="no image was scored yet"):
        scores.result()


def test_a_bad_map_in_a_list_adds_none_of_it():
    scores = Scores()
    good = np.eye(3, dtype=bool)
    with pytest.raises(ValueError, match="NaN"):
        scores.update([good / 1.0, np.full((3, 3), np.nan)], [good, good])
    assert len(scores) == 0


def test_unknown_protocols_and_rules_are_refused():
    with pytest.raises(ValueError, match="expected one of official, pranet"):
        Scores("paper")
    with pytest.raises(ValueError, match="expected exclude or propagate"):
        Scores(undefined="drop")


def test_swapped_arguments_are_noticed(rng):
    grey, binary = rng.integers(0, 256, (9, 9), np.uint8), (rng.random((9, 9)) < 0.5).astype(np.uint8) * 255
    with pytest.warns(UserWarning, match="are pred and gt swapped"):
        Scores().update(binary, grey)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_pixel_images_score(protocol):
    for pred in (0, 255):
        for gt in (False, True):
            result = scored([(np.full((1, 1), pred, np.uint8), np.full((1, 1), gt))], protocol).result()
            assert set(result) == set(score_names(protocol))


def test_a_very_large_map_scores_exactly():
    pred, gt = np.zeros((10_000, 10_000), np.uint8), np.zeros((10_000, 10_000), bool)
    gt[4_000:6_000, 4_000:6_000] = True
    pred[4_000:6_000, 4_000:7_000] = 255
    result = scored([(pred, gt)]).result()
    assert result["MAE"] == pytest.approx(0.02, abs=1e-12)
    assert result["M_iou"] == pytest.approx(4 / 6, abs=1e-9)


@pytest.mark.gpu
def test_cuda_updates_do_not_wait_and_report_bad_values_in_the_end(rng):
    pred, gt = torch.rand(4, 40, 50, device="cuda"), torch.rand(4, 40, 50, device="cuda") < 0.3
    scores, reference = Scores(), Scores()
    reference.update(pred.cpu(), gt.cpu())
    torch.cuda.set_sync_debug_mode("error")
    try:
        scores.update(pred, gt)
        scores.update((pred * 255).byte(), gt)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    np.testing.assert_allclose(scores.per_image["wfm"][:4], reference.per_image["wfm"], atol=1e-9)
    scores.update(pred * 2, gt)
    with pytest.raises(ValueError, match="divide by 255"):
        scores.result()
