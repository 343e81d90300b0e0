"""Data sets and pictures in miniature, with the layouts and traps of the public ones."""

import numpy as np


def blob(left: int, shape=(70, 80), value=255, dtype=np.uint8) -> np.ndarray:
    mask = np.zeros(shape, dtype)
    mask[10:20, left : left + 10] = value
    return mask


IMAGE = np.full((70, 80, 3), 90, np.uint8)


def chase(tmp_path, write_png) -> None:
    for eye in ("Image_01L", "Image_01R"):
        write_png(tmp_path / f"{eye}.jpg", IMAGE)
        for left, observer in ((0, "1stHO"), (30, "2ndHO")):
            write_png(tmp_path / f"{eye}_{observer}.png", blob(left))


def pair_at(write_png, root, name, images="images", masks="masks", mask=None):
    """One image and its mask; None for a folder leaves that half out."""
    if images:
        write_png(root / images / f"{name}.png", IMAGE)
    if masks:
        write_png(root / masks / f"{name}.png", blob(0) if mask is None else mask)
