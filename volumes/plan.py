"""A plan of a run on volumes, from the data: what its Config leaves open, each number with its reason."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from augment.solid import THICK
from configs import Config, require_startable
from files import Grid, Pair, decathlon, read_grid, read_volume
from volumes.frame import turned_shape, turned_spacing
from volumes.reading import read_indices

AIR = -200  # Hounsfield units: lower there is only air, which MR does not know
VOXELS = 2 * 128**3  # of a step, in one channel: what nnU-Net takes 8 GB of a GPU for
ON_CPU = 2**18  # as many take seconds on a few cores
COARSEST = 5  # voxels along an axis that are not halved again


def planned(
    cfg: Config, pairs: Sequence[Pair], memory: int | None, others: Sequence[Pair] = ()
) -> tuple[Config, list[str]]:
    """`cfg` with all that it leaves open, and a line about each number; of images, and where nothing is open, none.

    From the training pairs: the median spacing, intensities of CT, a patch that fits `memory`, bytes of a GPU (None: of
    a CPU), and strides. ValueError where volumes, `others` to validate on too, have other numbers of channels.
    """
    if cfg.dims == 2:
        return cfg, []
    found: dict[str, Any] = {}
    lines: list[str] = []

    def plan(name: str, make: Callable[[], Any]) -> Any:
        value, why = getattr(cfg, name), "as the Config says"
        if not value or value == (0, 0, 0):
            value, why = make()
            found[name] = value
        words = ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in np.atleast_1d(value).tolist())
        lines.append(f"{name} = {words or 'none'}: {why}")
        return value

    grids = [read_grid(pair.image) for pair in pairs]
    spacings = np.array([turned_spacing(grid) for grid in grids])
    spacing = plan("spacing", lambda: (_spacing(spacings), f"mm, the median of {len(pairs)} volumes"))
    everyone = [*zip(pairs, grids), *((pair, read_grid(pair.image)) for pair in others)]
    counts = {pair.image: len(pair.channels) if pair.more else grid.channels for pair, grid in everyone}
    inputs = plan("inputs", lambda: (counts[pairs[0].image], "channels of every volume"))
    if strange := next((path for path, count in counts.items() if count != inputs), None):
        raise ValueError(f"{strange} has {counts[strange]} channels; expected {inputs}, as the others have (inputs)")
    plan("intensity", lambda: _intensity(cfg, pairs, grids))
    extents = np.array([turned_shape(grid) for grid in grids]) * spacings
    median = tuple(max(1, round(float(mm))) for mm in np.median(extents, 0) / spacing)
    room = ON_CPU if memory is None else int(VOXELS * memory / 8e9)
    has = f"voxels; the median volume has {'x'.join(map(str, median))}, a step room for {room} in all"
    patch = plan("size", lambda: (_patch(median, spacing, room // (cfg.batch * inputs)), has))
    deep = f"until about {COARSEST} voxels are left of a side, thick ones later"
    plan("strides", lambda: (_strides(patch, spacing), deep))
    cfg = replace(cfg, **found)
    require_startable(cfg)
    return cfg, lines


def _spacing(spacings: np.ndarray) -> tuple[float, ...]:
    """The median of each axis; of one that is thick in most the tenth percentile, as the thin ones would lose more."""
    median = np.median(spacings, 0)
    worst = int(median.argmax())
    if median[worst] >= THICK * np.delete(median, worst).min():
        median[worst] = max(np.percentile(spacings[:, worst], 10), np.delete(median, worst).min())
    return tuple(float(f"{mm:.4g}") for mm in median)  # digits, not decimals: voxels of a microscope are no 0 mm


def _intensity(cfg: Config, pairs: Sequence[Pair], grids: Sequence[Grid]) -> tuple[tuple[float, ...], str]:
    """Of CT the percentiles 0.5 and 99.5, mean and std of all that some class is of; of anything else nothing."""
    told = decathlon(Path(cfg.datapath))
    modality = told.modality if told else ()
    if len(pairs[0].channels) > 1 or grids[0].channels > 1:
        return (), "several channels: each volume and channel by its own mean and std"
    if modality and not any(re.match(r"ct\b", kind, re.IGNORECASE) for kind in modality):
        return (), f"{', '.join(modality)} by dataset.json: each volume by its own mean and std"
    first, _ = read_volume(pairs[0].channels)
    if not modality and first.min() > AIR:
        return (), f"{pairs[0].name} has no value below {AIR}, so that it is no CT: each volume by its own mean and std"
    inside = []
    for pair in pairs:
        volume, grid = read_volume(pair.channels)
        labels = read_indices(pair, cfg.labels, grid)
        outside = (cfg.labels.outside or 0) if cfg.labels.several else 0
        inside.append(_some(volume[0][labels != outside]))
    values = np.concatenate(inside)
    if not len(values):
        raise ValueError(f"no mask of {len(pairs)} shows anything; intensity is planned from what they show")
    low, high = np.percentile(values, (0.5, 99.5))
    clipped = np.clip(values, low, high)
    why = "CT: percentiles 0.5 and 99.5, mean and std of what the masks show"
    return tuple(round(float(x), 3) for x in (low, high, clipped.mean(), clipped.std())), why


def _some(values: np.ndarray, most: int = 10_000) -> np.ndarray:
    """At most so many, evenly through all: of hundreds of volumes together no more are needed for percentiles."""
    return values[:: max(1, -(-len(values) // most))]


def _patch(median: Sequence[int], spacing: Sequence[float], room: int) -> tuple[int, ...]:
    """A block as long in every direction, in mm, cut to the median volume, in multiples of 8, that fits the room."""
    sides = [8 * -(-side // 8) for side in median]
    # the longest in mm is shortened until it fits
    while math.prod(sides) > room and max(sides) > 8:
        longest = max(range(3), key=lambda a: sides[a] * spacing[a] if sides[a] > 8 else 0)
        sides[longest] -= 8
    return tuple(sides)


def _strides(patch: Sequence[int], spacing: Sequence[float]) -> tuple[str, ...]:
    """Of each level: an axis is halved at the deepest, as often as it is long, less where its voxels are thick."""
    halvings = []
    for side, mm in zip(patch, spacing, strict=True):
        later = round(math.log2(mm / min(spacing)))
        long = int(math.log2(max(side / COARSEST, 1)))
        most = max(int(math.log2(max(other / COARSEST, 1))) for other in patch)
        halvings.append(max(0, min(long, most - later, 5)))
    levels = [[2 if 5 - level < many else 1 for many in halvings] for level in range(1, 6)]
    return tuple(str(a[0]) if len({*a}) == 1 else "x".join(map(str, a)) for a in levels)
