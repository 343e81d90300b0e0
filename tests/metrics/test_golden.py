"""The scores agree with the original's metric code and with PraNet's toolbox on stored pairs."""

import numpy as np
import pytest

from metrics import Scores, score_names

from .conftest import read_pairs, read_reference

OURS = {
    **{"mae": "MAE", "maxf": "maxF", "avgf": "avgF", "adaptive_f": "avgF", "sm": "Sm", "em": "Em"},
    **{"dice": "M_dice", "iou": "M_iou", "ber": "Ber", "acc": "Acc"},
}
CASES = [("regular", "official", 1e-6), ("edge", "official", 1e-6), ("regular", "pranet", 1e-5)]


def scored(kind, protocol, place, kinds=lambda pred: pred, **settings):
    scores = Scores(protocol, **settings)
    for pred, gt in read_pairs(kind).values():
        scores.update(place(kinds(pred)), place(gt))
    return scores


@pytest.mark.parametrize(("kind", "protocol", "tolerance"), CASES)
def test_every_image_the_set_and_the_curves_score_as_the_reference(kind, protocol, tolerance, place):
    reference = read_reference(f"{kind}_{protocol}")
    images, whole = reference["per_image"], reference["dataset"]
    assert list(images) == sorted(images)
    scores = scored(kind, protocol, place, undefined="propagate")
    found, curves = scores.per_image, scores.curves
    for name in next(iter(images.values())):
        expected = np.array([image[name] for image in images.values()], float)  # null becomes NaN
        np.testing.assert_allclose(found[OURS.get(name, name)], expected, rtol=0, atol=tolerance, err_msg=name)
    expected = {OURS.get(name, name): value for name, value in whole.items()}
    for name, value in scores.result().items():
        assert value == pytest.approx(np.nan if expected[name] is None else expected[name], abs=tolerance, nan_ok=True)
    for name in ("precision", "recall"):
        if f"{name}_curve" in reference:
            np.testing.assert_allclose(curves[name], reference[f"{name}_curve"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "protocol"), [case[:2] for case in CASES])
def test_an_8_bit_map_divided_by_255_scores_the_same(kind, protocol, dtype):
    levels = scored(kind, protocol, np.asarray).per_image
    for name, values in scored(kind, protocol, np.asarray, lambda pred: (pred / 255).astype(dtype)).per_image.items():
        np.testing.assert_allclose(values, levels[name], rtol=0, atol=1e-8, err_msg=name)


def test_undefined_scores_are_left_out_and_counted():
    reference = read_reference("edge_official")["per_image"]
    missing = [stem for stem, image in reference.items() if image["ber"] is None]
    scores = scored("edge", "official", np.asarray)
    assert scores.undefined["Ber"] == len(missing) == 5
    assert scores.undefined["Sm"] == 1
    assert sum(scores.undefined.values()) == 6
    defined = [image["ber"] for image in reference.values() if image["ber"] is not None]
    assert scores.result()["Ber"] == pytest.approx(np.mean(defined), abs=1e-9)


@pytest.mark.parametrize("protocol", ["official", "pranet"])
def test_results_come_in_print_order(protocol):
    assert tuple(scored("regular", protocol, np.asarray).result()) == score_names(protocol)


def test_max_of_the_set_is_the_max_of_the_mean_curve():
    scores = scored("regular", "pranet", np.asarray, keep_curves=True)
    result, kept = scores.result(), scores.per_image_curves
    for name, curve in {"maxDic": "Dice", "maxIoU": "IoU", "maxEm": "E"}.items():
        assert kept[curve].shape == (20, 256)
        assert result[name] == pytest.approx(kept[curve].mean(0).max())
        assert result[name] < scores.per_image[name].mean()
