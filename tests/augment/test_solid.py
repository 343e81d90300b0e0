"""Augmentations of volumes: each does what it says, and nothing where it is not drawn."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from augment.solid import APPEARANCE, coarser, motion, patch_of


def drawn(make, holds, seeds=range(200)):
    """What `make` gives with the first seed for which it `holds`."""
    return next(found for found in map(make, map(np.random.default_rng, seeds)) if holds(found))


def always(degrees, zoom, spacing=(1, 1, 1)):
    def matrix(rng):
        return motion((rng, np.random.default_rng(rng.integers(2**32))), degrees, zoom, spacing)

    return drawn(matrix, lambda found: found is not None)


def test_a_turn_keeps_lengths_in_millimetres_and_a_zoom_scales_them():
    mm = np.array((1.0, 0.7, 2.0))
    turn = always(30, 0, mm) * mm[:, None] / mm[None]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    scale = always(0, 0.4)
    np.testing.assert_allclose(scale, np.eye(3) * scale[0, 0])
    assert 1 / 1.4 <= scale[0, 0] <= 1.4


def test_nothing_turns_out_of_thick_slices():
    turn = always(30, 0, (1, 1, 5))
    np.testing.assert_array_equal(turn[2], (0, 0, 1))
    np.testing.assert_array_equal(turn[:, 2], (0, 0, 1))
    assert abs(turn[0, 1]) > 0


def test_volumes_are_moved_one_time_in_five():
    moved = [
        motion((np.random.default_rng(i), np.random.default_rng(i)), 30, 0, (1, 1, 1)) is not None for i in range(1000)
    ]
    assert 150 < sum(moved) < 250
    assert motion((np.random.default_rng(0), np.random.default_rng(0)), 0, 0, (1, 1, 1)) is None


@pytest.mark.parametrize("centre", [(4.5, 5.5, 3.5), (1.5, 9.5, 3.5), (-3.5, 4.5, 20.5)])
def test_a_patch_is_the_voxels_about_its_centre_and_0_outside(centre, rng):
    volume = rng.random((2, 10, 12, 8)).astype(np.float32)
    volume[1] = rng.integers(0, 3, (10, 12, 8))
    size = (6, 4, 8)
    patch = patch_of(volume, np.array(centre), size, None)
    moved = patch_of(volume, np.array(centre), size, np.eye(3))
    assert patch.shape == (2, *size)
    np.testing.assert_allclose(patch, moved, atol=1e-6)
    for place in itertools.product(*map(range, size)):
        there = [int(c - (n - 1) / 2) + p for c, n, p in zip(centre, size, place)]
        inside = all(0 <= t < n for t, n in zip(there, volume.shape[1:]))
        assert patch[(0, *place)] == (volume[(0, *there)] if inside else 0)


def test_a_turned_patch_shows_what_is_around_it_and_keeps_whole_labels():
    volume = np.stack([np.ones((40, 40, 40), np.float32), np.pad(np.full((10,) * 3, 2, np.float32), 15)])
    patch = patch_of(volume, np.full(3, 19.5), (16, 16, 16), always(30, 0))
    assert (patch[0] == 1).all()  # no border has come in
    assert {*np.unique(patch[1])} == {0, 2}


@pytest.mark.parametrize("field", APPEARANCE)
def test_appearance_changes_the_image_now_and_then_and_never_its_shape(field, rng):
    image = ndimage.gaussian_filter(rng.standard_normal((2, 12, 10, 14)), (0, 1, 1, 1)).astype(np.float32)
    changed = 0
    for seed in range(100):
        found = APPEARANCE[field](image, np.random.default_rng(seed), 0.4)
        assert found.shape == image.shape and np.isfinite(found).all()
        changed += not np.array_equal(found, image)
    assert 3 <= changed <= 60
    before = image.copy()
    APPEARANCE[field](image, np.random.default_rng(1), 1.0)
    assert np.array_equal(image, before)  # it may be a cache's own


def test_gamma_keeps_mean_and_std_and_the_order_of_intensities(rng):
    image = rng.standard_normal((1, 8, 8, 8)).astype(np.float32)
    bent = drawn(lambda rng: APPEARANCE["gamma"](image, rng, 0.5), lambda found: not np.array_equal(found, image))
    assert abs(bent.mean() - image.mean()) < 1e-4 and abs(bent.std() - image.std()) < 1e-4
    assert (np.argsort(bent.ravel()) == np.argsort(image.ravel())).all()
    flat = np.zeros((1, 4, 4, 4), np.float32)
    assert all(np.isfinite(APPEARANCE["gamma"](flat, np.random.default_rng(i), 0.5)).all() for i in range(20))


@pytest.mark.parametrize(("shape", "scale"), [((12, 9, 15), 0.5), ((7, 1, 10), 0.83), ((8, 8, 8), 1.0)])
def test_a_matrix_along_each_axis_makes_a_volume_as_coarse_as_scipy_does_in_three_dimensions(shape, scale, rng):
    image = rng.standard_normal(shape).astype(np.float32)
    coarse = ndimage.zoom(image, [max(1, round(side * scale)) / side for side in shape], order=0)
    theirs = ndimage.zoom(coarse, np.array(shape) / coarse.shape, order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(coarser(image, scale), theirs, atol=1e-5)


def test_a_zoom_that_is_read_axis_by_axis_gives_the_same_patch(rng):
    volume = np.stack([rng.standard_normal((9, 12, 8)), rng.integers(0, 3, (9, 12, 8))]).astype(np.float32)
    size, centre, matrix = (8, 10, 12), np.array((3.0, 7.5, 4.0)), always(0, 0.4, (1, 1, 2))
    lies = {"output_shape": size, "mode": "constant", "offset": centre - matrix @ ((np.array(size) - 1) / 2)}
    image = ndimage.affine_transform(volume[0], matrix, order=1, cval=0, **lies)
    labels = ndimage.affine_transform(volume[1], matrix, order=0, cval=2, **lies)
    patch = patch_of(volume, centre, size, matrix, outside=2)
    np.testing.assert_allclose(patch[0], image, atol=1e-6)
    assert np.array_equal(patch[1], labels) and (labels == 2).any()
