"""From a file's grid to the network's and back: exact where nothing is resampled, trilinear where something is."""

import itertools

import nibabel
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from files import Grid
from volumes import frame_of
from volumes.frame import turned_spacing

ORIENTATIONS = ("RAS", "LPS", "PIR", "SAL", "AIL", "IPR")


def grid(shape, orientation="RAS", spacing=(1.0, 1.0, 1.0)) -> Grid:
    """A grid whose axes lead where the letters say, `spacing` along each of its own axes."""
    axes = nibabel.orientations.axcodes2ornt(orientation)
    affine = np.zeros((4, 4))
    for axis, (leads, sign) in enumerate(axes):
        affine[int(leads), axis] = sign * spacing[axis]
    affine[:3, 3], affine[3, 3] = (-3, 40, 7), 1
    return Grid(tuple(shape), affine)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_volume_is_turned_as_nibabel_turns_it_and_back_to_the_bit(orientation, rng):
    where = grid((4, 5, 6), orientation)
    volume = rng.random((4, 5, 6), np.float32)
    frame = frame_of(where, (1, 1, 1))
    theirs = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, where.affine)).get_fdata(dtype=np.float32)
    ours = frame.forward(volume[None])[0]
    assert np.array_equal(ours, theirs)
    assert np.array_equal(frame.back(ours), volume)


def test_spacing_follows_the_axes_that_it_is_of():
    where = grid((4, 5, 6), "SAL", (5.0, 0.5, 2.0))  # head, front, left
    assert turned_spacing(where) == (2.0, 0.5, 5.0)
    frame = frame_of(where, (1, 1, 2.5))
    assert frame.turned == (6, 5, 4) and frame.shape == (12, 2, 8)


@pytest.mark.parametrize("shape", [(9, 7, 5), (20, 7, 9), (6, 12, 3), (1, 4, 4), (40, 3, 2)])
@pytest.mark.parametrize("cuts", [(1,) * 9, (3, 2, 4), (9,), (1, 8)])
def test_slabs_that_come_back_are_the_whole_resampled_at_once(shape, cuts, rng):
    where = grid((9, 8, 7))
    mm = [own / side for own, side in zip((9, 8, 7), shape)]
    frame = frame_of(where, mm)
    assert frame.shape == shape
    pred = torch.from_numpy(rng.random((2, *shape), np.float32))
    ends = np.unique(np.minimum(np.cumsum([0, *cuts, 99]), shape[0]))
    slabs = iter([pred[:, a:b] for a, b in itertools.pairwise(ends)])
    whole = F.interpolate(pred[None], frame.turned, mode="trilinear", align_corners=False)[0]
    parts = list(frame.planes_back(slabs))
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


def test_no_more_than_a_slab_is_kept():
    frame = frame_of(grid((400, 4, 4)), (0.5, 1, 1))
    given, most = 0, 0

    def slabs():
        nonlocal given
        for _ in range(80):
            given += 10
            yield torch.zeros(1, 10, 4, 4)

    made = 0
    for part in frame.planes_back(slabs()):
        made += part.shape[1]
        most = max(most, given - 2 * made)
    assert made == 400 and most <= 12


def test_labels_are_resampled_to_the_class_that_has_most_of_a_voxel():
    frame = frame_of(grid((4, 2, 2)), (2, 1, 1))
    labels = np.zeros((4, 2, 2), np.uint8)
    labels[:, 0, 0] = 0, 2, 2, 2  # half and half, then all
    found = frame.labels_forward(labels, 3)
    assert found.shape == (2, 2, 2)
    assert found[1, 0, 0] == 2 and not found[:, 1].any()


def test_a_voxel_lies_where_the_other_grid_says_it_does(rng):
    """A blob in the world is found at the same millimetres after resampling and turning."""
    where = grid((24, 30, 20), "LPS", (1.0, 0.8, 2.0))
    places = np.stack(np.meshgrid(*map(np.arange, where.shape), indexing="ij"), -1)
    world = places @ where.affine[:3, :3].T + where.affine[:3, 3]
    centre = world.reshape(-1, 3).mean(0) + np.array((2, -1.5, 3))
    blob = np.exp(-((world - centre) ** 2).sum(-1) / 18).astype(np.float32)
    frame = frame_of(where, (1.2, 1.2, 1.2))
    seen = frame.forward(blob[None])[0]
    back = torch.cat(list(frame.planes_back(iter([torch.from_numpy(seen)[None]]))), 1)[0].numpy()
    found = frame.back(back)
    assert found.shape == blob.shape
    mean = (world * found[..., None]).reshape(-1, 3).sum(0) / found.sum()
    expected = (world * blob[..., None]).reshape(-1, 3).sum(0) / blob.sum()
    assert np.abs(mean - expected).max() < 0.1


def test_a_volume_of_one_slice_or_one_voxel_is_read_from_any_side():
    for orientation, shape in (("SAL", (1, 14, 12)), ("LPS", (1, 1, 1))):
        where = grid(shape, orientation)
        assert (
            frame_of(where, (1, 1, 1)).forward(np.ones((1, *shape), np.float32)).shape[1:]
            == frame_of(where, (1, 1, 1)).shape
        )
    with pytest.raises(ValueError, match="expected a coarser spacing"):
        frame_of(grid((100, 100, 100)), (0.01, 0.01, 0.01))
