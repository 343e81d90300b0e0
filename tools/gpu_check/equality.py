"""Scores and maps of a device beside those of the CPU."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch

import net
from engine.inference import Predictor
from metrics import Scores
from tools.benchmark.prediction import settled
from tools.benchmark.scoring import made_up_maps
from tools.demo_data import lesion_on_mucosa
from tools.gpu_check.line import Line, Sizes

SCORES_APART = 1e-9
GREY_LEVELS_APART = 1  # a map is truncated to 8 bits: a rounding error may cross one border
# on average over the pixels, where fewer bits are kept on purpose
MEAN_APART = {"float32 with TF32": 1.0, "float16": 1.0, "bfloat16": 4.0}
IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def scores(protocol: str, sizes: Sizes, device: torch.device) -> Iterator[Line]:
    """Every score and curve, of 8-bit and float maps, with and without a field of view."""
    pred, gt, within = maps_to_score(sizes.maps, sizes.map_side)
    smooth = np.stack([cv2.GaussianBlur(p.astype(np.float32) / 255, (0, 0), 2) for p in pred]).clip(0, 1)
    for kind, maps in (("8-bit maps", pred), ("float maps", smooth)):
        for field in (False, True):
            arrays = (maps, gt, within) if field else (maps, gt)
            here, there = Scores(protocol, keep_curves=True), Scores(protocol, keep_curves=True)
            for image in zip(*arrays, strict=True):
                here.update(*image)
            there.update(*(on_device(array, device) for array in arrays))
            name = f"scores, {protocol}, {kind}{', field of view' if field else ''}: most apart"
            yield Line(name, apart(everything(there), everything(here)), SCORES_APART)


def maps_to_score(count: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pred, gt uint8 and within bool, (N, H, W), not square; a flat map, an empty and a full gt are among them."""
    height = side * 5 // 6
    pred, gt = (np.stack(maps)[:, :height] for maps in zip(*made_up_maps(count, side), strict=True))
    pred[0], gt[1], gt[2] = 90, 0, 255
    y, x = np.mgrid[:height, :side]
    disc = (2 * y / height - 1) ** 2 + (2 * x / side - 1) ** 2 < 0.8
    return pred, gt, np.broadcast_to(disc, gt.shape).copy()


def on_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def everything(scores: Scores) -> np.ndarray:
    """Every number that `scores` gives."""
    arrays = [*scores.per_image.values(), *scores.per_image_curves.values(), *scores.curves.values()]
    return np.concatenate([[*scores.result().values()], *(array.ravel() for array in arrays)])


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; infinite where one of both is undefined (NaN)."""
    undefined = np.isnan(a), np.isnan(b)
    return float(np.nanmax(np.abs(a - b))) if np.array_equal(*undefined) else float("inf")


def maps(name: str, sizes: Sizes, device: torch.device) -> Iterator[Line]:
    """Grey levels between the maps of `device` and float32 maps of the CPU, with random weights."""
    torch.manual_seed(0)
    network = net.fold_batchnorm(settled(net.build(name).to(device), sizes.size)).cpu()
    images = images_to_predict(sizes.images, sizes.size)
    expected = grey(Predictor(network, torch.device("cpu")), images)
    network = network.to(device).to(memory_format=torch.channels_last)
    for way, amp, tf32 in ways(device):
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32):
            there = Predictor(network, device, amp)
            differences = np.abs(grey(there, images) - expected)
        limit = None if way in MEAN_APART else GREY_LEVELS_APART
        yield Line(f"maps, {name}, {way}: most grey levels apart", int(differences.max()), limit)
        yield Line(f"maps, {name}, {way}: grey levels apart, mean", float(differences.mean()), MEAN_APART.get(way))


def ways(device: torch.device) -> list[tuple[str, str, bool]]:
    """Name, amp and TF32, which a Config has to allow."""
    if device.type == "cpu":
        return [("float32", "off", False), ("bfloat16", "native-bf16", False)]
    exact, rounded = ("float32 without TF32", "off", False), ("float32 with TF32", "off", True)
    return [exact, rounded, ("float16", "native-fp16", True), ("bfloat16", "native-bf16", True)]


def images_to_predict(count: int, side: int) -> torch.Tensor:
    """(N, 3, side, side) made-up images, normalised as prediction does."""
    mean, std = IMAGENET
    rng = np.random.default_rng(0)
    images = [(lesion_on_mucosa(rng, side, side)[0] / 255 - mean) / std for _ in range(count)]
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32))


def grey(predictor: Predictor, images: torch.Tensor) -> np.ndarray:
    """The grey levels that would be written, int16."""
    return (predictor(images).numpy() * 255).astype(np.uint8).astype(np.int16)
