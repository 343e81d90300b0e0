"""Pairs, transforms and batches: against values measured on the original, and against hostile folders."""

import os
import shutil
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import dataset
import files
from configs import Labels
from dataset import Batches, Config, Data, TestImages
from files import MemoryCache, find_pairs
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


@pytest.mark.parametrize(("images", "masks"), [("images", "masks"), ("Image", "Mask"), ("images", "mask")])
def test_folder_names_nesting_and_formats_are_found(tmp_path, write_png, images, masks):
    root = tmp_path / "TrainDataset" / "TrainDataset"
    picture = np.zeros((8, 9, 3), np.uint8)
    for name, suffix in (("a b (1)", ".jpg"), ("é", ".bmp"), ("c", ".TIF")):
        write_png(root / images / (name + suffix), picture)
        write_png(root / masks / (name + ".png"), picture)
    (root / images / ".DS_Store").write_text("")
    assert [pair.name for pair in find_pairs(tmp_path / "TrainDataset")] == ["a b (1)", "c", "é"]


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda root: shutil.rmtree(root), FileNotFoundError, "no folder .*TrainDataset; check datapath"),
        (lambda root: shutil.rmtree(root / "mask"), FileNotFoundError, "holds image; expected image/ .* mask/"),
        (lambda root: (root / "mask" / "003.png").unlink(), ValueError, "6 images .* 5 masks; 1 without mask.*003.png"),
        (lambda root: (root / "image" / "000.png").unlink(), ValueError, "5 images .* 6 masks; 1 without image.*000"),
        (
            lambda root: shutil.copy(root / "image" / "001.png", root / "image" / "001.bmp"),
            ValueError,
            "share the name",
        ),
        (lambda root: [path.unlink() for path in (root / "image").iterdir()], ValueError, "holds no image"),
    ],
)
def test_folders_that_do_not_pair_are_refused_naming_the_first_offender(polyp_folder, harm, error, message):
    root = polyp_folder / "TrainDataset"
    harm(root)
    with pytest.raises(error, match=message):
        find_pairs(root)


def truncate(root):
    path = root / "image" / "002.png"
    path.write_bytes(path.read_bytes()[:500])


def shrink(root):
    cv2.imwrite(str(root / "mask" / "002.png"), np.zeros((20, 30), np.uint8))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (truncate, r"002\.png cannot be decoded"),
        (lambda root: (root / "mask" / "004.png").write_bytes(b""), r"004\.png cannot be decoded"),
        (lambda root: (root / "mask" / "004.png").write_text("<html>"), r"004\.png cannot be decoded"),
        (lambda root: cv2.imwrite(str(root / "mask/004.png"), np.full((128, 160), 38, np.uint8)), "no value above 38"),
        (shrink, r"002\.png is 30x20 but its image .* is 160x128"),
    ],
)
def test_the_check_refuses_damaged_files_naming_the_first(polyp_folder, harm, message):
    root = polyp_folder / "TrainDataset"
    harm(root)
    with pytest.raises(ValueError, match=message):
        files.check_pairs(find_pairs(root))


def test_the_check_counts_what_it_saw(polyp_folder, write_png):
    root = polyp_folder / "TrainDataset"
    mask = cv2.imread(str(root / "mask" / "002.png"), cv2.IMREAD_GRAYSCALE)
    write_png(root / "mask" / "002.png", mask // 255)
    found = files.check_pairs(find_pairs(root))
    assert (found.pairs, len(found.empty), found.binary) == (6, 1, ("002",))
    assert found.largest == (131, 173)
    assert "1 masks valued 0/1, read as 0/255 (first 002)" in str(found)
    with pytest.warns(UserWarning, match="valued 0/1"):
        assert np.array_equal(files.read_mask(root / "mask" / "002.png"), mask)


def test_grey_maps_of_any_depth_are_read_and_the_conversion_is_named(tmp_path, write_png, rng):
    from PIL import Image

    grey = rng.integers(0, 256, (7, 9), np.uint8)
    assert files.read_map(write_png(tmp_path / "8.png", grey))[1] == ""
    deep, note = files.read_map(write_png(tmp_path / "16.png", grey.astype(np.uint16) * 257))
    assert note == "16-bit"
    assert np.array_equal(deep, grey)
    colour, note = files.read_map(write_png(tmp_path / "rgb.png", np.dstack([grey] * 3)))
    assert note == "RGB"
    assert np.array_equal(colour, grey)
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    palette, note = files.read_map(tmp_path / "palette.png")
    assert note == "palette"
    assert np.array_equal(palette, grey)


def test_a_corrupt_test_image_is_named(polyp_folder):
    folder = polyp_folder / "TestDataset" / "small" / "images"
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"001\.png cannot be decoded"):
        TestImages(folder, Config())[1]


# ------------------------------------------------------------------------------------------- batches, cache, groups


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


def test_a_cache_that_memory_cannot_hold_is_refused():
    with pytest.raises(MemoryError, match="cache=ram needs .* give a folder instead"):
        MemoryCache(10**9, (352, 352, 4))


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"clip{clip}/{frame}" for clip in range(5) for frame in range(4)], ""),
        ([f"volume-{v}_slice_{s}" for v in range(5) for s in range(4)], r"^(volume-\d+)_"),
    ],
)
def test_a_validation_split_keeps_clips_and_volumes_whole(names, pattern):
    pairs = [dataset.Pair(name, None, ()) for name in names]
    training, held = files.split_pairs(pairs, 0.4, 1, pattern)
    assert (len(training), len(held)) == (12, 8)
    of = [{files.group_of(pair.name, pattern) for pair in part} for part in (training, held)]
    assert not of[0] & of[1]
    with pytest.raises(ValueError, match=r"form 1 group\(s\)"):
        files.split_pairs(pairs[:4], 0.4, 1, pattern)


# ------------------------------------------------------------------------------------------------- public layouts


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("TrainDataset/images/{}.png", "TrainDataset/masks/{}.png"),
        ("Imgs/{}.jpg", "GT/{}.png"),
        ("Frame/clip1/{}.jpg", "GT/clip1/{}.png"),
        ("TrainDataset/TrainDataset/image/{}.png", "TrainDataset/TrainDataset/mask/{}.png"),
        ("Image/{}.png", "Layer_Masks/{}.png"),
        ("images/{}.jpg", "GroundTruth/{}_segmentation.png"),
        ("images/{}_training.tif", "1st_manual/{}_manual1.png"),
        ("images/{} (é).png", "masks/{} (é)_mask.png"),
        ("imagesTr/case_{}_0000.png", "labelsTr/case_{}.png"),
        ("images/{}.png", "labels/mask_{}.png"),
        ("images/a/scan_{}_img.png", "Ground_Truth/a/scan_{}_seg.png"),
        ("{}.png", "{}_lesion.png"),
        ("image_{}.png", "mask_{}.png"),
        ("a/{}_img.png", "a/{}_seg.png"),
        ("CVC-ClinicDB/Original/{}.tif", "CVC-ClinicDB/Ground Truth/{}.tif"),
        ("Tissue_Images/{}.png", "Binary_masks/{}.png"),
        ("organ/tissue images/{}.png", "organ/mask binary/{}.png"),
        ("img_dir/train/{}.png", "ann_dir/train/{}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("photos/images/{}.webp", "photos/masks/{}.webp"),
    ],
)
def test_public_layouts_pair_by_name(tmp_path, write_png, images, masks):
    for number, value in (("21", 255), ("22", 200)):
        write_png(tmp_path / images.format(number), np.full((70, 80, 3), value, np.uint8))
        write_png(tmp_path / masks.format(number), np.full((70, 80), value, np.uint8))
    write_png(tmp_path / "mask" / "21_training_mask.png", np.zeros((70, 80), np.uint8)) if "manual1" in masks else None
    root = tmp_path / "TrainDataset" if images.startswith("TrainDataset") else tmp_path
    pairs = find_pairs(root)
    assert len(pairs) == 2
    for pair, value in zip(pairs, (255, 200), strict=True):
        assert files.read_mask(*pair.masks).max() == value, "the mask is its image's own"
        assert abs(int(files.read_image(pair.image).mean()) - value) <= 1


@pytest.mark.parametrize(
    ("masks", "others"),
    [
        ("Binary_masks", ("Label_masks", "Index_masks", "Masks", "Annotations")),
        ("mask binary", ("mask binary without border", "label masks", "distance maps")),
        ("SegmentationClass", ("SegmentationObject", "Annotations", "SegmentationClass_aug")),
    ],
)
def test_of_several_folders_of_masks_the_binary_one_is_read(tmp_path, write_png, masks, others):
    write_png(tmp_path / "images" / "1.png", IMAGE)
    for folder in (masks, *others):
        write_png(tmp_path / folder / "1.png", blob(0))
    assert find_pairs(tmp_path)[0].masks == (tmp_path / masks / "1.png",)


def test_two_masks_of_one_image_are_refused_by_name(tmp_path, write_png):
    write_png(tmp_path / "images" / "1.png", np.zeros((70, 80, 3), np.uint8))
    for name in ("1", "1_mask"):
        write_png(tmp_path / "masks" / f"{name}.png", np.zeros((70, 80), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png has masks of several kinds, 1\.png, 1_mask\.png; keep one"):
        find_pairs(tmp_path)


def blob(left: int, shape=(70, 80), value=255, dtype=np.uint8) -> np.ndarray:
    mask = np.zeros(shape, dtype)
    mask[10:20, left : left + 10] = value
    return mask


IMAGE = np.full((70, 80, 3), 90, np.uint8)


def test_busi_images_and_masks_in_one_folder(tmp_path, write_png):
    for name, lefts in (("benign/benign (1)", [0]), ("benign/benign (2)", [0, 30]), ("normal/normal (1)", [])):
        write_png(tmp_path / f"{name}.png", IMAGE)
        for i, left in enumerate(lefts or [80]):
            write_png(tmp_path / f"{name}_mask{f'_{i}' if i else ''}.png", blob(left))
    found = find_pairs(tmp_path)
    assert [pair.name for pair in found] == ["benign/benign (1)", "benign/benign (2)", "normal/normal (1)"]
    areas = [int((files.read_mask(*pair.masks) > 0).sum()) for pair in found]
    assert areas == [100, 200, 0]
    assert (files.check_pairs(found).merged, files.check_pairs(found).empty) == (
        ("benign/benign (2)",),
        ("normal/normal (1)",),
    )
    assert len(find_pairs(tmp_path, include="^(benign|malignant)/")) == 2
    with pytest.raises(ValueError, match=r"include is 'benin', which none of the 3 names holds"):
        find_pairs(tmp_path, include="benin")
    assert list(files.find_images(tmp_path)) == [pair.name for pair in found], "no mask is taken for an image"
    assert files.find_masks(tmp_path) == {pair.name: pair.masks for pair in found}
    (tmp_path / "benign" / "benign (1)_mask.png").unlink()
    with pytest.raises(ValueError, match=r"1 without mask, first .*benign \(1\)\.png"):
        find_pairs(tmp_path)


def test_nuclei_one_mask_each_are_merged(tmp_path, write_png):
    for number in ("0a", "1b"):
        picture = np.dstack([IMAGE, np.full((70, 80), 255, np.uint8)])  # RGBA, as downloaded
        write_png(tmp_path / number / "images" / f"{number}.png", picture)
        for i, name in enumerate(("ffe", "eef", "abc")):
            write_png(tmp_path / number / "masks" / f"{name}.png", blob(20 * i))
    found = find_pairs(tmp_path)
    assert [pair.name for pair in found] == ["0a/0a", "1b/1b"]
    assert files.read_image(found[0].image).shape == (70, 80, 3)
    assert [(files.read_mask(*pair.masks) > 0).sum() for pair in found] == [300, 300]
    assert list(files.find_images(tmp_path)) == ["0a/0a", "1b/1b"]


def test_clips_with_their_own_frames_and_masks(tmp_path, write_png):
    for clip in ("CVC-300/Train/1", "CVC-300/Train/2", "CVC-612/Train/1"):
        for frame in ("f1", "f2"):
            write_png(tmp_path / clip / "Frame" / f"{frame}.jpg", IMAGE)
            write_png(tmp_path / clip / "GT" / f"{frame}.png", blob(0))
    found = find_pairs(tmp_path)
    assert [pair.name for pair in found][:3] == ["CVC-300/Train/1/f1", "CVC-300/Train/1/f2", "CVC-300/Train/2/f1"]
    assert {files.group_of(pair.name) for pair in found} == {"CVC-300/Train/1", "CVC-300/Train/2", "CVC-612/Train/1"}
    assert files.find_masks(tmp_path).keys() == files.find_images(tmp_path).keys()


def test_sun_seg_keeps_its_cases_of_seen_and_unseen(tmp_path, write_png):
    for part, case in (("Seen", "case10_3"), ("Seen", "case14_1"), ("Unseen", "case1_1")):
        root = tmp_path / "TestEasyDataset" / part
        write_png(root / "Frame" / case / "case_M_20181001094511_a1-b2_image0001.jpg", IMAGE)
        write_png(root / "GT" / case / "case_M_20181001094511_a1-b2_image0001.png", blob(0))
    found = find_pairs(tmp_path / "TestEasyDataset")
    assert {files.group_of(pair.name) for pair in found} == {"Seen/case10_3", "Seen/case14_1", "Unseen/case1_1"}
    assert (
        files.find_masks(tmp_path / "TestEasyDataset").keys() == files.find_images(tmp_path / "TestEasyDataset").keys()
    )
    assert len(find_pairs(tmp_path / "TestEasyDataset", include="^Unseen/")) == 1


def test_the_jpeg_masks_of_kvasir_are_binary_but_for_their_edges(tmp_path, write_png):
    y, x = np.mgrid[:531, :622]
    disc = ((((y - 250) ** 2 + (x - 300) ** 2) < 120**2) * 255).astype(np.uint8)
    name = "cju0qkwl35piu0993l0dewei2"
    write_png(tmp_path / "Kvasir-SEG" / "images" / f"{name}.jpg", np.dstack([disc // 2 + 40] * 3))
    write_png(tmp_path / "Kvasir-SEG" / "masks" / f"{name}.jpg", np.dstack([disc] * 3))
    (tmp_path / "Kvasir-SEG" / "kavsir_bboxes.json").write_text("{}")
    (pair,) = find_pairs(tmp_path / "Kvasir-SEG")
    check = files.check_pairs([pair])
    assert len(check.values) > 2, "JPEG leaves greys near black and white"
    assert check.covered == pytest.approx((disc > 0).mean(), rel=0.01)


def test_isic_folders_and_names(tmp_path, write_png):
    write_png(tmp_path / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000000.jpg", IMAGE)
    write_png(tmp_path / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_0000000_segmentation.png", blob(0))
    assert [pair.name for pair in find_pairs(tmp_path)] == ["ISIC_0000000"]


def test_gif_masks_and_deep_masks_keep_their_lesion(tmp_path, write_png):
    from PIL import Image

    Image.fromarray(blob(5)).save(tmp_path / "a_manual1.gif")
    assert np.array_equal(files.read_mask(tmp_path / "a_manual1.gif"), blob(5))
    Image.fromarray(IMAGE).save(tmp_path / "a.gif")
    assert np.abs(files.read_image(tmp_path / "a.gif").astype(int) - IMAGE).max() <= 1
    for value in (255, 65535):  # OpenCV would read the first as empty
        deep = write_png(tmp_path / f"{value}.png", blob(5, value=value, dtype=np.uint16))
        assert np.array_equal(files.read_mask(deep), blob(5))


def test_an_image_turned_by_exif_is_one_way_up_everywhere(tmp_path, write_png):
    from PIL import Image

    stored = np.zeros((60, 90, 3), np.uint8)
    stored[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: 90 rows of 60 pixels, the first 30 bright
    (tmp_path / "images").mkdir()
    Image.fromarray(stored).save(tmp_path / "images" / "1.png", exif=exif)
    assert files.read_image(tmp_path / "images" / "1.png").shape == (90, 60, 3)
    assert files.read_image(tmp_path / "images" / "1.png")[:30].mean() > 250
    sample = TestImages(tmp_path / "images", Config())[0]
    assert (sample.height, sample.width) == (90, 60)
    assert sample.image[0, :100].mean() > sample.image[0, 200:].mean() + 1
    write_png(tmp_path / "masks" / "1.png", blob(0, (60, 90)))
    with pytest.raises(ValueError, match=r"1\.png is 90x60 but its image .* is 60x90, turned as its EXIF says"):
        files.check_pairs(find_pairs(tmp_path))


def test_parts_of_a_mask_must_be_of_one_size(tmp_path, write_png):
    parts = [write_png(tmp_path / "a.png", blob(0)), write_png(tmp_path / "b.png", blob(0, (70, 81)))]
    with pytest.raises(ValueError, match=r"b\.png is 81x70 but .*a\.png, of the same image, is 80x70"):
        files.read_mask(*parts)


def test_a_suffix_that_nobody_foresaw_is_understood_where_all_masks_share_it(tmp_path, write_png):
    for i, name in enumerate(("1", "10", "2 b")):
        write_png(tmp_path / "images" / f"{name}.png", IMAGE)
        write_png(tmp_path / "masks" / f"{name}_polyp.png", blob(10 * i))
    with pytest.warns(UserWarning, match="masks are named like 10_polyp: '_polyp' is taken for what all masks end in"):
        pairs = find_pairs(tmp_path)
    assert [(pair.name, pair.masks[0].name) for pair in pairs] == [
        ("1", "1_polyp.png"),
        ("10", "10_polyp.png"),
        ("2 b", "2 b_polyp.png"),
    ]
    (tmp_path / "masks" / "10_polyp.png").rename(tmp_path / "masks" / "10_other.png")
    with pytest.raises(
        ValueError, match=r"3 without mask, first .*1\.png: .* Or is 10_other\.png its mask\? Name both"
    ):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (("1", "2", "3"), ("10", "20", "30")),
        (("frame_000", "frame_001"), ("frame_0000", "frame_0010")),
        (("scan-1", "scan-2"), ("scan-1-01", "scan-2-01")),
        (("a", "b"), ("apolyp", "bpolyp")),
    ],
)
def test_an_end_that_is_no_word_is_no_suffix(tmp_path, write_png, images, masks):
    for name in images:
        write_png(tmp_path / "images" / f"{name}.png", IMAGE)
    for name in masks:
        write_png(tmp_path / "masks" / f"{name}.png", blob(0))
    with pytest.raises(ValueError, match=rf"{len(images)} without mask, first .*{images[0]}\.png.* Name both alike"):
        find_pairs(tmp_path)
    named = {name: (tmp_path / f"{name}.png",) for name in masks}
    assert files.by_image(dict.fromkeys(images, tmp_path), named) == named, "scoring and panels pair as training"


@pytest.mark.parametrize("mark", ["_", "-", " ", "."])
def test_a_suffix_stands_behind_any_mark(tmp_path, write_png, mark):
    for word in ("mask", "polyp"):
        root = tmp_path / word
        for name in ("1", "2"):
            write_png(root / "images" / f"{name}.png", IMAGE)
            write_png(root / "masks" / f"{name}{mark}{word}.png", blob(0))
    assert [pair.name for pair in find_pairs(tmp_path / "mask")] == ["1", "2"]
    with pytest.warns(UserWarning, match=f"'{mark}polyp' is taken"):
        assert [pair.name for pair in find_pairs(tmp_path / "polyp")] == ["1", "2"]


def chase(tmp_path, write_png) -> None:
    for eye in ("Image_01L", "Image_01R"):
        write_png(tmp_path / f"{eye}.jpg", IMAGE)
        for left, observer in ((0, "1stHO"), (30, "2ndHO")):
            write_png(tmp_path / f"{eye}_{observer}.png", blob(left))


def test_two_observers_are_not_merged_and_a_setting_chooses_one(tmp_path, write_png):
    chase(tmp_path, write_png)
    with pytest.raises(ValueError, match=r"Image_01L\.jpg has masks of .*: --observer 1stHO or --observer 2ndHO"):
        find_pairs(tmp_path)
    for observer, left in (("1stHO", 0), ("2ndho", 30)):
        found = find_pairs(tmp_path, observer=observer)
        assert [pair.name for pair in found] == ["Image_01L", "Image_01R"]
        assert np.array_equal(files.read_mask(*found[0].masks), blob(left))
        assert files.find_masks(tmp_path, observer=observer) == {pair.name: pair.masks for pair in found}
    with pytest.raises(ValueError, match=r"no mask of observer 'first', only Image_01L_1stHO\.png, .*; check observer"):
        find_pairs(tmp_path, observer="first")
    assert list(files.find_images(tmp_path)) == ["Image_01L", "Image_01R"], "to predict, it does not matter whose"


def test_an_observer_may_be_a_folder(tmp_path, write_png):
    write_png(tmp_path / "images" / "01_test.png", IMAGE)
    for folder, word, left in (("1st_manual", "manual1", 0), ("2nd_manual", "manual2", 30)):
        write_png(tmp_path / folder / f"01_{word}.png", blob(left))
    for observer, left in (("", 0), ("manual1", 0), ("2nd_manual", 30)):
        (pair,) = find_pairs(tmp_path, observer=observer)
        assert np.array_equal(files.read_mask(*pair.masks), blob(left))


def test_fields_of_view_may_lie_apart(tmp_path, write_png):
    """As CHASE_DB1's do, which others drew: given as a path from the data set."""
    chase(tmp_path / "CHASEDB1", write_png)
    for eye in ("Image_01L", "Image_01R"):
        write_png(tmp_path / "fields" / "masks" / f"{eye}.png", blob(0))
    for root, path in (
        (tmp_path / "CHASEDB1", "../fields/masks"),
        (tmp_path / "CHASEDB1", str(tmp_path / "fields/masks")),
    ):
        found = find_pairs(root, field_of_view=path, observer="1stHO")
        assert [pair.within.parent.name for pair in found] == ["masks", "masks"]
    pair_at(write_png, tmp_path / "clips", "a", "1/images", "1/masks")
    pair_at(write_png, tmp_path / "clips", "a", "2/images", "2/masks")
    for clip in "12":
        write_png(tmp_path / "clips" / "fov" / clip / "a.png", blob(0))
    assert [pair.within.parent.name for pair in find_pairs(tmp_path / "clips", field_of_view="./fov")] == ["1", "2"]
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent/masks; check field_of_view, a path from"):
        find_pairs(tmp_path / "CHASEDB1", field_of_view="absent/masks")


# ----------------------------------------------------------------------- what must not be paired, skipped or lost


def pair_at(write_png, root, name, images="images", masks="masks", mask=None):
    """One image and its mask; None for a folder leaves that half out."""
    if images:
        write_png(root / images / f"{name}.png", IMAGE)
    if masks:
        write_png(root / masks / f"{name}.png", blob(0) if mask is None else mask)


def test_half_a_clip_is_refused_by_name_unless_include_leaves_it_out(tmp_path, write_png):
    for clip in "ab":
        pair_at(write_png, tmp_path / clip, "1")
    pair_at(write_png, tmp_path / "c", "1", masks=None)
    with pytest.raises(ValueError, match=r"c/images has no masks beside it, where other folders have"):
        find_pairs(tmp_path)
    assert [pair.name for pair in find_pairs(tmp_path, include="^[ab]/")] == ["a/1", "b/1"]
    assert list(files.find_images(tmp_path)) == ["a/1", "b/1", "c/1"], "to predict, no masks are needed"


def test_two_folders_that_could_both_be_the_images_are_refused(tmp_path, write_png):
    for part in ("Training", "Test"):
        write_png(tmp_path / f"ISIC2018_Task1-2_{part}_Input" / "1.jpg", IMAGE)
        write_png(tmp_path / f"ISIC2018_Task1_{part}_GroundTruth" / "1_segmentation.png", blob(0))
    with pytest.raises(ValueError, match=r"holds ISIC.*_Test_Input and ISIC.*_Training_Input, one as good"):
        find_pairs(tmp_path)


def test_the_field_of_view_of_drives_test_set_is_no_label(tmp_path, write_png):
    write_png(tmp_path / "images" / "01_test.tif", IMAGE)
    write_png(tmp_path / "mask" / "01_test_mask.png", blob(0))
    with pytest.raises(ValueError, match=r"mask holds fields of view, not labels.*give --field_of_view mask"):
        find_pairs(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"beside mask/ .*\(mask/ is the field of view\)"):
        find_pairs(tmp_path, field_of_view="mask")
    assert list(files.find_images(tmp_path)) == ["01_test"]


def test_images_are_found_in_every_folder_without_masks(tmp_path, write_png):
    for i in range(3):
        pair_at(write_png, tmp_path / "stage1_test" / f"id{i}", f"id{i}", masks=None)
    assert list(files.find_images(tmp_path / "stage1_test")) == ["id0/id0", "id1/id1", "id2/id2"]
    write_png(tmp_path / "photos" / "a.png", IMAGE)
    write_png(tmp_path / "photos" / "im" / "b.png", IMAGE)
    assert list(files.find_images(tmp_path / "photos")) == ["a", "im/b"]


def test_masks_of_other_images_are_not_merged_into_a_lone_image(tmp_path, write_png):
    pair_at(write_png, tmp_path, "img7", masks=None)
    for name in ("img8", "img9"):
        pair_at(write_png, tmp_path, name, images=None)
    with pytest.raises(ValueError, match=r"1 without mask, first .*img7\.png"):
        find_pairs(tmp_path)


def test_links_are_followed_once_and_leftovers_of_archives_are_not_images(tmp_path, write_png):
    for clip in "ab":
        pair_at(write_png, tmp_path / "store", f"{clip}/1")
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / folder / "a").symlink_to(tmp_path / "store" / folder / "a")
        (tmp_path / "set" / folder / "again").symlink_to(tmp_path / "store" / folder / "a")
        write_png(tmp_path / "set" / "__MACOSX" / folder / "x.png", IMAGE)
    (tmp_path / "set" / "images" / "loop").symlink_to(tmp_path / "set")
    assert [pair.name for pair in find_pairs(tmp_path / "set")] == ["a/1"]


def test_a_name_is_the_same_however_its_accents_are_written(tmp_path, write_png):
    write_png(tmp_path / "images" / "caf\u00e9.png", IMAGE)
    write_png(tmp_path / "masks" / "cafe\u0301.png", blob(0))
    assert [pair.name for pair in find_pairs(tmp_path)] == ["caf\u00e9"]


def test_an_exact_name_comes_before_a_likely_one(tmp_path, write_png):
    for name in ("1", "1_test"):
        write_png(tmp_path / "images" / f"{name}.png", IMAGE)
        write_png(tmp_path / "masks" / f"{name}_mask.png", blob(0))
    assert [pair.masks[0].name for pair in find_pairs(tmp_path)] == ["1_mask.png", "1_test_mask.png"]


def test_include_spares_what_it_leaves_out(tmp_path, write_png):
    write_png(tmp_path / "benign" / "benign (1).png", IMAGE)
    write_png(tmp_path / "benign" / "benign (1)_mask.png", blob(0))
    write_png(tmp_path / "normal" / "normal (1).png", IMAGE)
    assert [pair.name for pair in find_pairs(tmp_path, "^benign/")] == ["benign/benign (1)"]
    assert list(files.find_masks(tmp_path, "^benign/")) == ["benign/benign (1)"]


def test_volumes_are_refused_in_words(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "colon_001.nii.gz").write_bytes(b"x")
        (tmp_path / folder / "._colon_001.nii.gz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"imagesTr holds volumes, such as colon_001\.nii\.gz; export their slices"):
        find_pairs(tmp_path)


def instances(path):
    mask = np.zeros((60, 70), np.uint8)
    for i in range(20):
        mask[2 * i + 2 : 2 * i + 4, 5:65] = 12 * i + 3
    cv2.imwrite(str(path), mask)


def colours(path):
    mask = np.zeros((60, 70, 3), np.uint8)
    mask[10:20, 10:40], mask[30:50, 10:40] = (0, 0, 255), (0, 255, 0)
    cv2.imwrite(str(path), mask)


def transparent(path):
    cv2.imwrite(str(path), np.dstack([np.zeros((60, 70, 3), np.uint8), blob(0, (60, 70))]))


def transparent_image(path):
    path.write_bytes(cv2.imencode(".png", np.dstack([np.zeros((70, 80, 3), np.uint8), blob(0)]))[1])


def animated(path):
    from PIL import Image

    frames = [Image.fromarray(blob(left, (60, 70))) for left in (0, 20)]
    frames[0].save(path, format="TIFF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (instances, r"m\.png has areas of grey \d+, neither lesion nor background.*Give classes and label_values"),
        (colours, r"m\.png has areas of grey (76|149|150), neither lesion"),
        (transparent, r"m\.png has all it shows in its transparency; save it as grey"),
        (animated, r"m\.png holds 2 pictures; expected one"),
        (
            lambda path: cv2.imwrite(str(path), np.arange(4200, dtype=np.uint16).reshape(60, 70) % 301),
            r"m\.png has 16-bit values up to 300; expected 255 or 65535",
        ),
        (
            lambda path: path.write_bytes(cv2.imencode(".tif", np.ones((60, 70), np.float32))[1].tobytes()),
            r"m\.png holds float32 values; save it with 8 bits",
        ),
    ],
)
def test_masks_whose_lesion_would_be_lost_are_refused(tmp_path, write_png, make, message):
    image, mask = write_png(tmp_path / "i.png", np.zeros((60, 70, 3), np.uint8)), tmp_path / "m.png"
    make(mask)
    with pytest.raises(ValueError, match=message):
        files.check_pairs([files.Pair("i", image, (mask,))])


def test_soft_edges_are_no_areas_of_grey(tmp_path, write_png):
    y, x = np.mgrid[:300, :400]
    disc = ((((y - 150) ** 2 + (x - 200) ** 2) < 90**2) * 255).astype(np.uint8)
    image = write_png(tmp_path / "i.png", np.zeros((300, 400, 3), np.uint8))
    blurred = cv2.GaussianBlur(disc, (0, 0), 3)
    small = cv2.resize(cv2.resize(disc, (40, 30), interpolation=cv2.INTER_AREA), (400, 300))
    for name, mask in (("jpeg.jpg", disc), ("blurred.png", blurred), ("small.png", small)):
        files.check_pairs([files.Pair("i", image, (write_png(tmp_path / name, mask),))])


def test_sixteen_bit_images_are_the_same_in_training_and_prediction(tmp_path, write_png, rng):
    grey = rng.integers(0, 256, (70, 80), np.uint8)
    deep = write_png(tmp_path / "images" / "a.png", grey.astype(np.uint16) * 257)
    write_png(tmp_path / "images" / "b.png", grey)
    assert np.array_equal(files.read_image(deep)[..., 0], grey)
    images = TestImages(tmp_path / "images", Config())
    assert torch.equal(images[0].image, images[1].image)
    write_png(deep, grey.astype(np.uint16) * 16)  # twelve bits in sixteen
    pair = files.Pair("a", deep, (write_png(tmp_path / "m.png", blob(0)),))
    with pytest.raises(ValueError, match=r"a\.png has 16-bit values up to 4080, all but black"):
        files.check_pairs([pair])


def test_scoring_reads_a_mask_as_training_does(tmp_path, write_png):
    deep = write_png(tmp_path / "deep.png", blob(0, value=1, dtype=np.uint16))
    parts = (write_png(tmp_path / "0.png", blob(0, value=1)), write_png(tmp_path / "1.png", blob(30)))
    for paths in ((deep,), parts):
        with pytest.warns(UserWarning, match="valued 0/1"):
            trained = files.read_mask(*paths) > 127
        scored, _ = files.read_gt(paths)
        assert np.array_equal(scored > scored.max() // 2, trained)
    with pytest.raises(ValueError, match=r"other\.png is 40x30 but .*1\.png"):
        files.read_gt((parts[1], write_png(tmp_path / "other.png", blob(0, (30, 40)))))


def test_a_long_name_is_written_whole(tmp_path):
    files.write_maps(tmp_path, "x" * 250, np.zeros((1, 8, 8), np.float32), 8, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 250 + ".png"]


# -------------------------------------------------------------------------------------------------- hostile files


def bomb(path):
    """A GIF of 200 bytes that claims 60000 x 60000 pixels."""
    path.write_bytes(
        b"GIF89a" + (60000).to_bytes(2, "little") * 2 + b"\x80\0\0" + b"\0" * 6 + b",\0\0\0\0" + b"\x60\xea" * 2
    )


def cut_tiff(path):
    """A TIFF whose directory points beyond its end."""
    path.write_bytes(cv2.imencode(".tif", IMAGE)[1].tobytes()[:60])


def cut_gif(path):
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (70, 80), np.uint8)
    Image.fromarray(noise).save(path, format="GIF")
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("make", [bomb, cut_tiff, cut_gif])
def test_a_hostile_file_is_one_error_that_names_it_wherever_it_is_read(tmp_path, write_png, make):
    hostile, sound = tmp_path / "hostile.gif", write_png(tmp_path / "sound.png", blob(0))
    make(hostile)
    for read in (
        files.read_image,
        files.read_mask,
        files.read_map,
        lambda path: files.read_gt([path]),
        lambda path: files.read_labels([path], Labels((0, 1))),
        lambda path: TestImages({"x": path}, Config())[0],
        lambda path: files.check_pairs([files.Pair("x", path, (sound,))]),
        lambda path: files.check_pairs([files.Pair("x", sound, (path,))]),
    ):
        with pytest.raises(ValueError, match=r"hostile\.gif cannot be decoded \(.+\); replace it$"):
            read(hostile)


@pytest.mark.parametrize("kind", [IndexError, TypeError, struct.error, zlib.error, EOFError])
def test_whatever_a_decoder_raises_names_the_file(kind):
    with (
        pytest.raises(ValueError, match=r"^a\.png cannot be decoded \((of its own|\w+)\); replace it$"),
        files.decoding("a.png"),
    ):
        raise kind("of its own")


def test_a_full_memory_names_the_file_and_does_not_blame_it():
    with pytest.raises(MemoryError, match=r"^a\.png finds no room in memory"), files.decoding("a.png"):
        raise MemoryError("of its own")


# ---------------------------------------------------------------------------- masks that are labels, and inverted ones


def labelled(values, shape=(70, 80)) -> np.ndarray:
    """A background of 0, and a block of each value."""
    mask = np.zeros(shape, np.uint8)
    for i, value in enumerate(values):
        mask[10:20, 12 * i + 2 : 12 * i + 10] = value
    return mask


@pytest.mark.parametrize("values", [(1, 255), (1, 2, 3, 255), (2, 254), (1, 200)])
def test_labels_beside_what_is_to_be_ignored_are_no_mask_for_any_reader(tmp_path, write_png, values):
    from report.cases import Case
    from report.reading import How
    from report.scoring import score_files

    mask, image = write_png(tmp_path / "m.png", labelled(values)), write_png(tmp_path / "i.png", IMAGE)
    sound = write_png(tmp_path / "n.png", blob(0))
    said = rf"m\.png holds {values[0]}.* pixels\) and {values[-1]} \(80\): a lesion of 1, and {values[-1]} for what"
    for read in (
        lambda: files.read_mask(mask),
        lambda: files.read_mask(mask, sound),
        lambda: files.check_pairs([files.Pair("i", image, (mask,))]),
        lambda: score_files([Case(str(sound), (str(mask),))], How("official")),
        lambda: score_files([Case(str(sound), (str(mask), str(sound)))], How("official")),
    ):
        with pytest.raises(ValueError, match=said):
            read()
    score_files([Case(str(mask), (str(sound),))], How("official"))  # a map may hold any value
    labels = Labels((0, *values))
    assert len(files.read_planes([mask], labels)) == labels.count, "as label images they are read"


def test_a_mask_of_jpeg_or_with_soft_edges_is_no_label_image(tmp_path, write_png, rng):
    """CVC-ClinicDB has a mask with flat areas of 11, and values from 8 to 28; Kvasir's hold 0..7 and 248..255."""
    flat = blob(0)
    flat[40:50, 10:40], flat[40, 10] = 11, 28
    noise = blob(0).astype(int) + rng.integers(-3, 4, (70, 80))
    for i, mask in enumerate(
        (flat, np.clip(noise, 0, 255).astype(np.uint8), np.where(blob(0), 255, 1).astype(np.uint8) * 0)
    ):
        path = write_png(tmp_path / f"{i}.png", mask)
        assert files.read_mask(path).shape == (70, 80)


def test_the_check_says_what_share_is_lesion_and_which_masks_are_white_or_of_another_habit(tmp_path, write_png):
    masks = {"a": 255 - blob(0), "b": np.full((70, 80), 255, np.uint8), "c": blob(0, value=1)}
    for name, mask in masks.items():
        pair_at(write_png, tmp_path, name, mask=mask)
    check = files.check_pairs(find_pairs(tmp_path))
    assert (check.white, check.binary, check.mixed) == (("b",), ("c",), ("a", "b"))
    for said in (
        "lesion is 67% of all pixels: inverted masks?",
        "1 masks white all over: inverted, or whole? (first b)",
        "1 masks valued 0/1, read as 0/255 (first c)",
        "2 masks beside them valued 0/255: is 255 what to ignore there? It is read as lesion (first a)",
    ):
        assert said in str(check)
    pair_at(write_png, tmp_path, "d", mask=np.zeros((70, 80), np.uint8))
    sound = [pair for pair in find_pairs(tmp_path) if pair.name in "cd"]
    assert not files.check_pairs(sound).mixed, "an empty mask has no habit"


# ----------------------------------------------------------------------------- one reader for training and prediction


def tiff(path, array):
    path.write_bytes(cv2.imencode(".tif", array)[1])


def tiff_marked(path, photometric: int, pixels: np.ndarray, big: bool = False):
    """An uncompressed TIFF of pixels (H, W, samples) uint8 whose photometric interpretation is as given."""
    height, width, samples = pixels.shape
    word, count, start = ("Q", "Q", 16) if big else ("I", "H", 8)
    bits = struct.pack("<4H", 8, 8, 8, 8)
    values = [(256, width), (257, height), (258, 0), (259, 1), (262, photometric), (273, 0), (277, samples)]
    values += [(278, height), (279, pixels.size)]
    strip = start + len(bits) + struct.calcsize("<" + count) + len(values) * (20 if big else 12) + struct.calcsize(word)
    found = struct.pack("<" + count, len(values))
    for tag, value in values:
        content = struct.pack("<" + word, {258: start, 273: strip}.get(tag, value))
        content = bits[: 2 * samples].ljust(8, b"\0") if big and tag == 258 else content
        found += struct.pack("<HH" + word, tag, 3 if tag == 258 else 4, samples if tag == 258 else 1) + content
    head = b"II+\0\x08\0\0\0" if big else b"II*\0"
    head += struct.pack("<" + word, start + len(bits))
    path.write_bytes(head + bits + found + struct.pack("<" + word, 0) + pixels.tobytes())


def saved(**how):
    from PIL import Image

    return lambda path: Image.fromarray(COLOURS).convert(how.pop("mode", "RGB")).save(path, **how)


COLOURS = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8), (80, 70))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: tiff(path, COLOURS.astype(np.float32) / 255),
            "bytes, not an image of 8 or 16 bits",
        ),
        (lambda path: tiff(path, COLOURS[..., 0].astype(np.uint16) * 16), "has 16-bit values up to 39"),
        (
            lambda path: path.write_bytes(cv2.imencode(".png", COLOURS.astype(np.uint16) * 16)[1]),
            "has 16-bit values up to 39",
        ),
        (lambda path: tiff(path, COLOURS[..., 0].astype(np.int16) - 100), "holds int16 values; save it with 8 bits"),
        (lambda path: tiff(path, (COLOURS[..., 0] // 2).astype(np.int8)), "holds int8 values; save it with 8 bits"),
        (animated, "holds 2 pictures; expected one"),
        (transparent_image, "has all it shows in its transparency"),
        (lambda path: tiff_marked(path, 8, COLOURS), "holds CIELAB colours; save it as RGB"),
    ],
)
def test_prediction_refuses_what_training_refuses_in_the_same_words(tmp_path, write_png, make, message):
    image, mask = tmp_path / "i.tif", write_png(tmp_path / "m.png", blob(0))
    make(image)
    said = []
    for read in (
        lambda: files.check_pairs([files.Pair("i", image, (mask,))]),
        lambda: TestImages({"i": image}, Config())[0],
    ):
        with pytest.raises(ValueError, match=rf"i\.tif .*{message}") as error:
            read()
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "how",
    [
        {"format": "PNG"},
        {"format": "JPEG", "quality": 80},
        {"format": "JPEG", "mode": "L"},
        {"format": "WEBP"},
        {"format": "BMP"},
        {"format": "GIF", "mode": "P"},
        {"format": "PNG", "mode": "P"},
        {"format": "PNG", "mode": "1"},
        {"format": "PNG", "mode": "LA"},
        {"format": "TIFF", "compression": "tiff_lzw"},
        {"format": "TIFF", "mode": "CMYK"},
    ],
)
def test_training_and_prediction_read_the_same_pixels(tmp_path, how):
    path = tmp_path / "i.png"  # what a file is, its first bytes say
    saved(**how)(path)
    assert np.array_equal(np.asarray(files.read_whole_image(path)), files.read_image(path))


@pytest.mark.parametrize("big", [False, True])
def test_three_samples_that_a_tiff_calls_grey_are_colours(tmp_path, big):
    """CVC-ClinicDB's: OpenCV takes the red for grey, Pillow cannot open them."""
    path = tmp_path / "i.tif"
    tiff_marked(path, 1, COLOURS, big)
    assert np.array_equal(files.read_image(path), COLOURS)
    assert np.array_equal(np.asarray(files.read_whole_image(path)), COLOURS)
    grey = cv2.cvtColor(COLOURS, cv2.COLOR_RGB2GRAY)
    for read in (lambda: files.reading.decode_mask(path), lambda: files.read_map(path)[0]):
        assert np.abs(read().astype(int) - grey).max() <= 1, "never the red alone"


@pytest.mark.parametrize(("channels", "photometric"), [(4, 1), (3, 0)])
def test_other_samples_called_grey_are_refused(tmp_path, channels, photometric):
    path = tmp_path / "i.tif"
    tiff_marked(path, photometric, np.dstack([COLOURS, COLOURS])[..., :channels])
    for read in (files.read_image, files.read_whole_image, files.read_mask, files.read_map):
        with pytest.raises(ValueError, match=rf"i\.tif cannot be .*{channels} samples a pixel that are marked as grey"):
            read(path)


def test_what_is_no_image_or_no_file_is_left_aside_in_words(tmp_path, write_png):
    pair_at(write_png, tmp_path, "1")
    (tmp_path / "images" / "phone.heic").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"1 files of .*images are left aside, first phone\.heic: read"):
        assert list(files.find_images(tmp_path)) == ["1"]
    (tmp_path / "images" / "phone.heic").unlink()
    os.mkfifo(tmp_path / "images" / "2.png")
    with pytest.warns(UserWarning, match=r"1 files of .*images are left aside, first 2\.png"):
        assert [pair.name for pair in find_pairs(tmp_path)] == ["1"]
    used = find_pairs_quietly(tmp_path)[0].files
    assert files.left_aside(tmp_path, used) == f"1 other files (1 no regular file), first {tmp_path}/images/2.png"
    (tmp_path / "broken" / "images").mkdir(parents=True)
    (tmp_path / "broken" / "images" / "3.png").symlink_to(tmp_path / "gone.png")
    assert list(files.find_images(tmp_path / "broken")) == ["3"], "a broken link is an image that has vanished"


def find_pairs_quietly(root):
    with pytest.warns(UserWarning, match="left aside"):
        return find_pairs(root)


@pytest.mark.parametrize("masks", ["masks", "GT", "Ground Truth", "labels"])
def test_images_to_predict_are_never_sought_among_masks(tmp_path, write_png, masks):
    write_png(tmp_path / "1.png", IMAGE)
    write_png(tmp_path / masks / "1.png", blob(0))
    assert list(files.find_images(tmp_path)) == ["1"]
    assert files.left_aside(tmp_path, [tmp_path / "1.png"]) == f"1 other files (1 .png), first {tmp_path}/{masks}/1.png"
    (tmp_path / "1.png").unlink()
    with pytest.raises(ValueError, match="holds no image"):
        files.find_images(tmp_path)
