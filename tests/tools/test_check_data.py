"""The report on a folder, its sheet, and what it says of faulty files."""

import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from files import check_pairs, find_pairs
from report.drawing import COLOURS
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
