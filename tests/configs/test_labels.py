"""Labels: one value says which grey is which class, what it is called, and what counts."""

import numpy as np
import pytest

from configs import BINARY, Config, Labels
from tests.helpers import memory_of

LAYERS = Labels((0, 80, 160, 255), ("RNFL", "GCIPL", "choroid", "background"), 255)


@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7)], ids=["picture", "volume"])
def test_planes_and_image_are_each_others_inverse(rng, shape):
    image = rng.choice(LAYERS.values, shape).astype(np.uint8)
    planes = LAYERS.planes(image)
    assert (planes.shape, planes.dtype, set(np.unique(planes))) == ((4, *shape), np.uint8, {0, 255})
    assert (planes.astype(int).sum(0) == 255).all()
    assert np.array_equal(LAYERS.image(planes.argmax(0)), image)


def test_an_image_of_labels_takes_a_byte_a_voxel(rng):
    indices = rng.integers(0, 4, (64, 32, 32), np.uint8)
    assert memory_of(lambda: LAYERS.image(indices)) < 1.5 * indices.size


def test_a_binary_mask_is_one_plane_without_a_name_as_it_is():
    mask = np.array([[0, 127, 255]], np.uint8)
    assert np.array_equal(BINARY.planes(mask), mask[None])
    assert (BINARY.count, BINARY.several, BINARY.classes, BINARY.scored, BINARY.outside) == (
        1,
        False,
        ("",),
        ("",),
        None,
    )
    assert Config().labels.classes == BINARY.classes


def test_the_background_surrounds_and_does_not_count_unless_it_is_alone_or_none():
    assert (LAYERS.scored, LAYERS.outside) == (("RNFL", "GCIPL", "choroid"), 3)
    assert (Labels((0, 1)).scored, Labels((0, 1)).outside) == (("0", "1"), None)
    assert (Labels((255,), background=255).scored, Labels((255,), background=0).outside) == (("255",), None)


def test_a_pixel_of_no_class_is_named_with_its_file_and_of_one_class_is_background():
    strange = np.array([[0, 80, 81, 82]], np.uint8)
    with pytest.raises(ValueError, match=r"a\.png holds 81, 82 \(2 pixels\), not among label_values 0, 80, 160, 255"):
        LAYERS.planes(strange, "a.png")
    assert Labels((80,)).planes(strange).tolist() == [[[0, 255, 0, 0]]]


def test_what_cannot_be_is_refused_in_the_words_of_config_by_every_tool_that_asks():
    with pytest.raises(ValueError, match=r"label_values is \(0, 0\); expected each value once"):
        Labels((0, 0))
    with pytest.raises(ValueError, match=r"class_names is \('a',\); expected one name per label value, of 2"):
        Labels((0, 1), ("a",))
