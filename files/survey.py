"""A look at every file of a data set: what it holds, and what is wrong with it, before a night is spent on it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from configs import BINARY, Labels
from files.cache import machine_memory
from files.nifti import voxels_of
from files.pairs import Pair
from files.survey_pictures import Check, check_of_pictures, look_at_picture
from files.survey_volumes import VolumeCheck, check_of_volumes, look_at_volume, of_another_value, unlike_the_first

T = TypeVar("T")
VOXEL = 16  # bytes that a voxel takes while it is looked at: float32, and what is made of it


def check_pairs(pairs: Sequence[Pair], labels: Labels = BINARY) -> Check | VolumeCheck:
    """Decode every file once, strictly; ValueError for the first corrupt or truncated one or mask of another size.

    With label values masks are label images, and any other value in one is an error.
    """
    check, problems = survey(pairs, labels)
    if problems:
        first, *others = (problem for of_pair in problems.values() for problem in of_pair)
        more = f"; {len(others)} more files are faulty, `python -m tools.check_data` lists them" if others else ""
        raise ValueError(first + more)
    assert check
    return check


def survey(
    pairs: Sequence[Pair], labels: Labels | None = BINARY
) -> tuple[Check | VolumeCheck | None, dict[str, list[str]]]:
    """(what the sound pairs are like, None if there is none; name -> what is wrong with each other pair).

    labels None, of volumes: whatever values there are.
    """
    if pairs[0].is_volume:
        volumes, problems = _looked_at(pairs, lambda pair: look_at_volume(pair, labels))
        unlike = unlike_the_first(volumes)
        if labels and not labels.values:
            unlike = of_another_value(volumes) | unlike
        volumes = {name: look for name, look in volumes.items() if name not in unlike}
        return check_of_volumes(volumes, labels) if volumes else None, problems | unlike
    pictures, problems = _looked_at(pairs, lambda pair: look_at_picture(pair, labels or BINARY))
    return check_of_pictures(pictures, labels or BINARY) if pictures else None, problems


def _looked_at(
    pairs: Sequence[Pair], look: Callable[[Pair], T | list[str]]
) -> tuple[dict[str, T], dict[str, list[str]]]:
    """(name -> what was seen of a sound pair; name -> what is wrong with each other)."""
    with ThreadPoolExecutor(_threads(pairs[0])) as pool:
        found = list(tqdm(pool.map(look, pairs), "check data", len(pairs), leave=False, disable=None))
    named = {pair.name: what for pair, what in zip(pairs, found, strict=True)}
    problems = {name: what for name, what in named.items() if isinstance(what, list)}
    return {name: what for name, what in named.items() if not isinstance(what, list)}, problems


def _threads(pair: Pair) -> int:
    """One for each core; of volumes, whose sizes those of `pair` stand for, as many as fill half of the memory."""
    cores, memory = os.cpu_count() or 1, machine_memory()
    if not (pair.is_volume and memory):
        return cores
    try:
        size = sum(voxels_of(path) for path in pair.channels)
    except (ValueError, OSError):  # it is reported when it is looked at
        return cores
    return max(1, min(cores, memory // 2 // (VOXEL * size)))
