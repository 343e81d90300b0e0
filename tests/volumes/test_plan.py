"""The plan: every number from the data, each one open to the Config."""

import numpy as np
import pytest

from volumes.plan import _patch, _spacing, _strides


def test_strides_of_the_hippocampus_are_nnunets():
    assert _strides((40, 56, 40), (1, 1, 1)) == ("1", "1", "2", "2", "2")


def test_thick_slices_are_halved_later():
    strides = _strides((16, 128, 128), (5, 0.8, 0.8))
    assert strides == ("1", "1x2x2", "1x2x2", "1x2x2", "2")
    for level in strides:
        assert level in ("1", "2") or level.startswith("1x")


@pytest.mark.parametrize("patch", [(8, 8, 8), (40, 48, 160), (128, 128, 128), (8, 256, 256)])
def test_no_axis_is_halved_away(patch):
    steps = np.array([[int(x) for x in (s.split("x") if "x" in s else [s] * 3)] for s in _strides(patch, (1, 1, 1))])
    left = np.array(patch) / steps.prod(0)
    assert left.min() >= 4
    assert (steps.prod(0) <= 32).all()


def test_the_patch_fits_the_room_and_is_as_long_in_every_direction():
    patch = _patch((512, 512, 100), (0.8, 0.8, 2.5), 2**21)
    assert np.prod(patch) <= 2**21
    mm = np.array(patch) * (0.8, 0.8, 2.5)
    assert mm.max() / mm.min() < 1.3
    assert _patch((36, 50, 35), (1, 1, 1), 2**30) == (40, 56, 40)


def test_spacing_is_the_median_and_of_slices_finer():
    assert _spacing(np.array([(1.0, 1, 1), (2, 1, 1), (3, 1, 1)])) == (2, 1, 1)
    thick = np.column_stack((np.full(11, 0.8), np.full(11, 0.8), np.linspace(2, 12, 11)))
    assert _spacing(thick) == (0.8, 0.8, 3.0)
    assert _spacing(np.full((3, 3), 0.0000123456)) == (0.00001235,) * 3
