"""Pictures: that they are drawn, and that their colours mean what they say."""

import sys

import cv2
import numpy as np
import pytest

from configs import Labels
from report import drawing
from tools import figures, panels
from tools.benchmark import volumes
from tools.benchmark.clock import interleaved
from tools.benchmark.scoring import made_up_maps


@pytest.fixture
def sets(tmp_path, write_png):
    """A data set of three images with an odd size, and two methods, one of them with a map missing."""
    rng = np.random.default_rng(0)
    for i in range(3):
        mask = np.zeros((40, 51 + i), np.uint8)
        mask[10:25, 10 + i : 30] = 255
        write_png(tmp_path / "set" / "images" / f"{i}.jpg", rng.integers(0, 255, (*mask.shape, 3), np.uint8))
        write_png(tmp_path / "set" / "masks" / f"{i}.png", mask)
        write_png(tmp_path / "a" / f"{i}.png", np.roll(mask, i, 1))
        if i:
            write_png(tmp_path / "b" / f"{i}.png", cv2.GaussianBlur(mask, (0, 0), 3))
    return tmp_path


def test_curves_scatter_and_panels_are_written_as_pdf_and_png(sets, monkeypatch, capsys):
    words = ["--gt", sets / "set", "--pred", f"A={sets / 'a'}", "--pred", f"B={sets / 'b'}", "--out", sets / "out"]
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, words), "--images", str(sets / "set"), "--worst", "2"])
    figures.main()
    names = {f"set-{kind}.{suffix}" for kind in ("curves", "scatter", "worst-A") for suffix in ("pdf", "png")}
    assert {path.name for path in (sets / "out").iterdir()} == names
    for path in (sets / "out").glob("*.png"):
        picture = cv2.imread(str(path))
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 10, f"{path.name} is blank"
    assert "1 of 3 masks have no map" in capsys.readouterr().out


def test_masks_have_no_thresholds_hence_no_curves(sets, monkeypatch):
    words = ["--gt", sets / "set", "--pred", f"A={sets / 'a'}", "--pred", f"B={sets / 'b'}", "--out", sets / "out"]
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, words), "--protocol", "volume", "--by", "HD95"])
    figures.main()
    assert {path.name for path in (sets / "out").iterdir()} == {"set-scatter.pdf", "set-scatter.png"}


def test_colours_mean_hit_false_alarm_and_missed():
    pred, gt = np.array([[200, 200, 0, 0]], np.uint8), np.array([[255, 0, 255, 0]], np.uint8)
    assert drawing.colour_errors(pred, gt).tolist() == [
        [list(drawing.HIT), list(drawing.FALSE_ALARM), list(drawing.MISSED), [0, 0, 0]]
    ]


def test_an_unknown_score_names_the_known(sets, monkeypatch, capsys):
    words = ["--gt", str(sets / "set"), "--pred", str(sets / "a"), "--out", str(sets / "out"), "--by", "Dice"]
    monkeypatch.setattr(sys, "argv", ["figures", *words])
    with pytest.raises(SystemExit):
        figures.main()
    assert "protocol official has MAE, maxF" in capsys.readouterr().err


def test_panels_have_a_row_per_image_and_refuse_folders_without_a_common_name(sets):
    folders = sets / "set", sets / "set", {"b": sets / "b"}
    panels.write_panel(*folders, sets / "panel.png", most=5)
    assert cv2.imread(str(sets / "panel.png")).shape[0] == 24 + 2 * (panels.HEIGHT + panels.GAP)
    (sets / "other").mkdir()
    cv2.imwrite(str(sets / "other" / "elsewhere.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=r"no image of .*set has a mask in .*set and a map in .*other"):
        panels.write_panel(*folders[:2], {"b": sets / "other"}, sets / "panel.png")


def test_panels_of_label_images_are_in_colours_and_names_need_not_be_equal(tmp_path, write_png):
    labels = np.zeros((40, 50), np.uint8)
    labels[10:20], labels[20:30] = 1, 2
    write_png(tmp_path / "images" / "01_test.png", np.zeros((40, 50, 3), np.uint8))
    write_png(tmp_path / "1st_manual" / "01_manual1.png", labels)
    write_png(tmp_path / "maps" / "01_test.png", labels)
    panels.write_panel(tmp_path, tmp_path, {"A": tmp_path / "maps"}, tmp_path / "out.png", labels=Labels((0, 1, 2)))
    sheet = cv2.imread(str(tmp_path / "out.png"))
    _, mask, map_ = np.split(sheet[24:], 3, 1)
    assert np.array_equal(mask, map_)
    for colour in ((0, 0, 0), *list(drawing.COLOURS.values())[:2]):
        assert 0.15 < (mask == colour).all(2).mean() < 0.6


def test_the_benchmark_of_volumes_measures_the_peers_that_are_there_and_names_the_others(monkeypatch):
    seen = []
    monkeypatch.setattr(volumes, "SIZES", {"tiny": ((30, 32, 36), (2.0, 1.0, 1.0))})
    monkeypatch.setattr(volumes, "PEERS", {"There": ("json", seen.append), "Away": ("no_such_peer", seen.append)})
    found = volumes.measure(repeats=1)
    assert {"tiny, ours [s]", "tiny, There [s]", "tiny, There / ours"} < found.keys()
    assert found["not installed, hence not measured: Away"] == "no_such_peer"
    assert len(found) == 4 and all(pair.gt.any() and pair.pred.any() for pair in seen)


def test_the_benchmark_takes_turns_and_its_maps_look_like_maps():
    order: list[str] = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3)
    assert order == ["a", "b"] * 3
    assert set(times) == {"a", "b"}
    for pred, gt in made_up_maps(3, 400):
        assert set(np.unique(gt)) == {0, 255}
        assert pred[gt > 0].mean() > pred[gt == 0].mean() + 50


def test_panels_draw_0_1_maps_and_masks_white(sets, write_png):
    for i in range(3):
        mask = cv2.imread(str(sets / "set" / "masks" / f"{i}.png"), cv2.IMREAD_GRAYSCALE) // 255
        write_png(sets / "ones" / f"{i}.png", mask)
        write_png(sets / "set" / "masks" / f"{i}.png", mask)
    panels.write_panel(sets / "set", sets / "set", {"A": sets / "ones"}, sets / "panel.png", most=1)
    _, mask, drawn = np.split(cv2.imread(str(sets / "panel.png"))[24 : 24 + panels.HEIGHT], 3, 1)
    width = round(51 * panels.HEIGHT / 40)
    for cell in (mask, drawn):
        assert 0.1 < (cell[:, :width] == 255).mean() < 0.5
