"""Pictures: that they are drawn, and that their colours mean what they say."""

import re
import runpy
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from configs import Labels
from report import drawing
from report.sheet import _words
from tests.conftest import ROOT
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


@pytest.mark.parametrize(("words", "said"), [("--by Dice", "has MAE, maxF"), ("--gt none", "no folder none")])
def test_what_is_not_there_is_one_line(sets, monkeypatch, words, said):
    given = ["--gt", str(sets / "set"), "--pred", str(sets / "a"), "--out", str(sets / "out"), *words.split()]
    monkeypatch.setattr(sys, "argv", ["figures", *given])
    with pytest.raises(SystemExit, match=said):
        figures.main()


def test_without_matplotlib_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match="pip install matplotlib"):
        runpy.run_path(str(ROOT / "tools" / "figures.py"))


def test_names_and_titles_of_figures_are_whole_and_legends_lie_beside_the_curves(sets, monkeypatch):
    """However long a name is: every text lies inside of its figure, and the legend outside of all axes."""
    long, drawn = "A method of a very long name, by several authors (PVTv2-B2)", []
    words = ["--gt", sets / "set", "--pred", f"{long}={sets / 'a'}", "--pred", f"B={sets / 'b'}"]
    words += ["--out", sets / "out", "--images", sets / "set", "--only", "2,0"]
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, words)])
    monkeypatch.setattr(figures, "_save", lambda figure, path: drawn.append((path.name, figure)) or path)
    figures.main()
    assert [name for name, _ in drawn] == ["set-curves", "set-scatter", "set-chosen"]
    for name, figure in drawn:
        figure.draw_without_rendering()
        inside = figure.bbox
        for text in figure.findobj(figures.matplotlib.text.Text):
            box = text.get_window_extent()
            if not re.fullmatch(r"[\d.]*", text.get_text()):  # ticks beyond an axis are not drawn
                assert inside.x0 <= box.x0 and box.x1 <= inside.x1 + 1, f"{name}: {text.get_text()!r} is cut"
        said = " ".join(" ".join(text.get_text().split()) for text in figure.findobj(figures.matplotlib.text.Text))
        assert long in said
    legend = drawn[0][1].legends[0].get_window_extent()
    assert not any(axis.get_window_extent().overlaps(legend) for axis in drawn[0][1].axes)
    assert [axis.get_xlabel() for axis in drawn[2][1].axes[::4]] == ["2", "0"], "those asked for, in that order"


def test_curves_of_a_set_without_lesions_say_so(sets, monkeypatch, write_png):
    drawn = []
    for i in range(3):
        write_png(sets / "set" / "masks" / f"{i}.png", np.zeros((40, 51 + i), np.uint8))
    words = ["--gt", sets / "set", "--pred", f"A={sets / 'a'}", "--out", sets / "out", "--images", sets / "set"]
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, words)])
    monkeypatch.setattr(figures, "_save", lambda figure, path: drawn.append(figure) or path)
    figures.main()
    said = [text.get_text() for figure in drawn for text in figure.findobj(figures.matplotlib.text.Text)]
    assert said.count("every mask is empty:\nnot defined") == 2
    assert any(text.startswith("every mask here is empty, and M_dice says nothing") for text in said)


def test_panels_have_a_row_per_image_and_refuse_folders_without_a_common_name(sets):
    folders = sets / "set", sets / "set", {"b": [sets / "b"]}
    titles, rows = panels.drawn(*folders, sets / "panel.png", most=5)
    assert (titles, [name for name, _ in rows]) == (["image", "mask", "b"], ["1", "2"])
    assert {cell.shape[1] for _, cells in rows for cell in cells} == {panels.WIDTH}, "columns of one width"
    (only,) = panels.drawn(*folders, sets / "panel.png", only=["2"])[1]
    assert only[0] == "2"
    with pytest.raises(ValueError, match=r"no image '0' has a mask and every map; the 2 that have"):
        panels.drawn(*folders, sets / "panel.png", only=["0"])
    (sets / "other").mkdir()
    cv2.imwrite(str(sets / "other" / "elsewhere.png"), np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=r"no image of .*set has a mask in .*set and a map in .*other"):
        panels.write_panel(*folders[:2], {"b": [sets / "other"]}, sets / "panel.png")


@pytest.mark.parametrize("name", ["panel.png", "panel.pdf"])
def test_a_panel_is_for_print_and_breaks_long_names_but_cuts_none(sets, name):
    panels.write_panel(sets / "set", sets / "set", {"b" * 90: [sets / "b"]}, sets / name)
    if name.endswith("png"):
        with Image.open(sets / name) as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    else:
        assert (sets / name).read_bytes().startswith(b"%PDF")
    short, long = (_words("x" * letters, 100) for letters in (5, 90))
    assert long.shape[0] >= 4 * short.shape[0]
    assert (long < 128).sum() == pytest.approx(18 * (short < 128).sum(), rel=0.1), "every letter is there"


def test_panels_of_label_images_are_in_colours_and_names_need_not_be_equal(tmp_path, write_png):
    labels = np.zeros((40, 50), np.uint8)
    labels[10:20], labels[20:30] = 1, 2
    write_png(tmp_path / "images" / "01_test.png", np.zeros((40, 50, 3), np.uint8))
    write_png(tmp_path / "1st_manual" / "01_manual1.png", labels)
    write_png(tmp_path / "maps" / "01_test.png", labels)
    known = Labels((0, 1, 2), background=0)
    _, rows = panels.drawn(tmp_path, tmp_path, {"A": [tmp_path / "maps"]}, tmp_path / "out.png", labels=known)
    ((_, (_, mask, map_)),) = rows
    assert np.array_equal(mask, map_)
    for colour in ((0, 0, 0), *list(drawing.COLOURS.values())[:2]):
        assert 0.15 < (mask[..., ::-1] == colour).all(2).mean() < 0.6


def test_a_class_has_one_colour_whatever_an_image_shows_of_it():
    """By its place among the label values: neither what is commonest in a picture nor what lacks there changes it."""
    green, orange = list(drawing.COLOURS.values())[:2]
    assert drawing.colours_of(Labels((0, 80, 160), background=0)) == {80: green, 160: orange}
    assert drawing.colours_of(Labels((80, 160, 255), background=255)) == {80: green, 160: orange}
    assert drawing.colours_of(Labels((7,))) == {7: green}


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
    _, rows = panels.drawn(sets / "set", sets / "set", {"A": [sets / "ones"]}, sets / "panel.png", most=1)
    for cell in rows[0][1][1:]:
        assert 0.1 < (cell == 255).mean() < 0.5
