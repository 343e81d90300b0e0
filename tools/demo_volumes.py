"""Made-up volumes to try the project on: python -m tools.demo_volumes [DIR]

An organ in noisy tissue, bright or dark by its volume's own scale, with a node in it; spacing and orientation differ
from one volume to the next. Laid out as a task of the Medical Segmentation Decathlon. It teaches nothing about real
scans.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from configs import errors_in_one_line
from files import Grid, write_file, write_volume

COUNT = 30
EXTENT = np.array((40.0, 44.0, 36.0))  # mm
SPACINGS = ((1.5, 1.5, 1.5), (1.4, 1.4, 2.0))
CLASSES = {"0": "background", "1": "organ", "2": "node"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="data/demo_volume", type=Path)
    folder = parser.parse_args().folder
    try:
        write_demo_volumes(folder)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{folder}: {COUNT} volumes, made up")


def write_demo_volumes(root: Path, count: int = COUNT) -> None:
    """imagesTr/, labelsTr/ and dataset.json under `root`, the same in every call."""
    names = [f"scan_{i:03d}.nii.gz" for i in range(count)]
    for folder in ("imagesTr", "labelsTr"):
        if others := sorted(path for path in (root / folder).glob("[!.]*") if path.name not in names):
            raise ValueError(f"{others[0]} is not made up: a data set's own folder? Give another one")
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(tqdm(names, f"make {root.name}", leave=False, disable=None)):
        image, label, grid = organ_in_tissue(np.random.default_rng(i), SPACINGS[i % 2], against=i % 3 == 0)
        write_volume(root / "imagesTr" / name, image, grid)
        write_volume(root / "labelsTr" / name, label, grid)
    record = {"name": "made up", "modality": {"0": "MRI"}, "labels": CLASSES}
    write_file(root / "dataset.json", json.dumps(record, indent=1) + "\n")


def organ_in_tissue(
    rng: np.random.Generator, spacing: tuple[float, float, float], against: bool
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """image (X, Y, Z) float32, label uint8 0..2, and where they lie; `against`: towards left and back, as in LPS."""
    x, y, z = (int(side) for side in EXTENT / spacing)
    shape = x, y, z
    mm = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing)), indexing="ij"))
    centre, radii = EXTENT / 2 + rng.uniform(-4, 4, 3), rng.uniform((8, 10, 7), (12, 14, 10))
    node = centre + rng.uniform(-0.4, 0.4, 3) * radii
    organ = _ellipsoid(mm, centre, radii) < 1 + 0.15 * _smooth(rng, shape, 4)
    inside = organ & (_ellipsoid(mm, node, rng.uniform(3.5, 5.5, 3)) < 1)
    tissue = 0.5 * _smooth(rng, shape, 3)
    image = tissue + 1.6 * ndimage.gaussian_filter(organ.astype(float), 0.7) * rng.uniform(0.8, 1.2)
    image -= 1.4 * ndimage.gaussian_filter(inside.astype(float), 0.5)
    image = (image + rng.normal(0, 0.3, shape) + 3) * 10 ** rng.uniform(1, 4)
    affine = np.diag([*spacing, 1.0])
    if against:
        affine[[0, 1], [0, 1]] *= -1
    return image.astype(np.float32), organ.astype(np.uint8) + inside, Grid(shape, affine)


def _ellipsoid(mm: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Below 1 inside."""
    return np.sqrt((((mm - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(0))


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> np.ndarray:
    """Smooth noise of unit variance."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), grain)
    return field / field.std()


if __name__ == "__main__":
    with errors_in_one_line("demo_volumes"):
        main()
