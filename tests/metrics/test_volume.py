"""Protocol volume: against brute force and MONAI's values, and what an empty side, a border or a lesion scores."""

import io
import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from metrics import Scores, lower_is_better, score_names, surface

NAMES = ("Dice", "IoU", "HD95", "ASSD", "NSD", "lesion_sen", "lesion_prec", "lesion_F1", "false_alarms")
BOX = (20, 24, 28)


def ellipsoid(shape, centre, radii) -> np.ndarray:
    places = np.indices(shape, sparse=True)
    return sum(((x - c) / r) ** 2 for x, c, r in zip(places, centre, radii, strict=True)) <= 1


def result(pred, gt, spacing=None, tolerance=1.0) -> dict[str, float]:
    scores = Scores("volume", tolerance=tolerance)
    scores.update(pred, gt, spacing=spacing)
    return scores.result()


def at(shape, *voxels) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


# name -> pred, gt, spacing
PAIRS = {
    "image": (ellipsoid((40, 50), (20, 25), (9, 12)), ellipsoid((40, 50), (22, 22), (10, 11)), (1.0, 1.0)),
    "image of long pixels": (
        ellipsoid((40, 50), (20, 25), (9, 12)) | ellipsoid((40, 50), (5, 44), (3, 3)),
        ellipsoid((40, 50), (22, 22), (10, 11)),
        (0.4, 0.7),
    ),
    "volume": (ellipsoid(BOX, (9, 12, 13), (5, 7, 6)), ellipsoid(BOX, (10, 12, 15), (6, 6, 6)), (1.0, 1.0, 1.0)),
    "thick slices": (
        ellipsoid(BOX, (9, 12, 13), (5, 7, 6)) | ellipsoid(BOX, (17, 4, 4), (2, 2, 2)),
        ellipsoid(BOX, (10, 12, 15), (6, 6, 6)),
        (5.0, 0.8, 0.8),
    ),
    "at the border": (
        ellipsoid(BOX, (0, 12, 27), (6, 7, 8)),
        ellipsoid(BOX, (2, 12, 25), (6, 6, 6)),
        (2.5, 1.0, 1.0),
    ),
    "one voxel": (at(BOX, (3, 4, 5)), ellipsoid(BOX, (10, 12, 15), (6, 6, 6)), (2.5, 1.0, 1.0)),
}

# MONAI 1.6.1, of p, g = (torch.from_numpy(m[None, None]) for m in (pred, gt)), all with include_background=True:
# DiceHelper(include_background=True, softmax=False, num_classes=1)(p, g), compute_iou(p, g),
# compute_hausdorff_distance(p, g, percentile=95, spacing=spacing),
# compute_average_surface_distance(p, g, symmetric=True, spacing=spacing),
# compute_surface_dice(p, g, [t], spacing=spacing) at t = 1 and at t = 2
MONAI = {
    "image": (0.785075, 0.646192, 4.0, 2.124512, 0.321429, 0.517857),
    "image of long pixels": (0.752504, 0.603211, 10.90557, 2.17775, 0.40625, 0.789062),
    "volume": (0.700333, 0.538856, 2.236068, 1.182745, 0.517143, 0.905714),
    "thick slices": (0.687738, 0.524086, 10.367982, 1.759436, 0.442149, 0.834711),
    "at the border": (0.786653, 0.648333, 4.298393, 0.809154, 0.77757, 0.846729),
    "one voxel": (0.0, 0.0, 32.764229, 22.648607, 0.0, 0.0),
}


@pytest.mark.parametrize("name", PAIRS)
def test_overlap_and_distances_are_those_of_monai(name):
    pred, gt, spacing = PAIRS[name]
    found = result(pred, gt, spacing)
    ours = *(found[score] for score in NAMES[:5]), result(pred, gt, spacing, tolerance=2.0)["NSD"]
    np.testing.assert_allclose(ours, MONAI[name], atol=1e-6)


def brute(pred, gt, spacing, tolerance) -> tuple[float, ...]:
    """All distances between all surface voxels, the surfaces by SciPy's erosion."""
    ends = [np.argwhere(m & ~ndimage.binary_erosion(m)) * np.array(spacing) for m in (pred, gt)]
    table = cdist(*ends)
    there, back = table.min(1), table.min(0)
    every = np.concatenate([there, back])
    return max(np.percentile(there, 95), np.percentile(back, 95)), every.mean(), (every <= tolerance).mean()


@pytest.mark.parametrize("dense", [0, 1], ids=["by a transform", "by a tree"])
@pytest.mark.parametrize("shape", [(31, 23), (9, 12, 10)], ids=["image", "volume"])
def test_distances_are_those_of_brute_force(shape, dense, rng, monkeypatch):
    monkeypatch.setattr(surface, "DENSE", dense)
    for share in (0.02, 0.3, 0.7):
        pred, gt = (rng.random(shape) < share for _ in range(2))
        spacing = tuple(rng.uniform(0.3, 3, len(shape)))
        found = result(pred, gt, spacing, tolerance=1.7)
        np.testing.assert_allclose([found[name] for name in ("HD95", "ASSD", "NSD")], brute(pred, gt, spacing, 1.7))


def test_the_border_of_the_volume_is_background():
    full = np.ones((5, 6, 7), bool)
    assert surface.surface(full).sum() == full.size - 3 * 4 * 5
    assert result(full, full)["HD95"] == 0


def test_one_slice_is_no_image():
    pred, gt = ellipsoid((40, 50), (20, 25), (9, 12)), ellipsoid((40, 50), (22, 22), (10, 11))
    flat, slice_of_one = result(pred, gt), result(pred[None], gt[None], (5.0, 1.0, 1.0))
    assert slice_of_one["Dice"] == flat["Dice"]
    assert slice_of_one["ASSD"] < flat["ASSD"]  # all of it is surface


DIAGONAL = math.hypot(5 * 4, 6 * 2, 7 * 1)
NOTHING, LESION = at((5, 6, 7)), at((5, 6, 7), (1, 1, 1), (1, 1, 2))


@pytest.mark.parametrize(
    ("pred", "gt", "expected"),
    [
        (NOTHING, NOTHING, (1, 1, 0, 0, 1, math.nan, math.nan, 1, 0)),
        (NOTHING, LESION, (0, 0, DIAGONAL, DIAGONAL, 0, 0, 0, 0, 0)),
        (LESION, NOTHING, (0, 0, DIAGONAL, DIAGONAL, 0, math.nan, 0, 0, 1)),
        (LESION, LESION, (1, 1, 0, 0, 1, 1, 1, 1, 0)),
    ],
    ids=["both empty", "nothing found", "nothing there", "equal"],
)
def test_an_empty_side_has_the_worst_distance_and_two_the_best(pred, gt, expected):
    scores = Scores("volume")
    scores.update(pred, gt, spacing=(4, 2, 1))
    np.testing.assert_equal(list(scores.result().values()), expected)
    assert tuple(scores.result()) == NAMES == score_names("volume")
    assert scores.penalised == dict.fromkeys(("HD95", "ASSD"), int(pred.any() != gt.any()))
    assert scores.undefined["lesion_sen"] == int(not gt.any())


def test_to_find_nothing_is_never_better_than_to_find_the_farthest_voxel():
    gt, corner = at((5, 6, 7), (0, 0, 0)), at((5, 6, 7), (4, 5, 6))
    silent, wrong = result(NOTHING, gt), result(corner, gt)
    for name in NAMES[:5]:
        assert (silent[name] > wrong[name]) if lower_is_better(name) else (silent[name] <= wrong[name]), name


def test_lesions_are_components_that_corners_join_and_one_voxel_finds():
    gt = at((8, 20), (1, 1), (2, 2), (1, 6), (1, 7), (6, 15))  # three: a diagonal pair, a pair, one
    pred = at((8, 20), (2, 2), (1, 7), (1, 8), (5, 1), (6, 10), (7, 11))  # two that hit, two that do not
    for mask_pair in ((pred, gt), (pred[None], gt[None])):
        found = result(*mask_pair)
        assert found["lesion_sen"] == pytest.approx(2 / 3)
        assert (found["lesion_prec"], found["false_alarms"]) == (0.5, 2)
        assert found["lesion_F1"] == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert result(at((3, 3, 3), (0, 0, 0)), at((3, 3, 3), (0, 0, 0), (1, 1, 1)))["lesion_sen"] == 1


def test_hd95_and_assd_and_nsd_are_symmetric_and_know_no_place(rng):
    pred, gt = (ndimage.gaussian_filter(rng.normal(size=(14, 16, 18)), 2) > 0.05 for _ in range(2))
    there, back = result(pred, gt, (3, 1, 1)), result(gt, pred, (3, 1, 1))
    framed = [np.pad(mask, ((0, 4), (5, 1), (2, 9))) for mask in (pred, gt)]
    for name in ("Dice", "IoU", "HD95", "ASSD", "NSD"):
        assert there[name] == pytest.approx(back[name], rel=1e-12)
        assert result(*framed, (3, 1, 1))[name] == pytest.approx(there[name], rel=1e-12)


def test_a_float32_spacing_is_within_its_own_tolerance():
    near = at((6, 6, 6), (2, 2, 2)), at((6, 6, 6), (2, 2, 3))
    step = float(np.float32(1.2))
    assert step > 1.2
    assert result(*near, (step,) * 3, tolerance=1.2)["NSD"] == 1
    assert result(*near, (step,) * 3, tolerance=1.19)["NSD"] == 0


@pytest.mark.parametrize("kind", ["0/255", "0/1", "float", "float32 tensor", "grey"])
def test_masks_of_any_kind_score_as_bool(kind):
    pred, gt, spacing = PAIRS["thick slices"]
    forms = {
        "0/255": lambda m: m.astype(np.uint8) * 255,
        "0/1": lambda m: m.astype(np.uint8),
        "float": lambda m: np.where(m, 0.5, 0.49),
        "float32 tensor": lambda m: torch.from_numpy(m.astype(np.float32)),
        "grey": lambda m: np.where(m, 128, 127).astype(np.uint8),
    }
    assert result(forms[kind](pred), gt, spacing) == result(pred, gt, spacing)
    if kind != "grey":
        assert result(pred, forms["0/1" if kind == "float" else kind](gt), spacing) == result(pred, gt, spacing)


def test_maps_that_look_like_label_values_are_warned_of():
    scores = Scores("volume")
    scores.update(LESION.astype(np.uint8) * 2, LESION)
    with pytest.warns(UserWarning, match=r"no map has a level above 2 of 255.*label values\? .* pass pred == label"):
        assert scores.result()["Dice"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spacing": (1.0, 1.0)}, r"spacing is \(1\.0, 1\.0\) for a map of 3 axes"),
        ({"spacing": (1.0, 0.0, 1.0)}, "expected a length above 0 of each"),
        ({"spacing": (1.0, math.nan, 1.0)}, "expected a length above 0 of each"),
        ({"within": LESION[1:]}, r"within \(4, 6, 7\); expected one shape"),
        ({"within": NOTHING}, "a field of view is empty"),
    ],
)
def test_what_does_not_fit_a_volume_is_refused_and_adds_nothing(arguments, message):
    scores = Scores("volume")
    with pytest.raises(ValueError, match=message):
        scores.update(LESION, LESION, **arguments)
    assert len(scores) == 0


def test_a_spacing_is_refused_where_distances_are_in_pixels():
    with pytest.raises(ValueError, match="protocol layers measures in pixels; spacing is for protocol volume"):
        Scores("layers").update(LESION, LESION, spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="tolerance is -1; expected a distance of 0 or more"):
        Scores("volume", tolerance=-1)


def test_parts_merged_saved_and_chosen_are_the_whole():
    pairs = [*PAIRS.values(), (NOTHING, LESION, None), (NOTHING, NOTHING, None)]
    whole, first, rest = (Scores("volume", keep_curves=True, tolerance=2) for _ in range(3))
    for i, (pred, gt, spacing) in enumerate(pairs):
        for scores in (whole, first if i < 3 else rest):
            scores.update(pred, gt, spacing=spacing)
    file = io.BytesIO()
    torch.save(rest.state_dict(), file)
    file.seek(0)
    resumed = rest.blank()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    merged = first.blank().merge(first).merge(resumed)
    assert merged.result() == pytest.approx(whole.result())
    assert (merged.penalised, merged.undefined) == (whole.penalised, whole.undefined)
    assert (merged.with_foreground, merged.penalised["HD95"]) == (7, 1)
    assert merged.curves == merged.per_image_curves == {}
    chosen = whole.subset([6, 7])
    assert (chosen.penalised["ASSD"], chosen.with_foreground, chosen.result()["Dice"]) == (1, 1, 0.5)
    with pytest.raises(ValueError, match=r"tolerance=1\.0\) into .*tolerance=2\); make them alike"):
        whole.merge(Scores("volume", keep_curves=True))
