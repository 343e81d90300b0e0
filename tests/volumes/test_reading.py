"""A volume as the network sees it, and back: no more of its size in memory than it takes."""

import weakref

import numpy as np
import pytest
import torch

from configs import Config
from configs.volumes import RECIPE
from files import Grid
from tests.helpers import memory_of
from tests.miniatures import volume
from volumes import frame_of
from volumes.cases import VolumeCase
from volumes.reading import read_images

GRID = Grid((12, 4, 5), np.eye(4))
OF_VOLUMES = {**RECIPE, "size": (8, 8, 8), "spacing": (1.0, 1.0, 1.0)}
SIDE = 64


@pytest.mark.parametrize("intensity", [(-160.0, 240.0, 40.0, 80.0), ()])
def test_a_volume_is_normalised_where_it_lies_and_turned_into_one_more(tmp_path, rng, intensity):
    values = rng.normal(0, 200, (SIDE,) * 3).astype(np.int16)
    path, cfg = volume(tmp_path / "ct.nii", values), Config(**OF_VOLUMES, intensity=intensity)
    voxels = values.astype(np.float32)
    expected = (np.clip(voxels, -160, 240) - 40) / 80 if intensity else (voxels - voxels.mean()) / voxels.std()
    (((image, _),), _) = read_images([path], [cfg])
    np.testing.assert_allclose(image[0], expected, atol=1e-4)
    if intensity:  # for a std numpy takes eight bytes a voxel
        assert memory_of(lambda: read_images([path], [cfg])) < 2.4 * 4 * SIDE**3


def test_networks_that_read_a_volume_otherwise_change_nothing_for_each_other(tmp_path, rng):
    path = volume(tmp_path / "ct.nii", rng.normal(0, 200, (6, 7, 8)).astype(np.int16))
    cfgs = [Config(**OF_VOLUMES, intensity=(-low, 240.0, 40.0, 80.0)) for low in (160, 90, 160)]
    together, _ = read_images([path], cfgs)
    for (image, _), cfg in zip(together, cfgs, strict=True):
        (((alone, _),), _) = read_images([path], [cfg])
        assert np.array_equal(image, alone)


def test_a_slab_is_let_go_before_the_next_is_made():
    """They are as large as the volume that is predicted is; together they are its labels, a byte a voxel."""
    whole = torch.rand(3, *GRID.shape)
    given: list[weakref.ref] = []

    def slabs():
        for part in whole.split(5, 1):
            assert not any(slab() is not None for slab in given)
            slab = part.clone()
            given.append(weakref.ref(slab))
            yield slab
            del slab

    cfg = Config(**OF_VOLUMES, classes=3, label_values=(0, 1, 2))
    found = VolumeCase("v", frame_of(GRID, (1, 1, 1)), GRID, cfg).finished(slabs())
    assert found.dtype == np.uint8 and np.array_equal(found, whole.argmax(0))
