"""The check of a data set: what it counts, and what it refuses before a run does."""

import importlib

import cv2
import numpy as np
import pytest

import files
from files import find_pairs
from tests.miniatures import blob, brats, label_volume, pair_at, scan, volume


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


def test_soft_edges_are_no_areas_of_grey(tmp_path, write_png):
    y, x = np.mgrid[:300, :400]
    disc = ((((y - 150) ** 2 + (x - 200) ** 2) < 90**2) * 255).astype(np.uint8)
    image = write_png(tmp_path / "i.png", np.zeros((300, 400, 3), np.uint8))
    blurred = cv2.GaussianBlur(disc, (0, 0), 3)
    small = cv2.resize(cv2.resize(disc, (40, 30), interpolation=cv2.INTER_AREA), (400, 300))
    for name, mask in (("jpeg.jpg", disc), ("blurred.png", blurred), ("small.png", small)):
        files.check_pairs([files.Pair("i", image, (write_png(tmp_path / name, mask),))])


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


@pytest.mark.parametrize(("memory", "threads"), [(None, 8), (16 << 40, 8), (2 * 16 * 12 * 10 * 8 * 4 * 3, 3), (1, 1)])
def test_volumes_are_looked_at_by_as_many_threads_as_memory_holds(tmp_path, monkeypatch, memory, threads):
    survey = importlib.import_module("files.survey")  # files.survey is the function
    monkeypatch.setattr(survey, "machine_memory", lambda: memory)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert survey._threads(find_pairs(brats(tmp_path), volumes=True)[0]) == threads


def binary_volumes(root, *values):
    for i, value in enumerate(values):
        volume(root / "images" / f"{i}.nii.gz", scan(i))
        volume(root / "labels" / f"{i}.nii.gz", label_volume(values=(value,)))
    return find_pairs(root, volumes=True)


def test_binary_masks_of_volumes_show_one_value_in_all_or_are_1_and_255(tmp_path):
    with pytest.raises(ValueError, match=r"2 is labelled 2 but 1 1: two classes, or one\?.*--label_values 2 takes"):
        files.check_pairs(binary_volumes(tmp_path / "a", 0, 1, 2))
    check = files.check_pairs(binary_volumes(tmp_path / "b", 0, 1, 255, 1))
    assert "labels of 1 and of 255, both read as the object" in str(check)
    assert "both read" not in str(files.check_pairs(binary_volumes(tmp_path / "c", 7, 0, 7)))
