"""Augmentations: what each may do to an image and its mask, and that they are nobody else's dice."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import augment
import dataset
from augment import APPEARANCE, AUGMENTATIONS, GEOMETRY, augmented, solid
from configs import Config
from dataset import Batches, Data

STATISTICS = Config().train_mean, Config().train_std
# a strength at which each surely acts
STRONG = {
    "vertical_flip": 1.0,
    "quarter_turns": 1.0,
    "zoom": 0.5,
    "colour": 0.5,
    "blur": 1.0,
    "noise": 20.0,
    "cutout": 1.0,
}


@pytest.fixture
def picture(rng):
    """(40, 40, 3) float32 on 0..255, smooth enough that a blur is no noise."""
    return np.kron(rng.uniform(0, 255, (8, 8, 3)), np.ones((5, 5, 1))).astype(np.float32)


@pytest.fixture
def mask(rng):
    """Two planes (2, 40, 40) that make 1 together, as those of classes do."""
    plane = (np.kron(rng.random((8, 8)), np.ones((5, 5))) < 0.4).astype(np.float32)
    return np.stack((plane, 1 - plane))


def normalised(picture):
    return dataset.normalise(picture, *STATISTICS)


def on_grey_levels(image):
    return image * np.float32(STATISTICS[1]) + np.float32(STATISTICS[0])


def test_every_augmentation_is_a_field_that_is_off_and_every_field_is_an_augmentation():
    fields = {field.name: field for field in dataclasses.fields(Config)}
    group = {name for name, field in fields.items() if field.metadata["group"].title == "augmentation"}
    assert set(AUGMENTATIONS) == set(STRONG)
    assert group - {"flip", "rotate"} == {*AUGMENTATIONS, *solid.APPEARANCE}
    assert all(fields[name].default == 0.0 for name in group - {"flip", "rotate"})


def test_the_largest_zoom_moves_no_picture_out_of_itself():
    image, mask = np.ones((40, 40, 3), np.float32), np.ones((1, 40, 40), np.float32)
    for i in range(500):
        _, moved = augmented(image, mask, {"zoom": 2.0}, (0, 0, i), STATISTICS)
        assert moved.max() == 1, i


def test_without_strengths_nothing_is_touched(picture, mask):
    image = normalised(picture)
    same, same_mask = augmented(image, mask, dict.fromkeys(AUGMENTATIONS, 0.0), (0, 0, 0), STATISTICS)
    assert same is image and same_mask is mask


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_changes_a_copy_follows_from_its_seeds_and_keeps_type_shape_and_range(name, picture, mask):
    image = normalised(picture)
    before = image.copy(), mask.copy()
    made = [augmented(image, mask, {name: STRONG[name]}, (7, 1, i), STATISTICS, 1) for i in (0, 0, 1, 2)]
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1], made[1][1])
    assert any(not np.array_equal(image, other) for other, _ in made)
    for array, like in ((made[2][0], image), (made[2][1], mask)):
        assert array.dtype == np.float32 and array.shape == like.shape and array.flags.c_contiguous
    levels = on_grey_levels(made[2][0])
    assert levels.min() > -1e-3 and levels.max() < 255 + 1e-3


@pytest.mark.parametrize("name", GEOMETRY)
def test_a_mask_stays_on_its_image_and_what_comes_in_is_background(name, mask):
    """The red channel is the mask: wherever they go, they go together."""
    image = np.dstack((mask[0], mask[0], mask[0]))
    for i in range(8):
        moved, planes = augmented(image, mask, {name: STRONG[name]}, (0, 0, i), STATISTICS, 1)
        np.testing.assert_array_equal(moved[..., 0], planes[0])
        np.testing.assert_allclose(planes.sum(0), 1, atol=1e-6, err_msg="a pixel of no class")


@pytest.mark.parametrize("name", APPEARANCE)
def test_appearance_leaves_the_mask_alone(name, picture, mask):
    _, same = augmented(normalised(picture), mask, {name: STRONG[name]}, (0, 0, 0), STATISTICS)
    assert same is mask


def test_a_vertical_flip_twice_is_none(picture, mask, rng):
    once = augment.flat.vertical_flip(picture, mask, rng, 1.0, None)
    assert np.array_equal(once[0][0], picture[-1]) and np.array_equal(once[1][:, 0], mask[:, -1])
    twice = augment.flat.vertical_flip(*once, rng, 1.0, None)
    assert np.array_equal(twice[0], picture) and np.array_equal(twice[1], mask)


def test_quarter_turns_are_all_three_and_four_alike_are_none(picture, mask):
    met = set()
    for seed in range(12):
        image, planes = picture, mask
        for _ in range(4):
            image, planes = augment.flat.quarter_turns(image, planes, np.random.default_rng(seed), 1.0, None)
        assert np.array_equal(image, picture) and np.array_equal(planes, mask)
        once, _ = augment.flat.quarter_turns(picture, mask, np.random.default_rng(seed), 1.0, None)
        met |= {turns for turns in (1, 2, 3) if np.array_equal(once, np.rot90(picture, turns))}
    assert met == {1, 2, 3}


def test_an_oblong_image_is_turned_by_half(picture, mask):
    for seed in range(8):
        image, planes = augment.flat.quarter_turns(picture[:24], mask[:, :24], np.random.default_rng(seed), 1.0, None)
        assert np.array_equal(image, picture[:24][::-1, ::-1]) and np.array_equal(planes, mask[:, :24][:, ::-1, ::-1])


class Fixed:
    """A generator that draws what it is told."""

    def __init__(self, *draws):
        self._draws = list(draws)

    def uniform(self, *_):
        return self._draws.pop(0)


def test_a_zoom_by_one_is_none_and_by_two_doubles_about_the_centre(picture, mask):
    image, planes = augment.flat.zoom(picture, mask, Fixed(0.0, np.zeros(2)), 1.0, None)
    assert np.array_equal(image, picture) and np.array_equal(planes, mask)
    spot = np.zeros_like(picture)
    spot[10:30, 10:30] = 1
    large, _ = augment.flat.zoom(spot, mask, Fixed(1.0, np.zeros(2)), 1.0, None)
    assert large[1:-1, 1:-1].min() == 1, "the middle half of each side fills the picture"
    small, planes = augment.flat.zoom(np.ones_like(picture), mask, Fixed(-1.0, np.zeros(2)), 1.0, 1)
    assert small.sum() == pytest.approx(picture.size / 4, rel=0.05)
    assert planes[1, 0].min() == 1 and planes[0, 0].max() == 0


def test_a_grey_image_stays_grey_and_a_zero_strength_is_the_image_itself(picture, rng):
    grey = picture.mean(2, keepdims=True).repeat(3, 2)
    changed = augment.flat.colour(grey, rng, 0.4)
    np.testing.assert_allclose(changed, changed[..., :1].repeat(3, 2), atol=1e-3)
    assert not np.allclose(changed, grey, atol=1)
    np.testing.assert_allclose(augment.flat.colour(picture, rng, 0.0), picture, atol=1e-3)


def test_noise_is_of_at_most_the_std_that_is_given(rng):
    grey = np.full((64, 64, 3), 128, np.float32)
    stds = [augment.flat.noise(grey, rng, 20.0).std() for _ in range(40)]
    assert max(stds) < 20.5 and max(stds) > 15 and min(stds) < 5


def test_a_cutout_hides_a_box_under_the_mean_colour(picture, rng):
    hidden = augment.flat.cutout(picture, rng, 1.0)
    changed = np.argwhere((hidden != picture).any(2))
    (top, left), (bottom, right) = changed.min(0), changed.max(0) + 1
    assert 4 <= bottom - top <= 16 and 4 <= right - left <= 16
    np.testing.assert_allclose(
        hidden[top:bottom, left:right],
        np.broadcast_to(picture.mean((0, 1)), (bottom - top, right - left, 3)),
        atol=1e-3,
    )


# ------------------------------------------------------------------------------------------------ in the training data


def data_of(folder, **fields):
    return Data(Config(datapath=str(folder / "TrainDataset"), size=64, scales=(64, 80), seed=3, **fields))


def test_old_seeds_keep_their_samples(polyp_folder):
    """Flip, turn and side come from the stream that they always came from, whatever else is on."""
    data, plain = data_of(polyp_folder), data_of(polyp_folder, mode="test")
    coloured = data_of(polyp_folder, **{name: STRONG[name] for name in APPEARANCE})
    for epoch in range(4):
        rng, (image, mask, _, _) = np.random.default_rng((3, epoch, 1)), plain[epoch, 1]
        if rng.random() < 0.5:
            image, mask = dataset.flip(image, mask)
        image, mask = dataset.rotate(image, mask, rng.uniform(-10, 10))
        sample, other, scale = data[epoch, 1], coloured[epoch, 1], int(rng.choice((64, 80)))
        assert np.array_equal(sample.image, image) and np.array_equal(sample.mask, mask) and sample.scale == scale
        assert np.array_equal(other.mask, mask) and other.scale == scale and not np.array_equal(other.image, image)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_switching_the_others_on_changes_nothing_of_what_one_draws(name, picture, mask, monkeypatch):
    drawn = []

    def probe(image, *arguments):
        rng = next(argument for argument in arguments if isinstance(argument, np.random.Generator))
        drawn.append(rng.random())
        return (image, arguments[0]) if name in GEOMETRY else image

    monkeypatch.setitem(GEOMETRY if name in GEOMETRY else APPEARANCE, name, probe)
    for strengths in ({name: 1.0}, dict.fromkeys(AUGMENTATIONS, 1.0) | {"zoom": 0.1}, {name: 0.5}):
        augmented(picture, mask, strengths, (3, 1, 4), STATISTICS)
    assert len(drawn) == 3 and len(set(drawn)) == 1
    others = {augment.stream((3, 1, 4), other).random() for other in AUGMENTATIONS}
    assert len(others) == len(AUGMENTATIONS) and drawn[0] in others


def test_augmented_samples_are_the_same_whatever_the_workers_and_the_cache(polyp_folder):
    epochs = []
    for workers, cache in ((0, ""), (2, ""), (0, "ram"), (0, "ram")):
        data = data_of(polyp_folder, batch=3, cache=cache, **STRONG)
        batches = Batches(len(data), data.cfg)
        batches.start(1)
        loader = DataLoader(data, batch_sampler=batches, collate_fn=data.collate, num_workers=workers)
        epochs.append([batch for _ in range(2) for batch in loader])
    for other in epochs[1:]:
        for one, two in zip(epochs[0], other):
            assert torch.equal(one.image, two.image) and torch.equal(one.mask, two.mask) and one.names == two.names


def test_test_mode_and_the_field_of_view_follow(polyp_folder, write_png):
    """A field of view is a plane of the mask that moves with it; in test mode nothing moves."""
    for path in (polyp_folder / "TrainDataset" / "mask").iterdir():
        write_png(polyp_folder / "TrainDataset" / "seen" / path.name, cv2.imread(str(path), 0))
    geometry = {name: STRONG[name] for name in GEOMETRY}
    data = data_of(polyp_folder, field_of_view="seen", **geometry)
    mask, seen = data[0, 1].mask
    assert np.array_equal(mask, seen) and mask.any()
    still, plain = data_of(polyp_folder, mode="test", **STRONG), data_of(polyp_folder, mode="test")
    assert np.array_equal(still[0, 1].image, plain[0, 1].image)
