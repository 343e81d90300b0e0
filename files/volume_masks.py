"""Masks and maps of volumes, read as `reading.py` and `grey.py` read those of pictures: 255 where something is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs import Labels
from files.grids import Grid, require_same_grid
from files.nifti import stem_of
from files.volumes import WHOLE, read_label_volume, read_volume


def read_volume_class(paths: Sequence[Path], labels: Labels, name: str) -> tuple[np.ndarray, Grid]:
    """(X, Y, Z) uint8, 255 where the class of this name is, of an image's one label volume, and the grid.

    Without label values what is not 0. Errors as `read_classes`.
    """
    image, grid = read_classes(paths, labels)
    if not labels.values:
        return _foreground(image), grid
    value = labels.values[labels.classes.index(name)]
    return np.where(image == value, np.uint8(255), np.uint8(0)), grid


def read_classes(paths: Sequence[Path], labels: Labels | None) -> tuple[np.ndarray, Grid]:
    """(X, Y, Z) uint8 or uint16 of an image's one label volume, or of its files of an organ each, and its grid.

    ValueError naming the file for values that are no class, and for several values beside 0 where no classes are given;
    without labels (None) any values will do.
    """
    if len(paths) > 1:
        return _of_organs({stem_of(path): path for path in paths}, labels)
    image, grid = read_label_volume(paths[0])
    if labels:
        labels.require_known(image, paths[0])
    values = np.unique(image).tolist() if labels and not labels.values else []
    if len(values) > 2 or (len(values) == 2 and values[0]):
        few = ",".join(map(str, values[:12])) + (",..." if len(values) > 12 else "")
        raise ValueError(f"{paths[0]} holds {few}; expected 0 and one other value. Several classes? Give label_values")
    return image, grid


def _of_organs(files: dict[str, Path], labels: Labels | None) -> tuple[np.ndarray, Grid]:
    """Label values of a file per organ, each named like its class; where two overlap the later class is there.

    Files of no class are left alone. ValueError where no class names say which are meant, or one has no file.
    """
    first, *others = files.values()
    wanted = {name: value for name, value in zip(labels.names, labels.values) if value} if labels else {}
    if missing := sorted(wanted.keys() - files.keys()) if wanted else list(files):
        what = f"{first} and {others[0].name} belong to one image"
        what = f"{first.parent} has no {missing[0]}.nii.gz" if wanted else what
        raise ValueError(
            f"{what}; expected one label volume, or a file for each of class_names: --classes 3 --label_values 0,1,2 "
            f"--class_names background,{','.join([*files][:2])}"
        )
    found, grid = None, None
    for name, value in wanted.items():
        organ, own = read_label_volume(files[name])
        if found is None or grid is None:
            found, grid = np.zeros(organ.shape, np.uint8), own
        require_same_grid(files[name], own, first, grid)
        found[organ > 0] = value
    assert found is not None and grid is not None
    return found, grid


def read_volume_map(path: str | Path) -> np.ndarray:
    """(X, Y, Z) uint8 of a map: probabilities in [0, 1] on 0..255, rounded, so that one half is above the middle.

    A mask of 0 and one other value is 0 and 255. ValueError naming the file for any other.
    """
    channels, _ = read_volume([Path(path)])
    image, low, high = channels[0], channels.min(), channels.max()
    if len(channels) == 1 and low >= -WHOLE and high <= 1 + WHOLE:
        return np.round(image.clip(0, 1) * 255).astype(np.uint8)
    if len(channels) > 1 or not ((image == 0) | (image == high)).all():
        raise ValueError(
            f"{path} holds values {low:.4g} to {high:.4g} in {len(channels)} channels; expected one, of probabilities "
            "in [0, 1] or 0 and one other value. Several classes? Give classes and label_values"
        )
    return _foreground(image)


def _foreground(image: np.ndarray) -> np.ndarray:
    return np.where(image > 0, np.uint8(255), np.uint8(0))
