"""Anybody's maps and gts: of any values, depth and colours, damaged ones, and folders as people leave them."""

import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

import files
import test_score
from configs import Labels
from metrics import PROTOCOLS
from report import arguments, cases, scoring
from report.cases import Case
from report.reading import How
from tests.helpers import Bar

LESION = np.zeros((24, 30), np.uint8)
LESION[6:16, 8:22] = 1


def moved(i: int) -> np.ndarray:
    return np.roll(LESION, i, 1)


@pytest.fixture
def folder(tmp_path, write_png):
    """tmp/gt/{0..3}.png valued 0/255 and tmp/maps/{0..3}.png, the same masks moved by a pixel."""
    for i in range(4):
        write_png(tmp_path / "gt" / f"{i}.png", moved(i) * 255)
        write_png(tmp_path / "maps" / f"{i}.png", moved(i + 1) * 255)
    return tmp_path


def scored(root, protocol: str, gt: str = "gt", maps: str = "maps") -> tuple[dict[str, float], list[str]]:
    """The scores of a folder, and what was noticed."""
    (job,) = cases.jobs_of({"set": root / gt}, {"A": [root / maps]}, False)
    scoring.score([job], protocol, "exclude", 1)
    assert not job.error
    return job.scores.result(), job.notes


def palette(path, indices: np.ndarray, colours: list[int]) -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(indices, "L").convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours)
    image.save(path)


WRITERS = {
    "0/1": lambda path, mask: cv2.imwrite(str(path), mask),
    "0/1 of 16 bits": lambda path, mask: cv2.imwrite(str(path), mask.astype(np.uint16)),
    "0/255 of 16 bits": lambda path, mask: cv2.imwrite(str(path), mask.astype(np.uint16) * 255),
    "red": lambda path, mask: cv2.imwrite(str(path), np.dstack([mask * 0, mask * 0, mask * 255])),
    "palette, white": lambda path, mask: palette(path, mask, [0, 0, 0, 255, 255, 255]),
    "palette, red": lambda path, mask: palette(path, mask, [0, 0, 0, 255, 0, 0]),
    "palette, blue and orange": lambda path, mask: palette(path, mask, [0, 0, 250, 250, 160, 0]),
    "palette of greys": lambda path, mask: palette(path, mask, [i for i in range(256) for _ in range(3)]),
    "0/100": lambda path, mask: cv2.imwrite(str(path), mask * 100),
    "0/128": lambda path, mask: cv2.imwrite(str(path), mask * 128),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", WRITERS)
def test_maps_that_are_masks_of_any_kind_score_as_white_on_black(folder, kind, protocol):
    expected, silent = scored(folder, protocol)
    assert not silent
    (folder / "other").mkdir()
    for i in range(4):
        WRITERS[kind](folder / "other" / f"{i}.png", moved(i + 1))
    found, notes = scored(folder, protocol, maps="other")
    assert found == expected
    assert notes, "made white without a word"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", WRITERS)
def test_gts_of_any_kind_score_as_white_on_black(folder, kind, protocol):
    expected, _ = scored(folder, protocol)
    (folder / "other").mkdir()
    for i in range(4):
        WRITERS[kind](folder / "other" / f"{i}.png", moved(i))
    found, notes = scored(folder, protocol, gt="other")
    assert found == expected
    assert notes and not any("pass 255" in note for note in notes)


def test_the_command_line_says_that_0_1_maps_are_taken_for_masks(folder, capsys):
    for i in range(4):
        cv2.imwrite(str(folder / "maps" / f"{i}.png"), moved(i + 1))
    test_score.main(["--gt", str(folder / "gt"), "--pred", str(folder / "maps"), "--protocol", "binary"])
    said = capsys.readouterr().out
    assert "note: gt / maps: maps hold 0 and 1 alone: taken for masks, 1 read as white" in said


def test_one_almost_black_map_among_others_is_no_lesion(folder, write_png):
    expected = [scored(folder, "binary")[0]["Recall"]]
    write_png(folder / "maps" / "2.png", moved(2))  # p = 1/255
    write_png(folder / "maps" / "3.png", moved(2) * 0)
    found, notes = scored(folder, "binary")
    assert found["Recall"] == pytest.approx(expected[0] / 2)
    assert notes == ["1 maps have no value above 1 of 255: they find nothing (masks? Write 0 and 255), first 2.png"]


def test_a_network_that_gives_one_value_everywhere_made_no_masks(folder, write_png):
    for i in range(4):
        write_png(folder / "maps" / f"{i}.png", LESION * 0 + 100)
    assert not files.mask_value(sorted((folder / "maps").iterdir()))


def test_a_dark_16_bit_map_stays_dark(tmp_path, write_png):
    dark = np.arange(200, dtype=np.uint16).reshape(10, 20)
    grey, note = files.read_map(write_png(tmp_path / "dark.png", dark))
    assert grey.max() == 1
    assert "almost black" in note
    grey, note = files.read_map(write_png(tmp_path / "light.png", dark * 300))
    assert np.abs(grey - dark * 300 / 257).max() <= 0.5
    assert note == "16-bit"


def test_a_gt_of_several_dark_classes_is_cut_where_the_note_says(folder, write_png):
    classes = moved(0) * 50
    classes[8:14, 10:20] = 100
    write_png(folder / "gt" / "0.png", classes)
    gt, notes = files.read_gt([folder / "gt" / "0.png"])
    assert np.array_equal(gt == 255, classes == 100)
    assert "none above 128, cut at half of the largest value" in notes[0]
    with pytest.raises(ValueError, match=r"16-bit values up to 700; expected 255 or 65535"):
        files.read_gt([write_png(folder / "ids.png", LESION.astype(np.uint16) * 700)])


# ------------------------------------------------------------------------------------------------ damaged files


def header_of(width: int, height: int) -> bytes:
    """A PNG that promises width x height grey pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def huge_gif(path) -> None:
    Image.fromarray(LESION).save(path, "GIF")
    data = path.read_bytes()
    path.write_bytes(data[:6] + struct.pack("<HH", 60000, 60000) + data[10:])


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path):
    (tmp_path / "huge.png").write_bytes(header_of(30000, 30000))
    (tmp_path / "large.png").write_bytes(header_of(17000, 17000))  # what Pillow would only warn about
    huge_gif(tmp_path / "huge.gif")
    for name in ("huge.png", "large.png", "huge.gif"):
        for read in (files.read_image, files.read_mask, files.read_map):
            with pytest.raises(ValueError, match=rf"{name} is refused .*at most \d+ pixels: cut it into tiles"):
                read(tmp_path / name)


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "jpg", "bmp"])
def test_whatever_is_wrong_with_a_file_is_one_valueerror_that_names_it(tmp_path, rng, suffix):
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(rng.integers(0, 255, (24, 30, 3), np.uint8)).convert("P").convert("RGB").save(whole)
    data, path, said = whole.read_bytes(), tmp_path / f"bad.{suffix}", set[str]()
    for _ in range(120):
        harmed = bytearray(data[: rng.integers(3, len(data))] if rng.random() < 0.3 else data)
        for place in rng.integers(26, len(harmed), 8) if len(harmed) > 26 else ():  # a PNG's size ends at byte 24
            harmed[place] = rng.integers(256)
        path.write_bytes(harmed)
        try:
            files.read_map(path)
        except ValueError as error:
            said.add(str(error))
    assert said and all(f"bad.{suffix}" in text and "\n" not in text for text in said)


def test_one_damaged_file_leaves_the_other_methods_their_scores(folder, capsys):
    (folder / "B").mkdir()
    for i in range(4):
        cv2.imwrite(str(folder / "B" / f"{i}.png"), moved(i) * 255)
    (folder / "maps" / "3.png").unlink()
    huge_gif(folder / "maps" / "3.gif")
    with pytest.raises(SystemExit) as stop:
        test_score.main(["--gt", str(folder / "gt"), "--pred", str(folder / "maps"), "--pred", str(folder / "B")])
    said = capsys.readouterr().out
    assert stop.value.code == 1
    assert re.search(r"error: gt / maps: \S+3\.gif is refused", said)
    assert "dataset: gt / B MAE: 0.0000" in said


# ------------------------------------------------------------------------------------------------ folders


def test_loose_masks_beside_clips_are_one_set_and_that_is_said(folder, write_png):
    for kind in ("gt", "maps"):
        write_png(folder / kind / "clip" / "0.png", LESION * 255)
    assert not arguments.sets_of(folder / "gt")[1]
    _, notes = scored(folder, "official")
    assert notes == ["4 masks lie beside folders of masks, all taken for one set, first 0"]


def test_a_map_that_lies_on_its_side_is_refused(folder, write_png):
    write_png(folder / "maps" / "1.png", moved(2).T * 255)
    (job,) = cases.jobs_of({"set": folder / "gt"}, {"A": [folder / "maps"]}, False)
    scoring.score([job], "official", "exclude", 1)
    assert re.search(r"1\.png is 24x30 but its mask \S+1\.png is 30x24: width and height are exchanged", job.error)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_near_black_maps_of_empty_masks_are_counted_where_they_are_stretched(folder, write_png, rng, protocol):
    for i in (1, 2):
        write_png(folder / "gt" / f"{i}.png", LESION * 0)
        write_png(folder / "maps" / f"{i}.png", rng.integers(0, 4, LESION.shape).astype(np.uint8))
    _, notes = scored(folder, protocol)
    text = f"2 maps of empty masks are nearly black, at most 10 of 255, and stretched to white by protocol {protocol}"
    assert [note.startswith(text) for note in notes] == [True] * (PROTOCOLS[protocol].stretch != "raw")


def test_the_bar_moves_with_every_chunk_in_one_process(folder, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 1)
    steps = []

    bar = Bar()
    monkeypatch.setattr(scoring, "tqdm", lambda **_: bar)
    score_files = scoring.score_files
    monkeypatch.setattr(scoring, "score_files", lambda *a: (steps.append(bar.done), score_files(*a))[1])
    scored(folder, "binary")
    assert steps == [0, 1, 2, 3]


# ------------------------------------------------------------------------- what a tester who meant ill found besides


@pytest.mark.parametrize("protocol", ["official", "binary", "pranet"])
@pytest.mark.parametrize("values", [(0, 1, 2), (1, 2)])
def test_a_gt_of_few_small_numbers_is_labels_and_no_mask(tmp_path, write_png, values, protocol):
    gt = np.full((40, 40), values[0], np.uint8)
    gt[10:30, 10:30], gt[15:20, 15:20] = values[1], values[-1]
    path = write_png(tmp_path / "gt.png", gt)
    pred = write_png(tmp_path / "map.png", np.where(gt > values[0], 255, 0).astype(np.uint8))
    with pytest.raises(ValueError, match=r"gt\.png has no value above 2; .* label_values"):
        scoring.score_files([Case(str(pred), (str(path),))], How(protocol))


def test_an_empty_jpeg_gt_is_noise_and_no_labels(tmp_path, rng):
    path = tmp_path / "gt.png"
    Image.fromarray(rng.integers(0, 4, (40, 40)).astype(np.uint8) * (rng.random((40, 40)) > 0.7)).save(path)
    assert files.read_gt([path])[0].max() <= 3


def test_a_0_1_map_among_others_is_said_to_find_nothing(tmp_path, write_png):
    gt = np.zeros((20, 20), np.uint8)
    gt[5:15, 5:15] = 255
    both = [
        Case(str(write_png(tmp_path / f"map{i}.png", m)), (str(write_png(tmp_path / f"{i}.png", gt)),))
        for i, m in enumerate((gt, gt // 255))
    ]
    (note,) = scoring.score_files(both, How("binary"))[1]
    assert "find nothing (masks? Write 0 and 255)" in note


def test_a_gt_whose_lesion_is_its_transparency_is_refused(tmp_path):
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 5:15] = 255
    Image.fromarray(np.dstack([np.full((20, 20, 3), 255, np.uint8), alpha])).save(tmp_path / "gt.png")
    with pytest.raises(ValueError, match="all it shows in its transparency"):
        files.read_gt([tmp_path / "gt.png"])


def test_a_tiff_is_not_multiplied_by_its_transparency(tmp_path, rng):
    colours = rng.integers(0, 256, (20, 20, 3), np.uint8)
    for alpha in (0, 128, 255):
        Image.fromarray(np.dstack([colours, np.full((20, 20), alpha, np.uint8)])).save(tmp_path / "i.tif")
        np.testing.assert_array_equal(files.read_image(tmp_path / "i.tif"), colours)


def test_a_palette_of_the_background_alone_is_read_by_its_grey(tmp_path):
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(tmp_path / "b.gif")  # index 0 is grey 255
    assert (files.read_labels([tmp_path / "b.gif"], Labels((0, 80, 160, 255))) == 255).all()
