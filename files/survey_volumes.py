"""What every volume of a data set holds: shapes, spacings, orientations, intensities, labels and their share."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from configs import Labels
from files.grids import Grid, by, require_same_grid
from files.pairs import Pair
from files.volume_masks import read_classes
from files.volumes import read_label_volume, read_volume

QUANTILES = (0.005, 0.5, 0.995)
SAMPLE = 2**20  # voxels of a channel that its quantiles are of, evenly spaced over it
THICK = 3.0  # times as thick as wide, from where voxels are worth a word
YES = {1, 255}  # what binary masks are saved with
SCALES = 10.0  # between the brightest and the darkest volume, from where each has a scale of its own


class VolumeLook(NamedTuple):
    """One pair of volumes, as it was read."""

    grid: Grid
    intensities: np.ndarray  # (C, 3) at QUANTILES
    values: dict[int, int]  # label value -> voxels


@dataclass(frozen=True)
class VolumeCheck:
    """What `survey` saw in a folder of volumes."""

    pairs: int
    shapes: np.ndarray  # (3, 3): smallest, median and largest along each axis
    spacings: np.ndarray  # likewise, mm
    orientations: dict[str, int]  # such as RAS -> volumes
    intensities: np.ndarray  # (N, C, 3) at QUANTILES
    empty: tuple[str, ...]  # names of the pairs that are background all over
    classes: dict[int, tuple[int, float]]  # label value -> volumes that have it, part of all voxels

    def __str__(self) -> str:
        shares = ", ".join(f"{value} ({share:.2%})" for value, (_, share) in self.classes.items())
        text = f"{self.pairs} pairs, {self.sizes()}, labels {shares}"
        return ", ".join([text, *self.remarks()])

    def sizes(self) -> str:
        """Shapes and spacings in one line."""
        return f"{span(self.shapes)} voxels of {span(self.spacings)} mm"

    @property
    def values(self) -> tuple[int, ...]:
        """Every label value."""
        return tuple(value for value, (volumes, _) in self.classes.items() if volumes)

    def remarks(self) -> list[str]:
        """What is worth a second look."""
        found = []
        if self.empty:
            found.append(f"{len(self.empty)} labels empty (first {self.empty[0]})")
        if {*self.values} == {0, *YES}:
            found.append("labels of 1 and of 255, both read as the object")
        if len(self.orientations) > 1:
            found.append("several orientations: maps are written as each image lies")
        if (thick := self.spacings[1].max() / self.spacings[1].min()) > THICK:
            found.append(f"voxels {thick:.1f} times as thick as wide: plan the patch in mm")
        tops = np.abs(self.intensities[..., 2])  # (N, C)
        if (ratio := (tops.max(0) / np.maximum(tops.min(0), 1e-9)).max()) > SCALES:
            found.append(f"intensities differ {ratio:.3g}-fold from volume to volume: each has a scale of its own")
        return found


def look_at_volume(pair: Pair, labels: Labels | None) -> VolumeLook | list[str]:
    """What a pair holds, or what is wrong with it: every file that cannot be read, or else the first fault.

    Without labels any value may be in the label volume.
    """
    faults = []
    try:
        image, grid = read_volume(pair.channels)
        seen = _intensities(image)
        del image  # several of the largest would not fit together
    except (ValueError, OSError) as error:
        faults.append(str(error))
    try:
        label, label_grid = read_classes(pair.masks, labels)
        if not faults:
            require_same_grid(pair.masks[0], label_grid, pair.image, grid)
        if pair.within:
            field, field_grid = read_label_volume(pair.within)
            require_same_grid(pair.within, field_grid, pair.masks[0], label_grid)
            if not field.any():
                raise ValueError(f"{pair.within} is an empty field of view; expected 1 where the image counts")
    except (ValueError, OSError) as error:
        faults.append(str(error))
    if faults:
        return faults
    values, counts = np.unique(label, return_counts=True)
    return VolumeLook(grid, seen, dict(zip(values.tolist(), counts.tolist(), strict=True)))


def check_of_volumes(seen: Mapping[str, VolumeLook], labels: Labels | None) -> VolumeCheck:
    """All looks as one."""
    looks = list(seen.values())
    values = labels.values if labels and labels.values else sorted({value for look in looks for value in look.values})
    voxels = sum(sum(look.values.values()) for look in looks)
    background = max(0, labels.background) if labels else 0
    return VolumeCheck(
        pairs=len(looks),
        shapes=_spread([look.grid.shape for look in looks]),
        spacings=_spread([look.grid.spacing for look in looks]),
        orientations=dict(Counter(look.grid.orientation for look in looks).most_common()),
        intensities=np.stack([look.intensities for look in looks]),
        empty=tuple(name for name, look in seen.items() if set(look.values) <= {background}),
        classes={
            value: (
                sum(value in look.values for look in looks),
                sum(look.values.get(value, 0) for look in looks) / voxels,
            )
            for value in values
        },
    )


def unlike_the_first(looks: Mapping[str, VolumeLook]) -> dict[str, list[str]]:
    """name -> what is wrong with each pair that has other channels than the first."""
    first = next(iter(looks), "")
    counts = {name: len(look.intensities) for name, look in looks.items()}
    return {
        name: [f"{name} has {count} channels but {first} has {counts[first]}; every image needs the same"]
        for name, count in counts.items()
        if count != counts[first]
    }


def of_another_value(looks: Mapping[str, VolumeLook]) -> dict[str, list[str]]:
    """name -> what is wrong with each binary mask that shows another value than the first; 1 and 255 both say yes."""
    shown = {name: max(look.values) for name, look in looks.items() if max(look.values)}
    first = next(iter(shown), "")
    return {
        name: [
            f"{name} is labelled {value} but {first} {shown[first]}: two classes, or one? Expected one value in all "
            f"(1 and 255 are alike); --label_values {value} takes that alone, classes and label_values take both"
        ]
        for name, value in shown.items()
        if value != shown[first] and not {value, shown[first]} <= YES
    }


def span(spread: np.ndarray) -> str:
    """31x40x24 to 43x59x47, median 35x50x36; one of them where all are alike."""
    low, median, high = (by(tuple(_plain(x) for x in row)) for row in spread)
    return low if low == high else f"{low} to {high}, median {median}"


def _plain(number: float) -> float:
    return int(number) if number == int(number) else float(number)


def _spread(rows: list) -> np.ndarray:
    return np.quantile(np.array(rows, float), (0, 0.5, 1), axis=0)


def _intensities(image: np.ndarray) -> np.ndarray:
    step = max(1, round((image[0].size / SAMPLE) ** (1 / 3)))
    return np.quantile(image[:, ::step, ::step, ::step].reshape(len(image), -1), QUANTILES, axis=1).T
