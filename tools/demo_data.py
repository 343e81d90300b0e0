"""A made-up polyp set to try the project on: python -m tools.demo_data [DIR]

Reddish mucosa with folds, vignette and highlights; lesions are smooth bumps, redder or paler than what is around them.
One training mask is empty and one pair has an odd size. It teaches nothing about real polyps.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from configs import errors_in_one_line
from files import write_picture

TRAIN, TEST = 64, 16
HEIGHT, WIDTH = 128, 160
ODD = (131, 173)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="data/demo", type=Path)
    folder = parser.parse_args().folder
    try:
        write_demo_data(folder)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{folder}: {TRAIN} training pairs, {TEST} test pairs, made up")


def write_demo_data(root: Path, train: int = TRAIN, test: int = TEST) -> None:
    """TrainDataset/{image,mask} and TestDataset/held-out/{images,masks} under `root`, the same in every call."""
    for folder, count, first, names in (
        (root / "TrainDataset", train, 0, ("image", "mask")),
        (root / "TestDataset" / "held-out", test, 10_000, ("images", "masks")),
    ):
        for name in names:
            made = {f"{i:03d}.png" for i in range(count)}
            if others := sorted(path for path in (folder / name).glob("[!.]*") if path.name not in made):
                raise ValueError(f"{others[0]} is not made up: a data set's own folder? Give another one")
            (folder / name).mkdir(parents=True, exist_ok=True)
        for i in tqdm(range(count), f"make {folder.name}", leave=False, disable=None):
            training = first == 0
            size = ODD if training and i == 1 else (HEIGHT, WIDTH)
            image, mask = lesion_on_mucosa(np.random.default_rng(first + i), *size, empty=training and i == 0)
            for name, array in zip(names, (image[..., ::-1], mask), strict=True):
                write_picture(folder / name / f"{i:03d}.png", array)


def lesion_on_mucosa(
    rng: np.random.Generator, height: int, width: int, empty: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """image (H, W, 3) uint8 RGB and mask (H, W) uint8 0/255 with one or two lesions, or none."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    texture = _noise(rng, height, width, 24) + 0.5 * _noise(rng, height, width, 8) + 0.2 * _noise(rng, height, width, 3)
    folds = np.sin((x * rng.normal() + y * rng.normal()) / 14 + 3 * _noise(rng, height, width, 30))
    light = 1 + 0.06 * texture + 0.04 * folds
    mucosa = rng.uniform((165, 80, 60), (215, 125, 100)).astype(np.float32)
    image = mucosa * light[..., None]
    mask = np.zeros((height, width), bool)
    for _ in range(0 if empty else rng.integers(1, 3)):
        inside, dome = _blob(rng, y, x)
        tint = rng.choice(((1.22, 0.72, 0.70), (1.15, 1.55, 1.50))) * rng.uniform(0.95, 1.05, 3)
        surface = 0.80 + 0.35 * dome + 0.08 * _noise(rng, height, width, 4)
        edge = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.2)[..., None]
        image = image * (1 - edge) + edge * (mucosa * tint * surface[..., None])
        mask |= inside
    for _ in range(rng.integers(2, 6)):  # highlights of the lamp on wet tissue
        spot = (x - rng.uniform(0, width)) ** 2 + (y - rng.uniform(0, height)) ** 2 < rng.uniform(1, 9)
        image[spot] = 245
    image = cv2.GaussianBlur(image, (0, 0), 0.6) + rng.normal(0, 3, image.shape)
    radius = np.hypot((x - width / 2) / width, (y - height / 2) / height)
    image *= np.clip(1.15 - 0.9 * radius, 0, 1)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8), mask.astype(np.uint8) * 255


def _noise(rng: np.random.Generator, height: int, width: int, grain: int) -> np.ndarray:
    """(H, W) float32 smooth noise of about unit variance, features `grain` pixels wide."""
    coarse = rng.standard_normal((height // grain + 2, width // grain + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _blob(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A wobbly ellipse: inside (H, W) bool, and its height above the tissue in [0, 1]."""
    height, width = y.shape
    cy, cx = rng.uniform(0.25, 0.75, 2) * (height, width)
    ry, rx = rng.uniform(0.12, 0.28, 2) * height
    angle = np.arctan2((y - cy) / ry, (x - cx) / rx)
    wobble = 1 + sum(rng.uniform(0, 0.22 / k) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    distance = np.hypot((y - cy) / ry, (x - cx) / rx) / wobble
    return distance <= 1, np.sqrt(np.clip(1 - distance**2, 0, 1))


if __name__ == "__main__":
    with errors_in_one_line("demo_data"):
        main()
