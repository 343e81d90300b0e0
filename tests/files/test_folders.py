"""Folders: which hold images and which masks, however they are named and nested."""

import os

import numpy as np
import pytest

import files
from files import find_pairs
from tests.miniatures import IMAGE, blob, chase, pair_at


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


def test_isic_folders_and_names(tmp_path, write_png):
    write_png(tmp_path / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000000.jpg", IMAGE)
    write_png(tmp_path / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_0000000_segmentation.png", blob(0))
    assert [pair.name for pair in find_pairs(tmp_path)] == ["ISIC_0000000"]


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


def test_two_folders_that_could_both_be_the_images_are_refused(tmp_path, write_png):
    for part in ("Training", "Test"):
        write_png(tmp_path / f"ISIC2018_Task1-2_{part}_Input" / "1.jpg", IMAGE)
        write_png(tmp_path / f"ISIC2018_Task1_{part}_GroundTruth" / "1_segmentation.png", blob(0))
    with pytest.raises(ValueError, match=r"holds ISIC.*_Test_Input and ISIC.*_Training_Input, one as good"):
        find_pairs(tmp_path)


def test_images_are_found_in_every_folder_without_masks(tmp_path, write_png):
    for i in range(3):
        pair_at(write_png, tmp_path / "stage1_test" / f"id{i}", f"id{i}", masks=None)
    assert list(files.find_images(tmp_path / "stage1_test")) == ["id0/id0", "id1/id1", "id2/id2"]
    write_png(tmp_path / "photos" / "a.png", IMAGE)
    write_png(tmp_path / "photos" / "im" / "b.png", IMAGE)
    assert list(files.find_images(tmp_path / "photos")) == ["a", "im/b"]


def test_links_are_followed_once_and_leftovers_of_archives_are_not_images(tmp_path, write_png):
    for clip in "ab":
        pair_at(write_png, tmp_path / "store", f"{clip}/1")
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / folder / "a").symlink_to(tmp_path / "store" / folder / "a")
        (tmp_path / "set" / folder / "again").symlink_to(tmp_path / "store" / folder / "a")
        write_png(tmp_path / "set" / "__MACOSX" / folder / "x.png", IMAGE)
    (tmp_path / "set" / "images" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "nowhere").symlink_to(tmp_path / "set" / "nowhere")
    assert [pair.name for pair in find_pairs(tmp_path / "set")] == ["a/1"]


def test_volumes_are_refused_in_words(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "colon_001.nii.gz").write_bytes(b"x")
        (tmp_path / folder / "._colon_001.nii.gz").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"imagesTr holds volumes, such as colon_001\.nii\.gz; export their slices"):
        find_pairs(tmp_path)


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
