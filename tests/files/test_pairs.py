"""Pairs: public data sets' images find their masks, and what has only one of both is refused."""

import shutil

import numpy as np
import pytest

import files
from files import find_pairs
from tests.miniatures import IMAGE, blob, pair_at


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


def test_half_a_clip_is_refused_by_name_unless_include_leaves_it_out(tmp_path, write_png):
    for clip in "ab":
        pair_at(write_png, tmp_path / clip, "1")
    pair_at(write_png, tmp_path / "c", "1", masks=None)
    with pytest.raises(ValueError, match=r"c/images has no masks beside it, where other folders have"):
        find_pairs(tmp_path)
    assert [pair.name for pair in find_pairs(tmp_path, include="^[ab]/")] == ["a/1", "b/1"]
    assert list(files.find_images(tmp_path)) == ["a/1", "b/1", "c/1"], "to predict, no masks are needed"


def test_the_field_of_view_of_drives_test_set_is_no_label(tmp_path, write_png):
    write_png(tmp_path / "images" / "01_test.tif", IMAGE)
    write_png(tmp_path / "mask" / "01_test_mask.png", blob(0))
    with pytest.raises(ValueError, match=r"mask holds fields of view, not labels.*give --field_of_view mask"):
        find_pairs(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"beside mask/ .*\(mask/ is the field of view\)"):
        find_pairs(tmp_path, field_of_view="mask")
    assert list(files.find_images(tmp_path)) == ["01_test"]


def test_masks_of_other_images_are_not_merged_into_a_lone_image(tmp_path, write_png):
    pair_at(write_png, tmp_path, "img7", masks=None)
    for name in ("img8", "img9"):
        pair_at(write_png, tmp_path, name, images=None)
    with pytest.raises(ValueError, match=r"1 without mask, first .*img7\.png"):
        find_pairs(tmp_path)


def test_include_spares_what_it_leaves_out(tmp_path, write_png):
    write_png(tmp_path / "benign" / "benign (1).png", IMAGE)
    write_png(tmp_path / "benign" / "benign (1)_mask.png", blob(0))
    write_png(tmp_path / "normal" / "normal (1).png", IMAGE)
    assert [pair.name for pair in find_pairs(tmp_path, "^benign/")] == ["benign/benign (1)"]
    assert list(files.find_masks(tmp_path, "^benign/")) == ["benign/benign (1)"]
