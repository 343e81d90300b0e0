"""Names: which mask belongs to which image, and whose is meant."""

from pathlib import Path

import numpy as np
import pytest

import files
from files import find_pairs
from files.names import in_one_folder
from tests.miniatures import IMAGE, blob, chase


def test_two_masks_of_one_image_are_refused_by_name(tmp_path, write_png):
    write_png(tmp_path / "images" / "1.png", np.zeros((70, 80, 3), np.uint8))
    for name in ("1", "1_mask"):
        write_png(tmp_path / "masks" / f"{name}.png", np.zeros((70, 80), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png has masks of several kinds, 1\.png, 1_mask\.png; keep one"):
        find_pairs(tmp_path)


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


def test_half_of_a_folder_that_ends_in_a_word_more_is_its_masks(tmp_path, write_png):
    """Names of patients, examinations and scans with blanks, and a word that no data set has."""
    names = ("p 1/exam 2/scan 3", "p 1/exam 2/scan 12", "p 7/scan 3")
    for i, name in enumerate(names):
        write_png(tmp_path / f"{name}.png", IMAGE)
        write_png(tmp_path / f"{name} polyp.png", blob(10 * i))
    with pytest.warns(UserWarning, match="' polyp' is taken for what all masks end in"):
        pairs = find_pairs(tmp_path)
    assert {pair.name: pair.masks[0].name for pair in pairs} == {n: f"{Path(n).name} polyp.png" for n in names}
    assert set(files.find_images(tmp_path)) == set(names), "nor are masks predicted"
    (tmp_path / "p 7" / "scan 3 polyp.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"Is scan 12 polyp\.png the mask of scan 12\.png\? Then name masks"):
        find_pairs(tmp_path)
    assert len(files.find_images(tmp_path)) == 5, "what is not sure is not left out"


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


def test_a_name_is_the_same_however_its_accents_are_written(tmp_path, write_png):
    write_png(tmp_path / "images" / "caf\u00e9.png", IMAGE)
    write_png(tmp_path / "masks" / "cafe\u0301.png", blob(0))
    assert [pair.name for pair in find_pairs(tmp_path)] == ["caf\u00e9"]


def test_an_exact_name_comes_before_a_likely_one(tmp_path, write_png):
    for name in ("1", "1_test"):
        write_png(tmp_path / "images" / f"{name}.png", IMAGE)
        write_png(tmp_path / "masks" / f"{name}_mask.png", blob(0))
    assert [pair.masks[0].name for pair in find_pairs(tmp_path)] == ["1_mask.png", "1_test_mask.png"]


@pytest.mark.parametrize("names", ["lesion_1 lesion_2", "p1_lesion_1 p1_lesion_2", "roi_3"])
def test_a_word_in_an_images_own_name_is_left_there(tmp_path, names):
    paths = {name: tmp_path / f"{name}.png" for name in names.split()}
    masks = {f"{name}_mask": tmp_path / f"{name}_mask.png" for name in paths}
    images, paired = in_one_folder(paths | masks)
    assert images == paths
    assert paired == {name: (masks[f"{name}_mask"],) for name in paths}
    assert files.by_image(paths, {name: (path,) for name, path in masks.items()}) == paired


def test_a_mask_belongs_to_the_image_of_its_whole_name_before_a_shorter_one():
    images, masks = ({name: Path(f"{name}{end}.png") for name in ("1", "lesion_1")} for end in ("", "_mask"))
    paired = files.by_image(images, {f"{name}_mask": (path,) for name, path in masks.items()})
    assert paired == {name: (path,) for name, path in masks.items()}
