"""Maps as files: 8-bit grey PNG at the image's own size, and label images of several classes."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def native_map(pred: np.ndarray, height: int, width: int) -> Image.Image:
    """The 8-bit grey map of pred (h, w) float in [0, 1] at native size: truncated to 8 bits, then resized, bilinear."""
    return Image.fromarray((pred * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)


def native_labels(pred: np.ndarray, height: int, width: int, values: Sequence[int]) -> Image.Image:
    """The label image of pred (C, h, w) float32 at native size: the value of the class that is likeliest there."""
    planes = [np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BILINEAR)) for p in pred]
    return Image.fromarray(np.asarray(values, np.uint8)[np.argmax(planes, 0)])


def write_maps(folder: Path, name: str, pred: np.ndarray, height: int, width: int, labels: dict[str, int]) -> None:
    """Write what was predicted for one image, pred (C, h, w), each file whole or not at all.

    Of a binary network <folder>/<name>.png, `native_map`. Of several classes a grey map of each,
    <folder>/<class>/<name>.png, and at last <folder>/label/<name>.png, `native_labels`.
    """
    if len(pred) == 1:
        return write_map(folder / f"{name}.png", native_map(pred[0], height, width))
    for label, plane in zip(labels, pred, strict=True):
        write_map(folder / label / f"{name}.png", native_map(plane, height, width))
    write_map(folder / "label" / f"{name}.png", native_labels(pred, height, width, [*labels.values()]))


def write_map(path: Path, image: Image.Image) -> None:
    """Write a PNG whole or not at all, making the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")  # a name of 250 letters would not fit
    try:
        # OpenCV's lighter compression: a third of Pillow's time for the same pixels
        cv2.imencode(".png", np.asarray(image))[1].tofile(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
