"""The golden pairs, made-up pairs, and the two paths that every claim is checked on."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from metrics import inputs

SCORES = Path(__file__).parent.parent / "golden" / "scores"
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def read_pairs(kind: str) -> Pairs:
    """Stem -> (pred, gt) uint8; a map of another size is resized as the original does, PIL's default filter."""
    pairs = {}
    for path in sorted((SCORES / kind / "gt").glob("*.png")):
        with Image.open(path) as gt, Image.open(SCORES / kind / "pred" / path.name) as pred:
            pairs[path.stem] = np.array(pred if pred.size == gt.size else pred.resize(gt.size)), np.array(gt)
    return pairs


def read_reference(name: str) -> dict:
    return json.loads((SCORES / f"{name}.json").read_text())


def made_up_pair(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A soft map and a mask that overlap more or less, uint8; both may touch the border, neither is empty."""
    y, x = np.mgrid[:height, :width]
    (cy, cx), (ry, rx) = rng.random(2) * (height, width), 1 + rng.random(2) * (height, width) / 2
    gt = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    gt[int(cy), int(cx)] = True
    noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), 2)
    pred = cv2.GaussianBlur(np.roll(gt, 2, 1).astype(float), (0, 0), 2) + noise - 0.5
    pred[0, 0], pred[-1, -1] = 0, 0.9  # never constant
    return (pred.clip(0, 1) * 255).astype(np.uint8), gt.astype(np.uint8) * 255


@pytest.fixture(autouse=True)
def one_thread(threads):
    """Thousands of small operations: handing them to threads costs more than they do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", "batch", pytest.param("cuda", marks=pytest.mark.gpu)])
def place(request, monkeypatch) -> Callable:
    """Puts an array where it is to be scored: OpenCV's path; the batch path, on the CPU; the batch path, on a GPU."""
    if request.param == "batch":
        monkeypatch.setattr(inputs, "on_cpu", lambda maps: False)
    device = "cuda" if request.param == "cuda" else "cpu"
    return lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device)
