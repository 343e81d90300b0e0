"""Scores against values of the original's metric code and of PraNet's toolbox, and against an independent library."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from metrics import Scores, score_names
from metrics.weighted_f import squared_distance, weighted_f, weighted_f_batch
from tests.conftest import GOLDEN

FOLDER = GOLDEN / "scores"
OFFICIAL = {
    "MAE": "mae",
    "avgF": "adaptive_f",
    "wfm": "wfm",
    "Sm": "sm",
    "Em": "em",
    "M_dice": "dice",
    "M_iou": "iou",
    "Ber": "ber",
    "Acc": "acc",
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def pairs(part: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (map, gt) uint8, the map resized to the gt as the original does."""
    found = {}
    for path in sorted((FOLDER / part / "gt").iterdir()):
        with Image.open(path) as gt, Image.open(FOLDER / part / "pred" / path.name) as pred:
            gt, pred = gt.convert("L"), pred.convert("L")
            found[path.stem] = (np.asarray(pred if pred.size == gt.size else pred.resize(gt.size)), np.asarray(gt))
    return found


def form(array: np.ndarray, kind: str, device: str):
    """The same map as 8-bit or float, array or tensor."""
    tensor = torch.tensor(array).to(device)
    return {
        "uint8 array": array,
        "uint8 tensor": tensor,
        "float64 tensor": tensor.double() / 255,
        "float32 array": array.astype(np.float32) / 255,
    }[kind]


def scored(part: str, protocol: str, kind: str, device: str) -> Scores:
    scores = Scores(protocol, undefined="propagate")
    for pred, gt in pairs(part).values():
        scores.update(form(pred, kind, device), form(gt, kind, device))
    return scores


def numbers(values) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["uint8 array", "uint8 tensor", "float64 tensor", "float32 array"])
@pytest.mark.parametrize("part", ["regular", "edge"])
def test_official_scores_equal_the_originals(part, kind, device):
    expected = json.loads((FOLDER / f"{part}_official.json").read_text())
    scores = scored(part, "official", kind, device)
    assert list(expected["per_image"]) == sorted(pairs(part))
    for name, key in OFFICIAL.items():
        theirs = numbers(image[key] for image in expected["per_image"].values())
        np.testing.assert_allclose(scores.per_image[name], theirs, rtol=0, atol=1e-6, err_msg=name)
    keys = OFFICIAL | {"avgF": "avgf", "maxF": "maxf"}
    theirs = numbers(expected["dataset"][keys[name]] for name in score_names("official"))
    np.testing.assert_allclose(list(scores.result().values()), theirs, rtol=0, atol=1e-6)
    if part == "regular":
        np.testing.assert_allclose(scores.curves["precision"], expected["precision_curve"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(scores.curves["recall"], expected["recall_curve"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["uint8 array", "float32 array"])
def test_pranet_scores_equal_the_toolboxs(kind, device):
    expected = json.loads((FOLDER / "regular_pranet.json").read_text())
    scores = scored("regular", "pranet", kind, device)
    for name in ("Sm", "wFm", "MAE", "meanDic", "meanIoU", "meanEm", "maxDic"):
        theirs = numbers(image[name] for image in expected["per_image"].values())
        np.testing.assert_allclose(scores.per_image[name], theirs, rtol=0, atol=1e-5, err_msg=name)
    for name, value in scores.result().items():
        assert value == pytest.approx(expected["dataset"][name], abs=1e-5), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ties", ["official", "pranet"])
def test_the_batched_weighted_f_equals_the_one_by_one(ties, device, rng):
    gt = rng.random((8, 23, 31)) < np.array([0, 0.002, 0.01, 0.05, 0.2, 0.5, 0.9, 1]).reshape(-1, 1, 1)
    pred = rng.random(gt.shape)
    batched = weighted_f_batch(torch.from_numpy(pred).to(device), torch.from_numpy(gt).to(device), ties)
    single = [weighted_f(p, g, ties) for p, g in zip(pred, gt, strict=True)]
    np.testing.assert_allclose(batched.cpu(), single, rtol=1e-6)


def test_the_distance_is_exact(rng):
    from scipy.ndimage import distance_transform_edt

    for shape in ((17, 40), (40, 17), (1, 30), (30, 1)):
        gt = rng.random(shape) < 0.03
        gt[0, 0] = True
        theirs = distance_transform_edt(~gt) ** 2
        assert np.array_equal(squared_distance(torch.from_numpy(gt)[None])[0], theirs.round())


def test_weighted_f_takes_the_nearest_pixel_that_scipy_takes(rng):
    """Written out with scipy's full transform, on masks full of ties."""
    from scipy.ndimage import convolve, distance_transform_edt

    axis = np.arange(-3, 4)
    kernel = np.exp(-(axis[:, None] ** 2 + axis**2) / 50)
    kernel /= kernel.sum()
    for density in (0.02, 0.1, 0.3):
        gt, pred = rng.random((40, 50)) < density, rng.random((40, 50))
        distance, (y, x) = distance_transform_edt(~gt, return_indices=True)
        error = np.abs(pred - gt)
        smooth = convolve(error[y, x], kernel, mode="constant")
        error = np.where(gt & (smooth < error), smooth, error) * np.where(gt, 1, 2 - 0.5 ** (distance / 5))
        tp = gt.sum() - error[gt].sum()
        recall, precision = 1 - error[gt].mean(), tp / (tp + error[~gt].sum() + 1e-6)
        expected = 2 * recall * precision / (recall + precision + 1e-6)
        assert weighted_f(pred, gt) == pytest.approx(expected, abs=1e-7)


@pytest.mark.filterwarnings("ignore")  # the library announces its own future
def test_scores_agree_with_pysodmetrics_where_the_definitions_do():
    sod = pytest.importorskip("py_sod_metrics")
    theirs = {"MAE": sod.MAE(), "avgF": sod.Fmeasure(), "wfm": sod.WeightedFmeasure(), "Em": sod.Emeasure()}
    scores = Scores()
    for pred, gt in pairs("regular").values():
        scores.update(pred, gt)
        for metric in theirs.values():
            metric.step(pred=pred, gt=gt)
    ours = scores.result()
    assert ours["MAE"] == pytest.approx(theirs["MAE"].get_results()["mae"], abs=1e-6)
    assert ours["avgF"] == pytest.approx(theirs["avgF"].get_results()["fm"]["adp"], abs=1e-6)
    assert ours["wfm"] == pytest.approx(theirs["wfm"].get_results()["wfm"], abs=1e-5)
    assert ours["Em"] == pytest.approx(theirs["Em"].get_results()["em"]["adp"], abs=1e-4)
