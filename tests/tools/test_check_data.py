"""The report on a folder, its sheet, and what it says of faulty files."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from configs import Labels
from files import Pair, check_pairs, find_pairs
from report.drawing import COLOURS
from report.slices import views_of
from tests.miniatures import LPS, RAS, brats, hippocampus, label_volume, scan, volume
from tools import check_data


def check(monkeypatch, capsys, *words) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["check_data", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        check_data.main()
    return done.value.code, capsys.readouterr().out


def test_the_report_says_what_there_is_and_the_sheet_outlines_it(tmp_path, write_png, monkeypatch, capsys):
    mask = np.zeros((60, 90), np.uint8)
    mask[20:40, 30:60] = 1
    for clip in "ab":
        for frame in range(2):
            write_png(tmp_path / "image" / clip / f"{frame}.png", np.full((60, 90, 3), 80, np.uint8))
            write_png(tmp_path / "mask" / clip / f"{frame}.png", mask * (255 if clip == "a" else 1 - frame))
    with pytest.warns(UserWarning, match="valued 0/1"):
        code, said = check(monkeypatch, capsys, tmp_path, "--out", tmp_path / "sheet.png")
    assert code == 0
    for line in (
        "images       4, first",
        "groups       2 (clips",
        "sizes        90x60 to 90x60",
        "mask values  0, 1, 255",
        "lesion       8.33% of all pixels",  # three of four masks, 600 of 5400 pixels each
        "empty masks  1, first b/1",
        "note         1 masks valued 0/1, read as 0/255 (first b/0)",
    ):
        assert line in said, said
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (check_data.CELL + 20, 4 * (check_data.CELL + 4), 3)
    green = (sheet == (0, 255, 0)).all(2)
    assert [bool(part.any()) for part in np.split(green, 4, 1)] == [True, True, True, False], "the fourth mask is empty"


def test_classes_are_outlined_in_a_colour_each_but_for_the_commonest(tmp_path, write_png, monkeypatch, capsys):
    labels = np.zeros((90, 90), np.uint8)
    labels[20:60, 20:60], labels[30:40, 30:40] = 1, 2
    write_png(tmp_path / "images" / "1.png", np.full((90, 90, 3), 80, np.uint8))
    write_png(tmp_path / "masks" / "1.png", labels)
    (tmp_path / "notes.txt").write_text("")
    words = [tmp_path, "--label_values", "0,1,2", "--out", tmp_path / "sheet.png"]
    code, said = check(monkeypatch, capsys, *words)
    assert (code, "1 images with the outlines of 1 green, 2 orange" in said) == (0, True)
    assert "not used     1 other files (1 .txt), first" in said and "notes.txt" in said
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    green, orange = ((sheet == COLOURS[name]).all(2) for name in ("green", "orange"))
    assert green.sum() > orange.sum() > 50
    assert not green[:30].any(), "no frame around the picture"


def test_every_faulty_file_is_named_and_the_others_are_shown(polyp_folder, monkeypatch, capsys):
    root = polyp_folder / "TrainDataset"
    for folder in ("image", "mask"):
        (root / folder / "001.png").write_bytes(b"no image")
    cv2.imwrite(str(root / "mask" / "003.png"), np.zeros((5, 6), np.uint8))
    code, printed = check(monkeypatch, capsys, root, "--out", polyp_folder / "sheet.png")
    assert code == 1
    faulty = [line for line in printed.splitlines() if line.startswith("faulty: ")]
    said = ("image/001.png cannot be decoded", "mask/001.png cannot be decoded", "003.png is 6x5 but")
    assert [words in line for words, line in zip(said, faulty, strict=True)] == [True] * 3
    assert "4 images with outlined masks" in printed
    with pytest.raises(ValueError, match=r"001\.png cannot .*; 2 more files are faulty, `python -m tools.check_data`"):
        check_pairs(find_pairs(root))


def test_hostile_files_are_named_and_do_not_stop_the_report(polyp_folder, monkeypatch, capsys):
    """A cut GIF is an IndexError to Pillow, a claim of 60000 x 60000 pixels a DecompressionBombError."""
    root, noise = polyp_folder / "TrainDataset", np.random.default_rng(0).integers(0, 255, (128, 160), np.uint8)
    Image.fromarray(noise).save(root / "image" / "001.gif")
    cut = (root / "image" / "001.gif").read_bytes()[:5000]
    (root / "image" / "001.gif").unlink()
    (root / "image" / "001.png").write_bytes(cut)
    claim = (60000).to_bytes(2, "little") * 2
    (root / "mask" / "002.png").write_bytes(b"GIF89a" + claim + b"\x80" + bytes(8) + b"," + bytes(4) + claim)
    code, said = check(monkeypatch, capsys, root, "--out", polyp_folder / "sheet.png")
    faulty = [line for line in said.splitlines() if line.startswith("faulty: ")]
    assert (code, len(faulty)) == (1, 2)
    assert "image/001.png cannot be decoded (" in faulty[0] and "mask/002.png cannot be decoded (" in faulty[1]
    assert "4 images with outlined masks" in said


def test_the_values_of_labels_are_said_ready_to_be_given(tmp_path, write_png, monkeypatch, capsys):
    labels = np.zeros((60, 90), np.uint8)
    labels[20:40, 20:40], labels[20:40, 50:80] = 120, 240
    write_png(tmp_path / "img" / "1.png", np.full((60, 90, 3), 80, np.uint8))
    write_png(tmp_path / "mask" / "1.png", labels)
    words = [tmp_path, "--out", tmp_path / "sheet.png"]
    assert "areas of grey 120, neither" in (said := check(monkeypatch, capsys, *words)[1])
    assert "Give classes and label_values 0,120,240." in said
    code, said = check(monkeypatch, capsys, *words, "--label_values", "0,120,240")
    assert (code, "mask values  0, 120, 240\n" in said) == (0, True)


def test_an_observer_is_chosen_and_the_other_is_said_to_be_unused(tmp_path, write_png, monkeypatch, capsys):
    mask = np.zeros((60, 90), np.uint8)
    mask[20:40, 30:60] = 255
    write_png(tmp_path / "set" / "Image_01L.jpg", np.full((60, 90, 3), 80, np.uint8))
    for observer in ("1stHO", "2ndHO"):
        write_png(tmp_path / "set" / f"Image_01L_{observer}.png", mask)
    monkeypatch.setattr(sys, "argv", ["check_data", str(tmp_path / "set")])
    with pytest.raises(SystemExit, match="--observer 1stHO or --observer 2ndHO"):
        check_data.main()
    code, said = check(monkeypatch, capsys, tmp_path / "set", "--observer", "2ndHO", "--out", tmp_path / "sheet.png")
    assert (code, "not used     1 other files (1 .png), first" in said) == (0, True)


def test_a_folder_that_does_not_pair_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check_data", str(tmp_path / "absent")])
    with pytest.raises(SystemExit, match="error: no folder .*absent"):
        check_data.main()


def test_the_report_on_volumes_says_their_grids_intensities_and_labels(tmp_path, monkeypatch, capsys):
    task = hippocampus(tmp_path)
    volume(task / "imagesTr" / "hippocampus_000.nii.gz", scan(shape=(9, 10, 8), scale=100), LPS)
    volume(task / "labelsTr" / "hippocampus_000.nii.gz", np.zeros((9, 10, 8), np.uint8), LPS)
    code, said = check(monkeypatch, capsys, task, "--out", tmp_path / "sheet.png")
    for line in (
        "images       3, first",
        "not used     2 other files (1 .json, 1 .nii.gz), first",
        "shapes       9x10x8 to 12x10x8, median 12x10x8 voxels",
        "spacings     0.8x0.8x1 to 1x1x5, median 1x1x1 mm",
        "orientations RAS 2, LPS 1",
        "channel 0    of each volume 0.5 % is below",
        "99.5 % below 99 to 9960: MRI",
        "label 0      92.727% of all voxels, in 3 of 3 volumes: background",
        "label 2      3.636% of all voxels, in 2 of 3 volumes: Posterior",
        "several classes: --classes 3 --label_values 0,1,2",
        "note         1 labels empty (first hippocampus_000)",
        "note         several orientations: maps are written as each image lies",
        "note         intensities differ 101-fold from volume to volume",
        "3 images with the outlines of 1 green, 2 orange",
    ):
        assert line in said, said
    assert code == 0
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (check_data.CELL + 20, 3 * (3 * check_data.CELL + 4), 3), "three slices of each"
    green = (sheet == COLOURS["green"]).all(2)
    assert [bool(part.any()) for part in np.split(green, 3, 1)] == [False, True, True], "the first label is empty"


def test_four_channels_and_labels_that_nobody_described_are_listed(tmp_path, monkeypatch, capsys):
    code, said = check(monkeypatch, capsys, brats(tmp_path / "set"), "--out", tmp_path / "sheet.png")
    assert (code, "channels     4 files, BraTS20_001_flair.nii.gz, BraTS20_001_t1.nii.gz" in said) == (0, True)
    for line in ("channel 3    of each volume", "label 4 ", "several classes: --classes 3 --label_values 0,1,4"):
        assert line in said, said
    assert "note         voxels 6.2 times as thick as wide: plan the patch in mm" in said
    assert "2 images with the outlines of" in said


def test_a_wrong_pair_of_volumes_and_what_cannot_be_read_are_named(tmp_path, monkeypatch, capsys):
    task = hippocampus(tmp_path, count=4)
    volume(task / "labelsTr" / "hippocampus_000.nii.gz", label_volume((12, 10, 7)))
    volume(task / "labelsTr" / "hippocampus_001.nii.gz", label_volume(), LPS)
    (task / "imagesTr" / "hippocampus_002.nii.gz").write_bytes(b"no volume")
    (task / "labelsTr" / "hippocampus_002.nii.gz").write_bytes(b"")
    code, said = check(monkeypatch, capsys, task, "--out", tmp_path / "sheet.png")
    faulty = [line for line in said.splitlines() if line.startswith("faulty: ")]
    assert (code, len(faulty)) == (1, 4)
    assert "labelsTr/hippocampus_000.nii.gz is 12x10x7 voxels" in faulty[0] and "imagesTr/hippocampus_000" in faulty[0]
    assert "labelsTr/hippocampus_001.nii.gz is 12x10x8 voxels of 0.8x0.8x5 mm, LPS, but" in faulty[1]
    assert "imagesTr/hippocampus_002.nii.gz cannot be decoded" in faulty[2] and "it is empty" in faulty[3]
    assert "1 images with the outlines of" in said
    with pytest.raises(ValueError, match=r"hippocampus_000\.nii\.gz is 12x10x7 .*; 3 more files are faulty"):
        check_pairs(find_pairs(task, volumes=True), Labels((0, 1, 2)))


def test_labels_in_several_files_of_one_image_are_refused_and_none_is_left_out(tmp_path, monkeypatch, capsys):
    volume(tmp_path / "set" / "a.nii.gz", scan())
    for name in ("a_mask", "a_mask_1"):
        volume(tmp_path / "set" / f"{name}.nii.gz", label_volume(values=(1,)))
    code, said = check(monkeypatch, capsys, tmp_path / "set", "--out", tmp_path / "sheet.png")
    assert (code, "a_mask.nii.gz and a_mask_1.nii.gz belong to one image; expected one label vol" in said) == (1, True)


def test_an_image_of_other_channels_than_the_first_is_named(tmp_path):
    for name, channels in (("a", 2), ("b", 1)):
        volume(tmp_path / "images" / f"{name}.nii.gz", np.stack([scan()] * channels, 3))
        volume(tmp_path / "labels" / f"{name}.nii.gz", label_volume(values=(1,)))
    with pytest.raises(ValueError, match="b has 1 channels but a has 2; every image needs the same"):
        check_pairs(find_pairs(tmp_path, volumes=True))


def test_training_checks_volumes_by_their_classes(tmp_path):
    pairs = find_pairs(hippocampus(tmp_path), volumes=True)
    said = str(check_pairs(pairs, Labels((0, 1, 2))))
    assert "3 pairs, 12x10x8 voxels of 1x1x1 mm, labels 0 (90.00%), 1 (5.00%), 2 (5.00%)" in said
    with pytest.raises(ValueError, match=r"_000\.nii\.gz holds 0,1,2; expected 0 and one other value.*; 2 more files"):
        check_pairs(pairs)


def test_slices_lie_alike_however_the_file_does(tmp_path):
    """Up is the head or the front, and the patient's right is on the left."""
    image, label = np.zeros((12, 10, 8), np.int16), np.zeros((12, 10, 8), np.uint8)
    image[6:, 5:, 4:] = 1000  # right, front and head, in RAS
    label[5:8, 4:7, 3:6] = 1
    views = []
    for name, affine, flip in (("ras", RAS, 1), ("lps", np.diag([-1.0, -1, 1, 1]), -1)):
        place = [tmp_path / f"{name}_{what}.nii.gz" for what in ("image", "label")]
        volume(place[0], image[::flip, ::flip], affine), volume(place[1], label[::flip, ::flip], affine)
        views.append(views_of(Pair(name, place[0], (place[1],)), Labels()))
    for one, other in zip(*views):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.planes, other.planes)
    side, front, below = (view.image[..., 0] for view in views[0])
    assert side.shape == (8, 10) and side[0, -1] and not side[-1].any() and not side[:, 0].any()
    assert front.shape == (8, 12) and front[0, 0] and not front[-1].any() and not front[:, -1].any()
    assert below.shape == (10, 12) and below[0, 0] and not below[-1].any() and not below[:, -1].any()
    assert [view.extent for view in views[0]] == [(10, 8), (12, 8), (12, 10)]


def test_many_files_with_the_same_fault_are_one_line_that_names_them_all():
    told = {f"clip/{i:03d}": [f"d/mask/{i:03d}.png has no value above {i + 2}; expected 255"] for i in range(30)}
    told["other"] = ["d/image/other.png cannot be decoded"]
    many, other = check_data.alike(told)
    assert many.startswith("d/mask/000.png has no value above 2; expected 255. So are 29 others: clip/001, clip/002,")
    assert many.endswith("clip/029") and other == "d/image/other.png cannot be decoded"
    assert len(check_data.alike({name: told[name] for name in ("clip/001", "clip/002")})) == 2
