"""Pairs, transforms and batches: against values measured on the original."""

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import dataset
import files
from dataset import Batches, Config, Data, TestImages
from tests.conftest import GOLDEN


@pytest.mark.parametrize("case", range(4))
def test_augmentation_equals_the_originals(case):
    with np.load(GOLDEN / "augment.npz") as file:
        name, expected, expected_mask = (file[f"case{case}/{key}"] for key in ("file", "image", "mask"))
        mirrored, angle, size = file[f"case{case}/params"]
    sides = int(size), int(size)
    cfg, path = Config(), GOLDEN / "images" / "train" / str(name)
    image = dataset.resize(files.read_image(path).astype(np.float32), cfg.sides)
    image = dataset.normalise(image, cfg.train_mean, cfg.train_std)
    mask = dataset.resize(files.read_mask(path.with_suffix(".png")).astype(np.float32), cfg.sides)[None] / 255
    if mirrored:
        image, mask = dataset.flip(image, mask)
    image, (mask,) = dataset.rotate(image, mask, angle)
    image, mask = dataset.resize(image, sides), dataset.resize(mask, sides)
    assert np.abs(image.transpose(2, 0, 1) - expected).max() <= 0.03
    assert np.abs(mask - expected_mask[0]).max() <= 0.03


def test_resizing_first_equals_normalising_first(rng):
    image = rng.integers(0, 256, (217, 301, 3), np.uint8)
    cfg = Config()
    last = (image.astype(np.float64) - cfg.train_mean) / cfg.train_std
    last = cv2.resize(last, (352, 352), interpolation=cv2.INTER_LINEAR)
    first = dataset.normalise(dataset.resize(image.astype(np.float32), (352, 352)), cfg.train_mean, cfg.train_std)
    np.testing.assert_allclose(first, last, atol=2e-5)


def test_a_batch_has_one_size_of_the_scales(polyp_folder):
    data = Data(Config(datapath=str(polyp_folder / "TrainDataset"), size=96, scales=(64, 80)))
    batch = data.collate([data[0, i] for i in range(3)])
    assert batch.image.shape[0] == 3
    assert batch.image.shape[2:] in {(64, 64), (80, 80)}
    assert batch.mask.shape == (3, 1, *batch.image.shape[2:])
    assert batch.mask.min() >= 0
    assert batch.mask.max() <= 1
    sizes = {data[epoch, 0].scale for epoch in range(20)}
    assert sizes == {64, 80}


def test_samples_follow_from_seed_epoch_and_index_whatever_the_workers(polyp_folder):
    data = Data(Config(datapath=str(polyp_folder / "TrainDataset"), size=64, scales=(64,), batch=2))
    batches = Batches(len(data), data.cfg)
    runs = []
    for workers in (0, 2):
        loader = DataLoader(data, batch_sampler=batches, collate_fn=data.collate, num_workers=workers)
        runs.append(torch.cat([batch.image for batch in loader]))
    assert torch.equal(*runs)
    batches.start(1)
    other = torch.cat([batch.image for batch in DataLoader(data, batch_sampler=batches, collate_fn=data.collate)])
    assert not torch.equal(runs[0], other)


def test_no_two_workers_repeat_each_other(tmp_path, write_png, rng):
    for i in range(4):  # four equal pairs: only the random choices can tell the samples apart
        write_png(tmp_path / "image" / f"{i}.png", np.random.default_rng(0).integers(0, 255, (70, 70, 3), np.uint8))
        write_png(tmp_path / "mask" / f"{i}.png", np.full((70, 70), 255, np.uint8))
    data = Data(Config(datapath=str(tmp_path), size=64, scales=(64,)))
    loader = DataLoader(data, 1, collate_fn=data.collate, num_workers=2)
    first, second = ([batch.image for batch in loader] for _ in range(2))
    images = first + second
    assert not any(torch.equal(images[i], images[j]) for i in range(8) for j in range(i))


def test_a_mask_and_its_field_stay_on_their_image_however_it_is_turned(tmp_path, write_png):
    """Image, mask and field show one bright corner: whatever is drawn, they lie on each other."""
    corner = np.zeros((90, 120), np.uint8)
    corner[5:35, 10:50] = 255
    write_png(tmp_path / "images" / "1.png", np.dstack([corner] * 3))
    for folder in ("masks", "field"):
        write_png(tmp_path / folder / "1.png", corner)
    fields = {"datapath": str(tmp_path), "size": (90, 120), "scales": (120,), "field_of_view": "field"}
    data, places = Data(Config(**fields, train_mean=(0, 0, 0), train_std=(255, 255, 255))), set()
    for epoch in range(20):
        sample = data[epoch, 0]
        for plane in sample.mask:
            np.testing.assert_allclose(plane, sample.image[..., 0], atol=0.01)
        places.add(bool(sample.mask[0][:, :60].sum() > sample.mask[0][:, 60:].sum()))
    assert places == {True, False}, "some are mirrored and some are not"


def test_test_mode_neither_flips_nor_rotates(polyp_folder):
    data = Data(Config(datapath=str(polyp_folder / "TrainDataset"), mode="test", size=64, scales=(64,)))
    assert np.array_equal(data[0, 2].image, data[5, 2].image)


def test_a_corrupt_test_image_is_named(polyp_folder):
    folder = polyp_folder / "TestDataset" / "small" / "images"
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"001\.png cannot be decoded"):
        TestImages(folder, Config())[1]


# ---- batches, cache


def test_the_processes_of_a_run_share_each_batch_at_one_side():
    cfg = Config(batch=4, scales=(64, 96), seed=5)
    alone, *parts = Batches(9, cfg), Batches(9, cfg, 0, 2), Batches(9, cfg, 1, 2)
    for batches in (alone, *parts):
        batches.start(3)
    for whole, first, second in zip(alone, *parts, strict=True):
        assert len({key.scale for key in (*whole, *first, *second)}) == 1
        if len(whole) > 1:
            assert sorted(first + second) == sorted(whole)
        else:
            assert first == second == whole, "the one without an image stands by with the other's"
    assert [part.share(2) for part in parts] == [1.0, 0.0]
    rest = Batches(9, cfg)
    rest.start(3, done=2)
    assert list(rest) == list(alone)[2:]
    assert sorted(key.i for batch in alone for key in batch) == list(range(9))


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_a_cache_gives_the_same_numbers_and_reads_a_file_once(polyp_folder, where, monkeypatch):
    fields = {"datapath": str(polyp_folder / "TrainDataset"), "size": 64, "scales": (64,)}
    plain = Data(Config(**fields))
    cfg = Config(**fields, cache="ram" if where == "ram" else str(polyp_folder / "cache"))
    cached = Data(cfg)
    expected = [plain[epoch, i] for epoch in range(2) for i in range(6)]
    # the worker fills the cache of this process
    loader = DataLoader(cached, batch_sampler=Batches(6, cfg), collate_fn=cached.collate, num_workers=1)
    assert sum(len(batch.names) for batch in loader) == 6
    monkeypatch.setattr(dataset, "read_image", lambda path: pytest.fail(f"{path} was decoded again"))
    for sample, ours in zip(expected, (cached[epoch, i] for epoch in range(2) for i in range(6)), strict=True):
        assert np.array_equal(sample.image, ours.image)
        assert np.array_equal(sample.mask, ours.mask)


def test_a_changed_file_and_a_damaged_cache_are_read_anew(polyp_folder, write_png):
    cache = polyp_folder / "cache"
    cfg = Config(datapath=str(polyp_folder / "TrainDataset"), size=64, scales=(64,), cache=str(cache))
    before = Data(cfg)[0, 0].image
    (entry,) = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    assert np.array_equal(Data(cfg)[0, 0].image, before)
    write_png(polyp_folder / "TrainDataset" / "image" / "000.png", np.zeros((128, 160, 3), np.uint8))
    assert not np.array_equal(Data(cfg)[0, 0].image, before)
