"""The report on a folder, its sheet, and what it says of faulty files."""

import sys

import cv2
import numpy as np
import pytest

from files import check_pairs, find_pairs
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
    green, orange = ((sheet == check_data.COLOURS[name]).all(2) for name in ("green", "orange"))
    assert green.sum() > orange.sum() > 50
    assert not green[:30].any(), "no frame around the picture"


def test_every_faulty_file_is_named_and_the_others_are_shown(polyp_folder, monkeypatch, capsys):
    root = polyp_folder / "TrainDataset"
    (root / "image" / "001.png").write_bytes(b"no image")
    cv2.imwrite(str(root / "mask" / "003.png"), np.zeros((5, 6), np.uint8))
    code, said = check(monkeypatch, capsys, root, "--out", polyp_folder / "sheet.png")
    assert code == 1
    faulty = [line for line in said.splitlines() if line.startswith("faulty: ")]
    assert ["001.png cannot be decoded" in faulty[0], "003.png is 6x5 but" in faulty[1], len(faulty)] == [True, True, 2]
    assert "4 images with outlined masks" in said
    with pytest.raises(ValueError, match=r"001\.png cannot .*; 1 more files are faulty, `python -m tools.check_data`"):
        check_pairs(find_pairs(root))


def test_a_folder_that_does_not_pair_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check_data", str(tmp_path / "absent")])
    with pytest.raises(SystemExit, match="error: no folder .*absent"):
        check_data.main()
